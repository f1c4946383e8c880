//! `a=crypto`: keys in the description (RFC 4568).

use std::fmt;

use base::{Rng, Secret};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD};

/// A crypto suite of SRTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Suite {
    /// AES_CM_128_HMAC_SHA1_80 (RFC 4568 §6.2.1).
    AesCm128HmacSha1_80,
    /// AES_CM_128_HMAC_SHA1_32 (RFC 4568 §6.2.2).
    AesCm128HmacSha1_32,
    /// AES_256_CM_HMAC_SHA1_80 (RFC 6188 §3).
    AesCm256HmacSha1_80,
    /// AES_256_CM_HMAC_SHA1_32 (RFC 6188 §3).
    AesCm256HmacSha1_32,
    /// AEAD_AES_128_GCM (RFC 7714 §14.2).
    AeadAes128Gcm,
    /// AEAD_AES_256_GCM (RFC 7714 §14.2).
    AeadAes256Gcm,
}

impl Suite {
    /// All of them.
    pub const ALL: [Suite; 6] = [
        Suite::AesCm128HmacSha1_80,
        Suite::AesCm128HmacSha1_32,
        Suite::AesCm256HmacSha1_80,
        Suite::AesCm256HmacSha1_32,
        Suite::AeadAes128Gcm,
        Suite::AeadAes256Gcm,
    ];

    /// As the wire names it.
    pub fn name(self) -> &'static str {
        match self {
            Suite::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Suite::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Suite::AesCm256HmacSha1_80 => "AES_256_CM_HMAC_SHA1_80",
            Suite::AesCm256HmacSha1_32 => "AES_256_CM_HMAC_SHA1_32",
            Suite::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Suite::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    /// Finds a suite by the wire's name.
    pub fn find(name: &[u8]) -> Option<Suite> {
        Suite::ALL.into_iter().find(|s| s.name().as_bytes() == name)
    }

    /// Master key, in bytes.
    pub fn key_bytes(self) -> usize {
        match self {
            Suite::AesCm128HmacSha1_80 | Suite::AesCm128HmacSha1_32 | Suite::AeadAes128Gcm => 16,
            _ => 32,
        }
    }

    /// Master salt, in bytes.
    pub fn salt_bytes(self) -> usize {
        match self {
            Suite::AeadAes128Gcm | Suite::AeadAes256Gcm => 12,
            _ => 14,
        }
    }
}

/// One `a=crypto`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crypto {
    /// Ties an answer to its offer.
    pub tag: u32,
    /// The suite.
    pub suite: Suite,
    /// Master key, then master salt.
    pub key: Secret<Vec<u8>>,
    /// Master key identifier and its length in bytes on each packet.
    pub mki: Option<(u64, u8)>,
    /// Session parameters, as they came.
    pub params: Vec<String>,
}

/// An `a=crypto` that cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CryptoError {
    /// A suite we do not have.
    #[error("the crypto suite is unknown")]
    Suite,
    /// The line or the key is malformed.
    #[error("the crypto attribute is malformed")]
    Malformed,
    /// It asks for plain packets, which are never carried outside.
    #[error("the crypto attribute asks for unencrypted or unauthenticated packets")]
    Unencrypted,
}

impl Crypto {
    /// A line of our own with a fresh key.
    pub fn fresh(tag: u32, suite: Suite, rng: &mut Rng) -> Crypto {
        let mut key = vec![0; suite.key_bytes() + suite.salt_bytes()];
        rng.fill(&mut key);
        Crypto {
            tag,
            suite,
            key: Secret::new(key),
            mki: None,
            params: Vec::new(),
        }
    }

