//! MTX1: the frames between edge and core on 36000 (RTP) and 36001 (RTCP).
//!
//! ```text
//!  byte 0      4 + T  (4–15, unassigned by RFC 7983): T 0 DATA, 2 HELLO, 3 HELLO-ACK,
//!                     5 CANDIDATE, 6 LATCH
//!  byte 1      key mark: byte 32 of the link's secret, so that keys that do not fit are told for
//!  free bytes 2–3   DATA: sequence of the stream on this hop; CANDIDATE, LATCH: candidate number
//!  bytes 4–7   stream id; 0 in HELLO and HELLO-ACK
//!  bytes 8–15  tag: SipHash-2-4 under the direction's key over bytes 0–7, the length, and the
//!              first 16 bytes of what follows (all of it in HELLO, HELLO-ACK and LATCH)
//!  payload     the packet as it came
//! ```
//! Keys follow from the secret of the authenticated control connection ([`crate::LinkKeys`]), so
//! a frame that is forged, or of another link, dies for the price of one SipHash. The tag does not
//! vouch for the media itself: SRTP does that, end to end between client and core.

use siphasher::sip::SipHasher24;
use std::hash::Hasher;

use crate::{LinkKeys, StreamId};

/// Bytes in front of a packet.
pub const HEADER_BYTES: usize = 16;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A packet of a latched leg, or of the core.
    Data,
    /// The core greets, and keeps the way open.
    Hello,
    /// The edge answers.
    HelloAck,
    /// A packet from an address that no packet has vouched for yet.
    Candidate,
    /// The core says which candidate is the client.
    Latch,
}

impl Kind {
    fn code(self) -> u8 {
        4 + match self {
            Kind::Data => 0,
            Kind::Hello => 2,
            Kind::HelloAck => 3,
            Kind::Candidate => 5,
            Kind::Latch => 6,
        }
    }

    fn of(code: u8) -> Option<Kind> {
        Some(match code.checked_sub(4)? {
            0 => Kind::Data,
            2 => Kind::Hello,
            3 => Kind::HelloAck,
            5 => Kind::Candidate,
            6 => Kind::Latch,
            _ => return None,
        })
    }

    /// Whether a frame claims to be of this kind.
    pub fn is_of(self, frame: &[u8]) -> bool {
        frame.first() == Some(&self.code())
    }

    /// How many bytes of the payload the tag covers.
    fn covered(self) -> usize {
        match self {
            Kind::Data | Kind::Candidate => 16,
            Kind::Hello | Kind::HelloAck | Kind::Latch => usize::MAX,
        }
    }
}

/// One frame's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Head {
    /// What it is.
    pub kind: Kind,
    /// Sequence or candidate number.
    pub number: u16,
    /// The stream.
    pub stream: StreamId,
}

/// Which end we are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// The edge.
    Edge,
    /// The core.
    Core,
}

/// The keys of both directions.
#[derive(Clone)]
pub struct Keys {
    mark: u8,
    send: [u8; 16],
    receive: [u8; 16],
}

impl Keys {
    /// One end's keys.
    pub fn new(keys: &LinkKeys, end: End) -> Keys {
        let secret = keys.secret.expose();
        let part = |at: usize| -> [u8; 16] {
            let mut out = [0; 16];
            out.copy_from_slice(secret.get(at..at + 16).unwrap_or(&[0; 16]));
            out
        };
        let (edge, core) = (part(0), part(16));
        let (send, receive) = match end {
            End::Edge => (edge, core),
            End::Core => (core, edge),
        };
        Keys {
            mark: secret[32],
            send,
            receive,
        }
    }

    /// Writes a frame into `out`, replacing what is there.
    pub fn seal(&self, head: Head, payload: &[u8], out: &mut Vec<u8>) {
        out.clear();
        out.push(head.kind.code());
        out.push(self.mark);
        out.extend_from_slice(&head.number.to_be_bytes());
        out.extend_from_slice(&head.stream.0.to_be_bytes());
        let tag = tag(&self.send, out, head.kind, payload);
        out.extend_from_slice(&tag.to_be_bytes());
        out.extend_from_slice(payload);
    }

    /// Reads a frame; `None` if it is none of ours. The payload begins at [`HEADER_BYTES`].
    pub fn open(&self, frame: &[u8]) -> Option<Head> {
        let (head, payload) = frame.split_first_chunk::<HEADER_BYTES>()?;
        let kind = Kind::of(head[0])?;
        let given = u64::from_be_bytes(*head.last_chunk::<8>()?);
        if head[1] != self.mark || tag(&self.receive, &head[..8], kind, payload) != given {
            return None;
        }
        Some(Head {
            kind,
            number: u16::from_be_bytes([head[2], head[3]]),
            stream: StreamId(u32::from_be_bytes([head[4], head[5], head[6], head[7]])),
        })
    }
}

fn tag(key: &[u8; 16], head: &[u8], kind: Kind, payload: &[u8]) -> u64 {
    let mut hasher = SipHasher24::new_with_key(key);
    hasher.write(head);
    hasher.write(&(payload.len() as u64).to_be_bytes());
    hasher.write(
        payload
            .get(..kind.covered().min(payload.len()))
            .unwrap_or_default(),
    );
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::Secret;

    fn ends(link: u64) -> (Keys, Keys) {
        let mut secret = [0; 64];
        base::Rng::from_number(link).fill(&mut secret);
        let keys = LinkKeys {
            secret: Secret::new(secret),
        };
        (Keys::new(&keys, End::Edge), Keys::new(&keys, End::Core))
    }

    #[test]
    fn a_frame_is_read_by_the_other_end_only_and_no_forgery_is() {
        let (edge, core) = ends(1);
        let head = Head {
            kind: Kind::Data,
            number: 7,
            stream: StreamId(42),
        };
        let mut frame = Vec::new();
        edge.seal(head, &[9; 172], &mut frame);
        assert_eq!(core.open(&frame), Some(head));
        assert_eq!(edge.open(&frame), None);
        assert_eq!(ends(2).1.open(&frame), None);
        for i in 0..HEADER_BYTES + 16 {
            let mut forged = frame.clone();
            forged[i] ^= 1;
            assert_eq!(core.open(&forged), None, "byte {i}");
            assert_eq!(core.open(&frame[..i]), None);
        }
        assert_eq!(core.open(&frame[..frame.len() - 1]), None);
    }

    #[test]
    fn the_first_byte_is_told_from_stun_dtls_turn_and_rtp() {
        for kind in [
            Kind::Data,
            Kind::Hello,
            Kind::HelloAck,
            Kind::Candidate,
            Kind::Latch,
        ] {
            assert!((4..16).contains(&kind.code()));
            assert_eq!(Kind::of(kind.code()), Some(kind));
        }
    }
}
