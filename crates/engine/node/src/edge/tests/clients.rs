//! Registrations and requests outside of calls.

use super::super::links::GRACE;
use super::calls::routes;
use super::*;

#[test]
fn register_is_challenged_then_passed_on_with_path_and_credentials() {
    let mut bench = Bench::linked();
    bench.connect(ConnId(1));
    let inside = bench.register(ConnId(1), "1001", PHONE);
    let authorization = inside.header(Name::Authorization).unwrap();
    let passed = sip::digest::Credentials::parse(authorization).unwrap();
    let ha1 = sip::digest::ha1(passed.algorithm, "alice", REALM, "secret");
    assert!(sip::digest::verify(&passed, b"REGISTER", &ha1));
    assert_eq!(sip::nonce::issued(passed.nonce), Some(bench.now.unix));
    let path = Bench::path(&inside);
    assert!(
        path.ends_with("@edge.example.test:5061;transport=tls;lr;ob>"),
        "{path}"
    );
    let vias: Vec<_> = inside.vias().map(|v| v.unwrap()).collect();
    assert_eq!(vias.len(), 2);
    assert_eq!(vias[1].param(b"received"), Some(&b"198.51.100.7"[..]));

    let snapshot = bench.edge.snapshot(bench.now);
    let row = &snapshot.registrations[0];
    assert_eq!(
        (
            row.user.expose().as_str(),
            row.aor.expose().as_str(),
            row.expires_s
        ),
        ("alice", "sip:1001@example.test", 120)
    );
    assert_eq!(
        (row.from.expose().as_str(), row.instance.as_str()),
        (CLIENT, "<urn:uuid:1>")
    );
    assert_eq!(bench.kinds(), [Kind::Registered]);
    assert!(bench.events.iter().all(hidden), "{:?}", bench.events);
}

/// A request whose Via is another, answered by the edge itself.
fn via_of_answer(bench: &mut Bench, text: &str, via: &str) -> (u16, String) {
    let there = text.find("Via: ").unwrap() + 5;
    let end = there + text[there..].find("\r\n").unwrap();
    let text = format!("{}{via}{}", &text[..there], &text[end..]);
    let mut framer = sip::Framer::new(Limits::outside());
    framer.push(text.as_bytes());
    let conn = ConnId(1);
    while let Some(frame) = framer.next_frame() {
        bench.input(Input::Frame { conn, frame });
    }
    let answer = bench.take(conn);
    let via = String::from_utf8_lossy(answer.header(Name::Via).unwrap()).into_owned();
    (answer.status(), via)
}

#[test]
fn what_the_edge_answers_itself_says_where_the_request_came_from() {
    let mut bench = Bench::linked();
    bench.connect(ConnId(1));
    let text = |message: Message| String::from_utf8_lossy(message.bytes()).into_owned();
    let register = text(bench.request("REGISTER", "sip:example.test", "1001", "1001", PHONE));
    let stamped = "received=198.51.100.7;rport=4000";
    // RFC 3581 §4: who asks for its port is told port and address.
    let asks = "SIP/2.0/TLS 198.51.100.7:4000;rport;branch=z9hG4bKa";
    let (status, via) = via_of_answer(&mut bench, &register, asks);
    let want = format!("SIP/2.0/TLS 198.51.100.7:4000;branch=z9hG4bKa;{stamped}");
    assert_eq!((status, via), (401, want));
    // RFC 3261 §18.2.1: who says another address is told its own; nobody else is told a thing.
    let other = "SIP/2.0/TLS phone.invalid:4000;branch=z9hG4bKb;received=192.0.2.1";
    let (_, via) = via_of_answer(&mut bench, &register, other);
    let want = "SIP/2.0/TLS phone.invalid:4000;branch=z9hG4bKb;received=198.51.100.7";
    assert_eq!(via, want);
    let same = "SIP/2.0/TLS 198.51.100.7:5061;branch=z9hG4bKc";
    assert_eq!(via_of_answer(&mut bench, &register, same).1, same);
    // Whatever is refused, and wherever: a message that cannot be read, a method, a challenge,
    // an extension, a CANCEL of nothing, a dialog of nobody.
    let edge = "sip:example.test";
    let mut request =
        |method: &str, fields: &str| text(bench.request(method, edge, "1001", "1001", fields));
    let refused = [
        (400, register.replace("Expires: ", "Expires: \0")),
        (400, register.replace("Max-Forwards: ", "Max-Forwards: -")),
        (400, register.replace("Length: 0", "Length: -1")),
        (
            416,
            register.replace("sip:example.test SIP", "nonsense:x SIP"),
        ),
        (420, request("MESSAGE", "Proxy-Require: nothing\r\n")),
        (407, request("MESSAGE", "")),
        (481, request("CANCEL", "")),
        (403, request("BYE", "")),
    ];
    for (n, (status, text)) in refused.iter().enumerate() {
        let asks = format!("SIP/2.0/TLS 10.0.0.9;rport;branch=z9hG4bKd{n}");
        let (found, via) = via_of_answer(&mut bench, text, &asks);
        assert!(via.ends_with(stamped), "{status}: {via}: {text}");
        assert_eq!(found, *status, "{text}");
    }
}

