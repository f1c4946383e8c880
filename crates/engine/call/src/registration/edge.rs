//! The edge's half: which client sits on which flow, and what a REGISTER becomes on its way.
//!
//! In: REGISTERs whose credentials are there, and the core's answers to them. Out: the same
//! messages as they go on, and what changed ([`Change`]). The edge believes the core alone: a flow
//! is known from the core's 2xx on, and for as long as that said.
//!
//! A client that comes back on a new connection is known again by its user and `+sip.instance`
//! (RFC 5626 §4.1): the old flow's bindings go to the new one, and whatever names the old flow, a
//! Record-Route of a call under way for example, leads to the new one ([`EdgeRelay::resolve`]).
//!
//! Bounds: [`Settings`].

mod binding;
mod census;
mod told;

pub use binding::Binding;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use base::{HashMap, Instant, Now, Timers};
use sip::{FlowId, Message, Name, NameAddr, Uri};

use super::{
    Asked, AskedContact, Turn, asked, bears_token, credentials, is_bearer, is_claim, seconds,
    without_links,
};
use binding::{DeviceKey, Parts};

/// A binding stays this long after it should have been refreshed: the refresh may be under way.
const EXPIRY_GRACE: Duration = Duration::from_secs(10);

/// What a user, an address of record, an instance or a device may have, in bytes.
const NAME_BYTES_MAX: usize = 256;

/// What a Contact's URI may have, in bytes.
const URI_BYTES_MAX: usize = 1024;

/// Flows of one device that lead to its next one.
const FORMER_MAX: usize = 8;

/// How long a flow that is gone is remembered for the client's return.
pub const DEPARTED_FOR: Duration = Duration::from_secs(12 * 3600);

/// Bounds, and what clients are told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The host of our own URIs.
    pub host: String,
    /// The port of our own URIs.
    pub port: u16,
    /// The digest realm of our challenges.
    pub realm: String,
    /// Bindings on one flow. Default 32.
    pub flow_bindings_max: usize,
    /// Bindings in all. Default 200 000.
    pub bindings_max: usize,
    /// Flows that are gone and remembered. Default 50 000; the oldest are forgotten first.
    pub departed_max: usize,
    /// The longest interval a client is told to refresh in, whatever the registrar grants: below
    /// the time after which a silent connection is closed. Default 300 s.
    pub refresh_max_s: u32,
}

impl Settings {
    /// Defaults for an address and a realm.
    pub fn new(host: &str, port: u16, realm: &str) -> Self {
        Settings {
            host: host.to_owned(),
            port,
            realm: realm.to_owned(),
            flow_bindings_max: 32,
            bindings_max: 200_000,
            departed_max: 50_000,
            refresh_max_s: 300,
        }
    }
}

/// What changed.
#[derive(Clone, Debug)]
pub enum Change {
    /// A binding is new.
    Added(Binding),
    /// The client took it out.
    Removed(Binding),
    /// It was not refreshed.
    Expired(FlowId, Binding),
    /// The device came back on another flow, which stands for the old one now.
    Moved {
        /// The flow it was on.
        from: FlowId,
        /// The flow it is on.
        to: FlowId,
    },
}

