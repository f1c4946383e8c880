//! How many connections one source may have at a time.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

/// Counts connections by source: an IPv4 address, or the /64 network of an IPv6 address.
/// Cheap to clone; all clones are one. Loopback counts like any other.
#[derive(Clone, Debug)]
pub struct Sources {
    counts: Arc<Mutex<Counts>>,
    each_max: usize,
    all_max: usize,
}

#[derive(Debug, Default)]
struct Counts {
    by_source: HashMap<IpAddr, usize>,
    all: usize,
}

impl Sources {
    /// At most `each_max` (default in the house: 100) connections a source and `all_max` in all.
    pub fn new(each_max: usize, all_max: usize) -> Self {
        Sources {
            counts: Arc::default(),
            each_max,
            all_max,
        }
    }

    /// Admits one connection, until the answer is dropped.
    pub fn admit(&self, source: IpAddr) -> Option<Admitted> {
        let source = network(source);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if counts.all >= self.all_max {
            return None;
        }
        let of_source = counts.by_source.entry(source).or_default();
        if *of_source >= self.each_max {
            return None;
        }
        *of_source += 1;
        counts.all += 1;
        Some(Admitted {
            counts: self.counts.clone(),
            source,
        })
    }
}

fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => {
            let [a, b, c, d, ..] = v6.segments();
            IpAddr::from([a, b, c, d, 0, 0, 0, 0])
        }
        v4 => v4,
    }
}

/// A counted connection.
#[derive(Debug)]
pub struct Admitted {
    counts: Arc<Mutex<Counts>>,
    source: IpAddr,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.all -= 1;
        if let Some(n) = counts.by_source.get_mut(&self.source) {
            *n -= 1;
            if *n == 0 {
                counts.by_source.remove(&self.source);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_source_has_its_share_and_no_more() {
        let sources = Sources::new(2, 4);
        let v4: IpAddr = "192.0.2.1".parse().unwrap();
        let one = sources.admit(v4).unwrap();
        let _two = sources.admit("::ffff:192.0.2.1".parse().unwrap()).unwrap();
        assert!(sources.admit(v4).is_none());
        drop(one);
        let _three = sources.admit(v4).unwrap();
        let _four = sources.admit("2001:db8::1".parse().unwrap()).unwrap();
        let _five = sources.admit("2001:db8::2".parse().unwrap()).unwrap();
        assert!(
            sources.admit("2001:db8::3".parse().unwrap()).is_none(),
            "the /64 is full"
        );
        assert!(
            sources.admit("192.0.2.9".parse().unwrap()).is_none(),
            "all are full"
        );
        assert_eq!(sources.counts.lock().unwrap().by_source.len(), 2);
    }
}
