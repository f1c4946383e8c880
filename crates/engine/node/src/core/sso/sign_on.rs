//! A browser's way to its identity provider and back.
//!
//! | request | what |
//! |---|---|
//! | `get_edge_sso` | how the domain signs in |
//! | `authorize` | to the identity provider, with a cookie that binds the log-in to the browser |
//! | `oidc` | back with a code, by OpenID Connect |
//! | `fedlet` | back with a response, by SAML |
//! | `metadata` | ours, for a SAML provider |
//! | `signed_in` | the last page |
//! | `get_edge_config` | with a bearer token, or the session that a log-in gave |
//!
//! Where a browser goes is an address of the identity provider or ours, never one that a request
//! names. A log-in is over with the first return, so nothing of it counts twice. It is kept by the
//! core at which it began and by no other: its cookie names that core (`mark.boot.secret`,
//! [`core_mark`]), and whichever edge the browser comes back to sends it there. Where that core is
//! gone, or was restarted, the browser is told to begin again.

use std::net::IpAddr;

use ::sso::oidc::{self, Login as Asking};
use ::sso::saml::response::{self, Expected, ResponseError};
use ::sso::saml::{Service, request};
use ::sso::url::{field, form};
use base::{Now, Pii, Secret, UnixTime};
use policy::token::LIFE;
use provisioning::edge_config::services_asked;
use provisioning::path::EdgePath;
use status::Kind;

use super::issuers::Form;
use super::logins::{self, Login, With};
use super::pages;
use super::tokens::{BASIC, Case, Then, earlier, plain};
use super::{Client, Way};
use crate::core::sign_in::{Known, session_cookie};
use crate::core::sso::Why;
use crate::core::{Asked, Core};
use crate::gate::core_mark;
use crate::io::{AskId, FetchError, Fetched, Shown, SsoRequest};

/// The cookie that binds a log-in to its browser.
const COOKIE: &str = "X-Sign-In";

/// Random bytes of that cookie.
const SECRET: usize = 32;

/// Characters of what a client gives to find its own log-in by.
const STATE_MAX: usize = 256;

/// What a session rests on.
pub(super) struct Session {
    /// Until when it may last.
    pub(super) until: Option<UnixTime>,
    /// Its token, if it has one already.
    pub(super) token: Option<String>,
}

impl Login {
    pub(super) fn nonce(&self) -> Option<&str> {
        match &self.with {
            With::Oidc { nonce, .. } => Some(nonce),
            With::Saml { .. } => None,
        }
    }
}

impl Core {
    /// A request of the edge's own lane that is no sign-in by password.
    pub(in crate::core) fn sso(&mut self, now: Now, id: AskId, asked: SsoRequest) {
        let served = self.settings.domain(&asked.domain);
        if !served.is_some_and(|d| d.sip || d.im_presence) {
            return self.answer_sso(id, plain(403, Vec::new()));
        }
        let (path, query) = match asked.target.split_once('?') {
            Some((path, query)) => (path.to_owned(), query.to_owned()),
            None => (asked.target.clone(), String::new()),
        };
        match (path.trim_matches('/'), asked.form.is_some()) {
            ("get_edge_config", false) => self.config_by_token(now, id, asked),
            ("get_edge_sso", false) => self.offered(id, &asked),
            ("authorize", false) => self.authorize(now, id, asked, &query),
            ("oidc", false) => self.code_came(now, id, &asked, &query),
            ("fedlet", true) => self.response_came(now, id, &asked),
            ("metadata", false) => self.metadata(id, &asked),
            ("signed_in", false) => self.answer_sso(id, pages::signed_in()),
            _ => self.answer_sso(id, plain(404, Vec::new())),
        }
    }

    /// The base of a domain's addresses on the edge that was asked.
    fn edge_base(&self, peer: usize, domain: &str) -> Option<String> {
        let https = &self.edge_services(peer)?.https;
        let host = if https.host.contains(':') {
            format!("[{}]", https.host)
        } else {
            https.host.clone()
        };
        let port = match https.port {
            443 => String::new(),
            port => format!(":{port}"),
        };
        let segment = EdgePath::encode(domain, None);
        Some(format!("https://{host}{port}/{segment}"))
    }

    fn offered(&mut self, id: AskId, asked: &SsoRequest) {
        let domain = asked.domain.to_ascii_lowercase();
        let row = self.sso.find(&domain).map(|(_, d)| d);
        let by_others = row.is_some_and(|d| !matches!(d.way, Way::Password));
        let base = self.edge_base(asked.peer, &domain);
        let reply = pages::offered(&pages::Offered {
            domain: &domain,
            password: !by_others,
            tokens: row.is_some_and(|d| d.tokens.is_some()),
            authorize: base.filter(|_| by_others).map(|b| format!("{b}/authorize")),
        });
        self.answer_sso(id, reply);
    }

