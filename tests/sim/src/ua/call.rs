//! One call of a telephone, and what its user does with it.

use super::{Media, SECOND, Tick, Ua};
use crate::description::Direction;
use crate::dialog::{self, Dialog};
use crate::text::Text;

/// How far a call has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// We called; no final answer yet.
    Calling,
    /// We ring.
    Ringing,
    /// We answered; no ACK yet.
    Answered,
    /// Both have agreed.
    Up,
    /// It is over, or never came to be.
    Over,
}

/// One call.
pub struct Call {
    /// Whether we began it.
    pub outgoing: bool,
    /// The other's number.
    pub peer: String,
    /// How far it has come.
    pub phase: Phase,
    /// Whether it ever was [`Phase::Up`].
    pub was_up: bool,
    /// Why it is over: a status, `bye` (the other's), `hung up` (ours), `connection`, …
    pub why: String,
    /// Its audio.
    pub media: Media,
    /// The first INVITE.
    pub invite: Text,
    /// The branch of our last INVITE.
    pub branch: String,
    pub(super) dialog: Option<Dialog>,
    pub(super) tag: String,
    pub(super) cancel: bool,
    pub(super) cancelled: bool,
    pub(super) bye: bool,
    /// A re-INVITE of ours is under way, with this direction.
    pub(super) change: Option<Direction>,
    /// Re-INVITEs of ours that were refused 491.
    pub glares: u32,
    /// Changes of ours that were made.
    pub changes: u32,
    /// When we sent a 2xx to a re-INVITE, while we wait for its ACK.
    pub(super) owed: Option<u64>,
}

impl Ua {
    /// Calls a number; gives the call's index.
    pub fn call(&mut self, now: u64, number: &str) -> usize {
        let media = self.new_media(now);
        let at = self.setup.clone();
        let tag = self.rng.hex(6);
        let uri = format!("sip:{number}@{}", at.domain);
        let invite = Text::request("INVITE", &uri)
            .with(
                "From",
                format!(
                    "\"{}\" <sip:{}@{}>;tag={tag}",
                    at.name, at.number, at.domain
                ),
            )
            .with("To", format!("<{uri}>"))
            .with("Call-ID", format!("{}@{}", self.rng.hex(12), at.media))
            .with("CSeq", "101 INVITE")
            .with("Max-Forwards", "70")
            .with("Contact", self.contact())
            .with("User-Agent", "sim")
            .with("Allow", "INVITE, ACK, BYE, CANCEL, OPTIONS, NOTIFY, UPDATE")
            .with_body("application/sdp", media.describe());
        let index = self.calls.len();
        let mut call = Call::new(true, number, media, invite.clone(), tag);
        call.branch = self.send(now, invite, Some(index), false);
        self.calls.push(call);
        if !self.linked {
            self.end(index, "connection");
        }
        index
    }

    /// Ends a call, whatever its state.
    pub fn hang_up(&mut self, now: u64, i: usize) {
        let Some(call) = self.calls.get_mut(i) else {
            return;
        };
        match call.phase {
            Phase::Calling => {
                call.cancel = true;
                self.cancel_if_due(now, i);
            }
            Phase::Ringing => {
                let (invite, tag) = (call.invite.clone(), call.tag.clone());
                self.reply(Text::response(&invite, 603, "Decline", &tag));
                self.end(i, "603");
            }
            Phase::Answered => call.bye = true,
            Phase::Up if !self.linked => call.bye = true,
            Phase::Up => self.send_bye(now, i, "hung up"),
            Phase::Over => {}
        }
    }

    /// Registered again: calls that were to end meanwhile are ended.
    pub(super) fn hang_up_late(&mut self, now: u64) {
        for i in 0..self.calls.len() {
            if self.calls[i].bye && self.calls[i].phase == Phase::Up {
                self.send_bye(now, i, "hung up");
            }
        }
    }

    /// Ends every call.
    pub fn hang_up_all(&mut self, now: u64) {
        for i in 0..self.calls.len() {
            self.hang_up(now, i);
        }
    }

    /// Offers another direction for the audio of a call that is up: hold, or resume. False if it
    /// cannot be now.
    pub fn change(&mut self, now: u64, i: usize, direction: Direction) -> bool {
        let new_key = self.rng.below(2) == 0;
        let key = self.new_key();
        let contact = self.contact();
        let Some(call) = self.calls.get_mut(i) else {
            return false;
        };
        if call.phase != Phase::Up || call.change.is_some() || call.owed.is_some() {
            return false;
        }
        if new_key {
            call.media.rekey(now, key);
        }
        call.media.offer(now, direction);
        let Some(dialog) = &mut call.dialog else {
            return false;
        };
        let request = dialog
            .request("INVITE")
            .with("Contact", contact)
            .with_body("application/sdp", call.media.describe());
        call.change = Some(direction);
        let branch = self.send(now, request, Some(i), false);
        self.calls[i].branch = branch;
        true
    }

