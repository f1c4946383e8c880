//! SIP connections once they stand, read, framed and written without a task each.
//!
//! ```text
//!  listener, dialler ── a stream, its handshake done ──▶ a desk
//!  lanes, the inside ⇄ TLS ⇄ [sip::Framer] ⇄ the signalling thread's own desk ⇄ node
//!  clients ⇄ TLS ⇄ [sip::Framer] ⇄ a worker's desk ── Batch of inputs ──▶ signalling
//!                                        worker's desk ◀── orders, one lot a turn ── it
//! ```
//!
//! A connection belongs to one thread for life. A thread waits for its sockets with no buffer
//! held, reads what is ready into one buffer for all, and writes what there is to say in one go: a
//! registered client that is silent costs its TLS session and a row. Every decision is the node's.
//! Keep-alives of RFC 5626 §3.5.1 are answered here.
//!
//! The connections that carry everybody's messages, to the other node and inside, are the
//! signalling thread's own: a message is read, decided on and written in one turn, and crosses no
//! thread. So are clients' where there are `FEW` processors or less.
//!
//! Bounds: a message must be whole within [`MESSAGE_TIME_MAX`] of its first byte, a connection
//! that says nothing for [`IDLE_MAX`] is closed, one that takes nothing for [`WRITE_TIME_MAX`] as
//! well; [`QUEUE_MAX`] messages wait for a client's, [`SHARED_QUEUE_MAX`] for another, `ORDERS_MAX`
//! orders for a thread. Times are looked at once a second. How much is read in a turn: `desk`.

mod bell;
mod desk;
mod line;
#[cfg(test)]
mod tests;
mod worker;

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::Id;
use bytes::Bytes;
use net::tls;
use node::io::{ConnId, Facts, Side};
use sip::Limits;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::signal::Handle;
pub(crate) use bell::Bell;
pub use desk::Desk;

/// From the first byte of a message to its last.
pub const MESSAGE_TIME_MAX: Duration = Duration::from_secs(15);

/// A connection on which nothing at all is heard. Registered clients refresh or ping every two
/// minutes at most (`protocol.md` 5.4), so three times that is a dead one.
pub const IDLE_MAX: Duration = Duration::from_secs(400);

/// How long a peer may take to accept what is written to it.
pub const WRITE_TIME_MAX: Duration = Duration::from_secs(20);

/// How many messages may wait for a client's connection: a client with more does not read.
pub const QUEUE_MAX: usize = 512;

/// How many may wait for a connection to an edge, a core or call control, which many clients
/// share: a second's worth of a busy one, so that a few lost packets do not cost it.
pub const SHARED_QUEUE_MAX: usize = 8192;

/// The longest that a connection is not read from: far less than its peer's patience.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// How many orders may wait for one thread.
const ORDERS_MAX: usize = 65_536;

/// Workers at most: TLS and framing are a few times what signalling is.
const WORKERS_MAX: usize = 8;

/// Up to so many processors signalling serves clients too. A worker beside it would run where
/// media, handshakes and HTTP are to: what it took off signalling, the two hand-overs of every
/// message (some 10 µs of waking and switching where a message costs 30) would cost again.
const FEW: usize = 2;

/// The number of the signalling thread's desk; workers' follow.
pub(crate) const SIGNALLING: usize = 0;

/// A connection as it is handed over: the handshake is done.
pub struct Stream {
    tcp: std::net::TcpStream,
    tls: Option<Box<rustls::Connection>>,
}

impl Stream {
    /// A plain connection.
    ///
    /// # Errors
    /// The system's.
    pub fn plain(stream: TcpStream) -> io::Result<Stream> {
        Ok(Stream {
            tcp: stream.into_std()?,
            tls: None,
        })
    }

    /// A connection whose TLS handshake is done.
    ///
    /// # Errors
    /// The system's.
    pub fn tls(stream: tls::Stream<TcpStream>) -> io::Result<Stream> {
        let (tcp, session) = tls::into_parts(stream);
        Ok(Stream {
            tcp: tcp.into_std()?,
            tls: Some(Box::new(session)),
        })
    }
}

/// What is dropped when a connection is gone: a place under a cap, a promise to tell.
pub type Guard = Box<dyn Send>;

/// A connection for a worker.
pub(crate) struct Adopted {
    pub(crate) conn: ConnId,
    pub(crate) facts: Facts,
    pub(crate) limits: Limits,
    pub(crate) stream: Stream,
    pub(crate) guard: Guard,
}

/// What a worker is told.
pub(crate) enum Order {
    /// Serve this connection.
    Adopt(Box<Adopted>),
    /// Write these bytes to it.
    Send(Id, Bytes),
    /// Do not read it for so long.
    Pause(Id, Duration),
    /// Close it once what was sent has left.
    Close(Id),
    /// Close all of them and end.
    Stop,
}

