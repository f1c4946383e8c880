//! Everybody but the worker: the other end of the link, clients, phones.

use std::net::SocketAddr;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use base::{Id, Instant, Rng, Secret};
use driver::media_worker::{Role, Workers};
use media::link::{Dialer, Hop, Listener};
use media::mux::{HEADER_BYTES, Head, Kind};
use media::srtp::{Context, Suite};
use media::{
    Command, Component, CoreLeg, EdgeLeg, Event, LegId, LinkId, LinkKeys, PortPair, SrtpKey,
    StreamId,
};
use net::udp::{Inbox, Options, Outbox, Udp};

const LINK: LinkId = LinkId(0);
const RTP: Hop = Hop {
    pair: 0,
    component: Component::Rtp,
};

/// A packet that has come through.
pub struct Seen {
    pub ssrc: u32,
    pub sequence: u16,
}

enum End {
    /// The worker is a core; we are the edge.
    Edge {
        listener: Box<Listener>,
        core: Option<SocketAddr>,
    },
    /// The worker is an edge; we are the core.
    Core { dialer: Dialer },
}

struct Leg {
    local: SocketAddr,
    /// Seals what the client sends, and what the core sends to it.
    seal: [Context; 2],
    /// Opens them, to compare.
    open: [Context; 2],
    sequence: [u16; 2],
}

pub struct Far {
    end: End,
    legs: Vec<Leg>,
    payload: usize,
    link: Udp,
    link_rtcp: Udp,
    link_out: Outbox,
    link_in: Inbox,
    /// Of all clients, or of all phones.
    people: Udp,
    people_out: Outbox,
    people_in: Inbox,
    packet: Vec<u8>,
    frame: Vec<u8>,
    began: std::time::Instant,
}

fn bind(coalesce: bool) -> Udp {
    let bytes = Some(16 << 20);
    let options = Options {
        receive_bytes: bytes,
        send_bytes: bytes,
        dscp: None,
        coalesce,
    };
    Udp::bind("127.0.0.1:0".parse().unwrap(), options).unwrap()
}

/// The ports of one leg, or of the link, on an address of loopback that is this process's own.
fn pair(of: usize) -> PortPair {
    let [a, b] = (std::process::id() as u16).to_be_bytes();
    let at = |port| SocketAddr::from(([127, 16 | a >> 1, b, 1], port));
    let port = 10_000 + 2 * of as u16;
    PortPair {
        rtp: at(port),
        rtcp: at(port + 1),
    }
}

fn key(seed: u64) -> SrtpKey {
    let mut key = vec![0; 30];
    Rng::from_number(seed).fill(&mut key);
    SrtpKey {
        suite: Suite::AesCm128HmacSha1_80,
        key: Secret::new(key),
        mki: vec![],
    }
}

fn stream(leg: usize) -> StreamId {
    StreamId(1 + leg as u32)
}

fn context(leg: usize, way: usize) -> Context {
    Context::new(&key((leg * 2 + way) as u64)).unwrap()
}

impl Far {
    pub fn new(role: Role, workers: &Workers, legs: usize, payload: usize) -> Far {
        let keys = LinkKeys {
            secret: Secret::new([7; 64]),
        };
        let (link, link_rtcp) = (bind(true), bind(true));
        let ours = PortPair {
            rtp: link.local_address().unwrap(),
            rtcp: link_rtcp.local_address().unwrap(),
        };
        let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let (end, local, dial) = match role {
            Role::Core => {
                let listener = Box::new(Listener::new(&keys));
                (
                    End::Edge {
                        listener,
                        core: None,
                    },
                    PortPair {
                        rtp: any,
                        rtcp: any,
                    },
                    Some(vec![ours]),
                )
            }
            Role::Edge => {
                let local = pair(legs);
                link.connect(local.rtp).unwrap();
                link_rtcp.connect(local.rtcp).unwrap();
                (
                    End::Core {
                        dialer: Dialer::new(Instant::ZERO, &keys, 1),
                    },
                    local,
                    None,
                )
            }
        };
        workers
            .send(Command::LinkUp {
                link: LINK,
                keys,
                local: vec![local],
                dial,
            })
            .unwrap();
        let people = bind(false);
        let at = people.local_address().unwrap();
        let remote = PortPair { rtp: at, rtcp: at };
        let legs = (0..legs)
            .map(|i| Leg::install(role, workers, i, remote))
            .collect();
        Far {
            end,
            legs,
            payload,
            link,
            link_rtcp,
            link_out: Outbox::new(128 * 1024),
            link_in: Inbox::new(8, 65_536),
            people,
            people_out: Outbox::new(128 * 1024),
            people_in: Inbox::new(32, 2048),
            packet: Vec::new(),
            frame: Vec::new(),
            began: std::time::Instant::now(),
        }
    }

