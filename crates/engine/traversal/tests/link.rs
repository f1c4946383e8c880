//! Both ends of a control connection, under a virtual clock.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use base::{Now, Rng, Secret, UnixTime};
use traversal::{
    Acceptor, Admission, Dialer, DomainOffer, EdgeServices, Event, Fault, Hello, ServiceAddress,
};

fn service(port: u16) -> ServiceAddress {
    ServiceAddress {
        host: "edge1.example.test".into(),
        port,
    }
}

struct Pair {
    now: Now,
    core_clock_ahead: Duration,
    edge: Acceptor,
    core: Dialer,
    edge_events: Vec<Event>,
    core_events: Vec<Event>,
}

impl Pair {
    fn new(edge_password: &str, core_password: &str, edge_tls: u8, core_tls: u8) -> Pair {
        let now = Now {
            unix: UnixTime::from_millis(1_000_000),
            ..Now::default()
        };
        let mut rng = Rng::from_number(1);
        let admission = Admission {
            node: "edge1.example.test".into(),
            instance: "e".into(),
            user: "traversal".into(),
            password: Secret::new(edge_password.into()),
            ssh_host_key: "ssh-ed25519 AAAA".into(),
            services: EdgeServices {
                https: service(8443),
                sip: service(5061),
                xmpp: service(5222),
                sip_realm: "example.test".into(),
                media_address: "192.0.2.10".parse().unwrap(),
                media_port: 36000,
            },
        };
        let hello = Hello {
            version: 0,
            node: "core1.example.test".into(),
            instance: "c".into(),
            user: "traversal".into(),
            proof: String::new(),
            nonce: String::new(),
            clock: UnixTime::default(),
            ssh_key: "ssh-ed25519 BBBB".into(),
            token_key: "00".into(),
            domains: vec![],
        };
        let password = Secret::new(core_password.to_owned());
        Pair {
            now,
            core_clock_ahead: Duration::ZERO,
            edge: Acceptor::new(now, &mut rng, admission, [edge_tls; 32]),
            core: Dialer::new(now, &mut rng, hello, password, [core_tls; 32]),
            edge_events: vec![],
            core_events: vec![],
        }
    }

    fn core_now(&self) -> Now {
        Now {
            unix: self.now.unix.plus(self.core_clock_ahead),
            ..self.now
        }
    }

    /// Carries messages to and fro, each hop taking 10 ms, until both are quiet.
    fn settle(&mut self) {
        loop {
            let (down, up) = (self.edge.take_messages(), self.core.take_messages());
            self.edge_events.extend(self.edge.take_events());
            self.core_events.extend(self.core.take_events());
            if down.is_empty() && up.is_empty() {
                return;
            }
            self.now = self.now.plus(Duration::from_millis(10));
            down.into_iter()
                .for_each(|m| self.core.handle(self.core_now(), m));
            up.into_iter().for_each(|m| self.edge.handle(self.now, m));
        }
    }
}

#[test]
fn a_link_comes_up_and_measures_round_trip_and_skew() {
    let mut pair = Pair::new("pw", "pw", 7, 7);
    pair.core_clock_ahead = Duration::from_secs(60);
    pair.settle();
    assert!(matches!(&pair.edge_events[..], [Event::CoreUp(h)] if h.node == "core1.example.test"));
    assert!(matches!(&pair.core_events[..], [Event::EdgeUp(w)] if w.services.sip.port == 5061));
    pair.edge.handle_timeout(pair.now);
    pair.settle();
    let round_trip = Duration::from_millis(20);
    assert_eq!(
        pair.edge_events[1..],
        [Event::Measured {
            round_trip,
            skew_ms: 60_000
        }]
    );
}

#[test]
fn a_wrong_password_or_a_relayed_proof_is_refused_with_the_fix() {
    for (edge, core, edge_tls, core_tls) in [("pw", "other", 7, 7), ("pw", "pw", 7, 8)] {
        let mut pair = Pair::new(edge, core, edge_tls, core_tls);
        pair.settle();
        assert_eq!(pair.edge_events, [Event::Down(Fault::Credentials)]);
        let [Event::Down(Fault::Refused(why))] = &pair.core_events[..] else {
            panic!("{:?}", pair.core_events)
        };
        assert!(why.fix.contains("traversal.zone"));
    }
}

#[test]
fn a_silent_peer_is_found_dead_after_three_pings() {
    let mut pair = Pair::new("pw", "pw", 7, 7);
    pair.settle();
    while let Some(at) = pair.edge.poll_timeout() {
        pair.now = pair.now.plus(at - pair.now.instant);
        pair.edge.handle_timeout(pair.now);
    }
    assert_eq!(pair.edge.take_events(), [Event::Down(Fault::Silent)]);
    assert_eq!(pair.edge.take_messages().len(), 3);
}