    /// Tries a change once more that was refused 491, or as soon as it can be.
    pub(super) fn again(&mut self, now: u64, i: usize) {
        let Some(call) = self.calls.get(i) else {
            return;
        };
        let (direction, open) = (call.media.direction, call.phase == Phase::Up);
        if open && call.change.is_none() && !self.change(now, i, direction) {
            self.arm(now + SECOND / 2, Tick::Again(i));
        }
    }

    pub(super) fn send_bye(&mut self, now: u64, i: usize, why: &str) {
        let Some(dialog) = self.calls.get_mut(i).and_then(|c| c.dialog.as_mut()) else {
            return;
        };
        let bye = dialog.request("BYE");
        self.send(now, bye, Some(i), false);
        self.end(i, why);
    }

    /// Sends the CANCEL that is wanted, once a provisional answer allows it (RFC 3261 §9.1).
    pub(super) fn cancel_if_due(&mut self, now: u64, i: usize) {
        let Some(call) = self.calls.get_mut(i) else {
            return;
        };
        let ready = self
            .pending
            .get(&call.branch)
            .is_some_and(|p| p.provisional);
        if !call.cancel || call.cancelled || !ready {
            return;
        }
        call.cancelled = true;
        let Some(invite) = self.pending.get(&call.branch).map(|p| p.request.clone()) else {
            return;
        };
        let mut cancel = Text::request("CANCEL", invite.uri());
        for name in ["Via", "Route", "From", "To", "Call-ID", "Max-Forwards"] {
            for value in invite.all(name) {
                cancel = cancel.with(name, value);
            }
        }
        let cancel = cancel.with("CSeq", format!("{} CANCEL", dialog::cseq(&invite)));
        // A CANCEL shares its INVITE's branch; its own answer is known by its CSeq.
        let key = format!("{}/CANCEL", call.branch);
        let pending = super::Pending {
            request: cancel.clone(),
            call: Some(i),
            at: now,
            provisional: false,
            status: None,
            lost: !self.linked || self.deaf,
            authenticated: true,
        };
        self.pending.insert(key.clone(), pending);
        self.arm(now + 32 * SECOND, Tick::Timeout(key));
        self.reply(cancel);
    }

    /// A call has come in and rang long enough.
    pub(super) fn answer(&mut self, now: u64, i: usize) {
        let contact = self.contact();
        let Some(call) = self.calls.get_mut(i) else {
            return;
        };
        if call.phase != Phase::Ringing {
            return;
        }
        call.phase = Phase::Answered;
        let response = Text::response(&call.invite, 200, "OK", &call.tag)
            .with("Contact", contact)
            .with_body("application/sdp", call.media.describe());
        self.reply(response);
        self.arm(now + 32 * SECOND, Tick::Unacked(i));
        self.arm(now, Tick::Audio(i));
    }

    /// Nobody acknowledged our answer (RFC 3261 §13.3.1.4).
    pub(super) fn unacked(&mut self, now: u64, i: usize) {
        let Some(call) = self.calls.get_mut(i) else {
            return;
        };
        if call.phase == Phase::Answered {
            self.find("the answer was never acknowledged");
            self.send_bye(now, i, "no ACK");
        } else if call.phase == Phase::Up && call.owed.is_some_and(|at| at + 32 * SECOND <= now) {
            self.find("the answer to a re-INVITE was never acknowledged");
            self.send_bye(now, i, "no ACK");
        }
    }

    pub(super) fn end(&mut self, i: usize, why: &str) {
        let Some(call) = self.calls.get_mut(i) else {
            return;
        };
        if call.phase != Phase::Over {
            call.phase = Phase::Over;
            call.why = why.to_owned();
        }
    }

    /// The index of the last call, if there is one.
    pub fn last(&self) -> Option<usize> {
        self.calls.len().checked_sub(1)
    }

    /// Where requests within a call's dialog go.
    pub fn target_of(&self, i: usize) -> String {
        let dialog = self.calls.get(i).and_then(|c| c.dialog.as_ref());
        dialog.map(|d| d.target.clone()).unwrap_or_default()
    }

    /// The other side of a call's dialog, as our To writes it.
    pub fn remote_of(&self, i: usize) -> String {
        let dialog = self.calls.get(i).and_then(|c| c.dialog.as_ref());
        dialog.map(|d| d.remote.clone()).unwrap_or_default()
    }
}

impl Call {
    pub(super) fn new(outgoing: bool, peer: &str, media: Media, invite: Text, tag: String) -> Call {
        Call {
            outgoing,
            peer: peer.to_owned(),
            phase: if outgoing {
                Phase::Calling
            } else {
                Phase::Ringing
            },
            was_up: false,
            why: String::new(),
            media,
            invite,
            branch: String::new(),
            dialog: None,
            tag,
            cancel: false,
            cancelled: false,
            bye: false,
            change: None,
            glares: 0,
            changes: 0,
            owed: None,
        }
    }
}
