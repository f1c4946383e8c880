//! Every TCP address of a node has one owner.

use std::net::{IpAddr, SocketAddr};

use super::Reader;
use crate::model::{Config, Role};

/// Section and key of an address, as written in the file.
type Written = (&'static str, &'static str);

/// Two listeners on one address; administration that nobody can use.
pub(super) fn check(r: &mut Reader<'_>, config: &Config) {
    overlaps(r, &all(config));
    if !config.administration.is_empty() && config.administration_token.is_none() {
        r.warn(
            "administration",
            0,
            "listen",
            "it is ignored: no token is set, so nobody could prove who they are",
            "set token_file = \"token\", a file whose first line is a long random token",
        );
    }
}

fn all(config: &Config) -> Vec<(Written, SocketAddr)> {
    let mut all = Vec::new();
    let mut add = |section, key, addresses: &[SocketAddr]| {
        all.extend(addresses.iter().map(|a| ((section, key), *a)));
    };
    match &config.role {
        Role::Edge(edge) => {
            add("service.https", "listen", &edge.https.listen);
            add("service.sip", "listen", &edge.sip.listen);
            add("service.xmpp", "listen", &edge.xmpp.listen);
            add("traversal", "listen_sip", &[edge.traversal.sip]);
            add("traversal", "listen_ssh", &[edge.traversal.ssh]);
            add("traversal", "listen_xmpp", &[edge.traversal.xmpp]);
        }
        Role::Core(core) => {
            add("service.sip", "listen", &core.sip);
            add("service.sip", "listen_tls", &core.sip_tls);
        }
    }
    add("administration", "listen", &config.administration);
    all
}

fn overlaps(r: &mut Reader<'_>, listeners: &[(Written, SocketAddr)]) {
    for (i, ((section, key), address)) in listeners.iter().enumerate() {
        let clash = listeners
            .iter()
            .take(i)
            .find(|(_, other)| other.port() == address.port() && same(other.ip(), address.ip()));
        if let Some(((other_section, other_key), _)) = clash {
            let cause = format!("{address} is taken by {other_section}.{other_key}");
            let fix = "give each listener an address or a port of its own";
            r.error(section, 0, key, &cause, fix);
        }
    }
}

/// Whether a listener on one address leaves no room for one on the other; `[::]` takes IPv4 too.
fn same(a: IpAddr, b: IpAddr) -> bool {
    let covers =
        |wide: IpAddr, other: IpAddr| wide.is_unspecified() && (wide.is_ipv6() || other.is_ipv4());
    a == b || covers(a, b) || covers(b, a)
}
