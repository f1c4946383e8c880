//! nginx, an OpenSSH tunnel and nginx beside our edge and core, in turns, in one run.
//!
//! As with SIP, only what ran in turns is compared, and the median of the repeats is told.
//! "/CPU-s" counts user and system time of all processes of a chain, the inside server's left out.

use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use rustls_pki_types::ServerName;

use crate::bars::{Figure, Figures, Of};
use crate::compare::median;
use crate::conn::Edge;
use crate::house::{DOMAIN, NAME};
use crate::tls::{self, KeyKind};
use crate::web::{self, segment, sign_in};
use crate::web_house::{self, Chains, INSIDE, OURS, THEIRS, USER};
use crate::web_work::{self, WebKind, WebLoad};
use crate::work::{Outcome, Watched};

/// How the comparison is made.
#[derive(Args)]
pub(crate) struct Options {
    /// Our program.
    #[arg(long)]
    causeway: PathBuf,
    /// A folder for configurations and logs.
    #[arg(long)]
    folder: PathBuf,
    /// Turns.
    #[arg(long, default_value_t = 3)]
    repeats: usize,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// Connections at once.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// Idle TLS connections that are held; 0 leaves that out.
    #[arg(long, default_value_t = 5000)]
    hold: usize,
    /// Only ours: to measure a change.
    #[arg(long)]
    ours_alone: bool,
    /// Only work whose name holds this.
    #[arg(long, default_value = "")]
    only: String,
}

struct Side {
    of: Of,
    name: &'static str,
    edge: Edge,
    /// Session cookie, for ours.
    lines: String,
    watched: Vec<Watched>,
}

/// The work whose rate and tail are held against theirs.
const SMALL: &str = "1 KiB";

/// Works by name: kind, file, connections (0: as many as the options say), rate.
const WORKS: &[(&str, WebKind, &str, usize, Option<f64>)] = &[
    (SMALL, WebKind::Get, "1k", 0, None),
    (
        "1 KiB, 16 connections at 200/s",
        WebKind::Get,
        "1k",
        16,
        Some(200.0),
    ),
    ("64 KiB", WebKind::Get, "64k", 0, None),
    ("16 MiB, 4 connections", WebKind::Get, "16m", 4, None),
    ("new connection and 1 KiB", WebKind::Fresh, "1k", 0, None),
    ("handshake", WebKind::Handshake, "1k", 0, None),
];

/// Runs the comparison and prints its tables.
///
/// # Errors
/// A program that does not start, or clients that are not served.
pub(crate) async fn run(options: &Options) -> Result<()> {
    let mut rows = Rows::default();
    for (key, word) in [(KeyKind::Rsa, "RSA-2048"), (KeyKind::Ecdsa, "ECDSA P-256")] {
        let folder = options.folder.join(word.split(' ').next().unwrap_or(word));
        let (house, chains) =
            web_house::start(&folder, &options.causeway, key, options.ours_alone)?;
        let trust = tls::clients(&house.folder().join("ca.pem"))?;
        let sides = sides(chains, &trust).await?;
        for side in sides.iter().filter(|_| key == KeyKind::Rsa) {
            beside(options, side, &mut rows.figures).await?;
        }
        for turn in 1..=options.repeats {
            eprintln!("{word}, turn {turn} of {}", options.repeats);
            for work in WORKS {
                let shaking = matches!(work.1, WebKind::Fresh | WebKind::Handshake);
                if !work.0.contains(&options.only) || (key == KeyKind::Ecdsa && !shaking) {
                    continue;
                }
                let name = match shaking {
                    true => format!("{}, {word}", work.0),
                    false => work.0.to_owned(),
                };
                for side in &sides {
                    rows.measure(options, side, name.clone(), work).await?;
                }
            }
        }
    }
    rows.print();
    Ok(())
}

