//! The signalling thread: it owns the node, feeds it inputs one by one and carries out outputs.
//!
//! Tasks and SIP workers post through a [`Handle`]; its queue is bounded, so a flood is slowed down
//! at its own sockets. Outputs to a connection go into that connection's bounded queue: a peer that
//! does not read loses its connection, and never holds up the node. What goes to the connections of
//! one SIP worker is handed over in lots, with one waking. How long a message has waited between
//! its socket and the node is measured here, and told the node; a connection that the node wants
//! to hear less of is not read by its worker for a while.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use base::{Id, Instant, Now, UnixTime};
use node::Engine;
use node::io::{Answer, AskId, ConnId, Facts, Input, Output, Question, Side};
use tokio::sync::{mpsc, oneshot};

use crate::sip_io::{Inbox, Order, Way};
use crate::wire;

/// How many posts may wait for the node, and how many inputs in batches.
pub const POSTS_MAX: usize = 8192;

/// How many messages may wait for one control connection.
pub const CONNECTION_QUEUE_MAX: usize = 512;

/// How many posts are handled before outputs leave and timers get their turn.
const BURST: usize = 64;

/// Orders for a SIP worker, and commands for the media worker, that are handed over at once.
pub(crate) const LOT: usize = 32;

/// How long a SIP worker rests that finds the node swamped.
const SWAMPED: Duration = Duration::from_millis(1);

/// After so many posts freed memory is given back, when there is a moment.
pub(crate) const POSTS_A_TRIM: usize = 20_000;

/// How often at most, and how often more when the flood is over: what it left runs out for half a
/// minute (RFC 6026 §8.4, timers of 64*T1).
const TRIM_EVERY: Duration = Duration::from_secs(30);
const TRIMS: u8 = 3;

/// Waits below this are as good as none.
const WORTH_TELLING: Duration = Duration::from_millis(20);

/// What the signalling thread is given.
pub enum Post {
    /// An input as it is.
    Input(Input),
    /// What a SIP worker found in a turn, in order.
    Batch(Batch),
    /// A SIP connection with the way that leads to it.
    Attach {
        /// Its number.
        conn: ConnId,
        /// What it is.
        facts: Facts,
        /// The way to it.
        way: Way,
    },
    /// A control connection with the queue that leads to it.
    AttachControl {
        /// Its number.
        conn: ConnId,
        /// The input that tells the node.
        up: Input,
        /// The way to it.
        queue: mpsc::Sender<traversal::Message>,
    },
    /// A question with the way back.
    Ask {
        /// What.
        question: Question,
        /// Where the answer goes.
        reply: oneshot::Sender<Answer>,
    },
    /// Make a snapshot now.
    Snapshot {
        /// Where it goes.
        reply: oneshot::Sender<status::Snapshot>,
    },
    /// Leave in good order.
    Stop,
}

/// The way to the node, cheap to clone.
#[derive(Clone)]
pub struct Handle {
    posts: mpsc::Sender<Post>,
    /// Inputs in batches that wait.
    backlog: Arc<AtomicUsize>,
    next_conn: Arc<AtomicU64>,
}

/// What a SIP worker found in a turn, in order.
pub struct Batch {
    /// When the first of it was read.
    at: std::time::Instant,
    posts: Vec<Post>,
    backlog: Arc<AtomicUsize>,
}

impl Batch {
    /// What it holds; it counts no longer as waiting.
    pub fn open(self) -> Vec<Post> {
        self.backlog.fetch_sub(self.posts.len(), Ordering::AcqRel);
        self.posts
    }
}

/// The node is gone: the program is stopping.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is stopping")]
pub struct Stopping;

impl Handle {
    /// A handle and the queue it leads to.
    pub fn new() -> (Handle, mpsc::Receiver<Post>) {
        let (posts, queue) = mpsc::channel(POSTS_MAX);
        let handle = Handle {
            posts,
            backlog: Arc::new(AtomicUsize::new(0)),
            next_conn: Arc::new(AtomicU64::new(0)),
        };
        (handle, queue)
    }

