//! Changes within a call: hold, resume, keys, added media, glare, REFER and what only passes.

use super::*;

impl Standing {
    /// A request of one phone within the call, as the other gets it.
    pub(super) fn carry(&mut self, from: FlowId, request: Message) -> (Message, Message) {
        let asked = self.world.ask(from, &request);
        let got = self.world.one(self.other(from));
        (asked, got)
    }

    pub(super) fn other(&self, flow: FlowId) -> FlowId {
        if flow == self.near {
            self.far
        } else {
            self.near
        }
    }

    pub(super) fn dialog(&mut self, flow: FlowId) -> &mut Dialog {
        if flow == self.near {
            &mut self.caller
        } else {
            &mut self.callee
        }
    }

    pub(super) fn change(&mut self, from: FlowId, method: &[u8], sdp: &str) -> Message {
        self.dialog(from)
            .request(method)
            .header(Name::Contact, b"<sip:moved@192.0.2.78:5061>")
            .body(b"application/sdp", sdp)
            .build()
    }

    /// A whole re-INVITE with an answer; gives the answer as the asker got it.
    pub(super) fn reinvite(
        &mut self,
        from: FlowId,
        offer: &str,
        answer: impl Fn(&Message) -> String,
    ) -> Message {
        let request = self.change(from, b"INVITE", offer);
        let cseq = request.cseq().unwrap().number;
        let (_, got) = self.carry(from, request);
        assert_eq!(self.world.words(from), ["100"]);
        let to = self.other(from);
        let answer = answer(&got);
        self.world.take(to, reply(&got, 200, "", Some(&answer)));
        let ok = self.world.one(from);
        let ack = self.dialog(from).ack(cseq).build();
        self.world.ask(from, &ack);
        assert_eq!(self.world.words(to), ["ACK"]);
        ok
    }
}

pub(super) fn held(sdp: &str) -> String {
    sdp.replace("a=sendrecv\r\n", "") + "a=sendonly\r\n"
}

pub(super) fn holding(sdp: &str) -> String {
    sdp.replace("a=sendrecv\r\n", "") + "a=recvonly\r\n"
}

#[test]
fn hold_and_resume_from_the_edge_change_directions_only() {
    let mut s = call(true, EDGE);
    let before = s.world.leg();
    let ok = s.reinvite(EDGE, &held(&edge_sdp(KEY_1)), |_| holding(&inside_sdp()));
    assert!(text(&ok).contains("a=recvonly"));
    let leg = s.world.leg();
    assert_eq!((leg.receive, leg.send), (true, false));
    s.reinvite(EDGE, &edge_sdp(KEY_1), |_| inside_sdp());
    assert_eq!(s.world.leg(), before);
    assert_eq!(s.world.commands(), ["update", "update"]);
    s.hang_up(EDGE).assert_idle();
}

#[test]
fn hold_and_resume_from_inside_offer_the_key_in_use_again() {
    let mut s = call(true, EDGE);
    let before = s.world.leg();
    for (offer, sends) in [(held(&inside_sdp()), true), (inside_sdp(), true)] {
        let answer = |got: &Message| {
            assert_eq!(text(got).matches("a=crypto:1 ").count(), 1);
            edge_answer(got, KEY_1)
        };
        s.reinvite(INSIDE, &offer, answer);
        assert_eq!(s.world.leg().send, sends);
        assert_eq!(s.world.leg().protect, before.protect);
    }
    assert_eq!(s.world.leg(), before);
    s.hang_up(INSIDE).assert_idle();
}

#[test]
fn hold_of_old_by_zero_address_keeps_its_meaning() {
    let mut s = call(true, EDGE);
    let zero = inside_sdp().replace("c=IN IP4 10.0.0.20", "c=IN IP4 0.0.0.0");
    let request = s.change(INSIDE, b"INVITE", &zero);
    let (_, got) = s.carry(INSIDE, request);
    assert!(text(&got).contains("c=IN IP4 0.0.0.0\r\n"));
    s.world
        .take(EDGE, reply(&got, 200, "", Some(&edge_answer(&got, KEY_1))));
    assert_eq!(s.world.leg().remote, None);
}

#[test]
fn same_description_once_more_changes_nothing() {
    let mut s = call(true, EDGE);
    s.reinvite(EDGE, &edge_sdp(KEY_1), |_| inside_sdp());
    assert_eq!(s.world.commands(), [""; 0]);
}

