//! The signalling thread: it owns the node, feeds it inputs one by one and carries out outputs.
//!
//! Tasks and SIP workers post through a [`Handle`]; its queue is bounded, so a flood is slowed down
//! at its own sockets. What the thread does with it, and with connections of its own, is in
//! [`run`]'s module.

mod reports;
mod turn;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use base::{Instant, Now, UnixTime};
pub use node::io::{Answer, Question};
use node::io::{ConnId, Facts, Input};
use status::servers::{ServersQuestion, ServersReport};
use tokio::sync::{mpsc, oneshot};

use crate::sip_io::Way;

pub use reports::Reports;
pub(crate) use turn::LOT;
pub use turn::{Outlets, run};

/// How many posts may wait for the node, and how many inputs in batches.
pub const POSTS_MAX: usize = 8192;

/// How long a SIP worker rests that finds the node swamped.
const SWAMPED: Duration = Duration::from_millis(1);

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
    posts: VecDeque<Post>,
    backlog: Arc<AtomicUsize>,
}

impl Batch {
    /// What it holds; it counts no longer as waiting.
    pub fn open(self) -> VecDeque<Post> {
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
    pub fn post_batch(
        &self,
        at: std::time::Instant,
        posts: VecDeque<Post>,
    ) -> Result<(), Stopping> {
        while self.backlog.load(Ordering::Acquire) >= POSTS_MAX {
            if self.posts.is_closed() {
                return Err(Stopping);
            }
            std::thread::sleep(SWAMPED);
        }
        self.backlog.fetch_add(posts.len(), Ordering::AcqRel);
        let backlog = self.backlog.clone();
        let batch = Post::Batch(Batch { at, posts, backlog });
        self.post_blocking(batch)
    }

    /// Posts anything, waiting for room. To be called on a thread of its own.
    ///
    /// # Errors
    /// [`Stopping`] if the node is gone.
    pub fn post_blocking(&self, post: Post) -> Result<(), Stopping> {
        self.posts.blocking_send(post).map_err(|_| Stopping)
    }

    /// Posts from a thread outside the runtime, dropping the input if the node is swamped.
    pub fn try_input(&self, input: Input) -> bool {
        self.posts.try_send(Post::Input(input)).is_ok()
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

    /// What a core knows of the inside's servers, or what they say now.
    ///
    /// # Errors
    /// [`Stopping`] if the node is gone.
    pub async fn servers(&self, asked: ServersQuestion) -> Result<ServersReport, Stopping> {
        match self.ask(Question::Servers(asked)).await? {
            Answer::Servers(report) => Ok(*report),
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
