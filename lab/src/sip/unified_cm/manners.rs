//! How a simulated Unified CM is set up, and what may be wrong with its set-up.
//!
//! Each field is a switch of its own; by default all is well and the cluster is not in mixed mode.

use bytes::Bytes;

use super::UnifiedCm;
use crate::changes::{Change, Changes};
use crate::sip::stack::Door;

/// The switches.
#[derive(Clone, Debug, Default)]
pub(crate) struct Manners {
    /// Names of phone security profiles. With any, the cluster is in mixed mode: its TLS port asks
    /// for a certificate that shows one of them (F215, F343).
    pub(crate) security_profiles: Vec<String>,
    /// The station throttle: bytes a second that one address may send.
    pub(crate) throttle_bytes_per_s: Option<u32>,
    /// A SIP trunk listens on the line port and takes what comes from the gateway, so that no
    /// REGISTER gets through (F342).
    pub(crate) trunk_on_line_port: bool,
    /// What the region allows a call, which is written into every session description (F341).
    pub(crate) region_kbps: Option<u32>,
    /// What becomes of it while it runs.
    pub(crate) changes: Changes,
}

/// What a region that nobody changed allows a video call.
const REGION_KBPS: u32 = 384;

impl Manners {
    /// What is asked of those who connect.
    pub(super) fn door(&self, secure: bool) -> Door {
        let mixed = secure && !self.security_profiles.is_empty();
        Door {
            names: mixed.then(|| self.security_profiles.clone()),
            bytes_per_s_max: self.throttle_bytes_per_s,
        }
    }
}

impl UnifiedCm {
    /// A session description with the region's limit in the place of what it asked for.
    pub(super) fn capped(&self, body: &Bytes) -> Bytes {
        let manners = &self.0.config.manners;
        let limited = manners.changes.has(Change::RegionLimited);
        let kbps = manners.region_kbps.or(limited.then_some(REGION_KBPS));
        match (kbps, std::str::from_utf8(body)) {
            (Some(kbps), Ok(text)) if text.starts_with("v=0") => capped(text, kbps).into(),
            _ => body.clone(),
        }
    }

    /// Connections that TLS refused because no security profile's name was in the certificate.
    #[cfg(test)]
    pub(crate) fn turned_away(&self) -> u64 {
        self.0.stack.turned_away()
    }
}

/// `b=` (RFC 8866 §5.8) stands after `c=` of the session, or after its first lines.
fn capped(description: &str, kbps: u32) -> String {
    let lines: Vec<&str> = description
        .split_inclusive("\r\n")
        .filter(|line| !line.starts_with("b="))
        .collect();
    let is_media = |line: &&str| line.starts_with("m=");
    let session = lines.iter().position(is_media).unwrap_or(lines.len());
    let head = lines.get(..session).unwrap_or_default();
    let place = head
        .iter()
        .rposition(|line| {
            matches!(
                line.get(..2),
                Some("o=" | "s=" | "i=" | "u=" | "e=" | "p=" | "c=")
            )
        })
        .map_or(0, |at| at + 1);
    let (before, after) = lines.split_at(place);
    format!(
        "{}b=TIAS:{}\r\nb=AS:{kbps}\r\n{}",
        before.concat(),
        kbps * 1000,
        after.concat()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn region_limit_replaces_what_was_asked_for() {
        let asked = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\nb=AS:6000\r\n\
                     t=0 0\r\nm=audio 4000 RTP/AVP 0\r\nb=AS:64\r\n";
        let given = "v=0\r\no=- 1 1 IN IP4 192.0.2.1\r\ns=-\r\nc=IN IP4 192.0.2.1\r\n\
                     b=TIAS:384000\r\nb=AS:384\r\nt=0 0\r\nm=audio 4000 RTP/AVP 0\r\n";
        assert_eq!(capped(asked, 384), given);
    }

    #[test]
    fn only_a_secure_door_in_mixed_mode_asks_for_names() {
        let mixed = Manners {
            security_profiles: vec!["csf-encrypted.example.test".into()],
            ..Manners::default()
        };
        assert!(mixed.door(true).names.is_some());
        assert!(mixed.door(false).names.is_none());
        assert!(Manners::default().door(true).names.is_none());
    }
}
