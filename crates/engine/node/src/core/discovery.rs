//! Which servers there are inside: publishers are asked for their nodes (AXL), and from the nodes
//! follow zones, the automatic allow list (`allowed`) and the XMPP servers (F108–F168).

use std::sync::Arc;
use std::time::Duration;

use base::{Instant, Now, Pii};
use config::{CallControl, ContactMode};
use provisioning::axl::{self, AxlError, Duty, LinePorts, Operation, Schema};
use provisioning::sign_in;
use status::Kind;

use super::settings::Server;
use super::zones::Zone;
use super::{Asked, Core};
use crate::gate::{CoreGate, InsideTls, XmppServer};
use crate::io::{DnsError, Fetch, FetchError, Fetched, Output, Resolve, Resolved, Target};

/// How often a publisher that answers is asked again.
const REFRESH: Duration = Duration::from_secs(600);

/// The first wait after a failure; doubles up to [`RETRY_MAX`].
const RETRY: Duration = Duration::from_secs(5);

/// The longest wait after a failure.
const RETRY_MAX: Duration = Duration::from_secs(60);

/// Nodes taken from one publisher.
const NODES_MAX: usize = 100;

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
}

/// A publisher and what it said.
pub(super) struct Publisher {
    pub(super) server: Server,
    pub(super) duty: Duty,
    schema: Schema,
    pub(super) nodes: Vec<String>,
    /// Whether the cluster is in mixed mode (F145).
    pub(super) mixed: bool,
    /// Where phones register, as far as it told.
    pub(super) lines: Vec<LinePorts>,
    /// Whether it has told, or will not.
    pub(super) lines_asked: bool,
    /// Why one of these two is not known.
    unknown: Option<String>,
    fault: Option<String>,
    wait: Duration,
    /// When it is asked next; `None` while it is.
    due: Option<Instant>,
}

impl Publisher {
    pub(super) fn new(now: Now, server: Server, duty: Duty) -> Self {
        Publisher {
            server,
            duty,
            schema: Schema::default(),
            nodes: Vec::new(),
            mixed: false,
            lines: Vec::new(),
            lines_asked: false,
            unknown: None,
            fault: None,
            wait: RETRY,
            due: Some(now.instant),
        }
    }

