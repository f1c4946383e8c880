//! A client's HTTPS requests through an edge and a core to an inside server.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use base::{Rng, UnixTime};
use driver::guard::Guard;
use driver::http_core::HttpCore;
use driver::http_edge::HttpEdge;
use driver::listen::Caps;
use driver::shares::Shares;
use driver::signal::{Clock, Handle, Post};
use driver::tokens::Tokens;
use driver::trace::Traces;
use net::http::front::{self, Limits};
use net::http::inside::Inside;
use net::lane::{self, EdgeLane, Windows};
use net::tls::{self, Live};
use node::gate::{CoreGate, EdgeGate, EdgeGateCore};
use node::io::{Answer, Input, Question, Reply, Report};
use policy::allow_list::{AllowList, Origin, Rule};
use policy::token::TokenKey;
use provisioning::path::{EdgePath, Server};
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use traversal::DomainOffer;

use crate::support::{Authority, SOON, listener, next, resolver};

pub const DOMAIN: &str = "example.test";

/// An edge, a core and an inside server.
pub struct World {
    pub ca: Authority,
    pub edge: SocketAddr,
    pub inside: SocketAddr,
    /// Heads that reached the inside server.
    pub seen: Arc<Mutex<Vec<String>>>,
    pub token: String,
    pub guard: Guard,
    /// The edge's way to the core.
    pub lane: EdgeLane,
    edge_gate: Live<EdgeGate>,
    pub edge_posts: mpsc::Receiver<Post>,
    pub core_posts: Option<mpsc::Receiver<Post>>,
    _stop: watch::Sender<bool>,
}

/// A domain with passwords, and one with an identity provider and bearer tokens.
pub const SSO_DOMAIN: &str = "sso.test";

fn offers() -> Vec<DomainOffer> {
    let offer = |name: &str, sso| DomainOffer {
        name: name.parse().unwrap(),
        sip: true,
        im_presence: true,
        federation: false,
        tokens: sso,
        sso,
    };
    vec![offer(DOMAIN, false), offer(SSO_DOMAIN, true)]
}

fn real_clock() -> Clock {
    Clock::start()
}

pub async fn world() -> World {
    world_with(resolver(), |port| {
        vec![Rule {
            scheme: "http".into(),
            host: "127.0.0.1".into(),
            port,
            path: "/public".into(),
            exact: false,
            methods: vec!["GET".into(), "POST".into()],
            tls_verify: true,
            proxy_protocol: false,
            origin: Origin::Configured,
            description: String::new(),
        }]
    })
    .await
}

pub async fn world_with(resolver: net::dns::Resolver, rules: fn(u16) -> Vec<Rule>) -> World {
    let ca = Authority::new();
    let (stop, stopping) = watch::channel(false);
    let clock = real_clock();
    let key = TokenKey::from_seed(&[7; 32]).unwrap();
    let token = key.issue(clock.now().unix, &mut Rng::from_number(1), "alice", DOMAIN);
    let seen = Arc::default();
    let inside = inside_server(Arc::clone(&seen)).await;

    let (handle, core_posts) = Handle::new();
    let gate = CoreGate {
        signed_out: Default::default(),
        domains: offers(),
        allow_list: Arc::new(AllowList::new(rules(inside.port()))),
        token_key: key.public(),
        xmpp: Vec::new(),
        bearers: Vec::new(),
    };
    let unchecked = tls::inside_client(None, &[]).unwrap();
    let gate = Live::new(Arc::new(gate));
    let never = ["127.0.0.1:9", "0.0.0.0:10", "10.0.0.1:80"];
    let never = Arc::new(never.map(|a| a.parse().unwrap()));
    let guard = Guard::new(gate.clone(), resolver, never, clock, Arc::default());
    let core = HttpCore {
        handle,
        clock,
        gate,
        guard: guard.clone(),
        inside: Inside::default(),
        checked: Live::new(tls::inside_client(Some(&ca.trust()), &[]).unwrap()),
        unchecked,
        traces: Arc::new(Traces::start().unwrap()),
        tokens: Tokens::default(),
    };
    let lane = EdgeLane::new(Windows::HTTP);
    for _ in 0..2 {
        let (a, b) = duplex(64 * 1024);
        let (attached, core) = (lane.clone(), core.clone());
        tokio::spawn(async move { attached.attach(a).await });
        let answer = move |request| core.clone().answer(0, request);
        tokio::spawn(lane::serve(
            b,
            Windows::HTTP,
            std::future::pending(),
            answer,
        ));
    }
    let mut changes = lane.changes();
    assert!(changes.wait_for(|n| *n == 2).await.is_ok());
    drop(changes);

    let (handle, edge_posts) = Handle::new();
    let edge_gate = Live::new(Arc::new(EdgeGate {
        cores: vec![EdgeGateCore {
            signed_out: Default::default(),
            skew_ms: None,
            peer: 0,
            node: "core1.example.test".into(),
            token_key: key.public(),
            domains: offers(),
        }],
    }));
    let (listening, edge) = listener().await;
    let service = HttpEdge {
        handle,
        clock,
        config: Live::new(
            tls::client_facing(&ca.identity("edge1.example.test"), &front::ALPN).unwrap(),
        ),
        gate: edge_gate.clone(),
        lanes: Arc::new([lane.clone()]),
        name: "edge1.example.test".into(),
        caps: Caps {
            total: 100,
            per_source: 100,
            paces: None,
        },
        limits: Limits::default(),
        traces: Arc::new(Traces::start().unwrap()),
        tokens: Tokens::default(),
        shares: Shares::default(),
    };
    tokio::spawn(service.run(listening, stopping));
    World {
        ca,
        edge,
        inside,
        seen,
        token,
        guard,
        lane,
        edge_gate,
        edge_posts,
        core_posts: Some(core_posts),
        _stop: stop,
    }
}

