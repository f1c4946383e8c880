//! The core's settings.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use super::edge::media;
use super::{Reader, routing, single_sign_on};
use crate::file::{File, Number, Publisher as Written};
use crate::model::{
    CallControl, Calls, ContactMode, Core, Credentials, Domain, InsideTls, Peer, Publisher,
    XmppServer,
};
use crate::network::Network;

/// How many edges one core dials.
const PEERS_MAX: usize = 6;

pub(super) fn core(r: &mut Reader<'_>, file: &File) -> Option<Core> {
    foreign(r, file);
    let (sip, sip_tls) = sip(r, file);
    let media = media(r, file, "36000-59999");
    if media.as_ref().is_some_and(|m| m.other.is_some()) {
        let cause = "a core has media on one address";
        let fix = "keep the one of the family that the inside speaks";
        r.error("service.media", 0, "listen", cause, fix);
    }
    let peers = peers(r, file);
    let domains = domains(r, file);
    let unified_cm = publishers(r, "unified_cm", &file.unified_cm, 8443);
    let im_presence = publishers(r, "im_presence", &file.im_presence, 8443);
    let unity_connection = publishers(r, "unity_connection", &file.unity_connection, 443);
    let call_control = call_control(r, file);
    own_address(r, &call_control, &[&sip[..], &sip_tls[..]].concat());
    // One that is written wrong has been told of.
    if unified_cm.is_empty() && file.call_control.is_empty() && domains.iter().any(|d| d.sip) {
        r.warn(
            "",
            0,
            "unified_cm",
            "no call control is configured: nobody can register or call",
            "add [[unified_cm]] or [[call_control]]",
        );
    }
    let xmpp = xmpp(r, file);
    let allow_list = super::allow_list::rules(r, file);
    let credentials = credentials(r, file);
    let calls = calls(r, file);
    let routing = routing::core(r, file, &domains);
    Some(Core {
        peers: peers?,
        sip,
        sip_tls,
        sip_from: sip_from(r, file),
        media: media?,
        domains,
        unified_cm,
        im_presence,
        unity_connection,
        call_control,
        xmpp,
        allow_list,
        credentials: credentials?,
        calls,
        routing,
    })
}

/// What belongs to the edge's file.
fn foreign(r: &mut Reader<'_>, file: &File) {
    let service = &file.service;
    for (section, absent) in [
        ("service.https", service.https.is_none()),
        ("service.xmpp", service.xmpp.is_none()),
        ("traversal.zone", file.traversal.zone.is_empty()),
        ("limits", file.limits.is_empty()),
        ("business", file.business.is_empty()),
    ] {
        if !absent {
            let fix = "move it to the edge's file: the core listens to nobody outside";
            r.error(section, 0, "", "it belongs to the edge", fix);
        }
    }
    let t = &file.traversal;
    for (key, absent) in [
        ("listen_sip", t.listen_sip.is_none()),
        ("listen_ssh", t.listen_ssh.is_none()),
        ("listen_xmpp", t.listen_xmpp.is_none()),
        ("listen_media", t.listen_media.is_none()),
        ("advertise_media", t.advertise_media.is_none()),
        ("media_ports", t.media_ports.is_none()),
    ] {
        if !absent {
            let fix = "move it to the edge's file: the core dials, as [[traversal.peer]] says";
            r.error("traversal", 0, key, "it belongs to the edge", fix);
        }
    }
    for (key, absent) in [
        (
            "advertise",
            service.sip.as_ref().is_none_or(|s| s.advertise.is_none()),
        ),
        (
            "realm",
            service.sip.as_ref().is_none_or(|s| s.realm.is_none()),
        ),
        (
            "client_certificates",
            service
                .sip
                .as_ref()
                .is_none_or(|s| s.client_certificates.is_none()),
        ),
        (
            "client_authorities",
            service
                .sip
                .as_ref()
                .is_none_or(|s| s.client_authorities.is_none()),
        ),
        (
            "digest_algorithms",
            service
                .sip
                .as_ref()
                .is_none_or(|s| s.digest_algorithms.is_none()),
        ),
    ] {
        if !absent {
            let fix = "move it to the edge's file";
            r.error("service.sip", 0, key, "it belongs to the edge", fix);
        }
    }
}

