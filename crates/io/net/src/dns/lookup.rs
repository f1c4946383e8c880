//! Records as they stand in DNS, for people who look for a fault: nothing is chosen or put in
//! order, and each keeps its name, type and time to live. Bounds: those of [`Resolver`].

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use super::{Resolver, absolute};
use crate::Error;

/// A type of record that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// An IPv4 address.
    A,
    /// An IPv6 address.
    Aaaa,
    /// Where a service is (RFC 2782).
    Srv,
    /// Which services there are (RFC 3403).
    Naptr,
    /// The name of an address (RFC 1035 §3.5).
    Ptr,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Kind::A => "A",
            Kind::Aaaa => "AAAA",
            Kind::Srv => "SRV",
            Kind::Naptr => "NAPTR",
            Kind::Ptr => "PTR",
        })
    }
}

/// One record of an answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Whose it is, without a final dot; another than was asked for if an alias led there.
    pub name: String,
    /// Its type; `CNAME` for an alias on the way.
    pub kind: String,
    /// Seconds that it may be kept.
    pub ttl_s: u32,
    /// What it says, as in a zone file.
    pub data: String,
    /// What it leads to.
    pub points: Points,
}

/// What a record leads to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Points {
    /// An address.
    Address(IpAddr),
    /// A host and port; the host is empty if the service is decidedly not offered.
    Service(String, u16),
    /// Nothing of these.
    Elsewhere,
}

impl Resolver {
    /// All records of a type that a name has, and the aliases that led to them. For
    /// [`Kind::Ptr`], the name may be an address.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NoAnswer`].
    pub async fn records(&self, name: &str, kind: Kind) -> Result<Vec<Found>, Error> {
        let asked = match (kind, IpAddr::from_str(name)) {
            (Kind::Ptr, Ok(address)) => Name::from(address).to_ascii(),
            _ => absolute(name),
        };
        let of = match kind {
            Kind::A => RecordType::A,
            Kind::Aaaa => RecordType::AAAA,
            Kind::Srv => RecordType::SRV,
            Kind::Naptr => RecordType::NAPTR,
            Kind::Ptr => RecordType::PTR,
        };
        let answer = self
            .bounded(name, self.inner.lookup(asked.as_str(), of))
            .await?;
        let records = answer.answers();
        if !records.iter().any(|r| r.record_type() == of) {
            return Err(Error::NotFound {
                name: name.to_owned(),
            });
        }
        let shown = |r: &&Record| [of, RecordType::CNAME].contains(&r.record_type());
        let mut found: Vec<Found> = records.iter().filter(shown).map(read).collect();
        // Servers turn their answers round; people compare them.
        found.sort_by(|a, b| (a.kind != "CNAME", &a.data).cmp(&(b.kind != "CNAME", &b.data)));
        Ok(found)
    }
}

fn read(record: &Record) -> Found {
    let points = match &record.data {
        RData::A(a) => Points::Address(IpAddr::V4(a.0)),
        RData::AAAA(a) => Points::Address(IpAddr::V6(a.0)),
        RData::SRV(srv) => Points::Service(undotted(&srv.target), srv.port),
        _ => Points::Elsewhere,
    };
    Found {
        name: undotted(&record.name),
        kind: record.record_type().to_string(),
        ttl_s: record.ttl,
        data: record.data.to_string(),
        points,
    }
}

fn undotted(name: &Name) -> String {
    name.to_ascii().trim_end_matches('.').to_owned()
}
