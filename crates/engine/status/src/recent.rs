//! What happened lately, for whoever looks at a node after the fact.

use std::collections::{BTreeMap, VecDeque};

use base::UnixTime;
use serde::{Deserialize, Serialize};

use crate::event::told;
use crate::{Event, Severity};

/// An event as a status page shows it. Persons are hidden in it as they are in the log, addresses
/// are not: without them a fix cannot be followed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EventRow {
    /// Its number.
    pub code: u16,
    /// How much it matters.
    pub severity: Severity,
    /// In a few words.
    pub title: String,
    /// When it was told last.
    pub at: UnixTime,
    /// How often it was told in the very same words.
    pub times: u64,
    /// Why.
    pub cause: String,
    /// What was seen.
    pub proof: BTreeMap<String, String>,
    /// What an administrator can do; empty where nothing needs doing.
    pub fix: String,
}

impl EventRow {
    pub(crate) fn of(event: &Event) -> Self {
        let proof = event.shown();
        EventRow {
            code: event.kind as u16,
            severity: event.kind.severity(),
            title: event.kind.title().to_owned(),
            at: event.at,
            times: 1,
            cause: told(&event.cause).into_owned(),
            proof: proof.map(|(n, v)| (n.to_owned(), v.into_owned())).collect(),
            fix: event.kind.fix().to_owned(),
        }
    }

    fn says_the_same(&self, other: &EventRow) -> bool {
        self.code == other.code && self.cause == other.cause && self.proof == other.proof
    }
}

/// The last warnings, errors and news of links. What is told again takes one row only, so that
/// something that is retried all night does not push the rest out.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    rows: VecDeque<EventRow>,
}

impl Recent {
    /// How many are kept.
    pub const MAX: usize = 100;

    /// Keeps `event` if it is of a kind that is kept.
    pub fn note(&mut self, event: &Event) {
        if event.kind.severity() == Severity::Info && !event.kind.is_of_link() {
            return;
        }
        let mut row = EventRow::of(event);
        if let Some(at) = self.rows.iter().position(|r| r.says_the_same(&row)) {
            let before = self.rows.remove(at).map_or(0, |r| r.times);
            row.times = before.saturating_add(1);
        }
        self.rows.truncate(Self::MAX - 1);
        self.rows.push_front(row);
    }

    /// What is kept, the latest first.
    pub fn rows(&self) -> Vec<EventRow> {
        self.rows.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn told(kind: Kind, second: u64, cause: &str) -> Event {
        Event::new(kind, UnixTime::from_millis(second * 1000), cause)
    }

    #[test]
    fn recent_events_are_warnings_errors_and_links_within_a_bound() {
        let mut recent = Recent::default();
        recent.note(&told(Kind::Registered, 0, ""));
        assert!(recent.rows().is_empty());
        recent.note(&told(Kind::LinkUp, 0, "up"));
        for n in 1..=150 {
            recent.note(&told(Kind::LinkDown, n, &n.to_string()));
        }
        let rows = recent.rows();
        assert_eq!(rows.len(), Recent::MAX);
        assert_eq!((rows[0].code, rows[0].cause.as_str()), (1002, "150"));
        assert!(rows.iter().all(|r| r.code == 1002 && !r.fix.is_empty()));
    }

    #[test]
    fn an_address_is_a_mark_in_the_log_and_an_address_in_a_row() {
        let source = std::net::Ipv4Addr::new(203, 0, 113, 7).into();
        let event = told(Kind::Banned, 1, "guessed too often")
            .with_address("source", source)
            .with("user", base::Pii::new("alice"));
        let json = serde_json::to_string(&event).unwrap_or_default();
        for log in [event.to_string(), json] {
            assert!(!log.contains("203.0.113.7") && log.contains('‹'), "{log}");
        }
        let row = EventRow::of(&event);
        assert_eq!(row.proof["source"], "203.0.113.7");
        assert!(row.proof["user"].starts_with('‹'));
    }

    #[test]
    fn recent_event_told_again_counts_up_and_comes_first() {
        let mut recent = Recent::default();
        recent.note(&told(Kind::LinkRefused, 1, "password"));
        recent.note(&told(Kind::LinkDown, 2, "silent"));
        recent.note(&told(Kind::LinkRefused, 3, "password"));
        let rows = recent.rows();
        assert_eq!(rows.len(), 2);
        assert_eq!((rows[0].code, rows[0].times), (1003, 2));
        assert_eq!(rows[0].at, UnixTime::from_millis(3000));
    }

    #[test]
    fn recent_events_survive_json() {
        let mut recent = Recent::default();
        recent.note(&told(Kind::ClockSkew, 1, "behind").with("core", "core1"));
        let rows = recent.rows();
        let text = serde_json::to_string(&rows).unwrap_or_default();
        assert_eq!(
            serde_json::from_str::<Vec<EventRow>>(&text).ok(),
            Some(rows)
        );
    }
}
