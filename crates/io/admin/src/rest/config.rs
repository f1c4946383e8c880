//! `/api/v1/config`: the settings as one document and item by item, their history, and the ways
//! in and out.
//!
//! What is shown has the revision as its ETag; who changes it says for which revision (`If-Match`,
//! RFC 9110 §13.1.1), or `*`. A document is TOML or JSON by its `Content-Type`; PATCH is a merge
//! patch (RFC 7396). Secrets are never shown, and stay what they are where they are left out.
//! Bounds: `BODY_MAX`, `BODY_TIME`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use base::Secret;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use config::document::{BYTES_MAX, Document, Misfit};
use http::header::{ACCEPT, CONTENT_TYPE, ETAG, IF_MATCH};
use http::request::Parts;
use http::{HeaderValue, Method, Response, StatusCode};
use net::http::{Body, full};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json as object};
use store::Error;
use toml::Table;

use super::{Problem, json, not_allowed, problem, text};
use crate::query;
use crate::settings::{Desk, Order, Outcome, Refusal};

/// The longest body that is read, in bytes: a document, or a backup of one as base64.
const BODY_MAX: usize = 3 * BYTES_MAX;

/// How long a body may take to arrive.
const BODY_TIME: Duration = Duration::from_secs(60);

/// Revisions that are told unless others are asked for.
const HISTORY: usize = 50;

/// A document to be applied, with what belongs to it.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Apply {
    /// TOML.
    pub document: String,
    /// From where its relative paths are taken; the data folder by default.
    pub folder: Option<PathBuf>,
    /// What opens an export's sealed secrets.
    pub passphrase: Option<String>,
    /// Who, why, for which revision.
    pub order: Order,
}

/// A wish to go back.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Rollback {
    /// The revision; the last but one by default.
    pub to: Option<u64>,
    /// Who, why, for which revision.
    pub order: Order,
}

/// A backup to be restored.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Restore {
    /// The backup, as base64.
    pub backup: String,
    /// What opens it.
    pub passphrase: String,
    /// Who, why, for which revision.
    pub order: Order,
}

/// What seals an export or a backup.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Seal {
    /// The passphrase; an export without one leaves secrets out.
    pub passphrase: Option<String>,
}

/// A backup.
#[derive(Debug, Serialize, Deserialize)]
pub struct Sealed {
    /// As base64.
    pub backup: String,
}

/// What waits for the node's next start.
#[derive(Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// The revision that is there.
    pub revision: u64,
    /// `section.key`, or an entry's path.
    pub waiting: Vec<String>,
}

/// A request, read.
struct Asked {
    method: Method,
    below: String,
    query: String,
    /// What `If-Match` says: nothing, any, or a revision.
    expected: Option<Option<u64>>,
    as_toml: bool,
    body: Vec<u8>,
    via: String,
}

/// Answers a request to `/api/v1/config` or a path under it; `below` is what follows.
pub(super) async fn answer(
    desk: Option<&Arc<Desk>>,
    via: &str,
    request: &Parts,
    body: Body,
    below: &str,
) -> Response<Body> {
    let Some(desk) = desk.cloned() else {
        return problem(
            StatusCode::NOT_FOUND,
            "this node runs by a file, and its settings are changed there",
            "change the file and start the node again, or run the node with --state DIR",
        );
    };
    let sent = tokio::time::timeout(BODY_TIME, text(body, BODY_MAX)).await;
    let sent = match sent {
        Ok(Ok(sent)) => sent,
        Ok(Err(detail)) => return problem(StatusCode::PAYLOAD_TOO_LARGE, &detail, "send less"),
        Err(_) => {
            let detail = "the body did not come in time";
            return problem(StatusCode::REQUEST_TIMEOUT, detail, "send it faster");
        }
    };
    let header = |name| request.headers.get(name).and_then(|v| v.to_str().ok());
    let changes = !matches!(request.method, Method::GET | Method::POST);
    let expected = match header(IF_MATCH) {
        None => None,
        Some("*") => Some(None),
        Some(tag) => match tag.trim_matches('"').parse() {
            Ok(revision) => Some(Some(revision)),
            // No tag that was ever given.
            Err(_) => Some(Some(u64::MAX)),
        },
    };
    if changes && expected.is_none() {
        return problem(
            StatusCode::PRECONDITION_REQUIRED,
            "it is not said for which revision the change was made",
            "send If-Match with the ETag that was shown, or *",
        );
    }
    let toml = |name| header(name).is_some_and(|v| v.contains("toml"));
    let asked = Asked {
        as_toml: match request.method {
            Method::GET => toml(ACCEPT),
            _ => toml(CONTENT_TYPE),
        },
        method: request.method.clone(),
        below: below.to_owned(),
        query: request.uri.query().unwrap_or_default().to_owned(),
        expected,
        body: sent,
        via: via.to_owned(),
    };
    // The disk is waited for elsewhere.
    let changes = asked.method != Method::GET;
    let at = desk.clone();
    let answered = tokio::task::spawn_blocking(move || route(&at, &asked));
    let answer = answered.await.unwrap_or_else(|_| {
        problem(
            StatusCode::INTERNAL_SERVER_ERROR,
            "the question could not be answered",
            "the log says why",
        )
    });
    if changes && answer.status().is_success() {
        // Whoever is told that it is done finds the node so.
        desk.settled().await;
    }
    answer
}

