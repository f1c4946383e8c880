//! Header names: those the product reads, by their long and compact forms (RFC 3261 §7.3.3).

/// A header field's name.
#[derive(Clone, Copy, Debug)]
#[allow(missing_docs)] // Each is named as its RFC names it.
pub enum Name {
    Via,
    From,
    To,
    CallId,
    CSeq,
    Contact,
    Route,
    RecordRoute,
    Path,
    ServiceRoute,
    MaxForwards,
    Expires,
    MinExpires,
    ContentLength,
    ContentType,
    Authorization,
    WwwAuthenticate,
    ProxyAuthorization,
    ProxyAuthenticate,
    AuthenticationInfo,
    Require,
    ProxyRequire,
    Supported,
    Unsupported,
    Allow,
    Event,
    SubscriptionState,
    ReferTo,
    ReferredBy,
    Replaces,
    RAck,
    RSeq,
    SessionExpires,
    MinSe,
    Warning,
    RetryAfter,
    UserAgent,
    Server,
    PAssertedIdentity,
    PPreferredIdentity,
    RemotePartyId,
    HistoryInfo,
    Diversion,
    Privacy,
    Date,
    Reason,
    SessionId,
    FlowTimer,
    /// Any other, matched without regard to case.
    Other(&'static str),
}

/// How many names are known; fewer than 64.
pub(crate) const KNOWN: usize = 48;

/// Every known name with its long form and, where it has one, its compact form.
const TABLE: [(Name, &str, u8); KNOWN] = [
    (Name::Via, "Via", b'v'),
    (Name::From, "From", b'f'),
    (Name::To, "To", b't'),
    (Name::CallId, "Call-ID", b'i'),
    (Name::CSeq, "CSeq", 0),
    (Name::Contact, "Contact", b'm'),
    (Name::Route, "Route", 0),
    (Name::RecordRoute, "Record-Route", 0),
    (Name::Path, "Path", 0),
    (Name::ServiceRoute, "Service-Route", 0),
    (Name::MaxForwards, "Max-Forwards", 0),
    (Name::Expires, "Expires", 0),
    (Name::MinExpires, "Min-Expires", 0),
    (Name::ContentLength, "Content-Length", b'l'),
    (Name::ContentType, "Content-Type", b'c'),
    (Name::Authorization, "Authorization", 0),
    (Name::WwwAuthenticate, "WWW-Authenticate", 0),
    (Name::ProxyAuthorization, "Proxy-Authorization", 0),
    (Name::ProxyAuthenticate, "Proxy-Authenticate", 0),
    (Name::AuthenticationInfo, "Authentication-Info", 0),
    (Name::Require, "Require", 0),
    (Name::ProxyRequire, "Proxy-Require", 0),
    (Name::Supported, "Supported", b'k'),
    (Name::Unsupported, "Unsupported", 0),
    (Name::Allow, "Allow", 0),
    (Name::Event, "Event", b'o'),
    (Name::SubscriptionState, "Subscription-State", 0),
    (Name::ReferTo, "Refer-To", b'r'),
    (Name::ReferredBy, "Referred-By", b'b'),
    (Name::Replaces, "Replaces", 0),
    (Name::RAck, "RAck", 0),
    (Name::RSeq, "RSeq", 0),
    (Name::SessionExpires, "Session-Expires", b'x'),
    (Name::MinSe, "Min-SE", 0),
    (Name::Warning, "Warning", 0),
    (Name::RetryAfter, "Retry-After", 0),
    (Name::UserAgent, "User-Agent", 0),
    (Name::Server, "Server", 0),
    (Name::PAssertedIdentity, "P-Asserted-Identity", 0),
    (Name::PPreferredIdentity, "P-Preferred-Identity", 0),
    (Name::RemotePartyId, "Remote-Party-ID", 0),
    (Name::HistoryInfo, "History-Info", 0),
    (Name::Diversion, "Diversion", 0),
    (Name::Privacy, "Privacy", 0),
    (Name::Date, "Date", 0),
    (Name::Reason, "Reason", 0),
    (Name::SessionId, "Session-ID", 0),
    (Name::FlowTimer, "Flow-Timer", 0),
];

impl Name {
    /// The name as it is written, long.
    pub fn as_str(self) -> &'static str {
        match self {
            Name::Other(name) => name,
            known => TABLE
                .get(known.index() as usize)
                .map_or("", |(_, name, _)| name),
        }
    }

