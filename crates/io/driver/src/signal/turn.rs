//! The signalling thread's turns, run to completion: poll, read, decide, write.
//!
//! ```text
//!  own connections ── frames ──▶ a row, bounded ─┐                ┌──▶ own connections
//!  tasks, workers ── posts, bounded, a bell ─────┴──▶ the node ───┼──▶ workers, in lots
//!  media's reports, bounded ──────────────────────▶           │
//!  timers ────────────────────────────────────────────▶           └──▶ media, questions, tasks
//! ```
//!
//! A message of the thread's own connections is read, decided on and answered in one turn. Outputs
//! to a connection go into that connection's bounded queue: a peer that does not read loses its
//! connection, and never holds up the node. What goes to others is handed over once a turn, with
//! one waking. How long a message has waited between its socket and the node is measured here, and
//! told the node; a connection that the node wants to hear less of is not read for a while.
//!
//! Bounds of a turn: [`BURST`] posts of others and as many of its own connections' inputs, of which
//! [`POSTS_MAX`] and a turn's reading may wait; then outputs leave and timers get their turn. A
//! worker's batch counts what it holds, and is taken whole: it may be what one reading gave more.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use base::Id;
use node::Engine;
use node::io::{Answer, AskId, ConnId, Input, Output, Side};
use tokio::sync::{mpsc, oneshot};

use super::{Clock, POSTS_MAX, Post, Reports};
use crate::sip_io::{Desk, Inbox, Order, SIGNALLING, Way};
use crate::wire;

/// How many posts are handled before outputs leave and timers get their turn.
const BURST: usize = 64;

/// Orders for a SIP worker, and commands for the media worker, that are handed over at once.
pub(crate) const LOT: usize = 32;

/// Timers are looked at when something else is, and otherwise as often: those of SIP are counted in
/// hundreds of milliseconds, and many that fall due one by one would each wake the thread.
const TIMERS_EVERY: Duration = Duration::from_millis(5);

/// The longest that nothing is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(30);

/// Waits below this are as good as none.
const WORTH_TELLING: Duration = Duration::from_millis(20);

/// What the signalling thread does with outputs that are no SIP or control bytes.
pub trait Outlets: Send {
    /// Carries out one output. Must not wait.
    fn output(&mut self, output: Output);

    /// Wakes whoever was given something, once for many outputs.
    fn hand_over(&mut self);
}

/// Runs the node until it is told to stop. To be called on a thread of its own, within a runtime.
pub fn run(
    mut node: Box<dyn Engine>,
    clock: Clock,
    mut posts: mpsc::Receiver<Post>,
    mut outlets: impl Outlets,
    desk: Desk,
    reports: &Reports,
) {
    let waker = Waker::from(desk.bell());
    let mut context = Context::from_waker(&waker);
    let mut ways = Ways::new(desk);
    let mut reported = VecDeque::new();
    ways.drain(node.as_mut(), &mut outlets);
    ways.hand_over(&mut outlets);
    loop {
        let mut left = BURST;
        while left > 0 {
            let post = match posts.poll_recv(&mut context) {
                Poll::Ready(None) => return,
                Poll::Ready(Some(post)) => post,
                Poll::Pending => break,
            };
            let held = match &post {
                Post::Batch(batch) => batch.posts.len().max(1),
                _ => 1,
            };
            left = left.saturating_sub(held);
            if ways.take(node.as_mut(), &clock, post, &mut outlets) {
                return ways.desk.stop();
            }
        }
        let looked = reported.is_empty();
        if looked {
            reports.take(&mut reported);
        }
        let few = reported.len().min(BURST);
        for report in reported.drain(..few) {
            node.handle(clock.now(), Input::Media(report));
            ways.drain(node.as_mut(), &mut outlets);
        }
        ways.take_own(node.as_mut(), &clock, &mut outlets);
        let now = clock.now();
        if let Some(waited) = ways.waited() {
            node.handle(now, Input::Waited(waited));
        }
        if node.poll_timeout().is_some_and(|at| at <= now.instant) {
            node.handle_timeout(now);
            ways.drain(node.as_mut(), &mut outlets);
        }
        ways.hand_over(&mut outlets);
        // Reports that came since it was looked ring; those from before may have rung long ago.
        let heard = looked && reported.is_empty();
        let is_idle = left > 0 && heard && ways.desk.found().is_empty();
        let wait = if is_idle {
            let now = clock.now().instant;
            let wait = node.poll_timeout().map_or(LOOK_EVERY, |at| at.since(now));
            wait.clamp(TIMERS_EVERY, LOOK_EVERY)
        } else {
            Duration::ZERO
        };
        ways.listen(wait);
    }
}

