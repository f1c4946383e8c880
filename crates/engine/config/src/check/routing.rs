//! Zones, transforms and search rules: names, references, patterns.

mod rules;

use std::collections::BTreeMap;

use super::Reader;
use crate::file::{File, Number, RoutingZone};
use crate::model::Domain;
use crate::routing::{DEFAULT_ZONE, GENERATED_PREFIXES, Ice, MediaEncryption, Neighbor, Routing};

/// Servers of one zone.
const PEERS_MAX: usize = 6;

/// Zones of one file.
const ZONES_MAX: usize = 1_000;

/// What a request may pass from one zone to the next where nothing else is said.
const HOP_COUNT: u8 = 15;

const ZONES: &str = "zones";

/// The routing of a core.
pub(super) fn core(r: &mut Reader<'_>, file: &File, domains: &[Domain]) -> Routing {
    let names = Names::of(r, file);
    let served = domains.iter().filter(|d| d.sip);
    let served: Vec<&str> = served.map(|d| d.name.as_str()).collect();
    Routing {
        neighbors: neighbors(r, file),
        dns: Vec::new(),
        transforms: rules::transforms(r, file, &served),
        rules: rules::rules(r, file, &served, &names),
    }
}

/// Every name that a rule may use, with what it is.
struct Names(BTreeMap<String, &'static str>);

impl Names {
    /// Takes the names down; those of zones must be new and nobody else's.
    fn of(r: &mut Reader<'_>, file: &File) -> Names {
        let mut names = BTreeMap::new();
        for p in &file.traversal.peer {
            names.insert(p.name.clone(), "traversal.peer");
        }
        let registrars = file.call_control.iter().map(|c| c.name.as_str());
        let zones = file.zones.iter().map(|z| z.name.as_str());
        let registrars = registrars.enumerate().map(|(i, n)| ("call_control", i, n));
        for (section, i, name) in registrars.chain(zones.enumerate().map(|(i, n)| (ZONES, i, n))) {
            if name.is_empty() || reserved(r, section, i, name) {
                continue;
            }
            if let Some(other) = names.insert(name.to_owned(), section) {
                let cause = format!("{name} is a name in {other} already");
                let fix = "rules mean a zone by its name: give each one of its own";
                r.error(section, i, "name", &cause, fix);
            }
        }
        Names(names)
    }

    /// What a name belongs to.
    fn get(&self, name: &str) -> Option<&'static str> {
        self.0.get(name).copied()
    }

    fn list(&self) -> String {
        let names: Vec<&str> = self.0.keys().map(String::as_str).collect();
        if names.is_empty() {
            return "no zone is configured".into();
        }
        format!("the zones are {}", names.join(", "))
    }
}

/// Names that discovery gives are nobody else's: such zones follow from the cluster, and an edit
/// would be undone by the next refresh (F152).
fn reserved(r: &mut Reader<'_>, section: &str, i: usize, name: &str) -> bool {
    let generated = GENERATED_PREFIXES.iter().find(|p| name.starts_with(*p));
    let (cause, fix) = if let Some(prefix) = generated {
        (
            format!("names that begin with {prefix} belong to zones that discovery makes"),
            "zones towards discovered nodes follow from unified_cm and cannot be edited; for a SIP \
             trunk to the same node take another name and the trunk's own port",
        )
    } else if name.eq_ignore_ascii_case(DEFAULT_ZONE) || name.eq_ignore_ascii_case("LocalZone") {
        (format!("{name} is always there"), "take another name")
    } else {
        return false;
    };
    r.error(section, i, "name", &cause, fix);
    true
}