    /// A number for an accepted connection.
    pub fn number(&self) -> ConnId {
        ConnId(self.next_conn.fetch_add(1, Ordering::Relaxed))
    }

    /// Posts an input, waiting for room.
    ///
    /// # Errors
    /// [`Stopping`] if the node is gone.
    pub async fn input(&self, input: Input) -> Result<(), Stopping> {
        self.post(Post::Input(input)).await
    }

    /// Posts anything, waiting for room.
    ///
    /// # Errors
    /// [`Stopping`] if the node is gone.
    pub async fn post(&self, post: Post) -> Result<(), Stopping> {
        self.posts.send(post).await.map_err(|_| Stopping)
    }

    /// Posts what a SIP worker found, waiting for room. To be called on a thread of its own.
    ///
    /// # Errors
    /// [`Stopping`] if the node is gone.
    pub fn post_batch(&self, at: std::time::Instant, posts: Vec<Post>) -> Result<(), Stopping> {
        while self.backlog.load(Ordering::Acquire) >= POSTS_MAX {
            if self.posts.is_closed() {
                return Err(Stopping);
            }
            std::thread::sleep(SWAMPED);
        }
        self.backlog.fetch_add(posts.len(), Ordering::AcqRel);
        let backlog = self.backlog.clone();
        let batch = Post::Batch(Batch { at, posts, backlog });
        let posted = self.posts.blocking_send(batch);
        posted.map_err(|_| Stopping)
    }

    /// Posts from a thread outside the runtime, dropping the input if the node is swamped.
    pub fn try_input(&self, input: Input) -> bool {
        self.posts.try_send(Post::Input(input)).is_ok()
    }

    /// The way of media workers to the node. A report that finds the node swamped is lost; the
    /// next one makes up for it.
    pub fn media_events(&self) -> impl Fn(media::Event) + Send + Sync + use<> {
        let handle = self.clone();
        move |event| {
            if !handle.try_input(Input::Media(event)) {
                tracing::debug!("a media report was lost: the node is swamped");
            }
        }
    }

    /// What the node looks like now.
    ///
    /// # Errors
    /// [`Stopping`] if the node is gone.
    pub async fn snapshot(&self) -> Result<status::Snapshot, Stopping> {
        let (reply, answer) = oneshot::channel();
        self.post(Post::Snapshot { reply }).await?;
        answer.await.map_err(|_| Stopping)
    }

    /// Asks the node.
    ///
    /// # Errors
    /// [`Stopping`] if the node is gone.
    pub async fn ask(&self, question: Question) -> Result<Answer, Stopping> {
        let (reply, answer) = oneshot::channel();
        self.post(Post::Ask { question, reply }).await?;
        answer.await.map_err(|_| Stopping)
    }

    /// Where a request would go; nothing is sent.
    ///
    /// # Errors
    /// [`Stopping`] if the node is gone.
    pub async fn search(
        &self,
        asked: status::SearchQuestion,
    ) -> Result<status::SearchReport, Stopping> {
        match self.ask(Question::Search(asked)).await? {
            Answer::Search(report) => Ok(*report),
            _ => Err(Stopping),
        }
    }

    /// Signs a user out; `None` on an edge.
    ///
    /// # Errors
    /// [`Stopping`] if the node is gone.
    pub async fn sign_out(
        &self,
        user: String,
        domain: String,
    ) -> Result<Option<status::SignOutReport>, Stopping> {
        let user = base::Pii::new(user);
        match self.ask(Question::SignOut { user, domain }).await? {
            Answer::SignOut(report) => Ok(report.map(|r| *r)),
            _ => Err(Stopping),
        }
    }
}

/// Where a request would go by a configuration alone: nothing runs, and no node is discovered.
pub fn dry_run(config: config::Config, asked: status::SearchQuestion) -> status::SearchReport {
    node::dry_run(Clock::start().now(), &Arc::new(config), asked)
}

