//! What identity providers and those who pass for them send: tokens, SAML, and the documents around
//! them.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use base::UnixTime;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sso::bearer::Rules;
use sso::jwe::{self, DecryptionKey};
use sso::jws::{self, Keys};
use sso::oidc;
use sso::saml::response::{Expected, check};
use sso::saml::{Provider, Service};
use sso::url::{Url, field, form};

pub(crate) const WORDS: &[&str] = &[
    "alice",
    "mallory",
    "\"alg\":\"none\"",
    ".",
    "..",
    "ID=\"_a1\"",
    "<!-- -->",
    "<saml:AttributeValue>",
    "</saml:Assertion>",
    "xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\"",
    "&#13;",
    "&amp;",
    "%00",
];

/// 2023-11-14T22:13:20Z.
const NOW: UnixTime = UnixTime::from_millis(1_700_000_000_000);

const SKEW: Duration = Duration::from_secs(30);

const ISSUER: &str = "https://idp.test";

/// The one key that signs tokens of the corpus, where it names a user who may sign in.
const KEYS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"k",
    "x":"6kpsY-KcUgq-9VB7Ey7F-ZVHdq6-vnuSQh7qaRRG0iw"}]}"#;

static RULES: LazyLock<Rules> = LazyLock::new(|| {
    let key = DecryptionKey::read(&URL_SAFE_NO_PAD.encode([5; 32]));
    Rules {
        issuer: ISSUER.into(),
        audience: "us".into(),
        user_claim: "sub".into(),
        local_part_of: Vec::new(),
        decryption: key.ok().map(Arc::new),
    }
});

static IDP: LazyLock<Option<Provider>> =
    LazyLock::new(|| Provider::read(include_str!("../corpus/saml_metadata/idp")).ok());

/// Whatever is made of a signed token, it is good for the one user whom its issuer named.
pub(crate) fn token(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(keys) = Keys::read(KEYS.as_bytes()) else {
        panic!("the key set is not read")
    };
    assert!(RULES.decryption.is_some(), "the key is not read");
    for text in [text, text.trim()] {
        if let Ok(claims) = RULES.check(&keys, NOW, SKEW, text) {
            assert_eq!(claims.user.expose(), "alice", "nobody signed that");
        }
        let _ = oidc::check(&RULES, &keys, NOW, SKEW, "nonce", text);
        let _ = RULES.reads(text);
        assert!(!(jws::is_compact(text) && jwe::is_sealed(text)), "both");
    }
}

/// Discovery documents, key sets, answers of endpoints, forms.
pub(crate) fn documents(data: &[u8]) {
    if let Ok(keys) = Keys::read(data) {
        assert!((1..=jws::KEYS_MAX).contains(&keys.len()));
        let _ = keys.open("e30.e30.AA");
    }
    if let Ok(provider) = oidc::Provider::read(ISSUER, data) {
        for url in [&provider.token, &provider.keys] {
            assert!(url.as_str().starts_with("https://"), "{url:?}");
        }
    }
    for status in [200, 400] {
        let _ = oidc::id_token(status, data);
    }
    if let Ok(claims) = RULES.introspected(data, NOW, SKEW) {
        assert!(!claims.user.expose().is_empty());
    }
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    for name in ["code", "state", "SAMLResponse", "RelayState"] {
        if let Some(value) = field(text, name) {
            let again = form(&[(name, value.as_str())]);
            assert_eq!(field(&again, name), Some(value), "{again}");
        }
    }
    if let Ok(url) = Url::read(text) {
        assert_eq!(Url::read(url.as_str()).as_ref(), Ok(&url));
    }
    let _ = DecryptionKey::read(text);
}

/// Metadata that is read names a provider, an https address and a key.
pub(crate) fn metadata(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    if let Ok(provider) = Provider::read(text) {
        assert!(!provider.entity.is_empty());
        assert!(provider.sign_in.as_str().starts_with("https://"));
    }
}

/// Whatever is made of a signed response, it is good for the one user whom its provider named.
pub(crate) fn response(data: &[u8]) {
    let Some(provider) = &*IDP else {
        panic!("the metadata is not read")
    };
    let service = Service {
        entity: "us".into(),
        consumer: "https://edge1.example.test:8443/ZXhhbXBsZS50ZXN0/fedlet".into(),
    };
    let expected = Expected {
        service: &service,
        provider,
        request: "_r1",
        attribute: "uid",
        local_part_of: &[],
    };
    let text = String::from_utf8_lossy(data);
    for encoded in [STANDARD.encode(data), text.into_owned()] {
        if let Ok(asserted) = check(&expected, NOW, SKEW, &encoded) {
            assert_eq!(asserted.user.expose(), "alice", "nobody signed that");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_in_the_corpus_is_good() {
        let keys = Keys::read(KEYS.as_bytes()).unwrap();
        for token in [
            include_str!("../corpus/signed_token/signed"),
            include_str!("../corpus/signed_token/encrypted-within"),
            include_str!("../corpus/signed_token/encrypted-around"),
        ] {
            let found = RULES.check(&keys, NOW, SKEW, token);
            assert_eq!(found.unwrap().user.expose(), "alice");
        }
        let service = Service {
            entity: "us".into(),
            consumer: "https://edge1.example.test:8443/ZXhhbXBsZS50ZXN0/fedlet".into(),
        };
        let expected = Expected {
            service: &service,
            provider: IDP.as_ref().unwrap(),
            request: "_r1",
            attribute: "uid",
            local_part_of: &[],
        };
        let signed = STANDARD.encode(include_str!("../corpus/saml_response/signed"));
        let found = check(&expected, NOW, SKEW, &signed).unwrap();
        assert_eq!(found.user.expose(), "alice");
    }
}
