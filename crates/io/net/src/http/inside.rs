//! Requests to inside servers, HTTP/1.1 over kept connections.
//!
//! The caller resolved the name and judged the addresses; exactly these are dialled, one after
//! another until one answers, those last that did not within the last `SHUNNED`. Nothing
//! is redirected, nothing is tried twice once the server may have seen it. A server may be told the
//! client's address by the PROXY protocol, version 2, of HAProxy. Bounds: 5 s to connect,
//! 10 s for TLS, 30 s to a response's head, 30 s between pieces of its body, 64 KiB of header,
//! [`IDLE_EACH_MAX`] idle connections a server and [`IDLE_MAX`] in all, kept for 15 s.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Method, Request, Response};
use http_body::{Body as _, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::{Body, Pace, paced};
use crate::{Error, socket, tls};

/// Idle connections kept for one server.
pub const IDLE_EACH_MAX: usize = 64;

/// Idle connections kept in all.
pub const IDLE_MAX: usize = 512;

const CONNECT: Duration = Duration::from_secs(5);
const HANDSHAKE: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(30);
const IDLE: Duration = Duration::from_secs(15);

/// How long a kept connection may take to be ready.
const READY: Duration = Duration::from_millis(50);

/// How often it is looked for connections that have idled too long.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How an inside server's body must come: pauses of 30 s, any size.
const PACE: Pace = Pace {
    idle: Duration::from_secs(30),
    bytes_per_s: 1,
    grace: Duration::from_secs(300),
    bytes_max: u64::MAX,
};

/// How long an address that could not be reached is tried after the others.
const SHUNNED: Duration = Duration::from_secs(30);

/// Such addresses that are remembered.
const SHUNNED_MAX: usize = 256;

/// Where a request goes.
#[derive(Clone, Debug)]
pub struct Target {
    /// The address to dial, resolved and judged.
    pub address: SocketAddr,
    /// Others of the same server, judged likewise, where that one cannot be reached.
    pub others: Vec<SocketAddr>,
    /// How TLS is spoken, if it is.
    pub tls: Option<TargetTls>,
    /// Whose address the server is told by PROXY v2, before all else. Such a connection is for one
    /// request.
    pub client: Option<SocketAddr>,
}

/// How TLS is spoken with a server.
#[derive(Clone, Debug)]
pub struct TargetTls {
    /// The name in SNI and, if it is checked, in the certificate.
    pub name: String,
    /// From [`tls::inside_client`], without ALPN or with `http/1.1`.
    pub config: Arc<rustls::ClientConfig>,
}

/// A server's kept connections are its own: same address, same name, same TLS configuration.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    address: SocketAddr,
    tls: Option<(String, usize)>,
}

impl Key {
    fn of(target: &Target, address: SocketAddr) -> Self {
        let tls = target.tls.as_ref();
        // The configuration's address tells apart checked from unchecked, and old trust from new;
        // a kept connection holds its configuration, so no address is used twice meanwhile.
        let tls = tls.map(|t| (t.name.clone(), Arc::as_ptr(&t.config) as usize));
        Key { address, tls }
    }
}

/// Sends requests inside; cheap to clone, connections are shared among clones.
#[derive(Clone, Default)]
pub struct Inside {
    idle: Arc<Mutex<Idle>>,
}

#[derive(Default)]
struct Idle {
    by_server: HashMap<Key, Vec<Kept>>,
    count: usize,
    looked: Option<Instant>,
    /// Addresses that could not be reached of late.
    shunned: HashMap<SocketAddr, Instant>,
}

impl Idle {
    /// Lets go of those that have idled too long, or that the server closed.
    fn look(&mut self) {
        if self.looked.is_some_and(|at| at.elapsed() < LOOK_EVERY) {
            return;
        }
        self.looked = Some(Instant::now());
        self.by_server.retain(|_, kept| {
            kept.retain(|k| k.since.elapsed() < IDLE && !k.sender.is_closed());
            !kept.is_empty()
        });
        self.count = self.by_server.values().map(Vec::len).sum();
    }
}

struct Kept {
    sender: SendRequest<Body>,
    since: Instant,
    _config: Option<Arc<rustls::ClientConfig>>,
}

