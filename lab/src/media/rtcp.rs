//! The compound RTCP packet that a sender of RTP owes: a sender report and a name (RFC 3550 §6).

use std::time::{SystemTime, UNIX_EPOCH};

/// Seconds from 1900 to 1970.
const NTP_OFFSET_S: u64 = 2_208_988_800;

/// A sender report without report blocks, and an SDES item with the canonical name.
pub(crate) fn report(ssrc: u32, timestamp: u32, packets: u32, octets: u32, name: &str) -> Vec<u8> {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    let seconds = (now.as_secs() + NTP_OFFSET_S) as u32;
    let fraction = (u64::from(now.subsec_nanos()) << 32) / 1_000_000_000;
    let mut packet = vec![0x80, 200, 0, 6];
    for word in [ssrc, seconds, fraction as u32, timestamp, packets, octets] {
        packet.extend(word.to_be_bytes());
    }
    let name = &name.as_bytes()[..name.len().min(200)];
    let mut chunk = ssrc.to_be_bytes().to_vec();
    chunk.extend([1, name.len() as u8]);
    chunk.extend(name);
    // The list of items ends with at least one zero, and the chunk at a word (RFC 3550 §6.5).
    chunk.resize((chunk.len() / 4 + 1) * 4, 0);
    packet.extend([0x81, 202]);
    packet.extend(((chunk.len() / 4) as u16).to_be_bytes());
    packet.extend(chunk);
    packet
}

/// Whether the bytes are a compound packet that begins with a report, as it must.
pub(crate) fn is_report(packet: &[u8]) -> bool {
    packet.len() >= 8 && packet[0] >> 6 == 2 && matches!(packet[1], 200 | 201)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn report_has_whole_words_and_both_parts() {
        let packet = report(7, 160, 1, 160, "lab@127.0.4.1");
        assert!(is_report(&packet));
        assert_eq!(packet.len() % 4, 0);
        assert_eq!(packet[29], 202);
        let words = u16::from_be_bytes([packet[30], packet[31]]);
        assert_eq!(28 + 4 + usize::from(words) * 4, packet.len());
    }
}
