//! The inside's servers as a core knows them: what each told of its cluster, how it is, what has
//! changed, and what of its settings would trouble clients.
//!
//! [`ServerFacts`] is what is compared and kept over a restart ([`ServersRecord`]); the rest is
//! made for reports. Bounds: [`HISTORY_MAX`] changes are kept.

use base::UnixTime;
use serde::{Deserialize, Serialize};

/// Changes that are kept, the latest first.
pub const HISTORY_MAX: usize = 500;

/// Names of a kind that are told of at once, or changes of nodes.
pub const NAMED_MAX: usize = 10;

/// Names in a row: the first [`NAMED_MAX`], and how many more there are.
pub fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let mut names = names.into_iter();
    let first: Vec<&str> = names.by_ref().take(NAMED_MAX).collect();
    let first = first.join(", ");
    match names.count() {
        0 => first,
        more => format!("{first}, and {more} more"),
    }
}

/// What a publisher, or a voicemail server, told of its cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerFacts {
    /// The product's version; empty if it did not tell.
    pub version: String,
    /// The nodes, in the server's order.
    pub nodes: Vec<NodeFacts>,
    /// Whether the cluster is in mixed mode (F145); `None` if it did not tell.
    pub mixed_mode: Option<bool>,
    /// Phone security profiles that are encrypted and over TLS, in order of name; `None` if it did
    /// not tell.
    pub secure_profiles: Option<Vec<String>>,
}

/// One node of a cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeFacts {
    /// The name as the publisher writes it.
    pub name: String,
    /// What names it for good, if the publisher tells.
    pub id: String,
    /// Where phones register over TCP, if it told.
    pub tcp: Option<u16>,
    /// Where phones with secure profiles register, if it told.
    pub tls: Option<u16>,
}

/// What is different between two readings of one server.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Difference {
    /// In words, one a change; what happened to many is one change.
    pub changes: Vec<String>,
    /// Nodes that are listed no longer, under no other name either.
    pub gone: Vec<String>,
}

impl ServerFacts {
    /// What is different in `newer`.
    pub fn difference(&self, newer: &ServerFacts) -> Difference {
        let mut found = Difference::default();
        let say = &mut found.changes;
        if self.version != newer.version && !self.version.is_empty() && !newer.version.is_empty() {
            say.push(format!("version {} -> {}", self.version, newer.version));
        }
        let (mut added, mut moved) = (Vec::new(), Vec::new());
        for node in &newer.nodes {
            let Some(before) = self.nodes.iter().find(|n| n.is(node)) else {
                added.push(node.name.as_str());
                continue;
            };
            if before.name != node.name {
                moved.push(format!("node renamed {} -> {}", before.name, node.name));
            }
            let ports = [
                ("", before.tcp, node.tcp),
                ("secure ", before.tls, node.tls),
            ];
            for (kind, old, new) in ports {
                if let (Some(old), Some(new)) = (old, new)
                    && old != new
                {
                    moved.push(format!("{kind}port of {} {old} -> {new}", node.name));
                }
            }
        }
        let more = moved.len().saturating_sub(NAMED_MAX);
        moved.truncate(NAMED_MAX);
        say.append(&mut moved);
        if more > 0 {
            say.push(format!("{more} more names or ports of nodes"));
        }
        let gone = self.nodes.iter();
        let gone = gone.filter(|node| !newer.nodes.iter().any(|n| node.is(n)));
        found.gone = gone.map(|node| node.name.clone()).collect();
        say.extend(many("node added", &added));
        let gone: Vec<&str> = found.gone.iter().map(String::as_str).collect();
        say.extend(many("node removed", &gone));
        if let (Some(old), Some(new)) = (self.mixed_mode, newer.mixed_mode)
            && old != new
        {
            say.push(format!("mixed mode {}", if new { "on" } else { "off" }));
        }
        if let (Some(old), Some(new)) = (&self.secure_profiles, &newer.secure_profiles) {
            say.extend(many("secure profile added", &lacking(new, old)));
            say.extend(many("secure profile removed", &lacking(old, new)));
        }
        found
    }
}

/// One change that happened to each of these, if there are any.
fn many(what: &str, names: &[&str]) -> Option<String> {
    let told = || format!("{what} {}", named(names.iter().copied()));
    (!names.is_empty()).then(told)
}

/// What of the one list is not in the other.
fn lacking<'a>(of: &'a [String], other: &[String]) -> Vec<&'a str> {
    let rest = of.iter().filter(|p| !other.contains(p));
    rest.map(String::as_str).collect()
}

impl NodeFacts {
    /// Whether both are one machine: by what names it for good, or by name.
    fn is(&self, other: &NodeFacts) -> bool {
        let by_id = !self.id.is_empty() && self.id == other.id;
        by_id || self.name.eq_ignore_ascii_case(&other.name)
    }
}

/// What a server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerKind {
    /// Unified CM's publisher.
    #[default]
    UnifiedCm,
    /// The IM and presence database publisher.
    ImPresence,
    /// Unity Connection.
    UnityConnection,
}

impl ServerKind {
    /// As the guide calls it.
    pub fn title(self) -> &'static str {
        match self {
            ServerKind::UnifiedCm => "Unified CM",
            ServerKind::ImPresence => "IM and Presence",
            ServerKind::UnityConnection => "Unity Connection",
        }
    }
}

/// How a server is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ServerState {
    /// It was asked and has not answered yet.
    #[default]
    Asked,
    /// It told all, and a traversal zone is up.
    Active,
    /// It told all, and no traversal zone is up (F119).
    Inactive,
    /// It does not tell; what it told before still counts.
    Failed,
}

