//! Workers on loopback connections; the test stands in for the node.

use std::collections::VecDeque;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use node::io::{Input, Side, Transport};
use sip::Frame;
use tokio::sync::mpsc;

use super::line::{Buffers, Line};
use super::*;
use crate::signal::Post;

const OPTIONS: &str = "OPTIONS sip:b@example.test SIP/2.0\r\n\
    Via: SIP/2.0/TCP h;branch=z9hG4bK1\r\nFrom: <sip:a@example.test>;tag=1\r\n\
    To: <sip:b@example.test>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n\
    Content-Length: 0\r\n\r\n";

/// Both ends of a connection.
fn connection() -> (std::net::TcpStream, std::net::TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let near = std::net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    let far = listener.accept().unwrap().0;
    (near, far)
}

/// One worker with one connection.
struct World {
    workers: Workers,
    posts: mpsc::Receiver<Post>,
    waiting: VecDeque<Post>,
    peer: std::net::TcpStream,
    gone: Receiver<()>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

/// Tells when it is dropped.
struct Told(std::sync::mpsc::Sender<()>);

impl Drop for Told {
    fn drop(&mut self) {
        let _ = self.0.send(());
    }
}

impl World {
    fn new() -> (World, Way) {
        World::with(Side::Client, |_| {})
    }

    /// `first` is what the peer does before a worker has the connection.
    fn with(side: Side, first: impl FnOnce(&mut std::net::TcpStream)) -> (World, Way) {
        let (handle, posts) = Handle::new();
        let (workers, desk, mut runs) = Workers::with(&handle, 1).unwrap();
        // Signalling's is served as a worker's is.
        let node = handle.clone();
        runs.push(Box::new(move || worker::run(&node, desk)));
        let threads = runs.into_iter().map(std::thread::spawn).collect();
        let (near, mut peer) = connection();
        first(&mut peer);
        near.set_nonblocking(true).unwrap();
        let facts = Facts {
            side,
            local: near.local_addr().unwrap(),
            remote: near.peer_addr().unwrap(),
            transport: Transport::Tcp,
            peer_name: None,
        };
        let stream = Stream {
            tcp: near,
            tls: None,
        };
        let (guard, gone) = channel();
        let guard = Box::new(Told(guard));
        workers.hand_over(handle.number(), facts, Limits::trusted(), stream, guard);
        let mut world = World {
            workers,
            posts,
            waiting: VecDeque::new(),
            peer,
            gone,
            threads,
        };
        let Post::Attach { way, .. } = world.next() else {
            panic!("no connection");
        };
        (world, way)
    }

    fn next(&mut self) -> Post {
        loop {
            if let Some(post) = self.waiting.pop_front() {
                return post;
            }
            match self.posts.blocking_recv().unwrap() {
                Post::Batch(batch) => self.waiting.extend(batch.open()),
                post => return post,
            }
        }
    }

    fn message(&mut self) -> sip::Message {
        match self.next() {
            Post::Input(Input::Frame {
                frame: Frame::Message(message),
                ..
            }) => message,
            _ => panic!("no message"),
        }
    }

