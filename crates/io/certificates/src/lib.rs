//! X.509 documents as an administrator handles them: inspected before they go live, requested with
//! the names that are needed, trusted by fingerprint.
//!
//! A crate of its own, and above the I/O line: it makes keys, which takes the operating system's
//! randomness, and it reads and writes the folder of trusted authorities. It opens no connection:
//! whether a peer is accepted during a handshake is `net`'s to say, by the same libraries.
//!
//! - [`read`]: what a certificate says, and what a file holds instead of one.
//! - [`inspect()`]: a chain and its key judged; every fault has a name ([`flaw`]).
//! - [`names`]: which names a node's certificate needs, and why (F208–F226).
//! - [`leg`]: what a node uses its certificate for.
//! - [`request`]: a key, and the request for its certificate.
//! - [`trusted`]: authorities by fingerprint.
//!
//! Bounds: a file of at most [`read::FILE_BYTES_MAX`] bytes and [`read::CERTIFICATES_MAX`]
//! certificates; names and issuers are told in one line of at most 300 bytes.

#![forbid(unsafe_code)]

pub mod flaw;
pub mod inspect;
pub mod leg;
pub mod names;
pub mod read;
pub mod request;
pub mod trusted;

pub use flaw::{Finding, Flaw, Grade};
pub use inspect::{Question, Report, inspect};
pub use leg::Leg;
pub use names::Need;
pub use read::Certificate;
