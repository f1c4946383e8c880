//! What may happen: session tokens, kept credentials, the allow list, search rules.
//!
//! In: claims, names, addresses. Out: verdicts. Nothing here asks anybody: what is not known is
//! not allowed.

#![forbid(unsafe_code)]

pub mod allow_list;
pub mod credentials;
pub mod search;
pub mod signed_out;
pub mod token;