impl Inside {
    /// Sends `request`, whose URI is a path, with whatever `Host` it carries.
    ///
    /// # Errors
    /// [`Error::Connect`], [`Error::Handshake`], [`Error::Timeout`], [`Error::Http`].
    pub async fn send(
        &self,
        target: &Target,
        request: Request<Body>,
    ) -> Result<Response<Body>, Error> {
        match tokio::time::timeout(ANSWER, self.send_in_time(target, request)).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout {
                what: "the inside server's answer",
                seconds: ANSWER.as_secs(),
            }),
        }
    }

    async fn send_in_time(
        &self,
        target: &Target,
        mut request: Request<Body>,
    ) -> Result<Response<Body>, Error> {
        let addresses = self.in_order(target);
        let keys = addresses.iter().map(|address| Key::of(target, *address));
        let keys: Vec<Key> = keys.collect();
        // A kept connection may die while we write: what never left may go again, and so may a
        // GET or HEAD without body that got no answer (RFC 9110 §9.2.2).
        let kept = || match target.client {
            None => keys.iter().find_map(|key| Some((key, self.take(key)?))),
            Some(_) => None,
        };
        while let Some((key, mut sender)) = kept() {
            // It has just been given back, or its server answered before it had heard all.
            let ready = tokio::time::timeout(READY, sender.ready()).await;
            if !matches!(ready, Ok(Ok(()))) {
                continue;
            }
            let spare = spare(&request);
            match sender.try_send_request(request).await {
                Ok(response) => return Ok(self.deliver(target, key.clone(), sender, response)),
                Err(mut e) => match (e.take_message(), spare) {
                    (Some(unsent), _) => request = unsent,
                    (None, Some(again)) => request = again,
                    (None, None) => return Err(Error::Http(e.into_error())),
                },
            }
        }
        let (key, mut sender) = self.dial_any(target, keys).await?;
        let response = sender.send_request(request).await.map_err(Error::Http)?;
        Ok(self.deliver(target, key, sender, response))
    }

    /// The addresses of a target, those last that could not be reached of late.
    fn in_order(&self, target: &Target) -> Vec<SocketAddr> {
        let all = std::iter::once(&target.address).chain(&target.others);
        let mut all: Vec<SocketAddr> = all.copied().collect();
        if all.len() > 1 {
            let idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
            let lately = |at: &Instant| at.elapsed() < SHUNNED;
            all.sort_by_key(|address| idle.shunned.get(address).is_some_and(lately));
        }
        all
    }

    /// A connection to the first address that has one. Nothing was sent to those before it.
    async fn dial_any(
        &self,
        target: &Target,
        keys: Vec<Key>,
    ) -> Result<(Key, SendRequest<Body>), Error> {
        let mut left = keys.len();
        for key in keys {
            left -= 1;
            match self.dial(target, key.address).await {
                Ok(sender) => return Ok((key, sender)),
                Err(e) if left == 0 => return Err(e),
                Err(_) => self.shun(key.address),
            }
        }
        Err(Error::NotFound {
            name: target.address.to_string(),
        })
    }

    fn shun(&self, address: SocketAddr) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.shunned.len() >= SHUNNED_MAX {
            idle.shunned.retain(|_, at| at.elapsed() < SHUNNED);
        }
        if idle.shunned.len() < SHUNNED_MAX {
            idle.shunned.insert(address, Instant::now());
        }
    }

    async fn dial(&self, target: &Target, address: SocketAddr) -> Result<SendRequest<Body>, Error> {
        let mut stream = socket::connect(address, None, CONNECT).await?;
        if let Some(client) = target.client {
            stream
                .write_all(&proxy_v2(client, address))
                .await
                .map_err(Error::Io)?;
        }
        match &target.tls {
            None => handshake(stream).await,
            Some(t) => {
                let stream = tls::connect(t.config.clone(), &t.name, stream, HANDSHAKE).await?;
                handshake(stream).await
            }
        }
    }

    fn deliver(
        &self,
        target: &Target,
        key: Key,
        sender: SendRequest<Body>,
        response: Response<Incoming>,
    ) -> Response<Body> {
        if target.client.is_some() {
            // The connection ends with the last of its sender, once the body is there.
            return response.map(|body| paced(body, PACE));
        }
        let kept = Kept {
            sender,
            since: Instant::now(),
            _config: target.tls.as_ref().map(|t| t.config.clone()),
        };
        response.map(|body| {
            let mut body = Returning {
                body,
                kept: Some((self.clone(), key, kept)),
            };
            body.at_its_end();
            paced(body, PACE)
        })
    }

    fn take(&self, key: &Key) -> Option<SendRequest<Body>> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = &mut *idle;
        let kept = idle.by_server.get_mut(key)?;
        let mut found = None;
        while let Some(one) = kept.pop() {
            idle.count -= 1;
            if !one.sender.is_closed() && one.since.elapsed() < IDLE {
                found = Some(one.sender);
                break;
            }
        }
        if kept.is_empty() {
            idle.by_server.remove(key);
        }
        found
    }

    fn keep(&self, key: Key, mut one: Kept) {
        one.since = Instant::now();
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.look();
        if idle.count >= IDLE_MAX || one.sender.is_closed() {
            return;
        }
        let kept = idle.by_server.entry(key).or_default();
        if kept.len() < IDLE_EACH_MAX {
            kept.push(one);
            idle.count += 1;
        }
    }
}

