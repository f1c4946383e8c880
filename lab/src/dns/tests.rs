//! What each view tells, over UDP and TCP.

use hickory_proto::op::Query;
use tokio::net::TcpStream;

use super::*;
use crate::world::Size;

fn world() -> World {
    World::new(&Size {
        edges: 2,
        cores: 1,
        users: 10,
    })
}

fn query(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::query();
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    message.to_vec().unwrap()
}

fn ask(zone: &Zone, name: &str, kind: RecordType) -> Message {
    Message::from_vec(&zone.answer(&query(name, kind), 512).unwrap()).unwrap()
}

#[test]
fn outside_view_knows_the_edges_alone() {
    let (outside, inside) = (Zone::outside(&world()), Zone::inside(&world()));
    let services = ask(&outside, "_collab-edge._tls.example.test.", RecordType::SRV);
    assert_eq!(services.answers.len(), 2);
    for (name, kind) in [
        ("_cisco-uds._tcp.example.test.", RecordType::SRV),
        ("cucm1.example.test.", RecordType::A),
        ("core1.example.test.", RecordType::A),
    ] {
        let refused = ask(&outside, name, kind);
        assert_eq!(
            refused.metadata.response_code,
            ResponseCode::NXDomain,
            "{name}"
        );
        assert_eq!(
            refused.authorities.len(),
            1,
            "negative answers can be cached"
        );
        assert_eq!(ask(&inside, name, kind).answers.len(), 1, "{name}");
    }
}

#[test]
fn name_without_the_asked_type_is_empty_but_exists() {
    let zone = Zone::outside(&world());
    for name in [
        "edge1.example.test.",
        "_tls.example.test.",
        "EDGE1.Example.TEST.",
    ] {
        let answer = ask(&zone, name, RecordType::AAAA);
        assert_eq!(
            answer.metadata.response_code,
            ResponseCode::NoError,
            "{name}"
        );
        assert!(answer.answers.is_empty());
    }
    let other = ask(&zone, "example.com.", RecordType::A);
    assert_eq!(other.metadata.response_code, ResponseCode::Refused);
}

#[test]
fn bytes_that_are_no_query_get_no_answer() {
    let zone = Zone::outside(&world());
    for bytes in [&b""[..], b"\0", &[0xff; 40]] {
        assert!(zone.answer(bytes, 512).is_none());
    }
}

#[tokio::test]
async fn server_answers_over_udp_and_tcp() {
    let address = serve("127.0.0.1:0".parse().unwrap(), Zone::inside(&world()))
        .await
        .unwrap();
    let asked = query("cucm1.example.test.", RecordType::A);

    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    socket.send_to(&asked, address).await.unwrap();
    let mut buffer = [0; 512];
    let size = socket.recv(&mut buffer).await.unwrap();
    let by_udp = Message::from_vec(&buffer[..size]).unwrap();

    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_u16(asked.len() as u16).await.unwrap();
    stream.write_all(&asked).await.unwrap();
    let size = stream.read_u16().await.unwrap().into();
    stream.read_exact(&mut buffer[..size]).await.unwrap();
    let by_tcp = Message::from_vec(&buffer[..size]).unwrap();

    assert_eq!(by_udp.answers, by_tcp.answers);
    assert_eq!(
        by_udp.answers[0].data,
        RData::A(A("127.0.3.1".parse().unwrap()))
    );
}
