//! Dialogs that never were, and those of others: what a client or a neighbour gains by knowing a
//! token that we recorded, or an address of a client that it met in a call. Nothing.

use super::calls::{SDP_INSIDE, answer, follow, invite_from_client};
use super::*;

const ZONES: &str = r#"
[[call_control]]
name = "kamailio"
address = "10.0.0.5:5060"
[[zones]]
name = "partner"
type = "neighbor"
peers = ["10.0.0.40"]
transport = "tcp"
monitor = false
[[zones]]
name = "mute"
type = "neighbor"
peers = ["10.0.0.60"]
transport = "tcp"
accept_incoming = false
monitor = false
[[search_rules]]
name = "to the partner"
source = "any"
pattern_type = "suffix"
pattern = "@partner.test"
target = "partner"
[[search_rules]]
name = "to the other"
source = "any"
pattern_type = "suffix"
pattern = "@mute.test"
target = "mute"
"#;

/// A client's request; `more` holds its Routes and whatever else.
fn of_client(method: &str, uri: &str, who: (&str, &str), to: &str, more: &str) -> String {
    let (user, flow) = who;
    format!(
        "{method} {uri} SIP/2.0\r\n\
         Record-Route: <sip:{flow}@edge1.example.test:5061;transport=tls;lr>\r\n\
         P-Asserted-Identity: <sip:{user}@example.test>\r\n\
         From: <sip:{user}@example.test>;tag=c\r\n\
         To: {to}\r\nCall-ID: d-{user}\r\nCSeq: 7 {method}\r\nMax-Forwards: 70\r\n\
         Contact: <sip:{user}@198.51.100.7:5555;transport=tls>\r\n{more}Content-Length: 0\r\n\r\n"
    )
}

const ALICE: (&str, &str) = ("1001", "t1");
const MALLORY: (&str, &str) = ("1002", "t2");
const CALLEE: &str = "sip:1100@example.test";

/// Two clients, and the Route that call control was told in a subscription of each.
fn subscribed() -> (World, ConnId, String, String) {
    let mut world = World::new(REGISTRAR, no_inside);
    world.registered("1001", "t1");
    world.registered("1002", "t2");
    let inside = world.dialled("10.0.0.5");
    let mut routes = [ALICE, MALLORY].map(|who| {
        let to = format!("<{CALLEE}>");
        world.ask(
            LANE,
            &of_client("SUBSCRIBE", CALLEE, who, &to, "Event: presence\r\n"),
        );
        let sent = world.one(inside);
        let route = text(Some(sent.values(Name::RecordRoute).next().unwrap()));
        world.take(inside, sent.reply(200, "OK", "k").build());
        assert_eq!(world.one(LANE).status(), 200);
        format!("Route: {route}\r\n")
    });
    let [alice, mallory] = std::mem::take(&mut routes);
    (world, inside, alice, mallory)
}

#[test]
fn a_subscription_goes_on_and_its_token_leads_nowhere_else() {
    let (mut world, inside, alice, mallory) = subscribed();
    let to = format!("<{CALLEE}>;tag=k");
    world.ask(
        LANE,
        &of_client("SUBSCRIBE", CALLEE, MALLORY, &to, &mallory),
    );
    assert_eq!(uri(&world.one(inside)), CALLEE);

    // Another's token, another Call-ID, another address, and no tag of the dialog's.
    let stolen = of_client("MESSAGE", CALLEE, MALLORY, &to, &alice);
    let named = stolen.replace("From: <sip:1002@", "From: <sip:1001@");
    let mine = of_client("MESSAGE", CALLEE, MALLORY, &to, &mallory);
    let whole = stolen.replace("1002@", "1001@").replace("d-1002", "d-1001");
    let forged = [
        named.clone(),
        named.replace("d-1002", "d-1001"),
        whole.replace(
            "Asserted-Identity: <sip:1001@",
            "Asserted-Identity: <sip:1002@",
        ),
        mine.replace("d-1002", "another"),
        mine.replace("From: <sip:1002@", "From: <sip:boss@"),
        mine.replace("tag=c", "tag=other"),
        stolen,
    ];
    for request in forged {
        world.ask(LANE, &request);
        assert_eq!(world.one(LANE).status(), 481, "{request}");
    }
    assert!(world.out(inside).is_empty());
}

