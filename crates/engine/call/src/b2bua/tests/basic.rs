//! Calls that go well.

use super::*;

#[test]
fn invite_goes_across_with_our_names_and_everything_else_untouched() {
    let mut world = World::new();
    let asked = world.ask(EDGE, &invite("alice", Some(&edge_sdp(KEY_1))));
    assert_eq!(world.words(EDGE), ["100"]);
    let got = world.one(INSIDE);
    assert_eq!(got.request_uri(), b"sip:bob@target.example.test");
    assert_eq!(got.call_id(), asked.call_id());
    assert_ne!(got.from().unwrap().tag(), asked.from().unwrap().tag());
    assert_eq!(got.from().unwrap().display, b"\"A\"");
    assert_eq!(got.to().unwrap().tag(), None);
    assert_eq!(got.max_forwards().unwrap(), Some(14));
    assert_eq!(got.vias().count(), 1);
    assert_eq!(got.header(Name::RecordRoute), None);
    assert_eq!(
        got.header(Name::Route),
        Some(&b"<sip:hop.example.test;lr>"[..])
    );
    let contact = b"<sip:alice-uuid@10.0.0.5:5060;transport=tcp>;+u.sip!x=\"y\";video";
    assert_eq!(got.header(Name::Contact), Some(&contact[..]));
    assert_eq!(got.header(Name::SessionId), Some(&b"abc;remote=0"[..]));
    assert!(
        got.bytes()
            .windows(23)
            .any(|w| w == b"X-Cisco-Odd: Kept;as=is")
    );
}

#[test]
fn offer_of_the_edge_becomes_plain_rtp_at_our_own_port() {
    let mut world = World::new();
    world.ask(EDGE, &invite("alice", Some(&edge_sdp(KEY_1))));
    let got = world.one(INSIDE);
    let leg = world.leg();
    assert_eq!(
        text(&got),
        format!(
            "v=0\r\no=alice 1 1 IN IP4 10.0.0.5\r\ns=-\r\nc=IN IP4 10.0.0.5\r\nt=0 0\r\n\
             m=audio {} RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n",
            leg.local.rtp.port()
        )
    );
    assert_eq!(leg.stream.0, 0x2a);
    assert_eq!((leg.receive, leg.send, leg.remote), (false, false, None));
}

#[test]
fn answer_from_inside_becomes_srtp_with_the_offers_tag_and_a_key_of_ours() {
    let standing = call(true, EDGE);
    let leg = standing.world.leg();
    assert!(leg.receive && leg.send);
    assert_eq!(leg.remote.unwrap().rtp, "10.0.0.20:20000".parse().unwrap());
    assert_eq!(leg.remote.unwrap().rtcp, "10.0.0.20:20001".parse().unwrap());
    let theirs =
        sdp::sdes::Crypto::parse(format!("5 AES_CM_128_HMAC_SHA1_80 inline:{KEY_1}").as_bytes());
    assert_eq!(leg.unprotect.unwrap().key, theirs.unwrap().key);
    let ours = leg.protect.unwrap();
    assert_eq!(ours.suite, media::srtp::Suite::AesCm128HmacSha1_80);
    standing.hang_up(EDGE).assert_idle();
}

#[test]
fn the_caller_gets_one_crypto_line_its_stream_and_our_address() {
    let mut world = World::new();
    world.ask(EDGE, &invite("alice", Some(&edge_sdp(KEY_1))));
    let got = world.one(INSIDE);
    world.take(INSIDE, reply(&got, 200, "b1", Some(&inside_sdp())));
    let ok = world.one(EDGE);
    let body = text(&ok);
    let line = body.lines().find(|l| l.starts_with("a=crypto:")).unwrap();
    assert!(line.starts_with("a=crypto:5 AES_CM_128_HMAC_SHA1_80 inline:"));
    let rest = body.replace(&format!("{line}\r\n"), "");
    assert_eq!(
        rest,
        "v=0\r\no=bob 7 7 IN IP4 192.0.2.5\r\ns=-\r\nc=IN IP4 192.0.2.5\r\nt=0 0\r\n\
         m=audio 36000 RTP/SAVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=ptime:20\r\n\
         a=x-causeway-stream:0000002a\r\n"
    );
    assert_eq!(ok.vias().count(), 1);
    assert_eq!(
        ok.header(Name::RecordRoute),
        Some(&b"<sip:near.example.test;lr>"[..])
    );
    let contact = b"<sip:core@192.0.2.5:7001;transport=tls>;isfocus";
    assert_eq!(ok.header(Name::Contact), Some(&contact[..]));
    assert_eq!(ok.cseq().unwrap().number, 101);
    assert_eq!(ok.from().unwrap().tag(), Some(&b"phone1"[..]));
    assert_ne!(ok.to().unwrap().tag(), Some(&b"b1"[..]));
    assert!(ok.bytes().windows(13).any(|w| w == b"X-Answer: yes"));
}

