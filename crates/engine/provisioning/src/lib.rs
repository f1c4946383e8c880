//! The documents of sign-in and provisioning, and the order in which they are asked for.
//!
//! - [`path`]: the first segment of an edge's HTTPS path.
//! - [`edge_config`]: the answer to `get_edge_config`.
//! - [`uds`]: what Unified CM's user data service says.
//! - [`axl`]: which nodes a cluster has, and what of its settings matters.
//! - [`voicemail`]: what a Unity Connection is.
//! - [`sign_in`]: a sign-in from credentials, or another's word, to document, as a pure state
//!   machine.

#![forbid(unsafe_code)]

pub mod axl;
pub mod edge_config;
pub mod path;
pub mod sign_in;
pub mod uds;
pub mod voicemail;
