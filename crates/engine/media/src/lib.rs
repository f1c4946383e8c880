//! Media below the sockets: what a relay does to a packet, and nothing that waits.
//!
//! Signalling sends [`Command`]s down, the workers send [`Event`]s up; neither waits for the
//! other. A leg is one m-line of one call on one node. Its packets cross the edge–core link under
//! a [`StreamId`] that signalling agreed on.
//!
//! - [`rtp`]: headers, and RTCP told from RTP (RFC 5761).
//! - [`srtp`]: RFC 3711 and RFC 7714, in place.
//! - [`mux`]: the frames on 36000 and 36001.
//! - [`link`]: greetings and keys of one link, and whether it works.
//! - [`datagram`]: streams that are no RTP.
//! - [`ports`]: who owns which port pair.
//! - [`rest`]: when a pair may be given out again, and its sockets with it.
//! - [`edge`], [`core`]: the two relays; [`between`]: the core's for two parties inside.

#![forbid(unsafe_code)]

pub mod between;
pub mod core;
pub mod datagram;
pub mod edge;
mod inside;
pub mod link;
pub mod mux;
pub mod ports;
pub mod rest;
pub mod rtp;
pub mod srtp;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use base::Secret;

pub use datagram::Datagram;

/// One edge–core link.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u32);

/// One m-line of one call on one node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LegId(pub base::Id);

/// One m-line of one call on a link, the same number on both ends and both ways. Whoever first
/// describes the m-line picks it at random; the top bit says who: 0 the edge, 1 the core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// Media or its control protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Component {
    /// RTP or SRTP.
    Rtp,
    /// RTCP or SRTCP.
    Rtcp,
}

/// Two addresses, for RTP and RTCP.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortPair {
    /// RTP; the port is even.
    pub rtp: SocketAddr,
    /// RTCP; the port above, unless it was signalled otherwise.
    pub rtcp: SocketAddr,
}

impl PortPair {
    /// The address of a component.
    pub fn of(&self, component: Component) -> SocketAddr {
        match component {
            Component::Rtp => self.rtp,
            Component::Rtcp => self.rtcp,
        }
    }
}

/// A leg towards a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EdgeLeg {
    /// Its name on the link.
    pub stream: StreamId,
    /// The link.
    pub link: LinkId,
    /// The sockets to open.
    pub local: PortPair,
    /// Where RTP may be sent before the core has verified a packet; RTCP goes to the port above.
    pub expected: Vec<SocketAddr>,
    /// What it carries if that is no RTP.
    pub datagrams: Option<Datagrams>,
}

/// A stream towards a client that is no RTP.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Datagrams {
    /// What it carries.
    pub kind: Datagram,
    /// Opens what the core sends.
    pub unprotect: Option<SrtpKey>,
    /// Closes what the core is sent.
    pub protect: Option<SrtpKey>,
    /// The only address that is heard: where the call's RTP has been verified to come from.
    pub from: Option<IpAddr>,
}

/// A leg towards the inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CoreLeg {
    /// Its name on the link.
    pub stream: StreamId,
    /// The link.
    pub link: LinkId,
    /// The sockets to open.
    pub local: PortPair,
    /// Where inside media is sent, and the only place it is taken from.
    pub remote: Option<PortPair>,
    /// Opens what the client sends.
    pub unprotect: Option<SrtpKey>,
    /// Closes what the client is sent.
    pub protect: Option<SrtpKey>,
    /// Whether media from the client is let in.
    pub receive: bool,
    /// Whether media is sent to the client.
    pub send: bool,
    /// What its packets are inside.
    pub inside: Inside,
}

/// A leg towards one of two parties inside; the other's is its pair.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InsideLeg {
    /// The sockets to open.
    pub local: PortPair,
    /// Where media is sent, and the only place it is taken from.
    pub remote: Option<PortPair>,
    /// The leg by which goes out what comes in here.
    pub other: LegId,
    /// Whether what the party sends is passed on.
    pub receive: bool,
    /// What its packets are.
    pub packets: Inside,
}

/// What a leg's packets are inside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Inside {
    /// RTP and RTCP.
    #[default]
    Plain,
    /// SRTP and SRTCP, under keys that are not those towards the client.
    Secure {
        /// Opens what comes from inside.
        unprotect: Option<SrtpKey>,
        /// Closes what goes inside.
        protect: Option<SrtpKey>,
    },
    /// Datagrams that are no RTP.
    Datagrams(Datagram),
}

/// A master key with its suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SrtpKey {
    /// The suite.
    pub suite: srtp::Suite,
    /// Master key, then master salt.
    pub key: Secret<Vec<u8>>,
    /// Bytes of master key identifier on each packet; 0 for none.
    pub mki: Vec<u8>,
}

