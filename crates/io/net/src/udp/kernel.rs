//! The system calls that no safe crate gives without an allocation a call.
//!
//! `recvmmsg` and `sendmmsg` take arrays of pointers to buffers, names and control data. Here the
//! arrays live on the stack of one call, every pointer in them is made from a slice or reference
//! that the caller lends for that call, and every length is that slice's. The kernel keeps no
//! pointer after it returns. Names and control data are bytes, written and read without casts.

#![allow(unsafe_code)]

use std::io;
use std::mem::size_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::{AsRawFd, BorrowedFd};

use libc::{c_int, c_uint, iovec, mmsghdr, socklen_t};

/// Datagrams one call takes or gives.
pub const BATCH_MAX: usize = 32;

/// Linux, `include/uapi/linux/udp.h`.
const UDP_SEGMENT: c_int = 103;
const UDP_GRO: c_int = 104;

/// A `cmsghdr`: its length with what follows, its level, its type.
const CONTROL_HEAD: usize = size_of::<usize>() + 8;
const CONTROL_BYTES: usize = 64;

/// A `sockaddr_in` or `sockaddr_in6`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C, align(8))]
pub(super) struct Name {
    bytes: [u8; 32],
    length: socklen_t,
}

impl Name {
    /// As the kernel writes addresses.
    pub(super) fn of(address: SocketAddr) -> Name {
        let mut name = Name::default();
        let family = match address {
            SocketAddr::V4(v4) => {
                name.bytes[4..8].copy_from_slice(&v4.ip().octets());
                name.length = size_of::<libc::sockaddr_in>() as socklen_t;
                libc::AF_INET
            }
            SocketAddr::V6(v6) => {
                name.bytes[4..8].copy_from_slice(&v6.flowinfo().to_ne_bytes());
                name.bytes[8..24].copy_from_slice(&v6.ip().octets());
                name.bytes[24..28].copy_from_slice(&v6.scope_id().to_ne_bytes());
                name.length = size_of::<libc::sockaddr_in6>() as socklen_t;
                libc::AF_INET6
            }
        };
        name.bytes[..2].copy_from_slice(&(family as u16).to_ne_bytes());
        name.bytes[2..4].copy_from_slice(&address.port().to_be_bytes());
        name
    }

    /// `None` if it is neither of the two.
    pub(super) fn address(&self) -> Option<SocketAddr> {
        let b = &self.bytes;
        let port = u16::from_be_bytes([b[2], b[3]]);
        match c_int::from(u16::from_ne_bytes([b[0], b[1]])) {
            libc::AF_INET => {
                let ip = Ipv4Addr::new(b[4], b[5], b[6], b[7]);
                Some(SocketAddr::new(ip.into(), port))
            }
            libc::AF_INET6 => {
                let ip = Ipv6Addr::from(*b[8..].first_chunk::<16>()?);
                let flow = u32::from_ne_bytes(*b[4..].first_chunk()?);
                let scope = u32::from_ne_bytes(*b[24..].first_chunk()?);
                Some(SocketAddrV6::new(ip, port, flow, scope).into())
            }
            _ => None,
        }
    }
}

/// Room for control data, aligned as a `cmsghdr`.
#[derive(Clone, Copy)]
#[repr(C, align(8))]
pub(super) struct Control([u8; CONTROL_BYTES]);

impl Control {
    pub(super) const EMPTY: Control = Control([0; CONTROL_BYTES]);

    /// Asks the kernel to cut what is sent into segments.
    fn segment(bytes: u16) -> Control {
        let mut control = Control::EMPTY;
        let head = size_of::<usize>();
        control.0[..head].copy_from_slice(&(CONTROL_HEAD + 2).to_ne_bytes());
        control.0[head..head + 4].copy_from_slice(&libc::SOL_UDP.to_ne_bytes());
        control.0[head + 4..head + 8].copy_from_slice(&UDP_SEGMENT.to_ne_bytes());
        control.0[CONTROL_HEAD..CONTROL_HEAD + 2].copy_from_slice(&bytes.to_ne_bytes());
        control
    }

    /// The length of the segments that the kernel has joined, if it has. We ask for no other
    /// control data, so the first is the one.
    #[allow(
        clippy::unnecessary_cast,
        reason = "32 bits wide with some C libraries"
    )]
    fn joined(&self, header: &libc::msghdr) -> Option<usize> {
        let head = size_of::<usize>();
        let length = header.msg_controllen as usize;
        let written = self.0.get(..length.min(CONTROL_BYTES))?;
        let value = written.get(CONTROL_HEAD..)?.first_chunk::<4>()?;
        let level = c_int::from_ne_bytes(*written.get(head..)?.first_chunk()?);
        let kind = c_int::from_ne_bytes(*written.get(head + 4..)?.first_chunk()?);
        if (level, kind) != (libc::SOL_UDP, UDP_GRO) {
            return None;
        }
        usize::try_from(c_int::from_ne_bytes(*value))
            .ok()
            .filter(|n| *n > 0)
    }
}

/// One datagram that came.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Got {
    /// Its bytes.
    pub(super) length: usize,
    /// The length of each of its segments but the last.
    pub(super) segment: usize,
    /// Whether it was longer than its slot.
    pub(super) cut: bool,
}

