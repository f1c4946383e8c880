//! What the edge looks like at one moment.

use base::{Now, Pii};
use sip::FlowId;
use sip::token::label_of;
use status::{Counters, LinkRow, RegistrationRow, Role, Snapshot};

use super::Edge;
use super::links::Link;
use super::status::call_row;

impl Edge {
    /// The core that a client's registration went by.
    fn core_of(&self, flow: FlowId) -> Option<String> {
        let link = self.links.get(*self.routes.get(&flow)?)?;
        Some(link.peer.name.clone())
    }

    pub(super) fn picture(&self, now: Now) -> Snapshot {
        let counts = self.station.transactions.counts();
        let registrations = self.relay.bindings().map(|(flow, b)| RegistrationRow {
            user: Pii::new((*b.user().expose()).to_owned()),
            aor: Pii::new((*b.aor().expose()).to_owned()),
            device: b.device().to_owned(),
            instance: b.instance().to_owned(),
            from: Pii::new(b.remote().to_string()),
            expires_s: b.until.since(now.instant).as_secs(),
            zone: self.core_of(flow).unwrap_or_default(),
            flow: label_of(flow),
            since: b.since,
            lines: Vec::new(),
        });
        let mut registrations: Vec<_> = registrations.collect();
        registrations.sort_by(RegistrationRow::order);
        Snapshot {
            at: now.unix,
            node: self.settings.fqdn.clone(),
            role: Role::Edge,
            version: self.settings.version.clone(),
            links: self.links.iter().map(link_row).collect(),
            registrations_total: registrations.len(),
            registrations,
            calls: self.calls.iter().map(|(_, call)| call_row(call)).collect(),
            history_total: self.ledger.history().count(),
            totals: ::status::Totals::default(),
            history: self.ledger.history().cloned().collect(),
            sessions: Vec::new(),
            zones: Vec::new(),
            servers: Vec::new(),
            events: self.ledger.recent(),
            capacity: None,
            clock: self.ledger.host_clock.row(),
            counters: Counters {
                sip_connections: self.station.flows.len() as u64,
                sip_transactions: (counts.clients + counts.servers) as u64,
                media_ports_in_use: self.calls.ports_in_use() as u64,
                xmpp_sessions: self.ledger.xmpp_sessions() as u64,
                ..self.ledger.counters.clone()
            },
        }
    }
}

fn link_row(link: &Link) -> LinkRow {
    LinkRow {
        peer: link
            .hello
            .as_ref()
            .map_or_else(|| link.peer.name.clone(), |h| h.node.clone()),
        zone: link.peer.zone.clone(),
        up: link.is_up(),
        since: link.since.map(|now| now.unix),
        why: link.why.clone(),
        sip_lanes: link.lanes.len(),
        http_lanes: link.http,
        xmpp_lanes: link.xmpp,
        media_up: link.media_up,
        round_trip_us: link.round_trip.map(|d| d.as_micros() as u64),
        skew_ms: link.skew_ms,
    }
}
