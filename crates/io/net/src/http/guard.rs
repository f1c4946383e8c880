//! A client's HTTP/1 connection as the HTTP library sees it: strict framing, limits on time.
//!
//! Time: a request's head within [`Times::head`] of its first byte, the next request within
//! [`Times::idle`], a response taken without a pause of [`Times::stall`]. How fast a body comes is
//! the body's own affair ([`super::paced`]). Between requests it holds no buffer.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

use super::framing::{Framing, Violation};

/// Limits on a client's connection.
#[derive(Clone, Copy, Debug)]
pub struct Times {
    /// From a head's first byte to its last. Default 10 s.
    pub head: Duration,
    /// From one request to the next. Default 30 s.
    pub idle: Duration,
    /// How long a client may leave a response untaken. Default 60 s.
    pub stall: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Times {
            head: Duration::from_secs(10),
            idle: Duration::from_secs(30),
            stall: Duration::from_secs(60),
        }
    }
}

/// What the guard, the service and the connection's task share.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// Requests whose response has not been handed over in full.
    busy: AtomicUsize,
    /// The reader that waits for them.
    reader: Mutex<Option<Waker>>,
    /// What the client did, if it did.
    violation: Mutex<Option<(Violation, bool)>>,
    /// Requests so far.
    served: AtomicUsize,
    /// Whether something was read or written in part.
    amid: AtomicBool,
    /// Requests' bodies that were not read to their end: the library may have some of them.
    unheard: AtomicUsize,
    /// Responses of HTTP/2 that the client takes, or does not.
    taking: Mutex<Vec<Weak<Taking>>>,
}

/// Since when a piece of a response waits for room with the client, if one does.
#[derive(Debug, Default)]
pub(super) struct Taking(Mutex<Option<Instant>>);

impl Taking {
    /// The client has room and is given a piece, or waits itself.
    pub(super) fn set(&self, since: Option<Instant>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = since;
    }

    fn waits(&self) -> Option<Instant> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watch {
    /// Whether a response is under way.
    pub(super) fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Acquire) > 0
    }

    /// Requests so far.
    pub(super) fn served(&self) -> usize {
        self.served.load(Ordering::Relaxed)
    }

    /// Whether nothing is under way at all.
    pub(super) fn is_at_rest(&self) -> bool {
        !self.is_busy()
            && !self.amid.load(Ordering::Acquire)
            && self.unheard.load(Ordering::Acquire) == 0
    }

    /// A request's body has begun.
    pub(super) fn listen(&self) {
        self.unheard.fetch_add(1, Ordering::AcqRel);
    }

    /// It was read to its end.
    pub(super) fn heard(&self) {
        self.unheard.fetch_sub(1, Ordering::AcqRel);
    }

    /// A request has begun.
    pub(super) fn begin(&self) {
        self.served.fetch_add(1, Ordering::Relaxed);
        self.busy.fetch_add(1, Ordering::AcqRel);
    }

    /// A response that is taken piece by piece.
    pub(super) fn take(&self) -> Arc<Taking> {
        let taking = Arc::new(Taking::default());
        let mut all = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() == all.capacity() {
            all.retain(|t| t.strong_count() > 0);
        }
        all.push(Arc::downgrade(&taking));
        taking
    }

    /// Completes once a response has stood untaken for `limit`.
    pub(super) async fn untaken(&self, limit: Duration) {
        loop {
            tokio::time::sleep(limit / 4).await;
            let all = self.taking.lock().unwrap_or_else(PoisonError::into_inner);
            let stands = |t: &Weak<Taking>| {
                let since = t.upgrade().and_then(|t| t.waits());
                since.is_some_and(|since| since.elapsed() >= limit)
            };
            if all.iter().any(stands) {
                return;
            }
        }
    }

    /// Its response is over.
    pub(super) fn end(&self) {
        self.busy.fetch_sub(1, Ordering::AcqRel);
        let reader = self
            .reader
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(reader) = reader {
            reader.wake();
        }
    }

    /// The request that broke the rules in its body has a response by now: one is enough.
    fn answered(&self) {
        let mut place = self
            .violation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some((_, answerable)) = place.as_mut() {
            *answerable = false;
        }
    }

    fn wake_at_end(&self, cx: &Context<'_>) {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        *reader = Some(cx.waker().clone());
    }

    /// The violation, and whether a response may still be written for it.
    pub(super) fn violation(&self) -> Option<(Violation, bool)> {
        *self
            .violation
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// The stream with the rules around it.
pub(super) struct Guard<S> {
    stream: S,
    framing: Framing,
    checked: Vec<u8>,
    given: usize,
    watch: Arc<Watch>,
    times: Times,
    reading: Timer,
    writing: Timer,
    written_since_head: bool,
}

thread_local! {
    /// Where bytes are read to before they are judged; each turn leaves nothing in it.
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; 16 * 1024].into());
}

#[derive(Default)]
struct Timer(Option<Pin<Box<Sleep>>>);

impl Timer {
    fn stop(&mut self) {
        self.0 = None;
    }

