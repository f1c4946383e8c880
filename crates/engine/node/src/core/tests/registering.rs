//! REGISTER, and other requests that are no calls.

use super::*;

const CONTACT: &str = "Contact: <sip:1001@198.51.100.7:5555;transport=tls>\r\nExpires: 600\r\n";

fn request(method: &str, from: &str, token: &str, fields: &str) -> String {
    format!(
        "{method} sip:1100@example.test SIP/2.0\r\n\
         Record-Route: <sip:{token}@edge1.example.test:5061;transport=tls;lr>\r\n\
         From: <sip:{from}@example.test>;tag=c\r\nTo: <sip:1100@example.test>\r\n\
         Call-ID: x-{from}\r\nCSeq: 1 {method}\r\nMax-Forwards: 70\r\n\
         Contact: <sip:{from}@198.51.100.7:5555;transport=tls>\r\n{fields}\
         Content-Length: 0\r\n\r\n"
    )
}

#[test]
fn a_client_registers_with_path_refreshes_and_unregisters() {
    let mut world = World::new(REGISTRAR, no_inside);
    let sent = world.registered("1001", "t1");
    let path = text(sent.header(Name::Path));
    assert!(path.starts_with("<sip:") && path.ends_with("@10.0.0.20:5060;transport=tcp;lr>"));
    assert_eq!(
        sent.header(Name::Contact).unwrap(),
        CONTACT[9..].split_once('\r').unwrap().0.as_bytes()
    );
    assert!(sent.header(Name::Authorization).is_none());
    let look = world.core.snapshot(world.now);
    assert_eq!(look.registrations[0].aor.expose(), "sip:1001@example.test");
    assert_eq!(look.registrations[0].expires_s, 600);
    assert_eq!(
        text(world.registered("1001", "t1").header(Name::Path)),
        path,
        "the same row"
    );
    assert_eq!(
        world
            .kinds()
            .iter()
            .filter(|k| **k == Kind::Registered)
            .count(),
        1
    );
    let bye = CONTACT.replace("600", "0");
    world.register("1001", "pw", "t1", &bye);
    let inside = world.dialled("10.0.0.5");
    let reply = world.one(inside).reply(200, "OK", "k").build();
    world.take(inside, reply);
    assert_eq!(world.one(LANE).status(), 200);
    assert!(world.core.registrar.is_empty());
    assert_eq!(world.kinds().last(), Some(&Kind::Unregistered));
}

#[test]
fn wrong_passwords_and_unknown_users_get_the_same_answer_and_reach_nobody() {
    let mut world = World::new(REGISTRAR, no_inside);
    for (user, password) in [("1001", "px"), ("nobody", "pw")] {
        world.register(user, password, "t1", CONTACT);
        let reply = world.one(LANE);
        assert_eq!(reply.status(), 401);
        assert!(
            reply.header(Name::WwwAuthenticate).is_none(),
            "the edge challenges"
        );
    }
    assert!(world.sent.is_empty());
    assert_eq!(world.core.snapshot(world.now).counters.wrong_credentials, 2);
}

#[test]
fn nobody_registers_anothers_line() {
    let mut world = World::new(REGISTRAR, no_inside);
    let authorization = world.answer_of(Name::Authorization, "1001", "pw", "REGISTER");
    world.ask(
        LANE,
        &format!(
            "REGISTER sip:example.test SIP/2.0\r\nPath: <sip:t1@edge1;lr>\r\n\
             From: <sip:1002@example.test>;tag=a\r\nTo: <sip:1002@example.test>\r\n\
             Call-ID: r\r\nCSeq: 1 REGISTER\r\n{authorization}{CONTACT}\
             Content-Length: 0\r\n\r\n"
        ),
    );
    assert_eq!(world.one(LANE).status(), 403);
    assert!(world.sent.is_empty() && world.core.registrar.is_empty());
}

