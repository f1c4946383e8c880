//! Before the answer: forks, PRACK, CANCEL, rejection.

use super::*;

fn cancel_of(asked: &Message) -> Message {
    sip::RequestBuilder::new(b"CANCEL", asked.request_uri())
        .header(Name::Via, asked.header(Name::Via).unwrap())
        .header(Name::From, asked.header(Name::From).unwrap())
        .header(Name::To, asked.header(Name::To).unwrap())
        .header(Name::CallId, asked.call_id())
        .header(Name::CSeq, b"101 CANCEL")
        .header(Name::Reason, b"SIP;cause=200;text=\"elsewhere\"")
        .build()
}

fn begin() -> (World, Message, Message) {
    let mut world = World::new();
    let asked = world.ask(EDGE, &invite("alice", Some(&edge_sdp(KEY_1))));
    let got = world.one(INSIDE);
    world.out(EDGE);
    (world, asked, got)
}

#[test]
fn forks_get_tags_of_their_own_and_the_first_answer_wins() {
    let (mut world, asked, got) = begin();
    let mut tags = Vec::new();
    for tag in ["b1", "b2", "b1"] {
        world.take(INSIDE, reply(&got, 183, tag, Some(&inside_sdp())));
        let progress = world.one(EDGE);
        assert!(text(&progress).contains("a=crypto:5 "));
        tags.push(progress.to().unwrap().tag().unwrap().to_vec());
    }
    assert_eq!(tags[0], tags[2]);
    assert_ne!(tags[0], tags[1]);
    let second = inside_sdp().replace("20000", "22222");
    world.take(INSIDE, reply(&got, 200, "b2", Some(&second)));
    let ok = world.one(EDGE);
    assert_eq!(ok.to().unwrap().tag(), Some(&tags[1][..]));
    assert_eq!(world.leg().remote.unwrap().rtp.port(), 22222);
    world.take(INSIDE, reply(&got, 200, "b1", Some(&inside_sdp())));
    assert_eq!(world.words(EDGE), [""; 0]);
    let late = world.out(INSIDE);
    assert_eq!(late.iter().map(word).collect::<Vec<_>>(), ["ACK", "BYE"]);
    assert!(
        late.iter()
            .all(|m| m.to().unwrap().tag() == Some(&b"b1"[..]))
    );
    assert_eq!(world.leg().remote.unwrap().rtp.port(), 22222);
    let caller = Dialog::uac(&asked, &ok).unwrap();
    world.ask(EDGE, &caller.ack(101).build());
    let ack = world.one(INSIDE);
    assert_eq!(ack.to().unwrap().tag(), Some(&b"b2"[..]));
    let mut lost = Dialog::uas(&got, "b1").unwrap();
    world.ask(INSIDE, &lost.request(b"INFO").build());
    world.ask(INSIDE, &lost.request(b"BYE").build());
    assert_eq!(world.words(INSIDE), ["481", "200"]);
    assert_eq!(world.words(EDGE), [""; 0]);
    assert_eq!(world.b2bua.active(), 1);
}

#[test]
fn a_ninth_early_dialog_is_not_passed_on() {
    let (mut world, _, got) = begin();
    for n in 0..12 {
        world.take(INSIDE, reply(&got, 180, &format!("b{n}"), None));
    }
    assert_eq!(world.words(EDGE).len(), 8);
}

#[test]
fn early_media_flows_before_the_answer() {
    let (mut world, _, got) = begin();
    world.take(INSIDE, reply(&got, 183, "b1", Some(&inside_sdp())));
    let leg = world.leg();
    assert!(leg.send && leg.receive && leg.remote.is_some());
    assert_eq!(world.commands(), ["install", "update"]);
    world.take(INSIDE, reply(&got, 200, "b1", Some(&inside_sdp())));
    assert_eq!(world.commands(), [""; 0]);
}