#[test]
fn nonces_of_another_realm_or_age_are_challenged_again() {
    let mut bench = Bench::linked();
    bench.connect(ConnId(1));
    let good = bench.register_request(ConnId(1), "1001", PHONE);
    let text = String::from_utf8_lossy(good.bytes()).into_owned();
    for (from, to) in [
        ("realm=\"example", "realm=\"elsewhere"),
        ("nonce=\"A", "nonce=\"B"),
    ] {
        let bad = text.replace(from, to);
        assert_ne!(bad, text, "{from}");
        let bad = Message::parse(Bytes::from(bad), &Limits::outside()).unwrap();
        bench.frame(ConnId(1), bad);
        let again = bench.take(ConnId(1));
        assert_eq!(again.status(), 401);
        assert!(!String::from_utf8_lossy(again.bytes()).contains("stale=true"));
    }
    bench.wait(301);
    bench.connect(ConnId(2));
    bench.frame(ConnId(2), good);
    let again = bench.take(ConnId(2));
    let fields = again.fields().filter(|f| f.id == Name::WwwAuthenticate);
    let challenges: Vec<_> = fields
        .map(|f| sip::digest::Challenge::parse(f.value).unwrap())
        .collect();
    assert!(
        challenges
            .iter()
            .all(|c| c.stale && c.realm == REALM && c.qop)
    );
    assert_eq!(
        challenges.iter().map(|c| c.algorithm).collect::<Vec<_>>(),
        [sip::digest::Algorithm::Sha256, sip::digest::Algorithm::Md5]
    );
}

#[test]
fn a_401_without_challenge_gets_ours_and_one_of_call_control_passes() {
    let mut bench = Bench::linked();
    bench.connect(ConnId(1));
    let request = bench.register_request(ConnId(1), "1001", PHONE);
    bench.frame(ConnId(1), request);
    let inside = bench.take(LANE);
    bench.reply(LANE, &inside, 401, "core", &[]);
    let answer = bench.take(ConnId(1));
    assert_eq!(
        answer
            .fields()
            .filter(|f| f.id == Name::WwwAuthenticate)
            .count(),
        2
    );
    assert_eq!(bench.kinds(), [Kind::WrongCredentials]);

    let request = bench.register_request(ConnId(1), "1001", PHONE);
    bench.frame(ConnId(1), request);
    let inside = bench.take(LANE);
    let theirs = "Digest realm=\"ccmsipline\", nonce=\"n\"";
    bench.reply(
        LANE,
        &inside,
        401,
        "core",
        &[(Name::WwwAuthenticate, theirs)],
    );
    let answer = bench.take(ConnId(1));
    assert_eq!(
        answer.header(Name::WwwAuthenticate),
        Some(theirs.as_bytes())
    );
    assert!(bench.edge.snapshot(bench.now).registrations.is_empty());
}

