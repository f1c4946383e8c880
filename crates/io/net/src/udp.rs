//! UDP for media: sockets that never wait, and many datagrams for one system call.
//!
//! A [`Udp`] is bound to the address that packets are to leave from, so a machine with several
//! addresses answers from the right one. An [`Inbox`] takes what is ready on a socket; an
//! [`Outbox`] gathers what leaves one. Where the kernel can, neighbours of one length travel as one
//! large datagram: generic segmentation offload out (`UDP_SEGMENT`), generic receive offload in
//! (`UDP_GRO`), which costs a fiftieth of one trip each. Where it cannot, each goes by itself.
//!
//! Nothing is allocated after a box was made. Bounds: [`BATCH_MAX`] datagrams a call,
//! [`SEGMENTS_MAX`] segments each.

mod inbox;
mod kernel;
mod outbox;

pub use inbox::{Datagram, Inbox};
pub use kernel::BATCH_MAX;
pub use outbox::Outbox;

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};

use socket2::{Domain, Protocol, Socket, Type};

/// Segments of one large datagram: the kernel's own bound (`UDP_MAX_SEGMENTS`).
pub const SEGMENTS_MAX: usize = 64;

/// How a socket is opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Bytes that may wait to be read, the kernel's bookkeeping included (about 1.3 KB a small
    /// packet). `None` leaves the system's default.
    pub receive_bytes: Option<usize>,
    /// Bytes that may wait to be sent. `None` leaves the system's default.
    pub send_bytes: Option<usize>,
    /// The DSCP of what leaves, 0–63 (RFC 2474): 46 is expedited forwarding. `None` sets none.
    pub dscp: Option<u8>,
    /// Whether neighbours may arrive as one large datagram. The inbox must then have room for
    /// 64 KiB a slot.
    pub coalesce: bool,
}

/// A UDP socket that never waits.
#[derive(Debug)]
pub struct Udp {
    socket: Socket,
}

impl Udp {
    /// Binds an address; port 0 takes any free one.
    ///
    /// # Errors
    /// What the system says, e.g. `AddrInUse`, or that no descriptor is left. Options that the
    /// system refuses are passed over: media flows without them.
    pub fn bind(address: SocketAddr, options: Options) -> io::Result<Udp> {
        let socket = Socket::new(
            Domain::for_address(address),
            Type::DGRAM.nonblocking(),
            Some(Protocol::UDP),
        )?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        if let Some(bytes) = options.receive_bytes
            && !kernel::force_receive_buffer(socket.as_fd(), bytes)
        {
            let _ = socket.set_recv_buffer_size(bytes);
        }
        if let Some(bytes) = options.send_bytes {
            let _ = socket.set_send_buffer_size(bytes);
        }
        if let Some(dscp) = options.dscp {
            let class = u32::from(dscp & 63) << 2;
            let _ = if address.is_ipv4() {
                socket.set_tos_v4(class)
            } else {
                socket.set_tclass_v6(class)
            };
        }
        if options.coalesce {
            let _ = kernel::coalesce(socket.as_fd());
        }
        socket.bind(&address.into())?;
        Ok(Udp { socket })
    }

    /// Takes and sends datagrams of one peer only; the kernel drops those of others, and looks no
    /// route up for each that leaves. May be called again with another peer.
    ///
    /// # Errors
    /// What the system says, e.g. that there is no route.
    pub fn connect(&self, peer: SocketAddr) -> io::Result<()> {
        self.socket.connect(&peer.into())
    }

    /// Takes datagrams from anyone again. The local address stays, unless its port was bound as 0:
    /// Linux then takes it back.
    ///
    /// # Errors
    /// What the system says.
    pub fn disconnect(&self) -> io::Result<()> {
        kernel::disconnect(self.as_fd())
    }

    /// The bound address.
    ///
    /// # Errors
    /// What the system says.
    pub fn local_address(&self) -> io::Result<SocketAddr> {
        self.socket
            .local_addr()?
            .as_socket()
            .ok_or_else(|| ErrorKind::AddrNotAvailable.into())
    }

    /// The receive buffer that the system granted, in bytes; 0 if it does not say. Linux grants
    /// twice what was asked for, up to twice `net.core.rmem_max`.
    pub fn receive_bytes(&self) -> usize {
        self.socket.recv_buffer_size().unwrap_or(0)
    }

    /// Sends one datagram; `to` is `None` on a connected socket. True if the kernel took it. The
    /// report of an earlier datagram that was refused (ICMP) does not stop this one.
    pub fn send(&self, to: Option<SocketAddr>, datagram: &[u8]) -> bool {
        let once = || match to {
            Some(to) => self.socket.send_to(datagram, &to.into()),
            None => self.socket.send(datagram),
        };
        match once() {
            Ok(_) => true,
            Err(e) if stale(&e) => once().is_ok(),
            Err(_) => false,
        }
    }
}

/// Whether an error tells of an earlier datagram, not of this one.
fn stale(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::ConnectionRefused | ErrorKind::HostUnreachable | ErrorKind::Interrupted
    )
}

impl AsFd for Udp {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl AsRawFd for Udp {
    fn as_raw_fd(&self) -> RawFd {
        self.socket.as_raw_fd()
    }
}

#[cfg(test)]
mod tests;
