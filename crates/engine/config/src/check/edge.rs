//! The edge's settings.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use super::{Reader, limits, routing};
use crate::file::{File, Service as Written, Several};
use crate::model::{
    Business, ClientCertificates, DigestAlgorithm, Edge, MediaService, Service, Traversal, Zone,
};

pub(super) fn edge(r: &mut Reader<'_>, file: &File, fqdn: &str) -> Option<Edge> {
    let only_core = [
        ("domains", file.domains.is_empty()),
        ("unified_cm", file.unified_cm.is_empty()),
        ("im_presence", file.im_presence.is_empty()),
        ("unity_connection", file.unity_connection.is_empty()),
        ("call_control", file.call_control.is_empty()),
        ("xmpp_server", file.xmpp_server.is_empty()),
        ("allow_list", file.allow_list.is_empty()),
        ("traversal.peer", file.traversal.peer.is_empty()),
        ("credentials", file.credentials.is_empty()),
        ("calls", file.calls.is_empty()),
        ("zones", file.zones.is_empty()),
        ("transforms", file.transforms.is_empty()),
        ("search_rules", file.search_rules.is_empty()),
    ];
    for (section, absent) in only_core {
        if !absent {
            let fix = "move it to the core's file: the edge keeps nothing of the inside";
            r.error(section, 0, "", "it belongs to the core", fix);
        }
    }
    let https = service(r, "service.https", file.service.https.as_ref(), 8443, fqdn);
    let sip = service(r, "service.sip", file.service.sip.as_ref(), 5061, fqdn);
    let xmpp = service(r, "service.xmpp", file.service.xmpp.as_ref(), 5222, fqdn);
    let media = media(r, file, "36002-59999");
    let traversal = traversal(r, file);
    let zones = zones(r, file);
    let business = business(r, file);
    let realm = file.service.sip.as_ref().and_then(|s| s.realm.clone());
    let (connections_per_source_max, connections_max) = limits::connections(r, file);
    let rates = limits::rates(r, file);
    let edge = Edge {
        https: https?,
        sip: sip?,
        sip_digest: digest_algorithms(r, file),
        sip_realm: realm.unwrap_or_else(|| file.domain.to_ascii_lowercase()),
        xmpp: xmpp?,
        media: media?,
        traversal: traversal?,
        zones: zones?,
        connections_per_source_max,
        connections_max,
        business,
        rates,
        sip_client_certificates: client_certificates(r, file),
    };
    media_overlaps(r, &edge);
    media_families(r, &edge);
    Some(edge)
}

/// Calls of foreign domains.
fn business(r: &mut Reader<'_>, file: &File) -> Option<Business> {
    const SECTION: &str = "business";
    let written = &file.business;
    let calls_per_minute = r.number(SECTION, 0, "calls_per_minute", written.calls_per_minute);
    let calls_max = r.number(SECTION, 0, "calls_max", written.calls_max);
    let calls_max: usize = calls_max.unwrap_or(20);
    let calls_per_source = r.number(SECTION, 0, "calls_per_source", written.calls_per_source);
    let ringing_max = r.number(SECTION, 0, "ringing_max_s", written.ringing_max_s);
    let (accept, call) = (written.accept == Some(true), written.call == Some(true));
    if !written.is_empty() && written.accept.is_none() && written.call.is_none() {
        let fix = "write accept = true, call = true or both, or remove the section";
        r.error(
            SECTION,
            0,
            "accept",
            "it is missing: there are no such calls",
            fix,
        );
    }
    if call && written.trusted.is_none() {
        let cause = "any certificate of a foreign domain would do";
        let fix =
            "name the PEM file with the authorities that sign certificates of foreign domains";
        r.error(SECTION, 0, "trusted", cause, fix);
    }
    let mut reach = Vec::new();
    for text in &written.reach {
        match text.parse() {
            Ok(network) => reach.push(network),
            Err(_) => {
                let cause = format!("{text:?} is no range of addresses");
                let fix = "write an address, or a range as \"10.9.0.0/16\"";
                r.error(SECTION, 0, "reach", &cause, fix);
            }
        }
    }
    let business = Business {
        accept,
        call,
        trusted: written.trusted.as_deref().map(|p| r.path(p)),
        reach,
        calls_max,
        calls_per_minute: calls_per_minute.unwrap_or(10),
        calls_per_source: calls_per_source.unwrap_or((calls_max / 4).max(1)),
        ringing_max: Duration::from_secs(ringing_max.unwrap_or(60)),
    };
    (accept || call).then_some(business)
}

