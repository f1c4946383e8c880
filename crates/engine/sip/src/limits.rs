//! How much a message may be.

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
    /// The Request-URI, in bytes. Default 4 KiB.
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

    /// For peers of our own and call control.
    pub fn trusted() -> Self {
        Limits {
            strictness: Strictness::Trusted,
            ..Limits::outside()
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits::outside()
    }
}
