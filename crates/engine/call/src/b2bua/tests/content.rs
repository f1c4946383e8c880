//! More than audio: several video lines, shared content, floor control, active control; and what
//! is refused or taken out of a description, with all else untouched.

use super::*;

/// Floor control as a client offers it, through an edge that closes it.
const FLOOR: &str = "m=application 36000 UDP/BFCP *\r\na=floorctrl:c-s\r\na=confid:1\r\n\
    a=floorid:2 mstrm:12\r\na=userid:3\r\na=setup:actpass\r\na=connection:new\r\n";

fn keyed(section: &str, stream: u32) -> String {
    format!(
        "{section}a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_2}\r\n\
         a=x-causeway-stream:{stream:08x}\r\n"
    )
}

/// Audio, video, slides with floor control, active control and error correction.
fn rich() -> String {
    edge_sdp(KEY_1)
        + &keyed(
            "m=video 36000 RTP/SAVP 97 98\r\nb=TIAS:2000000\r\na=rtpmap:97 H264/90000\r\n\
             a=fmtp:97 profile-level-id=42e01f\r\na=label:11\r\na=content:main\r\n",
            1,
        )
        + &keyed(
            "m=video 36000 RTP/SAVP 97\r\na=label:12\r\na=content:slides\r\na=sendrecv\r\n",
            2,
        )
        + &keyed(FLOOR, 3)
        + &keyed(
            "m=application 36000 UDP/UDT/IX *\r\na=ixmap:0 ping\r\na=ixmap:2 xccp\r\n",
            4,
        )
        + &keyed(
            "m=video 36000 RTP/SAVP 100\r\na=rtpmap:100 x-ulpfecuc/8000\r\n",
            5,
        )
}

/// What the inside gets of [`rich`], but for our ports.
fn rich_inside(world: &World) -> String {
    let ports: Vec<u16> = world.legs.values().map(|l| l.local.rtp.port()).collect();
    format!(
        "v=0\r\no=alice 1 1 IN IP4 10.0.0.5\r\ns=-\r\nc=IN IP4 10.0.0.5\r\nt=0 0\r\n\
         m=audio {} RTP/AVP 0 101\r\na=rtpmap:0 PCMU/8000\r\na=sendrecv\r\n\
         m=video {} RTP/AVP 97 98\r\nb=TIAS:2000000\r\na=rtpmap:97 H264/90000\r\n\
         a=fmtp:97 profile-level-id=42e01f\r\na=label:11\r\na=content:main\r\n\
         m=video {} RTP/AVP 97\r\na=label:12\r\na=content:slides\r\na=sendrecv\r\n\
         m=application {} UDP/BFCP *\r\na=floorctrl:c-s\r\na=confid:1\r\n\
         a=floorid:2 mstrm:12\r\na=userid:3\r\na=setup:actpass\r\na=connection:new\r\n\
         m=application {} UDP/UDT/IX *\r\na=ixmap:0 ping\r\na=ixmap:2 xccp\r\n\
         m=video {} RTP/AVP 100\r\na=rtpmap:100 x-ulpfecuc/8000\r\n",
        ports[0], ports[1], ports[2], ports[3], ports[4], ports[5]
    )
}

#[test]
fn every_m_line_goes_across_with_only_addresses_ports_profile_and_keys_changed() {
    let mut world = World::new();
    world.ask(EDGE, &invite("alice", Some(&rich())));
    let got = world.one(INSIDE);
    assert_eq!(text(&got), rich_inside(&world));
    assert_eq!((world.legs.len(), world.ports.in_use()), (6, 6));
}

