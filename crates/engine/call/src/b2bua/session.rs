//! Session timers (RFC 4028): negotiated end to end, watched here. If neither end refreshes, the
//! call is ended, so that a lost pair of ends leaves nothing behind.

use base::Id;
use sip::Message;
use sip::dialog::SessionInterval;

use super::call::Tick;
use super::{B2bua, Cause, Context, EndedBy};

impl B2bua {
    /// A 2xx to an INVITE or UPDATE settles the interval, or that there is none.
    pub(super) fn session_settled(&mut self, cx: &Context<'_>, id: Id, response: &Message) {
        let Some(call) = self.calls.get_mut(id) else {
            return;
        };
        if let Some(timer) = call.session.take() {
            self.timers.disarm(timer);
        }
        let Some(interval) = SessionInterval::read(response) else {
            return;
        };
        let length = std::time::Duration::from_secs(interval.seconds.into());
        let at = cx.now.instant + length + self.settings.session_grace;
        call.session = Some(self.timers.arm(at, Tick::Session(id)));
    }

    pub(super) fn session_expired(&mut self, cx: &mut Context<'_>, id: Id) {
        if let Some(call) = self.calls.get_mut(id) {
            call.session = None;
        }
        self.hang_up(
            cx,
            id,
            EndedBy::Us,
            Cause::SessionExpired,
            408,
            "Session Expired",
        );
    }
}
