//! A reading of one server: what it answers, part by part, becomes facts, and the facts become
//! zones and rules once all parts are there. What was known stands until something else is told.
//!
//! A reading is whole, or a probe: the fingerprint of what matters, and ports. A probe that finds
//! a difference is followed by a whole one. That begins with the fingerprint: what changes while
//! it is under way is found by the next probe.

use ::status::Kind;
use ::status::servers::{NodeFacts, ServerFacts, ServerKind};
use base::{Now, line};
use provisioning::axl::settings::{self, Region};
use provisioning::axl::{self, AxlError, Duty, LinePorts, Operation, Schema};
use provisioning::voicemail;

use super::Core;
use super::clusters::same_node;
use super::discovery::{KEPT, NODES_MAX, Part, Publisher, REFRESH, REFUSED, RETRY, RETRY_MAX};
use crate::io::{FetchError, FetchFault, Fetched};

/// The most kept of why something is not told, in bytes; a server has a say in it.
const WHY_MAX: usize = 500;

/// A reading under way.
#[derive(Default)]
pub(super) struct Reading {
    whole: bool,
    /// Parts whose answers are still to come.
    left: Vec<Part>,
    /// What the answers say so far, ports aside.
    facts: ServerFacts,
    ports: Option<Vec<LinePorts>>,
    /// Parts that were not told, and why.
    untold: Vec<(Part, String)>,
    fingerprint: Option<u64>,
    pub(super) settings: Settings,
}

/// Settings that no zone follows from.
#[derive(Default)]
pub(super) struct Settings {
    pub(super) regions: Option<Vec<Region>>,
    pub(super) phone_time: Option<Vec<String>>,
    /// KB/s; `Some(None)` if the server knows no such parameter.
    pub(super) line_throttle: Option<Option<u32>>,
}

/// Why a server tells nothing.
struct Failure {
    cause: String,
    fix: String,
    /// Asking again soon would do harm.
    refused: bool,
}

impl Failure {
    fn new(cause: String, fix: impl Into<String>) -> Self {
        Failure {
            cause,
            fix: fix.into(),
            refused: false,
        }
    }
}

/// What an answer leads to.
enum Next {
    /// The reading goes on.
    On,
    /// The same again, in an older schema.
    Again,
    /// The server tells nothing.
    Failed(Failure),
}

/// What is asked once the nodes are known.
fn rest(duty: Duty) -> &'static [Part] {
    use Operation as O;
    match duty {
        Duty::VoiceVideo => &[
            Part::Axl(O::SecurityMode),
            Part::Axl(O::LinePorts),
            Part::Axl(O::Version),
            Part::Axl(O::Profiles),
            Part::Axl(O::Regions),
            Part::Axl(O::PhoneTime),
            Part::Axl(O::Throttle),
        ],
        Duty::ImPresence => &[Part::Axl(O::Version)],
        Duty::Voicemail => &[Part::VoicemailNodes],
    }
}

impl Core {
    /// Begins a reading, unless one is under way.
    pub(super) fn read_server(&mut self, index: usize, whole: bool) {
        let Some(publisher) = self.publishers.get_mut(index) else {
            return;
        };
        if publisher.reading.is_some() {
            return;
        }
        publisher.due = None;
        // One alone: a password that is refused is to count once.
        let first = match publisher.duty {
            Duty::Voicemail => Part::VoicemailVersion,
            Duty::VoiceVideo => Part::Axl(Operation::Fingerprint),
            Duty::ImPresence => Part::Axl(Operation::NodesFingerprint),
        };
        publisher.reading = Some(Reading {
            whole: whole || publisher.duty == Duty::Voicemail,
            left: vec![first],
            ..Reading::default()
        });
        self.ask_server(index, first);
    }

    /// A server has answered, or has not.
    pub(super) fn server_answered(
        &mut self,
        now: Now,
        index: usize,
        part: Part,
        result: Result<Fetched, FetchError>,
    ) {
        let Some(publisher) = self.publishers.get_mut(index) else {
            return;
        };
        let known = publisher.read_at.is_some();
        match publisher.take(part, result) {
            Next::Again => return self.ask_server(index, part),
            Next::Failed(failure) => return self.reading_failed(now, index, failure),
            Next::On => {}
        }
        let Some(reading) = &mut publisher.reading else {
            // A part of a reading that has failed.
            return;
        };
        reading.left.retain(|p| *p != part);
        let then = match (reading.whole, publisher.duty) {
            _ if !is_fingerprint(part) => None,
            (true, _) => Some(Operation::Nodes),
            (false, Duty::VoiceVideo) => Some(Operation::LinePorts),
            (false, _) => None,
        };
        if let Some(next) = then.map(Part::Axl) {
            reading.left.push(next);
            return self.ask_server(index, next);
        }
        if matches!(part, Part::Axl(Operation::Nodes) | Part::VoicemailVersion) {
            let more = rest(publisher.duty);
            reading.left.extend(more);
            if !known && part == Part::Axl(Operation::Nodes) {
                // Clients may register before the rest is told.
                publisher.facts.nodes = reading.facts.nodes.clone();
                self.arrange(now);
            }
            return more.iter().for_each(|part| self.ask_server(index, *part));
        }
        if reading.left.is_empty() {
            self.reading_done(now, index);
        }
    }

