//! Identity providers: `[domains.sign_in]` by OpenID Connect and SAML, and `[domains.tokens]`.

use super::Reader;
use crate::file::{SignIn, Tokens as Written};
use crate::inside;
use crate::model::Password;
use crate::single_sign_on::{Introspection, Oidc, Saml, Signing, SingleSignOn, Tokens, UserClaim};

const SIGN_IN: &str = "domains.sign_in";
const TOKENS: &str = "domains.tokens";

/// Domains of addresses whose part before `@` is the user.
const MAIL_DOMAINS_MAX: usize = 64;

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
        "oidc" => oidc(r, i, domain, w).map(|o| SingleSignOn::Oidc(Box::new(o))),
        "saml" => saml(r, i, domain, w).map(|s| SingleSignOn::Saml(Box::new(s))),
        // `sign_in` reads the others.
        _ => None,
    }
}

/// Keys that belong to another way of signing in.
fn foreign(r: &mut Reader<'_>, i: usize, by: &str, w: &SignIn) {
    let part = (w.user_part.is_some(), !w.mail_domains.is_empty());
    for (key, written) in [("user_part", part.0), ("mail_domains", part.1)] {
        if written && !matches!(by, "oidc" | "saml") {
            let cause = "it belongs to by = \"oidc\" and by = \"saml\"";
            r.error(SIGN_IN, i, key, cause, "remove it");
        }
    }
    for (key, owner, written) in [
        ("issuer", "oidc", w.issuer.is_some()),
        ("client_id", "oidc", w.client_id.is_some()),
        ("client_secret", "oidc", w.client_secret.is_some()),
        ("client_secret_file", "oidc", w.client_secret_file.is_some()),
        ("scope", "oidc", w.scope.is_some()),
        ("user_claim", "oidc", w.user_claim.is_some()),
        ("metadata_file", "saml", w.metadata_file.is_some()),
        ("entity_id", "saml", w.entity_id.is_some()),
        ("user_attribute", "saml", w.user_attribute.is_some()),
        ("signing_key_file", "saml", w.signing_key_file.is_some()),
        (
            "signing_certificate_file",
            "saml",
            w.signing_certificate_file.is_some(),
        ),
    ] {
        if written && by != owner {
            let cause = format!("it belongs to by = \"{owner}\"");
            let fix = format!("remove it, or write by = \"{owner}\"");
            r.error(SIGN_IN, i, key, &cause, &fix);
        }
    }
}

fn oidc(r: &mut Reader<'_>, i: usize, domain: &str, w: &SignIn) -> Option<Oidc> {
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
    let named = Named {
        key: "user_claim",
        claim: w.user_claim.as_deref().unwrap_or("preferred_username"),
        part: w.user_part.as_deref(),
        mail_domains: &w.mail_domains,
        domain,
    };
    Some(Oidc {
        user: user(r, SIGN_IN, i, &named),
        issuer: issuer?,
        client_id: client_id?,
        client_secret,
        scope,
    })
}

fn saml(r: &mut Reader<'_>, i: usize, domain: &str, w: &SignIn) -> Option<Saml> {
    let file = w.metadata_file.as_deref().unwrap_or("");
    let file = r.given(SIGN_IN, i, "metadata_file", file)?;
    let named = Named {
        key: "user_attribute",
        claim: w.user_attribute.as_deref().unwrap_or("uid"),
        part: w.user_part.as_deref(),
        mail_domains: &w.mail_domains,
        domain,
    };
    let signing = match (&w.signing_key_file, &w.signing_certificate_file) {
        (Some(key), Some(certificate)) => Some(Signing {
            key: Password::File(r.path(key)),
            certificate: Password::File(r.path(certificate)),
        }),
        (None, None) => None,
        (key, _) => {
            let (there, missing) = match key {
                Some(_) => ("signing_key_file", "signing_certificate_file"),
                None => ("signing_certificate_file", "signing_key_file"),
            };
            let fix = format!(
                "set {missing} as well: the provider is shown the one and we sign \
                               with the other"
            );
            r.error(SIGN_IN, i, there, "it stands alone", &fix);
            None
        }
    };
    Some(Saml {
        metadata: Password::File(r.path(&file)),
        entity: match &w.entity_id {
            Some(entity) => entity.clone(),
            None => format!("{domain}--{:016X}", digits(domain)),
        },
        user: user(r, SIGN_IN, i, &named),
        signing,
    })
}

/// The same for the same domain, on every core.
fn digits(domain: &str) -> u64 {
    // FNV-1a: names need no secrecy, only to stay as they are.
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    domain.bytes().fold(0xcbf2_9ce4_8422_2325, step)
}

pub(super) fn tokens(
    r: &mut Reader<'_>,
    i: usize,
    domain: &str,
    written: Option<&Written>,
) -> Option<Tokens> {
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
    let named = Named {
        key: "user_claim",
        claim: w.user_claim.as_deref().unwrap_or("sub"),
        part: w.user_part.as_deref(),
        mail_domains: &w.mail_domains,
        domain,
    };
    let user = user(r, TOKENS, i, &named);
    let decryption = w.decryption_key_file.as_deref();
    let decryption = decryption.map(|file| Password::File(r.path(file)));
    let introspection = introspection(r, i, w);
    Some(Tokens {
        issuer: issuer?,
        audience: audience?,
        keys,
        user,
        decryption,
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

/// What names a user, as it is written.
struct Named<'w> {
    /// The key of the claim or attribute.
    key: &'static str,
    claim: &'w str,
    part: Option<&'w str>,
    mail_domains: &'w [String],
    /// The service domain, whose addresses count if no others are written.
    domain: &'w str,
}

fn user(r: &mut Reader<'_>, section: &str, i: usize, named: &Named<'_>) -> UserClaim {
    if named.claim.is_empty() || named.claim.len() > 256 {
        let fix = "write its name, as in \"uid\" or \"sub\"";
        r.error(section, i, named.key, "it is no name", fix);
    }
    let local_part = match named.part {
        None | Some("all") => false,
        Some("before_at") => true,
        Some(_) => {
            let fix = "write \"all\" or \"before_at\"";
            r.error(section, i, "user_part", "it is not known", fix);
            false
        }
    };
    let written = named.mail_domains;
    if !local_part && !written.is_empty() {
        let fix = "write user_part = \"before_at\", or remove it";
        let cause = "nothing but the part before the @ has a domain after it";
        r.error(section, i, "mail_domains", cause, fix);
    }
    if written.len() > MAIL_DOMAINS_MAX {
        let fix = format!("write at most {MAIL_DOMAINS_MAX}");
        r.error(section, i, "mail_domains", "there are too many", &fix);
    }
    for name in written {
        if name.parse::<base::DomainName>().is_err() {
            let cause = format!("{name:?} is no domain");
            let fix = "write what stands after the @, as in \"example.com\"";
            r.error(section, i, "mail_domains", &cause, fix);
        }
    }
    let local_part_of = match (local_part, written.is_empty()) {
        (false, _) => Vec::new(),
        (true, true) => vec![named.domain.to_owned()],
        (true, false) => written.to_vec(),
    };
    UserClaim {
        claim: named.claim.to_owned(),
        local_part_of,
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
