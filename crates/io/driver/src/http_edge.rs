//! Port 8443 on the edge: clients' HTTPS requests, judged and passed to a core.
//!
//! A path begins with a segment that names a service domain, and for the proxy lane an inside
//! server (`protocol.md` §2.1). Domain and session token are checked here against the gate's
//! snapshot; everything else is the core's to judge, and it judges these again. Bodies stream both
//! ways. No lane up is 502, no answer in time 504, never 401.
//!
//! Bounds: 100 connections a source by default, [`shares::EACH`](crate::shares::EACH) requests of a
//! source under way, 10 s for a head, 35 s for a response's head.

use std::borrow::Cow;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use base::UnixTime;
use http::header::{
    CACHE_CONTROL, CONNECTION, HeaderName, HeaderValue, RETRY_AFTER, SERVER,
    STRICT_TRANSPORT_SECURITY, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS,
};
use http::{Request, Response, StatusCode, Uri};
use http_body_util::BodyExt;
use net::http::front::{self, Ended, Limits};
use net::http::{Body, BodyFault, empty, strip_hop_by_hop};
use net::lane::EdgeLane;
use net::tls;
use node::gate::{EdgeGate, EdgeGateCore};
use node::io::{Input, Report};
use policy::token::TokenError;
use provisioning::path::{EdgePath, own_method};
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::http_sso;
use crate::listen::{self, Caps, Sources};
use crate::metadata;
use crate::shares::Shares;
use crate::signal::{Clock, Handle, Stopping};
use crate::tokens::Tokens;
use crate::trace::{Trace, Traces};
use crate::wire;

const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

const UNKNOWN: &str = "an unknown request of the edge";

const HSTS: HeaderValue = HeaderValue::from_static("max-age=31536000");
const NOSNIFF: HeaderValue = HeaderValue::from_static("nosniff");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

/// Names the request to whoever got the answer (W3C Trace Context, level 2).
const TRACE_RESPONSE: HeaderName = HeaderName::from_static("traceresponse");

/// The core has 30 s to ask an inside server.
const ANSWER_MAX: Duration = Duration::from_secs(35);

/// The HTTPS service of an edge.
#[derive(Clone)]
pub struct HttpEdge {
    /// The way to the node.
    pub handle: Handle,
    /// Tells the time for session tokens.
    pub clock: Clock,
    /// Made by [`tls::client_facing`] with [`front::ALPN`].
    pub config: tls::Live<ServerConfig>,
    /// The node's verdicts.
    pub gate: tls::Live<EdgeGate>,
    /// The HTTP lane of each peer, in the order of the node's peers.
    pub lanes: Arc<[EdgeLane]>,
    /// This edge's name.
    pub name: Arc<str>,
    /// How many connections there may be.
    pub caps: Caps,
    /// Limits on each connection.
    pub limits: Limits,
    /// Names requests.
    pub traces: Arc<Traces>,
    /// How many of one source are under way.
    pub shares: Shares,
    /// Session tokens that were good before.
    pub tokens: Tokens,
}

impl HttpEdge {
    /// Accepts until told to stop.
    pub async fn run(self, listener: TcpListener, stop: watch::Receiver<bool>) {
        let sources = Sources::new(self.caps).telling(self.handle.clone());
        let stopping = stop.clone();
        // One for all: a connection, and each request, holds one count and no copy.
        let this = Arc::new(self);
        listen::accept(listener, sources, stop, move |stream, remote| {
            let (this, stop) = (this.clone(), stopping.clone());
            async move {
                // The node being gone means that the program stops.
                let _ = this.connection(stream, remote, stop).await;
            }
        })
        .await;
    }

