//! HTTP/2 with the roles turned round, inside SSH and TLS.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use http_body_util::channel::Channel;
use hyper::body::Incoming;
use net::Error;
use net::lane::{self, Body, EdgeLane, Windows};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::ssh::{session, tunnel};

const SOON: Duration = Duration::from_secs(20);

/// A body without end, as fast as it is taken.
pub fn endless() -> Body {
    let (mut sender, body) = Channel::<Bytes, Box<dyn std::error::Error + Send + Sync>>::new(1);
    tokio::spawn(async move {
        let block = Bytes::from(vec![b'x'; 16 * 1024]);
        while sender.send_data(block.clone()).await.is_ok() {}
    });
    body.boxed_unsync()
}

/// What the core of these tests answers.
async fn answer(mut request: Request<Incoming>) -> Response<Body> {
    if request.method() == http::Method::CONNECT {
        if request
            .uri()
            .authority()
            .is_none_or(|a| a.as_str() != "example.test")
        {
            let mut refused = Response::new(lane::empty());
            *refused.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            return refused;
        }
        tokio::spawn(async move {
            let mut pipe = lane::upgraded(request).await.unwrap();
            let mut buffer = [0; 1024];
            while let Ok(n @ 1..) = pipe.read(&mut buffer).await {
                pipe.write_all(&buffer[..n]).await.unwrap();
                pipe.flush().await.unwrap();
            }
            let _ = pipe.shutdown().await;
        });
        return Response::new(lane::empty());
    }
    match request.uri().path() {
        "/endless" => Response::new(endless()),
        _ => {
            let body = request.body_mut().collect().await.unwrap().to_bytes();
            let mut response = Response::new(lane::full(body));
            let client = request.headers().get("causeway-client").cloned();
            if let Some(client) = client {
                response.headers_mut().insert("seen", client);
            }
            response
        }
    }
}

fn request(path: &str, body: Body) -> Request<Body> {
    Request::post(format!("http://core1{path}"))
        .header("causeway-client", "192.0.2.1:4000")
        .body(body)
        .unwrap()
}

async fn text(response: Response<Body>) -> String {
    String::from_utf8(
        response
            .into_body()
            .collect()
            .await
            .unwrap()
            .to_bytes()
            .to_vec(),
    )
    .unwrap()
}

/// A lane of one connection over a duplex, and the way to stop the core.
async fn plain(windows: Windows) -> (EdgeLane, tokio::sync::oneshot::Sender<()>) {
    let (a, b) = duplex(64 * 1024);
    let lane = EdgeLane::new(windows);
    let (stop, stopped) = tokio::sync::oneshot::channel();
    tokio::spawn(lane::serve(
        b,
        windows,
        async {
            let _ = stopped.await;
        },
        answer,
    ));
    let served = lane.clone();
    tokio::spawn(async move { served.attach(a).await });
    assert!(lane.wait(SOON).await);
    (lane, stop)
}

#[tokio::test]
async fn requests_go_from_edge_to_core_and_a_stopped_core_answers_what_is_under_way() {
    let (lane, stop) = plain(Windows::HTTP).await;
    let response = lane
        .send_request(request("/", lane::full("hello")))
        .await
        .unwrap();
    assert_eq!(response.headers()["seen"], "192.0.2.1:4000");
    assert_eq!(text(response).await, "hello");
    stop.send(()).unwrap();
    lane.changes().wait_for(|n| *n == 0).await.unwrap();
    assert!(!lane.is_up());
    let refused = lane.send_request(request("/", lane::empty())).await;
    assert!(matches!(refused, Err(Error::LaneDown)));
    assert!(!lane.wait(Duration::from_millis(1)).await);
}

#[tokio::test]
async fn connect_is_a_byte_pipe_or_a_status() {
    let (lane, _stop) = plain(Windows::XMPP).await;
    let to = |domain: &str| Request::builder().uri(domain.to_owned()).body(()).unwrap();
    let mut pipe = lane.connect(to("example.test")).await.unwrap().unwrap();
    let mut got = [0; 5];
    for word in [b"first", b"again"] {
        pipe.write_all(word).await.unwrap();
        pipe.read_exact(&mut got).await.unwrap();
        assert_eq!(&got, word);
    }
    pipe.shutdown().await.unwrap();
    assert_eq!(pipe.read(&mut got).await.unwrap(), 0);
    let refused = lane.connect(to("other.test")).await.unwrap();
    assert_eq!(refused.err(), Some(StatusCode::SERVICE_UNAVAILABLE));
}

