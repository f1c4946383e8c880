//! The ground floor: what every other crate stands on.
//!
//! In: nothing. Out: plain values. No I/O, no clock, no operating-system randomness: time and
//! seeds are handed in from above the I/O line, so that a run can be replayed from its seed.
//!
//! - [`Now`], [`Instant`], [`UnixTime`]: the time of an input, given by the driver or a simulation.
//! - [`Rng`]: cryptographically strong randomness from a 32-byte seed.
//! - [`Slab`] and [`Id`]: rows named by slot and generation, so that a stale name never matches.
//! - [`Timers`]: what is due, in order, with cancellation.
//! - [`Queue`]: a bounded first-in-first-out queue whose overflow is a typed outcome.
//! - [`TokenBucket`]: rate limits.
//! - [`DomainName`], [`HostName`]: names checked once.
//! - [`Secret`], [`Pii`]: values that do not reach a log.

#![forbid(unsafe_code)]

mod bucket;
mod endpoint;
mod name;
pub mod privacy;
mod queue;
mod random;
mod slab;
mod time;
mod timers;

pub use bucket::TokenBucket;
pub use endpoint::Endpoint;
pub use name::{DomainName, HostName, NameError};
pub use privacy::{Pii, Secret};
pub use queue::{Full, Queue};
pub use random::Rng;
pub use slab::{Id, Slab};
pub use time::{Instant, Now, UnixTime};
pub use timers::{TimerId, Timers};

/// An ordered map: the default for engine tables that are walked.
pub use std::collections::BTreeMap as Map;

/// A hash map whose order is the same in every run of the same program.
///
/// Keys that a stranger chooses are hashed under [`FixedState`]'s constant, so a table keyed by
/// such bytes must be bounded; every engine table is.
#[allow(clippy::disallowed_types)]
pub type HashMap<K, V> = std::collections::HashMap<K, V, FixedState>;

/// A hash set whose order is the same in every run of the same program. See [`HashMap`].
#[allow(clippy::disallowed_types)]
pub type HashSet<K> = std::collections::HashSet<K, FixedState>;

/// Builds SipHash-1-3 hashers with a constant key.
#[derive(Clone, Copy, Debug, Default)]
pub struct FixedState;

impl std::hash::BuildHasher for FixedState {
    type Hasher = std::hash::DefaultHasher;
    fn build_hasher(&self) -> Self::Hasher {
        std::hash::DefaultHasher::new()
    }
}
