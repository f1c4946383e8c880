//! The media worker: a thread that owns sockets and moves packets as the pure relays say.
//!
//! ```text
//!  signalling ── Command, bounded, never waits ──▶ worker ── Event, a call that never waits ──▶
//!  client ⇄ leg's two sockets ⇄ [media::edge::Relay] ⇄ 36000/36001, shared by all links
//!  inside ⇄ leg's two sockets ⇄ [media::core::Relay] ⇄ two sockets a link, dialled by the core
//! ```
//!
//! One turn: what is ready is read, a bounded batch a socket; each packet is changed where it lies
//! and sent; what goes over the link leaves at the end of the turn, neighbours together. A socket
//! with more to read gets its next batch after all others have had theirs, so a flood on one
//! starves nobody. No packet crosses a thread, takes a lock, waits or allocates.
//!
//! A leg belongs to one worker for life, and so does a link's pair of sockets. There is one worker
//! so far; a stream's number would choose among several, as it chooses a link's pair.
//!
//! A leg's sockets stay open while their ports rest, and for a while after, for the next leg on
//! them ([`media::rest`]): so a call in a busy hour costs no socket call at all.
//!
//! Bounds: [`Settings::legs_max`], [`Settings::spares_max`], [`Settings::commands_max`], [`LINKS_MAX`] links, and the
//! batches named in `turn`. Receive buffers are the kernel's; what it grants is logged.

mod core;
mod edge;
mod hop;
mod legs;
mod turn;

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc::{SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use media::rest::Terms;
use media::{Command, Event};

/// Links of one worker.
pub const LINKS_MAX: usize = 64;

/// Which relay a worker drives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// Clients on one side, cores on the other.
    Edge,
    /// Edges on one side, the inside on the other.
    Core,
}

/// What a worker is told once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which relay.
    pub role: Role,
    /// Legs at most; one more is refused with [`Event::BindFailed`]. Two descriptors each.
    pub legs_max: usize,
    /// Pairs of sockets at most that are open without a leg, on ports that rest or have rested.
    /// Two descriptors each; no more than a quarter of all that the process may have.
    pub spares_max: usize,
    /// How long ports rest.
    pub rest: Terms,
    /// Commands that may wait.
    pub commands_max: usize,
    /// Bytes that may wait on a leg's RTP socket, the kernel's bookkeeping included: enough for
    /// the burst of a video key frame.
    pub leg_receive_bytes: usize,
    /// Bytes that may wait on a link's socket.
    pub link_receive_bytes: usize,
    /// The DSCP of all media that leaves, 0–63; `None` sets none.
    pub dscp: Option<u8>,
    /// How often a leg's figures are told, if they have changed.
    pub counters_every: Duration,
    /// After how long without a packet from the client a core's leg is told to be silent.
    pub no_media_after: Duration,
}

impl Settings {
    /// The defaults: 16,384 legs and commands, 2,048 spares, 256 KiB a leg, 8 MiB a link, no DSCP, figures once
    /// a second, silence after 10 s.
    pub fn new(role: Role) -> Settings {
        Settings {
            role,
            legs_max: 16_384,
            spares_max: 2_048,
            rest: Terms::default(),
            commands_max: 16_384,
            leg_receive_bytes: 256 * 1024,
            link_receive_bytes: 8 * 1024 * 1024,
            dscp: None,
            counters_every: Duration::from_secs(1),
            no_media_after: Duration::from_secs(10),
        }
    }
}

/// A command was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// Too many wait already: the machine has more calls to set up than it can.
    #[error("the media worker has too many commands waiting")]
    Full,
    /// The worker has ended.
    #[error("the media worker has ended")]
    Ended,
}

/// The way to the media workers. Dropping it stops them.
pub struct Workers {
    commands: SyncSender<Command>,
    wake: Arc<Wake>,
    refused: AtomicU64,
    thread: Option<JoinHandle<()>>,
}

/// Starts the workers. `on_event` is called on their thread and must not wait.
///
/// # Errors
/// What the system says when it gives no thread, or no poll.
pub fn start(settings: Settings, on_event: impl Fn(Event) + Send + 'static) -> io::Result<Workers> {
    let quarter = net::descriptors::limit().map_or(usize::MAX, |all| all / 4);
    let settings = Settings {
        spares_max: settings.spares_max.min(quarter / 2),
        ..settings
    };
    let (commands, queue) = sync_channel(settings.commands_max.max(1));
    let poll = mio::Poll::new()?;
    let wake = Arc::new(Wake {
        waker: mio::Waker::new(poll.registry(), turn::WAKE)?,
        asked: AtomicBool::new(false),
        stop: AtomicBool::new(false),
    });
    let outside = turn::Outside {
        poll,
        queue,
        wake: wake.clone(),
        on_event: Box::new(on_event),
    };
    let thread =
        std::thread::Builder::new()
            .name("media".into())
            .spawn(move || match settings.role {
                Role::Edge => turn::run(outside, settings, edge::Edge::default()),
                Role::Core => turn::run(outside, settings, core::Core::default()),
            })?;
    Ok(Workers {
        commands,
        wake,
        refused: AtomicU64::new(0),
        thread: Some(thread),
    })
}

impl Workers {
    /// Hands a command on. Never waits.
    ///
    /// # Errors
    /// [`Refused`]; it is counted, and logged the first time.
    pub fn send(&self, command: Command) -> Result<(), Refused> {
        let sent = self.post(command);
        self.wake();
        sent
    }

    /// Hands a command on for [`Workers::wake`] to tell of, so that many cost one waking. Never
    /// waits.
    ///
    /// # Errors
    /// As [`Workers::send`] has them.
    pub fn post(&self, command: Command) -> Result<(), Refused> {
        let sent = self.commands.try_send(command).map_err(|e| match e {
            TrySendError::Full(_) => Refused::Full,
            TrySendError::Disconnected(_) => Refused::Ended,
        });
        if let Err(refused) = sent {
            // The worker has work to do.
            self.wake();
            if self.refused.fetch_add(1, Ordering::Relaxed) == 0 {
                tracing::error!(%refused, "a media command is lost, and so is its call");
            }
        }
        sent
    }

    /// Lets the worker see what was posted.
    pub fn wake(&self) {
        self.wake.up();
    }

    /// Commands that were not taken so far.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Ends the workers and waits until their sockets are closed.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.wake.stop.store(true, Ordering::Release);
        self.wake.asked.store(false, Ordering::Release);
        self.wake.up();
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
        {
            tracing::error!("the media worker had panicked");
        }
    }
}

/// Gets the worker out of its poll, with one system call for many commands.
struct Wake {
    waker: mio::Waker,
    asked: AtomicBool,
    stop: AtomicBool,
}

impl Wake {
    fn up(&self) {
        if !self.asked.swap(true, Ordering::AcqRel) && self.waker.wake().is_err() {
            // Another command may try again.
            self.asked.store(false, Ordering::Release);
        }
    }
}
