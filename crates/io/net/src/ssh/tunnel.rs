//! A channel as a byte stream that never holds up its session.
//!
//! The SSH library hands a channel's bytes over in the one loop that serves all channels: a reader
//! that stops would stop them all. So a task per tunnel never stops reading the channel, and keeps
//! what its owner has not read yet, up to [`BUFFER_BYTES_MAX`]; beyond that the tunnel is closed,
//! and it alone. The HTTP/2 inside has a smaller window (see [`crate::lane`]), so only a peer that
//! breaks HTTP/2 gets there.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use russh::{Channel, ChannelId, ChannelMsg, ChannelReadHalf};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{mpsc, oneshot};

/// The most bytes kept for a reader that lags behind: the window of the HTTP/2 inside and room
/// for its frames.
pub const BUFFER_BYTES_MAX: usize = crate::lane::CONNECTION_WINDOW_BYTES as usize + 1024 * 1024;

/// What a kept packet costs beside its bytes, so that empty packets cannot fill the memory.
const PACKET_COST: usize = 128;

/// One tunnel. Dropping it closes its channel.
pub struct Tunnel {
    packets: mpsc::UnboundedReceiver<Bytes>,
    current: Bytes,
    fuse: Arc<Fuse>,
    writer: Pin<Box<dyn AsyncWrite + Send>>,
    /// Completes when the channel is over: the library's writer would wait for room forever.
    over: oneshot::Receiver<()>,
}

#[derive(Default)]
struct Fuse {
    kept: AtomicUsize,
    blown: AtomicBool,
}

impl Tunnel {
    pub(super) fn new<M>(channel: Channel<M>, bytes_max: usize) -> Self
    where
        M: From<(ChannelId, ChannelMsg)> + Send + Sync + 'static,
    {
        let (mut reader, writer) = channel.split();
        // Bounded by the fuse.
        let (queue, packets) = mpsc::unbounded_channel();
        let kept = Arc::new(Fuse::default());
        let fuse = kept.clone();
        let stream = Box::pin(writer.make_writer());
        let (ending, over) = oneshot::channel();
        tokio::spawn(async move {
            drain(&mut reader, queue, &fuse, bytes_max).await;
            drop(ending);
            // Fails when the session is over, and then there is nothing to close.
            let _ = writer.close().await;
            while reader.wait().await.is_some() {}
        });
        Tunnel {
            packets,
            current: Bytes::new(),
            fuse: kept,
            writer: stream,
            over,
        }
    }
}

/// Reads the channel until either end closes it or the fuse blows.
async fn drain(
    channel: &mut ChannelReadHalf,
    queue: mpsc::UnboundedSender<Bytes>,
    fuse: &Fuse,
    bytes_max: usize,
) {
    loop {
        let message = tokio::select! {
            message = channel.wait() => message,
            () = queue.closed() => break,
        };
        match message {
            None | Some(ChannelMsg::Close | ChannelMsg::Eof) => break,
            Some(ChannelMsg::Data { data }) => {
                let cost = data.len() + PACKET_COST;
                if fuse.kept.fetch_add(cost, Ordering::AcqRel) + cost > bytes_max {
                    fuse.blown.store(true, Ordering::Release);
                    tracing::warn!(
                        bytes_max,
                        "an SSH tunnel was closed: its reader lags behind"
                    );
                    break;
                }
                // Fails when the tunnel is dropped, which the next turn sees.
                let _ = queue.send(data);
            }
            Some(_) => {}
        }
    }
}

impl AsyncRead for Tunnel {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.current.is_empty() {
            match ready!(self.packets.poll_recv(cx)) {
                Some(packet) => {
                    self.fuse
                        .kept
                        .fetch_sub(packet.len() + PACKET_COST, Ordering::AcqRel);
                    self.current = packet;
                }
                None if self.fuse.blown.load(Ordering::Acquire) => {
                    let why = "the reader lagged too far behind";
                    return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionReset, why)));
                }
                None => return Poll::Ready(Ok(())),
            }
        }
        let n = self.current.len().min(buf.remaining());
        buf.put_slice(self.current.get(..n).unwrap_or_default());
        self.current.advance(n);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tunnel {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        // A receiver that has completed must not be polled again.
        if self.over.is_terminated() || Pin::new(&mut self.over).poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        self.writer.as_mut().poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.as_mut().poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.writer.as_mut().poll_shutdown(cx)
    }
}
