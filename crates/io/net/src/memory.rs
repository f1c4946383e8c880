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
