//! What a search came to: every rule's verdict, and where the request would go.

use serde::{Deserialize, Serialize};

/// A question to the search rules: where would this request go?
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SearchQuestion {
    /// Who asks, as an address; told back, and used where `zone` is not given.
    #[serde(default)]
    pub from: String,
    /// The destination: a SIP or tel URI, or an alias.
    pub to: String,
    /// The zone that the request comes from; empty for a client that registered here.
    #[serde(default)]
    pub zone: String,
    /// Whether the request is authenticated; a client's always is.
    #[serde(default)]
    pub authenticated: bool,
}

/// What a search came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchOutcome {
    /// The request would be refused: nothing leads anywhere.
    #[default]
    Nowhere,
    /// It would go somewhere.
    Routed,
    /// It would go to call control, and which server that is only a running core knows.
    CallControl,
    /// The question is refused: its zone is not known, or an address cannot be read.
    NotUnderstood,
    /// An edge was asked, which has no rules.
    NoRules,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchReport {
    /// What it came to.
    #[serde(default)]
    pub outcome: SearchOutcome,
    /// Who asks.
    pub from: String,
    /// The destination as it was asked for.
    pub to: String,
    /// The zone that the request comes from.
    pub zone: String,
    /// Whether it counts as authenticated.
    pub authenticated: bool,
    /// What rules see of the destination.
    pub alias: String,
    /// What was settled before any rule: the way that call control's own domains and nodes have.
    pub note: String,
    /// What to do about it, if there is something to do.
    #[serde(default)]
    pub fix: String,
    /// Each transform, in the order tried.
    pub transforms: Vec<SearchStep>,
    /// The alias after transforms.
    pub transformed: String,
    /// Each rule, in the order tried.
    pub rules: Vec<SearchStep>,
    /// Where the request would go, in this order.
    pub targets: Vec<SearchTarget>,
}

/// One transform or rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchStep {
    /// Its name.
    pub name: String,
    /// Its priority.
    pub priority: u16,
    /// Whether discovery made it.
    pub generated: bool,
    /// Whether it applied.
    pub matched: bool,
    /// Why, or why not.
    pub why: String,
    /// What it is about, as in `prefix "9" → trunk`.
    pub what: String,
}

/// One place to go.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchTarget {
    /// The zone.
    pub zone: String,
    /// The destination as that zone gets it.
    pub alias: String,
    /// The rule that leads there.
    pub rule: String,
    /// How it is reached: servers, transport, state.
    pub how: Vec<String>,
    /// Whether one of its servers is connected; unknown without a running node.
    pub up: Option<bool>,
}
