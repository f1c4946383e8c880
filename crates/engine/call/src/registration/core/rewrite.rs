//! A REGISTER and its answer on their way through the core.

use base::{Id, Now};
use sip::{Contact, Message, Name, NameAddr, Uri};

use super::super::is_claim;
use super::table::{Draft, Place, Registrar};
use super::ticket::End;

/// The URI parameter that carries a registration's token in a rewritten Contact.
const TOKEN: &[u8] = b"causeway";

/// The URI parameter that keeps the client's own host and port (`protocol.md` 5.3).
const ORIGINAL: &[u8] = b"orig-hostport";

/// The Contact parameter that tells Unified CM the user (`protocol.md` 5.3).
pub(super) const USER_ID: &[u8] = b"+u.sip!userid.ccm.cisco.com";

/// Where call control reaches the core.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    /// `host:port`, IPv6 in brackets.
    pub host_port: String,
    /// `tcp` or `tls`.
    pub transport: &'static str,
}

impl Address {
    /// A URI of ours.
    pub fn uri(&self, user: &str) -> String {
        format!("sip:{user}@{};transport={}", self.host_port, self.transport)
    }
}

/// A URI's address of record: its user part as written, and `user@host` with escapes undone and
/// the host in lower case.
pub fn aor_of(uri: &[u8]) -> Option<(&[u8], String)> {
    let parsed = Uri::parse(uri).ok()?;
    let user = parsed.user?;
    let mut aor = String::with_capacity(user.len() + 32);
    match std::str::from_utf8(user) {
        Ok(plain) if !user.contains(&b'%') => aor.push_str(plain),
        _ => aor.push_str(&String::from_utf8_lossy(&sip::unescape(user))),
    }
    aor.push('@');
    parsed.host.write_lower_case(&mut aor);
    Some((user, aor))
}

/// Whether a URI is of an address of record as [`aor_of`] writes it.
pub fn same_aor(uri: &[u8], aor: &str) -> bool {
    let Ok(parsed) = Uri::parse(uri) else {
        return false;
    };
    match parsed.user {
        None => false,
        Some(user) if user.contains(&b'%') || std::str::from_utf8(user).is_err() => {
            aor_of(uri).is_some_and(|(_, found)| found == aor)
        }
        Some(user) => {
            let rest = aor.as_bytes().strip_prefix(user);
            let host = rest.and_then(|rest| rest.strip_prefix(b"@"));
            host.is_some_and(|host| parsed.host.is_lower_case(host))
        }
    }
}

/// How a contact appears inside where no token comes back: `user@host:port`.
pub fn alias_of(contact: &[u8]) -> Vec<u8> {
    let Ok(uri) = Uri::parse(contact) else {
        return Vec::new();
    };
    [
        uri.user.unwrap_or_default(),
        b"@",
        host_port(&uri).as_bytes(),
    ]
    .concat()
}

fn host_port(uri: &Uri<'_>) -> String {
    match uri.port {
        Some(port) => format!("{}:{port}", uri.host),
        None => uri.host.to_string(),
    }
}

/// A client's contact URI with the core as its host.
fn rewritten(contact: &[u8], at: &Address, token: &str) -> Option<Vec<u8>> {
    let uri = Uri::parse(contact).ok()?;
    let mut out = Vec::with_capacity(contact.len() + at.host_port.len() + token.len() + 80);
    out.extend_from_slice(b"sip:");
    if let Some(user) = uri.user {
        out.extend_from_slice(user);
        out.push(b'@');
    }
    let mut add = |text: &[u8]| out.extend_from_slice(text);
    for part in [&at.host_port, ";transport=", at.transport] {
        add(part.as_bytes());
    }
    for part in [";orig-hostport=", &host_port(&uri), ";causeway=", token] {
        add(part.as_bytes());
    }
    for (name, value) in uri.params.iter() {
        let ours = [&b"transport"[..], b"maddr", b"lr", TOKEN, ORIGINAL];
        if ours.iter().any(|n| name.eq_ignore_ascii_case(n)) {
            continue;
        }
        add(b";");
        add(name);
        if let Some(value) = value {
            add(b"=");
            add(value);
        }
    }
    Some(out)
}

