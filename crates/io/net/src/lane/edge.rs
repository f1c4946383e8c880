//! The edge's side: a pool of connections to one core.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::client::conn::http2::{self, SendRequest};
use hyper::upgrade::Upgraded;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;

use super::body::{self, Body};
use super::gather::gather;
use super::{
    CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, HEADER_BYTES_MAX, PING_AFTER, PING_ANSWER,
    SEND_BUFFER_BYTES, Windows,
};
use crate::Error;

/// A pool of connections to one core; cheap to clone, all clones are one pool.
#[derive(Clone)]
pub struct EdgeLane {
    shared: Arc<Shared>,
    windows: Windows,
}

struct Shared {
    connections: Mutex<Connections>,
    count: watch::Sender<usize>,
}

#[derive(Default)]
struct Connections {
    next: u64,
    up: Vec<Connection>,
}

#[derive(Clone)]
struct Connection {
    id: u64,
    sender: SendRequest<Body>,
    /// Requests under way; the pool's own clone is not counted.
    load: Arc<()>,
}

impl EdgeLane {
    /// A pool without connections.
    pub fn new(windows: Windows) -> Self {
        let shared = Shared {
            connections: Mutex::default(),
            count: watch::Sender::new(0),
        };
        EdgeLane {
            shared: Arc::new(shared),
            windows,
        }
    }

    /// Adds a connection over `stream` and serves it until it ends; gives the reason.
    ///
    /// # Errors
    /// [`Error::Lane`] if the peer does not speak HTTP/2 or breaks it.
    pub async fn attach<S>(&self, stream: S) -> Result<(), Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (stream, turns) = gather(stream);
        let (sender, connection) = http2::Builder::new(turns)
            .timer(TokioTimer::new())
            .initial_stream_window_size(self.windows.stream_bytes)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .max_frame_size(FRAME_BYTES_MAX)
            .max_header_list_size(HEADER_BYTES_MAX)
            .max_send_buf_size(SEND_BUFFER_BYTES)
            .initial_max_send_streams(self.windows.streams_max as usize)
            .max_concurrent_reset_streams(64)
            .keep_alive_interval(PING_AFTER)
            .keep_alive_timeout(PING_ANSWER)
            .keep_alive_while_idle(true)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(Error::Lane)?;
        let mut listed = Listed {
            lane: self,
            id: None,
        };
        listed.enter(sender);
        connection.await.map_err(Error::Lane)
    }

    /// Whether a request can be sent now.
    pub fn is_up(&self) -> bool {
        self.count() > 0
    }

    /// Connections up now.
    pub fn count(&self) -> usize {
        *self.shared.count.borrow()
    }

    /// The number of connections as it changes.
    pub fn changes(&self) -> watch::Receiver<usize> {
        self.shared.count.subscribe()
    }

    /// Waits until a connection is up, at most `within`; says whether one is.
    pub async fn wait(&self, within: Duration) -> bool {
        let mut changes = self.changes();
        // The sender lives in `self`.
        tokio::time::timeout(within, changes.wait_for(|n| *n > 0))
            .await
            .is_ok()
    }

    /// Sends a request on the connection with the least under way. The URI must be absolute.
    ///
    /// # Errors
    /// [`Error::LaneDown`] if no connection is up, [`Error::LaneFull`] if all are full,
    /// [`Error::Lane`] if it breaks before the response's head.
    pub async fn send_request(&self, request: Request<Body>) -> Result<Response<Body>, Error> {
        self.send_holding(request, ()).await
    }

    /// The same, and keeps `held` until the response is over.
    ///
    /// # Errors
    /// As [`EdgeLane::send_request`].
    pub async fn send_holding<H>(
        &self,
        request: Request<Body>,
        held: H,
    ) -> Result<Response<Body>, Error>
    where
        H: Send + Unpin + 'static,
    {
        let (response, load) = self.send(request).await?;
        Ok(response.map(|incoming| {
            Loaded {
                incoming,
                _held: (load, held),
            }
            .boxed_unsync()
        }))
    }

    async fn send(&self, request: Request<Body>) -> Result<(Response<Incoming>, Arc<()>), Error> {
        let mut connection = self.least_loaded()?;
        connection.sender.ready().await.map_err(Error::Lane)?;
        let response = connection
            .sender
            .send_request(request)
            .await
            .map_err(Error::Lane)?;
        Ok((response, connection.load))
    }

    /// Opens a byte pipe with a `CONNECT` request, whose URI is an authority alone. A refusal is
    /// the peer's status.
    ///
    /// # Errors
    /// As [`EdgeLane::send_request`].
    pub async fn connect(
        &self,
        mut request: Request<()>,
    ) -> Result<Result<Pipe, StatusCode>, Error> {
        *request.method_mut() = Method::CONNECT;
        let (response, load) = self.send(request.map(|()| body::empty())).await?;
        if response.status() != StatusCode::OK {
            return Ok(Err(response.status()));
        }
        let upgraded = hyper::upgrade::on(response).await.map_err(Error::Lane)?;
        Ok(Ok(Pipe {
            io: TokioIo::new(upgraded),
            _load: Some(load),
        }))
    }

    fn least_loaded(&self) -> Result<Connection, Error> {
        let connections = self
            .shared
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let free = connections
            .up
            .iter()
            .filter(|c| !c.sender.is_closed())
            .min_by_key(|c| Arc::strong_count(&c.load))
            .ok_or(Error::LaneDown)?;
        // The pool holds one count itself.
        if Arc::strong_count(&free.load) > self.windows.streams_max as usize {
            return Err(Error::LaneFull);
        }
        Ok(free.clone())
    }
}

/// A response's body that counts as its connection's load until it is dropped.
struct Loaded<H> {
    incoming: Incoming,
    _held: (Arc<()>, H),
}

impl<H: Unpin> http_body::Body for Loaded<H> {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        Pin::new(&mut self.incoming)
            .poll_frame(cx)
            .map_err(Into::into)
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

/// A byte pipe through a lane.
pub struct Pipe {
    io: TokioIo<Upgraded>,
    _load: Option<Arc<()>>,
}

impl Pipe {
    pub(super) fn of(upgraded: Upgraded) -> Self {
        Pipe {
            io: TokioIo::new(upgraded),
            _load: None,
        }
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// Takes a connection off the list however its task ends.
struct Listed<'a> {
    lane: &'a EdgeLane,
    id: Option<u64>,
}

impl Listed<'_> {
    fn enter(&mut self, sender: SendRequest<Body>) {
        self.change(|connections| {
            connections.next += 1;
            let id = connections.next;
            connections.up.push(Connection {
                id,
                sender,
                load: Arc::new(()),
            });
            Some(id)
        });
    }

    fn change(&mut self, change: impl FnOnce(&mut Connections) -> Option<u64>) {
        let shared = &self.lane.shared;
        let mut connections = shared
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        self.id = change(&mut connections);
        // Inside the lock, so that the last word is the last change's.
        shared.count.send_replace(connections.up.len());
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            self.change(|connections| {
                connections.up.retain(|c| c.id != id);
                None
            });
        }
    }
}
