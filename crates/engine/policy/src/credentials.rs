//! Credentials that were good, kept so that SIP digests can be checked without a password
//! (F266–F269).
//!
//! A password is never kept: only H(A1) for the SIP realms, as digest needs it, and a keyed hash
//! that recognises the password when it comes again.
//!
//! A phone that stays connected while the core restarts sends its next REGISTER to a process that
//! never saw its password. So [`Credentials::keep`] gives a [`Kept`] for the driver to store, and
//! [`Credentials::restore`] takes it back at the next start. Its date is wall-clock time, since a
//! process's own clock ends with it; time that a core was down counts as time without a sign-in.
//! The keyed hash is not in it, and its key dies with the process: the first sign-in after a
//! restart is asked about inside anyway, for the rest of its answer. Nor is there a record for
//! users that are forgotten: age is the only reason for that, and age is in the record.
//!
//! Users of the local file stand beside those who signed in; for a realm that the file names, its
//! word stands. Bounds: [`USERS_MAX`].

mod kept;

use std::time::Duration;

use base::{HashMap, Instant, Now, Pii, Rng, Secret};
use hmac::{Hmac, Mac};
use md5::{Digest as _, Md5};
use sha2::Sha256;
use subtle::ConstantTimeEq;

use crate::signed_out::Lot;

pub use kept::Kept;

/// Users who signed in, kept at once.
pub const USERS_MAX: usize = 100_000;

/// People of one name, in several domains, whose digests are tried.
pub const NAMESAKES_MAX: usize = 8;

/// H(A1) for one realm (RFC 7616 §3.4.2).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ha1 {
    /// With MD5, in hexadecimal.
    pub md5: Secret<String>,
    /// With SHA-256, in hexadecimal.
    pub sha256: Secret<String>,
}

impl Ha1 {
    /// Of a user's password.
    pub fn of(user: &str, realm: &str, password: &str) -> Ha1 {
        ha1(user, realm, password)
    }
}

/// A sign-in whose password was good.
pub struct SignedIn<'a> {
    /// The domain that was signed in to: the same name in another one may be somebody else.
    pub domain: &'a str,
    /// The name as typed, which is the name in digests.
    pub user: &'a str,
    /// The name as Unified CM keeps it.
    pub account: &'a str,
    /// The password.
    pub password: &'a Secret<String>,
    /// The realms whose digests it is good for.
    pub realms: &'a [String],
    /// The user parts this user may register.
    pub lines: Vec<String>,
    /// The names of this user's devices.
    pub devices: Vec<String>,
}

struct User {
    /// Empty for one that was kept by a release which did not tell domains apart.
    domain: String,
    account: String,
    /// `None` once the process that saw the password has ended.
    verifier: Option<Vec<u8>>,
    realms: HashMap<String, Ha1>,
    lines: Vec<String>,
    devices: Vec<String>,
    /// Until when the password need not be asked about.
    fresh_until: Instant,
    /// When this user is forgotten.
    until: Instant,
}

/// A user of the local file, who is never forgotten.
#[derive(Default)]
struct Local {
    realms: HashMap<String, Ha1>,
    lines: Vec<String>,
}

/// A user of a domain's own file, as far as digests go.
#[derive(Clone, Debug)]
pub struct FileUser {
    /// The name, which is the name in digests.
    pub user: Pii<String>,
    /// H(A1) by realm.
    pub realms: Vec<(String, Ha1)>,
    /// The user parts this user may register.
    pub lines: Vec<String>,
}

/// What a digest needs of a user.
#[derive(Clone, Debug)]
pub struct Known {
    /// The domain whose user it is; empty for one of any, as in the credentials file.
    pub domain: String,
    /// The name as the directory keeps it.
    pub account: String,
    /// H(A1).
    pub ha1: Ha1,
    /// The user parts this user may register; empty if none are known.
    pub lines: Vec<String>,
    /// The names of this user's devices; empty if none are known.
    pub devices: Vec<String>,
}

/// The cache, with the local file's users beside it.
pub struct Credentials {
    key: [u8; 32],
    /// By the name as typed: one row a domain, rarely more than one.
    users: HashMap<String, Vec<User>>,
    rows: usize,
    locals: HashMap<String, Local>,
    /// Users of domains' own files, by domain.
    files: HashMap<String, HashMap<String, Local>>,
    refresh: Duration,
    cleanup: Duration,
}

