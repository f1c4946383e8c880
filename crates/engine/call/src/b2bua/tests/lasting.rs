//! A call whose ends are there is not ended by what we ask of them.

use super::session::{BOTH_IGNORANT, Ends, OURS, begun, expires};
use super::*;

/// The client's way after it has moved to another edge.
const MOVED: FlowId = Id::new(11, 0);

fn moves(s: &mut Standing) {
    let side = Side::Edge { link: LinkId(5) };
    s.world.cx(|b, cx| {
        let call = CallId(b.calls.iter().next().unwrap().0);
        b.client_moved(cx, call, side, MOVED, b"<sip:t9@edge2.example.test;lr>");
    });
    s.world.settle();
}

fn gone(s: &mut Standing) -> bool {
    s.world.b2bua.active() == 0
}

/// The callee wants refreshes of us, every half an hour.
const LONG: Ends = Ends {
    callee: Some("1800;refresher=uac"),
    ..BOTH_IGNORANT
};

#[test]
fn question_that_is_out_when_the_client_moves_does_not_end_its_call() {
    let (mut s, ..) = begun(OURS);
    s.world.wait(50_000);
    let update = s.world.one(INSIDE);
    s.world.take(INSIDE, update.reply(200, "OK", "").build());
    assert_eq!(s.world.words(EDGE), ["OPTIONS"]);
    moves(&mut s);
    s.world.wait(33_000);
    assert!(!gone(&mut s));
}

#[test]
fn refresh_that_is_out_when_the_client_moves_is_sent_on_its_new_way() {
    for update in [true, false] {
        let (mut s, ..) = begun(Ends {
            near: INSIDE,
            update,
            ..OURS
        });
        s.world.wait(50_000);
        let options = s.world.one(INSIDE);
        s.world.take(INSIDE, options.reply(200, "OK", "").build());
        let old = s.world.one(EDGE);
        moves(&mut s);
        s.world.wait(0);
        let options = s.world.one(INSIDE);
        s.world.take(INSIDE, options.reply(200, "OK", "").build());
        let new = s.world.one(MOVED);
        assert_eq!(new.method(), old.method());
        let sdp = (!update).then(|| edge_answer(&new, KEY_2));
        let ok = reply(&new, 200, "", sdp.as_deref());
        let mut ok = ok.edit();
        ok.push_back(Name::SessionExpires, "100;refresher=uac");
        let ok = ok.finish();
        s.world.take(MOVED, ok);
        let acks = s.world.words(MOVED);
        assert_eq!(acks.is_empty(), update);
        // The client had got the old one as well.
        s.world.take(MOVED, reply(&old, 200, "", None));
        assert_eq!(
            s.world.words(MOVED),
            acks,
            "a 2xx to an INVITE is acknowledged"
        );
        s.world.wait(33_000);
        assert!(!gone(&mut s));
    }
}

#[test]
fn old_edges_streams_are_not_offered_by_a_refresh_after_the_client_has_moved() {
    let (mut s, ..) = begun(Ends {
        update: false,
        ..OURS
    });
    moves(&mut s);
    s.world.wait(50_000);
    let refresh = s.world.one(INSIDE);
    // There is nothing to offer: an UPDATE is better than silence.
    assert_eq!(refresh.method(), Method::Update);
    assert!(refresh.body().is_empty());
    // It knows no UPDATE, and is not asked without end.
    s.world
        .take(INSIDE, refresh.reply(405, "Not Allowed", "").build());
    s.world.wait(9_000);
    assert!(s.world.out(INSIDE).is_empty());
    s.world.wait(1_000);
    assert_eq!(s.world.words(INSIDE), ["UPDATE"]);
}

#[test]
fn end_that_has_answered_an_update_is_refreshed_by_one_whatever_it_allows() {
    let (mut s, ..) = begun(Ends {
        update: false,
        ..OURS
    });
    let update = s.caller.request(b"UPDATE");
    let update = update.header(Name::Contact, b"<sip:a@x>").build();
    let (_, got) = s.carry(EDGE, update);
    let ok = got.reply(200, "OK", "");
    let ok = ok.header(Name::SessionExpires, "100;refresher=uac");
    s.world.take(INSIDE, ok.build());
    s.world.out(EDGE);
    s.world.wait(50_000);
    assert_eq!(s.world.words(INSIDE), ["UPDATE"]);
}

/// Answers what is asked on a flow: 0 for nobody does.
fn answer(s: &mut Standing, flow: FlowId, status: u16) {
    let asked = s.world.one(flow);
    assert!(matches!(asked.method(), Method::Options | Method::Update));
    match status {
        0 => s.world.wait(32_000),
        _ => s.world.take(flow, asked.reply(status, "Any", "").build()),
    }
}

