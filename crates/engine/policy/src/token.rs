//! Session tokens: what a client shows instead of its password once it has signed in.
//!
//! Signed by the core with Ed25519 (RFC 8032), so that the edge, which stands on the internet,
//! can check a token but never make one. Text: base64url of `version 1 | expiry 8 | id 8 |
//! user length 2 | user | domain | signature 64`.

use std::time::Duration;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base::{Pii, Rng, UnixTime};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// How long a token is good: the refresh interval of credentials (F268).
pub const LIFE: Duration = Duration::from_secs(480 * 60);

/// The longest token read, in characters.
pub const CHARACTERS_MAX: usize = 1024;

const VERSION: u8 = 1;
const SIGNATURE_BYTES: usize = 64;

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Who signed in.
    pub user: Pii<String>,
    /// To which service domain.
    pub domain: String,
    /// Until when it is good.
    pub expires: UnixTime,
    /// Tells tokens of one user apart.
    pub id: u64,
}

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is none of ours.
    #[error("the session token is forged or malformed")]
    Forged,
    /// It was ours, and is too old: no attack.
    #[error("the session token has expired")]
    Expired,
}

/// Makes tokens; on the core only.
pub struct TokenKey {
    pair: Ed25519KeyPair,
}

impl TokenKey {
    /// From a seed that is kept secret and safe; `None` if the library refuses it.
    pub fn from_seed(seed: &[u8; 32]) -> Option<Self> {
        Some(TokenKey {
            pair: Ed25519KeyPair::from_seed_unchecked(seed).ok()?,
        })
    }

    /// The key that checks what this one makes.
    pub fn public(&self) -> PublicKey {
        PublicKey(self.pair.public_key().as_ref().to_vec())
    }

    /// A token for a user who has just proved the password.
    pub fn issue(&self, now: UnixTime, rng: &mut Rng, user: &str, domain: &str) -> String {
        self.issue_until(rng, user, domain, now.plus(LIFE))
    }

    /// A token for a user for whom another has vouched, for as long as that holds.
    pub fn issue_until(
        &self,
        rng: &mut Rng,
        user: &str,
        domain: &str,
        expires: UnixTime,
    ) -> String {
        let mut bytes = vec![VERSION];
        bytes.extend(expires.as_millis().to_be_bytes());
        bytes.extend(rng.u64().to_be_bytes());
        let user = user
            .as_bytes()
            .get(..user.len().min(255))
            .unwrap_or_default();
        bytes.extend((user.len() as u16).to_be_bytes());
        bytes.extend(user);
        bytes.extend(domain.as_bytes());
        let signature = self.pair.sign(&bytes);
        bytes.extend(signature.as_ref());
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

/// Checks tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicKey(Vec<u8>);

impl PublicKey {
    /// From 64 hexadecimal digits.
    pub fn from_hex(text: &str) -> Option<Self> {
        if text.len() != 64 || !text.is_ascii() {
            return None;
        }
        let bytes = (0..64)
            .step_by(2)
            .map(|i| u8::from_str_radix(text.get(i..i + 2)?, 16).ok());
        bytes.collect::<Option<Vec<u8>>>().map(PublicKey)
    }

    /// 64 hexadecimal digits.
    pub fn to_hex(&self) -> String {
        self.0.iter().map(|b| format!("{b:02x}")).collect()
    }

    /// Reads and checks a token.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn verify(&self, now: UnixTime, token: &str) -> Result<Claims, TokenError> {
        if token.len() > CHARACTERS_MAX {
            return Err(TokenError::Forged);
        }
        let bytes = URL_SAFE_NO_PAD
            .decode(token)
            .map_err(|_| TokenError::Forged)?;
        let claims = self.read(&bytes).ok_or(TokenError::Forged)?;
        if claims.expires < now {
            Err(TokenError::Expired)
        } else {
            Ok(claims)
        }
    }

    fn read(&self, bytes: &[u8]) -> Option<Claims> {
        let (body, signature) =
            bytes.split_at_checked(bytes.len().checked_sub(SIGNATURE_BYTES)?)?;
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(body, signature)
            .ok()?;
        let (version, body) = body.split_first()?;
        if *version != VERSION {
            return None;
        }
        let (expires, body) = body.split_first_chunk::<8>()?;
        let (id, body) = body.split_first_chunk::<8>()?;
        let (length, body) = body.split_first_chunk::<2>()?;
        let (user, domain) = body.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        Some(Claims {
            user: Pii::new(String::from_utf8(user.to_vec()).ok()?),
            domain: String::from_utf8(domain.to_vec()).ok()?,
            expires: UnixTime::from_millis(u64::from_be_bytes(*expires)),
            id: u64::from_be_bytes(*id),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_good_until_it_expires_and_for_its_core_only() {
        let mut rng = Rng::from_number(1);
        let (ours, theirs) = (
            TokenKey::from_seed(&[1; 32]).unwrap(),
            TokenKey::from_seed(&[2; 32]).unwrap(),
        );
        let now = UnixTime::from_millis(1_000);
        let token = ours.issue(now, &mut rng, "alice", "example.test");
        let key = PublicKey::from_hex(&ours.public().to_hex()).unwrap();
        let claims = key.verify(now, &token).unwrap();
        assert_eq!(
            (claims.user.expose().as_str(), claims.domain.as_str()),
            ("alice", "example.test")
        );
        assert_eq!(theirs.public().verify(now, &token), Err(TokenError::Forged));
        let later = now.plus(LIFE + Duration::from_millis(1));
        assert_eq!(key.verify(later, &token), Err(TokenError::Expired));
        for i in 0..token.len() {
            let mut forged = token.clone().into_bytes();
            forged[i] = if forged[i] == b'A' { b'Q' } else { b'A' };
            let forged = String::from_utf8(forged).unwrap();
            assert_eq!(
                key.verify(now, &forged),
                Err(TokenError::Forged),
                "character {i}"
            );
        }
        assert_eq!(key.verify(now, ""), Err(TokenError::Forged));
    }
}
