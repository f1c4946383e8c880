//! What happened, in order: a hash of all of it, and the last lines for people.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hasher};

/// Lines kept for a failing run, unless one seed is replayed.
const LINES_MAX: usize = 400;

/// A run's trace.
pub struct Trace {
    hasher: DefaultHasher,
    lines: VecDeque<String>,
    whole: bool,
    count: u64,
}

impl Trace {
    /// An empty one; `whole` keeps every line.
    pub fn new(whole: bool) -> Trace {
        Trace {
            hasher: DefaultHasher::new(),
            lines: VecDeque::new(),
            whole,
            count: 0,
        }
    }

    /// Notes that something happened.
    pub fn note(&mut self, at: u64, line: &str) {
        self.count += 1;
        self.hasher.write_u64(at);
        self.hasher.write(line.as_bytes());
        if !self.whole && self.lines.len() >= LINES_MAX {
            self.lines.pop_front();
        }
        let (seconds, micros) = (at / 1_000_000, at % 1_000_000);
        self.lines
            .push_back(format!("{seconds:>6}.{micros:06} {line}"));
    }

    /// Notes bytes that no line shows.
    pub fn bytes(&mut self, bytes: &[u8]) {
        self.hasher.write(bytes);
    }

    /// The hash of everything so far.
    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    /// How many things happened.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The lines kept.
    pub fn lines(&self) -> impl Iterator<Item = &str> {
        self.lines.iter().map(String::as_str)
    }
}
