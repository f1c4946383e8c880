//! The INVITE that makes a call, and its responses.

use base::Id;
use sip::dialog::Dialog;
use sip::transaction::{ServerKey, Why};
use sip::{Message, Name};

use super::body::{self, Body};
use super::bridge::{Bridge, First, MediaError};
use super::call::{
    Call, Caller, End, Face, Fork, Ice, Leg, Opening, Phase, Side, Target, Tick, Unacked,
};
use super::own::Doubt;
use super::relay::hidden;
use super::session::{self, Session};
use super::{B2bua, Cause, Context, Draft, EndedBy, Event, Refusal, cross, refuse};

impl B2bua {
    /// Takes an INVITE without a To tag and sends it on to `target`. One side may be an edge's.
    /// What cannot be carried is refused here: 400, 483, 488, 500, 503.
    pub fn invite(
        &mut self,
        cx: &mut Context<'_>,
        key: ServerKey,
        message: Message,
        caller: Caller,
        target: Target,
    ) {
        if let Err(refusal) = self.begin(cx, key, &message, caller, target) {
            refuse(cx, key, &message, &refusal);
            if let Cause::Media(error) = &refusal.cause {
                self.tell(None, Event::MediaRefused(*error));
            }
            self.tell(
                None,
                Event::Refused {
                    status: refusal.status,
                    cause: refusal.cause,
                },
            );
        }
    }

    fn begin(
        &mut self,
        cx: &mut Context<'_>,
        key: ServerKey,
        message: &Message,
        caller: Caller,
        target: Target,
    ) -> Result<(), Refusal> {
        let hops = cross::hops(message).ok_or(Refusal::new(483, "Too Many Hops"))?;
        let bridge = across(&caller, &target)?;
        // The dialog must be possible before anything is done for it.
        Dialog::uas(message, "t").map_err(|_| Refusal::new(400, "Bad Request"))?;
        if !self.has_room() {
            return Err(Refusal::new(503, "Service Unavailable"));
        }
        cx.transactions
            .respond(cx.now, key, message.reply(100, "Trying", "").build());
        let range = body::description(message);
        if range.is_none() && body::carries_description(message) {
            return Err(Refusal::media(MediaError::Unreadable));
        }
        // The call's row is made first, so that media legs can name it.
        let callee_tag = self.rng.hex(8);
        let caller_tag = self.rng.hex(8);
        let cseq = 1 + self.rng.u32() % 0xffff;
        let named = self.map_references(caller.side, message);
        let named = session::asking(&named, self.interval_asked(), 0);
        let placeholder = cross::invite(&named, &target, &callee_tag, cseq, hops, Body::Same);
        let call = Call {
            call_id: Box::from(message.call_id()),
            phase: Phase::Calling,
            caller: Leg {
                side: caller.side,
                face: caller.face,
            },
            callee: Leg {
                side: target.side,
                face: target.face.clone(),
            },
            opening: Some(Box::new(Opening {
                received: message.clone(),
                sent: placeholder.clone(),
            })),
            server: key,
            client: None,
            offer: range.is_some(),
            caller_tag,
            callee_tag,
            forks: Vec::new(),
            exchanges: Vec::new(),
            unacked: Vec::new(),
            bridge,
            draft: Draft::new(message, cx.now, caller.side.is_edge()),
            timer_c: None,
            session: Session::default(),
            doubt: Doubt::default(),
            linger: None,
            open: 0,
        };
        let id = self
            .calls
            .insert(call)
            .map_err(|_| Refusal::new(503, "Service Unavailable"))?;
        let sent = self.open_outgoing(cx, id, placeholder, range.as_ref());
        if let Err(refusal) = sent {
            self.discard(cx, id);
            return Err(refusal);
        }
        self.by_server.insert(key, id);
        self.register(id);
        self.arm_timer_c(cx, id);
        self.tell(Some(id), Event::Started);
        Ok(())
    }

