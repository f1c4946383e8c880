//! The system's allocator with a count, for each thread of its own, of the bytes that were asked
//! for and not given back, and of the most there were. A test's runtime has one thread, so a test
//! counts itself and no other.

#![allow(unsafe_code, dead_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

struct Counting;

thread_local! {
    static BYTES: Cell<i64> = const { Cell::new(0) };
    static MOST: Cell<i64> = const { Cell::new(0) };
}

/// What this thread has of the heap now, in bytes.
pub fn heap() -> i64 {
    BYTES.get()
}

/// The most it had since [`watch`].
pub fn most() -> i64 {
    MOST.get()
}

/// Forgets the most there was before.
pub fn watch() {
    MOST.set(heap());
}

fn count(size: usize, sign: i64) {
    // At a thread's end there is nothing left to count with.
    let _ = BYTES.try_with(|bytes| {
        let now = bytes.get() + sign * i64::try_from(size).unwrap_or(0);
        bytes.set(now);
        let _ = MOST.try_with(|most| most.set(most.get().max(now)));
    });
}

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 1);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        count(layout.size(), -1);
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(layout.size(), -1);
        count(size, 1);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;
