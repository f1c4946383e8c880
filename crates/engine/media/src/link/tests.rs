//! Greetings, keys that change, ends that start anew, loss.

use base::Secret;

use super::*;

fn keys(seed: u64) -> LinkKeys {
    let mut secret = [0; 64];
    base::Rng::from_number(seed).fill(&mut secret);
    LinkKeys {
        secret: Secret::new(secret),
    }
}

fn at(ms: u64) -> Instant {
    Instant::from_micros(1_000_000 + ms * 1000)
}

const RTP: Hop = Hop {
    pair: 0,
    component: Component::Rtp,
};
const CORE: &str = "198.51.100.2:40000";
const DATA: Head = Head {
    kind: Kind::Data,
    number: 1,
    stream: StreamId(9),
};

struct Link {
    core: Dialer,
    edge: Listener,
    lossy: bool,
}

impl Link {
    fn new() -> Link {
        Link {
            core: Dialer::new(at(0), &keys(1), 1),
            edge: Listener::new(&keys(1)),
            lossy: false,
        }
    }

    /// All greetings that are due, and their answers.
    fn greet(&mut self, now: Instant) {
        let (mut hello, mut ack) = (Vec::new(), Vec::new());
        while let Some(hop) = self.core.poll_hello(now, &mut hello) {
            if self.lossy || self.edge.open(now, hop, &hello).is_none() {
                continue;
            }
            let core = CORE.parse().unwrap();
            if self
                .edge
                .greeted(now, hop, core, &hello, &mut ack)
                .is_some()
            {
                let later = now + Duration::from_millis(7);
                let head = self.core.open(later, hop, &ack).unwrap();
                assert_eq!(head.kind, Kind::HelloAck);
                assert!(self.core.answered(later, hop, &ack));
            }
        }
    }

    fn core_hears(&mut self, now: Instant) -> bool {
        let mut frame = Vec::new();
        let Some((hop, to, keys)) = self.edge.way(now, DATA.stream, Component::Rtp) else {
            return false;
        };
        assert_eq!(to, CORE.parse().unwrap());
        keys.seal(DATA, &[7; 40], &mut frame);
        self.edge.sent(hop, 1);
        self.core.open(now, hop, &frame) == Some(DATA)
    }

    fn edge_hears(&mut self, now: Instant) -> bool {
        let mut frame = Vec::new();
        self.core.keys().seal(DATA, &[7; 40], &mut frame);
        self.core.sent(RTP, 1);
        self.edge.open(now, RTP, &frame) == Some(DATA)
    }
}

#[test]
fn a_link_works_once_greeted_and_stops_when_nobody_answers() {
    let mut l = Link::new();
    assert!(
        !l.core_hears(at(0)),
        "the edge does not know where the core is"
    );
    l.greet(at(0));
    assert!(l.core_hears(at(1)) && l.edge_hears(at(1)));
    let state = l.core.state(at(10));
    assert_eq!(
        (state.up, state.round_trip),
        (true, Some(Duration::from_millis(7)))
    );
    assert!(l.edge.state(at(10)).up);
    l.lossy = true;
    let mut last = at(10);
    for _ in 0..100 {
        let Some(due) = l.core.poll_timeout().filter(|t| *t < at(60_000)) else {
            break;
        };
        assert!(due >= last, "time does not stand still");
        last = due;
        l.greet(due);
        assert_eq!(l.core.state(due).up, due < at(7) + DEAD_AFTER);
    }
    assert!(last > at(7) + DEAD_AFTER);
    assert!(!l.edge.state(last).up);
    assert_eq!(l.edge.poll_timeout(last), None);
    l.lossy = false;
    let due = l.core.poll_timeout().unwrap();
    l.greet(due);
    let soon = due + Duration::from_millis(10);
    assert!(l.core.state(soon).up && l.edge.state(soon).up);
    // The edge learns the round trip from the next greeting.
    let due = l.core.poll_timeout().unwrap();
    l.greet(due);
    assert_eq!(l.edge.state(due).round_trip, Some(Duration::from_millis(7)));
}

#[test]
fn new_keys_lose_no_packet_whichever_end_has_them_first() {
    for core_first in [true, false] {
        let mut l = Link::new();
        l.greet(at(0));
        assert!(l.core_hears(at(1)) && l.edge_hears(at(1)));
        if core_first {
            l.core.renew(at(10), &keys(2));
        } else {
            l.edge.renew(&keys(2));
        }
        // The edge cannot read the new keys' greeting, or the core sends none yet.
        l.greet(at(10));
        assert!(
            l.core_hears(at(11)) && l.edge_hears(at(11)),
            "core first: {core_first}"
        );
        if core_first {
            l.edge.renew(&keys(2));
        } else {
            l.core.renew(at(12), &keys(2));
        }
        assert!(
            l.core_hears(at(12)) && l.edge_hears(at(12)),
            "core first: {core_first}"
        );
        // One under way while the keys change.
        let mut late = Vec::new();
        l.core.keys().seal(DATA, &[7; 40], &mut late);
        l.greet(at(500));
        assert!(
            l.core_hears(at(501)) && l.edge_hears(at(501)),
            "core first: {core_first}"
        );
        assert_eq!(l.edge.open(at(502), RTP, &late), Some(DATA));
        assert_eq!(l.edge.open(at(500) + OVERLAP, RTP, &late), None);
        assert!(l.core_hears(at(20_000)) && l.edge_hears(at(20_000)));
    }
}