#[test]
fn new_key_of_the_client_is_taken_when_answered_and_ours_stays() {
    let mut s = call(true, EDGE);
    let before = s.world.leg();
    let request = s.change(EDGE, b"INVITE", &edge_sdp(KEY_2));
    let (_, got) = s.carry(EDGE, request);
    assert_eq!(s.world.leg(), before);
    s.world
        .take(INSIDE, reply(&got, 200, "", Some(&inside_sdp())));
    let after = s.world.leg();
    assert_ne!(after.unprotect, before.unprotect);
    assert_eq!(after.protect, before.protect);
}

#[test]
fn moved_media_and_target_are_followed() {
    let mut s = call(true, EDGE);
    let moved = inside_sdp()
        .replace("10.0.0.20", "10.0.0.33")
        .replace("20000", "30000");
    s.reinvite(INSIDE, &moved, |got| edge_answer(got, KEY_1));
    assert_eq!(
        s.world.leg().remote.unwrap().rtp,
        "10.0.0.33:30000".parse().unwrap()
    );
    let info = s.dialog(EDGE).request(b"INFO").build();
    let (_, got) = s.carry(EDGE, info);
    assert_eq!(got.request_uri(), b"sip:moved@192.0.2.78:5061");
}

#[test]
fn rejected_change_is_rolled_back_and_its_ports_are_free() {
    let mut s = call(true, EDGE);
    let before = s.world.leg();
    let video = edge_sdp(KEY_2)
        + "m=video 36000 RTP/SAVP 97\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"
        + KEY_1
        + "\r\na=x-causeway-stream:0000002b\r\n";
    let request = s.change(EDGE, b"INVITE", &video);
    let (_, got) = s.carry(EDGE, request);
    assert_eq!(s.world.ports.in_use(), 2);
    s.world
        .take(INSIDE, reply(&got, 488, "", Some(&inside_sdp())));
    assert_eq!(s.world.words(INSIDE), ["ACK"]);
    let refused = s.world.one(EDGE);
    assert_eq!((refused.status(), refused.body().len()), (488, 0));
    assert_eq!(s.world.ports.in_use(), 1);
    assert_eq!(s.world.leg(), before);
    s.hang_up(EDGE).assert_idle();
}

#[test]
fn added_video_gets_a_leg_and_loses_it_when_refused_later() {
    let mut s = call(true, EDGE);
    let video = edge_sdp(KEY_1)
        + "m=video 36000 RTP/SAVPF 97\r\na=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:"
        + KEY_2
        + "\r\na=x-causeway-stream:0000002b\r\na=rtcp:36001\r\n";
    let both = inside_sdp() + "m=video 20002 RTP/AVPF 97\r\na=rtcp:20009\r\n";
    let request = s.change(EDGE, b"INVITE", &video);
    let (_, got) = s.carry(EDGE, request);
    let video_leg = s
        .world
        .legs
        .values()
        .find(|l| l.stream.0 == 0x2b)
        .unwrap()
        .clone();
    let port = video_leg.local.rtp.port();
    assert!(text(&got).contains(&format!("m=video {port} RTP/AVPF 97")));
    assert!(text(&got).contains(&format!("a=rtcp:{} IN IP4 10.0.0.5", port + 1)));
    s.world.take(INSIDE, reply(&got, 200, "", Some(&both)));
    let ok = s.world.out(EDGE).pop().unwrap();
    assert!(text(&ok).contains("m=video 36000 RTP/SAVPF 97"));
    let leg = s
        .world
        .legs
        .values()
        .find(|l| l.stream.0 == 0x2b)
        .unwrap()
        .clone();
    assert_eq!(leg.remote.unwrap().rtcp, "10.0.0.20:20009".parse().unwrap());
    let ack = s.caller.ack(102).build();
    s.world.ask(EDGE, &ack);
    s.world.sent.clear();
    let without = both.replace("m=video 20002", "m=video 0");
    s.reinvite(INSIDE, &without, |got| {
        assert!(text(got).contains("m=video 0 "));
        edge_answer(got, KEY_1) + "m=video 0 RTP/SAVPF 97\r\n"
    });
    assert_eq!((s.world.legs.len(), s.world.ports.in_use()), (1, 1));
    let world = s.hang_up(EDGE);
    assert_eq!(world.records[0].media.len(), 2);
}

