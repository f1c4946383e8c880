//! Domains whose passwords another directory checks.

use super::calls::{SDP_INSIDE, answer, follow, invite_from_client};
use super::signing_in::{TARGET, cluster, sign_in};
use super::*;

/// Two domains: one of Unified CM, one with users and a registrar of its own.
const BOTH: &str = r#"
[[domains]]
name = "own.test"
call_control = ["kamailio"]
[domains.sign_in]
by = "file"
file = "users"
[[unified_cm]]
publisher = "cucm1.example.test"
user = "axl"
password = "pw"
[[call_control]]
name = "kamailio"
address = "10.0.0.5:5060"
"#;

/// One more with users and a registrar of its own.
const OTHER: &str = r#"
[[call_control]]
name = "spare"
address = "10.0.0.6:5060"
[[domains]]
name = "other.test"
call_control = ["spare"]
[domains.sign_in]
by = "file"
file = "others"
"#;

fn directory(user: &str, password: &str) -> Result<Proven, Unproven> {
    match (user, password) {
        ("Alice", "other") => Ok(Proven {
            account: "alice".into(),
            lines: vec!["2001".into()],
        }),
        ("down", _) => Err(Unproven::Unreachable {
            server: "ldap1:636".into(),
            why: "connection refused".into(),
        }),
        _ => Err(Unproven::Wrong("wrong")),
    }
}

fn world() -> World {
    let mut world = World::new(BOTH, cluster);
    world.directory = directory;
    world
}

fn reply_to(world: &mut World, domain: &str, user: &str, password: &str) -> crate::io::Reply {
    sign_in(world, domain, user, password, TARGET);
    world.answers.pop().unwrap()
}

#[test]
fn a_user_of_a_directory_is_answered_as_one_of_unified_cm_and_registers_with_the_domains_registrar()
{
    let mut world = world();
    let reply = reply_to(&mut world, "own.test", "Alice", "other");
    assert_eq!(reply.status, 200, "{:?}", world.events);
    for wanted in [
        "<sipEdgeServer><server><address>edge1.example.test</address><tlsPort>5061</tlsPort>",
        "<sipRequest><route>&lt;sip:10.0.0.20:5060;transport=",
        "<xmppEdgeServer><server>",
        "<httpEdgeServer><server>",
        "<name>_cisco-uds</name><error>NameError</error>",
    ] {
        assert!(reply.body.contains(wanted), "{wanted} in {}", reply.body);
    }
    // There is no Unified CM of the domain: neither its files nor its directory.
    assert!(!reply.body.contains("tftpServer") && !reply.body.contains("userUdsServer"));
    assert!(
        reply
            .headers
            .iter()
            .any(|(n, v)| *n == "Set-Cookie" && v.starts_with("X-Auth="))
    );
    // The sign-in taught the digest. No password was sent to Unified CM.
    assert!(!world.fetched.iter().any(|f| f.contains("devices")));
    for (aor, uri, want) in [
        // Passed on to the registrar.
        ("alice@own.test", "sip:own.test", None),
        ("2001@own.test", "sip:own.test", None),
        ("2002@own.test", "sip:own.test", Some(403)),
        // Alice of the other domain is somebody else.
        ("alice@example.test", "sip:example.test", Some(403)),
        (
            "alice@cucm1.example.test",
            "sip:cucm1.example.test",
            Some(403),
        ),
    ] {
        assert_eq!(
            registers(&mut world, "t1", aor, uri),
            want,
            "{aor} at {uri}"
        );
    }
    let registrar = world.dialled("10.0.0.5");
    assert_eq!(world.out(registrar).len(), 2);
}

/// Alice of a directory registers; gives the refusal, if it is one.
fn registers(world: &mut World, token: &str, aor: &str, uri: &str) -> Option<u16> {
    let authorization = world.answer_for(Name::Authorization, ("Alice", "other"), "REGISTER", uri);
    world.ask(
        LANE,
        &format!(
            "REGISTER {uri} SIP/2.0\r\nPath: <sip:{token}@edge1;lr>\r\nFrom: <sip:{aor}>;tag=a\r\n\
             To: <sip:{aor}>\r\nCall-ID: r\r\nCSeq: 1 REGISTER\r\n{authorization}\
             Contact: <sip:x@172.16.0.9:5555;transport=tls>\r\nExpires: 60\r\n\
             Content-Length: 0\r\n\r\n"
        ),
    );
    let out = world.out(LANE);
    out.iter().map(Message::status).filter(|s| *s != 100).max()
}

