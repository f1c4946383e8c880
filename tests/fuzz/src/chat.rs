//! XMPP: streams taken apart, and sign-ins as they pass.

use xmpp::relay::Features;
use xmpp::starttls::{Heard, Initiator, Next, Responder, Wish};
use xmpp::{Framer, Limits, Relay};

/// What streams are made of.
pub(crate) const WORDS: &[&str] = &[
    "<?xml version='1.0'?>",
    "<stream:stream to='example.test' xmlns='jabber:client' version='1.0' ",
    "xmlns:stream='http://etherx.jabber.org/streams'>",
    "</stream:stream>",
    "<message to='bob@example.test'><body>",
    "</body></message>",
    "<iq type='get'/>",
    "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>AGEAYg==</auth>",
    "<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
    "<!--",
    "-->",
    "<![CDATA[",
    "]]>",
    "<!DOCTYPE a>",
    "&lt;",
    "&b;",
    "&#x0;",
    "&#65;",
    "xmlns:a='b' ",
    "<a:b/>",
    "\u{e9}",
    "\u{fffe}",
    "<a",
    "/>",
    "=''",
];

/// The same frames and the same violation however the stream is cut; frames move forward.
pub(crate) fn stream(data: &[u8]) {
    for limits in [Limits::STRANGER, Limits::SERVER] {
        let whole = frames(data, limits, usize::MAX);
        for size in [1, 2, 3, 7, 64] {
            assert_eq!(frames(data, limits, size), whole, "cut in pieces of {size}");
        }
    }
}

fn frames(data: &[u8], limits: Limits, size: usize) -> Vec<String> {
    let mut framer = Framer::new(limits);
    let (mut found, mut base, mut last) = (Vec::new(), 0, 0);
    for piece in data.chunks(size.min(data.len().max(1))) {
        for frame in framer.frames(piece) {
            match frame {
                Ok(frame) => {
                    assert!(base + frame.end > last, "a frame of no bytes");
                    last = base + frame.end;
                    found.push(format!("{last} {:?}", frame.kind));
                }
                Err(violation) => {
                    found.push(format!("{violation:?} {}", violation.condition().as_str()));
                    return found;
                }
            }
        }
        base += piece.len();
    }
    found
}

/// A sign-in, the lines of the input being said by client and server in turn: before sign-in no
/// stanza reaches the server, and nothing reaches it that the client did not say.
pub(crate) fn sign_in(data: &[u8]) {
    let mut relay = Relay::new(Features::Pass);
    let (mut said, mut out, mut back) = (Vec::new(), Vec::new(), Vec::new());
    for (turn, line) in data.split(|byte| *byte == b'\n').enumerate() {
        let mut rest = line;
        while !rest.is_empty() {
            let by_client = turn % 2 == 0;
            if by_client && !relay.client_may_speak() {
                return;
            }
            let taken = if by_client {
                let open = relay.is_signed_in();
                let before = out.len();
                let Ok((taken, seen)) = relay.from_client(rest, &mut out) else {
                    return;
                };
                said.extend_from_slice(&rest[..taken]);
                if !open
                    && matches!(&seen, Some(xmpp::relay::Seen::Element(name)) if name.is_stanza())
                {
                    assert_eq!(
                        out.len(),
                        before,
                        "a stanza before sign-in reached the server"
                    );
                }
                taken
            } else {
                let Ok((taken, _)) = relay.from_server(rest, &mut back) else {
                    return;
                };
                taken
            };
            assert!(
                (1..=rest.len()).contains(&taken),
                "{taken} of {} bytes",
                rest.len()
            );
            rest = &rest[taken..];
        }
    }
    // What was begun and never finished may be left out when a stream begins anew.
    let mut spoken = said.iter();
    let all = out.iter().all(|byte| spoken.any(|said| said == byte));
    assert!(all, "the server heard what the client did not say");
    let _ = (relay.user(), relay.is_bound(), relay.is_resumable());
}

/// STARTTLS on both sides: TLS is never asked for by anything but a whole element.
pub(crate) fn starttls(data: &[u8]) {
    let mut responder = Responder::default();
    let mut rest = data;
    while !rest.is_empty() {
        let Ok((taken, heard)) = responder.hear(rest) else {
            break;
        };
        let start = data.len() - rest.len();
        if heard == Heard::StartTls {
            let element = &data[..start + taken];
            assert!(element.ends_with(b">"), "TLS before the element's end");
            break;
        }
        if taken == 0 {
            break;
        }
        rest = &rest[taken..];
    }
    for wish in [Wish::Never, Wish::IfOffered, Wish::Always] {
        let mut initiator = Initiator::new(wish);
        for chunk in data.chunks(16) {
            match initiator.hear(chunk) {
                Ok(Next::Read | Next::Ask) => {}
                Ok(Next::Handshake) => {
                    assert_ne!(wish, Wish::Never, "TLS that nobody wished");
                    initiator.secured();
                }
                Ok(_) => {
                    assert!(initiator.into_heard().len() <= data.len());
                    break;
                }
                Err(_) => break,
            }
        }
    }
}
