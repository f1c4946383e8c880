//! Calls of foreign domains, which an edge brings unauthenticated (`[business]` there).
//!
//! The edge marks such an INVITE in its Record-Route. The mark gives nothing: what bears it has no
//! registration, no identity and no credentials, and goes where search rules lead requests of the
//! [`DEFAULT_ZONE`], which by default is nowhere. Only a new INVITE may bear it; what follows in
//! the dialog is the B2BUA's.

use base::{Now, Pii};
use call::b2bua::{self, Caller, Encryption, Face, Ice, Side as Leg};
use call::registration::{is_claim, is_for_friends};
use config::routing::DEFAULT_ZONE;
use policy::search::Asker;
use sip::transaction::ServerKey;
use sip::{FlowId, Message, Method, Name, NameAddr, Uri};
use status::Kind;

use super::Core;
use super::calls::Party;
use super::outbound::{Hop, Purpose};
use super::registrations::host_of;
use super::routing::unprivileged;
use super::search::{alias_of, readdressed};
use super::trunks::End;
use super::zones::Zone;
use crate::station::limited;

/// The parameter of an edge's Record-Route that says so.
pub(crate) const MARK: &[u8] = b"business";

impl Core {
    /// Whether an edge says that a request is a foreign domain's.
    pub(super) fn is_business(&self, message: &Message) -> bool {
        let recorded = message.values(Name::RecordRoute).next();
        let marked = recorded
            .and_then(NameAddr::parse)
            .and_then(|address| Uri::parse(address.uri).ok())
            .is_some_and(|uri| uri.params.get(MARK).is_some());
        marked && message.method() == Method::Invite
    }

    /// A neighbour inside calls a foreign domain, by an edge.
    pub(super) fn call_abroad(
        &mut self,
        now: Now,
        key: ServerKey,
        hop: &Hop,
        lane: FlowId,
        message: Message,
    ) {
        let Some(link) = self.links.iter().find(|l| l.peer.name == hop.zone) else {
            return;
        };
        let Some(flow) = self.station.transactions.server_flow(key) else {
            return;
        };
        let (id, edge) = (link.id, link.peer.verify_name.clone());
        // The B2BUA takes one off.
        let message = limited(&message, link.peer.hop_count.saturating_add(1));
        let message = match &hop.alias {
            Some(alias) => readdressed(message, alias, &edge),
            None => message,
        };
        let uri = without_transport(message.request_uri());
        let mut edit = message.edit();
        edit.request_uri(&uri);
        edit.remove_fields(|f| is_claim(f.name, f.value));
        for name in [Name::Route, Name::Authorization, Name::ProxyAuthorization] {
            edit.remove(name);
        }
        let message = edit.finish();
        let zone = self
            .sender(flow)
            .map(|z| z.name.clone())
            .unwrap_or_default();
        let caller = Caller {
            side: Leg::Inside,
            face: self.stranger_inside(flow, self.is_tls(flow), &zone),
        };
        let mark = String::from_utf8_lossy(MARK).into_owned();
        let target = b2bua::Target {
            side: Leg::Edge { link: id },
            face: self.stranger_outside(lane),
            request_uri: message.request_uri().to_vec(),
            routes: vec![format!("<sip:{edge};transport=tls;lr;{mark}>").into_bytes()],
        };
        let neighbour = self.mere_neighbour(flow).map(|z| End::zone(&z.of));
        let party = Party::nobody().with(neighbour);
        self.begin(now, key, message, (caller, target), party);
    }

    /// How we appear to an edge in a call that is no client's.
    pub(super) fn stranger_outside(&self, lane: FlowId) -> Face {
        let at = &self.settings.fqdn;
        Face {
            flow: lane,
            reliable: true,
            via: self.settings.edge_via(),
            contact: format!("sip:business@{at};transport=tls").into_bytes(),
            encryption: Encryption::Force,
            ice: Ice::default(),
        }
    }

    /// How we appear inside in such a call.
    pub(super) fn stranger_inside(&self, flow: FlowId, tls: bool, zone: &str) -> Face {
        Face {
            flow,
            reliable: true,
            via: self.settings.inside_via(tls),
            contact: self.settings.inside(tls).uri("business").into_bytes(),
            encryption: self.zone(zone).map(Zone::encryption).unwrap_or_default(),
            ice: self.zone(zone).map(|z| z.ice).unwrap_or_default(),
        }
    }