    /// Reads the value of an `a=crypto`. The first of several inline keys counts.
    ///
    /// # Errors
    /// [`CryptoError`].
    pub fn parse(value: &[u8]) -> Result<Crypto, CryptoError> {
        let text = std::str::from_utf8(value).map_err(|_| CryptoError::Malformed)?;
        let mut parts = text.split_ascii_whitespace();
        let (Some(tag), Some(suite), Some(keys)) = (parts.next(), parts.next(), parts.next())
        else {
            return Err(CryptoError::Malformed);
        };
        let params: Vec<String> = parts.map(str::to_owned).collect();
        let suite = Suite::find(suite.as_bytes()).ok_or(CryptoError::Suite)?;
        if tag.len() > 9 {
            return Err(CryptoError::Malformed);
        }
        let tag = tag.parse().map_err(|_| CryptoError::Malformed)?;
        let plain = [
            "UNENCRYPTED_SRTP",
            "UNAUTHENTICATED_SRTP",
            "UNENCRYPTED_SRTCP",
        ];
        if params.iter().any(|p| plain.contains(&p.as_str())) {
            return Err(CryptoError::Unencrypted);
        }
        let first = keys.split(';').next().unwrap_or_default();
        let inline = first
            .strip_prefix("inline:")
            .ok_or(CryptoError::Malformed)?;
        let mut fields = inline.split('|');
        let encoded = fields.next().unwrap_or_default();
        let key = STANDARD
            .decode(encoded)
            .or_else(|_| STANDARD_NO_PAD.decode(encoded))
            .map_err(|_| CryptoError::Malformed)?;
        if key.len() != suite.key_bytes() + suite.salt_bytes() {
            return Err(CryptoError::Malformed);
        }
        let mki = match fields.find(|f| f.contains(':')) {
            None => None,
            Some(field) => Some(mki(field).ok_or(CryptoError::Malformed)?),
        };
        Ok(Crypto {
            tag,
            suite,
            key: Secret::new(key),
            mki,
            params,
        })
    }

    /// The master key.
    pub fn master_key(&self) -> &[u8] {
        self.key
            .expose()
            .get(..self.suite.key_bytes())
            .unwrap_or_default()
    }

    /// The master salt.
    pub fn master_salt(&self) -> &[u8] {
        self.key
            .expose()
            .get(self.suite.key_bytes()..)
            .unwrap_or_default()
    }
}

fn mki(field: &str) -> Option<(u64, u8)> {
    let (value, length) = field.split_once(':')?;
    let length: u8 = length.parse().ok()?;
    (1..=128)
        .contains(&length)
        .then_some((value.parse().ok()?, length))
}

impl fmt::Display for Crypto {
    /// The value as it goes on the wire, key and all: only ever into a description.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The longest key and salt have 46 bytes: 64 in base64.
        let mut room = [0; 64];
        let length = STANDARD.encode_slice(self.key.expose(), &mut room);
        let key = length.ok().and_then(|n| room.get(..n)).unwrap_or_default();
        let key = std::str::from_utf8(key).unwrap_or_default();
        write!(f, "{} {} inline:{key}", self.tag, self.suite.name())?;
        if let Some((value, length)) = self.mki {
            write!(f, "|{value}:{length}")?;
        }
        self.params.iter().try_for_each(|p| write!(f, " {p}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rfcs_examples_are_read() {
        let c = Crypto::parse(
            b"1 AES_CM_128_HMAC_SHA1_80 \
              inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR|2^20|1:32 KDR=1",
        )
        .unwrap();
        assert_eq!(
            (c.tag, c.suite, c.mki),
            (1, Suite::AesCm128HmacSha1_80, Some((1, 32)))
        );
        assert_eq!((c.master_key().len(), c.master_salt().len()), (16, 14));
        assert_eq!(c.params, ["KDR=1"]);
    }

    #[test]
    fn a_fresh_line_survives_writing_and_reading() {
        let mut rng = Rng::from_number(1);
        for suite in Suite::ALL {
            let c = Crypto::fresh(7, suite, &mut rng);
            assert_eq!(Crypto::parse(c.to_string().as_bytes()), Ok(c));
        }
    }

    #[test]
    fn bad_and_plain_keys_are_refused() {
        let table = [
            ("1 NULL_HMAC_SHA1_80 inline:AAAA", CryptoError::Suite),
            (
                "1 AES_CM_128_HMAC_SHA1_80 inline:AAAA",
                CryptoError::Malformed,
            ),
            (
                "1 AES_CM_128_HMAC_SHA1_80 inline:!!!!",
                CryptoError::Malformed,
            ),
            (
                "x AES_CM_128_HMAC_SHA1_80 inline:AAAA",
                CryptoError::Malformed,
            ),
            ("1 AES_CM_128_HMAC_SHA1_80", CryptoError::Malformed),
            (
                "1 AES_CM_128_HMAC_SHA1_80 \
                 inline:PS1uQCVeeCFCanVmcjkpPywjNWhcYD0mXXtxaVBR UNENCRYPTED_SRTP",
                CryptoError::Unencrypted,
            ),
        ];
        for (text, want) in table {
            assert_eq!(Crypto::parse(text.as_bytes()), Err(want), "{text}");
        }
    }
}
