//! Who owns which port pair.
//!
//! Signalling owns this table, so it never has to ask a worker. A pair that was given back rests
//! before it is given out again, so that late packets of an old call do not reach a new one; a
//! pair that could not be bound rests as well.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use base::{HashSet, Instant, Rng};

use crate::PortPair;

/// How long a pair rests by default.
pub const REST: Duration = Duration::from_secs(60);

/// The pairs of one address.
#[derive(Debug)]
pub struct Allocator {
    address: IpAddr,
    /// Pairs never used, in random order, by their even port.
    fresh: Vec<u16>,
    /// Pairs that rest, the longest first.
    resting: VecDeque<(Instant, u16)>,
    used: HashSet<u16>,
    rest: Duration,
}

impl Allocator {
    /// All even/odd pairs of `range` on `address`, in an order that a stranger cannot guess.
    pub fn new(address: IpAddr, range: RangeInclusive<u16>, rest: Duration, rng: &mut Rng) -> Self {
        let mut fresh: Vec<u16> = range
            .clone()
            .filter(|p| p % 2 == 0 && *p < *range.end())
            .collect();
        for i in (1..fresh.len()).rev() {
            let j = rng.below(i as u64 + 1) as usize;
            fresh.swap(i, j);
        }
        Allocator {
            address,
            fresh,
            resting: VecDeque::new(),
            used: HashSet::default(),
            rest,
        }
    }

    /// A pair nobody has; `None` if all are in use or rest.
    pub fn allocate(&mut self, now: Instant) -> Option<PortPair> {
        let rested = self
            .resting
            .front()
            .is_some_and(|(since, _)| now.since(*since) >= self.rest);
        // Fresh ones first: they have rested longest.
        let port = match self.fresh.pop() {
            Some(port) => port,
            None if rested => self.resting.pop_front()?.1,
            None => return None,
        };
        self.used.insert(port);
        Some(PortPair {
            rtp: SocketAddr::new(self.address, port),
            rtcp: SocketAddr::new(self.address, port + 1),
        })
    }

    /// Gives a pair back; one that is not out is passed over.
    pub fn release(&mut self, now: Instant, pair: PortPair) {
        let port = pair.rtp.port();
        if self.used.remove(&port) {
            self.resting.push_back((now, port));
        }
    }

    /// Pairs that are out.
    pub fn in_use(&self) -> usize {
        self.used.len()
    }

    /// Pairs in all.
    pub fn capacity(&self) -> usize {
        self.used.len() + self.fresh.len() + self.resting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::from_micros(secs * 1_000_000)
    }

    #[test]
    fn pairs_are_even_odd_distinct_and_rest_before_reuse() {
        let ip = "127.0.0.1".parse().unwrap();
        let mut a = Allocator::new(ip, 36001..=36007, REST, &mut Rng::from_number(1));
        assert_eq!(a.capacity(), 3);
        let first = a.allocate(at(0)).unwrap();
        assert!(first.rtp.port().is_multiple_of(2) && first.rtcp.port() == first.rtp.port() + 1);
        let others = [a.allocate(at(0)).unwrap(), a.allocate(at(0)).unwrap()];
        assert!(others.iter().all(|p| *p != first));
        assert_eq!(a.allocate(at(0)), None);
        a.release(at(10), first);
        a.release(at(11), first);
        assert_eq!((a.in_use(), a.allocate(at(69))), (2, None));
        assert_eq!(a.allocate(at(70)), Some(first));
        assert_eq!((a.in_use(), a.capacity()), (3, 3));
    }
}
