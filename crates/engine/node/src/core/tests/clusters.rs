//! What a cluster tells of itself, and the zones and rules that follow.

use super::naming::standing;
use super::signing_in::cluster;
use super::*;
use crate::core::zones::Zone;

/// The cluster of two nodes, in mixed mode, one with a port of its own.
fn mixed(fetch: &Fetch) -> Result<(u16, String), String> {
    if fetch.body.contains("ClusterSecurityMode") {
        return Ok((200, "<a><row><paramvalue>1</paramvalue></row></a>".into()));
    }
    if fetch.body.contains("listCallManager") {
        let body = "<a><callManager><processNodeName>cucm2</processNodeName><sipPhonePort>5070\
                    </sipPhonePort></callManager></a>";
        return Ok((200, body.into()));
    }
    cluster(fetch)
}

/// One that tells its nodes and nothing else.
fn silent(fetch: &Fetch) -> Result<(u16, String), String> {
    if fetch.body.contains("listProcessNode") || !fetch.path.contains("axl") {
        return cluster(fetch);
    }
    Ok((403, String::new()))
}

fn zones(world: &World) -> Vec<String> {
    world.core.zones.iter().map(|z| z.name.clone()).collect()
}

#[test]
fn a_cluster_in_mixed_mode_has_a_tls_zone_beside_the_tcp_zone_of_each_node() {
    let world = World::new(UNIFIED_CM, mixed);
    let [one, two] = ["cucm1.example.test", "cucm2.example.test"];
    assert_eq!(
        zones(&world),
        [
            format!("CEtcp-{one}"),
            format!("CEtls-{one}"),
            format!("CEtcp-{two}"),
            format!("CEtls-{two}"),
        ]
    );
    let of = |name: &str| &world.core.zone(name).unwrap().target;
    assert_eq!(of("CEtcp-cucm1.example.test").port, 5060);
    assert_eq!(of("CEtcp-cucm2.example.test").port, 5070);
    let tls = of("CEtls-cucm1.example.test");
    assert_eq!((tls.port, tls.tls.as_deref()), (5061, Some(one)));
    assert!(tls.tls_verify);
    let careless = UNIFIED_CM.replace("password", "tls_verify = false\npassword");
    let world = World::new(&careless, mixed);
    let tls = &world.core.zone("CEtls-cucm1.example.test").unwrap().target;
    assert!(!tls.tls_verify, "as discovery had it");
    // Not in mixed mode: TCP alone.
    let world = World::new(UNIFIED_CM, cluster);
    assert_eq!(
        zones(&world),
        [format!("CEtcp-{one}"), format!("CEtcp-{two}")]
    );
}

#[test]
fn each_generated_zone_has_a_rule_of_its_name_at_priority_45() {
    let world = World::new(UNIFIED_CM, mixed);
    let rules = world.core.plan.rules();
    let names: Vec<&str> = rules.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, zones(&world));
    assert!(
        rules
            .iter()
            .all(|r| r.priority == 45 && r.generated && r.target == r.name)
    );
    let asker = policy::search::Asker {
        zone: "trunk",
        local: false,
        authenticated: false,
    };
    let hits = world.core.plan.search("1001@cucm2.example.test", &asker);
    let found: Vec<&str> = hits.iter().map(|h| h.zone.as_str()).collect();
    assert_eq!(
        found,
        ["CEtcp-cucm2.example.test", "CEtls-cucm2.example.test"]
    );
    // Not for whoever is nobody's neighbour.
    let stranger = policy::search::Asker {
        zone: config::routing::DEFAULT_ZONE,
        ..asker
    };
    assert!(
        world
            .core
            .plan
            .search("1001@cucm2.example.test", &stranger)
            .is_empty()
    );
}

#[test]
fn a_long_node_name_has_an_expression_in_its_rule() {
    fn long(fetch: &Fetch) -> Result<(u16, String), String> {
        let (status, body) = cluster(fetch)?;
        let name = format!("cucm2.{}.test", "x".repeat(60));
        Ok((status, body.replace("cucm2.example.test", &name)))
    }
    let world = World::new(UNIFIED_CM, long);
    let kinds: Vec<config::pattern::PatternKind> = world
        .core
        .plan
        .rules()
        .iter()
        .map(|r| match &r.mode {
            config::routing::Mode::Pattern(pattern, _) => pattern.kind(),
            other => panic!("{other:?}"),
        })
        .collect();
    use config::pattern::PatternKind::{Regex, Suffix};
    assert_eq!(kinds, [Suffix, Regex]);
    let asker = policy::search::Asker {
        zone: "trunk",
        local: false,
        authenticated: false,
    };
    let alias = format!("1001@cucm2.{}.test", "X".repeat(60));
    assert_eq!(world.core.plan.search(&alias, &asker).len(), 1);
    let other = alias.replace(".test", "-test");
    assert!(world.core.plan.search(&other, &asker).is_empty());
}

#[test]
fn what_a_publisher_does_not_tell_is_said_once_and_its_nodes_serve_all_the_same() {
    let mut world = World::new(UNIFIED_CM, silent);
    assert_eq!(zones(&world).len(), 2);
    let told = |world: &World| {
        let failed = |e: &&::status::Event| e.kind == Kind::DiscoveryFailed;
        let events: Vec<String> = world
            .events
            .iter()
            .filter(failed)
            .map(|e| e.cause.clone())
            .collect();
        events
    };
    let before = told(&world);
    assert!(
        before[0].contains("security mode is not known"),
        "{before:?}"
    );
    world.wait(Duration::from_secs(3_000));
    assert_eq!(told(&world), before);
}

