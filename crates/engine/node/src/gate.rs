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
