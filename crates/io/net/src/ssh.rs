//! The tunnel on 2222: SSH with one virtual forward and nothing else (RFC 4251–4254).
//!
//! The core dials, proves a pinned Ed25519 key as user [`USER`], and asks for a `tcpip-forward` of
//! [`FORWARD_HOST`]:[`FORWARD_PORT`]. The edge opens no socket for it: it opens `forwarded-tcpip`
//! channels when it likes, and each is a [`Tunnel`], an ordinary byte stream. Passwords, shells,
//! commands, subsystems, agents, X11 and every other forward are refused, both ways.
//!
//! Either end may be OpenSSH. Bounds: 20 s to the finished sign-in, 3 tries, 16 MiB window,
//! [`TUNNELS_MAX`] tunnels a session, keep-alive after 15 s of silence, 3 unanswered end the
//! session.

mod client;
mod keys;
mod server;
mod tunnel;

use std::borrow::Cow;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use russh::keys::Algorithm;
use russh::{Preferred, SshId, cipher, compression, kex, mac};
use tokio::io::{AsyncRead, AsyncWrite, BufReader, ReadBuf};
use tokio::sync::oneshot;

pub use client::{Dialled, dial};
pub use keys::{Key, Pins, PublicKey};
pub use server::{Accepted, Acceptor};
pub use tunnel::{BUFFER_BYTES_MAX, Tunnel};

/// The one user there is.
pub const USER: &str = "causeway";

/// The host of the one forward there is; nothing of this name is ever listened on.
pub const FORWARD_HOST: &str = "localhost";

/// The port of the one forward there is.
pub const FORWARD_PORT: u32 = 8443;

/// How many tunnels one session carries.
pub const TUNNELS_MAX: usize = 16;

/// From the first byte to the accepted forward.
const SIGN_IN: Duration = Duration::from_secs(20);

/// For the answer to one request.
const ANSWER: Duration = Duration::from_secs(10);

const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(15);
const KEEP_ALIVES_MAX: usize = 3;
const WINDOW_BYTES: u32 = 16 * 1024 * 1024;
/// The most that both russh and OpenSSH take.
const PACKET_BYTES_MAX: u32 = 65_535;

fn id() -> SshId {
    SshId::Standard(Cow::Borrowed("SSH-2.0-Causeway"))
}

/// Modern algorithms only: hybrid post-quantum or X25519 key exchange, Ed25519 keys, AEAD ciphers,
/// AES-GCM first (twice as fast as ChaCha20 on processors with AES); no NIST curves, no SHA-1.
fn algorithms() -> Preferred {
    const KEX: &[kex::Name] = &[
        kex::MLKEM768X25519_SHA256,
        kex::CURVE25519,
        kex::CURVE25519_PRE_RFC_8731,
        kex::EXTENSION_SUPPORT_AS_CLIENT,
        kex::EXTENSION_SUPPORT_AS_SERVER,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
    ];
    const CIPHERS: &[cipher::Name] = &[
        cipher::AES_256_GCM,
        cipher::AES_128_GCM,
        cipher::CHACHA20_POLY1305,
    ];
    // Named in the negotiation, but unused with AEAD ciphers.
    const MACS: &[mac::Name] = &[mac::HMAC_SHA256_ETM, mac::HMAC_SHA512_ETM];
    Preferred {
        kex: Cow::Borrowed(KEX),
        key: Cow::Borrowed(&[Algorithm::Ed25519]),
        host_key_certificates: Cow::Borrowed(&[]),
        cipher: Cow::Borrowed(CIPHERS),
        mac: Cow::Borrowed(MACS),
        compression: Cow::Borrowed(&[compression::NONE]),
    }
}

/// Read from the connection at once, at most. The SSH library asks for a packet's length, and then
/// for the packet: that would be two system calls for each.
const READ_BYTES: usize = 64 * 1024;

/// A stream that ends when its [`oneshot::Sender`] is dropped: the SSH library keeps a session in
/// a task of its own, and this is the rope to pull it out by, whatever state it is in. It reads
/// [`READ_BYTES`] at once.
struct Roped<S> {
    stream: BufReader<S>,
    rope: oneshot::Receiver<()>,
}

impl<S: AsyncRead> Roped<S> {
    fn new(stream: S) -> (Self, oneshot::Sender<()>) {
        let (held, rope) = oneshot::channel();
        let stream = BufReader::with_capacity(READ_BYTES, stream);
        (Roped { stream, rope }, held)
    }
}

impl<S> Roped<S> {
    fn check(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        // A receiver that has completed must not be polled again.
        if self.rope.is_terminated() || Pin::new(&mut self.rope).poll(cx).is_ready() {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        Ok(())
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Roped<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Roped<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.check(cx)?;
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
