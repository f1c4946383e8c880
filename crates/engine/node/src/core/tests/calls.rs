//! Calls across the core.

use ::media::Command;

use super::*;

const KEY: &str = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";

pub(super) fn sdp_edge(stream: &str) -> String {
    format!(
        "v=0\r\no=- 1 1 IN IP4 192.0.2.11\r\ns=-\r\nc=IN IP4 192.0.2.11\r\nt=0 0\r\n\
         m=audio 36000 RTP/SAVP 8\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY}\r\n\
         a=x-causeway-stream:{stream}\r\n"
    )
}

pub(super) const SDP_INSIDE: &str = "v=0\r\no=- 1 1 IN IP4 10.0.0.31\r\ns=-\r\n\
    c=IN IP4 10.0.0.31\r\nt=0 0\r\nm=audio 4000 RTP/AVP 8\r\n";

pub(super) fn with_body(head: &str, body: &str) -> String {
    format!(
        "{head}Content-Type: application/sdp\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
}

pub(super) fn invite_from_client(token: &str) -> String {
    let head = format!(
        "INVITE sip:1100@example.test SIP/2.0\r\n\
         Record-Route: <sip:{token}@edge1.example.test:5061;transport=tls;lr>\r\n\
         From: <sip:1001@example.test>;tag=c\r\nTo: <sip:1100@example.test>\r\nCall-ID: call1\r\n\
         CSeq: 1 INVITE\r\nMax-Forwards: 70\r\n\
         P-Asserted-Identity: <sip:1001@example.test>\r\n\
         Contact: <sip:1001@198.51.100.7:5555;transport=tls>\r\n"
    );
    with_body(&head, &sdp_edge("00000011"))
}

pub(super) fn invite_from_phone(path: &str) -> String {
    let head = format!(
        "INVITE sip:1001@198.51.100.7:5555;transport=tls SIP/2.0\r\nRoute: {path}\r\n\
         From: <sip:1100@example.test>;tag=p\r\nTo: <sip:1001@example.test>\r\nCall-ID: call2\r\n\
         CSeq: 1 INVITE\r\nMax-Forwards: 70\r\nContact: <sip:1100@10.0.0.31>\r\n"
    );
    with_body(&head, SDP_INSIDE)
}

/// The stream that an INVITE to an edge names.
pub(super) fn stream_of(sent: &Message) -> String {
    let body = text(Some(sent.body()));
    body.split("x-causeway-stream:").nth(1).unwrap()[..8].to_owned()
}

pub(super) fn answer(request: &Message, tag: &str, contact: &str, body: &str) -> Message {
    request
        .reply(200, "OK", tag)
        .header(Name::Contact, contact)
        .body("application/sdp", body)
        .build()
}

/// An ACK or BYE of who sent `invite`, answered by `ok`.
pub(super) fn follow(method: &str, invite: &Message, ok: &Message, cseq: u32) -> String {
    let routes: Vec<&[u8]> = ok.values(Name::RecordRoute).collect();
    let routes: String = routes
        .iter()
        .rev()
        .map(|r| format!("Route: {}\r\n", text(Some(r))))
        .collect();
    let contact = ok.contacts().next().unwrap().unwrap();
    let sip::Contact::Address(contact) = contact else {
        panic!()
    };
    format!(
        "{method} {} SIP/2.0\r\n{routes}From: {}\r\nTo: {}\r\nCall-ID: {}\r\n\
         CSeq: {cseq} {method}\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
        text(Some(contact.uri)),
        text(invite.header(Name::From)),
        text(ok.header(Name::To)),
        text(Some(invite.call_id())),
    )
}

impl World {
    /// The media workers say their last word about every leg that was removed.
    pub(super) fn media_ends(&mut self) {
        let removed: Vec<::media::LegId> = self
            .media
            .iter()
            .filter_map(|c| match c {
                Command::Remove { leg } => Some(*leg),
                _ => None,
            })
            .collect();
        self.media.clear();
        for leg in removed {
            let counters = ::media::Counters::default();
            self.give(Input::Media(::media::Event::Counters {
                leg,
                counters,
                last: true,
            }));
        }
    }

    pub(super) fn idle(&mut self) {
        self.wait(Duration::from_secs(70));
        let counts = self.core.b2bua.counts();
        assert_eq!(
            (counts.calls, counts.legs, counts.media, counts.transactions),
            (0, 0, 0, 0)
        );
        let look = self.core.snapshot(self.now);
        assert_eq!((look.calls.len(), look.counters.media_ports_in_use), (0, 0));
        assert!(self.core.starting.is_none() && self.core.parked.is_empty());
        assert!(self.core.called.is_empty());
    }
}

#[test]
fn a_client_calls_inside_and_hangs_up() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.registered("1001", "t1");
    let invite = world.ask(LANE, &invite_from_client("t1"));
    let inside = world.dialled("10.0.0.5");
    let sent = world.one(inside);
    assert_eq!(
        (sent.request_uri(), sent.call_id()),
        (&b"sip:1100@example.test"[..], &b"call1"[..])
    );
    assert_eq!(
        text(sent.header(Name::PAssertedIdentity)),
        "<sip:1001@example.test>"
    );
    let body = text(Some(sent.body()));
    assert!(
        body.contains("RTP/AVP 8") && body.contains("c=IN IP4 10.0.0.20"),
        "{body}"
    );
    assert!(
        !body.contains("crypto") && !body.contains("causeway"),
        "{body}"
    );
    assert_eq!(world.core.snapshot(world.now).calls.len(), 1);

    world.take(
        inside,
        answer(&sent, "p", "<sip:1100@10.0.0.31>", SDP_INSIDE),
    );
    let ok = world.one(LANE);
    let body = text(Some(ok.body()));
    assert!(
        body.contains("RTP/SAVP 8") && body.contains("x-causeway-stream:00000011"),
        "{body}"
    );
    world.ask(LANE, &follow("ACK", &invite, &ok, 1));
    assert_eq!(world.one(inside).method(), Method::Ack);
    world.ask(LANE, &follow("BYE", &invite, &ok, 2));
    let bye = world.one(inside);
    assert_eq!(bye.method(), Method::Bye);
    world.take(inside, bye.reply(200, "OK", "p").build());
    assert_eq!(world.one(LANE).status(), 200);
    world.media_ends();
    let look = world.core.snapshot(world.now);
    assert_eq!(
        (look.history.len(), look.history[0].cause.as_str()),
        (1, "the caller hung up")
    );
    assert_eq!(look.history[0].components.len(), 3);
    assert!(world.kinds().ends_with(&[Kind::CallBegan, Kind::CallEnded]));
    world.idle();
}

