//! REGISTER: from an edge to call control and back.

use std::time::Duration;

use base::{HashMap, Now, Pii, TimerId, UnixTime};
use call::registration::core::{
    Change, Denied, Draft, Numbers, Place, RegistrationId, Unfit, aor_of, is_line, may_register,
};
use call::registration::{Asked, Turn, ZONE_FIELD, asked};
use sip::transaction::ServerKey;
use sip::{FlowId, Message, Name, Uri};
use status::Kind;

use super::Core;
use super::clusters::asks_for_tls;
use super::outbound::Purpose;

/// What a contact without any expiry asks for (RFC 3261 §10.2).
const EXPIRES_DEFAULT_S: u32 = 3_600;

/// How long call control may take to answer a REGISTER: Timer F (RFC 3261 §17.1.2.2), and a bit.
const ANSWER_MAX: Duration = Duration::from_secs(34);

/// Lines of one device, beside the one it registers.
const LINES_MAX: usize = 32;

/// A REGISTER that has been let in.
#[derive(Clone, Debug)]
pub(super) struct Plan {
    user: String,
    /// Where the user is known, and when it was proved.
    domain: String,
    proved: UnixTime,
    directory: Box<str>,
    aor: String,
    place: Place,
    /// The field that proved the user, which is not for call control.
    credentials: usize,
    contacts: Vec<PlannedContact>,
    removes_all: bool,
}

impl Plan {
    /// The line and the devices that it is about.
    fn names(&self) -> Vec<String> {
        let line = aor_of(self.aor.as_bytes())
            .map(|(line, _)| String::from_utf8_lossy(line).into_owned())
            .unwrap_or_else(|| self.aor.clone());
        let devices = self.contacts.iter().map(|c| c.draft.device.clone());
        devices.chain([line]).collect()
    }
}

#[derive(Clone, Debug)]
struct PlannedContact {
    draft: Draft,
    expires_s: u32,
    keep_alive: bool,
}

/// A REGISTER that call control has and has not answered.
pub(super) struct Under {
    plan: Plan,
    rows: Vec<RegistrationId>,
    zone: String,
    timer: TimerId,
}

/// Those, by their transactions.
pub(super) type UnderWay = HashMap<ServerKey, Under>;

impl Core {
    pub(super) fn register(&mut self, now: Now, key: ServerKey, peer: usize, message: &Message) {
        let admitted = match self.check_digest(now, peer, message, Name::Authorization) {
            Ok(admitted) => admitted,
            Err(denied) => {
                self.denied(now, denied, message);
                // Without a challenge: the edge adds its own.
                return self.station.answer(now, key, message, 401, "Unauthorized");
            }
        };
        let planned = self.plan(now, peer, message, &admitted);
        let (plan, zones) = match planned {
            Ok(found) => found,
            Err((status, reason)) => {
                let (kind, cause) = match status {
                    404 => (Kind::NoRoute, "no zone leads to the domain"),
                    _ => (Kind::RegistrationRefused, reason),
                };
                let proof = [
                    ("user", Pii::new(&admitted.user).to_string()),
                    ("to", Pii::new(uri_of(message)).to_string()),
                    ("domain", host_of(message.request_uri()).unwrap_or_default()),
                    ("to_domain", to_host(message)),
                ];
                self.board
                    .stranger(&mut self.station.out, kind, now, cause, &proof);
                return self.station.answer(now, key, message, status, reason);
            }
        };
        if !self.has_room(&plan) {
            return self.no_registration(now, key, message);
        }
        self.route_out(now, key, zones, Purpose::Register(Box::new(plan)));
    }

    /// Whether all contacts of a REGISTER are known already, go away, or find room (F278).
    fn has_room(&self, plan: &Plan) -> bool {
        let Some(max) = self.settings.limits.registrations_max else {
            return true;
        };
        let known = |contact: &PlannedContact| self.registrar.find(&contact.draft).is_some();
        let new = plan
            .contacts
            .iter()
            .filter(|c| c.expires_s > 0 && !c.keep_alive && !known(c));
        let new = new.count();
        new == 0 || self.registrar.len() + new <= max
    }

