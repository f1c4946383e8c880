//! The HTTP and XMPP lanes come up by themselves, carry requests, and come back.

use std::sync::Arc;

use driver::signal::{Handle, Post};
use driver::{link_ssh, link_xmpp};
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use net::lane::{self, Body, EdgeLane, Windows};
use net::ssh::{self, Key, Pins};
use net::tls;
use node::io::{Input, Lane};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};

use crate::support::{Authority, SOON, listener, next, resolver};

async fn echo(peer: usize, request: Request<Incoming>) -> Response<Body> {
    if request.method() == http::Method::CONNECT {
        tokio::spawn(async move {
            let mut pipe = lane::upgraded(request).await.unwrap();
            let mut word = [0; 5];
            pipe.read_exact(&mut word).await.unwrap();
            pipe.write_all(&word).await.unwrap();
            pipe.shutdown().await.unwrap();
        });
        return Response::new(lane::empty());
    }
    Response::new(lane::full(format!("peer {peer} {}", request.uri().path())))
}

async fn ask(lane: &EdgeLane) -> String {
    let request = Request::get("http://core/x").body(lane::empty()).unwrap();
    let response = lane.send_request(request).await.unwrap();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

async fn lane_count(posts: &mut mpsc::Receiver<Post>, kind: Lane, wanted: usize) -> Option<String> {
    next(posts, |input| match input {
        Input::Lane {
            lane,
            connections,
            why,
            ..
        } if lane == kind && connections == wanted => Some(why),
        _ => None,
    })
    .await
}

struct Edge {
    lane: EdgeLane,
    posts: mpsc::Receiver<Post>,
    stop: watch::Sender<bool>,
}

fn ssh_edge(listener: TcpListener, host_key: &Key, pins: &Pins) -> Edge {
    let (handle, posts) = Handle::new();
    let (stop, stopping) = watch::channel(false);
    let lane = EdgeLane::new(Windows::HTTP);
    let acceptor = link_ssh::Acceptor {
        handle,
        ssh: ssh::Acceptor::new(host_key, pins.clone()),
        lanes: Arc::new([lane.clone()]),
    };
    tokio::spawn(acceptor.run(listener, stopping));
    Edge { lane, posts, stop }
}

#[tokio::test]
async fn the_http_lane_comes_up_once_keys_are_pinned_and_again_after_the_edge_restarts() {
    let (host_key, core_key) = (Key::generate().unwrap(), Key::generate().unwrap());
    let (edge_pins, core_pins) = (Pins::default(), Pins::default());
    let (listening, address) = listener().await;
    let mut edge = ssh_edge(listening, &host_key, &edge_pins);

    let (handle, mut core_posts) = Handle::new();
    let (_stop, stopping) = watch::channel(false);
    let dialer = link_ssh::Dialer {
        handle,
        resolver: resolver(),
        peer: 4,
        host: "127.0.0.1".into(),
        port: address.port(),
        from: None,
        key: core_key.clone(),
        pins: core_pins.clone(),
        service: echo,
    };
    tokio::spawn(dialer.run(stopping));

    // The control lane tells either side the other's key; in whatever order.
    core_pins.set(4, Some(host_key.public()));
    let why = next(&mut core_posts, |input| match input {
        Input::Lane { why, .. } => why,
        _ => None,
    })
    .await;
    assert!(why.contains("does not take our key"), "{why}");
    edge_pins.set(0, Some(core_key.public()));
    let all = link_ssh::SESSIONS * link_ssh::TUNNELS;
    lane_count(&mut edge.posts, Lane::Http, all).await;
    lane_count(&mut core_posts, Lane::Http, all).await;
    assert_eq!(ask(&edge.lane).await, "peer 4 /x");

    edge.stop.send(true).unwrap();
    lane_count(&mut core_posts, Lane::Http, 0).await;
    let listening = loop {
        // The old listener closes with its task.
        match net::socket::listen(address) {
            Ok(listening) => break listening,
            Err(_) => tokio::task::yield_now().await,
        }
    };
    let mut edge = ssh_edge(listening, &host_key, &edge_pins);
    lane_count(&mut edge.posts, Lane::Http, all).await;
    assert_eq!(ask(&edge.lane).await, "peer 4 /x");

    // A new key of the core: the old one is cut off and gets in no more.
    edge_pins.set(0, Some(Key::generate().unwrap().public()));
    assert!(lane_count(&mut edge.posts, Lane::Http, 0).await.is_some());
    assert!(!edge.lane.is_up());
}

#[tokio::test]
async fn the_xmpp_lane_comes_up_with_proven_names_and_carries_pipes() {
    let ca = Authority::new();
    let names = vec![
        "core0.example.test".to_owned(),
        "core1.example.test".to_owned(),
    ];
    let (listening, address) = listener().await;
    let (handle, mut posts) = Handle::new();
    let (stop, stopping) = watch::channel(false);
    let lanes: Arc<[EdgeLane]> =
        Arc::new([EdgeLane::new(Windows::XMPP), EdgeLane::new(Windows::XMPP)]);
    let config = tls::link_server(
        &ca.identity("edge1.example.test"),
        &ca.trust(),
        &names,
        &[link_xmpp::ALPN],
    );
    let acceptor = link_xmpp::Acceptor {
        handle,
        config: tls::Live::new(config.unwrap()),
        names: Arc::new(names),
        lanes: lanes.clone(),
    };
    tokio::spawn(acceptor.run(listening, stopping.clone()));

    let dialer = |name: &str, handle: Handle| {
        let config = tls::link_client(
            &ca.identity(name),
            &ca.trust(),
            "edge1.example.test",
            &[link_xmpp::ALPN],
        );
        link_xmpp::Dialer {
            handle,
            resolver: resolver(),
            peer: 0,
            host: "127.0.0.1".into(),
            port: address.port(),
            verify_name: "edge1.example.test".into(),
            from: None,
            config: tls::Live::new(config.unwrap()),
            service: echo,
        }
    };
    let (handle, mut core_posts) = Handle::new();
    tokio::spawn(dialer("core1.example.test", handle).run(stopping.clone()));
    lane_count(&mut posts, Lane::Xmpp, link_xmpp::CONNECTIONS).await;
    lane_count(&mut core_posts, Lane::Xmpp, link_xmpp::CONNECTIONS).await;
    assert!(!lanes[0].is_up(), "the name decides whose lane it is");
    let request = Request::builder().uri("example.test").body(()).unwrap();
    let mut pipe = lanes[1].connect(request).await.unwrap().unwrap();
    pipe.write_all(b"hello").await.unwrap();
    let mut all = Vec::new();
    tokio::time::timeout(SOON, pipe.read_to_end(&mut all))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(all, b"hello");

    let (handle, mut stranger_posts) = Handle::new();
    tokio::spawn(dialer("core7.example.test", handle).run(stopping));
    let cause = next(&mut posts, |input| match input {
        Input::Report(node::io::Report::LinkRefused { cause, .. }) => Some(cause),
        _ => None,
    })
    .await;
    assert!(cause.contains("core7.example.test"), "{cause}");
    // The refused one never said that its lane was up.
    let connections = next(&mut stranger_posts, |input| match input {
        Input::Lane { connections, .. } => Some(connections),
        _ => None,
    });
    assert_eq!(connections.await, 0);
    stop.send(true).unwrap();
}
