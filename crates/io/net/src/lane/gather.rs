//! What one turn of a connection writes leaves in one piece.
//!
//! The HTTP/2 library flushes after every larger frame. Below it each flush would be a packet of
//! its own, with a wake-up and an encryption for each, however many streams had something to say
//! in that turn. Here a flush only notes that there is something; what was written leaves when the
//! turn is over ([`Turns::poll`]), or when [`GATHERED_MAX`] bytes are there. Nothing waits for a
//! clock: a turn's bytes leave at its end. Which task writes is the library's affair; it is found
//! out.
//!
//! Bounds: [`GATHERED_MAX`] bytes a connection; beyond it writing waits for the stream below.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use hyper::rt::Executor;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The most bytes that wait for a turn's end: less than one packet of the tunnel carries.
const GATHERED_MAX: usize = 60 * 1024;

/// A stream whose writes wait for the end of the turn.
pub(super) struct Gather<S>(Arc<Mutex<Gathered<S>>>);

/// The same stream, for the tasks of its connection.
pub(super) struct Turns<S> {
    shared: Arc<Mutex<Gathered<S>>>,
    /// Whether the task that has this is the one that writes.
    writes: bool,
}

impl<S> Clone for Turns<S> {
    /// For another task.
    fn clone(&self) -> Self {
        Turns {
            shared: self.shared.clone(),
            writes: false,
        }
    }
}

struct Gathered<S> {
    stream: S,
    out: Vec<u8>,
    /// How many of them have left.
    left: usize,
    /// How often something was written.
    writes: u64,
    /// Whether anything was since the stream was flushed.
    dirty: bool,
    /// Why writing failed, for whoever writes next.
    failed: Option<io::Error>,
}

/// A stream to write to, and the end of its turns.
pub(super) fn gather<S>(stream: S) -> (Gather<S>, Turns<S>) {
    let shared = Arc::new(Mutex::new(Gathered {
        stream,
        out: Vec::new(),
        left: 0,
        writes: 0,
        dirty: false,
        failed: None,
    }));
    let turns = Turns {
        shared: shared.clone(),
        writes: false,
    };
    (Gather(shared), turns)
}

