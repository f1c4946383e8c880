//! SIP connections once they stand: a few threads that read, frame and write them all.
//!
//! ```text
//!  listener, dialler ── a stream, its handshake done ──▶ worker ── Batch of inputs ──▶ signalling
//!  socket ⇄ TLS ⇄ [sip::Framer]                          worker ◀── orders, one lot a turn ── it
//! ```
//!
//! A connection belongs to one worker for life. A worker waits for its sockets with no buffer
//! held, reads what is ready into one buffer for all, posts what it found in one go, and writes
//! what signalling sent in one go: a registered client that is silent costs its TLS session and a
//! row. Every decision is the node's. Keep-alives of RFC 5626 §3.5.1 are answered here.
//!
//! Bounds: a message must be whole within [`MESSAGE_TIME_MAX`] of its first byte, a connection
//! that says nothing for [`IDLE_MAX`] is closed, one that takes nothing for [`WRITE_TIME_MAX`] as
//! well; [`QUEUE_MAX`] messages wait for a client's, [`SHARED_QUEUE_MAX`] for another, `ORDERS_MAX`
//! orders for a worker. Times are looked at once a second.

mod line;
#[cfg(test)]
mod tests;
mod worker;

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::Id;
use bytes::Bytes;
use net::tls;
use node::io::{ConnId, Facts};
use sip::Limits;
use tokio::net::TcpStream;
use tokio::sync::oneshot;

use crate::signal::Handle;

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

/// How many orders may wait for one worker.
const ORDERS_MAX: usize = 65_536;

/// Workers at most: TLS and framing are a few times what signalling is.
const WORKERS_MAX: usize = 8;

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

/// The way to a worker.
pub(crate) struct Inbox {
    orders: Mutex<Vec<Order>>,
    /// Whether the worker has been woken for what waits.
    asked: AtomicBool,
    waker: mio::Waker,
}

impl Inbox {
    fn orders(&self) -> MutexGuard<'_, Vec<Order>> {
        self.orders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands over a lot of orders, and empties it. A worker that has far too many already is to
    /// close what it cannot write to.
    pub(crate) fn give(&self, lot: &mut Vec<Order>) {
        let mut orders = self.orders();
        if orders.len() + lot.len() > ORDERS_MAX {
            for order in lot.iter_mut() {
                if let Order::Send(line, _) = order {
                    *order = Order::Close(*line);
                }
            }
        }
        orders.append(lot);
        drop(orders);
        self.wake();
    }

    fn one(&self, order: Order) {
        self.orders().push(order);
        self.wake();
    }

    fn wake(&self) {
        if !self.asked.swap(true, Ordering::AcqRel) {
            // A worker that has ended needs no waking.
            let _ = self.waker.wake();
        }
    }

    /// Everything that waits, in exchange for an empty list.
    fn take(&self, into: &mut Vec<Order>) {
        self.asked.store(false, Ordering::Release);
        std::mem::swap(&mut *self.orders(), into);
    }
}

/// Where a connection is.
#[derive(Clone)]
pub struct Way {
    pub(crate) inbox: Arc<Inbox>,
    /// The number of the worker.
    pub(crate) worker: usize,
    /// Its row there.
    pub(crate) line: Id,
}

/// The workers of a node.
#[derive(Clone)]
pub struct Workers {
    inboxes: Arc<[Arc<Inbox>]>,
    next: Arc<AtomicUsize>,
}

impl Workers {
    /// As many workers as half the processors, and for each what runs it: a call that returns when
    /// [`Workers::stop`] was called.
    ///
    /// # Errors
    /// The system's, when it gives no poll.
    pub fn new(handle: &Handle) -> io::Result<(Workers, Vec<impl FnOnce() + Send + 'static>)> {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let (mut inboxes, mut runs) = (Vec::new(), Vec::new());
        for number in 0..(processors / 2).clamp(1, WORKERS_MAX) {
            let poll = mio::Poll::new()?;
            let inbox = Arc::new(Inbox {
                orders: Mutex::default(),
                asked: AtomicBool::new(false),
                waker: mio::Waker::new(poll.registry(), worker::WAKE)?,
            });
            inboxes.push(inbox.clone());
            let worker = worker::Worker::new(handle.clone(), number, inbox, poll);
            runs.push(move || worker.run());
        }
        let workers = Workers {
            inboxes: inboxes.into(),
            next: Arc::default(),
        };
        Ok((workers, runs))
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
        let turn = self.next.fetch_add(1, Ordering::Relaxed);
        let adopted = Adopted {
            conn,
            facts,
            limits,
            stream,
            guard,
        };
        if let Some(inbox) = self.inboxes.get(turn % self.inboxes.len().max(1)) {
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
