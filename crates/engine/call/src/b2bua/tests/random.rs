//! Two phones with minds of their own, on wires that lose, double and reorder: whatever they do,
//! every call leaves one record and nothing else.

use base::{Instant, Rng};
use proptest::prelude::*;
use sip::transaction::{ClientKey, ServerKey};

use super::watch::{NOTE, Watch};
use super::*;

#[derive(Clone, Copy, Debug)]
struct Weather {
    seed: u64,
    reliable: bool,
    loss: u64,
    twice: u64,
    delay_ms: u64,
}

#[expect(clippy::large_enum_variant, reason = "a few, in a test")]
enum Task {
    ToCore {
        flow: FlowId,
        bytes: bytes::Bytes,
    },
    ToPhone {
        phone: usize,
        bytes: bytes::Bytes,
    },
    Act {
        phone: usize,
    },
    Answer {
        phone: usize,
        key: ServerKey,
        status: u16,
    },
    /// A phone repeats its 2xx until the ACK.
    Again {
        phone: usize,
        key: ServerKey,
        ok: Message,
        wait: u64,
    },
    LinkDown,
    FlowDown {
        flow: FlowId,
    },
}

struct Phone {
    flow: FlowId,
    layer: Transactions,
    dialog: Option<Dialog>,
    /// An INVITE of its own that has no final answer.
    calling: Option<ClientKey>,
    acked: u32,
    /// The core's name for the stream, on the edge.
    stream: String,
}

struct Sim {
    weather: Weather,
    rng: Rng,
    world: World,
    phones: [Phone; 2],
    due: base::Map<(Instant, u64), Task>,
    sequence: u64,
    calls: u32,
    watch: Watch,
    /// Provisional responses are reliable.
    acknowledged: u32,
}

impl Sim {
    fn new(weather: Weather) -> Self {
        let mut rng = Rng::from_number(weather.seed);
        let mut phone = |flow| Phone {
            flow,
            layer: Transactions::new(rng.fork(), Limits::default()),
            dialog: None,
            calling: None,
            acked: 0,
            stream: "0000002a".into(),
        };
        Sim {
            phones: [phone(EDGE), phone(INSIDE)],
            weather,
            world: World::with(weather.reliable, weather.seed),
            rng,
            due: base::Map::new(),
            sequence: 0,
            calls: 0,
            watch: Watch::default(),
            acknowledged: 0,
        }
    }

    fn later(&mut self, millis: u64, task: Task) {
        self.sequence += 1;
        let at = self.world.now.instant + Duration::from_millis(millis);
        self.due.insert((at, self.sequence), task);
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.rng.below(100) < percent
    }

    /// How often a datagram arrives, and after how long.
    fn copies(&mut self) -> Vec<u64> {
        if self.weather.reliable {
            return vec![10];
        }
        if self.chance(self.weather.loss) {
            return Vec::new();
        }
        let n = 1 + usize::from(self.chance(self.weather.twice));
        (0..n)
            .map(|_| 1 + self.rng.below(self.weather.delay_ms))
            .collect()
    }

    fn drain(&mut self) {
        loop {
            self.world.settle();
            let mut quiet = true;
            for (flow, message) in std::mem::take(&mut self.world.sent) {
                quiet = false;
                // A datagram that is sent again is seen again.
                self.watch.sees(flow, &message);
                let phone = usize::from(flow == INSIDE);
                for delay in self.copies() {
                    self.later(
                        delay,
                        Task::ToPhone {
                            phone,
                            bytes: message.bytes().clone(),
                        },
                    );
                }
            }
            for phone in [0, 1] {
                while let Some(output) = self.phones[phone].layer.poll_output() {
                    quiet = false;
                    match output {
                        Told::Send { bytes, .. } => {
                            let flow = self.phones[phone].flow;
                            for delay in self.copies() {
                                self.later(
                                    delay,
                                    Task::ToCore {
                                        flow,
                                        bytes: bytes.clone(),
                                    },
                                );
                            }
                        }
                        Told::Event(event) => self.hear(phone, event),
                    }
                }
            }
            if quiet {
                return;
            }
        }
    }

    fn description(&mut self, phone: usize) -> String {
        let hold = self.chance(30);
        let text = if phone == 0 {
            let key = if self.chance(50) { KEY_1 } else { KEY_2 };
            edge_sdp(key).replace("0000002a", &self.phones[0].stream)
        } else {
            inside_sdp()
        };
        if hold { text + "a=inactive\r\n" } else { text }
    }

