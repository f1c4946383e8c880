//! When nothing is to come any more to ports whose leg is gone, and how long their sockets are
//! kept for the next.
//!
//! A leg's end and its last packets cross: what the other end sent before it heard of the end comes
//! later, and an end that never hears of it goes on. No RFC names a time. So the sockets stay open
//! and what comes is thrown away, and each term begins anew with a packet:
//!
//! - Nothing was ever heard: [`Terms::unheard`], half a second, SIP's estimate of a round trip (T1,
//!   RFC 3261 §17.1.1.1). Only a first packet that crossed the end can still come.
//! - Something was heard: [`Terms::heard`], 8 s. An end that is still in the call reports by RTCP
//!   every 5 s, drawn from half to one and a half of it and divided by 1.21828 (RFC 3550 §6.2,
//!   §6.3.1): at most 6.2 s apart, however silent its audio is. So it is heard in that time.
//!
//! What comes later all the same is no danger to the next call, only to its figures: on the edge
//! no address is sent media before the core has verified the packet's SRTP tag under this call's
//! keys, and inside a packet is taken from the signalled address alone.
//!
//! Sockets that have rested are kept for [`Terms::kept`] and given to the next leg on the same
//! ports. Whatever comes to them meanwhile ends that: closed, they lose it with all that waits.
//! So a socket that is used again is empty.
//!
//! In: rows of sockets by number, packets that came. Out: which may be used again, which are to be
//! closed. Bounds: as many rows as [`Rests::new`] is told, and one entry in a queue for each.

use std::collections::VecDeque;
use std::time::Duration;

use base::{HashMap, Instant};

/// Terms end together in steps of this many microseconds, so that many cost one waking.
const STEP: u64 = 1 << 16;

/// How long ports rest, and how long their sockets are kept then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// If no packet has come to them.
    pub unheard: Duration,
    /// If one has.
    pub heard: Duration,
    /// How long those are kept that have rested.
    pub kept: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Terms {
            unheard: Duration::from_millis(500),
            heard: Duration::from_secs(8),
            kept: Duration::from_secs(10),
        }
    }
}

/// What is to be done with a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Due {
    /// Nothing comes any more: its ports may be given out again. Its sockets stay.
    Rested(usize),
    /// Its sockets are to be closed: nobody has needed them for long.
    Close(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Resting { stirred: bool },
    Idle { since: Instant },
}

#[derive(Debug)]
struct Row {
    state: State,
    /// Tells an entry of a queue from one of the same row's last time.
    number: u64,
}

/// Rows of sockets that no leg has.
#[derive(Debug)]
pub struct Rests {
    terms: Terms,
    max: usize,
    rows: HashMap<usize, Row>,
    /// How many of them are idle.
    idle: usize,
    /// The ends of terms, in order.
    unheard: VecDeque<(Instant, usize, u64)>,
    heard: VecDeque<(Instant, usize, u64)>,
    /// When idle rows are looked through, and those to be closed.
    look: Option<Instant>,
    closing: Vec<(usize, u64)>,
    next: u64,
}

impl Rests {
    /// For at most `max` rows.
    pub fn new(terms: Terms, max: usize) -> Rests {
        Rests {
            terms,
            max,
            rows: HashMap::default(),
            idle: 0,
            unheard: VecDeque::new(),
            heard: VecDeque::new(),
            look: None,
            closing: Vec::new(),
            next: 0,
        }
    }

    /// A row's leg is gone; whether it had heard anything. Gives the row whose sockets are to be
    /// closed to make room, which may be this one: then nothing is ever said of it.
    pub fn begin(&mut self, now: Instant, row: usize, heard: bool) -> Option<usize> {
        let full = self.rows.len() >= self.max;
        let place = if full { self.give_up() } else { None };
        if full && place.is_none() {
            return Some(row);
        }
        self.rest(now, row, heard);
        place
    }