/// What names a server to a browser, though it is none by RFC 3986.
pub const CROOKED: &[&str] = &[
    r"\\web2.corp.test\x",
    r"/\web2.corp.test/x",
    r"\/web2.corp.test/x",
    "/\t/web2.corp.test/x",
    r"x\..\\web2.corp.test",
    "a b//web2.corp.test",
];

/// Answers by path, one request a connection.
async fn inside_server(seen: Arc<Mutex<Vec<String>>>) -> SocketAddr {
    let (listening, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listening.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move { answer_inside(stream, address, &seen).await });
        }
    });
    address
}

async fn answer_inside(mut stream: TcpStream, own: SocketAddr, seen: &Mutex<Vec<String>>) {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return,
        }
    }
    let head = String::from_utf8(head).unwrap();
    let path = head.split(' ').nth(1).unwrap().to_owned();
    let length = head
        .lines()
        .find_map(|l| l.strip_prefix("content-length: "))
        .map_or(0, |n| n.parse().unwrap());
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await.unwrap();
    seen.lock().unwrap().push(head);
    if path == "/public/endless" {
        let head = b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n";
        let mut sent = stream.write_all(head).await;
        while sent.is_ok() {
            sent = stream.write_all(&[b'x'; 8192]).await;
        }
        return;
    }
    let nth = path.rsplit('/').next().and_then(|n| n.parse().ok());
    let crooked = nth.map_or("", |n: usize| CROOKED[n]);
    let (status, fields) = match path.as_str() {
        "/public/moved" => (
            "302 Found",
            format!("Location: http://{own}/public/there?x=1\r\n"),
        ),
        at if at.starts_with("/public/to/") => ("302 Found", format!("Location: {crooked}\r\n")),
        at if at.starts_with("/public/by/") => (
            "200 OK",
            format!(
                "Content-Location: {crooked}\r\nRefresh: 0; url={crooked}\r\n\
                 Refresh: 0; url='{crooked}'\r\nLink: <{crooked}>; rel=next\r\n\
                 Link: < {crooked}>\r\nLink: </a>; anchor=\"{crooked}\"\r\n"
            ),
        ),
        "/public/away" => ("302 Found", "Location: http://10.0.0.1/secret\r\n".into()),
        "/public/cookie" => (
            "200 OK",
            "Set-Cookie: JSESSIONID=1; Domain=corp.example.test; Path=/cucm-uds; HttpOnly\r\n\
             Causeway-Own: 1\r\nSet-Cookie: X-Auth=stolen\r\n\
             Server: Apache-Coyote/1.1\r\nX-Powered-By: Tomcat\r\n\
             Via: 1.1 cucm1.corp.example.test\r\n"
                .into(),
        ),
        "/public/refers" => (
            "200 OK",
            format!(
                "Content-Location: http://{own}/public/real\r\n\
                 Refresh: 5; URL=http://{own}/public\r\nRefresh: 9; url=http://10.0.0.1/\r\n\
                 Link: <http://{own}/public/2>; rel=next, </public/3>; rel=last\r\n\
                 Link: <http://10.0.0.1/>; rel=prev\r\nAlt-Svc: h3=\":443\"\r\n\
                 Strict-Transport-Security: max-age=1; includeSubDomains\r\n\
                 Clear-Site-Data: \"*\"\r\nService-Worker-Allowed: /\r\n\
                 X-Content-Type-Options: of the inside\r\n"
            ),
        ),
        "/public/ntlm" => (
            "401 Unauthorized",
            "WWW-Authenticate: Negotiate\r\nWWW-Authenticate: NTLM TlRMTVNTUAACAAAA\r\n\
             WWW-Authenticate: Basic realm=\"inside\"\r\n"
                .into(),
        ),
        "/public/missing" => ("404 Not Found", String::new()),
        _ => ("200 OK", String::new()),
    };
    let said = format!("inside {path} {length}");
    let answer = format!(
        "HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\nConnection: close\r\n\r\n{said}",
        said.len()
    );
    stream.write_all(answer.as_bytes()).await.unwrap();
}

