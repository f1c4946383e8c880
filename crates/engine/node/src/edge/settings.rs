//! What the edge node needs of the configuration, once.

use std::net::IpAddr;

use base::{Rng, Secret};
use call::registration::edge as registration;
use config::{Config, DigestAlgorithm, MediaService, Password, Role, Service};
use media::{Command, LinkId, LinkKeys, PortPair};
use traversal::{Admission, EdgeServices, ServiceAddress};

use super::Edge;
use super::links::Peer;

/// What the driver gives an edge beside the configuration.
#[derive(Clone, Debug)]
pub struct EdgeIdentity {
    /// The host key of the SSH service on 2222, in OpenSSH format.
    pub ssh_host_key: String,
    /// The program's version.
    pub version: String,
}

pub(super) struct Settings {
    pub(super) fqdn: String,
    pub(super) realm: String,
    pub(super) digest: Vec<sip::digest::Algorithm>,
    pub(super) sip: Service,
    pub(super) media: MediaService,
    /// Calls of foreign domains, if they are taken.
    pub(super) business: Option<config::Business>,
    /// Addresses of this node, which it does not dial.
    pub(super) own: Vec<IpAddr>,
    pub(super) rates: config::Rates,
    pub(super) overload: config::Overload,
    /// Every core that may link: the names of all zones, in order. Their positions are the peers
    /// of the driver's inputs.
    pub(super) peers: Vec<Peer>,
    pub(super) version: String,
    services: EdgeServices,
    ssh_host_key: String,
    link_pair: PortPair,
}

impl Settings {
    /// # Panics
    /// If the configuration is a core's: a fault of the caller.
    pub(super) fn of(config: &Config, identity: EdgeIdentity, rng: &mut Rng) -> Self {
        let Role::Edge(edge) = &config.role else {
            panic!("an edge was given a core's configuration");
        };
        let address = |s: &Service| ServiceAddress {
            host: s.advertise_host.clone(),
            port: s.advertise_port,
        };
        let (rtp, rtcp) = edge.traversal.media_ports;
        let zones = edge.zones.iter();
        let peers = zones.flat_map(|zone| {
            let password = match &zone.password {
                Password::Given(given) => given.expose().clone(),
                // The driver has read such files; one that it has not opens for nobody.
                Password::File(_) => rng.hex(32),
            };
            zone.verify_names.iter().map(move |name| Peer {
                zone: zone.name.clone(),
                name: name.clone(),
                hop_count: zone.hop_count,
                user: zone.user.clone(),
                password: Secret::new(password.clone()),
            })
        });
        Settings {
            fqdn: config.fqdn(),
            realm: edge.sip_realm.clone(),
            digest: edge.sip_digest.iter().map(|a| algorithm(*a)).collect(),
            sip: edge.sip.clone(),
            media: edge.media.clone(),
            business: edge.business.clone(),
            own: own_addresses(edge),
            rates: edge.rates,
            overload: config.overload,
            peers: peers.collect(),
            version: identity.version,
            services: EdgeServices {
                https: address(&edge.https),
                sip: address(&edge.sip),
                xmpp: address(&edge.xmpp),
                sip_realm: edge.sip_realm.clone(),
                media_address: edge.traversal.media_advertise,
                media_port: rtp,
            },
            ssh_host_key: identity.ssh_host_key,
            link_pair: PortPair {
                rtp: (edge.traversal.media, rtp).into(),
                rtcp: (edge.traversal.media, rtcp).into(),
            },
        }
    }

    /// What registration needs.
    pub(super) fn relay(&self) -> registration::Settings {
        let at = &self.sip;
        registration::Settings::new(
            &uri_host(&at.advertise_host),
            at.advertise_port,
            &self.realm,
        )
    }

    /// `host:port` at which clients reach us, as Via and Record-Route write it.
    pub(super) fn sip_address(&self) -> String {
        format!(
            "{}:{}",
            uri_host(&self.sip.advertise_host),
            self.sip.advertise_port
        )
    }

    /// Where the link's media is, as descriptions for a core write it.
    pub(super) fn link_address(&self) -> std::net::SocketAddr {
        (self.services.media_address, self.services.media_port).into()
    }

    /// What a core must show, and is told.
    pub(super) fn admission(&self, instance: &str, peer: &Peer) -> Admission {
        Admission {
            node: self.fqdn.clone(),
            instance: instance.to_owned(),
            user: peer.user.clone(),
            password: peer.password.clone(),
            ssh_host_key: self.ssh_host_key.clone(),
            services: self.services.clone(),
        }
    }

    /// Opens the link's media.
    pub(super) fn media_link(&self, link: LinkId, secret: &Secret<[u8; 64]>) -> Command {
        Command::LinkUp {
            link,
            keys: LinkKeys::exported(secret),
            local: vec![self.link_pair],
            dial: None,
        }
    }
}

impl Edge {
    /// Takes up what a running edge can of a changed configuration: how much clients may ask for,
    /// and from when on work is refused.
    pub(super) fn configured(&mut self, config: &Config) {
        let Role::Edge(edge) = &config.role else {
            return;
        };
        (self.settings.rates, self.settings.overload) = (edge.rates, config.overload);
        self.guests.configure(&edge.rates, &config.overload);
    }
}

/// A host as a URI writes it: IPv6 addresses in brackets.
fn uri_host(host: &str) -> String {
    if host.contains(':') && !host.starts_with('[') {
        format!("[{host}]")
    } else {
        host.to_owned()
    }
}

fn own_addresses(edge: &config::Edge) -> Vec<IpAddr> {
    let services = [&edge.https, &edge.sip, &edge.xmpp];
    let listen = services.into_iter().flat_map(|s| &s.listen);
    let traversal = [&edge.traversal.sip, &edge.traversal.ssh];
    let media = edge.media.addresses().flat_map(|(ours, told)| [ours, told]);
    let sockets = listen.chain(traversal).map(|a| a.ip());
    let all = sockets.chain(media);
    all.chain([edge.traversal.media]).collect()
}

fn algorithm(named: DigestAlgorithm) -> sip::digest::Algorithm {
    match named {
        DigestAlgorithm::Md5 => sip::digest::Algorithm::Md5,
        DigestAlgorithm::Sha256 => sip::digest::Algorithm::Sha256,
    }
}
