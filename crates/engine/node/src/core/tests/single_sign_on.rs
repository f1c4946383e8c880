//! Bearer tokens, OpenID Connect and SAML, with an identity provider of a few lines.

mod browsers;
mod saml;

use std::cell::RefCell;
use std::net::IpAddr;

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::*;
use crate::io::{Reply, Shown, SsoRequest};

const SSO: &str = r#"
[[domains]]
name = "oidc.test"
[domains.sign_in]
by = "oidc"
issuer = "https://idp.test/realm"
client_id = "us"
client_secret = "s&cret"
[[domains]]
name = "token.test"
tokens = { issuer = "https://idp.test/realm", audience = "us", user_claim = "uid" }
[[domains]]
name = "opaque.test"
[domains.tokens]
issuer = "made-up"
audience = "us"
keys = "https://idp.test/keys"
introspection = "https://idp.test/introspect"
client_id = "us"
client_secret = "x"
"#;

/// The identity provider.
struct Idp {
    down: bool,
    /// Whether it takes no code.
    no_code: bool,
    /// Seeds of its keys.
    seeds: Vec<u8>,
    nonce: String,
    forms: Vec<String>,
    basic: Option<(String, String)>,
    /// Documents fetched.
    fetched: Vec<String>,
}

thread_local! {
    static IDP: RefCell<Idp> = const {
        RefCell::new(Idp {
            down: false,
            no_code: false,
            seeds: Vec::new(),
            nonce: String::new(),
            forms: Vec::new(),
            basic: None,
            fetched: Vec::new(),
        })
    };
}

fn idp<T>(with: impl FnOnce(&mut Idp) -> T) -> T {
    IDP.with_borrow_mut(with)
}

fn pair(seed: u8) -> Ed25519KeyPair {
    Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap()
}

fn token(seed: u8, claims: &str) -> String {
    let part = |t: &str| URL_SAFE_NO_PAD.encode(t);
    let header = format!(r#"{{"alg":"EdDSA","kid":"{seed}"}}"#);
    let message = format!("{}.{}", part(&header), part(claims));
    let signature = pair(seed).sign(message.as_bytes());
    format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature))
}