#[test]
fn shared_content_is_encrypted_and_floor_control_is_carried_as_datagrams() {
    let mut world = World::new();
    world.ask(EDGE, &invite("alice", Some(&rich())));
    let got = world.one(INSIDE);
    let answer = inside_sdp()
        + "m=video 20002 RTP/AVP 97\r\na=content:main\r\n\
           m=video 20004 RTP/AVP 97\r\na=content:slides\r\n\
           m=application 20006 UDP/BFCP *\r\na=floorctrl:s\r\na=setup:passive\r\n\
           m=application 20008 UDP/UDT/IX *\r\na=ixmap:0 ping\r\n\
           m=video 0 RTP/AVP 100\r\n";
    world.take(INSIDE, reply(&got, 200, "b1", Some(&answer)));
    let legs: Vec<CoreLeg> = world.legs.values().cloned().collect();
    assert_eq!(legs.len(), 5);
    for leg in &legs {
        assert!(leg.protect.is_some() && leg.unprotect.is_some() && leg.send && leg.receive);
    }
    let kinds: Vec<_> = legs.iter().map(|l| l.inside.clone()).collect();
    use media::{Datagram, Inside};
    assert_eq!(
        kinds,
        [
            Inside::Plain,
            Inside::Plain,
            Inside::Plain,
            Inside::Datagrams(Datagram::Bfcp),
            Inside::Datagrams(Datagram::Udt),
        ]
    );
    assert_eq!(
        legs[3].remote.unwrap().rtp,
        "10.0.0.20:20006".parse().unwrap()
    );
    let told = text(&world.one(EDGE));
    for section in told.split("m=").skip(1).filter(|s| !s.contains(" 0 RTP")) {
        assert!(section.contains("a=crypto:") && section.contains("a=x-causeway-stream:"));
        let plain = section.contains("RTP/AVP");
        assert!(!plain, "{section}");
    }
    assert!(
        told.contains("m=application 36000 UDP/BFCP *\r\na=floorctrl:s\r\na=setup:passive\r\n")
    );
    assert!(told.contains("m=video 0 RTP/SAVP 100\r\n"));
}

#[test]
fn content_from_inside_is_offered_to_the_client_with_keys_for_the_link() {
    let mut world = World::new();
    let offer = inside_sdp() + "m=application 20006 UDP/BFCP *\r\na=floorctrl:s\r\n";
    world.ask(INSIDE, &invite("bob", Some(&offer)));
    let got = text(&world.one(EDGE));
    let floor = &got[got.find("m=application").unwrap()..];
    assert!(floor.starts_with("m=application 36000 UDP/BFCP *\r\na=floorctrl:s\r\na=crypto:1 "));
    assert!(floor.contains("a=x-causeway-stream:"));
}

#[test]
fn what_is_neither_rtp_nor_carried_is_refused_and_the_rest_goes_on() {
    let refused = [
        "TCP/BFCP *",
        "UDP/TLS/BFCP *",
        "TCP/TLS/BFCP *",
        "UDP/DTLS/UDT/IX *",
        "UDP/DTLS/SCTP webrtc-datachannel",
        "TCP/MSRP *",
    ];
    for proto in refused {
        let mut world = World::new();
        let offer = edge_sdp(KEY_1) + &format!("m=application 36000 {proto}\r\n");
        world.ask(EDGE, &invite("alice", Some(&offer)));
        let got = text(&world.one(INSIDE));
        assert!(
            got.contains(&format!("m=application 0 {proto}\r\n")),
            "{got}"
        );
        assert_eq!(world.legs.len(), 1);
    }
    // An edge that does not close what is no RTP is not trusted with it.
    let mut world = World::new();
    world.ask(EDGE, &invite("alice", Some(&(edge_sdp(KEY_1) + FLOOR))));
    assert!(text(&world.one(INSIDE)).contains("m=application 0 UDP/BFCP *\r\n"));
}

#[test]
fn bundles_shared_ports_and_candidates_are_taken_out() {
    let mut world = World::new();
    let offer = edge_sdp(KEY_1).replace(
        "a=ice-lite\r\n",
        "a=group:BUNDLE 0 1\r\na=group:LS 0 1\r\na=ice-ufrag:x\r\na=msid-semantic: WMS\r\n",
    ) + "a=mid:0\r\na=rtcp-mux-only\r\n"
        + "m=video 0 RTP/SAVP 97\r\na=bundle-only\r\na=mid:1\r\n";
    world.ask(EDGE, &invite("alice", Some(&offer)));
    let got = text(&world.one(INSIDE));
    for gone in ["BUNDLE", "bundle-only", "rtcp-mux", "ice-", "candidate"] {
        assert!(!got.contains(gone), "{gone}: {got}");
    }
    for kept in [
        "a=group:LS 0 1\r\n",
        "a=msid-semantic: WMS\r\n",
        "a=mid:0\r\n",
        "a=mid:1\r\n",
    ] {
        assert!(got.contains(kept), "{kept}: {got}");
    }
}