impl World {
    /// Says `request` over TLS and HTTP/1.1 and gives all that comes back.
    pub async fn say(&self, request: &str) -> String {
        self.say_from("127.0.0.1:0", request).await
    }

    /// A TLS connection to the edge from that address.
    pub async fn connect(&self, from: &str) -> tls::Stream<TcpStream> {
        let client = tls::inside_client(Some(&self.ca.trust()), &[b"http/1.1"]).unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind(from.parse().unwrap()).unwrap();
        let stream = socket.connect(self.edge).await.unwrap();
        tls::connect(client, "edge1.example.test", stream, SOON)
            .await
            .unwrap()
    }

    /// As [`World::say`], from that address.
    pub async fn say_from(&self, from: &str, request: &str) -> String {
        let mut stream = self.connect(from).await;
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        let read = stream.read_to_end(&mut answer);
        // The end of the connection may come without a TLS farewell.
        let _ = tokio::time::timeout(SOON, read).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    pub fn segment(&self) -> String {
        let server = Server::parse(&format!("http/127.0.0.1/{}", self.inside.port())).unwrap();
        EdgePath::encode(DOMAIN, Some(&server))
    }

    /// A GET on the proxy lane with the session cookie.
    pub async fn get(&self, segment: &str, path: &str) -> String {
        self.say(&format!(
            "GET /{segment}{path} HTTP/1.1\r\nHost: edge1.example.test:8443\r\n\
             Cookie: a=b; X-Auth={}; c=d\r\nAuthorization: Basic YWxpY2U6cHc=\r\n\
             X-Forwarded-For: 10.1.1.1\r\ncauseway-client: 10.1.1.1:1\r\n\
             Connection: close, X-Drop\r\nX-Drop: 1\r\nTrackingID: t1\r\n\r\n",
            self.token
        ))
        .await
    }
}

#[tokio::test]
async fn a_signed_in_client_reaches_what_is_on_the_allow_list() {
    let world = world().await;
    let answer = world.get(&world.segment(), "/public/a%20b?q=1").await;
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("inside /public/a%20b?q=1 0"), "{answer}");
    for field in ["server: CE_C ECS", "strict-transport-security: max-age="] {
        assert!(answer.contains(field), "{answer}");
    }
    assert!(!answer.contains("x-content-type-options"), "{answer}");
    let head = world.seen.lock().unwrap().pop().unwrap().to_lowercase();
    assert!(
        head.contains(&format!("host: 127.0.0.1:{}\r\n", world.inside.port())),
        "{head}"
    );
    assert!(
        head.contains("authorization: basic") && head.contains("trackingid: t1"),
        "{head}"
    );
    assert!(head.contains("cookie: a=b; c=d\r\n"), "{head}");
    for field in ["x-auth", "causeway-", "x-drop", "10.1.1.1"] {
        assert!(!head.contains(field), "{field} in {head}");
    }

    let post = format!(
        "POST /{}/public/x HTTP/1.1\r\nHost: h\r\nCookie: X-Auth={}\r\nContent-Length: 5\r\n\
         Connection: close\r\n\r\nhello",
        world.segment(),
        world.token
    );
    assert!(world.say(&post).await.ends_with("inside /public/x 5"));
    let answer = world.get(&world.segment(), "/public/missing").await;
    assert!(
        answer.starts_with("HTTP/1.1 404 "),
        "an inside 404 is relayed: {answer}"
    );
}

