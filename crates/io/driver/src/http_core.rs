//! What the core does with the requests that come through an edge's HTTP lane.
//!
//! `get_edge_config` goes to the node's sign-in engine. A proxied request must show a session
//! token of this core, and its server, path and method must be on the allow list; exactly the
//! address that was judged is dialled ([`crate::guard`]). The edge's own checks count for nothing
//! here: a hostile edge gains no more than the allow list permits. What of an answer goes back is
//! [`crate::outside`]'s affair. Inside servers are told the client's address (`X-Forwarded-For`,
//! and PROXY v2 where a rule asks for it), the trace (`traceparent`), and nothing of a client's own
//! that claims to be either.

use std::net::SocketAddr;
use std::sync::Arc;

use base::{Pii, Secret};
use config::inside::{check_path, usual_port};
use http::header::{
    AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, RETRY_AFTER, SERVER, USER_AGENT,
    VIA, WWW_AUTHENTICATE,
};
use http::{Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use net::http::inside::{Inside, Target, TargetTls};
use net::http::{Body, Pace, empty, paced, strip_hop_by_hop};
use net::tls;
use node::gate::CoreGate;
use node::io::{Answer, Input, Question, Reply, Report, SignIn};
use provisioning::path::{Scheme, Server};
use rustls::ClientConfig;

use crate::guard::{Guard, Ruling};
use crate::http_sso;
use crate::metadata;
use crate::signal::{Clock, Handle};
use crate::tokens::Tokens;
use crate::trace::{Trace, Traces};
use crate::wire;

/// As the answers of a core name themselves.
const SERVER_NAME: HeaderValue = HeaderValue::from_static("CE_C ECS");

const VIA_US: HeaderValue = HeaderValue::from_static("2.0 causeway");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const HTTPS: HeaderValue = HeaderValue::from_static("https");

/// Where a request comes from, as inside servers are told.
struct Way<'a> {
    client: Option<SocketAddr>,
    trace: &'a Trace,
    id: &'a str,
}

/// The HTTP service of a core; cheap to clone.
#[derive(Clone)]
pub struct HttpCore {
    /// The way to the node.
    pub handle: Handle,
    /// Tells the time for session tokens.
    pub clock: Clock,
    /// The node's verdicts.
    pub gate: tls::Live<CoreGate>,
    /// Where requests may lead.
    pub guard: Guard,
    /// Asks them.
    pub inside: Inside,
    /// TLS with the certificate checked.
    pub checked: tls::Live<ClientConfig>,
    /// TLS without, for servers whose check an administrator has switched off.
    pub unchecked: Arc<ClientConfig>,
    /// Names requests that came without a name.
    pub traces: Arc<Traces>,
    /// Session tokens that were good before.
    pub tokens: Tokens,
}

impl HttpCore {
    /// Answers one request that came by the lane of `peer`.
    pub async fn answer(self, peer: usize, mut request: Request<Incoming>) -> Response<Body> {
        let client = metadata::client(request.headers());
        let trace = self.traces.take(request.headers_mut());
        let id = trace.to_string();
        wire::line("http", "in", "lane", request.method().as_str(), &id);
        let done = match self.named(&request) {
            Ok((domain, None)) => self.own(peer, client, domain, request).await,
            Ok((domain, Some(server))) => {
                let way = Way {
                    client,
                    trace: &trace,
                    id: &id,
                };
                self.proxy(domain, server, way, request).await
            }
            Err(refusal) => Err(refusal),
        };
        let mut response = done.unwrap_or_else(|refusal| {
            tracing::debug!(
                trace = id,
                status = refusal.status.as_u16(),
                cause = refusal.cause,
                "refused"
            );
            if let (Some(client), true) = (client, refusal.status != StatusCode::BAD_GATEWAY) {
                // A node that is swamped has better things to count.
                let _ = self.handle.try_input(Input::Report(Report::HttpRefused {
                    client: client.ip(),
                    status: refusal.status.as_u16(),
                    cause: refusal.cause.into(),
                    trace: id.clone(),
                }));
            }
            refusal.response()
        });
        wire::line("http", "out", "lane", response.status().as_str(), &id);
        response.headers_mut().insert(SERVER, SERVER_NAME);
        response
    }

