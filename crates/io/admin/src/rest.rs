//! Requests and answers under `/api/v1`. Problems are told as RFC 9457 describes.

use std::sync::Arc;
use std::time::Duration;

use base::Secret;
use driver::guard::Guard;
use driver::signal::Handle;
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt;
use net::http::{Body, full};
use serde::Serialize;
use status::{Page, SearchQuestion};

use crate::certificates::Desk;
use crate::query;
use crate::settings::{self, Found};

mod allow_list;
mod certificates;
pub mod config;
mod servers;
mod sign_out;

/// The longest question that is read, in bytes.
const QUESTION_MAX: usize = 16 * 1024;

/// How long a question may take to arrive.
const QUESTION_TIME: Duration = Duration::from_secs(10);

/// Answers requests.
#[derive(Clone)]
pub struct Rest {
    /// The way to the node.
    pub handle: Handle,
    /// What a request must show; `None` on the local socket, which the file system guards.
    pub token: Option<Secret<String>>,
    /// A core's allow list; an edge has none.
    pub guard: Option<Guard>,
    /// The node's settings; none if it runs by a file.
    pub settings: Option<Arc<settings::Desk>>,
    /// By what way requests come, for the history of settings.
    pub via: String,
    /// The node's certificates.
    pub certificates: Option<Desk>,
}

#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
    fix: &'a str,
    #[serde(skip_serializing_if = "<[Found]>::is_empty")]
    findings: &'a [Found],
}

impl Rest {
    /// Answers one request.
    pub async fn answer(&self, request: Request<Body>) -> Response<Body> {
        let (request, sent) = request.into_parts();
        if !self.admits(&request) {
            let mut refusal = problem(
                StatusCode::UNAUTHORIZED,
                "no valid token was shown",
                "send Authorization: Bearer with the token of administration.token_file",
            );
            let bearer = HeaderValue::from_static("Bearer realm=\"causeway\"");
            refusal.headers_mut().insert(WWW_AUTHENTICATE, bearer);
            return refusal;
        }
        if let Some(below) = request.uri.path().strip_prefix("/api/v1/config") {
            let desk = self.settings.as_ref();
            return config::answer(desk, &self.via, &request, sent, below).await;
        }
        if let Some(below) = request.uri.path().strip_prefix("/api/v1/allow-list") {
            return allow_list::answer(self.guard.as_ref(), &request, below).await;
        }
        if let Some(below) = request.uri.path().strip_prefix("/api/v1/certificates") {
            let desk = self.certificates.as_ref();
            return certificates::answer(&self.handle, desk, &request, sent, below).await;
        }
        if request.uri.path() == "/api/v1/sign-out" {
            return sign_out::answer(&self.handle, &request).await;
        }
        if let Some(below) = request.uri.path().strip_prefix("/api/v1/servers") {
            return servers::answer(&self.handle, &request, below).await;
        }
        match request.uri.path() {
            "/api/v1/search" if request.method == Method::POST => {
                self.search(question(sent).await).await
            }
            "/api/v1/search" if request.method != Method::GET => {
                not_allowed("GET, POST", "only GET and POST are answered here")
            }
            "/api/v1/status" | "/api/v1/health" if request.method != Method::GET => {
                not_allowed("GET", "only GET is answered here")
            }
            "/api/v1/status" => match self.handle.snapshot().await {
                Ok(mut snapshot) => {
                    let Some(page) = page(request.uri.query().unwrap_or_default()) else {
                        return problem(
                            StatusCode::BAD_REQUEST,
                            "the query is not understood",
                            "ask with from=NUMBER, registrations=NUMBER, history=NUMBER and \
                             find=TEXT",
                        );
                    };
                    snapshot.turn_to(&page);
                    json(StatusCode::OK, "application/json", &snapshot)
                }
                Err(_) => stopping(),
            },
            "/api/v1/search" => {
                let asked = query::search(request.uri.query().unwrap_or_default());
                self.search(asked).await
            }
            "/api/v1/health" => match self.handle.snapshot().await {
                Ok(snapshot) => {
                    let up = snapshot.links.iter().filter(|l| l.up).count();
                    let links = snapshot.links.len();
                    let well = links == 0 || up > 0;
                    let status = if well {
                        StatusCode::OK
                    } else {
                        StatusCode::SERVICE_UNAVAILABLE
                    };
                    let health = Health {
                        node: snapshot.node,
                        links,
                        links_up: up,
                    };
                    json(status, "application/json", &health)
                }
                Err(_) => stopping(),
            },
            _ => problem(
                StatusCode::NOT_FOUND,
                "there is no such resource",
                "ask for /api/v1/status, /api/v1/health, /api/v1/search, /api/v1/servers, \
                 /api/v1/sign-out, /api/v1/certificates, \
                 /api/v1/config or /api/v1/allow-list",
            ),
        }
    }