    async fn connection(
        self: Arc<Self>,
        stream: TcpStream,
        remote: SocketAddr,
        mut stop: watch::Receiver<bool>,
    ) -> Result<(), Stopping> {
        net::socket::tune(&stream);
        // Boxed, as what a handshake needs goes with it, and a future holds what it moves twice.
        let shaking = Box::pin(tls::accept_lean(self.config.get(), stream, HANDSHAKE_MAX));
        let stream = match shaking.await {
            Ok(stream) => Box::new(stream),
            Err(e) => {
                // Scanners and clients that dislike our certificate: worth a count, not a line.
                tracing::debug!(error = %e, "a client's TLS handshake failed");
                crate::sip_listen::not_tls(&self.handle, remote, &e);
                return Ok(());
            }
        };
        let h2 = stream.negotiated() == Some(b"h2");
        let limits = self.limits;
        let stopped = async move {
            // The sender being gone means that the program stops, too.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        let this = self.clone();
        let service = move |request| {
            let this = this.clone();
            async move { this.answer(remote, request).await }
        };
        match front::serve(stream, h2, limits, stopped, service).await {
            Ok(Ended::Violation(violation)) => {
                let report = Report::Violation {
                    protocol: "http",
                    source: remote,
                    cause: violation.cause.into(),
                };
                // Boxed likewise: a connection need not have room for what few of them end with.
                Box::pin(self.handle.input(Input::Report(report))).await
            }
            Ok(Ended::Quietly) => Ok(()),
            Err(e) => {
                tracing::debug!(error = %e, "a client's connection broke");
                Ok(())
            }
        }
    }

    /// Answers one request of the client at `remote`.
    pub async fn answer(&self, remote: SocketAddr, mut request: Request<Body>) -> Response<Body> {
        let trace = self.traces.take(request.headers_mut());
        let id = trace.to_string();
        wire::line("http", "in", "client", request.method().as_str(), &id);
        let answered = match self.judge(&request) {
            Ok(admitted) => self.forward(remote, &trace, &id, request, admitted).await,
            Err(refusal) => Err(refusal),
        };
        // Of the edge or the core, and no inside server's.
        let (mut response, ours) = answered.unwrap_or_else(|refusal| {
            self.note(remote, &id, &refusal);
            (refusal.response(), true)
        });
        wire::line("http", "out", "client", response.status().as_str(), &id);
        let headers = response.headers_mut();
        strip_hop_by_hop_response(headers);
        // Of the whole origin, which is the edge's; the rest is the answer's own affair.
        headers.insert(STRICT_TRANSPORT_SECURITY, HSTS);
        if ours {
            headers.insert(X_CONTENT_TYPE_OPTIONS, NOSNIFF);
            headers.entry(CACHE_CONTROL).or_insert(NO_STORE);
        }
        if let Some(parent) = trace.parent() {
            headers.insert(TRACE_RESPONSE, parent);
        }
        response
    }

    fn judge(&self, request: &Request<Body>) -> Result<Admitted, Refusal> {
        let path = request.uri().path();
        let (segment, rest) = split_path(path);
        let named = EdgePath::decode(segment)
            .map_err(|_| Refusal::new(StatusCode::NOT_FOUND, "a path that names no domain"))?;
        let rest = if rest.is_empty() { "/" } else { rest };
        config::inside::check_path(rest)
            .map_err(|cause| Refusal::new(StatusCode::BAD_REQUEST, cause))?;
        let target = match request.uri().query() {
            Some(query) => format!("{rest}?{query}"),
            None => rest.to_owned(),
        };
        let gate = self.gate.get();
        if gate.cores.is_empty() {
            return Err(Refusal::new(StatusCode::BAD_GATEWAY, "no core is linked"));
        }
        let serving: Vec<&EdgeGateCore> = gate.serving(&named.domain).collect();
        if serving.is_empty() {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "a domain that is not served",
            ));
        }
        let now = self.clock.now().unix;
        let bearer = metadata::bearer(request.headers());
        let tokens = || metadata::session_cookies(request.headers()).chain(bearer);
        let issuer = tokens().find_map(|token| {
            serving.iter().find(|core| {
                self.tokens
                    .admit(&core.token_key, &core.signed_out, now, token)
                    .is_ok_and(|c| c.domain == named.domain)
            })
        });
        let Some(server) = &named.server else {
            let Some(method) = own_method(rest) else {
                return Err(Refusal::new(StatusCode::NOT_FOUND, UNKNOWN));
            };
            let cookie = metadata::cookie(request.headers(), http_sso::COOKIE);
            let prefers = |core: &EdgeGateCore| match issuer {
                Some(issuer) => issuer.peer == core.peer,
                None => bearer.is_some() && core.takes_tokens(&named.domain),
            };
            let cores = gate.answering(&named.domain, rest, cookie, prefers);
            if cores.is_empty() {
                return Err(Refusal::new(StatusCode::NOT_FOUND, UNKNOWN));
            }
            if request.method().as_str() != method {
                let cause = format!("not a {method}");
                return Err(Refusal::new(StatusCode::METHOD_NOT_ALLOWED, cause));
            }
            return Ok(Admitted {
                peers: cores.iter().map(|core| core.peer).collect(),
                domain: named.domain,
                server: None,
                target,
            });
        };
        // A bearer token of another's making is the core's to judge: here nobody could.
        let takers = serving
            .iter()
            .filter(|core| core.takes_tokens(&named.domain));
        let peers: Vec<usize> = match (issuer, bearer) {
            (Some(issuer), _) => vec![issuer.peer],
            (None, Some(_)) => takers.map(|core| core.peer).collect(),
            (None, None) => Vec::new(),
        };
        if peers.is_empty() {
            let cause = untrusted(&serving, now, tokens());
            return Err(Refusal::new(StatusCode::UNAUTHORIZED, cause));
        }
        let server = Some(server.to_string());
        Ok(Admitted {
            peers,
            domain: named.domain,
            server,
            target,
        })
    }

    async fn forward(
        &self,
        remote: SocketAddr,
        trace: &Trace,
        id: &str,
        request: Request<Body>,
        admitted: Admitted,
    ) -> Result<(Response<Body>, bool), Refusal> {
        let lanes = admitted
            .peers
            .iter()
            .filter_map(|peer| self.lanes.get(*peer));
        let Some(lane) = lanes.into_iter().find(|lane| lane.is_up()) else {
            return Err(Refusal::new(
                StatusCode::BAD_GATEWAY,
                "no HTTP lane to a core is up",
            ));
        };
        let Some(share) = self.shares.enter(remote.ip()).await else {
            return Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "too many requests of one source under way",
            ));
        };
        let fault = Arc::new(AtomicU16::new(0));
        let noted = fault.clone();
        let request = self.dress(remote, trace, request, &admitted)?.map(|body| {
            let note = move |e: Box<dyn std::error::Error + Send + Sync>| {
                noted.store(status_of(e.as_ref()).as_u16(), Ordering::Relaxed);
                e
            };
            body.map_err(note).boxed_unsync()
        });
        wire::line("http", "out", "lane", request.method().as_str(), id);
        let sent = tokio::time::timeout(ANSWER_MAX, lane.send_holding(request, share)).await;
        let mut response = match sent {
            Err(_) => {
                return Err(Refusal::new(
                    StatusCode::GATEWAY_TIMEOUT,
                    "the core did not answer",
                ));
            }
            Ok(Err(net::Error::LaneFull)) => {
                return Err(Refusal::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "the HTTP lane is full",
                ));
            }
            Ok(Err(_)) if fault.load(Ordering::Relaxed) != 0 => {
                let status = StatusCode::from_u16(fault.load(Ordering::Relaxed));
                let status = status.unwrap_or(StatusCode::BAD_REQUEST);
                return Err(Refusal::new(status, "the client's body broke off"));
            }
            Ok(Err(e)) => {
                tracing::debug!(error = %e, "a request was lost on the HTTP lane");
                return Err(Refusal::new(StatusCode::BAD_GATEWAY, "the HTTP lane broke"));
            }
            Ok(Ok(response)) => response,
        };
        wire::line("http", "in", "lane", response.status().as_str(), id);
        let headers = response.headers_mut();
        // An older core marks nothing.
        let ours = admitted.server.is_none() || headers.contains_key(metadata::OWN);
        metadata::strip_forged(headers);
        let server = HeaderValue::from_static("CE_E");
        headers.entry(SERVER).or_insert(server);
        Ok((response, ours))
    }

    /// The request as it goes into the lane.
    fn dress(
        &self,
        remote: SocketAddr,
        trace: &Trace,
        request: Request<Body>,
        admitted: &Admitted,
    ) -> Result<Request<Body>, Refusal> {
        let malformed =
            |_| Refusal::new(StatusCode::BAD_REQUEST, "a request that cannot be carried");
        let (mut parts, body) = request.into_parts();
        let headers = &mut parts.headers;
        strip_hop_by_hop(headers);
        metadata::strip_forged(headers);
        headers.remove(http::header::HOST);
        let fields = [
            (metadata::CLIENT, remote.to_string()),
            (metadata::EDGE, self.name.to_string()),
            (metadata::DOMAIN, admitted.domain.clone()),
        ];
        for (name, value) in fields {
            headers.insert(name, value.parse().map_err(malformed)?);
        }
        trace.write(headers);
        if let Some(server) = &admitted.server {
            headers.insert(metadata::TARGET, server.parse().map_err(malformed)?);
        }
        parts.uri = Uri::builder()
            .scheme("http")
            .authority("core")
            .path_and_query(&*admitted.target)
            .build()
            .map_err(|_| Refusal::new(StatusCode::BAD_REQUEST, "a target that is no URI"))?;
        parts.version = http::Version::HTTP_2;
        Ok(Request::from_parts(parts, body))
    }

    fn note(&self, remote: SocketAddr, trace: &str, refusal: &Refusal) {
        tracing::debug!(
            trace,
            status = refusal.status.as_u16(),
            cause = %refusal.cause,
            "an HTTP request was refused"
        );
        // A node that is swamped has better things to count.
        let _ = self.handle.try_input(Input::Report(Report::HttpRefused {
            client: remote.ip(),
            status: refusal.status.as_u16(),
            cause: refusal.cause.clone().into_owned(),
            trace: trace.to_owned(),
        }));
    }
}

