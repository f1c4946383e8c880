//! Calls from both sides under a virtual clock: what comes in as text, what goes out as text.

use std::time::Duration;

use base::{Id, Now, Rng};
use media::ports::Allocator;
use media::{Command, CoreLeg, Counters, InsideLeg, LegId, LinkId};
use sip::dialog::Dialog;
use sip::transaction::{Event as Heard, Limits, Output as Told, Transactions, ViaOptions};
use sip::{FlowId, Message, Method, Name};

use super::*;

mod basic;
mod between;
mod change;
mod content;
mod early;
mod ends;
mod lasting;
mod naming;
mod offers;
mod random;
mod refusal;
mod secure;
mod session;
mod watch;

const EDGE: FlowId = Id::new(1, 0);
const INSIDE: FlowId = Id::new(2, 0);
const LINK: LinkId = LinkId(4);
const EDGE_SIDE: Side = Side::Edge { link: LINK };

const KEY_1: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
const KEY_2: &str = "PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR";

/// The core's B2BUA between two wires.
struct World {
    now: Now,
    reliable: bool,
    layer: Transactions,
    b2bua: B2bua,
    ports: Allocator,
    sent: Vec<(FlowId, Message)>,
    legs: base::Map<LegId, CoreLeg>,
    /// Legs between parties inside.
    pairs: base::Map<LegId, InsideLeg>,
    commands: Vec<String>,
    events: Vec<Event>,
    records: Vec<Record>,
    branches: u32,
    /// The media workers answer a removal with the last figures.
    figures: bool,
    /// Where a new INVITE is sent.
    forward: bool,
    /// What media inside is.
    encryption: Encryption,
    /// The first flow is no edge's, but inside too, with media like this.
    beyond: Option<Encryption>,
    /// What becomes of ICE candidates.
    ice: Ice,
}

impl World {
    fn new() -> Self {
        World::with(true, 1)
    }

    fn with(reliable: bool, seed: u64) -> Self {
        let mut rng = Rng::from_number(seed);
        let inside = "10.0.0.5".parse().unwrap();
        let settings = Settings::new(inside, "192.0.2.5".parse().unwrap());
        World {
            now: Now::default(),
            reliable,
            layer: Transactions::new(rng.fork(), Limits::default()),
            b2bua: B2bua::new(rng.fork(), settings),
            ports: Allocator::new(inside, 40_000..=40_099, Duration::ZERO, &mut rng),
            sent: Vec::new(),
            legs: base::Map::new(),
            pairs: base::Map::new(),
            commands: Vec::new(),
            events: Vec::new(),
            records: Vec::new(),
            branches: 0,
            figures: true,
            forward: true,
            encryption: Encryption::Off,
            beyond: None,
            ice: Ice::Remove,
        }
    }

    fn face(&self, flow: FlowId) -> Face {
        let (sent_by, contact) = if flow == EDGE {
            (
                "core.example.test:7001",
                "sip:core@192.0.2.5:7001;transport=tls",
            )
        } else {
            (
                "10.0.0.5:5060",
                "sip:alice-uuid@10.0.0.5:5060;transport=tcp",
            )
        };
        Face {
            flow,
            reliable: self.reliable,
            via: ViaOptions {
                transport: "TCP",
                sent_by: sent_by.to_owned(),
                parameters: String::new(),
            },
            contact: contact.as_bytes().to_vec(),
            encryption: match self.beyond.filter(|_| flow == EDGE) {
                Some(beyond) => beyond,
                None => self.encryption,
            },
            ice: self.ice,
        }
    }

    fn side_of(&self, flow: FlowId) -> Side {
        if flow == EDGE && self.beyond.is_none() {
            EDGE_SIDE
        } else {
            Side::Inside
        }
    }

