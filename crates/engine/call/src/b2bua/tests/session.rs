//! Session timers: what each leg is asked for and told, our own refreshes, and the end without.

use super::change::{held, holding};
use super::*;

const TIMER: &str = "timer";

fn field(message: &Message, name: Name) -> Option<String> {
    let value = message.header(name)?;
    Some(String::from_utf8_lossy(value).into_owned())
}

pub(super) fn expires(message: &Message) -> Option<String> {
    field(message, Name::SessionExpires)
}

/// What the two ends of a call say of timers.
#[derive(Clone, Copy)]
pub(super) struct Ends {
    pub(super) near: FlowId,
    /// The caller supports timers.
    pub(super) caller: bool,
    /// The callee's Session-Expires.
    pub(super) callee: Option<&'static str>,
    /// The callee allows UPDATE.
    pub(super) update: bool,
}

pub(super) const BOTH_IGNORANT: Ends = Ends {
    near: EDGE,
    caller: false,
    callee: None,
    update: true,
};

/// A call that stands; gives it with the INVITE as the callee got it, and the 200 as the caller.
pub(super) fn begun(ends: Ends) -> (Standing, Message, Message) {
    let mut world = World::with(true, 7);
    let near = ends.near;
    let (far, offer) = match near {
        EDGE => (INSIDE, edge_sdp(KEY_1)),
        _ => (EDGE, inside_sdp()),
    };
    let mut asked = invite("alice", Some(&offer));
    if ends.caller {
        asked = asked.edit().push_back(Name::Supported, TIMER).finish();
    }
    let asked = world.ask(near, &asked);
    let got = world.one(far);
    let answer = match near {
        EDGE => inside_sdp(),
        _ => edge_answer(&got, KEY_2),
    };
    let ok = reply(&got, 200, "b1", Some(&answer));
    let mut edit = ok.edit();
    let allow = if ends.update {
        "INVITE, UPDATE, BYE"
    } else {
        "INVITE, BYE"
    };
    edit.push_back(Name::Allow, allow);
    if let Some(agreed) = ends.callee {
        edit.push_back(Name::SessionExpires, agreed);
        edit.push_back(Name::Require, "100rel, timer");
    }
    let ok = edit.finish();
    world.take(far, ok);
    let told = world.out(near).pop().unwrap();
    assert_eq!(told.status(), 200);
    let caller = Dialog::uac(&asked, &told).unwrap();
    let callee = Dialog::uas(&got, "b1").unwrap();
    world.ask(near, &caller.ack(101).build());
    assert_eq!(world.words(far), ["ACK"]);
    world.commands();
    let standing = Standing {
        world,
        near,
        far,
        caller,
        callee,
    };
    (standing, got, told)
}

impl Standing {
    /// Both ends get a BYE within so long, and neither before.
    fn is_over_after(&mut self, seconds: u64) {
        self.world.wait((seconds - 1) * 1_000);
        assert_eq!(self.world.b2bua.active(), 1);
        self.world.wait(1_000);
        for flow in [EDGE, INSIDE] {
            let words = self.world.words(flow);
            assert_eq!(words.last().map(String::as_str), Some("BYE"), "{words:?}");
        }
        assert_eq!(self.world.records[0].cause, Cause::SessionExpired);
        self.world.assert_idle();
    }
}