    async fn search(&self, asked: Result<SearchQuestion, String>) -> Response<Body> {
        match asked {
            Ok(asked) => match self.handle.search(asked).await {
                Ok(report) => json(StatusCode::OK, "application/json", &report),
                Err(_) => stopping(),
            },
            Err(detail) => problem(
                StatusCode::BAD_REQUEST,
                &detail,
                "ask for /api/v1/search?to=sip:1002@example.com, and from, zone and \
                 authenticated=true where they matter; or POST them as a JSON object",
            ),
        }
    }

    fn admits(&self, request: &Parts) -> bool {
        let Some(token) = &self.token else {
            return true;
        };
        let shown = request
            .headers
            .get(AUTHORIZATION)
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.strip_prefix("Bearer "));
        // `Secret` compares in constant time.
        shown.is_some_and(|shown| Secret::new(shown.to_owned()) == *token)
    }
}

/// A question to search rules in a request's body: what GET has in its query, as JSON.
async fn question(body: Body) -> Result<SearchQuestion, String> {
    let whole = tokio::time::timeout(QUESTION_TIME, text(body, QUESTION_MAX)).await;
    let text = whole.map_err(|_| "the body did not come in time".to_owned())??;
    let asked: SearchQuestion =
        serde_json::from_slice(&text).map_err(|e| format!("the body is no question: {e}"))?;
    query::whole(asked)
}

/// A body of so many bytes at most.
async fn text(mut body: Body, most: usize) -> Result<Vec<u8>, String> {
    let mut text = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| format!("the body cannot be read: {e}"))?;
        text.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
        if text.len() > most {
            return Err("the body is too long".into());
        }
    }
    Ok(text)
}

fn not_allowed(allow: &'static str, detail: &str) -> Response<Body> {
    let fix = format!("send {allow}");
    let mut refusal = problem(StatusCode::METHOD_NOT_ALLOWED, detail, &fix);
    let allow = HeaderValue::from_static(allow);
    refusal.headers_mut().insert(ALLOW, allow);
    refusal
}

/// Which rows are asked for.
fn page(query: &str) -> Option<Page> {
    let mut page = Page::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        match name {
            "from" => page.from = value.parse().ok()?,
            "registrations" => page.limit = Some(value.parse().ok()?),
            "history" => page.history = Some(value.parse().ok()?),
            "find" => page.find = Some(decoded(value)?),
            _ => return None,
        }
    }
    Some(page)
}

/// A value of a query without its percent-encoding (RFC 3986 §2.1).
fn decoded(value: &str) -> Option<String> {
    let mut out = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        let hex = |digit: Option<u8>| char::from(digit?).to_digit(16);
        match byte {
            b'%' => {
                let (high, low) = (hex(rest.next())?, hex(rest.next())?);
                out.push(u8::try_from(high * 16 + low).ok()?);
            }
            b'+' => out.push(b' '),
            byte => out.push(byte),
        }
    }
    String::from_utf8(out).ok()
}

#[derive(Serialize)]
struct Health {
    node: String,
    links: usize,
    links_up: usize,
}

fn stopping() -> Response<Body> {
    problem(
        StatusCode::SERVICE_UNAVAILABLE,
        "the node is stopping",
        "ask again once it runs",
    )
}

fn problem(status: StatusCode, detail: &str, fix: &str) -> Response<Body> {
    let title = status.canonical_reason().unwrap_or("Problem");
    let problem = Problem {
        title,
        status: status.as_u16(),
        detail,
        fix,
        findings: &[],
    };
    json(status, "application/problem+json", &problem)
}

