//! REGISTERs that go from core to core.

use super::*;

#[test]
fn a_register_that_one_core_does_not_accept_goes_to_the_next_and_then_stays_there() {
    let mut bench = Bench::linked();
    bench.link(ConnId(2001), 1, "j1");
    bench.lane(ConnId(1001), 1);
    bench.wait(1);
    bench.connect(ConnId(1));
    // Nobody accepts it: it counts once.
    let request = bench.register_request(ConnId(1), "1001", PHONE);
    bench.frame(ConnId(1), request);
    for lane in [LANE, ConnId(1001)] {
        let inside = bench.take(lane);
        assert_eq!(inside.method(), Method::Register);
        bench.reply(lane, &inside, 401, "core", &[]);
    }
    assert!(
        bench
            .take(ConnId(1))
            .header(Name::WwwAuthenticate)
            .is_some()
    );
    let wrong = |bench: &Bench| {
        let kinds = bench.kinds();
        kinds
            .iter()
            .filter(|k| **k == Kind::WrongCredentials)
            .count()
    };
    assert_eq!((wrong(&bench), bench.edge.asking.len()), (1, 0));
    // The second one does.
    let request = bench.register_request(ConnId(1), "1001", PHONE);
    bench.frame(ConnId(1), request);
    let inside = bench.take(LANE);
    bench.reply(LANE, &inside, 401, "core", &[]);
    let inside = bench.take(ConnId(1001));
    assert_eq!(inside.values(Name::Path).count(), 1);
    bench.reply(
        ConnId(1001),
        &inside,
        200,
        "core",
        &[(Name::Expires, "120")],
    );
    assert_eq!(bench.take(ConnId(1)).status(), 200);
    assert_eq!((wrong(&bench), bench.edge.asking.len()), (1, 0));
    let message = bench.request("MESSAGE", "sip:1002@example.test", "1001", "1002", "");
    bench.frame(ConnId(1), message);
    assert_eq!(bench.take(ConnId(1001)).method(), Method::Message);
    // A challenge of call control is no core's opinion.
    let request = bench.register_request(ConnId(1), "1001", PHONE);
    bench.frame(ConnId(1), request);
    let inside = bench.take(ConnId(1001));
    let theirs = (
        Name::WwwAuthenticate,
        "Digest realm=\"ccmsipline\", nonce=\"n\"",
    );
    bench.reply(ConnId(1001), &inside, 401, "core", &[theirs]);
    assert_eq!(bench.take(ConnId(1)).status(), 401);
    // A client that goes while it is asked about leaves nothing.
    let request = bench.register_request(ConnId(1), "1001", PHONE);
    bench.frame(ConnId(1), request);
    let inside = bench.take(ConnId(1001));
    bench.reply(ConnId(1001), &inside, 401, "core", &[]);
    assert_eq!(bench.edge.asking.len(), 1);
    bench.disconnect(ConnId(1));
    assert!(bench.edge.asking.is_empty());
}

#[test]
fn registers_of_one_client_that_overlap_each_ask_each_core_once() {
    let mut bench = Bench::linked();
    bench.link(ConnId(2001), 1, "j1");
    bench.lane(ConnId(1001), 1);
    bench.wait(1);
    // Refused everywhere.
    bench.connect(ConnId(1));
    let first = bench.register_request(ConnId(1), "1001", PHONE);
    let again = bench.register_request(ConnId(1), "1001", PHONE);
    bench.frame(ConnId(1), first);
    bench.frame(ConnId(1), again);
    for lane in [LANE, LANE, ConnId(1001), ConnId(1001)] {
        asked_one(&mut bench, lane, 401);
    }
    for _ in 0..2 {
        assert_eq!(bench.take(ConnId(1)).status(), 401);
    }
    assert!(bench.sent.is_empty(), "{:?}", bench.story());
    assert!(bench.edge.asking.is_empty());
    bench.disconnect(ConnId(1));
    // Taken by the second core, whose answer to the one comes before the first core's to the other.
    bench.connect(ConnId(1));
    let first = bench.register_request(ConnId(1), "1001", PHONE);
    let again = bench.register_request(ConnId(1), "1001", PHONE);
    bench.frame(ConnId(1), first);
    bench.frame(ConnId(1), again);
    let (one, other) = (bench.take(LANE), bench.take(LANE));
    bench.reply(LANE, &one, 401, "core", &[]);
    asked_one(&mut bench, ConnId(1001), 200);
    bench.reply(LANE, &other, 401, "core", &[]);
    asked_one(&mut bench, ConnId(1001), 401);
    let got = [
        bench.take(ConnId(1)).status(),
        bench.take(ConnId(1)).status(),
    ];
    assert_eq!(got, [200, 401]);
    assert!(bench.sent.is_empty(), "{:?}", bench.story());
    // What it sends goes where it is registered.
    let message = bench.request("MESSAGE", "sip:1002@example.test", "1001", "1002", "");
    bench.frame(ConnId(1), message);
    assert_eq!(bench.take(ConnId(1001)).method(), Method::Message);
}

fn asked_one(bench: &mut Bench, lane: ConnId, status: u16) {
    let inside = bench.take(lane);
    bench.reply(lane, &inside, status, "core", &[(Name::Expires, "120")]);
}
