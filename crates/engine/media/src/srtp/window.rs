//! Packet indices and replays (RFC 3711 §3.3).

/// How far back a packet may come late.
pub const WINDOW: u64 = 128;

/// The highest index of a source, and which of the [`WINDOW`] below it were seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Window {
    highest: Option<u64>,
    seen: u128,
}

impl Window {
    /// The index a sequence number most likely has (RFC 3711 appendix A).
    pub(super) fn guess(&self, sequence: u16) -> u64 {
        let Some(highest) = self.highest else {
            return u64::from(sequence);
        };
        let (roc, last) = (highest >> 16, highest as u16);
        let roc = if last < 0x8000 {
            if i32::from(sequence) - i32::from(last) > 0x8000 {
                roc.wrapping_sub(1)
            } else {
                roc
            }
        } else if i32::from(last) - 0x8000 > i32::from(sequence) {
            roc + 1
        } else {
            roc
        };
        // Before the first rollover there is nothing below zero: the packet is of this round.
        let roc = if roc == u64::MAX { 0 } else { roc };
        roc << 16 | u64::from(sequence)
    }

    /// The index after the highest.
    pub(super) fn next(&self) -> u64 {
        self.highest.map_or(1, |h| (h + 1) & 0x7fff_ffff)
    }

    /// Whether an index was seen, or is too old to know.
    pub(super) fn seen(&self, index: u64) -> bool {
        let Some(highest) = self.highest else {
            return false;
        };
        if index > highest {
            return false;
        }
        let back = highest - index;
        back >= WINDOW || self.seen >> back & 1 == 1
    }

    /// Takes note of an index.
    pub(super) fn commit(&mut self, index: u64) {
        match self.highest {
            Some(highest) if index <= highest => {
                let back = highest - index;
                if back < WINDOW {
                    self.seen |= 1 << back;
                }
            }
            Some(highest) => {
                let ahead = index - highest;
                self.seen = if ahead < WINDOW {
                    self.seen << ahead | 1
                } else {
                    1
                };
                self.highest = Some(index);
            }
            None => {
                self.highest = Some(index);
                self.seen = 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_follow_sequence_numbers_over_wraps_and_reordering() {
        let mut w = Window::default();
        for (sequence, index) in [
            (65530u16, 65530u64),
            (65535, 65535),
            (2, 65538),
            (65534, 65534),
            (3, 65539),
        ] {
            assert_eq!(w.guess(sequence), index);
            assert!(!w.seen(index));
            w.commit(index);
            assert!(w.seen(index));
        }
        assert!(w.seen(65539 - WINDOW) && !w.seen(65539 - WINDOW + 1));
    }
}