/// Takes up to as many datagrams as there are names, each into its own `slot` bytes of `bytes`.
pub(super) fn receive(
    fd: BorrowedFd<'_>,
    bytes: &mut [u8],
    slot: usize,
    names: &mut [Name],
    controls: &mut [Control],
    got: &mut [Got],
) -> io::Result<usize> {
    // SAFETY: all-zero bytes are a valid `mmsghdr` and a valid `iovec`: integers and null pointers.
    let mut headers: [mmsghdr; BATCH_MAX] = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut vectors: [iovec; BATCH_MAX] = unsafe { std::mem::zeroed() };
    let rows = bytes
        .chunks_exact_mut(slot)
        .zip(names.iter_mut())
        .zip(controls.iter_mut())
        .zip(headers.iter_mut().zip(vectors.iter_mut()));
    let mut count = 0;
    for (((room, name), control), (header, vector)) in rows {
        vector.iov_base = room.as_mut_ptr().cast();
        vector.iov_len = room.len();
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_name = name.bytes.as_mut_ptr().cast();
        header.msg_hdr.msg_namelen = name.bytes.len() as socklen_t;
        header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
        header.msg_hdr.msg_controllen = CONTROL_BYTES as _;
        count += 1;
    }
    // SAFETY: the first `count` headers point to one vector each, and to bytes, a name and control
    // data that `bytes`, `names` and `controls` lend until after the call, with their lengths; the
    // iterators above hand each out once, so no two overlap. Every byte pattern is valid in them.
    let taken = unsafe {
        libc::recvmmsg(
            fd.as_raw_fd(),
            headers.as_mut_ptr(),
            count as c_uint,
            libc::MSG_DONTWAIT as _,
            std::ptr::null_mut(),
        )
    };
    let taken = usize::try_from(taken).map_err(|_| io::Error::last_os_error())?;
    for ((header, got), control) in headers.iter().take(taken).zip(got).zip(controls) {
        let length = header.msg_len as usize;
        let joined = control.joined(&header.msg_hdr);
        *got = Got {
            length,
            segment: joined.unwrap_or(length),
            cut: header.msg_hdr.msg_flags & libc::MSG_TRUNC != 0,
        };
    }
    Ok(taken)
}

/// One datagram to send: neighbours of one length, if `segment` is less than its own.
#[derive(Clone, Copy, Debug)]
pub(super) struct Message {
    pub(super) at: usize,
    pub(super) length: usize,
    pub(super) segment: usize,
    /// `None` on a connected socket.
    pub(super) to: Option<Name>,
}

/// Sends the first [`BATCH_MAX`] of `messages`, whose bytes lie in `bytes`; how many the kernel
/// took. An error is of the first one.
pub(super) fn send(fd: BorrowedFd<'_>, bytes: &[u8], messages: &[Message]) -> io::Result<usize> {
    // SAFETY: all-zero bytes are a valid `mmsghdr` and a valid `iovec`: integers and null pointers.
    let mut headers: [mmsghdr; BATCH_MAX] = unsafe { std::mem::zeroed() };
    // SAFETY: as above.
    let mut vectors: [iovec; BATCH_MAX] = unsafe { std::mem::zeroed() };
    let mut controls = [Control::EMPTY; BATCH_MAX];
    let rows = messages
        .iter()
        .zip(controls.iter_mut())
        .zip(headers.iter_mut().zip(vectors.iter_mut()));
    let mut count = 0;
    for ((message, control), (header, vector)) in rows {
        let part = bytes
            .get(message.at..message.at + message.length)
            .unwrap_or_default();
        vector.iov_base = part.as_ptr().cast_mut().cast();
        vector.iov_len = part.len();
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        if let Some(name) = &message.to {
            header.msg_hdr.msg_name = name.bytes.as_ptr().cast_mut().cast();
            header.msg_hdr.msg_namelen = name.length;
        }
        if message.segment < message.length {
            *control = Control::segment(message.segment as u16);
            header.msg_hdr.msg_control = control.0.as_mut_ptr().cast();
            header.msg_hdr.msg_controllen = ((CONTROL_HEAD + 2).next_multiple_of(8)) as _;
        }
        count += 1;
    }
    // SAFETY: the first `count` headers point to one vector each, and to bytes and a name that
    // `bytes` and `messages` lend until after the call, with their lengths; `sendmmsg` only reads
    // them, and writes `msg_len` of our own headers. Control data is ours and outlives the call.
    let sent = unsafe {
        libc::sendmmsg(
            fd.as_raw_fd(),
            headers.as_mut_ptr(),
            count as c_uint,
            (libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL) as _,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Lets neighbours arrive as one large datagram. False if the kernel cannot.
pub(super) fn coalesce(fd: BorrowedFd<'_>) -> bool {
    set(fd, libc::SOL_UDP, UDP_GRO, 1)
}

/// Sets the receive buffer above `net.core.rmem_max`, which the capability `CAP_NET_ADMIN` allows.
pub(super) fn force_receive_buffer(fd: BorrowedFd<'_>, bytes: usize) -> bool {
    let bytes = c_int::try_from(bytes).unwrap_or(c_int::MAX);
    set(fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, bytes)
}

fn set(fd: BorrowedFd<'_>, level: c_int, name: c_int, value: c_int) -> bool {
    // SAFETY: the pointer is to a live integer, and the length is its own.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            (&raw const value).cast(),
            size_of::<c_int>() as socklen_t,
        )
    };
    result == 0
}

/// Dissolves a connection (connect(2): an address of the family `AF_UNSPEC`).
pub(super) fn disconnect(fd: BorrowedFd<'_>) -> io::Result<()> {
    // The family is zero, as all the rest.
    let nobody = Name::default();
    // SAFETY: the pointer is to 32 live bytes, aligned as a `sockaddr`, and the length is within.
    let result = unsafe {
        libc::connect(
            fd.as_raw_fd(),
            nobody.bytes.as_ptr().cast(),
            size_of::<libc::sockaddr_in>() as socklen_t,
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(io::Error::last_os_error())
    }
}