/// A service that clients reach.
fn service(
    r: &mut Reader<'_>,
    section: &str,
    written: Option<&Written>,
    port: u16,
    fqdn: &str,
) -> Option<Service> {
    let Some(written) = written else {
        let fix = format!("add [{section}] with listen = [\"ADDRESS:{port}\"]");
        r.error(
            section,
            0,
            "listen",
            "the service has no address to listen on",
            &fix,
        );
        return None;
    };
    if !written.listen_tls.is_empty() {
        let fix = "list the address in listen";
        r.error(section, 0, "listen_tls", "listen is TLS already", fix);
    }
    if written.realm.is_some() && section != "service.sip" {
        r.error(section, 0, "realm", "it belongs to service.sip", "move it");
    }
    let breaks = |c: char| matches!(c, '"' | '\\') || c.is_control();
    if written
        .realm
        .as_ref()
        .is_some_and(|realm| realm.contains(breaks))
    {
        let cause =
            "a realm with a quote, a backslash or a control character is misread by clients";
        r.error(
            section,
            0,
            "realm",
            cause,
            "leave it out: realm = \"example.com\"",
        );
    }
    if written.digest_algorithms.is_some() && section != "service.sip" {
        let key = "digest_algorithms";
        r.error(section, 0, key, "it belongs to service.sip", "move it");
    }
    if !written.accept_from.is_empty() {
        let fix = "move it to service.sip of the core's file";
        r.error(section, 0, "accept_from", "it belongs to the core", fix);
    }
    let certificates = [
        ("client_certificates", &written.client_certificates),
        ("client_authorities", &written.client_authorities),
    ];
    for (key, value) in certificates {
        if value.is_some() && section != "service.sip" {
            r.error(section, 0, key, "it belongs to service.sip", "move it");
        }
    }
    let listen = r.addresses(section, "listen", &written.listen, port);
    if listen.len() < written.listen.len() {
        return None;
    }
    let Some(first) = listen.first() else {
        let fix = format!("set listen = [\"ADDRESS:{port}\"]");
        r.error(
            section,
            0,
            "listen",
            "the service has no address to listen on",
            &fix,
        );
        return None;
    };
    let (advertise_host, advertise_port) = match &written.advertise {
        Some(value) => r.host_port(section, 0, "advertise", value, first.port())?,
        None => (fqdn.to_owned(), first.port()),
    };
    Some(Service {
        listen,
        advertise_host,
        advertise_port,
    })
}

/// Relayed media, of either role.
pub(super) fn media(r: &mut Reader<'_>, file: &File, ports: &str) -> Option<MediaService> {
    const SECTION: &str = "service.media";
    let Some(written) = &file.service.media else {
        let fix = "add [service.media] with listen = \"ADDRESS\"";
        r.error(SECTION, 0, "listen", "media has no address", fix);
        return None;
    };
    let none = Several(Vec::new());
    let listen = &written.listen.as_ref().unwrap_or(&none).0;
    if listen.is_empty() {
        let fix = "set the address of the media ports";
        r.error(SECTION, 0, "listen", "it is missing", fix);
        return None;
    }
    let told = written.advertise.as_ref().map(|told| &told.0);
    let key = if told.is_some() {
        "advertise"
    } else {
        "listen"
    };
    let ours = families(r, "listen", listen, Reader::ip)?;
    let theirs = families(r, key, told.unwrap_or(listen), Reader::advertised)?;
    if theirs.keys().any(|v6| !ours.contains_key(v6)) {
        let fix = "give two IPv4 or two IPv6 addresses";
        let cause = "it is of another family than listen";
        r.error(SECTION, 0, "advertise", cause, fix);
        return None;
    }
    let ports = r.ports(SECTION, "ports", written.ports.as_deref().unwrap_or(ports))?;
    let mut all = ours
        .into_iter()
        .map(|(v6, ip)| (ip, theirs.get(&v6).copied().unwrap_or(ip)));
    let (listen, advertise) = all.next()?;
    Some(MediaService {
        listen,
        advertise,
        other: all.next(),
        ports,
    })
}

