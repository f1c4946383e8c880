//! Who owns which port pair.
//!
//! Signalling owns this table, so it never has to ask a worker. A pair that was given back rests,
//! so that late packets of an old call do not reach a new one. How long is the media worker's to
//! see, which keeps the sockets open and hears what still comes ([`crate::rest`]): it says when a
//! pair may go out again, and then that pair goes out among the first, for its sockets are still
//! there. Of a pair that it says nothing of — its sockets could not be opened, or not be kept, or
//! its word was lost — nothing is known: it rests for [`REST`].
//!
//! Which pair is next cannot be guessed: of the [`CHOICE`] that rested last any may be, so whoever
//! ends a call does not know who has its ports next.

use std::collections::VecDeque;
use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::time::Duration;

use base::{HashMap, HashSet, Instant, Rng};

use crate::PortPair;

/// How long a pair rests of which the media worker says nothing.
pub const REST: Duration = Duration::from_secs(60);

/// From how many pairs that are free the next is drawn.
pub const CHOICE: usize = 64;

/// The pairs of one address.
#[derive(Debug)]
pub struct Allocator {
    address: IpAddr,
    /// Pairs that may be given out, by their even port: those never used in random order, and
    /// above them those that rested, the last on top.
    free: Vec<u16>,
    /// Pairs that rest, and since when.
    resting: HashMap<u16, Instant>,
    /// The same in the order in which they were given back, with some that rest no more.
    order: VecDeque<(Instant, u16)>,
    used: HashSet<u16>,
    rest: Duration,
    rng: Rng,
}

impl Allocator {
    /// All even/odd pairs of `range` on `address`, in an order that a stranger cannot guess.
    pub fn new(address: IpAddr, range: RangeInclusive<u16>, rest: Duration, rng: &mut Rng) -> Self {
        let mut free: Vec<u16> = range
            .clone()
            .filter(|p| p % 2 == 0 && *p < *range.end())
            .collect();
        for i in (1..free.len()).rev() {
            let j = rng.below(i as u64 + 1) as usize;
            free.swap(i, j);
        }
        Allocator {
            address,
            free,
            resting: HashMap::default(),
            order: VecDeque::new(),
            used: HashSet::default(),
            rest,
            rng: rng.fork(),
        }
    }

    /// A pair nobody has; `None` if all are in use or rest.
    pub fn allocate(&mut self, now: Instant) -> Option<PortPair> {
        let port = match self.draw() {
            Some(port) => port,
            None => self.longest(now)?,
        };
        self.used.insert(port);
        Some(PortPair {
            rtp: SocketAddr::new(self.address, port),
            rtcp: SocketAddr::new(self.address, port + 1),
        })
    }

    /// One of the free pairs that rested last.
    fn draw(&mut self) -> Option<u16> {
        let last = self.free.len().checked_sub(1)?;
        let down = self.rng.below(self.free.len().min(CHOICE) as u64) as usize;
        Some(self.free.swap_remove(last - down))
    }

    /// The pair that has rested longest, if that is long enough.
    fn longest(&mut self, now: Instant) -> Option<u16> {
        while let Some(&(since, port)) = self.order.front() {
            let rests = self.resting.get(&port) == Some(&since);
            if rests && now.since(since) < self.rest {
                return None;
            }
            self.order.pop_front();
            if rests {
                self.resting.remove(&port);
                return Some(port);
            }
        }
        None
    }

    /// Gives a pair back; one that is not out is passed over.
    pub fn release(&mut self, now: Instant, pair: PortPair) {
        let port = pair.rtp.port();
        if self.used.remove(&port) {
            self.resting.insert(port, now);
            self.order.push_back((now, port));
        }
    }

    /// Nothing comes to these pairs any more: they may go out again. One that does not rest, or is
    /// another address's, is passed over.
    pub fn rested(&mut self, pairs: &[PortPair]) {
        for pair in pairs.iter().filter(|p| p.rtp.ip() == self.address) {
            let port = pair.rtp.port();
            if self.resting.remove(&port).is_some() {
                self.free.push(port);
            }
        }
        if self.order.len() > 2 * (self.resting.len() + CHOICE) {
            let resting = &self.resting;
            self.order
                .retain(|(since, port)| resting.get(port) == Some(since));
        }
    }

    /// The address.
    pub fn address(&self) -> IpAddr {
        self.address
    }

    /// Pairs that are out.
    pub fn in_use(&self) -> usize {
        self.used.len()
    }

    /// Pairs in all.
    pub fn capacity(&self) -> usize {
        self.used.len() + self.free.len() + self.resting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(secs: u64) -> Instant {
        Instant::from_micros(secs * 1_000_000)
    }

    fn pairs_of(range: RangeInclusive<u16>) -> Allocator {
        let ip = "127.0.0.1".parse().unwrap();
        Allocator::new(ip, range, REST, &mut Rng::from_number(1))
    }

    #[test]
    fn pairs_are_even_odd_distinct_and_rest_before_reuse() {
        let mut a = pairs_of(36001..=36007);
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

    #[test]
    fn pairs_that_are_said_to_have_rested_go_out_again_and_no_others() {
        let mut a = pairs_of(36000..=36007);
        let out: Vec<PortPair> = std::iter::from_fn(|| a.allocate(at(0))).collect();
        let elsewhere = PortPair {
            rtp: SocketAddr::new("127.0.0.2".parse().unwrap(), out[0].rtp.port()),
            ..out[0]
        };
        a.release(at(1), out[0]);
        a.release(at(2), out[1]);
        // Not one that is out, nor one of another address.
        a.rested(&[out[2], elsewhere]);
        assert_eq!(a.allocate(at(3)), None);
        a.rested(&[out[1], out[1]]);
        assert_eq!(a.allocate(at(3)), Some(out[1]));
        assert_eq!(a.allocate(at(3)), None);
        // Given back anew, it rests anew, and behind the other.
        a.release(at(4), out[1]);
        assert_eq!(
            (a.allocate(at(61)), a.allocate(at(63))),
            (Some(out[0]), None)
        );
        assert_eq!(a.allocate(at(64)), Some(out[1]));
        assert_eq!((a.in_use(), a.capacity()), (4, 4));
    }

    #[test]
    fn the_next_pair_is_one_of_those_that_rested_last_and_not_to_be_guessed() {
        let mut a = pairs_of(36000..=45999);
        let many: Vec<PortPair> = (0..500).filter_map(|_| a.allocate(at(0))).collect();
        many.iter().for_each(|p| a.release(at(0), *p));
        a.rested(&many);
        let next: Vec<PortPair> = (0..20).filter_map(|_| a.allocate(at(1))).collect();
        let last = &many[500 - CHOICE - next.len()..];
        assert!(next.iter().all(|p| last.contains(p)));
        let stacked: Vec<PortPair> = many.iter().rev().take(20).copied().collect();
        assert_ne!(next, stacked);
    }

    #[test]
    fn what_is_kept_of_pairs_follows_their_number_and_not_the_calls() {
        let mut a = pairs_of(36000..=36399);
        for i in 0..100_000 {
            let pair = a.allocate(at(i / 1000)).unwrap();
            a.release(at(i / 1000), pair);
            a.rested(&[pair]);
        }
        assert!(a.order.len() <= 2 * (200 + CHOICE), "{}", a.order.len());
        assert_eq!((a.in_use(), a.capacity()), (0, 200));
    }
}
