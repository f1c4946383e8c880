//! Keep-alives of clients that send STUN on their SIP connection (RFC 5389; Cisco's
//! `x-cisco-mra-ha=AR_SK`): a Binding request every half minute, and another server if none is
//! answered within three seconds.
//!
//! The edge answers for the way as far as it knows it: a client gets its answer while the core
//! that its registration went by is linked, and the node that accepted it is not told dead by that
//! core. Otherwise it gets none, and goes elsewhere.

use std::net::{IpAddr, SocketAddr};

use bytes::Bytes;
use sip::FlowId;

use super::Edge;
use crate::io::{ConnId, Output};

const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];

impl Edge {
    /// Answers a client while the way that its calls come by is whole.
    pub(super) fn stun(&mut self, conn: ConnId, flow: FlowId, bytes: &[u8]) {
        let link = self
            .routes
            .get(&flow)
            .and_then(|index| self.links.get(*index));
        let way = link
            .filter(|l| !self.health.is_in(flow, &l.dead_zones))
            .and_then(|l| l.lane(flow))
            .filter(|_| self.relay.is_known(flow));
        let Some(remote) = self.station.remote(flow).filter(|_| way.is_some()) else {
            return;
        };
        if let Some(bytes) = answer(bytes, remote) {
            self.station.out.push_back(Output::Send { conn, bytes });
        }
    }
}

/// The answer to a Binding request, with the address it came from (RFC 5389 §10.1.2, §15.2).
/// `None` for anything else.
pub(super) fn answer(request: &[u8], from: SocketAddr) -> Option<Bytes> {
    let (head, attributes) = request.split_first_chunk::<20>()?;
    let (kind, rest) = head.split_first_chunk::<2>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let binding = *kind == [0, 1] && usize::from(u16::from_be_bytes(*length)) == attributes.len();
    if !binding || !rest.starts_with(&COOKIE) {
        return None;
    }
    let mut value = vec![0, if from.is_ipv4() { 1 } else { 2 }];
    let port = from.port() ^ u16::from_be_bytes([COOKIE[0], COOKIE[1]]);
    value.extend_from_slice(&port.to_be_bytes());
    let address = match from.ip() {
        IpAddr::V4(a) => a.octets().to_vec(),
        IpAddr::V6(a) => a.octets().to_vec(),
    };
    // Cookie and transaction id, 16 bytes, lie over the address.
    value.extend(address.iter().zip(rest).map(|(a, mask)| a ^ mask));
    let mut out = vec![1, 1];
    out.extend_from_slice(&(value.len() as u16 + 4).to_be_bytes());
    out.extend_from_slice(rest);
    out.extend_from_slice(&[0, 0x20]); // XOR-MAPPED-ADDRESS
    out.extend_from_slice(&(value.len() as u16).to_be_bytes());
    out.extend_from_slice(&value);
    Some(Bytes::from(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The request and the answer of RFC 5769 §2.1, §2.2, without the attributes that prove a
    /// password.
    #[test]
    fn a_binding_request_is_answered_with_the_address_it_came_from() {
        let id = [
            0xb7, 0xe7, 0xa7, 0x01, 0xbc, 0x34, 0xd6, 0x86, 0xfa, 0x87, 0xdf, 0xae,
        ];
        let request = [&[0, 1, 0, 0], &COOKIE[..], &id].concat();
        let from = "192.0.2.1:32853".parse().unwrap();
        let want = [
            &[1, 1, 0, 12],
            &COOKIE[..],
            &id,
            &[0, 0x20, 0, 8, 0, 1, 0xa1, 0x47, 0xe1, 0x12, 0xa6, 0x43],
        ]
        .concat();
        assert_eq!(answer(&request, from).as_deref(), Some(want.as_slice()));
        let six = "[2001:db8:1234:5678:11:2233:4455:6677]:32853"
            .parse()
            .unwrap();
        let want = [
            0x01, 0x13, 0xa9, 0xfa, 0xa5, 0xd3, 0xf1, 0x79, 0xbc, 0x25, 0xf4, 0xb5, 0xbe, 0xd2,
            0xb9, 0xd9,
        ];
        assert_eq!(
            answer(&request, six).and_then(|a| Some(a.get(28..)?.to_vec())),
            Some(want.to_vec())
        );
        for end in 0..request.len() {
            assert_eq!(answer(&request[..end], from), None);
        }
        let indication = [&[0, 0x11, 0, 0], &COOKIE[..], &id].concat();
        assert_eq!(answer(&indication, from), None);
    }
}
