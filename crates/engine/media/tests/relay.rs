//! Both relays back to back: a client's SRTP, the link, the inside's RTP.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use base::{Id, Instant, Rng, Secret};
use media::mux::{End, HEADER_BYTES, Keys};
use media::srtp::{Context, Suite};
use media::{
    Component, CoreLeg, EdgeLeg, LegId, LinkId, LinkKeys, PortPair, SrtpKey, StreamId, core, edge,
};

const LEG: LegId = LegId(Id::new(1, 0));
const LINK: LinkId = LinkId(0);

fn at(s: &str) -> SocketAddr {
    s.parse().unwrap()
}

fn pair(s: &str) -> PortPair {
    let rtp = at(s);
    PortPair {
        rtp,
        rtcp: SocketAddr::new(rtp.ip(), rtp.port() + 1),
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

fn rtp(sequence: u16) -> Vec<u8> {
    let mut p = vec![0x80, 0];
    p.extend(sequence.to_be_bytes());
    p.extend([0, 0, 0, 1, 0, 0, 0, 7]);
    p.extend([sequence as u8; 160]);
    p
}

struct World {
    edge: edge::Relay,
    core: core::Relay,
    edge_keys: Keys,
    core_keys: Keys,
    client_out: Context,
    client_in: Context,
    now: Instant,
}

impl World {
    fn new() -> World {
        let link = LinkKeys {
            secret: Secret::new([7; 64]),
        };
        let mut edge = edge::Relay::default();
        edge.install(
            LEG,
            EdgeLeg {
                stream: StreamId(9),
                link: LINK,
                local: pair("192.0.2.1:36002"),
                expected: vec![at("198.51.100.7:4000")],
                datagrams: None,
            },
        );
        let mut core = core::Relay::default();
        core.install(Instant::ZERO, LEG, Self::leg(key(1)));
        World {
            edge,
            core,
            edge_keys: Keys::new(&link, End::Edge),
            core_keys: Keys::new(&link, End::Core),
            client_out: Context::new(&key(1)).unwrap(),
            client_in: Context::new(&key(2)).unwrap(),
            now: Instant::ZERO,
        }
    }

    fn leg(unprotect: SrtpKey) -> CoreLeg {
        CoreLeg {
            stream: StreamId(9),
            link: LINK,
            local: pair("10.0.0.2:36002"),
            remote: Some(pair("10.0.0.9:5000")),
            unprotect: Some(unprotect),
            protect: Some(key(2)),
            receive: true,
            send: true,
            inside: media::Inside::Plain,
        }
    }

    /// A packet from somewhere outside: what arrives inside, if anything.
    fn inwards(&mut self, from: &str, packet: &[u8]) -> Option<Vec<u8>> {
        let mut frame = Vec::new();
        let (leg, rtp) = (LEG, Component::Rtp);
        if !self.edge.from_client(
            self.now,
            leg,
            rtp,
            at(from),
            packet,
            &self.edge_keys,
            &mut frame,
        ) {
            return None;
        }
        let head = self.core_keys.open(&frame).unwrap();
        let verdict = self
            .core
            .from_link(self.now, LINK, Component::Rtp, head, &mut frame);
        let core::FromLink::ToInside { to, latch, .. } = verdict else {
            return None;
        };
        assert_eq!(to, Some(at("10.0.0.9:5000")));
        if let Some(latch) = latch {
            let mut reply = Vec::new();
            core::latch(latch, &self.core_keys, &mut reply);
            let head = self.edge_keys.open(&reply).unwrap();
            self.edge
                .from_link(self.now, LINK, Component::Rtp, head, &reply);
        }
        Some(frame)
    }

    /// A packet from inside: where it is sent outside, and what the client makes of it.
    fn outwards(&mut self, from: &str, plain: &[u8]) -> Option<(SocketAddr, Vec<u8>)> {
        let (mut packet, mut frame) = (plain.to_vec(), Vec::new());
        let (leg, rtp) = (LEG, Component::Rtp);
        let keys = &self.core_keys;
        if !self
            .core
            .from_inside(self.now, leg, rtp, at(from), &mut packet, keys, &mut frame)
        {
            return None;
        }
        let head = self.edge_keys.open(&frame).unwrap();
        let verdict = self
            .edge
            .from_link(self.now, LINK, Component::Rtp, head, &frame);
        let edge::FromLink::ToClient { to, .. } = verdict else {
            return None;
        };
        let mut srtp = frame[HEADER_BYTES..].to_vec();
        assert_ne!(srtp[12..], plain[12..], "never plain outside");
        self.client_in.unprotect_rtp(&mut srtp).unwrap();
        Some((to, srtp))
    }
}

#[test]
fn media_flows_both_ways_by_content_and_follows_the_client_behind_nat() {
    let mut w = World::new();
    let (to, heard) = w.outwards("10.0.0.9:5000", &rtp(1)).unwrap();
    assert_eq!((to, heard), (at("198.51.100.7:4000"), rtp(1)));
    for sequence in 1..20 {
        let mut packet = rtp(sequence);
        w.client_out.protect_rtp(&mut packet).unwrap();
        // NAT gave the client another port than it signalled.
        assert_eq!(
            w.inwards("198.51.100.7:61000", &packet),
            Some(rtp(sequence))
        );
    }
    assert_eq!(
        w.outwards("10.0.0.9:5000", &rtp(2)).unwrap().0,
        at("198.51.100.7:61000")
    );
    // The phone moves to another network in mid-call.
    let mut packet = rtp(20);
    w.client_out.protect_rtp(&mut packet).unwrap();
    assert_eq!(w.inwards("203.0.113.99:7000", &packet), Some(rtp(20)));
    assert_eq!(
        w.outwards("10.0.0.9:5000", &rtp(3)).unwrap().0,
        at("203.0.113.99:7000")
    );
}

#[test]
fn a_stranger_injects_nothing_and_receives_nothing() {
    let mut w = World::new();
    let mut packet = rtp(1);
    w.client_out.protect_rtp(&mut packet).unwrap();
    w.inwards("198.51.100.7:4000", &packet).unwrap();
    for i in 0..200u16 {
        let stranger = format!("203.0.113.66:{}", 1000 + i);
        assert_eq!(w.inwards(&stranger, &rtp(i)), None);
        assert_eq!(
            w.inwards(&stranger, &packet),
            None,
            "a replay from elsewhere"
        );
        let (to, _) = w.outwards("10.0.0.9:5000", &rtp(i + 1)).unwrap();
        assert_eq!(to, at("198.51.100.7:4000"));
        assert_eq!(w.outwards("10.0.0.66:5000", &rtp(i)), None);
    }
    let counters = w.edge.counters(LEG).unwrap();
    assert!(counters.strangers > 100, "{counters:?}");
}

#[test]
fn a_new_key_takes_over_while_the_old_one_still_opens_what_was_under_way() {
    let mut w = World::new();
    let mut late = rtp(2);
    w.client_out.protect_rtp(&mut rtp(1)).unwrap();
    w.client_out.protect_rtp(&mut late).unwrap();
    w.core.install(w.now, LEG, World::leg(key(5)));
    let mut fresh = rtp(3);
    Context::new(&key(5))
        .unwrap()
        .protect_rtp(&mut fresh)
        .unwrap();
    assert_eq!(w.inwards("198.51.100.7:4000", &late), Some(rtp(2)));
    assert_eq!(w.inwards("198.51.100.7:4000", &fresh), Some(rtp(3)));
    w.now = w.now + core::OVERLAP;
    let mut later = rtp(4);
    w.client_out.protect_rtp(&mut later).unwrap();
    assert_eq!(w.inwards("198.51.100.7:4000", &later), None);
}

#[test]
fn a_stranger_that_floods_is_asked_about_a_few_times_only() {
    let mut w = World::new();
    let mut frame = Vec::new();
    let mut asked = 0;
    for i in 0..2000u16 {
        let (leg, rtp_half, from) = (LEG, Component::Rtp, at("203.0.113.66:1000"));
        asked += u32::from(w.edge.from_client(
            w.now,
            leg,
            rtp_half,
            from,
            &rtp(i),
            &w.edge_keys,
            &mut frame,
        ));
    }
    assert_eq!(asked, u32::from(edge::TRIES_MAX));
}

#[test]
fn strangers_from_many_addresses_leave_a_place_for_the_clients_own() {
    let mut w = World::new();
    for i in 0..20u16 {
        let stranger = format!("203.0.113.{}:1000", i + 1);
        assert_eq!(w.inwards(&stranger, &rtp(i)), None);
    }
    // Its signalling's address, and the port that a NAT gave its media.
    let mut packet = rtp(1);
    w.client_out.protect_rtp(&mut packet).unwrap();
    assert_eq!(w.inwards("198.51.100.7:61000", &packet), Some(rtp(1)));
    let (to, _) = w.outwards("10.0.0.9:5000", &rtp(2)).unwrap();
    assert_eq!(to, at("198.51.100.7:61000"));
}

#[test]
fn a_second_verdict_on_the_client_is_not_taken_for_one_on_a_stranger() {
    let mut w = World::new();
    let (leg, half) = (LEG, Component::Rtp);
    let client = at("198.51.100.7:61000");
    // Two packets of the client are under way before the first verdict is back.
    let mut verdicts = Vec::new();
    for sequence in 1..3 {
        let (mut packet, mut frame, mut verdict) = (rtp(sequence), Vec::new(), Vec::new());
        w.client_out.protect_rtp(&mut packet).unwrap();
        let keys = &w.edge_keys;
        assert!(
            w.edge
                .from_client(w.now, leg, half, client, &packet, keys, &mut frame)
        );
        let head = w.core_keys.open(&frame).unwrap();
        let core::FromLink::ToInside { latch, .. } =
            w.core.from_link(w.now, LINK, half, head, &mut frame)
        else {
            panic!("refused");
        };
        core::latch(latch.unwrap(), &w.core_keys, &mut verdict);
        verdicts.push(verdict);
    }
    for verdict in verdicts {
        let head = w.edge_keys.open(&verdict).unwrap();
        w.edge.from_link(w.now, LINK, half, head, &verdict);
        // A stranger is quick to be the next candidate.
        w.inwards("203.0.113.66:1000", &rtp(9));
    }
    assert_eq!(w.outwards("10.0.0.9:5000", &rtp(3)).unwrap().0, client);
}

/// A Hello of floor control (RFC 8855 §5.3.11).
fn hello(transaction: u8) -> Vec<u8> {
    vec![0x40, 11, 0, 0, 0, 0, 0, 1, 0, transaction, 0, 2]
}

/// The world's one leg carries floor control; the client's audio was verified at an address.
fn floor(from: Option<&str>) -> World {
    let mut w = World::new();
    let datagrams = media::Datagrams {
        kind: media::Datagram::Bfcp,
        unprotect: Some(key(2)),
        protect: Some(key(1)),
        from: from.map(|a| a.parse().unwrap()),
    };
    let leg = EdgeLeg {
        stream: StreamId(9),
        link: LINK,
        local: pair("192.0.2.1:36002"),
        expected: vec![at("198.51.100.7:4000")],
        datagrams: Some(datagrams),
    };
    w.edge.install(LEG, leg);
    w.core.remove(LEG);
    let leg = CoreLeg {
        inside: media::Inside::Datagrams(media::Datagram::Bfcp),
        ..World::leg(key(1))
    };
    w.core.install(w.now, LEG, leg);
    w
}

impl World {
    /// A datagram from inside: where it is sent outside.
    fn floor_outwards(&mut self, plain: &[u8]) -> Option<(SocketAddr, Vec<u8>)> {
        let (mut packet, mut frame) = (plain.to_vec(), Vec::new());
        let (leg, half, from) = (LEG, Component::Rtp, at("10.0.0.9:5000"));
        let keys = &self.core_keys;
        if !self
            .core
            .from_inside(self.now, leg, half, from, &mut packet, keys, &mut frame)
        {
            return None;
        }
        assert!(
            !frame.windows(plain.len()).any(|w| w == plain),
            "closed on the link"
        );
        let head = self.edge_keys.open(&frame).unwrap();
        match self.edge.from_link(self.now, LINK, half, head, &frame) {
            edge::FromLink::Datagram { to, .. } => Some((to, self.edge.datagram().to_vec())),
            _ => None,
        }
    }
}

#[test]
fn floor_control_passes_both_ways_closed_on_the_link() {
    let mut w = floor(Some("198.51.100.7"));
    let signalled = (at("198.51.100.7:4000"), hello(1));
    assert_eq!(w.floor_outwards(&hello(1)), Some(signalled));
    for n in 1..5 {
        assert_eq!(w.inwards("198.51.100.7:61000", &hello(n)), Some(hello(n)));
    }
    let behind_nat = (at("198.51.100.7:61000"), hello(2));
    assert_eq!(w.floor_outwards(&hello(2)), Some(behind_nat));
    let counters = w.core.counters(LEG).unwrap();
    assert_eq!(counters.from_client.packets, 4);
    assert_eq!(w.core.silence(w.now, LEG), None, "control may be silent");
}

#[test]
fn floor_control_is_heard_only_where_the_calls_media_was_verified() {
    let mut w = floor(None);
    assert_eq!(w.inwards("198.51.100.7:4000", &hello(1)), None);
    let mut w = floor(Some("198.51.100.7"));
    assert_eq!(w.inwards("203.0.113.66:4000", &hello(1)), None);
    assert!(w.inwards("198.51.100.7:4000", &hello(1)).is_some());
    // Another port of that address is not heard while this one is.
    assert_eq!(w.inwards("198.51.100.7:4001", &hello(2)), None);
    w.now = w.now + edge::MOVE_AFTER;
    assert!(w.inwards("198.51.100.7:4001", &hello(3)).is_some());
}

#[test]
fn no_rtp_passes_where_floor_control_should() {
    let mut w = floor(Some("198.51.100.7"));
    assert_eq!(w.inwards("198.51.100.7:4000", &rtp(1)), None);
    assert_eq!(w.floor_outwards(&rtp(1)), None);
    assert_eq!(w.edge.counters(LEG).unwrap().malformed, 1);
    assert_eq!(w.core.counters(LEG).unwrap().malformed, 1);
}

#[test]
fn media_that_is_encrypted_inside_has_other_keys_there() {
    let mut w = World::new();
    let secure = |theirs, ours| CoreLeg {
        inside: media::Inside::Secure {
            unprotect: Some(key(theirs)),
            protect: Some(key(ours)),
        },
        ..World::leg(key(1))
    };
    w.core.install(w.now, LEG, secure(3, 4));
    let (mut inside_out, mut inside_in) = (
        Context::new(&key(3)).unwrap(),
        Context::new(&key(4)).unwrap(),
    );
    for sequence in 1..5 {
        let mut packet = rtp(sequence);
        w.client_out.protect_rtp(&mut packet).unwrap();
        let mut heard = w.inwards("198.51.100.7:4000", &packet).unwrap();
        assert_ne!(heard, packet);
        inside_in.unprotect_rtp(&mut heard).unwrap();
        assert_eq!(heard, rtp(sequence));
        let mut packet = rtp(sequence);
        inside_out.protect_rtp(&mut packet).unwrap();
        let (_, heard) = w.outwards("10.0.0.9:5000", &packet).unwrap();
        assert_eq!(heard, rtp(sequence));
    }
    assert_eq!(
        w.outwards("10.0.0.9:5000", &rtp(9)),
        None,
        "plain where it must not be"
    );
    assert_eq!(w.core.counters(LEG).unwrap().forged, 1);
    // A refresh with the same keys keeps counters: the next packet is no replay.
    w.core.install(w.now, LEG, secure(3, 4));
    let mut packet = rtp(5);
    inside_out.protect_rtp(&mut packet).unwrap();
    assert!(w.outwards("10.0.0.9:5000", &packet).is_some());
    assert_eq!(w.outwards("10.0.0.9:5000", &packet), None, "a replay");
}
