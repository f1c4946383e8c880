//! `causeway ctl servers`: the inside's servers as the running core knows them.

use std::path::PathBuf;

use admin::client;
use admin::servers::{self, Change, Report};
use clap::{Args, Subcommand};

use super::code;
use crate::place::FileArg;
use crate::runtime;

/// What is asked of them.
#[derive(Subcommand)]
pub(crate) enum Servers {
    /// Show each server with its state, version and when it was read. Exit status 1 if one has
    /// failed.
    List(Ask),
    /// Show all that one server told, and what it did not. Exit status 1 if it has failed.
    Show {
        #[command(flatten)]
        ask: Ask,
        /// Its address in the configuration.
        #[arg(value_name = "NAME")]
        name: String,
    },
    /// Show what has changed at the servers, the latest first.
    History {
        #[command(flatten)]
        ask: Ask,
        /// So many changes.
        #[arg(long, value_name = "N", default_value_t = 50)]
        limit: usize,
    },
    /// Show what of their settings would trouble remote clients. Exit status 1 if something would.
    Check(Ask),
    /// Ask servers now, wait for them, and show what is different.
    #[command(after_help = "\
Exit codes:
  0  all told what they should
  1  one did not; the reason is shown
  2  there is no such server, or a wrong option
  3  nobody can be asked: no node runs, or the configuration cannot be used")]
    Refresh {
        #[command(flatten)]
        ask: Ask,
        /// The address of one in the configuration; all of them without it.
        #[arg(value_name = "NAME")]
        name: Option<String>,
    },
}

#[derive(Args)]
pub(crate) struct Ask {
    #[command(flatten)]
    file: FileArg,
    /// One JSON object, for programs.
    #[arg(long)]
    json: bool,
}

/// Carries out a command.
pub(super) fn run(command: Servers) -> anyhow::Result<u8> {
    match command {
        Servers::List(ask) => {
            let report = known(&ask, "")?;
            shown(&ask, &report, servers::list(&report))?;
            Ok(failed(&report))
        }
        Servers::Show { ask, name } => {
            let report = known(&ask, &name)?;
            let all: Vec<String> = report.servers.iter().map(servers::one).collect();
            shown(&ask, &report, all.join("\n"))?;
            Ok(failed(&report))
        }
        Servers::History { ask, limit } => {
            let mut report = known(&ask, "")?;
            report.history.truncate(limit);
            if ask.json {
                println!("{}", serde_json::to_string(&report.history)?);
            } else {
                print!("{}", servers::history(&report.history));
            }
            Ok(code::DONE)
        }
        Servers::Check(ask) => {
            let report = known(&ask, "")?;
            shown(&ask, &report, servers::checks(&report))?;
            Ok(match servers::is_amiss(&report) {
                true => code::REFUSED,
                false => code::DONE,
            })
        }
        Servers::Refresh { ask, name } => refresh(&ask, name.as_deref()),
    }
}

/// Asks one after the other, so that each shows how it went as soon as it has answered.
fn refresh(ask: &Ask, name: Option<&str>) -> anyhow::Result<u8> {
    let before = known(ask, name.unwrap_or_default())?;
    let (socket, runtime) = (socket(ask)?, runtime()?);
    let mut all = Report::default();
    for server in &before.servers {
        if !ask.json {
            eprintln!("asking {}:{} …", server.name, server.port);
        }
        let asked = client::refresh_servers(&socket, &server.name);
        let mut now = runtime.block_on(asked)?;
        keep_news(&before, &mut now, &server.name);
        if !ask.json {
            print!("{}", servers::list(&now));
            if now.history.is_empty() {
                println!("no change");
            } else {
                print!("{}", servers::history(&now.history));
            }
        }
        all.at = now.at;
        all.servers.append(&mut now.servers);
        all.history.append(&mut now.history);
    }
    if ask.json {
        println!("{}", serde_json::to_string(&all)?);
    }
    Ok(failed(&all))
}

/// Leaves of a server's changes those that were not there before. Their number tells nothing: a
/// history that is full stays as long as it is.
fn keep_news(before: &Report, now: &mut Report, server: &str) {
    let of = |c: &&Change| c.server.eq_ignore_ascii_case(server);
    if let Some(latest) = before.history.iter().find(of).map(|c| c.at) {
        now.history.retain(|c| c.at > latest);
    }
}

fn known(ask: &Ask, name: &str) -> anyhow::Result<Report> {
    let socket = socket(ask)?;
    Ok(runtime()?.block_on(client::servers(&socket, name))?)
}

fn socket(ask: &Ask) -> anyhow::Result<PathBuf> {
    ask.file.socket()
}

fn shown(ask: &Ask, report: &Report, text: String) -> anyhow::Result<()> {
    if ask.json {
        println!("{}", serde_json::to_string(report)?);
    } else {
        print!("{text}");
    }
    Ok(())
}

fn failed(report: &Report) -> u8 {
    match servers::has_failed(report) {
        true => code::REFUSED,
        false => code::DONE,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_new_is_told_of_a_history_that_was_full_before() {
        let history = |newest: u64| Report {
            history: (newest - 500..newest)
                .rev()
                .map(|n| Change {
                    at: base::UnixTime::from_millis(n),
                    server: "ucm1".into(),
                    what: n.to_string(),
                })
                .collect(),
            ..Report::default()
        };
        let before = history(1_000);
        let mut same = history(1_000);
        keep_news(&before, &mut same, "ucm1");
        assert_eq!(same.history, []);
        let mut now = history(1_002);
        keep_news(&before, &mut now, "UCM1");
        let told: Vec<&str> = now.history.iter().map(|c| c.what.as_str()).collect();
        assert_eq!(told, ["1001", "1000"]);
        let mut first = history(1_000);
        keep_news(&Report::default(), &mut first, "ucm1");
        assert_eq!(first.history.len(), 500);
    }
}
