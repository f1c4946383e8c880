//! One m-line: what it says, and how it is written for the other side.

use std::net::{IpAddr, SocketAddr};

use media::{Datagram, PortPair, StreamId};
use sdp::sdes::Crypto;
use sdp::{Direction, Session};

use super::super::{Encryption, Settings};
use super::track::Track;
use super::{MediaError, STREAM, Way};

/// What an m-line is read for.
#[derive(Clone, Copy)]
pub(super) enum Purpose<'a> {
    Offer,
    /// The answer to this m-line.
    Answer(&'a Offered),
}

/// What an m-line says.
pub(super) struct Offered {
    /// It is carried, and not refused.
    pub(super) active: bool,
    pub(super) kind: Vec<u8>,
    pub(super) proto: Vec<u8>,
    pub(super) direction: Direction,
    /// What it carries if that is no RTP.
    pub(super) datagram: Option<Datagram>,
    /// From an edge: the stream's name.
    pub(super) stream: Option<StreamId>,
    /// The key of the describer's packets.
    pub(super) theirs: Option<Crypto>,
    /// Our key that answers it.
    pub(super) answer: Option<Crypto>,
    /// Our keys that the other side is offered.
    pub(super) keys: Vec<Crypto>,
    /// The profile that the other side is offered.
    pub(super) written: Vec<u8>,
    /// From inside: where packets go.
    pub(super) remote: Option<PortPair>,
    /// Its track was opened for it.
    pub(super) opened: bool,
}

impl Offered {
    fn new(session: &Session, i: usize, active: bool) -> Self {
        let datagram = Datagram::of(session.proto(i));
        Offered {
            active,
            kind: session.kind(i).to_vec(),
            proto: session.proto(i).to_vec(),
            // A hold is of media; control goes on.
            direction: match datagram {
                Some(_) => Direction::SendRecv,
                None => session.direction(i),
            },
            datagram,
            stream: None,
            theirs: None,
            answer: None,
            keys: Vec::new(),
            written: Vec::new(),
            remote: None,
            opened: false,
        }
    }

    /// The offerer's key, and ours that answers it.
    pub(super) fn settled(&self) -> (Option<Crypto>, Option<Crypto>) {
        (self.theirs.clone(), self.answer.clone())
    }

    /// The answerer's key, and ours that it chose.
    pub(super) fn chosen(&self, answered: &Offered) -> (Option<Crypto>, Option<Crypto>) {
        let theirs = answered.theirs.clone();
        let fits = |ours: &&Crypto| theirs.as_ref().is_some_and(|t| t.tag == ours.tag);
        (theirs.clone(), self.keys.iter().find(fits).cloned())
    }
}

/// The key that counts: of an offer the first whose suite we know, in the describer's order of
/// preference (RFC 4568 §5.1.2); of an answer the one that picks one of ours, suite unchanged.
fn key_of(
    session: &Session,
    i: usize,
    settings: &Settings,
    purpose: Purpose<'_>,
) -> Option<Crypto> {
    // A session parameter that is not understood rules its line out (RFC 4568 §6.3.7).
    let known = |key: &Crypto| key.params.iter().all(|p| p.starts_with("WSH="));
    let mut keys = session.crypto(i).into_iter().filter(known);
    match purpose {
        Purpose::Offer => keys.find(|k| settings.suites.contains(&k.suite)),
        Purpose::Answer(offered) => keys.next().filter(|k| {
            let fits = |ours: &Crypto| ours.tag == k.tag && ours.suite == k.suite;
            offered.keys.iter().any(fits)
        }),
    }
}

/// Whether an m-line is one to carry: not refused, of a kind we know, and in an answer one that
/// was offered.
fn is_wanted(session: &Session, i: usize, purpose: Purpose<'_>) -> bool {
    let proto = session.proto(i);
    let known = session.is_rtp(i) || ends_with_rtp(proto) || Datagram::of(proto).is_some();
    let offered = match purpose {
        Purpose::Offer => true,
        // What was offered as media is answered as media, and so for what is not.
        Purpose::Answer(o) => o.active && o.datagram == Datagram::of(proto),
    };
    session.is_active(i) && known && offered
}

