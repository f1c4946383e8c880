//! Header names: those the product reads, by their long and compact forms (RFC 3261 §7.3.3).

use crate::class::equal;

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

    /// The name with its colon and a blank, if it is a known one.
    #[inline]
    pub(crate) fn as_line(self) -> Option<&'static [u8]> {
        let index = usize::from(self.index());
        let (_, name, _) = TABLE.get(index)?;
        LINES.get(index)?.get(..name.len() + 2)
    }

    /// The position in the table; 255 for [`Name::Other`].
    #[inline]
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

    /// Finds a known name in the first bytes of a window; nothing if it has to be looked at more
    /// closely. There is no carriage return before `length`.
    #[inline(always)]
    pub(crate) fn find_in(window: &[u8; WINDOW], length: usize) -> Option<u8> {
        if length == 1 {
            return Some(COMPACT[usize::from(window[0])]).filter(|found| *found != UNKNOWN);
        }
        let mask = MASKS.get(length)?;
        let [a, b, c] = words(window);
        // A letter without regard to case: of what stands in known names only the hyphen is no
        // letter, and nothing but a carriage return becomes one.
        let name = [
            (a | LOWER) & mask[0],
            (b | LOWER) & mask[1],
            (c | LOWER) & mask[2],
        ];
        let index = BUCKETS[bucket(name)];
        let wanted = PADDED.get(usize::from(index))?;
        let other = (name[0] ^ wanted[0]) | (name[1] ^ wanted[1]) | (name[2] ^ wanted[2]);
        (other == 0).then_some(index)
    }

    /// Finds a name as it came, long or compact.
    pub(crate) fn find(bytes: &[u8]) -> u8 {
        let mut window = [0; WINDOW];
        match window.get_mut(..bytes.len()) {
            Some(part) if !bytes.contains(&b'\r') => part.copy_from_slice(bytes),
            _ => return UNKNOWN,
        }
        Name::find_in(&window, bytes.len()).unwrap_or(UNKNOWN)
    }
}

pub(crate) const UNKNOWN: u8 = 255;

/// Bytes that are looked at to find a name: no known one fills them with its colon.
pub(crate) const WINDOW: usize = 24;

const LOWER: u64 = u64::from_ne_bytes([0x20; 8]);

#[inline(always)]
fn words(window: &[u8; WINDOW]) -> [u64; 3] {
    let (words, _) = window.as_chunks::<8>();
    match words {
        &[a, b, c] => [a, b, c].map(u64::from_le_bytes),
        _ => [0; 3],
    }
}

/// Where the first colon of a window stands.
#[inline(always)]
pub(crate) fn colon(window: &[u8; WINDOW]) -> Option<usize> {
    let [a, b, c] = words(window).map(|word| equal(word, b':'));
    // Chosen without a branch: how long a name is, is nothing that can be guessed.
    let (word, at) = if b != 0 { (b, 8) } else { (c, 16) };
    let (word, at) = if a != 0 { (a, 0) } else { (word, at) };
    (word != 0).then(|| at + word.trailing_zeros() as usize / 8)
}

/// The names in lower case, filled up with nothing.
static PADDED: [[u64; 3]; KNOWN] = padded();

const fn padded() -> [[u64; 3]; KNOWN] {
    let mut table = [[0; 3]; KNOWN];
    let mut i = 0;
    while i < KNOWN {
        let name = TABLE[i].1.as_bytes();
        assert!(name.len() < WINDOW, "a name is too long");
        let mut at = 0;
        while at < name.len() {
            let lower = name[at].to_ascii_lowercase();
            assert!(lower == b'-' || lower.is_ascii_lowercase(), "no letter");
            table[i][at / 8] |= (lower as u64) << (8 * (at % 8));
            at += 1;
        }
        i += 1;
    }
    table
}

/// Room for a name with its colon and a blank.
const LINE: usize = WINDOW + 2;

/// The names as they begin a line that we write.
static LINES: [[u8; LINE]; KNOWN] = lines();

const fn lines() -> [[u8; LINE]; KNOWN] {
    let mut table = [[0; LINE]; KNOWN];
    let mut i = 0;
    while i < KNOWN {
        let name = TABLE[i].1.as_bytes();
        let mut at = 0;
        while at < name.len() {
            table[i][at] = name[at];
            at += 1;
        }
        table[i][at] = b':';
        table[i][at + 1] = b' ';
        i += 1;
    }
    table
}

/// The bytes of a window that a name of some length has.
static MASKS: [[u64; 3]; WINDOW] = masks();

const fn masks() -> [[u64; 3]; WINDOW] {
    let mut table = [[0; 3]; WINDOW];
    let mut length = 0;
    while length < WINDOW {
        let mut at = 0;
        while at < length {
            table[length][at / 8] |= 255 << (8 * (at % 8));
            at += 1;
        }
        length += 1;
    }
    table
}

/// The index of the name that has a compact form, in either case.
static COMPACT: [u8; 256] = compact();

const fn compact() -> [u8; 256] {
    let mut table = [UNKNOWN; 256];
    let mut i = 0;
    while i < KNOWN {
        let letter = TABLE[i].2;
        if letter != 0 {
            table[letter as usize] = i as u8;
            table[letter.to_ascii_uppercase() as usize] = i as u8;
        }
        i += 1;
    }
    table
}

/// Where a name is looked for: no two known ones meet.
#[inline(always)]
const fn bucket([a, b, c]: [u64; 3]) -> usize {
    let all = a ^ b.rotate_left(11) ^ c.rotate_left(22);
    (all.wrapping_mul(SPREAD) >> 56) as usize
}

/// Odd, and found by trying.
const SPREAD: u64 = 0x04d7_5988_9213_147b;

/// The index of the name that has a bucket. Two names in one do not compile.
static BUCKETS: [u8; 256] = buckets();

const fn buckets() -> [u8; 256] {
    let (mut table, names) = ([UNKNOWN; 256], padded());
    let mut i = 0;
    while i < KNOWN {
        let bucket = bucket(names[i]);
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
