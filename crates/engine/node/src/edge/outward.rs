//! Calls to foreign domains: an INVITE that a core sends with the mark of `[business]` goes to the
//! domain's own servers.
//!
//! Off unless `[business]` says `call = true`. Servers are found by NAPTR, SRV and addresses (RFC
//! 3263), over TLS alone; their certificate must show the domain (RFC 5922). Dialled are global
//! addresses alone, and those that the configuration names; never one of our own, and never for a
//! domain that is served here. Nothing of the inside goes along but what the call says: what only
//! the inside may know the core and the edge have taken off. What follows in the dialog comes back
//! by our Record-Route, on the same connection or another of that host.
//!
//! Bounds: `calls_max` attempts and calls at once; each attempt waits for DNS and dialling, which
//! the driver bounds, and dies with its INVITE.

use std::net::IpAddr;

use ::status::Kind;
use base::{HashMap, Map, Now};
use sip::locate::{LocateError, Place, Places, Question, Search, Transport};
use sip::transaction::ServerKey;
use sip::{FlowId, Message, Method, Uri};

use super::{Edge, Side};
use crate::core::BUSINESS;
use crate::io::{AskId, ConnId, DnsError, Facts, Output, Resolved, Target, located};
use crate::station::in_dialog;

/// An INVITE on its way out.
struct Attempt {
    peer: usize,
    message: Message,
    domain: String,
    search: Option<Search>,
    places: Option<Places>,
    /// What is being dialled.
    flow: Option<FlowId>,
    /// Why the last place was none.
    why: String,
}

/// All of them.
#[derive(Default)]
pub(super) struct Abroad {
    attempts: Map<ServerKey, Attempt>,
    asked: HashMap<u64, (ServerKey, Question)>,
    next_ask: u64,
    /// INVITEs that went out and have no final answer yet.
    flows: HashMap<ServerKey, FlowId>,
}

/// Whether an address is one of the internet, as far as its form tells (RFC 6890).
fn is_global(address: IpAddr) -> bool {
    match address.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            !(ip.is_private()
                || ip.is_loopback()
                || ip.is_link_local()
                || ip.is_broadcast()
                || ip.is_multicast()
                || ip.is_documentation()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (18..20).contains(&b)))
        }
        IpAddr::V6(ip) => {
            // Global unicast, without documentation and what wraps an IPv4 address.
            let [first, second, ..] = ip.segments();
            (0x2000..0x4000).contains(&first)
                && !(first == 0x2001 && (second == 0xdb8 || second < 0x200))
                && first != 0x2002
                && first != 0x3fff
        }
    }
}

impl Edge {
    /// Whether a core asks for a foreign domain.
    pub(super) fn is_outward(&self, message: &Message) -> bool {
        let marked = message
            .routes()
            .next()
            .and_then(Result::ok)
            .and_then(|route| Uri::parse(route.uri).ok())
            .is_some_and(|uri| uri.params.get(BUSINESS).is_some());
        marked && message.method() == Method::Invite && !in_dialog(message)
    }

    /// A core calls a foreign domain.
    pub(super) fn outward(&mut self, now: Now, key: ServerKey, peer: usize, message: Message) {
        let settings = self.settings.business.as_ref().filter(|b| b.call);
        let Some(settings) = settings else {
            let cause = "this edge calls no foreign domains (business.call)";
            return self.outward_refused(now, key, &message, 403, "Forbidden", cause);
        };
        let calls = self.calls.iter();
        // Those that come in have room of their own.
        let calls = calls
            .filter(|(_, c)| !c.by_client && !self.relay.is_known(c.flow))
            .count();
        if calls + self.abroad.attempts.len() >= settings.calls_max {
            let cause = "too many calls of and to foreign domains at once";
            return self.outward_refused(now, key, &message, 503, "Service Unavailable", cause);
        }
        let Ok(uri) = Uri::parse(message.request_uri()) else {
            let (status, reason) = (416, "Unsupported URI Scheme");
            return self.outward_refused(now, key, &message, status, reason, "no SIP address");
        };
        let domain = uri.host.to_string().to_ascii_lowercase();
        let named = matches!(uri.host, sip::Host::Name(_)) && uri.param(b"maddr").is_none();
        if !named || self.links.iter().any(|l| l.serves_sip(&domain)) {
            let cause = "the destination is an address, or of a served domain";
            return self.outward_refused(now, key, &message, 404, "Not Found", cause);
        }
        let search = Search::new(&uri, &[Transport::Tls], self.station.rng.fork());
        let attempt = Attempt {
            peer,
            domain,
            search: Some(search),
            places: None,
            flow: None,
            why: String::new(),
            message,
        };
        self.abroad.attempts.insert(key, attempt);
        self.outward_search(now, key);
    }