#[test]
fn a_user_of_one_domain_does_not_register_with_the_registrar_of_another() {
    let mut world = World::new(&format!("{BOTH}{OTHER}"), cluster);
    world.directory = directory;
    let reply = reply_to(&mut world, "other.test", "Alice", "other");
    assert_eq!(reply.status, 200);
    for (aor, uri, want) in [
        // The Request-URI chooses the registrar, To the address of record.
        ("alice@other.test", "sip:own.test", Some(403)),
        ("alice@other.test", "sip:10.0.0.5", Some(403)),
        ("alice@other.test", "sip:cucm1.example.test", Some(403)),
        ("alice@other.test", "sip:example.test", Some(403)),
        ("alice@own.test", "sip:other.test", Some(403)),
        ("alice@10.0.0.5", "sip:other.test", Some(403)),
        ("alice@other.test", "sip:other.test", None),
        ("alice@10.0.0.6", "sip:10.0.0.6", None),
    ] {
        assert_eq!(
            registers(&mut world, "t1", aor, uri),
            want,
            "{aor} at {uri}"
        );
    }
    let [own, other] = ["10.0.0.5", "10.0.0.6"].map(|host| world.dialled(host));
    assert_eq!((world.out(own).len(), world.out(other).len()), (0, 2));
    // Nor has a domain of Unified CM's users a directory's registrar.
    let homes = world.core.zones_for("example.test");
    assert!(!homes.is_empty());
    assert!(homes.iter().all(|z| z.starts_with("CE")), "{homes:?}");
}

#[test]
fn one_name_in_two_directories_is_two_people_in_calls_and_sign_outs() {
    let mut world = World::new(&format!("{BOTH}{OTHER}"), cluster);
    world.directory = directory;
    let both = [
        ("own.test", "10.0.0.5", "t1"),
        ("other.test", "10.0.0.6", "t2"),
    ];
    for (domain, host, token) in both {
        assert_eq!(reply_to(&mut world, domain, "Alice", "other").status, 200);
        let (aor, uri) = (format!("alice@{domain}"), format!("sip:{domain}"));
        assert_eq!(registers(&mut world, token, &aor, &uri), None);
        let registrar = world.dialled(host);
        let sent = world.one(registrar);
        let contact = text(sent.header(Name::Contact)) + ";expires=60";
        let reply = sent.reply(200, "OK", "k").header(Name::Contact, contact);
        world.take(registrar, reply.build());
        assert_eq!(world.one(LANE).status(), 200);
    }
    // One of them has a call, whose ids the other knows.
    let inside = world.dialled("10.0.0.5");
    let invite = invite_from_client("t1")
        .replace("1001@example.test", "alice@own.test")
        .replace("1100@example.test", "1100@own.test");
    let invite = world.ask(LANE, &invite);
    let sent = world.one(inside);
    let target = "<sip:1100@10.0.0.31>";
    world.take(inside, answer(&sent, "p", target, SDP_INSIDE));
    let ok = world.one(LANE);
    world.ask(LANE, &follow("ACK", &invite, &ok, 1));
    let _ = world.one(inside);
    let ours = text(ok.to().unwrap().tag());
    let theft = invite_from_client("t2")
        .replace("1001@example.test", "alice@other.test")
        .replace("1100@example.test", "1100@other.test")
        .replace("call1", "theft")
        .replace("00000011", "00000012")
        .replace(
            "Max-Forwards",
            &format!("Replaces: call1;to-tag={ours};from-tag=c\r\nMax-Forwards"),
        );
    world.ask(LANE, &theft);
    assert_eq!(world.one(LANE).status(), 481);
    let bye = follow("BYE", &invite, &ok, 2).replace(
        "Max-Forwards",
        "P-Asserted-Identity: <sip:alice@other.test>\r\nMax-Forwards",
    );
    world.ask(LANE, &bye);
    assert_eq!(world.one(LANE).status(), 481);
    assert!(world.out(inside).is_empty());
    // Who is signed out is one of them.
    world.now = world.now.plus(Duration::from_secs(1));
    let question = Question::SignOut {
        user: Pii::new("alice".into()),
        domain: "own.test".into(),
    };
    world.give(Input::Ask {
        id: AskId(9),
        question,
    });
    assert_eq!(world.sign_outs.pop().unwrap().registrations, 1);
    let left = world.core.registrar.iter();
    let left: Vec<&str> = left.map(|(_, b)| b.draft.aor.as_str()).collect();
    assert_eq!(left, ["alice@other.test"]);
}

#[test]
fn each_domain_has_its_own_passwords_for_one_name() {
    let mut world = world();
    assert_eq!(
        reply_to(&mut world, "example.test", "Alice", "secret").status,
        200
    );
    assert_eq!(
        reply_to(&mut world, "own.test", "Alice", "other").status,
        200
    );
    // Each password is kept for its own domain.
    assert_eq!(
        reply_to(&mut world, "own.test", "Alice", "secret").status,
        401
    );
    assert_eq!(
        reply_to(&mut world, "example.test", "Alice", "other").status,
        401
    );
    assert_eq!(
        reply_to(&mut world, "example.test", "Alice", "secret").status,
        200
    );
    assert_eq!(
        reply_to(&mut world, "own.test", "Alice", "other").status,
        200
    );
}

