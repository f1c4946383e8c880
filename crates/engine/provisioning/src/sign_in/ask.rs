//! What goes into a sign-in, what it asks, and what comes out of it.

use std::time::Duration;

use base::{Pii, Secret};

use crate::edge_config::Server;

/// A node of Unified CM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Name or address.
    pub host: String,
    /// Its HTTPS port.
    pub port: u16,
    /// Whether its certificate is checked.
    pub tls_verify: bool,
    /// Nodes of one cluster have the same number.
    pub cluster: usize,
}

/// Who checks a password.
#[derive(Clone, Debug)]
pub enum By {
    /// The user's home cluster, found by any of these nodes.
    Uds(Vec<Node>),
    /// Another directory, which the driver asks.
    Directory,
}

/// A sign-in that begins.
pub struct Asked {
    /// The service domain.
    pub domain: String,
    /// The name as typed.
    pub user: String,
    /// The password.
    pub password: Secret<String>,
    /// The services asked for.
    pub services: Vec<String>,
    /// Who checks it.
    pub by: By,
}

/// One of a user for whom another has vouched.
pub struct Vouched {
    /// The service domain.
    pub domain: String,
    /// The name that was vouched for.
    pub user: String,
    /// The services asked for.
    pub services: Vec<String>,
    /// Any of these find the user's home cluster; none where there is no Unified CM.
    pub nodes: Vec<Node>,
}

/// What a directory knows of a user whose password is good.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Proven {
    /// The user's name as the directory keeps it.
    pub account: String,
    /// What the user may register beside that name.
    pub lines: Vec<String>,
}

/// Why a directory does not vouch for a user.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unproven {
    /// Wrong password, or nobody of that name.
    Wrong(&'static str),
    /// It cannot tell.
    Unreachable {
        /// Which server or file.
        server: String,
        /// What was seen.
        why: String,
    },
}

/// A question to the outside.
#[derive(Debug)]
pub enum Ask {
    /// GET over HTTPS.
    Get {
        /// Comes back with the answer.
        id: u64,
        /// Whom.
        node: Node,
        /// Path and query.
        path: String,
        /// Credentials.
        basic: Option<(Pii<String>, Secret<String>)>,
    },
    /// Whether a domain's directory takes a password.
    Prove {
        /// Comes back with the answer.
        id: u64,
        /// The service domain.
        domain: String,
        /// The name as typed.
        user: Pii<String>,
        /// The password.
        password: Secret<String>,
    },
    /// SRV records.
    Service {
        /// Comes back with the answer.
        id: u64,
        /// The name.
        name: String,
    },
}

/// The answer to a question.
#[derive(Debug)]
pub enum Answer {
    /// Status and body, or why there is none.
    Got(Result<(u16, String), String>),
    /// Whom the directory vouches for, or why for nobody.
    Proved(Result<Proven, Unproven>),
    /// Records in order, or none.
    Service(Option<Vec<Server>>),
}

/// How a sign-in ended.
#[derive(Debug)]
pub enum Outcome {
    /// The password is good.
    Granted(Box<Granted>),
    /// Of a user for whom another has vouched.
    Found {
        /// Nodes of the home cluster, the one that knew the user first.
        nodes: Vec<Node>,
        /// The services asked for.
        services: Vec<(String, Option<Vec<Server>>)>,
    },
    /// Wrong password, or nobody knows the user.
    Unauthorized {
        /// For the event, not for the client.
        why: &'static str,
    },
    /// The inside cannot be reached.
    Unreachable {
        /// `host:port`.
        server: String,
        /// What was seen.
        why: String,
    },
    /// Too many tries.
    Limited {
        /// When to try again.
        wait: Duration,
    },
    /// Too many sign-ins of all users are under way.
    Full,
}

/// What a good sign-in has learnt.
#[derive(Debug)]
pub struct Granted {
    /// The user id as Unified CM keeps it.
    pub user: String,
    /// The password that was good.
    pub password: Secret<String>,
    /// The user's numbers.
    pub lines: Vec<String>,
    /// The user's devices.
    pub devices: Vec<String>,
    /// Nodes of the home cluster, the one that knew the user first; none where another directory
    /// was asked.
    pub nodes: Vec<Node>,
    /// Nodes of other clusters that were asked where the user is at home, and whether they knew.
    pub lookups: Vec<(Node, bool)>,
    /// The services asked for.
    pub services: Vec<(String, Option<Vec<Server>>)>,
}