#[test]
fn a_request_in_a_dialog_goes_where_call_control_is_and_nowhere_else() {
    let (mut world, inside, _, mallory) = subscribed();
    let to = format!("<{CALLEE}>;tag=k");
    let elsewhere = [
        ("sip:root@10.0.0.66:22", ""),
        ("sip:900@pstn.example;maddr=10.0.0.66", ""),
        (CALLEE, "Route: <sip:10.0.0.66:22;lr>\r\n"),
        (CALLEE, "Route: <sip:nobody.test;lr>\r\n"),
        (CALLEE, "Route: <sip:10.0.0.5;lr>, <sip:10.0.0.66;lr>\r\n"),
        ("sip:root@10.0.0.66:22", "Route: <sip:10.0.0.5;lr>\r\n"),
    ];
    for (target, routes) in elsewhere {
        let more = format!("{mallory}{routes}");
        world.ask(LANE, &of_client("MESSAGE", target, MALLORY, &to, &more));
        assert_eq!(world.one(LANE).status(), 403, "{target} {routes}");
        assert!(world.out(inside).is_empty());
    }
    assert!(world.kinds().contains(&Kind::TargetRefused));
    // Through call control and back to another client, whatever that one's address is.
    let back = "Route: <sip:10.0.0.5;lr>, <sip:x@10.0.0.20:5060;lr>\r\n";
    let more = format!("{mallory}{back}");
    let theirs = "sip:1001@192.168.1.7:5061";
    world.ask(LANE, &of_client("MESSAGE", theirs, MALLORY, &to, &more));
    assert_eq!(uri(&world.one(inside)), theirs);
}

fn uri(message: &Message) -> String {
    text(Some(message.request_uri()))
}

/// Alice in a call with call control; the call's address inside, and its tags there.
fn in_call() -> (World, ConnId, String, String, String) {
    let mut world = World::new(ZONES, no_inside);
    world.registered("1001", "t1");
    let invite = world.ask(LANE, &invite_from_client("t1"));
    let inside = world.dialled("10.0.0.5");
    let sent = world.one(inside);
    let contact = text(sent.header(Name::Contact));
    let contact = contact.trim_matches(['<', '>']).to_owned();
    let from = text(sent.header(Name::From));
    world.take(
        inside,
        answer(&sent, "p", "<sip:1100@10.0.0.31>", SDP_INSIDE),
    );
    let ok = world.one(LANE);
    world.ask(LANE, &follow("ACK", &invite, &ok, 1));
    let _ = world.one(inside);
    let id = text(Some(sent.call_id()));
    (world, inside, contact, from, id)
}

fn of_callee(method: &str, call: (&str, &str, &str), cseq: u32) -> String {
    let (contact, from, id) = call;
    format!(
        "{method} {contact} SIP/2.0\r\nFrom: <sip:1100@example.test>;tag=p\r\nTo: {from}\r\n\
         Call-ID: {id}\r\nCSeq: {cseq} {method}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
    )
}

#[test]
fn a_neighbour_is_not_heard_in_a_call_of_call_control() {
    let (mut world, inside, contact, from, id) = in_call();
    let call = (contact.as_str(), from.as_str(), id.as_str());
    for remote in ["10.0.0.60:40001", "10.0.0.40:40002"] {
        let hostile = ConnId(80);
        world.connect(hostile, Side::Inside, remote);
        for (cseq, method) in [(5, "INFO"), (6, "INVITE"), (9, "BYE")] {
            world.ask(hostile, &of_callee(method, call, cseq));
            assert_eq!(world.one(hostile).status(), 481, "{method} of {remote}");
        }
        world.give(Input::Disconnected {
            conn: hostile,
            why: String::new(),
        });
    }
    assert!(world.out(LANE).is_empty(), "nothing came through");
    // The one that it is with is, also by a connection of its own.
    let own = ConnId(81);
    world.connect(own, Side::Inside, "10.0.0.5:40009");
    world.ask(own, &of_callee("INFO", call, 10));
    assert_eq!(world.one(LANE).method(), Method::Info);
    world.ask(inside, &of_callee("BYE", call, 11));
    assert_eq!(world.one(LANE).method(), Method::Bye);
}