#[test]
fn only_a_registered_flow_may_ask_for_anything() {
    let mut bench = Bench::registered();
    bench.connect(ConnId(2));
    for method in [
        "INVITE",
        "SUBSCRIBE",
        "MESSAGE",
        "OPTIONS",
        "REFER",
        "PUBLISH",
        "NOTIFY",
    ] {
        let request = bench.request(method, "sip:1002@example.test", "1001", "1002", "");
        assert_eq!(bench.refused(ConnId(2), request), 407, "{method}");
    }
    for method in ["BYE", "UPDATE", "PRACK", "INFO"] {
        let request = bench.request(method, "sip:1002@example.test", "1001", "1002", "");
        assert_eq!(bench.refused(ConnId(1), request), 481, "{method}");
    }
    assert_eq!(bench.kinds(), [Kind::RequestRefused]);
    bench.wait(60);
    assert!(bench.closed.contains(&ConnId(2)) && !bench.closed.contains(&ConnId(1)));
}

#[test]
fn requests_go_on_with_our_identity_and_without_the_clients_claims() {
    let mut bench = Bench::registered();
    let fields = "Route: <sip:10.0.0.99;lr>\r\nRecord-Route: <sip:evil.test;lr>\r\n\
        P-Asserted-Identity : <sip:boss@example.test>\r\nRemote-Party-ID: <sip:boss@x>\r\n\
        Proxy-Authorization: Digest username=\"alice\", realm=\"example.test\", nonce=\"n\", \
        uri=\"sip:x\", response=\"0\"\r\nX-cisco-foo: kept\r\n";
    let subscribe = bench.request("SUBSCRIBE", "sip:1002@example.test", "1001", "1002", fields);
    bench.frame(ConnId(1), subscribe);
    let inside = bench.take(LANE);
    let text = String::from_utf8_lossy(inside.bytes()).into_owned();
    for gone in ["10.0.0.99", "evil", "boss", "response="] {
        assert!(!text.contains(gone), "{gone}: {text}");
    }
    assert_eq!(
        inside.header(Name::PAssertedIdentity),
        Some(&b"<sip:1001@example.test>"[..])
    );
    assert!(inside.header(Name::RecordRoute).is_some() && text.contains("X-cisco-foo: kept"));
    assert_eq!(inside.max_forwards().unwrap(), Some(15));
    // The answer's route set is ours, and it comes back.
    bench.reply(LANE, &inside, 200, "core", &[]);
    assert_eq!(bench.take(ConnId(1)).status(), 200);
}

#[test]
fn a_request_of_the_core_reaches_the_client_by_its_token_and_nobody_by_another() {
    let mut bench = Bench::linked();
    bench.connect(ConnId(1));
    let path = Bench::path(&bench.register(ConnId(1), "1001", PHONE));
    let fields = format!("Route: {path}\r\nX-Causeway-Trace: 7\r\n");
    let notify = bench.request("NOTIFY", "sip:a@10.0.0.1:4000", "service", "1001", &fields);
    bench.frame(LANE, notify);
    let outside = bench.take(ConnId(1));
    assert!(outside.header(Name::Route).is_none());
    assert!(!String::from_utf8_lossy(outside.bytes()).contains("X-Causeway"));
    let spoofed = [
        (Name::PAssertedIdentity, "<sip:boss@example.test>"),
        (Name::RecordRoute, "<sip:evil.test;lr>"),
    ];
    bench.reply(ConnId(1), &outside, 200, "client", &spoofed);
    let answer = bench.take(LANE);
    assert_eq!(answer.status(), 200);
    let text = String::from_utf8_lossy(answer.bytes()).into_owned();
    assert!(!text.contains("boss") && !text.contains("evil"), "{text}");

    for (route, status) in [
        ("", 404),
        ("Route: <sip:10.0.0.99;lr>\r\n", 404),
        // As a restarted edge finds the tokens of before.
        ("Route: <sip:AAAA@edge.example.test>\r\n", 430),
    ] {
        let lost = bench.request("NOTIFY", "sip:a@198.51.100.7", "service", "1001", route);
        assert_eq!(bench.refused(LANE, lost), status, "{route}");
    }
    bench.disconnect(ConnId(1));
    let late = bench.request(
        "NOTIFY",
        "sip:a@10.0.0.1",
        "service",
        "1001",
        &format!("Route: {path}\r\n"),
    );
    assert_eq!(bench.refused(LANE, late), 430);
}

