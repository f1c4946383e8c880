//! What one registered client costs edge and core: a thousand register through both, and the heap
//! is counted when nothing is under way any more.
//!
//! `cargo test -p causeway-node --test memory -- --nocapture` prints the figures that
//! `docs/performance.md` holds. Counted is what is asked of the allocator, in bytes; a node's share
//! is what the heap shrinks by when the node is dropped. Sockets, TLS and framers are not in it.
// The lock keeps two tests of this file from counting one heap at once; no engine sees it.
#![allow(clippy::unwrap_used, clippy::disallowed_types, unsafe_code)]

#[path = "../../call/tests/memory/counting.rs"]
mod counting;
#[path = "memory/nodes.rs"]
mod nodes;

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::Duration;

use base::Now;
use bytes::Bytes;
use counting::heap;
use node::io::{ConnId, Input, Output};
use node::{Core, Edge, Engine};
use nodes::{CONTROL, LANE, frame};
use sip::{Limits, Message, Name};

/// Tables double: just below a power of two times their load, they are as full as they get; the
/// figure is the one of a table that is between half and wholly full.
const CLIENTS: u64 = 1_400;

struct World {
    now: Now,
    edge: Edge,
    core: Core,
    /// What clients were sent.
    heard: VecDeque<(ConnId, Message)>,
}

/// The heap is the process's: one counts at a time.
static ALONE: Mutex<()> = Mutex::new(());

fn parsed(bytes: &[u8]) -> Message {
    Message::parse(Bytes::copy_from_slice(bytes), &Limits::trusted()).unwrap()
}

impl World {
    fn new() -> World {
        let now = nodes::start();
        let mut world = World {
            now,
            edge: nodes::edge(now),
            core: nodes::core(now, CLIENTS),
            heard: VecDeque::new(),
        };
        world
            .edge
            .handle(now, nodes::control_up("core1.corp.example.test"));
        world
            .core
            .handle(now, nodes::control_up("edge1.example.test"));
        world.settle();
        world.edge.handle(now, nodes::lane_up());
        world.core.handle(now, nodes::lane_up());
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
                    self.core.handle(self.now, nodes::call_control_up(conn));
                }
                _ => {}
            }
        }
    }

    /// Call control grants what it is asked for.
    fn call_control(&mut self, conn: ConnId, request: &Message) {
        if request.is_request() && request.header(Name::Contact).is_some() {
            let reply = parsed(nodes::granted(request).bytes());
            self.core.handle(self.now, frame(conn, reply));
        }
    }

    /// Time passes; both do what is due.
    fn pass(&mut self, time: Duration) {
        let end = self.now.plus(time);
        while let Some(now) = nodes::due(self.now, end.instant, &self.edge, &self.core) {
            self.now = now;
            self.edge.handle_timeout(self.now);
            self.core.handle_timeout(self.now);
            self.settle();
        }
        self.now = self.now.plus(end.instant.since(self.now.instant));
    }

    /// A client connects and registers, as Cisco's do.
    fn register(&mut self, n: u64) {
        self.edge.handle(self.now, nodes::client_up(n));
        let mut authorization = String::new();
        for cseq in [1, 2] {
            let text = nodes::register(n, "", cseq, &authorization);
            let input = frame(nodes::client(n), parsed(text.as_bytes()));
            self.edge.handle(self.now, input);
            self.settle();
            let (_, answer) = self.heard.pop_back().unwrap();
            self.heard.clear();
            if cseq == 2 {
                assert_eq!(answer.status(), 200);
                return;
            }
            authorization = nodes::authorization(n, &answer);
        }
    }
}

/// The heap of a world after so many clients have registered and nothing is under way: of its
/// edge, and of its core.
fn shares(clients: u64) -> (i64, i64) {
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
    let _alone = ALONE.lock();
    let idle = shares(0);
    let full = shares(CLIENTS);
    let each = |full: i64, idle: i64| (full - idle) / i64::try_from(CLIENTS).unwrap();
    let (edge, core) = (each(full.0, idle.0), each(full.1, idle.1));
    println!("an edge: {edge} bytes a registered client");
    println!("a core: {core} bytes a registered client");
    assert!(edge <= EDGE_BYTES_MAX, "{edge}");
    assert!(core <= CORE_BYTES_MAX, "{core}");
}

/// The heap of a world in which so many clients registered and went, a few at a time: nothing is
/// left of them but what is told of them.
fn after(clients: u64, at_once: u64) -> (i64, i64) {
    let mut world = World::new();
    for first in (0..clients).step_by(at_once as usize) {
        let some = first..clients.min(first + at_once);
        for n in some.clone() {
            world.register(n);
        }
        for n in some {
            let (conn, why) = (nodes::client(n), String::new());
            world
                .edge
                .handle(world.now, Input::Disconnected { conn, why });
            world.settle();
        }
        world.heard = VecDeque::new();
    }
    world.pass(Duration::from_secs(4_000));
    let look = world.core.snapshot(world.now);
    assert_eq!(look.registrations.len(), 0);
    drop(look);
    let World { edge, core, .. } = world;
    let whole = heap();
    drop(edge);
    let without_edge = heap();
    drop(core);
    (whole - without_edge, without_edge - heap())
}

#[test]
fn tables_give_their_memory_back_after_a_flood() {
    let _alone = ALONE.lock();
    let (calm, flood) = (after(CLIENTS, 20), after(CLIENTS, CLIENTS));
    let (edge, core) = (flood.0 - calm.0, flood.1 - calm.1);
    println!("after a flood: an edge keeps {edge} bytes more, a core {core}");
    // While these clients are there, they take up more than one megabyte on each.
    assert!(edge <= LEFT_BYTES_MAX, "{edge}");
    assert!(core <= LEFT_BYTES_MAX, "{core}");
}

/// What tables may keep of a flood for the next one.
const LEFT_BYTES_MAX: i64 = 64 * 1024;

/// Half a kibibyte and a tenth, as the edge's share of 13 KiB for a TLS connection.
const EDGE_BYTES_MAX: i64 = 614;

/// The core keeps more: both ways to the client.
const CORE_BYTES_MAX: i64 = 1_024;