/// Why a REGISTER is answered here: status and reason.
pub type Refused = (u16, &'static str);

/// All clients' registrations.
pub struct EdgeRelay {
    settings: Settings,
    flows: HashMap<FlowId, Vec<Binding>>,
    count: usize,
    devices: HashMap<DeviceKey, FlowId>,
    departed: HashMap<FlowId, DeviceKey>,
    /// The flows a device was on, the latest last.
    former: HashMap<DeviceKey, Vec<FlowId>>,
    departures: VecDeque<(Instant, FlowId)>,
    timers: Timers<FlowId>,
}

impl EdgeRelay {
    /// Nobody is registered.
    pub fn new(settings: Settings) -> Self {
        EdgeRelay {
            settings,
            flows: HashMap::default(),
            count: 0,
            devices: HashMap::default(),
            departed: HashMap::default(),
            former: HashMap::default(),
            departures: VecDeque::new(),
            timers: Timers::default(),
        }
    }

    /// A REGISTER as the core gets it: with our Path, with one answer to our realm's challenge or
    /// with tokens for call control, without routes and without what only a trusted node may say.
    /// `token` is the flow's.
    ///
    /// # Errors
    /// The answer, if it is not to be passed on.
    pub fn request(
        &self,
        flow: FlowId,
        token: &str,
        message: &Message,
    ) -> Result<Message, Refused> {
        let aor = aor(message).ok_or((400, "Bad To"))?;
        let realm = &self.settings.realm;
        let chosen = credentials(message, Name::Authorization, realm);
        if chosen.is_none() && !bears_token(message, Name::Authorization) {
            return Err((401, "Unauthorized"));
        }
        let unfit = |name: &[u8]| name.len() > NAME_BYTES_MAX || std::str::from_utf8(name).is_err();
        if chosen.as_ref().is_some_and(|(_, c)| unfit(c.username)) {
            return Err((400, "Bad User Name"));
        }
        let chosen = chosen.map(|(index, _)| index);
        if let Asked::Contacts(contacts) = asked(message)? {
            if contacts.iter().any(is_too_long) {
                return Err((400, "Bad Contact"));
            }
            let known = self.flows.get(&flow).map_or(&[][..], Vec::as_slice);
            let added = contacts
                .iter()
                .filter(|c| !c.removes() && !c.keep_alive)
                .filter(|c| !known.iter().any(|b| b.is(&aor, c)))
                .count();
            if known.len() + added > self.settings.flow_bindings_max {
                return Err((403, "Too Many Registrations"));
            }
            if added > 0 && self.count + added > self.settings.bindings_max {
                return Err((503, "Service Unavailable"));
            }
        }
        let mut edit = message.edit();
        edit.remove(Name::Route).remove(Name::RecordRoute);
        edit.remove_fields(|f| {
            is_claim(f.name, f.value)
                || f.id == Name::Authorization
                    && Some(f.index) != chosen
                    && names_realm(f.value, realm)
        });
        without_links(message, &mut edit);
        let at = &self.settings;
        let path = format!("<sip:{token}@{}:{};transport=tls;lr;ob>", at.host, at.port);
        edit.push_front(Name::Path, path);
        Ok(edit.finish())
    }

    /// Notes what a final answer of the core to `request`, which came on `flow`, has changed.
    pub fn settled(
        &mut self,
        now: Now,
        flow: FlowId,
        remote: SocketAddr,
        request: &Message,
        response: &Message,
    ) -> Vec<Change> {
        let mut changes = Vec::new();
        if !(200..300).contains(&response.status()) {
            return changes;
        }
        let (Some(aor), Ok(asked)) = (aor(request), asked(request)) else {
            return changes;
        };
        // Whose token it was, only the inside can read: the line stands for the user.
        let found = credentials(request, Name::Authorization, &self.settings.realm);
        let user = found.map(|(_, c)| String::from_utf8_lossy(c.username).into_owned());
        let user = user.unwrap_or_else(|| aor.clone());
        match asked {
            Asked::Query => {}
            Asked::RemoveAll => {
                let gone = self.take(flow, |b| *b.aor().expose() == aor);
                changes.extend(gone.into_iter().map(Change::Removed));
            }
            Asked::Contacts(contacts) => {
                for contact in contacts.iter().filter(|c| !c.keep_alive) {
                    let granted = granted(contact, response);
                    if granted == 0 {
                        let gone = self.take(flow, |b| b.is(&aor, contact));
                        changes.extend(gone.into_iter().map(Change::Removed));
                    } else {
                        let who = Who {
                            flow,
                            remote,
                            user: &user,
                            aor: &aor,
                            turn: Turn::of(request),
                        };
                        self.put(now, &who, contact, granted, &mut changes);
                    }
                }
            }
        }
        changes
    }

    /// A flow is gone; gives what was on it.
    pub fn flow_down(&mut self, now: Now, flow: FlowId) -> Vec<Binding> {
        let gone = self.take(flow, |_| true);
        if let Some(key) = gone.iter().find_map(Binding::device_key) {
            self.depart(now, flow, key);
        }
        gone
    }

    /// Whether somebody is registered on a flow.
    pub fn is_known(&self, flow: FlowId) -> bool {
        self.flows.contains_key(&flow)
    }

    /// Whether a user is registered on a flow.
    pub fn is_users(&self, flow: FlowId, user: &[u8]) -> bool {
        let bindings = self.flows.get(&flow).into_iter().flatten();
        bindings
            .into_iter()
            .any(|b| b.user().expose().as_bytes() == user)
    }

    /// Who speaks on a flow: the binding whose address of record From names, else the one that
    /// P-Preferred-Identity asks for (RFC 3325 §9.2: From may be anonymous), else the first.
    pub fn identity(&self, flow: FlowId, message: &Message) -> Option<&Binding> {
        let bindings = self.flows.get(&flow)?;
        let named = |uri: &[u8]| {
            let uri = Uri::parse(uri).ok()?;
            bindings.iter().find(|b| is_aor(&uri, b.aor().expose()))
        };
        let from = message.from().ok().and_then(|from| named(from.uri));
        let preferred = || {
            let mut values = message.values(Name::PPreferredIdentity);
            values.find_map(|v| named(NameAddr::parse(v)?.uri))
        };
        from.or_else(preferred).or_else(|| bindings.first())
    }

    /// The flow that stands for `flow` now: itself, unless its device has come back on another.
    pub fn resolve(&self, flow: FlowId) -> FlowId {
        let key = self.departed.get(&flow);
        key.and_then(|key| self.devices.get(key))
            .copied()
            .unwrap_or(flow)
    }

    /// Every binding with its flow, in no order.
    pub fn bindings(&self) -> impl Iterator<Item = (FlowId, &Binding)> {
        self.flows
            .iter()
            .flat_map(|(flow, all)| all.iter().map(|b| (*flow, b)))
    }

    /// Bindings in all.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether nobody is registered.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes out what was not refreshed.
    pub fn handle_timeout(&mut self, now: Now) -> Vec<Change> {
        let mut changes = Vec::new();
        while let Some((_, flow)) = self.timers.pop(now.instant) {
            let gone = self.take(flow, |b| b.until + EXPIRY_GRACE <= now.instant);
            changes.extend(gone.into_iter().map(|b| Change::Expired(flow, b)));
        }
        while self
            .departures
            .front()
            .is_some_and(|(at, _)| *at + DEPARTED_FOR <= now.instant)
        {
            self.forget_oldest();
        }
        changes
    }

    /// When [`EdgeRelay::handle_timeout`] has something to do.
    pub fn poll_timeout(&self) -> Option<Instant> {
        let departed = self.departures.front().map(|(at, _)| *at + DEPARTED_FOR);
        [self.timers.next(), departed].into_iter().flatten().min()
    }

    /// Adds or refreshes a binding; a device that was on another flow moves here.
    fn put(
        &mut self,
        now: Now,
        who: &Who<'_>,
        contact: &AskedContact<'_>,
        granted_s: u32,
        changes: &mut Vec<Change>,
    ) {
        let until = now.instant + Duration::from_secs(granted_s.into());
        if self.is_overtaken(who, contact) {
            return;
        }
        let old = self.take(who.flow, |b| b.is(who.aor, contact));
        let room = self.flows.get(&who.flow).map_or(0, Vec::len) < self.settings.flow_bindings_max;
        if !room || self.count >= self.settings.bindings_max {
            return; // several REGISTERs under way at once passed the first look
        }
        let binding = Binding::new(&Parts {
            user: who.user,
            aor: who.aor,
            contact,
            remote: who.remote,
            since: old.first().map_or(now.unix, |b| b.since),
            until,
            timer: self.timers.arm(until + EXPIRY_GRACE, who.flow),
            turn: who.turn,
        });
        if let Some(key) = binding.device_key() {
            let before = self.devices.insert(key, who.flow);
            if let Some(from) = before.filter(|from| *from != who.flow) {
                self.take(from, |b| b.device_key().as_ref() == Some(&key));
                self.depart(now, from, key);
                changes.push(Change::Moved { from, to: who.flow });
            } else if before.is_none() {
                let former = self.former.get(&key).into_iter().flatten();
                changes.extend(former.map(|from| Change::Moved {
                    from: *from,
                    to: who.flow,
                }));
            }
        }
        if old.is_empty() {
            changes.push(Change::Added(binding.clone()));
        }
        let bindings = self.flows.entry(who.flow).or_default();
        // Most have one, and all of them together are many.
        bindings.reserve_exact(1);
        bindings.push(binding);
        self.count += 1;
    }

    /// Whether a device is here, or on another flow, by a later REGISTER than this one, whose
    /// answer is late.
    fn is_overtaken(&self, who: &Who<'_>, contact: &AskedContact<'_>) -> bool {
        let Some(turn) = who.turn else { return false };
        let key = binding::device_key(who.user, contact);
        let elsewhere = key.and_then(|key| self.devices.get(&key)).copied();
        let known = [Some(who.flow), elsewhere].into_iter().flatten();
        let mut known = known.filter_map(|flow| self.flows.get(&flow)).flatten();
        let later = |b: &Binding| b.turn.is_some_and(|latest| turn.is_before(&latest));
        known.any(|b| b.is(who.aor, contact) && later(b))
    }

    /// Takes bindings off a flow.
    fn take(&mut self, flow: FlowId, which: impl Fn(&Binding) -> bool) -> Vec<Binding> {
        let Some(bindings) = self.flows.get_mut(&flow) else {
            return Vec::new();
        };
        let (gone, mut kept): (Vec<_>, Vec<_>) = bindings.drain(..).partition(|b| which(b));
        kept.shrink_to_fit();
        *bindings = kept;
        for binding in &gone {
            self.timers.disarm(binding.timer);
        }
        self.count -= gone.len();
        for key in gone.iter().filter_map(Binding::device_key) {
            let left = bindings
                .iter()
                .any(|b| b.device_key().as_ref() == Some(&key));
            if !left && self.devices.get(&key) == Some(&flow) {
                self.devices.remove(&key);
            }
        }
        if bindings.is_empty() {
            self.flows.remove(&flow);
        }
        gone
    }

    fn depart(&mut self, now: Now, flow: FlowId, key: DeviceKey) {
        if self.departed.insert(flow, key).is_some() {
            return;
        }
        self.departures.push_back((now.instant, flow));
        let former = self.former.entry(key).or_default();
        former.push(flow);
        if former.len() > FORMER_MAX {
            former.remove(0);
        }
        while self.departures.len() > self.settings.departed_max {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, flow)) = self.departures.pop_front() {
            base::tighten(&mut self.departures);
            let Some(key) = self.departed.remove(&flow) else {
                return;
            };
            if let Some(former) = self.former.get_mut(&key) {
                former.retain(|f| *f != flow);
                if former.is_empty() {
                    self.former.remove(&key);
                }
            }
        }
    }
}

