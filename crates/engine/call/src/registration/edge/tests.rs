//! A relay between REGISTERs and the answers a core would give.

use base::Id;
use bytes::Bytes;

use super::*;

const REALM: &str = "edge.example.test";

struct Bench {
    relay: EdgeRelay,
    now: Now,
}

impl Bench {
    fn new() -> Self {
        let mut settings = Settings::new("edge.example.test", 5061, REALM);
        settings.flow_bindings_max = 3;
        Bench {
            relay: EdgeRelay::new(settings),
            now: Now::default(),
        }
    }

    /// What the registrar granted; a contact of 0 is not listed.
    fn register(&mut self, flow: FlowId, line: &str, fields: &str, grants: &str) -> Vec<Change> {
        let request = register(line, fields);
        self.relay.request(flow, "token", &request).unwrap();
        let answer = request.reply(200, "OK", "t").build();
        let mut edit = answer.edit();
        for contact in grants.split('|').filter(|g| !g.is_empty()) {
            edit.push_back(Name::Contact, contact);
        }
        let remote = "198.51.100.7:4000".parse().unwrap();
        self.relay
            .settled(self.now, flow, remote, &request, &edit.finish())
    }

    fn wait(&mut self, seconds: u64) -> Vec<Change> {
        self.now = self.now.plus(Duration::from_secs(seconds));
        self.relay.handle_timeout(self.now)
    }
}

fn flow(n: u32) -> FlowId {
    Id::new(n, 0)
}

fn register(line: &str, fields: &str) -> Message {
    let text = format!(
        "REGISTER sip:Example.test SIP/2.0\r\nVia: SIP/2.0/TLS c;branch=z9hG4bK1\r\n\
         From: <sip:{line}@example.test>;tag=a\r\nTo: <sip:{line}@Example.test>\r\n\
         Call-ID: c1\r\nCSeq: 1 REGISTER\r\n\
         Authorization: Digest username=\"alice\", realm=\"{REALM}\", nonce=\"n\", uri=\"sip:x\", \
         response=\"0\"\r\n{fields}Content-Length: 0\r\n\r\n"
    );
    Message::parse(Bytes::from(text), &sip::Limits::trusted()).unwrap()
}

const PHONE: &str =
    "Contact: <sip:a@10.0.0.1:1>;+sip.instance=\"<urn:uuid:1>\"\r\nExpires: 3600\r\n";

#[test]
fn register_goes_on_with_our_path_and_without_what_a_client_may_not_say() {
    let bench = Bench::new();
    let fields = "Path: <sip:evil@inside>\r\nRoute: <sip:10.0.0.20;lr>\r\n\
        P-Asserted-Identity : <sip:boss@example.test>\r\n\
        Authorization: Digest username=\"mallory\", realm=\"edge.example.test\", nonce=\"m\"\r\n\
        Authorization: Digest username=\"d\", realm=\"ccmsipline\", nonce=\"n\", uri=\"x\", \
        response=\"1\"\r\nX-cisco-foo: kept\r\n";
    let sent = bench
        .relay
        .request(flow(1), "tok", &register("1001", fields))
        .unwrap();
    let text = String::from_utf8_lossy(sent.bytes()).into_owned();
    assert_eq!(
        sent.header(Name::Path),
        Some(&b"<sip:tok@edge.example.test:5061;transport=tls;lr;ob>"[..])
    );
    for gone in ["evil", "10.0.0.20", "boss", "mallory"] {
        assert!(!text.contains(gone), "{gone}: {text}");
    }
    for kept in ["alice", "ccmsipline", "X-cisco-foo: kept"] {
        assert!(text.contains(kept), "{kept}: {text}");
    }
}

#[test]
fn a_flow_is_known_from_the_cores_2xx_until_what_it_granted_has_run_out() {
    let mut bench = Bench::new();
    let request = register("1001", PHONE);
    let remote = "198.51.100.7:4000".parse().unwrap();
    let refused = request.reply(403, "Forbidden", "t").build();
    assert!(
        bench
            .relay
            .settled(bench.now, flow(1), remote, &request, &refused)
            .is_empty()
    );
    assert!(!bench.relay.is_known(flow(1)));

    let added = bench.register(flow(1), "1001", PHONE, "<sip:a@10.0.0.1:1>;expires=120");
    assert!(matches!(&added[..], [Change::Added(b)] if *b.user().expose() == "alice"));
    assert!(bench.wait(100).is_empty());
    let again = bench.register(flow(1), "1001", PHONE, "<sip:a@10.0.0.1:1>;expires=120");
    assert!(again.is_empty(), "{again:?}");
    assert!(bench.wait(129).is_empty());
    assert!(matches!(&bench.wait(1)[..], [Change::Expired(f, _)] if *f == flow(1)));
    assert!(bench.relay.is_empty() && bench.relay.poll_timeout().is_none());
}