/// Where call control reaches the core: TCP and TLS.
fn sip(r: &mut Reader<'_>, file: &File) -> (Vec<SocketAddr>, Vec<SocketAddr>) {
    let service = &file.service;
    let (sip, sip_tls) = match &service.sip {
        Some(s) => (
            r.addresses("service.sip", "listen", &s.listen, 5060),
            r.addresses("service.sip", "listen_tls", &s.listen_tls, 5061),
        ),
        None => (Vec::new(), Vec::new()),
    };
    let written = |s: &crate::file::Service| !s.listen.is_empty() || !s.listen_tls.is_empty();
    if !service.sip.as_ref().is_some_and(written) {
        let fix = "set [service.sip] listen = [\"ADDRESS:5060\"]";
        r.error(
            "service.sip",
            0,
            "listen",
            "call control cannot reach the core",
            fix,
        );
    }
    let keyed = sip.iter().map(|a| ("listen", a));
    for (key, address) in keyed.chain(sip_tls.iter().map(|a| ("listen_tls", a))) {
        if address.ip().is_unspecified() {
            let fix = "name the address that call control reaches";
            r.error(
                "service.sip",
                0,
                key,
                "the unspecified address cannot be a Contact",
                fix,
            );
        }
    }
    (sip, sip_tls)
}

/// Who may send SIP beside call control.
fn sip_from(r: &mut Reader<'_>, file: &File) -> Vec<Network> {
    let written = file.service.sip.iter().flat_map(|s| &s.accept_from);
    let mut networks = Vec::new();
    for value in written {
        match value.parse() {
            Ok(network) => networks.push(network),
            Err(_) => {
                let cause = format!("{value:?} is no range of addresses");
                let fix = "write an address or a range, as in \"10.0.0.0/8\"";
                r.error("service.sip", 0, "accept_from", &cause, fix);
            }
        }
    }
    networks
}

fn peers(r: &mut Reader<'_>, file: &File) -> Option<Vec<Peer>> {
    const SECTION: &str = "traversal.peer";
    let written = &file.traversal.peer;
    if written.is_empty() {
        let fix = "add [[traversal.peer]] with name, dial, verify_name, user and password";
        r.error("traversal", 0, "peer", "the core has no edge to dial", fix);
        return None;
    }
    if written.len() > PEERS_MAX {
        r.error(
            SECTION,
            PEERS_MAX,
            "name",
            "there are more than six",
            "keep at most six edges",
        );
    }
    let mut out = Vec::new();
    for (i, p) in written.iter().enumerate() {
        let name = r.given(SECTION, i, "name", &p.name);
        let dial = r.host(SECTION, i, "dial", &p.dial);
        let verify_name = r.host(SECTION, i, "verify_name", &p.verify_name);
        let user = r.given(SECTION, i, "user", &p.user);
        let password = r.password(SECTION, i, p.password.as_ref(), p.password_file.as_ref());
        r.short_password(SECTION, i, password.as_ref());
        let media_ports = r.pair(SECTION, i, "media_ports", p.media_ports.as_deref());
        routing::no_credential_check(r, SECTION, i, p.authentication_policy.as_deref());
        let hop_count = routing::hop_count(r, SECTION, i, "hop_count", p.hop_count);
        let sip_port = r.number(SECTION, i, "sip_port", p.sip_port);
        let ssh_port = r.number(SECTION, i, "ssh_port", p.ssh_port);
        let xmpp_port = r.number(SECTION, i, "xmpp_port", p.xmpp_port);
        let (Some(name), Some(dial), Some(verify_name)) = (name, dial, verify_name) else {
            continue;
        };
        let (Some(user), Some(password), Some(media_ports)) = (user, password, media_ports) else {
            continue;
        };
        let peer = Peer {
            name,
            dial,
            verify_name,
            user,
            password,
            sip_port: sip_port.unwrap_or(7001),
            ssh_port: ssh_port.unwrap_or(2222),
            xmpp_port: xmpp_port.unwrap_or(7400),
            media_ports,
            hop_count,
        };
        twice(r, i, &out, &peer);
        out.push(peer);
    }
    Some(out)
}

