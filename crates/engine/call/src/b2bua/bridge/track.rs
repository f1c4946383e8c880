//! One m-line's media: its keys, and its legs as the media workers know them. Towards an edge that
//! is one leg, a stream of the link on one side and inside ports on the other (here); between two
//! parties inside it is a pair with ports each (the module `pair`).

mod pair;

use media::{Command, CoreLeg, Counters, Inside, LegId, LinkId, SrtpKey, StreamId};
use sdp::sdes::Crypto;

use super::super::desk::Desk;
use super::line::Offered;
use super::{First, MediaError, Way};
use pair::Pair;

/// An m-line that is open.
pub(super) struct Track {
    pub(super) leg: LegId,
    kind: Vec<u8>,
    /// The keys of our packets towards the first side and the other, once they are settled.
    ours: [Option<Crypto>; 2],
    told: Told,
    pub(super) counters: Counters,
}

/// The legs, as the media workers were last told.
enum Told {
    Link(CoreLeg),
    Pair(Pair),
}

/// An m-line that was open.
pub(super) struct Retired {
    pub(super) leg: LegId,
    pub(super) kind: Vec<u8>,
    pub(super) counters: Counters,
    /// The last figures are still to come.
    pub(super) open: bool,
    /// It is the second leg of its m-line, whose figures mirror those of the first.
    pub(super) second: bool,
}

impl Track {
    /// # Errors
    /// [`MediaError::Stream`] where the edge named one in use, [`MediaError::NoPorts`].
    pub(super) fn open(
        desk: &mut Desk<'_>,
        first: First,
        line: &Offered,
    ) -> Result<Track, MediaError> {
        let (leg, told) = match first {
            First::Edge(link) => {
                let (leg, told) = open_link(desk, link, line)?;
                (leg, Told::Link(told))
            }
            First::Inside(_) => {
                let pair = Pair::open(desk, line)?;
                (pair.first(), Told::Pair(pair))
            }
        };
        Ok(Track {
            leg,
            kind: line.kind.clone(),
            ours: [None, None],
            told,
            counters: Counters::default(),
        })
    }

    /// Its stream of the link, if it has one.
    pub(super) fn stream(&self) -> Option<StreamId> {
        match &self.told {
            Told::Link(core) => Some(core.stream),
            Told::Pair(_) => None,
        }
    }

    /// Whether it is this stream of the link.
    pub(super) fn is_stream(&self, named: StreamId) -> bool {
        self.stream() == Some(named)
    }

    /// Our port for RTP towards one side.
    pub(super) fn port(&self, to: Way) -> u16 {
        match &self.told {
            Told::Link(core) => core.local.rtp.port(),
            Told::Pair(pair) => pair.port(to),
        }
    }

    /// Whether the client is not to send, so that its silence says nothing.
    pub(super) fn is_held(&self) -> bool {
        match &self.told {
            Told::Link(core) => !core.receive,
            Told::Pair(pair) => pair.is_held(),
        }
    }

    /// Whether it is no RTP.
    pub(super) fn is_datagram(&self) -> bool {
        let inside = match &self.told {
            Told::Link(core) => &core.inside,
            Told::Pair(pair) => pair.packets(),
        };
        matches!(inside, Inside::Datagrams(_))
    }

    /// Our key that is in use on one way.
    pub(super) fn ours(&self, way: Way) -> Option<&Crypto> {
        self.ours[way.place()].as_ref()
    }

    /// Our key in answer to `theirs`: the one in use if the suite is the same.
    pub(super) fn key_to_answer(&self, desk: &mut Desk<'_>, way: Way, theirs: &Crypto) -> Crypto {
        match self.ours(way) {
            Some(ours) if ours.suite == theirs.suite => Crypto {
                tag: theirs.tag,
                ..ours.clone()
            },
            _ => desk.key(theirs.tag, theirs.suite),
        }
    }

    /// Our keys in an offer: the one in use, else one for each suite.
    pub(super) fn keys_to_offer(&self, desk: &mut Desk<'_>, way: Way) -> Vec<Crypto> {
        match self.ours(way) {
            Some(ours) => vec![Crypto {
                tag: 1,
                ..ours.clone()
            }],
            None => {
                let suites = desk.settings.suites.clone();
                (1..)
                    .zip(suites)
                    .map(|(tag, suite)| desk.key(tag, suite))
                    .collect()
            }
        }
    }

    /// The offer went out or came in: sockets are bound before anyone is told of them as agreed.
    pub(super) fn install(&mut self, desk: &mut Desk<'_>, line: &Offered, from: Way) {
        let told = match &mut self.told {
            Told::Link(told) => told,
            Told::Pair(pair) => return pair.install(desk, line, from),
        };
        if from == Way::Edge {
            told.unprotect = line.theirs.as_ref().map(srtp);
            told.protect = line.answer.as_ref().map(srtp);
        }
        told.remote = line.remote;
        desk.command(Command::InstallCore {
            leg: self.leg,
            core: told.clone(),
        });
    }

