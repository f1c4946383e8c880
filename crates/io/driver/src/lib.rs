//! Event loops: signalling, media workers, HTTP, XMPP, links, shutdown.
//!
//! - [`run`]: a node from its configuration to its last word.
//! - [`signal`]: the one thread that owns the node.
//! - [`listen`], [`dial`]: connections made and accepted, with caps.
//! - [`sip_io`], [`control`]: what runs on them.
//! - [`link_sip`], [`link_ssh`], [`link_xmpp`]: the lanes of a link.
//! - [`sip_listen`], [`questions`]: SIP connections others make; what the node asks.
//! - [`files`]: the data folder, keys, passwords; [`preflight`]: whether a node can start.
//! - [`wire`]: what crosses a node, for the log.
//! - [`media_worker`]: the thread that moves media.
//! - [`http_edge`], [`http_core`], [`metadata`], [`trace`]: requests of clients; [`guard`]: where
//!   they lead; [`shares`]: how many at once; [`outside`]: what of an answer goes outside;
//!   [`tokens`]: session tokens that were checked before.
//! - [`xmpp_edge`], [`xmpp_core`]: streams of clients.
//! - [`users`]: domains' own files of users, and directories that check passwords.

#![forbid(unsafe_code)]

mod allow_ledger;
pub mod certificates;
pub mod control;
pub mod dial;
mod directory;
pub mod files;
pub mod guard;
mod host_clock;
pub mod http_core;
pub mod http_edge;
mod http_sso;
mod keeper;
mod known_servers;
mod ldap;
pub mod link_sip;
pub mod link_ssh;
pub mod link_xmpp;
pub mod listen;
pub mod media_worker;
pub mod metadata;
mod outlets;
pub mod outside;
pub mod preflight;
pub mod questions;
pub mod run;
pub mod shares;
pub mod signal;
pub mod sip_io;
pub mod sip_listen;
pub mod tokens;
pub mod trace;
pub mod users;
pub mod wire;
pub mod xmpp_core;
pub mod xmpp_edge;
mod xmpp_pump;

/// The program's version.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");
