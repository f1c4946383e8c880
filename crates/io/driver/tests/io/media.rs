//! Media through a real edge worker and a real core worker. The client's SRTP is another
//! implementation (`webrtc-srtp`), so that a misreading of ours is not mirrored.
//!
//! That a packet goes nowhere is shown by the one sent after it, which arrives first.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, TryRecvError, channel};

use base::{Id, Rng, Secret};
use driver::media_worker::{Refused, Role, Settings, Workers, start};
use media::srtp::Suite;
use media::{
    Command, CoreLeg, Counters, EdgeLeg, Event, LegId, LinkId, LinkKeys, PortPair, SrtpKey,
    StreamId,
};
use webrtc_srtp::context::Context;
use webrtc_srtp::protection_profile::ProtectionProfile;

use crate::support::SOON;

mod other;
mod rests;

const LINK: LinkId = LinkId(3);
const LEG: LegId = LegId(Id::new(1, 0));
const STREAM: StreamId = StreamId(0x00ab_cdef);

/// An address of loopback that no other test of this machine has at this moment.
fn own_address() -> IpAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let [a, b] = (std::process::id() as u16).to_be_bytes();
    let n = NEXT.fetch_add(1, Ordering::Relaxed) as u8;
    IpAddr::V4(Ipv4Addr::new(127, 16 | a >> 1, b, n + 2))
}

fn socket(ip: IpAddr) -> UdpSocket {
    let socket = UdpSocket::bind((ip, 0)).unwrap();
    socket.set_read_timeout(Some(SOON)).unwrap();
    socket
}

/// Two free ports.
fn pair(ip: IpAddr) -> PortPair {
    let (rtp, rtcp) = (socket(ip), socket(ip));
    PortPair {
        rtp: rtp.local_addr().unwrap(),
        rtcp: rtcp.local_addr().unwrap(),
    }
}

fn link_keys(seed: u64) -> LinkKeys {
    let mut secret = [0; 64];
    Rng::from_number(seed).fill(&mut secret);
    LinkKeys {
        secret: Secret::new(secret),
    }
}

fn srtp_key(seed: u64) -> SrtpKey {
    let mut key = vec![0; 30];
    Rng::from_number(seed).fill(&mut key);
    SrtpKey {
        suite: Suite::AesCm128HmacSha1_80,
        key: Secret::new(key),
        mki: vec![],
    }
}

/// The other implementation, with one of our keys.
fn context(seed: u64) -> Context {
    let key = srtp_key(seed);
    let (key, salt) = key.key.expose().split_at(16);
    Context::new(
        key,
        salt,
        ProtectionProfile::Aes128CmHmacSha1_80,
        None,
        None,
    )
    .unwrap()
}

fn rtp(sequence: u16) -> Vec<u8> {
    let mut p = vec![0x80, 0];
    p.extend(sequence.to_be_bytes());
    p.extend((u32::from(sequence) * 160).to_be_bytes());
    p.extend(77u32.to_be_bytes());
    p.extend((0..160).map(|i| (sequence as u8).wrapping_mul(31) ^ i));
    p
}

fn sender_report(n: u8) -> Vec<u8> {
    let mut p = vec![0x80, 200, 0, 6, 0, 0, 0, 77];
    p.extend([n; 20]);
    p
}

struct Node {
    workers: Workers,
    events: Receiver<Event>,
}

impl Node {
    fn new(settings: Settings) -> Node {
        let (tell, events) = channel();
        let workers = start(settings, move |event| {
            // The test may have ended.
            let _ = tell.send(event);
        })
        .unwrap();
        Node { workers, events }
    }

    fn tell(&self, command: Command) {
        self.workers.send(command).unwrap();
    }

    /// The next event that `wanted` likes; others are passed over.
    fn wait<T>(&self, mut wanted: impl FnMut(Event) -> Option<T>) -> T {
        let until = std::time::Instant::now() + SOON;
        loop {
            let left = until.saturating_duration_since(std::time::Instant::now());
            if let Some(found) = wanted(self.events.recv_timeout(left).expect("no such event")) {
                return found;
            }
        }
    }

