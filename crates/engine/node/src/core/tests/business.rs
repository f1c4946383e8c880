//! Calls of foreign domains, as an edge brings them.

use super::calls::{SDP_INSIDE, answer, follow, invite_from_client, sdp_edge, with_body};
use super::*;

const RULE: &str = r#"
[[search_rules]]
name = "the house"
source = "named"
source_name = "DefaultZone"
pattern_type = "regex"
pattern = '1\d{3}@example\.test'
target = "kamailio"
"#;

fn invite(from: &str, to: &str, mark: &str) -> String {
    let head = format!(
        "INVITE {to} SIP/2.0\r\n\
         Record-Route: <sip:t9@edge1.example.test:5061;transport=tls;lr{mark}>\r\n\
         From: <{from}>;tag=f\r\nTo: <{to}>\r\nCall-ID: b2b\r\nCSeq: 1 INVITE\r\n\
         Max-Forwards: 15\r\nP-Asserted-Identity: <sip:1001@example.test>\r\n\
         Proxy-Authorization: Digest username=\"x\"\r\nRoute: <sip:10.0.0.99;lr>\r\n\
         Contact: <sip:bob@203.0.113.9:5061;transport=tls>\r\n"
    );
    with_body(&head, &sdp_edge("00000021"))
}

fn world(rules: &str) -> World {
    World::new(&format!("{REGISTRAR}{rules}"), no_inside)
}

const BOB: &str = "sip:bob@partner.test";
const TO: &str = "sip:1100@example.test";

#[test]
fn a_foreign_call_goes_where_a_rule_of_the_default_zone_leads_and_hangs_up() {
    let mut world = world(RULE);
    let asked = world.ask(LANE, &invite(BOB, TO, ";business"));
    let inside = world.dialled("10.0.0.5");
    let sent = world.one(inside);
    assert_eq!(text(Some(sent.request_uri())), TO);
    for name in [
        Name::PAssertedIdentity,
        Name::ProxyAuthorization,
        Name::Route,
    ] {
        assert_eq!(sent.header(name), None, "{name:?}");
    }
    let body = text(Some(sent.body()));
    assert!(
        body.contains("RTP/AVP 8") && !body.contains("crypto"),
        "{body}"
    );
    let look = world.core.snapshot(world.now);
    assert_eq!(look.calls[0].kind, "Rich media session");

    world.take(
        inside,
        answer(&sent, "k", "<sip:1100@10.0.0.31>", SDP_INSIDE),
    );
    let ok = world.one(LANE);
    assert_eq!(ok.status(), 200);
    assert!(
        text(Some(ok.body())).contains("RTP/SAVP"),
        "outside it is encrypted"
    );
    world.ask(LANE, &follow("ACK", &asked, &ok, 1));
    assert_eq!(world.one(inside).method(), Method::Ack);
    // Call control dials nobody for a stranger.
    let refer = follow("REFER", &asked, &ok, 2).replace(
        "Content-Length",
        "Refer-To: <sip:900@example.test>\r\nContact: <sip:b@9.9.9.9>\r\nContent-Length",
    );
    world.ask(LANE, &refer);
    assert_eq!(world.one(LANE).status(), 403);
    world.ask(LANE, &follow("BYE", &asked, &ok, 3));
    let bye = world.one(inside);
    world.take(inside, bye.reply(200, "OK", "").build());
    assert_eq!(world.one(LANE).status(), 200);
    world.media_ends();
    world.idle();
    let look = world.core.snapshot(world.now);
    assert_eq!(look.history[0].kind, "Rich media session");
}

#[test]
fn without_a_rule_of_its_own_a_foreign_call_goes_nowhere() {
    let all_zones = RULE
        .replace("\"named\"", "\"all_zones\"")
        .replace("source_name = \"DefaultZone\"\n", "");
    let zones = RULE.replace("DefaultZone", "edge1");
    for rules in ["", &all_zones, &zones] {
        let mut world = world(rules);
        world.ask(LANE, &invite(BOB, TO, ";business"));
        assert_eq!(world.one(LANE).status(), 404, "{rules}");
        assert!(world.kinds().contains(&Kind::SearchRefused));
        assert!(world.sent.is_empty());
    }
}

#[test]
fn a_foreign_host_is_nobody_of_the_house_and_dials_no_address() {
    let mut world = world(&RULE.replace(r"1\d{3}@example\.test", ".*"));
    for (from, to, mark, status) in [
        ("sip:1001@example.test", TO, ";business", 403),
        ("sip:1001@example.test.", TO, ";business", 403),
        ("sip:1001@10.0.0.5", TO, ";business", 403),
        ("sip:1001@10.9.9.9", TO, ";business", 403),
        ("sip:1001@localhost", TO, ";business", 403),
        (BOB, "sip:1100@10.0.0.77", ";business", 403),
        (BOB, "sip:1100@example.test:22", ";business", 403),
        // Without the mark it is a client that has to show who it is.
        (BOB, TO, "", 407),
    ] {
        world.ask(LANE, &invite(from, to, mark));
        assert_eq!(world.one(LANE).status(), status, "{from} {to} {mark}");
        assert!(world.sent.is_empty());
    }
    // He takes over no call of ours.
    let takes = invite(BOB, TO, ";business").replacen(
        "Max-Forwards",
        "Replaces: call1;to-tag=a;from-tag=b\r\nMax-Forwards",
        1,
    );
    world.ask(LANE, &takes);
    assert_eq!(world.one(LANE).status(), 403);
    // Nor by what he refers to, of a call that is standing.
    world.registered("1001", "t1");
    let inside = world.dialled("10.0.0.5");
    world.ask(LANE, &invite_from_client("t1"));
    let sent = world.one(inside);
    world.take(
        inside,
        answer(&sent, "p", "<sip:1100@10.0.0.31>", SDP_INSIDE),
    );
    let ours = text(world.one(LANE).to().unwrap().tag());
    let named = format!("<sip:1@x?Replaces=call1%3Bto-tag%3D{ours}%3Bfrom-tag%3Dc>");
    let takes = invite(BOB, TO, ";business").replacen(
        "Max-Forwards",
        &format!("Refer-To: {named}\r\nMax-Forwards"),
        1,
    );
    world.ask(LANE, &takes);
    assert_eq!(world.one(LANE).status(), 403);
    assert!(world.out(inside).is_empty());
    // And no other request than a call.
    let message = invite(BOB, TO, ";business").replace("INVITE", "MESSAGE");
    world.ask(LANE, &message);
    assert_eq!(world.one(LANE).status(), 407);
}

