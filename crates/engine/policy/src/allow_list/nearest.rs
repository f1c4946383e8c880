//! Why a request is not let through: the rules that come nearest, and what each of them lacks.

use super::{Access, AllowList, Host};

/// Rules that are told of.
const NEAR_MAX: usize = 3;

/// A rule that nearly lets a request through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Near {
    /// Its place in the list.
    pub rule: usize,
    /// What stands against it, in words.
    pub missing: Vec<String>,
}

impl AllowList {
    /// The rules for a request's host, those that lack least first, three at most; none if no
    /// rule names the host.
    pub fn nearest(&self, access: &Access<'_>) -> Vec<Near> {
        let host = Host::of(access.host);
        let rows = self.rules.iter().zip(&self.entries).enumerate();
        let mut near: Vec<Near> = rows
            .filter(|(_, (_, entry))| entry.host == host)
            .map(|(rule, _)| Near {
                rule,
                missing: self.missing(rule, access),
            })
            .collect();
        near.sort_by_key(|n| n.missing.len());
        near.truncate(NEAR_MAX);
        near
    }

    fn missing(&self, rule: usize, access: &Access<'_>) -> Vec<String> {
        let Some(rule) = self.rules.get(rule) else {
            return Vec::new();
        };
        let mut missing = Vec::new();
        if rule.scheme != access.scheme {
            missing.push(format!("scheme is {}, not {}", rule.scheme, access.scheme));
        }
        if rule.port != access.port {
            missing.push(format!("port is {}, not {}", rule.port, access.port));
        }
        if !rule.has_method(access.method) {
            let methods = rule.methods.join(", ");
            missing.push(format!("methods are {methods}, not {}", access.method));
        }
        if !rule.has_path(access.path) {
            let must = if rule.exact { "be" } else { "begin with" };
            missing.push(format!("path must {must} {}", rule.path));
        }
        missing
    }
}