    fn end(mut self) -> String {
        let why = match self.next() {
            Post::Input(Input::Disconnected { why, .. }) => why,
            _ => panic!("no end"),
        };
        self.gone.recv().unwrap();
        self.workers.stop();
        self.threads.into_iter().for_each(|t| t.join().unwrap());
        why
    }
}

#[test]
fn messages_in_pieces_reach_the_node_in_order_and_then_the_end() {
    let (mut world, _) = World::new();
    let second = OPTIONS.replace("Call-ID: c", "Call-ID: d");
    let stream = format!("{OPTIONS}\r\n{second}");
    for piece in stream.as_bytes().chunks(100) {
        world.peer.write_all(piece).unwrap();
    }
    assert_eq!(world.message().call_id(), b"c");
    assert_eq!(world.message().call_id(), b"d");
    world.peer.shutdown(Shutdown::Write).unwrap();
    assert_eq!(world.end(), "closed by the peer");
}

#[test]
fn keep_alive_is_answered_without_the_node() {
    let (mut world, _) = World::new();
    world.peer.write_all(b"\r\n\r\n").unwrap();
    let mut pong = [0; 2];
    world.peer.read_exact(&mut pong).unwrap();
    assert_eq!(&pong, b"\r\n");
    world.peer.write_all(OPTIONS.as_bytes()).unwrap();
    assert_eq!(world.message().call_id(), b"c");
}

#[test]
fn what_the_node_sent_leaves_before_its_close() {
    let (mut world, way) = World::new();
    let long = Bytes::from(vec![b'x'; 100_000]);
    let mut lot = vec![
        Order::Send(way.line, Bytes::from_static(b"one")),
        Order::Send(way.line, long.clone()),
        Order::Send(way.line, Bytes::from_static(b"two")),
        Order::Close(way.line),
    ];
    way.inbox.give(&mut lot);
    assert!(lot.is_empty());
    let mut read = Vec::new();
    world.peer.read_to_end(&mut read).unwrap();
    assert_eq!(read, [&b"one"[..], &long, b"two"].concat());
    assert_eq!(world.end(), "closed by this node");
}

#[test]
fn messages_beyond_the_queue_leave_while_the_peer_reads() {
    let (mut world, way) = World::new();
    let mut lot: Vec<Order> = (0..3 * QUEUE_MAX)
        .map(|_| Order::Send(way.line, Bytes::from_static(b"message")))
        .collect();
    lot.push(Order::Close(way.line));
    way.inbox.give(&mut lot);
    let mut read = Vec::new();
    world.peer.read_to_end(&mut read).unwrap();
    assert_eq!(read.len(), 3 * QUEUE_MAX * b"message".len());
    assert_eq!(world.end(), "closed by this node");
}

#[test]
fn an_end_that_comes_with_the_last_bytes_is_noticed() {
    let (mut world, _) = World::with(Side::Client, |peer| {
        peer.write_all(OPTIONS.as_bytes()).unwrap();
        peer.shutdown(Shutdown::Write).unwrap();
    });
    assert_eq!(world.message().call_id(), b"c");
    assert_eq!(world.end(), "closed by the peer");
}

#[test]
fn a_stream_that_never_pauses_between_messages_is_not_cut_off() {
    let (near, mut peer) = connection();
    near.set_nonblocking(true).unwrap();
    let now = Instant::now();
    let socket = mio::net::TcpStream::from_std(near);
    let mut line = Line::new(
        ConnId(0),
        Limits::trusted(),
        socket,
        None,
        Box::new(()),
        now,
    );
    let mut buffers = buffers();
    let mut posts = VecDeque::new();
    let (begin, rest) = OPTIONS.split_at(100);
    peer.write_all(begin.as_bytes()).unwrap();
    for n in 1..=10 {
        let now = now + Duration::from_secs(10 * n);
        peer.write_all(format!("{rest}{begin}").as_bytes()).unwrap();
        while posts.len() < n as usize {
            assert!(line.read(&mut buffers, now, &mut posts).is_ok());
        }
        assert_eq!(line.overdue(now), None);
    }
    let last = now + Duration::from_secs(115);
    assert!(line.overdue(last).unwrap().contains("15 s"));
}

#[test]
fn peer_that_does_not_read_is_cut_off() {
    let (world, way) = World::new();
    let long = Bytes::from(vec![b'x'; 64 * 1024]);
    for _ in 0..QUEUE_MAX {
        way.inbox
            .give(&mut vec![Order::Send(way.line, long.clone())]);
        way.inbox
            .give(&mut vec![Order::Send(way.line, long.clone())]);
    }
    assert_eq!(world.end(), "the peer does not read");
}

#[test]
fn a_lane_that_stands_still_for_a_moment_is_not_cut_off() {
    let (mut world, way) = World::with(Side::Lane { peer: 0 }, |_| {});
    let long = Bytes::from(vec![b'x'; 64 * 1024]);
    let mut lot: Vec<Order> = (0..2 * QUEUE_MAX)
        .map(|_| Order::Send(way.line, long.clone()))
        .collect();
    lot.push(Order::Close(way.line));
    way.inbox.give(&mut lot);
    let mut read = vec![0; long.len()];
    for _ in 0..2 * QUEUE_MAX {
        world.peer.read_exact(&mut read).unwrap();
    }
    assert_eq!(world.end(), "closed by this node");
}

#[test]
fn bytes_that_are_no_sip_are_told_to_the_node_and_nothing_after_them() {
    let (mut world, way) = World::new();
    world
        .peer
        .write_all(b"\x16\x03\x01nonsense\r\n\r\n")
        .unwrap();
    let bad = world.next();
    assert!(matches!(
        bad,
        Post::Input(Input::Frame {
            frame: Frame::Bad { fatal: true, .. },
            ..
        })
    ));
    // What comes then is not read; the node closes.
    world.peer.write_all(OPTIONS.as_bytes()).unwrap();
    way.inbox.give(&mut vec![Order::Close(way.line)]);
    let why = world.end();
    assert_eq!(why, "closed by this node");
}

#[test]
fn paused_connection_is_not_read_until_its_time_is_over() {
    let (near, mut peer) = connection();
    near.set_nonblocking(true).unwrap();
    let now = Instant::now();
    let socket = mio::net::TcpStream::from_std(near);
    let mut line = Line::new(
        ConnId(0),
        Limits::trusted(),
        socket,
        None,
        Box::new(()),
        now,
    );
    let mut buffers = buffers();
    let mut posts = VecDeque::new();
    line.pause(now, Duration::from_secs(3600));
    peer.write_all(OPTIONS.as_bytes()).unwrap();
    let soon = now + Duration::from_millis(4999);
    for _ in 0..1000 {
        assert!(line.read(&mut buffers, soon, &mut posts).is_ok());
    }
    assert!(posts.is_empty() && line.is_paused());
    while posts.is_empty() {
        let later = now + PAUSE_MAX;
        assert!(line.read(&mut buffers, later, &mut posts).is_ok());
    }
}

fn buffers() -> Buffers {
    Buffers::new(4096)
}

#[test]
fn half_a_message_is_awaited_for_15_s_and_silence_borne_for_400_s() {
    let (near, mut peer) = connection();
    near.set_nonblocking(true).unwrap();
    let now = Instant::now();
    let socket = mio::net::TcpStream::from_std(near);
    let mut line = Line::new(
        ConnId(0),
        Limits::outside(),
        socket,
        None,
        Box::new(()),
        now,
    );
    let after = |s| now + Duration::from_secs(s);
    assert_eq!(line.overdue(after(399)), None);
    assert!(line.overdue(after(400)).unwrap().contains("400 s"));
    let mut buffers = buffers();
    let mut posts = VecDeque::new();
    peer.write_all(b"OPTIONS sip:b@exa").unwrap();
    while line.overdue(after(15)).is_none() {
        assert!(line.read(&mut buffers, now, &mut posts).is_ok());
    }
    // More of it buys no time.
    peer.write_all(b"mple").unwrap();
    assert!(line.read(&mut buffers, after(14), &mut posts).is_ok());
    assert_eq!(line.overdue(after(14)), None);
    assert!(line.overdue(after(15)).unwrap().contains("15 s"));
    assert!(posts.is_empty());
}

/// A desk that the test turns itself, with connections of clients, whose far ends it gets.
fn desk_with(connections: usize) -> (Workers, Desk, Vec<std::net::TcpStream>) {
    let (handle, _) = Handle::new();
    let (workers, desk, _) = Workers::with(&handle, 0).unwrap();
    let ends = (0..connections).map(|_| {
        let (near, far) = connection();
        near.set_nonblocking(true).unwrap();
        let facts = Facts {
            side: Side::Client,
            local: near.local_addr().unwrap(),
            remote: near.peer_addr().unwrap(),
            transport: Transport::Tcp,
            peer_name: None,
        };
        let stream = Stream {
            tcp: near,
            tls: None,
        };
        let conn = handle.number();
        workers.hand_over(conn, facts, Limits::trusted(), stream, Box::new(()));
        far
    });
    let ends = ends.collect();
    (workers, desk, ends)
}

#[test]
fn a_flood_of_many_connections_holds_up_nobody() {
    let (_workers, mut desk, mut ends) = desk_with(20);
    let mut calm = ends.pop().unwrap();
    let mut found = Vec::new();
    let turn = |desk: &mut Desk, found: &mut Vec<Post>| {
        desk.turn(Some(Duration::ZERO), &mut |_| {});
        found.extend(std::iter::from_fn(|| desk.found().pop()).map(|(_, post)| post));
        desk.finish();
    };
    turn(&mut desk, &mut found);
    assert_eq!(found.drain(..).count(), 20);
    let stop = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        for mut end in ends {
            let stop = &stop;
            scope.spawn(move || {
                let flood = OPTIONS.repeat(1000);
                // It ends with the desk, at the latest.
                while !stop.load(Ordering::Acquire) && end.write_all(flood.as_bytes()).is_ok() {}
            });
        }
        for _ in 0..50 {
            turn(&mut desk, &mut found);
            // A turn's bytes are bounded, and with them its messages.
            assert!(found.len() <= 2 * 256 * 1024 / OPTIONS.len());
            found.clear();
        }
        let one = OPTIONS.replace("Call-ID: c", "Call-ID: calm");
        calm.write_all(one.as_bytes()).unwrap();
        // Each of the others may have had its share before, and four shares make a turn.
        let is_calm = |post: &Post| {
            matches!(post, Post::Input(Input::Frame { frame: Frame::Message(m), .. })
                if m.call_id() == b"calm")
        };
        let turns = (0..).find(|_| {
            turn(&mut desk, &mut found);
            let came = found.iter().any(is_calm);
            found.clear();
            came
        });
        assert!(turns.unwrap() <= 6, "{turns:?}");
        stop.store(true, Ordering::Release);
        drop(desk);
    });
}

