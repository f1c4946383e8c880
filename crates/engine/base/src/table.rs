//! Hash tables that move a few entries at a time, and give their memory back.
//!
//! In: what a table of the standard library takes. Out: the same, in an order that is the same in
//! every run of the same program, unless the process has a key ([`crate::hash`]).
//!
//! A table that is full, or that has become sparse, moves to another room: twice as large, or twice
//! what it needs once fewer entries are left than an eighth of its room. Its entries follow with
//! the operations that come after, `MOVES` of them or `PLACES` looked at with each, and are
//! looked up in both rooms meanwhile. So no insertion and no removal costs more than that, however
//! many entries there are; the last of them has moved long before the new room is full or sparse.
//! Only [`HashMap::retain`] looks at everything, and moves what few entries it leaves at once. A
//! table of `SMALL` places or fewer moves as a whole.
//!
//! Underneath is `hashbrown`, as in the standard library, whose own tables move all at once (cold,
//! an entry of numbers takes 30 to 80 ns, one whose key is a text 350).

mod entry;
mod iter;
mod set;

use std::borrow::Borrow;
use std::fmt;
use std::hash::{BuildHasher, Hash};

use hashbrown::HashTable;

use crate::FixedState;

pub use entry::Entry;
pub use iter::{IntoIter, Iter, IterMut};
pub use set::HashSet;

/// Room below which a table stays as it is, in entries.
pub(crate) const SMALL: usize = 64;

/// The room that a table with so many entries and so much room moves to, if it is sparse.
pub(crate) fn smaller(entries: usize, room: usize) -> Option<usize> {
    (room > SMALL && entries < room / 8).then_some(SMALL.max(2 * entries))
}

/// Entries that follow with an operation, at most.
const MOVES: usize = 8;

/// Places of the old room that are looked at with an operation, at most.
const PLACES: usize = 64;

/// Entries that move at once after all have been looked at: of keys that lie in the table, and of
/// those that must be looked up elsewhere to be hashed.
const FEW: (usize, usize) = (12_500, 2_500);

/// The old room of a table that moves.
#[derive(Clone)]
struct Old<K, V> {
    rows: HashTable<(K, V)>,
    /// The places before this one are empty.
    next: usize,
}

/// A hash map whose order is the same in every run of a program without a key ([`crate::hash`]).
///
/// Keys that a stranger chooses are spread by the process's own ([`crate::hash::set_key`]), which
/// he does not know; a table keyed by them must be bounded all the same, and every engine table is.
#[derive(Clone)]
pub struct HashMap<K, V> {
    rows: HashTable<(K, V)>,
    /// What has not followed yet.
    old: Option<Box<Old<K, V>>>,
    state: FixedState,
}

impl<K, V> HashMap<K, V> {
    /// Entries.
    #[inline]
    pub fn len(&self) -> usize {
        self.rows.len() + self.old.as_ref().map_or(0, |old| old.rows.len())
    }

    /// Whether there is no entry.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.old.is_none()
    }

    /// Entries that there is room for; an old room that is being left counts as well.
    pub fn capacity(&self) -> usize {
        room(&self.rows) + self.old.as_ref().map_or(0, |old| room(&old.rows))
    }

    /// Takes all entries out, and gives the room back.
    pub fn clear(&mut self) {
        self.old = None;
        self.rows = HashTable::new();
    }

    /// Entries, in no order that means anything.
    pub fn iter(&self) -> Iter<'_, K, V> {
        Iter::new(self.old.as_ref().map(|old| &old.rows), &self.rows)
    }

    /// Entries whose values may be changed.
    pub fn iter_mut(&mut self) -> IterMut<'_, K, V> {
        IterMut::new(self.old.as_mut().map(|old| &mut old.rows), &mut self.rows)
    }

    /// The keys of all entries.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.iter().map(|(key, _)| key)
    }

    /// The values of all entries.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }

    /// The values of all entries, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.iter_mut().map(|(_, value)| value)
    }

    /// The values of all entries, which are taken out.
    pub fn into_values(self) -> impl Iterator<Item = V> {
        self.into_iter().map(|(_, value)| value)
    }
}

/// Entries that a room is for: of a large one, seven eighths of its places.
fn room<T>(rows: &HashTable<T>) -> usize {
    match rows.num_buckets() {
        few @ ..8 => few - 1,
        places => places / 8 * 7,
    }
}

