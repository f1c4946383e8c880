//! Responses that reach a telephone.

use super::{Phase, SECOND, Tick, Ua};
use crate::description::Audio;
use crate::dialog::{self, Dialog};
use crate::text::Text;

impl Ua {
    pub(super) fn response(&mut self, now: u64, text: &Text, status: u16) {
        let method = text.method().to_owned();
        let branch = match method.as_str() {
            "CANCEL" => format!("{}/CANCEL", dialog::branch(text)),
            _ => dialog::branch(text).to_owned(),
        };
        let Some(pending) = self.pending.get_mut(&branch) else {
            return self.find(format!(
                "an answer {status} to a {method} that was never sent"
            ));
        };
        let call = pending.call;
        if status < 200 {
            pending.provisional = true;
            let request = pending.request.clone();
            if let Some(i) = call {
                if method == "INVITE" && self.calls[i].phase == Phase::Calling {
                    self.progress(now, i, &request, text);
                }
                self.cancel_if_due(now, i);
            }
            return;
        }
        let before = pending.status.replace(status);
        if let Some(before) = before {
            if !(before < 300 && status < 300) && before != 408 {
                self.find(format!(
                    "two final answers to one {method}: {before}, then {status}"
                ));
            }
            if method != "INVITE" {
                return;
            }
        }
        match (method.as_str(), call) {
            ("REGISTER", _) => {
                let leaving = self
                    .pending
                    .get(&branch)
                    .is_some_and(|p| p.request.field("Expires") == "0");
                if !self.with_credentials(now, &branch, text) {
                    self.registered(now, text, status, leaving);
                }
            }
            ("INVITE", Some(i)) => self.invite_answered(now, i, &branch, text, status),
            (_, _) if matches!(status, 401 | 407) && self.with_credentials(now, &branch, text) => {}
            ("UPDATE", Some(i)) => self.updated(now, i, text, status),
            ("SUBSCRIBE", None) => {
                if let Some(request) = self.pending.get(&branch).map(|p| p.request.clone()) {
                    self.subscribed(now, &request, text, status);
                }
            }
            ("MESSAGE", None) if status < 300 => self.texts[1] += 1,
            // 481 and 408 end a dialog as well (RFC 5057).
            (_, Some(i)) if matches!(status, 481 | 408) => self.end(i, &status.to_string()),
            _ => {}
        }
    }

    fn invite_answered(&mut self, now: u64, i: usize, branch: &str, text: &Text, status: u16) {
        let Some(request) = self.pending.get(branch).map(|p| p.request.clone()) else {
            return;
        };
        let initial = Text::tag(request.field("To")).is_none();
        if status >= 300 {
            self.acknowledge(&request, text);
            if matches!(status, 401 | 407) && self.with_credentials(now, branch, text) {
                return;
            }
            if initial {
                return self.end(i, &status.to_string());
            }
            return self.change_refused(now, i, status);
        }
        if initial {
            self.accepted(now, i, &request, text)
        } else {
            self.changed(now, i, &request, text)
        }
    }

    /// The ACK of a refusal goes with the INVITE's own transaction (RFC 3261 §17.1.1.3).
    fn acknowledge(&mut self, request: &Text, response: &Text) {
        let mut ack = Text::request("ACK", request.uri());
        for name in ["Via", "Route", "From"] {
            for value in request.all(name) {
                ack = ack.with(name, value);
            }
        }
        let ack = ack
            .with("To", response.field("To"))
            .with("Call-ID", request.field("Call-ID"))
            .with("CSeq", format!("{} ACK", dialog::cseq(request)))
            .with("Max-Forwards", "70");
        self.reply(ack);
    }

    fn accepted(&mut self, now: u64, i: usize, request: &Text, text: &Text) {
        let mut dialog = Dialog::caller(request, text);
        let mut ack = dialog.with_cseq("ACK", dialog.cseq);
        let encrypted = self.setup.encrypted;
        let call = &mut self.calls[i];
        if let Some(early) = &call.early
            && Text::tag(&early.remote) == Text::tag(&dialog.remote)
        {
            dialog.cseq = early.cseq;
        }
        let theirs = Audio::read(&text.body).filter(|a| a.key.is_some() == encrypted);
        if let Some(theirs) = theirs
            .as_ref()
            .filter(|_| call.late && call.dialog.is_none())
        {
            call.media.answer_to(now, theirs);
            ack = ack.with_body("application/sdp", call.media.describe());
        }
        self.send(now, ack, Some(i), true);
        let call = &mut self.calls[i];
        if let Some(known) = &call.dialog {
            if Text::tag(&known.remote) != Text::tag(&dialog.remote) {
                // Another fork answered as well.
                let bye = dialog.request("BYE");
                self.send(now, bye, None, true);
            }
            return;
        }
        call.dialog = Some(dialog);
        if call.phase != Phase::Calling {
            return self.send_bye(now, i, "late answer");
        }
        call.phase = Phase::Up;
        call.was_up = true;
        match theirs {
            // Answered above, in the ACK.
            Some(_) if std::mem::take(&mut self.calls[i].late) => {}
            Some(theirs) => self.calls[i].media.theirs(now, &theirs),
            None if self.calls[i].early_media => {}
            None => {
                self.find(format!("an answer without proper audio: {:?}", text.body));
                return self.send_bye(now, i, "no audio");
            }
        }
        self.start_audio(now, i);
        if text.get("Session-Expires").is_some() {
            if !crate::ua::early::lists(request, "Supported", "timer") {
                self.find("an answer with a session timer for who knows none");
            }
            self.session_begins(now, i);
        }
        if self.calls[i].cancel {
            self.send_bye(now, i, "hung up");
        }
    }

    fn changed(&mut self, now: u64, i: usize, request: &Text, text: &Text) {
        let call = &mut self.calls[i];
        let Some(dialog) = &mut call.dialog else {
            return;
        };
        if let Some(contact) = text.get("Contact") {
            dialog.target = Text::inside_brackets(contact).to_owned();
        }
        let mut ack = dialog.with_cseq("ACK", dialog::cseq(request));
        let late = std::mem::take(&mut call.late);
        if call.change.take().is_some() {
            call.changes += 1;
            match Audio::read(&text.body) {
                Some(theirs) if late => {
                    call.media.answer_to(now, &theirs);
                    ack = ack.with_body("application/sdp", call.media.describe());
                }
                Some(theirs) => call.media.theirs(now, &theirs),
                None => {}
            }
        } else if late {
            // The other side's offer has to be answered all the same.
            ack = ack.with_body("application/sdp", call.media.describe());
        }
        self.send(now, ack, Some(i), true);
    }

    pub(super) fn change_refused(&mut self, now: u64, i: usize, status: u16) {
        let call = &mut self.calls[i];
        call.change = None;
        match status {
            491 => {
                call.glares += 1;
                // RFC 3261 §14.1: the owner of the Call-ID waits longer.
                let (least, most) = if call.outgoing {
                    (2100, 4000)
                } else {
                    (0, 2000)
                };
                let wait = least + self.rng.below(most - least + 1);
                let wait = wait.div_ceil(10) * 10 * SECOND / 1000;
                self.arm(now + wait, Tick::Again(i));
            }
            481 | 408 => self.end(i, &status.to_string()),
            _ => {}
        }
    }
}
