//! The driver's HTTP, XMPP and link tasks over real sockets on loopback. The node is played by the
//! test, which sees what the tasks post.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod allow_list;
#[path = "../../../net/tests/loopback/heap.rs"]
mod heap;
mod http;
mod http_attack;
mod http_chain;
mod http_download;
mod http_sso;
mod links;
mod media;
mod support;
mod xmpp;