#[test]
fn a_user_whose_number_ends_like_anothers_line_registers_it_only_if_the_domain_says_so() {
    let ours = "extensions_of = [\"+49 (30) 555\"]\n";
    for (extensions, status) in [("", Some(403)), (ours, None)] {
        let named = "[[domains]]\nname = \"example.test\"\n";
        let head = HEAD.replace(named, &format!("{named}{extensions}"));
        let mut world = World::of(&format!("{head}{REGISTRAR}"), no_inside);
        world.link("i1");
        world.lane();
        let authorization = world.answer_of(Name::Authorization, "1002", "pw", "REGISTER");
        world.ask(
            LANE,
            &format!(
                "REGISTER sip:example.test SIP/2.0\r\nPath: <sip:t1@edge1;lr>\r\n\
                 From: <sip:1001@example.test>;tag=a\r\nTo: <sip:1001@example.test>\r\n\
                 Call-ID: r\r\nCSeq: 1 REGISTER\r\n{authorization}{CONTACT}\
                 Content-Length: 0\r\n\r\n"
            ),
        );
        let answered = world
            .out(LANE)
            .iter()
            .map(Message::status)
            .find(|s| *s > 100);
        assert_eq!(answered, status);
    }
}

#[test]
fn a_domain_that_is_not_served_is_not_found() {
    let mut world = World::new(REGISTRAR, no_inside);
    for domain in ["other.test", "chat.test"] {
        let (alice, uri) = (("1001", "pw"), format!("sip:{domain}"));
        let authorization = world.answer_for(Name::Authorization, alice, "REGISTER", &uri);
        world.ask(
            LANE,
            &format!(
                "REGISTER sip:{domain} SIP/2.0\r\nPath: <sip:t1@edge1;lr>\r\n\
                 From: <sip:1001@{domain}>;tag=a\r\nTo: <sip:1001@{domain}>\r\nCall-ID: r\r\n\
                 CSeq: 1 REGISTER\r\n{authorization}{CONTACT}Content-Length: 0\r\n\r\n"
            ),
        );
        assert_eq!(world.one(LANE).status(), 404);
    }
    assert!(world.kinds().contains(&Kind::NoRoute));
}

#[test]
fn a_registration_that_call_control_refuses_leaves_no_row() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.register("1001", "pw", "t1", CONTACT);
    let inside = world.dialled("10.0.0.5");
    let reply = world.one(inside).reply(403, "Forbidden", "k").build();
    world.take(inside, reply);
    assert_eq!(world.one(LANE).status(), 403);
    assert!(world.core.registrar.is_empty());
}

#[test]
fn a_registration_that_is_not_refreshed_ends() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.registered("1001", "t1");
    world.wait(Duration::from_secs(611));
    assert!(world.core.registrar.is_empty());
    assert!(world.kinds().contains(&Kind::Unregistered));
}

#[test]
fn a_keep_alive_to_a_standby_registers_and_unregisters_nothing() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.registered("1001", "t1");
    let contact = "Contact: <sip:1001@198.51.100.7:5555;transport=tls>;expires=0;\
                   cisco-keep-alive\r\nExpires: 0\r\n";
    world.register("1001", "pw", "t1", contact);
    let inside = world.dialled("10.0.0.5");
    let reply = world.one(inside).reply(200, "OK", "k").build();
    world.take(inside, reply);
    assert_eq!(world.one(LANE).status(), 200);
    assert_eq!(world.core.registrar.len(), 1);
}

#[test]
fn a_registrar_that_is_down_is_passed_over_and_none_is_503() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.down = vec!["10.0.0.5"];
    let conn = world.dialled("10.0.0.5");
    world.give(Input::Disconnected {
        conn,
        why: "reset".into(),
    });
    world.register("1001", "pw", "t1", CONTACT);
    let spare = world.dialled("10.0.0.6");
    assert_eq!(world.one(spare).method(), Method::Register);
    world.down = vec!["10.0.0.5", "10.0.0.6"];
    world.give(Input::Disconnected {
        conn: spare,
        why: "reset".into(),
    });
    let _ = world.out(LANE);
    world.register("1001", "pw", "t1", CONTACT);
    let reply = world.one(LANE);
    assert_eq!(reply.status(), 503);
    assert!(reply.header(Name::RetryAfter).is_some());
    assert!(world.core.parked.is_empty() && world.core.under_way.is_empty());
}

