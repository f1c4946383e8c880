//! Rows named by slot and generation.

use std::fmt;

use crate::chunks::Chunks;
use crate::table::smaller;

/// The name of a row: a slot, and a generation that tells its successive tenants apart.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    slot: u32,
    generation: u32,
}

impl Id {
    /// From its parts, for names that travelled over a wire.
    pub const fn new(slot: u32, generation: u32) -> Self {
        Id { slot, generation }
    }

    /// The slot.
    pub const fn slot(self) -> u32 {
        self.slot
    }

    /// The generation.
    pub const fn generation(self) -> u32 {
        self.generation
    }
}

impl fmt::Debug for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

enum Slot<T> {
    /// In a list of those that are free, between two of them.
    Free {
        previous: Option<u32>,
        next: Option<u32>,
        generation: u32,
    },
    Used {
        generation: u32,
        value: T,
    },
}

/// A bounded table of rows with O(1) insert, look-up and removal: no row moves for another, however
/// many there are.
///
/// It gives its memory back once it is sparse: free slots at its end go, some thousands with a
/// removal, and then its room. Slots at the front are used first, so that the end comes free. The
/// generations go on where those of the slots were that went, and a name of before matches nothing.
pub struct Slab<T> {
    slots: Chunks<Slot<T>>,
    /// The first and the last of the free slots.
    free: Option<(u32, u32)>,
    /// The generation of slots that are added: no row had a later one.
    fresh: u32,
    len: usize,
    limit: usize,
}

/// Free slots that go with one removal, at most.
const GO: usize = 4096;

impl<T> Slab<T> {
    /// An empty table for at most `limit` rows.
    pub fn new(limit: usize) -> Self {
        Slab {
            slots: Chunks::default(),
            free: None,
            fresh: 0,
            len: 0,
            limit: limit.min(u32::MAX as usize),
        }
    }

    /// Rows in use.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no row is in use.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Whether [`Slab::insert`] would refuse.
    pub fn is_full(&self) -> bool {
        self.len >= self.limit
    }

    /// Adds a row; gives the value back if the table is full.
    ///
    /// # Errors
    /// The value itself, when `limit` rows are in use.
    pub fn insert(&mut self, value: T) -> Result<Id, T> {
        if self.is_full() {
            return Err(value);
        }
        self.len += 1;
        if let Some((slot, _)) = self.free {
            let generation = self.unlink(slot);
            if let Some(place) = self.at(Some(slot)) {
                *place = Slot::Used { generation, value };
            }
            return Ok(Id { slot, generation });
        }
        let (slot, generation) = (self.slots.len() as u32, self.fresh);
        self.slots.push(Slot::Used { generation, value });
        Ok(Id { slot, generation })
    }

    /// Takes a slot out of the list of free ones; gives its generation.
    fn unlink(&mut self, slot: u32) -> u32 {
        let Some(&mut Slot::Free {
            previous,
            next,
            generation,
        }) = self.at(Some(slot))
        else {
            unreachable!("the free list names used slots only by our own fault")
        };
        let ends = self.free.unwrap_or((slot, slot));
        if let Some(Slot::Free { next: other, .. }) = self.at(previous) {
            *other = next;
        }
        if let Some(Slot::Free {
            previous: other, ..
        }) = self.at(next)
        {
            *other = previous;
        }
        self.free = match (previous, next) {
            (None, None) => None,
            (None, Some(next)) => Some((next, ends.1)),
            (Some(previous), None) => Some((ends.0, previous)),
            _ => Some(ends),
        };
        generation
    }

    fn at(&mut self, slot: Option<u32>) -> Option<&mut Slot<T>> {
        self.slots.get_mut(slot? as usize)
    }

    /// What a slot becomes that is free now: one of the front is used again first, one of the back
    /// last.
    fn link(&mut self, slot: u32, generation: u32) -> Slot<T> {
        let Some((first, last)) = self.free else {
            self.free = Some((slot, slot));
            return Slot::Free {
                previous: None,
                next: None,
                generation,
            };
        };
        if (slot as usize) < self.slots.len() / 2 {
            if let Some(Slot::Free { previous, .. }) = self.at(Some(first)) {
                *previous = Some(slot);
            }
            self.free = Some((slot, last));
            return Slot::Free {
                previous: None,
                next: Some(first),
                generation,
            };
        }
        if let Some(Slot::Free { next, .. }) = self.at(Some(last)) {
            *next = Some(slot);
        }
        self.free = Some((first, slot));
        Slot::Free {
            previous: Some(last),
            next: None,
            generation,
        }
    }

    /// Lets free slots at the end go, and the room they had, if few rows are left.
    fn tighten(&mut self) {
        if smaller(self.len, self.slots.len()).is_none() {
            return;
        }
        if self.len == 0 {
            self.slots.clear();
            self.free = None;
        }
        for _ in 0..GO {
            let last = (self.slots.len() as u32).wrapping_sub(1);
            if !matches!(self.slots.last(), Some(Slot::Free { .. })) {
                break;
            }
            self.unlink(last);
            self.slots.pop();
        }
    }

