//! Calls: ports, streams, descriptions, and every way in which they end.

use super::*;

impl Bench {
    /// A call that a client began and the core answered: the INVITE as the core got it, and the
    /// answer as the client got it.
    pub(super) fn call_from_client(&mut self) -> (Message, Message) {
        let inside = self.invite_from_client(ConnId(1), OFFER);
        let sdp = from_core(attribute(&body(&inside), "x-causeway-stream").unwrap());
        self.reply_sdp(LANE, &inside, 200, "core", &sdp);
        let answer = self.take(ConnId(1));
        assert_eq!(answer.status(), 200);
        let ack = self.within("ACK", &answer, true, &routes(&answer), "");
        self.frame(ConnId(1), ack);
        assert_eq!(self.take(LANE).method(), Method::Ack);
        (inside, answer)
    }

    pub(super) fn invite_from_client(&mut self, conn: ConnId, sdp: &str) -> Message {
        let invite = self.request("INVITE", "sip:1002@example.test", "1001", "1002", "");
        let mut edit = invite.edit();
        if !sdp.is_empty() {
            edit.body("application/sdp", sdp);
        }
        self.frame(conn, edit.finish());
        assert_eq!(self.take(conn).status(), 100);
        self.take(LANE)
    }

    /// A call that the core began: the INVITE as the client got it, and the core's own.
    pub(super) fn invite_from_core(&mut self, path: &str, stream: &str) -> (Message, Message) {
        let fields = format!("Route: {path}\r\n");
        let invite = self.request("INVITE", "sip:a@10.0.0.1:4000", "1002", "1001", &fields);
        let invite = invite
            .edit()
            .body("application/sdp", from_core(stream))
            .finish();
        self.frame(LANE, invite.clone());
        assert_eq!(self.take(LANE).status(), 100);
        (self.take(ConnId(1)), invite)
    }

    fn call_to_client(&mut self) -> (Message, Message) {
        let path = Bench::path(&self.register(ConnId(1), "1001", PHONE));
        let (outside, _) = self.invite_from_core(&path, "80000001");
        self.reply_sdp(ConnId(1), &outside, 200, "client", OFFER);
        let answer = self.take(LANE);
        let ack = self.within("ACK", &answer, true, &routes(&answer), "");
        self.frame(LANE, ack);
        assert_eq!(self.take(ConnId(1)).method(), Method::Ack);
        (outside, answer)
    }

    fn history(&self) -> Vec<String> {
        self.edge
            .snapshot(self.now)
            .history
            .into_iter()
            .map(|c| c.cause)
            .collect()
    }
}

/// The route set of an answer, as the one who asked keeps it.
pub(super) fn routes(answer: &Message) -> Vec<String> {
    let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
    let mut all: Vec<String> = answer.values(Name::RecordRoute).map(text).collect();
    all.reverse();
    all
}

/// The legs that are open, by the media commands so far.
fn open(media: &[Command]) -> usize {
    let mut legs = std::collections::BTreeSet::new();
    for command in media {
        match command {
            Command::InstallEdge { leg, .. } => assert!(legs.insert(*leg), "twice: {leg:?}"),
            Command::UpdateEdge { leg, .. } => assert!(legs.contains(leg)),
            Command::Remove { leg } => assert!(legs.remove(leg)),
            _ => {}
        }
    }
    legs.len()
}

