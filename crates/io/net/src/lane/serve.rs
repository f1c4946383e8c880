//! The core's side: answers the edge's requests on one connection.

use std::convert::Infallible;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::Body;
use super::edge::Pipe;
use super::gather::gather;
use super::{
    CONNECTION_WINDOW_BYTES, FRAME_BYTES_MAX, HEADER_BYTES_MAX, PING_AFTER, PING_ANSWER,
    SEND_BUFFER_BYTES, Windows,
};
use crate::Error;

/// What a service may fail with: nothing; every fault is a response.
pub type ServeError = Infallible;

/// Serves requests over `stream` until the edge ends it or `stop` completes; then answers what is
/// under way and closes.
///
/// # Errors
/// [`Error::Lane`] if the edge does not speak HTTP/2 or breaks it.
pub async fn serve<S, F, R>(
    stream: S,
    windows: Windows,
    stop: impl Future<Output = ()>,
    service: F,
) -> Result<(), Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Incoming>) -> R,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let service = service_fn(|request| {
        let answer = service(request);
        async move { Ok::<_, ServeError>(answer.await) }
    });
    let (stream, mut turns) = gather(stream);
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(windows.stream_bytes)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(HEADER_BYTES_MAX)
        .max_send_buf_size(SEND_BUFFER_BYTES)
        .max_concurrent_streams(windows.streams_max)
        .max_pending_accept_reset_streams(64)
        .keep_alive_interval(PING_AFTER)
        .keep_alive_timeout(PING_ANSWER)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    let mut stop = std::pin::pin!(stop);
    let mut stopping = false;
    let ended = std::future::poll_fn(|cx| {
        if !stopping && stop.as_mut().poll(cx).is_ready() {
            stopping = true;
            connection.as_mut().graceful_shutdown();
        }
        turns.poll(connection.as_mut(), cx)
    });
    ended.await.map_err(Error::Lane)
}

/// The byte pipe of a `CONNECT` request, there once its response has been sent with status 200.
///
/// # Errors
/// [`Error::Lane`] if the connection broke first.
pub async fn upgraded(request: Request<Incoming>) -> Result<Pipe, Error> {
    hyper::upgrade::on(request)
        .await
        .map(Pipe::of)
        .map_err(Error::Lane)
}
