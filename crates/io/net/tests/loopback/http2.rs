//! HTTP/2 clients that break the rules or strain them, written frame by frame.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use net::Error;
use net::http::front::{self, Ended, Limits};
use net::http::{Body, full};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::task::JoinHandle;

const PREFACE: &[u8] =
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0";

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut out = vec![length[1], length[2], length[3], kind, flags];
    out.extend(stream.to_be_bytes());
    out.extend(payload);
    out
}

/// A field in HPACK, literal and not indexed.
fn field(name: &str, value: &str) -> Vec<u8> {
    let mut out = vec![0];
    for text in [name, value] {
        out.extend(number(text.len()));
        out.extend(text.as_bytes());
    }
    out
}

/// A length with a prefix of seven bits (RFC 7541 §5.1).
fn number(n: usize) -> Vec<u8> {
    if n < 127 {
        return vec![n as u8];
    }
    let (mut out, mut rest) = (vec![127], n - 127);
    while rest >= 128 {
        out.push((rest % 128) as u8 | 128);
        rest /= 128;
    }
    out.push(rest as u8);
    out
}

fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    fields.iter().flat_map(|(n, v)| field(n, v)).collect()
}

const GOOD: [(&str, &str); 4] = [
    (":method", "GET"),
    (":scheme", "https"),
    (":authority", "h"),
    (":path", "/a"),
];

/// What a client says that asks for one thing.
pub fn one_request() -> Vec<u8> {
    let head = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&GOOD));
    [PREFACE, &head].concat()
}

/// An edge that counts what reached it; `/endless` never ends.
fn start() -> (
    DuplexStream,
    JoinHandle<Result<Ended, Error>>,
    Arc<AtomicUsize>,
) {
    let reached = Arc::new(AtomicUsize::new(0));
    let count = reached.clone();
    let service = move |request: Request<Body>| {
        count.fetch_add(1, Ordering::SeqCst);
        async move {
            if request.uri().path() != "/endless" {
                // A body that is short or long of its length is the service's to see.
                let whole = request.into_body().collect().await.is_ok();
                return Response::new(full(if whole { "whole" } else { "broken" }));
            }
            Response::new(crate::lane::endless())
        }
    };
    let (client, server) = duplex(1024 * 1024);
    let stop = std::future::pending();
    let task = tokio::spawn(front::serve(server, true, Limits::default(), stop, service));
    (client, task, reached)
}

/// Frames of an answer: kind, stream, payload.
fn frames(mut bytes: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
    let mut out = Vec::new();
    while let [a, b, c, kind, _, s1, s2, s3, s4, rest @ ..] = bytes {
        let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
        let stream = u32::from_be_bytes([*s1, *s2, *s3, *s4]);
        out.push((*kind, stream, rest[..length.min(rest.len())].to_vec()));
        bytes = &rest[length.min(rest.len())..];
    }
    out
}

/// Says all of it and takes what comes for a while.
async fn say(said: &[u8]) -> (Vec<(u8, u32, Vec<u8>)>, usize) {
    let (mut client, task, reached) = start();
    let all = [PREFACE, said].concat();
    // The edge may be gone before all is said.
    let _ = tokio::time::timeout(Duration::from_secs(5), client.write_all(&all)).await;
    let mut answer = Vec::new();
    let _ = tokio::time::timeout(Duration::from_secs(3), client.read_to_end(&mut answer)).await;
    drop(client);
    let _ = task.await;
    (frames(&answer), reached.load(Ordering::SeqCst))
}

