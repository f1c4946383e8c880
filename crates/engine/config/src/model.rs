//! Every setting with its meaning, unit, range and default.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use base::{DomainName, HostName, Secret};

use crate::network::Network;
use crate::routing::{Ice, Routing};
use crate::sign_in::SignInBy;
use crate::single_sign_on::{SingleSignOn, Tokens};

/// A node's configuration.
#[derive(Clone, Debug)]
pub struct Config {
    /// The system host name: letters, digits and hyphens (F059).
    pub name: HostName,
    /// The DNS domain of this machine; name and domain make the fully qualified name (F055).
    pub domain: DomainName,
    /// Where keys, state and the local socket live. Default `data` beside the file.
    pub data: PathBuf,
    /// DNS servers; none for the system's own (F056, F057).
    pub dns: Vec<SocketAddr>,
    /// Our certificate and whom we trust.
    pub certificate: Certificate,
    /// What is logged, and how.
    pub log: Log,
    /// Where administrators reach the node. Default: nowhere but the local socket.
    pub administration: Vec<SocketAddr>,
    /// A file with the token that REST clients show. Default: none is accepted.
    pub administration_token: Option<PathBuf>,
    /// From when on work is refused because there is too much.
    pub overload: Overload,
    /// What the node is.
    pub role: Role,
}

/// How long messages wait for the node before each kind of work is refused. Each is at least the
/// one before.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Overload {
    /// Work of who is not registered. Default 160 ms.
    pub strangers: Duration,
    /// New dialogs and transactions. Default 200 ms.
    pub new: Duration,
    /// What belongs to dialogs. Default 400 ms.
    pub in_dialog: Duration,
    /// Refreshes of registrations. Default 800 ms.
    pub refreshes: Duration,
    /// How long it must be better before one kind less is refused. Default 1 s.
    pub step_down: Duration,
}

impl Default for Overload {
    fn default() -> Self {
        Overload {
            strangers: Duration::from_millis(160),
            new: Duration::from_millis(200),
            in_dialog: Duration::from_millis(400),
            refreshes: Duration::from_millis(800),
            step_down: Duration::from_secs(1),
        }
    }
}

impl Config {
    /// The fully qualified name.
    pub fn fqdn(&self) -> String {
        format!("{}.{}", self.name, self.domain)
    }
}

/// Edge or core.
#[derive(Clone, Debug)]
pub enum Role {
    /// In the DMZ.
    Edge(Box<Edge>),
    /// Inside.
    Core(Box<Core>),
}

/// Certificate files, in PEM.
#[derive(Clone, Debug)]
pub struct Certificate {
    /// Our certificate first, then those that signed it.
    pub chain: PathBuf,
    /// The private key.
    pub key: PathBuf,
    /// The authorities we trust.
    pub trusted: PathBuf,
    /// Aliases of chat nodes on IM and Presence, which certificates of both nodes carry where
    /// federated users share chat rooms (F211). At most [`CHAT_NODE_ALIASES_MAX`]. Default none.
    pub chat_node_aliases: Vec<DomainName>,
}

/// The most aliases of chat nodes.
pub const CHAT_NODE_ALIASES_MAX: usize = 64;

/// Logging.
#[derive(Clone, Debug)]
pub struct Log {
    /// `error`, `warn`, `info`, `debug` or `trace`, or a directive for each module. Default `info`.
    pub level: String,
    /// Default text.
    pub format: LogFormat,
    /// Default: standard error.
    pub file: Option<PathBuf>,
}

/// How a log line looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs: one JSON object a line.
    Json,
}

/// A service that clients reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Where it listens.
    pub listen: Vec<SocketAddr>,
    /// What clients are told: a name or an address. Default: the fully qualified name.
    pub advertise_host: String,
    /// What clients are told. Default: the port it listens on.
    pub advertise_port: u16,
}

/// Relayed media.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MediaService {
    /// The address of the ports.
    pub listen: IpAddr,
    /// What the other side is told, where static NAT stands in front (F064). Default: `listen`.
    pub advertise: IpAddr,
    /// The same two of the other family, on an edge that serves both.
    pub other: Option<(IpAddr, IpAddr)>,
    /// The ports, of each address. Default 36002–59999 on the edge, 36000–59999 on the core
    /// (F230–F244).
    pub ports: RangeInclusive<u16>,
}

