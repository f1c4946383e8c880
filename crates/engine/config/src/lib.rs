//! The typed model of every setting, and what is wrong with a file of them.
//!
//! In: the text of a TOML file ([`load`]). Out: a [`Config`], immutable, or [`Finding`]s that
//! name line, cause and fix. Files that the configuration names (certificates, passwords) are
//! read above the I/O line. Unsafe settings cannot be written: there is no key for them.

#![forbid(unsafe_code)]

pub mod allow_list;
mod check;
pub mod document;
mod file;
pub mod inside;
mod model;
mod network;
pub mod pattern;
mod place;
mod range;
pub mod routing;
mod sign_in;
pub mod single_sign_on;

pub use network::{Network, NetworkError};
pub use place::line_of;
pub use range::{RANGES, Range};
pub use sign_in::{Ldap, LdapServer, LdapUser, SignInBy};

pub use check::{Checked, Finding, Severity, load};
pub use model::{
    AllowRule, Business, CHAT_NODE_ALIASES_MAX, CallControl, Calls, Certificate,
    ClientCertificates, Config, ContactMode, Core, Credentials, DigestAlgorithm, Domain, Edge,
    InsideTls, Log, LogFormat, MediaService, Overload, Password, Peer, Publisher, Rates, Role,
    Service, Traversal, XmppServer, Zone,
};