    fn reading_done(&mut self, now: Now, index: usize) {
        let due = self.next_probe(now);
        let awaited = self.is_awaited(index);
        let Some(publisher) = self.publishers.get_mut(index) else {
            return;
        };
        let Some(reading) = publisher.reading.take() else {
            return;
        };
        publisher.heard_at = Some(now.unix);
        publisher.wait = RETRY;
        publisher.due = Some(due);
        if !reading.whole {
            if awaited || publisher.differs(&reading) {
                self.read_server(index, true);
            }
            return;
        }
        publisher.whole_due = now.instant + REFRESH;
        self.facts_told(now, index, reading);
        self.refreshed(now, index);
    }

    fn facts_told(&mut self, now: Now, index: usize, reading: Reading) {
        let Some(publisher) = self.publishers.get_mut(index) else {
            return;
        };
        let facts = publisher.facts_of(&reading);
        let first = publisher.read_at.is_none();
        let difference = publisher.facts.difference(&facts);
        let changed = publisher.facts != facts;
        publisher.gone.extend(difference.gone.iter().cloned());
        publisher.gone.truncate(NODES_MAX);
        let recovered = publisher.fault.take().is_some();
        let news: Vec<(Part, String)> = reading
            .untold
            .iter()
            // However its words differ from one reading to the next.
            .filter(|(part, _)| !publisher.untold.iter().any(|(p, _)| p == part))
            .cloned()
            .collect();
        publisher.facts = facts;
        publisher.fingerprint = reading.fingerprint;
        publisher.read_at = Some(now.unix);
        publisher.remembered = false;
        // What outlives a restart says when it was last confirmed, give or take this.
        let stale = publisher.kept_at.is_none_or(|at| now.instant >= at + KEPT);
        if changed || first || stale {
            publisher.kept_at = Some(now.instant);
        }
        publisher.untold = reading.untold;
        let (kind, address) = (publisher.kind(), publisher.server.address.clone());
        let server = format!("{address}:{}", publisher.server.port);
        let names: Vec<String> = publisher.nodes().cloned().collect();
        for (part, why) in news {
            let Some(what) = missed(part) else { continue };
            let (cause, proof) = (format!("{what}: {why}"), [("publisher", server.clone())]);
            let out = &mut self.station.out;
            self.board
                .event(out, Kind::DiscoveryFailed, now, &cause, &proof);
        }
        if first || recovered {
            let proof = [("publisher", server.clone()), ("nodes", names.join(" "))];
            let out = &mut self.station.out;
            self.board.event(out, Kind::Discovered, now, "", &proof);
        }
        if !first {
            self.changed(now, &address, &server, difference);
            self.nodes_gone(now, index, &server);
        }
        if changed || first || stale {
            self.keep_servers();
        }
        if changed || first || recovered {
            self.arrange(now);
        }
        if kind != ServerKind::UnityConnection {
            self.look_at_settings(now, index, &reading.settings);
        }
    }

    fn reading_failed(&mut self, now: Now, index: usize, failure: Failure) {
        let Some(publisher) = self.publishers.get_mut(index) else {
            return;
        };
        if publisher.reading.take().is_none() {
            return;
        }
        let wait = if failure.refused {
            REFUSED
        } else {
            publisher.wait
        };
        publisher.due = Some(now.instant + wait);
        publisher.wait = (publisher.wait * 2).min(RETRY_MAX);
        let cause = line(&failure.cause, WHY_MAX).into_owned();
        let fault = (cause, failure.fix);
        // One fault has one way to mend it. Its words may differ with each attempt, and the last
        // are shown.
        let before = publisher.fault.replace(fault.clone());
        if before.is_none_or(|(_, fix)| fix != fault.1) {
            let server = format!("{}:{}", publisher.server.address, publisher.server.port);
            let mut proof = vec![("publisher", server), ("do", fault.1.clone())];
            if publisher.read_at.is_some() {
                proof.push(("until then", "what it told before counts".into()));
            }
            let out = &mut self.station.out;
            self.board
                .event(out, Kind::DiscoveryFailed, now, &fault.0, &proof);
        }
        self.refreshed(now, index);
    }
}

