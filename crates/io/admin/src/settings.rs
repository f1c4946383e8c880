//! What administrators do with a node's settings: show, change, look back, go back.
//!
//! A [`Desk`] stands between whoever asks (REST, the command line) and the store. Every change goes
//! the same way: the document as it will be is made, checked as a whole, compared with what is
//! there, and written for the revision that it was made for. Nothing is written that a node could
//! not start with. Secrets go in and never come out, but under a passphrase.
//!
//! A desk does not hand settings to the node: whoever runs the node watches the store
//! ([`Desk::watch`]), so that a change counts in the same way wherever it came from.

mod sealed;
pub mod show;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::{Rng, Secret};
use config::document::{BYTES_MAX, Change, Document, Item, Misfit, NODE};
use config::{Checked, Config, Finding, Severity};
use driver::files::{DataFolder, FileFault};
use driver::signal::Clock;
use serde::{Deserialize, Serialize};
use store::settings::{ConfigStore, Note, Row, Settings, Wanted, writes};
use tokio::sync::watch;

/// The store's file in the data folder.
pub const FILE: &str = "settings.db";

/// How long whoever changed settings waits for the node to take them up.
const TAKING_UP: Duration = Duration::from_secs(5);

/// The file with the key that seals the store's secrets.
pub const KEY: &str = "settings_key";

/// Who changes, why, and for which revision.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Order {
    /// The revision that the change was made for; whatever is there without it.
    pub revision: Option<u64>,
    /// Who, as they call themselves.
    pub author: String,
    /// Why.
    pub reason: String,
    /// Say what would change, and change nothing.
    pub dry_run: bool,
}

/// Something that was found wrong, or is worth a word.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// `error` or `warning`.
    pub severity: String,
    /// The line of the document that was sent, or of the export.
    pub line: usize,
    /// `section.key`.
    pub key: String,
    /// What is wrong.
    pub cause: String,
    /// What to do.
    pub fix: String,
}

impl From<&Finding> for Found {
    fn from(finding: &Finding) -> Self {
        let severity = match finding.severity {
            Severity::Warning => "warning",
            Severity::Error => "error",
        };
        Found {
            severity: severity.to_owned(),
            line: finding.line,
            key: finding.key.clone(),
            cause: finding.cause.clone(),
            fix: finding.fix.clone(),
        }
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Found {
            severity,
            line,
            key,
            cause,
            fix,
        } = self;
        write!(f, "line {line}: {severity}: {key}: {cause}; {fix}")
    }
}

/// What a change did, or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// The revision that is there now.
    pub revision: u64,
    /// Whether it is one that was made now.
    pub changed: bool,
    /// What is different from before; no secret stands in it.
    pub changes: Vec<Change>,
    /// What of all settings waits for the node's next start.
    pub waiting: Vec<String>,
    /// What is worth a word.
    pub warnings: Vec<Found>,
}

/// A revision of the history.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Past {
    /// Its number.
    pub revision: u64,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// Who.
    pub author: String,
    /// By what way.
    pub via: String,
    /// Why.
    pub reason: String,
    /// What it changed.
    pub changes: Vec<Change>,
}

