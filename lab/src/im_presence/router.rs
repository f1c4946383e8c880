//! Who is signed in, and where stanzas go (RFC 6121).
//!
//! All users are colleagues: each has the first [`ROSTER_MAX`] others in the roster, subscribed
//! both ways, and may add to it. Bounds: 256 stanzas waiting for a client, 100 messages for a user
//! who is away, 20 clients a user; the oldest give way.

mod answer;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use jid::Jid;
use minidom::Element;
use minidom::rxml::{Namespace, NcName};
use tokio::sync::mpsc;
use xmpp_parsers::ns;

use crate::world::{DOMAIN, World};

/// The names of stanzas.
pub const STANZAS: [&str; 3] = ["message", "presence", "iq"];
/// So many colleagues stand in everybody's roster.
pub const ROSTER_MAX: usize = 100;
const WAITING_MAX: usize = 256;
const AWAY_MAX: usize = 100;
const CLIENTS_MAX: usize = 20;

/// Sends stanzas between clients.
pub struct Router {
    world: Arc<World>,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next: u64,
    clients: HashMap<String, Vec<Client>>,
    away: HashMap<String, VecDeque<Element>>,
    /// Names that users gave to contacts, by user.
    rosters: HashMap<String, HashMap<String, Element>>,
}

/// A signed-in client of a user.
struct Client {
    number: u64,
    resource: String,
    sender: mpsc::Sender<Element>,
    /// The last presence sent, while available.
    presence: Option<Element>,
}

impl Client {
    fn priority(&self) -> i8 {
        let stated = self
            .presence
            .as_ref()
            .and_then(|p| p.get_child("priority", ns::JABBER_CLIENT));
        stated
            .and_then(|p| p.text().trim().parse().ok())
            .unwrap_or(0)
    }
}

/// What a client gets, and who it is.
pub struct Mail {
    number: u64,
    user: String,
    resource: String,
    /// Stanzas for the client; closed when another client takes its place.
    pub receiver: mpsc::Receiver<Element>,
}

impl Mail {
    fn bare(&self) -> String {
        bare(&self.user)
    }

    fn full(&self) -> String {
        format!("{}@{DOMAIN}/{}", self.user, self.resource)
    }
}

impl Router {
    /// A server where nobody is signed in yet.
    pub fn new(world: Arc<World>) -> Router {
        Router {
            world,
            state: Mutex::default(),
        }
    }

    /// A client has bound a resource; another with the same resource is let go.
    pub fn enter(&self, user: &str, resource: &str) -> Mail {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        let mut state = self.lock();
        state.next += 1;
        let number = state.next;
        let clients = state.clients.entry(user.to_owned()).or_default();
        clients.retain(|c| c.resource != resource);
        if clients.len() >= CLIENTS_MAX {
            clients.remove(0);
        }
        clients.push(Client {
            number,
            resource: resource.to_owned(),
            sender,
            presence: None,
        });
        Mail {
            number,
            user: user.to_owned(),
            resource: resource.to_owned(),
            receiver,
        }
    }

    /// A client is gone; who saw it is told.
    pub fn leave(&self, mail: &Mail) {
        let mut state = self.lock();
        let Some(clients) = state.clients.get_mut(&mail.user) else {
            return;
        };
        let Some(at) = clients.iter().position(|c| c.number == mail.number) else {
            return;
        };
        let gone = clients.remove(at);
        if clients.is_empty() {
            state.clients.remove(&mail.user);
        }
        if gone.presence.is_some() {
            self.broadcast(&mut state, mail, &stanza("presence", Some("unavailable")));
        }
    }

    /// A stanza from a client.
    pub fn route(&self, mail: &Mail, mut stanza: Element) {
        set(&mut stanza, "from", &mail.full());
        let to = match stanza.attr("to").map(Jid::new) {
            None => None,
            Some(Ok(to)) => Some(to),
            Some(Err(_)) => return self.bounce(mail, &stanza, "modify", "jid-malformed"),
        };
        let mut state = self.lock();
        match (stanza.name(), &to) {
            ("presence", None) => self.presence(&mut state, mail, &stanza),
            ("presence", Some(to)) => self.directed(&mut state, mail, &stanza, to),
            ("message", to) => {
                let own = Jid::new(&mail.bare()).ok();
                if let Some(to) = to.as_ref().or(own.as_ref()) {
                    self.message(&mut state, mail, stanza, to);
                }
            }
            (_, to) => self.iq(&mut state, mail, stanza, to.as_ref()),
        }
    }

