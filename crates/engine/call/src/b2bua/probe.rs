//! Whether both ends of a silent call still know it: OPTIONS within the dialog (RFC 3261 §12.2).
//!
//! An end that has lost its connection, or its memory, sends no BYE. 481 (RFC 5057 §5.1) ends the
//! call; silence, 408 and 430 do where a second question meets the same (`own.rs`); any other
//! answer is a sign of life.

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
        let options = (Method::Options, &b"OPTIONS"[..]);
        self.send_own(cx, id, to, fork, options, &[], None);
    }

    /// An end has answered; `None` for not at all.
    pub(super) fn probed(&mut self, cx: &mut Context<'_>, id: Id, end: End, status: Option<u16>) {
        let answered = |c: &super::call::Call| matches!(c.phase, Phase::Answered(_));
        if !self.calls.get(id).is_some_and(answered) {
            return;
        }
        match status {
            None => drop(self.doubted(cx, id, end, Cause::Timeout)),
            // 430: the edge has lost the client's connection (RFC 5626 §5.3).
            Some(status @ (408 | 430)) => drop(self.doubted(cx, id, end, Cause::Status(status))),
            Some(status @ 481) => {
                let cause = Cause::Status(status);
                self.hang_up(cx, id, EndedBy::Us, cause, 500, "Call Gone");
            }
            Some(_) => {}
        }
    }
}
