//! Everything a telephone does besides a plain call: early media, reliable provisional responses,
//! late offers, session timers, UPDATE, keys in INFO, transfers, texts and subscriptions.

use sim::checks::under_seeds;
use sim::description::Direction;
use sim::house::Control;
use sim::pipe::Weather;
use sim::ua::{Manner, Phase, Plan as Answering, SECOND};
use sim::world::{Plan, World};

fn plan(seed: u64) -> Plan {
    Plan {
        edges: 1 + (seed / 2 % 2) as usize,
        cores: 1 + (seed / 4 % 2) as usize,
        clients: 3,
        phones: 2,
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

fn number(w: &World, i: usize) -> String {
    w.people[i].ua.setup.number.clone()
}

/// Who calls whom.
fn pairs(w: &World) -> [(usize, usize); 3] {
    let (a, b, p) = (w.who("alice"), w.who("bob"), w.who("phone1"));
    [(a, p), (p, a), (a, b)]
}

/// Some manner, by the seed.
fn manner(w: &mut World) -> Manner {
    let bits = w.random(32);
    let bit = |n: u64| bits >> n & 1 == 1;
    Manner {
        reliable: bit(0),
        early: bit(1),
        late_offer: bit(2),
        timer: bit(3),
        ignorant: bit(5) && bit(6),
        update: bit(4),
    }
}

fn call(w: &mut World, from: usize, to: usize) -> (usize, usize) {
    let called = number(w, to);
    let i = w.with(from, |ua, now| ua.call(now, &called));
    let up = w.run_until(40 * SECOND, |w| w.in_call(from, to));
    let manners = (w.people[from].ua.manner, w.people[to].ua.manner);
    assert!(up, "{called} is not reached: {manners:?}");
    (i, w.people[to].ua.last().unwrap())
}

/// Everybody hangs up and is done with it.
fn over(w: &mut World) {
    w.everyone_hangs_up();
    let done = w.run_until(40 * SECOND, |w| {
        let mut calls = w.people.iter().flat_map(|p| &p.ua.calls);
        calls.all(|c| c.phase == Phase::Over)
    });
    assert!(done, "a call does not end");
    w.run(2 * SECOND);
}

#[test]
fn every_manner_of_call_works_whoever_calls() {
    under_seeds(24, plan, |w: &mut World| {
        w.ready();
        for (from, to) in pairs(w) {
            w.people[from].ua.manner = manner(w);
            w.people[to].ua.manner = manner(w);
            w.people[to].ua.plan = Answering::Answer(3 * SECOND);
            let called = number(w, to);
            let early = w.people[to].ua.manner.early && !w.people[from].ua.manner.late_offer;
            let i = w.with(from, |ua, now| ua.call(now, &called));
            if early {
                let heard = w.run_until(20 * SECOND, |w| {
                    let call = &w.people[from].ua.calls[i];
                    call.phase == Phase::Calling && call.media.heard > 0
                });
                let fair = w.plan.weather[0].jitter == Weather::FAIR.jitter;
                assert!(heard || !fair, "nothing is heard before the answer");
            }
            assert!(
                w.run_until(40 * SECOND, |w| w.in_call(from, to)),
                "{called}"
            );
            over(w);
        }
        w.quiet();
    });
}

#[test]
fn calls_change_by_update_reinvite_and_late_offer_and_keys_arrive() {
    under_seeds(12, plan, |w: &mut World| {
        w.ready();
        for (from, to) in pairs(w) {
            let (i, j) = call(w, from, to);
            for (who, c) in [(from, i), (to, j)] {
                for direction in [Direction::Out, Direction::Both] {
                    let before = w.people[who].ua.calls[c].changes;
                    assert!(w.with(who, |ua, now| ua.update(now, c, Some(direction))));
                    let changed = |w: &World| w.people[who].ua.calls[c].changes > before;
                    assert!(w.run_until(30 * SECOND, changed), "UPDATE {direction:?}");
                }
                let before = w.people[who].ua.calls[c].changes;
                w.run(2 * SECOND);
                assert!(w.with(who, |ua, now| ua.ask_for_offer(now, c)));
                let changed = |w: &World| w.people[who].ua.calls[c].changes > before;
                assert!(w.run_until(30 * SECOND, changed), "a late offer");
                for key in "12#".chars() {
                    assert!(w.with(who, |ua, now| ua.press(now, c, key)));
                }
                w.run(8 * SECOND);
            }
            assert!(w.in_call(from, to));
            assert_eq!(w.people[from].ua.calls[i].keys, 3);
            assert_eq!(w.people[to].ua.calls[j].keys, 3);
            over(w);
        }
        w.quiet();
    });
}

#[test]
fn sessions_are_refreshed_and_end_when_nobody_does() {
    under_seeds(8, plan, |w: &mut World| {
        w.ready();
        for (from, to) in pairs(w) {
            let mut manner = manner(w);
            manner.timer = true;
            manner.ignorant = false;
            w.people[from].ua.manner = manner;
            let (i, j) = call(w, from, to);
            w.run(300 * SECOND);
            assert!(w.in_call(from, to), "refreshed for five minutes");
            assert_eq!(w.people[from].ua.calls[i].phase, Phase::Up);
            assert_eq!(w.people[to].ua.calls[j].phase, Phase::Up);
            over(w);
        }
        w.quiet();
    });
}

#[test]
fn a_session_that_one_end_knows_nothing_of_is_refreshed_for_it_by_the_core() {
    under_seeds(8, plan, |w: &mut World| {
        w.ready();
        for (from, to) in pairs(w) {
            w.people[from].ua.manner = manner(w);
            w.people[from].ua.manner.ignorant = true;
            w.people[to].ua.manner = manner(w);
            w.people[to].ua.manner.ignorant = false;
            let (i, j) = call(w, from, to);
            // The called end hangs up after 90 s without refresh, and none can come from the other.
            w.run(250 * SECOND);
            let goes_on = w.run_until(2 * SECOND, |w| w.in_call(from, to));
            assert!(goes_on, "{:?}", w.people[to].ua.calls[j].phase);
            assert!(w.people[to].ua.calls[j].session.is_some());
            assert!(w.people[from].ua.calls[i].session.is_none());
            over(w);
        }
        w.quiet();
    });
}

#[test]
fn a_call_is_transferred_unasked_and_the_two_that_stay_hear_one_another() {
    under_seeds(16, plan, |w: &mut World| {
        w.ready();
        let all: Vec<usize> = (0..w.people.len()).collect();
        for _ in 0..4 {
            let mut three = all.clone();
            while three.len() > 3 {
                let out = w.random(three.len() as u64) as usize;
                three.remove(out);
            }
            let first = w.random(3) as usize;
            three.rotate_left(first);
            let [a, b, c] = three[..] else { unreachable!() };
            w.people[c].ua.manner = manner(w);
            let (i, _) = call(w, a, b);
            w.run(4 * SECOND);
            let to = number(w, c);
            assert!(w.with(a, |ua, now| ua.transfer(now, i, &to)));
            let made = w.run_until(60 * SECOND, |w| w.in_call(b, c));
            assert!(
                made,
                "not transferred: {:?}",
                w.people[a].ua.calls[i].transfer
            );
            let out = |w: &World| w.people[a].ua.calls[i].phase == Phase::Over;
            assert!(
                w.run_until(30 * SECOND, out),
                "the one who transferred is out"
            );
            assert_eq!(w.people[a].ua.calls[i].transfer, Some(200));
            over(w);
        }
        w.quiet();
    });
}

#[test]
fn two_calls_are_connected_after_consultation() {
    under_seeds(16, plan, |w: &mut World| {
        w.ready();
        let all: Vec<usize> = (0..w.people.len()).collect();
        for _ in 0..4 {
            let mut three = all.clone();
            while three.len() > 3 {
                let out = w.random(three.len() as u64) as usize;
                three.remove(out);
            }
            let first = w.random(3) as usize;
            three.rotate_left(first);
            let [a, b, c] = three[..] else { unreachable!() };
            let (i, _) = call(w, a, b);
            w.with(a, |ua, now| ua.change(now, i, Direction::Out));
            w.run(6 * SECOND);
            let (j, _) = call(w, a, c);
            w.run(6 * SECOND);
            assert!(w.with(a, |ua, now| ua.connect_calls(now, i, j)));
            let made = w.run_until(60 * SECOND, |w| {
                let with = |x: usize, y: usize| {
                    let last = w.people[x].ua.calls.last();
                    last.is_some_and(|c| c.peer == w.people[y].ua.setup.number)
                };
                with(b, c) && with(c, b)
            });
            assert!(
                made,
                "not connected: {:?}",
                w.people[a].ua.calls[i].transfer
            );
            let out = |w: &World| {
                let mut calls = w.people[a].ua.calls.iter();
                calls.all(|c| c.phase == Phase::Over)
            };
            assert!(
                w.run_until(30 * SECOND, out),
                "the one who connected is out"
            );
            over(w);
        }
        w.quiet();
    });
}

#[test]
fn a_transfer_to_nobody_leaves_the_call_as_it_was() {
    under_seeds(8, plan, |w: &mut World| {
        w.ready();
        for (from, to) in pairs(w) {
            let (i, _) = call(w, from, to);
            let third = w.who("carol");
            w.people[third].ua.plan = Answering::Refuse(486);
            for (whom, status) in [("1999".to_owned(), 404), (number(w, third), 486)] {
                assert!(w.with(from, |ua, now| ua.transfer(now, i, &whom)));
                let told = |w: &World| w.people[from].ua.calls[i].transfer == Some(status);
                assert!(w.run_until(30 * SECOND, told), "{whom}");
            }
            w.run(5 * SECOND);
            assert!(w.in_call(from, to));
            over(w);
        }
        w.quiet();
    });
}

#[test]
fn texts_arrive_as_they_were_written_and_at_nobody_else() {
    under_seeds(8, plan, |w: &mut World| {
        w.ready();
        let all = w.people.len();
        let mut wanted = vec![0; all];
        for _ in 0..20 {
            let (from, to) = (w.random(all as u64) as usize, w.random(all as u64) as usize);
            if from != to {
                let called = number(w, to);
                w.with(from, |ua, now| ua.message(now, &called));
                wanted[to] += 1;
            }
            let wait = w.random(SECOND / 4);
            w.run(wait);
        }
        w.run(40 * SECOND);
        let got: Vec<u32> = w.people.iter().map(|p| p.ua.texts[2]).collect();
        assert_eq!(got, wanted);
        assert!(w.people.iter().all(|p| p.ua.texts[0] == p.ua.texts[1]));
        w.quiet();
    });
}

#[test]
fn subscriptions_bring_news_and_are_renewed_and_ended() {
    under_seeds(8, plan, |w: &mut World| {
        w.ready();
        let all = w.people.len();
        for who in 0..all {
            for whom in 0..all {
                let watched = number(w, whom);
                w.with(who, |ua, now| ua.subscribe(now, &watched));
            }
        }
        w.run(200 * SECOND);
        for person in &w.people {
            for row in &person.ua.subscriptions {
                assert!(!row.over && row.news >= 7, "{} news", row.news);
            }
        }
        for who in 0..all {
            w.with(who, |ua, now| ua.unsubscribe_all(now));
        }
        w.quiet();
    });
}

#[test]
fn a_refusal_of_all_media_shows_a_client_neither_inside_address_nor_plain_profile() {
    under_seeds(4, plan, |w: &mut World| {
        w.ready();
        let (alice, bob, phone) = (w.who("alice"), w.who("bob"), w.who("phone1"));
        let (i, j) = call(w, alice, phone);
        w.people[bob].ua.plan = Answering::Answer(6 * SECOND);
        let to = number(w, bob);
        // Whoever is to be connected to bob is gone when he answers: his offer is refused whole.
        assert!(w.with(alice, |ua, now| ua.transfer(now, i, &to)));
        w.run(4 * SECOND);
        w.with(phone, |ua, now| ua.hang_up(now, j));
        let refused = |w: &World| {
            let last = w.people[bob].ua.calls.last();
            last.is_some_and(|c| c.was_up && c.phase == Phase::Over)
        };
        assert!(w.run_until(40 * SECOND, refused));
        w.quiet();
    });
}
