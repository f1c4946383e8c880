//! A client's TLS connection that holds no buffer while nothing is under way.
//!
//! The usual stream keeps 4 KiB of read buffer a connection for as long as it stands, and most
//! connections of clients are idle. Here bytes are read to a place that all connections of a thread
//! share, decrypted there, and only what is left over is kept: part of a record, plain text that
//! nobody has asked for yet, records that the socket did not take. TLS itself is the library's
//! ([`UnbufferedServerConnection`]); here are its buffers.
//!
//! In: a socket. Out: plain text. An end without a farewell is an error (RFC 8446 §6.1).
//! Bounds: [`READ`] bytes read at once, [`INCOMING_MAX`] bytes of what is no whole message yet,
//! [`WRITE`] bytes encrypted that the socket has not taken.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use rustls::ServerConfig;
use rustls::server::UnbufferedServerConnection;
use rustls::unbuffered::{ConnectionState, EncodeError, EncryptError, UnbufferedStatus};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// Read from a socket at once, at most.
const READ: usize = 32 * 1024;

/// Encrypted at once, at most: four records.
const WRITE: usize = 64 * 1024;

/// The most that one record carries (RFC 8446 §5.1), and more than it adds to that.
const RECORD: usize = 16 * 1024;
const OVERHEAD: usize = 64;

/// The most that is kept of a message that is not yet whole: what the library's own stream keeps.
const INCOMING_MAX: usize = 64 * 1024;

thread_local! {
    /// Where bytes are read to; each turn leaves nothing in it.
    static WIRE: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ].into());
}

/// A stream over TLS, the server's side.
pub struct Lean<S> {
    stream: S,
    session: Box<UnbufferedServerConnection>,
    /// Received, and no whole message yet.
    incoming: Vec<u8>,
    flow: Flow,
}

/// What goes through a connection, decrypted one way and encrypted the other.
#[derive(Default)]
struct Flow {
    /// Decrypted and not read.
    plain: Vec<u8>,
    read: usize,
    /// Encrypted and not written.
    out: Vec<u8>,
    written: usize,
    /// Whether the peer has said farewell.
    over: bool,
    /// Whether we have.
    parted: bool,
    /// Whether TLS was broken: the session is asked for nothing any more.
    broken: bool,
}

/// What the session is to do once it can.
#[derive(Clone, Copy)]
enum Say<'a> {
    Nothing,
    Data(&'a [u8]),
    Farewell,
}

impl<S> Lean<S> {
    /// The protocol that ALPN agreed on.
    pub fn negotiated(&self) -> Option<&[u8]> {
        self.session.alpn_protocol()
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Lean<S> {
    /// Shakes hands. The caller keeps the time.
    pub(super) async fn accept(config: Arc<ServerConfig>, stream: S) -> io::Result<Self> {
        let session = UnbufferedServerConnection::new(config).map_err(io::Error::other)?;
        let mut lean = Lean {
            stream,
            session: Box::new(session),
            incoming: Vec::new(),
            flow: Flow::default(),
        };
        std::future::poll_fn(|cx| lean.poll_handshake(cx)).await?;
        Ok(lean)
    }

    fn poll_handshake(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let wrote = self.poll_out(cx)?;
            if !self.session.is_handshaking() {
                return wrote.map(Ok);
            }
            if ready!(self.poll_receive(cx))? == 0 {
                let why = "the connection ended within the handshake";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, why)));
            }
        }
    }

    /// Writes what is encrypted.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flow = &mut self.flow;
        while let Some(rest) = flow.out.get(flow.written..).filter(|r| !r.is_empty()) {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => flow.written += n,
            }
        }
        flow.out = Vec::new();
        flow.written = 0;
        Poll::Ready(Ok(()))
    }

    /// Reads and decrypts what there is; gives the number of bytes read.
    fn poll_receive(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let (n, done) = ready!(WIRE.with_borrow_mut(|wire| {
            let mut fresh = ReadBuf::new(wire);
            ready!(Pin::new(&mut self.stream).poll_read(cx, &mut fresh))?;
            let fresh = fresh.filled_mut();
            Poll::Ready(Ok::<_, io::Error>((fresh.len(), self.take(fresh))))
        }))?;
        if let Err(error) = done {
            // The alert that says so; whether it arrives is not our affair.
            let _ = self.poll_out(cx);
            return Poll::Ready(Err(error));
        }
        Poll::Ready(Ok(n))
    }

    /// Hands received bytes to the session; what it cannot use yet is kept.
    fn take(&mut self, fresh: &mut [u8]) -> io::Result<()> {
        if self.incoming.is_empty() {
            let (used, _) = turn(&mut self.session, fresh, &mut self.flow, Say::Nothing)?;
            self.incoming = fresh.get(used..).unwrap_or_default().to_vec();
        } else {
            self.incoming.extend_from_slice(fresh);
            self.speak(Say::Nothing)?;
        }
        if self.incoming.len() > INCOMING_MAX {
            let why = "a TLS message that does not end";
            return Err(io::Error::new(io::ErrorKind::InvalidData, why));
        }
        Ok(())
    }

    /// A turn of the session with what is kept; whether it said what it was to say.
    fn speak(&mut self, say: Say<'_>) -> io::Result<bool> {
        let (used, said) = turn(&mut self.session, &mut self.incoming, &mut self.flow, say)?;
        if used > 0 {
            self.incoming = self.incoming.get(used..).unwrap_or_default().to_vec();
        }
        Ok(said)
    }
}

