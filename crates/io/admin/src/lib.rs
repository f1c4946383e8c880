//! Administration: what a node looks like, for people and programs.
//!
//! - [`rest`]: requests and answers under `/api/v1`.
//! - [`serve`]: over the local socket, and over HTTPS with a token.
//! - [`client`]: asks a running node over its local socket.
//! - [`show`]: a snapshot as text; [`search`]: what search rules make of a destination.
//! - [`allow_list`]: where clients' HTTP requests may lead.
//! - [`servers`]: the inside's servers, and what has changed at them.
//! - [`settings`]: what the node is set to, with its history.
//! - [`certificates`]: the node's certificate, its request, whom it trusts.
//! - [`dns`]: what DNS says where the node stands, and whether it is what it should be.
//!
//! A node is reached through [`driver::signal::Handle`] alone; no engine is ever held here.

#![forbid(unsafe_code)]

pub mod allow_list;
pub mod certificates;
pub mod client;
pub mod dns;
mod query;
pub mod rest;
pub mod search;
pub mod serve;
pub mod servers;
pub mod settings;
pub mod show;

pub use status::{AllowTest, Page};

/// The local socket's name in the data folder.
pub const SOCKET: &str = "causeway.sock";
