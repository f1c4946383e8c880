//! One m-line: what it says, and how it is written for the other side.

use media::{PortPair, StreamId};
use sdp::sdes::Crypto;
use sdp::{Direction, Session};

use super::super::Settings;
use super::track::Track;
use super::{MediaError, STREAM};

/// What an m-line is read for.
#[derive(Clone, Copy)]
pub(super) enum Purpose<'a> {
    Offer,
    /// The answer to this m-line.
    Answer(&'a Offered),
}

/// What an m-line says.
pub(super) struct Offered {
    /// It is RTP and not refused.
    pub(super) active: bool,
    pub(super) kind: Vec<u8>,
    pub(super) proto: Vec<u8>,
    pub(super) direction: Direction,
    /// From an edge: the stream's name.
    pub(super) stream: Option<StreamId>,
    /// From an edge: the key of its packets.
    pub(super) theirs: Option<Crypto>,
    /// The keys of ours that go with it: the one that answers it, or those offered with it.
    pub(super) ours: Vec<Crypto>,
    /// From inside: where packets go.
    pub(super) remote: Option<PortPair>,
    /// Its track was opened for it.
    pub(super) opened: bool,
}

impl Offered {
    fn new(session: &Session, i: usize, active: bool) -> Self {
        Offered {
            active,
            kind: session.kind(i).to_vec(),
            proto: session.proto(i).to_vec(),
            direction: session.direction(i),
            stream: None,
            theirs: None,
            ours: Vec::new(),
            remote: None,
            opened: false,
        }
    }
}

/// Reads an m-line that comes from an edge.
pub(super) fn from_edge(
    session: &Session,
    i: usize,
    settings: &Settings,
    purpose: Purpose<'_>,
) -> Result<Offered, MediaError> {
    let proto = session.proto(i);
    let rtp = session.is_rtp(i) || ends_with_rtp(proto);
    let wanted = match purpose {
        Purpose::Offer => true,
        Purpose::Answer(offered) => offered.active,
    };
    if !session.is_active(i) || !rtp || !wanted {
        return Ok(Offered::new(session, i, false));
    }
    let mut line = Offered::new(session, i, true);
    if !session.is_secure(i) {
        return Err(MediaError::NotEncrypted);
    }
    // A session parameter that is not understood rules its line out (RFC 4568 §6.3.7).
    let known = |key: &Crypto| key.params.iter().all(|p| p.starts_with("WSH="));
    let keys: Vec<Crypto> = session.crypto(i).into_iter().filter(known).collect();
    line.theirs = match purpose {
        // The client's order of preference counts (RFC 4568 §5.1.2).
        Purpose::Offer => keys
            .into_iter()
            .find(|k| settings.suites.contains(&k.suite)),
        // The answer picks one of ours by its tag, suite unchanged.
        Purpose::Answer(offered) => keys.into_iter().next().filter(|k| {
            offered
                .ours
                .iter()
                .any(|ours| ours.tag == k.tag && ours.suite == k.suite)
        }),
    };
    if line.theirs.is_none() {
        return Err(MediaError::NoSuite);
    }
    let name = session
        .attribute(i, STREAM)
        .and_then(|v| std::str::from_utf8(v).ok());
    let stream = name
        .and_then(|v| u32::from_str_radix(v.trim(), 16).ok())
        .map(StreamId);
    line.stream = Some(stream.ok_or(MediaError::Stream)?);
    Ok(line)
}

/// Reads an m-line that comes from inside.
pub(super) fn from_inside(
    session: &Session,
    i: usize,
    purpose: Purpose<'_>,
) -> Result<Offered, MediaError> {
    let proto = session.proto(i);
    let wanted = match purpose {
        Purpose::Offer => session.is_rtp(i) || ends_with_rtp(proto),
        Purpose::Answer(offered) => offered.active,
    };
    if !session.is_active(i) || !wanted {
        return Ok(Offered::new(session, i, false));
    }
    if !matches!(proto, b"RTP/AVP" | b"RTP/AVPF") {
        return Err(MediaError::Profile);
    }
    let mut line = Offered::new(session, i, true);
    let rtp = session.rtp_address(i).ok_or(MediaError::Address)?;
    let rtcp = session.rtcp_address(i).ok_or(MediaError::Address)?;
    if rtp.ip().is_multicast() || rtcp.ip().is_multicast() {
        return Err(MediaError::Address);
    }
    // 0.0.0.0 is a hold of old (RFC 3264 §8.4): there is nowhere to send to.
    line.remote = (!rtp.ip().is_unspecified()).then_some(PortPair { rtp, rtcp });
    Ok(line)
}

