//! `causeway ctl export`, `apply`, `history`, `rollback`, `backup` and `restore`: the settings of a
//! node that keeps them in its store. A running node is asked over its local socket; with
//! `--offline` the store of one that does not run is changed.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use admin::client::{self, AskFault};
use admin::rest::config as wire;
use admin::settings::{Desk, Found, Order, Outcome, Past, Refusal, show};
use anyhow::Context;
use base::{Rng, Secret};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use driver::files::{DataFolder, first_line};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::code;
use crate::runtime;

/// What each of these commands ends with.
pub(super) const CODES: &str = "\
Exit codes:
  0  done, also if there was nothing to change
  1  nothing was changed: the settings would have mistakes, or somebody changed them meanwhile
  2  a wrong option
  3  nobody can be asked: no node runs in that folder, or it runs by a file";

/// Whose settings.
#[derive(Args)]
pub(crate) struct Place {
    /// The node's data folder, as in causeway run --state.
    #[arg(long, value_name = "DIR")]
    state: PathBuf,
    /// The node does not run: use its store.
    #[arg(long)]
    offline: bool,
    /// One JSON object, for programs.
    #[arg(long)]
    json: bool,
}

/// Who changes, and why.
#[derive(Args)]
pub(crate) struct By {
    /// Why, for the history.
    #[arg(long, value_name = "TEXT", default_value = "")]
    reason: String,
    /// Who; without it the user of this terminal.
    #[arg(long, value_name = "NAME")]
    author: Option<String>,
    /// Show what would change, and change nothing.
    #[arg(long)]
    dry_run: bool,
}

#[derive(Args)]
pub(crate) struct Export {
    #[command(flatten)]
    place: Place,
    /// A file whose first line is the passphrase that seals secrets. Without it they are left out.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
}

#[derive(Args)]
pub(crate) struct Apply {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    by: By,
    /// A file whose first line is the passphrase of an export's sealed secrets.
    #[arg(long, value_name = "FILE")]
    passphrase_file: Option<PathBuf>,
    /// The document: a configuration file, or an export. Its relative paths are taken from its
    /// folder. Secrets that it leaves out stay what they are.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Args)]
pub(crate) struct History {
    #[command(flatten)]
    place: Place,
    /// So many revisions at most.
    #[arg(long, value_name = "NUMBER", default_value_t = 20)]
    limit: usize,
}

#[derive(Args)]
pub(crate) struct Rollback {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    by: By,
    /// The revision; the last but one without it.
    #[arg(value_name = "REVISION")]
    to: Option<u64>,
}

#[derive(Args)]
pub(crate) struct Backup {
    #[command(flatten)]
    place: Place,
    /// A file whose first line is the passphrase: twelve characters or more.
    #[arg(long, value_name = "FILE")]
    passphrase_file: PathBuf,
    /// Where to write it; must not be there yet.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

#[derive(Args)]
pub(crate) struct Restore {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    by: By,
    /// A file whose first line is the passphrase of the backup.
    #[arg(long, value_name = "FILE")]
    passphrase_file: PathBuf,
    /// The backup.
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

/// What a command comes to.
type Done<T> = Result<T, Fault>;

/// Why it comes to nothing.
enum Fault {
    /// Mistakes, or a change in between.
    Nothing(Vec<String>),
    Other(anyhow::Error),
}

impl<E: Into<anyhow::Error>> From<E> for Fault {
    fn from(error: E) -> Self {
        Fault::Other(error.into())
    }
}

pub(super) fn export(asked: &Export) -> anyhow::Result<u8> {
    let passphrase = passphrase(asked.passphrase_file.as_deref())?;
    told(asked.place.export(passphrase), |text| {
        print!("{text}");
        Ok(())
    })
}

pub(super) fn apply(asked: &Apply) -> anyhow::Result<u8> {
    let document = std::fs::read_to_string(&asked.file)
        .with_context(|| format!("{}: it cannot be read", asked.file.display()))?;
    let file = std::path::absolute(&asked.file)?;
    let passphrase = passphrase(asked.passphrase_file.as_deref())?;
    change(&asked.place, &asked.by, |order| {
        let sent = wire::Apply {
            document: document.clone(),
            folder: file.parent().map(Path::to_owned),
            passphrase: passphrase.as_ref().map(|p| p.expose().clone()),
            order,
        };
        asked.place.post("apply", &sent, |desk| {
            let (folder, order) = (sent.folder.as_deref(), &sent.order);
            desk.apply(&document, folder, passphrase.as_ref(), order, OFFLINE)
        })
    })
}

pub(super) fn history(asked: &History) -> anyhow::Result<u8> {
    told(asked.place.history(asked.limit), |past| {
        if asked.place.json {
            println!("{}", serde_json::to_string(&past)?);
        } else {
            print!("{}", show::history(&past));
        }
        Ok(())
    })
}

pub(super) fn rollback(asked: &Rollback) -> anyhow::Result<u8> {
    change(&asked.place, &asked.by, |order| {
        let sent = wire::Rollback {
            to: asked.to,
            order,
        };
        asked.place.post("rollback", &sent, |desk| {
            desk.rollback(sent.to, &sent.order, OFFLINE)
        })
    })
}

pub(super) fn backup(asked: &Backup) -> anyhow::Result<u8> {
    let passphrase = first_line("passphrase file", &asked.passphrase_file)?;
    told(asked.place.backup(&passphrase), |backup| {
        let shown = asked.file.display();
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&asked.file);
        let mut file = file.with_context(|| format!("{shown}: it cannot be written"))?;
        file.write_all(&backup)?;
        file.sync_all()?;
        println!("{shown}: {} bytes", backup.len());
        Ok(())
    })
}

pub(super) fn restore(asked: &Restore) -> anyhow::Result<u8> {
    let passphrase = first_line("passphrase file", &asked.passphrase_file)?;
    let backup = std::fs::read(&asked.file)
        .with_context(|| format!("{}: it cannot be read", asked.file.display()))?;
    change(&asked.place, &asked.by, |order| {
        let sent = wire::Restore {
            backup: STANDARD.encode(&backup),
            passphrase: passphrase.expose().clone(),
            order,
        };
        asked.place.post("restore", &sent, |desk| {
            desk.restore(&backup, &passphrase, &sent.order, OFFLINE)
        })
    })
}

/// By what way an offline change came.
const OFFLINE: &str = "offline";

/// Shows what would change, and changes it: for the revision that was shown.
fn change(place: &Place, by: &By, make: impl Fn(Order) -> Done<Outcome>) -> anyhow::Result<u8> {
    let order = |revision, dry_run| Order {
        revision,
        author: by.author.clone().unwrap_or_else(user),
        reason: by.reason.clone(),
        dry_run,
    };
    let done = make(order(None, true)).and_then(|shown| {
        if !place.json {
            print!("{}", show::outcome(&shown));
        }
        match by.dry_run || shown.changes.is_empty() {
            true => Ok(shown),
            false => make(order(Some(shown.revision), false)),
        }
    });
    told(done, |outcome| {
        if place.json {
            println!("{}", serde_json::to_string(&outcome)?);
        } else if outcome.changed {
            println!("revision {}", outcome.revision);
        } else if by.dry_run && !outcome.changes.is_empty() {
            println!("nothing was changed: --dry-run");
        } else {
            println!("nothing to change");
        }
        Ok(())
    })
}

/// Prints what came of it, and says how it ends.
fn told<T>(done: Done<T>, print: impl FnOnce(T) -> anyhow::Result<()>) -> anyhow::Result<u8> {
    match done {
        Ok(done) => print(done).map(|()| code::DONE),
        Err(Fault::Nothing(lines)) => {
            for line in lines {
                eprintln!("{}", admin::show::clean(&line));
            }
            eprintln!("nothing was changed");
            Ok(code::REFUSED)
        }
        Err(Fault::Other(error)) => Err(error),
    }
}

fn passphrase(file: Option<&Path>) -> anyhow::Result<Option<Secret<String>>> {
    let read = file.map(|file| first_line("passphrase file", file));
    Ok(read.transpose()?)
}

/// Who sits at this terminal.
fn user() -> String {
    let names = ["SUDO_USER", "USER", "LOGNAME"];
    let found = names.iter().find_map(|name| std::env::var(name).ok());
    found.unwrap_or_default()
}

impl Place {
    fn socket(&self) -> PathBuf {
        self.state.join(admin::SOCKET)
    }