/// What becomes of one Contact.
struct Change {
    uri: Vec<u8>,
    /// Follows its other parameters.
    added: Vec<u8>,
}

/// Changes Contacts where they stand. What is not changed stays byte for byte, but for parameters
/// that name a user: those are ours to write.
fn with_contacts(
    message: &Message,
    edit: &mut sip::Edit<'_>,
    mut change: impl FnMut(&NameAddr<'_>) -> Option<Change>,
) {
    let values: Vec<&[u8]> = message.values(Name::Contact).collect();
    for field in message.fields().filter(|f| f.id == Name::Contact) {
        // Bytes that go, from and to, and what comes in their place.
        let mut changes: Vec<(usize, usize, Vec<u8>)> = Vec::new();
        for value in &values {
            let Some((from, to)) = part(field.value, value) else {
                continue;
            };
            let Some(address) = NameAddr::parse(value) else {
                continue;
            };
            let Some((uri_from, uri_to)) = part(field.value, address.uri) else {
                continue;
            };
            let Some(new) = change(&address) else {
                continue;
            };
            let bare = uri_from == 0 || field.value.get(uri_from - 1) != Some(&b'<');
            let uri = if bare {
                [b"<", new.uri.as_slice(), b">"].concat()
            } else {
                new.uri
            };
            changes.push((uri_from, uri_to, uri));
            for (name, user) in address.params.iter() {
                if name.eq_ignore_ascii_case(USER_ID) {
                    changes.extend(parameter(field.value, name, user));
                }
            }
            if from < to && !new.added.is_empty() {
                changes.push((to, to, new.added));
            }
        }
        if changes.is_empty() {
            continue;
        }
        // From the last to the first, so that what is changed moves nothing that is to come.
        changes.sort_by_key(|(from, ..)| std::cmp::Reverse(*from));
        let mut out = field.value.to_vec();
        for (from, to, new) in changes {
            out.splice(from..to.min(out.len()), new);
        }
        edit.replace_field(field.index, out);
    }
}

/// Where a part stands in its whole.
fn part(whole: &[u8], part: &[u8]) -> Option<(usize, usize)> {
    let from = (part.as_ptr() as usize).checked_sub(whole.as_ptr() as usize)?;
    let to = from.checked_add(part.len())?;
    (to <= whole.len()).then_some((from, to))
}

/// The bytes of a parameter with the semicolon before it, to be taken out.
fn parameter(field: &[u8], name: &[u8], value: Option<&[u8]>) -> Option<(usize, usize, Vec<u8>)> {
    let (name_from, name_to) = part(field, name)?;
    let to = value.map_or(Some(name_to), |v| Some(part(field, v)?.1))?;
    let from = field.get(..name_from)?.iter().rposition(|b| *b == b';')?;
    Some((from, to, Vec::new()))
}

/// Takes out what is between client, edge and core alone.
fn own_fields(message: &Message, credentials: usize) -> sip::Edit<'_> {
    let mut edit = message.edit();
    edit.remove_fields(|f| f.index == credentials || is_claim(f.name, f.value));
    edit.remove(Name::Route);
    edit
}

impl Registrar {
    /// A REGISTER as Unified CM gets it: `rows` are the rows of its contacts in their order,
    /// `place` is where its client is now.
    pub fn to_unified_cm(
        &self,
        message: &Message,
        credentials: usize,
        rows: &[Id],
        place: &Place,
        user: &str,
        at: &Address,
    ) -> Message {
        let mut edit = own_fields(message, credentials);
        let quoted: String = user.chars().filter(|c| !matches!(c, '"' | '\\')).collect();
        let mut rows = rows.iter();
        with_contacts(message, &mut edit, |address| {
            let uri = rewritten(address.uri, at, &self.token_at(*rows.next()?, place))?;
            let added = [b";", USER_ID, format!("=\"{quoted}\"").as_bytes()].concat();
            Some(Change { uri, added })
        });
        edit.finish()
    }

