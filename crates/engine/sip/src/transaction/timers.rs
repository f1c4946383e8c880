//! The timers of RFC 3261 table 4 and RFC 6026 §7.1, and two bounds of our own.

use std::time::Duration;

/// The three values all timers follow from (RFC 3261 §17.1.1.1) and the bound on a ringing INVITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Times {
    /// Estimated round trip. Default 500 ms.
    pub t1: Duration,
    /// Longest interval between retransmissions of a non-INVITE request or an INVITE response.
    /// Default 4 s.
    pub t2: Duration,
    /// How long a message may stay in the network. Default 5 s.
    pub t4: Duration,
    /// How long an INVITE may stay without a further response, provisional or final, before its
    /// row is given up. Well above Timer C, which the transaction user runs. Default 600 s.
    pub patience: Duration,
}

impl Default for Times {
    fn default() -> Self {
        Times {
            t1: Duration::from_millis(500),
            t2: Duration::from_secs(4),
            t4: Duration::from_secs(5),
            patience: Duration::from_secs(600),
        }
    }
}

/// A timer by its letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Timer {
    /// INVITE request retransmission, unreliable only, doubling from T1.
    A,
    /// INVITE request timeout, 64*T1.
    B,
    /// Wait for retransmitted responses to an INVITE: 32 s at least, 0 on a reliable flow.
    D,
    /// Non-INVITE request retransmission, unreliable only, doubling from T1 up to T2.
    E,
    /// Non-INVITE request retransmission once a provisional has come: every T2.
    E2,
    /// Non-INVITE transaction timeout, 64*T1.
    F,
    /// INVITE response retransmission, unreliable only, doubling from T1 up to T2.
    G,
    /// Wait for an ACK, 64*T1.
    H,
    /// Wait for retransmitted ACKs, T4, 0 on a reliable flow.
    I,
    /// Wait for retransmitted requests, 64*T1, 0 on a reliable flow.
    J,
    /// Wait for retransmitted responses, T4, 0 on a reliable flow.
    K,
    /// Wait for retransmitted INVITEs and 2xx from proxies downstream, 64*T1 (RFC 6026 §7.1).
    L,
    /// Wait for retransmitted and further 2xx, 64*T1 (RFC 6026 §7.2).
    M,
    /// 200 ms until the server sends a 100 of its own (RFC 3261 §17.2.1).
    Trying,
    /// How long a cancelled INVITE may stay without a final response, 64*T1 (RFC 3261 §9.1).
    Cancelled,
    /// How long a transaction user may sit on a non-INVITE request, 64*T1; by then the client
    /// has given up (RFC 4320 §4.2).
    Unanswered,
    /// How long an INVITE may ring without a sign of life, [`Times::patience`].
    Patience,
}

impl Timer {
    /// Whether it fires more than once, in the slot of its own.
    pub(super) fn retransmits(self) -> bool {
        matches!(
            self,
            Timer::A | Timer::E | Timer::E2 | Timer::G | Timer::Trying
        )
    }

    /// Its length when armed for the `round`th time in a row (from 0); `None` if it is not used
    /// on such a flow.
    pub(super) fn length(self, times: &Times, reliable: bool, round: u32) -> Option<Duration> {
        let doubled = times
            .t1
            .saturating_mul(1u32.checked_shl(round).unwrap_or(u32::MAX));
        let wait = |unreliable| Some(if reliable { Duration::ZERO } else { unreliable });
        match self {
            Timer::A | Timer::E | Timer::E2 | Timer::G if reliable => None,
            Timer::A => Some(doubled),
            Timer::E | Timer::G => Some(doubled.min(times.t2)),
            Timer::E2 => Some(times.t2),
            Timer::B | Timer::F | Timer::H | Timer::L | Timer::M => Some(times.t1 * 64),
            Timer::Cancelled | Timer::Unanswered => Some(times.t1 * 64),
            Timer::D => wait((times.t1 * 64).max(Duration::from_secs(32))),
            Timer::I | Timer::K => wait(times.t4),
            Timer::J => wait(times.t1 * 64),
            Timer::Trying => Some(Duration::from_millis(200)),
            Timer::Patience => Some(times.patience),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_follow_table_4_of_rfc_3261() {
        let times = Times::default();
        let ms = |n| Some(Duration::from_millis(n));
        let table = [
            (Timer::A, false, 0, ms(500)),
            (Timer::A, false, 3, ms(4_000)),
            (Timer::A, false, 5, ms(16_000)),
            (Timer::A, true, 0, None),
            (Timer::B, true, 0, ms(32_000)),
            (Timer::D, false, 0, ms(32_000)),
            (Timer::D, true, 0, ms(0)),
            (Timer::E, false, 5, ms(4_000)),
            (Timer::E2, false, 0, ms(4_000)),
            (Timer::F, false, 0, ms(32_000)),
            (Timer::G, false, 1, ms(1_000)),
            (Timer::G, false, 40, ms(4_000)),
            (Timer::G, true, 0, None),
            (Timer::H, true, 0, ms(32_000)),
            (Timer::I, false, 0, ms(5_000)),
            (Timer::I, true, 0, ms(0)),
            (Timer::J, false, 0, ms(32_000)),
            (Timer::J, true, 0, ms(0)),
            (Timer::K, false, 0, ms(5_000)),
            (Timer::K, true, 0, ms(0)),
            (Timer::L, true, 0, ms(32_000)),
            (Timer::M, false, 0, ms(32_000)),
        ];
        for (timer, reliable, round, expected) in table {
            assert_eq!(
                timer.length(&times, reliable, round),
                expected,
                "{timer:?} {reliable}"
            );
        }
    }
}
