//! Links, lanes and the connections to call control.

use super::*;

#[test]
fn a_link_comes_up_signs_its_lane_in_and_opens_its_media() {
    let world = World::new(REGISTRAR, no_inside);
    let look = world.core.snapshot(world.now);
    let link = &look.links[0];
    assert!(
        link.up && link.sip_lanes == 1 && link.why.is_none(),
        "{link:?}"
    );
    assert_eq!(world.pins, [Some("ssh-ed25519 EDGE".to_owned())]);
    let [
        ::media::Command::LinkUp {
            keys, dial, local, ..
        },
    ] = &world.media[..]
    else {
        panic!("{:?}", world.media)
    };
    assert_eq!(keys.secret.expose(), &[8; 64]);
    let dial = dial.as_ref().unwrap();
    assert_eq!(dial[0].rtp.to_string(), "192.0.2.11:36000");
    assert_eq!(dial[0].rtcp.to_string(), "192.0.2.11:36001");
    assert_eq!(local[0].rtp.ip().to_string(), "10.0.0.20");
    assert_eq!(look.counters.media_ports_in_use, 0);
    let zone = ::status::ZoneRow::of("kamailio".to_owned(), "active");
    assert_eq!(look.zones[0], zone);
}

#[test]
fn a_lane_waits_for_the_control_connection() {
    let mut world = World::unlinked(REGISTRAR, no_inside);
    world.lane();
    assert!(world.sent.is_empty());
    world.link("i1");
    assert_eq!(world.core.snapshot(world.now).links[0].sip_lanes, 1);
}

#[test]
fn a_lane_that_has_not_signed_in_may_send_nothing() {
    let mut world = World::unlinked(REGISTRAR, no_inside);
    world.lane();
    world.register("1001", "pw", "t1", "Contact: <sip:1001@198.51.100.7>\r\n");
    assert_eq!(world.one(LANE).status(), 403);
}

#[test]
fn a_lane_is_asked_again_and_again_and_closed_when_it_is_silent() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.wait(Duration::from_secs(60));
    assert!(world.closed.is_empty());
    assert_eq!(world.core.snapshot(world.now).links[0].sip_lanes, 1);
    world.mute = true;
    world.wait(Duration::from_secs(21));
    assert_eq!(world.closed, [LANE]);
    assert_eq!(world.core.snapshot(world.now).links[0].sip_lanes, 0);
    assert!(world.kinds().contains(&Kind::LaneDown));
}

#[test]
fn a_lane_whose_edge_is_busy_stays() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.busy = true;
    world.wait(Duration::from_secs(60));
    assert!(world.closed.is_empty());
    assert_eq!(world.core.snapshot(world.now).links[0].sip_lanes, 1);
    // It is asked on, and silence counts as before.
    (world.busy, world.mute) = (false, true);
    world.wait(Duration::from_secs(21));
    assert_eq!(world.closed, [LANE]);
}

#[test]
fn a_lost_link_takes_its_lanes_down_and_comes_back() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.registered("1001", "t1");
    world.give(Input::ControlDown {
        conn: CONTROL,
        why: "reset".into(),
    });
    assert_eq!(world.closed, [LANE]);
    world.give(Input::Disconnected {
        conn: LANE,
        why: "closed".into(),
    });
    assert_eq!(world.pins.last(), Some(&None));
    let link = &world.core.snapshot(world.now).links[0];
    assert_eq!((link.up, link.why.as_deref()), (false, Some("reset")));
    world.link("i1");
    assert_eq!(
        world.core.registrar.len(),
        1,
        "the edge's flow tokens are still good"
    );
    world.give(Input::ControlDown {
        conn: CONTROL,
        why: "reset".into(),
    });
    world.link("i2");
    assert!(
        world.core.registrar.is_empty(),
        "another process knows none of the tokens"
    );
}

#[test]
fn a_failed_attempt_says_why_once() {
    let mut world = World::unlinked(REGISTRAR, no_inside);
    for _ in 0..3 {
        let conn = ConnId(u64::MAX);
        world.give(Input::ControlDown {
            conn,
            why: "connection refused".into(),
        });
    }
    assert_eq!(
        world
            .kinds()
            .iter()
            .filter(|k| **k == Kind::LinkDown)
            .count(),
        1
    );
    let why = world.core.snapshot(world.now).links[0].why.clone();
    assert_eq!(why.as_deref(), Some("connection refused"));
}

