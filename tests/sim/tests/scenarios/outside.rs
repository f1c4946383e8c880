//! Clients in networks of another kind, or in many at once: IPv6, another edge in mid-call, and a
//! few hundred of them that come all at once.

use sim::checks::under_seeds;
use sim::description::Direction;
use sim::house::Control;
use sim::pipe::Weather;
use sim::ua::{Phase, SECOND};
use sim::world::{Plan, World};

fn plan(seed: u64) -> Plan {
    Plan {
        control: [Control::UnifiedCm, Control::Path, Control::Rewrite][(seed % 3) as usize],
        weather: if seed % 4 == 3 {
            [Weather::FOUL; 3]
        } else {
            [Weather::FAIR; 3]
        },
        v6: true,
        ..Plan::SMALL
    }
}

#[test]
fn clients_of_ipv6_register_and_speak_with_an_inside_of_ipv4() {
    under_seeds(6, plan, |w: &mut World| {
        w.ready();
        let (alice, bob, phone) = (w.who("alice"), w.who("bob"), w.who("phone1"));
        let echoed = w.people[alice].ua.registration.echoed.clone();
        assert!(echoed.contains("@[2001:db8:100::1]:5061"), "{echoed}");
        for (caller, called, number) in [
            (alice, phone, "1101"),
            (phone, alice, "1001"),
            (alice, bob, "1002"),
        ] {
            w.with(caller, |ua, now| ua.call(now, number));
            assert!(w.run_until(30 * SECOND, |w| w.in_call(caller, called)));
            w.run(3 * SECOND);
            let heard = |w: &World, who: usize| {
                let last = w.people[who].ua.calls.last();
                last.map_or(0, |c| c.media.heard)
            };
            assert!(heard(w, caller) > 10 && heard(w, called) > 10);
            w.with(called, |ua, now| ua.hang_up_all(now));
            w.run(10 * SECOND);
            let over = w.people[caller]
                .ua
                .calls
                .iter()
                .all(|c| c.phase == Phase::Over);
            assert!(over);
        }
        w.run(200 * SECOND);
        assert!(w.registered(alice) && w.registered(bob), "refreshed");
        w.quiet();
    });
}

/// How many registrations and refreshes each second brings, for so many seconds.
fn granted(w: &mut World, seconds: usize) -> Vec<u32> {
    let all = |w: &World| w.people.iter().map(|p| p.ua.registration.granted).sum();
    let mut before: u32 = all(w);
    let mut found = Vec::new();
    for _ in 0..seconds {
        w.run(SECOND);
        let now: u32 = all(w);
        found.push(now - before);
        before = now;
    }
    found
}

#[test]
fn a_storm_of_registrations_after_a_failover_spreads_out() {
    let plan = |seed| Plan {
        edges: 2,
        clients: 200,
        phones: 1,
        weather: [Weather::FAIR; 3],
        ..plan(seed)
    };
    under_seeds(1, plan, |w: &mut World| {
        w.ready();
        w.run(20 * SECOND);
        w.kill(0);
        assert!(w.run_until(5 * SECOND, |w| !w.registered(0)));
        assert!(w.run_until(60 * SECOND, |w| (0..200).all(|i| w.registered(i))));
        let now = w.edge(1).now(w.now);
        let rows = w
            .edge(1)
            .engine
            .as_ref()
            .map(|e| e.snapshot(now).registrations.len());
        assert_eq!(rows, Some(200));
        // Half of them came within three seconds. They do not come back like that.
        let seconds = granted(w, 150);
        let most = seconds.iter().max().copied().unwrap_or_default();
        assert!(most <= 20, "{most} in one second: {seconds:?}");
        assert!((0..200).all(|i| w.registered(i)));
        w.start(0);
        w.quiet();
    });
}