#[test]
fn invites_that_cross_are_refused_491_and_a_second_500() {
    let mut s = call(true, EDGE);
    let ours = s.change(EDGE, b"INVITE", &edge_sdp(KEY_1));
    let (_, got) = s.carry(EDGE, ours);
    s.world.out(EDGE);
    let theirs = s.change(INSIDE, b"INVITE", &inside_sdp());
    s.world.ask(INSIDE, &theirs);
    assert_eq!(s.world.words(INSIDE), ["491"]);
    let again = s.change(EDGE, b"INVITE", &edge_sdp(KEY_1));
    s.world.ask(EDGE, &again);
    assert_eq!(s.world.words(EDGE), ["500"]);
    s.world.take(INSIDE, reply(&got, 491, "", None));
    assert_eq!(s.world.words(EDGE), ["491"]);
    let again = s.change(INSIDE, b"INVITE", &inside_sdp());
    let (_, got) = s.carry(INSIDE, again);
    assert_eq!(got.method(), Method::Invite);
}

#[test]
fn invite_before_the_ack_of_the_last_waits() {
    let mut world = World::new();
    let asked = world.ask(EDGE, &invite("alice", Some(&edge_sdp(KEY_1))));
    let got = world.one(INSIDE);
    world.take(INSIDE, reply(&got, 200, "b1", Some(&inside_sdp())));
    let ok = world.one(EDGE);
    let mut callee = Dialog::uas(&got, "b1").unwrap();
    let early = callee
        .request(b"INVITE")
        .header(Name::Contact, b"<sip:b@10.0.0.20>")
        .build();
    world.ask(INSIDE, &early);
    assert_eq!(world.words(INSIDE), ["491"]);
    world.ask(EDGE, &Dialog::uac(&asked, &ok).unwrap().ack(101).build());
    let later = callee
        .request(b"INVITE")
        .header(Name::Contact, b"<sip:b@10.0.0.20>")
        .build();
    world.ask(INSIDE, &later);
    assert_eq!(world.words(EDGE), ["INVITE"]);
}

#[test]
fn cancelled_reinvite_ends_as_the_other_end_says() {
    let mut s = call(true, EDGE);
    let request = s.change(EDGE, b"INVITE", &held(&edge_sdp(KEY_1)));
    let (asked, got) = s.carry(EDGE, request);
    s.world.take(INSIDE, reply(&got, 180, "", None));
    s.world.out(EDGE);
    let cancel = sip::RequestBuilder::new(b"CANCEL", asked.request_uri())
        .header(Name::Via, asked.header(Name::Via).unwrap())
        .header(Name::From, asked.header(Name::From).unwrap())
        .header(Name::To, asked.header(Name::To).unwrap())
        .header(Name::CallId, asked.call_id())
        .header(Name::CSeq, b"102 CANCEL")
        .build();
    s.world.take(EDGE, cancel);
    assert_eq!(s.world.words(EDGE), ["200"]);
    assert_eq!(s.world.words(INSIDE), ["CANCEL"]);
    s.world.take(INSIDE, reply(&got, 487, "", None));
    assert_eq!(s.world.words(INSIDE), ["ACK"]);
    assert_eq!(s.world.words(EDGE), ["487"]);
    assert!(s.world.leg().send);
    s.hang_up(EDGE).assert_idle();
}

#[test]
fn answer_to_an_invite_that_its_call_did_not_outlive_is_only_acknowledged() {
    let mut s = call(true, EDGE);
    let request = s.change(EDGE, b"INVITE", &edge_sdp(KEY_1));
    let (_, got) = s.carry(EDGE, request);
    s.world.out(EDGE);
    let bye = s.callee.request(b"BYE").build();
    s.world.ask(INSIDE, &bye);
    assert_eq!(s.world.words(EDGE), ["BYE", "487"]);
    s.world
        .take(INSIDE, reply(&got, 200, "", Some(&inside_sdp())));
    assert_eq!(s.world.words(INSIDE), ["ACK"]);
    assert_eq!(s.world.ports.in_use(), 0);
    s.world.assert_idle();
}

