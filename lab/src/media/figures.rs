//! What a stream counts, and what was heard on it.

use std::time::Instant;

use serde::Serialize;

use super::tone;

/// Counts of one stream.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Figures {
    /// RTP packets sent.
    pub(crate) sent: u64,
    /// RTP packets received and, over SRTP, authenticated.
    pub(crate) received: u64,
    /// Packets that the sequence numbers say are missing.
    pub(crate) lost: u64,
    /// Packets whose authentication tag was wrong, or that could not be read.
    pub(crate) refused: u64,
    /// RTCP reports received.
    pub(crate) reports: u64,
    /// Interarrival jitter in milliseconds (RFC 3550 §6.4.1).
    pub(crate) jitter_ms: f64,
    /// Largest pause between two packets, in milliseconds, pauses of a hold left out.
    pub(crate) gap_ms: f64,
}

/// What a party heard in a stretch of time.
#[derive(Clone, Copy, Debug, Serialize)]
pub(crate) struct Heard {
    /// Samples it is judged by.
    pub(crate) samples: usize,
    /// Share of the tone that was expected.
    pub(crate) expected: f64,
    /// Share of the listener's own tone, which would be an echo.
    pub(crate) own: f64,
    /// Share of the expected tone in the payload as it crossed the wire, before decryption.
    pub(crate) on_the_wire: f64,
    /// Bytes of a packet on the wire: 172 is plain RTP, 182 carries an 80-bit tag.
    pub(crate) packet_bytes: usize,
}

impl Heard {
    /// Whether the expected tone is what was heard, and nothing of one's own.
    pub(crate) fn is_clear(&self) -> bool {
        self.expected > 0.8 && self.own < 0.1
    }

    /// Whether the wire showed no tone and a tag.
    pub(crate) fn was_encrypted(&self) -> bool {
        self.on_the_wire < 0.2 && self.packet_bytes == tone::PACKET_SAMPLES + 12 + 10
    }

    /// Whether the wire showed the plain tone.
    pub(crate) fn was_plain(&self) -> bool {
        self.on_the_wire > 0.8 && self.packet_bytes == tone::PACKET_SAMPLES + 12
    }
}

/// Sequence numbers and times of arrival of one source.
#[derive(Debug)]
pub(super) struct Arrivals {
    ssrc: u32,
    highest: u16,
    last: Instant,
    timestamp: u32,
    jitter: f64,
}

impl Arrivals {
    pub(super) fn first(ssrc: u32, sequence: u16, timestamp: u32, now: Instant) -> Arrivals {
        Arrivals {
            ssrc,
            highest: sequence,
            last: now,
            timestamp,
            jitter: 0.0,
        }
    }

    /// Counts a packet; `false` if it is of another source and counting begins anew.
    pub(super) fn count(
        &mut self,
        (ssrc, sequence, timestamp): (u32, u16, u32),
        now: Instant,
        figures: &mut Figures,
    ) -> bool {
        if ssrc != self.ssrc {
            return false;
        }
        let ahead = sequence.wrapping_sub(self.highest);
        if ahead == 0 || ahead >= 0x8000 {
            // Late: it was counted as lost when a later one came.
            figures.lost = figures.lost.saturating_sub(u64::from(ahead != 0));
            return true;
        }
        figures.lost += u64::from(ahead - 1);
        self.highest = sequence;
        let arrived = now.duration_since(self.last).as_secs_f64();
        let played = f64::from(timestamp.wrapping_sub(self.timestamp)) / f64::from(tone::RATE_HZ);
        self.jitter += ((arrived - played).abs() - self.jitter) / 16.0;
        figures.jitter_ms = self.jitter * 1000.0;
        // A hold shows as a jump of the timestamp and is no gap.
        if played < 0.1 {
            figures.gap_ms = figures.gap_ms.max(arrived * 1000.0);
        }
        (self.last, self.timestamp) = (now, timestamp);
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn arrivals_count_what_is_missing_and_take_back_what_comes_late() {
        let start = Instant::now();
        let mut figures = Figures::default();
        let mut arrivals = Arrivals::first(1, 65_534, 0, start);
        let packet = |n: u16| (1, 65_534_u16.wrapping_add(n), u32::from(n) * 160);
        let at = |n: u64| start + Duration::from_millis(20 * n);
        assert!(arrivals.count(packet(1), at(1), &mut figures));
        assert!(arrivals.count(packet(4), at(4), &mut figures));
        assert_eq!(figures.lost, 2);
        assert!(arrivals.count(packet(3), at(4), &mut figures));
        assert_eq!(figures.lost, 1);
        assert!(figures.jitter_ms < 0.01);
        assert!(!arrivals.count((2, 0, 0), at(5), &mut figures));
    }
}
