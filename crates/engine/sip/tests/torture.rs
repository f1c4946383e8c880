//! The torture messages of RFC 4475 and RFC 5118, each with the verdict its RFC gives.

#![allow(clippy::unwrap_used)]
#![allow(clippy::disallowed_methods)] // reads its corpus

use std::path::Path;

use bytes::Bytes;
use sip::{Limits, Message};

/// What is to become of a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// Read, and carried byte for byte.
    Carried,
    /// Well-formed, but a proxy refuses it with this status.
    Refused(u16),
    /// No message: a request gets this status.
    Malformed(u16),
}

use Verdict::{Carried, Malformed, Refused};

const RFC_4475: [(&str, Verdict); 49] = [
    // §3.1.1 valid
    ("wsinv", Carried),
    ("intmeth", Carried),
    ("esc01", Carried),
    ("escnull", Carried),
    ("esc02", Carried),
    ("lwsdisp", Carried),
    ("longreq", Carried),
    ("dblreq", Carried),
    ("semiuri", Carried),
    ("transports", Carried),
    ("mpart01", Carried),
    ("unreason", Carried),
    ("noreason", Carried),
    // §3.1.2 invalid
    ("badinv01", Malformed(400)),
    ("clerr", Malformed(400)),
    ("ncl", Malformed(400)),
    ("scalar02", Malformed(400)),
    ("scalarlg", Malformed(400)),
    ("quotbal", Malformed(400)),
    ("ltgtruri", Malformed(400)),
    ("lwsruri", Malformed(400)),
    ("lwsstart", Malformed(400)),
    ("trws", Malformed(400)),
    ("escruri", Malformed(400)),
    ("baddate", Malformed(400)),
    ("regbadct", Malformed(400)),
    ("badaspec", Malformed(400)),
    ("baddn", Malformed(400)),
    ("badvers", Malformed(505)),
    ("mismatch01", Malformed(400)),
    ("mismatch02", Malformed(400)),
    ("bigcode", Malformed(400)),
    // §3.2 to §3.4: well-formed; what becomes of them is a proxy's or registrar's business.
    ("badbranch", Carried),
    ("insuf", Malformed(400)),
    ("unkscm", Refused(416)),
    ("novelsc", Refused(416)),
    ("unksm2", Carried),
    ("bext01", Refused(420)),
    ("invut", Carried),
    ("regaut01", Carried),
    ("multi01", Malformed(400)),
    ("mcl01", Malformed(400)),
    ("bcast", Carried),
    ("zeromf", Carried),
    ("cparam01", Carried),
    ("cparam02", Carried),
    ("regescrt", Carried),
    ("sdp01", Carried),
    ("inv2543", Carried),
];

const RFC_5118: [(&str, Verdict); 12] = [
    ("ipv6-good", Carried),
    ("ipv6-bad", Refused(400)),
    ("port-ambiguous", Carried),
    ("port-unambiguous", Carried),
    ("via-received-param-with-delim", Carried),
    ("via-received-param-no-delim", Carried),
    ("ipv6-in-sdp", Carried),
    ("mult-ip-in-header", Carried),
    ("mult-ip-in-sdp", Carried),
    ("ipv4-mapped-ipv6", Carried),
    ("ipv6-bug-abnf-3-colons", Carried),
    ("ipv6-correct-abnf-2-colons", Carried),
];

fn verdict(bytes: &[u8]) -> Verdict {
    match Message::parse(Bytes::copy_from_slice(bytes), &Limits::outside()) {
        Err(error) => Malformed(error.status().0),
        Ok(message) => {
            let kept = message.bytes().len();
            assert_eq!(message.bytes(), &bytes[..kept], "not byte for byte");
            assert_eq!(
                message.edit().finish().bytes(),
                message.bytes(),
                "an empty edit changed it"
            );
            if !message.is_request() {
                return Carried;
            }
            match sip::validate::request(&message) {
                Ok(()) => Carried,
                Err((status, _)) => Refused(status),
            }
        }
    }
}

fn run(folder: &str, table: &[(&str, Verdict)]) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../tests/torture")
        .join(folder);
    let files = std::fs::read_dir(&folder).unwrap().count();
    assert_eq!(files, table.len(), "every file has its verdict");
    let wrong: Vec<String> = table
        .iter()
        .filter_map(|(name, want)| {
            let bytes = std::fs::read(folder.join(format!("{name}.dat"))).unwrap();
            let got = verdict(&bytes);
            (got != *want).then(|| format!("{name}: {got:?}, not {want:?}"))
        })
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn rfc_4475_messages_meet_their_verdicts() {
    run("rfc4475", &RFC_4475);
}

#[test]
fn rfc_5118_messages_meet_their_verdicts() {
    run("rfc5118", &RFC_5118);
}
