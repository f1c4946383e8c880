//! Neighbours that nobody registers with: SIP trunks, conference servers, other proxies (F153).
//!
//! What one of them sends, and no phone of ours is meant by, goes by search rules to another:
//! proxied, with a sealed Record-Route that names both ends, so that what follows in the dialog
//! takes the same way and no other. Media does not pass us, unless it is to be converted: then the
//! B2BUA takes the call ([`super::between`]).
//!
//! Bounds: one trial for each request under way, which is a server transaction; one question a
//! server and [`PROBE`].

use std::hash::Hasher;
use std::time::Duration;

use base::{Now, Pii};
use config::routing::{DEFAULT_ZONE, MediaEncryption, Neighbor};
use policy::search::Asker;
use sip::transaction::{ClientKey, ServerKey};
use sip::{FlowId, Message, Method, Name, RequestBuilder, Uri};
use status::Kind;

use super::Core;
use super::between::Offered;
use super::outbound::{Hop, Purpose};
use super::routing::unprivileged;
use super::search::alias_of;
use super::zones::{Trunk, Zone};
use crate::io::Target;
use crate::station::limited;

/// How often a trunk's server is asked whether it lives.
const PROBE: Duration = Duration::from_secs(60);

/// What our Record-Routes between neighbours begin with.
const MARK: &[u8] = b"trunk-";

/// A request that may go elsewhere if this answer is none.
pub(super) struct Trial {
    pub(super) rest: Vec<Hop>,
    pub(super) message: Message,
    /// The end that it came from, as [`End::text`] writes it.
    pub(super) from: String,
    /// The first answer that was none.
    pub(super) answer: Option<Message>,
}

/// One end of a dialog between neighbours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// A zone, by a hash of the name that rules use: a token has no room for long names.
    Zone(u64),
    /// A connection of whoever is nobody's neighbour.
    Flow(FlowId),
}

impl End {
    pub(super) fn zone(name: &str) -> End {
        let mut hasher = std::hash::DefaultHasher::new();
        hasher.write(name.as_bytes());
        End::Zone(hasher.finish())
    }

    fn is_zone(&self, name: &str) -> bool {
        *self == End::zone(name)
    }

    pub(super) fn text(&self) -> String {
        match self {
            End::Zone(hash) => format!("z{hash:x}"),
            End::Flow(flow) => format!("f{}.{}", flow.slot(), flow.generation()),
        }
    }

    pub(super) fn read(text: &str) -> Option<End> {
        if let Some(hash) = text.strip_prefix('z') {
            return Some(End::Zone(u64::from_str_radix(hash, 16).ok()?));
        }
        let (slot, generation) = text.strip_prefix('f')?.split_once('.')?;
        let flow = base::Id::new(slot.parse().ok()?, generation.parse().ok()?);
        Some(End::Flow(flow))
    }
}

/// Answers after which another zone may know better.
pub(super) fn is_elsewhere(status: u16) -> bool {
    matches!(status, 404 | 408 | 410 | 480 | 484 | 500..=599)
}

/// A dialog as its first request names it: by its Call-ID and the tag of who began it.
fn dialog_of(message: &Message, tag: &[u8]) -> String {
    let mut hasher = std::hash::DefaultHasher::new();
    for part in [message.call_id(), tag] {
        hasher.write_usize(part.len());
        hasher.write(part);
    }
    format!("{:x}", hasher.finish())
}

impl Core {
    /// The zones of the configuration that nobody registers in.
    pub(super) fn trunk_zones(&self) -> Vec<Zone> {
        let neighbors = self.settings.routing.neighbors.iter();
        neighbors.flat_map(|n| self.servers(n)).collect()
    }