    /// The store of a node that does not run.
    fn desk(&self) -> Done<Desk> {
        let data = DataFolder::open(&self.state)?;
        let mut rng = Rng::from_seed(net::random_seed()?);
        Ok(Desk::open(&data, &mut rng)?)
    }

    /// Asks the node, or does it without.
    fn post<T: DeserializeOwned>(
        &self,
        what: &str,
        sent: &impl Serialize,
        offline: impl FnOnce(&Desk) -> Result<T, Refusal>,
    ) -> Done<T> {
        if self.offline {
            return offline(&self.desk()?).map_err(refusal);
        }
        let body = self.ask(what, sent)?;
        Ok(serde_json::from_slice(&body)?)
    }

    fn ask(&self, what: &str, sent: &impl Serialize) -> Done<Vec<u8>> {
        let (socket, resource) = (self.socket(), format!("/api/v1/config/{what}"));
        let asked = client::post_json(&socket, &resource, sent);
        runtime()?.block_on(asked).map_err(fault)
    }

    fn export(&self, passphrase: Option<Secret<String>>) -> Done<String> {
        if self.offline {
            return self.desk()?.export(passphrase.as_ref()).map_err(refusal);
        }
        let passphrase = passphrase.map(|p| p.expose().clone());
        let body = self.ask("export", &wire::Seal { passphrase })?;
        Ok(String::from_utf8(body)?)
    }

    fn backup(&self, passphrase: &Secret<String>) -> Done<Vec<u8>> {
        if self.offline {
            return self.desk()?.backup(passphrase).map_err(refusal);
        }
        let passphrase = Some(passphrase.expose().clone());
        let body = self.ask("backup", &wire::Seal { passphrase })?;
        let sealed: wire::Sealed = serde_json::from_slice(&body)?;
        Ok(STANDARD.decode(sealed.backup)?)
    }

    fn history(&self, limit: usize) -> Done<Vec<Past>> {
        if self.offline {
            return self.desk()?.history(None, limit).map_err(refusal);
        }
        let (socket, resource) = (
            self.socket(),
            format!("/api/v1/config/history?limit={limit}"),
        );
        let body = runtime()?
            .block_on(client::get(&socket, &resource))
            .map_err(fault)?;
        Ok(serde_json::from_slice(&body)?)
    }
}

fn fault(fault: AskFault) -> Fault {
    match fault {
        AskFault::Mistakes(found) => Fault::Nothing(found.iter().map(Found::to_string).collect()),
        AskFault::NotRunning { .. } => Fault::Other(anyhow::anyhow!(
            "{fault}; or add --offline: then its store is used"
        )),
        other => Fault::Other(other.into()),
    }
}

fn refusal(refusal: Refusal) -> Fault {
    match refusal {
        Refusal::Mistakes(found) => Fault::Nothing(found.iter().map(Found::to_string).collect()),
        Refusal::Store(store) => Fault::Nothing(vec![store.to_string()]),
        other => Fault::Other(other.into()),
    }
}
