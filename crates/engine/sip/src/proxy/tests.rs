//! Scripted proxying under a virtual clock: what comes in on `CLIENT`, what goes out to targets.

use std::time::Duration;

use base::{Id, Rng};

use super::*;
use crate::transaction::tests::{message, request};
use crate::transaction::{Limits, Output};

const CLIENT: FlowId = Id::new(1, 0);

struct Bench {
    now: Now,
    layer: Transactions,
    proxy: Proxy,
    sent: Vec<(FlowId, Message)>,
}

impl Bench {
    fn new() -> Self {
        Bench {
            now: Now::default(),
            layer: Transactions::new(Rng::from_number(5), Limits::default()),
            proxy: Proxy::new(Settings::default()),
            sent: Vec::new(),
        }
    }

    /// Runs everything that is due at this moment.
    fn settle(&mut self) {
        loop {
            if let Some(reply) = self.proxy.poll_reply() {
                self.layer.respond(self.now, reply.server, reply.message);
                continue;
            }
            match self.layer.poll_output() {
                None => return,
                Some(Output::Send { flow, bytes }) => {
                    let message = Message::parse(bytes, &crate::Limits::default()).unwrap();
                    self.sent.push((flow, message));
                }
                Some(Output::Event(event)) => {
                    let rest = self.proxy.handle(self.now, &mut self.layer, event);
                    if let Some(Event::Request { key, message, .. }) = rest {
                        let targets = (2..4).map(|n| target(n, &message)).collect();
                        self.proxy.forward(self.now, &mut self.layer, key, targets);
                    }
                }
            }
        }
    }

    fn take(&mut self, flow: FlowId, message: Message) {
        self.layer.receive(self.now, flow, true, message);
        self.settle();
    }

    /// Statuses and methods sent since the last look, with the slot of their flow.
    fn story(&mut self) -> Vec<String> {
        self.sent
            .drain(..)
            .map(|(flow, m)| describe(flow, &m))
            .collect()
    }

    fn wait(&mut self, seconds: u64) -> Vec<String> {
        let until = self.now.plus(Duration::from_secs(seconds));
        loop {
            let next = [self.layer.poll_timeout(), self.proxy.poll_timeout()];
            let next = next
                .into_iter()
                .flatten()
                .min()
                .filter(|at| *at <= until.instant);
            let Some(at) = next else { break };
            self.now = self.now.plus(at - self.now.instant);
            self.layer.handle_timeout(self.now);
            self.proxy.handle_timeout(self.now, &mut self.layer);
            self.settle();
        }
        self.now = until;
        self.story()
    }

    /// The forwarded requests, one a target.
    fn begin(&mut self, request: Message) -> Vec<Message> {
        self.take(CLIENT, request);
        let sent = self
            .sent
            .drain(..)
            .filter(|(_, m)| m.is_request())
            .map(|(_, m)| m);
        sent.collect()
    }

    fn answer(&mut self, to: &Message, slot: u32, status: u16) -> Vec<String> {
        let tag = format!("t{slot}");
        self.take(Id::new(slot, 0), to.reply(status, "Any", &tag).build());
        self.story()
    }
}

fn describe(flow: FlowId, message: &Message) -> String {
    let what = if message.is_request() {
        String::from_utf8_lossy(message.method_bytes()).into_owned()
    } else {
        message.status().to_string()
    };
    format!("{what}@{}", flow.slot())
}

fn target(slot: u32, request: &Message) -> Target {
    Target {
        hops_max: u8::MAX,
        flow: Id::new(slot, 0),
        reliable: true,
        via: ViaOptions {
            transport: "TLS",
            sent_by: "edge.example.test:5061".into(),
            parameters: String::new(),
        },
        request: request.clone(),
    }
}

#[test]
fn transactions_run_out_before_the_proxy_does() {
    // Transactions keep room for what is no INVITE, which a full proxy would refuse too.
    let limits = Limits::default();
    assert!(Settings::default().contexts >= limits.clients.max(limits.servers));
}

#[test]
fn invite_is_answered_100_at_once_and_forwarded_with_fewer_hops() {
    let mut bench = Bench::new();
    bench.take(CLIENT, request("INVITE", "z9hG4bKx"));
    assert_eq!(describe(bench.sent[0].0, &bench.sent[0].1), "100@1");
    let sent: Vec<_> = bench.sent[1..].iter().map(|(_, m)| m.clone()).collect();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].max_forwards().unwrap(), Some(69));
    assert_eq!(sent[0].vias().count(), 2);
}

