//! An address and a port in 18 bytes, where [`SocketAddr`] takes 32.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// An address and a port, for tables with a row for each client. A zone of IPv6 is not kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// IPv4 as it is mapped into IPv6 (RFC 4291 §2.5.5.2).
    address: [u8; 16],
    port: [u8; 2],
}

impl From<SocketAddr> for Endpoint {
    fn from(from: SocketAddr) -> Self {
        let address = match from.ip() {
            IpAddr::V4(ip) => ip.to_ipv6_mapped(),
            IpAddr::V6(ip) => ip,
        };
        Endpoint {
            address: address.octets(),
            port: from.port().to_be_bytes(),
        }
    }
}

impl From<Endpoint> for SocketAddr {
    fn from(from: Endpoint) -> Self {
        let address = IpAddr::from(Ipv6Addr::from(from.address)).to_canonical();
        SocketAddr::new(address, u16::from_be_bytes(from.port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_small_and_gives_back_what_it_was_made_of() {
        assert_eq!(size_of::<Endpoint>(), 18);
        for text in ["192.0.2.1:5061", "[2001:db8::1]:65535", "[::1]:0"] {
            let whole: SocketAddr = text.parse().unwrap();
            assert_eq!(SocketAddr::from(Endpoint::from(whole)), whole);
        }
    }
}