    fn wait_up(&self) {
        self.wait(|e| matches!(e, Event::LinkState { up: true, .. }).then_some(()));
    }

    fn remove(&self) -> Counters {
        self.tell(Command::Remove { leg: LEG });
        self.wait(|e| match e {
            Event::Counters {
                leg: LEG,
                counters,
                last: true,
            } => Some(counters),
            _ => None,
        })
    }
}

/// A client's SRTP.
struct Client {
    socket: UdpSocket,
    rtcp: UdpSocket,
    out: Context,
    inwards: Context,
}

struct House {
    ip: IpAddr,
    edge: Node,
    core: Node,
    link: PortPair,
    edge_leg: EdgeLeg,
    core_leg: CoreLeg,
    client: Client,
    phone: UdpSocket,
    phone_rtcp: UdpSocket,
}

impl House {
    fn new() -> House {
        Self::on(own_address(), Settings::new(Role::Core))
    }

    fn on(ip: IpAddr, core: Settings) -> House {
        let (phone, phone_rtcp) = (socket(ip), socket(ip));
        let client = Client {
            socket: socket(ip),
            rtcp: socket(ip),
            out: context(1),
            inwards: context(2),
        };
        let house = House {
            ip,
            edge: Node::new(Settings::new(Role::Edge)),
            core: Node::new(core),
            link: pair(ip),
            edge_leg: EdgeLeg {
                stream: STREAM,
                link: LINK,
                local: pair(ip),
                expected: vec![client.socket.local_addr().unwrap()],
                datagrams: None,
            },
            core_leg: CoreLeg {
                stream: STREAM,
                link: LINK,
                local: pair(ip),
                remote: Some(PortPair {
                    rtp: phone.local_addr().unwrap(),
                    rtcp: phone_rtcp.local_addr().unwrap(),
                }),
                unprotect: Some(srtp_key(1)),
                protect: Some(srtp_key(2)),
                receive: true,
                send: true,
                inside: media::Inside::Plain,
            },
            client,
            phone,
            phone_rtcp,
        };
        house.edge_up(1);
        house.core_up(1);
        house.edge.wait_up();
        house.core.wait_up();
        house.edge.tell(Command::InstallEdge {
            leg: LEG,
            edge: house.edge_leg.clone(),
        });
        house.core.tell(Command::InstallCore {
            leg: LEG,
            core: house.core_leg.clone(),
        });
        for node in [&house.edge, &house.core] {
            node.wait(|e| (e == Event::Installed { leg: LEG }).then_some(()));
        }
        house
    }

    fn edge_up(&self, seed: u64) {
        let (keys, local) = (link_keys(seed), vec![self.link]);
        self.edge.tell(Command::LinkUp {
            link: LINK,
            keys,
            local,
            dial: None,
        });
    }

    fn core_up(&self, seed: u64) {
        let any = SocketAddr::new(self.ip, 0);
        let local = vec![PortPair {
            rtp: any,
            rtcp: any,
        }];
        let (keys, dial) = (link_keys(seed), Some(vec![self.link]));
        self.core.tell(Command::LinkUp {
            link: LINK,
            keys,
            local,
            dial,
        });
    }

    fn protect(&mut self, sequence: u16) -> Vec<u8> {
        self.client
            .out
            .encrypt_rtp(&rtp(sequence))
            .unwrap()
            .to_vec()
    }

    /// The client speaks; the phone hears the same.
    fn speak(&mut self, sequence: u16) {
        let packet = self.protect(sequence);
        self.client
            .socket
            .send_to(&packet, self.edge_leg.local.rtp)
            .unwrap();
        self.phone_hears(sequence);
    }

    fn phone_hears(&self, sequence: u16) {
        let (source, packet) = receive(&self.phone);
        assert_eq!(source, self.core_leg.local.rtp);
        assert_eq!(packet, rtp(sequence));
    }

