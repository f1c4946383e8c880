//! What keeps a call alive and changes it besides INVITE: UPDATE (RFC 3311), session timers
//! (RFC 4028), DTMF in INFO, and REFER (RFC 3515, RFC 3891).

use super::{Phase, SECOND, Tick, Ua};
use crate::description::{Audio, Direction};
use crate::text::Text;

/// The interval of a session that is refreshed.
pub(super) const INTERVAL: u64 = 90;

impl Ua {
    /// Sends an UPDATE: with another direction for the audio, or for the session timer alone.
    /// False if it cannot be now.
    pub fn update(&mut self, now: u64, i: usize, direction: Option<Direction>) -> bool {
        let contact = self.contact();
        let Some(call) = self.calls.get_mut(i) else {
            return false;
        };
        if call.phase != Phase::Up || call.change.is_some() || call.owed.is_some() || call.updates {
            return false;
        }
        if let Some(direction) = direction {
            call.media.offer(now, direction);
            call.change = Some(direction);
        }
        let timer = call.session.is_some();
        let Some(dialog) = &mut call.dialog else {
            return false;
        };
        let mut request = dialog.request("UPDATE").with("Contact", contact);
        if timer {
            request = with_timer(request);
        }
        if direction.is_some() {
            request = request.with_body("application/sdp", call.media.describe());
        }
        call.updates = true;
        self.send(now, request, Some(i), false);
        true
    }

    /// The final answer to an UPDATE of ours.
    pub(super) fn updated(&mut self, now: u64, i: usize, text: &Text, status: u16) {
        let call = &mut self.calls[i];
        call.updates = false;
        match status {
            200..=299 => {
                let theirs = Audio::read(&text.body);
                if let (Some(_), Some(theirs)) = (call.change, theirs) {
                    call.change = None;
                    call.changes += 1;
                    call.media.theirs(now, &theirs);
                }
            }
            _ if call.change.is_some() => self.change_refused(now, i, status),
            481 | 408 => self.end(i, &status.to_string()),
            _ => {}
        }
    }

    /// An UPDATE of the other side.
    pub(super) fn update_asked(&mut self, now: u64, i: usize, text: &Text) {
        let (contact, encrypted) = (self.contact(), self.setup.encrypted);
        let ignorant = self.manner.ignorant;
        let call = &mut self.calls[i];
        let offers = !text.body.is_empty();
        let busy = call.change.is_some() || call.owed.is_some() || call.phase == Phase::Answered;
        if offers && busy {
            return self.reply(Text::response(text, 491, "Request Pending", ""));
        }
        let mut response = Text::response(text, 200, "OK", "").with("Contact", contact);
        if text.get("Session-Expires").is_some() && !ignorant {
            response = response
                .with("Session-Expires", text.field("Session-Expires"))
                .with("Require", "timer");
        }
        if offers {
            let theirs = Audio::read(&text.body).filter(|a| a.key.is_some() == encrypted);
            let Some(theirs) = theirs else {
                self.find("an UPDATE without audio, or with the wrong kind");
                return self.reply(Text::response(text, 488, "Not Acceptable Here", ""));
            };
            call.media.answer_to(now, &theirs);
            response = response.with_body("application/sdp", call.media.describe());
        }
        self.refreshed(now, i);
        self.reply(response);
    }

    /// A call with a session timer is up: who called refreshes it.
    pub(super) fn session_begins(&mut self, now: u64, i: usize) {
        let call = &mut self.calls[i];
        if call.session.is_none() {
            call.session = Some(now);
            self.arm(now + INTERVAL / 2 * SECOND, Tick::Session(i));
        }
    }

    pub(super) fn refreshed(&mut self, now: u64, i: usize) {
        if let Some(at) = &mut self.calls[i].session {
            *at = now;
        }
    }

