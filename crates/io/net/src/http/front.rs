//! One client's connection: HTTP/1.1 behind strict framing, or HTTP/2.
//!
//! The protocol is what ALPN agreed on; nothing is sniffed. A client that breaks HTTP/1 gets the
//! status of its [`Violation`] and loses its connection. Bounds: [`Limits`]; HTTP/2: 100 streams,
//! 32 KiB of header fields, 256 KiB unread a stream and 1 MiB a connection, PING after 20 s of
//! silence, the first request within [`Times::head`] of the connection's start, no response that
//! stands untaken for [`Times::stall`], and after GOAWAY 5 s to go.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_LENGTH, HOST};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body as _, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use super::framing::{self, HEAD_BYTES_MAX, Violation};
use super::guard::{Guard, Taking, Watch};
use super::{Body, Pace, paced};
use crate::Error;

pub use super::guard::Times;

/// ALPN of HTTP/2 and HTTP/1.1, in order of preference.
pub const ALPN: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// How long an HTTP/2 client that owes nothing and is owed nothing may stay after GOAWAY.
const PARTING: Duration = Duration::from_secs(5);

/// Limits on a client's connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Limits {
    /// On the connection's timing.
    pub times: Times,
    /// On each request's body.
    pub pace: Pace,
}

/// How a connection ended.
#[derive(Debug)]
pub enum Ended {
    /// In good order, or because the client went.
    Quietly,
    /// The client broke the protocol.
    Violation(Violation),
}

/// Serves one connection until it ends, or `stop` completes and the request under way is answered.
/// `h2` is what ALPN agreed on. Every request reaches `service` with its body under
/// [`Limits::pace`]; the service's answer always is a response.
///
/// # Errors
/// [`Error::Http`], [`Error::Io`] if the connection broke in the middle of something.
pub async fn serve<S, F, R>(
    stream: S,
    h2: bool,
    limits: Limits,
    stop: impl Future<Output = ()>,
    service: F,
) -> Result<Ended, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Body>) -> R,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    // Boxed, so that a connection takes the room of its own protocol and not of either.
    if h2 {
        Box::pin(serve_h2(stream, limits, stop, service)).await
    } else {
        Box::pin(serve_h1(stream, limits, stop, service)).await
    }
}

async fn serve_h1<S, F, R>(
    stream: S,
    limits: Limits,
    stop: impl Future<Output = ()>,
    service: F,
) -> Result<Ended, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Body>) -> R,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let watch = Arc::new(Watch::default());
    let mut guard = Guard::new(stream, limits.times, watch.clone());
    let mut stop = std::pin::pin!(stop);
    let mut stopping = false;
    let ended = loop {
        // Between requests a connection is a TLS session and little more.
        let more = std::future::poll_fn(|cx| {
            if stop.as_mut().poll(cx).is_ready() {
                stopping = true;
                return Poll::Ready(Ok(false));
            }
            guard.poll_fill(cx)
        });
        match more.await {
            Ok(true) => {}
            Ok(false) => break Ok(()),
            // A violation is answered as one below; else there is nobody to answer.
            Err(e) if watch.violation().is_none() => return Err(Error::Io(e)),
            Err(_) => break Ok(()),
        }
        let requests = service_fn(|request: Request<Incoming>| {
            let busy = Busy::new(&watch);
            let answer = service(request.map(|b| Heard::of(paced(b, limits.pace), &watch)));
            Box::pin(async move { Ok::<_, Infallible>(answer.await.map(|b| busy.around(b))) })
        });
        let mut connection = http1::Builder::new();
        connection
            .timer(TokioTimer::new())
            // The guard keeps the time; this is the net below it.
            .header_read_timeout(limits.times.idle + limits.times.head)
            .max_headers(128)
            .max_buf_size(2 * HEAD_BYTES_MAX)
            .half_close(false);
        let mut connection = Box::new(connection.serve_connection(TokioIo::new(guard), requests));
        let before = watch.served();
        let ended = std::future::poll_fn(|cx| {
            if !stopping && stop.as_mut().poll(cx).is_ready() {
                stopping = true;
                Pin::new(&mut *connection).graceful_shutdown();
            }
            if let Poll::Ready(ended) = connection.poll_without_shutdown(cx) {
                return Poll::Ready(Some(ended));
            }
            // All is answered, and all of it has left: the next request makes its own buffers, of
            // memory that another has just used. A connection is idle most of its time.
            if !stopping && watch.served() != before && watch.is_at_rest() {
                return Poll::Ready(None);
            }
            Poll::Pending
        })
        .await;
        let parts = connection.into_parts();
        guard = parts.io.into_inner();
        match ended {
            Some(ended) => break ended,
            None => guard.give_back(&parts.read_buf),
        }
    };
    finished_h1(guard.into_inner(), &watch, ended).await
}

