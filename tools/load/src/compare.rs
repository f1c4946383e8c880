//! Kamailio's edge beside ours, in turns, in one run.
//!
//! A machine's speed drifts by a third within an hour, so only what ran in turns is compared, and
//! the median of the repeats is told. Operations a processor second count user and system time of
//! all processes of the side named.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;
use rustls_pki_types::ServerName;

use crate::conn::Edge;
use crate::hold::{self, Held};
use crate::house::{DOMAIN, House, NAME, OURS, Pids, THEIRS};
use crate::work::{self, Kind, Load, Outcome, Watched};
use crate::{proc, tls};

/// How long our edge lets a pair of media ports rest after its call, and a second. Calls that come
/// sooner would find those of the calls before still resting, and be refused for that.
const PORTS_REST: Duration = Duration::from_secs(61);

/// How the comparison is made.
#[derive(Args)]
pub(crate) struct Options {
    /// Our program.
    #[arg(long)]
    causeway: PathBuf,
    /// Theirs.
    #[arg(long, default_value = "/usr/sbin/kamailio")]
    kamailio: PathBuf,
    /// A folder for configurations and logs.
    #[arg(long)]
    folder: PathBuf,
    /// Turns.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 8.0)]
    seconds: f64,
    /// Clients that work, one user each.
    #[arg(long, default_value_t = 600)]
    users: usize,
    /// Operations at once.
    #[arg(long, default_value_t = 50)]
    outstanding: usize,
    /// Clients that are held idle; 0 leaves that out.
    #[arg(long, default_value_t = 5000)]
    hold: usize,
    /// Only ours: to measure a change.
    #[arg(long)]
    ours_alone: bool,
    /// Only these kinds of work.
    #[arg(long, value_enum)]
    kind: Vec<Kind>,
    /// Seconds after which memory is looked at again.
    #[arg(long, default_value_t = 40.0)]
    settle: f64,
    /// Leaves the open loop (200 calls a second) out.
    #[arg(long)]
    no_rate: bool,
}

/// A side of the comparison.
struct Side {
    name: &'static str,
    edge: Edge,
    watched: Vec<Watched>,
}

struct Rows<'a> {
    sides: &'a [Side],
    /// When calls last ended.
    called: Option<Instant>,
    /// By work, side and turn.
    outcomes: Vec<(&'static str, usize, Outcome)>,
}

/// Runs the comparison and prints its tables.
///
/// # Errors
/// A program that does not start, or clients that cannot connect.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let users = options.users.max(options.hold);
    let (house, pids) = House::start(&options.folder, &options.causeway, &options.kamailio, users)?;
    let trust = tls::clients(&house.authority())?;
    let edge = |address: &str| -> Result<Edge> {
        Ok(Edge {
            address: address.parse()?,
            name: ServerName::try_from(NAME).context("a fixed name")?,
            tls: trust.clone(),
        })
    };
    let mut sides = Vec::new();
    if !options.ours_alone {
        sides.push(Side {
            name: "Kamailio 5.6",
            edge: edge(THEIRS)?,
            watched: vec![
                watched("edge", pids.theirs),
                watched("registrar", pids.registrar),
            ],
        });
    }
    sides.push(Side {
        name: "Causeway",
        edge: edge(OURS)?,
        watched: ours(&pids),
    });
    let base: Vec<Vec<u64>> = sides.iter().map(memory).collect::<Result<_>>()?;
    if options.hold > 0 {
        for side in &sides {
            let silent = Duration::from_secs(5);
            let held = hold::run(&side.edge, DOMAIN, options.hold, &side.watched, silent).await?;
            print_held(side.name, &held);
        }
    }
    let mut rows = Rows {
        sides: &sides,
        called: None,
        outcomes: Vec::new(),
    };
    for turn in 1..=options.repeats {
        eprintln!("turn {turn} of {}", options.repeats);
        rows.turn(options).await?;
    }
    rows.print();
    tokio::time::sleep(Duration::from_secs_f64(options.settle)).await;
    for (side, base) in sides.iter().zip(&base) {
        for (i, (watched, now)) in side.watched.iter().zip(memory(side)?).enumerate() {
            let at_start = base.get(i).copied().unwrap_or(0) as f64 / 1024.0;
            let (name, part, now) = (side.name, &watched.name, now as f64 / 1024.0);
            println!("{name} {part}: {at_start:.1} MiB at start, {now:.1} MiB after all");
        }
    }
    drop(house);
    Ok(())
}

