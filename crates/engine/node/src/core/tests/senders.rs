//! Who may send SIP to the core from inside.

use super::signing_in::{TARGET, cluster, sign_in};
use super::*;

const THEIRS: ConnId = ConnId(40);

const PING: &str = "OPTIONS sip:10.0.0.20:5060 SIP/2.0\r\nFrom: <sip:p@k>;tag=k\r\n\
    To: <sip:10.0.0.20>\r\nCall-ID: p\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";

/// What somebody at an address is answered.
fn answer(world: &mut World, from: &str) -> u16 {
    world.connect(THEIRS, Side::Inside, &format!("{from}:40000"));
    world.ask(THEIRS, PING);
    let status = world.one(THEIRS).status();
    let why = "done".into();
    world.give(Input::Disconnected { conn: THEIRS, why });
    status
}

#[test]
fn only_call_control_and_those_who_are_let_in_may_send() {
    let mut world = World::new(REGISTRAR, no_inside);
    for (from, status) in [
        ("10.0.0.5", 200),
        ("10.0.0.6", 200),
        ("[::ffff:10.0.0.6]", 200),
        ("10.0.0.7", 403),
        ("10.9.1.1", 403),
    ] {
        assert_eq!(answer(&mut world, from), status, "{from}");
    }
    let text = HEAD.replace(
        "listen = [\"10.0.0.20:5060\"]",
        "listen = [\"10.0.0.20:5060\"]\naccept_from = [\"10.9.0.0/16\"]",
    );
    let identity = identity();
    let config = load(&format!("{text}{REGISTRAR}"));
    world.core = Core::new(world.now, world.rng.fork(), &config, identity);
    assert_eq!(answer(&mut world, "10.9.1.1"), 200);
    assert_eq!(answer(&mut world, "10.0.0.7"), 403);
}

#[test]
fn a_strangers_flood_costs_one_event_and_no_transaction() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.connect(THEIRS, Side::Inside, "10.0.0.99:40000");
    let before = world.core.snapshot(world.now).counters.sip_transactions;
    for _ in 0..500 {
        world.ask(THEIRS, PING);
    }
    assert!(world.out(THEIRS).iter().all(|m| m.status() == 403));
    let look = world.core.snapshot(world.now);
    assert_eq!(look.counters.sip_transactions, before);
    let told = |world: &World| {
        let refused = |k: &&Kind| **k == Kind::SenderRefused;
        world.kinds().iter().filter(refused).count()
    };
    assert_eq!(told(&world), 1);
    assert!(look.events.iter().any(|e| e.fix.contains("accept_from")));
    // A host inside is no person: the log names it, once, so that the fix can be followed.
    let event = world.events.iter().find(|e| e.kind == Kind::SenderRefused);
    assert_eq!(event.unwrap().to_string().matches("source=").count(), 1);
    assert!(event.unwrap().to_string().contains("source=10.0.0.99 "));
    world.wait(Duration::from_secs(61));
    assert_eq!(told(&world), 2, "what followed is told as one");
    // What it acknowledges and answers is nothing either.
    world.ask(THEIRS, &PING.replace("OPTIONS", "ACK"));
    assert!(world.out(THEIRS).is_empty());
}

#[test]
fn every_node_of_a_cluster_may_send_by_whatever_dns_says_of_its_name() {
    let mut world = World::unlinked(UNIFIED_CM, cluster);
    assert_eq!(answer(&mut world, "10.0.1.2"), 403);
    world.addresses = vec![
        ("cucm1.example.test", vec!["10.0.1.1"]),
        ("cucm2.example.test", vec!["10.0.1.2", "10.0.1.3"]),
    ];
    world.wait(Duration::from_secs(30));
    for from in ["10.0.1.1", "10.0.1.2", "10.0.1.3"] {
        assert_eq!(answer(&mut world, from), 200, "{from}");
    }
    // One moves, and DNS is silent after that: what was known stands.
    world.addresses = vec![("cucm2.example.test", vec!["10.0.1.4"])];
    world.wait(Duration::from_secs(400));
    for (from, status) in [("10.0.1.1", 200), ("10.0.1.3", 403), ("10.0.1.4", 200)] {
        assert_eq!(answer(&mut world, from), status, "{from}");
    }
}