fn json(status: StatusCode, kind: &'static str, value: &impl Serialize) -> Response<Body> {
    let body = serde_json::to_string(value).unwrap_or_default();
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use driver::signal::Post;

    async fn ask(token: Option<&str>, shown: Option<&str>, path: &str) -> Response<Body> {
        let (handle, mut posts) = Handle::new();
        tokio::spawn(async move {
            while let Some(post) = posts.recv().await {
                if let Post::Snapshot { reply } = post {
                    let snapshot = status::Snapshot {
                        node: "edge1".into(),
                        ..Default::default()
                    };
                    let _ = reply.send(snapshot);
                }
            }
        });
        let rest = Rest {
            handle,
            token: token.map(|t| Secret::new(t.to_owned())),
            guard: None,
            settings: None,
            via: "test".into(),
            certificates: None,
        };
        let mut request = Request::get(path);
        if let Some(shown) = shown {
            request = request.header(AUTHORIZATION, format!("Bearer {shown}"));
        }
        rest.answer(request.body(full("")).unwrap()).await
    }

    #[tokio::test]
    async fn a_status_is_given_to_whoever_shows_the_token() {
        let table = [
            (Some("t"), Some("t"), "/api/v1/status", 200),
            (Some("t"), Some("x"), "/api/v1/status", 401),
            (Some("t"), None, "/api/v1/status", 401),
            (Some("t"), None, "/nothing", 401),
            (None, None, "/api/v1/status", 200),
            (None, None, "/api/v1/health", 200),
            (
                None,
                None,
                "/api/v1/status?registrations=5&from=10&history=1&find=a%20b",
                200,
            ),
            (None, None, "/api/v1/status?registrations=many", 400),
            (None, None, "/api/v1/status?find=%zz", 400),
            (None, None, "/api/v1/status?what=1", 400),
            (None, None, "/nothing", 404),
            (Some("t"), None, "/api/v1/search?to=1002", 401),
            (Some("t"), None, "/api/v1/allow-list", 401),
            (Some("t"), Some("t"), "/api/v1/allow-list", 404),
            (Some("t"), Some("t"), "/api/v1/search?to=1002", 503),
            (None, None, "/api/v1/search", 400),
            (None, None, "/api/v1/search?to=1&authenticated=perhaps", 400),
        ];
        for (token, shown, path, want) in table {
            let response = ask(token, shown, path).await;
            assert_eq!(
                response.status().as_u16(),
                want,
                "{token:?} {shown:?} {path}"
            );
        }
    }

    #[tokio::test]
    async fn a_question_in_a_body_is_the_same_as_in_a_query() {
        let sent = r#"{"to":"sip:1@2","zone":"a b","from":"c","authenticated":true}"#;
        let asked = query::search("to=sip:1%402&zone=a%20b&from=c&authenticated=true");
        assert_eq!(question(full(sent)).await, asked);
        let least = question(full(r#"{"to":"1"}"#)).await;
        assert_eq!(least, query::search("to=1"));
        // Nobody is there to answer.
        let (handle, _) = Handle::new();
        let rest = Rest {
            handle,
            token: None,
            guard: None,
            settings: None,
            via: "test".into(),
            certificates: None,
        };
        let send = async |method: &str, path: &str, body: String| {
            let request = Request::builder().method(method).uri(path);
            rest.answer(request.body(full(body)).unwrap()).await
        };
        let path = "/api/v1/search";
        assert_eq!(send("POST", path, sent.into()).await.status().as_u16(), 503);
        let long = " ".repeat(QUESTION_MAX + 1);
        for bad in [
            "",
            "[]",
            "{}",
            r#"{"to":""}"#,
            r#"{"to":1}"#,
            r#"{"to":"1","x":2}"#,
            &long,
        ] {
            let answer = send("POST", path, bad.into()).await;
            assert_eq!(answer.status().as_u16(), 400, "{bad}");
        }
        for (method, path, allow) in [
            ("PUT", path, "GET, POST"),
            ("POST", "/api/v1/status", "GET"),
        ] {
            let answer = send(method, path, String::new()).await;
            assert_eq!(answer.status().as_u16(), 405);
            assert_eq!(answer.headers()[ALLOW], allow);
        }
    }
}
