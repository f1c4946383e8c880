//! Registration: what edge and core agree on about a client's REGISTER.
//!
//! The edge challenges and the core checks. A client answers a challenge of its edge's realm; the
//! edge checks only that the nonce is its own and fresh, puts its flow token into Path (RFC 3327)
//! and passes the Authorization field on as it came ([`credentials`]). The core checks the digest
//! against the credentials it keeps, takes that field out and registers inside. It answers a wrong
//! digest or an unknown user alike: 401 *without* any challenge, which the edge adds again. A 401
//! or 407 that does carry a challenge is call control's own and passes to the client as it is.
//!
//! **Replay.** An edge holds no H(A1), so it cannot make a digest, but it sees each one. A nonce
//! begins with the time it was made ([`sip::nonce::issued`]), and the client's digest covers the
//! nonce: so the core refuses nonces older than [`sip::nonce::LIFE`] by its own clock or dated
//! ahead of it by more than the tolerated skew, and takes each pair of nonce and count once while
//! the nonce is fresh. A core that was restarted has forgotten the pairs, so it takes no nonce
//! from before it began ([`core::Admission`]); the edge knows when that was, and challenges again
//! with `stale=true`. What a hostile edge sees is worthless to it after that. It could date a
//! nonce ahead and keep the client's answer for that date; the client is on the edge at that time
//! and the core forgets a user who does not sign in, so this buys it at most what it has anyway:
//! the registration of a client that trusts it.
//!
//! Requests other than REGISTER need no credentials: they come on a flow that a registration has
//! made known. The edge records the flow's token (Record-Route) and asserts the registration's
//! address of record in P-Asserted-Identity (RFC 3325), which the core believes only of those
//! registered by that edge. A core that was restarted knows no flows: it answers 407 without a
//! challenge, to which the edge adds its own, and the answer in Proxy-Authorization goes the same
//! way as a REGISTER's. What only a trusted node may say is taken out of everything a client sends
//! ([`is_privileged`]).

mod claims;
pub mod core;
pub mod edge;
mod turn;

use sip::{Contact, HeaderError, Message, Name};

pub use claims::{commands_a_phone, is_claim, is_for_friends, is_privileged, links, without_links};
pub use turn::Turn;

/// Contacts in one REGISTER; more are refused with 403.
pub const CONTACTS_MAX: usize = 10;

/// In a core's 2xx to a REGISTER: the zone of call control that accepted it. The edge takes it out.
pub const ZONE_FIELD: &str = "X-Causeway-Zone";

/// The Contact parameter that names a device of Unified CM (`protocol.md` 5.3).
const DEVICE: &[u8] = b"+u.sip!devicename.ccm.cisco.com";

/// The field of a name (Authorization or Proxy-Authorization) that answers a challenge of `realm`,
/// by its number in the message, and what it says.
pub fn credentials<'m>(
    message: &'m Message,
    name: Name,
    realm: &str,
) -> Option<(usize, sip::digest::Credentials<'m>)> {
    message.fields().filter(|f| f.id == name).find_map(|f| {
        let found = sip::digest::Credentials::parse(f.value).ok()?;
        (found.realm == realm.as_bytes()).then_some((f.index, found))
    })
}

/// Whether a field of a name carries a token (RFC 6750, RFC 8898) instead of a digest. Neither node
/// reads it: it is for call control.
pub fn bears_token(message: &Message, name: Name) -> bool {
    message.values(name).any(is_bearer)
}

fn is_bearer(value: &[u8]) -> bool {
    let scheme = value.trim_ascii().split(|b| b.is_ascii_whitespace()).next();
    scheme.is_some_and(|s| s.eq_ignore_ascii_case(b"Bearer"))
}

/// What a REGISTER asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked<'m> {
    /// No Contact: tell what is registered.
    Query,
    /// `Contact: *` with `Expires: 0`: remove all.
    RemoveAll,
    /// These.
    Contacts(Vec<AskedContact<'m>>),
}

/// One Contact of a REGISTER.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskedContact<'m> {
    /// The URI.
    pub uri: &'m [u8],
    /// `+sip.instance` (RFC 5626 §4.1), brackets still on it; empty without one.
    pub instance: &'m [u8],
    /// `reg-id` (RFC 5626 §4.2), or Cisco's `x-cisco-reg-id`.
    pub reg_id: Option<&'m [u8]>,
    /// `+u.sip!devicename.ccm.cisco.com`; empty without one.
    pub device: &'m [u8],
    /// Seconds, from the contact's own parameter or the message's Expires.
    pub expires_s: Option<u32>,
    /// `cisco-keep-alive`: a sign of life to a standby server, that registers and unregisters
    /// nothing, whatever its Expires is.
    pub keep_alive: bool,
}

impl AskedContact<'_> {
    /// Whether it asks to be removed.
    pub fn removes(&self) -> bool {
        self.expires_s == Some(0) && !self.keep_alive
    }
}

