//! Batches of datagrams over the loopback.

use std::net::UdpSocket;
use std::time::Duration;

use super::*;

fn any(ip: &str) -> Udp {
    let address = SocketAddr::new(ip.parse().unwrap(), 0);
    Udp::bind(
        address,
        Options {
            coalesce: true,
            ..Options::default()
        },
    )
    .unwrap()
}

/// What a socket holds, once `count` datagrams have come.
fn take(socket: &Udp, inbox: &mut Inbox, count: usize) -> Vec<(SocketAddr, Vec<u8>)> {
    let mut all = Vec::new();
    for _ in 0..10_000 {
        inbox.fill(socket);
        for d in inbox.datagrams() {
            all.extend(d.bytes.chunks(d.segment).map(|s| (d.source, s.to_vec())));
        }
        if all.len() >= count {
            break;
        }
        std::thread::yield_now();
    }
    all
}

#[test]
fn a_batch_of_mixed_lengths_arrives_whole_and_in_order_over_both_families() {
    for ip in ["127.0.0.1", "::1"] {
        let (from, to) = (any(ip), any(ip));
        let mut outbox = Outbox::new(128 * 1024);
        let target = to.local_address().unwrap();
        let lengths = [172, 172, 172, 40, 172, 1200, 1200, 300, 1, 1, 1400];
        let sent: Vec<Vec<u8>> = (0..300)
            .map(|i: usize| vec![i as u8; lengths[i % lengths.len()]])
            .collect();
        let mut inbox = Inbox::new(8, 65_536);
        let mut got = Vec::new();
        for part in sent.chunks(20) {
            for datagram in part {
                assert!(outbox.has_room(datagram.len()));
                outbox.push(Some(target), datagram);
            }
            assert_eq!(outbox.flush(&from), 0);
            got.extend(take(&to, &mut inbox, part.len()));
        }
        let source = from.local_address().unwrap();
        assert!(got.iter().all(|(s, _)| *s == source));
        assert_eq!(got.into_iter().map(|(_, d)| d).collect::<Vec<_>>(), sent);
    }
}

#[test]
fn an_ordinary_socket_gets_each_segment_as_a_datagram() {
    let plain = UdpSocket::bind("127.0.0.1:0").unwrap();
    plain
        .set_read_timeout(Some(Duration::from_secs(10)))
        .unwrap();
    let from = any("127.0.0.1");
    from.connect(plain.local_addr().unwrap()).unwrap();
    let mut outbox = Outbox::new(128 * 1024);
    for i in 0..70u8 {
        outbox.push(None, &[i; 198]);
    }
    assert_eq!(outbox.flush(&from), 0);
    assert!(outbox.is_empty());
    let mut room = [0; 2048];
    for i in 0..70u8 {
        let length = plain.recv(&mut room).unwrap();
        assert_eq!(&room[..length], &[i; 198]);
    }
}

#[test]
fn segments_longer_than_the_path_are_sent_each_by_itself() {
    let (from, to) = (any("127.0.0.1"), any("127.0.0.1"));
    let target = to.local_address().unwrap();
    let mut outbox = Outbox::new(256 * 1024);
    // Two of these exceed what one large datagram may hold, and one exceeds no MTU of loopback.
    for i in 0..3u8 {
        outbox.push(Some(target), &vec![i; 40_000]);
    }
    assert_eq!(outbox.flush(&from), 0);
    let mut inbox = Inbox::new(4, 65_536);
    assert_eq!(take(&to, &mut inbox, 3).len(), 3);
}

#[test]
fn a_datagram_longer_than_its_slot_is_left_out_and_counted() {
    let (from, to) = (any("127.0.0.1"), any("127.0.0.1"));
    let target = to.local_address().unwrap();
    assert!(from.send(Some(target), &[1; 500]));
    assert!(from.send(Some(target), &[2; 100]));
    let mut inbox = Inbox::new(4, 256);
    let got = take(&to, &mut inbox, 1);
    assert_eq!(got.len(), 1);
    assert_eq!((got[0].1.as_slice(), inbox.truncated()), (&[2; 100][..], 1));
}

#[test]
fn a_connected_socket_hears_its_peer_alone_until_it_is_disconnected() {
    let (b, stranger) = (any("127.0.0.1"), any("127.0.0.1"));
    // Bound to a port by number, as media is.
    let address = any("127.0.0.1").local_address().unwrap();
    let a = Udp::bind(address, Options::default()).unwrap();
    a.connect(b.local_address().unwrap()).unwrap();
    assert!(stranger.send(Some(address), b"stranger"));
    assert!(b.send(Some(address), b"friend"));
    let mut inbox = Inbox::new(4, 256);
    let got = take(&a, &mut inbox, 1);
    assert_eq!(got, [(b.local_address().unwrap(), b"friend".to_vec())]);
    a.disconnect().unwrap();
    assert_eq!(a.local_address().unwrap(), address);
    assert!(stranger.send(Some(address), b"stranger"));
    assert_eq!(take(&a, &mut inbox, 1)[0].1, b"stranger");
}

#[test]
fn a_refused_datagram_stops_neither_the_next_nor_what_arrives() {
    let a = any("127.0.0.1");
    let gone = any("127.0.0.1").local_address().unwrap();
    a.connect(gone).unwrap();
    // Nobody is there: ICMP comes back at once on loopback.
    assert!(a.send(None, b"one"));
    assert!(a.send(None, b"two"));
    let back = Udp::bind(gone, Options::default()).unwrap();
    assert!(back.send(Some(a.local_address().unwrap()), b"here"));
    let mut inbox = Inbox::new(4, 256);
    assert_eq!(take(&a, &mut inbox, 1)[0].1, b"here");
    let mut outbox = Outbox::new(4096);
    outbox.push(None, b"three");
    assert_eq!(outbox.flush(&a), 0);
    assert_eq!(take(&back, &mut inbox, 1)[0].1, b"three");
}

#[test]
fn an_address_that_is_taken_is_refused() {
    let first = any("127.0.0.1");
    let again = Udp::bind(first.local_address().unwrap(), Options::default());
    assert_eq!(again.unwrap_err().kind(), ErrorKind::AddrInUse);
    assert!(first.receive_bytes() > 0);
}