    pub fn legs(&self) -> usize {
        self.legs.len()
    }

    /// Waits until all legs are open and, on an edge, every client has been found.
    pub fn settle(&mut self, events: &Receiver<Event>) {
        let latches = matches!(self.end, End::Core { .. });
        let (mut installed, mut latched, mut up) = (0, 0, false);
        while installed < self.legs.len() || !up {
            self.receive(&mut |_| {});
            match events.recv_timeout(Duration::from_millis(1)) {
                Ok(Event::Installed { .. }) => installed += 1,
                Ok(Event::LinkState { up: now, .. }) => up = now,
                Ok(Event::BindFailed { address, .. }) => panic!("{address} cannot be bound"),
                _ => {}
            }
        }
        while latches && latched < self.legs.len() {
            self.send(latched, true);
            self.flush();
            while !matches!(
                events.recv_timeout(Duration::from_micros(100)),
                Ok(Event::Latched { .. })
            ) {
                self.receive(&mut |_| {});
            }
            latched += 1;
        }
    }

    /// Queues the next packet of a leg, from its client or to it; its SSRC and sequence number.
    pub fn send(&mut self, leg: usize, from_client: bool) -> (u32, u16) {
        let way = usize::from(!from_client);
        let Some(row) = self.legs.get_mut(leg) else {
            return (0, 0);
        };
        row.sequence[way] = row.sequence[way].wrapping_add(1);
        let (ssrc, sequence) = ((leg * 2 + way) as u32, row.sequence[way]);
        write_rtp(&mut self.packet, ssrc, sequence, self.payload);
        let plays_edge = matches!(self.end, End::Edge { .. });
        // Media is encrypted outside: towards a core on the link, towards an edge everywhere.
        if from_client || !plays_edge {
            row.seal[way].protect_rtp(&mut self.packet).unwrap();
        }
        if from_client == plays_edge {
            let head = Head {
                kind: Kind::Data,
                number: sequence,
                stream: stream(leg),
            };
            let to = match &self.end {
                End::Edge { listener, core } => {
                    let now = Instant::ZERO;
                    if let Some((_, _, keys)) = listener.way(now, head.stream, Component::Rtp) {
                        keys.seal(head, &self.packet, &mut self.frame);
                    }
                    *core
                }
                End::Core { dialer } => {
                    dialer.keys().seal(head, &self.packet, &mut self.frame);
                    None
                }
            };
            self.link_out.push(to, &self.frame);
            if !self.link_out.has_room(2048) {
                self.link_out.flush(&self.link);
            }
        } else {
            self.people_out.push(Some(row.local), &self.packet);
            if !self.people_out.has_room(2048) {
                self.people_out.flush(&self.people);
            }
        }
        (ssrc, sequence)
    }

    pub fn flush(&mut self) {
        self.link_out.flush(&self.link);
        self.people_out.flush(&self.people);
    }

    /// Takes what has come through.
    pub fn receive(&mut self, seen: &mut dyn FnMut(Seen)) {
        let now = Instant::from_micros(self.began.elapsed().as_micros() as u64);
        if let End::Core { dialer } = &mut self.end {
            while let Some(hop) = dialer.poll_hello(now, &mut self.frame) {
                let socket = if hop == RTP {
                    &self.link
                } else {
                    &self.link_rtcp
                };
                socket.send(None, &self.frame);
            }
        }
        let plain = matches!(self.end, End::Edge { .. });
        self.people_in.fill(&self.people);
        for packet in self.people_in.datagrams() {
            compare(&mut self.legs, packet.bytes, plain, self.payload, seen);
        }
        for component in [Component::Rtp, Component::Rtcp] {
            let hop = Hop { pair: 0, component };
            let socket = if hop == RTP {
                &self.link
            } else {
                &self.link_rtcp
            };
            self.link_in.fill(socket);
            for datagram in self.link_in.datagrams() {
                for frame in datagram.bytes.chunks(datagram.segment.max(1)) {
                    answer(
                        &mut self.end,
                        now,
                        hop,
                        datagram.source,
                        frame,
                        socket,
                        &mut self.frame,
                    );
                    if Kind::Data.is_of(frame) {
                        let packet = &frame[HEADER_BYTES..];
                        compare(&mut self.legs, packet, false, self.payload, seen);
                    }
                }
            }
        }
    }
}

