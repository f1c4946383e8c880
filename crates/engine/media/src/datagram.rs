//! Streams that are no RTP: floor control and active control, which clients speak in plain
//! datagrams.
//!
//! In: a datagram, or the packet that carries one over the link. Out: the other. Between edge and
//! core a datagram goes as the payload of an SRTP packet under keys that both have agreed on for
//! this stream alone, so that it is as safe there as media: secret, bound to its stream, and never
//! carried twice. What is carried must look like what the m-line says: no RTP passes here, so this
//! is no way for media that is not encrypted.
//!
//! Where a client is, the edge takes from the call's RTP, whose source the core has verified
//! (`edge`). Not here: what the datagrams mean. Bounds: one datagram, [`WRAPPING_BYTES`] more.

use crate::StreamId;

/// What a wrapped datagram has in front of it: the fixed header of RTP.
pub const WRAPPING_BYTES: usize = 12;

/// What an m-line that is no RTP carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Datagram {
    /// `UDP/BFCP`: floor control (RFC 8855 §5, and the drafts before it).
    Bfcp,
    /// `UDP/UDT/IX`: active control, in UDT packets (draft-gg-udt-03 §2).
    Udt,
}

impl Datagram {
    /// What a transport profile means; `None` if it is not carried. Floor control over TCP, TLS
    /// or DTLS is not.
    pub fn of(proto: &[u8]) -> Option<Datagram> {
        let is = |name: &[u8]| proto.eq_ignore_ascii_case(name);
        if is(b"UDP/BFCP") {
            Some(Datagram::Bfcp)
        } else if is(b"UDP/UDT/IX") {
            Some(Datagram::Udt)
        } else {
            None
        }
    }

    /// Whether a datagram can be what it should be.
    pub fn admits(self, datagram: &[u8]) -> bool {
        match self {
            Datagram::Bfcp => is_bfcp(datagram),
            Datagram::Udt => is_udt(datagram),
        }
    }
}

/// Version 1 or 2 and a length that fits: the payload's, in words, behind a header of 12 bytes,
/// or of 16 in a fragment (RFC 8855 §5.1).
fn is_bfcp(datagram: &[u8]) -> bool {
    let Some(head) = datagram.first_chunk::<12>() else {
        return false;
    };
    let (version, fragment) = (head[0] >> 5, head[0] & 0x08 != 0);
    let words = usize::from(u16::from_be_bytes([head[2], head[3]]));
    match (version, fragment) {
        (1 | 2, false) => datagram.len() == 12 + 4 * words,
        // Its own length is in the second half of its last word.
        (2, true) => datagram.len() >= 16 && datagram.len() <= 16 + 4 * words,
        _ => false,
    }
}

/// A data packet, whose first bit is 0, or a control packet of a known type with nothing in its
/// reserved half: an RTP stream does not look like this for more than a packet.
fn is_udt(datagram: &[u8]) -> bool {
    let Some(head) = datagram.first_chunk::<16>() else {
        return false;
    };
    let kind = u16::from_be_bytes([head[0], head[1]]);
    let known = matches!(kind, 0x8000..=0x8003 | 0x8005..=0x8007 | 0xffff);
    kind & 0x8000 == 0 || (known && (kind == 0xffff || head[2..4] == [0, 0]))
}

/// Makes a datagram the payload of an RTP packet.
pub(crate) fn wrap(packet: &mut Vec<u8>, stream: StreamId, sequence: u16) {
    let mut head = [0; WRAPPING_BYTES];
    head[..2].copy_from_slice(&[0x80, 0x7f]);
    head[2..4].copy_from_slice(&sequence.to_be_bytes());
    head[8..].copy_from_slice(&stream.0.to_be_bytes());
    packet.splice(..0, head);
}

/// Takes the wrapping off; false if the packet is no wrapping of ours, for this stream.
pub(crate) fn unwrap(packet: &mut Vec<u8>, stream: StreamId) -> bool {
    let ours = packet
        .first_chunk::<WRAPPING_BYTES>()
        .is_some_and(|h| h[..2] == [0x80, 0x7f] && h[8..] == stream.0.to_be_bytes());
    if ours {
        packet.drain(..WRAPPING_BYTES);
    }
    ours
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A Hello of a client, version 1 and 2.
    fn hello(version: u8) -> Vec<u8> {
        vec![version << 5, 11, 0, 0, 0, 0, 0, 1, 0, 1, 0, 2]
    }

    #[test]
    fn only_plain_floor_and_active_control_over_udp_are_carried() {
        let table = [
            ("UDP/BFCP", Some(Datagram::Bfcp)),
            ("udp/bfcp", Some(Datagram::Bfcp)),
            ("UDP/UDT/IX", Some(Datagram::Udt)),
            ("TCP/BFCP", None),
            ("UDP/TLS/BFCP", None),
            ("UDP/DTLS/UDT/IX", None),
            ("RTP/AVP", None),
            ("UDP", None),
        ];
        for (proto, want) in table {
            assert_eq!(Datagram::of(proto.as_bytes()), want, "{proto}");
        }
    }

    #[test]
    fn floor_control_is_known_by_version_and_length() {
        let mut with_payload = hello(2);
        with_payload[3] = 1;
        assert!(!Datagram::Bfcp.admits(&with_payload));
        with_payload.extend([0; 4]);
        assert!(Datagram::Bfcp.admits(&with_payload));
        for version in 0..8 {
            let carried = Datagram::Bfcp.admits(&hello(version));
            assert_eq!(carried, matches!(version, 1 | 2), "version {version}");
        }
        let mut fragment = hello(2);
        fragment[0] |= 0x08;
        assert!(!Datagram::Bfcp.admits(&fragment));
        fragment.extend([0, 0, 0, 0]);
        assert!(Datagram::Bfcp.admits(&fragment));
        assert!(!Datagram::Bfcp.admits(&hello(1)[..11]));
    }

    #[test]
    fn no_stream_of_rtp_or_rtcp_passes_for_either() {
        for second in 0..=255u8 {
            for first in 0x80..=0xbfu8 {
                let mut packet = vec![first, second, 0, 7];
                packet.extend([0; 168]);
                assert!(!Datagram::Bfcp.admits(&packet));
                assert!(!Datagram::Udt.admits(&packet));
            }
        }
        let mut data = vec![0, 0, 0, 1];
        data.extend([0; 12]);
        assert!(Datagram::Udt.admits(&data));
        data[0] = 0x80;
        data[3] = 0;
        assert!(Datagram::Udt.admits(&data));
        assert!(!Datagram::Udt.admits(&data[..15]));
    }

    #[test]
    fn wrapping_comes_off_for_its_own_stream_only() {
        let mut packet = hello(2);
        wrap(&mut packet, StreamId(9), 3);
        assert_eq!(crate::rtp::kind(&packet), crate::rtp::Kind::Rtp);
        assert!(!unwrap(&mut packet, StreamId(8)));
        assert!(unwrap(&mut packet, StreamId(9)));
        assert_eq!(packet, hello(2));
    }
}
