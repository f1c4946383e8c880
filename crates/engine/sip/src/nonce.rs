//! Nonces that need no memory: the time, a salt and a MAC over both and a context.

use std::time::Duration;

use base::{Now, Rng, UnixTime};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use subtle::ConstantTimeEq;

/// How long a nonce is fresh.
pub const LIFE: Duration = Duration::from_secs(300);

/// What a nonce is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Ours, and young enough.
    Fresh,
    /// Ours, but too old: challenge again with `stale=true`.
    Stale,
    /// Not ours, or for something else.
    Forged,
}

/// Makes and checks nonces; one per process.
pub struct NonceKey {
    key: [u8; 32],
    salt: std::cell::Cell<u64>,
}

impl NonceKey {
    /// A fresh key.
    pub fn new(rng: &mut Rng) -> Self {
        NonceKey {
            key: rng.array(),
            salt: std::cell::Cell::new(rng.u64()),
        }
    }

    /// A nonce for a context (a realm, a lane): 44 characters of base64url.
    pub fn issue(&self, now: Now, context: &[u8]) -> String {
        let salt = self.salt.get().wrapping_add(1);
        self.salt.set(salt);
        let mut bytes = Vec::with_capacity(32);
        bytes.extend_from_slice(&now.unix.as_millis().to_be_bytes());
        bytes.extend_from_slice(&salt.to_be_bytes());
        let mac = self.mac(&bytes, context);
        bytes.extend_from_slice(mac.get(..16).unwrap_or_default());
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What a nonce is worth for a context.
    pub fn check(&self, now: Now, nonce: &[u8], context: &[u8]) -> Verdict {
        let Ok(bytes) = URL_SAFE_NO_PAD.decode(nonce) else {
            return Verdict::Forged;
        };
        let Some((body, mac)) = bytes.split_at_checked(16) else {
            return Verdict::Forged;
        };
        let want = self.mac(body, context);
        if mac.len() != 16 || !bool::from(mac.ct_eq(want.get(..16).unwrap_or_default())) {
            return Verdict::Forged;
        }
        let Some(time) = body.first_chunk::<8>() else {
            return Verdict::Forged;
        };
        let issued = UnixTime::from_millis(u64::from_be_bytes(*time));
        // A clock that was set back makes nonces of the future; they are as good as stale.
        if (0..=LIFE.as_millis() as i64).contains(&now.unix.skew_ms(issued)) {
            Verdict::Fresh
        } else {
            Verdict::Stale
        }
    }

    fn mac(&self, body: &[u8], context: &[u8]) -> Vec<u8> {
        // HMAC takes keys of any length, so this cannot fail; an empty tag matches nothing.
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.key) else {
            return Vec::new();
        };
        mac.update(body);
        mac.update(context);
        mac.finalize().into_bytes().to_vec()
    }
}

/// When a nonce was made, as it says itself: anybody can read it, only the maker's key proves it
/// ([`NonceKey::check`]). `None` if it is no nonce of this form.
pub fn issued(nonce: &[u8]) -> Option<UnixTime> {
    let bytes = URL_SAFE_NO_PAD
        .decode(nonce)
        .ok()
        .filter(|b| b.len() == 32)?;
    let time = bytes.first_chunk::<8>()?;
    Some(UnixTime::from_millis(u64::from_be_bytes(*time)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_nonce_is_fresh_then_stale_and_never_for_another_context() {
        let key = NonceKey::new(&mut Rng::from_number(1));
        let now = Now {
            unix: UnixTime::from_millis(1_000_000),
            ..Now::default()
        };
        let nonce = key.issue(now, b"r");
        assert_ne!(nonce, key.issue(now, b"r"));
        assert_eq!(issued(nonce.as_bytes()), Some(now.unix));
        assert_eq!(issued(b"AAAA"), None);
        assert_eq!(
            key.check(now.plus(LIFE), nonce.as_bytes(), b"r"),
            Verdict::Fresh
        );
        let later = now.plus(LIFE + Duration::from_millis(1));
        assert_eq!(key.check(later, nonce.as_bytes(), b"r"), Verdict::Stale);
        assert_eq!(key.check(now, nonce.as_bytes(), b"s"), Verdict::Forged);
        for bad in ["", "x", "AAAA", &nonce[1..]] {
            assert_eq!(key.check(now, bad.as_bytes(), b"r"), Verdict::Forged);
        }
    }
}
