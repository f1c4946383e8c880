//! What the core tells of itself: events, counters, calls and their history, sessions.

use std::collections::VecDeque;
use std::net::IpAddr;

use base::{Instant, Map, Now, Pii, TokenBucket};
use call::b2bua::{CallId, Cause, EndedBy, MediaError, MediaFigures, Record};
use call::limits::{CallType, Content};
use call::registration::core::Binding;
use policy::signed_out::Lot;
use status::{
    CallRow, CapacityRow, ClockRow, Counters, Event, Kind, LinkRow, MediaRow, Recent,
    RegistrationRow, Role, SessionRow, Snapshot,
};

use super::Core;
use super::links::Link;
use crate::host_clock::HostClock;
use crate::io::{Lane, Output, Report};
use crate::quiet::Quiet;
use crate::strikes::whole;

/// Calls that ended and are remembered (F314).
const HISTORY_MAX: usize = 500;

/// Sign-ins remembered, the latest first.
const SESSIONS_MAX: usize = 2_000;

/// The account that the core keeps.
pub(super) struct Board {
    pub(super) counters: Counters,
    calls: Map<CallId, CallRow>,
    /// What calls offered that are not set up yet.
    offered: Map<CallId, Option<Content>>,
    /// Calls that are over and whose figures are still to come.
    ended: Map<CallId, CallRow>,
    history: VecDeque<CallRow>,
    sessions: VecDeque<SessionRow>,
    recent: Recent,
    /// Events that a stranger, or a careless client, can cause.
    strangers: TokenBucket,
    /// Of those, what can be repeated at will: gathered by source and minute.
    quiet: Quiet,
    host_clock: HostClock,
}

impl Board {
    pub(super) fn new() -> Self {
        Board {
            counters: Counters::default(),
            calls: Map::new(),
            offered: Map::new(),
            ended: Map::new(),
            history: VecDeque::new(),
            sessions: VecDeque::new(),
            recent: Recent::default(),
            strangers: TokenBucket::new(5, 50),
            quiet: Quiet::new(),
            host_clock: HostClock::default(),
        }
    }

    /// What steers this machine's clock.
    pub(super) fn clock(&mut self, out: &mut VecDeque<Output>, now: Now, row: ClockRow) {
        if let Some(event) = self.host_clock.read(now, row) {
            self.recent.note(&event);
            out.push_back(Output::Event(event));
        }
    }

