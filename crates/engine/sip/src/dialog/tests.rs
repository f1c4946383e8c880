//! Dialogs from both ends, with route sets of both kinds.

use bytes::Bytes;

use super::*;

fn message(text: &str) -> Message {
    Message::parse(
        Bytes::from(text.replace('\n', "\r\n")),
        &crate::Limits::default(),
    )
    .unwrap()
}

fn invite() -> Message {
    message(
        "INVITE sip:bob@example.test SIP/2.0\n\
         Via: SIP/2.0/TLS a.example.test;branch=z9hG4bKa\n\
         Record-Route: <sip:p2.example.test;lr>,<sip:p1.example.test;lr>\n\
         From: \"A; tag=x\" <sip:alice@example.test;x=y>;tag=a1;epid=3\n\
         To: <sip:bob@example.test>\n\
         Call-ID: c1\n\
         CSeq: 7 INVITE\n\
         Contact: <sip:alice@192.0.2.1;transport=tls>\n\
         Session-Expires: 1800;refresher=uas\n\
         Content-Length: 0\n\n",
    )
}

fn answer(status: u16) -> Message {
    invite()
        .reply(status, "OK", "b1")
        .header(Name::Contact, b"<sip:bob@192.0.2.2>")
        .build()
}

fn built(builder: RequestBuilder) -> Message {
    builder.build()
}

#[test]
fn uas_dialog_addresses_the_caller_through_the_routes_in_order() {
    let mut dialog = Dialog::uas(&invite(), "b1").unwrap();
    let bye = built(dialog.request(b"BYE"));
    assert_eq!(bye.request_uri(), b"sip:alice@192.0.2.1;transport=tls");
    let routes: Vec<_> = bye.values(Name::Route).collect();
    assert_eq!(
        routes,
        [
            &b"<sip:p2.example.test;lr>"[..],
            b"<sip:p1.example.test;lr>"
        ]
    );
    assert_eq!(
        bye.header(Name::From),
        Some(&b"<sip:bob@example.test>;tag=b1"[..])
    );
    let to = b"\"A; tag=x\" <sip:alice@example.test;x=y>;epid=3;tag=a1";
    assert_eq!(bye.header(Name::To), Some(&to[..]));
    assert_eq!(bye.cseq().unwrap().number, 1);
}

#[test]
fn uac_dialog_addresses_the_callee_through_the_routes_reversed() {
    let mut dialog = Dialog::uac(&invite(), &answer(200)).unwrap();
    let bye = built(dialog.request(b"BYE"));
    assert_eq!(bye.request_uri(), b"sip:bob@192.0.2.2");
    let routes: Vec<_> = bye.values(Name::Route).collect();
    assert_eq!(
        routes,
        [
            &b"<sip:p1.example.test;lr>"[..],
            b"<sip:p2.example.test;lr>"
        ]
    );
    assert_eq!(bye.cseq().unwrap().number, 8);
    assert_eq!(dialog.ack(7).build().cseq().unwrap().number, 7);
    assert!(dialog.is_confirmed());
}

#[test]
fn a_strict_router_takes_the_request_uri() {
    let mut edit = answer(200).edit().finish();
    edit = edit
        .edit()
        .set(Name::RecordRoute, b"<sip:strict.example.test>")
        .finish();
    let ok = edit;
    let mut dialog = Dialog::uac(&invite(), &ok).unwrap();
    let bye = built(dialog.request(b"BYE"));
    assert_eq!(bye.request_uri(), b"sip:strict.example.test");
    assert_eq!(
        bye.values(Name::Route).collect::<Vec<_>>(),
        [b"<sip:bob@192.0.2.2>"]
    );
}

#[test]
fn matching_needs_call_id_and_both_tags() {
    let mut caller = Dialog::uac(&invite(), &answer(200)).unwrap();
    let mut callee = Dialog::uas(&invite(), "b1").unwrap();
    assert!(callee.matches(&built(caller.request(b"BYE"))));
    assert!(caller.matches(&built(callee.request(b"BYE"))));
    assert!(caller.matches(&answer(200)));
    assert!(
        !Dialog::uas(&invite(), "b2")
            .unwrap()
            .matches(&built(caller.request(b"BYE")))
    );
}

#[test]
fn cseq_out_of_order_is_refused_and_target_refreshed_only_in_order() {
    let mut callee = Dialog::uas(&invite(), "b1").unwrap();
    let mut caller = Dialog::uac(&invite(), &answer(200)).unwrap();
    let update = caller
        .request(b"UPDATE")
        .header(Name::Contact, b"<sip:new@192.0.2.9>")
        .build();
    assert_eq!(callee.incoming(&update), Ok(()));
    assert_eq!(callee.target(), b"sip:new@192.0.2.9");
    assert_eq!(callee.incoming(&update), Err(DialogError::OutOfOrder));
    let info = caller
        .request(b"INFO")
        .header(Name::Contact, b"<sip:x@192.0.2.10>")
        .build();
    assert_eq!(callee.incoming(&info), Ok(()));
    assert_eq!(callee.target(), b"sip:new@192.0.2.9");
}

