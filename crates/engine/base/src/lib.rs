//! The ground floor: what every other crate stands on.
//!
//! In: nothing. Out: plain values. No I/O, no clock, no operating-system randomness: time and
//! seeds are handed in from above the I/O line, so that a run can be replayed from its seed.
//!
//! - [`Now`], [`Instant`], [`UnixTime`]: the time of an input, given by the driver or a simulation.
//! - [`Rng`]: cryptographically strong randomness from a 32-byte seed.
//! - [`Slab`] and [`Id`]: rows named by slot and generation, so that a stale name never matches.
//! - [`HashMap`], [`HashSet`]: tables that give their memory back, and that move a few entries at
//!   a time, as [`Slab`] and [`Queue`] do.
//! - [`hash`]: how they hash; under a key of the process, if it has one.
//! - [`Timers`]: what is due, in order, with cancellation.
//! - [`Queue`]: a bounded first-in-first-out queue whose overflow is a typed outcome.
//! - [`TokenBucket`]: rate limits.
//! - [`line()`]: another machine's words in one line of a log.
//! - [`DomainName`], [`HostName`]: names checked once.
//! - [`XmlBounds`]: what a document may cost its reader.
//! - [`Secret`], [`Pii`]: values that do not reach a log.

#![forbid(unsafe_code)]

mod bucket;
mod chunks;
mod endpoint;
pub mod hash;
mod line;
mod name;
pub mod privacy;
mod queue;
mod random;
mod slab;
pub mod table;
mod time;
mod timers;
mod xml_bounds;

pub use bucket::TokenBucket;
pub use endpoint::Endpoint;
pub use hash::{FixedHasher, FixedState};
pub use line::line;
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
