//! The signalling thread with nodes that are easily understood.

use std::io::{Read, Write};

use base::{Instant, Now};
use node::io::{Facts, Transport};
use tokio::net::TcpListener;

use super::*;
use crate::signal::Handle;
use crate::sip_io::{Stream, Workers};

/// Wants two things when it begins, and two for each input.
struct Wanting(usize);

impl Engine for Wanting {
    fn handle(&mut self, _: Now, _: Input) {
        self.0 += 2;
    }

    fn handle_timeout(&mut self, _: Now) {}

    fn poll_output(&mut self) -> Option<Output> {
        self.0 = self.0.checked_sub(1)?;
        Some(Output::PinSsh { peer: 0, key: None })
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn snapshot(&self, _: Now) -> status::Snapshot {
        unreachable!("nobody asks")
    }
}

struct Written(Arc<std::sync::Mutex<String>>);

impl Outlets for Written {
    fn output(&mut self, _: Output) {
        self.0.lock().unwrap().push('o');
    }

    fn hand_over(&mut self) {
        self.0.lock().unwrap().push('|');
    }
}

#[tokio::test]
async fn outlets_wake_others_once_for_the_outputs_of_a_burst() {
    let (handle, posts) = Handle::new();
    for _ in 0..3 {
        assert!(handle.try_input(Input::Waited(Duration::ZERO)));
    }
    handle.post(Post::Stop).await.unwrap();
    let written = Arc::default();
    let outlets = Written(Arc::clone(&written));
    let (_workers, desk, _) = Workers::new(&handle).unwrap();
    let reports = Reports::new(desk.bell());
    run(
        Box::new(Wanting(2)),
        Clock::start(),
        posts,
        outlets,
        desk,
        &reports,
    );
    assert_eq!(*written.lock().unwrap(), "oo|oooooo|");
}

#[tokio::test]
async fn a_batch_counts_what_it_holds_so_that_others_get_their_turn() {
    let (handle, posts) = Handle::new();
    // Of the future, so that nobody is told of a wait.
    let at = std::time::Instant::now() + Duration::from_secs(3600);
    let sender = handle.clone();
    let sent = tokio::task::spawn_blocking(move || {
        for held in [BURST, BURST + 10, BURST - 10, 40, 1] {
            let waits = || Post::Input(Input::Waited(Duration::ZERO));
            let batch = std::iter::repeat_with(waits).take(held).collect();
            sender.post_batch(at, batch).unwrap();
        }
    });
    sent.await.unwrap();
    handle.post(Post::Stop).await.unwrap();
    let written = Arc::default();
    let outlets = Written(Arc::clone(&written));
    let (_workers, desk, _) = Workers::new(&handle).unwrap();
    let reports = Reports::new(desk.bell());
    run(
        Box::new(Wanting(0)),
        Clock::start(),
        posts,
        outlets,
        desk,
        &reports,
    );
    let written = written.lock().unwrap();
    let turns: Vec<usize> = written.split('|').map(|turn| turn.len() / 2).collect();
    let both = BURST - 10 + 40;
    assert_eq!(turns, [0, BURST, BURST + 10, both, 1, 0]);
}

#[test]
fn waits_are_told_while_they_are_long_and_once_when_they_are_not() {
    let (handle, _posts) = Handle::new();
    let mut ways = Ways::new(Workers::new(&handle).unwrap().1);
    let mut told = |ms: u64| {
        ways.longest = Duration::from_millis(ms);
        ways.waited().map(|w| w.as_millis())
    };
    let all: Vec<_> = [5, 30, 40, 3, 2].into_iter().map(&mut told).collect();
    assert_eq!(all, [None, Some(30), Some(40), Some(3), None]);
}

/// Answers each message with itself, and counts what it was told it waited.
struct Echo(VecDeque<Output>);

impl Engine for Echo {
    fn handle(&mut self, _: Now, input: Input) {
        if let Input::Frame {
            conn,
            frame: sip::Frame::Message(message),
        } = input
        {
            let bytes = message.bytes().clone();
            self.0.push_back(Output::Send { conn, bytes });
        }
    }

    fn handle_timeout(&mut self, _: Now) {}

    fn poll_output(&mut self) -> Option<Output> {
        self.0.pop_front()
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn snapshot(&self, _: Now) -> status::Snapshot {
        unreachable!("nobody asks")
    }
}

struct Nowhere;

impl Outlets for Nowhere {
    fn output(&mut self, _: Output) {}

