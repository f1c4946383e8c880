//! A configuration as a document: a tree of keys that can be taken apart into items, changed item
//! by item, compared and written down.
//!
//! The file's own model reads only what is right; a document holds whatever is valid TOML, also
//! what [`load`](crate::load) will refuse. Whoever changes one writes it down ([`Document::text`])
//! and has the whole checked.
//!
//! An **item** is the least that is changed as one: `node` (what stands before the first section),
//! a section (`log`, `service.sip`), or one entry of a list, named by what its own key says
//! (`domains/example.com`, `search_rules/To trunk`). Entries named alike get `~2`, `~3`.
//!
//! In: TOML. Out: items, TOML, differences. Not: comments, which a document does not keep.
//! Bounds: [`BYTES_MAX`], [`ITEMS_MAX`].

mod diff;
mod effect;
mod secret;

use std::fmt;
use std::path::Path;

use base::Map;
use toml::{Table, Value};

use crate::check::{Finding, Severity};
use crate::place;

pub use diff::{Change, KeyChange, Kind};
pub use effect::{Effect, effect};
pub use secret::SECRET_KEYS;

/// The longest document, in bytes.
pub const BYTES_MAX: usize = 4 * 1024 * 1024;

/// The most items.
pub const ITEMS_MAX: usize = 10_000;

/// The item that holds what stands before the first section.
pub const NODE: &str = "node";

/// Sections in the order in which a document is written; others follow.
const ORDER: [&str; 30] = [
    NODE,
    "dns",
    "certificate",
    "log",
    "administration",
    "limits",
    "overload",
    "service.https",
    "service.sip",
    "service.xmpp",
    "service.media",
    "traversal",
    "traversal.zone",
    "traversal.peer",
    "business",
    "domains",
    "unified_cm",
    "im_presence",
    "unity_connection",
    "call_control",
    "xmpp_server",
    "allow_list",
    "credentials",
    "calls",
    "zones",
    "transforms",
    "search_rules",
    "service",
    "settings",
    "",
];

/// The keys that may name an entry of a list, in order of preference.
const NAMES: [&str; 5] = ["name", "domain", "publisher", "address", "host"];

/// The least that is changed as one.
#[derive(Clone, Debug, PartialEq)]
pub struct Item {
    /// `section`, or `section/name` of an entry of a list.
    pub path: String,
    /// Its keys.
    pub table: Table,
}

impl Item {
    /// The section: what stands before the name.
    pub fn section(&self) -> &str {
        section_of(&self.path)
    }

    /// Whether it is an entry of a list.
    pub fn is_entry(&self) -> bool {
        self.path.contains('/')
    }
}

/// The section of an item's path.
pub fn section_of(path: &str) -> &str {
    path.split_once('/').map_or(path, |(section, _)| section)
}

/// A change that a document cannot take.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Misfit {
    /// There is no such item.
    #[error("there is no item {0}")]
    Absent(String),
    /// A name is given by the entry itself.
    #[error("{0} names a section, or SECTION/NAME of an entry of a list")]
    NoPath(String),
    /// The entry says that it is named otherwise.
    #[error("the entry is named {named}, not {path}")]
    Named {
        /// Where it was to stand.
        path: String,
        /// The path that its keys make.
        named: String,
    },
}

/// A configuration as a tree of keys.
#[derive(Clone, Default, PartialEq)]
pub struct Document {
    /// In the order in which they are written.
    items: Vec<Item>,
}

impl fmt::Debug for Document {
    /// Secrets are left out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.without_secrets().text())
    }
}

