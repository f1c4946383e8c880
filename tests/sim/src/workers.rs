//! A node's media workers: the product's relay on simulated sockets.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use base::Instant;
use media::mux::{End, HEADER_BYTES, Head, Keys, Kind};
use media::{Command, Component, Event, LegId, LinkId, PortPair, StreamId};

/// From, to, bytes.
pub type Datagram = (SocketAddr, SocketAddr, Vec<u8>);

/// A leg on which nothing came for so long is reported.
const SILENCE: Duration = Duration::from_secs(20);

enum Relay {
    Edge(media::edge::Relay),
    Core(media::core::Relay, media::between::Relay),
}

struct Link {
    keys: Keys,
    before: Option<Keys>,
    local: Vec<PortPair>,
    dial: Option<Vec<PortPair>>,
    /// Where the other end's RTP and RTCP come from.
    peer: [Option<SocketAddr>; 2],
    up: bool,
}

/// All media of one node.
pub struct Workers {
    relay: Relay,
    /// A leg between two parties inside has no link.
    legs: BTreeMap<LegId, (PortPair, Option<LinkId>)>,
    sockets: BTreeMap<SocketAddr, (LegId, Component)>,
    links: BTreeMap<LinkId, Link>,
    /// The next so many legs find their port taken.
    pub taken: u32,
    /// Some leg has found its port taken.
    pub refused: bool,
    /// What signalling did wrong.
    pub findings: Vec<String>,
    /// Pairs whose legs are gone, since the last greeting and before it.
    resting: [Vec<PortPair>; 2],
    events: Vec<Event>,
    out: Vec<Datagram>,
}

fn index(component: Component) -> usize {
    match component {
        Component::Rtp => 0,
        Component::Rtcp => 1,
    }
}

impl Workers {
    /// Without a leg.
    pub fn new(end: End) -> Workers {
        Workers {
            relay: match end {
                End::Edge => Relay::Edge(media::edge::Relay::default()),
                End::Core => Relay::Core(
                    media::core::Relay::default(),
                    media::between::Relay::default(),
                ),
            },
            legs: BTreeMap::new(),
            sockets: BTreeMap::new(),
            links: BTreeMap::new(),
            taken: 0,
            refused: false,
            findings: Vec::new(),
            resting: [Vec::new(), Vec::new()],
            events: Vec::new(),
            out: Vec::new(),
        }
    }

    /// Legs that are open.
    pub fn legs(&self) -> usize {
        self.legs.len()
    }

    /// Whether a socket is bound to this address.
    pub fn owns(&self, address: SocketAddr) -> bool {
        self.sockets.contains_key(&address) || self.link_socket(address).is_some()
    }

    /// What happened, and what is to be sent.
    pub fn take(&mut self) -> (Vec<Event>, Vec<Datagram>) {
        (
            std::mem::take(&mut self.events),
            std::mem::take(&mut self.out),
        )
    }

    /// Carries out a command.
    pub fn command(&mut self, now: Instant, command: Command) {
        match command {
            Command::LinkUp {
                link,
                keys,
                local,
                dial,
            } => {
                let end = match self.relay {
                    Relay::Edge(_) => End::Edge,
                    Relay::Core(..) => End::Core,
                };
                let before = self.links.remove(&link).map(|l| l.keys);
                let keys = Keys::new(&keys, end);
                let row = Link {
                    keys,
                    before,
                    local,
                    dial,
                    peer: [None; 2],
                    up: false,
                };
                self.links.insert(link, row);
                self.greet(now);
            }
            Command::LinkDown { link } => {
                self.links.remove(&link);
            }
            Command::InstallEdge { leg, edge } => {
                if self.open(leg, edge.local, Some(edge.link), true) {
                    let Relay::Edge(relay) = &mut self.relay else {
                        return;
                    };
                    relay.install(leg, edge);
                }
            }
            Command::UpdateEdge { leg, edge } => {
                if self.open(leg, edge.local, Some(edge.link), false) {
                    let Relay::Edge(relay) = &mut self.relay else {
                        return;
                    };
                    relay.install(leg, edge);
                }
            }
            Command::InstallCore { leg, core } => {
                if self.open(leg, core.local, Some(core.link), true) {
                    let Relay::Core(relay, _) = &mut self.relay else {
                        return;
                    };
                    relay.install(now, leg, core);
                }
            }
            Command::UpdateCore { leg, core } => {
                if self.open(leg, core.local, Some(core.link), false) {
                    let Relay::Core(relay, _) = &mut self.relay else {
                        return;
                    };
                    relay.install(now, leg, core);
                }
            }
            Command::InstallInside { leg, inside } => {
                if self.open(leg, inside.local, None, true) {
                    let Relay::Core(_, between) = &mut self.relay else {
                        return;
                    };
                    between.install(now, leg, inside);
                }
            }
            Command::UpdateInside { leg, inside } => {
                if self.open(leg, inside.local, None, false) {
                    let Relay::Core(_, between) = &mut self.relay else {
                        return;
                    };
                    between.install(now, leg, inside);
                }
            }
            Command::Remove { leg } => self.remove(leg),
            Command::Stop => {}
        }
    }