// ---- out ----

const OUT: &str = r#"
[[zones]]
name = "trunk"
type = "neighbor"
peers = ["10.0.0.40"]
transport = "tcp"
monitor = false
[[search_rules]]
name = "partners"
source = "named"
source_name = "trunk"
pattern_type = "suffix"
pattern = "@partner.test"
target = "edge1"
"#;

#[test]
fn a_neighbours_call_to_a_foreign_domain_leaves_by_the_edge_without_what_is_the_insides() {
    let mut world = world(OUT);
    let trunk = ConnId(70);
    world.connect(trunk, Side::Inside, "10.0.0.40:40001");
    let head = "INVITE sip:bob@partner.test;transport=tcp SIP/2.0\r\n\
        From: <sip:1100@example.test>;tag=p\r\n\
        To: <sip:bob@partner.test>\r\nCall-ID: out\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n\
        P-Asserted-Identity: <sip:1100@cucm1>\r\nAuthorization: Digest username=\"x\"\r\n\
        Contact: <sip:1100@10.0.0.40:5560>\r\n";
    let asked = world.ask(trunk, &with_body(head, SDP_INSIDE));
    let sent = world.one(LANE);
    assert_eq!(text(Some(sent.request_uri())), BOB);
    let route = text(sent.header(Name::Route));
    assert_eq!(route, "<sip:edge1.example.test;transport=tls;lr;business>");
    assert_eq!(text(sent.header(Name::MaxForwards)), "15");
    for name in [Name::PAssertedIdentity, Name::Authorization] {
        assert_eq!(sent.header(name), None, "{name:?}");
    }
    let body = text(Some(sent.body()));
    assert!(
        body.contains("RTP/SAVP") && body.contains("crypto"),
        "{body}"
    );
    assert_eq!(
        world.core.snapshot(world.now).calls[0].kind,
        "Rich media session"
    );
    let stream = body.split("x-causeway-stream:").nth(1).unwrap();
    let stream = stream.split("\r\n").next().unwrap();
    let ok = answer(&sent, "k", "<sip:bob@9.9.9.9>", &sdp_edge(stream));
    world.take(LANE, ok);
    let ok = world.one(trunk);
    assert_eq!(ok.status(), 200);
    assert!(text(Some(ok.body())).contains("RTP/AVP"));
    world.ask(trunk, &follow("ACK", &asked, &ok, 1));
    assert_eq!(world.one(LANE).method(), Method::Ack);
    world.ask(trunk, &follow("BYE", &asked, &ok, 2));
    let bye = world.one(LANE);
    world.take(LANE, bye.reply(200, "OK", "").build());
    world.media_ends();
    world.idle();
}

#[test]
fn nothing_but_a_call_leaves_for_a_foreign_domain_and_no_client_by_a_rule() {
    let mut world = world(
        &OUT.replace("source_name = \"trunk\"\n", "")
            .replace("named", "any"),
    );
    let trunk = ConnId(70);
    world.connect(trunk, Side::Inside, "10.0.0.40:40001");
    let message = "MESSAGE sip:bob@partner.test SIP/2.0\r\nFrom: <sip:1@x>;tag=p\r\n\
        To: <sip:bob@partner.test>\r\nCall-ID: out\r\nCSeq: 1 MESSAGE\r\nMax-Forwards: 70\r\n\
        Content-Length: 0\r\n\r\n";
    world.ask(trunk, message);
    assert_eq!(world.one(trunk).status(), 404);
    // A client's call is call control's.
    world.registered("1001", "t1");
    let head = "INVITE sip:bob@partner.test SIP/2.0\r\n\
        Record-Route: <sip:t1@edge1.example.test:5061;transport=tls;lr>\r\n\
        P-Asserted-Identity: <sip:1001@example.test>\r\nFrom: <sip:1001@example.test>;tag=f\r\n\
        To: <sip:bob@partner.test>\r\nCall-ID: c\r\nCSeq: 1 INVITE\r\nMax-Forwards: 70\r\n\
        Contact: <sip:1001@198.51.100.7:5555;transport=tls>\r\n";
    world.ask(LANE, &with_body(head, &sdp_edge("00000041")));
    let home = world.dialled("10.0.0.5");
    assert_eq!(world.one(home).method(), Method::Invite);
    // The dry run says the same of both.
    for (zone, found) in [("", 0), ("trunk", 1)] {
        let asked = ::status::SearchQuestion {
            to: BOB.into(),
            zone: zone.into(),
            ..Default::default()
        };
        let report = world.core.report_search(asked);
        assert_eq!(report.targets.len(), found, "{report:?}");
        assert!(!report.note.is_empty() || found == 1);
    }
}