/// Reads an m-line that comes from an edge.
pub(super) fn from_edge(
    session: &Session,
    i: usize,
    settings: &Settings,
    purpose: Purpose<'_>,
) -> Result<Offered, MediaError> {
    if !is_wanted(session, i, purpose) {
        return Ok(Offered::new(session, i, false));
    }
    let mut line = Offered::new(session, i, true);
    if line.datagram.is_none() && !session.is_secure(i) {
        return Err(MediaError::NotEncrypted);
    }
    line.theirs = key_of(session, i, settings, purpose);
    if line.theirs.is_none() {
        // What is no RTP is closed by the edge; one that does not is not to be trusted with it.
        return match line.datagram {
            Some(_) => Ok(Offered::new(session, i, false)),
            None => Err(MediaError::NoSuite),
        };
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
    settings: &Settings,
    encryption: Encryption,
    purpose: Purpose<'_>,
) -> Result<Offered, MediaError> {
    if !is_wanted(session, i, purpose) {
        return Ok(Offered::new(session, i, false));
    }
    let mut line = Offered::new(session, i, true);
    if line.datagram.is_none() {
        line.theirs = inside_key(session, i, settings, encryption, purpose)?;
    }
    let rtp = session.rtp_address(i).ok_or(MediaError::Address)?;
    let rtcp = match line.datagram {
        Some(_) => rtp,
        None => session.rtcp_address(i).ok_or(MediaError::Address)?,
    };
    if !may_be_sent_to(rtp, settings) || !may_be_sent_to(rtcp, settings) {
        return Err(MediaError::Address);
    }
    // 0.0.0.0 is a hold of old (RFC 3264 §8.4): there is nowhere to send to.
    line.remote = (!rtp.ip().is_unspecified()).then_some(PortPair { rtp, rtcp });
    Ok(line)
}

/// Whether media may go to an address that the inside names. It may not where nobody has a phone:
/// groups, a whole network, this host (unless we are on its loopback ourselves, as a lab is), a
/// link, and our own addresses but for our own media ports.
fn may_be_sent_to(at: SocketAddr, settings: &Settings) -> bool {
    let canonical = |ip: IpAddr| ip.to_canonical();
    let ip = canonical(at.ip());
    // A hold.
    if ip.is_unspecified() {
        return true;
    }
    let nowhere = match ip {
        IpAddr::V4(ip) => {
            let [first, ..] = ip.octets();
            first == 0 || first >= 224 || ip.is_link_local()
        }
        IpAddr::V6(ip) => ip.is_multicast() || ip.is_unicast_link_local(),
    };
    let host = ip.is_loopback() && !canonical(settings.inside_advertise).is_loopback();
    let own = settings.own.iter().any(|own| canonical(*own) == ip);
    !nowhere && !host && (!own || settings.own_ports.contains(&at.port()))
}

/// The inside's key; none where its media is plain and may be.
fn inside_key(
    session: &Session,
    i: usize,
    settings: &Settings,
    encryption: Encryption,
    purpose: Purpose<'_>,
) -> Result<Option<Crypto>, MediaError> {
    let key = key_of(session, i, settings, purpose);
    match (session.proto(i), encryption) {
        (b"RTP/AVP" | b"RTP/AVPF", Encryption::Off) => Ok(None),
        (b"RTP/AVP" | b"RTP/AVPF", Encryption::BestEffort) => Ok(key),
        (b"RTP/AVP" | b"RTP/AVPF", Encryption::Force) => Err(MediaError::NotEncrypted),
        (b"RTP/SAVP" | b"RTP/SAVPF", Encryption::BestEffort | Encryption::Force) => {
            key.map(Some).ok_or(MediaError::NoSuite)
        }
        _ => Err(MediaError::Profile),
    }
}

/// `UDP/TLS/RTP/SAVPF` and its like: RTP, but keyed in a way that we do not speak.
fn ends_with_rtp(proto: &[u8]) -> bool {
    proto.windows(5).any(|w| w == b"/RTP/")
}

/// Attributes that mean something on one side only.
fn is_one_sided(name: &[u8]) -> bool {
    name == STREAM
        || matches!(
            name,
            b"crypto"
                | b"rtcp-mux"
                | b"rtcp-mux-only"
                | b"bundle-only"
                | b"tls-id"
                | b"fingerprint"
                | b"setup"
                | b"key-mgmt"
        )
}

/// Attributes of ICE (RFC 8839 §5, RFC 8840 §8.2).
fn is_ice(name: &[u8]) -> bool {
    name.starts_with(b"ice-")
        || matches!(
            name,
            b"candidate" | b"remote-candidates" | b"end-of-candidates"
        )
}

fn strip(session: &mut Session, i: usize, ice: bool) {
    // Of a stream that is no RTP it says who speaks first (RFC 8856 §5), and is the ends' matter.
    let datagram = Datagram::of(session.proto(i)).is_some();
    session.remove_attributes(i, |name, _| {
        (is_one_sided(name) && !(datagram && name == b"setup")) || (is_ice(name) && !ice)
    });
}

/// How an m-line is to be written.
pub(super) struct Writing<'a> {
    /// Its track, if it is carried.
    pub(super) track: Option<&'a Track>,
    /// Our keys that stand in it.
    pub(super) keys: &'a [Crypto],
    /// In an answer, the offer's profile.
    pub(super) proto: Option<&'a [u8]>,
    /// Whether lines of ICE stay.
    pub(super) ice: bool,
}

