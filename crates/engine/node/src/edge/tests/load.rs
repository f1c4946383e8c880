//! More than the edge can handle, and more than one source or user may have.

use super::*;

fn ms(ms: u64) -> Input {
    Input::Waited(Duration::from_millis(ms))
}

/// What became of a client's request: whether a core has it, or the status it was told.
fn fate(bench: &mut Bench, conn: ConnId, request: Message) -> u16 {
    bench.frame(conn, request);
    match bench.sent.pop_front() {
        Some((LANE, inside)) => {
            bench.reply(LANE, &inside, 200, "core", &[(Name::Expires, "120")]);
            bench.take(conn).status()
        }
        Some((_, answer)) => answer.status(),
        None => panic!("no answer"),
    }
}

#[test]
fn cancels_and_repetitions_without_end_are_not_read_and_cut_the_connection_off() {
    let mut bench = Bench::linked();
    bench.connect(ConnId(1));
    bench.connect(ConnId(2));
    let invite = bench.request("INVITE", "sip:1002@example.test", "1001", "1002", "");
    let mut answered = [0; 2];
    for n in 0..1200 {
        bench.frame(ConnId(1), invite.clone());
        let mut cancel = invite.edit();
        cancel.set(Name::Via, format!("SIP/2.0/TLS c;branch=z9hG4bK-c{n}"));
        cancel.set(Name::CSeq, "1 CANCEL");
        let text = String::from_utf8_lossy(cancel.finish().bytes()).into_owned();
        let text = text.replacen("INVITE sip", "CANCEL sip", 1);
        let cancel = Message::parse(text.into(), &Limits::outside()).unwrap();
        bench.frame(ConnId(2), cancel);
        for (conn, _) in bench.sent.drain(..) {
            answered[conn.0 as usize - 1] += 1;
        }
    }
    // A hundred, and three times the rate, ten times at once.
    assert!(
        answered.iter().all(|n| (300..=701).contains(n)),
        "{answered:?}"
    );
    for conn in [ConnId(1), ConnId(2)] {
        assert!(bench.closed.contains(&conn), "{conn:?}");
    }
    let kinds = bench.kinds();
    assert!(kinds.contains(&Kind::Flooded) && kinds.contains(&Kind::FloodCut));
}

#[test]
fn a_client_that_comes_back_with_many_lines_is_told_of_once() {
    let mut bench = Bench::linked();
    for conn in [ConnId(1), ConnId(2)] {
        bench.connect(conn);
        for n in 1..=3 {
            let phone = PHONE.replace("urn:uuid:1", &format!("urn:uuid:{n}"));
            bench.register(conn, &format!("100{n}"), &phone);
        }
    }
    let moved = |bench: &Bench| {
        let kinds = bench.kinds().into_iter();
        kinds.filter(|k| *k == Kind::RegistrationMoved).count()
    };
    assert_eq!(moved(&bench), 1);
    // The others in one line, a minute later.
    bench.wait(61);
    assert_eq!(moved(&bench), 2);
}

#[test]
fn overload_refuses_strangers_first_then_new_work_then_dialogs_then_refreshes() {
    let mut bench = Bench::registered();
    let (_, answer) = bench.call_from_client();
    bench.connect(ConnId(2));
    let mut statuses = Vec::new();
    for waited in [0, 160, 200, 400, 800] {
        bench.input(ms(waited));
        let stranger = bench.request("REGISTER", "sip:example.test", "1002", "1002", PHONE);
        let new = bench.request("MESSAGE", "sip:1002@example.test", "1001", "1002", "");
        let sos = bench.request("MESSAGE", "urn:service:sos", "1001", "sos", "");
        let route = super::calls::routes(&answer);
        let info = bench.within("INFO", &answer, true, &route, "");
        let mut row = vec![
            fate(&mut bench, ConnId(2), stranger),
            fate(&mut bench, ConnId(1), new),
            fate(&mut bench, ConnId(1), info),
        ];
        let refresh = bench.request("REGISTER", "sip:example.test", "1001", "1001", PHONE);
        // A challenge is an answer: it is let in.
        row.push(fate(&mut bench, ConnId(1), refresh));
        row.push(fate(&mut bench, ConnId(1), sos));
        statuses.push(row);
    }
    assert_eq!(
        statuses,
        [
            [401, 200, 200, 401, 200],
            [503, 200, 200, 401, 200],
            [503, 503, 200, 401, 200],
            [503, 503, 503, 401, 200],
            [503, 503, 503, 503, 200],
        ]
    );
    assert_eq!(bench.edge.snapshot(bench.now).counters.shed, 10);
    // What ends a call is never refused, and what comes from a core is not the edge's to refuse.
    let bye = bench.within("BYE", &answer, true, &super::calls::routes(&answer), "");
    bench.frame(ConnId(1), bye);
    assert_eq!(bench.take(LANE).method(), Method::Bye);
    let told = [Kind::Overloaded];
    let kinds = bench.kinds();
    assert_eq!(kinds.iter().filter(|k| told.contains(k)).count(), 1);
    // It passes by itself, and is told once.
    bench.wait(8);
    assert!(!bench.kinds().contains(&Kind::OverloadOver));
    let stranger = bench.request("REGISTER", "sip:example.test", "1002", "1002", PHONE);
    assert_eq!(fate(&mut bench, ConnId(2), stranger), 401);
    bench.wait(2);
    assert!(bench.kinds().contains(&Kind::OverloadOver));
}

