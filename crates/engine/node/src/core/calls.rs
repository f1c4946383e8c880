//! Calls: INVITEs given to the B2BUA, and what it tells.

use std::fmt::Write;
use std::time::Duration;

use base::{Now, Pii};
use call::b2bua::body::description;
use call::b2bua::{
    B2bua, CallId, Caller, Cause, Context, Encryption, Event, Face, Ice, Output as Told,
    Side as Leg, Target,
};
use call::limits::{CallType, Content, Place};
use call::registration::core::{Draft, Place as At, RegistrationId};
use media::LinkId;
use sip::transaction::ServerKey;
use sip::{FlowId, Message};
use status::Kind;

use super::Core;
use super::between::Between;
use super::status::{ended, failed, media_kind};
use super::taking::Who;
use super::trunks::End;
use super::zones::Zone;
use crate::io::Output;
use crate::station::limited;

/// How long a call is silent before its ends are asked, and how often.
const PROBE: Duration = Duration::from_secs(60);

/// An INVITE on its way into the B2BUA: what its row in the list of calls will say.
pub(super) struct Starting {
    id: String,
    from: String,
    to: String,
    /// The client that is called.
    called: Option<RegistrationId>,
    kind: CallType,
    /// What its offer has; `None` without one.
    offered: Option<Content>,
    /// The client that has the call, whoever began it.
    owner: Option<Owner>,
    /// Whom it is between, if both are inside.
    between: Option<Between>,
    /// The neighbour that it is with.
    neighbour: Option<End>,
}

/// The client a call is of, if it is one's: its registration, and whether it is called.
pub(super) struct Party {
    row: Option<RegistrationId>,
    called: bool,
    kind: CallType,
    between: Option<Between>,
    neighbour: Option<End>,
}

impl Party {
    /// No client of ours: a foreign domain's.
    pub(super) fn nobody() -> Self {
        Party {
            row: None,
            called: false,
            kind: CallType::between(Place::Neighbour, Place::Outside),
            between: None,
            neighbour: None,
        }
    }

    /// With a neighbour.
    pub(super) fn with(mut self, neighbour: Option<End>) -> Self {
        self.neighbour = neighbour;
        self
    }

    /// Two parties inside.
    pub(super) fn neighbours(other: Place, between: Between) -> Self {
        Party {
            kind: CallType::between(Place::Neighbour, other),
            between: Some(between),
            ..Party::nobody()
        }
    }
}

/// The client that a call belongs to.
pub(super) struct Owner {
    pub(super) user: String,
    pub(super) directory: Box<str>,
    aor: String,
    pub(super) row: RegistrationId,
    /// The edge that it is behind.
    peer: usize,
    /// That one's name for its connection.
    token: Vec<u8>,
}

impl Owner {
    /// Who has it.
    pub(super) fn who(&self) -> Who {
        Who {
            user: self.user.clone(),
            directory: self.directory.clone(),
            aor: self.aor.clone(),
            flow: (self.peer, self.token.clone()),
        }
    }

    /// Whether an address of record is the call's own.
    pub(super) fn has(&self, aor: &str) -> bool {
        self.aor == aor
    }

    /// Whether a registration is of the same user, or line.
    pub(super) fn is(&self, draft: &Draft) -> bool {
        let same_user = draft.user == self.user && draft.directory == self.directory;
        draft.aor == self.aor || !self.user.is_empty() && same_user
    }
}

/// Whose call it is, and the connections it goes by.
#[derive(Clone, Copy)]
pub(super) struct Way {
    /// The client's registration.
    pub(super) row: RegistrationId,
    /// To or from its edge.
    pub(super) lane: FlowId,
    /// To or from call control.
    pub(super) flow: FlowId,
}

impl Core {
    /// The B2BUA with what it is lent.
    pub(super) fn calls(&mut self, now: Now) -> (&mut B2bua, Context<'_>) {
        let context = Context {
            now,
            transactions: &mut self.station.transactions,
            ports: &mut self.ports,
        };
        (&mut self.b2bua, context)
    }

    /// How we appear to an edge.
    fn edge_face(&self, lane: FlowId, row: RegistrationId) -> Face {
        let token = self.registrar.token(row);
        Face {
            flow: lane,
            reliable: true,
            via: self.settings.edge_via(),
            contact: format!("sip:{token}@{};transport=tls", self.settings.fqdn).into_bytes(),
            encryption: Encryption::Force,
            ice: Ice::default(),
        }
    }

    /// How we appear to call control.
    fn inside_face(&self, flow: FlowId, tls: bool, row: RegistrationId, zone: &str) -> Face {
        let at = self.settings.inside(tls);
        Face {
            flow,
            reliable: true,
            via: self.settings.inside_via(tls),
            contact: self.registrar.inside_contact(row, &at),
            encryption: self.zone(zone).map(Zone::encryption).unwrap_or_default(),
            ice: self.zone(zone).map(|z| z.ice).unwrap_or_default(),
        }
    }

