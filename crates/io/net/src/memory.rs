//! Memory that was freed, given back to the system.
//!
//! The C library keeps what was freed for the next flood; a node that carried one would hold its
//! memory for good. Elsewhere than on Linux with glibc nothing is done.
//!
//! Whoever drops something large says so ([`freed`]); whoever gives back sees how much that came to
//! ([`freed_in_all`]). The allocator is one for the process, and so is the count.

#![allow(unsafe_code)]

use std::sync::atomic::{AtomicUsize, Ordering};

static FREED: AtomicUsize = AtomicUsize::new(0);

/// Something was dropped that took as much memory, and its making as much work, as so many
/// messages.
pub fn freed(messages: usize) {
    FREED.fetch_add(messages, Ordering::Relaxed);
}

/// All that [`freed`] was told since the program began; it may wrap around.
pub fn freed_in_all() -> usize {
    FREED.load(Ordering::Relaxed)
}

/// Gives whole free pages back. It may take some tens of milliseconds after a flood, in which
/// other threads wait for memory.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes no pointer, and locks the C library's own lists (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}

/// What is free at a thread's end of memory and not given back at once, in bytes: calls come in
/// bursts, and what one gave back the next would have to fetch again, page by page.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const KEPT: i32 = 2 * 1024 * 1024;

/// From this size on memory is fetched from the system for each request, and given back with it:
/// the C library's own figure, which it moves unless it is told one.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
const FETCHED: i32 = 128 * 1024;

/// So much of a thread's memory is made ready, and the pieces in which that is done.
const READY: usize = 60 * 1024 * 1024;
const PIECE: usize = 96 * 1024;

/// Tells the C library how a program lives that works in bursts. Called first in `main`.
pub fn prepare() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes no pointer, and sets numbers of the C library's own (mallopt(3)).
    unsafe {
        libc::mallopt(libc::M_TRIM_THRESHOLD, KEPT);
        libc::mallopt(libc::M_MMAP_THRESHOLD, FETCHED);
    }
}

/// Makes memory ready for what the calling thread will ask for. Called when it begins.
///
/// The C library has a stretch of 64 MiB of addresses for a thread, and makes them usable page by
/// page, with a system call for each (mprotect(2)): four or five of them for a call that is set up.
/// What was usable once stays so when it is freed. It takes no memory: what was touched for it is
/// given back at once, but for `KEPT` at most.
pub fn make_ready() {
    let pieces: Vec<Vec<u8>> = (0..READY / PIECE)
        .map(|_| Vec::with_capacity(PIECE))
        .collect();
    // From the last to the first: each falls to the free end, which is given back.
    std::hint::black_box(pieces)
        .into_iter()
        .rev()
        .for_each(drop);
}
