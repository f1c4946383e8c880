//! Edge and core with pipes of memory between them, a client and call control.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use base::{Now, Rng, Secret, UnixTime};
use bytes::Bytes;
use node::io::{ConnId, Facts, Input, Output, Side, Transport};
use node::{Core, CoreIdentity, Edge, EdgeIdentity, Engine};
use sip::digest::{Algorithm, Challenge};
use sip::{Frame, Limits, Message, Name};

const REALM: &str = "example.test";
const CONTROL: ConnId = ConnId(1);
const LANE: ConnId = ConnId(2);
const FIRST: u64 = 100;

/// Clients that register and call in turn.
pub(crate) const CLIENTS: usize = 100;

const HEAD: &str = "[certificate]\nchain = \"c\"\nkey = \"k\"\ntrusted = \"t\"\n";

fn load(text: &str) -> Arc<config::Config> {
    let checked = config::load(text, Path::new("/etc/causeway/causeway.toml"));
    Arc::new(checked.unwrap_or_else(|e| panic!("{e:?}")).config)
}

fn edge(now: Now) -> Edge {
    let text = format!(
        "role = \"edge\"\nname = \"edge1\"\ndomain = \"{REALM}\"\n{HEAD}\
         [service.https]\nlisten = [\"203.0.113.10:8443\"]\n\
         [service.sip]\nlisten = [\"203.0.113.10:5061\"]\n\
         [service.xmpp]\nlisten = [\"203.0.113.10:5222\"]\n\
         [service.media]\nlisten = \"203.0.113.10\"\n\
         [traversal]\nlisten_sip = \"192.0.2.10:7001\"\nlisten_ssh = \"192.0.2.10:2222\"\n\
         listen_xmpp = \"192.0.2.10:7400\"\nlisten_media = \"192.0.2.10\"\n\
         [[traversal.zone]]\nname = \"core\"\nverify_name = [\"core1.corp.example.test\"]\n\
         user = \"traversal\"\npassword = \"zone password\"\n"
    );
    let identity = EdgeIdentity {
        version: "0".into(),
        ssh_host_key: "ssh-ed25519 EDGE".into(),
    };
    Edge::new(now, Rng::from_number(1), &load(&text), identity)
}

fn core(now: Now) -> Core {
    let text = format!(
        "role = \"core\"\nname = \"core1\"\ndomain = \"corp.{REALM}\"\n{HEAD}\
         [service.sip]\nlisten = [\"10.0.0.20:5060\"]\n\
         [service.media]\nlisten = \"10.0.0.20\"\n\
         [[traversal.peer]]\nname = \"edge1\"\ndial = \"192.0.2.10\"\n\
         verify_name = \"edge1.{REALM}\"\nuser = \"traversal\"\npassword = \"zone password\"\n\
         [[domains]]\nname = \"{REALM}\"\n\
         [[call_control]]\nname = \"pbx\"\naddress = \"10.0.0.31:5060\"\ncontact = \"rewrite\"\n"
    );
    let users = (0..CLIENTS).map(|n| {
        let ha1 = |a| sip::digest::ha1(a, &user(n), REALM, "pw");
        let (md5, sha) = (ha1(Algorithm::Md5), ha1(Algorithm::Sha256));
        format!("{}:{REALM}:{md5}:{sha}\n", user(n))
    });
    let identity = CoreIdentity {
        version: "0".into(),
        ssh_key: "ssh-ed25519 CORE".into(),
        token_seed: Secret::new([7; 32]),
        users: Some(Secret::new(users.collect())),
        kept: Vec::new(),
    };
    Core::new(now, Rng::from_number(2), &load(&text), identity)
}

fn user(n: usize) -> String {
    format!("{}", 10_000 + n)
}

/// What was spent.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cost {
    pub(crate) nanos: u64,
    pub(crate) allocations: u64,
}

