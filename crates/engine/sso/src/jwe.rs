//! Encrypted tokens in compact form (RFC 7516), as much of it as is met: `dir` and `RSA-OAEP-256`
//! with `A256GCM` (RFC 7518 §4.3, §4.5, §5.3).
//!
//! In: a text of five parts and the key that was configured. Out: what is inside, or why that
//! cannot be told. That something opens says nothing of who made it, since anybody may have a
//! public key: [`crate::bearer`] takes nothing that is not signed, outside or inside. No other
//! algorithm exists here, so no token can choose one; `zip` is refused, as are critical extensions.
//! Bounds: those of [`CHARACTERS_MAX`].

use std::fmt;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::rsa::{OAEP_SHA256_MGF1SHA256, OaepPrivateDecryptingKey, PrivateDecryptingKey};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::json::Object;
use crate::jws::CHARACTERS_MAX;
use crate::pem;

/// Bytes of an AES key, and of the tag and nonce of GCM.
const KEY_BYTES: usize = 32;
const TAG_BYTES: usize = 16;
const NONCE_BYTES: usize = 12;

/// Why an encrypted token is not read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JweError {
    /// There is no key.
    #[error(
        "the token is encrypted ({0}), and there is no key: set \
         domains.tokens.decryption_key_file, or introspection, or have the issuer leave its \
         tokens unencrypted"
    )]
    NoKey(String),
    /// The key is for something else.
    #[error(
        "the token is encrypted with {found}, and decryption_key_file holds a key for {ours}: have \
         the issuer encrypt so, or set the key that it has"
    )]
    Algorithm {
        /// What the token says.
        found: String,
        /// What there is a key for.
        ours: &'static str,
    },
    /// It was not made for this key, or was changed.
    #[error(
        "the token does not open with the key of domains.tokens.decryption_key_file: it was \
         encrypted for another one, or was changed on its way"
    )]
    Closed,
    /// It is none.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
}

/// The key that opens tokens.
pub struct DecryptionKey(Kind);

enum Kind {
    Direct(LessSafeKey),
    Rsa(Box<OaepPrivateDecryptingKey>),
}

impl fmt::Debug for DecryptionKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DecryptionKey({})", self.name())
    }
}

impl DecryptionKey {
    /// Reads a file: an RSA key in PEM (PKCS #8), or 32 bytes in base64url, which issuer and we
    /// share.
    ///
    /// # Errors
    /// What is wrong with it, in a few words.
    pub fn read(text: &str) -> Result<DecryptionKey, &'static str> {
        if let Some(der) = pem::private_key(text)? {
            let key = PrivateDecryptingKey::from_pkcs8(&der);
            let key = key.map_err(|_| "it is no RSA key of 2048 to 8192 bits")?;
            let key = OaepPrivateDecryptingKey::new(key);
            let key = key.map_err(|_| "it is no RSA key of 2048 to 8192 bits")?;
            return Ok(DecryptionKey(Kind::Rsa(Box::new(key))));
        }
        let bytes = URL_SAFE_NO_PAD.decode(text.trim().trim_end_matches('='));
        let bytes = bytes.ok().filter(|b| b.len() == KEY_BYTES);
        let bytes = bytes.ok_or("it is neither an RSA key in PEM nor 32 bytes in base64url")?;
        let key = aes(&bytes).ok_or("it is no key for AES")?;
        Ok(DecryptionKey(Kind::Direct(key)))
    }

    /// What it opens.
    fn name(&self) -> &'static str {
        match self.0 {
            Kind::Direct(_) => "dir and A256GCM",
            Kind::Rsa(_) => "RSA-OAEP-256 and A256GCM",
        }
    }

    /// Opens a token.
    ///
    /// # Errors
    /// [`JweError`].
    pub fn open(&self, token: &str) -> Result<Vec<u8>, JweError> {
        let sealed = Sealed::read(token).ok_or(NOT_COMPACT)?;
        let head = &sealed.head;
        if head.has("crit") || head.has("zip") {
            return Err(JweError::Malformed(
                "it is compressed or has critical extensions",
            ));
        }
        let other = || JweError::Algorithm {
            found: sealed.algorithms(),
            ours: self.name(),
        };
        if head.text("enc") != Some("A256GCM") {
            return Err(other());
        }
        let (nonce, tag) = (sealed.part(2)?, sealed.part(4)?);
        let nonce = <[u8; NONCE_BYTES]>::try_from(nonce).map_err(|_| NOT_COMPACT)?;
        if tag.len() != TAG_BYTES {
            return Err(NOT_COMPACT);
        }
        let (encrypted, mut text) = (sealed.part(1)?, sealed.part(3)?);
        let unwrapped;
        let key = match (&self.0, head.text("alg")) {
            (Kind::Direct(key), Some("dir")) if encrypted.is_empty() => key,
            (Kind::Rsa(rsa), Some("RSA-OAEP-256")) => {
                let mut room = vec![0; rsa.min_output_size()];
                let hash = &OAEP_SHA256_MGF1SHA256;
                let bytes = rsa.decrypt(hash, &encrypted, &mut room, None);
                let bytes = bytes.map_err(|_| JweError::Closed)?;
                unwrapped = aes(bytes).ok_or(JweError::Closed)?;
                &unwrapped
            }
            _ => return Err(other()),
        };
        text.extend(tag);
        // The header as it was sent is under the tag, too (RFC 7516 §5.1, step 14).
        let header = Aad::from(sealed.parts[0].as_bytes());
        let nonce = Nonce::assume_unique_for_key(nonce);
        let plain = key.open_in_place(nonce, header, &mut text);
        Ok(plain.map_err(|_| JweError::Closed)?.to_vec())
    }
}

fn aes(bytes: &[u8]) -> Option<LessSafeKey> {
    let key = UnboundKey::new(&AES_256_GCM, bytes).ok()?;
    Some(LessSafeKey::new(key))
}

const NOT_COMPACT: JweError = JweError::Malformed("it is not five parts of base64url");

/// An encrypted token, taken apart.
pub(crate) struct Sealed<'t> {
    parts: [&'t str; 5],
    head: Object,
}

impl<'t> Sealed<'t> {
    /// Of a text that has the form of one.
    pub(crate) fn read(token: &'t str) -> Option<Sealed<'t>> {
        if token.len() > CHARACTERS_MAX {
            return None;
        }
        let mut parts = token.split('.');
        let five: [&str; 5] = std::array::from_fn(|_| parts.next().unwrap_or("."));
        if parts.next().is_some() || five.contains(&".") {
            return None;
        }
        let head = URL_SAFE_NO_PAD.decode(five[0]).ok()?;
        let head = Object::read(&head, CHARACTERS_MAX)?;
        head.has("enc").then_some(Sealed { parts: five, head })
    }

    /// Its algorithms, as they are told.
    pub(crate) fn algorithms(&self) -> String {
        let text = |name| crate::bearer::shortened(self.head.text(name).unwrap_or("none"));
        format!("{} and {}", text("alg"), text("enc"))
    }

    fn part(&self, index: usize) -> Result<Vec<u8>, JweError> {
        let part = self.parts.get(index).ok_or(NOT_COMPACT)?;
        URL_SAFE_NO_PAD.decode(part).map_err(|_| NOT_COMPACT)
    }
}

/// Whether a text has the form of an encrypted token, of whomever.
pub fn is_sealed(token: &str) -> bool {
    Sealed::read(token).is_some()
}

#[cfg(test)]
mod tests;
