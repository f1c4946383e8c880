//! Addresses and services from DNS, by the servers an administrator named or the system's.
//!
//! A name that does not exist ([`Error::NotFound`]) is told apart from servers that do not answer
//! ([`Error::NoAnswer`]): the first is an answer, the second a fault to report. Names in the
//! hosts file win; no search list is applied. Bounds: two tries of 2 s at each server, 10 s in
//! all; 1,024 answers kept, for an hour at most, absent names for 30 s at most.

pub mod lookup;

use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::Rng;
use hickory_resolver::config::{
    ConnectionConfig, LookupIpStrategy, NameServerConfig, ResolveHosts, ResolverConfig,
    ResolverOpts,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{RData, RecordType};
use hickory_resolver::{TokioResolver, system_conf};

use crate::Error;

const TRY: Duration = Duration::from_secs(2);
const TRIES: usize = 2;
const WHOLE: Duration = Duration::from_secs(10);
const ANSWERS_KEPT: u64 = 1024;

/// A host and port that offer a service (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Lower ones are tried first.
    pub priority: u16,
    /// The share within a priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host's name, without a final dot.
    pub target: String,
}

/// A rule that leads from a domain to a service (RFC 3403 §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// Lower ones before all others.
    pub order: u16,
    /// Lower ones first within an order.
    pub preference: u16,
    /// What the next step is.
    pub flags: String,
    /// Which service and transport.
    pub service: String,
    /// The next name, without a final dot.
    pub replacement: String,
}

/// Asks DNS; cheap to clone, answers are kept for all clones.
#[derive(Clone)]
pub struct Resolver {
    inner: TokioResolver,
    rng: Arc<Mutex<Rng>>,
    servers: Arc<[SocketAddr]>,
}

impl Resolver {
    /// Asks `servers` in order, or the system's servers if there are none. `rng` decides between
    /// services of the same priority.
    ///
    /// # Errors
    /// [`Error::NoAnswer`] if the system's configuration cannot be read.
    pub fn new(servers: &[SocketAddr], rng: Rng) -> Result<Self, Error> {
        Self::with(servers, rng, options())
    }

    /// As [`Resolver::new`], but the hosts file does not count: what DNS itself says.
    ///
    /// # Errors
    /// As there.
    pub fn of_servers_alone(servers: &[SocketAddr], rng: Rng) -> Result<Self, Error> {
        let mut options = options();
        options.use_hosts_file = ResolveHosts::Never;
        Self::with(servers, rng, options)
    }

    fn with(servers: &[SocketAddr], rng: Rng, options: ResolverOpts) -> Result<Self, Error> {
        let unusable = |e: NetError| Error::NoAnswer {
            name: "any name".into(),
            cause: format!("the system's DNS configuration cannot be used: {e}"),
        };
        let config = if servers.is_empty() {
            let system = system_conf::read_system_conf().map_err(unusable)?.0;
            let (_, _, servers) = system.into_parts();
            ResolverConfig::from_name_servers(servers)
        } else {
            ResolverConfig::from_name_servers(servers.iter().map(server).collect())
        };
        let mut asked: Vec<SocketAddr> = Vec::new();
        for server in config.name_servers() {
            let ports = server.connections.iter().map(|c| c.port);
            asked.extend(ports.map(|port| SocketAddr::new(server.ip, port)));
        }
        asked.dedup();
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        *builder.options_mut() = options;
        Ok(Resolver {
            inner: builder.build().map_err(unusable)?,
            rng: Arc::new(Mutex::new(rng)),
            servers: asked.into(),
        })
    }

    /// The servers it asks.
    pub fn servers(&self) -> &[SocketAddr] {
        &self.servers
    }

    /// All addresses of a name, IPv4 first; an address literal is its own answer.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NoAnswer`].
    pub async fn addresses(&self, name: &str) -> Result<Vec<IpAddr>, Error> {
        if let Ok(address) = name.trim_matches(['[', ']']).parse() {
            return Ok(vec![address]);
        }
        let found = self
            .bounded(name, self.inner.lookup_ip(absolute(name)))
            .await?;
        let mut addresses: Vec<IpAddr> = found.iter().collect();
        addresses.sort_by_key(IpAddr::is_ipv6);
        addresses.dedup();
        if addresses.is_empty() {
            return Err(Error::NotFound {
                name: name.to_owned(),
            });
        }
        Ok(addresses)
    }