    /// The phone speaks; `at` hears the same, encrypted on the way.
    fn answer(&mut self, sequence: u16, at: Option<&UdpSocket>) {
        self.phone
            .send_to(&rtp(sequence), self.core_leg.local.rtp)
            .unwrap();
        let (source, packet) = receive(at.unwrap_or(&self.client.socket));
        assert_eq!(source, self.edge_leg.local.rtp);
        assert_ne!(packet[12..172], rtp(sequence)[12..], "never plain outside");
        assert_eq!(
            self.client.inwards.decrypt_rtp(&packet).unwrap(),
            rtp(sequence)
        );
    }
}

fn receive(socket: &UdpSocket) -> (SocketAddr, Vec<u8>) {
    let mut room = [0; 2048];
    let (length, source) = socket.recv_from(&mut room).expect("no packet came");
    (source, room[..length].to_vec())
}

#[test]
fn audio_passes_both_ways_by_content() {
    let mut h = House::new();
    for i in 1..100 {
        h.speak(i);
        h.answer(i, None);
    }
    let (edge, core) = (h.edge.remove(), h.core.remove());
    for c in [core.from_client, core.to_client, edge.to_client] {
        assert_eq!((c.packets, c.lost), (99, 0));
    }
    // The first was a candidate.
    assert!(edge.from_client.packets >= 90, "{edge:?}");
    assert_eq!(
        (core.forged, core.replayed, core.malformed, edge.strangers),
        (0, 0, 0, 0)
    );
}

#[test]
fn audio_passes_both_ways_over_ipv6() {
    let mut h = House::on("::1".parse().unwrap(), Settings::new(Role::Core));
    for i in 1..5 {
        h.speak(i);
        h.answer(i, None);
    }
}

#[test]
fn media_follows_a_client_behind_nat_only_after_the_core_has_verified_a_packet() {
    let mut h = House::new();
    // NAT gives the client another address than it has signalled.
    let nat = socket(h.ip);
    h.answer(1, None);
    nat.send_to(
        &context(9).encrypt_rtp(&rtp(1)).unwrap(),
        h.edge_leg.local.rtp,
    )
    .unwrap();
    h.core.wait(|e| match e {
        Event::Counters { counters, .. } if counters.forged == 1 => Some(()),
        _ => None,
    });
    h.answer(2, None);
    let packet = h.protect(7);
    nat.send_to(&packet, h.edge_leg.local.rtp).unwrap();
    h.phone_hears(7);
    let address = h.edge.wait(|e| match e {
        Event::Latched { leg: LEG, address } => Some(address),
        _ => None,
    });
    assert_eq!(address, nat.local_addr().unwrap());
    h.answer(3, Some(&nat));
}

#[test]
fn media_follows_a_client_that_moves_to_another_network() {
    let mut h = House::new();
    for i in 1..10 {
        h.speak(i);
        h.answer(i, None);
    }
    let elsewhere = socket(h.ip);
    let packet = h.protect(10);
    elsewhere.send_to(&packet, h.edge_leg.local.rtp).unwrap();
    h.phone_hears(10);
    let moved = elsewhere.local_addr().unwrap();
    h.edge.wait(|e| {
        (e == Event::Latched {
            leg: LEG,
            address: moved,
        })
        .then_some(())
    });
    h.answer(10, Some(&elsewhere));
    // The old network is a stranger's now, until it proves to be the client's again.
    h.client
        .socket
        .send_to(&packet, h.edge_leg.local.rtp)
        .unwrap();
    let packet = h.protect(11);
    elsewhere.send_to(&packet, h.edge_leg.local.rtp).unwrap();
    h.phone_hears(11);
    h.answer(11, Some(&elsewhere));
}

