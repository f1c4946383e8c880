//! What one hop has carried, and what of it was lost.

use super::Greeting;

/// One hop's figures.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Meter {
    sent: u32,
    received: u32,
    /// At the last greeting: the other end's figures, and ours.
    last: Option<(Greeting, u32, u32)>,
    loss_permille: u16,
}

impl Meter {
    pub(super) fn sent(&mut self, frames: u32) {
        self.sent = self.sent.wrapping_add(frames);
    }

    pub(super) fn received(&mut self) {
        self.received = self.received.wrapping_add(1);
    }

    pub(super) fn greeting(&self, clock: u64, round_trip_us: u32) -> Greeting {
        Greeting {
            clock,
            sent: self.sent,
            received: self.received,
            round_trip_us,
        }
    }

    /// The other end has greeted.
    pub(super) fn compare(&mut self, theirs: Greeting) {
        if let Some((then, sent, received)) = self.last {
            let inwards = lost(
                theirs.sent.wrapping_sub(then.sent),
                self.received.wrapping_sub(received),
            );
            let outwards = lost(
                self.sent.wrapping_sub(sent),
                theirs.received.wrapping_sub(then.received),
            );
            self.loss_permille = inwards.max(outwards);
        }
        self.last = Some((theirs, self.sent, self.received));
    }

    /// Figures of an end that has started over are not compared with older ones.
    pub(super) fn forget(&mut self) {
        self.last = None;
        self.loss_permille = 0;
    }

    pub(super) fn loss_permille(&self) -> u16 {
        self.loss_permille
    }
}

/// Thousandths of `sent` that are not in `received`. Frames under way make either figure run a
/// little ahead, which is no loss worth a word below [`SAMPLE_MIN`]; a figure that jumps is of an
/// end that has started over.
fn lost(sent: u32, received: u32) -> u16 {
    if !(SAMPLE_MIN..=SAMPLE_MAX).contains(&sent) {
        return 0;
    }
    let missing = u64::from(sent.saturating_sub(received));
    u16::try_from(missing * 1000 / u64::from(sent)).unwrap_or(1000)
}

const SAMPLE_MIN: u32 = 50;
const SAMPLE_MAX: u32 = 1 << 28;