    fn servers(&self, neighbor: &Neighbor) -> Vec<Zone> {
        let server = |(i, host): (usize, &String)| {
            let name = match i {
                0 => neighbor.name.clone(),
                i => format!("{}-{}", neighbor.name, i + 1),
            };
            let shown = neighbor.verify_name.as_ref().unwrap_or(host);
            let target = Target {
                host: host.clone(),
                port: neighbor.port,
                tls: neighbor.tls.then(|| shown.clone()),
                tls_verify: neighbor.tls_verify,
                from: Some(self.settings.from(neighbor.tls)),
            };
            let zone = Zone::new(name, host.clone(), target, false, false);
            zone.of(&neighbor.name).ice(neighbor.ice).trunk(Trunk {
                hop_count: neighbor.hop_count,
                hop_count_in: neighbor.hop_count_in,
                trusted: neighbor.trusted,
                accepts: neighbor.accept_incoming,
                monitor: neighbor.monitor,
                encryption: neighbor.media_encryption,
            })
        };
        neighbor.peers.iter().enumerate().map(server).collect()
    }

    // ---- requests ----

    /// A request from inside that no phone of ours is meant by.
    pub(super) fn search_inside(
        &mut self,
        now: Now,
        key: ServerKey,
        flow: FlowId,
        message: Message,
    ) {
        let sender = self.sender(flow);
        let trunk = sender.and_then(|z| z.trunk.clone());
        let zone = sender.map_or(DEFAULT_ZONE, |z| z.of.as_str()).to_owned();
        let source = self.station.remote(flow).map(|a| a.ip().to_string());
        if trunk.as_ref().is_some_and(|t| !t.accepts) {
            let proof = [("zone", zone), ("source", source.unwrap_or_default())];
            let cause = "the zone may begin no requests (accept_incoming = false)";
            let (out, kind) = (&mut self.station.out, Kind::SearchRefused);
            self.board.stranger(out, kind, now, cause, &proof);
            return self.station.answer(now, key, &message, 403, "Forbidden");
        }
        let Some(alias) = alias_of(message.request_uri()) else {
            let (status, reason) = (416, "Unsupported URI Scheme");
            return self.station.answer(now, key, &message, status, reason);
        };
        let asker = Asker {
            zone: &zone,
            local: false,
            authenticated: trunk.as_ref().is_some_and(|t| t.trusted),
        };
        let mut hits = self.plan.search(&alias, &asker);
        if message.method() != Method::Invite {
            // Foreign domains are called, and nothing else.
            hits.retain(|hit| self.links.iter().all(|l| l.peer.name != hit.zone));
        }
        let mut hops = self.hops_abroad(&hits);
        if hops.is_empty() && trunk.is_some() && message.method() == Method::Invite {
            hops = self.referred_hops(now, &zone, &alias);
        }
        if hops.is_empty() {
            return self.not_found(now, key, &message, &alias, &asker, source);
        }
        let mut message = message;
        if zone == DEFAULT_ZONE {
            message = unprivileged(&message);
        }
        if let Some(hops) = trunk.and_then(|t| t.hop_count_in) {
            message = limited(&message, hops);
        }
        let from = match zone.as_str() {
            DEFAULT_ZONE => End::Flow(flow).text(),
            _ => End::zone(&zone).text(),
        };
        let forced = self.encryption(&zone) == Some(MediaEncryption::Force);
        let plain = || Offered::of(&message) == Offered::Plain;
        if forced && message.method() == Method::Invite && plain() {
            return self.not_encrypted(now, key, &message, &zone);
        }
        let purpose = Purpose::Trunk { message, from };
        self.route_by(now, key, hops, purpose);
    }

