//! Who may have a call taken over or joined that he knows the ids of.

use super::calls::{
    answer, follow, invite_from_client, invite_from_phone, sdp_edge, stream_of, with_body,
};
use super::naming::standing;
use super::*;

/// An INVITE of a client outside of dialogs, as its edge passes it on.
fn invite(who: &str, token: &str, call: &str, fields: &str) -> String {
    let head = format!(
        "INVITE sip:1100@example.test SIP/2.0\r\n\
         Record-Route: <sip:{token}@edge1.example.test:5061;transport=tls;lr>\r\n\
         From: <sip:{who}@example.test>;tag=n\r\nTo: <sip:1100@example.test>\r\n\
         Call-ID: {call}\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n{fields}\
         P-Asserted-Identity: <sip:{who}@example.test>\r\n\
         Contact: <sip:{who}@198.51.100.7:5555;transport=tls>\r\n"
    );
    with_body(&head, &sdp_edge(&format!("000000{}", 20 + call.len())))
}

/// The call of 1001 as its client and its core know it.
fn fields(ours: &str) -> [String; 6] {
    [
        format!("Replaces: call1;to-tag={ours};from-tag=c\r\n"),
        format!("Replaces: call1;to-tag=c;from-tag={ours};early-only\r\n"),
        format!("replaces:\r\n call1 ; from-tag=c ; to-tag={ours}\r\n"),
        format!("Join: call1;to-tag={ours};from-tag=c\r\n"),
        format!("TARGET-DIALOG: call1;local-tag={ours};remote-tag=c\r\n"),
        format!("Refer-To: <sip:1002@x?Replaces=call1%3Bto-tag%3D{ours}%3Bfrom-tag%3Dc>\r\n"),
    ]
}

#[test]
fn a_call_is_taken_over_by_its_own_user_and_by_nobody_else_who_knows_its_ids() {
    let at = standing();
    let (mut world, inside, ours, inner) = (at.world, at.inside, at.outer, at.inner);
    world.registered("1002", "t2");
    for (n, named) in fields(&ours).iter().enumerate() {
        world.ask(LANE, &invite("1002", "t2", &format!("theft{n}"), named));
        assert_eq!(world.one(LANE).status(), 481, "{named}");
        assert!(world.out(inside).is_empty(), "{named}");
    }
    let told = world
        .events
        .iter()
        .filter(|e| e.kind == Kind::TakeoverRefused);
    let told: Vec<String> = told.map(ToString::to_string).collect();
    assert!(
        !told.is_empty()
            && told
                .iter()
                .all(|e| !e.contains("1002") && !e.contains("theft"))
    );
    // Another device of the same user may, and call control hears of its own dialog.
    let named = &fields(&ours)[0];
    world.ask(LANE, &invite("1001", "t1", "pull", named));
    let sent = world.one(inside);
    let value = text(sent.header(Name::Replaces));
    assert_eq!(value, format!("call1;to-tag=p;from-tag={inner}"));
    // What names no call of ours is call control's to know.
    let unknown = "Replaces: elsewhere;to-tag=1;from-tag=2\r\n";
    world.ask(LANE, &invite("1002", "t2", "other", unknown));
    let sent = world.one(inside);
    assert_eq!(
        text(sent.header(Name::Replaces)),
        "elsewhere;to-tag=1;from-tag=2"
    );
}

/// 1002 is called from inside; gives what the phone sent, and the answer it got.
fn second_call(world: &mut World, inside: ConnId) -> (Message, Message, Message) {
    let path = text(world.registered("1002", "t2").header(Name::Path));
    let called = invite_from_phone(&path).replace("1001", "1002");
    let called = world.ask(inside, &called);
    let sent = world.one(LANE);
    let contact = "<sip:1002@198.51.100.7:5555;transport=tls>";
    let stream = stream_of(&sent);
    world.take(LANE, answer(&sent, "b", contact, &sdp_edge(&stream)));
    let ok = world.one(inside);
    world.ask(inside, &follow("ACK", &called, &ok, 1));
    let _ = world.one(LANE);
    (called, ok, sent)
}

fn referring(request: &str, refer_to: &str) -> String {
    request.replace(
        "Max-Forwards",
        &format!("Refer-To: {refer_to}\r\nMax-Forwards"),
    )
}

