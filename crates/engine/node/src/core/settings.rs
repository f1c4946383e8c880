//! What the core takes from its configuration, and from its driver.

use std::net::{IpAddr, SocketAddr};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use ::status::Kind;
use base::{Now, Rng, Secret};
use call::registration::core::{Address, Numbers};
use config::routing::{Ice, Routing};
use config::{CallControl, Config, ContactMode, Password, Publisher, Role, SignInBy};
use policy::credentials::Kept;
use policy::signed_out::SignOut;
use policy::token::TokenKey;
use sip::transaction::ViaOptions;
use traversal::DomainOffer;

use super::Core;
use super::zones::Zone;

/// What the driver knows of this node beside its configuration.
#[derive(Clone, Debug)]
pub struct CoreIdentity {
    /// The program's version.
    pub version: String,
    /// The public key that the core shows on 2222, in OpenSSH format.
    pub ssh_key: String,
    /// The seed of the key that signs session tokens; kept on disk, so that tokens survive a
    /// restart.
    pub token_seed: Secret<[u8; 32]>,
    /// The text of [`config::Credentials::file`], if there is one.
    pub users: Option<Secret<String>>,
    /// What earlier processes had stored ([`crate::io::Output::Keep`]), oldest first.
    pub kept: Vec<Kept>,
    /// Sign-outs that earlier processes had stored, oldest first.
    pub signed_out: Vec<SignOut>,
    /// What an earlier process had learned of the inside's servers
    /// ([`crate::io::Output::KeepServers`]).
    pub servers: status::servers::ServersRecord,
    /// The names in this node's certificate; none if they are not known.
    pub certificate_names: Vec<String>,
}

impl CoreIdentity {
    /// Of a core that never runs.
    pub(super) fn nobody() -> Self {
        CoreIdentity {
            version: String::new(),
            ssh_key: String::new(),
            token_seed: Secret::new([0; 32]),
            users: None,
            kept: Vec::new(),
            signed_out: Vec::new(),
            servers: status::servers::ServersRecord::default(),
            certificate_names: Vec::new(),
        }
    }
}

/// An edge to link with.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) name: String,
    pub(super) verify_name: String,
    pub(super) user: String,
    pub(super) password: Secret<String>,
    pub(super) sip_port: u16,
    pub(super) media_ports: (u16, u16),
    pub(super) hop_count: u8,
}

/// A server that is asked about its cluster, or whose requests are let through.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Server {
    pub(super) address: String,
    pub(super) port: u16,
    pub(super) user: String,
    pub(super) password: Secret<String>,
    pub(super) tls_verify: bool,
    /// Whether Contacts are rewritten for its nodes.
    pub(super) rewrites: bool,
    /// What becomes of ICE candidates between its nodes and clients.
    pub(super) ice: Ice,
}

/// Who checks passwords.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Judge {
    /// The user's home cluster.
    UnifiedCm,
    /// A directory that the driver asks.
    Directory,
}

/// All of it.
pub(super) struct Settings {
    pub(super) fqdn: String,
    pub(super) version: String,
    pub(super) ssh_key: String,
    pub(super) peers: Vec<Peer>,
    sip: Vec<SocketAddr>,
    sip_tls: Vec<SocketAddr>,
    pub(super) sip_from: Vec<config::Network>,
    pub(super) media: config::MediaService,
    pub(super) domains: Vec<DomainOffer>,
    /// Domains whose passwords Unified CM does not check.
    directories: Vec<String>,
    /// Domains with registrars of their own.
    registrars: Vec<(String, Vec<String>)>,
    /// Domains with extensions, and what their numbers begin with.
    extensions: Vec<(String, Vec<String>)>,
    pub(super) unified_cm: Vec<Server>,
    pub(super) im_presence: Vec<Server>,
    pub(super) unity_connection: Vec<Server>,
    pub(super) call_control: Vec<CallControl>,
    pub(super) xmpp: Vec<config::XmppServer>,
    pub(super) allow_list: Vec<config::AllowRule>,
    pub(super) refresh: Duration,
    pub(super) cleanup: Duration,
    pub(super) routing: Routing,
    pub(super) limits: config::Calls,
    pub(super) overload: config::Overload,
    pub(super) certificate_names: Vec<String>,
}

