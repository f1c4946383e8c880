//! Sign-in by another's word (`protocol.md` 2.6): bearer tokens, OpenID Connect and SAML.
//!
//! `issuers` keeps the keys of those whose word counts; `tokens` judges what clients show; `logins`
//! holds who is away to sign in; `sign_on` sends browsers there and takes them back. Whoever signs
//! in so gets the session token that a password gets, and asks for `get_edge_config` with it.
//!
//! An edge only carries: what it passes on is judged here, and it holds no key that signs. All
//! that is asked of an identity provider is asked by the core.

mod issuers;
mod logins;
mod pages;
mod sign_on;
mod tokens;

use std::net::IpAddr;
use std::sync::Arc;

use ::sso::bearer::Rules;
use ::sso::jwe::DecryptionKey;
use ::sso::saml::{Provider, Signer};
use ::sso::url::Url;
use base::{HashMap, Now, Rng, Secret, TokenBucket};
use config::single_sign_on::{SingleSignOn, UserClaim};
use config::{Config, Password, Role};
use status::Kind;

use super::Core;
use crate::gate::Bearer;
use crate::io::{FetchError, Fetched};
use crate::strikes::{Strikes, whole};
use issuers::{Issuer, Paper};
use logins::Logins;
use tokens::{Case, Introspections};

/// Requests to SAML providers that are signed a second; each costs as much as a handshake.
const SIGNED_PER_SECOND: u32 = 300;

/// Those of one source, at once; then one a second.
const SIGNED_OF_SOURCE: u32 = 30;

/// Sources that are remembered.
const SIGNED_SOURCES_MAX: usize = 10_000;

/// How many requests are signed.
struct Signing {
    all: TokenBucket,
    of_source: HashMap<IpAddr, TokenBucket>,
}

impl Default for Signing {
    fn default() -> Self {
        Signing {
            all: TokenBucket::new(SIGNED_PER_SECOND, SIGNED_PER_SECOND),
            of_source: HashMap::default(),
        }
    }
}

impl Signing {
    /// Whether one more may be.
    fn take(&mut self, now: Now, client: Option<IpAddr>) -> bool {
        if self.of_source.len() >= SIGNED_SOURCES_MAX {
            self.of_source
                .retain(|_, bucket| !bucket.is_idle(now.instant));
        }
        if let Some(source) = client.map(whole) {
            let room = self.of_source.len() < SIGNED_SOURCES_MAX;
            if !room && !self.of_source.contains_key(&source) {
                return false;
            }
            let own = self.of_source.entry(source);
            let own = own.or_insert_with(|| TokenBucket::new(1, SIGNED_OF_SOURCE));
            if own.take(now.instant).is_err() {
                return false;
            }
        }
        self.all.take(now.instant).is_ok()
    }
}

/// How the users of a domain sign in.
enum Way {
    /// By password.
    Password,
    /// By OpenID Connect.
    Oidc(Client),
    /// By SAML; what is wrong with the metadata, if it cannot be used.
    Saml {
        provider: Result<Box<Provider>, String>,
        /// What signs requests; what is wrong with it, if it cannot be used.
        signer: Option<Result<Box<Signer>, String>>,
        entity: String,
        user: UserClaim,
    },
}

/// Who we are at an issuer.
struct Client {
    issuer: usize,
    id: String,
    secret: Option<Secret<String>>,
    scope: String,
}

/// A domain whose users sign in so, or show tokens.
struct Domain {
    name: String,
    way: Way,
    /// The issuer of its bearer tokens, and where those are looked up that cannot be read.
    tokens: Option<(usize, Option<(Url, Client)>)>,
}

/// All that is kept.
pub(super) struct Sso {
    domains: Vec<Domain>,
    issuers: Vec<Issuer>,
    logins: Logins,
    /// What waits for an issuer's answer.
    cases: HashMap<u64, Case>,
    introspections: Introspections,
    next: u64,
    strikes: Strikes,
    /// Domains whose key for encrypted tokens cannot be used.
    bad_keys: Vec<(String, &'static str)>,
    /// Signatures that requests need: whoever asks for one is nobody yet.
    signing: Signing,
    /// Tells log-ins of this process from those that an earlier one began.
    boot: String,
}

impl Sso {
    pub(super) fn new(now: Now, rng: &mut Rng, config: &Arc<Config>) -> Self {
        let mut sso = Sso {
            domains: Vec::new(),
            issuers: Vec::new(),
            logins: Logins::default(),
            cases: HashMap::default(),
            introspections: Introspections::default(),
            next: 0,
            strikes: Strikes::default(),
            bad_keys: Vec::new(),
            signing: Signing::default(),
            boot: rng.hex(8),
        };
        if let Role::Core(core) = &config.role {
            for domain in &core.domains {
                sso.domain(now, domain);
            }
        }
        sso
    }

