//! Sign-in, discovery and what HTTP and XMPP tasks may let through.

use std::net::IpAddr;

use policy::allow_list::{Access, Verdict};

use super::*;

fn nodes(names: &[(&str, &str)]) -> String {
    let rows: String = names
        .iter()
        .map(|(name, role)| {
            format!(
                "<processNode><name>{name}</name><processNodeRole>{role}</processNodeRole>\
                 </processNode>"
            )
        })
        .collect();
    format!("<e><listProcessNodeResponse><return>{rows}</return></listProcessNodeResponse></e>")
}

/// A cluster of two nodes, where alice is at home.
pub(super) fn cluster(fetch: &Fetch) -> Result<(u16, String), String> {
    let basic = fetch
        .basic
        .as_ref()
        .map(|(u, p)| (u.expose().as_str(), p.expose().as_str()));
    let ok = |body: &str| Ok((200, body.to_owned()));
    match (fetch.host.as_str(), fetch.path.as_str(), basic) {
        ("cucm1.example.test", "/axl/", Some(("axl", "pw"))) => {
            let voice = "CUCM Voice/Video";
            Ok((
                200,
                nodes(&[("cucm1.example.test", voice), ("cucm2.example.test", voice)]),
            ))
        }
        ("imp1.example.test", "/axl/", _) => {
            Ok((200, nodes(&[("imp1.example.test", "CUCM IM and Presence")])))
        }
        (_, path, None) if path.starts_with("/cucm-uds/clusterUser") => ok(
            "<clusterUser><result found=\"true\"/><homeCluster>cucm1.example.test</homeCluster>\
             </clusterUser>",
        ),
        (_, "/cucm-uds/user/Alice/devices", Some(("Alice", "secret"))) => {
            ok("<devices><device><name>CSFALICE</name></device></devices>")
        }
        (_, "/cucm-uds/user/Alice", Some(_)) => {
            ok("<user><userName>alice</userName><phoneNumber>1001</phoneNumber></user>")
        }
        (_, "/cucm-uds/servers", None) => ok(
            "<servers><server>cucm1.example.test</server><server>cucm2.example.test</server>\
             </servers>",
        ),
        _ => Ok((401, String::new())),
    }
}

pub(super) fn sign_in(world: &mut World, domain: &str, user: &str, password: &str, target: &str) {
    sign_in_from(world, None, domain, user, password, target);
}

/// The status of an attempt of a user from an address.
fn attempt(world: &mut World, from: &str, user: &str, password: &str) -> u16 {
    let from = Some(from.parse().unwrap());
    sign_in_from(world, from, "example.test", user, password, TARGET);
    world.answers.pop().unwrap().status
}

fn sign_in_from(
    world: &mut World,
    client: Option<IpAddr>,
    domain: &str,
    user: &str,
    password: &str,
    target: &str,
) {
    world.give(Input::Ask {
        id: AskId(77),
        question: Question::SignIn(SignIn {
            peer: 0,
            client,
            domain: domain.into(),
            user: Pii::new(user.into()),
            password: Secret::new(password.into()),
            target: target.into(),
            user_agent: "Cisco-CSF".into(),
        }),
    });
}

pub(super) const TARGET: &str = "get_edge_config?service_name=_cisco-uds&service_name=_cuplogin";