#[test]
fn a_strangers_packets_go_nowhere() {
    let mut h = House::new();
    h.speak(1);
    let stranger = socket(h.ip);
    let heard = h.protect(2);
    h.client
        .socket
        .send_to(&heard, h.edge_leg.local.rtp)
        .unwrap();
    h.phone_hears(2);
    for i in 0..50u16 {
        // Plain, under a wrong key, overheard, and no media at all.
        for packet in [
            rtp(i),
            context(9).encrypt_rtp(&rtp(i)).unwrap().to_vec(),
            heard.clone(),
            vec![0; usize::from(i)],
        ] {
            stranger.send_to(&packet, h.edge_leg.local.rtp).unwrap();
            stranger.send_to(&packet, h.edge_leg.local.rtcp).unwrap();
            stranger.send_to(&packet, h.core_leg.local.rtp).unwrap();
            stranger.send_to(&packet, h.link.rtp).unwrap();
        }
        h.speak(i + 3);
        h.answer(i + 3, None);
    }
    stranger.set_nonblocking(true).unwrap();
    assert!(stranger.recv(&mut [0; 64]).is_err(), "nothing is answered");
    let edge = h.edge.remove();
    assert!(edge.strangers > 0 && edge.malformed > 0, "{edge:?}");
    let core = h.core.remove();
    assert_eq!((core.from_client.packets, core.to_client.packets), (52, 50));
    assert!(core.forged > 0, "{core:?}");
}

#[test]
fn a_packet_that_is_sent_twice_is_heard_once() {
    let mut h = House::new();
    h.speak(1);
    let packet = h.protect(2);
    for _ in 0..3 {
        h.client
            .socket
            .send_to(&packet, h.edge_leg.local.rtp)
            .unwrap();
    }
    h.phone_hears(2);
    h.speak(3);
    assert_eq!(h.core.remove().replayed, 2);
}

#[test]
fn rtcp_passes_both_ways_by_content() {
    let mut h = House::new();
    for i in 1..10 {
        let packet = h.client.out.encrypt_rtcp(&sender_report(i)).unwrap();
        h.client
            .rtcp
            .send_to(&packet, h.edge_leg.local.rtcp)
            .unwrap();
        let (source, packet) = receive(&h.phone_rtcp);
        assert_eq!((source, packet), (h.core_leg.local.rtcp, sender_report(i)));
        // The edge sends where a verified packet came from; its verdict may still be under way.
        if i == 1 {
            continue;
        }
        h.phone_rtcp
            .send_to(&sender_report(i), h.core_leg.local.rtcp)
            .unwrap();
        let (source, packet) = receive(&h.client.rtcp);
        assert_eq!(source, h.edge_leg.local.rtcp);
        assert_ne!(packet[8..28], sender_report(i)[8..]);
        assert_eq!(
            h.client.inwards.decrypt_rtcp(&packet).unwrap(),
            sender_report(i)
        );
    }
}

#[test]
fn new_keys_of_the_link_lose_no_packet() {
    let mut h = House::new();
    for i in 1..400 {
        match i {
            50 => h.edge_up(2),
            100 => h.core_up(2),
            150 => h.core_up(3),
            200 => h.edge_up(3),
            // Nothing is known to be settled before the next change.
            250 => {
                h.edge_up(4);
                h.core_up(4);
            }
            _ => {}
        }
        h.speak(i);
        h.answer(i, None);
    }
}

#[test]
fn a_held_call_is_silent_and_is_resumed() {
    let mut h = House::new();
    h.speak(1);
    h.answer(1, None);
    let hold = CoreLeg {
        receive: false,
        send: false,
        ..h.core_leg.clone()
    };
    h.core.tell(Command::UpdateCore {
        leg: LEG,
        core: hold,
    });
    // The next command is carried out after the update, and so are the packets below.
    let other = LegId(Id::new(2, 0));
    h.core.tell(Command::Remove { leg: other });
    h.core
        .wait(|e| matches!(e, Event::Counters { leg, .. } if leg == other).then_some(()));
    let packet = h.protect(2);
    h.client
        .socket
        .send_to(&packet, h.edge_leg.local.rtp)
        .unwrap();
    h.phone.send_to(&rtp(2), h.core_leg.local.rtp).unwrap();
    h.core.wait(|e| match e {
        Event::Counters {
            leg: LEG, counters, ..
        } => (counters.from_client.packets == 2).then_some(()),
        _ => None,
    });
    h.core.tell(Command::UpdateCore {
        leg: LEG,
        core: h.core_leg.clone(),
    });
    h.core.tell(Command::Remove { leg: other });
    h.core
        .wait(|e| matches!(e, Event::Counters { leg, .. } if leg == other).then_some(()));
    h.speak(3);
    h.answer(3, None);
}

