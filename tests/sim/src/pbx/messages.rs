//! What call control does outside of calls: MESSAGE from number to number, and the state of a
//! number for those who watch it.

use super::{Pbx, Pending, Way, address, is_phone, user};
use crate::dialog::Dialog;
use crate::text::Text;
use crate::ua::SECOND;

/// Between two pieces of news.
const NEWS: u64 = 20 * SECOND;

/// Somebody who watches a number.
pub(super) struct Watcher {
    dialog: Dialog,
    way: Way,
    number: String,
    who: String,
    until: u64,
    pub(super) due: u64,
}

impl Pbx {
    /// A request of our own outside of any call.
    fn begin(&mut self, now: u64, way: Way, mut request: Text, from: Option<(Way, Text)>) {
        let branch = format!("z9hG4bK{}", self.rng.hex(8));
        let via = format!("SIP/2.0/TCP {};branch={branch}", self.address);
        request.fields.insert(0, ("Via".into(), via));
        let conn = match way {
            Way::Conn(conn) => Some(conn),
            Way::Address(_) => None,
        };
        let row = Pending {
            bridge: u64::MAX,
            leg: 0,
            request: request.clone(),
            from,
            conn,
            at: now,
            provisional: false,
            cancelled: false,
        };
        self.pending.insert(branch, row);
        self.send(way, request);
    }

    pub(super) fn message(&mut self, now: u64, conn: u64, text: &Text) {
        let (number, from) = (
            user(text.uri()).to_owned(),
            user(text.field("From")).to_owned(),
        );
        let who = user(text.field("P-Asserted-Identity")).to_owned();
        self.asserted.push((from.clone(), who));
        let Some((target, routes, way)) = self.locate(now, &number) else {
            return self.answer(conn, text, 404, "Not Found");
        };
        let domain = self.domain.clone();
        let mut request = Text::request("MESSAGE", &target);
        for route in routes {
            request = request.with("Route", route);
        }
        let request = request
            .with(
                "From",
                format!("<sip:{from}@{domain}>;tag={}", self.rng.hex(6)),
            )
            .with("To", format!("<sip:{number}@{domain}>"))
            .with("Call-ID", self.rng.hex(10))
            .with("CSeq", "1 MESSAGE")
            .with("Max-Forwards", "70")
            .with_body(text.field("Content-Type"), text.body.clone());
        self.begin(now, way, request, Some((Way::Conn(conn), text.clone())));
    }

    pub(super) fn message_answered(&mut self, pending: Pending, text: &Text, status: u16) {
        if status < 200 {
            return;
        }
        let id = pending.request.field("Call-ID");
        if pending.request.method() == "NOTIFY" && matches!(status, 404 | 408 | 430 | 480 | 481) {
            self.subscriptions.remove(id);
        }
        if let Some((way, request)) = pending.from {
            let reason = text.start.splitn(3, ' ').nth(2).unwrap_or("").to_owned();
            let tag = self.rng.hex(6);
            self.send(way, Text::response(&request, status, &reason, &tag));
        }
    }

    pub(super) fn subscribe(&mut self, now: u64, conn: u64, text: &Text) {
        let id = text.field("Call-ID").to_owned();
        let seconds: u64 = text.field("Expires").trim().parse().unwrap_or(0);
        let fresh = Text::tag(text.field("To")).is_none();
        let tag = self.rng.hex(6);
        let contact = format!("<sip:presence@{};transport=tcp>", self.address);
        if fresh {
            let row = Watcher {
                dialog: Dialog::callee(text, &tag),
                way: Way::Conn(conn),
                number: user(text.uri()).to_owned(),
                who: user(text.field("From")).to_owned(),
                until: now,
                due: now,
            };
            self.watched += 1;
            self.subscriptions.insert(id.clone(), row);
        }
        let known = self
            .subscriptions
            .get_mut(&id)
            .filter(|w| fresh || w.dialog.matches(text));
        let Some(row) = known else {
            let response = Text::response(text, 481, "Subscription Does Not Exist", "");
            return self.send(Way::Conn(conn), response);
        };
        row.way = Way::Conn(conn);
        row.until = now + seconds * SECOND;
        row.due = now;
        let response = Text::response(text, 200, "OK", &tag)
            .with("Contact", contact)
            .with("Expires", seconds.to_string());
        self.send(Way::Conn(conn), response);
        self.tell_watchers(now);
    }

    /// Sends the news that are due.
    pub(super) fn tell_watchers(&mut self, now: u64) {
        let due: Vec<String> = self
            .subscriptions
            .iter()
            .filter(|(_, w)| w.due <= now)
            .map(|(id, _)| id.clone())
            .collect();
        for id in due {
            let Some(row) = self.subscriptions.get_mut(&id) else {
                continue;
            };
            let over = row.until <= now;
            row.due = (now + NEWS).min(row.until.max(now + 1));
            let state = match over {
                true => "terminated;reason=timeout".to_owned(),
                false => format!("active;expires={}", (row.until - now) / SECOND),
            };
            let notify = row
                .dialog
                .request("NOTIFY")
                .with(
                    "Contact",
                    format!("<sip:presence@{};transport=tcp>", self.address),
                )
                .with("Event", "presence")
                .with("Subscription-State", state)
                .with_body(
                    "text/x-state",
                    format!("state of {} for {}", row.number, row.who),
                );
            let way = row.way;
            if over {
                self.subscriptions.remove(&id);
            }
            self.begin(now, way, notify, None);
        }
    }

    /// News go by a new connection, where there is one to be had.
    pub(super) fn watchers_disconnected(&mut self, conn: u64) {
        self.subscriptions.retain(|_, row| {
            if row.way != Way::Conn(conn) {
                return true;
            }
            let first = row.dialog.routes.first();
            let hop = address(first.map_or(row.dialog.target.as_str(), String::as_str));
            match hop.filter(|hop| !is_phone(*hop)) {
                Some(hop) => row.way = Way::Address(hop),
                None => return false,
            }
            true
        });
    }
}
