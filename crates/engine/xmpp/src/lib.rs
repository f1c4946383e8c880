//! RFC 6120 streams, as a gateway between client and server sees them. Pure: bytes in, bytes and
//! facts out; sockets, TLS and time are the driver's.
//!
//! - [`Framer`]: where stanzas end, in any chunks, and what no stream may hold. All that runs once
//!   a session stands.
//! - [`starttls`]: TLS towards clients ([`starttls::Responder`]) and inside servers
//!   ([`starttls::Initiator`]).
//! - [`relay`]: sign-in and binding between them, observed; features rewritten.
//! - [`StreamHeader`], [`answer`]: headers read; headers, features and errors written.
//! - [`Violation`] and its stream error's [`Condition`].
//!
//! What we do not understand passes byte for byte; stanzas are framed, not read. So stream
//! management (XEP-0198), SASL mechanisms and whatever comes later are between client and server.

#![forbid(unsafe_code)]

pub mod answer;
mod collector;
mod features;
mod framer;
mod header;
mod limits;
mod ns;
pub mod relay;
mod sasl;
pub mod starttls;
mod tree;
mod violation;

pub use framer::{Frame, Framer, Frames, Kind, Name};
pub use header::StreamHeader;
pub use limits::Limits;
pub use relay::Relay;
pub use violation::{Condition, Violation};
