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

#[path = "../../sip/benches/message/counting.rs"]
mod counting;
#[path = "../tests/memory/nodes.rs"]
mod nodes;
#[path = "path/world.rs"]
mod world;

use std::time::Duration;

use world::{Cost, World};

fn main() {
    let mut repeat: u64 = 2_000;
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
    let mut costs = Vec::new();
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
