//! A browser's way to an OpenID Connect provider and back.

use super::*;
use ::sso::url::field;

/// Begins; where the browser is sent, and the cookie it holds.
pub(super) fn begin(world: &mut World, domain: &str, query: &str) -> (String, String) {
    let target = format!("authorize?{query}");
    let reply = ask(world, request(domain, &target));
    assert_eq!(reply.status, 302, "{:?}", world.events);
    let cookie = header(&reply, "Set-Cookie");
    for attribute in ["Secure", "HttpOnly", "Max-Age=600", "SameSite="] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    let cookie = cookie
        .strip_prefix("X-Sign-In=")
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    (header(&reply, "Location").to_owned(), cookie.to_owned())
}

fn back(world: &mut World, query: &str, cookie: &str) -> Reply {
    let asked = SsoRequest {
        cookie: Some(cookie.to_owned()),
        ..request("oidc.test", &format!("oidc?{query}"))
    };
    ask(world, asked)
}

#[test]
fn a_user_signs_in_at_the_provider_and_gets_a_session() {
    let mut world = world();
    let offered = ask(
        &mut world,
        request("oidc.test", "get_edge_sso?email=alice@oidc.test"),
    );
    let at = "<authorizeUrl>https://edge1.example.test:8443/b2lkYy50ZXN0/authorize</authorizeUrl>";
    assert!(offered.body.contains(at) && offered.body.contains("<basic>false</basic>"));
    let query = "response_type=token&realm=local&client_id=C1&email=alice%40oidc.test&state=x%20y";
    let (to, cookie) = begin(&mut world, "oidc.test", query);
    let asked = to.strip_prefix("https://idp.test/authorize?").unwrap();
    assert_eq!(field(asked, "login_hint").unwrap(), "alice@oidc.test");
    let redirect = field(asked, "redirect_uri").unwrap();
    assert_eq!(
        redirect,
        "https://edge1.example.test:8443/b2lkYy50ZXN0/oidc"
    );
    let (state, nonce) = (
        field(asked, "state").unwrap(),
        field(asked, "nonce").unwrap(),
    );
    idp(|idp| idp.nonce = nonce);
    let reply = back(&mut world, &format!("code=c%26c&state={state}"), &cookie);
    assert_eq!(reply.status, 302, "{:?}", world.events);
    // The code is shown with our secret and the verifier of the challenge.
    let (form, basic) = idp(|idp| (idp.forms.pop().unwrap(), idp.basic.take().unwrap()));
    assert_eq!(basic, ("us".into(), "s%26cret".into()));
    assert_eq!(field(&form, "code").unwrap(), "c&c");
    let verifier = field(&form, "code_verifier").unwrap();
    let challenge = field(asked, "code_challenge").unwrap();
    assert_eq!(::sso::sha256_base64url(&verifier), challenge);
    // The client finds its token in the address, and the browser has it as a cookie.
    let (page, fragment) = header(&reply, "Location").split_once('#').unwrap();
    assert_eq!(
        page,
        "https://edge1.example.test:8443/b2lkYy50ZXN0/signed_in"
    );
    assert_eq!(field(fragment, "state").unwrap(), "x y");
    let ours = field(fragment, "access_token").unwrap();
    let session = header(&reply, "Set-Cookie");
    assert!(session.starts_with(&format!("X-Auth={ours};")));
    // A browser shows it to no page of another site.
    assert!(session.ends_with("; Secure; HttpOnly; SameSite=Lax"));
    let config = SsoRequest {
        shown: Shown::Sessions(vec!["x".into(), ours]),
        ..request("oidc.test", "get_edge_config")
    };
    assert_eq!(ask(&mut world, config).status, 200);
    let picture = world.core.snapshot(world.now);
    assert_eq!(picture.sessions[0].user.expose(), "Alice");
    // Nothing of it counts twice.
    let reply = back(&mut world, &format!("code=c&state={state}"), &cookie);
    assert_eq!(reply.status, 403);
}

#[test]
fn a_login_belongs_to_its_browser_and_its_domain() {
    let mut world = world();
    let (to, cookie) = begin(&mut world, "oidc.test", "");
    let state = field(&to, "state").unwrap();
    let query = format!("code=c&state={state}");
    assert_eq!(back(&mut world, &query, "other").status, 403);
    let elsewhere = SsoRequest {
        cookie: Some(cookie),
        ..request("token.test", &format!("oidc?{query}"))
    };
    assert_eq!(ask(&mut world, elsewhere).status, 403);
    assert_eq!(back(&mut world, "code=c", "").status, 403);
    assert!(
        idp(|idp| idp.forms.is_empty()),
        "no code was shown to anybody"
    );
}

