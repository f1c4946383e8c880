//! The largest messages that outside and inside may send pass both nodes, and what comes of them
//! is read on the lane as the real framer reads it. A larger one is refused alone.

use std::collections::VecDeque;
use std::time::Duration;

use base::Now;
use node::io::{ConnId, Input, Output};
use node::{Core, Edge, Engine};
use sip::{Frame, Framer, Limits, Message, Name};

#[allow(dead_code, reason = "shared with the memory test and the bench")]
#[path = "memory/nodes.rs"]
mod nodes;

use nodes::{CONTROL, LANE, REALM, client};

const EDGE: usize = 0;
const CORE: usize = 1;

struct World {
    now: Now,
    edge: Edge,
    core: Core,
    pipe: VecDeque<(usize, Input)>,
    control: Option<ConnId>,
    heard: VecDeque<(ConnId, Message)>,
    events: Vec<status::Kind>,
    cseq: u32,
}

impl World {
    fn new() -> World {
        let now = nodes::start();
        let mut world = World {
            now,
            edge: nodes::edge(now),
            core: nodes::core(now, 2),
            pipe: VecDeque::new(),
            control: None,
            heard: VecDeque::new(),
            events: Vec::new(),
            cseq: 1000,
        };
        let names = ["core1.corp.example.test", "edge1.example.test"];
        for (node, name) in [EDGE, CORE].into_iter().zip(names) {
            world.pipe.push_back((node, nodes::control_up(name)));
        }
        world.settle();
        for node in [EDGE, CORE] {
            world.pipe.push_back((node, nodes::lane_up()));
        }
        world.settle();
        world.pass(Duration::from_secs(1));
        world.pipe.push_back((EDGE, nodes::client_up(0)));
        world.settle();
        world.register();
        world
    }

    fn settle(&mut self) {
        self.outputs();
        while let Some((node, input)) = self.pipe.pop_front() {
            match node {
                EDGE => self.edge.handle(self.now, input),
                _ => self.core.handle(self.now, input),
            }
            self.outputs();
        }
    }

    fn outputs(&mut self) {
        while let Some(output) = self.edge.poll_output() {
            self.carry(EDGE, output);
        }
        while let Some(output) = self.core.poll_output() {
            self.carry(CORE, output);
        }
    }

    fn carry(&mut self, from: usize, output: Output) {
        let to = 1 - from;
        match output {
            Output::Control { message, .. } => {
                let conn = CONTROL;
                self.pipe.push_back((to, Input::Control { conn, message }));
            }
            Output::Send { conn: LANE, bytes } => {
                self.read(to, LANE, Limits::lane(), &bytes);
            }
            Output::Send { conn, bytes } => {
                let limits = Limits {
                    fields_max: 10_000,
                    head_bytes_max: 1 << 20,
                    body_bytes_max: 1 << 20,
                    uri_bytes_max: 1 << 20,
                    ..Limits::lane()
                };
                let message = Message::parse(bytes, &limits).unwrap();
                self.heard.push_back((conn, message));
            }
            Output::Connect { conn, .. } => {
                self.control = Some(conn);
                self.pipe.push_back((from, nodes::call_control_up(conn)));
            }
            Output::Close { conn } => assert_ne!(conn, LANE, "a lane is closed"),
            Output::Event(event) => self.events.push(event.kind),
            _ => {}
        }
    }

    /// Bytes come in, and are taken apart as the driver does.
    fn read(&mut self, node: usize, conn: ConnId, limits: Limits, bytes: &[u8]) {
        let mut framer = Framer::new(limits);
        framer.push(bytes);
        while let Some(frame) = framer.next_frame() {
            if let Frame::Bad { error, fatal, .. } = &frame {
                assert!(conn != LANE && !fatal, "{error}");
            }
            self.pipe.push_back((node, Input::Frame { conn, frame }));
        }
        assert!(framer.is_idle());
    }

    fn say(&mut self, conn: ConnId, bytes: &[u8]) {
        let (node, limits) = match Some(conn) == self.control {
            true => (CORE, Limits::trusted()),
            false => (EDGE, Limits::outside()),
        };
        self.read(node, conn, limits, bytes);
        self.settle();
    }

    fn hear(&mut self, conn: ConnId, wanted: impl Fn(&Message) -> bool) -> Message {
        let found = |(to, m): &(ConnId, Message)| *to == conn && wanted(m);
        let at = self.heard.iter().position(found);
        let lines = |(to, m): &(ConnId, Message)| (*to, m.measure());
        let at = at.unwrap_or_else(|| {
            panic!(
                "nothing: {:?}",
                self.heard.iter().map(lines).collect::<Vec<_>>()
            )
        });
        self.heard.remove(at).unwrap().1
    }

    fn pass(&mut self, time: Duration) {
        let end = self.now.plus(time);
        while let Some(now) = nodes::due(self.now, end.instant, &self.edge, &self.core) {
            self.now = now;
            self.edge.handle_timeout(now);
            self.core.handle_timeout(now);
            self.settle();
        }
        self.now = self.now.plus(end.instant.since(self.now.instant));
    }

    fn register(&mut self) {
        self.say(client(0), nodes::register(0, "t", 1, "").as_bytes());
        let answer = nodes::authorization(0, &self.hear(client(0), |_| true));
        self.say(client(0), nodes::register(0, "t", 2, &answer).as_bytes());
        let control = self.control.unwrap();
        let reply = nodes::granted(&self.hear(control, |_| true));
        self.say(control, reply.bytes());
        assert_eq!(self.hear(client(0), |_| true).status(), 200);
        self.heard.clear();
    }

