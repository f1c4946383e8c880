//! Rows named by slot and generation.

use std::fmt;

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
    Free { next: Option<u32>, generation: u32 },
    Used { generation: u32, value: T },
}

/// A bounded table of rows with O(1) insert, look-up and removal.
pub struct Slab<T> {
    slots: Vec<Slot<T>>,
    free: Option<u32>,
    len: usize,
    limit: usize,
}

impl<T> Slab<T> {
    /// An empty table for at most `limit` rows.
    pub fn new(limit: usize) -> Self {
        Slab {
            slots: Vec::new(),
            free: None,
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
        if let Some(slot) = self.free {
            let entry = &mut self.slots[slot as usize];
            let Slot::Free { next, generation } = *entry else {
                unreachable!("the free list names used slots only by our own fault")
            };
            self.free = next;
            *entry = Slot::Used { generation, value };
            Ok(Id { slot, generation })
        } else {
            let slot = self.slots.len() as u32;
            self.slots.push(Slot::Used {
                generation: 0,
                value,
            });
            Ok(Id {
                slot,
                generation: 0,
            })
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
        let next = Slot::Free {
            next: self.free,
            generation: id.generation.wrapping_add(1),
        };
        let old = std::mem::replace(&mut self.slots[id.slot as usize], next);
        self.free = Some(id.slot);
        self.len -= 1;
        match old {
            Slot::Used { value, .. } => Some(value),
            Slot::Free { .. } => None,
        }
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
}
