//! What the node asks of the inside: HTTP requests and DNS.
//!
//! Bounds: [`ASKED_MAX`] questions at a time; one more is answered with an error at once. An
//! answer's body is at most [`BODY_BYTES_MAX`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use bytes::{Bytes, BytesMut};
use http::header::{AUTHORIZATION, HOST, HeaderValue};
use http::{Method, Request};
use http_body_util::BodyExt;
use net::http::inside::{Inside, Target, TargetTls};
use net::http::{Body, empty, full};
use net::{dns, tls};
use node::io::{AskId, DnsError, Fetch, FetchError, FetchFault, Fetched, Input, Resolve, Resolved};
use rustls::ClientConfig;
use sip::locate::Naptr;
use tokio::sync::Semaphore;

use crate::signal::Handle;
use crate::wire;

/// Questions under way at a time.
pub const ASKED_MAX: usize = 256;

/// The largest answer read, in bytes.
pub const BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// For a whole question, name lookup and body included.
const WHOLE: Duration = Duration::from_secs(40);

/// Asks; cheap to clone.
#[derive(Clone)]
pub struct Questions {
    /// The way to the node.
    pub handle: Handle,
    /// Finds addresses.
    pub resolver: dns::Resolver,
    /// Asks servers.
    pub inside: Inside,
    /// TLS with the certificate checked.
    pub checked: tls::Live<ClientConfig>,
    /// TLS without.
    pub unchecked: Arc<ClientConfig>,
    /// A permit for each question.
    pub permits: Arc<Semaphore>,
}

impl Questions {
    /// Makes a request; the answer comes to the node.
    pub fn fetch(&self, id: AskId, request: Fetch) {
        let (this, permit) = (self.clone(), self.permits.clone().try_acquire_owned());
        tokio::spawn(async move {
            let server = format!("{}:{}", request.host, request.port);
            let failed = |(fault, why): (FetchFault, String)| FetchError {
                server: server.clone(),
                fault,
                why,
            };
            let silent = || {
                let why = format!("no answer in {} s", WHOLE.as_secs());
                (FetchFault::Silent, why)
            };
            let result = match permit {
                Err(_) => Err(other("too many questions are under way".into())),
                Ok(_permit) => match tokio::time::timeout(WHOLE, this.answer(request)).await {
                    Ok(result) => result,
                    Err(_) => Err(silent()),
                },
            };
            let result = result.map_err(failed);
            // The node being gone means that the program stops.
            let _ = this.handle.input(Input::Fetched { id, result }).await;
        });
    }

    /// Asks DNS; the answer comes to the node.
    pub fn resolve(&self, id: AskId, question: Resolve) {
        let (this, permit) = (self.clone(), self.permits.clone().try_acquire_owned());
        tokio::spawn(async move {
            let name = match &question {
                Resolve::Naptr(name) | Resolve::Service(name) | Resolve::Address(name) => {
                    name.clone()
                }
            };
            let result = match (permit, question) {
                (Err(_), _) => Err(net::Error::NoAnswer {
                    name: name.clone(),
                    cause: "too many questions are under way".into(),
                }),
                (Ok(_permit), Resolve::Naptr(name)) => {
                    let found = this.resolver.rules(&name).await;
                    found.map(|found| {
                        Resolved::Naptr(
                            found
                                .into_iter()
                                .map(|r| Naptr {
                                    order: r.order,
                                    preference: r.preference,
                                    flags: r.flags,
                                    service: r.service,
                                    replacement: r.replacement,
                                })
                                .collect(),
                        )
                    })
                }
                (Ok(_permit), Resolve::Service(name)) => {
                    this.resolver.services(&name).await.map(|found| {
                        let rows = found.into_iter();
                        Resolved::Service(
                            rows.map(|s| (s.priority, s.weight, s.port, s.target))
                                .collect(),
                        )
                    })
                }
                (Ok(_permit), Resolve::Address(name)) => {
                    this.resolver.addresses(&name).await.map(Resolved::Address)
                }
            };
            let result = result.map_err(|e| match e {
                net::Error::NotFound { name } => DnsError::NotFound(name),
                e => DnsError::NoAnswer(name, e.to_string()),
            });
            // The node being gone means that the program stops.
            let _ = this.handle.input(Input::Resolved { id, result }).await;
        });
    }

