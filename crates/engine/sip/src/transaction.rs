//! Transactions: requests and their responses, hop by hop (RFC 3261 §17, RFC 6026).
//!
//! In: parsed messages with the flow they came on, and the transaction user's requests and
//! responses. Out: bytes for a flow, and events. The four state machines are pure tables in
//! modules of their own; this module keeps the rows they run on, the timers and the look-up.
//!
//! - A request is known by flow, branch, sent-by and method (RFC 3261 §17.2.3). The flow is part
//!   of the key, so the same ids from another connection are another transaction, and a response
//!   always goes out on the flow its request came in on.
//! - An ACK for a non-2xx ends here; an ACK for a 2xx is an [`Event::Ack`].
//! - A CANCEL is answered here (200 or 481) and surfaces as [`Event::Cancelled`].
//! - One without the branch cookie of RFC 3261 (an RFC 2543 peer) is known by Request-URI, tags,
//!   Call-ID, CSeq number and its whole top Via instead.
//! - The 2xx to an INVITE is not retransmitted here: that is the transaction user's.
//!
//! Bounds: [`Limits::clients`] and [`Limits::servers`] rows, two timers a row. A request that
//! finds the table full is answered 503 without state, under a tag that lets its ACK be known.
//! No row outlives 64*T1 + T4 after its last sign of life, or [`Times::patience`] while it rings.
//!
//! ```text
//! transactions.receive(now, flow, reliable, message);
//! while let Some(output) = transactions.poll_output() { /* Send: flow, Event: user */ }
//! ```

mod budget;
mod build;
mod client;
mod client_invite;
mod client_rows;
mod key;
mod machine;
mod room;
mod server;
mod server_invite;
mod server_rows;
mod timers;

use std::collections::BTreeSet;

use base::{HashMap, Id, Instant, Now, Queue, Rng, Slab, TimerId, Timers};
use bytes::Bytes;

use crate::{Edit, FlowId, Message, Method};
use budget::Budget;
use client_rows::Client;
use key::Secret;
use machine::{ClientEvent, ServerEvent};
use server_rows::Server;
use timers::Timer;

use budget::is_full;
pub(crate) use budget::slim;
pub use build::received;
pub use room::Room;
pub use timers::Times;

/// Names a client transaction: a request that we sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ClientKey(Id);

/// Names a server transaction: a request that came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServerKey(Id);

/// Bounds and times of the transaction layer.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Client transactions at once. Default 100 000: a call takes two, and each stays 32 s after
    /// its 2xx (RFC 6026 §7.2), so that 1,500 calls a second find room.
    pub clients: usize,
    /// Server transactions at once. Default 100 000, as above (RFC 6026 §7.1).
    pub servers: usize,
    /// T1, T2, T4.
    pub times: Times,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            clients: 100_000,
            servers: 100_000,
            times: Times::default(),
        }
    }
}

/// What our own Via says about us (RFC 3261 §18.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ViaOptions {
    /// `TLS`, `TCP` or `UDP`.
    pub transport: &'static str,
    /// `host[:port]` at which we take requests.
    pub sent_by: String,
    /// Parameters after the branch, each with its semicolon, as in `;rport`. Default empty.
    pub parameters: String,
}

/// Why a client transaction got no final response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// None came in time.
    Timeout,
    /// The flow is gone.
    FlowDown,
}

/// How a server transaction ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// It ran its course.
    Done,
    /// The non-2xx final response to an INVITE was never acknowledged.
    NoAck,
    /// The transaction user gave no final response in time.
    Unanswered,
    /// The flow is gone.
    FlowDown,
}

/// What the transaction layer wants done.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "moved once into a queue and once out"
)]
pub enum Output {
    /// Send these bytes on this flow.
    Send {
        /// The flow.
        flow: FlowId,
        /// One whole message.
        bytes: Bytes,
    },
    /// Something for the transaction user.
    Event(Event),
}

