//! Cores that come, go and come back.

use super::super::links::GRACE;
use super::*;
use crate::io::Lane;
use policy::signed_out::ROWS_MAX;

#[test]
fn a_core_with_the_password_gets_its_key_pinned_its_media_opened_and_its_domains_published() {
    let mut bench = Bench::alone();
    assert!(bench.gate.cores.is_empty());
    bench.link(CONTROL, 0, "i1");
    assert_eq!(bench.pins, [(0, Some("ssh-ed25519 AAAA core".to_owned()))]);
    assert!(matches!(
        &bench.media[..],
        [Command::LinkUp { dial: None, .. }]
    ));
    let core: Vec<_> = bench
        .gate
        .serving("Example.TEST")
        .map(|c| c.node.clone())
        .collect();
    assert_eq!(core, ["core1.test"]);
    let row = bench.edge.snapshot(bench.now).links.remove(0);
    assert!(row.up && row.since.is_some() && row.round_trip_us.is_some());
    assert_eq!(
        (row.zone.as_str(), row.sip_lanes, row.skew_ms),
        ("inside", 0, Some(0))
    );
    bench.input(Input::Media(media::Event::LinkState {
        link: media::LinkId(0),
        up: true,
        round_trip: None,
        loss_permille: 0,
    }));
    assert!(bench.edge.snapshot(bench.now).links[0].media_up);
    assert_eq!(bench.kinds(), [Kind::LinkUp, Kind::MediaLink]);
}

#[test]
fn a_core_without_the_password_is_refused_and_a_living_one_stays() {
    let mut bench = Bench::linked();
    bench.try_link(ConnId(2001), 0, hello(0, "i2"), "guess");
    assert_eq!(bench.control_closed, [ConnId(2001)]);
    assert_eq!(bench.kinds(), [Kind::LinkRefused]);
    let picture = bench.edge.snapshot(bench.now);
    assert!(picture.links[0].up && picture.links[0].why.is_none());
    assert_eq!(picture.events[0].code, Kind::LinkRefused as u16);
    // Nor does one that says nothing push it out, or stay.
    bench.dialer = None;
    bench.input(Input::ControlUp {
        conn: ConnId(2002),
        peer: 0,
        peer_name: "core1.test".into(),
        remote: "192.0.2.20:1".parse().unwrap(),
        exported: Secret::new([7; 32]),
        media_secret: Secret::new([9; 64]),
    });
    bench.wait(10);
    assert!(bench.control_closed.contains(&ConnId(2002)));
}

#[test]
fn a_core_cannot_speak_under_the_name_of_another() {
    let mut bench = Bench::linked();
    bench.try_link(ConnId(2001), 1, hello(0, "i2"), PASSWORD);
    assert_eq!(bench.control_closed, [ConnId(2001)]);
    assert!(!bench.edge.snapshot(bench.now).links[1].up);
    let keyless = Hello {
        token_key: "zz".into(),
        ..hello(1, "i2")
    };
    bench.try_link(ConnId(2002), 1, keyless, PASSWORD);
    assert!(!bench.edge.snapshot(bench.now).links[1].up);
    bench.link(ConnId(2003), 1, "i2");
    assert_eq!(bench.gate.cores.len(), 2);
}

#[test]
fn a_silent_core_loses_its_link_its_key_its_lanes_and_after_a_while_its_calls() {
    let mut bench = Bench::registered();
    let (_, _) = bench.call_from_client();
    bench.media.clear();
    bench.dialer = None;
    bench.wait(16);
    assert!(bench.kinds().contains(&Kind::LinkDown));
    assert_eq!(bench.pins.last(), Some(&(0, None)));
    assert!(bench.closed.contains(&LANE) && bench.control_closed.contains(&CONTROL));
    assert!(bench.media.contains(&Command::LinkDown {
        link: media::LinkId(0)
    }));
    assert!(bench.gate.cores.is_empty());
    assert_eq!(bench.ports_in_use(), 1);
    let row = bench.edge.snapshot(bench.now).links.remove(0);
    assert_eq!(row.why.as_deref(), Some("nothing heard for 15 s"));
    // A client that wants something meanwhile is told to come back.
    let invite = bench.request("INVITE", "sip:1002@example.test", "1001", "1002", "");
    bench.frame(ConnId(1), invite);
    bench.wait(5);
    let answer = loop {
        let answer = bench.take(ConnId(1));
        if answer.status() != 100 {
            break answer;
        }
    };
    assert_eq!(answer.status(), 503);
    assert!(answer.header(Name::RetryAfter).is_some());
    bench.wait(GRACE.as_secs());
    assert_eq!(bench.ports_in_use(), 0);
}

#[test]
fn calls_outlive_a_link_that_comes_back_but_not_a_core_that_was_restarted() {
    for (instance, left) in [("i1", 1), ("i2", 0)] {
        let mut bench = Bench::registered();
        let _call = bench.call_from_client();
        bench.input(Input::ControlDown {
            conn: CONTROL,
            why: "reset".into(),
        });
        bench.wait(5);
        bench.link(ConnId(2001), 0, instance);
        bench.lane(ConnId(1001), 0);
        bench.wait(GRACE.as_secs() * 2);
        assert_eq!(bench.ports_in_use(), left, "{instance}");
        let up = bench
            .events
            .iter()
            .find(|e| e.kind == Kind::LinkUp)
            .unwrap();
        assert_eq!(up.cause.contains("restarted"), left == 0);
    }
}