    /// The hosts that offer a service, in the order to try them (RFC 2782); none at all if the
    /// domain says with a target of `.` that it decidedly does not offer it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NoAnswer`].
    pub async fn services(&self, name: &str) -> Result<Vec<Service>, Error> {
        let answer = self
            .bounded(name, self.inner.lookup(absolute(name), RecordType::SRV))
            .await?;
        let records = answer.answers().iter();
        let services: Vec<Service> = records
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => Some(Service {
                    priority: srv.priority,
                    weight: srv.weight,
                    port: srv.port,
                    target: srv.target.to_ascii().trim_end_matches('.').to_owned(),
                }),
                _ => None,
            })
            .collect();
        if services.is_empty() {
            return Err(Error::NotFound {
                name: name.to_owned(),
            });
        }
        let offered = services.into_iter().filter(|s| !s.target.is_empty());
        let mut rng = self
            .rng
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        Ok(in_order(offered.collect(), &mut rng))
    }

    /// The NAPTR records of a name that have a replacement, in any order.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NoAnswer`].
    pub async fn rules(&self, name: &str) -> Result<Vec<Rule>, Error> {
        let answer = self
            .bounded(name, self.inner.lookup(absolute(name), RecordType::NAPTR))
            .await?;
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let rules: Vec<Rule> = answer
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::NAPTR(rule) => Some(Rule {
                    order: rule.order,
                    preference: rule.preference,
                    flags: text(&rule.flags),
                    service: text(&rule.services),
                    replacement: rule.replacement.to_ascii().trim_end_matches('.').to_owned(),
                }),
                _ => None,
            })
            .filter(|rule| !rule.replacement.is_empty())
            .collect();
        if rules.is_empty() {
            return Err(Error::NotFound {
                name: name.to_owned(),
            });
        }
        Ok(rules)
    }

    async fn bounded<T>(
        &self,
        name: &str,
        lookup: impl Future<Output = Result<T, NetError>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(WHOLE, lookup).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(e)) if e.is_nx_domain() || absent(&e) => Err(Error::NotFound {
                name: name.to_owned(),
            }),
            Ok(Err(e)) => Err(Error::NoAnswer {
                name: name.to_owned(),
                cause: e.to_string(),
            }),
            Err(_) => Err(Error::NoAnswer {
                name: name.to_owned(),
                cause: format!("nothing within {} s", WHOLE.as_secs()),
            }),
        }
    }
}

/// Whether a server answered, in good order, that there is no such record.
fn absent(error: &NetError) -> bool {
    use hickory_resolver::net::{DnsError, NoRecords};
    use hickory_resolver::proto::op::ResponseCode;
    matches!(
        error,
        NetError::Dns(DnsError::NoRecordsFound(NoRecords {
            response_code: ResponseCode::NoError,
            ..
        }))
    )
}

fn server(address: &SocketAddr) -> NameServerConfig {
    let (mut udp, mut tcp) = (ConnectionConfig::udp(), ConnectionConfig::tcp());
    udp.port = address.port();
    tcp.port = address.port();
    NameServerConfig::new(address.ip(), true, vec![udp, tcp])
}

fn options() -> ResolverOpts {
    let mut options = ResolverOpts::default();
    options.timeout = TRY;
    options.attempts = TRIES;
    options.ndots = 0;
    options.cache_size = ANSWERS_KEPT;
    options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
    options.use_hosts_file = ResolveHosts::Always;
    options.positive_max_ttl = Some(Duration::from_secs(3600));
    options.negative_max_ttl = Some(Duration::from_secs(30));
    options
}

/// A name with its final dot, so that no search list is tried.
fn absolute(name: &str) -> String {
    if name.ends_with('.') {
        name.to_owned()
    } else {
        format!("{name}.")
    }
}

/// Orders services as RFC 2782 asks: by priority; within one, drawn by weight without putting
/// back, those of weight 0 with the smallest chance.
fn in_order(mut services: Vec<Service>, rng: &mut Rng) -> Vec<Service> {
    services.sort_by_key(|s| (s.priority, s.weight));
    let mut ordered = Vec::with_capacity(services.len());
    while let Some(priority) = services.first().map(|s| s.priority) {
        let same = services
            .iter()
            .take_while(|s| s.priority == priority)
            .count();
        let mut rest: Vec<Service> = services.drain(..same).collect();
        while !rest.is_empty() {
            let total: u64 = rest.iter().map(|s| u64::from(s.weight)).sum();
            let mark = rng.below(total + 1);
            let mut sum = 0;
            let drawn = rest.iter().position(|s| {
                sum += u64::from(s.weight);
                sum >= mark
            });
            ordered.push(rest.remove(drawn.unwrap_or(0)));
        }
    }
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    fn service(priority: u16, weight: u16, port: u16) -> Service {
        Service {
            priority,
            weight,
            port,
            target: "a.example.test".into(),
        }
    }

    #[test]
    fn services_are_drawn_by_priority_and_weight() {
        let mut rng = Rng::from_number(1);
        let mut first = [0u32; 5];
        for _ in 0..10_000 {
            let all = vec![
                service(20, 0, 4),
                service(10, 0, 3),
                service(10, 60, 1),
                service(10, 20, 2),
            ];
            let ordered = in_order(all, &mut rng);
            assert_eq!(ordered.len(), 4);
            assert_eq!(ordered[3].port, 4);
            first[usize::from(ordered[0].port)] += 1;
        }
        assert!((7_000..7_900).contains(&first[1]), "{first:?}");
        assert!((2_100..2_900).contains(&first[2]), "{first:?}");
        assert!((1..400).contains(&first[3]), "{first:?}");
    }
}
