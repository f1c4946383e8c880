//! A remote client of every lane, as a person outside would run it.
//!
//! It knows the domain, a name and a password, and finds the rest: the edge by SRV, servers by
//! `get_edge_config`, the telephone's place and the chat server in what that says. HTTPS by hyper,
//! TLS by rustls, XMPP streams by tokio-xmpp, SIP and media as in [`crate::sip`] and
//! [`crate::media`].

mod browser;
mod chat;
mod discovery;
mod edge_config;
mod remote;
mod soap;
mod web;

pub(crate) use browser::{Browser, Page, value_of};
pub(crate) use chat::Chat;
pub(crate) use discovery::{discover, trust};
pub(crate) use edge_config::{EdgeConfig, child, descendant, element};
pub(crate) use remote::{Remote, Telephone, chat_inside};
pub(crate) use web::{Reply, Web, lane};

#[cfg(test)]
mod tests;
