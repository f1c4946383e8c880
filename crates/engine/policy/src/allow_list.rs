//! Where the core's HTTP requests may lead (F157–F168).
//!
//! A request is let through by a rule that names its scheme, host, port, its path or a prefix of
//! it, and its method. Automatic rules come with discovered servers, the others from the
//! configuration.
//!
//! A host is matched in three ways, and whoever asks learns which: by its name or address as it
//! is written ([`AllowList::check`]); a name by the addresses that DNS gives for it, where a rule
//! names one of them ([`AllowList::check_addresses`], F165); an address that is one of a
//! discovered server's ([`AllowList::owners`], F166). Nothing here asks DNS. In the last two, the
//! address that matched is the one to dial, without asking again.

mod ledger;
mod nearest;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;

pub use ledger::{DENIED_MAX, Denied, Hits, Ledger};
pub use nearest::Near;

/// A request, as far as the list cares. The path is normalised: no dot segments, no escapes of
/// separators.
#[derive(Clone, Copy, Debug)]
pub struct Access<'a> {
    /// `http` or `https`.
    pub scheme: &'a str,
    /// Name or address.
    pub host: &'a str,
    /// The port.
    pub port: u16,
    /// The path, beginning with a slash.
    pub path: &'a str,
    /// The method.
    pub method: &'a str,
}

/// May it pass?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Yes.
    Allow {
        /// The rule's place in the list.
        rule: usize,
        /// Whether the server's certificate is checked.
        tls_verify: bool,
    },
    /// No rule names it.
    Deny,
}

/// Where a rule comes from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Origin {
    /// `allow_list` in the configuration.
    Configured,
    /// A node that this Unified CM publisher told of, or the publisher.
    UnifiedCm(String),
    /// A node that this IM and presence publisher told of, or the publisher.
    ImPresence(String),
    /// A configured voicemail server.
    UnityConnection,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Rule {
    /// `http` or `https`.
    pub scheme: String,
    /// Name or address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path is this, or begins so, at a segment's end.
    pub path: String,
    /// Whether the path is the whole path.
    pub exact: bool,
    /// Methods.
    pub methods: Vec<String>,
    /// Whether the server's certificate is checked.
    pub tls_verify: bool,
    /// Whether the server is told the client's address by PROXY v2.
    pub proxy_protocol: bool,
    /// Where it comes from.
    pub origin: Origin,
    /// For people.
    pub description: String,
}

impl Rule {
    /// Whether the program made it; such rules cannot be deleted (F166).
    pub fn is_automatic(&self) -> bool {
        self.origin != Origin::Configured
    }

    /// All but the host.
    fn covers(&self, access: &Access<'_>) -> bool {
        self.port == access.port
            && self.scheme == access.scheme
            && self.has_method(access.method)
            && self.has_path(access.path)
    }

    fn has_method(&self, method: &str) -> bool {
        self.methods.iter().any(|m| m == method)
    }

    fn has_path(&self, path: &str) -> bool {
        if self.exact {
            self.path == path
        } else {
            under(&self.path, path)
        }
    }
}

/// A host, spelt so that equal ones are equal: names without regard to case or a final dot,
/// addresses by value, so that no other spelling of one gets past a rule or around it.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    Address(IpAddr),
    Name(String),
}

impl Host {
    fn of(text: &str) -> Host {
        let bare = text.trim_matches(['[', ']']).trim_end_matches('.');
        match bare.parse::<IpAddr>() {
            Ok(address) => Host::Address(address.to_canonical()),
            Err(_) => Host::Name(bare.to_ascii_lowercase()),
        }
    }
}

#[derive(Clone, Debug)]
struct Entry {
    host: Host,
    id: u64,
}

/// All rules.
#[derive(Clone, Debug, Default)]
pub struct AllowList {
    rules: Vec<Rule>,
    /// One for each rule.
    entries: Vec<Entry>,
}

impl AllowList {
    /// From rules, the first that matches counts.
    pub fn new(rules: Vec<Rule>) -> Self {
        let entries = rules.iter().map(|rule| {
            let mut hasher = DefaultHasher::new();
            rule.hash(&mut hasher);
            Entry {
                host: Host::of(&rule.host),
                id: hasher.finish(),
            }
        });
        AllowList {
            entries: entries.collect(),
            rules,
        }
    }

    /// The verdict on a request whose host stands in the list as it is written.
    pub fn check(&self, access: &Access<'_>) -> Verdict {
        let host = Host::of(access.host);
        let found = self.covering(access).find(|(_, _, e)| e.host == host);
        found.map_or(Verdict::Deny, |(at, rule, _)| Verdict::Allow {
            rule: at,
            tls_verify: rule.tls_verify,
        })
    }

    /// Whether the addresses of the request's host could let it through: it is a name, and a rule
    /// that names an address fits in all else. Otherwise DNS need not be asked.
    pub fn wants_addresses(&self, access: &Access<'_>) -> bool {
        matches!(Host::of(access.host), Host::Name(_))
            && self
                .covering(access)
                .any(|(_, _, e)| matches!(e.host, Host::Address(_)))
    }

    /// The first rule that names one of the addresses of the request's host, and that address:
    /// this one is to be dialled, and no other.
    pub fn check_addresses(
        &self,
        access: &Access<'_>,
        addresses: &[IpAddr],
    ) -> Option<(usize, IpAddr)> {
        if matches!(Host::of(access.host), Host::Address(_)) {
            return None;
        }
        self.covering(access).find_map(|(at, _, entry)| {
            let listed = |ip: &&IpAddr| entry.host == Host::Address(ip.to_canonical());
            Some((at, *addresses.iter().find(listed)?))
        })
    }

    /// Automatic rules for named servers that fit a request to an address in all but the host, by
    /// place: it passes if the address is one of such a server's (F166).
    pub fn owners(&self, access: &Access<'_>) -> Vec<usize> {
        if matches!(Host::of(access.host), Host::Name(_)) {
            return Vec::new();
        }
        self.covering(access)
            .filter(|(_, rule, e)| rule.is_automatic() && matches!(e.host, Host::Name(_)))
            .map(|(at, _, _)| at)
            .collect()
    }

    /// The rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }

    /// What a rule is known by as long as it says the same, wherever it stands.
    pub fn id(&self, rule: usize) -> Option<u64> {
        self.entries.get(rule).map(|e| e.id)
    }

    fn covering(&self, access: &Access<'_>) -> impl Iterator<Item = (usize, &Rule, &Entry)> {
        let rows = self.rules.iter().zip(&self.entries).enumerate();
        rows.filter(|(_, (rule, _))| rule.covers(access))
            .map(|(at, (rule, entry))| (at, rule, entry))
    }
}

/// Whether a path lies under a prefix: `/a` holds `/a` and `/a/b`, not `/ab`.
fn under(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests;
