//! What clients, and cores that have gone astray, may not achieve.

use super::calls::routes;
use super::*;

#[test]
fn responses_that_answer_nothing_are_dropped_and_told_once() {
    let mut bench = Bench::registered();
    let path = Bench::path(&bench.register(ConnId(1), "1001", PHONE));
    let notify = bench.request(
        "NOTIFY",
        "sip:a@10.0.0.1",
        "s",
        "1001",
        &format!("Route: {path}\r\n"),
    );
    bench.frame(LANE, notify);
    let outside = bench.take(ConnId(1));
    let text = String::from_utf8_lossy(outside.reply(200, "OK", "t").build().bytes()).into_owned();
    // Another branch; none; the core's own on top.
    let own = text
        .lines()
        .find(|l| l.starts_with("Via"))
        .unwrap()
        .to_owned()
        + "\r\n";
    let stray = [
        text.replace("z9hG4bK", "z9hG4bKx"),
        text.replace("branch=", "brunch="),
        text.replacen(&own, "", 1),
    ];
    for bad in &stray {
        assert_ne!(bad, &text);
        let bad = Message::parse(Bytes::from(bad.clone()), &Limits::outside()).unwrap();
        for _ in 0..100 {
            bench.frame(ConnId(1), bad.clone());
        }
    }
    assert!(bench.sent.is_empty(), "{:?}", bench.story());
    assert_eq!(bench.kinds(), [Kind::Violation]);
    assert!(bench.edge.snapshot(bench.now).counters.violations >= 300);
    bench.frame(
        ConnId(1),
        Message::parse(Bytes::from(text), &Limits::outside()).unwrap(),
    );
    assert_eq!(bench.take(LANE).status(), 200);
}

#[test]
fn a_dialog_is_only_the_flows_that_it_was_set_up_on() {
    let mut bench = Bench::registered();
    let (_, answer) = bench.call_from_client();
    bench.connect(ConnId(2));
    let theirs = bench.register(ConnId(2), "1002", &PHONE.replace("uuid:1", "uuid:2"));
    bench.connect(ConnId(3));
    let own = Bench::path(&theirs);
    // With the victim's route, with one's own, with a forged one, with none.
    let tampered = own.replacen("sip:A", "sip:B", 1);
    for route in [routes(&answer)[0].clone(), own, tampered, String::new()] {
        let list: Vec<String> = Some(route.clone())
            .filter(|r| !r.is_empty())
            .into_iter()
            .collect();
        for (conn, method) in [
            (2, "BYE"),
            (2, "INVITE"),
            (2, "UPDATE"),
            (3, "BYE"),
            (3, "INFO"),
        ] {
            let request = bench.within(method, &answer, true, &list, "");
            assert_eq!(
                bench.refused(ConnId(conn), request),
                481,
                "{method} {route}"
            );
        }
        let ack = bench.within("ACK", &answer, true, &list, OFFER);
        bench.frame(ConnId(2), ack);
    }
    assert!(bench.sent.is_empty(), "{:?}", bench.story());
    assert_eq!(bench.ports_in_use(), 1);
}

#[test]
fn a_token_from_before_is_no_way_to_the_next_tenant_of_its_slot() {
    let mut bench = Bench::registered();
    let path = Bench::path(&bench.register(ConnId(1), "1001", PHONE));
    bench.disconnect(ConnId(1));
    bench.connect(ConnId(2));
    bench.register(ConnId(2), "1002", &PHONE.replace("uuid:1", "uuid:2"));
    let late = bench.request(
        "MESSAGE",
        "sip:a@x",
        "s",
        "1001",
        &format!("Route: {path}\r\n"),
    );
    assert_eq!(bench.refused(LANE, late), 430);
    // Nor does a token lead to a lane.
    let lane = bench.edge.station.flows.by_conn(LANE).unwrap();
    let route = format!(
        "Route: <sip:{}@edge.example.test;lr>\r\n",
        bench.edge.tokens.seal(lane)
    );
    let turn = bench.request("MESSAGE", "sip:a@x", "s", "1001", &route);
    assert_eq!(bench.refused(LANE, turn), 430);
}

