//! Identity providers: who vouches for a domain's users in place of a password.

use crate::model::{Domain, Password};

/// How browsers sign in.
#[derive(Clone, Debug)]
pub enum SingleSignOn {
    /// By OpenID Connect.
    Oidc(Box<Oidc>),
    /// By SAML 2.0.
    Saml(Box<Saml>),
}

/// Sign-in by OpenID Connect.
#[derive(Clone, Debug)]
pub struct Oidc {
    /// The provider: an https address, as its discovery document names it letter by letter.
    pub issuer: String,
    /// Who we are there.
    pub client_id: String,
    /// What proves it. Default: nothing; PKCE alone protects the code.
    pub client_secret: Option<Password>,
    /// What is asked for. Default `openid profile`.
    pub scope: String,
    /// Which claim names the user.
    pub user: UserClaim,
}

/// Sign-in by SAML 2.0.
#[derive(Clone, Debug)]
pub struct Saml {
    /// The provider's metadata; the driver reads the file.
    pub metadata: Password,
    /// Our entity id. Default: the domain, `--` and sixteen digits that follow from it.
    pub entity: String,
    /// The attribute that names the user, as `claim`. Default `uid`.
    pub user: UserClaim,
    /// What signs our requests. Default: they are not signed.
    pub signing: Option<Signing>,
}

/// What signs requests to a SAML provider; the driver reads the files.
#[derive(Clone, Debug)]
pub struct Signing {
    /// An RSA key, in PEM.
    pub key: Password,
    /// Its certificate, in PEM.
    pub certificate: Password,
}

/// Bearer tokens that clients may show in place of a password.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Who must have made them: `iss`.
    pub issuer: String,
    /// For whom they must be made: `aud`.
    pub audience: String,
    /// Where the issuer's keys are. Default: its discovery document says.
    pub keys: Option<String>,
    /// Which claim names the user.
    pub user: UserClaim,
    /// What opens tokens that are encrypted; the driver reads the file. Default: they are refused,
    /// or looked up.
    pub decryption: Option<Password>,
    /// Where tokens are looked up that cannot be read. Default: they are refused.
    pub introspection: Option<Introspection>,
}

/// Where tokens are looked up (RFC 7662).
#[derive(Clone, Debug)]
pub struct Introspection {
    /// An https address.
    pub url: String,
    /// Who we are there.
    pub client_id: String,
    /// What proves it.
    pub client_secret: Password,
}

/// Which claim names the user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserClaim {
    /// Its name.
    pub claim: String,
    /// Where it is an address whose part before `@` is the user: the domains one of which must
    /// stand after it. Empty where all of it is the user.
    pub local_part_of: Vec<String>,
}

impl Domain {
    /// The secrets of its identity providers, each with its section and key.
    pub fn provider_secrets(&mut self) -> Vec<(&'static str, &'static str, &mut Password)> {
        let (sign_in, tokens) = ("domains.sign_in", "domains.tokens");
        let mut found = Vec::new();
        if let Some(SingleSignOn::Oidc(oidc)) = &mut self.single_sign_on {
            let secret = oidc.client_secret.as_mut();
            found.extend(secret.map(|s| (sign_in, "client_secret_file", s)));
        }
        if let Some(tokens_of) = &mut self.tokens {
            let secret = tokens_of
                .introspection
                .as_mut()
                .map(|i| &mut i.client_secret);
            found.extend(secret.map(|s| (tokens, "client_secret_file", s)));
        }
        found
    }

    /// Keys of its own that stand in files as a whole, each with its section, its key, and whether
    /// it is secret.
    pub fn provider_keys(&mut self) -> Vec<(&'static str, &'static str, bool, &mut Password)> {
        let mut found = Vec::new();
        if let Some(SingleSignOn::Saml(saml)) = &mut self.single_sign_on
            && let Some(signing) = &mut saml.signing
        {
            let at = "domains.sign_in";
            found.push((at, "signing_key_file", true, &mut signing.key));
            let certificate = &mut signing.certificate;
            found.push((at, "signing_certificate_file", false, certificate));
        }
        if let Some(tokens) = &mut self.tokens {
            let key = tokens.decryption.as_mut();
            found.extend(key.map(|k| ("domains.tokens", "decryption_key_file", true, k)));
        }
        found
    }

    /// The metadata of its SAML provider.
    pub fn provider_metadata(&mut self) -> Option<&mut Password> {
        match &mut self.single_sign_on {
            Some(SingleSignOn::Saml(saml)) => Some(&mut saml.metadata),
            _ => None,
        }
    }
}
