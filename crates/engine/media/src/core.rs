//! The core's relay: SRTP on the link's side; RTP on the inside, or SRTP under other keys, or
//! datagrams that are no RTP ([`crate::datagram`]).
//!
//! A packet from the link goes inside only after its tag is good; a candidate that is good also
//! earns a LATCH, which tells the edge where the client is. A packet from inside is taken from
//! the signalled address alone. When a client's key changes, the old one is kept for
//! [`OVERLAP`], so that packets under way are not lost.

use std::net::SocketAddr;
use std::time::Duration;

use base::{HashMap, Instant};

use crate::inside::{Secure, context};
use crate::mux::{HEADER_BYTES, Head, Keys, Kind};
use crate::rtp::{self, Meter};
use crate::srtp::{Context, SrtpError};
use crate::{Component, CoreLeg, Counters, Inside, LegId, LinkId, StreamId, datagram};

/// How long an old key still opens packets.
pub const OVERLAP: Duration = Duration::from_secs(2);

struct Leg {
    core: CoreLeg,
    open: Option<Context>,
    old: Option<(Context, Instant)>,
    seal: Option<Context>,
    /// The inside's keys, where it has some.
    inside: Option<Box<Secure>>,
    sequence: u16,
    from_client: Meter,
    to_client: Meter,
    counters: Counters,
    heard: Instant,
}

/// Where a frame from the edge leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FromLink {
    /// Send the packet (the buffer, which now holds it alone) from this leg's socket.
    ToInside {
        /// The leg.
        leg: LegId,
        /// Its socket.
        component: Component,
        /// The inside party, unless media is not to go there at present.
        to: Option<SocketAddr>,
        /// The candidate to latch: a frame for the edge is to be made with [`latch`].
        latch: Option<Head>,
    },
    /// The edge has answered a greeting.
    HelloAck,
    /// Nothing.
    Dropped,
}

/// All legs of a core, or of one of its workers.
#[derive(Default)]
pub struct Relay {
    legs: HashMap<LegId, Leg>,
    by_stream: HashMap<(LinkId, StreamId), LegId>,
}

impl Relay {
    /// Opens a leg, or changes it. A key that stays the same keeps its counters and windows.
    pub fn install(&mut self, now: Instant, leg: LegId, core: CoreLeg) {
        let name = (core.link, core.stream);
        match self.legs.get_mut(&leg) {
            Some(row) => {
                self.by_stream.remove(&(row.core.link, row.core.stream));
                if row.core.unprotect != core.unprotect {
                    row.old = row.open.take().map(|c| (c, now + OVERLAP));
                    row.open = context(core.unprotect.as_ref());
                }
                if row.core.protect != core.protect {
                    row.seal = context(core.protect.as_ref());
                }
                if row.core.inside != core.inside {
                    Secure::renew(&mut row.inside, now, &row.core.inside, &core.inside);
                }
                if core.receive && !row.core.receive {
                    // Silence on hold is none.
                    row.heard = now;
                }
                row.core = core;
            }
            None => {
                let row = Leg {
                    open: context(core.unprotect.as_ref()),
                    old: None,
                    seal: context(core.protect.as_ref()),
                    inside: Secure::new(&core.inside),
                    core,
                    sequence: 0,
                    from_client: Meter::default(),
                    to_client: Meter::default(),
                    counters: Counters::default(),
                    heard: now,
                };
                self.legs.insert(leg, row);
            }
        }
        self.by_stream.insert(name, leg);
    }

    /// Closes a leg; gives what it carried.
    pub fn remove(&mut self, leg: LegId) -> Option<Counters> {
        let row = self.legs.remove(&leg)?;
        self.by_stream.remove(&(row.core.link, row.core.stream));
        Some(counters(&row))
    }

    /// What a leg has carried so far.
    pub fn counters(&self, leg: LegId) -> Option<Counters> {
        self.legs.get(&leg).map(counters)
    }

    /// The link a leg runs over.
    pub fn link_of(&self, leg: LegId) -> Option<LinkId> {
        self.legs.get(&leg).map(|l| l.core.link)
    }

    /// How long nothing has come from a leg's client, while something should: media does not
    /// stop, control may.
    pub fn silence(&self, now: Instant, leg: LegId) -> Option<Duration> {
        let row = self.legs.get(&leg)?;
        let media = !matches!(row.core.inside, Inside::Datagrams(_));
        (row.core.receive && media).then(|| now.since(row.heard))
    }

    /// A frame came in on the link. `frame` becomes the packet for the inside.
    pub fn from_link(
        &mut self,
        now: Instant,
        link: LinkId,
        component: Component,
        head: Head,
        frame: &mut Vec<u8>,
    ) -> FromLink {
        if head.kind == Kind::HelloAck {
            return FromLink::HelloAck;
        }
        if !matches!(head.kind, Kind::Data | Kind::Candidate) {
            return FromLink::Dropped;
        }
        let Some(&leg) = self.by_stream.get(&(link, head.stream)) else {
            return FromLink::Dropped;
        };
        let Some(row) = self.legs.get_mut(&leg) else {
            return FromLink::Dropped;
        };
        frame.drain(..HEADER_BYTES.min(frame.len()));
        if let Err(error) = open(row, now, component, frame) {
            row.counters.count(error);
            return FromLink::Dropped;
        }
        row.heard = now;
        meter(&mut row.from_client, &row.core, now, component, frame);
        let to = row
            .core
            .remote
            .filter(|_| row.core.receive)
            .map(|r| r.of(component))
            .filter(|_| for_inside(row, component, frame));
        let latch = (head.kind == Kind::Candidate).then_some(Head {
            kind: Kind::Latch,
            ..head
        });
        FromLink::ToInside {
            leg,
            component,
            to,
            latch,
        }
    }

