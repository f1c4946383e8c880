//! Log lines on their way out: whoever logs waits for the file, the pipe or the terminal only for
//! a warning, an error, or when [`BYTES_MAX`] wait.
//!
//! In: whole lines, each in one write. Out: many of them in one write of a thread of their own,
//! [`GATHER`] after the first. A warning or an error is written at once, and what came before it
//! too. Bounds: beyond [`BYTES_MAX`] whoever logs writes what waits. A process that is
//! killed loses what was logged in its last [`GATHER`], and no warning.

use std::io::{self, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tracing::{Level, Metadata};
use tracing_subscriber::fmt::MakeWriter;

/// How long lines are gathered.
const GATHER: Duration = Duration::from_millis(20);

/// The most that waits.
const BYTES_MAX: usize = 1024 * 1024;

/// Where lines go in the end.
type Sink = Box<dyn Write + Send>;

struct Shared {
    waiting: Mutex<Waiting>,
    /// The first line waits, or all is over.
    news: Condvar,
    /// Locked before `waiting`, so that lines keep their order.
    sink: Mutex<Sink>,
}

#[derive(Default)]
struct Waiting {
    lines: Vec<u8>,
    over: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    fn flush(&self) {
        let mut sink = lock(&self.sink);
        let lines = std::mem::take(&mut lock(&self.waiting).lines);
        // There is nowhere to tell of it.
        let _ = sink.write_all(&lines).and_then(|()| sink.flush());
    }

    /// Waits for a line, gathers what follows, writes it; until all is over.
    fn run(&self) {
        let idle = |w: &mut Waiting| w.lines.is_empty() && !w.over;
        loop {
            let waiting = self.news.wait_while(lock(&self.waiting), idle);
            drop(waiting.unwrap_or_else(PoisonError::into_inner));
            let gathering = |w: &mut Waiting| !w.over;
            let gathered = (self.news).wait_timeout_while(lock(&self.waiting), GATHER, gathering);
            let over = gathered.unwrap_or_else(PoisonError::into_inner).0.over;
            self.flush();
            if over {
                return;
            }
        }
    }
}

/// The way in.
pub(super) struct Lines(Arc<Shared>);

/// Writes what waits when it is dropped.
pub(crate) struct Tail {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Lines to `sink`, by a thread of their own.
///
/// # Errors
/// The system gives no thread.
pub(super) fn to(sink: impl Write + Send + 'static) -> io::Result<(Lines, Tail)> {
    let shared = Arc::new(Shared {
        waiting: Mutex::default(),
        news: Condvar::new(),
        sink: Mutex::new(Box::new(sink)),
    });
    let writer = shared.clone();
    let thread = std::thread::Builder::new()
        .name("log".into())
        .spawn(move || writer.run())?;
    let tail = Tail {
        shared: shared.clone(),
        thread: Some(thread),
    };
    Ok((Lines(shared), tail))
}

impl Drop for Tail {
    fn drop(&mut self) {
        lock(&self.shared.waiting).over = true;
        self.shared.news.notify_one();
        if let Some(thread) = self.thread.take() {
            // A panic of it was told by itself.
            let _ = thread.join();
        }
    }
}

/// One line.
pub(super) struct Line<'a> {
    shared: &'a Shared,
    urgent: bool,
}

impl Write for Line<'_> {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut waiting = lock(&self.shared.waiting);
        let first = waiting.lines.is_empty();
        waiting.lines.extend_from_slice(line);
        let now = self.urgent || waiting.over || waiting.lines.len() > BYTES_MAX;
        drop(waiting);
        if now {
            self.shared.flush();
        } else if first {
            self.shared.news.notify_one();
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        Line {
            shared: &self.0,
            urgent: true,
        }
    }

    fn make_writer_for(&'a self, meta: &Metadata<'_>) -> Line<'a> {
        Line {
            shared: &self.0,
            urgent: *meta.level() <= Level::WARN,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Written(Arc<Mutex<Vec<u8>>>);

    impl Write for Written {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn line(lines: &Lines, urgent: bool) -> Line<'_> {
        let shared = &lines.0;
        Line { shared, urgent }
    }

    #[test]
    fn lines_are_all_written_in_order_when_the_program_ends() {
        let written = Written::default();
        let (lines, tail) = to(written.clone()).unwrap();
        let mut expected = Vec::new();
        for n in 0..1000 {
            let text = format!("line {n}\n");
            line(&lines, false).write_all(text.as_bytes()).unwrap();
            expected.extend_from_slice(text.as_bytes());
        }
        drop(tail);
        line(&lines, false).write_all(b"last words\n").unwrap();
        expected.extend_from_slice(b"last words\n");
        assert!(*lock(&written.0) == expected);
    }

    #[test]
    fn a_warning_is_written_at_once_and_what_came_before_it_too() {
        let written = Written::default();
        let (lines, _tail) = to(written.clone()).unwrap();
        line(&lines, false).write_all(b"before\n").unwrap();
        line(&lines, true).write_all(b"warning\n").unwrap();
        assert_eq!(*lock(&written.0), b"before\nwarning\n");
    }

    #[test]
    fn more_than_may_wait_is_written_by_whoever_logs() {
        let written = Written::default();
        let (lines, _tail) = to(written.clone()).unwrap();
        let long = vec![b'x'; BYTES_MAX + 1];
        line(&lines, false).write_all(&long).unwrap();
        assert_eq!(lock(&written.0).len(), long.len());
    }
}
