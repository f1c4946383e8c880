//! A client's XMPP stream through an edge and a core to an inside server.

mod client;
mod server;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use base64::Engine as _;
use driver::listen::Caps;
use driver::metadata;
use driver::signal::{Handle, Post};
use driver::xmpp_core::XmppCore;
use driver::xmpp_edge::{self, Times, XmppEdge};
use http::{Request, StatusCode};
use net::lane::{self, EdgeLane, Windows};
use net::tls::{self, Live};
use node::gate::{CoreGate, EdgeGate, EdgeGateCore, InsideTls, XmppServer};
use node::io::{Answer, Input, Question, Report};
use policy::signed_out::SignOut;
use policy::token::TokenKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::sync::{broadcast, mpsc, watch};
use traversal::DomainOffer;

use crate::support::{Authority, SOON, listener, next, resolver};
use client::{AUTH, BIND, Client, HEADER, STARTTLS};
use server::{Server, Style};

const DOMAIN: &str = "example.test";

/// An edge and a core.
struct World {
    ca: Authority,
    edge: SocketAddr,
    edge_gate: Live<EdgeGate>,
    lane: EdgeLane,
    edge_posts: mpsc::Receiver<Post>,
    core_posts: mpsc::Receiver<Post>,
    /// Wrong passwords that may still come.
    tries: Arc<AtomicUsize>,
    /// Users who are signed out.
    outs: broadcast::Sender<SignOut>,
    stop: watch::Sender<bool>,
}

fn offers() -> Vec<DomainOffer> {
    let offer = |name: &str, im_presence| DomainOffer {
        name: name.parse().unwrap(),
        sip: true,
        im_presence,
        federation: false,
        tokens: false,
        sso: false,
    };
    vec![offer(DOMAIN, true), offer("phones.test", false)]
}

fn server_at(address: SocketAddr, tls: InsideTls) -> XmppServer {
    XmppServer {
        domain: DOMAIN.into(),
        host: address.ip().to_string(),
        port: address.port(),
        tls,
    }
}

async fn world(ca: Authority, servers: Vec<XmppServer>, times: Times) -> World {
    let (stop, stopping) = watch::channel(false);
    let key = TokenKey::from_seed(&[7; 32]).unwrap().public();
    let (handle, posts) = Handle::new();
    let (tries, outs) = (
        Arc::new(AtomicUsize::new(usize::MAX)),
        broadcast::channel(16).0,
    );
    let core_posts = answering(posts, tries.clone());
    let core = XmppCore {
        handle,
        gate: Live::new(Arc::new(CoreGate {
            signed_out: Default::default(),
            domains: offers(),
            allow_list: Arc::default(),
            token_key: key.clone(),
            xmpp: servers,
            bearers: Vec::new(),
        })),
        resolver: resolver(),
        trust: Live::new(Arc::new(ca.trust())),
        unchecked: tls::inside_client(None, &[]).unwrap(),
        times,
        outs: outs.clone(),
        streams: Arc::new(AtomicU64::new(1)),
        stop: stopping.clone(),
    };
    let lane = EdgeLane::new(Windows::XMPP);
    let (a, b) = duplex(64 * 1024);
    let attached = lane.clone();
    tokio::spawn(async move { attached.attach(a).await });
    let answer = move |request| core.clone().answer(0, request);
    tokio::spawn(lane::serve(
        b,
        Windows::XMPP,
        std::future::pending(),
        answer,
    ));
    assert!(lane.wait(SOON).await);

    let (handle, edge_posts) = Handle::new();
    let edge_gate = Live::new(Arc::new(EdgeGate {
        cores: vec![EdgeGateCore {
            signed_out: Default::default(),
            skew_ms: None,
            peer: 0,
            node: "core1.example.test".into(),
            token_key: key,
            domains: offers(),
        }],
    }));
    let (listening, edge) = listener().await;
    let identity = ca.identity("edge1.example.test");
    let service = XmppEdge {
        handle,
        config: Live::new(tls::client_facing(&identity, &xmpp_edge::ALPN).unwrap()),
        gate: edge_gate.clone(),
        lanes: Arc::new([lane.clone()]),
        name: "edge1.example.test".into(),
        caps: Caps {
            total: 100,
            per_source: 100,
            paces: None,
        },
        times,
        streams: Arc::new(AtomicU64::new(1)),
    };
    tokio::spawn(service.run(listening, stopping));
    World {
        ca,
        edge,
        edge_gate,
        lane,
        edge_posts,
        core_posts,
        tries,
        outs,
        stop,
    }
}