    fn rest(&mut self, now: Instant, row: usize, heard: bool) {
        let number = self.next;
        self.next += 1;
        let state = State::Resting { stirred: false };
        self.rows.insert(row, Row { state, number });
        let (queue, term) = if heard {
            (&mut self.heard, self.terms.heard)
        } else {
            (&mut self.unheard, self.terms.unheard)
        };
        queue.push_back((step(now + term), row, number));
    }

    /// Something came to a row. True if its sockets are to be closed now.
    pub fn stir(&mut self, row: usize) -> bool {
        match self.rows.get_mut(&row).map(|r| &mut r.state) {
            Some(State::Resting { stirred }) => {
                *stirred = true;
                false
            }
            Some(State::Idle { .. }) => self.forget(row),
            None => false,
        }
    }

    /// True if it was idle.
    fn forget(&mut self, row: usize) -> bool {
        let gone = self.rows.remove(&row);
        let idle = gone.is_some_and(|r| matches!(r.state, State::Idle { .. }));
        self.idle -= usize::from(idle);
        idle
    }

    /// A leg wants the row's ports: whether it may have the sockets too. If not, they are to be
    /// closed: something may wait in them.
    pub fn take(&mut self, row: usize) -> bool {
        self.forget(row)
    }

    /// Forgets the idle row that has not been needed for longest: its sockets are to be closed.
    pub fn give_up(&mut self) -> Option<usize> {
        if self.idle == 0 {
            return None;
        }
        let idle = |(row, r): (&usize, &Row)| match r.state {
            State::Idle { since } => Some((since, r.number, *row)),
            State::Resting { .. } => None,
        };
        let (_, _, row) = self.rows.iter().filter_map(idle).min()?;
        self.forget(row);
        Some(row)
    }

    /// The next thing that is due.
    pub fn poll(&mut self, now: Instant) -> Option<Due> {
        while let Some((at, row, number)) = self.next_end() {
            if at > now {
                break;
            }
            self.pop_end();
            let Some(place) = self.rows.get_mut(&row).filter(|r| r.number == number) else {
                continue;
            };
            if place.state == (State::Resting { stirred: true }) {
                self.rest(now, row, true);
                continue;
            }
            place.state = State::Idle { since: now };
            self.idle += 1;
            self.look.get_or_insert(step(now + self.terms.kept));
            return Some(Due::Rested(row));
        }
        if self.look.is_some_and(|at| at <= now) {
            self.look(now);
        }
        while let Some((row, number)) = self.closing.pop() {
            let same = |r: &&Row| r.number == number && matches!(r.state, State::Idle { .. });
            if self.rows.get(&row).filter(same).is_some() {
                self.forget(row);
                return Some(Due::Close(row));
            }
        }
        None
    }

    /// Finds idle rows that nobody has needed for long.
    fn look(&mut self, now: Instant) {
        let mut next: Option<Instant> = None;
        for (row, r) in &self.rows {
            let State::Idle { since } = r.state else {
                continue;
            };
            let until = since + self.terms.kept;
            if until <= now {
                self.closing.push((*row, r.number));
            } else {
                next = Some(next.map_or(until, |n| n.min(until)));
            }
        }
        // In their order, and not in the table's.
        self.closing.sort_unstable();
        self.look = next.map(|at| step(at).max(step(now + self.terms.kept / 4)));
    }

    fn next_end(&self) -> Option<(Instant, usize, u64)> {
        let ends = self.unheard.front().into_iter().chain(self.heard.front());
        ends.min().copied()
    }

    fn pop_end(&mut self) {
        let next = self.next_end();
        if self.unheard.front().copied() == next {
            self.unheard.pop_front();
        } else {
            self.heard.pop_front();
        }
    }

    /// When something is due.
    pub fn poll_timeout(&self) -> Option<Instant> {
        if !self.closing.is_empty() {
            return Some(Instant::ZERO);
        }
        let end = self.next_end().map(|(at, _, _)| at);
        end.into_iter().chain(self.look).min()
    }

    /// Rows whose sockets are open for no leg.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }
}

/// The end of the step that a moment is in.
fn step(at: Instant) -> Instant {
    Instant::from_micros((at.as_micros() / STEP + 1) * STEP)
}

#[cfg(test)]
mod tests;