#[test]
fn a_clients_call_gets_a_port_and_a_stream_and_gives_both_back_with_its_bye() {
    let mut bench = Bench::registered();
    bench.media.clear();
    let (inside, answer) = bench.call_from_client();
    let offer = body(&inside);
    assert!(offer.contains("c=IN IP4 192.0.2.11\r\n") && offer.contains("m=audio 36000 "));
    assert!(offer.contains("o=- 1 1 IN IP4 192.0.2.11") && offer.contains("inline:k"));
    let Command::InstallEdge { edge, .. } = &bench.media[0] else {
        panic!("{:?}", bench.media)
    };
    let stream = format!("{:08x}", edge.stream.0);
    assert_eq!(
        attribute(&offer, "x-causeway-stream"),
        Some(stream.as_str())
    );
    assert!(edge.stream.0 >> 31 == 0);
    assert_eq!(edge.expected, ["198.51.100.7:5000".parse().unwrap()]);
    let told = body(&answer);
    assert!(
        told.contains("c=IN IP4 203.0.113.10\r\n") && !told.contains("x-causeway"),
        "{told}"
    );
    assert!(told.contains(&format!("m=audio {} ", edge.local.rtp.port())));
    assert_eq!((bench.media.len(), open(&bench.media)), (1, 1));
    let row = bench.edge.snapshot(bench.now).calls.remove(0);
    assert_eq!(row.components, ["proxy (CollaborationEdgeZone)"]);
    assert_eq!(row.content, "audio");
    assert_eq!(
        (row.from.expose().as_str(), row.media[0].kind.as_str()),
        ("sip:1001@example.test", "audio")
    );
    assert!(row.answered.is_some());

    bench.wait(10);
    let bye = bench.within("BYE", &answer, true, &routes(&answer), "");
    bench.frame(ConnId(1), bye);
    assert_eq!((bench.ports_in_use(), open(&bench.media)), (0, 0));
    let bye = bench.take(LANE);
    bench.reply(LANE, &bye, 200, "", &[]);
    assert_eq!(bench.take(ConnId(1)).status(), 200);
    // The last figures of the leg come after its end.
    let Some(Command::Remove { leg }) = bench.media.last() else {
        panic!()
    };
    let mut counters = media::Counters::default();
    counters.from_client.packets = 500;
    bench.input(Input::Media(media::Event::Counters {
        leg: *leg,
        counters,
        last: true,
    }));
    let row = bench.edge.snapshot(bench.now).history.remove(0);
    assert_eq!(
        (row.cause.as_str(), row.media[0].from_client),
        ("the client hung up", 500)
    );
    assert!(
        row.ended
            .is_some_and(|at| at.as_secs() == row.began.as_secs() + 10)
    );
    assert_eq!(bench.kinds(), [Kind::CallBegan, Kind::CallEnded]);
    assert!(bench.events.iter().all(hidden), "{:?}", bench.events);
}

#[test]
fn a_cores_call_keeps_the_cores_stream_and_ends_with_a_bye_that_nobody_answers() {
    let mut bench = Bench::registered();
    bench.media.clear();
    let (outside, answer) = bench.call_to_client();
    let told = body(&outside);
    assert!(
        told.contains("c=IN IP4 203.0.113.10") && !told.contains("x-causeway"),
        "{told}"
    );
    let answered = body(&answer);
    assert_eq!(attribute(&answered, "x-causeway-stream"), Some("80000001"));
    assert!(answered.contains("m=audio 36000 ") && !answered.contains("10.0.0.1"));
    let expected = bench.media.iter().rev().find_map(|c| match c {
        Command::UpdateEdge { edge, .. } => Some(edge.expected.clone()),
        _ => None,
    });
    assert_eq!(expected, Some(vec!["198.51.100.7:5000".parse().unwrap()]));

    let bye = bench.within("BYE", &answer, true, &routes(&answer), "");
    bench.frame(LANE, bye);
    assert_eq!(bench.take(ConnId(1)).method(), Method::Bye);
    assert_eq!((bench.ports_in_use(), open(&bench.media)), (0, 0));
    bench.wait(60);
    assert!(bench.edge.station.proxy.is_empty());
    assert_eq!(bench.history(), ["the core hung up"]);
}