    /// The answer to an offer, or an offer if there was none.
    fn answer_to(&mut self, phone: usize, message: &Message) -> String {
        if message.body().is_empty() {
            return self.description(phone);
        }
        if phone == 1 {
            return inside_sdp();
        }
        let body = text(message);
        self.note_stream(&body);
        edge_answer(message, KEY_1)
    }

    fn note_stream(&mut self, body: &str) {
        if let Some(rest) = body.split("x-causeway-stream:").nth(1) {
            self.phones[0].stream = rest.chars().take(8).collect();
        }
    }

    fn hear(&mut self, phone: usize, event: Heard) {
        match event {
            Heard::Request { key, message, .. } => self.asked(phone, key, &message),
            Heard::Cancelled { key, .. } => {
                self.phones[phone].dialog = None;
                self.respond(phone, key, 487);
            }
            Heard::Ack { message, .. } => {
                let number = message.cseq().unwrap().number;
                self.phones[phone].acked = self.phones[phone].acked.max(number);
            }
            Heard::Response { key, message } => self.answered(phone, key, &message),
            Heard::Failed { key, .. } if self.phones[phone].calling == Some(key) => {
                self.phones[phone].calling = None;
            }
            _ => {}
        }
    }

    fn asked(&mut self, phone: usize, key: ServerKey, message: &Message) {
        if let Some(dialog) = &mut self.phones[phone].dialog {
            let _ = dialog.incoming(message);
        }
        let first = message.to().unwrap().tag().is_none();
        match message.method() {
            Method::Invite if first => {
                match self.rng.below(10) {
                    0..6 => self.respond(phone, key, 180),
                    6..9 => self.respond(phone, key, 183),
                    _ => {}
                }
                let status = [200, 200, 200, 486, 302, 0][self.rng.below(6) as usize];
                let wait = self.rng.below(6_000);
                if status > 0 {
                    self.later(wait, Task::Answer { phone, key, status });
                }
            }
            Method::Invite => {
                let status = if self.phones[phone].calling.is_some() {
                    491
                } else {
                    200
                };
                let status = if self.chance(20) { 488 } else { status };
                self.respond(phone, key, status);
            }
            Method::Bye => {
                self.phones[phone].dialog = None;
                self.respond(phone, key, 200);
            }
            _ => self.respond(phone, key, 200),
        }
    }

    fn respond(&mut self, phone: usize, key: ServerKey, status: u16) {
        let Some(request) = self.phones[phone].layer.server_request(key).cloned() else {
            return;
        };
        let describes = matches!(request.method(), Method::Invite)
            || (request.method() == Method::Update && !request.body().is_empty());
        let body = if matches!(status, 183 | 200) && describes {
            Some(self.answer_to(phone, &request))
        } else {
            None
        };
        let tag = format!("tag{phone}");
        let mut response = reply(&request, status, &tag, body.as_deref());
        if status == 183 {
            let reliable = response.edit().set(Name::RSeq, "1").finish();
            response = reliable.edit().set(Name::Require, "100rel").finish();
            // What it then answers has a number behind the PRACK's.
            self.phones[phone].dialog = Dialog::uas(&request, &tag).ok();
        }
        if status == 200 && request.method() == Method::Invite {
            if request.to().unwrap().tag().is_none() {
                let dialog = Dialog::uas(&request, &tag).ok();
                let phone = &mut self.phones[phone];
                let early =
                    |d: &Dialog| dialog.as_ref().is_some_and(|n| n.call_id() == d.call_id());
                if !phone.dialog.as_ref().is_some_and(early) {
                    phone.dialog = dialog;
                }
                phone.acked = 0;
            }
            if !self.weather.reliable {
                self.later(
                    500,
                    Task::Again {
                        phone,
                        key,
                        ok: response.clone(),
                        wait: 500,
                    },
                );
            }
        }
        let now = self.world.now;
        self.phones[phone].layer.respond(now, key, response);
    }

