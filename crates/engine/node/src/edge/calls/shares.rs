//! How much of the edge's calls and media ports one user, or one unregistered source, may have.
//!
//! In: who a call's client is ([`Holder`]), known when it begins. Out: whether one call or port
//! pair more is within the share. Calls of all connections of a user count together. Servers of
//! foreign domains that the edge itself dialled have no share: `business.calls_max` bounds them.
//! Bounds: `limits.calls_per_user` and `limits.media_ports_per_user` a row, a row for each holder
//! that has a call.

use std::net::IpAddr;

use base::HashMap;
use sip::{FlowId, Message};

use super::{CallId, Calls, Refusal};
use crate::edge::Edge;
use crate::io::ConnId;
use crate::strikes::whole;

/// Whose share a call takes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Holder {
    /// The user of a registration, in lower case.
    User(Box<str>),
    /// The address, or /64, of a client without one.
    Source(IpAddr),
    /// A server that the edge dialled.
    Dialled,
}

/// Calls by their holders.
#[derive(Default)]
pub(crate) struct Shares {
    calls_max: usize,
    ports_max: usize,
    rows: HashMap<Holder, Vec<CallId>>,
}

impl Shares {
    pub(crate) fn new(rates: &config::Rates) -> Self {
        Shares {
            calls_max: rates.calls_per_user,
            ports_max: rates.media_ports_per_user,
            rows: HashMap::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(super) fn may_begin(&self, holder: &Holder) -> Result<(), Refusal> {
        match *holder != Holder::Dialled && self.held(holder) >= self.calls_max {
            true => Err(Refusal::Share),
            false => Ok(()),
        }
    }

    /// Calls of a holder.
    fn held(&self, holder: &Holder) -> usize {
        self.rows.get(holder).map_or(0, Vec::len)
    }

    pub(super) fn began(&mut self, holder: Holder, id: CallId) {
        self.rows.entry(holder).or_default().push(id);
    }

    pub(super) fn ended(&mut self, holder: &Holder, id: CallId) {
        if let Some(ids) = self.rows.get_mut(holder) {
            ids.retain(|i| *i != id);
            if ids.is_empty() {
                self.rows.remove(holder);
            }
        }
    }
}

impl Calls {
    /// Whether a call may have one port pair more.
    pub(super) fn may_open(&self, id: CallId) -> Result<(), Refusal> {
        let Some(call) = self.rows.get(id).filter(|c| c.holder != Holder::Dialled) else {
            return Ok(());
        };
        let calls = self.shares.rows.get(&call.holder).into_iter().flatten();
        let open = calls.filter_map(|id| self.rows.get(*id));
        let open: usize = open.map(|c| c.media.iter().flatten().count()).sum();
        match open >= self.shares.ports_max {
            true => Err(Refusal::Share),
            false => Ok(()),
        }
    }

    /// Calls at once of an unregistered source.
    pub(crate) fn of_source(&self, source: IpAddr) -> usize {
        self.shares.held(&Holder::Source(source))
    }
}

impl Edge {
    /// Whose share a call on a flow takes from.
    pub(crate) fn holder(&self, flow: FlowId, message: &Message) -> Holder {
        if let Some(binding) = self.relay.identity(flow, message) {
            return Holder::User(binding.user().expose().to_lowercase().into());
        }
        let row = self.station.flows.get(flow);
        match (row, self.station.remote(flow)) {
            (Some(row), Some(remote)) if row.conn.0 < ConnId::DIALLED => {
                Holder::Source(whole(remote.ip()))
            }
            _ => Holder::Dialled,
        }
    }
}