/// What a client's INVITE comes to whose first server says so; whether the second is asked.
fn refused_by_the_first(status: Option<u16>, rings: bool) -> (u16, bool) {
    let mut world = World::new(REGISTRAR, no_inside);
    world.registered("1001", "t1");
    let [first, second] = ["10.0.0.5", "10.0.0.6"].map(|host| world.dialled(host));
    world.ask(LANE, &invite_from_client("t1"));
    let sent = world.one(first);
    if rings {
        world.take(first, sent.reply(180, "Ringing", "p").build());
        assert_eq!(world.one(LANE).status(), 180);
    }
    match status {
        Some(status) => world.take(first, sent.reply(status, "No", "p").build()),
        None => world.give(Input::Disconnected {
            conn: first,
            why: "connection reset by peer".into(),
        }),
    }
    let mut next = world.out(second);
    next.retain(|m| m.is_request() && m.method() == Method::Invite);
    if let Some(next) = next.first() {
        assert_eq!(next.body().is_empty(), sent.body().is_empty());
        world.take(second, next.reply(486, "Busy Here", "q").build());
    }
    let status = world.one(LANE).status();
    let _ = (world.out(first), world.out(second));
    let began = world.events.iter().filter(|e| e.kind == Kind::CallBegan);
    assert_eq!(began.count(), 1);
    world.media_ends();
    world.idle();
    assert!(world.core.betweens.is_empty());
    (status, !next.is_empty())
}