#[test]
fn a_phone_that_is_signalled_elsewhere_is_heard_there_alone() {
    let mut h = House::new();
    h.speak(1);
    let before = std::mem::replace(&mut h.phone, socket(h.ip));
    let mut leg = h.core_leg.clone();
    leg.remote = leg.remote.map(|r| PortPair {
        rtp: h.phone.local_addr().unwrap(),
        ..r
    });
    h.core.tell(Command::UpdateCore {
        leg: LEG,
        core: leg,
    });
    h.core.tell(Command::Remove {
        leg: LegId(Id::new(2, 0)),
    });
    h.core
        .wait(|e| matches!(e, Event::Counters { leg, .. } if leg != LEG).then_some(()));
    h.speak(2);
    before.send_to(&rtp(50), h.core_leg.local.rtp).unwrap();
    h.answer(2, None);
}

#[test]
fn ports_are_for_another_leg_when_the_last_figures_have_come_and_free_at_the_end() {
    let mut h = House::new();
    h.speak(1);
    let leg = LegId(Id::new(2, 0));
    for (node, local) in [(&h.edge, h.edge_leg.local), (&h.core, h.core_leg.local)] {
        assert_eq!(
            node.remove().from_client.packets,
            u64::from(local == h.core_leg.local)
        );
        node.tell(if local == h.core_leg.local {
            let core = h.core_leg.clone();
            Command::InstallCore { leg, core }
        } else {
            let edge = h.edge_leg.clone();
            Command::InstallEdge { leg, edge }
        });
        node.wait(|e| (e == Event::Installed { leg }).then_some(()));
        node.tell(Command::Remove { leg });
    }
    h.edge.workers.stop();
    h.core.workers.stop();
    for pair in [h.link, h.edge_leg.local, h.core_leg.local] {
        for address in [pair.rtp, pair.rtcp] {
            UdpSocket::bind(address).unwrap();
        }
    }
}

#[test]
fn a_port_that_is_taken_is_reported_and_the_leg_does_not_exist() {
    let h = House::new();
    let taken = socket(h.ip);
    let address = taken.local_addr().unwrap();
    let leg = LegId(Id::new(2, 0));
    let local = |free| PortPair {
        rtcp: address,
        ..free
    };
    let (of_edge, of_core) = (pair(h.ip), pair(h.ip));
    let edge = EdgeLeg {
        local: local(of_edge),
        ..h.edge_leg.clone()
    };
    let core = CoreLeg {
        local: local(of_core),
        ..h.core_leg.clone()
    };
    h.edge.tell(Command::InstallEdge { leg, edge });
    h.core.tell(Command::InstallCore { leg, core });
    for (node, free) in [(&h.edge, of_edge), (&h.core, of_core)] {
        node.wait(|e| (e == Event::BindFailed { leg, address }).then_some(()));
        // The half that could be bound is free again.
        UdpSocket::bind(free.rtp).unwrap();
    }
}

