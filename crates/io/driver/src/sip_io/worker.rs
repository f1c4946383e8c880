//! A SIP worker: a thread that reads, frames and writes for the signalling thread.

use super::desk::{Desk, Found};
use crate::signal::Handle;

/// Serves a desk until it is told to stop or the node is gone.
pub(super) fn run(handle: &Handle, mut desk: Desk) {
    let mut gone = false;
    let mut post = |found: &mut Found| {
        if let Some((since, posts)) = found.take() {
            gone |= handle.post_batch(since, posts).is_err();
        }
        gone
    };
    while !post(desk.found()) && !desk.is_over() {
        desk.turn(None, &mut |found| {
            post(found);
        });
        post(desk.found());
        desk.finish();
    }
}