#[test]
fn a_clients_call_goes_to_the_next_server_where_one_cannot_serve_and_has_not_rung() {
    assert_eq!(refused_by_the_first(Some(503), false), (486, true));
    assert_eq!(refused_by_the_first(None, false), (486, true));
    // Whom one server does not know, the others do not know either.
    assert_eq!(refused_by_the_first(Some(404), false), (404, false));
    assert_eq!(refused_by_the_first(Some(503), true), (503, false));
}

#[test]
fn a_call_is_its_users_and_no_neighbours_who_knows_its_tags() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.registered("1001", "t1");
    world.registered("1002", "t2");
    let invite = world.ask(LANE, &invite_from_client("t1"));
    let inside = world.dialled("10.0.0.5");
    let sent = world.one(inside);
    world.take(
        inside,
        answer(&sent, "p", "<sip:1100@10.0.0.31>", SDP_INSIDE),
    );
    let ok = world.one(LANE);
    world.ask(LANE, &follow("ACK", &invite, &ok, 1));
    let _ = world.one(inside);
    // An edge that has lost count of its calls asserts who sends it, and that is somebody else.
    let asserting = |method: &str, who: &str| {
        let identity = format!("P-Asserted-Identity: <sip:{who}@example.test>\r\nMax-Forwards");
        follow(method, &invite, &ok, 2).replace("Max-Forwards", &identity)
    };
    for method in ["BYE", "INFO", "UPDATE", "REFER"] {
        world.ask(LANE, &asserting(method, "1002"));
        assert_eq!(world.one(LANE).status(), 481, "{method}");
    }
    assert!(world.out(inside).is_empty());
    world.ask(LANE, &asserting("BYE", "1001"));
    let bye = world.one(inside);
    assert_eq!(bye.method(), Method::Bye);
    world.take(inside, bye.reply(200, "OK", "p").build());
    assert_eq!(world.one(LANE).status(), 200);
    world.media_ends();
    world.idle();
    assert!(world.core.owners.is_empty());
}

#[test]
fn a_client_is_called_and_the_phone_hangs_up() {
    let mut world = World::new(REGISTRAR, no_inside);
    let path = text(world.registered("1001", "t1").header(Name::Path));
    let inside = world.dialled("10.0.0.5");
    let invite = world.ask(inside, &invite_from_phone(&path));
    let sent = world.one(LANE);
    assert_eq!(
        sent.request_uri(),
        b"sip:1001@198.51.100.7:5555;transport=tls"
    );
    let route = text(sent.header(Name::Route));
    assert_eq!(route, "<sip:t1@edge1.example.test:5061;transport=tls;lr>");
    let body = text(Some(sent.body()));
    assert!(
        body.contains("RTP/SAVP 8") && body.contains("a=crypto:1 "),
        "{body}"
    );
    let stream = stream_of(&sent);
    let contact = "<sip:1001@198.51.100.7:5555;transport=tls>";
    world.take(LANE, answer(&sent, "c", contact, &sdp_edge(&stream)));
    let ok = world.one(inside);
    world.ask(inside, &follow("ACK", &invite, &ok, 1));
    assert_eq!(world.one(LANE).method(), Method::Ack);
    world.ask(inside, &follow("BYE", &invite, &ok, 2));
    let bye = world.one(LANE);
    world.take(LANE, bye.reply(200, "OK", "c").build());
    assert_eq!(world.one(inside).status(), 200);
    world.media_ends();
    world.idle();
}

