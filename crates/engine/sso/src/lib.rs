//! Sign-in by another's word: what an identity provider says of a user, checked.
//!
//! - [`jws`]: signed tokens (RFC 7515) and the keys that check them (RFC 7517).
//! - [`jwe`]: encrypted ones (RFC 7516).
//! - [`bearer`]: the claims of a token (RFC 7519, 9068), and introspection (RFC 7662).
//! - [`oidc`]: OpenID Connect with the authorization code and PKCE (RFC 7636).
//! - [`saml`]: SAML 2.0, the Web Browser SSO profile, as service provider.
//! - [`url`]: addresses of identity providers, and forms.
//!
//! In: texts that others sent, and what was configured of who may speak. Out: a user, or the
//! reason why not. Nothing here asks anybody, keeps anything or knows the time: fetching, pending
//! log-ins and one-time use are the node's. Primitives come from `aws-lc-rs`.

#![forbid(unsafe_code)]

pub mod bearer;
mod certificate;
mod json;
pub mod jwe;
pub mod jws;
pub mod oidc;
mod pem;
pub mod saml;
pub mod url;

/// Base64url without padding of a SHA-256 hash: PKCE's challenge, and names of secrets in tables.
pub fn sha256_base64url(text: &str) -> String {
    use base64::Engine as _;
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes());
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(digest)
}
