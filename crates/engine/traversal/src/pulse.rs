//! Keep-alive, round trip and clock difference.

use std::time::Duration;

use base::{Instant, Now, UnixTime};

use crate::{DEAD_AFTER, Event, Fault, KEEP_ALIVE, Message};

/// The heartbeat of one link, the same on both sides.
#[derive(Debug)]
pub struct Pulse {
    next_ping: Instant,
    heard: Instant,
    sequence: u64,
    waiting: Option<(u64, Now)>,
}

impl Pulse {
    /// Starts to beat: the first ping is due at once.
    pub fn new(now: Instant) -> Self {
        Pulse {
            next_ping: now,
            heard: now,
            sequence: 0,
            waiting: None,
        }
    }

    /// Notes that the peer is alive.
    pub fn heard(&mut self, now: Instant) {
        self.heard = now;
    }

    /// When [`Pulse::beat`] has something to do.
    pub fn next(&self) -> Instant {
        self.next_ping.min(self.heard + DEAD_AFTER)
    }

    /// A ping, if one is due.
    ///
    /// # Errors
    /// [`Fault::Silent`] if the peer has not been heard for [`DEAD_AFTER`].
    pub fn beat(&mut self, now: Now) -> Result<Option<Message>, Fault> {
        if now.instant.since(self.heard) >= DEAD_AFTER {
            return Err(Fault::Silent);
        }
        if now.instant < self.next_ping {
            return Ok(None);
        }
        self.next_ping = now.instant + KEEP_ALIVE;
        self.sequence += 1;
        self.waiting = Some((self.sequence, now));
        Ok(Some(Message::Ping {
            sequence: self.sequence,
            clock: now.unix,
        }))
    }

    /// The answer to a ping; a measurement if it is the one we wait for.
    pub fn pong(&mut self, now: Now, sequence: u64, clock: UnixTime) -> Option<Event> {
        let (_, sent) = self.waiting.take_if(|(s, _)| *s == sequence)?;
        let round_trip = now.instant - sent.instant;
        // The peer read its clock about half a round trip ago (as NTP assumes, RFC 5905 §8).
        let then = sent
            .unix
            .plus(Duration::from_micros(round_trip.as_micros() as u64 / 2));
        Some(Event::Measured {
            round_trip,
            skew_ms: clock.skew_ms(then),
        })
    }
}
