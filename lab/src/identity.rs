//! An identity provider: OpenID Connect with the authorization code and PKCE, SAML 2.0, a log-in
//! page between, and a session of its own so that who is logged in is not asked again.
//!
//! It writes and reads everything itself, on libraries that the product does not use for it. Two
//! clients know it: the product ([`CLIENT`], with a secret) and the telephone ([`TELEPHONE`],
//! without one). Its keys are made anew for every lab. Bounds: 1,000 codes, sessions and tokens,
//! the oldest forgotten first.

mod keys;
mod saml;

use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::Method;
use serde_json::json;
use sha2::{Digest, Sha256};
use tokio_rustls::TlsAcceptor;

use self::keys::Keys;
use crate::accounts::Accounts;
use crate::web::{self, Answer, Request, encoded, escaped};
use crate::world::secret;

/// Where it answers.
pub const PORT: u16 = 8443;
/// The product's client id, and the audience of tokens.
pub const CLIENT: &str = "causeway";
/// The telephone's client id.
pub const TELEPHONE: &str = "softphone";
/// Where the telephone is told to come back to, which only it hears.
pub const TELEPHONE_BACK: &str = "softphone://signed-in";
/// How long what it signs is good for.
const LIFE_S: u64 = 600;
const KEPT: usize = 1_000;

/// A running provider, before it has an address; clones share it.
#[derive(Clone)]
pub struct Provider(Arc<Inner>);

struct Inner {
    origin: String,
    secret: String,
    keys: Keys,
    accounts: Arc<Accounts>,
    codes: Mutex<VecDeque<(String, Code)>>,
    sessions: Mutex<VecDeque<(String, String)>>,
}

/// A log-in whose code has not been fetched.
#[derive(Clone)]
struct Code {
    user: String,
    client: String,
    back: String,
    challenge: String,
    nonce: Option<String>,
}

impl Provider {
    /// One at that name, which knows those people and that secret of the product.
    ///
    /// # Errors
    /// No keys could be made.
    pub fn new(name: &str, secret: &str, accounts: Arc<Accounts>) -> Result<Provider> {
        Ok(Provider(Arc::new(Inner {
            origin: format!("https://{name}:{PORT}"),
            secret: secret.to_owned(),
            keys: Keys::new(name)?,
            accounts,
            codes: Mutex::default(),
            sessions: Mutex::default(),
        })))
    }

    /// Who signs tokens, letter by letter.
    pub fn issuer(&self) -> String {
        format!("{}/realm", self.0.origin)
    }

    /// Its SAML metadata.
    pub fn metadata(&self) -> String {
        saml::metadata(&self.0.origin, &self.0.keys)
    }

    /// Answers there until the runtime ends.
    ///
    /// # Errors
    /// If the address is taken.
    pub async fn serve(&self, address: SocketAddr, tls: TlsAcceptor) -> io::Result<()> {
        let provider = self.clone();
        let answer = move |request: Request| {
            let answer = provider.answer(&request);
            async { answer }
        };
        web::serve(address, Some(tls), answer).await.map(drop)
    }

    fn answer(&self, request: &Request) -> Answer {
        match (&request.method, request.path.as_str()) {
            (&Method::GET, "/realm/.well-known/openid-configuration") => self.discovery(),
            (&Method::GET, "/keys") => plain_json(&self.0.keys.set()),
            (&Method::GET, "/login" | "/saml") => match self.session(request) {
                Some(user) => self.known(&user, request, None),
                None => page(request),
            },
            (&Method::POST, "/login" | "/saml") => self.log_in(request),
            (&Method::POST, "/token") => self.token(request),
            (&Method::GET, "/metadata") => {
                Answer::new(200, "application/samlmetadata+xml", self.metadata())
            }
            _ => Answer::empty(404),
        }
    }

    fn discovery(&self) -> Answer {
        let at = &self.0.origin;
        plain_json(&json!({
            "issuer": self.issuer(),
            "authorization_endpoint": format!("{at}/login"),
            "token_endpoint": format!("{at}/token"),
            "jwks_uri": format!("{at}/keys"),
            "response_types_supported": ["code"],
            "subject_types_supported": ["public"],
            "id_token_signing_alg_values_supported": ["RS256"],
            "code_challenge_methods_supported": ["S256"],
        }))
    }

    /// The form of the page: name and password.
    fn log_in(&self, request: &Request) -> Answer {
        let field = |name: &str| request.field(name).unwrap_or_default();
        let Some(user) = self.0.accounts.check(&field("user"), &field("password")) else {
            return Answer::new(403, "text/plain", "wrong name or password\n");
        };
        let session = secret(32);
        keep(&self.0.sessions, session.clone(), user.name.clone());
        let cookie = format!("IDP={session}; Path=/; Secure; HttpOnly; SameSite=Lax");
        self.known(&user.name, request, Some(cookie))
    }

    /// Who has logged in goes back to where the browser came from.
    fn known(&self, user: &str, request: &Request, cookie: Option<String>) -> Answer {
        let answer = match request.path.as_str() {
            "/saml" => saml::answer(&self.0.origin, &self.0.keys, user, request),
            _ => self.code(user, request),
        };
        match cookie {
            Some(cookie) => answer.with("set-cookie", cookie),
            None => answer,
        }
    }

