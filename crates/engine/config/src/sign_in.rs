//! Who checks the passwords of a domain's users.

use std::path::PathBuf;
use std::time::Duration;

use crate::model::Password;

/// How sign-ins to a domain are checked.
#[derive(Clone, Debug, Default)]
pub enum SignInBy {
    /// By the user's home cluster of Unified CM, over its user data service.
    #[default]
    Uds,
    /// By a file of users with salted verifiers.
    File(PathBuf),
    /// By binding to a directory.
    Ldap(Box<Ldap>),
}

impl SignInBy {
    /// As the configuration calls it.
    pub fn name(&self) -> &'static str {
        match self {
            SignInBy::Uds => "uds",
            SignInBy::File(_) => "file",
            SignInBy::Ldap(_) => "ldap",
        }
    }
}

/// A directory (RFC 4511).
#[derive(Clone, Debug)]
pub struct Ldap {
    /// Tried in this order; at most six.
    pub servers: Vec<LdapServer>,
    /// How a user's entry is found.
    pub user: LdapUser,
    /// The attribute with the user's name as the directory keeps it. Default: the name as typed.
    pub account_attribute: Option<String>,
    /// The attribute with the user's lines. Default: a user has no line but the name.
    pub lines_attribute: Option<String>,
    /// How long one server may take, 1–60 s. Default 5 s.
    pub timeout: Duration,
    /// Connections at once, 1–100. Default 8.
    pub connections_max: usize,
}

/// A server of a directory. There is no way to it without TLS and its certificate checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LdapServer {
    /// The name that its certificate must show, or its address.
    pub host: String,
    /// Default 636; with StartTLS 389.
    pub port: u16,
    /// Whether TLS begins by StartTLS (`ldap://`) rather than at once (`ldaps://`).
    pub start_tls: bool,
}

/// How a user's entry is found.
#[derive(Clone, Debug)]
pub enum LdapUser {
    /// Its name is made of a template with `{user}` in it.
    Template(String),
    /// It is searched for.
    Search {
        /// Below this entry.
        base: String,
        /// A filter (RFC 4515) with `{user}` in it.
        filter: String,
        /// Who searches; nobody for an anonymous search.
        bind: Option<(String, Password)>,
    },
}