/// Why a change was not made, or a question not answered.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The document has mistakes.
    #[error("the settings would have mistakes:\n{}", lines(.0))]
    Mistakes(Vec<Found>),
    /// It is no change that can be made.
    #[error(transparent)]
    Misfit(#[from] Misfit),
    /// Something is asked for that cannot be.
    #[error("{detail}; {fix}")]
    Wrong {
        /// What.
        detail: String,
        /// What to do.
        fix: &'static str,
    },
    /// The store.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// A file beside it.
    #[error(transparent)]
    File(#[from] FileFault),
    /// What stands in the store is no document.
    #[error("{path} in the store is damaged: {cause}; go back with causeway ctl rollback")]
    Damaged {
        /// The row.
        path: String,
        /// What is wrong.
        cause: String,
    },
}

fn lines(found: &[Found]) -> String {
    let lines: Vec<String> = found.iter().map(|f| format!("  {f}")).collect();
    lines.join("\n")
}

/// The settings of a node, for its administrators. Calls may wait for the disk.
pub struct Desk {
    store: Arc<dyn ConfigStore>,
    folder: PathBuf,
    /// What the node was started with, once it was.
    started: Mutex<Option<Document>>,
    /// The revision that the node works with.
    taken: watch::Sender<u64>,
}

impl Desk {
    /// At a store, of a node with that data folder.
    pub fn new(store: Arc<dyn ConfigStore>, folder: &Path) -> Desk {
        Desk {
            store,
            folder: folder.to_owned(),
            started: Mutex::new(None),
            taken: watch::Sender::new(0),
        }
    }

    /// At the store in a data folder that this process holds; store and key are made if they are
    /// missing.
    ///
    /// # Errors
    /// [`Refusal::Store`], [`Refusal::File`].
    pub fn open(data: &DataFolder, rng: &mut Rng) -> Result<Desk, Refusal> {
        let key = data.seed(KEY, rng)?;
        let store = Settings::open(&data.file(FILE), &key)?;
        Ok(Desk::new(Arc::new(store), data.path()))
    }

    /// At the store in a data folder that another process may hold, to look at it.
    ///
    /// # Errors
    /// [`Refusal::Wrong`] if there is none; [`Refusal::Store`].
    pub fn beside(folder: &Path) -> Result<Desk, Refusal> {
        let file = folder.join(FILE);
        let key = std::fs::read(folder.join(KEY)).ok();
        let key = key.and_then(|key| <[u8; 32]>::try_from(key).ok());
        let Some(key) = key.filter(|_| file.exists()) else {
            return Err(Refusal::Wrong {
                detail: format!("{} holds no settings that can be read", folder.display()),
                fix: "name the folder of causeway run --state, as a user who may read it",
            });
        };
        let store = Settings::open(&file, &Secret::new(key))?;
        Ok(Desk::new(Arc::new(store), folder))
    }

    /// The revision, and each new one.
    pub fn watch(&self) -> watch::Receiver<u64> {
        self.store.watch()
    }

    /// The settings with their revision; revision 0 has none.
    ///
    /// # Errors
    /// [`Refusal::Store`], [`Refusal::Damaged`].
    pub fn current(&self) -> Result<(u64, Document), Refusal> {
        let (revision, rows) = self.store.list()?;
        Ok((revision, document(&rows)?))
    }

    /// Says that the node was started with these, of that revision.
    pub fn started(&self, revision: u64, document: Document) {
        let mut started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        *started = Some(document);
        self.taken.send_replace(revision);
    }

    /// Says that the node has taken up what it can of a revision.
    pub fn took_up(&self, revision: u64) {
        self.taken.send_replace(revision);
    }

    /// Waits until a running node has taken up what is there, or `TAKING_UP`.
    pub async fn settled(&self) {
        let runs = {
            let started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
            started.is_some()
        };
        let revision = *self.store.watch().borrow();
        if runs {
            let mut taken = self.taken.subscribe();
            let there = taken.wait_for(|taken| *taken >= revision);
            let _ = tokio::time::timeout(TAKING_UP, there).await;
        }
    }

    /// What the running node is to work with, and what waits for its next start. Without a node
    /// that runs, all of it and nothing.
    ///
    /// # Errors
    /// [`Refusal::Mistakes`], if what is there cannot be used.
    pub fn taken_up(&self, wanted: &Document) -> Result<(Config, Vec<String>), Refusal> {
        let started = self.started.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(started) = started.as_ref() else {
            return Ok((self.load(wanted)?.config, Vec::new()));
        };
        let (taken, waiting) = started.taken_up(wanted);
        match self.load(&taken) {
            Ok(checked) => Ok((checked.config, waiting)),
            // What is new leans on what waits: then all of it waits.
            Err(_) => {
                let all = started.diff(wanted);
                let all = all.into_iter().map(|change| change.path);
                Ok((self.load(started)?.config, all.collect()))
            }
        }
    }

    /// Reads and checks settings as a node with this data folder does.
    ///
    /// # Errors
    /// [`Refusal::Mistakes`].
    pub fn load(&self, document: &Document) -> Result<Checked, Refusal> {
        let checked = load(&document.text(), &self.folder);
        checked.map_err(|found| Refusal::Mistakes(found.iter().map(Found::from).collect()))
    }

    /// Makes the settings those of a TOML document. Paths of files are taken from `folder`. Secrets
    /// that it leaves out stay what they are; those that an export has sealed are opened with its
    /// passphrase.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is changed then.
    pub fn apply(
        &self,
        text: &str,
        folder: Option<&Path>,
        passphrase: Option<&Secret<String>>,
        order: &Order,
        via: &str,
    ) -> Result<Outcome, Refusal> {
        let wanted = Document::parse(text).map_err(|f| Refusal::Mistakes(vec![(&f).into()]))?;
        let (wanted, secrets) = sealed::unseal(wanted, passphrase)?;
        let folder = folder.unwrap_or(&self.folder);
        let wanted = wanted.anchored(folder).with_secrets(&secrets);
        let (revision, rows) = self.at_revision(order)?;
        let wanted = wanted.with_secrets(&document(&rows)?.secrets());
        match self.commit(revision, &rows, wanted, order, via, Some(text)) {
            Err(Refusal::Mistakes(found)) => Err(Refusal::Mistakes(in_text(found, text, folder))),
            Ok(mut outcome) => {
                outcome.warnings = in_text(outcome.warnings, text, folder);
                Ok(outcome)
            }
            other => other,
        }
    }

    /// Makes the settings what `edit` makes of them. Secrets that it leaves out stay.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is changed then.
    pub fn change(
        &self,
        order: &Order,
        via: &str,
        edit: impl FnOnce(Document) -> Result<Document, Refusal>,
    ) -> Result<Outcome, Refusal> {
        let (revision, rows) = self.at_revision(order)?;
        let before = document(&rows)?;
        let wanted = edit(before.without_secrets())?.with_secrets(&before.secrets());
        self.commit(revision, &rows, wanted, order, via, None)
    }

    /// What is there, if it is what the change was made for.
    fn at_revision(&self, order: &Order) -> Result<(u64, Vec<Row>), Refusal> {
        let (now, rows) = self.store.list()?;
        match order.revision {
            Some(expected) if expected != now => {
                Err(store::Error::Conflict { expected, now }.into())
            }
            _ => Ok((now, rows)),
        }
    }

    /// Goes back to an earlier revision: to the last but one, or the one that is named. The way
    /// back is a revision, too.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is changed then.
    pub fn rollback(&self, to: Option<u64>, order: &Order, via: &str) -> Result<Outcome, Refusal> {
        let (revision, rows) = self.at_revision(order)?;
        let to = to.unwrap_or(revision.saturating_sub(1));
        if to == 0 {
            return Err(Refusal::Wrong {
                detail: "there is no revision before the first".into(),
                fix: "causeway ctl history shows those that there are",
            });
        }
        let wanted = document(&self.store.at(to)?)?;
        let mut order = order.clone();
        if order.reason.is_empty() {
            order.reason = format!("back to revision {to}");
        }
        self.commit(revision, &rows, wanted, &order, via, None)
    }

    /// The youngest revisions before one, youngest first.
    ///
    /// # Errors
    /// [`Refusal::Store`], [`Refusal::Damaged`].
    pub fn history(&self, before: Option<u64>, limit: usize) -> Result<Vec<Past>, Refusal> {
        let found = self.store.history(before.unwrap_or(u64::MAX), limit)?;
        let mut out = Vec::with_capacity(found.len());
        for revision in found {
            let (mut old, mut new) = (Vec::new(), Vec::new());
            for (before, after) in revision.changes {
                old.extend(before);
                new.extend(after);
            }
            old.sort_by_key(|r| r.position);
            new.sort_by_key(|r| r.position);
            out.push(Past {
                revision: revision.number,
                at: revision.at,
                author: revision.note.author,
                via: revision.note.via,
                reason: revision.note.reason,
                changes: document(&old)?.diff(&document(&new)?),
            });
        }
        Ok(out)
    }

    /// All settings as one TOML document. Secrets are left out, or sealed under a passphrase.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn export(&self, passphrase: Option<&Secret<String>>) -> Result<String, Refusal> {
        let (revision, document) = self.current()?;
        sealed::export(revision, &document, passphrase)
    }

    /// All settings with their secrets, sealed under a passphrase.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn backup(&self, passphrase: &Secret<String>) -> Result<Vec<u8>, Refusal> {
        let (revision, document) = self.current()?;
        sealed::backup(revision, &document, passphrase)
    }

    /// Makes the settings those of a backup.
    ///
    /// # Errors
    /// [`Refusal`]; nothing is changed then.
    pub fn restore(
        &self,
        backup: &[u8],
        passphrase: &Secret<String>,
        order: &Order,
        via: &str,
    ) -> Result<Outcome, Refusal> {
        let wanted = sealed::restore(backup, passphrase)?;
        let mut order = order.clone();
        if order.reason.is_empty() {
            order.reason = "restored from a backup".into();
        }
        let (revision, rows) = self.at_revision(&order)?;
        self.commit(revision, &rows, wanted, &order, via, None)
    }

    /// Checks, compares and writes. Lines are those of `told`, which has the entries of lists in
    /// the order of `wanted`.
    fn commit(
        &self,
        revision: u64,
        there: &[Row],
        wanted: Document,
        order: &Order,
        via: &str,
        told: Option<&str>,
    ) -> Result<Outcome, Refusal> {
        let wanted = wanted.anchored(&self.folder);
        if wanted.text().len() > BYTES_MAX {
            return Err(Refusal::Wrong {
                detail: format!("the settings would have more than {BYTES_MAX} bytes"),
                fix: "leave out what is not needed",
            });
        }
        let checked = self.load(&wanted)?;
        let text = wanted.text();
        let now = Clock::start().now().unix;
        let more = driver::preflight::check(&checked.config, told.unwrap_or(&text), now);
        let found: Vec<Found> = checked
            .warnings
            .iter()
            .chain(&more)
            .map(Found::from)
            .collect();
        if found.iter().any(|f| f.severity == "error") {
            return Err(Refusal::Mistakes(found));
        }
        // What is damaged is replaced, and need not be understood.
        let changes = document(there).unwrap_or_default().diff(&wanted);
        let writes = writes(there, &rows_of(&wanted));
        let mut outcome = Outcome {
            revision,
            changed: false,
            changes,
            waiting: self.taken_up(&wanted)?.1,
            warnings: found,
        };
        if order.dry_run || writes.is_empty() {
            return Ok(outcome);
        }
        let note = Note {
            author: order.author.clone(),
            via: via.to_owned(),
            reason: order.reason.clone(),
        };
        outcome.revision = self
            .store
            .change(revision, &writes, &note, now.as_millis())?;
        outcome.changed = true;
        Ok(outcome)
    }
}

