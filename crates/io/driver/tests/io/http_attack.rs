//! Attacks on the proxy, through edge and core and past the edge: each is refused, and the inside
//! server never hears of it.

use http::{Method, Request};
use net::lane;

use crate::http::{DOMAIN, World, encode, world};
use crate::support::SOON;

fn status(answer: &str) -> u16 {
    let status = answer.split(' ').nth(1).and_then(|s| s.parse().ok());
    status.unwrap_or(0)
}

impl World {
    fn inside_heard(&self) -> Vec<String> {
        std::mem::take(&mut *self.seen.lock().unwrap())
    }
}

/// Spellings of 127.0.0.1, which is allowed as it is written and in no other way, and of this
/// machine by other ways round.
const HOSTS: &[&str] = &[
    "localhost.",
    "127.1",
    "127.0.1",
    "127.0.0.1.",
    "127.0.0.01",
    "127.00.0.1",
    "0127.0.0.1",
    "127.0.0.0x1",
    "0x7f.0.0.1",
    "0x7f000001",
    "0X7F000001",
    "2130706433",
    "017700000001",
    "0",
    "0.0.0.0",
    "127.0.0.2",
    "127.127.127.127",
    "::1",
    "[::1]",
    "::",
    "0:0:0:0:0:0:0:1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "[::ffff:127.0.0.1]",
    "::127.0.0.1",
    "::7f00:1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "fe80::1%lo",
    "fe80::1%25lo",
    "[fe80::1%25lo]",
    "::1%lo",
    "127.0.0.1%00",
    "127.0.0.1%2e",
    "127.0.0.1\0",
    "127.0.0.1 ",
    " 127.0.0.1",
    "127.0.0.1\r\nHost: x",
    "127.0.0.1\t",
    "127.0.0.1#",
    "127.0.0.1?",
    "127.0.0.1:80",
    "127.0.0.1@10.0.0.1",
    "user@127.0.0.1",
    "user:pw@127.0.0.1",
    "127。0。0。1",
    "\u{ff11}27.0.0.1",
    "①②⑦.⓪.⓪.①",
    "ⓛocalhost",
    "localtest\u{ad}.me",
    "127,0,0,1",
    "127.0.0.1,10.0.0.1",
    "127.0.0.1\\@10.0.0.1",
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "[fd00:ec2::254]",
    "..",
    ".",
    "",
    "*",
    "-",
    "a_b",
];

#[tokio::test]
async fn no_spelling_of_an_address_gets_past_the_list_and_nothing_is_dialled() {
    let world = world().await;
    let port = world.inside.port();
    for host in HOSTS {
        let segment = encode(&format!("{DOMAIN}/http/{host}/{port}"));
        let answer = world.get(&segment, "/public").await;
        assert!(matches!(status(&answer), 403 | 404), "{host:?}: {answer}");
        assert_eq!(world.inside_heard(), [""; 0], "{host:?}");
    }
    for rest in [
        format!("http/127.0.0.1/0{port}"),
        format!("http/127.0.0.1/+{port}"),
        format!("http/127.0.0.1/{}", u32::from(port) + 65_536),
        format!("http/127.0.0.1/{port}/"),
        format!("http/127.0.0.1/{port}/public"),
        format!("HTTP/127.0.0.1/{port}"),
        format!("http:/127.0.0.1/{port}"),
        format!("http//127.0.0.1/{port}"),
        format!("https/127.0.0.1/{port}"),
        format!("ftp/127.0.0.1/{port}"),
        format!("gopher/127.0.0.1/{port}"),
        format!("unix/127.0.0.1/{port}"),
        "http/127.0.0.1".into(),
        "http/127.0.0.1/".into(),
    ] {
        let segment = encode(&format!("{DOMAIN}/{rest}"));
        let answer = world.get(&segment, "/public").await;
        assert!(matches!(status(&answer), 403 | 404), "{rest:?}: {answer}");
        assert_eq!(world.inside_heard(), [""; 0], "{rest:?}");
    }
    // The segment itself in other clothes.
    let good = world.segment();
    let (first, others) = good.split_at(1);
    let escaped = format!("%{:02x}{others}", first.as_bytes()[0]);
    for segment in [
        escaped,
        encode(&good),
        format!("{good};x"),
        format!("{good}%00"),
        format!("{good}%2f"),
    ] {
        let answer = world.get(&segment, "/public").await;
        assert!(matches!(status(&answer), 403 | 404), "{segment}: {answer}");
        assert_eq!(world.inside_heard(), [""; 0], "{segment}");
    }
}

