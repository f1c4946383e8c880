//! The registrar, with the manners of Unified CM.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use sipx_sip::auth::{self, Challenge};
use sipx_sip::headers::ContactValue;
use sipx_sip::{HeaderName, Request, Response, Uri};

use super::{Line, SERVER, UnifiedCm};
use crate::sip::message;
use crate::sip::stack::Incoming;

const REGISTRATIONS: usize = 4096;
/// What it grants whatever is asked for, as its station keep-alive interval.
const EXPIRES_S: u32 = 120;
const SUPPORTED: &str = "X-cisco-srtp-fallback,X-cisco-sis-9.2.0,X-cisco-supports-AR_SK";
const OPTIONS: &str = "<x-cisco-remotecc-response><response><code>200</code><optionsind>\
    <combine max=\"6\"><remotecc><status/></remotecc><service-control/></combine>\
    <dialog usage=\"hook status\"><unot/></dialog><dialog usage=\"shared line\"><unot/></dialog>\
    <presence usage=\"blf speed dial\"><unot/></presence><joinreq></joinreq><ix/><bfcp/>\
    </optionsind></response></x-cisco-remotecc-response>";

/// What an instance begins with that a client made of its address, not of itself.
const NO_INSTANCE: &str = "urn:uuid:00000000-0000-0000-0000-";

/// A device on a line.
#[derive(Clone, Debug)]
pub(crate) struct Registration {
    /// The number.
    pub(crate) extension: String,
    /// The device's name, if it told one.
    pub(crate) device: Option<String>,
    /// Where it is called.
    pub(crate) contact: Uri,
    /// By whom, first hop first.
    pub(crate) path: Vec<Uri>,
    /// The connection's other end.
    pub(crate) source: SocketAddr,
    /// Call-ID of its REGISTER.
    pub(crate) call_id: String,
    /// Whether a token of its user came with it.
    pub(crate) by_token: bool,
    /// REGISTERs so far.
    pub(crate) refreshes: u32,
    /// Parameters of the Contact beside the URI.
    pub(crate) parameters: String,
    expires: Instant,
    order: u64,
}

/// Registrations by number and instance.
#[derive(Default)]
pub(super) struct Table {
    rows: BTreeMap<(String, String), Registration>,
    order: u64,
    nonce: String,
}

impl Table {
    /// All that are good now.
    pub(super) fn all(&mut self) -> Vec<Registration> {
        self.expire();
        self.rows.values().cloned().collect()
    }

    /// The devices on that number, the one that registered last first.
    pub(super) fn of_line(&mut self, extension: &str) -> Vec<Registration> {
        self.expire();
        let rows = self.rows.values().filter(|row| row.extension == extension);
        let mut rows: Vec<Registration> = rows.cloned().collect();
        rows.sort_by_key(|row| std::cmp::Reverse(row.order));
        rows
    }

    /// Whether the device is registered under another instance.
    fn is_elsewhere(&mut self, extension: &str, device: &str, instance: &str) -> bool {
        self.expire();
        let is_same = |row: &Registration| row.device.as_deref() == Some(device);
        let mut rows = self.rows.iter();
        rows.any(|((number, at), row)| number == extension && at != instance && is_same(row))
    }

    fn expire(&mut self) {
        let now = Instant::now();
        self.rows.retain(|_, row| row.expires > now);
    }
}

impl UnifiedCm {
    /// Answers a REGISTER.
    pub(super) async fn register(&self, incoming: Incoming) -> Result<()> {
        let request = &incoming.request;
        self.0
            .stack
            .respond(&incoming, message::answer(request, 100, "Trying", "")?)
            .await?;
        let mut new = None;
        let response = self.decide(&incoming, &mut new)?;
        self.0.stack.respond(&incoming, response).await?;
        if let Some(registration) = new.filter(|new| new.device.is_some()) {
            self.welcome(registration);
        }
        Ok(())
    }

