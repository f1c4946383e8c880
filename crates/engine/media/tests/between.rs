//! The relay between two parties inside: RTP and SRTP on either side.

#![allow(clippy::unwrap_used)]

use std::net::SocketAddr;

use base::{Id, Instant, Rng, Secret};
use media::between::Relay;
use media::core::OVERLAP;
use media::srtp::{Context, Suite};
use media::{Component, Datagram, Inside, InsideLeg, LegId, PortPair, SrtpKey};

const A: LegId = LegId(Id::new(1, 0));
const B: LegId = LegId(Id::new(2, 0));

fn at(s: &str) -> SocketAddr {
    s.parse().unwrap()
}

fn pair(s: &str) -> PortPair {
    let rtp = at(s);
    let rtcp = SocketAddr::new(rtp.ip(), rtp.port() + 1);
    PortPair { rtp, rtcp }
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

fn secure(theirs: u64, ours: u64) -> Inside {
    Inside::Secure {
        unprotect: Some(key(theirs)),
        protect: Some(key(ours)),
    }
}

fn leg(other: LegId, packets: Inside) -> InsideLeg {
    let (local, remote) = if other == B {
        ("10.0.0.2:36002", "10.0.0.9:5000")
    } else {
        ("10.0.0.2:36004", "10.0.0.8:6000")
    };
    InsideLeg {
        local: pair(local),
        remote: Some(pair(remote)),
        other,
        receive: true,
        packets,
    }
}

fn relay(a: Inside, b: Inside) -> Relay {
    let mut relay = Relay::default();
    relay.install(Instant::ZERO, A, leg(B, a));
    relay.install(Instant::ZERO, B, leg(A, b));
    relay
}

/// A packet from a party: what leaves, and for where.
fn pass(relay: &mut Relay, leg: LegId, from: &str, packet: &[u8]) -> Option<(LegId, Vec<u8>)> {
    let mut packet = packet.to_vec();
    let rtp = Component::Rtp;
    let (other, to) = relay.pass(Instant::ZERO, leg, rtp, at(from), &mut packet)?;
    let far = if other == B {
        "10.0.0.8:6000"
    } else {
        "10.0.0.9:5000"
    };
    assert_eq!(to, at(far));
    Some((other, packet))
}

#[test]
fn rtp_on_one_side_is_srtp_on_the_other_both_ways() {
    let mut relay = relay(Inside::Plain, secure(3, 4));
    let (mut theirs, mut ours) = (
        Context::new(&key(3)).unwrap(),
        Context::new(&key(4)).unwrap(),
    );
    for sequence in 1..5 {
        let (to, mut sealed) = pass(&mut relay, A, "10.0.0.9:5000", &rtp(sequence)).unwrap();
        assert_eq!(to, B);
        assert_ne!(sealed, rtp(sequence));
        ours.unprotect_rtp(&mut sealed).unwrap();
        assert_eq!(sealed, rtp(sequence));
        let mut packet = rtp(sequence);
        theirs.protect_rtp(&mut packet).unwrap();
        let heard = pass(&mut relay, B, "10.0.0.8:6000", &packet).unwrap();
        assert_eq!(heard, (A, rtp(sequence)));
    }
    let counters = relay.counters(A).unwrap();
    let packets = (counters.from_client.packets, counters.to_client.packets);
    assert_eq!(packets, (4, 4));
}

#[test]
fn control_packets_take_their_own_ports_and_keys() {
    let mut relay = relay(Inside::Plain, secure(3, 4));
    let mut ours = Context::new(&key(4)).unwrap();
    let report = [&[0x80, 200, 0, 6][..], &[0; 24]].concat();
    let mut packet = report.clone();
    let from = at("10.0.0.9:5001");
    let passed = relay.pass(Instant::ZERO, A, Component::Rtcp, from, &mut packet);
    assert_eq!(passed, Some((B, at("10.0.0.8:6001"))));
    ours.unprotect_rtcp(&mut packet).unwrap();
    assert_eq!(packet, report);
}

#[test]
fn nothing_passes_that_is_of_another_address_or_under_no_key_of_the_partys() {
    let mut relay = relay(secure(1, 2), secure(3, 4));
    assert_eq!(pass(&mut relay, A, "10.0.0.66:5000", &rtp(1)), None);
    assert_eq!(pass(&mut relay, A, "10.0.0.9:5000", &rtp(1)), None);
    let mut packet = rtp(1);
    Context::new(&key(3))
        .unwrap()
        .protect_rtp(&mut packet)
        .unwrap();
    assert_eq!(pass(&mut relay, A, "10.0.0.9:5000", &packet), None);
    let mut packet = rtp(1);
    Context::new(&key(1))
        .unwrap()
        .protect_rtp(&mut packet)
        .unwrap();
    assert!(pass(&mut relay, A, "10.0.0.9:5000", &packet).is_some());
    assert_eq!(
        pass(&mut relay, A, "10.0.0.9:5000", &packet),
        None,
        "a replay"
    );
    let counters = relay.counters(A).unwrap();
    assert_eq!(
        (counters.strangers, counters.forged, counters.replayed),
        (1, 2, 1)
    );
}

#[test]
fn a_new_key_leaves_the_old_one_for_packets_under_way_and_an_equal_one_its_window() {
    let mut relay = relay(secure(1, 2), Inside::Plain);
    let mut old = Context::new(&key(1)).unwrap();
    let mut first = rtp(1);
    old.protect_rtp(&mut first).unwrap();
    assert!(pass(&mut relay, A, "10.0.0.9:5000", &first).is_some());
    relay.install(Instant::ZERO, A, leg(B, secure(1, 2)));
    assert_eq!(
        pass(&mut relay, A, "10.0.0.9:5000", &first),
        None,
        "a replay"
    );
    relay.install(Instant::ZERO, A, leg(B, secure(5, 2)));
    let mut late = rtp(2);
    old.protect_rtp(&mut late).unwrap();
    assert!(pass(&mut relay, A, "10.0.0.9:5000", &late).is_some());
    let mut too_late = rtp(3);
    old.protect_rtp(&mut too_late).unwrap();
    let after = Instant::ZERO + OVERLAP;
    let from = at("10.0.0.9:5000");
    assert_eq!(
        relay.pass(after, A, Component::Rtp, from, &mut too_late),
        None
    );
}

#[test]
fn a_party_on_hold_is_not_heard_and_its_silence_is_none() {
    let mut relay = relay(Inside::Plain, Inside::Plain);
    let held = InsideLeg {
        receive: false,
        ..leg(B, Inside::Plain)
    };
    relay.install(Instant::ZERO, A, held);
    assert_eq!(pass(&mut relay, A, "10.0.0.9:5000", &rtp(1)), None);
    assert!(pass(&mut relay, B, "10.0.0.8:6000", &rtp(1)).is_some());
    let later = Instant::ZERO + OVERLAP;
    assert_eq!(relay.silence(later, A), None);
    assert_eq!(relay.silence(later, B), Some(OVERLAP));
}

#[test]
fn floor_control_passes_as_it_is_and_rtp_does_not_pass_for_it() {
    let floor = || Inside::Datagrams(Datagram::of(b"UDP/BFCP").unwrap());
    let mut relay = relay(floor(), floor());
    let hello = [0x20, 11, 0, 0, 0, 0, 0, 1, 0, 1, 0, 2];
    let heard = pass(&mut relay, A, "10.0.0.9:5000", &hello).unwrap();
    assert_eq!(heard, (B, hello.to_vec()));
    assert_eq!(pass(&mut relay, A, "10.0.0.9:5000", &rtp(1)), None);
    assert!(relay.remove(A).is_some() && relay.counters(A).is_none());
    assert_eq!(
        pass(&mut relay, B, "10.0.0.8:6000", &hello),
        None,
        "its pair is gone"
    );
}
