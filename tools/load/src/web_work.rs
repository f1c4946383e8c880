//! Work put on an HTTPS edge, and what it took.
//!
//! Closed loop: each of some connections asks, reads the answer, asks again. With a rate each
//! asks at its own appointed times, and latency counts from those. A tenth of the time goes before.
//! What fails is counted and costs its connection.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;

use crate::conn::Edge;
use crate::proc;
use crate::web::Client;
use crate::work::{Outcome, Watched};

/// Handshakes under way at once while clients connect.
const HANDSHAKES: usize = 16;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum WebKind {
    /// A request over a kept connection.
    Get,
    /// A connection, a request, and goodbye.
    Fresh,
    /// A TLS handshake, and goodbye.
    Handshake,
}

/// How much.
#[derive(Clone)]
pub(crate) struct WebLoad {
    /// What.
    pub(crate) kind: WebKind,
    /// The request, as it is written.
    pub(crate) request: Rc<[u8]>,
    /// Connections at once.
    pub(crate) connections: usize,
    /// Requests a second of all of them.
    pub(crate) rate: Option<f64>,
    /// How long it is measured.
    pub(crate) time: Duration,
}

#[derive(Default)]
struct State {
    counting: bool,
    latencies: Vec<f64>,
    bytes: u64,
    failed: usize,
    why: Option<anyhow::Error>,
}

/// Puts work on an edge.
///
/// # Errors
/// Nothing at all was done.
pub(crate) async fn run(load: &WebLoad, edge: &Edge, watched: &[Watched]) -> Result<Outcome> {
    let state = Rc::new(RefCell::new(State::default()));
    let warm = load.time / 10;
    let began = Instant::now();
    let end = began + warm + load.time;
    let mut tasks = JoinSet::new();
    for nth in 0..load.connections {
        tasks.spawn_local(one(
            load.clone(),
            edge.clone(),
            state.clone(),
            nth,
            began,
            end,
        ));
    }
    tokio::time::sleep(warm).await;
    let from = Instant::now();
    let before: Vec<f64> = watched.iter().map(|w| proc::cpu(w.pid)).collect();
    state.borrow_mut().counting = true;
    tokio::time::sleep(load.time).await;
    state.borrow_mut().counting = false;
    let seconds = from.elapsed().as_secs_f64();
    let used = |(w, before): (&Watched, &f64)| proc::cpu(w.pid) - before;
    let cpu = watched.iter().zip(&before).map(used).collect();
    while tasks.join_next().await.is_some() {}
    let mut state = state.borrow_mut();
    if let Some(first) = state.why.take() {
        eprintln!("load: {} failed, the first so: {first:#}", state.failed);
    }
    let mut latencies = std::mem::take(&mut state.latencies);
    ensure!(!latencies.is_empty(), "nothing was done");
    latencies.sort_by(f64::total_cmp);
    Ok(Outcome {
        done: latencies.len(),
        failed: state.failed,
        seconds,
        cpu,
        latencies,
        bytes: state.bytes,
    })
}

/// One connection's work, from `began` to `end`.
async fn one(
    load: WebLoad,
    edge: Edge,
    state: Rc<RefCell<State>>,
    nth: usize,
    began: Instant,
    end: Instant,
) {
    let mut client = None;
    let period = load.rate.map(|rate| load.connections as f64 / rate);
    for turn in 0.. {
        let scheduled = match period {
            None => Instant::now(),
            Some(period) => {
                let share = nth as f64 / load.connections as f64;
                let at = began + Duration::from_secs_f64(period * (f64::from(turn) + share));
                tokio::time::sleep_until(at.into()).await;
                at
            }
        };
        if Instant::now() >= end {
            break;
        }
        let done = match load.kind {
            WebKind::Get => kept(&load, &edge, &mut client).await,
            WebKind::Fresh => fresh(&load, &edge).await,
            WebKind::Handshake => shake(&edge).await,
        };
        let ms = scheduled.elapsed().as_secs_f64() * 1000.0;
        let mut state = state.borrow_mut();
        match done {
            Ok(bytes) if state.counting => {
                state.latencies.push(ms);
                state.bytes += bytes;
            }
            Ok(_) => {}
            Err(why) => {
                client = None;
                state.failed += 1;
                state.why.get_or_insert(why);
            }
        }
    }
}

async fn kept(load: &WebLoad, edge: &Edge, client: &mut Option<Client>) -> Result<u64> {
    if client.is_none() {
        *client = Some(Client::open(edge).await?);
    }
    let open = client.as_mut().context("just opened")?;
    let answer = open.ask(&load.request).await?;
    ensure!(answer.status == 200, "status {}", answer.status);
    Ok(answer.bytes)
}

