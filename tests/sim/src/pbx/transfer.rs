//! REFER, as call control carries it out itself: the leg that stays is asked for nothing, the new
//! party is asked for an offer, the leg that stays gets that offer, and its answer goes back in
//! the ACK. So both of them have an exchange without an offer in its INVITE, or within a call.

use std::collections::BTreeMap;

use super::{Bridge, Pbx, Pending, Way, user};
use crate::dialog::{self, Dialog};
use crate::text::Text;

/// A leg of a call.
type End = (u64, usize);

/// A transfer under way; the key is the branch of the INVITE it waits for.
#[derive(Clone)]
pub(super) struct Step {
    /// The leg of the one who transfers.
    referrer: End,
    /// The new party: a call of the referrer's, for a transfer with consultation.
    with: Option<End>,
    /// The new party's number.
    number: String,
    /// The INVITE to the new party and its answer, once that is there.
    asked: Text,
    offer: Option<(Dialog, Way, Text)>,
    /// The INVITE that this step waits for.
    request: Text,
}

impl Pbx {
    pub(super) fn refer(&mut self, now: u64, conn: u64, text: &Text) {
        let way = Way::Conn(conn);
        let Some(place) = self.leg_of(text) else {
            let response = Text::response(text, 481, "Call Does Not Exist", "");
            return self.send(way, response);
        };
        let (id, leg) = place;
        if let Some(bridge) = self.bridges.get_mut(&id) {
            bridge.legs[leg].way = way;
        }
        let to = text.field("Refer-To").to_owned();
        let number = user(&to).to_owned();
        let with = match to.split_once("Replaces=") {
            Some((_, named)) => match self.named(named.trim_end_matches('>')) {
                Some(place) => Some(place),
                None => {
                    // Calls to the trunk go by the cores' own rule, and pass it by.
                    if number != crate::house::TRUNK_NUMBER {
                        self.find(format!("Refer-To {to} names no call"));
                    }
                    return self.send(way, Text::response(text, 481, "No Such Call", ""));
                }
            },
            None => None,
        };
        let up = self
            .bridges
            .get(&id)
            .is_some_and(|b| b.legs.iter().all(|l| l.up));
        if !up {
            return self.send(way, Text::response(text, 481, "Call Does Not Exist", ""));
        }
        self.send(way, Text::response(text, 202, "Accepted", ""));
        self.news(now, place, 100, "Trying", false);
        self.ask_for_offer(now, place, with, number);
    }

    /// The leg that a Replaces names, by Call-ID and tags as the sender knows them.
    fn named(&self, escaped: &str) -> Option<End> {
        let text = escaped
            .replace("%3B", ";")
            .replace("%3D", "=")
            .replace("%40", "@");
        let mut parts = text.split(';');
        let call_id = parts.next()?;
        let (mut theirs, mut ours) = ("", "");
        for part in parts {
            match part.split_once('=')? {
                ("to-tag", v) => ours = v,
                ("from-tag", v) => theirs = v,
                _ => {}
            }
        }
        self.bridges.iter().rev().find_map(|(id, b)| {
            let leg = b.legs.iter().position(|l| {
                l.dialog.as_ref().is_some_and(|d| {
                    d.call_id == call_id
                        && Text::tag(&d.local) == Some(ours)
                        && Text::tag(&d.remote) == Some(theirs)
                })
            });
            leg.map(|leg| (*id, leg))
        })
    }

    fn news(&mut self, now: u64, place: End, status: u16, reason: &str, last: bool) {
        let (id, leg) = place;
        let Some(dialog) = self
            .bridges
            .get_mut(&id)
            .filter(|b| b.legs[leg].up)
            .and_then(|b| b.legs[leg].dialog.as_mut())
        else {
            return;
        };
        let state = if last {
            "terminated;reason=noresource"
        } else {
            "active;expires=60"
        };
        let notify = dialog
            .request("NOTIFY")
            .with(
                "Contact",
                format!("<sip:transfer@{};transport=tcp>", self.address),
            )
            .with("Event", "refer")
            .with("Subscription-State", state)
            .with_body(
                "message/sipfrag;version=2.0",
                format!("SIP/2.0 {status} {reason}\r\n"),
            );
        self.request(now, id, leg, notify, None);
    }