#[test]
fn call_from_inside_offers_our_suites_and_takes_the_chosen_one() {
    let mut world = World::new();
    world.ask(INSIDE, &invite("bob", Some(&inside_sdp())));
    let got = world.one(EDGE);
    let body = text(&got);
    let offered: Vec<&str> = body
        .lines()
        .filter(|l| l.starts_with("a=crypto:"))
        .collect();
    assert!(offered[0].starts_with("a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"));
    assert!(offered[1].starts_with("a=crypto:2 AES_CM_128_HMAC_SHA1_32 inline:"));
    assert_eq!(offered.len(), 2);
    assert!(body.contains("m=audio 36000 RTP/SAVP 0 101\r\n"));
    assert!(world.leg().stream.0 >> 31 == 1);
    world.take(
        EDGE,
        reply(&got, 200, "b1", Some(&edge_answer(&got, KEY_2))),
    );
    let leg = world.leg();
    assert_eq!(
        leg.protect.clone().unwrap().suite,
        media::srtp::Suite::AesCm128HmacSha1_32
    );
    let ours = sdp::sdes::Crypto::parse(offered[1].trim_start_matches("a=crypto:").as_bytes());
    assert_eq!(leg.protect.unwrap().key, ours.unwrap().key);
    let body = text(&world.one(INSIDE));
    assert!(body.contains(&format!("m=audio {} RTP/AVP 0 101", leg.local.rtp.port())));
    assert!(!body.contains("crypto") && !body.contains("x-causeway"));
}

#[test]
fn record_says_who_when_how_and_how_much() {
    let mut standing = call(true, EDGE);
    standing.world.wait(10_000);
    let world = standing.hang_up(INSIDE);
    let [record] = world.records.as_slice() else {
        panic!("{:?}", world.records)
    };
    assert_eq!(record.call_id, b"the-call@phone");
    assert_eq!(record.from.expose(), "sip:alice@example.test");
    assert_eq!(
        (record.by, record.cause.clone()),
        (EndedBy::Callee, Cause::Hangup)
    );
    assert!(record.from_edge && record.ringing.is_some());
    let answer = record.answer.unwrap();
    assert_eq!(record.end.as_millis() - answer.as_millis(), 10_000);
    assert_eq!(record.media.len(), 1);
    assert_eq!(record.media[0].counters.from_client.packets, 50);
    assert_eq!(
        world.events,
        [
            Event::Started,
            Event::Ringing,
            Event::Answered,
            Event::Ended {
                by: EndedBy::Callee,
                cause: Cause::Hangup
            }
        ]
    );
}

#[test]
fn record_comes_after_two_seconds_without_figures() {
    let mut standing = call(true, EDGE);
    standing.world.figures = false;
    let mut world = standing.hang_up(EDGE);
    assert!(world.records.is_empty());
    world.wait(2_000);
    assert_eq!(world.records.len(), 1);
    world.assert_idle();
}