impl Settings {
    /// Those of a core; an edge's configuration gives a core that serves nothing.
    pub(super) fn of(config: &Arc<Config>, identity: &CoreIdentity) -> Self {
        let core = match &config.role {
            Role::Core(core) => Some(core),
            Role::Edge(_) => None,
        };
        let servers = |list: Option<&Vec<Publisher>>| -> Vec<Server> {
            list.into_iter().flatten().map(server).collect()
        };
        let nowhere = IpAddr::from([127, 0, 0, 1]);
        let no_media = config::MediaService {
            listen: nowhere,
            advertise: nowhere,
            other: None,
            ports: 36_000..=59_999,
        };
        let no_calls = config::Calls {
            licences: None,
            concurrent_max: 1,
            per_user_max: 1,
            media_per_user_max: 1,
            registrations_max: None,
            session_interval: Duration::from_secs(1_800),
        };
        let hours = |n: u64| Duration::from_secs(n * 3600);
        Settings {
            fqdn: config.fqdn(),
            version: identity.version.clone(),
            ssh_key: identity.ssh_key.clone(),
            peers: core.iter().flat_map(|c| &c.peers).map(peer).collect(),
            sip: core.map(|c| c.sip.clone()).unwrap_or_default(),
            sip_tls: core.map(|c| c.sip_tls.clone()).unwrap_or_default(),
            sip_from: core.map(|c| c.sip_from.clone()).unwrap_or_default(),
            media: core.map_or(no_media, |c| c.media.clone()),
            domains: core.iter().flat_map(|c| &c.domains).map(offer).collect(),
            directories: core.map(|c| directories(&c.domains)).unwrap_or_default(),
            registrars: core.map(|c| registrars(&c.domains)).unwrap_or_default(),
            extensions: core.map(|c| extensions(&c.domains)).unwrap_or_default(),
            unified_cm: servers(core.map(|c| &c.unified_cm)),
            im_presence: servers(core.map(|c| &c.im_presence)),
            unity_connection: servers(core.map(|c| &c.unity_connection)),
            call_control: core.map(|c| c.call_control.clone()).unwrap_or_default(),
            xmpp: core.map(|c| c.xmpp.clone()).unwrap_or_default(),
            allow_list: core.map(|c| c.allow_list.clone()).unwrap_or_default(),
            refresh: core.map_or(hours(8), |c| c.credentials.refresh),
            cleanup: core.map_or(hours(12), |c| c.credentials.cleanup),
            routing: core.map(|c| c.routing.clone()).unwrap_or_default(),
            limits: core.map_or(no_calls, |c| c.calls),
            overload: config.overload,
            certificate_names: identity.certificate_names.clone(),
        }
    }

    /// Takes up what a running core can: where it listens, its links and its media stay.
    pub(super) fn take_up(&mut self, config: &Arc<Config>) {
        let mut new = Settings::of(config, &CoreIdentity::nobody());
        std::mem::swap(&mut self.sip_from, &mut new.sip_from);
        std::mem::swap(&mut self.domains, &mut new.domains);
        std::mem::swap(&mut self.directories, &mut new.directories);
        std::mem::swap(&mut self.registrars, &mut new.registrars);
        std::mem::swap(&mut self.unified_cm, &mut new.unified_cm);
        std::mem::swap(&mut self.im_presence, &mut new.im_presence);
        std::mem::swap(&mut self.unity_connection, &mut new.unity_connection);
        std::mem::swap(&mut self.call_control, &mut new.call_control);
        std::mem::swap(&mut self.xmpp, &mut new.xmpp);
        std::mem::swap(&mut self.allow_list, &mut new.allow_list);
        std::mem::swap(&mut self.routing, &mut new.routing);
        self.refresh = new.refresh;
        self.overload = new.overload;
        self.limits = config::Calls {
            concurrent_max: self.limits.concurrent_max,
            ..new.limits
        };
    }