#[test]
fn other_leg_is_asked_for_a_timer_whoever_calls_and_what_a_caller_asks_stays() {
    let (_, got, _) = begun(BOTH_IGNORANT);
    assert_eq!(expires(&got).as_deref(), Some("1800"));
    assert_eq!(field(&got, Name::Supported).as_deref(), Some(TIMER));
    for (fields, want, supported) in [
        (
            "Supported: 100rel\r\nSession-Expires: 600;refresher=uas",
            "600;refresher=uas",
            2,
        ),
        (
            "Supported: 100rel, TIMER\r\nSession-Expires: 95;odd=1",
            "95;odd=1",
            1,
        ),
        ("k: timer\r\nMin-SE: 3600", "3600", 1),
        ("x: 100", "100", 1),
    ] {
        let mut world = World::new();
        let mut edit = invite("alice", Some(&edge_sdp(KEY_1)));
        for line in fields.split("\r\n") {
            let (name, value) = line.split_once(": ").unwrap();
            let name = match name {
                "Supported" | "k" => Name::Supported,
                "Min-SE" => Name::MinSe,
                _ => Name::SessionExpires,
            };
            edit = edit.edit().push_back(name, value).finish();
        }
        world.ask(EDGE, &edit);
        let got = world.one(INSIDE);
        assert_eq!(expires(&got).as_deref(), Some(want), "{fields}");
        let fields = got.fields().filter(|f| f.id == Name::Supported).count();
        assert_eq!(fields, supported, "{want}");
    }
}

#[test]
fn caller_that_knows_timers_refreshes_though_the_callee_does_not() {
    for near in [EDGE, INSIDE] {
        let ends = Ends {
            near,
            caller: true,
            ..BOTH_IGNORANT
        };
        let (mut s, _, told) = begun(ends);
        assert_eq!(expires(&told).as_deref(), Some("1800;refresher=uac"));
        assert_eq!(field(&told, Name::Require).as_deref(), Some(TIMER));
        s.world.wait(1_700_000);
        assert!(s.world.sent.is_empty(), "it is the caller's turn");
        let update = s
            .caller
            .request(b"UPDATE")
            .header(Name::Contact, b"<sip:a@x>")
            .header(Name::Supported, TIMER)
            .header(Name::SessionExpires, "1800;refresher=uac");
        let (_, got) = s.carry(near, update.build());
        s.world.take(s.far, got.reply(200, "OK", "").build());
        let told = s.world.one(near);
        assert_eq!(expires(&told).as_deref(), Some("1800;refresher=uac"));
        s.is_over_after(1_800 - 32);
    }
}

#[test]
fn callee_that_refreshes_itself_is_let_and_its_timer_hidden_from_a_caller_without() {
    let ends = Ends {
        callee: Some("90;refresher=uas"),
        ..BOTH_IGNORANT
    };
    let (mut s, _, told) = begun(ends);
    assert_eq!(expires(&told), None);
    assert_eq!(field(&told, Name::Require).as_deref(), Some("100rel"));
    s.world.wait(50_000);
    let update = s
        .callee
        .request(b"UPDATE")
        .header(Name::Contact, b"<sip:b@x>")
        .header(Name::Supported, TIMER)
        .header(Name::SessionExpires, "90;refresher=uac");
    let (_, got) = s.carry(INSIDE, update.build());
    s.world.take(EDGE, got.reply(200, "OK", "").build());
    let told = s.world.one(INSIDE);
    assert_eq!(expires(&told).as_deref(), Some("90;refresher=uac"));
    s.is_over_after(60);
}

/// The callee wants the refreshes of us, every 100 s.
pub(super) const OURS: Ends = Ends {
    callee: Some("100;refresher=uac"),
    ..BOTH_IGNORANT
};

#[test]
fn we_refresh_by_update_where_the_caller_cannot_and_ask_the_caller_whether_it_is_there() {
    for near in [EDGE, INSIDE] {
        let (mut s, _, told) = begun(Ends { near, ..OURS });
        assert_eq!(expires(&told), None);
        for _ in 0..4 {
            s.world.wait(50_000);
            let update = s.world.one(s.far);
            assert_eq!(update.method(), Method::Update);
            assert_eq!(expires(&update).as_deref(), Some("100;refresher=uac"));
            assert_eq!(field(&update, Name::Supported).as_deref(), Some(TIMER));
            assert!(update.body().is_empty() && update.contacts().next().is_some());
            let ok = update.reply(200, "OK", "");
            let ok = ok.header(Name::SessionExpires, "100;refresher=uac").build();
            s.world.take(s.far, ok);
            let options = s.world.one(near);
            assert_eq!(options.method(), Method::Options);
            s.world.take(near, options.reply(200, "OK", "").build());
            assert!(s.world.sent.is_empty(), "nothing of it crosses");
        }
        // The callee takes it over.
        s.world.wait(50_000);
        let update = s.world.one(s.far);
        let ok = update.reply(200, "OK", "");
        let ok = ok.header(Name::SessionExpires, "100;refresher=uas").build();
        s.world.take(s.far, ok);
        let options = s.world.one(near);
        s.world.take(near, options.reply(200, "OK", "").build());
        s.is_over_after(100 - 32);
    }
}

