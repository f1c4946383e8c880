//! The interval of a session timer, as a Session-Expires header gives it (RFC 4028 §4).

use crate::class::number;
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
        let seconds = seconds(parts.next()?)?;
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

/// Delta-seconds; what is larger than 32 bits counts as the largest.
fn seconds(digits: &[u8]) -> Option<u32> {
    number(digits.trim_ascii()).map(|n| u32::try_from(n).unwrap_or(u32::MAX))
}

/// The Min-SE of a message, in seconds; the smallest there is without one (RFC 4028 §5).
pub fn min_se(message: &Message) -> u32 {
    let value = message.header(Name::MinSe).and_then(|value| {
        let digits = value.split(|b| *b == b';').next()?;
        seconds(digits)
    });
    value.unwrap_or(0).max(SessionInterval::MIN_S)
}

/// The Min-SE to answer a request 422 (Session Interval Too Small) with: what it asks for is less
/// than `min_s`, and it knows session timers (RFC 4028 §8.1, §9). `None` if it may pass. One that
/// does not know them could make nothing of a 422: its interval is raised instead, which
/// [`SessionInterval::read`] does for the smallest.
pub fn too_short(request: &Message, min_s: u32) -> Option<u32> {
    let min_s = min_s.max(SessionInterval::MIN_S);
    let value = request.header(Name::SessionExpires)?;
    let asked = seconds(value.split(|b| *b == b';').next()?)?;
    let knows = crate::route::lists(request, Name::Supported, b"timer");
    (asked < min_s && knows).then_some(min_s)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RequestBuilder;

    #[test]
    fn an_interval_that_is_too_short_is_told_the_smallest() {
        let table = [
            ("60", "timer", None, Some(90), 90),
            ("60;refresher=uac", "100rel, Timer", None, Some(90), 90),
            ("60", "100rel", None, None, 90),
            ("1800", "timer", Some("120"), None, 120),
            ("100", "timer", Some("10"), None, 90),
            (
                "99999999999",
                "timer",
                Some("99999999999;x"),
                None,
                u32::MAX,
            ),
            ("x", "timer", Some("x"), None, 90),
        ];
        for (expires, supported, min, want, least) in table {
            let mut request = RequestBuilder::new("INVITE", "sip:b@h")
                .header(Name::SessionExpires, expires)
                .header(Name::Supported, supported);
            if let Some(min) = min {
                request = request.header(Name::MinSe, min);
            }
            let request = request.build();
            assert_eq!(too_short(&request, 0), want, "{expires} {supported}");
            assert_eq!(min_se(&request), least, "{min:?}");
        }
        let request = RequestBuilder::new("INVITE", "sip:b@h")
            .header(Name::SessionExpires, "100")
            .header(Name::Supported, "timer")
            .build();
        assert_eq!(too_short(&request, 1800), Some(1800));
    }
}
