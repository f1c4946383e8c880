//! A name server for one view of the lab: A and SRV records over UDP and TCP (RFC 1035, 2782).
//!
//! A name that exists without the asked type gets an empty answer, a name that does not exist
//! NXDOMAIN, each with an SOA record for negative caching (RFC 2308); another's domain is refused.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use hickory_proto::op::{Message, MessageType, OpCode, ResponseCode};
use hickory_proto::rr::rdata::{A, AAAA, SOA, SRV};
use hickory_proto::rr::{DNSClass, Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};
use tokio::time::timeout;

use crate::world::{DOMAIN, World};

/// Clients may cache an answer for so long: little, since tests start and stop servers.
const TTL_S: u32 = 5;
const QUERY_MAX: usize = 4096;
const PATIENCE: Duration = Duration::from_secs(10);

/// What a name server knows.
#[derive(Clone, Debug, Default)]
pub struct Zone {
    names: BTreeMap<String, Vec<RData>>,
}

impl Zone {
    /// What the public sees: the edges, `_collab-edge._tls`, and the identity provider.
    pub fn outside(world: &World) -> Zone {
        let mut zone = Zone::default();
        for edge in &world.edges {
            zone.address(&edge.fqdn, edge.address);
            zone.service(&format!("_collab-edge._tls.{DOMAIN}"), 8443, &edge.fqdn);
            zone.service(&format!("_sips._tcp.{DOMAIN}"), 5061, &edge.fqdn);
            zone.service(&format!("_xmpp-server._tcp.{DOMAIN}"), 5269, &edge.fqdn);
        }
        zone.address(&world.identity.fqdn, world.identity.address);
        zone
    }

    /// What the inside sees: every machine, `_cisco-uds._tcp` and `_cuplogin._tcp`.
    pub fn inside(world: &World) -> Zone {
        let mut zone = Zone::default();
        let inside = [
            &world.unity,
            &world.identity,
            &world.phone,
            &world.allowed_web,
            &world.forbidden_web,
        ];
        let all = world
            .edges
            .iter()
            .chain(&world.cores)
            .chain(&world.unified_cm)
            .chain(&world.other_cluster);
        for host in all.chain(&world.im_presence).chain(inside) {
            zone.address(&host.fqdn, host.address);
        }
        for node in &world.unified_cm {
            zone.service(&format!("_cisco-uds._tcp.{DOMAIN}"), 8443, &node.fqdn);
        }
        for node in &world.im_presence {
            zone.service(&format!("_cuplogin._tcp.{DOMAIN}"), 8443, &node.fqdn);
        }
        zone
    }

    fn address(&mut self, name: &str, address: IpAddr) {
        let data = match address {
            IpAddr::V4(a) => RData::A(A(a)),
            IpAddr::V6(a) => RData::AAAA(AAAA(a)),
        };
        self.names.entry(name.to_owned()).or_default().push(data);
    }

    fn service(&mut self, name: &str, port: u16, target: &str) {
        if let Ok(target) = Name::from_ascii(format!("{target}.")) {
            let data = RData::SRV(SRV::new(10, 10, port, target));
            self.names.entry(name.to_owned()).or_default().push(data);
        }
    }

    /// The answer to one query; none to what is no query.
    fn answer(&self, bytes: &[u8], size_max: usize) -> Option<Vec<u8>> {
        let query = Message::from_vec(bytes).ok()?;
        if query.metadata.message_type != MessageType::Query {
            return None;
        }
        let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
        answer.metadata.recursion_desired = query.metadata.recursion_desired;
        answer.metadata.recursion_available = false;
        answer.metadata.authoritative = true;
        let [question] = query.queries.as_slice() else {
            answer.metadata.response_code = ResponseCode::FormErr;
            return answer.to_vec().ok();
        };
        answer.add_query(question.clone());
        let name = question.name().to_lowercase().to_ascii();
        let name = name.trim_end_matches('.');
        if query.metadata.op_code != OpCode::Query || question.query_class() != DNSClass::IN {
            answer.metadata.response_code = ResponseCode::NotImp;
        } else if name != DOMAIN && !name.ends_with(&format!(".{DOMAIN}")) {
            answer.metadata.authoritative = false;
            answer.metadata.response_code = ResponseCode::Refused;
        } else {
            self.fill(&mut answer, question.name(), name, question.query_type());
        }
        let mut bytes = answer.to_vec().ok()?;
        if bytes.len() > size_max {
            answer.answers.clear();
            answer.additionals.clear();
            answer.metadata.truncation = true;
            bytes = answer.to_vec().ok()?;
        }
        Some(bytes)
    }