/// The way to a thread's desk.
pub(crate) struct Inbox {
    waiting: Mutex<Waiting>,
    bell: Arc<Bell>,
}

#[derive(Default)]
struct Waiting {
    orders: Vec<Order>,
    /// Whether nobody is there any more.
    closed: bool,
}

impl Inbox {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over a lot of orders, and empties it. A thread that has far too many already is to
    /// close what it cannot write to.
    pub(crate) fn give(&self, lot: &mut Vec<Order>) {
        let mut waiting = self.waiting();
        if waiting.closed {
            return lot.clear();
        }
        if waiting.orders.len() + lot.len() > ORDERS_MAX {
            for order in lot.iter_mut() {
                if let Order::Send(line, _) = order {
                    *order = Order::Close(*line);
                }
            }
        }
        waiting.orders.append(lot);
        drop(waiting);
        self.bell.ring();
    }

    fn one(&self, order: Order) {
        let mut waiting = self.waiting();
        // What is dropped tells whoever waits for its end.
        if !waiting.closed {
            waiting.orders.push(order);
            drop(waiting);
            self.bell.ring();
        }
    }

    /// Everything that waits, in exchange for an empty list.
    fn take(&self, into: &mut Vec<Order>) {
        std::mem::swap(&mut self.waiting().orders, into);
    }

    /// Nobody takes orders any more.
    fn close(&self) {
        let mut waiting = self.waiting();
        waiting.closed = true;
        let orders = std::mem::take(&mut waiting.orders);
        drop(waiting);
        drop(orders);
    }
}

/// Where a connection is.
#[derive(Clone)]
pub struct Way {
    pub(crate) inbox: Arc<Inbox>,
    /// The number of the thread.
    pub(crate) desk: usize,
    /// Its row there.
    pub(crate) line: Id,
}

/// The threads that serve connections, as those see them who have some to be served.
#[derive(Clone)]
pub struct Workers {
    /// The signalling thread's first.
    inboxes: Arc<[Arc<Inbox>]>,
    next: Arc<AtomicUsize>,
}

/// A worker's run: a call that returns when [`Workers::stop`] was called.
pub type Run = Box<dyn FnOnce() + Send>;

impl Workers {
    /// As many workers as half the processors, but none with `FEW`, each with what runs it; and
    /// the signalling thread's desk.
    ///
    /// # Errors
    /// The system's, when it gives no poll.
    pub fn new(handle: &Handle) -> io::Result<(Workers, Desk, Vec<Run>)> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Workers::with(handle, workers_for(processors))
    }

    fn with(handle: &Handle, workers: usize) -> io::Result<(Workers, Desk, Vec<Run>)> {
        let (mut inboxes, mut runs) = (Vec::new(), Vec::<Run>::new());
        let mut desk = |number: usize| -> io::Result<Desk> {
            let poll = mio::Poll::new()?;
            let inbox = Arc::new(Inbox {
                waiting: Mutex::default(),
                bell: Arc::new(Bell::new(&poll)?),
            });
            inboxes.push(inbox.clone());
            Ok(Desk::new(number, inbox, poll))
        };
        let own = desk(SIGNALLING)?;
        for number in 1..=workers {
            let (desk, handle) = (desk(number)?, handle.clone());
            runs.push(Box::new(move || worker::run(&handle, desk)));
        }
        let workers = Workers {
            inboxes: inboxes.into(),
            next: Arc::default(),
        };
        Ok((workers, own, runs))
    }

    /// Closes all connections and ends the workers.
    pub fn stop(&self) {
        self.inboxes.iter().for_each(|i| i.one(Order::Stop));
    }

    /// Hands a connection over; `guard` is dropped when it is gone.
    pub fn hand_over(
        &self,
        conn: ConnId,
        facts: Facts,
        limits: Limits,
        stream: Stream,
        guard: Guard,
    ) {
        let workers = self.inboxes.len() - 1;
        let desk = match facts.side {
            Side::Client if workers > 0 => 1 + self.next.fetch_add(1, Ordering::Relaxed) % workers,
            _ => SIGNALLING,
        };
        let adopted = Adopted {
            conn,
            facts,
            limits,
            stream,
            guard,
        };
        if let Some(inbox) = self.inboxes.get(desk) {
            inbox.one(Order::Adopt(Box::new(adopted)));
        }
    }

    /// Hands a connection over and waits for its end.
    pub async fn serve(&self, conn: ConnId, facts: Facts, limits: Limits, stream: Stream) {
        let (guard, gone) = oneshot::channel::<()>();
        self.hand_over(conn, facts, limits, stream, Box::new(guard));
        // Nothing is ever sent: the worker's dropping of its end is the news.
        let _ = gone.await;
    }
}

/// How many workers there are beside signalling.
fn workers_for(processors: usize) -> usize {
    match processors {
        0..=FEW => 0,
        many => (many / 2).clamp(1, WORKERS_MAX),
    }
}