#[test]
fn every_way_a_call_can_fail_frees_its_ports() {
    type Step = fn(&mut Bench, &Message);
    let table: [(&str, Step, &str); 6] = [
        (
            "refused",
            |b, inside| b.reply(LANE, inside, 486, "core", &[]),
            "answered 486",
        ),
        (
            "cancelled",
            |b, inside| {
                b.reply(LANE, inside, 180, "core", &[]);
                let ringing = b.take(ConnId(1));
                let via = ringing.header(Name::Via).unwrap();
                let text = format!(
                    "CANCEL sip:1002@example.test SIP/2.0\r\nVia: {}\r\nFrom: {}\r\n\
                     To: <sip:1002@example.test>\r\nCall-ID: {}\r\nCSeq: {} CANCEL\r\n\r\n",
                    String::from_utf8_lossy(via)
                        .split(";received")
                        .next()
                        .unwrap(),
                    String::from_utf8_lossy(ringing.header(Name::From).unwrap()),
                    String::from_utf8_lossy(ringing.call_id()),
                    ringing.cseq().unwrap().number,
                );
                let cancel = Message::parse(Bytes::from(text), &Limits::outside()).unwrap();
                b.frame(ConnId(1), cancel);
                assert_eq!(b.take(ConnId(1)).status(), 200);
                assert_eq!(b.take(LANE).method(), Method::Cancel);
                b.reply(LANE, inside, 487, "core", &[]);
            },
            "answered 487",
        ),
        ("never answered", |b, _| b.wait(200), "answered 408"),
        (
            "connection lost",
            |b, _| {
                b.disconnect(ConnId(1));
                b.wait(15);
            },
            "the client's connection was lost before it was answered",
        ),
        ("lane lost", |b, _| b.disconnect(LANE), "answered 500"),
        (
            "port taken",
            |b, _| {
                let leg = b.media.iter().find_map(|c| match c {
                    Command::InstallEdge { leg, .. } => Some(*leg),
                    _ => None,
                });
                let address = "192.0.2.10:36002".parse().unwrap();
                b.input(Input::Media(media::Event::BindFailed {
                    leg: leg.unwrap(),
                    address,
                }));
            },
            "a media port could not be opened",
        ),
    ];
    for (name, step, cause) in table {
        let mut bench = Bench::registered();
        bench.media.clear();
        let inside = bench.invite_from_client(ConnId(1), OFFER);
        assert_eq!(bench.ports_in_use(), 1);
        step(&mut bench, &inside);
        assert_eq!((bench.ports_in_use(), open(&bench.media)), (0, 0), "{name}");
        assert_eq!(bench.history(), [cause], "{name}");
        // It was never set up: what its offer had, which was one line of audio.
        let look = bench.edge.snapshot(bench.now);
        assert_eq!(look.history[0].content, "audio", "{name}");
    }
}

#[test]
fn a_call_to_a_client_that_never_answers_or_goes_away_frees_its_ports() {
    let mut bench = Bench::registered();
    let path = Bench::path(&bench.register(ConnId(1), "1001", PHONE));
    bench.invite_from_core(&path, "80000001");
    bench.disconnect(ConnId(1));
    assert_eq!(bench.ports_in_use(), 0);
    assert_eq!(bench.take(LANE).status(), 500);

    let mut bench = Bench::registered();
    let path = Bench::path(&bench.register(ConnId(1), "1001", PHONE));
    let (outside, _) = bench.invite_from_core(&path, "80000001");
    bench.reply(ConnId(1), &outside, 180, "client", &[]);
    // The lane that asked goes: the client is told, and its 487 has nobody to go to.
    bench.disconnect(LANE);
    bench.sent.retain(|(c, _)| *c == ConnId(1));
    assert_eq!(bench.take(ConnId(1)).method(), Method::Cancel);
    bench.reply(ConnId(1), &outside, 487, "client", &[]);
    assert_eq!(bench.ports_in_use(), 0);
    assert_eq!(bench.history(), ["who called was gone"]);
}

#[test]
fn a_client_that_vanishes_in_a_call_keeps_its_ports_for_a_minute() {
    let mut bench = Bench::registered();
    bench.call_from_client();
    bench.disconnect(ConnId(1));
    bench.wait(59);
    assert_eq!(bench.ports_in_use(), 1);
    bench.wait(1);
    assert_eq!(bench.ports_in_use(), 0);
}

/// The calls that the core's end of the control connection has heard to have lost their client.
fn lost(bench: &mut Bench) -> Vec<(String, String)> {
    let events = bench.dialer.as_mut().map(Dialer::take_events);
    let lost = events
        .into_iter()
        .flatten()
        .filter_map(|event| match event {
            traversal::Event::CallLost { call_id, tag } => Some((call_id, tag)),
            _ => None,
        });
    lost.collect()
}

#[test]
fn a_core_is_told_of_a_client_that_is_lost_in_a_call_once_it_can_be() {
    for away in [false, true] {
        let mut bench = Bench::registered();
        let (inside, _) = bench.call_from_client();
        bench.disconnect(ConnId(1));
        bench.wait(50);
        assert_eq!(lost(&mut bench), []);
        if away {
            bench.dialer = None;
            bench.input(Input::ControlDown {
                conn: CONTROL,
                why: "reset".into(),
            });
            bench.wait(15);
            assert_eq!(bench.ports_in_use(), 1);
            bench.link(ConnId(CONTROL.0 + 1), 0, "i1");
        }
        bench.wait(10);
        let text = |b: &[u8]| String::from_utf8_lossy(b).into_owned();
        let tag = text(inside.from().unwrap().tag().unwrap());
        assert_eq!(lost(&mut bench), [(text(inside.call_id()), tag)], "{away}");
        assert_eq!(bench.ports_in_use(), 0);
    }
}