#[tokio::test(start_paused = true)]
async fn requests_that_http_2_calls_malformed_reach_nothing() {
    let good = block(&GOOD);
    let (answer, reached) = say(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &good)).await;
    assert_eq!(reached, 1, "{answer:?}");
    let with = |fields: &[(&str, &str)]| [&good[..], &block(fields)].concat();
    let but = |name: &str, value: Option<&str>| -> Vec<u8> {
        let all = GOOD.iter().filter_map(|(n, v)| match (*n == name, value) {
            (true, None) => None,
            (true, Some(other)) => Some((*n, other)),
            (false, _) => Some((*n, *v)),
        });
        block(&all.collect::<Vec<_>>())
    };
    let table: Vec<(&str, Vec<u8>)> = vec![
        ("no method", but(":method", None)),
        ("no path", but(":path", None)),
        ("no scheme", but(":scheme", None)),
        ("no authority", but(":authority", None)),
        ("an empty path", but(":path", Some(""))),
        ("a path without slash", but(":path", Some("a"))),
        ("an asterisk", but(":path", Some("*"))),
        ("an absolute path", but(":path", Some("https://other/"))),
        ("a user in the authority", but(":authority", Some("u:p@h"))),
        ("a blank in the authority", but(":authority", Some("h h"))),
        ("TRACE", but(":method", Some("TRACE"))),
        ("CONNECT with a path", but(":method", Some("CONNECT"))),
        ("a method that is no token", but(":method", Some("G T"))),
        ("two paths", with(&[(":path", "/b")])),
        ("two authorities", with(&[(":authority", "b")])),
        (
            "a pseudo field after a field",
            with(&[("a", "1"), (":path", "/b")]),
        ),
        ("an unknown pseudo field", with(&[(":x", "1")])),
        ("a status in a request", with(&[(":status", "200")])),
        ("a protocol in a GET", with(&[(":protocol", "websocket")])),
        ("a name in capitals", with(&[("Accept", "x")])),
        ("a name with a blank", with(&[("a b", "x")])),
        ("an empty name", with(&[("", "x")])),
        ("a line end in a value", with(&[("a", "x\r\nb: c")])),
        ("a NUL in a value", with(&[("a", "x\0")])),
        ("connection", with(&[("connection", "close")])),
        (
            "transfer-encoding",
            with(&[("transfer-encoding", "chunked")]),
        ),
        ("upgrade", with(&[("upgrade", "h2c")])),
        ("keep-alive", with(&[("keep-alive", "1")])),
        ("proxy-connection", with(&[("proxy-connection", "close")])),
        ("te", with(&[("te", "gzip")])),
        ("two hosts", with(&[("host", "h"), ("host", "h")])),
        (
            "a host beside another authority",
            with(&[("host", "other")]),
        ),
        (
            "two lengths",
            with(&[("content-length", "0"), ("content-length", "1")]),
        ),
        ("a length that is none", with(&[("content-length", "+0")])),
        ("a length without a body", with(&[("content-length", "5")])),
    ];
    let mut passed = Vec::new();
    for (what, block) in table {
        let (_, reached) = say(&frame(HEADERS, END_STREAM | END_HEADERS, 1, &block)).await;
        passed.extend((reached > 0).then_some(what));
    }
    assert!(passed.is_empty(), "{passed:?}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_as_long_as_it_says_is_never_taken_for_whole() {
    let head = [block(&GOOD), field("content-length", "5")].concat();
    for data in [&b"hell"[..], b"hello!"] {
        let said = [
            frame(HEADERS, END_HEADERS, 1, &head),
            frame(DATA, END_STREAM, 1, data),
        ];
        let (answer, _) = say(&said.concat()).await;
        let whole = answer
            .iter()
            .any(|(kind, _, p)| *kind == DATA && p == b"whole");
        assert!(!whole, "{data:?}: {answer:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_resets_what_it_asks_for_is_sent_away_early() {
    let good = block(&GOOD);
    let mut said = Vec::new();
    for n in 0..5000 {
        said.extend(frame(HEADERS, END_STREAM | END_HEADERS, 2 * n + 1, &good));
        said.extend(frame(RST_STREAM, 0, 2 * n + 1, &[0, 0, 0, 8]));
    }
    let (answer, reached) = say(&said).await;
    assert!(reached < 200, "{reached}");
    let calm = |(kind, _, payload): &(u8, u32, Vec<u8>)| *kind == GOAWAY && payload[7] == 11;
    assert!(answer.iter().any(calm), "{answer:?}");
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_end_or_is_too_large_ends_the_connection_or_the_request() {
    let mut flood = frame(HEADERS, END_STREAM, 1, &block(&GOOD));
    for _ in 0..20_000 {
        flood.extend(frame(CONTINUATION, 0, 1, &field("a", "b")));
    }
    let empty: Vec<u8> = (0..20_000)
        .flat_map(|_| frame(CONTINUATION, 0, 1, b""))
        .collect();
    let empty = [frame(HEADERS, END_STREAM, 1, &block(&GOOD)), empty].concat();
    for flood in [flood, empty] {
        let (answer, reached) = say(&flood).await;
        assert_eq!(reached, 0);
        assert!(
            answer.iter().any(|(kind, ..)| *kind == GOAWAY),
            "{answer:?}"
        );
    }
    // Larger than 32 KiB, though each frame is small.
    let large: Vec<u8> = (0..4)
        .flat_map(|_| field("a", &"x".repeat(10_000)))
        .collect();
    let mut said = frame(HEADERS, END_STREAM, 1, &block(&GOOD));
    for (nth, part) in large.chunks(15_000).enumerate() {
        let flags = if (nth + 1) * 15_000 >= large.len() {
            END_HEADERS
        } else {
            0
        };
        said.extend(frame(CONTINUATION, flags, 1, part));
    }
    let (_, reached) = say(&said).await;
    assert_eq!(reached, 0);
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_nobody_takes_ends_its_connection() {
    let (mut client, task, _) = start();
    // No room on any stream.
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let mut head = GOOD;
    head[3].1 = "/endless";
    let ask = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block(&head));
    let begun = tokio::time::Instant::now();
    client
        .write_all(&[PREFACE, &settings, &ask].concat())
        .await
        .unwrap();
    // It answers every PING, and so is there.
    let mut buffer = Vec::new();
    let mut read = [0; 4096];
    while let Ok(n @ 1..) = client.read(&mut read).await {
        buffer.extend(&read[..n]);
        for (kind, _, payload) in frames(&buffer) {
            if kind == 6 {
                let _ = client.write_all(&frame(6, 1, 0, &payload)).await;
            }
        }
        buffer.clear();
    }
    let _ = task.await.unwrap();
    let took = begun.elapsed();
    assert!(
        took >= Duration::from_secs(30) && took <= Duration::from_secs(80),
        "{took:?}"
    );
}
