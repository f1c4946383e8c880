//! Looking up names in the lab's own DNS.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::RData;

/// A resolver that asks one name server.
#[derive(Clone)]
pub(crate) struct Names {
    resolver: TokioResolver,
}

/// A target of an SRV record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Server {
    /// Lower is tried first.
    pub(crate) priority: u16,
    /// Share among equals.
    pub(crate) weight: u16,
    /// Its port.
    pub(crate) port: u16,
    /// Its name, without the closing dot.
    pub(crate) name: String,
}

impl Names {
    /// Asks that server.
    pub(crate) fn new(server: SocketAddr) -> Result<Names> {
        let mut udp = ConnectionConfig::udp();
        udp.port = server.port();
        let mut tcp = ConnectionConfig::tcp();
        tcp.port = server.port();
        let servers = vec![NameServerConfig::new(server.ip(), true, vec![udp, tcp])];
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.timeout = Duration::from_secs(2);
        options.attempts = 2;
        options.cache_size = 0;
        Ok(Names {
            resolver: builder.build()?,
        })
    }

    /// The first address of a name; a literal address is its own.
    pub(crate) async fn address(&self, name: &str) -> Result<IpAddr> {
        if let Ok(ip) = name.parse() {
            return Ok(ip);
        }
        let answer = self
            .resolver
            .lookup_ip(format!("{}.", name.trim_end_matches('.')))
            .await
            .with_context(|| format!("looking up {name}"))?;
        answer
            .iter()
            .next()
            .with_context(|| format!("{name} has no address"))
    }

    /// Servers of an SRV name, the preferred first.
    pub(crate) async fn servers(&self, name: &str) -> Result<Vec<Server>> {
        let answer = self
            .resolver
            .srv_lookup(format!("{}.", name.trim_end_matches('.')))
            .await
            .with_context(|| format!("looking up the servers of {name}"))?;
        let mut servers: Vec<Server> = answer
            .answers()
            .iter()
            .filter_map(|record| match &record.data {
                RData::SRV(srv) => Some(Server {
                    priority: srv.priority,
                    weight: srv.weight,
                    port: srv.port,
                    name: srv.target.to_utf8().trim_end_matches('.').to_owned(),
                }),
                _ => None,
            })
            .collect();
        servers.sort_by_key(|server| (server.priority, u16::MAX - server.weight));
        Ok(servers)
    }
}
