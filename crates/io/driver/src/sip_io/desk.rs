//! One thread's connections, and its turn: orders, reads, writes.
//!
//! The signalling thread has a desk of its own, and carries out what it is told between reading
//! and writing ([`crate::signal::run`]); a SIP worker's posts what it found ([`super::worker`]).
//!
//! Bounds of a turn: [`EVENTS`] sockets told of by the kernel, one read of [`READ`] bytes a
//! connection, [`TURN`] bytes in all; connections that are left wait in a row, so that none
//! starves another. The node's own bound on flows is lower than [`LINES_MAX`].

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{Id, Slab};
use bytes::Bytes;
use mio::{Events, Interest, Poll, Token};
use node::io::{ConnId, Input, Side};

use super::bell::{BELL, Bell};
use super::line::{Buffers, Done, Line, Why};
use super::{Adopted, Inbox, Order, SHARED_QUEUE_MAX, Way};
use crate::signal::Post;

/// Connections of one thread.
const LINES_MAX: usize = 200_000;

/// Sockets that the kernel tells of in a turn.
const EVENTS: usize = 256;

/// Bytes that a connection gives in a turn.
const READ: usize = 64 * 1024;

/// Bytes that all give in a turn: some 200 messages, well under a millisecond with TLS.
const TURN: usize = 256 * 1024;

/// Inputs that are let go before the turn is over, so that a worker's signalling starts early.
pub(super) const BATCH: usize = 64;

/// Inputs for which room is kept while none waits.
const ROOM: usize = 512;

/// How often it is looked whether a pause is over.
const PAUSED: Duration = Duration::from_millis(20);

/// How often times are looked at.
const TICK: Duration = Duration::from_secs(1);

/// What connections said, in order, and when each of it was read: more is read than is taken where
/// there is too much to do, so that its age tells.
#[derive(Default)]
pub(crate) struct Found {
    posts: VecDeque<Post>,
    /// Of each turn when it was, and how many of its posts are left.
    turns: VecDeque<(Instant, usize)>,
    /// Posts of all those turns.
    noted: usize,
}

impl Found {
    pub(crate) fn len(&self) -> usize {
        self.posts.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.posts.is_empty()
    }

    /// What has come since this was told last was read in the turn that began then.
    fn note(&mut self, since: Instant) {
        let new = self.posts.len() - self.noted;
        if new > 0 {
            self.turns.push_back((since, new));
            self.noted += new;
        }
    }

    /// The oldest.
    pub(crate) fn pop(&mut self) -> Option<(Instant, Post)> {
        let (since, left) = self.turns.front_mut()?;
        let (since, last) = (*since, *left == 1);
        *left -= 1;
        self.noted -= 1;
        if last {
            self.turns.pop_front();
        }
        let post = self.posts.pop_front()?;
        if self.posts.is_empty() && self.posts.capacity() > ROOM {
            // What a flood needed is given back.
            self.posts = VecDeque::new();
        }
        Some((since, post))
    }

    /// All, and since when the oldest has waited.
    pub(super) fn take(&mut self) -> Option<(Instant, VecDeque<Post>)> {
        let (since, _) = *self.turns.front()?;
        self.turns.clear();
        self.noted = 0;
        Some((since, std::mem::take(&mut self.posts)))
    }

    #[cfg(test)]
    pub(crate) fn put(&mut self, since: Instant, post: Post) {
        self.posts.push_back(post);
        self.note(since);
    }
}

/// A thread's connections.
pub struct Desk {
    number: usize,
    inbox: Arc<Inbox>,
    poll: Poll,
    events: Events,
    orders: Vec<Order>,
    lines: Slab<Line>,
    buffers: Buffers,
    /// Inputs that nobody has taken yet.
    found: Found,
    /// When this turn began.
    now: Instant,
    /// Lines with something to write.
    dirty: Vec<Id>,
    /// Lines with something to read.
    ready: VecDeque<Id>,
    /// Lines that are not read for a while, and when they were last looked at.
    paused: Vec<Id>,
    looked_at_paused: Instant,
    looked_at_times: Instant,
    /// Whether all is to end.
    over: bool,
}

impl Desk {
    pub(super) fn new(number: usize, inbox: Arc<Inbox>, poll: Poll) -> Desk {
        let now = Instant::now();
        Desk {
            number,
            inbox,
            poll,
            events: Events::with_capacity(EVENTS),
            orders: Vec::new(),
            lines: Slab::new(LINES_MAX),
            buffers: Buffers::new(READ),
            found: Found::default(),
            now,
            dirty: Vec::new(),
            ready: VecDeque::new(),
            paused: Vec::new(),
            looked_at_paused: now,
            looked_at_times: now,
            over: false,
        }
    }

    /// What wakes its thread.
    pub(crate) fn bell(&self) -> Arc<Bell> {
        self.inbox.bell.clone()
    }

