//! Whether every address and port is free, before anything starts.

use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener, UdpSocket};

use anyhow::{Result, bail};

use super::Ports;
use crate::world::{DNS, DNS_INSIDE, World};
use crate::{command, identity};

/// The ports that an edge listens on, TCP.
const EDGE: [u16; 6] = [8443, 5061, 5222, 7001, 2222, 7400];
/// The ports of an edge's link media, UDP.
const EDGE_MEDIA: [u16; 2] = [36000, 36001];
/// The ports that a core listens on, TCP.
const CORE: [u16; 2] = [5060, 5061];

/// Checks everything and chooses the movable ports.
///
/// # Errors
/// The first port that is taken, and what to do.
pub fn claim(world: &World, options: &command::House) -> Result<Ports> {
    for address in [DNS, DNS_INSIDE] {
        tcp(address)?;
        udp(address)?;
    }
    for edge in &world.edges {
        EDGE.iter().try_for_each(|port| tcp(edge.port(*port)))?;
        EDGE_MEDIA
            .iter()
            .try_for_each(|port| udp(edge.port(*port)))?;
    }
    for core in &world.cores {
        CORE.iter().try_for_each(|port| tcp(core.port(*port)))?;
    }
    for node in world.unified_cm.iter().chain(&world.other_cluster) {
        [8443, 6970]
            .iter()
            .try_for_each(|port| tcp(node.port(*port)))?;
        if options.call_control.is_none() {
            [5060, 5061]
                .iter()
                .try_for_each(|port| tcp(node.port(*port)))?;
        }
    }
    for node in &world.im_presence {
        tcp(node.port(8443))?;
        if options.xmpp.is_none() {
            tcp(node.port(5222))?;
        }
    }
    tcp(world.identity.port(identity::PORT))?;
    tcp(world.phone.port(5060))?;
    tcp(world.allowed_web.port(8080))?;
    tcp(world.forbidden_web.port(8080))?;
    let nodes: Vec<SocketAddr> = world
        .edges
        .iter()
        .chain(&world.cores)
        .map(|n| n.port(443))
        .collect();
    let administration = movable(&nodes, 10443)?;
    let unity = world.unity.port(movable(&[world.unity.port(443)], 10444)?);
    Ok(Ports {
        administration,
        unity,
    })
}

/// The port of these addresses, or another one if only root may have it.
fn movable(wanted: &[SocketAddr], instead: u16) -> Result<u16> {
    let standard = wanted.first().map_or(instead, SocketAddr::port);
    let forbidden = wanted.iter().any(|address| {
        TcpListener::bind(address).is_err_and(|e| e.kind() == ErrorKind::PermissionDenied)
    });
    let port = if forbidden { instead } else { standard };
    for address in wanted {
        tcp(SocketAddr::new(address.ip(), port))?;
    }
    Ok(port)
}

fn tcp(address: SocketAddr) -> Result<()> {
    TcpListener::bind(address)
        .map(drop)
        .or_else(|e| refuse(address, "TCP", &e))
}

fn udp(address: SocketAddr) -> Result<()> {
    UdpSocket::bind(address)
        .map(drop)
        .or_else(|e| refuse(address, "UDP", &e))
}

fn refuse(address: SocketAddr, kind: &str, e: &std::io::Error) -> Result<()> {
    match e.kind() {
        ErrorKind::AddrInUse => bail!(
            "{kind} {address} is taken: probably another lab runs (Ctrl-C or SIGTERM stops it); \
             `ss -lntup | grep {}` shows who has it",
            address.port()
        ),
        ErrorKind::AddrNotAvailable => bail!(
            "{address} is not this machine's: the lab needs all of 127.0.0.0/8 on the loopback \
             interface, as Linux has it"
        ),
        _ => bail!("{kind} {address} cannot be used: {e}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn port_that_is_taken_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = taken.local_addr().unwrap();
        let error = tcp(address).unwrap_err().to_string();
        assert!(
            error.contains(&address.to_string()) && error.contains("another lab"),
            "{error}"
        );
    }
}
