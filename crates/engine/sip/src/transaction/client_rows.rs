//! Client transactions: rows, matching of responses, CANCEL.

use base::{Id, Now};

use super::key::{self, Key};
use super::machine::{Act, ClientEvent, End};
use super::timers::Timer;
use super::{
    Armed, ClientKey, Event, RequestError, Tick, Transactions, ViaOptions, Why, build, client,
    client_invite,
};
use crate::{Edit, FlowId, Message, Method};

/// The state of either machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Invite(client_invite::State),
    Other(client::State),
}

/// How far a wish to cancel has come (RFC 3261 §9.1).
#[derive(Clone, Debug, PartialEq, Eq)]
enum Cancel {
    No,
    /// Wanted, but no provisional response has come yet. Holds the Reason to give.
    Waiting(Option<Box<[u8]>>),
    Sent,
}

/// One client transaction.
pub(super) struct Client {
    state: State,
    pub(super) flow: FlowId,
    reliable: bool,
    /// As sent, our Via on top.
    pub(super) request: Message,
    branch: Box<[u8]>,
    fingerprint: u64,
    cancel: Cancel,
    /// A CANCEL of ours, of which nobody is told.
    hidden: bool,
    pub(super) armed: Armed,
}

impl Client {
    fn step(&mut self, event: ClientEvent) -> &'static [Act] {
        match &mut self.state {
            State::Invite(state) => {
                let step = client_invite::step(*state, event);
                *state = step.next;
                step.acts
            }
            State::Other(state) => {
                let step = client::step(*state, event);
                *state = step.next;
                step.acts
            }
        }
    }

    fn is(&self, key: &[u8]) -> bool {
        let rest = key.strip_prefix(&*self.branch);
        let method = rest.and_then(|rest| rest.strip_prefix(b"\n"));
        method == Some(self.request.method_bytes())
    }
}

