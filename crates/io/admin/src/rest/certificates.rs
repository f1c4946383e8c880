//! `/api/v1/certificates`: the node's certificate, the names it needs, its request, whom it trusts.
//!
//! A private key comes in with an upload and never goes out: the one of a request stays in the data
//! folder. Bounds: bodies of 4 MiB.

use std::time::Duration;

use certificates::names::{self, Known};
use certificates::request::{KeyChoice, Wish};
use certificates::trusted::{Store, TrustFault};
use driver::signal::Handle;
use http::request::Parts;
use http::{Method, Response, StatusCode};
use net::http::Body;
use serde::{Deserialize, Serialize};

use super::{json, not_allowed, problem, text};
use crate::certificates::files::{self, FilesFault};
use crate::certificates::{Desk, Judged, NamesReport, Row, judge, known};

/// The largest body, in bytes: a chain and a key, or a bundle of authorities.
const BODY_MAX: usize = 4 * 1024 * 1024;

/// How long it may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(30);

const FIX: &str = "ask for /api/v1/certificates, /names, /check, /request, /install, /reload or \
                   /trusted under it";

/// A chain, and a key that may be left out.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sent {
    chain: String,
    #[serde(default)]
    key: Option<String>,
    #[serde(default)]
    force: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SentTrusted {
    pem: String,
}

#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
struct SentWish {
    names: Vec<String>,
    key: Option<String>,
    organisation: Option<String>,
    unit: Option<String>,
    locality: Option<String>,
    state: Option<String>,
    country: Option<String>,
}

#[derive(Serialize)]
struct Overview {
    #[serde(flatten)]
    judged: Judged,
    trusted: Vec<Row>,
    peers: Vec<PeerRow>,
}

#[derive(Serialize)]
struct PeerRow {
    wanted: String,
    names: Vec<String>,
    fingerprint: String,
    not_after: String,
}

#[derive(Serialize)]
struct RequestMade {
    request: String,
    names: Vec<String>,
}

#[derive(Serialize)]
struct Taken {
    changed: bool,
    names: Vec<String>,
    not_after: String,
    fingerprint: String,
    trusted: usize,
}

#[derive(Serialize)]
struct AddedRow {
    certificate: Row,
    known: bool,
    note: Option<String>,
}

/// Answers a request to `/api/v1/certificates` or a path under it; `below` is what follows.
pub(super) async fn answer(
    handle: &Handle,
    desk: Option<&Desk>,
    request: &Parts,
    sent: Body,
    below: &str,
) -> Response<Body> {
    let Some(desk) = desk else {
        let fix = "ask the node's own REST address or socket";
        return problem(StatusCode::NOT_FOUND, "there are no certificates here", fix);
    };
    let get = request.method == Method::GET;
    let post = request.method == Method::POST;
    match below {
        "" if get => overview(handle, desk).await,
        "/names" if get => {
            let known = known(handle, &desk.gates).await;
            let needs = names::needed(desk.certificates.config(), &known);
            json(
                StatusCode::OK,
                "application/json",
                &NamesReport { needs, known },
            )
        }
        "/check" if post => check(handle, desk, sent).await,
        "/request" if post => make_request(handle, desk, sent).await,
        "/install" if post => install(handle, desk, sent).await,
        "/reload" if post => taken(desk, handle, "an administrator asked").await,
        "/trusted" if get => trusted(desk),
        "/trusted" if post => trust(desk, handle, sent).await,
        "" | "/names" => not_allowed("GET", "only GET is answered here"),
        "/trusted" => not_allowed("GET, POST", "only GET and POST are answered here"),
        "/check" | "/request" | "/install" | "/reload" => {
            not_allowed("POST", "only POST is answered here")
        }
        below => match below.strip_prefix("/trusted/") {
            Some(mark) if request.method == Method::DELETE => distrust(desk, handle, mark).await,
            Some(_) => not_allowed("DELETE", "only DELETE is answered here"),
            None => problem(StatusCode::NOT_FOUND, "there is no such resource", FIX),
        },
    }
}

