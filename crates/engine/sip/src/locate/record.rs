//! What DNS is asked and what it says, as a search takes it (RFC 2782, RFC 3403 §4).

use std::net::IpAddr;

use base::Rng;

/// A question for DNS.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Question {
    /// The NAPTR records of a name.
    Naptr(String),
    /// The SRV records of a name.
    Service(String),
    /// The A and AAAA records of a name.
    Address(String),
}

impl Question {
    /// The name that is asked for.
    pub fn name(&self) -> &str {
        match self {
            Question::Naptr(name) | Question::Service(name) | Question::Address(name) => name,
        }
    }
}

/// A NAPTR record (RFC 3403 §4).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Naptr {
    /// Lower ones before all others.
    pub order: u16,
    /// Lower ones first within an order.
    pub preference: u16,
    /// `S` if the replacement is a name with SRV records; others are passed over.
    pub flags: String,
    /// `SIP+D2U`, `SIP+D2T`, `SIPS+D2T`; others are passed over.
    pub service: String,
    /// The next name to ask for.
    pub replacement: String,
}

/// An SRV record (RFC 2782).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// Lower ones before all others.
    pub priority: u16,
    /// The share within a priority.
    pub weight: u16,
    /// The port.
    pub port: u16,
    /// The host; `.` or nothing if the service decidedly is not offered.
    pub target: String,
}

impl Service {
    /// A record.
    pub fn new(priority: u16, weight: u16, port: u16, target: &str) -> Self {
        Service {
            priority,
            weight,
            port,
            target: target.to_owned(),
        }
    }
}

/// What DNS says to a [`Question`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Records, in any order.
    Naptr(Vec<Naptr>),
    /// Records, in any order.
    Service(Vec<Service>),
    /// Addresses, in the order to try them.
    Address(Vec<IpAddr>),
    /// There is no such name, or no such record.
    Absent,
    /// No server answered.
    Failed,
}

/// Orders records as RFC 2782 asks: by priority; within one, drawn by weight without putting back,
/// those of weight 0 with the smallest chance.
pub(super) fn in_order(mut records: Vec<Service>, rng: &mut Rng) -> Vec<Service> {
    // The whole record is the key, so that the order DNS gave them in does not matter.
    records.sort_by(|a, b| {
        (a.priority, a.weight, &a.target, a.port).cmp(&(b.priority, b.weight, &b.target, b.port))
    });
    let mut ordered = Vec::with_capacity(records.len());
    while let Some(priority) = records.first().map(|r| r.priority) {
        let same = records
            .iter()
            .take_while(|r| r.priority == priority)
            .count();
        let mut rest: Vec<Service> = records.drain(..same).collect();
        while !rest.is_empty() {
            let total: u64 = rest.iter().map(|r| u64::from(r.weight)).sum();
            let mark = rng.below(total + 1);
            let mut sum = 0;
            let drawn = rest.iter().position(|r| {
                sum += u64::from(r.weight);
                sum >= mark
            });
            ordered.push(rest.remove(drawn.unwrap_or(0)));
        }
    }
    ordered
}
