//! From the rows that are wanted, in their order, to the fewest writes.

use std::collections::{BTreeMap, BTreeSet};

use base::Secret;

use super::{Row, Write};

/// Between two neighbours that were written in one go, so that others find room.
const STEP: i64 = 1 << 20;

/// A row that is wanted; where it stands follows from the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its name.
    pub path: String,
    /// What may be read.
    pub open: String,
    /// What is sealed on the disk.
    pub secret: Option<Secret<String>>,
}

/// What is to be written so that the rows are those of `wanted`, in that order. A row that stays
/// what and where it was is not written.
pub fn writes(there: &[Row], wanted: &[Wanted]) -> Vec<Write> {
    let old: BTreeMap<&str, &Row> = there.iter().map(|r| (r.path.as_str(), r)).collect();
    let kept: Vec<Option<i64>> = wanted
        .iter()
        .map(|w| old.get(w.path.as_str()).map(|r| r.position))
        .collect();
    let positions = positions(&kept);
    let mut out = Vec::new();
    for (row, position) in wanted.iter().zip(positions) {
        let row = Row {
            path: row.path.clone(),
            position,
            open: row.open.clone(),
            secret: row.secret.clone(),
        };
        if old.get(row.path.as_str()) != Some(&&row) {
            out.push(Write::Put(row));
        }
    }
    let stay: BTreeSet<&str> = wanted.iter().map(|w| w.path.as_str()).collect();
    let gone = there.iter().filter(|r| !stay.contains(r.path.as_str()));
    out.extend(gone.map(|r| Write::Delete(r.path.clone())));
    out
}

/// Rising numbers; those that are there stay where they rise, and the others go between them.
fn positions(there: &[Option<i64>]) -> Vec<i64> {
    let (mut out, mut last) = (Vec::with_capacity(there.len()), 0_i64);
    for (at, old) in there.iter().enumerate() {
        let place = match old {
            Some(old) if *old > last => *old,
            _ => {
                let rest = there.get(at + 1..).unwrap_or_default();
                let next = rest.iter().flatten().find(|n| **n > last);
                match next {
                    Some(next) => last + (next - last) / 2,
                    None => last.saturating_add(STEP),
                }
            }
        };
        if place <= last {
            // No room is left: all get new ones.
            return (1..=there.len() as i64).map(|n| n * STEP).collect();
        }
        out.push(place);
        last = place;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_stay_keep_their_numbers() {
        let s = STEP;
        assert_eq!(positions(&[None, None]), [s, 2 * s]);
        assert_eq!(
            positions(&[Some(s), None, Some(2 * s)]),
            [s, s + s / 2, 2 * s]
        );
        assert_eq!(positions(&[None, Some(s)]), [s / 2, s]);
        // The last comes to the front.
        assert_eq!(positions(&[Some(3), Some(1), Some(2)])[0], 3);
        // No room.
        assert_eq!(positions(&[Some(1), None, Some(2)]), [s, 2 * s, 3 * s]);
    }
}
