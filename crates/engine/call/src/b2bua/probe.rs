//! Whether both ends of a silent call still know it: OPTIONS within the dialog (RFC 3261 §12.2).
//!
//! An end that has lost its connection, or its memory, sends no BYE. Silence, 408, 481 (RFC 5057
//! §5.1) and 430 end the call; any other answer is a sign of life.

use base::Id;
use sip::Method;

use super::call::{End, Exchange, Phase};
use super::{B2bua, CallId, Cause, Context, EndedBy};

impl B2bua {
    /// Asks both ends of a call that has been answered. A call that is being asked already, and
    /// one that is busy with other requests, is left alone.
    pub fn probe(&mut self, cx: &mut Context<'_>, call: CallId) {
        let limit = self.settings.exchanges_max;
        let Some(row) = self.calls.get(call.0) else {
            return;
        };
        let Phase::Answered(fork) = row.phase else {
            return;
        };
        let asked = |e: &Exchange| e.server.is_none() && e.method == Method::Options;
        if row.exchanges.iter().any(asked) || row.exchanges.len() + 2 > limit {
            return;
        }
        for end in [End::Caller, End::Callee] {
            self.ask(cx, call.0, end, fork);
        }
    }

    /// Asks one end, unless it is being asked.
    pub(super) fn ask_once(&mut self, cx: &mut Context<'_>, id: Id, to: End, fork: usize) {
        let asked = |e: &Exchange| {
            e.server.is_none() && e.method == Method::Options && e.from == to.other()
        };
        let call = self.calls.get(id);
        if call.is_some_and(|call| !call.exchanges.iter().any(asked)) {
            self.ask(cx, id, to, fork);
        }
    }

    /// Calls that have been answered and whose client sends nothing by agreement: of its silence
    /// the media workers have nothing to tell.
    pub fn held(&self) -> Vec<CallId> {
        let held = |call: &super::call::Call| {
            matches!(call.phase, Phase::Answered(_)) && call.bridge.is_held()
        };
        let held = self.calls.iter().filter(|(_, call)| held(call));
        held.map(|(id, _)| CallId(id)).collect()
    }

    fn ask(&mut self, cx: &mut Context<'_>, id: Id, to: End, fork: usize) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        let face = call.leg(to).face.clone();
        let Some(pair) = call.forks.get_mut(fork) else {
            return;
        };
        let dialog = pair.dialog_mut(to);
        let request = dialog.request(b"OPTIONS").build();
        let cseq = dialog.last_cseq();
        let sent = cx
            .transactions
            .request(cx.now, face.flow, face.reliable, &request, &face.via);
        let Ok(client) = sent else { return };
        call.open += 1;
        call.exchanges.push(Exchange {
            server: None,
            client,
            from: to.other(),
            fork,
            request,
            method: Method::Options,
            offer: false,
            cseq,
        });
        self.by_client.insert(client, id);
    }

    /// An end has answered; `None` for not at all.
    pub(super) fn probed(&mut self, cx: &mut Context<'_>, id: Id, status: Option<u16>) {
        let cause = match status {
            // 430: the edge has lost the client's connection (RFC 5626 §5.3).
            Some(status @ (408 | 430 | 481)) => Cause::Status(status),
            None => Cause::Timeout,
            Some(_) => return,
        };
        let answered = |c: &super::call::Call| matches!(c.phase, Phase::Answered(_));
        if self.calls.get(id).is_some_and(answered) {
            self.hang_up(cx, id, EndedBy::Us, cause, 500, "Call Gone");
        }
    }
}