#[test]
fn a_call_survives_its_lane_and_ends_with_its_link() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.registered("1001", "t1");
    let invite = world.ask(LANE, &invite_from_client("t1"));
    let inside = world.dialled("10.0.0.5");
    let sent = world.one(inside);
    world.take(
        inside,
        answer(&sent, "p", "<sip:1100@10.0.0.31>", SDP_INSIDE),
    );
    let ok = world.one(LANE);
    world.ask(LANE, &follow("ACK", &invite, &ok, 1));
    let _ = world.one(inside);
    // Another lane takes over.
    let other = ConnId(3);
    world.connect(other, Side::Lane { peer: 0 }, "192.0.2.11:7001");
    let options = world.one(other);
    world.take(other, options.reply(200, "OK", "e").build());
    world.give(Input::Disconnected {
        conn: LANE,
        why: "reset".into(),
    });
    world.ask(other, &follow("BYE", &invite, &ok, 2));
    let bye = world.one(inside);
    world.take(inside, bye.reply(200, "OK", "p").build());
    assert_eq!(world.one(other).status(), 200);
    world.media_ends();

    // Another call, and the link goes for good.
    world.ask(other, &invite_from_client("t1").replace("call1", "call3"));
    let sent = world.one(inside);
    world.take(
        inside,
        answer(&sent, "q", "<sip:1100@10.0.0.31>", SDP_INSIDE),
    );
    let ok = world.one(other);
    world.ask(
        other,
        &follow("ACK", &invite, &ok, 1).replace("call1", "call3"),
    );
    let _ = world.one(inside);
    world.acceptor = None;
    world.give(Input::ControlDown {
        conn: CONTROL,
        why: "reset".into(),
    });
    world.wait(Duration::from_secs(29));
    assert_eq!(
        world.core.snapshot(world.now).calls.len(),
        1,
        "the link may come back"
    );
    world.wait(Duration::from_secs(2));
    assert_eq!(world.one(inside).method(), Method::Bye);
    world.media_ends();
    world.idle();
}

/// Has the edge say that the client of a call is lost.
fn lost(world: &mut World, call_id: &str, tag: &str) {
    world.give(Input::Control {
        conn: CONTROL,
        message: traversal::Message::CallLost {
            call_id: call_id.into(),
            tag: tag.into(),
        },
    });
}

#[test]
fn a_call_whose_client_is_lost_ends_inside_with_the_reason() {
    let mut world = World::new(REGISTRAR, no_inside);
    let path = text(world.registered("1001", "t1").header(Name::Path));
    let inside = world.dialled("10.0.0.5");
    // The client calls.
    let invite = world.ask(LANE, &invite_from_client("t1"));
    let sent = world.one(inside);
    world.take(
        inside,
        answer(&sent, "p", "<sip:1100@10.0.0.31>", SDP_INSIDE),
    );
    let ok = world.one(LANE);
    world.ask(LANE, &follow("ACK", &invite, &ok, 1));
    let _ = world.one(inside);
    lost(&mut world, "call1", "another");
    lost(&mut world, "another", "c");
    assert!(world.out(inside).is_empty());
    lost(&mut world, "call1", "c");
    let bye = world.one(inside);
    assert_eq!(bye.method(), Method::Bye);
    assert_eq!(
        text(bye.header(Name::Reason)),
        "SIP;cause=480;text=\"Client Lost\""
    );
    world.take(inside, bye.reply(200, "OK", "p").build());
    let bye = world.one(LANE);
    world.take(LANE, bye.reply(430, "Flow Failed", "").build());
    world.media_ends();
    assert_eq!(
        world.core.snapshot(world.now).history[0].cause,
        "the core: the client was lost and did not come back"
    );
    // The client is called.
    let invite = world.ask(inside, &invite_from_phone(&path));
    let sent = world.one(LANE);
    let stream = sdp_edge(&stream_of(&sent));
    world.take(
        LANE,
        answer(&sent, "c", "<sip:1001@198.51.100.7:5555>", &stream),
    );
    let ok = world.one(inside);
    world.ask(inside, &follow("ACK", &invite, &ok, 1));
    let _ = world.one(LANE);
    let tag = text(sent.from().unwrap().tag());
    lost(&mut world, "call2", &tag);
    assert_eq!(world.one(inside).method(), Method::Bye);
    // It is heard twice at worst.
    lost(&mut world, "call2", &tag);
    assert!(world.out(inside).is_empty());
}