/// A response's body, whose connection is kept once it is there in full.
struct Returning {
    body: Incoming,
    kept: Option<(Inside, Key, Kept)>,
}

impl Returning {
    fn at_its_end(&mut self) {
        if self.body.is_end_stream()
            && let Some((pool, key, kept)) = self.kept.take()
        {
            pool.keep(key, kept);
        }
    }
}

impl http_body::Body for Returning {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        match &frame {
            // A body without a length ends so; one that broke off leaves nothing to keep.
            None => {
                if let Some((pool, key, kept)) = self.kept.take() {
                    pool.keep(key, kept);
                }
            }
            Some(Ok(_)) => self.at_its_end(),
            Some(Err(_)) => self.kept = None,
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

async fn handshake<S>(stream: S) -> Result<SendRequest<Body>, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::Builder::new()
        .max_headers(200)
        .max_buf_size(64 * 1024)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(Error::Http)?;
    // Ends when its sender is dropped or the server closes; its faults reach the sender.
    tokio::spawn(connection);
    Ok(sender)
}

/// A copy to send again, where that is safe.
fn spare(request: &Request<Body>) -> Option<Request<Body>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) || !request.body().is_end_stream() {
        return None;
    }
    let mut again = Request::new(super::empty());
    *again.method_mut() = request.method().clone();
    *again.uri_mut() = request.uri().clone();
    *again.headers_mut() = request.headers().clone();
    Some(again)
}

/// The PROXY header of a TCP connection from `client` to `server`.
fn proxy_v2(client: SocketAddr, server: SocketAddr) -> Vec<u8> {
    let mut out = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    match (client.ip().to_canonical(), server.ip().to_canonical()) {
        (IpAddr::V4(client), IpAddr::V4(server)) => {
            out.extend([0x11, 0, 12]);
            out.extend(client.octets());
            out.extend(server.octets());
        }
        (client, server) => {
            out.extend([0x21, 0, 36]);
            for ip in [client, server] {
                let v6 = match ip {
                    IpAddr::V4(v4) => v4.to_ipv6_mapped(),
                    IpAddr::V6(v6) => v6,
                };
                out.extend(v6.octets());
            }
        }
    }
    out.extend(client.port().to_be_bytes());
    out.extend(server.port().to_be_bytes());
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxy_header_is_as_haproxy_writes_it() {
        let four = proxy_v2(
            "192.0.2.1:258".parse().unwrap(),
            "10.0.0.9:80".parse().unwrap(),
        );
        let sign = b"\r\n\r\n\0\r\nQUIT\n";
        assert_eq!(four[..12], sign[..]);
        let rest = [0x21, 0x11, 0, 12, 192, 0, 2, 1, 10, 0, 0, 9, 1, 2, 0, 80];
        assert_eq!(four[12..], rest);
        let six = proxy_v2(
            "[2001:db8::1]:1".parse().unwrap(),
            "10.0.0.9:80".parse().unwrap(),
        );
        assert_eq!((&six[12..16], six.len()), (&[0x21, 0x21, 0, 36][..], 52));
        assert_eq!(six[32..48][10..], [255, 255, 10, 0, 0, 9]);
    }
}