    fn outward_refused(
        &mut self,
        now: Now,
        key: ServerKey,
        message: &Message,
        status: u16,
        reason: &str,
        cause: &str,
    ) {
        let cause = format!("sip: a call to a foreign domain: {cause}");
        self.ledger.caused(now, Kind::RequestRefused, None, &cause);
        self.station.answer(now, key, message, status, reason);
    }

    /// Puts the search's questions, or takes its result.
    fn outward_search(&mut self, now: Now, key: ServerKey) {
        let Some(attempt) = self.abroad.attempts.get_mut(&key) else {
            return;
        };
        let Some(search) = &mut attempt.search else {
            return;
        };
        while let Some(question) = search.poll_question() {
            let id = self.abroad.next_ask;
            self.abroad.next_ask += 1;
            self.abroad.asked.insert(id, (key, question.clone()));
            self.station.out.push_back(Output::Resolve {
                id: AskId(id),
                question: question.into(),
            });
        }
        match search.take_result() {
            None => {}
            Some(Ok(places)) => {
                (attempt.search, attempt.places) = (None, Some(places));
                self.outward_next(now, key);
            }
            Some(Err(error)) => self.outward_lost(now, key, &error),
        }
    }

    fn outward_lost(&mut self, now: Now, key: ServerKey, error: &LocateError) {
        if let Some(attempt) = self.abroad.attempts.remove(&key) {
            let (status, reason) = error.status();
            let cause = error.to_string();
            self.outward_refused(now, key, &attempt.message, status, reason, &cause);
        }
    }

    /// DNS has answered.
    pub(super) fn outward_resolved(
        &mut self,
        now: Now,
        id: AskId,
        result: Result<Resolved, DnsError>,
    ) {
        let Some((key, question)) = self.abroad.asked.remove(&id.0) else {
            return;
        };
        let attempt = self.abroad.attempts.get_mut(&key);
        if let Some(search) = attempt.and_then(|a| a.search.as_mut()) {
            search.answer(&question, located(result));
            self.outward_search(now, key);
        }
    }

    /// Whether a place may be dialled.
    fn may_dial(&self, place: &Place) -> bool {
        let address = place.address.to_canonical();
        let settings = self.settings.business.as_ref();
        let reach = settings.is_some_and(|b| b.reach.iter().any(|net| net.contains(address)));
        let own = self
            .settings
            .own
            .iter()
            .any(|ip| ip.to_canonical() == address);
        place.transport == Transport::Tls && !own && (is_global(address) || reach)
    }

    /// Dials the next place of the domain.
    fn outward_next(&mut self, now: Now, key: ServerKey) {
        loop {
            let Some(attempt) = self.abroad.attempts.get_mut(&key) else {
                return;
            };
            let Some(place) = attempt.places.as_mut().and_then(Iterator::next) else {
                break;
            };
            if !self.may_dial(&place) {
                if let Some(attempt) = self.abroad.attempts.get_mut(&key) {
                    attempt.why = "its servers are at no address that may be dialled".into();
                }
                continue;
            }
            let target = Target {
                host: place.address.to_string(),
                port: place.port,
                tls: place.tls_name,
                tls_verify: true,
                from: None,
            };
            let Some(flow) = self.station.dial(target) else {
                break;
            };
            if self.station.side(flow).is_some() {
                return self.outward_send(now, key, flow);
            }
            if let Some(attempt) = self.abroad.attempts.get_mut(&key) {
                attempt.flow = Some(flow);
            }
            return;
        }
        if let Some(attempt) = self.abroad.attempts.remove(&key) {
            let cause = format!(
                "no server of {} can be reached: {}",
                attempt.domain, attempt.why
            );
            let (status, reason) = (480, "Temporarily Unavailable");
            self.outward_refused(now, key, &attempt.message, status, reason, &cause);
        }
    }