/// A request that may go to a core.
struct Admitted {
    /// The cores to try, best first.
    peers: Vec<usize>,
    domain: String,
    /// `<scheme>/<host>/<port>` on the proxy lane.
    server: Option<String>,
    /// Path and query after the first segment.
    target: String,
}

/// A request that may not.
struct Refusal {
    status: StatusCode,
    cause: Cow<'static, str>,
}

/// Why none of a request's tokens counts. One that was genuine and is too old is no attack, and
/// the fault may be a clock's.
fn untrusted<'t>(
    serving: &[&EdgeGateCore],
    now: UnixTime,
    tokens: impl Iterator<Item = &'t str>,
) -> Cow<'static, str> {
    let mut cause: Cow<str> = "no valid session token".into();
    for token in tokens {
        let out = |core: &&EdgeGateCore| {
            let admitted = core.token_key.admit(now, &core.signed_out, token);
            admitted == Err(TokenError::SignedOut)
        };
        if serving.iter().any(out) {
            cause = "the user was signed out".into();
            continue;
        }
        let expired =
            |core: &&&EdgeGateCore| core.token_key.verify(now, token) == Err(TokenError::Expired);
        let Some(core) = serving.iter().find(expired) else {
            continue;
        };
        cause = "the session token has expired".into();
        let Some(skew_ms) = core.skew_ms else {
            continue;
        };
        let there = UnixTime::from_millis(now.as_millis().saturating_add_signed(skew_ms));
        if core.token_key.verify(there, token).is_ok() {
            let words = traversal::skew_in_words(skew_ms);
            let skewed = format!(
                "the session token has expired by this node's clock but not by the core's, which \
                 is {words} it: synchronise both by NTP"
            );
            return skewed.into();
        }
    }
    cause
}