    fn no_registration(&mut self, now: Now, key: ServerKey, message: &Message) {
        let max = self.settings.limits.registrations_max.unwrap_or_default();
        let proof = [("max", max.to_string())];
        let (out, cause) = (&mut self.station.out, "calls.registrations_max is reached");
        self.board
            .caused(out, Kind::RegistrationsFull, now, None, cause, &proof);
        let wait = 30 + self.station.rng.below(60);
        let tag = self.station.rng.hex(8);
        let reply = message
            .reply(503, "Service Unavailable", &tag)
            .header(Name::RetryAfter, wait.to_string());
        self.station.respond(now, key, reply.build());
    }

    /// Whom a digest for the realm of an edge proves.
    pub(super) fn check_digest(
        &mut self,
        now: Now,
        peer: usize,
        message: &Message,
        name: Name,
    ) -> Result<call::registration::core::Admitted, Denied> {
        let link = self.links.get(peer).ok_or(Denied::Missing)?;
        let welcome = link.welcome().ok_or(Denied::Missing)?;
        let since = link.first_clock.unwrap_or(welcome.clock);
        let realm = welcome.services.sip_realm.as_str();
        let asked = (realm, since);
        let checked = self
            .admission
            .check(now, &self.credentials, message, name, asked);
        if let (Err(Denied::Stale), Some((_, found))) = (
            &checked,
            call::registration::credentials(message, name, realm),
        ) {
            self.blame_skew(now, peer, found.nonce);
        }
        checked
    }

    pub(super) fn denied(&mut self, now: Now, denied: Denied, message: &Message) {
        // Without credentials, or with old ones, it is no attempt on a password.
        if !matches!(denied, Denied::Unknown | Denied::Wrong | Denied::Replayed) {
            return;
        }
        self.board.counters.wrong_credentials += 1;
        let proof = [("to", Pii::new(uri_of(message)).to_string())];
        let (out, cause) = (&mut self.station.out, denied.to_string());
        self.board
            .caused(out, Kind::WrongCredentials, now, None, &cause, &proof);
    }

    /// What to do about a REGISTER, and the zones to try.
    fn plan(
        &self,
        now: Now,
        peer: usize,
        message: &Message,
        admitted: &call::registration::core::Admitted,
    ) -> Result<(Plan, Vec<String>), (u16, &'static str)> {
        const BAD: (u16, &str) = (400, "Bad Request");
        let to = message.to().map_err(|_| BAD)?;
        let (user_part, aor) = aor_of(to.uri).ok_or(BAD)?;
        let at_home = |uri: &[u8]| host_of(uri).is_some_and(|host| self.is_home(&host));
        if !at_home(to.uri) || !at_home(message.request_uri()) {
            return Err((404, "Not Found"));
        }
        let zones = self.registrars(message, to.uri);
        let zone = zones
            .first()
            .and_then(|z| self.zone(z))
            .ok_or((404, "Not Found"))?;
        let path = message.values(Name::Path).next().ok_or(BAD)?;
        let token = sip::NameAddr::parse(path)
            .and_then(|address| Uri::parse(address.uri).ok()?.user)
            .ok_or(BAD)?;
        let place = Place {
            peer,
            token: token.to_vec(),
            path: path.to_vec(),
        };
        let asked = asked(message)?;
        let devices: Vec<&[u8]> = match &asked {
            Asked::Contacts(list) => list.iter().map(|c| c.device).collect(),
            Asked::Query | Asked::RemoveAll => vec![b""],
        };
        let mut tried = zones.iter().filter_map(|name| self.zone(name));
        if !tried.all(|zone| self.is_user_of(&admitted.domain, to.uri, zone)) {
            return Err((403, "Domain Is Not Yours"));
        }
        let numbers = self.settings.numbers(to.uri, zone.unified_cm);
        for device in &devices {
            may_register(admitted, user_part, device, numbers).map_err(|unfit| match unfit {
                Unfit::Line => (403, "Address of Record Is Not Yours"),
                Unfit::Device => (403, "Device Is Not Yours"),
            })?;
        }
        // Nobody registers in another's name either: call control may go by it.
        let not_yours = (403, "From Is Not Yours");
        let from = message.from().map_err(|_| BAD)?;
        let (from_part, from_aor) = aor_of(from.uri).ok_or(not_yours)?;
        if from_aor != aor {
            if !self.is_user_of(&admitted.domain, from.uri, zone) {
                return Err(not_yours);
            }
            let numbers = self.settings.numbers(from.uri, zone.unified_cm);
            let device = devices.first().copied().unwrap_or_default();
            may_register(admitted, from_part, device, numbers).map_err(|_| not_yours)?;
        }
        // Where one REGISTER asks for all lines of a device, its client speaks on each.
        let mut lines: Box<[Box<str>]> = Box::default();
        if zone.unified_cm && is_bulk(message) {
            let own = |l: &&String| l.as_bytes().eq_ignore_ascii_case(user_part);
            let others = admitted.lines.iter().filter(|l| !own(l));
            lines = others.take(LINES_MAX).map(|l| l.as_str().into()).collect();
        }
        // Unified CM knows its users in one spelling only.
        let user = admitted.account.clone();
        let directory = self.settings.directory_of(&admitted.domain);
        let contacts = match &asked {
            Asked::Contacts(list) => list
                .iter()
                .map(|c| PlannedContact {
                    draft: Draft {
                        user: user.clone(),
                        directory: directory.clone(),
                        aor: aor.clone(),
                        place: place.clone(),
                        contact: c.uri.to_vec(),
                        instance: c.instance.to_vec(),
                        reg_id: text(c.reg_id.unwrap_or_default()),
                        device: text(c.device),
                        one_device: zone.unified_cm,
                        lines: lines.clone(),
                        zone: "".into(),
                        rewritten: false,
                        registered: true,
                    },
                    expires_s: c.expires_s.unwrap_or(EXPIRES_DEFAULT_S),
                    keep_alive: c.keep_alive,
                })
                .collect(),
            Asked::Query | Asked::RemoveAll => Vec::new(),
        };
        let plan = Plan {
            user,
            domain: admitted.domain.clone(),
            proved: now.unix,
            directory,
            aor,
            place,
            credentials: admitted.field,
            contacts,
            removes_all: asked == Asked::RemoveAll,
        };
        Ok((plan, zones))
    }

