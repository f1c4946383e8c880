//! Responses on their way back: session descriptions rewritten, calls ended, challenges added.

use std::time::Duration;

use ::status::Kind;
use base::Now;
use call::b2bua::body::Body;
use call::registration::credentials;
use call::registration::edge::Change;
use sip::nonce::Verdict;
use sip::proxy::Reply;
use sip::{FlowId, Message, Method, Name};

use super::calls::Refusal;
use super::clients::{Description, begins_dialog};
use super::lanes::is_our_own;
use super::links::Link;
use super::{Edge, Side};
use crate::station::in_dialog;

/// How long after the start of a core its 407 is held against nobody: it knows no flows, and asks
/// devices for credentials that never had to show any. A wrong digest in a REGISTER always counts.
const SETTLING: Duration = Duration::from_secs(300);

/// Wrong digests that a connection has in a row; then it is told 403, and not challenged again: a
/// client with a wrong password would answer each challenge for ever.
const WRONG_MAX: u32 = 3;

/// How long they stand. A person who has corrected the password is heard after that, or at once on
/// a new connection.
const WRONG_STANDS: Duration = Duration::from_secs(60);

/// By how much the first interval of a registration is shortened, at most, in percent: those who
/// came all at once, when a node had died, do not refresh all at once for ever after.
const SPREAD: u64 = 20;

impl Edge {
    /// Whether somebody who is no core answers for another.
    pub(super) fn is_forged(&self, flow: FlowId, message: &Message) -> bool {
        let of_a_core = matches!(self.station.side(flow), Some(Side::Lane { .. }));
        let transactions = &self.station.transactions;
        !message.is_request() && !of_a_core && transactions.is_of_another_flow(flow, message)
    }

    pub(super) fn reply(&mut self, now: Now, reply: Reply) {
        if reply.message.method() == Method::Register && reply.message.status() >= 200 {
            self.guests.registered(now.instant, reply.server);
        }
        let transactions = &self.station.transactions;
        let request = transactions.server_request(reply.server).cloned();
        let flow = transactions.server_flow(reply.server);
        let (Some(request), Some(flow)) = (request, flow) else {
            self.asking.remove(&reply.server);
            return self.reply_to_nobody(now, &reply.message);
        };
        if self.ask_next_core(now, reply.server, flow, &request, &reply.message) {
            return;
        }
        let resting = self.station.is_resting(flow).then_some(Side::Client);
        let (client, message) = match self.station.side(flow).or(resting) {
            Some(Side::Client) => {
                let flow = self.speaks_for(now, flow, &request);
                let message = self.reply_to_client(now, flow, &request, reply.message);
                (Some(flow), message)
            }
            Some(Side::Lane { .. }) => {
                let abroad = self.outward_flow(reply.server, reply.message.status());
                let client = self.own_route(&request).or(abroad);
                (
                    client,
                    self.reply_to_core(now, client, abroad.is_some(), &request, reply.message),
                )
            }
            _ => (None, reply.message),
        };
        if let Some(client) = client {
            self.settle(now, client, &request, &message);
        }
        self.station.respond(now, reply.server, message);
    }

    /// Who asked is gone. If it was for a call, nobody will ask again.
    fn reply_to_nobody(&mut self, now: Now, message: &Message) {
        if message.method() == Method::Invite && message.status() >= 300 {
            for id in self.calls.unanswered(message) {
                if matches!(message.status(), 401 | 407) {
                    self.challenged(now, id, message.status());
                    continue;
                }
                self.end_call(now, id, "who called was gone");
            }
        }
    }

    fn reply_to_client(
        &mut self,
        now: Now,
        flow: FlowId,
        request: &Message,
        message: Message,
    ) -> Message {
        if request.method() == Method::Register {
            return self.register_reply(now, flow, request, &message);
        }
        if message.status() == 407 && message.header(Name::ProxyAuthenticate).is_none() {
            // A core that was restarted knows no flows, and wants to see credentials.
            let verdict = self.verdict_for(now, flow, request, Name::ProxyAuthorization);
            if verdict == Verdict::Fresh {
                let guess = !self.relay.is_known(flow) || self.is_settled(now, flow);
                self.wrong_credentials(now, flow, guess);
            }
            return self.with_challenge(now, &message, verdict == Verdict::Stale);
        }
        let described = self.described(now, flow, &message, false);
        let mut edit = message.edit();
        write(described, &message, &mut edit);
        edit.remove_fields(|f| is_our_own(f.name));
        edit.finish()
    }