    /// A client calls.
    pub(super) fn call_inside(
        &mut self,
        now: Now,
        key: ServerKey,
        way: Way,
        zone: &str,
        message: Message,
        between: Option<Between>,
    ) {
        let Way { row, lane, flow } = way;
        let Some(binding) = self.registrar.get(row) else {
            let (status, reason) = (480, "Temporarily Unavailable");
            return self.station.answer(now, key, &message, status, reason);
        };
        let Some(link) = self.links.get(binding.draft.place.peer) else {
            return;
        };
        let tls = self.zone(zone).is_some_and(|z| z.tls());
        let caller = Caller {
            side: Leg::Edge { link: link.id },
            face: self.edge_face(lane, row),
        };
        let target = Target {
            side: Leg::Inside,
            face: self.inside_face(flow, tls, row, zone),
            request_uri: message.request_uri().to_vec(),
            routes: Vec::new(),
        };
        let trunk = self.zone(zone).is_some_and(|z| z.trunk.is_some());
        let to = if trunk {
            Place::Neighbour
        } else {
            Place::CallControl
        };
        let party = Party {
            row: Some(row),
            called: false,
            kind: CallType::between(Place::RemoteClient, to),
            between,
            neighbour: self.neighbour(zone),
        };
        self.begin(now, key, message, (caller, target), party);
    }

    /// A client is called.
    pub(super) fn call_outside(
        &mut self,
        now: Now,
        key: ServerKey,
        way: Way,
        by_route: bool,
        message: Message,
    ) {
        let Way { row, lane, flow } = way;
        let Some(binding) = self.registrar.get(row) else {
            return;
        };
        // The B2BUA takes one off.
        let hops = self.link_hops(binding.draft.place.peer).saturating_add(1);
        let message = limited(&message, hops);
        let Some(link) = self.links.get(binding.draft.place.peer) else {
            return;
        };
        let draft = &binding.draft;
        let request_uri = if by_route {
            message.request_uri().to_vec()
        } else {
            draft.contact.clone()
        };
        let target = Target {
            side: Leg::Edge { link: link.id },
            face: self.edge_face(lane, row),
            request_uri,
            routes: vec![draft.place.path.clone()],
        };
        let zone = draft.zone.to_string();
        let face = self.inside_face(flow, self.is_tls(flow), row, &zone);
        let caller = Caller {
            side: Leg::Inside,
            face,
        };
        // Should the connection go that call control made, the call goes on over ours.
        if self
            .station
            .flows
            .get(flow)
            .is_some_and(|f| f.target().is_none())
        {
            self.inbound.insert(flow, zone);
        }
        let party = Party {
            row: Some(row),
            called: true,
            kind: CallType::between(Place::CallControl, Place::RemoteClient),
            between: None,
            neighbour: self.mere_neighbour(flow).map(|z| End::zone(&z.of)),
        };
        self.begin(now, key, message, (caller, target), party);
    }

    /// A foreign domain calls: no client of ours, who has neither registration nor identity.
    pub(super) fn call_business(
        &mut self,
        now: Now,
        key: ServerKey,
        (link, lane): (LinkId, FlowId),
        (zone, flow): (&str, FlowId),
        message: Message,
        between: Option<Between>,
    ) {
        let tls = self.zone(zone).is_some_and(|z| z.tls());
        let caller = Caller {
            side: Leg::Edge { link },
            face: self.stranger_outside(lane),
        };
        let target = Target {
            side: Leg::Inside,
            face: self.stranger_inside(flow, tls, zone),
            request_uri: message.request_uri().to_vec(),
            routes: Vec::new(),
        };
        let party = Party {
            between,
            neighbour: self.neighbour(zone),
            ..Party::nobody()
        };
        self.begin(now, key, message, (caller, target), party);
    }

    /// The neighbour that a zone is, if it is one.
    fn neighbour(&self, zone: &str) -> Option<End> {
        let zone = self.zone(zone).filter(|z| z.trunk.is_some())?;
        Some(End::zone(&zone.of))
    }