/// The way to a SIP connection.
struct Known {
    side: Side,
    /// The number of its thread.
    desk: usize,
    line: Id,
}

/// What is to be told to one SIP worker.
struct Lot {
    inbox: Arc<Inbox>,
    orders: Vec<Order>,
}

/// What leads to connections, and the questions under way.
struct Ways {
    /// The thread's own connections.
    desk: Desk,
    /// The longest that a frame of this turn has waited, and whether the last turn's was told.
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
    fn new(desk: Desk) -> Ways {
        Ways {
            desk,
            longest: Duration::ZERO,
            told: false,
            sip: HashMap::new(),
            lots: Vec::new(),
            control: HashMap::new(),
            asks: HashMap::new(),
            next_ask: 0,
        }
    }

    /// Waits for something to do, and reads the thread's own connections.
    fn listen(&mut self, wait: Duration) {
        // They are read no more while so much of theirs waits.
        if self.desk.found().len() < POSTS_MAX {
            self.desk.turn(Some(wait), &mut |_| {});
        }
    }

    /// Hands a burst of what the thread's own connections said to the node; how much that was.
    fn take_own(
        &mut self,
        node: &mut dyn Engine,
        clock: &Clock,
        outlets: &mut impl Outlets,
    ) -> usize {
        let mut oldest = None;
        for taken in 0..BURST {
            let Some((since, post)) = self.desk.found().pop() else {
                self.aged(oldest);
                return taken;
            };
            // Of what came together the last waits longest.
            if oldest.is_some_and(|oldest| oldest != since) {
                self.aged(oldest);
            }
            oldest = Some(since);
            self.take(node, clock, post, outlets);
        }
        self.aged(oldest);
        BURST
    }

    fn aged(&mut self, since: Option<std::time::Instant>) {
        if let Some(since) = since {
            self.longest = self.longest.max(since.elapsed());
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
                self.aged(Some(at));
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
                self.hand_over(outlets);
                return true;
            }
        }
        self.drain(node, outlets);
        false
    }

    fn attach(&mut self, conn: ConnId, side: Side, way: Way) {
        let (desk, line) = (way.desk, way.line);
        if desk != SIGNALLING {
            if self.lots.len() <= desk {
                self.lots.resize_with(desk + 1, || None);
            }
            if let Some(lot) = self.lots.get_mut(desk) {
                lot.get_or_insert_with(|| Lot {
                    inbox: way.inbox,
                    orders: Vec::with_capacity(LOT),
                });
            }
        }
        self.sip.insert(conn, Known { side, desk, line });
    }

    /// Lets others have what was gathered for them, and the thread's own connections what was
    /// said to them.
    fn hand_over(&mut self, outlets: &mut impl Outlets) {
        for lot in self.lots.iter_mut().flatten() {
            if !lot.orders.is_empty() {
                lot.inbox.give(&mut lot.orders);
            }
        }
        outlets.hand_over();
        self.desk.finish();
    }

    /// Carries out an order at once, or gathers it for a SIP worker.
    fn tell(&mut self, desk: usize, order: Order) {
        if desk == SIGNALLING {
            return self.desk.order(order);
        }
        if let Some(Some(lot)) = self.lots.get_mut(desk) {
            lot.orders.push(order);
            if lot.orders.len() >= LOT {
                lot.inbox.give(&mut lot.orders);
            }
        }
    }

    /// Carries out everything the node wants.
    fn drain(&mut self, node: &mut dyn Engine, outlets: &mut impl Outlets) {
        while let Some(output) = node.poll_output() {
            match output {
                Output::Send { conn, bytes } => {
                    if let Some(&Known { side, desk, line }) = self.sip.get(&conn) {
                        wire::sip_out(side, &bytes);
                        self.tell(desk, Order::Send(line, bytes));
                    }
                }
                Output::Close { conn } => {
                    if let Some(known) = self.sip.remove(&conn) {
                        self.tell(known.desk, Order::Close(known.line));
                    }
                }
                Output::Pause { conn, time } => {
                    if let Some(&Known { desk, line, .. }) = self.sip.get(&conn) {
                        self.tell(desk, Order::Pause(line, time));
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

#[cfg(test)]
mod tests;
