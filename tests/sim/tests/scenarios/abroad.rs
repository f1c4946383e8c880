//! Calls to and from a foreign domain, which an edge finds by DNS and dials: it answers, refuses,
//! cannot be found, and vanishes.

use sim::checks::under_seeds;
use sim::description::Direction;
use sim::house::{Control, FOREIGN_NUMBER};
use sim::pipe::Weather;
use sim::ua::{Manner, Phase, Plan as Answering, SECOND};
use sim::web::Foreign;
use sim::world::{Abroad, Plan, World};

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

/// What comes of a host that is not heard of any more in the middle of something.
const VANISHED: [&str; 4] = [
    "no answer to",
    "was never acknowledged",
    "that is not open",
    "names no call",
];

fn begin(w: &mut World) -> usize {
    w.ready();
    let trunk = w.who("trunk");
    assert!(w.run_until(20 * SECOND, |w| w.neighbour_linked(trunk)));
    w.who("foreign")
}

/// Who calls abroad: a remote client and an inside phone by call control, and a trunk.
fn callers(w: &World) -> [usize; 3] {
    ["alice", "phone1", "trunk"].map(|name| w.who(name))
}

fn calls(w: &mut World, from: usize) {
    w.with(from, |ua, now| ua.call(now, FOREIGN_NUMBER));
}

/// Why a telephone's last call is over, if it is.
fn over(w: &World, who: usize) -> Option<String> {
    let call = w.people[who].ua.calls.last()?;
    (call.phase == Phase::Over).then(|| call.why.clone())
}

/// A telephone's last call ends so, and soon.
fn ended(w: &mut World, who: usize, why: &str) {
    w.run_until(40 * SECOND, |w| over(w, who).is_some());
    assert_eq!(over(w, who).as_deref(), Some(why));
    w.run(3 * SECOND);
}

fn heard(w: &World, who: usize) -> u64 {
    let last = w.people[who].ua.calls.last();
    last.map_or(0, |c| u64::from(c.media.heard))
}

/// A telephone offers anew, as soon as what is under way is over.
fn changes(w: &mut World, who: usize, direction: Direction) {
    let i = w.people[who].ua.calls.len() - 1;
    let mut changed = false;
    for _ in 0..20 {
        changed = changed || w.with(who, |ua, now| ua.change(now, i, direction));
        w.run(SECOND);
    }
    assert!(changed, "a change is under way for ever");
}

/// Whether both hear one another from now on.
fn hear(w: &mut World, a: usize, b: usize) -> bool {
    let before = (heard(w, a), heard(w, b));
    let both = |w: &World| before.0 < heard(w, a) && before.1 < heard(w, b);
    w.run_until(20 * SECOND, both)
}

#[test]
fn a_foreign_domain_is_found_by_dns_and_called_and_both_sides_change_the_call() {
    under_seeds(12, plan, |w: &mut World| {
        let foreign = begin(w);
        for (n, from) in callers(w).into_iter().enumerate() {
            let known = (w.seed + n as u64) % Foreign::REACHED;
            w.web.foreign = Foreign::ALL[known as usize];
            calls(w, from);
            let up = w.run_until(40 * SECOND, |w| w.in_call(from, foreign));
            assert!(up, "no call by {:?}", w.web.foreign);
            for (who, direction) in [(from, Direction::Out), (foreign, Direction::Both)] {
                changes(w, who, direction);
            }
            assert!(hear(w, from, foreign), "silence");
            let (ends, other) = match n % 2 {
                0 => (from, foreign),
                _ => (foreign, from),
            };
            w.with(ends, |ua, now| ua.hang_up_all(now));
            ended(w, other, "bye");
        }
        w.quiet();
        w.still();
    });
}

#[test]
fn a_foreign_domain_that_refuses_or_rings_in_vain_leaves_nothing() {
    under_seeds(12, plan, |w: &mut World| {
        let foreign = begin(w);
        for from in callers(w) {
            w.people[foreign].ua.plan = Answering::Refuse(486);
            calls(w, from);
            ended(w, from, "486");
            w.people[foreign].ua.plan = Answering::Ring;
            w.people[foreign].ua.manner = Manner {
                reliable: w.seed.is_multiple_of(2),
                early: w.seed.is_multiple_of(3),
                ..Manner::default()
            };
            let before = w.people[foreign].ua.calls.len();
            calls(w, from);
            let rings = |w: &World| w.people[foreign].ua.calls.len() > before;
            assert!(w.run_until(40 * SECOND, rings), "it does not ring");
            w.run(3 * SECOND);
            w.with(from, |ua, now| ua.hang_up_all(now));
            ended(w, foreign, "cancelled");
        }
        w.quiet();
    });
}

