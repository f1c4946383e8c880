//! What the allow list makes of a request, with DNS: the address that was judged is the one that
//! is dialled.
//!
//! In: a server, method and path, as requests of clients, redirects of inside servers and testers
//! name them. Out: a [`Ruling`]: the addresses to dial, each judged by itself, and the name that a
//! certificate must show; or a refusal. DNS is asked about a name once for a request, and not at
//! all if no rule could let the name through whatever its addresses. For an address it is asked
//! about the discovered servers whose address it could be: 64 of them at most, within 3 s. If DNS
//! does not answer, nothing is refused: it cannot be told. Each rule's hits are counted, and what
//! was refused to signed-in users is kept for an administrator
//! ([`policy::allow_list::Ledger`]).

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use config::allow_list as text;
use net::{dns, tls};
use node::gate::CoreGate;
use node::io::{Answer, Question};
use policy::allow_list::{Access, AllowList, Denied, Ledger, Origin, Rule, Verdict};
use provisioning::path::{EdgePath, Server};
use status::{
    AllowListReport, AllowRow, AllowTest, AllowVerdict, DeniedReport, DeniedRow, NearRow, Pii,
};
use tokio::task::JoinSet;

use crate::signal::{Clock, Handle};

/// Discovered servers asked about for one request to an address.
const OWNERS_MAX: usize = 64;

/// Addresses of a name that are dialled, one after the other.
pub const ADDRESSES_MAX: usize = 4;

/// How long all of them may take.
const OWNERS_TIME: Duration = Duration::from_secs(3);

/// The list, DNS and the ledger; cheap to clone.
#[derive(Clone)]
pub struct Guard {
    list: List,
    resolver: dns::Resolver,
    never: Arc<[SocketAddr]>,
    clock: Clock,
    ledger: Arc<Mutex<Ledger>>,
    live: bool,
    /// Where the configured rules stand, and who is told of them.
    source: Option<(Arc<Path>, Handle)>,
}

#[derive(Clone)]
enum List {
    Live(tls::Live<CoreGate>),
    Fixed(Arc<AllowList>),
}

/// What becomes of a request.
#[derive(Debug)]
pub enum Ruling {
    /// It passes.
    Pass {
        /// The rule's place in the list.
        rule: usize,
        /// This is dialled, and nothing else but the `others`.
        address: SocketAddr,
        /// Where it cannot be reached these are, in their order: addresses of the same name that
        /// pass likewise, [`ADDRESSES_MAX`] with the first.
        others: Vec<SocketAddr>,
        /// The name that the server's certificate must show.
        name: String,
        /// Whether the certificate is checked.
        tls_verify: bool,
        /// Whether the server is told the client's address by PROXY v2.
        proxy_protocol: bool,
    },
    /// No rule lets it through.
    Deny,
    /// A rule does, but it leads to an address that is never dialled.
    Never {
        /// The rule's place in the list.
        rule: usize,
        /// Why not.
        cause: &'static str,
    },
    /// A rule does, but DNS gives no address; or DNS does not answer, so that it cannot be told
    /// whether one does.
    NoAddress {
        /// The rule's place in the list, if one names the server.
        rule: Option<usize>,
        /// What DNS said.
        error: net::Error,
    },
}

impl Guard {
    /// Of a running core. `never` are addresses not to dial: its own listeners.
    pub fn new(
        gate: tls::Live<CoreGate>,
        resolver: dns::Resolver,
        never: Arc<[SocketAddr]>,
        clock: Clock,
        ledger: Arc<Mutex<Ledger>>,
    ) -> Self {
        Guard {
            list: List::Live(gate),
            resolver,
            never,
            clock,
            ledger,
            live: true,
            source: None,
        }
    }

    /// The same, with the file that the configured rules stand in.
    pub fn of_file(self, path: &Path, handle: Handle) -> Self {
        Guard {
            source: Some((path.into(), handle)),
            ..self
        }
    }