#[test]
fn who_was_asked_by_a_refer_from_inside_takes_a_call_over_for_two_minutes() {
    let at = standing();
    let (mut world, inside, ours, inner) = (at.world, at.inside, at.outer, at.inner);
    let (called, ok, _) = second_call(&mut world, inside);
    let names = format!("<sip:1001@x?Replaces=call1%3Bto-tag%3D{inner}%3Bfrom-tag%3Dp>");
    world.ask(
        inside,
        &referring(&follow("REFER", &called, &ok, 2), &names),
    );
    let refer = world.one(LANE);
    let refer_to = text(refer.header(Name::ReferTo));
    assert!(refer_to.contains(&ours), "{refer_to}");
    world.ask(
        inside,
        &referring(&follow("REFER", &called, &ok, 3), &names),
    );
    assert_eq!(world.one(LANE).method(), Method::Refer);
    assert_eq!(world.core.grants.len(), 1, "asked twice, remembered once");
    let named = &fields(&ours)[1];
    world.ask(LANE, &invite("1002", "t2", "asked", named));
    let sent = world.one(inside);
    let value = text(sent.header(Name::Replaces));
    assert!(value.contains(&inner) && value.contains("=p"), "{value}");
    // It was asked to call, and not to have others call; nor was anybody else asked.
    let message = invite("1002", "t2", "more", named).replace("INVITE", "REFER");
    world.ask(LANE, &message);
    assert_eq!(world.one(LANE).status(), 481);
    // It is over, and its rows run out: who comes too late hears it from the callee.
    let over = format!(
        "BYE sip:x@x SIP/2.0\r\nFrom: <sip:1001@example.test>;tag=c\r\n\
         To: <sip:1100@example.test>;tag={ours}\r\nCall-ID: call1\r\nCSeq: 9 BYE\r\n\
         Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    );
    let mut late = standing();
    let bye = over.replace(&ours, &late.outer);
    late.world.ask(LANE, &bye);
    assert_eq!(late.world.one(late.inside).method(), Method::Bye);
    late.world
        .ask(LANE, &invite("1001", "t1", "late", &fields(&late.outer)[0]));
    assert_eq!(late.world.one(late.inside).method(), Method::Invite);
    world.wait(Duration::from_secs(121));
    let _ = (world.out(LANE), world.out(inside));
    world.ask(LANE, &invite("1002", "t2", "late", named));
    assert_eq!(world.one(LANE).status(), 481);
}

#[test]
fn a_client_has_no_other_transferred_into_a_call_that_is_not_its_own() {
    let at = standing();
    let (mut world, inside, ours) = (at.world, at.inside, at.outer);
    let (_, _, sent) = second_call(&mut world, inside);
    let tagged = |value: Option<&[u8]>, tag: &str| match text(value) {
        value if value.contains("tag=") => value,
        value => format!("{value};tag={tag}"),
    };
    let contact = text(sent.header(Name::Contact));
    let refer = format!(
        "REFER {} SIP/2.0\r\nFrom: {}\r\nTo: {}\r\nCall-ID: call2\r\nCSeq: 2 REFER\r\n\
         P-Asserted-Identity: <sip:1002@example.test>\r\nMax-Forwards: 70\r\n\
         Content-Length: 0\r\n\r\n",
        contact.trim_matches(['<', '>']),
        tagged(sent.header(Name::To), "b"),
        text(sent.header(Name::From)),
    );
    let theirs = format!("<sip:1001@x?Replaces=call1%3Bto-tag%3Dc%3Bfrom-tag%3D{ours}>");
    world.ask(LANE, &referring(&refer, &theirs));
    assert_eq!(world.one(LANE).status(), 481);
    assert!(world.out(inside).is_empty());
    assert!(world.kinds().contains(&Kind::TakeoverRefused));
    // To anybody else it may.
    let plain = referring(
        &refer.replace("CSeq: 2", "CSeq: 3"),
        "<sip:1100@example.test>",
    );
    world.ask(LANE, &plain);
    assert_eq!(world.one(inside).method(), Method::Refer);
}

#[test]
fn a_call_that_came_right_after_a_restart_is_transferred_by_its_own_client_and_no_other() {
    let mut world = World::new(REGISTRAR, no_inside);
    let path = text(world.registered("1001", "t1").header(Name::Path));
    let mut world = World::new(REGISTRAR, no_inside);
    world.core.registrar = Registrar::new(&Secret::new([7; 32]), &mut Rng::from_number(99));
    // It is called by a line of its own; nobody has proved yet who is there.
    let inside = world.dialled("10.0.0.5");
    let called = invite_from_phone(&path).replace("To: <sip:1001@", "To: <sip:5001@");
    let called = world.ask(inside, &called);
    let sent = world.one(LANE);
    let contact = "<sip:1001@198.51.100.7:5555;transport=tls>";
    let theirs = text(sent.header(Name::From));
    let theirs = theirs.split("tag=").nth(1).unwrap();
    let stream = stream_of(&sent);
    world.take(LANE, answer(&sent, "b", contact, &sdp_edge(&stream)));
    let ok = world.one(inside);
    world.ask(inside, &follow("ACK", &called, &ok, 1));
    let _ = world.one(LANE);
    // It calls, and proves who it is.
    let uri = "sip:1100@example.test";
    let proof = world.answer_for(Name::ProxyAuthorization, ("1001", "pw"), "INVITE", uri);
    let asked = invite_from_client("t1").replace("Max-Forwards", &format!("{proof}Max-Forwards"));
    let asked = world.ask(LANE, &asked);
    let sent = world.one(inside);
    let target = "<sip:1100@10.0.0.31>";
    world.take(inside, answer(&sent, "p", target, super::calls::SDP_INSIDE));
    let ok = world.one(LANE);
    world.ask(LANE, &follow("ACK", &asked, &ok, 1));
    let _ = world.one(inside);
    let named = format!("<sip:1100@x?Replaces=call2%3Bto-tag%3D{theirs}%3Bfrom-tag%3Db>");
    world.ask(LANE, &referring(&follow("REFER", &asked, &ok, 2), &named));
    let refer = world.one(inside);
    assert_eq!(refer.method(), Method::Refer);
    assert!(!text(refer.header(Name::ReferTo)).contains(theirs));
    // Another client, whoever that is.
    world.registered("1002", "t2");
    let named = format!("Replaces: call2;to-tag={theirs};from-tag=b\r\n");
    world.ask(LANE, &invite("1002", "t2", "theft", &named));
    assert_eq!(world.one(LANE).status(), 481);
}
