//! What the edge tells of what happens: events, counters and the history of calls.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use base::{HashSet, Instant, Now, Pii, UnixTime};
use call::limits::{CallType, Content, Place};
use call::registration::edge::Binding;
use media::{Counters as Carried, LegId};
use status::{CallRow, ClockRow, Counters, Event, EventRow, Kind, MediaRow, Recent};

use super::calls::Call;
use super::links::Link;
use crate::host_clock::HostClock;
use crate::io::{Lane, Report};
use crate::quiet::Quiet;

/// The zone of all clients, as the guide names it (F156, F316).
const CLIENTS: &str = "CollaborationEdgeZone";

/// Calls kept after their end (F314).
const HISTORY_MAX: usize = 500;

/// Chat sessions counted at once.
const XMPP_MAX: usize = 200_000;

pub(super) struct Ledger {
    events: VecDeque<Event>,
    recent: Recent,
    quiet: Quiet,
    pub(super) counters: Counters,
    history: VecDeque<(CallRow, Vec<LegId>)>,
    xmpp: HashSet<u64>,
    pub(super) host_clock: HostClock,
}

/// An event of a link.
fn of_link(kind: Kind, now: Now, link: &Link, cause: &str) -> Event {
    Event::new(kind, now.unix, cause)
        .with("core", &link.peer.name)
        .with("zone", &link.peer.zone)
}

impl Ledger {
    pub(super) fn new() -> Self {
        Ledger {
            events: VecDeque::new(),
            recent: Recent::default(),
            quiet: Quiet::new(),
            counters: Counters::default(),
            history: VecDeque::new(),
            xmpp: HashSet::default(),
            host_clock: HostClock::default(),
        }
    }

    /// The next event to hand out.
    pub(super) fn pop(&mut self) -> Option<Event> {
        let event = self.events.pop_front()?;
        base::tighten(&mut self.events);
        self.recent.note(&event);
        Some(event)
    }

    /// What was handed out lately, the latest first.
    pub(super) fn recent(&self) -> Vec<EventRow> {
        self.recent.rows()
    }

    pub(super) fn handle_timeout(&mut self, now: Now) {
        self.events.extend(self.quiet.handle_timeout(now));
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.quiet.poll_timeout()
    }

    pub(super) fn xmpp_sessions(&self) -> usize {
        self.xmpp.len()
    }

    /// Calls that ended, the latest first.
    pub(super) fn history(&self) -> impl Iterator<Item = &CallRow> {
        self.history.iter().map(|(row, _)| row)
    }

    // ---- what strangers can cause, told at a bounded rate ----

    /// Something that somebody outside can cause at will.
    pub(super) fn caused(&mut self, now: Now, kind: Kind, source: Option<IpAddr>, cause: &str) {
        match kind {
            Kind::Violation => self.counters.violations += 1,
            Kind::WrongCredentials => self.counters.wrong_credentials += 1,
            _ => {}
        }
        self.events
            .extend(self.quiet.tell(now, kind, source, cause));
    }

    /// What a task of the driver saw.
    pub(super) fn report(&mut self, now: Now, report: Report) {
        match report {
            Report::HttpRefused {
                client,
                status,
                cause,
                trace,
            } => {
                let cause = format!("{cause} (answered {status})");
                self.counters.http_refused += 1;
                let told = self
                    .quiet
                    .tell(now, Kind::HttpRefused, Some(client), &cause);
                self.events.extend(told.map(|e| e.with("trace", trace)));
            }
            Report::InsideUnreachable { server, why } => {
                self.caused(
                    now,
                    Kind::HttpUnreachable,
                    None,
                    &format!("{server}: {why}"),
                );
            }
            Report::XmppUp { id, jid, client } => {
                if self.xmpp.len() < XMPP_MAX {
                    self.xmpp.insert(id);
                }
                let event = Event::new(Kind::XmppUp, now.unix, "signed in");
                let client = Pii::new(client.to_string());
                self.events
                    .push_back(event.with("jid", jid).with("client", client));
            }
            // Of the inside: the core tells.
            Report::XmppRefused { .. } => {}
            Report::XmppDown { id, why } => {
                if self.xmpp.remove(&id) {
                    self.events
                        .push_back(Event::new(Kind::XmppDown, now.unix, why));
                }
            }
            // An edge keeps none.
            Report::CredentialsLost { .. } | Report::UsersFile { .. } => {}
            Report::Certificate(news) => {
                let event = Event::new(news.kind, now.unix, news.cause);
                let event = news.proof.into_iter().fold(event, |e, (n, v)| e.with(n, v));
                self.events.push_back(event);
            }
            Report::LinkRefused { source, cause } => {
                self.caused(now, Kind::LinkRefused, Some(source.ip()), &cause);
            }
            Report::ClientCertificate { source, cause } => {
                self.caused(now, Kind::ClientCertificateRefused, Some(source), &cause);
            }
            Report::Flooded { source, cause } => {
                self.caused(now, Kind::Flooded, Some(source), &cause);
            }
            Report::Violation {
                protocol,
                source,
                cause,
            } => {
                let cause = format!("{protocol}: {cause}");
                self.caused(now, Kind::Violation, Some(source.ip()), &cause);
            }
        }
    }

