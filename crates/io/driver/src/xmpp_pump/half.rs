//! One direction of a stream that is only framed: chunks pass on at once, nothing is kept but what
//! the other side does not take yet.
//!
//! Bounds: one chunk of [`CHUNK`] bytes; [`STALL_MAX`] for the other side to take it.

use std::mem::MaybeUninit;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};
use xmpp::relay::Direction;
use xmpp::{Framer, Kind, Name, Violation};

/// How much is read at a time: a TLS record.
const CHUNK: usize = 16 * 1024;

/// A side that takes nothing for so long has lost its connection.
const STALL_MAX: Duration = Duration::from_secs(120);

/// Chunks in a row before other streams have their turn.
const TURN: usize = 8;

/// How a direction ends.
#[derive(Debug)]
pub(super) enum Ended {
    /// The stream's end has passed.
    Closed,
    /// The sender's connection is gone.
    ReadLost(String),
    /// The receiver's connection is gone.
    WriteLost(String),
    /// The sender broke the protocol.
    Broke(Violation),
}

pub(super) struct Half {
    pub(super) framer: Framer,
    /// Whether stream management was switched on in this direction's words.
    pub(super) resumable: bool,
    /// Whether a stream error has passed: its sender waits for nothing more (RFC 6120 §4.9.1.1).
    pub(super) failed: bool,
    /// Bytes that are to pass first, then what the receiver did not take at once.
    waiting: Vec<u8>,
    taken: usize,
    /// Something is written that may still be in the receiver's buffer.
    unflushed: bool,
    stalled: Option<Pin<Box<Sleep>>>,
    /// How it ends once everything has passed.
    ends: Option<Ended>,
    /// Whether what has passed ends between two stanzas.
    between: bool,
}

impl Half {
    /// Goes on where `direction` stands. `between`: whether what has passed so far ends between two
    /// elements.
    pub(super) fn new(direction: Direction, between: bool) -> Self {
        Half {
            between: between && direction.pending.is_empty(),
            framer: direction.framer,
            resumable: false,
            failed: false,
            waiting: direction.pending,
            taken: 0,
            unflushed: false,
            stalled: None,
            ends: None,
        }
    }

    /// Whether another element may be written to the receiver.
    pub(super) fn is_between(&self) -> bool {
        self.between && self.taken == self.waiting.len()
    }

    /// Bytes read before that have not been framed.
    pub(super) fn give(&mut self, bytes: &[u8], see: &mut impl FnMut(Kind)) {
        let pass = self.frame(bytes, see);
        self.waiting
            .extend_from_slice(bytes.get(..pass).unwrap_or_default());
    }