impl MediaService {
    /// What is listened on, and what the other side is told of it: of one family, or of each.
    pub fn addresses(&self) -> impl Iterator<Item = (IpAddr, IpAddr)> {
        let first = (self.listen, self.advertise);
        std::iter::once(first).chain(self.other)
    }
}

/// What the edge needs to know.
#[derive(Clone, Debug)]
pub struct Edge {
    /// HTTPS for clients. Default port 8443.
    pub https: Service,
    /// SIP over TLS for clients. Default port 5061.
    pub sip: Service,
    /// The digest realm of the edge's challenges. Default: [`Config::domain`].
    pub sip_realm: String,
    /// What clients may answer the edge's challenges with, in order of preference (RFC 8760 §2.3).
    /// Default MD5 alone: libre 1.0, Jabber and TC know no other, and fail where another is only
    /// offered; all of it runs inside TLS.
    pub sip_digest: Vec<DigestAlgorithm>,
    /// XMPP for clients. Default port 5222.
    pub xmpp: Service,
    /// Media of clients.
    pub media: MediaService,
    /// Where cores reach the edge.
    pub traversal: Traversal,
    /// Which cores may.
    pub zones: Vec<Zone>,
    /// SIP, HTTPS and XMPP connections from one address, of each. Default 100.
    pub connections_per_source_max: usize,
    /// SIP, HTTPS and XMPP connections in all, of each. Default 20,000.
    pub connections_max: usize,
    /// Calls of and to foreign domains. Default: there are none.
    pub business: Option<Business>,
    /// How fast clients may come and ask.
    pub rates: Rates,
    /// Whether SIP clients are asked for a certificate.
    pub sip_client_certificates: ClientCertificates,
}

/// Calls between served and foreign domains, without registration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Business {
    /// Whether calls of foreign domains are taken. Default no.
    pub accept: bool,
    /// Whether foreign domains are called for the core. Default no.
    pub call: bool,
    /// The authorities of foreign domains; set where they are called.
    pub trusted: Option<PathBuf>,
    /// Addresses that may be dialled although they are not global. Default none.
    pub reach: Vec<Network>,
    /// Such calls at once. Default 20.
    pub calls_max: usize,
    /// Attempts of one source a minute, 1–600. Default 10.
    pub calls_per_minute: u32,
    /// Calls at once of one source. Default: a quarter of [`Business::calls_max`].
    pub calls_per_source: usize,
    /// How long such a call may ring. Default 60 s.
    pub ringing_max: Duration,
}

/// How fast clients may come and ask, a second, and how much at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rates {
    /// TLS handshakes from one address (IPv4) or /64 (IPv6), with SIP, HTTPS and XMPP each.
    /// Default 20.
    pub handshakes_per_source: u32,
    /// TLS handshakes in all, with SIP, HTTPS and XMPP each; more wait. Default 250.
    pub handshakes: u32,
    /// SIP requests from one connection. A telephone that starts subscribes to the state of a
    /// hundred others. Default 20.
    pub requests_per_connection: u32,
    /// SIP requests of clients that are not registered, from one address or /64. Default 50.
    pub requests_per_source: u32,
    /// New dialogs and transactions of one user, over all connections. Default 40.
    pub requests_per_user: u32,
    /// How many times its rate a source, connection or user may come or ask at once, 1–100.
    /// Default 10.
    pub burst: u32,
    /// Refusals without any success after which a connection is closed; one a second is forgiven.
    /// A telephone that lost its registration without noticing may ask for a hundred things first.
    /// Default 300.
    pub refusals_max: u32,
    /// New registrations that cores have not answered. More would only wait inside: so many leave
    /// as fast as cores take them. Default 500.
    pub registrations_pending_max: usize,
    /// Calls at once of one user, over all connections, or of one address or /64 that shows no
    /// registration. Default 100.
    pub calls_per_user: usize,
    /// Pairs of media ports that those calls may have. Default 300.
    pub media_ports_per_user: usize,
}

impl Default for Rates {
    fn default() -> Self {
        Rates {
            handshakes_per_source: 20,
            handshakes: 250,
            requests_per_connection: 20,
            requests_per_source: 50,
            requests_per_user: 40,
            burst: 10,
            refusals_max: 300,
            registrations_pending_max: 500,
            calls_per_user: 100,
            media_ports_per_user: 300,
        }
    }
}

