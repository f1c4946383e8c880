//! The network crate over real sockets on loopback, with certificates made on the spot.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

mod certificates;
mod dns;
mod heap;
mod http;
mod http2;
mod idle;
mod lane;
mod lean;
mod ssh;
mod tls;
mod trust;