#[test]
fn an_edge_that_was_restarted_ends_its_calls() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.registered("1001", "t1");
    let invite = world.ask(LANE, &invite_from_client("t1"));
    let inside = world.dialled("10.0.0.5");
    let sent = world.one(inside);
    world.take(
        inside,
        answer(&sent, "p", "<sip:1100@10.0.0.31>", SDP_INSIDE),
    );
    let ok = world.one(LANE);
    world.ask(LANE, &follow("ACK", &invite, &ok, 1));
    let _ = world.one(inside);
    world.give(Input::ControlDown {
        conn: CONTROL,
        why: "reset".into(),
    });
    world.give(Input::Disconnected {
        conn: LANE,
        why: "reset".into(),
    });
    world.link("i2");
    assert_eq!(world.one(inside).method(), Method::Bye);
    assert!(world.core.snapshot(world.now).calls.is_empty());
}

#[test]
fn a_call_to_nobody_there_is_refused() {
    let mut world = World::new(REGISTRAR, no_inside);
    let path = text(world.registered("1001", "t1").header(Name::Path));
    let inside = world.dialled("10.0.0.5");
    world.ask(
        inside,
        &invite_from_phone("<sip:AAAAAAAAAAAAAAAAAAAAAAAA@10.0.0.20;lr>"),
    );
    assert_eq!(world.one(inside).status(), 404);
    world.give(Input::Disconnected {
        conn: LANE,
        why: "reset".into(),
    });
    world.ask(inside, &invite_from_phone(&path));
    assert_eq!(world.one(inside).status(), 480);
}

#[test]
fn an_unencrypted_offer_is_refused_and_says_why() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.registered("1001", "t1");
    let plain = invite_from_client("t1")
        .replace("RTP/SAVP", "RTP/AVP ")
        .replace(
            "a=crypto:1 AES_CM_128_HMAC_SHA1_80",
            "a=nothing:1 AES_CM_128_HMAC_SHA1_80",
        );
    world.ask(LANE, &plain);
    let reply = world.one(LANE);
    assert_eq!(reply.status(), 488);
    assert!(reply.header(Name::Warning).is_some());
    assert!(world.kinds().contains(&Kind::NoCrypto));
    world.idle();
}

#[test]
fn a_call_that_waits_for_call_control_can_be_taken_back() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.registered("1001", "t1");
    world.slow = vec!["10.0.0.5", "10.0.0.6"];
    for host in ["10.0.0.5", "10.0.0.6"] {
        let conn = world.dialled(host);
        world.give(Input::Disconnected {
            conn,
            why: "idle".into(),
        });
    }
    world.wait(Duration::from_millis(2));
    let invite = world.ask(LANE, &invite_from_client("t1"));
    assert!(world.out(LANE).iter().all(|m| m.status() == 100) && world.core.parked.len() == 1);
    let cancel = format!(
        "CANCEL sip:1100@example.test SIP/2.0\r\nVia: {}\r\n\
         From: <sip:1001@example.test>;tag=c\r\nTo: <sip:1100@example.test>\r\nCall-ID: call1\r\n\
         CSeq: 1 CANCEL\r\nContent-Length: 0\r\n\r\n",
        text(invite.header(Name::Via)),
    );
    world.take(LANE, message(&cancel));
    let statuses: Vec<u16> = world.out(LANE).iter().map(Message::status).collect();
    assert!(
        statuses.contains(&200) && statuses.contains(&487),
        "{statuses:?}"
    );
    assert!(world.core.parked.is_empty());
}

