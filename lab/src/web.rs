//! A small web server on hyper: a listener, perhaps TLS, and a function from request to answer.
//!
//! Bounds: bodies of 1 MiB, heads by hyper, 10 s for a TLS handshake and for a request's head.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{HeaderMap, Method, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

const BODY_MAX: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(10);

/// A request, its body read.
pub struct Request {
    /// The method.
    pub method: Method,
    /// The path as it came, without the query.
    pub path: String,
    /// The query's keys and values, decoded, in order.
    pub query: Vec<(String, String)>,
    /// The header fields.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

impl Request {
    /// The first value of a query key, if it is not empty.
    pub fn asked(&self, key: &str) -> Option<&str> {
        let found = self.query.iter().find(|(k, _)| k == key);
        found.map(|(_, v)| v.as_str()).filter(|v| !v.is_empty())
    }

    /// The first value of that name in a form (`application/x-www-form-urlencoded`).
    pub fn field(&self, name: &str) -> Option<String> {
        let form = String::from_utf8_lossy(&self.body);
        let mut fields = pairs(&form).into_iter();
        fields.find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// The token of `Authorization: Bearer` (RFC 6750 §2.1).
    pub fn bearer(&self) -> Option<&str> {
        let value = self.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, rest) = value.split_once(' ')?;
        scheme.eq_ignore_ascii_case("bearer").then(|| rest.trim())
    }

    /// The name and password of HTTP Basic (RFC 7617).
    pub fn basic(&self) -> Option<(String, String)> {
        let value = self.headers.get(header::AUTHORIZATION)?.to_str().ok()?;
        let (scheme, rest) = value.split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let text = String::from_utf8(STANDARD.decode(rest.trim()).ok()?).ok()?;
        let (name, password) = text.split_once(':')?;
        Some((name.to_owned(), password.to_owned()))
    }
}

/// What to answer.
pub struct Answer {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: Bytes,
}

impl Answer {
    /// A body of that type.
    pub fn new(status: u16, kind: &str, body: impl Into<Bytes>) -> Answer {
        let headers = vec![("content-type", kind.to_owned())];
        Answer {
            status,
            headers,
            body: body.into(),
        }
    }

    /// An XML document.
    pub fn xml(status: u16, body: impl Into<Bytes>) -> Answer {
        Answer::new(status, "application/xml;charset=UTF-8", body)
    }

    /// A status without a body.
    pub fn empty(status: u16) -> Answer {
        Answer {
            status,
            headers: Vec::new(),
            body: Bytes::new(),
        }
    }

    /// 401, which asks for HTTP Basic in that realm.
    pub fn unauthorized(realm: &str) -> Answer {
        Answer::new(
            401,
            "text/html;charset=utf-8",
            "<html><body>401 Unauthorized</body></html>",
        )
        .with("www-authenticate", format!("Basic realm=\"{realm}\""))
    }

    /// With one more header field.
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Answer {
        self.headers.push((name, value.into()));
        self
    }

    fn response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::new(self.body));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        for (name, value) in self.headers {
            if let Ok(value) = value.parse() {
                response.headers_mut().append(name, value);
            }
        }
        response
    }
}

/// Listens at `address` and answers until the runtime ends; tells the address it got.
///
/// # Errors
/// If the address is taken or not this machine's.
pub async fn serve<F, A>(
    address: SocketAddr,
    tls: Option<TlsAcceptor>,
    answer: F,
) -> io::Result<SocketAddr>
where
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    tokio::spawn(accept(listener, tls, Arc::new(answer)));
    Ok(bound)
}

async fn accept<F, A>(listener: TcpListener, tls: Option<TlsAcceptor>, answer: Arc<F>)
where
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (tls, answer) = (tls.clone(), answer.clone());
        tokio::spawn(async move {
            match tls {
                None => talk(stream, answer).await,
                Some(tls) => {
                    if let Ok(Ok(stream)) = timeout(PATIENCE, tls.accept(stream)).await {
                        talk(stream, answer).await;
                    }
                }
            }
        });
    }
}

/// One connection; whatever breaks it ends it alone.
async fn talk<S, F, A>(stream: S, answer: Arc<F>)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request) -> A + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    let service = service_fn(move |request: http::Request<Incoming>| {
        let answer = answer.clone();
        async move {
            let answered = match read(request).await {
                Ok(request) => answer(request).await,
                Err(status) => Answer::empty(status),
            };
            Ok::<_, Infallible>(answered.response())
        }
    });
    let _ = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .serve_connection(TokioIo::new(stream), service)
        .await;
}

async fn read(request: http::Request<Incoming>) -> Result<Request, u16> {
    let (head, body) = request.into_parts();
    let whole = timeout(PATIENCE, Limited::new(body, BODY_MAX).collect()).await;
    let body = match whole {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return Err(413),
        Err(_) => return Err(408),
    };
    Ok(Request {
        method: head.method,
        path: head.uri.path().to_owned(),
        query: head.uri.query().map(pairs).unwrap_or_default(),
        headers: head.headers,
        body,
    })
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let pair = |part: &str| {
        let (key, value) = part.split_once('=').unwrap_or((part, ""));
        (
            decoded(&key.replace('+', " ")),
            decoded(&value.replace('+', " ")),
        )
    };
    query
        .split('&')
        .filter(|part| !part.is_empty())
        .map(pair)
        .collect()
}

/// Percent-decoded (RFC 3986 §2.1); a broken escape stays as it is.
pub fn decoded(text: &str) -> String {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let byte = after.get(..2).and_then(|d| std::str::from_utf8(d).ok());
        let byte = byte.and_then(|d| u8::from_str_radix(d, 16).ok());
        match (first, byte) {
            (b'%', Some(byte)) => {
                out.push(byte);
                rest = &after[2..];
            }
            _ => {
                out.push(first);
                rest = after;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// Percent-encoded for a query (RFC 3986 §2.3).
pub fn encoded(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

/// Text for an XML document's content or attribute.
pub fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&apos;"),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
impl Request {
    /// A request as a test makes it; `target` is a path with or without a query.
    pub fn of(method: Method, target: &str, login: Option<(&str, &str)>, body: &str) -> Request {
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut headers = HeaderMap::new();
        if let Some((name, password)) = login {
            let value = format!("Basic {}", STANDARD.encode(format!("{name}:{password}")));
            headers.insert(header::AUTHORIZATION, value.parse().unwrap());
        }
        Request {
            method,
            path: path.to_owned(),
            query: pairs(query),
            headers,
            body: body.to_owned().into(),
        }
    }
}

#[cfg(test)]
impl Answer {
    /// Status and body.
    pub fn parts(&self) -> (u16, String) {
        (
            self.status,
            String::from_utf8_lossy(&self.body).into_owned(),
        )
    }

    /// A header field.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(n, _)| *n == name)
            .map(|(_, v)| v.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn query_with_escapes_is_decoded_and_broken_escapes_stay() {
        let got = pairs("name=al+a%20b&x=%C3%A9&y=%zz&max");
        let want = [("name", "al a b"), ("x", "é"), ("y", "%zz"), ("max", "")];
        let want: Vec<_> = want.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        assert_eq!(got, want);
    }
}