impl Publisher {
    /// Takes an answer into the reading.
    fn take(&mut self, part: Part, result: Result<Fetched, FetchError>) -> Next {
        let Some(reading) = &mut self.reading else {
            return Next::On;
        };
        // Without these nothing is to be had from the server.
        let leads = is_fingerprint(part)
            || matches!(part, Part::Axl(Operation::Nodes) | Part::VoicemailVersion);
        let never_told = self.fingerprint.is_none();
        let duty = self.duty;
        let fetched = match result {
            Ok(fetched) => fetched,
            Err(error) if leads => return Next::Failed(self.unreached(&error)),
            Err(error) => {
                reading.miss(part, &error.why);
                return Next::On;
            }
        };
        let body = String::from_utf8_lossy(&fetched.body);
        let operation = match part {
            Part::Axl(operation) => operation,
            _ => return self.take_voicemail(part, fetched.status, &body),
        };
        match reading.take_axl(duty, operation, fetched.status, &body) {
            Ok(()) if operation == Operation::Nodes => self.own_nodes(),
            Ok(()) => Next::On,
            Err(AxlError::Version) if leads && self.schema == Schema::V10_0 => {
                self.schema = Schema::V9_1;
                Next::Again
            }
            // A cluster that does not know this question, or never answered it to this account, is
            // asked the others. One that throttles, or is none, is not to be asked eight more.
            Err(error @ (AxlError::Fault(_) | AxlError::Role))
                if is_fingerprint(part) && (error != AxlError::Role || never_told) =>
            {
                reading.miss(part, &error.to_string());
                Next::On
            }
            Err(error) if leads => Next::Failed(self.refused(&error)),
            Err(error) => {
                reading.miss(part, &error.to_string());
                Next::On
            }
        }
    }

    fn take_voicemail(&mut self, part: Part, status: u16, body: &str) -> Next {
        let address = &self.server.address;
        let Some(reading) = &mut self.reading else {
            return Next::On;
        };
        let read = match part {
            Part::VoicemailVersion => {
                let read = voicemail::version(status, body);
                read.map(|version| reading.facts.version = version)
            }
            _ => voicemail::nodes(status, body).map(|names| {
                let node = |name| NodeFacts {
                    name,
                    ..NodeFacts::default()
                };
                reading.facts.nodes = names.into_iter().map(node).collect();
            }),
        };
        match read {
            Ok(()) => Next::On,
            Err(error) if part == Part::VoicemailVersion => Next::Failed(Failure {
                refused: error == voicemail::VoicemailError::Credentials,
                ..Failure::new(format!("{address}: {error}"), error.fix())
            }),
            Err(error) => {
                reading.miss(part, &error.to_string());
                Next::On
            }
        }
    }

    /// Leaves the nodes of the publisher's own kind; one without any is another product.
    fn own_nodes(&mut self) -> Next {
        let (address, title) = (&self.server.address, self.kind().title());
        let nodes = self.reading.as_ref().map_or(0, |r| r.facts.nodes.len());
        if nodes > 0 {
            return Next::On;
        }
        Next::Failed(Failure::new(
            format!("{address} is not a {title} Server: it lists no node of that kind"),
            format!("name the {title} publisher"),
        ))
    }

    /// It could not be asked.
    fn unreached(&self, error: &FetchError) -> Failure {
        let address = &self.server.address;
        let fix = match error.fault {
            FetchFault::Name => format!(
                "see that the core's DNS servers know the name: causeway ctl dns lookup {address}"
            ),
            FetchFault::Unreachable | FetchFault::Silent => format!(
                "see that the server runs, and that no firewall is between: TCP {}",
                self.server.port
            ),
            FetchFault::Certificate => format!(
                "add the authority that issued it, or the certificate itself if it is \
                 self-signed, to certificate.trusted; {address} must be a name in it"
            ),
            FetchFault::Tls => "see that HTTPS is served at this port".into(),
            FetchFault::Other => "look in the server's log".into(),
        };
        Failure::new(error.why.clone(), fix)
    }

    /// It answered, and not as it should.
    fn refused(&self, error: &AxlError) -> Failure {
        let (address, title) = (&self.server.address, self.kind().title());
        let cause = match error {
            AxlError::Malformed(_) | AxlError::Page(_) => {
                format!("{address} is not a {title} Server: {error}")
            }
            other => other.to_string(),
        };
        Failure {
            refused: *error == AxlError::Credentials,
            ..Failure::new(cause, error.fix())
        }
    }

    /// Whether a probe says that something is different.
    fn differs(&self, probe: &Reading) -> bool {
        let moved = |node: &NodeFacts| {
            let told = probe.ports_of(&node.name);
            told.is_some_and(|(tcp, tls)| (tcp, tls) != (node.tcp, node.tls))
        };
        // None told for once is no difference: all is read every ten minutes anyway.
        let other = probe.fingerprint.is_some() && probe.fingerprint != self.fingerprint;
        other || self.facts.nodes.iter().any(moved)
    }

