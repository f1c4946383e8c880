//! What a REGISTER and a call cost the two nodes: microseconds and allocations of the engine of the
//! edge, of that of the core, and of reading the messages between them.
//!
//! `cargo bench -p causeway-node --bench path -- [--repeat N]`
//!
//! Both engines stand in one thread, with pipes of memory between them; no socket, TLS or thread is
//! measured, nor the client and call control, which are played here. A registration is a REGISTER
//! that is challenged and one with a digest, with their answers. A call is an INVITE with audio and
//! video under SDES from a registered client through edge and core to call control, 100, 180, 200,
//! ACK, BYE and its 200. The median of many; figures of different machines do not compare.

#![allow(missing_docs, unsafe_code, clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // it measures time

#[path = "path/world.rs"]
mod world;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use world::{Cost, World};

struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call goes to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.alloc(layout) }
    }
    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: as the caller promises.
        unsafe { System.dealloc(at, layout) }
    }
    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: as the caller promises.
        unsafe { System.realloc(at, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

fn main() {
    let mut repeat = 2_000;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--repeat" => repeat = arguments.next().unwrap().parse().unwrap(),
            "--bench" => {} // cargo's own
            other => panic!("unknown argument {other}"),
        }
    }
    let mut world = World::new();
    println!(
        "{:<14} {:>9} {:>9} {:>9} {:>9}   allocations of each",
        "µs", "edge", "core", "reading", "all"
    );
    let mut costs = Vec::with_capacity(repeat);
    for n in 0..repeat {
        world.take();
        world.register(n % world::CLIENTS);
        costs.push(world.take());
        world.pass(Duration::from_millis(100));
    }
    show("registration", &costs);
    costs.clear();
    for n in 0..repeat {
        world.take();
        world.call(n % world::CLIENTS, n);
        costs.push(world.take());
        world.pass(Duration::from_millis(100));
    }
    show("call", &costs);
}

fn show(what: &str, costs: &[[Cost; 3]]) {
    let median = |pick: &dyn Fn(&[Cost; 3]) -> u64| {
        let mut all: Vec<u64> = costs.iter().map(pick).collect();
        all.sort_unstable();
        all[all.len() / 2]
    };
    let micros = |nanos: u64| nanos as f64 / 1_000.0;
    println!(
        "{what:<14} {:>9.1} {:>9.1} {:>9.1} {:>9.1}   {} {} {}",
        micros(median(&|c| c[0].nanos)),
        micros(median(&|c| c[1].nanos)),
        micros(median(&|c| c[2].nanos)),
        micros(median(&|c| c.iter().map(|c| c.nanos).sum())),
        median(&|c| c[0].allocations),
        median(&|c| c[1].allocations),
        median(&|c| c[2].allocations),
    );
}
