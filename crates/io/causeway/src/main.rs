//! The `causeway` program: it plays an edge or a core, checks a configuration, shows a node, and
//! says what it would do.

#![forbid(unsafe_code)]

mod allow_list;
mod check;
mod ctl;
mod log;
mod run;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Registrations that are shown as a table unless asked for more.
const REGISTRATIONS_SHOWN: usize = 50;

/// Phone, video, chat, directory and voicemail from anywhere, without a VPN.
///
/// An edge stands in the DMZ, a core inside; the core dials the edge, and nothing inside is ever
/// dialled from outside. The configuration says which of the two this node is.
#[derive(Parser)]
#[command(name = "causeway", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run this node until SIGTERM or SIGINT.
    Run(FileArg),
    /// Say what is wrong with a configuration: line, cause and fix. Exit status 1 if it cannot run.
    Check {
        #[command(flatten)]
        file: FileArg,
        /// One JSON object, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Show what the running node looks like: links, registrations, calls, counters.
    Status {
        #[command(flatten)]
        file: FileArg,
        /// One JSON object, for programs.
        #[arg(long)]
        json: bool,
        /// So many registrations at most; without it 50 as a table, and all as JSON.
        #[arg(long, value_name = "NUMBER")]
        registrations: Option<usize>,
        /// Leave out so many registrations at the beginning.
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        from: usize,
        /// Only registrations whose user, address, device, zone, edge or client holds this.
        #[arg(long, value_name = "TEXT")]
        find: Option<String>,
    },
    /// Ask a node, or a configuration, what it would do.
    #[command(subcommand)]
    Ctl(ctl::Ctl),
}

#[derive(Args)]
struct FileArg {
    /// The configuration file (TOML).
    #[arg(long, short, value_name = "FILE")]
    config: PathBuf,
}

fn main() -> ExitCode {
    net::tls::install();
    let done = match Cli::parse().command {
        Command::Run(file) => run::run(&file.config),
        Command::Check { file, json } => check::check(&file.config, json),
        Command::Status {
            file,
            json,
            registrations,
            from,
            find,
        } => {
            let limit = registrations.or((!json).then_some(REGISTRATIONS_SHOWN));
            let page = admin::Page { from, limit, find };
            show::status(&file.config, json, &page)
        }
        Command::Ctl(command) => Ok(ctl::run(command)),
    };
    match done {
        Ok(code) => code,
        Err(e) => {
            eprintln!("causeway: {e:#}");
            ExitCode::FAILURE
        }
    }
}
