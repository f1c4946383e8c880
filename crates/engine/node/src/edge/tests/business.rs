//! Calls of foreign domains.

use super::calls::routes;
use super::*;

/// An edge that takes them, with a core.
fn open(calls_max: usize, calls_per_minute: u32) -> Bench {
    let business = config::Business {
        calls_max,
        calls_per_minute,
    };
    let mut bench = Bench::of(&config_with(Some(business)));
    bench.link(CONTROL, 0, "i1");
    bench.lane(LANE, 0);
    bench.connect(ConnId(1));
    bench
}

impl Bench {
    fn foreign(&mut self, from: &str, to: &str) -> Message {
        let invite = self.request("INVITE", to, "x", "1002", "");
        let mut edit = invite.edit();
        edit.set(Name::From, format!("<{from}>;tag=f{}", self.cseq));
        edit.set(Name::PAssertedIdentity, "<sip:1001@example.test>");
        edit.body("application/sdp", OFFER);
        edit.finish()
    }
}

const BOB: &str = "sip:bob@partner.test";
const TO: &str = "sip:1002@example.test";

#[test]
fn a_foreign_call_is_marked_without_identity_and_its_dialog_comes_back() {
    let mut bench = open(5, 10);
    let invite = bench.foreign(BOB, TO);
    bench.frame(ConnId(1), invite);
    assert_eq!(bench.take(ConnId(1)).status(), 100);
    let inside = bench.take(LANE);
    assert_eq!(inside.header(Name::PAssertedIdentity), None);
    let recorded = inside.header(Name::RecordRoute).unwrap();
    assert!(recorded.ends_with(b";lr;business>"), "{recorded:?}");
    let sdp = from_core(attribute(&body(&inside), "x-causeway-stream").unwrap());
    bench.reply_sdp(LANE, &inside, 200, "core", &sdp);
    let answer = bench.take(ConnId(1));
    assert_eq!(answer.status(), 200);
    let ack = bench.within("ACK", &answer, true, &routes(&answer), "");
    bench.frame(ConnId(1), ack);
    assert_eq!(bench.take(LANE).method(), Method::Ack);
    // The core hangs up; then the connection may do nothing but call again.
    let mut way = routes(&answer);
    way.reverse();
    let bye = bench.within("BYE", &answer, false, &way, "");
    bench.frame(LANE, bye);
    assert_eq!(bench.take(ConnId(1)).method(), Method::Bye);
    for method in ["MESSAGE", "SUBSCRIBE", "OPTIONS"] {
        let request = bench.request(method, TO, "x", "1002", "");
        assert_eq!(bench.refused(ConnId(1), request), 403, "{method}");
    }
}

#[test]
fn no_foreign_call_passes_where_it_is_off_or_not_for_us_or_under_our_name() {
    let mut off = Bench::linked();
    off.connect(ConnId(1));
    let invite = off.foreign(BOB, TO);
    assert_eq!(off.refused(ConnId(1), invite), 403);
    let mut on = open(5, 10);
    for (from, to) in [
        (BOB, "sip:bob@elsewhere.test"),
        (BOB, "sip:1002@192.0.2.20"),
        ("sip:1001@example.test", TO),
        ("sip:1001@EXAMPLE.test", TO),
        ("tel:+49", TO),
    ] {
        let invite = on.foreign(from, to);
        assert_eq!(on.refused(ConnId(1), invite), 403, "{from} {to}");
    }
}

#[test]
fn foreign_calls_are_bounded_by_source_and_in_number() {
    let mut bench = open(100, 3);
    for n in 0..5 {
        let invite = bench.foreign(BOB, TO);
        bench.frame(ConnId(1), invite);
        let status = bench.take(ConnId(1)).status();
        assert_eq!(status, if n < 3 { 100 } else { 503 }, "attempt {n}");
    }
    bench.wait(61);
    let invite = bench.foreign(BOB, TO);
    bench.frame(ConnId(1), invite);
    let answers: Vec<String> = bench.story();
    assert!(answers.contains(&"100@1".to_owned()), "{answers:?}");
    // Two at once, whoever makes them.
    let mut bench = open(2, 100);
    for n in 0..4 {
        let invite = bench.foreign(BOB, TO);
        bench.frame(ConnId(1), invite);
        let status = bench.take(ConnId(1)).status();
        assert_eq!(status, if n < 2 { 100 } else { 503 }, "attempt {n}");
    }
    let told = bench
        .events
        .iter()
        .filter(|e| e.kind == Kind::RequestRefused);
    assert_eq!(told.count(), 1);
}
