//! Claims by table, with a key of our own.

use super::*;
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use proptest::prelude::*;

const NOW: u64 = 1_700_000_000;

fn pair() -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap()
}

fn keys() -> Keys {
    let x = URL_SAFE_NO_PAD.encode(pair().public_key().as_ref());
    let key = format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"k","x":"{x}"}}"#);
    Keys::read(format!("{{\"keys\":[{key}]}}").as_bytes()).unwrap()
}

fn token(claims: &str) -> String {
    let part = |t: &str| URL_SAFE_NO_PAD.encode(t);
    let message = format!("{}.{}", part(r#"{"alg":"EdDSA","kid":"k"}"#), part(claims));
    let signature = pair().sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

fn rules() -> Rules {
    Rules {
        issuer: "https://idp.test".into(),
        audience: "us".into(),
        user_claim: "sub".into(),
        local_part_of: Vec::new(),
        decryption: None,
    }
}

const SKEW: Duration = Duration::from_secs(30);

fn check(claims: &str) -> Result<Claims, BearerError> {
    let now = UnixTime::from_millis(NOW * 1000);
    rules().check(&keys(), now, SKEW, &token(claims))
}

/// Good claims with some set otherwise.
fn claims(other: &[(&str, &str)]) -> String {
    let mut all = vec![
        ("iss", "\"https://idp.test\""),
        ("aud", "\"us\""),
        ("sub", "\"alice\""),
        ("exp", "1700000600"),
    ];
    for (name, value) in other {
        all.retain(|(n, _)| n != name);
        if !value.is_empty() {
            all.push((name, value));
        }
    }
    let all: Vec<String> = all.iter().map(|(n, v)| format!("\"{n}\":{v}")).collect();
    format!("{{{}}}", all.join(","))
}

#[test]
fn each_claim_decides_by_itself() {
    let good = check(&claims(&[])).unwrap();
    assert_eq!(good.user.expose(), "alice");
    assert_eq!(good.expires.as_secs(), NOW + 600);
    assert!(check(&claims(&[("aud", "[\"them\",\"us\"]")])).is_ok());
    assert!(check(&claims(&[("exp", "1699999980")])).is_ok());
    assert!(check(&claims(&[("iat", "1700000020")])).is_ok());
    let refused = |name, value| check(&claims(&[(name, value)])).unwrap_err();
    for (name, value, want) in [
        ("exp", "1699999000", BearerError::Expired { ago_s: 1000 }),
        ("exp", "1699999970", BearerError::Expired { ago_s: 30 }),
        ("nbf", "1700000100", BearerError::NotYet { in_s: 100 }),
        ("iat", "1700000031", BearerError::NotYet { in_s: 31 }),
        (
            "iss",
            "\"https://idp.test/\"",
            BearerError::Issuer("https://idp.test/".into()),
        ),
        ("iss", "", BearerError::Issuer(String::new())),
        ("aud", "\"them\"", BearerError::Audience("them".into())),
        ("aud", "", BearerError::Audience(String::new())),
        ("aud", "[]", BearerError::Audience(String::new())),
        ("sub", "", BearerError::NoUser("sub".into())),
        ("sub", "\"\"", BearerError::NoUser("sub".into())),
        ("sub", "\"a b\"", BearerError::NoUser("sub".into())),
        ("sub", "[\"alice\"]", BearerError::NoUser("sub".into())),
    ] {
        let found = refused(name, value);
        assert_eq!(found, want, "{name} {value}");
        assert!(!found.is_forged());
    }
    for exp in ["", "\"1700000600\"", "-1"] {
        assert!(refused("exp", exp).is_forged(), "{exp}");
    }
    let long = format!("\"{}\"", "a".repeat(USER_MAX + 1));
    assert_eq!(refused("sub", &long), BearerError::NoUser("sub".into()));
    assert_eq!(check("eyJ.a.b.c.d").unwrap_err(), BearerError::Closed);
}

/// What the shared key of the tests seals.
fn sealed(text: &str) -> String {
    use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
    let part = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
    let header = part(br#"{"alg":"dir","enc":"A256GCM"}"#);
    let mut bytes = text.as_bytes().to_vec();
    let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &[5; 32]).unwrap());
    let nonce = Nonce::assume_unique_for_key([1; 12]);
    let aad = Aad::from(header.as_bytes());
    key.seal_in_place_append_tag(nonce, aad, &mut bytes)
        .unwrap();
    let (text, tag) = bytes.split_at(bytes.len() - 16);
    format!("{header}..{}.{}.{}", part(&[1; 12]), part(text), part(tag))
}

#[test]
fn encrypted_tokens_and_claims_are_read_if_they_are_signed_as_well() {
    let key = |byte: u8| {
        let text = URL_SAFE_NO_PAD.encode([byte; 32]);
        Some(Arc::new(DecryptionKey::read(&text).unwrap()))
    };
    let check = |decryption: Option<Arc<DecryptionKey>>, token: &str| {
        let rules = Rules {
            decryption,
            ..rules()
        };
        let now = UnixTime::from_millis(NOW * 1000);
        let found = rules.check(&keys(), now, SKEW, token);
        found.map(|c| c.user.into_inner())
    };
    let claims = claims(&[]);
    // A signature around what is encrypted, as Unified CM makes them, or within.
    let (around, within) = (token(&sealed(&claims)), sealed(&token(&claims)));
    for text in [&around, &within] {
        assert_eq!(check(key(5), text), Ok("alice".into()));
        let found = check(None, text).unwrap_err();
        assert!(!found.is_forged(), "{found}");
        assert!(
            found
                .to_string()
                .contains("set domains.tokens.decryption_key_file"),
            "{found}"
        );
    }
    // Genuine for another key, or made up: the signature tells.
    let found = check(key(6), &around).unwrap_err();
    assert!(
        matches!(found, BearerError::Sealed(JweError::Closed)),
        "{found}"
    );
    assert!(check(key(6), &within).unwrap_err().is_forged());
    // Whoever can encrypt has not signed, and nothing is opened twice.
    for bare in [
        sealed(&claims),
        sealed(&sealed(&token(&claims))),
        token(&sealed(&around)),
    ] {
        let found = check(key(5), &bare);
        assert!(found.is_err(), "{found:?}");
    }
    assert!(check(key(5), &sealed(&claims)).unwrap_err().is_forged());
    let of = |decryption, text: &str| {
        Rules {
            decryption,
            ..rules()
        }
        .reads(text)
    };
    assert!(of(key(5), &within) && !of(None, &within) && of(None, &around));
    assert!(!of(key(5), "opaque"));
}

#[test]
fn the_user_may_be_the_local_part_of_an_address() {
    let mut rules = rules();
    rules.user_claim = "email".into();
    rules.local_part_of = vec!["mail.test".into(), "example.test".into()];
    let now = UnixTime::from_millis(NOW * 1000);
    let text = token(&claims(&[("email", "\"alice@example.test\"")]));
    let found = rules.check(&keys(), now, SKEW, &text).unwrap();
    assert_eq!(found.user.expose(), "alice");
    let of = |email: &str, more: &[(&str, &str)]| {
        let email = format!("\"{email}\"");
        let all = [&[("email", email.as_str())], more].concat();
        let found = rules.check(&keys(), now, SKEW, &token(&claims(&all)));
        found.map(|c| c.user.into_inner())
    };
    assert_eq!(of("alice@EXAMPLE.test", &[]), Ok("alice".into()));
    assert_eq!(of("alice@mail.test", &[]), Ok("alice".into()));
    let nobody = Err(BearerError::NoUser("email".into()));
    for other in [
        "alice@elsewhere.test",
        "alice@example.test@elsewhere.test",
        "alice@sub.example.test",
        "alice@",
        "alice",
        "@example.test",
        "",
    ] {
        assert_eq!(of(other, &[]), nobody, "{other}");
    }
    // An address that nobody has proved is nobody's.
    for (verified, want) in [
        ("true", Ok("alice".into())),
        ("false", nobody.clone()),
        ("\"false\"", nobody.clone()),
    ] {
        let found = of("alice@example.test", &[("email_verified", verified)]);
        assert_eq!(found, want, "{verified}");
    }
}

#[test]
fn an_unproved_address_names_nobody_even_as_a_whole() {
    let mut rules = rules();
    rules.user_claim = "email".into();
    let now = UnixTime::from_millis(NOW * 1000);
    let email = ("email", "\"alice@example.test\"");
    let text = token(&claims(&[email, ("email_verified", "false")]));
    let found = rules.check(&keys(), now, SKEW, &text);
    assert_eq!(found, Err(BearerError::NoUser("email".into())));
}

#[test]
fn an_introspection_counts_only_if_active_and_ours() {
    let now = UnixTime::from_millis(NOW * 1000);
    let ask = |body: &str| rules().introspected(body.as_bytes(), now, SKEW);
    let good = ask(r#"{"active":true,"sub":"alice"}"#).unwrap();
    assert_eq!(
        (good.user.expose().as_str(), good.expires.as_secs()),
        ("alice", NOW + 60)
    );
    for (body, want) in [
        (r#"{"active":false,"sub":"alice"}"#, BearerError::Inactive),
        (r#"{"active":"true","sub":"alice"}"#, BearerError::Inactive),
        (r#"{"sub":"alice"}"#, BearerError::Inactive),
        ("[]", BearerError::Closed),
        (r#"{"active":true}"#, BearerError::NoUser("sub".into())),
        (
            r#"{"active":true,"sub":"a","aud":"x"}"#,
            BearerError::Audience("x".into()),
        ),
        (
            r#"{"active":true,"sub":"a","iss":"x"}"#,
            BearerError::Issuer("x".into()),
        ),
        (
            r#"{"active":true,"sub":"a","exp":1600000000}"#,
            BearerError::Expired { ago_s: 100_000_000 },
        ),
    ] {
        assert_eq!(ask(body), Err(want), "{body}");
    }
}

proptest! {
    #[test]
    fn a_token_with_one_character_changed_is_never_good(at in 0usize..200, to in "[A-Za-z0-9_.-]") {
        let good = token(&claims(&[]));
        let at = at % good.len();
        let mut bad = good.clone();
        bad.replace_range(at..=at, &to);
        let now = UnixTime::from_millis(NOW * 1000);
        let found = rules().check(&keys(), now, SKEW, &bad);
        prop_assert!(bad == good || found.is_err());
    }

    #[test]
    fn any_text_is_read_without_a_panic(text in ".{0,300}", claims in ".{0,100}") {
        let now = UnixTime::from_millis(NOW * 1000);
        prop_assert!(rules().check(&keys(), now, SKEW, &text).is_err());
        prop_assert!(check(&claims).is_err());
    }
}
