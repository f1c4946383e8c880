//! What a key of a table has, or what it is to have. In: a key. Out: its value, put there if there
//! was none. Bounds: those of an insertion.

use std::hash::{BuildHasher, Hash};

use super::HashMap;

/// A key, and the place where its value is or will be.
pub struct Entry<'a, K, V> {
    map: &'a mut HashMap<K, V>,
    key: K,
    hash: u64,
}

impl<'a, K: Hash + Eq, V> Entry<'a, K, V> {
    pub(super) fn new(map: &'a mut HashMap<K, V>, key: K) -> Self {
        let hash = map.state.hash_one(&key);
        Entry { map, key, hash }
    }

    /// The value of the key; without one, this.
    pub fn or_insert(self, value: V) -> &'a mut V {
        self.or_insert_with(|| value)
    }

    /// The value of the key; without one, the default.
    pub fn or_default(self) -> &'a mut V
    where
        V: Default,
    {
        self.or_insert_with(V::default)
    }

    /// The value of the key; without one, what `make` makes.
    pub fn or_insert_with(self, make: impl FnOnce() -> V) -> &'a mut V {
        let Entry { map, key, hash } = self;
        if map.rows.find(hash, |row| row.0 == key).is_none() {
            let old = map.old.as_mut();
            let left = old.and_then(|old| {
                let row = old.rows.find_entry(hash, |row| row.0 == key).ok()?;
                Some(row.remove().0)
            });
            // What has not followed yet does so now.
            let row = left.unwrap_or_else(|| (key, make()));
            return &mut map.add(hash, row).1;
        }
        // Found once more: what was found before would keep the table from being changed.
        match map.rows.find_mut(hash, |row| row.0 == key) {
            Some(row) => &mut row.1,
            None => unreachable!("it has just been found"),
        }
    }

    /// Changes the value of the key, if it has one.
    pub fn and_modify(self, change: impl FnOnce(&mut V)) -> Self {
        if let Some(value) = self.map.get_mut(&self.key) {
            change(value);
        }
        self
    }
}