#[test]
fn a_client_that_comes_back_has_its_call_and_its_dialogs_again() {
    let mut bench = Bench::registered();
    let (inside, answer) = bench.call_from_client();
    bench.disconnect(ConnId(1));
    bench.wait(20);
    bench.connect(ConnId(2));
    bench.register(ConnId(2), "1001", PHONE);
    assert!(bench.kinds().contains(&Kind::RegistrationMoved));
    bench.wait(110);
    assert_eq!(bench.ports_in_use(), 1);
    // The core's requests in the dialog still name the old flow.
    let route = String::from_utf8_lossy(inside.header(Name::RecordRoute).unwrap()).into_owned();
    let update = bench.within("UPDATE", &answer, false, std::slice::from_ref(&route), "");
    bench.frame(LANE, update);
    let outside = bench.take(ConnId(2));
    assert_eq!(outside.method(), Method::Update);
    bench.reply(ConnId(2), &outside, 200, "", &[]);
    bench.take(LANE);
    // And so do the client's.
    let bye = bench.within("BYE", &answer, true, &routes(&answer), "");
    bench.frame(ConnId(2), bye);
    assert_eq!(bench.take(LANE).method(), Method::Bye);
    assert_eq!(bench.ports_in_use(), 0);
}

#[test]
fn a_client_on_a_second_connection_leaves_the_first() {
    let mut bench = Bench::registered();
    let (inside, answer) = bench.call_from_client();
    bench.connect(ConnId(2));
    bench.register(ConnId(2), "1001", PHONE);
    assert_eq!(bench.closed, [ConnId(1)]);
    bench.disconnect(ConnId(1));
    bench.wait(100);
    assert_eq!(bench.ports_in_use(), 1);
    let route = String::from_utf8_lossy(inside.header(Name::RecordRoute).unwrap()).into_owned();
    let bye = bench.within("BYE", &answer, false, &[route], "");
    bench.frame(LANE, bye);
    assert_eq!(bench.take(ConnId(2)).method(), Method::Bye);
    assert_eq!(bench.edge.snapshot(bench.now).registrations.len(), 1);
}

#[test]
fn a_session_interval_bounds_a_call_of_which_nothing_is_heard() {
    let mut bench = Bench::registered();
    let inside = bench.invite_from_client(ConnId(1), OFFER);
    bench.reply(
        LANE,
        &inside,
        200,
        "core",
        &[(Name::SessionExpires, "1800;refresher=uac")],
    );
    let answer = bench.take(ConnId(1));
    for _ in 0..3 {
        bench.register(ConnId(1), "1001", PHONE);
        bench.wait(100);
    }
    let update = bench.within("UPDATE", &answer, true, &routes(&answer), "");
    bench.frame(ConnId(1), update);
    bench.wait(1860);
    assert_eq!(bench.ports_in_use(), 1);
    bench.wait(10);
    assert_eq!(bench.ports_in_use(), 0);
    assert_eq!(bench.history(), ["no sign of life in its session interval"]);
}

#[test]
fn hold_refused_and_new_m_lines_follow_the_descriptions() {
    let mut bench = Bench::registered();
    bench.media.clear();
    let (_, answer) = bench.call_from_client();
    let held = OFFER.replace("c=IN IP4 10.0.0.1", "c=IN IP4 0.0.0.0")
        + "a=sendonly\r\n"
        + "m=video 5002 RTP/SAVP 97\r\nm=application 5004 TCP/BFCP *\r\n";
    let reinvite = bench.within("INVITE", &answer, true, &routes(&answer), &held);
    bench.frame(ConnId(1), reinvite);
    assert_eq!(bench.take(ConnId(1)).status(), 100);
    let inside = bench.take(LANE);
    let offer = body(&inside);
    assert!(
        offer.contains("a=sendonly") && offer.contains("m=application 0 "),
        "{offer}"
    );
    assert_eq!(bench.ports_in_use(), 2);
    let Some(Command::UpdateEdge { edge, .. }) = bench
        .media
        .iter()
        .find(|c| matches!(c, Command::UpdateEdge { .. }))
    else {
        panic!("{:?}", bench.media)
    };
    assert!(edge.expected.is_empty());
    // The core refuses the video: its ports go at once.
    let stream = attribute(&offer, "x-causeway-stream").unwrap();
    let sdp = from_core(stream) + "m=video 0 RTP/SAVP 97\r\nm=application 0 TCP/BFCP *\r\n";
    bench.reply_sdp(LANE, &inside, 200, "core", &sdp);
    let told = body(&bench.take(ConnId(1)));
    assert!(told.contains("m=video 0 "), "{told}");
    assert_eq!((bench.ports_in_use(), open(&bench.media)), (1, 1));
    // A refused re-INVITE ends nothing.
    let reinvite = bench.within("INVITE", &answer, true, &routes(&answer), OFFER);
    bench.frame(ConnId(1), reinvite);
    bench.take(ConnId(1));
    let inside = bench.take(LANE);
    bench.reply(LANE, &inside, 488, "core", &[]);
    assert_eq!(bench.take(ConnId(1)).status(), 488);
    assert_eq!(bench.ports_in_use(), 1);
}

