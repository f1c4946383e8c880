//! SRTP and SRTCP sealed and opened, in order and out of it, and published vectors.

use base::{Rng, Secret};

use super::*;

fn pair(suite: Suite, seed: u64) -> (Context, Context) {
    let mut key = vec![0; suite.key_bytes() + suite.salt_bytes()];
    Rng::from_number(seed).fill(&mut key);
    let key = SrtpKey {
        suite,
        key: Secret::new(key),
        mki: Vec::new(),
    };
    (Context::new(&key).unwrap(), Context::new(&key).unwrap())
}

fn rtp(sequence: u16, ssrc: u32, payload: &[u8]) -> Vec<u8> {
    let mut p = vec![0x80, 0];
    p.extend(sequence.to_be_bytes());
    p.extend(u32::from(sequence).to_be_bytes());
    p.extend(ssrc.to_be_bytes());
    p.extend(payload);
    p
}

fn hex(s: &str) -> Vec<u8> {
    let s: String = s.split_whitespace().collect();
    (0..s.len())
        .step_by(2)
        .map(|i| u8::from_str_radix(&s[i..i + 2], 16).unwrap())
        .collect()
}

#[test]
fn every_suite_opens_what_it_sealed_over_a_rollover() {
    for suite in Suite::ALL {
        let (mut seal, mut open) = pair(suite, 1);
        for i in 0..70_000u32 {
            if i % 97 != 0 && !(65_400..65_700).contains(&i) {
                continue;
            }
            let plain = rtp(i as u16, 7, b"some sound");
            let mut packet = plain.clone();
            seal.protect_rtp(&mut packet).unwrap();
            assert_ne!(packet[12..22], plain[12..22]);
            open.unprotect_rtp(&mut packet).unwrap();
            assert_eq!(packet, plain, "{suite:?} {i}");
        }
        let plain = [&[0x80, 200, 0, 6, 0, 0, 0, 7][..], &[9; 20]].concat();
        for _ in 0..3 {
            let mut packet = plain.clone();
            seal.protect_rtcp(&mut packet).unwrap();
            assert_ne!(packet[8..28], plain[8..]);
            open.unprotect_rtcp(&mut packet).unwrap();
            assert_eq!(packet, plain);
        }
    }
}

#[test]
fn forgeries_replays_and_scraps_change_nothing() {
    for suite in Suite::ALL {
        let (mut seal, mut open) = pair(suite, 2);
        let mut sealed = rtp(1, 7, b"x");
        seal.protect_rtp(&mut sealed).unwrap();
        for i in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[i] ^= 1;
            assert!(
                open.unprotect_rtp(&mut forged).is_err(),
                "{suite:?} byte {i}"
            );
            let mut short = sealed[..i].to_vec();
            assert!(open.unprotect_rtp(&mut short).is_err());
        }
        open.unprotect_rtp(&mut sealed.clone()).unwrap();
        assert_eq!(open.unprotect_rtp(&mut sealed), Err(SrtpError::Replayed));
        let mut sealed = [&[0x80, 200, 0, 6, 0, 0, 0, 7][..], &[9; 20]].concat();
        seal.protect_rtcp(&mut sealed).unwrap();
        for i in 0..sealed.len() {
            let mut forged = sealed.clone();
            forged[i] ^= 1;
            assert!(
                open.unprotect_rtcp(&mut forged).is_err(),
                "{suite:?} byte {i}"
            );
            let mut short = sealed[..i].to_vec();
            assert!(open.unprotect_rtcp(&mut short).is_err());
        }
        open.unprotect_rtcp(&mut sealed.clone()).unwrap();
        assert_eq!(open.unprotect_rtcp(&mut sealed), Err(SrtpError::Replayed));
    }
}

#[test]
fn sources_are_bounded_and_a_forged_one_takes_no_place() {
    let (mut seal, mut open) = pair(Suite::AesCm128HmacSha1_80, 3);
    for ssrc in 100..200 {
        assert_eq!(
            open.unprotect_rtp(&mut rtp(1, ssrc, &[0; 40])),
            Err(SrtpError::Forged)
        );
    }
    for ssrc in 0..SOURCES_MAX as u32 {
        let mut packet = rtp(1, ssrc, b"x");
        seal.protect_rtp(&mut packet).unwrap();
        open.unprotect_rtp(&mut packet).unwrap();
    }
    assert_eq!(
        seal.protect_rtp(&mut rtp(1, 99, b"x")),
        Err(SrtpError::Sources)
    );
}

/// RFC 7714 §16.1.1: AEAD_AES_128_GCM over an RTP packet, with the RFC's session key and salt.
/// The RFC gives session keys, not master keys, so the primitive is checked as we call it.
#[test]
fn gcm_nonce_and_order_are_those_of_the_rfc() {
    use aws_lc_rs::aead::{AES_128_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let packet = hex(
        "8040f17b 8041f8d3 5501a0b2 47616c6c 69612065 7374206f 6d6e6973 20646976 \
                      69736120 696e2070 61727465 73207472 6573",
    );
    let want = hex(
        "f24de3a3 fb34de6c acba861c 9d7e4bca be633bd5 0d294e6f 42a5f47a 51c7d19b \
                    36de3adf 8833899d 7f27beb1 6a9152cf 765ee439 0cce",
    );
    let key = hex("000102030405060708090a0b0c0d0e0f");
    // Salt 517569642070726f2071756f, SSRC 5501a0b2, index 00000000f17b.
    let nonce: [u8; 12] = hex("51753c6580c2726f20718414").try_into().unwrap();
    let key = LessSafeKey::new(UnboundKey::new(&AES_128_GCM, &key).unwrap());
    let (head, body) = packet.split_at(12);
    let mut sealed = body.to_vec();
    let nonce = Nonce::assume_unique_for_key(nonce);
    key.seal_in_place_append_tag(nonce, Aad::from(head), &mut sealed)
        .unwrap();
    assert_eq!(sealed, want);
}
