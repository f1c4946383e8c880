//! Edge and core as compositions of the engines below, still pure.
//!
//! Both are driven alike, through [`Engine`]. All that enters and leaves is in [`io`]; what HTTP
//! and XMPP tasks may decide alone is in [`gate`]. Nothing here touches a socket, a clock or a
//! file, so a test runs several edges and cores in one thread and replays a run from its seed.

#![forbid(unsafe_code)]

mod buckets;
mod core;
mod edge;
mod flows;
pub mod gate;
mod host_clock;
pub mod io;
mod overload;
mod quiet;
mod resting;
mod station;
mod strikes;

pub use self::core::{Core, CoreIdentity, configured_allow_list, dry_run};
pub use self::edge::{Edge, EdgeIdentity};

use base::{Instant, Now};

/// A node as its driver sees it, edge or core.
pub trait Engine: Send {
    /// Takes an input.
    fn handle(&mut self, now: Now, input: io::Input);
    /// Does what is due.
    fn handle_timeout(&mut self, now: Now);
    /// The next thing to be done.
    fn poll_output(&mut self) -> Option<io::Output>;
    /// When [`Engine::handle_timeout`] has something to do.
    fn poll_timeout(&self) -> Option<Instant>;
    /// What the node looks like.
    fn snapshot(&self, now: Now) -> status::Snapshot;
    /// Rows of every table, by name: all of them go back to zero once nobody is left, but for
    /// those of the links. For tests, which hold the node to that.
    fn census(&self) -> Vec<(&'static str, usize)> {
        Vec::new()
    }
}
