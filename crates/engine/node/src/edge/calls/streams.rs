//! The m-lines of a call: ports, streams, and the descriptions that name them.
//!
//! Whoever speaks first names the streams ([`media::StreamId`]); the edge opens a port pair for
//! each m-line that is carried and rewrites addresses in passing. Keys of media pass through
//! unread. A stream that is no RTP ([`media::Datagram`]) has none: for its way over the link edge
//! and core give one another keys in `a=crypto`, which the client never sees, and it is heard from
//! the address alone that the call's RTP was verified to come from.
//!
//! Where both address families are served, a call's media is on the one that the client describes,
//! and as long as it has described none, on that of its signalling; how it goes from one to the
//! other, [`super::family`] says. Bounds: 16 m-lines ([`sdp::MEDIA_MAX`]), and the ports of the
//! configured range.

use std::net::{IpAddr, SocketAddr};

use base::{Id, Instant};
use media::{
    Command, Counters, Datagram, Datagrams, EdgeLeg, LegId, LinkId, PortPair, SrtpKey, StreamId,
};
use sdp::Session;
use sdp::sdes::{Crypto, Suite};

use super::family::Family;
use super::{Call, CallId, Calls, Refusal, text};

/// One m-line that is relayed.
pub(super) struct Stream {
    pub(super) leg: LegId,
    pub(super) id: StreamId,
    pub(super) kind: String,
    pub(super) local: PortPair,
    pub(super) expected: Vec<SocketAddr>,
    pub(super) wrapped: Option<Wrapped>,
    pub(super) counters: Counters,
}

/// What a stream that is no RTP has beside: its keys on the link.
pub(super) struct Wrapped {
    kind: Datagram,
    pub(super) ours: Crypto,
    theirs: Option<Crypto>,
    /// Where the call's RTP has been verified to come from.
    from: Option<IpAddr>,
}

/// What is to be known of a message beside the description in it.
pub(crate) struct Exchange {
    pub(crate) now: Instant,
    /// Where the client's signalling comes from: behind NAT it is a better guess than the address
    /// in the text. `None` if it has no connection.
    pub(crate) client: Option<IpAddr>,
    /// In an early description a line that is refused keeps its stream, if it has one.
    pub(crate) early: bool,
    /// Whether the description is an offer, and not perhaps an answer.
    pub(crate) offers: bool,
}

/// An m-line that is to have a stream.
struct Opening {
    family: Family,
    /// The core's name for it.
    named: Option<StreamId>,
    kind: String,
    datagram: Option<Datagram>,
    /// The core's key, if it is no RTP.
    theirs: Option<Crypto>,
}

/// The attribute that names a stream between edge and core.
pub(crate) const STREAM_ATTRIBUTE: &[u8] = b"x-causeway-stream";

/// Where a stream that is no RTP has its keys, between edge and core alone.
const CRYPTO: &[u8] = b"crypto";

/// What the edge offers for such a stream: every core has it.
const SUITE: Suite = Suite::AesCm128HmacSha1_80;

impl Call {
    /// The figures of each m-line, open and closed, with its leg and what it carries.
    pub(crate) fn figures(&self) -> impl Iterator<Item = (LegId, &str, Counters)> {
        let open = self
            .media
            .iter()
            .flatten()
            .map(|s| (s.leg, s.kind.as_str(), s.counters));
        let closed = self
            .closed
            .iter()
            .map(|(leg, kind, c)| (*leg, kind.as_str(), *c));
        closed.chain(open)
    }
}

impl Calls {
    /// A description from the client, as the core gets it.
    pub(crate) fn describe_to_core(
        &mut self,
        exchange: &Exchange,
        id: CallId,
        description: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let (now, source) = (exchange.now, exchange.client.ok_or(Refusal::Unknown)?);
        let mut session = Session::parse(description).map_err(|_| Refusal::NotAcceptable)?;
        let carried = |i: usize| session.is_rtp(i) || Datagram::of(session.proto(i)).is_some();
        let mut active = (0..session.media_count())
            .filter(|i| session.is_active(*i))
            .peekable();
        if active.peek().is_some() && !active.any(carried) {
            return Err(Refusal::NothingCarried);
        }
        let signalled: Vec<Option<SocketAddr>> = (0..session.media_count())
            .map(|i| session.rtp_address(i))
            .collect();
        let media = signalled.iter().flatten().find(|a| usable(a));
        let described = media.map(|media| (Family::of(source), Family::of(media.ip())));
        let family = self.settle(exchange, id, described);
        let link = self.link;
        for (i, address) in signalled.into_iter().enumerate() {
            session.remove_attribute(i, STREAM_ATTRIBUTE);
            let datagram = Datagram::of(session.proto(i));
            if !session.is_active(i) || (!session.is_rtp(i) && datagram.is_none()) {
                if !exchange.early {
                    self.release(now, id, i);
                }
                session.reject(i);
                continue;
            }
            let opening = Opening {
                family,
                named: None,
                kind: text(session.kind(i)),
                datagram,
                theirs: None,
            };
            let name = self.stream(now, id, i, opening)?;
            self.expect(id, i, expected(address, source));
            session.set_address(i, link.ip(), link.port());
            if datagram.is_some() {
                session.remove_attribute(i, CRYPTO);
                let key = self.key_to_core(id, i).ok_or(Refusal::NotAcceptable)?;
                session.add_attribute(i, CRYPTO, key.to_string().as_bytes());
            }
            session.add_attribute(i, STREAM_ATTRIBUTE, format!("{:08x}", name.0).as_bytes());
        }
        session.remove_session_attributes(|name, _| name == STREAM_ATTRIBUTE);
        session.set_origin_address(link.ip());
        Ok(session.to_bytes())
    }

