//! A link's socket, with what is to leave it.

use std::net::SocketAddr;

use net::udp::{Options, Outbox, Udp};

use super::Settings;
use super::turn::Desk;

/// Bytes gathered for one call: several rows of 64 packets of speech.
const OUTBOX_BYTES: usize = 128 * 1024;

/// One socket of the link.
pub(super) struct HopSocket {
    pub(super) socket: Udp,
    outbox: Outbox,
}

impl HopSocket {
    /// Opens a socket and watches it under its number. If it cannot be, the log says what to do.
    pub(super) fn open(
        desk: &Desk,
        index: usize,
        local: SocketAddr,
        peer: Option<SocketAddr>,
    ) -> Option<HopSocket> {
        match Self::try_open(desk, index, local, peer) {
            Ok(hop) => {
                let granted = hop.socket.receive_bytes();
                let wanted = desk.settings.link_receive_bytes;
                if granted < wanted {
                    tracing::info!(
                        %local,
                        granted,
                        wanted,
                        "small receive buffer for the link's media: raise net.core.rmem_max"
                    );
                }
                Some(hop)
            }
            Err(e) => {
                tracing::error!(
                    %local,
                    error = %e,
                    "the link's media port cannot be opened: is the address right, and free \
                     (ss -lupn)? trying again"
                );
                None
            }
        }
    }

    fn try_open(
        desk: &Desk,
        index: usize,
        local: SocketAddr,
        peer: Option<SocketAddr>,
    ) -> std::io::Result<HopSocket> {
        let Settings {
            link_receive_bytes,
            dscp,
            ..
        } = desk.settings;
        let options = Options {
            receive_bytes: Some(link_receive_bytes),
            send_bytes: Some(link_receive_bytes),
            dscp,
            coalesce: true,
        };
        let socket = Udp::bind(local, options)?;
        if let Some(peer) = peer {
            socket.connect(peer)?;
        }
        desk.watch_link(&socket, index)?;
        Ok(HopSocket {
            socket,
            outbox: Outbox::new(OUTBOX_BYTES),
        })
    }

    /// Adds a frame; `to` is `None` on a connected socket.
    pub(super) fn push(&mut self, to: Option<SocketAddr>, frame: &[u8]) {
        if !self.outbox.has_room(frame.len()) {
            self.flush();
        }
        self.outbox.push(to, frame);
    }

    /// Sends all. What the kernel does not take is lost, and the other end counts it.
    pub(super) fn flush(&mut self) {
        if !self.outbox.is_empty() {
            self.outbox.flush(&self.socket);
        }
    }
}