#[test]
fn call_ends_where_our_refresh_or_question_meets_nobody() {
    // Who is silent or says so, and how.
    for (far, status) in [(true, 481), (false, 481), (true, 0)] {
        let (mut s, ..) = begun(OURS);
        s.world.wait(50_000);
        let (update, options) = (s.world.one(s.far), s.world.one(s.near));
        if !far {
            s.world.take(s.far, update.reply(200, "OK", "").build());
            s.world
                .take(s.near, options.reply(status, "Gone", "").build());
        } else if status > 0 {
            s.world.take(s.near, options.reply(200, "OK", "").build());
            s.world
                .take(s.far, update.reply(status, "Gone", "").build());
        } else {
            s.world.take(s.near, options.reply(200, "OK", "").build());
            s.world.wait(33_000);
        }
        assert_eq!(s.world.b2bua.active(), 0, "{far} {status}");
        for flow in [s.near, s.far] {
            assert_eq!(s.world.words(flow).pop().as_deref(), Some("BYE"));
        }
        s.world.assert_idle();
    }
}

#[test]
fn refresh_that_is_refused_is_tried_again_until_the_interval_is_over() {
    let (mut s, ..) = begun(OURS);
    s.world.wait(50_000);
    let options = s.world.one(s.near);
    s.world.take(s.near, options.reply(200, "OK", "").build());
    let update = s.world.one(s.far);
    s.world
        .take(s.far, update.reply(500, "Not Now", "").build());
    s.world.wait(10_000);
    let update = s.world.one(s.far);
    s.world
        .take(s.far, update.reply(500, "Not Now", "").build());
    // 100 s less 32, of which 60 are over.
    s.is_over_after(8);
}

#[test]
fn interval_too_small_for_a_refresh_is_made_longer_at_once() {
    let (mut s, ..) = begun(OURS);
    s.world.wait(50_000);
    let update = s.world.one(s.far);
    let small = update.reply(422, "Session Interval Too Small", "");
    s.world
        .take(s.far, small.header(Name::MinSe, "400").build());
    s.world.wait(0);
    let update = s.world.one(s.far);
    assert_eq!(expires(&update).as_deref(), Some("400;refresher=uac"));
}

/// Without UPDATE: the INVITE that refreshes.
fn refreshing(near: FlowId) -> (Standing, Message) {
    let ends = Ends {
        near,
        update: false,
        ..OURS
    };
    let (mut s, ..) = begun(ends);
    s.world.wait(50_000);
    let options = s.world.one(s.near);
    s.world.take(s.near, options.reply(200, "OK", "").build());
    let refresh = s.world.one(s.far);
    assert_eq!(refresh.method(), Method::Invite);
    (s, refresh)
}

/// A 200 to a refresh, with the callee's description.
fn agreed(refresh: &Message, flow: FlowId) -> Message {
    let sdp = match flow {
        INSIDE => inside_sdp(),
        _ => edge_answer(refresh, KEY_2),
    };
    let ok = reply(refresh, 200, "", Some(&sdp));
    ok.edit()
        .push_back(Name::SessionExpires, "100;refresher=uac")
        .finish()
}

