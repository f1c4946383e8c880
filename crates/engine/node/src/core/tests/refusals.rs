//! What an administrator is told of a refusal.

use super::calls::invite_from_phone;
use super::signing_in::{TARGET, alices_answer, cluster, register, sign_in};
use super::*;

/// Call control's answer to alice's REGISTER; gives the event that tells of it.
fn refused(status: u16, warning: Option<&str>) -> ::status::Event {
    let mut world = World::new(UNIFIED_CM, cluster);
    sign_in(&mut world, "example.test", "Alice", "secret", TARGET);
    let answer = alices_answer(&world);
    register(&mut world, &answer);
    let node = world.dialled("cucm2.example.test");
    let inside = world.one(node);
    let mut reply = inside.reply(status, "No", "u");
    if let Some(text) = warning {
        reply = reply.header(Name::Warning, text);
    }
    world.events.clear();
    world.take(node, reply.build());
    let told = if status == 503 { 500 } else { status };
    assert_eq!(world.one(LANE).status(), told);
    assert_eq!(world.events.len(), 1, "{:?}", world.events);
    world.events.pop().unwrap()
}

#[test]
fn a_trunk_that_answers_registrations_is_told_as_one_and_not_as_a_wrong_password() {
    let event = refused(405, None);
    assert_eq!(event.kind, Kind::PortConflict);
    assert!(event.cause.contains("405") && event.cause.contains("trunk"));
    let fix = event.kind.fix();
    assert!(fix.contains("incoming port of its own") && !fix.contains("password"));
}

#[test]
fn a_refusal_of_call_control_is_told_with_its_warning_and_persons_are_hidden() {
    let shown = |event: &::status::Event| {
        let found = event.proof.iter().find(|(name, _)| *name == "warning");
        found.map(|(_, text)| text.clone())
    };
    for status in [403, 404, 503] {
        let event = refused(status, Some("399 cucm2 \"Security profile\tmismatch\""));
        assert_eq!(event.kind, Kind::RegistrarRefused, "{status}");
        assert!(event.cause.contains(&status.to_string()));
        assert!(!event.kind.fix().contains("password"));
        assert_eq!(shown(&event).as_deref(), Some("Security profile mismatch"));
    }
    for text in [
        "399 cucm2 \"no device csfalice\"",
        "399 cucm2 \"line 1001 is not ALICE's\"",
        "399 cucm2 \"bob@example.test has it\"",
    ] {
        let text = shown(&refused(404, Some(text))).unwrap();
        assert!(text.starts_with('‹') && text.ends_with('›'), "{text}");
    }
    assert_eq!(shown(&refused(503, None)), None);
    let long = format!("399 cucm2 \"{}\"", "a ".repeat(400));
    assert_eq!(shown(&refused(403, Some(&long))).unwrap().len(), 200);
}

#[test]
fn a_user_whom_no_cluster_knows_is_told_of_where_an_administrator_looks() {
    let blind = |fetch: &Fetch| match fetch.path.starts_with("/cucm-uds/clusterUser") {
        true => Ok((
            200,
            "<clusterUser><result found=\"false\"/></clusterUser>".to_owned(),
        )),
        false => cluster(fetch),
    };
    let mut world = World::new(UNIFIED_CM, blind);
    for _ in 0..3 {
        sign_in(&mut world, "example.test", "Alice", "secret", TARGET);
        assert_eq!(world.answers.pop().unwrap().status, 401);
    }
    let picture = world.core.snapshot(world.now);
    assert_eq!(picture.counters.sign_ins_refused, 3);
    let told: Vec<_> = picture
        .events
        .iter()
        .filter(|e| e.code == Kind::SignInRefused as u16)
        .collect();
    assert_eq!(told.len(), 1, "bounded: {told:?}");
    assert_eq!(told[0].cause, "no cluster knows the user");
    assert!(Kind::SignInRefused.fix().contains("ILS"));
}

#[test]
fn a_cluster_that_does_not_know_anothers_user_is_told_to_need_its_lookup_service() {
    let config = UNIFIED_CM.replace("cucm1", "west1") + UNIFIED_CM;
    // Both clusters know themselves; alice is at home in the first one.
    fn answers(fetch: &Fetch, known: bool) -> Result<(u16, String), String> {
        let west = fetch.host == "west1.example.test";
        if west && fetch.path.starts_with("/cucm-uds/clusterUser") && !known {
            let none = "<clusterUser><result found=\"false\"/></clusterUser>";
            return Ok((200, none.to_owned()));
        }
        cluster(fetch)
    }
    let mut world = World::new(&config, |fetch| answers(fetch, false));
    let amiss = |world: &World| {
        let told = world.events.iter().filter(|e| e.kind == Kind::SettingAmiss);
        let told: Vec<String> = told.map(|e| e.cause.clone()).collect();
        told
    };
    for _ in 0..2 {
        sign_in(&mut world, "example.test", "Alice", "secret", TARGET);
        assert_eq!(world.answers.pop().unwrap().status, 200);
    }
    let told = amiss(&world);
    let [told] = told.as_slice() else {
        panic!("told once: {told:?}");
    };
    assert!(told.starts_with("Intercluster Lookup Service: west1.example.test does not know"));
    let mut world = World::new(&config, |fetch| answers(fetch, true));
    sign_in(&mut world, "example.test", "Alice", "secret", TARGET);
    assert_eq!(world.answers.pop().unwrap().status, 200);
    assert_eq!(amiss(&world), Vec::<String>::new());
}