async fn fresh(load: &WebLoad, edge: &Edge) -> Result<u64> {
    let mut client = Client::open(edge).await?;
    let answer = client.ask(&load.request).await?;
    ensure!(answer.status == 200, "status {}", answer.status);
    client.close().await;
    Ok(answer.bytes)
}

async fn shake(edge: &Edge) -> Result<u64> {
    Client::open(edge).await?.close().await;
    Ok(0)
}

/// What idle connections cost.
pub(crate) struct Idle {
    /// KiB a connection of each watched process.
    pub(crate) each_kib: Vec<f64>,
}

/// Holds idle connections after one request each, and looks at the memory.
///
/// # Errors
/// A connection that cannot be made.
pub(crate) async fn hold(
    load: &WebLoad,
    edge: &Edge,
    watched: &[Watched],
    count: usize,
) -> Result<Idle> {
    let memory = || -> Result<Vec<u64>> { watched.iter().map(|w| proc::pss(w.pid)).collect() };
    let base = memory()?;
    let mut held = Vec::with_capacity(count);
    let mut under_way = JoinSet::new();
    for _ in 0..count {
        while under_way.len() >= HANDSHAKES {
            held.push(under_way.join_next().await.context("none")???);
        }
        let (edge, request) = (edge.clone(), load.request.clone());
        under_way.spawn_local(async move {
            let mut client = Client::open(&edge).await?;
            let answer = client.ask(&request).await?;
            ensure!(answer.status == 200, "status {}", answer.status);
            client.rest();
            anyhow::Ok(client)
        });
    }
    while let Some(client) = under_way.join_next().await {
        held.push(client??);
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    let with = memory()?;
    let each = |(with, base): (&u64, &u64)| with.saturating_sub(*base) as f64 / count as f64;
    let each_kib = with.iter().zip(&base).map(each).collect();
    drop(held);
    Ok(Idle { each_kib })
}

/// What large downloads did.
pub(crate) struct Download {
    /// MB a second.
    pub(crate) mb_per_s: f64,
    /// The most memory above what was there before, in KiB, of each watched process.
    pub(crate) grown_kib: Vec<u64>,
    /// The small requests beside it.
    pub(crate) beside: Outcome,
}

/// Downloads something large, again and again while `beside` goes on. The downloads and the looks
/// at memory have threads of their own, so that `beside` waits for the edge and not for this tool.
///
/// # Errors
/// A download fails, or nothing was done beside it.
pub(crate) async fn download(
    large: Vec<u8>,
    beside: &WebLoad,
    edge: &Edge,
    watched: &[Watched],
) -> Result<Download> {
    let memory = || -> Result<Vec<u64>> { watched.iter().map(|w| proc::pss(w.pid)).collect() };
    let base = memory()?;
    let enough = Arc::new(AtomicBool::new(false));
    let (from, until) = (edge.clone(), enough.clone());
    let pulling = tokio::task::spawn_blocking(move || pull(&from, &large, &until));
    let pids: Vec<u32> = watched.iter().map(|w| w.pid).collect();
    let (seen, until) = (base.clone(), enough.clone());
    let looking = tokio::task::spawn_blocking(move || most(&pids, seen, &until));
    let beside = run(beside, edge, watched).await;
    enough.store(true, Ordering::Relaxed);
    let (mb_per_s, peak) = (pulling.await??, looking.await?);
    let grown = |(peak, base): (&u64, &u64)| peak.saturating_sub(*base);
    Ok(Download {
        mb_per_s,
        grown_kib: peak.iter().zip(&base).map(grown).collect(),
        beside: beside?,
    })
}

/// The most memory that processes have until it is enough, in KiB. To look takes milliseconds, in
/// which nothing else could be done here.
fn most(pids: &[u32], mut seen: Vec<u64>, enough: &AtomicBool) -> Vec<u64> {
    while !enough.load(Ordering::Relaxed) {
        for (most, pid) in seen.iter_mut().zip(pids) {
            *most = (*most).max(proc::pss(*pid).unwrap_or(0));
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    seen
}

/// Downloads until it is enough, whole downloads only and one at least; gives MB a second.
fn pull(edge: &Edge, large: &[u8], enough: &AtomicBool) -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut client = Client::open(edge).await?;
        let (began, mut bytes) = (Instant::now(), 0);
        loop {
            let answer = client.ask(large).await?;
            ensure!(answer.status == 200, "status {}", answer.status);
            bytes += answer.bytes;
            if enough.load(Ordering::Relaxed) {
                return Ok(bytes as f64 / 1e6 / began.elapsed().as_secs_f64());
            }
        }
    })
}
