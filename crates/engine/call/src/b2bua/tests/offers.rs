//! Who offers, and when: delayed and early offers both ways, INVITEs within a call without a
//! description, early dialogs that answer differently.

use super::*;

/// A reliable provisional of the callee.
fn reliable(request: &Message, tag: &str, rseq: u32, sdp: Option<&str>) -> Message {
    let mut builder = request
        .reply(183, "Session Progress", tag)
        .header(Name::Contact, format!("<sip:{tag}@203.0.113.9>"))
        .header(Name::Require, b"100rel")
        .header(Name::RSeq, rseq.to_string());
    if let Some(sdp) = sdp {
        builder = builder.body(b"application/sdp", sdp);
    }
    builder.build()
}

/// The description an end offers or answers; an edge's answer fits what it was offered.
fn described(flow: FlowId, offered: Option<&Message>) -> String {
    match (flow == EDGE, offered) {
        (true, Some(offer)) => edge_answer(offer, KEY_2),
        (true, None) => edge_sdp(KEY_1),
        (false, _) => inside_sdp(),
    }
}

/// An edge's second offer has the stream's name.
fn offer_again(s: &Standing, flow: FlowId) -> String {
    let stream = s.world.leg().stream.0;
    described(flow, None).replace("0000002a", &format!("{stream:08x}"))
}

#[test]
fn invite_without_a_description_in_a_call_is_answered_in_its_ack_both_ways() {
    for near in [EDGE, INSIDE] {
        for from in [EDGE, INSIDE] {
            let mut s = call(true, near);
            let before = s.world.leg();
            let request = s
                .dialog(from)
                .request(b"INVITE")
                .header(Name::Contact, b"<sip:moved@192.0.2.78:5061>")
                .build();
            let cseq = request.cseq().unwrap().number;
            let (_, got) = s.carry(from, request);
            assert!(got.body().is_empty());
            assert_eq!(s.world.words(from), ["100"]);
            let to = s.other(from);
            let offer = offer_again(&s, to).replace("20000", "20100");
            s.world.take(to, reply(&got, 200, "", Some(&offer)));
            let ok = s.world.one(from);
            let encrypted = text(&ok).contains("a=crypto:");
            assert_eq!(encrypted, from == EDGE, "{}", text(&ok));
            let answer = described(from, Some(&ok)).replace("20000", "20100");
            let ack = s.dialog(from).ack(cseq).body(b"application/sdp", answer);
            s.world.ask(from, &ack.build());
            let ack = s.world.one(to);
            assert_eq!(text(&ack).contains("a=crypto:"), to == EDGE);
            let after = s.world.leg();
            assert_eq!((after.stream, after.local), (before.stream, before.local));
            assert_eq!(after.remote.unwrap().rtp.port(), 20100);
            assert!(after.send && after.receive);
            assert!(s.world.events.contains(&Event::MediaChanged));
            s.hang_up(from).assert_idle();
        }
    }
}

#[test]
fn hold_then_invite_without_a_description_resumes_as_unified_cm_does() {
    let mut s = call(true, EDGE);
    let inactive = inside_sdp() + "a=inactive\r\n";
    let answer = |got: &Message| edge_answer(got, KEY_2) + "a=inactive\r\n";
    s.reinvite(INSIDE, &inactive, answer);
    assert!(!s.world.leg().send && !s.world.leg().receive);
    let request = s
        .callee
        .request(b"INVITE")
        .header(Name::Contact, b"<sip:moved@10.0.0.21>")
        .raw_header(b"Call-Info", b"<urn:x-cisco-remotecc:resume>")
        .build();
    let cseq = request.cseq().unwrap().number;
    let (_, got) = s.carry(INSIDE, request);
    let resume = got.header(Name::Other("Call-Info"));
    assert_eq!(resume, Some(&b"<urn:x-cisco-remotecc:resume>"[..]));
    s.world.out(INSIDE);
    let offer = offer_again(&s, EDGE);
    s.world.take(EDGE, reply(&got, 200, "", Some(&offer)));
    let _ = s.world.one(INSIDE);
    // The music, or the other party, is somewhere else.
    let elsewhere = inside_sdp().replace("10.0.0.20", "10.0.0.99");
    let ack = s.callee.ack(cseq).body(b"application/sdp", elsewhere);
    s.world.ask(INSIDE, &ack.build());
    assert_eq!(s.world.words(EDGE), ["ACK"]);
    let leg = s.world.leg();
    assert!(leg.send && leg.receive);
    assert_eq!(leg.remote.unwrap().rtp, "10.0.0.99:20000".parse().unwrap());
}