    /// Moves what can be moved.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        mut from: Pin<&mut (impl AsyncRead + ?Sized)>,
        mut to: Pin<&mut (impl AsyncWrite + ?Sized)>,
        see: &mut impl FnMut(Kind),
    ) -> Poll<Ended> {
        for _ in 0..TURN {
            if let Err(lost) = ready!(self.poll_waiting(cx, to.as_mut())) {
                return Poll::Ready(lost);
            }
            if self.ends.is_some() {
                if let Err(lost) = ready!(self.poll_flush(cx, to.as_mut())) {
                    return Poll::Ready(lost);
                }
                return Poll::Ready(self.ends.take().unwrap_or(Ended::Closed));
            }
            let mut space = [const { MaybeUninit::uninit() }; CHUNK];
            let mut buffer = ReadBuf::uninit(&mut space);
            match from.as_mut().poll_read(cx, &mut buffer) {
                Poll::Pending => {
                    if let Poll::Ready(Err(lost)) = self.poll_flush(cx, to.as_mut()) {
                        return Poll::Ready(lost);
                    }
                    return Poll::Pending;
                }
                Poll::Ready(Err(e)) => return Poll::Ready(Ended::ReadLost(net::tls::cause(&e))),
                Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                    return Poll::Ready(Ended::ReadLost("closed".into()));
                }
                Poll::Ready(Ok(())) => {}
            }
            let pass = self.frame(buffer.filled(), see);
            let chunk = buffer.filled().get(..pass).unwrap_or_default();
            if let Err(lost) = self.pass(cx, to.as_mut(), chunk) {
                return Poll::Ready(lost);
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }

    /// Frames a chunk; tells how much of it may pass.
    fn frame(&mut self, chunk: &[u8], see: &mut impl FnMut(Kind)) -> usize {
        let before = self.framer.is_between();
        let mut last = None;
        for frame in self.framer.frames(chunk) {
            match frame {
                Ok(frame) => {
                    last = Some(frame.end);
                    see(frame.kind);
                    match frame.kind {
                        Kind::Element(Name::Enabled | Name::Resumed) => self.resumable = true,
                        Kind::Element(Name::Error) => self.failed = true,
                        Kind::Close => {
                            self.ends = Some(Ended::Closed);
                            self.between = false;
                            return frame.end;
                        }
                        _ => {}
                    }
                }
                Err(violation) => {
                    // Up to the last whole element, so that an error may follow it.
                    self.ends = Some(Ended::Broke(violation));
                    self.between = before || last.is_some();
                    return last.unwrap_or(0);
                }
            }
        }
        self.between = self.framer.is_between();
        chunk.len()
    }

    /// Writes what the receiver takes at once, and keeps the rest.
    fn pass(
        &mut self,
        cx: &mut Context<'_>,
        to: Pin<&mut (impl AsyncWrite + ?Sized)>,
        chunk: &[u8],
    ) -> Result<(), Ended> {
        if chunk.is_empty() {
            return Ok(());
        }
        let written = match to.poll_write(cx, chunk) {
            Poll::Ready(Ok(written)) => {
                self.unflushed = true;
                written
            }
            Poll::Ready(Err(e)) => return Err(Ended::WriteLost(net::tls::cause(&e))),
            Poll::Pending => 0,
        };
        self.waiting
            .extend_from_slice(chunk.get(written..).unwrap_or_default());
        Ok(())
    }

    fn poll_waiting(
        &mut self,
        cx: &mut Context<'_>,
        mut to: Pin<&mut (impl AsyncWrite + ?Sized)>,
    ) -> Poll<Result<(), Ended>> {
        while let Some(rest @ [_, ..]) = self.waiting.get(self.taken..) {
            match to.as_mut().poll_write(cx, rest) {
                Poll::Ready(Ok(0)) => {
                    return Poll::Ready(Err(Ended::WriteLost("takes no bytes".into())));
                }
                Poll::Ready(Ok(written)) => {
                    self.taken += written;
                    self.unflushed = true;
                    self.stalled = None;
                }
                Poll::Ready(Err(e)) => {
                    return Poll::Ready(Err(Ended::WriteLost(net::tls::cause(&e))));
                }
                Poll::Pending => return self.poll_stall(cx),
            }
        }
        // An idle stream holds no buffer.
        self.waiting = Vec::new();
        self.taken = 0;
        Poll::Ready(Ok(()))
    }

    fn poll_flush(
        &mut self,
        cx: &mut Context<'_>,
        to: Pin<&mut (impl AsyncWrite + ?Sized)>,
    ) -> Poll<Result<(), Ended>> {
        if !self.unflushed {
            return Poll::Ready(Ok(()));
        }
        match to.poll_flush(cx) {
            Poll::Ready(Ok(())) => {
                self.unflushed = false;
                self.stalled = None;
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(e)) => Poll::Ready(Err(Ended::WriteLost(net::tls::cause(&e)))),
            Poll::Pending => self.poll_stall(cx),
        }
    }

    fn poll_stall(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Ended>> {
        let timer = self
            .stalled
            .get_or_insert_with(|| Box::pin(sleep(STALL_MAX)));
        ready!(timer.as_mut().poll(cx));
        let seconds = STALL_MAX.as_secs();
        Poll::Ready(Err(Ended::WriteLost(format!(
            "does not read for {seconds} s"
        ))))
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
    use xmpp::Limits;

    use super::*;

    const HEADER: &str = "<stream:stream xmlns:stream='http://etherx.jabber.org/streams'>";

    fn half() -> Half {
        let framer = Framer::new(Limits::SIGNED_IN);
        Half::new(
            Direction {
                framer,
                pending: Vec::new(),
            },
            true,
        )
    }

    async fn run(half: &mut Half, mut from: DuplexStream, mut to: DuplexStream) -> Ended {
        poll_fn(|cx| half.poll(cx, Pin::new(&mut from), Pin::new(&mut to), &mut |_| {})).await
    }

    /// What arrives of `sent`, how it ends, and whether an element may follow.
    async fn passed(sent: &[u8]) -> (String, Ended, bool) {
        let ((mut sender, from), (to, mut receiver)) = (duplex(1 << 20), duplex(1 << 20));
        sender.write_all(sent).await.unwrap();
        drop(sender);
        let mut half = half();
        let ended = run(&mut half, from, to).await;
        let mut arrived = String::new();
        receiver.read_to_string(&mut arrived).await.unwrap();
        (arrived, ended, half.is_between())
    }

    #[tokio::test]
    async fn a_stream_passes_up_to_its_end_and_no_further() {
        let stream = format!("{HEADER}<iq/> </stream:stream>");
        let (arrived, ended, _) = passed(format!("{stream}<iq/>").as_bytes()).await;
        assert_eq!(arrived, stream);
        assert!(matches!(ended, Ended::Closed));
    }

    #[tokio::test]
    async fn what_comes_before_a_violation_passes_whole() {
        let (arrived, ended, between) =
            passed(format!("{HEADER}<iq/><message><!-- -->").as_bytes()).await;
        assert_eq!(arrived, format!("{HEADER}<iq/>"));
        assert!(matches!(ended, Ended::Broke(Violation::Restricted(_))) && between);
        let big = format!("{HEADER}<message>{}", "x".repeat(300_000));
        let (_, ended, between) = passed(big.as_bytes()).await;
        assert!(matches!(ended, Ended::Broke(Violation::Limit(_))) && !between);
    }

    #[tokio::test]
    async fn a_lost_sender_leaves_half_a_stanza() {
        let (arrived, ended, between) = passed(format!("{HEADER}<iq/><me").as_bytes()).await;
        assert_eq!(arrived, format!("{HEADER}<iq/><me"));
        assert!(matches!(ended, Ended::ReadLost(_)) && !between);
    }

    #[tokio::test(start_paused = true)]
    async fn a_receiver_that_does_not_read_is_let_go() {
        let ((mut sender, from), (to, _receiver)) = (duplex(1 << 20), duplex(64));
        let stanza = format!("{HEADER}<message>{}</message>", "x".repeat(1000));
        sender.write_all(stanza.as_bytes()).await.unwrap();
        let mut half = half();
        let ended = run(&mut half, from, to).await;
        assert!(matches!(ended, Ended::WriteLost(why) if why.contains("120 s")));
        assert!(!half.is_between());
    }
}