    /// What a nonce is worth to the core that a client's requests go to. One that was made before
    /// this core began is stale: the core cannot know whether its answer was given before.
    pub(super) fn verdict_for(
        &self,
        now: Now,
        flow: FlowId,
        request: &Message,
        name: Name,
    ) -> Verdict {
        self.verdict_at(now, self.routes.get(&flow).copied(), request, name)
    }

    /// The same for one of the cores.
    pub(super) fn verdict_at(
        &self,
        now: Now,
        core: Option<usize>,
        request: &Message,
        name: Name,
    ) -> Verdict {
        let link = core.and_then(|index| self.links.get(index));
        let began = link.map(|link| link.began.unix);
        let made = credentials(request, name, &self.settings.realm)
            .and_then(|(_, found)| sip::nonce::issued(found.nonce));
        match self.nonce_of(now, request, name) {
            Verdict::Fresh if made < began => Verdict::Stale,
            verdict => verdict,
        }
    }

    fn link_of(&self, flow: FlowId) -> Option<&Link> {
        self.links.get(*self.routes.get(&flow)?)
    }

    fn is_settled(&self, now: Now, flow: FlowId) -> bool {
        let link = self.link_of(flow);
        link.is_some_and(|l| now.instant.since(l.began.instant) >= SETTLING)
    }

    /// Whether a connection has had its tries.
    pub(super) fn has_failed(&self, now: Now, flow: FlowId) -> bool {
        self.wrong.get(&flow).is_some_and(|(count, last)| {
            *count >= WRONG_MAX && now.instant.since(*last) < WRONG_STANDS
        })
    }

    /// One more wrong digest. The first one in a row is held against the source: a telephone that
    /// tries the same wrong password three times is one guess, and not the end of its neighbours.
    fn wrong_credentials(&mut self, now: Now, flow: FlowId, counts: bool) {
        let row = self.wrong.entry(flow).or_insert((0, now.instant));
        if now.instant.since(row.1) >= WRONG_STANDS {
            row.0 = 0;
        }
        *row = (row.0 + 1, now.instant);
        let counts = counts && row.0 == 1;
        let source = self.station.remote(flow).map(|a| a.ip());
        let cause = "sip: the core does not accept the digest";
        self.ledger
            .caused(now, Kind::WrongCredentials, source, cause);
        if source.is_some_and(|ip| counts && self.strikes.strike(now.instant, ip)) {
            let cause = "wrong digests on ten connections within five minutes";
            self.ledger.caused(now, Kind::Banned, source, cause);
        }
    }

    fn register_reply(
        &mut self,
        now: Now,
        flow: FlowId,
        request: &Message,
        message: &Message,
    ) -> Message {
        let remote = self.station.remote(flow);
        let source = remote.map(|a| a.ip());
        let mut spread = 0;
        match message.status() {
            200..=299 => {
                self.wrong.remove(&flow);
                self.health.registered(flow, message);
                self.guests.achieved(flow);
                if let Some(remote) = remote {
                    let changes = self.relay.settled(now, flow, remote, request, message);
                    let new = |c: &Change| matches!(c, Change::Added(_) | Change::Moved { .. });
                    let new = changes.iter().any(new);
                    self.changed(now, flow, changes);
                    if new {
                        spread = self.station.rng.below(SPREAD + 1) as u32;
                    }
                }
            }
            // The core found the credentials wrong: it is for us to challenge again.
            401 if message.header(Name::WwwAuthenticate).is_none() => {
                let verdict = self.verdict_for(now, flow, request, Name::Authorization);
                let stale = verdict == Verdict::Stale;
                if !stale {
                    // A token that the inside does not take is no guess at a password.
                    self.wrong_credentials(now, flow, !self.brings_token(request));
                }
                if self.has_failed(now, flow) {
                    let tag = self.station.rng.hex(8);
                    return request.reply(403, "Wrong Credentials", &tag).build();
                }
                return self.with_challenge(now, &self.relay.answer(message, 0), stale);
            }
            401 | 407 | ..200 => {}
            status => {
                // It may be the core's own word, or call control's: the core tells which.
                let cause = format!("answered {status} from inside; the core's events say why");
                let kind = Kind::RegistrationRefused;
                self.ledger.caused(now, kind, source, &cause);
            }
        }
        let answer = self.relay.answer(message, spread);
        let mut edit = answer.edit();
        edit.remove_fields(|f| is_our_own(f.name));
        edit.finish()
    }