    /// The domain, and the server on the proxy lane, both as the edge tells them.
    fn named(&self, request: &Request<Incoming>) -> Result<(String, Option<Server>), Refusal> {
        let headers = request.headers();
        let domain = metadata::text(headers, &metadata::DOMAIN).unwrap_or_default();
        let gate = self.gate.get();
        // As it is kept: who was signed out is looked up by the exact name.
        let Some(domain) = served(gate.domains.iter().map(|d| d.name.as_str()), domain) else {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "a domain that is not served",
            ));
        };
        check_path(request.uri().path())
            .map_err(|cause| Refusal::new(StatusCode::BAD_REQUEST, cause))?;
        let Some(target) = headers.get(metadata::TARGET) else {
            return Ok((domain, None));
        };
        // What is no text names a server all the same: the edge's own lane is for none.
        match target.to_str().ok().map(Server::parse) {
            Some(Ok(server)) => Ok((domain, Some(server))),
            _ => Err(Refusal::new(
                StatusCode::NOT_FOUND,
                "a server that is malformed",
            )),
        }
    }

    /// A request of the edge's own lane: a sign-in by password, or single sign-on.
    async fn own(
        &self,
        peer: usize,
        client: Option<SocketAddr>,
        domain: String,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let authorization = metadata::text(request.headers(), &AUTHORIZATION);
        let config = request.uri().path().trim_matches('/') == "get_edge_config";
        let gate = self.gate.get();
        let mut offers = gate.domains.iter();
        let by_password =
            !offers.any(|d| (d.sso || d.tokens) && d.name.as_str().eq_ignore_ascii_case(&domain));
        if config && (by_password || authorization.and_then(basic_credentials).is_some()) {
            return self.sign_in(peer, client, domain, request).await;
        }
        let asked = http_sso::asked(peer, client, domain, request)
            .await
            .map_err(|(status, cause)| Refusal::new(status, cause))?;
        self.replied(Question::Sso(Box::new(asked))).await
    }

    /// What the node answers.
    async fn replied(&self, question: Question) -> Result<Response<Body>, Refusal> {
        match self.handle.ask(question).await {
            Ok(Answer::SignIn(reply)) => Ok(http_sso::response(reply)),
            _ => Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the node is stopping",
            )),
        }
    }

    async fn sign_in(
        &self,
        peer: usize,
        client: Option<SocketAddr>,
        domain: String,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let headers = request.headers();
        let Some((user, password)) =
            metadata::text(headers, &AUTHORIZATION).and_then(basic_credentials)
        else {
            return Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "no Basic credentials",
            ));
        };
        let target = request.uri().path_and_query().map_or("", |t| t.as_str());
        let question = Question::SignIn(SignIn {
            peer,
            client: client.map(|c| c.ip()),
            domain,
            user: Pii::new(user),
            password,
            target: target.trim_start_matches('/').to_owned(),
            user_agent: metadata::text(headers, &USER_AGENT)
                .unwrap_or_default()
                .to_owned(),
        });
        self.replied(question).await
    }

    async fn proxy(
        &self,
        domain: String,
        server: Server,
        way: Way<'_>,
        mut request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let gate = self.gate.get();
        let now = self.clock.now().unix;
        let bearer = metadata::bearer(request.headers()).map(str::to_owned);
        let ours = |token: &str| {
            let claims = self
                .tokens
                .admit(&gate.token_key, &gate.signed_out, now, token)
                .ok();
            claims.filter(|claims| claims.domain == domain)
        };
        let by_cookie = metadata::session_cookies(request.headers()).find_map(ours);
        let by_bearer = bearer.as_deref().and_then(ours);
        if by_bearer.is_some() {
            // It is nobody's inside.
            request.headers_mut().remove(AUTHORIZATION);
        }
        let user = match (by_cookie.or(by_bearer), bearer) {
            (Some(claims), _) => claims.user.expose().clone(),
            (None, Some(token)) => match self.borne(way.client, &domain, token).await? {
                Ok(user) => user.into_inner(),
                Err(reply) => return Ok(http_sso::response(reply)),
            },
            (None, None) => {
                return Err(Refusal::new(
                    StatusCode::UNAUTHORIZED,
                    "no valid session token",
                ));
            }
        };
        let user = user.as_str();
        let target = self.target(&server, &request, user, way.client).await?;
        let request = inside_request(&server, &way, request)?;
        wire::line("http", "out", "inside", request.method().as_str(), way.id);
        let response = match self.inside.send(&target, request).await {
            Ok(response) => {
                wire::line("http", "in", "inside", response.status().as_str(), way.id);
                response
            }
            Err(e @ net::Error::Timeout { .. }) => {
                self.unreachable(&server, &e);
                return Err(Refusal::new(
                    StatusCode::GATEWAY_TIMEOUT,
                    "no answer from inside",
                ));
            }
            Err(e) => {
                self.unreachable(&server, &e);
                return Err(Refusal::new(
                    StatusCode::BAD_GATEWAY,
                    "the inside server failed",
                ));
            }
        };
        self.outside(&domain, &server, user, response).await
    }

    /// The user of a bearer token of another's making. The snapshot's keys decide if they can,
    /// else the node does.
    async fn borne(
        &self,
        client: Option<SocketAddr>,
        domain: &str,
        token: String,
    ) -> Result<Result<Pii<String>, Reply>, Refusal> {
        let gate = self.gate.get();
        let now = self.clock.now().unix;
        let mut known = gate.bearers.iter();
        let known = known.find(|b| b.domain.eq_ignore_ascii_case(domain));
        let judged = known.map(|b| b.rules.check(&b.keys, now, http_sso::CLOCKS_DIFFER, &token));
        // Of one from before its user was signed out the node tells, as of all that is refused.
        if let Some(Ok(claims)) = judged
            && !gate
                .signed_out
                .is_void(claims.user.expose(), domain, claims.issued)
        {
            return Ok(Ok(claims.user));
        }
        let question = Question::Bearer {
            domain: domain.to_owned(),
            client: client.map(|c| c.ip()),
            token: Secret::new(token),
        };
        match self.handle.ask(question).await {
            Ok(Answer::Bearer(found)) => Ok(found),
            _ => Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the node is stopping",
            )),
        }
    }

    /// Where the request may go: what was judged is what is dialled.
    async fn target(
        &self,
        server: &Server,
        request: &Request<Incoming>,
        user: &str,
        client: Option<SocketAddr>,
    ) -> Result<Target, Refusal> {
        let (method, path) = (request.method().as_str(), request.uri().path());
        let (addresses, name, tls_verify, told) = match self.guard.admit(server, method, path).await
        {
            Ruling::Pass {
                address,
                others,
                name,
                tls_verify,
                proxy_protocol,
                ..
            } => ((address, others), name, tls_verify, proxy_protocol),
            Ruling::Deny => {
                self.guard.refused(server, method, path, user, false);
                return Err(Refusal::new(StatusCode::FORBIDDEN, "not on the allow list"));
            }
            Ruling::Never { cause, .. } => return Err(Refusal::new(StatusCode::FORBIDDEN, cause)),
            Ruling::NoAddress { error, .. } => {
                self.unreachable(server, &error);
                return Err(Refusal::new(
                    StatusCode::BAD_GATEWAY,
                    "the inside server has no address",
                ));
            }
        };
        let config = if tls_verify {
            self.checked.get()
        } else {
            self.unchecked.clone()
        };
        let tls = (server.scheme == Scheme::Https).then_some(TargetTls { name, config });
        let client = client.filter(|_| told);
        let (address, others) = addresses;
        Ok(Target {
            address,
            others,
            tls,
            client,
        })
    }

    pub(crate) fn unreachable(&self, server: &Server, error: &net::Error) {
        // A node that is swamped has better things to count.
        let _ = self
            .handle
            .try_input(Input::Report(Report::InsideUnreachable {
                server: format!("{}:{}", server.host, server.port),
                why: error.to_string(),
            }));
    }
}

