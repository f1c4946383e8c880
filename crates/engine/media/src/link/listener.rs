//! The edge's end of a link: it answers.

use std::net::SocketAddr;

use base::Instant;

use super::meter::Meter;
use super::{DEAD_AFTER, Greeting, Hop, Keyring, PAIRS_MAX, State};
use crate::mux::{End, Head, Keys, Kind};
use crate::{Component, LinkKeys, StreamId};

#[derive(Clone, Copy, Default)]
struct Row {
    core: Option<SocketAddr>,
    heard: Option<Instant>,
    /// The number of the last greeting.
    clock: u64,
    greeting: Greeting,
    meter: Meter,
}

/// The edge's end of one link.
pub struct Listener {
    keys: Keyring,
    /// Whether nothing has come under the newest keys yet.
    fresh: bool,
    hops: [Row; PAIRS_MAX * 2],
}

/// What a HELLO has brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Greeted {
    /// Where the core was on this hop, if that has changed.
    pub moved_from: Option<SocketAddr>,
    /// Where it is: the answer goes there.
    pub core: SocketAddr,
}

impl Listener {
    /// A link that nobody has greeted on.
    pub fn new(keys: &LinkKeys) -> Listener {
        Listener {
            keys: Keyring::new(keys, End::Edge),
            fresh: true,
            hops: [Row::default(); PAIRS_MAX * 2],
        }
    }

    /// The control connection is a new one.
    pub fn renew(&mut self, keys: &LinkKeys) {
        self.keys.renew(keys, End::Edge);
        self.fresh = true;
    }

    /// Reads a frame; `None` if it is none of this link's. A greeting is not taken note of yet.
    pub fn open(&mut self, now: Instant, hop: Hop, frame: &[u8]) -> Option<Head> {
        let (head, newest) = self.keys.open(now, frame)?;
        match head.kind {
            Kind::Data | Kind::Latch => {
                if let Some(hop) = self.hops.get_mut(hop.index()) {
                    hop.meter.received();
                }
            }
            // The core greets under its newest keys. Under the old ones it is late, or a recording.
            Kind::Hello if !newest && self.keys.is_proven() => return None,
            Kind::Hello if usize::from(head.number) != hop.index() => return None,
            _ => {}
        }
        Some(head)
    }

    /// A HELLO came in, which [`Listener::open`] has read: makes the answer in `out`. `None` if it
    /// is an old one, and nothing is to be said.
    pub fn greeted(
        &mut self,
        now: Instant,
        hop: Hop,
        source: SocketAddr,
        frame: &[u8],
        out: &mut Vec<u8>,
    ) -> Option<Greeted> {
        let greeting = Greeting::read(frame)?;
        let newest = self.keys.current.open(frame).is_some();
        if newest && self.fresh {
            // Perhaps another process, with another clock; nobody can have recorded its greetings.
            self.fresh = false;
            for row in &mut self.hops {
                row.clock = 0;
                row.meter.forget();
            }
        }
        let row = self.hops.get_mut(hop.index())?;
        if greeting.clock <= row.clock {
            return None;
        }
        row.clock = greeting.clock;
        row.greeting = greeting;
        row.meter.compare(greeting);
        row.heard = Some(now);
        let before = row.core.replace(source);
        let keys = self.keys.sending();
        row.meter
            .greeting(greeting.clock, greeting.round_trip_us)
            .seal(Kind::HelloAck, hop, keys, out);
        Some(Greeted {
            moved_from: before.filter(|b| *b != source),
            core: source,
        })
    }

    /// Where a stream's frames go, and under which keys: its own pair's core, or another's while
    /// that one is silent. `None` until the core has greeted.
    pub fn way(
        &self,
        now: Instant,
        stream: StreamId,
        component: Component,
    ) -> Option<(Hop, SocketAddr, &Keys)> {
        let half = Hop { pair: 0, component }.index();
        let known = |r: &Row| r.core.is_some();
        let pairs = self
            .hops
            .iter()
            .skip(half)
            .step_by(2)
            .filter(|r| known(r))
            .count();
        let own = stream.0 as usize % pairs.max(1);
        let mut hops = self.hops.iter().enumerate().skip(half).step_by(2);
        let mine = hops.clone().filter(|(_, r)| known(r)).nth(own)?;
        let alive = |r: &Row| r.heard.is_some_and(|at| now.since(at) < DEAD_AFTER);
        let (at, _) = if pairs > 1 && !alive(mine.1) {
            hops.find(|(_, r)| known(r) && alive(r)).unwrap_or(mine)
        } else {
            mine
        };
        let row = self.hops.get(at)?;
        Some((Hop::at(at), row.core?, self.keys.sending()))
    }

    /// Takes note of frames that leave on a hop.
    pub fn sent(&mut self, hop: Hop, frames: u32) {
        if let Some(row) = self.hops.get_mut(hop.index()) {
            row.meter.sent(frames);
        }
    }

    /// When [`Listener::state`] may change by itself.
    pub fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        let ends = |r: &Row| r.heard.map(|at| at + DEAD_AFTER).filter(|at| *at > now);
        self.hops.iter().filter_map(ends).min()
    }

    /// How the link does.
    pub fn state(&self, now: Instant) -> State {
        let alive = |r: &&Row| r.heard.is_some_and(|at| now.since(at) < DEAD_AFTER);
        let rtp = self.hops.iter().step_by(2).find(alive);
        State {
            up: rtp.is_some(),
            round_trip: rtp.and_then(|r| r.greeting.round_trip()),
            loss_permille: self
                .hops
                .iter()
                .filter(alive)
                .map(|r| r.meter.loss_permille())
                .max()
                .unwrap_or(0),
        }
    }
}
