//! A call's first INVITE, from one leg to the other.

use std::collections::BTreeMap;

use super::{Bridge, Leg, PATIENCE, Pbx, Pending, Way, user};
use crate::dialog::{self, Dialog};
use crate::text::Text;

/// What goes from leg to leg as it is.
const PASSED: [&str; 8] = [
    "Supported",
    "Require",
    "RSeq",
    "Session-Expires",
    "Min-SE",
    "Allow",
    "Event",
    "Reason",
];

/// A message with what another one carries.
pub(super) fn passed(from: &Text, mut to: Text) -> Text {
    for name in PASSED {
        for value in from.all(name) {
            to = to.with(name, value);
        }
    }
    if from.body.is_empty() {
        return to;
    }
    to.with_body(from.field("Content-Type"), from.body.clone())
}

impl Pbx {
    pub(super) fn invite(&mut self, now: u64, conn: u64, text: &Text) {
        let number = user(text.uri()).to_owned();
        let who = user(text.field("P-Asserted-Identity")).to_owned();
        self.asserted
            .push((user(text.field("From")).to_owned(), who));
        let Some((target, routes, way)) = self.locate(now, &number) else {
            return self.answer(conn, text, 404, "Not Found");
        };
        let caller = user(text.field("From")).to_owned();
        let tag = self.rng.hex(6);
        let invite = self.invite_for(&caller, &number, &target, &routes);
        let invite = passed(text, invite);
        self.send(Way::Conn(conn), Text::response(text, 100, "Trying", ""));
        let id = self.next_bridge;
        self.next_bridge += 1;
        let legs = [
            Leg {
                way: Way::Conn(conn),
                dialog: Some(Dialog::callee(text, &tag)),
                invite: text.clone(),
                up: false,
            },
            Leg {
                way,
                dialog: None,
                invite: invite.clone(),
                up: false,
            },
        ];
        let bridge = Bridge {
            legs,
            tag,
            answered: false,
            cancel: false,
            cancelled: false,
            instead: None,
            change: None,
            acks: BTreeMap::new(),
        };
        self.bridges.insert(id, bridge);
        let from = Some((Way::Conn(conn), text.clone()));
        let sent = self.request(now, id, 1, invite, from);
        if let Some(bridge) = self.bridges.get_mut(&id) {
            bridge.legs[1].invite = sent;
        }
        self.next_timer += 1;
        self.timers.insert((now + PATIENCE, self.next_timer), id);
    }

    /// An INVITE of a caller to a number, as it leaves but for its Via and body.
    pub(super) fn invite_for(
        &mut self,
        caller: &str,
        number: &str,
        target: &str,
        routes: &[String],
    ) -> Text {
        let (domain, at) = (self.domain.clone(), self.address);
        let mut invite = Text::request("INVITE", target);
        for route in routes {
            invite = invite.with("Route", route.clone());
        }
        invite
            .with(
                "From",
                format!("<sip:{caller}@{domain}>;tag={}", self.rng.hex(6)),
            )
            .with("To", format!("<sip:{number}@{domain}>"))
            .with("Call-ID", format!("{}@{}", self.rng.hex(10), at.ip()))
            .with("CSeq", "101 INVITE")
            .with("Max-Forwards", "70")
            .with("Contact", format!("<sip:{caller}@{at};transport=tcp>"))
            .with(
                "Call-Info",
                "<urn:x-cisco-remotecc:callinfo>; orientation=from",
            )
    }

    /// Sends a request to a leg; gives it as it was sent.
    pub(super) fn request(
        &mut self,
        now: u64,
        bridge: u64,
        leg: usize,
        mut request: Text,
        from: Option<(Way, Text)>,
    ) -> Text {
        let branch = format!("z9hG4bK{}", self.rng.hex(8));
        let via = format!("SIP/2.0/TCP {};branch={branch}", self.address);
        request.fields.insert(0, ("Via".into(), via));
        let Some(way) = self.bridges.get(&bridge).map(|b| b.legs[leg].way) else {
            return request;
        };
        if request.method() != "ACK" {
            let conn = if let Way::Conn(conn) = way {
                Some(conn)
            } else {
                None
            };
            let row = Pending {
                bridge,
                leg,
                request: request.clone(),
                from,
                conn,
                at: now,
                provisional: false,
            };
            self.pending.insert(branch, row);
        }
        self.send(way, request.clone());
        request
    }

    pub(super) fn contact(&self, dialog: Option<&Dialog>) -> String {
        let user = dialog.map_or("", |d| user(&d.local));
        format!("<sip:{user}@{};transport=tcp>", self.address)
    }