impl Cost {
    fn of<T>(&mut self, work: impl FnOnce() -> T) -> T {
        let made = super::ALLOCATIONS.load(Ordering::Relaxed);
        let began = Instant::now();
        let done = work();
        self.nanos += u64::try_from(began.elapsed().as_nanos()).unwrap();
        self.allocations += super::ALLOCATIONS.load(Ordering::Relaxed) - made;
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

fn facts(side: Side, remote: &str) -> Facts {
    Facts {
        side,
        local: "203.0.113.10:5061".parse().unwrap(),
        remote: remote.parse().unwrap(),
        transport: Transport::Tls,
        peer_name: None,
    }
}

impl World {
    pub(crate) fn new() -> World {
        let now = Now {
            unix: UnixTime::from_millis(1_790_000_000_000),
            ..Now::default()
        };
        let mut world = World {
            now,
            edge: edge(now),
            core: core(now),
            pipe: VecDeque::new(),
            control: None,
            heard: VecDeque::new(),
            costs: [Cost::default(); 3],
        };
        for (node, peer_name) in [
            (EDGE, "core1.corp.example.test"),
            (CORE, "edge1.example.test"),
        ] {
            let input = Input::ControlUp {
                conn: CONTROL,
                peer: 0,
                peer_name: peer_name.into(),
                remote: "192.0.2.10:7001".parse().unwrap(),
                exported: Secret::new([9; 32]),
                media_secret: Secret::new([8; 64]),
            };
            world.pipe.push_back((node, input));
        }
        world.settle();
        for node in [EDGE, CORE] {
            let facts = facts(Side::Lane { peer: 0 }, "192.0.2.20:7001");
            world
                .pipe
                .push_back((node, Input::Connected { conn: LANE, facts }));
        }
        world.settle();
        world.pass(Duration::from_secs(1));
        for n in 0..CLIENTS {
            let remote = format!("198.51.100.{}:{}", n % 250, 20_000 + n);
            let facts = facts(Side::Client, &remote);
            world
                .pipe
                .push_back((EDGE, Input::Connected { conn: of(n), facts }));
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
                let facts = facts(Side::Inside, "10.0.0.31:5060");
                self.pipe
                    .push_back((from, Input::Connected { conn, facts }));
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
        loop {
            let next = [self.edge.poll_timeout(), self.core.poll_timeout()];
            let next = next.into_iter().flatten().min();
            let Some(at) = next.filter(|at| *at <= end.instant) else {
                break;
            };
            let step = at.since(self.now.instant).max(Duration::from_millis(1));
            self.now = self.now.plus(step);
            self.edge.handle_timeout(self.now);
            self.core.handle_timeout(self.now);
            self.settle();
        }
        self.now = self.now.plus(end.instant.since(self.now.instant));
    }

    /// A client registers, as Cisco's do.
    pub(crate) fn register(&mut self, n: usize) {
        let user = user(n);
        let mut authorization = String::new();
        let turn = self.now.unix.as_millis();
        for cseq in [1, 2] {
            let text = format!(
                "REGISTER sip:{REALM} SIP/2.0\r\n\
                 Via: SIP/2.0/TLS 172.16.84.136:58980;branch=z9hG4bK{turn}{n:08}{cseq}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:{user}@{REALM}>;tag=00505696779a{n:016}\r\n\
                 To: <sip:{user}@{REALM}>\r\nCall-ID: 00505696-779a{n:08}{turn}@172.16.84.136\r\n\
                 CSeq: {cseq} REGISTER\r\nUser-Agent: Cisco-CSF\r\n\
                 Contact: <sip:7514c56a-1034-a684-3299-9b95{n:08}@172.16.84.136:58980;\
                 transport=tls>;+sip.instance=\"<urn:uuid:00000000-0000-0000-0000-{n:012}>\";\
                 +u.sip!devicename.ccm.cisco.com=\"CSF{n:08}\";\
                 +u.sip!model.ccm.cisco.com=\"503\";video;x-cisco-mra-ha=AR_SK;x-cisco-reg-id=1\
                 \r\n{authorization}Expires: 3600\r\nContent-Length: 0\r\n\r\n"
            );
            self.say(of(n), &text);
            if cseq == 1 {
                let answer = self.hear(of(n));
                let challenge = answer.header(Name::WwwAuthenticate).unwrap();
                let challenge = Challenge::parse(challenge).unwrap();
                let uri = format!("sip:{REALM}");
                let value =
                    sip::digest::respond(&challenge, &user, "pw", "REGISTER", &uri, "cnonce", 1);
                authorization = format!("Authorization: {value}\r\n");
            }
        }
        // Call control grants what it is asked for.
        let control = self.control.unwrap();
        let request = self.hear(control);
        let reply = request
            .reply(200, "OK", "k")
            .header(Name::Contact, request.header(Name::Contact).unwrap())
            .header(Name::Expires, "3000")
            .build();
        self.say(control, std::str::from_utf8(reply.bytes()).unwrap());
        let answer = self.hear(of(n));
        assert_eq!(answer.status(), 200, "{answer:?}");
        self.heard.clear();
    }

    /// A client calls through call control and hangs up.
    pub(crate) fn call(&mut self, n: usize, turn: usize) {
        let (user, control) = (user(n), self.control.unwrap());
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
        self.say(of(n), &head("INVITE", 101, "", &uri, sdp, OFFER));
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
        let mut answer = self.hear(of(n));
        while answer.status() < 200 {
            answer = self.hear(of(n));
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
        self.say(of(n), &head("ACK", 101, &to, &uri, &routes, ""));
        self.say(of(n), &head("BYE", 102, &to, &uri, &routes, ""));
        let mut bye = self.hear(control);
        while bye.method() != sip::Method::Bye {
            bye = self.hear(control);
        }
        let reply = bye.reply(200, "OK", "").build();
        self.say(control, std::str::from_utf8(reply.bytes()).unwrap());
        let mut answer = self.hear(of(n));
        while answer.cseq().unwrap().number != 102 {
            answer = self.hear(of(n));
        }
        assert_eq!(answer.status(), 200, "{answer:?}");
        self.heard.clear();
    }
}

fn of(n: usize) -> ConnId {
    ConnId(FIRST + n as u64)
}

fn frame(conn: ConnId, message: Message) -> Input {
    Input::Frame {
        conn,
        frame: Frame::Message(message),
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