#[test]
fn a_user_signs_in_and_may_register_with_unified_cm() {
    let mut world = World::new(UNIFIED_CM, cluster);
    sign_in(&mut world, "Example.TEST", "Alice", "secret", TARGET);
    let reply = world.answers.pop().unwrap();
    assert_eq!(reply.status, 200, "{:?}", world.events);
    assert!(
        reply
            .body
            .contains("<name>_cuplogin</name><error>NameError</error>")
    );
    assert!(
        reply
            .body
            .contains("<address>edge1.example.test</address><tlsPort>5061</tlsPort>")
    );
    assert!(
        reply
            .body
            .contains("<address>cucm2.example.test</address><tlsPort>8443</tlsPort>")
    );
    let cookie = &reply
        .headers
        .iter()
        .find(|(n, _)| *n == "Set-Cookie")
        .unwrap()
        .1;
    assert!(
        cookie.contains("Domain=.example.test; Path=/; Secure; HttpOnly"),
        "{cookie}"
    );
    let token = cookie
        .strip_prefix("X-Auth=")
        .unwrap()
        .split(';')
        .next()
        .unwrap();
    let claims = world
        .gate
        .as_ref()
        .unwrap()
        .token_key
        .verify(world.now.unix, token)
        .unwrap();
    assert_eq!(
        (claims.user.expose().as_str(), claims.domain.as_str()),
        ("alice", "example.test")
    );
    assert_eq!(
        world.core.snapshot(world.now).sessions[0].edge,
        "edge1.example.test"
    );

    // The digest is good for SIP now, in the spelling the user signed in with.
    let answer = alices_answer(&world);
    register(&mut world, &answer);
    let node = world.dialled("cucm2.example.test");
    let sent = world.one(node);
    let contact = text(sent.header(Name::Contact));
    assert!(contact.starts_with(
        "<sip:uuid@10.0.0.20:5060;transport=tcp;orig-hostport=172.16.0.9:5555;causeway="
    ));
    assert!(
        contact.ends_with(";+u.sip!userid.ccm.cisco.com=\"alice\""),
        "{contact}"
    );
    let reply = sent
        .reply(200, "OK", "u")
        .header(Name::Contact, contact + ";expires=120")
        .build();
    world.take(node, reply);
    let back = text(world.one(LANE).header(Name::Contact));
    assert!(
        back.starts_with("<sip:uuid@172.16.0.9:5555;transport=tls>;"),
        "{back}"
    );
    let look = world.core.snapshot(world.now);
    assert_eq!(
        (
            look.registrations[0].expires_s,
            &*look.registrations[0].device
        ),
        (120, "CSFALICE")
    );
    let zones: Vec<&str> = look.zones.iter().map(|z| z.name.as_str()).collect();
    assert_eq!(
        zones,
        ["CEtcp-cucm1.example.test", "CEtcp-cucm2.example.test"]
    );
}

/// A REGISTER of alice's phone under an answer to a challenge, as the edge passes it on.
pub(super) fn register(world: &mut World, authorization: &str) {
    let register = format!(
        "REGISTER sip:cucm2.example.test SIP/2.0\r\n\
         Path: <sip:t1@edge1.example.test:5061;transport=tls;lr>\r\n\
         From: <sip:1001@cucm2.example.test>;tag=a\r\nTo: <sip:1001@cucm2.example.test>\r\n\
         Call-ID: r\r\nCSeq: 1 REGISTER\r\n{authorization}\
         Contact: <sip:uuid@172.16.0.9:5555;transport=tls>;+u.sip!devicename.ccm.cisco.com=\
         \"CSFALICE\"\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n"
    );
    world.ask(LANE, &register);
}

pub(super) fn alices_answer(world: &World) -> String {
    alices_answer_to(world, "sip:cucm2.example.test")
}

pub(super) fn alices_answer_to(world: &World, uri: &str) -> String {
    world.answer_for(Name::Authorization, ("Alice", "secret"), "REGISTER", uri)
}

#[test]
fn a_user_who_signed_in_registers_with_the_core_that_took_the_place_of_a_killed_one() {
    let mut world = World::new(UNIFIED_CM, cluster);
    sign_in(&mut world, "example.test", "Alice", "secret", TARGET);
    let seen = alices_answer(&world);
    register(&mut world, &seen);
    let node = world.dialled("cucm2.example.test");
    assert_eq!(world.one(node).method(), Method::Register);

    world.restart(UNIFIED_CM, Duration::from_secs(10));
    world.link("i1");
    world.lane();
    // The answer that the killed one saw is nothing to this one, and no attempt on a password.
    register(&mut world, &seen);
    assert_eq!(world.one(LANE).status(), 401);
    assert_eq!(world.core.snapshot(world.now).counters.wrong_credentials, 0);
    // A new one is, under the name that Unified CM knows.
    let fetched = world.fetched.len();
    let fresh = alices_answer(&world);
    register(&mut world, &fresh);
    let node = world.dialled("cucm2.example.test");
    let contact = text(world.one(node).header(Name::Contact));
    assert!(
        contact.ends_with(";+u.sip!userid.ccm.cisco.com=\"alice\""),
        "{contact}"
    );
    assert_eq!(world.fetched.len(), fetched, "nobody was asked about him");
    // When he signs in, he is asked about: his password is known to no one here.
    sign_in(&mut world, "example.test", "Alice", "wrong", TARGET);
    assert_eq!(world.answers.pop().unwrap().status, 401);
}

