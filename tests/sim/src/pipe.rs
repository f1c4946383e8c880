//! Connections: bytes arrive in order and once, late, in pieces, or not at all any more.

use node::io::ConnId;

/// One end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// A node's SIP connection.
    Sip {
        /// Which node.
        gateway: usize,
        /// What the node calls it.
        conn: ConnId,
    },
    /// A node's control connection.
    Control {
        /// Which node.
        gateway: usize,
        /// What the node calls it.
        conn: ConnId,
    },
    /// A telephone.
    Ua(usize),
    /// Call control.
    Pbx,
    /// Somebody whose bytes are written by the test itself.
    Stranger,
}

impl Party {
    /// The node at this end.
    pub fn gateway(self) -> Option<usize> {
        match self {
            Party::Sip { gateway, .. } | Party::Control { gateway, .. } => Some(gateway),
            _ => None,
        }
    }
}

/// A connection.
#[derive(Clone, Debug)]
pub struct Pipe {
    /// Both ends; the first one dialled.
    pub ends: [Party; 2],
    /// Whether each end still reads and writes.
    pub open: [bool; 2],
    /// Nothing passes any more, and nobody is told: a firewall forgot it.
    pub silent: bool,
    /// A test has written on it in somebody's name.
    pub forged: bool,
    /// When the last thing on its way to each end arrives.
    pub arrival: [u64; 2],
    /// When each end last heard anything.
    pub heard: [u64; 2],
}

impl Pipe {
    /// One that stands.
    pub fn new(now: u64, ends: [Party; 2]) -> Pipe {
        Pipe {
            ends,
            open: [true; 2],
            silent: false,
            forged: false,
            arrival: [now; 2],
            heard: [now; 2],
        }
    }

    /// Whether neither end uses it any more.
    pub fn is_over(&self) -> bool {
        !self.open[0] && !self.open[1]
    }
}

/// How bad the network is.
#[derive(Clone, Copy, Debug)]
pub struct Weather {
    /// The least a message takes, in microseconds.
    pub latency: u64,
    /// How much more it may take.
    pub jitter: u64,
    /// Of a thousand messages, how many stop everything behind them for a second or more.
    pub stall_permille: u64,
    /// Of a thousand messages, how many arrive in pieces.
    pub split_permille: u64,
    /// Of a thousand datagrams, how many are lost.
    pub loss_permille: u64,
    /// Of a thousand datagrams, how many come twice.
    pub twice_permille: u64,
    /// Of a thousand datagrams, how many are overtaken.
    pub late_permille: u64,
}

impl Weather {
    /// Nothing is lost, little is late.
    pub const FAIR: Weather = Weather {
        latency: 2_000,
        jitter: 3_000,
        stall_permille: 0,
        split_permille: 100,
        loss_permille: 0,
        twice_permille: 0,
        late_permille: 0,
    };

    /// A bad mobile network.
    pub const FOUL: Weather = Weather {
        latency: 20_000,
        jitter: 180_000,
        stall_permille: 15,
        split_permille: 300,
        loss_permille: 80,
        twice_permille: 20,
        late_permille: 100,
    };
}