#[test]
fn a_connection_is_read_again_once_its_pause_is_over() {
    let (_workers, mut desk, mut ends) = desk_with(1);
    desk.turn(None, &mut |_| {});
    let Some((_, Post::Attach { way, .. })) = desk.found().pop() else {
        panic!("no connection");
    };
    for _ in 0..2 {
        desk.order(Order::Pause(way.line, Duration::from_millis(40)));
        ends[0].write_all(OPTIONS.as_bytes()).unwrap();
        let comes = (0..50).any(|_| {
            desk.turn(Some(Duration::from_millis(20)), &mut |_| {});
            desk.finish();
            !desk.found().is_empty()
        });
        assert!(comes, "it is never read again");
        let Some((_, Post::Input(Input::Frame { .. }))) = desk.found().pop() else {
            panic!("no message");
        };
    }
}

#[test]
fn all_that_waits_for_a_connection_leaves_with_one_write() {
    let (_workers, mut desk, mut ends) = desk_with(1);
    desk.turn(None, &mut |_| {});
    let Some((_, Post::Attach { way, .. })) = desk.found().pop() else {
        panic!("no connection");
    };
    for _ in 0..10 {
        desk.order(Order::Send(way.line, Bytes::from_static(b"message")));
    }
    // Nothing leaves before the turn is over.
    let far = ends.get_mut(0).unwrap();
    far.set_nonblocking(true).unwrap();
    let mut read = [0; 100];
    assert!(far.read(&mut read).is_err());
    desk.finish();
    far.set_nonblocking(false).unwrap();
    assert_eq!(far.read(&mut read).unwrap(), 70);
}