    fn answered(&mut self, phone: usize, key: ClientKey, response: &Message) {
        if response.method() != Method::Invite {
            return;
        }
        if response.header(Name::RSeq).is_some() && response.status() < 200 {
            return self.acknowledge_early(phone, key, response);
        }
        if response.status() < 200 {
            return;
        }
        if self.phones[phone].calling == Some(key) {
            self.phones[phone].calling = None;
        }
        if response.status() >= 300 {
            let request = self.phones[phone].layer.client_request(key);
            if request.is_some_and(|r| r.to().unwrap().tag().is_none()) {
                self.phones[phone].dialog = None;
            }
            return;
        }
        if phone == 0 {
            self.note_stream(&text(response));
        }
        let request = self.phones[phone]
            .layer
            .client_request(key)
            .unwrap()
            .clone();
        let number = request.cseq().unwrap().number;
        let dialog = match &self.phones[phone].dialog {
            Some(dialog) if dialog.matches(response) => dialog.clone(),
            _ => match Dialog::uac(&request, response) {
                Ok(dialog) => dialog,
                Err(_) => return,
            },
        };
        let mut ack = dialog.ack(number);
        if request.body().is_empty() && !response.body().is_empty() && !self.chance(5) {
            ack = ack.body(b"application/sdp", self.answer_to(phone, response));
        }
        let ack = ack.build();
        self.phones[phone].dialog.get_or_insert(dialog);
        let via = self.world.face(EDGE).via;
        let flow = self.phones[phone].flow;
        self.phones[phone].layer.send(flow, &ack, &via);
    }

    /// A reliable provisional came: once for each dialog it is acknowledged.
    fn acknowledge_early(&mut self, phone: usize, key: ClientKey, response: &Message) {
        let Some(request) = self.phones[phone].layer.client_request(key).cloned() else {
            return;
        };
        if phone == 0 {
            self.note_stream(&text(response));
        }
        if self.phones[phone].dialog.is_some() {
            return;
        }
        let Ok(mut dialog) = Dialog::uac(&request, response) else {
            return;
        };
        let number = request.cseq().unwrap().number;
        let mut prack = dialog
            .request(b"PRACK")
            .header(Name::RAck, format!("1 {number} INVITE"));
        if request.body().is_empty() && !response.body().is_empty() {
            prack = prack.body(b"application/sdp", self.answer_to(phone, response));
        }
        self.phones[phone].dialog = Some(dialog);
        self.acknowledged += 1;
        let flow = self.phones[phone].flow;
        self.ask(phone, flow, &prack.build());
    }

    /// A request that only passes.
    fn passing(&mut self, phone: usize, method: &[u8]) -> Option<Message> {
        let (note, body) = self.watch.note(&mut self.rng);
        let dialog = self.phones[phone].dialog.as_mut()?;
        let builder = dialog
            .request(method)
            .header(Name::Other(NOTE), note)
            .body(b"application/x-note", body);
        Some(builder.build())
    }

    /// A phone does something.
    fn act(&mut self, phone: usize) {
        let offer = if self.chance(80) {
            Some(self.description(phone))
        } else {
            None
        };
        let choice = self.rng.below(100);
        let flow = self.phones[phone].flow;
        if let Some(key) = self.phones[phone].calling {
            if choice < 50 {
                let now = self.world.now;
                self.phones[phone].layer.cancel(now, key);
            }
            return;
        }
        let Some(dialog) = &mut self.phones[phone].dialog else {
            self.calls += 1;
            let request = invite("x", offer.as_deref());
            let request = request
                .edit()
                .set(Name::CallId, format!("call-{}", self.calls))
                .set(Name::From, format!("<sip:x@y>;tag=t{}", self.calls))
                .finish();
            return self.ask(phone, flow, &request);
        };
        let contact = b"<sip:again@192.0.2.3>";
        let request = match choice {
            0..40 => {
                let builder = dialog.request(b"INVITE").header(Name::Contact, contact);
                match &offer {
                    Some(offer) => builder.body(b"application/sdp", offer),
                    None => builder,
                }
            }
            40..60 => {
                let builder = dialog.request(b"UPDATE").header(Name::Contact, contact);
                builder.body(b"application/sdp", offer.unwrap_or_default())
            }
            60..80 => {
                let methods = ["INFO", "MESSAGE", "NOTIFY", "REFER", "OPTIONS", "FROB"];
                let method = methods[self.rng.below(6) as usize];
                let Some(request) = self.passing(phone, method.as_bytes()) else {
                    return;
                };
                return self.ask(phone, flow, &request);
            }
            _ => {
                let bye = dialog.request(b"BYE");
                self.phones[phone].dialog = None;
                bye
            }
        };
        let request = request.build();
        self.ask(phone, flow, &request);
    }

    fn ask(&mut self, phone: usize, flow: FlowId, request: &Message) {
        let via = self.world.face(EDGE).via;
        let reliable = self.weather.reliable;
        let now = self.world.now;
        let key = self.phones[phone]
            .layer
            .request(now, flow, reliable, request, &via)
            .unwrap();
        if request.method() == Method::Invite {
            self.phones[phone].calling = Some(key);
        }
    }