/// A line of the local file that cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {0} is not user:realm:MD5:SHA-256[:line,line]")]
pub struct LineError(pub usize);

impl Credentials {
    /// An empty cache.
    pub fn new(rng: &mut Rng, refresh: Duration, cleanup: Duration) -> Self {
        Credentials {
            key: rng.array(),
            users: HashMap::default(),
            rows: 0,
            locals: HashMap::default(),
            files: HashMap::default(),
            refresh,
            cleanup,
        }
    }

    /// Users are asked about again after another time, from their next sign-in on.
    pub fn set_refresh(&mut self, refresh: Duration) {
        self.refresh = refresh;
    }

    /// Takes the users of the local file.
    ///
    /// # Errors
    /// [`LineError`] with the first line that is malformed; nothing is taken then.
    pub fn load(&mut self, text: &str) -> Result<usize, LineError> {
        let mut read = Vec::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let parts: Vec<&str> = line.split(':').collect();
            let (user, realm, md5, sha256, lines) = match parts.as_slice() {
                [user, realm, md5, sha256] => (user, realm, md5, sha256, ""),
                [user, realm, md5, sha256, lines] => (user, realm, md5, sha256, *lines),
                _ => return Err(LineError(number + 1)),
            };
            let hex = |s: &str, n: usize| s.len() == n && s.bytes().all(|b| b.is_ascii_hexdigit());
            if user.is_empty() || realm.is_empty() || !hex(md5, 32) || !hex(sha256, 64) {
                return Err(LineError(number + 1));
            }
            let ha1 = Ha1 {
                md5: Secret::new(md5.to_ascii_lowercase()),
                sha256: Secret::new(sha256.to_ascii_lowercase()),
            };
            let lines = lines
                .split(',')
                .filter(|l| !l.is_empty())
                .map(str::to_owned)
                .collect();
            read.push(((*user).to_owned(), (*realm).to_owned(), ha1, lines));
        }
        let count = read.len();
        for (name, realm, ha1, lines) in read {
            let user = self.locals.entry(name).or_default();
            user.realms.insert(realm, ha1);
            user.lines = lines;
        }
        Ok(count)
    }

    /// Takes the users of a domain's own file, in place of those taken before.
    pub fn take_file(&mut self, domain: &str, users: Vec<FileUser>) {
        let users = users.into_iter().filter(|u| !u.realms.is_empty()).map(|u| {
            let realms = u.realms.into_iter().collect();
            let lines = u.lines;
            (u.user.expose().clone(), Local { realms, lines })
        });
        self.files.insert(domain.to_owned(), users.collect());
    }

    /// The names under which directories keep a user who typed `user`; with a domain, there alone.
    pub fn accounts(&self, user: &str, domain: &str) -> Vec<String> {
        let typed = self
            .users
            .iter()
            .filter(|(t, _)| t.eq_ignore_ascii_case(user));
        let rows = typed.flat_map(|(_, rows)| rows);
        let here = |row: &&User| domain.is_empty() || row.domain == domain;
        rows.filter(here).map(|row| row.account.clone()).collect()
    }

    /// Forgets what sign-ins of users taught, whatever name was typed; how many there were.
    pub fn sign_out(&mut self, lot: &Lot<'_>) -> usize {
        let before = self.rows;
        let out = |name: &str, row: &User| lot.of(name, &row.domain).is_some();
        self.retain(|typed, row| !out(typed, row) && !out(&row.account, row));
        before - self.rows
    }

    /// The names, typed and as directories keep them, of those who signed in to a domain; `None`
    /// if there may be others.
    pub fn names(&self, domain: &str) -> Option<Vec<&str>> {
        let rows = self
            .users
            .iter()
            .flat_map(|(typed, rows)| rows.iter().map(move |row| (typed, row)));
        let here = rows.filter(|(_, row)| row.domain.is_empty() || row.domain == domain);
        let names = here.flat_map(|(typed, row)| [typed.as_str(), row.account.as_str()]);
        (self.rows < USERS_MAX).then(|| names.collect())
    }

    /// Keeps a user whose password was good a moment ago. Gives what is to be stored for
    /// [`Credentials::restore`]; `None` if the cache is full.
    pub fn keep(&mut self, now: Now, found: SignedIn<'_>) -> Option<Kept> {
        let SignedIn { user, password, .. } = found;
        if self.is_full(user, found.domain) {
            return None;
        }
        let password = password.expose();
        let realms = found.realms.iter();
        let kept = Kept {
            user: Pii::new(user.to_owned()),
            domain: found.domain.to_owned(),
            account: Pii::new(found.account.to_owned()),
            since: now.unix,
            lines: found.lines,
            devices: found.devices,
            realms: realms
                .map(|realm| (realm.clone(), ha1(user, realm, password)))
                .collect(),
        };
        let row = User {
            verifier: Some(self.verifier(user, password)),
            fresh_until: now.instant + self.refresh,
            ..User::of(&kept, now.instant + self.cleanup)
        };
        self.put(user, row);
        Some(kept)
    }

    /// Takes back what an earlier process kept; of several for one user the last stands. True if
    /// it is still good.
    pub fn restore(&mut self, now: Now, kept: &Kept) -> bool {
        let left = kept.left(now.unix, self.cleanup);
        let user = kept.user.expose();
        if left.is_zero() || self.is_full(user, &kept.domain) {
            return false;
        }
        let row = User::of(kept, now.instant + left);
        self.put(user, row);
        true
    }

    fn put(&mut self, user: &str, row: User) {
        let rows = self.users.entry(user.to_owned()).or_default();
        let before = rows.len();
        rows.retain(|r| r.domain != row.domain);
        rows.push(row);
        self.rows = self.rows + rows.len() - before;
    }

    fn row(&self, user: &str, domain: &str) -> Option<&User> {
        self.users.get(user)?.iter().find(|r| r.domain == domain)
    }

    fn is_full(&self, user: &str, domain: &str) -> bool {
        self.rows >= USERS_MAX && self.row(user, domain).is_none()
    }

    fn retain(&mut self, keep: impl Fn(&str, &User) -> bool) {
        self.users.retain(|typed, rows| {
            rows.retain(|row| keep(typed, row));
            !rows.is_empty()
        });
        self.rows = self.users.values().map(Vec::len).sum();
    }

    /// Whether a password is the one that was good for a domain, and need not be asked about yet.
    pub fn recognises(&self, now: Instant, domain: &str, user: &str, password: &str) -> bool {
        let Some(row) = self.row(user, domain) else {
            return false;
        };
        let Some(verifier) = &row.verifier else {
            return false;
        };
        now < row.fresh_until && bool::from(verifier.ct_eq(&self.verifier(user, password)))
    }

    /// Who of this name a digest may prove: in several domains the same name may be several
    /// people. The domain `at`, if it is one of theirs, comes first; at most [`NAMESAKES_MAX`].
    pub fn known(&self, now: Instant, user: &str, realm: &str, at: &str) -> Vec<Known> {
        let signed_in = self.users.get(user).into_iter().flatten();
        let mut rows: Vec<&User> = signed_in.filter(|row| now < row.until).collect();
        rows.sort_by_key(|row| row.domain != at);
        if let Some(local) = self.locals.get(user) {
            // He is one, whatever domain he signed in to: for a realm of the file its word stands.
            let row = rows.first();
            let ha1 = local.realms.get(realm);
            let ha1 = ha1.or_else(|| row?.realms.get(realm)).cloned();
            return ha1
                .map(|ha1| local.known("", user, ha1, row))
                .into_iter()
                .collect();
        }
        let mut found: Vec<Known> = Vec::new();
        for (domain, users) in &self.files {
            let local = users.get(user);
            let Some((local, ha1)) = local.and_then(|l| Some((l, l.realms.get(realm)?))) else {
                continue;
            };
            let row = rows.iter().find(|row| row.domain == *domain);
            found.push(local.known(domain, user, ha1.clone(), row));
        }
        for row in rows {
            let known = |k: &Known| k.domain == row.domain;
            if let Some(ha1) = row.realms.get(realm)
                && !found.iter().any(known)
            {
                found.push(Known {
                    domain: row.domain.clone(),
                    account: row.account.clone(),
                    ha1: ha1.clone(),
                    lines: row.lines.clone(),
                    devices: row.devices.clone(),
                });
            }
        }
        found.sort_by_key(|known| known.domain != at);
        found.truncate(NAMESAKES_MAX);
        found
    }

    /// Forgets who has not signed in for the clean-up interval.
    pub fn clean_up(&mut self, now: Instant) {
        self.retain(|_, row| now < row.until);
    }

    /// Users kept who signed in.
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Whether nobody is kept who signed in.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    fn verifier(&self, user: &str, password: &str) -> Vec<u8> {
        // HMAC takes keys of any length, so this cannot fail; an empty one matches nothing new.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else {
            return Vec::new();
        };
        mac.update(&(user.len() as u64).to_be_bytes());
        mac.update(user.as_bytes());
        mac.update(password.as_bytes());
        mac.finalize().into_bytes().to_vec()
    }
}

