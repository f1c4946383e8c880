//! What stands around one node: the driver's part, without a socket.

use std::collections::BTreeMap;
use std::sync::Arc;

use base::{Instant, Now, UnixTime};
use media::mux::End;
use node::Engine;
use node::gate::EdgeGate;
use node::io::{AskId, ConnId};
use policy::credentials::Kept;
use sip::{Framer, Limits};
use traversal::frame::Decoder;

use crate::workers::Workers;

/// The wall clock at virtual zero: 2026-05-09T00:00:00Z.
const WALL: u64 = 1_778_284_800_000;

/// A SIP connection of a node.
pub struct Socket {
    /// The pipe.
    pub pipe: u64,
    /// Which end of it is the node's.
    pub end: usize,
    /// Takes its bytes apart.
    pub framer: Framer,
}

/// A control connection of a node.
pub struct Control {
    /// The pipe.
    pub pipe: u64,
    /// Which end of it is the node's.
    pub end: usize,
    /// Takes its bytes apart.
    pub decoder: Decoder,
}

/// A connection that the core keeps up.
#[derive(Clone, Debug, Default)]
pub struct Lane {
    /// The pipe, while it stands.
    pub pipe: Option<u64>,
    /// When it came up.
    pub since: u64,
    /// How long to wait before the next attempt.
    pub pause: u64,
}

/// One node with all that its driver would hold.
pub struct Gateway {
    /// Its short name.
    pub name: String,
    /// Edge or core.
    pub edge: bool,
    /// Its number among its kind.
    pub index: usize,
    /// The node; `None` while it is dead.
    pub engine: Option<Box<dyn Engine>>,
    /// Another engine stands in its place, and is held to nothing.
    pub usurped: bool,
    /// Its media.
    pub workers: Workers,
    /// Counts its lives.
    pub life: u32,
    /// When this life began.
    pub began: u64,
    /// How far its wall clock is ahead, in milliseconds.
    pub skew_ms: i64,
    /// Its SIP connections.
    pub sockets: BTreeMap<ConnId, Socket>,
    /// Its control connections.
    pub controls: BTreeMap<ConnId, Control>,
    /// The connections a core keeps up, by edge and lane; lane 0 is control.
    pub lanes: BTreeMap<(usize, usize), Lane>,
    /// When its timer fires, if it is set.
    pub armed: Option<u64>,
    /// How often its timer has fired.
    pub wakes: u64,
    /// What the edge may let through.
    pub gate: Option<Arc<EdgeGate>>,
    /// Questions under way, by the sign-in they belong to.
    pub asks: BTreeMap<AskId, usize>,
    /// What its disk keeps of sign-ins, by user.
    pub kept: BTreeMap<String, Kept>,
    /// News and warnings within a second: the second, and how many.
    pub events_in: [(u64, u32); 2],
    /// Every event.
    pub events: Vec<status::Event>,
    next_conn: u64,
    next_ask: u64,
}

impl Gateway {
    /// One that is not running yet.
    pub fn new(name: &str, edge: bool, index: usize) -> Gateway {
        Gateway {
            name: name.to_owned(),
            edge,
            index,
            engine: None,
            usurped: false,
            workers: Workers::new(if edge { End::Edge } else { End::Core }),
            life: 0,
            began: 0,
            skew_ms: 0,
            sockets: BTreeMap::new(),
            controls: BTreeMap::new(),
            lanes: BTreeMap::new(),
            armed: None,
            wakes: 0,
            gate: None,
            asks: BTreeMap::new(),
            kept: BTreeMap::new(),
            events_in: [(0, 0); 2],
            events: Vec::new(),
            next_conn: 0,
            next_ask: 0,
        }
    }

    /// Its own two clocks.
    pub fn now(&self, at: u64) -> Now {
        let since = at.saturating_sub(self.began);
        let unix = (WALL + at / 1000).saturating_add_signed(self.skew_ms);
        Now {
            instant: Instant::from_micros(since),
            unix: UnixTime::from_millis(unix),
        }
    }

    /// Virtual time of one of its instants.
    pub fn at(&self, instant: Instant) -> u64 {
        self.began + instant.as_micros()
    }

    /// A number for a connection that the driver makes.
    pub fn number(&mut self) -> ConnId {
        self.next_conn += 1;
        ConnId(self.next_conn - 1)
    }

    /// A number for a question.
    pub fn ask(&mut self, sign_in: usize) -> AskId {
        self.next_ask += 1;
        let id = AskId(self.next_ask - 1);
        self.asks.insert(id, sign_in);
        id
    }

    /// A framer for a SIP connection.
    pub fn framer(outside: bool) -> Framer {
        Framer::new(if outside {
            Limits::outside()
        } else {
            Limits::trusted()
        })
    }

    /// The process is gone, and with it everything it knew but what is on disk.
    pub fn die(&mut self) {
        let fresh = Gateway::new(&self.name, self.edge, self.index);
        let (life, skew_ms) = (self.life + 1, self.skew_ms);
        let events = std::mem::take(&mut self.events);
        let kept = std::mem::take(&mut self.kept);
        *self = Gateway {
            life,
            skew_ms,
            events,
            kept,
            ..fresh
        };
    }

    /// Whether it has reported an event of this kind in any of its lives.
    pub fn reported(&self, kind: status::Kind) -> usize {
        self.events.iter().filter(|e| e.kind == kind).count()
    }
}
