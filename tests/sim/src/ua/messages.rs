//! What happens outside of calls: MESSAGE (RFC 3428), and subscriptions (RFC 6665).

use super::{SECOND, Tick, Ua};
use crate::dialog::Dialog;
use crate::text::Text;

/// How long a subscription is asked for, in seconds.
const EXPIRES: u64 = 120;

/// A subscription to the state of a number.
pub struct Subscription {
    /// The number.
    pub number: String,
    /// News that came.
    pub news: u32,
    /// It is over, or never came to be.
    pub over: bool,
    /// It was ended by us: the last news is still to come.
    pub ending: bool,
    call_id: String,
    tag: String,
    dialog: Option<Dialog>,
}

impl Ua {
    fn outside_dialog(&mut self, method: &str, number: &str, tag: &str, call_id: &str) -> Text {
        let at = &self.setup;
        Text::request(method, &format!("sip:{number}@{}", at.domain))
            .with(
                "From",
                format!("<sip:{}@{}>;tag={tag}", at.number, at.domain),
            )
            .with("To", format!("<sip:{number}@{}>", at.domain))
            .with("Call-ID", call_id)
            .with("CSeq", format!("1 {method}"))
            .with("Max-Forwards", "70")
    }

    /// Sends a text to a number.
    pub fn message(&mut self, now: u64, number: &str) {
        let (tag, id) = (self.rng.hex(6), self.rng.hex(12));
        self.texts[0] += 1;
        let body = format!(
            "from {} to {number}, the {}.: ü ☎\r\n\r\nCSeq: 9 BYE\r\n\r\n",
            self.setup.number, self.texts[0]
        );
        let request = self
            .outside_dialog("MESSAGE", number, &tag, &id)
            .with_body("text/plain;charset=utf-8", body);
        self.send(now, request, None, false);
    }

    pub(super) fn message_came(&mut self, text: &Text) {
        let from = crate::pbx::user(text.field("From")).to_owned();
        let wanted = format!("from {from} to {}, the ", self.setup.number);
        if !text.body.starts_with(&wanted)
            || !text.body.ends_with(": ü ☎\r\n\r\nCSeq: 9 BYE\r\n\r\n")
        {
            self.find(format!("a text {:?} from {from}", text.body));
        }
        self.texts[2] += 1;
        self.ok(text);
    }

    /// Watches the state of a number.
    pub fn subscribe(&mut self, now: u64, number: &str) {
        let (tag, call_id) = (self.rng.hex(6), self.rng.hex(12));
        let request = self
            .outside_dialog("SUBSCRIBE", number, &tag, &call_id)
            .with("Contact", self.contact())
            .with("Event", "presence")
            .with("Expires", EXPIRES.to_string());
        let row = Subscription {
            number: number.to_owned(),
            news: 0,
            over: !self.linked,
            ending: false,
            call_id,
            tag,
            dialog: None,
        };
        self.subscriptions.push(row);
        self.send(now, request, None, false);
    }

    /// Ends every subscription.
    pub fn unsubscribe_all(&mut self, now: u64) {
        for n in 0..self.subscriptions.len() {
            let row = &mut self.subscriptions[n];
            if !row.over && !row.ending {
                row.ending = true;
                self.renew(now, n);
            }
        }
    }

    /// Renews a subscription, or ends it.
    pub(super) fn renew(&mut self, now: u64, n: usize) {
        let contact = self.contact();
        let row = &mut self.subscriptions[n];
        if row.over {
            return;
        }
        let expires = if row.ending { 0 } else { EXPIRES };
        let Some(dialog) = row.dialog.as_mut().filter(|_| self.linked) else {
            row.over = true;
            return;
        };
        let request = dialog
            .request("SUBSCRIBE")
            .with("Contact", contact)
            .with("Event", "presence")
            .with("Expires", expires.to_string());
        self.send(now, request, None, false);
    }

    /// The final answer to a SUBSCRIBE.
    pub(super) fn subscribed(&mut self, now: u64, request: &Text, text: &Text, status: u16) {
        let id = text.field("Call-ID");
        let Some(n) = self.subscriptions.iter().position(|s| s.call_id == id) else {
            return;
        };
        let row = &mut self.subscriptions[n];
        if status >= 300 {
            row.over = true;
            return;
        }
        if row.dialog.is_none() {
            row.dialog = Some(Dialog::caller(request, text));
        }
        if row.ending {
            row.over = true;
        } else {
            self.arm(now + EXPIRES / 2 * SECOND, Tick::Renew(n));
        }
    }

    /// A NOTIFY within a subscription, if it is one.
    pub(super) fn notified(&mut self, text: &Text) -> bool {
        let (id, tag) = (text.field("Call-ID"), Text::tag(text.field("To")));
        let found = self
            .subscriptions
            .iter()
            .position(|s| s.call_id == id && Some(s.tag.as_str()) == tag);
        let Some(n) = found.filter(|_| text.method() == "NOTIFY") else {
            return false;
        };
        let row = &mut self.subscriptions[n];
        if row.over && !row.ending {
            self.reply(Text::response(text, 481, "Subscription Does Not Exist", ""));
            return true;
        }
        row.news += 1;
        if text.field("Subscription-State").starts_with("terminated") {
            row.over = true;
        }
        let wanted = format!("state of {} for {}", row.number, self.setup.number);
        if text.body != wanted {
            self.find(format!("news {:?} in place of {wanted:?}", text.body));
        }
        self.reply(Text::response(text, 200, "OK", ""));
        true
    }

    /// The last CSeq number of the subscription that a request belongs to, 0 without one.
    pub(super) fn cseq_outside(&self, request: &Text) -> u32 {
        let id = request.field("Call-ID");
        let found = self.subscriptions.iter().find(|s| s.call_id == id);
        found.and_then(|s| s.dialog.as_ref()).map_or(0, |d| d.cseq)
    }

    pub(super) fn number_outside(&mut self, request: &Text, cseq: u32) {
        let id = request.field("Call-ID");
        let found = self.subscriptions.iter_mut().find(|s| s.call_id == id);
        if let Some(dialog) = found.and_then(|s| s.dialog.as_mut()) {
            dialog.cseq = cseq;
        }
    }

    /// The connection is gone, and the subscriptions with it.
    pub(super) fn subscriptions_lost(&mut self) {
        for row in &mut self.subscriptions {
            row.over |= !self.setup.keeps || row.dialog.is_none() || row.ending;
        }
    }
}
