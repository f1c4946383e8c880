//! The ways to call control: one connection for each, dialled by us, kept and dialled again.

use std::sync::Arc;
use std::time::Duration;

use base::{Instant, Now};
use call::b2bua::{Encryption, Ice};
use config::routing::MediaEncryption;
use sip::FlowId;
use status::Kind;

use super::Core;
use super::registrations::host_of;
use crate::io::{ConnId, Target};

/// The first wait before a connection is dialled again; doubles up to [`WAIT_MAX`].
const WAIT: Duration = Duration::from_secs(1);

/// The longest wait.
const WAIT_MAX: Duration = Duration::from_secs(30);

/// Zones, with those that stay for their calls.
const ZONES_MAX: usize = 1_000;

/// A connection that lived so long was good: it is dialled again at once when it goes.
const GOOD: Duration = Duration::from_secs(10);

/// What a failed connection for secure profiles mostly means (F343).
const SECURE: &str = "; for secure profiles Unified CM must trust the authority of the core's \
                      certificate, and that must hold the profiles' names, each a fully qualified \
                      name";

/// What is settled for a zone that no client registers in.
#[derive(Clone, Debug)]
pub(super) struct Trunk {
    pub(super) hop_count: u8,
    pub(super) hop_count_in: Option<u8>,
    /// Whether what it sends counts as authenticated.
    pub(super) trusted: bool,
    pub(super) accepts: bool,
    pub(super) monitor: bool,
    pub(super) encryption: MediaEncryption,
}

/// So many REGISTERs in a row without an answer, and a zone counts as dead.
const SILENT_MAX: u32 = 3;

/// A server of a neighbour zone: a node of Unified CM, another registrar, a trunk's peer.
pub(super) struct Zone {
    /// `CEtcp-<node>`, or the name in the configuration, numbered where it has several servers.
    pub(super) name: String,
    /// What search rules call it: the same for all servers of a zone.
    pub(super) of: String,
    /// Whether discovery made it (F143).
    pub(super) generated: bool,
    /// Set where nobody registers.
    pub(super) trunk: Option<Trunk>,
    /// The name, as each registration in it keeps it.
    pub(super) label: Arc<str>,
    /// The host that requests name.
    pub(super) host: String,
    pub(super) target: Target,
    /// Whether it is Unified CM, which decides itself who may register which line.
    pub(super) unified_cm: bool,
    /// Whether Contacts are rewritten for it.
    pub(super) rewrites: bool,
    /// What becomes of ICE candidates between it and clients.
    pub(super) ice: Ice,
    /// The connection, standing or being dialled.
    flow: Option<FlowId>,
    up: bool,
    /// Since when it stands.
    since: Instant,
    /// Why it could not be dialled the last time.
    why: Option<String>,
    /// REGISTERs in a row that it left without an answer.
    silent: u32,
    /// The connection that calls were last put on.
    last: Option<FlowId>,
    wait: Duration,
    retry: Option<Instant>,
    /// Since when it does not answer OPTIONS.
    pub(super) deaf: Option<Instant>,
    /// When it is asked by OPTIONS next.
    pub(super) probe: Option<Instant>,
    /// Discovery names it no longer: it stays for the calls and clients that it has.
    leaving: bool,
}

impl Zone {
    pub(super) fn new(
        name: String,
        host: String,
        target: Target,
        unified_cm: bool,
        rewrites: bool,
    ) -> Self {
        Zone {
            of: name.clone(),
            label: name.as_str().into(),
            name,
            generated: false,
            trunk: None,
            host,
            target,
            unified_cm,
            rewrites,
            ice: Ice::Remove,
            deaf: None,
            probe: None,
            flow: None,
            up: false,
            since: Instant::ZERO,
            why: None,
            silent: 0,
            last: None,
            wait: WAIT,
            retry: None,
            leaving: false,
        }
    }

    /// Whether it stays for the calls and clients alone that it has.
    pub(super) fn is_leaving(&self) -> bool {
        self.leaving
    }

    /// One of several servers of a zone.
    pub(super) fn of(mut self, name: &str) -> Self {
        name.clone_into(&mut self.of);
        self
    }

    /// Made by discovery.
    pub(super) fn discovered(mut self) -> Self {
        self.generated = true;
        self
    }

    /// With this policy of ICE candidates.
    pub(super) fn ice(mut self, ice: config::routing::Ice) -> Self {
        self.ice = match ice {
            config::routing::Ice::Remove => Ice::Remove,
            config::routing::Ice::Inward => Ice::Inward,
            config::routing::Ice::Pass => Ice::Pass,
        };
        self
    }

    /// Nobody registers in it.
    pub(super) fn trunk(mut self, trunk: Trunk) -> Self {
        self.trunk = Some(trunk);
        self
    }