    pub(super) fn begin(
        &mut self,
        now: Now,
        key: ServerKey,
        message: Message,
        (caller, target): (Caller, Target),
        party: Party,
    ) {
        if let Err(limit) = self.ledger.admit(party.kind) {
            return self.no_room(now, key, &message, party.kind, limit);
        }
        if !self.has_share(party.row, &message) {
            return self.no_share(now, key, &message);
        }
        let binding = party
            .row
            .and_then(|row| Some((row, self.registrar.get(row)?)));
        let owner = binding.map(|(row, b)| Owner {
            user: b.draft.user.clone(),
            directory: b.draft.directory.clone(),
            aor: b.draft.aor.clone(),
            row,
            peer: b.draft.place.peer,
            token: b.draft.place.token.clone(),
        });
        let text =
            |uri: Option<&[u8]>| String::from_utf8_lossy(uri.unwrap_or_default()).into_owned();
        self.starting = Some(Starting {
            id: text(Some(message.call_id())),
            from: text(message.from().ok().map(|a| a.uri)),
            to: text(message.to().ok().map(|a| a.uri)),
            called: party.row.filter(|_| party.called),
            owner,
            kind: party.kind,
            offered: offered(&message),
            between: party.between,
            neighbour: party.neighbour,
        });
        let (b2bua, mut cx) = self.calls(now);
        b2bua.invite(&mut cx, key, message, caller, target);
        self.calls_work(now);
        self.starting = None;
    }

    /// A call has agreed on media: what it counts as may have changed.
    fn media_agreed(&mut self, now: Now, call: CallId) {
        let Some(lines) = self.b2bua.lines(call) else {
            return;
        };
        let news = self.ledger.agreed(&call, lines);
        if let (Some(row), Some((_, content))) = (self.board.call(call), self.ledger.get(&call)) {
            row.content = content.name().to_owned();
        }
        self.limit_news(now, news);
    }

    /// A registration is at a place: the calls of its client go on there.
    pub(super) fn calls_follow(&mut self, now: Now, row: RegistrationId) {
        let Some(place) = self.registrar.get(row).map(|b| b.draft.place.clone()) else {
            return;
        };
        let moved = |owner: &Owner| {
            owner.row == row && (owner.peer != place.peer || owner.token != place.token)
        };
        let calls = self.owners.iter().filter(|(_, o)| moved(o));
        let calls: Vec<(CallId, usize)> = calls.map(|(call, o)| (*call, o.peer)).collect();
        for (call, before) in calls {
            if before != place.peer {
                self.call_follows(now, call, &place);
                continue;
            }
            // Its token of before leads to the new connection.
            if let Some(owner) = self.owners.get_mut(&call) {
                owner.token.clone_from(&place.token);
            }
            let (b2bua, mut cx) = self.calls(now);
            b2bua.client_back(&mut cx, call);
        }
    }

    /// A call's client is at a place; gives its side if that can be reached.
    pub(super) fn call_follows(&mut self, now: Now, call: CallId, place: &At) -> Option<Leg> {
        let link = self.links.get_mut(place.peer)?;
        let (side, lane) = (Leg::Edge { link: link.id }, link.lane(&place.token)?);
        let owner = self.owners.get_mut(&call)?;
        (owner.peer, owner.token) = (place.peer, place.token.clone());
        let (b2bua, mut cx) = self.calls(now);
        b2bua.client_moved(&mut cx, call, side, lane, &place.path);
        Some(side)
    }

    pub(super) fn end_calls_over(&mut self, now: Now, link: LinkId) {
        let (b2bua, mut cx) = self.calls(now);
        b2bua.link_down(&mut cx, link);
    }

    /// Carries out what the B2BUA wants, and keeps account of it; gives whether there was any.
    pub(super) fn calls_work(&mut self, now: Now) -> bool {
        let mut worked = false;
        while let Some(told) = self.b2bua.poll_output() {
            worked = true;
            match told {
                Told::Media(command) => self.station.out.push_back(Output::Media(command)),
                Told::Record(record) => self.board.record(&record),
                Told::Event { call, event } => self.call_event(now, call, event),
            }
        }
        worked
    }

    /// A call is silent: now and then its ends are asked whether they still know it. Gives whether
    /// it is news.
    fn silent(&mut self, now: Now, call: CallId) -> bool {
        if self.board.call(call).is_none() {
            return false; // over: the media workers' report crossed its end
        }
        let since = self
            .silences
            .get(&call)
            .map(|asked| now.instant.since(*asked));
        if since.is_some_and(|since| since < PROBE) {
            return false;
        }
        self.silences.insert(call, now.instant);
        // One of long ago was another silence.
        let news = since.is_none_or(|since| since >= PROBE * 3);
        if !news {
            let (b2bua, mut cx) = self.calls(now);
            b2bua.probe(&mut cx, call);
        }
        news
    }

    /// Calls on hold are silent too, and of a silence that lasts the media workers tell once.
    pub(super) fn held_calls(&mut self, now: Now) {
        let silent = self.silences.keys().copied();
        let calls: Vec<CallId> = self.b2bua.held().into_iter().chain(silent).collect();
        for call in calls {
            self.silent(now, call);
        }
    }

