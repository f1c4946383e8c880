//! Sources that guess passwords.
//!
//! Ten wrong ones from an address within five minutes, and it is told to come back later for as
//! long, without anybody being asked. An address is one of IPv4 or a /64 of IPv6. Bounds:
//! [`SOURCES_MAX`] sources, the oldest forgotten first.

use std::collections::VecDeque;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Duration;

use base::{HashMap, Instant};

/// Wrong passwords that a source has.
const STRIKES_MAX: u32 = 10;

/// How long they count, and how long a source that has used them up is not heard.
const WINDOW: Duration = Duration::from_secs(300);

const SOURCES_MAX: usize = 10_000;

struct Row {
    since: Instant,
    strikes: u32,
}

#[derive(Default)]
pub(crate) struct Strikes {
    rows: HashMap<IpAddr, Row>,
    /// Each row once, by when its window began.
    order: VecDeque<(Instant, IpAddr)>,
}

impl Strikes {
    /// A wrong password from a source; true if it was the one too many.
    pub(crate) fn strike(&mut self, now: Instant, source: IpAddr) -> bool {
        let source = whole(source);
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
    pub(crate) fn banned(&self, now: Instant, source: IpAddr) -> Option<Duration> {
        let row = self
            .rows
            .get(&whole(source))
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
            base::tighten(&mut self.order);
            self.rows.remove(&source);
        }
    }
}

/// The source that an address belongs to: who has one address of IPv6 has its /64.
pub(crate) fn whole(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(ip) => Ipv6Addr::from(u128::from(ip) & (u128::MAX << 64)).into(),
        v4 => v4,
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
    fn addresses_of_one_64_are_one_source() {
        let mut strikes = Strikes::default();
        let ip = |s: &str| s.parse::<IpAddr>().unwrap();
        for n in 0..10 {
            strikes.strike(at(0), ip(&format!("2001:db8::{n}")));
        }
        assert!(strikes.banned(at(1), ip("2001:db8::ffff:1")).is_some());
        assert_eq!(strikes.banned(at(1), ip("2001:db8:0:1::1")), None);
        for _ in 0..10 {
            strikes.strike(at(0), ip("::ffff:192.0.2.1"));
        }
        assert!(strikes.banned(at(1), ip("192.0.2.1")).is_some());
        assert_eq!(strikes.banned(at(1), ip("192.0.2.2")), None);
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