/// Alice is in a call by the first edge, goes to another network in mid-call, and comes back
/// by this or another edge. Either end offers anew, and either end hangs up.
fn goes_on(w: &mut World, edge: usize) {
    w.ready();
    let (alice, phone) = (w.who("alice"), w.who("phone1"));
    w.with(alice, |ua, now| ua.call(now, "1101"));
    assert!(w.run_until(30 * SECOND, |w| w.in_call(alice, phone)));
    w.run(2 * SECOND);
    w.people[alice].edge = Some(edge);
    w.travel(alice);
    assert!(w.run_until(40 * SECOND, |w| w.registered(alice)));
    assert_eq!(w.people[alice].edge, Some(edge));
    w.run(2 * SECOND);
    assert!(w.in_call(alice, phone));
    let heard = |w: &World, who: usize| w.people[who].ua.calls[0].media.heard;
    let who = if w.seed < 3 { alice } else { phone };
    w.with(who, |ua, now| ua.change(now, 0, Direction::Both));
    w.run(5 * SECOND);
    let before = (heard(w, alice), heard(w, phone));
    w.run(3 * SECOND);
    let after = (heard(w, alice), heard(w, phone));
    assert!(
        after.0 > before.0 && after.1 > before.1,
        "{before:?} {after:?}"
    );
    let (ends, other) = match w.seed % 2 {
        0 => (alice, phone),
        _ => (phone, alice),
    };
    w.with(ends, |ua, now| ua.hang_up(now, 0));
    w.run(10 * SECOND);
    assert_eq!(w.people[other].ua.calls[0].why, "bye");
    w.quiet();
}

fn moving(seed: u64) -> Plan {
    Plan {
        edges: 2,
        keeps: true,
        v6: seed.is_multiple_of(2),
        weather: [Weather::FAIR; 3],
        ..plan(seed)
    }
}

#[test]
fn a_call_goes_on_from_another_address_by_the_same_edge() {
    under_seeds(6, moving, |w: &mut World| goes_on(w, 0));
}

#[test]
fn a_call_goes_on_by_another_edge_in_both_directions() {
    under_seeds(6, moving, |w: &mut World| goes_on(w, 1));
}

/// The phone asks something of Alice's client while that is on its way to another network: it
/// changes the call, or presses a key. She comes back by this or another edge.
fn asked_while_away(w: &mut World, edge: usize) {
    w.ready();
    let (alice, phone) = (w.who("alice"), w.who("phone1"));
    let (calls, called) = match w.seed % 2 {
        0 => (alice, "1101"),
        _ => (phone, "1001"),
    };
    w.with(calls, |ua, now| ua.call(now, called));
    assert!(w.run_until(30 * SECOND, |w| w.in_call(alice, phone)));
    w.run(2 * SECOND);
    w.people[alice].edge = Some(edge);
    w.travel(alice);
    let changes = !w.seed.is_multiple_of(3);
    let asked = w.with(phone, |ua, now| match changes {
        true => ua.change(now, 0, Direction::Both),
        false => ua.press(now, 0, '5'),
    });
    assert!(asked);
    assert!(w.run_until(40 * SECOND, |w| w.registered(alice)));
    // What was out on the old way has run out, and the client has been asked whether it is there.
    w.run(90 * SECOND);
    assert!(w.in_call(alice, phone), "the call is over");
    let heard = |w: &World, who: usize| w.people[who].ua.calls[0].media.heard;
    let before = (heard(w, alice), heard(w, phone));
    w.run(3 * SECOND);
    let after = (heard(w, alice), heard(w, phone));
    if changes {
        assert!(
            after.0 > before.0 && after.1 > before.1,
            "{before:?} {after:?}"
        );
    }
    w.with(phone, |ua, now| ua.hang_up(now, 0));
    w.run(10 * SECOND);
    assert_eq!(w.people[alice].ua.calls[0].why, "bye");
    w.quiet();
}

#[test]
fn what_is_asked_of_a_client_that_comes_back_to_its_edge_ends_no_call() {
    under_seeds(6, moving, |w: &mut World| asked_while_away(w, 0));
}

#[test]
fn what_is_asked_of_a_client_that_comes_back_by_another_edge_ends_no_call() {
    under_seeds(6, moving, |w: &mut World| asked_while_away(w, 1));
}
