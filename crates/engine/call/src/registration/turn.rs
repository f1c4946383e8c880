//! The order of a client's REGISTERs (RFC 3261 §10.3, step 7).
//!
//! A client that comes back on a new connection may leave a REGISTER on its old one that is still
//! on its way, and arrives after the next. Taken for the newest, it would lead calls to where the
//! client is no more. In: a REGISTER. Out: its place among those of the same Call-ID; those of
//! another Call-ID have no order, a client that was restarted begins one of its own. Bounds: none,
//! it is 12 bytes.

use std::hash::BuildHasher;

use base::FixedState;
use sip::Message;

/// The place of a REGISTER among those of its client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Turn {
    /// The Call-ID, as halves of a hash: a row has no room to lose to padding.
    call_id: [u32; 2],
    cseq: u32,
}

impl Turn {
    /// That of a REGISTER; `None` if it has no CSeq that can be read.
    pub fn of(register: &Message) -> Option<Turn> {
        let hash = FixedState::default().hash_one(register.call_id());
        Some(Turn {
            call_id: [(hash >> 32) as u32, hash as u32],
            cseq: register.cseq().ok()?.number,
        })
    }

    /// Whether it was sent before another one of the same Call-ID. One is not before itself: an
    /// edge may send it again by another way.
    pub fn is_before(&self, other: &Turn) -> bool {
        self.call_id == other.call_id && self.cseq < other.cseq
    }
}
