//! The inside's servers as a core knows them: what each told of its cluster, how it is, what has
//! changed, and what of its settings would trouble clients.
//!
//! [`ServerFacts`] is what is compared and kept over a restart ([`ServersRecord`]); the rest is
//! made for reports. Bounds: [`HISTORY_MAX`] changes are kept.

use base::UnixTime;
use serde::{Deserialize, Serialize};

/// Changes that are kept, the latest first.
pub const HISTORY_MAX: usize = 500;

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
    /// In words, one a change.
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
        for node in &newer.nodes {
            let Some(before) = self.nodes.iter().find(|n| n.is(node)) else {
                say.push(format!("node added {}", node.name));
                continue;
            };
            if before.name != node.name {
                say.push(format!("node renamed {} -> {}", before.name, node.name));
            }
            let ports = [
                ("", before.tcp, node.tcp),
                ("secure ", before.tls, node.tls),
            ];
            for (kind, old, new) in ports {
                if let (Some(old), Some(new)) = (old, new)
                    && old != new
                {
                    say.push(format!("{kind}port of {} {old} -> {new}", node.name));
                }
            }
        }
        for node in &self.nodes {
            if !newer.nodes.iter().any(|n| node.is(n)) {
                say.push(format!("node removed {}", node.name));
                found.gone.push(node.name.clone());
            }
        }
        if let (Some(old), Some(new)) = (self.mixed_mode, newer.mixed_mode)
            && old != new
        {
            say.push(format!("mixed mode {}", if new { "on" } else { "off" }));
        }
        if let (Some(old), Some(new)) = (&self.secure_profiles, &newer.secure_profiles) {
            let added = new.iter().filter(|p| !old.contains(p));
            say.extend(added.map(|p| format!("secure profile added {p}")));
            let gone = old.iter().filter(|p| !new.contains(p));
            say.extend(gone.map(|p| format!("secure profile removed {p}")));
        }
        found
    }
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