#[test]
fn prack_goes_end_to_end_with_the_invites_number_of_the_other_leg() {
    let (mut world, asked, got) = begin();
    let number = got.cseq().unwrap().number;
    let progress = got
        .reply(183, "Session Progress", "b1")
        .header(Name::Contact, b"<sip:b1@10.0.0.20>")
        .header(Name::Require, b"100rel")
        .header(Name::RSeq, b"776")
        .body(b"application/sdp", inside_sdp())
        .build();
    world.take(INSIDE, progress);
    let progress = world.one(EDGE);
    assert_eq!(progress.header(Name::RSeq), Some(&b"776"[..]));
    let mut caller = Dialog::uac(&asked, &progress).unwrap();
    let prack = caller
        .request(b"PRACK")
        .header(Name::RAck, b"776 101 INVITE")
        .build();
    world.ask(EDGE, &prack);
    let carried = world.one(INSIDE);
    let expected = format!("776 {number} INVITE");
    assert_eq!(carried.header(Name::RAck), Some(expected.as_bytes()));
    assert_eq!(carried.to().unwrap().tag(), Some(&b"b1"[..]));
    world.take(INSIDE, carried.reply(200, "OK", "").build());
    assert_eq!(world.words(EDGE), ["200"]);
    let stray = caller
        .request(b"PRACK")
        .header(Name::RAck, b"776 999 INVITE")
        .build();
    world.ask(EDGE, &stray);
    assert_eq!(world.words(EDGE), ["481"]);
}

#[test]
fn offer_in_a_reliable_provisional_is_answered_in_the_prack() {
    let mut world = World::new();
    let asked = world.ask(INSIDE, &invite("bob", None));
    let got = world.one(EDGE);
    world.out(INSIDE);
    let progress = got
        .reply(183, "Session Progress", "b1")
        .header(Name::Contact, b"<sip:a@192.0.2.9>")
        .header(Name::Require, b"100rel")
        .header(Name::RSeq, b"1")
        .body(b"application/sdp", edge_sdp(KEY_1))
        .build();
    world.take(EDGE, progress);
    let progress = world.one(INSIDE);
    assert!(text(&progress).contains("RTP/AVP "));
    let mut caller = Dialog::uac(&asked, &progress).unwrap();
    let prack = caller
        .request(b"PRACK")
        .header(Name::RAck, b"1 101 INVITE")
        .body(b"application/sdp", inside_sdp())
        .build();
    world.ask(INSIDE, &prack);
    let carried = world.one(EDGE);
    assert!(text(&carried).contains("a=crypto:5 "));
    assert!(world.leg().send);
    world.take(EDGE, carried.reply(200, "OK", "").build());
    assert_eq!(world.words(INSIDE), ["200"]);
    // Some repeat the offer in the 2xx although it is answered.
    world.take(EDGE, reply(&got, 200, "b1", Some(&edge_sdp(KEY_1))));
    let ok = world.one(INSIDE);
    assert!(ok.body().is_empty());
    world.ask(INSIDE, &Dialog::uac(&asked, &ok).unwrap().ack(101).build());
    assert_eq!(world.words(EDGE), ["ACK"]);
    assert_eq!(world.b2bua.active(), 1);
}

#[test]
fn cancel_is_answered_487_at_once_and_passed_on_with_its_reason() {
    let (mut world, asked, got) = begin();
    world.take(INSIDE, reply(&got, 180, "b1", None));
    world.out(EDGE);
    world.take(EDGE, cancel_of(&asked));
    assert_eq!(world.words(EDGE), ["200", "487"]);
    let cancel = world.one(INSIDE);
    assert_eq!(cancel.method(), Method::Cancel);
    assert!(
        cancel
            .header(Name::Reason)
            .unwrap()
            .starts_with(b"SIP;cause=200")
    );
    assert_eq!(world.ports.in_use(), 0);
    world.take(INSIDE, cancel.reply(200, "OK", "b1").build());
    world.take(INSIDE, reply(&got, 487, "b1", None));
    assert_eq!(world.words(INSIDE), ["ACK"]);
    let ack = sip::RequestBuilder::new(b"ACK", asked.request_uri())
        .header(Name::Via, asked.header(Name::Via).unwrap())
        .header(Name::From, asked.header(Name::From).unwrap())
        .header(Name::To, asked.header(Name::To).unwrap())
        .header(Name::CallId, asked.call_id())
        .header(Name::CSeq, b"101 ACK")
        .build();
    world.take(EDGE, ack);
    assert_eq!(world.records[0].cause, Cause::Cancelled);
    world.assert_idle();
}

