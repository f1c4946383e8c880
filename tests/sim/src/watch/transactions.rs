//! One final response a transaction, and not too late (RFC 3261 §17).

use super::{Place, TRACE, Watch, Who};
use crate::dialog;
use crate::text::Text;
use crate::ua::SECOND;

/// How long a node may take for the answer to an INVITE, and to anything else: Timer C and Timer F,
/// and what a bad network adds on each of the hops behind it.
const PATIENCE: [u64; 2] = [260 * SECOND, 75 * SECOND];

/// An answer so late may meet nobody any more: on each hop Timer F runs as long.
const LATE: u64 = 31 * SECOND;

/// Answered transactions are remembered for so long, to see a second answer.
const MEMORY: u64 = 400 * SECOND;

/// A request that was sent.
#[derive(Clone, Debug)]
pub struct Open {
    from: Who,
    to: Who,
    line: String,
    invite: bool,
    /// By what it is known behind a proxy, and behind a core.
    names: [String; 2],
    at: u64,
    status: Option<u16>,
    /// Its answer can no longer come: a connection, or the node that was asked, is gone.
    moot: bool,
}

fn names(text: &Text) -> [String; 2] {
    let tag = Text::tag(text.field("From")).unwrap_or("");
    let dialog = format!("{} {tag} {}", text.field("Call-ID"), text.field("CSeq"));
    match text.field(TRACE) {
        "" => [dialog.clone(), dialog],
        trace => [trace.to_owned(), dialog],
    }
}

impl Watch {
    pub(super) fn transaction(
        &mut self,
        now: u64,
        place: Place,
        from: &Who,
        to: &Who,
        text: &Text,
    ) {
        if text.method() == "ACK" {
            return;
        }
        let name = format!("{} {}", text.method(), dialog::branch(text));
        match text.status() {
            None => self.asked(now, (place, name), from, to, text),
            Some(status) => {
                let asked = Place {
                    pipe: place.pipe,
                    end: 1 - place.end,
                };
                self.answered(now, (asked, name), from, text, status);
            }
        }
    }

    fn asked(&mut self, now: u64, key: (Place, String), from: &Who, to: &Who, text: &Text) {
        let id: String = text.field("Call-ID").chars().take(8).collect();
        let row = Open {
            from: from.clone(),
            to: to.clone(),
            line: format!("{} [{id}]", text.start),
            invite: text.method() == "INVITE",
            names: names(text),
            at: now,
            status: None,
            moot: false,
        };
        if self.open.insert(key, row).is_some() {
            self.find(from, text, "is sent twice on one connection");
        }
    }

    fn answered(&mut self, now: u64, key: (Place, String), from: &Who, text: &Text, status: u16) {
        // A telephone that has come back may answer on its new connection.
        let moved = || {
            let mut rows = self.open.iter();
            rows.find(|(k, o)| k.1 == key.1 && o.moot)
                .map(|(k, _)| k.clone())
        };
        let found = match self.open.contains_key(&key) {
            true => Some(key),
            false => moved(),
        };
        let Some(row) = found.and_then(|key| self.open.get_mut(&key)) else {
            if from.life.is_some() {
                self.find(from, text, "answers nothing");
            }
            return;
        };
        if status < 200 {
            if row.status.is_some() && from.life.is_some() {
                self.find(from, text, "comes after the final response");
            }
            return;
        }
        let before = row.status.replace(status);
        if now >= row.at + LATE {
            self.lost.extend(row.names.clone());
        }
        let forked = row.invite && status < 300 && before.is_some_and(|b| b < 300);
        if let Some(before) = before.filter(|_| !forked && from.life.is_some()) {
            self.find(from, text, &format!("comes after {before}"));
        }
    }

    /// Whether a transaction of this name was begun here.
    pub fn asked_here(&self, place: Place, name: &str) -> bool {
        self.open.contains_key(&(place, name.to_owned()))
    }

    /// A connection is gone, or lets nothing through any more: what is open on it is never
    /// answered.
    pub fn gone(&mut self, pipe: u64) {
        let from = Place { pipe, end: 0 };
        let to = Place { pipe, end: 2 };
        for (_, row) in self
            .open
            .range_mut((from, String::new())..(to, String::new()))
        {
            // Its answer may have been on its way.
            if !row.moot {
                self.lost.extend(row.names.clone());
            }
            row.moot = true;
        }
    }

    /// Looks for answers that are overdue; `life` tells which life a node is in.
    pub fn overdue(&mut self, now: u64, life: impl Fn(&str) -> Option<u32>) {
        let mut late = Vec::new();
        for row in self.open.values_mut() {
            let patience = PATIENCE[usize::from(!row.invite)];
            if row.moot || row.status.is_some() || now < row.at + patience {
                continue;
            }
            row.moot = true;
            let asked = row.to.life;
            let lost = row.names.iter().any(|name| self.lost.contains(name));
            if (row.invite || !lost) && asked.is_some() && asked == life(&row.to.name) {
                late.push(format!(
                    "{} of {} at {} us: no answer of {}",
                    row.line, row.from.name, row.at, row.to.name
                ));
            }
        }
        self.findings.append(&mut late);
        self.open.retain(|_, row| now < row.at + MEMORY);
    }
}