    /// What a whole reading says; where it does not tell, what was known.
    fn facts_of(&self, reading: &Reading) -> ServerFacts {
        let mut facts = reading.facts.clone();
        let before = &self.facts;
        if facts.version.is_empty() {
            facts.version.clone_from(&before.version);
        }
        facts.mixed_mode = facts.mixed_mode.or(before.mixed_mode);
        if facts.secure_profiles.is_none() {
            facts.secure_profiles.clone_from(&before.secure_profiles);
        }
        if self.duty == Duty::Voicemail && facts.nodes.is_empty() {
            facts.nodes.clone_from(&before.nodes);
        }
        for node in &mut facts.nodes {
            let known = before.nodes.iter().find(|n| n.name == node.name);
            let known = known.map(|n| (n.tcp, n.tls));
            (node.tcp, node.tls) = match reading.ports {
                Some(_) => reading.ports_of(&node.name).unwrap_or_default(),
                None => known.unwrap_or_default(),
            };
        }
        facts
    }
}

impl Reading {
    /// A part is not told.
    fn miss(&mut self, part: Part, why: &str) {
        self.untold.push((part, line(why, WHY_MAX).into_owned()));
    }

    fn take_axl(
        &mut self,
        duty: Duty,
        operation: Operation,
        status: u16,
        body: &str,
    ) -> Result<(), AxlError> {
        match operation {
            Operation::Nodes => {
                let nodes = axl::process_nodes(status, body)?.into_iter();
                // Before 10.0 a publisher lists nodes of its own kind alone.
                let own = nodes.filter(|n| n.duty.is_none_or(|d| d == duty));
                let row = |n: axl::Node| NodeFacts {
                    name: n.name,
                    id: n.id,
                    ..NodeFacts::default()
                };
                self.facts.nodes = own.take(NODES_MAX).map(row).collect();
            }
            Operation::SecurityMode => {
                self.facts.mixed_mode = Some(axl::is_mixed(status, body)?);
            }
            Operation::LinePorts => {
                let mut ports = axl::line_ports(status, body)?;
                ports.truncate(NODES_MAX);
                self.ports = Some(ports);
            }
            Operation::Version => self.facts.version = settings::version(status, body)?,
            Operation::Profiles => {
                self.facts.secure_profiles = Some(settings::secure_profiles(status, body)?);
            }
            Operation::Fingerprint | Operation::NodesFingerprint => {
                self.fingerprint = settings::fingerprint(status, body)?;
            }
            Operation::Regions => {
                self.settings.regions = Some(settings::slow_regions(status, body)?);
            }
            Operation::PhoneTime => {
                self.settings.phone_time = Some(settings::phone_time(status, body)?);
            }
            Operation::Throttle => {
                self.settings.line_throttle = Some(settings::line_throttle(status, body)?);
            }
        }
        Ok(())
    }

    /// The ports of a node, without and with encryption, if it was named.
    fn ports_of(&self, node: &str) -> Option<(Option<u16>, Option<u16>)> {
        let mut all = self.ports.iter().flatten();
        let told = all.find(|l| same_node(&l.node, node))?;
        Some((Some(told.tcp), Some(told.tls)))
    }
}

fn is_fingerprint(part: Part) -> bool {
    matches!(
        part,
        Part::Axl(Operation::Fingerprint | Operation::NodesFingerprint)
    )
}

/// What is missed where a part is not told and zones depend on it.
fn missed(part: Part) -> Option<&'static str> {
    match part {
        Part::Axl(Operation::SecurityMode) => Some("the cluster's security mode is not known"),
        Part::Axl(Operation::LinePorts) => Some("the ports that phones register at are not known"),
        _ => None,
    }
}

/// The same for people, of every part.
pub(super) fn untold(part: Part) -> &'static str {
    match part {
        Part::Axl(Operation::SecurityMode) => "security mode",
        Part::Axl(Operation::LinePorts) => "ports that phones register at",
        Part::Axl(Operation::Version) | Part::VoicemailVersion => "version",
        Part::Axl(Operation::Profiles) => "phone security profiles",
        Part::Axl(Operation::Fingerprint | Operation::NodesFingerprint) => {
            "fingerprint, so all is read every time"
        }
        Part::Axl(Operation::Regions) => "regions",
        Part::Axl(Operation::PhoneTime) => "phone NTP references",
        Part::Axl(Operation::Throttle) => "throttle of the line side",
        Part::Axl(Operation::Nodes) | Part::VoicemailNodes => "nodes",
    }
}
