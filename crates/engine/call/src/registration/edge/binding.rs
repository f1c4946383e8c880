//! One contact of one address of record on one flow, in as few bytes as it needs: an edge has one
//! for each telephone, and telephones by the ten thousand.

use std::net::SocketAddr;

use base::{Endpoint, Instant, Pii, TimerId, UnixTime};
use sip::token::fingerprint;

use super::super::{AskedContact, Turn};
use super::same_uri;

/// A contact.
#[derive(Clone, Debug)]
pub struct Binding {
    /// User, address of record, instance, device, reg-id and URI, one after the other.
    text: Box<[u8]>,
    /// Where the first five of them end.
    ends: [u16; 5],
    remote: Endpoint,
    /// Since when.
    pub since: UnixTime,
    /// Until when, if it is not refreshed.
    pub until: Instant,
    pub(super) timer: TimerId,
    /// The REGISTER that it comes from.
    pub(super) turn: Option<Turn>,
}

/// Knows a device again, by its user, its instance and its reg-id. The user is part of it: an
/// instance is what a client says of itself.
pub(super) type DeviceKey = [u8; 16];

/// What a binding is made of.
pub(super) struct Parts<'a> {
    pub(super) user: &'a str,
    pub(super) aor: &'a str,
    pub(super) contact: &'a AskedContact<'a>,
    pub(super) remote: SocketAddr,
    pub(super) since: UnixTime,
    pub(super) until: Instant,
    pub(super) timer: TimerId,
    pub(super) turn: Option<Turn>,
}

impl Binding {
    pub(super) fn new(parts: &Parts<'_>) -> Self {
        let contact = parts.contact;
        let lossy = |bytes| String::from_utf8_lossy(bytes).into_owned();
        let (instance, device) = (lossy(contact.instance), lossy(contact.device));
        let texts = [
            parts.user.as_bytes(),
            parts.aor.as_bytes(),
            instance.as_bytes(),
            device.as_bytes(),
            contact.reg_id.unwrap_or_default(),
            contact.uri,
        ];
        let mut ends = [0; 5];
        let mut at = 0;
        for (end, text) in ends.iter_mut().zip(texts) {
            at += text.len();
            // A REGISTER is refused whose parts are longer (`NAME_BYTES_MAX`).
            *end = u16::try_from(at).unwrap_or(u16::MAX);
        }
        Binding {
            text: texts.concat().into_boxed_slice(),
            ends,
            remote: parts.remote.into(),
            since: parts.since,
            until: parts.until,
            timer: parts.timer,
            turn: parts.turn,
        }
    }

    fn part(&self, index: usize) -> &[u8] {
        let end = |i: usize| {
            self.ends
                .get(i)
                .map_or(self.text.len(), |e| usize::from(*e))
        };
        let start = index.checked_sub(1).map_or(0, end);
        self.text.get(start..end(index)).unwrap_or_default()
    }

    fn words(&self, index: usize) -> &str {
        std::str::from_utf8(self.part(index)).unwrap_or_default()
    }

    /// Who authenticated.
    pub fn user(&self) -> Pii<&str> {
        Pii::new(self.words(0))
    }

    /// The address of record: scheme, user and host, the host in lower case.
    pub fn aor(&self) -> Pii<&str> {
        Pii::new(self.words(1))
    }

    /// `+sip.instance`, brackets still on it; empty without one.
    pub fn instance(&self) -> &str {
        self.words(2)
    }

    /// The device as it names itself; empty if it does not.
    pub fn device(&self) -> &str {
        self.words(3)
    }

    /// The client.
    pub fn remote(&self) -> SocketAddr {
        self.remote.into()
    }

    /// Whether it is this contact of this address of record.
    pub(super) fn is(&self, aor: &str, contact: &AskedContact<'_>) -> bool {
        let same_device = !self.part(2).is_empty()
            && self.part(2) == contact.instance
            && self.part(4) == contact.reg_id.unwrap_or_default();
        self.words(1) == aor && (same_device || same_uri(self.part(5), contact.uri))
    }

    pub(super) fn device_key(&self) -> Option<DeviceKey> {
        key_of(self.part(0), self.part(2), self.part(4))
    }
}

fn key_of(user: &[u8], instance: &[u8], reg_id: &[u8]) -> Option<DeviceKey> {
    (!instance.is_empty()).then(|| fingerprint(&[user, instance, reg_id]))
}

/// What the binding of a contact would be known by.
pub(super) fn device_key(user: &str, contact: &AskedContact<'_>) -> Option<DeviceKey> {
    let reg_id = contact.reg_id.unwrap_or_default();
    key_of(user.as_bytes(), contact.instance, reg_id)
}