#[tokio::test]
async fn a_full_lane_says_so_and_has_room_again() {
    let (lane, _stop) = plain(Windows {
        streams_max: 2,
        stream_bytes: 64 * 1024,
    })
    .await;
    let one = lane
        .send_request(request("/endless", lane::empty()))
        .await
        .unwrap();
    let _two = lane
        .send_request(request("/endless", lane::empty()))
        .await
        .unwrap();
    let full = lane.send_request(request("/", lane::empty())).await;
    assert!(matches!(full, Err(Error::LaneFull)));
    drop(one);
    assert_eq!(
        text(
            lane.send_request(request("/", lane::full("x")))
                .await
                .unwrap()
        )
        .await,
        "x"
    );
}

/// The regression test of every carrier: clients that stop reading stall themselves alone.
async fn stalled_readers_leave_the_others_alone(lane: &EdgeLane) {
    let mut stalled = Vec::new();
    for _ in 0..Windows::HTTP.streams_max - 1 {
        stalled.push(
            lane.send_request(request("/endless", lane::empty()))
                .await
                .unwrap(),
        );
    }
    for _ in 0..20 {
        let body = lane::full(vec![b'y'; 300 * 1024]);
        let answer = lane.send_request(request("/", body)).await.unwrap();
        assert_eq!(text(answer).await.len(), 300 * 1024);
    }
    drop(stalled);
}

#[tokio::test]
async fn stalled_readers_leave_the_others_alone_over_a_plain_stream() {
    let (lane, _stop) = plain(Windows::HTTP).await;
    tokio::time::timeout(SOON, stalled_readers_leave_the_others_alone(&lane))
        .await
        .unwrap();
}

#[tokio::test]
async fn stalled_readers_leave_the_others_alone_over_ssh() {
    let (edge, mut core, _pins) = session().await;
    let (at_edge, at_core) = tunnel(&edge, &mut core).await;
    let lane = EdgeLane::new(Windows::HTTP);
    let served = lane.clone();
    tokio::spawn(async move { served.attach(at_edge).await });
    tokio::spawn(lane::serve(
        at_core,
        Windows::HTTP,
        std::future::pending(),
        answer,
    ));
    assert!(lane.wait(SOON).await);
    tokio::time::timeout(SOON, stalled_readers_leave_the_others_alone(&lane))
        .await
        .unwrap();
}

/// Joins a session's tunnel to a lane; whoever drops the result loses the session.
async fn joined(lane: &EdgeLane) -> (crate::ssh::Ends, tokio::task::JoinHandle<()>) {
    let (edge, mut core, pins) = session().await;
    let (at_edge, at_core) = tunnel(&edge, &mut core).await;
    let (served, before) = (lane.clone(), lane.count());
    tokio::spawn(async move { served.attach(at_edge).await });
    let serving = tokio::spawn(async move {
        let _ = lane::serve(at_core, Windows::HTTP, std::future::pending(), answer).await;
    });
    let up = lane.changes().wait_for(|n| *n > before).await.is_ok();
    assert!(up);
    ((edge, core, pins), serving)
}

#[tokio::test]
async fn a_session_lost_in_a_download_costs_what_it_carried_and_the_others_go_on() {
    let lane = EdgeLane::new(Windows::HTTP);
    let first = joined(&lane).await;
    let second = joined(&lane).await;
    // One download on each: the pool takes the connection with the least under way.
    let mut bodies = Vec::new();
    for _ in 0..2 {
        let answer = lane.send_request(request("/endless", lane::empty())).await;
        bodies.push(answer.unwrap().into_body());
    }
    drop(first);
    let gone = async { lane.changes().wait_for(|n| *n == 1).await.is_ok() };
    assert!(tokio::time::timeout(SOON, gone).await.unwrap());
    let mut broken = 0;
    for body in &mut bodies {
        // More than any window holds: what goes on is not what was under way.
        for _ in 0..4096 {
            let piece = tokio::time::timeout(SOON, body.frame()).await.unwrap();
            if piece.is_none_or(|piece| piece.is_err()) {
                broken += 1;
                break;
            }
        }
    }
    assert_eq!(broken, 1);
    for _ in 0..8 {
        let body = lane::full("hello");
        let answer = lane.send_request(request("/", body)).await.unwrap();
        assert_eq!(text(answer).await, "hello");
    }
    drop(second);
}