    /// Reads the configured rules anew, and lets them count at once; what else has changed in the
    /// file does not. The rules that count then.
    ///
    /// # Errors
    /// Why none were taken, in words.
    pub async fn reload(&self) -> Result<AllowListReport, String> {
        let (path, handle) = self.source.clone().ok_or("this node runs by no file")?;
        let read = tokio::task::spawn_blocking(move || rules_of(&path));
        let rules = read.await.map_err(|e| e.to_string())??;
        match handle.ask(Question::AllowList(rules)).await {
            Ok(Answer::AllowList(true)) => Ok(self.report()),
            Ok(_) => Err("this node is an edge".into()),
            Err(_) => Err("the node is stopping".into()),
        }
    }

    /// Of a configuration alone: nothing is discovered, nothing counted.
    ///
    /// # Errors
    /// If the system's DNS settings cannot be read.
    pub fn offline(config: config::Config) -> Result<Self, net::Error> {
        let resolver = dns::Resolver::new(&config.dns, base::Rng::from_seed(net::random_seed()?))?;
        let config = Arc::new(config);
        let list = node::configured_allow_list(Clock::start().now(), &config);
        Ok(Guard {
            never: never(&config),
            live: false,
            ..Guard::fixed(Arc::new(list), resolver)
        })
    }

    /// Of a list that stays as it is.
    fn fixed(list: Arc<AllowList>, resolver: dns::Resolver) -> Self {
        Guard {
            list: List::Fixed(list),
            resolver,
            never: Arc::new([]),
            clock: Clock::start(),
            ledger: Arc::default(),
            live: true,
            source: None,
        }
    }

    /// Judges a request, asks DNS for what that needs, and counts a hit if it passes.
    pub async fn admit(&self, server: &Server, method: &str, path: &str) -> Ruling {
        let list = self.list();
        let ruling = self.with_list(server, method, path, &list).await;
        if let Ruling::Pass { rule, .. } = ruling
            && let Some(id) = list.id(rule)
        {
            self.ledger().hit(self.clock.now().unix, id);
        }
        ruling
    }

    /// The same without counting: for a redirect, which a client may follow or not.
    pub async fn judge(&self, server: &Server, method: &str, path: &str) -> Ruling {
        self.with_list(server, method, path, &self.list()).await
    }

    async fn with_list(
        &self,
        server: &Server,
        method: &str,
        path: &str,
        list: &AllowList,
    ) -> Ruling {
        let access = access(server, method, path);
        let named = server.host.parse::<IpAddr>().is_err();
        if let Verdict::Allow { rule, tls_verify } = list.check(&access) {
            let nowhere = |error| Ruling::NoAddress {
                rule: Some(rule),
                error,
            };
            return match self.resolver.addresses(&server.host).await {
                Ok(found) if found.is_empty() => nowhere(net::Error::NotFound {
                    name: server.host.clone(),
                }),
                Ok(found) => self.pass(
                    (list, rule),
                    &found,
                    named,
                    server,
                    &server.host,
                    tls_verify,
                ),
                Err(error) => nowhere(error),
            };
        }
        if list.wants_addresses(&access) {
            let found = match self.resolver.addresses(&server.host).await {
                Ok(found) => found,
                Err(net::Error::NotFound { .. }) => return Ruling::Deny,
                Err(error) => return Ruling::NoAddress { rule: None, error },
            };
            let Some((rule, ip)) = list.check_addresses(&access, &found) else {
                return Ruling::Deny;
            };
            let verify = list.rules().get(rule).is_none_or(|r| r.tls_verify);
            let told = |at: usize| {
                list.rules()
                    .get(at)
                    .map(|r| (r.tls_verify, r.proxy_protocol))
            };
            // Others that a rule lets through on the same terms.
            let alike = |other: &IpAddr| {
                let judged = list.check_addresses(&access, &[*other]);
                *other != ip && judged.is_some_and(|(at, _)| told(at) == told(rule))
            };
            let others = found.iter().copied().filter(alike);
            let all: Vec<IpAddr> = std::iter::once(ip).chain(others).collect();
            return self.pass((list, rule), &all, named, server, &server.host, verify);
        }
        match self.owner(list, &access).await {
            Ok(Some((rule, ip))) => {
                let known = list.rules().get(rule);
                let name = known.map_or(server.host.as_str(), |r| &r.host);
                let verify = known.is_none_or(|r| r.tls_verify);
                // A name led here, whatever the request says.
                self.pass((list, rule), &[ip], true, server, name, verify)
            }
            Ok(None) => Ruling::Deny,
            Err(error) => Ruling::NoAddress { rule: None, error },
        }
    }

