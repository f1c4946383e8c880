//! RFC 6120 streams, as a gateway between client and server sees them.
#![forbid(unsafe_code)]
mod framer;
mod limits;
mod violation;
pub use framer::{Frame, Framer, Frames, Kind, Name};
pub use limits::Limits;
pub use violation::{Condition, Violation};
