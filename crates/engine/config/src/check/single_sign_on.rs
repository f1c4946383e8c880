//! Identity providers: `[domains.sign_in]` by OpenID Connect and SAML, and `[domains.tokens]`.

use super::Reader;
use crate::file::{SignIn, Tokens as Written};
use crate::inside;
use crate::single_sign_on::{Introspection, Oidc, Saml, SingleSignOn, Tokens, UserClaim};

const SIGN_IN: &str = "domains.sign_in";
const TOKENS: &str = "domains.tokens";

/// The `i`th domain's identity provider, if its users sign in by one.
pub(super) fn sign_in(
    r: &mut Reader<'_>,
    i: usize,
    domain: &str,
    w: &SignIn,
) -> Option<SingleSignOn> {
    let by = w.by.as_deref().unwrap_or_default();
    foreign(r, i, by, w);
    match by {
        "oidc" => oidc(r, i, w).map(|o| SingleSignOn::Oidc(Box::new(o))),
        "saml" => saml(r, i, domain, w).map(|s| SingleSignOn::Saml(Box::new(s))),
        // `sign_in` reads the others.
        _ => None,
    }
}

/// Keys that belong to another way of signing in.
fn foreign(r: &mut Reader<'_>, i: usize, by: &str, w: &SignIn) {
    for (key, owner, written) in [
        ("issuer", "oidc", w.issuer.is_some()),
        ("client_id", "oidc", w.client_id.is_some()),
        ("client_secret", "oidc", w.client_secret.is_some()),
        ("client_secret_file", "oidc", w.client_secret_file.is_some()),
        ("scope", "oidc", w.scope.is_some()),
        ("user_claim", "oidc", w.user_claim.is_some()),
        ("user_part", "oidc", w.user_part.is_some()),
        ("metadata_file", "saml", w.metadata_file.is_some()),
        ("entity_id", "saml", w.entity_id.is_some()),
        ("user_attribute", "saml", w.user_attribute.is_some()),
    ] {
        if written && by != owner {
            let cause = format!("it belongs to by = \"{owner}\"");
            let fix = format!("remove it, or write by = \"{owner}\"");
            r.error(SIGN_IN, i, key, &cause, &fix);
        }
    }
}

fn oidc(r: &mut Reader<'_>, i: usize, w: &SignIn) -> Option<Oidc> {
    let issuer = https(r, SIGN_IN, i, "issuer", w.issuer.as_deref());
    let client_id = r.given(
        SIGN_IN,
        i,
        "client_id",
        w.client_id.as_deref().unwrap_or(""),
    );
    let scope = w.scope.clone().unwrap_or_else(|| "openid profile".into());
    if !scope.split(' ').any(|s| s == "openid") {
        let fix = "write openid among them, as in \"openid profile\"";
        r.error(SIGN_IN, i, "scope", "it does not hold openid", fix);
    }
    let parts = (w.client_secret.as_ref(), w.client_secret_file.as_ref());
    let client_secret = match parts {
        (None, None) => None,
        parts => Some(r.secret(SIGN_IN, i, "client_secret", parts)?),
    };
    let claim = (w.user_claim.as_deref(), "preferred_username");
    Some(Oidc {
        user: user(r, SIGN_IN, i, claim, w.user_part.as_deref()),
        issuer: issuer?,
        client_id: client_id?,
        client_secret,
        scope,
    })
}

fn saml(r: &mut Reader<'_>, i: usize, domain: &str, w: &SignIn) -> Option<Saml> {
    let file = w.metadata_file.as_deref().unwrap_or("");
    let file = r.given(SIGN_IN, i, "metadata_file", file)?;
    let attribute = w.user_attribute.clone().unwrap_or_else(|| "uid".into());
    if attribute.is_empty() || attribute.len() > 256 {
        let fix = "write the attribute's Name, as in \"uid\"";
        r.error(SIGN_IN, i, "user_attribute", "it is no name", fix);
    }
    Some(Saml {
        metadata: crate::model::Password::File(r.path(&file)),
        entity: match &w.entity_id {
            Some(entity) => entity.clone(),
            None => format!("{domain}--{:016X}", digits(domain)),
        },
        attribute,
    })
}

