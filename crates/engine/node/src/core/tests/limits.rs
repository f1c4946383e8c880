//! How many calls and registrations there may be, and what status pages say of them.

use super::calls::{SDP_INSIDE, answer, follow, invite_from_client, sdp_edge};
use super::*;

fn world(limits: &str) -> World {
    let mut world = World::new(&format!("{REGISTRAR}\n[calls]\n{limits}\n"), no_inside);
    world.registered("1001", "t1");
    world
}

fn shown(world: &mut World) -> ::status::CallRow {
    let look = world.core.snapshot(world.now);
    look.calls.into_iter().next().unwrap()
}

#[test]
fn call_over_the_limit_is_answered_503_with_a_wait_and_one_that_ends_makes_room() {
    let mut world = world("concurrent_max = 1");
    let invite = world.ask(LANE, &invite_from_client("t1"));
    let inside = world.dialled("10.0.0.5");
    let sent = world.one(inside);
    world.ask(LANE, &invite_from_client("t1").replace("call1", "call2"));
    let refused: Vec<Message> = world.out(LANE);
    let refused = refused.last().unwrap();
    assert_eq!(refused.status(), 503);
    let wait: u32 = text(refused.header(Name::RetryAfter)).parse().unwrap();
    assert!((5..15).contains(&wait));
    let event = world.events.iter().find(|e| e.kind == Kind::CallsFull);
    let event = event.unwrap();
    assert_eq!(event.cause, "calls.concurrent_max is reached");
    assert!(event.proof.contains(&("max", "1".to_owned())));
    assert!(world.out(inside).is_empty());
    // What is under way goes on.
    world.take(
        inside,
        answer(&sent, "p", "<sip:1100@10.0.0.31>", SDP_INSIDE),
    );
    let ok = world.one(LANE);
    assert_eq!(ok.status(), 200);
    world.ask(LANE, &follow("ACK", &invite, &ok, 1));
    let _ = world.one(inside);
    world.ask(LANE, &follow("BYE", &invite, &ok, 2));
    let bye = world.one(inside);
    world.take(inside, bye.reply(200, "OK", "p").build());
    let _ = world.one(LANE);
    world.media_ends();
    world.ask(LANE, &invite_from_client("t1").replace("call1", "call3"));
    assert_eq!(world.one(inside).method(), Method::Invite);
    let kinds = world.kinds();
    let near = kinds.iter().filter(|k| **k == Kind::CallsNear).count();
    let far = kinds.iter().filter(|k| **k == Kind::CallsFar).count();
    assert_eq!((near, far), (2, 1));
}

#[test]
fn one_user_has_a_share_of_calls_and_of_media_streams_and_another_has_room() {
    for limits in ["per_user_max = 2", "media_per_user_max = 2"] {
        let mut world = world(limits);
        world.registered("1002", "t2");
        let statuses: Vec<u16> = ["call1", "call2", "call3"]
            .into_iter()
            .map(|id| {
                let invite = invite_from_client("t1").replace("call1", id);
                let invite = invite.replace("00000011", &format!("0000001{}", &id[4..]));
                world.ask(LANE, &invite);
                world.out(LANE).last().map_or(0, Message::status)
            })
            .collect();
        assert_eq!(statuses, [100, 100, 503], "{limits}");
        let event = world.events.iter().find(|e| e.kind == Kind::CallsFull);
        assert!(event.unwrap().cause.starts_with("one user has"));
        let other = invite_from_client("t2").replace("1001", "1002");
        world.ask(
            LANE,
            &other
                .replace("call1", "call4")
                .replace("00000011", "00000021"),
        );
        assert_eq!(world.out(LANE).last().map_or(0, Message::status), 100);
    }
}