impl Document {
    /// Reads TOML.
    ///
    /// # Errors
    /// Where it is no TOML, or too much of it.
    pub fn parse(text: &str) -> Result<Document, Finding> {
        let refused = |offset: usize, cause: String, fix: &str| {
            let place = place::at(text, offset);
            Finding {
                severity: Severity::Error,
                line: place.line,
                column: place.column,
                key: place::key_at(text, offset).unwrap_or_else(|| "file".into()),
                cause,
                fix: fix.into(),
            }
        };
        if text.len() > BYTES_MAX {
            let cause = format!("it has {} bytes, and {BYTES_MAX} are read", text.len());
            return Err(refused(0, cause, "leave out what is not needed"));
        }
        let table: Table = toml::from_str(text).map_err(|e| {
            let cause = e.message().trim().replace('\n', " ");
            refused(e.span().map_or(0, |s| s.start), cause, "correct the line")
        })?;
        let document = Document::of_table(&table);
        if document.items.len() > ITEMS_MAX {
            let cause = format!("it has more than {ITEMS_MAX} items");
            return Err(refused(0, cause, "leave out what is not needed"));
        }
        Ok(document)
    }

    /// Takes a tree apart.
    pub fn of_table(table: &Table) -> Document {
        let mut taken = Vec::new();
        take(&mut taken, "", table);
        let mut document = Document { items: taken };
        document.arrange();
        document
    }

    /// Made of items; entries of a list stand in their order.
    pub fn of_items(items: impl IntoIterator<Item = Item>) -> Document {
        let mut document = Document {
            items: items.into_iter().collect(),
        };
        document.arrange();
        document
    }

    /// All items, as they are written down.
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Whether it says nothing.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// One item.
    pub fn get(&self, path: &str) -> Option<&Item> {
        self.items.iter().find(|i| i.path == path)
    }

    /// Puts an item in its place: in the place of the one that is there, or behind the section's
    /// last. The entry's keys may name it otherwise than it was named: it keeps its place.
    ///
    /// # Errors
    /// [`Misfit`], if nothing of that path can be made.
    pub fn put(&mut self, path: &str, table: Table) -> Result<(), Misfit> {
        let section = section_of(path).to_owned();
        if section.is_empty() || path.ends_with('/') {
            return Err(Misfit::NoPath(path.to_owned()));
        }
        let item = Item {
            path: path.to_owned(),
            table,
        };
        let named = match item.is_entry() {
            true => format!("{section}/{}", name_of(&section, &item.table)),
            false => section.clone(),
        };
        let other = |i: &Item| i.section() == section && i.is_entry() != item.is_entry();
        if self.items.iter().any(other) {
            return Err(Misfit::NoPath(path.to_owned()));
        }
        match self.items.iter().position(|i| i.path == path) {
            Some(at) => {
                if let Some(there) = self.items.get_mut(at) {
                    *there = item;
                }
            }
            None if named == path => self.items.push(item),
            None => {
                let path = path.to_owned();
                return Err(Misfit::Named { path, named });
            }
        }
        self.arrange();
        Ok(())
    }

    /// Takes an item out.
    ///
    /// # Errors
    /// [`Misfit::Absent`].
    pub fn remove(&mut self, path: &str) -> Result<Item, Misfit> {
        let at = self.items.iter().position(|i| i.path == path);
        let at = at.ok_or_else(|| Misfit::Absent(path.to_owned()))?;
        let item = self.items.remove(at);
        self.arrange();
        Ok(item)
    }

    /// The tree.
    pub fn table(&self) -> Table {
        let mut root = Table::new();
        for item in &self.items {
            plant(&mut root, item);
        }
        root
    }

    /// As TOML: what [`Document::parse`] reads as the same document.
    pub fn text(&self) -> String {
        let mut out = String::new();
        for item in &self.items {
            let mut root = Table::new();
            plant(&mut root, item);
            // A table of TOML can always be written.
            let text = toml::to_string(&root).unwrap_or_default();
            if !out.is_empty() {
                out.push('\n');
            }
            out.push_str(&text);
        }
        out
    }

    /// With every path of a file taken from a folder, and without `data`, which is no setting of a
    /// stored document.
    #[must_use]
    pub fn anchored(mut self, folder: &Path) -> Document {
        for item in &mut self.items {
            let section = section_of(&item.path).to_owned();
            if section == NODE {
                item.table.remove("data");
            }
            anchor(&section, &mut item.table, folder);
        }
        self
    }