    /// Zones for a REGISTER: by its Request-URI, else by the domain of the address of record.
    pub(super) fn registrars(&self, message: &Message, to: &[u8]) -> Vec<String> {
        let by = |uri: &[u8]| host_of(uri).map(|h| self.zones_for(&h)).unwrap_or_default();
        let zones = by(message.request_uri());
        let zones = if zones.is_empty() { by(to) } else { zones };
        if asks_for_tls(message) {
            return self.secured(zones);
        }
        zones
    }

    /// Sends a REGISTER on over a connection that stands.
    pub(super) fn send_register(
        &mut self,
        now: Now,
        key: ServerKey,
        zone: &str,
        flow: FlowId,
        mut plan: Plan,
    ) {
        let Some(message) = self.station.transactions.server_request(key).cloned() else {
            return;
        };
        let Some(found) = self.zone(zone) else { return };
        let (rewrites, tls) = (found.rewrites, found.tls());
        let at = self.settings.inside(tls);
        let name = found.label.clone();
        let turn = Turn::of(&message);
        if self.is_overtaken(&plan, zone, turn) {
            return self.too_late(now, key, &message, &plan.user);
        }
        let mut rows = Vec::new();
        for contact in &mut plan.contacts {
            contact.draft.zone = name.clone();
            contact.draft.rewritten = rewrites;
            match self.registrar.open(now, &contact.draft) {
                Some(row) => rows.push(row),
                None => {
                    self.refuse_rows(&rows);
                    return self
                        .station
                        .answer(now, key, &message, 403, "Too Many Contacts");
                }
            }
        }
        if let Some(turn) = turn {
            rows.iter()
                .for_each(|row| self.registrar.takes_turn(*row, turn));
        }
        let (field, place, user) = (plan.credentials, &plan.place, &plan.user);
        let request = if rewrites {
            self.registrar
                .to_unified_cm(&message, field, &rows, place, user, &at)
        } else {
            self.registrar
                .to_registrar(&message, field, &rows, place, &at)
        };
        let via = self.settings.inside_via(tls);
        self.station.send_on(now, key, flow, via, request, u8::MAX);
        let under = Under {
            plan,
            rows,
            zone: zone.to_owned(),
            timer: self.answers_due.arm(now.instant + ANSWER_MAX, key),
        };
        for row in &under.rows {
            *self.busy.entry(*row).or_default() += 1;
        }
        self.under_way.insert(key, under);
    }

    /// Whether a later REGISTER of the same client has gone on already, for any of its contacts.
    fn is_overtaken(&self, plan: &Plan, zone: &str, turn: Option<Turn>) -> bool {
        let Some(turn) = turn else { return false };
        let named = plan.contacts.iter();
        let named = named.filter_map(|c| self.registrar.find(&c.draft));
        let mut rows: Vec<RegistrationId> = named.collect();
        if plan.removes_all {
            rows.extend(self.all_of(plan, zone));
        }
        rows.iter()
            .any(|row| self.registrar.is_overtaken(*row, turn))
    }