#[test]
fn registrations_of_one_connection_are_bounded() {
    let mut bench = Bench::registered();
    for line in 0..31 {
        bench.register(ConnId(1), &format!("2{line:03}"), PHONE);
        bench.wait(1);
    }
    let one_more = bench.register_request(ConnId(1), "3000", PHONE);
    assert_eq!(bench.refused(ConnId(1), one_more), 403);
    let many: String = (0..11)
        .map(|i| format!("Contact: <sip:{i}@10.0.0.1>\r\n"))
        .collect();
    let many = bench.register_request(ConnId(1), "1001", &many);
    assert_eq!(bench.refused(ConnId(1), many), 403);
    let long = format!("Contact: <sip:{}@10.0.0.1>\r\n", "a".repeat(2000));
    let long = bench.register_request(ConnId(1), "1001", &long);
    assert_eq!(bench.refused(ConnId(1), long), 400);
    assert_eq!(bench.edge.snapshot(bench.now).registrations.len(), 32);
}

#[test]
fn registers_under_way_at_once_do_not_pass_the_bound_together() {
    let mut bench = Bench::registered();
    let mut inside = Vec::new();
    for line in 0..40 {
        let request = bench.register_request(ConnId(1), &format!("2{line:03}"), PHONE);
        bench.frame(ConnId(1), request);
        inside.push(bench.take(LANE));
    }
    for request in inside {
        bench.reply(LANE, &request, 200, "core", &[(Name::Expires, "120")]);
    }
    assert_eq!(bench.edge.snapshot(bench.now).registrations.len(), 32);
}

#[test]
fn a_source_that_guesses_is_banned_for_a_while_and_its_registered_neighbour_is_not() {
    let mut bench = Bench::linked();
    bench.connect(ConnId(2));
    bench.connect(ConnId(1));
    bench.register(ConnId(1), "1001", PHONE);
    bench.events.clear();
    // A core that is new makes no difference, and three on one connection are one guess.
    for conn in 10..20 {
        bench.connect(ConnId(conn));
        let answers = [401, 401, 403].into_iter();
        for status in answers.take(if conn == 19 { 1 } else { 3 }) {
            let guess = bench.register_request(ConnId(conn), "1001", PHONE);
            bench.frame(ConnId(conn), guess);
            let inside = bench.take(LANE);
            bench.reply(LANE, &inside, 401, "core", &[]);
            assert_eq!(bench.take(ConnId(conn)).status(), status);
        }
    }
    assert_eq!(bench.kinds(), [Kind::WrongCredentials, Kind::Banned]);
    bench.connect(ConnId(3));
    for conn in [2, 3] {
        let guess = bench.register_request(ConnId(conn), "1001", PHONE);
        assert_eq!(bench.refused(ConnId(conn), guess), 503);
    }
    bench.register(ConnId(1), "1001", PHONE);
    // Not even on a connection that is registered may another user be guessed.
    let guess = bench.register_request(ConnId(1), "1002", PHONE);
    let guess = String::from_utf8_lossy(guess.bytes()).replace("\"alice\"", "\"bob\"");
    let guess = Message::parse(Bytes::from(guess), &Limits::outside()).unwrap();
    assert_eq!(bench.refused(ConnId(1), guess), 503);
    let elsewhere = facts(Side::Client, "203.0.113.9:1");
    bench.input(Input::Connected {
        conn: ConnId(4),
        facts: elsewhere,
    });
    bench.register(ConnId(4), "1003", &PHONE.replace("uuid:1", "uuid:3"));
    bench.wait(300);
    bench.connect(ConnId(5));
    bench.register(ConnId(5), "1002", &PHONE.replace("uuid:1", "uuid:2"));
}

