//! OpenID Connect with the authorization code and PKCE (OpenID Connect Core 1.0 §3.1, RFC 7636).
//!
//! The provider's discovery document says where everything is; its issuer must be the configured
//! one, letter by letter, and all addresses `https`. An ID token is checked as any signed token,
//! and for our client, our nonce and us as its party.

use std::time::Duration;

use base::UnixTime;

use crate::bearer::{BearerError, Claims, Rules};
use crate::json::Object;
use crate::jws::Keys;
use crate::sha256_base64url;
use crate::url::Url;

/// The largest document of a provider read, in bytes.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024;

/// What a provider says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Provider {
    /// Where a user signs in.
    pub authorization: Url,
    /// Where a code becomes a token.
    pub token: Url,
    /// Where its keys are.
    pub keys: Url,
    /// Where tokens are looked up, if it says.
    pub introspection: Option<Url>,
}

/// The address of an issuer's discovery document.
///
/// # Errors
/// What is wrong with the issuer.
pub fn discovery(issuer: &str) -> Result<Url, &'static str> {
    let issuer = issuer.strip_suffix('/').unwrap_or(issuer);
    Url::read(&format!("{issuer}/.well-known/openid-configuration"))
}

impl Provider {
    /// Reads a discovery document.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn read(issuer: &str, body: &[u8]) -> Result<Provider, String> {
        let document = Object::read(body, DOCUMENT_BYTES_MAX);
        let document = document.ok_or("the discovery document is no JSON object")?;
        let found = document.text("issuer").unwrap_or_default();
        if found != issuer {
            let found = crate::bearer::shortened(found);
            return Err(format!(
                "the discovery document names the issuer {found:?}, not {issuer:?}"
            ));
        }
        let url = |name: &str| match document.text(name) {
            None => Err(format!("the discovery document has no {name}")),
            Some(text) => Url::read(text).map_err(|e| format!("{name}: {e}")),
        };
        Ok(Provider {
            authorization: url("authorization_endpoint")?,
            token: url("token_endpoint")?,
            keys: url("jwks_uri")?,
            introspection: url("introspection_endpoint").ok(),
        })
    }

    /// Where a browser is sent to sign in.
    pub fn sign_in(&self, login: &Login<'_>) -> String {
        let challenge = sha256_base64url(login.verifier);
        let mut fields = vec![
            ("response_type", "code"),
            ("client_id", login.client_id),
            ("redirect_uri", login.redirect_uri),
            ("scope", login.scope),
            ("state", login.state),
            ("nonce", login.nonce),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
        ];
        if !login.hint.is_empty() {
            fields.push(("login_hint", login.hint));
        }
        self.authorization.with(&fields)
    }
}

/// One sign-in as it begins.
#[derive(Clone, Copy, Debug)]
pub struct Login<'a> {
    /// Who we are at the provider.
    pub client_id: &'a str,
    /// Where the browser comes back to.
    pub redirect_uri: &'a str,
    /// What is asked for; holds `openid`.
    pub scope: &'a str,
    /// Comes back with the code.
    pub state: &'a str,
    /// Comes back in the ID token.
    pub nonce: &'a str,
    /// PKCE's secret; only its hash is sent.
    pub verifier: &'a str,
    /// Who is expected; may be empty.
    pub hint: &'a str,
}

/// The ID token of an answer of the token endpoint.
///
/// # Errors
/// What the provider says is wrong, or that it says nothing.
pub fn id_token(status: u16, body: &[u8]) -> Result<String, String> {
    let answer = Object::read(body, DOCUMENT_BYTES_MAX);
    let text = |name: &str| answer.as_ref().and_then(|a| a.text(name));
    if status != 200 {
        let error = crate::bearer::shortened(text("error").unwrap_or("no error is named"));
        return Err(format!("the token endpoint answered {status}: {error}"));
    }
    let token = text("id_token").ok_or("the token endpoint gave no id_token")?;
    Ok(token.to_owned())
}

/// Checks an ID token. The audience of `rules` is our client.
///
/// # Errors
/// [`BearerError`]; a wrong nonce or party is one of a wrong audience.
pub fn check(
    rules: &Rules,
    keys: &Keys,
    now: UnixTime,
    skew: Duration,
    nonce: &str,
    token: &str,
) -> Result<Claims, BearerError> {
    let claims = rules.check(keys, now, skew, token)?;
    let other_party = claims.party.as_ref().is_some_and(|p| *p != rules.audience);
    if other_party || (claims.audiences > 1 && claims.party.is_none()) {
        let party = claims.party.unwrap_or_else(|| "several".into());
        return Err(BearerError::Audience(crate::bearer::shortened(&party)));
    }
    if claims.nonce.as_deref() != Some(nonce) {
        return Err(BearerError::Audience("another sign-in (nonce)".into()));
    }
    Ok(claims)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ISSUER: &str = "https://idp.example.test/realm";

    fn document(issuer: &str, token: &str) -> String {
        format!(
            r#"{{"issuer":"{issuer}","authorization_endpoint":"https://idp.example.test/a",
            "token_endpoint":"{token}","jwks_uri":"https://idp.example.test/k"}}"#
        )
    }

    #[test]
    fn a_discovery_document_is_of_its_issuer_and_https() {
        let good = document(ISSUER, "https://idp.example.test/t");
        let provider = Provider::read(ISSUER, good.as_bytes()).unwrap();
        assert_eq!(provider.token.path, "/t");
        let other = document("https://evil.test", "https://idp.example.test/t");
        assert!(Provider::read(ISSUER, other.as_bytes()).is_err());
        let plain = document(ISSUER, "http://idp.example.test/t");
        assert!(Provider::read(ISSUER, plain.as_bytes()).is_err());
        assert!(Provider::read(ISSUER, b"{}").is_err());
        let at = discovery("https://idp.example.test/realm/").unwrap();
        assert_eq!(at.path, "/realm/.well-known/openid-configuration");
    }

    #[test]
    fn pkce_shows_the_hash_and_never_the_verifier() {
        // RFC 7636, appendix B.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let good = document(ISSUER, "https://idp.example.test/t");
        let provider = Provider::read(ISSUER, good.as_bytes()).unwrap();
        let url = provider.sign_in(&Login {
            client_id: "us",
            redirect_uri: "https://edge.example.test:8443/x/oidc",
            scope: "openid",
            state: "s",
            nonce: "n",
            verifier,
            hint: "alice@example.test",
        });
        assert!(url.contains("code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&"));
        assert!(!url.contains(verifier));
        assert!(url.contains("redirect_uri=https%3A%2F%2Fedge.example.test%3A8443%2Fx%2Foidc&"));
        assert!(url.ends_with("login_hint=alice%40example.test"));
    }

    #[test]
    fn an_error_of_the_token_endpoint_is_told() {
        let told = id_token(400, br#"{"error":"invalid_grant"}"#).unwrap_err();
        assert!(told.contains("invalid_grant"), "{told}");
        assert!(id_token(200, b"{}").is_err());
        assert_eq!(id_token(200, br#"{"id_token":"x"}"#).unwrap(), "x");
    }
}
