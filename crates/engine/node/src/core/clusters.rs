//! What follows from a discovered cluster: zones of its nodes (F143–F152), and trunks that meet
//! its phones at one port (F154, F155).
//!
//! Each node has a zone `CEtcp-<node>`; where the cluster is in mixed mode, `CEtls-<node>` too,
//! its certificate checked if discovery's was (F146). A client registers over TLS if its REGISTER
//! asks for that, and over TCP otherwise, or where there is no mixed mode (F151): what it asks for
//! is in its Request-URI, `sips:`, `transport=tls` or port 5061, or in a Route that names the zone.

use std::net::IpAddr;

use base::Now;
use provisioning::axl::{Duty, TCP_PORT, TLS_PORT};
use sip::{Message, Uri};
use status::Kind;

use super::Core;
use super::discovery::Publisher;
use super::zones::Zone;
use crate::io::Target;

/// A trunk and the phones of a node at one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Conflict {
    zone: String,
    node: String,
    port: u16,
}

impl Core {
    /// Adds the zones of discovered nodes.
    pub(super) fn add_nodes(&self, zones: &mut Vec<Zone>) {
        let publishers = self.publishers.iter();
        for publisher in publishers.filter(|p| p.duty == Duty::VoiceVideo) {
            let rewrites = publisher.server.rewrites;
            for host in publisher.nodes() {
                let (tcp, tls) = line_ports(publisher, host);
                let mut add = |name: String, target: Target| {
                    if zones.iter().all(|z| z.name != name) {
                        let zone = Zone::new(name, host.clone(), target, true, rewrites);
                        zones.push(zone.discovered().ice(publisher.server.ice));
                    }
                };
                let target = |port, secure: bool| Target {
                    host: host.clone(),
                    port,
                    tls: secure.then(|| host.clone()),
                    tls_verify: publisher.server.tls_verify,
                    from: Some(self.settings.from(secure)),
                };
                add(format!("CEtcp-{host}"), target(tcp, false));
                if publisher.is_mixed() {
                    add(format!("CEtls-{host}"), target(tls, true));
                }
            }
        }
    }

    /// The same nodes by their zones for secure profiles, where they have one (F151).
    pub(super) fn secured(&self, zones: Vec<String>) -> Vec<String> {
        let secure = |name: String| {
            let host = self.zone(&name).map(|z| z.host.clone());
            let zones = self.zones.iter().filter(|z| !z.is_leaving());
            let mut secure = zones.filter(|z| z.is_secure_line());
            secure
                .find(|z| Some(&z.host) == host.as_ref())
                .map_or(name, |z| z.name.clone())
        };
        zones.into_iter().map(secure).collect()
    }

    /// Tells of trunks that lead to the port at which a node's phones register (F155).
    pub(super) fn look_for_conflicts(&mut self, now: Now) {
        let voice = self.publishers.iter();
        let voice = voice.filter(|p| p.duty == Duty::VoiceVideo && p.read_at.is_some());
        let nodes = voice.flat_map(|p| p.nodes().map(|n| (n, line_ports(p, n))));
        let nodes: Vec<(&String, (u16, u16))> = nodes.collect();
        let mut found = Vec::new();
        for trunk in self.zones.iter().filter(|z| z.trunk.is_some()) {
            let (host, port) = (&trunk.target.host, trunk.target.port);
            let address = host.parse::<IpAddr>().ok();
            let meets = |node: &str, (tcp, tls): (u16, u16)| {
                let by_address = address.is_some_and(|ip| self.senders.is_at(node, ip));
                // The secure port is taken without mixed mode, too.
                (port == tcp || port == tls) && (same_node(host, node) || by_address)
            };
            if let Some((node, _)) = nodes.iter().find(|(node, ports)| meets(node, *ports)) {
                found.push(Conflict {
                    zone: trunk.name.clone(),
                    node: (*node).clone(),
                    port,
                });
            }
        }
        let known = std::mem::replace(&mut self.conflicts, found.clone());
        for conflict in found.into_iter().filter(|c| !known.contains(c)) {
            let proof = [
                ("zone", conflict.zone),
                ("node", conflict.node),
                ("port", conflict.port.to_string()),
            ];
            let cause = "the zone leads to the port at which the node's phones register";
            let (out, kind) = (&mut self.station.out, Kind::PortConflict);
            self.board.event(out, kind, now, cause, &proof);
        }
    }
}

/// Where the phones of a node register, without and with encryption.
fn line_ports(publisher: &Publisher, node: &str) -> (u16, u16) {
    let told = publisher.facts.nodes.iter().find(|n| n.name == node);
    let told = told.map_or((None, None), |n| (n.tcp, n.tls));
    (told.0.unwrap_or(TCP_PORT), told.1.unwrap_or(TLS_PORT))
}

/// Whether two names are one node's: with its domain, or without on one side.
pub(super) fn same_node(one: &str, other: &str) -> bool {
    let short = |name: &str| {
        let is_name = name.parse::<IpAddr>().is_err();
        is_name.then(|| name.split('.').next().unwrap_or_default().to_owned())
    };
    one.eq_ignore_ascii_case(other)
        || match (short(one), short(other)) {
            (Some(a), Some(b)) => {
                let bare = !one.contains('.') || !other.contains('.');
                bare && a.eq_ignore_ascii_case(&b)
            }
            _ => false,
        }
}

/// Whether a REGISTER asks for a line with a secure profile.
pub(super) fn asks_for_tls(message: &Message) -> bool {
    let secure = |uri: &[u8]| {
        Uri::parse(uri).is_ok_and(|uri| {
            let param = uri.param(b"transport").unwrap_or_default();
            uri.is_sips() || uri.port == Some(TLS_PORT) || param.eq_ignore_ascii_case(b"tls")
        })
    };
    let named = |uri: &[u8]| {
        let user = Uri::parse(uri).ok().and_then(|uri| uri.user);
        user.is_some_and(|user| user.starts_with(b"CEtls-"))
    };
    let routes = message.routes().filter_map(Result::ok);
    let routed = routes.into_iter().any(|route| named(route.uri));
    secure(message.request_uri()) || routed
}
