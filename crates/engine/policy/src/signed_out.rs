//! Who was signed out by an administrator, and since when: session tokens from before are void,
//! and so is what an earlier process kept.
//!
//! A row is needed as long as anything from before it could still be good:
//! [`LIFE`](crate::token::LIFE). Bounds: [`ROWS_MAX`]; if there are more, the oldest goes, and
//! everything from before it is void, whoever's it is: they sign in again, and nobody who was
//! signed out gets in. That floor is a record like the others ([`SignedOut::records`]).

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
    /// The user: the name as typed or as the directory keeps it. If empty, all users of the
    /// domain; without a domain it is the floor of a full table, and ends tokens alone.
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
        let here = self.domain.is_empty() || domain.is_empty() || self.domain == domain;
        match self.user.expose().is_empty() {
            true => here && !self.domain.is_empty(),
            false => here && self.user.expose().eq_ignore_ascii_case(user),
        }
    }

    /// Whether it is the floor of a full table: whoever's tokens are from then or before.
    pub fn is_floor(&self) -> bool {
        self.user.expose().is_empty() && self.domain.is_empty()
    }

    fn key(&self) -> (String, String) {
        let user = self.user.expose().to_ascii_lowercase();
        (user, self.domain.clone())
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
    floor: Option<SignOut>,
}

impl SignedOut {
    /// Notes one; false if it, or a later one of the same user, is known already.
    pub fn note(&mut self, out: SignOut) -> bool {
        if self.knows(&out) {
            return false;
        }
        if out.is_floor() {
            self.floor = Some(out);
            return true;
        }
        let key = out.key();
        if self.rows.insert(key.clone(), out).is_some() {
            self.order.retain(|k| *k != key);
        }
        self.order.push_back(key);
        if self.order.len() > ROWS_MAX
            && let Some(oldest) = self.order.pop_front()
            && let Some(row) = self.rows.remove(&oldest)
        {
            self.note(SignOut {
                user: Pii::new(String::new()),
                domain: String::new(),
                at: row.at,
                id: !row.id,
            });
        }
        true
    }

    /// Whether a sign-out, or a later one of the same user, is known already.
    pub fn knows(&self, out: &SignOut) -> bool {
        let known = match out.is_floor() {
            true => self.floor.as_ref(),
            false => self.rows.get(&out.key()),
        };
        known.is_some_and(|known| known.id == out.id || known.at >= out.at)
    }

    /// What is void for everybody, if rows had to go.
    pub fn floor(&self) -> Option<&SignOut> {
        self.floor.as_ref()
    }

    /// Whether what a user of a domain had at a moment is void since.
    pub fn is_void(&self, user: &str, domain: &str, from: UnixTime) -> bool {
        let row = |user: &str, domain: &str| {
            let key = (user.to_ascii_lowercase(), domain.to_owned());
            self.rows.get(&key).is_some_and(|out| from <= out.at)
        };
        self.floor.as_ref().is_some_and(|floor| from <= floor.at)
            || row(user, domain)
            || row(user, "")
            || row("", domain)
    }

    /// Whether a token was issued before its user was signed out.
    pub fn voids(&self, claims: &Claims) -> bool {
        self.is_void(claims.user.expose(), &claims.domain, claims.issued)
    }

    /// Forgets what nothing can be older than any more.
    pub fn forget(&mut self, now: UnixTime, life: Duration) {
        let old = |out: &SignOut| out.at.plus(life) < now;
        self.floor = self.floor.take().filter(|floor| !old(floor));
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

    /// What another process or node needs to void the same: the floor, then all rows.
    pub fn records(&self) -> impl Iterator<Item = &SignOut> {
        self.floor.iter().chain(self.iter())
    }
}

/// Several sign-outs, of which each row of a table is asked in one walk.
pub struct Lot<'a> {
    users: HashMap<String, Vec<&'a SignOut>>,
}

impl<'a> Lot<'a> {
    /// Of these.
    pub fn new(outs: &'a [SignOut]) -> Self {
        let mut users: HashMap<String, Vec<&SignOut>> = HashMap::default();
        for out in outs {
            users.entry(out.key().0).or_default().push(out);
        }
        Lot { users }
    }

    /// Those of a user's name, and of all users, in whatever domain.
    pub fn named(&self, user: &str) -> impl Iterator<Item = &'a SignOut> {
        let his = self.users.get(&user.to_ascii_lowercase());
        let alls = self.users.get("").filter(|_| !user.is_empty());
        his.into_iter().chain(alls).flatten().copied()
    }

    /// The latest one that is of a user of a domain.
    pub fn of(&self, user: &str, domain: &str) -> Option<&'a SignOut> {
        let his = self.named(user).filter(|out| out.is_of(user, domain));
        his.max_by_key(|out| out.at)
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
    fn the_floor_of_a_full_table_is_told_and_stands_in_the_next_one() {
        let mut outs = SignedOut::default();
        for n in 0..=ROWS_MAX as u64 {
            outs.note(out(&format!("user{n}"), "", n + 1, n));
        }
        let mut next = SignedOut::default();
        for out in outs.records() {
            next.note(SignOut::from_bytes(&out.to_bytes()).unwrap());
        }
        assert!(next.is_void("user0", "d", at(1)) && next.is_void("anybody", "d", at(0)));
        assert!(!next.is_void("anybody", "d", at(2)));
        // It ends nothing but tokens, and is forgotten like the rest.
        assert!(!outs.floor().unwrap().is_of("anybody", "d"));
        assert!(!outs.note(out("", "", 0, 77)));
        outs.forget(at(10_000), Duration::from_secs(60));
        assert_eq!(outs.records().count(), 0);
    }

    #[test]
    fn all_users_of_a_domain_are_signed_out_as_one() {
        let mut outs = SignedOut::default();
        let all = out("", "d", 10, 1);
        assert!(all.is_of("alice", "d") && !all.is_of("alice", "e"));
        assert!(outs.note(all.clone()) && outs.knows(&all));
        assert!(outs.is_void("alice", "d", at(9)) && !outs.is_void("alice", "e", at(9)));
        assert!(!outs.is_void("alice", "d", at(11)));
        let lot = [all, out("Bob", "e", 1, 2), out("bob", "", 3, 3)];
        let lot = Lot::new(&lot);
        let id = |user: &str, domain: &str| lot.of(user, domain).map(|o| o.id);
        assert_eq!(
            [
                id("alice", "d"),
                id("alice", "e"),
                id("BOB", "e"),
                id("bob", "d")
            ],
            [Some(1), None, Some(3), Some(1)]
        );
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