/// Settings of a store, as a node with that data folder reads them.
///
/// # Errors
/// All findings, if one of them is an error.
pub fn load(text: &str, folder: &Path) -> Result<Checked, Vec<Finding>> {
    let mut checked = config::load(text, &folder.join("settings"))?;
    checked.config.data = folder.to_owned();
    Ok(checked)
}

/// The document that rows make.
fn document(rows: &[Row]) -> Result<Document, Refusal> {
    let mut items = Vec::with_capacity(rows.len());
    let mut secrets = Vec::new();
    for row in rows {
        let read = |text: &str| {
            toml::from_str(text).map_err(|e| Refusal::Damaged {
                path: row.path.clone(),
                cause: e.message().to_owned(),
            })
        };
        let item = |table| Item {
            path: row.path.clone(),
            table,
        };
        items.push(item(read(&row.open)?));
        if let Some(secret) = &row.secret {
            secrets.push(item(read(secret.expose())?));
        }
    }
    Ok(Document::of_items(items).with_secrets(&secrets))
}

/// The rows of a document.
fn rows_of(document: &Document) -> Vec<Wanted> {
    let secrets = document.secrets();
    let open = document.without_secrets();
    let written = |item: &Item| toml::to_string(&item.table).unwrap_or_default();
    let row = |item: &Item| {
        let secret = secrets.iter().find(|s| s.path == item.path);
        Wanted {
            path: item.path.clone(),
            open: written(item),
            secret: secret.map(|s| Secret::new(written(s))),
        }
    };
    open.items().iter().map(row).collect()
}

/// Findings with the lines of the text that was sent: what is stored has others. What is wrong with
/// the text alone does not count, e.g. a secret that was left out.
fn in_text(found: Vec<Found>, text: &str, folder: &Path) -> Vec<Found> {
    let there = match config::load(text, &folder.join("settings")) {
        Ok(checked) => checked.warnings,
        Err(there) => there,
    };
    let mut there: Vec<Option<Found>> = there.iter().map(|f| Some(f.into())).collect();
    let mut out: Vec<Found> = found
        .into_iter()
        .map(|f| {
            let same = |t: &Found| t.key == f.key && t.cause == f.cause;
            let mut there = there.iter_mut();
            let found = there.find(|t| t.as_ref().is_some_and(same));
            found.and_then(Option::take).unwrap_or(f)
        })
        .collect();
    out.sort_by_key(|f| f.line);
    out
}

/// The node's own name in a document.
fn node_name(document: &Document) -> String {
    let node = document.get(NODE);
    let text = |key: &str| {
        let value = node.and_then(|n| n.table.get(key));
        value.and_then(toml::Value::as_str).unwrap_or("").to_owned()
    };
    format!("{}.{}", text("name"), text("domain"))
}

#[cfg(test)]
pub(crate) mod tests;