    /// Nothing is kept of a call any more; gives where the client was that it was for.
    pub(super) fn call_over(&mut self, now: Now, call: CallId) -> Option<At> {
        self.board.over(call);
        let news = self.ledger.ended(&call);
        self.limit_news(now, news);
        self.silences.remove(&call);
        self.disown(call);
        self.betweens.remove(&call);
        self.neighbours.remove(&call);
        self.grants.over(call);
        self.called.remove(&call)
    }

    pub(super) fn call_event(&mut self, now: Now, call: Option<CallId>, event: Event) {
        if matches!(event, Event::Ringing) {
            return;
        }
        let row = call.and_then(|id| self.board.call(id));
        let told = !matches!(event, Event::Answered | Event::MediaChanged);
        let starting = self.starting.as_ref();
        let named = row
            .as_ref()
            .map(|r| (r.from.expose(), r.to.expose(), &r.id));
        let named = named.or_else(|| starting.map(|s| (&s.from, &s.to, &s.id)));
        let mark = |person: &String| {
            let mut text = String::with_capacity(16);
            // Writing to a string does not fail.
            let _ = write!(text, "{}", Pii::new(person));
            text
        };
        let mut proof = named
            .filter(|_| told)
            .map_or_else(Vec::new, |(from, to, id)| {
                vec![("from", mark(from)), ("to", mark(to)), ("call", mark(id))]
            });
        let (kind, cause) = match event {
            Event::Started => {
                let Some((call, s)) = call.zip(self.starting.take()) else {
                    return;
                };
                if let Some(owner) = s.owner {
                    self.own(call, owner);
                }
                if let Some(between) = s.between {
                    self.betweens.insert(call, between);
                }
                if let Some(neighbour) = s.neighbour {
                    self.neighbours.insert(call, neighbour);
                }
                if let Some(b) = s.called.and_then(|row| self.registrar.get(row)) {
                    self.called.insert(call, b.draft.place.clone());
                }
                let what = (s.kind, s.offered);
                self.board.began(now, call, what, (s.id, s.from, s.to));
                let news = self.ledger.began(call, s.kind);
                self.limit_news(now, news);
                if self.again {
                    return;
                }
                (Kind::CallBegan, String::new())
            }
            Event::Answered | Event::MediaChanged => {
                if let (Some(row), Event::Answered) = (row, event) {
                    row.answered = Some(now.unix);
                }
                let Some(call) = call else { return };
                self.media_agreed(now, call);
                let over = |b: &Between| b.ends_with_the_answer();
                if self.betweens.get(&call).is_some_and(over) {
                    self.betweens.remove(&call);
                }
                return;
            }
            Event::Ringing => return,
            Event::Refused { status, cause } => {
                let why = ended(call::b2bua::EndedBy::Us, &cause);
                (failed(&cause), format!("answered {status}: {why}"))
            }
            Event::MediaRefused(error) => (media_kind(error), error.to_string()),
            Event::LittleRate { kbps } => {
                proof.push(("kbps", kbps.to_string()));
                let cause = "call control allows the call's video less than the client asked for";
                (Kind::LittleRate, cause.into())
            }
            Event::BindFailed => (Kind::PortTaken, "a media port could not be opened".into()),
            Event::NoMedia => {
                let Some(call) = call else { return };
                if !self.silent(now, call) {
                    return;
                }
                (Kind::NoMedia, "a party sends nothing".into())
            }
            Event::Ended { by, cause } => {
                let answered = row.is_some_and(|r| r.answered.is_some());
                if let Some(call) = call {
                    let called = self.call_over(now, call);
                    if let Some(place) = called.filter(|_| cause == Cause::Status(430)) {
                        self.flow_failed(now, &place);
                    }
                }
                let kind = if answered {
                    Kind::CallEnded
                } else {
                    failed(&cause)
                };
                (kind, ended(by, &cause))
            }
        };
        let out = &mut self.station.out;
        match kind {
            Kind::CallBegan | Kind::CallEnded => {
                self.board.event(out, kind, now, &cause, &proof);
            }
            _ => self.board.stranger(out, kind, now, &cause, &proof),
        }
    }
}

/// What a request offers, by its m-lines that are not refused; `None` if it offers nothing.
fn offered(message: &Message) -> Option<Content> {
    offered_lines(message).map(Content::of)
}

/// How many m-lines a request offers that are not refused; `None` if it offers nothing.
pub(super) fn offered_lines(message: &Message) -> Option<usize> {
    let text = message.body().get(description(message)?)?;
    let session = sdp::Session::parse(text).ok()?;
    Some(
        (0..session.media_count())
            .filter(|i| session.port(*i) > 0)
            .count(),
    )
}
