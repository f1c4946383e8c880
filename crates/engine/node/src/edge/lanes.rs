//! Requests from cores.
//!
//! A lane speaks once it has shown the zone's password in the digest of an OPTIONS. What it sends
//! then goes to the flow that the first Route's token names: a flow that is gone is 430
//! (RFC 5626 §5.3), and there is no other way out of here.

use base::Now;
use sip::nonce::Verdict;
use sip::transaction::ServerKey;
use sip::{FlowId, Message, Method, Name, digest};

use super::calls::{Beginning, Refusal};
use super::clients::begins_dialog;
use super::links::LANES_MAX;
use super::{Edge, Side};
use crate::station::in_dialog;
use call::b2bua::body::Body;

impl Edge {
    pub(super) fn lane_request(
        &mut self,
        now: Now,
        key: ServerKey,
        flow: FlowId,
        peer: usize,
        message: &Message,
    ) {
        if !self.is_lane(flow, peer) {
            return self.lane_sign_in(now, key, flow, peer, message);
        }
        if message.method() == Method::Options && message.routes().next().is_none() {
            return self.station.answer(now, key, message, 200, "OK");
        }
        let Some(target) = self.own_route(message) else {
            if self.is_outward(message) {
                return self.outward(now, key, peer, message.clone());
            }
            // A token of this edge before it was restarted names nobody now.
            let (status, reason) = match self.is_own_route(message) {
                true => (430, "Flow Failed"),
                false => (404, "Not Found"),
            };
            return self.station.answer(now, key, message, status, reason);
        };
        let call = self.calls.of(message, target);
        if self.station.side(target) == Some(Side::Client) {
            match self.for_client(now, target, peer, message) {
                Ok(request) => self.send_on(now, key, target, Side::Client, request),
                Err(refusal) => self.refuse(now, key, message, refusal),
            }
        } else {
            self.station.answer(now, key, message, 430, "Flow Failed");
        }
        // However it is answered, or if it cannot even be sent: the call is over (RFC 3261 §15).
        if let Some(id) = call.filter(|_| message.method() == Method::Bye) {
            self.end_call(now, id, "the core hung up");
        }
    }

    /// Whether the first Route is one that this edge gives, for whatever flow.
    fn is_own_route(&self, message: &Message) -> bool {
        let route = message.routes().next().and_then(Result::ok);
        let uri = route.and_then(|route| sip::Uri::parse(route.uri).ok());
        let own = self.settings.sip_address();
        uri.is_some_and(|uri| uri.user.is_some() && own.starts_with(&format!("{}:", uri.host)))
    }

    fn is_lane(&self, flow: FlowId, peer: usize) -> bool {
        self.links
            .get(peer)
            .is_some_and(|l| l.lanes.contains(&flow))
    }

    pub(super) fn lane_ack(&mut self, now: Now, flow: FlowId, peer: usize, message: &Message) {
        let Some(target) = self.own_route(message).filter(|_| self.is_lane(flow, peer)) else {
            return;
        };
        if self.station.side(target) != Some(Side::Client) {
            return;
        }
        if let Ok(request) = self.for_client(now, target, peer, message) {
            let via = self.via(Side::Client);
            self.station.ack_on(target, &via, &request);
        }
    }

    /// A request as the client gets it.
    pub(super) fn for_client(
        &mut self,
        now: Now,
        flow: FlowId,
        peer: usize,
        message: &Message,
    ) -> Result<Message, Refusal> {
        let inside = in_dialog(message);
        let link = media::LinkId(peer as u32);
        let beginning = Beginning {
            link,
            flow,
            by_client: false,
            abroad: self
                .station
                .flows
                .get(flow)
                .is_some_and(|f| f.target().is_some()),
            holder: self.holder(flow, message),
            invite: message,
        };
        let call = self.call_for(now, message, &beginning)?;
        let request = match self.describe(now, flow, call, message, false) {
            Ok(Some((range, new))) => Body::Replace(&range, &new).put(message.clone()),
            Ok(None) => message.clone(),
            Err(refusal) => {
                if let Some(id) = call.filter(|id| !inside || self.calls.is_unanswered(*id)) {
                    self.end_call(now, id, "its session description could not be carried");
                }
                return Err(refusal);
            }
        };
        let mut edit = request.edit();
        edit.remove_first_value(Name::Route);
        edit.remove_fields(|f| is_our_own(f.name));
        if !inside && begins_dialog(message.method()) {
            edit.push_front(Name::RecordRoute, self.record_route(flow));
        }
        Ok(edit.finish())
    }

    /// The first request of a lane: OPTIONS with the zone's credentials (RFC 7616), under the
    /// realm of this node's name.
    fn lane_sign_in(
        &mut self,
        now: Now,
        key: ServerKey,
        flow: FlowId,
        peer: usize,
        message: &Message,
    ) {
        let Some(link) = self.links.get(peer) else {
            return;
        };
        if message.method() != Method::Options {
            return self.station.answer(now, key, message, 403, "Forbidden");
        }
        if !link.is_up() || link.lanes.len() >= LANES_MAX {
            // The control connection comes first.
            return self
                .station
                .answer(now, key, message, 503, "Service Unavailable");
        }
        let realm = self.settings.fqdn.clone();
        let context = format!("lane {peer}");
        let found = call::registration::credentials(message, Name::Authorization, &realm);
        let verdict = found
            .as_ref()
            .map(|(_, c)| self.nonces.check(now, c.nonce, context.as_bytes()));
        let Some((_, found)) = found.filter(|_| verdict == Some(Verdict::Fresh)) else {
            let nonce = self.nonces.issue(now, context.as_bytes());
            let stale = verdict == Some(Verdict::Stale);
            let challenge =
                digest::Challenge::new(&realm, &nonce, digest::Algorithm::Sha256, stale);
            let tag = self.station.rng.hex(8);
            let reply = message
                .reply(401, "Unauthorized", &tag)
                .header(Name::WwwAuthenticate, challenge.to_string())
                .build();
            return self.station.respond(now, key, reply);
        };
        let (user, password) = (&link.peer.user, link.peer.password.expose());
        let ha1 = digest::ha1(digest::Algorithm::Sha256, user, &realm, password);
        let good = found.username == user.as_bytes()
            && found.algorithm == digest::Algorithm::Sha256
            && digest::verify(&found, message.method_bytes(), &ha1);
        if !good {
            self.ledger
                .lane_refused(now, link, "wrong user or password on a SIP connection");
            return self.station.answer(now, key, message, 403, "Forbidden");
        }
        if let Some(link) = self.links.get_mut(peer) {
            link.lanes.push(flow);
            let lanes = link.lanes.len();
            self.ledger.lane(now, link, "SIP", lanes, None);
        }
        self.station.answer(now, key, message, 200, "OK");
        self.core_came(now);
    }
}

/// Whether a field is spoken between our own nodes only.
pub(super) fn is_our_own(name: &[u8]) -> bool {
    name.get(..11)
        .is_some_and(|n| n.eq_ignore_ascii_case(b"x-causeway-"))
}
