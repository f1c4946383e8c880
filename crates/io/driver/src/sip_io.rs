//! SIP connections: accept, dial, frame, write.
//!
//! A connection's task reads, frames and writes; every decision is the node's. Keep-alives of
//! RFC 5626 §3.5.1 are answered here. Bounds: a message must be whole within
//! [`MESSAGE_TIME_MAX`] of its first byte, a connection that says nothing for [`IDLE_MAX`] is
//! closed, and what waits to be written is bounded by [`crate::signal::CONNECTION_QUEUE_MAX`].

use std::time::Duration;

use bytes::Bytes;
use node::io::{ConnId, Facts, Input};
use sip::{Frame, Framer, Limits};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::signal::{CONNECTION_QUEUE_MAX, Handle, Post, Stopping};

/// From the first byte of a message to its last.
pub const MESSAGE_TIME_MAX: Duration = Duration::from_secs(15);

/// A connection on which nothing at all is heard. Registered clients refresh or ping every two
/// minutes at most (`protocol.md` 5.4), so three times that is a dead one.
pub const IDLE_MAX: Duration = Duration::from_secs(400);

/// How long a peer may take to accept what is written to it.
const WRITE_TIME_MAX: Duration = Duration::from_secs(20);

const READ_BYTES: usize = 16 * 1024;

/// Serves one connection until either side ends it.
///
/// # Errors
/// [`Stopping`] if the node is gone.
pub async fn serve<S>(
    handle: Handle,
    conn: ConnId,
    facts: Facts,
    limits: Limits,
    stream: S,
) -> Result<(), Stopping>
where
    S: AsyncRead + AsyncWrite + Send,
{
    let (queue, outgoing) = mpsc::channel(CONNECTION_QUEUE_MAX);
    handle
        .post(Post::Attach {
            conn,
            facts,
            queue: queue.clone(),
        })
        .await?;
    let (reader, writer) = tokio::io::split(stream);
    // `queue` here is the keep-alive answers' way; it is weak so that the node's own dropping of
    // its end closes the connection.
    let pongs = queue.downgrade();
    drop(queue);
    let why = tokio::select! {
        why = read(&handle, conn, Framer::new(limits), reader, pongs) => why?,
        why = write(writer, outgoing) => why,
    };
    handle.input(Input::Disconnected { conn, why }).await
}

async fn read<R: AsyncRead>(
    handle: &Handle,
    conn: ConnId,
    mut framer: Framer,
    reader: R,
    pongs: mpsc::WeakSender<Bytes>,
) -> Result<String, Stopping> {
    let mut reader = std::pin::pin!(reader);
    let mut buffer = vec![0; READ_BYTES];
    let mut begun: Option<Instant> = None;
    loop {
        let until = begun.map_or_else(|| Instant::now() + IDLE_MAX, |b| b + MESSAGE_TIME_MAX);
        let read = match tokio::time::timeout_at(until, reader.read(&mut buffer)).await {
            Err(_) if begun.is_some() => return Ok("a message was not finished in 15 s".into()),
            Err(_) => return Ok("nothing was heard for 400 s".into()),
            Ok(Err(e)) => return Ok(net::tls::cause(&e)),
            Ok(Ok(0)) => return Ok("closed by the peer".into()),
            Ok(Ok(n)) => n,
        };
        framer.push(buffer.get(..read).unwrap_or_default());
        while let Some(frame) = framer.next_frame() {
            let fatal = matches!(&frame, Frame::Bad { fatal: true, .. });
            match frame {
                Frame::Ping => {
                    if let Some(q) = pongs.upgrade() {
                        // A full queue means that the peer does not read; it needs no pong.
                        let _ = q.try_send(Bytes::from_static(b"\r\n"));
                    }
                }
                Frame::Pong => {}
                frame => handle.input(Input::Frame { conn, frame }).await?,
            }
            if fatal {
                // The node answers, if it can, and closes; give that answer time to leave.
                tokio::time::sleep(Duration::from_secs(2)).await;
                return Ok("the peer's bytes were no SIP".into());
            }
        }
        begun = if framer.is_idle() {
            None
        } else {
            Some(begun.unwrap_or_else(Instant::now))
        };
    }
}

async fn write<W: AsyncWrite>(writer: W, mut outgoing: mpsc::Receiver<Bytes>) -> String {
    let mut writer = std::pin::pin!(writer);
    while let Some(bytes) = outgoing.recv().await {
        let work = async {
            writer.write_all(&bytes).await?;
            while let Ok(more) = outgoing.try_recv() {
                writer.write_all(&more).await?;
            }
            writer.flush().await
        };
        match tokio::time::timeout(WRITE_TIME_MAX, work).await {
            Err(_) => return "the peer did not read for 20 s".into(),
            Ok(Err(e)) => return net::tls::cause(&e),
            Ok(Ok(())) => {}
        }
    }
    // Closing is best effort: the peer may be gone.
    let _ = tokio::time::timeout(Duration::from_secs(2), writer.shutdown()).await;
    "closed by this node".into()
}
