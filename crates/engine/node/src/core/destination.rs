//! Where a client may have call control go: a request's destination in, a refusal with its event
//! out.

use base::{Now, Pii};
use call::registration::is_privileged;
use sip::{Message, Method, Name, NameAddr, Uri};
use status::{Event, Kind};

use super::Core;
use super::routing::Refused;

impl Core {
    /// Whether call control may be asked for a request's destination: a domain name of anybody,
    /// but an address or port only where a zone or this node is.
    pub(super) fn may_go_to(&mut self, now: Now, message: &Message) -> Result<(), Refused> {
        match self.unfit(message.request_uri()) {
            Ok(None) => Ok(()),
            Ok(Some(cause)) => Err(self.target_refused(now, message.request_uri(), cause)),
            Err(refused) => Err(refused),
        }
    }

    /// Whether call control may be asked to carry a request on that is within a dialog: each Route
    /// after ours is call control's or ours, and so is the target, unless the last Route is ours:
    /// then it comes back here, whatever a client beyond wrote as its Contact; or the other end is
    /// inside and said that it is there.
    pub(super) fn may_go_on_to(&mut self, now: Now, message: &Message) -> Result<(), Refused> {
        let mut comes_back = false;
        let routes: Vec<Vec<u8>> = message
            .routes()
            .skip(1)
            .map(|route| route.map(|r| r.uri.to_vec()))
            .collect::<Result<_, _>>()
            .map_err(|_| (400, "Bad Route"))?;
        for route in &routes {
            let uri = Uri::parse(route).map_err(|_| (400, "Bad Route"))?;
            let host = uri.host.to_string();
            comes_back = self.settings.is_us(&host);
            let known = comes_back || self.is_home(&host);
            let cause = match self.unfit(route)? {
                None if !known => Some("a Route is no call control's"),
                cause => cause,
            };
            if let Some(cause) = cause {
                return Err(self.target_refused(now, route, cause));
            }
        }
        if comes_back || self.targets.leads(message) {
            return Ok(());
        }
        self.may_go_to(now, message)
    }

    /// Whether call control may be asked to call, on a client's behalf, whom a REFER names
    /// (RFC 3515). A part of its own body (`cid:`), as Unified CM's telephones send it, is nobody.
    pub(super) fn may_refer_to(&mut self, now: Now, message: &Message) -> Result<(), Refused> {
        if message.method() != Method::Refer {
            return Ok(());
        }
        for value in message.values(Name::ReferTo) {
            let address = NameAddr::parse(value).ok_or((400, "Bad Refer-To"))?;
            let writes = Uri::parse(address.uri)
                .ok()
                .and_then(|uri| written(uri.headers));
            let cause = match self.unfit(address.uri)? {
                None => writes,
                cause => cause,
            };
            if let Some(cause) = cause {
                return Err(self.target_refused(now, address.uri, cause));
            }
        }
        Ok(())
    }

    /// An answer of an edge without what only a trusted node may say, and without what call control
    /// may not be sent to: a redirection (3xx) is judged as a REFER is. Without a target left it is
    /// 480.
    pub(super) fn redirected(&mut self, now: Now, answer: &Message) -> Message {
        let answer = super::routing::unprivileged(answer);
        if !(300..400).contains(&answer.status()) {
            return answer;
        }
        let (mut kept, mut unfit) = (Vec::new(), None);
        for value in answer.values(Name::Contact) {
            let address = NameAddr::parse(value);
            let fit = address.as_ref().is_some_and(|a| self.is_fit(a.uri));
            if fit {
                kept.push(value);
            } else {
                unfit = Some(address.map_or(value, |a| a.uri));
            }
        }
        let Some(target) = unfit else { return answer };
        let cause = "a redirection leads where call control may not be sent";
        let _ = self.target_refused(now, target, cause);
        let mut edit = answer.edit();
        if kept.is_empty() {
            edit.remove(Name::Contact);
            return unavailable(&edit.finish());
        }
        edit.set(Name::Contact, kept.join(b", ".as_slice()));
        edit.finish()
    }

    fn is_fit(&self, target: &[u8]) -> bool {
        let uri = Uri::parse(target).ok();
        let writes = uri.and_then(|uri| written(uri.headers)).is_some();
        !writes && matches!(self.unfit(target), Ok(None))
    }

    /// Why call control may not be asked for a URI, if it may not.
    fn unfit(&self, target: &[u8]) -> Result<Option<&'static str>, Refused> {
        let Ok(uri) = Uri::parse(target) else {
            // `tel:` and the like name no server; a broken SIP URI goes nowhere.
            let scheme = target.split(|b| *b == b':').next();
            let scheme = scheme.unwrap_or_default().to_ascii_lowercase();
            let is_sip = matches!(scheme.as_slice(), b"sip" | b"sips");
            let dialled: [&[u8]; 3] = [b"tel", b"cid", b"urn"];
            return match dialled.contains(&scheme.as_slice()) {
                _ if is_sip || !Uri::is_clean(target) => Err((400, "Bad Request")),
                true => Ok(None),
                false => Ok(Some("the destination is nothing that is called")),
            };
        };
        if !Uri::is_clean(target) {
            return Err((400, "Bad Request"));
        }
        let host = uri.host.to_string();
        Ok(if uri.params.get(b"maddr").is_some() {
            Some("the destination has a maddr")
        } else if is_address(&uri.host) && !self.is_zone_host(&host) && !self.settings.is_us(&host)
        {
            Some("the destination is an address that is no call control's")
        } else if uri.port.is_some_and(|port| !self.is_zone_port(&host, port)) {
            Some("the destination has a port that is no call control's")
        } else {
            None
        })
    }

    fn target_refused(&mut self, now: Now, target: &[u8], cause: &str) -> Refused {
        let event = Event::new(Kind::TargetRefused, now.unix, cause)
            .with("target", Pii::new(String::from_utf8_lossy(target)));
        let host = Uri::parse(target).map(|uri| uri.host.to_string());
        let host = host.unwrap_or_default();
        let event = match host.trim_matches(['[', ']']).parse() {
            Ok(address) => event.with_address("host", address),
            Err(_) => event.with("host", host),
        };
        self.board.placed(&mut self.station.out, now, event);
        (403, "Destination Not Allowed")
    }
}

/// An answer with another status line.
fn unavailable(answer: &Message) -> Message {
    let bytes = answer.bytes();
    let at = bytes.windows(2).position(|w| w == b"\r\n");
    let rest = at.and_then(|at| bytes.get(at..)).unwrap_or_default();
    let text = [b"SIP/2.0 480 Temporarily Unavailable", rest].concat();
    // What was read can be read again.
    Message::parse(text.into(), &sip::Limits::lane()).unwrap_or_else(|_| answer.clone())
}

/// Header fields that a URI has the one who follows it write (RFC 3261 §19.1.5): who it is, how
/// the request goes, and what it carries are not the client's to say.
fn written(headers: &[u8]) -> Option<&'static str> {
    const OF_THE_WAY: [&[u8]; 12] = [
        b"route",
        b"record-route",
        b"via",
        b"v",
        b"from",
        b"f",
        b"contact",
        b"m",
        b"authorization",
        b"proxy-authorization",
        b"max-forwards",
        b"body",
    ];
    let names = headers
        .split(|b| *b == b'&')
        .filter_map(|h| h.split(|b| *b == b'=').next())
        .map(|name| sip::unescape(name).to_ascii_lowercase());
    let mut names = names;
    names
        .any(|name| OF_THE_WAY.contains(&name.as_slice()) || is_privileged(&name))
        .then_some("the destination has header fields written that are not the client's to say")
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