#[test]
fn an_unfinished_hello_times_out_on_both_sides() {
    let mut pair = Pair::new("pw", "pw", 7, 7);
    pair.now = pair.now.plus(traversal::HELLO_TIMEOUT);
    pair.edge.handle_timeout(pair.now);
    pair.core.handle_timeout(pair.now);
    assert_eq!(pair.edge.take_events(), [Event::Down(Fault::HelloTimeout)]);
    assert_eq!(pair.core.take_events(), [Event::Down(Fault::HelloTimeout)]);
}

#[test]
fn a_changed_offer_reaches_the_edge() {
    let mut pair = Pair::new("pw", "pw", 7, 7);
    pair.settle();
    let domains = vec![DomainOffer {
        name: "example.test".parse().unwrap(),
        sip: true,
        im_presence: false,
        federation: false,
        tokens: false,
        sso: false,
    }];
    pair.core.offer(domains.clone());
    pair.settle();
    assert_eq!(pair.edge_events[1..], [Event::Domains(domains)]);
}

#[test]
fn an_edge_hears_of_dead_zones_once_the_link_is_up_and_of_no_more_than_it_keeps() {
    let mut pair = Pair::new("password", "password", 1, 1);
    let down: Vec<String> = (0..1000).map(|n| format!("zone {n}")).collect();
    pair.core.zones(&down);
    pair.settle();
    let zones = |pair: &Pair| {
        let events = pair.edge_events.iter();
        let told = events.filter_map(|e| match e {
            Event::Zones(down) => Some(down.len()),
            _ => None,
        });
        told.collect::<Vec<usize>>()
    };
    assert!(zones(&pair).is_empty(), "nothing leaves before the hello");
    pair.core.zones(&down);
    pair.core.zones(&[]);
    pair.settle();
    assert_eq!(zones(&pair), [traversal::ZONES_MAX, 0]);
}

#[test]
fn the_alarm_of_clocks_is_raised_at_five_seconds_and_lowered_at_half() {
    for sign in [1, -1] {
        for (raised, skew_ms, stands) in [
            (false, 0, false),
            (false, 4_999, false),
            (false, 5_000, true),
            (true, 4_999, true),
            (true, 2_500, true),
            (true, 2_499, false),
            (false, i64::MAX, true),
        ] {
            let now = traversal::skew_alarm(raised, sign * skew_ms);
            assert_eq!(now, stands, "{raised} {skew_ms}");
        }
    }
    assert!(traversal::skew_alarm(false, i64::MIN));
}

#[test]
fn sign_outs_of_long_names_and_many_connections_never_fill_a_frame_and_unfit_ones_are_dropped() {
    let mut pair = Pair::new("pw", "pw", 7, 7);
    pair.settle();
    let out = |id: u64, user: String, domain: &str, flows: usize| traversal::SignOut {
        user: base::Pii::new(user),
        domain: domain.into(),
        at: UnixTime::from_millis(1),
        id,
        flows: (0..flows)
            .map(|n| format!("{n:0>width$}", width = traversal::SIGN_OUT_NAME_MAX))
            .collect(),
        more: false,
    };
    // The longest that a node takes, of what JSON makes longer; and one with a frame of flows.
    let (most, odd) = (traversal::SIGN_OUT_NAME_MAX, "\u{7}".to_owned());
    let mut outs: Vec<_> = (0..2_000)
        .map(|id| out(id, "\"".repeat(most), &"\\".repeat(most), 0))
        .collect();
    outs.push(out(2_000, "alice".into(), "", 1_000));
    outs.push(out(2_001, "x".repeat(most + 1), "", 0));
    outs.push(out(
        2_002,
        "bob".into(),
        &"x".repeat(traversal::FRAME_BYTES_MAX),
        0,
    ));
    outs.push(out(2_003, odd, "", 0));
    pair.core.sign_outs(&outs);
    pair.edge.sign_outs(&outs);
    let mut decoder = traversal::frame::Decoder::default();
    let mut messages = pair.core.take_messages();
    messages.extend(pair.edge.take_messages());
    assert!(messages.len() < 120, "{}", messages.len());
    let (mut ids, mut flows, mut firsts) = (std::collections::BTreeSet::new(), 0, 0);
    for message in messages {
        decoder.push(&traversal::frame::encode(&message));
        let Some(traversal::Message::SignOuts { outs }) = decoder.next_message().unwrap() else {
            panic!()
        };
        assert!(outs.len() <= traversal::SIGN_OUTS_MAX);
        flows += outs.iter().map(|o| o.flows.len()).sum::<usize>();
        firsts += outs.iter().filter(|o| !o.more).count();
        ids.extend(outs.into_iter().map(|o| o.id));
    }
    assert_eq!((ids.len(), flows, firsts), (2_001, 2_000, 2 * 2_001));
    // Nor is an unfit one taken from a node that has another bound.
    let unfit = outs.split_off(2_001);
    let heard = traversal::Message::SignOuts { outs: unfit };
    pair.core.handle(pair.now, heard.clone());
    pair.edge.handle(pair.now, heard);
    for events in [pair.core.take_events(), pair.edge.take_events()] {
        assert_eq!(events, [Event::SignOuts(vec![])]);
    }
}
