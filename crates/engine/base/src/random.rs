//! Randomness from a seed.

use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};

/// A cryptographically strong generator (ChaCha20) whose whole output follows from its seed.
///
/// The driver seeds it from the operating system; a simulation seeds it from a number.
#[derive(Clone, Debug)]
pub struct Rng(ChaCha20Rng);

impl Rng {
    /// From 32 bytes, which must come from the operating system in production.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        Rng(ChaCha20Rng::from_seed(seed))
    }

    /// From a number, for tests and simulations only.
    pub fn from_number(seed: u64) -> Self {
        Rng(ChaCha20Rng::seed_from_u64(seed))
    }

    /// An independent generator for a part of the program.
    pub fn fork(&mut self) -> Rng {
        Rng::from_seed(self.array())
    }

    /// A random 64-bit number.
    pub fn u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A random 32-bit number.
    pub fn u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    /// A number in `0..bound`; zero if `bound` is zero.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            0
        } else {
            ((u128::from(self.0.next_u64()) * u128::from(bound)) >> 64) as u64
        }
    }

    /// `N` random bytes.
    pub fn array<const N: usize>(&mut self) -> [u8; N] {
        let mut out = [0; N];
        self.0.fill_bytes(&mut out);
        out
    }

    /// Fills `out` with random bytes.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.0.fill_bytes(out);
    }

    /// `bytes` random bytes in lower-case hexadecimal: tags, branches, ids.
    pub fn hex(&mut self, bytes: usize) -> String {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let mut out = String::with_capacity(bytes * 2);
        for _ in 0..bytes {
            let b = (self.0.next_u32() & 0xff) as usize;
            out.push(char::from(DIGITS[b >> 4]));
            out.push(char::from(DIGITS[b & 15]));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_run() {
        let (mut a, mut b) = (Rng::from_number(7), Rng::from_number(7));
        assert_eq!(a.hex(16), b.hex(16));
        assert_eq!(a.fork().u64(), b.fork().u64());
        assert_ne!(Rng::from_number(8).u64(), Rng::from_number(7).u64());
        assert!((0..1000).all(|_| a.below(6) < 6));
    }
}