    /// The discovered server that has this address, if one has; an error if none is known to and
    /// DNS did not answer about one of them.
    async fn owner(
        &self,
        list: &AllowList,
        access: &Access<'_>,
    ) -> Result<Option<(usize, IpAddr)>, net::Error> {
        let Ok(address) = access.host.parse::<IpAddr>() else {
            return Ok(None);
        };
        let mut asked = JoinSet::new();
        for rule in list.owners(access).into_iter().take(OWNERS_MAX) {
            let Some(host) = list.rules().get(rule).map(|r| r.host.clone()) else {
                continue;
            };
            let resolver = self.resolver.clone();
            asked.spawn(async move { (rule, resolver.addresses(&host).await) });
        }
        let found = async {
            let mut silent = None;
            while let Some(answer) = asked.join_next().await {
                match answer {
                    Ok((rule, Ok(addresses))) if addresses.contains(&address) => {
                        return Ok(Some((rule, address)));
                    }
                    Ok((_, Err(net::Error::NotFound { .. }) | Ok(_))) | Err(_) => {}
                    Ok((_, Err(error))) => silent = Some(error),
                }
            }
            silent.map_or(Ok(None), Err)
        };
        let late = net::Error::Timeout {
            what: "asking DNS for the addresses of discovered servers",
            seconds: OWNERS_TIME.as_secs(),
        };
        let found = tokio::time::timeout(OWNERS_TIME, found).await;
        found.unwrap_or(Err(late))
    }

    /// The addresses are dialled, but for those that never are. `named`: a name led to them.
    fn pass(
        &self,
        (list, rule): (&AllowList, usize),
        ips: &[IpAddr],
        named: bool,
        server: &Server,
        name: &str,
        tls_verify: bool,
    ) -> Ruling {
        let mut cause = "an address that a server never has";
        let mut fine = |ip: &IpAddr| {
            let address = SocketAddr::new(*ip, server.port);
            if is_own(&self.never, address) {
                cause = "an address of this node";
                return None;
            }
            (!leads_astray(*ip, named)).then_some(address)
        };
        let all: Vec<SocketAddr> = ips.iter().filter_map(&mut fine).collect();
        let mut all = all.into_iter().take(ADDRESSES_MAX);
        match all.next() {
            None => Ruling::Never { rule, cause },
            Some(address) => Ruling::Pass {
                rule,
                address,
                others: all.collect(),
                name: name.to_owned(),
                tls_verify,
                proxy_protocol: list.rules().get(rule).is_some_and(|r| r.proxy_protocol),
            },
        }
    }

    /// Keeps what was refused to a user.
    pub fn refused(&self, server: &Server, method: &str, path: &str, user: &str, redirect: bool) {
        let access = access(server, method, path);
        let now = self.clock.now().unix;
        self.ledger().denied(now, &access, user, redirect);
    }

    /// All rules.
    pub fn report(&self) -> AllowListReport {
        let list = self.list();
        AllowListReport {
            rules: (0..list.rules().len())
                .filter_map(|at| self.row(&list, at))
                .collect(),
        }
    }

    /// The inbox.
    pub fn inbox(&self) -> DeniedReport {
        let ledger = self.ledger();
        DeniedReport {
            denied: ledger.inbox().into_iter().map(denied_row).collect(),
            forgotten: ledger.forgotten(),
        }
    }