    async fn answer(&self, fetch: Fetch) -> Result<Fetched, (FetchFault, String)> {
        let addresses = self
            .resolver
            .addresses(&fetch.host)
            .await
            .map_err(|e| (FetchFault::Name, e.to_string()))?;
        let mut last = (FetchFault::Name, format!("{} has no address", fetch.host));
        for ip in addresses {
            let tls = (fetch.scheme == "https").then(|| TargetTls {
                name: fetch.host.clone(),
                config: if fetch.tls_verify {
                    self.checked.get()
                } else {
                    self.unchecked.clone()
                },
            });
            let target = Target {
                address: SocketAddr::new(ip, fetch.port),
                others: Vec::new(),
                tls,
                client: None,
            };
            let request = request(&fetch).map_err(other)?;
            wire::line("http", "out", "inside", fetch.method, "");
            match self.inside.send(&target, request).await {
                Ok(response) => {
                    let status = response.status().as_u16();
                    wire::line("http", "in", "inside", &status.to_string(), "");
                    return Ok(Fetched {
                        status,
                        body: body(response.into_body()).await.map_err(other)?,
                    });
                }
                // A server that refused the connection may have a neighbour; one that answered
                // badly was asked, and asking twice could do a thing twice.
                Err(e @ (net::Error::Connect { .. } | net::Error::Handshake { .. })) => {
                    last = (fault(&e), e.to_string());
                }
                Err(e) => return Err((fault(&e), e.to_string())),
            }
        }
        Err(last)
    }
}

fn other(why: String) -> (FetchFault, String) {
    (FetchFault::Other, why)
}

/// Where it went wrong.
fn fault(error: &net::Error) -> FetchFault {
    match error {
        e if e.is_refused_certificate() => FetchFault::Certificate,
        net::Error::Handshake { .. } => FetchFault::Tls,
        net::Error::Connect { .. } => FetchFault::Unreachable,
        net::Error::Timeout { .. } => FetchFault::Silent,
        net::Error::NotFound { .. } | net::Error::NoAnswer { .. } => FetchFault::Name,
        _ => FetchFault::Other,
    }
}

fn request(fetch: &Fetch) -> Result<Request<Body>, String> {
    let method = Method::from_bytes(fetch.method.as_bytes()).map_err(|e| e.to_string())?;
    let body = if fetch.body.is_empty() {
        empty()
    } else {
        full(fetch.body.clone())
    };
    let bracketed = if fetch.host.contains(':') {
        format!("[{}]", fetch.host)
    } else {
        fetch.host.clone()
    };
    let mut request = Request::builder()
        .method(method)
        .uri(&fetch.path)
        .header(HOST, format!("{bracketed}:{}", fetch.port));
    for (name, value) in &fetch.headers {
        request = request.header(*name, value);
    }
    if let Some((user, password)) = &fetch.basic {
        let pair = format!("{}:{}", user.expose(), password.expose());
        let text = base64::engine::general_purpose::STANDARD.encode(pair);
        let mut value = HeaderValue::from_str(&format!("Basic {text}"))
            .map_err(|_| "the credentials cannot be written".to_owned())?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    request.body(body).map_err(|e| e.to_string())
}

async fn body(mut body: Body) -> Result<Bytes, String> {
    let mut whole = BytesMut::new();
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|e| e.to_string())?;
        if let Some(data) = frame.data_ref() {
            if whole.len() + data.len() > BODY_BYTES_MAX {
                return Err("the answer is larger than 4 MiB".into());
            }
            whole.extend_from_slice(data);
        }
    }
    Ok(whole.freeze())
}
