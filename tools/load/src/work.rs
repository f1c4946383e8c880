//! Work put on an edge, in a closed or an open loop, and what it took.
//!
//! Closed: `outstanding` operations at any time, each on a connection that was idle. Open: a clock
//! of its own schedules `rate` a second, and latency counts from the scheduled time, so that an
//! edge that stalls cannot hide it. An operation that fails costs its connection and is counted.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::conn::{Conn, Edge};
use crate::proc;
use crate::script::{self, Pair};

/// Handshakes under way at once while clients connect.
const HANDSHAKES: usize = 16;

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// REGISTER, 401, REGISTER with the digest, 200.
    Register,
    /// INVITE, 180, 200, ACK, BYE, 200 between two clients.
    Call,
    /// MESSAGE and its 200 between two clients.
    Message,
}

/// How much.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    /// What.
    pub(crate) kind: Kind,
    /// The users' domain, which is the realm too.
    pub(crate) domain: String,
    /// Operations at once, in a closed loop.
    pub(crate) outstanding: usize,
    /// Operations a second, in an open loop.
    pub(crate) rate: Option<f64>,
    /// How long it is measured; a tenth as long goes before.
    pub(crate) time: Duration,
}

/// A process to be watched.
#[derive(Clone, Debug)]
pub(crate) struct Watched {
    /// Its word in reports.
    pub(crate) name: String,
    /// Its number.
    pub(crate) pid: u32,
}

impl std::str::FromStr for Watched {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (name, pid) = text.split_once('=').ok_or("write NAME=PID")?;
        Ok(Watched {
            name: name.to_owned(),
            pid: pid.parse().map_err(|_| "the PID is no number")?,
        })
    }
}

/// What came of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// Operations that ended well.
    pub(crate) done: usize,
    /// Operations that did not.
    pub(crate) failed: usize,
    /// Seconds measured.
    pub(crate) seconds: f64,
    /// Processor seconds of each watched process, in their order.
    pub(crate) cpu: Vec<f64>,
    /// Latencies in ms, sorted.
    pub(crate) latencies: Vec<f64>,
    /// Bytes of bodies, where there are some.
    pub(crate) bytes: u64,
}

impl Outcome {
    /// Operations a second.
    pub(crate) fn rate(&self) -> f64 {
        self.done as f64 / self.seconds
    }

    /// Operations a processor second of those watched from `first` on, `count` of them.
    pub(crate) fn per_cpu(&self, first: usize, count: usize) -> f64 {
        let used: f64 = self.cpu.iter().skip(first).take(count).sum();
        self.done as f64 / used.max(0.01)
    }

    /// A latency in ms that `part` of all operations kept to.
    pub(crate) fn latency(&self, part: f64) -> f64 {
        let at = (self.latencies.len() as f64 * part) as usize;
        let at = at.min(self.latencies.len().saturating_sub(1));
        self.latencies.get(at).copied().unwrap_or(0.0)
    }

    /// For `--json`.
    pub(crate) fn json(&self, watched: &[Watched]) -> Value {
        let cpu: Vec<Value> = watched
            .iter()
            .enumerate()
            .map(|(i, w)| {
                let rate = self.per_cpu(i, 1);
                json!({ "name": w.name, "seconds": self.cpu.get(i), "per_cpu_s": rate })
            })
            .collect();
        json!({
            "done": self.done, "failed": self.failed, "seconds": self.seconds,
            "per_s": self.rate(), "cpu": cpu,
            "ms": { "p50": self.latency(0.5), "p99": self.latency(0.99),
                    "p999": self.latency(0.999), "max": self.latency(1.0) },
        })
    }
}

/// Connects clients `0..users`.
///
/// # Errors
/// The first that could not.
pub(crate) async fn connect(edge: &Edge, users: std::ops::Range<usize>) -> Result<Vec<Conn>> {
    let mut open = Vec::with_capacity(users.len());
    let mut under_way = JoinSet::new();
    for user in users {
        while under_way.len() >= HANDSHAKES {
            open.push(under_way.join_next().await.context("none")???);
        }
        let edge = edge.clone();
        under_way.spawn_local(async move { Conn::open(&edge, user).await });
    }
    while let Some(conn) = under_way.join_next().await {
        open.push(conn??);
    }
    Ok(open)
}

/// Registers clients that are connected, [`HANDSHAKES`] at a time.
///
/// # Errors
/// The first that could not.
pub(crate) async fn register(conns: Vec<Conn>, domain: &str) -> Result<Vec<Conn>> {
    let (mut done, mut under_way) = (Vec::with_capacity(conns.len()), JoinSet::new());
    for mut conn in conns {
        while under_way.len() >= HANDSHAKES {
            done.push(under_way.join_next().await.context("none")???);
        }
        let domain = domain.to_owned();
        under_way.spawn_local(async move {
            script::register(&mut conn, &domain).await?;
            anyhow::Ok(conn)
        });
    }
    while let Some(conn) = under_way.join_next().await {
        done.push(conn??);
    }
    Ok(done)
}

/// A connection or two, on which one operation runs at a time.
enum Unit {
    One(Box<Conn>),
    Two(Box<Pair>),
}