impl ServerState {
    /// In a word.
    pub fn word(self) -> &'static str {
        match self {
            ServerState::Asked => "Asked",
            ServerState::Active => "Active",
            ServerState::Inactive => "Inactive",
            ServerState::Failed => "Failed",
        }
    }
}

/// A server of the configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerRow {
    /// Its address in the configuration.
    pub name: String,
    /// The port asked.
    pub port: u16,
    /// What it is.
    pub kind: ServerKind,
    /// How it is.
    pub state: ServerState,
    /// Why, where that needs saying.
    pub cause: String,
    /// What to do about it.
    pub fix: String,
    /// What it told last.
    pub facts: ServerFacts,
    /// When it told that.
    pub read_at: Option<UnixTime>,
    /// Whether that was before this process: nobody has confirmed it since.
    pub remembered: bool,
    /// When it was last asked whether anything has changed, and answered.
    pub heard_at: Option<UnixTime>,
    /// What it did not tell, and why.
    pub untold: Vec<String>,
    /// What of its settings would trouble clients.
    pub checks: Vec<ServerCheck>,
}

/// A server of the configuration, in brief.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerBrief {
    /// Its address in the configuration.
    pub name: String,
    /// What it is.
    pub kind: ServerKind,
    /// How it is.
    pub state: ServerState,
    /// When it last told all that is known of it.
    pub read_at: Option<UnixTime>,
}

/// A setting of a server that was looked at.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerCheck {
    /// What was looked at.
    pub what: String,
    /// Whether it is as it should be; `None` if that cannot be told.
    pub good: Option<bool>,
    /// What was seen.
    pub seen: String,
    /// What to do, unless it is good.
    pub fix: String,
}

/// Something that has changed at a server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServerChange {
    /// When it was found.
    pub at: UnixTime,
    /// The server's address in the configuration.
    pub server: String,
    /// In words.
    pub what: String,
}

/// What is asked about servers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServersQuestion {
    /// What is known.
    Show,
    /// That they be asked now; the answer comes once they have answered, or have not.
    Refresh {
        /// The server's address; empty for all of them.
        name: String,
    },
}

/// All servers, and what has changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServersReport {
    /// When it was made.
    pub at: UnixTime,
    /// Servers in the configuration's order.
    pub servers: Vec<ServerRow>,
    /// Changes, the latest first, at most [`HISTORY_MAX`].
    pub history: Vec<ServerChange>,
    /// Why the question is refused; empty if it is not.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub refused: String,
}

/// What outlives a restart.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServersRecord {
    /// What each server told last.
    pub servers: Vec<KnownServer>,
    /// As [`ServersReport::history`].
    pub history: Vec<ServerChange>,
}

/// What one server told last.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct KnownServer {
    /// Its address in the configuration.
    pub name: String,
    /// What it is.
    pub kind: ServerKind,
    /// When it told.
    pub read_at: UnixTime,
    /// What.
    pub facts: ServerFacts,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(id: &str, name: &str, tcp: u16) -> NodeFacts {
        NodeFacts {
            name: name.into(),
            id: id.into(),
            tcp: Some(tcp),
            tls: Some(5061),
        }
    }

    #[test]
    fn what_happened_to_many_is_one_change_that_names_some() {
        let of = |from: usize| ServerFacts {
            secure_profiles: Some((from..from + 300).map(|n| format!("p{n}")).collect()),
            nodes: (from..from + 40)
                .map(|n| node("", &format!("n{n}"), 5060))
                .collect(),
            ..ServerFacts::default()
        };
        let found = of(0).difference(&of(500));
        assert_eq!(found.changes.len(), 4);
        assert!(found.changes[0].starts_with("node added n500, n501, "));
        assert!(found.changes[3].ends_with("p8, p9, and 290 more"));
        let ported = |tcp| ServerFacts {
            nodes: (0..40).map(|n| node("", &format!("n{n}"), tcp)).collect(),
            ..ServerFacts::default()
        };
        let found = ported(5060).difference(&ported(5062)).changes;
        assert_eq!(found.len(), NAMED_MAX + 1);
        assert_eq!(found[NAMED_MAX], "30 more names or ports of nodes");
    }

    #[test]
    fn each_change_of_a_cluster_is_named_and_none_where_something_is_not_told() {
        let old = ServerFacts {
            version: "12.5".into(),
            nodes: vec![
                node("1", "ucm1", 5060),
                node("2", "ucm2", 5060),
                node("4", "ucm4", 5060),
            ],
            mixed_mode: Some(false),
            secure_profiles: Some(vec!["a.example.test".into()]),
        };
        assert_eq!(old.difference(&old), Difference::default());
        let new = ServerFacts {
            version: "14.0".into(),
            nodes: vec![
                node("1", "ucm1", 5062),
                node("2", "two", 5060),
                node("3", "ucm3", 5060),
            ],
            mixed_mode: Some(true),
            secure_profiles: Some(vec!["b.example.test".into()]),
        };
        let found = old.difference(&new);
        assert_eq!(
            found.changes,
            [
                "version 12.5 -> 14.0",
                "port of ucm1 5060 -> 5062",
                "node renamed ucm2 -> two",
                "node added ucm3",
                "node removed ucm4",
                "mixed mode on",
                "secure profile added b.example.test",
                "secure profile removed a.example.test",
            ]
        );
        assert_eq!(found.gone, ["ucm4"]);
        let untold = ServerFacts {
            nodes: old
                .nodes
                .iter()
                .map(|n| NodeFacts {
                    tcp: None,
                    ..n.clone()
                })
                .collect(),
            ..ServerFacts::default()
        };
        assert_eq!(old.difference(&untold), Difference::default());
        assert_eq!(untold.difference(&old), Difference::default());
    }
}