#[test]
fn call_control_that_is_down_is_told_once_and_dialled_until_it_answers() {
    let mut world = World::unlinked(REGISTRAR, no_inside);
    let conn = world.dialled("10.0.0.5");
    world.down = vec!["10.0.0.5"];
    world.give(Input::Disconnected {
        conn,
        why: "reset".into(),
    });
    world.wait(Duration::from_secs(30));
    assert_eq!(world.kinds(), [Kind::CallControlDown]);
    assert!(
        world.core.zone_rows()[0]
            .1
            .starts_with("failed: connection refused")
    );
    let tries = world.connects.len();
    assert!((5..12).contains(&tries), "{tries}");
    world.down.clear();
    world.wait(Duration::from_secs(30));
    assert_eq!(world.core.zone_rows()[0].1, "active");
}

#[test]
fn call_control_that_hangs_up_at_once_is_not_dialled_in_a_loop() {
    let mut world = World::unlinked(REGISTRAR, no_inside);
    let before = world.connects.len();
    for _ in 0..20 {
        let conn = world.dialled("10.0.0.5");
        world.give(Input::Disconnected {
            conn,
            why: "closed by the peer".into(),
        });
        world.wait(Duration::from_secs(1));
    }
    let tries = world.connects.len() - before;
    assert!(tries <= 6, "{tries} connections in 20 s");
}

#[test]
fn a_registrar_without_a_port_is_found_by_its_srv_records() {
    let named = "[[call_control]]\nname = \"pbx\"\naddress = \"pbx.example.test\"\n";
    let mut world = World::unlinked(named, no_inside);
    assert_eq!(
        world.connects[0].1.host, "pbx.example.test",
        "there are none yet"
    );
    let record = |port, host: &str| (10, 10, port, host.to_owned());
    let records = vec![
        record(5070, "a.example.test"),
        record(5080, "b.example.test"),
    ];
    world.services.push(("_sip._tcp.pbx.example.test", records));
    world.wait(Duration::from_secs(600));
    let zones = world.core.zone_rows();
    let names: Vec<&str> = zones.iter().map(|(n, _)| n.as_str()).collect();
    assert_eq!(names, ["pbx", "pbx-2"]);
    assert_eq!(world.core.zones[0].target.port, 5070);
    assert_eq!(world.core.zones_for("pbx.example.test"), ["pbx", "pbx-2"]);
    let with_port = named.replace("pbx.example.test", "pbx.example.test:5060");
    let mut world = World::unlinked(&with_port, no_inside);
    world.wait(Duration::from_secs(1));
    assert_eq!((world.connects.len(), world.services_asked.len()), (1, 0));
}

#[test]
fn a_refusal_outlasts_the_end_of_the_connection_it_came_on() {
    let mut world = World::unlinked(REGISTRAR, no_inside);
    world.link("i1");
    world.give(Input::ControlDown {
        conn: CONTROL,
        why: "reset".into(),
    });
    world.events.clear();
    world.link_under("another", "i1");
    let down = |conn| Input::ControlDown {
        conn,
        why: "closed by the peer".into(),
    };
    world.give(down(CONTROL));
    world.give(down(ConnId(u64::MAX)));
    assert_eq!(world.kinds(), [Kind::LinkRefused]);
    let picture = world.core.snapshot(world.now);
    let why = picture.links[0].why.as_deref();
    assert!(why.is_some_and(|w| w.contains("password")), "{why:?}");
    assert_eq!(picture.events[0].code, Kind::LinkRefused as u16);
    // The next attempt's end is news again.
    world.give(down(ConnId(u64::MAX)));
    let why = world.core.snapshot(world.now).links[0].why.clone();
    assert_eq!(why.as_deref(), Some("closed by the peer"));
}

#[test]
fn an_edge_that_ends_a_connection_before_its_hello_is_told_once() {
    let mut world = World::unlinked(REGISTRAR, no_inside);
    for n in 0..3 {
        let conn = ConnId(700 + n);
        world.give(Input::ControlUp {
            conn,
            peer: 0,
            peer_name: "edge1.example.test".into(),
            remote: "192.0.2.11:7001".parse().unwrap(),
            exported: Secret::new([9; 32]),
            media_secret: Secret::new([8; 64]),
        });
        for conn in [conn, ConnId(u64::MAX)] {
            let why = "the peer refused this node's certificate".into();
            world.give(Input::ControlDown { conn, why });
        }
    }
    assert_eq!(world.kinds(), [Kind::LinkDown]);
}

