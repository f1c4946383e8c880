//! Wakes a thread that waits in its poll.
//!
//! In: whoever has put something where that thread looks rings. Out: one system call for all that
//! is put there while it sleeps; none while it is awake, because it looks once more before it
//! sleeps; none either for what may wait while it wakes by itself within [`SOON`]. Four flags, no
//! bounds.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::task::Wake;
use std::time::Duration;

use mio::{Events, Poll, Token};

/// The token of a bell among a poll's events.
pub(super) const BELL: Token = Token(usize::MAX);

/// How long may wait what is told with [`Bell::ring_soon`].
pub(crate) const SOON: Duration = Duration::from_millis(50);

/// What the thread does.
const AWAKE: u8 = 0;
/// It is in its poll, or about to be, and back within [`SOON`].
const NAPPING: u8 = 1;
/// It is in its poll, or about to be, for as long as nobody rings.
const SLEEPING: u8 = 2;

/// One thread's.
pub(crate) struct Bell {
    /// Whether it was rung since the thread last looked.
    rung: AtomicBool,
    /// Whether something is there that may wait.
    rung_soon: AtomicBool,
    state: AtomicU8,
    waker: mio::Waker,
}

impl Bell {
    pub(super) fn new(poll: &Poll) -> io::Result<Bell> {
        Ok(Bell {
            rung: AtomicBool::new(false),
            rung_soon: AtomicBool::new(false),
            state: AtomicU8::new(AWAKE),
            waker: mio::Waker::new(poll.registry(), BELL)?,
        })
    }

    /// Something was put where the thread looks.
    pub(crate) fn ring(&self) {
        // Of this pair and the one in `sleep`, whichever comes last sees the other.
        let first = !self.rung.swap(true, Ordering::SeqCst);
        if first && self.state.load(Ordering::SeqCst) != AWAKE {
            // A thread that has ended needs no waking.
            let _ = self.waker.wake();
        }
    }

    /// Something was put where the thread looks that may wait for [`SOON`].
    pub(crate) fn ring_soon(&self) {
        let first = !self.rung_soon.swap(true, Ordering::SeqCst);
        if first && self.state.load(Ordering::SeqCst) == SLEEPING {
            self.ring();
        }
    }

    /// Polls for at most `wait`: not longer than a look if it was rung since the thread last
    /// looked, nor than [`SOON`] if it was told to come soon. The thread is to look now.
    pub(super) fn sleep(
        &self,
        poll: &mut Poll,
        events: &mut Events,
        wait: Option<Duration>,
    ) -> io::Result<()> {
        let naps = wait.is_some_and(|wait| wait <= SOON);
        let state = if naps { NAPPING } else { SLEEPING };
        self.state.store(state, Ordering::SeqCst);
        let wait = match wait {
            _ if self.rung.load(Ordering::SeqCst) => Some(Duration::ZERO),
            _ if !naps && self.rung_soon.load(Ordering::SeqCst) => Some(SOON),
            wait => wait,
        };
        let polled = poll.poll(events, wait);
        self.state.store(AWAKE, Ordering::SeqCst);
        self.rung_soon.swap(false, Ordering::SeqCst);
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

    #[test]
    fn what_may_wait_wakes_only_who_sleeps_for_long() {
        let mut poll = Poll::new().unwrap();
        let mut events = Events::with_capacity(4);
        let bell = Arc::new(Bell::new(&poll).unwrap());
        // While it is awake, and while it naps: it comes back by itself, with nothing written.
        bell.ring_soon();
        bell.sleep(&mut poll, &mut events, None).unwrap();
        assert!(events.is_empty());
        bell.state.store(NAPPING, Ordering::SeqCst);
        bell.ring_soon();
        assert!(!bell.rung.load(Ordering::SeqCst));
        bell.rung_soon.store(false, Ordering::SeqCst);
        // While it sleeps with no end.
        let (go, went) = std::sync::mpsc::channel::<()>();
        let ringer = std::thread::spawn({
            let bell = bell.clone();
            move || went.iter().for_each(|()| bell.ring_soon())
        });
        for _ in 0..100 {
            go.send(()).unwrap();
            bell.sleep(&mut poll, &mut events, None).unwrap();
        }
        drop(go);
        ringer.join().unwrap();
    }
}
