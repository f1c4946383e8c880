//! Who checks the passwords of a domain's users: `[domains.sign_in]`.

use std::time::Duration;

use super::Reader;
use crate::file::{File, SignIn};
use crate::sign_in::{Ldap, LdapServer, LdapUser, SignInBy};

const SECTION: &str = "domains.sign_in";

/// How many servers of a directory are tried.
const SERVERS_MAX: usize = 6;

/// What stands for the user's name.
const USER: &str = "{user}";

/// The `i`th domain's; Unified CM where the section is wrong, which has been said then.
pub(super) fn sign_in(r: &mut Reader<'_>, i: usize, written: &SignIn, file: &File) -> SignInBy {
    let by = written.by.as_deref().unwrap_or("uds");
    foreign(r, i, by, written);
    let found = match by {
        "uds" => {
            if written.by.is_some() && file.unified_cm.is_empty() {
                let cause = "no Unified CM is configured: nobody can sign in";
                let fix = "add [[unified_cm]], or write by = \"file\" or by = \"ldap\"";
                r.warn(SECTION, i, "by", cause, fix);
            }
            Some(SignInBy::Uds)
        }
        "file" => {
            let path = r.given(SECTION, i, "file", written.file.as_deref().unwrap_or(""));
            path.map(|path| SignInBy::File(r.path(&path)))
        }
        "ldap" => ldap(r, i, written).map(|ldap| SignInBy::Ldap(Box::new(ldap))),
        // `single_sign_on` reads those: no password is checked.
        "oidc" | "saml" => Some(SignInBy::Uds),
        _ => {
            let fix = "write \"uds\", \"file\", \"ldap\", \"oidc\" or \"saml\"";
            r.error(SECTION, i, "by", "it is not known", fix);
            None
        }
    };
    found.unwrap_or_default()
}

/// Keys that belong to another way of checking.
fn foreign(r: &mut Reader<'_>, i: usize, by: &str, w: &SignIn) {
    let fix = |owner: &str| format!("remove it, or write by = \"{owner}\"");
    if w.file.is_some() && by != "file" {
        r.error(
            SECTION,
            i,
            "file",
            "it belongs to by = \"file\"",
            &fix("file"),
        );
    }
    for (key, written) in [
        ("servers", !w.servers.is_empty()),
        ("user_dn", w.user_dn.is_some()),
        ("search_base", w.search_base.is_some()),
        ("search_filter", w.search_filter.is_some()),
        ("bind_dn", w.bind_dn.is_some()),
        ("bind_password", w.bind_password.is_some()),
        ("bind_password_file", w.bind_password_file.is_some()),
        ("account_attribute", w.account_attribute.is_some()),
        ("lines_attribute", w.lines_attribute.is_some()),
        ("timeout_s", w.timeout_s.is_some()),
        ("connections_max", w.connections_max.is_some()),
    ] {
        if written && by != "ldap" {
            r.error(SECTION, i, key, "it belongs to by = \"ldap\"", &fix("ldap"));
        }
    }
}

fn ldap(r: &mut Reader<'_>, i: usize, w: &SignIn) -> Option<Ldap> {
    if w.servers.is_empty() || w.servers.len() > SERVERS_MAX {
        let cause = format!("it names {} servers", w.servers.len());
        let fix = "name one to six, as in [\"ldaps://ldap1.example.com\"]";
        r.error(SECTION, i, "servers", &cause, fix);
    }
    let servers: Vec<LdapServer> = w.servers.iter().filter_map(|s| server(r, i, s)).collect();
    let user = user(r, i, w);
    let account_attribute = attribute(r, i, "account_attribute", w.account_attribute.as_ref());
    let lines_attribute = attribute(r, i, "lines_attribute", w.lines_attribute.as_ref());
    let timeout = r.number(SECTION, i, "timeout_s", w.timeout_s);
    let connections_max = r.number(SECTION, i, "connections_max", w.connections_max);
    Some(Ldap {
        servers,
        user: user?,
        account_attribute,
        lines_attribute,
        timeout: Duration::from_secs(timeout.unwrap_or(5)),
        connections_max: connections_max.unwrap_or(8),
    })
}

/// `ldaps://host[:port]`, or `ldap://host[:port]` with StartTLS.
fn server(r: &mut Reader<'_>, i: usize, written: &str) -> Option<LdapServer> {
    let (rest, start_tls) = match written.split_once("://") {
        Some(("ldaps", rest)) => (rest, false),
        Some(("ldap", rest)) => (rest, true),
        _ => {
            let cause = format!("{written:?} is no server of a directory");
            let fix = "write ldaps://host, or ldap://host for StartTLS";
            r.error(SECTION, i, "servers", &cause, fix);
            return None;
        }
    };
    let port = if start_tls { 389 } else { 636 };
    let (host, port) = r.host_port(SECTION, i, "servers", rest.trim_end_matches('/'), port)?;
    Some(LdapServer {
        host,
        port,
        start_tls,
    })
}

fn user(r: &mut Reader<'_>, i: usize, w: &SignIn) -> Option<LdapUser> {
    let template = |r: &mut Reader<'_>, key: &str, text: &str| {
        // A filter may look for the name in several attributes.
        let good = match text.matches(USER).count() {
            1 => true,
            many => many > 1 && key == "search_filter",
        };
        if !good {
            let fix = "write {user} where the user's name stands, in a name of an entry once";
            r.error(SECTION, i, key, "it has no place for the user's name", fix);
        }
    };
    match (&w.user_dn, &w.search_base) {
        (Some(dn), None) => {
            template(r, "user_dn", dn);
            for (key, written) in [
                ("search_filter", w.search_filter.is_some()),
                ("bind_dn", w.bind_dn.is_some()),
            ] {
                if written {
                    let fix = "remove it, or write search_base in place of user_dn";
                    r.error(SECTION, i, key, "it belongs to a search", fix);
                }
            }
            Some(LdapUser::Template(dn.clone()))
        }
        (None, Some(base)) => {
            let filter = w.search_filter.as_deref().unwrap_or("(uid={user})");
            template(r, "search_filter", filter);
            let parts = (w.bind_password.as_ref(), w.bind_password_file.as_ref());
            let bind = match &w.bind_dn {
                Some(dn) => Some((dn.clone(), r.secret(SECTION, i, "bind_password", parts)?)),
                None if parts == (None, None) => None,
                None => {
                    let fix = "write bind_dn, whose password it is";
                    r.error(SECTION, i, "bind_dn", "it is missing", fix);
                    None
                }
            };
            Some(LdapUser::Search {
                base: base.clone(),
                filter: filter.to_owned(),
                bind,
            })
        }
        (Some(_), Some(_)) => {
            let fix = "keep one of user_dn and search_base";
            r.error(SECTION, i, "user_dn", "two ways to a user are given", fix);
            None
        }
        (None, None) => {
            let cause = "nothing says how a user's entry is found";
            let fix = "write user_dn = \"uid={user},ou=people,dc=example,dc=com\", or search_base";
            r.error(SECTION, i, "user_dn", cause, fix);
            None
        }
    }
}

/// The name of an attribute (RFC 4512 §1.4).
fn attribute(r: &mut Reader<'_>, i: usize, key: &str, written: Option<&String>) -> Option<String> {
    let name = written?;
    let good = !name.is_empty()
        && name.len() <= 128
        && name
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"-.;".contains(&b));
    if !good {
        let fix = "write its name, as in \"telephoneNumber\"";
        r.error(SECTION, i, key, "it is no name of an attribute", fix);
    }
    good.then(|| name.clone())
}
