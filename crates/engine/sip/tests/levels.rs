//! The two levels of strictness, and the bounds, each as a table over one good message.

#![allow(clippy::unwrap_used)]

use bytes::Bytes;
use sip::{Limits, Message, ParseError};

/// A good message; `{}` stands where fields are put in.
const GOOD: &str = "OPTIONS sip:bob@example.test SIP/2.0\r\nVia: SIP/2.0/TLS h;branch=z9hG4bK1\r\n\
    Max-Forwards: 70\r\nFrom: \"A\" <sip:a@example.test>;tag=1\r\nTo: <sip:bob@example.test>\r\n\
    Call-ID: c1\r\nCSeq: 1 OPTIONS\r\n{}Content-Length: 0\r\n\r\n";

fn with(old: &str, new: &str) -> String {
    let text = GOOD.replacen(old, new, 1).replace("{}", "");
    assert_ne!(text, GOOD.replace("{}", ""), "{old} is not there");
    text
}

fn plus(fields: &str) -> String {
    GOOD.replace("{}", fields)
}

fn read(text: &str, limits: &Limits) -> Result<Message, ParseError> {
    Message::parse(Bytes::copy_from_slice(text.as_bytes()), limits)
}

#[test]
fn oddities_pass_from_call_control_and_not_from_strangers() {
    let odd = [
        ("a name without its quotes", with("\"A\" <", "Bell, A. <")),
        ("another name", with("To: <", "To: A@B <")),
        ("hops beyond 255", with("Forwards: 70", "Forwards: 300")),
        ("no hops", with("Forwards: 70", "Forwards: many")),
        ("a second Via", plus("Via: nonsense\r\n")),
        ("an Expires", plus("Expires: soon\r\n")),
        ("a Contact", plus("Contact: sip:a@h?x=y\r\n")),
        ("a Route", plus("Route: <sip:a@h> oops\r\n")),
        ("a Record-Route", plus("Record-Route: h\r\n")),
        ("a Path", plus("Path: <>\r\n")),
        ("a Date", plus("Date: Fri, 01 Jan 2010 16:00:00 EST\r\n")),
        ("a Content-Type", plus("c: text\r\n")),
        (
            "headers in the URI",
            with("bob@example.test SIP", "bob@example.test?a=b SIP"),
        ),
    ];
    for (what, text) in odd {
        let carried = read(&text, &Limits::trusted()).unwrap();
        assert_eq!(carried.bytes(), text.as_bytes(), "{what}: byte for byte");
        let refused = read(&text, &Limits::outside()).unwrap_err();
        assert_eq!(refused.status().0, 400, "{what}: {refused}");
    }
}

#[test]
fn framing_and_what_stands_once_are_no_matter_of_taste() {
    let bad = [
        (
            "blanks in the request line",
            with("OPTIONS sip", "OPTIONS  sip"),
            400,
        ),
        ("a version", with("SIP/2.0\r\nVia", "SIP/3.0\r\nVia"), 505),
        ("a bare LF", plus("X: a\nb\r\n"), 400),
        ("a bare CR", plus("X: a\rb\r\n"), 400),
        ("a NUL", plus("X: a\0b\r\n"), 400),
        ("no colon", plus("X\r\n"), 400),
        ("no name", plus(": x\r\n"), 400),
        ("a name that is no token", plus("X(: x\r\n"), 400),
        ("a fold before all fields", with("\r\nVia", "\r\n Via"), 400),
        ("two lengths", plus("l: 1\r\n"), 400),
        ("a signed length", with("Length: 0", "Length: +0"), 400),
        (
            "a body that is not there",
            with("Length: 0", "Length: 1"),
            400,
        ),
        ("two Froms", plus("f: <sip:b@x>\r\n"), 400),
        ("two Max-Forwards", plus("Max-Forwards: 1\r\n"), 400),
        ("no Call-ID", with("Call-ID: c1\r\n", ""), 400),
        ("an empty Call-ID", with("Call-ID: c1", "Call-ID: "), 400),
        // What the next reader would take for something else: found by `differ` in
        // `tools/bench-peers`.
        ("a blank in a Call-ID", with("ID: c1", "ID: c 1"), 400),
        ("a fold in a Call-ID", with("ID: c1", "ID: c\r\n\t1"), 400),
        ("a From tag of nothing", with(";tag=1", ";tag"), 400),
        (
            "a To tag of nothing",
            with("To: <", "t: <sip:b@h>;tag=\r\nX: <"),
            400,
        ),
        (
            "a branch of nothing",
            with("branch=z9hG4bK1", "branch"),
            400,
        ),
        (
            "no Via",
            with("Via: SIP/2.0/TLS h;branch=z9hG4bK1\r\n", ""),
            400,
        ),
        ("another method in CSeq", with("1 OPTIONS", "1 INVITE"), 400),
        (
            "a number beyond 31 bits",
            with("1 OPTIONS", "2147483648 OPTIONS"),
            400,
        ),
    ];
    let answer = with("OPTIONS sip:bob@example.test SIP/2.0", "SIP/2.0 200 OK");
    for limits in [Limits::outside(), Limits::trusted()] {
        for (what, text, status) in &bad {
            let refused = read(text, &limits).unwrap_err();
            assert_eq!(refused.status().0, *status, "{what}: {refused}");
        }
        read(&answer, &limits).unwrap();
        let of_no_token = answer.replace("1 OPTIONS", "1 OPT(IONS");
        assert_eq!(
            read(&of_no_token, &limits).unwrap_err(),
            ParseError::Header("CSeq")
        );
    }
}