#[test]
fn a_request_waits_for_the_connection_and_goes_when_it_stands() {
    let mut world = World::unlinked(REGISTRAR, no_inside);
    let (first, second) = (world.dialled("10.0.0.5"), world.dialled("10.0.0.6"));
    world.slow = vec!["10.0.0.5", "10.0.0.6"];
    for conn in [first, second] {
        world.give(Input::Disconnected {
            conn,
            why: "idle".into(),
        });
    }
    world.link("i1");
    world.lane();
    world.wait(Duration::from_millis(1));
    world.register("1001", "pw", "t1", CONTACT);
    assert!(world.sent.is_empty() && world.core.parked.len() == 1);
    let conn = world.dialled("10.0.0.5");
    world.connect(conn, Side::Inside, "10.0.0.5:5060");
    assert_eq!(world.one(conn).method(), Method::Register);
}

#[test]
fn requests_that_wait_leave_in_the_order_they_came() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.registered("1001", "t1");
    let texts = |world: &mut World, numbers: std::ops::Range<u32>| {
        for number in numbers {
            let more = format!("X-Number: {number}\r\n");
            world.ask(LANE, &request("MESSAGE", "1001", "t1", &more));
        }
    };
    // Transactions that ended leave rows behind that are used again, the last one first.
    let inside = world.dialled("10.0.0.5");
    texts(&mut world, 0..6);
    for sent in world.out(inside) {
        world.take(inside, sent.reply(200, "OK", "k").build());
    }
    world.wait(Duration::from_secs(40));
    world.out(LANE);
    world.slow = vec!["10.0.0.5", "10.0.0.6"];
    for host in ["10.0.0.5", "10.0.0.6"] {
        let conn = world.dialled(host);
        let why = "idle".into();
        world.give(Input::Disconnected { conn, why });
    }
    texts(&mut world, 10..16);
    assert_eq!(world.core.parked.len(), 6);
    let conn = world.dialled("10.0.0.5");
    world.connect(conn, Side::Inside, "10.0.0.5:5060");
    let sent = world.out(conn);
    let texts = sent.iter().filter(|m| m.method_bytes() == b"MESSAGE");
    let numbers: Vec<String> = texts
        .map(|m| text(m.header(Name::Other("X-Number"))))
        .collect();
    assert_eq!(numbers, ["10", "11", "12", "13", "14", "15"]);
}

#[test]
fn a_clients_request_goes_on_under_its_own_identity() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.registered("1001", "t1");
    let identity = "P-Asserted-Identity: <sip:1001@example.test>\r\nEvent: presence\r\n";
    world.ask(LANE, &request("SUBSCRIBE", "1001", "t1", identity));
    let inside = world.dialled("10.0.0.5");
    let sent = world.one(inside);
    assert_eq!(
        text(sent.header(Name::PAssertedIdentity)),
        "<sip:1001@example.test>"
    );
    let routes: Vec<&[u8]> = sent.values(Name::RecordRoute).collect();
    assert!(text(Some(routes[0])).contains("@10.0.0.20:5060"));
    assert_eq!(sent.max_forwards().unwrap(), Some(69));

    // The subscription's own requests come back by both routes, and go on to the client.
    let notify = format!(
        "NOTIFY sip:1001@198.51.100.7:5555;transport=tls SIP/2.0\r\n\
         Route: {}, {}\r\nFrom: <sip:1100@example.test>;tag=k\r\n\
         To: <sip:1001@example.test>;tag=c\r\nCall-ID: x-1001\r\nCSeq: 1 NOTIFY\r\n\
         Event: presence\r\nContent-Length: 0\r\n\r\n",
        text(Some(routes[0])),
        text(Some(routes[1])),
    );
    world.ask(inside, &notify);
    let sent = world.one(LANE);
    assert_eq!(
        text(sent.header(Name::Route)),
        "<sip:t1@edge1.example.test:5061;transport=tls;lr>"
    );

    // And the client's go on inside: our route alone leads there.
    let refresh = request(
        "SUBSCRIBE",
        "1001",
        "t1",
        &format!("{identity}Route: {}\r\n", text(Some(routes[0]))),
    );
    let refresh = refresh.replace(
        "To: <sip:1100@example.test>",
        "To: <sip:1100@example.test>;tag=k",
    );
    world.ask(LANE, &refresh);
    assert!(world.one(inside).header(Name::Route).is_none());
}

