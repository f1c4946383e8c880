//! `causeway ctl user`: the file of users of a domain, as `[domains.sign_in]` names it. The node
//! need not run; one that does sees a change within seconds.

use std::io::{BufRead, IsTerminal, Read};
use std::path::PathBuf;

use anyhow::{Context, anyhow, bail};
use base::Secret;
use clap::{Args, Subcommand};
use config::{Role, SignInBy};
use driver::users::{Change, Users, UsersFault, change};
use serde::Serialize;

use super::code;
use crate::place::FileArg;

/// The longest password read, with its line end.
const PASSWORD_BYTES_MAX: u64 = 4096;

/// What is done to it.
#[derive(Subcommand)]
pub(crate) enum User {
    /// Add a user. The password is the first line of the standard input.
    Add {
        #[command(flatten)]
        file: DomainArg,
        /// The name.
        name: String,
        /// What the user may register beside the name, separated by commas.
        #[arg(long, value_name = "LINES", value_delimiter = ',')]
        lines: Vec<String>,
        /// A realm of an edge (service.sip.realm) whose SIP digests are checked without a sign-in
        /// over HTTPS; may stand more than once.
        #[arg(long, value_name = "REALM")]
        realm: Vec<String>,
    },
    /// Show the users, their lines and realms.
    List {
        #[command(flatten)]
        file: DomainArg,
        /// One JSON object, for programs.
        #[arg(long)]
        json: bool,
    },
    /// Remove a user, who is signed out.
    Remove {
        #[command(flatten)]
        file: DomainArg,
        /// The name.
        name: String,
    },
    /// Give a user another password: the first line of the standard input. The user is signed out.
    Passwd {
        #[command(flatten)]
        file: DomainArg,
        /// The name.
        name: String,
    },
}

#[derive(Args)]
pub(crate) struct DomainArg {
    #[command(flatten)]
    file: FileArg,
    /// The domain, where several have a file of users.
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
}

#[derive(Serialize)]
struct Row<'a> {
    name: &'a str,
    lines: &'a [String],
    realms: Vec<&'a str>,
}

/// Carries out a command.
pub(super) fn run(command: User) -> anyhow::Result<u8> {
    let done = match &command {
        User::List { file, json } => return list(&file.path()?, *json),
        User::Add {
            file,
            name,
            lines,
            realm,
        } => {
            let (path, password) = (file.path()?, password()?);
            let password = &password;
            let realms = realm.as_slice();
            apply(
                &path,
                &Change::Add {
                    name,
                    password,
                    lines,
                    realms,
                },
            )
        }
        User::Passwd { file, name } => {
            let (path, password) = (file.path()?, password()?);
            let password = &password;
            apply(&path, &Change::Password { name, password })
        }
        User::Remove { file, name } => apply(&file.path()?, &Change::Remove { name }),
    };
    match done {
        Ok(()) => Ok(code::DONE),
        Err(fault @ (UsersFault::Nobody | UsersFault::Taken)) => {
            eprintln!("causeway: {fault}");
            Ok(code::REFUSED)
        }
        Err(fault @ UsersFault::Unfit(_)) => {
            eprintln!("causeway: {fault}");
            Ok(code::NOT_UNDERSTOOD)
        }
        Err(fault) => Err(anyhow!(fault)),
    }
}

fn apply(path: &std::path::Path, wanted: &Change<'_>) -> Result<(), UsersFault> {
    let seed = net::random_seed().map_err(|e| UsersFault::File(e.to_string()))?;
    let mut salt = [0; 16];
    for (to, from) in salt.iter_mut().zip(seed.iter()) {
        *to = *from;
    }
    change(path, &salt, wanted)
}

fn list(path: &std::path::Path, json: bool) -> anyhow::Result<u8> {
    let users = Users::read(path)?;
    let rows = users.sorted().into_iter().map(|user| Row {
        name: user.name.expose(),
        lines: &user.lines,
        realms: user.realms().collect(),
    });
    let rows: Vec<Row<'_>> = rows.collect();
    if json {
        println!("{}", serde_json::to_string(&rows)?);
        return Ok(code::DONE);
    }
    for row in rows {
        let (lines, realms) = (row.lines.join(","), row.realms.join(","));
        let line = format!("{}  {lines}  {realms}", row.name);
        println!("{}", admin::show::clean(line.trim_end()));
    }
    Ok(code::DONE)
}

impl DomainArg {
    /// The domain's file of users.
    fn path(&self) -> anyhow::Result<PathBuf> {
        let (config, _) = self.file.load()?;
        let Role::Core(core) = &config.role else {
            bail!("it is an edge's configuration: users are known to cores alone");
        };
        let of = |d: &config::Domain| match &d.sign_in {
            SignInBy::File(path) => Some((d.name.as_str().to_owned(), path.clone())),
            _ => None,
        };
        let all: Vec<(String, PathBuf)> = core.domains.iter().filter_map(of).collect();
        let named = |name: &String| all.iter().find(|(d, _)| d.eq_ignore_ascii_case(name));
        match (&self.domain, all.as_slice()) {
            (Some(name), _) => named(name).map(|(_, path)| path.clone()).with_context(|| {
                format!("{name} has no file of users; write by = \"file\" in its [domains.sign_in]")
            }),
            (None, [(_, path)]) => Ok(path.clone()),
            (None, []) => {
                bail!("no domain has a file of users; write by = \"file\" in its [domains.sign_in]")
            }
            (None, _) => bail!("several domains have a file of users: name one with --domain"),
        }
    }
}

/// The first line of the standard input.
fn password() -> anyhow::Result<Secret<String>> {
    let input = std::io::stdin();
    if input.is_terminal() {
        eprint!("Password (it is seen; pipe it in so that it is not): ");
    }
    let mut line = String::new();
    let mut input = input.lock().take(PASSWORD_BYTES_MAX);
    input.read_line(&mut line).context("the password")?;
    let line = Secret::new(line);
    let password = line.expose().trim_end_matches(['\r', '\n']);
    Ok(Secret::new(password.to_owned()))
}
