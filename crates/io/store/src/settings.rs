//! A node's settings: rows named by a path, one revision for all of them, and what changed in each.
//!
//! The store knows nothing of what a row means. `open` is text that anybody may read who may read
//! the file; `secret` is sealed on the disk. A change is a set of writes that stands or falls as
//! one: made for a revision, refused if another came between, on the disk when it is acknowledged.
//! Whoever changes has checked the whole before.
//!
//! [`Settings`] keeps them in SQLite; [`ConfigStore`] is the face that a store shared by several
//! nodes will have, too.
//!
//! Bounds: [`REVISIONS_MAX`] revisions and [`HISTORY_BYTES_MAX`] bytes of history.

mod order;
mod sqlite;

use base::Secret;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::Error;

pub use order::{Wanted, writes};
pub use sqlite::Settings;

/// Revisions that are kept; the oldest go first.
pub const REVISIONS_MAX: usize = 500;

/// The longest history, in bytes of its rows; at least one revision is kept.
pub const HISTORY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The longest author, reason or origin that is kept, in characters.
pub const NOTE_CHARACTERS_MAX: usize = 500;

/// A row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its name.
    pub path: String,
    /// Where it stands among the others: only the order counts.
    pub position: i64,
    /// What may be read.
    pub open: String,
    /// What is sealed on the disk.
    pub secret: Option<Secret<String>>,
}

/// A write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Write {
    /// Put a row, in the place of the one of that path if there is one.
    Put(Row),
    /// Take the row of that path away.
    Delete(String),
}

impl Write {
    /// Of which row.
    pub fn path(&self) -> &str {
        match self {
            Write::Put(row) => &row.path,
            Write::Delete(path) => path,
        }
    }
}

/// Who changed the settings, and why.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// Who.
    pub author: String,
    /// By what way: `command line`, `REST`.
    pub via: String,
    /// Why, in their own words; may be empty.
    pub reason: String,
}

/// A revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// From 1, without gaps.
    pub number: u64,
    /// When, in milliseconds since 1970.
    pub at: u64,
    /// Who and why.
    pub note: Note,
    /// What each changed row was and is.
    pub changes: Vec<(Option<Row>, Option<Row>)>,
}

/// A store of settings. Calls may wait for the disk.
pub trait ConfigStore: Send + Sync {
    /// The revision and all rows, in their order.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Sealed`].
    fn list(&self) -> Result<(u64, Vec<Row>), Error>;

    /// One row, if it is there.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Sealed`].
    fn get(&self, path: &str) -> Result<Option<Row>, Error>;

    /// Makes a change that was made for revision `expected`; gives the new revision, which is on
    /// the disk. Nothing to write is no new revision.
    ///
    /// # Errors
    /// [`Error::Conflict`] if another change came between; [`Error::Database`]. Nothing is changed
    /// then.
    fn change(&self, expected: u64, writes: &[Write], note: &Note, at: u64) -> Result<u64, Error>;

    /// The youngest revisions before one, youngest first.
    ///
    /// # Errors
    /// [`Error::Database`], [`Error::Sealed`].
    fn history(&self, before: u64, limit: usize) -> Result<Vec<Revision>, Error>;

    /// All rows as they were at a revision.
    ///
    /// # Errors
    /// [`Error::NoRevision`] if the history does not reach so far; [`Error::Database`].
    fn at(&self, revision: u64) -> Result<Vec<Row>, Error>;

    /// The revision, and each new one.
    fn watch(&self) -> watch::Receiver<u64>;
}

#[cfg(test)]
mod tests;
