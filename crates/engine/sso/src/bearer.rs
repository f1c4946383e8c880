//! The claims of a bearer token (RFC 6750, 7519, 9068), and what introspection says of one that
//! cannot be read (RFC 7662).
//!
//! A signature comes first; claims of what is not genuine are not looked at. Which fault it is
//! decides what follows: a token that was genuine once is no attack ([`BearerError::is_forged`]).

use std::sync::Arc;
use std::time::Duration;

use base::{Pii, UnixTime};

use crate::json::Object;
use crate::jwe::{DecryptionKey, JweError, Sealed};
use crate::jws::{CHARACTERS_MAX, JwsError, Keys, is_compact};

/// Bytes of a user's name.
pub const USER_MAX: usize = 256;

/// The largest answer to an introspection, in bytes.
pub const INTROSPECTION_BYTES_MAX: usize = 64 * 1024;

/// What a token must say.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Who must have made it (`iss`).
    pub issuer: String,
    /// For whom it must be made (`aud`).
    pub audience: String,
    /// The claim that names the user.
    pub user_claim: String,
    /// Where the claim is an address whose part before `@` is the user: the domains one of which
    /// must stand after it. Who is called so elsewhere is somebody else. Empty where all of the
    /// claim is the user.
    pub local_part_of: Vec<String>,
    /// What opens tokens that are encrypted, or whose claims are.
    pub decryption: Option<Arc<DecryptionKey>>,
}

/// What a good token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// The user.
    pub user: Pii<String>,
    /// Until when it is good.
    pub expires: UnixTime,
    /// Since when there is it; the beginning of time where it does not say.
    pub issued: UnixTime,
    /// The nonce of an ID token.
    pub nonce: Option<String>,
    /// The party that an ID token was made for, where there are several.
    pub party: Option<String>,
    /// How many audiences it has.
    pub audiences: usize,
}

/// Why a token is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BearerError {
    /// Not genuine, or it cannot be told.
    #[error(transparent)]
    Jws(#[from] JwsError),
    /// Genuine, and too old.
    #[error("the token has expired, {ago_s} s ago")]
    Expired {
        /// Seconds since.
        ago_s: u64,
    },
    /// Genuine, and from the future.
    #[error("the token is good only in {in_s} s: the clock of its issuer, or ours, is wrong")]
    NotYet {
        /// Seconds until.
        in_s: u64,
    },
    /// Genuine, of another issuer.
    #[error("the token's issuer is {0:?}")]
    Issuer(String),
    /// Genuine, for another audience.
    #[error("the token's audience is {0:?}")]
    Audience(String),
    /// Genuine, and of nobody.
    #[error("the token has no claim {0} that names a user")]
    NoUser(String),
    /// Genuine, with claims that are not for us.
    #[error("the token's claims are no JSON object")]
    Closed,
    /// Encrypted, and it cannot be told whether it is genuine; or genuine, with claims that are
    /// encrypted.
    #[error(transparent)]
    Sealed(JweError),
    /// Genuine, from before its user was signed out here.
    #[error("the token is from before its user was signed out")]
    SignedOut,
    /// The issuer says that it is not good, or not any more.
    #[error("the issuer says that the token is not active")]
    Inactive,
}

impl BearerError {
    /// Whether whoever shows it may be guessing. Tokens that were genuine are none of that: a
    /// client that wakes up shows several that are too old.
    pub fn is_forged(&self) -> bool {
        matches!(self, BearerError::Jws(_))
    }
}

impl Rules {
    /// Checks a signed token; clocks may differ by `skew`.
    ///
    /// # Errors
    /// [`BearerError`].
    pub fn check(
        &self,
        keys: &Keys,
        now: UnixTime,
        skew: Duration,
        token: &str,
    ) -> Result<Claims, BearerError> {
        let opened;
        let token = match Sealed::read(token) {
            None => token,
            Some(sealed) => {
                opened = self.unseal(&sealed, token, false)?;
                opened.as_str()
            }
        };
        let payload = keys.open(token)?;
        // Unified CM signs what it has encrypted.
        let inner = std::str::from_utf8(&payload).ok();
        let inner = inner.and_then(|text| Some((Sealed::read(text)?, text)));
        let payload = match inner {
            None => payload,
            Some((sealed, text)) => self.unseal(&sealed, text, true)?.into_bytes(),
        };
        let claims = Object::read(&payload, CHARACTERS_MAX).ok_or(BearerError::Closed)?;
        let issuer = claims.text("iss").unwrap_or_default();
        if issuer != self.issuer {
            return Err(BearerError::Issuer(shortened(issuer)));
        }
        self.judge(&claims, now, skew)
    }

