//! What one registered client costs edge and core: a thousand register through both, and the heap
//! is counted when nothing is under way any more.
//!
//! `cargo test -p causeway-node --test memory -- --nocapture` prints the figures that
//! `docs/performance.md` holds. Counted is what is asked of the allocator, in bytes; a node's share
//! is what the heap shrinks by when the node is dropped. Sockets, TLS and framers are not in it.
#![allow(clippy::unwrap_used, unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use base::{Now, Rng, Secret, UnixTime};
use bytes::Bytes;
use node::io::{ConnId, Facts, Input, Output, Side, Transport};
use node::{Core, CoreIdentity, Edge, EdgeIdentity, Engine};
use sip::digest::{Algorithm, Challenge};
use sip::{Frame, Limits, Message, Name};

struct Counting;

static BYTES: AtomicI64 = AtomicI64::new(0);

fn count(size: usize, sign: i64) {
    BYTES.fetch_add(sign * i64::try_from(size).unwrap_or(0), Ordering::Relaxed);
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(layout.size(), -1);
        count(size, 1);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// Tables double: just below a power of two times their load, they are as full as they get; the
/// figure is the one of a table that is between half and wholly full.
const CLIENTS: u64 = 1_400;

const REALM: &str = "example.test";
const CONTROL: ConnId = ConnId(1);
const LANE: ConnId = ConnId(2);
const FIRST: u64 = 100;

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

fn user(n: u64) -> String {
    format!("{}", 10_000 + n)
}

struct World {
    now: Now,
    edge: Edge,
    core: Core,
    /// What clients were sent.
    heard: VecDeque<(ConnId, Message)>,
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

fn parsed(bytes: &[u8]) -> Message {
    Message::parse(Bytes::copy_from_slice(bytes), &Limits::trusted()).unwrap()
}

impl World {
    fn new() -> World {
        let now = Now {
            unix: UnixTime::from_millis(1_790_000_000_000),
            ..Now::default()
        };
        let (edge, core) = (edge(now), core(now));
        let heard = VecDeque::new();
        let mut world = World {
            now,
            edge,
            core,
            heard,
        };
        for peer_name in ["core1.corp.example.test", "edge1.example.test"] {
            let input = Input::ControlUp {
                conn: CONTROL,
                peer: 0,
                peer_name: peer_name.into(),
                remote: "192.0.2.10:7001".parse().unwrap(),
                exported: Secret::new([9; 32]),
                media_secret: Secret::new([8; 64]),
            };
            if peer_name.starts_with("core") {
                world.edge.handle(now, input);
            } else {
                world.core.handle(now, input);
            }
        }
        world.settle();
        let lane = || Input::Connected {
            conn: LANE,
            facts: facts(Side::Lane { peer: 0 }, "192.0.2.20:7001"),
        };
        world.edge.handle(now, lane());
        world.core.handle(now, lane());
        world.settle();
        world.pass(Duration::from_secs(1));
        world
    }

    /// Carries everything until both are quiet.
    fn settle(&mut self) {
        loop {
            let from_edge = self.edge.poll_output();
            let from_core = self.core.poll_output();
            if from_edge.is_none() && from_core.is_none() {
                return;
            }
            match from_edge {
                Some(Output::Control { message, .. }) => {
                    let input = Input::Control {
                        conn: CONTROL,
                        message,
                    };
                    self.core.handle(self.now, input);
                }
                Some(Output::Send { conn: LANE, bytes }) => {
                    self.core.handle(self.now, frame(LANE, parsed(&bytes)));
                }
                Some(Output::Send { conn, bytes }) => {
                    self.heard.push_back((conn, parsed(&bytes)));
                }
                _ => {}
            }
            match from_core {
                Some(Output::Control { message, .. }) => {
                    let input = Input::Control {
                        conn: CONTROL,
                        message,
                    };
                    self.edge.handle(self.now, input);
                }
                Some(Output::Send { conn: LANE, bytes }) => {
                    self.edge.handle(self.now, frame(LANE, parsed(&bytes)));
                }
                Some(Output::Send { conn, bytes }) => self.call_control(conn, &parsed(&bytes)),
                Some(Output::Connect { conn, .. }) => {
                    let facts = facts(Side::Inside, "10.0.0.31:5060");
                    self.core.handle(self.now, Input::Connected { conn, facts });
                }
                _ => {}
            }
        }
    }

    /// Call control grants what it is asked for.
    fn call_control(&mut self, conn: ConnId, request: &Message) {
        if request.is_request() && request.header(Name::Contact).is_some() {
            let reply = request
                .reply(200, "OK", "k")
                .header(Name::Contact, request.header(Name::Contact).unwrap())
                .header(Name::Expires, "3000");
            let reply = parsed(reply.build().bytes());
            self.core.handle(self.now, frame(conn, reply));
        }
    }

    /// Time passes; both do what is due.
    fn pass(&mut self, time: Duration) {
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

    /// A client connects and registers, as Cisco's do.
    fn register(&mut self, n: u64) {
        let (conn, user) = (ConnId(FIRST + n), user(n));
        let facts = facts(
            Side::Client,
            &format!("198.51.100.{}:{}", n % 250, 20_000 + n),
        );
        self.edge.handle(self.now, Input::Connected { conn, facts });
        let mut authorization = String::new();
        for cseq in [1, 2] {
            let text = format!(
                "REGISTER sip:{REALM} SIP/2.0\r\n\
                 Via: SIP/2.0/TLS 172.16.84.136:58980;branch=z9hG4bK{n:08}{cseq}\r\n\
                 Max-Forwards: 70\r\nFrom: <sip:{user}@{REALM}>;tag=00505696779a{n:016}\r\n\
                 To: <sip:{user}@{REALM}>\r\nCall-ID: 00505696-779a{n:08}@172.16.84.136\r\n\
                 CSeq: {cseq} REGISTER\r\nUser-Agent: Cisco-CSF\r\n\
                 Contact: <sip:7514c56a-1034-a684-3299-9b95{n:08}@172.16.84.136:58980;\
                 transport=tls>;+sip.instance=\"<urn:uuid:00000000-0000-0000-0000-{n:012}>\";\
                 +u.sip!devicename.ccm.cisco.com=\"CSF{n:08}\";\
                 +u.sip!model.ccm.cisco.com=\"503\";video;x-cisco-mra-ha=AR_SK;x-cisco-reg-id=1\
                 \r\n{authorization}Expires: 3600\r\nContent-Length: 0\r\n\r\n"
            );
            self.edge
                .handle(self.now, frame(conn, parsed(text.as_bytes())));
            self.settle();
            let (_, answer) = self.heard.pop_back().unwrap();
            self.heard.clear();
            if cseq == 2 {
                assert_eq!(answer.status(), 200);
                return;
            }
            let challenge = answer.header(Name::WwwAuthenticate).unwrap();
            let challenge = Challenge::parse(challenge).unwrap();
            let uri = format!("sip:{REALM}");
            let value =
                sip::digest::respond(&challenge, &user, "pw", "REGISTER", &uri, "cnonce", 1);
            authorization = format!("Authorization: {value}\r\n");
        }
    }
}

fn frame(conn: ConnId, message: Message) -> Input {
    Input::Frame {
        conn,
        frame: Frame::Message(message),
    }
}

/// The heap of a world after so many clients have registered and nothing is under way: of its
/// edge, and of its core.
fn shares(clients: u64) -> (i64, i64) {
    let heap = || BYTES.load(Ordering::Relaxed);
    let mut world = World::new();
    for n in 0..clients {
        world.register(n);
        // Not all at once: tables of transactions are as large as the most that there were.
        world.pass(Duration::from_millis(250));
    }
    // Longer than any transaction, shorter than a registration.
    world.pass(Duration::from_secs(100));
    let look = world.edge.snapshot(world.now);
    assert_eq!(look.registrations.len() as u64, clients);
    assert_eq!(look.counters.sip_transactions, 0);
    let look = world.core.snapshot(world.now);
    assert_eq!(look.registrations.len() as u64, clients);
    assert_eq!(look.counters.sip_transactions, 0);
    drop(look);
    let World { edge, core, .. } = world;
    let whole = heap();
    drop(edge);
    let without_edge = heap();
    drop(core);
    (whole - without_edge, without_edge - heap())
}

#[test]
fn a_registered_client_costs_the_edge_little_and_the_core_not_much_more() {
    let idle = shares(0);
    let full = shares(CLIENTS);
    let each = |full: i64, idle: i64| (full - idle) / i64::try_from(CLIENTS).unwrap();
    let (edge, core) = (each(full.0, idle.0), each(full.1, idle.1));
    println!("an edge: {edge} bytes a registered client");
    println!("a core: {core} bytes a registered client");
    assert!(edge <= EDGE_BYTES_MAX, "{edge}");
    assert!(core <= CORE_BYTES_MAX, "{core}");
}

/// Half a kibibyte and a tenth, as the edge's share of 13 KiB for a TLS connection.
const EDGE_BYTES_MAX: i64 = 614;

/// The core keeps more: both ways to the client.
const CORE_BYTES_MAX: i64 = 1_024;
