//! Calls of foreign domains: INVITEs to a served domain from hosts that register nowhere.
//!
//! Off unless `[business]` switches it on. Let through are new INVITEs over TLS, to a domain that
//! a linked core serves, under no address of such a domain. Within the dialog the connection
//! counts, or another of the same host: one at its address, or whose certificate shows its name
//! (RFC 3261 §18.1.1 lets every request have a connection of its own). The edge marks them
//! and adds no identity; which of them go anywhere the core's search rules decide.
//!
//! Such calls and those that the edge makes to foreign domains have room of their own each, so that
//! no stranger takes that of ours. One source has a share of it, and no call rings for long.
//!
//! Bounds: calls at once, calls at once of one source, attempts of one source a minute, the time of
//! ringing; [`SOURCES_MAX`] sources remembered.

use std::net::IpAddr;

use ::status::Kind;
use base::{HashMap, Instant, Now, Timers};
use sip::transaction::ServerKey;
use sip::{FlowId, Message, Method, Uri};

use super::Edge;
use crate::station::in_dialog;
use crate::strikes::whole;

/// Sources whose attempts are counted at once.
const SOURCES_MAX: usize = 4_096;

/// Connections that are gone for which one stands: so often a host may come back within its calls.
const MOVED_MAX: usize = 64;

/// Who has calls on a connection of no client's.
struct Who {
    source: IpAddr,
    /// The domain that was dialled, or the certificate name that was proved.
    name: Option<String>,
}

/// Foreign hosts that have calls, by their connections.
///
/// Bounds: a row lasts as long as its connection has a call, or stands; one connection stands for
/// [`MOVED_MAX`] that are gone.
#[derive(Default)]
pub(super) struct Peers {
    known: HashMap<FlowId, Who>,
    /// Connections that went while they had calls, and which stands for them.
    moved: HashMap<FlowId, FlowId>,
    /// Certificate names that connections proved.
    proved: HashMap<FlowId, String>,
    /// When their INVITEs have rung long enough.
    ringing: Timers<(ServerKey, IpAddr)>,
}

impl Peers {
    /// A client's connection has shown a certificate.
    pub(super) fn proved(&mut self, flow: FlowId, name: String) {
        self.proved.insert(flow, name);
    }

    /// Whether a connection is of a foreign host that has calls.
    pub(super) fn is_foreign(&self, flow: FlowId) -> bool {
        self.known.contains_key(&flow)
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.ringing.next()
    }

    pub(super) fn flow_down(&mut self, flow: FlowId) {
        self.proved.remove(&flow);
    }

    /// The connection that stands for one that is gone.
    pub(super) fn resolve(&self, flow: FlowId) -> FlowId {
        self.moved.get(&flow).copied().unwrap_or(flow)
    }

    /// Whether one connection of a host can stand for another that is gone.
    fn may_follow(&self, from: FlowId, to: FlowId) -> bool {
        let stands = |at: &&FlowId| **at == from || **at == to;
        self.moved.values().filter(stands).count() < MOVED_MAX
    }

    fn follows(&mut self, from: FlowId, to: FlowId) {
        if let Some(who) = self.known.remove(&from) {
            self.known.insert(to, who);
        }
        let earlier = self.moved.values_mut().filter(|at| **at == from);
        earlier.for_each(|at| *at = to);
        self.moved.insert(from, to);
    }

    /// The last call of a connection is over.
    pub(super) fn over(&mut self, flow: FlowId) {
        self.known.remove(&flow);
        self.moved.retain(|_, at| *at != flow);
    }

    pub(super) fn census(&self) -> [(&'static str, usize); 4] {
        [
            ("foreign hosts in calls", self.known.len()),
            ("foreign connections that moved", self.moved.len()),
            ("connections with certificates", self.proved.len()),
            ("foreign calls that may ring", self.ringing.len()),
        ]
    }
}

/// Attempts, by source.
#[derive(Default)]
pub(super) struct Attempts(HashMap<IpAddr, (Instant, u32)>);

impl Attempts {
    /// Counts an attempt; whether there were too many in the last minute.
    fn are_too_many(&mut self, now: Instant, source: IpAddr, most: u32) -> bool {
        let minute = std::time::Duration::from_secs(60);
        if self.0.len() >= SOURCES_MAX && !self.0.contains_key(&source) {
            self.0.retain(|_, (since, _)| now.since(*since) < minute);
            if self.0.len() >= SOURCES_MAX {
                return true;
            }
        }
        let (since, count) = self.0.entry(source).or_insert((now, 0));
        if now.since(*since) >= minute {
            (*since, *count) = (now, 0);
        }
        *count = count.saturating_add(1);
        *count > most
    }
}

impl Edge {
    /// Whether a request may be a foreign domain's call.
    pub(super) fn is_business(&self, flow: FlowId, message: &Message, inside: bool) -> bool {
        let accepts = self.settings.business.as_ref().is_some_and(|b| b.accept);
        if !accepts || inside || message.method() != Method::Invite || self.relay.is_known(flow) {
            return false;
        }
        let host = |uri: &[u8]| Some(Uri::parse(uri).ok()?.host.to_string());
        let from = message.from().ok().and_then(|from| host(from.uri));
        let foreign = from.is_some_and(|from| !self.serves(&from));
        foreign && host(message.request_uri()).is_some_and(|to| self.serves(&to))
    }