    /// Bridges the offer and sends the INVITE.
    fn open_outgoing(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        invite: Message,
        range: Option<&std::ops::Range<usize>>,
    ) -> Result<(), Refusal> {
        let sent = match range {
            None => invite,
            Some(range) => {
                let text = invite
                    .body()
                    .get(range.clone())
                    .unwrap_or_default()
                    .to_vec();
                let new = self
                    .bridge_offer(cx, id, End::Caller, &text)
                    .map_err(Refusal::media)?;
                Body::Replace(range, &new).put(invite)
            }
        };
        let Some(call) = self.calls.get_mut(id) else {
            return Err(super::GONE);
        };
        let face = &call.callee.face;
        let client = cx
            .transactions
            .request(cx.now, face.flow, face.reliable, &sent, &face.via)
            .map_err(super::unsent)?;
        call.client = Some(client);
        if let Some(opening) = &mut call.opening {
            opening.sent = sent;
        }
        call.open += 1;
        self.by_client.insert(client, id);
        Ok(())
    }

    /// A response of the callee to the INVITE.
    pub(super) fn invite_response(&mut self, cx: &mut Context<'_>, id: Id, response: &Message) {
        let Some(call) = self.calls.get(id) else {
            return;
        };
        match (response.status(), call.phase) {
            (100, _) => {}
            (101..=199, Phase::Calling) => self.ringing(cx, id, response),
            (101..=199, _) => {}
            (200..=299, Phase::Calling) => self.answered(cx, id, response),
            (200..=299, phase) => self.answered_again(cx, id, phase, response),
            (_, Phase::Calling) => self.rejected(cx, id, response),
            (_, _) => {}
        }
    }

    fn ringing(&mut self, cx: &mut Context<'_>, id: Id, response: &Message) {
        self.arm_timer_c(cx, id);
        let fork = self.fork_for(id, response);
        if fork.is_none() && response.to().is_ok_and(|to| to.tag().is_some()) {
            return; // one early dialog too many
        }
        // A description that cannot be bridged spoils early media, not the call.
        let body = self
            .bridged_response(cx, id, fork, response)
            .unwrap_or(Moved::Drop);
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let tag = match fork.and_then(|f| call.forks.get(f)) {
            Some(fork) => fork.caller.local_tag().to_vec(),
            None => call.caller_tag.clone().into_bytes(),
        };
        let contact = call.caller.face.contact.clone();
        let Some(opening) = &call.opening else { return };
        let invite = &opening.received;
        let out = cross::response(invite, response, &tag, &contact, body.as_body());
        call.draft.ringing(cx.now);
        let server = call.server;
        cx.transactions.respond(cx.now, server, out);
        self.tell(Some(id), Event::Ringing);
    }

    fn answered(&mut self, cx: &mut Context<'_>, id: Id, response: &Message) {
        let Some(fork) = self.fork_for(id, response) else {
            // A 2xx that makes no dialog cannot be acknowledged either.
            return self.hang_up(cx, id, EndedBy::Us, Cause::BadAnswer, 502, "Bad Gateway");
        };
        let moved = match self.bridged_response(cx, id, Some(fork), response) {
            Ok(moved) => moved,
            Err(error) => {
                self.acknowledge(cx, id, fork);
                self.tell(Some(id), Event::MediaRefused(error));
                self.settle_on(id, fork);
                let cause = Cause::Media(error);
                return self.hang_up(cx, id, EndedBy::Us, cause, 488, "Not Acceptable Here");
            }
        };
        self.settle_on(id, fork);
        self.disarm_timer_c(id);
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let Some(pair) = call.forks.get_mut(fork) else {
            return;
        };
        pair.caller.confirm();
        let Some(opening) = &call.opening else { return };
        let invite = &opening.received;
        let cseq_in = invite.cseq().map(|c| c.number).unwrap_or_default();
        let cseq_out = opening.sent.cseq().map(|c| c.number).unwrap_or_default();
        let contact = call.caller.face.contact.clone();
        let tag = pair.caller.local_tag().to_vec();
        let invite = invite.clone();
        let shown = self.session_shown(id, &invite, response);
        let out = cross::response(&invite, &shown, &tag, &contact, moved.as_body());
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let wants_answer = !call.offer && matches!(moved, Moved::New(..));
        let reliable = cx.transactions.server_reliable(call.server).unwrap_or(true);
        let server = call.server;
        let Some(client) = call.client else { return };
        call.draft.answered(cx.now);
        cx.transactions.respond(cx.now, server, out.clone());
        self.await_ack(
            cx,
            id,
            Unacked {
                server,
                client,
                from: End::Caller,
                fork,
                cseq_in,
                cseq_out,
                wants_answer,
                response: out,
                reliable,
                wait_ms: 500,
                since: cx.now.instant,
                timer: None,
            },
        );
        self.session_settled(cx, id, End::Caller, &invite, response);
        self.tell(Some(id), Event::Answered);
    }