/// The node's clock: monotonic since the start of the program, and the wall's.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    epoch: std::time::Instant,
}

impl Clock {
    /// Starts at zero, now.
    pub fn start() -> Self {
        Clock {
            epoch: std::time::Instant::now(),
        }
    }

    /// Both times.
    pub fn now(&self) -> Now {
        let unix = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |d| d.as_millis() as u64);
        Now {
            instant: Instant::from_micros(self.epoch.elapsed().as_micros() as u64),
            unix: UnixTime::from_millis(unix),
        }
    }
}

/// What the signalling thread does with outputs that are no SIP or control bytes.
pub trait Outlets: Send {
    /// Carries out one output. Must not wait.
    fn output(&mut self, output: Output);

    /// Wakes whoever was given something, once for many outputs.
    fn hand_over(&mut self);
}

/// Wakes the signalling thread.
struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs the node until it is told to stop. To be called on a thread of its own, within a runtime.
pub fn run(
    mut node: Box<dyn Engine>,
    clock: Clock,
    mut posts: mpsc::Receiver<Post>,
    mut outlets: impl Outlets,
) {
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let (mut ways, mut worn) = (Ways::default(), Worn::default());
    let mut burst = Vec::with_capacity(BURST);
    ways.drain(node.as_mut(), &mut outlets);
    outlets.hand_over();
    loop {
        match posts.poll_recv_many(&mut context, &mut burst, BURST) {
            Poll::Ready(0) => return,
            Poll::Ready(_) => {
                for post in burst.drain(..) {
                    worn.worked(match &post {
                        Post::Batch(batch) => batch.posts.len(),
                        _ => 1,
                    });
                    if ways.take(node.as_mut(), &clock, post, &mut outlets) {
                        return;
                    }
                }
            }
            Poll::Pending => {
                let now = clock.now().instant;
                worn.freed(net::memory::freed_in_all());
                if worn.is_due(now) {
                    net::memory::give_back();
                }
                let node = node.poll_timeout().map(|at| at.since(now));
                let wait = node.into_iter().chain(worn.wait(now)).min();
                // Strangers who never get as far as the node wear memory too.
                let wait = wait.unwrap_or(TRIM_EVERY).min(TRIM_EVERY);
                std::thread::park_timeout(wait.max(Duration::from_micros(500)));
            }
        }
        let now = clock.now();
        if let Some(waited) = ways.waited() {
            node.handle(now, Input::Waited(waited));
        }
        if node.poll_timeout().is_some_and(|at| at <= now.instant) {
            node.handle_timeout(now);
            ways.drain(node.as_mut(), &mut outlets);
        }
        ways.hand_over();
        outlets.hand_over();
    }
}

/// Whether memory is to be given back.
#[derive(Default)]
struct Worn {
    posts: usize,
    freed: usize,
    owed: u8,
    next: Instant,
}

impl Worn {
    fn worked(&mut self, posts: usize) {
        self.posts += posts;
        if self.posts >= POSTS_A_TRIM {
            (self.posts, self.owed) = (0, TRIMS);
        }
    }

    /// What was dropped since the program began, in messages: connections, with all they held.
    fn freed(&mut self, in_all: usize) {
        let before = std::mem::replace(&mut self.freed, in_all);
        self.worked(in_all.wrapping_sub(before));
    }

    /// Whether it is to be done now.
    fn is_due(&mut self, now: Instant) -> bool {
        let due = self.owed > 0 && now >= self.next;
        if due {
            self.owed -= 1;
            self.next = now + TRIM_EVERY;
        }
        due
    }

    /// How long until then.
    fn wait(&self, now: Instant) -> Option<Duration> {
        (self.owed > 0).then(|| self.next.since(now))
    }
}

/// The way to a SIP connection.
struct Known {
    side: Side,
    worker: usize,
    line: Id,
}

/// What is to be told to one SIP worker.
struct Lot {
    inbox: Arc<Inbox>,
    orders: Vec<Order>,
}

