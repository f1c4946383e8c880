//! A body that must come fast enough and not be too large.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::{Buf, Bytes};
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt;
use tokio::time::{Instant, Sleep, sleep_until};

use super::Body;

/// What a body must keep to.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The longest wait for a next piece. Default 20 s.
    pub idle: Duration,
    /// Bytes a second on average, once `grace` has been spent waiting. Default 100.
    pub bytes_per_s: u32,
    /// Waiting that costs nothing. Default 10 s.
    pub grace: Duration,
    /// The largest body in bytes. Default 64 MiB.
    pub bytes_max: u64,
}

impl Default for Pace {
    fn default() -> Self {
        Pace {
            idle: Duration::from_secs(20),
            bytes_per_s: 100,
            grace: Duration::from_secs(10),
            bytes_max: 64 * 1024 * 1024,
        }
    }
}

/// Why a body was cut off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BodyFault {
    /// It comes too slowly: status 408 from a client, 504 from an inside server.
    #[error("the body came too slowly")]
    TooSlow,
    /// It is too large: status 413.
    #[error("the body is too large")]
    TooLarge,
}

/// Puts `body` under `pace`. Trailer fields are dropped: a proxy must not pass on what it has not
/// judged.
pub fn paced<B>(body: B, pace: Pace) -> Body
where
    B: http_body::Body<Data = Bytes> + Send + Unpin + 'static,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    if body.is_end_stream() {
        return super::empty();
    }
    Paced {
        body,
        pace,
        received: 0,
        waited: Duration::ZERO,
        waiting: None,
    }
    .boxed_unsync()
}

struct Paced<B> {
    body: B,
    pace: Pace,
    received: u64,
    /// Time spent waiting for the sender, and only for it: while nobody asks, nothing is counted.
    waited: Duration,
    waiting: Option<(Instant, Pin<Box<Sleep>>)>,
}

impl<B> Paced<B> {
    fn patience(&self) -> Duration {
        let earned = self.received / u64::from(self.pace.bytes_per_s.max(1));
        let left = (self.pace.grace + Duration::from_secs(earned)).saturating_sub(self.waited);
        left.min(self.pace.idle)
    }
}

impl<B> http_body::Body for Paced<B>
where
    B: http_body::Body<Data = Bytes> + Unpin,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Data = Bytes;
    type Error = Box<dyn std::error::Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        let this = &mut *self;
        loop {
            let frame = match Pin::new(&mut this.body).poll_frame(cx) {
                Poll::Ready(frame) => frame,
                Poll::Pending => {
                    let now = Instant::now();
                    let until = now + this.patience();
                    let (_, sleep) = this
                        .waiting
                        .get_or_insert_with(|| (now, Box::pin(sleep_until(until))));
                    if sleep.as_mut().poll(cx).is_ready() {
                        return Poll::Ready(Some(Err(BodyFault::TooSlow.into())));
                    }
                    return Poll::Pending;
                }
            };
            if let Some((since, _)) = this.waiting.take() {
                this.waited += since.elapsed();
            }
            match frame {
                None => return Poll::Ready(None),
                Some(Err(e)) => return Poll::Ready(Some(Err(e.into()))),
                Some(Ok(frame)) => {
                    let Ok(data) = frame.into_data() else {
                        continue;
                    };
                    this.received += data.remaining() as u64;
                    if this.received > this.pace.bytes_max {
                        return Poll::Ready(Some(Err(BodyFault::TooLarge.into())));
                    }
                    return Poll::Ready(Some(Ok(Frame::data(data))));
                }
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