#[test]
fn we_refresh_by_the_last_description_where_update_is_not_allowed() {
    for near in [EDGE, INSIDE] {
        let (mut s, mut refresh) = refreshing(near);
        let leg = s.world.leg();
        for _ in 0..3 {
            let origin = match near {
                EDGE => "o=alice 1 1 IN IP4 ",
                _ => "o=bob 7 7 IN IP4 ",
            };
            assert!(text(&refresh).contains(origin), "{}", text(&refresh));
            s.world.take(s.far, agreed(&refresh, s.far));
            assert_eq!(s.world.words(s.far), ["ACK"]);
            assert_eq!(s.world.leg(), leg, "media goes on as it was");
            assert!(s.world.commands().is_empty() && s.world.sent.is_empty());
            s.world.wait(50_000);
            let options = s.world.one(near);
            s.world.take(near, options.reply(200, "OK", "").build());
            refresh = s.world.one(s.far);
        }
        s.world.take(s.far, agreed(&refresh, s.far));
        s.world.out(s.far);
        s.hang_up(near).assert_idle();
    }
}

#[test]
fn update_that_is_not_implemented_after_all_is_followed_by_an_invite() {
    let (mut s, ..) = begun(OURS);
    s.world.wait(50_000);
    let update = s.world.one(s.far);
    s.world
        .take(s.far, update.reply(501, "Not Implemented", "").build());
    s.world.wait(0);
    let refresh = s.world.one(s.far);
    assert_eq!(refresh.method(), Method::Invite);
    assert!(text(&refresh).contains("m=audio "));
    s.world.take(s.far, agreed(&refresh, s.far));
    assert_eq!(s.world.words(s.far), ["ACK"]);
}

#[test]
fn answer_to_a_refresh_that_moves_media_is_followed() {
    let (mut s, refresh) = refreshing(EDGE);
    let ok = agreed(&refresh, INSIDE);
    let moved = inside_sdp().replace("20000", "20400");
    let ok = ok.edit().body("application/sdp", moved).finish();
    s.world.take(INSIDE, ok);
    assert_eq!(s.world.leg().remote.unwrap().rtp.port(), 20_400);
    assert_eq!(s.world.words(INSIDE), ["ACK"]);
}

#[test]
fn parties_invites_that_meet_our_refresh_are_told_491_and_ours_comes_again() {
    let (mut s, refresh) = refreshing(EDGE);
    let theirs = s.change(EDGE, b"INVITE", &held(&edge_sdp(KEY_1)));
    s.world.ask(EDGE, &theirs);
    assert_eq!(s.world.words(EDGE), ["491"]);
    let offer = s.change(EDGE, b"UPDATE", &held(&edge_sdp(KEY_1)));
    s.world.ask(EDGE, &offer);
    assert_eq!(s.world.words(EDGE), ["491"]);
    let theirs = s.change(INSIDE, b"INVITE", &held(&inside_sdp()));
    s.world.ask(INSIDE, &theirs);
    assert_eq!(s.world.words(INSIDE), ["491"]);
    s.world.take(INSIDE, reply(&refresh, 491, "", None));
    assert_eq!(s.world.words(INSIDE), ["ACK"]);
    // Towards the callee the Call-ID is ours: 2.1 s to 4 s.
    s.world.wait(2_000);
    assert!(s.world.sent.is_empty());
    // Meanwhile the caller holds, and ours waits for it.
    s.reinvite(EDGE, &held(&edge_sdp(KEY_1)), |_| holding(&inside_sdp()));
    s.world.wait(4_000);
    assert!(s.world.sent.is_empty(), "the hold was a refresh");
    s.hang_up(EDGE).assert_idle();
}

#[test]
fn our_refresh_waits_while_a_partys_invite_is_under_way() {
    let ends = Ends {
        update: false,
        ..OURS
    };
    let (mut s, ..) = begun(ends);
    s.world.wait(45_000);
    let request = s.change(EDGE, b"INVITE", &held(&edge_sdp(KEY_1)));
    let (_, got) = s.carry(EDGE, request);
    s.world.out(EDGE);
    s.world.wait(10_000);
    assert!(s.world.sent.is_empty());
    s.world.take(INSIDE, reply(&got, 488, "", None));
    s.world.out(EDGE);
    assert_eq!(s.world.words(INSIDE), ["ACK"]);
    s.world.wait(4_000);
    let refresh = s.world.one(INSIDE);
    let sent = text(&refresh);
    assert!(
        !sent.contains("a=sendonly"),
        "the refused hold is forgotten"
    );
}

