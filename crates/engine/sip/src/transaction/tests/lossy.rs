//! Two transaction layers over a network that loses, doubles, delays and reorders.

use std::collections::BTreeMap;
use std::time::Duration;

use base::{Instant, Map, Now, Rng};
use bytes::Bytes;
use proptest::prelude::*;

use super::super::*;
use super::{message, via};
use crate::{Message, Name};

const WIRE: FlowId = base::Id::new(9, 0);

/// Stands for Timer C, which a transaction user would run.
const PATIENCE: Duration = Duration::from_secs(60);

/// What goes wrong, in percent.
#[derive(Clone, Copy, Debug)]
struct Weather {
    seed: u64,
    reliable: bool,
    loss: u64,
    twice: u64,
    delay_ms: u64,
}

#[expect(clippy::large_enum_variant, reason = "a few, in a test")]
enum Due {
    Deliver {
        to: usize,
        bytes: Bytes,
    },
    Answer {
        key: ServerKey,
        status: u16,
    },
    /// The server's user sends its 2xx again unless the ACK has come.
    Again {
        call: Vec<u8>,
        key: ServerKey,
        ok: Message,
        wait: Duration,
    },
    Cancel {
        key: ClientKey,
    },
}

#[derive(Default)]
struct Fate {
    finals: usize,
    succeeded: bool,
    closed: bool,
    born: Instant,
}

struct World {
    weather: Weather,
    rng: Rng,
    now: Now,
    nodes: [Transactions; 2],
    due: Map<(Instant, u64), Due>,
    sequence: u64,
    fates: BTreeMap<ClientKey, Fate>,
    requests: Map<Vec<u8>, usize>,
    acked: Map<Vec<u8>, bool>,
    server_ended: usize,
    longest: Duration,
}

impl World {
    fn new(weather: Weather) -> Self {
        let times = Times {
            patience: PATIENCE,
            ..Times::default()
        };
        let limits = Limits {
            times,
            ..Limits::default()
        };
        let node = |n| Transactions::new(Rng::from_number(weather.seed ^ n), limits);
        World {
            weather,
            rng: Rng::from_number(weather.seed),
            now: Now::default(),
            nodes: [node(1), node(2)],
            due: Map::new(),
            sequence: 0,
            fates: BTreeMap::new(),
            requests: Map::new(),
            acked: Map::new(),
            server_ended: 0,
            longest: Duration::ZERO,
        }
    }

    fn later(&mut self, wait: Duration, what: Due) {
        self.sequence += 1;
        self.due
            .insert((self.now.instant + wait, self.sequence), what);
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.rng.below(100) < percent
    }

    fn wire(&mut self, from: usize, bytes: &Bytes) {
        let copies = if self.weather.reliable {
            1
        } else if self.chance(self.weather.loss) {
            0
        } else {
            1 + usize::from(self.chance(self.weather.twice))
        };
        for _ in 0..copies {
            let delay = if self.weather.reliable {
                20
            } else {
                1 + self.rng.below(self.weather.delay_ms)
            };
            let what = Due::Deliver {
                to: 1 - from,
                bytes: bytes.clone(),
            };
            self.later(Duration::from_millis(delay), what);
        }
    }

    fn send(&mut self, n: usize) {
        let method = if n.is_multiple_of(2) {
            "INVITE"
        } else {
            "MESSAGE"
        };
        let text = format!(
            "{method} sip:bob@example.test SIP/2.0\nMax-Forwards: 70\n\
             From: <sip:a@example.test>;tag=a{n}\nTo: <sip:bob@example.test>\n\
             Call-ID: call-{n}\nCSeq: 1 {method}\nContact: <sip:a@192.0.2.1>\n\
             Content-Length: 0\n\n"
        );
        let text = text.replacen(
            "SIP/2.0\n",
            "SIP/2.0\nVia: SIP/2.0/UDP u;branch=z9hG4bKu\n",
            1,
        );
        let request = message(&text);
        let reliable = self.weather.reliable;
        let key = self.nodes[0]
            .request(self.now, WIRE, reliable, &request, &via())
            .unwrap();
        self.fates.insert(
            key,
            Fate {
                born: self.now.instant,
                ..Fate::default()
            },
        );
        if method == "INVITE" && self.chance(20) {
            let wait = Duration::from_millis(self.rng.below(4_000));
            self.later(wait, Due::Cancel { key });
        }
        self.drain();
    }

    fn drain(&mut self) {
        for node in [0, 1] {
            while let Some(output) = self.nodes[node].poll_output() {
                match output {
                    Output::Send { flow, bytes } => {
                        assert_eq!(flow, WIRE);
                        self.wire(node, &bytes);
                    }
                    Output::Event(event) => self.event(node, event),
                }
            }
        }
        if self.nodes.iter().any(|n| !n.core.out.is_empty()) {
            self.drain();
        }
    }

