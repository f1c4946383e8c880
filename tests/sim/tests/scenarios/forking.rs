//! Several devices of one number: all ring, one answers, and the others hear no more of it.

use sim::checks::under_seeds;
use sim::house::Control;
use sim::pipe::Weather;
use sim::ua::{Phase, Plan as Answering, SECOND};
use sim::world::{Plan, World};

fn plan(seed: u64) -> Plan {
    Plan {
        edges: 1 + (seed / 3 % 2) as usize,
        cores: 1 + (seed / 6 % 2) as usize,
        clients: 3,
        lanes: 1 + (seed % 2) as usize,
        control: [Control::Path, Control::UnifiedCm, Control::Rewrite][(seed % 3) as usize],
        nat: seed.is_multiple_of(2),
        weather: match seed % 4 {
            3 => [Weather::FOUL; 3],
            _ => [Weather::FAIR; 3],
        },
        twins: true,
        ..Plan::SMALL
    }
}

/// Who calls the two, one after the other: from inside and from outside.
fn callers(w: &World) -> [usize; 2] {
    [w.who("phone1"), w.who("carol")]
}

/// How many calls each of the two devices has had, refused ones among them.
fn had(w: &World) -> [usize; 2] {
    ["alice", "bob"].map(|name| {
        let ua = &w.people[w.who(name)].ua;
        ua.calls.len() + ua.refused
    })
}

/// Whether each device has had one call more than `before`.
fn both_rang(w: &World, before: [usize; 2]) -> bool {
    had(w) == before.map(|calls| calls + 1)
}

/// The phase of somebody's last call.
fn phase(w: &World, who: usize) -> Option<Phase> {
    let ua = &w.people[who].ua;
    ua.last().map(|i| ua.calls[i].phase)
}

#[test]
fn the_device_that_answers_has_the_call_and_the_other_stops_ringing() {
    under_seeds(12, plan, |w: &mut World| {
        w.ready();
        let (alice, bob) = (w.who("alice"), w.who("bob"));
        for (from, [answers, rings]) in callers(w).into_iter().zip([[alice, bob], [bob, alice]]) {
            w.people[answers].ua.plan = Answering::Answer(2 * SECOND);
            w.people[rings].ua.plan = Answering::Ring;
            let before = had(w);
            w.with(from, |ua, now| ua.call(now, "1001"));
            assert!(w.run_until(40 * SECOND, |w| w.in_call(from, answers)));
            assert!(both_rang(w, before), "one rings alone");
            let over = |w: &World| phase(w, rings) == Some(Phase::Over);
            assert!(w.run_until(20 * SECOND, over), "it rings on");
            assert!(both_rang(w, before), "one is called again");
            assert!(w.in_call(from, answers));
            w.everyone_hangs_up();
            w.run(5 * SECOND);
        }
        w.quiet();
        w.still();
    });
}

#[test]
fn two_devices_answer_at_once_and_one_has_the_call() {
    under_seeds(12, plan, |w: &mut World| {
        w.ready();
        let (alice, bob) = (w.who("alice"), w.who("bob"));
        for who in [alice, bob] {
            w.people[who].ua.plan = Answering::Answer(SECOND);
        }
        for from in callers(w) {
            let before = had(w);
            w.with(from, |ua, now| ua.call(now, "1001"));
            let one = |w: &World| w.in_call(from, alice) != w.in_call(from, bob);
            assert!(w.run_until(40 * SECOND, one), "nobody has the call");
            w.run(20 * SECOND);
            let up = [alice, bob].map(|who| phase(w, who) == Some(Phase::Up));
            assert_eq!(up.iter().filter(|up| **up).count(), 1, "{up:?}");
            assert!(both_rang(w, before), "one rang alone");
            w.everyone_hangs_up();
            w.run(5 * SECOND);
        }
        w.quiet();
        w.still();
    });
}

#[test]
fn the_caller_gives_up_or_all_refuse_and_no_device_rings_on() {
    under_seeds(12, plan, |w: &mut World| {
        w.ready();
        let (alice, bob) = (w.who("alice"), w.who("bob"));
        for (from, answer) in callers(w)
            .into_iter()
            .zip([Answering::Ring, Answering::Refuse(486)])
        {
            w.people[alice].ua.plan = answer;
            w.people[bob].ua.plan = answer;
            let before = had(w);
            let call = w.with(from, |ua, now| ua.call(now, "1001"));
            // A bad network may hold one of the INVITEs up.
            let rang = w.run_until(20 * SECOND, |w| both_rang(w, before));
            assert!(rang, "one rang alone");
            let wait = w.random(3 * SECOND);
            w.run(wait);
            // A slow way to one of them is not what this is about.
            let rang = |w: &World| both_rang(w, before);
            assert!(w.run_until(30 * SECOND, rang), "one rang alone");
            w.with(from, |ua, now| ua.hang_up(now, call));
            let over = |w: &World| {
                let all = [from, alice, bob];
                all.iter().all(|who| phase(w, *who) == Some(Phase::Over))
            };
            assert!(w.run_until(30 * SECOND, over), "somebody rings on");
            assert!(both_rang(w, before), "one rang alone");
        }
        w.quiet();
        w.still();
    });
}