/// Whose binding it is.
struct Who<'a> {
    flow: FlowId,
    remote: SocketAddr,
    user: &'a str,
    aor: &'a str,
    turn: Option<Turn>,
}

fn is_too_long(contact: &AskedContact<'_>) -> bool {
    let names = [
        contact.instance,
        contact.device,
        contact.reg_id.unwrap_or_default(),
    ];
    contact.uri.len() > URI_BYTES_MAX || names.iter().any(|n| n.len() > NAME_BYTES_MAX)
}

/// Whether an Authorization is for a realm, readable or not.
fn names_realm(value: &[u8], realm: &str) -> bool {
    match sip::digest::Credentials::parse(value) {
        Ok(found) => found.realm == realm.as_bytes(),
        // A token is nobody's but call control's, whatever it says.
        Err(_) if is_bearer(value) => false,
        // What cannot be read, and mentions our realm, is for nobody else.
        Err(_) => value
            .windows(realm.len())
            .any(|w| w.eq_ignore_ascii_case(realm.as_bytes())),
    }
}

/// The address of record a REGISTER is for.
fn aor(message: &Message) -> Option<String> {
    aor_of(message.to().ok()?.uri)
}

fn aor_of(uri: &[u8]) -> Option<String> {
    let uri = Uri::parse(uri).ok()?;
    let user = std::str::from_utf8(uri.user?).ok()?;
    let scheme = if uri.is_sips() { "sips" } else { "sip" };
    Some(format!(
        "{scheme}:{user}@{}",
        uri.host.to_string().to_ascii_lowercase()
    ))
}