#[test]
fn update_carries_an_offer_and_its_answer() {
    let mut s = call(true, EDGE);
    let request = s.change(INSIDE, b"UPDATE", &held(&inside_sdp()));
    let (_, got) = s.carry(INSIDE, request);
    assert!(text(&got).contains("RTP/SAVP"));
    let other = s.change(EDGE, b"UPDATE", &edge_sdp(KEY_1));
    s.world.ask(EDGE, &other);
    assert_eq!(s.world.words(EDGE), ["491"]);
    s.world.take(
        EDGE,
        reply(&got, 200, "", Some(&holding(&edge_answer(&got, KEY_1)))),
    );
    let ok = s.world.one(INSIDE);
    assert!(text(&ok).contains("RTP/AVP"));
    assert_eq!((s.world.leg().receive, s.world.leg().send), (false, true));
    s.hang_up(EDGE).assert_idle();
}

#[test]
fn what_only_passes_passes_with_its_body_and_answers() {
    let mut s = call(true, EDGE);
    // DTMF, key frames, overlap digits, text, and what nobody knows.
    let table: [(&str, &[u8], &[u8]); 8] = [
        (
            "INFO",
            b"application/dtmf-relay",
            b"Signal=5\r\nDuration=160\r\n",
        ),
        (
            "INFO",
            b"application/media_control+xml",
            b"<media_control><vc_primitive><to_encoder><picture_fast_update/>\
              </to_encoder></vc_primitive></media_control>",
        ),
        (
            "SUBSCRIBE",
            b"application/kpml-request+xml",
            b"<kpml-request/>",
        ),
        (
            "NOTIFY",
            b"application/kpml-response+xml",
            b"<kpml-response code=\"423\"/>",
        ),
        (
            "NOTIFY",
            b"message/sipfrag;version=2.0",
            b"SIP/2.0 100 Trying\r\n",
        ),
        ("MESSAGE", b"text/plain", b"hello"),
        ("OPTIONS", b"application/x-thing", b"\x00\xffbytes"),
        (
            "FROB",
            b"application/x-thing",
            b"<callid>the-call@phone</callid>",
        ),
    ];
    for (method, kind, body) in table {
        for from in [EDGE, INSIDE] {
            let request = s
                .dialog(from)
                .request(method.as_bytes())
                .raw_header(b"Info-Package", b"conference")
                .body(kind, body)
                .build();
            let (asked, got) = s.carry(from, request);
            assert_eq!((got.body(), got.content_type()), (body, Some(kind)));
            assert!(
                got.bytes()
                    .windows(24)
                    .any(|w| w == b"Info-Package: conference")
            );
            assert_eq!(got.max_forwards().unwrap(), Some(69));
            let to = s.other(from);
            s.world.take(to, reply(&got, 202, "", None));
            let back = s.world.one(from);
            assert_eq!(
                (back.status(), back.header(Name::CSeq)),
                (202, asked.header(Name::CSeq))
            );
        }
    }
    s.hang_up(EDGE).assert_idle();
}

#[test]
fn requests_take_the_new_connection_once_the_old_is_replaced() {
    let mut s = call(true, EDGE);
    let replaced = Id::new(9, 1);
    s.world.b2bua.flow_moved(EDGE, replaced);
    let info = s.callee.request(b"INFO").build();
    s.world.ask(INSIDE, &info);
    assert_eq!(s.world.words(replaced), ["INFO"]);
}

#[test]
fn a_change_that_meets_no_dialog_any_more_ends_the_call_on_both_legs() {
    for (method, status) in [(&b"INVITE"[..], 481), (b"INFO", 481), (b"UPDATE", 481)] {
        let mut s = call(true, EDGE);
        let request = s.change(INSIDE, method, &inside_sdp());
        let (_, got) = s.carry(INSIDE, request);
        s.world.out(INSIDE);
        s.world.take(EDGE, reply(&got, status, "", None));
        let words = s.world.words(INSIDE);
        assert_eq!(
            words,
            [&*status.to_string(), "BYE"],
            "the asker is told and rid of it"
        );
        assert_eq!(s.world.words(EDGE).pop().as_deref(), Some("BYE"));
        assert_eq!(s.world.ports.in_use(), 0);
        s.world.wait(40_000);
        s.world.assert_idle();
        assert_eq!(s.world.records[0].cause, Cause::Status(status));
    }
}