    /// The nodes, or the publisher alone as long as it has not told.
    pub(super) fn hosts(&self) -> Vec<String> {
        let mut hosts = self.nodes.clone();
        if !hosts
            .iter()
            .any(|h| h.eq_ignore_ascii_case(&self.server.address))
        {
            hosts.push(self.server.address.clone());
        }
        hosts
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
            self.ask_publisher(index, Operation::Nodes);
        }
    }

    fn ask_publisher(&mut self, index: usize, operation: Operation) {
        let Some(publisher) = self.publishers.get(index) else {
            return;
        };
        let (server, schema) = (publisher.server.clone(), publisher.schema);
        let id = self.ask(match operation {
            Operation::Nodes => Asked::Nodes(index),
            Operation::SecurityMode | Operation::LinePorts => Asked::Cluster(index, operation),
        });
        self.station.out.push_back(Output::Fetch {
            id,
            request: Fetch {
                method: "POST",
                scheme: "https",
                host: server.address,
                port: server.port,
                path: axl::PATH.into(),
                basic: Some((Pii::new(server.user), server.password)),
                headers: axl::headers(operation, schema),
                body: operation.body(schema),
                tls_verify: server.tls_verify,
            },
        });
    }

    /// A publisher has told of its cluster's security mode or ports, or has not. What it told
    /// before stands until it tells something else.
    pub(super) fn cluster_answered(
        &mut self,
        now: Now,
        index: usize,
        operation: Operation,
        result: Result<Fetched, FetchError>,
    ) {
        let Some(publisher) = self.publishers.get_mut(index) else {
            return;
        };
        let (mixed, lines) = (publisher.mixed, publisher.lines.clone());
        publisher.lines_asked |= operation == Operation::LinePorts;
        let fault = match result {
            Err(error) => Some(error.why),
            Ok(fetched) => {
                let body = String::from_utf8_lossy(&fetched.body);
                let read = match operation {
                    Operation::SecurityMode => {
                        axl::is_mixed(fetched.status, &body).map(|mixed| publisher.mixed = mixed)
                    }
                    _ => axl::line_ports(fetched.status, &body).map(|mut lines| {
                        lines.truncate(NODES_MAX);
                        publisher.lines = lines;
                    }),
                };
                read.err().map(|e| e.to_string())
            }
        };
        if let Some(why) = fault {
            let known = publisher.unknown.replace(why.clone()).as_ref() == Some(&why);
            let server = format!("{}:{}", publisher.server.address, publisher.server.port);
            let what = match operation {
                Operation::SecurityMode => "the cluster's security mode is not known",
                _ => "the ports that phones register at are not known",
            };
            let cause = format!("{what}: {why}");
            let (out, proof) = (&mut self.station.out, [("publisher", server)]);
            if !known {
                self.board
                    .event(out, Kind::DiscoveryFailed, now, &cause, &proof);
            }
        } else {
            let news = publisher.mixed != mixed || publisher.lines != lines;
            if news {
                self.arrange(now);
            }
        }
        self.look_for_conflicts(now);
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

    /// A publisher has answered, or has not.
    pub(super) fn nodes_answered(
        &mut self,
        now: Now,
        index: usize,
        result: Result<Fetched, FetchError>,
    ) {
        let Some(publisher) = self.publishers.get_mut(index) else {
            return;
        };
        let found = match result {
            Ok(fetched) => {
                let body = String::from_utf8_lossy(&fetched.body);
                match axl::process_nodes(fetched.status, &body) {
                    Err(AxlError::Version) if publisher.schema == Schema::V10_0 => {
                        publisher.schema = Schema::V9_1;
                        publisher.due = Some(now.instant);
                        return;
                    }
                    read => read.map_err(|e| e.to_string()),
                }
            }
            Err(error) => Err(error.why),
        };
        let server = format!("{}:{}", publisher.server.address, publisher.server.port);
        match found {
            Ok(nodes) => {
                publisher.due = Some(now.instant + REFRESH);
                publisher.wait = RETRY;
                let duty = publisher.duty;
                let mut names: Vec<String> = nodes
                    .into_iter()
                    // Before 10.0 a publisher lists nodes of its own kind alone.
                    .filter(|n| n.duty.is_none_or(|d| d == duty))
                    .map(|n| n.name)
                    .collect();
                names.truncate(NODES_MAX);
                if duty == Duty::VoiceVideo {
                    self.ask_publisher(index, Operation::SecurityMode);
                    self.ask_publisher(index, Operation::LinePorts);
                }
                let Some(publisher) = self.publishers.get_mut(index) else {
                    return;
                };
                let news = publisher.fault.take().is_some() || publisher.nodes != names;
                if !news {
                    return;
                }
                let proof = [("publisher", server), ("nodes", names.join(" "))];
                publisher.nodes = names;
                self.board
                    .event(&mut self.station.out, Kind::Discovered, now, "", &proof);
                self.arrange(now);
            }
            Err(why) => {
                publisher.due = Some(now.instant + publisher.wait);
                publisher.wait = (publisher.wait * 2).min(RETRY_MAX);
                if publisher.fault.replace(why.clone()).as_ref() == Some(&why) {
                    return;
                }
                let (out, proof) = (&mut self.station.out, [("publisher", server)]);
                self.board
                    .event(out, Kind::DiscoveryFailed, now, &why, &proof);
            }
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
        self.gate_changed();
    }

    /// Tells tasks what they may let through.
    pub(super) fn gate_changed(&mut self) {
        let gate = CoreGate {
            domains: self.settings.domains.clone(),
            allow_list: Arc::new(self.allow_list()),
            token_key: self.tokens.public(),
            xmpp: self.xmpp_servers(),
            bearers: self.sso.bearers(),
        };
        self.station.out.push_back(Output::CoreGate(Arc::new(gate)));
    }

    /// Nodes that know users, each publisher's in its order.
    pub(super) fn uds_nodes(&self) -> Vec<sign_in::Node> {
        let of = |p: &Publisher| {
            let (port, tls_verify) = (p.server.port, p.server.tls_verify);
            p.hosts().into_iter().map(move |host| sign_in::Node {
                host,
                port,
                tls_verify,
            })
        };
        let known = self
            .publishers
            .iter()
            .filter(|p| p.duty == Duty::VoiceVideo);
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
                let nodes = publisher.nodes.iter().map(|host| XmppServer {
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