/// The request as it goes inside.
fn inside_request(
    server: &Server,
    way: &Way<'_>,
    request: Request<Incoming>,
) -> Result<Request<Body>, Refusal> {
    let malformed = || Refusal::new(StatusCode::BAD_REQUEST, "a request that cannot be carried");
    let (mut parts, body) = request.into_parts();
    let headers = &mut parts.headers;
    strip_hop_by_hop(headers);
    metadata::strip_forged(headers);
    metadata::remove_session_cookie(headers);
    metadata::keep_if(headers, &AUTHORIZATION, |v| {
        !metadata::signs_connections_in(v)
    });
    let host = if server.host.contains(':') {
        format!("[{}]", server.host)
    } else {
        server.host.clone()
    };
    let host = if server.port == usual_port(server.scheme.as_str()) {
        host
    } else {
        format!("{host}:{}", server.port)
    };
    headers.insert(HOST, host.parse().map_err(|_| malformed())?);
    headers.insert(VIA, VIA_US);
    headers.insert(X_FORWARDED_PROTO, HTTPS);
    if let Some(client) = way.client {
        let client = client.ip().to_canonical().to_string();
        headers.insert(X_FORWARDED_FOR, client.parse().map_err(|_| malformed())?);
    }
    way.trace.write(headers);
    let target = parts.uri.path_and_query().cloned().ok_or_else(malformed)?;
    parts.uri = Uri::from(target);
    parts.version = http::Version::HTTP_11;
    Ok(Request::from_parts(parts, paced(body, Pace::default())))
}

