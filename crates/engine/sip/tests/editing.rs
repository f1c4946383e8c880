//! What an edit says about the message that it made is what a reader finds in its bytes.

#![allow(clippy::unwrap_used, missing_docs)]

use base::Rng;
use bytes::Bytes;
use sip::{Limits, Message, Name};

const MESSAGES: [&str; 6] = [
    "INVITE sip:bob@example.test SIP/2.0\r\n\
     Via: SIP/2.0/TLS a.example.test;branch=z9hG4bK1, \
     SIP/2.0/UDP b.example.test;branch=z9hG4bK2\r\n\
     v: SIP/2.0/TCP c.example.test;branch=z9hG4bK3\r\n\
     f : \"A\" <sip:alice@example.test>;tag=1\r\nTo:<sip:bob@example.test>\r\n\
     i: 42@example.test\r\nCSeq: 7 INVITE\r\n\
     Max-Forwards:  70 \t\r\nX-Odd:\r\nSubject: one\r\n two\r\n\
     Contact: <sip:alice@192.0.2.1>\r\n\
     Route: <sip:p1;lr>,<sip:p2;lr>\r\nContent-Length: 4\r\n\r\nbody",
    "SIP/2.0 180 Ringing\r\nVia:\r\nVia: SIP/2.0/TLS a.example.test;branch=z9hG4bK1\r\n\
     From: <sip:a@example.test>;tag=1\r\nTo: <sip:b@example.test>;tag=2\r\nCall-ID: 1\r\n\
     CSeq: 1 INVITE\r\nContact: <sip:b@192.0.2.2>\r\n\r\n",
    "OPTIONS sip:example.test SIP/2.0\r\nVia: SIP/2.0/TCP d;branch=z9hG4bK4\r\nX: y\r\n\
     From: <sip:a@example.test>;tag=1\r\nTo: <sip:b@example.test>\r\nCall-ID: 2\r\n\
     CSeq: 1 OPTIONS\r\nX: z\r\n\r\n",
    // The topmost Via is not in the first field of that name, and other fields lie in between.
    "OPTIONS sip:example.test SIP/2.0\r\nVia: ,\r\nMax-Forwards: 70\r\n\
     Via: SIP/2.0/TLS c;branch=z9hG4bKx\r\nX: y\r\n\
     From: <sip:a@example.test>;tag=1\r\nTo: <sip:b@example.test>\r\nCall-ID: 3\r\n\
     CSeq: 1 OPTIONS\r\n\r\n",
    "SIP/2.0 200 OK\r\nv:\r\n ,\r\n\t, ,\r\nX: y\r\nvia\t: \r\nSubject:\r\n a\r\n\
     V :,\r\n , SIP/2.0/TLS\r\n c;branch=z9hG4bKx ,\r\n SIP/2.0/UDP d;branch=z9hG4bKy\r\n\
     f:\r\n \"A, B\"\r\n <sip:a@example.test>\r\n ;tag=1\r\nX: z\r\n\
     t\t:\r\n\tsip:b@example.test\r\n\t;tag=2\r\ni: 4\r\n\
     cseq:\r\n 9\r\n INVITE\r\nm: <sip:b@192.0.2.2>,\r\n ,\r\n\r\n",
    "REGISTER sip:example.test SIP/2.0\r\nT:,<sip:b@example.test>\r\nX: y\r\n\
     CSeq : 2\tREGISTER\r\nv: ,,SIP/2.0/TCP e;branch=z9hG4bKz,\r\nRoute: ,\r\n\
     F: ,<sip:a@example.test>;tag=1\r\nVia: ,\r\nCall-ID: 5\r\nl: 0\r\n\r\n",
];

const NAMES: [Name; 10] = [
    Name::Via,
    Name::From,
    Name::To,
    Name::CSeq,
    Name::Contact,
    Name::Route,
    Name::MaxForwards,
    Name::Other("X"),
    Name::Other("Subject"),
    Name::RecordRoute,
];

/// Values that fit their fields, and some that no field should have.
const VALUES: [&str; 14] = [
    "SIP/2.0/TLS edge.example.test;branch=z9hG4bKnew",
    "<sip:c@example.test>;tag=3",
    "8 INVITE",
    "",
    " blanks around \t",
    "a\r\nX: b",
    "a\r\n b",
    "a\rb",
    "a\nb",
    "a\0b",
    "sip:new@example.test;transport=tls",
    ",",
    " , ,\t",
    ",\r\n SIP/2.0/UDP f;branch=z9hG4bKnext",
];

fn change(rng: &mut Rng, message: &Message) -> Message {
    let mut edit = message.edit();
    for _ in 0..=rng.below(5) {
        let name = NAMES[rng.below(10) as usize];
        // As a rule a good one.
        let picks = if rng.below(8) == 0 { 14 } else { 4 };
        let value = VALUES[rng.below(picks) as usize];
        match rng.below(9) {
            0 => edit.push_front(name, value),
            1 => edit.push_back(name, value),
            2 => edit.set(name, value),
            3 => edit.remove(name),
            4 => edit.remove_first_value(name),
            5 => edit.replace_first_value(name, value),
            6 => edit.replace_field(rng.below(12) as usize, value),
            7 => edit.request_uri(VALUES[10].as_bytes()),
            _ => edit.body("text/plain", value),
        };
    }
    edit.finish()
}

/// All that can be asked of a message.
fn said(message: &Message) -> String {
    let fields: Vec<_> = message
        .fields()
        .map(|f| (f.name.to_vec(), f.value.to_vec(), f.id, f.index))
        .collect();
    let firsts: Vec<_> = NAMES.iter().map(|name| message.header(*name)).collect();
    let values: Vec<Vec<_>> = NAMES.iter().map(|n| message.values(*n).collect()).collect();
    format!(
        "{fields:?} {firsts:?} {values:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?}",
        message.top_via().ok().map(|v| (v.raw(), v.branch())),
        message
            .from()
            .ok()
            .map(|a| (a.display, a.uri, a.params.raw(), a.tag())),
        message
            .to()
            .ok()
            .map(|a| (a.display, a.uri, a.params.raw(), a.tag())),
        message.cseq().ok(),
        message.request_uri(),
        message.status(),
        message.reason(),
        message.body(),
    )
}

#[test]
fn an_edited_message_says_what_a_reader_of_its_bytes_is_told() {
    let (mut rng, mut read) = (Rng::from_number(5), 0);
    for round in 0..6_000 {
        let text = MESSAGES[round % MESSAGES.len()];
        let first = Bytes::from_static(text.as_bytes());
        let mut message = Message::parse(first, &Limits::trusted()).unwrap();
        for _ in 0..3 {
            message = change(&mut rng, &message);
            // One that is no message any more is read by nobody.
            if let Ok(again) = Message::parse(message.bytes().clone(), &Limits::trusted()) {
                assert_eq!(said(&message), said(&again), "round {round}");
                read += 1;
            }
        }
    }
    assert!(read > 3_000, "{read} of them could be read");
}

#[test]
fn a_top_via_behind_a_field_of_commas_is_found_where_an_edit_moved_it() {
    let first = Bytes::from_static(MESSAGES[3].as_bytes());
    let message = Message::parse(first, &Limits::trusted()).unwrap();
    let edited = message.edit().set(Name::MaxForwards, "9").finish();
    let via = edited.top_via().unwrap();
    assert_eq!(via.raw(), b"SIP/2.0/TLS c;branch=z9hG4bKx");
    assert_eq!(via.branch(), Some(&b"z9hG4bKx"[..]));
}