    /// A foreign domain calls.
    pub(super) fn business(
        &mut self,
        now: Now,
        key: ServerKey,
        lane: FlowId,
        peer: usize,
        message: Message,
    ) {
        if let Err((status, reason)) = self.may_go_to(now, &message) {
            return self.station.answer(now, key, &message, status, reason);
        }
        let Some(link) = self.links.get(peer).map(|l| l.id) else {
            return;
        };
        // A stranger takes over, joins and names no call of ours, whatever he knows of it (RFC 3891
        // §7), in whatever header field or body.
        let takes = |name: &[u8]| {
            [&b"replaces"[..], b"join", b"target-dialog"]
                .iter()
                .any(|n| name.eq_ignore_ascii_case(n))
        };
        let named = self.b2bua.named_calls(Leg::Edge { link }, &message);
        if !named.is_empty() || message.fields().any(|f| takes(f.name)) {
            return self.station.answer(now, key, &message, 403, "Forbidden");
        }
        let from = message.from().ok().and_then(|from| host_of(from.uri));
        // A dot at the end of a name, or an address, is the same host.
        let foreign = |host: &str| {
            let host = host.trim_end_matches('.');
            let named = host
                .rsplit('.')
                .next()
                .is_some_and(|l| l.starts_with(|c: char| c.is_ascii_alphabetic()));
            named && host.contains('.') && !self.is_home(host) && !self.settings.is_us(host)
        };
        if !from.is_some_and(|host| foreign(&host)) {
            let from = message.from().map(|f| f.uri.to_vec()).unwrap_or_default();
            let proof = [("from", Pii::new(String::from_utf8_lossy(&from)).to_string())];
            let cause = "a foreign host calls under an address of a served domain";
            let (out, kind) = (&mut self.station.out, Kind::FromRefused);
            self.board.stranger(out, kind, now, cause, &proof);
            return self
                .station
                .answer(now, key, &message, 403, "From Is Not Yours");
        }
        let Some(alias) = alias_of(message.request_uri()) else {
            let (status, reason) = (416, "Unsupported URI Scheme");
            return self.station.answer(now, key, &message, status, reason);
        };
        let asker = Asker {
            zone: DEFAULT_ZONE,
            local: false,
            authenticated: false,
        };
        let hops = self.hops(&self.plan.search(&alias, &asker));
        if hops.is_empty() {
            let edge = self.links.get(peer).map(|l| l.peer.verify_name.clone());
            return self.not_found(now, key, &message, &alias, &asker, edge);
        }
        let message = unprivileged(&message);
        let mut edit = message.edit();
        // Again, for an edge that does not.
        edit.remove_fields(|f| is_for_friends(f.name));
        for name in [Name::Route, Name::Authorization, Name::ProxyAuthorization] {
            edit.remove(name);
        }
        let message = edit.finish();
        let purpose = Purpose::Business {
            link,
            lane,
            message,
        };
        self.route_by(now, key, hops, purpose);
    }
}

/// A URI without what a phone wrote of the transport: that is how it reaches us, and not how the
/// domain's own servers are reached.
fn without_transport(uri: &[u8]) -> Vec<u8> {
    // The user part may hold `;` and `?`, but no `@` (RFC 3261 §25.1).
    let host = uri.iter().position(|b| *b == b'@').unwrap_or_default();
    let (user, rest) = uri.split_at(host);
    let question = rest.iter().position(|b| *b == b'?').unwrap_or(rest.len());
    let (rest, headers) = rest.split_at(question);
    let mut out = user.to_vec();
    let parts = rest.split(|b| *b == b';').enumerate();
    let is = |part: &[u8]| {
        let name = part.split(|b| *b == b'=').next().unwrap_or_default();
        name.trim_ascii().eq_ignore_ascii_case(b"transport")
    };
    for (at, part) in parts.filter(|(at, part)| *at == 0 || !is(part)) {
        if at > 0 {
            out.push(b';');
        }
        out.extend_from_slice(part);
    }
    out.extend_from_slice(headers);
    out
}

#[cfg(test)]
mod tests {
    use super::without_transport;

    #[test]
    fn the_transport_alone_is_taken_off_a_uri() {
        for (uri, want) in [
            ("sip:bob@partner.test;transport=tcp", "sip:bob@partner.test"),
            (
                "sip:b;transport=x@p.test;a;Transport=udp;b=1?c=d;transport=tcp",
                "sip:b;transport=x@p.test;a;b=1?c=d;transport=tcp",
            ),
            ("sip:partner.test;lr", "sip:partner.test;lr"),
            ("sip:a?b@p.test;transport=tcp", "sip:a?b@p.test"),
            ("sip:b@p.test;transport=tcp?c=d@e", "sip:b@p.test?c=d@e"),
            ("", ""),
        ] {
            let got = without_transport(uri.as_bytes());
            assert_eq!(String::from_utf8_lossy(&got), want);
        }
    }
}