/// What is in use: the chain and key judged, and everybody whose certificate matters.
async fn overview(handle: &Handle, desk: &Desk) -> Response<Body> {
    let known = known(handle, &desk.gates).await;
    let now = desk.clock.now().unix;
    let config = desk.certificates.config().clone();
    let judged = blocking(move || {
        let trusted = files::trusted(&config)?;
        let read = |path: &std::path::Path| {
            certificates::read::file(path).map_err(|source| FilesFault::File {
                path: path.to_owned(),
                source,
            })
        };
        let chain = read(&config.certificate.chain)?;
        let key = read(&config.certificate.key)?;
        let report = judge(&config, &known, &trusted, (&chain, Some(&key)), now);
        let rows = trusted.iter().map(|c| Row::of(c, now)).collect();
        Ok((Judged::of(report, now), rows))
    });
    let (judged, trusted) = match judged.await {
        Ok(done) => done,
        Err(refusal) => return refusal,
    };
    let peers = desk.certificates.seen().peers().into_iter();
    let peers = peers.map(|peer| PeerRow {
        wanted: peer.wanted,
        names: peer.certificate.dns_names,
        fingerprint: peer.certificate.fingerprint,
        not_after: peer.certificate.not_after.to_string(),
    });
    let overview = Overview {
        judged,
        trusted,
        peers: peers.collect(),
    };
    json(StatusCode::OK, "application/json", &overview)
}

async fn check(handle: &Handle, desk: &Desk, sent: Body) -> Response<Body> {
    let sent: Sent = match body(sent).await {
        Ok(sent) => sent,
        Err(refusal) => return refusal,
    };
    let known = known(handle, &desk.gates).await;
    let now = desk.clock.now().unix;
    let config = desk.certificates.config().clone();
    let judged = blocking(move || {
        let trusted = files::trusted(&config)?;
        let key = sent.key.as_deref().map(str::as_bytes);
        let report = judge(&config, &known, &trusted, (sent.chain.as_bytes(), key), now);
        Ok(Judged::of(report, now))
    });
    match judged.await {
        Ok(judged) => json(StatusCode::OK, "application/json", &judged),
        Err(refusal) => refusal,
    }
}

async fn make_request(handle: &Handle, desk: &Desk, sent: Body) -> Response<Body> {
    let sent: SentWish = match body(sent).await {
        Ok(sent) => sent,
        Err(refusal) => return refusal,
    };
    let Some(key) = key_choice(sent.key.as_deref().unwrap_or("rsa-2048")) else {
        let fix = "give key as rsa-2048, rsa-3072, rsa-4096, ec-p256 or ec-p384";
        return problem(StatusCode::BAD_REQUEST, "there is no such kind of key", fix);
    };
    let config = desk.certificates.config().clone();
    let known = known(handle, &desk.gates).await;
    let mut names = wanted(&config, &known);
    names.extend(sent.names);
    let wish = Wish {
        common_name: config.fqdn(),
        names: names.clone(),
        organisation: sent.organisation,
        unit: sent.unit,
        locality: sent.locality,
        state: sent.state,
        country: sent.country,
        key,
    };
    match blocking(move || files::request(&config, &wish)).await {
        Ok(made) => {
            let made = RequestMade {
                request: made.request,
                names,
            };
            json(StatusCode::CREATED, "application/json", &made)
        }
        Err(refusal) => refusal,
    }
}

/// The names that a request is filled in with: those that are needed, and those that are advised.
pub(crate) fn wanted(config: &config::Config, known: &Known) -> Vec<String> {
    let needs = names::needed(config, known);
    needs.names.into_iter().map(|need| need.name).collect()
}

/// A kind of key by its name.
fn key_choice(name: &str) -> Option<KeyChoice> {
    Some(match name {
        "rsa-2048" => KeyChoice::Rsa2048,
        "rsa-3072" => KeyChoice::Rsa3072,
        "rsa-4096" => KeyChoice::Rsa4096,
        "ec-p256" => KeyChoice::EcP256,
        "ec-p384" => KeyChoice::EcP384,
        _ => return None,
    })
}

async fn install(handle: &Handle, desk: &Desk, sent: Body) -> Response<Body> {
    let sent: Sent = match body(sent).await {
        Ok(sent) => sent,
        Err(refusal) => return refusal,
    };
    let known = known(handle, &desk.gates).await;
    let now = desk.clock.now().unix;
    let config = desk.certificates.config().clone();
    let put = blocking(move || {
        let key = sent.key.as_deref().map(str::as_bytes);
        let chain = sent.chain.as_bytes();
        files::install(&config, &known, chain, key, sent.force, now).map(drop)
    });
    match put.await {
        Ok(()) => taken(desk, handle, "an administrator put a certificate in place").await,
        Err(refusal) => refusal,
    }
}