#[test]
fn a_register_is_from_whom_the_digest_proves() {
    let mut world = World::new(REGISTRAR, no_inside);
    let contact = "Contact: <sip:1002@198.51.100.7:5555;transport=tls>\r\nExpires: 600\r\n";
    let mut register = |from: &str| {
        let digest = world.answer_of(Name::Authorization, "1002", "pw", "REGISTER");
        let text = format!(
            "REGISTER sip:example.test SIP/2.0\r\n\
             Path: <sip:t2@edge1.example.test:5061;transport=tls;lr>\r\nFrom: <{from}>;tag=a\r\n\
             To: <sip:1002@example.test>\r\nCall-ID: r\r\nCSeq: 1 REGISTER\r\n{digest}{contact}\
             Content-Length: 0\r\n\r\n"
        );
        world.ask(LANE, &text);
        let refused = world.out(LANE).into_iter().find(|m| m.status() > 100);
        refused.map(|m| (m.status(), text_of(m.reason())))
    };
    let refused = Some((403, "From Is Not Yours".to_owned()));
    assert_eq!(register("sip:1001@example.test"), refused);
    assert_eq!(register("sip:%31001@example.test"), refused);
    assert_eq!(register("tel:1002"), refused);
    assert_eq!(register("sip:%31002@EXAMPLE.test"), None);
    assert_eq!(
        world.one(world.dialled("10.0.0.5")).method(),
        Method::Register
    );
}

fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn a_chat_server_that_gives_no_session_is_told_with_where_to_look() {
    let mut world = World::new(REGISTRAR, no_inside);
    let refused = crate::io::Report::XmppRefused {
        user: base::Pii::new("alice".into()),
        client: "198.51.100.7".parse().unwrap(),
        condition: "conflict".into(),
    };
    world.give(Input::Report(refused.clone()));
    world.give(Input::Report(refused));
    let told: Vec<_> = world
        .events
        .iter()
        .filter(|e| e.kind == Kind::XmppRefused)
        .collect();
    // A client tries again at once: that is gathered.
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].cause, "it answers the resource bind with conflict");
    let condition = ("condition", "conflict".to_owned());
    assert!(told[0].proof.contains(&condition), "{:?}", told[0].proof);
    assert!(told[0].kind.fix().contains("Intercluster Sync"));
}

#[test]
fn a_clients_redirection_sends_call_control_nowhere_that_a_refer_may_not() {
    let fit = "<sip:1002@example.test>";
    for (contacts, status, left) in [
        (
            format!("<sip:root@10.0.0.66:22;transport=tcp>, {fit}"),
            302,
            Some(fit),
        ),
        (format!("{fit}, <sip:a@example.test:22>"), 302, Some(fit)),
        ("<sip:1@example.test;maddr=10.0.0.66>".to_owned(), 480, None),
        (
            "<sip:1@example.test?Route=%3Csip:10.0.0.66%3E>".to_owned(),
            480,
            None,
        ),
        ("<http://10.0.0.66/>".to_owned(), 480, None),
        (fit.to_owned(), 302, Some(fit)),
    ] {
        let mut world = World::new(REGISTRAR, no_inside);
        let path = text(world.registered("1001", "t1").header(Name::Path));
        let inside = world.dialled("10.0.0.5");
        for method in ["INVITE", "MESSAGE"] {
            let mut request = invite_from_phone(&path).replace("INVITE", method);
            request = request.replace("call2", &format!("call{method}"));
            world.ask(inside, &request);
            let sent = world.one(LANE);
            let reply = sent
                .reply(302, "Moved", "c")
                .header(Name::Contact, &contacts);
            world.events.clear();
            world.take(LANE, reply.build());
            let answers = world.out(inside);
            let last = answers.last().unwrap();
            assert_eq!(last.status(), status, "{method} {contacts}");
            let shown = last.header(Name::Contact).map(|c| text(Some(c)));
            assert_eq!(shown.as_deref(), left, "{method} {contacts}");
            let told = world.kinds().contains(&Kind::TargetRefused);
            assert_eq!(told, contacts != fit, "{method} {contacts}");
            world.out(LANE);
        }
    }
}
