//! Session keys, and packets sealed and opened with them.

use aes::cipher::{InnerIvInit, KeyInit, StreamCipher};
use aes::{Aes128, Aes256};
use aws_lc_rs::aead::{self, Aad, LessSafeKey, Nonce, UnboundKey};
use ctr::{Ctr128BE, CtrCore};
use hmac::{Hmac, Mac};
use sha1::Sha1;
use subtle::ConstantTimeEq;

use super::{SrtpError, Suite};

/// The E bit of SRTCP: the packet is encrypted (RFC 3711 §3.4).
const ENCRYPTED: u32 = 1 << 31;

const GCM_TAG: usize = 16;
/// SRTCP's tag is never shorter (RFC 3711 §5.2, RFC 4568 §6.2).
const RTCP_TAG: usize = 10;

/// AES in counter mode, its key schedule made once.
enum Counter {
    Aes128(Box<Aes128>),
    Aes256(Box<Aes256>),
}

impl Counter {
    fn new(key: &[u8]) -> Result<Counter, SrtpError> {
        match key.len() {
            16 => Aes128::new_from_slice(key).map(|c| Counter::Aes128(Box::new(c))),
            _ => Aes256::new_from_slice(key).map(|c| Counter::Aes256(Box::new(c))),
        }
        .map_err(|_| SrtpError::Key)
    }

    fn apply(&self, iv: [u8; 16], data: &mut [u8]) {
        match self {
            Counter::Aes128(c) => {
                let core = CtrCore::inner_iv_init(c.as_ref().clone(), &iv.into());
                Ctr128BE::<Aes128>::from_core(core).apply_keystream(data);
            }
            Counter::Aes256(c) => {
                let core = CtrCore::inner_iv_init(c.as_ref().clone(), &iv.into());
                Ctr128BE::<Aes256>::from_core(core).apply_keystream(data);
            }
        }
    }
}

/// The keys of RTP, or of RTCP.
enum Half {
    Cm {
        cipher: Counter,
        salt: [u8; 14],
        auth: Hmac<Sha1>,
        tag: usize,
    },
    Gcm {
        key: LessSafeKey,
        salt: [u8; 12],
    },
}

/// Both halves.
pub(super) struct Keys {
    rtp: Half,
    rtcp: Half,
}

impl Keys {
    /// RFC 3711 §4.3, with key derivation rate 0.
    pub(super) fn derive(suite: Suite, master: &[u8]) -> Result<Keys, SrtpError> {
        let (key, salt) = master
            .split_at_checked(suite.key_bytes())
            .ok_or(SrtpError::Key)?;
        if salt.len() != suite.salt_bytes() {
            return Err(SrtpError::Key);
        }
        let kdf = Kdf::new(key, salt)?;
        Ok(Keys {
            rtp: kdf.half(suite, 0)?,
            rtcp: kdf.half(suite, 3)?,
        })
    }

    pub(super) fn seal_rtp(
        &self,
        packet: &mut Vec<u8>,
        payload: usize,
        ssrc: u32,
        index: u64,
        mki: &[u8],
    ) -> Result<(), SrtpError> {
        match &self.rtp {
            Half::Cm {
                cipher,
                salt,
                auth,
                tag,
            } => {
                let (_, body) = packet
                    .split_at_mut_checked(payload)
                    .ok_or(SrtpError::Malformed)?;
                cipher.apply(cm_iv(salt, ssrc, index), body);
                let full = mac(auth, packet, &((index >> 16) as u32).to_be_bytes());
                packet.extend_from_slice(mki);
                packet.extend_from_slice(full.get(..*tag).unwrap_or_default());
            }
            Half::Gcm { key, salt } => {
                let nonce = gcm_rtp_nonce(salt, ssrc, index);
                let (head, body) = packet
                    .split_at_mut_checked(payload)
                    .ok_or(SrtpError::Malformed)?;
                let tag = key
                    .seal_in_place_separate_tag(nonce, Aad::from(&*head), body)
                    .map_err(|_| SrtpError::Malformed)?;
                packet.extend_from_slice(tag.as_ref());
                packet.extend_from_slice(mki);
            }
        }
        Ok(())
    }