    fn perform(&mut self, task: Task) {
        let now = self.world.now;
        let read = |bytes| Message::parse(bytes, &sip::Limits::trusted()).unwrap();
        match task {
            Task::ToCore { flow, bytes } => self.world.take(flow, read(bytes)),
            Task::ToPhone { phone, bytes } => {
                let (flow, reliable) = (self.phones[phone].flow, self.weather.reliable);
                self.phones[phone]
                    .layer
                    .receive(now, flow, reliable, read(bytes));
            }
            Task::Act { phone } => self.act(phone),
            Task::Answer { phone, key, status } => self.respond(phone, key, status),
            Task::Again {
                phone,
                key,
                ok,
                wait,
            } => {
                let number = ok.cseq().unwrap().number;
                if self.phones[phone].acked < number && wait < 32_000 {
                    self.phones[phone].layer.respond(now, key, ok.clone());
                    self.later(
                        wait * 2,
                        Task::Again {
                            phone,
                            key,
                            ok,
                            wait: wait * 2,
                        },
                    );
                }
            }
            Task::LinkDown => self.world.cx(|b, cx| b.link_down(cx, LINK)),
            Task::FlowDown { flow } => {
                self.world.layer.flow_down(now, flow);
                self.watch.flow_down(flow);
            }
        }
    }

    fn run(&mut self) {
        loop {
            self.drain();
            let layers = self.phones.iter().filter_map(|p| p.layer.poll_timeout());
            let core = [
                self.world.layer.poll_timeout(),
                self.world.b2bua.poll_timeout(),
            ];
            let due = self.due.keys().next().map(|(at, _)| *at);
            let next = layers.chain(core.into_iter().flatten()).chain(due).min();
            let Some(at) = next else { return };
            self.world.now = self.world.now.plus(at - self.world.now.instant);
            let now = self.world.now;
            for phone in &mut self.phones {
                phone.layer.handle_timeout(now);
            }
            self.world.layer.handle_timeout(now);
            self.drain();
            self.world.cx(|b, cx| b.handle_timeout(cx));
            while let Some(entry) = self.due.first_entry().filter(|e| e.key().0 <= at) {
                let task = entry.remove();
                self.perform(task);
                self.drain();
            }
        }
    }
}

fn holds(weather: Weather) {
    let mut sim = Sim::new(weather);
    for n in 0..24 {
        let phone = (sim.rng.below(3) / 2) as usize;
        let at = n * 2_500 + sim.rng.below(4_000);
        sim.later(at, Task::Act { phone });
    }
    if sim.chance(20) {
        sim.later(30_000, Task::LinkDown);
    }
    if sim.chance(20) {
        let flow = if sim.chance(50) { EDGE } else { INSIDE };
        sim.later(40_000, Task::FlowDown { flow });
    }
    // Whatever stands at the end loses its link.
    sim.later(200_000, Task::LinkDown);
    sim.run();
    let counts = sim.world.b2bua.counts();
    assert_eq!(counts, Counts::default());
    assert_eq!(sim.world.ports.in_use(), 0);
    assert!(sim.world.legs.is_empty());
    let layer = sim.world.layer.counts();
    assert_eq!(
        (layer.clients, layer.servers, layer.timers, layer.lost),
        (0, 0, 0, 0)
    );
    let started = sim
        .world
        .events
        .iter()
        .filter(|e| **e == Event::Started)
        .count();
    assert_eq!(sim.world.records.len(), started);
    for record in &sim.world.records {
        assert!(record.end >= record.answer.unwrap_or(record.start));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn phones_that_do_anything_leave_one_record_a_call_and_nothing_else(
        seed: u64,
        reliable in prop::bool::weighted(0.4),
        loss in 0u64..40,
        twice in 0u64..30,
        delay_ms in 1u64..800,
    ) {
        holds(Weather { seed, reliable, loss, twice, delay_ms });
    }
}

#[test]
fn phones_on_a_clean_network_talk() {
    let weather = Weather {
        seed: 11,
        reliable: true,
        loss: 0,
        twice: 0,
        delay_ms: 1,
    };
    let mut sim = Sim::new(weather);
    for n in 0..60 {
        sim.later(
            n * 3_000,
            Task::Act {
                phone: (n % 2) as usize,
            },
        );
    }
    sim.later(400_000, Task::LinkDown);
    sim.run();
    let answered = sim
        .world
        .records
        .iter()
        .filter(|r| r.answer.is_some())
        .count();
    assert!(answered >= 3, "{answered} of {}", sim.world.records.len());
    assert!(sim.acknowledged > 0 && sim.watch.carried > 0);
    assert!(sim.world.events.contains(&Event::MediaChanged));
    assert_eq!(sim.world.b2bua.counts(), Counts::default());
}
