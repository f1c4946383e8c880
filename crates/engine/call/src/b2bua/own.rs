//! Requests of our own within the dialogs of a call: refreshes, questions, BYE; and what becomes of
//! the call where one of the former two meets nobody.
//!
//! A client that changes its connection, or its edge, is away for some seconds: its edge answers
//! 430 (RFC 5626 §5.3) until it has registered anew, and what is on the old way runs out as 408.
//! So the end is asked once more, and the call is over when that meets nobody either, [`DOUBT`] or
//! more after the first. What an end sends or answers meanwhile is a sign of life; 481 is final
//! (RFC 5057 §5.1). Once the core has seen the client move, what is on its old way counts no more.
//! Bounds: a time for each end, one timer a call.

use std::time::Duration;

use base::{Id, Instant, TimerId};
use sip::{Message, Method, Name};

use super::call::{Call, End, Exchange, Phase, Tick};
use super::session::is_refresh;
use super::{B2bua, Cause, Context, EndedBy};

/// From the first time that an end is not met to the next question, whose answer counts.
const DOUBT: Duration = Duration::from_secs(40);

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
            Some(_) => {}
            None => call.doubt.since[end as usize] = Some(now),
        }
        if call.doubt.timer.is_none() {
            call.doubt.timer = Some(self.timers.arm(now + DOUBT, Tick::Doubt(id)));
        }
        true
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

    /// The client at an end has another way: what is out on its old one counts no more, and a
    /// refresh is sent anew.
    pub(super) fn forsake(&mut self, cx: &mut Context<'_>, id: Id, end: End) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        call.doubt.met(end);
        let out = |e: &Exchange| {
            let asks = e.method == Method::Options && e.server.is_none();
            e.from == end.other() && (asks || is_refresh(e))
        };
        let refreshes = |e: &Exchange| out(e) && is_refresh(e);
        let refresh = call.exchanges.iter().any(refreshes);
        let offer = call.exchanges.iter().any(|e| out(e) && e.offer);
        call.exchanges.retain(|e| !out(e));
        if offer {
            self.roll_back(cx, id);
        }
        if refresh {
            self.refresh_again(cx, id, Duration::ZERO);
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
