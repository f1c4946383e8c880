//! Calls that end by themselves: lost links, lost ACKs, silence.

use super::*;

#[test]
fn link_down_ends_its_calls_with_a_reason_on_both_legs() {
    let mut s = call(true, EDGE);
    s.world.cx(|b, cx| b.link_down(cx, LinkId(9)));
    s.world.settle();
    assert_eq!(s.world.b2bua.active(), 1);
    s.world.cx(|b, cx| b.link_down(cx, LINK));
    s.world.settle();
    for flow in [EDGE, INSIDE] {
        let bye = s.world.one(flow);
        assert_eq!(bye.method(), Method::Bye);
        assert_eq!(
            bye.header(Name::Reason),
            Some(&b"SIP;cause=503;text=\"Link Down\""[..])
        );
    }
    assert_eq!(s.world.ports.in_use(), 0);
    assert_eq!(s.world.records[0].cause, Cause::LinkDown);
    s.world.assert_idle();
}

#[test]
fn link_down_while_ringing_answers_503_and_cancels() {
    let mut world = World::new();
    world.ask(EDGE, &invite("alice", Some(&edge_sdp(KEY_1))));
    let got = world.one(INSIDE);
    world.take(INSIDE, reply(&got, 180, "b1", None));
    world.out(EDGE);
    world.cx(|b, cx| b.link_down(cx, LINK));
    world.settle();
    assert_eq!(world.words(EDGE), ["503"]);
    assert_eq!(world.words(INSIDE), ["CANCEL"]);
    world.assert_idle();
}

#[test]
fn answer_on_udp_is_repeated_until_its_ack() {
    let mut world = World::with(false, 3);
    let asked = world.ask(EDGE, &invite("alice", Some(&edge_sdp(KEY_1))));
    let got = world.one(INSIDE);
    let ok = reply(&got, 200, "b1", Some(&inside_sdp()));
    world.take(INSIDE, ok.clone());
    let first = world.one(EDGE);
    world.wait(3_500);
    assert_eq!(world.words(EDGE), ["200"; 3]);
    world.take(INSIDE, ok.clone());
    assert_eq!(world.words(INSIDE), [""; 0]);
    world.ask(EDGE, &Dialog::uac(&asked, &first).unwrap().ack(101).build());
    assert_eq!(world.words(INSIDE), ["ACK"]);
    world.take(INSIDE, ok);
    assert_eq!(world.words(INSIDE), ["ACK"]);
    world.wait(30_000);
    assert_eq!(world.words(EDGE), [""; 0]);
}

#[test]
fn answer_never_acknowledged_ends_the_call_on_any_flow() {
    for reliable in [true, false] {
        let mut world = World::with(reliable, 3);
        world.ask(EDGE, &invite("alice", Some(&edge_sdp(KEY_1))));
        let got = world.one(INSIDE);
        world.take(INSIDE, reply(&got, 200, "b1", Some(&inside_sdp())));
        world.wait(32_000);
        assert_eq!(world.words(INSIDE)[..2], ["ACK", "BYE"]);
        assert_eq!(world.words(EDGE).pop().unwrap(), "BYE");
        world.wait(2_000);
        assert_eq!(world.records[0].cause, Cause::NoAck);
        world.assert_idle();
    }
}

#[test]
fn session_without_refresh_is_ended_and_with_refresh_is_not() {
    let mut world = World::new();
    let knows = invite("alice", Some(&edge_sdp(KEY_1)))
        .edit()
        .push_back(Name::Supported, b"timer")
        .finish();
    let asked = world.ask(EDGE, &knows);
    let got = world.one(INSIDE);
    let ok = reply(&got, 200, "b1", Some(&inside_sdp()));
    let ok = ok
        .edit()
        .push_back(Name::SessionExpires, b"90;refresher=uac")
        .finish();
    world.take(INSIDE, ok);
    let last = world.one(EDGE);
    assert_eq!(
        last.header(Name::SessionExpires),
        Some(&b"90;refresher=uac"[..])
    );
    let mut caller = Dialog::uac(&asked, &last).unwrap();
    world.ask(EDGE, &caller.ack(101).build());
    world.wait(80_000);
    world.sent.clear();
    world.ask(
        EDGE,
        &caller
            .request(b"UPDATE")
            .header(Name::Supported, b"timer")
            .header(Name::Contact, b"<sip:a@x>")
            .build(),
    );
    let update = world.one(INSIDE);
    let ok = update
        .reply(200, "OK", "")
        .header(Name::SessionExpires, b"90;refresher=uac");
    world.take(INSIDE, ok.build());
    world.out(EDGE);
    world.wait(121_000);
    assert_eq!(world.b2bua.active(), 1);
    world.wait(2_000);
    assert_eq!(
        (world.words(EDGE), world.words(INSIDE)),
        (vec!["BYE".into()], vec!["BYE".into()])
    );
    assert_eq!(world.records[0].cause, Cause::SessionExpired);
    world.assert_idle();
}