#[test]
fn a_port_that_cannot_be_bound_ends_the_call() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.registered("1001", "t1");
    world.ask(LANE, &invite_from_client("t1"));
    let inside = world.dialled("10.0.0.5");
    let _ = world.one(inside);
    let leg = world.media.iter().find_map(|c| match c {
        Command::InstallCore { leg, .. } => Some(*leg),
        _ => None,
    });
    let address = "10.0.0.20:40000".parse().unwrap();
    let event = ::media::Event::BindFailed {
        leg: leg.unwrap(),
        address,
    };
    world.give(Input::Media(event));
    assert_eq!(world.one(LANE).status(), 503);
    assert!(world.kinds().contains(&Kind::PortTaken));
}

#[test]
fn a_client_is_called_although_the_core_was_restarted() {
    let mut world = World::new(REGISTRAR, no_inside);
    let path = text(world.registered("1001", "t1").header(Name::Path));
    let mut world = World::new(REGISTRAR, no_inside);
    world.core.registrar = Registrar::new(&Secret::new([7; 32]), &mut Rng::from_number(99));
    let inside = world.dialled("10.0.0.5");
    world.ask(inside, &invite_from_phone(&path));
    let sent = world.one(LANE);
    assert_eq!(
        sent.request_uri(),
        b"sip:1001@198.51.100.7:5555;transport=tls"
    );
    assert_eq!(
        text(sent.header(Name::Route)),
        "<sip:t1@edge1.example.test;transport=tls;lr>"
    );
    // That a call came for it makes nobody of the flow.
    world.ask(LANE, &invite_from_client("t1"));
    let statuses: Vec<u16> = world.out(LANE).iter().map(Message::status).collect();
    assert_eq!(statuses, [407]);
}

#[test]
fn a_call_that_is_busy_away_or_cancelled_is_no_failure_and_one_that_breaks_is() {
    for (status, kind) in [
        (404, Kind::CallUnanswered),
        (480, Kind::CallUnanswered),
        (486, Kind::CallUnanswered),
        (603, Kind::CallUnanswered),
        (403, Kind::CallFailed),
        (500, Kind::CallFailed),
    ] {
        let mut world = World::new(REGISTRAR, no_inside);
        world.registered("1001", "t1");
        world.ask(LANE, &invite_from_client("t1"));
        let inside = world.dialled("10.0.0.5");
        let sent = world.one(inside);
        world.take(inside, sent.reply(status, "Any", "p").build());
        let told = world.kinds();
        assert!(told.contains(&kind), "{status}: {told:?}");
    }
}

#[test]
fn a_call_to_a_flow_that_is_gone_ends_the_registration() {
    let mut world = World::new(REGISTRAR, no_inside);
    let path = text(world.registered("1001", "t1").header(Name::Path));
    let inside = world.dialled("10.0.0.5");
    world.ask(inside, &invite_from_phone(&path));
    let sent = world.one(LANE);
    world.take(LANE, sent.reply(430, "Flow Failed", "e").build());
    assert_eq!(world.one(LANE).method(), Method::Ack);
    assert_eq!(world.one(inside).status(), 480);
    assert!(world.core.registrar.is_empty());
    world.media_ends();
}