    pub(super) fn session_due(&mut self, now: u64, i: usize) {
        let call = &self.calls[i];
        let (Some(last), Phase::Up) = (call.session, call.phase) else {
            return;
        };
        if !call.outgoing {
            if now >= last + INTERVAL * SECOND {
                return self.send_bye(now, i, "session expired");
            }
            return self.arm(last + INTERVAL * SECOND, Tick::Session(i));
        }
        let direction = call.media.direction;
        let done = match self.manner.update {
            true => self.update(now, i, None),
            false => self.change(now, i, direction),
        };
        let wait = if done { INTERVAL / 2 } else { 2 };
        self.arm(now + wait * SECOND, Tick::Session(i));
    }

    /// Presses a key: DTMF in INFO.
    pub fn press(&mut self, now: u64, i: usize, key: char) -> bool {
        let number = self.setup.number.clone();
        let Some(call) = self.calls.get_mut(i).filter(|c| c.phase == Phase::Up) else {
            return false;
        };
        let Some(dialog) = &mut call.dialog else {
            return false;
        };
        let body = format!("Signal={key}\r\nDuration=160\r\nFrom={number}\r\n");
        let info = dialog
            .request("INFO")
            .with_body("application/dtmf-relay", body);
        self.send(now, info, Some(i), false);
        true
    }

    pub(super) fn pressed(&mut self, now: u64, i: usize, text: &Text) {
        let call = &mut self.calls[i];
        call.keys += 1;
        let from = text.body.split("From=").nth(1).unwrap_or("").trim();
        if !call.is_with(now, from) {
            let what = format!("a key of {from} in the call with {}", call.peer);
            self.find(what);
        }
        self.reply(Text::response(text, 200, "OK", ""));
    }

    /// Sends the other side of a call to a number, without asking there first.
    pub fn transfer(&mut self, now: u64, i: usize, number: &str) -> bool {
        let to = format!("<sip:{number}@{}>", self.setup.domain);
        self.refer(now, i, to)
    }

    /// Connects the other sides of two calls.
    pub fn connect_calls(&mut self, now: u64, i: usize, j: usize) -> bool {
        let Some(other) = self.calls.get(j).filter(|c| c.phase == Phase::Up) else {
            return false;
        };
        let Some(dialog) = &other.dialog else {
            return false;
        };
        let tag = |v: &str| Text::tag(v).unwrap_or("").to_owned();
        let named = format!(
            "{}%3Bto-tag%3D{}%3Bfrom-tag%3D{}",
            dialog.call_id.replace('@', "%40"),
            tag(&dialog.remote),
            tag(&dialog.local)
        );
        let to = format!(
            "<sip:{}@{}?Replaces={named}>",
            other.peer, self.setup.domain
        );
        self.refer(now, i, to)
    }

    fn refer(&mut self, now: u64, i: usize, to: String) -> bool {
        let contact = self.contact();
        let by = format!("<sip:{}@{}>", self.setup.number, self.setup.domain);
        let Some(call) = self.calls.get_mut(i).filter(|c| c.phase == Phase::Up) else {
            return false;
        };
        let Some(dialog) = &mut call.dialog else {
            return false;
        };
        let refer = dialog
            .request("REFER")
            .with("Contact", contact)
            .with("Refer-To", to)
            .with("Referred-By", by);
        call.transfer = Some(0);
        self.send(now, refer, Some(i), false);
        true
    }

    /// How a transfer goes (RFC 3515 §2.4.5).
    pub(super) fn transfer_news(&mut self, i: usize, text: &Text) {
        let status = text.body.strip_prefix("SIP/2.0 ").and_then(|s| s.get(..3));
        match (status.and_then(|s| s.parse().ok()), self.calls[i].transfer) {
            (Some(status), Some(_)) => self.calls[i].transfer = Some(status),
            _ => self.find(format!("a NOTIFY of {:?} that nobody wants", text.body)),
        }
        self.reply(Text::response(text, 200, "OK", ""));
    }
}

/// A request that refreshes the session.
pub(super) fn with_timer(request: Text) -> Text {
    request
        .with("Supported", "timer")
        .with("Session-Expires", format!("{INTERVAL};refresher=uac"))
}
