//! One m-line's media leg: its stream of the link, its inside ports, its keys.

use media::{Command, CoreLeg, Counters, LegId, LinkId, PortPair, SrtpKey, StreamId};
use sdp::sdes::Crypto;

use super::super::desk::Desk;
use super::MediaError;
use super::line::Offered;

/// An m-line that is open.
pub(super) struct Track {
    pub(super) leg: LegId,
    pub(super) stream: StreamId,
    pub(super) local: PortPair,
    kind: Vec<u8>,
    /// The key of our packets, once one is settled.
    pub(super) ours: Option<Crypto>,
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
        };
        let kind = line.kind.clone();
        Ok(Track {
            leg,
            stream,
            local,
            kind,
            ours: None,
            told,
            counters: Counters::default(),
        })
    }

    /// Whether the client is not to send, so that its silence says nothing.
    pub(super) fn is_held(&self) -> bool {
        !self.told.receive
    }

    /// Our key in answer to `theirs`: the one in use if the suite is the same.
    pub(super) fn key_to_answer(&mut self, desk: &mut Desk<'_>, theirs: &Crypto) -> Crypto {
        match &self.ours {
            Some(ours) if ours.suite == theirs.suite => Crypto {
                tag: theirs.tag,
                ..ours.clone()
            },
            _ => desk.key(theirs.tag, theirs.suite),
        }
    }

    /// Our keys in an offer: the one in use, else one for each suite.
    pub(super) fn keys_to_offer(&self, desk: &mut Desk<'_>) -> Vec<Crypto> {
        match &self.ours {
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
    pub(super) fn install(&mut self, desk: &mut Desk<'_>, line: &Offered) {
        self.told.unprotect = line.theirs.as_ref().map(srtp);
        self.told.protect = line.ours.first().map(srtp);
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
        edge_answers: bool,
    ) {
        let (edge, inside) = if edge_answers {
            (answered, offered)
        } else {
            (offered, answered)
        };
        let chosen = edge.theirs.as_ref().map(|k| k.tag);
        self.ours = offered.ours.iter().find(|k| Some(k.tag) == chosen).cloned();
        let next = CoreLeg {
            stream: self.stream,
            link,
            local: self.local,
            remote: inside.remote,
            unprotect: edge.theirs.as_ref().map(srtp),
            protect: self.ours.as_ref().map(srtp),
            receive: edge.direction.sends() && inside.direction.receives(),
            send: inside.direction.sends() && edge.direction.receives(),
        };
        if next != self.told {
            self.told = next.clone();
            desk.command(Command::UpdateCore {
                leg: self.leg,
                core: next,
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
