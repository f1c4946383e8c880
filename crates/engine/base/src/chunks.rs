//! A list in pieces, so that what is in it never moves.
//!
//! In: entries at its end. Out: entries by their number. A list of the standard library moves all
//! its entries when it grows; here at most [`SIZE`] of them do, while they are the first ones.
//! Pieces that are empty give their memory back.

/// Entries of a piece. A power of two.
const SIZE: usize = 256;

/// A list that grows and shrinks at its end.
pub(crate) struct Chunks<T> {
    /// All but the last are full; none is empty.
    pieces: Vec<Vec<T>>,
}

impl<T> Default for Chunks<T> {
    fn default() -> Self {
        Chunks { pieces: Vec::new() }
    }
}

impl<T> Chunks<T> {
    pub(crate) fn len(&self) -> usize {
        let before = self.pieces.len().saturating_sub(1) * SIZE;
        before + self.pieces.last().map_or(0, Vec::len)
    }

    /// Entries that there is room for.
    pub(crate) fn capacity(&self) -> usize {
        self.pieces.iter().map(Vec::capacity).sum()
    }

    pub(crate) fn push(&mut self, entry: T) {
        match self.pieces.last_mut() {
            Some(last) if last.len() < SIZE => last.push(entry),
            last => {
                let first = last.is_none();
                let mut piece = Vec::with_capacity(if first { 4 } else { SIZE });
                piece.push(entry);
                self.pieces.push(piece);
            }
        }
    }

    pub(crate) fn pop(&mut self) -> Option<T> {
        let last = self.pieces.last_mut()?;
        let entry = last.pop();
        if last.is_empty() {
            self.pieces.pop();
        }
        entry
    }

    pub(crate) fn clear(&mut self) {
        self.pieces = Vec::new();
    }

    pub(crate) fn last(&self) -> Option<&T> {
        self.pieces.last()?.last()
    }

    #[inline]
    pub(crate) fn get(&self, number: usize) -> Option<&T> {
        self.pieces.get(number / SIZE)?.get(number % SIZE)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, number: usize) -> Option<&mut T> {
        self.pieces.get_mut(number / SIZE)?.get_mut(number % SIZE)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.pieces.iter().flatten()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.pieces.iter_mut().flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_stay_where_they_are_while_the_list_grows_and_shrinks() {
        let mut list = Chunks::default();
        let at = |list: &Chunks<usize>, n: usize| list.get(n).map(std::ptr::from_ref);
        let mut places = Vec::new();
        for n in 0..10_000 {
            list.push(n);
            if n + 1 == SIZE {
                places = (0..SIZE).map(|n| at(&list, n)).collect();
            } else if n >= SIZE {
                places.push(at(&list, n));
            }
        }
        assert_eq!((list.len(), list.get(10_000)), (10_000, None));
        assert!((0..10_000).all(|n| at(&list, n) == places[n]));
        assert!(list.iter().copied().eq(0..10_000));
        for n in (300..10_000).rev() {
            assert_eq!(list.last().copied(), Some(n));
            assert_eq!(list.pop(), Some(n));
        }
        assert_eq!((list.len(), list.capacity()), (300, 2 * SIZE));
        assert!((0..300).all(|n| at(&list, n) == places[n]));
        list.iter_mut().for_each(|n| *n += 1);
        assert_eq!(list.get_mut(299), Some(&mut 300));
        while list.pop().is_some() {}
        assert_eq!((list.len(), list.capacity()), (0, 0));
    }
}
