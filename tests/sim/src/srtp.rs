//! SRTP as the simulated clients speak it: AES_CM_128_HMAC_SHA1_80 (RFC 3711), straight from the
//! RFC on published primitives, sharing nothing with the product's framing. RTP only, without a
//! master key identifier, and for calls of fewer than 2^16 packets, so that the rollover counter
//! stays zero.

use aes::Aes128;
use ctr::cipher::{KeyIvInit, StreamCipher};
use hmac::{Hmac, Mac};
use sha1::Sha1;

type Ctr = ctr::Ctr128BE<Aes128>;

/// Bytes of the tag.
const TAG: usize = 10;

/// Master key and salt, in bytes.
pub const KEY_BYTES: usize = 30;

/// One direction of one call.
#[derive(Clone)]
pub struct Srtp {
    cipher: [u8; 16],
    salt: [u8; 14],
    auth: [u8; 20],
}

impl Srtp {
    /// From master key and salt as SDES carries them.
    pub fn new(master: &[u8]) -> Option<Srtp> {
        let (key, salt) = (master.get(..16)?, master.get(16..KEY_BYTES)?);
        let derive = |label: u8, out: &mut [u8]| {
            let mut iv = [0; 16];
            iv[..14].copy_from_slice(salt);
            iv[7] ^= label;
            if let Ok(mut ctr) = Ctr::new_from_slices(key, &iv) {
                ctr.apply_keystream(out);
            }
        };
        let mut out = Srtp {
            cipher: [0; 16],
            salt: [0; 14],
            auth: [0; 20],
        };
        derive(0, &mut out.cipher);
        derive(1, &mut out.auth);
        derive(2, &mut out.salt);
        Some(out)
    }

    fn crypt(&self, packet: &mut [u8]) {
        let Some((head, payload)) = packet.split_at_mut_checked(12) else {
            return;
        };
        let mut iv = [0; 16];
        iv[..14].copy_from_slice(&self.salt);
        for i in 0..4 {
            iv[4 + i] ^= head[8 + i];
        }
        iv[12] ^= head[2];
        iv[13] ^= head[3];
        if let Ok(mut ctr) = Ctr::new_from_slices(&self.cipher, &iv) {
            ctr.apply_keystream(payload);
        }
    }

    fn tag(&self, packet: &[u8]) -> Vec<u8> {
        let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(&self.auth) else {
            return Vec::new();
        };
        mac.update(packet);
        mac.update(&[0; 4]);
        mac.finalize().into_bytes()[..TAG].to_vec()
    }

    /// An RTP packet with a 12-byte header, closed.
    pub fn protect(&self, mut packet: Vec<u8>) -> Vec<u8> {
        self.crypt(&mut packet);
        let tag = self.tag(&packet);
        packet.extend(tag);
        packet
    }

    /// The packet inside, if its tag is good.
    pub fn unprotect(&self, packet: &[u8]) -> Option<Vec<u8>> {
        let (body, tag) = packet.split_at_checked(packet.len().checked_sub(TAG)?)?;
        if self.tag(body) != tag || body.len() < 12 {
            return None;
        }
        let mut out = body.to_vec();
        self.crypt(&mut out);
        Some(out)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(text: &str) -> Vec<u8> {
        (0..text.len())
            .step_by(2)
            .map(|i| u8::from_str_radix(&text[i..i + 2], 16).unwrap())
            .collect()
    }

    /// RFC 3711 §B.3.
    #[test]
    fn keys_are_derived_as_the_rfc_shows() {
        let master = [
            hex("E1F97A0D3E018BE0D64FA32C06DE4139"),
            hex("0EC675AD498AFEEBB6960B3AABE6"),
        ];
        let srtp = Srtp::new(&master.concat()).unwrap();
        assert_eq!(
            srtp.cipher.to_vec(),
            hex("C61E7A93744F39EE10734AFE3FF7A087")
        );
        assert_eq!(srtp.salt.to_vec(), hex("30CBBC08863D8C85D49DB34A9AE1"));
        assert_eq!(
            srtp.auth.to_vec(),
            hex("CEBE321F6FF7716B6FD4AB49AF256A156D38BAA4")
        );
    }

    #[test]
    fn a_packet_opens_with_its_own_key_and_no_other() {
        let (one, two) = (Srtp::new(&[1; 30]).unwrap(), Srtp::new(&[2; 30]).unwrap());
        let plain = [vec![0x80, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9], vec![7; 40]].concat();
        let closed = one.protect(plain.clone());
        assert_ne!(closed[12..52], plain[12..]);
        assert_eq!(one.unprotect(&closed), Some(plain));
        assert_eq!(two.unprotect(&closed), None);
    }
}
