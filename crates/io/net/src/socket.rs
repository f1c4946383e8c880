//! Listening and dialling, with errors that say which address and what to do.
//!
//! Every TCP connection gets `TCP_NODELAY` (a signalling message is small and must not wait for
//! an acknowledgement) and keep-alive probes after 60 s of silence, so that a peer behind a dead
//! NAT is noticed.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpSocket, TcpStream, UdpSocket};

use crate::Error;

/// How many connections may wait to be accepted.
const BACKLOG: u32 = 1024;

const KEEP_ALIVE_AFTER: Duration = Duration::from_secs(60);
const KEEP_ALIVE_EVERY: Duration = Duration::from_secs(20);

/// Listens on a TCP address; port 0 takes any free one.
///
/// # Errors
/// [`Error::Bind`], e.g. when another program has the address.
pub fn listen(address: SocketAddr) -> Result<TcpListener, Error> {
    let bound = || -> std::io::Result<TcpListener> {
        let socket = if address.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        // A restart must not wait for old connections in TIME_WAIT.
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        socket.listen(BACKLOG)
    };
    bound().map_err(|e| refused("TCP", address, e))
}

/// Binds a UDP address; port 0 takes any free one.
///
/// # Errors
/// [`Error::Bind`].
pub fn bind_udp(address: SocketAddr) -> Result<UdpSocket, Error> {
    let bound = || -> std::io::Result<UdpSocket> {
        let domain = if address.is_ipv4() {
            Domain::IPV4
        } else {
            Domain::IPV6
        };
        let socket = Socket::new(domain, Type::DGRAM, Some(Protocol::UDP))?;
        socket.set_nonblocking(true)?;
        socket.bind(&address.into())?;
        UdpSocket::from_std(socket.into())
    };
    bound().map_err(|e| refused("UDP", address, e))
}

/// Connects to an address, from `local` if it is given.
///
/// # Errors
/// [`Error::Connect`], [`Error::Bind`] if there is no such local address.
pub async fn connect(
    address: SocketAddr,
    local: Option<IpAddr>,
    within: Duration,
) -> Result<TcpStream, Error> {
    let socket = if address.is_ipv4() {
        TcpSocket::new_v4()
    } else {
        TcpSocket::new_v6()
    }?;
    if let Some(local) = local {
        let local = SocketAddr::new(local, 0);
        socket.bind(local).map_err(|e| refused("TCP", local, e))?;
    }
    let stream = match tokio::time::timeout(within, socket.connect(address)).await {
        Err(_) => {
            let cause = format!("no answer within {} s", within.as_secs());
            return Err(Error::Connect { address, cause });
        }
        Ok(Err(e)) => {
            return Err(Error::Connect {
                address,
                cause: e.to_string(),
            });
        }
        Ok(Ok(stream)) => stream,
    };
    tune(&stream);
    Ok(stream)
}

/// Switches on what every connection gets. A socket that refuses is used as it is.
pub fn tune(stream: &TcpStream) {
    let _ = stream.set_nodelay(true);
    let probes = TcpKeepalive::new()
        .with_time(KEEP_ALIVE_AFTER)
        .with_interval(KEEP_ALIVE_EVERY);
    let _ = SockRef::from(stream).set_tcp_keepalive(&probes);
}

/// Lets the next segments be acknowledged at once. A peer that writes twice in a row without
/// `TCP_NODELAY` holds the second write back until the first is acknowledged, which else takes
/// 40 ms. A socket that refuses is used as it is.
pub fn prompt(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    let _ = SockRef::from(stream).set_tcp_quickack(true);
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
}

fn refused(protocol: &'static str, address: SocketAddr, source: std::io::Error) -> Error {
    let fix = match source.kind() {
        ErrorKind::AddrInUse => {
            "another program has this address; stop it (ss -lpn shows it) or configure another"
        }
        ErrorKind::AddrNotAvailable => {
            "this machine has no such address; correct it or bring the interface up"
        }
        ErrorKind::PermissionDenied => {
            "ports below 1024 need the capability CAP_NET_BIND_SERVICE; grant it or use \
             another port"
        }
        _ => "correct the address in the configuration",
    };
    Error::Bind {
        protocol,
        address,
        fix,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_address_in_use_is_named_with_a_cure() {
        let first = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = first.local_addr().unwrap();
        let text = listen(address).unwrap_err().to_string();
        assert!(
            text.contains(&address.to_string()) && text.contains("ss -lpn"),
            "{text}"
        );
        let udp = bind_udp("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = udp.local_addr().unwrap();
        assert!(bind_udp(address).unwrap_err().to_string().contains("UDP"));
    }

    #[tokio::test]
    async fn dialling_sets_no_delay_and_names_what_refuses() {
        let listener = listen("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let local: IpAddr = "127.0.0.3".parse().unwrap();
        let stream = connect(address, Some(local), Duration::from_secs(5))
            .await
            .unwrap();
        assert!(stream.nodelay().unwrap());
        assert_eq!(stream.local_addr().unwrap().ip(), local);
        drop(listener);
        let text = connect(address, None, Duration::from_secs(5))
            .await
            .unwrap_err()
            .to_string();
        assert!(text.contains(&address.to_string()), "{text}");
    }
}
