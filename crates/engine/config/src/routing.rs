//! Where requests may go beside call control: zones, transforms and search rules (F143–F156).

use crate::pattern::{Behavior, Pattern};

/// The priority of a rule that a discovered node brings (F149).
pub const GENERATED_PRIORITY: u16 = 45;

/// The zone of whoever belongs to no other.
pub const DEFAULT_ZONE: &str = "DefaultZone";

/// What a target's name begins with that discovery made; nobody else may use it (F147, F152).
pub const GENERATED_PREFIXES: &[&str] = &["CEtcp-", "CEtls-", "CEOAuth"];

/// All of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Routing {
    /// Servers that calls are exchanged with, SIP trunks among them.
    pub neighbors: Vec<Neighbor>,
    /// Ways to domains that DNS knows.
    pub dns: Vec<DnsZone>,
    /// What is made of a destination before any rule sees it.
    pub transforms: Vec<Transform>,
    /// Which destination goes to which zone.
    pub rules: Vec<SearchRule>,
}

/// A neighbour zone: a SIP trunk, another proxy (F153, F154).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbor {
    /// What search rules call it.
    pub name: String,
    /// Up to six names or addresses, tried in this order.
    pub peers: Vec<String>,
    /// The port of each. Default 5061, 5060 over TCP.
    pub port: u16,
    /// TLS, else TCP. Default TLS.
    pub tls: bool,
    /// Whether the peer's certificate is checked. Default true.
    pub tls_verify: bool,
    /// The name that each peer's certificate must show. Default: the peer's.
    pub verify_name: Option<String>,
    /// How many servers a request may pass from here on, 1–255. Default 15.
    pub hop_count: u8,
    /// The same for what comes from the zone. Default: as it came.
    pub hop_count_in: Option<u8>,
    /// Whether what the zone sends counts as authenticated. Default no.
    pub trusted: bool,
    /// What media towards it must be. Default off: RTP, as call control speaks inside.
    pub media_encryption: MediaEncryption,
    /// What becomes of ICE candidates between it and clients. Default: removed.
    pub ice: Ice,
    /// Whether requests that its peers begin are taken. Default true.
    pub accept_incoming: bool,
    /// Whether its peers are asked by OPTIONS whether they live. Default true.
    pub monitor: bool,
}

/// A DNS zone: servers of foreign domains, found by SRV records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsZone {
    /// What search rules call it.
    pub name: String,
    /// How many servers a request may pass from here on, 1–255. Default 15.
    pub hop_count: u8,
}

/// What media of a zone must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MediaEncryption {
    /// Calls without SRTP are refused.
    Force,
    /// SRTP where the zone offers it.
    BestEffort,
    /// RTP.
    Off,
}

/// What becomes of ICE (RFC 8839) in descriptions between clients and a zone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Ice {
    /// Its lines are removed both ways.
    #[default]
    Remove,
    /// The client's lines reach the zone, the zone's do not reach clients: no address of the inside
    /// becomes known outside.
    Inward,
    /// Its lines pass both ways, byte for byte.
    Pass,
}

/// A change of the destination before rules see it. Only the first that matches counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transform {
    /// For people.
    pub name: String,
    /// 1 is tried first, 65534 last.
    pub priority: u16,
    /// What it applies to.
    pub pattern: Pattern,
    /// What it does.
    pub behavior: Behavior,
    /// Whether it counts.
    pub enabled: bool,
}

/// Whose requests a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Anybody's.
    Any,
    /// Clients' and zones', but not those of [`DEFAULT_ZONE`].
    AllZones,
    /// Clients that registered through this node.
    LocalZone,
    /// Those of one zone.
    Named(String),
}

/// Which destinations a rule is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mode {
    /// All.
    AnyAlias,
    /// Those whose host is an IP address.
    AnyIpAddress,
    /// Those that a pattern matches.
    Pattern(Pattern, Behavior),
}

/// A search rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SearchRule {
    /// For people.
    pub name: String,
    /// 1 is tried first, 65534 last; equal ones in the order of the file.
    pub priority: u16,
    /// Whose requests it is for.
    pub source: Source,
    /// Whether it is for authenticated requests only.
    pub authenticated: bool,
    /// Which destinations it is for.
    pub mode: Mode,
    /// Whether rules of lower priority are left out once it matched.
    pub stop: bool,
    /// The zone.
    pub target: String,
    /// Whether it counts.
    pub enabled: bool,
    /// Whether discovery made it: it cannot be edited (F152).
    pub generated: bool,
}