    /// A description from the core, as the client gets it.
    pub(crate) fn describe_to_client(
        &mut self,
        exchange: &Exchange,
        id: CallId,
        description: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let now = exchange.now;
        let mut session = Session::parse(description).map_err(|_| Refusal::NotAcceptable)?;
        let family = self.settle(exchange, id, None);
        let advertise = self.outside(family).ok_or(Refusal::Exhausted)?.advertise;
        for i in 0..session.media_count() {
            if !session.is_active(i) {
                if !exchange.early {
                    self.release(now, id, i);
                }
                session.remove_attribute(i, STREAM_ATTRIBUTE);
                // Without this, a description that refuses all would show the core's address.
                session.set_address(i, advertise, 0);
                continue;
            }
            let named = session
                .attribute(i, STREAM_ATTRIBUTE)
                .and_then(|v| std::str::from_utf8(v).ok())
                .and_then(|v| u32::from_str_radix(v.trim(), 16).ok())
                .map(StreamId)
                .ok_or(Refusal::NotAcceptable)?;
            let datagram = Datagram::of(session.proto(i));
            let mut theirs = None;
            if datagram.is_some() {
                theirs = session.crypto(i).into_iter().next();
                theirs.as_ref().ok_or(Refusal::NotAcceptable)?;
                session.remove_attribute(i, CRYPTO);
            }
            let opening = Opening {
                family,
                named: Some(named),
                kind: text(session.kind(i)),
                datagram,
                theirs,
            };
            self.stream(now, id, i, opening)?;
            let local = self.told(id, i).ok_or(Refusal::Exhausted)?.rtp;
            let outside = self.outside(Family::of(local.ip()));
            let told = outside.map_or(advertise, |o| o.advertise);
            session.set_address(i, told, local.port());
            session.remove_attribute(i, STREAM_ATTRIBUTE);
        }
        session.set_origin_address(advertise);
        Ok(session.to_bytes())
    }

    /// A name for one more leg of a call.
    pub(super) fn name_leg(&mut self, id: CallId) -> LegId {
        // 2^64 legs are never used up, so no two bear one name.
        let leg = LegId(Id::new(self.next_leg as u32, (self.next_leg >> 32) as u32));
        self.next_leg += 1;
        self.by_leg.insert(leg, id);
        leg
    }

    pub(super) fn local(&self, id: CallId, i: usize) -> Option<PortPair> {
        self.rows.get(id)?.media.get(i)?.as_ref().map(|s| s.local)
    }