/// Lets the session work on `tls` until it needs more; gives how much of it is done with, and
/// whether it said what it was to say.
fn turn(
    session: &mut UnbufferedServerConnection,
    tls: &mut [u8],
    flow: &mut Flow,
    say: Say<'_>,
) -> io::Result<(usize, bool)> {
    let mut used = 0;
    let mut said = false;
    if flow.broken {
        return Err(io::ErrorKind::BrokenPipe.into());
    }
    loop {
        let rest = tls.get_mut(used..).unwrap_or_default();
        let UnbufferedStatus { discard, state } = session.process_tls_records(rest);
        let more = match state {
            Ok(ConnectionState::ReadTraffic(mut traffic)) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(fault)?;
                    flow.plain.extend_from_slice(record.payload);
                }
                true
            }
            Ok(ConnectionState::EncodeTlsData(mut record)) => {
                append(&mut flow.out, 0, |room| encoded(record.encode(room)))?;
                true
            }
            Ok(ConnectionState::TransmitTlsData(transmit)) => {
                // What is encrypted leaves in order, this first.
                transmit.done();
                true
            }
            Ok(ConnectionState::PeerClosed) => {
                flow.over = true;
                true
            }
            // Keys may be due for a change after it, which the session says next.
            Ok(ConnectionState::WriteTraffic(mut traffic)) if !said => match say {
                Say::Nothing => false,
                Say::Data(data) => {
                    said = true;
                    let room = data.len() + (data.len() / RECORD + 1) * OVERHEAD;
                    let write = |room: &mut [u8]| encrypted(traffic.encrypt(data, room));
                    append(&mut flow.out, room, write)?;
                    true
                }
                Say::Farewell => {
                    said = true;
                    let write = |room: &mut [u8]| encrypted(traffic.queue_close_notify(room));
                    append(&mut flow.out, OVERHEAD, write)?;
                    true
                }
            },
            Ok(
                ConnectionState::WriteTraffic(_)
                | ConnectionState::BlockedHandshake
                | ConnectionState::Closed,
            ) => false,
            // Early data is never offered, and of states to come nothing is known.
            Ok(_) => return Err(io::Error::other("TLS came to a state that it should not")),
            Err(error) => {
                flow.broken = true;
                let rest = tls.get_mut(used + discard..).unwrap_or_default();
                alerts(session, rest, &mut flow.out);
                return Err(fault(error));
            }
        };
        used += discard;
        if !more {
            return Ok((used, said));
        }
    }
}

/// What the session has to say of a fault in `tls`. It is asked for nothing else: it would look at
/// the same bytes again, and may not send a second alert.
fn alerts(session: &mut UnbufferedServerConnection, tls: &mut [u8], out: &mut Vec<u8>) {
    while session.wants_write() {
        let Ok(ConnectionState::EncodeTlsData(mut record)) = session.process_tls_records(tls).state
        else {
            return;
        };
        if append(out, 0, |room| encoded(record.encode(room))).is_err() {
            return;
        }
    }
}

fn fault(error: rustls::Error) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// Bytes written, or how much room that takes.
type Wrote = io::Result<Result<usize, usize>>;

fn encoded(done: Result<usize, EncodeError>) -> Wrote {
    match done {
        Ok(n) => Ok(Ok(n)),
        Err(EncodeError::InsufficientSize(e)) => Ok(Err(e.required_size)),
        Err(e) => Err(io::Error::other(e)),
    }
}

fn encrypted(done: Result<usize, EncryptError>) -> Wrote {
    match done {
        Ok(n) => Ok(Ok(n)),
        Err(EncryptError::InsufficientSize(e)) => Ok(Err(e.required_size)),
        Err(e) => Err(io::Error::other(e)),
    }
}

/// Appends what `write` writes, which takes `room` bytes or says how many it takes.
fn append(
    out: &mut Vec<u8>,
    mut room: usize,
    mut write: impl FnMut(&mut [u8]) -> Wrote,
) -> io::Result<()> {
    let end = out.len();
    for _ in 0..2 {
        out.resize(end + room, 0);
        match write(out.get_mut(end..).unwrap_or_default())? {
            Ok(n) => {
                out.truncate(end + n);
                return Ok(());
            }
            Err(required) => room = required,
        }
    }
    Err(io::Error::other("a record of no certain size"))
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Lean<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            let flow = &mut this.flow;
            let rest = flow.plain.get(flow.read..).unwrap_or_default();
            if !rest.is_empty() {
                let n = rest.len().min(buf.remaining());
                buf.put_slice(rest.get(..n).unwrap_or_default());
                flow.read += n;
                if flow.read == flow.plain.len() {
                    flow.plain = Vec::new();
                    flow.read = 0;
                }
                return Poll::Ready(Ok(()));
            }
            if flow.over {
                return Poll::Ready(Ok(()));
            }
            let received = this.poll_receive(cx)?;
            // Such as new keys of ours, because the peer asked for them.
            let _ = this.poll_out(cx)?;
            if ready!(received) == 0 && this.flow.plain.is_empty() && !this.flow.over {
                let why = "the peer closed the connection without a TLS farewell";
                return Poll::Ready(Err(io::Error::new(io::ErrorKind::UnexpectedEof, why)));
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Lean<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = &mut *self;
        ready!(this.poll_out(cx))?;
        let data = buf.get(..WRITE).unwrap_or(buf);
        if !this.speak(Say::Data(data))? {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        // What does not leave now leaves with the next write or flush.
        let _ = this.poll_out(cx)?;
        Poll::Ready(Ok(data.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if !this.flow.parted && !this.flow.broken {
            this.flow.parted = true;
            this.speak(Say::Farewell)?;
        }
        ready!(this.poll_out(cx))?;
        match ready!(Pin::new(&mut this.stream).poll_shutdown(cx)) {
            Err(e) if e.kind() == io::ErrorKind::NotConnected => Poll::Ready(Ok(())),
            done => Poll::Ready(done),
        }
    }
}
