//! Calls, in fair weather and foul.

use sim::checks::under_seeds;
use sim::description::Direction;
use sim::house::Control;
use sim::pipe::Weather;
use sim::ua::{Phase, Plan as Answering, SECOND};
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

/// Who calls whom, by name and number.
fn pairs(w: &World) -> [(usize, usize, String); 3] {
    let (a, b, p) = (w.who("alice"), w.who("bob"), w.who("phone1"));
    let number = |i: usize| w.people[i].ua.setup.number.clone();
    [(a, p, number(p)), (p, a, number(a)), (a, b, number(b))]
}

fn calls(w: &mut World, from: usize, number: &str) -> usize {
    w.with(from, |ua, now| ua.call(now, number))
}

/// Changes the direction as soon as the call allows it, and waits until that is agreed.
fn change(w: &mut World, who: usize, call: usize, direction: Direction) {
    let before = w.people[who].ua.calls[call].changes;
    for _ in 0..60 {
        if w.with(who, |ua, now| ua.change(now, call, direction)) {
            break;
        }
        w.run(SECOND / 2);
    }
    let made = w.run_until(40 * SECOND, |w| {
        w.people[who].ua.calls[call].changes > before
    });
    assert!(made, "the change to {direction:?} goes through");
}

#[test]
fn both_hear_one_another_whoever_calls_and_nothing_is_left() {
    under_seeds(12, plan, |w: &mut World| {
        w.ready();
        w.pbx.dials = w.seed % 2 == 1;
        for (from, to, number) in pairs(w) {
            let i = calls(w, from, &number);
            assert!(
                w.run_until(30 * SECOND, |w| w.in_call(from, to)),
                "{number} is not reached"
            );
            w.run(3 * SECOND);
            let by = if w.random(2) == 0 { from } else { to };
            let last = w.people[by].ua.last().unwrap_or(i);
            w.with(by, |ua, now| ua.hang_up(now, last));
            let over =
                |w: &World, i: usize| w.people[i].ua.calls.iter().all(|c| c.phase == Phase::Over);
            assert!(w.run_until(20 * SECOND, |w| over(w, from) && over(w, to)));
        }
        w.quiet();
        w.still();
    });
}

#[test]
fn hold_silences_one_way_and_resume_brings_it_back() {
    under_seeds(9, plan, |w: &mut World| {
        w.ready();
        let rude = w.seed.is_multiple_of(2);
        w.people.iter_mut().for_each(|p| p.ua.rude = rude);
        for (from, to, number) in pairs(w) {
            let i = calls(w, from, &number);
            assert!(w.run_until(30 * SECOND, |w| w.in_call(from, to)));
            let last = w.people[to].ua.last().unwrap_or(0);
            for (who, call) in [(from, i), (to, last)] {
                change(w, who, call, Direction::Out);
                w.run(3 * SECOND);
                let call_of = |w: &World| w.people[who].ua.calls[call].media.clone();
                let heard = call_of(w).heard;
                w.run(3 * SECOND);
                assert_eq!(call_of(w).heard, heard, "nothing is heard on hold");
                change(w, who, call, Direction::Both);
                assert!(w.run_until(20 * SECOND, |w| w.in_call(from, to)), "resumed");
            }
            w.everyone_hangs_up();
            w.run(5 * SECOND);
        }
        w.quiet();
    });
}

#[test]
fn changes_of_both_at_once_are_491_and_work_the_second_time() {
    under_seeds(9, plan, |w: &mut World| {
        w.ready();
        for (from, to, number) in pairs(w) {
            let i = calls(w, from, &number);
            assert!(w.run_until(30 * SECOND, |w| w.in_call(from, to)));
            let last = w.people[to].ua.last().unwrap_or(0);
            let mut begun = u32::from(w.with(from, |ua, now| ua.change(now, i, Direction::Both)));
            let wait = w.random(20_000);
            w.run(wait);
            begun += u32::from(w.with(to, |ua, now| ua.change(now, last, Direction::Both)));
            w.run(25 * SECOND);
            assert!(w.in_call(from, to));
            let changed = w.people[from].ua.calls[i].changes + w.people[to].ua.calls[last].changes;
            assert_eq!(changed, begun, "all went through in the end");
            w.everyone_hangs_up();
            w.run(5 * SECOND);
        }
        w.quiet();
    });
}