#[tokio::test]
async fn no_spelling_of_a_path_gets_past_its_rule() {
    let world = world().await;
    let segment = world.segment();
    for path in [
        "/public/../private",
        "/public/./../private",
        "/public/%2e%2e/private",
        "/public/%2E%2e/private",
        "/public/.%2e/private",
        "/public/%2e./private",
        "/public/%2e",
        "/public/..%2fprivate",
        "/public%2f..%2fprivate",
        "/public/..%5cprivate",
        "/public/..\\private",
        "/public\\..\\private",
        "/public/..;/private",
        "/public/..;a=b/private",
        "/public/%2e%2e;/private",
        "/public/%00/../private",
        "/public%00",
        "/public/%0d%0aX:y",
        "/public/%",
        "/public/%g0",
        "/public/%u002e%u002e/private",
    ] {
        let answer = world.get(&segment, path).await;
        assert_eq!(status(&answer), 400, "{path}: {answer}");
        assert_eq!(world.inside_heard(), [""; 0], "{path}");
    }
    // What is decoded once is no dot segment: it passes as it came, or no rule takes it.
    for (path, wanted) in [
        ("/public/%252e%252e/private", 200),
        ("//public", 403),
        ("/%70ublic", 403),
        ("/PUBLIC", 403),
        ("/public;x", 403),
        ("/publicity", 403),
        ("/", 403),
    ] {
        let answer = world.get(&segment, path).await;
        assert_eq!(status(&answer), wanted, "{path}: {answer}");
        for head in world.inside_heard() {
            assert!(head.starts_with(&format!("GET {path} ")), "{path}: {head}");
        }
    }
}

#[tokio::test]
async fn a_second_request_hidden_in_a_first_reaches_nobody() {
    let world = world().await;
    let line = |method: &str| {
        format!(
            "{method} /{}/public/first HTTP/1.1\r\nHost: h\r\nCookie: X-Auth={}\r\n",
            world.segment(),
            world.token
        )
    };
    let hidden = format!(
        "GET /{}/public/hidden HTTP/1.1\r\nHost: h\r\n\r\n",
        world.segment()
    );
    let chunks = format!("0\r\n\r\n{hidden}");
    for (fields, body) in [
        (
            "Content-Length: 6\r\nTransfer-Encoding: chunked\r\n",
            chunks.as_str(),
        ),
        (
            "Transfer-Encoding: chunked\r\nContent-Length: 6\r\n",
            &chunks,
        ),
        (
            "Transfer-Encoding: xchunked\r\nContent-Length: 5\r\n",
            &chunks,
        ),
        ("Transfer-Encoding: chunked, identity\r\n", &chunks),
        (
            "Transfer-Encoding: identity\r\nContent-Length: 5\r\n",
            &chunks,
        ),
        ("Transfer-Encoding : chunked\r\n", &chunks),
        (" Transfer-Encoding: chunked\r\n", &chunks),
        ("Transfer-Encoding:\r\n chunked\r\n", &chunks),
        ("Transfer-Encoding: \"chunked\"\r\n", &chunks),
        ("Transfer\u{2011}Encoding: chunked\r\n", &chunks),
        (
            "Transfer_Encoding: chunked\r\nContent-Length: x\r\n",
            &chunks,
        ),
        ("X: y\nTransfer-Encoding: chunked\r\n", &chunks),
        ("X: y\rTransfer-Encoding: chunked\r\n", &chunks),
        ("X: y\0\r\nTransfer-Encoding: chunked\r\n", &chunks),
        ("Content-Length: 0\r\nContent-Length: 90\r\n", &hidden),
        ("Content-Length: 0, 90\r\n", &hidden),
        ("Content-Length: +0\r\n", &hidden),
        ("Content-Length: 0x0\r\n", &hidden),
        ("Content-Length: -1\r\n", &hidden),
        ("Content-Length: 0 0\r\n", &hidden),
        ("Content-Length: 18446744073709551616\r\n", &hidden),
        ("Content-Length : 0\r\n", &hidden),
        ("Transfer-Encoding: chunked\r\n", "0;a\nb\r\n\r\n"),
        ("Transfer-Encoding: chunked\r\n", "0\n\n"),
        ("Transfer-Encoding: chunked\r\n", "-1\r\n\r\n"),
        (
            "Transfer-Encoding: chunked\r\n",
            "0\r\nContent-Length: 9\r\n\r\n",
        ),
        ("Host: other\r\n", &hidden),
        ("Expect: 100-continue, x\r\n", &hidden),
    ] {
        let said = format!("{}{fields}\r\n{body}", line("POST"));
        let answer = world.say(&said).await;
        assert!(
            (400..500).contains(&status(&answer)),
            "{fields:?}: {answer}"
        );
        assert_eq!(
            answer.matches("HTTP/1.1 ").count(),
            1,
            "{fields:?}: {answer}"
        );
        let heard = world.inside_heard();
        assert!(
            heard.iter().all(|h| !h.contains("hidden")),
            "{fields:?}: {heard:?}"
        );
    }
    for first in [
        "CONNECT 127.0.0.1:80",
        "TRACE /",
        "GET http://127.0.0.1/",
        "OPTIONS *",
        "GET 127.0.0.1:80",
    ] {
        let said = format!("{first} HTTP/1.1\r\nHost: h\r\n\r\n{hidden}");
        let answer = world.say(&said).await;
        assert!(matches!(status(&answer), 400 | 405), "{first}: {answer}");
        assert_eq!(world.inside_heard(), [""; 0], "{first}");
    }
    // An upgrade is not followed: what comes behind is another request, which shows no token.
    let said = format!(
        "{}Upgrade: h2c\r\nConnection: Upgrade, close\r\n\r\n{hidden}",
        line("GET")
    );
    let answer = world.say(&said).await;
    assert_eq!(status(&answer), 200, "{answer}");
    let heard = world.inside_heard();
    assert!(
        heard.len() == 1 && !heard[0].to_lowercase().contains("upgrade"),
        "{heard:?}"
    );
}

