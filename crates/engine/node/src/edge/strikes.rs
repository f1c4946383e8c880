//! Sources that guess passwords.
//!
//! Ten wrong digests from an address within five minutes, and new REGISTERs from there are told to
//! come back later for as long, without the core being asked. Devices that are registered keep
//! what they have, so an office behind one address does not lose its telephones to one of them
//! that holds an old password. What a core says that has just begun does not count: it knows no
//! credentials yet. Bounds: [`SOURCES_MAX`] addresses, the oldest forgotten first.

use std::collections::VecDeque;
use std::net::IpAddr;
use std::time::Duration;

use base::{HashMap, Instant};

/// Wrong digests that a source has.
const STRIKES_MAX: u32 = 10;

/// How long they count, and how long a source that has used them up is not heard.
const WINDOW: Duration = Duration::from_secs(300);

const SOURCES_MAX: usize = 10_000;

struct Row {
    since: Instant,
    strikes: u32,
}

#[derive(Default)]
pub(super) struct Strikes {
    rows: HashMap<IpAddr, Row>,
    /// Each row once, by when its window began.
    order: VecDeque<(Instant, IpAddr)>,
}

impl Strikes {
    /// A wrong digest from a source; true if it was the one too many.
    pub(super) fn strike(&mut self, now: Instant, source: IpAddr) -> bool {
        self.forget(now);
        if let Some(row) = self.rows.get_mut(&source) {
            row.strikes += 1;
            if row.strikes != STRIKES_MAX {
                return false;
            }
            // The ban begins now.
            row.since = now;
            self.order.retain(|(_, ip)| *ip != source);
            self.order.push_back((now, source));
            return true;
        }
        if self.rows.len() >= SOURCES_MAX
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.rows.remove(&oldest);
        }
        self.rows.insert(
            source,
            Row {
                since: now,
                strikes: 1,
            },
        );
        self.order.push_back((now, source));
        false
    }

    /// How long a source is still not heard.
    pub(super) fn banned(&self, now: Instant, source: IpAddr) -> Option<Duration> {
        let row = self
            .rows
            .get(&source)
            .filter(|r| r.strikes >= STRIKES_MAX)?;
        let over = row.since + WINDOW;
        (over > now).then(|| over.since(now))
    }

    fn forget(&mut self, now: Instant) {
        while let Some((since, source)) = self.order.front().copied() {
            if since + WINDOW > now {
                return;
            }
            self.order.pop_front();
            self.rows.remove(&source);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::from_micros(seconds * 1_000_000)
    }

    fn source(n: u32) -> IpAddr {
        std::net::Ipv4Addr::from(0xC633_6400 + n).into()
    }

    #[test]
    fn ten_wrong_digests_in_five_minutes_ban_their_source_for_five() {
        let mut strikes = Strikes::default();
        for n in 0..9 {
            assert!(!strikes.strike(at(n * 10), source(1)));
        }
        assert_eq!(strikes.banned(at(90), source(1)), None);
        assert!(strikes.strike(at(90), source(1)));
        assert!(!strikes.strike(at(91), source(1)));
        assert_eq!(
            strikes.banned(at(100), source(1)),
            Some(Duration::from_secs(290))
        );
        assert_eq!(strikes.banned(at(100), source(2)), None);
        assert_eq!(strikes.banned(at(390), source(1)), None);
        assert!(!strikes.strike(at(400), source(1)));
    }

    #[test]
    fn slow_guesses_are_forgotten_and_the_table_has_a_bound() {
        let mut strikes = Strikes::default();
        for n in 0..100 {
            assert!(!strikes.strike(at(n * 60), source(1)));
        }
        for n in 0..20_000 {
            strikes.strike(at(7000), source(n));
        }
        assert_eq!(
            (strikes.rows.len(), strikes.order.len()),
            (SOURCES_MAX, SOURCES_MAX)
        );
    }
}
