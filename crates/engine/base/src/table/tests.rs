//! Tables beside those of the standard library, and what an operation moves.

use super::*;
use crate::Rng;

#[allow(clippy::disallowed_types)]
type Std<K, V> = std::collections::HashMap<K, V>;

#[test]
fn a_table_gives_its_room_back_once_it_is_sparse() {
    let mut map: HashMap<u32, u32> = (0..20_000).map(|n| (n, n)).collect();
    let mut set: HashSet<u32> = (0..20_000).collect();
    let full = map.capacity();
    for n in 0..10_000 {
        map.remove(&n);
    }
    assert!(map.capacity() > full / 2, "it is half full");
    for n in 10_000..19_995 {
        map.remove(&n);
    }
    set.retain(|n| *n >= 19_995);
    assert!(map.capacity() <= 4 * SMALL && set.capacity() <= full / 4);
    assert_eq!((map.len(), set.len()), (5, 5));
    assert!((19_995..20_000).all(|n| map.get(&n) == Some(&n) && set.contains(&n)));
    map.retain(|_, _| false);
    set.clear();
    assert!(map.is_empty() && set.is_empty() && set.capacity() == 0);
}

#[test]
fn many_entries_that_are_left_follow_bit_by_bit_and_few_at_once() {
    let mut texts: HashSet<String> = (0..40_000).map(|n| n.to_string()).collect();
    let mut numbers: HashMap<u32, ()> = (0..200_000).map(|n| (n, ())).collect();
    let full = (texts.capacity(), numbers.capacity());
    texts.retain(|text| text.len() == 4 && text.as_str() < "6");
    numbers.retain(|n, ()| *n < 20_000);
    assert!(texts.capacity() > full.0 && numbers.capacity() > full.1);
    for n in 0..5_000 {
        texts.insert(format!("more {n}"));
        numbers.insert(1_000_000 + n, ());
    }
    assert!(texts.capacity() < full.0 / 2 && numbers.capacity() < full.1 / 2);
    assert!(texts.contains("5999") && numbers.contains_key(&19_999));
    let mut few: HashSet<String> = (0..40_000).map(|n| n.to_string()).collect();
    few.retain(|text| text.len() < 4);
    assert!(few.capacity() <= full.0 / 8 && few.len() == 1_000);
}

/// What a table has in its old room, and how much room there is.
fn state<K, V>(map: &HashMap<K, V>) -> (usize, usize) {
    let left = map.old.as_ref().map_or(0, |old| old.rows.len());
    (left, map.rows.num_buckets())
}

/// Does something with both tables, and sees that they agree and that few entries have moved.
fn both<T: PartialEq + std::fmt::Debug>(
    map: &mut HashMap<u64, u64>,
    std: &mut Std<u64, u64>,
    ours: impl FnOnce(&mut HashMap<u64, u64>) -> T,
    theirs: impl FnOnce(&mut Std<u64, u64>) -> T,
) {
    let (left, places) = state(map);
    assert_eq!(ours(map), theirs(std));
    assert_eq!(map.len(), std.len());
    let (now, room) = state(map);
    // One of those that are gone from the old room may have been removed.
    assert!(left.saturating_sub(now) <= MOVES + 1, "{left} {now}");
    // The room changes by a move alone: nothing in it has been moved within it.
    let moved = now > left || room <= 2 * SMALL || std.is_empty();
    assert!(places == room || moved, "{places} {room}");
}

#[test]
fn a_table_is_that_of_the_standard_library_and_moves_little_with_each_operation() {
    let mut rng = Rng::from_number(7);
    let (mut map, mut std) = (HashMap::default(), Std::new());
    for step in 0..400_000u64 {
        // It fills up, stays, and empties again, several times.
        let wave = step / 50_000 % 4;
        let key = rng.below(30_000);
        let deed = match wave {
            0 | 2 => rng.below(12),
            _ => 4 + rng.below(12),
        };
        match deed {
            0..6 => both(
                &mut map,
                &mut std,
                |m| m.insert(key, step),
                |s| s.insert(key, step),
            ),
            6 => both(
                &mut map,
                &mut std,
                |m| *m.entry(key).and_modify(|v| *v += 1).or_insert(step),
                |s| *s.entry(key).and_modify(|v| *v += 1).or_insert(step),
            ),
            7 => {
                if let Some(value) = map.get_mut(&key) {
                    *value += 3;
                }
                std.entry(key).and_modify(|v| *v += 3);
            }
            _ => both(&mut map, &mut std, |m| m.remove(&key), |s| s.remove(&key)),
        }
        assert_eq!(map.get(&key), std.get(&key));
        if step % 10_000 == 0 {
            alike(&mut map, &std);
        }
        if step % 90_000 == 89_999 {
            let odd = |v: &mut u64| *v % 16 == 1;
            map.retain(|_, v| odd(v));
            std.retain(|_, v| odd(v));
            alike(&mut map, &std);
        }
    }
    alike(&mut map, &std);
    assert!(map == map.clone());
}

/// Both tables hold the same, however one looks at it.
fn alike(map: &mut HashMap<u64, u64>, std: &Std<u64, u64>) {
    let mut ours: Vec<(u64, u64)> = map.iter().map(|(k, v)| (*k, *v)).collect();
    let mut theirs: Vec<(u64, u64)> = std.iter().map(|(k, v)| (*k, *v)).collect();
    let mut changed: Vec<(u64, u64)> = map.iter_mut().map(|(k, v)| (*k, *v)).collect();
    let mut given: Vec<(u64, u64)> = map.clone().into_iter().collect();
    for rows in [&mut ours, &mut theirs, &mut changed, &mut given] {
        rows.sort_unstable();
    }
    assert!(ours == theirs && changed == theirs && given == theirs);
}

#[test]
fn a_table_that_grows_to_a_hundred_thousand_has_left_each_room_before_the_next() {
    let mut map: HashMap<u64, u64> = HashMap::default();
    let (mut rooms, mut places) = (0, 0);
    for n in 0..100_000 {
        let (left, _) = state(&map);
        map.insert(n, n);
        let (now, room) = state(&map);
        if room != places && room > 2 * SMALL {
            assert_eq!(left, 0, "a room was left before all had come there");
            rooms += 1;
        } else {
            assert!(left - now <= MOVES);
        }
        places = room;
    }
    assert!(rooms > 8);
    assert!((0..100_000).all(|n| map.get(&n) == Some(&n)));
    let gone: Vec<Option<u64>> = (0..100_000).map(|n| map.remove(&n)).collect();
    assert!(gone.iter().all(Option::is_some) && map.is_empty());
    assert!(map.capacity() <= 2 * SMALL, "{}", map.capacity());
}