    /// Where call control reaches us, over TLS or TCP; over the other where one is missing.
    fn listener(&self, tls: bool) -> (SocketAddr, bool) {
        let (wanted, other) = if tls {
            (&self.sip_tls, &self.sip)
        } else {
            (&self.sip, &self.sip_tls)
        };
        let found = wanted
            .first()
            .map(|a| (*a, tls))
            .or(other.first().map(|a| (*a, !tls)));
        // The configuration's check refuses a core without any listener.
        found.unwrap_or((SocketAddr::new(self.media.listen, 5060), false))
    }

    /// Our address in URIs for the inside.
    pub(super) fn inside(&self, tls: bool) -> Address {
        let (address, tls) = self.listener(tls);
        Address {
            host_port: address.to_string(),
            transport: if tls { "tls" } else { "tcp" },
        }
    }

    /// Our Via towards the inside.
    pub(super) fn inside_via(&self, tls: bool) -> ViaOptions {
        ViaOptions {
            transport: if tls { "TLS" } else { "TCP" },
            sent_by: self.inside(tls).host_port,
            parameters: String::new(),
        }
    }

    /// Our Via towards edges.
    pub(super) fn edge_via(&self) -> ViaOptions {
        ViaOptions {
            transport: "TLS",
            sent_by: self.fqdn.clone(),
            parameters: String::new(),
        }
    }

    /// Where connections to call control come from.
    pub(super) fn from(&self, tls: bool) -> IpAddr {
        self.listener(tls).0.ip()
    }

    /// Whether a host of a URI is this node.
    pub(super) fn is_us(&self, host: &str) -> bool {
        let ip = host.trim_matches(['[', ']']).parse::<IpAddr>().ok();
        let mut ours = self.sip.iter().chain(&self.sip_tls);
        host.eq_ignore_ascii_case(&self.fqdn) || ours.any(|a| Some(a.ip()) == ip)
    }

    /// Whether this node listens for SIP on a port of a host that is its own.
    pub(super) fn listens(&self, host: &str, port: u16) -> bool {
        let mut ours = self.sip.iter().chain(&self.sip_tls);
        self.is_us(host) && ours.any(|a| a.port() == port)
    }

    /// Whether the SIP of a domain is served.
    pub(super) fn serves_sip(&self, domain: &str) -> bool {
        self.domain(domain).is_some_and(|d| d.sip)
    }

    /// Who checks the passwords of a domain.
    pub(super) fn signs_in_by(&self, domain: &str) -> Judge {
        let mut others = self.directories.iter();
        if others.any(|d| d.eq_ignore_ascii_case(domain)) {
            Judge::Directory
        } else {
            Judge::UnifiedCm
        }
    }

    /// The directory that knows a domain's users: its own, by its name, or empty for that of all
    /// others, which Unified CM or the credentials file is.
    pub(super) fn directory_of(&self, domain: &str) -> Box<str> {
        match self.signs_in_by(domain) {
            Judge::Directory => domain.to_ascii_lowercase().into(),
            Judge::UnifiedCm => "".into(),
        }
    }

    /// The registrars of a domain's own, if it has any.
    pub(super) fn registrars_of(&self, domain: &str) -> Option<&[String]> {
        let mut own = self.registrars.iter();
        let found = own.find(|(d, _)| d.eq_ignore_ascii_case(domain))?;
        Some(&found.1)
    }

    /// Whether a zone serves the users of a domain. One with users of its own has no lines of
    /// Unified CM, and registrars of a domain's own are its users'.
    pub(super) fn is_zone_of(&self, domain: &str, zone: &Zone) -> bool {
        if zone.unified_cm {
            return self.signs_in_by(domain) == Judge::UnifiedCm;
        }
        let owners = self
            .registrars
            .iter()
            .filter(|(_, names)| names.contains(&zone.of));
        let mut owners = owners.map(|(d, _)| d.as_str()).peekable();
        owners.peek().is_none() || owners.any(|owner| self.one_directory(domain, owner))
    }

