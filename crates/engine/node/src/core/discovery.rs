//! Which servers there are inside: publishers are asked for their nodes (AXL), voicemail servers
//! by REST, and from the nodes follow zones, the automatic allow list (`allowed`) and the XMPP
//! servers (F108–F168). When a server is asked, and what of, is here; `reading` makes facts of
//! the answers, `servers` tells of them.
//!
//! Each is asked every 50 to 58 s for a fingerprint of what matters, one or two small questions,
//! and for all of it when that has changed, every ten minutes, and when an administrator says so.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ::status::servers::{ServerFacts, ServerKind};
use base::{Instant, Now, Pii, UnixTime};
use config::{CallControl, ContactMode};
use provisioning::axl::{self, Duty, Operation, Schema};
use provisioning::{sign_in, voicemail};

use super::checks::{Finding, Lookup};
use super::reading::Reading;
use super::settings::Server;
use super::zones::Zone;
use super::{Asked, Core};
use crate::gate::{CoreGate, InsideTls, XmppServer};
use crate::io::{DnsError, Fetch, Output, Resolve, Resolved, Target};

/// How often a publisher that answers is asked for everything, whatever its fingerprint says.
pub(super) const REFRESH: Duration = Duration::from_secs(600);

/// How long a fingerprint is good for, and how much longer at most, since publishers are not to be
/// asked in step: together with the reading that follows, within a minute.
const PROBE: Duration = Duration::from_secs(50);
const PROBE_SPREAD_MS: u64 = 8_000;

/// The first wait after a failure; doubles up to [`RETRY_MAX`].
pub(super) const RETRY: Duration = Duration::from_secs(5);

/// The longest wait after a failure.
pub(super) const RETRY_MAX: Duration = Duration::from_secs(60);

/// The wait after a password that was refused: Unified CM locks an account after three of them in
/// half an hour.
pub(super) const REFUSED: Duration = Duration::from_secs(900);

/// What a server tells is kept for a restart when it changes, and this often where it does not.
pub(super) const KEPT: Duration = Duration::from_secs(3_600);

/// Nodes taken from one publisher.
pub(super) const NODES_MAX: usize = 100;

/// Targets taken from one registrar's SRV records.
const TARGETS_MAX: usize = 8;

/// The SRV records of a registrar.
pub(super) struct Service {
    targets: Option<Vec<(String, u16)>>,
    /// When they are asked for next; `None` while they are, or where there are none to ask for.
    due: Option<Instant>,
}

impl Service {
    pub(super) fn new(now: Now, registrar: &CallControl) -> Self {
        Service {
            targets: None,
            due: registrar.srv.then_some(now.instant),
        }
    }

    /// A question that was under way is lost.
    pub(super) fn ask_again(&mut self, now: Now, registrar: &CallControl) {
        if registrar.srv && self.due.is_none() {
            self.due = Some(now.instant);
        }
    }
}

/// One thing that is asked of a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Axl(Operation),
    VoicemailVersion,
    VoicemailNodes,
}

/// A publisher, or a voicemail server, and what it said.
pub(super) struct Publisher {
    pub(super) server: Server,
    pub(super) duty: Duty,
    pub(super) schema: Schema,
    /// What it told last.
    pub(super) facts: ServerFacts,
    /// When it told that.
    pub(super) read_at: Option<UnixTime>,
    /// Nobody has confirmed it since this process began.
    pub(super) remembered: bool,
    /// When that was kept for a restart.
    pub(super) kept_at: Option<Instant>,
    /// When it last said that nothing has changed, or what.
    pub(super) heard_at: Option<UnixTime>,
    /// What it did not tell, and why.
    pub(super) untold: Vec<(Part, String)>,
    /// Settings that were looked at.
    pub(super) findings: Vec<Finding>,
    /// Those of them that are amiss and were told.
    pub(super) told: Vec<Finding>,
    /// What it last said of another cluster's user.
    pub(super) lookup: Option<Lookup>,
    /// What was told of last, and when.
    pub(super) told_at: BTreeMap<&'static str, Instant>,
    /// Nodes that are listed no longer, of which nobody was told yet.
    pub(super) gone: Vec<String>,
    pub(super) fingerprint: Option<u64>,
    /// Why it tells nothing, and what to do.
    pub(super) fault: Option<(String, String)>,
    pub(super) reading: Option<Reading>,
    pub(super) wait: Duration,
    /// When it is asked next; `None` while it is.
    pub(super) due: Option<Instant>,
    /// When it is asked for everything next.
    pub(super) whole_due: Instant,
}