impl<K: Hash + Eq, V> HashMap<K, V> {
    /// The value of a key.
    #[inline]
    pub fn get<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.get_key_value(key).map(|(_, value)| value)
    }

    /// The value of a key, with the key as it is in the table.
    #[inline]
    pub fn get_key_value<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> Option<(&K, &V)>
    where
        K: Borrow<Q>,
    {
        if self.is_empty() {
            return None;
        }
        let hash = self.state.hash_one(key);
        let mut found = self.rows.find(hash, |row| row.0.borrow() == key);
        if let (None, Some(old)) = (found, &self.old) {
            found = old.rows.find(hash, |row| row.0.borrow() == key);
        }
        found.map(|(key, value)| (key, value))
    }

    /// The value of a key, to be changed.
    #[inline]
    pub fn get_mut<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        if self.is_empty() {
            return None;
        }
        let hash = self.state.hash_one(key);
        if let Some(row) = self.rows.find_mut(hash, |row| row.0.borrow() == key) {
            return Some(&mut row.1);
        }
        let old = &mut self.old.as_mut()?.rows;
        let row = old.find_mut(hash, |row| row.0.borrow() == key);
        row.map(|row| &mut row.1)
    }

    /// Whether a key has a value.
    #[inline]
    pub fn contains_key<Q: Hash + Eq + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.get_key_value(key).is_some()
    }

    /// Puts an entry in; gives the value that the key had.
    #[inline]
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        let hash = self.state.hash_one(&key);
        if let Some(row) = self.rows.find_mut(hash, |row| row.0 == key) {
            return Some(std::mem::replace(&mut row.1, value));
        }
        if let Some(old) = &mut self.old
            && let Some(row) = old.rows.find_mut(hash, |row| row.0 == key)
        {
            return Some(std::mem::replace(&mut row.1, value));
        }
        self.add(hash, (key, value));
        None
    }

    /// What a key has, or what it is to have.
    #[inline]
    pub fn entry(&mut self, key: K) -> Entry<'_, K, V> {
        Entry::new(self, key)
    }

    /// Takes an entry out.
    #[inline]
    pub fn remove<Q: Hash + Eq + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        if self.is_empty() {
            return None;
        }
        let hash = self.state.hash_one(key);
        let here = self.rows.find_entry(hash, |row| row.0.borrow() == key);
        let gone = match here {
            Ok(row) => Some(row.remove().0.1),
            Err(_) => {
                let old = self.old.as_mut();
                old.and_then(|old| old.rows.find_entry(hash, |row| row.0.borrow() == key).ok())
                    .map(|row| row.remove().0.1)
            }
        };
        self.follow();
        self.tighten();
        gone
    }

    /// Keeps the entries that `which` picks.
    pub fn retain(&mut self, mut which: impl FnMut(&K, &mut V) -> bool) {
        if let Some(old) = &mut self.old {
            old.rows.retain(|(key, value)| which(key, value));
        }
        self.rows.retain(|(key, value)| which(key, value));
        self.follow();
        self.tighten();
        let most = match std::mem::needs_drop::<K>() {
            true => FEW.1,
            false => FEW.0,
        };
        if self.old.as_ref().is_some_and(|old| old.rows.len() <= most) {
            self.follow_by(usize::MAX, usize::MAX);
        }
    }

    /// Adds an entry whose key has none.
    #[inline]
    fn add(&mut self, hash: u64, row: (K, V)) -> &mut (K, V) {
        self.follow();
        if self.rows.len() == self.rows.capacity() {
            self.grow();
        }
        let state = self.state;
        let rehash = |row: &(K, V)| state.hash_one(&row.0);
        self.rows.insert_unique(hash, row, rehash).into_mut()
    }

    /// The room is full, of entries or of places where some were: the next one is twice as large,
    /// or as large. A small table moves by itself, at once.
    #[cold]
    fn grow(&mut self) {
        let room = room(&self.rows);
        if room <= SMALL {
            return;
        }
        self.follow_by(usize::MAX, usize::MAX); // none is left: see the test
        let full = self.rows.len() > room / 2;
        self.move_to(if full { room + 1 } else { room });
    }

    #[inline]
    fn tighten(&mut self) {
        let room = room(&self.rows);
        if self.old.is_none()
            && room > 2 * SMALL
            && let Some(less) = smaller(self.rows.len(), room)
        {
            self.move_to(less);
        }
    }

    #[cold]
    fn move_to(&mut self, room: usize) {
        let rows = std::mem::replace(&mut self.rows, HashTable::with_capacity(room));
        if !rows.is_empty() {
            self.old = Some(Box::new(Old { rows, next: 0 }));
        }
    }

    /// Some more entries follow.
    #[inline]
    fn follow(&mut self) {
        if self.old.is_some() {
            self.follow_by(MOVES, PLACES);
        }
    }

    #[cold]
    fn follow_by(&mut self, mut moves: usize, mut places: usize) {
        let Some(old) = &mut self.old else {
            return;
        };
        let state = self.state;
        while moves > 0 && places > 0 && !old.rows.is_empty() {
            if let Ok(row) = old.rows.get_bucket_entry(old.next) {
                let (row, _) = row.remove();
                let hash = state.hash_one(&row.0);
                let rehash = |row: &(K, V)| state.hash_one(&row.0);
                self.rows.insert_unique(hash, row, rehash);
                moves -= 1;
            }
            old.next += 1;
            places -= 1;
        }
        if old.rows.is_empty() {
            self.old = None;
        }
    }
}

impl<K, V> Default for HashMap<K, V> {
    fn default() -> Self {
        HashMap {
            rows: HashTable::new(),
            old: None,
            state: FixedState::default(),
        }
    }
}

impl<K: Hash + Eq + Borrow<Q>, Q: Hash + Eq + ?Sized, V> std::ops::Index<&Q> for HashMap<K, V> {
    type Output = V;
    /// # Panics
    /// If there is no such key.
    fn index(&self, key: &Q) -> &V {
        match self.get(key) {
            Some(value) => value,
            None => panic!("no entry of this key"),
        }
    }
}

impl<K: fmt::Debug, V: fmt::Debug> fmt::Debug for HashMap<K, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

impl<K: Hash + Eq, V: PartialEq> PartialEq for HashMap<K, V> {
    fn eq(&self, other: &Self) -> bool {
        let same = |(key, value): (&K, &V)| other.get(key) == Some(value);
        self.len() == other.len() && self.iter().all(same)
    }
}

impl<K: Hash + Eq, V: Eq> Eq for HashMap<K, V> {}

impl<K: Hash + Eq, V> Extend<(K, V)> for HashMap<K, V> {
    fn extend<T: IntoIterator<Item = (K, V)>>(&mut self, entries: T) {
        for (key, value) in entries {
            self.insert(key, value);
        }
    }
}

impl<K: Hash + Eq, V> FromIterator<(K, V)> for HashMap<K, V> {
    fn from_iter<T: IntoIterator<Item = (K, V)>>(entries: T) -> Self {
        let mut map = HashMap::default();
        map.extend(entries);
        map
    }
}

#[cfg(test)]
mod tests;
