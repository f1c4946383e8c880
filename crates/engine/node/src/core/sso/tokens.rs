//! Bearer tokens that clients show (RFC 6750), judged; and those looked up that cannot be read
//! (RFC 7662).
//!
//! A token whose key is not known waits while its issuer is asked; if that was asked a moment ago,
//! its client is told 503, since the key may be newer. Forged ones count against their
//! source, ten within five minutes; those that were genuine never do. Bounds: [`CASES_MAX`] tokens
//! wait at once, [`OF_SOURCE_MAX`] of one source; [`ASKING_MAX`] of them, [`ASKING_OF_SOURCE_MAX`]
//! of one source, each with a question of its own to an identity provider, so that inside servers
//! can always be asked; [`KNOWN_MAX`] that were looked up are remembered
//! for [`KNOWN`].

use std::net::IpAddr;
use std::time::Duration;

use ::sso::bearer::{BearerError, Claims};
use ::sso::jws::JwsError;
use ::sso::sha256_base64url;
use ::sso::url::form;
use base::{HashMap, Instant, Now, Pii, Secret, UnixTime};
use status::Kind;

use super::issuers::Form;
use super::logins::Login;
use crate::core::sso::Why;
use crate::core::{Asked, Core};
use crate::io::{Answer, AskId, FetchError, Fetched, Output, Reply, SsoRequest};
use crate::strikes::whole;

const CASES_MAX: usize = 2_000;

const OF_SOURCE_MAX: usize = 100;

/// Half of the questions that may be under way in all.
const ASKING_MAX: usize = 128;

const ASKING_OF_SOURCE_MAX: usize = 32;

const KNOWN_MAX: usize = 10_000;

/// How long what an issuer said of a token is believed.
const KNOWN: Duration = Duration::from_secs(60);

/// A token, and what waits for its judgement.
pub(super) struct Case {
    pub(super) id: AskId,
    pub(super) client: Option<IpAddr>,
    pub(super) domain: usize,
    pub(super) issuer: usize,
    pub(super) token: Secret<String>,
    /// Whether a question to an identity provider is under way for it alone.
    pub(super) asks: bool,
    pub(super) then: Then,
}

/// What a good token opens.
pub(super) enum Then {
    /// A request to an inside server.
    Pass,
    /// `get_edge_config`.
    Config(Box<SsoRequest>),
    /// A browser that comes back; the token is an ID token.
    Login(Box<Login>),
}

/// What issuers said of tokens lately, by issuer and hash: a word of one is none of another's.
#[derive(Default)]
pub(super) struct Introspections(HashMap<(usize, String), (Instant, Claims)>);

impl Introspections {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn get(&self, now: Now, issuer: usize, token: &str) -> Option<&Claims> {
        let (until, claims) = self.0.get(&(issuer, sha256_base64url(token)))?;
        (*until > now.instant && claims.expires > now.unix).then_some(claims)
    }

    /// Whether it was good once, as far as we know.
    fn saw(&self, issuer: usize, token: &str) -> bool {
        self.0.contains_key(&(issuer, sha256_base64url(token)))
    }

    fn note(&mut self, now: Instant, issuer: usize, token: &str, claims: Claims) {
        if self.0.len() >= KNOWN_MAX {
            self.0.retain(|_, (until, _)| *until > now);
        }
        if self.0.len() < KNOWN_MAX {
            let row = (now + KNOWN, claims);
            self.0.insert((issuer, sha256_base64url(token)), row);
        }
    }
}

impl Core {
    /// How far clocks may differ: what an issuer's may always, and what ours is seen to be off.
    pub(super) fn clock_leeway(&self) -> Duration {
        let seen = self.links.iter().filter_map(|l| l.skew_ms);
        let seen = seen.map(i64::unsigned_abs).max().unwrap_or(0);
        Duration::from_millis(30_000 + seen.min(30_000))
    }

    /// A task asks about a token that it cannot judge alone.
    pub(in crate::core) fn bearer(
        &mut self,
        now: Now,
        id: AskId,
        domain: &str,
        client: Option<IpAddr>,
        token: Secret<String>,
    ) {
        let row = self.sso.find(domain);
        let Some((domain, issuer)) = row.and_then(|(n, d)| Some((n, d.tokens.as_ref()?.0))) else {
            let reply = plain(401, vec![("WWW-Authenticate", BASIC.into())]);
            return self.refuse(id, true, reply);
        };
        let case = Case {
            id,
            client,
            domain,
            issuer,
            token,
            asks: false,
            then: Then::Pass,
        };
        self.show(now, case);
    }

