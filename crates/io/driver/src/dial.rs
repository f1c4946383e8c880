//! Connections that the node asks for: the core towards call control.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use net::dns::Resolver;
use net::tls;
use node::io::{ConnId, Facts, Input, Side, Target, Transport};
use rustls::ClientConfig;
use sip::Limits;
use tokio::net::{TcpSocket, TcpStream};

use crate::link_sip;
use crate::signal::Handle;
use crate::sip_io::{self, Workers};

const DIAL_MAX: Duration = Duration::from_secs(5);

/// Resolves a name and dials its addresses in turn, without Nagle's delay.
///
/// # Errors
/// What was seen, naming the address.
pub async fn tcp(
    resolver: &Resolver,
    host: &str,
    port: u16,
    from: Option<IpAddr>,
    within: Duration,
) -> Result<TcpStream, net::Error> {
    let mut last = net::Error::NotFound {
        name: host.to_owned(),
    };
    for ip in resolver.addresses(host).await? {
        let address = SocketAddr::new(ip, port);
        match tokio::time::timeout(within, one(address, from)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(e)) => {
                last = net::Error::Connect {
                    address,
                    cause: e.to_string(),
                }
            }
            Err(_) => {
                let cause = format!("no answer within {} s", within.as_secs());
                last = net::Error::Connect { address, cause };
            }
        }
    }
    Err(last)
}

async fn one(address: SocketAddr, from: Option<IpAddr>) -> std::io::Result<TcpStream> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()?
    } else {
        TcpSocket::new_v6()?
    };
    if let Some(from) = from.filter(|f| f.is_ipv4() == address.is_ipv4()) {
        socket.bind(SocketAddr::new(from, 0))?;
    }
    let stream = socket.connect(address).await?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Dials call control, or from an edge a foreign domain, and serves the connection until it ends.
#[derive(Clone)]
pub struct Inside {
    /// What such connections are to the node.
    pub side: Side,
    /// How strictly what comes in on them is read.
    pub limits: Limits,
    /// The way to the node.
    pub handle: Handle,
    /// Who serves connections that stand.
    pub workers: Workers,
    /// Finds addresses.
    pub resolver: Resolver,
    /// Towards call control over TLS.
    pub tls: tls::Live<ClientConfig>,
    /// The same where the certificate is not to be checked.
    pub unchecked: tls::Live<ClientConfig>,
}

impl Inside {
    /// Dials `target` and serves the connection.
    pub async fn run(self, conn: ConnId, target: Target) {
        let why = match self.connect(&target).await {
            Ok((stream, secure)) => {
                let ends = stream
                    .local_addr()
                    .and_then(|l| Ok((l, stream.peer_addr()?)));
                match ends {
                    Ok((local, remote)) => {
                        let transport = if secure {
                            Transport::Tls
                        } else {
                            Transport::Tcp
                        };
                        let facts = Facts {
                            side: self.side,
                            local,
                            remote,
                            transport,
                            peer_name: target.tls.clone(),
                        };
                        match self.shake_hands(&target, stream).await {
                            Ok(stream) => {
                                let limits = self.limits;
                                return self.workers.serve(conn, facts, limits, stream).await;
                            }
                            Err(e) => e.to_string(),
                        }
                    }
                    Err(e) => e.to_string(),
                }
            }
            Err(e) => e.to_string(),
        };
        // The node being gone means that the program stops.
        let _ = self.handle.input(Input::Disconnected { conn, why }).await;
    }

    async fn connect(&self, target: &Target) -> Result<(TcpStream, bool), net::Error> {
        let stream = tcp(
            &self.resolver,
            &target.host,
            target.port,
            target.from,
            DIAL_MAX,
        )
        .await?;
        Ok((stream, target.tls.is_some()))
    }

    async fn shake_hands(
        &self,
        target: &Target,
        stream: TcpStream,
    ) -> Result<sip_io::Stream, net::Error> {
        let Some(name) = &target.tls else {
            return Ok(sip_io::Stream::plain(stream)?);
        };
        let config = if target.tls_verify {
            self.tls.get()
        } else {
            self.unchecked.get()
        };
        let within = link_sip::HANDSHAKE_MAX;
        let stream = tls::connect(config, name, stream, within).await?;
        Ok(sip_io::Stream::tls(stream)?)
    }
}
