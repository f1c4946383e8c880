//! Requests and answers under `/api/v1`. Problems are told as RFC 9457 describes.

use base::Secret;
use driver::signal::Handle;
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::request::Parts;
use http::{HeaderValue, Method, Request, Response, StatusCode};
use net::http::{Body, full};
use serde::Serialize;
use status::Page;

use crate::query;

/// Answers requests.
#[derive(Clone)]
pub struct Rest {
    /// The way to the node.
    pub handle: Handle,
    /// What a request must show; `None` on the local socket, which the file system guards.
    pub token: Option<Secret<String>>,
}

#[derive(Serialize)]
struct Problem<'a> {
    title: &'a str,
    status: u16,
    detail: &'a str,
    fix: &'a str,
}

impl Rest {
    /// Answers one request.
    pub async fn answer<B>(&self, request: Request<B>) -> Response<Body> {
        let request = request.into_parts().0;
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
        match request.uri.path() {
            "/api/v1/status" | "/api/v1/health" | "/api/v1/search"
                if request.method != Method::GET =>
            {
                let mut refusal = problem(
                    StatusCode::METHOD_NOT_ALLOWED,
                    "only GET is answered here",
                    "send GET",
                );
                refusal
                    .headers_mut()
                    .insert(ALLOW, HeaderValue::from_static("GET"));
                refusal
            }
            "/api/v1/status" => match self.handle.snapshot().await {
                Ok(mut snapshot) => {
                    let Some(page) = page(request.uri.query().unwrap_or_default()) else {
                        return problem(
                            StatusCode::BAD_REQUEST,
                            "the query is not understood",
                            "ask with from=NUMBER, registrations=NUMBER and find=TEXT",
                        );
                    };
                    snapshot.turn_to(&page);
                    json(StatusCode::OK, "application/json", &snapshot)
                }
                Err(_) => stopping(),
            },
            "/api/v1/search" => match query::search(request.uri.query().unwrap_or_default()) {
                Ok(asked) => match self.handle.search(asked).await {
                    Ok(report) => json(StatusCode::OK, "application/json", &report),
                    Err(_) => stopping(),
                },
                Err(detail) => problem(
                    StatusCode::BAD_REQUEST,
                    &detail,
                    "ask for /api/v1/search?to=sip:1002@example.com, and from, zone and \
                     authenticated=true where they matter",
                ),
            },
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
                "ask for /api/v1/status, /api/v1/health or /api/v1/search",
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

/// Which registrations are asked for.
fn page(query: &str) -> Option<Page> {
    let mut page = Page::default();
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let (name, value) = pair.split_once('=')?;
        match name {
            "from" => page.from = value.parse().ok()?,
            "registrations" => page.limit = Some(value.parse().ok()?),
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
        };
        let mut request = Request::get(path);
        if let Some(shown) = shown {
            request = request.header(AUTHORIZATION, format!("Bearer {shown}"));
        }
        rest.answer(request.body(()).unwrap()).await
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
                "/api/v1/status?registrations=5&from=10&find=a%20b",
                200,
            ),
            (None, None, "/api/v1/status?registrations=many", 400),
            (None, None, "/api/v1/status?find=%zz", 400),
            (None, None, "/api/v1/status?what=1", 400),
            (None, None, "/nothing", 404),
            (Some("t"), None, "/api/v1/search?to=1002", 401),
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
}