#[test]
fn end_that_is_not_met_is_asked_once_more_before_its_call_is_over() {
    for status in [408, 430, 0] {
        for again in [200, status] {
            let (mut s, ..) = begun(BOTH_IGNORANT);
            s.world.wait(900_000);
            answer(&mut s, INSIDE, 200);
            answer(&mut s, EDGE, status);
            assert!(!gone(&mut s), "{status}");
            s.world.wait(39_000);
            assert!(s.world.sent.iter().all(|(_, m)| m.is_request()));
            s.world.out(EDGE);
            assert!(!gone(&mut s), "{status}");
            s.world.wait(1_000);
            answer(&mut s, EDGE, again);
            assert_eq!(gone(&mut s), again != 200, "{status}");
            if again == 200 {
                // It has been met: the next is the first again.
                let now = s.world.now.instant.as_micros() / 1_000;
                s.world.wait(1_800_000 - now);
                s.world.out(INSIDE);
                answer(&mut s, EDGE, status);
                assert!(!gone(&mut s), "{status}");
            }
        }
    }
}

#[test]
fn refresh_that_meets_nobody_is_tried_again_and_ends_the_call_when_that_does_not_either() {
    for (status, until) in [(408, 940), (430, 940), (0, 974)] {
        let (mut s, ..) = begun(LONG);
        s.world.wait(900_000);
        answer(&mut s, EDGE, 200);
        let (mut at, mut asked) = (900, 0);
        while !gone(&mut s) {
            for sent in s.world.out(INSIDE) {
                asked += 1;
                assert!(matches!(sent.method(), Method::Options | Method::Update));
                if status != 0 {
                    s.world.take(INSIDE, sent.reply(status, "Any", "").build());
                }
            }
            for options in s.world.out(EDGE) {
                if options.method() == Method::Options {
                    s.world.take(EDGE, options.reply(200, "OK", "").build());
                }
            }
            if !gone(&mut s) {
                s.world.wait(1_000);
                at += 1;
            }
        }
        assert!(asked > 1);
        assert_eq!(at, until, "{status}");
    }
}

#[test]
fn end_that_wants_ever_longer_intervals_is_heeded_once() {
    let (mut s, ..) = begun(OURS);
    s.world.wait(50_000);
    let mut sent = Vec::new();
    for least in 400..410 {
        for update in s.world.out(INSIDE) {
            sent.push(expires(&update).unwrap());
            let small = update.reply(422, "Session Interval Too Small", "");
            let small = small.header(Name::MinSe, least.to_string());
            s.world.take(INSIDE, small.build());
        }
        s.world.wait(0);
    }
    let value = |n: u32| format!("{n};refresher=uac");
    assert_eq!(sent, [value(100), value(400)]);
    s.world.wait(10_000);
    let update = s.world.one(INSIDE);
    assert_eq!(expires(&update), Some(value(400)));
}

#[test]
fn no_interval_is_longer_than_a_day() {
    let (mut s, ..) = begun(OURS);
    s.world.wait(50_000);
    let update = s.world.one(INSIDE);
    let small = update.reply(422, "Session Interval Too Small", "");
    s.world
        .take(INSIDE, small.header(Name::MinSe, "4000000000").build());
    s.world.wait(0);
    let update = s.world.one(INSIDE);
    assert_eq!(expires(&update).as_deref(), Some("86400;refresher=uac"));
    // Who refreshes more seldom is asked meanwhile: it does nothing wrong.
    for refresher in ["uas", "uac"] {
        let (mut s, ..) = begun(Ends {
            caller: refresher == "uac",
            callee: Some("4294967295;refresher=uas"),
            ..BOTH_IGNORANT
        });
        for _ in 0..5 {
            s.world.wait(43_200_000);
            answer(&mut s, EDGE, 200);
            answer(&mut s, INSIDE, 200);
        }
        assert!(!gone(&mut s));
    }
}

#[test]
fn refresh_that_finds_no_room_waits_like_one_that_is_refused() {
    let (mut s, ..) = begun(OURS);
    s.world.wait(45_000);
    let mut under_way = Vec::new();
    for _ in 0..15 {
        let info = s.caller.request(b"INFO").build();
        under_way.push(s.carry(EDGE, info).1);
    }
    s.world.wait(5_000);
    for info in under_way {
        s.world.take(INSIDE, info.reply(200, "OK", "").build());
    }
    s.world.wait(9_000);
    assert!(s.world.out(INSIDE).is_empty());
    s.world.wait(1_000);
    assert_eq!(s.world.words(INSIDE), ["UPDATE"]);
}

/// A request of the inside that is out when the client moves to another edge.
fn out_when_moving(method: &[u8]) -> (Standing, Message) {
    let mut s = call(true, EDGE);
    let request = match method {
        b"INFO" => s.callee.request(method).build(),
        _ => s.change(INSIDE, method, &inside_sdp().replace("20000", "20200")),
    };
    let (_, old) = s.carry(INSIDE, request);
    s.world.out(INSIDE);
    moves(&mut s);
    (s, old)
}

