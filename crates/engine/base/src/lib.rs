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
//! - [`line`]: another machine's words in one line of a log.
//! - [`DomainName`], [`HostName`]: names checked once.
//! - [`Secret`], [`Pii`]: values that do not reach a log.

#![forbid(unsafe_code)]

mod bucket;
mod endpoint;
mod line;
mod name;
pub mod privacy;
mod queue;
mod random;
mod slab;
mod table;
mod time;
mod timers;

pub use bucket::TokenBucket;
pub use endpoint::Endpoint;
pub use line::line;
pub use name::{DomainName, HostName, NameError};
pub use privacy::{Pii, Secret};
pub use queue::{Full, Queue, tighten};
pub use random::Rng;
pub use slab::{Id, Slab};
pub use table::{HashMap, HashSet};
pub use time::{Instant, Now, UnixTime};
pub use timers::{TimerId, Timers};

/// An ordered map: the default for engine tables that are walked.
pub use std::collections::BTreeMap as Map;

/// Builds hashers that are the same in every run.
#[derive(Clone, Copy, Debug, Default)]
pub struct FixedState;

impl std::hash::BuildHasher for FixedState {
    type Hasher = FixedHasher;
    fn build_hasher(&self) -> FixedHasher {
        FixedHasher::default()
    }
}

/// SipHash-1-3 of bytes, with a constant key. Numbers, which name rows and are nobody's to choose,
/// are mixed in by a multiplication each.
#[derive(Clone, Default)]
pub struct FixedHasher {
    numbers: u64,
    bytes: Option<std::hash::DefaultHasher>,
}

impl FixedHasher {
    #[inline(always)]
    fn number(&mut self, number: u64) {
        // Odd; its bits are those of the golden ratio.
        let product = u128::from(self.numbers ^ number ^ 0x9e37_79b9_7f4a_7c15)
            * u128::from(0xd6e8_feb8_6659_fd93u64);
        self.numbers = (product as u64) ^ (product >> 64) as u64;
    }
}

impl std::hash::Hasher for FixedHasher {
    fn write(&mut self, bytes: &[u8]) {
        self.bytes.get_or_insert_default().write(bytes);
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        self.number(number.into());
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
