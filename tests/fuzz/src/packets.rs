//! Frames of the link, and media: what a stranger's or a forger's datagram may do.

use std::net::{Ipv4Addr, SocketAddr};

use base::{Instant, Rng, Secret, Slab};
use media::mux::{End, HEADER_BYTES, Head, Keys, Kind};
use media::srtp::{Context, Suite};
use media::{
    Component, CoreLeg, Datagram, Datagrams, EdgeLeg, Inside, LegId, LinkId, LinkKeys, PortPair,
    SrtpKey, StreamId,
};
use media::{core, edge, rtp};
use traversal::frame::{Decoder, encode};

/// The same messages however the stream is cut; what is read is written so that it reads the same.
pub(crate) fn link_frame(data: &[u8]) {
    let whole = messages(data, usize::MAX);
    for size in [1, 3, 64] {
        assert_eq!(messages(data, size), whole, "cut in pieces of {size}");
    }
}

fn messages(data: &[u8], size: usize) -> Vec<String> {
    let mut decoder = Decoder::default();
    let mut found = Vec::new();
    for piece in data.chunks(size.min(data.len().max(1))) {
        decoder.push(piece);
        loop {
            match decoder.next_message() {
                Ok(Some(message)) => {
                    let mut again = Decoder::default();
                    again.push(&encode(&message));
                    let read = again.next_message();
                    assert!(
                        matches!(&read, Ok(Some(m)) if format!("{m:?}") == format!("{message:?}"))
                    );
                    found.push(format!("{message:?}"));
                }
                Ok(None) => break,
                Err(fault) => {
                    found.push(fault.to_string());
                    return found;
                }
            }
        }
    }
    found
}

