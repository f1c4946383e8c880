//! The torture messages of RFC 4475 and RFC 5118, as bytes on a registered client's connection:
//! what is valid reaches the core as it is, what is not gets its status on the wire.

#![allow(clippy::disallowed_methods)] // reads its corpus

use std::path::Path;

use super::*;
use sip::Framer;

/// What becomes of the bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It goes to the core.
    Carried,
    /// The client gets this status.
    Told(u16),
    /// The client gets this status and loses its connection, for nobody knows where the next
    /// message begins.
    Closed(u16),
    /// A response to nothing, or bytes that nobody could be told of: no answer.
    Silent,
}

use Fate::{Carried, Closed, Silent, Told};

const RFC_4475: [(&str, Fate); 49] = [
    // §3.1.1 valid. Who registers without credentials is asked for them.
    ("wsinv", Carried),
    ("intmeth", Carried),
    ("esc01", Carried),
    ("escnull", Told(401)),
    ("esc02", Carried),
    ("lwsdisp", Carried),
    ("longreq", Carried),
    ("dblreq", Told(401)),
    ("semiuri", Carried),
    ("transports", Carried),
    ("mpart01", Carried),
    ("unreason", Silent),
    ("noreason", Silent),
    // §3.1.2 invalid.
    ("badinv01", Told(400)),
    // The rest of its body is waited for until the driver's patience ends.
    ("clerr", Silent),
    ("ncl", Closed(400)),
    ("scalar02", Told(400)),
    ("scalarlg", Silent),
    ("quotbal", Told(400)),
    ("ltgtruri", Closed(400)),
    ("lwsruri", Closed(400)),
    ("lwsstart", Closed(400)),
    ("trws", Closed(400)),
    ("escruri", Told(400)),
    ("baddate", Told(400)),
    ("regbadct", Told(400)),
    ("badaspec", Told(400)),
    ("baddn", Told(400)),
    ("badvers", Closed(505)),
    ("mismatch01", Told(400)),
    ("mismatch02", Told(400)),
    ("bigcode", Silent),
    // §3.2 to §3.4.
    ("badbranch", Carried),
    ("insuf", Told(400)),
    ("unkscm", Told(416)),
    ("novelsc", Told(416)),
    ("unksm2", Told(401)),
    ("bext01", Told(420)),
    ("invut", Carried),
    ("regaut01", Told(401)),
    ("multi01", Told(400)),
    ("mcl01", Closed(400)),
    ("bcast", Silent),
    ("zeromf", Told(483)),
    ("cparam01", Told(401)),
    ("cparam02", Told(401)),
    ("regescrt", Told(401)),
    ("sdp01", Carried),
    // No tag in From: a call that could not be told from another.
    ("inv2543", Told(488)),
];

const RFC_5118: [(&str, Fate); 12] = [
    ("ipv6-good", Told(401)),
    ("ipv6-bad", Told(400)),
    ("port-ambiguous", Told(401)),
    ("port-unambiguous", Told(401)),
    ("via-received-param-with-delim", Carried),
    ("via-received-param-no-delim", Carried),
    ("ipv6-in-sdp", Carried),
    ("mult-ip-in-header", Carried),
    ("mult-ip-in-sdp", Carried),
    ("ipv4-mapped-ipv6", Carried),
    ("ipv6-bug-abnf-3-colons", Carried),
    ("ipv6-correct-abnf-2-colons", Carried),
];

/// Sends bytes as a stream on a connection that is registered; gives their fate, and what went
/// to the core.
fn send(bytes: &[u8]) -> (Fate, Option<Message>) {
    let mut bench = Bench::registered();
    let mut framer = Framer::new(Limits::outside());
    framer.push(bytes);
    while let Some(frame) = framer.next_frame() {
        let conn = ConnId(1);
        bench.edge.handle(bench.now, Input::Frame { conn, frame });
        let outputs: Vec<Output> = std::iter::from_fn(|| bench.edge.poll_output()).collect();
        let closed = outputs
            .iter()
            .any(|o| matches!(o, Output::Close { conn: ConnId(1) }));
        for output in outputs {
            let Output::Send { conn, bytes } = output else {
                continue;
            };
            if conn == LANE {
                let sent = Message::parse(bytes, &Limits::outside()).unwrap();
                return (Carried, Some(sent));
            }
            // Read by hand: what answers an odd message has that message's odd Via.
            let status = std::str::from_utf8(&bytes[8..11]).unwrap().parse().unwrap();
            match (status, closed) {
                (100, _) => {}
                (status, true) => return (Closed(status), None),
                (status, false) => return (Told(status), None),
            }
        }
    }
    (Silent, None)
}

