//! Session descriptions (RFC 8866), edited by line: a line that is not edited leaves byte for
//! byte, known or not.
//!
//! In: the bytes of a description. Out: what a relay needs to know of each m-line, and the bytes
//! with addresses, ports, profiles and keys changed. Not here: what an offer or answer means
//! beyond one m-line; that is the B2BUA's. [`sdes`] reads and writes `a=crypto` (RFC 4568).
//!
//! Bounds: [`BYTES_MAX`], [`MEDIA_MAX`] m-lines, [`LINES_MAX`] lines a section.

#![forbid(unsafe_code)]

pub mod sdes;
mod session;

pub use session::{Direction, Session};

/// The largest description read, in bytes.
pub const BYTES_MAX: usize = 64 * 1024;

/// The most m-lines.
pub const MEDIA_MAX: usize = 16;

/// The most lines in one section.
pub const LINES_MAX: usize = 512;

/// Why a description is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SdpError {
    /// It does not begin with `v=0`, or a line is no `x=value`.
    #[error("the session description is malformed")]
    Malformed,
    /// A bound is passed.
    #[error("the session description is over the limit of {0}")]
    Limit(&'static str),
    /// An m-line cannot be read.
    #[error("an m-line is malformed")]
    Media,
}
