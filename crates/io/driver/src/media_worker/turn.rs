//! A worker's turns: commands, packets, timers, each with a bound, and nothing that waits but the
//! poll itself.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use base::Instant;
use media::{Command, Component, Counters, Event, LegId};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token};
use net::udp::{Inbox, Udp};

use super::legs::{self, Legs, Run};
use super::{Settings, Wake};

/// The waker's token.
pub(super) const WAKE: Token = Token(0);

/// The first token of links' sockets, and the first of legs'.
const LINK: usize = 1;
const LEG: usize = LINK + super::LINKS_MAX * media::link::PAIRS_MAX * 2;

/// Commands in one turn.
const COMMANDS: usize = 64;

/// Sockets in one turn.
const SOCKETS: usize = 256;

/// Packets a leg's socket gives in one turn, and their longest. No path carries longer ones
/// without fragments, and no codec sends them.
const LEG_PACKETS: usize = 16;
const PACKET_BYTES: usize = 2048;

/// Datagrams a link's socket gives in one turn. Each may be a row of 64 packets.
const LINK_DATAGRAMS: usize = 8;
const DATAGRAM_BYTES: usize = 65_536;

/// Legs whose figures are told in one turn, and rests that end in one, so that thousands of legs
/// delay no packet.
const SWEEP: usize = 64;

/// What a worker has from outside.
pub(super) struct Outside {
    pub(super) poll: Poll,
    pub(super) queue: Receiver<Command>,
    pub(super) wake: Arc<Wake>,
    pub(super) on_event: Box<dyn Fn(Event) + Send>,
}

/// What both roles work with.
pub(super) struct Desk {
    pub(super) now: Instant,
    pub(super) settings: Settings,
    pub(super) registry: Registry,
    pub(super) legs: Legs,
    /// Packets about to leave one leg's socket.
    pub(super) run: Run,
    /// What a leg's socket gave.
    pub(super) packets: Inbox,
    /// What a link's socket gave.
    pub(super) datagrams: Inbox,
    /// One packet, with room to grow.
    pub(super) packet: Vec<u8>,
    /// One frame.
    pub(super) frame: Vec<u8>,
    /// What signalling is told when the turn ends, so that it wakes once. The turn bounds it.
    told: RefCell<Vec<Event>>,
    on_event: Box<dyn Fn(Event) + Send>,
}

impl Desk {
    pub(super) fn tell(&self, event: Event) {
        self.told.borrow_mut().push(event);
    }

    /// Tells signalling what the turn gathered.
    fn report(&mut self) {
        self.told.get_mut().drain(..).for_each(&self.on_event);
    }

    /// Watches a link's socket.
    pub(super) fn watch_link(&self, socket: &Udp, index: usize) -> std::io::Result<()> {
        watch(&self.registry, socket, LINK + index)
    }

    /// Opens a leg's sockets; the row, unless it failed and signalling was told.
    pub(super) fn open_leg(&mut self, leg: LegId, local: &media::PortPair) -> Option<usize> {
        match self.legs.open(&self.settings, &self.registry, leg, local) {
            Ok(row) => {
                tracing::debug!(?leg, "leg opened");
                self.tell(Event::Installed { leg });
                Some(row)
            }
            Err(address) => {
                self.tell(Event::BindFailed { leg, address });
                None
            }
        }
    }
}

/// Watches a leg's socket, by [`legs::index`].
pub(super) fn watch_leg(registry: &Registry, socket: &Udp, index: usize) -> std::io::Result<()> {
    watch(registry, socket, LEG + index)
}

fn watch(registry: &Registry, socket: &Udp, token: usize) -> std::io::Result<()> {
    // Closing the socket ends the watch. Each packet that comes is told, read or not.
    registry.register(
        &mut SourceFd(&socket.as_raw_fd()),
        Token(token),
        Interest::READABLE,
    )
}

