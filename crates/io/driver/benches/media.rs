//! How many packets one media worker moves, and how long they take.
//!
//! `cargo bench -p causeway-driver --bench media -- [core|edge] [--legs N] [--payload BYTES]
//! [--rates 50,100,…] [--seconds S] [--repeat N]`
//!
//! The worker runs on CPU 1. On CPU 0 this program plays everybody else: the other end of the link,
//! clients with SRTP (AES_CM_128_HMAC_SHA1_80), phones. A rate is thousands of packets a second,
//! half of them each way, 160 bytes of payload by default. Every 64th packet of a leg is decrypted
//! and compared. Figures of different machines do not compare; those of one run do.

#![allow(missing_docs, unreachable_pub, clippy::unwrap_used)]

#[path = "media/far.rs"]
mod far;

use std::collections::HashMap;
use std::sync::mpsc::channel;
use std::time::{Duration, Instant};

use driver::media_worker::{Role, Settings, start};
use far::{Far, Seen};

fn main() {
    let plan = Plan::read();
    for role in &plan.roles {
        println!(
            "{role:?}: {} legs, RTP packets of {} bytes",
            plan.legs,
            plan.payload + 12
        );
        println!(
            "{:>9} {:>10} {:>8} {:>9} {:>9} {:>9} {:>7} {:>10}",
            "offered/s", "carried/s", "lost", "p50 µs", "p99 µs", "max µs", "CPU", "ns/packet"
        );
        run(*role, &plan);
    }
}

struct Plan {
    roles: Vec<Role>,
    legs: usize,
    payload: usize,
    rates: Vec<u64>,
    lap: Duration,
    repeat: usize,
}

impl Plan {
    fn read() -> Plan {
        let mut plan = Plan {
            roles: Vec::new(),
            legs: 500,
            payload: 160,
            rates: vec![50, 100, 150, 200, 250, 300],
            lap: Duration::from_secs(2),
            repeat: 1,
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().expect("a value");
            match argument.as_str() {
                "core" => plan.roles.push(Role::Core),
                "edge" => plan.roles.push(Role::Edge),
                "--legs" => plan.legs = value().parse().unwrap(),
                "--payload" => plan.payload = value().parse().unwrap(),
                "--seconds" => plan.lap = Duration::from_secs_f64(value().parse().unwrap()),
                "--repeat" => plan.repeat = value().parse().unwrap(),
                "--rates" => {
                    plan.rates = value().split(',').map(|r| r.parse().unwrap()).collect();
                }
                // Cargo's own.
                "--bench" => {}
                other => panic!("unknown argument {other}"),
            }
        }
        if plan.roles.is_empty() {
            plan.roles = vec![Role::Core, Role::Edge];
        }
        plan
    }
}

fn run(role: Role, plan: &Plan) {
    let (tell, events) = channel();
    // A thread inherits the CPUs of the one that starts it.
    stay_on(1);
    let workers = start(Settings::new(role), move |event| {
        let _ = tell.send(event);
    })
    .unwrap();
    stay_on(0);
    let worker = thread_named("media");
    let mut far = Far::new(role, &workers, plan.legs, plan.payload);
    far.settle(&events);
    for rate in &plan.rates {
        for _ in 0..plan.repeat {
            let before = cpu_time(worker);
            let lap = drive(&mut far, rate * 1000, plan.lap);
            lap.print(cpu_time(worker) - before);
            while events.try_recv().is_ok() {}
        }
    }
    workers.stop();
}

/// One rate for a while.
#[derive(Default)]
struct Lap {
    took: Duration,
    sent: u64,
    received: u64,
    latencies: Vec<u32>,
}

fn drive(far: &mut Far, rate: u64, lap: Duration) -> Lap {
    let legs = far.legs();
    let mut sent_at: HashMap<(u32, u16), Instant> =
        HashMap::with_capacity((rate as f64 * lap.as_secs_f64() * 1.1) as usize);
    let mut result = Lap::default();
    let began = Instant::now();
    let mut last_heard = began;
    let mut next = 0usize;
    loop {
        let elapsed = began.elapsed();
        if elapsed < lap {
            // What is due, in bursts short enough to hear what comes back meanwhile.
            let due = (elapsed.as_secs_f64() * rate as f64) as u64;
            for _ in 0..due.saturating_sub(result.sent).min(32) {
                // Both ways of one leg, then of the next.
                let key = far.send(next / 2 % legs, next.is_multiple_of(2));
                sent_at.insert(key, Instant::now());
                next += 1;
                result.sent += 1;
            }
            far.flush();
        } else if result.received == result.sent
            || last_heard.elapsed() > Duration::from_millis(300)
        {
            break;
        }
        let seen = &mut |Seen { ssrc, sequence }| {
            if let Some(then) = sent_at.remove(&(ssrc, sequence)) {
                result
                    .latencies
                    .push(then.elapsed().as_nanos().min(u32::MAX as u128) as u32);
                result.received += 1;
                last_heard = Instant::now();
            }
        };
        far.receive(seen);
    }
    result.took = lap;
    result
}

impl Lap {
    fn print(mut self, cpu: Duration) {
        self.latencies.sort_unstable();
        let at = |q: f64| {
            let i = (self.latencies.len() as f64 * q) as usize;
            let ns = self
                .latencies
                .get(i)
                .or(self.latencies.last())
                .copied()
                .unwrap_or(0);
            f64::from(ns) / 1000.0
        };
        let seconds = self.took.as_secs_f64();
        println!(
            "{:>9.0} {:>10.0} {:>7.3}% {:>9.1} {:>9.1} {:>9.0} {:>6.1}% {:>10.0}",
            self.sent as f64 / seconds,
            self.received as f64 / seconds,
            100.0 * (self.sent - self.received) as f64 / self.sent.max(1) as f64,
            at(0.5),
            at(0.99),
            at(1.0),
            100.0 * cpu.as_secs_f64() / seconds,
            cpu.as_nanos() as f64 / self.received.max(1) as f64,
        );
    }
}

/// Keeps this thread, and those it starts from now on, on one CPU, if there is such a one.
fn stay_on(cpu: usize) {
    let mut set = nix::sched::CpuSet::new();
    set.set(cpu).unwrap();
    if nix::sched::sched_setaffinity(nix::unistd::Pid::from_raw(0), &set).is_err() {
        println!("(CPU {cpu} is not to be had: the figures will vary)");
    }
}

/// The number of the newest of our threads with a name.
fn thread_named(name: &str) -> u32 {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    tasks
        .filter_map(|task| task.unwrap().file_name().to_str()?.parse().ok())
        .filter(|id: &u32| {
            std::fs::read_to_string(format!("/proc/self/task/{id}/comm"))
                .is_ok_and(|comm| comm.trim() == name)
        })
        .max()
        .unwrap()
}

fn cpu_time(thread: u32) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/self/task/{thread}/schedstat")).unwrap();
    Duration::from_nanos(text.split_whitespace().next().unwrap().parse().unwrap())
}