/// Whether [`aor_of`] would write this address of record for a URI.
fn is_aor(uri: &Uri<'_>, aor: &str) -> bool {
    let scheme = if uri.is_sips() { "sips:" } else { "sip:" };
    let rest = aor.strip_prefix(scheme).map(str::as_bytes);
    let user = uri.user.filter(|user| std::str::from_utf8(user).is_ok());
    let host = rest
        .zip(user)
        .and_then(|(rest, user)| rest.strip_prefix(user));
    let host = host.and_then(|host| host.strip_prefix(b"@"));
    host.is_some_and(|host| uri.host.is_lower_case(host))
}

/// How many seconds the registrar gave a contact: what its 2xx lists for it, else the 2xx's
/// Expires, else what was asked for, else an hour (RFC 3261 §10.2.1.1, §10.3 step 8).
fn granted(contact: &AskedContact<'_>, response: &Message) -> u32 {
    if contact.removes() {
        return 0;
    }
    let listed = response
        .contacts()
        .filter_map(Result::ok)
        .find_map(|c| match c {
            sip::Contact::Address(a) if same_uri(a.uri, contact.uri) => a.param(b"expires"),
            _ => None,
        });
    let common = response.expires().ok().flatten();
    listed
        .and_then(seconds)
        .or(common)
        .or(contact.expires_s)
        .unwrap_or(3600)
}

fn same_uri(a: &[u8], b: &[u8]) -> bool {
    a == b || matches!((Uri::parse(a), Uri::parse(b)), (Ok(a), Ok(b)) if a.same(&b))
}

#[cfg(test)]
mod tests;