    /// RFC 6749 §4.1.2, RFC 7636 §4.4.
    fn code(&self, user: &str, request: &Request) -> Answer {
        let asked = |name: &str| request.asked(name).unwrap_or_default().to_owned();
        let (client, back) = (asked("client_id"), asked("redirect_uri"));
        let fits = match client.as_str() {
            CLIENT => back.starts_with("https://") && back.ends_with("/oidc"),
            TELEPHONE => back == TELEPHONE_BACK,
            _ => false,
        };
        let s256 = asked("code_challenge_method") == "S256";
        if !fits || !s256 || asked("response_type") != "code" {
            return Answer::new(400, "text/plain", "no such client, or no code with S256\n");
        }
        let code = Code {
            user: user.to_owned(),
            client,
            back: back.clone(),
            challenge: asked("code_challenge"),
            nonce: request.asked("nonce").map(str::to_owned),
        };
        let name = secret(32);
        keep(&self.0.codes, name.clone(), code);
        let state = encoded(&asked("state"));
        Answer::empty(302).with("location", format!("{back}?code={name}&state={state}"))
    }

    /// RFC 6749 §4.1.3, RFC 7636 §4.6: secret, address and verifier must fit, once.
    fn token(&self, request: &Request) -> Answer {
        let field = |name: &str| request.field(name).unwrap_or_default();
        let refused = |error: &str| {
            let body = json!({ "error": error }).to_string();
            Answer::new(400, "application/json", body)
        };
        let client = match request.basic() {
            Some((name, secret)) if name == CLIENT && secret == self.0.secret => name,
            Some(_) => return refused("invalid_client"),
            None if field("client_id") == TELEPHONE => TELEPHONE.to_owned(),
            None => return refused("invalid_client"),
        };
        let Some(code) = take(&self.0.codes, &field("code")) else {
            return refused("invalid_grant");
        };
        let challenge = URL_SAFE_NO_PAD.encode(Sha256::digest(field("code_verifier")));
        let fits = code.client == client
            && code.challenge == challenge
            && code.back == field("redirect_uri")
            && field("grant_type") == "authorization_code";
        if !fits {
            return refused("invalid_grant");
        }
        let (now, keys) = (now_s(), &self.0.keys);
        let claims = |audience: &str| {
            json!({
                "iss": self.issuer(), "aud": audience, "sub": code.user, "iat": now,
                "exp": now + LIFE_S, "preferred_username": code.user, "uid": code.user,
            })
        };
        let mut of_the_log_in = claims(&client);
        if let Some(nonce) = &code.nonce {
            of_the_log_in["nonce"] = json!(nonce);
        }
        let tokens = (keys.signed(&of_the_log_in), keys.signed(&claims(CLIENT)));
        let (Ok(identity), Ok(access)) = tokens else {
            return Answer::empty(500);
        };
        self.0.accounts.bearers.issued(&access, &code.user);
        plain_json(&json!({
            "id_token": identity, "access_token": access, "token_type": "Bearer",
            "expires_in": LIFE_S,
        }))
    }

    /// Who is logged in with that browser.
    fn session(&self, request: &Request) -> Option<String> {
        let cookies = request.headers.get("cookie")?.to_str().ok()?;
        let mut pairs = cookies.split(';').map(str::trim);
        let session = pairs.find_map(|pair| pair.strip_prefix("IDP="))?;
        let sessions = self.0.sessions.lock();
        let sessions = sessions.unwrap_or_else(PoisonError::into_inner);
        let found = sessions.iter().find(|(name, _)| name == session);
        found.map(|(_, user)| user.clone())
    }
}

fn keep<T>(table: &Mutex<VecDeque<(String, T)>>, name: String, value: T) {
    let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
    if table.len() >= KEPT {
        table.pop_front();
    }
    table.push_back((name, value));
}

fn take<T>(table: &Mutex<VecDeque<(String, T)>>, name: &str) -> Option<T> {
    let mut table = table.lock().unwrap_or_else(PoisonError::into_inner);
    let at = table.iter().position(|(known, _)| known == name)?;
    table.remove(at).map(|(_, value)| value)
}

fn plain_json(value: &serde_json::Value) -> Answer {
    Answer::new(200, "application/json", value.to_string())
}

/// The log-in page; what was asked comes back with the form.
fn page(request: &Request) -> Answer {
    let fields = request.query.iter();
    let query: Vec<String> = fields
        .map(|(name, value)| format!("{}={}", encoded(name), encoded(value)))
        .collect();
    let action = escaped(&format!("{}?{}", request.path, query.join("&")));
    Answer::new(
        200,
        "text/html;charset=utf-8",
        format!(
            "<!DOCTYPE html><html><body><form method=\"post\" action=\"{action}\">\
             <input name=\"user\"><input name=\"password\" type=\"password\">\
             <input type=\"submit\" value=\"Sign in\"></form></body></html>\n"
        ),
    )
}

/// Seconds since 1970.
fn now_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests;
