//! What one call costs the core's B2BUA while nothing is under way in it.
//!
//! `cargo test -p causeway-call --test memory -- --nocapture` prints the figures that
//! `docs/performance.md` holds. Counted is what is asked of the allocator, in bytes: a share is
//! what the heap shrinks by when its owner is dropped. Media workers and connections are not in it.
#![allow(clippy::unwrap_used, unsafe_code)]

#[path = "memory/counting.rs"]
mod counting;

use std::time::Duration;

use base::{Id, Now, Rng};
use bytes::Bytes;
use call::b2bua::{B2bua, Caller, Context, Encryption, Face, Ice, Output, Settings, Side, Target};
use counting::heap;
use media::LinkId;
use media::ports::Allocator;
use sip::transaction::{Event, Limits, Output as Told, Transactions, ViaOptions};
use sip::{FlowId, Message, Method};

/// Tables double: the figure is the one of a table between half and wholly full.
const CALLS: usize = 700;

/// What a call may cost beside its descriptions, in bytes (the bar of the design).
const IDLE_MAX: usize = 4_096;

const EDGE: FlowId = Id::new(1, 0);
const INSIDE: FlowId = Id::new(2, 0);
const LINK: LinkId = LinkId(4);
const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

/// A description of a client's with audio and video, 1.2 KiB.
fn offer(n: usize) -> String {
    let stream = n * 2;
    let mut out = format!(
        "v=0\r\no=Cisco-SIPUA {n} 0 IN IP4 192.0.2.9\r\ns=SIP Call\r\nb=AS:4064\r\n\
         c=IN IP4 192.0.2.9\r\nt=0 0\r\na=cisco-mari:v1\r\na=cisco-mari-rate\r\n"
    );
    for (kind, pts) in [("audio", "114 9 124 0 8 116 18 101"), ("video", "126 97")] {
        let id = stream + usize::from(kind == "video");
        out += &format!(
            "m={kind} 36000 RTP/SAVP {pts}\r\n\
             a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\r\n"
        );
        for pt in pts.split(' ') {
            out += &format!("a=rtpmap:{pt} codec-of-some-name/90000\r\na=fmtp:{pt} x=42e01f\r\n");
        }
        out += &format!("a=label:{id}\r\na=sendrecv\r\na=x-causeway-stream:{id:08x}\r\n");
    }
    out
}

fn answer(n: usize) -> String {
    offer(n)
        .replace("192.0.2.9", "10.0.0.20")
        .replace("36000 RTP/SAVP", "20000 RTP/AVP")
        .lines()
        .filter(|l| !l.starts_with("a=crypto") && !l.starts_with("a=x-causeway"))
        .fold(String::new(), |all, line| all + line + "\r\n")
}

