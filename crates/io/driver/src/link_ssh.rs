//! Port 2222: the HTTP lane. The core dials with SSH, the edge opens tunnels through it and sends
//! HTTP/2 requests into them.
//!
//! Both sides pin one another's Ed25519 keys, which they learned over the control lane; until
//! then nobody gets in and nothing is dialled. Bounds: [`SESSIONS`] sessions a peer,
//! [`TUNNELS`] tunnels a session, 32 connections on the edge's port.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::Incoming;
use net::lane::{self, Body, EdgeLane, Windows};
use net::ssh;
use node::io::{Input, Lane, Report};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::link_sip::Pause;
use crate::listen::{self, Caps, Sources};
use crate::signal::{Handle, Stopping};

/// Sessions that a core keeps with each edge, so that one slow TCP connection is not all there is.
pub const SESSIONS: usize = 2;

/// Tunnels that an edge opens in each session.
pub const TUNNELS: usize = 2;

const DIAL_MAX: Duration = Duration::from_secs(5);

/// The edge's side.
#[derive(Clone)]
pub struct Acceptor {
    /// The way to the node.
    pub handle: Handle,
    /// Shows the host key, knows the pinned cores.
    pub ssh: ssh::Acceptor,
    /// The HTTP lane of each peer, in the order of the node's peers.
    pub lanes: Arc<[EdgeLane]>,
}

impl Acceptor {
    /// Accepts until told to stop.
    pub async fn run(self, listener: TcpListener, stop: watch::Receiver<bool>) {
        let sources = Sources::new(Caps {
            total: 32,
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
        let mut session = match self.ssh.accept(stream).await {
            Ok(session) => session,
            Err(e) => {
                let cause = e.to_string();
                let report = Report::Violation {
                    protocol: "ssh",
                    source: remote,
                    cause,
                };
                return self.handle.input(Input::Report(report)).await;
            }
        };
        let peer = session.peer();
        let Some(lane) = self.lanes.get(peer).cloned() else {
            return Ok(());
        };
        let mut tunnels = JoinSet::new();
        let mut why = None;
        for _ in 0..TUNNELS {
            match session.open().await {
                Ok(tunnel) => {
                    let lane = lane.clone();
                    tunnels.spawn(async move { lane.attach(tunnel).await });
                }
                Err(e) => why = Some(e.to_string()),
            }
        }
        let mut changes = lane.changes();
        loop {
            let connections = *changes.borrow_and_update();
            let input = Input::Lane {
                peer,
                lane: Lane::Http,
                connections,
                why: why.take(),
            };
            self.handle.input(input).await?;
            tokio::select! {
                // The lane's sender lives in `lane`.
                _ = changes.changed() => {}
                ended = session.ended() => {
                    why = Some(ended);
                    break;
                }
                // A core that ends its tunnels one by one is taken at its word.
                ended = tunnels.join_next() => match ended {
                    None => break,
                    Some(Ok(Err(e))) => why = Some(e.to_string()),
                    Some(_) => {}
                },
            }
        }
        drop(session);
        tunnels.shutdown().await;
        let connections = lane.count();
        self.handle
            .input(Input::Lane {
                peer,
                lane: Lane::Http,
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
    /// 2222 by default.
    pub port: u16,
    /// The local address to dial from.
    pub from: Option<IpAddr>,
    /// Our own key.
    pub key: ssh::Key,
    /// The edges' host keys, by peer.
    pub pins: ssh::Pins,
    /// Answers the edge's requests.
    pub service: F,
}

impl<F, R> Dialer<F>
where
    F: Fn(usize, Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    /// Keeps [`SESSIONS`] sessions up until told to stop.
    pub async fn run(self, stop: watch::Receiver<bool>) {
        let up = Arc::new(AtomicUsize::new(0));
        let mut sessions = JoinSet::new();
        for nth in 0..SESSIONS {
            sessions.spawn(self.clone().keep_one(nth, up.clone(), stop.clone()));
        }
        while sessions.join_next().await.is_some() {}
    }

    async fn keep_one(self, nth: usize, up: Arc<AtomicUsize>, mut stop: watch::Receiver<bool>) {
        let mut pause =
            Pause::new(u64::from(self.port) << 9 ^ ((self.peer * 8 + nth) as u64) << 34);
        loop {
            let host_key = tokio::select! {
                key = self.pins.wait(self.peer) => key,
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let began = tokio::time::Instant::now();
            let stopping = stop.clone();
            let why = tokio::select! {
                why = self.session(&host_key, &up, &stopping) => why,
                () = self.pins.revoked(self.peer, &host_key) => {
                    Ok("the edge's SSH host key changed".into())
                }
                _ = stop.wait_for(|stop| *stop) => return,
            };
            let Ok(why) = why else { return };
            let connections = up.load(Ordering::Relaxed);
            let down = Input::Lane {
                peer: self.peer,
                lane: Lane::Http,
                connections,
                why: Some(why),
            };
            if self.handle.input(down).await.is_err() || !pause.wait(began, &stop).await {
                return;
            }
        }
    }

    /// One session from dialling to its end; gives the reason.
    async fn session(
        &self,
        host_key: &ssh::PublicKey,
        up: &Arc<AtomicUsize>,
        stop: &watch::Receiver<bool>,
    ) -> Result<String, Stopping> {
        let stream = match crate::dial::tcp(
            &self.resolver,
            &self.host,
            self.port,
            self.from,
            DIAL_MAX,
        )
        .await
        {
            Ok(stream) => stream,
            Err(e) => return Ok(e.to_string()),
        };
        let mut session = match ssh::dial(stream, &self.key, host_key).await {
            Ok(session) => session,
            Err(e) => return Ok(e.to_string()),
        };
        let mut tunnels = JoinSet::new();
        loop {
            let tunnel = tokio::select! {
                tunnel = session.next() => tunnel,
                Some(_) = tunnels.join_next() => {
                    self.report(up).await?;
                    continue;
                }
            };
            let tunnel = match tunnel {
                Ok(tunnel) => tunnel,
                Err(why) => return Ok(why),
            };
            let (service, peer) = (self.service.clone(), self.peer);
            let (counted, mut stop) = (Counted::new(up), stop.clone());
            tunnels.spawn(async move {
                let stopped = async {
                    // The sender being gone means that the program stops, too.
                    let _ = stop.wait_for(|stop| *stop).await;
                };
                let answer = move |request| service(peer, request);
                if let Err(e) = lane::serve(tunnel, Windows::HTTP, stopped, answer).await {
                    tracing::debug!(peer, error = %e, "an HTTP tunnel ended");
                }
                drop(counted);
            });
            self.report(up).await?;
        }
    }

    async fn report(&self, up: &AtomicUsize) -> Result<(), Stopping> {
        let connections = up.load(Ordering::Relaxed);
        let input = Input::Lane {
            peer: self.peer,
            lane: Lane::Http,
            connections,
            why: None,
        };
        self.handle.input(input).await
    }
}

/// One connection in a count, however its task ends.
pub(crate) struct Counted(Arc<AtomicUsize>);

impl Counted {
    pub(crate) fn new(count: &Arc<AtomicUsize>) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Counted(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