    fn config_by_token(&mut self, now: Now, id: AskId, mut asked: SsoRequest) {
        let row = self.sso.find(&asked.domain);
        let Some((domain, row)) = row else {
            let reply = plain(401, vec![("WWW-Authenticate", BASIC.into())]);
            return self.answer_sso(id, reply);
        };
        let challenge = format!("Bearer realm=\"{}\"", row.name);
        let issuer = row.tokens.as_ref().map(|(issuer, _)| *issuer);
        let passwords = matches!(row.way, Way::Password);
        let ours = self.tokens.public();
        let session = asked.shown.sessions().find_map(|token| {
            let claims = ours.admit(now.unix, &self.outs.known, token).ok()?;
            let fits = claims.domain.eq_ignore_ascii_case(&asked.domain);
            fits.then(|| (token.to_owned(), claims))
        });
        if let Some((token, claims)) = session {
            let session = Session {
                until: Some(claims.expires),
                token: Some(token),
            };
            let user = claims.user.into_inner();
            return self.edge_config_for(now, id, asked, user, session);
        }
        let shown = std::mem::replace(&mut asked.shown, Shown::Nothing);
        if let (Shown::Bearer(token), Some(issuer)) = (shown, issuer) {
            let case = Case {
                id,
                client: asked.client,
                domain,
                issuer,
                token,
                asks: false,
                then: Then::Config(Box::new(asked)),
            };
            return self.show(now, case);
        }
        let mut challenges = vec![("WWW-Authenticate", challenge)];
        if passwords {
            challenges.insert(0, ("WWW-Authenticate", BASIC.into()));
        }
        self.answer_sso(id, plain(401, challenges));
    }

    /// `get_edge_config` of a user whom another has vouched for.
    pub(super) fn edge_config_for(
        &mut self,
        now: Now,
        id: AskId,
        asked: SsoRequest,
        user: String,
        session: Session,
    ) {
        let query = asked.target.split_once('?').map_or("", |(_, query)| query);
        let known = Known {
            id,
            peer: asked.peer,
            client: asked.client,
            domain: asked.domain.to_ascii_lowercase(),
            user,
            user_agent: asked.user_agent,
            services: services_asked(query),
            until: earlier(now.unix.plus(LIFE), session.until),
            token: session.token,
        };
        self.sign_in_known(now, known);
    }

    fn authorize(&mut self, now: Now, id: AskId, asked: SsoRequest, query: &str) {
        let found = self
            .sso
            .find(&asked.domain)
            .map(|(n, d)| (n, d.name.clone()));
        let base = self.edge_base(asked.peer, &asked.domain.to_ascii_lowercase());
        let (Some((domain, name)), Some(base)) = (found, base) else {
            return self.answer_sso(id, plain(404, Vec::new()));
        };
        let hint = field(query, "email").filter(|e| e.len() <= STATE_MAX);
        let (state, cookie) = (self.rng.hex(32), self.new_cookie());
        let login = |back: String, with| Login {
            domain,
            peer: asked.peer,
            client: asked.client,
            cookie: Secret::new(cookie.clone()),
            back,
            token_wanted: (field(query, "response_type").as_deref() == Some("token"))
                .then(|| field(query, "state").unwrap_or_default())
                .filter(|s| s.len() <= STATE_MAX),
            with,
        };
        let row = self.sso.domains.get(domain).map(|d| &d.way);
        let (to, login, same_site) = match row {
            Some(Way::Oidc(client)) => {
                let issuer = self.sso.issuers.get(client.issuer);
                let Some(provider) = issuer.and_then(|i| i.provider.as_ref()) else {
                    let cause = "the discovery document is not known";
                    self.tell_of_sso(now, Kind::IssuerUnreachable, domain, asked.client, cause);
                    let page = pages::refused(502, "The identity provider cannot be reached.");
                    return self.answer_sso(id, page);
                };
                let (nonce, verifier) = (self.rng.hex(32), self.rng.hex(32));
                let back = format!("{base}/oidc");
                let to = provider.sign_in(&Asking {
                    client_id: &client.id,
                    redirect_uri: &back,
                    scope: &client.scope,
                    state: &state,
                    nonce: &nonce,
                    verifier: &verifier,
                    hint: hint.as_deref().unwrap_or_default(),
                });
                let verifier = Secret::new(verifier);
                (to, login(back, With::Oidc { nonce, verifier }), "Lax")
            }
            Some(Way::Saml {
                signer: Some(Ok(_)),
                ..
            }) if !self.sso.signing.take(now, asked.client) => {
                let later = ("Retry-After", "2".to_owned());
                return self.answer_sso(id, plain(503, vec![later]));
            }
            Some(Way::Saml {
                provider: Ok(provider),
                signer,
                entity,
                ..
            }) => {
                let signer = signer.as_ref().and_then(|s| s.as_ref().ok());
                let request = format!("_{}", self.rng.hex(20));
                let service = Service {
                    entity: entity.clone(),
                    consumer: format!("{base}/fedlet"),
                };
                let to = request::redirect(
                    &service,
                    provider,
                    now.unix,
                    &request,
                    &state,
                    signer.map(|s| &**s),
                );
                // The provider posts the answer: the cookie must come along from another site.
                (to, login(service.consumer, With::Saml { request }), "None")
            }
            Some(Way::Saml {
                provider: Err(cause),
                ..
            }) => {
                let cause = cause.clone();
                self.tell_of_sso(now, Kind::IdpMetadata, domain, asked.client, &cause);
                let page = pages::refused(502, "The identity provider is not set up.");
                return self.answer_sso(id, page);
            }
            Some(Way::Password) | None => return self.answer_sso(id, plain(404, Vec::new())),
        };
        self.sso.logins.begin(now.instant, &state, login);
        let cookie = format!(
            "{COOKIE}={cookie}; Max-Age={}; Path=/{}/; Secure; HttpOnly; SameSite={same_site}",
            logins::LIFE.as_secs(),
            EdgePath::encode(&name, None)
        );
        self.answer_sso(id, pages::redirect(to, Some(cookie)));
    }