    /// Opens a leg's sockets, or checks that they are open; false if the leg cannot be.
    fn open(&mut self, leg: LegId, local: PortPair, link: Option<LinkId>, new: bool) -> bool {
        let known = self.legs.get(&leg).map(|(pair, _)| *pair);
        match (known, new) {
            (Some(pair), false) if pair == local => {
                self.legs.insert(leg, (local, link));
                return true;
            }
            // Its socket could not be opened a moment ago; the update crossed the news.
            (None, false) => return false,
            (None, true) => {}
            (known, _) => {
                self.findings
                    .push(format!("{leg:?} on {local:?} was {known:?}"));
                return false;
            }
        }
        for address in [local.rtp, local.rtcp] {
            if let Some(other) = self.sockets.get(&address) {
                self.findings
                    .push(format!("{address} is given to {leg:?} and {other:?}"));
            }
        }
        if self.taken > 0 {
            self.taken -= 1;
            self.refused = true;
            self.events.push(Event::BindFailed {
                leg,
                address: local.rtp,
            });
            return false;
        }
        self.legs.insert(leg, (local, link));
        self.sockets.insert(local.rtp, (leg, Component::Rtp));
        self.sockets.insert(local.rtcp, (leg, Component::Rtcp));
        self.events.push(Event::Installed { leg });
        true
    }

    fn remove(&mut self, leg: LegId) {
        if let Some((pair, _)) = self.legs.remove(&leg) {
            self.resting[0].push(pair);
            self.sockets.remove(&pair.rtp);
            self.sockets.remove(&pair.rtcp);
        }
        let counters = match &mut self.relay {
            Relay::Edge(relay) => relay.remove(leg),
            Relay::Core(relay, between) => relay.remove(leg).or_else(|| between.remove(leg)),
        };
        let counters = counters.unwrap_or_default();
        self.events.push(Event::Counters {
            leg,
            counters,
            last: true,
        });
    }

    /// What is done every few seconds: ends of rests, greetings on the core's links, reports of
    /// silence.
    pub fn greet(&mut self, now: Instant) {
        let [newer, older] = &mut self.resting;
        let pairs = std::mem::replace(older, std::mem::take(newer));
        if !pairs.is_empty() {
            self.events.push(Event::Rested { pairs });
        }
        for (id, link) in &self.links {
            let Some(dial) = &link.dial else { continue };
            for (theirs, ours) in dial.iter().zip(&link.local) {
                for component in [Component::Rtp, Component::Rtcp] {
                    let mut frame = Vec::new();
                    let head = Head {
                        kind: Kind::Hello,
                        number: 0,
                        stream: StreamId(0),
                    };
                    link.keys.seal(head, &[], &mut frame);
                    let from = bound(ours.of(component), *id, index(component));
                    self.out.push((from, theirs.of(component), frame));
                }
            }
        }
        let Relay::Core(relay, between) = &self.relay else {
            return;
        };
        for leg in self.legs.keys() {
            let silence = relay.silence(now, *leg);
            let silence = silence.or_else(|| between.silence(now, *leg));
            if let Some(since) = silence.filter(|s| *s >= SILENCE) {
                self.events.push(Event::NoMedia { leg: *leg, since });
            }
        }
    }

    fn link_socket(&self, address: SocketAddr) -> Option<Component> {
        self.links.iter().find_map(|(id, link)| {
            link.local.iter().find_map(|pair| {
                if bound(pair.rtp, *id, 0) == address {
                    Some(Component::Rtp)
                } else if bound(pair.rtcp, *id, 1) == address {
                    Some(Component::Rtcp)
                } else {
                    None
                }
            })
        })
    }

    /// Takes a datagram that came to one of our sockets; false if there is none.
    pub fn datagram(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
        bytes: &[u8],
    ) -> bool {
        if let Some(&(leg, component)) = self.sockets.get(&to) {
            self.hear_outside(now, leg, component, from, bytes);
            return true;
        }
        match self.link_socket(to) {
            Some(component) => {
                self.hear_link(now, from, to, component, bytes);
                true
            }
            None => false,
        }
    }

    fn hear_outside(
        &mut self,
        now: Instant,
        leg: LegId,
        component: Component,
        from: SocketAddr,
        bytes: &[u8],
    ) {
        let Some((_, id)) = self.legs.get(&leg) else {
            return;
        };
        let Some(id) = *id else {
            return self.hear_inside(now, leg, component, from, bytes);
        };
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let mut frame = Vec::new();
        let carried = match &mut self.relay {
            Relay::Edge(relay) => {
                relay.from_client(now, leg, component, from, bytes, &link.keys, &mut frame)
            }
            Relay::Core(relay, _) => {
                let mut packet = bytes.to_vec();
                relay.from_inside(
                    now,
                    leg,
                    component,
                    from,
                    &mut packet,
                    &link.keys,
                    &mut frame,
                )
            }
        };
        if carried {
            self.tell_link(id, component, frame);
        }
    }

