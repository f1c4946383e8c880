//! Port 7001: the control lane and the SIP lane, told apart by ALPN, both mutual TLS.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use net::tls;
use node::io::{ConnId, Facts, Input, Report, Side, Transport};
use rustls::{ClientConfig, ServerConfig};
use sip::Limits;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::control;
use crate::listen::{self, Caps, Sources};
use crate::signal::{Handle, Stopping};
use crate::sip_io::{self, Workers};

/// The ALPN protocol of the SIP lane.
pub const ALPN_SIP: &[u8] = b"sip";

/// How long a TLS handshake may take.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// How long a connection attempt may take.
const DIAL_MAX: Duration = Duration::from_secs(5);

/// The edge's side.
#[derive(Clone)]
pub struct Acceptor {
    /// The way to the node.
    pub handle: Handle,
    /// Who serves SIP lanes.
    pub workers: Workers,
    /// Made by [`tls::link_server`] with both protocols.
    pub config: tls::Live<ServerConfig>,
    /// The core names accepted, in the order of the node's peers.
    pub names: Arc<Vec<String>>,
}

impl Acceptor {
    /// Accepts until told to stop.
    pub async fn run(self, listener: TcpListener, stop: watch::Receiver<bool>) {
        // Cores only: few connections, but a cluster of six with several SIP lanes each.
        let sources = Sources::new(Caps {
            total: 256,
            per_source: 64,
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
        let Ok(local) = stream.local_addr() else {
            return Ok(());
        };
        let stream = match tls::accept(self.config.get(), stream, HANDSHAKE_MAX).await {
            Ok(stream) => stream,
            Err(e) => {
                let report = refusal(remote, &e);
                return self.handle.input(Input::Report(report)).await;
            }
        };
        let Some((_, Some(name))) = tls::peer(&stream, &self.names) else {
            return Ok(());
        };
        let Some(peer) = self.names.iter().position(|n| n == name) else {
            return Ok(());
        };
        let ends = Ends {
            local,
            remote,
            peer,
            peer_name: name.to_owned(),
        };
        match tls::negotiated(&stream) {
            Some(p) if p == traversal::ALPN => {
                control_lane(self.handle, ends, stream).await?;
            }
            Some(p) if p == ALPN_SIP => sip_lane(&self.handle, &self.workers, ends, stream).await,
            _ => {}
        }
        Ok(())
    }
}

/// What a failed handshake on a link's port is: a core whose certificate must be seen to, or
/// anybody's nonsense.
pub(crate) fn refusal(source: SocketAddr, error: &net::Error) -> Report {
    let cause = error.to_string();
    if error.is_refused_certificate() {
        return Report::LinkRefused { source, cause };
    }
    Report::Violation {
        protocol: "tls",
        source,
        cause,
    }
}

struct Ends {
    local: SocketAddr,
    remote: SocketAddr,
    peer: usize,
    peer_name: String,
}

async fn sip_lane(handle: &Handle, workers: &Workers, ends: Ends, stream: tls::Stream<TcpStream>) {
    let facts = Facts {
        side: Side::Lane { peer: ends.peer },
        local: ends.local,
        remote: ends.remote,
        transport: Transport::Tls,
        peer_name: Some(ends.peer_name),
    };
    match sip_io::Stream::tls(stream) {
        Ok(stream) => {
            let conn = handle.number();
            workers.serve(conn, facts, Limits::lane(), stream).await;
        }
        Err(e) => tracing::debug!(error = %e, "a SIP lane was gone at once"),
    }
}

async fn control_lane(
    handle: Handle,
    ends: Ends,
    stream: tls::Stream<TcpStream>,
) -> Result<String, Stopping> {
    let secrets = tls::export(&stream, traversal::EXPORTER_HELLO)
        .and_then(|hello| Ok((hello, tls::export(&stream, traversal::EXPORTER_MEDIA)?)));
    let (exported, media_secret) = match secrets {
        Ok(pair) => pair,
        Err(e) => return Ok(e.to_string()),
    };
    let conn = handle.number();
    let up = Input::ControlUp {
        conn,
        peer: ends.peer,
        peer_name: ends.peer_name,
        remote: ends.remote,
        exported,
        media_secret,
    };
    control::serve(handle, conn, up, stream).await
}

/// The core's side, for one peer.
#[derive(Clone)]
pub struct Dialer {
    /// The way to the node.
    pub handle: Handle,
    /// Who serves SIP lanes.
    pub workers: Workers,
    /// Finds the address of [`Dialer::host`].
    pub resolver: net::dns::Resolver,
    /// Index of the peer in the configuration.
    pub peer: usize,
    /// Name or address to dial.
    pub host: String,
    /// 7001 by default.
    pub port: u16,
    /// The name the edge's certificate must carry; part of both TLS configurations.
    pub verify_name: String,
    /// The local address to dial from.
    pub from: Option<IpAddr>,
    /// Made by [`tls::link_client`] for the control lane.
    pub control: tls::Live<ClientConfig>,
    /// Made by [`tls::link_client`] for the SIP lane.
    pub sip: tls::Live<ClientConfig>,
}

impl Dialer {
    /// Keeps the control lane up until told to stop.
    pub async fn run_control(self, stop: watch::Receiver<bool>) {
        let mut pause = Pause::new(u64::from(self.port) ^ (self.peer as u64) << 32);
        loop {
            let began = tokio::time::Instant::now();
            let why = match self.connect(&self.control.get()).await {
                Ok((ends, stream)) => match control_lane(self.handle.clone(), ends, stream).await {
                    Ok(why) => why,
                    Err(Stopping) => return,
                },
                Err(why) => why,
            };
            let down = Input::ControlDown {
                conn: ConnId(u64::MAX - self.peer as u64),
                why,
            };
            if self.handle.input(down).await.is_err() {
                return;
            }
            if !pause.wait(began, &stop).await {
                return;
            }
        }
    }

    /// Keeps one SIP connection up until told to stop.
    pub async fn run_sip(self, stop: watch::Receiver<bool>) {
        let mut pause = Pause::new(u64::from(self.port) << 7 ^ (self.peer as u64) << 33);
        loop {
            let began = tokio::time::Instant::now();
            match self.connect(&self.sip.get()).await {
                Ok((ends, stream)) => {
                    sip_lane(&self.handle, &self.workers, ends, stream).await;
                }
                Err(why) => tracing::debug!(peer = self.peer, why, "SIP lane not up"),
            }
            if !pause.wait(began, &stop).await {
                return;
            }
        }
    }

    async fn connect(
        &self,
        config: &Arc<ClientConfig>,
    ) -> Result<(Ends, tls::Stream<TcpStream>), String> {
        let stream = crate::dial::tcp(&self.resolver, &self.host, self.port, self.from, DIAL_MAX)
            .await
            .map_err(|e| e.to_string())?;
        let local = stream.local_addr().map_err(|e| e.to_string())?;
        let remote = stream.peer_addr().map_err(|e| e.to_string())?;
        let stream = tls::connect(config.clone(), &self.verify_name, stream, HANDSHAKE_MAX)
            .await
            .map_err(|e| e.to_string())?;
        let ends = Ends {
            local,
            remote,
            peer: self.peer,
            peer_name: self.verify_name.clone(),
        };
        Ok((ends, stream))
    }
}

/// Back-off between attempts: 0.5 s doubling to 30 s, each with up to half as much again of
/// jitter, so that a hundred cores do not come back in one moment.
pub struct Pause {
    rng: base::Rng,
    next: Duration,
}

impl Pause {
    const FIRST: Duration = Duration::from_millis(500);
    const LAST: Duration = Duration::from_secs(30);

    /// `salt` tells the waits of one process apart.
    pub fn new(salt: u64) -> Self {
        let clock = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_nanos() as u64);
        Pause {
            rng: base::Rng::from_number(salt ^ clock),
            next: Self::FIRST,
        }
    }

    /// Waits; false if the program stops. An attempt that held for a minute starts over.
    pub async fn wait(
        &mut self,
        began: tokio::time::Instant,
        stop: &watch::Receiver<bool>,
    ) -> bool {
        if began.elapsed() > Duration::from_secs(60) {
            self.next = Self::FIRST;
        }
        let jitter = self.rng.below(self.next.as_millis() as u64 / 2 + 1);
        let wait = self.next + Duration::from_millis(jitter);
        self.next = (self.next * 2).min(Self::LAST);
        let mut stop = stop.clone();
        tokio::select! {
            () = tokio::time::sleep(wait) => true,
            _ = stop.wait_for(|stop| *stop) => false,
        }
    }
}
