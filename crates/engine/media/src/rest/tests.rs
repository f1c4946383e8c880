//! Terms of rest, to the step.

use super::*;

const TERMS: Terms = Terms {
    unheard: Duration::from_millis(500),
    heard: Duration::from_secs(8),
    kept: Duration::from_secs(10),
};

/// The steps are 65.536 ms.
const SLACK: u64 = 66;

fn at(millis: u64) -> Instant {
    Instant::from_micros(millis * 1000)
}

/// All that is due, by the moment at which it is, until `end`.
fn run(rests: &mut Rests, end: u64) -> Vec<(u64, Due)> {
    let mut found = Vec::new();
    while let Some(next) = rests.poll_timeout().filter(|t| *t <= at(end)) {
        while let Some(due) = rests.poll(next) {
            found.push((next.as_micros() / 1000, due));
        }
    }
    found
}

fn between(found: (u64, Due), from: u64, due: Due) {
    assert!(
        found.0 >= from && found.0 <= from + SLACK,
        "{found:?} not {from}"
    );
    assert_eq!(found.1, due);
}

#[test]
fn ports_that_heard_nothing_rest_for_half_a_second_and_others_for_eight() {
    let mut rests = Rests::new(TERMS, 10);
    assert_eq!(rests.begin(at(0), 1, true), None);
    assert_eq!(rests.begin(at(100), 2, false), None);
    let found = run(&mut rests, 10_000);
    assert_eq!(found.len(), 2);
    between(found[0], 600, Due::Rested(2));
    between(found[1], 8_000, Due::Rested(1));
}

#[test]
fn a_packet_in_the_rest_begins_it_anew_until_a_whole_term_is_silent() {
    let mut rests = Rests::new(TERMS, 10);
    rests.begin(at(0), 1, false);
    assert!(!rests.stir(1));
    // Found stirred at the end of its first term, it rests as one that was heard.
    assert_eq!(run(&mut rests, 8_400), []);
    assert!(!rests.stir(1));
    assert_eq!(run(&mut rests, 16_400), []);
    let found = run(&mut rests, 17_000);
    assert_eq!(found.len(), 1);
    // Each of the three terms ends with its step.
    let (from, to) = (16_500, 16_500 + 3 * SLACK);
    assert!(found[0].0 >= from && found[0].0 <= to, "{found:?}");
    assert_eq!(found[0].1, Due::Rested(1));
}

#[test]
fn only_sockets_that_have_rested_and_heard_nothing_since_are_used_again() {
    let mut rests = Rests::new(TERMS, 10);
    for row in 1..=3 {
        rests.begin(at(0), row, false);
    }
    // Before its rest is over.
    assert!(!rests.take(3));
    assert_eq!(run(&mut rests, 1_000).len(), 2);
    assert!(rests.stir(1), "what comes to idle sockets closes them");
    assert!(!rests.stir(1) && !rests.take(1));
    assert!(rests.take(2));
    assert!(!rests.take(2) && rests.is_empty());
    // Of none of them is anything said later.
    assert_eq!(run(&mut rests, 100_000), []);
    assert_eq!(rests.poll_timeout(), None);
}

#[test]
fn idle_sockets_are_closed_when_nobody_has_needed_them_for_long() {
    let mut rests = Rests::new(TERMS, 100);
    for row in 0..50 {
        rests.begin(at(0), row, false);
    }
    assert_eq!(run(&mut rests, 5_000).len(), 50);
    // One is used in between, and rests anew.
    assert!(rests.take(7));
    rests.begin(at(6_000), 7, false);
    let found = run(&mut rests, 14_000);
    let closed = |f: &[(u64, Due)]| f.iter().filter(|f| matches!(f.1, Due::Close(_))).count();
    assert_eq!((closed(&found), rests.len()), (49, 1));
    assert!(found.iter().all(|f| f.1 != Due::Close(7)));
    let found = run(&mut rests, 30_000);
    assert_eq!(found.last().map(|f| f.1), Some(Due::Close(7)));
    assert!(rests.is_empty() && rests.poll_timeout().is_none());
}

#[test]
fn rows_are_bounded_and_idle_ones_make_room_for_those_that_must_rest() {
    let mut rests = Rests::new(TERMS, 2);
    assert_eq!(rests.begin(at(0), 1, false), None);
    assert_eq!(run(&mut rests, 1_000).len(), 1);
    assert_eq!(rests.begin(at(1_000), 2, true), None);
    // The idle one makes room; then there is none, and nothing is said of the last.
    assert_eq!(rests.begin(at(1_000), 3, false), Some(1));
    assert_eq!(rests.begin(at(1_000), 4, true), Some(4));
    assert_eq!(rests.len(), 2);
    let found: Vec<Due> = run(&mut rests, 9_500).into_iter().map(|f| f.1).collect();
    assert_eq!(found, [Due::Rested(3), Due::Rested(2)]);
    assert_eq!((rests.give_up(), rests.give_up()), (Some(3), Some(2)));
    assert_eq!(rests.give_up(), None);
}

#[test]
fn a_row_that_is_used_again_is_not_closed_for_its_last_idleness() {
    let mut rests = Rests::new(TERMS, 10);
    rests.begin(at(0), 1, false);
    rests.begin(at(0), 2, false);
    assert_eq!(run(&mut rests, 1_000).len(), 2);
    // Both are to be closed; between the two, the other is taken and comes back.
    let late = at(20_000);
    let Some(Due::Close(first)) = rests.poll(late) else {
        panic!("none is closed");
    };
    let other = 3 - first;
    assert!(rests.take(other));
    rests.begin(late, other, false);
    assert_eq!(rests.poll(late), None);
    assert_eq!(rests.len(), 1);
}
