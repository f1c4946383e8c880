//! SIP: messages, streams of them, addresses, digest credentials.

use bytes::Bytes;
use sip::digest::{Challenge, Credentials, covers, ha1, respond, verify};
use sip::locate::{self, Answer, Naptr, Search, Service, Transport};
use sip::{
    Contact, Frame, Framer, Limits, Message, Name, NameAddr, Strictness, Uri, Via, route, validate,
};

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

/// What DNS is made of, as [`locate`] reads it.
pub(crate) const DNS_WORDS: &[&str] = &[
    "\n",
    "n 1 s SIPS+D2T _sips._tcp.a.test",
    "s 1 1 5061 h.a.test",
    "s 0 0 0 .",
    "a 192.0.2.1 2001:db8::1",
    "f",
    "sips:",
    ";transport=tcp",
    ";maddr=",
    ":5070",
    "..",
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
        facts(&message, limits.strictness == Strictness::Outside);
        rewritten(&message);
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

/// What was remembered of a message when it was judged is what its headers say.
fn facts(message: &Message, strict: bool) {
    let via = Via::parse(message.values(Name::Via).next().unwrap_or_default());
    let (via, kept) = (via.unwrap(), message.top_via().unwrap());
    assert_eq!((via.raw(), via.branch()), (kept.raw(), kept.branch()));
    assert_eq!(
        (via.transport(), via.sent_by()),
        (kept.transport(), kept.sent_by())
    );
    let cseq = sip::CSeq::parse(message.header(Name::CSeq).unwrap_or_default());
    assert_eq!(message.cseq(), cseq);
    for (name, kept) in [(Name::From, message.from()), (Name::To, message.to())] {
        let kept = kept.unwrap();
        let read = NameAddr::parse(message.header(name).unwrap_or_default());
        assert!(read.is_some() || !strict, "a stranger's odd name passed");
        if let Some(read) = read {
            assert_eq!((read.display, read.uri), (kept.display, kept.uri));
            assert_eq!(read.tag(), kept.tag());
        }
    }
    // What a name has is the same counted field by field.
    for field in message.fields() {
        if !matches!(field.id, Name::Other(_)) {
            let first = message.fields().find(|f| f.id == field.id);
            assert_eq!(message.header(field.id), first.map(|f| f.value));
        }
    }
}

/// A hop's changes: written to a buffer they are what they are as a message, and what was not
/// changed is still there. Routes that led here are taken off, strict routers served.
fn rewritten(message: &Message) {
    let mut edit = message.edit();
    edit.push_front(Name::Via, "SIP/2.0/TLS h;branch=z9hG4bK1");
    edit.push_front(Name::RecordRoute, "<sip:h;lr>");
    edit.set(Name::MaxForwards, "69");
    let mut written = b"before".to_vec();
    edit.write(&mut written);
    let made = edit.finish();
    assert_eq!(written.strip_prefix(b"before"), Some(&made.bytes()[..]));
    assert_eq!(made.body(), message.body());
    let hops = |m: &Message| m.values(Name::Via).count();
    assert_eq!(hops(&made), hops(message) + 1);
    if !message.is_request() {
        return;
    }
    let routes = |m: &Message| m.values(Name::Route).count();
    if let Ok(arrived) = route::arrive(message, |uri| uri.user.is_some()) {
        assert!(routes(&arrived.message) + arrived.taken.len() >= routes(message));
        assert!(arrived.taken.len() <= 2);
        let left = route::leave(&arrived.message);
        assert_eq!(routes(&left), routes(&arrived.message));
        assert_eq!(left.body(), message.body());
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
                    if let Some(reply) = &reply {
                        clean(reply);
                    }
                    format!("bad {error} {fatal} {reply:?}")
                }
                other => format!("{other:?}"),
            });
            assert!(found.len() <= data.len() + 1, "frames out of nothing");
        }
    }
    found
}

/// An answer to bytes that are no message repeats nothing that could be read in two ways.
fn clean(reply: &[u8]) {
    assert!(reply.starts_with(b"SIP/2.0 4") || reply.starts_with(b"SIP/2.0 5"));
    let (head, end) = reply.split_at(reply.len() - 4);
    assert_eq!(end, b"\r\n\r\n");
    for line in head.split(|b| *b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let bare = |b: &u8| matches!(b, b'\r' | 0);
        assert!(!line.is_empty() && !line.iter().any(bare), "{line:?}");
    }
}

/// Where a URI's server is, when DNS says anything: it ends, and within its bounds.
pub(crate) fn locate(data: &[u8]) {
    let (uri, mut rest) = data.split_at(data.iter().position(|b| *b == b'\n').unwrap_or(0));
    let Ok(uri) = Uri::parse(uri) else { return };
    let spoken = [Transport::Tls, Transport::Tcp, Transport::Udp];
    let mut search = Search::new(&uri, &spoken, base::Rng::from_number(1));
    let mut asked = 0;
    while let Some(question) = search.poll_question() {
        asked += 1;
        assert!(asked <= 1 + locate::NAPTR_MAX + locate::HOSTS_MAX);
        assert!(!question.name().is_empty() && question.name().len() <= 253);
        let end = rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
        let (line, left) = rest.split_at(end);
        rest = left.get(1..).unwrap_or_default();
        search.answer(&question, answer(line));
    }
    if let Ok(places) = search.take_result().expect("a search ends") {
        assert!((1..=locate::PLACES_MAX).contains(&places.all().len()));
        for place in places {
            let tls = place.transport == Transport::Tls;
            assert!(place.port != 0 && (tls || !uri.is_sips()));
            assert_eq!(place.tls_name.is_some(), tls);
        }
    }
}

/// One line of DNS: `n`, `s` or `a` and words.
fn answer(line: &[u8]) -> Answer {
    let text = String::from_utf8_lossy(line);
    let words: Vec<&str> = text.split(' ').collect();
    let count = |i: usize| words.get(i).and_then(|w| w.parse().ok()).unwrap_or(0);
    let word = |i: usize| words.get(i).copied().unwrap_or_default().to_owned();
    let records = words.len() / 4;
    match words.first() {
        Some(&"n") => Answer::Naptr(
            (0..records)
                .map(|i| Naptr {
                    order: count(i * 4 + 1),
                    preference: i as u16,
                    flags: word(i * 4 + 2),
                    service: word(i * 4 + 3),
                    replacement: word(i * 4 + 4),
                })
                .collect(),
        ),
        Some(&"s") => Answer::Service(
            (0..records)
                .map(|i| {
                    let (priority, weight) = (count(i * 4 + 1), count(i * 4 + 2));
                    Service::new(priority, weight, count(i * 4 + 3), &word(i * 4 + 4))
                })
                .collect(),
        ),
        Some(&"a") => Answer::Address(words.iter().filter_map(|w| w.parse().ok()).collect()),
        Some(&"f") => Answer::Failed,
        _ => Answer::Absent,
    }
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
        assert!(covers(read.uri, read.uri), "it does not cover itself");
        let other = b"sip:a@h";
        assert_eq!(covers(read.uri, other), covers(other, read.uri));
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