#[test]
fn an_edge_that_was_started_anew_finds_the_core_on_the_same_socket() {
    let ip = own_address();
    let (rtp_port, rtcp_port) = (socket(ip), socket(ip));
    let link = PortPair {
        rtp: rtp_port.local_addr().unwrap(),
        rtcp: rtcp_port.local_addr().unwrap(),
    };
    let core = Node::new(Settings::new(Role::Core));
    let up = |seed| Command::LinkUp {
        link: LINK,
        keys: link_keys(seed),
        local: vec![PortPair {
            rtp: SocketAddr::new(ip, 0),
            rtcp: SocketAddr::new(ip, 0),
        }],
        dial: Some(vec![link]),
    };
    core.tell(up(1));
    let (first, hello) = receive(&rtp_port);
    let (first_rtcp, _) = receive(&rtcp_port);
    // The edge is gone: what the core sends is refused. It is back under new keys.
    drop((rtp_port, rtcp_port));
    core.tell(Command::LinkDown { link: LINK });
    let (rtp_port, rtcp_port) = (
        UdpSocket::bind(link.rtp).unwrap(),
        UdpSocket::bind(link.rtcp).unwrap(),
    );
    rtp_port.set_read_timeout(Some(SOON)).unwrap();
    rtcp_port.set_read_timeout(Some(SOON)).unwrap();
    core.tell(up(2));
    let again = loop {
        let (source, frame) = receive(&rtp_port);
        assert_eq!(source, first);
        if frame[1] != hello[1] {
            break frame;
        }
    };
    assert_eq!(again.len(), hello.len());
    assert_eq!(receive(&rtcp_port).0, first_rtcp);
}

#[test]
fn calls_are_set_up_again_after_an_edge_was_started_anew() {
    let mut h = House::new();
    h.speak(1);
    std::mem::replace(&mut h.edge, Node::new(Settings::new(Role::Edge)))
        .workers
        .stop();
    h.core.tell(Command::LinkDown { link: LINK });
    h.edge_up(2);
    h.core_up(2);
    h.edge.wait_up();
    h.edge.tell(Command::InstallEdge {
        leg: LEG,
        edge: h.edge_leg.clone(),
    });
    h.edge
        .wait(|e| (e == Event::Installed { leg: LEG }).then_some(()));
    for i in 2..10 {
        h.speak(i);
        h.answer(i, None);
    }
}

#[test]
fn media_flows_on_while_the_control_connection_is_away() {
    let mut h = House::new();
    h.speak(1);
    h.edge.tell(Command::LinkDown { link: LINK });
    h.core.tell(Command::LinkDown { link: LINK });
    for i in 2..10 {
        h.speak(i);
        h.answer(i, None);
    }
}

#[test]
fn two_cores_share_the_edges_ports_and_hear_their_own_alone() {
    let mut h = House::new();
    let other = LinkId(4);
    let core = Node::new(Settings::new(Role::Core));
    let (keys, local) = (link_keys(77), vec![h.link]);
    h.edge.tell(Command::LinkUp {
        link: other,
        keys: keys.clone(),
        local,
        dial: None,
    });
    core.tell(Command::LinkUp {
        link: LINK,
        keys,
        local: vec![],
        dial: Some(vec![h.link]),
    });
    h.edge.wait(|e| {
        matches!(e, Event::LinkState { link, up: true, .. } if link == other).then_some(())
    });
    // The same stream number on the other link is another leg.
    let (leg, phone) = (LegId(Id::new(9, 0)), socket(h.ip));
    let edge = EdgeLeg {
        link: other,
        local: pair(h.ip),
        ..h.edge_leg.clone()
    };
    let remote = PortPair {
        rtp: phone.local_addr().unwrap(),
        rtcp: pair(h.ip).rtcp,
    };
    let leg_core = CoreLeg {
        local: pair(h.ip),
        remote: Some(remote),
        ..h.core_leg.clone()
    };
    let at = edge.local.rtp;
    h.edge.tell(Command::InstallEdge { leg, edge });
    core.tell(Command::InstallCore {
        leg,
        core: leg_core,
    });
    h.edge
        .wait(|e| (e == Event::Installed { leg }).then_some(()));
    core.wait(|e| (e == Event::Installed { leg }).then_some(()));
    for i in 1..20 {
        let packet = h.protect(i + 100);
        h.client.socket.send_to(&packet, at).unwrap();
        assert_eq!(receive(&phone).1, rtp(i + 100));
        h.speak(i);
    }
}