    /// The row, if `id` still names it.
    pub fn get(&self, id: Id) -> Option<&T> {
        match self.slots.get(id.slot as usize) {
            Some(Slot::Used { generation, value }) if *generation == id.generation => Some(value),
            _ => None,
        }
    }

    /// The row, if `id` still names it.
    pub fn get_mut(&mut self, id: Id) -> Option<&mut T> {
        match self.slots.get_mut(id.slot as usize) {
            Some(Slot::Used { generation, value }) if *generation == id.generation => Some(value),
            _ => None,
        }
    }

    /// Takes the row out, if `id` still names it.
    pub fn remove(&mut self, id: Id) -> Option<T> {
        self.get(id)?;
        let generation = id.generation.wrapping_add(1);
        // Later, by the arithmetic of serial numbers (RFC 1982).
        if generation.wrapping_sub(self.fresh) < u32::MAX / 2 {
            self.fresh = generation;
        }
        let free = self.link(id.slot, generation);
        let old = std::mem::replace(self.at(Some(id.slot))?, free);
        self.len -= 1;
        self.tighten();
        match old {
            Slot::Used { value, .. } => Some(value),
            Slot::Free { .. } => None,
        }
    }

    /// Slots that there is room for.
    pub fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    /// Rows in slot order.
    pub fn iter(&self) -> impl Iterator<Item = (Id, &T)> {
        self.slots
            .iter()
            .enumerate()
            .filter_map(|(slot, s)| match s {
                Slot::Used { generation, value } => Some((
                    Id {
                        slot: slot as u32,
                        generation: *generation,
                    },
                    value,
                )),
                Slot::Free { .. } => None,
            })
    }

    /// Rows in slot order.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Id, &mut T)> {
        self.slots
            .iter_mut()
            .enumerate()
            .filter_map(|(slot, s)| match s {
                Slot::Used { generation, value } => Some((
                    Id {
                        slot: slot as u32,
                        generation: *generation,
                    },
                    value,
                )),
                Slot::Free { .. } => None,
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stale_id_never_matches_a_new_tenant() {
        let mut slab = Slab::new(2);
        let a = slab.insert("a").unwrap();
        slab.insert("b").unwrap();
        assert_eq!(slab.insert("c"), Err("c"));
        assert_eq!(slab.remove(a), Some("a"));
        let c = slab.insert("c").unwrap();
        assert_eq!(c.slot(), a.slot());
        assert_eq!((slab.get(a), slab.get(c)), (None, Some(&"c")));
        assert_eq!(slab.remove(a), None);
        assert_eq!(slab.iter().count(), 2);
    }

    #[test]
    fn a_slab_gives_its_room_back_and_no_old_name_matches() {
        let mut slab = Slab::new(50_000);
        let mut gone = Vec::new();
        for round in 0..3 {
            let ids: Vec<Id> = (0..50_000).map(|n| slab.insert(n).unwrap()).collect();
            assert!(slab.is_full());
            // All but a few in between, the last ones first and last.
            for (n, id) in ids.iter().enumerate().rev() {
                if n % 10_000 != 7 {
                    assert_eq!(slab.remove(*id), Some(n));
                }
            }
            assert_eq!(slab.len(), 5, "round {round}");
            for n in (0..5).map(|n| n * 10_000 + 7) {
                assert_eq!(slab.remove(ids[n]), Some(n));
            }
            // The next ones use the front; what is behind goes with them.
            for n in 0..10_000 {
                let id = slab.insert(n).unwrap();
                assert_eq!(slab.remove(id), Some(n));
                gone.push(id);
            }
            assert!(
                slab.capacity() <= 512,
                "{} in round {round}",
                slab.capacity()
            );
            gone.extend(ids);
        }
        let now: Vec<Id> = (0..1_000).map(|n| slab.insert(n).unwrap()).collect();
        assert!(gone.iter().all(|id| slab.get(*id).is_none()));
        let mut all = [gone, now].concat();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), count, "a name was given twice");
    }

    #[test]
    fn a_slab_is_a_table_whatever_comes_and_goes() {
        let (mut rng, mut slab) = (crate::Rng::from_number(3), Slab::new(3_000));
        let mut rows: Vec<(Id, u64)> = Vec::new();
        for step in 0..60_000u64 {
            // It fills up, and empties again.
            let adds = if step / 6_000 % 2 == 0 { 3 } else { 1 };
            if rng.below(4) < adds {
                match slab.insert(step) {
                    Ok(id) => rows.push((id, step)),
                    Err(_) => assert_eq!(rows.len(), 3_000),
                }
            } else if !rows.is_empty() {
                let (id, value) = rows.swap_remove(rng.below(rows.len() as u64) as usize);
                assert_eq!(slab.remove(id), Some(value));
                assert_eq!(slab.remove(id), None);
            }
            assert_eq!(slab.len(), rows.len());
        }
        assert!(rows.iter().all(|(id, value)| slab.get(*id) == Some(value)));
        let mut found: Vec<Id> = slab.iter().map(|(id, _)| id).collect();
        let mut wanted: Vec<Id> = rows.iter().map(|(id, _)| *id).collect();
        found.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(found, wanted);
    }
}
