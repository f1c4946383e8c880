//! `load`: clients by the thousand in front of an edge, and what they cost it.
//!
//! It speaks SIP and HTTP from templates of its own and shares no code with the product. See
//! `README.md`.

#![forbid(unsafe_code)]

mod bars;
mod compare;
mod compare_web;
mod conn;
mod hold;
mod house;
mod proc;
mod script;
mod tls;
mod web;
mod web_house;
mod web_work;
mod work;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use rustls_pki_types::ServerName;

use conn::Edge;
use web_work::{WebKind, WebLoad};
use work::{Kind, Load, Watched};

/// Load of SIP and HTTPS clients on an edge, and what it costs there.
#[derive(Parser)]
#[command(name = "load")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// SIP over TLS.
    Sip(Box<Sip>),
    /// Kamailio's edge beside ours, in turns, with the same registrar behind both. Wants a network
    /// namespace of its own: `unshare -n sh -c 'ip link set lo up; load compare-kamailio …'`.
    CompareKamailio(compare::Options),
    /// HTTPS.
    Http(Box<Http>),
    /// nginx, an OpenSSH tunnel and nginx beside our edge and core, in turns. Wants root in a
    /// network namespace of its own: `unshare -n sh -c 'ip link set lo up; load compare-nginx …'`.
    CompareNginx(compare_web::Options),
}