fn route(desk: &Desk, asked: &Asked) -> Response<Body> {
    if let Some(path) = asked.below.strip_prefix("/items/") {
        let Some(path) = super::decoded(path) else {
            return problem(
                StatusCode::BAD_REQUEST,
                "the path cannot be read",
                "encode it",
            );
        };
        return item(desk, asked, &path).unwrap_or_else(|r| refused(&r, asked));
    }
    let done = match (asked.below.as_str(), &asked.method) {
        ("", &Method::GET) => whole(desk, asked),
        ("", &Method::PUT | &Method::PATCH) => change(desk, asked, |d| edit_whole(d, asked)),
        ("", _) => return not_allowed("GET, PUT, PATCH", "the document is read and changed here"),
        ("/items", &Method::GET) => items(desk),
        ("/history", &Method::GET) => history(desk, asked),
        ("/waiting", &Method::GET) => waiting(desk),
        ("/items" | "/history" | "/waiting", _) => {
            return not_allowed("GET", "only GET is answered here");
        }
        ("/apply" | "/rollback" | "/export" | "/backup" | "/restore", &Method::POST) => {
            post(desk, asked)
        }
        ("/apply" | "/rollback" | "/export" | "/backup" | "/restore", _) => {
            return not_allowed("POST", "only POST is answered here");
        }
        _ => {
            return problem(
                StatusCode::NOT_FOUND,
                "there is no such resource",
                "ask for /api/v1/config, or items, history, waiting, apply, rollback, export, \
                 backup or restore under it",
            );
        }
    };
    done.unwrap_or_else(|r| refused(&r, asked))
}

/// The document.
fn whole(desk: &Desk, asked: &Asked) -> Result<Response<Body>, Refusal> {
    let (revision, document) = desk.current()?;
    let document = document.without_secrets();
    if asked.as_toml {
        let mut response = Response::new(full(document.text()));
        let kind = HeaderValue::from_static("application/toml");
        response.headers_mut().insert(CONTENT_TYPE, kind);
        return Ok(tagged(response, revision));
    }
    Ok(tagged(ok(&document.table()), revision))
}

/// All items with what they say.
fn items(desk: &Desk) -> Result<Response<Body>, Refusal> {
    let (revision, document) = desk.current()?;
    let document = document.without_secrets();
    let rows = document.items().iter();
    let rows: Vec<Value> = rows
        .map(|i| object!({ "path": i.path, "value": i.table }))
        .collect();
    Ok(tagged(ok(&rows), revision))
}

/// One item, shown or changed.
fn item(desk: &Desk, asked: &Asked, path: &str) -> Result<Response<Body>, Refusal> {
    match asked.method {
        Method::GET => {
            let (revision, document) = desk.current()?;
            let document = document.without_secrets();
            let found = document.get(path).map(|item| ok(&item.table));
            let found = found.ok_or_else(|| Misfit::Absent(path.to_owned()))?;
            Ok(tagged(found, revision))
        }
        Method::PUT => change(desk, asked, |mut document| {
            document.put(path, table(asked)?)?;
            Ok(document)
        }),
        Method::PATCH => change(desk, asked, |mut document| {
            let found = document.get(path).map(|item| item.table.clone());
            let mut table = found.ok_or_else(|| Misfit::Absent(path.to_owned()))?;
            merge(&mut table, patch(asked)?)?;
            document.put(path, table)?;
            Ok(document)
        }),
        Method::DELETE => change(desk, asked, |mut document| {
            document.remove(path)?;
            Ok(document)
        }),
        _ => Ok(not_allowed(
            "GET, PUT, PATCH, DELETE",
            "an item is read and changed here",
        )),
    }
}

