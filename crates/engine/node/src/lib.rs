//! Edge and core as compositions of the engines below, still pure.
//!
//! [`Edge`] and [`Core`] are driven alike: `handle(now, Input)`, `handle_timeout(now)`,
//! `poll_output()`, `poll_timeout()`. All that enters and leaves is in [`io`]; what HTTP and XMPP
//! tasks may decide alone is in [`gate`]. Nothing here touches a socket, a clock or a file, so a
//! test runs several edges and cores in one thread and replays a run from its seed.

#![forbid(unsafe_code)]

pub mod gate;
pub mod io;