/// What the edge was told last of dead zones.
fn told_dead(world: &mut World) -> Vec<String> {
    let acceptor = world.acceptor.as_mut().unwrap();
    let mut told = acceptor.take_events().into_iter().filter_map(|e| match e {
        traversal::Event::Zones(dead) => Some(dead),
        _ => None,
    });
    told.next_back()
        .unwrap_or_else(|| vec!["nothing new".into()])
}

#[test]
fn edges_are_told_which_zones_are_dead_and_that_they_live_again() {
    let mut world = World::new(REGISTRAR, no_inside);
    assert!(told_dead(&mut world).is_empty());
    // A connection that is closed and dialled again is no death.
    let conn = world.dialled("10.0.0.5");
    let gone = |conn| Input::Disconnected {
        conn,
        why: "closed".into(),
    };
    world.wait(Duration::from_secs(20));
    let _ = told_dead(&mut world);
    world.give(gone(conn));
    world.wait(Duration::from_millis(10));
    assert_eq!(told_dead(&mut world), ["nothing new"]);
    world.down = vec!["10.0.0.5"];
    let conn = world.dialled("10.0.0.5");
    world.give(gone(conn));
    world.wait(Duration::from_secs(10));
    assert_eq!(told_dead(&mut world), ["kamailio"]);
    // Who links up later is told at once.
    world.link("i1");
    assert_eq!(told_dead(&mut world), ["kamailio"]);
    world.down.clear();
    world.wait(Duration::from_secs(60));
    assert!(told_dead(&mut world).is_empty());
}

#[test]
fn a_server_that_takes_registers_and_never_answers_is_dead_until_it_does() {
    let mut world = World::new(REGISTRAR, no_inside);
    let contact = "Contact: <sip:1001@198.51.100.7:5555;transport=tls>\r\nExpires: 600\r\n";
    let _ = told_dead(&mut world);
    for n in 0..3 {
        world.register("1001", "pw", "t1", contact);
        world.wait(Duration::from_secs(40));
        let told = told_dead(&mut world);
        let want = if n < 2 { "nothing new" } else { "kamailio" };
        assert_eq!(told, [want], "{n}");
    }
    assert!(world.core.under_way.is_empty() && world.core.registrar.is_empty());
    world.out(LANE);
    let server = world.dialled("10.0.0.5");
    world.out(server);
    world.registered("1001", "t1");
    assert!(told_dead(&mut world).is_empty());
}

#[test]
fn a_register_whose_client_is_gone_leaves_nothing_under_way() {
    let mut world = World::new(REGISTRAR, no_inside);
    let contact = "Contact: <sip:1001@198.51.100.7:5555;transport=tls>\r\nExpires: 600\r\n";
    for answered in [true, false] {
        world.register("1001", "pw", "t1", contact);
        let server = world.dialled("10.0.0.5");
        let sent = world.one(server);
        world.give(Input::Disconnected {
            conn: LANE,
            why: "reset".into(),
        });
        if answered {
            // Nobody waits for it any more; call control has accepted it all the same.
            world.take(server, sent.reply(200, "OK", "k").build());
            assert_eq!(world.core.registrar.iter().count(), 1);
            assert!(world.core.under_way.is_empty());
        }
        world.wait(Duration::from_secs(70));
        assert!(world.core.under_way.is_empty(), "{answered}");
        assert!(world.core.busy.is_empty() && world.core.answers_due.is_empty());
        world.lane();
    }
}

#[test]
fn clients_that_go_while_they_register_do_not_make_their_zone_dead() {
    let mut world = World::new(REGISTRAR, no_inside);
    let contact = "Contact: <sip:1001@198.51.100.7:5555;transport=tls>\r\nExpires: 600\r\n";
    let _ = told_dead(&mut world);
    for _ in 0..5 {
        world.register("1001", "pw", "t1", contact);
        let server = world.dialled("10.0.0.5");
        let sent = world.one(server);
        world.give(Input::Disconnected {
            conn: LANE,
            why: "reset".into(),
        });
        world.wait(Duration::from_secs(1));
        world.take(server, sent.reply(200, "OK", "k").build());
        world.lane();
    }
    assert_eq!(told_dead(&mut world), ["nothing new"]);
}
