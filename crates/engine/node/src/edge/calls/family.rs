//! The address family of a call's media, where the edge serves both.
//!
//! Media is on the family that the client describes, and as long as it has described none, on that
//! of its signalling. A client that comes back on the other family is given ports there by the next
//! offer of either end: it is told of them at once, or with the answer, and media goes there once
//! the offer is agreed to, on a new leg under the stream's old name, so that the core notices
//! nothing. Until then everything stays where it was, and stays there for good if the offer is
//! refused (RFC 3261 §14.1). Bounds: one offer under way a call, the last one; a pair of ports for
//! each line that moves.

use std::net::{IpAddr, SocketAddr};

use base::Instant;
use media::{Command, PortPair};
use sdp::sdes::Crypto;

use super::streams::{Exchange, Stream};
use super::{CallId, Calls, Outside};

/// An address family.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Family {
    V4,
    V6,
}

impl Family {
    pub(super) fn of(ip: IpAddr) -> Family {
        match ip {
            IpAddr::V4(_) => Family::V4,
            IpAddr::V6(_) => Family::V6,
        }
    }
}

/// What an offer that is under way would change.
pub(super) struct Moving {
    /// What the client had described before.
    described: Option<(Family, Family)>,
    /// The ports of each line that moves.
    next: Vec<Option<Next>>,
}

/// Where a line moves.
pub(super) struct Next {
    local: PortPair,
    /// Where the client may be sent media there.
    pub(super) expected: Vec<SocketAddr>,
    /// The key of what is no RTP there. The new leg counts from the beginning, and no key is used
    /// twice.
    pub(super) ours: Option<Crypto>,
}

impl Moving {
    /// Where a line moves, if it does.
    pub(super) fn next_of(&mut self, i: usize) -> Option<&mut Next> {
        self.next.get_mut(i)?.as_mut()
    }

    /// The key of a line that moves and is no RTP.
    pub(super) fn key_of(&self, i: usize) -> Option<&Crypto> {
        self.next.get(i)?.as_ref()?.ours.as_ref()
    }
}

impl Calls {
    /// Where media of a family is; of the other if that family is not served.
    pub(super) fn outside(&self, family: Family) -> Option<&Outside> {
        let of = |o: &&Outside| Family::of(o.advertise) == family;
        self.outside.iter().find(of).or(self.outside.first())
    }

    pub(super) fn allocate(&mut self, now: Instant, family: Family) -> Option<PortPair> {
        let of = |o: &Outside| Family::of(o.advertise) == family;
        let at = self.outside.iter().position(of).unwrap_or(0);
        self.outside.get_mut(at)?.ports.allocate(now)
    }

    /// Ports that are needed no more.
    pub(super) fn give_back(&mut self, now: Instant, pair: PortPair) {
        let ours = |o: &&mut Outside| o.ports.address() == pair.rtp.ip();
        if let Some(outside) = self.outside.iter_mut().find(ours) {
            outside.ports.release(now, pair);
        }
    }

    /// The family that a call's media is to be on, with what the client describes now. What is on
    /// the other is to move if this is an offer.
    pub(super) fn settle(
        &mut self,
        exchange: &Exchange,
        id: CallId,
        described: Option<(Family, Family)>,
    ) -> Family {
        if exchange.offers {
            self.stay(exchange.now, id);
        }
        let mut before = None;
        if let Some(call) = self.rows.get_mut(id) {
            before = call.described;
            call.described = described.or(before);
        }
        let client = exchange.client.map(Family::of);
        let family = match (described.or(before), client) {
            // Described on the connection that the client has, or on one of that family.
            (Some((then, media)), now) if now.is_none_or(|now| now == then) => media,
            (_, Some(now)) => now,
            (_, None) => Family::V4,
        };
        let served = |o: &Outside| Family::of(o.advertise) == family;
        if exchange.offers && self.outside.iter().any(served) {
            self.prepare(exchange.now, id, family, before);
        }
        family
    }