    pub(super) fn tls(&self) -> bool {
        self.target.tls.is_some()
    }

    /// The connection, if it stands.
    pub(super) fn standing(&self) -> Option<FlowId> {
        self.flow.filter(|_| self.up)
    }

    /// What media towards it is. An encrypted line side carries phones whose media is encrypted
    /// where both ends can: Unified CM's of secure profiles, and what trunks bring to a registrar.
    pub(super) fn encryption(&self) -> Encryption {
        match self.trunk.as_ref().map(|t| t.encryption) {
            Some(MediaEncryption::Force) => Encryption::Force,
            Some(MediaEncryption::BestEffort) => Encryption::BestEffort,
            None if self.tls() => Encryption::BestEffort,
            Some(MediaEncryption::Off) | None => Encryption::Off,
        }
    }

    /// Whether it is where phones with secure profiles register: `CEtls-<node>` (F145).
    pub(super) fn is_secure_line(&self) -> bool {
        self.unified_cm && self.tls()
    }

    /// Whether the connection is this zone's.
    pub(super) fn has(&self, flow: FlowId) -> bool {
        self.flow == Some(flow)
    }

    /// Whether its clients are better served elsewhere: it cannot be dialled, or says nothing. One
    /// that has closed its connection and is being dialled is not dead yet.
    pub(super) fn is_dead(&self) -> bool {
        self.silent >= SILENT_MAX || !self.up && self.why.is_some()
    }

    pub(super) fn state(&self) -> String {
        match (self.up, &self.why) {
            _ if self.leaving => "leaving: kept for the calls and clients that it has".into(),
            (true, _) if self.deaf.is_some() => "does not answer OPTIONS".into(),
            (true, _) if self.silent >= SILENT_MAX => "failed: REGISTERs are not answered".into(),
            (true, _) => "active".into(),
            (false, Some(why)) => format!("failed: {why}"),
            (false, None) => "connecting".into(),
        }
    }
}

impl Core {
    pub(super) fn zone(&self, name: &str) -> Option<&Zone> {
        self.zones.iter().find(|z| z.name == name)
    }

    /// The connection of a zone, dialled if there is none.
    pub(super) fn zone_flow(&mut self, now: Now, name: &str) -> Option<FlowId> {
        let index = self.zones.iter().position(|z| z.name == name)?;
        let flow = self.zones.get(index)?.flow;
        flow.or_else(|| self.dial_zone(now, index))
    }

    fn dial_zone(&mut self, now: Now, index: usize) -> Option<FlowId> {
        let zone = self.zones.get_mut(index)?;
        let flow = self.station.dial(zone.target.clone());
        zone.flow = flow;
        zone.up = false;
        zone.retry = None;
        let Some(flow) = flow else {
            zone.retry = Some(now.instant + zone.wait);
            return None;
        };
        // Zones may share a connection that already stands.
        if self.station.side(flow).is_some() {
            zone.up = true;
            self.zones_changed = true;
            zone.since = now.instant;
        }
        if let Some(old) = zone.last.replace(flow).filter(|old| *old != flow) {
            self.b2bua.flow_moved(old, flow);
        }
        Some(flow)
    }

    /// Dials all zones that have no connection and wait for nothing.
    pub(super) fn dial_zones(&mut self, now: Now) {
        for index in 0..self.zones.len() {
            let due = |at: Instant| at <= now.instant;
            let idle = self
                .zones
                .get(index)
                .is_some_and(|z| z.flow.is_none() && z.retry.is_none_or(due));
            if idle {
                self.dial_zone(now, index);
            }
        }
    }

    /// A connection that we dialled stands: what waited for it goes on.
    pub(super) fn zone_up(&mut self, now: Now, conn: ConnId) {
        let Some(flow) = self.station.flows.by_conn(conn) else {
            return;
        };
        for zone in self.zones.iter_mut().filter(|z| z.flow == Some(flow)) {
            zone.up = true;
            zone.since = now.instant;
            zone.why = None;
            let monitor = zone.trunk.as_ref().is_some_and(|t| t.monitor);
            zone.probe = monitor.then_some(now.instant);
            zone.silent = 0;
        }
        self.zones_changed = true;
        self.release_parked(now, flow);
    }