#[test]
fn a_new_control_connection_of_the_same_core_takes_the_place_of_the_old_one() {
    let mut bench = Bench::linked();
    bench.link(ConnId(2001), 0, "i1");
    assert_eq!(bench.control_closed, [CONTROL]);
    bench.input(Input::ControlDown {
        conn: CONTROL,
        why: "closed".into(),
    });
    let row = bench.edge.snapshot(bench.now).links.remove(0);
    assert!(row.up);
    assert_eq!(row.sip_lanes, 1);
}

#[test]
fn domains_that_the_core_changes_are_published() {
    let mut bench = Bench::linked();
    bench.input(Input::Control {
        conn: CONTROL,
        message: traversal::Message::Domains {
            domains: Vec::new(),
        },
    });
    assert_eq!(bench.gate.serving("example.test").count(), 0);
    assert_eq!(bench.gate.cores.len(), 1);
}

#[test]
fn clocks_that_differ_are_told_once() {
    let mut bench = Bench::alone();
    bench.link(CONTROL, 0, "i1");
    bench.dialer = None;
    bench.events.clear();
    for _ in 0..2 {
        bench.wait(5);
        let (_, ping) = bench.control.pop_back().unwrap();
        let traversal::Message::Ping { sequence, clock } = ping else {
            panic!("{ping:?}")
        };
        let clock = clock.plus(Duration::from_secs(60));
        let message = traversal::Message::Pong { sequence, clock };
        bench.input(Input::Control {
            conn: CONTROL,
            message,
        });
    }
    assert_eq!(bench.kinds(), [Kind::ClockSkew]);
    assert_eq!(
        bench.edge.snapshot(bench.now).links[0].skew_ms,
        Some(60_000)
    );
}

#[test]
fn a_lane_needs_a_link_and_the_zones_password() {
    let mut bench = Bench::alone();
    assert_eq!(bench.try_lane(ConnId(1001), 0, "traversal", PASSWORD), 503);
    bench.link(CONTROL, 0, "i1");
    bench.events.clear();
    assert_eq!(bench.try_lane(ConnId(1002), 0, "traversal", "guess"), 403);
    assert_eq!(bench.try_lane(ConnId(1003), 0, "somebody", PASSWORD), 403);
    assert_eq!(bench.kinds(), [Kind::LaneRefused]);
    assert_eq!(bench.try_lane(ConnId(1004), 0, "traversal", PASSWORD), 200);
    // The keep-alive of a lane that is signed in needs nothing.
    assert_eq!(bench.options(ConnId(1004), "").status(), 200);
    // A connection that did not sign in goes; the other stays.
    bench.wait(60);
    assert!(bench.closed.contains(&ConnId(1001)) && bench.closed.contains(&ConnId(1002)));
    assert!(!bench.closed.contains(&ConnId(1004)));
}

#[test]
fn a_lane_that_is_not_signed_in_moves_nothing() {
    let mut bench = Bench::registered();
    let path = {
        let inside = bench.register(ConnId(1), "1001", PHONE);
        Bench::path(&inside)
    };
    bench.input(Input::Connected {
        conn: ConnId(1001),
        facts: facts(Side::Lane { peer: 0 }, "192.0.2.20:41000"),
    });
    let route = format!("Route: {path}\r\n");
    let invite = bench.request("INVITE", "sip:1001@example.test", "1002", "1001", &route);
    assert_eq!(bench.refused(ConnId(1001), invite), 403);
}

#[test]
fn lanes_of_http_and_xmpp_are_counted_and_their_loss_is_told() {
    let mut bench = Bench::linked();
    let lane = |connections, why: Option<&str>| Input::Lane {
        peer: 0,
        lane: Lane::Xmpp,
        connections,
        why: why.map(str::to_owned),
    };
    bench.input(lane(0, None));
    bench.input(lane(1, None));
    bench.input(lane(1, None));
    assert_eq!(bench.edge.snapshot(bench.now).links[0].xmpp_lanes, 1);
    bench.input(lane(0, Some("reset")));
    assert_eq!(bench.kinds(), [Kind::Lane, Kind::LaneDown]);
    bench.disconnect(LANE);
    assert_eq!(bench.edge.snapshot(bench.now).links[0].sip_lanes, 0);
    assert_eq!(bench.kinds().last(), Some(&Kind::LaneDown));
}