    /// Available or unavailable, to everybody who has the user in the roster.
    fn presence(&self, state: &mut State, mail: &Mail, stanza: &Element) {
        let available = match stanza.attr("type") {
            None => true,
            Some("unavailable") => false,
            Some(_) => return,
        };
        let clients = state.clients.entry(mail.user.clone()).or_default();
        let Some(client) = clients.iter_mut().find(|c| c.number == mail.number) else {
            return;
        };
        let first = client.presence.is_none();
        client.presence = available.then(|| stanza.clone());
        let takes_messages = available && client.priority() >= 0;
        self.broadcast(state, mail, stanza);
        if available && first {
            self.probe(state, mail);
        }
        if takes_messages {
            for kept in state.away.remove(&mail.user).into_iter().flatten() {
                deliver(state, &mail.user, Some(&mail.resource), kept);
            }
        }
    }

    fn broadcast(&self, state: &mut State, mail: &Mail, presence: &Element) {
        let mut presence = presence.clone();
        set(&mut presence, "from", &mail.full());
        let seeing: Vec<String> = state
            .clients
            .keys()
            .filter(|other| **other == mail.user || self.has_contact(state, other, &mail.user))
            .cloned()
            .collect();
        for other in seeing {
            set(&mut presence, "to", &bare(&other));
            for client in state.clients.get(&other).into_iter().flatten() {
                if client.presence.is_some() {
                    // A client that does not read loses presence first, and its place in `deliver`.
                    let _ = client.sender.try_send(presence.clone());
                }
            }
        }
    }

    /// Tells a client that has come who of its contacts is there.
    fn probe(&self, state: &mut State, mail: &Mail) {
        let mut there = Vec::new();
        for (other, clients) in &state.clients {
            if *other != mail.user && !self.has_contact(state, &mail.user, other) {
                continue;
            }
            for client in clients.iter().filter(|c| c.number != mail.number) {
                there.extend(client.presence.clone());
            }
        }
        for mut presence in there {
            set(&mut presence, "to", &mail.full());
            deliver(state, &mail.user, Some(&mail.resource), presence);
        }
    }

    /// Presence to somebody: subscriptions are granted at once, as among colleagues.
    fn directed(&self, state: &mut State, mail: &Mail, stanza: &Element, to: &Jid) {
        let Some(user) = self.colleague(to) else {
            return;
        };
        match stanza.attr("type") {
            None | Some("unavailable") => deliver(
                state,
                &user,
                to.resource().map(|r| r.as_str()),
                stanza.clone(),
            ),
            Some("subscribe") => {
                let mut granted = self::stanza("presence", Some("subscribed"));
                set(&mut granted, "from", &bare(&user));
                set(&mut granted, "to", &mail.bare());
                deliver(state, &mail.user, Some(&mail.resource), granted);
                self.remember(state, &mail.user, &user, None);
                self.probe(state, mail);
            }
            Some("probe") => self.probe(state, mail),
            Some(_) => {}
        }
    }

    fn message(&self, state: &mut State, mail: &Mail, stanza: Element, to: &Jid) {
        let kind = stanza.attr("type").unwrap_or("normal").to_owned();
        let Some(user) = self.colleague(to) else {
            if kind != "error" {
                let (kind, why) = if to.domain().as_str() == DOMAIN {
                    ("cancel", "service-unavailable")
                } else {
                    ("cancel", "remote-server-not-found")
                };
                deliver(
                    state,
                    &mail.user,
                    Some(&mail.resource),
                    error(&stanza, kind, why),
                );
            }
            return;
        };
        let clients = state.clients.get(&user);
        let wanted = to.resource().map(|r| r.as_str().to_owned());
        let exact = wanted.filter(|r| clients.into_iter().flatten().any(|c| c.resource == *r));
        if let Some(resource) = exact {
            return deliver(state, &user, Some(&resource), stanza);
        }
        let ready: Vec<String> = clients
            .into_iter()
            .flatten()
            .filter(|c| c.presence.is_some() && c.priority() >= 0)
            .map(|c| c.resource.clone())
            .collect();
        for resource in &ready {
            deliver(state, &user, Some(resource), stanza.clone());
        }
        if ready.is_empty() && matches!(kind.as_str(), "chat" | "normal") {
            let kept = state.away.entry(user).or_default();
            if kept.len() >= AWAY_MAX {
                kept.pop_front();
            }
            kept.push_back(delayed(stanza));
        }
    }