impl Unit {
    /// Runs an operation; gives when the answer that counts was there.
    async fn run(&mut self, load: &Load) -> Result<Instant> {
        match (self, load.kind) {
            (Unit::One(conn), _) => {
                script::register(conn, &load.domain).await?;
                Ok(Instant::now())
            }
            (Unit::Two(pair), Kind::Message) => script::message(pair, &load.domain).await,
            (Unit::Two(pair), _) => script::call(pair, &load.domain).await,
        }
    }
}

/// Puts work on an edge over connected clients; those for calls and messages are registered.
///
/// # Errors
/// No client is left.
pub(crate) async fn run(load: &Load, conns: Vec<Conn>, watched: &[Watched]) -> Result<Outcome> {
    let units = match load.kind {
        Kind::Register => conns.into_iter().map(|c| Unit::One(Box::new(c))).collect(),
        Kind::Call | Kind::Message => pairs(conns),
    };
    let state = Rc::new(RefCell::new(State {
        idle: units,
        ..State::default()
    }));
    let began = Instant::now();
    let warm = load.time / 10;
    let end = began + warm + load.time;
    let mut tasks = JoinSet::new();
    match load.rate {
        None => {
            for _ in 0..load.outstanding {
                tasks.spawn_local(closed(state.clone(), load.clone(), end));
            }
        }
        Some(rate) => {
            tasks.spawn_local(open(state.clone(), load.clone(), rate, end));
        }
    }
    tokio::time::sleep(warm).await;
    let from = Instant::now();
    let before: Vec<f64> = watched.iter().map(|w| proc::cpu(w.pid)).collect();
    state.borrow_mut().counting = true;
    tokio::time::sleep(load.time).await;
    let seconds = from.elapsed().as_secs_f64();
    state.borrow_mut().counting = false;
    let cpu = watched
        .iter()
        .zip(&before)
        .map(|(w, before)| proc::cpu(w.pid) - before)
        .collect();
    while tasks.join_next().await.is_some() {}
    let mut state = state.borrow_mut();
    if let Some(first) = state.why.take() {
        eprintln!("load: {} failed, the first so: {first:#}", state.failed);
    }
    ensure!(!state.idle.is_empty(), "no client is left");
    let mut latencies = std::mem::take(&mut state.latencies);
    latencies.sort_by(f64::total_cmp);
    Ok(Outcome {
        done: latencies.len(),
        failed: state.failed,
        seconds,
        cpu,
        latencies,
        bytes: 0,
    })
}

fn pairs(conns: Vec<Conn>) -> VecDeque<Unit> {
    let mut units = VecDeque::new();
    let mut conns = conns.into_iter();
    while let (Some(a), Some(b)) = (conns.next(), conns.next()) {
        let pair = Pair { a, b, count: 0 };
        units.push_back(Unit::Two(Box::new(pair)));
    }
    units
}

#[derive(Default)]
struct State {
    idle: VecDeque<Unit>,
    counting: bool,
    latencies: Vec<f64>,
    failed: usize,
    why: Option<anyhow::Error>,
}

/// Runs one operation on an idle connection, if there is one.
async fn one(state: &Rc<RefCell<State>>, load: &Load, scheduled: Instant) -> bool {
    let Some(mut unit) = state.borrow_mut().idle.pop_front() else {
        return false;
    };
    let ended = unit.run(load).await;
    let mut state = state.borrow_mut();
    match ended {
        Ok(at) => {
            if state.counting {
                let ms = at.duration_since(scheduled).as_secs_f64() * 1000.0;
                state.latencies.push(ms);
            }
            state.idle.push_back(unit);
        }
        Err(why) => {
            state.failed += 1;
            state.why.get_or_insert(why);
        }
    }
    true
}

async fn closed(state: Rc<RefCell<State>>, load: Load, end: Instant) {
    while Instant::now() < end {
        if !one(&state, &load, Instant::now()).await {
            return;
        }
    }
}

async fn open(state: Rc<RefCell<State>>, load: Load, rate: f64, end: Instant) {
    let (tick, mut ticks) = mpsc::unbounded_channel();
    let clock = std::thread::spawn(move || {
        let began = Instant::now();
        for n in 0.. {
            let at = began + Duration::from_secs_f64(f64::from(n) / rate);
            if at >= end {
                return;
            }
            std::thread::sleep(at.saturating_duration_since(Instant::now()));
            if tick.send(at).is_err() {
                return;
            }
        }
    });
    let mut tasks = JoinSet::new();
    let late = Rc::new(RefCell::new(VecDeque::new()));
    while let Some(at) = ticks.recv().await {
        late.borrow_mut().push_back(at);
        while tasks.try_join_next().is_some() {}
        let (state, load, late) = (state.clone(), load.clone(), late.clone());
        tasks.spawn_local(async move {
            // A connection that comes free takes the oldest that waits.
            while !state.borrow().idle.is_empty() {
                let Some(at) = late.borrow_mut().pop_front() else {
                    return;
                };
                one(&state, &load, at).await;
            }
        });
    }
    while tasks.join_next().await.is_some() {}
    // The clock ends before this does.
    let _ = clock.join();
}