#[test]
fn a_hostile_edge_speaks_for_nobody_who_is_not_behind_it() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.registered("1001", "t1");
    // An identity that is not the flow's.
    let stolen = "P-Asserted-Identity: <sip:1002@example.test>\r\n";
    world.ask(LANE, &request("MESSAGE", "1002", "t1", stolen));
    assert_eq!(world.one(LANE).status(), 403);
    // A flow that nobody registered on: prove who you are.
    world.ask(LANE, &request("MESSAGE", "1001", "t9", ""));
    let reply = world.one(LANE);
    assert_eq!(reply.status(), 407);
    assert!(
        reply.header(Name::ProxyAuthenticate).is_none(),
        "the edge challenges"
    );
    // No flow at all.
    let bare = request("MESSAGE", "1001", "t1", "").replace("Record-Route", "X-Route");
    world.ask(LANE, &bare);
    assert_eq!(world.one(LANE).status(), 403);
    // A dialog that never was.
    let dialog = request("INFO", "1001", "t1", "").replace(
        "To: <sip:1100@example.test>",
        "To: <sip:1100@example.test>;tag=k",
    );
    world.ask(LANE, &dialog);
    assert_eq!(world.one(LANE).status(), 481);
    assert!(world.sent.is_empty());
    assert_eq!(world.core.snapshot(world.now).counters.violations, 1);
}

#[test]
fn a_client_sends_under_the_names_registered_on_its_own_flow_only() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.registered("1001", "t1");
    world.registered("1002", "t2");
    let inside = world.dialled("10.0.0.5");
    let methods = [
        "MESSAGE",
        "SUBSCRIBE",
        "REFER",
        "PUBLISH",
        "OPTIONS",
        "INVITE",
    ];
    for method in methods {
        world.ask(LANE, &request(method, "1002", "t1", ""));
        let reply = world.one(LANE);
        assert_eq!(
            (reply.status(), reply.reason()),
            (403, &b"From Is Not Yours"[..])
        );
    }
    let from = |from: &str| {
        request("MESSAGE", "1001", "t1", "").replace(
            "From: <sip:1001@example.test>",
            &format!("From: \"Boss\" <{from}>"),
        )
    };
    for foreign in [
        "sip:1001@other.test",
        "sip:1001@chat.test",
        "tel:1001",
        "sip:example.test",
    ] {
        world.ask(LANE, &from(foreign));
        assert_eq!(world.one(LANE).status(), 403, "{foreign}");
    }
    assert!(world.out(inside).is_empty());
    let refused = world.events.iter().filter(|e| e.kind == Kind::FromRefused);
    assert!(refused.clone().count() > 0 && refused.clone().all(|e| !e.kind.fix().is_empty()));
    for own in [
        "sip:%31001@EXAMPLE.test",
        "sips:1001@10.0.0.6",
        "sip:anonymous@anonymous.invalid",
    ] {
        world.ask(LANE, &from(own));
        let sent = world.one(inside);
        assert_eq!(
            text(sent.header(Name::PAssertedIdentity)),
            "<sip:1001@example.test>",
            "{own}"
        );
    }
}

#[test]
fn a_device_is_found_by_the_globally_routable_name_that_a_registrar_gave_it() {
    let mut world = World::new(REGISTRAR, no_inside);
    let inside = {
        for (token, port, instance) in [("t1", 5555, "urn:uuid:AA"), ("t2", 5556, "urn:uuid:bb")] {
            let contact = format!(
                "Contact: <sip:1001@198.51.100.7:{port};transport=tls>;\
                 +sip.instance=\"<{instance}>\"\r\nExpires: 600\r\n"
            );
            world.register("1001", "pw", token, &contact);
            let inside = world.dialled("10.0.0.5");
            let register = world.one(inside);
            world.take(
                inside,
                register
                    .reply(200, "OK", "k")
                    .header(Name::Expires, "600")
                    .build(),
            );
            assert_eq!(world.one(LANE).status(), 200);
        }
        world.dialled("10.0.0.5")
    };
    let to =
        |uri: &str| request("MESSAGE", "1100", "x", "").replacen("sip:1100@example.test", uri, 1);
    for (name, token, port) in [("urn:uuid:aa", "t1", 5555), ("urn%3Auuid%3ABB", "t2", 5556)] {
        world.ask(inside, &to(&format!("sip:1001@EXAMPLE.test;gr={name}")));
        let sent = world.one(LANE);
        assert!(
            text(sent.header(Name::Route)).starts_with(&format!("<sip:{token}@")),
            "{name}"
        );
        let contact = format!("sip:1001@198.51.100.7:{port};transport=tls");
        assert_eq!(text(Some(sent.request_uri())), contact);
    }
    for nobody in [
        "sip:1001@example.test;gr=urn:uuid:cc",
        "sip:1002@example.test;gr=urn:uuid:aa",
        "sip:1001@example.test;gr",
        "sip:1001@example.test;gr=",
    ] {
        world.ask(inside, &to(nobody));
        assert_eq!(world.one(inside).status(), 404, "{nobody}");
    }
}

