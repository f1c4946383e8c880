//! Requests within a call, from leg to leg.

use super::bridge::passed;
use super::{Pbx, Pending, Way};
use crate::dialog;
use crate::text::Text;

impl Pbx {
    pub(super) fn within(&mut self, now: u64, conn: u64, text: &Text) {
        let Some((id, leg)) = self.leg_of(text) else {
            if text.method() != "ACK" {
                self.send(
                    Way::Conn(conn),
                    Text::response(text, 481, "Call Does Not Exist", ""),
                );
            }
            return;
        };
        if let Some(bridge) = self.bridges.get_mut(&id) {
            bridge.legs[leg].way = Way::Conn(conn);
        }
        match text.method() {
            "ACK" => self.ack(now, id, leg, text),
            "BYE" => self.ended(now, id, leg, conn, text),
            _ => self.carry(now, id, leg, conn, text),
        }
    }

    /// The call and the leg that a request belongs to: where a leg has been transferred, the call
    /// in which it is now.
    pub(super) fn leg_of(&self, text: &Text) -> Option<(u64, usize)> {
        self.bridges.iter().rev().find_map(|(id, b)| {
            let leg = b
                .legs
                .iter()
                .position(|l| l.dialog.as_ref().is_some_and(|d| d.matches(text)));
            leg.map(|leg| (*id, leg))
        })
    }

    fn ack(&mut self, now: u64, id: u64, leg: usize, text: &Text) {
        let other = 1 - leg;
        let Some(bridge) = self.bridges.get_mut(&id) else {
            return;
        };
        let Some(number) = bridge.acks.remove(&(other, dialog::cseq(text))) else {
            return;
        };
        let Some(dialog) = &bridge.legs[other].dialog else {
            return;
        };
        let ack = dialog.with_cseq("ACK", number);
        self.request(now, id, other, passed(text, ack), None);
    }

    fn ended(&mut self, now: u64, id: u64, leg: usize, conn: u64, text: &Text) {
        self.send(Way::Conn(conn), Text::response(text, 200, "OK", ""));
        let Some(bridge) = self.bridges.get_mut(&id) else {
            return;
        };
        bridge.legs[leg].up = false;
        if leg == 0 && !bridge.answered {
            return self.give_up(now, id, Some((487, "Request Terminated")));
        }
        self.bye(now, id, 1 - leg);
    }

    /// Ends a leg that is up.
    pub(super) fn bye(&mut self, now: u64, id: u64, leg: usize) {
        let Some(bridge) = self.bridges.get_mut(&id) else {
            return;
        };
        if !std::mem::take(&mut bridge.legs[leg].up) {
            return;
        }
        let bye = bridge.legs[leg].dialog.as_mut().map(|d| d.request("BYE"));
        if let Some(bye) = bye {
            self.request(now, id, leg, bye, None);
        }
    }

    /// Sends a request on to the other leg.
    fn carry(&mut self, now: u64, id: u64, leg: usize, conn: u64, text: &Text) {
        let other = 1 - leg;
        let Some(bridge) = self.bridges.get_mut(&id) else {
            return;
        };
        let way = Way::Conn(conn);
        let invite = text.method() == "INVITE";
        // PRACK, and the like, before the call is answered.
        let early = !bridge.answered && !invite && bridge.legs[other].dialog.is_some();
        if !bridge.legs[other].up && !early {
            return self.send(way, Text::response(text, 481, "Call Does Not Exist", ""));
        }
        if invite && (bridge.change.is_some() || !bridge.acks.is_empty()) {
            return self.send(way, Text::response(text, 491, "Request Pending", ""));
        }
        if invite {
            bridge.change = Some(other);
        }
        let Some(dialog) = &mut bridge.legs[other].dialog else {
            return;
        };
        let mut request = passed(text, dialog.request(text.method()));
        if let Some((number, _)) = text.field("RAck").split_once(' ') {
            let invite = dialog::cseq(&bridge.legs[other].invite);
            request = request.with("RAck", format!("{number} {invite} INVITE"));
        }
        let contact = self.contact(self.bridges[&id].legs[other].dialog.as_ref());
        self.request(
            now,
            id,
            other,
            request.with("Contact", contact),
            Some((way, text.clone())),
        );
    }

    /// The final answer to a request within a call.
    pub(super) fn within_answered(
        &mut self,
        now: u64,
        id: u64,
        leg: usize,
        pending: Pending,
        text: &Text,
        status: u16,
    ) {
        let Some(bridge) = self.bridges.get_mut(&id) else {
            return;
        };
        let invite = pending.request.method() == "INVITE";
        if invite {
            bridge.change = None;
        }
        let Some((way, request)) = pending.from else {
            return;
        };
        if invite && status < 300 {
            bridge.acks.insert(
                (leg, dialog::cseq(&request)),
                dialog::cseq(&pending.request),
            );
        }
        let contact = self.contact(self.bridges[&id].legs[1 - leg].dialog.as_ref());
        let reason = text.start.splitn(3, ' ').nth(2).unwrap_or("").to_owned();
        let response = Text::response(&request, status, &reason, "").with("Contact", contact);
        self.send(way, passed(text, response));
        if matches!(status, 481 | 408) && self.bridges.get(&id).is_some_and(|b| b.answered) {
            // The dialog is gone (RFC 5057): the other leg is ended too.
            if let Some(bridge) = self.bridges.get_mut(&id) {
                bridge.legs[leg].up = false;
            }
            self.bye(now, id, 1 - leg);
        }
    }
}