    fn bounce(&self, mail: &Mail, stanza: &Element, kind: &str, condition: &str) {
        if !matches!(stanza.attr("type"), Some("error" | "result")) {
            let mut state = self.lock();
            deliver(
                &mut state,
                &mail.user,
                Some(&mail.resource),
                error(stanza, kind, condition),
            );
        }
    }

    /// The user's name, if the address is one of ours.
    fn colleague(&self, to: &Jid) -> Option<String> {
        if to.domain().as_str() != DOMAIN {
            return None;
        }
        Some(self.world.user(to.node()?.as_str())?.name.clone())
    }

    fn has_contact(&self, state: &State, user: &str, other: &str) -> bool {
        let known = self
            .world
            .users
            .iter()
            .take(ROSTER_MAX)
            .any(|u| u.name == other);
        known
            || state
                .rosters
                .get(user)
                .is_some_and(|r| r.contains_key(other))
    }

    fn remember(&self, state: &mut State, user: &str, other: &str, item: Option<Element>) {
        let roster = state.rosters.entry(user.to_owned()).or_default();
        if roster.len() < ROSTER_MAX || roster.contains_key(other) {
            let given = item.unwrap_or_else(|| Element::bare("item", ns::ROSTER));
            roster.insert(other.to_owned(), given);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts a stanza before one client or all of a user; who does not read loses its place.
fn deliver(state: &mut State, user: &str, resource: Option<&str>, mut stanza: Element) {
    let Some(clients) = state.clients.get_mut(user) else {
        return;
    };
    if stanza.attr("to").is_none() {
        set(&mut stanza, "to", &bare(user));
    }
    clients.retain(|client| {
        let meant = resource.is_none_or(|r| r == client.resource);
        !meant || client.sender.try_send(stanza.clone()).is_ok()
    });
}

fn bare(user: &str) -> String {
    format!("{user}@{DOMAIN}")
}

fn stanza(name: &str, kind: Option<&str>) -> Element {
    let mut stanza = Element::bare(name, ns::JABBER_CLIENT);
    if let Some(kind) = kind {
        set(&mut stanza, "type", kind);
    }
    stanza
}

/// Sets an attribute in no namespace.
pub fn set(element: &mut Element, name: &'static str, value: &str) {
    if let Ok(name) = NcName::try_from(name) {
        element.set_attr(Namespace::NONE, name, value);
    }
}

/// The stanza back to its sender, with the reason (RFC 6120 §8.3).
fn error(stanza: &Element, kind: &str, condition: &str) -> Element {
    let mut back = reply(stanza, "error");
    let mut why = Element::bare("error", ns::JABBER_CLIENT);
    set(&mut why, "type", kind);
    why.append_child(Element::bare(condition, ns::XMPP_STANZAS));
    back.append_child(why);
    back
}

/// An empty stanza back to the sender, with the same id.
fn reply(stanza: &Element, kind: &str) -> Element {
    let mut back = self::stanza(stanza.name(), Some(kind));
    for (to, from) in [("id", "id"), ("from", "to"), ("to", "from")] {
        if let Some(value) = stanza.attr(from) {
            set(&mut back, to, value);
        }
    }
    back
}

/// Marked with when it came (XEP-0203).
fn delayed(mut stanza: Element) -> Element {
    let mut delay = Element::bare("delay", ns::DELAY);
    set(&mut delay, "from", DOMAIN);
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    set(&mut delay, "stamp", &timestamp(since.as_secs()));
    stanza.append_child(delay);
    stanza
}

/// Seconds since 1970 as `2026-11-22T11:00:00Z` (XEP-0082).
fn timestamp(seconds: u64) -> String {
    let (day, rest) = (seconds / 86_400, seconds % 86_400);
    // Days to a date of the Gregorian calendar, counted in eras of 400 years from 1 March 0000.
    let z = day + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{date:02}T{hour:02}:{minute:02}:{second:02}Z")
}

#[cfg(test)]
mod tests {
    use super::timestamp;

    #[test]
    fn timestamp_is_of_the_gregorian_calendar() {
        for (seconds, want) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_795_345_200, "2026-11-22T11:00:00Z"),
        ] {
            assert_eq!(timestamp(seconds), want);
        }
    }
}
