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

/// What names a request, but for its method: the key of a server transaction (RFC 3261
/// §17.2.3), narrowed by the flow. `None` if there is no Via to read.
///
/// With the cookie that is branch and sent-by; without it (an RFC 2543 peer) Request-URI, From
/// tag, Call-ID, CSeq number and the whole top Via.
pub(super) struct Hop {
    rest: Key,
    /// The To tag of an RFC 2543 request, which counts unless an INVITE is meant.
    old_to_tag: Option<SmallVec<[u8; 32]>>,
}

impl Hop {
    pub(super) fn of(message: &Message, flow: FlowId) -> Option<Hop> {
        let via = message.top_via().ok()?;
        let mut rest = Key::new();
        rest.extend_from_slice(&flow.slot().to_be_bytes());
        rest.extend_from_slice(&flow.generation().to_be_bytes());
        let mut add = |part: &[u8]| {
            rest.extend_from_slice(part);
            rest.push(b'\n');
        };
        if let Some(branch) = via.branch().filter(|b| has_cookie(b)) {
            add(branch);
            let mut sent_by: SmallVec<[u8; 64]> = SmallVec::from_slice(via.sent_by());
            sent_by.make_ascii_lowercase();
            add(&sent_by);
            return Some(Hop {
                rest,
                old_to_tag: None,
            });
        }
        let number = message.cseq().ok()?.number;
        add(message.request_uri());
        add(message.from().ok()?.tag().unwrap_or_default());
        add(message.call_id());
        add(&number.to_be_bytes());
        add(via.raw());
        let to = message.to().ok()?.tag().unwrap_or_default();
        Some(Hop {
            rest,
            old_to_tag: Some(SmallVec::from_slice(to)),
        })
    }

    /// The key of the transaction of this method.
    pub(super) fn key(&self, method: &[u8]) -> Key {
        let mut key = self.rest.clone();
        if let Some(tag) = self.old_to_tag.as_ref().filter(|_| method != b"INVITE") {
            key.extend_from_slice(tag);
            key.push(b'\n');
        }
        key.extend_from_slice(method);
        key
    }

    /// What all methods of this hop have in common.
    pub(super) fn rest(&self) -> &[u8] {
        &self.rest
    }
}

/// The key of a server transaction that goes on on another flow.
pub(super) fn go_to(key: &mut [u8], flow: FlowId) {
    let at = [flow.slot().to_be_bytes(), flow.generation().to_be_bytes()];
    for (old, new) in key.iter_mut().zip(at.as_flattened()) {
        *old = *new;
    }
}

/// Whether a branch is one of RFC 3261. One that is nothing but the cookie names nothing
/// (RFC 4475 §3.2.1).
fn has_cookie(branch: &[u8]) -> bool {
    branch.len() > COOKIE.len()
        && branch
            .get(..COOKIE.len())
            .is_some_and(|c| c.eq_ignore_ascii_case(COOKIE))
}

/// The key of a client transaction (RFC 3261 §17.1.3).
pub(super) fn client_key(branch: &[u8], method: &[u8]) -> Key {
    let mut key = Key::new();
    key.extend_from_slice(branch);
    key.push(b'\n');
    key.extend_from_slice(method);
    key
}
