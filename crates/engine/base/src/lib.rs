//! The ground floor: what every other crate stands on.
//!
//! In: nothing. Out: plain values. No I/O, no clock, no operating-system randomness: time and
//! seeds are handed in from above the I/O line, so that a run can be replayed from its seed.
//!
//! - [`Now`], [`Instant`], [`UnixTime`]: the time of an input, given by the driver or a simulation.
//! - [`Rng`]: cryptographically strong randomness from a 32-byte seed.
//! - [`Slab`] and [`Id`]: rows named by slot and generation, so that a stale name never matches.
//! - [`HashMap`], [`HashSet`]: tables that give their memory back, as [`Slab`] and [`Queue`] do.
//! - [`Timers`]: what is due, in order, with cancellation.
//! - [`Queue`]: a bounded first-in-first-out queue whose overflow is a typed outcome.
//! - [`TokenBucket`]: rate limits.
//! - [`DomainName`], [`HostName`]: names checked once.
//! - [`XmlBounds`]: what a document may cost its reader.
//! - [`Secret`], [`Pii`]: values that do not reach a log.

#![forbid(unsafe_code)]

mod bucket;
mod endpoint;
mod name;
pub mod privacy;
mod queue;
mod random;
mod slab;
mod table;
mod time;
mod timers;
mod xml_bounds;

use std::hash::{BuildHasher, Hasher};

pub use bucket::TokenBucket;
pub use endpoint::Endpoint;
pub use name::{DomainName, HostName, NameError};
pub use privacy::{Pii, Secret};
pub use queue::{Full, Queue, tighten};
pub use random::Rng;
pub use slab::{Id, Slab};
pub use table::{HashMap, HashSet};
pub use time::{Instant, Now, UnixTime};
pub use timers::{TimerId, Timers};
pub use xml_bounds::XmlBounds;

/// An ordered map: the default for engine tables that are walked.
pub use std::collections::BTreeMap as Map;

/// Builds hashers that are the same in every run.
#[derive(Clone, Copy, Debug, Default)]
pub struct FixedState;

impl BuildHasher for FixedState {
    type Hasher = FixedHasher;
    fn build_hasher(&self) -> FixedHasher {
        FixedHasher::default()
    }
}

/// SipHash-1-3 of bytes, with a constant key, and of all that comes after bytes, as the mark that
/// ends a text. Numbers before them, which name rows and are nobody's to choose, are mixed in by a
/// multiplication each.
#[derive(Clone, Default)]
pub struct FixedHasher {
    numbers: u64,
    bytes: Option<std::hash::DefaultHasher>,
}

impl FixedHasher {
    #[inline(always)]
    fn number(&mut self, number: u64) {
        if let Some(bytes) = &mut self.bytes {
            bytes.write_u64(number);
            return;
        }
        // Odd; its bits are those of the golden ratio.
        let product = u128::from(self.numbers ^ number ^ 0x9e37_79b9_7f4a_7c15)
            * u128::from(0xd6e8_feb8_6659_fd93u64);
        self.numbers = (product as u64) ^ (product >> 64) as u64;
    }
}

impl Hasher for FixedHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.bytes.get_or_insert_default().write(bytes);
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        // The end of a text: there are many, so it costs one byte.
        match &mut self.bytes {
            Some(bytes) => bytes.write_u8(number),
            None => self.number(number.into()),
        }
    }

    #[inline]
    fn write_u16(&mut self, number: u16) {
        self.number(number.into());
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.number(number.into());
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.number(number);
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.number(number as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        let bytes = self.bytes.as_ref().map_or(0, |bytes| bytes.finish());
        bytes ^ self.numbers
    }
}

#[cfg(test)]
mod tests {
    use std::hash::BuildHasher;

    use super::FixedState;

    #[test]
    fn texts_that_are_split_elsewhere_have_other_hashes() {
        let splits = [("", "abc"), ("a", "bc"), ("ab", "c"), ("abc", "")];
        let hashes = splits.map(|split| FixedState.hash_one(split));
        for (i, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..i].contains(hash), "{:?}", splits[i]);
        }
        let numbered = [(1u8, "a", 2u8), (2, "a", 1)].map(|row| FixedState.hash_one(row));
        assert_ne!(numbered[0], numbered[1]);
        let lists = [vec![vec![1u8], vec![]], vec![vec![], vec![1u8]]];
        let lists = lists.map(|list| FixedState.hash_one(list));
        assert_ne!(lists[0], lists[1]);
    }
}
