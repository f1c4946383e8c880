//! Calls between two parties inside whose media is not the same.

use media::Inside;
use sdp::sdes::Crypto;

use super::*;

/// The caller's flow; [`INSIDE`] is the callee's.
const NEAR: FlowId = EDGE;

const SHA_80: &str = "AES_CM_128_HMAC_SHA1_80";

fn world(caller: Encryption, callee: Encryption) -> World {
    let mut world = World::with(true, 3);
    world.beyond = Some(caller);
    world.encryption = callee;
    world
}

fn keys(text: &str) -> Vec<Crypto> {
    let lines = text.lines().filter_map(|l| l.strip_prefix("a=crypto:"));
    lines
        .map(|l| Crypto::parse(l.as_bytes()).unwrap())
        .collect()
}

/// A description of a host: plain, or with a key.
fn host(at: &str, port: u16, key: Option<&str>) -> String {
    let profile = if key.is_some() { "SAVP" } else { "AVP" };
    let crypto = key.map(|key| format!("a=crypto:1 {SHA_80} inline:{key}\r\n"));
    format!(
        "v=0\r\no=x 7 7 IN IP4 {at}\r\ns=-\r\nc=IN IP4 {at}\r\nt=0 0\r\n\
         m=audio {port} RTP/{profile} 0 101\r\na=rtpmap:0 PCMU/8000\r\n\
         a=candidate:1 1 UDP 1 {at} {port} typ host\r\n{}",
        crypto.unwrap_or_default()
    )
}

fn near(key: Option<&str>) -> String {
    host("10.0.0.40", 4000, key)
}

fn far(key: Option<&str>) -> String {
    host("10.0.0.50", 5000, key)
}

/// The two legs of the one m-line: the caller's, and the callee's.
fn legs(world: &World) -> [InsideLeg; 2] {
    let at = |ip: &str| {
        let ip: IpAddr = ip.parse().unwrap();
        let is = |l: &&InsideLeg| l.remote.is_some_and(|r| r.rtp.ip() == ip);
        world.pairs.values().find(is).unwrap().clone()
    };
    [at("10.0.0.40"), at("10.0.0.50")]
}

fn is_secure(leg: &InsideLeg) -> bool {
    matches!(leg.packets, Inside::Secure { .. })
}

/// A call that stands, from one kind of media to another.
fn standing(caller: Encryption, callee: Encryption) -> Standing {
    let key = |e: Encryption, key| (e == Encryption::Force).then_some(key);
    let mut world = world(caller, callee);
    let offer = near(key(caller, KEY_1));
    let asked = world.ask(NEAR, &invite("alice", Some(&offer)));
    let got = world.one(INSIDE);
    let answer = far(key(callee, KEY_2));
    world.take(INSIDE, reply(&got, 200, "b1", Some(&answer)));
    let last = world.out(NEAR).pop().unwrap();
    assert_eq!(last.status(), 200);
    let caller = Dialog::uac(&asked, &last).unwrap();
    let callee = Dialog::uas(&got, "b1").unwrap();
    world.ask(NEAR, &caller.ack(101).build());
    assert_eq!(world.words(INSIDE), ["ACK"]);
    Standing {
        world,
        near: NEAR,
        far: INSIDE,
        caller,
        callee,
    }
}

#[test]
fn a_plain_call_reaches_a_zone_that_forces_encryption_under_keys_of_ours() {
    let mut w = world(Encryption::Off, Encryption::Force);
    w.ask(NEAR, &invite("alice", Some(&near(None))));
    let got = w.one(INSIDE);
    let offer = text(&got);
    assert!(offer.contains(" RTP/SAVP 0 101\r\n"), "{offer}");
    assert!(offer.contains("c=IN IP4 10.0.0.5\r\n"), "{offer}");
    assert!(
        !offer.contains("candidate") && !offer.contains("10.0.0.40"),
        "{offer}"
    );
    let ours = keys(&offer);
    assert_eq!(ours.len(), 2);
    w.take(INSIDE, reply(&got, 200, "b1", Some(&far(Some(KEY_2)))));
    let told = text(&w.one(NEAR));
    assert!(told.contains(" RTP/AVP 0 101\r\n"), "{told}");
    assert!(
        keys(&told).is_empty() && !told.contains("10.0.0.50"),
        "{told}"
    );
    let [caller, callee] = legs(&w);
    assert_eq!(caller.packets, Inside::Plain);
    let Inside::Secure { unprotect, protect } = callee.packets else {
        panic!("{:?}", callee.packets)
    };
    assert_eq!(protect.unwrap().key, ours[0].key);
    assert!(unprotect.is_some());
    assert!(caller.receive && callee.receive);
    let ports = [caller.local.rtp.port(), callee.local.rtp.port()];
    assert!(told.contains(&format!("m=audio {} ", ports[0])), "{told}");
    assert!(offer.contains(&format!("m=audio {} ", ports[1])), "{offer}");
}