#[test]
fn a_flood_on_one_socket_starves_no_other() {
    let mut h = House::new();
    h.speak(1);
    let leg = LegId(Id::new(2, 0));
    let flooded = EdgeLeg {
        stream: StreamId(5),
        local: pair(h.ip),
        ..h.edge_leg.clone()
    };
    let target = flooded.local.rtp;
    h.edge.tell(Command::InstallEdge { leg, edge: flooded });
    h.edge
        .wait(|e| (e == Event::Installed { leg }).then_some(()));
    let (stop, stopped) = channel::<()>();
    let flooder = socket(h.ip);
    let flood = std::thread::spawn(move || {
        while stopped.try_recv() == Err(TryRecvError::Empty) {
            // The socket's buffer may be full: that is the point.
            let _ = flooder.send_to(&rtp(1), target);
        }
    });
    for i in 2..200 {
        h.speak(i);
        h.answer(i, None);
    }
    // Also when the test fails, for then it is dropped.
    drop(stop);
    flood.join().unwrap();
}

#[test]
fn a_silent_client_is_reported_once() {
    let settings = Settings {
        no_media_after: std::time::Duration::from_millis(40),
        counters_every: std::time::Duration::from_millis(10),
        ..Settings::new(Role::Core)
    };
    let mut h = House::on(own_address(), settings);
    let is_silence = |e: &Event| matches!(e, Event::NoMedia { leg: LEG, .. });
    h.core.wait(|e| is_silence(&e).then_some(()));
    h.speak(1);
    // Heard again, it may fall silent again.
    h.core.wait(|e| is_silence(&e).then_some(()));
    h.core.remove();
    assert!(!h.core.events.try_iter().any(|e| is_silence(&e)));
}

#[test]
fn commands_beyond_the_bound_are_refused_and_counted() {
    let settings = Settings {
        commands_max: 4,
        ..Settings::new(Role::Core)
    };
    let (go, gate) = channel::<()>();
    let (tell, held) = channel();
    let workers = start(settings, move |_| {
        // Holds the worker until the test lets it go.
        let _ = tell.send(());
        let _ = gate.recv();
    })
    .unwrap();
    let remove = || Command::Remove { leg: LEG };
    workers.send(remove()).unwrap();
    held.recv_timeout(SOON).unwrap();
    let refused = (0..100)
        .filter(|_| workers.send(remove()) == Err(Refused::Full))
        .count();
    assert_eq!(refused, 96);
    assert_eq!(workers.refused(), 96);
    drop(go);
    workers.stop();
}

#[test]
fn commands_that_were_posted_are_carried_out_in_order_after_one_waking() {
    let node = Node::new(Settings::new(Role::Core));
    // More than one turn takes.
    let legs = || (0..200).map(|n| LegId(Id::new(n, 0)));
    for leg in legs() {
        node.workers.post(Command::Remove { leg }).unwrap();
    }
    node.workers.wake();
    for expected in legs() {
        let gone = node.wait(|e| match e {
            Event::Counters { leg, .. } => Some(leg),
            _ => None,
        });
        assert_eq!(gone, expected);
    }
}

#[test]
fn a_leg_beyond_the_bound_is_refused() {
    let h = House::on(
        own_address(),
        Settings {
            legs_max: 1,
            ..Settings::new(Role::Core)
        },
    );
    let (leg, local) = (LegId(Id::new(2, 0)), pair(h.ip));
    h.core.tell(Command::InstallCore {
        leg,
        core: CoreLeg {
            local,
            ..h.core_leg.clone()
        },
    });
    let address = local.rtp;
    h.core
        .wait(|e| (e == Event::BindFailed { leg, address }).then_some(()));
    h.core.remove();
    h.core.tell(Command::InstallCore {
        leg,
        core: CoreLeg {
            local,
            ..h.core_leg.clone()
        },
    });
    h.core
        .wait(|e| (e == Event::Installed { leg }).then_some(()));
}
