//! The edge's relay: packets between clients and the link, without keys of the media.
//!
//! A client's true address is learnt from the core alone (RFC 7362's latching, made safe): a
//! packet from a new address goes to the core as a *candidate*; the core checks its SRTP tag and
//! names the candidate that was good. Until then media goes only where signalling says the client
//! is. So a stranger can neither receive nor inject a packet. At most [`CANDIDATES_MAX`]
//! addresses a component are tried, with [`TRIES_MAX`] packets each, in [`FORGET_AFTER`].

use std::net::SocketAddr;
use std::time::Duration;

use base::{HashMap, Instant};
use smallvec::SmallVec;

use crate::mux::{HEADER_BYTES, Head, Keys, Kind};
use crate::rtp::{self, Meter};
use crate::{Component, Counters, EdgeLeg, LegId, LinkId, StreamId};

/// Addresses that may claim to be a client, a component.
pub const CANDIDATES_MAX: usize = 4;

/// Packets of each that the core is asked about.
pub const TRIES_MAX: u8 = 8;

/// After this long without a verdict, the addresses are forgotten and may try again.
pub const FORGET_AFTER: Duration = Duration::from_secs(5);

#[derive(Clone, Copy, Debug)]
struct Candidate {
    /// Never given twice, so that a verdict on one address is never taken for another's.
    number: u16,
    address: SocketAddr,
    tries: u8,
}

#[derive(Debug, Default)]
struct Latch {
    address: Option<SocketAddr>,
    candidates: SmallVec<[Candidate; CANDIDATES_MAX]>,
    next: u16,
    since: Instant,
}

impl Latch {
    /// The number of an address that is not latched; `None` if it may not be asked about.
    fn candidate(&mut self, now: Instant, address: SocketAddr) -> Option<u16> {
        if now.since(self.since) >= FORGET_AFTER {
            self.candidates.clear();
        }
        if self.candidates.is_empty() {
            self.since = now;
        }
        let at = match self.candidates.iter().position(|c| c.address == address) {
            Some(at) => at,
            None if self.candidates.len() >= CANDIDATES_MAX => return None,
            None => {
                self.candidates.push(Candidate {
                    number: self.next,
                    address,
                    tries: 0,
                });
                self.next = self.next.wrapping_add(1);
                self.candidates.len() - 1
            }
        };
        let candidate = self.candidates.get_mut(at)?;
        candidate.tries = candidate.tries.saturating_add(1);
        (candidate.tries <= TRIES_MAX).then_some(candidate.number)
    }
}

struct Leg {
    edge: EdgeLeg,
    rtp: Latch,
    rtcp: Latch,
    sequence: u16,
    from_client: Meter,
    to_client: Meter,
    counters: Counters,
}

impl Leg {
    fn latch(&mut self, component: Component) -> &mut Latch {
        match component {
            Component::Rtp => &mut self.rtp,
            Component::Rtcp => &mut self.rtcp,
        }
    }

    /// Where media to the client goes.
    fn target(&self, component: Component) -> Option<SocketAddr> {
        let latched = match component {
            Component::Rtp => self.rtp.address,
            Component::Rtcp => self.rtcp.address,
        };
        let signalled = self.edge.expected.first().copied();
        latched.or_else(|| match component {
            Component::Rtp => signalled,
            Component::Rtcp => {
                signalled.map(|a| SocketAddr::new(a.ip(), a.port().saturating_add(1)))
            }
        })
    }
}

/// Where a frame from the core leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromLink {
    /// Send the payload (from [`HEADER_BYTES`] on) from this leg's socket.
    ToClient {
        /// The leg.
        leg: LegId,
        /// Its socket.
        component: Component,
        /// The client.
        to: SocketAddr,
    },
    /// The core has found the client.
    Latched {
        /// The leg.
        leg: LegId,
        /// Its socket.
        component: Component,
        /// The client.
        address: SocketAddr,
    },
    /// A greeting; to be answered by the owner of the link's sockets.
    Hello,
    /// Nothing.
    Dropped,
}

/// All legs of an edge, or of one of its workers.
#[derive(Default)]
pub struct Relay {
    legs: HashMap<LegId, Leg>,
    by_stream: HashMap<(LinkId, StreamId), LegId>,
}

