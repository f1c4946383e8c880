//! Which keys are secrets, and documents without them or with nothing else.

use base::Map;
use toml::{Table, Value};

use super::{Document, Item};

/// Keys whose value is a secret, wherever they stand. A test holds them against the page of
/// settings.
pub const SECRET_KEYS: [&str; 3] = ["password", "bind_password", "client_secret"];

impl Document {
    /// Without secrets.
    #[must_use]
    pub fn without_secrets(&self) -> Document {
        self.parted(false)
    }

    /// Nothing but secrets, each where it stands; items without one are left out. What stays of an
    /// entry does not name it: the paths are those of the whole document.
    pub fn secrets(&self) -> Vec<Item> {
        let parts = self.parted(true).items;
        parts.into_iter().filter(|i| !i.table.is_empty()).collect()
    }

    /// With the secrets of `other` where this has none: whoever was shown a document without
    /// secrets sends it back without them. A key `…_file` beside takes a secret's place.
    #[must_use]
    pub fn with_secrets(mut self, other: &[Item]) -> Document {
        let known: Map<&str, &Table> = other.iter().map(|o| (o.path.as_str(), &o.table)).collect();
        for item in &mut self.items {
            if let Some(known) = known.get(item.path.as_str()) {
                fill(&mut item.table, known);
            }
        }
        self
    }

    fn parted(&self, secrets: bool) -> Document {
        let items = self.items.iter().map(|item| Item {
            path: item.path.clone(),
            table: part(&item.table, secrets),
        });
        // Not arranged: without their names entries would be named anew.
        Document {
            items: items.collect(),
        }
    }
}

/// Whether a key's value is a secret.
pub(super) fn is_secret(key: &str) -> bool {
    SECRET_KEYS.contains(&key)
}

fn part(table: &Table, secrets: bool) -> Table {
    let mut out = Table::new();
    for (key, value) in table {
        match value {
            Value::Table(inner) => {
                let inner = part(inner, secrets);
                if !secrets || !inner.is_empty() {
                    out.insert(key.clone(), Value::Table(inner));
                }
            }
            value if is_secret(key) == secrets => {
                out.insert(key.clone(), value.clone());
            }
            _ => {}
        }
    }
    out
}

fn fill(table: &mut Table, known: &Table) {
    for (key, value) in known {
        let by_file = table.contains_key(&format!("{key}_file"));
        match (table.get_mut(key), value) {
            (Some(Value::Table(inner)), Value::Table(known)) => fill(inner, known),
            (None, Value::String(secret)) if !by_file => {
                table.insert(key.clone(), Value::String(secret.clone()));
            }
            _ => {}
        }
    }
}