    /// The stream of an m-line, opened if it is new; `named` is the core's name for it.
    fn stream(
        &mut self,
        now: Instant,
        id: CallId,
        i: usize,
        opening: Opening,
    ) -> Result<StreamId, Refusal> {
        let named = opening.named;
        let row = self.rows.get(id).ok_or(Refusal::Unknown)?;
        let (link, verified) = (row.link, row.verified);
        if let Some(named) = named {
            self.check_name(id, i, link, named)?;
        }
        let call = self.rows.get_mut(id).ok_or(Refusal::Unknown)?;
        if i >= call.media.len() {
            call.media.resize_with(i + 1, || None);
        }
        let slot = call.media.get_mut(i).ok_or(Refusal::NotAcceptable)?;
        if let Some(stream) = slot {
            let (old, before) = (stream.id, stream.edge(link));
            if stream.wrapped.as_ref().map(|w| w.kind) != opening.datagram {
                return Err(Refusal::NotAcceptable);
            }
            if let (Some(wrapped), Some(theirs)) = (&mut stream.wrapped, opening.theirs) {
                wrapped.agree(theirs, &mut self.rng);
            }
            stream.id = named.unwrap_or(old);
            if stream.edge(link) != before {
                self.commands.push(Command::UpdateEdge {
                    leg: stream.leg,
                    edge: stream.edge(link),
                });
                self.streams.remove(&(link, old));
                self.streams.insert((link, stream.id), stream.leg);
            }
            return Ok(stream.id);
        }
        self.may_open(id)?;
        let local = self.allocate(now, opening.family);
        let local = local.ok_or(Refusal::Exhausted)?;
        let leg = self.name_leg(id);
        let name = named.unwrap_or_else(|| {
            // The top bit says who named it: 0 is the edge.
            std::iter::repeat_with(|| StreamId(self.rng.u32() >> 1))
                .find(|n| !self.streams.contains_key(&(link, *n)))
                .unwrap_or(StreamId(0))
        });
        let wrapped = opening.datagram.map(|kind| {
            let theirs = opening.theirs;
            let suite = theirs.as_ref().map_or(SUITE, |t| t.suite);
            Wrapped {
                kind,
                ours: Crypto::fresh(1, suite, &mut self.rng),
                theirs,
                from: verified,
            }
        });
        let stream = Stream {
            leg,
            id: name,
            kind: opening.kind,
            local,
            expected: Vec::new(),
            wrapped,
            counters: Counters::default(),
        };
        self.commands.push(Command::InstallEdge {
            leg,
            edge: stream.edge(link),
        });
        if let Some(call) = self.rows.get_mut(id)
            && let Some(slot) = call.media.get_mut(i)
        {
            *slot = Some(stream);
        }
        self.streams.insert((link, name), leg);
        Ok(name)
    }

    /// Our key of a stream that is no RTP, as an answer to the core's if that came first.
    fn key_to_core(&self, id: CallId, i: usize) -> Option<Crypto> {
        let call = self.rows.get(id)?;
        let wrapped = call.media.get(i)?.as_ref()?.wrapped.as_ref()?;
        let next = call.moving.as_ref().and_then(|m| m.key_of(i));
        Some(Crypto {
            tag: wrapped.theirs.as_ref().map_or(1, |t| t.tag),
            ..next.unwrap_or(&wrapped.ours).clone()
        })
    }

    /// How a stream that is no RTP is closed on the link.
    pub(super) fn key_suite(&self, id: CallId, i: usize) -> Option<Suite> {
        let stream = self.rows.get(id)?.media.get(i)?.as_ref()?;
        Some(stream.wrapped.as_ref()?.ours.suite)
    }

    /// The core has verified where a leg's RTP comes from: what is no RTP is heard from there.
    pub(crate) fn latched(&mut self, leg: LegId, address: IpAddr) {
        let Some(call) = self.by_leg.get(&leg).and_then(|id| self.rows.get_mut(*id)) else {
            return;
        };
        if call.verified.replace(address) == Some(address) {
            return;
        }
        let link = call.link;
        for stream in call.media.iter_mut().flatten() {
            if let Some(wrapped) = &mut stream.wrapped {
                wrapped.from = Some(address);
                self.commands.push(Command::UpdateEdge {
                    leg: stream.leg,
                    edge: stream.edge(link),
                });
            }
        }
    }

    /// A core may keep the name a stream has, or give one that is its own and free.
    fn check_name(
        &self,
        id: CallId,
        i: usize,
        link: LinkId,
        named: StreamId,
    ) -> Result<(), Refusal> {
        let kept = self.rows.get(id).and_then(|c| c.media.get(i)?.as_ref());
        if kept.is_some_and(|s| s.id == named) {
            return Ok(());
        }
        let its_own = named.0 >> 31 == 1;
        if its_own && !self.streams.contains_key(&(link, named)) {
            return Ok(());
        }
        Err(Refusal::NotAcceptable)
    }

    /// Where the client may be sent media before its first packet was verified.
    fn expect(&mut self, id: CallId, i: usize, expected: Vec<SocketAddr>) {
        let Some(call) = self.rows.get_mut(id) else {
            return;
        };
        if let Some(next) = call.moving.as_mut().and_then(|m| m.next_of(i)) {
            next.expected = expected;
            return;
        }
        let link = call.link;
        let Some(Some(stream)) = call.media.get_mut(i) else {
            return;
        };
        // Nothing is sent from one family to the other.
        let v4 = stream.local.rtp.is_ipv4();
        let expected: Vec<SocketAddr> =
            expected.into_iter().filter(|a| a.is_ipv4() == v4).collect();
        if stream.expected == expected {
            return;
        }
        stream.expected = expected;
        let (leg, edge) = (stream.leg, stream.edge(link));
        match self.commands.last_mut() {
            // It was opened a moment ago, with nothing expected yet.
            Some(Command::InstallEdge {
                leg: last,
                edge: new,
            }) if *last == leg => *new = edge,
            _ => self.commands.push(Command::UpdateEdge { leg, edge }),
        }
    }