#[test]
fn refused_line_beside_a_hold_of_old_leaves_the_hold() {
    let mut world = World::new();
    let offer = inside_sdp().replace("c=IN IP4 10.0.0.20", "c=IN IP4 0.0.0.0")
        + "m=video 0 RTP/AVP 97\r\na=rtcp:53 IN IP4 10.0.0.20\r\n";
    world.ask(INSIDE, &invite("bob", Some(&offer)));
    let got = text(&world.one(EDGE));
    assert!(got.contains("c=IN IP4 0.0.0.0\r\n"), "{got}");
    assert!(
        !got.contains("10.0.0.20"),
        "no inside address leaves: {got}"
    );
}

#[test]
fn m_lines_are_bounded() {
    let mut world = World::new();
    let offer = edge_sdp(KEY_1) + &"m=video 0 RTP/SAVP 97\r\n".repeat(16);
    world.ask(EDGE, &invite("alice", Some(&offer)));
    assert_eq!(world.words(EDGE), ["100", "488"]);
    world.assert_idle();
}

#[test]
fn line_that_turns_from_media_to_control_is_refused() {
    let mut s = call(true, EDGE);
    let before = s.world.leg();
    let offer = edge_sdp(KEY_1).replace(
        "m=audio 36000 RTP/SAVP 0 101",
        "m=application 36000 UDP/BFCP *",
    );
    let request = s
        .caller
        .request(b"INVITE")
        .header(Name::Contact, b"<sip:a@x>")
        .body(b"application/sdp", offer)
        .build();
    s.world.ask(EDGE, &request);
    assert_eq!(s.world.words(EDGE), ["100", "488"]);
    assert_eq!(s.world.leg(), before);
}

#[test]
fn hold_of_the_whole_session_leaves_floor_control_open() {
    let mut world = World::new();
    let head = edge_sdp(KEY_1).replace("a=ice-lite\r\n", "a=inactive\r\n");
    let offer = head.replace("a=sendrecv\r\n", "") + &keyed(FLOOR, 3);
    world.ask(EDGE, &invite("alice", Some(&offer)));
    let got = world.one(INSIDE);
    let answer = inside_sdp() + "a=inactive\r\nm=application 20006 UDP/BFCP *\r\n";
    world.take(INSIDE, reply(&got, 200, "b1", Some(&answer)));
    let open: Vec<bool> = world.legs.values().map(|l| l.send && l.receive).collect();
    assert_eq!(open, [false, true]);
}

#[test]
fn video_that_a_region_allows_little_is_told_once_a_call() {
    let mut w = World::new();
    let video = |proto: &str, more: &str| format!("m=video 5004 RTP/{proto} 97\r\n{more}");
    let offer = edge_sdp(KEY_1)
        + &video(
            "SAVP",
            &format!(
                "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:{KEY_2}\r\n\
                 a=x-causeway-stream:0000002b\r\n"
            ),
        );
    w.ask(EDGE, &invite("alice", Some(&offer)));
    let got = w.one(INSIDE);
    let region = "t=0 0\r\nb=TIAS:384000\r\nb=AS:384\r\n";
    let answer = inside_sdp().replace("t=0 0\r\n", region) + &video("AVP", "");
    for status in [183, 200] {
        w.take(INSIDE, reply(&got, status, "b1", Some(&answer)));
    }
    let little = |e: &&Event| matches!(e, Event::LittleRate { kbps: 384 });
    assert_eq!(w.events.iter().filter(little).count(), 1, "{:?}", w.events);
    assert!(text(&w.out(EDGE)[1]).contains("b=AS:384\r\n"), "it passes");
}
