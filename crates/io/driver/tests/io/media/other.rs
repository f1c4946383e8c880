//! What is no plain audio: floor control, and media that is encrypted inside too.

use super::*;

/// A Hello of floor control (RFC 8855 §5.3.11).
fn hello(transaction: u8) -> Vec<u8> {
    vec![0x40, 11, 0, 0, 0, 0, 0, 1, 0, transaction, 0, 2]
}

#[test]
fn floor_control_passes_both_ways_through_real_sockets() {
    let mut h = House::new();
    h.speak(1);
    let address = h.edge.wait(|e| match e {
        Event::Latched { leg: LEG, address } => Some(address),
        _ => None,
    });
    let control = LegId(Id::new(2, 0));
    let datagrams = media::Datagrams {
        kind: media::Datagram::Bfcp,
        unprotect: Some(srtp_key(6)),
        protect: Some(srtp_key(5)),
        from: Some(address.ip()),
    };
    let edge = EdgeLeg {
        stream: StreamId(0x00ab_cdee),
        local: pair(h.ip),
        expected: Vec::new(),
        datagrams: Some(datagrams),
        ..h.edge_leg.clone()
    };
    let core = CoreLeg {
        stream: edge.stream,
        local: pair(h.ip),
        unprotect: Some(srtp_key(5)),
        protect: Some(srtp_key(6)),
        inside: media::Inside::Datagrams(media::Datagram::Bfcp),
        ..h.core_leg.clone()
    };
    let (outer, inner) = (edge.local.rtp, core.local.rtp);
    h.edge.tell(Command::InstallEdge { leg: control, edge });
    h.core.tell(Command::InstallCore { leg: control, core });
    for node in [&h.edge, &h.core] {
        node.wait(|e| (e == Event::Installed { leg: control }).then_some(()));
    }
    let client = socket(h.ip);
    for n in 1..20 {
        // What is no floor control goes nowhere.
        client.send_to(&rtp(n), outer).unwrap();
        client.send_to(&hello(n as u8), outer).unwrap();
        assert_eq!(receive(&h.phone), (inner, hello(n as u8)));
        h.phone.send_to(&hello(n as u8 + 100), inner).unwrap();
        assert_eq!(receive(&client), (outer, hello(n as u8 + 100)));
    }
}

#[test]
fn media_that_is_encrypted_inside_passes_under_other_keys() {
    let mut h = House::new();
    h.core.tell(Command::UpdateCore {
        leg: LEG,
        core: CoreLeg {
            inside: media::Inside::Secure {
                unprotect: Some(srtp_key(7)),
                protect: Some(srtp_key(8)),
            },
            ..h.core_leg.clone()
        },
    });
    let (mut phone_out, mut phone_in) = (context(7), context(8));
    for n in 1..20 {
        let packet = h.protect(n);
        h.client
            .socket
            .send_to(&packet, h.edge_leg.local.rtp)
            .unwrap();
        let (_, heard) = receive(&h.phone);
        assert_ne!(heard, packet);
        assert_eq!(phone_in.decrypt_rtp(&heard).unwrap(), rtp(n));
        let packet = phone_out.encrypt_rtp(&rtp(n)).unwrap();
        h.phone.send_to(&packet, h.core_leg.local.rtp).unwrap();
        let (_, heard) = receive(&h.client.socket);
        assert_eq!(h.client.inwards.decrypt_rtp(&heard).unwrap(), rtp(n));
    }
}

#[test]
fn two_parties_inside_hear_one_another_though_one_alone_has_srtp() {
    let ip = own_address();
    let core = Node::new(Settings::new(Role::Core));
    let (plain, secure) = (socket(ip), socket(ip));
    let legs = [LegId(Id::new(1, 0)), LegId(Id::new(2, 0))];
    let leg = |party: &UdpSocket, other, packets| {
        let rtp = party.local_addr().unwrap();
        media::InsideLeg {
            local: pair(ip),
            remote: Some(PortPair { rtp, rtcp: rtp }),
            other,
            receive: true,
            packets,
        }
    };
    let keys = media::Inside::Secure {
        unprotect: Some(srtp_key(7)),
        protect: Some(srtp_key(8)),
    };
    let near = leg(&plain, legs[1], media::Inside::Plain);
    let far = leg(&secure, legs[0], keys);
    let (near_at, far_at) = (near.local.rtp, far.local.rtp);
    for (leg, inside) in legs.into_iter().zip([near, far]) {
        core.tell(Command::InstallInside { leg, inside });
        core.wait(|e| (e == Event::Installed { leg }).then_some(()));
    }
    let (mut out, mut inwards) = (context(7), context(8));
    for n in 1..20 {
        plain.send_to(&rtp(n), near_at).unwrap();
        let (from, sealed) = receive(&secure);
        assert_eq!(from, far_at);
        assert_eq!(inwards.decrypt_rtp(&sealed).unwrap(), rtp(n));
        // Under no key it goes nowhere.
        secure.send_to(&rtp(n), far_at).unwrap();
        secure
            .send_to(&out.encrypt_rtp(&rtp(n)).unwrap(), far_at)
            .unwrap();
        assert_eq!(receive(&plain), (near_at, rtp(n)));
    }
    core.tell(Command::Remove { leg: legs[1] });
    let counters = core.wait(|e| match e {
        Event::Counters {
            leg,
            counters,
            last: true,
        } if leg == legs[1] => Some(counters),
        _ => None,
    });
    assert_eq!((counters.from_client.packets, counters.forged), (19, 19));
}