/// What a transaction user learns.
#[derive(Debug)]
pub enum Event {
    /// A request other than ACK and CANCEL came in; answer it with [`Transactions::respond`].
    Request {
        /// Its transaction.
        key: ServerKey,
        /// Where it came from.
        flow: FlowId,
        /// The request.
        message: Message,
    },
    /// An ACK for a 2xx came in. It has no transaction and wants no answer.
    Ack {
        /// Where it came from.
        flow: FlowId,
        /// The ACK.
        message: Message,
    },
    /// An INVITE that has no final response yet was cancelled; answer it 487. The CANCEL itself
    /// has been answered.
    Cancelled {
        /// The INVITE's transaction.
        key: ServerKey,
        /// The CANCEL, which may carry a Reason.
        cancel: Message,
    },
    /// A response to a request of ours: each provisional, the first final one, and every 2xx to
    /// an INVITE.
    Response {
        /// The request's transaction.
        key: ClientKey,
        /// The response, our Via still on top.
        message: Message,
    },
    /// A response that belongs to no transaction. To be counted and dropped, never forwarded
    /// (RFC 6026 §8.9).
    StrayResponse {
        /// Where it came from.
        flow: FlowId,
        /// The response.
        message: Message,
    },
    /// A message was not sent: the far end of the flow would not take one so large. A request has
    /// been answered to its user with [`RequestError::TooLarge`], an answer went out as 502.
    TooLarge {
        /// The flow.
        flow: FlowId,
        /// The message.
        message: Message,
    },
    /// A request of ours got no final response.
    Failed {
        /// The request's transaction.
        key: ClientKey,
        /// Why.
        why: Why,
    },
    /// The row of a request of ours is gone; no event will name it again.
    Closed {
        /// The request's transaction.
        key: ClientKey,
    },
    /// The row of a request that came in is gone; it can no longer be answered.
    Ended {
        /// The request's transaction.
        key: ServerKey,
        /// How.
        ending: Ending,
    },
}

/// Why a request was not sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The table of client transactions is full.
    #[error("too many client transactions")]
    Full,
    /// The flow's far end takes no message so large ([`Transactions::give_room`]).
    #[error("the message is too large for its receiver")]
    TooLarge,
    /// The message is a response, an ACK or a CANCEL.
    #[error("not a request that opens a transaction")]
    NotARequest,
}

/// Rows in use and what happened to them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Client transactions at this moment.
    pub clients: usize,
    /// Server transactions at this moment.
    pub servers: usize,
    /// Timers armed at this moment.
    pub timers: usize,
    /// Requests refused since the start because a table was full.
    pub refused: u64,
    /// Retransmissions sent since the start.
    pub retransmitted: u64,
    /// Outputs lost since the start because nobody took them.
    pub lost: u64,
}

/// Which of a row's two timers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Slot {
    Retransmit,
    Deadline,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Tick {
    Client(Id, Slot),
    Server(Id, Slot),
}

/// The timers a row has armed.
#[derive(Debug, Default)]
struct Armed {
    retransmit: Option<TimerId>,
    deadline: Option<TimerId>,
    rounds: u32,
}

impl Armed {
    /// Arms `timer` in its slot; true if it is due at once.
    fn arm(
        &mut self,
        core: &mut Core,
        now: Now,
        timer: Timer,
        reliable: bool,
        tick: impl Fn(Slot) -> Tick,
    ) -> bool {
        let round = if timer.retransmits() { self.rounds } else { 0 };
        let Some(length) = timer.length(&core.times, reliable, round) else {
            return false;
        };
        if length.is_zero() {
            return true;
        }
        if timer.retransmits() {
            self.disarm_retransmit(core);
            self.rounds = round.saturating_add(1);
            self.retransmit = Some(
                core.timers
                    .arm(now.instant + length, tick(Slot::Retransmit)),
            );
        } else {
            self.unbind(core);
            self.deadline = Some(core.timers.arm(now.instant + length, tick(Slot::Deadline)));
        }
        false
    }

    /// The next retransmission timer starts from its first round.
    fn quiet(&mut self, core: &mut Core) {
        self.rounds = 0;
        self.disarm_retransmit(core);
    }

    fn disarm_retransmit(&mut self, core: &mut Core) {
        if let Some(id) = self.retransmit.take() {
            core.timers.disarm(id);
        }
    }

    fn unbind(&mut self, core: &mut Core) {
        if let Some(id) = self.deadline.take() {
            core.timers.disarm(id);
        }
    }

    fn clear(&mut self, core: &mut Core) {
        self.quiet(core);
        self.unbind(core);
    }
}

/// What all rows share.
struct Core {
    rng: Rng,
    times: Times,
    /// Rows of either table.
    clients_max: usize,
    servers_max: usize,
    timers: Timers<Tick>,
    out: Queue<Output>,
    retransmitted: u64,
    refused: u64,
}

impl Core {
    fn send(&mut self, flow: FlowId, bytes: Bytes) {
        // A full queue counts the loss; the peer's retransmission or our timer makes it good.
        let _ = self.out.push(Output::Send { flow, bytes });
    }

