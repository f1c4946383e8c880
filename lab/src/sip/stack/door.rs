//! How a stack treats connections that come in: whose certificate it takes, how fast one address
//! may send, and keep-alives that are not SIP.
//!
//! A call control throttles each station address (`SIP Station TCP Port Throttle Threshold`); all
//! remote devices share the gateway's. STUN binding requests (RFC 8489 §6.3.1) come on the same
//! connection as SIP (RFC 5626 §4.4.2): their first byte is none that a SIP message begins with.
//! Bounds: a STUN message of 1,500 bytes, 256 addresses.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use rustls_pki_types::CertificateDer;

const ADDRESSES: usize = 256;
const STUN_HEAD: usize = 20;
const STUN_MAX: usize = 1500;
const MAGIC_COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const BINDING_REQUEST: [u8; 2] = [0x00, 0x01];
const BINDING_SUCCESS: [u8; 2] = [0x01, 0x01];
const XOR_MAPPED_ADDRESS: [u8; 2] = [0x00, 0x20];

/// What is asked of those who connect.
#[derive(Clone, Debug, Default)]
pub(crate) struct Door {
    /// Names, one of which a TLS peer's certificate must show; `None` asks for none.
    pub(crate) names: Option<Vec<String>>,
    /// Bytes a second that one address may send over all its connections; `None` for any number.
    pub(crate) bytes_per_s_max: Option<u32>,
}

