//! Calls of foreign domains.

use super::calls::routes;
use super::*;
use crate::io::{DnsError, Resolve, Resolved};

/// An edge that takes them, with a core.
fn open(calls_max: usize, calls_per_minute: u32) -> Bench {
    shared(calls_max, calls_per_minute, calls_max)
}

/// The same with a share for each source.
fn shared(calls_max: usize, calls_per_minute: u32, calls_per_source: usize) -> Bench {
    let business = config::Business {
        accept: true,
        call: true,
        trusted: None,
        reach: Vec::new(),
        calls_max,
        calls_per_minute,
        calls_per_source,
        ringing_max: Duration::from_secs(60),
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
        assert_eq!(bench.refused(ConnId(1), request), 407, "{method}");
    }
}

#[test]
fn no_foreign_call_passes_where_it_is_off_or_not_for_us_or_under_our_name() {
    let mut off = Bench::linked();
    off.connect(ConnId(1));
    let invite = off.foreign(BOB, TO);
    // It may be a user's: who is one shows it.
    assert_eq!(off.refused(ConnId(1), invite), 407);
    let mut on = open(5, 10);
    for (from, to, status) in [
        (BOB, "sip:bob@elsewhere.test", 407),
        (BOB, "sip:1002@192.0.2.20", 407),
        ("sip:1001@example.test", TO, 407),
        ("sip:1001@EXAMPLE.test", TO, 407),
        ("tel:+49", TO, 403),
    ] {
        let invite = on.foreign(from, to);
        assert_eq!(on.refused(ConnId(1), invite), status, "{from} {to}");
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
    let look = bench.edge.snapshot(bench.now);
    assert!(look.calls.iter().all(|c| c.kind == "Rich media session"));
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

#[test]
fn a_foreign_call_makes_no_telephone_answer_by_itself() {
    let mut bench = open(5, 10);
    let invite = bench.foreign(BOB, TO);
    let mut edit = invite.edit();
    for (name, value) in [
        ("Call-Info", "<sip:partner.test>;answer-after=0"),
        ("Alert_Info", "<urn:x>;info=alert-autoanswer"),
        ("Answer-Mode", "Auto"),
        ("Priv-Answer-Mode", "Auto"),
        ("Reply-To", "<sip:1001@example.test>"),
        ("Referred-By", "<sip:boss@example.test>"),
        ("X-Color", "blue"),
    ] {
        edit.push_back(Name::Other(name), value);
    }
    bench.frame(ConnId(1), edit.finish());
    assert_eq!(bench.take(ConnId(1)).status(), 100);
    let inside = bench.take(LANE);
    let text = String::from_utf8_lossy(inside.bytes()).to_ascii_lowercase();
    for gone in [
        "call-info",
        "alert_info",
        "answer-mode",
        "reply-to",
        "referred-by",
    ] {
        assert!(!text.contains(gone), "{gone}: {text}");
    }
    assert!(text.contains("x-color"));
    // Nor by the request that many take for it.
    let sdp = from_core(attribute(&body(&inside), "x-causeway-stream").unwrap());
    bench.reply_sdp(LANE, &inside, 200, "core", &sdp);
    let answer = bench.take(ConnId(1));
    let notify = bench.within("NOTIFY", &answer, true, &routes(&answer), "");
    for (event, status) in [("talk", 488), ("Hold;x=1", 488)] {
        let mut edit = notify.edit();
        edit.set(Name::Event, event);
        assert_eq!(bench.refused(ConnId(1), edit.finish()), status, "{event}");
    }
}

#[test]
fn one_source_has_a_share_of_foreign_calls_and_none_of_ours_goes_for_them() {
    let mut bench = shared(4, 100, 2);
    for n in 0..4 {
        let invite = bench.foreign(BOB, TO);
        bench.frame(ConnId(1), invite);
        let status = bench.take(ConnId(1)).status();
        assert_eq!(status, if n < 2 { 100 } else { 503 }, "attempt {n}");
    }
    // Another is heard.
    bench.connect_from(ConnId(2), "198.51.100.99:40000", None);
    let invite = bench.foreign(BOB, TO);
    bench.frame(ConnId(2), invite);
    assert_eq!(bench.take(ConnId(2)).status(), 100);
    let cause = "sip: too many calls of one foreign host at once";
    let told = bench.events.iter().filter(|e| e.cause == cause);
    assert_eq!(told.count(), 1);
}

#[test]
fn a_foreign_call_that_rings_for_long_is_cancelled_and_one_that_is_answered_is_not() {
    let mut bench = open(5, 10);
    let answered = bench.standing();
    assert_eq!(answered.status(), 200);
    let invite = bench.foreign(BOB, TO);
    bench.frame(ConnId(1), invite);
    assert_eq!(bench.take(ConnId(1)).status(), 100);
    let inside = bench.take(LANE);
    bench.frame(LANE, inside.reply(180, "Ringing", "core").build());
    assert_eq!(bench.take(ConnId(1)).status(), 180);
    bench.wait(59);
    assert!(bench.sent.is_empty(), "{:?}", bench.story());
    bench.wait(2);
    let cancel = bench.take(LANE);
    assert_eq!(cancel.method(), Method::Cancel);
    let gone = inside.reply(487, "Request Terminated", "core").build();
    bench.frame(LANE, gone);
    assert_eq!(bench.take(LANE).method(), Method::Ack);
    assert_eq!(bench.take(ConnId(1)).status(), 487);
    assert_eq!(bench.edge.calls.iter().count(), 1);
}

// ---- another connection ----

impl Bench {
    fn connect_from(&mut self, conn: ConnId, remote: &str, name: Option<&str>) {
        let mut facts = facts(Side::Client, remote);
        facts.peer_name = name.map(str::to_owned);
        self.input(Input::Connected { conn, facts });
    }

    /// A foreign call that stands, on ConnId(1).
    fn standing(&mut self) -> Message {
        let invite = self.foreign(BOB, TO);
        self.frame(ConnId(1), invite);
        self.take(ConnId(1));
        let inside = self.take(LANE);
        let sdp = from_core(attribute(&body(&inside), "x-causeway-stream").unwrap());
        self.reply_sdp(LANE, &inside, 200, "core", &sdp);
        self.take(ConnId(1))
    }
}

#[test]
fn a_foreign_host_on_another_connection_finds_its_call_and_nobody_else_does() {
    let mut bench = open(5, 10);
    let answer = bench.standing();
    let way = routes(&answer);
    bench.connect_from(ConnId(2), CLIENT, None);
    bench.connect_from(ConnId(3), "198.51.100.99:40000", None);
    let ack = bench.within("ACK", &answer, true, &way, "");
    bench.frame(ConnId(3), ack.clone());
    assert!(bench.sent.is_empty(), "{:?}", bench.story());
    bench.frame(ConnId(2), ack);
    assert_eq!(bench.take(LANE).method(), Method::Ack);
    let bye = bench.within("BYE", &answer, true, &way, "");
    assert_eq!(bench.refused(ConnId(3), bye), 481);
    // Nor does the same host in a dialog that it has not.
    let info = bench.within("INFO", &answer, true, &way, "");
    let mut other = info.edit();
    other.set(Name::CallId, "another");
    assert_eq!(bench.refused(ConnId(2), other.finish()), 481);
    // A new offer, while the first connection stands: the answer takes the second.
    let again = bench.within("INVITE", &answer, true, &way, OFFER);
    bench.frame(ConnId(2), again);
    assert_eq!(bench.take(ConnId(2)).status(), 100);
    let inside = bench.take(LANE);
    let sdp = from_core(attribute(&body(&inside), "x-causeway-stream").unwrap());
    bench.reply_sdp(LANE, &inside, 200, "core", &sdp);
    let changed = bench.take(ConnId(2));
    let sdp = body(&changed);
    assert!(
        sdp.contains("203.0.113.10") && !sdp.contains("x-causeway"),
        "{sdp}"
    );
    // The first goes, and the second after it: what the core sends finds the host.
    bench.disconnect(ConnId(1));
    let info = bench.within("INFO", &answer, true, &way, "");
    bench.frame(ConnId(2), info);
    assert_eq!(bench.take(LANE).method(), Method::Info);
    bench.connect_from(ConnId(4), CLIENT, None);
    bench.disconnect(ConnId(2));
    let info = bench.within("INFO", &answer, true, &way, "");
    bench.frame(ConnId(4), info);
    assert_eq!(bench.take(LANE).method(), Method::Info);
    let mut back = way;
    back.reverse();
    let bye = bench.within("BYE", &answer, false, &back, "");
    bench.frame(LANE, bye);
    assert_eq!(bench.take(ConnId(4)).method(), Method::Bye);
    let left: Vec<_> = bench
        .edge
        .peers
        .census()
        .into_iter()
        .map(|(_, n)| n)
        .collect();
    assert_eq!(left[..3], [0, 0, 0]);
}

#[test]
fn a_foreign_host_comes_back_within_its_call_a_bounded_number_of_times() {
    let mut bench = open(5, 10);
    let answer = bench.standing();
    let way = routes(&answer);
    for n in 1..=64 {
        bench.connect_from(ConnId(n + 1), CLIENT, None);
        bench.disconnect(ConnId(n));
        let info = bench.within("INFO", &answer, true, &way, "");
        bench.frame(ConnId(n + 1), info);
        assert_eq!(bench.take(LANE).method(), Method::Info, "{n}");
    }
    bench.connect_from(ConnId(66), CLIENT, None);
    bench.disconnect(ConnId(65));
    let info = bench.within("INFO", &answer, true, &way, "");
    assert_eq!(bench.refused(ConnId(66), info), 481);
}

#[test]
fn a_foreign_host_at_another_address_is_known_by_its_certificate() {
    let mut bench = open(5, 10);
    bench.disconnect(ConnId(1));
    bench.connect_from(ConnId(1), CLIENT, Some("sip.partner.test"));
    let answer = bench.standing();
    let way = routes(&answer);
    for (conn, name, found) in [
        (ConnId(2), None, false),
        (ConnId(3), Some("sip.other.test"), false),
        (ConnId(4), Some("sip.partner.test"), true),
    ] {
        bench.connect_from(conn, "198.51.100.99:40000", name);
        let info = bench.within("INFO", &answer, true, &way, "");
        bench.frame(conn, info);
        let (at, message) = bench.sent.pop_back().unwrap();
        if found {
            assert_eq!((at, message.method()), (LANE, Method::Info));
        } else {
            assert_eq!((at, message.status()), (conn, 481));
        }
    }
}

// ---- out ----

impl Bench {
    /// A core's INVITE for a foreign domain.
    fn abroad(&mut self, to: &str) -> Message {
        let fields = "Route: <sip:edge.example.test;transport=tls;lr;business>\r\n\
                      Record-Route: <sip:core1.test;transport=tls;lr>\r\n";
        let invite = self.request("INVITE", to, "1001", "bob", fields);
        let mut edit = invite.edit();
        edit.body("application/sdp", from_core("80000001"));
        edit.finish()
    }

    /// Answers every question to DNS: `_sips._tcp` leads to the host, which is at the addresses.
    fn answer_dns(&mut self, addresses: &[&str]) {
        while !self.resolves.is_empty() {
            let (id, question) = self.resolves.remove(0);
            let result = match question {
                Resolve::Service(name) if name == "_sips._tcp.partner.test" => Ok(
                    Resolved::Service(vec![(1, 1, 5061, "sip.partner.test".into())]),
                ),
                Resolve::Address(_) => Ok(Resolved::Address(
                    addresses.iter().map(|a| a.parse().unwrap()).collect(),
                )),
                Resolve::Service(name) | Resolve::Naptr(name) => Err(DnsError::NotFound(name)),
            };
            self.input(Input::Resolved { id, result });
        }
    }

    /// A connection that the edge dialled stands.
    fn dialled(&mut self, conn: ConnId, remote: &str) {
        let facts = facts(Side::Client, remote);
        self.input(Input::Connected { conn, facts });
    }
}

const ABROAD: &str = "sip:bob@partner.test";

#[test]
fn a_call_abroad_goes_to_the_domains_own_server_and_its_dialog_comes_back() {
    let mut bench = open(5, 10);
    let invite = bench.abroad(ABROAD);
    bench.frame(LANE, invite);
    assert!(bench.sent.is_empty(), "{:?}", bench.story());
    bench.answer_dns(&["9.9.9.9"]);
    let (conn, target) = bench.dials.pop().unwrap();
    assert_eq!((target.host.as_str(), target.port), ("9.9.9.9", 5061));
    assert_eq!(
        (target.tls.as_deref(), target.tls_verify),
        (Some("partner.test"), true)
    );
    bench.dialled(conn, "9.9.9.9:5061");
    assert_eq!(bench.take(LANE).status(), 100);
    let out = bench.take(conn);
    assert_eq!(out.request_uri(), ABROAD.as_bytes());
    assert_eq!(out.header(Name::Route), None);
    let look = bench.edge.snapshot(bench.now);
    assert_eq!(look.calls[0].kind, "Rich media session");
    let sdp = body(&out);
    assert!(
        sdp.contains("203.0.113.10") && !sdp.contains("x-causeway"),
        "{sdp}"
    );
    // The domain has a proxy of its own in the dialog.
    let reply = out
        .reply(200, "OK", "b")
        .header(Name::Contact, "<sip:bob@10.9.9.9>")
        .body("application/sdp", OFFER)
        .build();
    let mut edit = reply.edit();
    edit.push_front(Name::RecordRoute, "<sip:proxy.partner.test;lr>");
    bench.frame(conn, edit.finish());
    let answer = bench.take(LANE);
    assert_eq!(answer.status(), 200);
    assert!(attribute(&body(&answer), "x-causeway-stream").is_some());
    assert_eq!(answer.values(Name::RecordRoute).count(), 3);
    let mut way = routes(&answer);
    way.remove(0); // the core's own
    let ack = bench.within("ACK", &answer, true, &way, "");
    bench.frame(LANE, ack);
    let ack = bench.take(conn);
    assert_eq!(
        ack.header(Name::Route),
        Some(&b"<sip:proxy.partner.test;lr>"[..])
    );
    // The other side hangs up on the same connection.
    let back: Vec<String> = routes(&answer).into_iter().rev().skip(1).collect();
    let bye = bench.within("BYE", &answer, false, &back, "");
    let unknown = "198.51.100.99:5061";
    for (n, remote, name) in [
        (2, "9.9.9.9:40000", None),
        (3, unknown, Some("partner.test")),
        (4, unknown, None),
    ] {
        bench.connect_from(ConnId(n), remote, name);
        let info = bench.within("INFO", &answer, false, &back, "");
        bench.frame(ConnId(n), info);
        let (at, message) = bench.sent.pop_back().unwrap();
        match at {
            LANE => assert_eq!(message.method(), Method::Info, "{remote} {name:?}"),
            _ => assert_eq!((at, message.status()), (ConnId(4), 481)),
        }
    }
    bench.frame(conn, bye);
    assert_eq!(bench.take(LANE).method(), Method::Bye);
    assert!(bench.edge.outward_is_idle());
}

#[test]
fn what_is_not_of_the_internet_is_not_dialled_and_the_next_server_is_tried() {
    for addresses in [
        &["10.0.0.5", "127.0.0.1", "169.254.169.254", "192.0.2.11"][..],
        &["203.0.113.10"],
        &[],
    ] {
        let mut bench = open(5, 10);
        let invite = bench.abroad(ABROAD);
        bench.frame(LANE, invite);
        bench.answer_dns(addresses);
        assert!(bench.dials.is_empty(), "{:?}", bench.dials);
        assert!(bench.take(LANE).status() >= 400);
        assert!(bench.events.iter().any(|e| e.kind == Kind::RequestRefused));
    }
    let mut bench = open(5, 10);
    let invite = bench.abroad(ABROAD);
    bench.frame(LANE, invite);
    bench.answer_dns(&["10.0.0.5", "9.9.9.9", "8.8.8.8"]);
    let hosts = |bench: &Bench| -> Vec<String> {
        bench.dials.iter().map(|(_, t)| t.host.clone()).collect()
    };
    assert_eq!(hosts(&bench).len(), 1);
    bench.disconnect(bench.dials[0].0);
    assert_eq!(hosts(&bench).len(), 2);
    bench.disconnect(bench.dials[1].0);
    let refused = bench.take(LANE);
    assert_eq!(refused.status(), 480);
    assert!(bench.edge.outward_is_idle());
}

#[test]
fn no_call_abroad_where_it_is_off_or_for_us_or_an_address_or_too_many() {
    let mut off = Bench::linked();
    let invite = off.abroad(ABROAD);
    assert_eq!(off.refused(LANE, invite), 403);
    let mut on = open(1, 10);
    for to in [
        "sip:1002@example.test",
        "sip:bob@9.9.9.9",
        "sip:bob@partner.test;maddr=10.0.0.1",
        "sip:bob@partner.test;transport=udp",
    ] {
        let invite = on.abroad(to);
        assert_eq!(on.refused(LANE, invite), 404, "{to}");
    }
    let invite = on.abroad(ABROAD);
    on.frame(LANE, invite);
    let invite = on.abroad(ABROAD);
    on.frame(LANE, invite);
    assert_eq!(on.take(LANE).status(), 503);
    // Nor does a client's word open it.
    let mut bench = Bench::registered();
    let invite = bench.abroad(ABROAD);
    bench.frame(ConnId(1), invite);
    assert!(bench.dials.is_empty() && bench.resolves.is_empty());
}

#[test]
fn a_call_abroad_that_is_taken_back_leaves_nothing() {
    let mut bench = open(5, 10);
    let invite = bench.abroad(ABROAD);
    bench.frame(LANE, invite.clone());
    let text = String::from_utf8_lossy(invite.bytes()).into_owned();
    let head = text.split("Content-Type").next().unwrap();
    let cancel =
        head.replacen("INVITE sip", "CANCEL sip", 1)
            .replacen(" INVITE\r\n", " CANCEL\r\n", 1);
    let fields = cancel.lines().filter(|l| !l.starts_with("Content-Length"));
    let cancel: String = fields.map(|l| format!("{l}\r\n")).collect();
    let cancel = format!("{cancel}Content-Length: 0\r\n\r\n");
    let cancel = Message::parse(Bytes::from(cancel), &Limits::outside()).unwrap();
    bench.frame(LANE, cancel);
    let statuses: Vec<String> = bench.story();
    assert!(statuses.contains(&"487@1000".to_owned()), "{statuses:?}");
    bench.answer_dns(&["9.9.9.9"]);
    assert!(bench.dials.is_empty() && bench.edge.outward_is_idle());
}