    fn cx<T>(&mut self, act: impl FnOnce(&mut B2bua, &mut Context<'_>) -> T) -> T {
        let mut cx = Context {
            now: self.now,
            transactions: &mut self.layer,
            ports: &mut self.ports,
        };
        act(&mut self.b2bua, &mut cx)
    }

    fn settle(&mut self) {
        loop {
            if let Some(output) = self.layer.poll_output() {
                match output {
                    Told::Send { flow, bytes } => {
                        let limits = sip::Limits::trusted();
                        self.sent
                            .push((flow, Message::parse(bytes, &limits).unwrap()));
                    }
                    Told::Event(event) => self.hear(event),
                }
            } else if let Some(output) = self.b2bua.poll_output() {
                match output {
                    Output::Media(command) => self.media(command),
                    Output::Event { event, .. } => self.events.push(event),
                    Output::Record(record) => self.records.push(*record),
                }
            } else {
                return;
            }
        }
    }

    fn hear(&mut self, event: Heard) {
        let Some(event) = self.cx(|b, cx| b.handle(cx, event)) else {
            return;
        };
        match event {
            Heard::Request { key, flow, message } => {
                let side = self.side_of(flow);
                if message.method() == Method::Invite && message.to().unwrap().tag().is_none() {
                    let other = if flow == EDGE { INSIDE } else { EDGE };
                    let caller = Caller {
                        side,
                        face: self.face(flow),
                    };
                    let target = Target {
                        side: self.side_of(if self.forward { other } else { flow }),
                        face: self.face(other),
                        request_uri: b"sip:bob@target.example.test".to_vec(),
                        routes: vec![b"<sip:hop.example.test;lr>".to_vec()],
                    };
                    self.cx(|b, cx| b.invite(cx, key, message, caller, target));
                } else {
                    self.cx(|b, cx| b.request(cx, side, key, message));
                }
            }
            Heard::Ack { flow, message } => {
                let side = self.side_of(flow);
                self.cx(|b, cx| b.ack(cx, side, &message));
            }
            _ => {}
        }
    }

    fn media(&mut self, command: Command) {
        let (leg, word) = match command {
            Command::InstallCore { leg, core } => {
                assert!(self.legs.insert(leg, core).is_none(), "installed twice");
                (leg, "install")
            }
            Command::UpdateCore { leg, core } => {
                assert!(
                    self.legs.insert(leg, core).is_some(),
                    "updated before installed"
                );
                (leg, "update")
            }
            Command::InstallInside { leg, inside } => {
                let before = self.pairs.insert(leg, inside);
                assert!(before.is_none(), "installed twice");
                (leg, "install")
            }
            Command::UpdateInside { leg, inside } => {
                let before = self.pairs.insert(leg, inside);
                assert!(before.is_some(), "updated before installed");
                (leg, "update")
            }
            Command::Remove { leg } => {
                let link = self.legs.remove(&leg).is_some();
                let pair = self.pairs.remove(&leg).is_some();
                assert!(link || pair, "removed twice");
                if self.figures {
                    let mut counters = Counters::default();
                    counters.from_client.packets = 50;
                    let report = media::Event::Counters {
                        leg,
                        counters,
                        last: true,
                    };
                    self.cx(|b, cx| b.media_event(cx, &report));
                }
                (leg, "remove")
            }
            other => panic!("{other:?}"),
        };
        let _ = leg;
        self.commands.push(word.to_owned());
    }

    /// A message comes in.
    fn take(&mut self, flow: FlowId, message: Message) {
        self.layer.receive(self.now, flow, self.reliable, message);
        self.settle();
    }

    /// A request comes in, with a Via of its sender.
    fn ask(&mut self, flow: FlowId, request: &Message) -> Message {
        self.branches += 1;
        let via = format!(
            "SIP/2.0/TCP phone.example.test;branch=z9hG4bK-{}",
            self.branches
        );
        let request = request.edit().push_front(Name::Via, via).finish();
        self.take(flow, request.clone());
        request
    }

    /// All that was sent on a flow since the last look.
    fn out(&mut self, flow: FlowId) -> Vec<Message> {
        let (mine, rest) = std::mem::take(&mut self.sent)
            .into_iter()
            .partition(|(f, _)| *f == flow);
        self.sent = rest;
        let mine: Vec<(FlowId, Message)> = mine;
        mine.into_iter().map(|(_, m)| m).collect()
    }

    /// The one message sent on a flow, but for 100s.
    fn one(&mut self, flow: FlowId) -> Message {
        let mut sent = self.out(flow);
        sent.retain(|m| m.status() != 100);
        assert_eq!(
            sent.len(),
            1,
            "{:?}",
            sent.iter().map(word).collect::<Vec<_>>()
        );
        sent.remove(0)
    }

    /// What was sent on a flow, in words.
    fn words(&mut self, flow: FlowId) -> Vec<String> {
        self.out(flow).iter().map(word).collect()
    }

    fn wait(&mut self, millis: u64) {
        let until = self.now.plus(Duration::from_millis(millis));
        loop {
            let next = [self.layer.poll_timeout(), self.b2bua.poll_timeout()];
            let next = next
                .into_iter()
                .flatten()
                .min()
                .filter(|at| *at <= until.instant);
            let Some(at) = next else { break };
            self.now = self.now.plus(at - self.now.instant);
            self.layer.handle_timeout(self.now);
            self.settle();
            self.cx(|b, cx| b.handle_timeout(cx));
            self.settle();
        }
        self.now = until;
    }

    fn commands(&mut self) -> Vec<String> {
        std::mem::take(&mut self.commands)
    }

    /// Nothing is left of anything once all has run out.
    fn assert_idle(&mut self) {
        self.wait(700_000);
        assert_eq!(self.b2bua.counts(), Counts::default());
        let counts = self.layer.counts();
        assert_eq!((counts.clients, counts.servers, counts.timers), (0, 0, 0));
        assert_eq!(self.ports.in_use(), 0);
        assert!(self.legs.is_empty() && self.pairs.is_empty());
    }

    /// The one media leg.
    fn leg(&self) -> CoreLeg {
        assert_eq!(self.legs.len(), 1);
        self.legs.values().next().unwrap().clone()
    }
}

fn word(message: &Message) -> String {
    if message.is_request() {
        String::from_utf8_lossy(message.method_bytes()).into_owned()
    } else {
        message.status().to_string()
    }
}

/// A description of the edge's: encrypted, a stream of the link.
fn edge_sdp(key: &str) -> String {
    format!(
        "v=0\r\no=alice 1 1 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
         a=ice-lite\r\nm=audio 36000 RTP/SAVP 0 101\r\na=rtpmap:0 PCMU/8000\r\n\
         a=crypto:3 AES_256_CM_HMAC_SHA1_80 inline:{long}\r\n\
         a=crypto:5 AES_CM_128_HMAC_SHA1_80 inline:{key}\r\n\
         a=candidate:1 1 UDP 1 192.0.2.9 36000 typ host\r\na=rtcp-mux\r\n\
         a=x-causeway-stream:0000002a\r\na=sendrecv\r\n",
        long = "A".repeat(61) + "==="
    )
}

/// A description from inside.
fn inside_sdp() -> String {
    "v=0\r\no=bob 7 7 IN IP4 10.0.0.20\r\ns=-\r\nc=IN IP4 10.0.0.20\r\nt=0 0\r\n\
     m=audio 20000 RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\n"
        .to_owned()
}

/// An INVITE without its Via.
fn invite(from: &str, sdp: Option<&str>) -> Message {
    let mut builder = sip::RequestBuilder::new(b"INVITE", b"sip:1002@example.test")
        .header(Name::RecordRoute, b"<sip:near.example.test;lr>")
        .header(Name::MaxForwards, b"15")
        .header(
            Name::From,
            format!("\"A\" <sip:{from}@example.test>;tag=phone1"),
        )
        .header(Name::To, b"<sip:1002@example.test>")
        .header(Name::CallId, b"the-call@phone")
        .header(Name::CSeq, b"101 INVITE")
        .header(
            Name::Contact,
            b"<sip:phone@192.0.2.77:5061;transport=tls>;+u.sip!x=\"y\";video",
        )
        .header(Name::SessionId, b"abc;remote=0")
        .raw_header(b"X-Cisco-Odd", b"Kept;as=is");
    if let Some(sdp) = sdp {
        builder = builder.body(b"application/sdp", sdp);
    }
    builder.build()
}

/// What a phone answers.
fn reply(request: &Message, status: u16, tag: &str, sdp: Option<&str>) -> Message {
    let mut builder = request
        .reply(status, "Any", tag)
        .header(Name::Contact, format!("<sip:{tag}@203.0.113.9>;isfocus"))
        .raw_header(b"X-Answer", b"yes");
    if let Some(sdp) = sdp {
        builder = builder.body(b"application/sdp", sdp);
    }
    builder.build()
}

fn text(message: &Message) -> String {
    String::from_utf8_lossy(message.body()).into_owned()
}

/// A call that stands, with both phones' dialogs.
struct Standing {
    world: World,
    /// The caller's and the callee's flow.
    near: FlowId,
    far: FlowId,
    caller: Dialog,
    callee: Dialog,
}

/// Sets a call up from the edge or from inside.
fn call(reliable: bool, near: FlowId) -> Standing {
    call_in(World::with(reliable, 7), near)
}

fn call_in(mut world: World, near: FlowId) -> Standing {
    let (far, offer) = if near == EDGE {
        (INSIDE, edge_sdp(KEY_1))
    } else {
        (EDGE, inside_sdp())
    };
    let asked = world.ask(near, &invite("alice", Some(&offer)));
    let got = world.one(far);
    world.take(far, reply(&got, 180, "b1", None));
    let answer = if near == EDGE {
        inside_sdp()
    } else {
        edge_answer(&got, KEY_2)
    };
    world.take(far, reply(&got, 200, "b1", Some(&answer)));
    let last = world.out(near).pop().unwrap();
    assert_eq!(last.status(), 200);
    let caller = Dialog::uac(&asked, &last).unwrap();
    let callee = Dialog::uas(&got, "b1").unwrap();
    world.ask(near, &caller.ack(101).build());
    assert_eq!(world.words(far), ["ACK"]);
    world.commands();
    Standing {
        world,
        near,
        far,
        caller,
        callee,
    }
}

/// A client's answer to an offer of the core's: its second suite's line.
fn edge_answer(offer: &Message, key: &str) -> String {
    let offer = text(offer);
    let stream = offer
        .split("x-causeway-stream:")
        .nth(1)
        .unwrap()
        .split("\r\n")
        .next()
        .unwrap();
    let line = offer.lines().rfind(|l| l.starts_with("a=crypto:")).unwrap();
    let words: Vec<&str> = line.trim_start_matches("a=crypto:").split(' ').collect();
    format!(
        "v=0\r\no=alice 3 3 IN IP4 192.0.2.9\r\ns=-\r\nc=IN IP4 192.0.2.9\r\nt=0 0\r\n\
         m=audio 36000 RTP/SAVP 0 101\r\na=crypto:{} {} inline:{key}\r\n\
         a=x-causeway-stream:{stream}\r\n",
        words[0], words[1]
    )
}

impl Standing {
    /// One phone hangs up, the other agrees.
    fn hang_up(mut self, from: FlowId) -> World {
        let bye = if from == self.near {
            self.caller.request(b"BYE").build()
        } else {
            self.callee.request(b"BYE").build()
        };
        let to = if from == self.near {
            self.far
        } else {
            self.near
        };
        self.world.ask(from, &bye);
        let got = self.world.one(to);
        self.world.take(to, got.reply(200, "OK", "").build());
        assert_eq!(self.world.words(from), ["200"]);
        self.world
    }
}
