//! RTP headers (RFC 3550 §5.1), and RTCP told from RTP (RFC 5761 §4).

use crate::Component;

/// What a datagram on a media port is (RFC 7983).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// RTP or SRTP.
    Rtp,
    /// RTCP or SRTCP.
    Rtcp,
    /// STUN, DTLS, or something else that is not relayed.
    Other,
}

/// Whether a packet is what a component's socket takes.
pub(crate) fn fits(component: Component, packet: &[u8]) -> bool {
    matches!(
        (kind(packet), component),
        (Kind::Rtp, Component::Rtp) | (Kind::Rtcp, Component::Rtcp)
    )
}

/// What a datagram is, by its first two bytes.
pub fn kind(packet: &[u8]) -> Kind {
    match packet {
        [first, second, ..] if (128..192).contains(first) && packet.len() >= 8 => {
            if (192..=223).contains(second) {
                Kind::Rtcp
            } else if packet.len() >= 12 {
                Kind::Rtp
            } else {
                Kind::Other
            }
        }
        _ => Kind::Other,
    }
}

/// The fields of an RTP header that a relay reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Sequence number.
    pub sequence: u16,
    /// Timestamp.
    pub timestamp: u32,
    /// Synchronisation source.
    pub ssrc: u32,
    /// Where the payload begins: after CSRCs and the extension.
    pub payload: usize,
}

impl Header {
    /// Reads a header; `None` if it is cut short.
    pub fn parse(packet: &[u8]) -> Option<Header> {
        let fixed = packet.first_chunk::<12>()?;
        if fixed[0] >> 6 != 2 {
            return None;
        }
        let csrcs = usize::from(fixed[0] & 0x0f);
        let mut payload = 12 + 4 * csrcs;
        if fixed[0] & 0x10 != 0 {
            let extension = packet.get(payload..payload + 4)?;
            let words = u16::from_be_bytes([extension[2], extension[3]]);
            payload += 4 + 4 * usize::from(words);
        }
        if payload > packet.len() {
            return None;
        }
        Some(Header {
            sequence: u16::from_be_bytes([fixed[2], fixed[3]]),
            timestamp: u32::from_be_bytes([fixed[4], fixed[5], fixed[6], fixed[7]]),
            ssrc: u32::from_be_bytes([fixed[8], fixed[9], fixed[10], fixed[11]]),
            payload,
        })
    }
}

/// Counts one direction as RFC 3550 appendix A does.
#[derive(Clone, Copy, Debug, Default)]
pub struct Meter {
    /// The figures.
    pub direction: crate::Direction,
    ssrc: u32,
    first: Option<u64>,
    highest: u64,
    received: u64,
    lost_before: u64,
    transit: i64,
    jitter: f64,
}

impl Meter {
    /// Takes note of an RTP packet.
    pub fn rtp(&mut self, now: base::Instant, packet: &[u8]) {
        self.direction.packets += 1;
        self.direction.bytes += packet.len() as u64;
        let Some(header) = Header::parse(packet) else {
            return;
        };
        let arrival = (now.as_micros() / 125) as i64;
        let transit = arrival - i64::from(header.timestamp);
        if self.first.is_none() || self.ssrc != header.ssrc {
            self.lost_before = self.direction.lost;
            self.ssrc = header.ssrc;
            self.first = Some(u64::from(header.sequence));
            self.highest = u64::from(header.sequence);
            self.received = 1;
            self.transit = transit;
            return;
        }
        let step = header.sequence.wrapping_sub(self.highest as u16) as i16;
        if step > 0 {
            self.highest += step as u64;
        }
        self.received += 1;
        let expected = self.highest + 1 - self.first.unwrap_or(self.highest);
        self.direction.lost = self.lost_before + expected.saturating_sub(self.received);
        let d = (transit - self.transit).unsigned_abs() as f64;
        self.transit = transit;
        self.jitter += (d - self.jitter) / 16.0;
        self.direction.jitter_us = (self.jitter * 125.0) as u32;
    }

    /// Takes note of a datagram that is no RTP.
    pub fn datagram(&mut self, packet: &[u8]) {
        self.direction.packets += 1;
        self.direction.bytes += packet.len() as u64;
    }

    /// Takes note of an RTCP packet.
    pub fn rtcp(&mut self, packet: &[u8]) {
        self.direction.bytes += packet.len() as u64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Instant;

    fn packet(sequence: u16, timestamp: u32) -> Vec<u8> {
        let mut p = vec![0x80, 0];
        p.extend(sequence.to_be_bytes());
        p.extend(timestamp.to_be_bytes());
        p.extend(7u32.to_be_bytes());
        p.extend([0; 160]);
        p
    }

    #[test]
    fn kinds_are_told_apart() {
        assert_eq!(kind(&packet(1, 1)), Kind::Rtp);
        assert_eq!(kind(&[0x80, 200, 0, 1, 0, 0, 0, 0]), Kind::Rtcp);
        for other in [
            &[][..],
            &[0x80],
            &[0x80, 0, 1],
            &[0, 1, 0, 0, 0, 0, 0, 0, 0],
            &[22; 40],
        ] {
            assert_eq!(kind(other), Kind::Other);
        }
    }

    #[test]
    fn headers_with_csrcs_and_extensions_are_read_and_short_ones_refused() {
        let mut p = packet(1, 1);
        assert_eq!(Header::parse(&p).unwrap().payload, 12);
        p[0] = 0x92;
        p[22] = 0;
        p[23] = 3;
        assert_eq!(Header::parse(&p).unwrap().payload, 12 + 8 + 4 + 12);
        p[23] = 200;
        assert_eq!(Header::parse(&p), None);
        assert_eq!(Header::parse(&p[..11]), None);
    }

    #[test]
    fn loss_and_jitter_are_counted_across_a_wrap() {
        let mut m = Meter::default();
        for (i, sequence) in [65534u16, 65535, 1, 2, 0].into_iter().enumerate() {
            let i = i as u64;
            m.rtp(
                Instant::from_micros(i * 20_000),
                &packet(sequence, i as u32 * 160),
            );
        }
        assert_eq!(
            (m.direction.packets, m.direction.lost, m.direction.jitter_us),
            (5, 0, 0)
        );
        m.rtp(Instant::from_micros(0), &packet(9, 800));
        assert_eq!(m.direction.lost, 6);
        assert!(m.direction.jitter_us > 0);
    }
}
