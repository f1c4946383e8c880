//! An edge whose media is in both address families.

use media::EdgeLeg;

use super::*;

const CLIENT_V6: &str = "[2001:db8:7::7]:40000";

const OFFER_V6: &str = "v=0\r\no=- 1 1 IN IP6 2001:db8:7::7\r\ns=-\r\nc=IN IP6 2001:db8:7::7\r\n\
    t=0 0\r\nm=audio 5000 RTP/SAVP 0\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:k\r\n";

/// What a client of a family is told.
const TOLD_V4: &str = "c=IN IP4 203.0.113.10\r\n";
const TOLD_V6: &str = "c=IN IP6 2001:db8::99\r\n";

/// An edge of both families with a core, and a client registered on connection 1.
fn bench(client: &str) -> Bench {
    let mut config = config();
    let Some(Role::Edge(edge)) = Arc::get_mut(&mut config).map(|c| &mut c.role) else {
        panic!("an edge's");
    };
    let of = |ip: &str| ip.parse().unwrap();
    edge.media.other = Some((of("2001:db8::10"), of("2001:db8::99")));
    let mut bench = Bench::of(&config);
    bench.link(CONTROL, 0, "i1");
    bench.lane(LANE, 0);
    bench.client(ConnId(1), client);
    bench.register(ConnId(1), "1001", PHONE);
    bench.media.clear();
    bench
}

impl Bench {
    fn client(&mut self, conn: ConnId, remote: &str) {
        let facts = facts(Side::Client, remote);
        self.input(Input::Connected { conn, facts });
    }

    /// A call of the client's that stands; the first leg, and the answer as the client got it.
    fn speaking(&mut self, offer: &str) -> (EdgeLeg, Message) {
        let inside = self.invite_from_client(ConnId(1), offer);
        let stream = attribute(&body(&inside), "x-causeway-stream").map(str::to_owned);
        self.reply_sdp(LANE, &inside, 200, "core", &from_core(&stream.unwrap()));
        let answer = self.take(ConnId(1));
        (self.leg(), answer)
    }

    /// The leg that was installed or changed last.
    fn leg(&self) -> EdgeLeg {
        let of = |c: &Command| match c {
            Command::InstallEdge { edge, .. } | Command::UpdateEdge { edge, .. } => {
                Some(edge.clone())
            }
            _ => None,
        };
        self.media.iter().rev().find_map(of).unwrap()
    }

    /// The client comes back on another connection and offers anew; what the core got.
    fn come_back(&mut self, remote: &str, answer: &Message, offer: &str) -> Message {
        self.disconnect(ConnId(1));
        self.client(ConnId(2), remote);
        self.register(ConnId(2), "1001", PHONE);
        let routes = super::calls::routes(answer);
        let reinvite = self.within("INVITE", answer, true, &routes, offer);
        self.frame(ConnId(2), reinvite);
        assert_eq!(self.take(ConnId(2)).status(), 100);
        self.take(LANE)
    }
}

fn is_v6(leg: &EdgeLeg) -> bool {
    assert_eq!(leg.local.rtp.is_ipv6(), leg.local.rtcp.is_ipv6());
    leg.local.rtp.is_ipv6()
}

#[test]
fn media_is_on_the_family_that_the_client_describes() {
    for (client, offer, told, expected) in [
        (CLIENT, OFFER, TOLD_V4, Some("198.51.100.7:5000")),
        (CLIENT_V6, OFFER_V6, TOLD_V6, Some("[2001:db8:7::7]:5000")),
        // The signalling says nothing of an address of the other family: the client speaks first.
        (CLIENT, OFFER_V6, TOLD_V6, None),
        (CLIENT_V6, OFFER, TOLD_V4, None),
    ] {
        let mut bench = bench(client);
        let (leg, answer) = bench.speaking(offer);
        let told_v6 = told == TOLD_V6;
        assert!(body(&answer).contains(told), "{}", body(&answer));
        assert!(!body(&answer).contains(if told_v6 { "IP4" } else { "IP6" }));
        assert_eq!(is_v6(&leg), told_v6);
        let expected: Vec<_> = expected.into_iter().map(|a| a.parse().unwrap()).collect();
        assert_eq!(leg.expected, expected);
        assert_eq!(bench.ports_in_use(), 1);
    }
}

#[test]
fn media_to_a_client_that_has_described_none_is_on_the_family_of_its_signalling() {
    for (client, told) in [(CLIENT, TOLD_V4), (CLIENT_V6, TOLD_V6)] {
        let mut bench = bench(client);
        let path = Bench::path(&bench.register(ConnId(1), "1001", PHONE));
        let (outside, _) = bench.invite_from_core(&path, "80000001");
        assert!(body(&outside).contains(told), "{}", body(&outside));
        assert_eq!(is_v6(&bench.leg()), told == TOLD_V6);
    }
}

