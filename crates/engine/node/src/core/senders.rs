//! Who may send SIP to the core from inside: call control, by its addresses.
//!
//! In: the hosts of zones and what DNS says of them, the addresses that zones were reached at, the
//! ranges of `service.sip.accept_from`. Out: a verdict for each message on a connection that
//! others made; on those that the core dialled, its peer is known. Unified CM calls from any node
//! of its cluster, so the zone of a connection does not matter. A name is asked about again and
//! again; what was known of it stands while DNS does not answer.
//!
//! What is refused costs no transaction, and one event a source and minute. Bounds: [`HOSTS_MAX`]
//! names with [`ADDRESSES_MAX`] addresses each.

use std::net::IpAddr;
use std::time::Duration;

use base::{Instant, Map, Now};
use config::Network;
use sip::{FlowId, Message, Method, Name};
use status::Kind;

use super::{Asked, Core};
use crate::io::{DnsError, Output, Resolve, Resolved, Side};

/// Names at once.
const HOSTS_MAX: usize = 1_000;

/// Addresses of one name.
const ADDRESSES_MAX: usize = 32;

/// How often a name is asked about.
const REFRESH: Duration = Duration::from_secs(300);

/// The first wait after no answer; doubles up to [`REFRESH`].
const RETRY: Duration = Duration::from_secs(5);

struct Host {
    addresses: Vec<IpAddr>,
    /// DNS has not said anything yet.
    unheard: bool,
    wait: Duration,
    /// When it is asked about; `None` while it is, and for what is an address itself.
    due: Option<Instant>,
}

/// Everybody who may send.
pub(super) struct Senders {
    networks: Vec<Network>,
    hosts: Map<String, Host>,
}

impl Senders {
    pub(super) fn new(networks: Vec<Network>) -> Self {
        Senders {
            networks,
            hosts: Map::new(),
        }
    }

    /// Whoever is in these networks may send from now on.
    pub(super) fn trust(&mut self, networks: Vec<Network>) {
        self.networks = networks;
    }

    /// The hosts are these from now on.
    fn set(&mut self, now: Now, hosts: impl Iterator<Item = String>) {
        let mut old = std::mem::take(&mut self.hosts);
        for host in hosts.take(HOSTS_MAX) {
            let known = old.remove(&host);
            let fresh = || Host::new(now, &host);
            let row = known.unwrap_or_else(fresh);
            self.hosts.entry(host).or_insert(row);
        }
    }

    /// A host was reached at an address.
    fn reached(&mut self, host: &str, address: IpAddr) {
        if let Some(row) = self.hosts.get_mut(host) {
            row.add(address.to_canonical());
        }
    }

    /// Whether an address is in a range of `service.sip.accept_from`.
    fn accepts(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.networks.iter().any(|net| net.contains(address))
    }

    fn may(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.accepts(address) || self.hosts.values().any(|h| h.addresses.contains(&address))
    }

    /// Whether DNS has still to say who some are.
    fn is_waiting(&self) -> bool {
        self.hosts.values().any(|h| h.unheard)
    }

    /// Whether a host is known to be at an address.
    pub(super) fn is_at(&self, host: &str, address: IpAddr) -> bool {
        let known = self.hosts.get(host);
        known.is_some_and(|h| h.addresses.contains(&address.to_canonical()))
    }

    pub(super) fn poll_timeout(&self) -> Option<Instant> {
        self.hosts.values().filter_map(|h| h.due).min()
    }
}

impl Host {
    fn new(now: Now, host: &str) -> Self {
        let literal = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        Host {
            addresses: literal.iter().map(IpAddr::to_canonical).collect(),
            unheard: literal.is_none(),
            wait: RETRY,
            due: literal.is_none().then_some(now.instant),
        }
    }

    fn add(&mut self, address: IpAddr) {
        if self.addresses.len() < ADDRESSES_MAX && !self.addresses.contains(&address) {
            self.addresses.push(address);
        }
    }
}