async fn taken(desk: &Desk, handle: &Handle, why: &str) -> Response<Body> {
    match desk.certificates.take(handle, why).await {
        Ok(reloaded) => {
            let own = reloaded.certificate;
            let own = own.as_ref();
            let taken = Taken {
                changed: reloaded.changed,
                names: own.map(|c| c.dns_names.clone()).unwrap_or_default(),
                not_after: own.map(|c| c.not_after.to_string()).unwrap_or_default(),
                fingerprint: own.map(|c| c.fingerprint.clone()).unwrap_or_default(),
                trusted: reloaded.trusted,
            };
            json(StatusCode::OK, "application/json", &taken)
        }
        Err(fault) => {
            let fix = "see causeway ctl certificate check; what was in use stays in use";
            problem(StatusCode::CONFLICT, &fault.to_string(), fix)
        }
    }
}

fn trusted(desk: &Desk) -> Response<Body> {
    let now = desk.clock.now().unix;
    match desk.certificates.store().list() {
        Ok(all) => {
            let rows: Vec<Row> = all.iter().map(|c| Row::of(c, now)).collect();
            json(StatusCode::OK, "application/json", &rows)
        }
        Err(fault) => refused(&fault),
    }
}

async fn trust(desk: &Desk, handle: &Handle, sent: Body) -> Response<Body> {
    let sent: SentTrusted = match body(sent).await {
        Ok(sent) => sent,
        Err(refusal) => return refusal,
    };
    let now = desk.clock.now().unix;
    let added = match desk.certificates.store().add(sent.pem.as_bytes(), now) {
        Ok(added) => added,
        Err(fault) => return refused(&fault),
    };
    let answer = taken(desk, handle, "an authority was added").await;
    if !answer.status().is_success() {
        return answer;
    }
    let row = |one: &certificates::trusted::Added| AddedRow {
        certificate: Row::of(&one.certificate, now),
        known: one.known,
        note: one.note.clone(),
    };
    let rows: Vec<AddedRow> = added.iter().map(row).collect();
    json(StatusCode::CREATED, "application/json", &rows)
}

async fn distrust(desk: &Desk, handle: &Handle, mark: &str) -> Response<Body> {
    let store: &Store = desk.certificates.store();
    match store.remove(mark) {
        Ok(gone) => {
            let answer = taken(desk, handle, "an authority was removed").await;
            match answer.status().is_success() {
                true => {
                    let row = Row::of(&gone, desk.clock.now().unix);
                    json(StatusCode::OK, "application/json", &row)
                }
                false => answer,
            }
        }
        Err(fault) => refused(&fault),
    }
}

fn refused(fault: &TrustFault) -> Response<Body> {
    let (status, fix) = match fault {
        TrustFault::Which(_) => (StatusCode::NOT_FOUND, "name it by its fingerprint"),
        TrustFault::Content(_) => (StatusCode::BAD_REQUEST, "send certificates in PEM"),
        TrustFault::Full => (StatusCode::CONFLICT, "remove those that nobody needs"),
        TrustFault::File { .. } | TrustFault::Spoilt { .. } => (
            StatusCode::CONFLICT,
            "mend the folder of trusted authorities",
        ),
    };
    problem(status, &fault.to_string(), fix)
}

/// A body of JSON.
async fn body<T: serde::de::DeserializeOwned>(sent: Body) -> Result<T, Response<Body>> {
    let bad = |detail: &str| {
        let fix = "send a JSON object as docs/configuration.md describes it";
        problem(StatusCode::BAD_REQUEST, detail, fix)
    };
    let whole = tokio::time::timeout(BODY_TIME, text(sent, BODY_MAX)).await;
    let whole = whole.map_err(|_| bad("the body did not come in time"))?;
    let whole = whole.map_err(|detail| bad(&detail))?;
    // A parser's error quotes what was sent, and that may be a key: the place is told alone.
    serde_json::from_slice(&whole).map_err(|e| {
        let place = format!(
            "the body is not what is wanted here, from line {} column {} on",
            e.line(),
            e.column()
        );
        bad(&place)
    })
}

/// Work with files and keys, off the threads that serve others.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FilesFault> + Send + 'static,
) -> Result<T, Response<Body>> {
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(fault)) => {
            let status = match &fault {
                FilesFault::File { .. } | FilesFault::Trust(_) => StatusCode::CONFLICT,
                _ => StatusCode::BAD_REQUEST,
            };
            let fix = "see causeway ctl certificate check; nothing has been changed";
            Err(problem(status, &fault.to_string(), fix))
        }
        Err(_) => {
            let fix = "see the log, and ask again";
            let failed = problem(StatusCode::INTERNAL_SERVER_ERROR, "it failed", fix);
            Err(failed)
        }
    }
}

#[cfg(test)]
mod tests;
