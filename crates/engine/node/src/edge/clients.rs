//! Requests from clients.
//!
//! A REGISTER carries credentials that the core checks; every other request must come on a flow
//! that a registration has made known, and is given the identity of that registration, or belong
//! to a dialog that was set up on it, or carry credentials itself ([`super::proving`]). Nothing a
//! client writes decides where the edge sends: everything goes to a core.

use ::status::Kind;
use base::Now;
use call::b2bua::body::{self, Body};
use call::registration::{
    bears_token, commands_a_phone, credentials, is_claim, is_for_friends, without_links,
};
use sip::nonce::Verdict;
use sip::transaction::ServerKey;
use sip::{FlowId, Message, Method, Name};

use super::business::marked;
use super::calls::{Beginning, CallId, Exchange, Refusal};
use super::proving::ONLY_INSIDE;
use super::{Edge, Side};
use crate::station::in_dialog;

/// What a client that has not registered on its connection may send, in bytes. A telephone's
/// REGISTER with its parts has less than 10 KiB, an INVITE with video about as much.
const STRANGER_BYTES_MAX: usize = 48 * 1024;

/// Where a description stands in a body, and what it becomes.
pub(super) type Description = (std::ops::Range<usize>, Vec<u8>);

/// Methods that begin a dialog, and so must be able to come back to their flow.
pub(super) fn begins_dialog(method: Method) -> bool {
    matches!(
        method,
        Method::Invite | Method::Subscribe | Method::Refer | Method::Notify
    )
}

impl Edge {
    pub(super) fn client_request(
        &mut self,
        now: Now,
        key: ServerKey,
        flow: FlowId,
        message: &Message,
    ) {
        if let Err((status, reason)) = sip::validate::request(message) {
            self.station.answer(now, key, message, status, reason);
            return self.refused(now, flow);
        }
        if message.bytes().len() > STRANGER_BYTES_MAX && !self.relay.is_known(flow) {
            let (status, reason) = (513, "Message Too Large");
            self.station.answer(now, key, message, status, reason);
            return self.refused(now, flow);
        }
        if self.may_enter(now, key, flow, message) {
            self.client_passed(now, key, flow, message);
        }
    }

    /// A request that is well formed and came in time.
    pub(super) fn client_passed(
        &mut self,
        now: Now,
        key: ServerKey,
        flow: FlowId,
        message: &Message,
    ) {
        if self.waits_its_turn(now, key, flow, message) {
            return;
        }
        let inside = in_dialog(message);
        match message.method() {
            Method::Register => self.client_register(now, key, flow, message),
            _ if self.is_business(flow, message, inside) => {
                self.business(now, key, flow, message);
            }
            _ if self.may_prove(flow, message, inside) => self.prove(now, key, flow, message),
            _ => {
                let speaker = self.speaks_for(now, flow, message);
                match self.admit(speaker, message, inside) {
                    Ok(()) => self.client_other(now, key, speaker, message, inside),
                    Err((status, reason, cause)) => {
                        let source = self.station.remote(flow).map(|a| a.ip());
                        self.ledger.caused(now, Kind::RequestRefused, source, cause);
                        self.station.answer(now, key, message, status, reason);
                        self.refused(now, flow);
                    }
                }
            }
        }
    }