    /// Offer and answer agree: keys, addresses and directions are in force.
    pub(super) fn agree(
        &mut self,
        desk: &mut Desk<'_>,
        offered: &Offered,
        answered: &Offered,
        answerer: Way,
    ) {
        let mut lines = [offered, answered];
        let mut keys = [offered.settled(), offered.chosen(answered)];
        if answerer.place() == 0 {
            lines.reverse();
            keys.reverse();
        }
        match &mut self.told {
            Told::Link(told) => {
                let next = agreed(told, lines, &keys);
                if next != *told {
                    told.clone_from(&next);
                    let leg = self.leg;
                    desk.command(Command::UpdateCore { leg, core: next });
                }
            }
            Told::Pair(pair) => pair.agree(desk, lines, &keys),
        }
        let [(_, first), (_, other)] = keys;
        self.ours = [first, other];
    }

    /// Carries nothing for now.
    pub(super) fn rest(&mut self, desk: &mut Desk<'_>) {
        let told = match &mut self.told {
            Told::Link(told) => told,
            Told::Pair(pair) => return pair.rest(desk),
        };
        if told.receive || told.send {
            told.receive = false;
            told.send = false;
            desk.command(Command::UpdateCore {
                leg: self.leg,
                core: told.clone(),
            });
        }
    }

    /// Closes its leg, and the second one if there is one.
    pub(super) fn close(self, desk: &mut Desk<'_>) -> (Retired, Option<Retired>) {
        let first = Retired {
            leg: self.leg,
            kind: self.kind,
            counters: self.counters,
            open: true,
            second: false,
        };
        match self.told {
            Told::Link(told) => {
                desk.command(Command::Remove { leg: self.leg });
                desk.close_ports(told.local);
                desk.free_stream(told.link, told.stream);
                (first, None)
            }
            Told::Pair(pair) => {
                let second = Retired {
                    leg: pair.close(desk),
                    kind: Vec::new(),
                    counters: Counters::default(),
                    open: true,
                    second: true,
                };
                (first, Some(second))
            }
        }
    }
}

/// An m-line's keys on one leg: the peer's, and ours.
type Pairing = (Option<Crypto>, Option<Crypto>);

fn open_link(
    desk: &mut Desk<'_>,
    link: LinkId,
    line: &Offered,
) -> Result<(LegId, CoreLeg), MediaError> {
    let stream = match line.stream {
        Some(named) => desk
            .claim_stream(link, named)
            .then_some(named)
            .ok_or(MediaError::Stream)?,
        None => desk.choose_stream(link),
    };
    let Some(leg) = desk.open_leg() else {
        desk.free_stream(link, stream);
        return Err(MediaError::NoPorts);
    };
    let Some(local) = desk.open_ports() else {
        desk.free_stream(link, stream);
        desk.studio.close_leg(leg);
        return Err(MediaError::NoPorts);
    };
    let told = CoreLeg {
        stream,
        link,
        local,
        remote: None,
        unprotect: None,
        protect: None,
        receive: false,
        send: false,
        inside: line.datagram.map_or(Inside::Plain, Inside::Datagrams),
    };
    Ok((leg, told))
}

/// What a leg of the link is once both ends agree: what each says, and its keys.
fn agreed(told: &CoreLeg, [edge, inside]: [&Offered; 2], keys: &[Pairing; 2]) -> CoreLeg {
    let [(edge_key, edge_ours), inside_keys] = keys;
    CoreLeg {
        stream: told.stream,
        link: told.link,
        local: told.local,
        remote: inside.remote,
        unprotect: edge_key.as_ref().map(srtp),
        protect: edge_ours.as_ref().map(srtp),
        receive: edge.direction.sends() && inside.direction.receives(),
        send: inside.direction.sends() && edge.direction.receives(),
        inside: packets(&told.inside, inside_keys),
    }
}

/// What packets towards the inside are under these keys.
fn packets(before: &Inside, (theirs, ours): &Pairing) -> Inside {
    match (before, theirs) {
        (Inside::Datagrams(kind), _) => Inside::Datagrams(*kind),
        (_, None) => Inside::Plain,
        (_, Some(theirs)) => Inside::Secure {
            unprotect: Some(srtp(theirs)),
            protect: ours.as_ref().map(srtp),
        },
    }
}

/// A key as the media workers take it.
fn srtp(key: &Crypto) -> SrtpKey {
    // The identifier stands big-endian in its length's last bytes (RFC 4568 §6.1).
    let mki = key.mki.map_or_else(Vec::new, |(value, length)| {
        let (wide, length) = (value.to_be_bytes(), usize::from(length));
        let mut bytes = vec![0; length.saturating_sub(wide.len())];
        bytes.extend_from_slice(&wide[wide.len().saturating_sub(length)..]);
        bytes
    });
    SrtpKey {
        suite: key.suite,
        key: key.key.clone(),
        mki,
    }
}
