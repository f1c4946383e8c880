//! Where requests go: from edges to the zone of who sends them, from inside to the edge of whom
//! they are for. An edge is believed nothing that the core has not registered itself, and a
//! client names nobody but itself as the sender and no destination that is call control's alone.

use base::{Now, Pii};
use call::b2bua::Side as Leg;
use call::registration::core::{
    Admitted, Binding, DialogMark, Draft, End, Place, Registrar, RegistrationId, aor_of,
    may_register, same_aor,
};
use sip::transaction::ServerKey;
use sip::{FlowId, Message, Method, Name, NameAddr, Uri};
use status::Kind;

use super::Core;
use super::outbound::{Hop, Purpose};
use super::registrations::host_of;
use crate::io::Transport;

/// How long an identity counts that a digest proved outside of a registration.
const PROVEN_S: u32 = 600;

pub(super) type Refused = (u16, &'static str);

/// The sender who wants to be unknown (RFC 3323 §4.1.1.3).
const ANONYMOUS: &str = "anonymous@anonymous.invalid";

impl Core {
    // ---- from edges ----

    pub(super) fn lane_request(
        &mut self,
        now: Now,
        key: ServerKey,
        flow: FlowId,
        peer: usize,
        message: Message,
    ) {
        let Some(link) = self.links.get(peer) else {
            return;
        };
        let side = Leg::Edge { link: link.id };
        if !link.is_ready(flow) {
            return self.station.answer(now, key, &message, 403, "Forbidden");
        }
        if let Err((status, reason)) = sip::validate::request(&message) {
            return self.station.answer(now, key, &message, status, reason);
        }
        if self.sheds(now, peer, &message) {
            return self.shed(now, key, &message);
        }
        if let Err((status, reason)) = self.may_refer_to(now, &message) {
            return self.station.answer(now, key, &message, status, reason);
        }
        if let Some(reply) = self.too_short(&message) {
            return self.station.respond(now, key, reply);
        }
        let in_dialog = message.to().is_ok_and(|to| to.tag().is_some());
        if message.method() == Method::Register {
            return match self.may_go_to(now, &message) {
                Ok(()) => self.register(now, key, peer, &message),
                Err((status, reason)) => self.station.answer(now, key, &message, status, reason),
            };
        }
        if in_dialog {
            let found = match self.b2bua.call_of(side, &message) {
                Some(call) if self.is_strangers(call) && message.method() == Method::Refer => {
                    // Nobody outside has call control dial for him.
                    return self.station.answer(now, key, &message, 403, "Forbidden");
                }
                Some(call) if self.may_speak(call, peer, &message) => Some(side),
                Some(_) => {
                    let gone = (481, "Call/Transaction Does Not Exist");
                    return self.station.answer(now, key, &message, gone.0, gone.1);
                }
                None => self.moved(now, peer, &message),
            };
            let Some(side) = found else {
                return self.lane_dialog(now, key, peer, &message);
            };
            let message = unprivileged(&message);
            let who = self.whose(self.b2bua.call_of(side, &message));
            if !self.may_name(now, side, &message, who.as_ref()) {
                let (status, reason) = (481, "Call/Transaction Does Not Exist");
                return self.station.answer(now, key, &message, status, reason);
            }
            if let Err((status, reason)) = self.refers(now, side, peer, &message) {
                return self.station.answer(now, key, &message, status, reason);
            }
            let (b2bua, mut cx) = self.calls(now);
            return b2bua.request(&mut cx, side, key, message);
        }
        if message.method() == Method::Options && self.is_for_us(&message) {
            return self.station.answer(now, key, &message, 200, "OK");
        }
        if self.is_business(&message) {
            return self.business(now, key, flow, peer, message);
        }
        let admitted = self
            .identify(now, peer, &message)
            .and_then(|row| self.may_go_to(now, &message).map(|()| row));
        match admitted {
            Ok(row) => {
                let who = self.who(row);
                if !self.may_name(now, side, &message, who.as_ref()) {
                    let (status, reason) = (481, "Call/Transaction Does Not Exist");
                    return self.station.answer(now, key, &message, status, reason);
                }
                let mut message = unprivileged(&message);
                if message.method() != Method::Invite {
                    // The B2BUA does it for calls.
                    message = self.b2bua.map_references(side, &message);
                }
                self.lane_new(now, key, flow, peer, row, &message);
            }
            Err((status, reason)) => {
                self.station.answer(now, key, &message, status, reason);
            }
        }
    }

    /// The 422 to whoever would refresh its session more often than anybody need (RFC 4028 §9).
    fn too_short(&mut self, message: &Message) -> Option<Message> {
        if !matches!(message.method(), Method::Invite | Method::Update) {
            return None;
        }
        let min_s = sip::dialog::too_short(message, 0)?;
        let tag = self.station.rng.hex(8);
        let reply = message.reply(422, "Session Interval Too Small", &tag);
        Some(reply.header(Name::MinSe, min_s.to_string()).build())
    }

    fn lane_new(
        &mut self,
        now: Now,
        key: ServerKey,
        flow: FlowId,
        peer: usize,
        row: RegistrationId,
        message: &Message,
    ) {
        let Some(binding) = self.registrar.get(row) else {
            return;
        };
        let zones = self.home_zones(&binding.draft);
        let identity = self.identity(row, message).unwrap_or_default();
        let mut hops: Vec<Hop> = Vec::new();
        if matches!(message.method(), Method::Invite | Method::Message) {
            // What rules take goes by them; the rest is call control's, which has the dial plan.
            hops = self.client_hops(peer, message.request_uri());
        }
        let searched = !hops.is_empty();
        if !searched {
            let home = zones.into_iter().map(|zone| Hop { zone, alias: None });
            hops.extend(home);
        }
        let mut edit = message.edit();
        edit.remove(Name::Route);
        edit.set(Name::PAssertedIdentity, identity);
        for name in [Name::ProxyAuthorization, Name::Authorization] {
            let realm = self.realm(peer);
            if let Some((field, _)) = call::registration::credentials(message, name, realm) {
                edit.remove_fields(|f| f.index == field);
            }
        }
        if message.method() == Method::Invite {
            let message = edit.finish();
            let purpose = Purpose::Invite {
                row,
                lane: flow,
                message,
            };
            return self.route_by(now, key, hops, purpose);
        }
        if !searched {
            let tls = self.zone(&binding.draft.zone).is_some_and(|z| z.tls());
            if let Some(dialog) = DialogMark::begun(message, End::From) {
                edit.push_front(Name::RecordRoute, self.record_route(row, dialog, tls));
            }
        }
        let purpose = Purpose::Other {
            message: edit.finish(),
        };
        self.route_by(now, key, hops, purpose);
    }

    /// The zones of call control that a client's requests go to, the first one first.
    pub(super) fn home_zones(&self, draft: &Draft) -> Vec<String> {
        let mut zones = vec![draft.zone.to_string()];
        // Registrars stand in for one another; a node of Unified CM knows its own phones only.
        if self.zone(&draft.zone).is_none_or(|z| !z.unified_cm) {
            let host = draft.aor.rsplit('@').next().unwrap_or_default();
            let others = self
                .zones_for(host)
                .into_iter()
                .filter(|z| !zones.contains(z));
            let others: Vec<String> = others.collect();
            zones.extend(others);
        }
        zones
    }

    /// A request within a dialog that no call is: it carries, as its first Route, the token that
    /// we recorded when the dialog began. It is the dialog's client's alone, and goes where the
    /// dialog leads and nowhere else.
    fn lane_dialog(&mut self, now: Now, key: ServerKey, peer: usize, message: &Message) {
        let gone = (481, "Call/Transaction Does Not Exist");
        let row = self.recorded_for(message);
        let found = row.and_then(|id| self.registrar.get(id));
        let is_own = |b: &&Binding| b.draft.place.peer == peer && self.speaks_for(peer, b, message);
        let Some(binding) = found.filter(is_own) else {
            return self.station.answer(now, key, message, gone.0, gone.1);
        };
        let zone = binding.draft.zone.to_string();
        let no_user = binding.draft.user.is_empty();
        if let Err((status, reason)) = self.may_go_on_to(now, message) {
            return self.station.answer(now, key, message, status, reason);
        }
        let message = &unprivileged(message);
        let mut edit = message.edit();
        edit.remove_first_value(Name::Route);
        if !no_user {
            let identity = row.and_then(|row| self.identity(row, message));
            edit.set(Name::PAssertedIdentity, identity.unwrap_or_default());
        }
        let purpose = Purpose::Other {
            message: edit.finish(),
        };
        self.route_out(now, key, vec![zone], purpose);
    }

    /// Who sends a request: the registration on the flow that the edge recorded, which must be
    /// the one that the edge asserts; or whom a digest proves, where the core has been restarted
    /// and knows no registration.
    fn identify(
        &mut self,
        now: Now,
        peer: usize,
        message: &Message,
    ) -> Result<RegistrationId, Refused> {
        let recorded = message.record_routes().next().and_then(Result::ok);
        let token = recorded.and_then(|r| Uri::parse(r.uri).ok()?.user);
        let token = token.ok_or((403, "Forbidden"))?.to_vec();
        let asserted: Vec<&[u8]> = message
            .values(Name::PAssertedIdentity)
            .filter_map(|v| Some(NameAddr::parse(v)?.uri))
            .collect();
        let from = message.from().map_err(|_| (400, "Bad Request"))?.uri;
        // A row of an earlier process proves nothing.
        let rows = self
            .registrar
            .on_flow(peer, &token)
            .filter(|(_, b)| !b.draft.user.is_empty());
        let mut rows: Vec<(RegistrationId, &str)> =
            rows.map(|(id, b)| (id, b.draft.aor.as_str())).collect();
        if rows.is_empty() {
            return self.prove(now, peer, &token, message);
        }
        let all = rows.clone();
        rows.retain(|(_, aor)| asserted.iter().all(|uri| same_aor(uri, aor)));
        let Some((first, _)) = rows.first() else {
            let proof = [("from", Pii::new(String::from_utf8_lossy(from)).to_string())];
            let cause = "an edge asserts an identity that is not registered behind it";
            self.board.counters.violations += 1;
            self.board
                .stranger(&mut self.station.out, Kind::Violation, now, cause, &proof);
            return Err((403, "Forbidden"));
        };
        if same_aor(from, ANONYMOUS) {
            return Ok(*first);
        }
        let exact = all.iter().find(|(_, aor)| same_aor(from, aor));
        let own = exact
            .or_else(|| all.iter().find(|(_, aor)| self.is_other_host(from, aor)))
            .or_else(|| all.iter().find(|(id, _)| self.line_of(*id, from).is_some()));
        if let Some((id, _)) = own {
            return Ok(*id);
        }
        let proven = |(id, _): &(RegistrationId, &str)| {
            let row = self.registrar.get(*id);
            row.is_some_and(|b| !b.draft.registered)
        };
        if all.iter().all(proven) {
            // A user with several lines who is not registered here proves each of them.
            return self.prove(now, peer, &token, message);
        }
        let registered: Vec<&str> = all.iter().map(|(_, aor)| *aor).collect();
        let proof = [
            ("from", Pii::new(String::from_utf8_lossy(from)).to_string()),
            ("registered", Pii::new(registered.join(" ")).to_string()),
        ];
        let cause = "From is no address of record that is registered on the client's connection";
        self.board
            .stranger(&mut self.station.out, Kind::FromRefused, now, cause, &proof);
        Err((403, "From Is Not Yours"))
    }

    /// Whether a URI is of an address of record's user, at another of our homes: a phone of a node
    /// may write its domain. User parts differ by case (RFC 3261 §19.1.4).
    fn is_other_host(&self, uri: &[u8], aor: &str) -> bool {
        let Some((_, found)) = aor_of(uri) else {
            return false;
        };
        let (Some((user, host)), Some((own, _))) = (found.rsplit_once('@'), aor.rsplit_once('@'))
        else {
            return false;
        };
        user == own && self.is_home(host)
    }

    /// Asks for a digest, or takes it.
    fn prove(
        &mut self,
        now: Now,
        peer: usize,
        token: &[u8],
        message: &Message,
    ) -> Result<RegistrationId, Refused> {
        let admitted = match self.check_digest(now, peer, message, Name::ProxyAuthorization) {
            Ok(admitted) => admitted,
            Err(denied) => {
                self.denied(now, denied, message);
                // Without a challenge: the edge adds its own.
                return Err((407, "Proxy Authentication Required"));
            }
        };
        let draft = self
            .proven(peer, token, message, &admitted)
            .ok_or((403, "Forbidden"))?;
        let row = self
            .registrar
            .open(now, &draft)
            .ok_or((503, "Service Unavailable"))?;
        self.registrar.confirm(now, row, draft, PROVEN_S);
        Ok(row)
    }

    fn proven(
        &self,
        peer: usize,
        token: &[u8],
        message: &Message,
        admitted: &Admitted,
    ) -> Option<Draft> {
        let from = message.from().ok()?.uri;
        let (user_part, aor) = aor_of(from)?;
        let zone = self.zones_for(&host_of(from)?).into_iter().next()?;
        let found = self.zone(&zone)?;
        let numbers = self.settings.numbers(from, found.unified_cm);
        if !self.is_user_of(&admitted.domain, from, found) {
            return None;
        }
        if may_register(admitted, user_part, b"", numbers).is_err() {
            return None;
        }
        let recorded = message.values(Name::RecordRoute).next()?;
        let contact = message
            .values(Name::Contact)
            .next()
            .and_then(NameAddr::parse);
        let contact = contact.map(|c| c.uri.to_vec()).unwrap_or_default();
        Some(Draft {
            user: admitted.account.clone(),
            directory: self.settings.directory_of(&admitted.domain),
            aor,
            place: Place {
                peer,
                token: token.to_vec(),
                path: recorded.to_vec(),
            },
            contact,
            instance: Vec::new(),
            reg_id: String::new(),
            device: String::new(),
            one_device: false,
            lines: Box::default(),
            zone: zone.into(),
            rewritten: false,
            registered: false,
        })
    }

    // ---- from inside ----

    pub(super) fn inside_request(
        &mut self,
        now: Now,
        key: ServerKey,
        flow: FlowId,
        message: Message,
    ) {
        if let Err((status, reason)) = sip::validate::request(&message) {
            return self.station.answer(now, key, &message, status, reason);
        }
        if let Some(reply) = self.too_short(&message) {
            return self.station.respond(now, key, reply);
        }
        let in_dialog = message.to().is_ok_and(|to| to.tag().is_some());
        if let Some(call) = self
            .b2bua
            .call_of(Leg::Inside, &message)
            .filter(|_| in_dialog)
        {
            if !self.may_be_heard(call, flow) {
                let (status, reason) = (481, "Call/Transaction Does Not Exist");
                return self.station.answer(now, key, &message, status, reason);
            }
            self.carried(now, &message, self.whose(Some(call)));
            let (b2bua, mut cx) = self.calls(now);
            return b2bua.request(&mut cx, Leg::Inside, key, message);
        }
        if message.method() == Method::Register {
            let (status, reason) = (405, "Method Not Allowed");
            return self.station.answer(now, key, &message, status, reason);
        }
        if !in_dialog && self.goes_by_rules(flow, &message) {
            return self.search_inside(now, key, flow, message);
        }
        let located = self.registrar.locate(&message);
        let located = located.or_else(|| self.recover(now, flow, &message));
        let Some((row, by_route)) = located else {
            return match (in_dialog, message.method()) {
                (false, Method::Options) if self.is_for_us(&message) => {
                    self.station.answer(now, key, &message, 200, "OK");
                }
                (true, _) => self.trunk_dialog(now, key, flow, message),
                // A client's that is away: no rule is to lead its calls to somebody else.
                (false, _) if Registrar::was_ours(&message, |h| self.settings.is_us(h)) => {
                    self.station.answer(now, key, &message, 404, "Not Found");
                }
                (false, _) => self.search_inside(now, key, flow, message),
            };
        };
        if in_dialog && !by_route {
            // For a Contact of ours in a call of an earlier process, which no client knows.
            let (status, reason) = (481, "Call/Transaction Does Not Exist");
            return self.station.answer(now, key, &message, status, reason);
        }
        self.outward(now, key, flow, (row, by_route), message);
    }

    /// A client that registered before this core was restarted.
    fn recover(
        &mut self,
        now: Now,
        flow: FlowId,
        message: &Message,
    ) -> Option<(RegistrationId, bool)> {
        let zone = self.zone_of(flow)?;
        let links = &self.links;
        let edge = |peer: usize| Some(links.get(peer)?.peer.verify_name.clone());
        self.registrar.recover(now, message, &zone, edge, PROVEN_S)
    }

    // ---- small questions ----

    /// The registration that our own first Route names, which we recorded in the dialog that a
    /// request of a client is in.
    fn recorded_for(&self, message: &Message) -> Option<RegistrationId> {
        let route = message.routes().next()?.ok()?;
        let token = Uri::parse(route.uri).ok()?.user?;
        let found = self.registrar.open_recorded(token, message, End::From);
        found.map(|(id, _)| id)
    }

    pub(super) fn record_route(
        &self,
        row: RegistrationId,
        dialog: DialogMark,
        tls: bool,
    ) -> String {
        let token = self.registrar.dialog_token(row, dialog);
        format!("<{};lr>", self.settings.inside(tls).uri(&token))
    }

    pub(super) fn is_tls(&self, flow: FlowId) -> bool {
        self.station
            .flows
            .get(flow)
            .is_some_and(|f| f.transport() == Transport::Tls)
    }

    /// Whether a request is for this node itself.
    pub(super) fn is_for_us(&self, message: &Message) -> bool {
        let Ok(uri) = Uri::parse(message.request_uri()) else {
            return false;
        };
        message.routes().next().is_none() && self.settings.is_us(&uri.host.to_string())
    }

    /// The realm in which an edge challenges.
    fn realm(&self, peer: usize) -> &str {
        let welcome = self.links.get(peer).and_then(|l| l.welcome());
        welcome.map_or("", |w| w.services.sip_realm.as_str())
    }
}

/// A message of an edge without what only a trusted node may say: an edge is not one. What it may
/// know of a client's identity, the core knows better.
pub(super) fn unprivileged(message: &Message) -> Message {
    let privileged = |f: &sip::Field<'_>| call::registration::is_claim(f.name, f.value);
    let links = call::registration::links(message);
    if links.is_empty() && !message.fields().any(|f| privileged(&f)) {
        return message.clone();
    }
    let mut edit = message.edit();
    edit.remove_fields(privileged);
    call::registration::without_links(message, &mut edit);
    edit.finish()
}
