//! Requests of our own within the dialogs of a call: refreshes, questions, BYE; and what becomes of
//! the call where one of the former two meets nobody.
//!
//! A client that changes its connection, or its edge, is away for some seconds: its edge answers
//! 430 (RFC 5626 §5.3) until it has registered anew, and what is on the old way runs out as 408.
//! So the end is asked once more, and the call is over when that meets nobody either, [`DOUBT`] or
//! more after the first. What an end sends or answers meanwhile is a sign of life; 481 is final
//! (RFC 5057 §5.1). Once the core has seen the client move, what is on its old way counts no more.
//!
//! So it is with what the other party asked of a client: where that meets nobody, the asker is told
//! 500 with a time to wait, for 408 would end the dialog (RFC 3261 §12.2.1.2), and the client is
//! asked. What is out when the client moves goes out anew if it changes the session, which is the
//! same twice; anything else the client may have got already, and the asker is told the same 500.
//! Bounds: a time for each end, one timer a call.

use std::time::Duration;

use base::{Id, Instant, TimerId};
use sip::{Message, Method, Name};

use super::call::{Call, End, Exchange, Phase, Tick};
use super::session::is_refresh;
use super::{B2bua, Cause, Context, EndedBy, Refusal, refuse};

/// From the first time that an end is not met to the next question, whose answer counts.
const DOUBT: Duration = Duration::from_secs(40);

/// The client is away for some seconds. Not 408 or 481, which say more.
pub(super) const AWAY: Refusal = Refusal {
    status: 500,
    reason: "Client Is Moving",
    cause: Cause::Status(500),
};

/// Which ends were not met, and since when.
#[derive(Default)]
pub(super) struct Doubt {
    since: [Option<Instant>; 2],
    timer: Option<TimerId>,
}

impl Doubt {
    /// The timer, to be disarmed.
    pub(super) fn stop(&mut self) -> Option<TimerId> {
        self.timer.take()
    }

    /// An end is there.
    pub(super) fn met(&mut self, end: End) {
        self.since[end as usize] = None;
    }
}

