//! Secrets at rest: AES-256-GCM under a key, each bound to the place where it stands.
//!
//! `sealed = nonce(12) ciphertext tag(16)`; the place is associated data, so that a secret that was
//! moved on the disk does not open.

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base::Secret;

use crate::Error;

/// Seals and opens.
pub(crate) struct Seal(LessSafeKey);

impl Seal {
    pub(crate) fn new(key: &Secret<[u8; 32]>) -> Result<Self, Error> {
        let key = UnboundKey::new(&AES_256_GCM, key.expose()).map_err(|_| Error::Seal)?;
        Ok(Seal(LessSafeKey::new(key)))
    }

    pub(crate) fn seal(&self, place: &[u8], secret: &[u8]) -> Result<Vec<u8>, Error> {
        let nonce = random::<NONCE_LEN>()?;
        let mut sealed = nonce.to_vec();
        let mut text = secret.to_vec();
        let tag = self.0.seal_in_place_separate_tag(
            Nonce::assume_unique_for_key(nonce),
            Aad::from(place),
            &mut text,
        );
        sealed.extend_from_slice(&text);
        sealed.extend_from_slice(tag.map_err(|_| Error::Seal)?.as_ref());
        Ok(sealed)
    }

    /// `None` if it was sealed with another key, for another place, or was changed.
    pub(crate) fn open(&self, place: &[u8], sealed: &[u8]) -> Option<Secret<Vec<u8>>> {
        let (nonce, rest) = sealed.split_at_checked(NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let mut text = rest.to_vec();
        let opened = self.0.open_in_place(nonce, Aad::from(place), &mut text);
        let length = opened.ok()?.len();
        text.truncate(length);
        Some(Secret::new(text))
    }
}

/// Random bytes of the operating system.
pub(crate) fn random<const N: usize>() -> Result<[u8; N], Error> {
    let mut bytes = [0; N];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|_| Error::Seal)?;
    Ok(bytes)
}