#[derive(Args)]
struct Http {
    /// What clients do.
    #[arg(value_enum)]
    what: WebKind,
    /// The edge, IP:PORT.
    #[arg(long)]
    edge: SocketAddr,
    /// The name in its certificate.
    #[arg(long, default_value = "edge.load.test")]
    name: String,
    /// Authorities that its certificate is checked with (PEM).
    #[arg(long)]
    ca: PathBuf,
    /// The users' domain.
    #[arg(long, default_value = "load.test")]
    domain: String,
    /// Signs this user in first, with the password `secret-` and the name.
    #[arg(long)]
    user: Option<String>,
    /// The inside server, as `http/HOST/PORT`; without it `--path` is asked of the edge as it is.
    #[arg(long)]
    inside: Option<String>,
    /// The path.
    #[arg(long, default_value = "/")]
    path: String,
    /// Connections at once.
    #[arg(long, default_value_t = 64)]
    connections: usize,
    /// How long is measured.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Requests a second.
    #[arg(long)]
    rate: Option<f64>,
    /// Processes whose cost is told, NAME=PID.
    #[arg(long = "pid")]
    watched: Vec<Watched>,
    /// One JSON object, for programs.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
struct Sip {
    /// What clients do; `hold` connects and registers them, and tells the memory of each.
    #[arg(value_enum)]
    what: What,
    /// The edge, IP:PORT.
    #[arg(long)]
    edge: SocketAddr,
    /// The name in its certificate.
    #[arg(long, default_value = "edge.load.test")]
    name: String,
    /// Authorities that its certificate is checked with (PEM).
    #[arg(long)]
    ca: PathBuf,
    /// The users' domain, and the digest realm.
    #[arg(long, default_value = "load.test")]
    domain: String,
    /// Clients, each with a connection and a user: u00000, password secret-u00000, and so on.
    #[arg(long, default_value_t = 1000)]
    users: usize,
    /// Operations at once (closed loop).
    #[arg(long, default_value_t = 50)]
    connections: usize,
    /// How long is measured.
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// Operations a second (open loop).
    #[arg(long)]
    rate: Option<f64>,
    /// Processes whose cost is told, NAME=PID.
    #[arg(long = "pid")]
    watched: Vec<Watched>,
    /// One JSON object, for programs.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum What {
    Register,
    Call,
    Message,
    Hold,
}

fn main() -> Result<()> {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let local = tokio::task::LocalSet::new();
    runtime.block_on(local.run_until(async {
        match cli.command {
            Command::Sip(sip) => run(&sip).await,
            Command::CompareKamailio(options) => compare::run(&options).await,
            Command::Http(http) => run_http(&http).await,
            Command::CompareNginx(options) => compare_web::run(&options).await,
        }
    }))
}

async fn run(sip: &Sip) -> Result<()> {
    let edge = Edge {
        address: sip.edge,
        name: ServerName::try_from(sip.name.clone()).context("--name is no host name")?,
        tls: tls::clients(&sip.ca)?,
    };
    let time = Duration::from_secs_f64(sip.seconds);
    let kind = match sip.what {
        What::Register => Kind::Register,
        What::Call => Kind::Call,
        What::Message => Kind::Message,
        What::Hold => {
            let held = hold::run(&edge, &sip.domain, sip.users, &sip.watched, time).await?;
            return print(sip.json, &held.json(), &held.text());
        }
    };
    let load = Load {
        kind,
        domain: sip.domain.clone(),
        outstanding: sip.connections,
        rate: sip.rate,
        time,
    };
    let mut conns = work::connect(&edge, 0..sip.users).await?;
    if kind != Kind::Register {
        conns = work::register(conns, &sip.domain).await?;
    }
    let outcome = work::run(&load, conns, &sip.watched).await?;
    let mut text = format!(
        "{:?}: {} in {:.1} s ({:.0}/s), {} failed; ms p50 {:.2}, p99 {:.2}, p99.9 {:.2}",
        kind,
        outcome.done,
        outcome.seconds,
        outcome.rate(),
        outcome.failed,
        outcome.latency(0.5),
        outcome.latency(0.99),
        outcome.latency(0.999),
    );
    for (i, watched) in sip.watched.iter().enumerate() {
        text.push_str(&format!(
            "\n{}: {:.2} CPU-s, {:.0} /CPU-s",
            watched.name,
            outcome.cpu.get(i).copied().unwrap_or(0.0),
            outcome.per_cpu(i, 1),
        ));
    }
    print(sip.json, &outcome.json(&sip.watched), &text)
}

async fn run_http(http: &Http) -> Result<()> {
    let edge = Edge {
        address: http.edge,
        name: ServerName::try_from(http.name.clone()).context("--name is no host name")?,
        tls: tls::clients(&http.ca)?,
    };
    let lines = match &http.user {
        Some(user) => web::sign_in(&edge, &http.name, &http.domain, user).await?,
        None => String::new(),
    };
    let path = match &http.inside {
        Some(inside) => {
            let segment = web::segment(&format!("{}/{inside}", http.domain));
            format!("/{segment}{}", http.path)
        }
        None => http.path.clone(),
    };
    let load = WebLoad {
        kind: http.what,
        request: web::get(&http.name, &path, &lines).into(),
        connections: http.connections,
        rate: http.rate,
        time: Duration::from_secs_f64(http.seconds),
    };
    let outcome = web_work::run(&load, &edge, &http.watched).await?;
    let text = format!(
        "{:?}: {} in {:.1} s ({:.0}/s, {:.1} MB/s), {} failed, {:.0}/CPU-s and {:.1} MB/CPU-s of \
         all watched; ms p50 {:.2}, p90 {:.2}, p99 {:.2}",
        http.what,
        outcome.done,
        outcome.seconds,
        outcome.rate(),
        outcome.bytes as f64 / 1e6 / outcome.seconds,
        outcome.failed,
        outcome.per_cpu(0, http.watched.len()),
        outcome.bytes as f64 / 1e6 / outcome.cpu.iter().sum::<f64>().max(0.01),
        outcome.latency(0.5),
        outcome.latency(0.9),
        outcome.latency(0.99),
    );
    print(http.json, &outcome.json(&http.watched), &text)
}

fn print(as_json: bool, json: &serde_json::Value, text: &str) -> Result<()> {
    if as_json {
        println!("{}", serde_json::to_string_pretty(json)?);
    } else {
        println!("{text}");
    }
    Ok(())
}
