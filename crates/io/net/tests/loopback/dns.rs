//! The resolver against a DNS server on the loopback.

use std::net::SocketAddr;

use base::Rng;
use hickory_resolver::proto::op::{Message, MessageType, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, AAAA, CNAME, NAPTR, PTR, SRV};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use net::Error;
use net::dns::Resolver;
use net::dns::lookup::{Kind, Points};
use tokio::net::UdpSocket;

/// A DNS server with a few records; gives its address.
async fn server() -> SocketAddr {
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
            let srv = |port, target: &str| {
                RData::SRV(SRV::new(10, 5, port, Name::from_ascii(target).unwrap()))
            };
            let records = match (name.as_str(), asked.query_type()) {
                ("edge1.example.test.", RecordType::A) => {
                    vec![
                        RData::A(A::new(192, 0, 2, 10)),
                        RData::A(A::new(192, 0, 2, 11)),
                    ]
                }
                ("edge1.example.test.", RecordType::AAAA) => {
                    vec![RData::AAAA(AAAA::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 1))]
                }
                ("_cisco-uds._tcp.example.test.", RecordType::SRV) => {
                    vec![
                        srv(8443, "cucm1.example.test."),
                        srv(8444, "cucm2.example.test."),
                    ]
                }
                ("example.test.", RecordType::NAPTR) => {
                    let rule = |order, service: &str, replacement: &str| {
                        RData::NAPTR(NAPTR::new(
                            order,
                            60,
                            b"s".as_slice().into(),
                            service.as_bytes().into(),
                            Box::default(),
                            Name::from_ascii(replacement).unwrap(),
                        ))
                    };
                    vec![
                        rule(50, "SIPS+D2T", "_sips._tcp.example.test."),
                        rule(60, "E2U+sip", "."),
                    ]
                }
                ("www.example.test.", RecordType::A) => {
                    let at = Name::from_ascii("edge1.example.test.").unwrap();
                    let name = asked.name().clone();
                    let alias = RData::CNAME(CNAME(at.clone()));
                    answer.add_answer(Record::from_rdata(name, 60, alias));
                    let address = RData::A(A::new(192, 0, 2, 10));
                    answer.add_answer(Record::from_rdata(at, 60, address));
                    vec![]
                }
                ("10.2.0.192.in-addr.arpa.", RecordType::PTR) => {
                    let name = Name::from_ascii("edge1.example.test.").unwrap();
                    vec![RData::PTR(PTR(name))]
                }
                ("_none._tcp.example.test.", RecordType::SRV) => vec![srv(0, ".")],
                ("broken.example.test.", _) => {
                    answer.metadata.response_code = ResponseCode::ServFail;
                    vec![]
                }
                ("edge1.example.test.", _) => vec![],
                _ => {
                    answer.metadata.response_code = ResponseCode::NXDomain;
                    vec![]
                }
            };
            for data in records {
                answer.add_answer(Record::from_rdata(asked.name().clone(), 60, data));
            }
            socket
                .send_to(&answer.to_vec().unwrap(), from)
                .await
                .unwrap();
        }
    });
    address
}