/// Ends a connection, with an answer if a violation is to have one.
async fn finished_h1<S>(
    mut stream: S,
    watch: &Watch,
    ended: Result<(), hyper::Error>,
) -> Result<Ended, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let violation = watch.violation();
    if let Some((violation, true)) = violation {
        let answer = refusal(violation);
        // The client may be gone already, or not read: it has lost its connection either way.
        let _ = tokio::time::timeout(Duration::from_secs(5), stream.write_all(&answer)).await;
    }
    let _ = tokio::time::timeout(Duration::from_secs(5), stream.shutdown()).await;
    match (violation, ended) {
        (Some((violation, _)), _) => Ok(Ended::Violation(violation)),
        (None, Err(e)) if e.is_parse() => Ok(Ended::Violation(Violation {
            status: 400,
            cause: "no HTTP/1 request",
        })),
        (None, Err(e)) => Err(Error::Http(e)),
        (None, Ok(())) => Ok(Ended::Quietly),
    }
}

/// The answer to a violation, written past the HTTP library.
fn refusal(violation: Violation) -> Vec<u8> {
    let status = StatusCode::from_u16(violation.status).unwrap_or(StatusCode::BAD_REQUEST);
    format!(
        "HTTP/1.1 {} {}\r\nServer: CE_E\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Bad Request")
    )
    .into_bytes()
}

async fn serve_h2<S, F, R>(
    stream: S,
    limits: Limits,
    stop: impl Future<Output = ()>,
    service: F,
) -> Result<Ended, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    F: Fn(Request<Body>) -> R,
    R: Future<Output = Response<Body>> + Send + 'static,
{
    let watch = Arc::new(Watch::default());
    let service = service_fn(|request: Request<Incoming>| {
        let busy = Busy::new(&watch);
        let answer = judge_h2(&request)
            .err()
            .map(refused_h2)
            .ok_or_else(|| service(request.map(|b| paced(b, limits.pace))));
        async move {
            let mut response = match answer {
                Ok(refused) => refused,
                Err(answer) => answer.await,
            };
            // Connection-specific fields are malformed in HTTP/2 (RFC 9113 §8.2.2).
            response.headers_mut().remove(CONNECTION);
            Ok::<_, Infallible>(response.map(|body| busy.around_taken(body)))
        }
    });
    let connection = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .max_concurrent_streams(100)
        .max_header_list_size(HEAD_BYTES_MAX as u32)
        .max_pending_accept_reset_streams(20)
        .max_local_error_reset_streams(100)
        .initial_stream_window_size(256 * 1024)
        .initial_connection_window_size(1024 * 1024)
        .max_send_buf_size(64 * 1024)
        .keep_alive_interval(Duration::from_secs(20))
        .keep_alive_timeout(Duration::from_secs(10))
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        ended = connection.as_mut() => return finished_h2(ended),
        () = stop => {}
        () = silent(&watch, limits.times.head) => return Ok(Ended::Quietly),
        // One stream that stands ends all: HTTP/1's connection ends likewise.
        () = watch.untaken(limits.times.stall) => return Ok(Ended::Quietly),
        () = idle(&watch, limits.times.idle) => {}
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = connection.as_mut() => finished_h2(ended),
        // The client does not read, or does not answer: dropping the connection closes it.
        () = parting(&watch, limits.times.stall) => Ok(Ended::Quietly),
    }
}

/// Completes after `limit` if no request has come by then.
async fn silent(watch: &Watch, limit: Duration) {
    tokio::time::sleep(limit).await;
    if watch.served() > 0 {
        std::future::pending::<()>().await;
    }
}

/// Completes 5 s after the last request's end, or after as long as a response may stand.
async fn parting(watch: &Watch, stall: Duration) {
    let last = tokio::time::Instant::now() + stall;
    loop {
        let was_busy = watch.is_busy();
        tokio::time::sleep(PARTING).await;
        if !was_busy && !watch.is_busy() || tokio::time::Instant::now() >= last {
            return;
        }
    }
}