    // ---- links ----

    pub(super) fn link_up(&mut self, now: Now, link: &Link, restarted: bool) {
        let cause = if restarted {
            "the core was restarted"
        } else {
            "the core is linked"
        };
        self.tell_of(Kind::LinkUp, now, link, cause);
    }

    pub(super) fn link_down(&mut self, now: Now, link: &Link, why: &str) {
        self.tell_of(Kind::LinkDown, now, link, why);
    }

    pub(super) fn link_refused(&mut self, now: Now, link: &Link, why: &str) {
        self.caused(
            now,
            Kind::LinkRefused,
            None,
            &format!("{}: {why}", link.peer.name),
        );
    }

    pub(super) fn lane_refused(&mut self, now: Now, link: &Link, why: &str) {
        self.caused(
            now,
            Kind::LaneRefused,
            None,
            &format!("{}: {why}", link.peer.name),
        );
    }

    pub(super) fn skew(&mut self, now: Now, link: &Link) {
        let ms = link.skew_ms.unwrap_or_default();
        let words = traversal::skew_in_words(ms);
        let cause = format!("the core's clock is {words} this node's");
        let kind = if link.skewed {
            Kind::ClockSkew
        } else {
            Kind::ClocksAgree
        };
        let trip = link.round_trip.unwrap_or_default();
        let event = of_link(kind, now, link, &cause)
            .with("skew_ms", ms)
            .with("round_trip_us", trip.as_micros());
        self.events.push_back(event);
    }

    /// What steers this machine's clock.
    pub(super) fn clock(&mut self, now: Now, row: ClockRow) {
        self.events.extend(self.host_clock.read(now, row));
    }

    /// A lane has `connections` now; `why` the last one went, if one did.
    pub(super) fn lane(
        &mut self,
        now: Now,
        link: &Link,
        lane: &str,
        connections: usize,
        why: Option<&str>,
    ) {
        let down = connections == 0 && link.is_up();
        let kind = if down { Kind::LaneDown } else { Kind::Lane };
        let cause = why.unwrap_or("connected").to_owned();
        let event = Event::new(kind, now.unix, cause)
            .with("core", &link.peer.name)
            .with("lane", lane)
            .with("connections", connections);
        self.events.push_back(event);
    }

    pub(super) fn media_link(&mut self, now: Now, link: &Link) {
        let (kind, cause) = match link.media_up {
            true => (Kind::MediaLink, "media flows"),
            false => (Kind::MediaLinkDown, "no media frame of the core is heard"),
        };
        self.tell_of(kind, now, link, cause);
    }

    fn tell_of(&mut self, kind: Kind, now: Now, link: &Link, cause: &str) {
        self.events.push_back(of_link(kind, now, link, cause));
    }

    // ---- load ----

    pub(super) fn overloaded(&mut self, now: Now, waited: Duration) {
        let cause = format!("messages wait {} ms for the node", waited.as_millis());
        self.events
            .push_back(Event::new(Kind::Overloaded, now.unix, cause));
    }

    pub(super) fn overload_over(&mut self, now: Now) {
        let cause = "for five seconds nothing has waited";
        let event = Event::new(Kind::OverloadOver, now.unix, cause);
        self.events
            .push_back(event.with("refused_since_start", self.counters.shed));
    }

    // ---- registrations ----

