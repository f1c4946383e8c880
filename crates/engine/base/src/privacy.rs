//! Values that must not reach a log.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use subtle::ConstantTimeEq;
use zeroize::Zeroize;

/// A key, password or token: wiped when dropped, never printed, compared in constant time.
#[derive(Clone, Default, Deserialize)]
#[serde(transparent)]
pub struct Secret<T: Zeroize>(T);

impl<T: Zeroize> Secret<T> {
    /// Takes charge of `value`.
    pub fn new(value: T) -> Self {
        Secret(value)
    }

    /// The value, for the one place that uses it.
    pub fn expose(&self) -> &T {
        &self.0
    }
}

impl<T: Zeroize> Drop for Secret<T> {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl<T: Zeroize> fmt::Debug for Secret<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("‹secret›")
    }
}

impl<T: Zeroize + AsRef<[u8]>> PartialEq for Secret<T> {
    fn eq(&self, other: &Self) -> bool {
        self.0.as_ref().ct_eq(other.0.as_ref()).into()
    }
}

impl<T: Zeroize + AsRef<[u8]>> Eq for Secret<T> {}

/// A user's name or address: printed as a short mark that stays the same within a run, so that
/// lines can be matched up. Only DEBUG and TRACE may [`Pii::expose`] it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pii<T>(T);

impl<T> Pii<T> {
    /// Marks `value` as personal.
    pub fn new(value: T) -> Self {
        Pii(value)
    }

    /// The value: for use, for a status page behind a login, and for DEBUG and TRACE lines.
    pub fn expose(&self) -> &T {
        &self.0
    }

    /// The value, by move.
    pub fn into_inner(self) -> T {
        self.0
    }
}

/// The process's key for marks; without one, marks are the same in every run.
static KEY: OnceLock<[u8; 32]> = OnceLock::new();

/// Keys the marks of [`Pii`] for the rest of the process, so that nobody who has a log can try
/// names against it. The driver does so once at its start, with bytes from the operating system; a
/// simulation does not, and its log replays from its seed. The first key stays.
pub fn set_key(key: [u8; 32]) {
    // A second node in one process shares the first one's marks.
    let _ = KEY.set(key);
}

/// 24 bits that stand for `value` under `key`.
fn mark(key: Option<&[u8; 32]>, value: &impl Hash) -> u64 {
    let mut hasher = std::hash::DefaultHasher::new();
    if let Some(key) = key {
        hasher.write(key);
    }
    value.hash(&mut hasher);
    hasher.finish() & 0xff_ffff
}

impl<T: Hash> fmt::Debug for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "‹{:06x}›", mark(KEY.get(), &self.0))
    }
}

impl<T: Hash> fmt::Display for Pii<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

impl<T> From<T> for Pii<T> {
    fn from(value: T) -> Self {
        Pii(value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark_of_a_person_differs_from_key_to_key() {
        let marks = [None, Some(&[1; 32]), Some(&[2; 32])].map(|key| mark(key, &"alice"));
        assert!(marks[0] != marks[1] && marks[1] != marks[2] && marks[0] != marks[2]);
        assert_eq!(mark(Some(&[1; 32]), &"alice"), marks[1]);
        assert_ne!(mark(Some(&[1; 32]), &"bob"), marks[1]);
    }

    #[test]
    fn neither_secrets_nor_persons_are_printed() {
        let s = Secret::new("hunter2".to_owned());
        let p = Pii::new("alice@example.test".to_owned());
        let shown = format!("{s:?} {p} {p:?}");
        assert!(!shown.contains("hunter2") && !shown.contains("alice"));
        assert_eq!(
            p.to_string(),
            Pii::new("alice@example.test".to_owned()).to_string()
        );
        assert!(s == Secret::new("hunter2".to_owned()));
    }
}