    /// The ports that a client is told for a line: those it has, or those it would have.
    pub(super) fn told(&self, id: CallId, i: usize) -> Option<PortPair> {
        let moving = self.rows.get(id)?.moving.as_ref();
        let next = moving.and_then(|m| m.next.get(i)?.as_ref());
        next.map(|next| next.local).or_else(|| self.local(id, i))
    }

    /// Ports of this family are kept ready for the streams of a call that have others.
    fn prepare(
        &mut self,
        now: Instant,
        id: CallId,
        family: Family,
        described: Option<(Family, Family)>,
    ) {
        let lines = self.rows.get(id).map_or(0, |c| c.media.len());
        if lines == 0 {
            return; // it begins, and ends if its offer is refused
        }
        let mut next = Vec::with_capacity(lines);
        for i in 0..lines {
            let local = self.local(id, i).map(|local| local.rtp.ip());
            let moves = local.is_some_and(|ip| Family::of(ip) != family);
            let pair = moves.then(|| self.allocate(now, family)).flatten();
            let suite = self.key_suite(id, i);
            next.push(pair.map(|local| Next {
                local,
                expected: Vec::new(),
                ours: suite.map(|suite| Crypto::fresh(1, suite, &mut self.rng)),
            }));
        }
        if let Some(call) = self.rows.get_mut(id) {
            call.moving = Some(Box::new(Moving { described, next }));
        }
    }

    /// An offer was refused, or there is another: what was kept ready for it is given back.
    fn stay(&mut self, now: Instant, id: CallId) {
        let Some(moving) = self.rows.get_mut(id).and_then(|c| c.moving.take()) else {
            return;
        };
        for next in moving.next.into_iter().flatten() {
            self.give_back(now, next.local);
        }
    }

    /// An offer within a call was refused: its client has described nothing else.
    pub(crate) fn offer_refused(&mut self, now: Instant, id: CallId) {
        if let Some(call) = self.rows.get_mut(id)
            && let Some(moving) = &call.moving
        {
            call.described = moving.described;
        }
        self.stay(now, id);
    }

    /// The pairs that a call which is over had ready.
    pub(super) fn unused(&mut self, now: Instant, moving: Option<Box<Moving>>) {
        for next in moving.into_iter().flat_map(|m| m.next).flatten() {
            self.give_back(now, next.local);
        }
    }

    /// An offer within a call was agreed to: what is to move does.
    pub(crate) fn offer_agreed(&mut self, now: Instant, id: CallId) {
        let Some(moving) = self.rows.get_mut(id).and_then(|c| c.moving.take()) else {
            return;
        };
        for (i, next) in moving.next.into_iter().enumerate() {
            let Some(Next {
                local,
                expected,
                ours,
            }) = next
            else {
                continue;
            };
            let leg = self.name_leg(id);
            let call = self.rows.get_mut(id);
            let link = call.as_ref().map(|call| call.link);
            let stream = call.and_then(|call| call.media.get_mut(i)?.as_mut());
            let (Some(link), Some(stream)) = (link, stream) else {
                // The line is closed meanwhile.
                self.by_leg.remove(&leg);
                self.give_back(now, local);
                continue;
            };
            let v4 = local.rtp.is_ipv4();
            // Nothing is sent from one family to the other.
            let expected = expected.into_iter().filter(|a| a.is_ipv4() == v4);
            stream.expected = expected.collect();
            let old = Stream {
                leg: std::mem::replace(&mut stream.leg, leg),
                id: stream.id,
                kind: stream.kind.clone(),
                local: std::mem::replace(&mut stream.local, local),
                expected: Vec::new(),
                wrapped: None,
                counters: std::mem::take(&mut stream.counters),
            };
            if let (Some(wrapped), Some(ours)) = (&mut stream.wrapped, ours)
                && wrapped.ours.suite == ours.suite
            {
                wrapped.ours = ours;
            }
            let (name, edge) = (stream.id, stream.edge(link));
            let closed = self.free(now, link, old);
            self.retire(id, closed);
            self.streams.insert((link, name), leg);
            self.commands.push(Command::InstallEdge { leg, edge });
        }
    }
}