    /// The position in the table; 255 for [`Name::Other`].
    pub(crate) fn index(self) -> u8 {
        match self {
            Name::Other(_) => UNKNOWN,
            Name::Via => 0,
            Name::From => 1,
            Name::To => 2,
            Name::CallId => 3,
            Name::CSeq => 4,
            Name::Contact => 5,
            Name::Route => 6,
            Name::RecordRoute => 7,
            Name::Path => 8,
            Name::ServiceRoute => 9,
            Name::MaxForwards => 10,
            Name::Expires => 11,
            Name::MinExpires => 12,
            Name::ContentLength => 13,
            Name::ContentType => 14,
            Name::Authorization => 15,
            Name::WwwAuthenticate => 16,
            Name::ProxyAuthorization => 17,
            Name::ProxyAuthenticate => 18,
            Name::AuthenticationInfo => 19,
            Name::Require => 20,
            Name::ProxyRequire => 21,
            Name::Supported => 22,
            Name::Unsupported => 23,
            Name::Allow => 24,
            Name::Event => 25,
            Name::SubscriptionState => 26,
            Name::ReferTo => 27,
            Name::ReferredBy => 28,
            Name::Replaces => 29,
            Name::RAck => 30,
            Name::RSeq => 31,
            Name::SessionExpires => 32,
            Name::MinSe => 33,
            Name::Warning => 34,
            Name::RetryAfter => 35,
            Name::UserAgent => 36,
            Name::Server => 37,
            Name::PAssertedIdentity => 38,
            Name::PPreferredIdentity => 39,
            Name::RemotePartyId => 40,
            Name::HistoryInfo => 41,
            Name::Diversion => 42,
            Name::Privacy => 43,
            Name::Date => 44,
            Name::Reason => 45,
            Name::SessionId => 46,
            Name::FlowTimer => 47,
        }
    }

    /// The name at a position of the table.
    pub(crate) fn at(index: u8) -> Name {
        TABLE
            .get(index as usize)
            .map_or(Name::Other(""), |(name, _, _)| *name)
    }

    /// Finds a name as it came, long or compact.
    #[inline]
    pub(crate) fn find(bytes: &[u8]) -> u8 {
        if let [one] = bytes {
            let lower = one.to_ascii_lowercase();
            return TABLE
                .iter()
                .position(|(_, _, c)| *c == lower)
                .map_or(UNKNOWN, |i| i as u8);
        }
        let Some(index) = BUCKETS.get(bucket(bytes)).copied() else {
            return UNKNOWN;
        };
        match TABLE.get(usize::from(index)) {
            Some((_, name, _)) if same(name.as_bytes(), bytes) => index,
            _ => UNKNOWN,
        }
    }
}

pub(crate) const UNKNOWN: u8 = 255;

/// Whether two names are the same. As a rule they come as RFCs write them.
#[inline]
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && (a.iter().zip(b).all(|(a, b)| a == b) || a.eq_ignore_ascii_case(b))
}

/// Where a name is looked for: length, first, last and middle letter tell all known ones apart.
const fn bucket(name: &[u8]) -> usize {
    let length = name.len();
    if length == 0 {
        return 0;
    }
    let first = name[0].to_ascii_lowercase() as usize;
    let last = name[length - 1].to_ascii_lowercase() as usize;
    let middle = name[length / 2].to_ascii_lowercase() as usize;
    (length * 31 + first * 25 + last * 26 + middle) % 128
}

/// The index of the name that has a bucket. Two names in one do not compile.
static BUCKETS: [u8; 128] = buckets();

const fn buckets() -> [u8; 128] {
    let mut table = [UNKNOWN; 128];
    let mut i = 0;
    while i < TABLE.len() {
        let bucket = bucket(TABLE[i].1.as_bytes());
        assert!(table[bucket] == UNKNOWN, "two names want one bucket");
        table[bucket] = i as u8;
        i += 1;
    }
    table
}

impl PartialEq for Name {
    fn eq(&self, other: &Name) -> bool {
        match (self, other) {
            (Name::Other(a), Name::Other(b)) => a.eq_ignore_ascii_case(b),
            (a, b) => a.index() == b.index(),
        }
    }
}

impl Eq for Name {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_long_compact_and_in_any_case() {
        for (i, (name, long, compact)) in TABLE.iter().enumerate() {
            assert_eq!(name.index() as usize, i);
            assert_eq!(
                Name::find(long.to_ascii_uppercase().as_bytes()),
                name.index()
            );
            if *compact != 0 {
                assert_eq!(Name::find(&[*compact]), name.index());
            }
        }
        assert_eq!(Name::find(b"X-Unknown"), UNKNOWN);
    }
}