#[test]
fn a_link_that_is_down_shows_the_refusal() {
    let mut bench = Bench::alone();
    bench.try_link(ConnId(2001), 0, hello(0, "i1"), "guess");
    let why = bench.edge.snapshot(bench.now).links[0].why.clone();
    assert!(why.is_some_and(|w| w.starts_with("refused: ") && w.contains("password")));
    bench.events.clear();
    for _ in 0..3 {
        bench.input(Input::Report(crate::io::Report::LinkRefused {
            source: "192.0.2.20:41000".parse().unwrap(),
            cause: "the certificate carries another name".into(),
        }));
    }
    assert_eq!(bench.kinds(), [Kind::LinkRefused], "told once a minute");
    let why = bench.edge.snapshot(bench.now).links[0].why.clone();
    let wanted = "refused: the certificate carries another name";
    assert_eq!(why.as_deref(), Some(wanted));
    bench.link(CONTROL, 0, "i1");
    assert_eq!(bench.edge.snapshot(bench.now).links[0].why, None);
}

#[test]
fn a_sign_out_closes_the_users_connections_voids_the_tokens_and_is_told_other_cores() {
    let mut bench = Bench::linked();
    bench.link(ConnId(2001), 1, "j1");
    bench.lane(ConnId(1001), 1);
    for (conn, line, phone) in [(1, "1001", PHONE), (2, "1002", "")] {
        bench.connect(ConnId(conn));
        let request = bench.register_request(ConnId(conn), line, phone);
        bench.frame(ConnId(conn), request);
        let (lane, inside) = bench.sent.pop_back().unwrap();
        bench.reply(lane, &inside, 200, "core", &[(Name::Expires, "120")]);
    }
    let route = |bench: &Bench, conn: u64| {
        let flow = bench.edge.station.flows.by_conn(ConnId(conn)).unwrap();
        (bench.edge.tokens.seal(flow), bench.edge.routes[&flow])
    };
    let ((mine, peer), (others, other)) = (route(&bench, 1), route(&bench, 2));
    assert_eq!(peer, other);
    bench.control.clear();
    bench.closed.clear();
    bench.dialer = None;
    let at = bench.now.unix;
    let out = traversal::SignOut {
        user: base::Pii::new("alice".into()),
        domain: String::new(),
        at,
        id: 7,
        flows: vec![mine, "forged".into()],
        more: false,
    };
    let tell = |bench: &mut Bench, conn: ConnId, out: traversal::SignOut| {
        let message = traversal::Message::SignOuts { outs: vec![out] };
        bench.input(Input::Control { conn, message });
    };
    let from = [CONTROL, ConnId(2001)];
    tell(&mut bench, from[peer], out.clone());
    assert_eq!(bench.closed, [ConnId(1)]);
    let core = bench.gate.cores.iter().find(|c| c.peer == peer).unwrap();
    assert!(core.signed_out.is_void("Alice", "d", at) && !core.signed_out.is_void("bob", "d", at));
    // The other core is told, without connections, and once.
    let told = |bench: &mut Bench| -> Vec<(ConnId, traversal::SignOut)> {
        let all = std::mem::take(&mut bench.control).into_iter();
        let outs = all.filter_map(|(conn, message)| match message {
            traversal::Message::SignOuts { outs } => Some((conn, outs[0].clone())),
            _ => None,
        });
        outs.collect()
    };
    let passed = told(&mut bench);
    assert_eq!((passed.len(), passed[0].0), (1, from[1 - peer]));
    assert!(passed[0].1.flows.is_empty() && passed[0].1.id == 7);
    tell(&mut bench, from[1 - peer], passed[0].1.clone());
    tell(&mut bench, from[peer], out.clone());
    assert_eq!(
        told(&mut bench)
            .iter()
            .filter(|(conn, _)| *conn == from[1 - peer])
            .count(),
        0
    );
    // A core names no connection that is another's.
    let foreign = traversal::SignOut {
        id: 8,
        flows: vec![others],
        ..out
    };
    tell(&mut bench, from[1 - peer], foreign);
    assert_eq!(bench.closed, [ConnId(1)]);
}

#[test]
fn a_core_that_was_away_is_told_the_floor_of_what_is_remembered_no_longer() {
    let mut bench = Bench::linked();
    bench.dialer = None;
    let at = |n: u64| base::UnixTime::from_millis(1_790_000_000_000 + n);
    for n in 0..ROWS_MAX as u64 + 3 {
        let out = traversal::SignOut {
            user: base::Pii::new(format!("user{n}")),
            domain: String::new(),
            at: at(n),
            id: n,
            flows: Vec::new(),
            more: false,
        };
        let message = traversal::Message::SignOuts { outs: vec![out] };
        bench.input(Input::Control {
            conn: CONTROL,
            message,
        });
    }
    bench.control.clear();
    bench.link(ConnId(2001), 1, "j1");
    let told = bench.dialer.as_mut().unwrap().take_events().into_iter();
    let told = told.filter_map(|event| match event {
        traversal::Event::SignOuts(outs) => Some(outs),
        _ => None,
    });
    let told: Vec<traversal::SignOut> = told.flatten().collect();
    assert_eq!(told.len(), ROWS_MAX + 1);
    let floor = &told[0];
    assert!(floor.user.expose().is_empty() && floor.domain.is_empty());
    assert_eq!((floor.at, told[1].at), (at(2), at(3)));
}