    fn client_register(&mut self, now: Now, key: ServerKey, flow: FlowId, message: &Message) {
        match self.nonce_of(now, message, Name::Authorization) {
            Verdict::Fresh => {}
            // A token instead of a digest is for the inside to judge.
            Verdict::Forged if self.brings_token(message) => {}
            Verdict::Stale => return self.challenge(now, key, message, true),
            Verdict::Forged => {
                self.challenge(now, key, message, false);
                return self.refused(now, flow);
            }
        }
        let source = self.station.remote(flow).map(|a| a.ip());
        let banned = source.and_then(|ip| self.strikes.banned(now.instant, ip));
        // A device keeps what it has; whom else it names is a guess like any other.
        let refresh = credentials(message, Name::Authorization, &self.settings.realm)
            .is_some_and(|(_, found)| self.relay.is_users(flow, found.username));
        if let Some(rest) = banned.filter(|_| !refresh) {
            return self.later(now, key, message, rest.as_secs() + 1);
        }
        if self.has_failed(now, flow) && !refresh {
            return self
                .station
                .answer(now, key, message, 403, "Wrong Credentials");
        }
        let Some((index, lane)) = self.route(flow, message) else {
            self.wait_for_core(now, key, flow, message);
            return;
        };
        let token = self.tokens.seal(flow);
        let request = match self.relay.request(flow, &token, message) {
            Ok(request) => request,
            Err((503, _)) => return self.busy(now, key, message),
            Err((status, reason)) => return self.station.answer(now, key, message, status, reason),
        };
        // Those who come all at once, when another edge died, come in as fast as cores take them.
        if !self.relay.is_known(flow) && !self.guests.registers(now.instant, key) {
            self.ledger.counters.shed += 1;
            return self.busy(now, key, message);
        }
        self.routes.insert(flow, index);
        self.ask_first_core(key, flow, index);
        self.send_on(now, key, lane, Side::Lane { peer: index }, request);
    }

    /// Whether a request other than REGISTER may pass: status, reason and cause if not.
    fn admit(
        &self,
        flow: FlowId,
        message: &Message,
        inside: bool,
    ) -> Result<(), (u16, &'static str, &'static str)> {
        let registered = self.relay.is_known(flow);
        let nobody = (
            403,
            "Register First",
            "sip: a request on a connection without registration",
        );
        let unknown = (
            481,
            "Call/Transaction Does Not Exist",
            "sip: a request in a dialog of another flow",
        );
        if !inside {
            return match registered {
                false => Err(nobody),
                true if ONLY_INSIDE.contains(&message.method()) => Err(unknown),
                true => Ok(()),
            };
        }
        match self.own_route(message) {
            Some(route) if route != flow => Err(unknown),
            None if !registered => Err(unknown),
            _ if self.calls.is_anothers(message, flow) => Err(unknown),
            _ => Ok(()),
        }
    }

    pub(super) fn client_other(
        &mut self,
        now: Now,
        key: ServerKey,
        flow: FlowId,
        message: &Message,
        inside: bool,
    ) {
        let call = self.calls.of(message, flow);
        let way = match call.and_then(|id| self.calls.get(id)).filter(|_| inside) {
            // A call stays with the core that has it.
            Some(c) => {
                let index = c.link.0 as usize;
                self.links
                    .get(index)
                    .and_then(|l| Some((index, l.lane(flow)?)))
            }
            None => self.route(flow, message),
        };
        match way {
            Some((index, lane)) => match self.for_core(now, flow, index, message, inside) {
                Ok(request) => {
                    self.send_on(now, key, lane, Side::Lane { peer: index }, request);
                }
                Err(refusal) => self.refuse(now, key, message, refusal),
            },
            // The call has to be known still when the core comes that has it.
            None if self.wait_for_core(now, key, flow, message) => return,
            None => {}
        }
        self.hung_up(now, flow, message);
    }

    /// A client's BYE ends its call, whatever became of it.
    pub(super) fn hung_up(&mut self, now: Now, flow: FlowId, message: &Message) {
        if message.method() == Method::Bye
            && let Some(id) = self.calls.of(message, flow)
        {
            self.end_call(now, id, "the client hung up");
        }
    }

    pub(super) fn client_ack(&mut self, now: Now, flow: FlowId, message: &Message) {
        if !self.may_ack(now, flow) {
            return;
        }
        let flow = self.speaks_for(now, flow, message);
        if self.admit(flow, message, true).is_err() {
            return;
        }
        let link = self
            .calls
            .of(message, flow)
            .and_then(|id| self.calls.get(id))
            .map(|c| c.link);
        let Some(index) = link
            .map(|l| l.0 as usize)
            .or_else(|| self.routes.get(&flow).copied())
        else {
            return;
        };
        let Some(lane) = self.links.get(index).and_then(|l| l.lane(flow)) else {
            return;
        };
        if let Ok(request) = self.for_core(now, flow, index, message, true) {
            let via = self.via(Side::Lane { peer: index });
            self.station.ack_on(lane, &via, &request);
        }
    }

