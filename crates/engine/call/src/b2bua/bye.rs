//! BYE from either end.

use base::Id;
use sip::Message;
use sip::transaction::ServerKey;

use super::body::Body;
use super::call::{End, Phase};
use super::invite::reason_of;
use super::{B2bua, Cause, Context, EndedBy, GONE, Refusal};

impl B2bua {
    /// Carries the BYE across and ends the call at once; the other end's response goes back, for
    /// it may carry figures that phones want.
    pub(super) fn bye(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        from: End,
        fork: usize,
        key: ServerKey,
        message: &Message,
    ) -> Result<(), Refusal> {
        let phase = self.calls.get(id).ok_or(GONE)?.phase;
        // A BYE that cannot be carried across ends the call no less; its sender is answered.
        let carried = self.carry(cx, id, from, fork, key, message, message, Body::Same, false);
        if carried.is_err() {
            let why = reason_of(message);
            self.send_bye(cx, id, from.other(), fork, why.as_deref());
        }
        match phase {
            // RFC 3261 §15: a caller may end one early dialog; the INVITE goes on in the others.
            Phase::Calling if self.early_dialogs(id) > 1 => {}
            Phase::Calling => {
                self.give_up(cx, id, 487, "Request Terminated", None);
                self.finish(cx, id, ended_by(from), Cause::Hangup);
            }
            Phase::Answered(answered) if answered != fork => {}
            _ => self.finish(cx, id, ended_by(from), Cause::Hangup),
        }
        match carried {
            Ok(()) => Ok(()),
            Err(_) => Err(Refusal::new(200, "OK")),
        }
    }

    fn early_dialogs(&self, id: Id) -> usize {
        self.calls.get(id).map_or(0, |call| call.forks.len())
    }
}

fn ended_by(end: End) -> EndedBy {
    match end {
        End::Caller => EndedBy::Caller,
        End::Callee => EndedBy::Callee,
    }
}
