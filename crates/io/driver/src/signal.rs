//! The signalling thread: it owns the node, feeds it inputs one by one and carries out outputs.
//!
//! Tasks post through a [`Handle`]; its queue is bounded, so a flood is slowed down at its own
//! sockets. Outputs to a connection go into that connection's bounded queue: a peer that does not
//! read loses its connection, and never holds up the node. How long a message has waited between
//! its socket and the node is measured here, and told the node; a connection that the node wants
//! to hear less of waits in [`Handle::input`], and so stops reading.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::{Instant, Now, UnixTime};
use bytes::Bytes;
use node::Engine;
use node::io::{Answer, AskId, ConnId, Facts, Input, Output, Question, Side};
use tokio::sync::{mpsc, oneshot};

use crate::wire;

/// How many posts may wait for the node.
pub const POSTS_MAX: usize = 8192;

/// How many messages may wait for one SIP or control connection.
pub const CONNECTION_QUEUE_MAX: usize = 512;

/// The longest that a connection is not read from: far less than its peer's patience.
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// Waits below this are as good as none.
const WORTH_TELLING: Duration = Duration::from_millis(20);

/// How many inputs are handled before outputs and timers get their turn.
const BURST: usize = 64;

/// What the signalling thread is given.
pub enum Post {
    /// An input as it is.
    Input(Input),
    /// A SIP frame, with the moment at which it was read.
    Heard {
        /// When it was read.
        at: std::time::Instant,
        /// The frame's input.
        input: Input,
    },
    /// A SIP connection with the queue that leads to it.
    Attach {
        /// Its number.
        conn: ConnId,
        /// What it is.
        facts: Facts,
        /// The way to it.
        queue: mpsc::Sender<Bytes>,
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
    next_conn: Arc<AtomicU64>,
    pauses: Pauses,
}

/// Connections that are not read from for a while; nobody as a rule.
#[derive(Clone, Default)]
struct Pauses {
    any: Arc<AtomicBool>,
    until: Arc<Mutex<HashMap<ConnId, std::time::Instant>>>,
}

impl Pauses {
    fn rows(&self) -> std::sync::MutexGuard<'_, HashMap<ConnId, std::time::Instant>> {
        self.until
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn set(&self, conn: ConnId, time: Duration) {
        let now = std::time::Instant::now();
        let mut rows = self.rows();
        rows.retain(|_, until| *until > now);
        rows.insert(conn, now + time.min(PAUSE_MAX));
        self.any.store(true, Ordering::Relaxed);
    }

    /// How long a connection still has to wait.
    fn rest(&self, conn: ConnId) -> Option<Duration> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let now = std::time::Instant::now();
        let mut rows = self.rows();
        rows.retain(|_, until| *until > now);
        self.any.store(!rows.is_empty(), Ordering::Relaxed);
        Some(rows.get(&conn)?.saturating_duration_since(now))
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
        (
            Handle {
                posts,
                next_conn: Arc::new(AtomicU64::new(0)),
                pauses: Pauses::default(),
            },
            queue,
        )
    }

    /// A number for an accepted connection.
    pub fn number(&self) -> ConnId {
        ConnId(self.next_conn.fetch_add(1, Ordering::Relaxed))
    }

    /// Posts an input, waiting for room; a frame also until its connection may be read from.
    ///
    /// # Errors
    /// [`Stopping`] if the node is gone.
    pub async fn input(&self, input: Input) -> Result<(), Stopping> {
        let Input::Frame { conn, .. } = &input else {
            return self.post(Post::Input(input)).await;
        };
        if let Some(rest) = self.pauses.rest(*conn) {
            tokio::time::sleep(rest).await;
        }
        // The wait for room is part of what a message waits.
        let at = std::time::Instant::now();
        self.post(Post::Heard { at, input }).await
    }

