//! Rates.

use std::time::Duration;

use crate::Instant;

/// A token bucket: `rate` tokens a second, at most `burst` saved up.
#[derive(Clone, Copy, Debug)]
pub struct TokenBucket {
    /// When a full bucket will have been reached if nothing is taken.
    full_at: Instant,
    /// Microseconds: a bucket stands in tables with a row for each client.
    per_token_us: u32,
    burst: u32,
}

impl TokenBucket {
    /// A full bucket. `per_second` and `burst` are at least 1.
    pub fn new(per_second: u32, burst: u32) -> Self {
        TokenBucket {
            full_at: Instant::ZERO,
            per_token_us: 1_000_000 / per_second.clamp(1, 1_000_000),
            burst: burst.max(1),
        }
    }

    fn per_token(&self) -> Duration {
        Duration::from_micros(self.per_token_us.into())
    }

    /// Takes a token, or says how long until one is there.
    ///
    /// # Errors
    /// The time to wait, when the bucket is empty.
    pub fn take(&mut self, now: Instant) -> Result<(), Duration> {
        let full_at = self.full_at.max(now) + self.per_token();
        let debt = full_at.since(now);
        let most = self.per_token() * self.burst;
        if debt > most {
            return Err(debt - most);
        }
        self.full_at = full_at;
        Ok(())
    }

    /// Gives back a token that was taken and turned out to cost nothing.
    pub fn give_back(&mut self) {
        let before = self.full_at.since(Instant::ZERO);
        self.full_at = Instant::ZERO + before.saturating_sub(self.per_token());
    }

    /// Whether the bucket is full again, so that a keyed table may forget it.
    pub fn is_idle(&self, now: Instant) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_gives_its_burst_then_its_rate() {
        let at = |ms: u64| Instant::from_micros(ms * 1000);
        let mut b = TokenBucket::new(10, 3);
        assert!((0..3).all(|_| b.take(at(0)).is_ok()));
        assert_eq!(b.take(at(0)), Err(Duration::from_millis(100)));
        assert!(b.take(at(100)).is_ok());
        assert!(b.take(at(100)).is_err());
        assert!(!b.is_idle(at(350)) && b.is_idle(at(400)));
        b.give_back();
        assert!(b.take(at(100)).is_ok() && b.take(at(100)).is_err());
    }
}
