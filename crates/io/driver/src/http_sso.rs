//! Single sign-on between HTTP and the node: requests of the edge's own lane read, replies written.
//!
//! Bounds: a form of [`FORM_BYTES_MAX`], sent within [`FORM_MAX`].

use std::net::SocketAddr;
use std::time::Duration;

use base::Secret;
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue, USER_AGENT};
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use net::http::{Body, full};
use node::io::{Reply, Shown, SsoRequest};

use crate::metadata;

/// How far clocks may differ where a task judges alone; the node knows better.
pub(crate) const CLOCKS_DIFFER: Duration = Duration::from_secs(30);

/// A SAML response of 128 KiB, in base64 as a form writes it, and what stands beside it.
const FORM_BYTES_MAX: usize = 256 * 1024;

const FORM_MAX: Duration = Duration::from_secs(20);

/// The cookie that binds a log-in to its browser.
pub(crate) const COOKIE: &str = "X-Sign-In";

/// Reads a request for the node.
pub(crate) async fn asked(
    peer: usize,
    client: Option<SocketAddr>,
    domain: String,
    request: Request<Incoming>,
) -> Result<SsoRequest, (StatusCode, &'static str)> {
    let headers = request.headers();
    let shown = match metadata::bearer(headers) {
        Some(token) => Shown::Bearer(Secret::new(token.to_owned())),
        None => {
            let tokens: Vec<String> = metadata::session_cookies(headers)
                .map(str::to_owned)
                .collect();
            if tokens.is_empty() {
                Shown::Nothing
            } else {
                Shown::Sessions(tokens)
            }
        }
    };
    let cookie = metadata::cookie(headers, COOKIE).map(str::to_owned);
    let user_agent = metadata::text(headers, &USER_AGENT)
        .unwrap_or_default()
        .to_owned();
    let target = request.uri().path_and_query().map_or("", |t| t.as_str());
    let target = target.trim_start_matches('/').to_owned();
    let form = match *request.method() {
        Method::POST => Some(form(request).await?),
        _ => None,
    };
    Ok(SsoRequest {
        peer,
        client: client.map(|c| c.ip()),
        domain,
        target,
        form,
        cookie,
        shown,
        user_agent,
    })
}

async fn form(request: Request<Incoming>) -> Result<Secret<String>, (StatusCode, &'static str)> {
    let kind = metadata::text(request.headers(), &CONTENT_TYPE).unwrap_or_default();
    let kind = kind.split(';').next().unwrap_or_default().trim();
    if !kind.eq_ignore_ascii_case("application/x-www-form-urlencoded") {
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, "no form"));
    }
    let body = Limited::new(request.into_body(), FORM_BYTES_MAX).collect();
    let body = match tokio::time::timeout(FORM_MAX, body).await {
        Err(_) => return Err((StatusCode::REQUEST_TIMEOUT, "a form that is too slow")),
        Ok(Err(_)) => return Err((StatusCode::PAYLOAD_TOO_LARGE, "a form that breaks off")),
        Ok(Ok(body)) => body.to_bytes(),
    };
    let text = String::from_utf8(body.into());
    let text = text.map_err(|_| (StatusCode::BAD_REQUEST, "a form that is no text"))?;
    Ok(Secret::new(text))
}

/// Writes the node's reply.
pub(crate) fn response(reply: Reply) -> Response<Body> {
    let mut response = Response::new(full(reply.body));
    *response.status_mut() = StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
    for (name, value) in reply.headers {
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
            response.headers_mut().append(name, value);
        }
    }
    let own = HeaderValue::from_static("1");
    response.headers_mut().insert(metadata::OWN, own);
    response
}