/// Plays the node where it is asked about guesses; all else is passed on.
fn answering(mut posts: mpsc::Receiver<Post>, tries: Arc<AtomicUsize>) -> mpsc::Receiver<Post> {
    let (forward, core_posts) = mpsc::channel(1024);
    tokio::spawn(async move {
        while let Some(post) = posts.recv().await {
            let Post::Ask { question, reply } = post else {
                let _ = forward.send(post).await;
                continue;
            };
            if let Question::ChatRefused { user, domain, .. } = question {
                assert_eq!(user.unwrap().expose(), "alice");
                assert_eq!(domain, DOMAIN);
                tries.fetch_sub(1, Ordering::SeqCst);
            }
            let _ = reply.send(Answer::Chat(tries.load(Ordering::SeqCst) > 0));
        }
    });
    core_posts
}

/// With one plain server.
async fn plain_world() -> (World, Server) {
    let server = Server::start(Style::default()).await;
    let servers = vec![server_at(server.address, InsideTls::Opportunistic)];
    (
        world(Authority::new(), servers, Times::default()).await,
        server,
    )
}

impl World {
    async fn secured(&self) -> Client {
        Client::secured(self.edge, &self.ca).await
    }

    async fn bound(&self) -> Client {
        let mut client = self.secured().await;
        client.sign_in().await;
        client
    }

    /// The next violation that the edge reports.
    async fn violation(&mut self) -> String {
        next(&mut self.edge_posts, |input| match input {
            Input::Report(Report::Violation {
                protocol: "xmpp",
                cause,
                source,
            }) => {
                assert!(source.ip().is_loopback());
                Some(cause)
            }
            _ => None,
        })
        .await
    }

    /// The next inside server that the core reports as unreachable.
    async fn unreachable(&mut self) -> (String, String) {
        next(&mut self.core_posts, |input| match input {
            Input::Report(Report::InsideUnreachable { server, why }) => Some((server, why)),
            _ => None,
        })
        .await
    }
}

async fn came_and_went(posts: &mut mpsc::Receiver<Post>) -> (String, String) {
    let (id, jid) = next(posts, |input| match input {
        Input::Report(Report::XmppUp { id, jid, client }) => {
            assert!(client.is_loopback());
            Some((id, jid.into_inner()))
        }
        _ => None,
    })
    .await;
    let why = next(posts, |input| match input {
        Input::Report(Report::XmppDown { id: gone, why }) if gone == id => Some(why),
        _ => None,
    })
    .await;
    (jid, why)
}

