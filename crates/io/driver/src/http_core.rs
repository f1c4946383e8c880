//! What the core does with the requests that come through an edge's HTTP lane.
//!
//! `get_edge_config` goes to the node's sign-in engine. A proxied request must show a session
//! token of this core, and its server, path and method must be on the allow list; exactly the
//! address that was judged is dialled ([`crate::guard`]). The edge's own checks count for nothing
//! here: a hostile edge gains no more than the allow list permits. On the way back redirects are
//! rewritten into the edge's form, cookies are bound to the edge's path, and what would tell of the
//! inside is taken out of the header.

use std::net::SocketAddr;
use std::sync::Arc;

use base::{Pii, Secret};
use config::allow_list::read_url;
use config::inside::{check_path, usual_port};
use http::header::{
    AUTHORIZATION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, LOCATION, RETRY_AFTER, SERVER,
    SET_COOKIE, USER_AGENT, WWW_AUTHENTICATE,
};
use http::{Request, Response, StatusCode, Uri};
use hyper::body::Incoming;
use net::http::inside::{Inside, Target, TargetTls};
use net::http::{Body, Pace, empty, full, paced, strip_hop_by_hop};
use net::tls;
use node::gate::CoreGate;
use node::io::{Answer, Input, Question, Report, SignIn};
use provisioning::path::{EdgePath, Scheme, Server};
use rustls::ClientConfig;

use crate::guard::{Guard, Ruling};
use crate::metadata;
use crate::signal::{Clock, Handle};
use crate::wire;

/// As the answers of a core name themselves.
const SERVER_NAME: HeaderValue = HeaderValue::from_static("CE_C ECS");

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
}

