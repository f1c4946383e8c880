//! What crossed whom, in the order of time.
//!
//! Edge and core each write a DEBUG line under the target `wire` for every message that crosses
//! them. [`Ladder`] reads those of all nodes, joins the hops of one message into a [`Rung`], and
//! draws the rungs between the four lifelines. [`Recorder`] is the lab's own view, from both ends.

mod draw;
mod read;
mod record;

use serde::Serialize;

pub(crate) use record::Recorder;

/// Between whom messages pass, from the outside inwards.
pub(crate) const COLUMNS: [&str; 4] = ["client", "edge", "core", "inside"];

/// All rungs of a tour, by chapter.
pub(crate) struct Ladder {
    chapters: Vec<Chapter>,
    /// The lab's own view, in a line.
    own: String,
}

/// A chapter of the tour and what crossed in it.
struct Chapter {
    title: String,
    rungs: Vec<Rung>,
}

/// A message on its way through the house.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Rung {
    /// Microseconds since the chapter began.
    pub(crate) after_us: u64,
    /// `sip`, `http` or `xmpp`.
    pub(crate) lane: String,
    /// Method, status or stanza.
    pub(crate) what: String,
    /// Call-ID, trace or stream number.
    pub(crate) id: String,
    /// The column it came from, of [`COLUMNS`].
    #[serde(serialize_with = "name")]
    pub(crate) from: usize,
    /// The column it went to.
    #[serde(serialize_with = "name")]
    pub(crate) to: usize,
}

fn name<S: serde::Serializer>(column: &usize, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(COLUMNS.get(*column).copied().unwrap_or_default())
}
