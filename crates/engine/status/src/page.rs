//! Some of what a node looks like: rows that hold a text, and no more than were asked for.
//!
//! In: a whole snapshot. Out: the same with fewer rows, and how many there were.

use base::Pii;
use serde::{Deserialize, Serialize};

use crate::{CallRow, RegistrationRow, SessionRow, Snapshot};

/// Which rows of a snapshot are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// So many registrations are left out at the beginning.
    pub from: usize,
    /// So many registrations at most; all without it.
    pub limit: Option<usize>,
    /// So many calls that ended at most; all without it.
    pub history: Option<usize>,
    /// Only registrations, sign-ins and calls of which a name, address, device, edge, client, zone,
    /// program or reason holds this, in any case.
    pub find: Option<String>,
}

/// How many rows there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Totals {
    /// Registrations.
    pub registrations: usize,
    /// Sign-ins.
    pub sessions: usize,
    /// Calls under way.
    pub calls: usize,
    /// Calls that ended.
    pub history: usize,
}

impl Snapshot {
    /// Keeps the rows of a page; [`Snapshot::registrations_total`] and [`Snapshot::history_total`]
    /// become what the page was taken from, [`Snapshot::totals`] what was looked through.
    pub fn turn_to(&mut self, page: &Page) {
        self.totals = Totals {
            registrations: self.registrations.len(),
            sessions: self.sessions.len(),
            calls: self.calls.len(),
            history: self.history.len(),
        };
        if let Some(find) = &page.find {
            let find = find.to_lowercase();
            self.registrations.retain(|r| r.holds(&find));
            self.sessions.retain(|s| s.holds(&find));
            self.calls.retain(|c| c.holds(&find));
            self.history.retain(|c| c.holds(&find));
        }
        self.registrations_total = self.registrations.len();
        self.history_total = self.history.len();
        let limit = page.limit.unwrap_or(usize::MAX);
        let rows = std::mem::take(&mut self.registrations).into_iter();
        self.registrations = rows.skip(page.from).take(limit).collect();
        self.history.truncate(page.history.unwrap_or(usize::MAX));
    }
}

/// Whether one of these holds a text in lower case.
fn any<'a>(names: impl IntoIterator<Item = &'a String>, find: &str) -> bool {
    let mut names = names.into_iter();
    names.any(|name| name.to_lowercase().contains(find))
}

impl RegistrationRow {
    fn holds(&self, find: &str) -> bool {
        let (user, aor, from) = (self.user.expose(), self.aor.expose(), self.from.expose());
        let lines = self.lines.iter().map(Pii::expose);
        any([user, aor, from, &self.device, &self.zone], find) || any(lines, find)
    }
}

impl SessionRow {
    fn holds(&self, find: &str) -> bool {
        let user = self.user.expose();
        any([user, &self.domain, &self.edge, &self.user_agent], find)
    }
}

impl CallRow {
    fn holds(&self, find: &str) -> bool {
        let (from, to) = (self.from.expose(), self.to.expose());
        any(
            [from, to, &self.id, &self.kind, &self.content, &self.cause],
            find,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::SessionRow;

    #[test]
    fn a_page_of_registrations_is_found_by_any_name_and_tells_how_many_there_are() {
        let row = |n: usize| RegistrationRow {
            user: Pii::new(format!("user{n}")),
            device: format!("CSF{n:03}"),
            zone: "CEtcp-cucm1".into(),
            lines: vec![Pii::new(format!("9{n:03}"))],
            ..RegistrationRow::default()
        };
        let whole = Snapshot {
            registrations: (0..100).map(row).collect(),
            ..Snapshot::default()
        };
        let turn = |from, limit, find: Option<&str>| {
            let mut s = whole.clone();
            let find = find.map(str::to_owned);
            s.turn_to(&Page {
                from,
                limit,
                find,
                history: None,
            });
            let first = s.registrations.first().map(|r| r.device.clone());
            (s.registrations_total, s.registrations.len(), first)
        };
        assert_eq!(turn(0, None, None), (100, 100, Some("CSF000".into())));
        assert_eq!(turn(95, Some(10), None), (100, 5, Some("CSF095".into())));
        assert_eq!(
            turn(0, Some(3), Some("csf01")),
            (10, 3, Some("CSF010".into()))
        );
        assert_eq!(turn(0, None, Some("9042")), (1, 1, Some("CSF042".into())));
        assert_eq!(turn(0, None, Some("nobody")), (0, 0, None));
        assert_eq!(turn(200, Some(1), None), (100, 0, None));
    }

    #[test]
    fn what_is_looked_for_is_looked_for_in_every_list_of_persons() {
        let call = |from: &str| CallRow {
            from: Pii::new(format!("sip:{from}@example.test")),
            cause: "the caller hung up".into(),
            ..CallRow::default()
        };
        let session = SessionRow {
            user: Pii::new("alice".into()),
            user_agent: "Jabber".into(),
            ..SessionRow::default()
        };
        let whole = Snapshot {
            calls: vec![call("alice"), call("bob")],
            history: vec![call("bob"), call("alice"), call("bob"), call("bob")],
            sessions: vec![session],
            ..Snapshot::default()
        };
        let counts = |s: &Snapshot| (s.calls.len(), s.history.len(), s.sessions.len());
        let turn = |find: Option<&str>, history| {
            let mut s = whole.clone();
            let find = find.map(str::to_owned);
            s.turn_to(&Page {
                find,
                history,
                ..Page::default()
            });
            s
        };
        assert_eq!(counts(&turn(None, None)), (2, 4, 1));
        assert_eq!(counts(&turn(Some("ALICE"), None)), (1, 1, 1));
        assert_eq!(counts(&turn(Some("hung up"), None)), (2, 4, 0));
        let some = turn(Some("bob"), Some(2));
        assert_eq!(counts(&some), (1, 2, 0));
        assert_eq!((some.history_total, some.totals.history), (3, 4));
        assert_eq!((some.totals.calls, some.totals.sessions), (2, 1));
    }
}
