//! What is true of every message on every wire, whoever sends it: looked at as it leaves.
//!
//! In: each message as its sender wrote it, with the connection and the end it leaves
//! ([`Watch::message`]). Out: what is wrong ([`Watch::findings`]). The rules:
//!
//! - a transaction has one final response, in time, and a node answers what it was asked
//!   (`transactions`);
//! - CSeq numbers rise in each direction of each dialog, and those of REGISTERs too, but for edges;
//! - a request with no hops left is not sent on, and each node takes one;
//! - what is no node's business leaves a node as it came in, byte for byte (`carried`);
//! - what concerns one hop alone (CANCEL, the ACK of a refusal) is sent on by nobody.
//!
//! Bounds: `KEPT_MAX` messages on their way, the oldest forgotten first.

mod carried;
mod transactions;

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use crate::dialog;
use crate::raw::Raw;
use crate::text::Text;

pub use transactions::Open;

/// The field by which a message is known again behind a node.
pub const TRACE: &str = "X-Sim-Trace";

/// Messages that are remembered at once.
const KEPT_MAX: usize = 20_000;

/// Who is at an end of a connection, as far as the rules go.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Who {
    /// For people.
    pub name: String,
    /// A node, and which of its lives; `None` for telephones and call control.
    pub life: Option<u32>,
    /// A core.
    pub core: bool,
}

/// A connection at the moment a message leaves on it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The connection.
    pub pipe: u64,
    /// The end it leaves from.
    pub end: usize,
}

/// Direction of a dialog: sender, receiver, Call-ID, tag of From, tag of To. Before there is one
/// the Request-URI tells the branches of an INVITE's fork apart (RFC 3261 §16.6).
type Direction = (Who, String, String, String, String);

/// Everything that was seen.
#[derive(Default)]
pub struct Watch {
    /// What is wrong.
    pub findings: Vec<String>,
    /// Messages looked at, and those known again behind a node.
    pub seen: [u64; 2],
    open: BTreeMap<(Place, String), Open>,
    numbers: BTreeMap<Direction, u32>,
    /// What each receiver got, by trace.
    on_the_way: BTreeMap<(u64, String), Rc<carried::Seen>>,
    /// Requests that went on to where nobody was: nobody need answer them (RFC 4320 §4.2).
    lost: BTreeSet<String>,
    /// Calls in which a BYE was sent, by Call-ID.
    ended: BTreeSet<String>,
    next_trace: u64,
}

impl Watch {
    /// A number for a message that begins its way.
    pub fn trace(&mut self) -> u64 {
        self.next_trace += 1;
        self.next_trace
    }

    /// Looks at a message that leaves `from` for `to`.
    pub fn message(&mut self, now: u64, place: Place, from: &Who, to: &Who, bytes: &[u8]) {
        let Some(text) = Text::take(&mut bytes.to_vec()) else {
            return;
        };
        self.seen[0] += 1;
        self.transaction(now, place, from, to, &text);
        if text.status().is_none() {
            self.number(from, to, &text);
            if text.method() == "BYE" {
                self.ended.insert(text.field("Call-ID").to_owned());
            }
        }
        if let Some(raw) = Raw::of(bytes) {
            self.carried(from, to, &text, raw);
        }
    }

    /// CSeq rises in each direction of a dialog (RFC 3261 §12.2.1.1) and from REGISTER to REGISTER
    /// (§10.2). An edge is a proxy to a REGISTER: what comes by two connections, and what goes
    /// round the cores, has no order there (§16). Whoever registers refuses what has been overtaken
    /// (§10.3, step 7), and so does the core on the way to him.
    fn number(&mut self, from: &Who, to: &Who, text: &Text) {
        let proxied = text.method() == "REGISTER" && from.life.is_some() && !from.core;
        if proxied || matches!(text.method(), "ACK" | "CANCEL") {
            return;
        }
        let tag = |field| Text::tag(text.field(field)).unwrap_or("").to_owned();
        let direction = (
            from.clone(),
            to.name.clone(),
            text.field("Call-ID").to_owned(),
            tag("From"),
            match tag("To") {
                none if none.is_empty() && text.method() == "INVITE" => text.uri().to_owned(),
                tag => tag,
            },
        );
        let number = dialog::cseq(text);
        let before = self.numbers.insert(direction, number);
        if before.is_some_and(|before| before >= number) {
            self.find(from, text, &format!("has CSeq {number} after {before:?}"));
        }
    }

    fn find(&mut self, from: &Who, text: &Text, what: &str) {
        let id = text.field("Call-ID");
        self.findings
            .push(format!("{} [{id}] of {} {what}", text.start, from.name));
    }
}
