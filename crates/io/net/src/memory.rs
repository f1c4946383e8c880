//! Memory that was freed, given back to the system.
//!
//! The C library keeps what was freed for the next flood; a node that carried one would hold its
//! memory for good. Elsewhere than on Linux with glibc nothing is done.

#![allow(unsafe_code)]

/// Gives whole free pages back. It may take some tens of milliseconds after a flood, in which
/// other threads wait for memory.
pub fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: it takes no pointer, and locks the C library's own lists (malloc_trim(3)).
    unsafe {
        libc::malloc_trim(0);
    }
}
