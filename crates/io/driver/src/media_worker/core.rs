//! The core's side: sockets towards the inside, and sockets that dial each link's edge. Legs
//! between two parties inside have no link.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use base::Instant;
use media::between;
use media::core::{FromLink, Relay};
use media::link::{Dialer, Hop, PAIRS_MAX, State};
use media::{
    Command, Component, CoreLeg, Counters, InsideLeg, LegId, LinkId, LinkKeys, PortPair, StreamId,
};

use super::LINKS_MAX;
use super::edge::{LINGER, REOPEN, link_state};
use super::hop::HopSocket;
use super::turn::{Desk, Side};

/// Sockets of one link.
const HOPS: usize = PAIRS_MAX * 2;

struct Link {
    id: LinkId,
    dialer: Dialer,
    local: Vec<PortPair>,
    dial: Vec<PortPair>,
    /// By [`Hop::index`].
    hops: Vec<Option<HopSocket>>,
    reopen: Option<Instant>,
    told: State,
    /// When its control connection ended.
    down: Option<Instant>,
}

/// A core's links and relay.
#[derive(Default)]
pub(super) struct Core {
    relay: Relay,
    between: between::Relay,
    /// A link keeps its place, for its sockets' numbers follow from it.
    links: Vec<Option<Link>>,
    /// Legs' links and streams, by row.
    ways: Vec<Option<(LinkId, StreamId)>>,
}

impl Core {
    fn link_up(
        &mut self,
        desk: &mut Desk,
        id: LinkId,
        keys: &LinkKeys,
        local: Vec<PortPair>,
        mut dial: Vec<PortPair>,
    ) {
        dial.truncate(PAIRS_MAX);
        local.iter().for_each(|pair| desk.legs.cede(pair));
        let found = self
            .links
            .iter()
            .position(|l| l.as_ref().is_some_and(|l| l.id == id));
        let free = || self.links.iter().position(Option::is_none);
        let at = match found.or_else(free) {
            Some(at) => at,
            None if self.links.len() >= LINKS_MAX => {
                tracing::error!(
                    ?id,
                    max = LINKS_MAX,
                    "too many links: this one has no media"
                );
                return;
            }
            None => {
                self.links.push(None);
                self.links.len() - 1
            }
        };
        let Some(place) = self.links.get_mut(at) else {
            return;
        };
        match place {
            // The same sockets: the way through the firewall stays open.
            Some(link) if link.local == local && link.dial == dial => {
                link.dialer.renew(desk.now, keys);
                link.down = None;
            }
            _ => {
                // Closed before the new ones are opened, which may have the same addresses.
                *place = None;
                *place = Some(Link {
                    id,
                    dialer: Dialer::new(desk.now, keys, dial.len()),
                    hops: (0..dial.len() * 2).map(|_| None).collect(),
                    local,
                    dial,
                    reopen: None,
                    told: State::default(),
                    down: None,
                });
            }
        }
        if let Some(link) = place {
            link.open_hops(desk, at);
            link.greet(desk);
        }
    }

    fn install(&mut self, desk: &mut Desk, leg: LegId, core: CoreLeg, new: bool) {
        if let Some(row) = opened(desk, leg, (&core.local, core.remote.as_ref()), new) {
            self.leads(row, Some((core.link, core.stream)));
            self.relay.install(desk.now, leg, core);
        }
    }

    fn install_inside(&mut self, desk: &mut Desk, leg: LegId, inside: InsideLeg, new: bool) {
        if let Some(row) = opened(desk, leg, (&inside.local, inside.remote.as_ref()), new) {
            self.leads(row, None);
            self.between.install(desk.now, leg, inside);
        }
    }

    /// Where a row's packets go: over a link, or to another leg.
    fn leads(&mut self, row: usize, to: Option<(LinkId, StreamId)>) {
        if self.ways.len() <= row {
            self.ways.resize(row + 1, None);
        }
        if let Some(way) = self.ways.get_mut(row) {
            *way = to;
        }
    }

    /// What waits on a leg's socket goes to the other party inside.
    fn pass(&mut self, desk: &mut Desk, leg: LegId, component: Component) {
        for packet in desk.packets.datagrams() {
            desk.packet.clear();
            desk.packet.extend_from_slice(packet.bytes);
            let (source, packet) = (packet.source, &mut desk.packet);
            let passed = self.between.pass(desk.now, leg, component, source, packet);
            if let Some((other, to)) = passed
                && let Some(row) = desk.legs.row(other)
            {
                desk.run.push(&desk.legs, row, component, to, packet);
            }
        }
    }

