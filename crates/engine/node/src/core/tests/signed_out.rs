//! "Sign this user out now".

use policy::token::TokenError;

use super::signing_in::{TARGET, alices_answer, cluster, register, sign_in};
use super::*;

fn sign_out(world: &mut World, user: &str, domain: &str) -> SignOutReport {
    let (user, domain) = (Pii::new(user.to_owned()), domain.to_owned());
    let question = Question::SignOut { user, domain };
    let id = AskId(88);
    world.give(Input::Ask { id, question });
    world.sign_outs.pop().expect("an answer")
}

fn token(world: &mut World) -> String {
    sign_in(world, "example.test", "Alice", "secret", TARGET);
    let reply = world.answers.pop().unwrap();
    let cookie = reply
        .headers
        .iter()
        .find(|(n, _)| *n == "Set-Cookie")
        .unwrap();
    let token = cookie.1.strip_prefix("X-Auth=").unwrap();
    token.split(';').next().unwrap().to_owned()
}

fn admits(world: &World, token: &str) -> Result<String, TokenError> {
    let gate = world.gate.as_ref().unwrap();
    let claims = gate
        .token_key
        .admit(world.now.unix, &gate.signed_out, token);
    claims.map(|c| c.user.into_inner())
}

/// Alice is signed in, and her phone is registered.
fn signed_in() -> (World, String) {
    let mut world = World::new(UNIFIED_CM, cluster);
    let token = token(&mut world);
    let answer = alices_answer(&world);
    register(&mut world, &answer);
    let node = world.dialled("cucm2.example.test");
    let sent = world.one(node);
    let contact = text(sent.header(Name::Contact)) + ";expires=120";
    let reply = sent.reply(200, "OK", "u").header(Name::Contact, contact);
    world.take(node, reply.build());
    assert_eq!(world.one(LANE).status(), 200);
    world.now = world.now.plus(Duration::from_secs(1));
    (world, token)
}

#[test]
fn a_user_who_is_signed_out_has_no_token_no_credentials_and_no_registration() {
    for name in ["alice", "Alice", "ALICE"] {
        let (mut world, old) = signed_in();
        assert_eq!(admits(&world, &old).as_deref(), Ok("alice"));
        let report = sign_out(&mut world, name, "");
        // She typed "Alice", and Unified CM calls her "alice".
        let ended = (report.sessions, report.credentials, report.registrations);
        assert_eq!(ended, (1, 2, 1), "{name}");
        assert_eq!(report.not_stored, None);
        assert_eq!(admits(&world, &old), Err(TokenError::SignedOut));
        assert!(world.core.registrar.is_empty() && world.core.credentials.is_empty());
        assert!(
            world
                .ended
                .iter()
                .any(|out| out.is_of("alice", "example.test"))
        );
        assert!(world.kinds().contains(&Kind::SignedOut));
        let session = &world.core.snapshot(world.now).sessions[0];
        assert_eq!(session.ended, Some(world.now.unix));
        // Her phone's digest proves nothing any more; her password does, and is asked about.
        let answer = alices_answer(&world);
        register(&mut world, &answer);
        assert_eq!(world.one(LANE).status(), 401);
        let asked = world.fetched.len();
        world.now = world.now.plus(Duration::from_millis(1));
        let new = token(&mut world);
        assert!(world.fetched.len() > asked);
        assert_eq!(admits(&world, &new).as_deref(), Ok("alice"));
    }
}

#[test]
fn a_sign_out_is_about_its_user_and_domain_alone() {
    let (mut world, old) = signed_in();
    for (user, domain) in [("bob", ""), ("alice", "chat.test")] {
        let report = sign_out(&mut world, user, domain);
        assert_eq!(
            (report.sessions, report.credentials),
            (0, 0),
            "{user} {domain}"
        );
    }
    assert!(admits(&world, &old).is_ok());
}