    /// Whether it was told to end.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Waits for something to come, `most` at the longest; carries out the orders of others and
    /// reads a bounded lot of what is there. `early` is asked in between whenever [`BATCH`] inputs
    /// and more are there, and may take them.
    pub(crate) fn turn(&mut self, most: Option<Duration>, early: &mut dyn FnMut(&mut Found)) {
        let wait = self.patience(Instant::now()).into_iter().chain(most).min();
        let polled = self
            .inbox
            .bell
            .sleep(&mut self.poll, &mut self.events, wait);
        if let Err(e) = polled
            && e.kind() != std::io::ErrorKind::Interrupted
        {
            // Without its poll a thread is deaf; the program starts anew.
            panic!("the poll of SIP connections failed: {e}");
        }
        self.now = Instant::now();
        self.obey();
        self.note_events();
        self.note_paused();
        let mut budget = TURN;
        for _ in 0..self.ready.len() {
            let Some(id) = self.ready.pop_front() else {
                break;
            };
            budget = budget.saturating_sub(self.read(id));
            if self.found.len() >= BATCH {
                self.found.note(self.now);
                early(&mut self.found);
            }
            if budget == 0 {
                break;
            }
        }
        self.found.note(self.now);
    }

    /// What was found and not yet taken.
    pub(crate) fn found(&mut self) -> &mut Found {
        &mut self.found
    }

    /// Writes what waits, with one call a connection, and closes what is overdue.
    pub(crate) fn finish(&mut self) {
        let now = self.now;
        let mut dirty = std::mem::take(&mut self.dirty);
        for id in dirty.drain(..) {
            self.write(id, now);
        }
        // Its room is used again, unless something came in between.
        if self.dirty.is_empty() {
            self.dirty = dirty;
        }
        if now.saturating_duration_since(self.looked_at_times) >= TICK {
            self.looked_at_times = now;
            self.look_at_times(now);
        }
        self.found.note(now);
    }

    /// How long the poll may take for the sake of what is here.
    fn patience(&self, now: Instant) -> Option<Duration> {
        if !self.ready.is_empty() || !self.found.is_empty() {
            return Some(Duration::ZERO);
        }
        if !self.paused.is_empty() {
            return Some(PAUSED);
        }
        let due = (self.looked_at_times + TICK).saturating_duration_since(now);
        (!self.lines.is_empty()).then_some(due)
    }

    /// Carries out what others have ordered.
    fn obey(&mut self) {
        let mut orders = std::mem::take(&mut self.orders);
        self.inbox.take(&mut orders);
        for order in orders.drain(..) {
            self.order(order);
        }
        self.orders = orders;
    }

    /// Lets those that the kernel tells of be read and written.
    fn note_events(&mut self) {
        for event in &self.events {
            if event.token() == BELL {
                continue;
            }
            let id = id_of(event.token());
            let Some(line) = self.lines.get_mut(id) else {
                continue;
            };
            line.ending |= event.is_read_closed();
            let readable = event.is_readable() || event.is_read_closed() || event.is_error();
            if readable && !std::mem::replace(&mut line.ready, true) {
                self.ready.push_back(id);
            }
            if event.is_writable() && line.has_output() && !line.dirty {
                line.dirty = true;
                self.dirty.push(id);
            }
        }
    }

    /// Lets those be read whose pause may be over.
    fn note_paused(&mut self) {
        let since = self.now.saturating_duration_since(self.looked_at_paused);
        if self.paused.is_empty() || since < PAUSED {
            return;
        }
        self.looked_at_paused = self.now;
        for id in std::mem::take(&mut self.paused) {
            // Its `ready` holds for both lists.
            if self.lines.get(id).is_some() {
                self.ready.push_back(id);
            }
        }
    }

    /// Carries out an order.
    pub(crate) fn order(&mut self, order: Order) {
        let now = self.now;
        match order {
            Order::Adopt(adopted) => self.adopt(*adopted, now),
            Order::Send(id, bytes) => self.send(id, bytes, now),
            Order::Pause(id, time) => {
                if let Some(line) = self.lines.get_mut(id) {
                    line.pause(now, time);
                }
            }
            Order::Close(id) => {
                if let Some(line) = self.lines.get_mut(id) {
                    line.close(now);
                    self.mark_always(id);
                }
            }
            Order::Stop => self.stop(),
        }
    }

    /// Closes all connections once what waits is written.
    pub(crate) fn stop(&mut self) {
        let now = self.now;
        for id in self.ids() {
            self.write(id, now);
            if let Some(line) = self.lines.get_mut(id) {
                line.close(now);
                self.write(id, now);
            }
        }
        self.over = true;
    }

    fn send(&mut self, id: Id, bytes: Bytes, now: Instant) {
        // What waits may only have waited for this turn to write it.
        if self.lines.get(id).is_some_and(Line::is_full) {
            self.write(id, now);
        }
        match self.lines.get_mut(id).map(|l| l.send(bytes)) {
            Some(true) => self.mark(id),
            Some(false) => self.end(id, "the peer does not read".into()),
            None => {}
        }
    }