    /// A REGISTER as a registrar that knows Path gets it (RFC 3327).
    pub fn to_registrar(
        &self,
        message: &Message,
        credentials: usize,
        rows: &[Id],
        place: &Place,
        at: &Address,
    ) -> Message {
        let mut edit = own_fields(message, credentials);
        if let Some(id) = rows.first() {
            let path = format!("<{};lr>", at.uri(&self.token_at(*id, place)));
            edit.push_front(Name::Path, path);
            let supported = message
                .values(Name::Supported)
                .any(|v| v.eq_ignore_ascii_case(b"path"));
            if !supported {
                edit.push_back(Name::Supported, b"path");
            }
        }
        edit.finish()
    }

    /// How long call control keeps a contact, by its answer: what it says of the contact, of
    /// all, or else what was asked for. `rows` are those of the REGISTER.
    pub fn granted_s(&self, response: &Message, id: Id, rows: &[Id], asked_s: u32) -> u32 {
        let own = response
            .contacts()
            .filter_map(Result::ok)
            .find_map(|c| match c {
                Contact::Address(address) if self.listed(&address, rows) == Some(id) => {
                    address.param(b"expires").and_then(super::super::seconds)
                }
                _ => None,
            });
        own.or_else(|| response.expires().ok().flatten())
            .unwrap_or(asked_s)
    }

    /// The row a rewritten contact names.
    fn named(&self, uri: &Uri<'_>) -> Option<Id> {
        if let Some(token) = uri.param(TOKEN) {
            return self.open_token(token).map(|(id, _)| id);
        }
        let original = uri.param(ORIGINAL)?;
        let alias = [uri.user.unwrap_or_default(), b"@", original].concat();
        self.by_alias(&alias).map(|(id, _)| id)
    }

    /// The row of a contact in the answer to a REGISTER of `rows`: the one it names, the one whose
    /// client sent it so or, where call control has taken our parameters out, the only one of
    /// the REGISTER with its user part.
    fn listed(&self, address: &NameAddr<'_>, rows: &[Id]) -> Option<Id> {
        let uri = Uri::parse(address.uri).ok()?;
        if let Some(id) = self.named(&uri) {
            return Some(id);
        }
        let own = |id: &Id, same: &dyn Fn(&Uri<'_>) -> bool| {
            let contact = self.get(*id).map(|row| &row.draft.contact);
            contact.is_some_and(|c| Uri::parse(c).is_ok_and(|own| same(&own)))
        };
        if let Some(id) = rows.iter().find(|id| own(id, &|c| c.same(&uri))) {
            return Some(*id);
        }
        let bare = uri.param(ORIGINAL).is_none() && uri.user.is_some();
        let mut alike = rows.iter().filter(|id| own(id, &|c| c.user == uri.user));
        let first = alike.next().filter(|_| bare && alike.next().is_none())?;
        Some(*first)
    }

    /// The answer to a REGISTER of `rows` as the client gets it: its own contacts are as it sent
    /// them, and nothing tells of the inside's way to it.
    pub fn to_client(&self, response: &Message, rows: &[Id]) -> Message {
        let mut edit = response.edit();
        edit.remove(Name::Path);
        with_contacts(response, &mut edit, |address| {
            let draft = &self.get(self.listed(address, rows)?)?.draft;
            Some(Change {
                uri: draft.contact.clone(),
                added: Vec::new(),
            })
        });
        edit.finish()
    }

    /// The registration a request from inside is for: by its first Route, or by its Request-URI.
    /// Tells whether the Route was ours.
    pub fn locate(&self, request: &Message) -> Option<(Id, bool)> {
        let route = request.routes().next().and_then(Result::ok);
        let by_route = route
            .and_then(|r| Uri::parse(r.uri).ok()?.user)
            .and_then(|token| {
                // Its Path, as it registered; or what we recorded in the dialog.
                let recorded = || self.open_recorded(token, request, End::To);
                self.open_token(token).or_else(recorded)
            })
            .map(|(id, _)| (id, true));
        by_route.or_else(|| {
            let uri = Uri::parse(request.request_uri()).ok()?;
            let id = self
                .named(&uri)
                .or_else(|| Some(self.open_token(uri.user?)?.0))
                .or_else(|| self.by_gruu(request.request_uri(), uri.param(b"gr")?))?;
            Some((id, false))
        })
    }