    /// The final answer, and the row that it made, if it is new.
    fn decide(&self, incoming: &Incoming, new: &mut Option<Registration>) -> Result<Response> {
        let request = &incoming.request;
        let tag = message::token(8);
        let extension = message::to_user(&request.headers);
        let refuse = |code, reason| message::answer(request, code, reason, &tag);
        let Some(line) = self.0.lines.get(&extension) else {
            return refuse(404, "Not Found");
        };
        match bearer(request) {
            Some(token) if self.0.config.bearers.user(&token) != line.user_name() => {
                return self.challenge_token(request, &tag);
            }
            Some(_) => {}
            None if self.0.config.digest && !self.is_authentic(request, line) => {
                return self.challenge(request, &tag);
            }
            None => {}
        }
        let contact = match request.headers.typed::<ContactValue>() {
            Some(Ok(contact)) => contact,
            Some(Err(_)) => return refuse(400, "Bad Contact"),
            None => return self.granted(request, &tag, None, EXPIRES_S),
        };
        let header = message::text(&request.headers, &HeaderName::Expires);
        let asked = header
            .and_then(|text| text.parse().ok())
            .unwrap_or(EXPIRES_S);
        let address = match contact {
            ContactValue::Wildcard if asked == 0 => {
                self.registrar()
                    .rows
                    .retain(|(number, _), _| *number != extension);
                return self.granted(request, &tag, None, 0);
            }
            ContactValue::Wildcard => return refuse(400, "Wildcard Without Expires 0"),
            ContactValue::Address(address) => address,
        };
        let parameter = |name: &str| {
            address
                .param(name)
                .map(|value| String::from_utf8_lossy(value).trim_matches('"').to_owned())
        };
        let device = parameter("+u.sip!devicename.ccm.cisco.com");
        if let Some(device) = &device
            && !line.devices.is_empty()
            && !line.devices.contains(device)
        {
            return refuse(404, "Not Found");
        }
        let asked = parameter("expires")
            .and_then(|text| text.parse().ok())
            .unwrap_or(asked);
        if address
            .params
            .iter()
            .any(|p| p.name.eq_ignore_ascii_case(b"cisco-keep-alive"))
        {
            // To a standby node: says that it is there, and changes nothing.
            return self.granted(request, &tag, None, 0);
        }
        let instance = parameter("+sip.instance").unwrap_or_else(|| address.uri.to_string());
        if let Some(device) = device.as_deref().filter(|_| instance.contains(NO_INSTANCE))
            && self.registrar().is_elsewhere(&extension, device, &instance)
        {
            let mut response = refuse(403, "Forbidden")?;
            let text = "\"Registration is active for another client\"";
            let warning = format!("399 {} {text}", self.0.config.name);
            message::add(&mut response.headers, HeaderName::Warning, warning)?;
            return Ok(response);
        }
        let row = (extension, instance);
        if asked == 0 {
            self.registrar().rows.remove(&row);
            return self.granted(request, &tag, None, 0);
        }
        let Some((is_new, registration)) = self.keep(row, incoming, address.uri, device) else {
            return refuse(503, "Service Unavailable");
        };
        *new = is_new.then_some(registration);
        self.granted(request, &tag, Some(is_new), asked.min(EXPIRES_S))
    }

    /// Writes the row; gives whether it is new, and the row, or nothing if there is no room.
    fn keep(
        &self,
        key: (String, String),
        incoming: &Incoming,
        contact: Uri,
        device: Option<String>,
    ) -> Option<(bool, Registration)> {
        let headers = &incoming.request.headers;
        let mut table = self.registrar();
        table.expire();
        table.order += 1;
        let known = table.rows.get(&key).map(|row| row.refreshes);
        if device.is_some() {
            // A device is registered once; who registers it last has it.
            let is_old = |row: &Registration| row.device == device && row.extension == key.0;
            table.rows.retain(|at, row| *at == key || !is_old(row));
        }
        if known.is_none() && table.rows.len() >= REGISTRATIONS {
            return None;
        }
        let whole = message::text(headers, &HeaderName::Contact).unwrap_or_default();
        let row = Registration {
            extension: key.0.clone(),
            device,
            contact,
            path: message::path(headers),
            source: incoming.flow.peer,
            call_id: message::call_id(headers),
            by_token: bearer(&incoming.request).is_some(),
            refreshes: known.map_or(0, |known| known + 1),
            parameters: whole
                .split_once('>')
                .map(|(_, rest)| rest.to_owned())
                .unwrap_or_default(),
            expires: Instant::now()
                + Duration::from_secs(EXPIRES_S.into())
                + Duration::from_secs(5),
            order: table.order,
        };
        table.rows.insert(key, row.clone());
        Some((known.is_none(), row))
    }

