//! XMPP: streams taken apart.

use xmpp::{Framer, Limits};

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
