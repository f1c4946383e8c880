//! The simulated inside by itself: what the other scenarios rest on.

use sim::checks::under_seeds;
use sim::description::Direction;
use sim::house::Control;
use sim::pipe::Weather;
use sim::ua::{Plan as Answering, SECOND};
use sim::world::{Plan, World};

fn plan(seed: u64) -> Plan {
    let weather = if seed.is_multiple_of(2) {
        Weather::FAIR
    } else {
        Weather::FOUL
    };
    Plan {
        edges: 0,
        cores: 0,
        clients: 0,
        control: Control::UnifiedCm,
        weather: [weather; 3],
        ..Plan::SMALL
    }
}

#[test]
fn phones_inside_call_hold_resume_and_hang_up() {
    under_seeds(6, plan, |w: &mut World| {
        w.ready();
        let (a, b) = (w.who("phone1"), w.who("phone2"));
        w.with(a, |ua, now| ua.call(now, "1102"));
        assert!(w.run_until(20 * SECOND, |w| w.in_call(a, b)));
        w.with(b, |ua, now| ua.change(now, 0, Direction::Out));
        w.run(15 * SECOND);
        assert_eq!(w.people[b].ua.calls[0].changes, 1);
        w.with(b, |ua, now| ua.change(now, 0, Direction::Both));
        w.with(a, |ua, now| ua.change(now, 0, Direction::Both));
        w.run(20 * SECOND);
        assert!(w.in_call(a, b));
        w.with(a, |ua, now| ua.hang_up(now, 0));
        w.with(b, |ua, now| ua.hang_up(now, 0));
        w.quiet();
    });
}

#[test]
fn phones_inside_refuse_ring_and_give_up() {
    under_seeds(6, plan, |w: &mut World| {
        w.ready();
        let (a, b) = (w.who("phone1"), w.who("phone2"));
        w.people[b].ua.plan = Answering::Refuse(486);
        w.with(a, |ua, now| ua.call(now, "1102"));
        w.run(15 * SECOND);
        assert_eq!(w.people[a].ua.calls[0].why, "486");
        w.people[b].ua.plan = Answering::Ring;
        w.with(a, |ua, now| ua.call(now, "1102"));
        w.run(3 * SECOND);
        w.with(a, |ua, now| ua.hang_up(now, 1));
        w.run(15 * SECOND);
        assert_eq!(w.people[a].ua.calls[1].why, "487");
        w.with(a, |ua, now| ua.call(now, "1102"));
        w.run(60 * SECOND);
        assert_eq!(w.people[a].ua.calls[2].why, "480");
        w.people[b].ua.plan = Answering::Answer(2 * SECOND);
        w.with(a, |ua, now| ua.call(now, "1102"));
        let wait = 2 * SECOND + w.random(SECOND / 5);
        w.run(wait);
        w.with(a, |ua, now| ua.hang_up(now, 3));
        w.quiet();
    });
}
