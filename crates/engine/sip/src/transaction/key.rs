//! How a row is found: a keyed 64-bit fingerprint first, the whole key next.

use std::hash::{DefaultHasher, Hasher};

use base::Rng;
use smallvec::SmallVec;

use crate::{FlowId, Message};

/// A key in full: bytes, short enough to stay off the heap as a rule.
pub(super) type Key = SmallVec<[u8; 128]>;

/// The cookie that marks a branch of RFC 3261 (§8.1.1.7).
pub(super) const COOKIE: &[u8] = b"z9hG4bK";

/// Keys the fingerprints, so that a stranger cannot choose ids that collide.
#[derive(Clone, Copy)]
pub(super) struct Secret(u64, u64);

impl Secret {
    pub(super) fn new(rng: &mut Rng) -> Self {
        Secret(rng.u64(), rng.u64())
    }

    /// SipHash-1-3 of the secret and `parts`, each closed by its length.
    pub(super) fn fingerprint(self, parts: &[&[u8]]) -> u64 {
        let mut hasher = DefaultHasher::new();
        hasher.write_u64(self.0);
        hasher.write_u64(self.1);
        for part in parts {
            hasher.write(part);
            hasher.write_usize(part.len());
        }
        hasher.finish()
    }
}

/// What the top Via of a message says, as far as matching needs it.
pub(super) struct Hop {
    /// The branch, if there is one with the cookie.
    pub(super) branch: Option<SmallVec<[u8; 64]>>,
    /// The sent-by in lower case, with the port it implies.
    pub(super) sent_by: SmallVec<[u8; 64]>,
}

/// Reads the top Via; `None` if it cannot be read.
pub(super) fn hop(message: &Message) -> Option<Hop> {
    let via = message.top_via().ok()?;
    let branch = via
        .branch()
        .filter(|b| b.len() > COOKIE.len())
        .filter(|b| {
            b.get(..COOKIE.len())
                .is_some_and(|c| c.eq_ignore_ascii_case(COOKIE))
        })
        .map(SmallVec::from_slice);
    let mut sent_by: SmallVec<[u8; 64]> = SmallVec::new();
    sent_by.extend(via.sent_by().iter().map(u8::to_ascii_lowercase));
    Some(Hop { branch, sent_by })
}

/// The key of a server transaction (RFC 3261 §17.2.3), narrowed by the flow.
pub(super) fn server_key(flow: FlowId, branch: &[u8], sent_by: &[u8], method: &[u8]) -> Key {
    let mut key = Key::new();
    key.extend_from_slice(&flow.slot().to_be_bytes());
    key.extend_from_slice(&flow.generation().to_be_bytes());
    for part in [branch, sent_by, method] {
        key.extend_from_slice(part);
        key.push(b'\n');
    }
    key
}

/// The key of a client transaction (RFC 3261 §17.1.3).
pub(super) fn client_key(branch: &[u8], method: &[u8]) -> Key {
    let mut key = Key::new();
    key.extend_from_slice(branch);
    key.push(b'\n');
    key.extend_from_slice(method);
    key
}
