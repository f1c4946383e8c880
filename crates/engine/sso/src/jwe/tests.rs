//! Encrypted tokens of our own making, and what a stranger makes of them.

use aws_lc_rs::encoding::{AsDer, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeySize, OaepPublicEncryptingKey};
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::*;

const CEK: [u8; 32] = [5; 32];

fn direct() -> DecryptionKey {
    DecryptionKey::read(&format!("{}\n", URL_SAFE_NO_PAD.encode(CEK))).unwrap()
}

fn pem(key: &PrivateDecryptingKey) -> String {
    let der: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let text = STANDARD.encode(der.as_ref());
    let lines: Vec<&str> = (0..text.len())
        .step_by(64)
        .map(|at| &text[at..text.len().min(at + 64)])
        .collect();
    let body = lines.join("\n");
    format!("-----BEGIN PRIVATE KEY-----\n{body}\n-----END PRIVATE KEY-----\n")
}

/// A token with this header and encrypted key.
fn sealed(head: &str, encrypted: &[u8], text: &str) -> String {
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let header = part(head.as_bytes());
    let mut bytes = text.as_bytes().to_vec();
    let key = aes(&CEK).unwrap();
    let nonce = Nonce::assume_unique_for_key([1; NONCE_BYTES]);
    let aad = Aad::from(header.as_bytes());
    key.seal_in_place_append_tag(nonce, aad, &mut bytes)
        .unwrap();
    let (text, tag) = bytes.split_at(bytes.len() - TAG_BYTES);
    let nonce = part(&[1; NONCE_BYTES]);
    let (text, tag) = (part(text), part(tag));
    format!("{header}.{}.{nonce}.{text}.{tag}", part(encrypted))
}

const DIR: &str = r#"{"alg":"dir","enc":"A256GCM"}"#;

#[test]
fn a_token_opens_with_its_key_and_no_other() {
    let token = sealed(DIR, b"", "hello");
    assert!(is_sealed(&token));
    assert_eq!(direct().open(&token).unwrap(), b"hello");
    let other = DecryptionKey::read(&URL_SAFE_NO_PAD.encode([6; 32])).unwrap();
    assert_eq!(other.open(&token), Err(JweError::Closed));
    // Nothing of it can be changed, its header least of all.
    for (at, byte) in token.bytes().enumerate() {
        let mut bytes = token.clone().into_bytes();
        bytes[at] = if byte == b'A' { b'B' } else { b'A' };
        let changed = String::from_utf8(bytes).unwrap();
        assert!(direct().open(&changed).is_err(), "{at}");
    }
}

#[test]
fn a_key_under_rsa_is_unwrapped_and_one_for_another_is_not() {
    let [ours, theirs] =
        [(); 2].map(|()| PrivateDecryptingKey::generate(KeySize::Rsa2048).unwrap());
    let wrap = |key: &PrivateDecryptingKey, cek: &[u8]| {
        let public = OaepPublicEncryptingKey::new(key.public_key()).unwrap();
        let mut room = vec![0; public.ciphertext_size()];
        let wrapped = public.encrypt(&OAEP_SHA256_MGF1SHA256, cek, &mut room, None);
        wrapped.unwrap().to_vec()
    };
    let key = DecryptionKey::read(&pem(&ours)).unwrap();
    assert_eq!(
        format!("{key:?}"),
        "DecryptionKey(RSA-OAEP-256 and A256GCM)"
    );
    let head = r#"{"alg":"RSA-OAEP-256","enc":"A256GCM","kid":"k"}"#;
    let token = sealed(head, &wrap(&ours, &CEK), "hello");
    assert_eq!(key.open(&token).unwrap(), b"hello");
    for encrypted in [
        wrap(&theirs, &CEK),
        wrap(&ours, &[5; 16]),
        vec![0; 256],
        vec![],
    ] {
        assert_eq!(
            key.open(&sealed(head, &encrypted, "x")),
            Err(JweError::Closed)
        );
    }
    // A key of one kind opens nothing of the other.
    let found = key.open(&sealed(DIR, b"", "x")).unwrap_err();
    assert!(found.to_string().contains("dir and A256GCM"), "{found}");
    assert!(matches!(
        direct().open(&token),
        Err(JweError::Algorithm { .. })
    ));
}

#[test]
fn what_is_not_known_is_refused_and_it_is_said_what_would_do() {
    for head in [
        r#"{"alg":"RSA1_5","enc":"A256GCM"}"#,
        r#"{"alg":"dir","enc":"A128CBC-HS256"}"#,
        r#"{"alg":"none","enc":"none"}"#,
        r#"{"enc":"A256GCM"}"#,
    ] {
        let found = direct().open(&sealed(head, b"", "x")).unwrap_err();
        assert!(
            matches!(found, JweError::Algorithm { .. }),
            "{head} {found:?}"
        );
        assert!(found.to_string().contains("decryption_key_file"), "{found}");
    }
    for head in [
        r#"{"alg":"dir","enc":"A256GCM","zip":"DEF"}"#,
        r#"{"alg":"dir","enc":"A256GCM","crit":["x"]}"#,
    ] {
        let found = direct().open(&sealed(head, b"", "x"));
        assert!(matches!(found, Err(JweError::Malformed(_))), "{head}");
    }
    // With a wrapped key beside it, `dir` is no `dir` (RFC 7516 §5.2, step 10).
    assert!(direct().open(&sealed(DIR, b"x", "x")).is_err());
}

#[test]
fn a_file_that_holds_no_key_is_refused_with_what_is_wrong() {
    for (text, want) in [
        ("", "neither"),
        ("c2hvcnQ", "neither"),
        ("-----BEGIN RSA PRIVATE KEY-----\nAA\n", "topk8"),
        ("-----BEGIN ENCRYPTED PRIVATE KEY-----\n", "passphrase"),
        (
            "-----BEGIN CERTIFICATE-----\nAA==\n-----END CERTIFICATE-----",
            "another kind",
        ),
        (
            "-----BEGIN PRIVATE KEY-----\n!\n-----END PRIVATE KEY-----",
            "base64",
        ),
        (
            "-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----",
            "RSA",
        ),
    ] {
        let found = DecryptionKey::read(text).unwrap_err();
        assert!(found.contains(want), "{text:?}: {found}");
    }
    assert_eq!(format!("{:?}", direct()), "DecryptionKey(dir and A256GCM)");
}

proptest! {
    #[test]
    fn any_text_is_read_without_a_panic(
        text in ".{0,200}",
        parts in "([A-Za-z0-9_-]{0,9}[.]){0,6}",
    ) {
        prop_assert!(direct().open(&text).is_err());
        prop_assert!(direct().open(&parts).is_err());
        let _ = (is_sealed(&text), DecryptionKey::read(&text).is_ok());
    }
}