impl Local {
    fn known(&self, domain: &str, user: &str, ha1: Ha1, row: Option<&&User>) -> Known {
        Known {
            domain: domain.to_owned(),
            account: row.map_or_else(|| user.to_owned(), |r| r.account.clone()),
            ha1,
            lines: self.lines.clone(),
            devices: row.map(|r| r.devices.clone()).unwrap_or_default(),
        }
    }
}

impl User {
    /// As it was kept, without what only the process has that saw the password.
    fn of(kept: &Kept, until: Instant) -> User {
        User {
            domain: kept.domain.clone(),
            account: kept.account.expose().clone(),
            verifier: None,
            realms: kept.realms.iter().cloned().collect(),
            lines: kept.lines.clone(),
            devices: kept.devices.clone(),
            fresh_until: Instant::ZERO,
            until,
        }
    }
}

fn ha1(user: &str, realm: &str, password: &str) -> Ha1 {
    let text = Secret::new(format!("{user}:{realm}:{password}"));
    let hex = |bytes: &[u8]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
    Ha1 {
        md5: Secret::new(hex(&Md5::digest(text.expose().as_bytes()))),
        sha256: Secret::new(hex(&Sha256::digest(text.expose().as_bytes()))),
    }
}

#[cfg(test)]
mod tests {
    use base::UnixTime;

