//! A bounded queue.

use std::collections::VecDeque;

use crate::table::smaller;

/// Room that a queue keeps for its next burst, in entries.
const BURST: usize = 256;

/// The value that did not fit.
#[derive(Debug, PartialEq, Eq)]
pub struct Full<T>(pub T);

/// First in, first out, at most `limit` entries.
#[derive(Debug)]
pub struct Queue<T> {
    entries: VecDeque<T>,
    limit: usize,
    refused: u64,
}

impl<T> Queue<T> {
    /// An empty queue for at most `limit` entries.
    pub fn new(limit: usize) -> Self {
        Queue {
            entries: VecDeque::new(),
            limit,
            refused: 0,
        }
    }

    /// Adds at the end.
    ///
    /// # Errors
    /// [`Full`] with the value, counted in [`Queue::refused`].
    pub fn push(&mut self, value: T) -> Result<(), Full<T>> {
        if self.entries.len() >= self.limit {
            self.refused += 1;
            return Err(Full(value));
        }
        self.entries.push_back(value);
        Ok(())
    }

    /// Takes from the front.
    pub fn pop(&mut self) -> Option<T> {
        let value = self.entries.pop_front();
        tighten(&mut self.entries);
        value
    }

    /// Entries waiting.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing waits.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
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
        assert!(q.entries.capacity() <= 2 * BURST);
    }
}