#[test]
fn a_client_refers_call_control_to_no_address_or_port_of_its_choice() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.registered("1001", "t1");
    let inside = world.dialled("10.0.0.5");
    let refer = |field: &str| request("REFER", "1001", "t1", &format!("{field}\r\n"));
    for field in [
        "Refer-To: <sip:1100@10.0.0.9>",
        "r: sip:1100@127.1",
        "Refer-To: <sip:1100@example.test;maddr=10.0.0.9>",
        "Refer-To: <sip:1100@example.test:22?Replaces=a>",
        "Refer-To: <sip:1100@example.test?Route=%3Csip:10.0.0.9%3E>",
        "Refer-To: <sip:1100@example.test?Replaces=a&p-asserted%2Didentity=%3Csip:boss%40x%3E>",
    ] {
        world.ask(LANE, &refer(field));
        assert_eq!(world.one(LANE).status(), 403, "{field}");
        // Nor within a dialog.
        let within = refer(field).replace(
            "To: <sip:1100@example.test>",
            "To: <sip:1100@example.test>;tag=k",
        );
        world.ask(LANE, &within);
        assert_eq!(world.one(LANE).status(), 403, "{field}");
    }
    for field in [
        "Refer-To: <sip:>",
        "Refer-To: <sip:x@10.0.0.9:8080?a=@example.test>",
        "Refer-To: <sip:1100@example.test?Route=%3Csip:10.0.0.9%3E&a=@example.test>",
        "Refer-To: <sip:1100@example.test;m%61ddr=10.0.0.9>",
    ] {
        world.ask(LANE, &refer(field));
        assert_eq!(world.one(LANE).status(), 400, "{field}");
    }
    for field in ["Refer-To: <http://10.0.0.9/>", "Refer-To: <file:///etc/x>"] {
        world.ask(LANE, &refer(field));
        assert_eq!(world.one(LANE).status(), 403, "{field}");
    }
    assert!(world.out(inside).is_empty() && world.kinds().contains(&Kind::TargetRefused));
    // What Unified CM's telephones send: alarms and remote control, outside of any dialog.
    for field in [
        "Require: norefersub\r\nRefer-To: cid:x@198.51.100.7\r\nContent-Id: <x@198.51.100.7>",
        "Refer-To: <sip:1102@example.test?Replaces=a%3Bto-tag%3Db%3Bfrom-tag%3Dc>",
        "Refer-To: <sip:1102@core1.example.test;transport=tls>",
        "Refer-To: <tel:+4930>",
    ] {
        world.ask(LANE, &refer(field));
        let sent = world.one(inside);
        assert!(text(Some(sent.bytes())).contains(field), "{field}");
    }
}