fn neighbors(r: &mut Reader<'_>, file: &File) -> Vec<Neighbor> {
    if file.zones.len() > ZONES_MAX {
        r.error(
            ZONES,
            ZONES_MAX,
            "name",
            "there are more than 1000",
            "keep at most 1000",
        );
    }
    let mut out: Vec<Neighbor> = Vec::new();
    for (i, zone) in file.zones.iter().enumerate().take(ZONES_MAX) {
        match zone.r#type.as_str() {
            "neighbor" => {}
            "dns" => {
                let cause = "a core inside dials no foreign domain";
                let fix = "calls to foreign domains leave by the edge: set call in [business] of \
                           the edge's file, lead a search rule here to it (target = the name of \
                           the traversal.peer), and remove the zone";
                r.error(ZONES, i, "type", cause, fix);
                continue;
            }
            "" => {
                r.error(
                    ZONES,
                    i,
                    "type",
                    "it is missing",
                    "write type = \"neighbor\"",
                );
                continue;
            }
            _ => {
                r.error(ZONES, i, "type", "it is not known", "write \"neighbor\"");
                continue;
            }
        }
        let Some(neighbor) = neighbor(r, i, zone) else {
            continue;
        };
        shared_peer(r, i, &out, &neighbor);
        out.push(neighbor);
    }
    out
}

fn neighbor(r: &mut Reader<'_>, i: usize, zone: &RoutingZone) -> Option<Neighbor> {
    let tls = match zone.transport.as_deref() {
        None | Some("tls") => true,
        Some("tcp") => false,
        Some(_) => {
            let fix = "write \"tls\" or \"tcp\"";
            r.error(ZONES, i, "transport", "it is neither tls nor tcp", fix);
            return None;
        }
    };
    let name = r.given(ZONES, i, "name", &zone.name);
    let peers = peers(r, i, zone);
    let port = r.number(ZONES, i, "port", zone.port);
    let verify_name = match &zone.verify_name {
        Some(name) => Some(r.host(ZONES, i, "verify_name", name)?),
        None => None,
    };
    let tls_verify = zone.tls_verify.unwrap_or(true);
    if !tls && (zone.tls_verify == Some(true) || verify_name.is_some()) {
        let key = if verify_name.is_some() {
            "verify_name"
        } else {
            "tls_verify"
        };
        let fix = "write transport = \"tls\", or remove the line";
        r.error(ZONES, i, key, "there is no certificate over TCP", fix);
    } else if tls && !tls_verify {
        let cause = "anybody inside who can answer in the peer's place takes its calls";
        let fix = "trust the peer's certificate in certificate.trusted and remove the line";
        r.warn(ZONES, i, "tls_verify", cause, fix);
    }
    let trusted = trusted(r, i, zone.authentication_policy.as_deref());
    let media_encryption = media_encryption(r, i, zone.media_encryption.as_deref());
    let ice = ice(r, ZONES, i, zone.ice.as_deref());
    let hop_count = hop_count(r, ZONES, i, "hop_count", zone.hop_count);
    let hop_count_in = zone
        .hop_count_in
        .map(|n| self::hop_count(r, ZONES, i, "hop_count_in", Some(n)));
    Some(Neighbor {
        name: name?,
        peers: peers?,
        port: port.unwrap_or(if tls { 5061 } else { 5060 }),
        tls,
        tls_verify,
        verify_name,
        hop_count,
        hop_count_in,
        trusted,
        media_encryption,
        ice,
        accept_incoming: zone.accept_incoming.unwrap_or(true),
        monitor: zone.monitor.unwrap_or(true),
    })
}

fn peers(r: &mut Reader<'_>, i: usize, zone: &RoutingZone) -> Option<Vec<String>> {
    if zone.peers.is_empty() {
        let fix = "set peers = [\"ADDRESS\"], up to six";
        r.error(ZONES, i, "peers", "the zone leads to no server", fix);
        return None;
    }
    if zone.peers.len() > PEERS_MAX {
        let fix = "keep at most six, or make another zone";
        r.error(ZONES, i, "peers", "there are more than six", fix);
    }
    let mut out: Vec<String> = Vec::new();
    for written in zone.peers.iter().take(PEERS_MAX) {
        if written.contains(':') && written.parse::<std::net::IpAddr>().is_err() {
            let cause = format!("{written:?} is neither a name nor an address");
            r.error(
                ZONES,
                i,
                "peers",
                &cause,
                "write hosts alone; the port is the zone's `port`",
            );
            continue;
        }
        let Some(host) = r.host(ZONES, i, "peers", written) else {
            continue;
        };
        if out.iter().any(|known| known.eq_ignore_ascii_case(&host)) {
            r.error(
                ZONES,
                i,
                "peers",
                &format!("{host} stands here twice"),
                "keep one",
            );
            continue;
        }
        out.push(host);
    }
    (!out.is_empty()).then_some(out)
}