#[test]
fn responses_lose_our_via_and_100_stays_here() {
    let mut bench = Bench::new();
    let sent = bench.begin(request("INVITE", "z9hG4bKx"));
    assert_eq!(bench.answer(&sent[0], 2, 100), [""; 0]);
    bench.take(Id::new(2, 0), sent[0].reply(180, "Ringing", "t").build());
    let (flow, ringing) = bench.sent.pop().unwrap();
    assert_eq!(
        (flow, ringing.status(), ringing.vias().count()),
        (CLIENT, 180, 1)
    );
}

#[test]
fn first_2xx_wins_cancels_the_rest_and_late_2xx_still_goes_back() {
    let mut bench = Bench::new();
    let sent = bench.begin(request("INVITE", "z9hG4bKx"));
    bench.answer(&sent[1], 3, 180);
    assert_eq!(bench.answer(&sent[0], 2, 200), ["CANCEL@3", "200@1"]);
    assert_eq!(bench.answer(&sent[1], 3, 200), ["200@1"]);
    bench.wait(40);
    assert!(bench.proxy.is_empty());
}

#[test]
fn the_best_of_several_failures_goes_back_once_all_have_answered() {
    let table = [
        ([486, 404], 486),
        ([503, 486], 486),
        ([503, 503], 500),
        ([302, 486], 302),
        ([407, 404], 407),
        ([404, 603], 603),
    ];
    for (answers, expected) in table {
        let mut bench = Bench::new();
        let sent = bench.begin(request("INVITE", "z9hG4bKx"));
        let first = bench.answer(&sent[0], 2, answers[0]);
        assert_eq!(first, ["ACK@2"], "{answers:?}");
        let second = bench.answer(&sent[1], 3, answers[1]);
        assert_eq!(
            second,
            ["ACK@3".to_owned(), format!("{expected}@1")],
            "{answers:?}"
        );
        bench.take(CLIENT, request("ACK", "z9hG4bKx"));
        bench.wait(40);
        assert!(bench.proxy.is_empty(), "{answers:?}");
    }
}

#[test]
fn challenges_of_all_targets_are_put_together() {
    let mut bench = Bench::new();
    let sent = bench.begin(request("REGISTER", "z9hG4bKx"));
    for (i, slot) in [(0, 2), (1, 3)] {
        let challenge = format!("Digest realm=\"r{slot}\", nonce=\"n\"");
        let answer = sent[i]
            .reply(401, "Unauthorized", "t")
            .header(Name::WwwAuthenticate, challenge.as_bytes())
            .build();
        bench.take(Id::new(slot, 0), answer);
    }
    let (_, best) = bench.sent.pop().unwrap();
    assert_eq!(
        best.fields()
            .filter(|f| f.id == Name::WwwAuthenticate)
            .count(),
        2
    );
}

#[test]
fn a_6xx_cancels_what_still_rings() {
    let mut bench = Bench::new();
    let sent = bench.begin(request("INVITE", "z9hG4bKx"));
    bench.answer(&sent[1], 3, 180);
    assert_eq!(bench.answer(&sent[0], 2, 603), ["ACK@2", "CANCEL@3"]);
    assert_eq!(bench.answer(&sent[1], 3, 487), ["ACK@3", "603@1"]);
}

#[test]
fn cancel_is_propagated_and_the_targets_487_goes_back() {
    let mut bench = Bench::new();
    let sent = bench.begin(request("INVITE", "z9hG4bKx"));
    bench.answer(&sent[0], 2, 180);
    bench.take(CLIENT, request("CANCEL", "z9hG4bKx"));
    assert_eq!(bench.story(), ["200@1", "CANCEL@2"]);
    assert_eq!(bench.answer(&sent[1], 3, 100), ["CANCEL@3"]);
    assert_eq!(bench.answer(&sent[0], 2, 487), ["ACK@2"]);
    assert_eq!(bench.answer(&sent[1], 3, 487), ["ACK@3", "487@1"]);
}

#[test]
fn timer_c_is_restarted_by_provisionals_then_cancels() {
    let mut bench = Bench::new();
    let sent = bench.begin(request("INVITE", "z9hG4bKx"));
    bench.answer(&sent[0], 2, 180);
    bench.answer(&sent[1], 3, 404);
    assert_eq!(bench.wait(170), [""; 0]);
    bench.answer(&sent[0], 2, 183);
    assert_eq!(bench.wait(179), [""; 0]);
    assert_eq!(bench.wait(1), ["CANCEL@2"]);
    bench.wait(32);
    bench.wait(40);
    assert!(bench.proxy.is_empty());
}