    fn adopt(&mut self, adopted: Adopted, now: Instant) {
        let Adopted {
            conn,
            facts,
            limits,
            stream,
            guard,
        } = adopted;
        let socket = mio::net::TcpStream::from_std(stream.tcp);
        let mut line = Line::new(conn, limits, socket, stream.tls, guard, now);
        if !matches!(facts.side, Side::Client) {
            line.queue_max = SHARED_QUEUE_MAX;
        }
        let Ok(line) = self.lines.insert(line) else {
            return self.never(conn, "too many SIP connections");
        };
        let registry = self.poll.registry();
        let registered = self.lines.get_mut(line).map(|l| {
            let both = Interest::READABLE | Interest::WRITABLE;
            registry.register(l.socket(), token_of(line), both)
        });
        if !matches!(registered, Some(Ok(()))) {
            self.lines.remove(line);
            return self.never(conn, "the system watches no more connections");
        }
        let way = Way {
            inbox: self.inbox.clone(),
            desk: self.number,
            line,
        };
        self.found
            .posts
            .push_back(Post::Attach { conn, facts, way });
        // What came with the end of the handshake is no news to the kernel.
        let posts = &mut self.found.posts;
        let left = self.lines.get_mut(line);
        let left = left.map(|l| guarded(|| l.decrypt(&[], now, posts)));
        if let Some(Err(why)) = left {
            return self.end(line, why);
        }
        self.mark(line);
    }

    fn never(&mut self, conn: ConnId, why: &str) {
        let why = why.to_owned();
        self.found
            .posts
            .push_back(Post::Input(Input::Disconnected { conn, why }));
    }

    /// Reads a connection's share; how many bytes that were.
    fn read(&mut self, id: Id) -> usize {
        let now = self.now;
        let Some(line) = self.lines.get_mut(id) else {
            return 0;
        };
        line.ready = false;
        let (buffers, found) = (&mut self.buffers, &mut self.found.posts);
        buffers.taken = 0;
        let read = guarded(|| line.read(buffers, now, found));
        let taken = self.buffers.taken;
        match read {
            Ok(Done::All) => {}
            Ok(Done::More) => {
                line.ready = true;
                if line.is_paused() {
                    self.paused.push(id);
                } else {
                    self.ready.push_back(id);
                }
            }
            Err(why) => {
                self.end(id, why);
                return taken;
            }
        }
        self.mark(id);
        taken
    }

    /// Remembers a line that has something to write.
    fn mark(&mut self, id: Id) {
        if self.lines.get(id).is_some_and(Line::has_output) {
            self.mark_always(id);
        }
    }

    fn mark_always(&mut self, id: Id) {
        if let Some(line) = self.lines.get_mut(id)
            && !line.dirty
        {
            line.dirty = true;
            self.dirty.push(id);
        }
    }

    fn write(&mut self, id: Id, now: Instant) {
        let Some(line) = self.lines.get_mut(id) else {
            return;
        };
        line.dirty = false;
        if let Err(why) = line.write(&mut self.buffers.write, now) {
            self.end(id, why);
        }
    }

    fn end(&mut self, id: Id, why: Why) {
        let Some(mut line) = self.lines.remove(id) else {
            return;
        };
        // It is closed in a moment, and its registration with it.
        let _ = self.poll.registry().deregister(line.socket());
        let conn = line.conn;
        self.found
            .posts
            .push_back(Post::Input(Input::Disconnected { conn, why }));
    }

    fn look_at_times(&mut self, now: Instant) {
        let due = |(id, line): (Id, &Line)| Some((id, line.overdue(now)?));
        let overdue: Vec<(Id, Why)> = self.lines.iter().filter_map(due).collect();
        for (id, why) in overdue {
            self.end(id, why);
        }
    }

    fn ids(&self) -> Vec<Id> {
        self.lines.iter().map(|(id, _)| id).collect()
    }
}

impl Drop for Desk {
    fn drop(&mut self) {
        // Whoever waits for the end of a connection that nobody served any more hears of it.
        self.inbox.close();
    }
}

fn token_of(id: Id) -> Token {
    Token((id.generation() as usize) << 32 | id.slot() as usize)
}

/// Takes a connection's bytes apart: its fault ends that connection, never the process.
fn guarded<T>(read: impl FnOnce() -> Result<T, Why>) -> Result<T, Why> {
    let read = catch_unwind(AssertUnwindSafe(read));
    read.unwrap_or_else(|_| Err("a fault of this node".into()))
}

fn id_of(token: Token) -> Id {
    Id::new(token.0 as u32, (token.0 >> 32) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn token_names_slot_and_generation() {
        let id = Id::new(7, u32::MAX - 1);
        assert_eq!(id_of(token_of(id)), id);
        assert_ne!(token_of(Id::new(u32::MAX, 3)), BELL);
    }

    #[test]
    fn a_fault_of_one_connection_ends_it_and_not_the_process() {
        let fault = guarded::<()>(|| panic!("a fault, on purpose"));
        assert_eq!(fault, Err("a fault of this node".to_owned()));
    }
}