    /// A 2xx after the first: the same once more, another fork's, or one that came after all was
    /// over.
    fn answered_again(&mut self, cx: &mut Context<'_>, id: Id, phase: Phase, response: &Message) {
        let fork = self.fork_for(id, response);
        let Some(fork) = fork else { return };
        if phase == Phase::Answered(fork) {
            return self.repeat_ack(cx, id, End::Callee, fork);
        }
        // RFC 3261 §13.2.2.4: acknowledge what cannot be used, then end it.
        let known = self
            .calls
            .get(id)
            .and_then(|c| c.forks.get(fork))
            .is_some_and(|f| f.acks.iter().any(|a| a.to == End::Callee));
        if known {
            return self.repeat_ack(cx, id, End::Callee, fork);
        }
        self.acknowledge(cx, id, fork);
        self.send_bye(cx, id, End::Callee, fork, None);
    }

    fn rejected(&mut self, cx: &mut Context<'_>, id: Id, response: &Message) {
        if self.begin_again(cx, id, response) {
            return;
        }
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let tag = call.caller_tag.clone().into_bytes();
        let contact = call.caller.face.contact.clone();
        let Some(opening) = &call.opening else { return };
        let invite = &opening.received;
        // Call control knows no flows, only clients that are away.
        let away = response.status() == 430 && call.callee.side.is_edge();
        let out = match away {
            true => {
                let (status, reason) = (480, "Temporarily Unavailable");
                invite.reply(status, reason, &call.caller_tag).build()
            }
            false => cross::response(invite, response, &tag, &contact, hidden(response)),
        };
        let server = call.server;
        cx.transactions.respond(cx.now, server, out);
        self.finish(cx, id, EndedBy::Callee, Cause::Status(response.status()));
    }

    /// No response came to the INVITE.
    pub(super) fn invite_failed(&mut self, cx: &mut Context<'_>, id: Id, why: Why) {
        let (status, reason, cause) = match why {
            Why::Timeout => (408, "Request Timeout", Cause::Timeout),
            Why::FlowDown => (480, "Temporarily Unavailable", Cause::FlowDown),
        };
        self.hang_up(cx, id, EndedBy::Us, cause, status, reason);
    }

    /// The fork a response of the callee belongs to, made if it is new and there is room.
    fn fork_for(&mut self, id: Id, response: &Message) -> Option<usize> {
        let limit = self.settings.forks_max;
        let call = self.calls.get_mut(id)?;
        let tag = response.to().ok()?.tag()?.to_vec();
        if let Some(fork) = call.forks.iter().position(|f| f.callee.remote_tag() == tag) {
            if let Some(pair) = call.forks.get_mut(fork) {
                pair.callee.answered(response);
            }
            return Some(fork);
        }
        if call.forks.len() >= limit {
            return None;
        }
        let local = if call.forks.is_empty() {
            call.caller_tag.clone()
        } else {
            self.rng.hex(8)
        };
        let opening = call.opening.as_ref()?;
        let callee = Dialog::uac(&opening.sent, response).ok()?;
        let caller = Dialog::uas(&opening.received, &local).ok()?;
        call.forks.push(Fork {
            caller,
            callee,
            acks: Vec::new(),
            lost: false,
            answer: None,
        });
        let key = call.key(End::Caller, local.as_bytes());
        let fork = call.forks.len() - 1;
        self.legs.insert(key, id);
        Some(fork)
    }

    /// The description of a response to the INVITE, as the caller gets it.
    fn bridged_response(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        fork: Option<usize>,
        response: &Message,
    ) -> Result<Moved, MediaError> {
        let Some(call) = self.calls.get_mut(id) else {
            return Ok(Moved::Same);
        };
        let (answers, settled) = (call.offer, call.bridge.is_settled());
        let pair = fork.and_then(|fork| call.forks.get_mut(fork));
        let range = body::description(response);
        if let (true, Some(range), Some(pair)) = (answers, &range, pair) {
            pair.answer = response.body().get(range.clone()).map(Box::from);
        }
        if answers && range.is_none() && response.status() >= 200 {
            self.heard_again(cx, id, fork);
        }
        if settled && !answers && body::carries_description(response) {
            return Ok(Moved::Drop); // its offer once more, answered in a PRACK
        }
        match self.bridge_body(cx, id, End::Callee, response, answers) {
            // Offer and answer were exchanged before, and perhaps others since.
            Err(_) if settled => Ok(Moved::Drop),
            Ok(_) if answers && response.status() >= 200 && self.is_pending(id) => {
                Err(MediaError::NoAnswer)
            }
            moved => moved,
        }
    }

