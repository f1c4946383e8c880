//! Verdicts that tasks read without asking the node: immutable snapshots, replaced as a whole.

use std::sync::Arc;

use policy::allow_list::AllowList;
use policy::signed_out::SignedOut;
use traversal::DomainOffer;

/// What the edge's HTTP and XMPP tasks may let through.
#[derive(Debug, Default)]
pub struct EdgeGate {
    /// Cores whose link is up, the preferred one first.
    pub cores: Vec<EdgeGateCore>,
}

/// One live core.
#[derive(Debug)]
pub struct EdgeGateCore {
    /// Index of its traversal zone, which names its lanes.
    pub peer: usize,
    /// Its fully qualified name, which is also the issuer of its session tokens.
    pub node: String,
    /// The key that checks its session tokens.
    pub token_key: policy::token::PublicKey,
    /// What it lets the edge serve.
    pub domains: Vec<DomainOffer>,
    /// Users whom it has signed out.
    pub signed_out: SignedOut,
    /// Its clock minus ours in milliseconds, while they differ so much that it is told.
    pub skew_ms: Option<i64>,
}

impl EdgeGateCore {
    /// Whether it judges bearer tokens of a domain's issuer.
    pub fn takes_tokens(&self, domain: &str) -> bool {
        let mut domains = self.domains.iter();
        domains.any(|d| d.tokens && d.name.as_str().eq_ignore_ascii_case(domain))
    }

    /// Whether users of a domain sign in by an identity provider.
    pub fn signs_on(&self, domain: &str) -> bool {
        let mut domains = self.domains.iter();
        domains.any(|d| d.sso && d.name.as_str().eq_ignore_ascii_case(domain))
    }

    /// Whether a log-in was begun there, by the cookie that its browser holds.
    fn began(&self, cookie: &str) -> bool {
        let mark = cookie.split_once('.').map(|(mark, _)| mark);
        mark == Some(core_mark(&self.token_key).as_str())
    }
}

/// How many characters of a core's mark there are: by chance no two are alike.
const MARK: usize = 16;

/// The requests of the edge's own lane that every domain's users make; the others are made where
/// an identity provider vouches.
const EVERYBODYS: [&str; 2] = ["get_edge_config", "get_edge_sso"];

/// What tells one core from another in a browser's cookie. It follows from what every edge knows
/// of the core, and says nothing of the inside.
pub fn core_mark(key: &policy::token::PublicKey) -> String {
    let mut mark = sso::sha256_base64url(&key.to_hex());
    mark.truncate(MARK);
    mark
}

impl EdgeGate {
    /// Cores that serve a domain (compared without regard to case).
    pub fn serving<'a>(&'a self, domain: &'a str) -> impl Iterator<Item = &'a EdgeGateCore> {
        self.cores.iter().filter(move |c| {
            c.domains
                .iter()
                .any(|d| d.name.as_str().eq_ignore_ascii_case(domain))
        })
    }

    /// Cores that may answer a request of the edge's own lane, the best first. A browser that comes
    /// back from its identity provider belongs to the core at which it began, as its `cookie` says;
    /// `prefers` says whose session a client shows. Whoever else answers knows nothing of either,
    /// and says so: where a request goes opens nothing.
    pub fn answering<'a>(
        &'a self,
        domain: &'a str,
        path: &str,
        cookie: Option<&str>,
        prefers: impl Fn(&EdgeGateCore) -> bool,
    ) -> Vec<&'a EdgeGateCore> {
        let name = path.trim_matches('/');
        let mut cores: Vec<&EdgeGateCore> = self.serving(domain).collect();
        if !EVERYBODYS.contains(&name) {
            cores.retain(|core| core.signs_on(domain));
        }
        let best = |core: &EdgeGateCore| match name {
            "oidc" | "fedlet" => cookie.is_some_and(|cookie| core.began(cookie)),
            "get_edge_config" => prefers(core),
            _ => false,
        };
        cores.sort_by_key(|core| !best(core));
        cores
    }
}

