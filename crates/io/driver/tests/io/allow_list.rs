//! Where clients' requests may lead, with a DNS server that changes its mind, and servers beside
//! the allowed one that must never be dialled.

use std::collections::HashMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use policy::allow_list::{Origin, Rule};
use status::AllowTest;
use tokio::net::{TcpListener, UdpSocket};

use crate::http::{DOMAIN, World, world_with};

/// Addresses by name, one set for each time it is asked for; the last one stays. Of a name with no
/// set the server says that it has failed.
type Zone = HashMap<&'static str, Vec<Vec<[u8; 4]>>>;

const LISTED: [u8; 4] = [127, 0, 0, 1];
const OTHER: [u8; 4] = [127, 0, 0, 2];

/// A DNS server on the loopback; counts questions for addresses by name.
#[derive(Clone, Default)]
struct Dns {
    asked: Arc<Mutex<HashMap<String, usize>>>,
}

impl Dns {
    async fn start(zone: Zone) -> (Dns, net::dns::Resolver) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let address = socket.local_addr().unwrap();
        let dns = Dns::default();
        let serving = dns.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 1024];
            while let Ok((n, from)) = socket.recv_from(&mut buffer).await {
                let answer = serving.answer(&zone, &buffer[..n]);
                let _ = socket.send_to(&answer, from).await;
            }
        });
        let rng = base::Rng::from_number(1);
        (dns, net::dns::Resolver::new(&[address], rng).unwrap())
    }

    fn answer(&self, zone: &Zone, question: &[u8]) -> Vec<u8> {
        let (mut name, mut at) = (String::new(), 12);
        while question[at] != 0 {
            let end = at + 1 + usize::from(question[at]);
            name.push_str(std::str::from_utf8(&question[at + 1..end]).unwrap());
            name.push('.');
            at = end;
        }
        let name = name.trim_end_matches('.').to_lowercase();
        let (kind, end) = (question[at + 2], at + 5);
        let mut addresses: &[[u8; 4]] = &[];
        if kind == 1 {
            let mut asked = self.asked.lock().unwrap();
            let count = asked.entry(name.clone()).or_default();
            if let Some(sets) = zone.get(name.as_str()).filter(|sets| !sets.is_empty()) {
                addresses = &sets[(*count).min(sets.len() - 1)];
            }
            *count += 1;
        }
        let code = match zone.get(name.as_str()) {
            Some(sets) if sets.is_empty() => 2,
            Some(_) => 0,
            None => 3,
        };
        let mut out = question[..end].to_vec();
        out[2..12].copy_from_slice(&[0x81, 0x80, 0, 1, 0, addresses.len() as u8, 0, 0, 0, 0]);
        out[3] |= code;
        for address in addresses {
            // The name by pointer, A, IN, no time to live at all.
            out.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4]);
            out.extend(address);
        }
        out
    }

    fn asked(&self, name: &str) -> usize {
        self.asked.lock().unwrap().get(name).copied().unwrap_or(0)
    }
}

/// A server that nobody may dial.
async fn canary(port: u16) -> Arc<AtomicUsize> {
    let listener = TcpListener::bind((Ipv4Addr::from(OTHER), port))
        .await
        .unwrap();
    let hits = Arc::new(AtomicUsize::new(0));
    let seen = hits.clone();
    tokio::spawn(async move {
        while listener.accept().await.is_ok() {
            seen.fetch_add(1, Ordering::SeqCst);
        }
    });
    hits
}

fn rule(host: &str, port: u16) -> Rule {
    Rule {
        scheme: "http".into(),
        host: host.into(),
        port,
        path: "/".into(),
        exact: false,
        methods: vec!["GET".into()],
        tls_verify: true,
        proxy_protocol: false,
        origin: Origin::Configured,
        description: String::new(),
    }
}

fn segment(host: &str, port: u16) -> String {
    URL_SAFE_NO_PAD.encode(format!("{DOMAIN}/http/{host}/{port}"))
}

async fn status(world: &World, host: &str, port: u16) -> u16 {
    let answer = world.get(&segment(host, port), "/public").await;
    answer[9..12].parse().unwrap()
}