impl Core {
    /// Zones have changed, and with them who may send.
    pub(super) fn set_senders(&mut self, now: Now) {
        let servers = self.settings.unified_cm.iter().map(|s| s.address.clone());
        let zones = self
            .zones
            .iter()
            .flat_map(|z| [z.host.clone(), z.target.host.clone()]);
        let hosts: Vec<String> = servers.chain(zones).collect();
        self.senders.set(now, hosts.into_iter());
        self.senders_timeout(now);
    }

    /// Asks about names that are due.
    pub(super) fn senders_timeout(&mut self, now: Now) {
        let due = |h: &mut Host| h.due.take_if(|at| *at <= now.instant).is_some();
        let hosts = self.senders.hosts.iter_mut();
        let names: Vec<String> = hosts
            .filter_map(|(name, host)| due(host).then(|| name.clone()))
            .collect();
        for name in names {
            let id = self.ask(Asked::Sender(name.clone()));
            let question = Resolve::Address(name);
            self.station.out.push_back(Output::Resolve { id, question });
        }
    }

    pub(super) fn sender_resolved(
        &mut self,
        now: Now,
        name: &str,
        result: Result<Resolved, DnsError>,
    ) {
        let Some(host) = self.senders.hosts.get_mut(name) else {
            return;
        };
        if let Ok(Resolved::Address(found)) = result {
            host.addresses.clear();
            found.iter().for_each(|ip| host.add(ip.to_canonical()));
            host.wait = RETRY;
            host.due = Some(now.instant + REFRESH);
        } else {
            host.due = Some(now.instant + host.wait);
            host.wait = (host.wait * 2).min(REFRESH);
        }
        host.unheard = false;
        self.look_for_conflicts(now);
    }

    /// A connection that we dialled stands: its server may call us from there as well.
    pub(super) fn sender_reached(&mut self, flow: FlowId) {
        let target = self.station.flows.get(flow).and_then(|f| f.target());
        let remote = self.station.remote(flow);
        if let (Some(target), Some(remote)) = (target, remote) {
            self.senders.reached(&target.host, remote.ip());
        }
    }

    /// Whether a message of an inside host may be read; answers it if not.
    pub(super) fn may_send(&mut self, now: Now, flow: FlowId, message: &Message) -> bool {
        let dialled = |f: &crate::flows::Flow| f.target().is_some();
        if self.station.side(flow) != Some(Side::Inside)
            || self.station.flows.get(flow).is_some_and(dialled)
        {
            return true;
        }
        let Some(remote) = self.station.remote(flow) else {
            return false;
        };
        let unproven = self
            .unproven(flow)
            .filter(|_| !self.senders.accepts(remote.ip()))
            .map(|(zone, shown)| {
                let wanted = zone.target.tls.clone().unwrap_or_default();
                [
                    ("zone", zone.of.clone()),
                    ("wanted", wanted),
                    ("shown", shown.to_owned()),
                ]
            });
        if self.senders.may(remote.ip()) && unproven.is_none() {
            return true;
        }
        if message.is_request() && message.method() != Method::Ack {
            // Without a transaction (RFC 3261 §8.2.7): a stranger is to cost nothing.
            let tag = self.station.rng.hex(8);
            let reply = if self.senders.is_waiting() {
                let reply = message.reply(503, "Service Unavailable", &tag);
                reply.header(Name::RetryAfter, "5")
            } else {
                let cause = match unproven {
                    Some(_) => "the host is at a zone's address and does not show its certificate",
                    None => "the host is no call control of this core's",
                };
                let (out, source) = (&mut self.station.out, Some(remote.ip()));
                let proof: Vec<_> = unproven.into_iter().flatten().collect();
                self.board
                    .warned(out, Kind::SenderRefused, now, source, cause, &proof);
                message.reply(403, "Forbidden", &tag)
            };
            if let Some(row) = self.station.flows.get(flow) {
                let (conn, bytes) = (row.conn, reply.build().bytes().clone());
                self.station.out.push_back(Output::Send { conn, bytes });
            }
        }
        false
    }
}