    /// A client proved a name by its certificate. Whose registrations come on that connection is
    /// for the digest to say.
    pub(super) fn certificate(&mut self, now: Now, source: IpAddr, name: &str) {
        let event = Event::new(Kind::CertificateShown, now.unix, "it is valid");
        let event = event.with("name", Pii::new(name));
        self.events.push_back(event.with_address("source", source));
    }

    /// A binding came, went, or moved.
    pub(super) fn binding(&mut self, now: Now, kind: Kind, binding: &Binding, cause: &str) {
        let event = Event::new(kind, now.unix, cause)
            .with("user", binding.user())
            .with("aor", binding.aor())
            .with("device", Pii::new(binding.device()))
            .with_address("client", binding.remote().ip());
        self.events.push_back(event);
    }

    /// Once a minute for each source: a client with many lines moves many registrations.
    pub(super) fn moved(&mut self, now: Now, source: Option<IpAddr>) {
        let cause = "the client connected anew; its calls go on there";
        self.caused(now, Kind::RegistrationMoved, source, cause);
    }

    // ---- calls and media ----

    pub(super) fn call_began(&mut self, now: Now, call: &Call) {
        let cause = if call.by_client {
            "from a client"
        } else {
            "to a client"
        };
        self.events
            .push_back(about(Event::new(Kind::CallBegan, now.unix, cause), call));
    }

    pub(super) fn call_ended(&mut self, now: Now, call: &Call, why: &str) {
        let seconds = now.instant.since(call.began.instant).as_secs();
        let event = Event::new(Kind::CallEnded, now.unix, why).with("seconds", seconds);
        self.events.push_back(about(event, call));
        let mut row = call_row(call);
        row.ended = Some(now.unix);
        row.cause = why.to_owned();
        let legs = call.figures().map(|(leg, _, _)| leg).collect();
        self.history.push_front((row, legs));
        self.history.truncate(HISTORY_MAX);
    }

    /// The last figures of a call that has ended.
    pub(super) fn count_ended(&mut self, leg: LegId, carried: Carried) {
        for (row, legs) in &mut self.history {
            let Some(at) = legs.iter().position(|l| *l == leg) else {
                continue;
            };
            if let Some(media) = row.media.get_mut(at) {
                *media = media_row(&media.kind, carried);
            }
            return;
        }
    }

    pub(super) fn no_media(&mut self, now: Now, call: &Call, seconds: u64) {
        let cause = format!("the client has sent nothing for {seconds} s");
        self.events
            .push_back(about(Event::new(Kind::NoMedia, now.unix, cause), call));
    }

    pub(super) fn bind_failed(&mut self, now: Now, address: std::net::SocketAddr) {
        let cause = format!(
            "port {} of {} cannot be opened",
            address.port(),
            address.ip()
        );
        self.caused(now, Kind::PortTaken, None, &cause);
    }
}

fn about(event: Event, call: &Call) -> Event {
    event
        .with("call", Pii::new(call.call_id()))
        .with("from", &call.from)
        .with("to", &call.to)
}

/// A call as status pages show it.
pub(super) fn call_row(call: &Call) -> CallRow {
    let party = match call.abroad {
        true => Place::Outside,
        false => Place::RemoteClient,
    };
    CallRow {
        id: format!("{};{}", call.call_id(), call.tag()),
        from: call.from.clone(),
        to: call.to.clone(),
        kind: CallType::between(party, Place::CallControl)
            .name()
            .to_owned(),
        content: call.content().map_or("", Content::name).to_owned(),
        // An edge is one (F263): it relays media, and terminates nothing.
        components: vec![format!("proxy ({CLIENTS})")],
        began: call.began.unix,
        answered: call.answered,
        ended: None::<UnixTime>,
        cause: String::new(),
        media: call
            .figures()
            .map(|(_, kind, carried)| media_row(kind, carried))
            .collect(),
    }
}

fn media_row(kind: &str, carried: Carried) -> MediaRow {
    MediaRow {
        kind: kind.to_owned(),
        from_client: carried.from_client.packets,
        to_client: carried.to_client.packets,
        lost: carried.from_client.lost,
        jitter_us: carried.from_client.jitter_us,
        forged: carried.forged,
        strangers: carried.strangers,
    }
}

/// A lane's name, for people.
pub(super) fn lane_name(lane: Lane) -> &'static str {
    match lane {
        Lane::Http => "HTTP",
        Lane::Xmpp => "XMPP",
    }
}
