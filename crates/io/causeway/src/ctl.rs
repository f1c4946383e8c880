//! `causeway ctl`: questions to a node, and to a configuration.

mod allow_list;
mod certificate;
mod dns;
mod servers;
mod settings;
mod sign_out;
mod user;

use std::path::PathBuf;
use std::process::ExitCode;

use admin::client::AskFault;
use admin::search::SearchOutcome;
use clap::{Args, Subcommand};

use crate::place::FileArg;

/// Exit codes of `causeway ctl`; docs/configuration.md lists them.
mod code {
    /// Done; the answer is yes.
    pub(super) const DONE: u8 = 0;
    /// The answer is no: no route, a request that would be refused, a record that is absent, a
    /// mistake in what was looked at.
    pub(super) const REFUSED: u8 = 1;
    /// The question is refused; as clap's own for arguments that it refuses.
    pub(super) const NOT_UNDERSTOOD: u8 = 2;
    /// It cannot be told: nobody to ask, or no answer.
    pub(super) const CANNOT_TELL: u8 = 3;
    /// Only the running core knows.
    pub(super) const CALL_CONTROL: u8 = 4;
}

#[derive(Subcommand)]
pub(crate) enum Ctl {
    /// Say what every transform and search rule makes of a destination, and where a request would
    /// go. Nothing is sent.
    #[command(after_help = "\
Exit codes:
  0  the request would go somewhere
  1  no route: it would be refused
  2  the question is refused: an unknown zone, an address without a domain, a wrong option
  3  nobody can be asked: no node runs, the configuration cannot be used, or it is an edge's
  4  with --offline: it goes to call control, and only the running core knows to which server")]
    Search(Search),
    /// Show, test, import and export where clients' HTTP requests may lead.
    #[command(subcommand)]
    AllowList(allow_list::AllowList),
    /// Show the inside's servers, what has changed at them and what of their settings would
    /// trouble clients, or ask them now.
    #[command(subcommand)]
    Servers(servers::Servers),
    /// Sign a user out now: session tokens, kept credentials, registrations and chat streams end
    /// on this core, its edges and their other cores.
    #[command(after_help = "\
Exit codes:
  0  done, also if there was nothing to end
  1  done, but it would not outlive a restart
  2  a wrong option
  3  nobody can be asked: no node runs, the configuration cannot be used, or it is an edge's")]
    SignOut(sign_out::SignOut),
    /// Show who is signed in, and who was of late: device, edge, since when.
    Sessions(sign_out::Sessions),
    /// Add, show, change and remove users of a domain's own file.
    #[command(
        subcommand,
        after_help = "\
Exit codes:
  0  done
  1  there is no such user, or there is one already
  2  a name, line, realm or password cannot be; a wrong option
  3  the configuration or the file cannot be used"
    )]
    User(user::User),
    /// Write all settings as one TOML document; secrets are left out, or sealed.
    #[command(after_help = settings::CODES)]
    Export(settings::Export),
    /// Make the settings those of a TOML document, after showing what would change. What the node
    /// cannot take up while it runs is named.
    #[command(after_help = settings::CODES)]
    Apply(settings::Apply),
    /// Show who changed which settings when, and why.
    #[command(after_help = settings::CODES)]
    History(settings::History),
    /// Go back to an earlier revision of the settings.
    #[command(after_help = settings::CODES)]
    Rollback(settings::Rollback),
    /// Write all settings with their secrets into a file, sealed under a passphrase. Certificates
    /// and keys are files of their own, and are not in it.
    #[command(after_help = settings::CODES)]
    Backup(settings::Backup),
    /// Make the settings those of a backup.
    #[command(after_help = settings::CODES)]
    Restore(settings::Restore),
    /// Show what this node's DNS servers say, and check what a deployment needs of DNS.
    #[command(subcommand)]
    Dns(dns::Dns),
    /// Inspect, request and put in place the node's certificate; say which names it needs and whom
    /// the node trusts.
    #[command(
        subcommand,
        after_help = "\
Exit codes:
  0  done, or nothing worse than a warning
  1  an error in what was looked at; it cannot be put in place; the node did not take it
  2  a name or option cannot be
  3  a file cannot be read or written, or nobody can be asked"
    )]
    Certificate(certificate::Certificate),
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

/// Carries out a command; its end tells an answer, a question that was refused, and what could not
/// be asked apart.
pub(crate) fn run(command: Ctl) -> ExitCode {
    let done = match command {
        Ctl::Search(search) => self::search(search),
        Ctl::AllowList(command) => allow_list::run(command),
        Ctl::Servers(command) => servers::run(command),
        Ctl::SignOut(asked) => sign_out::sign_out(&asked),
        Ctl::Sessions(asked) => sign_out::sessions(&asked),
        Ctl::User(command) => user::run(command),
        Ctl::Export(asked) => settings::export(&asked),
        Ctl::Apply(asked) => settings::apply(&asked),
        Ctl::History(asked) => settings::history(&asked),
        Ctl::Rollback(asked) => settings::rollback(&asked),
        Ctl::Backup(asked) => settings::backup(&asked),
        Ctl::Restore(asked) => settings::restore(&asked),
        Ctl::Dns(command) => dns::run(command),
        Ctl::Certificate(command) => certificate::run(command),
    };
    ExitCode::from(done.unwrap_or_else(|e| {
        eprintln!("causeway: {e:#}");
        match e.downcast_ref() {
            Some(AskFault::Refused { .. }) => code::NOT_UNDERSTOOD,
            _ => code::CANNOT_TELL,
        }
    }))
}

/// What a node answered; if none runs, also what can be asked without.
fn or_offline<T>(answer: Result<T, AskFault>) -> anyhow::Result<T> {
    answer.map_err(|e| match e {
        AskFault::NotRunning { .. } => {
            anyhow::anyhow!("{e}; or add --offline: then the file alone is asked")
        }
        e => e.into(),
    })
}

fn search(search: Search) -> anyhow::Result<u8> {
    let (config, _) = search.file.load()?;
    if search.to.trim().is_empty() {
        return Err(AskFault::Refused {
            detail: "--to names no destination".into(),
            fix: "write --to sip:1002@example.com".into(),
        }
        .into());
    }
    let asked =
        admin::search::question(&search.from, &search.to, &search.zone, search.authenticated);
    let report = if search.offline {
        driver::signal::dry_run(config, asked)
    } else {
        let socket: PathBuf = config.data.join(admin::SOCKET);
        or_offline(crate::runtime()?.block_on(admin::client::search(&socket, &asked)))?
    };
    let told = match report.outcome {
        SearchOutcome::Routed => code::DONE,
        SearchOutcome::Nowhere => code::REFUSED,
        SearchOutcome::CallControl => code::CALL_CONTROL,
        SearchOutcome::NotUnderstood => code::NOT_UNDERSTOOD,
        SearchOutcome::NoRules => code::CANNOT_TELL,
    };
    if search.json {
        println!("{}", serde_json::to_string(&report)?);
    } else if matches!(told, code::NOT_UNDERSTOOD | code::CANNOT_TELL) {
        let [note, fix] = [&report.note, &report.fix].map(|text| admin::show::clean(text));
        eprintln!("causeway: {note}; {fix}");
    } else {
        print!("{}", admin::search::text(&report));
    }
    Ok(told)
}