#[test]
fn a_call_to_a_flow_that_is_gone_spares_a_device_that_is_moving_to_another() {
    for confirmed_first in [true, false] {
        let mut world = World::new(REGISTRAR, no_inside);
        let path = text(world.registered("1001", "t1").header(Name::Path));
        let inside = world.dialled("10.0.0.5");
        world.ask(inside, &invite_from_phone(&path));
        let sent = world.one(LANE);
        let contact = "Contact: <sip:1001@198.51.100.7:5555;transport=tls>\r\nExpires: 600\r\n";
        world.register("1001", "pw", "t2", contact);
        let request = world.out(inside).pop().unwrap();
        let granted = request
            .reply(200, "OK", "k")
            .header(Name::Contact, request.header(Name::Contact).unwrap())
            .header(Name::Expires, "600")
            .build();
        let failed = sent.reply(430, "Flow Failed", "e").build();
        if confirmed_first {
            world.take(inside, granted);
            world.take(LANE, failed);
        } else {
            world.take(LANE, failed);
            world.take(inside, granted);
        }
        let (_, _) = (world.out(LANE), world.out(inside));
        world.ask(inside, &invite_from_phone(&path).replace("call2", "call3"));
        let route = text(world.one(LANE).header(Name::Route));
        assert_eq!(route, "<sip:t2@edge1.example.test:5061;transport=tls;lr>");
        assert_eq!(world.core.snapshot(world.now).registrations.len(), 1);
    }
}

#[test]
fn a_session_that_would_be_refreshed_all_the_time_is_refused() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.registered("1001", "t1");
    let short = "Supported: timer\r\nSession-Expires: 5\r\nMax-Forwards: 70\r\n";
    let invite = invite_from_client("t1").replacen("Max-Forwards: 70\r\n", short, 1);
    world.ask(LANE, &invite);
    let sent = world.out(LANE);
    let last = sent.last().unwrap();
    assert_eq!(last.status(), 422);
    assert_eq!(last.header(Name::MinSe), Some(&b"90"[..]));
}

#[test]
fn a_session_of_call_controls_that_would_be_refreshed_all_the_time_is_refused() {
    let mut world = World::new(REGISTRAR, no_inside);
    let path = text(world.registered("1001", "t1").header(Name::Path));
    let inside = world.dialled("10.0.0.5");
    let short = "Supported: timer\r\nSession-Expires: 89\r\nMax-Forwards: 70\r\n";
    let invite = invite_from_phone(&path).replacen("Max-Forwards: 70\r\n", short, 1);
    world.ask(inside, &invite);
    let sent = world.out(inside);
    let last = sent.last().unwrap();
    assert_eq!(last.status(), 422);
    assert_eq!(last.header(Name::MinSe), Some(&b"90"[..]));
    assert!(world.out(LANE).is_empty());
}

#[test]
fn the_interval_that_calls_are_asked_for_is_the_settings() {
    let config = format!("{REGISTRAR}[calls]\nsession_interval_s = 700\n");
    let mut world = World::new(&config, no_inside);
    world.registered("1001", "t1");
    world.ask(LANE, &invite_from_client("t1"));
    let sent = world.one(world.dialled("10.0.0.5"));
    assert_eq!(text(sent.header(Name::SessionExpires)), "700");
    assert_eq!(text(sent.header(Name::Supported)), "timer");
}

#[test]
fn a_silent_call_whose_client_is_gone_ends() {
    let mut world = World::new(REGISTRAR, no_inside);
    world.registered("1001", "t1");
    let invite = world.ask(LANE, &invite_from_client("t1"));
    let inside = world.dialled("10.0.0.5");
    let sent = world.one(inside);
    world.take(
        inside,
        answer(&sent, "p", "<sip:1100@10.0.0.31>", SDP_INSIDE),
    );
    let ok = world.one(LANE);
    world.ask(LANE, &follow("ACK", &invite, &ok, 1));
    let _ = world.one(inside);
    let leg = world.media.iter().find_map(|c| match c {
        Command::InstallCore { leg, .. } => Some(*leg),
        _ => None,
    });
    let silence = ::media::Event::NoMedia {
        leg: leg.unwrap(),
        since: Duration::from_secs(10),
    };
    for _ in 0..12 {
        world.give(Input::Media(silence.clone()));
        world.wait(Duration::from_secs(4));
        assert!(world.sent.is_empty(), "{:?}", world.sent);
    }
    let told = world
        .kinds()
        .iter()
        .filter(|k| **k == Kind::NoMedia)
        .count();
    assert_eq!(told, 1, "a silence is told once");
    world.wait(Duration::from_secs(20));
    let (to_client, to_phone) = (world.one(LANE), world.one(inside));
    assert_eq!(
        (to_client.method(), to_phone.method()),
        (Method::Options, Method::Options)
    );
    world.take(inside, to_phone.reply(200, "OK", "").build());
    assert_eq!(world.core.snapshot(world.now).calls.len(), 1);
    world.take(LANE, to_client.reply(430, "Flow Failed", "").build());
    assert!(world.out(inside).is_empty(), "it may be moving");
    world.wait(Duration::from_secs(40));
    let to_client = world.one(LANE);
    assert_eq!(to_client.method(), Method::Options);
    world.take(LANE, to_client.reply(430, "Flow Failed", "").build());
    assert_eq!(world.one(inside).method(), Method::Bye);
    // A report of silence that crosses the end of its call leaves no row behind.
    world.give(Input::Media(silence));
    world.media_ends();
    assert_eq!(
        world.core.snapshot(world.now).history[0].cause,
        "the core: answered 430"
    );
    assert!(world.core.silences.is_empty());
}

