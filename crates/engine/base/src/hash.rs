//! How tables hash their keys.
//!
//! In: numbers and bytes, some of which a stranger chose. Out: 64 bits that are the same in every
//! run of a process without a key, as a simulation is. Under a random key nobody can tell from
//! outside which of the names that he may choose fall together in a table. Not for what leaves the
//! process or is kept on disk. No I/O: the driver gives the key.

use std::hash::{BuildHasher, DefaultHasher, Hasher};
use std::sync::OnceLock;

/// The process's key; without one, hashes are the same in every run.
static KEY: OnceLock<u64> = OnceLock::new();

/// What stands for a key where there is none. Of its bits, as many are set as not.
const NO_KEY: u64 = 0xd6e8_feb8_6659_fd93;

/// Keys the hashes of tables that are made from now on. The driver does so once at its start, from
/// its seed; a simulation does not, and replays from its own. The first key stays.
pub fn set_key(key: u64) {
    // A second node in one process shares the first one's.
    let _ = KEY.set(key);
}

/// Builds hashers that are the same as long as the process runs, and in every run without a key.
#[derive(Clone, Copy, Debug)]
pub struct FixedState {
    key: u64,
}

impl Default for FixedState {
    fn default() -> Self {
        FixedState {
            key: KEY.get().copied().unwrap_or(NO_KEY),
        }
    }
}

impl BuildHasher for FixedState {
    type Hasher = FixedHasher;
    #[inline]
    fn build_hasher(&self) -> FixedHasher {
        FixedHasher {
            numbers: self.key,
            // Odd, so that no two numbers have one product.
            factor: self.key.rotate_left(32) | 1,
            bytes: None,
        }
    }
}

/// SipHash-1-3 of bytes and of all that comes after bytes, as the mark that ends a text. Numbers
/// before them are mixed in by a multiplication each. The key is in both.
#[derive(Clone)]
pub struct FixedHasher {
    numbers: u64,
    factor: u64,
    bytes: Option<DefaultHasher>,
}

impl FixedHasher {
    #[inline(always)]
    fn number(&mut self, number: u64) {
        if let Some(bytes) = &mut self.bytes {
            bytes.write_u64(number);
            return;
        }
        let product = u128::from(self.numbers ^ number) * u128::from(self.factor);
        self.numbers = (product as u64) ^ (product >> 64) as u64;
    }
}

impl Hasher for FixedHasher {
    fn write(&mut self, bytes: &[u8]) {
        let numbers = self.numbers;
        let hasher = self.bytes.get_or_insert_with(|| {
            let mut hasher = DefaultHasher::new();
            hasher.write_u64(numbers);
            hasher
        });
        hasher.write(bytes);
    }

    #[inline]
    fn write_u8(&mut self, number: u8) {
        // The end of a text: there are many, so it costs one byte.
        match &mut self.bytes {
            Some(bytes) => bytes.write_u8(number),
            None => self.number(number.into()),
        }
    }

    #[inline]
    fn write_u16(&mut self, number: u16) {
        self.number(number.into());
    }

    #[inline]
    fn write_u32(&mut self, number: u32) {
        self.number(number.into());
    }

    #[inline]
    fn write_u64(&mut self, number: u64) {
        self.number(number);
    }

    #[inline]
    fn write_usize(&mut self, number: usize) {
        self.number(number as u64);
    }

    #[inline]
    fn finish(&self) -> u64 {
        match &self.bytes {
            Some(bytes) => bytes.finish(),
            None => self.numbers,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_that_are_split_elsewhere_have_other_hashes() {
        let state = FixedState { key: NO_KEY };
        let splits = [("", "abc"), ("a", "bc"), ("ab", "c"), ("abc", "")];
        let hashes = splits.map(|split| state.hash_one(split));
        for (i, hash) in hashes.iter().enumerate() {
            assert!(!hashes[..i].contains(hash), "{:?}", splits[i]);
        }
        let numbered = [(1u8, "a", 2u8), (2, "a", 1)].map(|row| state.hash_one(row));
        assert_ne!(numbered[0], numbered[1]);
        let lists = [vec![vec![1u8], vec![]], vec![vec![], vec![1u8]]];
        let lists = lists.map(|list| state.hash_one(list));
        assert_ne!(lists[0], lists[1]);
    }

    /// How many of `hashes` fall into the fullest of a thousand places.
    fn fullest(hashes: impl Iterator<Item = u64>) -> u32 {
        let mut places = [0; 1024];
        for hash in hashes {
            places[(hash % 1024) as usize] += 1;
        }
        places.into_iter().max().unwrap_or(0)
    }

    #[test]
    fn names_that_fall_together_under_one_key_do_not_under_another() {
        let known = FixedState { key: NO_KEY };
        let link = (7u32, 1u32);
        let number = |n: &u32| known.hash_one((link, n)).is_multiple_of(1024);
        let numbers: Vec<u32> = (0..500_000).filter(number).collect();
        let text = |n: &String| known.hash_one(n).is_multiple_of(1024);
        let texts: Vec<String> = (0..300_000).map(|n| n.to_string()).filter(text).collect();
        assert!(numbers.len() > 400 && texts.len() > 200);
        let mut rng = crate::Rng::from_number(1);
        for _ in 0..20 {
            let key = rng.u64();
            let other = FixedState { key };
            let spread = fullest(numbers.iter().map(|n| other.hash_one((link, n))));
            assert!(spread < 12, "{spread} numbers under {key:x}");
            let spread = fullest(texts.iter().map(|n| other.hash_one(n)));
            assert!(spread < 12, "{spread} texts under {key:x}");
        }
    }
}
