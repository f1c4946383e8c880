//! The interval of a session timer, as a Session-Expires header gives it (RFC 4028 §4).

use crate::{Message, Name};

/// Who sends the refreshes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refresher {
    /// The client of the transaction that settled the interval.
    Uac,
    /// Its server.
    Uas,
}

/// A session interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SessionInterval {
    /// Seconds from the 2xx to the end of the session, at least [`SessionInterval::MIN_S`].
    pub seconds: u32,
    /// Who refreshes, if it is said.
    pub refresher: Option<Refresher>,
}

impl SessionInterval {
    /// The smallest interval (RFC 4028 §5), in seconds.
    pub const MIN_S: u32 = 90;

    /// Reads the Session-Expires of a message; `None` if there is none or it cannot be read. A
    /// shorter interval than the smallest counts as the smallest.
    pub fn read(message: &Message) -> Option<SessionInterval> {
        let value = message.header(Name::SessionExpires)?;
        let mut parts = value.split(|b| *b == b';');
        let seconds = std::str::from_utf8(parts.next()?.trim_ascii())
            .ok()?
            .parse::<u32>()
            .ok()?;
        let refresher = parts.find_map(|part| {
            let (name, value) = part.split_at_checked(part.iter().position(|b| *b == b'=')?)?;
            if !name.trim_ascii().eq_ignore_ascii_case(b"refresher") {
                return None;
            }
            match value.get(1..)?.trim_ascii() {
                v if v.eq_ignore_ascii_case(b"uac") => Some(Refresher::Uac),
                v if v.eq_ignore_ascii_case(b"uas") => Some(Refresher::Uas),
                _ => None,
            }
        });
        Some(SessionInterval {
            seconds: seconds.max(Self::MIN_S),
            refresher,
        })
    }
}
