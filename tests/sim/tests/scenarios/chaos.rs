//! Anybody does anything at any time, and anything may break.

use sim::checks::under_seeds;
use sim::description::Direction;
use sim::house::Control;
use sim::pipe::Weather;
use sim::ua::{Plan as Answering, SECOND};
use sim::world::{Plan, World};

fn plan(seed: u64) -> Plan {
    Plan {
        edges: 1 + (seed % 2) as usize,
        cores: 1 + (seed / 2 % 2) as usize,
        clients: 2 + (seed % 3) as usize,
        phones: 2,
        lanes: 1 + (seed / 4 % 2) as usize,
        nat: (seed / 3).is_multiple_of(2),
        keeps: (seed / 5).is_multiple_of(2),
        control: [Control::UnifiedCm, Control::Path, Control::Rewrite][(seed % 3) as usize],
        weather: if seed % 4 == 3 {
            [Weather::FOUL; 3]
        } else {
            [Weather::FAIR; 3]
        },
        skew_ms: 2_000,
        v6: false,
        neighbours: false,
        secure_trunk: false,
        twins: false,
        sso: false,
    }
}

/// What a person does next. Where all are polite, nobody leaves without a word, and every call
/// must end by what people say alone.
fn act(w: &mut World, polite: bool) {
    let all = w.people.len() as u64;
    let who = w.random(all) as usize;
    let last = w.people[who].ua.last().unwrap_or(0);
    match w.random(10) {
        0..=3 => {
            let whom = w.random(all) as usize;
            let number = w.people[whom].ua.setup.number.clone();
            if whom != who {
                w.with(who, |ua, now| ua.call(now, &number));
            }
        }
        4 => w.with(who, |ua, now| ua.hang_up(now, last)),
        n @ 5..=6 => {
            let direction = if n == 5 {
                Direction::Out
            } else {
                Direction::Both
            };
            w.with(who, |ua, now| ua.change(now, last, direction));
        }
        7 => w.with(who, |ua, now| ua.hang_up_all(now)),
        8 => {
            let plans = [
                Answering::Answer(SECOND),
                Answering::Answer(SECOND / 100),
                Answering::Answer(4 * SECOND),
                Answering::Refuse(486),
                Answering::Ring,
            ];
            w.people[who].ua.plan = plans[w.random(5) as usize];
        }
        _ if polite => w.with(who, |ua, now| ua.hang_up_all(now)),
        _ => w.disconnect(who),
    }
}

/// What breaks next.
fn break_something(w: &mut World) {
    let nodes = w.gateways.len() as u64;
    let wait = SECOND / 10 + w.random(40 * SECOND);
    match w.random(5) {
        0 | 1 => {
            let g = w.random(nodes) as usize;
            if w.gateways[g].engine.is_some() {
                w.kill(g);
                w.after(wait, move |w| w.start(g));
            }
        }
        2 => {
            w.kill_pbx();
            w.after(wait, World::start_pbx);
        }
        n => {
            let (edges, cores) = (w.plan.edges as u64, w.plan.cores as u64);
            let (edge, core) = (w.random(edges) as usize, w.random(cores) as usize);
            w.block(edge, core, n == 3);
            w.after(wait, move |w| w.unblock(edge, core));
        }
    }
}

/// Everybody is back: a core that was started again has forgotten who signed in.
fn heal(w: &mut World) {
    w.run(20 * SECOND);
    for i in 0..w.plan.clients {
        w.sign_in(i, None);
    }
    w.run(10 * SECOND);
    for i in 0..w.people.len() {
        if !w.registered(i) {
            w.with(i, |ua, now| ua.register(now));
        }
    }
    let all = w.people.len();
    let healed = w.run_until(200 * SECOND, |w| (0..all).all(|i| w.registered(i)));
    let standing: Vec<_> = w
        .people
        .iter()
        .map(|p| (&p.ua.setup.name, &p.ua.registration.standing))
        .collect();
    assert!(healed, "not everybody is back: {standing:?}");
}

#[test]
fn people_do_anything_at_any_time() {
    under_seeds(20, plan, |w: &mut World| {
        w.ready();
        // The connection may go while the ACK is on its way.
        w.tolerated = vec!["was never acknowledged"];
        for _ in 0..30 {
            act(w, w.seed.is_multiple_of(2));
            let wait = w.random(3 * SECOND);
            w.run(wait);
        }
        w.quiet();
    });
}

#[test]
fn anything_breaks_while_people_do_anything() {
    under_seeds(20, plan, |w: &mut World| {
        w.ready();
        w.tolerated = vec![
            // What was on a connection that died.
            "was never acknowledged",
            "that its key does not open",
            "no answer to BYE",
            "no answer to REGISTER",
            "no answer to CANCEL",
            "that is not open",
        ];
        for i in 0..30 {
            act(w, false);
            if i % 6 == 3 {
                break_something(w);
            }
            let wait = w.random(4 * SECOND);
            w.run(wait);
        }
        w.run(60 * SECOND);
        for g in 0..w.gateways.len() {
            w.start(g);
        }
        w.start_pbx();
        assert!(w.run_until(180 * SECOND, World::all_linked));
        heal(w);
        w.quiet();
    });
}