#[test]
fn nothing_that_only_a_trusted_node_may_say_comes_in_from_an_edge() {
    let mut world = World::new(REGISTRAR, no_inside);
    let path = text(world.registered("1001", "t1").header(Name::Path));
    let lies = "Remote-Party-ID: <sip:ceo@example.test>\r\nDiversion: <sip:x@y>\r\n";
    let invite = invite_from_client("t1").replace("Max-Forwards", &format!("{lies}Max-Forwards"));
    world.ask(LANE, &invite);
    let inside = world.dialled("10.0.0.5");
    let sent = world.one(inside);
    assert!(sent.header(Name::RemotePartyId).is_none() && sent.header(Name::Diversion).is_none());
    assert_eq!(
        text(sent.header(Name::PAssertedIdentity)),
        "<sip:1001@example.test>"
    );
    let _ = world.out(LANE);
    world.ask(inside, &invite_from_phone(&path));
    let sent = world.one(LANE);
    let lie = "<sip:ceo@example.test>";
    let ringing = sent
        .reply(180, "Ringing", "c")
        .header(Name::PAssertedIdentity, lie)
        .header(Name::RemotePartyId, lie)
        .header(Name::Contact, "<sip:1001@198.51.100.7:5555;transport=tls>")
        .build();
    world.take(LANE, ringing);
    let heard = world.one(inside);
    assert_eq!(heard.status(), 180);
    assert!(heard.header(Name::PAssertedIdentity).is_none());
    assert!(heard.header(Name::RemotePartyId).is_none());
}

#[test]
fn candidates_go_where_the_zone_of_the_client_wants_them() {
    let candidate = "a=candidate:1 1 UDP 2130706431 198.51.100.7 5000 typ host\r\n";
    for (word, passed) in [("remove", false), ("inward", true), ("pass", true)] {
        let zone = format!("address = \"10.0.0.5:5060\"\nice = \"{word}\"");
        let config = REGISTRAR.replace("address = \"10.0.0.5:5060\"", &zone);
        let mut world = World::new(&config, no_inside);
        world.registered("1001", "t1");
        let head = invite_from_client("t1");
        let head = head.split("Content-Type").next().unwrap();
        let offer = sdp_edge("00000011") + candidate;
        world.ask(LANE, &with_body(head, &offer));
        let inside = world.dialled("10.0.0.5");
        let sent = world.one(inside);
        let there = text(Some(sent.body())).contains(candidate);
        assert_eq!(there, passed, "{word}");
        let described = format!("{SDP_INSIDE}{candidate}");
        world.take(
            inside,
            answer(&sent, "p", "<sip:1100@10.0.0.31>", &described),
        );
        let told = world.out(LANE).pop().unwrap();
        let there = text(Some(told.body())).contains(candidate);
        assert_eq!(there, word == "pass", "{word}");
    }
}
