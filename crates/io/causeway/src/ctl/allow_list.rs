//! `causeway ctl allow-list`: where clients' HTTP requests may lead.
//!
//! The running core is asked over its local socket; `--offline` asks the file alone.

mod import;

use std::path::PathBuf;

use admin::AllowTest;
use admin::client::AskFault;
use anyhow::Context;
use clap::{Args, Subcommand};
use config::{AllowRule, Config, Role};
use driver::guard::{self, Guard};
use serde::Serialize;

use super::{code, or_offline};
use crate::place::FileArg;
use crate::runtime;

/// What is asked of it.
#[derive(Subcommand)]
pub(crate) enum AllowList {
    /// Show the rules in the order tried, with their origin and hits.
    Show(Ask),
    /// Say whether a client's request would pass, by which rule, or what is missing. Nothing is
    /// sent but questions to DNS.
    #[command(after_help = "\
Exit codes:
  0  the request would pass
  1  it would be refused
  2  the question is refused: no URL, a wrong option
  3  it cannot be told: no node runs, the configuration cannot be used, DNS does not answer")]
    Test {
        #[command(flatten)]
        ask: Ask,
        /// The inside URL, or the path that a client sent to the edge: /BASE64/…
        #[arg(value_name = "URL")]
        url: String,
        /// The method.
        #[arg(long, value_name = "METHOD", default_value = "GET")]
        method: String,
    },
    /// Show refused requests of signed-in users, with the rule that would let each through.
    Denied(Online),
    /// Read rules from a CSV file and print what would be added to the configuration. Nothing is
    /// changed without --write.
    #[command(after_help = "\
The first line names the columns: Url,Deployment,HttpMethods,MatchType,Description.

Exit codes:
  0  done; also if there is nothing to add
  1  the CSV file, or the configuration with its rules, has mistakes
  2  a wrong option
  3  a file cannot be read or written, or is no core's configuration")]
    Import {
        #[command(flatten)]
        file: FileArg,
        /// The CSV file.
        #[arg(value_name = "FILE")]
        csv: PathBuf,
        /// Write the configuration file, once it is checked as a whole.
        #[arg(long)]
        write: bool,
        /// One JSON object, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Print the configured rules as CSV; automatic ones are no part of the configuration.
    Export {
        #[command(flatten)]
        file: FileArg,
        /// One JSON object, for programs.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Args)]
pub(crate) struct Ask {
    #[command(flatten)]
    online: Online,
    /// Ask the file alone, not the node that runs with it: without what the node has discovered.
    #[arg(long)]
    offline: bool,
}

#[derive(Args)]
pub(crate) struct Online {
    #[command(flatten)]
    file: FileArg,
    /// One JSON object, for programs.
    #[arg(long)]
    json: bool,
}

/// A rule for programs.
#[derive(Serialize)]
pub(crate) struct Row<'a> {
    url: String,
    r#match: &'static str,
    methods: &'a [String],
    description: &'a str,
}

impl<'a> Row<'a> {
    fn of(rule: &'a AllowRule) -> Self {
        Row {
            url: rule.url(),
            r#match: if rule.exact { "exact" } else { "prefix" },
            methods: &rule.methods,
            description: &rule.description,
        }
    }
}

/// Carries out a command.
pub(super) fn run(command: AllowList) -> anyhow::Result<u8> {
    match command {
        AllowList::Show(ask) => show(&ask),
        AllowList::Test { ask, url, method } => test(&ask, AllowTest { url, method }),
        AllowList::Denied(online) => denied(&online),
        AllowList::Import {
            file,
            csv,
            write,
            json,
        } => {
            let why = "rules of a CSV file go into a file: name it with --config";
            import::run(file.file(why)?, &csv, write, json)
        }
        AllowList::Export { file, json } => export(&file, json),
    }
}

fn show(ask: &Ask) -> anyhow::Result<u8> {
    let config = load(&ask.online.file)?;
    let report = if ask.offline {
        offline(config)?.report()
    } else {
        let socket = config.data.join(admin::SOCKET);
        or_offline(runtime()?.block_on(admin::allow_list::rules(&socket)))?
    };
    print(ask.online.json, &report, admin::allow_list::rules_text)?;
    Ok(code::DONE)
}

fn test(ask: &Ask, asked: AllowTest) -> anyhow::Result<u8> {
    guard::understood(&asked).map_err(|detail| AskFault::Refused {
        detail,
        fix: "write https://HOST/PATH, or the path that a client sent to the edge".into(),
    })?;
    let config = load(&ask.online.file)?;
    let verdict = if ask.offline {
        let guard = offline(config)?;
        let answer = runtime()?.block_on(guard.test(&asked));
        answer.map_err(anyhow::Error::msg)?
    } else {
        let socket = config.data.join(admin::SOCKET);
        or_offline(runtime()?.block_on(admin::allow_list::test(&socket, &asked)))?
    };
    print(ask.online.json, &verdict, admin::allow_list::verdict_text)?;
    Ok(match (verdict.allowed, verdict.unknown) {
        (true, _) => code::DONE,
        (false, true) => code::CANNOT_TELL,
        (false, false) => code::REFUSED,
    })
}

fn denied(online: &Online) -> anyhow::Result<u8> {
    let socket = load(&online.file)?.data.join(admin::SOCKET);
    let report = runtime()?.block_on(admin::allow_list::denied(&socket))?;
    print(online.json, &report, admin::allow_list::denied_text)?;
    Ok(code::DONE)
}

fn export(file: &FileArg, json: bool) -> anyhow::Result<u8> {
    let config = load(file)?;
    let rules = rules(&config)?;
    if json {
        let rows: Vec<Row<'_>> = rules.iter().map(Row::of).collect();
        println!("{}", serde_json::json!({ "rules": rows }));
    } else {
        print!("{}", config::allow_list::csv(rules));
    }
    Ok(code::DONE)
}

fn print<T: Serialize>(json: bool, value: &T, text: fn(&T) -> String) -> anyhow::Result<()> {
    if json {
        println!("{}", serde_json::to_string(value)?);
    } else {
        print!("{}", text(value));
    }
    Ok(())
}

fn load(file: &FileArg) -> anyhow::Result<Config> {
    let (config, _) = file.load()?;
    rules(&config)?;
    Ok(config)
}

fn rules(config: &Config) -> anyhow::Result<&[AllowRule]> {
    match &config.role {
        Role::Core(core) => Ok(&core.allow_list),
        Role::Edge(_) => anyhow::bail!("this is an edge's configuration: ask its core"),
    }
}

fn offline(config: Config) -> anyhow::Result<Guard> {
    Guard::offline(config).context("DNS cannot be asked")
}