/// What the core's HTTP and XMPP tasks may let through.
#[derive(Debug)]
pub struct CoreGate {
    /// Domains served.
    pub domains: Vec<DomainOffer>,
    /// Where the core's requests may lead.
    pub allow_list: Arc<AllowList>,
    /// The key that checks this core's session tokens.
    pub token_key: policy::token::PublicKey,
    /// Users who were signed out.
    pub signed_out: SignedOut,
    /// XMPP servers by domain.
    pub xmpp: Vec<XmppServer>,
    /// Whose bearer tokens count, by domain.
    pub bearers: Vec<Bearer>,
}

/// Whose bearer tokens count for a domain.
#[derive(Clone, Debug)]
pub struct Bearer {
    /// The domain.
    pub domain: String,
    /// What they must say.
    pub rules: sso::bearer::Rules,
    /// The issuer's keys, as they were known when this snapshot was made.
    pub keys: Arc<sso::jws::Keys>,
}

impl CoreGate {
    /// Lets nothing through: what holds until the node has spoken.
    pub fn closed(token_key: policy::token::PublicKey) -> Self {
        CoreGate {
            domains: Vec::new(),
            allow_list: Arc::default(),
            token_key,
            signed_out: SignedOut::default(),
            xmpp: Vec::new(),
            bearers: Vec::new(),
        }
    }
}

/// Where the XMPP of a domain lives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XmppServer {
    /// The domain.
    pub domain: String,
    /// Name or address.
    pub host: String,
    /// The port, 5222 by default.
    pub port: u16,
    /// How TLS is used inside.
    pub tls: InsideTls,
}

/// How TLS is used towards an inside server that may offer STARTTLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InsideTls {
    /// Never.
    Off,
    /// When offered; the certificate is not checked.
    Opportunistic,
    /// Always, with the certificate checked.
    Required,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn core(peer: usize, sso: bool) -> EdgeGateCore {
        let key = policy::token::TokenKey::from_seed(&[peer as u8 + 1; 32]).unwrap();
        let name = "example.test".parse().unwrap();
        EdgeGateCore {
            peer,
            node: format!("core{peer}"),
            token_key: key.public(),
            domains: vec![DomainOffer {
                name,
                sip: true,
                im_presence: true,
                federation: false,
                tokens: false,
                sso,
            }],
            signed_out: SignedOut::default(),
            skew_ms: None,
        }
    }

    #[test]
    fn a_browser_comes_back_to_the_core_at_which_it_began_if_that_is_there() {
        let mut gate = EdgeGate {
            cores: vec![core(0, true), core(1, true), core(2, false)],
        };
        let peers = |gate: &EdgeGate, path: &str, cookie: Option<&str>| -> Vec<usize> {
            let cores = gate.answering("Example.Test", path, cookie, |core| core.peer == 2);
            cores.iter().map(|core| core.peer).collect()
        };
        let cookie = format!("{}.boot.secret", core_mark(&gate.cores[1].token_key));
        for path in ["/oidc", "/fedlet", "fedlet/"] {
            assert_eq!(peers(&gate, path, Some(&cookie)), [1, 0]);
            assert_eq!(peers(&gate, path, Some("x.y.z")), [0, 1]);
            assert_eq!(peers(&gate, path, Some("")), [0, 1]);
            assert_eq!(peers(&gate, path, None), [0, 1]);
        }
        // It says nothing of other requests.
        assert_eq!(peers(&gate, "/authorize", Some(&cookie)), [0, 1]);
        assert_eq!(peers(&gate, "/get_edge_sso", Some(&cookie)), [0, 1, 2]);
        assert_eq!(peers(&gate, "/get_edge_config", Some(&cookie)), [2, 0, 1]);
        gate.cores.remove(1);
        assert_eq!(peers(&gate, "/oidc", Some(&cookie)), [0]);
    }
}
