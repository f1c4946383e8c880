//! Dialogs that a message names: Replaces, Join, Target-Dialog, Refer-To, softkeys of phones.

use super::*;

/// Tags of a standing call as its ends know them: the caller's own, the one it sees, the
/// callee's own, the one that sees.
fn tags(s: &Standing) -> [String; 4] {
    let of = |tag: &[u8]| String::from_utf8(tag.to_vec()).unwrap();
    [
        of(s.caller.local_tag()),
        of(s.caller.remote_tag()),
        of(s.callee.local_tag()),
        of(s.callee.remote_tag()),
    ]
}

fn value(message: &Message, name: Name) -> String {
    String::from_utf8(message.header(name).unwrap().to_vec()).unwrap()
}

#[test]
fn refer_names_the_dialog_as_the_other_leg_knows_it() {
    let mut s = call(true, EDGE);
    let (far, near) = (
        String::from_utf8(s.caller.remote_tag().to_vec()).unwrap(),
        String::from_utf8(s.caller.local_tag().to_vec()).unwrap(),
    );
    let value = format!(
        "<sip:1003@x?Replaces=the-call%40phone%3Bto-tag%3D{far}%3Bfrom-tag%3D{near}\
         &Require=replaces>"
    );
    let remotecc = format!(
        "<softkey><dialogid><callid>the-call@phone</callid><localtag>{near}</localtag>\
         <remotetag>{far}</remotetag></dialogid><dialogid><callid>other</callid>\
         <localtag>1</localtag><remotetag>2</remotetag></dialogid></softkey>"
    );
    let refer = s
        .caller
        .request(b"REFER")
        .header(Name::ReferTo, &value)
        .body(b"application/x-cisco-remotecc-request+xml", &remotecc)
        .build();
    let (_, got) = s.carry(EDGE, refer);
    let ours = String::from_utf8(s.callee.remote_tag().to_vec()).unwrap();
    let refer_to = String::from_utf8(got.header(Name::ReferTo).unwrap().to_vec()).unwrap();
    assert_eq!(
        refer_to,
        format!(
            "<sip:1003@x?Replaces=the-call%40phone%3Bto-tag%3Db1%3Bfrom-tag%3D{ours}\
             &Require=replaces>"
        )
    );
    let expected = remotecc.replace(&near, &ours).replace(&far, "b1");
    assert_eq!(text(&got), expected);
    let replaces = format!("the-call@phone;from-tag={near};to-tag={far};early-only");
    let mut edit = invite("alice", None).edit().finish();
    edit = edit.edit().set(Name::Replaces, &replaces).finish();
    let mapped = s.world.b2bua.map_references(EDGE_SIDE, &edit);
    assert_eq!(
        mapped.header(Name::Replaces).unwrap(),
        format!("the-call@phone;from-tag={ours};to-tag=b1;early-only").as_bytes()
    );
    assert_eq!(
        s.world.b2bua.map_references(Side::Inside, &edit).bytes(),
        edit.bytes()
    );
}

#[test]
fn every_header_that_names_a_call_is_translated_from_both_sides() {
    let s = call(true, EDGE);
    let [near, far, bob, ours] = tags(&s);
    let table = [
        (Name::Replaces, "to-tag", "from-tag"),
        (Name::Other("Join"), "to-tag", "from-tag"),
        (Name::Other("Target-Dialog"), "local-tag", "remote-tag"),
        (Name::Other("Target-Dialog"), "remote-tag", "local-tag"),
    ];
    for (name, peers, own) in table {
        let from_edge = format!("the-call@phone;{peers}={far};{own}={near}");
        let from_inside = format!("the-call@phone;{peers}={ours};{own}={bob}");
        let expected = format!("the-call@phone;{peers}={bob};{own}={ours}");
        let back = format!("the-call@phone;{peers}={near};{own}={far}");
        for (side, named, want) in [
            (EDGE_SIDE, &from_edge, &expected),
            (Side::Inside, &from_inside, &back),
        ] {
            let message = invite("x", None).edit().set(name, named).finish();
            let mapped = s.world.b2bua.map_references(side, &message);
            assert_eq!(&value(&mapped, name), want, "{name:?}");
            let rest = |m: &Message, v: &str| String::from_utf8_lossy(m.bytes()).replace(v, "");
            assert_eq!(rest(&mapped, want), rest(&message, named), "all else stays");
        }
    }
}

#[test]
fn client_of_another_edge_names_a_call_by_the_same_names_and_is_judged_as_any() {
    let s = call(true, EDGE);
    let [near, far, bob, ours] = tags(&s);
    let elsewhere = Side::Edge { link: LinkId(9) };
    for name in [Name::Replaces, Name::Other("Join")] {
        let named = format!("the-call@phone;to-tag={far};from-tag={near}");
        let message = invite("x", None).edit().set(name, named).finish();
        let mapped = s.world.b2bua.map_references(elsewhere, &message);
        let want = format!("the-call@phone;to-tag={bob};from-tag={ours}");
        assert_eq!(value(&mapped, name), want, "{name:?}");
        assert_eq!(s.world.b2bua.named_calls(elsewhere, &message).len(), 1);
    }
}

