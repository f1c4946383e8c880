//! Settings in one SQLite file: write-ahead log, every change synced before it is acknowledged.
//!
//! One connection, one writer at a time. Other processes may read the file with `sqlite3` while the
//! node runs; what is secret they see sealed. The tables:
//!
//! ```text
//! item      path, position, open, sealed                    what counts now
//! revision  number, at, author, via, reason, bytes          who changed what when
//! change    revision, path, before…, after…                 the rows of a revision
//! ```

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base::Secret;
use rusqlite::{
    Connection, OpenFlags, OptionalExtension, Transaction, TransactionBehavior, params,
};
use tokio::sync::watch;

use super::{
    ConfigStore, HISTORY_BYTES_MAX, NOTE_CHARACTERS_MAX, Note, REVISIONS_MAX, Revision, Row, Write,
};
use crate::Error;
use crate::seal::Seal;

/// The version of the tables.
const SCHEMA: i64 = 1;

/// How long a lock of another process is waited for.
const BUSY: Duration = Duration::from_secs(5);

const TABLES: &str = "
CREATE TABLE item (
    path TEXT PRIMARY KEY, position INTEGER NOT NULL, open TEXT NOT NULL, sealed BLOB
) STRICT, WITHOUT ROWID;
CREATE TABLE revision (
    number INTEGER PRIMARY KEY, at INTEGER NOT NULL, author TEXT NOT NULL, via TEXT NOT NULL,
    reason TEXT NOT NULL, bytes INTEGER NOT NULL
) STRICT;
CREATE TABLE change (
    revision INTEGER NOT NULL REFERENCES revision(number) ON DELETE CASCADE, path TEXT NOT NULL,
    before_position INTEGER, before_open TEXT, before_sealed BLOB,
    after_position INTEGER, after_open TEXT, after_sealed BLOB,
    PRIMARY KEY (revision, path)
) STRICT, WITHOUT ROWID;
";

/// Settings in a file.
pub struct Settings {
    path: PathBuf,
    seal: Seal,
    connection: Mutex<Connection>,
    revision: watch::Sender<u64>,
    /// Revisions and bytes of history that are kept.
    most: (usize, u64),
}

/// A row as it stands on the disk.
struct Stored {
    position: i64,
    open: String,
    sealed: Option<Vec<u8>>,
}

/// A row of [`ConfigStore::history`] before and after.
type Pair = (Option<Stored>, Option<Stored>);

impl Settings {
    /// Opens a file, or makes it, for its owner alone; secrets are sealed under `key`.
    ///
    /// # Errors
    /// [`Error::File`], [`Error::Database`], [`Error::Newer`], [`Error::Seal`].
    pub fn open(path: &Path, key: &Secret<[u8; 32]>) -> Result<Settings, Error> {
        let made = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(path);
        made.map_err(|source| Error::File {
            path: path.to_owned(),
            source,
        })?;
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let fault = |e| database(path, &e);
        let mut connection = Connection::open_with_flags(path, flags).map_err(fault)?;
        connection.busy_timeout(BUSY).map_err(fault)?;
        for (pragma, value) in [
            ("journal_mode", "wal"),
            ("synchronous", "full"),
            ("foreign_keys", "on"),
            ("trusted_schema", "off"),
        ] {
            let set = connection.pragma_update(None, pragma, value);
            set.map_err(fault)?;
        }
        match migrate(&mut connection) {
            Ok(true) => {}
            Ok(false) => return Err(Error::Newer(path.to_owned())),
            Err(e) => return Err(fault(e)),
        }
        let revision = newest(&connection).map_err(fault)?;
        Ok(Settings {
            path: path.to_owned(),
            seal: Seal::new(key)?,
            connection: Mutex::new(connection),
            revision: watch::Sender::new(revision),
            most: (REVISIONS_MAX, HISTORY_BYTES_MAX),
        })
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn connection(&self) -> MutexGuard<'_, Connection> {
        // A thread that panicked has left a transaction that was rolled back.
        self.connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps less, for tests.
    #[cfg(test)]
    pub(super) fn keeping(mut self, revisions: usize, bytes: u64) -> Self {
        self.most = (revisions, bytes);
        self
    }

    /// How the file is written, for tests.
    #[cfg(test)]
    pub(super) fn pragmas(&self) -> (String, i64) {
        let connection = self.connection();
        let text = |r: &rusqlite::Row<'_>| r.get(0);
        let mode = connection.pragma_query_value(None, "journal_mode", text);
        let synchronous = connection.pragma_query_value(None, "synchronous", |r| r.get(0));
        (mode.unwrap_or_default(), synchronous.unwrap_or_default())
    }

    fn fault(&self) -> impl Fn(rusqlite::Error) -> Error + '_ {
        |e| database(&self.path, &e)
    }

    fn row(&self, path: &str, stored: Stored) -> Result<Row, Error> {
        let unreadable = || Error::Sealed(path.to_owned());
        let secret = match stored.sealed {
            None => None,
            Some(sealed) => {
                let place = place(path);
                let opened = self.seal.open(&place, &sealed).ok_or_else(unreadable)?;
                let text = String::from_utf8(opened.expose().clone());
                Some(Secret::new(text.map_err(|_| unreadable())?))
            }
        };
        Ok(Row {
            path: path.to_owned(),
            position: stored.position,
            open: stored.open,
            secret,
        })
    }