async fn sides(chains: Chains, trust: &std::sync::Arc<rustls::ClientConfig>) -> Result<Vec<Side>> {
    let edge = |address: &str| -> Result<Edge> {
        Ok(Edge {
            address: address.parse()?,
            name: ServerName::try_from(NAME).context("a fixed name")?,
            tls: trust.clone(),
        })
    };
    let mut sides = Vec::new();
    if !chains.theirs.is_empty() {
        sides.push(Side {
            of: Of::Theirs,
            name: "nginx, OpenSSH, nginx",
            edge: edge(THEIRS)?,
            lines: String::new(),
            watched: chains.theirs,
        });
    }
    let ours = edge(OURS)?;
    let lines = sign_in(&ours, NAME, DOMAIN, USER).await?;
    sides.push(Side {
        of: Of::Ours,
        name: "Causeway",
        edge: ours,
        lines,
        watched: chains.ours,
    });
    Ok(sides)
}

fn request(side: &Side, file: &str) -> Rc<[u8]> {
    let path = format!("/{}/{file}", segment(&format!("{DOMAIN}/{INSIDE}")));
    web::get(NAME, &path, &side.lines).into()
}

/// Memory of idle connections, and a large download beside small requests.
async fn beside(options: &Options, side: &Side, figures: &mut Figures) -> Result<()> {
    let load = |connections, rate, seconds| WebLoad {
        kind: WebKind::Get,
        request: request(side, "1k"),
        connections,
        rate: Some(rate),
        time: Duration::from_secs_f64(seconds),
    };
    if options.hold > 0 && "idle".contains(&options.only) {
        let one = load(1, 1.0, 1.0);
        let held = web_work::hold(&one, &side.edge, &side.watched, options.hold).await?;
        for (watched, kib) in side.watched.iter().zip(&held.each_kib) {
            println!(
                "{}, {}: {kib:.1} KiB an idle connection",
                side.name, watched.name
            );
        }
        let edge = held.each_kib.first().copied().unwrap_or_default();
        figures.note(Figure::Idle, side.of, edge * 1.024);
        // Those that were held go.
        tokio::time::sleep(Duration::from_secs(2)).await;
    }
    if !"download".contains(&options.only) {
        return Ok(());
    }
    let small = load(8, 250.0, 4.0);
    let alone = web_work::run(&small, &side.edge, &side.watched).await?;
    let large = request(side, "1g").to_vec();
    let beside = web_work::download(large, &small, &side.edge, &side.watched).await?;
    println!(
        "{}: 1 GiB at {:.0} MB/s; 1,000 small requests at 250/s beside it: ms p50 {:.2}, \
         p99 {:.2}, {} failed; alone: {:.2}, {:.2}",
        side.name,
        beside.mb_per_s,
        beside.beside.latency(0.5),
        beside.beside.latency(0.99),
        beside.beside.failed,
        alone.latency(0.5),
        alone.latency(0.99),
    );
    let measured = [
        (Figure::AloneMedian, alone.latency(0.5)),
        (Figure::AloneTail, alone.latency(0.99)),
        (Figure::BesideMedian, beside.beside.latency(0.5)),
        (Figure::BesideTail, beside.beside.latency(0.99)),
    ];
    for (figure, value) in measured {
        figures.note(figure, side.of, value);
    }
    let failed = alone.failed + beside.beside.failed;
    figures.add(Figure::Failed, side.of, failed as f64);
    let mib = |kib: &u64| *kib as f64 / 1024.0;
    let mut grown = beside.grown_kib.iter().map(mib);
    figures.note(Figure::EdgeGrew, side.of, grown.next().unwrap_or_default());
    figures.note(Figure::CoreGrew, side.of, grown.sum());
    for (watched, mib) in side.watched.iter().zip(beside.grown_kib.iter().map(mib)) {
        println!(
            "{}, {}: {mib:.1} MiB more meanwhile",
            side.name, watched.name
        );
    }
    Ok(())
}

/// By work and side, in the order measured, and what is held against the bars.
#[derive(Default)]
struct Rows {
    rows: Vec<Row>,
    figures: Figures,
}

