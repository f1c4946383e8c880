//! A split DNS right and wrong, from both sides, answered by a DNS server on the loopback.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use base::Rng;
use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::net::UdpSocket;

use super::*;

const EDGE: &str = r#"
role = "edge"
name = "edge1"
domain = "example.test"
[certificate]
chain = "server.pem"
key = "server.key"
trusted = "ca.pem"
[service.https]
listen = ["192.0.2.10:8443"]
[service.sip]
listen = ["192.0.2.10:5061"]
[service.xmpp]
listen = ["192.0.2.10:5222"]
[service.media]
listen = "192.0.2.10"
[traversal]
listen_sip = "192.0.2.11:7001"
listen_ssh = "192.0.2.11:2222"
listen_xmpp = "192.0.2.11:7400"
[[traversal.zone]]
name = "core"
verify_name = ["core1.example.test"]
user = "traversal"
password = "long and random"
"#;

const CORE: &str = r#"
role = "core"
name = "core1"
domain = "corp.example.test"
[certificate]
chain = "server.pem"
key = "server.key"
trusted = "ca.pem"
[service.sip]
listen = ["10.0.0.20:5060"]
[service.media]
listen = "10.0.0.20"
[[traversal.peer]]
name = "edge1"
dial = "192.0.2.11"
verify_name = "edge1.example.test"
user = "traversal"
password = "long and random"
[[domains]]
name = "example.test"
[[unified_cm]]
publisher = "cucm1.corp.test"
user = "axl"
password = "pw"
[[im_presence]]
publisher = "imp1.corp.test"
user = "axl"
password = "pw"
"#;

/// What a name says: an address, or the host and port of a service; `!` for a server's failure.
type Zone = &'static [(&'static str, &'static str)];

const PUBLIC: Zone = &[
    ("_collab-edge._tls.example.test", "8443 edge1.example.test"),
    ("_sips._tcp.example.test", "5061 edge1.example.test"),
    ("edge1.example.test", "198.18.0.10"),
];

const OFFICE: Zone = &[
    ("_cisco-uds._tcp.example.test", "8443 cucm1.corp.test"),
    ("_cuplogin._tcp.example.test", "8443 imp1.corp.test"),
    ("cucm1.corp.test", "10.0.0.30"),
    ("imp1.corp.test", "10.0.0.31"),
];

/// A DNS server with these records; gives its address.
async fn server(zone: Vec<(&'static str, &'static str)>) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 2048];
        while let Ok((n, from)) = socket.recv_from(&mut buffer).await {
            let query = Message::from_vec(&buffer[..n]).unwrap();
            let asked = query.queries[0].clone();
            let mut answer = Message::response(query.metadata.id, query.metadata.op_code);
            answer.metadata.message_type = MessageType::Response;
            answer.metadata.recursion_available = true;
            answer.add_query(asked.clone());
            let name = asked.name().to_lowercase().to_ascii();
            let rows = zone.iter().filter(|(n, _)| format!("{n}.") == name);
            let rows: Vec<&str> = rows.map(|(_, says)| *says).collect();
            answer.metadata.response_code = match rows.first() {
                None => ResponseCode::NXDomain,
                Some(&"!") => ResponseCode::ServFail,
                Some(_) => ResponseCode::NoError,
            };
            for says in rows {
                let data = match (says.split_once(' '), asked.query_type()) {
                    (Some((port, host)), RecordType::SRV) => {
                        let host = Name::from_ascii(format!("{host}.")).unwrap();
                        RData::SRV(SRV::new(10, 10, port.parse().unwrap(), host))
                    }
                    (None, RecordType::A) if says != "!" => {
                        RData::A(A(says.parse::<Ipv4Addr>().unwrap()))
                    }
                    _ => continue,
                };
                answer.add_answer(Record::from_rdata(asked.name().clone(), 60, data));
            }
            let bytes = answer.to_vec().unwrap();
            socket.send_to(&bytes, from).await.unwrap();
        }
    });
    address
}

