//! Transfers of calls that search rules led to a trunk.
//!
//! A call that call control has is transferred by call control. One that the core's own rules led
//! to a neighbour has nobody between client and neighbour but the core, and the client's REFER goes
//! to the neighbour, which is to call whom it names (RFC 3515, RFC 5589). That call comes in from
//! the neighbour's zone, whose rules seldom lead where a client may call; the neighbour itself,
//! where the other party is, is never asked for what it asks. So what a client's REFER names, the
//! neighbour may call for [`GRANT`] where no rule of its own takes it, and goes where a call of the
//! client's own would: nowhere else, and to nobody else. A neighbour that may begin nothing
//! (`accept_incoming = false`) cannot do what a REFER asks: it is refused with 403 and event 2026.
//!
//! In: REFERs of clients in such calls, INVITEs of trunks that no rule takes. Out: places to try.
//! Whether the neighbour understands REFER is its own matter: what it answers, the client hears.
//! Bounds: [`GRANTS_MAX`] are remembered, the latest.

use std::collections::VecDeque;
use std::time::Duration;

use base::{Instant, Now};
use call::b2bua::{CallId, Side as Leg};
use call::registration::core::RegistrationId;
use sip::{Message, Method, Name, NameAddr};
use status::Kind;

use super::Core;
use super::outbound::Hop;
use super::registrations::host_of;
use super::routing::Refused;
use super::search::alias_of;
use super::trunks::End;
use super::zones::Zone;

/// How long a neighbour may do what a REFER asked of it; a person who is asked first takes longer.
const GRANT: Duration = Duration::from_secs(120);

/// REFERs that are remembered at once.
const GRANTS_MAX: usize = 1_000;

/// A neighbour was asked to call somebody.
struct Grant {
    /// The neighbour.
    end: End,
    /// Whom, as rules see it, and as the REFER says it.
    alias: String,
    uri: Vec<u8>,
    /// The client that asked, and its edge.
    row: RegistrationId,
    peer: usize,
    until: Instant,
}

/// What neighbours were asked, the oldest first.
#[derive(Default)]
pub(super) struct Referred(VecDeque<Grant>);

impl Referred {
    fn give(&mut self, now: Instant, grant: Grant) {
        self.0
            .retain(|g| g.end != grant.end || g.alias != grant.alias || g.row != grant.row);
        self.expire(now);
        if self.0.len() >= GRANTS_MAX {
            self.0.pop_front();
        }
        self.0.push_back(grant);
    }

    /// What is too old is forgotten.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.0.front().is_some_and(|g| g.until <= now) {
            self.0.pop_front();
        }
    }

    /// How many are kept.
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }
}

impl Core {
    /// Whether a client's request in a call may go on, if it is a REFER to a trunk; remembers what
    /// it asks for.
    pub(super) fn refers(
        &mut self,
        now: Now,
        side: Leg,
        peer: usize,
        message: &Message,
    ) -> Result<(), Refused> {
        if message.method() != Method::Refer {
            return Ok(());
        }
        let Some(call) = self.b2bua.call_of(side, message) else {
            return Ok(());
        };
        let Some(zone) = self.trunk_of(call) else {
            return Ok(());
        };
        let of = zone.of.clone();
        if zone.trunk.as_ref().is_some_and(|t| !t.accepts) {
            let cause = "a call with a zone that may begin no requests (accept_incoming = false) \
                         cannot be transferred";
            let proof = [("zone", of)];
            let (out, kind) = (&mut self.station.out, Kind::TransferRefused);
            self.board.stranger(out, kind, now, cause, &proof);
            return Err((403, "Transfer Not Allowed"));
        }
        let Some(row) = self.owners.get(&call).map(|owner| owner.row) else {
            return Ok(());
        };
        // As the neighbour gets it.
        let mapped = self.b2bua.map_references(side, message);
        for value in mapped.values(Name::ReferTo) {
            let address = NameAddr::parse(value).ok_or((400, "Bad Refer-To"))?;
            if let Some(alias) = alias_of(address.uri) {
                let grant = Grant {
                    end: End::zone(&of),
                    alias,
                    uri: address.uri.to_vec(),
                    row,
                    peer,
                    until: now.instant + GRANT,
                };
                self.referred.give(now.instant, grant);
            }
        }
        Ok(())
    }

    /// The trunk that a client's call is with, if it is with one.
    fn trunk_of(&self, call: CallId) -> Option<&Zone> {
        let flow = self.b2bua.inside_flow(call)?;
        self.sender(flow).filter(|zone| zone.trunk.is_some())
    }

    /// Where a trunk's call goes that no rule takes, and that a client's REFER asked for.
    pub(super) fn referred_hops(&self, now: Now, zone: &str, alias: &str) -> Vec<Hop> {
        let end = End::zone(zone);
        let (user, host) = parts(alias);
        let meant = |grant: &&Grant| {
            let (named, _) = parts(&grant.alias);
            let here = || named == user && host.is_some_and(|host| self.settings.is_us(host));
            grant.end == end && grant.until > now.instant && (grant.alias == alias || here())
        };
        let Some(grant) = self.referred.0.iter().rev().find(meant) else {
            return Vec::new();
        };
        let Some(draft) = self.registrar.get(grant.row).map(|b| &b.draft) else {
            return Vec::new();
        };
        let mut hops = self.client_hops(grant.peer, &grant.uri);
        if hops.is_empty() {
            let host = host_of(&grant.uri).filter(|host| self.is_zone_host(host));
            // A node that is named knows its own dialogs.
            let mut zones = host.map_or_else(Vec::new, |host| self.zones_for(&host));
            for zone in self.home_zones(draft) {
                if !zones.contains(&zone) {
                    zones.push(zone);
                }
            }
            hops.extend(zones.into_iter().map(|zone| Hop {
                zone,
                alias: (grant.alias != alias).then(|| grant.alias.clone()),
            }));
        }
        hops
    }
}

/// The user and the host of a destination, without a port.
fn parts(alias: &str) -> (&str, Option<&str>) {
    match alias.split_once('@') {
        None => (alias, None),
        Some((user, host)) => {
            let bare = match host.rsplit_once(':') {
                Some((bare, port)) if port.bytes().all(|b| b.is_ascii_digit()) => bare,
                _ => host,
            };
            (user, Some(bare))
        }
    }
}
