//! Signed tokens in compact form (RFC 7515), and the key sets that check them (RFC 7517, 7518).
//!
//! RS256, ES256 and EdDSA with Ed25519 (RFC 8037), each with a key of its own kind only: `none`
//! and the HS algorithms do not exist here, so no token can choose them. Keys come from the set
//! alone, never from the token (`jwk`, `x5c`, `jku` are not looked at); a token with critical
//! extensions is refused. Bounds: [`CHARACTERS_MAX`], [`SET_BYTES_MAX`], [`KEYS_MAX`].

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
    UnparsedPublicKey,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;

use crate::json::Object;

/// The longest token read, in characters.
pub const CHARACTERS_MAX: usize = 8 * 1024;

/// The largest key set read, in bytes.
pub const SET_BYTES_MAX: usize = 256 * 1024;

/// Keys of a set that are looked at.
pub const KEYS_MAX: usize = 64;

/// Keys tried for a token that names none.
const TRIED_MAX: usize = 8;

/// Characters of a key's name.
const KID_MAX: usize = 256;

/// What is wrong with a token before its claims are read: it is not genuine, or cannot be told.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwsError {
    /// No token at all.
    #[error("the token is malformed: {0}")]
    Malformed(&'static str),
    /// An algorithm that is not taken.
    #[error("the token's algorithm is not RS256, ES256 or EdDSA")]
    Algorithm,
    /// No key of that name and kind.
    #[error("no key of the issuer has the name that the token gives (kid)")]
    UnknownKey,
    /// The signature is wrong.
    #[error("the token's signature is wrong")]
    Signature,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Algorithm {
    Rs256,
    Es256,
    EdDsa,
}

impl Algorithm {
    fn named(name: &str) -> Option<Self> {
        match name {
            "RS256" => Some(Algorithm::Rs256),
            "ES256" => Some(Algorithm::Es256),
            "EdDSA" | "Ed25519" => Some(Algorithm::EdDsa),
            _ => None,
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Material {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256([u8; 65]),
    Ed25519([u8; 32]),
}

/// A public key of an issuer.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Key {
    kid: Option<String>,
    material: Material,
}

impl Key {
    fn algorithm(&self) -> Algorithm {
        match self.material {
            Material::Rsa { .. } => Algorithm::Rs256,
            Material::P256(_) => Algorithm::Es256,
            Material::Ed25519(_) => Algorithm::EdDsa,
        }
    }

    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.material {
            Material::Rsa { n, e } => RsaPublicKeyComponents { n, e }
                .verify(&RSA_PKCS1_2048_8192_SHA256, message, signature)
                .is_ok(),
            Material::P256(point) => UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point)
                .verify(message, signature)
                .is_ok(),
            Material::Ed25519(key) => UnparsedPublicKey::new(&ED25519, key)
                .verify(message, signature)
                .is_ok(),
        }
    }

    /// Of a JSON Web Key; `None` if it is for something else, or none that is taken.
    fn read(value: &Value) -> Option<Key> {
        let text = |name: &str| value.get(name).and_then(Value::as_str);
        let bytes = |name: &str| URL_SAFE_NO_PAD.decode(text(name)?).ok();
        if text("use").is_some_and(|u| u != "sig") {
            return None;
        }
        let material = match (text("kty")?, text("crv")) {
            ("RSA", _) => {
                let (n, e) = (bytes("n")?, bytes("e")?);
                let plain = |b: &[u8]| b.iter().skip_while(|b| **b == 0).copied().collect();
                Material::Rsa {
                    n: plain(&n),
                    e: plain(&e),
                }
            }
            ("EC", Some("P-256")) => {
                let mut point = [4; 65];
                let (x, y) = (bytes("x")?, bytes("y")?);
                if x.len() != 32 || y.len() != 32 {
                    return None;
                }
                let both = x.iter().chain(&y);
                point
                    .iter_mut()
                    .skip(1)
                    .zip(both)
                    .for_each(|(p, b)| *p = *b);
                Material::P256(point)
            }
            ("OKP", Some("Ed25519")) => Material::Ed25519(bytes("x")?.try_into().ok()?),
            _ => return None,
        };
        let kid = text("kid").map(str::to_owned);
        if kid.as_ref().is_some_and(|k| k.len() > KID_MAX) {
            return None;
        }
        let key = Key { kid, material };
        let fits = |alg| Algorithm::named(alg) == Some(key.algorithm());
        text("alg").is_none_or(fits).then_some(key)
    }
}

/// The public keys of one issuer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keys(Vec<Key>);

impl Keys {
    /// Reads a JSON Web Key Set. Keys for other uses, or of kinds that are not taken, are passed
    /// over.
    ///
    /// # Errors
    /// Why none of it can be used.
    pub fn read(bytes: &[u8]) -> Result<Keys, &'static str> {
        if bytes.len() > SET_BYTES_MAX {
            return Err("the key set is larger than 256 KiB");
        }
        let set: Value = serde_json::from_slice(bytes).map_err(|_| "the key set is no JSON")?;
        let keys = set.get("keys").and_then(Value::as_array);
        let keys = keys.ok_or("the key set has no keys")?;
        let keys: Vec<Key> = keys.iter().take(KEYS_MAX).filter_map(Key::read).collect();
        if keys.is_empty() {
            return Err("the key set has no signing key of RSA, P-256 or Ed25519");
        }
        Ok(Keys(keys))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Checks a token and gives its payload.
    ///
    /// # Errors
    /// [`JwsError`].
    pub fn open(&self, token: &str) -> Result<Vec<u8>, JwsError> {
        if token.len() > CHARACTERS_MAX {
            return Err(JwsError::Malformed("it is longer than 8 KiB"));
        }
        let (message, signature) = token.rsplit_once('.').ok_or(NOT_COMPACT)?;
        let (header, payload) = message.split_once('.').ok_or(NOT_COMPACT)?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| NOT_COMPACT);
        let (head, body) = (decode(header)?, decode(payload)?);
        let signature = decode(signature)?;
        let head = Object::read(&head, CHARACTERS_MAX);
        let head = head.ok_or(JwsError::Malformed("its header is no JSON object"))?;
        if head.has("crit") {
            return Err(JwsError::Malformed("it has critical extensions"));
        }
        let algorithm = head.text("alg").and_then(Algorithm::named);
        let algorithm = algorithm.ok_or(JwsError::Algorithm)?;
        let kid = head.text("kid");
        let named = |k: &&Key| kid.is_none() || k.kid.as_deref() == kid;
        let fit: Vec<&Key> = self
            .0
            .iter()
            .filter(|k| k.algorithm() == algorithm)
            .filter(named)
            .take(TRIED_MAX)
            .collect();
        if fit.is_empty() {
            return Err(JwsError::UnknownKey);
        }
        let message = message.as_bytes();
        if fit.iter().any(|k| k.verifies(message, &signature)) {
            return Ok(body);
        }
        // Without a name any of the issuer's next keys may be meant.
        Err(if kid.is_none() {
            JwsError::UnknownKey
        } else {
            JwsError::Signature
        })
    }
}

const NOT_COMPACT: JwsError = JwsError::Malformed("it is not three parts of base64url");

/// Whether a text has the form of a signed token, of whomever.
pub fn is_compact(token: &str) -> bool {
    let mut parts = token.split('.');
    let decodes = |part: Option<&str>| {
        let bytes = part.and_then(|p| URL_SAFE_NO_PAD.decode(p).ok());
        bytes.is_some_and(|b| Object::read(&b, CHARACTERS_MAX).is_some())
    };
    token.len() <= CHARACTERS_MAX && decodes(parts.next()) && parts.count() == 2
}

#[cfg(test)]
mod tests;