/// What edge and core do differently.
pub(super) trait Side {
    /// Carries out a command other than `Remove` and `Stop`.
    fn command(&mut self, desk: &mut Desk, command: Command);
    /// Reads a batch from a leg's socket; true if there may be more.
    fn read_leg(&mut self, desk: &mut Desk, row: usize, component: Component) -> bool;
    /// Reads a batch from a link's socket; true if there may be more.
    fn read_link(&mut self, desk: &mut Desk, index: usize) -> bool;
    /// Sends what waits for the links.
    fn flush(&mut self);
    /// Does what is due.
    fn timers(&mut self, desk: &mut Desk);
    /// When something is due.
    fn poll_timeout(&self, now: Instant) -> Option<Instant>;
    /// Closes a leg's row in the relay.
    fn remove(&mut self, leg: LegId) -> Option<Counters>;
    /// A leg's figures.
    fn counters(&self, leg: LegId) -> Option<Counters>;
    /// How long a leg's client has been silent, if it should not be.
    fn silence(&self, now: Instant, leg: LegId) -> Option<Duration>;
}

/// The sockets that may have something to read, each once, in the order of their turn.
#[derive(Default)]
struct Ready {
    queue: VecDeque<usize>,
    queued: Vec<bool>,
}

impl Ready {
    fn add(&mut self, token: usize) {
        if self.queued.len() <= token {
            self.queued.resize(token + 1, false);
        }
        if let Some(queued) = self.queued.get_mut(token)
            && !*queued
        {
            *queued = true;
            self.queue.push_back(token);
        }
    }

    fn next(&mut self) -> Option<usize> {
        let token = self.queue.pop_front()?;
        if let Some(queued) = self.queued.get_mut(token) {
            *queued = false;
        }
        Some(token)
    }
}

/// Runs a worker until it is told to stop.
pub(super) fn run(outside: Outside, settings: Settings, side: impl Side) {
    let Ok(registry) = outside.poll.registry().try_clone() else {
        tracing::error!("no descriptor is left for the media worker; it ends");
        return;
    };
    let desk = Desk {
        now: Instant::ZERO,
        registry,
        legs: Legs::new(&settings),
        run: Run::new(LINK_DATAGRAMS * DATAGRAM_BYTES / 4),
        packets: Inbox::new(LEG_PACKETS, PACKET_BYTES),
        datagrams: Inbox::new(LINK_DATAGRAMS, DATAGRAM_BYTES),
        packet: Vec::with_capacity(2 * PACKET_BYTES),
        frame: Vec::with_capacity(2 * PACKET_BYTES),
        told: RefCell::default(),
        on_event: outside.on_event,
        settings,
    };
    let mut worker = Worker {
        queue: outside.queue,
        wake: outside.wake,
        ready: Ready::default(),
        more_commands: true,
        cursor: 0,
        sweep_at: Instant::ZERO,
        desk,
        side,
    };
    worker.work(outside.poll);
}

struct Worker<S> {
    queue: Receiver<Command>,
    wake: Arc<Wake>,
    ready: Ready,
    /// Whether commands were left for the next turn.
    more_commands: bool,
    /// Where the next sweep begins.
    cursor: usize,
    sweep_at: Instant,
    desk: Desk,
    side: S,
}

impl<S: Side> Worker<S> {
    fn work(&mut self, mut poll: Poll) {
        let began = std::time::Instant::now();
        let clock = || Instant::from_micros(began.elapsed().as_micros() as u64);
        let mut events = Events::with_capacity(SOCKETS);
        loop {
            if let Err(e) = poll.poll(&mut events, self.wait(clock()))
                && e.kind() != ErrorKind::Interrupted
            {
                tracing::error!(error = %e, "the media worker cannot poll; it ends");
                return self.close();
            }
            self.desk.now = clock();
            // 1. What signalling wants, for it is rare and small.
            for event in &events {
                self.woken(event.token());
            }
            if self.more_commands && self.commands() {
                return self.close();
            }
            // 2. Packets, each socket in its turn.
            for _ in 0..SOCKETS.min(self.ready.queue.len()) {
                let Some(token) = self.ready.next() else {
                    break;
                };
                if self.read(token) {
                    self.ready.add(token);
                }
            }
            self.desk.run.flush(&self.desk.legs);
            self.side.flush();
            // 3. Timers.
            self.side.timers(&mut self.desk);
            self.sweep();
            let pairs = self.desk.legs.rest(self.desk.now, SWEEP);
            if !pairs.is_empty() {
                self.desk.tell(Event::Rested { pairs });
            }
            self.desk.report();
        }
    }

