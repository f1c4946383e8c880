//! The link between edge and core: up, down, back, and who may have one.

use sim::checks::under_seeds;
use sim::pipe::Weather;
use sim::ua::SECOND;
use sim::world::{Plan, World};
use status::Kind;

fn plan(seed: u64) -> Plan {
    Plan {
        edges: 1 + (seed % 2) as usize,
        cores: 1 + (seed / 2 % 2) as usize,
        clients: 0,
        phones: 0,
        weather: if seed % 3 == 2 {
            [Weather::FOUL; 3]
        } else {
            [Weather::FAIR; 3]
        },
        skew_ms: 2_000,
        ..Plan::SMALL
    }
}

#[test]
fn links_come_up_by_themselves_and_come_back() {
    under_seeds(8, plan, |w: &mut World| {
        assert!(w.run_until(30 * SECOND, World::all_linked), "first");
        for g in 0..w.gateways.len() {
            let wait = w.random(20 * SECOND);
            w.run(wait);
            w.kill(g);
            let wait = w.random(40 * SECOND);
            w.run(wait);
            assert!(!w.all_linked());
            w.start(g);
            assert!(
                w.run_until(120 * SECOND, World::all_linked),
                "after a restart"
            );
        }
        w.block(0, 0, false);
        w.run(20 * SECOND);
        assert!(!w.linked(0, 0));
        w.unblock(0, 0);
        assert!(w.run_until(60 * SECOND, World::all_linked), "after a cut");
        w.block(0, 0, true);
        let found = w.run_until(40 * SECOND, |w| !w.linked(0, 0));
        assert!(found, "a silent cut is found by pings");
        w.unblock(0, 0);
        assert!(
            w.run_until(180 * SECOND, World::all_linked),
            "after a silent cut"
        );
        w.run(10 * SECOND);
        w.quiet();
    });
}

#[test]
fn clocks_that_differ_raise_an_alarm_on_both_sides() {
    let plan = |_| Plan {
        edges: 1,
        cores: 1,
        clients: 0,
        phones: 0,
        ..Plan::SMALL
    };
    under_seeds(2, plan, |w: &mut World| {
        let core = w.core_number(0);
        w.kill(core);
        w.gateways[core].skew_ms = 60_000;
        w.start(core);
        assert!(w.run_until(30 * SECOND, World::all_linked));
        w.run(30 * SECOND);
        assert!(w.gateways[0].reported(Kind::ClockSkew) > 0);
        assert!(w.gateways[core].reported(Kind::ClockSkew) > 0);
    });
}
