//! What is refused, with which status, and that it leaves nothing.

use super::*;

fn refused(offer: &str) -> (String, World) {
    let mut world = World::new();
    world.ask(EDGE, &invite("alice", Some(offer)));
    let answer = world.out(EDGE).pop().unwrap();
    assert!(
        answer
            .header(Name::Warning)
            .unwrap()
            .starts_with(b"399 causeway \"")
    );
    assert_eq!(world.words(INSIDE), [""; 0]);
    (word(&answer), world)
}

#[test]
fn media_that_is_not_encrypted_never_gets_in() {
    let good = edge_sdp(KEY_1);
    let line = format!("a=crypto:5 AES_CM_128_HMAC_SHA1_80 inline:{KEY_1}\r\n");
    let table = [
        (
            good.replace("RTP/SAVP", "RTP/AVP"),
            MediaError::NotEncrypted,
        ),
        (
            good.replace("RTP/SAVP", "UDP/TLS/RTP/SAVPF"),
            MediaError::NotEncrypted,
        ),
        (good.replace(&line, ""), MediaError::NoSuite),
        (good.replace(KEY_1, "AAAA"), MediaError::NoSuite),
        (
            good.replace(KEY_1, &format!("{KEY_1} UNENCRYPTED_SRTP")),
            MediaError::NoSuite,
        ),
        (
            good.replace(KEY_1, &format!("{KEY_1} KDR=1")),
            MediaError::NoSuite,
        ),
        (
            good.replace("a=x-causeway-stream:0000002a\r\n", ""),
            MediaError::Stream,
        ),
        (good.replace("0000002a", "zz"), MediaError::Stream),
        (
            "v=1\r\n".to_owned(),
            MediaError::Malformed(sdp::SdpError::Malformed),
        ),
        (
            good.clone() + &"m=audio 1 RTP/SAVP 0\r\n".repeat(16),
            MediaError::Malformed(sdp::SdpError::Limit("16 m-lines")),
        ),
    ];
    for (offer, error) in table {
        let (status, mut world) = refused(&offer);
        assert_eq!(status, "488", "{offer}");
        assert!(
            world.events.contains(&Event::MediaRefused(error)),
            "{:?} {offer}",
            world.events
        );
        world.assert_idle();
    }
}

#[test]
fn a_stream_of_another_call_cannot_be_taken() {
    let s = call(true, EDGE);
    let mut world = s.world;
    let other = invite("mallory", Some(&edge_sdp(KEY_2)));
    let other = other.edit().set(Name::CallId, b"another").finish();
    world.ask(EDGE, &other);
    assert_eq!(world.words(EDGE), ["100", "488"]);
    assert_eq!(world.legs.len(), 1);
}

#[test]
fn client_that_answers_without_encryption_is_acknowledged_and_ended() {
    for bad in [
        |a: String| a.replace("RTP/SAVP", "RTP/AVP"),
        |a: String| a.replace("a=crypto:2", "a=crypto:7"),
        |a: String| a.replace("SHA1_32", "SHA1_80"),
        |a: String| a.replace("a=crypto", "a=other"),
    ] {
        let mut world = World::new();
        world.ask(INSIDE, &invite("bob", Some(&inside_sdp())));
        let got = world.one(EDGE);
        world.out(INSIDE);
        let answer = bad(edge_answer(&got, KEY_1));
        world.take(EDGE, reply(&got, 200, "b1", Some(&answer)));
        assert_eq!(world.words(EDGE), ["ACK", "BYE"]);
        assert_eq!(world.words(INSIDE), ["488"]);
        assert!(world.legs.is_empty());
        world.assert_idle();
    }
}

#[test]
fn ack_without_the_answer_it_owes_ends_the_call() {
    let mut world = World::new();
    let asked = world.ask(INSIDE, &invite("bob", None));
    let got = world.one(EDGE);
    world.take(EDGE, reply(&got, 200, "b1", Some(&edge_sdp(KEY_1))));
    let ok = world.one(INSIDE);
    world.ask(INSIDE, &Dialog::uac(&asked, &ok).unwrap().ack(101).build());
    assert_eq!(world.words(EDGE), ["ACK", "BYE"]);
    assert_eq!(world.words(INSIDE), ["BYE"]);
    assert_eq!(world.records[0].cause, Cause::Media(MediaError::NoAnswer));
    world.assert_idle();
}

#[test]
fn plain_reinvite_from_the_edge_is_refused_and_the_call_goes_on() {
    let mut s = call(true, EDGE);
    let before = s.world.leg();
    let plain = edge_sdp(KEY_1).replace("RTP/SAVP", "RTP/AVP");
    let request = s
        .caller
        .request(b"INVITE")
        .header(Name::Contact, b"<sip:a@x>")
        .body(b"application/sdp", plain)
        .build();
    s.world.ask(EDGE, &request);
    assert_eq!(s.world.words(EDGE), ["100", "488"]);
    assert_eq!(s.world.leg(), before);
    s.hang_up(INSIDE).assert_idle();
}

#[test]
fn encrypted_media_inside_and_missing_addresses_are_refused() {
    let table = [
        inside_sdp().replace("RTP/AVP", "RTP/SAVP"),
        inside_sdp().replace("10.0.0.20", "host.example.test"),
        inside_sdp().replace("10.0.0.20", "239.1.1.1"),
    ];
    for offer in table {
        let mut world = World::new();
        world.ask(INSIDE, &invite("bob", Some(&offer)));
        assert_eq!(world.words(INSIDE), ["100", "488"], "{offer}");
        world.assert_idle();
    }
}