impl B2bua {
    /// Sends a request of our own to an end; false if it cannot be.
    #[expect(
        clippy::too_many_arguments,
        reason = "the whole of what a request of ours is"
    )]
    pub(super) fn send_own(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        to: End,
        fork: usize,
        (method, word): (Method, &[u8]),
        fields: &[(Name, &[u8])],
        offer: Option<Vec<u8>>,
    ) -> bool {
        let Some(call) = self.calls.get_mut(id) else {
            return false;
        };
        let face = call.leg(to).face.clone();
        let Some(pair) = call.forks.get_mut(fork) else {
            return false;
        };
        let dialog = pair.dialog_mut(to);
        let mut request = dialog.request(word);
        let cseq = dialog.last_cseq();
        for (name, value) in fields {
            request = request.header(*name, value);
        }
        let offers = offer.is_some();
        if let Some(text) = offer {
            request = request.body(b"application/sdp", text);
        }
        let request = request.build();
        let sent = cx
            .transactions
            .request(cx.now, face.flow, face.reliable, &request, &face.via);
        let Ok(client) = sent else { return false };
        call.open += 1;
        call.exchanges.push(Exchange {
            server: None,
            client,
            from: to.other(),
            fork,
            request,
            method,
            offer: offers,
            cseq,
            cancelled: false,
        });
        self.by_client.insert(client, id);
        true
    }

    /// A refresh or question met nobody. The first time, the end is asked again in a while; false
    /// if the call is over for it.
    pub(super) fn doubted(&mut self, cx: &mut Context<'_>, id: Id, end: End, cause: Cause) -> bool {
        let now = cx.now.instant;
        let Some(call) = self.calls.get_mut(id) else {
            return false;
        };
        if !matches!(call.phase, Phase::Answered(_)) {
            return false;
        }
        match call.doubt.since[end as usize] {
            Some(since) if now.since(since) >= DOUBT => {
                self.hang_up(cx, id, EndedBy::Us, cause, 500, "Call Gone");
                return false;
            }
            Some(_) | None => self.doubt(cx, id, end),
        }
        true
    }

    /// An end was not met: it is asked in a while, and that decides.
    fn doubt(&mut self, cx: &Context<'_>, id: Id, end: End) {
        let now = cx.now.instant;
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        call.doubt.since[end as usize].get_or_insert(now);
        if call.doubt.timer.is_none() {
            call.doubt.timer = Some(self.timers.arm(now + DOUBT, Tick::Doubt(id)));
        }
    }

    /// What the other party asked of a client met nobody. Gives whether the client may be back, by
    /// another way, so that the asker is not to hear that it is gone.
    pub(super) fn client_missed(
        &mut self,
        cx: &Context<'_>,
        id: Id,
        (to, fork): (End, usize),
        method: Method,
    ) -> bool {
        let stands = self
            .calls
            .get(id)
            .is_some_and(|call| call.phase == Phase::Answered(fork) && call.leg(to).side.is_edge());
        let missed = stands && method != Method::Bye;
        if missed {
            self.doubt(cx, id, to);
        }
        missed
    }

    /// An end that was not met is asked once more.
    pub(super) fn doubt_due(&mut self, cx: &mut Context<'_>, id: Id) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        call.doubt.timer = None;
        let (phase, since) = (call.phase, call.doubt.since);
        let Phase::Answered(fork) = phase else { return };
        for end in [End::Caller, End::Callee] {
            if since[end as usize].is_some() {
                self.ask_once(cx, id, end, fork);
            }
        }
    }

    /// The client at an end has another way: what is out on its old one counts no more. A refresh
    /// of ours, and what the other party changes, is sent anew.
    pub(super) fn forsake(&mut self, cx: &mut Context<'_>, id: Id, end: End) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        call.doubt.met(end);
        let out = |e: &Exchange| e.from == end.other() && e.method != Method::Bye;
        let (gone, stay): (Vec<_>, Vec<_>) = call.exchanges.drain(..).partition(out);
        call.exchanges = stay;
        if gone.iter().any(|e| e.offer || e.method == Method::Invite) {
            self.roll_back(cx, id);
        }
        if gone.iter().any(is_refresh) {
            self.refresh_again(cx, id, Duration::ZERO);
        }
        for exchange in gone {
            self.ask_anew(cx, id, &exchange);
        }
    }

    /// A request that was refused goes out once more.
    pub(super) fn ask_anew_at(&mut self, cx: &mut Context<'_>, id: Id, at: usize) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let old = call.exchanges.swap_remove(at);
        if old.offer {
            self.roll_back(cx, id);
        }
        self.ask_anew(cx, id, &old);
    }

    /// A request of the other party's goes out once more, or is answered.
    fn ask_anew(&mut self, cx: &mut Context<'_>, id: Id, old: &Exchange) {
        let Some(key) = old.server else { return };
        let (from, fork, request) = (old.from, old.fork, &old.request);
        let sent = match old.method {
            _ if old.cancelled => Err(Refusal::new(487, "Request Terminated")),
            Method::Invite => self.reinvite(cx, id, from, fork, key, request),
            Method::Update => self.update(cx, id, from, fork, key, request),
            _ => Err(AWAY),
        };
        if let Err(refusal) = sent {
            refuse(cx, key, request, &refusal);
        }
    }

    /// A 2xx to an INVITE of ours that counts no more: the end waits for its ACK all the same
    /// (RFC 3261 §13.2.2.4).
    pub(super) fn acknowledge_forsaken(cx: &mut Context<'_>, call: &Call, response: &Message) {
        let Phase::Answered(fork) = call.phase else {
            return;
        };
        let from = response.from();
        let tag = from.as_ref().ok().and_then(sip::NameAddr::tag);
        let (Some(pair), Some(tag), Ok(cseq)) = (call.forks.get(fork), tag, response.cseq()) else {
            return;
        };
        if !(200..300).contains(&response.status()) || cseq.method != b"INVITE" {
            return;
        }
        for end in [End::Caller, End::Callee] {
            let dialog = pair.dialog(end);
            if dialog.local_tag() == tag {
                let face = &call.leg(end).face;
                let ack = dialog.ack(cseq.number).build();
                cx.transactions.send(face.flow, &ack, &face.via);
            }
        }
    }
}
