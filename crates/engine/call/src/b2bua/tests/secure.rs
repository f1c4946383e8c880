//! Media that is encrypted inside too: keys of each leg's own, and what is refused.

use sdp::sdes::Crypto;

use super::*;

fn world(encryption: Encryption) -> World {
    let mut world = World::new();
    world.encryption = encryption;
    world
}

/// The keys of a description.
fn keys(text: &str) -> Vec<Crypto> {
    let lines = text.lines().filter_map(|l| l.strip_prefix("a=crypto:"));
    lines
        .map(|l| Crypto::parse(l.as_bytes()).unwrap())
        .collect()
}

/// The inside's answer to an offer of ours, with its own key for a suite.
fn inside_answer(proto: &str, tag: u32, suite: &str) -> String {
    inside_sdp().replace("RTP/AVP", proto) + &format!("a=crypto:{tag} {suite} inline:{KEY_2}\r\n")
}

const SHA_80: &str = "AES_CM_128_HMAC_SHA1_80";

#[test]
fn forced_encryption_offers_savp_inside_with_keys_that_are_not_the_clients() {
    let mut w = world(Encryption::Force);
    w.ask(EDGE, &invite("alice", Some(&edge_sdp(KEY_1))));
    let got = w.one(INSIDE);
    let offered = keys(&text(&got));
    assert!(text(&got).contains(" RTP/SAVP 0 101\r\n"), "{}", text(&got));
    assert_eq!(offered.len(), 2);
    let answer = inside_answer("RTP/SAVP", 1, SHA_80);
    w.take(INSIDE, reply(&got, 200, "b1", Some(&answer)));
    let leg = w.leg();
    let media::Inside::Secure { unprotect, protect } = leg.inside.clone() else {
        panic!("{:?}", leg.inside)
    };
    let all = [
        leg.protect.unwrap().key,
        leg.unprotect.unwrap().key,
        unprotect.unwrap().key,
        protect.clone().unwrap().key,
    ];
    for (i, one) in all.iter().enumerate() {
        assert!(
            all.iter().skip(i + 1).all(|other| other != one),
            "each key is its own"
        );
    }
    assert_eq!(protect.unwrap().key, offered[0].key);
    let told = text(&w.one(EDGE));
    assert!(told.contains(" RTP/SAVP 0 101\r\n"));
    assert_eq!(keys(&told).len(), 1);
}

#[test]
fn forced_encryption_refuses_plain_media_inside_both_ways() {
    let mut w = world(Encryption::Force);
    w.ask(INSIDE, &invite("bob", Some(&inside_sdp())));
    assert_eq!(w.words(INSIDE), ["100", "488"]);
    w.assert_idle();
    let mut w = world(Encryption::Force);
    w.ask(EDGE, &invite("alice", Some(&edge_sdp(KEY_1))));
    let got = w.one(INSIDE);
    w.take(INSIDE, reply(&got, 200, "b1", Some(&inside_sdp())));
    let sent = w.words(INSIDE);
    assert_eq!(sent, ["ACK", "BYE"]);
    let refused = Event::MediaRefused(MediaError::NotEncrypted);
    assert!(w.events.contains(&refused), "{:?}", w.events);
}

#[test]
fn best_effort_is_encrypted_where_the_answer_has_a_key_and_plain_where_not() {
    for answers_with_key in [true, false] {
        let mut w = world(Encryption::BestEffort);
        w.ask(EDGE, &invite("alice", Some(&edge_sdp(KEY_1))));
        let got = w.one(INSIDE);
        assert!(text(&got).contains(" RTP/AVP 0 101\r\n"));
        assert_eq!(keys(&text(&got)).len(), 2);
        let answer = match answers_with_key {
            true => inside_answer("RTP/AVP", 2, "AES_CM_128_HMAC_SHA1_32"),
            false => inside_sdp(),
        };
        w.take(INSIDE, reply(&got, 200, "b1", Some(&answer)));
        let secure = matches!(w.leg().inside, media::Inside::Secure { .. });
        assert_eq!(secure, answers_with_key);
        assert_eq!(w.one(EDGE).status(), 200);
    }
}

#[test]
fn best_effort_takes_what_is_offered_and_answers_in_kind() {
    let table = [
        ("RTP/SAVP", true, true),
        ("RTP/AVP", true, true),
        ("RTP/AVP", false, false),
    ];
    for (proto, with_key, secure) in table {
        let mut w = world(Encryption::BestEffort);
        let offer = match with_key {
            true => inside_answer(proto, 7, SHA_80),
            false => inside_sdp(),
        };
        w.ask(INSIDE, &invite("bob", Some(&offer)));
        let got = w.one(EDGE);
        assert!(
            text(&got).contains("m=audio 36000 RTP/SAVP 0 101\r\n"),
            "never plain outside"
        );
        w.take(
            EDGE,
            reply(&got, 200, "b1", Some(&edge_answer(&got, KEY_1))),
        );
        let told = text(&w.one(INSIDE));
        assert!(told.contains(&format!(" {proto} 0 101\r\n")), "{told}");
        let answered = keys(&told);
        assert_eq!(
            answered.iter().map(|k| k.tag).collect::<Vec<_>>(),
            vec![7; usize::from(secure)]
        );
        assert_eq!(
            matches!(w.leg().inside, media::Inside::Secure { .. }),
            secure
        );
    }
}

