//! The SIP family of RFC 3261, without a socket, a clock or a thread.
//!
//! - [`Message`]: one buffer and spans into it; read lazily, edited by offset, byte for byte.
//! - [`Framer`]: a byte stream taken apart, with the keep-alives of RFC 5626.
//! - [`transaction`], [`proxy`], [`dialog`]: state machines that take `(now, input)`.
//! - [`digest`], [`nonce`], [`token`]: who is who, without memory.
//! - [`locate`]: where a URI's server is, by DNS: questions out, places in order.
//! - [`route`]: Routes of ours taken off and put in, strict routers served.
//! - [`validate`]: what a proxy checks before it routes.
//!
//! The driver reads a connection into a [`Framer`], hands messages to
//! [`transaction::Transactions::receive`], and carries out what `poll_output` gives.

#![forbid(unsafe_code)]

mod build;
mod class;
pub mod dialog;
pub mod digest;
mod edit;
mod error;
mod framer;
mod header;
mod limits;
pub mod locate;
mod message;
mod method;
mod name;
pub mod nonce;
pub mod proxy;
mod refusal;
pub mod route;
pub mod token;
pub mod transaction;
mod uri;
pub mod validate;

pub use build::{RequestBuilder, ResponseBuilder};
pub use edit::Edit;
pub use error::{HeaderError, ParseError};
pub use framer::{Frame, Framer};
pub use header::{CSeq, Contact, NameAddr, Params, Via};
pub use limits::{Limits, Strictness};
pub use message::{Field, Message};
pub use method::Method;
pub use name::Name;
pub use uri::{Host, Uri, UriError, unescape};

/// Names a flow: one connection of a node (RFC 5626 §1.1).
pub type FlowId = base::Id;