#[test]
fn call_control_is_told_of_the_registrations_that_a_sign_out_ends() {
    let (mut world, _) = signed_in();
    let node = world.dialled("cucm2.example.test");
    sign_out(&mut world, "alice", "");
    world.wait(Duration::from_millis(10));
    let leave = world.one(node);
    let to = text(leave.header(Name::To));
    assert_eq!(
        (leave.method(), to.as_str()),
        (Method::Register, "<sip:1001@cucm2.example.test>")
    );
    let contact = text(leave.header(Name::Contact));
    assert!(
        contact.contains(";causeway=") && contact.ends_with(";expires=0"),
        "{contact}"
    );
    assert!(
        contact.contains(";+u.sip!userid.ccm.cisco.com=\"alice\""),
        "{contact}"
    );
    // It is asked once, and believed.
    world.take(node, leave.reply(200, "OK", "u").build());
    world.wait(Duration::from_secs(5));
    assert!(world.out(node).is_empty() && !world.kinds().contains(&Kind::LeaveRefused));
}

#[test]
fn a_registration_that_call_control_confirms_after_the_sign_out_does_not_stand() {
    let mut world = World::new(UNIFIED_CM, cluster);
    token(&mut world);
    let answer = alices_answer(&world);
    register(&mut world, &answer);
    let node = world.dialled("cucm2.example.test");
    let sent = world.one(node);
    sign_out(&mut world, "alice", "");
    let contact = text(sent.header(Name::Contact)) + ";expires=120";
    let reply = sent.reply(200, "OK", "u").header(Name::Contact, contact);
    world.take(node, reply.build());
    assert_eq!(world.one(LANE).status(), 403);
    assert!(world.core.registrar.is_empty());
    world.wait(Duration::from_millis(10));
    let leave = world.one(node);
    assert!(text(leave.header(Name::Contact)).ends_with(";expires=0"));
}

#[test]
fn a_registration_that_call_control_keeps_is_told_with_what_to_do() {
    let (mut world, _) = signed_in();
    let node = world.dialled("cucm2.example.test");
    sign_out(&mut world, "alice", "");
    world.wait(Duration::from_millis(10));
    let leave = world.one(node);
    world.take(node, leave.reply(401, "Unauthorized", "u").build());
    let told = world
        .events
        .iter()
        .find(|e| e.kind == Kind::LeaveRefused)
        .unwrap();
    assert_eq!(told.cause, "it answers 401");
}

#[test]
fn a_sign_out_outlives_the_core() {
    let (mut world, old) = signed_in();
    sign_out(&mut world, "alice", "");
    assert!(!world.kept.is_empty() && !world.signed_out.is_empty());
    world.restart(UNIFIED_CM, Duration::from_secs(2));
    world.link("i1");
    world.lane();
    assert_eq!(admits(&world, &old), Err(TokenError::SignedOut));
    let answer = alices_answer(&world);
    register(&mut world, &answer);
    assert_eq!(world.one(LANE).status(), 401);
}

#[test]
fn an_edge_is_told_of_a_sign_out_with_the_connections_of_the_user() {
    let (mut world, _) = signed_in();
    world.acceptor.as_mut().unwrap().take_events();
    sign_out(&mut world, "alice", "");
    let told = |world: &mut World| {
        let events = world.acceptor.as_mut().unwrap().take_events().into_iter();
        let outs = events.filter_map(|event| match event {
            traversal::Event::SignOuts(outs) => Some(outs),
            _ => None,
        });
        outs.flatten().collect::<Vec<_>>()
    };
    let outs = told(&mut world);
    let alice = outs
        .iter()
        .find(|out| out.user.expose() == "alice")
        .unwrap();
    assert_eq!(
        (alice.flows.as_slice(), alice.at),
        (&["t1".to_owned()][..], world.now.unix)
    );
    // An edge that comes later is told all.
    world.link("i2");
    assert!(
        told(&mut world)
            .iter()
            .any(|out| out.user.expose() == "alice")
    );
}