impl Leg {
    fn install(role: Role, workers: &Workers, leg: usize, remote: PortPair) -> Leg {
        let (id, local) = (LegId(Id::new(leg as u32, 0)), pair(leg));
        let command = match role {
            Role::Core => Command::InstallCore {
                leg: id,
                core: CoreLeg {
                    stream: stream(leg),
                    link: LINK,
                    local,
                    remote: Some(remote),
                    unprotect: Some(key((leg * 2) as u64)),
                    protect: Some(key((leg * 2 + 1) as u64)),
                    receive: true,
                    send: true,
                    inside: media::Inside::Plain,
                },
            },
            Role::Edge => Command::InstallEdge {
                leg: id,
                edge: EdgeLeg {
                    stream: stream(leg),
                    link: LINK,
                    local,
                    expected: vec![remote.rtp],
                    datagrams: None,
                },
            },
        };
        workers.send(command).unwrap();
        Leg {
            local: local.rtp,
            seal: [context(leg, 0), context(leg, 1)],
            open: [context(leg, 0), context(leg, 1)],
            sequence: [0; 2],
        }
    }
}

/// Greetings and candidates get their answer.
fn answer(
    end: &mut End,
    now: Instant,
    hop: Hop,
    source: SocketAddr,
    frame: &[u8],
    socket: &Udp,
    out: &mut Vec<u8>,
) {
    match end {
        End::Edge { listener, core } => {
            let hello = Kind::Hello.is_of(frame) && listener.open(now, hop, frame).is_some();
            if hello && listener.greeted(now, hop, source, frame, out).is_some() {
                socket.send(Some(source), out);
                if hop == RTP {
                    *core = Some(source);
                }
            }
        }
        End::Core { dialer } if !Kind::Data.is_of(frame) => {
            let Some(head) = dialer.open(now, hop, frame) else {
                return;
            };
            if head.kind == Kind::Candidate {
                media::core::latch(
                    Head {
                        kind: Kind::Latch,
                        ..head
                    },
                    dialer.keys(),
                    out,
                );
                socket.send(None, out);
            } else {
                dialer.answered(now, hop, frame);
            }
        }
        _ => {}
    }
}

/// Tells of a packet; every 64th must hold what was sent.
fn compare(
    legs: &mut [Leg],
    packet: &[u8],
    plain: bool,
    payload: usize,
    seen: &mut dyn FnMut(Seen),
) {
    let Some(header) = media::rtp::Header::parse(packet) else {
        return;
    };
    let (ssrc, sequence) = (header.ssrc, header.sequence);
    if sequence.is_multiple_of(64) {
        let (mut opened, mut wanted) = (packet.to_vec(), Vec::new());
        if !plain {
            let (leg, way) = (ssrc as usize / 2, ssrc as usize % 2);
            legs[leg].open[way]
                .unprotect_rtp(&mut opened)
                .expect("a packet that does not open");
        }
        write_rtp(&mut wanted, ssrc, sequence, payload);
        assert!(opened == wanted, "a packet holds something else");
    }
    seen(Seen { ssrc, sequence });
}

fn write_rtp(out: &mut Vec<u8>, ssrc: u32, sequence: u16, payload: usize) {
    out.clear();
    out.extend([0x80, 0]);
    out.extend(sequence.to_be_bytes());
    out.extend((u32::from(sequence) * 160).to_be_bytes());
    out.extend(ssrc.to_be_bytes());
    out.resize(12 + payload, (ssrc as u8) ^ (sequence as u8));
}