/// Addresses by their family (true: IPv6), of which each may have one.
fn families<'a>(
    r: &mut Reader<'a>,
    key: &str,
    written: &[String],
    read: impl Fn(&mut Reader<'a>, &str, &str, &str) -> Option<IpAddr>,
) -> Option<BTreeMap<bool, IpAddr>> {
    let mut known = BTreeMap::new();
    for value in written {
        let ip = read(r, "service.media", key, value)?;
        if known.insert(ip.is_ipv6(), ip).is_some() {
            let fix = "give one IPv4 and one IPv6 address, or one of them";
            r.error("service.media", 0, key, "two are of one family", fix);
            return None;
        }
    }
    Some(known)
}

fn traversal(r: &mut Reader<'_>, file: &File) -> Option<Traversal> {
    const SECTION: &str = "traversal";
    let t = &file.traversal;
    let mut one = |key: &str, value: &Option<String>, port: u16| -> Option<SocketAddr> {
        match value {
            Some(value) => r.address(SECTION, key, value, port),
            None => {
                let fix = format!("set {key} = \"ADDRESS:{port}\", which cores dial");
                r.error(SECTION, 0, key, "it is missing", &fix);
                None
            }
        }
    };
    let sip = one("listen_sip", &t.listen_sip, 7001);
    let ssh = one("listen_ssh", &t.listen_ssh, 2222);
    let xmpp = one("listen_xmpp", &t.listen_xmpp, 7400);
    let media: Option<IpAddr> = match &t.listen_media {
        Some(value) => r.ip(SECTION, "listen_media", value),
        None => sip.map(|a| a.ip()),
    };
    let media_ports = r.pair(SECTION, 0, "media_ports", t.media_ports.as_deref());
    let media_advertise = match &t.advertise_media {
        Some(value) => r.advertised(SECTION, "advertise_media", value),
        None => media,
    };
    Some(Traversal {
        sip: sip?,
        ssh: ssh?,
        xmpp: xmpp?,
        media: media?,
        media_ports: media_ports?,
        media_advertise: media_advertise?,
    })
}

fn zones(r: &mut Reader<'_>, file: &File) -> Option<Vec<Zone>> {
    const SECTION: &str = "traversal.zone";
    if file.traversal.zone.is_empty() {
        let fix = "add [[traversal.zone]] with name, verify_name, user and password";
        r.error("traversal", 0, "zone", "no core may dial this edge", fix);
        return None;
    }
    let mut names = BTreeMap::new();
    let mut out = Vec::new();
    for (i, zone) in file.traversal.zone.iter().enumerate() {
        if zone.verify_name.is_empty() {
            let fix = "list the names that the cores' certificates show";
            r.error(SECTION, i, "verify_name", "any certificate would do", fix);
        }
        let verify: Vec<String> = zone
            .verify_name
            .iter()
            .filter_map(|n| r.host(SECTION, i, "verify_name", n))
            .collect();
        for name in &verify {
            let cause = match names.insert(name.to_ascii_lowercase(), i) {
                None => continue,
                Some(before) if before == i => format!("{name} stands here twice"),
                Some(_) => format!("{name} stands in two zones"),
            };
            let fix = "name each core once, in one zone only";
            r.error(SECTION, i, "verify_name", &cause, fix);
        }
        let user = r.given(SECTION, i, "user", &zone.user);
        let (given, file) = (zone.password.as_ref(), zone.password_file.as_ref());
        let password = r.password(SECTION, i, given, file);
        r.short_password(SECTION, i, password.as_ref());
        routing::no_credential_check(r, SECTION, i, zone.authentication_policy.as_deref());
        let hop_count = routing::hop_count(r, SECTION, i, "hop_count", zone.hop_count);
        let name = r.given(SECTION, i, "name", &zone.name);
        if let (Some(name), Some(user), Some(password)) = (name, user, password) {
            out.push(Zone {
                name,
                verify_names: verify,
                user,
                password,
                hop_count,
            });
        }
    }
    Some(out)
}