/// Whether clients are asked for a certificate. It is an additional proof, and never takes the
/// place of the digest.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum ClientCertificates {
    /// Not asked for.
    #[default]
    Off,
    /// Asked for; one that is shown must be valid. The file holds the authorities, in PEM.
    Request(PathBuf),
    /// Nobody without a valid one gets in. The file holds the authorities, in PEM.
    Require(PathBuf),
}

/// A hash of a digest challenge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestAlgorithm {
    /// RFC 3261 §22.
    Md5,
    /// RFC 8760.
    Sha256,
}

/// Where cores reach the edge.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Traversal {
    /// SIP and control over mutual TLS. Default port 7001.
    pub sip: SocketAddr,
    /// HTTP in SSH. Default port 2222.
    pub ssh: SocketAddr,
    /// XMPP over mutual TLS. Default port 7400.
    pub xmpp: SocketAddr,
    /// The link's media: the address.
    pub media: IpAddr,
    /// The link's media: RTP and RTCP ports. Default 36000 and 36001 (F230, F247).
    pub media_ports: (u16, u16),
    /// What a core writes into descriptions for the edge. Default: [`Traversal::media`].
    pub media_advertise: IpAddr,
}

/// A Unified Communications traversal zone on the edge: the server's side (F182–F190).
#[derive(Clone, Debug)]
pub struct Zone {
    /// For people.
    pub name: String,
    /// The names a core's certificate must show one of.
    pub verify_names: Vec<String>,
    /// The credentials a core must know.
    pub user: String,
    /// The credentials a core must know.
    pub password: Password,
    /// How many servers a request may pass from the core on, 1–255. Default 15.
    pub hop_count: u8,
}

/// Where a password comes from.
#[derive(Clone, Debug)]
pub enum Password {
    /// The file itself.
    Given(Secret<String>),
    /// The first line of another file.
    File(PathBuf),
}

/// What the core needs to know.
#[derive(Clone, Debug)]
pub struct Core {
    /// Edges to dial, up to six.
    pub peers: Vec<Peer>,
    /// Where call control reaches the core: TCP. Default port 5060.
    pub sip: Vec<SocketAddr>,
    /// Where call control reaches the core: TLS. Default: nowhere.
    pub sip_tls: Vec<SocketAddr>,
    /// Who may send there, beside the addresses of call control. Default: nobody.
    pub sip_from: Vec<Network>,
    /// Media of the inside, and the source of media to edges.
    pub media: MediaService,
    /// What is served.
    pub domains: Vec<Domain>,
    /// Unified CM publishers.
    pub unified_cm: Vec<Publisher>,
    /// IM and presence publishers.
    pub im_presence: Vec<Publisher>,
    /// Unity Connection servers.
    pub unity_connection: Vec<Publisher>,
    /// SIP registrars that are no Unified CM.
    pub call_control: Vec<CallControl>,
    /// XMPP servers, for domains whose server is not discovered.
    pub xmpp: Vec<XmppServer>,
    /// Inside web servers that clients may reach, beside those that are discovered.
    pub allow_list: Vec<AllowRule>,
    /// How long credentials are kept.
    pub credentials: Credentials,
    /// How many calls and registrations there may be.
    pub calls: Calls,
    /// Where requests may go beside call control.
    pub routing: Routing,
}

/// How many calls and registrations there may be (F272–F278).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Calls {
    /// Licences for rich media sessions: one for a video call, or for two audio-only ones.
    /// Default: as many as there are calls.
    pub licences: Option<usize>,
    /// Calls at once, of all types. Default 2,000: what one processor core was measured to
    /// carry as audio.
    pub concurrent_max: usize,
    /// Calls at once of one user, behind whichever edge. Default 100.
    pub per_user_max: usize,
    /// Media streams that those calls may have. Default 300.
    pub media_per_user_max: usize,
    /// Registrations at once. Default: as many as there is room for.
    pub registrations_max: Option<usize>,
    /// The session interval (RFC 4028) that is asked for where neither end of a call names one.
    /// Default 1,800 s.
    pub session_interval: Duration,
}

