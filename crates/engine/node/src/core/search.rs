//! Search rules applied to requests: a destination in, places to try out. The dry run, in
//! `dry_run.rs`, asks the same rules and sends nothing.

use std::net::IpAddr;

use config::pattern::{Pattern, PatternKind};
use config::routing::{GENERATED_PRIORITY, Mode, SearchRule, Source};
use policy::search::{Asker, Hit, Plan};
use sip::{FlowId, Message, Method, Name, Uri};

use super::Core;
use super::outbound::Hop;
use super::zones::Zone;
use crate::station::limited;

/// The longest node name that a generated rule compares as it stands; a longer one is an
/// expression (F150).
const NODE_NAME_MAX: usize = 60;

/// What rules see of a destination: `user@host`, the host in lower case, with a port that is
/// written. Escapes that say nothing are undone, and a telephone number is without what only parts
/// its digits, so that no spelling gets around a rule. `None` if it cannot be read.
pub(super) fn alias_of(uri: &[u8]) -> Option<String> {
    let (scheme, rest) = uri.split_at_checked(uri.iter().position(|b| *b == b':')?)?;
    if scheme.eq_ignore_ascii_case(b"tel") {
        let number = rest.get(1..)?.split(|b| *b == b';').next()?;
        return Some(number_of(plain(number))).filter(|n| !n.is_empty());
    }
    let uri = Uri::parse(uri).ok()?;
    let mut alias = uri.user.map(|u| number_of(plain(u))).unwrap_or_default();
    if !alias.is_empty() {
        alias.push('@');
    }
    alias.push_str(&uri.host.to_string().to_ascii_lowercase());
    if let Some(port) = uri.port {
        alias.push_str(&format!(":{port}"));
    }
    Some(alias)
}

/// A request with the destination that rules made of it; a number alone is at `host`.
pub(super) fn readdressed(message: Message, alias: &str, host: &str) -> Message {
    if alias_of(message.request_uri()).as_deref() == Some(alias) {
        return undivided(message);
    }
    let sips = message
        .request_uri()
        .to_ascii_lowercase()
        .starts_with(b"sips:");
    let scheme = if sips { "sips" } else { "sip" };
    let uri = if alias.contains('@') {
        format!("{scheme}:{alias}")
    } else {
        format!("{scheme}:{alias}@{host}")
    };
    let mut edit = message.edit();
    edit.request_uri(uri.as_bytes());
    edit.finish()
}

/// A request whose destination is spelt as rules saw it: what was judged is what is dialled.
fn undivided(message: Message) -> Message {
    let uri = message.request_uri();
    let found = Uri::parse(uri).ok().and_then(|parsed| parsed.user);
    let Some(user) = found.filter(|user| !user.is_empty()) else {
        return message;
    };
    let number = number_of(plain(user));
    let at = uri.windows(user.len()).position(|w| w == user);
    let Some(at) = at.filter(|_| number != plain(user)) else {
        return message;
    };
    let (before, after) = (uri.get(..at), uri.get(at + user.len()..));
    let parts = [
        before.unwrap_or_default(),
        number.as_bytes(),
        after.unwrap_or_default(),
    ];
    let uri = parts.concat();
    let mut edit = message.edit();
    edit.request_uri(&uri);
    edit.finish()
}

/// A user part that is a telephone number, without visual separators (RFC 3966 §5.1.1) and blanks,
/// written or escaped; any other as it is. What follows a `;` stays.
fn number_of(user: String) -> String {
    let (number, rest) = user.split_at(user.find(';').unwrap_or(user.len()));
    let spaced = number.replace("%20", " ").replace("%09", " ");
    // `#` has to be escaped in a URI.
    let bare = spaced
        .replace("%23", "")
        .replace("%2A", "")
        .replace("%2a", "");
    let phone = |c: char| c.is_ascii_digit() || "+*#-.() ".contains(c);
    if !bare.chars().all(phone) || !bare.contains(|c: char| c.is_ascii_digit()) {
        return user;
    }
    let digits = spaced.chars().filter(|c| !"-.() ".contains(*c));
    digits.chain(rest.chars()).collect()
}