#[test]
fn floor_control_is_closed_towards_the_core_and_heard_where_media_was_verified() {
    let mut bench = Bench::registered();
    bench.media.clear();
    let slides = OFFER.to_owned()
        + "m=application 5004 UDP/BFCP *\r\na=floorctrl:c-s\r\na=confid:1\r\na=crypto:9 x\r\n";
    let inside = bench.invite_from_client(ConnId(1), &slides);
    let offer = body(&inside);
    let (audio, floor) = offer.split_at(offer.find("m=application").unwrap());
    assert!(
        floor.starts_with("m=application 36000 UDP/BFCP *\r\na=floorctrl:c-s\r\na=confid:1\r\n")
    );
    assert_eq!(floor.matches("a=crypto:").count(), 1, "{floor}");
    let legs: Vec<media::EdgeLeg> = installed(&bench.media);
    let ours = legs[1].datagrams.clone().unwrap();
    assert_eq!((ours.kind, ours.from), (media::Datagram::Bfcp, None));
    assert!(ours.protect.is_some() && ours.unprotect.is_none());
    let named = |part: &str| attribute(part, "x-causeway-stream").unwrap().to_owned();
    let sdp = from_core(&named(audio))
        + "m=application 36000 UDP/BFCP *\r\na=floorctrl:s\r\n\
           a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n"
        + &format!("a=x-causeway-stream:{}\r\n", named(floor));
    bench.reply_sdp(LANE, &inside, 200, "core", &sdp);
    let told = body(&bench.take(ConnId(1)));
    let at = told.find("m=application").unwrap();
    assert!(!told[at..].contains("crypto") && told[at..].contains("a=floorctrl:s\r\n"));
    assert!(told[..at].contains("a=crypto:"), "media keeps its key");
    // The core finds out where the client's audio comes from.
    let audio_leg = |c: &Command| match c {
        Command::InstallEdge { leg, .. } => Some(*leg),
        _ => None,
    };
    let leg = bench.media.iter().find_map(audio_leg).unwrap();
    bench.media.clear();
    let address: std::net::SocketAddr = "198.51.100.7:61000".parse().unwrap();
    bench.input(Input::Media(media::Event::Latched { leg, address }));
    let [Command::UpdateEdge { edge, .. }] = bench.media.as_slice() else {
        panic!("{:?}", bench.media)
    };
    let floor = edge.datagrams.clone().unwrap();
    assert_eq!(floor.from, Some(address.ip()));
    assert!(floor.unprotect.is_some());
}

/// The legs that were opened, in order.
fn installed(commands: &[Command]) -> Vec<media::EdgeLeg> {
    let of = |c: &Command| match c {
        Command::InstallEdge { edge, .. } => Some(edge.clone()),
        _ => None,
    };
    commands.iter().filter_map(of).collect()
}