#[test]
fn call_is_shown_with_its_type_and_as_video_until_it_is_set_up() {
    let mut world = world("licences = 0");
    world.ask(LANE, &invite_from_client("t1"));
    let inside = world.dialled("10.0.0.5");
    let sent = world.one(inside);
    let row = shown(&mut world);
    assert_eq!(
        (row.kind.as_str(), row.content.as_str()),
        ("Unified CM remote session", "video")
    );
    assert_eq!(row.components.len(), 3);
    world.take(
        inside,
        answer(&sent, "p", "<sip:1100@10.0.0.31>", SDP_INSIDE),
    );
    assert_eq!(shown(&mut world).content, "audio");
    let capacity = world.core.snapshot(world.now).capacity.unwrap();
    assert_eq!(
        (
            capacity.remote_sessions,
            capacity.calls_peak,
            capacity.calls_max
        ),
        (1, 1, 2_000)
    );
    assert_eq!((capacity.licences, capacity.licences_max), (0, Some(0)));
}

#[test]
fn call_with_an_extra_line_counts_as_video_to_its_end_and_in_the_history() {
    let mut world = world("");
    let video = |port| format!("m=video {port} RTP/AVP 97\r\n");
    let offer = sdp_edge("00000011")
        + "m=video 36000 RTP/SAVP 97\r\n\
           a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n\
           a=x-causeway-stream:00000012\r\n";
    let head = invite_from_client("t1");
    let head = head.split("Content-Type").next().unwrap();
    let invite = world.ask(LANE, &super::calls::with_body(head, &offer));
    let inside = world.dialled("10.0.0.5");
    let sent = world.one(inside);
    let body = format!("{SDP_INSIDE}{}", video(4002));
    world.take(inside, answer(&sent, "p", "<sip:1100@10.0.0.31>", &body));
    let ok = world.one(LANE);
    assert_eq!(shown(&mut world).content, "video");
    world.ask(LANE, &follow("ACK", &invite, &ok, 1));
    let _ = world.one(inside);
    world.ask(LANE, &follow("BYE", &invite, &ok, 2));
    let bye = world.one(inside);
    world.take(inside, bye.reply(200, "OK", "p").build());
    world.media_ends();
    let look = world.core.snapshot(world.now);
    let row = look.history.first().unwrap();
    assert_eq!(
        (row.kind.as_str(), row.content.as_str()),
        ("Unified CM remote session", "video")
    );
    assert_eq!(row.from.expose(), "sip:1001@example.test");
}

#[test]
fn call_that_is_refused_is_shown_by_what_it_offered() {
    let video = "m=video 36000 RTP/SAVP 97\r\n\
        a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz\r\n\
        a=x-causeway-stream:00000012\r\n";
    let audio = sdp_edge("00000011");
    let off = video.replace("36000", "0");
    for (offer, content) in [
        (audio.clone(), "audio"),
        (format!("{audio}{video}"), "video"),
        (format!("{audio}{off}"), "audio"),
        (String::new(), ""),
    ] {
        let mut world = world("");
        let head = invite_from_client("t1");
        let head = head.split("Content-Type").next().unwrap();
        let invite = match offer.as_str() {
            "" => format!("{head}Content-Length: 0\r\n\r\n"),
            offer => super::calls::with_body(head, offer),
        };
        world.ask(LANE, &invite);
        let inside = world.dialled("10.0.0.5");
        let sent = world.one(inside);
        // While it is set up it counts as video (F277).
        assert_eq!(shown(&mut world).content, "video");
        world.take(inside, sent.reply(486, "Busy Here", "p").build());
        world.media_ends();
        let look = world.core.snapshot(world.now);
        assert_eq!(look.history[0].content, content, "{offer}");
    }
}

#[test]
fn registration_over_the_limit_is_answered_503_and_a_refresh_is_not() {
    let mut world = world("registrations_max = 1");
    world.registered("1001", "t1");
    let contact = "Contact: <sip:1002@198.51.100.7:5555;transport=tls>\r\nExpires: 600\r\n";
    world.register("1002", "pw", "t2", contact);
    let refused = world.one(LANE);
    assert_eq!(refused.status(), 503);
    assert!(refused.header(Name::RetryAfter).is_some());
    assert!(world.kinds().contains(&Kind::RegistrationsFull));
    assert_eq!(world.core.registrar.len(), 1);
}