/// The queues that lead to connections, and the questions under way.
#[derive(Default)]
struct Ways {
    /// The longest that a frame of this burst has waited, and whether the last burst was told.
    longest: Duration,
    told: bool,
    sip: HashMap<ConnId, Known>,
    /// By the number of the worker.
    lots: Vec<Option<Lot>>,
    control: HashMap<ConnId, mpsc::Sender<traversal::Message>>,
    asks: HashMap<AskId, oneshot::Sender<Answer>>,
    next_ask: u64,
}

impl Ways {
    /// How long the longest has waited since this was asked last, if that is worth telling or what
    /// was told last is true no more.
    fn waited(&mut self) -> Option<Duration> {
        let longest = std::mem::take(&mut self.longest);
        let worth = longest >= WORTH_TELLING;
        let before = std::mem::replace(&mut self.told, worth);
        (worth || before).then_some(longest)
    }

    /// Hands one post to the node; true if it was the last.
    fn take(
        &mut self,
        node: &mut dyn Engine,
        clock: &Clock,
        post: Post,
        outlets: &mut impl Outlets,
    ) -> bool {
        let now = clock.now();
        match post {
            Post::Batch(batch) => {
                // The last of it waits longest.
                let at = batch.at;
                let mut posts = batch.open().into_iter();
                let last = posts.any(|post| self.take(node, clock, post, outlets));
                self.longest = self.longest.max(at.elapsed());
                return last;
            }
            Post::Input(input) => {
                match &input {
                    Input::Frame { conn, frame } => {
                        if let Some(known) = self.sip.get(conn) {
                            wire::sip_in(known.side, frame);
                        }
                    }
                    Input::Disconnected { conn, .. } => drop(self.sip.remove(conn)),
                    Input::ControlDown { conn, .. } => drop(self.control.remove(conn)),
                    _ => {}
                }
                node.handle(now, input);
            }
            Post::Attach { conn, facts, way } => {
                self.attach(conn, facts.side, way);
                node.handle(now, Input::Connected { conn, facts });
            }
            Post::AttachControl { conn, up, queue } => {
                self.control.insert(conn, queue);
                node.handle(now, up);
            }
            Post::Ask { question, reply } => {
                let id = AskId(self.next_ask);
                self.next_ask += 1;
                self.asks.insert(id, reply);
                node.handle(now, Input::Ask { id, question });
            }
            Post::Snapshot { reply } => {
                // Whoever asked may have given up.
                let _ = reply.send(node.snapshot(now));
            }
            Post::Stop => {
                self.drain(node, outlets);
                self.hand_over();
                outlets.hand_over();
                return true;
            }
        }
        self.drain(node, outlets);
        false
    }

    fn attach(&mut self, conn: ConnId, side: Side, way: Way) {
        if self.lots.len() <= way.worker {
            self.lots.resize_with(way.worker + 1, || None);
        }
        if let Some(lot) = self.lots.get_mut(way.worker) {
            lot.get_or_insert_with(|| Lot {
                inbox: way.inbox,
                orders: Vec::with_capacity(LOT),
            });
        }
        let (worker, line) = (way.worker, way.line);
        self.sip.insert(conn, Known { side, worker, line });
    }

    /// Lets SIP workers have what was gathered for them.
    fn hand_over(&mut self) {
        for lot in self.lots.iter_mut().flatten() {
            if !lot.orders.is_empty() {
                lot.inbox.give(&mut lot.orders);
            }
        }
    }