#[tokio::test]
async fn a_client_signs_in_and_chats_whatever_the_inside_speaks() {
    for (tls, style) in [
        (InsideTls::Off, Style::default()),
        (InsideTls::Opportunistic, Style::default()),
        (
            InsideTls::Opportunistic,
            Style {
                tls: Some("whoever.test"),
                ..Style::default()
            },
        ),
        (
            InsideTls::Required,
            Style {
                tls: Some(DOMAIN),
                ..Style::default()
            },
        ),
        (
            InsideTls::Required,
            Style {
                tls: Some("127.0.0.1"),
                ..Style::default()
            },
        ),
    ] {
        let ca = Authority::new();
        let server = Server::start_with(style, &ca).await;
        let mut world = world(ca, vec![server_at(server.address, tls)], Times::default()).await;
        let mut client = world.secured().await;
        client.say(HEADER).await;
        let features = client.until("</stream:features>").await;
        assert!(
            features.contains(&server::features(false, false)),
            "{features}"
        );
        assert!(
            features.contains("id='inside'"),
            "the server's own header: {features}"
        );
        client.say(AUTH).await;
        client.until(server::SUCCESS).await;
        client.say(HEADER).await;
        client
            .until("<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></stream:features>")
            .await;
        client.say(BIND).await;
        client
            .until("<jid>alice@example.test/desk</jid></bind></iq>")
            .await;
        let body = "x".repeat(200_000);
        client
            .say(&format!(
                " <message to='bob@example.test'><body>{body}</body></message>"
            ))
            .await;
        let echo = client.until("</message>").await;
        assert_eq!(
            echo,
            format!("<message from='bob@example.test'><body>{body}</body></message>")
        );
        client.say("</stream:stream>").await;
        assert_eq!(client.rest().await, "</stream:stream>");
        for posts in [&mut world.edge_posts, &mut world.core_posts] {
            let up_and_down = came_and_went(posts).await;
            assert_eq!(
                up_and_down,
                ("alice@example.test/desk".into(), "closed".into())
            );
        }
        let seen = server.seen();
        assert_eq!(
            seen.matches("to='example.test'").count(),
            2 + usize::from(style.tls.is_some())
        );
        let tls_wanted = style.tls.is_some() && tls != InsideTls::Off;
        assert_eq!(seen.contains("<starttls"), tls_wanted, "{seen}");
    }
}

#[tokio::test]
async fn tls_may_come_first() {
    let (world, _server) = plain_world().await;
    for alpn in [&[&b"xmpp-client"[..]][..], &[]] {
        let mut client = Client::direct(world.edge, &world.ca, alpn).await.unwrap();
        client.sign_in().await;
    }
    assert!(
        Client::direct(world.edge, &world.ca, &[b"http/1.1"])
            .await
            .is_err()
    );
}

#[tokio::test]
async fn a_domain_that_is_not_served_is_unknown() {
    let (world, server) = plain_world().await;
    for domain in ["other.test", "phones.test", "", "Example.test.other"] {
        let header = HEADER.replace("to='example.test'", &format!("to='{domain}'"));
        let mut client = Client::plain(world.edge).await;
        client.say(&header).await;
        let said = client.rest().await;
        assert!(
            said.starts_with("<?xml version='1.0'?><stream:stream "),
            "{said}"
        );
        assert!(
            said.contains("<stream:error><host-unknown "),
            "{domain}: {said}"
        );
        assert!(said.ends_with("</stream:error></stream:stream>"), "{said}");
        let mut client = world.secured().await;
        client.say(&header).await;
        let said = client.rest().await;
        assert!(said.contains("<host-unknown "), "{domain}: {said}");
    }
    assert_eq!(server.seen(), "");
    // Case and a final dot do not matter.
    let mut client = world.secured().await;
    client
        .say(&HEADER.replace("example.test", "Example.TEST."))
        .await;
    client.until("</stream:features>").await;
}

#[tokio::test]
async fn without_a_core_the_remote_connection_fails() {
    let (world, _server) = plain_world().await;
    let mut linked = world.secured().await;
    world.edge_gate.set(Arc::new(EdgeGate::default()));
    linked.say(HEADER).await;
    assert!(linked.rest().await.contains("<remote-connection-failed "));
    let mut client = Client::plain(world.edge).await;
    client.say(HEADER).await;
    let said = client.rest().await;
    assert!(said.contains("<remote-connection-failed ") && said.contains("no core is linked"));
}