    fn fill(&self, answer: &mut Message, owner: &Name, name: &str, asked: RecordType) {
        let known = self.names.get(name);
        for data in known.into_iter().flatten() {
            if data.record_type() == asked || asked == RecordType::ANY {
                answer.add_answer(Record::from_rdata(owner.clone(), TTL_S, data.clone()));
            }
        }
        if answer.answers.is_empty() {
            let below = format!(".{name}");
            let exists = known.is_some() || self.names.keys().any(|n| n.ends_with(&below));
            if !exists && name != DOMAIN {
                answer.metadata.response_code = ResponseCode::NXDomain;
            }
            if let Ok(apex) = Name::from_ascii(format!("{DOMAIN}.")) {
                let server = apex
                    .clone()
                    .prepend_label("ns")
                    .unwrap_or_else(|_| apex.clone());
                let ttl = i32::try_from(TTL_S).unwrap_or(1);
                let soa = SOA::new(server, apex.clone(), 1, ttl, ttl, ttl, TTL_S);
                answer.add_authority(Record::from_rdata(apex, TTL_S, RData::SOA(soa)));
            }
        }
    }
}

/// Answers at `address` over UDP and TCP until the runtime ends; tells the address it got.
///
/// # Errors
/// If the address is taken or not this machine's.
pub async fn serve(address: SocketAddr, zone: Zone) -> io::Result<SocketAddr> {
    let zone = Arc::new(zone);
    let streams = TcpListener::bind(address).await?;
    let bound = streams.local_addr()?;
    let datagrams = UdpSocket::bind(bound).await?;
    tokio::spawn(serve_datagrams(datagrams, zone.clone()));
    tokio::spawn(async move {
        loop {
            match streams.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(timeout(PATIENCE, serve_stream(stream, zone.clone())));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    });
    Ok(bound)
}

async fn serve_datagrams(socket: UdpSocket, zone: Arc<Zone>) {
    let mut buffer = [0; QUERY_MAX];
    loop {
        // An error here is an earlier datagram's (port unreachable); the next may be fine.
        let Ok((size, peer)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        if let Some(answer) = zone.answer(&buffer[..size], udp_size(&buffer[..size])) {
            let _ = socket.send_to(&answer, peer).await;
        }
    }
}

/// How much the asker takes over UDP: 512 bytes, or what its EDNS says (RFC 6891 §6.2.3).
fn udp_size(query: &[u8]) -> usize {
    let edns = Message::from_vec(query)
        .ok()
        .and_then(|m| m.edns.map(|e| e.max_payload()));
    usize::from(edns.unwrap_or(512)).clamp(512, QUERY_MAX)
}

async fn serve_stream(mut stream: TcpStream, zone: Arc<Zone>) -> io::Result<()> {
    let mut buffer = [0; QUERY_MAX];
    loop {
        let size = usize::from(stream.read_u16().await?);
        let Some(query) = buffer.get_mut(..size) else {
            return Ok(());
        };
        stream.read_exact(query).await?;
        let Some(answer) = zone.answer(query, usize::from(u16::MAX)) else {
            return Ok(());
        };
        let size = u16::try_from(answer.len()).unwrap_or(u16::MAX);
        stream.write_all(&size.to_be_bytes()).await?;
        stream.write_all(&answer).await?;
    }
}

#[cfg(test)]
mod tests;