fn edit_whole(document: Document, asked: &Asked) -> Result<Document, Refusal> {
    if asked.method == Method::PUT {
        return Ok(Document::of_table(&table(asked)?));
    }
    let mut table = document.table();
    merge(&mut table, patch(asked)?)?;
    Ok(Document::of_table(&table))
}

fn change(
    desk: &Desk,
    asked: &Asked,
    edit: impl FnOnce(Document) -> Result<Document, Refusal>,
) -> Result<Response<Body>, Refusal> {
    let mut order = Order {
        revision: asked.expected.flatten(),
        ..Order::default()
    };
    for (name, value) in query::pairs(&asked.query).map_err(wrong)? {
        match name {
            "author" => order.author = value,
            "reason" => order.reason = value,
            "dry_run" => order.dry_run = !matches!(value.as_str(), "false"),
            _ => return Err(wrong(format!("{name} is not known"))),
        }
    }
    // A document that comes in is one of this node: its paths are taken from the data folder.
    let done = desk.change(&order, &asked.via, edit)?;
    Ok(outcome(&done))
}

fn history(desk: &Desk, asked: &Asked) -> Result<Response<Body>, Refusal> {
    let (mut limit, mut before) = (HISTORY, None);
    for (name, value) in query::pairs(&asked.query).map_err(wrong)? {
        let number = value
            .parse::<u64>()
            .map_err(|_| wrong(format!("{name} is no number")))?;
        match name {
            "limit" => limit = usize::try_from(number).unwrap_or(usize::MAX),
            "before" => before = Some(number),
            _ => return Err(wrong(format!("{name} is not known"))),
        }
    }
    Ok(ok(&desk.history(before, limit)?))
}

fn waiting(desk: &Desk) -> Result<Response<Body>, Refusal> {
    let (revision, document) = desk.current()?;
    let waiting = match document.is_empty() {
        true => Vec::new(),
        false => desk.taken_up(&document)?.1,
    };
    Ok(ok(&Waiting { revision, waiting }))
}

fn post(desk: &Desk, asked: &Asked) -> Result<Response<Body>, Refusal> {
    let secret = |text: Option<String>| text.filter(|t| !t.is_empty()).map(Secret::new);
    let via = asked.via.as_str();
    match asked.below.as_str() {
        "/apply" => {
            let Apply {
                document,
                folder,
                passphrase,
                order,
            } = read(asked)?;
            let (folder, passphrase) = (folder.as_deref(), secret(passphrase));
            let done = desk.apply(&document, folder, passphrase.as_ref(), &order, via)?;
            Ok(outcome(&done))
        }
        "/rollback" => {
            let Rollback { to, order } = read(asked)?;
            Ok(outcome(&desk.rollback(to, &order, via)?))
        }
        "/export" => {
            let passphrase = secret(read::<Seal>(asked)?.passphrase);
            let mut response = Response::new(full(desk.export(passphrase.as_ref())?));
            let kind = HeaderValue::from_static("application/toml");
            response.headers_mut().insert(CONTENT_TYPE, kind);
            Ok(response)
        }
        "/backup" => {
            let passphrase = secret(read::<Seal>(asked)?.passphrase);
            let passphrase = passphrase.ok_or_else(|| wrong("a passphrase is missing".into()))?;
            let backup = STANDARD.encode(desk.backup(&passphrase)?);
            Ok(ok(&Sealed { backup }))
        }
        _ => {
            let Restore {
                backup,
                passphrase,
                order,
            } = read(asked)?;
            let backup = STANDARD.decode(backup);
            let backup = backup.map_err(|_| wrong("the backup is no base64".into()))?;
            let passphrase = Secret::new(passphrase);
            Ok(outcome(&desk.restore(&backup, &passphrase, &order, via)?))
        }
    }
}

