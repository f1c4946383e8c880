//! The edge's relay: packets between clients and the link, without keys of the media.
//!
//! A client's true address is learnt from the core alone (RFC 7362's latching, made safe): a
//! packet from a new address goes to the core as a *candidate*; the core checks its SRTP tag and
//! names the candidate that was good. Until then media goes only where signalling says the client
//! is. So a stranger can neither receive nor inject a packet. At most [`CANDIDATES_MAX`]
//! addresses a component are tried, with [`TRIES_MAX`] packets each, in [`FORGET_AFTER`]; strangers
//! never take the last place, which is for where the client's signalling comes from.
//!
//! A stream that is no RTP ([`crate::datagram`]) has no tag to check. It is heard from the address
//! alone that the call's RTP was verified to come from, and from one port of it, which changes
//! only after [`MOVE_AFTER`] of silence; and it is closed here for its way over the link.

use std::net::SocketAddr;
use std::time::Duration;

use base::{HashMap, Instant};
use smallvec::SmallVec;

use crate::mux::{HEADER_BYTES, Head, Keys, Kind};
use crate::rtp::{self, Meter};
use crate::srtp::Context;
use crate::{Component, Counters, EdgeLeg, LegId, LinkId, SrtpKey, StreamId, datagram};

/// Addresses that may claim to be a client, a component.
pub const CANDIDATES_MAX: usize = 4;

/// Those of them that may be others than where the client's signalling comes from.
pub const STRANGERS_MAX: usize = CANDIDATES_MAX - 1;

/// Packets of each that the core is asked about.
pub const TRIES_MAX: u8 = 8;

/// After this long without a verdict, the addresses are forgotten and may try again.
pub const FORGET_AFTER: Duration = Duration::from_secs(5);

/// How long the port of a stream that is no RTP must be silent before another one is heard.
pub const MOVE_AFTER: Duration = Duration::from_secs(15);

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
    /// The number of an address that is not latched; `None` if it may not be asked about. `own`
    /// says whether the client's signalling comes from there.
    fn candidate(&mut self, now: Instant, address: SocketAddr, own: bool) -> Option<u16> {
        if now.since(self.since) >= FORGET_AFTER {
            self.candidates.clear();
        }
        if self.candidates.is_empty() {
            self.since = now;
        }
        let places = if own { CANDIDATES_MAX } else { STRANGERS_MAX };
        let at = match self.candidates.iter().position(|c| c.address == address) {
            Some(at) => at,
            None if self.candidates.len() >= places => return None,
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

/// The keys of a stream that is no RTP, and when its client was last heard.
struct Wrapped {
    open: Option<Context>,
    seal: Option<Context>,
    heard: Instant,
}

impl Wrapped {
    fn new(edge: &EdgeLeg) -> Option<Box<Wrapped>> {
        let datagrams = edge.datagrams.as_ref()?;
        let context = |key: &Option<SrtpKey>| key.as_ref().and_then(|k| Context::new(k).ok());
        Some(Box::new(Wrapped {
            open: context(&datagrams.unprotect),
            seal: context(&datagrams.protect),
            heard: Instant::ZERO,
        }))
    }
}

struct Leg {
    edge: EdgeLeg,
    wrapped: Option<Box<Wrapped>>,
    rtp: Latch,
    rtcp: Latch,
    sequence: u16,
    from_client: Meter,
    to_client: Meter,
    counters: Counters,
}

impl Leg {
    fn renew(&mut self, edge: EdgeLeg) {
        let keys = |e: &EdgeLeg| {
            let d = e.datagrams.as_ref();
            d.map(|d| (d.kind, d.unprotect.clone(), d.protect.clone()))
        };
        let from = |e: &EdgeLeg| e.datagrams.as_ref().and_then(|d| d.from);
        if keys(&self.edge) != keys(&edge) {
            self.wrapped = Wrapped::new(&edge);
        }
        if edge.datagrams.is_some() && from(&self.edge) != from(&edge) {
            self.rtp.address = None;
        }
        self.edge = edge;
    }

    /// A datagram of the client: false if it goes nowhere. `packet` becomes what the link carries.
    fn wrap(
        &mut self,
        now: Instant,
        component: Component,
        source: SocketAddr,
        packet: &mut Vec<u8>,
    ) -> bool {
        let (Some(datagrams), Some(wrapped)) = (&self.edge.datagrams, &mut self.wrapped) else {
            return false;
        };
        let moved = self.rtp.address.is_some_and(|known| known != source);
        if component != Component::Rtp
            || datagrams.from != Some(source.ip())
            || (moved && now.since(wrapped.heard) < MOVE_AFTER)
        {
            self.counters.strangers += 1;
            return false;
        }
        if !datagrams.kind.admits(packet) {
            self.counters.malformed += 1;
            return false;
        }
        let Some(seal) = &mut wrapped.seal else {
            return false;
        };
        self.rtp.address = Some(source);
        wrapped.heard = now;
        self.sequence = self.sequence.wrapping_add(1);
        self.from_client.datagram(packet);
        datagram::wrap(packet, self.edge.stream, self.sequence);
        seal.protect_rtp(packet).is_ok()
    }

    /// A packet of the core becomes the datagram that it carries; false if it carries none.
    fn unwrap(&mut self, packet: &mut Vec<u8>) -> bool {
        let (Some(datagrams), Some(wrapped)) = (&self.edge.datagrams, &mut self.wrapped) else {
            return false;
        };
        let Some(open) = &mut wrapped.open else {
            return false;
        };
        if let Err(error) = open.unprotect_rtp(packet) {
            self.counters.count(error);
            return false;
        }
        let fits = datagram::unwrap(packet, self.edge.stream) && datagrams.kind.admits(packet);
        if fits {
            self.to_client.datagram(packet);
        } else {
            self.counters.malformed += 1;
        }
        fits
    }

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
    /// Send what [`Relay::datagram`] gives from this leg's first socket.
    Datagram {
        /// The leg.
        leg: LegId,
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
    /// A datagram on its way.
    scratch: Vec<u8>,
}

impl Relay {
    /// Opens a leg, or changes it. A key that stays the same keeps its counters and windows.
    pub fn install(&mut self, leg: LegId, edge: EdgeLeg) {
        let name = (edge.link, edge.stream);
        match self.legs.get_mut(&leg) {
            Some(row) => {
                self.by_stream.remove(&(row.edge.link, row.edge.stream));
                row.renew(edge);
            }
            None => {
                let row = Leg {
                    wrapped: Wrapped::new(&edge),
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

    /// The datagram that [`FromLink::Datagram`] speaks of.
    pub fn datagram(&self) -> &[u8] {
        &self.scratch
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
        if row.edge.datagrams.is_some() {
            self.scratch.clear();
            self.scratch.extend_from_slice(packet);
            let goes = row.wrap(now, component, source, &mut self.scratch);
            if goes {
                let head = Head {
                    kind: Kind::Data,
                    number: row.sequence,
                    stream: row.edge.stream,
                };
                keys.seal(head, &self.scratch, out);
            }
            return goes;
        }
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
        let own = row.edge.expected.iter().any(|e| e.ip() == source.ip());
        match row.latch(component).candidate(now, source, own) {
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
            Kind::Data if row.edge.datagrams.is_some() => {
                self.scratch.clear();
                let packet = frame.get(HEADER_BYTES..).unwrap_or_default();
                self.scratch.extend_from_slice(packet);
                let fits = component == Component::Rtp && row.unwrap(&mut self.scratch);
                match row.target(component).filter(|_| fits) {
                    Some(to) => FromLink::Datagram { leg, to },
                    None => FromLink::Dropped,
                }
            }
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