    /// What would become of a request; counts nothing.
    ///
    /// # Errors
    /// If the question is none, in words.
    pub async fn test(&self, asked: &AllowTest) -> Result<AllowVerdict, String> {
        let (server, path) = target(&asked.url)?;
        let method = match asked.method.as_str() {
            "" => "GET".to_owned(),
            method => method.to_ascii_uppercase(),
        };
        let shown = rule_for(&server, &method, &path, false);
        let mut verdict = AllowVerdict {
            request: format!("{method} {}", shown.url()),
            ..AllowVerdict::default()
        };
        if let Err(cause) = config::inside::check_path(&path) {
            verdict.status = 400;
            cause.clone_into(&mut verdict.why);
            return Ok(verdict);
        }
        let list = self.list();
        match self.with_list(&server, &method, &path, &list).await {
            Ruling::Pass { rule, address, .. } => {
                verdict.allowed = true;
                verdict.address = Some(address.to_string());
                verdict.rule = self.row(&list, rule);
                verdict.why = why(&list, rule, &server);
            }
            Ruling::Never { rule, cause } => {
                verdict.status = 403;
                verdict.rule = self.row(&list, rule);
                verdict.why = format!("it leads to {cause}");
            }
            Ruling::NoAddress { rule, error } => {
                verdict.status = 502;
                verdict.unknown = true;
                verdict.rule = rule.and_then(|rule| self.row(&list, rule));
                verdict.why = error.to_string();
            }
            Ruling::Deny => {
                verdict.status = 403;
                let near = list.nearest(&access(&server, &method, &path)).into_iter();
                let near = near.filter_map(|n| {
                    Some(NearRow {
                        rule: self.row(&list, n.rule)?,
                        missing: n.missing,
                    })
                });
                verdict.near = near.collect();
                verdict.why = match verdict.near.is_empty() {
                    true => format!("no rule names {} or an address of it", server.host),
                    false => "no rule fits".into(),
                };
                verdict.suggestion = block(&shown);
            }
        }
        Ok(verdict)
    }

    fn list(&self) -> Arc<AllowList> {
        match &self.list {
            List::Live(gate) => Arc::clone(&gate.get().allow_list),
            List::Fixed(list) => Arc::clone(list),
        }
    }

    fn ledger(&self) -> MutexGuard<'_, Ledger> {
        self.ledger.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn row(&self, list: &AllowList, at: usize) -> Option<AllowRow> {
        let rule = list.rules().get(at)?;
        let hits = list.id(at).and_then(|id| self.ledger().hits(id));
        Some(AllowRow {
            number: at + 1,
            origin: origin(rule),
            automatic: rule.is_automatic(),
            scheme: rule.scheme.clone(),
            host: rule.host.clone(),
            port: rule.port,
            path: rule.path.clone(),
            r#match: if rule.exact { "exact" } else { "prefix" }.into(),
            methods: rule.methods.clone(),
            tls_verify: rule.tls_verify,
            description: rule.description.clone(),
            hits: self.live.then(|| hits.map_or(0, |h| h.count)),
            last_hit: hits.map(|h| h.last),
        })
    }
}

/// The configured rules of a file that could be started with. Blocks.
fn rules_of(path: &Path) -> Result<Vec<config::AllowRule>, String> {
    let name = path.display();
    let text = std::fs::read_to_string(path).map_err(|e| format!("{name}: {e}"))?;
    match config::load(&text, path) {
        Ok(checked) => match checked.config.role {
            config::Role::Core(core) => Ok(core.allow_list),
            config::Role::Edge(_) => Err(format!("{name} is an edge's")),
        },
        Err(findings) => {
            let first = findings.first().map(ToString::to_string);
            Err(format!("{name}: {}", first.unwrap_or_default()))
        }
    }
}

/// Whether a question can be put to an allow list.
///
/// # Errors
/// What is wrong, in words.
pub fn understood(asked: &AllowTest) -> Result<(), String> {
    target(&asked.url).map(|_| ())
}

/// Addresses a core never dials for a client: its own listeners.
pub(crate) fn never(config: &config::Config) -> Arc<[SocketAddr]> {
    let mut all = config.administration.clone();
    if let config::Role::Core(role) = &config.role {
        all.extend(role.sip.iter().chain(&role.sip_tls));
    }
    all.into()
}

/// Whether one of our listeners hears at an address; one on every address does at this machine's
/// own alone.
fn is_own(never: &[SocketAddr], address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let mut same_port = never.iter().filter(|ours| ours.port() == address.port());
    same_port.any(|ours| {
        let ours = ours.ip().to_canonical();
        ours == ip || (ours.is_unspecified() && is_this_machines(ip))
    })
}

