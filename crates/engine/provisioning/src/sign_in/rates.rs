//! How often a user's password may be wrong, from wherever: [`WRONG_MAX`] at once, then one a
//! second.
//!
//! Wide on purpose: who guesses is held back by address first, and a stranger must not be able to
//! lock a user out. A name is kept as a keyed hash, so it costs the same whatever its length, and
//! nobody can choose names that collide. Bounds: [`USERS_MAX`] users; the one that was seen first
//! goes when a new one comes.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

use base::{HashMap, Instant, Rng, TokenBucket};

/// Users whose rate is watched.
pub(super) const USERS_MAX: usize = 20_000;

/// Wrong passwords that a user may have in a row.
pub(super) const WRONG_MAX: u32 = 60;

pub(super) struct Rates {
    secret: (u64, u64),
    rows: HashMap<u64, TokenBucket>,
    /// Each row once, the oldest first.
    order: VecDeque<u64>,
}

impl Rates {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Rates {
            secret: (rng.u64(), rng.u64()),
            rows: HashMap::default(),
            order: VecDeque::new(),
        }
    }

    /// One try of a user, or how long until there is one.
    pub(super) fn take(&mut self, now: Instant, user: &str) -> Result<(), Duration> {
        self.forget(now);
        let key = self.key(user);
        if let Some(rate) = self.rows.get_mut(&key) {
            return rate.take(now);
        }
        if self.rows.len() >= USERS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.rows.remove(&oldest);
        }
        let mut rate = TokenBucket::new(1, WRONG_MAX);
        let taken = rate.take(now);
        self.rows.insert(key, rate);
        self.order.push_back(key);
        taken
    }

    /// A try was none: the password was good, or nobody could tell.
    pub(super) fn give_back(&mut self, user: &str) {
        let key = self.key(user);
        if let Some(rate) = self.rows.get_mut(&key) {
            rate.give_back();
        }
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Drops the oldest rows that have nothing to remember.
    fn forget(&mut self, now: Instant) {
        while let Some(key) = self.order.front() {
            if self.rows.get(key).is_some_and(|rate| !rate.is_idle(now)) {
                return;
            }
            self.rows.remove(key);
            self.order.pop_front();
            base::tighten(&mut self.order);
        }
    }

    /// Unified CM does not tell users apart by case.
    fn key(&self, user: &str) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.secret.0);
        hasher.write_u64(self.secret.1);
        for byte in user.bytes() {
            hasher.write_u8(byte.to_ascii_lowercase());
        }
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_full_of_strangers_refuses_nobody() {
        let mut rates = Rates::new(&mut Rng::from_number(1));
        let now = Instant::ZERO;
        for n in 0..2 * USERS_MAX {
            assert!(rates.take(now, &format!("stranger{n}")).is_ok());
        }
        assert!(rates.take(now, "alice").is_ok());
        assert_eq!(
            (rates.rows.len(), rates.order.len()),
            (USERS_MAX, USERS_MAX)
        );
    }

    #[test]
    fn rows_are_forgotten_with_age() {
        let mut rates = Rates::new(&mut Rng::from_number(1));
        for n in 0..1000 {
            assert!(rates.take(Instant::ZERO, &format!("stranger{n}")).is_ok());
        }
        let later = Instant::ZERO + Duration::from_secs(u64::from(WRONG_MAX) + 1);
        assert!(rates.take(later, "alice").is_ok());
        assert_eq!((rates.rows.len(), rates.order.len()), (1, 1));
    }
}
