//! The core's end of a link: it greets first.

use std::time::Duration;

use base::Instant;

use super::meter::Meter;
use super::{DEAD_AFTER, Greeting, Hop, KEEP_ALIVE, Keyring, PAIRS_MAX, RETRY, State};
use crate::LinkKeys;
use crate::mux::{End, Head, Keys, Kind};

/// The first pause after a greeting that was not answered, on a hop that worked.
const RETRY_ALIVE: Duration = Duration::from_secs(1);

#[derive(Clone, Copy)]
struct Row {
    next: Instant,
    pause: Duration,
    heard: Option<Instant>,
    /// The number of the last greeting: it rises, even when two leave in one microsecond.
    clock: u64,
    round_trip_us: u32,
    meter: Meter,
}

/// The core's end of one link.
pub struct Dialer {
    keys: Keyring,
    hops: Vec<Row>,
}

impl Dialer {
    /// A link of `pairs` port pairs, at most [`PAIRS_MAX`], to be greeted at once.
    pub fn new(now: Instant, keys: &LinkKeys, pairs: usize) -> Dialer {
        let row = Row {
            next: now,
            pause: RETRY,
            heard: None,
            clock: 0,
            round_trip_us: 0,
            meter: Meter::default(),
        };
        Dialer {
            keys: Keyring::new(keys, End::Core),
            hops: vec![row; pairs.min(PAIRS_MAX) * 2],
        }
    }

    /// The control connection is a new one.
    pub fn renew(&mut self, now: Instant, keys: &LinkKeys) {
        self.keys.renew(keys, End::Core);
        for hop in &mut self.hops {
            hop.next = now;
            hop.pause = RETRY;
            hop.meter.forget();
        }
    }

    /// When [`Dialer::poll_hello`] or [`Dialer::state`] has something new.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let dead = |h: &Row| {
            h.heard
                .map_or(h.next, |heard| h.next.min(heard + DEAD_AFTER))
        };
        self.hops.iter().map(dead).min()
    }

    /// Writes the next greeting that is due into `out`, replacing what is there.
    pub fn poll_hello(&mut self, now: Instant, out: &mut Vec<u8>) -> Option<Hop> {
        for hop in &mut self.hops {
            hop.heard = hop.heard.filter(|heard| now.since(*heard) < DEAD_AFTER);
        }
        let at = self.hops.iter().position(|h| h.next <= now)?;
        let hop = self.hops.get_mut(at)?;
        hop.next = now + hop.pause;
        hop.pause = (hop.pause * 2).min(KEEP_ALIVE);
        hop.clock = now.as_micros().max(hop.clock + 1);
        let greeting = hop.meter.greeting(hop.clock, hop.round_trip_us);
        greeting.seal(Kind::Hello, Hop::at(at), &self.keys.current, out);
        Some(Hop::at(at))
    }

    /// Reads a frame; `None` if it is none of this link's.
    pub fn open(&mut self, now: Instant, hop: Hop, frame: &[u8]) -> Option<Head> {
        let (head, _) = self.keys.open(now, frame)?;
        if matches!(head.kind, Kind::Data | Kind::Candidate)
            && let Some(hop) = self.hops.get_mut(hop.index())
        {
            hop.meter.received();
        }
        Some(head)
    }

    /// A HELLO-ACK came in. True if it tells anything new.
    pub fn answered(&mut self, now: Instant, hop: Hop, frame: &[u8]) -> bool {
        let (Some(greeting), Some(row)) = (Greeting::read(frame), self.hops.get_mut(hop.index()))
        else {
            return false;
        };
        let Some(took) = now.as_micros().checked_sub(greeting.clock) else {
            return false;
        };
        // An answer to something long gone measures nothing.
        if took > DEAD_AFTER.as_micros() as u64 {
            return false;
        }
        row.heard = Some(now);
        row.round_trip_us = u32::try_from(took.max(1)).unwrap_or(u32::MAX);
        row.meter.compare(greeting);
        row.pause = RETRY_ALIVE;
        row.next = now + KEEP_ALIVE;
        true
    }

    /// What frames are sealed with at present.
    pub fn keys(&self) -> &Keys {
        self.keys.sending()
    }

    /// Takes note of frames that leave on a hop.
    pub fn sent(&mut self, hop: Hop, frames: u32) {
        if let Some(row) = self.hops.get_mut(hop.index()) {
            row.meter.sent(frames);
        }
    }

    /// Whether a hop works.
    pub fn works(&self, now: Instant, hop: Hop) -> bool {
        let heard = self.hops.get(hop.index()).and_then(|h| h.heard);
        heard.is_some_and(|heard| now.since(heard) < DEAD_AFTER)
    }

    /// Where a stream's frames go: its own pair, or another while that one does not work.
    pub fn hop_for(&self, now: Instant, stream: crate::StreamId, of: crate::Component) -> Hop {
        let pairs = (self.hops.len() / 2).max(1);
        let own = stream.0 as usize % pairs;
        let hop = |pair| Hop {
            pair,
            component: of,
        };
        if pairs == 1 || self.works(now, hop(own)) {
            return hop(own);
        }
        let other = (0..pairs).map(hop).find(|h| self.works(now, *h));
        other.unwrap_or(hop(own))
    }

    /// How the link does.
    pub fn state(&self, now: Instant) -> State {
        let alive = |h: &&Row| h.heard.is_some_and(|at| now.since(at) < DEAD_AFTER);
        let rtp = self.hops.iter().step_by(2).find(alive);
        State {
            up: rtp.is_some(),
            round_trip: rtp.map(|h| Duration::from_micros(u64::from(h.round_trip_us))),
            loss_permille: self
                .hops
                .iter()
                .filter(alive)
                .map(|h| h.meter.loss_permille())
                .max()
                .unwrap_or(0),
        }
    }
}
