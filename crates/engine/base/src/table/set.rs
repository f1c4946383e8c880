//! A hash set: a table without values. In, out and bounds are those of [`HashMap`].

use std::borrow::Borrow;
use std::fmt;
use std::hash::Hash;

use super::HashMap;

/// A hash set, as [`HashMap`] is a map.
#[derive(Clone)]
pub struct HashSet<K> {
    table: HashMap<K, ()>,
}

impl<K> HashSet<K> {
    /// Entries.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// Entries that there is room for; an old room that is being left counts as well.
    pub fn capacity(&self) -> usize {
        self.table.capacity()
    }

    /// Takes all entries out, and gives the room back.
    pub fn clear(&mut self) {
        self.table.clear();
    }

    /// Entries, in no order that means anything.
    pub fn iter(&self) -> impl Iterator<Item = &K> {
        self.table.keys()
    }
}

impl<K: Hash + Eq> HashSet<K> {
    /// Whether an entry is there.
    #[inline]
    pub fn contains<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.table.contains_key(key)
    }

    /// Puts an entry in; false if it was there.
    #[inline]
    pub fn insert(&mut self, key: K) -> bool {
        self.table.insert(key, ()).is_none()
    }

    /// Takes an entry out; false if it was not there.
    #[inline]
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.table.remove(key).is_some()
    }

    /// Keeps the entries that `which` picks.
    pub fn retain(&mut self, mut which: impl FnMut(&K) -> bool) {
        self.table.retain(|key, ()| which(key));
    }
}

impl<K> Default for HashSet<K> {
    fn default() -> Self {
        HashSet {
            table: HashMap::default(),
        }
    }
}

impl<K: fmt::Debug> fmt::Debug for HashSet<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

impl<K: Hash + Eq> PartialEq for HashSet<K> {
    fn eq(&self, other: &Self) -> bool {
        self.table == other.table
    }
}

impl<K: Hash + Eq> Eq for HashSet<K> {}

impl<K: Hash + Eq> Extend<K> for HashSet<K> {
    fn extend<T: IntoIterator<Item = K>>(&mut self, entries: T) {
        self.table.extend(entries.into_iter().map(|key| (key, ())));
    }
}

impl<K: Hash + Eq> FromIterator<K> for HashSet<K> {
    fn from_iter<T: IntoIterator<Item = K>>(entries: T) -> Self {
        let mut set = HashSet::default();
        set.extend(entries);
        set
    }
}

impl<K> IntoIterator for HashSet<K> {
    type Item = K;
    type IntoIter = std::iter::Map<super::IntoIter<K, ()>, fn((K, ())) -> K>;
    fn into_iter(self) -> Self::IntoIter {
        self.table.into_iter().map(|(key, ())| key)
    }
}

impl<'a, K> IntoIterator for &'a HashSet<K> {
    type Item = &'a K;
    type IntoIter = std::iter::Map<super::Iter<'a, K, ()>, fn((&'a K, &'a ())) -> &'a K>;
    fn into_iter(self) -> Self::IntoIter {
        self.table.iter().map(|(key, ())| key)
    }
}