    /// A packet came in on a leg's socket: `packet` becomes SRTP, and `out` the frame for the
    /// edge; false if it goes nowhere.
    #[expect(
        clippy::too_many_arguments,
        reason = "a packet's facts, read once and kept nowhere"
    )]
    pub fn from_inside(
        &mut self,
        now: Instant,
        leg: LegId,
        component: Component,
        source: SocketAddr,
        packet: &mut Vec<u8>,
        keys: &Keys,
        out: &mut Vec<u8>,
    ) -> bool {
        let Some(row) = self.legs.get_mut(&leg) else {
            return false;
        };
        if row.core.remote.map(|r| r.of(component)) != Some(source) {
            row.counters.strangers += 1;
            return false;
        }
        row.sequence = row.sequence.wrapping_add(1);
        if let Err(error) = from_inside(row, now, component, packet) {
            row.counters.count(error);
            return false;
        }
        if !row.core.send {
            return false;
        }
        let Some(seal) = &mut row.seal else {
            return false;
        };
        meter(&mut row.to_client, &row.core, now, component, packet);
        let sealed = match component {
            Component::Rtp => seal.protect_rtp(packet),
            Component::Rtcp => seal.protect_rtcp(packet),
        };
        if sealed.is_err() {
            row.counters.malformed += 1;
            return false;
        }
        let head = Head {
            kind: Kind::Data,
            number: row.sequence,
            stream: row.core.stream,
        };
        keys.seal(head, packet, out);
        true
    }
}

/// The frame that tells the edge which candidate is the client.
pub fn latch(head: Head, keys: &Keys, out: &mut Vec<u8>) {
    keys.seal(head, &[], out);
}

/// Counts a packet; control that is no RTP has no clock to measure jitter by.
fn meter(to: &mut Meter, leg: &CoreLeg, now: Instant, component: Component, packet: &[u8]) {
    match (component, &leg.inside) {
        (Component::Rtcp, _) => to.rtcp(packet),
        (Component::Rtp, Inside::Datagrams(_)) => to.datagram(packet),
        (Component::Rtp, _) => to.rtp(now, packet),
    }
}

/// Makes an opened packet what the inside expects; false if it cannot be that.
fn for_inside(row: &mut Leg, component: Component, packet: &mut Vec<u8>) -> bool {
    let made = match (&row.core.inside, row.inside.as_deref_mut()) {
        (Inside::Plain, _) => Ok(()),
        (Inside::Datagrams(kind), _) => {
            let fits = component == Component::Rtp
                && datagram::unwrap(packet, row.core.stream)
                && kind.admits(packet);
            fits.then_some(()).ok_or(SrtpError::Malformed)
        }
        (Inside::Secure { .. }, Some(secure)) if secure.seals() => secure.close(component, packet),
        (Inside::Secure { .. }, _) => return false,
    };
    if let Err(error) = made {
        row.counters.count(error);
    }
    made.is_ok()
}

/// Makes a packet of the inside RTP or RTCP, as it is closed for the client.
fn from_inside(
    row: &mut Leg,
    now: Instant,
    component: Component,
    packet: &mut Vec<u8>,
) -> Result<(), SrtpError> {
    if let Inside::Datagrams(kind) = &row.core.inside {
        if component != Component::Rtp || !kind.admits(packet) {
            return Err(SrtpError::Malformed);
        }
        datagram::wrap(packet, row.core.stream, row.sequence);
        return Ok(());
    }
    if !rtp::fits(component, packet) {
        return Err(SrtpError::Malformed);
    }
    match (&row.core.inside, row.inside.as_deref_mut()) {
        (Inside::Secure { .. }, Some(secure)) => secure.open(now, component, packet),
        (Inside::Secure { .. }, None) => Err(SrtpError::Forged),
        _ => Ok(()),
    }
}

/// Opens a packet with the key, or with the one before it.
fn open(
    row: &mut Leg,
    now: Instant,
    component: Component,
    packet: &mut Vec<u8>,
) -> Result<(), SrtpError> {
    if !rtp::fits(component, packet) {
        return Err(SrtpError::Malformed);
    }
    if row.old.as_ref().is_some_and(|(_, until)| *until <= now) {
        row.old = None;
    }
    let with = |context: &mut Context, packet: &mut Vec<u8>| match component {
        Component::Rtp => context.unprotect_rtp(packet),
        Component::Rtcp => context.unprotect_rtcp(packet),
    };
    let Some(context) = &mut row.open else {
        return Err(SrtpError::Forged);
    };
    match (with(context, packet), &mut row.old) {
        (Err(SrtpError::Forged), Some((old, _))) => with(old, packet),
        (outcome, _) => outcome,
    }
}

fn counters(row: &Leg) -> Counters {
    Counters {
        from_client: row.from_client.direction,
        to_client: row.to_client.direction,
        ..row.counters
    }
}
