//! The HTTP allow list as it is shown: its rules with their hits, what it makes of a request, and
//! what it refused.

use base::{Pii, UnixTime};
use serde::{Deserialize, Serialize};

/// All rules.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowListReport {
    /// In the order tried.
    pub rules: Vec<AllowRow>,
}

/// One rule.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowRow {
    /// Its place, from 1.
    pub number: usize,
    /// Where it comes from: `configuration`, or the section and server that it follows from.
    pub origin: String,
    /// Whether the program made it; such rules cannot be deleted.
    pub automatic: bool,
    /// `http` or `https`.
    pub scheme: String,
    /// Name or address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path or its prefix.
    pub path: String,
    /// `prefix` or `exact`.
    pub r#match: String,
    /// The methods.
    pub methods: Vec<String>,
    /// Whether the server's certificate is checked.
    pub tls_verify: bool,
    /// For people.
    pub description: String,
    /// Requests it let through since the start; unknown without a running node.
    pub hits: Option<u64>,
    /// When it last did.
    pub last_hit: Option<UnixTime>,
}

/// A question: would this request pass?
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AllowTest {
    /// The inside URL, or a path as the edge gets it (`/BASE64/…`).
    pub url: String,
    /// The method; GET if empty.
    #[serde(default)]
    pub method: String,
}

/// The answer.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AllowVerdict {
    /// The method and URL judged.
    pub request: String,
    /// Whether it passes.
    pub allowed: bool,
    /// Whether that could not be told, as when DNS did not answer.
    pub unknown: bool,
    /// The status a client gets of us; 0 if the request passes.
    pub status: u16,
    /// Why, in words.
    pub why: String,
    /// The rule that decided.
    pub rule: Option<AllowRow>,
    /// What would be dialled.
    pub address: Option<String>,
    /// The nearest rules and what they lack.
    pub near: Vec<NearRow>,
    /// A rule that would let it through, as a block of the configuration.
    pub suggestion: Option<String>,
}

/// A rule that nearly lets a request through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct NearRow {
    /// The rule.
    pub rule: AllowRow,
    /// What stands against it.
    pub missing: Vec<String>,
}

/// The inbox of refused requests.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeniedReport {
    /// The latest first.
    pub denied: Vec<DeniedRow>,
    /// Rows that gave way to others since the start.
    pub forgotten: u64,
}

/// A server and method that were refused.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeniedRow {
    /// Scheme, server, port and what the paths have in common.
    pub url: String,
    /// The method.
    pub method: String,
    /// Whether it was one and the same path each time.
    pub one_path: bool,
    /// Whether only redirects of inside servers led there.
    pub redirect: bool,
    /// So often.
    pub count: u64,
    /// First then.
    pub first: UnixTime,
    /// Last then.
    pub last: UnixTime,
    /// Who asked, the first four.
    pub users: Vec<Pii<String>>,
    /// The rule that would let it through, as a block of the configuration; none if the path is
    /// one that no rule can name.
    pub suggestion: Option<String>,
}
