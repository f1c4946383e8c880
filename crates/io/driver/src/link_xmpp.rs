//! Port 7400: the XMPP lane. The core dials with mutual TLS, the edge opens a byte pipe in it for
//! each client's stream.
//!
//! Bounds: [`CONNECTIONS`] connections a peer with 512 streams each, 64 connections on the edge's
//! port.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use net::lane::{self, Body, EdgeLane, Windows};
use net::tls;
use node::io::{Input, Lane};
use rustls::{ClientConfig, ServerConfig};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::link_sip::{HANDSHAKE_MAX, Pause, refusal};
use crate::link_ssh::Counted;
use crate::listen::{self, Caps, Sources};
use crate::signal::{Handle, Stopping};

/// The ALPN protocol of the XMPP lane.
pub const ALPN: &[u8] = b"causeway-xmpp/1";

/// Connections that a core keeps with each edge.
pub const CONNECTIONS: usize = 2;

const DIAL_MAX: Duration = Duration::from_secs(5);

/// The edge's side.
#[derive(Clone)]
pub struct Acceptor {
    /// The way to the node.
    pub handle: Handle,
    /// Made by [`tls::link_server`] with [`ALPN`].
    pub config: tls::Live<ServerConfig>,
    /// The core names accepted, in the order of the node's peers.
    pub names: Arc<Vec<String>>,
    /// The XMPP lane of each peer, in the same order.
    pub lanes: Arc<[EdgeLane]>,
}

impl Acceptor {
    /// Accepts until told to stop.
    pub async fn run(self, listener: TcpListener, stop: watch::Receiver<bool>) {
        let sources = Sources::new(Caps {
            total: 64,
            per_source: 16,
            paces: None,
        });
        listen::accept(listener, sources, stop, move |stream, remote| {
            let this = self.clone();
            async move {
                // The node being gone means that the program stops.
                let _ = this.connection(stream, remote).await;
            }
        })
        .await;
    }

    async fn connection(self, stream: TcpStream, remote: SocketAddr) -> Result<(), Stopping> {
        net::socket::tune(&stream);
        let stream = match tls::accept(self.config.get(), stream, HANDSHAKE_MAX).await {
            Ok(stream) => stream,
            Err(e) => {
                let report = refusal(remote, &e);
                return self.handle.input(Input::Report(report)).await;
            }
        };
        if tls::negotiated(&stream) != Some(ALPN) {
            return Ok(());
        }
        let name = tls::peer(&stream, &self.names).and_then(|(_, name)| name.map(str::to_owned));
        let Some(peer) = name.and_then(|name| self.names.iter().position(|n| *n == name)) else {
            return Ok(());
        };
        let Some(lane) = self.lanes.get(peer).cloned() else {
            return Ok(());
        };
        let mut changes = lane.changes();
        let mut attached = std::pin::pin!(lane.attach(stream));
        let mut before = *changes.borrow();
        let why = loop {
            let connections = *changes.borrow_and_update();
            // A connection that goes tells of it itself, with the reason.
            if connections > before {
                let input = Input::Lane {
                    peer,
                    lane: Lane::Xmpp,
                    connections,
                    why: None,
                };
                self.handle.input(input).await?;
            }
            before = connections;
            tokio::select! {
                // The lane's sender lives in `lane`.
                _ = changes.changed() => {}
                ended = attached.as_mut() => break ended.err().map(|e| e.to_string()),
            }
        };
        let why = Some(why.unwrap_or_else(|| "closed by the peer".into()));
        let connections = lane.count();
        self.handle
            .input(Input::Lane {
                peer,
                lane: Lane::Xmpp,
                connections,
                why,
            })
            .await
    }
}