    /// What is inside; `genuine` if a good signature is around it. One that does not open was
    /// perhaps made up, unless it is.
    fn unseal(
        &self,
        sealed: &Sealed<'_>,
        text: &str,
        genuine: bool,
    ) -> Result<String, BearerError> {
        let Some(key) = &self.decryption else {
            return Err(BearerError::Sealed(JweError::NoKey(sealed.algorithms())));
        };
        let forged = |cause| BearerError::Jws(JwsError::Malformed(cause));
        let opened = key.open(text).map_err(|e| match e {
            JweError::Malformed(cause) => forged(cause),
            JweError::Closed if !genuine => {
                forged("it does not open with the key of domains.tokens.decryption_key_file")
            }
            e => BearerError::Sealed(e),
        })?;
        String::from_utf8(opened).map_err(|_| match genuine {
            true => BearerError::Closed,
            false => forged("what it holds is no text"),
        })
    }

    /// Whether a token's kind is one that is read here, whoever made it; others can only be looked
    /// up.
    pub fn reads(&self, token: &str) -> bool {
        match Sealed::read(token) {
            Some(_) => self.decryption.is_some(),
            None => is_compact(token),
        }
    }

    /// Reads the answer to an introspection. The issuer may leave out `iss` and `aud`; what it
    /// says must fit.
    ///
    /// # Errors
    /// [`BearerError`].
    pub fn introspected(
        &self,
        body: &[u8],
        now: UnixTime,
        skew: Duration,
    ) -> Result<Claims, BearerError> {
        let claims = Object::read(body, INTROSPECTION_BYTES_MAX).ok_or(BearerError::Closed)?;
        if claims.flag("active") != Some(true) {
            return Err(BearerError::Inactive);
        }
        if let Some(issuer) = claims.text("iss").filter(|i| *i != self.issuer) {
            return Err(BearerError::Issuer(shortened(issuer)));
        }
        self.judge(&claims, now, skew)
    }

    fn judge(&self, claims: &Object, now: UnixTime, skew: Duration) -> Result<Claims, BearerError> {
        let audiences = claims.texts("aud");
        let silent = claims.has("active") && !claims.has("aud");
        if !silent && !audiences.contains(&self.audience.as_str()) {
            return Err(BearerError::Audience(shortened(&audiences.join(" "))));
        }
        let (now_s, skew_s) = (now.as_secs(), skew.as_secs());
        // An introspection without a time was asked a moment ago.
        let unless = claims.has("active").then_some(now_s + 60);
        let expires = claims.seconds("exp").or(unless);
        let expires = expires.ok_or(JwsError::Malformed("it has no expiry (exp)"))?;
        if expires.saturating_add(skew_s) <= now_s {
            let ago_s = now_s - expires;
            return Err(BearerError::Expired { ago_s });
        }
        for name in ["nbf", "iat"] {
            let from = claims.seconds(name).unwrap_or(0);
            if from > now_s.saturating_add(skew_s) {
                let in_s = from - now_s;
                return Err(BearerError::NotYet { in_s });
            }
        }
        let user = claims.text(&self.user_claim).unwrap_or_default();
        let user = local_part(user, &self.local_part_of);
        // Whoever may write any address into an account is nobody by it (OpenID Connect Core §5.7).
        let claimed = self.user_claim == "email"
            && (claims.flag("email_verified") == Some(false)
                || claims.text("email_verified") == Some("false"));
        if claimed || !is_user(user) {
            return Err(BearerError::NoUser(self.user_claim.clone()));
        }
        Ok(Claims {
            user: Pii::new(user.to_owned()),
            expires: UnixTime::from_millis(expires.saturating_mul(1000)),
            issued: UnixTime::from_millis(claims.seconds("iat").unwrap_or(0).saturating_mul(1000)),
            nonce: claims.text("nonce").map(str::to_owned),
            party: claims.text("azp").map(str::to_owned),
            audiences: audiences.len(),
        })
    }
}

/// Who a name is: all of it, or, where it must be an address of one of these domains, what stands
/// before the `@`; nobody, if it is none.
pub(crate) fn local_part<'u>(name: &'u str, domains: &[String]) -> &'u str {
    if domains.is_empty() {
        return name;
    }
    let address = name.rsplit_once('@');
    let ours = |at: &str| domains.iter().any(|d| at.eq_ignore_ascii_case(d));
    let ours = address.filter(|(local, at)| ours(at) && !local.contains('@'));
    ours.map_or("", |(local, _)| local)
}

/// Whether a name can be a user's.
pub(crate) fn is_user(name: &str) -> bool {
    !name.is_empty()
        && name.len() <= USER_MAX
        && !name.chars().any(|c| c.is_control() || c.is_whitespace())
}

/// What is told of a text that a stranger wrote.
pub(crate) fn shortened(text: &str) -> String {
    text.chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests;
