//! Edge and core with pipes of memory between them, a client and call control.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base::Now;
use bytes::Bytes;
use node::io::{ConnId, Input, Output};
use node::{Core, Edge, Engine};
use sip::{Limits, Message, Name};

use crate::counting::ALLOCATIONS;
use crate::nodes::{self, CONTROL, LANE, REALM, client, frame};

/// Clients that register and call in turn.
pub(crate) const CLIENTS: u64 = 100;

/// What was spent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) nanos: u64,
    pub(crate) allocations: u64,
}

impl Cost {
    fn of<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let made = ALLOCATIONS.load(Ordering::Relaxed);
        let began = Instant::now();
        let done = work();
        self.nanos += u64::try_from(began.elapsed().as_nanos()).unwrap();
        self.allocations += ALLOCATIONS.load(Ordering::Relaxed) - made;
        done
    }
}

const EDGE: usize = 0;
const CORE: usize = 1;
const READING: usize = 2;

pub(crate) struct World {
    now: Now,
    edge: Edge,
    core: Core,
    /// What is on its way to a node.
    pipe: VecDeque<(usize, Input)>,
    /// The core's connection to call control.
    control: Option<ConnId>,
    /// What clients and call control were sent.
    heard: VecDeque<(ConnId, Message)>,
    costs: [Cost; 3],
}

impl World {
    pub(crate) fn new() -> World {
        let now = nodes::start();
        let mut world = World {
            now,
            edge: nodes::edge(now),
            core: nodes::core(now, CLIENTS),
            pipe: VecDeque::new(),
            control: None,
            heard: VecDeque::new(),
            costs: [Cost::default(); 3],
        };
        for (node, peer_name) in [
            (EDGE, "core1.corp.example.test"),
            (CORE, "edge1.example.test"),
        ] {
            world.pipe.push_back((node, nodes::control_up(peer_name)));
        }
        world.settle();
        for node in [EDGE, CORE] {
            world.pipe.push_back((node, nodes::lane_up()));
        }
        world.settle();
        world.pass(Duration::from_secs(1));
        for n in 0..CLIENTS {
            world.pipe.push_back((EDGE, nodes::client_up(n)));
        }
        world.settle();
        world
    }

    /// What was spent since this was asked last: by edge, by core, on reading.
    pub(crate) fn take(&mut self) -> [Cost; 3] {
        std::mem::take(&mut self.costs)
    }

    /// Carries everything until both are quiet.
    fn settle(&mut self) {
        self.outputs();
        while let Some((node, input)) = self.pipe.pop_front() {
            let now = self.now;
            let cost = &mut self.costs[node];
            match node {
                EDGE => cost.of(|| self.edge.handle(now, input)),
                _ => cost.of(|| self.core.handle(now, input)),
            }
            self.outputs();
        }
    }