    /// A party inside sends to the other.
    fn hear_inside(
        &mut self,
        now: Instant,
        leg: LegId,
        component: Component,
        from: SocketAddr,
        bytes: &[u8],
    ) {
        let Relay::Core(_, between) = &mut self.relay else {
            return;
        };
        let mut packet = bytes.to_vec();
        let passed = between.pass(now, leg, component, from, &mut packet);
        if let Some((other, to)) = passed
            && let Some((local, _)) = self.legs.get(&other)
        {
            self.out.push((local.of(component), to, packet));
        }
    }

    fn tell_link(&mut self, id: LinkId, component: Component, frame: Vec<u8>) {
        let Some(link) = self.links.get(&id) else {
            return;
        };
        let i = index(component);
        let dialled = link
            .dial
            .as_ref()
            .and_then(|d| d.first())
            .map(|d| d.of(component));
        let (Some(to), Some(local)) = (dialled.or(link.peer[i]), link.local.first()) else {
            return;
        };
        self.out
            .push((bound(local.of(component), id, i), to, frame));
    }

    fn hear_link(
        &mut self,
        now: Instant,
        from: SocketAddr,
        to: SocketAddr,
        component: Component,
        bytes: &[u8],
    ) {
        let found = self.links.iter().find_map(|(id, link)| {
            let with = |keys: &Keys| keys.open(bytes);
            with(&link.keys)
                .or_else(|| link.before.as_ref().and_then(with))
                .map(|h| (*id, h))
        });
        let Some((id, head)) = found else { return };
        match &mut self.relay {
            Relay::Edge(relay) => match relay.from_link(now, id, component, head, bytes) {
                media::edge::FromLink::ToClient { leg, component, to } => {
                    let Some((local, _)) = self.legs.get(&leg) else {
                        return;
                    };
                    let payload = bytes.get(HEADER_BYTES..).unwrap_or_default().to_vec();
                    self.out.push((local.of(component), to, payload));
                }
                media::edge::FromLink::Datagram { leg, to } => {
                    let Some((local, _)) = self.legs.get(&leg) else {
                        return;
                    };
                    self.out.push((local.rtp, to, relay.datagram().to_vec()));
                }
                media::edge::FromLink::Latched {
                    leg,
                    address,
                    component,
                } => {
                    if component == Component::Rtp {
                        self.events.push(Event::Latched { leg, address });
                    }
                }
                media::edge::FromLink::Hello => self.greeted(id, component, from, to),
                media::edge::FromLink::Dropped => {}
            },
            Relay::Core(relay, _) => {
                let mut frame = bytes.to_vec();
                match relay.from_link(now, id, component, head, &mut frame) {
                    media::core::FromLink::ToInside {
                        leg,
                        component,
                        to,
                        latch,
                    } => {
                        let Some((local, _)) = self.legs.get(&leg) else {
                            return;
                        };
                        if let Some(to) = to {
                            self.out.push((local.of(component), to, frame));
                        }
                        if let (Some(head), Some(link)) = (latch, self.links.get(&id)) {
                            let mut reply = Vec::new();
                            media::core::latch(head, &link.keys, &mut reply);
                            self.tell_link(id, component, reply);
                        }
                    }
                    media::core::FromLink::HelloAck => self.link_state(id),
                    media::core::FromLink::Dropped => {}
                }
            }
        }
    }

    /// A core has greeted: its media comes from there.
    fn greeted(&mut self, id: LinkId, component: Component, from: SocketAddr, to: SocketAddr) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        link.peer[index(component)] = Some(from);
        let mut frame = Vec::new();
        let head = Head {
            kind: Kind::HelloAck,
            number: 0,
            stream: StreamId(0),
        };
        link.keys.seal(head, &[], &mut frame);
        self.out.push((to, from, frame));
        self.link_state(id);
    }

    fn link_state(&mut self, id: LinkId) {
        let Some(link) = self.links.get_mut(&id) else {
            return;
        };
        if !std::mem::replace(&mut link.up, true) {
            let event = Event::LinkState {
                link: id,
                up: true,
                round_trip: None,
                loss_permille: 0,
            };
            self.events.push(event);
        }
    }
}

/// The address a socket has once it is bound: port 0 becomes one of the system's choice.
fn bound(address: SocketAddr, link: LinkId, component: usize) -> SocketAddr {
    match address.port() {
        0 => SocketAddr::new(address.ip(), 61_000 + 2 * link.0 as u16 + component as u16),
        _ => address,
    }
}
