//! Who was signed out by an administrator, and since when: session tokens from before are void,
//! and so is what an earlier process kept.
//!
//! A row is needed as long as anything from before it could still be good:
//! [`LIFE`](crate::token::LIFE). Bounds: [`ROWS_MAX`]; if there are more, the oldest goes, and
//! everything from before it is void, whoever's it is: they sign in again, and nobody who was
//! signed out gets in.

use std::collections::VecDeque;
use std::time::Duration;

use base::{HashMap, Pii, UnixTime};

use crate::token::Claims;

/// Users signed out at a time.
pub const ROWS_MAX: usize = 2_000;

/// The first byte of a record.
const VERSION: u8 = 3;

/// One user's sign-out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignOut {
    /// The user: the name as typed or as the directory keeps it.
    pub user: Pii<String>,
    /// In which domain; in all of them if empty.
    pub domain: String,
    /// What is from then or before is void.
    pub at: UnixTime,
    /// Tells one sign-out from another, wherever it is heard.
    pub id: u64,
}

impl SignOut {
    /// Whether it is about a user of a domain.
    pub fn is_of(&self, user: &str, domain: &str) -> bool {
        self.user.expose().eq_ignore_ascii_case(user)
            && (self.domain.is_empty() || domain.is_empty() || self.domain == domain)
    }

    /// Its bytes, for the journal.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION];
        bytes.extend(self.at.as_millis().to_be_bytes());
        bytes.extend(self.id.to_be_bytes());
        let domain = self.domain.as_bytes();
        bytes.extend((domain.len() as u32).to_be_bytes());
        bytes.extend(domain);
        bytes.extend(self.user.expose().as_bytes());
        bytes
    }

    /// Of its bytes; `None` if they are something else.
    pub fn from_bytes(bytes: &[u8]) -> Option<SignOut> {
        let (version, rest) = bytes.split_first()?;
        if *version != VERSION {
            return None;
        }
        let (at, rest) = rest.split_first_chunk::<8>()?;
        let (id, rest) = rest.split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (domain, user) = rest.split_at_checked(u32::from_be_bytes(*length) as usize)?;
        Some(SignOut {
            user: Pii::new(String::from_utf8(user.to_vec()).ok()?),
            domain: String::from_utf8(domain.to_vec()).ok()?,
            at: UnixTime::from_millis(u64::from_be_bytes(*at)),
            id: u64::from_be_bytes(*id),
        })
    }
}

/// All of them.
#[derive(Clone, Debug, Default)]
pub struct SignedOut {
    rows: HashMap<(String, String), SignOut>,
    /// The keys of rows, the oldest note first.
    order: VecDeque<(String, String)>,
    /// What is from then or before is void for everybody.
    floor: UnixTime,
}

impl SignedOut {
    /// Notes one; false if it, or a later one of the same user, is known already.
    pub fn note(&mut self, out: SignOut) -> bool {
        let key = (out.user.expose().to_ascii_lowercase(), out.domain.clone());
        if self
            .rows
            .get(&key)
            .is_some_and(|known| known.id == out.id || known.at >= out.at)
        {
            return false;
        }
        self.order.retain(|k| *k != key);
        self.order.push_back(key.clone());
        self.rows.insert(key, out);
        if self.order.len() > ROWS_MAX
            && let Some(oldest) = self.order.pop_front()
            && let Some(row) = self.rows.remove(&oldest)
        {
            self.floor = self.floor.max(row.at);
        }
        true
    }

    /// Whether what a user of a domain had at a moment is void since.
    pub fn is_void(&self, user: &str, domain: &str, from: UnixTime) -> bool {
        let row = |domain: &str| {
            let key = (user.to_ascii_lowercase(), domain.to_owned());
            self.rows.get(&key).is_some_and(|out| from <= out.at)
        };
        from <= self.floor && self.floor > UnixTime::default() || row(domain) || row("")
    }

    /// Whether a token was issued before its user was signed out.
    pub fn voids(&self, claims: &Claims) -> bool {
        self.is_void(claims.user.expose(), &claims.domain, claims.issued)
    }

    /// Forgets what nothing can be older than any more.
    pub fn forget(&mut self, now: UnixTime, life: Duration) {
        let old = |out: &SignOut| out.at.plus(life) < now;
        let rows = &mut self.rows;
        self.order.retain(|key| {
            let gone = rows.get(key).is_none_or(old);
            if gone {
                rows.remove(key);
            }
            !gone
        });
    }

    /// All rows, the oldest note first.
    pub fn iter(&self) -> impl Iterator<Item = &SignOut> {
        self.order.iter().filter_map(|key| self.rows.get(key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: u64) -> UnixTime {
        UnixTime::from_millis(1_790_000_000_000 + minute * 60_000)
    }

    fn out(user: &str, domain: &str, minute: u64, id: u64) -> SignOut {
        SignOut {
            user: Pii::new(user.into()),
            domain: domain.into(),
            at: at(minute),
            id,
        }
    }

    #[test]
    fn what_is_from_before_a_sign_out_is_void_and_nothing_else() {
        let mut outs = SignedOut::default();
        assert!(!outs.is_void("alice", "d", at(0)));
        assert!(outs.note(out("Alice", "", 10, 1)));
        assert!(outs.note(out("bob", "d", 10, 2)));
        for (user, domain, minute, void) in [
            ("alice", "d", 9, true),
            ("ALICE", "e", 10, true),
            ("alice", "d", 11, false),
            ("bob", "d", 9, true),
            ("bob", "e", 9, false),
            ("carol", "d", 9, false),
        ] {
            assert_eq!(
                outs.is_void(user, domain, at(minute)),
                void,
                "{user} {domain} {minute}"
            );
        }
    }

    #[test]
    fn a_sign_out_that_comes_round_again_is_known() {
        let mut outs = SignedOut::default();
        assert!(outs.note(out("alice", "", 10, 1)));
        // By another way, with the time as another clock has it.
        assert!(!outs.note(out("alice", "", 11, 1)));
        assert!(!outs.note(out("alice", "", 9, 2)));
        assert!(outs.note(out("alice", "", 12, 3)));
        outs.forget(at(12), Duration::from_secs(60));
        assert_eq!(outs.iter().count(), 1);
        outs.forget(at(14), Duration::from_secs(60));
        assert_eq!(outs.iter().count(), 0);
    }

    #[test]
    fn of_too_many_nobody_gets_in_again() {
        let mut outs = SignedOut::default();
        for n in 0..=ROWS_MAX as u64 {
            outs.note(out(&format!("user{n}"), "", n, n));
        }
        assert_eq!(outs.iter().count(), ROWS_MAX);
        assert!(outs.is_void("user0", "d", at(0)) && outs.is_void("anybody", "d", at(0)));
        assert!(!outs.is_void("anybody", "d", at(1)));
    }

    #[test]
    fn a_sign_out_comes_back_from_its_bytes_and_is_no_sign_in() {
        let out = out("älice", "example.test", 1, 7);
        let bytes = out.to_bytes();
        assert_eq!(SignOut::from_bytes(&bytes), Some(out));
        assert_eq!(crate::credentials::Kept::from_bytes(&bytes), None);
        assert_eq!(SignOut::from_bytes(&bytes[..12]), None);
        assert!(!format!("{:?}", SignOut::from_bytes(&bytes)).contains("lice"));
    }
}