    /// What binds a log-in to its browser, and names this core.
    fn new_cookie(&mut self) -> String {
        let mark = core_mark(&self.tokens.public());
        format!("{mark}.{}.{}", self.sso.boot, self.rng.hex(SECRET))
    }

    /// Whether a cookie looks like one of another core's, or of this one's before it was started.
    fn is_of_another_core(&self, cookie: &str) -> bool {
        let mut parts = cookie.split('.');
        let (mark, boot, secret) = (parts.next(), parts.next(), parts.next());
        let whole = |part: Option<&str>, length| part.is_some_and(|p| p.len() == length);
        let fits = whole(mark, core_mark(&self.tokens.public()).len())
            && whole(boot, self.sso.boot.len())
            && whole(secret, 2 * SECRET)
            && parts.next().is_none();
        let ours = mark == Some(core_mark(&self.tokens.public()).as_str())
            && boot == Some(self.sso.boot.as_str());
        fits && !ours
    }

    /// The log-in that a browser comes back from; it is over with that.
    fn back(
        &mut self,
        now: Now,
        id: AskId,
        asked: &SsoRequest,
        state: Option<String>,
    ) -> Option<Login> {
        let banned = asked
            .client
            .and_then(|ip| self.sso.strikes.banned(now.instant, ip));
        if let Some(rest) = banned {
            let later = ("Retry-After", (rest.as_secs() + 1).to_string());
            self.answer_sso(id, plain(429, vec![later]));
            return None;
        }
        let login = self.sso.logins.finish(
            now.instant,
            &state.unwrap_or_default(),
            asked.cookie.as_deref().unwrap_or_default(),
        );
        let ours = |l: &Login| {
            self.domain_name(l.domain)
                .eq_ignore_ascii_case(&asked.domain)
        };
        let login = login.filter(ours);
        let cookie = asked.cookie.as_deref().unwrap_or_default();
        if login.is_none() && self.is_of_another_core(cookie) {
            if let Some((domain, _)) = self.sso.find(&asked.domain) {
                let cause = "its log-in was begun at another core, or before this one was started";
                self.tell_of_sso(now, Kind::SsoRefused, domain, asked.client, cause);
            }
            self.answer_sso(id, pages::gone());
        } else if login.is_none() {
            let why = "This sign-in has taken longer than ten minutes, was finished before, or was \
                       begun in another browser.";
            let page = pages::refused(403, why);
            if let Some((domain, _)) = self.sso.find(&asked.domain) {
                let cause = "an answer without its log-in: begun over ten minutes ago, answered \
                             before, or by another browser";
                self.tell_of_sso(now, Kind::SsoRefused, domain, asked.client, cause);
                let cause = "ten answers without a log-in within five minutes";
                self.struck(now, domain, asked.client, cause);
            }
            self.answer_sso(id, page);
        }
        login
    }