    /// Posts anything, waiting for room.
    ///
    /// # Errors
    /// [`Stopping`] if the node is gone.
    pub async fn post(&self, post: Post) -> Result<(), Stopping> {
        self.posts.send(post).await.map_err(|_| Stopping)
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
            Answer::SignIn(_) => Err(Stopping),
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
}

/// Runs the node until it is told to stop. To be called on a thread of its own. `handle` is one of
/// those that lead to `posts`.
pub async fn run(
    mut node: Box<dyn Engine>,
    clock: Clock,
    handle: Handle,
    mut posts: mpsc::Receiver<Post>,
    mut outlets: impl Outlets,
) {
    let mut ways = Ways::new(handle.pauses);
    // Only the way to the connections' pauses is kept: the queue ends with its last sender.
    drop(handle.posts);
    loop {
        ways.drain(node.as_mut(), &mut outlets);
        let wait = node.poll_timeout().map_or(Duration::from_secs(3600), |at| {
            at.since(clock.now().instant)
                .max(Duration::from_micros(500))
        });
        tokio::select! {
            biased;
            post = posts.recv() => {
                let Some(post) = post else { return };
                if ways.take(node.as_mut(), clock.now(), post, &mut outlets) {
                    return;
                }
                for _ in 1..BURST {
                    let Ok(post) = posts.try_recv() else { break };
                    if ways.take(node.as_mut(), clock.now(), post, &mut outlets) {
                        return;
                    }
                }
            }
            () = tokio::time::sleep(wait) => {}
        }
        let now = clock.now();
        if let Some(waited) = ways.waited() {
            node.handle(now, Input::Waited(waited));
        }
        if node.poll_timeout().is_some_and(|at| at <= now.instant) {
            node.handle_timeout(now);
        }
    }
}

/// The way to a SIP connection.
struct Way {
    side: Side,
    queue: mpsc::Sender<Bytes>,
}

/// The queues that lead to connections, and the questions under way.
struct Ways {
    pauses: Pauses,
    /// The longest that a frame of this burst has waited, and whether the last burst was told.
    longest: Duration,
    told: bool,
    sip: HashMap<ConnId, Way>,
    control: HashMap<ConnId, mpsc::Sender<traversal::Message>>,
    asks: HashMap<AskId, oneshot::Sender<Answer>>,
    next_ask: u64,
}

impl Ways {
    fn new(pauses: Pauses) -> Self {
        Ways {
            pauses,
            longest: Duration::ZERO,
            told: false,
            sip: HashMap::new(),
            control: HashMap::new(),
            asks: HashMap::new(),
            next_ask: 0,
        }
    }

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
        now: Now,
        post: Post,
        outlets: &mut impl Outlets,
    ) -> bool {
        match post {
            Post::Heard { at, input } => {
                self.longest = self.longest.max(at.elapsed());
                if let Input::Frame { conn, frame } = &input
                    && let Some(way) = self.sip.get(conn)
                {
                    wire::sip_in(way.side, frame);
                }
                node.handle(now, input);
            }
            Post::Input(input) => {
                match &input {
                    Input::Disconnected { conn, .. } => drop(self.sip.remove(conn)),
                    Input::ControlDown { conn, .. } => drop(self.control.remove(conn)),
                    _ => {}
                }
                node.handle(now, input);
            }
            Post::Attach { conn, facts, queue } => {
                self.sip.insert(
                    conn,
                    Way {
                        side: facts.side,
                        queue,
                    },
                );
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
                return true;
            }
        }
        self.drain(node, outlets);
        false
    }

    /// Carries out everything the node wants.
    fn drain(&mut self, node: &mut dyn Engine, outlets: &mut impl Outlets) {
        while let Some(output) = node.poll_output() {
            match output {
                Output::Send { conn, bytes } => {
                    let full = self.sip.get(&conn).is_some_and(|way| {
                        wire::sip_out(way.side, &bytes);
                        way.queue.try_send(bytes).is_err()
                    });
                    if full {
                        // The peer does not read: dropping the queue ends the connection, and
                        // its task tells the node.
                        self.sip.remove(&conn);
                    }
                }
                Output::Close { conn } => drop(self.sip.remove(&conn)),
                Output::Pause { conn, time } => self.pauses.set(conn, time),
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

#[cfg(test)]
mod tests {
    use sip::Frame;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_paused_connection_waits_and_others_do_not() {
        let (handle, mut posts) = Handle::new();
        let frame = |n: u64| Input::Frame {
            conn: ConnId(n),
            frame: Frame::Ping,
        };
        handle.pauses.set(ConnId(1), Duration::from_millis(500));
        let waiting = tokio::spawn({
            let handle = handle.clone();
            let input = frame(1);
            async move { handle.input(input).await }
        });
        tokio::task::yield_now().await;
        handle.input(frame(2)).await.unwrap();
        let conn = |post| match post {
            Some(Post::Heard {
                input: Input::Frame { conn, .. },
                ..
            }) => conn,
            _ => panic!(),
        };
        assert_eq!(conn(posts.recv().await), ConnId(2));
        assert!(!waiting.is_finished());
        waiting.await.unwrap().unwrap();
        assert_eq!(conn(posts.recv().await), ConnId(1));
    }

    #[test]
    fn waits_are_told_while_they_are_long_and_once_when_they_are_not() {
        let mut ways = Ways::new(Pauses::default());
        let mut told = |ms: u64| {
            ways.longest = Duration::from_millis(ms);
            ways.waited().map(|w| w.as_millis())
        };
        let all: Vec<_> = [5, 30, 40, 3, 2].into_iter().map(&mut told).collect();
        assert_eq!(all, [None, Some(30), Some(40), Some(3), None]);
    }
}