/// What is found of a node in a zone where some names say otherwise (nothing if they are empty).
async fn found(text: &str, side: Side, zone: Zone, changed: Zone) -> Vec<Finding> {
    let config = config::load(text, Path::new("/etc/causeway.toml")).map_err(|f| f[0].to_string());
    let config = config.unwrap().config;
    let kept = zone
        .iter()
        .filter(|(n, _)| changed.iter().all(|(c, _)| c != n));
    let all = kept.chain(changed.iter().filter(|(_, says)| !says.is_empty()));
    let at = server(all.copied().collect()).await;
    let resolver = Resolver::of_servers_alone(&[at], Rng::from_number(1)).unwrap();
    let domains: Vec<String> = match side {
        Side::Outside => vec!["example.test".into()],
        Side::Inside => Vec::new(),
    };
    let wants = wanted(&config, side, &domains);
    let view = look(&resolver, &wants).await;
    judge(&wants, side, &view)
}

fn short(findings: &[Finding]) -> Vec<(Grade, &str)> {
    findings
        .iter()
        .map(|f| (f.grade, f.name.as_str()))
        .collect()
}

#[tokio::test]
async fn a_dns_that_is_split_well_has_no_finding_from_either_side() {
    for (text, side, zone) in [
        (EDGE, Side::Outside, PUBLIC),
        (CORE, Side::Inside, OFFICE),
        (CORE, Side::Outside, PUBLIC),
    ] {
        let findings = found(text, side, zone, &[]).await;
        assert_eq!(findings, [], "{side:?}");
        assert_eq!(worst(&findings), None);
    }
}

#[tokio::test]
async fn an_inside_service_that_can_be_seen_outside_is_an_error_with_proof_and_fix() {
    let leaked: Zone = &[
        ("_cisco-uds._tcp.example.test", "8443 cucm1.corp.test"),
        ("_cuplogin._tcp.example.test", "8443 imp1.corp.test"),
    ];
    for text in [EDGE, CORE] {
        let findings = found(text, Side::Outside, PUBLIC, leaked).await;
        let want = [
            (Grade::Error, "_cisco-uds._tcp.example.test"),
            (Grade::Error, "_cuplogin._tcp.example.test"),
        ];
        assert_eq!(short(&findings), want);
        assert!(findings[0].cause.contains("never ask the edge"));
        assert!(
            findings[0]
                .proof
                .contains("SRV 10 10 8443 cucm1.corp.test.")
        );
        assert!(findings[0].fix.contains("take it out of public DNS"));
    }
}

#[tokio::test]
async fn each_mistake_outside_is_named() {
    use Grade::{Error, Unknown, Warning};
    let collab = "_collab-edge._tls.example.test";
    let table: [(Zone, Grade, &str, &str); 9] = [
        (
            &[("_collab-edge._tls.example.test", "")],
            Error,
            collab,
            "record is missing",
        ),
        (
            &[("_collab-edge._tls.example.test", "0 ")],
            Error,
            collab,
            "no such service",
        ),
        (
            &[("_collab-edge._tls.example.test", "!")],
            Unknown,
            collab,
            "cannot be told",
        ),
        (
            &[("_collab-edge._tls.example.test", "443 edge1.example.test")],
            Warning,
            collab,
            "no record leads to this edge",
        ),
        (
            &[("_sips._tcp.example.test", "")],
            Warning,
            "_sips._tcp.example.test",
            "record is missing",
        ),
        (
            &[("edge1.example.test", "")],
            Error,
            "edge1.example.test",
            "no address",
        ),
        (
            &[("edge1.example.test", "!")],
            Unknown,
            "edge1.example.test",
            "cannot be told",
        ),
        (
            &[("edge1.example.test", "192.168.1.1")],
            Warning,
            "edge1.example.test",
            "cannot be reached from the internet",
        ),
        (
            &[("_cuplogin._tcp.example.test", "!")],
            Unknown,
            "_cuplogin._tcp.example.test",
            "cannot be told",
        ),
    ];
    for (changed, grade, name, cause) in table {
        let findings = found(EDGE, Side::Outside, PUBLIC, changed).await;
        assert_eq!(short(&findings), [(grade, name)], "{changed:?}");
        assert!(findings[0].cause.contains(cause), "{}", findings[0].cause);
        let told = text(&findings);
        assert!(told.contains("  proof: ") && told.contains("  fix: "));
        assert_eq!(as_json(&findings)[0]["name"], name);
    }
    let odd: Zone = &[
        ("_sips._tcp.example.test", "5061 edge_1.example.test"),
        ("edge_1.example.test", "198.18.0.11"),
    ];
    let findings = found(EDGE, Side::Outside, PUBLIC, odd).await;
    assert_eq!(findings[0].grade, Error);
    assert!(
        findings[0].cause.contains("underscore"),
        "{}",
        findings[0].cause
    );
}