    use super::*;

    fn at(minutes: u64) -> Instant {
        Instant::from_micros(minutes * 60_000_000)
    }

    /// The same moment on both clocks; the wall's began at noon.
    fn now(minutes: u64) -> Now {
        Now {
            instant: at(minutes),
            unix: UnixTime::from_millis(1_790_000_000_000 + minutes * 60_000),
        }
    }

    fn cache() -> Credentials {
        let minutes = |m: u64| Duration::from_secs(m * 60);
        Credentials::new(&mut Rng::from_number(1), minutes(480), minutes(720))
    }

    fn keep(c: &mut Credentials, now: Now, user: &str) -> Kept {
        let found = SignedIn {
            domain: "d",
            user,
            account: "alice",
            password: &Secret::new("pw".into()),
            realms: &["r".into()],
            lines: vec!["1001".into()],
            devices: vec!["CSFALICE".into()],
        };
        c.keep(now, found).unwrap()
    }

    #[test]
    fn a_user_is_recognised_until_refresh_and_known_until_clean_up() {
        let mut c = cache();
        keep(&mut c, now(0), "alice");
        assert!(
            c.recognises(at(479), "d", "alice", "pw") && !c.recognises(at(480), "d", "alice", "pw")
        );
        assert!(!c.recognises(at(0), "d", "alice", "px") && !c.recognises(at(0), "d", "bob", "pw"));
        let known = c.known(at(719), "alice", "r", "d")[0].clone();
        assert_eq!(known.ha1, ha1("alice", "r", "pw"));
        assert_eq!(known.lines, ["1001"]);
        assert_eq!(known.devices, ["CSFALICE"]);
        assert!(
            c.known(at(0), "alice", "other", "d").is_empty()
                && c.known(at(720), "alice", "r", "d").is_empty()
        );
        c.clean_up(at(720));
        assert!(c.is_empty());
    }

    #[test]
    fn a_restored_user_is_known_for_the_rest_of_his_time_and_asked_about_when_he_signs_in() {
        let kept = keep(&mut cache(), now(0), "Alice");
        // The process that takes him back has a clock that begins at zero.
        let late = Now {
            instant: Instant::ZERO,
            ..now(700)
        };
        let mut c = cache();
        assert!(c.restore(late, &kept));
        assert_eq!(
            c.known(at(19), "Alice", "r", "d")[0].clone().ha1,
            ha1("Alice", "r", "pw")
        );
        assert!(c.known(at(20), "Alice", "r", "d").is_empty());
        assert_eq!(c.known(at(19), "Alice", "r", "d")[0].account, "alice");
        assert!(!c.recognises(at(0), "d", "Alice", "pw"));
    }