    /// The flow that our own first Route names, if it is ours; the flow that stands for it now,
    /// if its device, or a foreign host, has come back.
    pub(super) fn own_route(&self, message: &Message) -> Option<FlowId> {
        let route = message.routes().next()?.ok()?;
        let uri = sip::Uri::parse(route.uri).ok()?;
        let flow = self.tokens.open(uri.user?)?;
        Some(self.peers.resolve(self.relay.resolve(flow)))
    }

    /// A request as the core gets it: our route popped, what only we may say replaced, our
    /// token recorded, its session description pointed at us.
    fn for_core(
        &mut self,
        now: Now,
        flow: FlowId,
        index: usize,
        message: &Message,
        inside: bool,
    ) -> Result<Message, Refusal> {
        let link = media::LinkId(index as u32);
        let business = self.is_business(flow, message, inside);
        // A foreign host makes no telephone of ours take a call.
        if self.peers.is_foreign(flow) && commands_a_phone(message) {
            return Err(Refusal::NotAcceptable);
        }
        let call = self.call_for(
            now,
            message,
            &Beginning {
                link,
                flow,
                by_client: true,
                abroad: business,
                holder: self.holder(flow, message),
                invite: message,
            },
        )?;
        let described = match self.describe(now, flow, call, message, true) {
            Ok(described) => described,
            Err(refusal) => {
                if let Some(id) = call.filter(|id| !inside || self.calls.is_unanswered(*id)) {
                    self.end_call(now, id, "its session description could not be carried");
                }
                return Err(refusal);
            }
        };
        let mut edit = message.edit();
        if let Some((range, new)) = &described {
            Body::Replace(range, new).write(message, &mut edit);
        }
        if inside && self.own_route(message).is_some() {
            edit.remove_first_value(Name::Route);
        } else {
            // A client's Route is a hint for a proxy that would follow it; this one does not.
            edit.remove(Name::Route);
        }
        let foreign = business || self.peers.is_foreign(flow);
        if !business {
            edit.remove(Name::RecordRoute);
        }
        let answer = self.fresh_answer(now, message, Name::ProxyAuthorization);
        edit.remove_fields(|f| {
            let credentials = matches!(f.id, Name::Authorization | Name::ProxyAuthorization);
            is_claim(f.name, f.value)
                || foreign && is_for_friends(f.name)
                || credentials && Some(f.index) != answer && self.is_ours(f.value)
        });
        without_links(message, &mut edit);
        if let Some(identity) = self.relay.identity(flow, message) {
            edit.push_back(
                Name::PAssertedIdentity,
                format!("<{}>", identity.aor().expose()),
            );
        }
        if !inside {
            // Not only for dialogs: it tells the core on which flow the request came.
            let mut route = self.record_route(flow);
            if business {
                // Its own proxies stay in the dialog behind us.
                route = marked(&route);
            }
            edit.push_front(Name::RecordRoute, route);
        }
        Ok(edit.finish())
    }

    /// Whether a REGISTER carries a token, and no digest for our realm.
    pub(super) fn brings_token(&self, message: &Message) -> bool {
        let digest = credentials(message, Name::Authorization, &self.settings.realm);
        digest.is_none() && bears_token(message, Name::Authorization)
    }

    /// Whether credentials answer a challenge of ours.
    fn is_ours(&self, value: &[u8]) -> bool {
        let realm = self.settings.realm.as_bytes();
        sip::digest::Credentials::parse(value).is_ok_and(|c| c.realm == realm)
    }

    /// The field of a name that answers a challenge of ours under a fresh nonce, by its number.
    fn fresh_answer(&self, now: Now, message: &Message, name: Name) -> Option<usize> {
        let (index, _) = credentials(message, name, &self.settings.realm)?;
        (self.nonce_of(now, message, name) == Verdict::Fresh).then_some(index)
    }

    /// The route that leads back to a client: the token of its flow, at our own address.
    pub(super) fn record_route(&self, flow: FlowId) -> String {
        let at = self.settings.sip_address();
        format!("<sip:{}@{at};transport=tls;lr>", self.tokens.seal(flow))
    }