    /// Tells of something that happened.
    pub(super) fn event(
        &mut self,
        out: &mut VecDeque<Output>,
        kind: Kind,
        now: Now,
        cause: &str,
        proof: &[(&'static str, String)],
    ) {
        let mut event = Event::new(kind, now.unix, cause);
        event.proof.extend_from_slice(proof);
        self.recent.note(&event);
        out.push_back(Output::Event(event));
    }

    /// As [`Board::event`], for what a source can repeat at will: what follows within a minute is
    /// gathered in one event.
    pub(super) fn caused(
        &mut self,
        out: &mut VecDeque<Output>,
        kind: Kind,
        now: Now,
        source: Option<IpAddr>,
        cause: &str,
        proof: &[(&'static str, String)],
    ) {
        let Some(mut event) = self.quiet.tell(now, kind, source.map(whole), cause) else {
            return;
        };
        for (name, value) in proof {
            event = event.with(name, value);
        }
        out.push_back(Output::Event(event));
    }

    /// As [`Board::caused`], for what somebody has to look at.
    pub(super) fn warned(
        &mut self,
        out: &mut VecDeque<Output>,
        kind: Kind,
        now: Now,
        source: Option<IpAddr>,
        cause: &str,
        proof: &[(&'static str, String)],
    ) {
        let told = out.len();
        self.caused(out, kind, now, source, cause, proof);
        if let Some(Output::Event(event)) = out.back().filter(|_| out.len() > told) {
            self.recent.note(event);
        }
    }

    /// Tells what was gathered.
    pub(super) fn handle_timeout(&mut self, out: &mut VecDeque<Output>, now: Now) {
        let gathered = self.quiet.handle_timeout(now);
        out.extend(gathered.into_iter().map(Output::Event));
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.quiet.poll_timeout()
    }

    /// As [`Board::event`], for what others can cause at will: bounded in time.
    pub(super) fn stranger(
        &mut self,
        out: &mut VecDeque<Output>,
        kind: Kind,
        now: Now,
        cause: &str,
        proof: &[(&'static str, String)],
    ) {
        if self.strangers.take(now.instant).is_ok() {
            self.event(out, kind, now, cause, proof);
        }
    }

    /// As [`Board::stranger`], for an event that has an address.
    pub(super) fn placed(&mut self, out: &mut VecDeque<Output>, now: Now, event: Event) {
        if self.strangers.take(now.instant).is_ok() {
            self.recent.note(&event);
            out.push_back(Output::Event(event));
        }
    }

    /// A call began: what it is and offers, with its Call-ID, From and To.
    pub(super) fn began(
        &mut self,
        now: Now,
        call: CallId,
        (kind, offered): (CallType, Option<Content>),
        (id, from, to): (String, String, String),
    ) {
        let row = CallRow {
            id,
            from: Pii::new(from),
            to: Pii::new(to),
            kind: kind.name().into(),
            content: Content::default().name().into(),
            components: components(),
            began: now.unix,
            ..CallRow::default()
        };
        self.calls.insert(call, row);
        self.offered.insert(call, offered);
    }

    pub(super) fn call(&mut self, call: CallId) -> Option<&mut CallRow> {
        self.calls.get_mut(&call)
    }

    pub(super) fn over(&mut self, call: CallId) {
        let offered = self.offered.remove(&call).flatten();
        if let Some(mut row) = self.calls.remove(&call) {
            // It was never set up, so it counts as nothing now.
            if row.answered.is_none() {
                row.content = offered.map_or("", Content::name).to_owned();
            }
            self.ended.insert(call, row);
        }
    }

    pub(super) fn record(&mut self, record: &Record) {
        let row = self.ended.remove(&record.call).unwrap_or_default();
        self.history.truncate(HISTORY_MAX - 1);
        self.history.push_front(CallRow {
            began: record.start,
            answered: record.answer,
            ended: Some(record.end),
            cause: ended(record.by, &record.cause),
            media: record.media.iter().map(media_row).collect(),
            ..row
        });
    }

    /// The users of a domain who have sessions, or had.
    pub(super) fn users_of(&self, domain: &str) -> impl Iterator<Item = &str> {
        let here = self.sessions.iter().filter(move |s| s.domain == domain);
        here.map(|s| s.user.expose().as_str())
    }

    /// The sessions of users end; how many.
    pub(super) fn signed_out(&mut self, now: Now, lot: &Lot<'_>) -> usize {
        let mut ended = 0;
        for session in &mut self.sessions {
            let open = session.ended.is_none() && session.expires > now.unix;
            let out = lot.of(session.user.expose(), &session.domain);
            if open && out.is_some_and(|out| session.since <= out.at) {
                session.ended = Some(now.unix);
                ended += 1;
            }
        }
        ended
    }

    pub(super) fn signed_in(&mut self, session: SessionRow) {
        let key = |s: &SessionRow| (s.user.clone(), s.domain.clone(), s.user_agent.clone());
        self.sessions.retain(|s| key(s) != key(&session));
        self.sessions.truncate(SESSIONS_MAX - 1);
        self.sessions.push_front(session);
    }
}

/// An MRA call has three on a core, because of the B2BUA (F263).
fn components() -> Vec<String> {
    vec![
        "proxy (edge)".into(),
        "B2BUA".into(),
        "proxy (inside)".into(),
    ]
}

/// Why a call ended, in words.
pub(super) fn ended(by: EndedBy, cause: &Cause) -> String {
    let who = match by {
        EndedBy::Caller => "the caller",
        EndedBy::Callee => "the called party",
        EndedBy::Us => "the core",
    };
    let why = match cause {
        Cause::Hangup => return format!("{who} hung up"),
        Cause::Cancelled => return "the caller cancelled".to_owned(),
        Cause::Status(status) => format!("answered {status}"),
        Cause::Timeout => "no answer came".to_owned(),
        Cause::FlowDown => "the connection to one end is gone".to_owned(),
        Cause::ClientLost => "the client was lost and did not come back".to_owned(),
        Cause::LinkDown => "the link to the edge is gone".to_owned(),
        Cause::NoAck => "the answer was never acknowledged".to_owned(),
        Cause::BadAnswer => "the answer was malformed".to_owned(),
        Cause::SessionExpired => "the session was not refreshed".to_owned(),
        Cause::Media(error) => error.to_string(),
    };
    format!("{who}: {why}")
}

fn media_row(figures: &MediaFigures) -> MediaRow {
    let c = &figures.counters;
    MediaRow {
        kind: figures.kind.clone(),
        from_client: c.from_client.packets,
        to_client: c.to_client.packets,
        lost: c.from_client.lost,
        jitter_us: c.from_client.jitter_us,
        forged: c.forged,
        strangers: c.strangers,
    }
}

/// Which event the end of a call is that was never set up: that people are busy, away, unknown or
/// impatient is no fault.
pub(super) fn failed(cause: &Cause) -> Kind {
    match cause {
        Cause::Hangup | Cause::Cancelled => Kind::CallUnanswered,
        Cause::Status(404 | 410 | 430 | 480 | 484 | 486 | 487 | 600 | 603 | 604) => {
            Kind::CallUnanswered
        }
        _ => Kind::CallFailed,
    }
}

/// Which event a refused description is.
pub(super) fn media_kind(error: MediaError) -> Kind {
    match error {
        MediaError::NoPorts => Kind::PortsExhausted,
        MediaError::NotEncrypted | MediaError::NoSuite => Kind::NoCrypto,
        _ => Kind::CallFailed,
    }
}

impl Core {
    pub(super) fn lane_report(
        &mut self,
        now: Now,
        index: usize,
        lane: Lane,
        connections: usize,
        why: Option<String>,
    ) {
        let Some(link) = self.links.get_mut(index) else {
            return;
        };
        let (slot, word) = match lane {
            Lane::Http => (&mut link.http, "http"),
            Lane::Xmpp => (&mut link.xmpp, "xmpp"),
        };
        let before = std::mem::replace(slot, connections);
        let up = link.is_up();
        let proof = [
            ("edge", link.peer.verify_name.clone()),
            ("lane", word.to_owned()),
            ("connections", connections.to_string()),
        ];
        let out = &mut self.station.out;
        if before == 0 && connections > 0 {
            self.board.event(out, Kind::Lane, now, "up", &proof);
        } else if before > 0 && connections == 0 && up {
            self.board
                .event(out, Kind::LaneDown, now, &why.unwrap_or_default(), &proof);
        }
    }

    pub(super) fn report(&mut self, now: Now, report: Report) {
        let (board, out) = (&mut self.board, &mut self.station.out);
        match report {
            Report::HttpRefused {
                client,
                status,
                cause,
                trace,
            } => {
                board.counters.http_refused += 1;
                let proof = [("status", status.to_string()), ("trace", trace)];
                board.caused(out, Kind::HttpRefused, now, Some(client), &cause, &proof);
            }
            Report::InsideUnreachable { server, why } => {
                board.stranger(out, Kind::HttpUnreachable, now, &why, &[("server", server)]);
            }
            Report::CredentialsLost { cause } => {
                self.board
                    .event(out, Kind::CredentialsLost, now, &cause, &[]);
            }
            Report::UsersFile { domain, cause } => {
                let proof = [("domain", domain)];
                board.event(out, Kind::UsersFile, now, &cause, &proof);
            }
            Report::XmppUp { jid, client, .. } => {
                board.counters.xmpp_sessions += 1;
                let proof = [
                    ("jid", jid.to_string()),
                    ("client", Pii::new(client).to_string()),
                ];
                board.event(out, Kind::XmppUp, now, "", &proof);
            }
            Report::XmppRefused {
                user,
                client,
                condition,
            } => {
                let cause = format!("it answers the resource bind with {condition}");
                let proof = [("user", user.to_string()), ("condition", condition)];
                board.warned(out, Kind::XmppRefused, now, Some(client), &cause, &proof);
            }
            Report::XmppDown { why, .. } => {
                let open = &mut board.counters.xmpp_sessions;
                *open = open.saturating_sub(1);
                board.event(out, Kind::XmppDown, now, &why, &[]);
            }
            Report::Certificate(news) => {
                board.event(out, news.kind, now, &news.cause, &news.proof);
                if let Some(names) = news.names {
                    self.settings.certificate_names = names;
                }
            }
            Report::LinkRefused { source, cause } => {
                let event = Event::new(Kind::LinkRefused, now.unix, cause);
                board.placed(out, now, event.with_address("source", source.ip()));
            }
            Report::ClientCertificate { source, cause } => {
                let kind = Kind::ClientCertificateRefused;
                board.warned(out, kind, now, Some(source), &cause, &[]);
            }
            // An edge's to see.
            Report::Flooded { .. } => {}
            Report::Violation {
                protocol,
                source,
                cause,
            } => {
                board.counters.violations += 1;
                let proof = [("protocol", protocol.to_owned())];
                board.caused(out, Kind::Violation, now, Some(source.ip()), &cause, &proof);
            }
        }
    }

    /// What the core looks like.
    pub(super) fn look(&self, now: Now) -> Snapshot {
        let mut counters = self.board.counters.clone();
        counters.sip_connections = self.station.flows.len() as u64;
        let transactions = self.station.transactions.counts();
        counters.sip_transactions = (transactions.clients + transactions.servers) as u64;
        // Pairs of calls; those of the links stay open.
        let of_links = self.links.iter().filter(|l| l.has_ports()).count();
        counters.media_ports_in_use = self.ports.in_use().saturating_sub(of_links) as u64;
        let registrations = self.registrar.iter().map(|(_, b)| self.registered(now, b));
        let mut registrations: Vec<RegistrationRow> = registrations.collect();
        registrations.sort_by(RegistrationRow::order);
        Snapshot {
            at: now.unix,
            node: self.settings.fqdn.clone(),
            role: Role::Core,
            version: self.settings.version.clone(),
            links: self.links.iter().map(link_row).collect(),
            registrations_total: registrations.len(),
            registrations,
            calls: self.board.calls.values().cloned().collect(),
            history_total: self.board.history.len(),
            totals: ::status::Totals::default(),
            history: self.board.history.iter().cloned().collect(),
            sessions: self.board.sessions.iter().cloned().collect(),
            zones: {
                let rows = self.zone_rows().into_iter();
                rows.map(|(name, told)| ::status::ZoneRow::of(name, &told))
                    .collect()
            },
            servers: self.servers_in_brief(),
            events: self.board.recent.rows(),
            capacity: Some(self.capacity()),
            clock: self.board.host_clock.row(),
            counters,
        }
    }

    fn capacity(&self) -> CapacityRow {
        let (limits, used) = (self.ledger.limits(), self.ledger.figures());
        CapacityRow {
            remote_sessions: used.remote_sessions as u64,
            rich_media_sessions: used.rich_media as u64,
            calls_peak: used.calls_peak as u64,
            calls_max: limits.calls_max as u64,
            licences: used.licences as u64,
            licences_peak: used.licences_peak as u64,
            licences_max: limits.licences.map(|n| n as u64),
            registrations_max: self.settings.limits.registrations_max.map(|n| n as u64),
        }
    }

    fn registered(&self, now: Now, binding: &Binding) -> RegistrationRow {
        let draft = &binding.draft;
        let edge = self
            .links
            .get(draft.place.peer)
            .map(|l| l.peer.verify_name.clone());
        RegistrationRow {
            user: Pii::new(draft.user.clone()),
            aor: Pii::new(draft.uri()),
            device: draft.device.clone(),
            instance: String::from_utf8_lossy(&draft.instance).into_owned(),
            from: Pii::new(edge.unwrap_or_default()),
            expires_s: binding.until.since(now.instant).as_secs(),
            zone: draft.zone.to_string(),
            flow: sip::token::label(&draft.place.token),
            since: binding.since.unix,
            lines: draft
                .lines
                .iter()
                .map(|l| Pii::new(l.to_string()))
                .collect(),
        }
    }
}

fn link_row(link: &Link) -> LinkRow {
    LinkRow {
        peer: link.peer.verify_name.clone(),
        zone: link.peer.name.clone(),
        up: link.is_up(),
        since: link.since.map(|s| s.unix),
        why: link.why.clone(),
        sip_lanes: link.ready_lanes(),
        http_lanes: link.http,
        xmpp_lanes: link.xmpp,
        media_up: link.media_up,
        round_trip_us: link.round_trip.map(|d| d.as_micros() as u64),
        skew_ms: link.skew_ms,
    }
}
