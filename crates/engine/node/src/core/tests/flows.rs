//! A device with two flows, of which the edge loses one (RFC 5626 §5.3).

use super::calls::{answer, invite_from_phone, sdp_edge, stream_of};
use super::*;

/// The same device by two flows; gives the way to the first.
fn two_flows(world: &mut World) -> String {
    let mut path = String::new();
    for (token, reg_id) in [("t1", 1), ("t2", 2)] {
        let contact = format!(
            "Contact: <sip:1001@198.51.100.7:555{reg_id};transport=tls>;\
             +sip.instance=\"<urn:uuid:1>\";reg-id={reg_id}\r\nExpires: 600\r\n"
        );
        world.register("1001", "pw", token, &contact);
        let inside = world.dialled("10.0.0.5");
        let request = world.one(inside);
        if path.is_empty() {
            path = text(request.header(Name::Path));
        }
        let reply = request
            .reply(200, "OK", "k")
            .header(Name::Contact, request.header(Name::Contact).unwrap())
            .header(Name::Expires, "600");
        world.take(inside, reply.build());
        assert_eq!(world.one(LANE).status(), 200);
    }
    assert_eq!(world.core.registrar.iter().count(), 2);
    path
}

fn message_to(path: &str) -> String {
    format!(
        "MESSAGE sip:1001@198.51.100.7:5551;transport=tls SIP/2.0\r\nRoute: {path}\r\n\
         From: <sip:1100@example.test>;tag=k\r\nTo: <sip:1001@example.test>\r\nCall-ID: m\r\n\
         CSeq: 1 MESSAGE\r\nContent-Length: 0\r\n\r\n"
    )
}

fn route(message: &Message) -> String {
    text(message.header(Name::Route))
}

#[test]
fn a_request_whose_flow_is_gone_takes_the_devices_next_one_before_it_is_given_up() {
    let mut world = World::new(REGISTRAR, no_inside);
    let path = two_flows(&mut world);
    let inside = world.dialled("10.0.0.5");
    world.ask(inside, &message_to(&path));
    let first = world.one(LANE);
    assert!(route(&first).starts_with("<sip:t1@"));
    world.take(LANE, first.reply(430, "Flow Failed", "e").build());
    let second = world.one(LANE);
    assert!(route(&second).starts_with("<sip:t2@"));
    assert_eq!(
        second.request_uri(),
        b"sip:1001@198.51.100.7:5552;transport=tls"
    );
    assert!(world.out(inside).is_empty(), "nobody has been answered yet");
    assert_eq!(world.core.registrar.iter().count(), 1);
    world.take(LANE, second.reply(200, "OK", "c").build());
    assert_eq!(world.one(inside).status(), 200);

    // The last one is gone as well.
    world.ask(
        inside,
        &message_to(&path).replace("Call-ID: m", "Call-ID: n"),
    );
    assert_eq!(world.one(inside).status(), 404, "its contact is no more");
}

#[test]
fn a_device_whose_only_flow_is_gone_is_away() {
    let mut world = World::new(REGISTRAR, no_inside);
    let path = text(world.registered("1001", "t1").header(Name::Path));
    let inside = world.dialled("10.0.0.5");
    world.ask(inside, &message_to(&path));
    let first = world.one(LANE);
    world.take(LANE, first.reply(430, "Flow Failed", "e").build());
    assert_eq!(world.one(inside).status(), 480);
    assert!(world.core.registrar.is_empty() && world.out(LANE).is_empty());
}

#[test]
fn a_call_whose_flow_is_gone_rings_at_the_devices_next_one() {
    let mut world = World::new(REGISTRAR, no_inside);
    let path = two_flows(&mut world);
    let inside = world.dialled("10.0.0.5");
    world.ask(inside, &invite_from_phone(&path));
    let first = world.one(LANE);
    assert!(route(&first).starts_with("<sip:t1@"));
    world.take(LANE, first.reply(430, "Flow Failed", "e").build());
    let mut sent = world.out(LANE);
    assert_eq!(sent.remove(0).method(), Method::Ack);
    let second = sent.remove(0);
    assert_eq!(second.method(), Method::Invite);
    assert!(route(&second).starts_with("<sip:t2@"));
    assert!(world.out(inside).iter().all(|m| m.status() == 100));
    assert_eq!(world.core.snapshot(world.now).calls.len(), 1);
    world.take(
        LANE,
        answer(
            &second,
            "c",
            "<sip:1001@198.51.100.7:5552>",
            &sdp_edge(&stream_of(&second)),
        ),
    );
    let ok = world.one(inside);
    assert_eq!(ok.status(), 200);
    let counts = world.core.b2bua.counts();
    assert_eq!((counts.calls, world.core.called.len()), (1, 1));
    let began = |k: &&Kind| **k == Kind::CallBegan;
    assert_eq!(world.kinds().iter().filter(began).count(), 1);
    // Ports and streams of the first attempt are free again.
    let ports = world.core.snapshot(world.now).counters.media_ports_in_use;
    assert_eq!(ports, 1);
}
