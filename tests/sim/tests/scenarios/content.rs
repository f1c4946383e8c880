//! Shared content: floor control beside audio, from a client through edge and core and back.

use sim::checks::under_seeds;
use sim::house::Control;
use sim::pipe::Weather;
use sim::ua::SECOND;
use sim::world::{Plan, World};

fn plan(seed: u64) -> Plan {
    Plan {
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

/// Who calls whom.
fn pairs(w: &World) -> [(usize, usize); 3] {
    let (a, b, p) = (w.who("alice"), w.who("bob"), w.who("phone1"));
    [(a, p), (p, a), (a, b)]
}

/// What both have heard of one another's floor control, and seen of their slides, in their last
/// calls: the less of the two.
fn heard(w: &World, from: usize, to: usize) -> Option<(u32, u32)> {
    let of = |i: usize| {
        let ua = &w.people[i].ua;
        let media = &ua.calls[ua.last()?].media;
        let floor = media.floor.as_ref().map(|f| f.heard)?;
        media.slides.as_ref().map(|s| s.seen.min(floor))
    };
    Some((of(from)?, of(to)?))
}

#[test]
fn slides_and_floor_control_pass_beside_audio_whoever_calls_and_are_closed_on_the_link() {
    under_seeds(8, plan, |w: &mut World| {
        w.ready();
        w.people.iter_mut().for_each(|p| p.ua.shares = true);
        for (from, to) in pairs(w) {
            let called = w.people[to].ua.setup.number.clone();
            w.with(from, |ua, now| ua.call(now, &called));
            let up = w.run_until(40 * SECOND, |w| w.in_call(from, to));
            assert!(up, "{called} is not reached");
            let both = w.run_until(10 * SECOND, |w| {
                heard(w, from, to).is_some_and(|(a, b)| a > 3 && b > 3)
            });
            assert!(both, "{:?} heard of the floor", heard(w, from, to));
            w.everyone_hangs_up();
            w.run(5 * SECOND);
        }
        w.quiet();
        w.still();
    });
}

#[test]
fn who_shares_nothing_refuses_the_floor_and_the_call_goes_on() {
    under_seeds(6, plan, |w: &mut World| {
        w.ready();
        for (from, to) in pairs(w) {
            w.people[from].ua.shares = true;
            let called = w.people[to].ua.setup.number.clone();
            w.with(from, |ua, now| ua.call(now, &called));
            assert!(w.run_until(40 * SECOND, |w| w.in_call(from, to)));
            w.run(2 * SECOND);
            assert_eq!(heard(w, from, from), Some((0, 0)));
            w.people[from].ua.shares = false;
            w.everyone_hangs_up();
            w.run(5 * SECOND);
        }
        w.quiet();
        w.still();
    });
}