    /// A 2xx without a description stands by what its early dialog has answered; another one may
    /// have been heard since.
    fn heard_again(&mut self, cx: &mut Context<'_>, id: Id, fork: Option<usize>) {
        let call = self.calls.get(id);
        let pair = call.and_then(|call| call.forks.get(fork?));
        let Some(answer) = pair.and_then(|pair| pair.answer.clone()) else {
            return;
        };
        // Since then an UPDATE may have agreed on something else: then this fits nothing.
        let _ = self.bridge_answer(cx, id, End::Callee, &answer, false);
    }

    /// One fork has won.
    fn settle_on(&mut self, id: Id, fork: usize) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        call.phase = Phase::Answered(fork);
        for (i, pair) in call.forks.iter_mut().enumerate() {
            pair.lost = i != fork;
            pair.answer = None;
        }
    }

    fn register(&mut self, id: Id) {
        let Some(call) = self.calls.get(id) else {
            return;
        };
        for key in call.keys() {
            self.legs.insert(key, id);
        }
    }

    fn arm_timer_c(&mut self, cx: &Context<'_>, id: Id) {
        self.disarm_timer_c(id);
        let at = cx.now.instant + self.settings.timer_c;
        if let Some(call) = self.calls.get_mut(id) {
            call.timer_c = Some(self.timers.arm(at, Tick::TimerC(id)));
        }
    }

    pub(super) fn disarm_timer_c(&mut self, id: Id) {
        let timer = self.calls.get_mut(id).and_then(|c| c.timer_c.take());
        if let Some(timer) = timer {
            self.timers.disarm(timer);
        }
    }

    /// The callee rings for ever.
    pub(super) fn timer_c(&mut self, cx: &mut Context<'_>, id: Id) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        call.timer_c = None;
        if call.phase == Phase::Calling {
            self.hang_up(cx, id, EndedBy::Us, Cause::Timeout, 408, "Request Timeout");
        }
    }
}

/// What leads from one side to the other.
fn across(caller: &Caller, target: &Target) -> Result<Bridge, Refusal> {
    let inside = |face: &Face| (face.encryption, face.ice);
    match (caller.side, target.side) {
        (Side::Edge { link }, Side::Inside) => {
            let first = First::Edge(link);
            Ok(Bridge::new(End::Caller, first, inside(&target.face)))
        }
        (Side::Inside, Side::Edge { link }) => {
            let first = First::Edge(link);
            Ok(Bridge::new(End::Callee, first, inside(&caller.face)))
        }
        (Side::Inside, Side::Inside) => {
            let first = First::Inside(caller.face.encryption);
            let other = (target.face.encryption, Ice::Remove);
            Ok(Bridge::new(End::Caller, first, other))
        }
        (Side::Edge { .. }, Side::Edge { .. }) => Err(Refusal::new(500, "No Way Across")),
    }
}

/// What becomes of a body on its way across.
pub(super) enum Moved {
    Same,
    Drop,
    New(std::ops::Range<usize>, Vec<u8>),
}

impl Moved {
    pub(super) fn as_body(&self) -> Body<'_> {
        match self {
            Moved::Same => Body::Same,
            Moved::Drop => Body::Drop,
            Moved::New(range, new) => Body::Replace(range, new),
        }
    }
}

/// Reason header (RFC 3326) for what we end ourselves.
pub(super) fn reason(status: u16, text: &str) -> Vec<u8> {
    format!("SIP;cause={status};text=\"{text}\"").into_bytes()
}

/// The Reason of a message, to be carried on.
pub(super) fn reason_of(message: &Message) -> Option<Vec<u8>> {
    message.header(Name::Reason).map(<[u8]>::to_vec)
}