fn wrong(detail: String) -> Refusal {
    Refusal::Wrong {
        detail,
        fix: "docs/configuration.md says what may be asked",
    }
}

fn read<T: for<'de> Deserialize<'de>>(asked: &Asked) -> Result<T, Refusal> {
    let body = match asked.body.as_slice() {
        [] => b"{}",
        body => body,
    };
    serde_json::from_slice(body).map_err(|e| wrong(format!("the body cannot be read: {e}")))
}

/// The table in a request's body, TOML or JSON.
fn table(asked: &Asked) -> Result<Table, Refusal> {
    if !asked.as_toml {
        return read(asked);
    }
    let text = std::str::from_utf8(&asked.body);
    let text = text.map_err(|_| wrong("the body is no UTF-8".into()))?;
    // A whole document is told with the line of what is wrong.
    Document::parse(text).map_err(|f| Refusal::Mistakes(vec![(&f).into()]))?;
    toml::from_str(text).map_err(|e| wrong(e.message().to_owned()))
}

fn patch(asked: &Asked) -> Result<serde_json::Map<String, Value>, Refusal> {
    read(asked)
}

/// A merge patch (RFC 7396 §2).
fn merge(table: &mut Table, patch: serde_json::Map<String, Value>) -> Result<(), Refusal> {
    for (key, value) in patch {
        match value {
            Value::Null => {
                table.remove(&key);
            }
            Value::Object(inner) => {
                let there = table
                    .entry(key)
                    .or_insert_with(|| toml::Value::Table(Table::new()));
                if !there.is_table() {
                    *there = toml::Value::Table(Table::new());
                }
                if let Some(there) = there.as_table_mut() {
                    merge(there, inner)?;
                }
            }
            plain => {
                let value = serde_json::from_value(plain);
                let value = value.map_err(|e| wrong(format!("{key} cannot be written: {e}")))?;
                table.insert(key, value);
            }
        }
    }
    Ok(())
}

fn ok(value: &impl Serialize) -> Response<Body> {
    json(StatusCode::OK, "application/json", value)
}

fn outcome(done: &Outcome) -> Response<Body> {
    tagged(ok(done), done.revision)
}

fn tagged(mut response: Response<Body>, revision: u64) -> Response<Body> {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{revision}\"")) {
        response.headers_mut().insert(ETAG, tag);
    }
    response
}

fn refused(refusal: &Refusal, asked: &Asked) -> Response<Body> {
    let detail = refusal.to_string();
    let (status, fix) = match refusal {
        Refusal::Mistakes(found) => {
            let status = StatusCode::UNPROCESSABLE_ENTITY;
            let problem = Problem {
                title: status.canonical_reason().unwrap_or_default(),
                status: status.as_u16(),
                detail: "the settings would have mistakes",
                fix: "mend what findings name; nothing was changed",
                findings: found,
            };
            return json(status, "application/problem+json", &problem);
        }
        Refusal::Misfit(Misfit::Absent(_)) => (
            StatusCode::NOT_FOUND,
            "GET /api/v1/config/items shows those that there are",
        ),
        Refusal::Misfit(_) => (StatusCode::BAD_REQUEST, "name the item as its own keys do"),
        Refusal::Wrong { detail, fix } => return problem(StatusCode::BAD_REQUEST, detail, fix),
        Refusal::Store(Error::Conflict { .. }) => {
            let status = match asked.expected {
                Some(_) => StatusCode::PRECONDITION_FAILED,
                None => StatusCode::CONFLICT,
            };
            (
                status,
                "look at what is there now, and make the change anew",
            )
        }
        Refusal::Store(Error::NoRevision(_)) => (
            StatusCode::NOT_FOUND,
            "GET /api/v1/config/history shows those that there are",
        ),
        Refusal::Store(Error::Passphrase) => (StatusCode::FORBIDDEN, "give the right one"),
        Refusal::Damaged { .. } | Refusal::Store(_) | Refusal::File(_) => (
            StatusCode::INTERNAL_SERVER_ERROR,
            "the log and the data folder say more",
        ),
    };
    problem(status, &detail, fix)
}

#[cfg(test)]
mod tests;