/// User name and password of `Basic` credentials (RFC 7617).
fn basic_credentials(field: &str) -> Option<(String, Secret<String>)> {
    use base64::Engine as _;
    let (scheme, encoded) = field.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(encoded.trim())
        .ok()?;
    // Old clients write Latin-1 (RFC 7617 §2.1).
    let text = String::from_utf8(decoded)
        .unwrap_or_else(|e| e.into_bytes().into_iter().map(char::from).collect());
    let (user, password) = text.split_once(':')?;
    let fine = !user.is_empty() && !text.chars().any(char::is_control);
    fine.then(|| (user.to_owned(), Secret::new(password.to_owned())))
}

/// A request that goes no further.
pub(crate) struct Refusal {
    status: StatusCode,
    cause: &'static str,
}

impl Refusal {
    pub(crate) fn new(status: StatusCode, cause: &'static str) -> Self {
        Refusal { status, cause }
    }

    fn response(&self) -> Response<Body> {
        let mut response = Response::new(empty());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        headers.insert(metadata::OWN, HeaderValue::from_static("1"));
        match self.status {
            StatusCode::UNAUTHORIZED => {
                let basic = HeaderValue::from_static("Basic realm=\"Cisco-Edge\"");
                headers.insert(WWW_AUTHENTICATE, basic);
                headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain"));
            }
            StatusCode::SERVICE_UNAVAILABLE => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static("2"));
            }
            _ => {}
        }
        response
    }
}

/// A domain that is served, as the settings have it, whatever case it was told in.
fn served<'a>(mut domains: impl Iterator<Item = &'a str>, told: &str) -> Option<String> {
    let known = domains.find(|d| d.eq_ignore_ascii_case(told));
    known.map(str::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_domain_in_another_case_is_the_one_that_users_are_signed_out_of() {
        let served = |told| served(["example.test"].into_iter(), told);
        assert_eq!(served("EXAMPLE.Test").as_deref(), Some("example.test"));
        assert_eq!(served("other.test"), None);
    }
}