/// An INVITE as a client sends it through an edge, 2.7 KiB.
fn invite(n: usize) -> String {
    let body = offer(n);
    format!(
        "INVITE sip:1100@example.test;user=phone SIP/2.0\r\n\
         Via: SIP/2.0/TLS edge1.example.test:7001;branch=z9hG4bKedge{n};rport\r\n\
         Via: SIP/2.0/TLS 172.16.84.136:58980;branch=z9hG4bK0000{n};received=198.51.100.7\r\n\
         Record-Route: <sip:0123456789abcdef0123456789@edge1.example.test:5061;\
         transport=tls;lr>\r\n\
         From: \"Alice of the third floor\" <sip:1001@example.test>;tag=00505696779a-{n}\r\n\
         To: <sip:1100@example.test>\r\n\
         Call-ID: 00505696-779a0005-{n:08}-00007938@172.16.84.136\r\n\
         Max-Forwards: 69\r\nSession-ID: 9b8c276600255000a0000e5dc13f0000;remote=0\r\n\
         CSeq: 101 INVITE\r\nUser-Agent: Cisco-CSF\r\n\
         Contact: <sip:7514c56a-1034-a684@172.16.84.136:58980;transport=tls>;video;bfcp\r\n\
         Expires: 180\r\nAccept: application/sdp\r\nAllow: ACK,BYE,CANCEL,INVITE,NOTIFY,OPTIONS,\
         REFER,REGISTER,UPDATE,SUBSCRIBE,INFO\r\nRemote-Party-ID: \"Alice\" \
         <sip:1001@example.test>;party=calling;id-type=subscriber;privacy=off;screen=yes\r\n\
         Supported: replaces,join,sdp-anat,norefersub,resource-priority,extended-refer,\
         X-cisco-callinfo,X-cisco-serviceuri,X-cisco-escapecodes,X-cisco-service-control,\
         X-cisco-srtp-fallback,X-cisco-monrec,X-cisco-config,X-cisco-sis-7.0.0\r\n\
         Allow-Events: kpml,dialog\r\nRecv-Info: conference\r\nRecv-Info: x-cisco-conference\r\n\
         Content-Disposition: session;handling=optional\r\nContent-Type: application/sdp\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

fn message(text: String) -> Message {
    Message::parse(Bytes::from(text), &sip::Limits::trusted()).unwrap()
}

fn face(flow: FlowId) -> Face {
    Face {
        flow,
        reliable: true,
        via: ViaOptions {
            transport: "TCP",
            sent_by: "core1.corp.example.test:5060".into(),
            parameters: String::new(),
        },
        contact: b"sip:7514c56a-1034-a684-3299-9b956979ee5c@10.0.0.5:5060;transport=tcp".to_vec(),
        encryption: Encryption::Off,
        ice: Ice::Remove,
    }
}

struct World {
    now: Now,
    layer: Transactions,
    b2bua: B2bua,
    ports: Allocator,
    sent: Vec<(FlowId, Message)>,
}

impl World {
    fn new() -> World {
        let mut rng = Rng::from_number(1);
        let inside = "10.0.0.5".parse().unwrap();
        let settings = Settings::new(inside, "192.0.2.5".parse().unwrap());
        World {
            now: Now::default(),
            layer: Transactions::new(rng.fork(), Limits::default()),
            b2bua: B2bua::new(rng.fork(), settings),
            ports: Allocator::new(inside, 40_000..=59_999, Duration::ZERO, &mut rng),
            sent: Vec::new(),
        }
    }

    fn take(&mut self, flow: FlowId, message: Message) {
        self.layer.receive(self.now, flow, true, message);
        self.settle();
    }

    fn settle(&mut self) {
        loop {
            while let Some(output) = self.b2bua.poll_output() {
                let ended = matches!(output, Output::Media(media::Command::Remove { .. }));
                assert!(!ended, "a call ended");
            }
            let mut cx = Context {
                now: self.now,
                transactions: &mut self.layer,
                ports: &mut self.ports,
            };
            match cx.transactions.poll_output() {
                None => return,
                Some(Told::Send { flow, bytes }) => {
                    let sent = Message::parse(bytes, &sip::Limits::trusted()).unwrap();
                    if sent.is_request() && sent.method() == Method::Options {
                        // Both ends know no session timers, and are asked whether they are there.
                        let alive = sent.reply(200, "OK", "").build();
                        self.layer.receive(self.now, flow, true, alive);
                    } else {
                        self.sent.push((flow, sent));
                    }
                }
                Some(Told::Event(event)) => match self.b2bua.handle(&mut cx, event) {
                    Some(Event::Request { key, message, .. }) => {
                        let caller = Caller {
                            side: Side::Edge { link: LINK },
                            face: face(EDGE),
                        };
                        let target = Target {
                            side: Side::Inside,
                            face: face(INSIDE),
                            request_uri: message.request_uri().to_vec(),
                            routes: Vec::new(),
                        };
                        self.b2bua.invite(&mut cx, key, message, caller, target);
                    }
                    Some(Event::Ack { message, .. }) => {
                        self.b2bua.ack(&mut cx, Side::Edge { link: LINK }, &message);
                    }
                    _ => {}
                },
            }
        }
    }

    /// The last message that was sent on a flow; the others are forgotten.
    fn last(&mut self, flow: FlowId) -> Message {
        let mut sent = std::mem::take(&mut self.sent);
        let at = sent.iter().rposition(|(f, _)| *f == flow).unwrap();
        sent.swap_remove(at).1
    }

    fn call(&mut self, n: usize) {
        let asked = message(invite(n));
        self.take(EDGE, asked.clone());
        let got = self.last(INSIDE);
        assert_eq!(got.method(), Method::Invite);
        let tag = format!("inside-{n}");
        let contact = "<sip:1100@10.0.0.20:5060;transport=tcp>";
        let reply = |status, reason| {
            got.reply(status, reason, &tag)
                .header(sip::Name::Contact, contact)
                .header(sip::Name::RecordRoute, "<sip:10.0.0.9;transport=tcp;lr>")
        };
        self.take(INSIDE, reply(180, "Ringing").build());
        let ok = reply(200, "OK").body(b"application/sdp", answer(n));
        self.take(INSIDE, ok.build());
        let ok = self.last(EDGE);
        assert_eq!(ok.status(), 200);
        let caller = sip::dialog::Dialog::uac(&asked, &ok).unwrap();
        let ack = caller.ack(101).build();
        let via = format!("SIP/2.0/TLS edge1.example.test:7001;branch=z9hG4bKack{n}");
        let ack = ack.edit().push_front(sip::Name::Via, via).finish();
        self.take(EDGE, ack);
        assert_eq!(self.last(INSIDE).method(), Method::Ack);
    }

    /// All that is under way runs out.
    fn wait(&mut self, seconds: u64) {
        let until = self.now.plus(Duration::from_secs(seconds));
        loop {
            let next = [self.layer.poll_timeout(), self.b2bua.poll_timeout()];
            let next = next.into_iter().flatten().min();
            let Some(at) = next.filter(|at| *at <= until.instant) else {
                break;
            };
            self.now = self.now.plus(at.since(self.now.instant));
            self.layer.handle_timeout(self.now);
            self.settle();
            let mut cx = Context {
                now: self.now,
                transactions: &mut self.layer,
                ports: &mut self.ports,
            };
            self.b2bua.handle_timeout(&mut cx);
            self.settle();
        }
        self.now = until;
    }
}

/// What the heap shrinks by when something is dropped.
fn share<T>(owner: T) -> usize {
    let before = heap();
    drop(owner);
    usize::try_from(before - heap()).unwrap_or(0)
}

#[test]
fn idle_call_costs_no_more_than_its_bar() {
    let empty = share(World::new().b2bua);
    let mut world = World::new();
    for n in 0..CALLS {
        world.call(n);
        if n % 20 == 19 {
            // Set-ups of other calls are not this one's: at most twenty are under way at once.
            world.wait(40);
        }
    }
    world.wait(120);
    let counts = world.layer.counts();
    assert_eq!((counts.clients, counts.servers), (0, 0));
    assert_eq!(world.b2bua.active(), CALLS);
    let World { layer, b2bua, .. } = world;
    let layer = share(layer) / CALLS;
    let b2bua = (share(b2bua) - empty) / CALLS;
    let description = offer(0).len();
    println!("B2BUA {b2bua} bytes a call, transactions {layer}; a description {description}");
    let bar = IDLE_MAX + 2 * description;
    assert!(
        b2bua + layer <= bar,
        "{b2bua} and {layer} bytes, more than {bar}"
    );
}