#[test]
fn a_late_offer_is_named_by_the_edge_and_answered_in_the_ack() {
    let mut bench = Bench::registered();
    bench.media.clear();
    let path = Bench::path(&bench.register(ConnId(1), "1001", PHONE));
    let fields = format!("Route: {path}\r\n");
    let invite = bench.request("INVITE", "sip:a@10.0.0.1:4000", "1002", "1001", &fields);
    bench.frame(LANE, invite);
    bench.take(LANE);
    let outside = bench.take(ConnId(1));
    bench.reply_sdp(ConnId(1), &outside, 200, "client", OFFER);
    let answer = bench.take(LANE);
    let offered = body(&answer);
    let stream = attribute(&offered, "x-causeway-stream").unwrap();
    let ack = bench.within("ACK", &answer, true, &routes(&answer), &from_core(stream));
    bench.frame(LANE, ack);
    let told = body(&bench.take(ConnId(1)));
    assert!(
        told.contains("c=IN IP4 203.0.113.10") && !told.contains("x-causeway"),
        "{told}"
    );
    assert_eq!(open(&bench.media), 1);
}

#[test]
fn a_description_in_a_part_of_the_body_is_rewritten_in_place() {
    let mut bench = Bench::registered();
    let parts = format!(
        "--b\r\nContent-Type: application/x-cisco-remotecc-request+xml\r\n\r\n<x/>\r\n--b\r\n\
         Content-Type: application/sdp\r\n\r\n{OFFER}\r\n--b--\r\n"
    );
    let invite = bench.request("INVITE", "sip:1002@example.test", "1001", "1002", "");
    let invite = invite
        .edit()
        .body("multipart/mixed;boundary=b", parts)
        .finish();
    bench.frame(ConnId(1), invite);
    let inside = bench.take(LANE);
    let text = body(&inside);
    assert!(
        text.contains("<x/>") && text.contains("c=IN IP4 192.0.2.11"),
        "{text}"
    );
    assert!(text.contains("x-causeway-stream") && text.ends_with("--b--\r\n"));
}

#[test]
fn a_description_of_which_no_line_can_be_carried_is_refused_and_told() {
    let dtls =
        "m=audio 5000 UDP/TLS/RTP/SAVPF 0\r\na=fingerprint:sha-256 AA\r\na=setup:actpass\r\n";
    let head = "v=0\r\no=- 1 1 IN IP4 10.0.0.1\r\ns=-\r\nc=IN IP4 10.0.0.1\r\nt=0 0\r\n";
    let alone = format!("{head}{dtls}");
    let mut bench = Bench::registered();
    let invite = bench.request("INVITE", "sip:1002@example.test", "1001", "1002", "");
    let invite = invite.edit().body("application/sdp", &alone).finish();
    assert_eq!(bench.refused(ConnId(1), invite), 488);
    assert!(bench.kinds().contains(&Kind::NoCrypto));
    assert_eq!(bench.ports_in_use(), 0);
    // Beside another line it is only that line that is refused.
    let inside = bench.invite_from_client(ConnId(1), &format!("{OFFER}{dtls}"));
    assert!(body(&inside).contains("m=audio 0 UDP/TLS/RTP/SAVPF"));

    // An answer goes on without it, and the core ends the call in good order.
    let mut bench = Bench::registered();
    let path = Bench::path(&bench.register(ConnId(1), "1001", PHONE));
    let (outside, _) = bench.invite_from_core(&path, "80000001");
    bench.reply_sdp(ConnId(1), &outside, 200, "client", &alone);
    let answer = bench.take(LANE);
    assert_eq!((answer.status(), body(&answer).as_str()), (200, ""));
    assert!(bench.kinds().contains(&Kind::NoCrypto));
}

#[test]
fn ports_run_out_with_503_and_nothing_is_kept_of_the_call_that_found_none() {
    let mut bench = Bench::registered();
    for _ in 0..8 {
        bench.invite_from_client(ConnId(1), OFFER);
    }
    assert_eq!(bench.ports_in_use(), 8);
    let invite = bench.request("INVITE", "sip:1002@example.test", "1001", "1002", "");
    let invite = invite.edit().body("application/sdp", OFFER).finish();
    bench.frame(ConnId(1), invite);
    let answer = bench.take(ConnId(1));
    assert_eq!(answer.status(), 503);
    assert!(answer.header(Name::RetryAfter).is_some());
    assert_eq!(bench.edge.snapshot(bench.now).calls.len(), 8);
    assert!(bench.kinds().contains(&Kind::PortsExhausted));
}

