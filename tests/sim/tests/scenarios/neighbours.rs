//! A trunk behind the cores and hosts of foreign domains, beside telephones that register.

use sim::checks::under_seeds;
use sim::house::Control;
use sim::pipe::Weather;
use sim::ua::SECOND;
use sim::world::{Plan, World};

fn plan(seed: u64) -> Plan {
    Plan {
        edges: 1 + (seed / 3 % 2) as usize,
        cores: 1 + (seed / 6 % 2) as usize,
        lanes: 1 + (seed % 2) as usize,
        control: [Control::Path, Control::UnifiedCm, Control::Rewrite][(seed % 3) as usize],
        nat: seed.is_multiple_of(2),
        weather: match seed % 4 {
            3 => [Weather::FOUL; 3],
            _ => [Weather::FAIR; 3],
        },
        neighbours: true,
        secure_trunk: seed / 2 % 2 == 1,
        ..Plan::SMALL
    }
}

fn begin(w: &mut World) {
    w.ready();
    let (trunk, foreign) = (w.who("trunk"), w.who("foreign"));
    let up = |w: &World| w.neighbour_linked(trunk) && w.neighbour_linked(foreign);
    assert!(w.run_until(20 * SECOND, up));
}

/// Who calls whom, by what route.
fn pairs(w: &World) -> [(usize, usize); 5] {
    let (alice, phone) = (w.who("alice"), w.who("phone1"));
    let (trunk, foreign) = (w.who("trunk"), w.who("foreign"));
    [
        (alice, trunk),
        (trunk, alice),
        (trunk, phone),
        (foreign, alice),
        (foreign, phone),
    ]
}

#[test]
fn a_trunk_a_foreign_host_and_a_remote_phone_call_and_hear_one_another() {
    under_seeds(12, plan, |w: &mut World| {
        begin(w);
        for (from, to) in &pairs(w) {
            let called = w.people[*to].ua.setup.number.clone();
            w.with(*from, |ua, now| ua.call(now, &called));
            let up = w.run_until(40 * SECOND, |w| w.in_call(*from, *to));
            let names = [*from, *to].map(|i| w.people[i].ua.setup.name.clone());
            assert!(up, "{names:?} have no call");
            w.everyone_hangs_up();
            w.run(5 * SECOND);
        }
        w.quiet();
        w.still();
    });
}