impl Publisher {
    pub(super) fn new(now: Now, server: Server, duty: Duty) -> Self {
        Publisher {
            server,
            duty,
            schema: Schema::default(),
            facts: ServerFacts::default(),
            read_at: None,
            remembered: false,
            kept_at: None,
            heard_at: None,
            untold: Vec::new(),
            findings: Vec::new(),
            told: Vec::new(),
            lookup: None,
            told_at: BTreeMap::new(),
            gone: Vec::new(),
            fingerprint: None,
            fault: None,
            reading: None,
            wait: RETRY,
            due: Some(now.instant),
            whole_due: now.instant,
        }
    }

    /// The names of its nodes.
    pub(super) fn nodes(&self) -> impl Iterator<Item = &String> {
        self.facts.nodes.iter().map(|n| &n.name)
    }

    /// The nodes, or the publisher alone as long as it has not told.
    pub(super) fn hosts(&self) -> Vec<String> {
        let mut hosts: Vec<String> = self.nodes().cloned().collect();
        if !hosts
            .iter()
            .any(|h| h.eq_ignore_ascii_case(&self.server.address))
        {
            hosts.push(self.server.address.clone());
        }
        hosts
    }

    /// Whether the cluster is in mixed mode (F145).
    pub(super) fn is_mixed(&self) -> bool {
        self.facts.mixed_mode == Some(true)
    }

    pub(super) fn kind(&self) -> ServerKind {
        match self.duty {
            Duty::VoiceVideo => ServerKind::UnifiedCm,
            Duty::ImPresence => ServerKind::ImPresence,
            Duty::Voicemail => ServerKind::UnityConnection,
        }
    }
}

impl Core {
    pub(super) fn discovery_timeout(&mut self, now: Now) {
        for index in 0..self.publishers.len() {
            let Some(publisher) = self.publishers.get_mut(index) else {
                continue;
            };
            if publisher.due.take_if(|at| *at <= now.instant).is_none() {
                continue;
            }
            let whole = publisher.whole_due <= now.instant
                || publisher.fault.is_some()
                || publisher.fingerprint.is_none();
            self.read_server(index, whole);
        }
    }

    /// When a server that answers is asked again.
    pub(super) fn next_probe(&mut self, now: Now) -> Instant {
        let more = Duration::from_millis(self.rng.below(PROBE_SPREAD_MS));
        now.instant + PROBE + more
    }

    pub(super) fn ask_server(&mut self, index: usize, part: Part) {
        let Some(publisher) = self.publishers.get(index) else {
            return;
        };
        let (server, schema) = (publisher.server.clone(), publisher.schema);
        let id = self.ask(Asked::Server(index, part));
        let (method, path, headers, body) = match part {
            Part::Axl(operation) => (
                "POST",
                axl::PATH,
                axl::headers(operation, schema),
                operation.body(schema),
            ),
            Part::VoicemailVersion | Part::VoicemailNodes => {
                let path = match part {
                    Part::VoicemailVersion => voicemail::VERSION_PATH,
                    _ => voicemail::NODES_PATH,
                };
                let accept = vec![("Accept", "application/xml".to_owned())];
                ("GET", path, accept, String::new())
            }
        };
        self.station.out.push_back(Output::Fetch {
            id,
            request: Fetch {
                method,
                scheme: "https",
                host: server.address,
                port: server.port,
                path: path.into(),
                basic: Some((Pii::new(server.user), server.password)),
                headers,
                body,
                tls_verify: server.tls_verify,
            },
        });
    }

    pub(super) fn discovery_poll_timeout(&self) -> Option<Instant> {
        let publishers = self.publishers.iter().filter_map(|p| p.due);
        publishers
            .chain(self.services.iter().filter_map(|s| s.due))
            .min()
    }

    /// Asks for the SRV records that are due.
    pub(super) fn services_timeout(&mut self, now: Now) {
        for index in 0..self.services.len() {
            let Some(service) = self.services.get_mut(index) else {
                continue;
            };
            if service.due.take_if(|at| *at <= now.instant).is_none() {
                continue;
            }
            let Some(registrar) = self.settings.call_control.get(index) else {
                continue;
            };
            let kind = if registrar.tls { "_sips" } else { "_sip" };
            let question = Resolve::Service(format!("{kind}._tcp.{}", registrar.host));
            let id = self.ask(Asked::Service(index));
            self.station.out.push_back(Output::Resolve { id, question });
        }
    }