    fn code_came(&mut self, now: Now, id: AskId, asked: &SsoRequest, query: &str) {
        let Some(login) = self.back(now, id, asked, field(query, "state")) else {
            return;
        };
        let With::Oidc { verifier, .. } = &login.with else {
            return self.answer_sso(id, plain(404, Vec::new()));
        };
        let code = field(query, "code").filter(|c| !c.is_empty() && c.len() <= 4096);
        let Some(code) = code else {
            let error = field(query, "error").unwrap_or_else(|| "no code".into());
            let error: String = error
                .chars()
                .filter(|c| !c.is_control())
                .take(100)
                .collect();
            let cause = format!("the identity provider answered {error}");
            return self.log_in_failed(now, id, &login, &cause);
        };
        let row = self.sso.domains.get(login.domain).map(|d| &d.way);
        let Some(Way::Oidc(client)) = row else {
            return self.answer_sso(id, plain(404, Vec::new()));
        };
        let issuer = self.sso.issuers.get(client.issuer);
        let Some(url) = issuer.and_then(|i| Some(i.provider.as_ref()?.token.clone())) else {
            return self.answer_sso(id, plain(502, Vec::new()));
        };
        let form = code_form(client, &code, &login.back, verifier.expose());
        // What comes back may come from elsewhere than what was sent out: it counts for the former.
        let case = Case {
            id,
            client: asked.client,
            domain: login.domain,
            issuer: client.issuer,
            token: Secret::new(String::new()),
            asks: true,
            then: Then::Login(Box::new(login)),
        };
        let Some(number) = self.wait(case, true) else {
            return;
        };
        self.fetch(Asked::Sso(Why::Code(number)), &url, Some(form));
    }

    pub(in crate::core) fn code_answered(
        &mut self,
        now: Now,
        number: u64,
        result: Result<Fetched, FetchError>,
    ) {
        let Some(mut case) = self.sso.cases.remove(&number) else {
            return;
        };
        let found = result.map_err(|e| e.to_string());
        let found = found.and_then(|got| oidc::id_token(got.status, &got.body));
        match (found, &case.then) {
            (Ok(token), _) => {
                case.token = Secret::new(token);
                self.show(now, case);
            }
            (Err(cause), Then::Login(login)) => {
                let (domain, client) = (login.domain, case.client);
                self.board.counters.sign_ins_refused += 1;
                self.tell_of_sso(now, Kind::SsoRefused, domain, client, &cause);
                // The provider has never given that code, or to somebody else.
                if cause.ends_with(": invalid_grant") {
                    self.struck(now, domain, client, "ten refused codes within five minutes");
                }
                let page = pages::refused(502, "The identity provider gave no token.");
                self.answer_sso(case.id, page);
            }
            (Err(_), _) => {}
        }
    }

    fn response_came(&mut self, now: Now, id: AskId, asked: &SsoRequest) {
        let posted = asked.form.as_ref().map_or("", |f| f.expose());
        let Some(login) = self.back(now, id, asked, field(posted, "RelayState")) else {
            return;
        };
        let leeway = self.clock_leeway();
        let row = self.sso.domains.get(login.domain).map(|d| &d.way);
        let (
            With::Saml { request },
            Some(Way::Saml {
                provider: Ok(provider),
                entity,
                user,
                ..
            }),
        ) = (&login.with, row)
        else {
            return self.answer_sso(id, plain(404, Vec::new()));
        };
        let service = Service {
            entity: entity.clone(),
            consumer: login.back.clone(),
        };
        let expected = Expected {
            service: &service,
            provider,
            request,
            attribute: &user.claim,
            local_part_of: &user.local_part_of,
        };
        let encoded = field(posted, "SAMLResponse").unwrap_or_default();
        let expired = provider.until < now.unix;
        match response::check(&expected, now.unix, leeway, &encoded) {
            Ok(asserted) => {
                if expired {
                    let cause = "the certificate in its metadata has expired";
                    let (domain, client) = (login.domain, login.client);
                    self.tell_of_sso(now, Kind::IdpCertificate, domain, client, cause);
                }
                let user = asserted.user.into_inner();
                self.signed_on(now, id, &login, user, asserted.until);
            }
            Err(e) => self.response_refused(now, id, asked.client, &login, &e),
        }
    }