impl Refusal {
    fn new(status: StatusCode, cause: impl Into<Cow<'static, str>>) -> Self {
        let cause = cause.into();
        Refusal { status, cause }
    }

    /// As clients know it (`protocol.md` §2.4): no body, `Server: CE_E`, connection closed.
    fn response(&self) -> Response<Body> {
        let mut response = Response::new(empty());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(SERVER, HeaderValue::from_static("CE_E"));
        match self.status {
            StatusCode::UNAUTHORIZED => {
                let basic = HeaderValue::from_static("Basic realm=\"Cisco-Edge\"");
                headers.insert(WWW_AUTHENTICATE, basic);
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
            }
            _ => {}
        }
        if self.status != StatusCode::UNAUTHORIZED {
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
        }
        response
    }
}

/// What a client is told whose own body was at fault.
fn status_of(fault: &(dyn std::error::Error + Send + Sync + 'static)) -> StatusCode {
    match fault.downcast_ref::<BodyFault>() {
        Some(BodyFault::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
        Some(BodyFault::TooSlow) => StatusCode::REQUEST_TIMEOUT,
        None => StatusCode::BAD_REQUEST,
    }
}

/// Strips a response, but keeps our own wish to close the connection.
fn strip_hop_by_hop_response(headers: &mut http::HeaderMap) {
    let close = headers
        .get(CONNECTION)
        .is_some_and(|v| v.as_bytes() == b"close");
    strip_hop_by_hop(headers);
    if close {
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
}

/// The first segment, and the rest with its slash.
fn split_path(path: &str) -> (&str, &str) {
    let path = path.strip_prefix('/').unwrap_or(path);
    match path.find('/') {
        Some(at) => path.split_at(at),
        None => (path, ""),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Rng;
    use policy::token::{LIFE, TokenKey};

    #[test]
    fn a_connections_future_has_no_room_for_what_is_rare() {
        fn size<F: Future>(
            _: impl Fn(Arc<HttpEdge>, TcpStream, SocketAddr, watch::Receiver<bool>) -> F,
        ) -> usize {
            size_of::<F>()
        }
        let bytes = size(HttpEdge::connection);
        assert!(bytes <= 1536, "{bytes}");
    }

    #[test]
    fn a_token_that_fails_by_a_clock_is_told_so_with_the_difference() {
        let key = TokenKey::from_seed(&[1; 32]).unwrap();
        let issued = UnixTime::from_millis(1_000_000);
        let token = key.issue(issued, &mut Rng::from_number(1), "alice", "example.test");
        let late = issued.plus(LIFE + Duration::from_secs(30));
        let told = |skew_ms, now, token: &str| {
            let core = EdgeGateCore {
                peer: 0,
                node: "core1.example.test".into(),
                token_key: key.public(),
                domains: Vec::new(),
                signed_out: Default::default(),
                skew_ms,
            };
            untrusted(&[&core], now, [token].into_iter()).into_owned()
        };
        let skewed = told(Some(-60_000), late, &token);
        assert!(skewed.contains("60.0 s behind it: synchronise"), "{skewed}");
        let expired = "the session token has expired";
        assert_eq!(told(None, late, &token), expired);
        // The clocks differ, but that is not why.
        assert_eq!(told(Some(-20_000), late, &token), expired);
        assert_eq!(told(Some(60_000), late, &token), expired);
        assert_eq!(told(Some(-60_000), late, "x"), "no valid session token");
    }
}
