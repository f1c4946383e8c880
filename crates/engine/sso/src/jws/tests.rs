//! Tokens of the RFCs and of another library, and everything that is not one.

use super::*;

/// RFC 7515, appendix A.3.
const ES256_KEY: &str = r#"{"kty":"EC","crv":"P-256",
    "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}"#;
const ES256: &str = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA\
    6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ.DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjD\
    xw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q";

/// RFC 8037, appendix A.4.
const EDDSA_KEY: &str =
    r#"{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}"#;
const EDDSA: &str = "eyJhbGciOiJFZERTQSJ9.RXhhbXBsZSBvZiBFZDI1NTE5IHNpZ25pbmc.hgyY0il_MGCjP0Jzln\
    LWG1PPOt7-09PGcvMg3AIbQR6dWbhijcNR4ki4iylGjg5BhVsPt9g7sVvpAr_MuM0KAg";

/// Made with PyJWT.
const RS256_N: &str = "\
    yWvXe1ds9a5poQoq7q6iwVzDv0h6YgG8mLg9ZA0buqtJLpadSMVNI_BZSuE6bqRLEhXRYy2zJiBOqu9ucrIn9Moe\
    2tv1_8UUg3UR8eheiUBsDI_lyQsd1aF1M1FAiqJn8dmU72fiLen9OBcIlJHmOVfTP2bBXlAE5kquEi0Hw5MY4xhj\
    C-tsgK2OEqKvMWSXWBScDRMhPJIOlTE58W6dh829vLc0Dg-N-79171OZy0ntkthwA-5YRmvIXKxfq-\
    0G_KNb513oW1St4FoFa2luMhb0blg_FEbpf7TrYIhiq9VRh9uS_Z9zYknguXv4O7-I37mnor_llUQcAuiZfGrmjQ";
const RS256: &str = "\
    eyJhbGciOiJSUzI1NiIsImtpZCI6InIxIiwidHlwIjoiSldUIn0.eyJpc3MiOiJodHRwczovL2lkcC5leGFtcGxl\
    LnRlc3QiLCJzdWIiOiJhbGljZSIsImF1ZCI6InVzIiwiZXhwIjoyMDAwMDAwMDAwfQ.pt0gk3CmqEHAuJvoNLkYJ\
    PLoGzA_kBXvskALFKc0glI6m7TZE1EbWc2e84DyvlKWEzPeBB-\
    8nC6CllXFPwwZxOPsdfNI090XGPa_K0wQY7J885HKKLVlltCZ6Q0KD7lLDTleKKd4KMAQNXaAMw_TQPLI3R4uVcL\
    gvBHcvaVDQmnwtj0INWVwsxGtLa0P7KoZ0V9_U-\
    70tbcglkJIPiJaLXYUygtGIFQslCh1P4Y8oLyQtItRThF_U99KnrcI4kkAEcd6TbFN-\
    2ITQVvuJtF8lGIh5N2NGmIs-IQpm3rpZoQ4uiOUSUgmzmiLseRjqsUuCI4q-i7V-S6XnrGEHt0ckw";

fn set(keys: &[&str]) -> Keys {
    Keys::read(format!("{{\"keys\":[{}]}}", keys.join(",")).as_bytes()).unwrap()
}