impl Transactions {
    #[expect(clippy::too_many_arguments, reason = "two calls, both next door")]
    pub(super) fn open_client(
        &mut self,
        now: Now,
        flow: FlowId,
        reliable: bool,
        request: &Message,
        via: &ViaOptions,
        mark: Option<u64>,
        change: impl FnOnce(&mut Edit<'_>),
    ) -> Result<ClientKey, RequestError> {
        if !request.is_request() || matches!(request.method(), Method::Ack | Method::Cancel) {
            return Err(RequestError::NotARequest);
        }
        let branch = build::branch(&mut self.core.rng, mark);
        let request = build::changed_with_via(request, via, &branch, change);
        if !self.may_go(flow, &request) {
            return Err(RequestError::TooLarge);
        }
        self.insert_client(now, flow, reliable, request, branch.into_bytes(), false)
    }

    fn insert_client(
        &mut self,
        now: Now,
        flow: FlowId,
        reliable: bool,
        request: Message,
        branch: Vec<u8>,
        hidden: bool,
    ) -> Result<ClientKey, RequestError> {
        if super::is_full(&self.clients, self.core.clients_max, request.method()) {
            self.core.refused += 1;
            return Err(RequestError::Full);
        }
        let key = key::client_key(&branch, request.method_bytes());
        let fingerprint = self.secret.fingerprint(&[&key]);
        let (state, acts) = if request.method() == Method::Invite {
            (
                State::Invite(client_invite::START.next),
                client_invite::START.acts,
            )
        } else {
            (State::Other(client::START.next), client::START.acts)
        };
        let row = Client {
            state,
            flow,
            reliable,
            request,
            branch: branch.into_boxed_slice(),
            fingerprint,
            cancel: Cancel::No,
            hidden,
            armed: Armed::default(),
        };
        let Ok(id) = self.clients.insert(row) else {
            self.core.refused += 1;
            return Err(RequestError::Full);
        };
        self.client_index.insert(fingerprint, id);
        self.client_flows.insert((flow, id));
        self.run_client(now, id, acts, None);
        Ok(ClientKey(id))
    }

    /// RFC 3261 §17.1.3: the branch and the method in CSeq name the transaction.
    pub(super) fn receive_response(&mut self, now: Now, flow: FlowId, response: Message) {
        let event = match response.status() {
            100..=199 => ClientEvent::Provisional,
            200..=299 => ClientEvent::Success,
            _ => ClientEvent::Failure,
        };
        match self.client_for(&response) {
            Some(id) => self.client_event(now, id, event, Some(response)),
            None => self.core.tell(Event::StrayResponse {
                flow,
                message: response,
            }),
        }
    }

    /// Whether a response is to a request of ours that went out on another flow. Who got it answers
    /// on the connection it came by (RFC 3261 §18.2.2); if that breaks, the transaction has failed.
    pub fn is_of_another_flow(&self, flow: FlowId, response: &Message) -> bool {
        let row = self
            .client_for(response)
            .and_then(|id| self.clients.get(id));
        row.is_some_and(|row| row.flow != flow)
    }

    fn client_for(&self, response: &Message) -> Option<Id> {
        let branch = response.top_via().ok()?.branch()?;
        let cseq = response.cseq().ok()?;
        let key: Key = key::client_key(branch, cseq.method);
        let id = *self.client_index.get(&self.secret.fingerprint(&[&key]))?;
        self.clients.get(id).filter(|row| row.is(&key)).map(|_| id)
    }

    pub(super) fn client_moved(&mut self, id: Id, to: FlowId) {
        let Some(row) = self.clients.get_mut(id) else {
            return;
        };
        self.client_flows.remove(&(row.flow, id));
        self.client_flows.insert((to, id));
        row.flow = to;
    }

    pub(super) fn client_event(
        &mut self,
        now: Now,
        id: Id,
        event: ClientEvent,
        message: Option<Message>,
    ) {
        let Some(row) = self.clients.get_mut(id) else {
            return;
        };
        let acts = row.step(event);
        // An ACK needs the header alone.
        if matches!(event, ClientEvent::Success | ClientEvent::Failure)
            && let Some(slim) = super::slim(&row.request)
        {
            row.request = slim;
        }
        self.run_client(now, id, acts, message);
        if event == ClientEvent::Provisional {
            self.cancel_when_due(now, id);
        }
    }

    fn run_client(&mut self, now: Now, id: Id, acts: &[Act], mut message: Option<Message>) {
        let Some(row) = self.clients.get_mut(id) else {
            return;
        };
        let core = &mut self.core;
        let key = ClientKey(id);
        let (mut due, mut end) = (false, None);
        for act in acts {
            match *act {
                Act::Send => core.send(row.flow, row.request.bytes().clone()),
                Act::Resend => {
                    core.retransmitted += 1;
                    core.send(row.flow, row.request.bytes().clone());
                }
                Act::Ack => {
                    if let Some(ack) = message.as_ref().and_then(|m| build::ack(&row.request, m)) {
                        core.send(row.flow, ack.bytes().clone());
                    }
                }
                Act::Deliver => {
                    // Nothing but an ACK, which stands before it, needs the response as well.
                    if let Some(message) = message.take_if(|_| !row.hidden) {
                        core.tell(Event::Response { key, message });
                    }
                }
                Act::Fail => {
                    if !row.hidden {
                        let gone = acts.contains(&Act::End(End::FlowDown));
                        let why = if gone { Why::FlowDown } else { Why::Timeout };
                        core.tell(Event::Failed { key, why });
                    }
                }
                // A cancelled INVITE keeps the shorter bound it has.
                Act::Arm(Timer::Patience) if row.cancel == Cancel::Sent => {}
                Act::Arm(timer) => {
                    due |= row.armed.arm(core, now, timer, row.reliable, |slot| {
                        Tick::Client(id, slot)
                    });
                }
                Act::Quiet => row.armed.quiet(core),
                Act::End(why) => end = Some(why),
                Act::Trying => {}
            }
        }
        if end.is_some() {
            self.drop_client(id);
        } else if due {
            self.client_event(now, id, ClientEvent::Deadline, None);
        }
    }

    fn drop_client(&mut self, id: Id) {
        let Some(mut row) = self.clients.remove(id) else {
            return;
        };
        row.armed.clear(&mut self.core);
        self.client_flows.remove(&(row.flow, id));
        if self.client_index.get(&row.fingerprint) == Some(&id) {
            self.client_index.remove(&row.fingerprint);
        }
        if !row.hidden {
            self.core.tell(Event::Closed { key: ClientKey(id) });
        }
    }

    pub(super) fn cancel_client(&mut self, now: Now, key: ClientKey, reason: Option<&[u8]>) {
        let Some(row) = self.clients.get_mut(key.0) else {
            return;
        };
        if row.cancel == Cancel::No {
            row.cancel = Cancel::Waiting(reason.map(Box::from));
            self.cancel_when_due(now, key.0);
        }
    }

    /// Sends the CANCEL that is wanted, if the INVITE is in Proceeding, and bounds how long the
    /// INVITE may go on without a final response.
    fn cancel_when_due(&mut self, now: Now, id: Id) {
        let Some(row) = self.clients.get_mut(id) else {
            return;
        };
        if row.state != State::Invite(client_invite::State::Proceeding) {
            return;
        }
        let Cancel::Waiting(reason) = &mut row.cancel else {
            return;
        };
        let reason = reason.take();
        row.cancel = Cancel::Sent;
        row.armed.arm(
            &mut self.core,
            now,
            Timer::Cancelled,
            row.reliable,
            |slot| Tick::Client(id, slot),
        );
        let (flow, reliable, branch) = (row.flow, row.reliable, row.branch.to_vec());
        let Some(cancel) = build::cancel(&row.request, reason.as_deref()) else {
            return;
        };
        // Without room for its row the CANCEL still goes out, once.
        let bytes = cancel.bytes().clone();
        if self
            .insert_client(now, flow, reliable, cancel, branch, true)
            .is_err()
        {
            self.core.send(flow, bytes);
        }
    }
}