#[test]
fn the_2xx_settles_what_an_early_dialog_began() {
    let early = invite().reply(180, "Ringing", "b1").build();
    let mut dialog = Dialog::uac(&invite(), &early).unwrap();
    assert!(!dialog.is_confirmed());
    assert_eq!(dialog.target(), b"sip:bob@example.test");
    dialog.answered(&answer(200));
    assert!(dialog.is_confirmed());
    assert_eq!(
        (dialog.target(), dialog.routes().count()),
        (&b"sip:bob@192.0.2.2"[..], 2)
    );
}

#[test]
fn too_many_routes_and_missing_parts_are_refused() {
    let mut builder = invite()
        .reply(200, "OK", "b1")
        .header(Name::Contact, b"<sip:b@192.0.2.2>");
    for _ in 0..=ROUTES_MAX {
        builder = builder.header(Name::RecordRoute, b"<sip:p;lr>");
    }
    let refused = Dialog::uac(&invite(), &builder.build());
    assert_eq!(refused.err(), Some(DialogError::TooManyRoutes));
    let bare = invite().reply(200, "OK", "b1").build();
    assert_eq!(
        Dialog::uac(&invite(), &bare).err(),
        Some(DialogError::NoContact)
    );
}

#[test]
fn a_relayed_request_takes_the_dialogs_address_and_keeps_the_rest() {
    let mut dialog = Dialog::uac(&invite(), &answer(200)).unwrap();
    let incoming = message(
        "INFO sip:core@10.0.0.1 SIP/2.0\nVia: SIP/2.0/TLS z;branch=z9hG4bKz\n\
         Route: <sip:elsewhere;lr>\nFrom: <sip:q@x>;tag=q\nTo: <sip:r@x>;tag=r\n\
         Call-ID: other\nCSeq: 99 INFO\nX-Odd:  Kept \nContent-Type: a/b\nContent-Length: 2\n\nhi",
    );
    let cseq = dialog.next_cseq();
    let mut edit = incoming.edit();
    dialog.address(&mut edit, b"INFO", cseq);
    let out = edit.finish();
    assert_eq!(out.request_uri(), b"sip:bob@192.0.2.2");
    assert_eq!(out.values(Name::Route).count(), 2);
    assert_eq!((out.call_id(), out.body()), (&b"c1"[..], &b"hi"[..]));
    assert_eq!(out.cseq().unwrap().number, 8);
    assert!(out.bytes().windows(15).any(|w| w == b"X-Odd:  Kept \r\n"));
}

#[test]
fn tags_are_replaced_without_touching_names_that_look_like_them() {
    let table: [(&[u8], &[u8]); 4] = [
        (b"<sip:a@x;tag=no>;tag=old", b"<sip:a@x;tag=no>;tag=n"),
        (
            b"\"q;tag=\\\"z\" <sip:a@x> ; tag=old ;p=1",
            b"\"q;tag=\\\"z\" <sip:a@x> ;p=1;tag=n",
        ),
        (b"sip:a@x;TAG=old", b"sip:a@x;tag=n"),
        (b"<sip:a@x>", b"<sip:a@x>;tag=n"),
    ];
    for (value, expected) in table {
        assert_eq!(&*with_tag(value, Some(b"n")), expected);
    }
}

#[test]
fn session_interval_is_read_with_its_refresher_and_never_too_short() {
    let read = |value: &str| {
        let text = format!(
            "UPDATE sip:b@x SIP/2.0\nVia: SIP/2.0/TLS z;branch=z9hG4bKz\nFrom: <sip:q@x>;tag=q\n\
             To: <sip:r@x>;tag=r\nCall-ID: c\nCSeq: 9 UPDATE\nSession-Expires: {value}\n\
             Content-Length: 0\n\n"
        );
        SessionInterval::read(&message(&text))
    };
    let interval = |seconds, refresher| Some(SessionInterval { seconds, refresher });
    assert_eq!(
        read("1800;refresher=uas"),
        interval(1800, Some(Refresher::Uas))
    );
    assert_eq!(
        read("1800 ; Refresher = UAC"),
        interval(1800, Some(Refresher::Uac))
    );
    assert_eq!(read("5"), interval(90, None));
    assert_eq!(read("soon"), None);
}