#[test]
fn route_set_of_a_subscription_keeps_the_order_of_the_proxies() {
    let mut bench = Bench::linked();
    bench.connect(ConnId(1));
    let path = Bench::path(&bench.register(ConnId(1), "1001", PHONE));
    let fields = format!(
        "Route: {path}\r\nRecord-Route: <sip:core.example.test;lr>\r\n\
         Record-Route: <sip:proxy.example.test;lr>\r\n"
    );
    let subscribe = bench.request("SUBSCRIBE", "sip:a@10.0.0.1:4000", "1002", "1001", &fields);
    bench.frame(LANE, subscribe);
    let outside = bench.take(ConnId(1));
    bench.reply(ConnId(1), &outside, 200, "client", &[]);
    let answer = bench.take(LANE);
    let recorded =
        |m: &Message| -> Vec<Vec<u8>> { m.values(Name::RecordRoute).map(<[u8]>::to_vec).collect() };
    assert_eq!(recorded(&outside).len(), 3);
    assert_eq!(recorded(&answer), recorded(&outside));
}

#[test]
fn registrations_end_by_unregistering_by_time_and_with_their_connection() {
    let mut bench = Bench::registered();
    let off = "Contact: <sip:a@10.0.0.1:4000>;expires=0\r\n";
    let keep_alive = "Contact: <sip:a@10.0.0.1:4000>;expires=0;cisco-keep-alive\r\nExpires: 0\r\n";
    bench.register(ConnId(1), "1001", keep_alive);
    assert_eq!(bench.edge.snapshot(bench.now).registrations.len(), 1);
    bench.register(ConnId(1), "1001", off);
    assert_eq!(bench.kinds(), [Kind::Unregistered]);
    // A connection on which nobody is registered goes after a minute.
    bench.wait(60);
    assert!(bench.closed.contains(&ConnId(1)));

    let mut bench = Bench::registered();
    bench.wait(129);
    assert!(bench.events.is_empty());
    bench.wait(1);
    assert_eq!(bench.kinds(), [Kind::Unregistered]);

    let mut bench = Bench::registered();
    bench.disconnect(ConnId(1));
    assert_eq!(bench.kinds(), [Kind::Unregistered]);
    assert!(bench.events.iter().all(hidden), "{:?}", bench.events);
}

#[test]
fn several_lines_on_a_flow_are_asserted_each_by_its_own_from() {
    let mut bench = Bench::registered();
    bench.register(ConnId(1), "1003", PHONE);
    for (from, identity) in [("1003", "1003"), ("1001", "1001"), ("SEP001122", "1001")] {
        let message = bench.request("MESSAGE", "sip:1002@example.test", from, "1002", "");
        bench.frame(ConnId(1), message);
        let inside = bench.take(LANE);
        let want = format!("<sip:{identity}@example.test>");
        assert_eq!(
            inside.header(Name::PAssertedIdentity),
            Some(want.as_bytes()),
            "{from}"
        );
    }
}

#[test]
fn no_core_for_five_seconds_is_503_with_a_time_to_come_back() {
    let mut bench = Bench::registered();
    bench.disconnect(LANE);
    bench.events.clear();
    for _ in 0..3 {
        let request = bench.register_request(ConnId(1), "1001", PHONE);
        bench.frame(ConnId(1), request);
        assert!(bench.sent.is_empty());
        bench.wait(5);
        let answer = bench.take(ConnId(1));
        assert_eq!(answer.status(), 503);
        let wait = String::from_utf8_lossy(answer.header(Name::RetryAfter).unwrap()).into_owned();
        assert!((1..=10).contains(&wait.parse::<u32>().unwrap()), "{wait}");
    }
    assert_eq!(bench.kinds(), [Kind::NoCore]);
}

