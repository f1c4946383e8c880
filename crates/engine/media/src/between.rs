//! The core's relay between two inside parties whose media is not the same: RTP on one side and
//! SRTP on the other, or SRTP under other keys on each.
//!
//! Each m-line has two legs, one towards each party; what comes in on one goes out by the other. A
//! packet is taken from the signalled address of its leg alone, opened with that party's key, and
//! closed with the other's; one that cannot be opened goes nowhere. Datagrams that are no RTP
//! ([`crate::datagram`]) pass as they are. It makes no packets of its own.
//!
//! Bounds: its owner's, who opens a socket pair for each leg.

use std::net::SocketAddr;
use std::time::Duration;

use base::{HashMap, Instant};

use crate::inside::Secure;
use crate::rtp::{self, Meter};
use crate::srtp::SrtpError;
use crate::{Component, Counters, Inside, InsideLeg, LegId};

struct Leg {
    inside: InsideLeg,
    keys: Option<Box<Secure>>,
    from_party: Meter,
    to_party: Meter,
    counters: Counters,
    heard: Instant,
}

/// All legs between inside parties of a core, or of one of its workers.
#[derive(Default)]
pub struct Relay {
    legs: HashMap<LegId, Leg>,
}

impl Relay {
    /// Opens a leg, or changes it. A key that stays the same keeps its counters and windows.
    pub fn install(&mut self, now: Instant, leg: LegId, inside: InsideLeg) {
        match self.legs.get_mut(&leg) {
            Some(row) => {
                if row.inside.packets != inside.packets {
                    Secure::renew(&mut row.keys, now, &row.inside.packets, &inside.packets);
                }
                if inside.receive && !row.inside.receive {
                    // Silence on hold is none.
                    row.heard = now;
                }
                row.inside = inside;
            }
            None => {
                let row = Leg {
                    keys: Secure::new(&inside.packets),
                    inside,
                    from_party: Meter::default(),
                    to_party: Meter::default(),
                    counters: Counters::default(),
                    heard: now,
                };
                self.legs.insert(leg, row);
            }
        }
    }

    /// Closes a leg; gives what it carried.
    pub fn remove(&mut self, leg: LegId) -> Option<Counters> {
        Some(counters(&self.legs.remove(&leg)?))
    }

    /// What a leg has carried so far; its party is the client that the figures speak of.
    pub fn counters(&self, leg: LegId) -> Option<Counters> {
        self.legs.get(&leg).map(counters)
    }

    /// How long nothing has come from a leg's party, while something should.
    pub fn silence(&self, now: Instant, leg: LegId) -> Option<Duration> {
        let row = self.legs.get(&leg)?;
        let media = !matches!(row.inside.packets, Inside::Datagrams(_));
        (row.inside.receive && media).then(|| now.since(row.heard))
    }

    /// A packet came in on a leg's socket. It becomes what the other party expects; gives the leg
    /// whose socket it leaves by, and for where.
    pub fn pass(
        &mut self,
        now: Instant,
        leg: LegId,
        component: Component,
        source: SocketAddr,
        packet: &mut Vec<u8>,
    ) -> Option<(LegId, SocketAddr)> {
        let row = self.legs.get_mut(&leg)?;
        if row.inside.remote.map(|r| r.of(component)) != Some(source) {
            row.counters.strangers += 1;
            return None;
        }
        if let Err(error) = open(row, now, component, packet) {
            row.counters.count(error);
            return None;
        }
        row.heard = now;
        meter(&mut row.from_party, &row.inside, now, component, packet);
        if !row.inside.receive {
            return None;
        }
        let other = row.inside.other;
        let row = self.legs.get_mut(&other)?;
        let to = row.inside.remote?.of(component);
        meter(&mut row.to_party, &row.inside, now, component, packet);
        if let Err(error) = close(row, component, packet) {
            row.counters.count(error);
            return None;
        }
        Some((other, to))
    }
}

/// Makes RTP or RTCP of a packet.
fn open(
    row: &mut Leg,
    now: Instant,
    component: Component,
    packet: &mut Vec<u8>,
) -> Result<(), SrtpError> {
    if let Inside::Datagrams(kind) = &row.inside.packets {
        let fits = component == Component::Rtp && kind.admits(packet);
        return fits.then_some(()).ok_or(SrtpError::Malformed);
    }
    if !rtp::fits(component, packet) {
        return Err(SrtpError::Malformed);
    }
    match (&row.inside.packets, row.keys.as_deref_mut()) {
        (Inside::Secure { .. }, Some(keys)) => keys.open(now, component, packet),
        (Inside::Secure { .. }, None) => Err(SrtpError::Forged),
        _ => Ok(()),
    }
}

/// Makes of a packet what a party expects.
fn close(row: &mut Leg, component: Component, packet: &mut Vec<u8>) -> Result<(), SrtpError> {
    match (&row.inside.packets, row.keys.as_deref_mut()) {
        (Inside::Secure { .. }, Some(keys)) => keys.close(component, packet),
        (Inside::Secure { .. }, None) => Err(SrtpError::Forged),
        _ => Ok(()),
    }
}

fn meter(to: &mut Meter, leg: &InsideLeg, now: Instant, component: Component, packet: &[u8]) {
    match (component, &leg.packets) {
        (Component::Rtcp, _) => to.rtcp(packet),
        (Component::Rtp, Inside::Datagrams(_)) => to.datagram(packet),
        (Component::Rtp, _) => to.rtp(now, packet),
    }
}

fn counters(row: &Leg) -> Counters {
    Counters {
        from_client: row.from_party.direction,
        to_client: row.to_party.direction,
        ..row.counters
    }
}