    /// A connection inside is gone, or never came to be.
    pub(super) fn inside_down(&mut self, now: Now, flow: FlowId, why: &str) {
        let mut failed = Vec::new();
        for zone in self.zones.iter_mut().filter(|z| z.flow == Some(flow)) {
            zone.flow = None;
            (zone.deaf, zone.probe) = (None, None);
            let stood = std::mem::take(&mut zone.up);
            if stood && now.instant.since(zone.since) >= GOOD {
                // It may have been closed for idleness: dial at once, and see.
                zone.wait = WAIT;
                zone.retry = Some(now.instant);
                continue;
            }
            zone.retry = Some(now.instant + zone.wait);
            zone.wait = (zone.wait * 2).min(WAIT_MAX);
            if zone.why.replace(why.to_owned()).is_none() && !zone.leaving {
                let hint = if zone.is_secure_line() { SECURE } else { "" };
                failed.push((zone.name.clone(), zone.target.clone(), hint));
            }
        }
        self.zones_changed = true;
        for (name, target, hint) in failed {
            let proof = [
                ("zone", name),
                ("server", format!("{}:{}", target.host, target.port)),
            ];
            self.board.event(
                &mut self.station.out,
                Kind::CallControlDown,
                now,
                &format!("{why}{hint}"),
                &proof,
            );
        }
        // A connection that call control made: calls on it go on over ours.
        if let Some(zone) = self.inbound.remove(&flow)
            && let Some(ours) = self.zone_flow(now, &zone)
        {
            self.b2bua.flow_moved(flow, ours);
        }
        self.move_parked(now, flow);
    }

    /// The zone that a connection inside belongs to: ours by its connection, one that call control
    /// made by the calls on it or, failing both, the first.
    pub(super) fn zone_of(&self, flow: FlowId) -> Option<String> {
        let ours = self
            .zones
            .iter()
            .find(|z| z.flow == Some(flow))
            .map(|z| z.name.clone());
        let theirs = || self.inbound.get(&flow).cloned();
        ours.or_else(theirs)
            .or_else(|| Some(self.homes().next()?.name.clone()))
    }

    /// Zones that clients register in.
    fn homes(&self) -> impl Iterator<Item = &Zone> {
        let zones = self.zones.iter();
        zones.filter(|z| z.trunk.is_none() && !z.leaving)
    }

    /// Zones that lead to a host, the standing ones first. A node is meant by its name; a domain
    /// that is served means the registrars, or every node where there are none.
    pub(super) fn zones_for(&self, host: &str) -> Vec<String> {
        let named = self.homes().filter(|z| z.host.eq_ignore_ascii_case(host));
        let mut found: Vec<&Zone> = named.collect();
        if found.is_empty() && self.settings.serves_sip(host) {
            let own = self.settings.registrars_of(host);
            let is_own = |z: &&Zone| match own {
                Some(names) => names.contains(&z.of),
                None => self.settings.is_zone_of(host, z),
            };
            let registrars = self.homes().filter(|z| !z.unified_cm);
            found = registrars.filter(is_own).collect();
            if found.is_empty() && own.is_none() {
                found = self.homes().filter(|z| z.unified_cm).collect();
            }
        }
        // Those of secure profiles are for who asks for one.
        found.retain(|z| !z.is_secure_line());
        found.sort_by_key(|z| !z.up);
        found.into_iter().map(|z| z.name.clone()).collect()
    }

    /// Whether a user of a domain, empty for one of any, may be somebody at a URI's host, in a zone.
    /// The zone may have been chosen by another URI, so each must fit.
    pub(super) fn is_user_of(&self, domain: &str, uri: &[u8], zone: &Zone) -> bool {
        let (settings, host) = (&self.settings, host_of(uri).unwrap_or_default());
        let of_host = || {
            let is = |name: &str| same_host(name, &host);
            let zones = self.zones.iter().filter(|z| z.trunk.is_none());
            let mut zones = zones
                .filter(|z| is(&z.host) || is(&z.target.host))
                .peekable();
            zones.peek().is_none() || zones.any(|z| settings.is_zone_of(domain, z))
        };
        let at_home = match settings.domain(&host) {
            Some(_) => settings.one_directory(domain, &host),
            None => of_host(),
        };
        domain.is_empty() || at_home && settings.is_zone_of(domain, zone)
    }

    /// Whether a host is a zone's: the name that requests use, or the server dialled.
    pub(super) fn is_zone_host(&self, host: &str) -> bool {
        let is = |name: &str| same_host(name, host);
        let mut zones = self.zones.iter().filter(|z| z.trunk.is_none());
        zones.any(|z| is(&z.host) || is(&z.target.host))
    }

    /// Whether addresses of record may be at a host: a domain that is served, or a zone's host.
    pub(super) fn is_home(&self, host: &str) -> bool {
        self.settings.serves_sip(host) || self.is_zone_host(host)
    }

    /// Whether call control may be sent to this port of this host, of ours or a zone's.
    pub(super) fn is_zone_port(&self, host: &str, port: u16) -> bool {
        let usual = matches!(port, 5060 | 5061);
        let zones = || {
            self.zones.iter().filter(|z| z.trunk.is_none()).any(|z| {
                (same_host(&z.host, host) || same_host(&z.target.host, host))
                    && (usual || z.target.port == port)
            })
        };
        (usual && self.settings.serves_sip(host)) || self.settings.listens(host, port) || zones()
    }