    #[test]
    fn a_sign_in_that_is_too_old_or_of_the_future_is_not_restored() {
        let kept = keep(&mut cache(), now(100), "alice");
        for (minutes, good) in [(94, false), (96, true), (819, true), (820, false)] {
            let mut c = cache();
            assert_eq!(c.restore(now(minutes), &kept), good, "{minutes}");
            assert_eq!(c.is_empty(), !good);
        }
        // The clock was set back: no longer than from now on.
        let mut c = cache();
        c.restore(now(96), &kept);
        assert!(c.known(at(96 + 720), "alice", "r", "d").is_empty());
    }

    #[test]
    fn the_local_file_is_read_whole_or_not_at_all() {
        let md5 = "0".repeat(32);
        let sha = "1".repeat(64);
        let mut c = cache();
        let good = format!("# users\nalice:r:{md5}:{sha}:1001,1002\nbob:r:{md5}:{sha}\n");
        assert_eq!(c.load(&good), Ok(2));
        keep(&mut c, now(0), "alice");
        assert_eq!(
            c.known(at(0), "alice", "r", "d")[0]
                .clone()
                .ha1
                .md5
                .expose(),
            &md5
        );
        c.clean_up(at(100_000));
        assert_eq!(
            c.known(at(100_000), "alice", "r", "d")[0].clone().lines,
            ["1001", "1002"]
        );
        assert_eq!(
            cache().load(&format!("{good}carol:r:xx:{sha}")),
            Err(LineError(4))
        );
        assert_eq!(cache().load("alice:pw"), Err(LineError(1)));
    }

    #[test]
    fn people_of_one_name_in_two_domains_are_two() {
        let mut c = cache();
        for (domain, account, password) in [("d", "alice", "pw"), ("e", "Alice.B", "other")] {
            let found = SignedIn {
                domain,
                user: "alice",
                account,
                password: &Secret::new(password.into()),
                realms: &["r".into()],
                lines: vec![],
                devices: vec![],
            };
            c.keep(now(0), found).unwrap();
        }
        assert_eq!(c.len(), 2);
        assert!(c.recognises(at(0), "d", "alice", "pw"));
        assert!(!c.recognises(at(0), "e", "alice", "pw"));
        assert!(c.recognises(at(0), "e", "alice", "other"));
        let known = c.known(at(0), "alice", "r", "e");
        let of: Vec<_> = known
            .iter()
            .map(|k| (k.domain.as_str(), k.account.as_str()))
            .collect();
        assert_eq!(of, [("e", "Alice.B"), ("d", "alice")]);
        assert_eq!(known[1].ha1, ha1("alice", "r", "pw"));
        // By either name, in one domain or in all.
        let out = |c: &mut Credentials, user: &str, domain: &str| {
            let out = crate::signed_out::SignOut {
                user: Pii::new(user.into()),
                domain: domain.into(),
                at: base::UnixTime::default(),
                id: 1,
            };
            c.sign_out(&Lot::new(&[out]))
        };
        assert_eq!(out(&mut c, "ALICE.b", "d"), 0);
        assert_eq!(c.names("e").unwrap().len(), 2);
        assert_eq!(out(&mut c, "ALICE.b", "e"), 1);
        assert_eq!((out(&mut c, "alice", ""), c.len()), (1, 0));
    }

    #[test]
    fn digests_of_a_domains_own_file_are_replaced_with_the_file() {
        let mut c = cache();
        let user = |name: &str, realms| FileUser {
            user: Pii::new(name.into()),
            realms,
            lines: vec!["1001".into()],
        };
        let own = || vec![("r".to_owned(), ha1("alice", "r", "pw"))];
        c.take_file("e", vec![user("alice", own()), user("bob", Vec::new())]);
        let known = c.known(at(0), "alice", "r", "e");
        assert_eq!((known.len(), known[0].domain.as_str()), (1, "e"));
        assert_eq!(known[0].lines, ["1001"]);
        assert!(c.known(at(0), "bob", "r", "e").is_empty());
        c.take_file("e", Vec::new());
        assert!(c.known(at(0), "alice", "r", "e").is_empty());
    }
}
