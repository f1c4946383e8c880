//! Names of requests that hold from the client to the inside: W3C Trace Context.
//!
//! A client's `traceparent` keeps its trace id if it is one and the only one; else the request gets
//! a trace id here. Each node adds a span of its own: what goes on is `traceparent` with that. The
//! trace id stands in the `wire` log lines and the events of both nodes. `tracestate` passes with
//! the `traceparent` it belongs to and with no other. Ids are unlikely to meet, and no secrets.

use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};

use http::HeaderMap;
use http::header::{HeaderName, HeaderValue};

/// The request's trace, as it travels.
pub const PARENT: HeaderName = HeaderName::from_static("traceparent");
/// What tracing systems add to it.
pub const STATE: HeaderName = HeaderName::from_static("tracestate");

/// The longest `tracestate` that passes, in bytes (W3C Trace Context §3.3.1.5).
const STATE_MAX: usize = 512;

/// Makes ids.
#[derive(Debug)]
pub struct Traces {
    seeds: [u64; 2],
    next: AtomicU64,
}

impl Traces {
    /// Ids that no other start of the program makes.
    ///
    /// # Errors
    /// If the system has no randomness.
    pub fn start() -> Result<Self, net::Error> {
        let seed = net::random_seed()?;
        let mut words = seed.chunks_exact(8);
        let mut word = || {
            let bytes = words.next().and_then(|w| w.try_into().ok());
            bytes.map_or(1, u64::from_le_bytes)
        };
        Ok(Traces {
            seeds: [word(), word()],
            next: AtomicU64::new(1),
        })
    }

    /// The trace of a request whose fields these are, with a span of this node. Takes the fields
    /// out; [`Trace::write`] puts the new ones in.
    pub fn take(&self, headers: &mut HeaderMap) -> Trace {
        let state: Vec<HeaderValue> = headers.get_all(STATE).iter().cloned().collect();
        headers.remove(STATE);
        let n = self.next.fetch_add(1, Ordering::Relaxed);
        let span = mixed(self.seeds[0] ^ self.seeds[1], n).max(1);
        let mut parents = headers.get_all(PARENT).iter();
        let parent = match (parents.next(), parents.next()) {
            (Some(one), None) => read(one.as_bytes()),
            _ => None,
        };
        let trace = match parent {
            Some((id, flags)) => Trace {
                id,
                flags,
                span,
                state: state
                    .into_iter()
                    .filter(|v| v.len() <= STATE_MAX)
                    .take(1)
                    .collect(),
            },
            None => Trace {
                id: u128::from(mixed(self.seeds[0], n)) << 64 | u128::from(mixed(self.seeds[1], n)),
                flags: 0,
                span,
                state: Vec::new(),
            },
        };
        headers.remove(PARENT);
        trace
    }
}

/// A step of SplitMix64: every bit of the result depends on every bit of both.
fn mixed(seed: u64, n: u64) -> u64 {
    let mut z = seed.wrapping_add(n.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Trace id and flags of a `traceparent` of version 00, or of a later one by its first parts.
fn read(value: &[u8]) -> Option<(u128, u8)> {
    let text = std::str::from_utf8(value).ok()?;
    let mut parts = text.split('-');
    let (version, id, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // What a later version has behind these is none of ours.
    let hex = |part: &str| part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
    let lower = [version, id, span, flags].into_iter().all(hex);
    let sizes = version.len() == 2 && id.len() == 32 && span.len() == 16 && flags.len() == 2;
    if !lower || !sizes || version == "ff" || (version == "00" && parts.next().is_some()) {
        return None;
    }
    let id = u128::from_str_radix(id, 16).ok()?;
    let span = u64::from_str_radix(span, 16).ok()?;
    let flags = u8::from_str_radix(flags, 16).ok()?;
    // Of the flags of versions to come nothing is known.
    (id != 0 && span != 0).then_some((id, flags & 0b11))
}

/// One request's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trace {
    id: u128,
    span: u64,
    flags: u8,
    state: Vec<HeaderValue>,
}

impl Trace {
    /// Puts the trace into what goes on.
    pub fn write(&self, headers: &mut HeaderMap) {
        if let Some(parent) = self.parent() {
            headers.insert(PARENT, parent);
        }
        for state in &self.state {
            headers.append(STATE, state.clone());
        }
    }

    /// As a `traceparent`.
    pub fn parent(&self) -> Option<HeaderValue> {
        let text = format!("00-{:032x}-{:016x}-{:02x}", self.id, self.span, self.flags);
        HeaderValue::try_from(text).ok()
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_good_trace_goes_on_with_a_span_of_ours() {
        let traces = Traces::start().unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(PARENT, HeaderValue::from_static(GIVEN));
        headers.insert(STATE, HeaderValue::from_static("vendor=1"));
        let trace = traces.take(&mut headers);
        assert_eq!(trace.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert!(headers.is_empty());
        trace.write(&mut headers);
        let parent = headers[PARENT].to_str().unwrap();
        assert!(parent.starts_with("00-4bf92f3577b34da6a3ce929d0e0e4736-"));
        assert!(parent.ends_with("-01") && parent != GIVEN, "{parent}");
        assert_eq!(headers[STATE], "vendor=1");
        // The next node reads what this one wrote.
        assert_eq!(traces.take(&mut headers).to_string(), trace.to_string());
    }

    #[test]
    fn what_is_no_trace_is_replaced_with_its_state() {
        let traces = Traces::start().unwrap();
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        let mut seen = std::collections::HashSet::new();
        for bad in [
            "",
            "00",
            "x",
            &format!("00-{id}-00f067aa0ba902b7-01-x"),
            &format!("00-{id}-0000000000000000-01"),
            &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            &format!("00-{}-00f067aa0ba902b7-01", id.to_uppercase()),
            &format!("ff-{id}-00f067aa0ba902b7-01"),
            &format!("00-{id}-00f067aa0ba902b7-1"),
            &format!("00-+{}-00f067aa0ba902b7-01", &id[1..]),
            &format!("00-{id}\u{e9}-00f067aa0ba902b7-01"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(PARENT, HeaderValue::from_bytes(bad.as_bytes()).unwrap());
            headers.insert(STATE, HeaderValue::from_static("vendor=1"));
            let trace = traces.take(&mut headers);
            trace.write(&mut headers);
            assert!(!headers.contains_key(STATE), "{bad}");
            assert!(trace.to_string() != id && seen.insert(trace.to_string()));
        }
        let mut two = HeaderMap::new();
        two.append(PARENT, HeaderValue::from_static(GIVEN));
        two.append(PARENT, HeaderValue::from_static(GIVEN));
        assert_ne!(traces.take(&mut two).to_string(), id);
        // A later version is read by the parts that are known.
        let mut later = HeaderMap::new();
        let value = format!("01-{id}-00f067aa0ba902b7-ff-more");
        later.insert(PARENT, value.parse().unwrap());
        let trace = traces.take(&mut later);
        assert_eq!(trace.to_string(), id);
        let parent = trace.parent().unwrap();
        assert!(parent.as_bytes().ends_with(b"-03"));
    }
}
