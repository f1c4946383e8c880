//! What rules let through and what none did: a count for each rule, and an inbox of refused
//! requests from which a rule can be made.
//!
//! Only requests of signed-in users come here, so a stranger writes nothing into it. Bounds:
//! [`RULES_MAX`] counts; [`DENIED_MAX`] rows, [`USER_ROWS_MAX`] of them first seen from one user;
//! [`USERS_MAX`] users a row; texts are cut. What is asked for once gives way first, so that a
//! user who makes requests up does not push out what many ask for.

use std::collections::BTreeMap;

use base::UnixTime;

use super::Access;

/// Rules counted.
const RULES_MAX: usize = 8192;

/// Rows of the inbox.
pub const DENIED_MAX: usize = 256;

/// Rows that one user may have brought in.
const USER_ROWS_MAX: usize = 64;

/// Users remembered for each row.
const USERS_MAX: usize = 4;

/// The longest path kept, in bytes; a longer one is cut at a segment's end.
const PATH_MAX: usize = 512;

/// The longest method and user kept, in characters.
const TEXT_MAX: usize = 128;

/// How often a rule let a request through.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hits {
    /// So often since the rule was first counted.
    pub count: u64,
    /// Last then.
    pub last: UnixTime,
}

/// A server and method that were refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denied {
    /// `http` or `https`.
    pub scheme: String,
    /// Name or address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The method.
    pub method: String,
    /// The path; if there were several, what they have in common, ending in a slash.
    pub path: String,
    /// Whether it was one and the same path each time.
    pub one_path: bool,
    /// Whether an inside server's redirect led there, and no client asked for it.
    pub redirect: bool,
    /// So often.
    pub count: u64,
    /// First then.
    pub first: UnixTime,
    /// Last then.
    pub last: UnixTime,
    /// Who asked, the first four.
    pub users: Vec<String>,
}

/// All of it.
#[derive(Clone, Debug, Default)]
pub struct Ledger {
    hits: BTreeMap<u64, Hits>,
    denied: Vec<Denied>,
    forgotten: u64,
    changes: u64,
}

impl Ledger {
    /// A rule let a request through; `id` is [`super::AllowList::id`].
    pub fn hit(&mut self, now: UnixTime, id: u64) {
        self.changes += 1;
        if let Some(hits) = self.hits.get_mut(&id) {
            hits.count += 1;
            hits.last = now;
        } else if self.hits.len() < RULES_MAX {
            let first = Hits {
                count: 1,
                last: now,
            };
            self.hits.insert(id, first);
        }
    }

    /// What is known of a rule.
    pub fn hits(&self, id: u64) -> Option<Hits> {
        self.hits.get(&id).copied()
    }

    /// No rule let this through.
    pub fn denied(&mut self, now: UnixTime, access: &Access<'_>, user: &str, redirect: bool) {
        self.changes += 1;
        let method: String = access.method.chars().take(TEXT_MAX).collect();
        let user: String = user.chars().take(TEXT_MAX).collect();
        let known = self.denied.iter_mut().find(|d| {
            d.host == access.host
                && d.port == access.port
                && d.scheme == access.scheme
                && d.method == method
        });
        if let Some(row) = known {
            row.count = row.count.saturating_add(1);
            row.last = now;
            row.redirect &= redirect;
            row.take_path(access.path);
            if !row.users.contains(&user) && row.users.len() < USERS_MAX {
                row.users.push(user);
            }
            return;
        }
        self.make_room(&user);
        let (path, one_path) = cut(access.path);
        self.denied.push(Denied {
            scheme: access.scheme.to_owned(),
            host: access.host.to_owned(),
            port: access.port,
            method,
            path: path.to_owned(),
            one_path,
            redirect,
            count: 1,
            first: now,
            last: now,
            users: vec![user],
        });
    }

    /// The inbox, the latest first.
    pub fn inbox(&self) -> Vec<&Denied> {
        let mut rows: Vec<&Denied> = self.denied.iter().collect();
        rows.sort_by_key(|d| std::cmp::Reverse(d.last));
        rows
    }

    /// Rows that gave way to others.
    pub fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// How much has changed since it was made: whoever stores it knows by this whether to.
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// Every rule that was counted, by id.
    pub fn counted(&self) -> impl Iterator<Item = (u64, Hits)> {
        self.hits.iter().map(|(id, hits)| (*id, *hits))
    }

    /// Of what an earlier process stored, within the bounds that hold here.
    pub fn restored(
        hits: impl Iterator<Item = (u64, Hits)>,
        denied: impl Iterator<Item = Denied>,
        forgotten: u64,
    ) -> Ledger {
        let denied = denied.take(DENIED_MAX).map(|mut row| {
            row.users.truncate(USERS_MAX);
            row
        });
        Ledger {
            hits: hits.take(RULES_MAX).collect(),
            denied: denied.collect(),
            forgotten,
            changes: 0,
        }
    }

    /// The least asked for goes, and of these the oldest; a user with many rows makes room alone.
    fn make_room(&mut self, user: &str) {
        let brought = |d: &Denied| d.users.first().is_some_and(|u| u == user);
        let own = self.denied.iter().filter(|d| brought(d)).count() >= USER_ROWS_MAX;
        if !own && self.denied.len() < DENIED_MAX {
            return;
        }
        let rows = self.denied.iter().enumerate();
        let least = rows
            .filter(|(_, d)| !own || brought(d))
            .min_by_key(|(_, d)| (d.count, d.last))
            .map(|(at, _)| at);
        if let Some(at) = least {
            self.denied.swap_remove(at);
            self.forgotten += 1;
        }
    }
}

impl Denied {
    fn take_path(&mut self, path: &str) {
        if self.one_path && self.path == path {
            return;
        }
        let shared = self.path.bytes().zip(path.bytes());
        let shared = shared.take_while(|(a, b)| a == b).count();
        let common = self.path.get(..shared).unwrap_or_default();
        let end = common.rfind('/').map_or(0, |at| at + 1);
        self.path.truncate(end);
        if self.path.is_empty() {
            self.path.push('/');
        }
        self.one_path = false;
    }
}

/// A path that may be kept, and whether it is whole.
fn cut(path: &str) -> (&str, bool) {
    if path.len() <= PATH_MAX {
        return (path, true);
    }
    let head = path.get(..PATH_MAX).unwrap_or("/");
    let end = head.rfind('/').map_or(0, |at| at + 1);
    (
        head.get(..end).filter(|p| !p.is_empty()).unwrap_or("/"),
        false,
    )
}