#[test]
fn a_connection_with_three_wrong_digests_is_not_challenged_again_for_a_minute() {
    let mut bench = Bench::linked();
    bench.connect(ConnId(1));
    for _ in 0..3 {
        let guess = bench.register_request(ConnId(1), "1001", PHONE);
        bench.frame(ConnId(1), guess);
        let inside = bench.take(LANE);
        bench.reply(LANE, &inside, 401, "core", &[]);
        bench.take(ConnId(1));
    }
    let again = bench.register_request(ConnId(1), "1001", PHONE);
    assert_eq!(bench.refused(ConnId(1), again), 403);
    bench.connect(ConnId(2));
    bench.register(ConnId(2), "1001", PHONE);
}

#[test]
fn calls_of_one_connection_are_bounded_and_repeated_invites_are_merged() {
    let mut bench = Bench::registered();
    for _ in 0..64 {
        bench.invite_from_client(ConnId(1), "");
    }
    let invite = bench.request("INVITE", "sip:1002@example.test", "1001", "1002", "");
    assert_eq!(bench.refused(ConnId(1), invite), 503);

    let mut bench = Bench::registered();
    let invite = bench.request("INVITE", "sip:1002@example.test", "1001", "1002", "");
    bench.frame(ConnId(1), invite.clone());
    bench.sent.clear();
    let text = String::from_utf8_lossy(invite.bytes()).replace("z9hG4bK", "z9hG4bKother");
    let again = Message::parse(Bytes::from(text), &Limits::outside()).unwrap();
    assert_eq!(bench.refused(ConnId(1), again), 482);
    assert_eq!(bench.edge.snapshot(bench.now).calls.len(), 1);
}

#[test]
fn a_flood_is_told_to_wait_then_cut_off_and_fills_no_log() {
    let mut bench = Bench::registered();
    let (mut passed, mut refused) = (0, 0);
    for _ in 0..2000 {
        let request = bench.request("SUBSCRIBE", "sip:1002@example.test", "1001", "1002", "");
        bench.frame(ConnId(1), request);
        match bench.sent.pop_front() {
            Some((LANE, _)) => passed += 1,
            Some((_, answer)) => {
                assert_eq!(answer.status(), 503);
                let wait = answer.header(Name::RetryAfter).unwrap();
                let wait: u32 = std::str::from_utf8(wait).unwrap().parse().unwrap();
                assert!((1..=10).contains(&wait), "{wait}");
                refused += 1;
            }
            None => assert_eq!(bench.closed, [ConnId(1)], "no answer"),
        }
    }
    // Registering took two of the first two hundred.
    assert_eq!((passed, refused), (198, 301));
    assert_eq!(bench.closed, [ConnId(1)]);
    assert_eq!(bench.kinds(), [Kind::Flooded, Kind::FloodCut]);
    // Somebody else is served.
    bench.connect(ConnId(2));
    bench.register(ConnId(2), "1002", &PHONE.replace("uuid:1", "uuid:2"));
    bench.wait(60);
    let told = |kind| bench.events.iter().filter(|e| e.kind == kind).count();
    assert_eq!((told(Kind::Flooded), told(Kind::FloodCut)), (2, 1));
    assert!(bench.events.iter().all(hidden));
}

#[test]
fn whoever_takes_no_refusal_for_an_answer_is_cut_off_and_an_honest_client_is_not() {
    let mut bench = Bench::linked();
    // Requests without a registration, registrations without an answer to the challenge.
    for (conn, method, status) in [(1, "MESSAGE", 407), (2, "REGISTER", 401)] {
        bench.connect(ConnId(conn));
        for n in 0..340 {
            let request = bench.request(method, "sip:example.test", "1001", "1001", PHONE);
            bench.frame(ConnId(conn), request);
            match bench.sent.pop_front() {
                Some((_, answer)) => assert_eq!(answer.status(), status),
                None => assert!(n > 300, "{n}"),
            }
            // Slow enough for every other bound.
            bench.now = bench.now.plus(Duration::from_millis(60));
        }
        assert_eq!(bench.closed.last(), Some(&ConnId(conn)));
    }
    // Registering makes up for what was refused before.
    bench.connect(ConnId(3));
    for _ in 0..3 {
        for _ in 0..200 {
            let request = bench.request("MESSAGE", "sip:example.test", "1001", "1001", "");
            bench.frame(ConnId(3), request);
            bench.sent.clear();
            bench.now = bench.now.plus(Duration::from_millis(60));
        }
        bench.register(ConnId(3), "1001", PHONE);
        let leave = PHONE.replace("Expires: 3600", "Expires: 0");
        let leave = bench.register_request(ConnId(3), "1001", &leave);
        bench.frame(ConnId(3), leave);
        let inside = bench.take(LANE);
        bench.reply(LANE, &inside, 200, "core", &[]);
        assert_eq!(bench.take(ConnId(3)).status(), 200);
    }
    assert_eq!(bench.closed.len(), 2);
}

