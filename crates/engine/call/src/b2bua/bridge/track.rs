//! One m-line's media leg: its stream of the link, its inside ports, its keys.

use media::{Command, CoreLeg, Counters, Inside, LegId, LinkId, PortPair, SrtpKey, StreamId};
use sdp::sdes::Crypto;

use super::super::desk::Desk;
use super::line::Offered;
use super::{MediaError, Way};

/// An m-line that is open.
pub(super) struct Track {
    pub(super) leg: LegId,
    pub(super) stream: StreamId,
    pub(super) local: PortPair,
    kind: Vec<u8>,
    /// The keys of our packets towards the edge and towards inside, once they are settled.
    ours: [Option<Crypto>; 2],
    /// As the media workers were last told.
    told: CoreLeg,
    pub(super) counters: Counters,
}

/// An m-line that was open.
pub(super) struct Retired {
    pub(super) leg: LegId,
    pub(super) kind: Vec<u8>,
    pub(super) counters: Counters,
    /// The last figures are still to come.
    pub(super) open: bool,
}

impl Track {
    pub(super) fn open(
        desk: &mut Desk<'_>,
        link: LinkId,
        line: &Offered,
    ) -> Result<Track, MediaError> {
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
        let kind = line.kind.clone();
        Ok(Track {
            leg,
            stream,
            local,
            kind,
            ours: [None, None],
            told,
            counters: Counters::default(),
        })
    }

    /// Whether the client is not to send, so that its silence says nothing.
    pub(super) fn is_held(&self) -> bool {
        !self.told.receive
    }

    /// Whether it is no RTP.
    pub(super) fn is_datagram(&self) -> bool {
        matches!(self.told.inside, Inside::Datagrams(_))
    }

    /// Our key that is in use on one way.
    pub(super) fn ours(&self, way: Way) -> Option<&Crypto> {
        self.ours[way as usize].as_ref()
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
        if from == Way::Edge {
            self.told.unprotect = line.theirs.as_ref().map(srtp);
            self.told.protect = line.answer.as_ref().map(srtp);
        }
        self.told.remote = line.remote;
        desk.command(Command::InstallCore {
            leg: self.leg,
            core: self.told.clone(),
        });
    }

    /// Offer and answer agree: keys, addresses and directions are in force.
    pub(super) fn agree(
        &mut self,
        desk: &mut Desk<'_>,
        link: LinkId,
        offered: &Offered,
        answered: &Offered,
        answerer: Way,
    ) {
        let (edge, inside) = match answerer {
            Way::Edge => (answered, offered),
            Way::Inside => (offered, answered),
        };
        let keys = [offered.settled(), offered.chosen(answered)];
        let [(edge_key, edge_ours), (inside_key, inside_ours)] = match answerer {
            Way::Inside => keys,
            Way::Edge => {
                let [first, second] = keys;
                [second, first]
            }
        };
        let next = CoreLeg {
            stream: self.stream,
            link,
            local: self.local,
            remote: inside.remote,
            unprotect: edge_key.as_ref().map(srtp),
            protect: edge_ours.as_ref().map(srtp),
            receive: edge.direction.sends() && inside.direction.receives(),
            send: inside.direction.sends() && edge.direction.receives(),
            inside: match (&self.told.inside, &inside_key) {
                (Inside::Datagrams(kind), _) => Inside::Datagrams(*kind),
                (_, None) => Inside::Plain,
                (_, Some(theirs)) => Inside::Secure {
                    unprotect: Some(srtp(theirs)),
                    protect: inside_ours.as_ref().map(srtp),
                },
            },
        };
        self.ours = [edge_ours, inside_ours];
        if next != self.told {
            self.told = next.clone();
            desk.command(Command::UpdateCore {
                leg: self.leg,
                core: next,
            });
        }
    }

    /// Carries nothing for now.
    pub(super) fn rest(&mut self, desk: &mut Desk<'_>) {
        if self.told.receive || self.told.send {
            self.told.receive = false;
            self.told.send = false;
            desk.command(Command::UpdateCore {
                leg: self.leg,
                core: self.told.clone(),
            });
        }
    }

    pub(super) fn close(self, desk: &mut Desk<'_>, link: LinkId) -> Retired {
        desk.command(Command::Remove { leg: self.leg });
        desk.close_ports(self.local);
        desk.free_stream(link, self.stream);
        Retired {
            leg: self.leg,
            kind: self.kind,
            counters: self.counters,
            open: true,
        }
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