    fn hand_over(&mut self) {}
}

const OPTIONS: &[u8] = b"OPTIONS sip:b@example.test SIP/2.0\r\n\
    Via: SIP/2.0/TCP h;branch=z9hG4bK1\r\nFrom: <sip:a@example.test>;tag=1\r\n\
    To: <sip:b@example.test>\r\nCall-ID: c\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\n\
    Content-Length: 0\r\n\r\n";

/// A connection to a node's lane, and its far end.
async fn lane(listener: &TcpListener) -> (Stream, Facts, std::net::TcpStream) {
    let (local, remote) = (
        listener.local_addr().unwrap(),
        "127.0.0.1:9".parse().unwrap(),
    );
    let near = tokio::net::TcpStream::connect(local).await.unwrap();
    let far = listener.accept().await.unwrap().0.into_std().unwrap();
    far.set_nonblocking(false).unwrap();
    let facts = Facts {
        side: Side::Lane { peer: 0 },
        local,
        remote,
        transport: Transport::Tcp,
        peer_name: None,
    };
    (Stream::plain(near).unwrap(), facts, far)
}

#[tokio::test]
async fn a_lanes_messages_are_answered_and_its_end_is_told_when_the_node_stops() {
    let (handle, posts) = Handle::new();
    let (workers, desk, _) = Workers::new(&handle).unwrap();
    let reports = Reports::new(desk.bell());
    let node = std::thread::spawn(move || {
        run(
            Box::new(Echo(VecDeque::new())),
            Clock::start(),
            posts,
            Nowhere,
            desk,
            &reports,
        );
    });
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, facts, mut far) = lane(&listener).await;
    let (ways, conn) = (workers.clone(), handle.number());
    let served = tokio::spawn(async move {
        ways.serve(conn, facts, sip::Limits::trusted(), near).await;
    });
    let far = tokio::task::spawn_blocking(move || {
        let mut read = vec![0; OPTIONS.len()];
        for _ in 0..1000 {
            far.write_all(OPTIONS).unwrap();
            far.read_exact(&mut read).unwrap();
            assert_eq!(read, OPTIONS);
        }
        far
    });
    let mut far = far.await.unwrap();
    handle.post(Post::Stop).await.unwrap();
    node.join().unwrap();
    served.await.unwrap();
    assert_eq!(far.read(&mut [0]).unwrap(), 0);
    // Whoever comes too late is not kept waiting either.
    let (near, facts, _far) = lane(&listener).await;
    workers.stop();
    workers
        .serve(handle.number(), facts, sip::Limits::trusted(), near)
        .await;
}

#[tokio::test]
async fn own_connections_are_not_read_while_too_much_of_theirs_waits() {
    let (handle, _posts) = Handle::new();
    let (workers, desk, _) = Workers::new(&handle).unwrap();
    let mut ways = Ways::new(desk);
    let (node, clock) = (&mut Echo(VecDeque::new()), Clock::start());
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (near, facts, mut far) = lane(&listener).await;
    far.write_all(OPTIONS).unwrap();
    let limits = sip::Limits::trusted();
    workers.hand_over(handle.number(), facts, limits, near, Box::new(()));
    let began = std::time::Instant::now();
    let waits = || Post::Input(Input::Waited(Duration::ZERO));
    for _ in 0..POSTS_MAX {
        ways.desk.found().put(began, waits());
    }
    ways.listen(Duration::ZERO);
    assert_eq!(ways.desk.found().len(), POSTS_MAX);
    // A burst makes room, and then the connection is there with its message.
    assert_eq!(ways.take_own(node, &clock, &mut Nowhere), BURST);
    while ways.desk.found().len() < POSTS_MAX - BURST + 2 {
        ways.listen(Duration::ZERO);
    }
    while ways.take_own(node, &clock, &mut Nowhere) > 0 {}
    ways.hand_over(&mut Nowhere);
    let mut read = vec![0; OPTIONS.len()];
    far.read_exact(&mut read).unwrap();
    assert_eq!(read, OPTIONS);
}

#[test]
fn what_own_connections_said_is_as_old_as_its_reading() {
    let (handle, _posts) = Handle::new();
    let mut ways = Ways::new(Workers::new(&handle).unwrap().1);
    let (node, clock) = (&mut Echo(VecDeque::new()), Clock::start());
    let ago = |ms| std::time::Instant::now() - Duration::from_millis(ms);
    for since in [ago(300), ago(200), ago(200)] {
        let post = Post::Input(Input::Waited(Duration::ZERO));
        ways.desk.found().put(since, post);
    }
    ways.take_own(node, &clock, &mut Nowhere);
    assert!(ways.waited().unwrap() >= Duration::from_millis(300));
}

/// Is told of something while it is busy with the reports before it, and says when it hears that.
struct Reported {
    reports: Arc<Reports>,
    heard: usize,
    last: std::sync::mpsc::Sender<()>,
}

impl Reported {
    /// More than a turn takes.
    const FIRST: usize = BURST + 1;

    fn silent() -> media::Event {
        media::Event::NoMedia {
            leg: media::LegId(base::Id::new(1, 0)),
            since: Duration::from_secs(10),
        }
    }
}

impl Engine for Reported {
    fn handle(&mut self, _: Now, input: Input) {
        if let Input::Media(_) = input {
            self.heard += 1;
            match self.heard {
                1 => self.reports.tell(Reported::silent()),
                heard if heard > Reported::FIRST => self.last.send(()).unwrap(),
                _ => {}
            }
        }
    }

    fn handle_timeout(&mut self, _: Now) {}

    fn poll_output(&mut self) -> Option<Output> {
        None
    }

    fn poll_timeout(&self) -> Option<Instant> {
        None
    }

    fn snapshot(&self, _: Now) -> status::Snapshot {
        unreachable!("nobody asks")
    }
}

#[test]
fn a_report_that_comes_while_others_are_heard_is_not_slept_over() {
    let (handle, posts) = Handle::new();
    let (_workers, desk, _) = Workers::new(&handle).unwrap();
    let reports = Arc::new(Reports::new(desk.bell()));
    for _ in 0..Reported::FIRST {
        reports.tell(Reported::silent());
    }
    let (last, came) = std::sync::mpsc::channel();
    let node = Box::new(Reported {
        reports: reports.clone(),
        heard: 0,
        last,
    });
    let node =
        std::thread::spawn(move || run(node, Clock::start(), posts, Nowhere, desk, &reports));
    // Asleep, it would be woken in half a minute.
    let came = came.recv_timeout(LOOK_EVERY / 3);
    assert!(handle.post_blocking(Post::Stop).is_ok());
    node.join().unwrap();
    came.unwrap();
}