/// A frame with one bit changed is none; a true one says what was put in.
pub(crate) fn media_frame(data: &[u8]) {
    let (edge, core) = (keys(End::Edge), keys(End::Core));
    assert!(
        core.open(data)
            .is_none_or(|head| head.kind != Kind::HelloAck || data.len() >= 16)
    );
    let kinds = [
        Kind::Data,
        Kind::Hello,
        Kind::HelloAck,
        Kind::Candidate,
        Kind::Latch,
    ];
    let (kind, number, payload) = match data {
        [first, second, payload @ ..] => (kinds[*first as usize % 5], *second as u16, payload),
        _ => (Kind::Data, 0, data),
    };
    let head = Head {
        kind,
        number,
        stream: StreamId(u32::from(number) << 16),
    };
    let mut frame = Vec::new();
    edge.seal(head, payload, &mut frame);
    assert_eq!(core.open(&frame), Some(head));
    assert_eq!(&frame[HEADER_BYTES..], payload);
    assert_eq!(edge.open(&frame), None, "a frame came back to its sender");
    for bit in 0..HEADER_BYTES * 8 {
        frame[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(core.open(&frame), None, "a frame with bit {bit} changed");
        frame[bit / 8] ^= 1 << (bit % 8);
    }
    frame.push(0);
    assert_eq!(core.open(&frame), None, "a longer frame");
}

/// Junk is not opened and changes nothing; a packet that was closed opens once, and not with a bit
/// changed.
pub(crate) fn srtp(data: &[u8]) {
    for suite in Suite::ALL {
        let key = key(suite);
        let (Ok(mut seal), Ok(mut open)) = (Context::new(&key), Context::new(&key)) else {
            panic!("a key of the right length is refused");
        };
        let mut junk = data.to_vec();
        assert!(
            open.unprotect_rtp(&mut junk).is_err(),
            "junk was opened as SRTP"
        );
        let mut junk = data.to_vec();
        assert!(
            open.unprotect_rtcp(&mut junk).is_err(),
            "junk was opened as SRTCP"
        );
        let mut packet = data.to_vec();
        if seal.protect_rtp(&mut packet).is_ok() {
            changed(data, &packet, |packet| open.unprotect_rtp(packet).is_ok());
        }
        let mut packet = data.to_vec();
        if seal.protect_rtcp(&mut packet).is_ok() {
            changed(data, &packet, |packet| open.unprotect_rtcp(packet).is_ok());
        }
    }
}

fn changed(plain: &[u8], closed: &[u8], mut open: impl FnMut(&mut Vec<u8>) -> bool) {
    let mut bits = Rng::from_number(closed.len() as u64);
    for _ in 0..4 {
        let bit = bits.below(closed.len() as u64 * 8) as usize;
        let mut forged = closed.to_vec();
        forged[bit / 8] ^= 1 << (bit % 8);
        assert!(!open(&mut forged), "opened with bit {bit} changed");
    }
    let mut packet = closed.to_vec();
    assert!(open(&mut packet), "our own packet is not opened");
    assert_eq!(packet, plain, "opened to something else");
    assert!(!open(&mut closed.to_vec()), "opened twice");
}

/// Both relays, given anything from anywhere.
pub(crate) fn relay(data: &[u8]) {
    let mut slab = Slab::new(1);
    let Ok(id) = slab.insert(()) else { return };
    let (leg, link, stream) = (LegId(id), LinkId(1), StreamId(1));
    let here = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let local = PortPair {
        rtp: here(30_000),
        rtcp: here(30_001),
    };
    let now = Instant::default();
    let mut outer = edge::Relay::default();
    outer.install(
        leg,
        EdgeLeg {
            stream,
            link,
            local,
            expected: vec![here(4000)],
            datagrams: None,
        },
    );
    let mut inner = core::Relay::default();
    let key = Some(key(Suite::ALL[0]));
    inner.install(
        now,
        leg,
        CoreLeg {
            stream,
            link,
            local,
            remote: Some(local),
            unprotect: key.clone(),
            protect: key,
            receive: true,
            send: true,
            inside: media::Inside::Plain,
        },
    );
    let (edge_keys, core_keys) = (keys(End::Edge), keys(End::Core));
    let mut frame = Vec::new();
    for component in [Component::Rtp, Component::Rtcp] {
        let source = here(5000);
        if outer.from_client(now, leg, component, source, data, &edge_keys, &mut frame) {
            let head = core_keys
                .open(&frame)
                .expect("the edge's frame opens at the core");
            assert_eq!(
                head.kind,
                Kind::Candidate,
                "a stranger was taken for the client"
            );
            let to = inner.from_link(now, link, component, head, &mut frame);
            assert_eq!(
                to,
                core::FromLink::Dropped,
                "a packet without a good tag went inside"
            );
        }
        for kind in [
            Kind::Data,
            Kind::Candidate,
            Kind::HelloAck,
            Kind::Latch,
            Kind::Hello,
        ] {
            let head = Head {
                kind,
                number: 9,
                stream,
            };
            let to = outer.from_link(now, link, component, head, data);
            assert!(
                !matches!(to, edge::FromLink::Latched { .. }),
                "latched what was never seen"
            );
            let to = inner.from_link(now, link, component, head, &mut data.to_vec());
            assert!(
                !matches!(to, core::FromLink::ToInside { .. }),
                "junk went inside"
            );
        }
        let mut packet = data.to_vec();
        let source = local.of(component);
        inner.from_inside(
            now,
            leg,
            component,
            source,
            &mut packet,
            &core_keys,
            &mut frame,
        );
    }
    let _ = (rtp::kind(data), rtp::Header::parse(data));
    for kind in [Datagram::Bfcp, Datagram::Udt] {
        datagram(data, kind);
    }
}

/// A stream that is no RTP, given anything from its client and from inside: what is admitted
/// arrives as it was, and nothing else does.
fn datagram(data: &[u8], kind: Datagram) {
    let mut slab = Slab::new(1);
    let Ok(id) = slab.insert(()) else { return };
    let (leg, link, stream) = (LegId(id), LinkId(1), StreamId(1));
    let here = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let local = PortPair {
        rtp: here(30_000),
        rtcp: here(30_001),
    };
    let now = Instant::default();
    let key = Some(key(Suite::ALL[0]));
    let mut outer = edge::Relay::default();
    let datagrams = Datagrams {
        kind,
        unprotect: key.clone(),
        protect: key.clone(),
        from: Some(here(0).ip()),
    };
    let edge = EdgeLeg {
        stream,
        link,
        local,
        expected: Vec::new(),
        datagrams: Some(datagrams),
    };
    outer.install(leg, edge);
    let mut inner = core::Relay::default();
    let core = CoreLeg {
        stream,
        link,
        local,
        remote: Some(local),
        unprotect: key.clone(),
        protect: key,
        receive: true,
        send: true,
        inside: Inside::Datagrams(kind),
    };
    inner.install(now, leg, core);
    let (edge_keys, core_keys) = (keys(End::Edge), keys(End::Core));
    let (mut frame, half) = (Vec::new(), Component::Rtp);
    let goes = outer.from_client(now, leg, half, here(5000), data, &edge_keys, &mut frame);
    assert_eq!(goes, kind.admits(data), "what is admitted goes on");
    if goes {
        let head = core_keys.open(&frame).expect("the edge's frame opens");
        let to = inner.from_link(now, link, half, head, &mut frame);
        let arrives = matches!(to, core::FromLink::ToInside { to: Some(_), .. });
        assert!(arrives && frame == data, "and arrives as it was");
    }
    let mut packet = data.to_vec();
    let source = local.rtp;
    if inner.from_inside(now, leg, half, source, &mut packet, &core_keys, &mut frame) {
        let head = edge_keys.open(&frame).expect("the core's frame opens");
        let to = outer.from_link(now, link, half, head, &frame);
        let back = matches!(to, edge::FromLink::Datagram { .. });
        assert!(!goes || (back && outer.datagram() == data), "and back");
    }
    // Junk under a good head is no datagram.
    let head = Head {
        kind: Kind::Data,
        number: 9,
        stream,
    };
    let to = outer.from_link(now, link, half, head, data);
    assert!(
        !matches!(to, edge::FromLink::Datagram { .. }),
        "junk went outside"
    );
}

fn keys(end: End) -> Keys {
    let mut secret = [0; 64];
    Rng::from_number(1).fill(&mut secret);
    Keys::new(
        &LinkKeys {
            secret: Secret::new(secret),
        },
        end,
    )
}

fn key(suite: Suite) -> SrtpKey {
    let mut key = vec![0; suite.key_bytes() + suite.salt_bytes()];
    Rng::from_number(2).fill(&mut key);
    SrtpKey {
        suite,
        key: Secret::new(key),
        mki: Vec::new(),
    }
}