/// Writes an m-line for inside: at our own port pair, plain or with keys of ours.
pub(super) fn to_inside(
    session: &mut Session,
    i: usize,
    settings: &Settings,
    (to, encryption): (Way, Encryption),
    writing: &Writing<'_>,
) {
    strip(session, i, writing.ice);
    let Some(track) = writing.track else {
        return refuse(session, i, settings.inside_advertise, writing);
    };
    if !track.is_datagram() {
        let feedback = session.proto(i).ends_with(b"F");
        let proto: &[u8] = match (encryption == Encryption::Force, feedback) {
            (true, true) => b"RTP/SAVPF",
            (true, false) => b"RTP/SAVP",
            (false, true) => b"RTP/AVPF",
            (false, false) => b"RTP/AVP",
        };
        session.set_proto(i, writing.proto.unwrap_or(proto));
    }
    let ip = held_or(session, i, settings.inside_advertise);
    session.set_address(i, ip, track.port(to));
    for key in writing.keys {
        session.add_shown(i, b"crypto", key);
    }
}

/// Writes an m-line for an edge: encrypted, as a stream of the link.
pub(super) fn to_edge(session: &mut Session, i: usize, settings: &Settings, w: &Writing<'_>) {
    strip(session, i, w.ice);
    let track = w.track.filter(|_| !w.keys.is_empty());
    let Some((track, stream)) = track.and_then(|track| Some((track, track.stream()?))) else {
        return refuse(session, i, settings.edge_address, w);
    };
    if !track.is_datagram() {
        let secure: &[u8] = match session.proto(i).ends_with(b"F") {
            true => b"RTP/SAVPF",
            false => b"RTP/SAVP",
        };
        session.set_proto(i, w.proto.unwrap_or(secure));
    }
    let ip = held_or(session, i, settings.edge_address);
    session.set_address(i, ip, settings.edge_port);
    for key in w.keys {
        session.add_shown(i, b"crypto", key);
    }
    session.add_shown(i, STREAM, &format_args!("{:08x}", stream.0));
}

/// A refused m-line is answered with its profile as well (RFC 3264 §6).
fn refuse(session: &mut Session, i: usize, ip: IpAddr, writing: &Writing<'_>) {
    if let Some(proto) = writing.proto {
        session.set_proto(i, proto);
    }
    session.refuse(i, ip);
}

/// Our address, or the zero address of a hold of old, which keeps its meaning.
fn held_or(session: &Session, i: usize, ours: IpAddr) -> IpAddr {
    let held = session
        .rtp_address(i)
        .is_some_and(|a| a.ip().is_unspecified());
    if held { unspecified(ours) } else { ours }
}

fn unspecified(like: IpAddr) -> IpAddr {
    if like.is_ipv4() {
        std::net::Ipv4Addr::UNSPECIFIED.into()
    } else {
        std::net::Ipv6Addr::UNSPECIFIED.into()
    }
}

/// What belongs to no m-line.
pub(super) fn finish(session: &mut Session, to: Way, ice: bool, settings: &Settings) {
    // Each m-line has ports of its own here, so none can share another's (RFC 9143).
    let bundle = |name: &[u8], value: &[u8]| name == b"group" && value.starts_with(b"BUNDLE");
    session.remove_session_attributes(|name, value| {
        is_one_sided(name) || bundle(name, value) || (is_ice(name) && !ice)
    });
    let ours = match to {
        Way::Edge => settings.edge_address,
        Way::Inside | Way::Beyond => settings.inside_advertise,
    };
    session.set_session_address(ours);
    session.set_origin_address(ours);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn may(inside: &str, at: &str) -> bool {
        let inside: IpAddr = inside.parse().unwrap();
        let mut settings = Settings::new(inside, "192.0.2.5".parse().unwrap());
        settings.own_ports = 36_002..=40_001;
        may_be_sent_to(at.parse().unwrap(), &settings)
    }

    #[test]
    fn media_goes_to_no_address_where_nobody_inside_has_a_phone() {
        for at in [
            "127.0.0.1:9999",
            "127.0.0.54:53",
            "[::1]:4000",
            "[::ffff:127.0.0.1]:4000",
            "169.254.169.254:80",
            "[fe80::1]:4000",
            "255.255.255.255:4000",
            "240.0.0.1:4000",
            "0.1.2.3:4000",
            "224.0.0.1:4000",
            "[ff02::1]:4000",
            "[::ffff:224.0.0.1]:4000",
            "10.0.0.5:5060",
            "[::ffff:10.0.0.5]:22",
        ] {
            assert!(!may("10.0.0.5", at), "{at}");
        }
        for at in [
            "10.0.0.6:5060",
            "198.51.100.1:4000",
            "[2001:db8::1]:4000",
            "[fd00::1]:4000",
            // A hold, and our own client behind call control.
            "0.0.0.0:4000",
            "[::]:4000",
            "10.0.0.5:36002",
        ] {
            assert!(may("10.0.0.5", at), "{at}");
        }
        // All of a lab is on the loopback.
        assert!(may("127.0.2.1", "127.0.3.1:4000") && !may("127.0.2.1", "127.0.2.1:5060"));
    }
}