    pub(super) fn response(&mut self, now: u64, _conn: u64, text: &Text) {
        let branch = dialog::branch(text).to_owned();
        let Some(status) = text.status() else { return };
        if text.method() == "CANCEL" || self.transfer_response(now, &branch, text, status) {
            return;
        }
        let Some(pending) = self.pending.get_mut(&branch) else {
            if self.timed_out.contains(&branch) {
                return;
            }
            return self.find(format!(
                "an answer {status} to a {} that is not open",
                text.method()
            ));
        };
        pending.provisional = true;
        let (id, leg) = (pending.bridge, pending.leg);
        let initial = Text::tag(pending.request.field("To")).is_none();
        if status < 200 {
            let invite = pending.request.method() == "INVITE";
            if initial
                && invite
                && let Some((way, request)) = pending.from.clone()
            {
                self.early_dialog(id, &branch, text);
                self.ringing(now, id, way, &request, text, status);
            }
            return;
        }
        let Some(pending) = self.pending.remove(&branch) else {
            return;
        };
        if matches!(pending.request.method(), "MESSAGE" | "NOTIFY") && pending.bridge == u64::MAX {
            return self.message_answered(pending, text, status);
        }
        if pending.request.method() == "INVITE" {
            if status >= 300 {
                self.refuse_ack(now, &pending, text);
            }
            if initial {
                return self.answered(now, id, pending, text, status);
            }
        }
        self.within_answered(now, id, leg, pending, text, status);
    }

    fn ringing(&mut self, now: u64, id: u64, way: Way, request: &Text, text: &Text, status: u16) {
        let Some(bridge) = self.bridges.get(&id) else {
            return;
        };
        if bridge.cancel {
            return self.send_cancel(now, id);
        }
        if status == 100 || bridge.answered {
            return;
        }
        let reason = text.start.splitn(3, ' ').nth(2).unwrap_or("").to_owned();
        let contact = self.contact(bridge.legs[0].dialog.as_ref());
        let response = Text::response(request, status, &reason, &bridge.tag);
        self.send(way, passed(text, response.with("Contact", contact)));
    }

    /// What the callee says before it answers makes a dialog already.
    fn early_dialog(&mut self, id: u64, branch: &str, text: &Text) {
        let Some(request) = self.pending.get(branch).map(|p| &p.request) else {
            return;
        };
        let Some(bridge) = self.bridges.get_mut(&id) else {
            return;
        };
        if bridge.legs[1].dialog.is_none() && Text::tag(text.field("To")).is_some() {
            bridge.legs[1].dialog = Some(Dialog::caller(request, text));
        }
    }

    /// The ACK of a refusal, in the INVITE's own transaction.
    pub(super) fn refuse_ack(&mut self, _now: u64, pending: &Pending, response: &Text) {
        let invite = &pending.request;
        let mut ack = Text::request("ACK", invite.uri());
        for name in ["Via", "Route", "From"] {
            for value in invite.all(name) {
                ack = ack.with(name, value);
            }
        }
        let ack = ack
            .with("To", response.field("To"))
            .with("Call-ID", invite.field("Call-ID"))
            .with("CSeq", format!("{} ACK", dialog::cseq(invite)))
            .with("Max-Forwards", "70");
        if let Some(conn) = pending.conn {
            self.send(Way::Conn(conn), ack);
        }
    }

    /// The final answer to a call's first INVITE.
    fn answered(&mut self, now: u64, id: u64, pending: Pending, text: &Text, status: u16) {
        if status >= 300 {
            let reason = text.start.splitn(3, ' ').nth(2).unwrap_or("").to_owned();
            return self.failed(now, pending, status, &reason);
        }
        let Some(bridge) = self.bridges.get_mut(&id) else {
            return;
        };
        let early = bridge.legs[1].dialog.as_ref().map_or(0, |d| d.cseq);
        let mut dialog = Dialog::caller(&pending.request, text);
        let number = dialog.cseq;
        dialog.cseq = number.max(early);
        bridge.legs[1].dialog = Some(dialog);
        bridge.legs[1].up = true;
        if let Some(conn) = pending.conn {
            bridge.legs[1].way = Way::Conn(conn);
        }
        let gone = bridge.answered || bridge.instead.is_some();
        let given_up = bridge.instead.take();
        if gone {
            // Nobody waits for it any more.
            bridge.answered = true;
            let ack = bridge.legs[1]
                .dialog
                .as_ref()
                .map(|d| d.with_cseq("ACK", number));
            if let Some(ack) = ack {
                self.request(now, id, 1, ack, None);
            }
            self.bye(now, id, 1);
            if let (Some((status, reason)), Some((way, request))) = (given_up, pending.from) {
                self.final_answer(id, way, &request, status, reason);
            }
            return;
        }
        bridge.answered = true;
        bridge.legs[0].up = true;
        let cseq_here = dialog::cseq(&bridge.legs[0].invite);
        bridge
            .acks
            .insert((1, cseq_here), dialog::cseq(&pending.request));
        let tag = bridge.tag.clone();
        let contact = self.contact(self.bridges[&id].legs[0].dialog.as_ref());
        if let Some((way, request)) = pending.from {
            let response = Text::response(&request, 200, "OK", &tag).with("Contact", contact);
            self.send(way, passed(text, response));
        }
    }

