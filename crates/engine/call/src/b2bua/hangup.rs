//! The end of a call: answers that are owed, BYEs of our own, media released, the record.

use std::time::Duration;

use base::Id;
use sip::transaction::{ClientKey, ServerKey};
use sip::{Message, Method, Name};

use super::call::{Call, End, Phase, Tick};
use super::invite::reason;
use super::{B2bua, CallId, Cause, Context, EndedBy, Event, Output};

/// How long a record waits for the last figures of its media.
const FIGURES_WAIT: Duration = Duration::from_secs(2);

impl B2bua {
    /// Ends a call from our side: an unanswered INVITE gets `status`, an answered call a BYE
    /// towards both ends.
    pub(super) fn hang_up(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        by: EndedBy,
        cause: Cause,
        status: u16,
        text: &str,
    ) {
        let Some(call) = self.calls.get(id) else {
            return;
        };
        let why = reason(status, text);
        match call.phase {
            Phase::Ending => return,
            Phase::Calling => self.give_up(cx, id, status, text, Some(&why)),
            Phase::Answered(fork) => {
                // An INVITE that we could not pass on as answered is still owed its answer; the
                // layer below ignores this one if a 2xx went out.
                let owed = call.draft.answer.is_none();
                if owed {
                    self.give_up(cx, id, status, text, Some(&why));
                } else {
                    self.send_bye(cx, id, End::Caller, fork, Some(&why));
                }
                self.send_bye(cx, id, End::Callee, fork, Some(&why));
            }
        }
        self.finish(cx, id, by, cause);
    }

    /// Answers the INVITE with a failure and cancels it on the other leg.
    pub(super) fn give_up(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        status: u16,
        text: &str,
        why: Option<&[u8]>,
    ) {
        let Some(call) = self.calls.get(id) else {
            return;
        };
        if let Some(opening) = &call.opening {
            let answer = opening.received.reply(status, text, &call.caller_tag);
            cx.transactions.respond(cx.now, call.server, answer.build());
        }
        if let Some(client) = call.client {
            cx.transactions.cancel_because(cx.now, client, why);
        }
    }

    /// Sends a BYE of our own to one end.
    pub(super) fn send_bye(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        to: End,
        fork: usize,
        why: Option<&[u8]>,
    ) {
        let why = why.map(|why| (Name::Reason, why));
        let bye = (Method::Bye, &b"BYE"[..]);
        self.send_own(cx, id, to, fork, bye, why.as_slice(), None);
    }

    /// The call is over: what is owed is answered, media is released. The row stays until what
    /// is under way has run out.
    pub(super) fn finish(&mut self, cx: &mut Context<'_>, id: Id, by: EndedBy, cause: Cause) {
        self.disarm_timer_c(id);
        self.forget_acks(id);
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        if call.phase == Phase::Ending {
            return;
        }
        call.phase = Phase::Ending;
        self.over += 1;
        self.over_since.push_back(id);
        call.draft.ended(cx.now, by, cause.clone());
        for timer in [call.session.stop(), call.doubt.stop()]
            .into_iter()
            .flatten()
        {
            self.timers.disarm(timer);
        }
        // INVITEs within the dialog die with it (RFC 3261 §15.1.2).
        let owed: Vec<(ServerKey, Message)> = call
            .exchanges
            .iter()
            .filter(|e| e.method == Method::Invite)
            .filter_map(|e| Some((e.server?, e.request.clone())))
            .collect();
        for (server, request) in owed {
            let answer = request.reply(487, "Request Terminated", "").build();
            cx.transactions.respond(cx.now, server, answer);
        }
        self.release_media(cx, id);
        let at = cx.now.instant + FIGURES_WAIT;
        if let Some(call) = self.calls.get_mut(id) {
            call.linger = Some(self.timers.arm(at, Tick::Linger(id)));
        }
        self.tell(Some(id), Event::Ended { by, cause });
        self.settle_record(id);
        self.drop_finished(id);
    }

    /// The last figures are in, or late: the record goes out.
    pub(super) fn settle_record(&mut self, id: Id) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        if call.phase != Phase::Ending || call.bridge.awaits_figures() {
            return;
        }
        if let Some(timer) = call.linger.take() {
            self.timers.disarm(timer);
        }
        if let Some(record) = call.draft.take(CallId(id), &call.bridge) {
            let _ = self.out.push(Output::Record(Box::new(record)));
        }
        self.drop_finished(id);
    }

    pub(super) fn lingered(&mut self, id: Id) {
        let (calls, studio) = (&mut self.calls, &mut self.studio);
        let Some(call) = calls.get_mut(id) else {
            return;
        };
        call.linger = None;
        call.bridge.forgo_figures(studio);
        self.settle_record(id);
    }

    /// A client transaction's row is gone: no response to it comes any more.
    pub(super) fn closed(&mut self, id: Id, key: ClientKey) {
        if let Some(call) = self.calls.get_mut(id) {
            call.open = call.open.saturating_sub(1);
            call.forget_transaction(key);
        }
        self.drop_finished(id);
    }

    /// A server transaction's row is gone.
    pub(super) fn ended(&mut self, cx: &mut Context<'_>, id: Id, key: ServerKey) {
        let Some(call) = self.calls.get(id) else {
            return;
        };
        if call.server == key && call.phase == Phase::Calling {
            // The caller's connection is gone, or its patience.
            self.hang_up(
                cx,
                id,
                EndedBy::Caller,
                Cause::FlowDown,
                487,
                "Request Terminated",
            );
        }
    }

    /// Whether there is room for one more call, which the oldest that is over may have to make.
    pub(super) fn has_room(&mut self) -> bool {
        if self.calls.len().saturating_sub(self.over) >= self.settings.calls_max {
            return false;
        }
        // A row named here may have another tenant by now, but not by the same id.
        let over = |call: &Call| call.phase == Phase::Ending;
        while let Some(&id) = self.over_since.front() {
            let stays = self.calls.get(id).is_some_and(over);
            if stays && !self.calls.is_full() {
                break;
            }
            self.over_since.pop_front();
            base::tighten(&mut self.over_since);
            if stays {
                self.lingered(id);
                self.forget(id);
            }
        }
        !self.calls.is_full()
    }

    fn drop_finished(&mut self, id: Id) {
        let done = self.calls.get(id).is_some_and(|call| {
            call.phase == Phase::Ending && call.open == 0 && call.draft.is_taken()
        });
        if done {
            self.forget(id);
        }
    }

    /// Takes a call that never went out off the tables.
    pub(super) fn discard(&mut self, cx: &mut Context<'_>, id: Id) {
        self.release_media(cx, id);
        if let Some(call) = self.calls.get_mut(id) {
            call.bridge.forgo_figures(&mut self.studio);
        }
        self.forget(id);
    }

    fn forget(&mut self, id: Id) {
        let Some(mut call) = self.calls.remove(id) else {
            return;
        };
        if call.phase == Phase::Ending {
            self.over = self.over.saturating_sub(1);
        }
        for key in call.keys() {
            if self.legs.get(&key) == Some(&id) {
                self.legs.remove(&key);
            }
        }
        let session = [call.session.stop(), call.doubt.stop()];
        let timers = [call.timer_c, call.linger].into_iter().chain(session);
        let resends = call.unacked.iter().map(|u| u.timer);
        for timer in timers.chain(resends).flatten() {
            self.timers.disarm(timer);
        }
    }
}