#[test]
fn call_whose_refresh_is_under_way_ends_like_any_other() {
    let (mut s, refresh) = refreshing(EDGE);
    let bye = s.caller.request(b"BYE").build();
    s.world.ask(EDGE, &bye);
    let bye = s.world.one(INSIDE);
    s.world.take(INSIDE, agreed(&refresh, INSIDE));
    assert_eq!(s.world.words(INSIDE), ["ACK"]);
    s.world.take(INSIDE, bye.reply(200, "OK", "").build());
    assert_eq!(s.world.words(EDGE), ["200"]);
    s.world.assert_idle();
}

#[test]
fn two_ends_without_timers_are_asked_twice_in_an_interval() {
    let (mut s, ..) = begun(BOTH_IGNORANT);
    for _ in 0..3 {
        s.world.wait(899_000);
        assert!(s.world.sent.is_empty());
        s.world.wait(1_000);
        for flow in [EDGE, INSIDE] {
            let options = s.world.one(flow);
            assert_eq!(options.method(), Method::Options);
            s.world
                .take(flow, options.reply(405, "Who Knows", "").build());
        }
    }
    s.world.wait(900_000);
    let options = s.world.one(INSIDE);
    s.world.out(EDGE);
    s.world.take(INSIDE, options.reply(481, "Gone", "").build());
    assert_eq!(s.world.words(EDGE), ["BYE"]);
    s.world.wait(40_000);
    s.world.assert_idle();
}

#[test]
fn interval_of_ours_that_is_too_small_for_the_callee_is_made_longer_unseen() {
    let mut world = World::new();
    let asked = world.ask(EDGE, &invite("alice", Some(&edge_sdp(KEY_1))));
    let first = world.one(INSIDE);
    world.out(EDGE);
    let small = first.reply(422, "Session Interval Too Small", "b0");
    world.take(INSIDE, small.header(Name::MinSe, "7200").build());
    let sent = world.out(INSIDE);
    assert_eq!(sent.iter().map(word).collect::<Vec<_>>(), ["ACK", "INVITE"]);
    let again = &sent[1];
    assert!(world.sent.is_empty(), "the caller hears nothing of it");
    assert_eq!(expires(again).as_deref(), Some("7200"));
    assert_eq!(field(again, Name::MinSe).as_deref(), Some("7200"));
    let number = |m: &Message| m.cseq().unwrap().number;
    assert_eq!(number(again), number(&first) + 1);
    assert_eq!(again.body(), first.body());
    world.take(INSIDE, reply(again, 200, "b1", Some(&inside_sdp())));
    let ok = world.one(EDGE);
    let mut caller = Dialog::uac(&asked, &ok).unwrap();
    world.ask(EDGE, &caller.ack(101).build());
    let ack = world.one(INSIDE);
    assert_eq!(number(&ack), number(again));
    world.ask(EDGE, &caller.request(b"BYE").build());
    let bye = world.one(INSIDE);
    world.take(INSIDE, bye.reply(200, "OK", "").build());
    world.assert_idle();
}

#[test]
fn callee_that_refuses_every_interval_is_not_asked_for_ever() {
    let mut world = World::new();
    world.ask(EDGE, &invite("alice", Some(&edge_sdp(KEY_1))));
    for (round, least) in ["3600", "7200"].into_iter().enumerate() {
        let got = world.out(INSIDE).pop().unwrap();
        assert_eq!(got.method(), Method::Invite, "{round}");
        let small = got.reply(422, "Session Interval Too Small", "b0");
        world.take(INSIDE, small.header(Name::MinSe, least).build());
    }
    assert_eq!(world.words(INSIDE), ["ACK"]);
    assert_eq!(world.words(EDGE).pop().as_deref(), Some("422"));
    world.assert_idle();
}
