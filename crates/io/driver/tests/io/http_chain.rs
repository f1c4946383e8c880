//! What goes with a request and comes with its answer through edge and core.

use driver::shares;
use net::tls;
use node::io::{Input, Report};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::http::{CROOKED, World, world};
use crate::support::{SOON, next};

fn request(world: &World, path: &str, fields: &str) -> String {
    format!(
        "GET /{}{path} HTTP/1.1\r\nHost: h\r\nCookie: X-Auth={}\r\n{fields}\
         Connection: close\r\n\r\n",
        world.segment(),
        world.token
    )
}

#[tokio::test]
async fn a_trace_goes_from_client_to_inside_and_back_and_into_events() {
    let mut world = world().await;
    let id = "4bf92f3577b34da6a3ce929d0e0e4736";
    let given = format!("00-{id}-00f067aa0ba902b7-01");
    let fields = format!("traceparent: {given}\r\ntracestate: a=1\r\n");
    let answer = world.say(&request(&world, "/public", &fields)).await;
    let head = world.seen.lock().unwrap().pop().unwrap();
    for told in [&answer, &head] {
        assert!(told.contains(&format!("00-{id}-")), "{told}");
        assert!(!told.contains("00f067aa0ba902b7"), "a span of ours: {told}");
    }
    assert!(head.contains("tracestate: a=1"), "{head}");

    // Whoever brings none gets one, the same everywhere.
    let answer = world
        .say(&request(&world, "/public", "traceparent: 00-x\r\n"))
        .await;
    let head = world.seen.lock().unwrap().pop().unwrap();
    let of = |text: &str, name: &str| {
        let at = text.find(name).unwrap() + name.len();
        text[at..].split('-').nth(1).unwrap().to_owned()
    };
    let own = of(&answer, "traceresponse: ");
    assert_eq!(own, of(&head, "traceparent: "));
    assert_ne!(own, id);

    let answer = world.say(&request(&world, "/a/../b", &fields)).await;
    assert!(
        answer.contains(&format!("traceresponse: 00-{id}-")),
        "{answer}"
    );
    let refused = next(&mut world.edge_posts, |input| match input {
        Input::Report(Report::HttpRefused { trace, .. }) => Some(trace),
        _ => None,
    });
    assert_eq!(refused.await, id);
}

#[tokio::test]
async fn an_inside_server_learns_the_clients_address_and_nothing_forged() {
    let world = world().await;
    let forged = "X-Forwarded-For: 10.1.1.1\r\nForwarded: for=10.1.1.1\r\nX-Real-IP: 10.1.1.1\r\n\
                  X_Forwarded_For: 10.1.1.1\r\nX-Remote-User: 10.1.1.1\r\n\
                  X-Forwarded-Proto: http\r\nX-Forwarded-Host: 10.1.1.1\r\nVia: 1.1 10.1.1.1\r\n\
                  X-Original-URL: /private\r\nX-HTTP-Method-Override: DELETE\r\n\
                  Proxy-Authorization: Basic eDp5\r\nTE: trailers\r\nKeep-Alive: 5\r\n";
    let answer = world.say(&request(&world, "/public", forged)).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let head = world.seen.lock().unwrap().pop().unwrap().to_lowercase();
    for field in [
        "x-forwarded-for: 127.0.0.1\r\n",
        "x-forwarded-proto: https\r\n",
        "via: 2.0 causeway\r\n",
    ] {
        assert_eq!(head.matches(field).count(), 1, "{field} in {head}");
    }
    for field in [
        "10.1.1.1",
        "forwarded: for",
        "x-original-url",
        "override",
        "proxy-auth",
        "te:",
        "keep-alive",
    ] {
        assert!(!head.contains(field), "{field} in {head}");
    }
}

#[tokio::test]
async fn references_come_in_the_edges_form_and_the_origin_stays_the_edges() {
    let world = world().await;
    let segment = world.segment();
    let answer = world.get(&segment, "/public/refers").await;
    for field in [
        format!("content-location: /{segment}/public/real\r\n"),
        format!("refresh: 5; url=/{segment}/public\r\n"),
        format!("link: </{segment}/public/2>; rel=next, </{segment}/public/3>; rel=last\r\n"),
        "strict-transport-security: max-age=31536000\r\n".into(),
        "x-content-type-options: of the inside\r\n".into(),
    ] {
        assert!(answer.contains(&field), "{field} in {answer}");
    }
    for leak in [
        "10.0.0.1",
        "127.0.0.1",
        "alt-svc",
        "clear-site",
        "service-worker",
        "includeSub",
    ] {
        assert!(!answer.contains(leak), "{leak} in {answer}");
    }
    // Of the edge, and of the core on the proxy lane.
    for (segment, path, status) in [
        ("nonsense!", "/", "404"),
        (&segment, "/private", "403"),
        (&segment, "/public/away", "502"),
    ] {
        let ours = world.get(segment, path).await;
        for told in [
            status,
            "x-content-type-options: nosniff\r\n",
            "cache-control: no-store\r\n",
        ] {
            assert!(ours.contains(told), "{told} in {ours}");
        }
        assert!(!ours.contains("causeway-"), "{ours}");
    }
    // An inside server's stay its own, whatever it says.
    let theirs = world.get(&segment, "/public/cookie").await;
    assert!(!theirs.contains("nosniff") && !theirs.contains("causeway-"));
}

#[tokio::test]
async fn a_reference_that_only_browsers_read_as_a_server_goes_nowhere() {
    let world = world().await;
    let segment = world.segment();
    for (nth, crooked) in CROOKED.iter().enumerate() {
        let answer = world.get(&segment, &format!("/public/to/{nth}")).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{crooked}: {answer}");
        assert!(!answer.contains("web2"), "{crooked}: {answer}");
        let answer = world.get(&segment, &format!("/public/by/{nth}")).await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{crooked}: {answer}");
        assert!(!answer.contains("web2"), "{crooked}: {answer}");
    }
}

/// A connection on which something endless was asked for, and of which no more is read.
async fn stalled(world: &World) -> tls::Stream<TcpStream> {
    let mut stream = world.connect("127.0.0.1:0").await;
    let request = request(world, "/public/endless", "");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut first = [0; 64];
    let read = tokio::time::timeout(SOON, stream.read_exact(&mut first)).await;
    read.unwrap().unwrap();
    stream
}

#[tokio::test]
async fn clients_that_stop_reading_fill_their_sources_share_of_the_lane_and_no_more() {
    let world = world().await;
    let mut held = Vec::new();
    for _ in 0..shares::EACH {
        held.push(stalled(&world).await);
    }
    let small = request(&world, "/public", "");
    // Others are served, however much nobody reads of what this source asked for.
    let answer = world.say_from("127.0.0.2:0", &small).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let answer = world.say(&small).await;
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    drop(held.pop());
    let answer = world.say(&small).await;
    assert!(
        answer.starts_with("HTTP/1.1 200 "),
        "its turn comes: {answer}"
    );
}