#[test]
fn delayed_offer_from_inside_is_answered_in_the_ack() {
    let mut world = World::new();
    let asked = world.ask(INSIDE, &invite("bob", None));
    let got = world.one(EDGE);
    assert!(got.body().is_empty());
    world.take(EDGE, reply(&got, 200, "b1", Some(&edge_sdp(KEY_1))));
    let ok = world.one(INSIDE);
    assert!(text(&ok).contains("RTP/AVP 0 101"));
    let caller = Dialog::uac(&asked, &ok).unwrap();
    let ack = caller
        .ack(101)
        .body(b"application/sdp", inside_sdp())
        .build();
    world.ask(INSIDE, &ack);
    let ack = world.one(EDGE);
    assert_eq!(ack.method(), Method::Ack);
    let body = text(&ack);
    assert!(body.contains("RTP/SAVP") && body.contains("a=crypto:5 AES_CM_128_HMAC_SHA1_80"));
    let leg = world.leg();
    assert!(leg.receive && leg.send && leg.protect.is_some());
}

#[test]
fn delayed_offer_from_the_edge_is_answered_in_the_ack() {
    let mut world = World::new();
    let asked = world.ask(EDGE, &invite("alice", None));
    let got = world.one(INSIDE);
    world.take(INSIDE, reply(&got, 200, "b1", Some(&inside_sdp())));
    let ok = world.one(EDGE);
    assert!(text(&ok).contains("RTP/SAVP"));
    let caller = Dialog::uac(&asked, &ok).unwrap();
    let answer = edge_answer(&ok, KEY_2);
    world.ask(
        EDGE,
        &caller.ack(101).body(b"application/sdp", answer).build(),
    );
    let ack = world.one(INSIDE);
    assert!(text(&ack).contains("RTP/AVP 0 101"));
    assert!(world.leg().unprotect.is_some());
}

#[test]
fn bye_from_either_end_releases_media_at_once_and_leaves_nothing() {
    for (near, from) in [
        (EDGE, EDGE),
        (EDGE, INSIDE),
        (INSIDE, INSIDE),
        (INSIDE, EDGE),
    ] {
        let mut standing = call(true, near);
        let bye = if from == near {
            standing
                .caller
                .request(b"BYE")
                .header(Name::Reason, b"Q.850;cause=16")
                .build()
        } else {
            standing
                .callee
                .request(b"BYE")
                .header(Name::Reason, b"Q.850;cause=16")
                .build()
        };
        let to = if from == EDGE { INSIDE } else { EDGE };
        standing.world.ask(from, &bye);
        assert_eq!(standing.world.ports.in_use(), 0);
        assert_eq!(standing.world.commands(), ["remove"]);
        let got = standing.world.one(to);
        assert_eq!(got.header(Name::Reason), Some(&b"Q.850;cause=16"[..]));
        let ok = got
            .reply(200, "OK", "")
            .raw_header(b"RTP-RxStat", b"Dur=1")
            .build();
        standing.world.take(to, ok);
        let back = standing.world.one(from);
        assert!(back.bytes().windows(17).any(|w| w == b"RTP-RxStat: Dur=1"));
        standing.world.assert_idle();
    }
}

#[test]
fn byes_that_cross_are_both_answered() {
    let mut standing = call(true, EDGE);
    let (a, b) = (
        standing.caller.request(b"BYE").build(),
        standing.callee.request(b"BYE").build(),
    );
    standing.world.ask(EDGE, &a);
    assert_eq!(standing.world.words(INSIDE), ["BYE"]);
    standing.world.ask(INSIDE, &b);
    assert_eq!(standing.world.words(INSIDE), ["200"]);
    standing.world.assert_idle();
}

#[test]
fn route_sets_of_both_legs_are_their_own() {
    let mut standing = call(true, EDGE);
    let info = standing.callee.request(b"INFO").build();
    standing.world.ask(INSIDE, &info);
    let got = standing.world.one(EDGE);
    assert_eq!(
        got.request_uri(),
        b"sip:phone@192.0.2.77:5061;transport=tls"
    );
    assert_eq!(
        got.header(Name::Route),
        Some(&b"<sip:near.example.test;lr>"[..])
    );
    let info = standing.caller.request(b"INFO").build();
    standing.world.ask(EDGE, &info);
    let got = standing.world.one(INSIDE);
    assert_eq!(got.request_uri(), b"sip:b1@203.0.113.9");
    assert_eq!(got.header(Name::Route), None);
}