    /// Whether a request from inside names a client by what we told of it, be that still there or
    /// not: a Contact that we wrote, or a token in our own first Route. `us` knows our hosts.
    pub fn was_ours(request: &Message, us: impl Fn(&str) -> bool) -> bool {
        let ours = |uri: &Uri<'_>| us(&uri.host.to_string());
        let route = request.routes().next().and_then(Result::ok);
        let route = route.and_then(|r| Uri::parse(r.uri).ok());
        let contact = Uri::parse(request.request_uri()).ok();
        route.is_some_and(|uri| uri.user.is_some() && ours(&uri))
            || contact.is_some_and(|uri| uri.param(TOKEN).is_some() && ours(&uri))
    }

    /// The device that a globally routable URI names (RFC 5627 §5.1, §6.1): its address of record,
    /// and its instance. A client that a registrar gave one writes it as its Contact.
    fn by_gruu(&self, uri: &[u8], device: &[u8]) -> Option<Id> {
        let device = sip::unescape(device);
        let is_it = |instance: &[u8]| {
            let inner = instance.strip_prefix(b"<").unwrap_or(instance);
            let inner = inner.strip_suffix(b">").unwrap_or(inner);
            !inner.is_empty() && inner.eq_ignore_ascii_case(&device)
        };
        let (_, aor) = aor_of(uri)?;
        let mut rows = self.iter();
        let found = rows.find(|(_, b)| b.draft.aor == aor && is_it(&b.draft.instance));
        found.map(|(id, _)| id)
    }

    /// Makes a row for a client whose registration an earlier process of this core relayed, by the
    /// token in a request from inside; `edge` names the edge a peer is. The row gives nobody an
    /// identity, and goes when the client registers again or after `life_s`.
    pub fn recover(
        &mut self,
        now: Now,
        request: &Message,
        zone: &str,
        edge: impl Fn(usize) -> Option<String>,
        life_s: u32,
    ) -> Option<(Id, bool)> {
        let route = request.routes().next().and_then(Result::ok);
        let route = route.and_then(|r| Uri::parse(r.uri).ok()?.user);
        let uri = Uri::parse(request.request_uri()).ok();
        let recorded = |token| self.earlier_recorded(token, request);
        let by_route = route.and_then(|token| self.earlier(token).or_else(|| recorded(token)));
        let rewritten = uri.and_then(|u| self.earlier(u.param(TOKEN)?));
        let named = uri.and_then(|u| self.earlier(u.user?));
        let routed = by_route.is_some();
        let (ticket, contact) = match (by_route, rewritten, named) {
            (Some(ticket), ..) => (ticket, request.request_uri().to_vec()),
            (None, Some(ticket), _) => {
                let (uri, at) = uri.and_then(|u| Some((u, u.param(ORIGINAL)?)))?;
                let user = uri.user.unwrap_or_default();
                let contact = [b"sip:", user, b"@", at, b";transport=tls"].concat();
                (ticket, contact)
            }
            (None, None, Some(ticket)) => (ticket, request.request_uri().to_vec()),
            (None, None, None) => return None,
        };
        let (peer, token) = (ticket.peer, ticket.token);
        let name = edge(peer)?;
        let flow = std::str::from_utf8(&token).ok()?;
        let path = format!("<sip:{flow}@{name};transport=tls;lr>").into_bytes();
        let aor = aor_of(request.to().ok()?.uri).map(|(_, aor)| aor)?;
        let draft = Draft {
            user: String::new(),
            directory: "".into(),
            aor,
            instance: token.clone(),
            place: Place { peer, token, path },
            contact,
            reg_id: String::new(),
            device: String::new(),
            one_device: false,
            lines: Box::default(),
            zone: zone.into(),
            rewritten: !routed,
            registered: false,
        };
        let id = self.open(now, &draft)?;
        self.confirm(now, id, draft, life_s);
        Some((id, routed))
    }

