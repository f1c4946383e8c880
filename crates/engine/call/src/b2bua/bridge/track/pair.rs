//! The two legs of an m-line between parties inside: a port pair towards each.

use media::{Command, Inside, InsideLeg, LegId};

use super::super::super::desk::Desk;
use super::super::line::Offered;
use super::super::{MediaError, Way};
use super::{Pairing, packets};

/// Both legs, as the media workers were last told: towards the first side, and the other.
pub(super) struct Pair {
    legs: [LegId; 2],
    told: [InsideLeg; 2],
}

impl Pair {
    pub(super) fn open(desk: &mut Desk<'_>, line: &Offered) -> Result<Pair, MediaError> {
        let mut opened = Vec::new();
        for _ in 0..2 {
            let leg = desk.open_leg();
            let local = leg.and_then(|_| desk.open_ports());
            let (Some(leg), Some(local)) = (leg, local) else {
                if let Some(leg) = leg {
                    desk.studio.close_leg(leg);
                }
                for (leg, local) in opened {
                    desk.studio.close_leg(leg);
                    desk.close_ports(local);
                }
                return Err(MediaError::NoPorts);
            };
            opened.push((leg, local));
        }
        let &[(first, near), (other, far)] = opened.as_slice() else {
            return Err(MediaError::NoPorts);
        };
        let leg = |local, other| InsideLeg {
            local,
            remote: None,
            other,
            receive: false,
            packets: line.datagram.map_or(Inside::Plain, Inside::Datagrams),
        };
        Ok(Pair {
            legs: [first, other],
            told: [leg(near, other), leg(far, first)],
        })
    }

    /// The first side's leg: its figures are the m-line's.
    pub(super) fn first(&self) -> LegId {
        self.legs[0]
    }

    /// Our port for RTP towards one side.
    pub(super) fn port(&self, to: Way) -> u16 {
        self.told[to.place()].local.rtp.port()
    }

    /// Whether neither party is to send.
    pub(super) fn is_held(&self) -> bool {
        self.told.iter().all(|leg| !leg.receive)
    }

    /// What packets of the first side are.
    pub(super) fn packets(&self) -> &Inside {
        &self.told[0].packets
    }

    /// The offer of one side came in.
    pub(super) fn install(&mut self, desk: &mut Desk<'_>, line: &Offered, from: Way) {
        self.told[from.place()].remote = line.remote;
        for (leg, told) in self.legs.into_iter().zip(&self.told) {
            let inside = told.clone();
            desk.command(Command::InstallInside { leg, inside });
        }
    }

    /// Offer and answer agree.
    pub(super) fn agree(
        &mut self,
        desk: &mut Desk<'_>,
        [first, other]: [&Offered; 2],
        [first_keys, other_keys]: &[Pairing; 2],
    ) {
        self.tell(desk, 0, (first, other), first_keys);
        self.tell(desk, 1, (other, first), other_keys);
    }

    /// What one leg is once `of` and `peer` have said what they do.
    fn tell(
        &mut self,
        desk: &mut Desk<'_>,
        place: usize,
        (of, peer): (&Offered, &Offered),
        keys: &Pairing,
    ) {
        let (Some(told), Some(leg)) = (self.told.get_mut(place), self.legs.get(place)) else {
            return;
        };
        let next = InsideLeg {
            remote: of.remote,
            receive: of.direction.sends() && peer.direction.receives(),
            packets: packets(&told.packets, keys),
            ..told.clone()
        };
        if next != *told {
            told.clone_from(&next);
            let (leg, inside) = (*leg, next);
            desk.command(Command::UpdateInside { leg, inside });
        }
    }

    /// Carries nothing for now.
    pub(super) fn rest(&mut self, desk: &mut Desk<'_>) {
        for (leg, told) in self.legs.into_iter().zip(&mut self.told) {
            if std::mem::take(&mut told.receive) {
                let inside = told.clone();
                desk.command(Command::UpdateInside { leg, inside });
            }
        }
    }

    /// Closes both; gives the second.
    pub(super) fn close(self, desk: &mut Desk<'_>) -> LegId {
        for (leg, told) in self.legs.into_iter().zip(&self.told) {
            desk.command(Command::Remove { leg });
            desk.close_ports(told.local);
        }
        self.legs[1]
    }
}