    fn tell(&mut self, event: Event) {
        let _ = self.out.push(Output::Event(event));
    }
}

/// The transaction layer of one node.
pub struct Transactions {
    core: Core,
    secret: Secret,
    clients: Slab<Client>,
    client_index: HashMap<u64, Id>,
    client_flows: BTreeSet<(FlowId, Id)>,
    servers: Slab<Server>,
    server_index: HashMap<u64, Id>,
    server_flows: BTreeSet<(FlowId, Id)>,
    /// Of the flows that have one.
    rooms: HashMap<FlowId, Room>,
    budget: Budget,
}

impl Transactions {
    /// An empty layer; `rng` gives branches, tags and the key of the look-up.
    pub fn new(mut rng: Rng, limits: Limits) -> Self {
        let secret = Secret::new(&mut rng);
        // Each row can owe two outputs and each input a handful; a flow's end touches every row.
        let outputs = limits
            .clients
            .saturating_add(limits.servers)
            .saturating_mul(2)
            + 64;
        Transactions {
            core: Core {
                rng,
                times: limits.times,
                clients_max: limits.clients,
                servers_max: limits.servers,
                timers: Timers::default(),
                out: Queue::new(outputs),
                retransmitted: 0,
                refused: 0,
            },
            secret,
            clients: Slab::new(limits.clients),
            client_index: HashMap::default(),
            client_flows: BTreeSet::new(),
            servers: Slab::new(limits.servers),
            server_index: HashMap::default(),
            server_flows: BTreeSet::new(),
            rooms: HashMap::default(),
            budget: Budget::default(),
        }
    }

    /// Takes a message that came in on `flow`; `reliable` is false for UDP.
    pub fn receive(&mut self, now: Now, flow: FlowId, reliable: bool, message: Message) {
        if !message.is_request() {
            return self.receive_response(now, flow, message);
        }
        match message.method() {
            Method::Ack => self.receive_ack(now, flow, message),
            Method::Cancel => self.receive_cancel(now, flow, reliable, message),
            _ => self.receive_request(now, flow, reliable, message),
        }
    }

    /// Sends a response. A provisional, then one final response; further 2xx to an INVITE may
    /// follow for 64*T1. What comes too late, or after the transaction ended, is dropped.
    pub fn respond(&mut self, now: Now, key: ServerKey, response: Message) {
        let event = match response.status() {
            100..=199 => ServerEvent::Provisional,
            200..=299 => ServerEvent::Success,
            300..=699 => ServerEvent::Failure,
            _ => return,
        };
        let Some(response) = self.fitting(key, response) else {
            return;
        };
        let event = match response.status() {
            502 => ServerEvent::Failure,
            _ => event,
        };
        self.server_event(now, key.0, event, Some(response));
    }

    /// Sends a request with a Via of our own on top and a fresh random branch.
    ///
    /// # Errors
    /// [`RequestError::Full`] when [`Limits::clients`] are open, or seven eighths of them if it is
    /// an INVITE; [`RequestError::NotARequest`] for a response, an ACK ([`Transactions::send`]) or
    /// a CANCEL ([`Transactions::cancel`]).
    pub fn request(
        &mut self,
        now: Now,
        flow: FlowId,
        reliable: bool,
        request: &Message,
        via: &ViaOptions,
    ) -> Result<ClientKey, RequestError> {
        self.open_client(now, flow, reliable, request, via, None, |_| {})
    }

