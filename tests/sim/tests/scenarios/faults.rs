//! Things die: clients, links, nodes, call control. What was under way ends or goes on, and
//! everything heals by itself.

use sim::checks::under_seeds;
use sim::house::Control;
use sim::pipe::Weather;
use sim::ua::{Phase, Plan as Answering, SECOND};
use sim::world::{Plan, World};

fn plan(seed: u64) -> Plan {
    Plan {
        control: [Control::UnifiedCm, Control::Path, Control::Rewrite][(seed % 3) as usize],
        nat: seed.is_multiple_of(2),
        lanes: 1 + (seed % 2) as usize,
        weather: if seed % 4 == 3 {
            [Weather::FOUL; 3]
        } else {
            [Weather::FAIR; 3]
        },
        ..Plan::SMALL
    }
}

/// A call from alice to phone1 that stands.
fn in_call(w: &mut World) -> (usize, usize) {
    w.ready();
    let (alice, phone) = (w.who("alice"), w.who("phone1"));
    w.with(alice, |ua, now| ua.call(now, "1101"));
    assert!(w.run_until(30 * SECOND, |w| w.in_call(alice, phone)));
    (alice, phone)
}

#[test]
fn a_client_that_dies_in_a_call_leaves_nothing_once_the_other_hangs_up() {
    under_seeds(6, plan, |w: &mut World| {
        let (alice, phone) = in_call(w);
        w.people[alice].stays = false;
        w.disconnect(alice);
        w.run(20 * SECOND);
        assert_eq!(w.people[phone].ua.calls[0].phase, Phase::Up);
        w.with(phone, |ua, now| ua.hang_up(now, 0));
        w.run(40 * SECOND);
        let now = w.core(0).now(w.now);
        let calls = w
            .core(0)
            .engine
            .as_ref()
            .map(|e| e.snapshot(now).calls.len());
        assert_eq!(calls, Some(0));
        w.quiet();
    });
}

#[test]
fn a_call_outlives_the_clients_connection() {
    let plan = |seed| Plan {
        keeps: true,
        ..plan(seed)
    };
    under_seeds(6, plan, |w: &mut World| {
        let (alice, phone) = in_call(w);
        w.disconnect(alice);
        assert!(w.run_until(30 * SECOND, |w| w.registered(alice)));
        w.run(5 * SECOND);
        assert!(w.in_call(alice, phone));
        // The inside ends it: the BYE finds the client on its new connection.
        w.with(phone, |ua, now| ua.hang_up(now, 0));
        w.run(10 * SECOND);
        assert_eq!(w.people[alice].ua.calls[0].why, "bye");
        w.quiet();
    });
}

#[test]
fn a_short_cut_of_the_link_leaves_the_call_standing() {
    under_seeds(6, plan, |w: &mut World| {
        let (alice, phone) = in_call(w);
        w.block(0, 0, false);
        let wait = 3 * SECOND + w.random(5 * SECOND);
        w.run(wait);
        w.unblock(0, 0);
        assert!(w.run_until(25 * SECOND, World::all_linked));
        w.run(5 * SECOND);
        let heard = |w: &World| {
            (
                w.people[alice].ua.calls[0].media.heard,
                w.people[phone].ua.calls[0].media.heard,
            )
        };
        let before = heard(w);
        w.run(3 * SECOND);
        let after = heard(w);
        assert!(
            after.0 > before.0 && after.1 > before.1,
            "audio flows again: {before:?} {after:?}"
        );
        w.with(phone, |ua, now| ua.hang_up(now, 0));
        w.run(20 * SECOND);
        assert_eq!(w.people[alice].ua.calls[0].phase, Phase::Over);
        w.quiet();
    });
}

#[test]
fn a_long_cut_of_the_link_ends_the_call_on_both_sides() {
    under_seeds(6, plan, |w: &mut World| {
        let (alice, phone) = in_call(w);
        w.tolerated = vec!["no answer to BYE"];
        w.block(0, 0, w.seed.is_multiple_of(2));
        w.run(150 * SECOND);
        assert_eq!(
            w.people[phone].ua.calls[0].phase,
            Phase::Over,
            "the core has ended it"
        );
        w.unblock(0, 0);
        assert!(w.run_until(120 * SECOND, |w| w.all_linked() && w.registered(alice)));
        w.with(alice, |ua, now| ua.hang_up_all(now));
        w.run(40 * SECOND);
        w.with(phone, |ua, now| ua.call(now, "1001"));
        assert!(w.run_until(30 * SECOND, |w| w.in_call(alice, phone)));
        w.quiet();
    });
}

