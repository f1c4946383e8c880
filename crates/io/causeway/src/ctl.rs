//! `causeway ctl`: questions to a node, and to a configuration.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use clap::{Args, Subcommand};

use crate::FileArg;
use crate::allow_list::AllowList;

#[derive(Subcommand)]
pub(crate) enum Ctl {
    /// Say what every transform and search rule makes of a destination, and where a request would
    /// go. Nothing is sent. Exit status 1 if it would go nowhere, 2 if that cannot be told.
    Search(Search),
    /// Show, test, import and export where clients' HTTP requests may lead.
    #[command(subcommand)]
    AllowList(AllowList),
}

#[derive(Args)]
pub(crate) struct Search {
    #[command(flatten)]
    file: FileArg,
    /// The destination: a SIP or tel URI, or an alias.
    #[arg(long, value_name = "URI")]
    to: String,
    /// Who asks. Of a served domain: a client; of another one: nobody's neighbour (DefaultZone).
    #[arg(long, value_name = "URI", default_value = "")]
    from: String,
    /// The zone that the request comes from, instead.
    #[arg(long, value_name = "NAME", default_value = "")]
    zone: String,
    /// The request is authenticated.
    #[arg(long)]
    authenticated: bool,
    /// Ask the file alone, not the node that runs with it: to try a change before it is made.
    #[arg(long)]
    offline: bool,
    /// One JSON object, for programs.
    #[arg(long)]
    json: bool,
}

/// Carries out a command. What could not be asked is told apart from what leads nowhere.
pub(crate) fn run(command: Ctl) -> ExitCode {
    let done = match command {
        Ctl::Search(search) => self::search(search),
        Ctl::AllowList(command) => return crate::allow_list::run(command),
    };
    done.unwrap_or_else(|e| {
        eprintln!("causeway: {e:#}");
        ExitCode::from(2)
    })
}

fn search(search: Search) -> anyhow::Result<ExitCode> {
    let (config, _) = crate::check::load(&search.file.config)?;
    let asked =
        admin::search::question(&search.from, &search.to, &search.zone, search.authenticated);
    let report = if search.offline {
        driver::signal::dry_run(config, asked)
    } else {
        let socket: PathBuf = config.data.join(admin::SOCKET);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("the operating system gives no threads")?;
        let answer = runtime.block_on(admin::client::search(&socket, &asked));
        answer.context("with --offline the file alone is asked")?
    };
    if search.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print!("{}", admin::search::text(&report));
    }
    Ok(if report.targets.is_empty() {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}