    /// What a user has registered at an address of record.
    fn all_of(&self, plan: &Plan, zone: &str) -> Vec<RegistrationId> {
        let (user, directory) = (&plan.user, &plan.directory);
        self.registrar.of_aor(user, directory, &plan.aor, zone)
    }

    /// It comes from a connection that its client has left, as a rule.
    fn too_late(&mut self, now: Now, key: ServerKey, message: &Message, user: &str) {
        let proof = [
            ("user", Pii::new(user).to_string()),
            ("to", Pii::new(uri_of(message)).to_string()),
        ];
        let (out, cause) = (&mut self.station.out, "a later REGISTER came before it");
        self.board
            .stranger(out, Kind::RegistrationRefused, now, cause, &proof);
        self.station
            .answer(now, key, message, 500, "Overtaken by a Later REGISTER");
    }

    /// Contacts that call control never accepted go, but for what another REGISTER is under way
    /// for.
    fn refuse_rows(&mut self, rows: &[RegistrationId]) {
        for row in rows.iter().filter(|row| !self.busy.contains_key(row)) {
            self.registrar.refuse(*row);
        }
    }

    /// An answer of call control to a REGISTER, as the client gets it.
    pub(super) fn registered_reply(
        &mut self,
        now: Now,
        key: ServerKey,
        response: Message,
    ) -> Message {
        let status = response.status();
        if status < 200 {
            return response;
        }
        let Some(under) = self.take_register(key) else {
            return response;
        };
        self.zone_heard(&under.zone, true);
        if status >= 300 {
            let reply = self.registrar.to_client(&response, &under.rows);
            self.refuse_rows(&under.rows);
            if !matches!(status, 401 | 407 | 423) {
                let names = under.plan.names();
                self.register_refused(now, &under.zone, &under.plan.user, &names, &response);
            }
            return reply;
        }
        let mut gone = Vec::new();
        // Its user was signed out while call control thought about it.
        let plan = &under.plan;
        let known = &self.outs.known;
        let out = known.is_void(&plan.user, &plan.domain, plan.proved);
        for (contact, row) in under.plan.contacts.iter().zip(&under.rows) {
            if contact.keep_alive {
                continue;
            }
            let granted = match contact.expires_s {
                0 => 0,
                asked => self
                    .registrar
                    .granted_s(&response, *row, &under.rows, asked),
            };
            if granted == 0 {
                gone.push(*row);
                continue;
            }
            let draft = contact.draft.clone();
            let change = self.registrar.confirm(now, *row, draft, granted);
            if out {
                self.leave_inside(now, *row);
                self.registrar.remove(*row);
                continue;
            }
            self.registration_changed(now, change, Some(&contact.draft), "");
            self.calls_follow(now, *row);
        }
        let reply = match self.station.transactions.server_request(key) {
            Some(request) if out => {
                let request = request.clone();
                let tag = self.station.rng.hex(8);
                request.reply(403, "Signed Out", &tag).build()
            }
            _ => self.with_zone(&under, self.registrar.to_client(&response, &under.rows)),
        };
        // Sent to a standby server, they registered nothing.
        for (contact, row) in under.plan.contacts.iter().zip(&under.rows) {
            if contact.keep_alive {
                self.refuse_rows(&[*row]);
            }
        }
        if under.plan.removes_all {
            gone.extend(self.all_of(&under.plan, &under.zone));
        }
        for row in gone {
            let change = self.registrar.remove(row);
            self.registration_changed(now, change, None, "the client unregistered");
        }
        reply
    }

    /// The answer with the zone in it, for the edge alone: what the client's way stands and falls
    /// with. A keep-alive says nothing of that.
    fn with_zone(&self, under: &Under, reply: Message) -> Message {
        let mut contacts = under.plan.contacts.iter();
        let stands = contacts.any(|c| !c.keep_alive && c.expires_s > 0);
        let mut edit = reply.edit();
        edit.remove_fields(|f| f.name.eq_ignore_ascii_case(ZONE_FIELD.as_bytes()));
        if stands {
            edit.push_back(Name::Other(ZONE_FIELD), &under.zone);
        }
        edit.finish()
    }

