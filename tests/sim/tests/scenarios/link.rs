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
        for (g, told) in [(0, "60.0 s ahead of"), (core, "60.0 s behind")] {
            let mut events = w.gateways[g].events.iter();
            let event = events.find(|e| e.kind == Kind::ClockSkew).unwrap();
            assert!(event.cause.contains(told), "{event}");
            let number = event.proof.iter().find(|(name, _)| *name == "skew_ms");
            let skew_ms: i64 = number.unwrap().1.parse().unwrap();
            assert!((59_500..60_500).contains(&skew_ms.abs()), "{event}");
        }
        assert_eq!(w.gateways[0].reported(Kind::ClocksAgree), 0);
        w.jump(core, -60_000);
        w.run(30 * SECOND);
        for g in [0, core] {
            assert_eq!(w.gateways[g].reported(Kind::ClocksAgree), 1);
        }
    });
}

#[test]
fn digests_that_fail_by_an_edges_clock_are_told_as_its_fault() {
    let plan = |_| Plan {
        edges: 1,
        cores: 1,
        clients: 1,
        phones: 0,
        ..Plan::SMALL
    };
    under_seeds(2, plan, |w: &mut World| {
        w.ready();
        let (core, alice) = (w.core_number(0), w.who("alice"));
        w.jump(core, -60_000);
        w.kill(0);
        w.run(5 * SECOND);
        w.start(0);
        assert!(w.run_until(30 * SECOND, World::all_linked));
        w.run(120 * SECOND);
        assert!(!w.registered(alice));
        let blamed = |w: &World| {
            let told = w.gateways[core].events.iter();
            told.filter(|e| e.kind == Kind::ClockSkew && e.cause.contains("refused as stale"))
                .count()
        };
        assert_eq!(blamed(w), 1, "once, however often the client tries");
        w.jump(core, 60_000);
        assert!(w.run_until(120 * SECOND, |w| w.registered(alice)));
        w.run(20 * SECOND);
        assert_eq!(blamed(w), 1);
    });
}