#[test]
fn what_an_edge_tells_of_another_core_signs_out_once_and_nobody_after_it() {
    let (mut world, old) = signed_in();
    let out = |id: u64, at: UnixTime| traversal::SignOut {
        user: Pii::new("alice".into()),
        domain: String::new(),
        at,
        id,
        flows: Vec::new(),
        more: false,
    };
    let tell = |world: &mut World, out: traversal::SignOut| {
        world.acceptor.as_mut().unwrap().sign_outs(&[out]);
        world.settle();
    };
    // Of before her sign-in: there is nothing of then.
    tell(&mut world, out(1, UnixTime::from_millis(1)));
    assert!(admits(&world, &old).is_ok() && world.core.registrar.len() == 1);
    let at = world.now.unix;
    tell(&mut world, out(2, at));
    assert_eq!(admits(&world, &old), Err(TokenError::SignedOut));
    assert!(world.core.registrar.is_empty());
    world.now = world.now.plus(Duration::from_secs(1));
    let new = token(&mut world);
    let later = world.now.unix;
    tell(&mut world, out(2, later));
    assert!(admits(&world, &new).is_ok());
    // An edge that makes them up is not heard for ever.
    for id in 3..500 {
        world.now = world.now.plus(Duration::from_millis(1));
        let at = world.now.unix;
        tell(&mut world, out(id, at));
    }
    let told = world
        .kinds()
        .iter()
        .filter(|k| **k == Kind::SignedOut)
        .count();
    assert!(told < 60, "{told}");
}

#[test]
fn a_sign_in_that_is_under_way_when_its_user_is_signed_out_gives_nothing() {
    let mut world = World::new(UNIFIED_CM, cluster);
    world.dns_is_slow = true;
    sign_in(&mut world, "example.test", "Alice", "secret", TARGET);
    // Its last question is under way.
    assert!(world.answers.is_empty());
    sign_out(&mut world, "alice", "");
    let reply = world.answers.pop().unwrap();
    assert_eq!((reply.status, reply.headers[0].0), (503, "Retry-After"));
    assert!(world.core.desk.engine.is_empty());
}

#[test]
fn a_sign_out_that_is_known_already_is_answered_at_once() {
    let (mut world, _) = signed_in();
    sign_out(&mut world, "alice", "");
    // The disk has nothing to say of the second one.
    let report = sign_out(&mut world, "alice", "");
    assert_eq!((report.sessions, report.not_stored), (0, None));
    // Nor is anybody signed out who has no name.
    let before = world.signed_out.len();
    sign_out(&mut world, "", "example.test");
    assert_eq!(world.signed_out.len(), before);
}

fn heard(id: u64, user: String, at: UnixTime) -> traversal::SignOut {
    traversal::SignOut {
        user: Pii::new(user),
        domain: String::new(),
        at,
        id,
        flows: Vec::new(),
        more: false,
    }
}

#[test]
fn sign_outs_that_come_all_at_once_void_tokens_at_once_and_none_is_lost() {
    let (mut world, old) = signed_in();
    let at = world.now.unix;
    // As at link-up, one by one, so that it takes longer than there are turns; she is the last.
    let most = policy::signed_out::ROWS_MAX as u64;
    let user = |n: u64| match n {
        n if n + 1 == most => "alice".to_owned(),
        n => format!("user{n}"),
    };
    for n in 0..most {
        let out = heard(n, user(n), at);
        world.acceptor.as_mut().unwrap().sign_outs(&[out]);
        world.settle();
    }
    assert_eq!(admits(&world, &old), Err(TokenError::SignedOut));
    assert!(!world.kinds().contains(&Kind::SignOutsDropped));
    assert_eq!(world.core.registrar.len(), 1, "a walk of the tables waits");
    world.wait(Duration::from_secs(20));
    assert!(world.core.registrar.is_empty() && world.core.credentials.is_empty());
    assert_eq!(world.signed_out.len() as u64, most);
    // More than that is not taken, and told once; nor is a sign-out of everybody.
    for out in [
        heard(10_000, String::new(), at),
        heard(10_001, "x".repeat(100_000), at),
    ] {
        world.acceptor.as_mut().unwrap().sign_outs(&[out]);
        world.settle();
    }
    let lot: Vec<_> = (0..500)
        .map(|n| heard(20_000 + n, format!("more{n}"), at))
        .collect();
    world.acceptor.as_mut().unwrap().sign_outs(&lot);
    world.settle();
    let told = world.kinds();
    let told = told.iter().filter(|k| **k == Kind::SignOutsDropped);
    assert_eq!(told.count(), 1);
    assert!(world.core.outs.known.iter().count() as u64 <= most);
}