    /// Takes a REGISTER off the tables of those under way.
    fn take_register(&mut self, key: ServerKey) -> Option<Under> {
        let under = self.under_way.remove(&key)?;
        self.answers_due.disarm(under.timer);
        for row in &under.rows {
            if let Some(count) = self.busy.get_mut(row) {
                *count = count.saturating_sub(1);
                if *count == 0 {
                    self.busy.remove(row);
                }
            }
        }
        Some(under)
    }

    /// A REGISTER is not answered; nobody waits for it any longer (RFC 4320 §4.2).
    pub(super) fn register_ended(&mut self, key: ServerKey) {
        if let Some(under) = self.take_register(key) {
            self.zone_heard(&under.zone, false);
            self.refuse_rows(&under.rows);
        }
    }

    pub(super) fn registration_changed(
        &mut self,
        now: Now,
        change: Change,
        draft: Option<&Draft>,
        cause: &str,
    ) {
        let out = &mut self.station.out;
        match (change, draft) {
            (Change::New, Some(draft)) => {
                let proof = [
                    ("user", Pii::new(&draft.user).to_string()),
                    ("aor", Pii::new(&draft.aor).to_string()),
                    ("device", Pii::new(&draft.device).to_string()),
                    ("zone", draft.zone.to_string()),
                ];
                self.board.event(out, Kind::Registered, now, "", &proof);
            }
            (Change::Gone { user, aor }, _) => {
                let proof = [("user", user.to_string()), ("aor", aor.to_string())];
                self.board
                    .event(out, Kind::Unregistered, now, cause, &proof);
            }
            _ => {}
        }
    }

    /// The address of record of a From, if it is another line of a client's device.
    pub(super) fn line_of(&self, row: RegistrationId, from: &[u8]) -> Option<String> {
        let lines = &self.registrar.get(row)?.draft.lines;
        let (user, aor) = aor_of(from)?;
        let home = host_of(from).is_some_and(|host| self.is_home(&host));
        // Only Unified CM gives a device several, and it knows which.
        let (user, lines) = (sip::unescape(user), lines.iter().map(|l| &**l));
        (home && is_line(&user, lines, Numbers::DECIDED)).then_some(aor)
    }

    /// Who a client is to call control: the line that it speaks on, or what it registered.
    pub(super) fn identity(&self, row: RegistrationId, message: &Message) -> Option<String> {
        let from = message.from().ok().map(|from| from.uri);
        if let Some(aor) = from.and_then(|from| self.line_of(row, from)) {
            return Some(format!("<sip:{aor}>"));
        }
        Some(format!("<{}>", self.registrar.get(row)?.draft.uri()))
    }

    /// Ends registrations that were not refreshed.
    pub(super) fn registrations_timeout(&mut self, now: Now) {
        while let Some((_, key)) = self.answers_due.pop(now.instant) {
            self.register_ended(key);
        }
        for change in self.registrar.handle_timeout(now.instant) {
            self.registration_changed(now, change, None, "it was not refreshed");
        }
    }

    /// The edge says that a client's flow is gone: so is all that was registered on it, but for
    /// what is being registered anew at this moment, from another flow as a rule.
    pub(super) fn flow_failed(&mut self, now: Now, place: &Place) {
        let on_flow = self.registrar.on_flow(place.peer, &place.token);
        let rows: Vec<RegistrationId> = on_flow.map(|(id, _)| id).collect();
        for row in rows {
            if self.busy.contains_key(&row) {
                continue;
            }
            let change = self.registrar.remove(row);
            self.registration_changed(now, change, None, "the client's connection is gone");
        }
    }
}

/// Whether a REGISTER asks for all lines of its device at once (`protocol.md` 5.1).
fn is_bulk(message: &Message) -> bool {
    let asks = |part: &[u8]| part.starts_with(b"<bulkregisterreq");
    message.content_type().is_some() && message.body().windows(16).any(asks)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The host of a URI in lower case.
pub(super) fn host_of(uri: &[u8]) -> Option<String> {
    let mut host = String::with_capacity(40);
    Uri::parse(uri).ok()?.host.write_lower_case(&mut host);
    Some(host)
}

fn to_host(message: &Message) -> String {
    let to = message.to().ok().and_then(|to| host_of(to.uri));
    to.unwrap_or_default()
}

fn uri_of(message: &Message) -> String {
    message
        .to()
        .map(|to| String::from_utf8_lossy(to.uri).into_owned())
        .unwrap_or_default()
}
