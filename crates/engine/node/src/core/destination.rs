//! Where a client may have call control go: a request's destination in, a refusal with its event
//! out.

use base::{Now, Pii};
use sip::{Message, Uri};
use status::Kind;

use super::Core;
use super::routing::Refused;

impl Core {
    /// Whether call control may be asked for a request's destination: a domain name of anybody,
    /// but an address or port only where a zone or this node is.
    pub(super) fn may_go_to(&mut self, now: Now, message: &Message) -> Result<(), Refused> {
        let Ok(uri) = Uri::parse(message.request_uri()) else {
            // `tel:` and the like name no server; a broken SIP URI goes nowhere.
            let scheme = message.request_uri().split(|b| *b == b':').next();
            let scheme = scheme.unwrap_or_default().to_ascii_lowercase();
            let is_sip = matches!(scheme.as_slice(), b"sip" | b"sips");
            return if is_sip {
                Err((400, "Bad Request"))
            } else {
                Ok(())
            };
        };
        let host = uri.host.to_string();
        let cause = if uri.params.get(b"maddr").is_some() {
            "the destination has a maddr"
        } else if is_address(&uri.host) && !self.is_zone_host(&host) && !self.settings.is_us(&host)
        {
            "the destination is an address that is no call control's"
        } else if uri.port.is_some_and(|port| !self.is_zone_port(&host, port)) {
            "the destination has a port that is no call control's"
        } else {
            return Ok(());
        };
        let target = String::from_utf8_lossy(message.request_uri());
        let proof = [("target", Pii::new(target).to_string())];
        self.board.stranger(
            &mut self.station.out,
            Kind::TargetRefused,
            now,
            cause,
            &proof,
        );
        Err((403, "Destination Not Allowed"))
    }
}

/// Whether a host is an address, also one in a spelling that resolvers know: `127.1`, `0x7f000001`.
/// A domain name's last label begins with a letter (RFC 3261 §25.1).
fn is_address(host: &sip::Host<'_>) -> bool {
    let sip::Host::Name(name) = host else {
        return true;
    };
    let name = name.strip_suffix('.').unwrap_or(name);
    let last = name.rsplit('.').next().unwrap_or_default();
    !last.starts_with(|c: char| c.is_ascii_alphabetic())
}