impl Relay {
    /// Opens a leg, or changes it.
    pub fn install(&mut self, leg: LegId, edge: EdgeLeg) {
        let name = (edge.link, edge.stream);
        match self.legs.get_mut(&leg) {
            Some(row) => {
                self.by_stream.remove(&(row.edge.link, row.edge.stream));
                row.edge = edge;
            }
            None => {
                let row = Leg {
                    edge,
                    rtp: Latch::default(),
                    rtcp: Latch::default(),
                    sequence: 0,
                    from_client: Meter::default(),
                    to_client: Meter::default(),
                    counters: Counters::default(),
                };
                self.legs.insert(leg, row);
            }
        }
        self.by_stream.insert(name, leg);
    }

    /// Closes a leg; gives what it carried.
    pub fn remove(&mut self, leg: LegId) -> Option<Counters> {
        let row = self.legs.remove(&leg)?;
        self.by_stream.remove(&(row.edge.link, row.edge.stream));
        Some(counters(&row))
    }

    /// What a leg has carried so far.
    pub fn counters(&self, leg: LegId) -> Option<Counters> {
        self.legs.get(&leg).map(counters)
    }

    /// The link a leg runs over.
    pub fn link_of(&self, leg: LegId) -> Option<LinkId> {
        self.legs.get(&leg).map(|l| l.edge.link)
    }

    /// A packet came in on a leg's socket: makes the frame for the core in `out`; false if the
    /// packet goes nowhere.
    #[expect(
        clippy::too_many_arguments,
        reason = "a packet's facts, read once and kept nowhere"
    )]
    pub fn from_client(
        &mut self,
        now: Instant,
        leg: LegId,
        component: Component,
        source: SocketAddr,
        packet: &[u8],
        keys: &Keys,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(row) = self.legs.get_mut(&leg) else {
            return false;
        };
        let kind = match (rtp::kind(packet), component) {
            (rtp::Kind::Rtp, Component::Rtp) | (rtp::Kind::Rtcp, Component::Rtcp) => Kind::Data,
            _ => {
                row.counters.malformed += 1;
                return false;
            }
        };
        let stream = row.edge.stream;
        if row.latch(component).address == Some(source) {
            row.sequence = row.sequence.wrapping_add(1);
            match component {
                Component::Rtp => row.from_client.rtp(now, packet),
                Component::Rtcp => row.from_client.rtcp(packet),
            }
            keys.seal(
                Head {
                    kind,
                    number: row.sequence,
                    stream,
                },
                packet,
                out,
            );
            return true;
        }
        match row.latch(component).candidate(now, source) {
            Some(number) => {
                keys.seal(
                    Head {
                        kind: Kind::Candidate,
                        number,
                        stream,
                    },
                    packet,
                    out,
                );
                true
            }
            None => {
                row.counters.strangers += 1;
                false
            }
        }
    }

    /// A frame came in on the link: `component` says on which of its sockets.
    pub fn from_link(
        &mut self,
        now: Instant,
        link: LinkId,
        component: Component,
        head: Head,
        frame: &[u8],
    ) -> FromLink {
        if head.kind == Kind::Hello {
            return FromLink::Hello;
        }
        let Some(&leg) = self.by_stream.get(&(link, head.stream)) else {
            return FromLink::Dropped;
        };
        let Some(row) = self.legs.get_mut(&leg) else {
            return FromLink::Dropped;
        };
        match head.kind {
            Kind::Data => {
                let packet = frame.get(HEADER_BYTES..).unwrap_or_default();
                match component {
                    Component::Rtp => row.to_client.rtp(now, packet),
                    Component::Rtcp => row.to_client.rtcp(packet),
                }
                match row.target(component) {
                    Some(to) => FromLink::ToClient { leg, component, to },
                    None => FromLink::Dropped,
                }
            }
            Kind::Latch => {
                let latch = row.latch(component);
                let named = |c: &&Candidate| c.number == head.number;
                let Some(found) = latch.candidates.iter().find(named).copied() else {
                    return FromLink::Dropped;
                };
                latch.candidates.clear();
                if latch.address == Some(found.address) {
                    return FromLink::Dropped;
                }
                latch.address = Some(found.address);
                FromLink::Latched {
                    leg,
                    component,
                    address: found.address,
                }
            }
            _ => FromLink::Dropped,
        }
    }
}

fn counters(row: &Leg) -> Counters {
    Counters {
        from_client: row.from_client.direction,
        to_client: row.to_client.direction,
        ..row.counters
    }
}