    fn link(&mut self, id: LinkId) -> Option<&mut Link> {
        link_of(&mut self.links, id)
    }
}

/// The row of a leg, opened if it is new, and connected to its peer.
fn opened(
    desk: &mut Desk,
    leg: LegId,
    (local, remote): (&PortPair, Option<&PortPair>),
    new: bool,
) -> Option<usize> {
    let row = match desk.legs.row(leg) {
        Some(row) => row,
        None if new => {
            let row = desk.open_leg(leg, local)?;
            if remote.is_none() {
                desk.legs.release(row);
            }
            row
        }
        // Removed, or never opened: signalling has been told.
        None => return None,
    };
    if let Some(remote) = remote {
        desk.run.flush(&desk.legs);
        desk.legs.redirect(row, remote);
    }
    Some(row)
}

fn link_of(links: &mut [Option<Link>], id: LinkId) -> Option<&mut Link> {
    links.iter_mut().flatten().find(|l| l.id == id)
}

impl Link {
    /// The address that a hop's socket is bound to: as configured, or any of the family.
    fn local(&self, hop: Hop) -> Option<(SocketAddr, SocketAddr)> {
        let peer = self.dial.get(hop.pair)?.of(hop.component);
        let any = match peer.ip() {
            IpAddr::V4(_) => IpAddr::V4(Ipv4Addr::UNSPECIFIED),
            IpAddr::V6(_) => IpAddr::V6(Ipv6Addr::UNSPECIFIED),
        };
        let local = self
            .local
            .get(hop.pair)
            .map_or(SocketAddr::new(any, 0), |l| l.of(hop.component));
        Some((local, peer))
    }

    fn open_hops(&mut self, desk: &Desk, at: usize) {
        self.reopen = None;
        for index in 0..self.hops.len() {
            let Some((local, peer)) = self.local(Hop::at(index)) else {
                continue;
            };
            let Some(place) = self.hops.get_mut(index).filter(|h| h.is_none()) else {
                continue;
            };
            *place = HopSocket::open(desk, at * HOPS + index, local, Some(peer));
            if place.is_none() {
                self.reopen = Some(desk.now + REOPEN);
            }
        }
    }

    /// Sends the greetings that are due.
    fn greet(&mut self, desk: &mut Desk) {
        while let Some(hop) = self.dialer.poll_hello(desk.now, &mut desk.frame) {
            if let Some(Some(socket)) = self.hops.get_mut(hop.index()) {
                socket.push(None, &desk.frame);
            }
        }
    }

    /// Tells signalling how the link does, if it has changed and there is something new to say.
    fn tell(&mut self, desk: &Desk, measured: bool) {
        let state = self.dialer.state(desk.now);
        if self.down.is_none() && state != self.told && (measured || state.up != self.told.up) {
            self.told = state;
            desk.tell(link_state(self.id, state));
        }
    }

    /// One frame from the edge.
    fn frame(&mut self, desk: &mut Desk, relay: &mut Relay, hop: Hop, frame: &[u8]) {
        let Some(head) = self.dialer.open(desk.now, hop, frame) else {
            return;
        };
        desk.packet.clear();
        desk.packet.extend_from_slice(frame);
        match relay.from_link(desk.now, self.id, hop.component, head, &mut desk.packet) {
            FromLink::ToInside {
                leg,
                component,
                to,
                latch,
            } => {
                if let Some(to) = to
                    && let Some(row) = desk.legs.row(leg)
                {
                    if desk.legs.wants(row, component, to) {
                        desk.run.flush(&desk.legs);
                        desk.legs.connect(row, component, to);
                    }
                    desk.run.push(&desk.legs, row, component, to, &desk.packet);
                }
                if let Some(latch) = latch
                    && let Some(Some(socket)) = self.hops.get_mut(hop.index())
                {
                    media::core::latch(latch, self.dialer.keys(), &mut desk.frame);
                    socket.push(None, &desk.frame);
                    self.dialer.sent(hop, 1);
                }
            }
            FromLink::HelloAck => {
                if self.dialer.answered(desk.now, hop, frame) {
                    self.tell(desk, hop.component == Component::Rtp);
                }
            }
            FromLink::Dropped => {}
        }
    }
}