/// The same for the same domain, on every core.
fn digits(domain: &str) -> u64 {
    // FNV-1a: names need no secrecy, only to stay as they are.
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    domain.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

pub(super) fn tokens(r: &mut Reader<'_>, i: usize, written: Option<&Written>) -> Option<Tokens> {
    let w = written?;
    let keys = w.keys.as_deref();
    let keys = match keys {
        Some(_) => Some(https(r, TOKENS, i, "keys", keys)?),
        None => None,
    };
    // Where the keys are configured, an issuer is only a name.
    let issuer = match &keys {
        Some(_) => r.given(TOKENS, i, "issuer", &w.issuer),
        None => https(r, TOKENS, i, "issuer", Some(&w.issuer)),
    };
    let audience = r.given(TOKENS, i, "audience", &w.audience);
    let user = user(
        r,
        TOKENS,
        i,
        (w.user_claim.as_deref(), "sub"),
        w.user_part.as_deref(),
    );
    let introspection = introspection(r, i, w);
    Some(Tokens {
        issuer: issuer?,
        audience: audience?,
        keys,
        user,
        introspection,
    })
}

fn introspection(r: &mut Reader<'_>, i: usize, w: &Written) -> Option<Introspection> {
    let parts = (w.client_secret.as_ref(), w.client_secret_file.as_ref());
    if w.introspection.is_none() {
        for (key, absent) in [
            ("client_id", w.client_id.is_none()),
            ("client_secret", w.client_secret.is_none()),
            ("client_secret_file", w.client_secret_file.is_none()),
        ] {
            if !absent {
                let fix = "write introspection, or remove it";
                r.error(TOKENS, i, key, "it belongs to an introspection", fix);
            }
        }
        return None;
    }
    let url = https(r, TOKENS, i, "introspection", w.introspection.as_deref());
    let client_id = r.given(TOKENS, i, "client_id", w.client_id.as_deref().unwrap_or(""));
    let client_secret = r.secret(TOKENS, i, "client_secret", parts);
    Some(Introspection {
        url: url?,
        client_id: client_id?,
        client_secret: client_secret?,
    })
}

fn user(
    r: &mut Reader<'_>,
    section: &str,
    i: usize,
    (claim, default): (Option<&str>, &str),
    part: Option<&str>,
) -> UserClaim {
    let claim = claim.unwrap_or(default);
    if claim.is_empty() || claim.len() > 256 {
        let fix = "write the claim's name, as in \"sub\"";
        r.error(section, i, "user_claim", "it is no name", fix);
    }
    let local_part = match part {
        None | Some("all") => false,
        Some("before_at") => true,
        Some(_) => {
            let fix = "write \"all\" or \"before_at\"";
            r.error(section, i, "user_part", "it is not known", fix);
            false
        }
    };
    UserClaim {
        claim: claim.to_owned(),
        local_part,
    }
}

/// An address of an identity provider: what it says decides who signs in.
fn https(
    r: &mut Reader<'_>,
    section: &str,
    i: usize,
    key: &str,
    written: Option<&str>,
) -> Option<String> {
    let text = r.given(section, i, key, written.unwrap_or(""))?;
    let rest = text.strip_prefix("https://").unwrap_or_default();
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    let host = match authority.rsplit_once(':') {
        Some((host, port)) if port.parse::<u16>().is_ok() => host,
        _ => authority,
    };
    let graphic = text.bytes().all(|b| b.is_ascii_graphic() && b != b'#');
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    if text.len() > 1024 || !graphic || inside::host(bare).is_err() {
        let cause = format!("{text:?} is no https address");
        let fix = "write one, as in \"https://idp.example.com/realms/staff\"";
        r.error(section, i, key, &cause, fix);
        return None;
    }
    Some(text)
}