    fn response_refused(
        &mut self,
        now: Now,
        id: AskId,
        client: Option<IpAddr>,
        login: &Login,
        error: &ResponseError,
    ) {
        let kind = match error {
            ResponseError::Expired { .. } | ResponseError::NotYet { .. } => Kind::IssuerClock,
            ResponseError::NoUser(_) => Kind::UserUnnamed,
            _ => Kind::SsoRefused,
        };
        let mut cause = error.to_string();
        if kind == Kind::IssuerClock {
            cause.push_str(&self.skew_in_words());
        }
        self.board.counters.sign_ins_refused += 1;
        self.tell_of_sso(now, kind, login.domain, client, &cause);
        if error.is_forged() {
            let cause = "ten forged answers within five minutes";
            self.struck(now, login.domain, client, cause);
        }
        let page = pages::refused(403, "The identity provider's answer is refused.");
        self.answer_sso(id, page);
    }

    fn log_in_failed(&mut self, now: Now, id: AskId, login: &Login, cause: &str) {
        self.board.counters.sign_ins_refused += 1;
        self.tell_of_sso(now, Kind::SsoRefused, login.domain, login.client, cause);
        let page = pages::refused(403, "The identity provider did not sign you in.");
        self.answer_sso(id, page);
    }

    fn metadata(&mut self, id: AskId, asked: &SsoRequest) {
        let domain = asked.domain.to_ascii_lowercase();
        let row = self.sso.find(&domain).map(|(_, d)| &d.way);
        let base = self.edge_base(asked.peer, &domain);
        let (Some(Way::Saml { entity, signer, .. }), Some(base)) = (row, base) else {
            return self.answer_sso(id, plain(404, Vec::new()));
        };
        let others = (0..self.links.len()).filter(|peer| *peer != asked.peer);
        let others = others.filter_map(|peer| self.edge_base(peer, &domain));
        let others: Vec<String> = others.map(|base| format!("{base}/fedlet")).collect();
        let service = Service {
            entity: entity.clone(),
            consumer: format!("{base}/fedlet"),
        };
        let signer = signer.as_ref().and_then(|s| s.as_ref().ok());
        let metadata = service.metadata(&others, signer.map(|s| &**s));
        self.answer_sso(id, pages::xml(metadata));
    }

    /// A browser's user is known: it gets a session.
    pub(super) fn signed_on(
        &mut self,
        now: Now,
        id: AskId,
        login: &Login,
        user: String,
        until: Option<UnixTime>,
    ) {
        let domain = self.domain_name(login.domain).to_owned();
        let expires = earlier(now.unix.plus(LIFE), until);
        let token = self
            .tokens
            .issue_until(now.unix, &mut self.rng, &user, &domain, expires);
        let Some(base) = self.edge_base(login.peer, &domain) else {
            let later = ("Retry-After", "5".to_owned());
            return self.answer_sso(id, plain(503, vec![later]));
        };
        let here = self.edge_services(login.peer);
        let cookie = here.map(|here| session_cookie(here, &token, expires));
        // It is a browser's, and no other site is to make it ask with that.
        let cookie = cookie.map(|cookie| cookie + "; SameSite=Lax");
        let mut to = format!("{base}/signed_in");
        if let Some(state) = &login.token_wanted {
            let left_s = expires
                .as_secs()
                .saturating_sub(now.unix.as_secs())
                .to_string();
            let fields = [
                ("access_token", token.as_str()),
                ("token_type", "Bearer"),
                ("expires_in", left_s.as_str()),
                ("state", state.as_str()),
            ];
            let fields = if state.is_empty() {
                &fields[..3]
            } else {
                &fields
            };
            to.push('#');
            to.push_str(&form(fields));
        }
        self.board.counters.sign_ins += 1;
        let user = Pii::new(user);
        let proof = [("domain", domain), ("user", user.to_string())];
        let out = &mut self.station.out;
        let (kind, by) = (Kind::SignedOn, "");
        self.board.stranger(out, kind, now, by, &proof);
        self.answer_sso(id, pages::redirect(to, cookie));
    }
}

/// What turns a code into a token (RFC 6749 §4.1.3, RFC 7636 §4.5). A client with a secret shows it
/// by Basic, both parts as a form writes them (RFC 6749 §2.3.1).
fn code_form(client: &Client, code: &str, back: &str, verifier: &str) -> Form {
    let mut fields = vec![
        ("grant_type", "authorization_code"),
        ("code", code),
        ("redirect_uri", back),
        ("code_verifier", verifier),
    ];
    let basic = client.secret.as_ref().map(|secret| {
        let escape = ::sso::url::escape;
        let secret = Secret::new(escape(secret.expose()));
        (Pii::new(escape(&client.id)), secret)
    });
    if basic.is_none() {
        fields.push(("client_id", client.id.as_str()));
    }
    Form {
        basic,
        body: form(&fields),
    }
}