#[tokio::test]
async fn a_hostile_edge_reaches_nothing_but_what_the_allow_list_names() {
    let world = world().await;
    let port = world.inside.port();
    let server = format!("http/127.0.0.1/{port}");
    let ask = |method: &str, path: &str, domain: &str, target: &str, cookie: &str| {
        let request = Request::builder()
            .method(method)
            .uri(format!("http://core{path}"))
            .header("causeway-client", "192.0.2.1:1")
            .header("causeway-domain", domain)
            .header("causeway-target", target)
            .header("cookie", cookie);
        request.body(lane::empty())
    };
    let token = format!("X-Auth={}", world.token);
    let good = ask("GET", "/public", DOMAIN, &server, &token).unwrap();
    assert_eq!(world.lane.send_request(good).await.unwrap().status(), 200);
    assert_eq!(world.inside_heard().len(), 1);

    let mut table = vec![
        ask("GET", "/private", DOMAIN, &server, &token),
        ask("GET", "/public/../private", DOMAIN, &server, &token),
        ask("GET", "/public/%2e%2e/private", DOMAIN, &server, &token),
        ask("PUT", "/public", DOMAIN, &server, &token),
        ask("TRACE", "/public", DOMAIN, &server, &token),
        ask("get", "/public", DOMAIN, &server, &token),
        ask("GET", "/public", "other.test", &server, &token),
        ask("GET", "/public", "", &server, &token),
        ask("GET", "/public", DOMAIN, &server, ""),
        ask("GET", "/public", DOMAIN, &server, "X-Auth=x"),
        ask("GET", "/public", DOMAIN, &server, &token[..token.len() - 2]),
        ask("GET", "/public", DOMAIN, &format!("{server}/x"), &token),
        ask(
            "GET",
            "/public",
            DOMAIN,
            &format!("https/127.0.0.1/{port}"),
            &token,
        ),
        ask("GET", "/public", DOMAIN, "", &token),
    ];
    for host in HOSTS {
        table.push(ask(
            "GET",
            "/public",
            DOMAIN,
            &format!("http/{host}/{port}"),
            &token,
        ));
    }
    for request in table {
        // What HTTP cannot say at all cannot be sent.
        let Ok(request) = request else { continue };
        let what = format!("{request:?}");
        // The node is not asked: here it never answers.
        let sent = tokio::time::timeout(SOON, world.lane.send_request(request)).await;
        if let Ok(answer) = sent.expect(&what) {
            assert!(!answer.status().is_success(), "{what}: {}", answer.status());
        }
        assert_eq!(world.inside_heard(), [""; 0], "{what}");
    }
    // A byte pipe is nothing that the HTTP lane opens.
    let mut pipe = Request::new(());
    *pipe.method_mut() = Method::CONNECT;
    *pipe.uri_mut() = format!("127.0.0.1:{port}").parse().unwrap();
    let opened = world.lane.connect(pipe).await;
    assert!(!matches!(opened, Ok(Ok(_))), "a pipe was opened");
    assert_eq!(world.inside_heard(), [""; 0]);
}