    fn serves(&self, host: &str) -> bool {
        self.links.iter().any(|l| l.serves_sip(host))
    }

    /// A foreign host has a call on a connection; its name is what it was dialled by, or proved.
    pub(super) fn has_call(&mut self, flow: FlowId, name: Option<String>) {
        let calls = &self.calls;
        self.peers.known.retain(|flow, _| calls.on(*flow));
        if let Some(source) = self.station.remote(flow).map(|a| whole(a.ip())) {
            let who = Who { source, name };
            self.peers.known.entry(flow).or_insert(who);
        }
    }

    /// A call of a connection is over, or did not come about.
    pub(super) fn call_over(&mut self, flow: FlowId) {
        if !self.calls.on(flow) {
            self.peers.over(flow);
        }
    }

    /// The connection that a request in a dialog counts as sent on: its own, or the call's if this
    /// one is of the same foreign host. If the call's is gone, its calls are on this one from
    /// now on.
    pub(super) fn speaks_for(&mut self, now: Now, flow: FlowId, message: &Message) -> FlowId {
        let old = self.own_route(message).filter(|old| *old != flow);
        let Some(old) = old.filter(|_| in_dialog(message) && !self.relay.is_known(flow)) else {
            return flow;
        };
        let source = self.station.remote(flow).map(|a| whole(a.ip()));
        let name = self.peers.proved.get(&flow);
        let is =
            |who: &Who| Some(who.source) == source || name.is_some() && who.name.as_ref() == name;
        let same = self.peers.known.get(&old).is_some_and(is);
        if !same || self.relay.is_known(old) || self.calls.of(message, old).is_none() {
            return flow;
        }
        if self.station.side(old).is_some() {
            return old;
        }
        if !self.peers.may_follow(old, flow) {
            return flow;
        }
        self.calls.moved(now.instant, old, flow);
        self.station.moved(old, flow);
        self.peers.follows(old, flow);
        flow
    }

    /// Foreign domains' calls that have rung long enough are given up.
    pub(super) fn business_timeout(&mut self, now: Now) {
        while let Some((_, (key, source))) = self.peers.ringing.pop(now.instant) {
            if self.station.give_up(now, key) {
                let cause =
                    "sip: a foreign domain's call was not answered in business.ringing_max_s";
                let kind = Kind::RequestRefused;
                self.ledger.caused(now, kind, Some(source), cause);
            }
        }
    }

    /// A foreign domain calls.
    pub(super) fn business(&mut self, now: Now, key: ServerKey, flow: FlowId, message: &Message) {
        let Some(settings) = self.settings.business.clone() else {
            return;
        };
        let Some(source) = self.station.remote(flow).map(|a| whole(a.ip())) else {
            return;
        };
        let most = settings.calls_per_minute;
        let strangers = self.calls.iter();
        let calls = strangers
            .filter(|(_, c)| c.by_client && !self.relay.is_known(c.flow))
            .count();
        let cause = if self.attempts.are_too_many(now.instant, source, most) {
            "sip: too many calls of one foreign host"
        } else if calls >= settings.calls_max {
            "sip: too many calls of foreign domains at once"
        } else if self.calls.of_source(source) >= settings.calls_per_source {
            "sip: too many calls of one foreign host at once"
        } else {
            let name = self.peers.proved.get(&flow).cloned();
            self.has_call(flow, name);
            let late = now.instant + settings.ringing_max;
            self.peers.ringing.arm(late, (key, source));
            self.client_other(now, key, flow, message, false);
            return self.call_over(flow);
        };
        self.ledger
            .caused(now, Kind::RequestRefused, Some(source), cause);
        self.busy(now, key, message);
    }
}

/// What the edge's Record-Route bears for such a call.
pub(super) fn marked(record_route: &str) -> String {
    record_route.replace(";lr>", ";lr;business>")
}
