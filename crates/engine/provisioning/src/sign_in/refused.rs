//! What was refused a moment ago, and is refused again without asking anybody: a client that
//! repeats an old password must not become load on Unified CM, or lock its account further.
//!
//! Names and passwords are kept as keyed hashes whose key dies with the process, for [`LIFE`]: so
//! long at most is a password refused that became good meanwhile. Bounds: [`ROWS_MAX`], the oldest
//! forgotten first.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};
use std::time::Duration;

use base::{HashMap, Instant, Rng};

/// How long a refusal is repeated.
pub(super) const LIFE: Duration = Duration::from_secs(30);

pub(super) const ROWS_MAX: usize = 10_000;

pub(super) struct Refused {
    secret: (u64, u64),
    rows: HashMap<u128, &'static str>,
    order: VecDeque<(Instant, u128)>,
}

impl Refused {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Refused {
            secret: (rng.u64(), rng.u64()),
            rows: HashMap::default(),
            order: VecDeque::new(),
        }
    }

    /// Why a user with this password was refused a moment ago, if so.
    pub(super) fn why(
        &mut self,
        now: Instant,
        domain: &str,
        user: &str,
        password: &str,
    ) -> Option<&'static str> {
        while let Some((since, key)) = self.order.front().copied()
            && since + LIFE <= now
        {
            self.rows.remove(&key);
            self.order.pop_front();
        }
        let with = self.key(domain, user, Some(password));
        let any = self.key(domain, user, None);
        self.rows.get(&with).or(self.rows.get(&any)).copied()
    }

    /// Notes a refusal of a user with a password, or with any.
    pub(super) fn note(
        &mut self,
        now: Instant,
        domain: &str,
        user: &str,
        password: Option<&str>,
        why: &'static str,
    ) {
        let key = self.key(domain, user, password);
        if self.rows.insert(key, why).is_some() {
            return;
        }
        self.order.push_back((now, key));
        if self.order.len() > ROWS_MAX
            && let Some((_, oldest)) = self.order.pop_front()
        {
            self.rows.remove(&oldest);
        }
    }

    /// 128 bits: of a password that is good, nothing else must ever say that it is not.
    fn key(&self, domain: &str, user: &str, password: Option<&str>) -> u128 {
        let half = |salt: u64| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(self.secret.0);
            hasher.write_u64(self.secret.1 ^ salt);
            for text in [domain, user, password.unwrap_or_default()] {
                hasher.write_usize(text.len());
                hasher.write(text.as_bytes());
            }
            hasher.write_u8(u8::from(password.is_some()));
            u128::from(hasher.finish())
        };
        half(0) << 64 | half(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_repeated_for_half_a_minute_and_for_nobody_else() {
        let mut refused = Refused::new(&mut Rng::from_number(1));
        let at = |s: u64| Instant::from_micros(s * 1_000_000);
        refused.note(at(0), "d", "alice", Some("old"), "wrong");
        refused.note(at(1), "d", "nobody", None, "unknown");
        assert_eq!(refused.why(at(29), "d", "alice", "old"), Some("wrong"));
        assert_eq!(refused.why(at(29), "d", "nobody", "x"), Some("unknown"));
        for (domain, user, password) in [
            ("d", "alice", "new"),
            ("d", "bob", "old"),
            ("e", "alice", "old"),
        ] {
            assert_eq!(refused.why(at(29), domain, user, password), None);
        }
        assert_eq!(refused.why(at(30), "d", "alice", "old"), None);
        assert_eq!(refused.why(at(30), "d", "nobody", "x"), Some("unknown"));
        for n in 0..2 * ROWS_MAX {
            refused.note(at(31), "d", &n.to_string(), None, "unknown");
        }
        assert_eq!(
            (refused.rows.len(), refused.order.len()),
            (ROWS_MAX, ROWS_MAX)
        );
    }
}
