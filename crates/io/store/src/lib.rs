//! Durable state: what a node must still know after it was killed.
//!
//! [`journal`] keeps byte strings, sealed, in a file that grows at its end.

#![forbid(unsafe_code)]

pub mod journal;

use std::path::PathBuf;

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The operating system refused.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// A payload is longer than [`journal::PAYLOAD_MAX`].
    #[error("{0} bytes are too many for one record")]
    TooLong(usize),
    /// The journal has reached [`journal::FILE_MAX`].
    #[error("{0} is full")]
    Full(PathBuf),
    /// The library of cryptography refused.
    #[error("the record could not be sealed")]
    Seal,
}