#[test]
fn a_user_has_a_share_of_calls_and_ports_over_all_connections_and_another_source_has_its_own() {
    for (calls_per_user, media_ports_per_user) in [(2, 300), (100, 2)] {
        let mut config = (*config_with(None)).clone();
        if let config::Role::Edge(edge) = &mut config.role {
            edge.rates = config::Rates {
                calls_per_user,
                media_ports_per_user,
                ..edge.rates
            };
        }
        let mut bench = Bench::of(&Arc::new(config));
        bench.link(CONTROL, 0, "i1");
        bench.lane(LANE, 0);
        for (n, uuid) in [(1, "urn:uuid:1"), (2, "urn:uuid:2")] {
            bench.connect(ConnId(n));
            bench.register(ConnId(n), "1001", &PHONE.replace("urn:uuid:1", uuid));
            bench.invite_from_client(ConnId(n), OFFER);
        }
        let invite = bench.request("INVITE", "sip:1002@example.test", "1001", "1002", "");
        let invite = invite.edit().body("application/sdp", OFFER).finish();
        assert_eq!(bench.refused(ConnId(2), invite), 503);
        assert_eq!(
            (bench.ports_in_use(), bench.edge.calls.iter().count()),
            (2, 2)
        );
        let told = bench.events.iter().find(|e| e.kind == Kind::Flooded);
        assert!(
            told.unwrap()
                .cause
                .starts_with("sip: one user or source has")
        );
        // His calls over, there is room.
        bench.disconnect(ConnId(1));
        bench.wait(15);
        bench.sent.clear();
        bench.invite_from_client(ConnId(2), OFFER);
    }
}

#[test]
fn two_clients_of_one_edge_are_two_calls_under_one_call_id() {
    let mut bench = Bench::registered();
    bench.media.clear();
    bench.connect(ConnId(2));
    let path = Bench::path(&bench.register(ConnId(2), "1002", &PHONE.replace("uuid:1", "uuid:2")));
    let inside = bench.invite_from_client(ConnId(1), OFFER);
    // The core's second leg has the same Call-ID and a tag of its own.
    let id = String::from_utf8_lossy(inside.call_id()).into_owned();
    let second = bench.request(
        "INVITE",
        "sip:b@10.0.0.2",
        "1001",
        "1002",
        &format!("Route: {path}\r\n"),
    );
    let second = second
        .edit()
        .set(Name::CallId, &id)
        .body("application/sdp", from_core("80000009"))
        .finish();
    bench.frame(LANE, second);
    bench.take(LANE);
    let outside = bench.take(ConnId(2));
    assert_eq!(bench.ports_in_use(), 2);
    bench.reply_sdp(ConnId(2), &outside, 200, "b", OFFER);
    bench.take(LANE);
    let sdp = from_core(attribute(&body(&inside), "x-causeway-stream").unwrap());
    bench.reply_sdp(LANE, &inside, 200, "core", &sdp);
    let answer = bench.take(ConnId(1));
    let bye = bench.within("BYE", &answer, true, &routes(&answer), "");
    bench.frame(ConnId(1), bye);
    assert_eq!((bench.ports_in_use(), open(&bench.media)), (1, 1));
    assert_eq!(
        bench.edge.snapshot(bench.now).calls[0].to.expose(),
        "sip:1002@example.test"
    );
}

#[test]
fn a_client_that_sends_no_media_is_told_of_once_until_it_has_sent_some() {
    let mut bench = Bench::registered();
    bench.media.clear();
    bench.call_from_client();
    bench.events.clear();
    let Command::InstallEdge { leg, .. } = bench.media[0] else {
        panic!("{:?}", bench.media)
    };
    let since = Duration::from_secs(15);
    let silence = || Input::Media(media::Event::NoMedia { leg, since });
    for _ in 0..5 {
        bench.input(silence());
    }
    assert_eq!(bench.kinds(), [Kind::NoMedia]);
    let mut counters = media::Counters::default();
    for packets in [0, 1, 1] {
        counters.from_client.packets = packets;
        let last = false;
        bench.input(Input::Media(media::Event::Counters {
            leg,
            counters,
            last,
        }));
        bench.input(silence());
    }
    assert_eq!(bench.kinds(), [Kind::NoMedia, Kind::NoMedia]);
    assert!(bench.events.iter().all(hidden), "{:?}", bench.events);
}

#[test]
fn an_invite_that_is_asked_for_credentials_is_no_call() {
    for status in [401, 407] {
        let mut bench = Bench::registered();
        let inside = bench.invite_from_client(ConnId(1), OFFER);
        assert!(!bench.kinds().contains(&Kind::CallBegan));
        bench.reply(LANE, &inside, status, "core", &[]);
        assert_eq!(bench.ports_in_use(), 0);
        assert!(bench.history().is_empty());
        let calls = [Kind::CallBegan, Kind::CallEnded];
        assert!(!bench.kinds().iter().any(|k| calls.contains(k)));
    }
}

