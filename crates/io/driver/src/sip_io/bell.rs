//! Wakes a thread that waits in its poll.
//!
//! In: whoever has put something where that thread looks rings. Out: one system call for all that
//! is put there while it sleeps, none while it is awake, because it looks once more before it
//! sleeps. Two flags, no bounds.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Wake;
use std::time::Duration;

use mio::{Events, Poll, Token};

/// The token of a bell among a poll's events.
pub(super) const BELL: Token = Token(usize::MAX);

/// One thread's.
pub(crate) struct Bell {
    /// Whether it was rung since the thread last looked.
    rung: AtomicBool,
    /// Whether the thread is in its poll, or about to be.
    asleep: AtomicBool,
    waker: mio::Waker,
}

impl Bell {
    pub(super) fn new(poll: &Poll) -> io::Result<Bell> {
        Ok(Bell {
            rung: AtomicBool::new(false),
            asleep: AtomicBool::new(false),
            waker: mio::Waker::new(poll.registry(), BELL)?,
        })
    }

    /// Something was put where the thread looks.
    pub(crate) fn ring(&self) {
        // Of this pair and the one in `sleep`, whichever comes last sees the other.
        let first = !self.rung.swap(true, Ordering::SeqCst);
        if first && self.asleep.load(Ordering::SeqCst) {
            // A thread that has ended needs no waking.
            let _ = self.waker.wake();
        }
    }

    /// Polls for at most `wait`; not at all longer than a look if it was rung since the thread
    /// last looked. The thread is to look now.
    pub(super) fn sleep(
        &self,
        poll: &mut Poll,
        events: &mut Events,
        wait: Option<Duration>,
    ) -> io::Result<()> {
        self.asleep.store(true, Ordering::SeqCst);
        let rung = self.rung.load(Ordering::SeqCst);
        let polled = poll.poll(events, if rung { Some(Duration::ZERO) } else { wait });
        self.asleep.store(false, Ordering::SeqCst);
        self.rung.swap(false, Ordering::SeqCst);
        polled
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.ring();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.ring();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bell_rung_while_awake_costs_no_call_and_lets_nobody_sleep() {
        let mut poll = Poll::new().unwrap();
        let mut events = Events::with_capacity(4);
        let bell = Bell::new(&poll).unwrap();
        bell.ring();
        bell.ring();
        // It returns, though it might wait for ever, and nothing was written to the waker.
        bell.sleep(&mut poll, &mut events, None).unwrap();
        assert!(events.is_empty());
    }

    #[test]
    fn bell_rung_by_others_ends_a_sleep_each_time() {
        let mut poll = Poll::new().unwrap();
        let mut events = Events::with_capacity(4);
        let bell = Arc::new(Bell::new(&poll).unwrap());
        let (go, went) = std::sync::mpsc::channel::<()>();
        let ringer = std::thread::spawn({
            let bell = bell.clone();
            move || went.iter().for_each(|()| bell.ring())
        });
        for _ in 0..1000 {
            go.send(()).unwrap();
            bell.sleep(&mut poll, &mut events, None).unwrap();
        }
        drop(go);
        ringer.join().unwrap();
    }
}
