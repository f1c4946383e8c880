//! How much a message may be.
//!
//! A message grows on its way: each node adds its Via and its routes, replaces URIs, and puts the
//! other leg's Vias before an answer. So there are three sizes, each with room for what one node
//! of ours adds ([`ADDED`]) above the one before: what comes from outside ([`Limits::outside`]),
//! what comes from inside, which may be an echo of it ([`Limits::trusted`]), and what crosses the
//! link ([`Limits::lane`]). Nothing that is taken from one side can be too large for the next.

/// What one node of ours adds to a message at most.
struct Added {
    /// The Vias of the other leg (never more than a header from outside has room for), our own
    /// Via, Record-Routes, Path, claims, and URIs that take the place of shorter ones.
    head_bytes: usize,
    /// Keys and addresses in a description (the descriptions that are bridged have few lines).
    body_bytes: usize,
    /// Vias and Record-Routes of the other leg, and ours.
    fields: usize,
    /// Those that stand in what is copied.
    folds: usize,
    /// Ours, and one that a server inside adds.
    vias: usize,
    /// Our Record-Routes, and what servers inside add.
    values: usize,
    /// Parameters of ours.
    uri_bytes: usize,
    /// A mark of ours behind another's.
    id_bytes: usize,
}

const ADDED: Added = Added {
    head_bytes: 64 * 1024,
    body_bytes: 64 * 1024,
    fields: 128,
    folds: 64,
    vias: 8,
    values: 16,
    uri_bytes: 4 * 1024,
    id_bytes: 1024,
};

use crate::{Message, Name};

/// How strictly a message is read. Line ends, the start line, field names and what must stand once
/// are the same for both: framing is no matter of taste.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strictness {
    /// From the internet: every header that a proxy reads must follow its grammar, whether it is
    /// read this time or not (RFC 4475 §3.1.2).
    Outside,
    /// From a peer of our own or from call control: what is not needed may be odd, and passes as it
    /// is.
    Trusted,
}

/// Bounds on a message (`security.md` 2.1).
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Start line and header, in bytes. Default 64 KiB.
    pub head_bytes_max: usize,
    /// Body, in bytes. Default 256 KiB.
    pub body_bytes_max: usize,
    /// Header fields. Default 256.
    pub fields_max: usize,
    /// Continuation lines in all. Default 64.
    pub folds_max: usize,
    /// Via values. Default 50.
    pub vias_max: usize,
    /// Values of Contact, Route, Record-Route and Path, of each. Default 64.
    pub values_max: usize,
    /// The Request-URI, and each URI in Contact, Route, Record-Route and Path, in bytes. Default
    /// 4 KiB.
    pub uri_bytes_max: usize,
    /// A Call-ID, a tag, a branch, a method, in bytes. Default 1 KiB.
    pub id_bytes_max: usize,
    /// How strictly.
    pub strictness: Strictness,
}

impl Limits {
    /// For strangers.
    pub fn outside() -> Self {
        Limits {
            head_bytes_max: 64 * 1024,
            body_bytes_max: 256 * 1024,
            fields_max: 256,
            folds_max: 64,
            vias_max: 50,
            values_max: 64,
            uri_bytes_max: 4 * 1024,
            id_bytes_max: 1024,
            strictness: Strictness::Outside,
        }
    }

    /// For what we wrote ourselves.
    pub(crate) fn unbounded() -> Self {
        Limits {
            head_bytes_max: usize::MAX,
            fields_max: usize::MAX,
            folds_max: usize::MAX,
            uri_bytes_max: usize::MAX,
            ..Limits::trusted()
        }
    }

    /// For call control, whose answers and requests may hold again what an outside message held
    /// and what we added to it.
    pub fn trusted() -> Self {
        Limits {
            strictness: Strictness::Trusted,
            ..Limits::outside().grown()
        }
    }

    /// For the other node of ours: what it took from its side, and what it added.
    pub fn lane() -> Self {
        Limits::trusted().grown()
    }

    /// Whether a reader with these limits takes a message that we wrote.
    pub fn admit(&self, message: &Message) -> bool {
        // Nearly all are so small that nothing needs to be counted.
        let length = message.bytes().len();
        let small = length <= 4 * self.fields_max.min(self.uri_bytes_max);
        small
            || (length - message.body().len() <= self.head_bytes_max
                && message.body().len() <= self.body_bytes_max
                && message.fields_len() <= self.fields_max
                && message.request_uri().len() <= self.uri_bytes_max
                && message.values(Name::Via).count() <= self.vias_max)
    }

    /// With room for what one node of ours adds.
    fn grown(self) -> Self {
        Limits {
            head_bytes_max: self.head_bytes_max + ADDED.head_bytes,
            body_bytes_max: self.body_bytes_max + ADDED.body_bytes,
            fields_max: self.fields_max + ADDED.fields,
            folds_max: self.folds_max + ADDED.folds,
            vias_max: self.vias_max + ADDED.vias,
            values_max: self.values_max + ADDED.values,
            uri_bytes_max: self.uri_bytes_max + ADDED.uri_bytes,
            id_bytes_max: self.id_bytes_max + ADDED.id_bytes,
            strictness: self.strictness,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits::outside()
    }
}
