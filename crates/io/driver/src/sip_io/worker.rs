//! A SIP worker: a thread that reads, frames and writes for the signalling thread.

use std::time::Instant;

use super::desk::{BATCH, Desk};
use crate::signal::{Handle, Post};

/// Serves a desk until it is told to stop or the node is gone.
pub(super) fn run(handle: &Handle, mut desk: Desk) {
    let mut gone = false;
    while !gone && !desk.is_over() {
        desk.turn(None, &mut |since: Instant, found: &mut Vec<Post>| {
            let batch = std::mem::replace(found, Vec::with_capacity(BATCH));
            gone |= handle.post_batch(since, batch).is_err();
        });
        desk.finish();
    }
}