#[test]
fn other_limits_and_thresholds_are_heeded() {
    let mut settings = (*config()).clone();
    settings.overload.strangers = Duration::from_millis(20);
    if let config::Role::Edge(edge) = &mut settings.role {
        edge.rates.requests_per_source = 3;
        edge.rates.burst = 2;
        edge.rates.refusals_max = 9;
    }
    let mut bench = Bench::of(&Arc::new(settings));
    bench.link(CONTROL, 0, "i1");
    bench.lane(LANE, 0);
    let ask = |bench: &mut Bench, conn| {
        let request = bench.request("REGISTER", "sip:example.test", "1", "1", PHONE);
        fate(bench, conn, request)
    };
    for (waited, status) in [(19, 401), (20, 503)] {
        let conn = ConnId(10 + waited);
        bench.connect(conn);
        bench.input(ms(waited));
        assert_eq!(ask(&mut bench, conn), status);
    }
    // Twice three at once; challenges and refusals are nine together.
    bench.wait(10);
    bench.connect(ConnId(60));
    let statuses: Vec<u16> = (0..9).map(|_| ask(&mut bench, ConnId(60))).collect();
    assert_eq!(statuses[..6], [401; 6]);
    assert_eq!(statuses[6..], [503; 3]);
    assert!(bench.closed.is_empty());
    assert_eq!(ask(&mut bench, ConnId(60)), 503);
    assert_eq!(bench.closed, [ConnId(60)]);
    let cut = bench.events.iter().find(|e| e.kind == Kind::FloodCut);
    let cause = &cut.unwrap().cause;
    assert_eq!(cause, "sip: it went on in spite of 9 refusals");
}

#[test]
fn the_noisiest_are_kept_waiting_at_their_sockets_while_the_edge_drowns() {
    let mut bench = Bench::registered();
    bench.connect(ConnId(2));
    for _ in 0..150 {
        let noise = bench.request("MESSAGE", "sip:1002@example.test", "x", "y", "");
        bench.frame(ConnId(2), noise);
    }
    let quiet = bench.request("MESSAGE", "sip:1002@example.test", "1001", "y", "");
    bench.frame(ConnId(1), quiet);
    bench.wait(1);
    bench.input(ms(399));
    assert!(bench.paused.is_empty());
    bench.input(ms(400));
    assert_eq!(bench.paused, [ConnId(2)]);
    // It said nothing since.
    bench.wait(1);
    bench.input(ms(400));
    assert_eq!(bench.paused, [ConnId(2)]);
}

#[test]
fn strangers_of_one_source_share_a_bucket_and_those_registered_there_do_not() {
    let mut bench = Bench::registered();
    let mut statuses = std::collections::BTreeMap::new();
    for n in 0..60 {
        let conn = ConnId(10 + n);
        bench.connect(conn);
        for _ in 0..10 {
            let request = bench.request("REGISTER", "sip:example.test", "1", "1", PHONE);
            *statuses.entry(fate(&mut bench, conn, request)).or_insert(0) += 1;
        }
    }
    // The one that is registered had asked twice before.
    assert_eq!(
        statuses.into_iter().collect::<Vec<_>>(),
        [(401, 498), (503, 102)]
    );
    let refresh = bench.register_request(ConnId(1), "1001", PHONE);
    assert_eq!(fate(&mut bench, ConnId(1), refresh), 200);
    // Another source is served.
    let conn = ConnId(200);
    let facts = facts(Side::Client, "198.51.100.8:4000");
    bench.input(Input::Connected { conn, facts });
    let request = bench.request("REGISTER", "sip:example.test", "1", "1", PHONE);
    assert_eq!(fate(&mut bench, conn, request), 401);
}