    /// DNS has answered for a registrar. Without records its own name is its address; without an
    /// answer it stays where it was.
    pub(super) fn service_answered(
        &mut self,
        now: Now,
        index: usize,
        result: Result<Resolved, DnsError>,
    ) {
        let Some(service) = self.services.get_mut(index) else {
            return;
        };
        let found = match result {
            Ok(Resolved::Service(records)) if !records.is_empty() => {
                let targets = records.into_iter().take(TARGETS_MAX);
                Some(targets.map(|(_, _, port, host)| (host, port)).collect())
            }
            Ok(_) | Err(DnsError::NotFound(_)) => None,
            Err(DnsError::NoAnswer(..)) => {
                service.due = Some(now.instant + RETRY_MAX);
                return;
            }
        };
        service.due = Some(now.instant + REFRESH);
        if service.targets != found {
            service.targets = found;
            self.arrange(now);
        }
    }

    /// Makes zones and verdicts of what is known.
    pub(super) fn arrange(&mut self, now: Now) {
        let mut zones: Vec<Zone> = Vec::new();
        for (index, c) in self.settings.call_control.iter().enumerate() {
            let found = self.services.get(index).and_then(|s| s.targets.clone());
            // Several targets are several zones: where one is down, the next is tried.
            let targets = found.unwrap_or_else(|| vec![(c.host.clone(), c.port)]);
            for (n, (host, port)) in targets.into_iter().enumerate() {
                let target = Target {
                    host,
                    port,
                    // The certificate shows the name that was asked for (RFC 5922 §7.1).
                    tls: c.tls.then(|| c.host.clone()),
                    tls_verify: true,
                    from: Some(self.settings.from(c.tls)),
                };
                let name = match n {
                    0 => c.name.clone(),
                    n => format!("{}-{}", c.name, n + 1),
                };
                let rewrites = c.contact == ContactMode::Rewrite;
                let zone = Zone::new(name, c.host.clone(), target, false, rewrites);
                zones.push(zone.of(&c.name).ice(c.ice));
            }
        }
        self.add_nodes(&mut zones);
        zones.extend(self.trunk_zones());
        self.make_plan(&zones);
        self.set_zones(now, zones);
        self.set_senders(now);
        self.look_for_conflicts(now);
        self.publish_gate();
    }

    /// Publishes what HTTP and XMPP tasks may let through.
    pub(super) fn publish_gate(&mut self) {
        let gate = CoreGate {
            domains: self.settings.domains.clone(),
            allow_list: Arc::new(self.allow_list()),
            token_key: self.tokens.public(),
            signed_out: self.outs.known.clone(),
            xmpp: self.xmpp_servers(),
            bearers: self.sso.bearers(),
        };
        self.station.out.push_back(Output::CoreGate(Arc::new(gate)));
    }

    /// Nodes that know users, each publisher's in its order.
    pub(super) fn uds_nodes(&self) -> Vec<sign_in::Node> {
        let of = |(cluster, p): (usize, &Publisher)| {
            let (port, tls_verify) = (p.server.port, p.server.tls_verify);
            p.hosts().into_iter().map(move |host| sign_in::Node {
                host,
                port,
                tls_verify,
                cluster,
            })
        };
        let publishers = self.publishers.iter().enumerate();
        let known = publishers.filter(|(_, p)| p.duty == Duty::VoiceVideo);
        known.flat_map(of).collect()
    }

    /// The XMPP servers of each domain: those the configuration names, else the discovered ones.
    fn xmpp_servers(&self) -> Vec<XmppServer> {
        let mut servers: Vec<XmppServer> = self.settings.xmpp.iter().map(configured).collect();
        for domain in self.settings.domains.iter().filter(|d| d.im_presence) {
            let domain = domain.name.as_str();
            if servers
                .iter()
                .any(|s| s.domain.eq_ignore_ascii_case(domain))
            {
                continue;
            }
            for publisher in self
                .publishers
                .iter()
                .filter(|p| p.duty == Duty::ImPresence)
            {
                let nodes = publisher.nodes().map(|host| XmppServer {
                    domain: domain.to_owned(),
                    host: host.clone(),
                    port: 5222,
                    tls: if publisher.server.tls_verify {
                        InsideTls::Required
                    } else {
                        InsideTls::Opportunistic
                    },
                });
                servers.extend(nodes);
            }
        }
        servers
    }
}

fn configured(x: &config::XmppServer) -> XmppServer {
    XmppServer {
        domain: x.domain.as_str().to_owned(),
        host: x.host.clone(),
        port: x.port,
        tls: match x.tls {
            config::InsideTls::Off => InsideTls::Off,
            config::InsideTls::Opportunistic => InsideTls::Opportunistic,
            config::InsideTls::Required => InsideTls::Required,
        },
    }
}
