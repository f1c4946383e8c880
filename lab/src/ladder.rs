//! What crossed whom, in the order of time.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use sipx_sip::Message;

use crate::sip::message;

const KEPT: usize = 20_000;

/// Writes down what one party of the lab sends and receives; clones share the paper.
#[derive(Clone)]
pub(crate) struct Recorder {
    party: &'static str,
    seen: Arc<Mutex<VecDeque<Seen>>>,
}

/// One message that a party of the lab sent or received.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    /// When.
    pub(crate) at: SystemTime,
    /// Who.
    pub(crate) party: &'static str,
    /// `sip`, `http` or `xmpp`.
    pub(crate) lane: &'static str,
    /// Whether it was sent, rather than received.
    pub(crate) out: bool,
    /// Method or status.
    pub(crate) what: String,
    /// What tells exchanges apart, such as a Call-ID.
    pub(crate) id: String,
}

impl Recorder {
    /// An empty sheet for that party.
    pub(crate) fn new(party: &'static str) -> Recorder {
        Recorder {
            party,
            seen: Arc::default(),
        }
    }

    /// The same sheet, written on by another party.
    pub(crate) fn of(&self, party: &'static str) -> Recorder {
        Recorder {
            party,
            seen: Arc::clone(&self.seen),
        }
    }

    /// Notes a SIP message.
    pub(crate) fn sip(&self, out: bool, message: &Message) {
        self.note(
            "sip",
            out,
            message::what(message),
            message::call_id(message.headers()),
        );
    }

    /// Notes anything else.
    pub(crate) fn note(&self, lane: &'static str, out: bool, what: String, id: String) {
        let mut seen = self.seen();
        if seen.len() == KEPT {
            seen.pop_front();
        }
        seen.push_back(Seen {
            at: SystemTime::now(),
            party: self.party,
            lane,
            out,
            what,
            id,
        });
    }

    /// All that was noted.
    pub(crate) fn all(&self) -> Vec<Seen> {
        self.seen().iter().cloned().collect()
    }

    fn seen(&self) -> MutexGuard<'_, VecDeque<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