#[test]
fn offer_of_a_reinvites_answer_that_the_ack_leaves_unanswered_ends_the_call() {
    let mut s = call(true, EDGE);
    let request = s
        .callee
        .request(b"INVITE")
        .header(Name::Contact, b"<sip:b@x>");
    let request = request.build();
    let cseq = request.cseq().unwrap().number;
    let (_, got) = s.carry(INSIDE, request);
    s.world.out(INSIDE);
    let offer = offer_again(&s, EDGE);
    s.world.take(EDGE, reply(&got, 200, "", Some(&offer)));
    let _ = s.world.one(INSIDE);
    s.world.ask(INSIDE, &s.callee.ack(cseq).build());
    assert_eq!(s.world.words(EDGE), ["ACK", "BYE"]);
    assert_eq!(s.world.words(INSIDE), ["BYE"]);
}

#[test]
fn early_dialogs_that_answer_differently_are_heard_in_turn_and_the_last_answer_stays() {
    let (mut world, near, far) = (World::new(), EDGE, INSIDE);
    let asked = world.ask(near, &invite("alice", Some(&edge_sdp(KEY_1))));
    let got = world.one(far);
    world.out(near);
    let mut caller = None;
    for (tag, port) in [("b1", "20000"), ("b2", "22222")] {
        let sdp = inside_sdp().replace("20000", port);
        world.take(far, reliable(&got, tag, 1, Some(&sdp)));
        let progress = world.one(near);
        let mut dialog = Dialog::uac(&asked, &progress).unwrap();
        let prack = dialog.request(b"PRACK").header(Name::RAck, b"1 101 INVITE");
        world.ask(near, &prack.build());
        let carried = world.one(far);
        world.take(far, carried.reply(200, "OK", "").build());
        assert_eq!(world.words(near), ["200"]);
        assert_eq!(world.leg().remote.unwrap().rtp.port().to_string(), port);
        caller.get_or_insert(dialog);
    }
    // The first one answers, and says no more of media: what it said counts.
    world.take(far, reply(&got, 200, "b1", None));
    assert_eq!(world.one(near).status(), 200);
    assert_eq!(world.leg().remote.unwrap().rtp.port(), 20000);
    world.ask(near, &caller.unwrap().ack(101).build());
    assert_eq!(world.words(far), ["ACK"]);
}

#[test]
fn line_that_one_early_dialog_refuses_may_be_accepted_by_another() {
    let mut world = World::new();
    let video = "m=video 36000 RTP/SAVP 97\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:";
    let offer = edge_sdp(KEY_1) + &format!("{video}{KEY_2}\r\na=x-causeway-stream:0000002b\r\n");
    world.ask(EDGE, &invite("alice", Some(&offer)));
    let got = world.one(INSIDE);
    world.out(EDGE);
    let refuses = inside_sdp() + "m=video 0 RTP/AVP 97\r\n";
    let accepts = inside_sdp() + "m=video 21000 RTP/AVP 97\r\n";
    world.take(INSIDE, reply(&got, 183, "b1", Some(&refuses)));
    assert!(text(&world.one(EDGE)).contains("m=video 0 "));
    assert_eq!(world.legs.values().filter(|l| l.send).count(), 1);
    world.take(INSIDE, reply(&got, 183, "b2", Some(&accepts)));
    assert!(text(&world.one(EDGE)).contains("m=video 36000 RTP/SAVP 97"));
    assert_eq!(world.legs.values().filter(|l| l.send).count(), 2);
    world.take(INSIDE, reply(&got, 200, "b1", Some(&refuses)));
    assert_eq!(world.one(EDGE).status(), 200);
    assert_eq!((world.legs.len(), world.ports.in_use()), (1, 1));
}

#[test]
fn reliable_provisional_without_prack_is_repeated_and_refused_end_to_end() {
    let mut world = World::new();
    world.ask(EDGE, &invite("alice", Some(&edge_sdp(KEY_1))));
    let got = world.one(INSIDE);
    world.out(EDGE);
    // The callee repeats it, and gives up after 64*T1 (RFC 3262 §3).
    let progress = reliable(&got, "b1", 1, Some(&inside_sdp()));
    for _ in 0..3 {
        world.take(INSIDE, progress.clone());
        assert_eq!(world.one(EDGE).header(Name::RSeq), Some(&b"1"[..]));
    }
    world.take(INSIDE, reply(&got, 504, "b1", None));
    assert_eq!(world.words(EDGE), ["504"]);
    assert_eq!(world.words(INSIDE), ["ACK"]);
    world.assert_idle();
}

