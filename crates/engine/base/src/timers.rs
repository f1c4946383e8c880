//! What is due, in order.

use std::collections::BTreeMap;

use crate::Instant;

/// Names one armed timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimerId {
    at: Instant,
    sequence: u64,
}

/// Armed timers, each with a value; equal times fire in the order they were armed.
///
/// Bounded by what arms it: every row of an engine arms a fixed number.
#[derive(Debug)]
pub struct Timers<T> {
    armed: BTreeMap<TimerId, T>,
    sequence: u64,
}

impl<T> Default for Timers<T> {
    fn default() -> Self {
        Timers {
            armed: BTreeMap::new(),
            sequence: 0,
        }
    }
}

impl<T> Timers<T> {
    /// Arms a timer that is due `at`.
    pub fn arm(&mut self, at: Instant, value: T) -> TimerId {
        let id = TimerId {
            at,
            sequence: self.sequence,
        };
        self.sequence += 1;
        self.armed.insert(id, value);
        id
    }

    /// Disarms a timer; `None` if it fired or was disarmed before.
    pub fn disarm(&mut self, id: TimerId) -> Option<T> {
        self.armed.remove(&id)
    }

    /// When the next timer is due.
    pub fn next(&self) -> Option<Instant> {
        self.armed.keys().next().map(|id| id.at)
    }

    /// Takes the next timer that is due at `now`.
    pub fn pop(&mut self, now: Instant) -> Option<(TimerId, T)> {
        let (id, _) = self.armed.first_key_value()?;
        if id.at > now {
            None
        } else {
            self.armed.pop_first()
        }
    }

    /// Timers armed.
    pub fn len(&self) -> usize {
        self.armed.len()
    }

    /// Whether no timer is armed.
    pub fn is_empty(&self) -> bool {
        self.armed.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timers_fire_in_order_and_not_once_disarmed() {
        let at = Instant::from_micros;
        let mut timers = Timers::default();
        timers.arm(at(20), 'b');
        let gone = timers.arm(at(15), 'x');
        timers.arm(at(10), 'a');
        timers.arm(at(20), 'c');
        assert_eq!(timers.disarm(gone), Some('x'));
        assert_eq!(timers.next(), Some(at(10)));
        let mut fired = Vec::new();
        while let Some((_, v)) = timers.pop(at(20)) {
            fired.push(v);
        }
        assert_eq!(fired, ['a', 'b', 'c']);
        assert!(timers.is_empty());
    }
}