#[test]
fn a_user_registers_no_device_and_no_line_of_anothers_with_unified_cm() {
    let mut world = World::new(UNIFIED_CM, cluster);
    sign_in(&mut world, "example.test", "Alice", "secret", TARGET);
    let phone = |device: &str| {
        format!(
            "<sip:uuid@172.16.0.9:5555;transport=tls>;\
             +u.sip!devicename.ccm.cisco.com=\"{device}\""
        )
    };
    let (own, bobs) = (phone("CSFALICE"), phone("CSFBOB"));
    let twice = format!("{own};+u.sip!devicename.ccm.cisco.com=\"CSFBOB\"");
    for (aor, contacts, status) in [
        ("1001", bobs.clone(), 403),
        ("1001", format!("{own}, {bobs}"), 403),
        ("1001", twice, 400),
        ("1002", own, 403),
    ] {
        let authorization = alices_answer(&world);
        let register = format!(
            "REGISTER sip:cucm2.example.test SIP/2.0\r\nPath: <sip:t1@edge1;lr>\r\n\
             From: <sip:{aor}@cucm2.example.test>;tag=a\r\n\
             To: <sip:{aor}@cucm2.example.test>\r\nCall-ID: r\r\nCSeq: 1 REGISTER\r\n\
             {authorization}Contact: {contacts}\r\nExpires: 3600\r\nContent-Length: 0\r\n\r\n"
        );
        world.ask(LANE, &register);
        assert_eq!(world.one(LANE).status(), status, "{aor} {contacts}");
    }
    assert!(world.sent.is_empty() && world.core.registrar.is_empty());
    let refused = world
        .events
        .iter()
        .filter(|e| e.kind == Kind::RegistrationRefused);
    assert!(refused.count() > 0 && Kind::RegistrationRefused.fix().contains("device"));
}

#[test]
fn a_user_who_has_not_signed_in_for_the_clean_up_interval_is_not_known_after_a_restart() {
    let mut world = World::new(UNIFIED_CM, cluster);
    sign_in(&mut world, "example.test", "Alice", "secret", TARGET);
    world.restart(UNIFIED_CM, Duration::from_secs(12 * 3600));
    world.link("i1");
    world.lane();
    let answer = alices_answer(&world);
    register(&mut world, &answer);
    assert_eq!(world.one(LANE).status(), 401);
    assert_eq!(world.core.snapshot(world.now).counters.wrong_credentials, 1);
}

#[test]
fn a_password_that_was_good_a_moment_ago_is_not_asked_about() {
    let mut world = World::new(UNIFIED_CM, cluster);
    sign_in(&mut world, "example.test", "Alice", "secret", TARGET);
    let asked = world.fetched.len();
    sign_in(&mut world, "example.test", "Alice", "secret", TARGET);
    assert_eq!((world.fetched.len(), world.answers.len()), (asked, 2));
    sign_in(&mut world, "example.test", "Alice", "wrong", TARGET);
    assert_eq!(world.answers.pop().unwrap().status, 401);
    assert!(world.fetched.len() > asked);
}

