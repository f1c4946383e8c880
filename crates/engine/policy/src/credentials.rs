//! Credentials that were good, kept so that SIP digests can be checked without a password
//! (F266–F269).
//!
//! A password is never kept: only H(A1) for the SIP realms, as digest needs it, and a keyed hash
//! that recognises the password when it comes again. Bounds: [`USERS_MAX`].

use std::time::Duration;

use base::{HashMap, Instant, Rng, Secret};
use hmac::{Hmac, Mac};
use md5::{Digest as _, Md5};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// Users kept at once.
pub const USERS_MAX: usize = 100_000;

/// H(A1) for one realm (RFC 7616 §3.4.2).
#[derive(Clone, Debug)]
pub struct Ha1 {
    /// With MD5, in hexadecimal.
    pub md5: Secret<String>,
    /// With SHA-256, in hexadecimal.
    pub sha256: Secret<String>,
}

struct User {
    verifier: Option<Vec<u8>>,
    realms: HashMap<String, Ha1>,
    lines: Vec<String>,
    /// `None` for users of the local file, which never expire.
    since: Option<Instant>,
}

/// What a digest needs of a user.
#[derive(Clone, Debug)]
pub struct Known {
    /// H(A1).
    pub ha1: Ha1,
    /// The user parts this user may register; empty if call control decides.
    pub lines: Vec<String>,
}

/// The cache, with the local file's users in it.
pub struct Credentials {
    key: [u8; 32],
    users: HashMap<String, User>,
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
            refresh,
            cleanup,
        }
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
            let user = self.users.entry(name).or_insert_with(|| User {
                verifier: None,
                realms: HashMap::default(),
                lines: Vec::new(),
                since: None,
            });
            user.realms.insert(realm, ha1);
            user.lines = lines;
        }
        Ok(count)
    }

    /// Keeps a user whose password was good a moment ago.
    pub fn keep(
        &mut self,
        now: Instant,
        user: &str,
        password: &str,
        realms: &[String],
        lines: Vec<String>,
    ) {
        if self.users.len() >= USERS_MAX && !self.users.contains_key(user) {
            return;
        }
        if let Some(local) = self.users.get_mut(user).filter(|u| u.since.is_none()) {
            // The file's word stands, and stays; realms that it does not name are added.
            for realm in realms {
                let entry = local.realms.entry(realm.clone());
                entry.or_insert_with(|| ha1(user, realm, password));
            }
            return;
        }
        let ha1s = realms
            .iter()
            .map(|realm| (realm.clone(), ha1(user, realm, password)));
        let verifier = Some(self.verifier(user, password));
        let row = User {
            verifier,
            realms: ha1s.collect(),
            lines,
            since: Some(now),
        };
        self.users.insert(user.to_owned(), row);
    }

    /// Whether a password is the one that was good, and need not be asked about yet.
    pub fn recognises(&self, now: Instant, user: &str, password: &str) -> bool {
        let Some(row) = self.users.get(user) else {
            return false;
        };
        let (Some(since), Some(verifier)) = (row.since, &row.verifier) else {
            return false;
        };
        now.since(since) < self.refresh
            && bool::from(verifier.ct_eq(&self.verifier(user, password)))
    }

    /// Whether a user is kept.
    pub fn knows(&self, user: &str) -> bool {
        self.users.contains_key(user)
    }

    /// What a digest needs of a user.
    pub fn known(&self, now: Instant, user: &str, realm: &str) -> Option<Known> {
        let row = self.users.get(user)?;
        if row
            .since
            .is_some_and(|since| now.since(since) >= self.cleanup)
        {
            return None;
        }
        Some(Known {
            ha1: row.realms.get(realm)?.clone(),
            lines: row.lines.clone(),
        })
    }

    /// Forgets who has not signed in for the clean-up interval.
    pub fn clean_up(&mut self, now: Instant) {
        let cleanup = self.cleanup;
        self.users
            .retain(|_, u| u.since.is_none_or(|since| now.since(since) < cleanup));
    }

    /// Forgets a user who signed in.
    pub fn forget(&mut self, user: &str) {
        if self.users.get(user).is_some_and(|u| u.since.is_some()) {
            self.users.remove(user);
        }
    }

    /// Users kept.
    pub fn len(&self) -> usize {
        self.users.len()
    }

    /// Whether nobody is kept.
    pub fn is_empty(&self) -> bool {
        self.users.is_empty()
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
    use super::*;

    fn at(minutes: u64) -> Instant {
        Instant::from_micros(minutes * 60_000_000)
    }

    fn cache() -> Credentials {
        let minutes = |m: u64| Duration::from_secs(m * 60);
        Credentials::new(&mut Rng::from_number(1), minutes(480), minutes(720))
    }

    #[test]
    fn a_user_is_recognised_until_refresh_and_known_until_clean_up() {
        let mut c = cache();
        c.keep(at(0), "alice", "pw", &["r".into()], vec!["1001".into()]);
        assert!(c.recognises(at(479), "alice", "pw") && !c.recognises(at(480), "alice", "pw"));
        assert!(!c.recognises(at(0), "alice", "px") && !c.recognises(at(0), "bob", "pw"));
        let known = c.known(at(719), "alice", "r").unwrap();
        assert_eq!(
            known.ha1.md5.expose(),
            &ha1("alice", "r", "pw").md5.expose().clone()
        );
        assert_eq!(known.lines, ["1001"]);
        assert!(
            c.known(at(0), "alice", "other").is_none() && c.known(at(720), "alice", "r").is_none()
        );
        c.clean_up(at(720));
        assert!(c.is_empty());
    }

    #[test]
    fn the_local_file_is_read_whole_or_not_at_all() {
        let md5 = "0".repeat(32);
        let sha = "1".repeat(64);
        let mut c = cache();
        let good = format!("# users\nalice:r:{md5}:{sha}:1001,1002\nbob:r:{md5}:{sha}\n");
        assert_eq!(c.load(&good), Ok(2));
        c.keep(at(0), "alice", "pw", &["r".into()], Vec::new());
        c.clean_up(at(100_000));
        assert_eq!(
            c.known(at(100_000), "alice", "r").unwrap().lines,
            ["1001", "1002"]
        );
        assert_eq!(
            cache().load(&format!("{good}carol:r:xx:{sha}")),
            Err(LineError(4))
        );
        assert_eq!(cache().load("alice:pw"), Err(LineError(1)));
    }
}