#[tokio::test]
async fn redirects_and_cookies_come_back_in_the_edges_form() {
    let world = world().await;
    let segment = world.segment();
    let answer = world.get(&segment, "/public/moved").await;
    assert!(
        answer.contains(&format!("location: /{segment}/public/there?x=1\r\n")),
        "{answer}"
    );
    let answer = world.get(&segment, "/public/away").await;
    assert!(
        answer.starts_with("HTTP/1.1 502 ") && !answer.contains("10.0.0.1"),
        "{answer}"
    );
    let answer = world.get(&segment, "/public/cookie").await;
    let bound = format!("set-cookie: JSESSIONID=1; HttpOnly; Path=/{segment}/cucm-uds; Secure\r\n");
    assert!(answer.contains(&bound), "{answer}");
    for leak in ["stolen", "corp.example.test", "Apache", "Tomcat"] {
        assert!(!answer.contains(leak), "{answer}");
    }
}

#[tokio::test]
async fn what_is_not_allowed_is_refused_and_never_dialled() {
    let mut world = world().await;
    let segment = world.segment();
    let port = world.inside.port();
    let other_domain = encode(&format!("other.test/http/127.0.0.1/{port}"));
    let other_scheme = encode(&format!("{DOMAIN}/https/127.0.0.1/{port}"));
    let other_host = encode(&format!("{DOMAIN}/http/127.0.0.2/{port}"));
    let short_form = encode(&format!("{DOMAIN}/http/127.1/{port}"));
    let table: [(&str, &str, u16); 12] = [
        (&segment, "/private", 403),
        (&segment, "/publicx", 403),
        (&segment, "/public/../private", 400),
        (&segment, "/public/%2e%2e/private", 400),
        (&segment, "/public/..;/private", 400),
        (&segment, "/public%2f..%2fprivate", 400),
        (&other_domain, "/public", 403),
        (&other_scheme, "/public", 403),
        (&other_host, "/public", 403),
        (&short_form, "/public", 404),
        ("nonsense!", "/public", 404),
        ("", "/public", 404),
    ];
    for (segment, path, status) in table {
        let answer = world.get(segment, path).await;
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status} ")),
            "{segment}{path}: {answer}"
        );
        assert!(answer.ends_with("\r\n\r\n"), "no body: {answer}");
    }
    let put = format!(
        "PUT /{segment}/public HTTP/1.1\r\nHost: h\r\nCookie: X-Auth={}\r\n\
         Connection: close\r\n\r\n",
        world.token
    );
    assert!(world.say(&put).await.starts_with("HTTP/1.1 403 "));
    assert!(
        world.seen.lock().unwrap().is_empty(),
        "the inside was dialled"
    );
    let (status, cause) = next(&mut world.edge_posts, |input| match input {
        Input::Report(Report::HttpRefused { status, cause, .. }) => Some((status, cause)),
        _ => None,
    })
    .await;
    assert_eq!(
        (status, cause.contains("dot segment")),
        (400, true),
        "{cause}"
    );
}

pub fn encode(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(text)
}