fn finished_h2(ended: Result<(), hyper::Error>) -> Result<Ended, Error> {
    use std::error::Error as _;
    let Err(e) = ended else {
        return Ok(Ended::Quietly);
    };
    let by_client = e
        .source()
        .and_then(|s| s.downcast_ref::<h2::Error>())
        .is_some_and(|s| s.is_library() && s.reason().is_some());
    if by_client {
        return Ok(Ended::Violation(Violation {
            status: 400,
            cause: "HTTP/2 was broken",
        }));
    }
    Err(Error::Http(e))
}

/// Completes once no request has been under way for `limit`.
async fn idle(watch: &Watch, limit: Duration) {
    let mut before = watch.served();
    loop {
        tokio::time::sleep(limit).await;
        let now = watch.served();
        if now == before && !watch.is_busy() {
            return;
        }
        before = now;
    }
}

/// What HTTP/2 leaves open and HTTP/1's framing rules refuse likewise.
fn judge_h2<B>(request: &Request<B>) -> Result<(), Violation> {
    if matches!(*request.method(), Method::CONNECT | Method::TRACE) {
        return Err(Violation {
            status: 405,
            cause: "CONNECT or TRACE",
        });
    }
    if !request.uri().path().starts_with('/') {
        return Err(Violation {
            status: 400,
            cause: "a target that is no path",
        });
    }
    let hosts = request.headers().get_all(HOST).iter().count();
    let authority = request.uri().authority().map(http::uri::Authority::as_str);
    let host = request.headers().get(HOST).map(http::HeaderValue::as_bytes);
    match (authority, host) {
        (None, None) => Err(Violation {
            status: 400,
            cause: "no authority",
        }),
        (Some(a), _) if !framing::is_host(a.as_bytes()) => Err(framing::NO_HOST),
        (None, Some(h)) if !framing::is_host(h) => Err(framing::NO_HOST),
        _ if hosts > 1 => Err(Violation {
            status: 400,
            cause: "more than one Host",
        }),
        (Some(a), Some(h)) if !h.eq_ignore_ascii_case(a.as_bytes()) => Err(Violation {
            status: 400,
            cause: "a Host other than the authority",
        }),
        _ if request.headers().get_all(CONTENT_LENGTH).iter().count() > 1 => Err(Violation {
            status: 400,
            cause: "more than one Content-Length",
        }),
        _ => Ok(()),
    }
}

fn refused_h2(violation: Violation) -> Response<Body> {
    let mut response = Response::new(super::empty());
    *response.status_mut() =
        StatusCode::from_u16(violation.status).unwrap_or(StatusCode::BAD_REQUEST);
    response
        .headers_mut()
        .insert("server", http::HeaderValue::from_static("CE_E"));
    response
}

/// Counts a request from its head to the last of its response.
struct Busy(Arc<Watch>);

impl Busy {
    fn new(watch: &Arc<Watch>) -> Self {
        watch.begin();
        Busy(watch.clone())
    }

    fn around(self, body: Body) -> Body {
        let (busy, taking) = (self, None);
        BusyBody { body, busy, taking }.boxed_unsync()
    }

    /// The same, for a stream of HTTP/2: it is asked for a piece when the client has room for one.
    fn around_taken(self, body: Body) -> Body {
        let taking = Some(self.0.take());
        let busy = self;
        BusyBody { body, busy, taking }.boxed_unsync()
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// A request's body of HTTP/1. Until its end was read the connection does not rest: what the
/// library has of it would be taken for the next request. Who never reads it ends the connection.
struct Heard {
    body: Body,
    watch: Option<Arc<Watch>>,
}

impl Heard {
    fn of(body: Body, watch: &Arc<Watch>) -> Body {
        if body.is_end_stream() {
            return body;
        }
        watch.listen();
        let watch = Some(watch.clone());
        Heard { body, watch }.boxed_unsync()
    }
}

impl http_body::Body for Heard {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = std::task::ready!(Pin::new(&mut self.body).poll_frame(cx));
        let over = match &frame {
            None => true,
            Some(Ok(_)) => self.body.is_end_stream(),
            Some(Err(_)) => false,
        };
        if over && let Some(watch) = self.watch.take() {
            watch.heard();
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

struct BusyBody {
    body: Body,
    #[expect(dead_code, reason = "it counts until it is dropped")]
    busy: Busy,
    taking: Option<Arc<Taking>>,
}

impl http_body::Body for BusyBody {
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(cx);
        if let Some(taking) = &self.taking {
            taking.set(frame.is_ready().then(tokio::time::Instant::now));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
