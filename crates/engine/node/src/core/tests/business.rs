//! Calls of foreign domains, as an edge brings them.

use super::calls::{SDP_INSIDE, answer, follow, sdp_edge, with_body};
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
    world.ask(LANE, &follow("BYE", &asked, &ok, 2));
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
        ("sip:1001@10.0.0.5", TO, ";business", 403),
        (BOB, "sip:1100@10.0.0.77", ";business", 403),
        (BOB, "sip:1100@example.test:22", ";business", 403),
        // Without the mark it is a client that has to show who it is.
        (BOB, TO, "", 407),
    ] {
        world.ask(LANE, &invite(from, to, mark));
        assert_eq!(world.one(LANE).status(), status, "{from} {to} {mark}");
        assert!(world.sent.is_empty());
    }
    // And no other request than a call.
    let message = invite(BOB, TO, ";business").replace("INVITE", "MESSAGE");
    world.ask(LANE, &message);
    assert_eq!(world.one(LANE).status(), 407);
}