/// A user part without the escapes of characters that need none (RFC 3261 §19.1.4).
fn plain(user: &[u8]) -> String {
    let mut out = Vec::with_capacity(user.len());
    let mut rest = user;
    while let [first, after @ ..] = rest {
        if *first == b'%'
            && let [high, low, after @ ..] = after
            && let Some(byte) = hex(*high).zip(hex(*low)).map(|(h, l)| h * 16 + l)
            && (byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,;?/".contains(&byte))
        {
            out.push(byte);
            rest = after;
            continue;
        }
        out.push(*first);
        rest = after;
    }
    String::from_utf8_lossy(&out).into_owned()
}

fn hex(digit: u8) -> Option<u8> {
    char::from(digit)
        .to_digit(16)
        .and_then(|n| n.try_into().ok())
}

/// A rule that belongs to a zone which discovery made (F148–F150).
fn generated(zone: &Zone) -> Option<SearchRule> {
    let pattern = if zone.host.len() <= NODE_NAME_MAX {
        Pattern::new(PatternKind::Suffix, &format!("@{}", zone.host), &[])
    } else {
        let name = zone.host.replace('.', r"\.");
        Pattern::new(PatternKind::Regex, &format!(".*@{name}"), &[])
    };
    Some(SearchRule {
        name: zone.name.clone(),
        priority: GENERATED_PRIORITY,
        // Who is nobody's neighbour has no business with call control.
        source: Source::AllZones,
        authenticated: false,
        mode: Mode::Pattern(pattern.ok()?, config::pattern::Behavior::Leave),
        stop: false,
        target: zone.name.clone(),
        enabled: true,
        generated: true,
    })
}

/// Whether a certificate's name is this one (RFC 6125 §6.4; a wildcard stands for one label).
fn carries(name: &str, wanted: &str) -> bool {
    let of_label = |rest: &str| {
        let domain = wanted.split_once('.');
        domain.is_some_and(|(_, domain)| domain.eq_ignore_ascii_case(rest))
    };
    name.eq_ignore_ascii_case(wanted) || name.strip_prefix("*.").is_some_and(of_label)
}

impl Core {
    /// The rules are those of the configuration and of these zones from now on.
    pub(super) fn make_plan(&mut self, zones: &[Zone]) {
        let mut rules = self.settings.routing.rules.clone();
        rules.extend(zones.iter().filter(|z| z.generated).filter_map(generated));
        self.plan = Plan::new(self.settings.routing.transforms.clone(), rules);
    }

    /// The neighbour that a connection inside belongs to: the one it was dialled for; of those at
    /// its other end a trunk, for what is of a line has named its phone.
    pub(super) fn sender(&self, flow: FlowId) -> Option<&Zone> {
        if let Some(zone) = self.zones.iter().find(|z| z.has(flow)) {
            return Some(zone);
        }
        let ip: IpAddr = self.station.remote(flow)?.ip();
        let mut there: Vec<&Zone> = self
            .zones
            .iter()
            .filter(|z| self.senders.is_at(&z.target.host, ip) && self.proves(flow, z))
            .collect();
        there.sort_by_key(|z| z.trunk.is_none());
        there.first().copied()
    }

    /// Whether a host that connected to us has shown what a zone wants of its peers: a neighbour
    /// whose certificate is verified speaks TLS, and its certificate has the name.
    fn proves(&self, flow: FlowId, zone: &Zone) -> bool {
        let wanted = zone.target.tls.as_ref().filter(|_| zone.target.tls_verify);
        let Some(wanted) = wanted.filter(|_| zone.trunk.is_some()) else {
            return true;
        };
        let names = self.proven.get(&flow).map_or("", String::as_str);
        names.split(' ').any(|name| carries(name, wanted))
    }

    /// The neighbour whose name a host wears that does not prove it: at its address, and without its
    /// certificate. None if it is something else there, too.
    pub(super) fn unproven(&self, flow: FlowId) -> Option<(&Zone, &str)> {
        if self.sender(flow).is_some() {
            return None;
        }
        let ip = self.station.remote(flow)?.ip();
        let mut zones = self.zones.iter();
        let zone = zones.find(|z| self.senders.is_at(&z.target.host, ip))?;
        let names = self.proven.get(&flow).map_or("none", String::as_str);
        Some((zone, names))
    }

    /// The neighbour that a connection belongs to and that is nothing else: no call control is at
    /// the same address.
    pub(super) fn mere_neighbour(&self, flow: FlowId) -> Option<&Zone> {
        let zone = self.sender(flow).filter(|z| z.trunk.is_some())?;
        let ip = self.station.remote(flow)?.ip();
        let is_there = |z: &&Zone| z.has(flow) || self.senders.is_at(&z.target.host, ip);
        let mut homes = self.zones.iter().filter(|z| z.trunk.is_none());
        let no_home = !homes.any(|z| is_there(&z));
        no_home.then_some(zone)
    }

    /// Whether a request that begins something goes by search rules, whatever client of ours it
    /// names: a neighbour knows clients' addresses from calls, and rules say whom it may reach. A
    /// call that takes over another (RFC 3891, 3911) is judged by that one.
    pub(super) fn goes_by_rules(&self, flow: FlowId, message: &Message) -> bool {
        let takes = |name| message.values(name).next().is_some();
        let Some(trunk) = self.mere_neighbour(flow).and_then(|z| z.trunk.as_ref()) else {
            return false;
        };
        let options = message.method() == Method::Options && self.is_for_us(message);
        !options && !(trunk.accepts && (takes(Name::Replaces) || takes(Name::Other("Join"))))
    }

    /// Servers of the zones that were found, each zone's standing ones first.
    pub(super) fn hops(&self, hits: &[Hit]) -> Vec<Hop> {
        let mut hops = Vec::new();
        for hit in hits {
            let mut servers: Vec<&Zone> = self
                .zones
                .iter()
                .filter(|z| z.of == hit.zone && !z.is_leaving())
                .collect();
            servers.sort_by_key(|z| z.standing().is_none() || z.deaf.is_some());
            hops.extend(servers.into_iter().map(|z| Hop {
                zone: z.name.clone(),
                alias: Some(hit.alias.clone()),
            }));
        }
        hops
    }

    /// The edge that a rule means.
    pub(super) fn edge_named(&self, name: &str) -> Option<&super::Link> {
        self.links.iter().find(|l| l.peer.name == name)
    }

    /// As [`Core::hops`], with edges that call foreign domains for a neighbour inside.
    pub(super) fn hops_abroad(&self, hits: &[Hit]) -> Vec<Hop> {
        let mut hops = Vec::new();
        for hit in hits {
            if self.links.iter().any(|l| l.peer.name == hit.zone) {
                hops.push(Hop {
                    zone: hit.zone.clone(),
                    alias: Some(hit.alias.clone()),
                });
            } else {
                hops.extend(self.hops(std::slice::from_ref(hit)));
            }
        }
        hops
    }

    /// Where rules lead what a client sends for this URI; nothing for what is call control's.
    pub(super) fn client_hops(&self, peer: usize, uri: &[u8]) -> Vec<Hop> {
        let host = super::registrations::host_of(uri);
        if host.is_some_and(|host| self.is_home(&host) || self.settings.is_us(&host)) {
            return Vec::new();
        }
        let Some(alias) = alias_of(uri) else {
            return Vec::new();
        };
        let zone = self.links.get(peer).map_or("", |l| l.peer.name.as_str());
        let asker = Asker {
            zone,
            local: true,
            authenticated: true,
        };
        self.hops(&self.plan.search(&alias, &asker))
    }

    /// A request for one zone: with the destination that rules made of it, and no more hops than
    /// the zone allows. `call` if it is for the B2BUA, which takes one off.
    pub(super) fn as_searched(&self, hop: &Hop, message: Message, call: bool) -> Message {
        let Some(zone) = self.zone(&hop.zone) else {
            return message;
        };
        let message = match &zone.trunk {
            Some(trunk) => limited(&message, trunk.hop_count.saturating_add(call.into())),
            None => message,
        };
        match &hop.alias {
            Some(alias) => readdressed(message, alias, &zone.host),
            None => message,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rules_judged_is_what_is_dialled() {
        for (uri, sent) in [
            (
                "sip:9-00@example.test;user=phone",
                "sip:900@example.test;user=phone",
            ),
            ("sip:%20900;x=y@example.test", "sip:900;x=y@example.test"),
            ("sip:9%2d00@example.test", "sip:900@example.test"),
            ("sip:%31002@example.test", "sip:%31002@example.test"),
            ("sip:a-1@example.test", "sip:a-1@example.test"),
            ("sip:example.test", "sip:example.test"),
        ] {
            let text = format!(
                "INVITE {uri} SIP/2.0\r\nVia: SIP/2.0/TLS c;branch=z9hG4bK1\r\n\
                 From: <sip:c@d>;tag=1\r\nTo: <sip:a@b>\r\nCall-ID: e\r\n\
                 CSeq: 1 INVITE\r\nContent-Length: 0\r\n\r\n"
            );
            let message = Message::parse(text.into(), &sip::Limits::outside()).unwrap();
            let alias = alias_of(uri.as_bytes()).unwrap();
            let out = readdressed(message, &alias, "example.test");
            assert_eq!(String::from_utf8_lossy(out.request_uri()), sent);
        }
    }

    #[test]
    fn an_alias_is_the_same_however_a_destination_is_spelt() {
        for (uri, want) in [
            ("sip:1002@Example.COM", Some("1002@example.com")),
            (
                "SIPS:1002@example.com;transport=tls?x=y",
                Some("1002@example.com"),
            ),
            ("sip:%31%3002@example.com", Some("1002@example.com")),
            ("sip:a%40b@example.com", Some("a%40b@example.com")),
            ("sip:a%2", None),
            (
                "sip:bob:secret@example.com:5070",
                Some("bob@example.com:5070"),
            ),
            ("sip:[2001:DB8::1]", Some("[2001:db8::1]")),
            ("sip:example.com", Some("example.com")),
            ("tel:+49-30;phone-context=x", Some("+4930")),
            ("sip:9-00@example.com", Some("900@example.com")),
            ("sip:(900)@example.com", Some("900@example.com")),
            ("sip:%289%2D.0%290@example.com", Some("900@example.com")),
            ("sip:%20900@example.com", Some("900@example.com")),
            ("sip:9-00;ext=1@example.com", Some("900;ext=1@example.com")),
            ("sip:%23900@example.com", Some("%23900@example.com")),
            ("sip:+1.2*3@example.com", Some("+12*3@example.com")),
            ("sip:bob-1@example.com", Some("bob-1@example.com")),
            ("sip:-@example.com", Some("-@example.com")),
            ("tel:", None),
            ("1002", None),
            ("", None),
        ] {
            let found = alias_of(uri.as_bytes());
            assert_eq!(found.as_deref(), want, "{uri}");
        }
    }
}