#[test]
fn another_nonce_or_key_or_a_refusal_signs_nobody_in() {
    let mut world = world();
    let (to, cookie) = begin(&mut world, "oidc.test", "");
    let state = field(&to, "state").unwrap();
    idp(|idp| idp.nonce = "of another".into());
    let reply = back(&mut world, &format!("code=c&state={state}"), &cookie);
    assert_eq!(reply.status, 403);
    assert!(header(&reply, "Set-Cookie").is_empty());
    let told = world
        .events
        .iter()
        .rev()
        .find(|e| e.kind == Kind::TokenUnfit)
        .unwrap();
    assert!(told.cause.contains("nonce"), "{}", told.cause);

    let (to, cookie) = begin(&mut world, "oidc.test", "");
    let state = field(&to, "state").unwrap();
    let reply = back(
        &mut world,
        &format!("error=access_denied&state={state}"),
        &cookie,
    );
    assert_eq!(reply.status, 403);
    let told = world
        .events
        .iter()
        .rev()
        .find(|e| e.kind == Kind::SsoRefused)
        .unwrap();
    assert!(told.cause.contains("access_denied"), "{}", told.cause);
}

#[test]
fn who_brings_codes_that_the_provider_refuses_is_heard_no_more() {
    let mut world = world();
    idp(|idp| idp.no_code = true);
    let bring = |world: &mut World| {
        let (to, cookie) = begin(world, "oidc.test", "");
        let state = field(&to, "state").unwrap();
        back(world, &format!("code=guess&state={state}"), &cookie).status
    };
    for _ in 0..10 {
        assert_eq!(bring(&mut world), 502);
    }
    assert!(world.kinds().contains(&Kind::Banned));
    assert_eq!(bring(&mut world), 429);
    assert_eq!(idp(|idp| idp.forms.len()), 10);
}

#[test]
fn who_brings_answers_without_a_login_is_heard_no_more() {
    let mut world = world();
    for _ in 0..10 {
        assert_eq!(back(&mut world, "code=c&state=none", "x").status, 403);
    }
    assert!(world.kinds().contains(&Kind::Banned));
    assert_eq!(back(&mut world, "code=c&state=none", "x").status, 429);
}

#[test]
fn codes_wait_within_bounds_while_the_provider_is_silent() {
    let mut world = world();
    world.fetches_hang = true;
    let mut asked = 0;
    for source in 1..=10u8 {
        for _ in 0..40 {
            let client = Some(std::net::Ipv4Addr::new(203, 0, 113, source).into());
            let mut from = SsoRequest {
                client,
                ..request("oidc.test", "authorize?")
            };
            let reply = ask(&mut world, from);
            let state = field(header(&reply, "Location"), "state").unwrap();
            let cookie = header(&reply, "Set-Cookie").strip_prefix("X-Sign-In=");
            let cookie = cookie.and_then(|c| c.split(';').next()).unwrap();
            from = SsoRequest {
                client,
                cookie: Some(cookie.to_owned()),
                ..request("oidc.test", &format!("oidc?code=c&state={state}"))
            };
            world.give(Input::Ask {
                id: AskId(5),
                question: Question::Sso(Box::new(from)),
            });
            match world.answers.pop() {
                Some(reply) => {
                    assert_eq!((reply.status, header(&reply, "Retry-After")), (503, "5"))
                }
                None => asked += 1,
            }
        }
        assert!(asked <= 32 * usize::from(source), "{source}");
    }
    assert_eq!(asked, 128);
}

#[test]
fn no_password_is_taken_where_a_provider_vouches() {
    let mut world = world();
    super::super::signing_in::sign_in(
        &mut world,
        "oidc.test",
        "Alice",
        "secret",
        "get_edge_config",
    );
    let reply = world.answers.pop().unwrap();
    assert_eq!(reply.status, 401);
    assert_eq!(
        header(&reply, "WWW-Authenticate"),
        "Bearer realm=\"oidc.test\""
    );
    let offered = ask(&mut world, request("example.test", "get_edge_sso"));
    assert!(offered.body.contains("<basic>true</basic>") && offered.body.contains("<sso>false"));
    assert_eq!(
        ask(&mut world, request("example.test", "authorize")).status,
        404
    );
    assert_eq!(
        ask(&mut world, request("oidc.test", "metadata")).status,
        404
    );
    assert_eq!(
        ask(&mut world, request("oidc.test", "signed_in")).status,
        200
    );
    assert_eq!(ask(&mut world, request("oidc.test", "other")).status, 404);
}