    pub(super) fn open_rtp(
        &self,
        packet: &mut Vec<u8>,
        payload: usize,
        ssrc: u32,
        index: u64,
        mki: usize,
    ) -> Result<(), SrtpError> {
        match &self.rtp {
            Half::Cm {
                cipher,
                salt,
                auth,
                tag,
            } => {
                let end = cut(packet.len(), mki + tag, payload)?;
                let (body, tail) = packet.split_at_mut(end);
                let full = mac(auth, body, &((index >> 16) as u32).to_be_bytes());
                let given = tail.get(mki..).unwrap_or_default();
                if !bool::from(full.get(..*tag).unwrap_or_default().ct_eq(given)) {
                    return Err(SrtpError::Forged);
                }
                let (_, media) = body
                    .split_at_mut_checked(payload)
                    .ok_or(SrtpError::Malformed)?;
                cipher.apply(cm_iv(salt, ssrc, index), media);
                packet.truncate(end);
            }
            Half::Gcm { key, salt } => {
                let end = cut(packet.len(), mki, payload + GCM_TAG)?;
                let nonce = gcm_rtp_nonce(salt, ssrc, index);
                let (head, rest) = packet.split_at_mut(payload);
                let sealed = rest.get_mut(..end - payload).ok_or(SrtpError::Malformed)?;
                key.open_in_place(nonce, Aad::from(&*head), sealed)
                    .map_err(|_| SrtpError::Forged)?;
                packet.truncate(end - GCM_TAG);
            }
        }
        Ok(())
    }

    pub(super) fn seal_rtcp(
        &self,
        packet: &mut Vec<u8>,
        ssrc: u32,
        index: u32,
        mki: &[u8],
    ) -> Result<(), SrtpError> {
        let word = (index | ENCRYPTED).to_be_bytes();
        match &self.rtcp {
            Half::Cm {
                cipher, salt, auth, ..
            } => {
                let (_, body) = packet.split_at_mut_checked(8).ok_or(SrtpError::Malformed)?;
                cipher.apply(cm_iv(salt, ssrc, u64::from(index)), body);
                packet.extend_from_slice(&word);
                let full = mac(auth, packet, &[]);
                packet.extend_from_slice(mki);
                packet.extend_from_slice(full.get(..RTCP_TAG).unwrap_or_default());
            }
            Half::Gcm { key, salt } => {
                let nonce = gcm_rtcp_nonce(salt, ssrc, index);
                let aad = gcm_rtcp_aad(packet, word)?;
                let (_, body) = packet.split_at_mut_checked(8).ok_or(SrtpError::Malformed)?;
                let tag = key
                    .seal_in_place_separate_tag(nonce, Aad::from(aad), body)
                    .map_err(|_| SrtpError::Malformed)?;
                packet.extend_from_slice(tag.as_ref());
                packet.extend_from_slice(&word);
                packet.extend_from_slice(mki);
            }
        }
        Ok(())
    }

    /// Where the word with E bit and index lies.
    fn rtcp_word(&self, packet: &[u8], mki: usize) -> Result<(usize, u32), SrtpError> {
        let behind = match &self.rtcp {
            Half::Cm { .. } => 4 + mki + RTCP_TAG,
            Half::Gcm { .. } => 4 + mki,
        };
        let at = cut(packet.len(), behind, 8)?;
        let word = packet.get(at..).and_then(|b| b.first_chunk::<4>());
        Ok((at, u32::from_be_bytes(*word.ok_or(SrtpError::Malformed)?)))
    }

