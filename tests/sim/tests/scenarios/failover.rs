//! Two edges, two cores: what dies takes no client with it.

use sim::checks::under_seeds;
use sim::house::Control;
use sim::pipe::Weather;
use sim::ua::SECOND;
use sim::world::{Plan, World};

fn plan(seed: u64) -> Plan {
    Plan {
        edges: 2,
        cores: 2,
        clients: 2,
        phones: 1,
        lanes: 1 + (seed % 2) as usize,
        control: [Control::UnifiedCm, Control::Rewrite, Control::Path][(seed % 3) as usize],
        nat: seed.is_multiple_of(2),
        weather: if seed % 4 == 3 {
            [Weather::FOUL; 3]
        } else {
            [Weather::FAIR; 3]
        },
        ..Plan::SMALL
    }
}

/// What a core says of alice's registrations: by which edge each came.
fn ways(w: &World, core: usize) -> Vec<String> {
    let node = w.core(core);
    let look = node.engine.as_ref().map(|e| e.snapshot(node.now(w.now)));
    let rows = look.map(|l| l.registrations).unwrap_or_default();
    rows.iter()
        .filter(|r| r.user.expose() == "alice")
        .map(|r| r.from.expose().clone())
        .collect()
}

/// The phone reaches alice, wherever she is.
fn is_reached(w: &mut World, alice: usize) {
    let phone = w.who("phone1");
    w.with(phone, |ua, now| ua.call(now, "1001"));
    assert!(w.run_until(20 * SECOND, |w| w.in_call(alice, phone)));
    w.with(phone, |ua, now| ua.hang_up_all(now));
    w.run(5 * SECOND);
}

#[test]
fn a_client_whose_edge_dies_registers_by_the_other_and_leaves_no_second_row() {
    under_seeds(6, plan, |w: &mut World| {
        w.ready();
        let alice = w.who("alice");
        assert_eq!(ways(w, 0), ["edge1.example.test"]);
        w.kill(0);
        assert!(w.run_until(5 * SECOND, |w| !w.registered(alice)));
        assert!(w.run_until(30 * SECOND, |w| w.registered(alice)));
        assert_eq!(ways(w, 0), ["edge2.example.test"]);
        is_reached(w, alice);
        w.start(0);
        assert!(w.run_until(60 * SECOND, World::all_linked));
        w.quiet();
    });
}

#[test]
fn a_client_that_comes_by_the_other_edge_calls_before_it_registers_there() {
    under_seeds(6, plan, |w: &mut World| {
        w.ready();
        let (alice, phone) = (w.who("alice"), w.who("phone1"));
        w.people[alice].ua.registration.wanted = false;
        w.next_edge(alice);
        w.disconnect(alice);
        assert!(w.run_until(20 * SECOND, |w| w.people[alice].ua.linked));
        let number = w.people[phone].ua.setup.number.clone();
        w.with(alice, |ua, now| ua.call(now, &number));
        assert!(w.run_until(20 * SECOND, |w| w.in_call(alice, phone)));
        assert!(!w.registered(alice));
        w.run(90 * SECOND);
        // A refresh may have changed keys this moment, and nothing been heard under the new ones.
        let goes_on = w.run_until(2 * SECOND, |w| w.in_call(alice, phone));
        assert!(goes_on, "it may finish");
        w.with(phone, |ua, now| ua.hang_up_all(now));
        w.run(5 * SECOND);
        w.with(alice, |ua, now| ua.message(now, &number));
        w.run(5 * SECOND);
        w.people[alice].ua.registration.wanted = true;
        w.with(alice, |ua, now| ua.register(now));
        assert!(w.run_until(20 * SECOND, |w| w.registered(alice)));
        is_reached(w, alice);
        w.quiet();
    });
}

#[test]
fn a_client_whose_core_dies_hears_no_answer_and_registers_by_the_other_core() {
    under_seeds(6, plan, |w: &mut World| {
        w.ready();
        let (alice, bob) = (w.who("alice"), w.who("bob"));
        assert!(w.asks_by_stun(alice) && w.asks_by_stun(bob));
        let first = w.core_number(0);
        w.kill(first);
        w.run(2 * SECOND);
        assert!(!w.asks_by_stun(alice), "its registration is with the dead");
        // As clients do then: they ask for their configuration, and register.
        for i in [alice, bob] {
            let n = w.sign_in(i, None);
            assert!(w.run_until(40 * SECOND, |w| w.sign_ins[n].reply.is_some()));
            w.with(i, |ua, now| ua.register(now));
            assert!(w.run_until(10 * SECOND, |w| w.registered(i)));
            assert!(w.asks_by_stun(i));
        }
        assert_eq!(ways(w, 1).len(), 1);
        is_reached(w, alice);
        // The first is back. Who stays connected stays where he is; who comes anew may go
        // there, and is taken by whichever core knows him.
        w.start(first);
        assert!(w.run_until(60 * SECOND, World::all_linked));
        w.run(150 * SECOND);
        assert!(w.registered(bob) && w.asks_by_stun(bob));
        w.disconnect(alice);
        assert!(w.run_until(30 * SECOND, |w| w.registered(alice)));
        is_reached(w, alice);
        w.quiet();
    });
}

#[test]
fn a_user_whom_only_the_second_core_knows_registers_through_the_first() {
    under_seeds(4, plan, |w: &mut World| {
        let first = w.core_number(0);
        w.kill(first);
        assert!(w.run_until(30 * SECOND, |w| (0..2).all(|e| w.linked(e, 1))));
        w.run(2 * SECOND);
        let alice = w.who("alice");
        let n = w.sign_in(alice, None);
        assert!(w.run_until(40 * SECOND, |w| w.sign_ins[n].reply.is_some()));
        w.start(first);
        assert!(w.run_until(60 * SECOND, World::all_linked));
        w.run(2 * SECOND);
        w.people[alice].stays = true;
        w.people[alice].ua.registration.wanted = true;
        w.connect(alice);
        assert!(w.run_until(20 * SECOND, |w| w.registered(alice)));
        assert_eq!((ways(w, 0).len(), ways(w, 1).len()), (0, 1));
        is_reached(w, alice);
        w.quiet();
    });
}

#[test]
fn clients_hear_no_answer_while_their_node_is_dead_though_every_link_stands() {
    under_seeds(4, plan, |w: &mut World| {
        w.ready();
        let alice = w.who("alice");
        assert!(w.asks_by_stun(alice));
        w.kill_pbx();
        w.run(10 * SECOND);
        assert!(w.all_linked() && !w.asks_by_stun(alice));
        w.start_pbx();
        assert!(w.run_until(60 * SECOND, |w| w.pbx.numbers().contains(&"1101")));
        w.run(40 * SECOND);
        assert!(w.asks_by_stun(alice));
        w.quiet();
    });
}
