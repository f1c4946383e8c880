//! An administrator changes settings while people speak.

use sim::checks::under_seeds;
use sim::house::Control;
use sim::pipe::Weather;
use sim::ua::{Phase, SECOND};
use sim::world::{Plan, World};

fn plan(seed: u64) -> Plan {
    Plan {
        edges: 1 + (seed / 3 % 2) as usize,
        cores: 1 + (seed / 6 % 2) as usize,
        lanes: 1 + (seed % 2) as usize,
        control: [Control::UnifiedCm, Control::Path, Control::Rewrite][(seed % 3) as usize],
        nat: seed.is_multiple_of(2),
        weather: if seed % 4 == 3 {
            [Weather::FOUL; 3]
        } else {
            [Weather::FAIR; 3]
        },
        ..Plan::SMALL
    }
}

/// What an administrator may add to a core's settings without meaning anybody who is there.
const OF_CORES: [&str; 8] = [
    "",
    "[[domains]]\nname = \"example.net\"\n",
    "[[allow_list]]\nhost = \"photos.example.test\"\n",
    "[[zones]]\nname = \"new\"\ntype = \"neighbor\"\npeers = [\"10.9.9.9\"]\ntransport = \"tcp\"\n\
     [[search_rules]]\nname = \"new\"\npriority = 90\npattern = \"88\"\ntarget = \"new\"\n\
     [[transforms]]\nname = \"t\"\npriority = 1\npattern = \"+88\"\nbehavior = \"replace\"\n\
     replace = \"88\"\n",
    "[calls]\nlicences = 50\nregistrations_max = 500\nsession_interval_s = 900\n",
    "[overload]\nrefuse_strangers_ms = 100\nrefuse_new_ms = 300\n",
    "[[unified_cm]]\npublisher = \"cucm9.example.test\"\nuser = \"axl\"\npassword = \"other\"\n",
    "[credentials]\nrefresh_interval_min = 60\n",
];

/// Servers of the new settings, which nobody else knows.
const STRANGE: [&str; 2] = ["dials 10.9.9.9:5060", "cucm9.example.test"];

/// The same of an edge's.
const OF_EDGES: [&str; 3] = [
    "",
    "[limits]\nrequests_per_user = 60\nrefusals_max = 200\n",
    "[overload]\nrefuse_strangers_ms = 100\n",
];

/// Gives a node other settings.
fn change(w: &mut World, g: usize) {
    let of: &[&str] = match w.gateways[g].edge {
        true => &OF_EDGES,
        false => &OF_CORES,
    };
    let n = w.random(of.len() as u64) as usize;
    let plan = w.plan;
    w.configure(g, &plan, of[n]);
}

#[test]
fn settings_change_under_calls_and_nobody_notices() {
    under_seeds(12, plan, |w: &mut World| {
        w.ready();
        w.tolerated = STRANGE.to_vec();
        let plan = w.plan;
        let (alice, phone) = (w.who("alice"), w.who("phone1"));
        let number = w.people[phone].ua.setup.number.clone();
        w.with(alice, |ua, now| ua.call(now, &number));
        assert!(w.run_until(30 * SECOND, |w| w.in_call(alice, phone)));
        let heard = |w: &World, i: usize| w.people[i].ua.calls[0].media.heard;
        for n in 0..OF_CORES.len() {
            for g in 0..w.gateways.len() {
                let more = match w.gateways[g].edge {
                    true => OF_EDGES[n % OF_EDGES.len()],
                    false => OF_CORES[n],
                };
                w.configure(g, &plan, more);
            }
            let before = [alice, phone].map(|i| heard(w, i));
            w.run(3 * SECOND);
            let after = [alice, phone].map(|i| heard(w, i));
            assert!(w.in_call(alice, phone), "the call is gone after change {n}");
            assert!(
                after[0] > before[0] && after[1] > before[1],
                "silence after change {n}"
            );
            assert!(
                w.registered(alice),
                "the registration is gone after change {n}"
            );
        }
        w.everyone_hangs_up();
        w.quiet();
        w.still();
    });
}

