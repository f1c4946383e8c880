//! CANCEL of an INVITE that has no final answer, and of a re-INVITE.

use base::Id;
use sip::Message;
use sip::transaction::ServerKey;

use super::call::Phase;
use super::invite::reason_of;
use super::{B2bua, Cause, Context, EndedBy};

impl B2bua {
    /// The layer below has answered the CANCEL. The first INVITE is answered 487 at once and a
    /// 2xx that crosses the CANCEL is acknowledged and ended; a re-INVITE is left to the other
    /// end, whose answer goes back, so that both ends agree on what became of it.
    pub(super) fn cancelled(
        &mut self,
        cx: &mut Context<'_>,
        id: Id,
        key: ServerKey,
        cancel: &Message,
    ) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let reason = reason_of(cancel);
        if call.server == key {
            if call.phase == Phase::Calling {
                self.give_up(cx, id, 487, "Request Terminated", reason.as_deref());
                self.finish(cx, id, EndedBy::Caller, Cause::Cancelled);
            }
            return;
        }
        let mut exchanges = call.exchanges.iter_mut();
        if let Some(exchange) = exchanges.find(|e| e.server == Some(key)) {
            exchange.cancelled = true;
            cx.transactions
                .cancel_because(cx.now, exchange.client, reason.as_deref());
        }
    }
}