#[test]
fn broken_bytes_end_their_own_connection_only() {
    let mut bench = Bench::registered();
    for n in 10..1000 {
        bench.connect(ConnId(n));
        let frame = Frame::Bad {
            error: sip::ParseError::StartLine,
            reply: None,
            fatal: true,
        };
        bench.input(Input::Frame {
            conn: ConnId(n),
            frame,
        });
        assert_eq!(bench.closed.last(), Some(&ConnId(n)));
        bench.disconnect(ConnId(n));
    }
    assert_eq!(bench.kinds(), [Kind::Violation]);
    assert_eq!(bench.edge.snapshot(bench.now).counters.violations, 990);
    assert!(!bench.closed.contains(&ConnId(1)));
}

#[test]
fn a_core_cannot_take_the_stream_of_another_call() {
    let mut bench = Bench::registered();
    let (inside, _) = bench.call_from_client();
    let taken = attribute(&body(&inside), "x-causeway-stream")
        .unwrap()
        .to_owned();
    let path = Bench::path(&bench.register(ConnId(1), "1001", PHONE));
    for stream in [taken.as_str(), "00000001", "zz", ""] {
        let fields = format!("Route: {path}\r\n");
        let invite = bench.request("INVITE", "sip:a@10.0.0.1", "1002", "1001", &fields);
        let invite = invite
            .edit()
            .body("application/sdp", from_core(stream))
            .finish();
        assert_eq!(bench.refused(LANE, invite), 488, "{stream}");
    }
    assert_eq!(
        (
            bench.ports_in_use(),
            bench.edge.snapshot(bench.now).calls.len()
        ),
        (1, 1)
    );
}

#[test]
fn descriptions_of_calls_that_are_not_there_are_not_carried() {
    let mut bench = Bench::registered();
    let (_, answer) = bench.call_from_client();
    let bye = bench.within("BYE", &answer, true, &routes(&answer), "");
    bench.frame(ConnId(1), bye);
    bench.take(LANE);
    let reinvite = bench.within("INVITE", &answer, true, &routes(&answer), OFFER);
    assert_eq!(bench.refused(ConnId(1), reinvite), 481);
    let unreadable = bench.request("INVITE", "sip:1002@example.test", "1001", "1002", "");
    let unreadable = unreadable
        .edit()
        .body("application/sdp", "v=0\r\nm=audio 70000 RTP/SAVP 0\r\n")
        .finish();
    assert_eq!(bench.refused(ConnId(1), unreadable), 488);
    assert_eq!(bench.ports_in_use(), 0);
}

#[test]
fn large_messages_of_strangers_are_refused_and_those_of_clients_are_not() {
    let mut bench = Bench::registered();
    bench.connect(ConnId(2));
    for (size, conn, expected) in [
        (60_000, ConnId(2), 513),
        (20_000, ConnId(2), 407),
        (200_000, ConnId(1), 0),
    ] {
        let message = bench.request("MESSAGE", "sip:1002@example.test", "1001", "1002", "");
        let mut edit = message.edit();
        edit.body("text/plain", vec![b'a'; size]);
        bench.frame(conn, edit.finish());
        let got = match expected {
            0 => bench.take(LANE).status(),
            _ => bench.take(conn).status(),
        };
        assert_eq!(got, expected, "{size}");
    }
}