#[test]
fn a_client_sends_call_control_to_no_address_or_port_of_its_choice() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.registered("1001", "t1");
    let inside = world.dialled("10.0.0.5");
    let to = |target: &str| {
        request("MESSAGE", "1001", "t1", "").replacen("sip:1100@example.test", target, 1)
    };
    for target in [
        "sip:1100@example.test;maddr=10.0.0.9",
        "sip:1100@10.0.0.9",
        "sip:1100@[::1]",
        "sip:1100@127.1",
        "sip:1100@0x7f000001",
        "sip:1100@10.0.0.5:22",
        "sip:1100@example.test:22",
        "sip:1100@far.example:5060",
    ] {
        world.ask(LANE, &to(target));
        assert_eq!(world.one(LANE).status(), 403, "{target}");
    }
    assert!(world.out(inside).is_empty() && world.kinds().contains(&Kind::TargetRefused));
    // Two readers could find two hosts in these, or call control none at all.
    for target in [
        "sip:1100@10.0.0.9:8080@example.test",
        "sip:1100@10.0.0.9:8080;x=@example.test",
        "sip:1100@example.test;maddr=10.0.0.9;x=@example.test",
        "sip:1100@example.test;m%61ddr=10.0.0.9",
        "sip:1100@example.test;x=%",
        "sip:11{}00@example.test",
        "tel:1100@example.test",
    ] {
        world.ask(LANE, &to(target));
        assert_eq!(world.one(LANE).status(), 400, "{target}");
    }
    assert!(world.out(inside).is_empty());
    for target in [
        "sip:bob@far.example",
        "sip:1100@10.0.0.5:5060",
        "sip:1100@10.0.0.20:5060",
        "sip:1100@example.test:5061",
        "tel:+49305551100",
    ] {
        world.ask(LANE, &to(target));
        assert_eq!(world.one(inside).request_uri(), target.as_bytes());
    }
}

#[test]
fn an_address_of_record_is_at_home_on_both_lines_of_a_register() {
    let mut world = World::new(REGISTRAR, no_inside);
    let mut asked = |uri: &str, to: &str| {
        let alice = ("1001", "pw");
        let authorization = world.answer_for(Name::Authorization, alice, "REGISTER", uri);
        world.ask(
            LANE,
            &format!(
                "REGISTER {uri} SIP/2.0\r\nPath: <sip:t1@edge1;lr>\r\n\
                 From: <{to}>;tag=a\r\nTo: <{to}>\r\nCall-ID: r\r\n\
                 CSeq: 1 REGISTER\r\n{authorization}{CONTACT}Content-Length: 0\r\n\r\n"
            ),
        );
        world.out(LANE).last().map(Message::status)
    };
    let (here, there) = ("sip:1001@example.test", "sip:1001@other.test");
    assert_eq!(asked("sip:example.test", there), Some(404));
    assert_eq!(asked("sip:other.test", here), Some(404));
    assert_eq!(asked("sip:10.0.0.9", here), Some(403));
    assert_eq!(asked("sip:example.test;maddr=10.0.0.9", here), Some(403));
    assert_eq!(asked("sip:10.0.0.5", here), None, "call control has it");
    assert!(world.kinds().contains(&Kind::NoRoute));
}

#[test]
fn a_core_that_was_restarted_asks_for_a_password_and_goes_on() {
    let mut world = World::new(REGISTRAR, no_inside);
    let (alice, uri) = (("1001", "pw"), "sip:1100@example.test");
    let elsewhere = "sip:1101@example.test";
    let other = world.answer_for(Name::ProxyAuthorization, alice, "MESSAGE", elsewhere);
    world.ask(LANE, &request("MESSAGE", "1001", "t1", &other));
    assert_eq!(world.one(LANE).status(), 407, "made for another resource");
    let answer = world.answer_for(Name::ProxyAuthorization, alice, "MESSAGE", uri);
    world.ask(LANE, &request("MESSAGE", "1001", "t1", &answer));
    let inside = world.dialled("10.0.0.5");
    let sent = world.one(inside);
    assert!(sent.header(Name::ProxyAuthorization).is_none());
    assert_eq!(
        text(sent.header(Name::PAssertedIdentity)),
        "<sip:1001@example.test>"
    );
    // From now on the flow is known; who else is on it shows it.
    world.ask(LANE, &request("MESSAGE", "1001", "t1", ""));
    assert_eq!(world.one(inside).method(), Method::Message);
    world.ask(LANE, &request("MESSAGE", "1002", "t1", ""));
    assert_eq!(world.one(LANE).status(), 407);
    // Nobody speaks for others: the digest is good, From is not his.
    let answer = world.answer_for(Name::ProxyAuthorization, alice, "MESSAGE", uri);
    world.ask(LANE, &request("MESSAGE", "1002", "t1", &answer));
    assert_eq!(world.one(LANE).status(), 403);
}