    /// Whether an INVITE in a dialog not known here is of a call that began on another edge:
    /// the client's carries no route of ours, and a core has said where the client is now.
    fn comes_from_elsewhere(&self, message: &Message, beginning: &Beginning<'_>) -> bool {
        let elsewhere = !beginning.by_client || self.own_route(message).is_none();
        message.method() == Method::Invite && elsewhere
    }

    /// The call a request belongs to; a new INVITE begins one, and so does one within a call that
    /// has moved here from another edge.
    pub(super) fn call_for(
        &mut self,
        now: Now,
        message: &Message,
        beginning: &Beginning<'_>,
    ) -> Result<Option<CallId>, Refusal> {
        if message.method() != Method::Invite || in_dialog(message) {
            let found = self.calls.of(message, beginning.flow);
            if let Some(id) = found {
                self.calls.alive(now.instant, id, None);
            }
            if found.is_some() || !self.comes_from_elsewhere(message, beginning) {
                return Ok(found);
            }
        }
        Ok(Some(self.calls.begin(now, beginning)?))
    }

    /// The session description of a message to or from a client, where it stands in the body and
    /// as the other side gets it; `None` if there is none.
    pub(super) fn describe(
        &mut self,
        now: Now,
        flow: FlowId,
        call: Option<CallId>,
        message: &Message,
        from_client: bool,
    ) -> Result<Option<Description>, Refusal> {
        let carries = matches!(
            message.method(),
            Method::Invite | Method::Ack | Method::Prack | Method::Update
        );
        if !carries || !body::carries_description(message) {
            return Ok(None);
        }
        let range = body::description(message).ok_or(Refusal::NotAcceptable)?;
        let text = message.body().get(range.clone()).unwrap_or_default();
        let id = call.ok_or(Refusal::Unknown)?;
        // What one early dialog refuses, another may accept.
        let early = !message.is_request() && message.status() < 200;
        let exchange = Exchange {
            now: now.instant,
            client: self.station.remote(flow).map(|a| a.ip().to_canonical()),
            early,
            offers: matches!(message.method(), Method::Invite | Method::Update)
                && message.is_request(),
        };
        let new = if from_client {
            self.calls.describe_to_core(&exchange, id, text)?
        } else {
            self.calls.describe_to_client(&exchange, id, text)?
        };
        Ok(Some((range, new)))
    }

    /// Which core a flow's requests go to: the one its registration went to while it is up,
    /// else any that serves the domain, else any that is up.
    pub(super) fn route(&self, flow: FlowId, message: &Message) -> Option<(usize, FlowId)> {
        self.cores_for(flow, message).into_iter().next()
    }

    /// The cores that a flow's requests may go to, each once, in that order.
    pub(super) fn cores_for(&self, flow: FlowId, message: &Message) -> Vec<(usize, FlowId)> {
        let kept = self.routes.get(&flow).copied();
        let domain = message
            .to()
            .ok()
            .and_then(|to| sip::Uri::parse(to.uri).ok())
            .map(|uri| uri.host.to_string());
        let serving = (0..self.links.len()).filter(|i| {
            let (Some(link), Some(domain)) = (self.links.get(*i), &domain) else {
                return false;
            };
            link.serves_sip(domain)
        });
        let order = kept.into_iter().chain(serving).chain(0..self.links.len());
        let mut found: Vec<(usize, FlowId)> = Vec::new();
        for index in order {
            let lane = self.links.get(index).and_then(|l| l.lane(flow));
            if let Some(lane) = lane.filter(|_| found.iter().all(|(i, _)| *i != index)) {
                found.push((index, lane));
            }
        }
        found
    }

    pub(super) fn no_core(&mut self, now: Now, key: ServerKey, message: &Message) {
        let cause = "a client's request could not be passed on";
        self.ledger.caused(now, Kind::NoCore, None, cause);
        self.busy(now, key, message);
    }