#[test]
fn hops_sides_and_contacts_are_checked_first() {
    let edit = |name: Name, value: &str| {
        invite("alice", None)
            .edit()
            .set(name, value.as_bytes())
            .finish()
    };
    let table = [
        (edit(Name::MaxForwards, "0"), "483", true),
        (edit(Name::Contact, "*"), "400", true),
        (invite("alice", None), "500", false),
    ];
    for (message, status, forward) in table {
        let mut world = World::new();
        world.forward = forward;
        world.ask(EDGE, &message);
        assert_eq!(world.words(EDGE), [status]);
        world.assert_idle();
    }
}

#[test]
fn requests_that_fit_no_dialog_are_answered_481() {
    let mut s = call(true, EDGE);
    let bye = s.caller.request(b"BYE").build();
    let wrong_tag = bye.edit().set(Name::From, b"<sip:a@x>;tag=zz").finish();
    s.world.ask(EDGE, &wrong_tag);
    assert_eq!(s.world.words(EDGE), ["481"]);
    // The right ids from the other side, or from another edge's link.
    s.world.ask(INSIDE, &bye);
    assert_eq!(s.world.words(INSIDE), ["481"]);
    let other = Side::Edge { link: LinkId(77) };
    assert!(s.world.b2bua.owns(EDGE_SIDE, &bye) && !s.world.b2bua.owns(other, &bye));
    assert_eq!(s.world.b2bua.active(), 1);
}

#[test]
fn cseq_out_of_order_is_answered_500() {
    let mut s = call(true, EDGE);
    let info = s.caller.request(b"INFO").build();
    s.world.ask(EDGE, &info);
    s.world.out(INSIDE);
    s.world.ask(EDGE, &info);
    assert_eq!(s.world.words(EDGE), ["500"]);
}

#[test]
fn requests_under_way_are_bounded() {
    let mut s = call(true, EDGE);
    for n in 0..20 {
        let info = s.caller.request(b"INFO").build();
        s.world.ask(EDGE, &info);
        let words = s.world.words(EDGE);
        assert_eq!(words.is_empty(), n < 16, "{n} {words:?}");
    }
    s.hang_up_any();
}

impl Standing {
    fn hang_up_any(mut self) {
        self.world.cx(|b, cx| b.link_down(cx, LINK));
        self.world.settle();
        self.world.assert_idle();
    }
}

#[test]
fn calls_are_bounded() {
    let mut world = World::new();
    let mut settings = world.b2bua.settings.clone();
    settings.calls_max = 1;
    world.b2bua = B2bua::new(Rng::from_number(3), settings);
    world.ask(EDGE, &invite("alice", None));
    world.out(EDGE);
    let other = invite("carol", None)
        .edit()
        .set(Name::CallId, b"another")
        .finish();
    world.ask(EDGE, &other);
    let refused = world.one(EDGE);
    assert_eq!(refused.status(), 503);
    assert!(refused.header(Name::RetryAfter).is_some());
}

#[test]
fn calls_that_are_over_count_no_longer_and_give_way_to_new_ones() {
    let mut world = World::new();
    let mut settings = world.b2bua.settings.clone();
    settings.calls_max = 2;
    world.b2bua = B2bua::new(Rng::from_number(3), settings);
    for n in 0..20 {
        let id = format!("call-{n}");
        let ask = invite("alice", None)
            .edit()
            .set(Name::CallId, id.as_bytes())
            .finish();
        world.ask(EDGE, &ask);
        assert_eq!(world.words(EDGE), ["100"], "call {n}");
        // Refused and acknowledged: over, while its transactions last.
        let got = world.one(INSIDE);
        world.take(INSIDE, reply(&got, 486, "b1", None));
        world.out(EDGE);
        world.out(INSIDE);
        let counts = world.b2bua.counts();
        assert!(counts.calls <= 4, "{counts:?}");
    }
    assert_eq!(world.records.len(), 20);
}

#[test]
fn answer_that_never_came_ends_the_call_and_leaves_a_change_undone() {
    let mut world = World::new();
    world.ask(EDGE, &invite("alice", Some(&edge_sdp(KEY_1))));
    let got = world.one(INSIDE);
    world.out(EDGE);
    world.take(INSIDE, reply(&got, 200, "b1", None));
    assert_eq!(world.words(INSIDE), ["ACK", "BYE"]);
    assert_eq!(world.words(EDGE), ["488"]);
    world.assert_idle();

    let mut s = call(true, EDGE);
    let before = s.world.leg();
    let request = s
        .caller
        .request(b"UPDATE")
        .header(Name::Contact, b"<sip:a@x>")
        .body(b"application/sdp", edge_sdp(KEY_2))
        .build();
    s.world.ask(EDGE, &request);
    let got = s.world.one(INSIDE);
    s.world.take(INSIDE, reply(&got, 200, "", None));
    assert_eq!(s.world.words(EDGE), ["200"]);
    assert_eq!(s.world.leg(), before);
    assert!(
        !s.world
            .b2bua
            .calls
            .iter()
            .any(|(_, c)| c.bridge.is_pending())
    );
    s.hang_up_any();
}
