//! Servers inside that change, fail, vanish and come back, and what administrators are told.

use ::status::servers::{NodeFacts, ServerFacts, ServerState, ServersQuestion, ServersReport};

mod bounds;

use super::calls::{SDP_INSIDE, answer as answer_to, follow, invite_from_client};
use super::signing_in::{alices_answer, register, sign_in};
use super::*;

/// A cluster whose state a test changes as it goes on.
#[derive(Clone, Default)]
struct Cluster {
    /// Key, name and TCP port.
    nodes: Vec<(&'static str, &'static str, u16)>,
    mixed: bool,
    profiles: Vec<String>,
    slow_region: bool,
    throttle: Option<u32>,
    /// It answers this status instead, to all or one question.
    status: Option<(u16, &'static str)>,
    only: Option<&'static str>,
    down: bool,
    asked: Vec<&'static str>,
}

thread_local! {
    static CLUSTER: std::cell::RefCell<Cluster> = std::cell::RefCell::default();
}

fn set(change: impl FnOnce(&mut Cluster)) {
    CLUSTER.with_borrow_mut(change);
}

fn two_nodes() {
    set(|c| {
        *c = Cluster {
            nodes: vec![
                ("k1", "cucm1.example.test", 5060),
                ("k2", "cucm2.example.test", 5060),
            ],
            ..Cluster::default()
        }
    });
}

const OPERATIONS: [&str; 7] = [
    "listProcessNode",
    "ClusterSecurityMode' union",
    "ClusterSecurityMode",
    "listCallManager",
    "getCCMVersion",
    "listPhoneSecurityProfile",
    "regionmatrix",
];

fn inside(fetch: &Fetch) -> Result<(u16, String), String> {
    if fetch.path != "/axl/" {
        return super::signing_in::cluster(fetch);
    }
    CLUSTER.with_borrow_mut(|c| {
        let operation = OPERATIONS.into_iter().find(|o| fetch.body.contains(o));
        c.asked.extend(operation);
        if c.down {
            return Err("connection refused".into());
        }
        let meant = c.only.is_none_or(|only| fetch.body.contains(only));
        if let Some((status, body)) = c.status.filter(|_| meant) {
            return Ok((status, body.into()));
        }
        Ok((200, answer(c, operation.unwrap_or(&fetch.body))))
    })
}

fn answer(c: &Cluster, operation: &str) -> String {
    let rows = |of: &str, inside: String| format!("<e><{of}Response>{inside}</{of}Response></e>");
    let each = |f: &dyn Fn(&(&str, &str, u16)) -> String| c.nodes.iter().map(f).collect::<String>();
    match operation {
        "listProcessNode" => rows(
            operation,
            each(&|(key, name, _)| {
                format!("<processNode uuid=\"{key}\"><name>{name}</name></processNode>")
            }),
        ),
        "listCallManager" => rows(
            operation,
            each(&|(_, name, port)| {
                format!(
                    "<callManager><processNodeName>{name}</processNodeName><sipPhonePort>{port}\
                     </sipPhonePort></callManager>"
                )
            }),
        ),
        "getCCMVersion" => "<e><version>14.0</version></e>".into(),
        "ClusterSecurityMode' union" => rows(
            "executeSQLQuery",
            each(&|(_, name, _)| format!("<row><v>{name}</v></row>"))
                + &format!("<row><v>{}</v></row>", u8::from(c.mixed))
                + &c.profiles
                    .iter()
                    .map(|p| format!("<row><v>{p}</v></row>"))
                    .collect::<String>(),
        ),
        "ClusterSecurityMode" => {
            format!(
                "<e><row><paramvalue>{}</paramvalue></row></e>",
                u8::from(c.mixed)
            )
        }
        "listPhoneSecurityProfile" => {
            let one = |p: &String| {
                format!(
                    "<phoneSecurityProfile><name>{p}</name><deviceSecurityMode>Encrypted\
                     </deviceSecurityMode><transportType>TLS</transportType>\
                     </phoneSecurityProfile>"
                )
            };
            rows(operation, c.profiles.iter().map(one).collect())
        }
        "regionmatrix" => {
            let row = "<row><regiona>Default</regiona><regionb>Default</regionb>\
                       <videobandwidth>384</videobandwidth></row>";
            let row = if c.slow_region { row } else { "" };
            rows("executeSQLQuery", row.into())
        }
        other if other.contains("Throttle") => {
            let row = |rate| {
                format!(
                    "<row><paramname>SIPStationTCPPortThrottleThreshold</paramname><paramvalue>\
                     {rate}</paramvalue></row>"
                )
            };
            rows("executeSQLQuery", c.throttle.map_or_else(String::new, row))
        }
        other if other.contains("listPhoneNtp") => rows(
            "listPhoneNtp",
            "<phoneNtp><ipAddress>10.0.0.9</ipAddress></phoneNtp>".into(),
        ),
        _ => "<e><faultstring>unknown</faultstring></e>".into(),
    }
}

fn minute(world: &mut World) {
    world.wait(Duration::from_secs(60));
}

fn report(world: &mut World, asked: ServersQuestion) -> ServersReport {
    let question = Question::Servers(asked);
    let before = world.servers.len();
    world.give(Input::Ask {
        id: AskId(7),
        question,
    });
    assert_eq!(world.servers.len(), before + 1, "answered");
    world.servers.pop().unwrap()
}

fn show(world: &mut World) -> ServersReport {
    report(world, ServersQuestion::Show)
}

fn history(world: &mut World) -> Vec<String> {
    show(world).history.into_iter().map(|c| c.what).collect()
}

fn causes(world: &World, kind: Kind) -> Vec<String> {
    let of = world.events.iter().filter(|e| e.kind == kind);
    of.map(|e| e.cause.clone()).collect()
}

fn zones(world: &World) -> Vec<String> {
    let zones = world.core.zones.iter();
    zones
        .map(|z| format!("{}:{}", z.name, z.target.port))
        .collect()
}

#[test]
fn a_node_added_renamed_moved_or_removed_is_found_within_a_minute_and_told() {
    two_nodes();
    let mut world = World::new(UNIFIED_CM, inside);
    assert_eq!(history(&mut world), Vec::<String>::new());
    set(|c| c.nodes.push(("k3", "cucm3.example.test", 5060)));
    minute(&mut world);
    assert_eq!(history(&mut world), ["node added cucm3.example.test"]);
    assert!(zones(&world).contains(&"CEtcp-cucm3.example.test:5060".to_owned()));
    set(|c| c.nodes[1] = ("k2", "two.example.test", 5062));
    minute(&mut world);
    let told = history(&mut world);
    // The later of one reading stands first.
    assert_eq!(
        told[..2],
        [
            "port of two.example.test 5060 -> 5062",
            "node renamed cucm2.example.test -> two.example.test"
        ]
    );
    set(|c| c.nodes.truncate(2));
    minute(&mut world);
    assert_eq!(history(&mut world)[0], "node removed cucm3.example.test");
    assert_eq!(
        zones(&world),
        [
            "CEtcp-cucm1.example.test:5060",
            "CEtcp-two.example.test:5062"
        ]
    );
    assert_eq!(
        causes(&world, Kind::NodeGone).len(),
        1,
        "a renamed node is not gone"
    );
    set(|c| c.mixed = true);
    minute(&mut world);
    assert_eq!(history(&mut world)[0], "mixed mode on");
    assert_eq!(zones(&world).len(), 4);
    set(|c| c.profiles = vec!["jabber.example.test".into()]);
    minute(&mut world);
    assert_eq!(
        history(&mut world)[0],
        "secure profile added jabber.example.test"
    );
    assert_eq!(causes(&world, Kind::ServersChanged).len(), 5);
    assert_eq!(causes(&world, Kind::Discovered).len(), 1);
}

#[test]
fn a_cluster_that_does_not_change_is_asked_little() {
    two_nodes();
    let mut world = World::new(UNIFIED_CM, inside);
    set(|c| c.asked.clear());
    world.wait(Duration::from_secs(300));
    let asked = CLUSTER.with_borrow(|c| c.asked.clone());
    let lists = asked.iter().filter(|o| **o == "listProcessNode").count();
    assert_eq!(lists, 0, "{asked:?}");
    // Two small questions each time, five or six times in five minutes.
    assert!((10..=12).contains(&asked.len()), "{asked:?}");
    world.wait(Duration::from_secs(360));
    let asked = CLUSTER.with_borrow(|c| c.asked.clone());
    assert!(
        asked.contains(&"listProcessNode"),
        "everything every ten minutes"
    );
}

#[test]
fn a_password_that_is_refused_is_not_tried_often_enough_to_lock_the_account() {
    two_nodes();
    set(|c| c.status = Some((401, "")));
    let mut world = World::new(UNIFIED_CM, inside);
    world.wait(Duration::from_secs(1_799));
    let asked = CLUSTER.with_borrow(|c| c.asked.len());
    assert_eq!(asked, 2, "in half an hour");
    set(|c| c.status = None);
    let refreshed = report(
        &mut world,
        ServersQuestion::Refresh {
            name: "CUCM1.example.test".into(),
        },
    );
    assert_eq!(refreshed.servers[0].state, ServerState::Active);
    assert_eq!(causes(&world, Kind::Discovered).len(), 1);
    // One that is changed under us is no different.
    set(|c| {
        c.status = Some((401, ""));
        c.asked.clear();
    });
    world.wait(Duration::from_secs(1_799));
    assert_eq!(CLUSTER.with_borrow(|c| c.asked.len()), 2);
}

#[test]
fn each_failure_is_named_with_what_was_seen_and_what_to_do() {
    let page = "<!DOCTYPE html><html><body>Not Found</body></html>";
    let other = "<e><listProcessNodeResponse><processNode><name>imp1</name><processNodeRole>CUCM \
                 IM and Presence</processNodeRole></processNode></listProcessNodeResponse></e>";
    let table = [
        ((401, ""), "refused (401)", "not locked"),
        (
            (403, ""),
            "lacks the role Standard AXL API Access",
            "Access Control Group",
        ),
        (
            (404, ""),
            "Web Service is not active (404)",
            "Service Activation",
        ),
        ((503, ""), "or it throttles", "asks too much"),
        ((599, ""), "does not speak this version", "9.1"),
        (
            (200, page),
            "cucm1.example.test is not a Unified CM Server: an HTML page",
            "activate",
        ),
        (
            (200, other),
            "is not a Unified CM Server: it lists no node of that kind",
            "publisher",
        ),
    ];
    for (status, seen, fix) in table {
        two_nodes();
        set(|c| c.status = Some(status));
        let mut world = World::new(UNIFIED_CM, inside);
        let row = show(&mut world).servers.remove(0);
        assert_eq!(row.state, ServerState::Failed);
        assert!(row.cause.contains(seen), "{status:?}: {}", row.cause);
        assert!(row.fix.contains(fix), "{status:?}: {}", row.fix);
        let event = world
            .events
            .iter()
            .find(|e| e.kind == Kind::DiscoveryFailed)
            .unwrap();
        assert!(event.to_string().contains(&row.fix), "{event}");
    }
    set(|c| c.down = true);
    let mut world = World::new(UNIFIED_CM, inside);
    let row = show(&mut world).servers.remove(0);
    assert!(row.fix.contains("firewall"), "{}", row.fix);
}

#[test]
fn a_server_is_inactive_until_a_traversal_zone_is_up_and_failed_while_it_does_not_tell() {
    two_nodes();
    let mut world = World::unlinked(UNIFIED_CM, inside);
    let row = show(&mut world).servers.remove(0);
    assert_eq!(row.state, ServerState::Inactive);
    assert_eq!(row.cause, "no traversal zone is up");
    world.link("i1");
    assert_eq!(show(&mut world).servers[0].state, ServerState::Active);
    set(|c| c.down = true);
    minute(&mut world);
    let row = show(&mut world).servers.remove(0);
    assert_eq!(row.state, ServerState::Failed);
    assert_eq!(row.facts.nodes.len(), 2, "what it told before counts");
    assert_eq!(zones(&world).len(), 2);
    set(|c| c.down = false);
    world.wait(Duration::from_secs(120));
    assert_eq!(show(&mut world).servers[0].state, ServerState::Active);
    assert_eq!(history(&mut world), Vec::<String>::new());
}

#[test]
fn what_was_known_serves_a_core_that_starts_while_the_publisher_is_down_and_is_marked() {
    two_nodes();
    set(|c| c.mixed = true);
    let mut world = World::new(UNIFIED_CM, inside);
    set(|c| c.nodes.push(("k3", "cucm3.example.test", 5060)));
    minute(&mut world);
    let before = zones(&world);
    set(|c| c.down = true);
    world.restart(UNIFIED_CM, Duration::from_secs(60));
    assert_eq!(zones(&world), before);
    let row = show(&mut world).servers.remove(0);
    assert!(row.remembered && row.heard_at.is_none() && row.read_at.is_some());
    assert_eq!(row.state, ServerState::Failed);
    assert_eq!(history(&mut world), ["node added cucm3.example.test"]);
    set(|c| {
        c.down = false;
        c.nodes.pop();
    });
    world.wait(Duration::from_secs(120));
    let row = show(&mut world).servers.remove(0);
    assert!(!row.remembered);
    assert_eq!(history(&mut world)[0], "node removed cucm3.example.test");
}

#[test]
fn a_refresh_asks_at_once_and_an_unknown_name_is_refused() {
    two_nodes();
    let mut world = World::new(UNIFIED_CM, inside);
    set(|c| c.mixed = true);
    let all = || ServersQuestion::Refresh {
        name: String::new(),
    };
    let refreshed = report(&mut world, all());
    assert_eq!(refreshed.history[0].what, "mixed mode on");
    assert_eq!(refreshed.servers[0].facts.mixed_mode, Some(true));
    let name = "nobody.example.test".to_owned();
    let refused = report(&mut world, ServersQuestion::Refresh { name }).refused;
    assert!(
        refused.contains("nobody.example.test is no server"),
        "{refused}"
    );
    let mut none = World::new(REGISTRAR, no_inside);
    assert_eq!(report(&mut none, all()).servers, []);
}

#[test]
fn settings_that_trouble_clients_are_told_once_with_what_to_set() {
    two_nodes();
    set(|c| {
        c.mixed = true;
        c.profiles = ["held.example.test", "lacking.example.test", "Phones"]
            .map(Into::into)
            .into();
        c.slow_region = true;
        c.throttle = Some(50);
    });
    let text = format!("{HEAD}{UNIFIED_CM}");
    let mut world = World::of(&text, inside);
    world.core.settings.certificate_names =
        vec!["core1.example.test".into(), "HELD.example.test".into()];
    let refresh = ServersQuestion::Refresh {
        name: String::new(),
    };
    let row = report(&mut world, refresh.clone()).servers.remove(0);
    let verdicts: Vec<(&str, Option<bool>)> = row
        .checks
        .iter()
        .map(|c| (c.what.as_str(), c.good))
        .collect();
    assert_eq!(
        verdicts,
        [
            ("secure profile", None),
            ("secure profile", Some(true)),
            ("secure profile", Some(false)),
            ("video rate of regions", Some(false)),
            ("phone NTP reference", Some(false)),
            ("SIP Station TCP Port Throttle Threshold", Some(false)),
        ]
    );
    assert!(
        row.checks
            .iter()
            .all(|c| (c.good == Some(true)) == c.fix.is_empty())
    );
    let named = causes(&world, Kind::ProfileNotNamed);
    assert_eq!(named.len(), 1);
    assert!(named[0].contains("lacking.example.test is not in the core's certificate"));
    report(&mut world, refresh);
    assert_eq!(causes(&world, Kind::ProfileNotNamed).len(), 1, "told once");
    assert_eq!(causes(&world, Kind::SettingAmiss).len(), 3);
}

#[test]
fn im_and_presence_in_another_domain_than_unified_cm_is_told() {
    two_nodes();
    let extra = format!(
        "{UNIFIED_CM}\n[[im_presence]]\npublisher = \"imp1.other.test\"\nuser = \"axl\"\n\
         password = \"pw\"\n"
    );
    fn both(fetch: &Fetch) -> Result<(u16, String), String> {
        if fetch.host == "imp1.other.test" && fetch.body.contains("listProcessNode") {
            let node = "<processNode><name>imp1.other.test</name></processNode>";
            return Ok((
                200,
                format!("<listProcessNodeResponse>{node}</listProcessNodeResponse>"),
            ));
        }
        inside(fetch)
    }
    let world = World::new(&extra, both);
    let told = causes(&world, Kind::DomainsDiffer);
    assert_eq!(
        told,
        ["domain: IM and Presence is in other.test, Unified CM in example.test"]
    );
}

#[test]
fn voicemail_is_read_by_its_own_interface() {
    const UNITY: &str = "[[unity_connection]]\naddress = \"cuc1.example.test\"\nuser = \"a\"\n\
                         password = \"b\"\n";
    fn unity(fetch: &Fetch) -> Result<(u16, String), String> {
        Ok((
            200,
            match fetch.path.as_str() {
                "/vmrest/version" => {
                    "<VersionInformation><version>12.5</version>\
                                      </VersionInformation>"
                }
                "/vmrest/cluster" => {
                    "<VmsServers><VmsServer><HostName>cuc1.example.test\
                                      </HostName></VmsServer><VmsServer><HostName>\
                                      cuc2.example.test</HostName></VmsServer></VmsServers>"
                }
                _ => "",
            }
            .into(),
        ))
    }
    let mut world = World::new(UNITY, unity);
    let row = show(&mut world).servers.remove(0);
    let node = |name: &str| NodeFacts {
        name: name.into(),
        ..NodeFacts::default()
    };
    assert_eq!(
        row.facts,
        ServerFacts {
            version: "12.5".into(),
            nodes: vec![node("cuc1.example.test"), node("cuc2.example.test")],
            ..ServerFacts::default()
        }
    );
    let list = &world.gate.as_ref().unwrap().allow_list;
    let hosts: Vec<&str> = list.rules().iter().map(|r| r.host.as_str()).collect();
    assert_eq!(hosts, ["cuc1.example.test", "cuc2.example.test"]);
    let mut other = World::new(UNITY, |_| Ok((200, "<versionInformation/>".into())));
    let row = show(&mut other).servers.remove(0);
    assert!(
        row.cause.contains("not a Unity Connection"),
        "{}",
        row.cause
    );
    let list = &other.gate.as_ref().unwrap().allow_list;
    assert_eq!(
        list.rules().len(),
        1,
        "the configured one is let through all the same"
    );
}

/// Alice signs in and registers with the second node; gives its connection.
fn registered_with_the_second_node(world: &mut World) -> ConnId {
    sign_in(world, "example.test", "Alice", "secret", "get_edge_config");
    let answer = alices_answer(world);
    register(world, &answer);
    let conn = world.dialled("cucm2.example.test");
    let request = world.one(conn);
    let contact = text(request.header(Name::Contact)) + ";expires=600";
    let reply = request.reply(200, "OK", "k").header(Name::Contact, contact);
    world.take(conn, reply.build());
    assert_eq!(world.one(LANE).status(), 200);
    conn
}

/// She calls through it; gives her INVITE and its answer.
fn a_call(world: &mut World, conn: ConnId) -> (Message, Message) {
    let invite = invite_from_client("t1").replace("@example.test", "@cucm2.example.test");
    let invite = world.ask(LANE, &invite);
    let sent = world.one(conn);
    world.take(
        conn,
        answer_to(&sent, "p", "<sip:1100@10.0.0.31>", SDP_INSIDE),
    );
    let ok = world.one(LANE);
    world.ask(LANE, &follow("ACK", &invite, &ok, 1));
    assert_eq!(world.one(conn).method(), Method::Ack);
    (invite, ok)
}

#[test]
fn a_node_that_is_removed_keeps_its_connection_for_the_clients_it_has() {
    two_nodes();
    let mut world = World::new(UNIFIED_CM, inside);
    let conn = registered_with_the_second_node(&mut world);
    set(|c| {
        c.nodes.pop();
    });
    minute(&mut world);
    assert_eq!(causes(&world, Kind::NodeGone).len(), 1);
    assert!(
        !world.closed.contains(&conn),
        "its client is registered there"
    );
    let zones = world.core.zones.iter();
    let zone = zones
        .rev()
        .find(|z| z.host == "cucm2.example.test")
        .unwrap();
    assert!(zone.is_leaving() && zone.standing().is_some());
    let found = world.core.zones_for("cucm2.example.test");
    assert_eq!(
        found,
        Vec::<String>::new(),
        "nobody registers there any more"
    );
    world.wait(Duration::from_secs(800));
    assert!(world.closed.contains(&conn));
    assert_eq!(self::zones(&world), ["CEtcp-cucm1.example.test:5060"]);
}

#[test]
fn a_call_outlives_every_change_of_its_cluster() {
    let changes: [fn(&mut Cluster); 5] = [
        |c| c.nodes.push(("k3", "cucm3.example.test", 5060)),
        |c| c.nodes[1] = ("k2", "two.example.test", 5060),
        |c| c.nodes[1].2 = 5062,
        |c| c.mixed = true,
        |c| c.nodes.truncate(1),
    ];
    for (n, change) in changes.into_iter().enumerate() {
        two_nodes();
        let mut world = World::new(UNIFIED_CM, inside);
        let conn = registered_with_the_second_node(&mut world);
        let (invite, ok) = a_call(&mut world, conn);
        set(change);
        minute(&mut world);
        assert_eq!(causes(&world, Kind::ServersChanged).len(), 1, "change {n}");
        assert!(!world.closed.contains(&conn), "change {n}");
        world.ask(LANE, &follow("BYE", &invite, &ok, 2));
        let bye = world.one(conn);
        assert_eq!(bye.method(), Method::Bye, "change {n}");
        world.take(conn, bye.reply(200, "OK", "p").build());
        assert_eq!(world.one(LANE).status(), 200);
        // With the call, and the registration where the zone has no heir, its connection goes.
        world.wait(Duration::from_secs(800));
        let stays = n == 0 || n == 3;
        assert_eq!(!world.closed.contains(&conn), stays, "change {n}");
    }
}

#[test]
fn nodes_that_come_and_go_are_told_once_in_a_while_and_none_is_forgotten() {
    two_nodes();
    let mut world = World::new(UNIFIED_CM, inside);
    for n in 0..6 {
        set(|c| match n % 2 {
            0 => c.nodes.truncate(1),
            _ => c.nodes.push(("k2", "cucm2.example.test", 5060)),
        });
        minute(&mut world);
    }
    assert_eq!(causes(&world, Kind::NodeGone).len(), 1);
    set(|c| c.nodes.truncate(1));
    minute(&mut world);
    assert_eq!(causes(&world, Kind::NodeGone).len(), 1);
    world.wait(Duration::from_secs(2 * 3600));
    // Still away: that is told, though nothing has changed since.
    assert_eq!(causes(&world, Kind::NodeGone).len(), 2);
    world.wait(Duration::from_secs(2 * 3600));
    assert_eq!(causes(&world, Kind::NodeGone).len(), 2);
}
