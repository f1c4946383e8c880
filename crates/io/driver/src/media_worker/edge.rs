//! The edge's side: clients' sockets, and the ports on which all cores are heard.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use base::Instant;
use media::edge::{FromLink, Relay};
use media::link::{Hop, Listener, PAIRS_MAX, State};
use media::mux::{HEADER_BYTES, Head, Kind};
use media::{Command, Component, Counters, EdgeLeg, Event, LegId, LinkId, LinkKeys, PortPair};

use super::LINKS_MAX;
use super::hop::HopSocket;
use super::turn::{Desk, Side};

/// How long media flows on after a link's control connection has ended: it may come back, and
/// calls in progress should not notice.
pub(super) const LINGER: Duration = Duration::from_secs(60);

/// How often a port that could not be opened is tried.
pub(super) const REOPEN: Duration = Duration::from_secs(2);

struct Link {
    id: LinkId,
    listener: Listener,
    told: State,
    /// When its control connection ended.
    down: Option<Instant>,
}

/// An edge's links and relay.
#[derive(Default)]
pub(super) struct Edge {
    relay: Relay,
    links: Vec<Link>,
    /// The link a core's address belongs to, as its greetings have shown.
    by_source: HashMap<(usize, SocketAddr), LinkId, base::FixedState>,
    pairs: Vec<PortPair>,
    /// By [`Hop::index`].
    hops: Vec<Option<HopSocket>>,
    reopen: Option<Instant>,
    /// Legs' links and streams, by row.
    ways: Vec<Option<(LinkId, media::StreamId)>>,
}

impl Edge {
    fn link_up(&mut self, desk: &mut Desk, id: LinkId, keys: &LinkKeys, local: &[PortPair]) {
        for (pair, wanted) in local.iter().take(PAIRS_MAX).enumerate() {
            if self.pairs.get(pair) == Some(wanted) {
                continue;
            }
            if self.pairs.len() <= pair {
                self.pairs.push(*wanted);
                self.hops.extend([None, None]);
            } else if let Some(place) = self.pairs.get_mut(pair) {
                *place = *wanted;
                self.hops
                    .iter_mut()
                    .skip(pair * 2)
                    .take(2)
                    .for_each(|h| *h = None);
            }
        }
        self.open_hops(desk);
        if let Some(link) = self.links.iter_mut().find(|l| l.id == id) {
            link.listener.renew(keys);
            link.down = None;
        } else if self.links.len() < LINKS_MAX {
            let listener = Listener::new(keys);
            self.links.push(Link {
                id,
                listener,
                told: State::default(),
                down: None,
            });
        } else {
            tracing::error!(
                ?id,
                max = LINKS_MAX,
                "too many links: this one has no media"
            );
        }
    }

    fn open_hops(&mut self, desk: &Desk) {
        self.reopen = None;
        for (index, place) in self.hops.iter_mut().enumerate() {
            let Hop { pair, component } = Hop::at(index);
            let Some(pair) = self.pairs.get(pair).filter(|_| place.is_none()) else {
                continue;
            };
            *place = HopSocket::open(desk, index, pair.of(component), None);
            if place.is_none() {
                self.reopen = Some(desk.now + REOPEN);
            }
        }
    }

    fn install(&mut self, desk: &mut Desk, leg: LegId, edge: EdgeLeg, new: bool) {
        let row = match desk.legs.row(leg) {
            Some(row) => row,
            None if new => match desk.open_leg(leg, &edge.local) {
                Some(row) => row,
                None => return,
            },
            // Removed, or never opened: signalling has been told.
            None => return,
        };
        if self.ways.len() <= row {
            self.ways.resize(row + 1, None);
        }
        if let Some(way) = self.ways.get_mut(row) {
            *way = Some((edge.link, edge.stream));
        }
        self.relay.install(leg, edge);
    }

    /// One frame from a core, or from somebody who would like to be one.
    fn frame(&mut self, desk: &mut Desk, hop: Hop, source: SocketAddr, frame: &[u8]) {
        let known = self.by_source.get(&(hop.index(), source)).copied();
        let Some((id, head)) = self.open(desk.now, hop, known, frame) else {
            return;
        };
        match self
            .relay
            .from_link(desk.now, id, hop.component, head, frame)
        {
            FromLink::ToClient { leg, component, to } => {
                if let Some(row) = desk.legs.row(leg) {
                    let packet = frame.get(HEADER_BYTES..).unwrap_or_default();
                    desk.run.push(&desk.legs, row, component, to, packet);
                }
            }
            FromLink::Datagram { leg, to } => {
                if let Some(row) = desk.legs.row(leg) {
                    let packet = self.relay.datagram();
                    desk.run.push(&desk.legs, row, Component::Rtp, to, packet);
                }
            }
            FromLink::Latched {
                leg,
                component,
                address,
            } => {
                if component == Component::Rtp {
                    desk.tell(Event::Latched { leg, address });
                }
            }
            FromLink::Hello => self.hello(desk, id, hop, source, frame),
            FromLink::Dropped => {}
        }
    }

    /// Finds the link whose keys a frame was sealed with. Media comes from where the link's core
    /// has greeted from; a greeting may come from anywhere.
    fn open(
        &mut self,
        now: Instant,
        hop: Hop,
        known: Option<LinkId>,
        frame: &[u8],
    ) -> Option<(LinkId, Head)> {
        if let Some(id) = known
            && let Some(link) = self.links.iter_mut().find(|l| l.id == id)
            && let Some(head) = link.listener.open(now, hop, frame)
        {
            return Some((id, head));
        }
        if !Kind::Hello.is_of(frame) {
            return None;
        }
        self.links
            .iter_mut()
            .find_map(|l| Some((l.id, l.listener.open(now, hop, frame)?)))
    }