#[test]
fn a_client_that_comes_back_on_the_other_family_has_its_media_there_under_the_same_name() {
    let mut bench = bench(CLIENT);
    let (before, answer) = bench.speaking(OFFER);
    bench.media.clear();
    let inside = bench.come_back(CLIENT_V6, &answer, OFFER_V6);
    // The core is told the same stream. Nothing has moved yet: it may refuse.
    let name = format!("{:08x}", before.stream.0);
    assert_eq!(
        attribute(&body(&inside), "x-causeway-stream"),
        Some(name.as_str())
    );
    assert!(bench.media.is_empty(), "{:?}", bench.media);
    bench.reply_sdp(LANE, &inside, 200, "core", &from_core(&name));
    let told = body(&bench.take(ConnId(2)));
    assert!(told.contains(TOLD_V6), "{told}");
    // The old leg is gone before the new one bears its name.
    let leg = bench.leg();
    assert!(is_v6(&leg) && !is_v6(&before));
    assert_eq!(leg.stream, before.stream);
    assert_eq!(leg.expected, ["[2001:db8:7::7]:5000".parse().unwrap()]);
    let kinds: Vec<bool> = bench
        .media
        .iter()
        .map(|c| matches!(c, Command::Remove { .. }))
        .collect();
    assert_eq!(kinds.iter().filter(|removed| **removed).count(), 1);
    assert!(kinds[0], "{:?}", bench.media);
    assert_eq!(bench.ports_in_use(), 1);
    // It ends with its ports, and its figures are those of both legs.
    let row = bench.edge.snapshot(bench.now).calls.remove(0);
    assert_eq!(row.media.len(), 2);
    let bye = bench.within("BYE", &answer, true, &super::calls::routes(&answer), "");
    bench.frame(ConnId(2), bye);
    bench.take(LANE);
    assert_eq!(bench.ports_in_use(), 0);
}

/// Legs that were opened or closed.
fn moves(bench: &Bench) -> usize {
    let moved = |c: &&Command| matches!(c, Command::Remove { .. } | Command::InstallEdge { .. });
    bench.media.iter().filter(moved).count()
}

#[test]
fn an_offer_on_the_other_family_that_is_refused_leaves_the_ports_of_before() {
    let mut bench = bench(CLIENT);
    let (before, answer) = bench.speaking(OFFER);
    bench.media.clear();
    let inside = bench.come_back(CLIENT_V6, &answer, OFFER_V6);
    let refused = inside.reply(488, "Not Acceptable Here", "core");
    bench.frame(LANE, refused.build());
    assert_eq!(bench.take(ConnId(2)).status(), 488);
    assert_eq!(bench.take(LANE).method(), Method::Ack);
    assert_eq!((moves(&bench), bench.ports_in_use()), (0, 1));
    // What it refused, the core offers: on the family that the client is on now.
    let routes = super::calls::routes(&answer);
    let back: Vec<String> = routes.into_iter().rev().collect();
    let name = format!("{:08x}", before.stream.0);
    let offer = from_core(&name);
    for (status, sdp) in [(491, ""), (200, OFFER_V6)] {
        let reinvite = bench.within("INVITE", &answer, false, &back, &offer);
        bench.frame(LANE, reinvite);
        assert_eq!(bench.take(LANE).status(), 100);
        let offered = bench.take(ConnId(2));
        assert!(body(&offered).contains(TOLD_V6), "{}", body(&offered));
        assert_eq!((moves(&bench), bench.ports_in_use()), (0, 2));
        match status {
            200 => bench.reply_sdp(ConnId(2), &offered, status, "client", sdp),
            _ => {
                let refused = offered.reply(status, "Request Pending", "client");
                bench.frame(ConnId(2), refused.build());
                assert_eq!(bench.take(ConnId(2)).method(), Method::Ack);
            }
        }
        assert_eq!(bench.take(LANE).status(), status);
        assert_eq!(bench.ports_in_use(), 1);
    }
    let leg = bench.leg();
    assert!(moves(&bench) == 2 && is_v6(&leg) && leg.stream == before.stream);
    assert_eq!(leg.expected, ["[2001:db8:7::7]:5000".parse().unwrap()]);
}

#[test]
fn a_call_that_ends_with_an_offer_under_way_gives_all_its_ports_back() {
    let mut bench = bench(CLIENT);
    let (_, answer) = bench.speaking(OFFER);
    bench.come_back(CLIENT_V6, &answer, OFFER_V6);
    assert_eq!(bench.ports_in_use(), 2);
    let bye = bench.within("BYE", &answer, true, &super::calls::routes(&answer), "");
    bench.frame(ConnId(2), bye);
    assert_eq!(bench.take(LANE).method(), Method::Bye);
    assert_eq!(bench.ports_in_use(), 0);
}

#[test]
fn an_answer_or_a_hold_of_old_moves_no_media_to_the_other_family() {
    let mut bench = bench(CLIENT_V6);
    let path = Bench::path(&bench.register(ConnId(1), "1001", PHONE));
    let (outside, _) = bench.invite_from_core(&path, "80000001");
    let leg = bench.leg();
    bench.media.clear();
    // It was told of a port already: to answer with the other family is the client's mistake.
    bench.reply_sdp(ConnId(1), &outside, 200, "client", OFFER);
    assert_eq!(bench.take(LANE).status(), 200);
    assert!(
        !bench
            .media
            .iter()
            .any(|c| matches!(c, Command::Remove { .. }))
    );
    assert!(is_v6(&leg));
    // A hold by the zero address (RFC 3264 §8.4) says nothing of a family.
    let mut bench = super::families::bench(CLIENT_V6);
    let (_, answer) = bench.speaking(OFFER_V6);
    bench.media.clear();
    let held = OFFER_V6.replace("c=IN IP6 2001:db8:7::7", "c=IN IP4 0.0.0.0");
    let routes = super::calls::routes(&answer);
    let reinvite = bench.within("INVITE", &answer, true, &routes, &held);
    bench.frame(ConnId(1), reinvite);
    bench.take(LANE);
    assert!(
        !bench
            .media
            .iter()
            .any(|c| matches!(c, Command::Remove { .. }))
    );
    assert!(is_v6(&bench.leg()) && bench.leg().expected.is_empty());
}

#[test]
fn an_edge_of_one_family_gives_its_ports_whatever_a_client_describes() {
    let mut bench = Bench::registered();
    bench.media.clear();
    let (leg, answer) = bench.speaking(OFFER_V6);
    assert!(!is_v6(&leg) && body(&answer).contains(TOLD_V4));
    assert_eq!(leg.expected, ["198.51.100.7:5000".parse().unwrap()]);
}
