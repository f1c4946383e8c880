//! Session tokens whose signature was checked before.
//!
//! A client shows its token with every request, and to check a signature costs more than all else
//! that a node does for a small one. So what was found good is remembered: this token, by this key,
//! says this. Only good tokens are; whether one has expired and whether its user was signed out is
//! asked each time. Bounds: [`TOKENS_MAX`] tokens; with more all are forgotten.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use base::UnixTime;
use policy::signed_out::SignedOut;
use policy::token::{Claims, PublicKey, TokenError};

/// Tokens remembered, of half a kilobyte each.
pub const TOKENS_MAX: usize = 20_000;

/// Remembers tokens; cheap to clone.
#[derive(Clone, Default)]
pub struct Tokens(Arc<RwLock<HashMap<String, Known>>>);

struct Known {
    key: PublicKey,
    claims: Arc<Claims>,
}

impl Tokens {
    /// As [`PublicKey::admit`].
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn admit(
        &self,
        key: &PublicKey,
        outs: &SignedOut,
        now: UnixTime,
        token: &str,
    ) -> Result<Arc<Claims>, TokenError> {
        let claims = self.verify(key, now, token)?;
        match outs.voids(&claims) {
            true => Err(TokenError::SignedOut),
            false => Ok(claims),
        }
    }

    fn verify(
        &self,
        key: &PublicKey,
        now: UnixTime,
        token: &str,
    ) -> Result<Arc<Claims>, TokenError> {
        let known = {
            let rows = self.0.read().unwrap_or_else(PoisonError::into_inner);
            let row = rows.get(token).filter(|known| known.key == *key);
            row.map(|known| known.claims.clone())
        };
        if let Some(claims) = known {
            return match claims.expires < now {
                true => Err(TokenError::Expired),
                false => Ok(claims),
            };
        }
        let claims = Arc::new(key.verify(now, token)?);
        let known = Known {
            key: key.clone(),
            claims: claims.clone(),
        };
        let mut rows = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if rows.len() >= TOKENS_MAX {
            rows.clear();
        }
        rows.insert(token.to_owned(), known);
        Ok(claims)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base::Rng;
    use policy::signed_out::SignOut;
    use policy::token::{LIFE, TokenKey};

    use super::*;

    #[test]
    fn a_token_that_is_remembered_expires_and_is_good_for_its_key_alone() {
        let [ours, other] = [1, 2].map(|n| TokenKey::from_seed(&[n; 32]).unwrap());
        let now = UnixTime::from_millis(1_000);
        let token = ours.issue(now, &mut Rng::from_number(1), "alice", "example.test");
        let tokens = Tokens::default();
        for _ in 0..2 {
            let claims = tokens.verify(&ours.public(), now, &token).unwrap();
            assert_eq!(claims.user.expose(), "alice");
            let forged = tokens.verify(&other.public(), now, &token);
            assert_eq!(forged, Err(TokenError::Forged));
            let cut = tokens.verify(&ours.public(), now, &token[..token.len() - 1]);
            assert_eq!(cut, Err(TokenError::Forged));
        }
        assert_eq!(tokens.0.read().unwrap().len(), 1);
        let late = now.plus(LIFE + Duration::from_millis(1));
        let expired = tokens.verify(&ours.public(), late, &token);
        assert_eq!(expired, Err(TokenError::Expired));
    }

    #[test]
    fn a_token_that_is_remembered_is_void_once_its_user_is_signed_out() {
        let key = TokenKey::from_seed(&[1; 32]).unwrap();
        let now = UnixTime::from_millis(1_000);
        let token = key.issue(now, &mut Rng::from_number(1), "alice", "example.test");
        let (tokens, mut outs) = (Tokens::default(), SignedOut::default());
        assert!(tokens.admit(&key.public(), &outs, now, &token).is_ok());
        outs.note(SignOut {
            id: 1,
            user: "Alice".to_owned().into(),
            domain: "example.test".into(),
            at: now.plus(Duration::from_secs(1)),
        });
        let void = tokens.admit(&key.public(), &outs, now, &token);
        assert_eq!(void, Err(TokenError::SignedOut));
    }
}