/// The message as a stream carries it: Content-Length is there (RFC 3261 §18.3), and it opens a
/// dialog, for one that continues another's is refused with 481.
fn streamed(mut bytes: Vec<u8>) -> Vec<u8> {
    let find = |bytes: &[u8], what: &[u8]| bytes.windows(what.len()).position(|w| w == what);
    let Some(end) = find(&bytes, b"\r\n\r\n") else {
        return bytes;
    };
    let head = bytes[..end].to_ascii_lowercase();
    if find(&head, b"\r\ncontent-length").is_none() && find(&head, b"\r\nl:").is_none() {
        let line = format!("\r\nContent-Length: {}", bytes.len() - end - 4);
        bytes.splice(end..end, line.into_bytes());
    }
    for tag in [";   tag    = 1918181833n", ";tag=1918181833n", ";tag=23454"] {
        if let Some(at) = find(&bytes, tag.as_bytes()) {
            bytes.drain(at..at + tag.len());
        }
    }
    bytes
}

/// Every field of `sent` that is not ours to write stands in `came`, in the same order.
fn assert_untouched(name: &str, came: &[u8], sent: &Message) {
    let came = Message::parse(Bytes::copy_from_slice(came), &Limits::outside()).unwrap();
    assert_eq!(came.method_bytes(), sent.method_bytes(), "{name}");
    assert_eq!(came.request_uri(), sent.request_uri(), "{name}");
    let ours = |f: &sip::Field<'_>| {
        matches!(
            f.id,
            Name::Via
                | Name::MaxForwards
                | Name::Route
                | Name::RecordRoute
                | Name::ContentLength
                | Name::PAssertedIdentity
        ) || call::registration::is_privileged(f.name)
    };
    let list = |m: &Message| -> Vec<String> {
        m.fields()
            .filter(|f| !ours(f))
            .map(|f| format!("{}:{}", f.name.escape_ascii(), f.value.escape_ascii()))
            .collect()
    };
    assert_eq!(list(&came), list(sent), "{name}");
    // The hop before us stays as it was written, but for its true address.
    let hops: Vec<_> = came.values(Name::Via).skip(1).collect();
    let went: Vec<_> = sent.values(Name::Via).skip(2).collect();
    assert_eq!(hops, went, "{name}");
    if sent.method() != Method::Invite {
        assert_eq!(came.body(), sent.body(), "{name}");
    }
}

fn run(folder: &str, table: &[(&str, Fate)]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../tests/torture")
        .join(folder);
    let mut wrong = Vec::new();
    for (name, want) in table {
        let bytes = streamed(std::fs::read(folder.join(format!("{name}.dat"))).unwrap());
        let (fate, carried) = send(&bytes);
        if let Some(sent) = carried {
            assert_untouched(name, &bytes, &sent);
        }
        if fate != *want {
            wrong.push(format!("{name}: {fate:?}, not {want:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rfc_4475_messages_meet_their_fate_on_the_wire() {
    run("rfc4475", &RFC_4475);
}

#[test]
fn rfc_5118_messages_meet_their_fate_on_the_wire() {
    run("rfc5118", &RFC_5118);
}

#[test]
fn what_breaks_a_bound_or_the_framing_is_told_so_before_the_end() {
    let head = "OPTIONS sip:b@example.test SIP/2.0\r\nVia: SIP/2.0/TLS h;branch=z9hG4bK1\r\n\
        Max-Forwards: 70\r\nFrom: <sip:a@example.test>;tag=1\r\nTo: <sip:b@example.test>\r\n\
        Call-ID: c\r\nCSeq: 1 OPTIONS\r\n";
    let end = "Content-Length: 0\r\n\r\n";
    let table = [
        (format!("{head}X: {}\r\n{end}", "a".repeat(70_000)), 513),
        (format!("{head}X: {}", "a".repeat(70_000)), 513),
        (format!("{head}{}{end}", "X: a\r\n".repeat(300)), 513),
        (format!("{head}X: a{}\r\n{end}", "\r\n b".repeat(70)), 513),
        (format!("{head}Content-Length: 9999999\r\n\r\n"), 413),
        (format!("{head}X: a\0b\r\n{end}"), 400),
        (format!("{head}X: a\rb\r\n{end}"), 400),
        (format!("{head}X: a\nl: 9\r\n{end}"), 400),
        (format!("{head}X\r\n{end}"), 400),
        (format!("{head}\r\n"), 400),
        (format!("{head}l: 1\r\n{end}"), 400),
        (head.replacen("SIP/2.0", "SIP/7.0", 1) + end, 505),
    ];
    for (text, status) in table {
        let short = text.get(300..330.min(text.len())).unwrap_or_default();
        assert_eq!(send(text.as_bytes()).0, Closed(status), "{short:?}");
    }
    // More hops than anybody needs, in good framing: the next message is still read.
    let vias = format!("{head}{}{end}", "v: SIP/2.0/TLS g\r\n".repeat(60));
    assert_eq!(send(vias.as_bytes()).0, Told(513));
}