#[test]
fn new_work_of_one_user_shares_a_bucket_over_all_of_the_users_connections() {
    let mut bench = Bench::registered();
    for n in 2..6 {
        bench.connect(ConnId(n));
        let phone = PHONE.replace("uuid:1", &format!("uuid:{n}"));
        bench.register(ConnId(n), "1001", &phone);
    }
    let (mut passed, mut refused) = (0, 0);
    for n in 1..6 {
        for _ in 0..100 {
            let request = bench.request("MESSAGE", "sip:a@example.test", "1001", "a", "");
            match fate(&mut bench, ConnId(n), request) {
                200 => passed += 1,
                status => refused += u32::from(status == 503),
            }
        }
    }
    assert_eq!((passed, refused), (400, 100));
}

#[test]
fn registrations_that_no_core_answers_are_bounded_and_make_way_with_time() {
    let mut bench = Bench::linked();
    let connected = |bench: &mut Bench, n: u64| {
        let conn = ConnId(10 + n);
        let remote = format!("198.51.{}.{}:4000", n / 250, n % 250);
        let facts = facts(Side::Client, &remote);
        bench.input(Input::Connected { conn, facts });
        conn
    };
    let mut waiting = Vec::new();
    for n in 0..520 {
        let conn = connected(&mut bench, n);
        let request = bench.register_request(conn, &n.to_string(), PHONE);
        bench.frame(conn, request);
        match bench.sent.pop_front() {
            Some((LANE, inside)) => waiting.push((conn, inside)),
            Some((_, answer)) => {
                assert_eq!((answer.status(), waiting.len()), (503, 500));
                assert!(answer.header(Name::RetryAfter).is_some());
            }
            None => panic!("no answer"),
        }
    }
    assert_eq!(waiting.len(), 500);
    // One that is answered makes room for one.
    let (conn, inside) = waiting.pop().unwrap();
    bench.reply(LANE, &inside, 200, "core", &[(Name::Expires, "120")]);
    assert_eq!(bench.take(conn).status(), 200);
    let mut fates = Vec::new();
    for n in 600..602 {
        let conn = connected(&mut bench, n);
        let request = bench.register_request(conn, "1001", PHONE);
        bench.frame(conn, request);
        fates.push(bench.sent.pop_front().map(|(to, _)| to == LANE));
    }
    assert_eq!(fates, [Some(true), Some(false)]);
    bench.wait(40);
    bench.sent.clear();
    let conn = connected(&mut bench, 700);
    let request = bench.register_request(conn, "1001", PHONE);
    bench.frame(conn, request);
    assert_eq!(bench.sent.pop_front().map(|(to, _)| to), Some(LANE));
}

#[test]
fn the_first_interval_is_shortened_by_up_to_a_fifth_and_refreshes_keep_theirs() {
    let mut bench = Bench::linked();
    let mut first = std::collections::BTreeSet::new();
    for n in 0..60u64 {
        let conn = ConnId(10 + n);
        bench.connect(conn);
        let phone = PHONE.replace("uuid:1", &format!("uuid:{n}"));
        let told = |bench: &mut Bench| {
            let request = bench.register_request(conn, &n.to_string(), &phone);
            bench.frame(conn, request);
            let inside = bench.take(LANE);
            let contact = "<sip:a@10.0.0.1:4000>;expires=120";
            let fields = [(Name::Expires, "120"), (Name::Contact, contact)];
            bench.reply(LANE, &inside, 200, "core", &fields);
            let answer = bench.take(conn);
            let told = answer.expires().unwrap().unwrap();
            let contact =
                String::from_utf8_lossy(answer.header(Name::Contact).unwrap()).into_owned();
            assert!(contact.ends_with(&format!("expires={told}")), "{contact}");
            told
        };
        first.insert(told(&mut bench));
        assert_eq!(told(&mut bench), 120);
    }
    assert!(first.iter().all(|s| (96..=120).contains(s)), "{first:?}");
    assert!(first.len() > 10, "{first:?}");
}
