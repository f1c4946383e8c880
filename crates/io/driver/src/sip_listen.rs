//! SIP connections that others make: of clients on the edge (TLS 5061), of call control on the
//! core (TCP 5060, TLS 5061).

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use net::tls;
use node::io::{Facts, Input, Report, Side, Transport};
use rustls::ServerConfig;
use sip::Limits;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::listen::{self, Caps, Place, Sources};
use crate::signal::Handle;
use crate::sip_io::{self, Workers};

const HANDSHAKE_MAX: Duration = Duration::from_secs(5);

/// A SIP service.
#[derive(Clone)]
pub struct SipListener {
    /// The way to the node.
    pub handle: Handle,
    /// Who serves connections that stand.
    pub workers: Workers,
    /// Who connects here.
    pub side: Side,
    /// TLS, unless it is plain TCP.
    pub tls: Option<tls::Live<ServerConfig>>,
    /// Whom we trust, where hosts are asked for a certificate and refused for none.
    pub proving: Option<crate::certificates::Certificates>,
    /// What a message may be.
    pub limits: Limits,
    /// How many connections there may be.
    pub caps: Caps,
}

impl SipListener {
    /// Accepts until told to stop.
    pub async fn run(self, listener: TcpListener, stop: watch::Receiver<bool>) {
        let sources = Sources::new(self.caps).telling(self.handle.clone());
        listen::accept_places(listener, sources, stop, move |stream, remote, place| {
            let this = self.clone();
            async move {
                if let Err(e) = this.connection(stream, remote, place).await {
                    tracing::debug!(error = %e, "a connection was gone at once");
                }
            }
        })
        .await;
    }

    async fn connection(
        self,
        stream: TcpStream,
        remote: SocketAddr,
        place: Place,
    ) -> io::Result<()> {
        net::socket::tune(&stream);
        let local = stream.local_addr()?;
        let transport = if self.tls.is_some() {
            Transport::Tls
        } else {
            Transport::Tcp
        };
        let mut facts = Facts {
            side: self.side,
            local,
            remote,
            transport,
            peer_name: None,
        };
        let stream = match &self.tls {
            None => sip_io::Stream::plain(stream)?,
            Some(config) => match tls::accept(config.get(), stream, HANDSHAKE_MAX).await {
                Ok(stream) => {
                    facts.peer_name = match &self.proving {
                        Some(certificates) => {
                            let names = tls::proven(&stream, &certificates.now().trust);
                            Some(names.join(" ")).filter(|names| !names.is_empty())
                        }
                        // It was checked in the handshake, if it was asked for.
                        None => tls::peer(&stream, &[]).map(|(shown, _)| shown.shown()),
                    };
                    sip_io::Stream::tls(stream)?
                }
                Err(e) => {
                    // Scanners and clients that dislike our certificate: worth a count, not a
                    // line.
                    tracing::debug!(error = %e, "a TLS handshake failed");
                    not_tls(&self.handle, remote, &e);
                    return Ok(());
                }
            },
        };
        let conn = self.handle.number();
        let guard = Box::new(place);
        self.workers
            .hand_over(conn, facts, self.limits, stream, guard);
        Ok(())
    }
}

/// Tells the node of a client that did not speak TLS at all.
pub(crate) fn not_tls(handle: &Handle, source: SocketAddr, error: &net::Error) {
    if let net::Error::Handshake {
        fault: net::Fault::NotTls,
        cause,
        ..
    } = error
    {
        let cause = cause.clone();
        // A node that is swamped has better things to count.
        let _ = handle.try_input(Input::Report(Report::Violation {
            protocol: "tls",
            source,
            cause,
        }));
    }
}