fn watched(name: &str, pid: u32) -> Watched {
    Watched {
        name: name.to_owned(),
        pid,
    }
}

fn ours(pids: &Pids) -> Vec<Watched> {
    vec![
        watched("edge", pids.edge),
        watched("core", pids.core),
        watched("registrar", pids.registrar),
    ]
}

fn memory(side: &Side) -> Result<Vec<u64>> {
    side.watched.iter().map(|w| proc::pss(w.pid)).collect()
}

fn print_held(name: &str, held: &Held) {
    println!("{name}: {}", held.text());
}

impl Rows<'_> {
    async fn turn(&mut self, options: &Options) -> Result<()> {
        let wanted = |kind: Kind| options.kind.is_empty() || options.kind.contains(&kind);
        let all = [
            ("registration with digest", Kind::Register, None),
            ("call", Kind::Call, None),
            ("message", Kind::Message, None),
            ("call, 200/s", Kind::Call, Some(200.0)),
        ];
        for (name, kind, rate) in all {
            if !wanted(kind) || (rate.is_some() && options.no_rate) {
                continue;
            }
            if let Some(ended) = self.called.filter(|_| kind == Kind::Call) {
                tokio::time::sleep(PORTS_REST.saturating_sub(ended.elapsed())).await;
            }
            for (index, side) in self.sides.iter().enumerate() {
                let load = Load {
                    kind,
                    domain: DOMAIN.to_owned(),
                    outstanding: options.outstanding,
                    rate,
                    time: Duration::from_secs_f64(options.seconds),
                };
                let mut conns = work::connect(&side.edge, 0..options.users).await?;
                if kind != Kind::Register {
                    conns = work::register(conns, DOMAIN).await?;
                }
                let outcome = work::run(&load, conns, &side.watched).await?;
                ensure!(outcome.done > 0, "{} did nothing of {name}", side.name);
                eprintln!(
                    "{name}, {}: {:.0}/s, edge {:.0}/CPU-s, p99 {:.2} ms, {} failed",
                    side.name,
                    outcome.rate(),
                    outcome.per_cpu(0, 1),
                    outcome.latency(0.99),
                    outcome.failed
                );
                self.outcomes.push((name, index, outcome));
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
            if kind == Kind::Call {
                self.called = Some(Instant::now());
            }
        }
        Ok(())
    }

    fn print(&self) {
        println!(
            "\n| work | side | /s | edge /CPU-s | edge and core /CPU-s | registrar /CPU-s | \
             p50 ms | p99 ms | p99.9 ms | failed |\n|---|---|---|---|---|---|---|---|---|---|"
        );
        let mut works: Vec<&str> = Vec::new();
        for (name, ..) in &self.outcomes {
            if !works.contains(name) {
                works.push(name);
            }
        }
        for work in works {
            for (index, side) in self.sides.iter().enumerate() {
                let mine =
                    |(name, side, _): &&(&str, usize, Outcome)| *name == work && *side == index;
                let all: Vec<&Outcome> = self
                    .outcomes
                    .iter()
                    .filter(mine)
                    .map(|row| &row.2)
                    .collect();
                let mid = |of: &dyn Fn(&Outcome) -> f64| median(all.iter().map(|o| of(o)));
                let last = side.watched.len() - 1;
                println!(
                    "| {work} | {} | {:.0} | {:.0} | {} | {:.0} | {:.2} | {:.2} | {:.2} | {} |",
                    side.name,
                    mid(&Outcome::rate),
                    mid(&|o| o.per_cpu(0, 1)),
                    match last {
                        1 => "–".to_owned(),
                        _ => format!("{:.0}", mid(&|o| o.per_cpu(0, 2))),
                    },
                    mid(&|o| o.per_cpu(last, 1)),
                    mid(&|o| o.latency(0.5)),
                    mid(&|o| o.latency(0.99)),
                    mid(&|o| o.latency(0.999)),
                    all.iter().map(|o| o.failed).sum::<usize>(),
                );
            }
        }
        println!();
    }
}

/// The middle value.
pub(crate) fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_is_the_middle_one() {
        assert_eq!(median([3.0, 1.0, 2.0].into_iter()), 2.0);
        assert_eq!(median(std::iter::empty()), 0.0);
    }
}