    /// Judges a token, unless its source has shown too many that were forged.
    pub(super) fn show(&mut self, now: Now, case: Case) {
        let banned = case
            .client
            .and_then(|ip| self.sso.strikes.banned(now.instant, ip));
        if let Some(rest) = banned {
            let later = ("Retry-After", (rest.as_secs() + 1).to_string());
            self.board.counters.sign_ins_refused += 1;
            return self.refuse(case.id, case.is_pass(), plain(429, vec![later]));
        }
        self.judge(now, case, true);
    }

    fn judge(&mut self, now: Now, case: Case, may_ask: bool) {
        let leeway = self.clock_leeway();
        let Some(issuer) = self.sso.issuers.get(case.issuer) else {
            return;
        };
        let (rules, token) = (&issuer.rules, case.token.expose());
        let found = match &case.then {
            Then::Login(login) => {
                let nonce = login.nonce().unwrap_or_default();
                ::sso::oidc::check(rules, &issuer.keys, now.unix, leeway, nonce, token)
            }
            _ => match self.sso.introspections.get(now, case.issuer, token) {
                Some(claims) => Ok(claims.clone()),
                None => rules.check(&issuer.keys, now.unix, leeway, token),
            },
        };
        match found {
            Ok(claims) => self.token_good(now, case, &claims),
            Err(BearerError::Jws(JwsError::UnknownKey)) if may_ask && issuer.may_know_more(now) => {
                let index = case.issuer;
                if self.wait(case, false).is_some() {
                    self.ask_issuer(now, index);
                }
            }
            // It cannot be told: no word against the token.
            Err(BearerError::Jws(JwsError::UnknownKey)) if issuer.is_dumb() => {
                self.unjudged(now, &case, "the issuer's keys are not known");
            }
            // Asked a moment ago, about another: the key may be newer than that.
            Err(BearerError::Jws(JwsError::UnknownKey)) if may_ask => {
                let later = ("Retry-After", "30".to_owned());
                self.refuse(case.id, case.is_pass(), plain(503, vec![later]));
            }
            Err(e) if self.can_be_looked_up(&case, &e) => self.look_up(now, case),
            Err(e) => self.token_refused(now, &case, &e),
        }
    }

    /// Keeps a case until its issuer has answered, whom it `asks` by itself; its number, or it is
    /// answered at once.
    pub(super) fn wait(&mut self, mut case: Case, asks: bool) -> Option<u64> {
        case.asks = asks;
        let source = case.client.map(whole);
        let (mut of_source, mut asking, mut asking_of_source) = (0, 0, 0);
        for other in self.sso.cases.values() {
            let same = source.is_some() && other.client.map(whole) == source;
            of_source += usize::from(same);
            asking += usize::from(other.asks);
            asking_of_source += usize::from(same && other.asks);
        }
        let is_full = self.sso.cases.len() >= CASES_MAX || of_source >= OF_SOURCE_MAX;
        let too_many = asking >= ASKING_MAX || asking_of_source >= ASKING_OF_SOURCE_MAX;
        if is_full || (asks && too_many) {
            let later = ("Retry-After", "5".to_owned());
            self.refuse(case.id, case.is_pass(), plain(503, vec![later]));
            return None;
        }
        let number = self.sso.next;
        self.sso.next += 1;
        self.sso.cases.insert(number, case);
        Some(number)
    }

    /// An issuer has answered, or could not: what waited for it is judged by what is known now.
    pub(super) fn issuer_spoke(&mut self, now: Now, issuer: usize) {
        let waiting = self.sso.cases.iter().filter(|(_, c)| c.issuer == issuer);
        let waiting = waiting.filter(|(_, c)| !c.asks);
        let mut waiting: Vec<u64> = waiting.map(|(n, _)| *n).collect();
        waiting.sort_unstable();
        for number in waiting {
            if let Some(case) = self.sso.cases.remove(&number) {
                self.judge(now, case, false);
            }
        }
    }

