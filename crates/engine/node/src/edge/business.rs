//! Calls of foreign domains: INVITEs to a served domain from hosts that register nowhere.
//!
//! Off unless `[business]` switches it on. Let through are new INVITEs over TLS, to a domain that
//! a linked core serves, under no address of such a domain; within the dialog the connection
//! counts, as for a client. The edge marks them and adds no identity; which of them go anywhere
//! the core's search rules decide.
//!
//! Bounds: calls at once, attempts of one source a minute, [`SOURCES_MAX`] sources remembered.

use std::net::IpAddr;

use ::status::Kind;
use base::{HashMap, Instant, Now};
use sip::transaction::ServerKey;
use sip::{FlowId, Message, Method, Uri};

use super::Edge;
use crate::strikes::whole;

/// Sources whose attempts are counted at once.
const SOURCES_MAX: usize = 4_096;

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
            .filter(|(_, c)| !self.relay.is_known(c.flow))
            .count();
        let cause = if self.attempts.are_too_many(now.instant, source, most) {
            "sip: too many calls of one foreign host"
        } else if calls >= settings.calls_max {
            "sip: too many calls of foreign domains at once"
        } else {
            return self.client_other(now, key, flow, message, false);
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