#[test]
fn interval_too_small_is_said_end_to_end_and_the_caller_tries_again() {
    let mut world = World::new();
    let first = invite("alice", Some(&edge_sdp(KEY_1)))
        .edit()
        .set(Name::SessionExpires, "90")
        .set(Name::MinSe, "90")
        .finish();
    world.ask(EDGE, &first);
    let got = world.one(INSIDE);
    assert_eq!(got.header(Name::SessionExpires), Some(&b"90"[..]));
    world.out(EDGE);
    let small = got
        .reply(422, "Session Interval Too Small", "b1")
        .header(Name::MinSe, "1800")
        .build();
    world.take(INSIDE, small);
    let refused = world.one(EDGE);
    let least = refused.header(Name::MinSe);
    assert_eq!((refused.status(), least), (422, Some(&b"1800"[..])));
    world.out(INSIDE);
    let again = first
        .edit()
        .set(Name::CSeq, "102 INVITE")
        .set(Name::SessionExpires, "1800;refresher=uac")
        .set(Name::MinSe, "1800")
        .finish();
    let asked = world.ask(EDGE, &again);
    let got = world.one(INSIDE);
    world.out(EDGE);
    let ok = reply(&got, 200, "b2", Some(&inside_sdp()))
        .edit()
        .set(Name::SessionExpires, "1800;refresher=uac")
        .finish();
    world.take(INSIDE, ok);
    let ok = world.one(EDGE);
    let agreed = ok.header(Name::SessionExpires);
    assert_eq!(agreed, Some(&b"1800;refresher=uac"[..]));
    let caller = Dialog::uac(&asked, &ok).unwrap();
    world.ask(EDGE, &caller.ack(102).build());
    assert_eq!(world.words(INSIDE), ["ACK"]);
    assert_eq!(world.b2bua.active(), 1);
}

#[test]
fn invite_within_an_early_dialog_is_refused_by_whose_turn_it_is() {
    let mut world = World::new();
    let asked = world.ask(EDGE, &invite("alice", Some(&edge_sdp(KEY_1))));
    let got = world.one(INSIDE);
    world.take(INSIDE, reply(&got, 180, "b1", None));
    let ringing = world.out(EDGE).pop().unwrap();
    let mut caller = Dialog::uac(&asked, &ringing).unwrap();
    let mut callee = Dialog::uas(&got, "b1").unwrap();
    let contact = (Name::Contact, b"<sip:x@y>");
    world.ask(
        EDGE,
        &caller
            .request(b"INVITE")
            .header(contact.0, contact.1)
            .build(),
    );
    world.ask(
        INSIDE,
        &callee
            .request(b"INVITE")
            .header(contact.0, contact.1)
            .build(),
    );
    assert_eq!(
        (world.words(EDGE), world.words(INSIDE)),
        (vec!["500".into()], vec!["491".into()])
    );
}

#[test]
fn update_while_an_invite_is_under_way_waits_if_it_offers_and_passes_if_not() {
    let mut s = call(true, EDGE);
    let request = s.change(EDGE, b"INVITE", &edge_sdp(KEY_1));
    let (_, got) = s.carry(EDGE, request);
    s.world.out(EDGE);
    let offer = s.change(INSIDE, b"UPDATE", &inside_sdp());
    s.world.ask(INSIDE, &offer);
    assert_eq!(s.world.words(INSIDE), ["491"]);
    let plain = s
        .callee
        .request(b"UPDATE")
        .header(Name::Contact, b"<sip:b@x>");
    let (_, update) = s.carry(INSIDE, plain.build());
    s.world.take(EDGE, update.reply(200, "OK", "").build());
    assert_eq!(s.world.words(INSIDE), ["200"]);
    s.world
        .take(INSIDE, reply(&got, 200, "", Some(&inside_sdp())));
    assert_eq!(s.world.one(EDGE).status(), 200);
}

#[test]
fn request_that_stays_unanswered_in_a_call_ends_it_on_both_legs() {
    let mut s = call(true, EDGE);
    let info = s.caller.request(b"INFO").build();
    let (_, _) = s.carry(EDGE, info);
    s.world.wait(33_000);
    // Nobody waits for a 408 to it any more (RFC 4320 §4.2).
    assert_eq!(s.world.words(EDGE), ["BYE"]);
    assert_eq!(s.world.words(INSIDE), ["BYE"]);
    let ended = Event::Ended {
        by: EndedBy::Us,
        cause: Cause::Timeout,
    };
    assert!(s.world.events.contains(&ended));
    s.world.assert_idle();
}

#[test]
fn change_that_is_refused_for_now_leaves_the_call_and_its_media() {
    for status in [403, 480, 488, 491, 500, 503] {
        let mut s = call(true, EDGE);
        let before = s.world.leg();
        let request = s.change(INSIDE, b"INVITE", &inside_sdp().replace("20000", "20100"));
        let (_, got) = s.carry(INSIDE, request);
        s.world.out(INSIDE);
        s.world.take(EDGE, reply(&got, status, "", None));
        assert_eq!(s.world.words(INSIDE), [status.to_string()]);
        assert_eq!(s.world.words(EDGE), ["ACK"]);
        assert_eq!(s.world.leg(), before);
        s.hang_up(EDGE).assert_idle();
    }
}