    pub(super) fn zone_rows(&self) -> Vec<(String, String)> {
        self.zones
            .iter()
            .map(|z| (z.name.clone(), z.state()))
            .collect()
    }

    pub(super) fn zones_poll_timeout(&self) -> Option<Instant> {
        self.zones
            .iter()
            .filter(|z| z.flow.is_none())
            .filter_map(|z| z.retry)
            .chain(self.zones.iter().filter_map(|z| z.probe))
            .min()
    }

    /// The zones are these from now on; those that stay keep their connection.
    pub(super) fn set_zones(&mut self, now: Now, zones: Vec<Zone>) {
        let mut old = std::mem::take(&mut self.zones);
        for mut zone in zones {
            let same = |o: &Zone| o.name == zone.name && o.target == zone.target;
            if let Some(at) = old.iter().position(same) {
                let before = old.swap_remove(at);
                zone = Zone {
                    of: zone.of,
                    generated: zone.generated,
                    trunk: zone.trunk,
                    unified_cm: zone.unified_cm,
                    rewrites: zone.rewrites,
                    ice: zone.ice,
                    leaving: false,
                    ..before
                };
            }
            self.zones.push(zone);
        }
        for mut gone in old {
            // Behind those of the same name that take its place.
            if self.zones.len() < ZONES_MAX && self.is_needed(&gone) {
                gone.leaving = true;
                self.zones.push(gone);
                continue;
            }
            self.zone_gone(&gone);
        }
        self.zones_changed = true;
        self.dial_zones(now);
    }

    /// Whether calls go by a zone's connection, or clients are registered in it and in no other of
    /// its name.
    fn is_needed(&self, zone: &Zone) -> bool {
        let called = zone.flow.is_some_and(|flow| self.b2bua.uses(flow));
        let replaced = || self.zones.iter().any(|z| !z.leaving && z.name == zone.name);
        let homed = || {
            self.registrar
                .iter()
                .any(|(_, b)| *b.draft.zone == *zone.name)
        };
        called || zone.trunk.is_none() && !replaced() && homed()
    }

    fn zone_gone(&mut self, zone: &Zone) {
        let shared = self.zones.iter().any(|z| z.flow == zone.flow);
        if let Some(flow) = zone.flow.filter(|_| !shared) {
            self.station.close(flow);
        }
    }

    /// Lets zones go that stayed for calls and clients and have none any more.
    pub(super) fn leave_zones(&mut self) {
        if !self.zones.iter().any(|z| z.leaving) {
            return;
        }
        let (stay, leaving): (Vec<Zone>, Vec<Zone>) = std::mem::take(&mut self.zones)
            .into_iter()
            .partition(|z| !z.leaving);
        self.zones = stay;
        for zone in leaving {
            if self.is_needed(&zone) {
                self.zones.push(zone);
            } else {
                self.zone_gone(&zone);
            }
        }
        self.zones_changed = true;
    }

    /// A zone has answered a REGISTER, or has not.
    pub(super) fn zone_heard(&mut self, name: &str, heard: bool) {
        let Some(zone) = self.zones.iter_mut().find(|z| z.name == name) else {
            return;
        };
        let was = zone.is_dead();
        zone.silent = if heard {
            0
        } else {
            zone.silent.saturating_add(1)
        };
        self.zones_changed |= zone.is_dead() != was;
    }

    /// Tells edges which zones are dead, if that has changed: they let those clients go elsewhere
    /// that ask whether their way stands (`protocol.md` 5.5).
    pub(super) fn tell_zones(&mut self) {
        if !std::mem::take(&mut self.zones_changed) {
            return;
        }
        let zones = self.zones.iter().filter(|z| !z.leaving);
        let dead = zones.filter(|z| z.is_dead());
        let dead: Vec<String> = dead.map(|z| z.name.clone()).collect();
        if dead == self.zones_dead {
            return;
        }
        self.zones_dead = dead;
        for index in 0..self.links.len() {
            self.tell_zones_to(index);
        }
    }
}

/// Whether two hosts are one: names in any case, IPv6 with brackets or without.
fn same_host(one: &str, other: &str) -> bool {
    let plain = |host: &str| host.trim_matches(['[', ']']).to_ascii_lowercase();
    plain(one) == plain(other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_of_any_call_control_over_tls_may_be_encrypted() {
        let zone = |tls: bool| {
            let host = "registrar.example.test".to_owned();
            let target = Target {
                host: host.clone(),
                port: 5061,
                tls: tls.then(|| host.clone()),
                tls_verify: true,
                from: None,
            };
            Zone::new("registrar".into(), host, target, false, false)
        };
        assert_eq!(zone(true).encryption(), Encryption::BestEffort);
        assert_eq!(zone(false).encryption(), Encryption::Off);
    }
}
