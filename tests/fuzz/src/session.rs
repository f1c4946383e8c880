//! SDP: descriptions edited by line, SDES keys.

use std::net::{IpAddr, Ipv4Addr};

use sdp::Session;
use sdp::sdes::Crypto;

/// What descriptions are made of.
pub(crate) const WORDS: &[&str] = &[
    "\r\n",
    "v=0\r\n",
    "m=audio 49170 RTP/SAVP 0\r\n",
    "m=video 0 UDP/TLS/RTP/SAVPF 96\r\n",
    "c=IN IP4 ",
    "c=IN IP6 ::1\r\n",
    "a=crypto:1 AES_CM_128_HMAC_SHA1_80 inline:",
    "|2^20|1:4",
    "a=sendonly\r\n",
    "a=rtcp:53020 IN IP4 ",
    "a=x-causeway-stream:80000001\r\n",
    "a=fmtp:",
    "b=AS:64\r\n",
    "inline:",
    " UNENCRYPTED_SRTP",
    "m=application 5070 TCP/BFCP *\r\n",
    "a=candidate:1 1 UDP 1 ",
    ";inline:",
];

/// Without an edit a description is written as it was read; after one it can be read again.
pub(crate) fn description(data: &[u8]) {
    let Ok(session) = Session::parse(data) else {
        return;
    };
    let written = session.to_bytes();
    let again = Session::parse(&written);
    assert!(
        again.is_ok_and(|again| again.to_bytes() == written),
        "writing is not stable"
    );
    let here = IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1));
    let mut edited = session;
    edited.set_origin_address(here);
    edited.remove_session_attributes(|name, _| name == b"ice-lite");
    for i in 0..edited.media_count() {
        let _ = (
            edited.kind(i),
            edited.rtcp_address(i),
            edited.direction(i),
            edited.crypto(i),
        );
        let _ = (edited.is_rtp(i), edited.is_udp(i), edited.is_secure(i));
        let active = edited.is_active(i);
        edited.set_address(i, here, 30_000);
        edited.remove_attribute(i, b"crypto");
        edited.add_attribute(i, b"x-causeway-stream", b"00000001");
        assert!(edited.crypto(i).is_empty(), "a key survived its removal");
        if active {
            assert_eq!(
                edited.rtp_address(i).map(|a| a.ip()),
                Some(here),
                "an address survived"
            );
        }
    }
    let count = edited.media_count();
    let again = Session::parse(&edited.to_bytes());
    assert!(
        again.is_ok_and(|s| s.media_count() == count),
        "an edit broke the description"
    );
    for i in 0..count {
        edited.reject(i);
        assert!(!edited.is_active(i), "a refused line is active");
    }
}

/// What is read is written the same.
pub(crate) fn crypto(data: &[u8]) {
    let Ok(crypto) = Crypto::parse(data) else {
        return;
    };
    assert_eq!(crypto.master_key().len(), crypto.suite.key_bytes());
    assert_eq!(crypto.master_salt().len(), crypto.suite.salt_bytes());
    let again = Crypto::parse(crypto.to_string().as_bytes());
    assert!(
        again.is_ok_and(|again| again == crypto),
        "not written as it was read"
    );
}