#[test]
fn until_dns_has_answered_a_server_is_told_to_come_again() {
    let mut world = World::unlinked("", no_inside);
    world.dns_is_slow = true;
    let config = load(&format!("{HEAD}{UNIFIED_CM}"));
    world.core = Core::new(world.now, world.rng.fork(), &config, identity());
    world.settle();
    assert_eq!(answer(&mut world, "10.0.1.1"), 503);
    assert!(!world.kinds().contains(&Kind::SenderRefused));
}

#[test]
fn a_cluster_with_path_headers_gets_contacts_as_they_came() {
    let extra = UNIFIED_CM.replace("user = \"axl\"", "user = \"axl\"\ncontact = \"path\"");
    let mut world = World::new(&extra, cluster);
    sign_in(&mut world, "example.test", "Alice", "secret", TARGET);
    let answer = super::signing_in::alices_answer(&world);
    super::signing_in::register(&mut world, &answer);
    let node = world.dialled("cucm2.example.test");
    let sent = world.one(node);
    assert_eq!(
        text(sent.header(Name::Contact)),
        "<sip:uuid@172.16.0.9:5555;transport=tls>;+u.sip!devicename.ccm.cisco.com=\"CSFALICE\""
    );
    let path = text(sent.header(Name::Path));
    assert!(
        path.ends_with("@10.0.0.20:5060;transport=tcp;lr>"),
        "{path}"
    );
    let contact = text(sent.header(Name::Contact));
    let reply = sent
        .reply(200, "OK", "u")
        .header(Name::Contact, &contact)
        .header(Name::Path, &path)
        .header(Name::Expires, "120")
        .build();
    world.take(node, reply);
    let back = world.one(LANE);
    assert_eq!(text(back.header(Name::Contact)), contact);
    assert!(back.header(Name::Path).is_none());
    world.ask(
        node,
        &format!(
            "NOTIFY sip:uuid@172.16.0.9:5555;transport=tls SIP/2.0\r\nRoute: {path}\r\n\
             From: <sip:cucm2.example.test>;tag=k\r\nTo: <sip:1001@cucm2.example.test>\r\n\
             Call-ID: n\r\nCSeq: 1 NOTIFY\r\nEvent: message-summary\r\n\
             Subscription-State: active\r\nContent-Length: 0\r\n\r\n"
        ),
    );
    assert_eq!(
        text(world.one(LANE).header(Name::Route)),
        "<sip:t1@edge1.example.test:5061;transport=tls;lr>"
    );
}

const NEIGHBOUR: &str = r#"
[[call_control]]
name = "kamailio"
address = "10.0.0.5:5060"
[[zones]]
name = "partner"
type = "neighbor"
peers = ["10.0.0.40"]
transport = "tls"
verify_name = "sbc.partner.test"
monitor = false
[[search_rules]]
name = "home"
source = "any"
pattern_type = "suffix"
pattern = "@partner.test"
target = "partner"
"#;

#[test]
fn a_neighbours_address_is_nothing_without_its_certificate() {
    let table = [
        (Transport::Tls, Some("sbc.partner.test"), 404),
        (Transport::Tls, Some("x.test *.partner.test"), 404),
        (Transport::Tls, Some("other.partner.example"), 403),
        (Transport::Tls, None, 403),
        (Transport::Tcp, None, 403),
    ];
    for (transport, peer_name, status) in table {
        let mut world = World::new(NEIGHBOUR, no_inside);
        let conn = ConnId(90);
        let facts = Facts {
            side: Side::Inside,
            local: "10.0.0.20:5061".parse().unwrap(),
            remote: "10.0.0.40:40001".parse().unwrap(),
            transport,
            peer_name: peer_name.map(str::to_owned),
        };
        world.give(Input::Connected { conn, facts });
        world.ask(
            conn,
            "INVITE sip:8001@nowhere.test SIP/2.0\r\nFrom: <sip:9@x>;tag=a\r\n\
             To: <sip:8001@nowhere.test>\r\nCall-ID: i\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n\
             Contact: <sip:9@10.0.0.40>\r\nContent-Length: 0\r\n\r\n",
        );
        let answer = world.out(conn);
        let answer = answer.iter().find(|m| m.status() >= 200).unwrap();
        assert_eq!(answer.status(), status, "{peer_name:?}");
        if status == 403 {
            let event = world.events.iter().find(|e| e.kind == Kind::SenderRefused);
            let shown = &event.unwrap().proof;
            assert!(
                shown
                    .iter()
                    .any(|(n, v)| *n == "wanted" && v == "sbc.partner.test")
            );
        }
        let why = String::new();
        world.give(Input::Disconnected { conn, why });
        assert!(world.core.proven.is_empty());
    }
}