#[test]
fn a_cancel_meets_ringing_answer_or_nothing_and_both_sides_agree() {
    under_seeds(24, plan, |w: &mut World| {
        w.ready();
        for (from, to, number) in pairs(w) {
            w.people[to].ua.plan = Answering::Answer(2 * SECOND);
            let i = calls(w, from, &number);
            // Around the moment at which the other answers.
            let wait = match w.random(3) {
                0 => w.random(200_000),
                1 => w.random(2 * SECOND),
                _ => 1_900_000 + w.random(400_000),
            };
            w.run(wait);
            w.with(from, |ua, now| ua.hang_up(now, i));
            w.run(20 * SECOND);
            assert_eq!(w.people[from].ua.calls[i].phase, Phase::Over);
            assert!(w.people[to].ua.calls.iter().all(|c| c.phase == Phase::Over));
        }
        w.quiet();
    });
}

#[test]
fn busy_declined_unknown_and_unanswered_are_told_as_they_are() {
    under_seeds(6, plan, |w: &mut World| {
        w.ready();
        for (from, to, number) in pairs(w) {
            for status in [486, 603, 480] {
                w.people[to].ua.plan = Answering::Refuse(status);
                let i = calls(w, from, &number);
                w.run(20 * SECOND);
                assert_eq!(w.people[from].ua.calls[i].why, status.to_string());
            }
            w.people[to].ua.plan = Answering::Ring;
            let i = calls(w, from, &number);
            w.run(60 * SECOND);
            assert_eq!(
                w.people[from].ua.calls[i].why, "480",
                "call control gave up"
            );
            let i = calls(w, from, "1999");
            w.run(20 * SECOND);
            assert_eq!(w.people[from].ua.calls[i].why, "404");
        }
        w.quiet();
    });
}

#[test]
fn both_hang_up_at_once_and_both_get_an_answer() {
    under_seeds(9, plan, |w: &mut World| {
        w.ready();
        for (from, to, number) in pairs(w) {
            let i = calls(w, from, &number);
            assert!(w.run_until(30 * SECOND, |w| w.in_call(from, to)));
            let last = w.people[to].ua.last().unwrap_or(0);
            w.with(from, |ua, now| ua.hang_up(now, i));
            let wait = w.random(20_000);
            w.run(wait);
            w.with(to, |ua, now| ua.hang_up(now, last));
            w.run(10 * SECOND);
        }
        w.quiet();
    });
}

#[test]
fn every_call_at_once_and_none_hears_another() {
    let plan = |seed| Plan {
        clients: 4,
        phones: 4,
        ..plan(seed)
    };
    under_seeds(6, plan, |w: &mut World| {
        w.ready();
        let pairs = [
            ("alice", "phone1"),
            ("phone2", "bob"),
            ("carol", "dave"),
            ("phone3", "phone4"),
        ];
        for (from, to) in pairs {
            let (from, to) = (w.who(from), w.who(to));
            let number = w.people[to].ua.setup.number.clone();
            calls(w, from, &number);
        }
        for (from, to) in pairs {
            let (from, to) = (w.who(from), w.who(to));
            assert!(w.run_until(30 * SECOND, |w| w.in_call(from, to)));
        }
        w.run(5 * SECOND);
        w.quiet();
    });
}

#[test]
fn a_taken_media_port_fails_one_call_and_leaks_nothing() {
    under_seeds(6, plan, |w: &mut World| {
        w.ready();
        w.tolerated = vec![
            "without proper audio",
            "without audio",
            // A description that finds no port is dropped, and the call with it.
            "fields lost [\"Content-Type: application/sdp\"]",
            "its body was",
        ];
        for g in [0, w.core_number(0)] {
            for (from, _, number) in pairs(w) {
                w.gateways[g].workers.taken = 1;
                calls(w, from, &number);
                w.run(20 * SECOND);
                w.everyone_hangs_up();
                w.run(5 * SECOND);
                w.gateways[g].workers.taken = 0;
            }
        }
        w.quiet();
    });
}
