//! Changes of settings as text, for people.

use std::fmt::Write as _;

use config::document::{Change, Kind};

use super::{Outcome, Past};
use crate::show::clean;

/// What is different, an item after the other.
pub fn changes(changes: &[Change]) -> String {
    let mut out = String::new();
    for change in changes {
        let sign = match change.kind {
            Kind::Added => '+',
            Kind::Removed => '-',
            Kind::Changed => '~',
            Kind::Moved => '^',
        };
        let moved = match change.kind {
            Kind::Moved => "  (stands elsewhere in its list)",
            _ => "",
        };
        let _ = writeln!(out, "{sign} {}{moved}", clean(&change.path));
        for key in &change.keys {
            let told = match (&key.before, &key.after) {
                (None, Some(after)) => format!("= {after}"),
                (Some(before), None) => format!("was {before}"),
                (before, after) => {
                    let [before, after] = [before, after].map(|v| v.clone().unwrap_or_default());
                    match before == after {
                        true => format!("= {after}, another"),
                        false => format!("{before} -> {after}"),
                    }
                }
            };
            let _ = writeln!(out, "    {} {}", clean(&key.key), clean(&told));
        }
    }
    out
}

/// What a change did, or would do.
pub fn outcome(outcome: &Outcome) -> String {
    let mut out = changes(&outcome.changes);
    for found in &outcome.warnings {
        let _ = writeln!(out, "{}", clean(&found.to_string()));
    }
    for key in &outcome.waiting {
        let _ = writeln!(out, "takes effect at next start: {}", clean(key));
    }
    out
}

/// The history, youngest first.
pub fn history(past: &[Past]) -> String {
    let mut out = String::new();
    for revision in past {
        let at = base::UnixTime::from_millis(revision.at);
        let author = match revision.author.as_str() {
            "" => "nobody",
            author => author,
        };
        let _ = write!(
            out,
            "revision {}  {}  {} ({})",
            revision.revision,
            at,
            clean(author),
            clean(&revision.via)
        );
        if !revision.reason.is_empty() {
            let _ = write!(out, "  {}", clean(&revision.reason));
        }
        out.push('\n');
        for line in changes(&revision.changes).lines() {
            let _ = writeln!(out, "  {line}");
        }
    }
    out
}