/// A good token of alice with `exp` seconds left.
fn of_alice(seed: u8, left_s: i64) -> String {
    let exp = 1_790_000_000 + left_s;
    token(
        seed,
        &format!(r#"{{"iss":"https://idp.test/realm","aud":"us","uid":"alice","exp":{exp}}}"#),
    )
}

fn web(fetch: &Fetch) -> Result<(u16, String), String> {
    idp(|idp| answer(idp, fetch)).unwrap_or_else(|| super::signing_in::cluster(fetch))
}

fn answer(idp: &mut Idp, fetch: &Fetch) -> Option<Result<(u16, String), String>> {
    if fetch.host != "idp.test" {
        return None;
    }
    idp.fetched.push(fetch.path.clone());
    if idp.down {
        return Some(Err("connection refused".into()));
    }
    let basic = fetch.basic.as_ref();
    let basic = basic.map(|(u, p)| (u.expose().clone(), p.expose().clone()));
    let body = match fetch.path.as_str() {
        "/realm/.well-known/openid-configuration" => {
            let at = "https://idp.test";
            format!(
                r#"{{"issuer":"{at}/realm","authorization_endpoint":"{at}/authorize",
                "token_endpoint":"{at}/token","jwks_uri":"{at}/keys"}}"#
            )
        }
        "/keys" => {
            let key = |seed: &u8| {
                let x = URL_SAFE_NO_PAD.encode(pair(*seed).public_key().as_ref());
                format!(r#"{{"kty":"OKP","crv":"Ed25519","kid":"{seed}","x":"{x}"}}"#)
            };
            let keys: Vec<String> = idp.seeds.iter().map(key).collect();
            format!(r#"{{"keys":[{}]}}"#, keys.join(","))
        }
        "/token" => {
            idp.forms.push(fetch.body.clone());
            idp.basic = basic;
            if idp.no_code {
                return Some(Ok((400, r#"{"error":"invalid_grant"}"#.to_owned())));
            }
            let exp = 1_790_000_300;
            let claims = format!(
                r#"{{"iss":"https://idp.test/realm","aud":"us","sub":"7","nonce":"{}",
                "preferred_username":"Alice","exp":{exp}}}"#,
                idp.nonce
            );
            format!(r#"{{"id_token":"{}"}}"#, token(1, &claims))
        }
        "/introspect" => {
            idp.forms.push(fetch.body.clone());
            let active = fetch.body.starts_with("token=good&");
            let short = fetch.body.starts_with("token=good20&");
            let exp = if short { r#","exp":1790000020"# } else { "" };
            format!(r#"{{"active":{},"sub":"alice"{exp}}}"#, active || short)
        }
        _ => return Some(Ok((404, String::new()))),
    };
    Some(Ok((200, body)))
}

fn world() -> World {
    idp(|idp| idp.seeds = vec![1]);
    World::new(&format!("{UNIFIED_CM}{SSO}"), web)
}

fn ask(world: &mut World, request: SsoRequest) -> Reply {
    world.give(Input::Ask {
        id: AskId(5),
        question: Question::Sso(Box::new(request)),
    });
    world.answers.pop().unwrap()
}

fn request(domain: &str, target: &str) -> SsoRequest {
    SsoRequest {
        peer: 0,
        client: Some("198.51.100.7".parse().unwrap()),
        domain: domain.into(),
        target: target.into(),
        form: None,
        cookie: None,
        shown: Shown::Nothing,
        user_agent: "Cisco-CSF".into(),
    }
}

fn config_by(world: &mut World, domain: &str, token: &str) -> Reply {
    let asked = SsoRequest {
        shown: Shown::Bearer(Secret::new(token.into())),
        ..request(domain, "get_edge_config?service_name=_cisco-uds")
    };
    ask(world, asked)
}

/// A token beside a request to an inside server.
fn bear(world: &mut World, domain: &str, token: &str) -> Result<String, Reply> {
    bear_from(world, "198.51.100.7", domain, token)
}

fn bear_from(world: &mut World, from: &str, domain: &str, token: &str) -> Result<String, Reply> {
    let client: Option<IpAddr> = Some(from.parse().unwrap());
    world.give(Input::Ask {
        id: AskId(6),
        question: Question::Bearer {
            domain: domain.into(),
            client,
            token: Secret::new(token.into()),
        },
    });
    world.borne.pop().unwrap()
}

fn header<'r>(reply: &'r Reply, name: &str) -> &'r str {
    let found = reply.headers.iter().find(|(n, _)| *n == name);
    found.map_or("", |(_, value)| value)
}

#[test]
fn a_bearer_token_opens_a_session_that_ends_with_it() {
    let mut world = world();
    let reply = config_by(&mut world, "token.test", &of_alice(1, 600));
    assert_eq!(reply.status, 200, "{:?}", world.events);
    assert!(reply.body.contains("<address>cucm2.example.test</address>"));
    let cookie = header(&reply, "Set-Cookie");
    let ours = cookie
        .strip_prefix("X-Auth=")
        .unwrap()
        .split(';')
        .next()
        .unwrap()
        .to_owned();
    let gate = world.gate.clone().unwrap();
    let claims = gate.token_key.verify(world.now.unix, &ours).unwrap();
    assert_eq!(
        (
            claims.user.expose().as_str(),
            claims.domain.as_str(),
            claims.expires.as_secs()
        ),
        ("alice", "token.test", 1_790_000_600)
    );
    // It shows among the sessions, and opens the same again, no longer than before.
    let picture = world.core.snapshot(world.now);
    assert_eq!(picture.sessions[0].user.expose(), "alice");
    let again = config_by(&mut world, "token.test", &ours);
    assert_eq!((again.status, header(&again, "Set-Cookie")), (200, cookie));
    // Tasks judge by what the gate says of the keys.
    let bearer = &gate.bearers[0];
    let skew = Duration::from_secs(30);
    let found = bearer
        .rules
        .check(&bearer.keys, world.now.unix, skew, &of_alice(1, 600));
    assert!(found.is_ok());
    // No password was asked about.
    assert!(!world.fetched.iter().any(|f| f.contains("/devices")));
}

#[test]
fn expired_tokens_never_ban_and_forged_ones_do() {
    let mut world = world();
    for _ in 0..50 {
        let reply = bear(&mut world, "token.test", &of_alice(1, -3600)).unwrap_err();
        assert_eq!(reply.status, 401);
        let challenge = header(&reply, "WWW-Authenticate");
        assert!(challenge.starts_with("Bearer realm=\"token.test\", error=\"invalid_token\""));
    }
    assert_eq!(
        bear(&mut world, "token.test", &of_alice(1, 60)),
        Ok("alice".into())
    );
    assert!(!world.kinds().contains(&Kind::Banned));
    // The name of a known key, and another's signature.
    let forged = of_alice(2, 600).replacen(&token(2, "")[..34], &token(1, "")[..34], 1);
    for _ in 0..10 {
        assert_eq!(
            bear(&mut world, "token.test", &forged).unwrap_err().status,
            401
        );
    }
    let banned = bear(&mut world, "token.test", &of_alice(1, 60)).unwrap_err();
    assert_eq!(banned.status, 429);
    assert!(!header(&banned, "Retry-After").is_empty());
    assert!(world.kinds().contains(&Kind::Banned));
    // Others behind another address keep on.
    let other = bear_from(&mut world, "203.0.113.9", "token.test", &of_alice(1, 60));
    assert_eq!(other, Ok("alice".into()));
}

#[test]
fn a_new_key_is_fetched_when_a_token_names_it_and_not_too_often() {
    let mut world = world();
    world.wait(Duration::from_secs(60));
    idp(|idp| {
        idp.seeds = vec![1, 3];
        idp.fetched.clear();
    });
    assert_eq!(
        bear(&mut world, "token.test", &of_alice(3, 600)),
        Ok("alice".into())
    );
    let count = || idp(|idp| idp.fetched.iter().filter(|p| *p == "/keys").count());
    assert_eq!(count(), 1);
    // Names of keys that nobody has do not make the core ask again and again.
    for seed in 10..40 {
        let from = format!("203.0.113.{seed}");
        let reply = bear_from(&mut world, &from, "token.test", &of_alice(seed, 600));
        // They may be newer than that: nothing is held against them.
        assert_eq!(reply.unwrap_err().status, 503);
    }
    assert_eq!(count(), 1);
    world.wait(Duration::from_secs(31));
    let nobodys = bear(&mut world, "token.test", &of_alice(50, 600));
    assert_eq!((nobodys.unwrap_err().status, count()), (401, 2));
    // The old key has gone, and the keys are looked at every hour.
    idp(|idp| idp.seeds = vec![3]);
    world.wait(Duration::from_secs(3700));
    assert!(count() >= 3);
    let late = of_alice(1, 36_000);
    assert_eq!(
        bear(&mut world, "token.test", &late).unwrap_err().status,
        401
    );
}

#[test]
fn known_keys_stay_good_while_their_issuer_is_down_and_unknown_ones_are_no_attack() {
    let mut world = world();
    idp(|idp| idp.down = true);
    world.wait(Duration::from_secs(3700));
    assert!(world.kinds().contains(&Kind::IssuerUnreachable));
    assert_eq!(
        bear(&mut world, "token.test", &of_alice(1, 36_000)),
        Ok("alice".into())
    );
    for _ in 0..30 {
        let reply = bear(&mut world, "token.test", &of_alice(9, 36_000)).unwrap_err();
        assert_eq!((reply.status, header(&reply, "Retry-After")), (503, "5"));
    }
    assert!(!world.kinds().contains(&Kind::Banned));
    idp(|idp| {
        idp.down = false;
        idp.seeds.push(9);
    });
    world.wait(Duration::from_secs(61));
    assert_eq!(
        bear(&mut world, "token.test", &of_alice(9, 36_000)),
        Ok("alice".into())
    );
}

#[test]
fn an_issuer_that_is_down_at_the_start_is_503_and_never_401() {
    idp(|idp| {
        idp.seeds = vec![1];
        idp.down = true;
    });
    let mut world = World::new(&format!("{UNIFIED_CM}{SSO}"), web);
    let reply = config_by(&mut world, "token.test", &of_alice(1, 600));
    assert_eq!(reply.status, 503);
    let page = ask(&mut world, request("oidc.test", "authorize"));
    assert_eq!(page.status, 502);
    idp(|idp| idp.down = false);
    world.wait(Duration::from_secs(61));
    assert_eq!(
        config_by(&mut world, "token.test", &of_alice(1, 600)).status,
        200
    );
}

#[test]
fn genuine_tokens_that_do_not_fit_are_told_apart_and_are_no_attack() {
    let mut world = world();
    let claims = |iss: &str, aud: &str, more: &str| {
        format!(r#"{{"iss":"{iss}","aud":"{aud}","exp":1790000900{more}}}"#)
    };
    let (idp_, uid) = ("https://idp.test/realm", r#","uid":"alice""#);
    for (claims, kind, word) in [
        (
            claims("https://other.test", "us", uid),
            Kind::TokenUnfit,
            "other.test",
        ),
        (claims(idp_, "them", uid), Kind::TokenUnfit, "them"),
        (claims(idp_, "us", ""), Kind::UserUnnamed, "uid"),
        (
            claims(idp_, "us", r#","uid":"alice","nbf":1790000780"#),
            Kind::IssuerClock,
            "500 s",
        ),
    ] {
        // What a source does within a minute is gathered.
        world.wait(Duration::from_secs(70));
        for _ in 0..20 {
            let reply = bear(&mut world, "token.test", &token(1, &claims)).unwrap_err();
            assert_eq!(reply.status, 401);
        }
        let mut told = world.events.iter().rev();
        let told = told
            .find(|e| e.kind == kind)
            .unwrap_or_else(|| panic!("{kind:?}"));
        assert!(told.cause.contains(word), "{}", told.cause);
    }
    assert!(!world.kinds().contains(&Kind::Banned));
}

#[test]
fn opaque_tokens_are_looked_up_and_remembered_for_a_minute() {
    let mut world = world();
    for _ in 0..5 {
        assert_eq!(bear(&mut world, "opaque.test", "good"), Ok("alice".into()));
    }
    let forms = || idp(|idp| idp.forms.len());
    assert_eq!(forms(), 1);
    world.wait(Duration::from_secs(61));
    assert_eq!(bear(&mut world, "opaque.test", "good"), Ok("alice".into()));
    assert_eq!(forms(), 2);
    let config = config_by(&mut world, "opaque.test", "good");
    assert_eq!(config.status, 200);
    for _ in 0..10 {
        assert_eq!(
            bear(&mut world, "opaque.test", "bad").unwrap_err().status,
            401
        );
    }
    assert_eq!(
        bear(&mut world, "opaque.test", "good").unwrap_err().status,
        429
    );
}

#[test]
fn a_token_looked_up_for_one_domain_opens_no_other() {
    let mut world = world();
    assert_eq!(bear(&mut world, "opaque.test", "good"), Ok("alice".into()));
    let reply = bear(&mut world, "token.test", "good").unwrap_err();
    assert_eq!(reply.status, 401);
    assert_eq!(config_by(&mut world, "token.test", "good").status, 401);
    // Its own issuer's word stands.
    assert_eq!(bear(&mut world, "opaque.test", "good"), Ok("alice".into()));
    assert_eq!(idp(|idp| idp.forms.len()), 1);
}

#[test]
fn what_an_issuer_said_of_a_token_ends_with_the_token() {
    let mut world = world();
    assert_eq!(
        bear(&mut world, "opaque.test", "good20"),
        Ok("alice".into())
    );
    world.wait(Duration::from_secs(21));
    // Asked again, not believed from before.
    let _ = bear(&mut world, "opaque.test", "good20");
    assert_eq!(idp(|idp| idp.forms.len()), 2);
}

#[test]
fn domains_without_tokens_take_none() {
    let mut world = world();
    let reply = bear(&mut world, "example.test", &of_alice(1, 600)).unwrap_err();
    assert_eq!(
        header(&reply, "WWW-Authenticate"),
        "Basic realm=\"Cisco-Edge\""
    );
    let reply = config_by(&mut world, "example.test", &of_alice(1, 600));
    assert_eq!(
        header(&reply, "WWW-Authenticate"),
        "Basic realm=\"Cisco-Edge\""
    );
    let reply = config_by(&mut world, "elsewhere.test", &of_alice(1, 600));
    assert_eq!(reply.status, 403);
    // A session of one domain is none of another's.
    let ours = config_by(&mut world, "token.test", &of_alice(1, 600));
    let ours = header(&ours, "Set-Cookie")
        .strip_prefix("X-Auth=")
        .unwrap()
        .to_owned();
    let ours = ours.split(';').next().unwrap();
    assert_eq!(config_by(&mut world, "oidc.test", ours).status, 401);
}