#[test]
fn what_comes_while_a_core_is_on_its_way_waits_for_it() {
    let mut bench = Bench::registered();
    bench.disconnect(LANE);
    let register = bench.register_request(ConnId(1), "1001", PHONE);
    bench.frame(ConnId(1), register);
    let message = bench.request("MESSAGE", "sip:1002@example.test", "1001", "1002", "");
    bench.frame(ConnId(1), message);
    let invite = bench.request("INVITE", "sip:1002@example.test", "1001", "1002", "");
    bench.frame(ConnId(1), invite.clone());
    bench.wait(2);
    let cancel = cancel_of(&invite);
    bench.frame(ConnId(1), cancel);
    bench.sent.clear();
    bench.lane(ConnId(1001), 0);
    assert_eq!(bench.take(ConnId(1001)).method(), Method::Register);
    assert_eq!(bench.take(ConnId(1001)).method(), Method::Message);
    assert!(
        bench.sent.iter().all(|(c, _)| *c != ConnId(1001)),
        "{:?}",
        bench.story()
    );
    assert!(bench.events.iter().all(|e| e.kind != Kind::NoCore));
}

#[test]
fn an_invite_that_waits_for_a_core_can_be_taken_back() {
    let mut bench = Bench::registered();
    bench.disconnect(LANE);
    let invite = bench.request("INVITE", "sip:1002@example.test", "1001", "1002", "");
    bench.frame(ConnId(1), invite.clone());
    bench.sent.clear();
    bench.frame(ConnId(1), cancel_of(&invite));
    let mut answers = [bench.take(ConnId(1)), bench.take(ConnId(1))].map(|m| m.status());
    answers.sort_unstable();
    assert_eq!(answers, [200, 487]);
}

fn cancel_of(invite: &Message) -> Message {
    let text = String::from_utf8_lossy(invite.bytes()).replace("INVITE", "CANCEL");
    Message::parse(text.into_bytes().into(), &sip::Limits::outside()).unwrap()
}

#[test]
fn a_second_core_takes_over_what_the_first_cannot() {
    let mut bench = Bench::registered();
    bench.link(ConnId(2001), 1, "j1");
    bench.lane(ConnId(1001), 1);
    let request = bench.register_request(ConnId(1), "1001", PHONE);
    bench.frame(ConnId(1), request);
    bench.take(LANE);
    bench.disconnect(LANE);
    bench.sent.clear();
    let message = bench.request("MESSAGE", "sip:1002@example.test", "1001", "1002", "");
    bench.frame(ConnId(1), message);
    assert_eq!(bench.take(ConnId(1001)).method(), Method::Message);
}

#[test]
fn requests_of_a_call_wait_in_order_for_the_core_that_has_it() {
    let mut bench = Bench::registered();
    let (_, answer) = bench.call_from_client();
    let way = routes(&answer);
    bench.disconnect(LANE);
    bench.sent.clear();
    for method in ["INFO", "BYE"] {
        let request = bench.within(method, &answer, true, &way, "");
        bench.frame(ConnId(1), request);
    }
    // Another core has no use for them.
    bench.link(ConnId(2001), 1, "j1");
    bench.lane(ConnId(1001), 1);
    assert!(bench.sent.is_empty(), "{:?}", bench.story());
    bench.lane(ConnId(1002), 0);
    assert_eq!(bench.take(ConnId(1002)).method(), Method::Info);
    assert_eq!(bench.take(ConnId(1002)).method(), Method::Bye);
    bench.wait(GRACE.as_secs());
    assert_eq!(bench.ports_in_use(), 0);
}

