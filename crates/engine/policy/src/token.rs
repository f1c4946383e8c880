//! Session tokens: what a client shows instead of its password once it has signed in.
//!
//! Signed by the core with Ed25519 (RFC 8032), so that the edge, which stands on the internet,
//! can check a token but never make one. Text: base64url of `version 1 | expiry 8 | id 8 |
//! user length 2 | user | domain | signature 64`; with version 2 the time of issue, 8, stands after
//! the id, since a session that rests on another's word may be shorter than [`LIFE`].

use std::time::Duration;

use aws_lc_rs::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use base::{Pii, Rng, UnixTime};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use crate::signed_out::SignedOut;

/// How long a token is good: the refresh interval of credentials (F268).
pub const LIFE: Duration = Duration::from_secs(480 * 60);

/// The longest token read, in characters.
pub const CHARACTERS_MAX: usize = 1024;

const LIFE_MS: u64 = LIFE.as_secs() * 1000;

const VERSION: u8 = 1;

/// With the time of issue.
const DATED: u8 = 2;
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
    /// Since when there is it.
    pub issued: UnixTime,
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
    /// It was ours, and its user was signed out since.
    #[error("the user was signed out")]
    SignedOut,
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
        self.write(rng, user, domain, now.plus(LIFE), None)
    }

    /// A token for a user for whom another has vouched, as long as that holds; at most [`LIFE`].
    pub fn issue_until(
        &self,
        now: UnixTime,
        rng: &mut Rng,
        user: &str,
        domain: &str,
        expires: UnixTime,
    ) -> String {
        let expires = expires.min(now.plus(LIFE));
        self.write(rng, user, domain, expires, Some(now))
    }

    fn write(
        &self,
        rng: &mut Rng,
        user: &str,
        domain: &str,
        expires: UnixTime,
        issued: Option<UnixTime>,
    ) -> String {
        let mut bytes = vec![if issued.is_some() { DATED } else { VERSION }];
        bytes.extend(expires.as_millis().to_be_bytes());
        bytes.extend(rng.u64().to_be_bytes());
        if let Some(issued) = issued {
            bytes.extend(issued.as_millis().to_be_bytes());
        }
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

    /// As [`PublicKey::verify`], and its user must not have been signed out since.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn admit(
        &self,
        now: UnixTime,
        outs: &SignedOut,
        token: &str,
    ) -> Result<Claims, TokenError> {
        let claims = self.verify(now, token)?;
        match outs.voids(&claims) {
            true => Err(TokenError::SignedOut),
            false => Ok(claims),
        }
    }

    fn read(&self, bytes: &[u8]) -> Option<Claims> {
        let (body, signature) =
            bytes.split_at_checked(bytes.len().checked_sub(SIGNATURE_BYTES)?)?;
        UnparsedPublicKey::new(&ED25519, &self.0)
            .verify(body, signature)
            .ok()?;
        let (version, body) = body.split_first()?;
        let (expires, body) = body.split_first_chunk::<8>()?;
        let expires = UnixTime::from_millis(u64::from_be_bytes(*expires));
        let (id, body) = body.split_first_chunk::<8>()?;
        let (issued, body) = match *version {
            VERSION => (expires.as_millis().saturating_sub(LIFE_MS), body),
            DATED => {
                let (issued, body) = body.split_first_chunk::<8>()?;
                (u64::from_be_bytes(*issued), body)
            }
            _ => return None,
        };
        let (length, body) = body.split_first_chunk::<2>()?;
        let (user, domain) = body.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        Some(Claims {
            user: Pii::new(String::from_utf8(user.to_vec()).ok()?),
            domain: String::from_utf8(domain.to_vec()).ok()?,
            expires,
            issued: UnixTime::from_millis(issued),
            id: u64::from_be_bytes(*id),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_on_anothers_word_knows_when_it_was_issued_and_lasts_no_longer_than_any() {
        let (key, mut rng) = (TokenKey::from_seed(&[1; 32]).unwrap(), Rng::from_number(1));
        let now = UnixTime::from_millis(1_790_000_000_000);
        for (life_s, want_s) in [(600, 600), (1_000_000, LIFE.as_secs())] {
            let until = now.plus(Duration::from_secs(life_s));
            let token = key.issue_until(now, &mut rng, "alice", "example.test", until);
            let claims = key.public().verify(now, &token).unwrap();
            assert_eq!(claims.issued, now);
            assert_eq!(claims.expires.as_secs(), now.as_secs() + want_s);
            assert_eq!(claims.user.expose(), "alice");
        }
        let plain = key.issue(now, &mut rng, "alice", "example.test");
        assert_eq!(key.public().verify(now, &plain).unwrap().issued, now);
    }

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
