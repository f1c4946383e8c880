//! Durable state: what a node must still know after it was killed.
//!
//! [`journal`] keeps byte strings, sealed, in a file that grows at its end. [`settings`] keeps a
//! node's configuration with its history. [`passphrase`] seals what leaves the node.

#![forbid(unsafe_code)]

pub mod journal;
pub mod passphrase;
mod seal;
pub mod settings;

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
    /// The database refused.
    #[error("{path}: {cause}")]
    Database {
        /// Its file.
        path: PathBuf,
        /// What it said.
        cause: String,
    },
    /// A later version wrote the file.
    #[error("{0} was written by a later version of this program")]
    Newer(PathBuf),
    /// Somebody else changed the settings in between.
    #[error("the settings are at revision {now}, not {expected}: somebody changed them meanwhile")]
    Conflict {
        /// What the change was made for.
        expected: u64,
        /// What is there.
        now: u64,
    },
    /// The history does not reach so far.
    #[error("there is no revision {0}, or not any more")]
    NoRevision(u64),
    /// A secret was sealed with another key, or changed on the disk.
    #[error("the secrets of {0} cannot be opened: the key is another, or the file was changed")]
    Sealed(String),
    /// A passphrase is wrong, or what it seals was changed.
    #[error("the passphrase is another, or what it seals was changed")]
    Passphrase,
}
