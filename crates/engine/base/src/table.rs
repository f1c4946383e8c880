//! Hash tables that give their memory back.
//!
//! In: what a table of the standard library takes; all of its methods are there. Out: the same, in
//! an order that is the same in every run of the same program. A table that has become sparse by
//! [`HashMap::remove`] or [`HashMap::retain`] shrinks: with fewer entries than an eighth of its
//! room it moves to twice what it needs, so that each entry that was added pays for less than one
//! move. What an entry of [`std::collections::hash_map::OccupiedEntry`] removes, is noticed with
//! the next removal.

use std::borrow::Borrow;
use std::hash::Hash;
use std::ops::{Deref, DerefMut};

use crate::FixedState;

#[allow(clippy::disallowed_types)]
type StdMap<K, V> = std::collections::HashMap<K, V, FixedState>;
#[allow(clippy::disallowed_types)]
type StdSet<K> = std::collections::HashSet<K, FixedState>;

/// Room below which a table stays as it is, in entries.
pub(crate) const SMALL: usize = 64;

/// The room that a table with so many entries and so much room moves to, if it is sparse.
pub(crate) fn smaller(entries: usize, room: usize) -> Option<usize> {
    (room > SMALL && entries < room / 8).then_some(SMALL.max(2 * entries))
}

/// A hash map whose order is the same in every run of the same program.
///
/// Keys that a stranger chooses are hashed under [`FixedState`]'s constant, so a table keyed by
/// such bytes must be bounded; every engine table is.
#[derive(Clone, Debug)]
pub struct HashMap<K, V> {
    table: StdMap<K, V>,
    /// The room it had at its last removal; what it says itself counts out places not yet cleaned.
    room: usize,
}

impl<K: Hash + Eq, V> HashMap<K, V> {
    /// Takes an entry out.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let value = self.table.remove(key);
        self.tighten();
        value
    }

    /// Keeps the entries that `which` picks.
    pub fn retain(&mut self, which: impl FnMut(&K, &mut V) -> bool) {
        self.table.retain(which);
        self.tighten();
    }

    #[inline]
    fn tighten(&mut self) {
        self.room = self.room.max(self.table.capacity());
        if let Some(room) = smaller(self.table.len(), self.room) {
            self.table.shrink_to(room);
            self.room = self.table.capacity();
        }
    }
}

impl<K, V> From<StdMap<K, V>> for HashMap<K, V> {
    fn from(table: StdMap<K, V>) -> Self {
        HashMap { table, room: 0 }
    }
}

impl<K, V> Default for HashMap<K, V> {
    fn default() -> Self {
        StdMap::default().into()
    }
}

impl<K, V> Deref for HashMap<K, V> {
    type Target = StdMap<K, V>;
    fn deref(&self) -> &Self::Target {
        &self.table
    }
}

impl<K, V> DerefMut for HashMap<K, V> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.table
    }
}

impl<K: Hash + Eq, V: PartialEq> PartialEq for HashMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        self.table == other.table
    }
}

impl<K: Hash + Eq, V> FromIterator<(K, V)> for HashMap<K, V> {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(entries: T) -> Self {
        entries.into_iter().collect::<StdMap<K, V>>().into()
    }
}

impl<K, V> IntoIterator for HashMap<K, V> {
    type Item = (K, V);
    type IntoIter = <StdMap<K, V> as IntoIterator>::IntoIter;
    fn into_iter(self) -> Self::IntoIter {
        self.table.into_iter()
    }
}

impl<'a, K, V> IntoIterator for &'a HashMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = <&'a StdMap<K, V> as IntoIterator>::IntoIter;
    fn into_iter(self) -> Self::IntoIter {
        self.table.iter()
    }
}

impl<'a, K, V> IntoIterator for &'a mut HashMap<K, V> {
    type Item = (&'a K, &'a mut V);
    type IntoIter = <&'a mut StdMap<K, V> as IntoIterator>::IntoIter;
    fn into_iter(self) -> Self::IntoIter {
        self.table.iter_mut()
    }
}

/// A hash set whose order is the same in every run of the same program. See [`HashMap`].
#[derive(Clone, Debug)]
pub struct HashSet<K> {
    table: StdSet<K>,
    /// The room it had at its last removal; what it says itself counts out places not yet cleaned.
    room: usize,
}

impl<K: Hash + Eq> HashSet<K> {
    /// Takes an entry out; false if it was not there.
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        let was_there = self.table.remove(key);
        self.tighten();
        was_there
    }

    /// Keeps the entries that `which` picks.
    pub fn retain(&mut self, which: impl FnMut(&K) -> bool) {
        self.table.retain(which);
        self.tighten();
    }

    #[inline]
    fn tighten(&mut self) {
        self.room = self.room.max(self.table.capacity());
        if let Some(room) = smaller(self.table.len(), self.room) {
            self.table.shrink_to(room);
            self.room = self.table.capacity();
        }
    }
}

impl<K> From<StdSet<K>> for HashSet<K> {
    fn from(table: StdSet<K>) -> Self {
        HashSet { table, room: 0 }
    }
}

impl<K> Default for HashSet<K> {
    fn default() -> Self {
        StdSet::default().into()
    }
}

impl<K> Deref for HashSet<K> {
    type Target = StdSet<K>;
    fn deref(&self) -> &Self::Target {
        &self.table
    }
}

impl<K> DerefMut for HashSet<K> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.table
    }
}

impl<K: Hash + Eq> PartialEq for HashSet<K> {
    fn eq(&self, other: &Self) -> bool {
        self.table == other.table
    }
}

impl<K: Hash + Eq> FromIterator<K> for HashSet<K> {
    fn from_iter<T: IntoIterator<Item = K>>(entries: T) -> Self {
        entries.into_iter().collect::<StdSet<K>>().into()
    }
}

impl<K> IntoIterator for HashSet<K> {
    type Item = K;
    type IntoIter = <StdSet<K> as IntoIterator>::IntoIter;
    fn into_iter(self) -> Self::IntoIter {
        self.table.into_iter()
    }
}

impl<'a, K> IntoIterator for &'a HashSet<K> {
    type Item = &'a K;
    type IntoIter = <&'a StdSet<K> as IntoIterator>::IntoIter;
    fn into_iter(self) -> Self::IntoIter {
        self.table.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_gives_its_room_back_once_it_is_sparse() {
        let mut map: HashMap<u32, u32> = (0..20_000).map(|n| (n, n)).collect();
        let mut set: HashSet<u32> = (0..20_000).collect();
        let full = map.capacity();
        for n in 0..10_000 {
            map.remove(&n);
        }
        assert!(map.capacity() > full / 2, "it is half full");
        for n in 10_000..19_995 {
            map.remove(&n);
        }
        set.retain(|n| *n >= 19_995);
        assert!(map.capacity() <= 4 * SMALL && set.capacity() <= full / 4);
        assert_eq!((map.len(), set.len()), (5, 5));
        assert!((19_995..20_000).all(|n| map.get(&n) == Some(&n) && set.contains(&n)));
    }
}
