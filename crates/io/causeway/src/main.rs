//! The `causeway` program: it plays an edge or a core, checks a configuration, shows a node, and
//! says what it would do.

#![forbid(unsafe_code)]

mod check;
mod ctl;
mod log;
mod place;
mod run;
mod show;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};

use place::FileArg;

/// Floods come and go, and what they leave free is to be the system's again while the node works
/// on: this allocator sees to it on a thread of its own, and is quicker with what a call takes and
/// gives.
#[global_allocator]
static MEMORY: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// Registrations, and calls that ended and events, that are shown as tables unless asked for more.
const REGISTRATIONS_SHOWN: usize = 50;
const ROWS_SHOWN: usize = 10;

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
    ///
    /// With --config its settings are those of the file, read now. With --state they are those of
    /// the store in that folder: a node without any waits for the first (causeway ctl apply), and
    /// takes up changes while it runs.
    Run {
        #[command(flatten)]
        file: FileArg,
        /// With --state, if the store is empty: begin with the settings of this file. Afterwards it
        /// is not read.
        #[arg(long, value_name = "FILE", conflicts_with = "config")]
        import: Option<PathBuf>,
    },
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
        /// So many registrations, calls that ended and, in tables, events at most; other lists are
        /// whole. Without it 50 registrations, 10 calls that ended and 10 events as tables, and all
        /// as JSON.
        #[arg(long, value_name = "NUMBER")]
        limit: Option<usize>,
        /// Every row of every list.
        #[arg(long, conflicts_with_all = ["limit", "registrations"])]
        all: bool,
        /// So many registrations at most, whatever --limit says of calls and events.
        #[arg(long, value_name = "NUMBER")]
        registrations: Option<usize>,
        /// Leave out so many registrations at the beginning.
        #[arg(long, value_name = "NUMBER", default_value_t = 0)]
        from: usize,
        /// Only registrations, sign-ins and calls of which a name, address, device, zone, edge,
        /// client or reason holds this.
        #[arg(long, value_name = "TEXT")]
        find: Option<String>,
    },
    /// Ask a node, or a configuration, what it would do.
    #[command(subcommand)]
    Ctl(ctl::Ctl),
}

/// What questions to a node or to DNS run in.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("the operating system gives no threads")
}

fn main() -> ExitCode {
    net::tls::install();
    let done = match Cli::parse().command {
        Command::Run { file, import } => run::run(&file, import.as_deref()),
        Command::Check { file, json } => check::check(&file, json),
        Command::Status {
            file,
            json,
            limit,
            all,
            registrations,
            from,
            find,
        } => {
            let shown = |rows: usize| limit.or((!json && !all).then_some(rows));
            let page = admin::Page {
                from,
                limit: registrations.or(shown(REGISTRATIONS_SHOWN)),
                history: shown(ROWS_SHOWN),
                find,
            };
            show::status(&file, json, &page, shown(ROWS_SHOWN))
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

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    #[test]
    fn no_command_has_two_arguments_of_one_name() {
        super::Cli::command().debug_assert();
    }
}