/// One server and port in two zones: whose is a request that it sends?
fn shared_peer(r: &mut Reader<'_>, i: usize, before: &[Neighbor], zone: &Neighbor) {
    for other in before {
        let mut theirs = zone.peers.iter();
        let shared = theirs.find(|p| other.peers.iter().any(|o| o.eq_ignore_ascii_case(p)));
        if let Some(peer) = shared {
            let cause = format!("{peer} is a peer of {} too", other.name);
            let fix = "requests of a server can belong to one zone only: keep it in one";
            r.error(ZONES, i, "peers", &cause, fix);
        }
    }
}

/// Why no zone may challenge, whatever it is called.
const NO_CHALLENGE: &str = "a check of credentials cannot be switched on here: the other side has \
     none to show, so registrations and calls would fail with 407 or 500";

/// The key is known so that whoever writes it learns why it does nothing (F194, F340).
pub(super) fn no_credential_check(
    r: &mut Reader<'_>,
    section: &str,
    i: usize,
    policy: Option<&str>,
) {
    let fix = "remove the line: the link proves itself by certificates and a password, and each \
               request by the client's own digest";
    match policy {
        None | Some("do_not_check") => {}
        Some("treat_as_authenticated") => {
            let cause = "what comes over the link is not authenticated by the link: each client \
                         proves itself";
            r.error(section, i, "authentication_policy", cause, fix);
        }
        Some(_) => r.error(section, i, "authentication_policy", NO_CHALLENGE, fix),
    }
}

fn trusted(r: &mut Reader<'_>, i: usize, policy: Option<&str>) -> bool {
    let fix = "write \"do_not_check\", or \"treat_as_authenticated\" for a zone that you trust as \
               you trust call control";
    match policy {
        None | Some("do_not_check") => false,
        Some("treat_as_authenticated") => true,
        Some(word) => {
            let cause = if word.starts_with("check") {
                NO_CHALLENGE
            } else {
                "it is not known"
            };
            r.error(ZONES, i, "authentication_policy", cause, fix);
            false
        }
    }
}

fn media_encryption(r: &mut Reader<'_>, i: usize, word: Option<&str>) -> MediaEncryption {
    match word {
        None | Some("off") => MediaEncryption::Off,
        Some("best_effort") => MediaEncryption::BestEffort,
        Some("force") => MediaEncryption::Force,
        Some(_) => {
            let fix = "write \"force\", \"best_effort\" or \"off\"";
            r.error(ZONES, i, "media_encryption", "it is not known", fix);
            MediaEncryption::Off
        }
    }
}

/// What becomes of ICE candidates. Passed towards clients they tell the outside of the inside: that
/// has a word of its own, and is warned of.
pub(super) fn ice(r: &mut Reader<'_>, section: &str, i: usize, word: Option<&str>) -> Ice {
    match word {
        None | Some("remove") => Ice::Remove,
        Some("inward") => Ice::Inward,
        Some("pass") => {
            let cause = "clients outside learn addresses of the inside from its candidates";
            let fix = "write \"inward\" to pass the clients' candidates alone, or leave the line \
                       if that is meant";
            r.warn(section, i, "ice", cause, fix);
            Ice::Pass
        }
        Some(_) => {
            let fix = "write \"remove\", \"inward\" or \"pass\"";
            r.error(section, i, "ice", "it is not known", fix);
            Ice::Remove
        }
    }
}

/// 1 to 255; 15 where nothing is written.
pub(super) fn hop_count(
    r: &mut Reader<'_>,
    section: &str,
    i: usize,
    key: &str,
    written: Option<Number>,
) -> u8 {
    r.number(section, i, key, written).unwrap_or(HOP_COUNT)
}

#[cfg(test)]
mod tests;