/// One edge that is dialled as if it were two would carry every registration twice.
fn twice(r: &mut Reader<'_>, i: usize, before: &[Peer], peer: &Peer) {
    const SECTION: &str = "traversal.peer";
    let fix = "keep one [[traversal.peer]] for each edge";
    for other in before {
        let ports = [
            (peer.sip_port, other.sip_port),
            (peer.ssh_port, other.ssh_port),
            (peer.xmpp_port, other.xmpp_port),
        ];
        if peer.verify_name.eq_ignore_ascii_case(&other.verify_name) {
            let cause = format!(
                "{} is the name of peer {} too",
                peer.verify_name, other.name
            );
            r.error(SECTION, i, "verify_name", &cause, fix);
        } else if peer.dial.eq_ignore_ascii_case(&other.dial)
            && let Some((port, _)) = ports.iter().find(|(mine, theirs)| mine == theirs)
        {
            let cause = format!(
                "{}:{port} is dialled for peer {} too",
                peer.dial, other.name
            );
            r.error(SECTION, i, "dial", &cause, fix);
        }
    }
}

fn domains(r: &mut Reader<'_>, file: &File) -> Vec<Domain> {
    let mut seen = BTreeSet::new();
    let mut out = Vec::new();
    if file.domains.is_empty() {
        let fix = "add [[domains]] with name = \"example.com\"";
        r.error("", 0, "domains", "no domain is served", fix);
    }
    for (i, d) in file.domains.iter().enumerate() {
        let Some(name) = r.domain_name("domains", i, "name", &d.name) else {
            continue;
        };
        if !seen.insert(name.clone()) {
            r.error("domains", i, "name", "the domain stands twice", "keep one");
        }
        let single_sign_on = single_sign_on::sign_in(r, i, name.as_str(), &d.sign_in);
        let tokens = single_sign_on::tokens(r, i, name.as_str(), d.tokens.as_ref());
        out.push(Domain {
            single_sign_on,
            tokens,
            name,
            sip: d.sip.unwrap_or(true),
            im_presence: d.im_presence.unwrap_or(true),
            federation: d.federation.unwrap_or(false),
            call_control: registrars(r, i, &d.call_control, file),
            extensions_of: extensions_of(r, i, &d.extensions_of),
            sign_in: super::sign_in::sign_in(r, i, &d.sign_in, file),
        });
    }
    out
}

/// What numbers begin with whose rest is an extension, in digits.
fn extensions_of(r: &mut Reader<'_>, i: usize, written: &[String]) -> Vec<String> {
    let mut out = Vec::new();
    for number in written {
        let digits: String = number.chars().filter(char::is_ascii_digit).collect();
        let rest = number.strip_prefix('+');
        let good = |c: char| c.is_ascii_digit() || " -./()".contains(c);
        if rest.is_some_and(|rest| rest.chars().all(good)) && !digits.is_empty() {
            out.push(digits);
        } else {
            let cause = format!("{number:?} is not the beginning of an international number");
            let fix = "write what comes before the extension, as \"+49 30 555\"";
            r.error("domains", i, "extensions_of", &cause, fix);
        }
    }
    out
}

/// The entries of `[[call_control]]` that a domain names.
fn registrars(r: &mut Reader<'_>, i: usize, written: &[String], file: &File) -> Vec<String> {
    for name in written {
        if !file.call_control.iter().any(|c| c.name == *name) {
            let cause = format!("{name:?} is none of [[call_control]]");
            let fix = "write names of [[call_control]] entries, or leave the line out";
            r.error("domains", i, "call_control", &cause, fix);
        }
    }
    written.to_vec()
}