/// Whether this machine has an address, as its system says at once; nothing is sent.
fn is_this_machines(ip: IpAddr) -> bool {
    let bound = UdpSocket::bind(SocketAddr::new(ip, 0));
    // In doubt it has.
    !bound.is_err_and(|e| e.kind() == ErrorKind::AddrNotAvailable)
}

/// Addresses that no inside web server has: of none of them, and, if a name led there, of a link.
/// A name that DNS sends to one of these was changed by somebody.
fn leads_astray(ip: IpAddr, named: bool) -> bool {
    let ip = ip.to_canonical();
    let nobody = ip.is_unspecified() || ip.is_multicast();
    let link = match ip {
        IpAddr::V4(v4) => v4.is_link_local() || v4.is_broadcast() || v4.octets()[0] == 0,
        IpAddr::V6(v6) => v6.is_unicast_link_local(),
    };
    nobody || (named && link)
}

fn access<'a>(server: &'a Server, method: &'a str, path: &'a str) -> Access<'a> {
    Access {
        scheme: server.scheme.as_str(),
        host: &server.host,
        port: server.port,
        path,
        method,
    }
}

/// The server and path of an inside URL, or of a path as the edge gets it.
fn target(url: &str) -> Result<(Server, String), String> {
    if let Some(path) = url.strip_prefix('/') {
        let (segment, rest) = path.split_once('/').unwrap_or((path, ""));
        let read = EdgePath::decode(segment).map_err(|e| e.to_string())?;
        let server = read.server.ok_or("the path names no inside server")?;
        let path = rest.split(['?', '#']).next().unwrap_or_default();
        return Ok((server, format!("/{path}")));
    }
    let read = text::read_url(url).map_err(|cause| format!("{url}: {cause}"))?;
    let plain = format!("{}/{}/{}", read.scheme, read.host, read.port);
    let server = Server::parse(&plain).map_err(|_| format!("{url}: no request may name it"))?;
    Ok((server, read.path))
}

fn why(list: &AllowList, rule: usize, server: &Server) -> String {
    let host = list.rules().get(rule).map_or("", |r| r.host.as_str());
    let is_address = |host: &str| host.parse::<IpAddr>().is_ok();
    match (is_address(host), is_address(&server.host)) {
        (true, false) => format!("{} has the address {host} in DNS", server.host),
        (false, true) => format!("{} is an address of {host} in DNS", server.host),
        _ => "the rule names the server".into(),
    }
}

fn origin(rule: &Rule) -> String {
    match &rule.origin {
        Origin::Configured => "configuration".into(),
        Origin::UnifiedCm(of) => format!("unified_cm {of}"),
        Origin::ImPresence(of) => format!("im_presence {of}"),
        Origin::UnityConnection => "unity_connection".into(),
    }
}

fn rule_for(server: &Server, method: &str, path: &str, exact: bool) -> config::AllowRule {
    config::AllowRule {
        host: server.host.clone(),
        scheme: server.scheme.as_str().into(),
        port: server.port,
        path: path.into(),
        exact,
        methods: if method == "GET" {
            text::DEFAULT_METHODS.map(str::to_owned).to_vec()
        } else {
            vec![method.to_owned()]
        },
        proxy_protocol: false,
        description: String::new(),
    }
}

/// A rule as a block, if a configuration may hold it.
fn block(rule: &config::AllowRule) -> Option<String> {
    let fine = text::check_path(&rule.path).is_ok() && text::methods_fault(&rule.methods).is_none();
    fine.then(|| rule.toml())
}

fn denied_row(row: &Denied) -> DeniedRow {
    let server = format!("{}/{}/{}", row.scheme, row.host, row.port);
    let rule = Server::parse(&server)
        .map(|server| rule_for(&server, &row.method, &row.path, row.one_path))
        .ok();
    DeniedRow {
        url: rule.as_ref().map_or(server, config::AllowRule::url),
        method: row.method.clone(),
        one_path: row.one_path,
        redirect: row.redirect,
        count: row.count,
        first: row.first,
        last: row.last,
        users: row.users.iter().cloned().map(Pii::new).collect(),
        suggestion: rule.as_ref().and_then(block),
    }
}