impl Side for Core {
    fn command(&mut self, desk: &mut Desk, command: Command) {
        match command {
            Command::LinkUp {
                link,
                keys,
                local,
                dial: Some(dial),
            } => {
                self.link_up(desk, link, &keys, local, dial);
            }
            Command::LinkDown { link } => {
                let now = desk.now;
                if let Some(link) = self.link(link) {
                    link.down = Some(now);
                    link.told = State::default();
                }
            }
            Command::InstallCore { leg, core } => self.install(desk, leg, core, true),
            Command::UpdateCore { leg, core } => self.install(desk, leg, core, false),
            Command::InstallInside { leg, inside } => {
                self.install_inside(desk, leg, inside, true);
            }
            Command::UpdateInside { leg, inside } => {
                self.install_inside(desk, leg, inside, false);
            }
            other => tracing::error!(?other, "no command for a core's media worker"),
        }
    }

    fn read_leg(&mut self, desk: &mut Desk, row: usize, component: Component) -> bool {
        let Some(port) = desk.legs.port(row, component) else {
            return false;
        };
        let more = desk.packets.fill(&port.socket);
        let Some(leg) = desk.legs.id(row) else {
            return more;
        };
        let Some(Some((id, stream))) = self.ways.get(row) else {
            self.pass(desk, leg, component);
            return more;
        };
        let Some(link) = link_of(&mut self.links, *id) else {
            return more;
        };
        let hop = link.dialer.hop_for(desk.now, *stream, component);
        let Some(Some(socket)) = link.hops.get_mut(hop.index()) else {
            return more;
        };
        let keys = link.dialer.keys();
        let mut sent = 0;
        for packet in desk.packets.datagrams() {
            desk.packet.clear();
            desk.packet.extend_from_slice(packet.bytes);
            let goes = self.relay.from_inside(
                desk.now,
                leg,
                component,
                packet.source,
                &mut desk.packet,
                keys,
                &mut desk.frame,
            );
            if goes {
                socket.push(None, &desk.frame);
                sent += 1;
            }
        }
        link.dialer.sent(hop, sent);
        more
    }

    fn read_link(&mut self, desk: &mut Desk, index: usize) -> bool {
        let (at, hop) = (index / HOPS, Hop::at(index % HOPS));
        let Some(Some(link)) = self.links.get_mut(at) else {
            return false;
        };
        let Some(Some(socket)) = link.hops.get(hop.index()) else {
            return false;
        };
        let more = desk.datagrams.fill(&socket.socket);
        // The inbox is lent out while its packets pass through the desk.
        let mut inbox = std::mem::take(&mut desk.datagrams);
        for datagram in inbox.datagrams() {
            for frame in datagram.bytes.chunks(datagram.segment.max(1)) {
                link.frame(desk, &mut self.relay, hop, frame);
            }
        }
        desk.datagrams = inbox;
        more
    }

    fn flush(&mut self) {
        let hops = self.links.iter_mut().flatten().flat_map(|l| &mut l.hops);
        hops.flatten().for_each(HopSocket::flush);
    }

    fn timers(&mut self, desk: &mut Desk) {
        for (at, place) in self.links.iter_mut().enumerate() {
            let Some(link) = place else { continue };
            if link
                .down
                .is_some_and(|since| desk.now.since(since) >= LINGER)
            {
                *place = None;
                continue;
            }
            if link.reopen.is_some_and(|due| due <= desk.now) {
                link.open_hops(desk, at);
            }
            link.greet(desk);
            link.hops.iter_mut().flatten().for_each(HopSocket::flush);
            link.tell(desk, false);
        }
    }

    fn poll_timeout(&self, _: Instant) -> Option<Instant> {
        self.links
            .iter()
            .flatten()
            .flat_map(|l| {
                let gone = l.down.map(|since| since + LINGER);
                l.dialer
                    .poll_timeout()
                    .into_iter()
                    .chain(l.reopen)
                    .chain(gone)
            })
            .min()
    }

    fn remove(&mut self, leg: LegId) -> Option<Counters> {
        self.relay.remove(leg).or_else(|| self.between.remove(leg))
    }

    fn counters(&self, leg: LegId) -> Option<Counters> {
        let between = || self.between.counters(leg);
        self.relay.counters(leg).or_else(between)
    }

    fn silence(&self, now: Instant, leg: LegId) -> Option<Duration> {
        let between = || self.between.silence(now, leg);
        self.relay.silence(now, leg).or_else(between)
    }
}