#[test]
fn a_killed_core_comes_back_and_the_next_call_works_without_a_sign_in() {
    under_seeds(6, plan, |w: &mut World| {
        let (alice, phone) = in_call(w);
        let core = w.core_number(0);
        w.kill(core);
        let wait = SECOND + w.random(20 * SECOND);
        w.run(wait);
        w.start(core);
        assert!(w.run_until(90 * SECOND, World::all_linked));
        w.everyone_hangs_up();
        // Nobody signs in again: the core has kept what it needs to check a digest.
        w.run(2 * SECOND);
        w.with(alice, |ua, now| ua.register(now));
        assert!(w.run_until(90 * SECOND, |w| w.registered(alice)));
        w.with(phone, |ua, now| ua.call(now, "1001"));
        assert!(w.run_until(30 * SECOND, |w| w.in_call(alice, phone)));
        w.quiet();
    });
}

#[test]
fn a_killed_edge_comes_back_and_the_next_call_works() {
    under_seeds(6, plan, |w: &mut World| {
        let (alice, phone) = in_call(w);
        w.kill(0);
        let wait = SECOND + w.random(50 * SECOND);
        w.run(wait);
        w.start(0);
        let back = |w: &World| w.all_linked() && w.registered(alice);
        assert!(w.run_until(120 * SECOND, back), "alice is registered again");
        w.everyone_hangs_up();
        w.run(5 * SECOND);
        w.with(phone, |ua, now| ua.call(now, "1001"));
        assert!(w.run_until(30 * SECOND, |w| w.in_call(alice, phone)));
        w.quiet();
    });
}

#[test]
fn an_edge_that_never_comes_back_leaves_no_call_on_the_core() {
    under_seeds(3, plan, |w: &mut World| {
        w.ready();
        let (alice, bob) = (w.who("alice"), w.who("bob"));
        // Two calls of the core: both their clients vanish without a word.
        w.with(alice, |ua, now| ua.call(now, "1002"));
        assert!(w.run_until(30 * SECOND, |w| w.in_call(alice, bob)));
        w.kill(0);
        w.run(120 * SECOND);
        let now = w.core(0).now(w.now);
        let snapshot = w.core(0).engine.as_ref().map(|e| e.snapshot(now));
        assert_eq!(snapshot.as_ref().map(|s| s.calls.len()), Some(0));
        assert_eq!(snapshot.map(|s| s.counters.media_ports_in_use), Some(0));
        w.start(0);
        w.quiet();
    });
}

#[test]
fn another_edge_and_another_core_take_over() {
    let plan = |seed| Plan {
        edges: 2,
        cores: 2,
        ..plan(seed)
    };
    under_seeds(6, plan, |w: &mut World| {
        let (alice, phone) = in_call(w);
        let core = w.core_number(0);
        for g in [0, core] {
            w.kill(g);
        }
        w.run(5 * SECOND);
        w.everyone_hangs_up();
        w.run(20 * SECOND);
        // The other core has not seen alice sign in.
        w.sign_in(alice, None);
        w.run(5 * SECOND);
        w.with(alice, |ua, now| ua.register(now));
        assert!(w.run_until(60 * SECOND, |w| w.registered(alice)));
        w.with(phone, |ua, now| ua.call(now, "1001"));
        assert!(w.run_until(30 * SECOND, |w| w.in_call(alice, phone)));
        w.start(0);
        w.start(core);
        w.run(30 * SECOND);
        w.quiet();
    });
}

#[test]
fn call_control_dies_in_the_middle_of_everything() {
    under_seeds(6, plan, |w: &mut World| {
        let (alice, phone) = in_call(w);
        w.people[phone].ua.plan = Answering::Ring;
        let bob = w.who("bob");
        w.with(bob, |ua, now| ua.call(now, "1102"));
        w.run(SECOND);
        w.kill_pbx();
        w.run(5 * SECOND);
        w.with(bob, |ua, now| ua.call(now, "1102"));
        w.run(35 * SECOND);
        let why = w.people[bob].ua.calls[1].why.clone();
        assert!(why.starts_with('5'), "a call into nothing is {why}");
        w.start_pbx();
        w.with(alice, |ua, now| ua.hang_up_all(now));
        let all = w.people.len();
        assert!(w.run_until(180 * SECOND, |w| (0..all).all(|i| w.registered(i))));
        w.people[phone].ua.plan = Answering::Answer(SECOND);
        w.with(alice, |ua, now| ua.call(now, "1101"));
        assert!(w.run_until(30 * SECOND, |w| w.in_call(alice, phone)));
        w.quiet();
    });
}