    fn waiting_for(&self, flow: FlowId) -> Vec<ServerKey> {
        let attempts = self.abroad.attempts.iter();
        attempts
            .filter(|(_, a)| a.flow == Some(flow))
            .map(|(key, _)| *key)
            .collect()
    }

    /// A connection to a foreign domain stands.
    pub(super) fn outward_up(&mut self, now: Now, conn: ConnId, facts: Facts) {
        self.station.connected(conn, facts);
        let Some(flow) = self.station.flows.by_conn(conn) else {
            return;
        };
        self.guests.came(flow);
        self.strangers.arm(now.instant + super::STRANGER_MAX, flow);
        for key in self.waiting_for(flow) {
            self.outward_send(now, key, flow);
        }
    }

    /// It is gone, or never came to be: what waited for it goes to the next place.
    pub(super) fn outward_down(&mut self, now: Now, flow: FlowId, why: &str) {
        for key in self.waiting_for(flow) {
            if let Some(attempt) = self.abroad.attempts.get_mut(&key) {
                attempt.flow = None;
                why.clone_into(&mut attempt.why);
            }
            self.outward_next(now, key);
        }
    }

    fn outward_send(&mut self, now: Now, key: ServerKey, flow: FlowId) {
        let Some(attempt) = self.abroad.attempts.remove(&key) else {
            return;
        };
        match self.for_client(now, flow, attempt.peer, &attempt.message) {
            Ok(request) => {
                let transactions = &self.station.transactions;
                let flows = &mut self.abroad.flows;
                flows.retain(|key, _| transactions.server_request(*key).is_some());
                flows.insert(key, flow);
                self.has_call(flow, Some(attempt.domain));
                self.send_on(now, key, flow, Side::Client, request);
            }
            Err(refusal) => self.refuse(now, key, &attempt.message, refusal),
        }
    }

    /// The connection on which an INVITE went out, for a response to it.
    pub(super) fn outward_flow(&mut self, key: ServerKey, status: u16) -> Option<FlowId> {
        match status {
            // Several may answer 2xx.
            ..300 => self.abroad.flows.get(&key).copied(),
            _ => self.abroad.flows.remove(&key),
        }
    }

    /// A core took its INVITE back while it waited.
    pub(super) fn outward_cancelled(&mut self, now: Now, key: ServerKey) {
        if let Some(attempt) = self.abroad.attempts.remove(&key) {
            let message = attempt.message;
            self.station
                .answer(now, key, &message, 487, "Request Terminated");
        }
    }

    /// An INVITE is no more.
    pub(super) fn outward_ended(&mut self, key: ServerKey) {
        self.abroad.attempts.remove(&key);
        self.abroad.flows.remove(&key);
    }

    /// Whether nothing is under way.
    #[cfg(test)]
    pub(super) fn outward_is_idle(&self) -> bool {
        self.abroad.attempts.is_empty() && self.abroad.asked.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::is_global;

    #[test]
    fn only_addresses_of_the_internet_are_global() {
        for (address, want) in [
            ("8.8.8.8", true),
            ("2606:4700::1", true),
            ("2a00:1450::5", true),
            ("127.0.0.1", false),
            ("10.1.2.3", false),
            ("172.31.9.9", false),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("192.0.2.7", false),
            ("198.18.0.1", false),
            ("0.1.2.3", false),
            ("224.0.0.1", false),
            ("255.255.255.255", false),
            ("::1", false),
            ("::", false),
            ("::ffff:10.0.0.1", false),
            ("::ffff:8.8.8.8", true),
            ("fe80::1", false),
            ("fd00::1", false),
            ("ff02::1", false),
            ("2001:db8::1", false),
            ("2001::1", false),
            ("2002:a00:1::", false),
            ("64:ff9b::a00:1", false),
        ] {
            assert_eq!(is_global(address.parse().unwrap()), want, "{address}");
        }
    }
}
