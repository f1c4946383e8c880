//! What tables cost: a look-up, an entry that comes and goes, and the worst single insertion of a
//! hundred thousand; beside the standard library's in the same run.
//!
//! `cargo bench -p causeway-base --bench table -- [--entries N]`
//!
//! The best lap of many counts: others use the machine too.

#![allow(missing_docs, clippy::unwrap_used)]
#![allow(clippy::disallowed_methods, clippy::disallowed_types)] // it measures time

use std::collections::HashMap as Std;
use std::hint::black_box;
use std::time::{Duration, Instant};

use base::{FixedState, HashMap, Id, Slab};

const LAPS: usize = 40;
const LAP: usize = 5_000;
const RUNS: usize = 8;

fn main() {
    let mut entries = 100_000;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--entries" => entries = arguments.next().unwrap().parse().unwrap(),
            "--bench" => {} // cargo's own
            other => panic!("unknown argument {other}"),
        }
    }
    println!("{entries} entries{:>22} {:>12}", "ours", "standard");
    let ids = |n: usize| Id::new(n as u32, 1);
    let texts = |n: usize| format!("a84b4c76e66710-{n}@198.51.100.7").into_boxed_str();
    keyed("numbers", entries, ids);
    keyed("texts", entries, texts);
    slab(entries);
}

fn keyed<K: std::hash::Hash + Eq + Clone>(what: &str, entries: usize, key: impl Fn(usize) -> K) {
    let keys: Vec<K> = (0..entries + LAP).map(key).collect();
    let (here, new) = keys.split_at(entries);
    let mut ours: HashMap<K, [u64; 8]> = HashMap::default();
    let mut theirs: Std<K, [u64; 8], FixedState> = Std::default();
    for key in here {
        ours.insert(key.clone(), [0; 8]);
        theirs.insert(key.clone(), [0; 8]);
    }
    let some: Vec<&K> = here.iter().step_by(entries / LAP.min(entries)).collect();
    let one = best(some.len(), || {
        some.iter().for_each(|key| _ = black_box(ours.get(*key)));
    });
    let other = best(some.len(), || {
        some.iter().for_each(|key| _ = black_box(theirs.get(*key)));
    });
    show(&format!("{what}: look-up, there"), one, other);
    let one = best(new.len(), || {
        new.iter().for_each(|key| _ = black_box(ours.get(key)));
    });
    let other = best(new.len(), || {
        new.iter().for_each(|key| _ = black_box(theirs.get(key)));
    });
    show(&format!("{what}: look-up, not there"), one, other);
    let one = best(new.len(), || {
        new.iter()
            .for_each(|key| _ = ours.insert(key.clone(), [1; 8]));
        new.iter().for_each(|key| _ = ours.remove(key));
    });
    let other = best(new.len(), || {
        new.iter()
            .for_each(|key| _ = theirs.insert(key.clone(), [1; 8]));
        new.iter().for_each(|key| _ = theirs.remove(key));
    });
    show(&format!("{what}: come and go"), one, other);
    let one = longest(here, HashMap::default, |map, key| {
        map.insert(key.clone(), [0u64; 8]);
    });
    let other = longest(here, Std::<_, _, FixedState>::default, |map, key| {
        map.insert(key.clone(), [0u64; 8]);
    });
    show(&format!("{what}: longest insertion"), one, other);
}

fn slab(entries: usize) {
    let rows: Vec<usize> = (0..entries).collect();
    let mut ids = Vec::new();
    let mut ours: Slab<[u64; 64]> = Slab::new(entries);
    let mut theirs: Vec<[u64; 64]> = Vec::new();
    for _ in &rows {
        ids.push(ours.insert([0; 64]).unwrap());
        theirs.push([0; 64]);
    }
    let some: Vec<Id> = ids
        .iter()
        .step_by(entries / LAP.min(entries))
        .copied()
        .collect();
    let one = best(some.len(), || {
        some.iter().for_each(|id| _ = black_box(ours.get(*id)));
    });
    let other = best(some.len(), || {
        let all = some.iter().map(|id| theirs.get(id.slot() as usize));
        all.for_each(|row| _ = black_box(row));
    });
    show("rows: look-up", one, other);
    let one = longest(
        &rows,
        || Slab::new(entries),
        |slab, n| {
            slab.insert([*n as u64; 64]).unwrap();
        },
    );
    let other = longest(&rows, Vec::new, |list, n| list.push([*n as u64; 64]));
    show("rows: longest insertion", one, other);
}

/// Nanoseconds of one, in the best lap.
fn best(count: usize, mut lap: impl FnMut()) -> f64 {
    let mut least = Duration::MAX;
    for _ in 0..LAPS {
        let before = Instant::now();
        lap();
        least = least.min(before.elapsed());
    }
    least.as_nanos() as f64 / count as f64
}

/// Nanoseconds of the longest insertion, each taken from the best of some runs: what is long in all
/// of them is the table's.
fn longest<K, M>(keys: &[K], empty: impl Fn() -> M, insert: impl Fn(&mut M, &K)) -> f64 {
    let mut least = vec![Duration::MAX; keys.len()];
    for _ in 0..RUNS {
        let mut map = empty();
        for (key, least) in keys.iter().zip(&mut least) {
            let before = Instant::now();
            insert(&mut map, key);
            *least = before.elapsed().min(*least);
        }
        black_box(map);
    }
    least.into_iter().max().unwrap().as_nanos() as f64
}

fn show(what: &str, ours: f64, theirs: f64) {
    println!("{what:<28} {ours:>12.1} {theirs:>12.1} ns");
}
