//! What comes before an answer: reliable provisional responses (RFC 3262), early media, and the
//! offer that comes with the answer instead of the call.

use super::{Phase, Tick, Ua};
use crate::description::Audio;
use crate::dialog::{self, Dialog};
use crate::text::Text;

/// Whether a field that lists words has this one.
pub(super) fn lists(text: &Text, name: &str, word: &str) -> bool {
    text.all(name)
        .flat_map(|v| v.split(','))
        .any(|w| w.trim().eq_ignore_ascii_case(word))
}

impl Ua {
    /// A provisional response to the INVITE of a call.
    pub(super) fn progress(&mut self, now: u64, i: usize, request: &Text, text: &Text) {
        let initial = Text::tag(request.field("To")).is_none();
        let tagged = Text::tag(text.field("To")).is_some();
        if text.status() == Some(100) || !initial || !tagged {
            return;
        }
        let encrypted = self.setup.encrypted;
        let call = &mut self.calls[i];
        let fresh = Dialog::caller(request, text);
        let early = call.early.get_or_insert(fresh.clone());
        if Text::tag(&early.remote) != Text::tag(&fresh.remote) {
            return;
        }
        if let Some(theirs) = Audio::read(&text.body).filter(|a| a.key.is_some() == encrypted)
            && !std::mem::replace(&mut call.early_media, true)
        {
            call.media.theirs(now, &theirs);
            self.start_audio(now, i);
        }
        if lists(text, "Require", "100rel") {
            self.acknowledge_provisional(now, i, request, text);
        }
    }

    fn acknowledge_provisional(&mut self, now: u64, i: usize, request: &Text, text: &Text) {
        let number: u32 = text.field("RSeq").trim().parse().unwrap_or(0);
        let call = &mut self.calls[i];
        let before = std::mem::replace(&mut call.rseq, number);
        let Some(early) = call.early.as_mut() else {
            return;
        };
        let prack = early
            .request("PRACK")
            .with("RAck", format!("{number} {} INVITE", dialog::cseq(request)));
        if number == 0 || before != 0 && number != before + 1 {
            self.find(format!("RSeq {number} after {before}"));
        }
        self.send(now, prack, Some(i), false);
    }

    /// Rings: tells the caller, reliably and with early media where it likes that.
    pub(super) fn ring(&mut self, now: u64, i: usize) {
        let (contact, manner) = (self.contact(), self.manner);
        let number = 1 + self.rng.u32() % 10_000;
        let call = &mut self.calls[i];
        let reliable = manner.reliable && lists(&call.invite, "Supported", "100rel");
        let early = manner.early && !call.awaits;
        let (status, reason) = match early {
            true => (183, "Session Progress"),
            false => (180, "Ringing"),
        };
        let mut response =
            Text::response(&call.invite, status, reason, &call.tag).with("Contact", contact);
        if reliable {
            call.rseq = number;
            call.unacknowledged = true;
            response = response
                .with("Require", "100rel")
                .with("RSeq", number.to_string());
        }
        if early {
            call.early_media = true;
            response = response.with_body("application/sdp", call.media.describe());
        }
        self.reply(response);
        if early {
            self.start_audio(now, i);
        }
    }

    /// A PRACK of a call that rings here.
    pub(super) fn pracked(&mut self, i: usize, text: &Text) {
        let call = &mut self.calls[i];
        let wanted = format!("{} {} INVITE", call.rseq, dialog::cseq(&call.invite));
        if !call.unacknowledged || text.field("RAck") != wanted {
            let what = format!("RAck {} in place of {wanted}", text.field("RAck"));
            if call.phase == Phase::Ringing {
                self.find(what);
            }
            return self.reply(Text::response(text, 481, "No Such Response", ""));
        }
        call.unacknowledged = false;
        self.reply(Text::response(text, 200, "OK", ""));
    }

    /// The audio of a call begins, once.
    pub(super) fn start_audio(&mut self, now: u64, i: usize) {
        if !std::mem::replace(&mut self.calls[i].audio, true) {
            self.arm(now, Tick::Audio(i));
        }
    }

    /// The answer to our offer, where it came in an ACK.
    pub(super) fn answered_in_ack(&mut self, now: u64, i: usize, text: &Text) {
        let encrypted = self.setup.encrypted;
        let call = &mut self.calls[i];
        let answered = call.phase == Phase::Answered || call.owed.is_some();
        if !answered || !std::mem::take(&mut call.awaits) {
            return;
        }
        let theirs = Audio::read(&text.body).filter(|a| a.key.is_some() == encrypted);
        match theirs {
            Some(theirs) => call.media.theirs(now, &theirs),
            // Nobody may have been left to answer it; then a BYE follows.
            None => call.unanswered = true,
        }
    }
}