    /// Carries out everything the node wants.
    fn drain(&mut self, node: &mut dyn Engine, outlets: &mut impl Outlets) {
        while let Some(output) = node.poll_output() {
            match output {
                Output::Send { conn, bytes } => {
                    if let Some(known) = self.sip.get(&conn) {
                        wire::sip_out(known.side, &bytes);
                        let order = Order::Send(known.line, bytes);
                        tell(&mut self.lots, known.worker, order);
                    }
                }
                Output::Close { conn } => {
                    if let Some(known) = self.sip.remove(&conn) {
                        tell(&mut self.lots, known.worker, Order::Close(known.line));
                    }
                }
                Output::Pause { conn, time } => {
                    if let Some(known) = self.sip.get(&conn) {
                        let order = Order::Pause(known.line, time);
                        tell(&mut self.lots, known.worker, order);
                    }
                }
                Output::Control { conn, message } => {
                    let full = self
                        .control
                        .get(&conn)
                        .is_some_and(|q| q.try_send(message).is_err());
                    if full {
                        self.control.remove(&conn);
                    }
                }
                Output::CloseControl { conn } => drop(self.control.remove(&conn)),
                Output::Answer { id, answer } => {
                    if let Some(reply) = self.asks.remove(&id) {
                        // The asking task may have given up; its answer is nobody's then.
                        let _ = reply.send(answer);
                    }
                }
                other => outlets.output(other),
            }
        }
    }
}

/// Gathers an order for a SIP worker.
fn tell(lots: &mut [Option<Lot>], worker: usize, order: Order) {
    if let Some(Some(lot)) = lots.get_mut(worker) {
        lot.orders.push(order);
        if lot.orders.len() >= LOT {
            lot.inbox.give(&mut lot.orders);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_given_back_after_much_work_and_twice_more_when_it_is_over() {
        let at = |s: u64| Instant::from_micros(s * 1_000_000);
        let mut worn = Worn::default();
        worn.worked(POSTS_A_TRIM - 1);
        assert!(!worn.is_due(at(1)) && worn.wait(at(1)).is_none());
        worn.worked(1);
        let due: Vec<u64> = (1..200).filter(|s| worn.is_due(at(*s))).collect();
        assert_eq!(due, [1, 31, 61]);
        assert!(worn.wait(at(200)).is_none());
        // So do connections, as many as their messages are worth, from wherever the count stood.
        worn.freed(POSTS_A_TRIM - 1);
        worn.freed(POSTS_A_TRIM - 1);
        assert!(worn.wait(at(300)).is_none());
        worn.freed(POSTS_A_TRIM);
        assert!(worn.is_due(at(300)));
    }

    /// Wants two things when it begins, and two for each input.
    struct Wanting(usize);

    impl Engine for Wanting {
        fn handle(&mut self, _: Now, _: Input) {
            self.0 += 2;
        }

        fn handle_timeout(&mut self, _: Now) {}

        fn poll_output(&mut self) -> Option<Output> {
            self.0 = self.0.checked_sub(1)?;
            Some(Output::PinSsh { peer: 0, key: None })
        }

        fn poll_timeout(&self) -> Option<Instant> {
            None
        }

        fn snapshot(&self, _: Now) -> status::Snapshot {
            unreachable!("nobody asks")
        }
    }

    struct Written(Arc<std::sync::Mutex<String>>);

    impl Outlets for Written {
        fn output(&mut self, _: Output) {
            self.0.lock().unwrap().push('o');
        }

        fn hand_over(&mut self) {
            self.0.lock().unwrap().push('|');
        }
    }

    #[tokio::test]
    async fn outlets_wake_others_once_for_the_outputs_of_a_burst() {
        let (handle, posts) = Handle::new();
        for _ in 0..3 {
            assert!(handle.try_input(Input::Waited(Duration::ZERO)));
        }
        handle.post(Post::Stop).await.unwrap();
        let written = Arc::default();
        let outlets = Written(Arc::clone(&written));
        run(Box::new(Wanting(2)), Clock::start(), posts, outlets);
        assert_eq!(*written.lock().unwrap(), "oo|oooooo|");
    }

    #[test]
    fn waits_are_told_while_they_are_long_and_once_when_they_are_not() {
        let mut ways = Ways::default();
        let mut told = |ms: u64| {
            ways.longest = Duration::from_millis(ms);
            ways.waited().map(|w| w.as_millis())
        };
        let all: Vec<_> = [5, 30, 40, 3, 2].into_iter().map(&mut told).collect();
        assert_eq!(all, [None, Some(30), Some(40), Some(3), None]);
    }
}
