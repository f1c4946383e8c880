//! A sign-in as it is stored: what it holds, and its bytes.
//!
//! The bytes are a version, then fields with their lengths in front; whoever stores them seals
//! them. They are our own, but come from a disk: reading them checks every length.

use std::time::Duration;

use base::{Pii, Secret, UnixTime};

use super::Ha1;

/// How far in the future a sign-in may lie, for a clock that was set back a little.
const AHEAD_MAX: Duration = Duration::from_secs(300);

/// The version of the bytes.
const VERSION: u8 = 4;

/// That of a release which did not tell domains apart.
const WITHOUT_DOMAIN: u8 = 2;

/// What is kept of a sign-in over a restart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The name as typed, which is the name in digests.
    pub user: Pii<String>,
    /// The domain that was signed in to; empty in a record of an earlier release.
    pub domain: String,
    /// The name as the directory keeps it.
    pub account: Pii<String>,
    /// When the password was good.
    pub since: UnixTime,
    /// The user parts this user may register.
    pub lines: Vec<String>,
    /// The names of this user's devices.
    pub devices: Vec<String>,
    /// H(A1) by realm.
    pub realms: Vec<(String, Ha1)>,
}

impl Kept {
    /// How long it is still good, of a clean-up interval; zero if it is not. A sign-in of the
    /// near future counts from now on, one of the far future is an error of a clock.
    pub fn left(&self, now: UnixTime, cleanup: Duration) -> Duration {
        match u64::try_from(now.skew_ms(self.since)) {
            Ok(age) => cleanup.saturating_sub(Duration::from_millis(age)),
            Err(_) if self.since <= now.plus(AHEAD_MAX) => cleanup,
            Err(_) => Duration::ZERO,
        }
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> Secret<Vec<u8>> {
        // What grows is copied, and the copy that is left behind would not be wiped.
        let mut bytes = Vec::with_capacity(self.length());
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.since.as_millis().to_be_bytes());
        put(&mut bytes, self.user.expose());
        put(&mut bytes, self.account.expose());
        put(&mut bytes, &self.domain);
        for texts in [&self.lines, &self.devices] {
            bytes.extend_from_slice(&(texts.len() as u32).to_be_bytes());
            texts.iter().for_each(|text| put(&mut bytes, text));
        }
        bytes.extend_from_slice(&(self.realms.len() as u32).to_be_bytes());
        for (realm, ha1) in &self.realms {
            put(&mut bytes, realm);
            put(&mut bytes, ha1.md5.expose());
            put(&mut bytes, ha1.sha256.expose());
        }
        Secret::new(bytes)
    }

    fn length(&self) -> usize {
        let texts = self.lines.iter().chain(&self.devices);
        let lines = texts.map(|l| 4 + l.len()).sum::<usize>();
        let realms = self.realms.iter().map(|(realm, ha1)| {
            12 + realm.len() + ha1.md5.expose().len() + ha1.sha256.expose().len()
        });
        let names = self.user.expose().len() + self.account.expose().len();
        33 + self.domain.len() + names + lines + realms.sum::<usize>()
    }

    /// Of its bytes; `None` if they are not those of this version.
    pub fn from_bytes(bytes: &[u8]) -> Option<Kept> {
        let (version, mut rest) = bytes.split_first()?;
        if ![VERSION, WITHOUT_DOMAIN].contains(version) {
            return None;
        }
        let rest = &mut rest;
        let since = UnixTime::from_millis(u64::from_be_bytes(take(rest)?));
        let (user, account) = (Pii::new(text(rest)?), Pii::new(text(rest)?));
        let domain = match *version {
            WITHOUT_DOMAIN => String::new(),
            _ => text(rest)?,
        };
        let (lines, devices) = (list(rest, text)?, list(rest, text)?);
        let realms = list(rest, |rest| {
            let realm = text(rest)?;
            let (md5, sha256) = (Secret::new(text(rest)?), Secret::new(text(rest)?));
            Some((realm, Ha1 { md5, sha256 }))
        })?;
        rest.is_empty().then_some(Kept {
            user,
            domain,
            account,
            since,
            lines,
            devices,
            realms,
        })
    }
}

fn put(bytes: &mut Vec<u8>, text: &str) {
    bytes.extend_from_slice(&(text.len() as u32).to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

fn text(rest: &mut &[u8]) -> Option<String> {
    let length = u32::from_be_bytes(take(rest)?) as usize;
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    String::from_utf8(head.to_vec()).ok()
}

/// A list; one that claims more entries than there are bytes ends where the bytes do.
fn list<T>(rest: &mut &[u8], entry: impl Fn(&mut &[u8]) -> Option<T>) -> Option<Vec<T>> {
    let count = u32::from_be_bytes(take(rest)?);
    (0..count).map(|_| entry(rest)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept() -> Kept {
        let ha1 = |c: &str| Ha1 {
            md5: Secret::new(c.repeat(32)),
            sha256: Secret::new(c.repeat(64)),
        };
        Kept {
            user: Pii::new("Älice:x\n".into()),
            domain: "example.test".into(),
            account: Pii::new("alice".into()),
            since: UnixTime::from_millis(1_790_000_000_123),
            lines: vec!["1001".into(), "1002".into()],
            devices: vec!["CSFALICE".into()],
            realms: vec![("r".into(), ha1("a")), ("s".into(), ha1("b"))],
        }
    }

    #[test]
    fn a_sign_in_comes_back_from_its_bytes_and_from_no_part_of_them() {
        let bytes = kept().to_bytes();
        let bytes = bytes.expose();
        assert_eq!(bytes.len(), kept().length());
        assert_eq!(Kept::from_bytes(bytes), Some(kept()));
        for end in 0..bytes.len() {
            assert_eq!(Kept::from_bytes(&bytes[..end]), None, "{end}");
        }
        let longer = [bytes.as_slice(), b"x"].concat();
        assert_eq!(Kept::from_bytes(&longer), None);
        let mut other = bytes.clone();
        other[0] = VERSION + 1;
        assert_eq!(Kept::from_bytes(&other), None);
    }

    #[test]
    fn a_record_of_the_release_before_is_of_any_domain() {
        let mut bytes = kept().to_bytes().expose().clone();
        bytes[0] = WITHOUT_DOMAIN;
        let domain = [&12u32.to_be_bytes()[..], b"example.test"].concat();
        let at = bytes.windows(16).position(|w| w == domain).unwrap();
        bytes.drain(at..at + 16);
        let domain = String::new();
        assert_eq!(Kept::from_bytes(&bytes), Some(Kept { domain, ..kept() }));
    }

    #[test]
    fn a_debug_line_of_it_shows_neither_name_nor_hash() {
        let line = format!("{:?}", kept());
        assert!(!line.contains("alice") && !line.contains("aaaa"), "{line}");
    }
}