#[test]
fn a_bye_that_waited_in_vain_ends_its_call() {
    let mut bench = Bench::registered();
    let (_, answer) = bench.call_from_client();
    bench.disconnect(LANE);
    bench.sent.clear();
    let bye = bench.within("BYE", &answer, true, &routes(&answer), "");
    bench.frame(ConnId(1), bye);
    assert!(bench.edge.calls.iter().next().is_some());
    bench.wait(5);
    assert_eq!(bench.take(ConnId(1)).status(), 503);
    assert!(bench.edge.calls.iter().next().is_none());
}

#[test]
fn stun_on_the_connection_is_answered_while_the_way_inside_stands() {
    let mut bench = Bench::registered();
    bench.connect(ConnId(2));
    let request = [&[0, 1, 0, 0, 0x21, 0x12, 0xa4, 0x42][..], &[7; 12]].concat();
    let stun = |conn| Input::Frame {
        conn,
        frame: Frame::Stun(Bytes::from(request.clone())),
    };
    bench.input(stun(ConnId(1)));
    bench.input(stun(ConnId(2)));
    let answered: Vec<_> = bench
        .stun
        .iter()
        .map(|(c, b)| (*c, b[..2].to_vec()))
        .collect();
    assert_eq!(answered, [(ConnId(1), vec![1, 1])]);
    // The core says that the node is dead, and that it is not.
    let ask_after = |bench: &mut Bench, down: &[&str]| {
        let down = down.iter().map(|n| (*n).to_owned()).collect();
        let message = traversal::Message::Zones { down };
        bench.input(Input::Control {
            conn: CONTROL,
            message,
        });
        bench.stun.clear();
        bench.input(stun(ConnId(1)));
        bench.stun.len()
    };
    assert_eq!(
        ask_after(&mut bench, &["CEtcp-a"]),
        1,
        "its zone is not known"
    );
    let request = bench.register_request(ConnId(1), "1001", PHONE);
    bench.frame(ConnId(1), request);
    let inside = bench.take(LANE);
    let zone = (Name::Other(call::registration::ZONE_FIELD), "CEtcp-a");
    bench.reply(LANE, &inside, 200, "core", &[(Name::Expires, "120"), zone]);
    let answer = bench.take(ConnId(1));
    assert!(!String::from_utf8_lossy(answer.bytes()).contains("CEtcp-a"));
    assert_eq!(ask_after(&mut bench, &["CEtcp-b"]), 1);
    assert_eq!(ask_after(&mut bench, &["CEtcp-b", "CEtcp-a"]), 0);
    assert_eq!(ask_after(&mut bench, &[]), 1);
    bench.disconnect(LANE);
    assert_eq!(ask_after(&mut bench, &[]), 0);
}

#[test]
fn an_answer_from_before_a_core_began_is_asked_for_anew_and_held_against_nobody() {
    let mut bench = Bench::linked();
    bench.connect(ConnId(1));
    let old = bench.register_request(ConnId(1), "1001", PHONE);
    let down = Input::ControlDown {
        conn: CONTROL,
        why: "reset".into(),
    };
    bench.input(down);
    bench.wait(5);
    bench.link(ConnId(2001), 0, "i2");
    bench.lane(ConnId(1001), 0);
    bench.events.clear();
    bench.frame(ConnId(1), old);
    let inside = bench.take(ConnId(1001));
    bench.reply(ConnId(1001), &inside, 401, "core", &[]);
    let again = bench.take(ConnId(1));
    let offered = again.header(Name::WwwAuthenticate).unwrap();
    assert!(sip::digest::Challenge::parse(offered).unwrap().stale);
    assert!(bench.kinds().is_empty());
    // One from after that is a wrong password.
    let new = bench.register_request(ConnId(1), "1001", PHONE);
    bench.frame(ConnId(1), new);
    let inside = bench.take(ConnId(1001));
    bench.reply(ConnId(1001), &inside, 401, "core", &[]);
    let again = bench.take(ConnId(1));
    let offered = again.header(Name::WwwAuthenticate).unwrap();
    assert!(!sip::digest::Challenge::parse(offered).unwrap().stale);
    assert_eq!(bench.kinds(), [Kind::WrongCredentials]);
}