#[test]
fn each_refusal_has_its_status() {
    let mut world = World::new(UNIFIED_CM, cluster);
    let mut status = |domain: &str, password: &str, target: &str| {
        sign_in(&mut world, domain, "Alice", password, target);
        world.answers.pop().unwrap()
    };
    let wrong = status("example.test", "wrong", TARGET);
    assert_eq!(wrong.status, 401);
    assert_eq!(
        wrong.headers,
        [("WWW-Authenticate", "Basic realm=\"Cisco-Edge\"".to_owned())]
    );
    assert_eq!(status("other.test", "secret", TARGET).status, 403);
    assert_eq!(
        status("example.test", "secret", "get_edge_sso?email=a").status,
        404
    );
    assert_eq!(
        status("example.test", "secret", "get_edge_config/").status,
        200
    );
    let many = (0..70)
        .map(|_| status("example.test", "wrong", TARGET))
        .last()
        .unwrap();
    assert_eq!((many.status, many.headers[0].0), (429, "Retry-After"));
    assert!(world.core.desk.engine.is_empty() && world.core.asked.is_empty());
}

#[test]
fn an_inside_that_is_down_is_never_a_wrong_password_and_is_asked_again() {
    let mut world = World::new(UNIFIED_CM, no_inside);
    sign_in(&mut world, "example.test", "Alice", "secret", TARGET);
    assert_eq!(world.answers.pop().unwrap().status, 502);
    assert!(world.kinds().contains(&Kind::SignInUnreachable));
    assert!(world.core.zone_rows().is_empty());
    world.wait(Duration::from_secs(60));
    let failed = world
        .kinds()
        .iter()
        .filter(|k| **k == Kind::DiscoveryFailed)
        .count();
    assert_eq!(failed, 1, "the same cause is told once");
    world.inside = cluster;
    world.wait(Duration::from_secs(60));
    assert_eq!(world.core.zone_rows().len(), 2);
    sign_in(&mut world, "example.test", "Alice", "secret", TARGET);
    assert_eq!(world.answers.pop().unwrap().status, 200);
}

#[test]
fn the_gate_follows_from_what_was_discovered() {
    let extra = format!(
        "{UNIFIED_CM}{}",
        r#"
[[im_presence]]
publisher = "imp1.example.test"
user = "axl"
password = "pw"
[[unity_connection]]
address = "cuc1.example.test"
user = "cuc"
password = "pw"
[[allow_list]]
host = "web.example.test"
scheme = "http"
"#
    );
    let world = World::new(&extra, cluster);
    let gate = world.gate.unwrap();
    let check = |scheme, host, port, path, method| {
        let access = Access {
            scheme,
            host,
            port,
            path,
            method,
        };
        gate.allow_list.check(&access) != Verdict::Deny
    };
    assert!(check(
        "https",
        "cucm2.example.test",
        8443,
        "/cucm-uds/user/alice",
        "GET"
    ));
    assert!(check(
        "http",
        "cucm2.example.test",
        6970,
        "/CSFALICE.cnf.xml",
        "GET"
    ));
    assert!(check(
        "https",
        "imp1.example.test",
        8443,
        "/EPASSoap/service/v80",
        "POST"
    ));
    assert!(check(
        "https",
        "cuc1.example.test",
        443,
        "/vmrest/version",
        "GET"
    ));
    assert!(check("http", "web.example.test", 80, "/", "GET"));
    assert!(!check("https", "cucm2.example.test", 8443, "/axl/", "POST"));
    assert!(!check(
        "https",
        "cucm2.example.test",
        8443,
        "/cucm-uds/user/a/credentials",
        "PUT"
    ));
    assert!(!check("https", "evil.test", 443, "/", "GET"));
    let xmpp: Vec<(&str, &str)> = gate
        .xmpp
        .iter()
        .map(|x| (x.domain.as_str(), x.host.as_str()))
        .collect();
    assert_eq!(
        xmpp,
        [
            ("example.test", "imp1.example.test"),
            ("chat.test", "imp1.example.test")
        ]
    );
}