    pub(super) fn rtcp_index(&self, packet: &[u8], mki: usize) -> Result<u32, SrtpError> {
        Ok(self.rtcp_word(packet, mki)?.1 & !ENCRYPTED)
    }

    pub(super) fn open_rtcp(
        &self,
        packet: &mut Vec<u8>,
        ssrc: u32,
        mki: usize,
    ) -> Result<(), SrtpError> {
        let (at, word) = self.rtcp_word(packet, mki)?;
        if word & ENCRYPTED == 0 {
            // Our suites always encrypt; a packet in the clear is no packet of the client's.
            return Err(SrtpError::Forged);
        }
        let index = word & !ENCRYPTED;
        match &self.rtcp {
            Half::Cm {
                cipher, salt, auth, ..
            } => {
                let (body, tail) = packet.split_at_mut(at + 4);
                let full = mac(auth, body, &[]);
                let given = tail.get(mki..).unwrap_or_default();
                if !bool::from(full.get(..RTCP_TAG).unwrap_or_default().ct_eq(given)) {
                    return Err(SrtpError::Forged);
                }
                let plain = body.get_mut(8..at).ok_or(SrtpError::Malformed)?;
                cipher.apply(cm_iv(salt, ssrc, u64::from(index)), plain);
                packet.truncate(at);
            }
            Half::Gcm { key, salt } => {
                if at < 8 + GCM_TAG {
                    return Err(SrtpError::Malformed);
                }
                let nonce = gcm_rtcp_nonce(salt, ssrc, index);
                let aad = gcm_rtcp_aad(packet, word.to_be_bytes())?;
                let sealed = packet.get_mut(8..at).ok_or(SrtpError::Malformed)?;
                key.open_in_place(nonce, Aad::from(aad), sealed)
                    .map_err(|_| SrtpError::Forged)?;
                packet.truncate(at - GCM_TAG);
            }
        }
        Ok(())
    }
}

/// Where the last `behind` bytes begin, if at least `before` are in front of them.
fn cut(length: usize, behind: usize, before: usize) -> Result<usize, SrtpError> {
    length
        .checked_sub(behind)
        .filter(|at| *at >= before)
        .ok_or(SrtpError::Malformed)
}

fn mac(auth: &Hmac<Sha1>, packet: &[u8], roc: &[u8]) -> [u8; 20] {
    let mut mac = auth.clone();
    mac.update(packet);
    mac.update(roc);
    mac.finalize().into_bytes().into()
}

/// RFC 3711 §4.1.1.
fn cm_iv(salt: &[u8; 14], ssrc: u32, index: u64) -> [u8; 16] {
    let mut iv = [0; 16];
    iv[..14].copy_from_slice(salt);
    xor(&mut iv[4..8], &ssrc.to_be_bytes());
    xor(&mut iv[6..14], &index.to_be_bytes());
    iv
}

/// RFC 7714 §8.1.
fn gcm_rtp_nonce(salt: &[u8; 12], ssrc: u32, index: u64) -> Nonce {
    let mut iv = *salt;
    xor(&mut iv[2..6], &ssrc.to_be_bytes());
    xor(&mut iv[6..12], &index.to_be_bytes()[2..]);
    Nonce::assume_unique_for_key(iv)
}

/// RFC 7714 §9.1.
fn gcm_rtcp_nonce(salt: &[u8; 12], ssrc: u32, index: u32) -> Nonce {
    let mut iv = *salt;
    xor(&mut iv[2..6], &ssrc.to_be_bytes());
    xor(&mut iv[8..12], &index.to_be_bytes());
    Nonce::assume_unique_for_key(iv)
}

/// RFC 7714 §9.2: the first eight bytes and the word with the index.
fn gcm_rtcp_aad(packet: &[u8], word: [u8; 4]) -> Result<[u8; 12], SrtpError> {
    let mut aad = [0; 12];
    aad[..8].copy_from_slice(packet.get(..8).ok_or(SrtpError::Malformed)?);
    aad[8..].copy_from_slice(&word);
    Ok(aad)
}