#[test]
fn every_count_and_size_has_its_bound() {
    let limits = Limits {
        head_bytes_max: 4000,
        body_bytes_max: 100,
        fields_max: 20,
        folds_max: 5,
        vias_max: 4,
        values_max: 3,
        uri_bytes_max: 100,
        id_bytes_max: 50,
        ..Limits::outside()
    };
    let long = |n: usize| "x".repeat(n);
    let body = |n: usize| {
        with(
            "Length: 0\r\n\r\n",
            &format!("Length: {n}\r\n\r\n{}", long(n)),
        )
    };
    // What is just within, what is just beyond, and the status of that.
    let table = [
        (
            "fields",
            plus(&"X: y\r\n".repeat(13)),
            plus(&"X: y\r\n".repeat(14)),
            513,
        ),
        (
            "folds",
            plus(&format!("X: {}\r\n", "\r\n y".repeat(5))),
            plus(&format!("X: {}\r\n", "\r\n y".repeat(6))),
            513,
        ),
        (
            "Vias",
            plus("v: SIP/2.0/UDP h, SIP/2.0/UDP h, SIP/2.0/UDP h\r\n"),
            plus(&"v: SIP/2.0/UDP h, SIP/2.0/UDP h\r\n".repeat(2)),
            513,
        ),
        (
            "contacts",
            plus("m: <sip:a@h>, <sip:a@h>, <sip:a@h>\r\n"),
            plus(&"m: <sip:a@h>, <sip:a@h>\r\n".repeat(2)),
            513,
        ),
        (
            "routes",
            plus(&"Route: <sip:h;lr>\r\n".repeat(3)),
            plus(&"Route: <sip:h;lr>\r\n".repeat(4)),
            513,
        ),
        (
            "the Request-URI",
            with("bob@example.test SIP", &format!("{} SIP", long(96))),
            with("bob@example.test SIP", &format!("{} SIP", long(97))),
            414,
        ),
        (
            "a Call-ID",
            with("ID: c1", &format!("ID: {}", long(50))),
            with("ID: c1", &format!("ID: {}", long(51))),
            513,
        ),
        (
            "a tag",
            with("tag=1", &format!("tag={}", long(50))),
            with("tag=1", &format!("tag={}", long(51))),
            513,
        ),
        (
            "a branch",
            with("z9hG4bK1", &long(50)),
            with("z9hG4bK1", &long(51)),
            513,
        ),
        (
            "the head",
            plus(&format!("X: {}\r\n", long(3000))),
            plus(&format!("X: {}\r\n", long(4000))),
            513,
        ),
        ("the body", body(100), body(101), 413),
    ];
    for (what, within, beyond, status) in table {
        let read_it = read(&within, &limits);
        assert!(read_it.is_ok(), "{what}: {read_it:?}");
        let refused = read(&beyond, &limits).unwrap_err();
        assert_eq!(refused.status().0, status, "{what}: {refused}");
    }
}