#[test]
fn an_encrypted_call_reaches_a_zone_without_encryption_and_is_answered_with_a_key() {
    let mut s = standing(Encryption::Force, Encryption::Off);
    let [caller, callee] = legs(&s.world);
    assert!(is_secure(&caller) && !is_secure(&callee));
    // Each knows the other by its own leg alone.
    assert_eq!(s.world.pairs.len(), 2);
    // Hold and resume from the side without keys: those in use stay.
    let before = caller.packets;
    let hold = far(None) + "a=sendonly\r\n";
    let answer = |got: &Message| {
        assert!(text(got).contains(" RTP/SAVP "), "{}", text(got));
        near(Some(KEY_1)) + "a=recvonly\r\n"
    };
    s.reinvite(INSIDE, &hold, answer);
    let [caller, callee] = legs(&s.world);
    assert_eq!(caller.packets, before);
    assert!(!caller.receive && callee.receive);
    s.reinvite(INSIDE, &far(None), |_| near(Some(KEY_1)));
    assert!(legs(&s.world).iter().all(|leg| leg.receive));
    let mut world = s.hang_up(NEAR);
    assert_eq!(world.records[0].media.len(), 1, "one m-line, not two legs");
    world.assert_idle();
}

#[test]
fn both_sides_encrypted_have_keys_of_their_own() {
    let s = standing(Encryption::Force, Encryption::Force);
    let mut all = Vec::new();
    for leg in legs(&s.world) {
        let Inside::Secure { unprotect, protect } = leg.packets else {
            panic!("plain")
        };
        all.extend([unprotect.unwrap().key, protect.unwrap().key]);
    }
    for (i, one) in all.iter().enumerate() {
        assert!(all.iter().skip(i + 1).all(|other| other != one));
    }
    s.hang_up(INSIDE).assert_idle();
}

#[test]
fn best_effort_is_encrypted_where_the_answer_has_a_key() {
    for answers_with_key in [true, false] {
        let mut w = world(Encryption::Off, Encryption::BestEffort);
        w.ask(NEAR, &invite("alice", Some(&near(None))));
        let got = w.one(INSIDE);
        assert!(text(&got).contains(" RTP/AVP 0 101\r\n"));
        assert_eq!(keys(&text(&got)).len(), 2);
        let key = answers_with_key.then_some(KEY_2);
        let answer = far(key).replace("RTP/SAVP", "RTP/AVP");
        w.take(INSIDE, reply(&got, 200, "b1", Some(&answer)));
        assert_eq!(w.one(NEAR).status(), 200);
        let [caller, callee] = legs(&w);
        assert!(!is_secure(&caller));
        assert_eq!(is_secure(&callee), answers_with_key);
    }
}

#[test]
fn an_offer_in_the_answer_is_converted_and_so_is_its_answer_in_the_ack() {
    let mut w = world(Encryption::Off, Encryption::Force);
    let asked = w.ask(NEAR, &invite("alice", None));
    let got = w.one(INSIDE);
    assert!(got.body().is_empty());
    w.take(INSIDE, reply(&got, 200, "b1", Some(&far(Some(KEY_2)))));
    let ok = w.out(NEAR).pop().unwrap();
    assert!(text(&ok).contains(" RTP/AVP 0 101\r\n"), "{}", text(&ok));
    let caller = Dialog::uac(&asked, &ok).unwrap();
    let ack = caller.ack(101).body(b"application/sdp", near(None));
    w.ask(NEAR, &ack.build());
    let ack = text(&w.one(INSIDE));
    assert!(ack.contains(" RTP/SAVP 0 101\r\n"), "{ack}");
    assert_eq!(keys(&ack).len(), 1);
    let [caller, callee] = legs(&w);
    assert!(!is_secure(&caller) && is_secure(&callee));
}