#[test]
fn requests_from_inside_reach_the_registered_client_only() {
    let mut world = World::new(REGISTRAR, no_inside);
    let path = text(world.registered("1001", "t1").header(Name::Path));
    let inside = world.dialled("10.0.0.5");
    let ask = |uri: &str, route: &str| {
        format!(
            "MESSAGE {uri} SIP/2.0\r\n{route}From: <sip:1100@example.test>;tag=k\r\n\
             To: <sip:1001@example.test>\r\nCall-ID: m\r\nCSeq: 1 MESSAGE\r\n\
             Content-Length: 0\r\n\r\n"
        )
    };
    let contact = "sip:1001@198.51.100.7:5555;transport=tls";
    world.ask(inside, &ask(contact, &format!("Route: {path}\r\n")));
    let sent = world.one(LANE);
    assert_eq!(sent.request_uri(), contact.as_bytes());
    assert_eq!(
        text(sent.header(Name::Route)),
        "<sip:t1@edge1.example.test:5061;transport=tls;lr>"
    );
    world.ask(inside, &ask(contact, ""));
    assert_eq!(world.one(inside).status(), 404);
    // The edge says that the flow is gone: so is the registration.
    let reply = sent.reply(430, "Flow Failed", "e").build();
    world.take(LANE, reply);
    assert_eq!(world.one(inside).status(), 480);
    assert!(world.core.registrar.is_empty());
}

#[test]
fn pings_of_call_control_are_answered() {
    let mut world = World::new(REGISTRAR, no_inside);
    let inside = world.dialled("10.0.0.5");
    let ping = "OPTIONS sip:10.0.0.20:5060 SIP/2.0\r\nFrom: <sip:p@k>;tag=k\r\n\
                To: <sip:10.0.0.20>\r\nCall-ID: p\r\nCSeq: 1 OPTIONS\r\nContent-Length: 0\r\n\r\n";
    world.ask(inside, ping);
    assert_eq!(world.one(inside).status(), 200);
}

#[test]
fn a_register_that_a_later_one_has_overtaken_moves_nobody_and_reaches_nobody() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.branches = 10;
    world.registered("1001", "t2");
    // Sent before, from a connection that is dead by now, and late on its way here.
    world.branches = 5;
    world.register("1001", "pw", "t1", CONTACT);
    assert_eq!(world.one(LANE).status(), 500);
    assert!(world.sent.is_empty(), "{:#?}", world.sent);
    let on_flow = |world: &World, token: &[u8]| world.core.registrar.on_flow(0, token).count();
    assert_eq!((on_flow(&world, b"t1"), on_flow(&world, b"t2")), (0, 1));
    assert!(world.kinds().contains(&Kind::RegistrationRefused));
    // The next one counts.
    world.branches = 20;
    world.registered("1001", "t3");
    assert_eq!((on_flow(&world, b"t2"), on_flow(&world, b"t3")), (0, 1));
}

#[test]
fn a_registration_is_not_taken_out_by_a_register_that_was_sent_before_it() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.branches = 10;
    world.registered("1001", "t2");
    for (branch, contact) in [
        (5, CONTACT.replace("600", "0")),
        (6, "Contact: *\r\nExpires: 0\r\n".to_owned()),
    ] {
        world.branches = branch;
        world.register("1001", "pw", "t1", &contact);
        assert_eq!(world.one(LANE).status(), 500);
        assert_eq!(world.core.registrar.len(), 1);
    }
    assert!(world.sent.is_empty());
}

#[test]
fn a_refused_register_leaves_the_contact_of_another_that_is_under_way() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.register("1001", "pw", "t1", CONTACT);
    let inside = world.dialled("10.0.0.5");
    let first = world.one(inside);
    world.register("1001", "pw", "t2", CONTACT);
    let second = world.one(inside);
    world.take(inside, first.reply(403, "Forbidden", "k").build());
    assert_eq!(world.one(LANE).status(), 403);
    let granted = second
        .reply(200, "OK", "k")
        .header(Name::Contact, second.header(Name::Contact).unwrap())
        .header(Name::Expires, "600");
    world.take(inside, granted.build());
    assert_eq!(world.one(LANE).status(), 200);
    assert_eq!(world.core.registrar.on_flow(0, b"t2").count(), 1);
}
