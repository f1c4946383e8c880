//! A bounded queue.

use std::collections::VecDeque;

use crate::table::smaller;

/// Room that a queue keeps for its next burst, in entries.
const BURST: usize = 256;

/// The value that did not fit.
#[derive(Debug, PartialEq, Eq)]
pub struct Full<T>(pub T);

/// First in, first out, at most `limit` entries.
///
/// It is kept in pieces of `BURST` entries: none moves for another, and a piece that is through
/// gives its memory back.
#[derive(Debug)]
pub struct Queue<T> {
    /// All but the last are full, or were; all but the first have entries.
    pieces: VecDeque<VecDeque<T>>,
    len: usize,
    limit: usize,
    refused: u64,
}

impl<T> Queue<T> {
    /// An empty queue for at most `limit` entries.
    pub fn new(limit: usize) -> Self {
        Queue {
            pieces: VecDeque::new(),
            len: 0,
            limit,
            refused: 0,
        }
    }

    /// Adds at the end.
    ///
    /// # Errors
    /// [`Full`] with the value, counted in [`Queue::refused`].
    pub fn push(&mut self, value: T) -> Result<(), Full<T>> {
        if self.len >= self.limit {
            self.refused += 1;
            return Err(Full(value));
        }
        self.len += 1;
        match self.pieces.back_mut() {
            Some(last) if last.len() < BURST => last.push_back(value),
            _ => self.pieces.push_back(VecDeque::from([value])),
        }
        Ok(())
    }

    /// Takes from the front.
    pub fn pop(&mut self) -> Option<T> {
        let first = self.pieces.front_mut()?;
        let value = first.pop_front()?;
        self.len -= 1;
        if first.is_empty() && self.len > 0 {
            self.pieces.pop_front();
            tighten(&mut self.pieces);
        }
        Some(value)
    }

    /// Entries waiting.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many pushes were refused since the start.
    pub fn refused(&self) -> u64 {
        self.refused
    }
}

/// Gives room back that a burst has left in a queue from which entries are being taken.
#[inline]
pub fn tighten<T>(entries: &mut VecDeque<T>) {
    if entries.capacity() > BURST
        && let Some(room) = smaller(entries.len(), entries.capacity())
    {
        entries.shrink_to(room);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_is_a_typed_outcome_and_is_counted() {
        let mut q = Queue::new(1);
        assert_eq!(q.push(1), Ok(()));
        assert_eq!(q.push(2), Err(Full(2)));
        assert_eq!((q.pop(), q.pop(), q.refused()), (Some(1), None, 1));
    }

    #[test]
    fn a_queue_gives_back_what_a_burst_has_left() {
        let mut q = Queue::new(100_000);
        for n in 0..50_000 {
            q.push(n).unwrap();
        }
        assert!((0..50_000).all(|n| q.pop() == Some(n)));
        let room: usize = q.pieces.iter().map(VecDeque::capacity).sum();
        assert!(room <= 2 * BURST && q.pieces.len() == 1 && q.is_empty());
    }

    #[test]
    fn a_queue_is_a_queue_whatever_comes_and_goes() {
        let (mut rng, mut q) = (crate::Rng::from_number(5), Queue::new(3_000));
        let mut wanted = VecDeque::new();
        for step in 0..60_000u64 {
            let adds = if step / 6_000 % 2 == 0 { 3 } else { 1 };
            if rng.below(4) < adds {
                match q.push(step) {
                    Ok(()) => wanted.push_back(step),
                    Err(Full(value)) => assert_eq!((value, wanted.len()), (step, 3_000)),
                }
            } else {
                assert_eq!(q.pop(), wanted.pop_front());
            }
            assert_eq!((q.len(), q.is_empty()), (wanted.len(), wanted.is_empty()));
            assert!(q.pieces.iter().all(|piece| piece.capacity() <= BURST));
        }
    }
}