    /// What the disk is to have of a write, and what it had.
    fn pair(&self, there: &Transaction<'_>, write: &Write) -> Result<Pair, Error> {
        let before = stored(there, write.path()).map_err(self.fault())?;
        let Write::Put(row) = write else {
            return Ok((before, None));
        };
        let secret = row.secret.as_ref().map(|s| s.expose().as_bytes());
        let place = place(&row.path);
        let sealed = secret.map(|s| self.seal.seal(&place, s)).transpose()?;
        let after = Stored {
            position: row.position,
            open: row.open.clone(),
            sealed,
        };
        Ok((before, Some(after)))
    }
}

impl ConfigStore for Settings {
    fn list(&self) -> Result<(u64, Vec<Row>), Error> {
        let mut connection = self.connection();
        // Both of one moment.
        let read = connection.transaction().map_err(self.fault())?;
        let revision = newest(&read).map_err(self.fault())?;
        let rows = all(&read).map_err(self.fault())?;
        let rows = rows.into_iter().map(|(path, row)| self.row(&path, row));
        Ok((revision, rows.collect::<Result<_, _>>()?))
    }

    fn get(&self, path: &str) -> Result<Option<Row>, Error> {
        let found = stored(&self.connection(), path).map_err(self.fault())?;
        found.map(|row| self.row(path, row)).transpose()
    }

    fn change(&self, expected: u64, writes: &[Write], note: &Note, at: u64) -> Result<u64, Error> {
        let mut connection = self.connection();
        let change = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(self.fault())?;
        let now = newest(&change).map_err(self.fault())?;
        if now != expected {
            return Err(Error::Conflict { expected, now });
        }
        if writes.is_empty() {
            return Ok(now);
        }
        let number = now + 1;
        let mut pairs = BTreeMap::new();
        for write in writes {
            pairs.insert(write.path(), self.pair(&change, write)?);
        }
        keep(&change, number, &pairs, note, at).map_err(self.fault())?;
        trim(&change, self.most).map_err(self.fault())?;
        // On the disk when this returns: synchronous=FULL syncs the log at each commit.
        change.commit().map_err(self.fault())?;
        self.revision.send_replace(number);
        Ok(number)
    }

    fn history(&self, before: u64, limit: usize) -> Result<Vec<Revision>, Error> {
        let connection = self.connection();
        let mut found = revisions(&connection, before, limit).map_err(self.fault())?;
        for revision in &mut found {
            let pairs = changes(&connection, revision.number).map_err(self.fault())?;
            for (path, (before, after)) in pairs {
                let [before, after] = [before, after].map(|stored| {
                    let row = stored.map(|stored| self.row(&path, stored));
                    row.transpose()
                });
                revision.changes.push((before?, after?));
            }
        }
        Ok(found)
    }

    fn at(&self, revision: u64) -> Result<Vec<Row>, Error> {
        let mut connection = self.connection();
        let read = connection.transaction().map_err(self.fault())?;
        let now = newest(&read).map_err(self.fault())?;
        let oldest = oldest(&read).map_err(self.fault())?;
        if revision > now || revision + 1 < oldest {
            return Err(Error::NoRevision(revision));
        }
        let rows = all(&read).map_err(self.fault())?;
        let mut rows: BTreeMap<String, Stored> = rows.into_iter().collect();
        for number in (revision + 1..=now).rev() {
            for (path, (before, _)) in changes(&read, number).map_err(self.fault())? {
                match before {
                    Some(before) => rows.insert(path, before),
                    None => rows.remove(&path),
                };
            }
        }
        let rows = rows.into_iter().map(|(path, row)| self.row(&path, row));
        let mut rows = rows.collect::<Result<Vec<_>, _>>()?;
        rows.sort_by_key(|r| r.position);
        Ok(rows)
    }

    fn watch(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }
}

/// To what a secret is bound.
fn place(path: &str) -> Vec<u8> {
    format!("causeway settings\0{path}").into_bytes()
}

fn database(path: &Path, error: &rusqlite::Error) -> Error {
    Error::Database {
        path: path.to_owned(),
        cause: error.to_string(),
    }
}

/// Makes the tables; false if a later version made them.
fn migrate(connection: &mut Connection) -> rusqlite::Result<bool> {
    let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = change.pragma_query_value(None, "user_version", |r| r.get(0))?;
    if version > SCHEMA {
        return Ok(false);
    }
    if version == 0 {
        change.execute_batch(TABLES)?;
        change.pragma_update(None, "user_version", SCHEMA)?;
    }
    change.commit()?;
    Ok(true)
}

fn newest(connection: &Connection) -> rusqlite::Result<u64> {
    let asked = "SELECT COALESCE(MAX(number), 0) FROM revision";
    connection.query_row(asked, [], |r| r.get::<_, i64>(0).map(unsigned))
}