/// A traversal client: one edge to dial.
#[derive(Clone, Debug)]
pub struct Peer {
    /// For people.
    pub name: String,
    /// Name or address to dial.
    pub dial: String,
    /// The name its certificate must show: another setting than where to dial, so that no NAT
    /// reflection is needed (F064, F065).
    pub verify_name: String,
    /// The zone's credentials.
    pub user: String,
    /// The zone's credentials.
    pub password: Password,
    /// Default 7001.
    pub sip_port: u16,
    /// Default 2222.
    pub ssh_port: u16,
    /// Default 7400.
    pub xmpp_port: u16,
    /// Default 36000 and 36001.
    pub media_ports: (u16, u16),
    /// How many servers a request may pass from the edge on, 1–255. Default 15.
    pub hop_count: u8,
}

/// A domain and what of it is served (F101–F107).
#[derive(Clone, Debug)]
pub struct Domain {
    /// Its name.
    pub name: DomainName,
    /// SIP registrations and provisioning. Default true.
    pub sip: bool,
    /// IM and presence. Default true.
    pub im_presence: bool,
    /// XMPP federation. Default false.
    pub federation: bool,
    /// Names of [`CallControl`] entries that its clients register with. Default: all there are, or
    /// Unified CM where there is none.
    pub call_control: Vec<String>,
    /// What numbers of its users begin with, in digits; the rest is the extension. Default: none.
    pub extensions_of: Vec<String>,
    /// Who checks the passwords of its users. Default: Unified CM.
    pub sign_in: SignInBy,
    /// An identity provider by which its users sign in. Default: they sign in by password.
    pub single_sign_on: Option<SingleSignOn>,
    /// Bearer tokens that its users may show. Default: none.
    pub tokens: Option<Tokens>,
}

/// A server that is asked for the nodes of its cluster.
#[derive(Clone, Debug)]
pub struct Publisher {
    /// Name or address.
    pub address: String,
    /// The port of its web services. Default 8443; 443 for Unity Connection.
    pub port: u16,
    /// An account with the Standard AXL API Access role (F116, F126).
    pub user: String,
    /// Its password.
    pub password: Password,
    /// Whether the server's certificate is checked. Default true (F117).
    pub tls_verify: bool,
    /// What becomes of a client's Contact on its way to a node. Default [`ContactMode::Rewrite`].
    pub contact: ContactMode,
    /// What becomes of ICE candidates between its nodes and clients. Default: removed.
    pub ice: Ice,
}

/// A SIP registrar that is no Unified CM.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallControl {
    /// For people, and the name of its zone.
    pub name: String,
    /// Name or address.
    pub host: String,
    /// Default 5060, 5061 with TLS.
    pub port: u16,
    /// Whether SRV records of the host, if it has any, say where it is: if no port is written
    /// (RFC 3263 §4.2).
    pub srv: bool,
    /// TLS with the certificate checked. Default TCP.
    pub tls: bool,
    /// What becomes of a client's Contact. Default [`ContactMode::Path`].
    pub contact: ContactMode,
    /// What becomes of ICE candidates between it and clients. Default: removed.
    pub ice: Ice,
}

/// What becomes of a client's Contact on its way to call control.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ContactMode {
    /// It stays, and the core adds itself as Path (RFC 3327).
    Path,
    /// Its host becomes the core's, as Unified CM expects.
    Rewrite,
}

/// The XMPP server of a domain.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct XmppServer {
    /// The domain.
    pub domain: DomainName,
    /// Name or address.
    pub host: String,
    /// Default 5222.
    pub port: u16,
    /// Default opportunistic.
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

/// An inside web server that clients may reach (F158–F165).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowRule {
    /// Name or address.
    pub host: String,
    /// `http` or `https`. Default `https`.
    pub scheme: String,
    /// Default: the scheme's.
    pub port: u16,
    /// The path must begin so, at a segment's end, or be this. Default `/`.
    pub path: String,
    /// Whether the path must be this.
    pub exact: bool,
    /// Methods. Default GET, HEAD.
    pub methods: Vec<String>,
    /// Whether the server is told the client's address by PROXY v2. Default: no.
    pub proxy_protocol: bool,
    /// For people.
    pub description: String,
}

/// How long credentials are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Credentials {
    /// After this a user is checked again. Default 480 min (F268).
    pub refresh: Duration,
    /// After this they are forgotten. Default 720 min (F269).
    pub cleanup: Duration,
    /// Users that never sign in over HTTPS: lines of
    /// `user:realm:MD5 HA1:SHA-256 HA1[:line,line]`.
    pub file: Option<PathBuf>,
}