    fn start(&mut self, after: Duration) {
        if self.0.is_none() {
            self.0 = Some(Box::pin(sleep_until(Instant::now() + after)));
        }
    }

    fn is_over(&mut self, cx: &mut Context<'_>) -> bool {
        self.0
            .as_mut()
            .is_some_and(|sleep| sleep.as_mut().poll(cx).is_ready())
    }
}

impl<S> Guard<S> {
    pub(super) fn new(stream: S, times: Times, watch: Arc<Watch>) -> Self {
        Guard {
            stream,
            framing: Framing::default(),
            checked: Vec::new(),
            given: 0,
            watch,
            times,
            reading: Timer::default(),
            writing: Timer::default(),
            written_since_head: false,
        }
    }

    pub(super) fn into_inner(self) -> S {
        self.stream
    }

    /// Takes back what was handed out and not used.
    pub(super) fn give_back(&mut self, bytes: &[u8]) {
        if !bytes.is_empty() {
            let left = self.checked.get(self.given..).unwrap_or_default();
            self.checked = [bytes, left].concat();
            self.given = 0;
        }
    }

    fn note(&self) {
        let amid = !self.framing.between_requests()
            || self.given < self.checked.len()
            || self.writing.0.is_some();
        self.watch.amid.store(amid, Ordering::Release);
    }

    fn refuse(&mut self, violation: Violation) -> io::Error {
        let answerable = self.framing.in_head() || !self.written_since_head;
        let mut place = self
            .watch
            .violation
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        place.get_or_insert((violation, answerable));
        io::Error::new(io::ErrorKind::InvalidData, violation.cause)
    }

    /// Starts or checks the clock that runs while nothing comes.
    fn waiting(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let idle = self.framing.between_requests();
        if !self.framing.in_head() || (idle && self.watch.is_busy()) {
            self.watch.wake_at_end(cx);
            self.reading.stop();
            return Poll::Pending;
        }
        self.reading.start(if idle {
            self.times.idle
        } else {
            self.times.head
        });
        if !self.reading.is_over(cx) {
            return Poll::Pending;
        }
        if idle {
            // As if the client had gone: no response is due.
            return Poll::Ready(Ok(()));
        }
        let slow = Violation {
            status: 408,
            cause: "the head took too long",
        };
        Poll::Ready(Err(self.refuse(slow)))
    }
}

impl<S: AsyncRead + Unpin> Guard<S> {
    /// Reads and judges until there is something to hand out; `false` is the end.
    pub(super) fn poll_fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        let filled = self.fill(cx);
        self.note();
        filled
    }

    fn fill(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            if self.given < self.checked.len() {
                return Poll::Ready(Ok(true));
            }
            self.checked = Vec::new();
            self.given = 0;
            if let Some((violation, _)) = self.watch.violation() {
                // The response to the request before it goes out first.
                if self.framing.in_head() && self.watch.is_busy() {
                    self.watch.wake_at_end(cx);
                    return Poll::Pending;
                }
                return Poll::Ready(Err(self.refuse(violation)));
            }
            let began = self.framing.between_requests();
            let (stream, framing, checked) =
                (&mut self.stream, &mut self.framing, &mut self.checked);
            let fed = READ.with_borrow_mut(|read| {
                let mut fresh = ReadBuf::new(read);
                ready!(Pin::new(stream).poll_read(cx, &mut fresh))?;
                let fresh = fresh.filled();
                let fed = framing.feed(fresh, checked);
                Poll::Ready(Ok::<_, io::Error>((!fresh.is_empty()).then_some(fed)))
            });
            match fed {
                Poll::Pending => return self.waiting(cx).map_ok(|()| false),
                Poll::Ready(Err(e)) => return Poll::Ready(Err(e)),
                Poll::Ready(Ok(None)) => return Poll::Ready(Ok(false)),
                Poll::Ready(Ok(Some(Ok(head_done)))) => {
                    if head_done {
                        self.written_since_head = false;
                    }
                    // The clock of a head runs from its first byte, not from its last.
                    if began || head_done {
                        self.reading.stop();
                    }
                }
                // What was whole before the fault is served first.
                Poll::Ready(Ok(Some(Err(violation)))) => drop(self.refuse(violation)),
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if ready!(this.poll_fill(cx))? {
            let bytes = this.checked.get(this.given..).unwrap_or_default();
            let n = bytes.len().min(buf.remaining());
            buf.put_slice(bytes.get(..n).unwrap_or_default());
            this.given += n;
            this.note();
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Guard<S> {
    fn stalled<T>(
        &mut self,
        cx: &mut Context<'_>,
        done: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.writing.stop();
            self.note();
            return done;
        }
        self.writing.start(self.times.stall);
        self.note();
        if self.writing.is_over(cx) {
            let why = "the client does not take its response";
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, why)));
        }
        Poll::Pending
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.written_since_head = true;
        if !self.framing.in_head() {
            self.watch.answered();
        }
        let done = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.stalled(cx, done)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_flush(cx);
        self.stalled(cx, done)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(ready!(Pin::new(&mut self.stream).poll_shutdown(cx)))
    }
}