    /// As [`Transactions::request`], with a mark in the branch by which a loop is known, and with
    /// what the hop changes.
    #[expect(clippy::too_many_arguments, reason = "one call, in the proxy")]
    pub(crate) fn request_marked(
        &mut self,
        now: Now,
        flow: FlowId,
        reliable: bool,
        request: &Message,
        via: &ViaOptions,
        mark: u64,
        change: impl FnOnce(&mut Edit<'_>),
    ) -> Result<ClientKey, RequestError> {
        self.open_client(now, flow, reliable, request, via, Some(mark), change)
    }

    /// Sends a message that has no transaction: an ACK for a 2xx. Adds a Via of our own.
    pub fn send(&mut self, flow: FlowId, message: &Message, via: &ViaOptions) {
        self.send_changed(flow, message, via, |_| {});
    }

    /// As [`Transactions::send`], with further changes.
    pub fn send_changed(
        &mut self,
        flow: FlowId,
        message: &Message,
        via: &ViaOptions,
        change: impl FnOnce(&mut Edit<'_>),
    ) {
        let branch = build::branch(&mut self.core.rng, None);
        let message = build::changed_with_via(message, via, &branch, change);
        if !self.may_go(flow, &message) {
            return;
        }
        self.core.send(flow, message.bytes().clone());
    }

    /// Cancels an INVITE of ours: at once if a provisional response has come, else as soon as
    /// one does (RFC 3261 §9.1). Nothing happens once it has a final response.
    pub fn cancel(&mut self, now: Now, key: ClientKey) {
        self.cancel_because(now, key, None);
    }

    /// As [`Transactions::cancel`], with a Reason header (RFC 3326) in the CANCEL.
    pub fn cancel_because(&mut self, now: Now, key: ClientKey, reason: Option<&[u8]>) {
        self.cancel_client(now, key, reason);
    }

    /// The request of an open server transaction, as it came in.
    pub fn server_request(&self, key: ServerKey) -> Option<&Message> {
        self.servers.get(key.0).map(|row| &row.request)
    }

    /// The flow of an open server transaction.
    pub fn server_flow(&self, key: ServerKey) -> Option<FlowId> {
        self.servers.get(key.0).map(|row| row.flow)
    }

    /// Whether an open server transaction runs over a reliable flow.
    pub fn server_reliable(&self, key: ServerKey) -> Option<bool> {
        self.servers.get(key.0).map(|row| row.reliable)
    }

    /// The request of an open client transaction, as it was sent.
    pub fn client_request(&self, key: ClientKey) -> Option<&Message> {
        self.clients.get(key.0).map(|row| &row.request)
    }

    /// A flow is gone: what waits on it fails or ends.
    pub fn flow_down(&mut self, now: Now, flow: FlowId) {
        self.rooms.remove(&flow);
        for id in on(&self.client_flows, flow) {
            self.client_event(now, id, ClientEvent::FlowDown, None);
        }
        for id in on(&self.server_flows, flow) {
            self.server_event(now, id, ServerEvent::FlowDown, None);
        }
        self.budget.forget(flow);
    }

    /// Who was on a flow is on another one: what is under way goes on there. Nothing is sent once
    /// more.
    pub fn moved(&mut self, from: FlowId, to: FlowId) {
        for id in on(&self.client_flows, from) {
            self.client_moved(id, to);
        }
        for id in on(&self.server_flows, from) {
            self.server_moved(id, to);
        }
    }

    /// Runs every timer that is due.
    pub fn handle_timeout(&mut self, now: Now) {
        while let Some((_, tick)) = self.core.timers.pop(now.instant) {
            match tick {
                Tick::Client(id, slot) => {
                    let Some(row) = self.clients.get_mut(id) else {
                        continue;
                    };
                    let event = match slot {
                        Slot::Retransmit => {
                            row.armed.retransmit = None;
                            ClientEvent::Retransmit
                        }
                        Slot::Deadline => {
                            row.armed.deadline = None;
                            ClientEvent::Deadline
                        }
                    };
                    self.client_event(now, id, event, None);
                }
                Tick::Server(id, slot) => {
                    let Some(row) = self.servers.get_mut(id) else {
                        continue;
                    };
                    let event = match slot {
                        Slot::Retransmit => {
                            row.armed.retransmit = None;
                            ServerEvent::Retransmit
                        }
                        Slot::Deadline => {
                            row.armed.deadline = None;
                            ServerEvent::Deadline
                        }
                    };
                    self.server_event(now, id, event, None);
                }
            }
        }
    }

    /// When [`Transactions::handle_timeout`] wants to be called next.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.core.timers.next()
    }

    /// The next thing to do; take all after each call.
    pub fn poll_output(&mut self) -> Option<Output> {
        self.core.out.pop()
    }

    /// Rows in use and what happened to them.
    pub fn counts(&self) -> Counts {
        Counts {
            clients: self.clients.len(),
            servers: self.servers.len(),
            timers: self.core.timers.len(),
            refused: self.core.refused,
            retransmitted: self.core.retransmitted,
            lost: self.core.out.refused(),
        }
    }
}

/// The rows on a flow.
fn on(rows: &BTreeSet<(FlowId, Id)>, flow: FlowId) -> Vec<Id> {
    let (first, last) = (Id::new(0, 0), Id::new(u32::MAX, u32::MAX));
    rows.range((flow, first)..=(flow, last))
        .map(|(_, id)| *id)
        .collect()
}

#[cfg(test)]
pub(crate) mod tests;
