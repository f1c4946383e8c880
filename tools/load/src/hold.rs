//! Clients that register and then stay silent: what each of them costs.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::{Value, json};

use crate::conn::Edge;
use crate::proc;
use crate::work::{self, Watched};

/// What was seen of them.
pub(crate) struct Held {
    /// How many.
    pub(crate) clients: usize,
    /// Handshakes a second.
    pub(crate) handshakes_per_s: f64,
    /// A row for each watched process.
    pub(crate) rows: Vec<Row>,
}

/// A process that held them.
pub(crate) struct Row {
    /// Its word.
    pub(crate) name: String,
    /// Processor milliseconds for each handshake.
    pub(crate) handshake_ms: f64,
    /// Memory before, in KiB.
    pub(crate) base_kib: u64,
    /// Memory with all of them connected and registered, in KiB.
    pub(crate) held_kib: u64,
    /// Processor seconds over the time they were silent.
    pub(crate) idle_cpu_s: f64,
    /// Memory after all of them have gone, in KiB.
    pub(crate) after_kib: u64,
}

impl Row {
    /// KiB a client.
    pub(crate) fn each(&self, clients: usize) -> f64 {
        self.held_kib.saturating_sub(self.base_kib) as f64 / clients.max(1) as f64
    }
}

impl Held {
    /// For `--json`.
    pub(crate) fn json(&self) -> Value {
        let row = |r: &Row| {
            json!({
                "name": r.name, "handshake_ms": r.handshake_ms, "base_kib": r.base_kib,
                "held_kib": r.held_kib, "each_kib": r.each(self.clients),
                "idle_cpu_s": r.idle_cpu_s, "after_kib": r.after_kib,
            })
        };
        let rows: Vec<Value> = self.rows.iter().map(row).collect();
        json!({
            "clients": self.clients, "handshakes_per_s": self.handshakes_per_s,
            "processes": rows,
        })
    }

    /// For people.
    pub(crate) fn text(&self) -> String {
        let mut text = format!(
            "{} clients held, {:.0} handshakes/s",
            self.clients, self.handshakes_per_s
        );
        for r in &self.rows {
            text.push_str(&format!(
                "\n{}: {:.1} KiB a client ({} KiB before, {} with, {} after), {:.2} ms CPU a \
                 handshake, {:.2} s CPU while idle",
                r.name,
                r.each(self.clients),
                r.base_kib,
                r.held_kib,
                r.after_kib,
                r.handshake_ms,
                r.idle_cpu_s,
            ));
        }
        text
    }
}

/// Connects and registers clients, keeps them silent for `time`, and lets them take their
/// registrations back and go.
///
/// # Errors
/// A client that could not register.
pub(crate) async fn run(
    edge: &Edge,
    domain: &str,
    clients: usize,
    watched: &[Watched],
    time: Duration,
) -> Result<Held> {
    let memory = || -> Result<Vec<u64>> { watched.iter().map(|w| proc::pss(w.pid)).collect() };
    let used = || -> Vec<f64> { watched.iter().map(|w| proc::cpu(w.pid)).collect() };
    let (base, before, began) = (memory()?, used(), Instant::now());
    let conns = work::connect(edge, 0..clients).await?;
    let (shaken, took) = (used(), began.elapsed().as_secs_f64());
    let mut conns = work::register(conns, domain).await?;
    // What finished transactions keep for a while is not the clients'.
    tokio::time::sleep(Duration::from_secs(6)).await;
    let idle = used();
    tokio::time::sleep(time).await;
    let (held, rested) = (memory()?, used());
    conns.iter_mut().for_each(|conn| conn.expires = 0);
    drop(work::register(conns, domain).await?);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let after = memory()?;
    let at = |list: &[u64], i: usize| list.get(i).copied().unwrap_or(0);
    let between = |a: &[f64], b: &[f64], i: usize| {
        b.get(i).copied().unwrap_or(0.0) - a.get(i).copied().unwrap_or(0.0)
    };
    let row = |(i, w): (usize, &Watched)| Row {
        name: w.name.clone(),
        handshake_ms: between(&before, &shaken, i) * 1000.0 / clients.max(1) as f64,
        base_kib: at(&base, i),
        held_kib: at(&held, i),
        idle_cpu_s: between(&idle, &rested, i),
        after_kib: at(&after, i),
    };
    Ok(Held {
        clients,
        handshakes_per_s: clients as f64 / took,
        rows: watched.iter().enumerate().map(row).collect(),
    })
}