#[tokio::test]
async fn violations_before_tls_are_told_and_reported() {
    let (mut world, server) = plain_world().await;
    for (said, condition) in [
        (AUTH, "policy-violation"),
        ("<iq/>", "not-authorized"),
        ("hello", "bad-format"),
        ("<!DOCTYPE x>", "restricted-xml"),
        ("<a></b>", "not-well-formed"),
        (HEADER, "restricted-xml"),
    ] {
        let mut client = Client::plain(world.edge).await;
        client.say(HEADER).await;
        let offer = client.until("</stream:features>").await;
        assert!(
            !offer.contains("mechanism") && offer.contains("<required/>"),
            "{offer}"
        );
        client.say(said).await;
        let answer = client.rest().await;
        let start = format!("<stream:error><{condition} ");
        assert!(
            answer.starts_with(&start) && answer.ends_with("</stream:stream>"),
            "{answer}"
        );
        world.violation().await;
    }
    for (said, condition) in [
        ("GET / HTTP/1.1\r\n\r\n", "not-well-formed"),
        (
            "<?xml version='1.0' encoding='UTF-16'?><stream:stream>",
            "not-well-formed",
        ),
        (
            &HEADER.replace("jabber:client", "jabber:server"),
            "invalid-namespace",
        ),
        (&HEADER.replace("version='1.0' ", ""), "unsupported-version"),
    ] {
        let mut client = Client::plain(world.edge).await;
        client.say(said).await;
        let answer = client.rest().await;
        assert!(
            answer.starts_with("<?xml version='1.0'?><stream:stream "),
            "{answer}"
        );
        assert!(
            answer.contains(&format!("<{condition} ")),
            "{said}: {answer}"
        );
        world.violation().await;
    }
    assert_eq!(server.seen(), "");
}

#[tokio::test]
async fn violations_under_tls_are_told_and_reported_and_reach_no_server() {
    let (mut world, server) = plain_world().await;
    for (said, condition) in [
        ("<message to='bob@example.test'/>", "not-authorized"),
        ("<presence/>", "not-authorized"),
        (STARTTLS, "unsupported-stanza-type"),
        ("<x><!-- --></x>", "restricted-xml"),
    ] {
        let mut client = world.secured().await;
        client.say(HEADER).await;
        client.until("</stream:features>").await;
        let before = server.seen().len();
        client.say(said).await;
        let answer = client.rest().await;
        assert!(
            answer.starts_with(&format!("<stream:error><{condition} ")),
            "{answer}"
        );
        world.violation().await;
        assert_eq!(server.seen().len(), before);
    }
    for (said, condition) in [
        ("<message><body>&lol;</body></message>", "restricted-xml"),
        ("<message></presence>", "not-well-formed"),
        ("text", "bad-format"),
        (HEADER, "restricted-xml"),
    ] {
        let mut client = world.bound().await;
        client.say("<presence/>").await;
        client.say(said).await;
        let answer = client.rest().await;
        assert!(
            answer.starts_with(&format!("<stream:error><{condition} ")),
            "{answer}"
        );
        world.violation().await;
    }
    let mut client = world.bound().await;
    client
        .say(&format!("<message><body>{}", "x".repeat(256 * 1024)))
        .await;
    assert!(client.rest().await.contains("<policy-violation "));
    assert_eq!(world.violation().await, "size over the limit");
}