#[test]
fn answer_that_crosses_the_cancel_is_acknowledged_and_ended() {
    let (mut world, asked, got) = begin();
    world.take(INSIDE, reply(&got, 180, "b1", None));
    world.take(EDGE, cancel_of(&asked));
    world.sent.clear();
    let ok = reply(&got, 200, "b1", Some(&inside_sdp()));
    world.take(INSIDE, ok.clone());
    let out = world.out(INSIDE);
    assert_eq!(out.iter().map(word).collect::<Vec<_>>(), ["ACK", "BYE"]);
    assert_eq!(out[0].cseq().unwrap().number, got.cseq().unwrap().number);
    assert_eq!(out[1].request_uri(), b"sip:b1@203.0.113.9");
    world.take(INSIDE, ok);
    assert_eq!(world.words(INSIDE), ["ACK"]);
    world.take(INSIDE, out[1].reply(200, "OK", "").build());
    world.assert_idle();
}

#[test]
fn cancel_before_any_provisional_waits_for_one() {
    let (mut world, asked, got) = begin();
    world.take(EDGE, cancel_of(&asked));
    assert_eq!(world.words(INSIDE), [""; 0]);
    world.take(INSIDE, reply(&got, 180, "b1", None));
    assert_eq!(world.words(INSIDE), ["CANCEL"]);
    world.assert_idle();
}

#[test]
fn rejection_goes_back_as_it_is_but_for_descriptions() {
    for (status, keeps_contact) in [(486, false), (302, true), (407, false), (603, false)] {
        let (mut world, _, got) = begin();
        let answer = got
            .reply(status, "No Such Luck", "b1")
            .header(Name::Contact, b"<sip:other@10.0.0.9>")
            .header(
                Name::ProxyAuthenticate,
                b"Digest realm=\"ccmsipline\", nonce=\"n\"",
            )
            .body(b"application/sdp", inside_sdp())
            .build();
        world.take(INSIDE, answer);
        assert_eq!(world.words(INSIDE), ["ACK"]);
        let back = world.one(EDGE);
        assert_eq!(
            (back.status(), back.reason()),
            (status, &b"No Such Luck"[..])
        );
        assert!(back.header(Name::ProxyAuthenticate).is_some() && back.body().is_empty());
        let kept = back.header(Name::Contact) == Some(&b"<sip:other@10.0.0.9>"[..]);
        assert_eq!(kept, keeps_contact);
        assert_eq!(world.ports.in_use(), 0);
        assert_eq!(world.records[0].cause, Cause::Status(status));
        world.assert_idle();
    }
}

#[test]
fn caller_that_hangs_up_an_early_dialog_ends_the_call() {
    let (mut world, asked, got) = begin();
    world.take(INSIDE, reply(&got, 180, "b1", None));
    let ringing = world.one(EDGE);
    let mut caller = Dialog::uac(&asked, &ringing).unwrap();
    world.ask(EDGE, &caller.request(b"BYE").build());
    assert_eq!(world.words(INSIDE), ["BYE", "CANCEL"]);
    assert_eq!(world.words(EDGE), ["487"]);
    world.assert_idle();
}

#[test]
fn update_before_the_answer_changes_early_media() {
    let (mut world, asked, got) = begin();
    world.take(INSIDE, reply(&got, 183, "b1", Some(&inside_sdp())));
    let progress = world.one(EDGE);
    let mut caller = Dialog::uac(&asked, &progress).unwrap();
    let update = caller
        .request(b"UPDATE")
        .header(Name::Contact, b"<sip:a@192.0.2.9>")
        .body(b"application/sdp", edge_sdp(KEY_2))
        .build();
    world.ask(EDGE, &update);
    let carried = world.one(INSIDE);
    world.take(INSIDE, reply(&carried, 200, "", Some(&inside_sdp())));
    assert_eq!(world.words(EDGE), ["200"]);
    let key =
        sdp::sdes::Crypto::parse(format!("5 AES_CM_128_HMAC_SHA1_80 inline:{KEY_2}").as_bytes());
    assert_eq!(world.leg().unprotect.unwrap().key, key.unwrap().key);
}
