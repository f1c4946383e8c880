//! The node's SIP connections: slots that flow tokens name, and what waits for a dialled one.

use std::net::SocketAddr;

use base::{Endpoint, HashMap, Slab};
use bytes::Bytes;
use sip::FlowId;

use crate::io::{ConnId, Facts, Output, Side, Target, Transport};

/// How many messages may wait for a connection that is being dialled.
const PENDING_MAX: usize = 256;

/// One SIP connection. Small: an edge has one for each client.
pub(crate) struct Flow {
    pub(crate) conn: ConnId,
    /// `None` while it is being dialled.
    standing: Option<Standing>,
    /// What it was dialled for, if it was.
    dialled: Option<Box<Dialled>>,
}

/// A [`Side`] in four bytes.
#[derive(Clone, Copy)]
enum Short {
    Client,
    Lane(u16),
    Inside,
}

#[derive(Clone, Copy)]
struct Standing {
    side: Short,
    remote: Endpoint,
    transport: Transport,
}

struct Dialled {
    target: Target,
    pending: Vec<Bytes>,
}

impl Standing {
    fn of(facts: &Facts) -> Self {
        let side = match facts.side {
            Side::Client => Short::Client,
            // Peers are counted by the dozen.
            Side::Lane { peer } => Short::Lane(u16::try_from(peer).unwrap_or(u16::MAX)),
            Side::Inside => Short::Inside,
        };
        Standing {
            side,
            remote: facts.remote.into(),
            transport: facts.transport,
        }
    }
}

impl Flow {
    pub(crate) fn side(&self) -> Option<Side> {
        Some(match self.standing?.side {
            Short::Client => Side::Client,
            Short::Lane(peer) => Side::Lane { peer: peer.into() },
            Short::Inside => Side::Inside,
        })
    }

    pub(crate) fn remote(&self) -> Option<SocketAddr> {
        self.standing.map(|s| s.remote.into())
    }

    /// Where it was dialled to, if it was.
    pub(crate) fn target(&self) -> Option<&Target> {
        self.dialled.as_ref().map(|d| &d.target)
    }

    pub(crate) fn transport(&self) -> Transport {
        match (&self.standing, self.target()) {
            (Some(s), _) => s.transport,
            (None, Some(t)) if t.tls.is_none() => Transport::Tcp,
            _ => Transport::Tls,
        }
    }
}

/// All of them, at most as many as [`Flows::new`] is told.
pub(crate) struct Flows {
    rows: Slab<Flow>,
    by_conn: HashMap<ConnId, FlowId>,
    next_dialled: u64,
}

impl Flows {
    pub(crate) fn new(limit: usize) -> Self {
        Flows {
            rows: Slab::new(limit),
            by_conn: HashMap::default(),
            next_dialled: 0,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn get(&self, flow: FlowId) -> Option<&Flow> {
        self.rows.get(flow)
    }

    pub(crate) fn by_conn(&self, conn: ConnId) -> Option<FlowId> {
        self.by_conn.get(&conn).copied()
    }

    /// A connection came in; `None` if the table is full, and it is to be closed.
    pub(crate) fn accepted(&mut self, conn: ConnId, facts: &Facts) -> Option<FlowId> {
        let row = Flow {
            conn,
            standing: Some(Standing::of(facts)),
            dialled: None,
        };
        let flow = self.rows.insert(row).ok()?;
        self.by_conn.insert(conn, flow);
        Some(flow)
    }

    /// Starts to dial; messages may be sent at once and wait.
    pub(crate) fn dial(&mut self, target: Target) -> Option<(FlowId, Output)> {
        let conn = ConnId(ConnId::DIALLED + self.next_dialled);
        let row = Flow {
            conn,
            standing: None,
            dialled: Some(Box::new(Dialled {
                target: target.clone(),
                pending: Vec::new(),
            })),
        };
        let flow = self.rows.insert(row).ok()?;
        self.next_dialled += 1;
        self.by_conn.insert(conn, flow);
        Some((flow, Output::Connect { conn, target }))
    }

    /// A dialled connection stands; gives what waited for it.
    pub(crate) fn connected(&mut self, conn: ConnId, facts: &Facts) -> Vec<Bytes> {
        let flow = self.by_conn(conn);
        let Some(row) = flow.and_then(|f| self.rows.get_mut(f)) else {
            return Vec::new();
        };
        row.standing = Some(Standing::of(facts));
        let dialled = row.dialled.as_mut();
        dialled
            .map(|d| std::mem::take(&mut d.pending))
            .unwrap_or_default()
    }

    /// A connection is gone.
    pub(crate) fn gone(&mut self, conn: ConnId) -> Option<(FlowId, Flow)> {
        let flow = self.by_conn.remove(&conn)?;
        Some((flow, self.rows.remove(flow)?))
    }

    /// Sends, or keeps for the moment the connection stands. What a full or stale flow is given
    /// is lost; the transaction above times out.
    pub(crate) fn send(&mut self, flow: FlowId, bytes: Bytes) -> Option<Output> {
        let row = self.rows.get_mut(flow)?;
        if row.standing.is_some() {
            return Some(Output::Send {
                conn: row.conn,
                bytes,
            });
        }
        if let Some(dialled) = row
            .dialled
            .as_mut()
            .filter(|d| d.pending.len() < PENDING_MAX)
        {
            dialled.pending.push(bytes);
        }
        None
    }

    /// A connection that was dialled to `target` and has not failed.
    pub(crate) fn dialled_to(&self, target: &Target) -> Option<FlowId> {
        self.rows
            .iter()
            .find(|(_, f)| f.target() == Some(target))
            .map(|(id, _)| id)
    }
}
