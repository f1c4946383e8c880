//! Server transactions: rows, matching of requests, ACK and CANCEL.

use base::{Id, Now};
use bytes::Bytes;

use super::key::{self, Hop, Key};
use super::machine::{Act, End, ServerEvent};
use super::{Armed, Ending, Event, ServerKey, Tick, Transactions, server, server_invite};
use crate::{FlowId, Message, Method, refusal};

/// The state of either machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Invite(server_invite::State),
    Other(server::State),
}

/// One server transaction.
pub(super) struct Server {
    state: State,
    pub(super) flow: FlowId,
    pub(super) reliable: bool,
    /// As it came in.
    pub(super) request: Message,
    key: Box<[u8]>,
    fingerprint: u64,
    /// The last response, as sent.
    last: Option<Bytes>,
    /// The To tag of our responses, once there was one.
    tag: Option<Box<[u8]>>,
    /// A CANCEL, of which nobody is told.
    hidden: bool,
    /// What the request counts for in the budget.
    held: usize,
    pub(super) armed: Armed,
}

impl Server {
    fn step(&mut self, event: ServerEvent) -> &'static [Act] {
        match &mut self.state {
            State::Invite(state) => {
                let step = server_invite::step(*state, event);
                *state = step.next;
                step.acts
            }
            State::Other(state) => {
                let step = server::step(*state, event);
                *state = step.next;
                step.acts
            }
        }
    }
}

/// Methods that a CANCEL may meet (RFC 3261 §9.2: it names a request other than ACK and CANCEL).
const CANCELLABLE: [&[u8]; 13] = [
    b"INVITE",
    b"BYE",
    b"REGISTER",
    b"OPTIONS",
    b"SUBSCRIBE",
    b"NOTIFY",
    b"REFER",
    b"MESSAGE",
    b"INFO",
    b"UPDATE",
    b"PRACK",
    b"PUBLISH",
    b"SERVICE",
];

impl Transactions {
    pub(super) fn receive_request(
        &mut self,
        now: Now,
        flow: FlowId,
        reliable: bool,
        request: Message,
    ) {
        let Some(hop) = Hop::of(&request, flow) else {
            return;
        };
        let key = hop.key(request.method_bytes());
        if let Some(id) = self.server_for(&key) {
            return self.server_event(now, id, ServerEvent::Request, None);
        }
        self.open_server(now, flow, reliable, request, &key, false);
    }

    /// An ACK for a non-2xx has the INVITE's branch and ends here; any other is the user's.
    pub(super) fn receive_ack(&mut self, now: Now, flow: FlowId, ack: Message) {
        let Some(hop) = Hop::of(&ack, flow) else {
            return;
        };
        if let Some(id) = self.server_for(&hop.key(b"INVITE")) {
            return self.server_event(now, id, ServerEvent::Ack, Some(ack));
        }
        let own = self.stateless_tag(flow, &ack);
        let tag = ack.to().ok().and_then(|to| to.tag());
        if tag != Some(own.as_bytes()) && tag != Some(refusal::TAG) {
            self.core.tell(Event::Ack { flow, message: ack });
        }
    }

    pub(super) fn receive_cancel(
        &mut self,
        now: Now,
        flow: FlowId,
        reliable: bool,
        cancel: Message,
    ) {
        let Some(hop) = Hop::of(&cancel, flow) else {
            return;
        };
        let own = hop.key(b"CANCEL");
        if let Some(id) = self.server_for(&own) {
            return self.server_event(now, id, ServerEvent::Request, None);
        }
        let target = CANCELLABLE
            .iter()
            .find_map(|method| self.server_for(&hop.key(method)));
        let row = target.and_then(|id| self.servers.get(id));
        let ringing =
            row.is_some_and(|row| row.state == State::Invite(server_invite::State::Proceeding));
        let tag = row.and_then(|row| row.tag.clone()).map_or_else(
            || self.stateless_tag(flow, &cancel),
            |tag| String::from_utf8_lossy(&tag).into_owned(),
        );
        let (status, reason) = match target {
            Some(_) => (200, "OK"),
            None => (481, "Call/Transaction Does Not Exist"),
        };
        let answer = cancel.reply(status, reason, &tag).build();
        match self.open_server(now, flow, reliable, cancel.clone(), &own, true) {
            Some(id) => self.server_event(now, id, ServerEvent::Success, Some(answer)),
            None => self.core.send(flow, answer.bytes().clone()),
        }
        if let Some(id) = target.filter(|_| ringing) {
            self.core.tell(Event::Cancelled {
                key: ServerKey(id),
                cancel,
            });
        }
    }

    fn open_server(
        &mut self,
        now: Now,
        flow: FlowId,
        reliable: bool,
        request: Message,
        key: &Key,
        hidden: bool,
    ) -> Option<Id> {
        let held = request.bytes().len();
        if super::is_full(&self.servers, self.core.servers_max, request.method())
            || !self.budget.take(flow, held)
        {
            self.core.refused += 1;
            if !hidden {
                self.reply_without_state(flow, &request, 503, "Service Unavailable");
            }
            return None;
        }
        let (state, acts) = if request.method() == Method::Invite {
            (
                State::Invite(server_invite::START.next),
                server_invite::START.acts,
            )
        } else {
            (State::Other(server::START.next), server::START.acts)
        };
        let fingerprint = self.secret.fingerprint(&[key]);
        let row = Server {
            state,
            flow,
            reliable,
            request: request.clone(),
            key: Box::from(key.as_slice()),
            fingerprint,
            last: None,
            tag: None,
            hidden,
            held,
            armed: Armed::default(),
        };
        let id = self.servers.insert(row).ok()?;
        self.server_index.insert(fingerprint, id);
        self.server_flows.insert((flow, id));
        self.run_server(now, id, acts, Some(request));
        Some(id)
    }