#[tokio::test]
async fn names_and_services_are_found_or_told_apart() {
    let resolver = Resolver::new(&[server().await], Rng::from_number(1)).unwrap();
    let found = resolver.addresses("edge1.example.test").await.unwrap();
    let mut shown: Vec<String> = found.iter().map(ToString::to_string).collect();
    shown[..2].sort();
    assert_eq!(shown, ["192.0.2.10", "192.0.2.11", "2001:db8::1"]);

    let mut services = resolver
        .services("_cisco-uds._tcp.example.test")
        .await
        .unwrap();
    services.sort_by_key(|s| s.port);
    assert_eq!(services.len(), 2);
    assert_eq!(
        (services[0].port, services[0].target.as_str()),
        (8443, "cucm1.example.test")
    );

    assert_eq!(resolver.addresses("127.0.0.1").await.unwrap().len(), 1);
    assert_eq!(resolver.addresses("[::1]").await.unwrap().len(), 1);
    let declined = resolver.services("_none._tcp.example.test").await;
    assert_eq!(declined.unwrap(), [], "decidedly not offered");
    let rules = resolver.rules("example.test").await.unwrap();
    assert_eq!(rules.len(), 1, "one without a replacement is passed over");
    assert_eq!(
        (rules[0].order, rules[0].preference, rules[0].flags.as_str()),
        (50, 60, "s")
    );
    assert_eq!(rules[0].service, "SIPS+D2T");
    assert_eq!(rules[0].replacement, "_sips._tcp.example.test");
    let e = resolver.rules("edge1.example.test").await.unwrap_err();
    assert!(matches!(e, Error::NotFound { .. }), "{e}");
    for absent in ["_gone._tcp.example.test", "edge1.example.test"] {
        let e = resolver.services(absent).await.unwrap_err();
        assert!(matches!(e, Error::NotFound { .. }), "{absent}: {e}");
    }
    let e = resolver.addresses("gone.example.test").await.unwrap_err();
    assert!(matches!(e, Error::NotFound { .. }), "{e}");
    let e = resolver.addresses("broken.example.test").await.unwrap_err();
    assert!(matches!(e, Error::NoAnswer { .. }), "{e}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_no_answer() {
    let gone = {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.local_addr().unwrap()
    };
    let resolver = Resolver::new(&[gone], Rng::from_number(1)).unwrap();
    let e = resolver.addresses("edge1.example.test").await.unwrap_err();
    assert!(matches!(e, Error::NoAnswer { .. }), "{e}");
}

#[tokio::test]
async fn records_are_shown_as_they_stand_with_the_aliases_that_led_there() {
    let at = server().await;
    let resolver = Resolver::of_servers_alone(&[at], Rng::from_number(1)).unwrap();
    assert_eq!(resolver.servers(), [at]);
    let table = [
        (
            "edge1.example.test",
            Kind::A,
            vec!["A 192.0.2.10", "A 192.0.2.11"],
        ),
        ("edge1.example.test.", Kind::Aaaa, vec!["AAAA 2001:db8::1"]),
        (
            "www.example.test",
            Kind::A,
            vec!["CNAME edge1.example.test.", "A 192.0.2.10"],
        ),
        (
            "_cisco-uds._tcp.example.test",
            Kind::Srv,
            vec![
                "SRV 10 5 8443 cucm1.example.test.",
                "SRV 10 5 8444 cucm2.example.test.",
            ],
        ),
        ("192.0.2.10", Kind::Ptr, vec!["PTR edge1.example.test."]),
    ];
    for (name, kind, want) in table {
        let found = resolver.records(name, kind).await.unwrap();
        let shown: Vec<String> = found
            .iter()
            .map(|f| format!("{} {}", f.kind, f.data))
            .collect();
        assert_eq!(shown, want, "{name} {kind}");
        assert!(
            found
                .iter()
                .all(|f| f.ttl_s <= 60 && !f.name.ends_with('.'))
        );
    }
    let rules = resolver.records("example.test", Kind::Naptr).await.unwrap();
    assert_eq!(rules.len(), 2, "all of them, also without a replacement");
    let declined = resolver
        .records("_none._tcp.example.test", Kind::Srv)
        .await
        .unwrap();
    assert_eq!(declined[0].points, Points::Service(String::new(), 0));
    let absent = resolver
        .records("edge1.example.test", Kind::Srv)
        .await
        .unwrap_err();
    assert!(matches!(absent, Error::NotFound { .. }), "{absent}");
    let broken = resolver
        .records("broken.example.test", Kind::A)
        .await
        .unwrap_err();
    assert!(matches!(broken, Error::NoAnswer { .. }), "{broken}");
}
