//! One call of a telephone, and what its user does with it.

use super::session::{INTERVAL, with_timer};
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
    /// Keys of the other side that came in INFO.
    pub keys: u32,
    /// How a transfer of ours goes: its last status, 0 at first.
    pub transfer: Option<u16>,
    /// Whom it was with before it was transferred, and until when he may still be heard.
    pub(super) before: Option<(String, u64)>,
    /// The dialog before the answer.
    pub(super) early: Option<Dialog>,
    /// Audio began before the answer.
    pub early_media: bool,
    /// The number of the last reliable provisional response.
    pub(super) rseq: u32,
    /// A reliable provisional response of ours waits for its PRACK.
    pub(super) unacknowledged: bool,
    /// We have offered, or will, and the answer comes in an ACK.
    pub(super) awaits: bool,
    /// Our INVITE under way has no offer: the other side's is answered in the ACK.
    pub(super) late: bool,
    /// The ACK that was to answer our offer did not.
    pub(super) unanswered: bool,
    /// An UPDATE of ours is under way.
    pub(super) updates: bool,
    /// When the session was last refreshed, if it has to be.
    pub session: Option<u64>,
    /// Its audio has begun.
    pub(super) audio: bool,
}

impl Ua {
    /// Calls a number; gives the call's index.
    pub fn call(&mut self, now: u64, number: &str) -> usize {
        let media = self.new_media(now);
        let at = self.setup.clone();
        let tag = self.rng.hex(6);
        // What is not of the house is called by its own domain.
        let domain = match number {
            crate::house::FOREIGN_NUMBER => crate::house::FOREIGN_DOMAIN,
            _ if number.starts_with('9') => crate::house::TRUNK_DOMAIN,
            _ => at.domain.as_str(),
        };
        let uri = format!("sip:{number}@{domain}");
        let mut invite = Text::request("INVITE", &uri)
            .with(
                "From",
                format!(
                    "\"{}\" <sip:{}@{}>;tag={tag}",
                    at.name, at.number, at.own_domain
                ),
            )
            .with("To", format!("<{uri}>"))
            .with("Call-ID", format!("{}@{}", self.rng.hex(12), at.media))
            .with("CSeq", "101 INVITE")
            .with("Max-Forwards", "70")
            .with("Contact", self.contact())
            .with("User-Agent", "sim")
            .with(
                "Allow",
                "INVITE, ACK, BYE, CANCEL, OPTIONS, NOTIFY, UPDATE, PRACK, INFO",
            )
            .with(
                "Supported",
                match self.manner.ignorant {
                    true => "100rel, replaces",
                    false => "100rel, timer, replaces",
                },
            );
        let manner = self.manner;
        if manner.timer && !manner.ignorant {
            invite = invite
                .with("Session-Expires", format!("{INTERVAL};refresher=uac"))
                .with("Min-SE", INTERVAL.to_string());
        }
        if !manner.late_offer {
            invite = invite.with_body("application/sdp", media.describe());
        }
        let index = self.calls.len();
        let mut call = Call::new(true, number, media, invite.clone(), tag);
        call.late = manner.late_offer;
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
        self.reinvite(now, i, direction, false)
    }

    /// Asks the other side to offer anew: a re-INVITE without a description.
    pub fn ask_for_offer(&mut self, now: u64, i: usize) -> bool {
        self.reinvite(now, i, Direction::Both, true)
    }

    fn reinvite(&mut self, now: u64, i: usize, direction: Direction, late: bool) -> bool {
        let new_key = self.rng.below(2) == 0;
        let key = self.new_key();
        let contact = self.contact();
        let Some(call) = self.calls.get_mut(i) else {
            return false;
        };
        let busy = call.change.is_some() || call.owed.is_some() || call.updates;
        if call.phase != Phase::Up || busy {
            return false;
        }
        call.late = late;
        if new_key && !late {
            call.media.rekey(now, key);
        }
        if !late {
            call.media.offer(now, direction);
        }
        let Some(dialog) = &mut call.dialog else {
            return false;
        };
        let mut request = dialog.request("INVITE").with("Contact", contact);
        if call.session.is_some() {
            request = with_timer(request);
        }
        if !late {
            request = request.with_body("application/sdp", call.media.describe());
        }
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
        if call.unacknowledged {
            // RFC 3262 §3: not before the PRACK.
            return self.arm(now + SECOND / 2, Tick::Answer(i));
        }
        call.phase = Phase::Answered;
        let timer = call.invite.get("Session-Expires").is_some() && !self.manner.ignorant;
        let mut response =
            Text::response(&call.invite, 200, "OK", &call.tag).with("Contact", contact);
        if timer {
            response = response
                .with("Session-Expires", format!("{INTERVAL};refresher=uac"))
                .with("Require", "timer");
        }
        let response = response.with_body("application/sdp", call.media.describe());
        self.reply(response);
        self.arm(now + 32 * SECOND, Tick::Unacked(i));
        self.start_audio(now, i);
        if timer {
            self.session_begins(now, i);
        }
    }

    /// Nobody acknowledged our answer (RFC 3261 §13.3.1.4).
    pub(super) fn unacked(&mut self, now: u64, i: usize) {
        let Some(call) = self.calls.get_mut(i) else {
            return;
        };
        if call.phase == Phase::Up && std::mem::take(&mut call.unanswered) {
            self.find("an ACK had no answer to our offer, and no BYE came");
        } else if call.phase == Phase::Answered {
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

    /// A call's dialog as a Replaces of another names it to this telephone (RFC 3891 §3).
    pub fn named(&self, i: usize) -> String {
        let dialog = self.calls.get(i).and_then(|c| c.dialog.as_ref());
        let tag = |of: &str| of.split("tag=").nth(1).unwrap_or_default().to_owned();
        let name = |d: &crate::dialog::Dialog| {
            let (own, other) = (tag(&d.local), tag(&d.remote));
            format!("{};to-tag={own};from-tag={other}", d.call_id)
        };
        dialog.map(name).unwrap_or_default()
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
            keys: 0,
            transfer: None,
            before: None,
            early: None,
            early_media: false,
            rseq: 0,
            unacknowledged: false,
            awaits: false,
            late: false,
            unanswered: false,
            updates: false,
            session: None,
            audio: false,
        }
    }

    /// Whether a number is the other side, or was it a moment ago.
    pub(super) fn is_with(&self, now: u64, number: &str) -> bool {
        let before = self.before.as_ref();
        self.peer == number || before.is_some_and(|(n, until)| n == number && now <= *until)
    }

    /// The other side is somebody else from now on.
    pub(super) fn is_now_with(&mut self, now: u64, number: &str) {
        if self.peer != number {
            let old = std::mem::replace(&mut self.peer, number.to_owned());
            // His BYE may be slow.
            self.before = Some((old, now + 30 * SECOND));
        }
    }
}