    /// How a contact of ours is called inside: as it was registered.
    pub fn inside_contact(&self, id: Id, at: &Address) -> Vec<u8> {
        let token = self.token(id);
        self.get(id)
            .filter(|row| row.draft.rewritten)
            .and_then(|row| rewritten(&row.draft.contact, at, &token))
            .unwrap_or_else(|| at.uri(&token).into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use base::{Now, Rng, Secret};
    use bytes::Bytes;

    use super::*;

    const CONTACT: &str = "sip:7514c56a@172.16.84.136:58980;transport=tls;x=1";

    fn at() -> Address {
        Address {
            host_port: "10.0.0.20:5060".into(),
            transport: "tcp",
        }
    }

    fn place() -> Place {
        Place {
            peer: 0,
            token: b"tok".to_vec(),
            path: b"<sip:tok@edge1;lr>".to_vec(),
        }
    }

    fn message(text: &str) -> Message {
        Message::parse(Bytes::from(text.to_owned()), &sip::Limits::trusted()).unwrap()
    }

    fn register() -> Message {
        message(&format!(
            "REGISTER sip:cucm1.example.com SIP/2.0\r\nVia: SIP/2.0/TLS c;branch=z9hG4bK1\r\n\
             Path: <sip:tok@edge1;lr>\r\nRoute: <sip:x;lr>\r\n\
             From: <sip:1001@cucm1.example.com>;tag=a\r\nTo: <sip:1001@cucm1.example.com>\r\n\
             Call-ID: c1\r\nCSeq: 1 REGISTER\r\n\
             Contact: \"A\" <{CONTACT}>;+u.sip!devicename.ccm.cisco.com=\"CSFALICE\";video;\
             +u.sip!userid.ccm.cisco.com=\"bob\"\r\nAuthorization: Digest username=\"alice\"\r\n\
             Authorization: Digest realm=\"ccmsipline\"\r\nContent-Length: 0\r\n\r\n"
        ))
    }

    fn registrar(rewrites: bool) -> (Registrar, Id) {
        let mut r = Registrar::new(&Secret::new([1; 32]), &mut Rng::from_number(1));
        let draft = Draft {
            user: "alice".into(),
            directory: "".into(),
            aor: "1001@cucm1.example.com".into(),
            place: place(),
            contact: CONTACT.as_bytes().to_vec(),
            instance: Vec::new(),
            reg_id: String::new(),
            device: "CSFALICE".into(),
            one_device: false,
            lines: Box::default(),
            zone: "CEtcp-cucm1".into(),
            rewritten: rewrites,
            registered: true,
        };
        let id = r.open(Now::default(), &draft).unwrap();
        r.confirm(Now::default(), id, draft, 120);
        (r, id)
    }

    #[test]
    fn a_contact_is_rewritten_for_unified_cm_and_comes_back_as_it_was() {
        let (r, id) = registrar(true);
        let authorization = register()
            .fields()
            .find(|f| f.value.ends_with(b"username=\"alice\""))
            .map(|f| f.index)
            .unwrap();
        let sent = r.to_unified_cm(&register(), authorization, &[id], &place(), "alice", &at());
        let token = r.token(id);
        let uri = format!(
            "sip:7514c56a@10.0.0.20:5060;transport=tcp;orig-hostport=172.16.84.136:58980;\
             causeway={token};x=1"
        );
        let value = format!(
            "\"A\" <{uri}>;+u.sip!devicename.ccm.cisco.com=\"CSFALICE\";video;\
             +u.sip!userid.ccm.cisco.com=\"alice\""
        );
        let contact = String::from_utf8(sent.header(Name::Contact).unwrap().to_vec()).unwrap();
        assert_eq!(contact, value);
        assert_eq!(sent.values(Name::Authorization).count(), 1);
        assert!(sent.header(Name::Path).is_none() && sent.header(Name::Route).is_none());

        let answer = message(&format!(
            "SIP/2.0 200 OK\r\nVia: SIP/2.0/TLS c;branch=z9hG4bK1\r\n\
             From: <sip:1001@cucm1.example.com>;tag=a\r\nTo: <sip:1001@cucm1.example.com>;tag=b\
             \r\nCall-ID: c1\r\nCSeq: 1 REGISTER\r\nContact: {value};expires=120, <sip:o@h>\r\n\
             Expires: 60\r\nContent-Length: 0\r\n\r\n"
        ));
        assert_eq!(r.granted_s(&answer, id, &[id], 3600), 120);
        let back = r.to_client(&answer, &[id]);
        let contacts: Vec<&[u8]> = back.values(Name::Contact).collect();
        assert!(contacts[0].starts_with(format!("\"A\" <{CONTACT}>;").as_bytes()));
        assert_eq!(contacts[1], b"<sip:o@h>");
    }

    #[test]
    fn requests_from_inside_find_their_registration() {
        let (r, id) = registrar(true);
        let request = |uri: &str, route: &str| {
            message(&format!(
                "OPTIONS {uri} SIP/2.0\r\nVia: SIP/2.0/TCP c;branch=z9hG4bK1\r\n{route}\
                 From: <sip:a@b>;tag=a\r\nTo: <sip:c@d>\r\nCall-ID: c1\r\n\
                 CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
            ))
        };
        let contact = String::from_utf8(r.inside_contact(id, &at())).unwrap();
        assert_eq!(r.locate(&request(&contact, "")), Some((id, false)));
        let bare = "sip:7514c56a@10.0.0.20:5060;orig-hostport=172.16.84.136:58980";
        assert_eq!(r.locate(&request(bare, "")), Some((id, false)));
        let route = format!("Route: <{};lr>\r\n", at().uri(&r.token(id)));
        assert_eq!(r.locate(&request("sip:x@y", &route)), Some((id, true)));
        assert_eq!(
            r.locate(&request(&at().uri(&r.token(id)), "")),
            Some((id, false))
        );
        for other in [
            "sip:7514c56a@10.0.0.20:5060",
            "sip:1001@10.0.0.20",
            "tel:+49",
        ] {
            assert_eq!(r.locate(&request(other, "")), None, "{other}");
        }
    }

    #[test]
    fn a_path_registration_keeps_its_contact() {
        let (r, id) = registrar(false);
        let sent = r.to_registrar(&register(), usize::MAX, &[id], &place(), &at());
        let path = format!("<{};lr>", at().uri(&r.token(id)));
        assert_eq!(sent.header(Name::Path), Some(path.as_bytes()));
        assert_eq!(sent.header(Name::Contact), register().header(Name::Contact));
        assert_eq!(sent.header(Name::Supported), Some(&b"path"[..]));
    }

    #[test]
    fn addresses_of_record_are_compared_without_escapes_and_case_of_the_host() {
        assert!(same_aor(
            b"sip:%61lice@Example.TEST;transport=tls",
            "alice@example.test"
        ));
        assert!(!same_aor(b"sip:Alice@example.test", "alice@example.test"));
        assert_eq!(aor_of(b"sip:example.test"), None);
    }

    #[test]
    fn a_restarted_core_still_finds_its_clients_but_believes_nothing_of_them() {
        for rewrites in [true, false] {
            let (old, id) = registrar(rewrites);
            let mut r = Registrar::new(&Secret::new([1; 32]), &mut Rng::from_number(2));
            let contact = String::from_utf8(old.inside_contact(id, &at())).unwrap();
            let route = format!("Route: <{};lr>\r\n", at().uri(&old.token(id)));
            let (uri, route) = if rewrites {
                (contact.as_str(), "")
            } else {
                (CONTACT, route.as_str())
            };
            let request = message(&format!(
                "OPTIONS {uri} SIP/2.0\r\nVia: SIP/2.0/TCP c;branch=z9hG4bK1\r\n{route}\
                 From: <sip:a@b>;tag=a\r\nTo: <sip:c@d>\r\nCall-ID: c1\r\n\
                 CSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n"
            ));
            assert_eq!(r.locate(&request), None);
            let edge = |peer| (peer == 0).then(|| "edge1".to_owned());
            let now = Now::default();
            let (row, routed) = r.recover(now, &request, "z", edge, 600).unwrap();
            assert_eq!(routed, !rewrites);
            let draft = &r.get(row).unwrap().draft;
            assert_eq!(draft.place.path, b"<sip:tok@edge1;transport=tls;lr>");
            let mut wanted = CONTACT;
            if rewrites {
                wanted = "sip:7514c56a@172.16.84.136:58980;transport=tls";
            }
            assert_eq!(draft.contact, wanted.as_bytes());
            assert_eq!((r.iter().count(), r.len()), (0, 1), "nobody is registered");
            assert_eq!(
                r.recover(now, &request, "z", edge, 600),
                Some((row, routed))
            );
            // The process that made the token has forgotten the registration for a reason.
            let mut same = old;
            same.remove(id);
            assert_eq!(same.recover(now, &request, "z", edge, 600), None);
        }
    }
}