#[test]
fn a_neighbour_reaches_a_client_by_search_rules_alone() {
    let (mut world, _, contact, ..) = in_call();
    let gruu = "sip:1001@example.test;gr=urn:uuid:1";
    let hostile = ConnId(80);
    for (remote, status) in [("10.0.0.60:40001", 403), ("10.0.0.40:40002", 404)] {
        world.connect(hostile, Side::Inside, remote);
        for target in [contact.as_str(), gruu] {
            for method in ["INVITE", "MESSAGE", "NOTIFY", "REFER"] {
                let refer = "Refer-To: <sip:1@partner.test>\r\n";
                world.ask(
                    hostile,
                    &format!(
                        "{method} {target} SIP/2.0\r\nFrom: <sip:boss@example.test>;tag=x\r\n\
                         To: <{target}>\r\nCall-ID: n-{method}\r\nCSeq: 1 {method}\r\n\
                         Max-Forwards: 70\r\n{refer}Content-Length: 0\r\n\r\n"
                    ),
                );
                assert_eq!(world.one(hostile).status(), status, "{method} {target}");
            }
        }
        world.give(Input::Disconnected {
            conn: hostile,
            why: String::new(),
        });
    }
    assert!(world.out(LANE).is_empty());
}

#[test]
fn a_route_between_neighbours_is_good_in_its_own_dialog_alone() {
    let mut world = World::new(ZONES, no_inside);
    let caller = ConnId(80);
    world.connect(caller, Side::Inside, "10.0.0.40:40001");
    let mute = world.dialled("10.0.0.60");
    let head = |method: &str, tags: (&str, &str), id: &str, way: &str| {
        let to = if tags.1.is_empty() {
            "<sip:a@mute.test>".to_owned()
        } else {
            format!("<sip:a@mute.test>;tag={}", tags.1)
        };
        format!(
            "{method} sip:a@mute.test SIP/2.0\r\n{way}From: <sip:9@partner.test>;tag={}\r\n\
             To: {to}\r\nCall-ID: {id}\r\nCSeq: 3 {method}\r\nMax-Forwards: 70\r\n\
             Contact: <sip:9@10.0.0.40>\r\nContent-Length: 0\r\n\r\n",
            tags.0
        )
    };
    world.ask(caller, &head("SUBSCRIBE", ("a", ""), "s1", ""));
    let sent = world.one(mute);
    let route = text(Some(sent.values(Name::RecordRoute).next().unwrap()));
    let way = format!("Route: {route}\r\n");
    world.take(mute, sent.reply(200, "OK", "b").build());
    assert_eq!(world.one(caller).status(), 200);
    let partner = world.dialled("10.0.0.40");
    world.ask(mute, &head("NOTIFY", ("b", "a"), "s1", &way));
    assert_eq!(world.one(partner).method(), Method::Notify);
    for (tags, id) in [(("b", "a"), "s2"), (("b", "made-up"), "s1")] {
        world.ask(mute, &head("MESSAGE", tags, id, &way));
        assert_eq!(world.one(mute).status(), 481, "{tags:?} {id}");
    }
}

#[test]
fn a_subscription_goes_on_to_the_phone_that_gave_its_address_and_to_no_client_that_gave_one() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.registered("1001", "t1");
    world.registered("1002", "t2");
    let inside = world.dialled("10.0.0.5");
    let to = format!("<{CALLEE}>");
    let event = "Event: presence\r\n";
    world.ask(LANE, &of_client("SUBSCRIBE", CALLEE, MALLORY, &to, event));
    let sent = world.one(inside);
    let route = text(Some(sent.values(Name::RecordRoute).next().unwrap()));
    let answer = |tag: &str, contact: &str| {
        sent.reply(200, "OK", tag)
            .header(Name::Contact, contact)
            .header(Name::Expires, "600")
            .build()
    };
    // Another client answers first, and its answer comes back by call control: no address of it
    // leads anywhere.
    let theirs = "<sip:root@10.0.0.66:22>";
    let outside = answer("accomplice", theirs);
    world.core.targets.heard(&outside, true);
    world.core.targets.heard(&outside, false);
    world.take(inside, answer("phone", "<sip:1100@10.0.0.31:5062>"));
    assert_eq!(world.one(LANE).status(), 200);
    let more = format!("{event}Route: {route}\r\n");
    let mut ask = |tag: &str, target: &str| {
        let to = format!("<{CALLEE}>;tag={tag}");
        world.ask(LANE, &of_client("SUBSCRIBE", target, MALLORY, &to, &more));
        let led = world.out(inside).first().map(uri);
        let refused = world.out(LANE).iter().any(|m| m.status() == 403);
        (led, refused)
    };
    let phone = "sip:1100@10.0.0.31:5062";
    assert_eq!(ask("phone", phone), (Some(phone.to_owned()), false));
    assert_eq!(ask("phone", "sip:1100@10.0.0.31:22"), (None, true));
    assert_eq!(ask("accomplice", "sip:root@10.0.0.66:22"), (None, true));
    assert_eq!(ask("accomplice", phone), (None, true));
}