#[tokio::test]
async fn a_name_leads_to_its_listed_address_alone_whatever_dns_says_later() {
    let zone = Zone::from([
        ("photos.test", vec![vec![OTHER, LISTED], vec![OTHER]]),
        ("elsewhere.test", vec![vec![OTHER]]),
    ]);
    let (dns, resolver) = Dns::start(zone).await;
    let world = world_with(resolver, |port| vec![rule("127.0.0.1", port)]).await;
    let port = world.inside.port();
    let hits = canary(port).await;
    assert_eq!(status(&world, "photos.test", port).await, 200);
    assert_eq!(
        dns.asked("photos.test"),
        1,
        "nothing is asked between check and dial"
    );
    let head = world.seen.lock().unwrap().pop().unwrap().to_lowercase();
    assert!(
        head.contains(&format!("host: photos.test:{port}\r\n")),
        "{head}"
    );
    // The name has moved.
    assert_eq!(status(&world, "photos.test", port).await, 403);
    assert_eq!(status(&world, "elsewhere.test", port).await, 403);
    assert_eq!(status(&world, "unknown.test", port).await, 403);
    assert_eq!(status(&world, "127.0.0.2", port).await, 403);
    // No rule could let this through: DNS is not asked.
    assert_eq!(status(&world, "silent.test", 1).await, 403);
    assert_eq!(dns.asked("silent.test"), 0);
    assert_eq!(hits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn a_listed_name_never_leads_to_the_node_itself_or_to_a_link_local_address() {
    let zone = Zone::from([
        ("self.test", vec![vec![LISTED]]),
        ("cloud.test", vec![vec![[169, 254, 169, 254]]]),
        ("zero.test", vec![vec![[0, 0, 0, 0]]]),
        ("many.test", vec![vec![[224, 0, 0, 1]]]),
        ("gone.test", vec![vec![]]),
    ]);
    let (_dns, resolver) = Dns::start(zone).await;
    let world = world_with(resolver, |port| {
        let names = ["cloud.test", "zero.test", "many.test", "gone.test"];
        let named = names.map(|name| rule(name, port));
        named.into_iter().chain([rule("self.test", 9)]).collect()
    })
    .await;
    let port = world.inside.port();
    assert_eq!(status(&world, "self.test", 9).await, 403);
    for name in ["cloud.test", "zero.test", "many.test"] {
        assert_eq!(status(&world, name, port).await, 403, "{name}");
    }
    assert_eq!(status(&world, "gone.test", port).await, 502);
    assert!(world.seen.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_address_that_only_a_name_leads_to_is_as_bad_as_the_name() {
    let zone = Zone::from([
        ("cucm1.test", vec![vec![[169, 254, 169, 254]]]),
        ("cucm2.test", vec![vec![LISTED]]),
    ]);
    let (_dns, resolver) = Dns::start(zone).await;
    let world = world_with(resolver, |port| {
        let found = [("cucm1.test", port), ("cucm2.test", 9)].map(|(name, port)| {
            let mut found = rule(name, port);
            found.origin = Origin::UnifiedCm(name.into());
            found
        });
        found.into()
    })
    .await;
    let port = world.inside.port();
    assert_eq!(status(&world, "169.254.169.254", port).await, 403);
    assert_eq!(status(&world, "127.0.0.1", 9).await, 403);
    assert!(world.guard.inbox().denied.is_empty());
}

#[tokio::test]
async fn what_dns_does_not_answer_is_no_refusal() {
    let zone = Zone::from([("mute.test", vec![])]);
    let (_dns, resolver) = Dns::start(zone).await;
    let world = world_with(resolver, |port| {
        let mut found = rule("mute.test", port);
        found.path = "/owned".into();
        found.origin = Origin::UnifiedCm("mute.test".into());
        let mut listed = rule("127.0.0.1", port);
        listed.path = "/public".into();
        vec![found, listed]
    })
    .await;
    let port = world.inside.port();
    // A rule names an address, which could be the name's; a discovered name could have the address.
    for (host, path) in [("mute.test", "/public"), ("127.0.0.2", "/owned")] {
        let answer = world.get(&segment(host, port), path).await;
        assert!(answer.starts_with("HTTP/1.1 502 "), "{host}: {answer}");
        let url = format!("http://{host}:{port}{path}");
        let method = String::new();
        let verdict = world.guard.test(&AllowTest { url, method }).await.unwrap();
        assert!(!verdict.allowed && verdict.unknown, "{verdict:?}");
        assert!(verdict.rule.is_none(), "{verdict:?}");
    }
    assert!(world.guard.inbox().denied.is_empty());
    // That a name does not exist is an answer.
    assert_eq!(status(&world, "unknown.test", port).await, 403);
    assert_eq!(world.guard.inbox().denied.len(), 1);
}

#[tokio::test]
async fn a_redirect_that_no_rule_would_help_is_not_in_the_inbox() {
    let (_dns, resolver) = Dns::start(Zone::new()).await;
    let world = world_with(resolver, |port| {
        // Where the inside server redirects to, which is an address of this node here.
        let mut away = rule("10.0.0.1", 80);
        away.path = "/secret".into();
        vec![rule("127.0.0.1", port), away]
    })
    .await;
    let port = world.inside.port();
    let answer = world.get(&segment("127.0.0.1", port), "/public/away").await;
    assert!(answer.starts_with("HTTP/1.1 502 "), "{answer}");
    assert!(!answer.contains("10.0.0.1"), "{answer}");
    assert!(world.guard.inbox().denied.is_empty());
}

#[tokio::test]
async fn a_listener_on_every_address_is_none_on_other_machines() {
    let zone = Zone::from([
        ("self.test", vec![vec![OTHER]]),
        ("web.test", vec![vec![[192, 0, 2, 1]]]),
    ]);
    let (_dns, resolver) = Dns::start(zone).await;
    let world = world_with(resolver, |_| {
        vec![rule("self.test", 10), rule("web.test", 10)]
    })
    .await;
    for (name, passes) in [("self.test", false), ("web.test", true)] {
        let (url, method) = (format!("http://{name}:10/"), String::new());
        let verdict = world.guard.test(&AllowTest { url, method }).await.unwrap();
        assert_eq!(verdict.allowed, passes, "{verdict:?}");
    }
}

#[tokio::test]
async fn an_address_passes_if_it_is_a_discovered_servers() {
    let zone = Zone::from([
        ("cucm1.test", vec![vec![LISTED]]),
        ("web.test", vec![vec![OTHER]]),
    ]);
    let (_dns, resolver) = Dns::start(zone).await;
    let world = world_with(resolver, |port| {
        let mut found = rule("cucm1.test", port);
        found.origin = Origin::UnifiedCm("cucm1.test".into());
        vec![rule("web.test", port), found]
    })
    .await;
    let port = world.inside.port();
    let hits = canary(port).await;
    assert_eq!(status(&world, "127.0.0.1", port).await, 200);
    // A configured name stands for itself.
    assert_eq!(status(&world, "127.0.0.2", port).await, 403);
    assert_eq!(hits.load(Ordering::SeqCst), 0);
}

#[tokio::test]
async fn every_spelling_of_an_address_but_the_plain_one_is_refused_and_never_dialled() {
    let (_dns, resolver) = Dns::start(Zone::new()).await;
    let world = world_with(resolver, |port| vec![rule("127.0.0.1", port)]).await;
    let port = world.inside.port();
    let hits = canary(port).await;
    let hosts = [
        "127.1",
        "127.2",
        "127.0.1",
        "127.0.2",
        "2130706433",
        "2130706434",
        "0x7f000001",
        "0x7f000002",
        "0x7f.0.0.2",
        "0x7f.1",
        "0177.0.0.1",
        "0177.0.0.2",
        "017700000002",
        "127.0.0.01",
        "127.0.0.002",
        "127.0.0.1.",
        "127.0.0.2.",
        "[127.0.0.1",
        "::ffff:127.0.0.1",
        "[::ffff:127.0.0.2]",
        "::ffff:7f00:1",
        "::127.0.0.1",
        "::7f00:2",
        "0:0:0:0:0:ffff:127.0.0.2",
        "127%2e0.0.1",
        "127.0.0.1%00",
        "127.0.0.1 ",
        " 127.0.0.1",
        "127.0.0.1\t",
        "127.0.0.1#",
        "user@127.0.0.1",
        "127.0.0.2:80",
        "127。0。0。1",
        "１２７.0.0.1",
        "127.0.0.1\0",
        "+127.0.0.1",
        "0",
        "1",
        "",
        "localhost.",
        "LOCALHOST_",
        "fe80::1%lo",
    ];
    for host in hosts {
        let text = format!("{DOMAIN}/http/{host}/{port}");
        let spelt = [
            URL_SAFE_NO_PAD.encode(&text),
            URL_SAFE.encode(&text),
            STANDARD.encode(&text),
            STANDARD_NO_PAD.encode(&text),
            STANDARD.encode(STANDARD.encode(&text)),
            URL_SAFE_NO_PAD.encode(&text).replace('Z', "%5A"),
        ];
        for segment in spelt {
            let answer = world.get(&segment, "/public").await;
            assert!(
                answer.starts_with("HTTP/1.1 40"),
                "{host:?} as {segment}: {answer}"
            );
        }
    }
    assert_eq!(hits.load(Ordering::SeqCst), 0);
    assert!(
        world.seen.lock().unwrap().is_empty(),
        "the inside was dialled"
    );
    // The plain one, in each base64.
    let text = format!("{DOMAIN}/http/127.0.0.1/{port}");
    for segment in [URL_SAFE_NO_PAD.encode(&text), STANDARD.encode(&text)] {
        let answer = world.get(&segment, "/public").await;
        assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    }
}

#[tokio::test]
async fn the_tester_says_what_the_proxy_does_and_the_inbox_keeps_what_it_refused() {
    let zone = Zone::from([("photos.test", vec![vec![LISTED]])]);
    let (_dns, resolver) = Dns::start(zone).await;
    let world = world_with(resolver, |port| {
        let mut public = rule("127.0.0.1", port);
        public.path = "/public".into();
        vec![rule("other.test", port), public]
    })
    .await;
    let port = world.inside.port();
    let ask = async |url: String, method: &str| {
        let method = method.to_owned();
        world.guard.test(&AllowTest { url, method }).await
    };
    let plain = format!("http://127.0.0.1:{port}/public/x?q=1");
    let passes = ask(plain, "").await.unwrap();
    assert!(
        passes.allowed
            && passes
                .rule
                .is_some_and(|r| r.number == 2 && r.hits == Some(0))
    );
    let inside = SocketAddr::from((LISTED, port)).to_string();
    assert_eq!(passes.address, Some(inside));
    let as_asked = format!("/{}/public", segment("photos.test", port));
    let passes = ask(as_asked, "get").await.unwrap();
    assert!(
        passes.allowed && passes.why.contains("in DNS"),
        "{passes:?}"
    );
    let denied = ask(format!("http://127.0.0.1:{port}/private/x"), "POST")
        .await
        .unwrap();
    assert_eq!((denied.allowed, denied.status), (false, 403));
    assert_eq!(denied.near[0].missing.len(), 2, "{denied:?}");
    let block = denied.suggestion.unwrap();
    assert!(
        block.contains("path = \"/private/x\"\nmethods = [\"POST\"]"),
        "{block}"
    );
    let dots = ask(format!("http://127.0.0.1:{port}/public/../x"), "")
        .await
        .unwrap();
    assert_eq!((dots.allowed, dots.status), (false, 400));
    let unknown = ask(format!("http://other.test:{port}/"), "").await.unwrap();
    assert!(!unknown.allowed && unknown.unknown, "{unknown:?}");
    for bad in [
        "x",
        "ftp://a.test/",
        "http://127.1/",
        "/nothing!",
        "https://a.test:0/",
    ] {
        assert!(ask(bad.into(), "").await.is_err(), "{bad}");
    }
    // A test counts nothing.
    assert!(world.guard.report().rules.iter().all(|r| r.hits == Some(0)));
    assert!(world.guard.inbox().denied.is_empty());

    let local = segment("127.0.0.1", port);
    for path in ["/public", "/private/a", "/private/b"] {
        world.get(&local, path).await;
    }
    world.get(&local, "/public/away").await;
    let rows = world.guard.report().rules;
    assert_eq!((rows[0].hits, rows[1].hits), (Some(0), Some(2)));
    assert!(rows[1].last_hit.is_some());
    let inbox = world.guard.inbox().denied;
    assert_eq!(inbox.len(), 2, "{inbox:?}");
    let private = inbox.iter().find(|d| !d.redirect).unwrap();
    assert_eq!(private.url, format!("http://127.0.0.1:{port}/private/"));
    assert_eq!((private.count, private.one_path), (2, false));
    assert_eq!(private.users[0].expose(), "alice");
    assert!(
        private
            .suggestion
            .as_ref()
            .unwrap()
            .contains("path = \"/private/\"\n")
    );
    let away = inbox.iter().find(|d| d.redirect).unwrap();
    assert_eq!(away.url, "http://10.0.0.1/secret");
    assert!(
        away.suggestion
            .as_ref()
            .unwrap()
            .contains("match = \"exact\"")
    );
}