    fn final_answer(&mut self, id: u64, way: Way, request: &Text, status: u16, reason: &str) {
        let tag = self
            .bridges
            .get(&id)
            .map(|b| b.tag.clone())
            .unwrap_or_default();
        self.send(way, Text::response(request, status, reason, &tag));
    }

    /// A request of ours has failed, by an answer or without one.
    pub(super) fn failed(&mut self, now: u64, pending: Pending, status: u16, reason: &str) {
        let branch = dialog::branch(&pending.request).to_owned();
        if let Some(step) = self.transfers.remove(&branch) {
            return self.transfer_failed(now, step, status, reason);
        }
        if pending.bridge == u64::MAX {
            let text = Text::response(&pending.request, status, reason, "");
            return self.message_answered(pending, &text, status);
        }
        let id = pending.bridge;
        let invite = pending.request.method() == "INVITE";
        let initial = Text::tag(pending.request.field("To")).is_none();
        if !(invite && initial) {
            let text = Text::response(&pending.request, status, reason, "");
            return self.within_answered(now, id, pending.leg, pending, &text, status);
        }
        let Some(bridge) = self.bridges.get_mut(&id) else {
            return;
        };
        let (status, reason) = match (bridge.instead.take(), status) {
            (Some(instead), 487) => instead,
            _ => (status, reason),
        };
        let open = !bridge.answered;
        bridge.answered = true;
        if let (true, Some((way, request))) = (open, pending.from) {
            self.final_answer(id, way, &request, status, reason);
        }
    }

    /// The caller is gone, or has waited long enough: the other leg is cancelled.
    pub(super) fn give_up(&mut self, now: u64, id: u64, instead: Option<(u16, &'static str)>) {
        let Some(bridge) = self.bridges.get_mut(&id) else {
            return;
        };
        bridge.cancel = true;
        bridge.instead = instead;
        if instead.is_none() {
            bridge.answered = true;
        }
        let ready = self
            .pending
            .values()
            .any(|p| p.bridge == id && p.leg == 1 && p.provisional);
        if ready {
            self.send_cancel(now, id);
        }
    }

    /// Sends the CANCEL of the callee's leg, once.
    pub(super) fn send_cancel(&mut self, _now: u64, id: u64) {
        let Some(bridge) = self.bridges.get_mut(&id) else {
            return;
        };
        bridge.cancel = false;
        if std::mem::replace(&mut bridge.cancelled, true) {
            // The caller gave up as well while it was on its way.
            return;
        }
        let invite = bridge.legs[1].invite.clone();
        let way = match self
            .pending
            .get(dialog::branch(&invite))
            .and_then(|p| p.conn)
        {
            Some(conn) => Way::Conn(conn),
            None => return,
        };
        let mut cancel = Text::request("CANCEL", invite.uri());
        for name in ["Via", "Route", "From", "To", "Call-ID", "Max-Forwards"] {
            for value in invite.all(name) {
                cancel = cancel.with(name, value);
            }
        }
        self.send(
            way,
            cancel.with("CSeq", format!("{} CANCEL", dialog::cseq(&invite))),
        );
    }

    pub(super) fn cancel(&mut self, now: u64, conn: u64, text: &Text) {
        let branch = dialog::branch(text);
        let found = self.bridges.iter().find(|(_, b)| {
            dialog::branch(&b.legs[0].invite) == branch
                && b.legs[0].invite.field("Call-ID") == text.field("Call-ID")
        });
        let Some((&id, bridge)) = found else {
            return self.answer(conn, text, 481, "Call Does Not Exist");
        };
        let (tag, open) = (bridge.tag.clone(), !bridge.answered);
        self.send(Way::Conn(conn), Text::response(text, 200, "OK", &tag));
        if open {
            self.give_up(now, id, Some((487, "Request Terminated")));
        }
    }
}