    /// No rule takes it. The rules that were tried are told, so that the missing one can be made.
    pub(super) fn not_found(
        &mut self,
        now: Now,
        key: ServerKey,
        message: &Message,
        alias: &str,
        asker: &Asker<'_>,
        source: Option<String>,
    ) {
        /// Rules named in the event.
        const NAMED_MAX: usize = 8;
        let tried = self.plan.explain(alias, asker).rules;
        let mut rules: Vec<String> = tried
            .iter()
            .take(NAMED_MAX)
            .map(|s| format!("{}: {}", s.name, s.why))
            .collect();
        if tried.len() > NAMED_MAX {
            rules.push(format!("and {} more", tried.len() - NAMED_MAX));
        }
        let proof = [
            ("destination", Pii::new(alias).to_string()),
            ("zone", asker.zone.to_owned()),
            ("source", source.unwrap_or_default()),
            ("rules", rules.join("; ")),
        ];
        let cause = match tried.len() {
            0 => "there is no search rule",
            _ => "no search rule takes the destination",
        };
        let (out, kind) = (&mut self.station.out, Kind::SearchRefused);
        self.board.stranger(out, kind, now, cause, &proof);
        self.station.answer(now, key, message, 404, "Not Found");
    }

    /// Sends a request on to one server of the zone found.
    #[allow(
        clippy::too_many_arguments,
        reason = "what was parked, and where it goes"
    )]
    pub(super) fn send_trunk(
        &mut self,
        now: Now,
        key: ServerKey,
        hop: Hop,
        rest: Vec<Hop>,
        flow: FlowId,
        message: Message,
        from: String,
    ) {
        let Some(zone) = self.zone(&hop.zone) else {
            return self.route_by(now, key, rest, Purpose::Trunk { message, from });
        };
        if let Some(media) = self.converts(key, zone, &message) {
            let trial = Trial {
                rest,
                message,
                from,
                answer: self.trials.remove(&key).and_then(|t| t.answer),
            };
            return self.call_between(now, key, (hop, flow), trial, media);
        }
        let (tls, of) = (zone.tls(), zone.of.clone());
        let searched = self.as_searched(&hop, message.clone(), false);
        let came_by_tls = self
            .station
            .transactions
            .server_flow(key)
            .is_some_and(|flow| self.is_tls(flow));
        let tag = message
            .from()
            .ok()
            .and_then(|from| Some(from.tag()?.to_vec()));
        let dialog = dialog_of(&message, &tag.unwrap_or_default());
        let ends = [from.as_str(), &End::zone(&of).text(), &dialog].join("\n");
        let token = self.trunk_key.seal_bytes(ends.as_bytes());
        let at = |tls: bool| {
            let user = [MARK, token.as_bytes()].concat();
            let user = String::from_utf8_lossy(&user).into_owned();
            format!("<{};lr>", self.settings.inside(tls).uri(&user))
        };
        let mut edit = searched.edit();
        edit.remove(Name::Route);
        // One for each side where they differ (RFC 5658 §3).
        if self.settings.inside(tls) != self.settings.inside(came_by_tls) {
            edit.push_front(Name::RecordRoute, at(came_by_tls));
        }
        edit.push_front(Name::RecordRoute, at(tls));
        let request = edit.finish();
        let trial = Trial {
            rest,
            message,
            from,
            answer: self.trials.remove(&key).and_then(|t| t.answer),
        };
        self.trials.insert(key, trial);
        let via = self.settings.inside_via(tls);
        self.station.send_on(now, key, flow, via, request, u8::MAX);
    }

    /// A response to a request: given back if it is to be sent. One that says "not here" sends the
    /// request to the next zone that rules named, if there is one.
    pub(super) fn next_trial(
        &mut self,
        now: Now,
        key: ServerKey,
        response: Message,
    ) -> Option<Message> {
        if response.status() < 200 || !is_elsewhere(response.status()) {
            if response.status() >= 200 {
                self.trials.remove(&key);
            }
            return Some(response);
        }
        let Some(mut trial) = self.trials.remove(&key) else {
            return Some(response);
        };
        let first = trial.answer.take().unwrap_or(response);
        if trial.rest.is_empty() {
            return Some(first);
        }
        let (rest, message, from) = (
            std::mem::take(&mut trial.rest),
            trial.message.clone(),
            trial.from.clone(),
        );
        trial.answer = Some(first);
        self.trials.insert(key, trial);
        self.route_by(now, key, rest, Purpose::Trunk { message, from });
        None
    }

    // ---- within dialogs ----

    /// The two ends that our first Route names, if it was recorded in the message's own dialog.
    fn trunk_route(&self, message: &Message) -> Option<(End, End)> {
        let route = message.routes().next()?.ok()?;
        let user = Uri::parse(route.uri).ok()?.user?;
        let content = self.trunk_key.open_bytes(user.strip_prefix(MARK)?)?;
        let text = String::from_utf8(content).ok()?;
        let mut parts = text.split('\n');
        let (from, to, dialog) = (parts.next()?, parts.next()?, parts.next()?);
        let tags = [message.from(), message.to()];
        let mut tags = tags.iter().filter_map(|a| a.as_ref().ok()?.tag());
        let ours = tags.any(|tag| dialog_of(message, tag) == dialog);
        ours.then_some(())?;
        Some((End::read(from)?, End::read(to)?))
    }

    /// The other end of a dialog between neighbours, as seen from a connection.
    fn other_end(&self, flow: FlowId, message: &Message) -> Option<End> {
        let (one, other) = self.trunk_route(message)?;
        match (self.is_end(&one, flow), self.is_end(&other, flow)) {
            (true, _) => Some(other),
            (false, true) => Some(one),
            (false, false) => None,
        }
    }

    /// Whether a connection is of an end.
    pub(super) fn is_end(&self, end: &End, flow: FlowId) -> bool {
        match end {
            End::Zone(_) => self.sender(flow).is_some_and(|zone| end.is_zone(&zone.of)),
            End::Flow(known) => *known == flow,
        }
    }

    /// A request without our own first Routes.
    fn unrouted(&self, message: &Message) -> Message {
        let mut message = message.clone();
        while self.trunk_route(&message).is_some() {
            let mut edit = message.edit();
            edit.remove_first_value(Name::Route);
            message = edit.finish();
        }
        message
    }

    /// A request in a dialog that no call of ours is.
    pub(super) fn trunk_dialog(
        &mut self,
        now: Now,
        key: ServerKey,
        flow: FlowId,
        message: Message,
    ) {
        let Some(end) = self.other_end(flow, &message) else {
            let (status, reason) = (481, "Call/Transaction Does Not Exist");
            return self.station.answer(now, key, &message, status, reason);
        };
        let forced = |zone: Option<&Zone>| {
            zone.is_some_and(|z| z.encryption() == call::b2bua::Encryption::Force)
        };
        let of_end = |z: &&Zone| end.is_zone(&z.of);
        let held = forced(self.sender(flow)) || forced(self.zones.iter().find(of_end));
        if held && Offered::of(&message) == Offered::Plain {
            let zone = self.sender(flow).map_or(DEFAULT_ZONE, |z| &z.of).to_owned();
            return self.not_encrypted(now, key, &message, &zone);
        }
        let request = self.unrouted(&message);
        match end {
            End::Zone(_) => {
                let zones = self.zones.iter().filter(|z| end.is_zone(&z.of));
                let mut zones: Vec<&Zone> = zones.collect();
                zones.sort_by_key(|z| z.standing().is_none());
                let names = zones.into_iter().map(|z| z.name.clone()).collect();
                self.route_out(now, key, names, Purpose::Other { message: request });
            }
            End::Flow(flow) => {
                let via = self.settings.inside_via(self.is_tls(flow));
                self.station.send_on(now, key, flow, via, request, u8::MAX);
            }
        }
    }

    /// An ACK for a 2xx between neighbours; gives whether it was one.
    pub(super) fn trunk_ack(&mut self, flow: FlowId, message: &Message) -> bool {
        let Some(end) = self.other_end(flow, message) else {
            return false;
        };
        let to = match end {
            End::Zone(_) => {
                let mut zones = self.zones.iter().filter(|z| end.is_zone(&z.of));
                zones.find_map(Zone::standing)
            }
            End::Flow(flow) => Some(flow),
        };
        if let Some(to) = to {
            let request = self.unrouted(message);
            let via = self.settings.inside_via(self.is_tls(to));
            self.station.ack_on(to, &via, &request);
        }
        true
    }

    // ---- whether they live ----

    /// Asks trunks that are due.
    pub(super) fn probes_timeout(&mut self, now: Now) {
        self.referred.expire(now.instant);
        for index in 0..self.zones.len() {
            let Some(zone) = self.zones.get_mut(index) else {
                continue;
            };
            if zone.probe.take_if(|at| *at <= now.instant).is_none() {
                continue;
            }
            zone.probe = Some(now.instant + PROBE);
            let (name, host, tls) = (zone.name.clone(), zone.host.clone(), zone.tls());
            let Some(flow) = zone.standing() else {
                continue;
            };
            let at = self.settings.inside(tls);
            let rng = &mut self.station.rng;
            let (tag, call_id) = (rng.hex(8), rng.hex(16));
            let host = if host.contains(':') {
                format!("[{host}]")
            } else {
                host
            };
            let uri = format!("sip:{host}");
            let options = RequestBuilder::new("OPTIONS", uri.as_bytes())
                .header(Name::From, format!("<sip:{}>;tag={tag}", at.host_port))
                .header(Name::To, format!("<{uri}>"))
                .header(Name::CallId, format!("{call_id}@{}", self.settings.fqdn))
                .header(Name::CSeq, "1 OPTIONS")
                .header(Name::MaxForwards, "70")
                .build();
            let via = self.settings.inside_via(tls);
            let transactions = &mut self.station.transactions;
            if let Ok(client) = transactions.request(now, flow, true, &options, &via) {
                self.probes.insert(client, name);
            }
        }
    }

    /// An OPTIONS of ours to a trunk was answered, or was not; gives whether it was one.
    pub(super) fn probe_answered(
        &mut self,
        now: Now,
        client: ClientKey,
        status: Option<u16>,
    ) -> bool {
        if status.is_some_and(|s| s < 200) {
            return self.probes.contains_key(&client);
        }
        let Some(name) = self.probes.remove(&client) else {
            return false;
        };
        // Any answer is a sign of life, but for those that say it cannot serve.
        let lives = status.is_some_and(|s| !matches!(s, 408 | 503));
        let Some(zone) = self.zones.iter_mut().find(|z| z.name == name) else {
            return true;
        };
        if lives {
            zone.deaf = None;
        } else if zone.deaf.replace(now.instant).is_none() {
            let server = format!("{}:{}", zone.target.host, zone.target.port);
            let proof = [("zone", name), ("server", server)];
            let cause = "it does not answer OPTIONS";
            let (out, kind) = (&mut self.station.out, Kind::CallControlDown);
            self.board.event(out, kind, now, cause, &proof);
        }
        true
    }

    /// What media towards a zone must be, if it is a trunk.
    fn encryption(&self, of: &str) -> Option<MediaEncryption> {
        let zone = self.zones.iter().find(|z| z.of == of)?;
        Some(zone.trunk.as_ref()?.encryption)
    }

    /// A zone wants encrypted media, and this call cannot give it.
    fn not_encrypted(&mut self, now: Now, key: ServerKey, message: &Message, zone: &str) {
        let proof = [("zone", zone.to_owned())];
        let cause = "the zone wants encrypted media (media_encryption = \"force\"), and the call \
                     has none";
        let (out, kind) = (&mut self.station.out, Kind::NoCrypto);
        self.board.stranger(out, kind, now, cause, &proof);
        self.station
            .answer(now, key, message, 488, "Not Acceptable Here");
    }

    /// How many servers a request may pass from an edge on.
    pub(super) fn link_hops(&self, peer: usize) -> u8 {
        self.links.get(peer).map_or(u8::MAX, |l| l.peer.hop_count)
    }
}