/// Whole sessions of nonsense built from what is nearly right: nothing panics, nothing leaks, and
/// nothing that a client sends leaves for anywhere but a core.
#[test]
fn random_messages_from_clients_and_cores_leave_no_trace() {
    for seed in 0..60 {
        let mut rng = Rng::from_number(seed);
        let mut bench = Bench::registered();
        let path = Bench::path(&bench.register(ConnId(1), "1001", PHONE));
        let (inside, answer) = bench.call_from_client();
        bench.connect(ConnId(2));
        let mut seen = vec![inside, answer];
        for _ in 0..150 {
            let message = mutant(&mut bench, &mut rng, &seen, &path);
            let conn = [ConnId(1), ConnId(2), LANE][rng.below(3) as usize];
            bench.frame(conn, message);
            for (to, message) in bench.sent.drain(..) {
                let passed = message.is_request() && message.vias().count() > 1;
                assert!(!(passed && conn != LANE) || to == LANE, "{message:?}");
                seen.push(message);
            }
            if rng.below(20) == 0 {
                bench.wait(rng.below(40));
            }
            seen.truncate(40);
        }
        bench.disconnect(ConnId(1));
        bench.disconnect(ConnId(2));
        bench.wait(1000);
        let snapshot = bench.edge.snapshot(bench.now);
        assert_eq!(snapshot.counters.media_ports_in_use, 0, "seed {seed}");
        assert!(
            snapshot.calls.is_empty() && snapshot.registrations.is_empty(),
            "seed {seed}"
        );
        assert_eq!(snapshot.counters.sip_transactions, 0, "seed {seed}");
        assert!(bench.edge.station.proxy.is_empty(), "seed {seed}");
    }
}

/// A message made of parts of others, some of them damaged.
fn mutant(bench: &mut Bench, rng: &mut Rng, seen: &[Message], path: &str) -> Message {
    let methods = [
        "INVITE",
        "BYE",
        "ACK",
        "CANCEL",
        "UPDATE",
        "SUBSCRIBE",
        "REGISTER",
        "MESSAGE",
    ];
    let method = methods[rng.below(methods.len() as u64) as usize];
    let model = &seen[rng.below(seen.len() as u64) as usize];
    let base = match rng.below(4) {
        0 => bench.request(method, "sip:1002@example.test", "1001", "1001", ""),
        1 => bench.within(method, model, rng.below(2) == 0, &routes(model), OFFER),
        2 => bench.within(
            method,
            model,
            rng.below(2) == 0,
            &[path.to_owned()],
            &from_core("80000007"),
        ),
        _ if model.is_request() => {
            let status = [100, 180, 183, 200, 302, 401, 486, 503, 600][rng.below(9) as usize];
            model
                .reply(status, "Any", "mut")
                .body("application/sdp", OFFER)
                .build()
        }
        _ => model.clone(),
    };
    let mut text = base.bytes().to_vec();
    for _ in 0..rng.below(3) {
        let at = rng.below(text.len() as u64) as usize;
        match rng.below(3) {
            0 => text[at] = rng.below(256) as u8,
            1 => drop(text.remove(at)),
            _ => text.insert(at, b"<>;:,@\" \r\n"[rng.below(10) as usize]),
        }
    }
    Message::parse(Bytes::from(text), &Limits::outside()).unwrap_or(base)
}

#[test]
fn a_request_is_answered_by_the_connection_that_it_went_to_and_no_other() {
    let mut bench = Bench::registered();
    let path = Bench::path(&bench.register(ConnId(1), "1001", PHONE));
    bench.connect(ConnId(2));
    bench.register(ConnId(2), "1002", &PHONE.replace("uuid:1", "uuid:2"));
    let route = format!("Route: {path}\r\n");
    let request = bench.request("MESSAGE", "sip:a@10.0.0.1", "s", "1001", &route);
    bench.frame(LANE, request);
    let outside = bench.take(ConnId(1));
    bench.events.clear();
    for status in [100, 200, 486] {
        bench.reply(ConnId(2), &outside, status, "thief", &[]);
    }
    assert!(bench.sent.is_empty(), "{:?}", bench.story());
    assert_eq!(bench.kinds(), [Kind::Violation]);
    bench.reply(ConnId(1), &outside, 200, "t", &[]);
    assert_eq!(bench.take(LANE).status(), 200);
}