    fn can_be_looked_up(&self, case: &Case, error: &BearerError) -> bool {
        let domain = self.sso.domains.get(case.domain);
        let lookup = domain.and_then(|d| d.tokens.as_ref()?.1.as_ref());
        let issuer = self.sso.issuers.get(case.issuer);
        let reads = issuer.is_some_and(|i| i.rules.reads(case.token.expose()));
        let opaque = matches!(error, BearerError::Closed | BearerError::Sealed(_)) || !reads;
        lookup.is_some() && opaque && !matches!(case.then, Then::Login(_))
    }

    fn look_up(&mut self, now: Now, case: Case) {
        let domain = self.sso.domains.get(case.domain);
        let lookup = domain.and_then(|d| d.tokens.as_ref()?.1.as_ref());
        let Some((url, client)) = lookup else {
            return;
        };
        let secret = client.secret.clone().unwrap_or_default();
        let (url, id) = (url.clone(), client.id.clone());
        let token = case.token.expose().clone();
        if token.len() > ::sso::jws::CHARACTERS_MAX {
            let long = JwsError::Malformed("it is longer than 8 KiB");
            return self.token_refused(now, &case, &long.into());
        }
        let Some(number) = self.wait(case, true) else {
            return;
        };
        let fields = [
            ("token", token.as_str()),
            ("token_type_hint", "access_token"),
        ];
        let form = Form {
            basic: Some((Pii::new(id), secret)),
            body: form(&fields),
        };
        self.fetch(Asked::Sso(Why::LookUp(number)), &url, Some(form));
    }

    pub(in crate::core) fn looked_up(
        &mut self,
        now: Now,
        number: u64,
        result: Result<Fetched, FetchError>,
    ) {
        let Some(case) = self.sso.cases.remove(&number) else {
            return;
        };
        let body = match result {
            Ok(got) if got.status == 200 => got.body,
            Ok(got) => {
                let cause = format!("the introspection was answered {}", got.status);
                return self.unjudged(now, &case, &cause);
            }
            Err(e) => return self.unjudged(now, &case, &e.to_string()),
        };
        let leeway = self.clock_leeway();
        let Some(issuer) = self.sso.issuers.get(case.issuer) else {
            return;
        };
        match issuer.rules.introspected(&body, now.unix, leeway) {
            Ok(claims) => {
                let token = case.token.expose();
                let noted = &mut self.sso.introspections;
                noted.note(now.instant, case.issuer, token, claims.clone());
                self.token_good(now, case, &claims);
            }
            Err(e) => self.token_refused(now, &case, &e),
        }
    }

    fn token_good(&mut self, now: Now, case: Case, claims: &Claims) {
        let (user, domain) = (claims.user.expose(), self.domain_name(case.domain));
        let login = matches!(case.then, Then::Login(_));
        if !login && self.outs.known.is_void(user, domain, claims.issued) {
            return self.token_refused(now, &case, &BearerError::SignedOut);
        }
        match case.then {
            Then::Pass => {
                let answer = Answer::Bearer(Ok(claims.user.clone()));
                let id = case.id;
                self.station.out.push_back(Output::Answer { id, answer });
            }
            Then::Config(asked) => {
                let user = claims.user.expose().clone();
                let session = super::sign_on::Session {
                    until: Some(claims.expires),
                    token: None,
                };
                self.edge_config_for(now, case.id, *asked, user, session);
            }
            Then::Login(login) => {
                let user = claims.user.expose().clone();
                self.signed_on(now, case.id, &login, user, None);
            }
        }
    }

