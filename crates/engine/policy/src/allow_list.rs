//! Where the core's HTTP requests may lead (F157–F168).
//!
//! A request is let through by a rule that names its scheme, host, port, a prefix of its path and
//! its method. Automatic rules come with discovered servers, the others from the configuration.

use std::net::IpAddr;

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
        /// Whether the server's certificate is checked.
        tls_verify: bool,
    },
    /// No rule names it.
    Deny,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// `http` or `https`.
    pub scheme: String,
    /// Name or address.
    pub host: String,
    /// The port.
    pub port: u16,
    /// The path begins so, at a segment's end.
    pub path: String,
    /// Methods.
    pub methods: Vec<String>,
    /// Whether the server's certificate is checked.
    pub tls_verify: bool,
    /// Whether discovery made it; such rules cannot be deleted.
    pub automatic: bool,
}

impl Rule {
    fn matches(&self, access: &Access<'_>) -> bool {
        self.port == access.port
            && self.scheme == access.scheme
            && same_host(&self.host, access.host)
            && self.methods.iter().any(|m| m == access.method)
            && under(&self.path, access.path)
    }
}

/// All rules.
#[derive(Clone, Debug, Default)]
pub struct AllowList {
    rules: Vec<Rule>,
}

impl AllowList {
    /// From rules, the first that matches counts.
    pub fn new(rules: Vec<Rule>) -> Self {
        AllowList { rules }
    }

    /// The verdict on a request.
    pub fn check(&self, access: &Access<'_>) -> Verdict {
        match self.rules.iter().find(|r| r.matches(access)) {
            Some(rule) => Verdict::Allow {
                tls_verify: rule.tls_verify,
            },
            None => Verdict::Deny,
        }
    }

    /// The rules.
    pub fn rules(&self) -> &[Rule] {
        &self.rules
    }
}

/// Names without regard to case or a final dot; addresses by value, so that no other spelling of
/// one gets past a rule or around it.
fn same_host(rule: &str, host: &str) -> bool {
    let plain = |s: &str| {
        s.trim_matches(['[', ']'])
            .trim_end_matches('.')
            .to_ascii_lowercase()
    };
    let (rule, host) = (plain(rule), plain(host));
    match (rule.parse::<IpAddr>(), host.parse::<IpAddr>()) {
        (Ok(a), Ok(b)) => a.to_canonical() == b.to_canonical(),
        (Err(_), Err(_)) => rule == host,
        _ => false,
    }
}

/// Whether a path lies under a prefix: `/a` holds `/a` and `/a/b`, not `/ab`.
fn under(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix)
        .is_some_and(|rest| prefix.ends_with('/') || rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_rule_names_passes() {
        let rule = |host: &str, path: &str| Rule {
            scheme: "https".into(),
            host: host.into(),
            port: 8443,
            path: path.into(),
            methods: vec!["GET".into()],
            tls_verify: true,
            automatic: false,
        };
        let list = AllowList::new(vec![
            rule("cucm1.example.test", "/cucm-uds"),
            rule("10.0.0.9", "/"),
        ]);
        let good = Access {
            scheme: "https",
            host: "CUCM1.example.test.",
            port: 8443,
            path: "/cucm-uds/user/alice",
            method: "GET",
        };
        let yes = Verdict::Allow { tls_verify: true };
        assert_eq!(list.check(&good), yes);
        assert_eq!(
            list.check(&Access {
                host: "::ffff:10.0.0.9",
                path: "/x",
                ..good
            }),
            yes
        );
        for bad in [
            Access {
                scheme: "http",
                ..good
            },
            Access {
                host: "cucm1.example.test.evil",
                ..good
            },
            Access {
                host: "127.0.0.1",
                ..good
            },
            Access { port: 443, ..good },
            Access {
                path: "/cucm-udsx",
                ..good
            },
            Access { path: "/", ..good },
            Access {
                method: "PUT",
                ..good
            },
        ] {
            assert_eq!(list.check(&bad), Verdict::Deny, "{bad:?}");
        }
    }
}