#[test]
fn settings_change_while_people_do_anything() {
    under_seeds(12, plan, |w: &mut World| {
        w.ready();
        // The connection may go while the ACK is on its way.
        w.tolerated = vec!["was never acknowledged", STRANGE[0], STRANGE[1]];
        for _ in 0..30 {
            let all = w.people.len() as u64;
            let (who, whom) = (w.random(all) as usize, w.random(all) as usize);
            let number = w.people[whom].ua.setup.number.clone();
            match w.random(3) {
                0 => w.with(who, |ua, now| ua.hang_up_all(now)),
                _ if who != whom => {
                    w.with(who, |ua, now| ua.call(now, &number));
                }
                _ => {}
            }
            let nodes = w.gateways.len() as u64;
            let g = w.random(nodes) as usize;
            change(w, g);
            let wait = w.random(3 * SECOND);
            w.run(wait);
            let lost: Vec<usize> = (0..w.people.len()).filter(|i| !w.registered(*i)).collect();
            assert_eq!(lost, [0_usize; 0]);
        }
        w.quiet();
    });
}

#[test]
fn a_domain_that_is_added_is_served_at_once_and_one_that_is_gone_no_more() {
    under_seeds(6, plan, |w: &mut World| {
        w.ready();
        let plan = w.plan;
        let cores: Vec<usize> = (0..w.gateways.len())
            .filter(|g| !w.gateways[*g].edge)
            .collect();
        let served = |w: &World, domain: &str| {
            let mut edges = w.gateways.iter().filter(|g| g.edge);
            edges.all(|g| {
                let gate = g.gate.as_ref().unwrap();
                gate.cores
                    .iter()
                    .any(|c| c.domains.iter().any(|d| d.name.as_str() == domain))
            })
        };
        assert!(!served(w, "example.net"));
        cores
            .iter()
            .for_each(|g| w.configure(*g, &plan, OF_CORES[1]));
        assert!(w.run_until(5 * SECOND, |w| served(w, "example.net")));
        cores.iter().for_each(|g| w.configure(*g, &plan, ""));
        assert!(w.run_until(5 * SECOND, |w| !served(w, "example.net")));
        w.quiet();
    });
}

#[test]
fn a_call_on_a_trunk_outlives_the_trunks_removal_and_the_trunk_comes_back() {
    let with_trunk = |seed| Plan {
        neighbours: true,
        ..plan(seed)
    };
    under_seeds(6, with_trunk, |w: &mut World| {
        w.ready();
        let (alice, trunk) = (w.who("alice"), w.who("trunk"));
        assert!(w.run_until(20 * SECOND, |w| w.neighbour_linked(trunk)));
        let number = w.people[trunk].ua.setup.number.clone();
        let call = |w: &mut World| w.with(alice, |ua, now| ua.call(now, &number));
        call(w);
        assert!(w.run_until(30 * SECOND, |w| w.in_call(alice, trunk)));
        let plan = w.plan;
        let without = Plan {
            neighbours: false,
            ..plan
        };
        let cores: Vec<usize> = (0..w.gateways.len())
            .filter(|g| !w.gateways[*g].edge)
            .collect();
        cores.iter().for_each(|g| w.configure(*g, &without, ""));
        w.run(90 * SECOND);
        // Right after a refresh they have heard little of it yet.
        let stays = w.run_until(5 * SECOND, |w| w.in_call(alice, trunk));
        assert!(stays, "the call went with the trunk");
        w.everyone_hangs_up();
        w.run(10 * SECOND);
        let refused = call(w);
        let over = |w: &World| w.people[alice].ua.calls[refused].phase == Phase::Over;
        assert!(
            w.run_until(40 * SECOND, over),
            "a trunk that is gone is called"
        );
        cores.iter().for_each(|g| w.configure(*g, &plan, ""));
        assert!(w.run_until(40 * SECOND, |w| w.neighbour_linked(trunk)));
        call(w);
        assert!(w.run_until(30 * SECOND, |w| w.in_call(alice, trunk)));
        w.everyone_hangs_up();
        w.quiet();
    });
}
