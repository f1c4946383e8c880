//! Sockets that outlive their leg.

use std::time::Duration;

use media::rest::Terms;

use super::*;

/// Milliseconds of rest, and of waiting for the next leg.
fn terms(rest: u64, kept: u64) -> Settings {
    let rest = Duration::from_millis(rest);
    Settings {
        rest: Terms {
            unheard: rest,
            heard: rest,
            kept: Duration::from_millis(kept),
        },
        ..Settings::new(Role::Edge)
    }
}

const FOR_LONG: u64 = 3_600_000;

fn edge_leg(local: PortPair) -> EdgeLeg {
    EdgeLeg {
        stream: STREAM,
        link: LINK,
        local,
        expected: Vec::new(),
        datagrams: None,
    }
}

impl Node {
    fn install(&self, leg: LegId, local: PortPair) {
        let edge = edge_leg(local);
        self.tell(Command::InstallEdge { leg, edge });
        self.wait(|e| (e == Event::Installed { leg }).then_some(()));
    }

    fn rested(&self, local: PortPair) {
        self.wait(|e| match e {
            Event::Rested { pairs } => pairs.contains(&local).then_some(()),
            _ => None,
        });
    }
}

fn is_bound(local: PortPair) -> bool {
    UdpSocket::bind(local.rtp).is_err() && UdpSocket::bind(local.rtcp).is_err()
}

/// Waits until a socket is closed, by its address.
fn closed(address: SocketAddr) {
    let until = std::time::Instant::now() + SOON;
    while UdpSocket::bind(address).is_err() {
        assert!(std::time::Instant::now() < until, "{address} stays open");
        std::thread::yield_now();
    }
}

#[test]
fn sockets_stay_open_for_the_next_leg_on_their_ports() {
    let node = Node::new(terms(1, FOR_LONG));
    let local = pair(own_address());
    for n in 1..6 {
        let leg = LegId(Id::new(n, 0));
        node.install(leg, local);
        node.tell(Command::Remove { leg });
        node.rested(local);
        assert!(is_bound(local));
    }
    drop(node);
    closed(local.rtp);
    closed(local.rtcp);
}

#[test]
fn sockets_that_nobody_needs_are_closed() {
    let node = Node::new(terms(1, 1));
    let local = pair(own_address());
    node.install(LEG, local);
    node.tell(Command::Remove { leg: LEG });
    node.rested(local);
    closed(local.rtp);
    closed(local.rtcp);
    // And opened anew for whoever wants them.
    node.install(LEG, local);
    assert!(is_bound(local));
}

#[test]
fn sockets_beyond_the_bound_are_closed_with_their_leg() {
    let settings = Settings {
        spares_max: 1,
        ..terms(FOR_LONG, FOR_LONG)
    };
    let node = Node::new(settings);
    let ip = own_address();
    let (first, second) = (pair(ip), pair(ip));
    for (n, local) in [(1, first), (2, second)] {
        let leg = LegId(Id::new(n, 0));
        node.install(leg, local);
        node.tell(Command::Remove { leg });
    }
    closed(second.rtp);
    closed(second.rtcp);
    assert!(is_bound(first));
}

#[test]
fn what_comes_to_sockets_between_two_legs_reaches_none() {
    let node = Node::new(terms(1, FOR_LONG));
    let ip = own_address();
    let (local, stranger) = (pair(ip), socket(ip));
    node.install(LEG, local);
    node.tell(Command::Remove { leg: LEG });
    node.rested(local);
    // Idle, they are closed by what comes, with all that waits in them.
    for _ in 0..10 {
        let _ = stranger.send_to(b"neither RTP nor RTCP", local.rtp);
    }
    closed(local.rtp);
    node.install(LEG, local);
    assert_eq!(node.remove(), Counters::default());
    // While they rest it is thrown away, and ports that another leg gets all the same are opened
    // anew: signalling may give them out after a minute whatever comes.
    let node = Node::new(terms(FOR_LONG, FOR_LONG));
    let local = pair(ip);
    node.install(LEG, local);
    node.tell(Command::Remove { leg: LEG });
    node.remove();
    for _ in 0..100 {
        stranger
            .send_to(b"neither RTP nor RTCP", local.rtp)
            .unwrap();
    }
    node.install(LEG, local);
    assert_eq!(node.remove(), Counters::default());
}

#[test]
fn ports_that_a_link_gets_are_ceded_by_the_sockets_kept_on_them() {
    let settings = Settings {
        role: Role::Core,
        ..terms(1, FOR_LONG)
    };
    let h = House::on(own_address(), settings);
    h.core.remove();
    h.core.rested(h.core_leg.local);
    assert!(is_bound(h.core_leg.local));
    let (keys, dial) = (link_keys(1), Some(vec![h.link]));
    h.core.tell(Command::LinkUp {
        link: LinkId(9),
        keys,
        local: vec![h.core_leg.local],
        dial,
    });
    // The link's socket is bound there now: it is up under the same keys.
    h.core.wait(|e| {
        matches!(
            e,
            Event::LinkState {
                link: LinkId(9),
                up: true,
                ..
            }
        )
        .then_some(())
    });
}

#[test]
fn a_leg_on_kept_sockets_hears_its_own_phone_alone() {
    let mut h = House::on(
        own_address(),
        Settings {
            role: Role::Core,
            ..terms(1, FOR_LONG)
        },
    );
    // Connected to its phone since it was sent to.
    h.speak(1);
    h.core.remove();
    h.core.rested(h.core_leg.local);
    let other = std::mem::replace(&mut h.phone, socket(h.ip));
    h.core_leg.remote = Some(PortPair {
        rtp: h.phone.local_addr().unwrap(),
        rtcp: h.phone_rtcp.local_addr().unwrap(),
    });
    let core = h.core_leg.clone();
    h.core.tell(Command::InstallCore { leg: LEG, core });
    h.core
        .wait(|e| (e == Event::Installed { leg: LEG }).then_some(()));
    for i in 2..10 {
        // What the phone of before sends goes nowhere.
        other.send_to(&rtp(i + 100), h.core_leg.local.rtp).unwrap();
        h.answer(i, None);
        h.speak(i);
    }
}

#[test]
fn a_leg_on_kept_sockets_refuses_no_early_packet_of_a_phone_it_does_not_know_yet() {
    let mut h = House::on(
        own_address(),
        Settings {
            role: Role::Core,
            ..terms(1, FOR_LONG)
        },
    );
    // Connected to its phone since it was sent to.
    h.speak(1);
    h.core.remove();
    h.core.rested(h.core_leg.local);
    h.phone = socket(h.ip);
    h.core_leg.remote = None;
    let core = h.core_leg.clone();
    h.core.tell(Command::InstallCore { leg: LEG, core });
    h.core
        .wait(|e| (e == Event::Installed { leg: LEG }).then_some(()));
    // A phone whose packet is refused (ICMP) hears so when it sends the next.
    h.phone.connect(h.core_leg.local.rtp).unwrap();
    for i in 2..10 {
        h.phone.send(&rtp(i)).unwrap();
    }
    assert!(h.phone.take_error().unwrap().is_none());
}