#[test]
fn a_core_that_knows_nobody_may_ask_for_a_digest_of_any_request() {
    let mut bench = Bench::registered();
    let message = bench.request("MESSAGE", "sip:1002@example.test", "1001", "1002", "");
    bench.frame(ConnId(1), message);
    let inside = bench.take(LANE);
    // The flow is recorded for the core to know it by.
    assert!(inside.header(Name::RecordRoute).is_some());
    bench.reply(LANE, &inside, 407, "core", &[]);
    let challenge = bench.take(ConnId(1));
    assert!(bench.events.is_empty());
    let offered = challenge.header(Name::ProxyAuthenticate).unwrap();
    let offered = sip::digest::Challenge::parse(offered).unwrap();
    let uri = "sip:1002@example.test";
    let answer = sip::digest::respond(&offered, "alice", "secret", "MESSAGE", uri, "c", 1);
    let fields = format!("Proxy-Authorization: {answer}\r\n");
    let message = bench.request("MESSAGE", uri, "1001", "1002", &fields);
    bench.frame(ConnId(1), message);
    let inside = bench.take(LANE);
    assert_eq!(
        inside.header(Name::ProxyAuthorization),
        Some(answer.as_bytes())
    );
    bench.reply(LANE, &inside, 407, "core", &[]);
    assert_eq!(bench.take(ConnId(1)).status(), 407);
    assert_eq!(bench.kinds(), [Kind::WrongCredentials]);
    // A stale answer goes nowhere.
    bench.register(ConnId(1), "1001", PHONE);
    for _ in 0..4 {
        bench.wait(100);
        bench.register(ConnId(1), "1001", PHONE);
    }
    let message = bench.request("MESSAGE", uri, "1001", "1002", &fields);
    bench.frame(ConnId(1), message);
    let inside = bench.take(LANE);
    assert!(inside.header(Name::ProxyAuthorization).is_none());
    bench.reply(LANE, &inside, 407, "core", &[]);
    let again = bench.take(ConnId(1));
    let again = again.header(Name::ProxyAuthenticate).unwrap().to_vec();
    assert!(String::from_utf8_lossy(&again).contains("stale=true"));
}

#[test]
fn a_client_is_told_to_refresh_before_its_connection_would_be_closed_for_silence() {
    let mut bench = Bench::linked();
    bench.connect(ConnId(1));
    // The first interval is shortened besides.
    for least in [240, 300] {
        let request = bench.register_request(ConnId(1), "1001", PHONE);
        bench.frame(ConnId(1), request);
        let inside = bench.take(LANE);
        let granted = [(Name::Contact, "<sip:a@10.0.0.1:4000>;expires=3600")];
        bench.reply(LANE, &inside, 200, "core", &granted);
        let answer = bench.take(ConnId(1));
        let told = String::from_utf8_lossy(answer.header(Name::Contact).unwrap()).into_owned();
        let told = told.strip_prefix("<sip:a@10.0.0.1:4000>;expires=").unwrap();
        assert!((least..=300).contains(&told.parse().unwrap()), "{told}");
    }
    let rows = bench.edge.snapshot(bench.now).registrations;
    assert_eq!(rows[0].expires_s, 3600);
}

#[test]
fn a_request_passes_at_most_so_many_servers_behind_the_link() {
    let mut bench = Bench::registered();
    for (given, sent) in [("70", "15"), ("16", "15"), ("9", "8")] {
        let request = bench.request("OPTIONS", "sip:1002@example.test", "1001", "1002", "");
        let mut edit = request.edit();
        edit.set(Name::MaxForwards, given);
        bench.frame(ConnId(1), edit.finish());
        let inside = bench.take(LANE);
        assert_eq!(
            inside.header(Name::MaxForwards),
            Some(sent.as_bytes()),
            "{given}"
        );
    }
}
