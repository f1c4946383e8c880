//! The lab's own view of what crosses.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use sipx_sip::Message;

use crate::sip::message;

/// Counts what one party of the lab sends and receives; clones share the sheet.
#[derive(Clone)]
pub(crate) struct Recorder {
    party: &'static str,
    counts: Arc<Mutex<BTreeMap<Key, u64>>>,
}

/// Party, lane, whether it was sent, and what it was.
type Key = (&'static str, &'static str, bool, String);

impl Recorder {
    /// An empty sheet for that party.
    pub(crate) fn new(party: &'static str) -> Recorder {
        Recorder {
            party,
            counts: Arc::default(),
        }
    }

    /// The same sheet, written on by another party.
    pub(crate) fn of(&self, party: &'static str) -> Recorder {
        Recorder {
            party,
            counts: Arc::clone(&self.counts),
        }
    }

    /// Counts a SIP message.
    pub(crate) fn sip(&self, out: bool, message: &Message) {
        self.note("sip", out, &message::what(message));
    }

    /// Counts anything else.
    pub(crate) fn note(&self, lane: &'static str, out: bool, what: &str) {
        *self
            .counts()
            .entry((self.party, lane, out, what.to_owned()))
            .or_default() += 1;
    }

    /// A line on what each of the lab's parties sent and took.
    pub(crate) fn summary(&self) -> String {
        let of_party = |party: &str| {
            let lanes = ["sip", "http", "xmpp"].map(|lane| (lane, self.total(party, lane)));
            let busy = lanes
                .into_iter()
                .filter(|(_, (sent, taken))| sent + taken > 0);
            let words = busy.map(|(lane, (sent, taken))| format!("{lane} {sent} out {taken} in"));
            words.collect::<Vec<_>>().join(", ")
        };
        format!(
            "clients: {}; inside: {}",
            of_party("client"),
            of_party("inside")
        )
    }

    /// How many messages of a lane that party sent, and received.
    pub(crate) fn total(&self, party: &str, lane: &str) -> (u64, u64) {
        let counts = self.counts();
        let sum = |out: bool| {
            let of_lane = counts
                .iter()
                .filter(|((by, on, sent, _), _)| *by == party && *on == lane && *sent == out);
            of_lane.map(|(_, count)| count).sum()
        };
        (sum(true), sum(false))
    }

    fn counts(&self) -> MutexGuard<'_, BTreeMap<Key, u64>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