#[tokio::test]
async fn without_a_good_token_nothing_is_forwarded() {
    let world = world().await;
    let path = format!("/{}/public", world.segment());
    let forged = TokenKey::from_seed(&[8; 32]).unwrap();
    let now = real_clock().now().unix;
    let key = TokenKey::from_seed(&[7; 32]).unwrap();
    let mut rng = Rng::from_number(2);
    let cookies = [
        String::new(),
        "Cookie: X-Auth=\r\n".into(),
        "Cookie: X-Auth=aaaa\r\n".into(),
        format!(
            "Cookie: X-Auth={}\r\n",
            forged.issue(now, &mut rng, "alice", DOMAIN)
        ),
        format!(
            "Cookie: X-Auth={}\r\n",
            key.issue(now, &mut rng, "alice", "other.test")
        ),
        format!(
            "Cookie: X-Auth={}\r\n",
            key.issue(UnixTime::from_millis(1), &mut rng, "alice", DOMAIN)
        ),
    ];
    for cookie in cookies {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: h\r\n{cookie}Connection: close\r\n\r\n");
        let answer = world.say(&request).await;
        assert!(answer.starts_with("HTTP/1.1 401 "), "{cookie}: {answer}");
        assert!(
            answer.contains("www-authenticate: Basic realm=\"Cisco-Edge\"\r\n"),
            "{answer}"
        );
    }
    assert!(world.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_sign_in_reaches_the_node_and_its_answer_the_client() {
    let mut world = world().await;
    let mut posts = world.core_posts.take().unwrap();
    let node = tokio::spawn(async move {
        loop {
            let Some(Post::Ask { question, reply }) = posts.recv().await else {
                continue;
            };
            let Question::SignIn(sign_in) = question else {
                panic!("another question")
            };
            let answer = Reply {
                status: 200,
                headers: vec![("Set-Cookie", "X-Auth=new; Secure".into())],
                body: "<getEdgeConfigResponse/>".into(),
            };
            assert!(reply.send(Answer::SignIn(answer)).is_ok());
            return sign_in;
        }
    });
    let ask = |path: &str, field: &str| {
        format!(
            "GET /{}{path} HTTP/1.1\r\nHost: h\r\n{field}Connection: close\r\n\r\n",
            EdgePath::encode(DOMAIN, None)
        )
    };
    let basic = "Authorization: Basic YWxpY2U6cDp3\r\nUser-Agent: Cisco/TC\r\n";
    let config = "/get_edge_config?service_name=_cisco-uds";
    let answer = world.say(&ask(config, basic)).await;
    assert!(answer.starts_with("HTTP/1.1 200 OK"), "{answer}");
    assert!(
        answer.contains("set-cookie: X-Auth=new; Secure\r\n"),
        "{answer}"
    );
    assert!(answer.ends_with("<getEdgeConfigResponse/>"), "{answer}");
    let sign_in = node.await.unwrap();
    assert_eq!(sign_in.user.expose(), "alice");
    assert_eq!(sign_in.password.expose(), "p:w");
    assert_eq!((sign_in.domain.as_str(), sign_in.peer), (DOMAIN, 0));
    assert_eq!(sign_in.target, "get_edge_config?service_name=_cisco-uds");
    assert_eq!(sign_in.user_agent, "Cisco/TC");
    assert_eq!(sign_in.client, Some("127.0.0.1".parse().unwrap()));

    let answer = world.say(&ask("/get_edge_config/", "")).await;
    assert!(answer.starts_with("HTTP/1.1 401 "), "{answer}");
    for path in ["/authorize", "/oidc", "/metadata", "/signed_in"] {
        let answer = world.say(&ask(path, "")).await;
        assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
    }
    let other = format!(
        "GET /{}/get_edge_config HTTP/1.1\r\nHost: h\r\n{basic}\r\n",
        EdgePath::encode("other.test", None)
    );
    let answer = world.say(&other).await;
    assert!(
        answer.starts_with("HTTP/1.1 403 ") && answer.contains("server: CE_E\r\n"),
        "{answer}"
    );
    assert!(answer.contains("connection: close\r\n") && answer.contains("content-length: 0\r\n"));
}

#[tokio::test]
async fn without_a_core_the_answer_is_502_and_never_401() {
    let mut world = world().await;
    let segment = world.segment();
    world.edge_gate.set(Arc::new(EdgeGate::default()));
    let answer = world.get(&segment, "/public").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    let cause = next(&mut world.edge_posts, |input| match input {
        Input::Report(Report::HttpRefused {
            status: 502, cause, ..
        }) => Some(cause),
        _ => None,
    })
    .await;
    assert!(cause.contains("no core"), "{cause}");
}

#[tokio::test]
async fn a_body_that_breaks_off_is_the_clients_fault_and_answered_once() {
    let world = world().await;
    let (segment, token) = (world.segment(), &world.token);
    let request = format!(
        "POST /{segment}/public HTTP/1.1\r\nHost: h\r\nCookie: X-Auth={token}\r\n\
         Transfer-Encoding: chunked\r\n\r\n\
         3\r\nabc\r\nzz\r\n"
    );
    let answer = world.say(&request).await;
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
}

#[tokio::test]
async fn nobody_signs_a_connection_in_that_others_share() {
    let world = world().await;
    for scheme in ["NTLM TlRMTVNTUAABAAAA", "negotiate YII=", "Basic YTpi"] {
        let request = format!(
            "GET /{}/public/ntlm HTTP/1.1\r\nHost: h\r\nCookie: X-Auth={}\r\n\
             Authorization: {scheme}\r\nConnection: close\r\n\r\n",
            world.segment(),
            world.token
        );
        let answer = world.say(&request).await.to_ascii_lowercase();
        assert!(answer.starts_with("http/1.1 401 "), "{answer}");
        assert!(
            answer.contains("www-authenticate: basic realm=\"inside\""),
            "{answer}"
        );
        let fields = answer.split("\r\n\r\n").next().unwrap();
        assert!(
            !fields.contains("ntlm") && !fields.contains("negotiate"),
            "{answer}"
        );
        let head = world.seen.lock().unwrap().pop().unwrap();
        assert_eq!(
            head.contains("authorization: "),
            scheme.starts_with("Basic"),
            "{head}"
        );
    }
}