    /// Tells the client, counts, and tells of it.
    fn token_refused(&mut self, now: Now, case: &Case, error: &BearerError) {
        let seen = self
            .sso
            .introspections
            .saw(case.issuer, case.token.expose());
        let forged = error.is_forged() || (*error == BearerError::Inactive && !seen);
        let kind = match error {
            BearerError::NotYet { .. } => Kind::IssuerClock,
            BearerError::Expired { .. } => Kind::TokenExpired,
            BearerError::SignedOut => Kind::TokenExpired,
            BearerError::Inactive if seen => Kind::TokenExpired,
            BearerError::NoUser(_) => Kind::UserUnnamed,
            _ if forged => Kind::TokenForged,
            _ => Kind::TokenUnfit,
        };
        self.board.counters.sign_ins_refused += u64::from(forged);
        let mut cause = error.to_string();
        if matches!(
            error,
            BearerError::NotYet { .. } | BearerError::Expired { .. }
        ) {
            cause.push_str(&self.skew_in_words());
        }
        self.tell_of_sso(now, kind, case.domain, case.client, &cause);
        if forged {
            self.struck(
                now,
                case.domain,
                case.client,
                "ten forged tokens within five minutes",
            );
        }
        if let Then::Login(login) = &case.then {
            let reply = super::pages::refused(403, "The identity provider's answer is refused.");
            let _ = login;
            return self.answer_sso(case.id, reply);
        }
        let description = match error {
            BearerError::Expired { .. } => "The token has expired",
            _ => "The token is not accepted",
        };
        let challenge = format!(
            "Bearer realm=\"{}\", error=\"invalid_token\", error_description=\"{description}\"",
            self.domain_name(case.domain)
        );
        let reply = plain(401, vec![("WWW-Authenticate", challenge)]);
        self.refuse(case.id, case.is_pass(), reply);
    }

    /// Counts against a source, and tells if it was the one too many.
    pub(super) fn struck(&mut self, now: Now, domain: usize, client: Option<IpAddr>, cause: &str) {
        if let Some(ip) = client
            && self.sso.strikes.strike(now.instant, ip)
        {
            self.tell_of_sso(now, Kind::Banned, domain, client, cause);
        }
    }

    /// The token may be good: the client is to come again.
    fn unjudged(&mut self, now: Now, case: &Case, cause: &str) {
        let kind = Kind::IssuerUnreachable;
        self.tell_of_sso(now, kind, case.domain, case.client, cause);
        let later = ("Retry-After", "5".to_owned());
        self.refuse(case.id, case.is_pass(), plain(503, vec![later]));
    }

    /// How far clocks are known to differ, as the end of a cause.
    pub(super) fn skew_in_words(&self) -> String {
        let worst = self.links.iter().filter(|l| l.skewed).filter_map(|l| {
            let skew_ms = l.skew_ms?;
            Some((skew_ms.unsigned_abs(), skew_ms, &l.peer.verify_name))
        });
        match worst.max() {
            None => String::new(),
            Some((_, skew_ms, edge)) => {
                let words = traversal::skew_in_words(skew_ms);
                format!("; the clock of {edge} is {words} this core's: synchronise both by NTP")
            }
        }
    }

    pub(super) fn tell_of_sso(
        &mut self,
        now: Now,
        kind: Kind,
        domain: usize,
        client: Option<IpAddr>,
        cause: &str,
    ) {
        let mut proof = vec![("domain", self.domain_name(domain).to_owned())];
        let domain = self.sso.domains.get(domain);
        if let Some((issuer, _)) = domain.and_then(|d| d.tokens.as_ref())
            && let Some(issuer) = self.sso.issuers.get(*issuer)
        {
            proof.push(("issuer", issuer.rules.issuer.clone()));
        }
        let out = &mut self.station.out;
        if kind == Kind::TokenExpired {
            // Nobody has to look at it.
            return self.board.caused(out, kind, now, client, cause, &proof);
        }
        self.board.warned(out, kind, now, client, cause, &proof);
    }

    pub(super) fn domain_name(&self, domain: usize) -> &str {
        self.sso.domains.get(domain).map_or("", |d| &d.name)
    }

    /// Answers a request that goes no further; `pass` says which question it was.
    pub(super) fn refuse(&mut self, id: AskId, pass: bool, reply: Reply) {
        let answer = if pass {
            Answer::Bearer(Err(reply))
        } else {
            Answer::SignIn(reply)
        };
        self.station.out.push_back(Output::Answer { id, answer });
    }

    pub(super) fn answer_sso(&mut self, id: AskId, reply: Reply) {
        self.refuse(id, false, reply);
    }
}

impl Case {
    fn is_pass(&self) -> bool {
        matches!(self.then, Then::Pass)
    }
}

/// As password sign-ins are challenged.
pub(super) const BASIC: &str = "Basic realm=\"Cisco-Edge\"";

pub(super) fn plain(status: u16, headers: Vec<(&'static str, String)>) -> Reply {
    Reply {
        status,
        headers,
        body: String::new(),
    }
}

/// The earlier of two ends of a session.
pub(super) fn earlier(a: UnixTime, b: Option<UnixTime>) -> UnixTime {
    b.map_or(a, |b| a.min(b))
}