#[test]
fn encrypted_offer_without_a_suite_of_ours_is_refused() {
    let mut w = world(Encryption::BestEffort);
    let offer = inside_sdp().replace("RTP/AVP", "RTP/SAVP");
    w.ask(INSIDE, &invite("bob", Some(&offer)));
    assert_eq!(w.words(INSIDE), ["100", "488"]);
    w.assert_idle();
}

#[test]
fn hold_and_resume_keep_the_insides_keys() {
    let mut w = world(Encryption::Force);
    let asked = w.ask(EDGE, &invite("alice", Some(&edge_sdp(KEY_1))));
    let got = w.one(INSIDE);
    let answer = inside_answer("RTP/SAVP", 1, SHA_80);
    w.take(INSIDE, reply(&got, 200, "b1", Some(&answer)));
    let ok = w.out(EDGE).pop().unwrap();
    let mut caller = Dialog::uac(&asked, &ok).unwrap();
    w.ask(EDGE, &caller.ack(101).build());
    w.out(INSIDE);
    let before = w.leg();
    for held in [true, false] {
        let offer = if held {
            edge_sdp(KEY_1).replace("a=sendrecv", "a=inactive")
        } else {
            edge_sdp(KEY_1)
        };
        let again = caller
            .request(b"INVITE")
            .header(Name::Contact, b"<sip:a@x>")
            .body(b"application/sdp", offer)
            .build();
        let cseq = again.cseq().unwrap().number;
        w.ask(EDGE, &again);
        let got = w.one(INSIDE);
        assert_eq!(keys(&text(&got)).len(), 1, "the key in use");
        w.take(INSIDE, reply(&got, 200, "", Some(&answer)));
        w.ask(EDGE, &caller.ack(cseq).build());
        w.out(INSIDE);
        assert_eq!(w.leg().inside, before.inside);
    }
    assert_eq!(w.leg(), before);
}

/// A description of a client, or of the inside, that speaks ICE.
fn with_ice(sdp: &str) -> String {
    sdp.replace("a=ice-lite\r\n", "")
        .replace("a=candidate:1 1 UDP 1 192.0.2.9 36000 typ host\r\n", "")
        .replacen("t=0 0\r\n", &format!("t=0 0\r\n{SESSION_ICE}"), 1)
        + LINE_ICE
}

const SESSION_ICE: &str = "a=ice-options:trickle ice2\r\na=ice-pacing:50\r\n";

const LINE_ICE: &str = "a=ice-ufrag:F7gI\r\na=ice-pwd:x9cml/YzichV2+XlhiMu8g\r\n\
    a=candidate:2 1 UDP 1694498815 198.51.100.3 45664 typ srflx raddr 10.0.1.1 rport 8998\r\n\
    a=candidate:1 1 TCP 2128609279 10.0.1.1 9 typ host tcptype active\r\n\
    a=remote-candidates:1 203.0.113.1 45664\r\na=end-of-candidates\r\n";

/// Whether all lines of ICE are there as they were sent; `None` if some are, and others not.
fn ice_of(message: &Message) -> Option<bool> {
    let text = text(message);
    let whole = text.contains(SESSION_ICE) && text.contains(LINE_ICE);
    let none = !text.contains("a=ice") && !text.contains("candidate");
    (whole || none).then_some(whole)
}

#[test]
fn candidates_pass_byte_for_byte_where_the_zone_wants_them_and_nowhere_else() {
    for (ice, inward, outward) in [
        (Ice::Remove, false, false),
        (Ice::Inward, true, false),
        (Ice::Pass, true, true),
    ] {
        let mut w = World::new();
        w.ice = ice;
        w.ask(EDGE, &invite("alice", Some(&with_ice(&edge_sdp(KEY_1)))));
        let got = w.one(INSIDE);
        assert_eq!(ice_of(&got), Some(inward), "{ice:?}: {}", text(&got));
        let answer = with_ice(&inside_sdp());
        w.take(INSIDE, reply(&got, 200, "b1", Some(&answer)));
        let told = w.one(EDGE);
        assert_eq!(ice_of(&told), Some(outward), "{ice:?}: {}", text(&told));
        assert!(!text(&got).contains("rtcp-mux"), "its ports are our own");

        let mut w = World::new();
        w.ice = ice;
        w.ask(INSIDE, &invite("bob", Some(&with_ice(&inside_sdp()))));
        let got = w.one(EDGE);
        assert_eq!(ice_of(&got), Some(outward), "{ice:?}: {}", text(&got));
        let answer = with_ice(&edge_answer(&got, KEY_2));
        w.take(EDGE, reply(&got, 200, "b1", Some(&answer)));
        let told = w.one(INSIDE);
        assert_eq!(ice_of(&told), Some(inward), "{ice:?}: {}", text(&told));
    }
}