#[test]
fn an_update_changes_the_address_and_an_added_video_line_has_legs_of_its_own() {
    let mut s = standing(Encryption::Off, Encryption::Force);
    let moved = near(None).replace("m=audio 4000", "m=audio 4100");
    let update = s
        .caller
        .request(b"UPDATE")
        .header(Name::Contact, b"<sip:moved@10.0.0.40>")
        .body(b"application/sdp", moved)
        .build();
    let (_, got) = s.carry(NEAR, update);
    s.world
        .take(INSIDE, reply(&got, 200, "", Some(&far(Some(KEY_2)))));
    assert_eq!(s.world.one(NEAR).status(), 200);
    assert_eq!(legs(&s.world)[0].remote.unwrap().rtp.port(), 4100);
    let video = "m=video 4200 RTP/AVPF 97\r\na=rtpmap:97 H264/90000\r\n\
                 m=application 4300 UDP/BFCP *\r\na=setup:actpass\r\n";
    let answered = format!(
        "m=video 5200 RTP/SAVPF 97\r\na=crypto:1 {SHA_80} inline:{KEY_2}\r\n\
         m=application 5300 UDP/BFCP *\r\na=setup:passive\r\n"
    );
    s.reinvite(NEAR, &(near(None) + video), |got| {
        let text = text(got);
        assert!(text.contains(" RTP/SAVPF 97\r\n"), "{text}");
        assert!(text.contains(" UDP/BFCP *\r\na=setup:actpass"), "{text}");
        far(Some(KEY_2)) + &answered
    });
    assert_eq!(s.world.pairs.len(), 6);
    let secure = s.world.pairs.values().filter(|l| is_secure(l)).count();
    assert_eq!(secure, 2, "audio and video towards the callee");
    s.hang_up(NEAR).assert_idle();
}

#[test]
fn a_refused_offer_is_rolled_back_and_what_a_zone_may_not_have_is_refused() {
    let mut s = standing(Encryption::Off, Encryption::Force);
    let before = legs(&s.world);
    let video = near(None) + "m=video 4200 RTP/AVP 97\r\n";
    let request = s
        .caller
        .request(b"INVITE")
        .header(Name::Contact, b"<sip:x@10.0.0.40>")
        .body(b"application/sdp", video)
        .build();
    let (_, got) = s.carry(NEAR, request);
    assert_eq!(s.world.pairs.len(), 4);
    s.world.take(INSIDE, reply(&got, 488, "", None));
    assert_eq!(s.world.words(INSIDE), ["ACK"]);
    assert_eq!(s.world.words(NEAR), ["100", "488"]);
    assert_eq!(s.world.pairs.len(), 2);
    assert_eq!(legs(&s.world), before);
    s.hang_up(NEAR).assert_idle();

    let mut w = world(Encryption::Force, Encryption::Off);
    w.ask(NEAR, &invite("alice", Some(&near(None))));
    assert_eq!(w.words(NEAR), ["100", "488"]);
    let refused = Event::MediaRefused(MediaError::NotEncrypted);
    assert!(w.events.contains(&refused), "{:?}", w.events);
    w.assert_idle();
    // The port range is too small for a second pair: nothing is left behind.
    let mut w = world(Encryption::Off, Encryption::Force);
    w.ports = Allocator::new(
        "10.0.0.5".parse().unwrap(),
        40_000..=40_001,
        Duration::ZERO,
        &mut Rng::from_number(1),
    );
    w.ask(NEAR, &invite("alice", Some(&near(None))));
    assert_eq!(w.words(NEAR), ["100", "503"]);
    w.assert_idle();
}
