//! Clients that have something to say before they registered here.

use super::*;

const URI: &str = "sip:1002@example.test";

/// The answer to a challenge of the edge's, as a field.
fn answered(challenge: &Message, method: &str) -> String {
    assert_eq!(challenge.status(), 407);
    let offered = challenge.header(Name::ProxyAuthenticate).unwrap();
    let offered = sip::digest::Challenge::parse(offered).unwrap();
    let answer = sip::digest::respond(&offered, "alice", "secret", method, URI, "c", 1);
    format!("Proxy-Authorization: {answer}\r\n")
}

/// A request with credentials, on a connection where nobody is registered.
fn shown(bench: &mut Bench, conn: ConnId, method: &str) -> Message {
    let bare = bench.request(method, URI, "1001", "1002", "");
    bench.frame(conn, bare);
    let fields = answered(&bench.take(conn), method);
    if method == "INVITE" {
        let fields = format!("{fields}Contact: <sip:a@10.0.0.1>\r\n");
        let bare = bench.request(method, URI, "1001", "1002", &fields);
        let mut edit = bare.edit();
        edit.body("application/sdp", OFFER);
        return edit.finish();
    }
    bench.request(method, URI, "1001", "1002", &fields)
}

#[test]
fn a_client_calls_by_an_edge_where_it_has_not_registered() {
    let mut bench = Bench::linked();
    bench.connect(ConnId(1));
    let invite = shown(&mut bench, ConnId(1), "INVITE");
    assert_eq!(bench.ports_in_use(), 0);
    bench.frame(ConnId(1), invite);
    assert_eq!(bench.take(ConnId(1)).status(), 100);
    let inside = bench.take(LANE);
    // Who it is, the core says.
    assert_eq!(inside.header(Name::PAssertedIdentity), None);
    assert!(inside.header(Name::ProxyAuthorization).is_some());
    assert!(inside.header(Name::RecordRoute).is_some());
    let sdp = from_core(attribute(&body(&inside), "x-causeway-stream").unwrap());
    bench.reply_sdp(LANE, &inside, 200, "core", &sdp);
    let answer = bench.take(ConnId(1));
    assert_eq!(answer.status(), 200);
    let recorded = answer.values(Name::RecordRoute);
    let recorded = recorded.map(|v| String::from_utf8_lossy(v).into_owned());
    let mut routes: Vec<String> = recorded.collect();
    routes.reverse();
    for method in ["ACK", "BYE"] {
        let request = bench.within(method, &answer, true, &routes, "");
        bench.frame(ConnId(1), request);
        assert_eq!(bench.take(LANE).method_bytes(), method.as_bytes());
    }
    assert!(!bench.kinds().contains(&Kind::RequestRefused));
}

#[test]
fn a_wrong_digest_outside_of_a_registration_counts_as_in_one() {
    let mut bench = Bench::linked();
    bench.connect(ConnId(1));
    for _ in 0..3 {
        let invite = shown(&mut bench, ConnId(1), "INVITE");
        bench.frame(ConnId(1), invite);
        assert_eq!(bench.take(ConnId(1)).status(), 100);
        let inside = bench.take(LANE);
        bench.reply(LANE, &inside, 407, "core", &[]);
        bench.sent.retain(|(conn, _)| *conn == ConnId(1));
        let again = bench.take(ConnId(1));
        assert!(again.header(Name::ProxyAuthenticate).is_some());
        assert_eq!(bench.ports_in_use(), 0);
    }
    let message = shown(&mut bench, ConnId(1), "MESSAGE");
    assert_eq!(bench.refused(ConnId(1), message), 403);
    assert!(bench.kinds().contains(&Kind::WrongCredentials));
    // Ten connections with wrong digests, and the source has to wait.
    for n in 2..=10 {
        bench.connect(ConnId(n));
        let message = shown(&mut bench, ConnId(n), "MESSAGE");
        bench.frame(ConnId(n), message);
        let inside = bench.take(LANE);
        bench.reply(LANE, &inside, 407, "core", &[]);
        assert_eq!(bench.take(ConnId(n)).status(), 407);
    }
    bench.connect(ConnId(11));
    let message = shown(&mut bench, ConnId(11), "MESSAGE");
    assert_eq!(bench.refused(ConnId(11), message), 503);
    assert!(bench.kinds().contains(&Kind::Banned));
}

#[test]
fn a_digest_outside_of_a_registration_is_shown_to_each_core() {
    let mut bench = Bench::linked();
    bench.link(ConnId(2001), 1, "j1");
    bench.lane(ConnId(1001), 1);
    bench.wait(1);
    bench.connect(ConnId(1));
    let invite = shown(&mut bench, ConnId(1), "INVITE");
    bench.frame(ConnId(1), invite);
    assert_eq!(bench.take(ConnId(1)).status(), 100);
    let inside = bench.take(LANE);
    bench.reply(LANE, &inside, 407, "core", &[]);
    assert_eq!(bench.take(LANE).method(), Method::Ack);
    let inside = bench.take(ConnId(1001));
    assert_eq!(inside.method(), Method::Invite);
    let sdp = from_core(attribute(&body(&inside), "x-causeway-stream").unwrap());
    bench.reply_sdp(ConnId(1001), &inside, 200, "core", &sdp);
    let last = bench.sent.pop_back().unwrap();
    assert_eq!((last.0, last.1.status()), (ConnId(1), 200));
    assert!(bench.edge.asking.is_empty());
    assert_eq!(bench.ports_in_use(), 1);
}
