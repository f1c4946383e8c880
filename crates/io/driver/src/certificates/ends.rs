//! When certificates end: an alarm at 30, 14, 7 and 1 days, and at the end, each once for each
//! certificate, also over restarts.
//!
//! In: certificates with what they are for, and the moment. Out: [`Alarm`]s. What was told is kept
//! in a small file of the data folder. Bounds: `TOLD_MAX` certificates.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use base::UnixTime;

/// Days before the end at which is told, and the end itself.
pub const DAYS: [u64; 5] = [30, 14, 7, 1, 0];

/// The file in the data folder.
const FILE: &str = "certificate_alarms";

/// Certificates that are remembered; beyond them one may be told of again.
const TOLD_MAX: usize = 4_096;

const DAY_MS: u64 = 24 * 3600 * 1000;

/// What a certificate is to the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The node's own, or one of its chain.
    Own,
    /// An authority that is trusted.
    Trusted,
    /// A peer's.
    Peer,
}

impl Whose {
    /// For people.
    pub fn title(self) -> &'static str {
        match self {
            Whose::Own => "this node's certificate",
            Whose::Trusted => "a trusted authority's certificate",
            Whose::Peer => "a peer's certificate",
        }
    }
}

/// A certificate that will end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mortal {
    /// What it is to the node.
    pub whose: Whose,
    /// Its names.
    pub names: String,
    /// Its fingerprint.
    pub fingerprint: String,
    /// When it ends.
    pub not_after: UnixTime,
}

/// A certificate that ends within so many days.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    /// Which.
    pub of: Mortal,
    /// One of [`DAYS`]; 0 if it has ended.
    pub days: u64,
}

/// What was told.
#[derive(Debug, Default)]
pub struct Told {
    path: Option<PathBuf>,
    /// By fingerprint: the fewest days that were told.
    rows: BTreeMap<String, u64>,
}

impl Told {
    /// As a data folder has it; an unreadable file is an empty one, and costs a second telling.
    pub fn open(data: &Path) -> Self {
        let path = data.join(FILE);
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let row = |line: &str| {
            let (fingerprint, days) = line.split_once(' ')?;
            Some((fingerprint.to_owned(), days.parse().ok()?))
        };
        Told {
            rows: text.lines().take(TOLD_MAX).filter_map(row).collect(),
            path: Some(path),
        }
    }

    /// What is to be told now, and is told with this.
    ///
    /// # Errors
    /// What the system says if that could not be kept: after a restart it will be told again.
    pub fn due(&mut self, all: &[Mortal], now: UnixTime) -> (Vec<Alarm>, std::io::Result<()>) {
        let mut due: Vec<Alarm> = Vec::new();
        for one in all {
            let Some(days) = stage(one.not_after, now) else {
                // Renewed under the same name, it has another fingerprint; so this one is young.
                continue;
            };
            let told = self.rows.get(&one.fingerprint);
            if told.is_some_and(|told| *told <= days) {
                continue;
            }
            if self.rows.len() < TOLD_MAX || told.is_some() {
                self.rows.insert(one.fingerprint.clone(), days);
            }
            due.push(Alarm {
                of: one.clone(),
                days,
            });
        }
        if due.is_empty() {
            return (due, Ok(()));
        }
        // What nobody has any more needs no row; what a peer showed may come again.
        if self.rows.len() >= TOLD_MAX {
            let held = |fingerprint: &String| all.iter().any(|m| m.fingerprint == *fingerprint);
            self.rows.retain(|fingerprint, _| held(fingerprint));
        }
        let kept = self.keep();
        (due, kept)
    }

    fn keep(&self) -> std::io::Result<()> {
        let Some(path) = &self.path else {
            return Ok(());
        };
        let rows = self.rows.iter();
        let text: String = rows.map(|(f, days)| format!("{f} {days}\n")).collect();
        let beside = path.with_extension("new");
        std::fs::write(&beside, text)?;
        std::fs::rename(&beside, path)
    }
}

/// Which of [`DAYS`] has been reached, the last one of them.
fn stage(not_after: UnixTime, now: UnixTime) -> Option<u64> {
    let left = not_after.as_millis().saturating_sub(now.as_millis());
    let mut reached = DAYS.iter().rev().copied();
    reached.find(|days| left <= days * DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mortal(name: &str, day: u64) -> Mortal {
        Mortal {
            whose: Whose::Own,
            names: name.into(),
            fingerprint: name.into(),
            not_after: UnixTime::from_millis(day * DAY_MS),
        }
    }

    /// The days that are told of, day after day.
    fn told(told: &mut Told, one: &Mortal, days: std::ops::Range<u64>) -> Vec<(u64, u64)> {
        let mut out = Vec::new();
        for day in days {
            let (due, kept) = told.due(
                std::slice::from_ref(one),
                UnixTime::from_millis(day * DAY_MS),
            );
            kept.unwrap();
            out.extend(due.iter().map(|alarm| (day, alarm.days)));
        }
        out
    }

    #[test]
    fn a_certificate_is_told_of_at_30_14_7_and_1_days_and_at_its_end_once_each() {
        let one = mortal("a", 100);
        let mut first = Told::default();
        let seen = told(&mut first, &one, 0..120);
        assert_eq!(seen, [(70, 30), (86, 14), (93, 7), (99, 1), (100, 0)]);
        // Found late, it is told of once, by where it stands.
        let mut late = Told::default();
        assert_eq!(told(&mut late, &one, 90..96), [(90, 14), (93, 7)]);
    }

    #[test]
    fn what_was_told_is_not_told_again_after_a_restart() {
        let folder = std::env::temp_dir().join(format!("causeway-ends-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let one = mortal("a", 100);
        assert_eq!(told(&mut Told::open(&folder), &one, 69..72), [(70, 30)]);
        assert_eq!(told(&mut Told::open(&folder), &one, 72..87), [(86, 14)]);
        // A renewed one begins anew.
        let renewed = mortal("b", 120);
        assert_eq!(told(&mut Told::open(&folder), &renewed, 87..91), [(90, 30)]);
        std::fs::write(folder.join(FILE), [0xff, 0xfe]).unwrap();
        assert_eq!(told(&mut Told::open(&folder), &one, 87..88), [(87, 14)]);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