    /// A request of the client.
    fn request(&mut self, method: &str, extra: &str, kind: &str, body: &[u8]) -> Vec<u8> {
        self.cseq += 1;
        let (n, user, length) = (self.cseq, nodes::user(0), body.len());
        let head = format!(
            "{method} sip:6000@{REALM} SIP/2.0\r\nVia: SIP/2.0/TLS c;branch=z9hG4bK{n}\r\n\
             Max-Forwards: 70\r\nFrom: <sip:{user}@{REALM}>;tag=f{n}\r\n\
             To: <sip:6000@{REALM}>\r\nCall-ID: c{n}\r\nCSeq: {n} {method}\r\n\
             Contact: <sip:{user}@c>\r\nEvent: presence\r\nRefer-To: <sip:1@{REALM}>\r\n\
             {kind}{extra}Content-Length: {length}\r\n\r\n"
        );
        [head.as_bytes(), body].concat()
    }
}

const SDP: &str = "v=0\r\no=- 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
    m=audio 4000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 \
    inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n";

/// How a message is filled up to what outside may send.
#[derive(Clone, Copy, Debug)]
enum Fill {
    Fields,
    Head,
    Body,
    Vias,
}

const FILLS: [Fill; 4] = [Fill::Fields, Fill::Head, Fill::Body, Fill::Vias];

/// A message with as much more of something as its reader's limits allow.
fn filled(fill: Fill, limits: &Limits, make: impl Fn(&str, usize) -> Vec<u8>) -> Vec<u8> {
    let plain = Message::parse(make("", 0).into(), &Limits::trusted()).unwrap();
    let head = plain.bytes().len() - plain.body().len();
    match fill {
        Fill::Fields => make(
            &"X: a\r\n".repeat(limits.fields_max - plain.fields().count()),
            0,
        ),
        Fill::Head => make(
            &format!("X: {}\r\n", "a".repeat(limits.head_bytes_max - head - 5)),
            0,
        ),
        Fill::Body => make("", limits.body_bytes_max - plain.body().len()),
        Fill::Vias => {
            let more = limits.vias_max.saturating_sub(plain.vias().count());
            make(&"Via: SIP/2.0/TLS a;branch=z9hG4bKx\r\n".repeat(more), 0)
        }
    }
}

/// A body that holds `SDP`, as one of two parts where it is to be longer.
fn parts(more: usize) -> (&'static str, Vec<u8>) {
    let begin = "--b\r\nContent-Type: text/plain\r\n\r\n";
    let rest = format!("\r\n--b\r\nContent-Type: application/sdp\r\n\r\n{SDP}\r\n--b--\r\n");
    let body = [begin.as_bytes(), &vec![b'a'; more], rest.as_bytes()].concat();
    ("Content-Type: multipart/mixed;boundary=b\r\n", body)
}

#[test]
fn largest_message_of_outside_and_its_largest_answer_pass_edge_and_core() {
    let methods = [
        "MESSAGE",
        "SUBSCRIBE",
        "REFER",
        "PUBLISH",
        "OPTIONS",
        "INVITE",
    ];
    for method in methods {
        for fill in FILLS {
            let mut world = World::new();
            let make = |world: &mut World, extra: &str, more: usize| {
                let (kind, body) = parts(more);
                match method {
                    "INVITE" => world.request(method, extra, kind, &body),
                    _ => world.request(method, extra, "", &vec![b'a'; more]),
                }
            };
            let n = world.cseq;
            let shared = std::cell::RefCell::new(&mut world);
            let large = filled(fill, &Limits::outside(), |extra, more| {
                let mut world = shared.borrow_mut();
                world.cseq = n;
                make(&mut world, extra, more)
            });
            world.say(client(0), &large);
            let control = world.control.unwrap();
            let request = world.hear(control, |m| m.is_request());
            assert_eq!(request.method_bytes(), method.as_bytes(), "{fill:?}");
            if method == "INVITE" {
                continue;
            }
            let answer = filled(fill, &Limits::outside(), |extra, more| {
                let reply = request
                    .reply(200, "OK", "k")
                    .body("text/plain", vec![b'a'; more]);
                let text = String::from_utf8(reply.build().bytes().to_vec()).unwrap();
                text.replacen("\r\nFrom:", &format!("\r\n{extra}From:"), 1)
                    .into_bytes()
            });
            world.say(control, &answer);
            let answer = world.hear(client(0), |m| m.status() > 100);
            assert_eq!(answer.status(), 200, "{method} {fill:?}");
            assert!(!world.events.contains(&status::Kind::MessageTooLarge));
        }
    }
}

#[test]
fn answer_of_inside_over_the_limits_is_502_and_the_lane_stands() {
    let mut world = World::new();
    let asks = world.request("MESSAGE", "", "", b"");
    world.say(client(0), &asks);
    let control = world.control.unwrap();
    let request = world.hear(control, |m| m.is_request());
    let mut reply = request.reply(200, "OK", "k");
    for _ in 0..Limits::trusted().fields_max {
        reply = reply.header(Name::Other("X"), "a");
    }
    let bytes = reply.build().bytes().clone();
    let mut framer = Framer::new(Limits::trusted());
    framer.push(&bytes);
    while let Some(frame) = framer.next_frame() {
        let conn = control;
        world.pipe.push_back((CORE, Input::Frame { conn, frame }));
    }
    world.settle();
    assert_eq!(world.hear(client(0), |m| m.status() > 100).status(), 502);
    let asks = world.request("MESSAGE", "", "", b"");
    world.say(client(0), &asks);
    world.hear(control, |m| m.is_request());
}