    fn outputs(&mut self) {
        while let Some(output) = self.costs[EDGE].of(|| self.edge.poll_output()) {
            self.carry(EDGE, output);
        }
        while let Some(output) = self.costs[CORE].of(|| self.core.poll_output()) {
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
                let message = self.read(bytes, &Limits::trusted());
                self.pipe.push_back((to, frame(LANE, message)));
            }
            Output::Send { conn, bytes } => {
                let message = Message::parse(bytes, &Limits::trusted()).unwrap();
                self.heard.push_back((conn, message));
            }
            Output::Connect { conn, .. } => {
                self.control = Some(conn);
                self.pipe.push_back((from, nodes::call_control_up(conn)));
            }
            _ => {}
        }
    }

    fn read(&mut self, bytes: Bytes, limits: &Limits) -> Message {
        self.costs[READING]
            .of(|| Message::parse(bytes, limits))
            .unwrap()
    }

    /// A client or call control says something, and all that follows from it happens.
    fn say(&mut self, conn: ConnId, text: &str) {
        let (node, limits) = match Some(conn) == self.control {
            true => (CORE, Limits::trusted()),
            false => (EDGE, Limits::outside()),
        };
        let message = self.read(Bytes::copy_from_slice(text.as_bytes()), &limits);
        self.pipe.push_back((node, frame(conn, message)));
        self.settle();
    }

    /// The next message that somebody was sent.
    fn hear(&mut self, conn: ConnId) -> Message {
        let at = self.heard.iter().position(|(to, _)| *to == conn);
        let at = at.unwrap_or_else(|| panic!("nothing for {conn:?}: {:?}", self.heard));
        self.heard.remove(at).unwrap().1
    }

    /// Time passes; both do what is due.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.now.plus(time);
        while let Some(now) = nodes::due(self.now, end.instant, &self.edge, &self.core) {
            self.now = now;
            self.edge.handle_timeout(self.now);
            self.core.handle_timeout(self.now);
            self.settle();
        }
        self.now = self.now.plus(end.instant.since(self.now.instant));
    }

    /// A client registers, as Cisco's do.
    pub(crate) fn register(&mut self, n: u64) {
        let mut authorization = String::new();
        let turn = self.now.unix.as_millis().to_string();
        for cseq in [1, 2] {
            let text = nodes::register(n, &turn, cseq, &authorization);
            self.say(client(n), &text);
            if cseq == 1 {
                authorization = nodes::authorization(n, &self.hear(client(n)));
            }
        }
        let control = self.control.unwrap();
        let reply = nodes::granted(&self.hear(control));
        self.say(control, std::str::from_utf8(reply.bytes()).unwrap());
        let answer = self.hear(client(n));
        assert_eq!(answer.status(), 200, "{answer:?}");
        self.heard.clear();
    }

    /// A client calls through call control and hangs up.
    pub(crate) fn call(&mut self, n: u64, turn: u64) {
        let (user, control) = (nodes::user(n), self.control.unwrap());
        let head = |method: &str, cseq: u32, to: &str, uri: &str, more: &str, body: &str| {
            format!(
                "{method} {uri} SIP/2.0\r\n\
                 Via: SIP/2.0/TLS 172.16.84.136:58980;branch=z9hG4bK{turn:08}{cseq}{method}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:{user}@{REALM}>;tag=caller{turn:08}\r\n\
                 To: <sip:6000@{REALM}>{to}\r\nCall-ID: call{turn:08}@172.16.84.136\r\n\
                 CSeq: {cseq} {method}\r\nUser-Agent: Cisco-CSF\r\n\
                 Contact: <sip:7514c56a-1034-a684-3299-9b95{n:08}@172.16.84.136:58980;\
                 transport=tls>\r\nSupported: replaces,sdp-anat,X-cisco-callinfo\r\n\
                 {more}Content-Length: {}\r\n\r\n{body}",
                body.len()
            )
        };
        let sdp = "Content-Type: application/sdp\r\n";
        let uri = format!("sip:6000@{REALM}");
        self.say(client(n), &head("INVITE", 101, "", &uri, sdp, OFFER));
        let invite = self.hear(control);
        for (status, reason, body) in [(180, "Ringing", ""), (200, "OK", ANSWER)] {
            let mut reply = invite
                .reply(status, reason, "callee")
                .header(Name::Contact, "<sip:6000@10.0.0.31:5060>");
            if !body.is_empty() {
                reply = reply.body("application/sdp", body);
            }
            let reply = reply.build();
            self.say(control, std::str::from_utf8(reply.bytes()).unwrap());
        }
        let mut answer = self.hear(client(n));
        while answer.status() < 200 {
            answer = self.hear(client(n));
        }
        assert_eq!(answer.status(), 200, "{answer:?}");
        let tag = String::from_utf8(answer.to().unwrap().tag().unwrap().to_vec()).unwrap();
        let contact = answer.contacts().next().unwrap().unwrap();
        let sip::Contact::Address(contact) = contact else {
            panic!("no contact")
        };
        let uri = String::from_utf8(contact.uri.to_vec()).unwrap();
        let routes: String = answer
            .record_routes()
            .map(|r| String::from_utf8(r.unwrap().uri.to_vec()).unwrap())
            .collect::<Vec<_>>()
            .iter()
            .rev()
            .map(|r| format!("Route: <{r}>\r\n"))
            .collect();
        let to = format!(";tag={tag}");
        self.say(client(n), &head("ACK", 101, &to, &uri, &routes, ""));
        self.say(client(n), &head("BYE", 102, &to, &uri, &routes, ""));
        let mut bye = self.hear(control);
        while bye.method() != sip::Method::Bye {
            bye = self.hear(control);
        }
        let reply = bye.reply(200, "OK", "").build();
        self.say(control, std::str::from_utf8(reply.bytes()).unwrap());
        let mut answer = self.hear(client(n));
        while answer.cseq().unwrap().number != 102 {
            answer = self.hear(client(n));
        }
        assert_eq!(answer.status(), 200, "{answer:?}");
        self.heard.clear();
    }
}

const OFFER: &str = "v=0\r\no=Cisco-SIPUA 7641 0 IN IP4 172.16.84.136\r\ns=SIP Call\r\n\
    b=AS:4064\r\nt=0 0\r\nm=audio 19204 RTP/SAVP 114 9 104 0 8 101\r\nc=IN IP4 172.16.84.136\r\n\
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 \
    inline:d0RmdmcmVCspeEc3QGZiNWpVLFJhQX1cfHAwJSoj\r\n\
    a=crypto:2 AES_CM_128_HMAC_SHA1_32 \
    inline:NzB4d1BINUAvLEw6UzF3WSJ+PSdFcGdUJShpX1Zj\r\n\
    a=rtpmap:114 opus/48000/2\r\na=rtpmap:9 G722/8000\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-16\r\na=sendrecv\r\n\
    m=video 19206 RTP/SAVP 126 97\r\nc=IN IP4 172.16.84.136\r\nb=TIAS:4000000\r\n\
    a=crypto:1 AES_CM_128_HMAC_SHA1_80 \
    inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n\
    a=rtpmap:126 H264/90000\r\na=fmtp:126 profile-level-id=428016;packetization-mode=1\r\n\
    a=rtcp-fb:* nack pli\r\na=rtcp-fb:* ccm fir\r\na=sendrecv\r\n";

const ANSWER: &str = "v=0\r\no=CiscoSystemsCCM-SIP 2000 1 IN IP4 10.0.0.31\r\ns=SIP Call\r\n\
    c=IN IP4 10.0.0.40\r\nt=0 0\r\nm=audio 24580 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n\
    a=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=sendrecv\r\n\
    m=video 24582 RTP/AVP 126\r\na=rtpmap:126 H264/90000\r\n\
    a=fmtp:126 profile-level-id=428016;packetization-mode=1\r\na=sendrecv\r\n";
