//! What the server itself answers: roster, discovery, cards, pings (RFC 6121 §2, XEP-0030, 0054,
//! 0199).

use jid::Jid;
use minidom::Element;
use xmpp_parsers::ns;

use super::{Mail, ROSTER_MAX, Router, State, bare, deliver, error, reply, set};
use crate::world::{DOMAIN, User};

const SESSION: &str = crate::im_presence::negotiate::SESSION;

impl Router {
    /// An IQ: to a client it is passed, to the server or to an account it is answered.
    pub(super) fn iq(&self, state: &mut State, mail: &Mail, stanza: Element, to: Option<&Jid>) {
        if let Some(resource) = to.and_then(|t| t.resource()) {
            let there = to.and_then(|t| self.colleague(t)).filter(|user| {
                let mut clients = state.clients.get(user).into_iter().flatten();
                clients.any(|c| c.resource == resource.as_str())
            });
            return match there {
                Some(user) => deliver(state, &user, Some(resource.as_str()), stanza),
                None => self.refuse(state, mail, &stanza, "service-unavailable"),
            };
        }
        let asks = match stanza.attr("type") {
            Some("get") => true,
            Some("set") => false,
            Some("result" | "error") => return,
            _ => return self.refuse(state, mail, &stanza, "bad-request"),
        };
        let Some(payload) = stanza.children().next().cloned() else {
            return self.refuse(state, mail, &stanza, "bad-request");
        };
        if to.is_some_and(|to| to.domain().as_str() != DOMAIN) {
            return self.refuse(state, mail, &stanza, "remote-server-not-found");
        }
        let account = to.filter(|t| t.node().is_some());
        let own = account.is_none_or(|t| self.colleague(t).as_deref() == Some(&mail.user));
        let result = match (asks, payload.name(), payload.ns().as_str()) {
            (true, "query", ns::ROSTER) if own => Some(self.roster(state, &mail.user)),
            (false, "query", ns::ROSTER) if own => self.change(state, mail, &payload),
            (true, "ping", ns::PING) => None,
            (false, "session", SESSION) => None,
            (true, "query", ns::DISCO_INFO) if account.is_none() => Some(features()),
            (true, "query", ns::DISCO_ITEMS) => Some(Element::bare("query", ns::DISCO_ITEMS)),
            (true, "vCard", VCARD) => {
                let whose = account.and_then(|t| self.colleague(t));
                let user = self.world.user(whose.as_ref().unwrap_or(&mail.user));
                user.map(card)
            }
            _ => return self.refuse(state, mail, &stanza, "service-unavailable"),
        };
        let mut back = reply(&stanza, "result");
        if let Some(result) = result {
            back.append_child(result);
        }
        set(&mut back, "to", &mail.full());
        deliver(state, &mail.user, Some(&mail.resource), back);
    }

    fn refuse(&self, state: &mut State, mail: &Mail, stanza: &Element, condition: &str) {
        if !matches!(stanza.attr("type"), Some("result" | "error")) {
            deliver(
                state,
                &mail.user,
                Some(&mail.resource),
                error(stanza, "cancel", condition),
            );
        }
    }

    fn roster(&self, state: &State, user: &str) -> Element {
        let mut query = Element::bare("query", ns::ROSTER);
        let given = state.rosters.get(user);
        let colleagues = self
            .world
            .users
            .iter()
            .take(ROSTER_MAX)
            .filter(|u| u.name != user);
        for other in colleagues {
            if !given.is_some_and(|g| g.contains_key(&other.name)) {
                query.append_child(self.item(other, None));
            }
        }
        for (name, item) in given.into_iter().flatten() {
            if let Some(other) = self.world.user(name) {
                query.append_child(self.item(other, Some(item)));
            }
        }
        query
    }

    fn item(&self, user: &User, given: Option<&Element>) -> Element {
        let mut item = Element::bare("item", ns::ROSTER);
        set(&mut item, "jid", &bare(&user.name));
        let display = user.display();
        set(
            &mut item,
            "name",
            given.and_then(|g| g.attr("name")).unwrap_or(&display),
        );
        set(&mut item, "subscription", "both");
        for group in given.into_iter().flat_map(Element::children) {
            item.append_child(group.clone());
        }
        item
    }

    /// A contact's new name and groups; all of the user's clients are told.
    fn change(&self, state: &mut State, mail: &Mail, query: &Element) -> Option<Element> {
        let item = query.get_child("item", ns::ROSTER)?;
        let user = self.colleague(&Jid::new(item.attr("jid")?).ok()?)?;
        if item.attr("subscription") == Some("remove") {
            state
                .rosters
                .entry(mail.user.clone())
                .or_default()
                .remove(&user);
        } else {
            self.remember(state, &mail.user, &user, Some(item.clone()));
        }
        let given = state.rosters.get(&mail.user).and_then(|r| r.get(&user));
        let mut shown = self.item(self.world.user(&user)?, given);
        if given.is_none() {
            set(&mut shown, "subscription", "remove");
        }
        let mut push = super::stanza("iq", Some("set"));
        set(&mut push, "id", &crate::world::secret(8));
        push.append_child(Element::builder("query", ns::ROSTER).append(shown).build());
        deliver(state, &mail.user, None, push);
        None
    }
}

const VCARD: &str = "vcard-temp";

fn card(user: &User) -> Element {
    let text = |name: &str, value: &str| {
        Element::builder(name, VCARD)
            .append(value.to_owned())
            .build()
    };
    Element::builder("vCard", VCARD)
        .append(text("FN", &user.display()))
        .append(text("NICKNAME", &user.name))
        .append(text("JABBERID", &user.jid()))
        .append(
            Element::builder("TEL", VCARD)
                .append(Element::bare("WORK", VCARD))
                .append(text("NUMBER", &user.extension)),
        )
        .build()
}

fn features() -> Element {
    let mut query = Element::bare("query", ns::DISCO_INFO);
    let mut identity = Element::bare("identity", ns::DISCO_INFO);
    for (name, value) in [
        ("category", "server"),
        ("type", "im"),
        ("name", "Causeway lab"),
    ] {
        set(&mut identity, name, value);
    }
    query.append_child(identity);
    for var in [ns::DISCO_INFO, ns::DISCO_ITEMS, ns::PING, ns::ROSTER, VCARD] {
        let mut feature = Element::bare("feature", ns::DISCO_INFO);
        set(&mut feature, "var", var);
        query.append_child(feature);
    }
    query
}