/// Clients that come by IPv6 want IPv6 media, and the same of IPv4.
fn media_families(r: &mut Reader<'_>, edge: &Edge) {
    for (six, name) in [(true, "IPv6"), (false, "IPv4")] {
        let comes = edge.sip.listen.iter().any(|a| a.is_ipv6() == six);
        let has = edge.media.addresses().any(|(ip, _)| ip.is_ipv6() == six);
        if comes && !has {
            let cause = format!("clients come by {name}, and service.media has no {name} address");
            let fix = "add one to service.media.listen, or their calls have no way for media";
            r.warn("service.sip", 0, "listen", &cause, fix);
        }
    }
}

/// Media ports over a service of the link.
fn media_overlaps(r: &mut Reader<'_>, edge: &Edge) {
    let (rtp, rtcp) = edge.traversal.media_ports;
    if edge
        .media
        .addresses()
        .any(|(ip, _)| ip == edge.traversal.media)
        && (edge.media.ports.contains(&rtp) || edge.media.ports.contains(&rtcp))
    {
        r.error(
            "service.media",
            0,
            "ports",
            "the range holds the ports of the link's media",
            "begin the range above traversal.media_ports, by default at 36002",
        );
    }
}

/// Whether SIP clients are asked for a certificate, and whose they may be.
fn client_certificates(r: &mut Reader<'_>, file: &File) -> ClientCertificates {
    const SECTION: &str = "service.sip";
    let Some(sip) = &file.service.sip else {
        return ClientCertificates::Off;
    };
    let authorities = sip.client_authorities.as_ref().map(|p| r.path(p));
    match (sip.client_certificates.as_deref(), authorities) {
        (None | Some("off"), None) => ClientCertificates::Off,
        (None | Some("off"), Some(_)) => {
            let fix = "set client_certificates to \"request\" or \"require\", or take this out";
            let cause = "no client is asked for a certificate";
            r.error(SECTION, 0, "client_authorities", cause, fix);
            ClientCertificates::Off
        }
        (Some("request"), Some(path)) => ClientCertificates::Request(path),
        (Some("require"), Some(path)) => ClientCertificates::Require(path),
        (Some("request" | "require"), None) => {
            let fix = "name the file with the authorities of clients' certificates, in PEM";
            let cause = "client_authorities is missing: whose certificates are good?";
            r.error(SECTION, 0, "client_certificates", cause, fix);
            ClientCertificates::Off
        }
        (Some(other), _) => {
            let cause = format!("{other:?} is not known");
            let fix = "write \"off\", \"request\" or \"require\"";
            r.error(SECTION, 0, "client_certificates", &cause, fix);
            ClientCertificates::Off
        }
    }
}

fn digest_algorithms(r: &mut Reader<'_>, file: &File) -> Vec<DigestAlgorithm> {
    let written = file
        .service
        .sip
        .as_ref()
        .and_then(|s| s.digest_algorithms.as_ref());
    let Some(written) = written else {
        return vec![DigestAlgorithm::Md5];
    };
    let mut found = Vec::new();
    for name in written {
        match name.to_ascii_uppercase().as_str() {
            "MD5" => found.push(DigestAlgorithm::Md5),
            "SHA-256" => found.push(DigestAlgorithm::Sha256),
            _ => r.error(
                "service.sip",
                0,
                "digest_algorithms",
                &format!("{name} is not known"),
                "write \"MD5\", \"SHA-256\" or both, the preferred one first",
            ),
        }
    }
    if found.is_empty() {
        let fix = "name one, or leave the key out";
        r.error("service.sip", 0, "digest_algorithms", "it names none", fix);
    }
    found
}