struct Row {
    work: String,
    side: &'static str,
    of: Of,
    /// Processes of the chain.
    parts: usize,
    outcome: Outcome,
}

impl Rows {
    async fn measure(
        &mut self,
        options: &Options,
        side: &Side,
        name: String,
        work: &(&str, WebKind, &str, usize, Option<f64>),
    ) -> Result<()> {
        let load = WebLoad {
            kind: work.1,
            request: request(side, work.2),
            connections: if work.3 == 0 {
                options.connections
            } else {
                work.3
            },
            rate: work.4,
            time: Duration::from_secs_f64(options.seconds),
        };
        let outcome = web_work::run(&load, &side.edge, &side.watched).await?;
        ensure!(outcome.done > 0, "{} did nothing of {name}", side.name);
        eprintln!(
            "{name}, {}: {:.0}/s, {:.0}/CPU-s (edge {:.0}), ms p50 {:.2}, p90 {:.2}, p99 {:.2}, \
             {} failed",
            side.name,
            outcome.rate(),
            outcome.per_cpu(0, side.watched.len()),
            outcome.per_cpu(0, 1),
            outcome.latency(0.5),
            outcome.latency(0.9),
            outcome.latency(0.99),
            outcome.failed
        );
        let failed = outcome.failed as f64;
        self.figures.add(Figure::Failed, side.of, failed);
        self.rows.push(Row {
            work: name,
            side: side.name,
            of: side.of,
            parts: side.watched.len(),
            outcome,
        });
        // Ports and descriptors of closed connections rest a moment.
        tokio::time::sleep(Duration::from_secs(1)).await;
        Ok(())
    }

    fn print(&mut self) {
        println!(
            "\n| work | chain | /s | MB/s | /CPU-s of the chain | MB/CPU-s | edge /CPU-s | \
             p50 ms | p90 ms | p99 ms | failed |\n|---|---|---|---|---|---|---|---|---|---|---|"
        );
        let mut seen: Vec<(&str, &str)> = Vec::new();
        for Row {
            work,
            side,
            of,
            parts,
            ..
        } in &self.rows
        {
            if seen.contains(&(work.as_str(), *side)) {
                continue;
            }
            seen.push((work, side));
            let same = |row: &&Row| row.work == *work && row.side == *side;
            let all: Vec<&Outcome> = self.rows.iter().filter(same).map(|r| &r.outcome).collect();
            let mid = |of: &dyn Fn(&Outcome) -> f64| median(all.iter().map(|o| of(o)));
            let mb = |o: &Outcome| o.bytes as f64 / 1e6;
            let per_request = |o: &Outcome| mb(o) / o.done as f64;
            let tail = mid(&|o| o.latency(0.99));
            let (chain, edge) = (mid(&|o| o.per_cpu(0, *parts)), mid(&|o| o.per_cpu(0, 1)));
            println!(
                "| {work} | {side} | {:.0} | {:.0} | {chain:.0} | {:.0} | {edge:.0} | {:.2} | \
                 {:.2} | {tail:.2} | {} |",
                mid(&Outcome::rate),
                mid(&|o| mb(o) / o.seconds),
                mid(&|o| o.per_cpu(0, *parts) * per_request(o)),
                mid(&|o| o.latency(0.5)),
                mid(&|o| o.latency(0.9)),
                all.iter().map(|o| o.failed).sum::<usize>(),
            );
            let figures = &mut self.figures;
            match work.as_str() {
                SMALL => {
                    figures.note(Figure::Rate, *of, mid(&Outcome::rate));
                    figures.note(Figure::Tail, *of, tail);
                    figures.note(Figure::PerCpu, *of, chain);
                }
                "handshake, RSA-2048" => figures.note(Figure::Rsa, *of, edge),
                "handshake, ECDSA P-256" => figures.note(Figure::Ecdsa, *of, edge),
                _ => {}
            }
        }
        println!("\n{}", self.figures.table());
    }
}
