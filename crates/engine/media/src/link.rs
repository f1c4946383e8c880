//! The media of one edge–core link: its keys, its greetings, whether it works.
//!
//! A link has one or more *hops*: a pair of sockets' RTP or RTCP half. The core dials, so that the
//! firewall opens outwards: on each hop it sends a HELLO at once, again at growing pauses until
//! the edge answers, and then every [`KEEP_ALIVE`]. The edge learns from HELLOs alone where the
//! core is: each carries a number that rises, so one that was recorded and is sent again moves
//! nothing, and media never moves it. Each greeting tells how many frames its sender has sent and
//! received on the hop, so both ends know the loss of the hop by itself.
//!
//! ```text
//! HELLO and HELLO-ACK: the number is twice the pair, plus 1 for RTCP; the payload
//!  bytes 0–7    the core's clock in µs when it sent the HELLO; the edge returns it
//!  bytes 8–11   frames the sender has sent on this hop, greetings apart, modulo 2³²
//!  bytes 12–15  frames it has received
//!  bytes 16–19  the last round trip the core has measured, in µs; 0 if none
//! ```
//!
//! Keys change with each control connection, at either end at its own moment, and no packet is
//! lost by it: an end sends under the old keys until a frame under the new ones proves that the
//! other end has them too, and still reads the old ones for [`OVERLAP`] after that.
//!
//! In: frames, time, keys. Out: frames to send, [`State`]. Bounds: [`PAIRS_MAX`] pairs a link.

mod dialer;
mod listener;
mod meter;

pub use dialer::Dialer;
pub use listener::Listener;

use std::time::Duration;

use base::Instant;

use crate::mux::{End, Head, Keys, Kind};
use crate::{Component, LinkKeys, StreamId};

/// Port pairs of a link: 36000 to 36011.
pub const PAIRS_MAX: usize = 6;

/// How often the core greets on a hop that works.
pub const KEEP_ALIVE: Duration = Duration::from_secs(5);

/// The first pause between greetings that nobody answers; it doubles up to [`KEEP_ALIVE`].
pub const RETRY: Duration = Duration::from_millis(100);

/// A hop on which nothing was heard for this long does not work.
pub const DEAD_AFTER: Duration = Duration::from_secs(12);

/// How long old keys are read after the other end has shown that it has the new ones.
pub const OVERLAP: Duration = Duration::from_secs(10);

/// Bytes of a greeting's payload.
const GREETING_BYTES: usize = 20;

/// One of a link's ways: a half of one of its port pairs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hop {
    /// The pair, from 0.
    pub pair: usize,
    /// Which half.
    pub component: Component,
}

impl Hop {
    /// Its place in a table of all hops.
    pub const fn index(self) -> usize {
        self.pair * 2 + matches!(self.component, Component::Rtcp) as usize
    }

    /// The hop at a place in the table.
    pub const fn at(index: usize) -> Hop {
        let component = if index.is_multiple_of(2) {
            Component::Rtp
        } else {
            Component::Rtcp
        };
        Hop {
            pair: index / 2,
            component,
        }
    }
}

/// How a link's media does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct State {
    /// Whether RTP passes on some pair.
    pub up: bool,
    /// The last round trip on it.
    pub round_trip: Option<Duration>,
    /// Frames lost, in thousandths, in the worse direction of the worst hop since the last
    /// greeting.
    pub loss_permille: u16,
}

/// The keys in use, and the ones before them.
struct Keyring {
    current: Keys,
    /// The old keys; and, once the other end has shown the new ones, until when they are read.
    old: Option<(Keys, Option<Instant>)>,
}

impl Keyring {
    fn new(keys: &LinkKeys, end: End) -> Keyring {
        Keyring {
            current: Keys::new(keys, end),
            old: None,
        }
    }

    fn renew(&mut self, keys: &LinkKeys, end: End) {
        let old = std::mem::replace(&mut self.current, Keys::new(keys, end));
        match &self.old {
            // The keys in between were never shown by the other end: the older ones serve on.
            Some((_, None)) => {}
            _ => self.old = Some((old, None)),
        }
    }

    /// Whether the other end has shown the keys in use.
    fn is_proven(&self) -> bool {
        !matches!(self.old, Some((_, None)))
    }

    /// What packets are sealed with.
    fn sending(&self) -> &Keys {
        match &self.old {
            Some((old, None)) => old,
            _ => &self.current,
        }
    }

    /// Reads a frame; true beside it if the keys in use opened it.
    fn open(&mut self, now: Instant, frame: &[u8]) -> Option<(Head, bool)> {
        if let Some(head) = self.current.open(frame) {
            if let Some((_, until @ None)) = &mut self.old {
                *until = Some(now + OVERLAP);
            }
            return Some((head, true));
        }
        let (old, until) = self.old.as_ref()?;
        if until.is_some_and(|until| until <= now) {
            self.old = None;
            return None;
        }
        Some((old.open(frame)?, false))
    }
}

/// What a greeting says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Greeting {
    clock: u64,
    sent: u32,
    received: u32,
    round_trip_us: u32,
}

impl Greeting {
    fn write(self) -> [u8; GREETING_BYTES] {
        let mut out = [0; GREETING_BYTES];
        out[..8].copy_from_slice(&self.clock.to_be_bytes());
        out[8..12].copy_from_slice(&self.sent.to_be_bytes());
        out[12..16].copy_from_slice(&self.received.to_be_bytes());
        out[16..].copy_from_slice(&self.round_trip_us.to_be_bytes());
        out
    }

    /// From a frame; later versions may say more behind.
    fn read(frame: &[u8]) -> Option<Greeting> {
        let b = frame
            .get(crate::mux::HEADER_BYTES..)?
            .first_chunk::<GREETING_BYTES>()?;
        Some(Greeting {
            clock: u64::from_be_bytes(*b.first_chunk()?),
            sent: u32::from_be_bytes(*b[8..].first_chunk()?),
            received: u32::from_be_bytes(*b[12..].first_chunk()?),
            round_trip_us: u32::from_be_bytes(*b[16..].first_chunk()?),
        })
    }

    fn round_trip(self) -> Option<Duration> {
        (self.round_trip_us > 0).then(|| Duration::from_micros(u64::from(self.round_trip_us)))
    }

    /// The frame's number names the hop, so that no greeting is good for another.
    fn seal(self, kind: Kind, hop: Hop, keys: &Keys, out: &mut Vec<u8>) {
        let head = Head {
            kind,
            number: hop.index() as u16,
            stream: StreamId(0),
        };
        keys.seal(head, &self.write(), out);
    }
}

#[cfg(test)]
mod tests;
