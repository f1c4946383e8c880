//! What of a change counts at once, and what waits for the node's next start.
//!
//! [`NOW`] is the rule: whoever makes a part take its settings up adds its line here. What has none
//! waits, and is told (`takes effect at next start: service.sip.listen`).

use toml::Value;

use super::{Document, Item};

/// When a changed key counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// At once.
    Now,
    /// When the node starts again.
    NextStart,
}

/// Sections and keys that a running node takes up; `*` for all of a section.
const NOW: [(&str, &str); 26] = [
    ("log", "level"),
    ("overload", "*"),
    ("limits", "requests_per_connection"),
    ("limits", "requests_per_source"),
    ("limits", "requests_per_user"),
    ("limits", "refusals_max"),
    ("limits", "registrations_pending_max"),
    ("service.sip", "accept_from"),
    ("domains", "name"),
    ("domains", "sip"),
    ("domains", "im_presence"),
    ("domains", "federation"),
    ("domains", "call_control"),
    ("unified_cm", "*"),
    ("im_presence", "*"),
    ("unity_connection", "*"),
    ("call_control", "*"),
    ("xmpp_server", "*"),
    ("allow_list", "*"),
    ("credentials", "refresh_interval_min"),
    ("calls", "licences"),
    ("calls", "registrations_max"),
    ("calls", "session_interval_s"),
    ("zones", "*"),
    ("transforms", "*"),
    ("search_rules", "*"),
];

/// When a change of a key counts.
pub fn effect(section: &str, key: &str) -> Effect {
    let live = NOW
        .iter()
        .any(|(s, k)| *s == section && (*k == "*" || *k == key));
    if live { Effect::Now } else { Effect::NextStart }
}

impl Document {
    /// What a node takes up of `wanted` that was started with this document; and what waits for its
    /// next start, as `section.key` or an entry's path.
    ///
    /// Of a section each key counts for itself. An entry of a list is taken up whole or not at all:
    /// half a domain would be another one than anybody wrote.
    pub fn taken_up(&self, wanted: &Document) -> (Document, Vec<String>) {
        let (mut items, mut waiting) = (Vec::new(), Vec::new());
        let (known, stays) = (self.index(), wanted.index());
        for new in wanted.items() {
            let old = known.get(new.path.as_str()).map(|(_, old)| *old);
            if new.is_entry() {
                match wait(old, Some(new)).is_empty() {
                    true => items.push(new.clone()),
                    false => {
                        items.extend(old.cloned());
                        waiting.push(new.path.clone());
                    }
                }
            } else {
                let keys = wait(old, Some(new));
                items.extend(mixed(old, Some(new), &keys));
                waiting.extend(keys.iter().map(|key| named(&new.path, key)));
            }
        }
        let gone = |i: &&Item| !stays.contains_key(i.path.as_str());
        for old in self.items().iter().filter(gone) {
            let keys = wait(Some(old), None);
            if old.is_entry() {
                if !keys.is_empty() {
                    items.push(old.clone());
                    waiting.push(old.path.clone());
                }
            } else {
                items.extend(mixed(Some(old), None, &keys));
                waiting.extend(keys.iter().map(|key| named(&old.path, key)));
            }
        }
        (Document::of_items(items), waiting)
    }
}

/// `section.key`; what stands before the first section by its key alone.
fn named(path: &str, key: &str) -> String {
    match path {
        super::NODE => key.to_owned(),
        path => format!("{path}.{key}"),
    }
}

/// The keys that differ and wait.
fn wait(old: Option<&Item>, new: Option<&Item>) -> Vec<String> {
    let Some(section) = new.or(old).map(Item::section) else {
        return Vec::new();
    };
    let value = |item: Option<&Item>, key: &str| -> Option<Value> {
        item.and_then(|i| i.table.get(key)).cloned()
    };
    let mut keys: Vec<&String> = Vec::new();
    for key in new.into_iter().chain(old).flat_map(|i| i.table.keys()) {
        let differs = value(old, key) != value(new, key);
        if differs && effect(section, key) == Effect::NextStart && !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys.into_iter().cloned().collect()
}

/// The new section with the old values of some keys.
fn mixed(old: Option<&Item>, new: Option<&Item>, keep: &[String]) -> Option<Item> {
    let mut table = new.map(|i| i.table.clone()).unwrap_or_default();
    for key in keep {
        match old.and_then(|i| i.table.get(key)) {
            Some(value) => table.insert(key.clone(), value.clone()),
            None => table.remove(key),
        };
    }
    // A section of which all waits is not there yet.
    let empty = |i: &Item| i.table.is_empty();
    let there = !table.is_empty() || old.is_some_and(empty) || new.is_some_and(empty);
    let path = new.or(old).map(|i| i.path.clone())?;
    there.then_some(Item { path, table })
}