#[test]
fn change_that_is_out_when_the_client_moves_is_made_on_its_new_way() {
    for method in [&b"INVITE"[..], b"UPDATE"] {
        let (mut s, old) = out_when_moving(method);
        let new = s.world.one(MOVED);
        assert_eq!(new.method_bytes(), method);
        let number = |m: &Message| m.cseq().unwrap().number;
        assert!(number(&new) > number(&old));
        let stream = |m: &Message| {
            let text = text(m);
            text.split("x-causeway-stream:").nth(1).unwrap()[..8].to_owned()
        };
        assert_ne!(stream(&new), stream(&old), "streams are the link's");
        s.world
            .take(MOVED, reply(&new, 200, "", Some(&edge_answer(&new, KEY_2))));
        let ok = s.world.one(INSIDE);
        assert_eq!(ok.status(), 200);
        assert_eq!(s.world.leg().remote.unwrap().rtp.port(), 20200);
        if method == b"INVITE" {
            let ack = s.callee.ack(ok.cseq().unwrap().number).build();
            s.world.ask(INSIDE, &ack);
            assert_eq!(s.world.words(MOVED), ["ACK"]);
            // The client had got the old one as well, and its answer counts no more.
            s.world.take(MOVED, reply(&old, 200, "", None));
            assert_eq!(s.world.words(MOVED), ["ACK"]);
        }
        s.world.wait(33_000);
        assert!(!gone(&mut s), "the old one runs out");
        assert!(s.world.out(INSIDE).is_empty());
    }
}

#[test]
fn request_that_is_out_when_the_client_moves_is_answered_so_that_it_ends_nothing() {
    let (mut s, old) = out_when_moving(b"INFO");
    let answer = s.world.one(INSIDE);
    assert!(s.world.out(MOVED).is_empty(), "the client may have it");
    // 408 would end the dialog (RFC 3261 §12.2.1.2).
    assert_eq!(answer.status(), 500);
    assert!(answer.header(Name::RetryAfter).is_some());
    s.world.take(MOVED, reply(&old, 200, "", None));
    assert!(s.world.out(INSIDE).is_empty());
    s.world.wait(33_000);
    assert!(!gone(&mut s));
    let info = s.callee.request(b"INFO").build();
    s.world.ask(INSIDE, &info);
    assert_eq!(s.world.words(MOVED), ["INFO"]);
}

#[test]
fn client_that_comes_back_to_its_edge_is_asked_anew_unless_the_asker_has_taken_it_back() {
    for cancels in [false, true] {
        let mut s = call(true, EDGE);
        let request = s.change(INSIDE, b"INVITE", &inside_sdp());
        let (asked, old) = s.carry(INSIDE, request);
        s.world.out(INSIDE);
        if cancels {
            let cseq = asked.cseq().unwrap().number;
            let field = |name| asked.header(name).unwrap();
            let cancel = sip::RequestBuilder::new(b"CANCEL", asked.request_uri())
                .header(Name::Via, field(Name::Via))
                .header(Name::From, field(Name::From))
                .header(Name::To, field(Name::To))
                .header(Name::CallId, field(Name::CallId))
                .header(Name::CSeq, format!("{cseq} CANCEL"))
                .build();
            s.world.take(INSIDE, cancel);
            assert_eq!(s.world.words(INSIDE), ["200"]);
        }
        s.world.out(EDGE);
        s.world.cx(|b, cx| {
            let call = CallId(b.calls.iter().next().unwrap().0);
            b.client_back(cx, call);
        });
        s.world.settle();
        if cancels {
            assert_eq!(s.world.words(INSIDE), ["487"]);
            assert!(s.world.out(EDGE).is_empty());
            continue;
        }
        let new = s.world.one(EDGE);
        assert_eq!(text(&new), text(&old), "the same offer");
        s.world
            .take(EDGE, reply(&new, 200, "", Some(&edge_answer(&new, KEY_2))));
        let ok = s.world.one(INSIDE);
        assert_eq!(ok.status(), 200);
        let ack = s.callee.ack(ok.cseq().unwrap().number).build();
        s.world.ask(INSIDE, &ack);
        assert_eq!(s.world.words(EDGE), ["ACK"]);
        s.world.wait(33_000);
        assert!(!gone(&mut s));
        s.hang_up(INSIDE).assert_idle();
    }
}

