//! Who watches the wires of two phones: whatever they do, each transaction ends once, numbers rise,
//! and what is nobody's to change arrives as it was sent.

use super::*;

/// A header that nobody on the way knows.
pub(super) const NOTE: &str = "X-Note";

/// The phone it leads to, Call-ID and tags.
type Way = (FlowId, Vec<u8>, Vec<u8>, Vec<u8>);

#[derive(Default)]
pub(super) struct Watch {
    /// The final answer of each transaction of a phone's.
    finals: base::Map<(FlowId, Vec<u8>, Vec<u8>), u16>,
    /// The last number of each dialog's requests towards a phone.
    numbers: base::Map<Way, u32>,
    /// Transactions that were begun: what is sent again is not new.
    begun: base::Map<Vec<u8>, u32>,
    /// Bodies that were sent, by the note that goes with them.
    notes: base::Map<Vec<u8>, Vec<u8>>,
    pub(super) carried: usize,
}

impl Watch {
    /// A body for a request, with its note.
    pub(super) fn note(&mut self, rng: &mut Rng) -> (String, Vec<u8>) {
        let note = format!("{};Odd=\"{:x}\"", self.notes.len(), rng.u32());
        let mut body = vec![0; 1 + rng.below(60) as usize];
        rng.fill(&mut body);
        self.notes.insert(note.clone().into_bytes(), body.clone());
        (note, body)
    }

    /// A connection is gone, and with it what the core knew of its transactions.
    pub(super) fn flow_down(&mut self, flow: FlowId) {
        self.finals.retain(|(f, _, _), _| *f != flow);
    }

    /// The core has sent something to a phone.
    pub(super) fn sees(&mut self, flow: FlowId, message: &Message) {
        let via = message.values(Name::Via).next().unwrap_or_default();
        let branch = via
            .split(|b| *b == b';')
            .find(|p| p.starts_with(b"branch="));
        let branch = branch.unwrap_or_default().to_vec();
        if let Some(note) = message.header(Name::Other(NOTE)) {
            let sent = self.notes.get(note).expect("a note that somebody sent");
            assert_eq!(message.body(), sent, "a body is carried as it is");
            self.carried += 1;
        }
        if !message.is_request() {
            // A CANCEL is answered by what there is of its INVITE: 200, and 481 once that is over.
            if message.status() >= 200 && message.method() != Method::Cancel {
                let method = message.method_bytes().to_vec();
                let key = (flow, branch, method);
                let before = *self.finals.entry(key).or_insert(message.status());
                assert_eq!(before, message.status(), "one final answer a transaction");
            }
            return;
        }
        if matches!(message.method(), Method::Ack | Method::Cancel) {
            return;
        }
        let tag = |party: Result<sip::NameAddr<'_>, _>| {
            party
                .ok()
                .and_then(|p| p.tag())
                .unwrap_or_default()
                .to_vec()
        };
        let key = (
            flow,
            message.call_id().to_vec(),
            tag(message.from()),
            tag(message.to()),
        );
        let number = message.cseq().map(|c| c.number).unwrap_or_default();
        if let Some(before) = self.begun.insert(branch, number) {
            return assert_eq!(before, number, "the same request again");
        }
        let last = self.numbers.entry(key).or_insert(0);
        assert!(number > *last, "{number} after {last}");
        *last = number;
    }
}