impl Door {
    /// Whether a certificate shows one of the names that are asked for.
    pub(super) fn takes(&self, chain: Option<&[CertificateDer<'_>]>) -> bool {
        let Some(wanted) = &self.names else {
            return true;
        };
        let Some(certificate) = chain.and_then(<[_]>::first) else {
            return false;
        };
        let Ok(certificate) = webpki::EndEntityCert::try_from(certificate) else {
            return false;
        };
        let shown: Vec<&str> = certificate.valid_dns_names().collect();
        let is_shown = |name: &String| shown.iter().any(|s| s.eq_ignore_ascii_case(name));
        wanted.iter().any(is_shown)
    }
}

/// What each address has sent lately.
#[derive(Default)]
pub(super) struct Throttle(Mutex<HashMap<IpAddr, (Instant, f64)>>);

impl Throttle {
    /// Counts bytes of an address, and says how long to read no more from it.
    pub(super) fn count(&self, source: IpAddr, bytes: usize, door: &Door) -> Duration {
        let Some(rate) = door.bytes_per_s_max.map(f64::from) else {
            return Duration::ZERO;
        };
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if rows.len() >= ADDRESSES {
            rows.retain(|_, (at, _)| now.duration_since(*at) < Duration::from_secs(1));
        }
        let (at, debt) = rows.entry(source).or_insert((now, 0.0));
        let paid = now.duration_since(*at).as_secs_f64() * rate;
        *debt = (*debt - paid).max(0.0) + bytes as f64;
        *at = now;
        // A second's worth may come at once.
        Duration::from_secs_f64(((*debt - rate) / rate).max(0.0))
    }
}

/// STUN messages that stand between SIP messages of a stream.
#[derive(Default)]
pub(super) struct Binding {
    begun: Vec<u8>,
    /// Answers to ours since they were last looked at.
    pub(super) heard: usize,
}

impl Binding {
    /// Takes STUN off the front of what came in while no SIP message is unfinished; gives answers,
    /// and how many bytes were STUN's.
    pub(super) fn take(&mut self, chunk: &[u8], peer: SocketAddr) -> Result<(Vec<Vec<u8>>, usize)> {
        let (mut answers, mut used) = (Vec::new(), 0);
        while let Some(rest) = chunk.get(used..).filter(|rest| !rest.is_empty()) {
            if self.begun.is_empty() && rest[0] > 1 {
                break;
            }
            let head = self
                .begun
                .get(2..4)
                .map(|l| u16::from_be_bytes([l[0], l[1]]));
            let whole = head.map_or(STUN_HEAD, |length| STUN_HEAD + usize::from(length));
            if whole > STUN_MAX {
                bail!("a STUN message of {whole} bytes");
            }
            let goal = if head.is_none() { 4 } else { whole };
            let size = (goal - self.begun.len()).min(rest.len());
            self.begun.extend_from_slice(&rest[..size]);
            used += size;
            if head.is_some() && self.begun.len() == whole {
                let message = std::mem::take(&mut self.begun);
                self.heard += usize::from(message.starts_with(&BINDING_SUCCESS));
                answers.extend(answer(&message, peer));
            }
        }
        Ok((answers, used))
    }
}

/// A binding request (RFC 8489 §6.2.1).
pub(super) fn request(id: [u8; 12]) -> Vec<u8> {
    let mut bytes = BINDING_REQUEST.to_vec();
    bytes.extend([0, 0]);
    bytes.extend(MAGIC_COOKIE);
    bytes.extend(id);
    bytes
}

/// The success response to a binding request, with the address that it came from.
fn answer(request: &[u8], peer: SocketAddr) -> Option<Vec<u8>> {
    if request.get(..2)? != BINDING_REQUEST || request.get(4..8)? != MAGIC_COOKIE {
        return None;
    }
    let id = request.get(8..STUN_HEAD)?;
    let port = peer.port() ^ u16::from_be_bytes([MAGIC_COOKIE[0], MAGIC_COOKIE[1]]);
    let mut value = vec![0, if peer.is_ipv4() { 1 } else { 2 }];
    value.extend(port.to_be_bytes());
    let key = MAGIC_COOKIE.iter().chain(id);
    match peer.ip() {
        IpAddr::V4(ip) => value.extend(ip.octets().iter().zip(key).map(|(a, k)| a ^ k)),
        IpAddr::V6(ip) => value.extend(ip.octets().iter().zip(key).map(|(a, k)| a ^ k)),
    }
    let length = u16::try_from(value.len()).ok()?;
    let mut out = BINDING_SUCCESS.to_vec();
    out.extend((length + 4).to_be_bytes());
    out.extend(MAGIC_COOKIE);
    out.extend(id);
    out.extend(XOR_MAPPED_ADDRESS);
    out.extend(length.to_be_bytes());
    out.extend(value);
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stun_is_taken_off_in_every_chunking_and_sip_is_left() {
        let peer = "127.0.2.1:40000".parse().unwrap();
        let mut stream = request(*b"abcdefghijkl");
        stream.extend(request(*b"abcdefghijkl"));
        stream.extend(b"OPTIONS");
        for size in 1..=stream.len() {
            let (mut binding, mut answers, mut left) = (Binding::default(), 0, Vec::new());
            for chunk in stream.chunks(size) {
                if !left.is_empty() {
                    left.extend(chunk);
                    continue;
                }
                let (found, used) = binding.take(chunk, peer).unwrap();
                answers += found.len();
                left.extend(&chunk[used..]);
                for response in found {
                    assert_eq!(
                        (&response[..2], &response[8..20]),
                        (&[1, 1][..], &request(*b"abcdefghijkl")[8..])
                    );
                    assert_eq!(response[28..32], [0x21 ^ 127, 0x12, 0xa4 ^ 2, 0x42 ^ 1]);
                }
            }
            assert_eq!(
                (answers, left.as_slice()),
                (2, &b"OPTIONS"[..]),
                "chunks of {size}"
            );
        }
    }

    #[test]
    fn address_that_sends_more_than_its_rate_has_to_wait() {
        let (throttle, source) = (Throttle::default(), "127.0.2.1".parse().unwrap());
        let door = Door {
            bytes_per_s_max: Some(1000),
            ..Door::default()
        };
        assert_eq!(throttle.count(source, 900, &door), Duration::ZERO);
        let wait = throttle.count(source, 2100, &door);
        assert!(
            wait > Duration::from_millis(1500) && wait <= Duration::from_secs(2),
            "{wait:?}"
        );
        assert_eq!(
            throttle.count(source, 1 << 20, &Door::default()),
            Duration::ZERO
        );
    }
}