fn oldest(connection: &Connection) -> rusqlite::Result<u64> {
    let asked = "SELECT COALESCE(MIN(number), 1) FROM revision";
    connection.query_row(asked, [], |r| r.get::<_, i64>(0).map(unsigned))
}

fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(0)
}

fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

fn stored(connection: &Connection, path: &str) -> rusqlite::Result<Option<Stored>> {
    let asked = "SELECT position, open, sealed FROM item WHERE path = ?1";
    connection
        .query_row(asked, [path], |r| {
            Ok(Stored {
                position: r.get(0)?,
                open: r.get(1)?,
                sealed: r.get(2)?,
            })
        })
        .optional()
}

fn all(connection: &Connection) -> rusqlite::Result<Vec<(String, Stored)>> {
    let asked = "SELECT path, position, open, sealed FROM item ORDER BY position, path";
    let mut asked = connection.prepare(asked)?;
    let rows = asked.query_map([], |r| {
        let row = Stored {
            position: r.get(1)?,
            open: r.get(2)?,
            sealed: r.get(3)?,
        };
        Ok((r.get(0)?, row))
    })?;
    rows.collect()
}

fn revisions(
    connection: &Connection,
    before: u64,
    limit: usize,
) -> rusqlite::Result<Vec<Revision>> {
    let mut asked = connection.prepare(
        "SELECT number, at, author, via, reason FROM revision WHERE number < ?1
         ORDER BY number DESC LIMIT ?2",
    )?;
    let limit = signed(limit.min(REVISIONS_MAX) as u64);
    let rows = asked.query_map(params![signed(before), limit], |r| {
        Ok(Revision {
            number: unsigned(r.get(0)?),
            at: unsigned(r.get(1)?),
            note: Note {
                author: r.get(2)?,
                via: r.get(3)?,
                reason: r.get(4)?,
            },
            changes: Vec::new(),
        })
    })?;
    rows.collect()
}

fn changes(connection: &Connection, revision: u64) -> rusqlite::Result<Vec<(String, Pair)>> {
    let mut asked = connection.prepare(
        "SELECT path, before_position, before_open, before_sealed,
                after_position, after_open, after_sealed
         FROM change WHERE revision = ?1 ORDER BY path",
    )?;
    let rows = asked.query_map([signed(revision)], |r| {
        let row = |at: usize| -> rusqlite::Result<Option<Stored>> {
            let position: Option<i64> = r.get(at)?;
            let Some(position) = position else {
                return Ok(None);
            };
            Ok(Some(Stored {
                position,
                open: r.get(at + 1)?,
                sealed: r.get(at + 2)?,
            }))
        };
        Ok((r.get(0)?, (row(1)?, row(4)?)))
    })?;
    rows.collect()
}

/// Writes a revision and its rows.
fn keep(
    change: &Transaction<'_>,
    number: u64,
    pairs: &BTreeMap<&str, Pair>,
    note: &Note,
    at: u64,
) -> rusqlite::Result<()> {
    let short = |text: &str| -> String { text.chars().take(NOTE_CHARACTERS_MAX).collect() };
    let size = |row: &Option<Stored>| {
        let sealed = |r: &Stored| r.sealed.as_ref().map_or(0, Vec::len);
        row.as_ref().map_or(0, |r| r.open.len() + sealed(r))
    };
    let bytes: usize = pairs
        .iter()
        .map(|(path, (before, after))| path.len() + size(before) + size(after))
        .sum();
    change.execute(
        "INSERT INTO revision (number, at, author, via, reason, bytes)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            signed(number),
            signed(at),
            short(&note.author),
            short(&note.via),
            short(&note.reason),
            signed(bytes as u64)
        ],
    )?;
    let part = |row: &Option<Stored>| {
        let row = row.as_ref();
        (
            row.map(|r| r.position),
            row.map(|r| r.open.clone()),
            row.and_then(|r| r.sealed.clone()),
        )
    };
    for (path, (before, after)) in pairs {
        let (was, is) = (part(before), part(after));
        change.execute(
            "INSERT INTO change VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![signed(number), path, was.0, was.1, was.2, is.0, is.1, is.2],
        )?;
        match after {
            Some(row) => change.execute(
                "INSERT OR REPLACE INTO item (path, position, open, sealed)
                 VALUES (?1, ?2, ?3, ?4)",
                params![path, row.position, row.open, row.sealed],
            )?,
            None => change.execute("DELETE FROM item WHERE path = ?1", [path])?,
        };
    }
    Ok(())
}

/// Lets the oldest revisions go.
fn trim(change: &Transaction<'_>, most: (usize, u64)) -> rusqlite::Result<()> {
    change.execute(
        "DELETE FROM revision WHERE number <= (
             SELECT COALESCE(MAX(number), 0) FROM (
                 SELECT number, SUM(bytes) OVER (ORDER BY number DESC) AS total,
                        ROW_NUMBER() OVER (ORDER BY number DESC) AS place
                 FROM revision
             ) WHERE place > ?1 OR (total > ?2 AND place > 1)
         )",
        params![signed(most.0 as u64), signed(most.1)],
    )?;
    Ok(())
}