    /// The first step: an INVITE without an offer to the new party.
    fn ask_for_offer(&mut self, now: u64, referrer: End, with: Option<End>, number: String) {
        let (id, leg) = referrer;
        let stays = self
            .bridges
            .get(&id)
            .and_then(|b| b.legs[1 - leg].dialog.as_ref());
        let who = stays.map_or(String::new(), |d| user(&d.remote).to_owned());
        let (invite, way) = match with {
            None => match self.locate(now, &number) {
                Some((target, routes, way)) => {
                    (self.invite_for(&who, &number, &target, &routes), way)
                }
                None => return self.news(now, referrer, 404, "Not Found", true),
            },
            Some((id, leg)) => {
                let other = 1 - leg;
                let busy =
                    |b: &Bridge| b.change.is_some() || !b.acks.is_empty() || !b.legs[other].up;
                let contact = format!("<sip:{who}@{};transport=tcp>", self.address);
                let party = format!("<sip:{who}@{}>;party=calling", self.domain);
                let Some(bridge) = self.bridges.get_mut(&id).filter(|b| !busy(b)) else {
                    return self.news(now, referrer, 491, "Request Pending", true);
                };
                bridge.change = Some(other);
                let way = bridge.legs[other].way;
                let Some(dialog) = &mut bridge.legs[other].dialog else {
                    return;
                };
                let invite = dialog.request("INVITE");
                (
                    invite
                        .with("Contact", contact)
                        .with("Remote-Party-ID", party),
                    way,
                )
            }
        };
        let step = Step {
            referrer,
            with,
            number,
            asked: invite.clone(),
            offer: None,
            request: invite.clone(),
        };
        self.step(now, way, invite, step);
    }

    fn step(&mut self, now: u64, way: Way, mut invite: Text, mut step: Step) {
        let branch = format!("z9hG4bK{}", self.rng.hex(8));
        let via = format!("SIP/2.0/TCP {};branch={branch}", self.address);
        invite.fields.insert(0, ("Via".into(), via));
        let conn = match way {
            Way::Conn(conn) => Some(conn),
            Way::Address(_) => None,
        };
        step.request = invite.clone();
        if step.offer.is_none() {
            step.asked = invite.clone();
        }
        let row = Pending {
            bridge: u64::MAX,
            leg: 0,
            request: invite.clone(),
            from: None,
            conn,
            at: now,
            provisional: false,
            cancelled: false,
        };
        self.pending.insert(branch.clone(), row);
        self.transfers.insert(branch, step);
        self.send(way, invite);
    }

    /// A response to an INVITE of a transfer; false if it is none.
    pub(super) fn transfer_response(
        &mut self,
        now: u64,
        branch: &str,
        text: &Text,
        status: u16,
    ) -> bool {
        if !self.transfers.contains_key(branch) {
            return false;
        }
        if status < 200 {
            return true;
        }
        let (Some(step), Some(pending)) =
            (self.transfers.remove(branch), self.pending.remove(branch))
        else {
            return true;
        };
        if status >= 300 {
            self.refuse_ack(now, &pending, text);
            let reason = text.start.splitn(3, ' ').nth(2).unwrap_or("").to_owned();
            self.transfer_failed(now, step, status, &reason);
            return true;
        }
        let way = pending.conn.map_or(Way::Address(self.address), Way::Conn);
        match step.offer.clone() {
            None => self.offered(now, step, way, text),
            Some((party, to, answered)) => {
                self.connected(now, step, party, to, &answered, way, text);
            }
        }
        true
    }

    /// An INVITE of a transfer has failed, by an answer or without one.
    pub(super) fn transfer_failed(&mut self, now: u64, step: Step, status: u16, reason: &str) {
        if let Some((id, _)) = step.with
            && let Some(bridge) = self.bridges.get_mut(&id)
        {
            bridge.change = None;
        }
        let (id, _) = step.referrer;
        if let Some(bridge) = self.bridges.get_mut(&id).filter(|_| step.offer.is_some()) {
            bridge.change = None;
        }
        if let Some((mut party, way, _)) = step.offer.clone() {
            // The new party has answered in vain: it is acknowledged, and hung up on.
            let ack = party
                .with_cseq("ACK", dialog::cseq(&step.asked))
                .with_body("application/sdp", REFUSED);
            self.plain(way, ack);
            match step.with {
                Some((id, leg)) => {
                    self.bye(now, id, 1 - leg);
                    self.bye(now, id, leg);
                }
                None => {
                    let bye = party.request("BYE");
                    self.alone(now, way, bye);
                }
            }
        }
        self.news(now, step.referrer, status, reason, true);
    }

    pub(super) fn plain(&mut self, way: Way, mut request: Text) {
        let via = format!(
            "SIP/2.0/TCP {};branch=z9hG4bK{}",
            self.address,
            self.rng.hex(8)
        );
        request.fields.insert(0, ("Via".into(), via));
        self.send(way, request);
    }

    /// A request of our own whose answer changes nothing.
    pub(super) fn alone(&mut self, now: u64, way: Way, mut request: Text) {
        let branch = format!("z9hG4bK{}", self.rng.hex(8));
        let via = format!("SIP/2.0/TCP {};branch={branch}", self.address);
        request.fields.insert(0, ("Via".into(), via));
        let conn = match way {
            Way::Conn(conn) => Some(conn),
            Way::Address(_) => None,
        };
        let row = Pending {
            bridge: u64::MAX - 1,
            leg: 0,
            request: request.clone(),
            from: None,
            conn,
            at: now,
            provisional: false,
            cancelled: false,
        };
        self.pending.insert(branch, row);
        self.send(way, request);
    }

