//! HTTPS to an edge: one connection at a time, kept open between requests.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{HeaderMap, Method, Request};
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpSocket;
use tokio_rustls::TlsConnector;

use crate::ladder::Recorder;

const BODY_MAX: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(15);

/// The client of one edge.
pub(crate) struct Web {
    local: IpAddr,
    edge: SocketAddr,
    name: String,
    tls: Arc<rustls::ClientConfig>,
    recorder: Recorder,
    connection: tokio::sync::Mutex<Option<SendRequest<Full<Bytes>>>>,
    /// What was negotiated: TLS version and cipher.
    facts: std::sync::Mutex<String>,
}

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// Its status.
    pub(crate) status: u16,
    /// Its header fields.
    pub(crate) headers: HeaderMap,
    /// Its body.
    pub(crate) body: Bytes,
}

impl Reply {
    /// A header field's value, as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// Who asks, and what with.
#[derive(Clone, Debug, Default)]
pub(crate) struct Identity {
    /// Name and password for HTTP Basic.
    pub(crate) basic: Option<(String, String)>,
    /// The `X-Auth` cookie.
    pub(crate) token: Option<String>,
    /// A bearer token, in place of a password.
    pub(crate) bearer: Option<String>,
}

/// A request without its target.
pub(crate) struct Asked<'a> {
    /// The method.
    pub(crate) method: Method,
    /// The path, first segment and all.
    pub(crate) path: &'a str,
    /// Type and bytes of a body.
    pub(crate) body: Option<(&'a str, String)>,
    /// More header fields.
    pub(crate) headers: &'a [(&'static str, String)],
}

/// The first path segment of the lane to a server inside: `domain`, or `domain/scheme/host/port`.
pub(crate) fn lane(domain: &str, server: Option<(&str, &str, u16)>) -> String {
    let text = match server {
        Some((scheme, host, port)) => format!("{domain}/{scheme}/{host}/{port}"),
        None => domain.to_owned(),
    };
    URL_SAFE_NO_PAD.encode(text)
}

impl Web {
    /// A client of that edge.
    pub(crate) fn new(
        local: IpAddr,
        edge: SocketAddr,
        name: &str,
        tls: Arc<rustls::ClientConfig>,
        recorder: Recorder,
    ) -> Web {
        let name = name.to_owned();
        let connection = tokio::sync::Mutex::new(None);
        Web {
            local,
            edge,
            name,
            tls,
            recorder,
            connection,
            facts: Default::default(),
        }
    }

    /// Opens a connection, if none is open, and tells TLS version and cipher.
    ///
    /// # Errors
    /// The edge is not reached, or its certificate is not good for its name.
    pub(crate) async fn open(&self) -> Result<String> {
        let mut connection = self.connection.lock().await;
        if connection.as_ref().is_none_or(SendRequest::is_closed) {
            *connection = Some(self.dial().await?);
        }
        Ok(self
            .facts
            .lock()
            .map(|facts| facts.clone())
            .unwrap_or_default())
    }

    /// Sends a request and reads the answer whole.
    ///
    /// # Errors
    /// No connection, or none that answered; a status is no error.
    pub(crate) async fn send(&self, who: &Identity, asked: Asked<'_>) -> Result<Reply> {
        let sent = tokio::time::timeout(PATIENCE, self.exchange(who, &asked)).await;
        sent.with_context(|| format!("{} was not answered in {PATIENCE:?}", asked.path))?
    }

    async fn exchange(&self, who: &Identity, asked: &Asked<'_>) -> Result<Reply> {
        let mut connection = self.connection.lock().await;
        if connection.as_ref().is_none_or(SendRequest::is_closed) {
            *connection = Some(self.dial().await?);
        }
        let sender = connection.as_mut().context("a connection")?;
        sender.ready().await?;
        self.recorder.note("http", true, asked.method.as_str());
        let response = sender.send_request(self.request(who, asked)?).await?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, BODY_MAX).collect().await;
        let body = body
            .map_err(|fault| anyhow::anyhow!("reading the body: {fault}"))?
            .to_bytes();
        let closes = head
            .headers
            .get("connection")
            .is_some_and(|value| value == "close");
        if closes {
            *connection = None;
        }
        self.recorder.note("http", false, head.status.as_str());
        Ok(Reply {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        })
    }

    fn request(&self, who: &Identity, asked: &Asked<'_>) -> Result<Request<Full<Bytes>>> {
        let mut request = Request::builder()
            .method(asked.method.clone())
            .uri(asked.path)
            .header("host", format!("{}:{}", self.name, self.edge.port()))
            .header("user-agent", "Jabber-Lab/1.0")
            .header("accept", "*/*");
        if let Some((name, password)) = &who.basic {
            let value = STANDARD.encode(format!("{name}:{password}"));
            request = request.header("authorization", format!("Basic {value}"));
        }
        if let Some(token) = &who.bearer {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        if let Some(token) = &who.token {
            request = request.header("cookie", format!("X-Auth={token}"));
        }
        for (name, value) in asked.headers {
            request = request.header(*name, value);
        }
        let body = match &asked.body {
            Some((kind, text)) => {
                request = request.header("content-type", *kind);
                Bytes::from(text.clone())
            }
            None => Bytes::new(),
        };
        Ok(request.body(Full::new(body))?)
    }

    async fn dial(&self) -> Result<SendRequest<Full<Bytes>>> {
        let socket = if self.edge.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.bind((self.local, 0).into())?;
        let edge = self.edge;
        let stream = socket
            .connect(edge)
            .await
            .with_context(|| format!("connecting to {edge}"))?;
        stream.set_nodelay(true)?;
        let name = ServerName::try_from(self.name.clone())?;
        let stream = TlsConnector::from(Arc::clone(&self.tls))
            .connect(name, stream)
            .await
            .with_context(|| format!("TLS with {edge} as {}", self.name))?;
        let (_, session) = stream.get_ref();
        let version = session
            .protocol_version()
            .and_then(|v| v.as_str().map(str::to_owned));
        let cipher = session
            .negotiated_cipher_suite()
            .and_then(|c| c.suite().as_str());
        if let Ok(mut facts) = self.facts.lock() {
            *facts = format!(
                "{} {}",
                version.unwrap_or_default(),
                cipher.unwrap_or_default()
            );
        }
        let (sender, connection) = handshake(TokioIo::new(stream)).await?;
        tokio::spawn(async move {
            // Its end shows in the sender.
            let _ = connection.await;
        });
        Ok(sender)
    }
}