#[test]
fn a_source_that_guesses_signs_in_nobody_for_a_while_and_its_victim_is_served_elsewhere() {
    let mut world = World::new(UNIFIED_CM, cluster);
    // A good password is no guess.
    for _ in 0..20 {
        assert_eq!(attempt(&mut world, "198.51.100.1", "Alice", "secret"), 200);
    }
    for n in 0..10 {
        let user = if n % 2 == 0 { "Alice" } else { "bob" };
        assert_eq!(attempt(&mut world, "198.51.100.1", user, "wrong"), 401);
    }
    assert!(world.events.iter().any(|e| e.kind == Kind::Banned));
    let fetched = world.fetched.len();
    for user in ["Alice", "bob", "carol"] {
        assert_eq!(attempt(&mut world, "198.51.100.1", user, "secret"), 429);
    }
    assert_eq!(world.fetched.len(), fetched);
    assert_eq!(attempt(&mut world, "198.51.100.2", "Alice", "secret"), 200);
    world.wait(Duration::from_secs(301));
    assert_eq!(attempt(&mut world, "198.51.100.1", "Alice", "secret"), 200);
}

#[test]
fn guesses_from_everywhere_slow_a_user_down_who_is_not_known_and_no_other() {
    let mut world = World::new(UNIFIED_CM, cluster);
    assert_eq!(attempt(&mut world, "192.0.2.1", "Alice", "secret"), 200);
    for n in 0..60 {
        let from = format!("198.51.100.{n}");
        assert_eq!(attempt(&mut world, &from, "Alice", "wrong"), 401);
    }
    assert_eq!(attempt(&mut world, "203.0.113.1", "Alice", "wrong"), 429);
    assert_eq!(attempt(&mut world, "192.0.2.1", "Alice", "secret"), 200);
    assert_eq!(attempt(&mut world, "203.0.113.1", "bob", "wrong"), 401);
}

#[test]
fn a_user_name_that_is_too_long_is_refused_without_asking_anybody() {
    let mut world = World::new(UNIFIED_CM, cluster);
    let fetched = world.fetched.len();
    let long = "a".repeat(20_000);
    assert_eq!(attempt(&mut world, "198.51.100.1", &long, "secret"), 401);
    assert_eq!(world.fetched.len(), fetched);
}

#[test]
fn wrong_passwords_of_one_source_fill_no_log() {
    let mut world = World::new(UNIFIED_CM, cluster);
    for n in 0..200 {
        let user = format!("stranger{n}");
        attempt(&mut world, "198.51.100.1", &user, "wrong");
    }
    world.wait(Duration::from_secs(61));
    let told: Vec<_> = world
        .events
        .iter()
        .filter(|e| matches!(e.kind, Kind::SignInRefused | Kind::SignInLimited))
        .collect();
    assert_eq!(told.len(), 4, "{told:?}");
    assert!(told[2].cause.ends_with("; 9 more within 60 s"), "{told:?}");
    assert!(
        told[3].cause.ends_with("; 189 more within 60 s"),
        "{told:?}"
    );
}

#[test]
fn rules_that_are_read_anew_count_at_once() {
    let mut world = World::new(UNIFIED_CM, cluster);
    let access = Access {
        scheme: "https",
        host: "new.example.test",
        port: 443,
        path: "/a",
        method: "GET",
    };
    let passes = |world: &World| {
        let list = &world.gate.as_ref().unwrap().allow_list;
        list.check(&access) != Verdict::Deny
    };
    assert!(!passes(&world));
    let rule = config::AllowRule {
        host: "new.example.test".into(),
        scheme: "https".into(),
        port: 443,
        path: "/".into(),
        exact: false,
        methods: vec!["GET".into()],
        proxy_protocol: false,
        description: String::new(),
    };
    for (rules, there) in [
        (vec![rule.clone()], true),
        (vec![rule], true),
        (vec![], false),
    ] {
        let question = Question::AllowList(rules);
        let id = AskId(9);
        world.give(Input::Ask { id, question });
        assert_eq!(passes(&world), there);
    }
    // Automatic rules are not configured away.
    let list = &world.gate.as_ref().unwrap().allow_list;
    assert!(list.rules().iter().any(|r| r.is_automatic()));
    let told = world.kinds();
    let told = told.iter().filter(|k| **k == Kind::AllowListChanged);
    assert_eq!(told.count(), 2, "the same again is no change");
}