#[test]
fn a_foreign_domain_that_is_not_found_or_not_there_is_told_the_caller() {
    under_seeds(12, plan, |w: &mut World| {
        let foreign = begin(w);
        for from in callers(w) {
            for (dns, abroad) in [
                (Foreign::Absent, Abroad::Answers),
                (Foreign::Silent, Abroad::Answers),
                (Foreign::Backup, Abroad::Refuses),
                (Foreign::Backup, Abroad::Vanished),
            ] {
                (w.web.foreign, w.abroad) = (dns, abroad);
                calls(w, from);
                w.run(90 * SECOND);
                let why = over(w, from);
                let why = why.and_then(|status| status.parse::<u16>().ok());
                let told = why.is_some_and(|status| (400..600).contains(&status));
                assert!(told, "{dns:?} {abroad:?}: {why:?}");
            }
        }
        assert!(w.people[foreign].ua.calls.is_empty());
        (w.web.foreign, w.abroad) = (Foreign::Naptr, Abroad::Answers);
        let alice = w.who("alice");
        calls(w, alice);
        assert!(w.run_until(40 * SECOND, |w| w.in_call(alice, foreign)));
        w.quiet();
    });
}

#[test]
fn a_foreign_host_that_vanishes_rings_no_more_and_is_called_again() {
    under_seeds(12, plan, |w: &mut World| {
        let foreign = begin(w);
        w.tolerated = VANISHED.to_vec();
        for (n, from) in callers(w).into_iter().enumerate() {
            // While it rings, or in the call, or in a call of its own.
            match (w.seed + n as u64) % 3 {
                0 => {
                    w.people[foreign].ua.plan = Answering::Ring;
                    calls(w, from);
                    w.run(5 * SECOND);
                }
                1 => {
                    calls(w, from);
                    assert!(w.run_until(40 * SECOND, |w| w.in_call(from, foreign)));
                }
                _ => {
                    let number = w.people[w.who("alice")].ua.setup.number.clone();
                    w.with(foreign, |ua, now| ua.call(now, &number));
                    w.run(5 * SECOND);
                }
            }
            w.vanish_abroad(60 * SECOND);
            w.run(20 * SECOND);
            w.everyone_hangs_up();
            w.run(160 * SECOND);
            w.people[foreign].ua.plan = Answering::Answer(SECOND);
            calls(w, from);
            let up = w.run_until(40 * SECOND, |w| w.in_call(from, foreign));
            assert!(up, "it is not called again");
            w.everyone_hangs_up();
            w.run(20 * SECOND);
        }
        w.quiet();
    });
}

#[test]
fn a_call_abroad_outlives_the_connection_that_it_was_made_on() {
    under_seeds(12, plan, |w: &mut World| {
        let foreign = begin(w);
        w.tolerated = VANISHED.to_vec();
        for from in callers(w) {
            calls(w, from);
            assert!(w.run_until(40 * SECOND, |w| w.in_call(from, foreign)));
            w.disconnect(foreign);
            w.run(3 * SECOND);
            changes(w, foreign, Direction::Both);
            assert!(w.in_call(from, foreign) && hear(w, from, foreign));
            w.with(from, |ua, now| ua.hang_up_all(now));
            ended(w, foreign, "bye");
        }
        w.quiet();
    });
}

#[test]
fn a_node_that_dies_under_a_call_abroad_leaves_nothing_of_it() {
    under_seeds(12, plan, |w: &mut World| {
        let foreign = begin(w);
        w.tolerated = VANISHED.to_vec();
        let all = w.gateways.len();
        for (n, from) in callers(w).into_iter().enumerate() {
            calls(w, from);
            assert!(w.run_until(60 * SECOND, |w| w.in_call(from, foreign)));
            let g = (w.seed as usize + n) % all;
            w.kill(g);
            w.run(2 * SECOND);
            w.start(g);
            w.everyone_hangs_up();
            assert!(w.run_until(120 * SECOND, World::all_linked));
            let ready = |w: &World| (0..4).all(|i| w.registered(i));
            assert!(w.run_until(200 * SECOND, ready), "not everybody is back");
            w.call_control_hangs_up();
            w.run(40 * SECOND);
        }
        w.quiet();
    });
}
