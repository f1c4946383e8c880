//! What leaves a node sealed under a passphrase: secrets of an export, a backup.
//!
//! ```text
//! sealed = "CWP1" memory_kib(4) passes(4) lanes(4) salt(16) nonce(12) ciphertext tag(16)
//! ```
//!
//! The key is argon2id of the passphrase (RFC 9106), the cipher AES-256-GCM with all before the
//! nonce as associated data. What is written asks for RFC 9106's second recommendation (64 MiB,
//! 3 passes, 4 lanes); what is read is bounded by [`MEMORY_KIB_MAX`] and [`PASSES_MAX`], so that a
//! strange file does not hold the node up.

use argon2::{Algorithm, Argon2, Params, Version};
use base::Secret;

use crate::Error;
use crate::seal::{Seal, random};

/// The most memory that a sealed text may ask for, in KiB.
pub const MEMORY_KIB_MAX: u32 = 256 * 1024;

/// The most passes that a sealed text may ask for.
pub const PASSES_MAX: u32 = 16;

/// The shortest passphrase that seals, in characters.
pub const CHARACTERS_MIN: usize = 12;

const MAGIC: &[u8; 4] = b"CWP1";
const HEAD: usize = MAGIC.len() + 12 + 16;
const MEMORY_KIB: u32 = 64 * 1024;
const PASSES: u32 = 3;
const LANES: u32 = 4;

/// Seals. Takes about a tenth of a second and 64 MiB.
///
/// # Errors
/// [`Error::Seal`].
pub fn seal(passphrase: &Secret<String>, text: &[u8]) -> Result<Vec<u8>, Error> {
    let mut out = MAGIC.to_vec();
    for number in [MEMORY_KIB, PASSES, LANES] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(&random::<16>()?);
    let key = key(passphrase, &out).ok_or(Error::Seal)?;
    let sealed = Seal::new(&key)?.seal(&out, text)?;
    out.extend_from_slice(&sealed);
    Ok(out)
}

/// Opens.
///
/// # Errors
/// [`Error::Passphrase`].
pub fn open(passphrase: &Secret<String>, sealed: &[u8]) -> Result<Secret<Vec<u8>>, Error> {
    let (head, rest) = sealed.split_at_checked(HEAD).ok_or(Error::Passphrase)?;
    let key = key(passphrase, head).ok_or(Error::Passphrase)?;
    let opened = Seal::new(&key)?.open(head, rest);
    opened.ok_or(Error::Passphrase)
}

/// The key of a passphrase, as a head describes it.
fn key(passphrase: &Secret<String>, head: &[u8]) -> Option<Secret<[u8; 32]>> {
    let rest = head.strip_prefix(MAGIC)?;
    let (numbers, salt) = rest.split_at_checked(12)?;
    let mut numbers = numbers
        .chunks_exact(4)
        .filter_map(|n| n.try_into().ok())
        .map(u32::from_be_bytes);
    let (memory, passes, lanes) = (numbers.next()?, numbers.next()?, numbers.next()?);
    if memory > MEMORY_KIB_MAX || passes > PASSES_MAX || lanes > 16 {
        return None;
    }
    let params = Params::new(memory, passes, lanes, Some(32)).ok()?;
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut key = [0; 32];
    let passphrase = passphrase.expose().as_bytes();
    argon.hash_password_into(passphrase, salt, &mut key).ok()?;
    Some(Secret::new(key))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    fn phrase(text: &str) -> Secret<String> {
        Secret::new(text.to_owned())
    }

    #[test]
    fn what_is_sealed_opens_under_its_passphrase_alone() {
        let sealed = seal(&phrase("correct horse battery"), b"hunter2").unwrap();
        let opened = open(&phrase("correct horse battery"), &sealed).unwrap();
        assert_eq!(opened.expose(), b"hunter2");
        assert!(!sealed.windows(7).any(|w| w == b"hunter2"));
        let wrong = open(&phrase("correct horse"), &sealed);
        assert!(matches!(wrong, Err(Error::Passphrase)));
    }

    #[test]
    fn what_was_changed_or_cut_does_not_open() {
        let phrase = phrase("correct horse battery");
        let sealed = seal(&phrase, b"hunter2").unwrap();
        for at in [0, 17, HEAD, sealed.len() - 1] {
            let mut changed = sealed.clone();
            changed[at] ^= 1;
            assert!(open(&phrase, &changed).is_err(), "{at}");
        }
        assert!(open(&phrase, &sealed[..HEAD]).is_err());
        assert!(open(&phrase, b"").is_err());
        // Asks for 4 TiB.
        let mut greedy = sealed;
        greedy[4..8].copy_from_slice(&u32::MAX.to_be_bytes());
        assert!(open(&phrase, &greedy).is_err());
    }
}