    fn release(&mut self, now: Instant, id: CallId, i: usize) {
        let Some(call) = self.rows.get_mut(id) else {
            return;
        };
        let link = call.link;
        let Some(stream) = call.media.get_mut(i).and_then(Option::take) else {
            return;
        };
        let closed = self.free(now, link, stream);
        self.retire(id, closed);
    }

    /// A leg is closed; its last figures are still to come.
    pub(super) fn retire(&mut self, id: CallId, closed: (LegId, String, Counters)) {
        match self.rows.get_mut(id) {
            Some(call) if call.closed.len() < sdp::MEDIA_MAX => call.closed.push(closed),
            _ => drop(self.by_leg.remove(&closed.0)),
        }
    }

    pub(super) fn free(
        &mut self,
        now: Instant,
        link: LinkId,
        stream: Stream,
    ) -> (LegId, String, Counters) {
        self.streams.remove(&(link, stream.id));
        self.give_back(now, stream.local);
        self.commands.push(Command::Remove { leg: stream.leg });
        (stream.leg, stream.kind, stream.counters)
    }

    /// The client sends nothing on a leg: its call, if that is news.
    pub(crate) fn silent(&mut self, leg: LegId) -> Option<&Call> {
        let call = self.rows.get_mut(*self.by_leg.get(&leg)?)?;
        (!std::mem::replace(&mut call.silent, true)).then_some(call)
    }

    /// What a leg has carried so far; false if it is no call's that is still there.
    pub(crate) fn count(&mut self, leg: LegId, counters: Counters) -> bool {
        let Some(call) = self.by_leg.get(&leg).and_then(|id| self.rows.get_mut(*id)) else {
            return false;
        };
        let open = call
            .media
            .iter_mut()
            .flatten()
            .find(|s| s.leg == leg)
            .map(|s| &mut s.counters);
        let closed = call
            .closed
            .iter_mut()
            .find(|(l, _, _)| *l == leg)
            .map(|(_, _, c)| c);
        if let Some(place) = open.or(closed) {
            if counters.from_client.packets > place.from_client.packets {
                call.silent = false;
            }
            *place = counters;
        }
        true
    }
}

impl Stream {
    pub(super) fn edge(&self, link: LinkId) -> EdgeLeg {
        EdgeLeg {
            stream: self.id,
            link,
            local: self.local,
            expected: self.expected.clone(),
            datagrams: self.wrapped.as_ref().map(|w| Datagrams {
                kind: w.kind,
                unprotect: w.theirs.as_ref().map(srtp),
                protect: Some(srtp(&w.ours)),
                from: w.from,
            }),
        }
    }
}

impl Wrapped {
    /// The core's key: ours follows its suite.
    fn agree(&mut self, theirs: Crypto, rng: &mut base::Rng) {
        if self.ours.suite != theirs.suite {
            self.ours = Crypto::fresh(1, theirs.suite, rng);
        }
        self.theirs = Some(theirs);
    }
}

/// A key as the media workers take it.
fn srtp(key: &Crypto) -> SrtpKey {
    SrtpKey {
        suite: key.suite,
        key: key.key.clone(),
        mki: Vec::new(),
    }
}

/// Where media may be sent before the core has verified a packet: the signalled port at the
/// address that the client's signalling proved to be its own.
fn expected(signalled: Option<SocketAddr>, source: IpAddr) -> Vec<SocketAddr> {
    // An address that differs from the signalling's is either private behind NAT, which cannot
    // be reached, or a third party, which must not be: only the source counts. A hold of old
    // (0.0.0.0, RFC 3264 §8.4) and multicast get nothing.
    signalled
        .filter(usable)
        .map(|a| SocketAddr::new(source, a.port()))
        .into_iter()
        .collect()
}

fn usable(signalled: &SocketAddr) -> bool {
    !signalled.ip().is_unspecified() && !signalled.ip().is_multicast()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn media_goes_to_the_signalling_source_and_never_to_a_third_party() {
        let at = |s: &str| s.parse::<SocketAddr>().unwrap();
        let source: IpAddr = "198.51.100.7".parse().unwrap();
        let table = [
            (Some("198.51.100.7:4000"), vec!["198.51.100.7:4000"]),
            (Some("10.0.0.5:4000"), vec!["198.51.100.7:4000"]),
            (Some("169.254.169.254:80"), vec!["198.51.100.7:80"]),
            (Some("224.0.0.1:4000"), vec![]),
            (Some("0.0.0.0:4000"), vec![]),
            (None, vec![]),
        ];
        for (signalled, want) in table {
            let want: Vec<SocketAddr> = want.into_iter().map(at).collect();
            assert_eq!(expected(signalled.map(at), source), want, "{signalled:?}");
        }
    }
}
