//! SIP: messages, streams of them, addresses, digest credentials.

use bytes::Bytes;
use sip::digest::{Challenge, Credentials, ha1, respond, verify};
use sip::{Contact, Frame, Framer, Limits, Message, Name, NameAddr, Uri, Via, validate};

/// What SIP is made of.
pub(crate) const WORDS: &[&str] = &[
    "\r\n",
    "\r\n\r\n",
    "\r\n ",
    "SIP/2.0",
    "sip:",
    "sips:",
    "tel:",
    "Via: SIP/2.0/TLS ",
    ";branch=z9hG4bK",
    "From: ",
    "To: ",
    ";tag=",
    "Contact: *",
    "Contact: ",
    "Call-ID: ",
    "CSeq: 1 INVITE",
    "Route: <sip:",
    "Content-Length: ",
    "l: ",
    "Max-Forwards: ",
    "Expires: ",
    ";lr",
    "%00",
    "%41",
    "\"",
    "<",
    ">",
    ",",
    "REGISTER ",
    "INVITE ",
    "Digest ",
    "username=",
    "nonce=",
    "qop=auth",
    "nc=00000001",
];

/// A message carried byte for byte, edited, answered.
pub(crate) fn message(data: &[u8]) {
    for limits in [Limits::outside(), Limits::trusted()] {
        let Ok(message) = Message::parse(Bytes::copy_from_slice(data), &limits) else {
            continue;
        };
        let length = message.bytes().len();
        assert_eq!(message.bytes(), &data[..length], "not byte for byte");
        assert_eq!(
            message.edit().finish().bytes(),
            message.bytes(),
            "an empty edit changed it"
        );
        read(&message);
        let again = Message::parse(message.bytes().clone(), &limits);
        assert_eq!(
            again.map(|m| m.bytes().clone()),
            Ok(message.bytes().clone())
        );
        if message.is_request() {
            let answer = message.reply(400, "Bad Request", "t").build();
            let read = Message::parse(answer.bytes().clone(), &Limits::trusted());
            assert!(
                read.is_ok_and(|m| m.status() == 400),
                "our own answer cannot be read"
            );
        }
    }
}

/// Looks at everything a node looks at.
fn read(message: &Message) {
    let _ = (
        message.method(),
        message.reason(),
        message.body(),
        message.call_id(),
    );
    let _ = (
        message.from(),
        message.to(),
        message.cseq(),
        message.top_via(),
    );
    let _ = (
        message.max_forwards(),
        message.expires(),
        message.content_type(),
    );
    let _ = message.vias().count() + message.contacts().count() + message.routes().count();
    let _ = message.record_routes().count() + message.paths().count();
    for field in message.fields() {
        let _ = message.values(field.id).count();
    }
    if message.is_request() {
        let _ = validate::request(message);
        let _ = Uri::parse(message.request_uri());
    }
    for name in [Name::Authorization, Name::ProxyAuthorization] {
        message.values(name).for_each(credentials);
    }
}

/// The same frames however the stream is cut.
pub(crate) fn stream(data: &[u8]) {
    let whole = frames(data, usize::MAX);
    for size in [1, 2, 7, 64, 1000] {
        assert_eq!(frames(data, size), whole, "cut in pieces of {size}");
    }
}

fn frames(data: &[u8], size: usize) -> Vec<String> {
    let mut framer = Framer::new(Limits::outside());
    let mut found = Vec::new();
    for piece in data.chunks(size.min(data.len().max(1))) {
        framer.push(piece);
        while let Some(frame) = framer.next_frame() {
            found.push(match frame {
                Frame::Message(message) => format!("message {:?}", message.bytes()),
                Frame::Bad {
                    error,
                    reply,
                    fatal,
                } => {
                    let reply = reply.map(|message| message.bytes().clone());
                    format!("bad {error} {fatal} {reply:?}")
                }
                other => format!("{other:?}"),
            });
            assert!(found.len() <= data.len() + 1, "frames out of nothing");
        }
    }
    found
}

/// URIs and name-addrs; what one part says, the whole says.
pub(crate) fn address(data: &[u8]) {
    if let Ok(uri) = Uri::parse(data) {
        assert!(uri.same(&uri), "a URI differs from itself");
        let _ = (uri.param(b"transport"), uri.is_sips(), uri.host.to_string());
    }
    if let Some(name) = NameAddr::parse(data) {
        let _ = (name.tag(), name.param(b"q"));
    }
    let _ = (
        Contact::parse(data),
        Via::parse(data),
        sip::CSeq::parse(data),
    );
    assert!(
        sip::unescape(data).len() <= data.len(),
        "unescaping made it longer"
    );
}

/// Digest credentials and challenges.
pub(crate) fn credentials(data: &[u8]) {
    if let Ok(read) = Credentials::parse(data) {
        assert!(
            !verify(&read, b"REGISTER", ""),
            "credentials fit no password at all"
        );
    }
    if let Some(challenge) = Challenge::parse(data) {
        let again = Challenge::parse(challenge.to_string().as_bytes());
        assert!(
            again.is_some(),
            "our own challenge cannot be read: {challenge}"
        );
        let answer = respond(
            &challenge,
            "alice",
            "secret",
            "REGISTER",
            "sip:example.test",
            "c",
            1,
        );
        let good = Credentials::parse(answer.as_bytes()).is_ok_and(|credentials| {
            let known = ha1(challenge.algorithm, "alice", &challenge.realm, "secret");
            verify(&credentials, b"REGISTER", &known)
        });
        assert!(good, "our own answer is wrong: {answer}");
    }
}