    fn hello(&mut self, desk: &mut Desk, id: LinkId, hop: Hop, source: SocketAddr, frame: &[u8]) {
        let Some(link) = self.links.iter_mut().find(|l| l.id == id) else {
            return;
        };
        let greeted = link
            .listener
            .greeted(desk.now, hop, source, frame, &mut desk.frame);
        let Some(greeted) = greeted else { return };
        if let Some(before) = greeted.moved_from {
            self.by_source.remove(&(hop.index(), before));
            tracing::info!(?id, "the core's media comes from another address now");
        }
        self.by_source.insert((hop.index(), greeted.core), id);
        if let Some(Some(socket)) = self.hops.get_mut(hop.index()) {
            socket.push(Some(greeted.core), &desk.frame);
        }
        link.tell(desk, hop.component == Component::Rtp);
    }
}

impl Link {
    /// Tells signalling how the link does, if it has changed and there is something new to say.
    fn tell(&mut self, desk: &Desk, measured: bool) {
        let state = self.listener.state(desk.now);
        if self.down.is_none() && state != self.told && (measured || state.up != self.told.up) {
            self.told = state;
            desk.tell(link_state(self.id, state));
        }
    }
}

/// As signalling wants it.
pub(super) fn link_state(link: LinkId, state: State) -> Event {
    Event::LinkState {
        link,
        up: state.up,
        round_trip: state.round_trip,
        loss_permille: state.loss_permille,
    }
}

impl Side for Edge {
    fn command(&mut self, desk: &mut Desk, command: Command) {
        match command {
            Command::LinkUp {
                link, keys, local, ..
            } => self.link_up(desk, link, &keys, &local),
            Command::LinkDown { link } => {
                if let Some(link) = self.links.iter_mut().find(|l| l.id == link) {
                    link.down = Some(desk.now);
                    link.told = State::default();
                }
            }
            Command::InstallEdge { leg, edge } => self.install(desk, leg, edge, true),
            Command::UpdateEdge { leg, edge } => self.install(desk, leg, edge, false),
            other => tracing::error!(?other, "no command for an edge's media worker"),
        }
    }

    fn read_leg(&mut self, desk: &mut Desk, row: usize, component: Component) -> bool {
        let Some(port) = desk.legs.port(row, component) else {
            return false;
        };
        let more = desk.packets.fill(&port.socket);
        let (Some(leg), Some(Some((id, stream)))) = (desk.legs.id(row), self.ways.get(row)) else {
            return more;
        };
        let Some(link) = self.links.iter_mut().find(|l| l.id == *id) else {
            return more;
        };
        let Some((hop, core, keys)) = link.listener.way(desk.now, *stream, component) else {
            return more;
        };
        let mut socket = self.hops.get_mut(hop.index()).and_then(Option::as_mut);
        let mut sent = 0;
        for packet in desk.packets.datagrams() {
            let goes = self.relay.from_client(
                desk.now,
                leg,
                component,
                packet.source,
                packet.bytes,
                keys,
                &mut desk.frame,
            );
            if goes && let Some(socket) = &mut socket {
                socket.push(Some(core), &desk.frame);
                sent += 1;
            }
        }
        link.listener.sent(hop, sent);
        more
    }

    fn read_link(&mut self, desk: &mut Desk, index: usize) -> bool {
        let Some(Some(hop)) = self.hops.get(index) else {
            return false;
        };
        let more = desk.datagrams.fill(&hop.socket);
        // The inbox is lent out while its packets pass through the desk.
        let mut inbox = std::mem::take(&mut desk.datagrams);
        for datagram in inbox.datagrams() {
            for frame in datagram.bytes.chunks(datagram.segment.max(1)) {
                self.frame(desk, Hop::at(index), datagram.source, frame);
            }
        }
        desk.datagrams = inbox;
        more
    }

    fn flush(&mut self) {
        self.hops.iter_mut().flatten().for_each(HopSocket::flush);
    }

    fn timers(&mut self, desk: &mut Desk) {
        if self.reopen.is_some_and(|at| at <= desk.now) {
            self.open_hops(desk);
        }
        let now = desk.now;
        let gone = |l: &Link| l.down.is_some_and(|since| now.since(since) >= LINGER);
        if self.links.iter().any(gone) {
            self.links.retain(|l| !gone(l));
            let links = &self.links;
            self.by_source
                .retain(|_, id| links.iter().any(|l| l.id == *id));
        }
        for link in &mut self.links {
            link.tell(desk, false);
        }
    }

    fn poll_timeout(&self, now: Instant) -> Option<Instant> {
        self.links
            .iter()
            .filter_map(|l| match l.down {
                Some(since) => Some(since + LINGER),
                None => l.listener.poll_timeout(now),
            })
            .chain(self.reopen)
            .min()
    }

    fn remove(&mut self, leg: LegId) -> Option<Counters> {
        self.relay.remove(leg)
    }

    fn counters(&self, leg: LegId) -> Option<Counters> {
        self.relay.counters(leg)
    }

    /// An edge knows no direction of media; the core tells.
    fn silence(&self, _: Instant, _: LegId) -> Option<Duration> {
        None
    }
}
