//! HTTP/2 with the roles turned round: the core dials, the edge is the HTTP client.
//!
//! Inside any stream (an SSH tunnel, a TLS connection) runs HTTP/2 with prior knowledge
//! (RFC 9113 §3.3). The edge keeps a pool of such connections for each core, an [`EdgeLane`], and
//! sends requests into it; the core answers with [`serve`]. A `CONNECT` request (RFC 9113 §8.5)
//! becomes a byte pipe.
//!
//! Flow control is the point: a request whose client stops reading fills its own window
//! ([`Windows::stream_bytes`]) and no more. The connection's window is as large as all its
//! streams' windows together, so however many clients stop reading, the others go on.
//!
//! Bounds: [`Windows`]; 64 KiB of header fields; PING after 10 s of silence, 10 s for its answer.

mod body;
mod edge;
mod gather;
mod serve;

use std::time::Duration;

pub use body::{Body, empty, full};
pub use edge::{EdgeLane, Pipe};
pub use serve::{ServeError, serve, upgraded};

/// The window of one connection, in bytes: the most a peer may send that nobody has read yet.
pub const CONNECTION_WINDOW_BYTES: u32 = 16 * 1024 * 1024;

/// The most header bytes in one request or response.
pub const HEADER_BYTES_MAX: u32 = 64 * 1024;

const FRAME_BYTES_MAX: u32 = 64 * 1024;
const SEND_BUFFER_BYTES: usize = 256 * 1024;
const PING_AFTER: Duration = Duration::from_secs(10);
const PING_ANSWER: Duration = Duration::from_secs(10);

/// How a lane shares a connection's window among its streams.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Windows {
    /// Streams at a time on one connection.
    pub streams_max: u32,
    /// What a peer may send on one stream that nobody has read yet, in bytes.
    pub stream_bytes: u32,
}

impl Windows {
    /// For HTTP: 64 requests at a time, 256 KiB each (100 Mbit/s over 20 ms).
    pub const HTTP: Windows = Windows {
        streams_max: 64,
        stream_bytes: 256 * 1024,
    };

    /// For XMPP: 512 streams at a time, 32 KiB each.
    pub const XMPP: Windows = Windows {
        streams_max: 512,
        stream_bytes: 32 * 1024,
    };
}

const _: () = {
    assert!(
        Windows::HTTP.streams_max * Windows::HTTP.stream_bytes <= CONNECTION_WINDOW_BYTES
            && Windows::XMPP.streams_max * Windows::XMPP.stream_bytes <= CONNECTION_WINDOW_BYTES
    );
};
