//! The provider's RSA key: what it signs, its key set, and the certificate of its SAML metadata.

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, KeyPair, PKCS_RSA_SHA256, RsaKeySize, SigningKey};
use serde_json::{Value, json};

const NAME: &str = "key1";

/// One key for everything.
pub(super) struct Keys {
    pair: KeyPair,
    /// Its certificate, DER.
    pub(super) certificate: Vec<u8>,
    numbers: [String; 2],
}

impl Keys {
    pub(super) fn new(name: &str) -> Result<Keys> {
        let pair = KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)?;
        let params = CertificateParams::new(vec![name.to_owned()])?;
        let certificate = params.self_signed(&pair)?.der().to_vec();
        let numbers = numbers(pair.public_key_raw()).context("the public key")?;
        let numbers = numbers.map(|number| URL_SAFE_NO_PAD.encode(number));
        Ok(Keys {
            pair,
            certificate,
            numbers,
        })
    }

    /// The key set (RFC 7517).
    pub(super) fn set(&self) -> Value {
        let [modulus, exponent] = &self.numbers;
        json!({ "keys": [{
            "kty": "RSA", "kid": NAME, "use": "sig", "alg": "RS256", "n": modulus, "e": exponent,
        }]})
    }

    /// RSASSA-PKCS1-v1_5 with SHA-256.
    pub(super) fn sign(&self, bytes: &[u8]) -> Result<Vec<u8>> {
        Ok(self.pair.sign(bytes)?)
    }

    /// Claims as a token (RFC 7515 §7.1).
    pub(super) fn signed(&self, claims: &Value) -> Result<String> {
        let head = json!({ "alg": "RS256", "typ": "JWT", "kid": NAME }).to_string();
        let (head, body) = (
            URL_SAFE_NO_PAD.encode(head),
            URL_SAFE_NO_PAD.encode(claims.to_string()),
        );
        let signature = self.sign(format!("{head}.{body}").as_bytes())?;
        Ok(format!(
            "{head}.{body}.{}",
            URL_SAFE_NO_PAD.encode(signature)
        ))
    }
}

/// Modulus and exponent of an `RSAPublicKey` (RFC 8017 §A.1.1), without leading zeros.
fn numbers(der: &[u8]) -> Option<[&[u8]; 2]> {
    let (sequence, _) = element(0x30, der)?;
    let (modulus, rest) = element(0x02, sequence)?;
    let (exponent, _) = element(0x02, rest)?;
    Some([modulus, exponent].map(|number| match number {
        [0, number @ ..] => number,
        number => number,
    }))
}

/// Content of a DER element of that type, and what follows it.
fn element(kind: u8, der: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[found, length], rest) = der.split_first_chunk::<2>()?;
    if found != kind {
        return None;
    }
    let (length, rest) = match length {
        0..0x80 => (usize::from(length), rest),
        _ => {
            let (bytes, rest) = rest.split_at_checked(usize::from(length & 0x7f))?;
            let add = |sum: usize, byte: &u8| sum.checked_mul(256)?.checked_add((*byte).into());
            (bytes.iter().try_fold(0, add)?, rest)
        }
    };
    rest.split_at_checked(length)
}
