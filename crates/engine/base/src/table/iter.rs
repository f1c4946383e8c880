//! The entries of a table, one after the other: those of the room that it leaves, then those of its
//! own.

use std::iter::{Chain, FusedIterator};

use hashbrown::{HashTable, hash_table};

use super::HashMap;

/// Those of both rooms.
type Both<I> = Chain<I, I>;

/// Entries of a table.
#[derive(Clone)]
pub struct Iter<'a, K, V> {
    rows: Both<hash_table::Iter<'a, (K, V)>>,
}

impl<'a, K, V> Iter<'a, K, V> {
    pub(super) fn new(old: Option<&'a HashTable<(K, V)>>, rows: &'a HashTable<(K, V)>) -> Self {
        let old = old.map(HashTable::iter).unwrap_or_default();
        Iter {
            rows: old.chain(rows.iter()),
        }
    }
}

impl<'a, K, V> Iterator for Iter<'a, K, V> {
    type Item = (&'a K, &'a V);
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.rows.next().map(|(key, value)| (key, value))
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }
}

impl<K, V> FusedIterator for Iter<'_, K, V> {}

/// Entries of a table, whose values may be changed.
pub struct IterMut<'a, K, V> {
    rows: Both<hash_table::IterMut<'a, (K, V)>>,
}

impl<'a, K, V> IterMut<'a, K, V> {
    pub(super) fn new(
        old: Option<&'a mut HashTable<(K, V)>>,
        rows: &'a mut HashTable<(K, V)>,
    ) -> Self {
        let old = old.map(HashTable::iter_mut).unwrap_or_default();
        IterMut {
            rows: old.chain(rows.iter_mut()),
        }
    }
}

impl<'a, K, V> Iterator for IterMut<'a, K, V> {
    type Item = (&'a K, &'a mut V);
    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        self.rows.next().map(|(key, value)| (&*key, value))
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }
}

/// Entries of a table that is no more.
pub struct IntoIter<K, V> {
    rows: Both<hash_table::IntoIter<(K, V)>>,
}

impl<K, V> Iterator for IntoIter<K, V> {
    type Item = (K, V);
    #[inline]
    fn next(&mut self) -> Option<(K, V)> {
        self.rows.next()
    }
    fn size_hint(&self) -> (usize, Option<usize>) {
        self.rows.size_hint()
    }
}

impl<K, V> IntoIterator for HashMap<K, V> {
    type Item = (K, V);
    type IntoIter = IntoIter<K, V>;
    fn into_iter(self) -> IntoIter<K, V> {
        let old = self.old.map(|old| old.rows.into_iter());
        IntoIter {
            rows: old.unwrap_or_default().chain(self.rows),
        }
    }
}

impl<'a, K, V> IntoIterator for &'a HashMap<K, V> {
    type Item = (&'a K, &'a V);
    type IntoIter = Iter<'a, K, V>;
    fn into_iter(self) -> Iter<'a, K, V> {
        self.iter()
    }
}

impl<'a, K, V> IntoIterator for &'a mut HashMap<K, V> {
    type Item = (&'a K, &'a mut V);
    type IntoIter = IterMut<'a, K, V>;
    fn into_iter(self) -> IterMut<'a, K, V> {
        self.iter_mut()
    }
}