#[tokio::test]
async fn each_mistake_inside_is_named() {
    use Grade::{Error, Warning};
    let table: [(Zone, Grade, &str); 4] = [
        (
            &[("_cisco-uds._tcp.example.test", "")],
            Error,
            "_cisco-uds._tcp.example.test",
        ),
        (
            &[("_cuplogin._tcp.example.test", "")],
            Warning,
            "_cuplogin._tcp.example.test",
        ),
        (&[("cucm1.corp.test", "")], Error, "cucm1.corp.test"),
        (
            &[("_cisco-uds._tcp.example.test", "8443 cucm9.corp.test")],
            Error,
            "cucm9.corp.test",
        ),
    ];
    for (changed, grade, name) in table {
        let findings = found(CORE, Side::Inside, OFFICE, changed).await;
        assert_eq!(short(&findings), [(grade, name)], "{changed:?}");
    }
    // A warning for chat does not hide that the core needs the host.
    let changed: Zone = &[
        ("_cuplogin._tcp.example.test", "8443 chat.corp.test"),
        ("chat.corp.test", ""),
    ];
    let core =
        format!("{CORE}[[xmpp_server]]\ndomain = \"example.test\"\naddress = \"chat.corp.test\"\n");
    let findings = found(&core, Side::Inside, OFFICE, changed).await;
    assert_eq!(short(&findings), [(Error, "chat.corp.test")]);
    // Call control by a service of which DNS says that nobody offers it.
    let core = format!("{CORE}[[call_control]]\nname = \"pbx\"\naddress = \"pbx.corp.test\"\n");
    let none: Zone = &[("_sip._tcp.pbx.corp.test", "0 ")];
    let findings = found(&core, Side::Inside, OFFICE, none).await;
    assert_eq!(short(&findings), [(Error, "_sip._tcp.pbx.corp.test")]);
}

#[tokio::test]
async fn peers_of_zones_and_servers_of_the_allow_list_are_asked_for_by_name() {
    let more = "[[zones]]\nname = \"trunk\"\ntype = \"neighbor\"\ntransport = \"tcp\"\n\
        peers = [\"pbx.corp.test\", \"10.0.0.40\"]\n\
        [[allow_list]]\nhost = \"photos.corp.test\"\n[[allow_list]]\nhost = \"10.0.0.41\"\n";
    let text = format!("{CORE}{more}");
    let findings = found(&text, Side::Inside, OFFICE, &[]).await;
    let want = [
        (Grade::Error, "pbx.corp.test"),
        (Grade::Warning, "photos.corp.test"),
    ];
    assert_eq!(short(&findings), want);
    let there: Zone = &[
        ("pbx.corp.test", "10.0.0.40"),
        ("photos.corp.test", "10.0.0.41"),
    ];
    assert_eq!(found(&text, Side::Inside, OFFICE, there).await, []);
}

#[test]
fn only_addresses_of_the_internet_reach_it() {
    for (address, reaches) in [
        ("198.18.0.10", true),
        ("100.63.0.1", true),
        ("100.64.0.1", false),
        ("10.0.0.1", false),
        ("172.31.0.1", false),
        ("127.0.1.1", false),
        ("169.254.1.1", false),
        ("0.0.0.0", false),
        ("::ffff:192.168.1.1", false),
        ("2001:db8::1", true),
        ("fd00::1", false),
        ("fe80::1", false),
        ("::1", false),
        ("::", false),
    ] {
        let address: IpAddr = address.parse().unwrap();
        assert_eq!(reaches_internet(address), reaches, "{address}");
    }
}
