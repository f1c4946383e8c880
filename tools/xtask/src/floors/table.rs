//! The table of floors in `ARCHITECTURE.md`.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::Context;

/// All rows by crate.
pub(crate) struct Table {
    rows: BTreeMap<String, Row>,
}

/// One crate's row.
pub(crate) struct Row {
    /// The crate's short name.
    pub(crate) name: String,
    /// Its floor.
    pub(crate) floor: u32,
    /// The crates it may use.
    pub(crate) may_use: BTreeSet<String>,
    /// The line it stands in, from 1.
    pub(crate) line: usize,
}

impl Table {
    /// Reads rows of the form ``| 2 | `media` | purpose | base sdp |``. In the last column stand
    /// crates, a range of floors as `0–2`, `below` for all lower floors, or `–` for none.
    ///
    /// # Errors
    /// If there is no row, a crate has two, or a last column names what has no row.
    pub(crate) fn parse(text: &str) -> anyhow::Result<Self> {
        let mut found = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let cells: Vec<&str> = line
                .trim()
                .trim_matches('|')
                .split('|')
                .map(str::trim)
                .collect();
            let [floor, name, _, uses] = cells[..] else {
                continue;
            };
            let (Ok(floor), Some(name)) = (floor.parse::<u32>(), in_ticks(name)) else {
                continue;
            };
            found.push((index + 1, floor, name.to_owned(), uses.to_owned()));
        }
        anyhow::ensure!(!found.is_empty(), "ARCHITECTURE.md has no table of floors");
        let floors: BTreeMap<String, u32> = found
            .iter()
            .map(|(_, floor, name, _)| (name.clone(), *floor))
            .collect();
        anyhow::ensure!(
            floors.len() == found.len(),
            "a crate stands twice in the table of floors"
        );
        let mut rows = BTreeMap::new();
        for (line, floor, name, uses) in found {
            let may_use = allowed(&uses, floor, &floors)
                .with_context(|| format!("ARCHITECTURE.md:{line}: row of `{name}`"))?;
            rows.insert(
                name.clone(),
                Row {
                    name,
                    floor,
                    may_use,
                    line,
                },
            );
        }
        Ok(Self { rows })
    }

    /// A crate's row.
    pub(crate) fn get(&self, name: &str) -> Option<&Row> {
        self.rows.get(name)
    }

    /// All rows.
    pub(crate) fn rows(&self) -> impl Iterator<Item = &Row> {
        self.rows.values()
    }
}

fn in_ticks(cell: &str) -> Option<&str> {
    cell.strip_prefix('`')?.strip_suffix('`')
}

fn allowed(
    uses: &str,
    own: u32,
    floors: &BTreeMap<String, u32>,
) -> anyhow::Result<BTreeSet<String>> {
    let mut all = BTreeSet::new();
    for word in uses
        .split([' ', ','])
        .filter(|word| !word.is_empty() && *word != "–")
    {
        let span = if word == "below" {
            Some((0, own.saturating_sub(1)))
        } else {
            word.split_once('–')
                .and_then(|(low, high)| Some((low.parse().ok()?, high.parse().ok()?)))
        };
        match span {
            Some((low, high)) => all.extend(
                floors
                    .iter()
                    .filter(|&(_, floor)| (low..=high).contains(floor))
                    .map(|(name, _)| name.clone()),
            ),
            None => {
                anyhow::ensure!(floors.contains_key(word), "`{word}` has no row");
                all.insert(word.to_owned());
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn uses(last: &str) -> Vec<String> {
        let text = format!("| 0 | `a` | x | – |\n| 1 | `b` | x | a |\n| 2 | `c` | x | {last} |\n");
        Table::parse(&text)
            .unwrap()
            .get("c")
            .unwrap()
            .may_use
            .iter()
            .cloned()
            .collect()
    }

    #[test]
    fn last_column_names_crates_ranges_or_none() {
        assert_eq!(uses("a"), ["a"]);
        assert_eq!(uses("0–1"), ["a", "b"]);
        assert_eq!(uses("below"), ["a", "b"]);
        assert!(uses("–").is_empty());
    }

    #[test]
    fn table_that_names_an_unknown_crate_is_refused() {
        assert!(Table::parse("| 0 | `a` | x | zebra |").is_err());
        assert!(Table::parse("no table").is_err());
        assert!(Table::parse("| 0 | `a` | x | – |\n| 1 | `a` | x | – |").is_err());
    }
}