    /// Whether one directory knows the users of both domains: only then is the same name in both
    /// one person.
    pub(super) fn one_directory(&self, domain: &str, other: &str) -> bool {
        let judges = [domain, other].map(|d| self.signs_in_by(d));
        other.eq_ignore_ascii_case(domain) || judges == [Judge::UnifiedCm; 2]
    }

    /// Our own addresses inside, and the ports for media at them.
    pub(super) fn own_media(&self) -> (Vec<IpAddr>, RangeInclusive<u16>) {
        let sip = self.sip.iter().chain(&self.sip_tls).map(SocketAddr::ip);
        let own = sip.chain([self.media.listen, self.media.advertise]);
        (own.collect(), self.media.ports.clone())
    }

    /// Which extensions numbers have at the host of an address of record.
    pub(super) fn numbers(&self, uri: &[u8], decided: bool) -> Numbers<'_> {
        let host = super::registrations::host_of(uri).unwrap_or_default();
        let mut own = self.extensions.iter();
        let own = own.find(|(domain, _)| domain.eq_ignore_ascii_case(&host));
        let prefixes = own.map_or(&[][..], |(_, prefixes)| prefixes);
        Numbers { decided, prefixes }
    }

    /// What of a domain is served.
    pub(super) fn domain(&self, domain: &str) -> Option<&DomainOffer> {
        self.domains
            .iter()
            .find(|d| d.name.as_str().eq_ignore_ascii_case(domain))
    }
}

impl Core {
    /// The users of the credentials file.
    pub(super) fn load_users(&mut self, now: Now, identity: &CoreIdentity) {
        let Some(users) = &identity.users else { return };
        if let Err(error) = self.credentials.load(users.expose()) {
            let (out, kind) = (&mut self.station.out, Kind::CredentialsFile);
            self.board.event(out, kind, now, &error.to_string(), &[]);
        }
    }
}

fn peer(p: &config::Peer) -> Peer {
    Peer {
        name: p.name.clone(),
        verify_name: p.verify_name.clone(),
        user: p.user.clone(),
        password: given(&p.password),
        sip_port: p.sip_port,
        media_ports: p.media_ports,
        hop_count: p.hop_count,
    }
}

fn server(p: &Publisher) -> Server {
    Server {
        address: p.address.clone(),
        port: p.port,
        user: p.user.clone(),
        password: given(&p.password),
        tls_verify: p.tls_verify,
        rewrites: p.contact == ContactMode::Rewrite,
        ice: p.ice,
    }
}

fn directories(domains: &[config::Domain]) -> Vec<String> {
    let by = |d: &&config::Domain| !matches!(d.sign_in, SignInBy::Uds);
    let others = domains.iter().filter(by);
    others.map(|d| d.name.as_str().to_owned()).collect()
}

fn registrars(domains: &[config::Domain]) -> Vec<(String, Vec<String>)> {
    let own = domains.iter().filter(|d| !d.call_control.is_empty());
    own.map(|d| (d.name.as_str().to_owned(), d.call_control.clone()))
        .collect()
}

fn extensions(domains: &[config::Domain]) -> Vec<(String, Vec<String>)> {
    let own = domains.iter().filter(|d| !d.extensions_of.is_empty());
    own.map(|d| (d.name.as_str().to_owned(), d.extensions_of.clone()))
        .collect()
}

fn offer(d: &config::Domain) -> DomainOffer {
    DomainOffer {
        name: d.name.clone(),
        sip: d.sip,
        im_presence: d.im_presence,
        federation: d.federation,
        tokens: d.tokens.is_some(),
        sso: d.single_sign_on.is_some(),
    }
}

/// The driver has read password files before; one that it did not read matches nothing.
fn given(password: &Password) -> Secret<String> {
    match password {
        Password::Given(secret) => secret.clone(),
        Password::File(_) => Secret::new(String::new()),
    }
}

/// The key of session tokens. Every seed makes one; should the library refuse it, users sign in
/// again after the next restart.
pub(super) fn token_key(identity: &CoreIdentity, rng: &mut Rng) -> TokenKey {
    let mut seed = *identity.token_seed.expose();
    loop {
        match TokenKey::from_seed(&seed) {
            Some(key) => return key,
            None => seed = rng.array(),
        }
    }
}