#[test]
fn a_failed_connection_for_secure_profiles_names_the_usual_cause() {
    let mut world = World::new(UNIFIED_CM, mixed);
    let secure = |(_, t): &&(ConnId, Target)| t.tls.is_some();
    let (conn, _) = *world.connects.iter().find(secure).as_ref().unwrap();
    let conn = *conn;
    for _ in 0..2 {
        let why = "the handshake failed".into();
        world.give(Input::Disconnected { conn, why });
    }
    let down = world
        .events
        .iter()
        .find(|e| e.kind == Kind::CallControlDown);
    let cause = &down.unwrap().cause;
    assert!(
        cause.starts_with("the handshake failed; for secure profiles"),
        "{cause}"
    );
    assert!(cause.contains("profiles' names"), "{cause}");
}

#[test]
fn a_trunk_at_the_port_of_a_nodes_phones_raises_an_alarm_once() {
    let zone = |peer: &str, port: u16| {
        format!(
            "{UNIFIED_CM}[[zones]]\nname = \"trunk\"\ntype = \"neighbor\"\ntransport = \"tcp\"\n\
             peers = [{peer:?}]\nport = {port}\nmonitor = false\n"
        )
    };
    let conflicts = |world: &World| {
        let events = world.events.iter().filter(|e| e.kind == Kind::PortConflict);
        events.count()
    };
    for (peer, port, want) in [
        ("cucm1.example.test", 5060, 1),
        ("cucm1.example.test", 5061, 1),
        ("CUCM1", 5060, 1),
        ("cucm2.example.test", 5070, 1),
        ("cucm2.example.test", 5060, 0),
        ("cucm1.example.test", 5560, 0),
        ("pbx.example.test", 5060, 0),
        ("10.0.0.40", 5060, 0),
    ] {
        let mut world = World::new(&zone(peer, port), mixed);
        world.wait(Duration::from_secs(1_300));
        assert_eq!(conflicts(&world), want, "{peer}:{port}");
    }
    let world = World::new(&zone("cucm1.example.test", 5060), mixed);
    let event = world
        .events
        .iter()
        .find(|e| e.kind == Kind::PortConflict)
        .unwrap();
    assert!(event.kind.fix().contains("incoming port of its own"));
    assert!(
        event.proof.contains(&("zone", "trunk".to_owned())),
        "{event:?}"
    );
}

#[test]
fn a_client_registers_over_tls_if_it_asks_for_that_and_the_cluster_is_mixed() {
    for (inside, line, want) in [
        (
            mixed as Inside,
            "REGISTER sip:cucm1.example.test SIP",
            "CEtcp-cucm1.example.test",
        ),
        (
            mixed,
            "REGISTER sips:cucm1.example.test SIP",
            "CEtls-cucm1.example.test",
        ),
        (
            mixed,
            "REGISTER sip:cucm1.example.test:5061 SIP",
            "CEtls-cucm1.example.test",
        ),
        (
            mixed,
            "REGISTER sip:cucm1.example.test;transport=tls SIP",
            "CEtls-cucm1.example.test",
        ),
        (
            cluster,
            "REGISTER sips:cucm1.example.test SIP",
            "CEtcp-cucm1.example.test",
        ),
    ] {
        let world = World::new(UNIFIED_CM, inside);
        let text = format!(
            "{line}/2.0\r\nVia: SIP/2.0/TLS a;branch=z9hG4bK1\r\nFrom: <sip:1@x>;tag=a\r\n\
             To: <sip:1001@cucm1.example.test>\r\nCall-ID: a\r\nCSeq: 1 REGISTER\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let zones = world
            .core
            .registrars(&message(&text), b"sip:1001@cucm1.example.test");
        assert_eq!(zones, [want], "{line}");
    }
}

#[test]
fn a_connection_that_two_leaving_zones_share_stays_as_long_as_one_is_needed() {
    for in_call in [true, false] {
        let at = standing();
        let (mut world, conn) = (at.world, at.inside);
        let hang_up = |world: &mut World| {
            let bye = format!(
                "BYE sip:x@x SIP/2.0\r\nFrom: <sip:1001@example.test>;tag=c\r\n\
                 To: <sip:1100@example.test>;tag={}\r\nCall-ID: call1\r\nCSeq: 9 BYE\r\n\
                 Max-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
                at.outer
            );
            world.ask(LANE, &bye);
            let bye = world.one(conn);
            world.take(conn, bye.reply(200, "OK", "").build());
            world.wait(Duration::from_secs(40));
        };
        if !in_call {
            hang_up(&mut world);
        }
        let place = world.core.zones.iter().position(|z| z.name == "kamailio");
        let needed = world.core.zones.remove(place.unwrap());
        let (name, host) = ("idle".into(), "idle.example.test".into());
        let mut idle = Zone::new(name, host, needed.target.clone(), false, false);
        idle.flow = needed.flow;
        // Of two zones on one connection one has a client; a call is on both.
        world.core.set_zones(world.now, vec![idle, needed]);
        world.core.set_zones(world.now, Vec::new());
        world.settle();
        if in_call {
            assert_eq!(zones(&world), ["idle", "kamailio"]);
            hang_up(&mut world);
            world.core.leave_zones();
            world.settle();
        }
        assert!(!world.closed.contains(&conn), "in a call: {in_call}");
        assert_eq!(zones(&world), ["kamailio"]);
    }
}