/// Reads what a REGISTER asks for.
///
/// # Errors
/// Status and reason of the answer: 400 for what cannot be read or `*` beside something else
/// (RFC 3261 §10.3 step 6) or for two device names on one contact, 403 for more than
/// [`CONTACTS_MAX`] contacts.
pub fn asked(message: &Message) -> Result<Asked<'_>, (u16, &'static str)> {
    let bad = |_: HeaderError| (400, "Bad Contact");
    let expires = message.expires().map_err(|_| (400, "Bad Expires"))?;
    let mut found = Vec::new();
    let mut star = false;
    for contact in message.contacts() {
        match contact.map_err(bad)? {
            Contact::Star => star = true,
            Contact::Address(address) => {
                // Which of two names counts is anybody's guess (RFC 3261 §7.3.1 allows one).
                let names = address.params.iter();
                let devices = names.filter(|(name, _)| name.eq_ignore_ascii_case(DEVICE));
                if devices.count() > 1 {
                    return Err((400, "Bad Contact"));
                }
                found.push(contact_of(&address, expires));
            }
        }
        if found.len() > CONTACTS_MAX {
            return Err((403, "Too Many Contacts"));
        }
    }
    match (star, found.is_empty()) {
        (true, true) if expires == Some(0) => Ok(Asked::RemoveAll),
        (true, _) => Err((400, "Bad Contact")),
        (false, true) => Ok(Asked::Query),
        (false, false) => Ok(Asked::Contacts(found)),
    }
}

fn contact_of<'m>(address: &sip::NameAddr<'m>, expires: Option<u32>) -> AskedContact<'m> {
    let own = address.param(b"expires").and_then(seconds);
    AskedContact {
        uri: address.uri,
        instance: unquoted(address.param(b"+sip.instance")),
        reg_id: address
            .param(b"reg-id")
            .or_else(|| address.param(b"x-cisco-reg-id")),
        device: unquoted(address.param(DEVICE)),
        expires_s: own.or(expires),
        keep_alive: address.param(b"cisco-keep-alive").is_some(),
    }
}

/// A number of seconds; larger ones than 32 bits count as the largest. What is no number counts
/// as absent (RFC 3261 §10.2.1.1).
pub(crate) fn seconds(value: &[u8]) -> Option<u32> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let n = value.iter().fold(0u64, |n, d| {
        n.saturating_mul(10).saturating_add(u64::from(d - b'0'))
    });
    Some(u32::try_from(n).unwrap_or(u32::MAX))
}

fn unquoted(value: Option<&[u8]>) -> &[u8] {
    let value = value.unwrap_or_default();
    value
        .strip_prefix(b"\"")
        .and_then(|v| v.strip_suffix(b"\""))
        .unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn register(fields: &str) -> Message {
        let text = format!(
            "REGISTER sip:example.test SIP/2.0\r\nVia: SIP/2.0/TLS c;branch=z9hG4bK1\r\n\
             From: <sip:1001@example.test>;tag=a\r\nTo: <sip:1001@example.test>\r\n\
             Call-ID: c1\r\nCSeq: 1 REGISTER\r\n{fields}Content-Length: 0\r\n\r\n"
        );
        Message::parse(Bytes::from(text), &sip::Limits::trusted()).unwrap()
    }

    #[test]
    fn contacts_tell_expiry_instance_and_keep_alive() {
        let message = register(
            "Expires: 3600\r\nContact: <sip:a@192.0.2.1:1>;+sip.instance=\"<urn:uuid:1>\";\
             x-cisco-reg-id=1;+u.sip!devicename.ccm.cisco.com=\"CSFALICE\", \
             <sip:b@192.0.2.1>;expires=0;cisco-keep-alive, <sip:c@192.0.2.1>;expires=0\r\n",
        );
        let Ok(Asked::Contacts(found)) = asked(&message) else {
            panic!("{message:?}")
        };
        assert_eq!(found[0].instance, b"<urn:uuid:1>");
        assert_eq!(
            (found[0].expires_s, found[0].device),
            (Some(3600), &b"CSFALICE"[..])
        );
        assert_eq!(found[0].reg_id, Some(&b"1"[..]));
        assert!(found[1].keep_alive && !found[1].removes());
        assert!(found[2].removes());
    }

    #[test]
    fn star_counts_only_alone_and_with_expires_0() {
        let of = |fields: &str| asked(&register(fields)).map(|a| a == Asked::RemoveAll);
        assert_eq!(of("Contact: *\r\nExpires: 0\r\n"), Ok(true));
        assert_eq!(
            of("Contact: *\r\nExpires: 1\r\n"),
            Err((400, "Bad Contact"))
        );
        assert_eq!(
            of("Contact: *, <sip:a@b>\r\nExpires: 0\r\n"),
            Err((400, "Bad Contact"))
        );
        assert_eq!(of(""), Ok(false));
        let many: String = (0..11)
            .map(|i| format!("Contact: <sip:{i}@b>\r\n"))
            .collect();
        assert_eq!(of(&many), Err((403, "Too Many Contacts")));
    }

    #[test]
    fn credentials_are_found_by_realm() {
        let field = |realm: &str| {
            format!(
                "Authorization: Digest username=\"u\", realm=\"{realm}\", nonce=\"n\", \
                 uri=\"sip:x\", response=\"0\"\r\n"
            )
        };
        let message = register(&(field("ccmsipline") + &field("example.test")));
        let found = credentials(&message, Name::Authorization, "example.test");
        assert_eq!(
            found.map(|(i, c)| (i, c.realm)),
            Some((6, &b"example.test"[..]))
        );
        assert!(credentials(&message, Name::ProxyAuthorization, "example.test").is_none());
    }
}