    /// Orders the items, and names entries by what they say.
    fn arrange(&mut self) {
        let place = |section: &str| {
            let at = ORDER.iter().position(|s| *s == section);
            (at.unwrap_or(ORDER.len()), section.to_owned())
        };
        self.items.sort_by_cached_key(|i| place(i.section()));
        let mut seen: Map<String, usize> = Map::new();
        for item in &mut self.items {
            if !item.is_entry() {
                continue;
            }
            let section = section_of(&item.path).to_owned();
            let path = format!("{section}/{}", name_of(&section, &item.table));
            let count = seen.entry(path.clone()).or_default();
            *count += 1;
            item.path = match *count {
                1 => path,
                n => format!("{path}~{n}"),
            };
        }
    }
}

/// Takes a table apart: what is no table is the section's own item.
fn take(items: &mut Vec<Item>, section: &str, table: &Table) {
    let below = |key: &str| match section {
        "" => key.to_owned(),
        section => format!("{section}.{key}"),
    };
    let mut own = Table::new();
    let mut parts = Vec::new();
    for (key, value) in table {
        match value {
            Value::Array(list) if !list.is_empty() && list.iter().all(Value::is_table) => {
                for entry in list.iter().filter_map(Value::as_table) {
                    parts.push(Item {
                        path: format!("{}/", below(key)),
                        table: entry.clone(),
                    });
                }
            }
            Value::Table(inner) if section.is_empty() => take(&mut parts, key, inner),
            // Below a section that is one, a table is an item of its own.
            Value::Table(inner) => parts.push(Item {
                path: below(key),
                table: inner.clone(),
            }),
            other => {
                own.insert(key.clone(), other.clone());
            }
        }
    }
    if !own.is_empty() || parts.is_empty() && !section.is_empty() {
        let path = if section.is_empty() { NODE } else { section };
        items.push(Item {
            path: path.to_owned(),
            table: own,
        });
    }
    items.append(&mut parts);
}

/// Puts an item where it stands in the tree.
fn plant(root: &mut Table, item: &Item) {
    let section = section_of(&item.path);
    if section == NODE {
        root.extend(item.table.clone());
        return;
    }
    let (above, key) = match section.split_once('.') {
        Some((above, key)) => (Some(above), key),
        None => (None, section),
    };
    let folder = match above {
        None => root,
        Some(above) => {
            let made = root
                .entry(above.to_owned())
                .or_insert_with(|| Value::Table(Table::new()));
            match made.as_table_mut() {
                Some(table) => table,
                None => return,
            }
        }
    };
    if item.is_entry() {
        let list = folder
            .entry(key.to_owned())
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Some(list) = list.as_array_mut() {
            list.push(Value::Table(item.table.clone()));
        }
    } else {
        let table = folder
            .entry(key.to_owned())
            .or_insert_with(|| Value::Table(Table::new()));
        if let Some(table) = table.as_table_mut() {
            table.extend(item.table.clone());
        }
    }
}

/// What an entry of a list is named by.
fn name_of(section: &str, table: &Table) -> String {
    let text = |key: &str| table.get(key).and_then(Value::as_str);
    if section == "allow_list" {
        let scheme = text("scheme").unwrap_or("https");
        let port = table.get("port").and_then(Value::as_integer);
        let port = port.map(|p| format!(":{p}")).unwrap_or_default();
        let path = text("path").unwrap_or("/");
        return format!("{scheme}://{}{port}{path}", text("host").unwrap_or(""));
    }
    let named = NAMES.iter().find_map(|key| text(key));
    named.unwrap_or("").to_owned()
}

/// Whether a key names a file.
fn is_path(section: &str, key: &str) -> bool {
    match key {
        "file" | "trusted" | "chain" | "client_authorities" => true,
        "key" => section == "certificate",
        key => key.ends_with("_file"),
    }
}

fn anchor(section: &str, table: &mut Table, folder: &Path) {
    for (key, value) in table.iter_mut() {
        match value {
            Value::Table(inner) => anchor(key, inner, folder),
            Value::String(path) if is_path(section, key) && !path.is_empty() => {
                *path = folder.join(&*path).to_string_lossy().into_owned();
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests;
