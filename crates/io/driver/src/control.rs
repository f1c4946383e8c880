//! Control connections: frames in, frames out; the node decides.

use std::time::Duration;

use node::io::{ConnId, Input};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use traversal::{Message, frame};

use crate::signal::{Handle, Post, Stopping};

/// How many messages may wait for a control connection.
const QUEUE_MAX: usize = 64;

/// Nothing heard for this long ends the connection, whatever the node thinks.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Serves one control connection until either side ends it; gives the reason.
///
/// # Errors
/// [`Stopping`] if the node is gone.
pub async fn serve<S>(
    handle: Handle,
    conn: ConnId,
    up: Input,
    stream: S,
) -> Result<String, Stopping>
where
    S: AsyncRead + AsyncWrite + Send,
{
    let (queue, outgoing) = mpsc::channel(QUEUE_MAX);
    handle.post(Post::AttachControl { conn, up, queue }).await?;
    let (reader, writer) = tokio::io::split(stream);
    let why = tokio::select! {
        why = read(&handle, conn, reader) => why?,
        why = write(writer, outgoing) => why,
    };
    handle
        .input(Input::ControlDown {
            conn,
            why: why.clone(),
        })
        .await?;
    Ok(why)
}

async fn read<R: AsyncRead>(handle: &Handle, conn: ConnId, reader: R) -> Result<String, Stopping> {
    let mut reader = std::pin::pin!(reader);
    let mut decoder = frame::Decoder::default();
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = match tokio::time::timeout(IDLE_MAX, reader.read(&mut buffer)).await {
            Err(_) => return Ok("nothing was heard for 60 s".into()),
            Ok(Err(e)) => return Ok(net::tls::cause(&e)),
            Ok(Ok(0)) => return Ok("closed by the peer".into()),
            Ok(Ok(n)) => n,
        };
        decoder.push(buffer.get(..read).unwrap_or_default());
        loop {
            match decoder.next_message() {
                Ok(None) => break,
                Ok(Some(message)) => handle.input(Input::Control { conn, message }).await?,
                Err(fault) => return Ok(fault.to_string()),
            }
        }
    }
}

async fn write<W: AsyncWrite>(writer: W, mut outgoing: mpsc::Receiver<Message>) -> String {
    let mut writer = std::pin::pin!(writer);
    while let Some(message) = outgoing.recv().await {
        let work = async {
            writer.write_all(&frame::encode(&message)).await?;
            writer.flush().await
        };
        match tokio::time::timeout(Duration::from_secs(20), work).await {
            Err(_) => return "the peer did not read for 20 s".into(),
            Ok(Err(e)) => return net::tls::cause(&e),
            Ok(Ok(())) => {}
        }
    }
    let _ = tokio::time::timeout(Duration::from_secs(2), writer.shutdown()).await;
    "closed by this node".into()
}