    /// 503 with a time to come back, spread so that not all come at once (RFC 3261 §21.5.4).
    pub(super) fn busy(&mut self, now: Now, key: ServerKey, message: &Message) {
        let wait = 1 + self.station.rng.below(10);
        self.later(now, key, message, wait);
    }

    pub(super) fn later(&mut self, now: Now, key: ServerKey, message: &Message, wait: u64) {
        let tag = self.station.rng.hex(8);
        let reply = message
            .reply(503, "Service Unavailable", &tag)
            .header(Name::RetryAfter, wait.to_string())
            .build();
        self.station.respond(now, key, reply);
    }

    /// Answers what cannot be carried.
    pub(super) fn refuse(&mut self, now: Now, key: ServerKey, message: &Message, refusal: Refusal) {
        if refusal == Refusal::Exhausted {
            let cause = format!("{} port pairs are in use", self.calls.ports_in_use());
            self.ledger.caused(now, Kind::PortsExhausted, None, &cause);
            return self.busy(now, key, message);
        }
        if refusal == Refusal::Share {
            // What the user has is told with what is allowed.
            let rates = self.settings.rates;
            let cause = format!(
                "sip: one user or source has {} calls or {} media ports",
                rates.calls_per_user, rates.media_ports_per_user
            );
            self.ledger.caused(now, Kind::Flooded, None, &cause);
            return self.busy(now, key, message);
        }
        self.blame_media(now, Some(refusal), "offer");
        let (status, reason) = refusal.answer();
        self.station.answer(now, key, message, status, reason);
    }

    /// Tells of a client's description of which nothing can be carried.
    pub(super) fn blame_media(&mut self, now: Now, refusal: Option<Refusal>, what: &str) {
        if refusal == Some(Refusal::NothingCarried) {
            let cause = format!(
                "a client's {what} has no line that can be carried: media of another kind, or with \
                 keys by DTLS alone"
            );
            self.ledger.caused(now, Kind::NoCrypto, None, &cause);
        }
    }

    pub(super) fn send_on(
        &mut self,
        now: Now,
        key: ServerKey,
        flow: FlowId,
        side: Side,
        request: Message,
    ) {
        let via = self.via(side);
        let link = match side {
            Side::Lane { peer } => self.links.get(peer),
            _ => None,
        };
        let hops_max = link.map_or(u8::MAX, |link| link.peer.hop_count);
        self.station.send_on(now, key, flow, via, request, hops_max);
    }

    // ---- digest ----

    /// What the nonce is worth that a request answers; the answer itself is the core's to check.
    pub(super) fn nonce_of(&self, now: Now, message: &Message, name: Name) -> Verdict {
        let realm = self.settings.realm.as_str();
        match credentials(message, name, realm) {
            Some((_, found)) => self.nonces.check(now, found.nonce, realm.as_bytes()),
            None => Verdict::Forged,
        }
    }

    /// Asks for a digest: 401 for a REGISTER, 407 for what is passed on (RFC 3261 §22.3).
    pub(super) fn challenge(&mut self, now: Now, key: ServerKey, message: &Message, stale: bool) {
        let tag = self.station.rng.hex(8);
        let (status, reason) = match message.method() {
            Method::Register => (401, "Unauthorized"),
            _ => (407, "Proxy Authentication Required"),
        };
        let reply = message.reply(status, reason, &tag).build();
        let reply = self.with_challenge(now, &reply, stale);
        self.station.respond(now, key, reply);
    }

    /// Adds our challenges to a 401 or 407: SHA-256 first, then MD5 (RFC 8760 §2.3).
    pub(super) fn with_challenge(&self, now: Now, reply: &Message, stale: bool) -> Message {
        let realm = &self.settings.realm;
        let name = match reply.status() {
            407 => Name::ProxyAuthenticate,
            _ => Name::WwwAuthenticate,
        };
        let mut edit = reply.edit();
        for algorithm in self.settings.digest.iter().copied() {
            let nonce = self.nonces.issue(now, realm.as_bytes());
            let challenge = sip::digest::Challenge::new(realm, &nonce, algorithm, stale);
            edit.push_back(name, challenge.to_string());
        }
        edit.finish()
    }
}