#[test]
fn request_that_does_not_reach_the_client_does_not_end_its_call_while_that_is_there() {
    for method in [&b"INFO"[..], b"INVITE", b"UPDATE"] {
        for status in [408, 0] {
            for lives in [true, false] {
                let mut s = call(true, EDGE);
                let request = s.change(INSIDE, method, &inside_sdp());
                let (_, got) = s.carry(INSIDE, request);
                s.world.out(INSIDE);
                match status {
                    0 => s.world.wait(32_000),
                    _ => s.world.take(EDGE, reply(&got, status, "", None)),
                }
                // To what is no INVITE nobody waits so long (RFC 4320 §4.2).
                if status != 0 || method == b"INVITE" {
                    let answer = s.world.one(INSIDE);
                    assert_eq!(answer.status(), 500, "{status}");
                    assert!(answer.header(Name::RetryAfter).is_some());
                }
                assert!(!gone(&mut s));
                s.world.out(EDGE);
                s.world.wait(40_000);
                let asked = s.world.one(EDGE);
                assert_eq!(asked.method(), Method::Options);
                if lives {
                    s.world.take(EDGE, asked.reply(200, "OK", "").build());
                    s.world.wait(80_000);
                    assert!(!gone(&mut s));
                } else {
                    s.world.wait(32_000);
                    assert!(gone(&mut s), "{status}");
                    assert_eq!(s.world.words(INSIDE), ["BYE"]);
                }
            }
        }
    }
}

#[test]
fn inside_that_says_nothing_to_a_client_is_gone() {
    let mut s = call(true, EDGE);
    let info = s.caller.request(b"INFO").build();
    s.carry(EDGE, info);
    s.world.wait(32_000);
    assert!(gone(&mut s));
    assert_eq!(s.world.words(EDGE), ["BYE"]);
}

#[test]
fn interval_of_ours_that_is_too_small_for_a_change_is_ours_to_raise() {
    for (from, to) in [(INSIDE, EDGE), (EDGE, INSIDE)] {
        for method in [&b"INVITE"[..], b"UPDATE"] {
            let mut s = call(true, EDGE);
            let stream = s.world.leg().stream.0;
            let offer = match from {
                INSIDE => inside_sdp(),
                _ => edge_sdp(KEY_1).replace("0000002a", &format!("{stream:08x}")),
            };
            let request = s.change(from, method, &offer);
            let (_, first) = s.carry(from, request);
            s.world.out(from);
            let small = first.reply(422, "Session Interval Too Small", "");
            s.world.take(to, small.header(Name::MinSe, "3600").build());
            let told = s.world.out(from);
            assert!(told.iter().all(|m| m.status() == 100), "it asked for none");
            let mut sent = s.world.out(to);
            sent.retain(|m| m.method() != Method::Ack);
            let [again] = sent.as_slice() else {
                panic!("{sent:?}")
            };
            assert_eq!(expires(again).as_deref(), Some("3600"));
            assert_eq!(again.header(Name::MinSe), Some(&b"3600"[..]));
            assert_eq!(text(again), text(&first));
            let answer = match to {
                INSIDE => inside_sdp(),
                _ => edge_answer(again, KEY_2),
            };
            s.world.take(to, reply(again, 200, "", Some(&answer)));
            assert_eq!(s.world.one(from).status(), 200);
        }
    }
}

#[test]
fn who_asked_for_too_small_an_interval_itself_is_told() {
    let mut s = call(true, EDGE);
    let request = s.change(INSIDE, b"UPDATE", &inside_sdp());
    let mut edit = request.edit();
    edit.push_back(Name::SessionExpires, "600");
    edit.push_back(Name::Supported, "timer");
    let (_, got) = s.carry(INSIDE, edit.finish());
    let small = got.reply(422, "Session Interval Too Small", "");
    s.world
        .take(EDGE, small.header(Name::MinSe, "3600").build());
    let refused = s.world.one(INSIDE);
    assert_eq!(refused.status(), 422);
    assert_eq!(refused.header(Name::MinSe), Some(&b"3600"[..]));
    assert!(s.world.out(EDGE).is_empty());
}

#[test]
fn refresh_by_invite_is_byte_for_byte_what_the_end_was_last_shown() {
    // What the callee was offered: more suites than it chose.
    for near in [EDGE, INSIDE] {
        let (mut s, offered, _) = begun(Ends {
            near,
            update: false,
            ..OURS
        });
        s.world.wait(50_000);
        let far = s.other(near);
        let refresh = s.world.one(far);
        assert_eq!(refresh.method(), Method::Invite);
        assert_eq!(text(&refresh), text(&offered));
        let suites = text(&offered).matches("a=crypto:").count();
        assert_eq!(suites, if far == EDGE { 2 } else { 0 });
        let answer = match far {
            EDGE => edge_answer(&refresh, KEY_2),
            _ => inside_sdp(),
        };
        let before = s.world.leg();
        s.world.take(far, reply(&refresh, 200, "", Some(&answer)));
        s.world.wait(0);
        assert_eq!(s.world.leg(), before, "nothing has changed");
    }
}