    fn domain(&mut self, now: Now, written: &config::Domain) {
        let way = match &written.single_sign_on {
            Some(SingleSignOn::Oidc(oidc)) => {
                let rules = Rules {
                    issuer: oidc.issuer.clone(),
                    audience: oidc.client_id.clone(),
                    user_claim: oidc.user.claim.clone(),
                    local_part_of: oidc.user.local_part_of.clone(),
                    decryption: None,
                };
                Way::Oidc(Client {
                    issuer: self.issuer(now, rules, None),
                    id: oidc.client_id.clone(),
                    secret: oidc.client_secret.as_ref().map(given),
                    scope: oidc.scope.clone(),
                })
            }
            Some(SingleSignOn::Saml(saml)) => Way::Saml {
                provider: match &saml.metadata {
                    Password::Given(text) => Provider::read(text.expose()).map(Box::new),
                    Password::File(_) => Err("the metadata was not read".into()),
                },
                signer: saml.signing.as_ref().map(|signing| {
                    let (key, certificate) = (given(&signing.key), given(&signing.certificate));
                    Signer::read(key.expose(), certificate.expose()).map(Box::new)
                }),
                entity: saml.entity.clone(),
                user: saml.user.clone(),
            },
            None => Way::Password,
        };
        let tokens = written.tokens.as_ref().map(|tokens| {
            let key = tokens.decryption.as_ref().map(given);
            let decryption = key.map(|key| DecryptionKey::read(key.expose()));
            if let Some(Err(cause)) = &decryption {
                self.bad_keys
                    .push((written.name.as_str().to_owned(), *cause));
            }
            let rules = Rules {
                issuer: tokens.issuer.clone(),
                audience: tokens.audience.clone(),
                user_claim: tokens.user.claim.clone(),
                local_part_of: tokens.user.local_part_of.clone(),
                decryption: decryption.and_then(Result::ok).map(Arc::new),
            };
            let keys_at = tokens.keys.as_deref().and_then(|u| Url::read(u).ok());
            let issuer = self.issuer(now, rules, keys_at);
            let lookup = tokens.introspection.as_ref().and_then(|i| {
                let client = Client {
                    issuer,
                    id: i.client_id.clone(),
                    secret: Some(given(&i.client_secret)),
                    scope: String::new(),
                };
                Some((Url::read(&i.url).ok()?, client))
            });
            (issuer, lookup)
        });
        if tokens.is_none() && matches!(way, Way::Password) {
            return;
        }
        self.domains.push(Domain {
            name: written.name.as_str().to_owned(),
            way,
            tokens,
        });
    }

    fn issuer(&mut self, now: Now, rules: Rules, keys_at: Option<Url>) -> usize {
        self.issuers.push(Issuer::new(now, rules, keys_at));
        self.issuers.len() - 1
    }

    fn find(&self, domain: &str) -> Option<(usize, &Domain)> {
        let mut rows = self.domains.iter().enumerate();
        rows.find(|(_, d)| d.name.eq_ignore_ascii_case(domain))
    }

    /// Whether the passwords of a domain's users are nobody's business here.
    pub(super) fn takes_no_password(&self, domain: &str) -> bool {
        let found = self.find(domain);
        found.is_some_and(|(_, d)| !matches!(d.way, Way::Password))
    }

    /// What tasks need to judge tokens by themselves.
    pub(super) fn bearers(&self) -> Vec<Bearer> {
        let row = |domain: &Domain| {
            let issuer = self.issuers.get(domain.tokens.as_ref()?.0)?;
            Some(Bearer {
                domain: domain.name.clone(),
                rules: issuer.rules.clone(),
                keys: issuer.keys.clone(),
            })
        };
        self.domains.iter().filter_map(row).collect()
    }

    /// Log-ins and tokens that wait.
    pub(super) fn census(&self) -> [(&'static str, usize); 3] {
        [
            ("log-ins", self.logins.len()),
            ("tokens judged", self.cases.len()),
            ("tokens looked up", self.introspections.len()),
        ]
    }
}

/// What a question to the outside was for.
pub(super) enum Why {
    /// A document of an issuer of tokens.
    Issuer(usize, Paper),
    /// What an issuer says of a token.
    LookUp(u64),
    /// The token for a code.
    Code(u64),
}

impl Core {
    pub(super) fn sso_fetched(&mut self, now: Now, why: Why, got: Result<Fetched, FetchError>) {
        match why {
            Why::Issuer(index, paper) => self.issuer_answered(now, index, paper, got),
            Why::LookUp(number) => self.looked_up(now, number, got),
            Why::Code(number) => self.code_answered(now, number, got),
        }
    }

    /// Tells of what the configuration alone makes wrong.
    pub(super) fn sso_begins(&mut self, now: Now) {
        let mut told = Vec::new();
        for (domain, cause) in &self.sso.bad_keys {
            let cause = format!("domains.tokens.decryption_key_file: {cause}");
            let proof = vec![("domain", domain.clone())];
            told.push((Kind::SsoKey, cause, proof));
        }
        for domain in &self.sso.domains {
            let Way::Saml {
                provider, signer, ..
            } = &domain.way
            else {
                continue;
            };
            let proof = |more: Vec<(&'static str, String)>| {
                let mut proof = vec![("domain", domain.name.clone())];
                proof.extend(more);
                proof
            };
            match (signer, provider) {
                (Some(Err(cause)), _) => told.push((Kind::SsoKey, cause.clone(), proof(vec![]))),
                (None, Ok(p)) if p.wants_signed => {
                    let cause = "the identity provider wants signed requests, and there is no key \
                                 (sign_in.signing_key_file)";
                    let more = vec![("idp", p.entity.clone())];
                    told.push((Kind::SsoKey, cause.to_owned(), proof(more)));
                }
                _ => {}
            }
            match provider {
                Err(cause) => told.push((Kind::IdpMetadata, cause.clone(), proof(vec![]))),
                Ok(p) if p.until < now.unix => {
                    let more = vec![("idp", p.entity.clone()), ("until", p.until.to_string())];
                    let cause = "the certificate in its metadata has expired".to_owned();
                    told.push((Kind::IdpCertificate, cause, proof(more)));
                }
                Ok(_) => {}
            }
        }
        for (kind, cause, proof) in told {
            let out = &mut self.station.out;
            self.board.event(out, kind, now, &cause, &proof);
        }
        self.issuers_timeout(now);
    }
}

/// The driver has read files before; one that it did not read matches nothing.
fn given(secret: &Password) -> Secret<String> {
    match secret {
        Password::Given(secret) => secret.clone(),
        Password::File(_) => Secret::new(String::new()),
    }
}