    fn server_for(&self, key: &Key) -> Option<Id> {
        let id = *self.server_index.get(&self.secret.fingerprint(&[key]))?;
        self.servers
            .get(id)
            .filter(|row| *row.key == **key)
            .map(|_| id)
    }

    pub(super) fn server_moved(&mut self, id: Id, to: FlowId) {
        let Some(row) = self.servers.get_mut(id) else {
            return;
        };
        self.server_flows.remove(&(row.flow, id));
        self.server_flows.insert((to, id));
        row.flow = to;
        if self.server_index.get(&row.fingerprint) == Some(&id) {
            self.server_index.remove(&row.fingerprint);
        }
        key::go_to(&mut row.key, to);
        row.fingerprint = self.secret.fingerprint(&[&row.key]);
        self.server_index.insert(row.fingerprint, id);
    }

    pub(super) fn server_event(
        &mut self,
        now: Now,
        id: Id,
        event: ServerEvent,
        message: Option<Message>,
    ) {
        let Some(row) = self.servers.get_mut(id) else {
            return;
        };
        let acts = row.step(event);
        self.run_server(now, id, acts, message);
    }

    fn run_server(&mut self, now: Now, id: Id, acts: &[Act], mut message: Option<Message>) {
        let Some(row) = self.servers.get_mut(id) else {
            return;
        };
        let core = &mut self.core;
        let (mut due, mut end) = (false, None);
        for act in acts {
            match *act {
                Act::Send => {
                    let Some(response) = &message else { continue };
                    row.keep(response);
                    if response.status() >= 200
                        && let Some(slim) = super::slim(&row.request)
                    {
                        let less = row.held - slim.bytes().len().min(row.held);
                        self.budget.give_back(row.flow, less);
                        row.held -= less;
                        row.request = slim;
                    }
                    core.send(row.flow, response.bytes().clone());
                }
                Act::Resend => {
                    if let Some(last) = &row.last {
                        core.retransmitted += 1;
                        core.send(row.flow, last.clone());
                    }
                }
                Act::Trying => {
                    let trying = row.request.reply(100, "Trying", "").build();
                    row.keep(&trying);
                    core.send(row.flow, trying.bytes().clone());
                }
                Act::Deliver => {
                    let Some(message) = message.take_if(|_| !row.hidden) else {
                        continue;
                    };
                    core.tell(if message.method() == Method::Ack {
                        Event::Ack {
                            flow: row.flow,
                            message,
                        }
                    } else {
                        Event::Request {
                            key: ServerKey(id),
                            flow: row.flow,
                            message,
                        }
                    });
                }
                Act::Arm(timer) => {
                    due |= row.armed.arm(core, now, timer, row.reliable, |slot| {
                        Tick::Server(id, slot)
                    });
                }
                Act::Quiet => row.armed.quiet(core),
                Act::End(why) => end = Some(why),
                Act::Ack | Act::Fail => {}
            }
        }
        if let Some(why) = end {
            self.drop_server(id, why);
        } else if due {
            self.server_event(now, id, ServerEvent::Deadline, None);
        }
    }

    fn drop_server(&mut self, id: Id, why: End) {
        let Some(mut row) = self.servers.remove(id) else {
            return;
        };
        row.armed.clear(&mut self.core);
        self.budget.give_back(row.flow, row.held);
        self.server_flows.remove(&(row.flow, id));
        if self.server_index.get(&row.fingerprint) == Some(&id) {
            self.server_index.remove(&row.fingerprint);
        }
        if !row.hidden {
            let ending = match why {
                End::Done => Ending::Done,
                End::NoAck => Ending::NoAck,
                End::Unanswered => Ending::Unanswered,
                End::FlowDown => Ending::FlowDown,
            };
            self.core.tell(Event::Ended {
                key: ServerKey(id),
                ending,
            });
        }
    }

    /// A tag that follows from the request, so that the ACK for a stateless answer is known.
    fn stateless_tag(&self, flow: FlowId, request: &Message) -> String {
        let hop = Hop::of(request, flow);
        let rest = hop.as_ref().map(Hop::rest).unwrap_or_default();
        let mark = self.secret.fingerprint(&[rest, request.call_id()]);
        format!("{mark:016x}")
    }

    fn reply_without_state(&mut self, flow: FlowId, request: &Message, status: u16, text: &str) {
        let mut reply = request.reply(status, text, &self.stateless_tag(flow, request));
        if status == 503 {
            // Spread those that come back (RFC 3261 §21.5.4).
            let seconds = 1 + self.core.rng.below(10);
            reply = reply.header(crate::Name::RetryAfter, seconds.to_string());
        }
        let reply = reply.build();
        self.core.send(flow, reply.bytes().clone());
    }
}

impl Server {
    /// Keeps a response for retransmission, and its tag for the answer to a CANCEL.
    fn keep(&mut self, response: &Message) {
        self.last = Some(response.bytes().clone());
        let tag = response.to().ok().and_then(|to| to.tag());
        if let Some(tag) = tag.filter(|tag| self.tag.as_deref() != Some(tag)) {
            self.tag = Some(Box::from(tag));
        }
    }
}
