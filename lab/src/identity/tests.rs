//! What it gives to whom, and what it refuses.

use http::Method;
use serde_json::Value;

use super::*;
use crate::world::{Size, World};

const BACK: &str = "https://edge1.example.test:8443/b2lkYw/oidc";
/// RFC 7636, appendix B.
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CHALLENGE: &str = "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM";

fn provider() -> Provider {
    let world = World::new(&Size {
        edges: 1,
        cores: 1,
        users: 10,
    });
    let accounts = Arc::new(Accounts::new(Arc::new(world)));
    Provider::new("idp1.example.test", "top", accounts).unwrap()
}

fn post(provider: &Provider, target: &str, login: Option<(&str, &str)>, form: &str) -> Answer {
    provider.answer(&Request::of(Method::POST, target, login, form))
}

/// The code that alice's log-in gives.
fn code(provider: &Provider) -> String {
    let password = provider.0.accounts.world.users[0].password.clone();
    let target = format!(
        "/login?response_type=code&client_id=causeway&redirect_uri={}&state=s%26t&nonce=n\
         &code_challenge={CHALLENGE}&code_challenge_method=S256",
        encoded(BACK)
    );
    let wrong = post(provider, &target, None, "user=alice&password=wrong");
    assert_eq!(wrong.parts().0, 403);
    let answer = post(
        provider,
        &target,
        None,
        &format!("user=alice&password={password}"),
    );
    let back = answer.header("location").unwrap().to_owned();
    let rest = back.strip_prefix(&format!("{BACK}?code=")).unwrap();
    let (code, state) = rest.split_once('&').unwrap();
    assert_eq!(state, "state=s%26t");
    code.to_owned()
}

#[test]
fn code_becomes_tokens_once_and_only_with_secret_address_and_verifier() {
    let provider = provider();
    let secret = Some(("causeway", "top"));
    let form = |code: &str, verifier: &str, back: &str| {
        format!(
            "grant_type=authorization_code&code={code}&code_verifier={verifier}&redirect_uri={}",
            encoded(back)
        )
    };
    for (login, verifier, back) in [
        (Some(("causeway", "wrong")), VERIFIER, BACK),
        (None, VERIFIER, BACK),
        (secret, "another", BACK),
        (secret, VERIFIER, "https://evil.test/oidc"),
    ] {
        let form = form(&code(&provider), verifier, back);
        assert_eq!(post(&provider, "/token", login, &form).parts().0, 400);
    }
    let form = form(&code(&provider), VERIFIER, BACK);
    let (status, body) = post(&provider, "/token", secret, &form).parts();
    assert_eq!(status, 200, "{body}");
    let tokens: Value = serde_json::from_str(&body).unwrap();
    let body = tokens["id_token"]
        .as_str()
        .unwrap()
        .split('.')
        .nth(1)
        .unwrap()
        .to_owned();
    let claims: Value = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).unwrap()).unwrap();
    assert_eq!(claims["nonce"], "n");
    assert_eq!(claims["preferred_username"], "alice");
    let access = tokens["access_token"].as_str().unwrap();
    let bearers = &provider.0.accounts.bearers;
    assert_eq!(bearers.user(access).as_deref(), Some("alice"));
    assert_eq!(bearers.user("forged"), None);
    assert_eq!(
        post(&provider, "/token", secret, &form).parts().0,
        400,
        "once"
    );
}

#[test]
fn saml_request_is_answered_with_an_assertion_for_it_alone() {
    let provider = provider();
    let xml = "<samlp:AuthnRequest xmlns:samlp=\"urn:oasis:names:tc:SAML:2.0:protocol\" \
        ID=\"_1\" AssertionConsumerServiceURL=\"https://edge1.example.test:8443/x/fedlet\">\
        <saml:Issuer xmlns:saml=\"urn:oasis:names:tc:SAML:2.0:assertion\">us</saml:Issuer>\
        </samlp:AuthnRequest>";
    let message = base64::engine::general_purpose::STANDARD
        .encode(miniz_oxide::deflate::compress_to_vec(xml.as_bytes(), 6));
    let target = format!("/saml?SAMLRequest={}&RelayState=r", encoded(&message));
    let password = provider.0.accounts.world.users[0].password.clone();
    let form = format!("user=alice&password={password}");
    let (status, body) = post(&provider, &target, None, &form).parts();
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("action=\"https://edge1.example.test:8443/x/fedlet\""));
    let response = body.split("name=\"SAMLResponse\" value=\"").nth(1).unwrap();
    let response = response.split('"').next().unwrap();
    let response = base64::engine::general_purpose::STANDARD
        .decode(response)
        .unwrap();
    let root = minidom::Element::from_reader(&response[..]).unwrap();
    assert_eq!(root.attr("InResponseTo"), Some("_1"));
    assert_eq!(
        post(&provider, "/saml?SAMLRequest=AAAA", None, &form)
            .parts()
            .0,
        400
    );
}
