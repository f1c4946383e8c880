//! Token buckets by key: for sources, for users.
//!
//! Bound: a number of keys. Buckets that are full again are forgotten each minute, and when room is
//! needed; if none is, whoever is new shares one.

use std::hash::Hash;
use std::time::Duration;

use base::{HashMap, Instant, TokenBucket};

/// How often those that are full again are forgotten.
const SWEEP: Duration = Duration::from_secs(60);

pub(crate) struct Buckets<K> {
    rows: HashMap<K, TokenBucket>,
    /// For those for whom there is no room.
    shared: TokenBucket,
    rate: (u32, u32),
    most: usize,
    /// When room was last made.
    swept: Instant,
    /// When those that are full again are forgotten next; `None` while there are none at all.
    sweep_at: Option<Instant>,
}

impl<K: Hash + Eq> Buckets<K> {
    /// `rate` a second, and at once; `most` keys.
    pub(crate) fn new(rate: (u32, u32), most: usize) -> Self {
        Buckets {
            rows: HashMap::default(),
            shared: TokenBucket::new(rate.0, rate.1),
            rate,
            most,
            swept: Instant::ZERO,
            sweep_at: None,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.sweep_at
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) {
        if self.sweep_at.is_some_and(|at| at <= now) {
            self.rows.retain(|_, bucket| !bucket.is_idle(now));
            self.sweep_at = (!self.rows.is_empty()).then(|| now + SWEEP);
        }
    }

    /// Takes a token of a key's; false if there is none.
    pub(crate) fn take(&mut self, now: Instant, key: K) -> bool {
        if let Some(bucket) = self.rows.get_mut(&key) {
            return bucket.take(now).is_ok();
        }
        // Once a second at most: it looks at every row.
        if self.rows.len() >= self.most && now.since(self.swept).as_secs() >= 1 {
            self.swept = now;
            self.rows.retain(|_, bucket| !bucket.is_idle(now));
        }
        if self.rows.len() >= self.most {
            return self.shared.take(now).is_ok();
        }
        let mut bucket = TokenBucket::new(self.rate.0, self.rate.1);
        let taken = bucket.take(now).is_ok();
        self.rows.insert(key, bucket);
        self.sweep_at.get_or_insert(now + SWEEP);
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_have_buckets_of_their_own_up_to_a_bound() {
        let at = |s: u64| Instant::from_micros(s * 1_000_000);
        let mut buckets = Buckets::new((1, 3), 2);
        for key in [1, 2] {
            assert!((0..3).all(|_| buckets.take(at(10), key)));
            assert!(!buckets.take(at(10), key));
        }
        // No room: the third and fourth share.
        assert!(buckets.take(at(10), 3) && buckets.take(at(10), 4) && buckets.take(at(10), 3));
        assert!(!buckets.take(at(10), 4));
        assert_eq!(buckets.rows.len(), 2);
        // Those that are full again make room.
        assert!(buckets.take(at(13), 5) && buckets.take(at(13), 6));
        assert_eq!(buckets.len(), 2);
        // And are forgotten after a while, needed or not.
        buckets.handle_timeout(at(69));
        assert_eq!((buckets.len(), buckets.poll_timeout()), (2, Some(at(70))));
        buckets.handle_timeout(at(70));
        assert_eq!((buckets.len(), buckets.poll_timeout()), (0, None));
    }
}
