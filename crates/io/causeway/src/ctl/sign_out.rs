//! `causeway ctl sign-out` and `causeway ctl sessions`: who is signed in, and that a user no longer
//! is. The running core is asked over its local socket.

use admin::Page;
use clap::Args;

use super::code;
use crate::place::FileArg;
use crate::runtime;

#[derive(Args)]
pub(crate) struct SignOut {
    #[command(flatten)]
    file: FileArg,
    /// The user: as typed at sign-in, or as Unified CM or the directory has it.
    user: String,
    /// In this domain alone.
    #[arg(long, value_name = "DOMAIN", default_value = "")]
    domain: String,
    /// One JSON object, for programs.
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(crate) struct Sessions {
    #[command(flatten)]
    file: FileArg,
    /// Those alone that hold this text: a user, a domain, a program.
    #[arg(long, value_name = "TEXT")]
    find: Option<String>,
    /// One JSON object, for programs.
    #[arg(long)]
    json: bool,
}

pub(super) fn sign_out(asked: &SignOut) -> anyhow::Result<u8> {
    let socket = asked.file.socket()?;
    let told = admin::client::sign_out(&socket, &asked.user, &asked.domain);
    let report = runtime()?.block_on(told)?;
    if asked.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!(
            "signed out: {} sessions, {} kept credentials, {} registrations; chat streams end, \
             and edges and their other cores are told",
            report.sessions, report.credentials, report.registrations
        );
    }
    if let Some(why) = &report.not_stored {
        eprintln!("causeway: it would not outlive a restart of the core: {why}");
        return Ok(code::REFUSED);
    }
    Ok(code::DONE)
}

pub(super) fn sessions(asked: &Sessions) -> anyhow::Result<u8> {
    let page = Page {
        find: asked.find.clone(),
        ..Page::default()
    };
    let socket = asked.file.socket()?;
    let told = admin::client::status(&socket, &page);
    let snapshot = runtime()?.block_on(told)?;
    if asked.json {
        println!("{}", serde_json::to_string(&snapshot.sessions)?);
    } else {
        print!("{}", admin::show::sessions(&snapshot));
    }
    Ok(code::DONE)
}
