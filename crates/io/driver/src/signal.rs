//! The signalling thread: it owns the node, feeds it inputs one by one and carries out outputs.
//!
//! Tasks post through a [`Handle`]; its queue is bounded, so a flood is slowed down at its own
//! sockets. Outputs to a connection go into that connection's bounded queue: a peer that does not
//! read loses its connection, and never holds up the node.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
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

/// How many inputs are handled before outputs and timers get their turn.
const BURST: usize = 64;

/// What the signalling thread is given.
pub enum Post {
    /// An input as it is.
    Input(Input),
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
            },
            queue,
        )
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

/// Runs the node until it is told to stop. To be called on a thread of its own.
pub async fn run(
    mut node: Box<dyn Engine>,
    clock: Clock,
    mut posts: mpsc::Receiver<Post>,
    mut outlets: impl Outlets,
) {
    let mut ways = Ways::default();
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
#[derive(Default)]
struct Ways {
    sip: HashMap<ConnId, Way>,
    control: HashMap<ConnId, mpsc::Sender<traversal::Message>>,
    asks: HashMap<AskId, oneshot::Sender<Answer>>,
    next_ask: u64,
}

impl Ways {
    /// Hands one post to the node; true if it was the last.
    fn take(
        &mut self,
        node: &mut dyn Engine,
        now: Now,
        post: Post,
        outlets: &mut impl Outlets,
    ) -> bool {
        match post {
            Post::Input(input) => {
                match &input {
                    Input::Frame { conn, frame } => {
                        if let Some(way) = self.sip.get(conn) {
                            wire::sip_in(way.side, frame);
                        }
                    }
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