    /// The 200: Contact as it came, marked if new; the answer to `optionsind` if it was asked.
    fn granted(
        &self,
        request: &Request,
        tag: &str,
        is_new: Option<bool>,
        expires_s: u32,
    ) -> Result<Response> {
        let mut response = message::answer(request, 200, "OK", tag)?;
        let headers = &mut response.headers;
        message::add(headers, HeaderName::Date, http_date())?;
        message::add(headers, HeaderName::Server, SERVER)?;
        message::add(headers, HeaderName::Expires, expires_s.to_string())?;
        if let Some(is_new) = is_new {
            let contact =
                message::text(&request.headers, &HeaderName::Contact).context("Contact")?;
            let mark = if is_new { ";x-cisco-newreg" } else { "" };
            message::add(headers, HeaderName::Contact, format!("{contact}{mark}"))?;
        }
        for path in request.headers.get_all(&HeaderName::Path) {
            headers.push(path.clone());
        }
        message::add(headers, HeaderName::Supported, SUPPORTED)?;
        let kind = message::text(&request.headers, &HeaderName::ContentType).unwrap_or_default();
        if kind.starts_with("multipart/") && is_new.is_some() {
            let kind = "application/x-cisco-remotecc-response+xml";
            message::set_body(headers, kind, OPTIONS.len())?;
            response.set_body(OPTIONS.into());
        }
        Ok(response)
    }

    /// A token of nobody, or of somebody else.
    fn challenge_token(&self, request: &Request, tag: &str) -> Result<Response> {
        let mut response = message::answer(request, 407, "Proxy Authentication Required", tag)?;
        let value = "Bearer realm=\"ccmsipline\", error=\"invalid_token\"";
        message::add(&mut response.headers, HeaderName::ProxyAuthenticate, value)?;
        Ok(response)
    }

    fn challenge(&self, request: &Request, tag: &str) -> Result<Response> {
        let mut response = message::answer(request, 401, "Unauthorized", tag)?;
        let nonce = message::token(16);
        self.registrar().nonce = nonce.clone();
        let value = format!("Digest realm=\"ccmsipline\", nonce=\"{nonce}\", algorithm=MD5");
        message::add(&mut response.headers, HeaderName::WwwAuthenticate, value)?;
        Ok(response)
    }

    /// Whether the credentials answer the last challenge, by the formula of RFC 2069 that it asked
    /// for.
    fn is_authentic(&self, request: &Request, line: &Line) -> bool {
        let Some((name, password)) = &line.user else {
            return false;
        };
        let nonce = self.registrar().nonce.clone();
        let given = message::text(&request.headers, &HeaderName::Authorization).unwrap_or_default();
        let value = format!("Digest realm=\"ccmsipline\", nonce=\"{nonce}\", algorithm=MD5");
        let Some(challenge) = Challenge::parse(value.as_bytes(), false) else {
            return false;
        };
        let uri = request.uri.to_string();
        let user = auth::Credentials::new(name.clone(), password.clone());
        let expected = auth::respond(&challenge, &user, "REGISTER", &uri, 1, "");
        let response = |text: &str| {
            text.split_once("response=\"")
                .and_then(|(_, rest)| rest.split('"').next().map(str::to_owned))
        };
        !nonce.is_empty()
            && response(&given).is_some_and(|given| Some(given) == response(&expected))
    }
}

/// The token that a request shows: as RFC 6750 writes it, or as `token=\"…\"`.
fn bearer(request: &Request) -> Option<String> {
    let names = [HeaderName::ProxyAuthorization, HeaderName::Authorization];
    let mut values = names.iter().flat_map(|name| request.headers.get_all(name));
    values.find_map(|header| {
        let value = String::from_utf8_lossy(&header.value()).into_owned();
        let (scheme, rest) = value.split_once(' ')?;
        let rest = rest.trim().trim_start_matches("token=").trim_matches('"');
        scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| rest.to_owned())
    })
}

/// `Date` (RFC 3261 §20.17).
fn http_date() -> String {
    let seconds = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    // Civil date from days since 1970 (H. Hinnant, "chrono-compatible low-level date algorithms").
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let name = DAYS[(days % 7) as usize];
    let month = MONTHS[(month - 1) as usize];
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{name}, {day:02} {month} {year} {hour:02}:{minute:02}:{second:02} GMT")
}