/// The core's side, for one peer.
#[derive(Clone)]
pub struct Dialer<F> {
    /// The way to the node.
    pub handle: Handle,
    /// Finds the address of [`Dialer::host`].
    pub resolver: net::dns::Resolver,
    /// Index of the peer in the configuration.
    pub peer: usize,
    /// Name or address to dial.
    pub host: String,
    /// 7400 by default.
    pub port: u16,
    /// The name the edge's certificate must carry; part of the TLS configuration.
    pub verify_name: String,
    /// The local address to dial from.
    pub from: Option<IpAddr>,
    /// Made by [`tls::link_client`] with [`ALPN`].
    pub config: tls::Live<ClientConfig>,
    /// Answers the edge's requests.
    pub service: F,
}

impl<F, R> Dialer<F>
where
    F: Fn(usize, Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    /// Keeps [`CONNECTIONS`] connections up until told to stop.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let up = Arc::new(AtomicUsize::new(0));
        let mut connections = JoinSet::new();
        for nth in 0..CONNECTIONS {
            connections.spawn(self.clone().keep_one(nth, up.clone(), stop.clone()));
        }
        while connections.join_next().await.is_some() {}
    }

    async fn keep_one(self, nth: usize, up: Arc<AtomicUsize>, mut stop: watch::Receiver<bool>) {
        let mut pause =
            Pause::new(u64::from(self.port) << 5 ^ ((self.peer * 8 + nth) as u64) << 35);
        loop {
            let began = tokio::time::Instant::now();
            let stopping = stop.clone();
            let why = tokio::select! {
                why = self.connection(&up, &stopping) => why,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let Ok(why) = why else { return };
            let connections = up.load(Ordering::Relaxed);
            let down = Input::Lane {
                peer: self.peer,
                lane: Lane::Xmpp,
                connections,
                why: Some(why),
            };
            if self.handle.input(down).await.is_err() || !pause.wait(began, &stop).await {
                return;
            }
        }
    }

    /// One connection from dialling to its end; gives the reason.
    async fn connection(
        &self,
        up: &Arc<AtomicUsize>,
        stop: &watch::Receiver<bool>,
    ) -> Result<String, Stopping> {
        let stream = match self.dial().await {
            Ok(stream) => stream,
            Err(e) => return Ok(e.to_string()),
        };
        // With TLS 1.3 this side's handshake is over before the edge has seen our certificate: the
        // lane is up once the edge speaks.
        let (stream, heard) = Heard::new(stream);
        let (service, peer, mut stop) = (self.service.clone(), self.peer, stop.clone());
        let stopped = async {
            // The sender being gone means that the program stops, too.
            let _ = stop.wait_for(|stop| *stop).await;
        };
        let answer = move |request| service(peer, request);
        let mut served = std::pin::pin!(lane::serve(stream, Windows::XMPP, stopped, answer));
        let mut counted = None;
        let ended = tokio::select! {
            ended = served.as_mut() => ended,
            Ok(()) = heard => {
                counted = Some(Counted::new(up));
                let input = Input::Lane {
                    peer: self.peer,
                    lane: Lane::Xmpp,
                    connections: up.load(Ordering::Relaxed),
                    why: None,
                };
                self.handle.input(input).await?;
                served.await
            }
        };
        drop(counted);
        Ok(match ended {
            Ok(()) => "closed by the peer".into(),
            Err(e) => e.to_string(),
        })
    }

    async fn dial(&self) -> Result<tls::Stream<TcpStream>, net::Error> {
        let stream =
            crate::dial::tcp(&self.resolver, &self.host, self.port, self.from, DIAL_MAX).await?;
        tls::connect(self.config.get(), &self.verify_name, stream, HANDSHAKE_MAX).await
    }
}

/// A stream that tells when its first byte has come in.
struct Heard<S> {
    stream: S,
    tell: Option<oneshot::Sender<()>>,
}

impl<S> Heard<S> {
    fn new(stream: S) -> (Self, oneshot::Receiver<()>) {
        let (tell, heard) = oneshot::channel();
        let tell = Some(tell);
        (Heard { stream, tell }, heard)
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if buf.filled().len() > before
            && let Some(tell) = self.tell.take()
        {
            // Who waited may have gone.
            let _ = tell.send(());
        }
        polled
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