    fn event(&mut self, node: usize, event: Event) {
        match event {
            Event::Request { key, message, .. } => {
                assert_eq!(node, 1);
                *self.requests.entry(message.call_id().to_vec()).or_default() += 1;
                let invite = message.method() == Method::Invite;
                if invite && self.chance(70) {
                    self.answer(key, 180);
                }
                let status = if self.chance(60) { 200 } else { 486 };
                let wait = Duration::from_millis(self.rng.below(3_000));
                self.later(wait, Due::Answer { key, status });
            }
            Event::Cancelled { key, .. } => self.answer(key, 487),
            Event::Ack { message, .. } => {
                self.acked.insert(message.call_id().to_vec(), true);
            }
            Event::Response { key, message } => self.response(key, &message),
            Event::Failed { key, .. } => {
                let fate = self.fates.get_mut(&key).unwrap();
                fate.finals += 1;
            }
            Event::Closed { key } => {
                let now = self.now.instant;
                let fate = self.fates.get_mut(&key).unwrap();
                assert!(!fate.closed);
                fate.closed = true;
                self.longest = self.longest.max(now - fate.born);
            }
            Event::Ended { .. } => self.server_ended += 1,
            Event::StrayResponse { .. } | Event::TooLarge { .. } => {}
        }
    }

    fn response(&mut self, key: ClientKey, response: &Message) {
        let fate = self.fates.get_mut(&key).unwrap();
        assert!(!fate.closed, "a response after the end");
        if response.status() < 200 {
            return;
        }
        let again = fate.succeeded && response.status() < 300;
        if !again {
            fate.finals += 1;
        }
        if response.status() < 300 && response.method() == Method::Invite {
            fate.succeeded = true;
            // The user acknowledges every 2xx, end to end.
            let request = self.nodes[0].client_request(key).unwrap().clone();
            let ack = crate::RequestBuilder::new(b"ACK", b"sip:bob@example.test")
                .header(Name::From, request.header(Name::From).unwrap())
                .header(Name::To, response.header(Name::To).unwrap())
                .header(Name::CallId, request.call_id())
                .header(Name::CSeq, b"1 ACK")
                .build();
            self.nodes[0].send(WIRE, &ack, &via());
        }
    }

    fn answer(&mut self, key: ServerKey, status: u16) {
        let Some(request) = self.nodes[1].server_request(key).cloned() else {
            return;
        };
        let response = request.reply(status, "Any", "b1").build();
        self.nodes[1].respond(self.now, key, response.clone());
        let call = request.call_id().to_vec();
        if status == 200 && request.method() == Method::Invite && !self.acked.contains_key(&call) {
            self.acked.insert(call.clone(), false);
            let wait = Duration::from_millis(500);
            self.later(
                wait,
                Due::Again {
                    call,
                    key,
                    ok: response,
                    wait,
                },
            );
        }
    }

    fn run(&mut self) {
        loop {
            self.drain();
            let timers = self
                .nodes
                .iter()
                .filter_map(Transactions::poll_timeout)
                .min();
            let due = self.due.keys().next().map(|(at, _)| *at);
            let Some(at) = [timers, due].into_iter().flatten().min() else {
                break;
            };
            self.now = self.now.plus(at - self.now.instant);
            for node in &mut self.nodes {
                node.handle_timeout(self.now);
            }
            while let Some(entry) = self.due.first_entry().filter(|e| e.key().0 <= at) {
                let what = entry.remove();
                self.act(what);
                self.drain();
            }
        }
    }

    fn act(&mut self, what: Due) {
        match what {
            Due::Deliver { to, bytes } => {
                let message = Message::parse(bytes, &crate::Limits::default()).unwrap();
                let reliable = self.weather.reliable;
                self.nodes[to].receive(self.now, WIRE, reliable, message);
            }
            Due::Answer { key, status } => self.answer(key, status),
            Due::Cancel { key } => self.nodes[0].cancel(self.now, key),
            Due::Again {
                call,
                key,
                ok,
                wait,
            } => {
                if self.acked.get(&call) == Some(&false) && wait < Duration::from_secs(20) {
                    self.nodes[1].respond(self.now, key, ok.clone());
                    self.later(
                        wait * 2,
                        Due::Again {
                            call,
                            key,
                            ok,
                            wait: wait * 2,
                        },
                    );
                }
            }
        }
    }
}

fn holds(weather: Weather) {
    let mut world = World::new(weather);
    for n in 0..20 {
        world.send(n);
        world.now = world.now.plus(Duration::from_millis(37));
    }
    world.run();
    for (key, fate) in &world.fates {
        assert_eq!(fate.finals, 1, "{key:?} had not exactly one outcome");
        assert!(fate.closed, "{key:?} never closed");
    }
    for (call, times) in &world.requests {
        assert_eq!(
            *times,
            1,
            "{} delivered twice",
            String::from_utf8_lossy(call)
        );
    }
    for node in &world.nodes {
        let counts = node.counts();
        assert_eq!(
            (counts.clients, counts.servers, counts.timers, counts.lost),
            (0, 0, 0, 0)
        );
        assert!(node.client_index.is_empty() && node.server_index.is_empty());
        assert!(node.client_flows.is_empty() && node.server_flows.is_empty());
    }
    assert_eq!(world.server_ended, world.requests.len());
    // Up to 64*T1 before the first response, Timer C after it, then D or M: the longest way.
    let longest = Duration::from_secs(32 + 32 + 5) + PATIENCE;
    assert!(world.longest <= longest, "{:?}", world.longest);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn every_request_has_one_outcome_and_all_tables_drain(
        seed: u64,
        reliable in prop::bool::weighted(0.2),
        loss in 0u64..60,
        twice in 0u64..40,
        delay_ms in 1u64..1_500,
    ) {
        holds(Weather { seed, reliable, loss, twice, delay_ms });
    }
}

#[test]
fn a_dead_network_fails_every_request_and_leaves_nothing() {
    let weather = Weather {
        seed: 3,
        reliable: false,
        loss: 100,
        twice: 0,
        delay_ms: 1,
    };
    holds(weather);
}