#[tokio::test]
async fn what_is_injected_before_the_handshake_is_dropped() {
    let (world, server) = plain_world().await;
    let mut client = Client::plain(world.edge).await;
    client.say(HEADER).await;
    client.until("</stream:features>").await;
    client
        .say(&format!("{STARTTLS}{HEADER}{AUTH}<iq id='injected'/>"))
        .await;
    client
        .until("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        .await;
    let mut client = client.handshake(&world.ca, &[]).await.unwrap();
    client.sign_in().await;
    assert!(!server.seen().contains("injected"), "{}", server.seen());
    assert_eq!(server.seen().matches("<auth").count(), 1);

    // Plain text after the consent ends it.
    let mut client = Client::plain(world.edge).await;
    client.say(HEADER).await;
    client.until("</stream:features>").await;
    client.say(STARTTLS).await;
    client
        .until("<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>")
        .await;
    client.say(AUTH).await;
    assert!(
        !client
            .rest_bytes()
            .await
            .windows(9)
            .any(|w| w == b"<success ")
    );
}

#[tokio::test]
async fn servers_are_tried_in_order_and_a_down_one_is_named() {
    let (gone, dead) = listener().await;
    drop(gone);
    let server = Server::start(Style::default()).await;
    let servers = vec![
        server_at(dead, InsideTls::Off),
        XmppServer {
            domain: "other.test".into(),
            ..server_at(dead, InsideTls::Off)
        },
        server_at(server.address, InsideTls::Required),
        server_at(server.address, InsideTls::Off),
    ];
    let mut world = world(Authority::new(), servers, Times::default()).await;
    world.bound().await;
    assert_eq!(world.unreachable().await.0, dead.to_string());
    let (name, why) = world.unreachable().await;
    assert!(
        name == server.address.to_string() && why.contains("STARTTLS"),
        "{why}"
    );
}

#[tokio::test]
async fn an_inside_that_is_down_or_not_trusted_is_a_failed_remote_connection() {
    let stranger = Authority::new();
    let untrusted = Server::start_with(
        Style {
            tls: Some(DOMAIN),
            ..Style::default()
        },
        &stranger,
    );
    let (gone, dead) = listener().await;
    drop(gone);
    for (address, cause) in [(untrusted.await.address, "TLS"), (dead, "cannot connect")] {
        let servers = vec![server_at(address, InsideTls::Required)];
        let mut world = world(Authority::new(), servers, Times::default()).await;
        let mut client = world.secured().await;
        client.say(HEADER).await;
        let said = client.rest().await;
        assert!(
            said.contains("<stream:error><remote-connection-failed "),
            "{said}"
        );
        let (name, why) = world.unreachable().await;
        assert!(name == address.to_string() && why.contains(cause), "{why}");
    }
    let mut world = world(Authority::new(), Vec::new(), Times::default()).await;
    let mut client = world.secured().await;
    client.say(HEADER).await;
    assert!(client.rest().await.contains("<remote-connection-failed "));
    assert_eq!(world.unreachable().await.0, DOMAIN);
}

#[tokio::test]
async fn a_reader_that_stalls_slows_nobody_else() {
    let (world, _server) = plain_world().await;
    let mut stalled = Vec::new();
    for _ in 0..4 {
        let mut client = world.bound().await;
        // The server sends without end, and these clients take nothing.
        client.say("<iq id='flood'></iq>").await;
        stalled.push(client);
    }
    let mut client = world.bound().await;
    let work = async {
        for n in 0..50 {
            client
                .say(&format!("<message><body>{n}</body></message>"))
                .await;
            client.until(&format!("<body>{n}</body></message>")).await;
        }
    };
    tokio::time::timeout(SOON, work).await.unwrap();
    // They can still go on.
    for client in &mut stalled {
        for _ in 0..200 {
            client.until("</message>").await;
        }
    }
}

#[tokio::test]
async fn a_lost_server_is_told_unless_the_session_can_be_resumed() {
    let (mut world, _server) = plain_world().await;
    let mut client = world.bound().await;
    client.say("<iq id='drop'></iq>").await;
    let said = client.rest().await;
    assert!(
        said.starts_with("<stream:error><remote-connection-failed "),
        "{said}"
    );
    let (_, why) = came_and_went(&mut world.core_posts).await;
    assert!(why.contains("server"), "{why}");

    let mut client = world.bound().await;
    client
        .say("<enable xmlns='urn:xmpp:sm:3' resume='true'/>")
        .await;
    client
        .until("<enabled xmlns='urn:xmpp:sm:3' id='1' resume='true'/>")
        .await;
    client.say("<iq id='drop'></iq>").await;
    assert_eq!(client.rest().await, "");
}

#[tokio::test]
async fn a_lost_client_is_a_loss_to_the_server_and_not_a_good_bye() {
    let (mut world, server) = plain_world().await;
    let client = world.bound().await;
    drop(client);
    let (_, why) = came_and_went(&mut world.edge_posts).await;
    assert!(why.contains("client"), "{why}");
    server.lost().await;
    assert!(!server.seen().contains("</stream:stream>"));
}

#[tokio::test]
async fn failed_sign_ins_pass_and_end_after_five() {
    let (mut world, _server) = plain_world().await;
    let mut client = world.secured().await;
    client.say(HEADER).await;
    client.until("</stream:features>").await;
    let wrong = AUTH.replace("AGFsaWNlAHNlY3JldA==", "AGFsaWNlAHdyb25n");
    for _ in 0..5 {
        client.say(&wrong).await;
        client.until("</failure>").await;
    }
    client.say(AUTH).await;
    assert!(
        client
            .rest()
            .await
            .starts_with("<stream:error><policy-violation ")
    );
    assert_eq!(world.violation().await, "too many failed sign-ins");
}

#[tokio::test]
async fn slow_clients_are_sent_away() {
    let times = Times {
        header: Duration::from_millis(500),
        sign_in: Duration::from_secs(3),
        bind: Duration::from_secs(60),
    };
    let server = Server::start(Style::default()).await;
    let servers = vec![server_at(server.address, InsideTls::Off)];
    let world = world(Authority::new(), servers, times).await;
    // Silent from the first byte on, and in the middle of the header.
    assert_eq!(Client::plain(world.edge).await.rest().await, "");
    let mut client = Client::plain(world.edge).await;
    client.say("<?xml version='1.0'?><stream:st").await;
    assert!(client.rest().await.contains("<policy-violation "));
    // Before and after TLS.
    let mut plain = Client::plain(world.edge).await;
    let mut secured = Client::direct(world.edge, &world.ca, &[]).await.unwrap();
    for client in [&mut plain, &mut secured] {
        client.say(HEADER).await;
        client.until("</stream:features>").await;
    }
    for client in [&mut plain, &mut secured] {
        assert!(client.rest().await.contains("<policy-violation "));
    }
}

/// What the core answers to a pipe that a hostile edge asks for.
async fn forged(world: &World, domain: &str, header: &str) -> Result<lane::Pipe, StatusCode> {
    let encoded = base64::engine::general_purpose::STANDARD.encode(header);
    let request = Request::builder()
        .uri("anything.test")
        .header(metadata::CLIENT, "192.0.2.1:4000")
        .header(metadata::DOMAIN, domain)
        .header(metadata::STREAM, encoded)
        .body(())
        .unwrap();
    world.lane.connect(request).await.unwrap()
}

#[tokio::test]
async fn a_hostile_edge_gains_nothing() {
    let (mut world, server) = plain_world().await;
    let other = HEADER.replace("to='example.test'", "to='other.test'");
    for (header, status) in [
        (&*other, StatusCode::FORBIDDEN),
        (
            &HEADER.replace("to='example.test'", "to='phones.test'"),
            StatusCode::FORBIDDEN,
        ),
        ("", StatusCode::BAD_REQUEST),
        ("<iq/>", StatusCode::BAD_REQUEST),
        (&format!("{HEADER}{AUTH}"), StatusCode::BAD_REQUEST),
        (&" ".repeat(9000), StatusCode::BAD_REQUEST),
    ] {
        let answer = forged(&world, DOMAIN, header).await;
        assert_eq!(answer.err(), Some(status), "{header}");
    }
    assert_eq!(server.seen(), "");
    for (said, condition) in [
        ("<message/>", "not-authorized"),
        (HEADER, "restricted-xml"),
        ("<!--", "restricted-xml"),
    ] {
        let mut pipe = forged(&world, "other.test", HEADER).await.ok().unwrap();
        let before = server.seen().len();
        pipe.write_all(said.as_bytes()).await.unwrap();
        let mut answer = String::new();
        pipe.read_to_string(&mut answer).await.unwrap();
        assert!(
            answer.contains(&format!("<stream:error><{condition} ")),
            "{answer}"
        );
        assert!(!server.seen()[before..].contains(said));
        let source = next(&mut world.core_posts, |input| match input {
            Input::Report(Report::Violation {
                protocol: "xmpp",
                source,
                ..
            }) => Some(source),
            _ => None,
        })
        .await;
        assert_eq!(source.to_string(), "192.0.2.1:4000");
    }
    let get = Request::get("http://core/").body(lane::empty()).unwrap();
    let answer = world.lane.send_request(get).await.unwrap();
    assert_eq!(answer.status(), StatusCode::METHOD_NOT_ALLOWED);
    world.stop.send(true).unwrap();
}

#[tokio::test]
async fn a_stream_error_of_the_server_passes() {
    let server = Server::start(Style {
        elsewhere: true,
        ..Style::default()
    })
    .await;
    let servers = vec![server_at(server.address, InsideTls::Off)];
    let world = world(Authority::new(), servers, Times::default()).await;
    let mut client = world.secured().await;
    client.say(HEADER).await;
    let said = client.rest().await;
    assert!(
        said.contains(server::ELSEWHERE) && said.ends_with("</stream:stream>"),
        "{said}"
    );
}

#[tokio::test]
async fn the_stream_of_a_user_who_is_signed_out_ends_and_no_other() {
    let (mut world, _server) = plain_world().await;
    let mut client = world.bound().await;
    let out = |user: &str, domain: &str| SignOut {
        user: base::Pii::new(user.into()),
        domain: domain.into(),
        at: base::UnixTime::default(),
        id: 1,
    };
    for other in [out("bob", ""), out("alice", "other.test")] {
        world.outs.send(other).unwrap();
    }
    client
        .say("<message to='bob@example.test'><body>x</body></message>")
        .await;
    client.until("</message>").await;
    world.outs.send(out("Alice", DOMAIN)).unwrap();
    let said = client.rest().await;
    assert!(
        said.contains("<not-authorized ") && said.contains("signed out"),
        "{said}"
    );
    let (_, why) = came_and_went(&mut world.core_posts).await;
    assert_eq!(why, "the user was signed out");
    // Also before a resource is bound.
    let mut client = world.secured().await;
    client.say(HEADER).await;
    client.until("</stream:features>").await;
    client.say(AUTH).await;
    client.until(server::SUCCESS).await;
    client.say(HEADER).await;
    client.until("</stream:features>").await;
    world.outs.send(out("alice", "")).unwrap();
    let said = client.rest().await;
    assert!(said.contains("<not-authorized "), "{said}");
}

#[tokio::test]
async fn a_stream_that_guesses_ends_when_the_core_has_seen_enough_and_no_new_one_begins() {
    let (world, _server) = plain_world().await;
    world.tries.store(2, Ordering::SeqCst);
    let wrong = AUTH.replace("AGFsaWNlAHNlY3JldA==", "AGFsaWNlAHdyb25n");
    let mut client = world.secured().await;
    client.say(HEADER).await;
    client.until("</stream:features>").await;
    client.say(&wrong).await;
    client.until("</failure>").await;
    client.say(&wrong).await;
    let said = client.rest().await;
    assert!(
        said.contains("</failure>") && said.contains("<policy-violation "),
        "{said}"
    );
    let mut client = world.secured().await;
    client.say(HEADER).await;
    let said = client.rest().await;
    assert!(
        said.contains("<policy-violation ") && said.contains("try again later"),
        "{said}"
    );
}
