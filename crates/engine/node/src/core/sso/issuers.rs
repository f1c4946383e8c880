//! Issuers of tokens: where their documents are, and the keys that check what they sign.
//!
//! Asked at the start, every hour, and when a token names a key that is not known, then at most
//! every [`AGAIN`]. What was good stays good while an issuer cannot be reached. Bounds: one row a
//! domain and purpose, those of [`sso::jws::Keys`].

use std::sync::Arc;
use std::time::Duration;

use ::sso::bearer::Rules;
use ::sso::jws::Keys;
use ::sso::oidc::{self, Provider};
use ::sso::url::Url;
use base::{Instant, Now};
use status::Kind;

use crate::core::sso::Why;
use crate::core::{Asked, Core};
use crate::io::{AskId, Fetch, FetchError, Fetched, Output};

/// How long keys are taken for current.
const CURRENT: Duration = Duration::from_secs(3600);

/// How soon an issuer is asked again, whatever tokens say.
const AGAIN: Duration = Duration::from_secs(30);

/// How soon one is that could not be reached.
const RETRY: Duration = Duration::from_secs(60);

/// A document of an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::core) enum Paper {
    /// Where everything is.
    Discovery,
    /// The keys.
    Keys,
}

/// One issuer.
pub(in crate::core) struct Issuer {
    pub(super) rules: Rules,
    /// Where its keys are, if that is configured; else its discovery document says.
    keys_at: Option<Url>,
    pub(super) provider: Option<Provider>,
    pub(super) keys: Arc<Keys>,
    due: Instant,
    asked: Option<Instant>,
    under_way: bool,
    failing: bool,
}

impl Issuer {
    pub(super) fn new(now: Now, rules: Rules, keys_at: Option<Url>) -> Self {
        Issuer {
            rules,
            keys_at,
            provider: None,
            keys: Arc::default(),
            due: now.instant,
            asked: None,
            under_way: false,
            failing: false,
        }
    }

    /// Whether asking it may tell of a key that is not known.
    pub(super) fn may_know_more(&self, now: Now) -> bool {
        let lately = self.asked.is_some_and(|at| at + AGAIN > now.instant);
        self.under_way || !lately
    }

    /// Whether it cannot be told what its keys are.
    pub(super) fn is_dumb(&self) -> bool {
        self.failing || self.keys.is_empty()
    }
}

impl Core {
    pub(in crate::core) fn issuers_timeout(&mut self, now: Now) {
        let due = |i: &Issuer| !i.under_way && i.due <= now.instant;
        let rows = self.sso.issuers.iter().enumerate();
        let due: Vec<usize> = rows.filter(|(_, i)| due(i)).map(|(n, _)| n).collect();
        for index in due {
            self.ask_issuer(now, index);
        }
    }

    pub(in crate::core) fn issuers_poll_timeout(&self) -> Option<Instant> {
        let waiting = self.sso.issuers.iter().filter(|i| !i.under_way);
        waiting.map(|i| i.due).min()
    }

    /// Begins to ask, unless that is under way.
    pub(super) fn ask_issuer(&mut self, now: Now, index: usize) {
        let Some(issuer) = self.sso.issuers.get_mut(index) else {
            return;
        };
        if issuer.under_way {
            return;
        }
        issuer.under_way = true;
        issuer.asked = Some(now.instant);
        let (paper, url) = match &issuer.keys_at {
            Some(url) => (Paper::Keys, Ok(url.clone())),
            None => (Paper::Discovery, oidc::discovery(&issuer.rules.issuer)),
        };
        match url {
            Ok(url) => {
                self.fetch(Asked::Sso(Why::Issuer(index, paper)), &url, None);
            }
            Err(cause) => self.issuer_failed(now, index, cause),
        }
    }

    /// A request to an identity provider, posting a form if there is one.
    pub(super) fn fetch(&mut self, asked: Asked, url: &Url, form: Option<Form>) -> AskId {
        let id = self.ask(asked);
        let mut headers = vec![("Accept", "application/json".to_owned())];
        let (method, basic, body) = match form {
            None => ("GET", None, String::new()),
            Some(form) => {
                let kind = "application/x-www-form-urlencoded".to_owned();
                headers.push(("Content-Type", kind));
                ("POST", form.basic, form.body)
            }
        };
        let request = Fetch {
            method,
            scheme: "https",
            host: url.host.clone(),
            port: url.port,
            path: url.path.clone(),
            basic,
            headers,
            body,
            tls_verify: true,
        };
        self.station.out.push_back(Output::Fetch { id, request });
        id
    }

    pub(in crate::core) fn issuer_answered(
        &mut self,
        now: Now,
        index: usize,
        paper: Paper,
        result: Result<Fetched, FetchError>,
    ) {
        let body = match result {
            Ok(got) if got.status == 200 => got.body,
            Ok(got) => {
                let cause = format!("{} was answered {}", paper.name(), got.status);
                return self.issuer_failed(now, index, &cause);
            }
            Err(e) => return self.issuer_failed(now, index, &e.to_string()),
        };
        let Some(issuer) = self.sso.issuers.get_mut(index) else {
            return;
        };
        match paper {
            Paper::Discovery => match Provider::read(&issuer.rules.issuer, &body) {
                Ok(provider) => {
                    let url = provider.keys.clone();
                    issuer.provider = Some(provider);
                    self.fetch(Asked::Sso(Why::Issuer(index, Paper::Keys)), &url, None);
                }
                Err(cause) => self.issuer_failed(now, index, &cause),
            },
            Paper::Keys => match Keys::read(&body) {
                Ok(keys) => self.keys_came(now, index, keys),
                Err(cause) => self.issuer_failed(now, index, cause),
            },
        }
    }

    fn keys_came(&mut self, now: Now, index: usize, keys: Keys) {
        let Some(issuer) = self.sso.issuers.get_mut(index) else {
            return;
        };
        issuer.under_way = false;
        issuer.due = now.instant + CURRENT;
        let recovered = std::mem::replace(&mut issuer.failing, false);
        if *issuer.keys != keys || recovered {
            let proof = [
                ("issuer", issuer.rules.issuer.clone()),
                ("keys", keys.len().to_string()),
            ];
            issuer.keys = Arc::new(keys);
            let (out, kind) = (&mut self.station.out, Kind::IssuerKeys);
            self.board.event(out, kind, now, "", &proof);
            self.publish_gate();
        }
        self.issuer_spoke(now, index);
    }

    fn issuer_failed(&mut self, now: Now, index: usize, cause: &str) {
        let Some(issuer) = self.sso.issuers.get_mut(index) else {
            return;
        };
        issuer.under_way = false;
        issuer.due = now.instant + RETRY;
        let told = std::mem::replace(&mut issuer.failing, true);
        if !told {
            let proof = [
                ("issuer", issuer.rules.issuer.clone()),
                ("keys", issuer.keys.len().to_string()),
            ];
            let (out, kind) = (&mut self.station.out, Kind::IssuerUnreachable);
            self.board.event(out, kind, now, cause, &proof);
        }
        self.issuer_spoke(now, index);
    }
}

/// What is posted.
pub(super) struct Form {
    pub(super) basic: Option<(base::Pii<String>, base::Secret<String>)>,
    pub(super) body: String,
}

impl Paper {
    fn name(self) -> &'static str {
        match self {
            Paper::Discovery => "the discovery document",
            Paper::Keys => "the key set",
        }
    }
}