#[test]
fn connections_that_carry_everybodys_messages_are_signallings_own() {
    for (workers, side, desk) in [
        (0, Side::Client, SIGNALLING),
        (2, Side::Client, 1),
        (2, Side::Inside, SIGNALLING),
        (2, Side::Lane { peer: 0 }, SIGNALLING),
    ] {
        let (handle, mut posts) = Handle::new();
        let (workers, own, runs) = Workers::with(&handle, workers).unwrap();
        let (near, _far) = connection();
        near.set_nonblocking(true).unwrap();
        let facts = Facts {
            side,
            local: near.local_addr().unwrap(),
            remote: near.peer_addr().unwrap(),
            transport: Transport::Tcp,
            peer_name: None,
        };
        let stream = Stream {
            tcp: near,
            tls: None,
        };
        workers.hand_over(ConnId(0), facts, Limits::trusted(), stream, Box::new(()));
        workers.stop();
        runs.into_iter().for_each(|run| run());
        worker::run(&handle, own);
        let Post::Batch(batch) = posts.blocking_recv().unwrap() else {
            panic!("no batch");
        };
        let first = batch.open().into_iter().next();
        let Some(Post::Attach { way, .. }) = first else {
            panic!("no connection");
        };
        assert_eq!(way.desk, desk, "{side:?}");
    }
    assert_eq!([1, 2, 3, 4, 64].map(workers_for), [0, 0, 1, 2, 8]);
}