#[test]
fn a_file_of_users_that_changes_as_a_whole_is_few_messages_and_one_look_at_the_gate() {
    for (users, rows) in [(900, 900), (50_000, 1)] {
        let (mut world, old) = signed_in();
        world.acceptor.as_mut().unwrap().take_events();
        let gone = (1..users).map(|n| Pii::new(format!("user{n}")));
        let gone: Vec<_> = gone.chain([Pii::new("alice".to_owned())]).collect();
        let before = world.signed_out.len();
        world.give(Input::Users {
            domain: "example.test".into(),
            digests: Vec::new(),
            gone,
        });
        assert_eq!(world.signed_out.len() - before, rows);
        assert_eq!(admits(&world, &old), Err(TokenError::SignedOut));
        assert!(world.core.registrar.is_empty() && world.core.credentials.is_empty());
        let events = world.acceptor.as_mut().unwrap().take_events().into_iter();
        let told = events.filter(|e| matches!(e, traversal::Event::SignOuts(_)));
        assert_eq!(told.count(), rows.div_ceil(traversal::SIGN_OUTS_MAX));
    }
}

#[test]
fn of_a_changed_file_only_those_are_signed_out_who_have_something() {
    let (mut world, old) = signed_in();
    // Tokens of an earlier process are void by now, and hers would be.
    world.now = world.now.plus(policy::token::LIFE);
    let gone = ["alice", "bob"]
        .map(|user| Pii::new(user.to_owned()))
        .to_vec();
    let before = world.signed_out.len();
    world.give(Input::Users {
        domain: "example.test".into(),
        digests: Vec::new(),
        gone,
    });
    let outs = &world.signed_out[before..];
    assert!(outs.iter().all(|out| out.user.expose() == "alice") && outs.len() == 1);
    assert!(admits(&world, &old).is_err());
}

#[test]
fn sign_outs_that_a_core_missed_void_what_is_from_before_its_link_and_nothing_after_it() {
    let (mut world, old) = signed_in();
    // The core was away: its link is new, and its peers remember the rest no longer.
    world.now = world.now.plus(Duration::from_secs(700));
    world.link("i1");
    world.lane();
    let up = world.now.unix;
    world.now = world.now.plus(Duration::from_secs(90));
    let new = token(&mut world);
    let tell = |world: &mut World, id: u64, at: UnixTime| {
        let out = heard(id, String::new(), at);
        world.acceptor.as_mut().unwrap().sign_outs(&[out]);
        world.settle();
    };
    let issued = UnixTime::from_millis(up.as_millis() - 700_000);
    tell(&mut world, 1, issued.plus(Duration::from_secs(1)));
    assert_eq!(admits(&world, &old), Err(TokenError::SignedOut));
    assert!(admits(&world, &new).is_ok());
    // An edge that was taken over says more than it may know, again and again.
    for n in 2..200 {
        let at = world.now.unix.plus(Duration::from_secs(3600 + n));
        tell(&mut world, n, at);
    }
    assert!(admits(&world, &new).is_ok());
    let kept = world.signed_out.len();
    assert!(kept <= 4, "{kept}");
    let told = world.kinds();
    let told = told.iter().filter(|k| **k == Kind::SignOutsMissed).count();
    assert!((1..=2).contains(&told), "{told}");
    // Nor does it gain more by a link that comes and goes.
    world.link("i1");
    let at = world.now.unix;
    tell(&mut world, 300, at);
    assert!(admits(&world, &new).is_ok());
}