/// `UDP/TLS/RTP/SAVPF` and its like: RTP, but keyed in a way that we do not speak.
fn ends_with_rtp(proto: &[u8]) -> bool {
    proto.windows(5).any(|w| w == b"/RTP/")
}

/// Attributes that mean something on one side only.
fn is_one_sided(name: &[u8]) -> bool {
    name == STREAM
        || name.starts_with(b"ice-")
        || matches!(
            name,
            b"crypto"
                | b"candidate"
                | b"remote-candidates"
                | b"end-of-candidates"
                | b"rtcp-mux"
                | b"fingerprint"
                | b"setup"
                | b"key-mgmt"
        )
}

/// Writes an m-line for inside: plain, at our own port pair.
pub(super) fn to_inside(
    session: &mut Session,
    i: usize,
    track: Option<&Track>,
    active: bool,
    settings: &Settings,
    proto: Option<&[u8]>,
) {
    session.remove_attributes(i, |name, _| is_one_sided(name));
    match track.filter(|_| active) {
        Some(track) => {
            let plain = match session.proto(i) {
                b"RTP/SAVPF" => &b"RTP/AVPF"[..],
                _ => b"RTP/AVP",
            };
            session.set_proto(i, proto.unwrap_or(plain));
            let held = session
                .rtp_address(i)
                .is_some_and(|a| a.ip().is_unspecified());
            let ip = if held {
                unspecified(settings.inside_advertise)
            } else {
                settings.inside_advertise
            };
            session.set_address(i, ip, track.local.rtp.port());
        }
        None => {
            if let Some(proto) = proto {
                session.set_proto(i, proto);
            }
            session.set_address(i, settings.inside_advertise, 0);
        }
    }
}

/// Writes an m-line for an edge: encrypted, as a stream of the link.
pub(super) fn to_edge(
    session: &mut Session,
    i: usize,
    track: Option<&Track>,
    keys: &[Crypto],
    settings: &Settings,
    proto: Option<&[u8]>,
) {
    session.remove_attributes(i, |name, _| is_one_sided(name));
    match track.filter(|_| !keys.is_empty()) {
        Some(track) => {
            let secure = match session.proto(i) {
                b"RTP/AVPF" => &b"RTP/SAVPF"[..],
                _ => b"RTP/SAVP",
            };
            session.set_proto(i, proto.unwrap_or(secure));
            let held = session
                .rtp_address(i)
                .is_some_and(|a| a.ip().is_unspecified());
            let ip = if held {
                unspecified(settings.edge_address)
            } else {
                settings.edge_address
            };
            session.set_address(i, ip, settings.edge_port);
            for key in keys {
                session.add_attribute(i, b"crypto", key.to_string().as_bytes());
            }
            session.add_attribute(i, STREAM, format!("{:08x}", track.stream.0).as_bytes());
        }
        None => {
            if let Some(proto) = proto {
                session.set_proto(i, proto);
            }
            session.set_address(i, settings.edge_address, 0);
        }
    }
}

fn unspecified(like: std::net::IpAddr) -> std::net::IpAddr {
    if like.is_ipv4() {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    }
}

/// What belongs to no m-line.
pub(super) fn finish(session: &mut Session, from_edge: bool, settings: &Settings) {
    session.remove_session_attributes(|name, _| is_one_sided(name));
    session.set_origin_address(if from_edge {
        settings.inside_advertise
    } else {
        settings.edge_address
    });
}