/// The keys of a link's media, exported from its control connection ([`LinkKeys::exported`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkKeys {
    /// The secret that both ends have exported from the control connection, from which both
    /// directions' keys are made.
    pub secret: Secret<[u8; 64]>,
}

impl LinkKeys {
    /// The keys that both ends make from the exported secret of one control connection.
    pub fn exported(secret: &Secret<[u8; 64]>) -> Self {
        LinkKeys {
            secret: Secret::new(*secret.expose()),
        }
    }
}

/// What signalling tells the workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// A link's control connection stands: its media may flow.
    LinkUp {
        /// The link.
        link: LinkId,
        /// Its keys.
        keys: LinkKeys,
        /// Our sockets for it.
        local: Vec<PortPair>,
        /// On the core: the edge's pairs, to be dialled. `None` on the edge, which listens.
        dial: Option<Vec<PortPair>>,
    },
    /// It is gone; its legs stay until they are removed.
    LinkDown {
        /// The link.
        link: LinkId,
    },
    /// Opens a leg towards a client.
    InstallEdge {
        /// Its name.
        leg: LegId,
        /// What it is.
        edge: EdgeLeg,
    },
    /// Changes it; the local sockets stay.
    UpdateEdge {
        /// Its name.
        leg: LegId,
        /// What it is.
        edge: EdgeLeg,
    },
    /// Opens a leg towards the inside.
    InstallCore {
        /// Its name.
        leg: LegId,
        /// What it is.
        core: CoreLeg,
    },
    /// Changes it; the local sockets stay.
    UpdateCore {
        /// Its name.
        leg: LegId,
        /// What it is.
        core: CoreLeg,
    },
    /// Opens one of a pair of legs between parties inside.
    InstallInside {
        /// Its name.
        leg: LegId,
        /// What it is.
        inside: InsideLeg,
    },
    /// Changes it; the local sockets stay.
    UpdateInside {
        /// Its name.
        leg: LegId,
        /// What it is.
        inside: InsideLeg,
    },
    /// Closes a leg; a last [`Event::Counters`] follows.
    Remove {
        /// Its name.
        leg: LegId,
    },
    /// Ends the workers.
    Stop,
}

/// What the workers tell signalling.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// A leg's sockets are open.
    Installed {
        /// Its name.
        leg: LegId,
    },
    /// A socket could not be opened; the leg does not exist.
    BindFailed {
        /// Its name.
        leg: LegId,
        /// The address.
        address: SocketAddr,
    },
    /// The core verified a packet of the client: media goes to where it came from.
    Latched {
        /// Its name.
        leg: LegId,
        /// Where that is.
        address: SocketAddr,
    },
    /// Nothing has come in for a while.
    NoMedia {
        /// Its name.
        leg: LegId,
        /// For how long.
        since: Duration,
    },
    /// What a leg has carried so far; the last one when it is removed.
    Counters {
        /// Its name.
        leg: LegId,
        /// The figures.
        counters: Counters,
        /// Whether the leg is gone.
        last: bool,
    },
    /// Nothing comes any more to these pairs, whose legs are gone: they may be given out again.
    Rested {
        /// The pairs.
        pairs: Vec<PortPair>,
    },
    /// The link's media.
    LinkState {
        /// The link.
        link: LinkId,
        /// Whether it works.
        up: bool,
        /// Its round trip.
        round_trip: Option<Duration>,
        /// Frames lost on the hop, in thousandths.
        loss_permille: u16,
    },
}

/// One direction of a leg.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Direction {
    /// Packets carried.
    pub packets: u64,
    /// Their bytes, headers of RTP included.
    pub bytes: u64,
    /// Packets missing by sequence number (RFC 3550 §A.3).
    pub lost: u64,
    /// Interarrival jitter in microseconds (RFC 3550 §A.8), for RTP at the codec's 8 kHz clock.
    pub jitter_us: u32,
}

/// What a leg has carried.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// From the client.
    pub from_client: Direction,
    /// To the client.
    pub to_client: Direction,
    /// Packets whose SRTP tag was wrong.
    pub forged: u64,
    /// Packets seen before.
    pub replayed: u64,
    /// Packets from an address that is nobody's.
    pub strangers: u64,
    /// Packets that are not what they should be: neither RTP nor RTCP, or no datagram of the
    /// stream's kind.
    pub malformed: u64,
}

impl Counters {
    fn count(&mut self, error: srtp::SrtpError) {
        let place = match error {
            srtp::SrtpError::Replayed => &mut self.replayed,
            srtp::SrtpError::Forged => &mut self.forged,
            _ => &mut self.malformed,
        };
        *place += 1;
    }
}