fn publishers(r: &mut Reader<'_>, section: &str, written: &[Written], port: u16) -> Vec<Publisher> {
    let mut out = Vec::new();
    for (i, p) in written.iter().enumerate() {
        let (key, value) = match (&p.publisher, &p.address) {
            (Some(v), None) => ("publisher", v),
            (None, Some(v)) => ("address", v),
            (Some(_), Some(_)) => {
                let cause = "both publisher and address are given, and they mean the same";
                r.error(section, i, "publisher", cause, "keep one of them");
                continue;
            }
            (None, None) => {
                r.error(section, i, "publisher", "it is missing", "name the server");
                continue;
            }
        };
        let address = r.host(section, i, key, value);
        let own_port = r.number(section, i, "port", p.port);
        let user = r.given(section, i, "user", &p.user);
        let password = r.password(section, i, p.password.as_ref(), p.password_file.as_ref());
        let tls_verify = p.tls_verify.unwrap_or(true);
        if !tls_verify {
            r.warn(
                section,
                i,
                "tls_verify",
                "anybody inside who can answer in this server's place learns users' passwords",
                "trust the server's certificate in certificate.trusted and remove the line",
            );
        }
        let mode = contact(r, section, i, p.contact.as_deref(), ContactMode::Rewrite);
        if p.contact.is_some() && section != "unified_cm" {
            let fix = "remove it: no SIP goes there";
            r.error(section, i, "contact", "it belongs to unified_cm", fix);
        }
        if p.ice.is_some() && section != "unified_cm" {
            let fix = "remove it: no SIP goes there";
            r.error(section, i, "ice", "it belongs to unified_cm", fix);
        }
        let ice = routing::ice(r, section, i, p.ice.as_deref());
        if let (Some(address), Some(user), Some(password), Some(contact)) =
            (address, user, password, mode)
        {
            let port = own_port.unwrap_or(port);
            out.push(Publisher {
                address,
                port,
                user,
                password,
                tls_verify,
                contact,
                ice,
            });
        }
    }
    out
}

/// What becomes of Contacts.
fn contact(
    r: &mut Reader<'_>,
    section: &str,
    i: usize,
    written: Option<&str>,
    unless_given: ContactMode,
) -> Option<ContactMode> {
    match written {
        None => Some(unless_given),
        Some("path") => Some(ContactMode::Path),
        Some("rewrite") => Some(ContactMode::Rewrite),
        Some(_) => {
            let fix = "write \"path\" or \"rewrite\"";
            r.error(section, i, "contact", "it is neither path nor rewrite", fix);
            None
        }
    }
}

/// What goes to this core's own address comes back to it.
fn own_address(r: &mut Reader<'_>, call_control: &[CallControl], ours: &[SocketAddr]) {
    for (i, one) in call_control.iter().enumerate() {
        let ip = one.host.parse();
        let own = ip.is_ok_and(|ip| ours.contains(&SocketAddr::new(ip, one.port)));
        if own {
            let cause = "it is where this core listens itself (service.sip)";
            let fix = "write the address of the registrar inside";
            r.error("call_control", i, "address", cause, fix);
        }
    }
}

fn call_control(r: &mut Reader<'_>, file: &File) -> Vec<CallControl> {
    const SECTION: &str = "call_control";
    let mut out = Vec::new();
    for (i, c) in file.call_control.iter().enumerate() {
        let tls = match c.transport.as_deref() {
            None | Some("tcp") => false,
            Some("tls") => true,
            Some(_) => {
                r.error(
                    SECTION,
                    i,
                    "transport",
                    "it is neither tcp nor tls",
                    "write \"tcp\" or \"tls\"",
                );
                continue;
            }
        };
        let contact = contact(r, SECTION, i, c.contact.as_deref(), ContactMode::Path);
        let ice = routing::ice(r, SECTION, i, c.ice.as_deref());
        let name = r.given(SECTION, i, "name", &c.name);
        let port = if tls { 5061 } else { 5060 };
        let address = r.host_port(SECTION, i, "address", &c.address, port);
        if let (Some(name), Some((host, port)), Some(contact)) = (name, address, contact) {
            let written = c.address.as_str();
            let is_address = host.parse::<std::net::IpAddr>().is_ok();
            out.push(CallControl {
                name,
                srv: !is_address && !written.contains(':'),
                host,
                port,
                tls,
                contact,
                ice,
            });
        }
    }
    out
}

