//! What is different between two documents, in words that hold no secret.

use base::Map;
use serde::{Deserialize, Serialize};
use toml::{Table, Value};

use super::secret::is_secret;
use super::{Document, Item};

/// What stands for a secret.
const HIDDEN: &str = "(secret)";

/// What happened to an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It is new.
    Added,
    /// It is gone.
    Removed,
    /// Some of its keys are others.
    Changed,
    /// It stands elsewhere in its list.
    Moved,
}

/// A key of an item that is another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyChange {
    /// `key`, or `table.key`.
    pub key: String,
    /// What was written, as TOML; none if nothing was. `(secret)` for a secret.
    pub before: Option<String>,
    /// What is written.
    pub after: Option<String>,
}

/// An item that is another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Its path.
    pub path: String,
    /// What happened to it.
    pub kind: Kind,
    /// Its keys.
    pub keys: Vec<KeyChange>,
}

impl Document {
    /// What is different in `after`, in the order of documents.
    pub fn diff(&self, after: &Document) -> Vec<Change> {
        let mut changes = Vec::new();
        let known = self.index();
        let stays = after.index();
        for old in self
            .items()
            .iter()
            .filter(|i| !stays.contains_key(i.path.as_str()))
        {
            changes.push(change(Kind::Removed, Some(old), None));
        }
        let mut last: Option<(&str, usize)> = None;
        for new in after.items() {
            let Some((at, old)) = known.get(new.path.as_str()).copied() else {
                changes.push(change(Kind::Added, None, Some(new)));
                continue;
            };
            let moved =
                last.is_some_and(|(section, before)| section == new.section() && at < before);
            if !moved {
                last = Some((new.section(), at));
            }
            if old.table != new.table {
                changes.push(change(Kind::Changed, Some(old), Some(new)));
            } else if moved {
                changes.push(Change {
                    path: new.path.clone(),
                    kind: Kind::Moved,
                    keys: Vec::new(),
                });
            }
        }
        changes
    }

    /// Each item by its path, with its place.
    pub(super) fn index(&self) -> Map<&str, (usize, &Item)> {
        let items = self.items().iter().enumerate();
        items.map(|(at, i)| (i.path.as_str(), (at, i))).collect()
    }
}

fn change(kind: Kind, old: Option<&Item>, new: Option<&Item>) -> Change {
    let mut keys = Vec::new();
    let none = Table::new();
    let table = |item: Option<&Item>| item.map_or_else(|| none.clone(), |i| i.table.clone());
    compare(&mut keys, "", &table(old), &table(new));
    let path = old.or(new).map(|i| i.path.clone()).unwrap_or_default();
    Change { path, kind, keys }
}

fn compare(out: &mut Vec<KeyChange>, above: &str, old: &Table, new: &Table) {
    let gone = old.iter().filter(|(key, _)| !new.contains_key(*key));
    let keys = gone.chain(new.iter()).map(|(key, _)| key);
    let empty = Table::new();
    for key in keys {
        let (before, after) = (old.get(key), new.get(key));
        if before == after {
            continue;
        }
        let name = format!("{above}{key}");
        let tables = [before, after].map(|v| v.and_then(Value::as_table));
        if let (None | Some(Value::Table(_)), None | Some(Value::Table(_))) = (before, after) {
            let [old, new] = tables.map(|t| t.unwrap_or(&empty));
            compare(out, &format!("{name}."), old, new);
            continue;
        }
        let shown = |value: Option<&Value>| match value {
            Some(_) if is_secret(key) => Some(HIDDEN.to_owned()),
            // What is replaced by a plain value may hold some.
            Some(Value::Table(_)) => Some("{…}".to_owned()),
            other => other.map(Value::to_string),
        };
        out.push(KeyChange {
            key: name,
            before: shown(before),
            after: shown(after),
        });
    }
}