#[test]
fn a_call_is_told_of_once_it_rings() {
    let mut bench = Bench::registered();
    bench.events.clear();
    let inside = bench.invite_from_client(ConnId(1), OFFER);
    bench.reply(LANE, &inside, 180, "core", &[]);
    bench.reply(LANE, &inside, 183, "core", &[]);
    assert_eq!(bench.kinds(), [Kind::CallBegan]);
    bench.reply(LANE, &inside, 486, "core", &[]);
    assert_eq!(bench.kinds(), [Kind::CallBegan, Kind::CallEnded]);
}

#[test]
fn foreign_media_is_told_once_however_much_it_was() {
    let mut bench = Bench::registered();
    bench.events.clear();
    for leg in 0..3 {
        bench.input(Input::Media(media::Event::Counters {
            leg: media::LegId(base::Id::new(leg, 0)),
            counters: media::Counters {
                strangers: 40_000,
                ..media::Counters::default()
            },
            last: true,
        }));
    }
    assert_eq!(bench.kinds(), [Kind::MediaDropped]);
}

#[test]
fn a_call_that_began_on_another_edge_is_carried_from_its_next_offer_on() {
    for by_client in [true, false] {
        let mut bench = Bench::registered();
        let path = Bench::path(&bench.register(ConnId(1), "1001", PHONE));
        bench.cseq += 1;
        let (from, to) = (
            "<sip:1001@example.test>;tag=a",
            "<sip:1002@example.test>;tag=b",
        );
        let (from, to) = if by_client { (from, to) } else { (to, from) };
        let route = match by_client {
            // Of the edge that it has left.
            true => "<sip:AAAAAAAAAAAAAAAAAAAAAAAA@edge2.example.test;lr>".to_owned(),
            false => path,
        };
        let invite = |offer: &str| {
            let text = format!(
                "INVITE sip:x@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/TLS x:1;branch=z9hG4bKelse\r\n\
                 Max-Forwards: 70\r\nFrom: {from}\r\nTo: {to}\r\nCall-ID: elsewhere\r\n\
                 CSeq: 7 INVITE\r\nRoute: {route}\r\nContent-Type: application/sdp\r\n\
                 Content-Length: {}\r\n\r\n{offer}",
                offer.len()
            );
            Message::parse(Bytes::from(text), &Limits::outside()).unwrap()
        };
        let (near, far, offer, answer) = match by_client {
            true => (ConnId(1), LANE, OFFER.to_owned(), None),
            false => (LANE, ConnId(1), from_core("80000001"), Some(OFFER)),
        };
        // Refused, nothing of it is left.
        bench.frame(near, invite(&offer));
        assert_eq!(bench.take(near).status(), 100);
        let sent = bench.take(far);
        assert_eq!((sent.method(), bench.ports_in_use()), (Method::Invite, 1));
        assert!(sent.header(Name::Route).is_none(), "{sent:?}");
        bench.reply(far, &sent, 481, "", &[]);
        assert_eq!(bench.take(near).status(), 481);
        assert_eq!(bench.ports_in_use(), 0);
        // Taken, it is a call like any other.
        bench.sent.clear();
        let again = String::from_utf8_lossy(invite(&offer).bytes()).replace("Kelse", "Kmore");
        let again = Message::parse(Bytes::from(again), &Limits::outside()).unwrap();
        bench.frame(near, again);
        assert_eq!(bench.take(near).status(), 100);
        let sent = bench.take(far);
        let stream = attribute(&body(&sent), "x-causeway-stream").map(str::to_owned);
        let answer = answer.map_or_else(|| from_core(&stream.unwrap()), str::to_owned);
        bench.reply_sdp(far, &sent, 200, "", &answer);
        let ok = bench.take(near);
        assert_eq!((ok.status(), bench.ports_in_use()), (200, 1));
        let list = [route.clone()];
        let bye = bench.within("BYE", &ok, true, &list, "");
        bench.frame(near, bye);
        assert_eq!(bench.take(far).method(), Method::Bye);
        assert_eq!(bench.ports_in_use(), 0);
    }
}