#[test]
fn a_recorded_greeting_moves_nothing() {
    let mut l = Link::new();
    let (mut hello, mut ack) = (Vec::new(), Vec::new());
    let hop = l.core.poll_hello(at(0), &mut hello).unwrap();
    let core = CORE.parse().unwrap();
    let thief = "203.0.113.66:1".parse().unwrap();
    assert!(l.edge.open(at(0), hop, &hello).is_some());
    assert!(l.edge.greeted(at(0), hop, core, &hello, &mut ack).is_some());
    assert_eq!(l.edge.greeted(at(1), hop, thief, &hello, &mut ack), None);
    assert!(l.core_hears(at(2)));
    let other = Hop {
        pair: 0,
        component: Component::Rtcp,
    };
    assert_eq!(
        l.edge.open(at(2), other, &hello),
        None,
        "nor on another hop"
    );
    // Nor under keys that have been replaced.
    l.core.renew(at(3), &keys(2));
    l.edge.renew(&keys(2));
    l.greet(at(3));
    assert_eq!(l.edge.open(at(4), hop, &hello), None);
    assert!(l.core_hears(at(5)));
}

#[test]
fn a_core_that_was_started_anew_is_heard_though_its_clock_begins_at_zero() {
    let mut l = Link::new();
    l.greet(at(50_000));
    l.core = Dialer::new(at(0), &keys(2), 1);
    l.edge.renew(&keys(2));
    l.greet(at(0));
    assert!(l.core.state(at(7)).up);
    assert!(l.edge_hears(at(8)));
}

#[test]
fn an_edge_that_was_started_anew_is_heard() {
    let mut l = Link::new();
    l.greet(at(0));
    l.edge = Listener::new(&keys(2));
    l.core.renew(at(100), &keys(2));
    l.greet(at(100));
    assert!(l.core_hears(at(101)) && l.edge_hears(at(101)));
}

#[test]
fn loss_on_the_hop_is_known_to_both_ends() {
    let mut l = Link::new();
    l.greet(at(0));
    for i in 0..1000 {
        assert!(l.edge_hears(at(i)));
        if i % 10 == 0 {
            // Sent, and never read.
            l.core.sent(RTP, 1);
        }
        assert!(l.core_hears(at(i)));
    }
    l.greet(at(6000));
    assert_eq!(l.core.state(at(6010)).loss_permille, 90);
    assert_eq!(l.edge.state(at(6010)).loss_permille, 90);
    l.greet(at(12_000));
    assert_eq!(l.core.state(at(12_010)).loss_permille, 0);
}

#[test]
fn a_stream_leaves_its_pair_while_that_is_silent() {
    let mut core = Dialer::new(at(0), &keys(1), 2);
    let mut edge = Listener::new(&keys(1));
    let (mut hello, mut ack) = (Vec::new(), Vec::new());
    while let Some(hop) = core.poll_hello(at(0), &mut hello) {
        edge.open(at(0), hop, &hello).unwrap();
        edge.greeted(at(0), hop, CORE.parse().unwrap(), &hello, &mut ack)
            .unwrap();
        if hop.pair == 1 {
            assert!(core.answered(at(1), hop, &ack));
        }
    }
    for stream in [StreamId(4), StreamId(5)] {
        assert_eq!(core.hop_for(at(2), stream, Component::Rtp).pair, 1);
        let (hop, ..) = edge.way(at(2), stream, Component::Rtcp).unwrap();
        assert_eq!(
            hop,
            Hop {
                pair: stream.0 as usize % 2,
                component: Component::Rtcp
            }
        );
    }
}

#[test]
fn greetings_that_are_cut_short_are_passed_over() {
    let mut edge = Listener::new(&keys(1));
    let sealing = Keys::new(&keys(1), End::Core);
    let head = Head {
        kind: Kind::Hello,
        number: 0,
        stream: StreamId(0),
    };
    let (mut frame, mut out) = (Vec::new(), Vec::new());
    for length in 0..GREETING_BYTES {
        sealing.seal(head, &vec![1; length], &mut frame);
        assert_eq!(edge.open(at(0), RTP, &frame), Some(head));
        assert_eq!(
            edge.greeted(at(0), RTP, CORE.parse().unwrap(), &frame, &mut out),
            None
        );
    }
}