fn rsa(kid: &str) -> String {
    format!(r#"{{"kty":"RSA","use":"sig","alg":"RS256","kid":"{kid}","e":"AQAB","n":"{RS256_N}"}}"#)
}

/// A token with another header, its other parts as they were.
fn with_header(token: &str, header: &str) -> String {
    let (_, rest) = token.split_once('.').unwrap();
    format!("{}.{rest}", URL_SAFE_NO_PAD.encode(header))
}

#[test]
fn tokens_of_others_are_good_by_their_own_kind_of_key() {
    let all = set(&[ES256_KEY, EDDSA_KEY, &rsa("r1")]);
    assert_eq!(all.len(), 3);
    assert!(all.open(ES256).unwrap().starts_with(b"{\"iss\":\"joe\""));
    assert_eq!(all.open(EDDSA).unwrap(), b"Example of Ed25519 signing");
    let claims = all.open(RS256).unwrap();
    assert!(claims.windows(7).any(|w| w == b"\"alice\""));
    assert!(is_compact(RS256) && is_compact(ES256));
}

#[test]
fn no_algorithm_is_talked_into_another() {
    let all = set(&[ES256_KEY, EDDSA_KEY, &rsa("r1")]);
    for name in [
        "none", "None", "NONE", "HS256", "HS384", "PS256", "RS1", "rs256", "", "RS512",
    ] {
        let forged = with_header(RS256, &format!(r#"{{"alg":"{name}","kid":"r1"}}"#));
        assert_eq!(all.open(&forged), Err(JwsError::Algorithm), "{name}");
    }
    // HMAC with the public key as its secret would be one of these; none of them exists.
    let bare = format!("{}.{}.", URL_SAFE_NO_PAD.encode(r#"{"alg":"none"}"#), "e30");
    assert_eq!(all.open(&bare), Err(JwsError::Algorithm));
    // The name of a key of another kind.
    let crossed = with_header(RS256, r#"{"alg":"ES256","kid":"r1"}"#);
    assert_eq!(all.open(&crossed), Err(JwsError::UnknownKey));
    // A key that the token brings along counts for nothing.
    let own = format!(r#"{{"alg":"EdDSA","kid":"r1","jwk":{EDDSA_KEY}}}"#);
    assert_eq!(
        all.open(&with_header(EDDSA, &own)),
        Err(JwsError::UnknownKey)
    );
}

#[test]
fn a_key_is_found_by_its_name_or_by_its_kind_where_none_is_named() {
    let others = set(&[&rsa("r2"), EDDSA_KEY]);
    assert_eq!(others.open(RS256), Err(JwsError::UnknownKey));
    assert!(others.open(EDDSA).is_ok());
    let (head, tail) = EDDSA.rsplit_once('.').unwrap();
    let tail = tail.replacen("hgyY", "igyY", 1);
    // It may be of a key that is not known yet.
    assert_eq!(
        others.open(&format!("{head}.{tail}")),
        Err(JwsError::UnknownKey)
    );
    let good = set(&[&rsa("r1")]);
    let (head, tail) = RS256.rsplit_once('.').unwrap();
    let broken = format!("{head}.{}", "A".repeat(tail.len()));
    assert_eq!(good.open(&broken), Err(JwsError::Signature));
}

#[test]
fn what_is_no_token_is_malformed() {
    let all = set(&[EDDSA_KEY]);
    let critical = r#"{"alg":"EdDSA","crit":["exp"]}"#;
    let twice = r#"{"alg":"EdDSA","alg":"EdDSA"}"#;
    for bad in [
        String::new(),
        "a.b".into(),
        "...".into(),
        format!("{EDDSA}.x"),
        format!("{EDDSA}="),
        format!(" {EDDSA}"),
        EDDSA.replace('.', ","),
        with_header(EDDSA, critical),
        with_header(EDDSA, twice),
        "A".repeat(CHARACTERS_MAX + 1),
    ] {
        let found = all.open(&bad);
        assert!(
            matches!(found, Err(JwsError::Malformed(_))),
            "{bad} {found:?}"
        );
    }
}

#[test]
fn a_set_without_a_key_that_is_taken_is_refused() {
    let secret = r#"{"kty":"oct","k":"AAAA"}"#;
    let encrypts = EDDSA_KEY.replace("\"kty\"", "\"use\":\"enc\",\"kty\"");
    let mixed = EDDSA_KEY.replace("\"kty\"", "\"alg\":\"ES256\",\"kty\"");
    let curve = ES256_KEY.replace("P-256", "P-521");
    for key in [secret, &encrypts, &mixed, &curve] {
        let text = format!("{{\"keys\":[{key}]}}");
        assert!(Keys::read(text.as_bytes()).is_err(), "{key}");
    }
    assert!(Keys::read(b"{\"keys\":7}").is_err());
    assert!(Keys::read(&vec![b' '; SET_BYTES_MAX + 1]).is_err());
    let many: Vec<&str> = vec![EDDSA_KEY; 100];
    assert_eq!(set(&many).len(), KEYS_MAX);
}