    /// What the poll found. Before any command of the turn, so that a leg never gets sockets to
    /// which something has come.
    fn woken(&mut self, token: Token) {
        if token == WAKE {
            self.more_commands = true;
        } else if let Some(index) = token.0.checked_sub(LEG)
            && !self.desk.legs.stir(legs::at(index).0)
        {
            tracing::debug!("spare media sockets were sent to, and are closed");
        } else {
            self.ready.add(token.0);
        }
    }

    /// How long the poll may take.
    fn wait(&self, now: Instant) -> Option<Duration> {
        if self.more_commands || !self.ready.queue.is_empty() {
            return Some(Duration::ZERO);
        }
        let sweep = (!self.desk.legs.is_empty()).then_some(self.sweep_at);
        let rest = self.desk.legs.poll_timeout();
        let side = self.side.poll_timeout(now);
        let due = side.into_iter().chain(sweep).chain(rest).min()?;
        // The poll counts in milliseconds and rounds up.
        Some(due.since(now))
    }

    /// Carries out a batch of commands; true if the worker is to end.
    fn commands(&mut self) -> bool {
        self.wake.asked.store(false, Ordering::Release);
        self.more_commands = false;
        if self.wake.stop.load(Ordering::Acquire) {
            return true;
        }
        for _ in 0..COMMANDS {
            match self.queue.try_recv() {
                Ok(Command::Stop) => return true,
                Ok(Command::Remove { leg }) => self.remove(leg),
                Ok(command) => self.side.command(&mut self.desk, command),
                Err(_) => return false,
            }
        }
        self.more_commands = true;
        false
    }

    fn read(&mut self, token: usize) -> bool {
        match token.checked_sub(LEG) {
            Some(index) => {
                let (row, component) = legs::at(index);
                self.side.read_leg(&mut self.desk, row, component)
            }
            None => self.side.read_link(&mut self.desk, token - LINK),
        }
    }

    /// Closes a leg. Its last figures come even if it never was: signalling waits for them.
    fn remove(&mut self, leg: LegId) {
        self.desk.run.flush(&self.desk.legs);
        self.desk.legs.close(self.desk.now, leg);
        let counters = self.side.remove(leg).unwrap_or_default();
        tracing::debug!(?leg, "leg closed");
        self.desk.tell(Event::Counters {
            leg,
            counters,
            last: true,
        });
    }

    /// Tells figures and silences of a few legs; all have had their turn once in
    /// [`Settings::counters_every`].
    fn sweep(&mut self) {
        let now = self.desk.now;
        if now < self.sweep_at {
            return;
        }
        let rows = self.desk.legs.rows_max();
        let slices = rows.div_ceil(SWEEP).max(1) as u32;
        self.sweep_at = now + self.desk.settings.counters_every / slices;
        let from = if self.cursor >= rows { 0 } else { self.cursor };
        let to = (from + SWEEP).min(rows);
        self.cursor = to;
        for row in from..to {
            let Some(leg) = self.desk.legs.id(row) else {
                continue;
            };
            if let Some(counters) = self.side.counters(leg)
                && self.desk.legs.is_news(row, counters)
            {
                self.desk.tell(Event::Counters {
                    leg,
                    counters,
                    last: false,
                });
            }
            let silent = self
                .side
                .silence(now, leg)
                .filter(|since| *since >= self.desk.settings.no_media_after);
            if self.desk.legs.falls_silent(row, silent.is_some())
                && let Some(since) = silent
            {
                self.desk.tell(Event::NoMedia { leg, since });
            }
        }
    }

    /// Closes everything, with the last figures of each leg.
    fn close(&mut self) {
        for row in 0..self.desk.legs.rows_max() {
            if let Some(leg) = self.desk.legs.id(row) {
                self.remove(leg);
            }
        }
        self.desk.report();
    }
}