impl HttpCore {
    /// Answers one request that came by the lane of `peer`.
    pub async fn answer(self, peer: usize, request: Request<Incoming>) -> Response<Body> {
        let client = metadata::client(request.headers());
        let trace = metadata::text(request.headers(), &metadata::TRACE)
            .unwrap_or_default()
            .to_owned();
        wire::line("http", "in", "lane", request.method().as_str(), &trace);
        let done = match self.named(&request) {
            Ok((domain, None)) => self.sign_in(peer, client, domain, request).await,
            Ok((domain, Some(server))) => self.proxy(domain, server, &trace, request).await,
            Err(refusal) => Err(refusal),
        };
        let mut response = done.unwrap_or_else(|refusal| {
            tracing::debug!(
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
                }));
            }
            refusal.response()
        });
        wire::line("http", "out", "lane", response.status().as_str(), &trace);
        response.headers_mut().insert(SERVER, SERVER_NAME);
        response
    }

    /// The domain, and the server on the proxy lane, both as the edge tells them.
    fn named(&self, request: &Request<Incoming>) -> Result<(String, Option<Server>), Refusal> {
        let headers = request.headers();
        let domain = metadata::text(headers, &metadata::DOMAIN).unwrap_or_default();
        let gate = self.gate.get();
        if !gate
            .domains
            .iter()
            .any(|d| d.name.as_str().eq_ignore_ascii_case(domain))
        {
            return Err(Refusal::new(
                StatusCode::FORBIDDEN,
                "a domain that is not served",
            ));
        }
        check_path(request.uri().path())
            .map_err(|cause| Refusal::new(StatusCode::BAD_REQUEST, cause))?;
        match metadata::text(headers, &metadata::TARGET) {
            None => Ok((domain.to_owned(), None)),
            Some(target) => match Server::parse(target) {
                Ok(server) => Ok((domain.to_owned(), Some(server))),
                Err(_) => Err(Refusal::new(
                    StatusCode::NOT_FOUND,
                    "a server that is malformed",
                )),
            },
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
        let Ok(Answer::SignIn(reply)) = self.handle.ask(question).await else {
            return Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "the node is stopping",
            ));
        };
        let mut response = Response::new(full(reply.body));
        *response.status_mut() =
            StatusCode::from_u16(reply.status).unwrap_or(StatusCode::BAD_GATEWAY);
        for (name, value) in reply.headers {
            if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse()) {
                response.headers_mut().append(name, value);
            }
        }
        Ok(response)
    }

    async fn proxy(
        &self,
        domain: String,
        server: Server,
        trace: &str,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let gate = self.gate.get();
        let now = self.clock.now().unix;
        let claims = metadata::session_cookies(request.headers())
            .filter_map(|token| gate.token_key.admit(now, &gate.signed_out, token).ok())
            .find(|claims| claims.domain == domain);
        let Some(claims) = claims else {
            return Err(Refusal::new(
                StatusCode::UNAUTHORIZED,
                "no valid session token",
            ));
        };
        let user = claims.user.expose();
        let target = self.target(&server, &request, user).await?;
        let request = inside_request(&server, request)?;
        wire::line("http", "out", "inside", request.method().as_str(), trace);
        let response = match self.inside.send(&target, request).await {
            Ok(response) => {
                wire::line("http", "in", "inside", response.status().as_str(), trace);
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
        self.outside_response(&domain, &server, user, response)
            .await
    }

    /// Where the request may go: what was judged is what is dialled.
    async fn target(
        &self,
        server: &Server,
        request: &Request<Incoming>,
        user: &str,
    ) -> Result<Target, Refusal> {
        let (method, path) = (request.method().as_str(), request.uri().path());
        let (address, name, tls_verify) = match self.guard.admit(server, method, path).await {
            Ruling::Pass {
                address,
                name,
                tls_verify,
                ..
            } => (address, name, tls_verify),
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
        Ok(Target { address, tls })
    }

    fn unreachable(&self, server: &Server, error: &net::Error) {
        // A node that is swamped has better things to count.
        let _ = self
            .handle
            .try_input(Input::Report(Report::InsideUnreachable {
                server: format!("{}:{}", server.host, server.port),
                why: error.to_string(),
            }));
    }

    /// The answer as it may go outside.
    async fn outside_response(
        &self,
        domain: &str,
        server: &Server,
        user: &str,
        mut response: Response<Body>,
    ) -> Result<Response<Body>, Refusal> {
        let segment = EdgePath::encode(domain, Some(server));
        let headers = response.headers_mut();
        strip_hop_by_hop(headers);
        metadata::strip_forged(headers);
        for name in [
            "x-powered-by",
            "alt-svc",
            "refresh",
            "content-location",
            "x-aspnet-version",
        ] {
            headers.remove(name);
        }
        if let Some(location) = headers.remove(LOCATION) {
            let location = location.to_str().unwrap_or_default();
            let value = self.redirect(domain, server, user, location).await?;
            headers.insert(LOCATION, value);
        }
        let cookies: Vec<HeaderValue> = headers
            .get_all(SET_COOKIE)
            .iter()
            .filter_map(|v| bind_cookie(v.to_str().ok()?, &segment)?.parse().ok())
            .collect();
        headers.remove(SET_COOKIE);
        for cookie in cookies {
            headers.append(SET_COOKIE, cookie);
        }
        Ok(response)
    }

    /// A redirect of `server` in the edge's form.
    async fn redirect(
        &self,
        domain: &str,
        server: &Server,
        user: &str,
        location: &str,
    ) -> Result<HeaderValue, Refusal> {
        let refused = |cause| Refusal::new(StatusCode::BAD_GATEWAY, cause);
        let before_path = location.split(['/', '?', '#']).next().unwrap_or_default();
        let value = if location.starts_with('/') || before_path.contains(':') {
            let (to, path) =
                follow(server, location).ok_or(refused("a redirect that is no URL"))?;
            let path_alone = path.split(['?', '#']).next().unwrap_or_default();
            if to != *server {
                // Where the client goes with GET; other methods are judged when they come.
                match self.guard.judge(&to, "GET", path_alone).await {
                    Ruling::Pass { .. } | Ruling::NoAddress { rule: Some(_), .. } => {}
                    // Nothing that a rule could let through.
                    Ruling::Never { .. } => {
                        return Err(refused("a redirect to a forbidden server"));
                    }
                    Ruling::NoAddress { rule: None, error } => {
                        self.unreachable(&to, &error);
                        return Err(refused("a redirect that DNS does not let us judge"));
                    }
                    Ruling::Deny => {
                        self.guard.refused(&to, "GET", path_alone, user, true);
                        return Err(refused("a redirect to a forbidden server"));
                    }
                }
            }
            format!("/{}{path}", EdgePath::encode(domain, Some(&to)))
        } else {
            // Relative: the client resolves it against the edge's path.
            location.to_owned()
        };
        value
            .parse()
            .map_err(|_| refused("a redirect that is no URL"))
    }
}

/// The request as it goes inside.
fn inside_request(server: &Server, request: Request<Incoming>) -> Result<Request<Body>, Refusal> {
    let malformed = || Refusal::new(StatusCode::BAD_REQUEST, "a request that cannot be carried");
    let (mut parts, body) = request.into_parts();
    let headers = &mut parts.headers;
    strip_hop_by_hop(headers);
    metadata::strip_forged(headers);
    metadata::remove_session_cookie(headers);
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
    let target = parts.uri.path_and_query().cloned().ok_or_else(malformed)?;
    parts.uri = Uri::from(target);
    parts.version = http::Version::HTTP_11;
    Ok(Request::from_parts(parts, paced(body, Pace::default())))
}

/// Where a `Location` of `server` leads: the server, and the path with its query and fragment.
fn follow(server: &Server, location: &str) -> Option<(Server, String)> {
    if location
        .bytes()
        .any(|b| b <= 0x20 || b == 0x7f || b == b'\\')
    {
        return None;
    }
    if let Some(rest) = location.strip_prefix("//") {
        return absolute(server.scheme, rest);
    }
    if location.starts_with('/') {
        return Some((server.clone(), location.to_owned()));
    }
    match location.split_once("://") {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => {
            absolute(Scheme::Https, rest)
        }
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => absolute(Scheme::Http, rest),
        _ => None,
    }
}

fn absolute(scheme: Scheme, rest: &str) -> Option<(Server, String)> {
    let url = read_url(&format!("{}://{rest}", scheme.as_str())).ok()?;
    let plain = format!("{}/{}/{}", url.scheme, url.host, url.port);
    let server = Server::parse(&plain).ok()?;
    let path = rest.find(['/', '?', '#']).map_or("", |at| &rest[at..]);
    let path = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("/{path}")
    };
    Some((server, path))
}

/// Binds an inside server's cookie to that server's path on the edge; our own cookie's name is
/// refused.
fn bind_cookie(cookie: &str, segment: &str) -> Option<String> {
    let mut attributes = cookie.split(';').map(str::trim);
    let pair = attributes.next()?;
    let (name, _) = pair.split_once('=')?;
    if name.trim().eq_ignore_ascii_case(metadata::COOKIE_NAME) {
        return None;
    }
    let mut path = "/";
    let mut out = pair.to_owned();
    for attribute in attributes {
        let (name, value) = attribute.split_once('=').unwrap_or((attribute, ""));
        if name.eq_ignore_ascii_case("path") && value.starts_with('/') {
            path = value;
        } else if !name.eq_ignore_ascii_case("path")
            && !name.eq_ignore_ascii_case("domain")
            && !name.eq_ignore_ascii_case("secure")
            && !attribute.is_empty()
        {
            out.push_str("; ");
            out.push_str(attribute);
        }
    }
    Some(format!("{out}; Path=/{segment}{path}; Secure"))
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
struct Refusal {
    status: StatusCode,
    cause: &'static str,
}

impl Refusal {
    fn new(status: StatusCode, cause: &'static str) -> Self {
        Refusal { status, cause }
    }

    fn response(&self) -> Response<Body> {
        let mut response = Response::new(empty());
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_redirect_is_read_as_a_rules_url_is() {
        let from = Server::parse("https/web.test/8443").unwrap();
        for (location, server, path) in [
            ("/a?b", "https/web.test/8443", "/a?b"),
            ("//Other.test?x=1", "https/other.test/443", "/?x=1"),
            ("HTTP://[2001:db8::9]:/a#b", "http/2001:db8::9/80", "/a#b"),
            ("http://other.test.:8080", "http/other.test/8080", "/"),
        ] {
            let (to, rest) = follow(&from, location).unwrap();
            assert_eq!((to.to_string(), rest.as_str()), (server.to_owned(), path));
        }
        for bad in [
            "ftp://web.test/",
            "https://u@web.test/",
            "https://web.test:99999/",
            "https://web.test:x/",
            "https://127.1/",
            "https://[::10.0.0.9]/",
            "https:///a",
            "https://web.test\\@other.test/",
        ] {
            assert!(follow(&from, bad).is_none(), "{bad}");
        }
    }
}
