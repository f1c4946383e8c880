//! A worker's turn: orders, reads, one post, writes.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use base::{Id, Slab};
use bytes::Bytes;
use mio::{Events, Interest, Poll, Token};
use node::io::{ConnId, Input, Side};

use super::line::{Buffers, Done, Line, Why};
use super::{Adopted, Inbox, Order, SHARED_QUEUE_MAX, Way};
use crate::signal::{Handle, Post};

/// The token of the worker's own waking.
pub(super) const WAKE: Token = Token(usize::MAX);

/// Connections of one worker. The node's own bound on flows is lower.
const LINES_MAX: usize = 200_000;

/// Sockets looked at in a turn.
const EVENTS: usize = 256;

/// Inputs posted at once: more wait for the next post, so that signalling starts early.
const BATCH: usize = 64;

/// How often it is looked whether a pause is over.
const PAUSED: Duration = Duration::from_millis(20);

/// How often times are looked at.
const TICK: Duration = Duration::from_secs(1);

/// A thread's connections.
pub(super) struct Worker {
    handle: Handle,
    number: usize,
    inbox: Arc<Inbox>,
    poll: Poll,
    lines: Slab<Line>,
    buffers: Buffers,
    posts: Vec<Post>,
    /// When this turn began.
    now: Instant,
    /// Lines with something to write.
    dirty: Vec<Id>,
    /// Lines with more to read.
    more: Vec<Id>,
    /// Lines that are not read for a while.
    paused: Vec<Id>,
    /// Whether the node is gone, or all is to end.
    over: bool,
}

impl Worker {
    pub(super) fn new(handle: Handle, number: usize, inbox: Arc<Inbox>, poll: Poll) -> Worker {
        Worker {
            handle,
            number,
            inbox,
            poll,
            lines: Slab::new(LINES_MAX),
            buffers: Buffers {
                read: vec![0; 64 * 1024].into(),
                plain: Vec::new(),
                write: Vec::new(),
            },
            posts: Vec::new(),
            now: Instant::now(),
            dirty: Vec::new(),
            more: Vec::new(),
            paused: Vec::new(),
            over: false,
        }
    }

    /// Serves until told to stop.
    pub(super) fn run(mut self) {
        let mut events = Events::with_capacity(EVENTS);
        let (mut orders, mut looked) = (Vec::new(), Instant::now());
        while !self.over {
            let wait = match (self.more.is_empty(), self.lines.is_empty()) {
                (false, _) => Some(Duration::ZERO),
                (true, true) => None,
                (true, false) if !self.paused.is_empty() => Some(PAUSED),
                (true, false) => Some((looked + TICK).saturating_duration_since(Instant::now())),
            };
            if let Err(e) = self.poll.poll(&mut events, wait)
                && e.kind() != std::io::ErrorKind::Interrupted
            {
                // Without its poll a worker is deaf; the program starts anew.
                panic!("the poll of SIP connections failed: {e}");
            }
            let now = Instant::now();
            self.now = now;
            self.inbox.take(&mut orders);
            for order in orders.drain(..) {
                self.order(order, now);
            }
            let more = std::mem::take(&mut self.more);
            for id in more.into_iter().chain(std::mem::take(&mut self.paused)) {
                self.read(id, now);
            }
            for event in &events {
                if event.token() == WAKE {
                    continue;
                }
                let id = id_of(event.token());
                if event.is_read_closed()
                    && let Some(line) = self.lines.get_mut(id)
                {
                    line.ending = true;
                }
                if event.is_readable() || event.is_read_closed() || event.is_error() {
                    self.read(id, now);
                }
                if event.is_writable() {
                    self.mark(id);
                }
            }
            self.post();
            for id in std::mem::take(&mut self.dirty) {
                self.write(id, now);
            }
            if now.saturating_duration_since(looked) >= TICK {
                looked = now;
                self.look_at_times(now);
            }
            self.post();
        }
    }

    fn order(&mut self, order: Order, now: Instant) {
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
            Order::Stop => {
                for id in self.ids() {
                    self.write(id, now);
                    if let Some(line) = self.lines.get_mut(id) {
                        line.close(now);
                        self.write(id, now);
                    }
                }
                self.over = true;
            }
        }
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
            worker: self.number,
            line,
        };
        self.posts.push(Post::Attach { conn, facts, way });
        // What came with the end of the handshake is no news to the kernel.
        let (buffers, posts) = (&mut self.buffers, &mut self.posts);
        let left = self
            .lines
            .get_mut(line)
            .map(|l| l.decrypt(&[], &mut buffers.plain, now, posts));
        if let Some(Err(why)) = left {
            return self.end(line, why);
        }
        self.mark(line);
    }

    fn never(&mut self, conn: ConnId, why: &str) {
        let why = why.to_owned();
        self.posts
            .push(Post::Input(Input::Disconnected { conn, why }));
    }

    fn read(&mut self, id: Id, now: Instant) {
        let Some(line) = self.lines.get_mut(id) else {
            return;
        };
        let (buffers, posts) = (&mut self.buffers, &mut self.posts);
        // One connection's fault ends that connection, never the process.
        let read = catch_unwind(AssertUnwindSafe(|| line.read(buffers, now, posts)));
        match read.unwrap_or_else(|_| Err("a fault of this node".into())) {
            Ok(Done::All) => {}
            Ok(Done::More) if line.is_paused() => {
                if !self.paused.contains(&id) {
                    self.paused.push(id);
                }
            }
            Ok(Done::More) if self.more.contains(&id) => {}
            Ok(Done::More) => self.more.push(id),
            Err(why) => return self.end(id, why),
        }
        self.mark(id);
        if self.posts.len() >= BATCH {
            self.post();
        }
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
        self.posts
            .push(Post::Input(Input::Disconnected { conn, why }));
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

    /// Hands what was found to the node.
    fn post(&mut self) {
        if self.posts.is_empty() {
            return;
        }
        let batch = std::mem::replace(&mut self.posts, Vec::with_capacity(BATCH));
        if self.handle.post_batch(self.now, batch).is_err() {
            self.over = true;
        }
    }
}

fn token_of(id: Id) -> Token {
    Token((id.generation() as usize) << 32 | id.slot() as usize)
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
        assert_ne!(token_of(Id::new(u32::MAX, 3)), WAKE);
    }
}