#[test]
fn unregister_removes_and_a_keep_alive_to_a_standby_removes_nothing() {
    let mut bench = Bench::new();
    bench.register(flow(1), "1001", PHONE, "<sip:a@10.0.0.1:1>;expires=120");
    let standby = "Contact: <sip:a@10.0.0.1:1>;expires=0;cisco-keep-alive\r\nExpires: 0\r\n";
    assert!(bench.register(flow(1), "1001", standby, "").is_empty());
    assert!(bench.relay.is_known(flow(1)));
    let off = "Contact: <sip:a@10.0.0.1:1>\r\nExpires: 0\r\n";
    assert!(matches!(
        bench.register(flow(1), "1001", off, "")[..],
        [Change::Removed(_)]
    ));
    assert!(!bench.relay.is_known(flow(1)));

    bench.register(flow(1), "1001", PHONE, "");
    bench.register(flow(1), "1002", PHONE, "");
    bench.register(flow(1), "1001", "Contact: *\r\nExpires: 0\r\n", "");
    let left: Vec<_> = bench
        .relay
        .bindings()
        .map(|(_, b)| b.aor().expose().to_string())
        .collect();
    assert_eq!(left, ["sip:1002@example.test"]);
}

#[test]
fn several_lines_share_a_flow_up_to_its_bound_and_speak_for_themselves() {
    let mut bench = Bench::new();
    for line in ["1001", "1002", "1003"] {
        bench.register(flow(1), line, PHONE, "");
    }
    let fourth = bench.relay.request(flow(1), "t", &register("1004", PHONE));
    assert!(matches!(fourth, Err((403, _))), "{fourth:?}");
    // A refresh of one that is there still passes.
    assert!(
        bench
            .relay
            .request(flow(1), "t", &register("1003", PHONE))
            .is_ok()
    );
    let who = |from: &str| {
        let found = bench.relay.identity(flow(1), &register(from, ""));
        found.map(|b| b.aor().expose().to_string())
    };
    assert_eq!(who("1002").as_deref(), Some("sip:1002@example.test"));
    assert_eq!(who("SEP0011").as_deref(), Some("sip:1001@example.test"));
}

#[test]
fn a_device_that_comes_back_takes_its_old_flows_place() {
    let mut bench = Bench::new();
    bench.register(flow(1), "1001", PHONE, "");
    assert_eq!(bench.relay.flow_down(bench.now, flow(1)).len(), 1);
    assert_eq!(bench.relay.resolve(flow(1)), flow(1));
    let back = bench.register(flow(2), "1001", PHONE, "");
    assert!(
        back.iter()
            .any(|c| matches!(c, Change::Moved { from, to } if *from == flow(1) && *to == flow(2)))
    );
    assert_eq!(bench.relay.resolve(flow(1)), flow(2));
    // Once more, while the second still stands.
    let again = bench.register(flow(3), "1001", PHONE, "");
    assert!(
        again
            .iter()
            .any(|c| matches!(c, Change::Moved { from, to } if *from == flow(2) && *to == flow(3)))
    );
    assert_eq!(
        (bench.relay.resolve(flow(1)), bench.relay.resolve(flow(2))),
        (flow(3), flow(3))
    );
    assert_eq!(bench.relay.len(), 1);
    bench.relay.flow_down(bench.now, flow(3));
    bench.wait(DEPARTED_FOR.as_secs());
    assert!(bench.relay.departed.is_empty() && bench.relay.former.is_empty());
}