fn xmpp(r: &mut Reader<'_>, file: &File) -> Vec<XmppServer> {
    const SECTION: &str = "xmpp_server";
    let mut out = Vec::new();
    for (i, x) in file.xmpp_server.iter().enumerate() {
        let tls = match x.tls.as_deref() {
            None | Some("opportunistic") => InsideTls::Opportunistic,
            Some("required") => InsideTls::Required,
            Some("off") => InsideTls::Off,
            Some(_) => {
                let fix = "write \"required\", \"opportunistic\" or \"off\"";
                r.error(SECTION, i, "tls", "it is not known", fix);
                continue;
            }
        };
        let domain = r.domain_name(SECTION, i, "domain", &x.domain);
        let address = r.host_port(SECTION, i, "address", &x.address, 5222);
        if let (Some(domain), Some((host, port))) = (domain, address) {
            out.push(XmppServer {
                domain,
                host,
                port,
                tls,
            });
        }
    }
    out
}

fn calls(r: &mut Reader<'_>, file: &File) -> Calls {
    const SECTION: &str = "calls";
    let written = &file.calls;
    let concurrent_max = r.number(SECTION, 0, "concurrent_max", written.concurrent_max);
    let interval = r.number(SECTION, 0, "session_interval_s", written.session_interval_s);
    let per_user = r.number(SECTION, 0, "per_user_max", written.per_user_max);
    let media = r.number(SECTION, 0, "media_per_user_max", written.media_per_user_max);
    let calls = Calls {
        per_user_max: per_user.unwrap_or(100),
        media_per_user_max: media.unwrap_or(300),
        session_interval: Duration::from_secs(interval.unwrap_or(1_800)),
        licences: r.number(SECTION, 0, "licences", written.licences),
        concurrent_max: concurrent_max.unwrap_or(2_000),
        registrations_max: r.number(SECTION, 0, "registrations_max", written.registrations_max),
    };
    if let Some(licences) = calls.licences.filter(|n| *n > calls.concurrent_max) {
        let cause = format!(
            "{licences} licences can never be used: a call takes one at most, and \
             calls.concurrent_max is {}",
            calls.concurrent_max
        );
        let fix = "lower it, or raise concurrent_max if the machine carries more";
        r.warn(SECTION, 0, "licences", &cause, fix);
    }
    calls
}

fn credentials(r: &mut Reader<'_>, file: &File) -> Option<Credentials> {
    const SECTION: &str = "credentials";
    let c = &file.credentials;
    let mut minutes = |key: &str, written: Option<Number>, default: u64| match written {
        None => Some(default),
        written => r.number(SECTION, 0, key, written),
    };
    let refresh = minutes("refresh_interval_min", c.refresh_interval_min, 480);
    let cleanup = minutes("cleanup_interval_min", c.cleanup_interval_min, 720);
    let (refresh, cleanup) = (refresh?, cleanup?);
    if cleanup < refresh {
        let key = if c.cleanup_interval_min.is_some() {
            "cleanup_interval_min"
        } else {
            "refresh_interval_min"
        };
        let cause = format!(
            "users would be forgotten after {cleanup} minutes, before they are checked again \
             after {refresh}"
        );
        let fix = "write a cleanup_interval_min that is at least refresh_interval_min";
        r.error(SECTION, 0, key, &cause, fix);
        return None;
    }
    Some(Credentials {
        refresh: Duration::from_secs(refresh * 60),
        cleanup: Duration::from_secs(cleanup * 60),
        file: c.file.as_deref().map(|p| r.path(p)),
    })
}