#[test]
fn refer_to_our_own_contact_leads_to_the_other_legs_far_end() {
    let mut s = call(true, EDGE);
    let [near, far, bob, ours] = tags(&s);
    let contact = String::from_utf8(s.caller.target().to_vec()).unwrap();
    let named = |uri: &str, header: &str, to: &str, from: &str| {
        format!("\"C\" <{uri}?{header}=the-call%40phone%3Bto-tag%3D{to}%3Bfrom-tag%3D{from}>;x=y")
    };
    let target = "sip:b1@203.0.113.9";
    for (uri, header, leads_to) in [
        (contact.as_str(), "Replaces", target),
        (contact.as_str(), "Subject=a&Join", target),
        ("sip:1003@example.test", "Replaces", "sip:1003@example.test"),
    ] {
        let refer = s
            .caller
            .request(b"REFER")
            .header(Name::ReferTo, named(uri, header, &far, &near))
            .build();
        let (_, got) = s.carry(EDGE, refer);
        let want = named(leads_to, header, &bob, &ours);
        assert_eq!(value(&got, Name::ReferTo), want);
        s.world.take(INSIDE, reply(&got, 202, "", None));
        assert_eq!(s.world.words(EDGE), ["202"]);
    }
}

#[test]
fn refer_without_a_dialog_passes_as_it_is() {
    let mut s = call(true, EDGE);
    for refer_to in [
        "<sip:1003@example.test;user=phone?Subject=x>",
        "sip:1003@example.test",
        "<sip:1003@x?Replaces=another%3Bto-tag%3D1%3Bfrom-tag%3D2>",
        "<cid:1@x>",
        "<sip:1003@x?Replaces=>",
    ] {
        let refer = s.caller.request(b"REFER").header(Name::ReferTo, refer_to);
        let (_, got) = s.carry(
            EDGE,
            refer
                .header(Name::Other("Referred-By"), "<sip:a@b>")
                .build(),
        );
        assert_eq!(value(&got, Name::ReferTo), refer_to);
        s.world.take(INSIDE, reply(&got, 202, "", None));
        s.world.out(EDGE);
    }
}

#[test]
fn invite_that_replaces_a_call_names_it_as_the_other_leg_does() {
    let mut s = call(true, EDGE);
    let [near, far, bob, ours] = tags(&s);
    let replaces = format!("the-call@phone;to-tag={ours};from-tag={bob}");
    let message = invite("carol", Some(&inside_sdp()))
        .edit()
        .set(Name::CallId, "second@inside")
        .set(Name::Replaces, replaces)
        .finish();
    s.world.ask(INSIDE, &message);
    let got = s.world.one(EDGE);
    let want = format!("the-call@phone;to-tag={near};from-tag={far}");
    assert_eq!(value(&got, Name::Replaces), want);
}

#[test]
fn softkeys_in_a_part_of_the_body_are_translated_and_other_bodies_are_not() {
    let mut s = call(true, INSIDE);
    let [near, far, bob, ours] = tags(&s);
    let dialog = |local: &str, remote: &str| {
        format!(
            "<dialogid>\n<callid>the-call@phone</callid>\n<remotetag>{remote}</remotetag>\n\
             <localtag>{local}</localtag></dialogid>"
        )
    };
    let body = |a: &str, b: &str| {
        format!(
            "--b\r\nContent-Type: application/x-cisco-remotecc-request+xml\r\n\r\n\
             <join>{a}{a}</join>\r\n\
             --b\r\nContent-Type: application/x-cisco-remotecc-cm+xml\r\n\r\n<cm/>{b}\r\n--b--\r\n"
        )
    };
    let mine = dialog(&near, &far);
    let foreign = dialog("x", "y");
    for (kind, mapped) in [
        ("multipart/mixed;boundary=b", true),
        ("application/x-cisco-remotecc-request+xml", true),
        ("text/plain", false),
    ] {
        let refer = s
            .caller
            .request(b"REFER")
            .header(Name::ReferTo, "cid:1@x")
            .body(kind.as_bytes(), body(&mine, &foreign))
            .build();
        let (_, got) = s.carry(INSIDE, refer);
        let want = if mapped {
            dialog(&ours, &bob)
        } else {
            mine.clone()
        };
        assert_eq!(text(&got), body(&want, &foreign), "{kind}");
        s.world.take(EDGE, reply(&got, 202, "", None));
        s.world.out(INSIDE);
    }
}

#[test]
fn dialogs_in_one_body_are_translated_up_to_a_bound() {
    let mut s = call(true, EDGE);
    let [near, far, ..] = tags(&s);
    let one = format!(
        "<callid>the-call@phone</callid><localtag>{near}</localtag><remotetag>{far}</remotetag>"
    );
    let refer = s
        .caller
        .request(b"REFER")
        .header(Name::ReferTo, "cid:1@x")
        .body(b"application/x-cisco-remotecc-request+xml", one.repeat(40))
        .build();
    let (_, got) = s.carry(EDGE, refer);
    assert_eq!(text(&got).matches(&one).count(), 24);
}

#[test]
fn torn_names_of_dialogs_change_nothing_and_do_not_panic() {
    let s = call(true, EDGE);
    let [near, far, ..] = tags(&s);
    let whole = format!("<sip:x?Replaces=the-call%40phone%3Bto-tag%3D{far}%3Bfrom-tag%3D{near}>");
    let body = format!(
        "<callid>the-call@phone</callid><localtag>{near}</localtag><remotetag>{far}</remotetag>"
    );
    for end in 0..whole.len() {
        let message = invite("x", None)
            .edit()
            .set(Name::ReferTo, &whole[..end])
            .finish();
        let _ = s.world.b2bua.map_references(EDGE_SIDE, &message);
    }
    for end in 0..body.len() {
        let kind = b"application/x-cisco-remotecc-request+xml";
        let message = invite("x", None).edit().body(kind, &body[..end]).finish();
        let mapped = s.world.b2bua.map_references(EDGE_SIDE, &message);
        assert_eq!(mapped.body(), &body.as_bytes()[..end]);
    }
}