    /// What we made of a message is more than its receiver takes.
    pub(super) fn too_large(&mut self, now: Now, flow: FlowId, message: &Message) {
        let source = self.station.remote(flow).map(|a| a.ip());
        let cause = message.measure();
        self.ledger
            .caused(now, Kind::MessageTooLarge, source, &cause);
    }

    fn reply_to_core(
        &mut self,
        now: Now,
        client: Option<FlowId>,
        abroad: bool,
        request: &Message,
        message: Message,
    ) -> Message {
        let described = match client {
            Some(client) => self.described(now, client, &message, true),
            None => Ok(None),
        };
        self.blame_media(now, described.as_ref().err().copied(), "answer");
        let mut edit = message.edit();
        write(described, &message, &mut edit);
        edit.remove_fields(|f| call::registration::is_claim(f.name, f.value));
        call::registration::without_links(&message, &mut edit);
        let begins = begins_dialog(request.method()) && !in_dialog(request);
        // Between a foreign domain's user and us there are proxies of its own.
        let known = client.filter(|_| begins && !abroad);
        if let Some(client) = known.filter(|_| (101..300).contains(&message.status())) {
            // The route set is what was asked for, whatever the client made of it. What is pushed
            // in one place keeps its order.
            edit.remove(Name::RecordRoute);
            edit.push_front(Name::RecordRoute, self.record_route(client));
            for route in request.values(Name::RecordRoute) {
                edit.push_front(Name::RecordRoute, route);
            }
        }
        edit.finish()
    }

    /// The description of a response as the other side gets it.
    fn described(
        &mut self,
        now: Now,
        client: FlowId,
        message: &Message,
        from_client: bool,
    ) -> Result<Option<Description>, Refusal> {
        let call = self.calls.of(message, client);
        self.describe(now, client, call, message, from_client)
    }

    /// What an answer means for the call it belongs to.
    pub(super) fn settle(
        &mut self,
        now: Now,
        client: FlowId,
        request: &Message,
        message: &Message,
    ) {
        let status = message.status();
        if status <= 100 {
            return;
        }
        let Some(id) = self.calls.of(message, client) else {
            return;
        };
        // A call that came from another edge begins here with an INVITE of its dialog.
        let unanswered = self.calls.is_unanswered(id);
        let begins = request.method() == Method::Invite && (!in_dialog(request) || unanswered);
        if begins && matches!(status, 401 | 407) {
            return self.challenged(now, id, status);
        }
        if begins {
            self.tell_call(now, id);
        }
        match request.method() {
            _ if status < 200 => {}
            Method::Invite if status < 300 => {
                self.calls.answered(now, id);
                self.calls.alive(now.instant, id, interval(message));
            }
            Method::Invite if begins => {
                self.end_call(now, id, &format!("answered {status}"));
            }
            Method::Update if status < 300 => {
                self.calls.alive(now.instant, id, interval(message));
            }
            _ => {}
        }
        if matches!(request.method(), Method::Invite | Method::Update) && status >= 200 {
            match status {
                ..300 => self.calls.offer_agreed(now.instant, id),
                _ => self.calls.offer_refused(now.instant, id),
            }
        }
    }
}

/// Gives a response its new description. One that cannot be carried goes on without: the other side
/// then ends the call in good order.
fn write(
    described: Result<Option<Description>, Refusal>,
    message: &Message,
    edit: &mut sip::Edit<'_>,
) {
    match described {
        Ok(Some((range, new))) => Body::Replace(&range, &new).write(message, edit),
        Ok(None) => {}
        Err(_) => Body::Drop.write(message, edit),
    }
}

/// The session interval of an answer (RFC 4028 §4).
fn interval(message: &Message) -> Option<Duration> {
    let value = message.header(Name::SessionExpires)?;
    let digits = value.split(|b| *b == b';').next()?.trim_ascii();
    let seconds: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds.into()))
}