#[test]
fn another_user_with_the_same_instance_takes_nothing_over() {
    let mut bench = Bench::new();
    bench.register(flow(1), "1001", PHONE, "");
    let mallory = register("1001", PHONE);
    let text = String::from_utf8_lossy(mallory.bytes()).replace("alice", "mallory");
    let mallory = Message::parse(Bytes::from(text), &sip::Limits::trusted()).unwrap();
    let remote = "203.0.113.66:1".parse().unwrap();
    let ok = mallory.reply(200, "OK", "t").build();
    let changes = bench
        .relay
        .settled(bench.now, flow(2), remote, &mallory, &ok);
    assert!(matches!(changes[..], [Change::Added(_)]), "{changes:?}");
    assert_eq!(bench.relay.resolve(flow(1)), flow(1));
    assert!(bench.relay.is_known(flow(1)));
}

#[test]
fn what_is_no_registration_is_refused() {
    let bench = Bench::new();
    let refused = |line: &str, fields: &str| {
        bench
            .relay
            .request(flow(1), "t", &register(line, fields))
            .map(|_| ())
            .unwrap_err()
            .0
    };
    assert_eq!(refused("1001", "Contact: *\r\n"), 400);
    let many: String = (0..11)
        .map(|i| format!("Contact: <sip:{i}@b>\r\n"))
        .collect();
    assert_eq!(refused("1001", &many), 403);
    let nobody = register("1001", "");
    let text = String::from_utf8_lossy(nobody.bytes()).replace("To: <sip:1001@", "To: <sip:");
    let nobody = Message::parse(Bytes::from(text), &sip::Limits::trusted()).unwrap();
    assert!(matches!(
        bench.relay.request(flow(1), "t", &nobody),
        Err((400, _))
    ));
}

#[test]
fn a_long_interval_is_cut_for_the_client_and_what_leads_inside_is_taken_out() {
    let bench = Bench::new();
    let request = register("1001", PHONE);
    let answer = |status: u16, contacts: &[&str]| {
        let mut reply = request
            .reply(status, "OK", "t")
            .header(Name::Expires, "3600");
        for contact in contacts {
            reply = reply.header(Name::Contact, contact);
        }
        let reply = reply
            .header(Name::Path, "<sip:core;lr>")
            .header(Name::ServiceRoute, "<sip:x>");
        let sent = bench.relay.answer(&reply.build(), 0);
        let text = |v: Option<&[u8]>| String::from_utf8_lossy(v.unwrap_or_default()).into_owned();
        assert!(sent.header(Name::Path).is_none() && sent.header(Name::ServiceRoute).is_none());
        let contacts = sent.fields().filter(|f| f.id == Name::Contact);
        (
            text(sent.header(Name::Expires)),
            contacts.map(|f| text(Some(f.value))).collect::<Vec<_>>(),
        )
    };
    let (expires, contacts) = answer(
        200,
        &[
            "\"a,b\" <sip:a@h;expires=9999>;expires=3600;video, <sip:b@h>;expires=120",
            "<sip:c@h>;q=1;expires=99999999999",
        ],
    );
    assert_eq!(expires, "300");
    assert_eq!(
        contacts,
        [
            "\"a,b\" <sip:a@h;expires=9999>;expires=300;video, <sip:b@h>;expires=120",
            "<sip:c@h>;q=1;expires=300",
        ]
    );
    assert_eq!(answer(423, &[]).0, "3600");
}

#[test]
fn a_late_answer_to_an_earlier_register_does_not_move_a_device_back() {
    let mut bench = Bench::new();
    let remote = "198.51.100.7:4000".parse().unwrap();
    let mut settle = |on: u32, cseq: u32| {
        let text = String::from_utf8_lossy(register("1001", PHONE).bytes())
            .replace("CSeq: 1 ", &format!("CSeq: {cseq} "));
        let request = Message::parse(Bytes::from(text), &sip::Limits::trusted()).unwrap();
        let answer = request.reply(200, "OK", "t");
        let answer = answer.header(Name::Contact, "<sip:a@10.0.0.1:1>;expires=120");
        let (now, answer) = (bench.now, answer.build());
        bench
            .relay
            .settled(now, flow(on), remote, &request, &answer);
        (bench.relay.is_known(flow(1)), bench.relay.is_known(flow(2)))
    };
    assert_eq!(settle(1, 3), (true, false));
    assert_eq!(settle(2, 5), (false, true));
    assert_eq!(settle(1, 4), (false, true), "4 was sent before 5");
    assert_eq!(settle(1, 6), (true, false));
}
