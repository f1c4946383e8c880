//! Our SIP parser beside others: the same bytes, the same work, one run.
//!
//! Each library parses a message, reads what a proxy needs (top Via, From and To tags, Call-ID,
//! CSeq, Max-Forwards, Request-URI), puts in a Via and a Record-Route and writes the result to a
//! buffer that is used again. Laps of the libraries alternate, so that whoever else uses the
//! machine disturbs all of them alike; the best lap of many counts.

#![forbid(clippy::unwrap_used)]
#![allow(unsafe_code)]

#[path = "../../../crates/engine/sip/benches/message/counting.rs"]
mod counting;
mod peers;

use std::hint::black_box;
use std::sync::atomic::Ordering;
use std::time::Instant;

use counting::ALLOCATIONS;
use peers::{Peer, Work};

/// Messages of a lap: short, so that some laps meet nobody else on the processor.
const LAP: u32 = 250;

const MESSAGES: [(&str, &[u8]); 2] = [
    (
        "REGISTER",
        include_bytes!("../../../crates/engine/sip/benches/message/register.sip"),
    ),
    (
        "INVITE",
        include_bytes!("../../../crates/engine/sip/benches/message/invite.sip"),
    ),
];

fn main() {
    let repeat = std::env::args()
        .nth(1)
        .and_then(|n| n.parse().ok())
        .unwrap_or(2_000);
    println!(
        "{:<10} {:<16} {:>10} {:>12} {:>10} {:>12}",
        "message", "work", "library", "best ns", "median ns", "allocations"
    );
    for (what, bytes) in MESSAGES {
        for work in [Work::Parse, Work::View, Work::Relay] {
            for row in measure(bytes, work, repeat) {
                println!("{what:<10} {work:<16} {row}");
            }
        }
    }
}

fn measure(bytes: &'static [u8], work: Work, repeat: usize) -> Vec<String> {
    let peers = Peer::ALL;
    let mut out = Vec::with_capacity(16 * 1024);
    let mut laps: Vec<Vec<f64>> = vec![Vec::with_capacity(repeat); peers.len()];
    let mut allocations = vec![0.0; peers.len()];
    for round in 0..=repeat {
        for (i, peer) in peers.iter().enumerate() {
            let before = ALLOCATIONS.load(Ordering::Relaxed);
            let began = Instant::now();
            for _ in 0..LAP {
                peer.run(black_box(bytes), work, &mut out);
            }
            let took = began.elapsed().as_secs_f64() * 1e9 / f64::from(LAP);
            let made = ALLOCATIONS.load(Ordering::Relaxed) - before;
            if round > 0 {
                laps[i].push(took);
                allocations[i] = made as f64 / f64::from(LAP);
            }
        }
    }
    let rows = peers.iter().zip(&mut laps).zip(allocations);
    rows.map(|((peer, laps), allocations)| {
        laps.sort_by(f64::total_cmp);
        format!(
            "{:>10} {:>12.0} {:>10.0} {allocations:>12.1}",
            peer.name(),
            laps[0],
            laps[laps.len() / 2]
        )
    })
    .collect()
}