fn locked<S>(shared: &Mutex<Gathered<S>>) -> MutexGuard<'_, Gathered<S>> {
    // Held for a turn's writing at most.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<S: AsyncWrite + Unpin> Gathered<S> {
    /// Writes what waits.
    fn poll_out(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(error) = self.failed.take() {
            return Poll::Ready(Err(error));
        }
        while let Some(rest) = self.out.get(self.left..).filter(|rest| !rest.is_empty()) {
            match ready!(Pin::new(&mut self.stream).poll_write(cx, rest))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                n => self.left += n,
            }
        }
        self.left = 0;
        self.out.clear();
        Poll::Ready(Ok(()))
    }

    /// The same, and flushes the stream.
    fn poll_through(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_out(cx))?;
        if self.dirty {
            ready!(Pin::new(&mut self.stream).poll_flush(cx))?;
            self.dirty = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> Turns<S> {
    /// A turn of a task, and what it wrote leaves.
    pub(super) fn poll<C: Future>(
        &mut self,
        task: Pin<&mut C>,
        cx: &mut Context<'_>,
    ) -> Poll<C::Output> {
        let before = locked(&self.shared).writes;
        let polled = task.poll(cx);
        let mut gathered = locked(&self.shared);
        // Only the one that writes waits for room: it is its waker that is woken.
        self.writes |= gathered.writes != before;
        if self.writes
            && let Poll::Ready(Err(error)) = gathered.poll_through(cx)
        {
            gathered.failed = Some(error);
            // The connection is to hear of it, whatever else it waits for.
            cx.waker().wake_by_ref();
        }
        polled
    }
}

/// Spawns a connection's tasks.
impl<S, F> Executor<F> for Turns<S>
where
    S: AsyncWrite + Unpin + Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    fn execute(&self, task: F) {
        let mut turns = self.clone();
        tokio::spawn(async move {
            let mut task = std::pin::pin!(task);
            std::future::poll_fn(|cx| turns.poll(task.as_mut(), cx)).await;
        });
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Gather<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut locked(&self.0).stream).poll_read(cx, buf)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Gather<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut gathered = locked(&self.0);
        if gathered.out.len() >= GATHERED_MAX || gathered.failed.is_some() {
            ready!(gathered.poll_out(cx))?;
        }
        let room = GATHERED_MAX - gathered.out.len();
        let taken = buf.get(..room).unwrap_or(buf);
        gathered.out.extend_from_slice(taken);
        gathered.writes = gathered.writes.wrapping_add(1);
        gathered.dirty = true;
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        match locked(&self.0).failed.take() {
            Some(error) => Poll::Ready(Err(error)),
            None => Poll::Ready(Ok(())),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut gathered = locked(&self.0);
        ready!(gathered.poll_through(cx))?;
        Pin::new(&mut gathered.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

    use super::*;

    /// Counts what reaches it, and takes so many bytes at most.
    struct Below {
        writes: Arc<Mutex<Vec<usize>>>,
        room: Arc<Mutex<usize>>,
    }

    impl AsyncWrite for Below {
        fn poll_write(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
            buf: &[u8],
        ) -> Poll<io::Result<usize>> {
            let mut room = self.room.lock().unwrap();
            let n = buf.len().min(*room);
            if n == 0 {
                return Poll::Pending;
            }
            *room -= n;
            self.writes.lock().unwrap().push(n);
            Poll::Ready(Ok(n))
        }

        fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }
    }

    #[tokio::test]
    async fn what_a_turn_writes_and_flushes_leaves_once_at_its_end() {
        let (writes, room) = (
            Arc::<Mutex<Vec<usize>>>::default(),
            Arc::new(Mutex::new(10)),
        );
        let below = Below {
            writes: writes.clone(),
            room: room.clone(),
        };
        let (mut above, mut turns) = gather(below);
        let mut turn = Box::pin(async {
            for _ in 0..3 {
                above.write_all(b"abc").await.unwrap();
                above.flush().await.unwrap();
                assert!(writes.lock().unwrap().is_empty());
            }
            tokio::task::yield_now().await;
            above.write_all(b"defg").await.unwrap();
            std::future::pending::<()>().await;
        });
        let poll = |cx: &mut Context<'_>| Poll::Ready(turns.poll(turn.as_mut(), cx).is_ready());
        let mut poll = poll_fn(poll);
        assert!(!(&mut poll).await);
        assert_eq!(*writes.lock().unwrap(), [9]);
        assert!(!(&mut poll).await);
        assert_eq!(*writes.lock().unwrap(), [9, 1], "there is no more room");
        *room.lock().unwrap() = 100;
        assert!(!poll.await);
        assert_eq!(*writes.lock().unwrap(), [9, 1, 3]);
    }

    #[tokio::test]
    async fn a_writer_waits_once_as_much_as_may_waits() {
        let (below, mut far) = duplex(16);
        let (mut above, _turns) = gather(below);
        let large = vec![b'x'; GATHERED_MAX + 1];
        let writing = async {
            above.write_all(&large).await.unwrap();
            above.shutdown().await.unwrap();
        };
        let reading = async {
            let mut all = Vec::new();
            far.read_to_end(&mut all).await.unwrap();
            all.len()
        };
        let ((), read) = tokio::join!(writing, reading);
        assert_eq!(read, large.len());
    }

    #[tokio::test]
    async fn a_write_that_fails_at_a_turns_end_fails_the_next() {
        let (below, far) = duplex(16);
        drop(far);
        let (mut above, mut turns) = gather(below);
        let mut turn = Box::pin(async {
            above.write_all(b"a").await.unwrap();
            tokio::task::yield_now().await;
            above.flush().await.unwrap_err().kind()
        });
        let kind = poll_fn(|cx| turns.poll(turn.as_mut(), cx)).await;
        assert_eq!(kind, io::ErrorKind::BrokenPipe);
    }
}
