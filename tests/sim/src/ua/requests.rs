//! Requests that reach a telephone.

use super::{Call, Phase, Plan, SECOND, Tick, Ua};
use crate::description::Audio;
use crate::dialog::{self, Dialog};
use crate::text::Text;

impl Ua {
    pub(super) fn request(&mut self, now: u64, text: &Text) {
        let in_dialog = Text::tag(text.field("To")).is_some();
        let whom = crate::pbx::user(text.uri());
        if whom != self.registration.contact && whom != self.setup.number {
            self.find(format!("{} is for somebody else", text.start));
        }
        match (text.method(), in_dialog) {
            ("ACK", _) => self.ack(now, text),
            ("CANCEL", _) => self.cancelled(text),
            ("INVITE", false) => self.invited(now, text),
            ("OPTIONS" | "NOTIFY", false) => self.ok(text),
            ("MESSAGE", false) => self.message_came(text),
            (_, true) if self.notified(text) => {}
            (_, true) => match self.call_of(text) {
                Some(i) => self.within(now, i, text),
                None => self.reply(Text::response(text, 481, "Call Does Not Exist", "")),
            },
            _ => {
                let tag = self.rng.hex(6);
                self.reply(Text::response(text, 405, "Method Not Allowed", &tag));
            }
        }
    }

    pub(super) fn ok(&mut self, text: &Text) {
        let tag = self.rng.hex(6);
        self.reply(Text::response(text, 200, "OK", &tag));
    }

    fn invited(&mut self, now: u64, text: &Text) {
        let again = |c: &Call| {
            !c.outgoing
                && c.invite.field("Call-ID") == text.field("Call-ID")
                && Text::tag(c.invite.field("From")) == Text::tag(text.field("From"))
        };
        if self.calls.iter().any(again) {
            self.find("the same INVITE twice");
            let tag = self.rng.hex(6);
            return self.reply(Text::response(text, 482, "Loop Detected", &tag));
        }
        let tag = self.rng.hex(6);
        let from = Text::inside_brackets(text.field("From"));
        let peer = from
            .trim_start_matches("sip:")
            .split('@')
            .next()
            .unwrap_or("")
            .to_owned();
        if let Plan::Refuse(status) = self.plan {
            self.refused += 1;
            return self.reply(Text::response(text, status, "Refused", &tag));
        }
        let theirs = Audio::read(&text.body);
        if theirs.is_none() && !text.body.is_empty() {
            self.find("an INVITE without audio");
            return self.reply(Text::response(text, 488, "Not Acceptable Here", &tag));
        }
        let encrypted = self.setup.encrypted;
        if theirs
            .as_ref()
            .is_some_and(|t| t.key.is_some() != encrypted)
        {
            self.find(format!("offered audio is {theirs:?}"));
            return self.reply(Text::response(text, 488, "Not Acceptable Here", &tag));
        }
        let mut media = self.new_media(now);
        if let Some(theirs) = &theirs {
            media.theirs(now, theirs);
        }
        let mut call = Call::new(false, &peer, media, text.clone(), tag.clone());
        call.dialog = Some(Dialog::callee(text, &tag));
        // Without an offer the first one is ours.
        call.awaits = theirs.is_none();
        let i = self.calls.len();
        self.calls.push(call);
        self.ring(now, i);
        if let Plan::Answer(after) = self.plan {
            self.arm(now + after, Tick::Answer(i));
        }
    }

    fn ack(&mut self, now: u64, text: &Text) {
        let Some(i) = self.call_of(text) else { return };
        self.answered_in_ack(now, i, text);
        let call = &mut self.calls[i];
        call.owed = None;
        if call.phase == Phase::Answered {
            call.phase = Phase::Up;
            call.was_up = true;
            if call.bye {
                self.send_bye(now, i, "hung up");
            }
        }
    }

    fn cancelled(&mut self, text: &Text) {
        let branch = dialog::branch(text);
        let found = self.calls.iter().position(|c| {
            !c.outgoing
                && dialog::branch(&c.invite) == branch
                && c.invite.field("Call-ID") == text.field("Call-ID")
        });
        let Some(i) = found else {
            return self.reply(Text::response(text, 481, "Call Does Not Exist", ""));
        };
        let call = &self.calls[i];
        let (invite, tag, phase) = (call.invite.clone(), call.tag.clone(), call.phase);
        self.reply(Text::response(text, 200, "OK", &tag));
        if phase == Phase::Ringing {
            self.reply(Text::response(&invite, 487, "Request Terminated", &tag));
            self.end(i, "cancelled");
        }
    }

    /// A request within a dialog.
    fn within(&mut self, now: u64, i: usize, text: &Text) {
        match text.method() {
            "BYE" => {
                let call = &self.calls[i];
                let (phase, invite, tag) = (call.phase, call.invite.clone(), call.tag.clone());
                self.reply(Text::response(text, 200, "OK", ""));
                if phase == Phase::Ringing {
                    // RFC 3261 §15.1.2: what is under way is answered 487.
                    self.reply(Text::response(&invite, 487, "Request Terminated", &tag));
                }
                self.end(i, "bye");
            }
            _ if self.calls[i].phase == Phase::Over => {
                self.reply(Text::response(text, 481, "Call Does Not Exist", ""));
            }
            "INVITE" => self.reinvited(now, i, text),
            "UPDATE" => self.update_asked(now, i, text),
            "PRACK" => self.pracked(i, text),
            "INFO" => self.pressed(now, i, text),
            "NOTIFY" => self.transfer_news(i, text),
            _ => self.reply(Text::response(text, 200, "OK", "").with("Contact", self.contact())),
        }
    }

    fn reinvited(&mut self, now: u64, i: usize, text: &Text) {
        let contact = self.contact();
        let encrypted = self.setup.encrypted;
        let ignorant = self.manner.ignorant;
        let call = &mut self.calls[i];
        if call.change.is_some() || call.phase == Phase::Answered || call.owed.is_some() {
            return self.reply(Text::response(text, 491, "Request Pending", ""));
        }
        let theirs = Audio::read(&text.body).filter(|a| a.key.is_some() == encrypted);
        match theirs {
            Some(theirs) => call.media.answer_to(now, &theirs),
            None if text.body.is_empty() => {
                let direction = call.media.direction;
                call.media.offer(now, direction);
                call.awaits = true;
            }
            None => {
                self.find("a re-INVITE without audio, or with the wrong kind");
                return self.reply(Text::response(text, 488, "Not Acceptable Here", ""));
            }
        }
        if let Some(party) = text.get("Remote-Party-ID") {
            call.is_now_with(now, crate::pbx::user(party));
        }
        call.owed = Some(now);
        let mut response = Text::response(text, 200, "OK", "").with("Contact", contact);
        if text.get("Session-Expires").is_some() && !ignorant {
            response = response
                .with("Session-Expires", text.field("Session-Expires"))
                .with("Require", "timer");
        }
        let response = response.with_body("application/sdp", call.media.describe());
        if let Some(dialog) = &mut call.dialog {
            dialog.target = Text::inside_brackets(text.field("Contact")).to_owned();
        }
        self.reply(response);
        self.refreshed(now, i);
        self.arm(now + 32 * SECOND, Tick::Unacked(i));
    }
}