#[test]
fn callee_that_never_answers_is_cancelled_by_timer_c() {
    let mut world = World::new();
    world.ask(EDGE, &invite("alice", Some(&edge_sdp(KEY_1))));
    let got = world.one(INSIDE);
    world.take(INSIDE, reply(&got, 180, "b1", None));
    world.wait(170_000);
    world.take(INSIDE, reply(&got, 180, "b1", None));
    world.wait(179_000);
    world.out(EDGE);
    assert_eq!(world.words(INSIDE), [""; 0]);
    world.wait(1_000);
    assert_eq!(
        (world.words(EDGE), world.words(INSIDE)),
        (vec!["408".into()], vec!["CANCEL".into()])
    );
    world.assert_idle();
}

#[test]
fn callee_that_is_silent_or_gone_is_reported_to_the_caller() {
    for (down, status) in [(false, "408"), (true, "480")] {
        let mut world = World::new();
        world.ask(EDGE, &invite("alice", Some(&edge_sdp(KEY_1))));
        world.out(EDGE);
        if down {
            world.layer.flow_down(world.now, INSIDE);
            world.settle();
        } else {
            world.wait(32_000);
        }
        assert_eq!(world.words(EDGE), [status]);
        world.assert_idle();
    }
}

#[test]
fn caller_whose_connection_is_gone_while_ringing_is_cancelled() {
    let mut world = World::new();
    world.ask(EDGE, &invite("alice", Some(&edge_sdp(KEY_1))));
    let got = world.one(INSIDE);
    world.take(INSIDE, reply(&got, 180, "b1", None));
    world.layer.flow_down(world.now, EDGE);
    world.settle();
    assert_eq!(world.words(INSIDE), ["CANCEL"]);
    assert_eq!(world.ports.in_use(), 0);
    world.assert_idle();
}

#[test]
fn bye_to_a_silent_end_still_ends_the_call_and_is_answered() {
    let mut s = call(true, EDGE);
    let bye = s.caller.request(b"BYE").build();
    s.world.ask(EDGE, &bye);
    assert_eq!(s.world.ports.in_use(), 0);
    s.world.layer.flow_down(s.world.now, INSIDE);
    s.world.settle();
    assert_eq!(s.world.words(EDGE), ["200"]);
    s.world.assert_idle();
}

#[test]
fn port_that_cannot_be_bound_ends_the_call() {
    let mut world = World::new();
    world.ask(EDGE, &invite("alice", Some(&edge_sdp(KEY_1))));
    let leg = *world.legs.keys().next().unwrap();
    let address = world.leg().local.rtp;
    world.out(EDGE);
    let report = media::Event::BindFailed { leg, address };
    world.cx(|b, cx| b.media_event(cx, &report));
    world.settle();
    assert_eq!(world.words(EDGE), ["503"]);
    assert!(world.events.contains(&Event::BindFailed));
    world.assert_idle();
}

#[test]
fn ports_that_run_out_refuse_the_next_call_only() {
    let mut world = World::new();
    let inside = "10.0.0.5".parse().unwrap();
    let mut rng = Rng::from_number(2);
    world.ports = Allocator::new(inside, 40_000..=40_001, Duration::ZERO, &mut rng);
    let s = call_in(world, EDGE);
    let mut world = s.world;
    let other = invite("carol", Some(&edge_sdp(KEY_1).replace("2a", "2b")));
    let other = other.edit().set(Name::CallId, b"another").finish();
    world.ask(EDGE, &other);
    assert_eq!(world.words(EDGE), ["100", "503"]);
    assert_eq!(world.b2bua.active(), 1);
    assert_eq!(world.ports.in_use(), 1);
}