#[test]
fn silence_becomes_408_for_an_invite_and_nothing_for_the_rest() {
    for (method, expected) in [("INVITE", vec!["408@1"]), ("MESSAGE", vec![])] {
        let mut bench = Bench::new();
        bench.begin(request(method, "z9hG4bKx"));
        assert_eq!(bench.wait(32), expected, "{method}");
        bench.wait(60);
        assert!(bench.proxy.is_empty());
    }
}

#[test]
fn a_dead_flow_counts_as_503_which_leaves_as_500() {
    let mut bench = Bench::new();
    bench.begin(request("INVITE", "z9hG4bKx"));
    bench.layer.flow_down(bench.now, Id::new(2, 0));
    bench.layer.flow_down(bench.now, Id::new(3, 0));
    bench.settle();
    assert_eq!(bench.story(), ["500@1"]);
}

#[test]
fn a_client_that_is_gone_cancels_its_call() {
    let mut bench = Bench::new();
    let sent = bench.begin(request("INVITE", "z9hG4bKx"));
    bench.answer(&sent[0], 2, 180);
    bench.answer(&sent[1], 3, 180);
    bench.sent.clear();
    bench.layer.flow_down(bench.now, CLIENT);
    bench.settle();
    assert_eq!(bench.story(), ["CANCEL@2", "CANCEL@3"]);
    bench.wait(40);
    bench.wait(40);
    assert!(bench.proxy.is_empty());
}

#[test]
fn hops_run_out_at_zero() {
    let mut bench = Bench::new();
    let original = request("OPTIONS", "z9hG4bKx");
    let mut edit = original.edit();
    edit.set(Name::MaxForwards, b"0");
    bench.take(CLIENT, edit.finish());
    assert_eq!(bench.story(), ["483@1"]);
}

#[test]
fn a_request_that_comes_back_unchanged_is_a_loop_and_a_spiral_is_not() {
    let mut bench = Bench::new();
    let sent = bench.begin(request("MESSAGE", "z9hG4bKx"));
    bench.take(CLIENT, sent[0].clone());
    assert_eq!(bench.story(), ["482@1"]);
    let mut edit = sent[0].edit();
    edit.request_uri(b"sip:other@example.test");
    bench.take(Id::new(7, 0), edit.finish());
    assert_eq!(bench.story(), ["MESSAGE@2", "MESSAGE@3"]);
}

#[test]
fn what_is_not_the_proxys_is_given_back() {
    let mut bench = Bench::new();
    let event = Event::Ack {
        flow: CLIENT,
        message: message(
            "ACK sip:b@x SIP/2.0\nVia: SIP/2.0/TLS u;branch=z9hG4bKq\nFrom: <sip:a@x>;tag=1\n\
             To: <sip:b@x>;tag=2\nCall-ID: c\nCSeq: 1 ACK\nContent-Length: 0\n\n",
        ),
    };
    assert!(
        bench
            .proxy
            .handle(bench.now, &mut bench.layer, event)
            .is_some()
    );
}

/// What the two branches of a request are given, or the answer.
fn breadths(field: &str) -> Vec<String> {
    let mut bench = Bench::new();
    let mut edit = request("INVITE", "z9hG4bKx").edit().finish();
    if !field.is_empty() {
        let mut with = edit.edit();
        with.push_back(Name::Other("Max-Breadth"), field);
        edit = with.finish();
    }
    bench.take(CLIENT, edit);
    let text = |m: &Message| {
        let breadth = m.header(Name::Other("max-breadth"));
        breadth.map_or_else(
            || m.status().to_string(),
            |b| String::from_utf8_lossy(b).into_owned(),
        )
    };
    bench.sent.iter().map(|(_, m)| text(m)).collect()
}

#[test]
fn a_fork_shares_the_breadth_of_its_request_and_goes_no_wider() {
    assert_eq!(breadths(""), ["100", "30", "30"]);
    assert_eq!(breadths("5"), ["100", "2", "2"]);
    assert_eq!(breadths("2"), ["100", "1", "1"]);
    assert_eq!(breadths("4000000000"), ["100", "127", "127"]);
    for (field, status) in [("1", "440"), ("0", "440"), ("x", "400"), ("-1", "400")] {
        assert_eq!(breadths(field), [status], "{field}");
    }
}