fn xor(into: &mut [u8], with: &[u8]) {
    into.iter_mut().zip(with).for_each(|(a, b)| *a ^= b);
}

/// Key derivation.
struct Kdf {
    cipher: Counter,
    salt: [u8; 14],
}

impl Kdf {
    fn new(key: &[u8], salt: &[u8]) -> Result<Kdf, SrtpError> {
        // A 96-bit salt is padded with zeros on the right (RFC 7714 §11).
        let mut padded = [0; 14];
        padded
            .get_mut(..salt.len())
            .ok_or(SrtpError::Key)?
            .copy_from_slice(salt);
        Ok(Kdf {
            cipher: Counter::new(key)?,
            salt: padded,
        })
    }

    fn bytes<const N: usize>(&self, label: u8) -> [u8; N] {
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&self.salt);
        iv[7] ^= label;
        let mut out = [0; N];
        self.cipher.apply(iv, &mut out);
        out
    }

    /// RTP's keys with `base` 0, RTCP's with 3.
    fn half(&self, suite: Suite, base: u8) -> Result<Half, SrtpError> {
        let key = self.bytes::<32>(base);
        let key = key.get(..suite.key_bytes()).ok_or(SrtpError::Key)?;
        match suite {
            Suite::AeadAes128Gcm | Suite::AeadAes256Gcm => {
                let algorithm = if key.len() == 16 {
                    &aead::AES_128_GCM
                } else {
                    &aead::AES_256_GCM
                };
                let key = UnboundKey::new(algorithm, key).map_err(|_| SrtpError::Key)?;
                Ok(Half::Gcm {
                    key: LessSafeKey::new(key),
                    salt: self.bytes(base + 2),
                })
            }
            _ => {
                let auth = self.bytes::<20>(base + 1);
                let short = matches!(
                    suite,
                    Suite::AesCm128HmacSha1_32 | Suite::AesCm256HmacSha1_32
                );
                Ok(Half::Cm {
                    cipher: Counter::new(key)?,
                    salt: self.bytes(base + 2),
                    auth: Mac::new_from_slice(&auth).map_err(|_| SrtpError::Key)?,
                    tag: if short { 4 } else { 10 },
                })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(s: &str) -> Vec<u8> {
        (0..s.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&s[i..i + 2], 16).unwrap())
            .collect()
    }

    /// RFC 3711 appendix B.3.
    #[test]
    fn session_keys_are_those_of_the_rfc() {
        let key = hex("E1F97A0D3E018BE0D64FA32C06DE4139");
        let salt = hex("0EC675AD498AFEEBB6960B3AABE6");
        let kdf = Kdf::new(&key, &salt).unwrap();
        assert_eq!(
            kdf.bytes::<16>(0).to_vec(),
            hex("C61E7A93744F39EE10734AFE3FF7A087")
        );
        assert_eq!(
            kdf.bytes::<14>(2).to_vec(),
            hex("30CBBC08863D8C85D49DB34A9AE1")
        );
        assert_eq!(
            kdf.bytes::<20>(1).to_vec(),
            hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4")
        );
    }

    /// RFC 3711 appendix B.2: the keystream for SSRC 0 and index 0.
    #[test]
    fn the_keystream_is_that_of_the_rfc() {
        let cipher = Counter::new(&hex("2B7E151628AED2A6ABF7158809CF4F3C")).unwrap();
        let salt: [u8; 14] = hex("F0F1F2F3F4F5F6F7F8F9FAFBFCFD").try_into().unwrap();
        let mut stream = [0; 32];
        cipher.apply(cm_iv(&salt, 0, 0), &mut stream);
        let want = "E03EAD0935C95E80E166B16DD92B4EB4D23513162B02D0F72A43A2FE4A5F97AB";
        assert_eq!(stream.to_vec(), hex(want));
    }
}