#[test]
fn a_directory_that_cannot_tell_is_never_a_wrong_password() {
    let mut world = world();
    assert_eq!(reply_to(&mut world, "own.test", "down", "x").status, 502);
    let told = world
        .events
        .iter()
        .find(|e| e.kind == Kind::SignInUnreachable);
    let told = told.unwrap().to_string();
    assert!(
        told.contains("ldap1:636") && told.contains("connection refused"),
        "{told}"
    );
    assert_eq!(reply_to(&mut world, "own.test", "bob", "x").status, 401);
}

#[test]
fn who_is_taken_out_of_the_domains_file_is_signed_out() {
    let mut world = world();
    assert_eq!(
        reply_to(&mut world, "own.test", "Alice", "other").status,
        200
    );
    assert_eq!(
        reply_to(&mut world, "example.test", "Alice", "secret").status,
        200
    );
    world.give(Input::Users {
        domain: "own.test".into(),
        digests: Vec::new(),
        gone: vec![Pii::new("alice".into())],
    });
    let sessions = world.core.snapshot(world.now).sessions;
    let ended = |domain: &str| sessions.iter().find(|s| s.domain == domain).unwrap().ended;
    assert!(ended("own.test").is_some() && ended("example.test").is_none());
}

#[test]
fn passwords_that_a_chat_server_refuses_count_like_those_of_sign_ins() {
    let mut world = world();
    let client = "198.51.100.7".parse().unwrap();
    let mut chats = Vec::new();
    for id in 0..10 {
        let question = Question::ChatRefused {
            client,
            user: Some(Pii::new("alice".into())),
            domain: "example.test".into(),
        };
        world.give(Input::Ask {
            id: AskId(id),
            question,
        });
        chats.push(world.chats.pop().unwrap());
    }
    assert_eq!(
        (chats.iter().filter(|may| **may).count(), chats[9]),
        (9, false)
    );
    assert!(world.kinds().contains(&Kind::Banned));
    for (client, may) in [(client, false), ("198.51.100.8".parse().unwrap(), true)] {
        let question = Question::Chat { client };
        world.give(Input::Ask {
            id: AskId(1),
            question,
        });
        assert_eq!(world.chats.pop(), Some(may));
    }
    // Nor does that source sign in over HTTPS.
    let question = Question::SignIn(SignIn {
        peer: 0,
        client: Some(client),
        domain: "example.test".into(),
        user: Pii::new("Alice".into()),
        password: Secret::new("secret".into()),
        target: TARGET.into(),
        user_agent: String::new(),
    });
    world.give(Input::Ask {
        id: AskId(2),
        question,
    });
    assert_eq!(world.answers.pop().unwrap().status, 429);
}

#[test]
fn a_service_of_a_domain_that_is_off_is_left_out_of_the_answer() {
    // Hybrid: chat is served from the cloud, and no chat server is known inside.
    let hybrid = "[[domains]]\nname = \"hybrid.test\"\nim_presence = false\n";
    let mut world = World::new(&format!("{hybrid}{UNIFIED_CM}"), cluster);
    let offers = [
        ("example.test", true, true),
        ("chat.test", false, true),
        ("hybrid.test", true, false),
    ];
    for (domain, sip, chat) in offers {
        let reply = reply_to(&mut world, domain, "Alice", "secret");
        assert_eq!(reply.status, 200, "{domain}");
        let has = |text: &str| reply.body.contains(text);
        assert_eq!(has("<sipEdgeServer><server>"), sip, "{domain}");
        assert_eq!(has("<sipRequest>"), sip, "{domain}");
        assert_eq!(has("<xmppEdgeServer><server>"), chat, "{domain}");
        assert!(
            has("<httpEdgeServer><server>") && has("<userUdsServer><server>"),
            "{domain}"
        );
    }
    let gate = world.gate.as_ref().unwrap();
    let served = gate.domains.iter();
    let served = served.map(|d| (d.name.as_str(), d.sip, d.im_presence));
    assert_eq!(served.collect::<Vec<_>>(), offers);
}

#[test]
fn a_file_of_users_that_cannot_be_used_is_an_event_with_domain_and_cause() {
    let mut world = world();
    world.give(Input::Report(crate::io::Report::UsersFile {
        domain: "own.test".into(),
        cause: "/data/users: Permission denied".into(),
    }));
    let told = world.events.iter().find(|e| e.kind == Kind::UsersFile);
    let told = told.unwrap();
    assert!(told.cause.contains("/data/users"), "{}", told.cause);
    let domain = ("domain", "own.test".to_owned());
    assert!(told.proof.contains(&domain), "{:?}", told.proof);
    assert!(told.kind.fix().contains("may read the file"));
}