    /// The new party has offered: the leg that stays is asked to take it.
    fn offered(&mut self, now: u64, mut step: Step, way: Way, text: &Text) {
        let mut party = match step.with {
            None => Dialog::caller(&step.asked, text),
            Some((id, leg)) => {
                let dialog = self
                    .bridges
                    .get(&id)
                    .and_then(|b| b.legs[1 - leg].dialog.clone());
                let Some(dialog) = dialog else { return };
                dialog
            }
        };
        party.cseq = party.cseq.max(dialog::cseq(&step.asked));
        step.offer = Some((party, way, text.clone()));
        let (id, leg) = step.referrer;
        let other = 1 - leg;
        let busy = |b: &Bridge| b.change.is_some() || !b.acks.is_empty() || !b.legs[other].up;
        let contact = format!("<sip:{}@{};transport=tcp>", step.number, self.address);
        let named = format!("<sip:{}@{}>;party=called", step.number, self.domain);
        let Some(bridge) = self.bridges.get_mut(&id).filter(|b| !busy(b)) else {
            return self.transfer_failed(now, step, 491, "Request Pending");
        };
        bridge.change = Some(other);
        let way = bridge.legs[other].way;
        let Some(dialog) = &mut bridge.legs[other].dialog else {
            return;
        };
        let invite = dialog
            .request("INVITE")
            .with("Contact", contact)
            .with("Remote-Party-ID", named)
            .with_body("application/sdp", text.body.clone());
        self.step(now, way, invite, step);
    }

    /// The leg that stays has answered: the two are one call from now on.
    #[expect(clippy::too_many_arguments, reason = "both ends of what is connected")]
    fn connected(
        &mut self,
        now: u64,
        step: Step,
        mut party: Dialog,
        to: Way,
        answered: &Text,
        way: Way,
        text: &Text,
    ) {
        let (id, leg) = step.referrer;
        let Some(bridge) = self.bridges.get_mut(&id) else {
            return;
        };
        bridge.change = None;
        let other = 1 - leg;
        let stays = bridge.legs[other].dialog.clone();
        let Some(stays) = stays else { return };
        self.plain(way, stays.with_cseq("ACK", dialog::cseq(&step.request)));
        let ack = party
            .with_cseq("ACK", dialog::cseq(&step.asked))
            .with_body("application/sdp", text.body.clone());
        self.plain(to, ack);
        if let Some((id, leg)) = step.with
            && let Some(bridge) = self.bridges.get(&id)
        {
            // Its call has gone on meanwhile.
            let now = bridge.legs[1 - leg].dialog.as_ref().map_or(0, |d| d.cseq);
            party.cseq = party.cseq.max(now);
        }
        let gone = !self.bridges.get(&id).is_some_and(|b| b.legs[other].up);
        let new_id = self.next_bridge;
        self.next_bridge += 1;
        let leg_of = |dialog, way, invite: &Text, up| super::Leg {
            way,
            dialog: Some(dialog),
            invite: invite.clone(),
            up,
        };
        let row = Bridge {
            legs: [
                leg_of(stays, way, &step.request, !gone),
                leg_of(party, to, &step.asked, true),
            ],
            tag: String::new(),
            answered: true,
            cancel: false,
            forked: false,
            won: true,
            instead: None,
            change: None,
            acks: BTreeMap::new(),
        };
        let _ = answered;
        self.bridges.insert(new_id, row);
        if let Some(bridge) = self.bridges.get_mut(&id) {
            bridge.legs[other].up = false;
            bridge.legs[other].dialog = None;
        }
        self.news(now, step.referrer, 200, "OK", true);
        self.bye(now, id, leg);
        if let Some((id, leg)) = step.with {
            let mut left = true;
            if let Some(bridge) = self.bridges.get_mut(&id) {
                bridge.change = None;
                left = std::mem::replace(&mut bridge.legs[1 - leg].up, false);
                bridge.legs[1 - leg].dialog = None;
            }
            self.bye(now, id, leg);
            if !left && let Some(bridge) = self.bridges.get_mut(&new_id) {
                bridge.legs[1].up = false;
                self.bye(now, new_id, 0);
            }
        }
        if gone {
            self.bye(now, new_id, 1);
        }
        self.transferred += 1;
    }
}

/// An answer that takes nothing.
const REFUSED: &str = "v=0\r\no=- 1 1 IN IP4 10.0.0.31\r\ns=-\r\nc=IN IP4 10.0.0.31\r\nt=0 0\r\n\
    m=audio 0 RTP/AVP 0\r\n";
