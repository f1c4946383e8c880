//! More than the core can handle.

use std::collections::BTreeSet;

use super::calls::{SDP_INSIDE, answer, follow, invite_from_client};
use super::*;

fn wait(world: &mut World, ms: u64) {
    world.give(Input::Waited(Duration::from_millis(ms)));
}

/// A registered client in a call; gives a request in its dialog.
fn world(settings: &str) -> (World, String) {
    let mut world = World::new(&format!("{REGISTRAR}{settings}"), no_inside);
    world.registered("1001", "t1");
    let invite = world.ask(LANE, &invite_from_client("t1"));
    let inside = world.dialled("10.0.0.5");
    let sent = world.one(inside);
    let body = SDP_INSIDE;
    world.take(inside, answer(&sent, "p", "<sip:1100@10.0.0.31>", body));
    let ok = world.one(LANE);
    world.ask(LANE, &follow("ACK", &invite, &ok, 1));
    let _ = world.out(inside);
    let bye = follow("BYE", &invite, &ok, 2);
    (world, bye)
}

/// Who is refused of: a new client, a new call, what is in a call, a refresh, help, an end.
fn refused(world: &mut World, bye: &str, round: u32) -> Vec<bool> {
    let contact = "Contact: <sip:1002@198.51.100.8:5555;transport=tls>\r\nExpires: 600\r\n";
    let new_call = invite_from_client("t1").replace("call1", &format!("call-{round}"));
    let info = bye.replace("BYE", "INFO");
    let info = info.replace("CSeq: 2 ", &format!("CSeq: {} ", 10 + round));
    let help = new_call
        .replace("sip:1100@example.test SIP", "urn:service:sos SIP")
        .replace("call-", "sos-");
    let mut out = Vec::new();
    let inside = world.dialled("10.0.0.5");
    let mut told = |world: &mut World, sent: &Message| {
        let answers: Vec<Message> = world.out(LANE);
        let busy = |m: &&Message| !m.is_request() && m.status() == 503;
        let busy = answers.iter().find(busy);
        if let Some(busy) = busy {
            let wait: u32 = text(busy.header(Name::RetryAfter)).parse().unwrap();
            assert!((1..=10).contains(&wait), "{wait}");
            assert_eq!(busy.call_id(), sent.call_id());
        }
        let _ = world.out(inside);
        out.push(busy.is_some());
    };
    let sent = world.register("1002", "pw", "t2", contact);
    told(world, &sent);
    for text in [&new_call, &info] {
        let sent = world.ask(LANE, text);
        told(world, &sent);
    }
    let contact = "Contact: <sip:1001@198.51.100.7:5555;transport=tls>\r\nExpires: 600\r\n";
    let sent = world.register("1001", "pw", "t1", contact);
    told(world, &sent);
    let sent = world.ask(LANE, &help);
    told(world, &sent);
    out
}

#[test]
fn overload_refuses_what_edges_send_new_work_first_and_refreshes_last() {
    let (mut world, bye) = world("");
    let mut rows = Vec::new();
    for (round, waited) in [0, 160, 200, 400, 800].into_iter().enumerate() {
        wait(&mut world, waited);
        rows.push(refused(&mut world, &bye, round as u32));
    }
    let (no, yes) = (false, true);
    assert_eq!(
        rows,
        [
            [no, no, no, no, no],
            [yes, no, no, no, no],
            [yes, yes, no, no, no],
            [yes, yes, yes, no, no],
            [yes, yes, yes, yes, no],
        ]
    );
    assert_eq!(world.core.snapshot(world.now).counters.shed, 10);
    // What ends a call is never refused.
    let inside = world.dialled("10.0.0.5");
    world.ask(LANE, &bye.replace("CSeq: 2 ", "CSeq: 90 "));
    assert_eq!(world.one(inside).method(), Method::Bye);
    let told = |world: &World, kind| world.events.iter().filter(|e| e.kind == kind).count();
    assert_eq!(told(&world, Kind::Overloaded), 1);
    let event = world.events.iter().find(|e| e.kind == Kind::Overloaded);
    let event = event.unwrap();
    assert_eq!(event.cause, "messages wait 160 ms for the node");
    assert!(event.proof.contains(&("edges", "1".to_owned())));
    // It passes by itself, and is told once.
    world.wait(Duration::from_secs(10));
    assert_eq!(told(&world, Kind::OverloadOver), 1);
    assert_eq!(refused(&mut world, &bye, 9)[..2], [no, no]);
}

#[test]
fn other_thresholds_are_heeded_and_the_times_to_come_back_are_spread() {
    let settings = "[overload]\nrefuse_strangers_ms = 20\nrefuse_new_ms = 30\n\
                    refuse_refreshes_ms = 60000\nstep_down_ms = 60000\n";
    let (mut world, bye) = world(settings);
    wait(&mut world, 19);
    assert_eq!(refused(&mut world, &bye, 0)[..2], [false, false]);
    wait(&mut world, 30);
    assert_eq!(
        refused(&mut world, &bye, 1),
        [true, true, false, false, false]
    );
    let mut times = BTreeSet::new();
    for n in 0..40 {
        let call = invite_from_client("t1").replace("call1", &format!("x{n}"));
        world.ask(LANE, &call);
        let busy = world.out(LANE);
        times.insert(text(busy.last().unwrap().header(Name::RetryAfter)));
    }
    assert!(times.len() > 5, "{times:?}");
}

#[test]
fn call_for_help_is_not_refused_though_its_flow_has_no_registration() {
    let (mut world, _) = world("");
    wait(&mut world, 800);
    let call = invite_from_client("t9").replace("call1", "call-9");
    let help = call.replace("sip:1100@example.test SIP", "urn:service:sos SIP");
    for (text, busy) in [(call, true), (help.replace("call-9", "sos-9"), false)] {
        world.ask(LANE, &text);
        let refused = world.out(LANE).iter().any(|m| m.status() == 503);
        assert_eq!(refused, busy, "{text}");
    }
}
