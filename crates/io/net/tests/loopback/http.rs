//! The front door for strangers, and requests to inside servers.

use std::sync::Arc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt;
use net::http::front::{self, Ended, Limits, Times};
use net::http::inside::{Inside, Target, TargetTls};
use net::http::{Body, BodyFault, Pace, empty, full};
use net::{Error, Fault, tls};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::certificates::Authority;

/// Answers with what it was asked.
async fn echo(mut request: Request<Body>) -> Response<Body> {
    let body = match request.body_mut().collect().await {
        Ok(body) => body.to_bytes(),
        Err(e) => {
            let mut refused = Response::new(empty());
            *refused.status_mut() = match e.downcast_ref::<BodyFault>() {
                Some(BodyFault::TooLarge) => StatusCode::PAYLOAD_TOO_LARGE,
                _ => StatusCode::REQUEST_TIMEOUT,
            };
            return refused;
        }
    };
    let said = format!(
        "{} {} {}",
        request.method(),
        request.uri().path(),
        body.len()
    );
    Response::new(full(said))
}

fn start(h2: bool, limits: Limits) -> (DuplexStream, JoinHandle<Result<Ended, Error>>) {
    let (client, server) = duplex(64 * 1024);
    let task = tokio::spawn(front::serve(
        server,
        h2,
        limits,
        std::future::pending(),
        echo,
    ));
    (client, task)
}

async fn say(bytes: &str) -> (String, Result<Ended, Error>) {
    let (mut client, task) = start(false, Limits::default());
    client.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    (answer, task.await.unwrap())
}

#[tokio::test]
async fn good_requests_are_answered_on_one_connection() {
    let (answer, ended) = say(
        "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\n\r\nhello\
        GET /b HTTP/1.1\r\nHost: h\r\n\r\n\
        GET /c HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n",
    )
    .await;
    for said in ["POST /a 5", "GET /b 0", "GET /c 0"] {
        assert!(answer.contains(said), "{answer}");
    }
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 3);
    assert!(matches!(ended, Ok(Ended::Quietly)));
}

#[tokio::test]
async fn a_violation_is_answered_after_what_came_before_it_and_closes() {
    let (answer, ended) = say("GET /a HTTP/1.1\r\nHost: h\r\n\r\n\
        POST /b HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n\
        GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n")
    .await;
    assert!(answer.contains("GET /a 0"), "{answer}");
    assert!(answer.contains("HTTP/1.1 400 Bad Request\r\nServer: CE_E\r\nConnection: close"));
    assert!(!answer.contains("smuggled"));
    match ended {
        Ok(Ended::Violation(v)) => assert_eq!((v.status, v.cause.contains("both")), (400, true)),
        other => panic!("{other:?}"),
    }
    let (answer, _) = say("CONNECT inside:443 HTTP/1.1\r\nHost: h\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 405 "), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_reads_is_never_taken_for_a_request() {
    let hidden = "GET /smuggled HTTP/1.1\r\nHost: h\r\n\r\n";
    let size = hidden.len();
    let post = |field: &str| format!("POST /early HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n");
    let plain = (post(&format!("Content-Length: {size}")), hidden.to_owned());
    let chunked = (
        post("Transfer-Encoding: chunked") + "1\r\nx\r\n",
        format!("{size:x}\r\n{hidden}\r\n0\r\n\r\n"),
    );
    for (head, body) in [plain, chunked] {
        for (kept, at_once) in [(true, true), (true, false), (false, true), (false, false)] {
            let (mut client, server) = duplex(64 * 1024);
            let service = move |request: Request<Body>| async move {
                let said = request.uri().path().to_owned();
                if kept && said == "/early" {
                    // Answered before its body was read, which somebody still has.
                    tokio::spawn(async move {
                        let _body = request.into_body();
                        std::future::pending::<()>().await;
                    });
                }
                Response::new(full(said))
            };
            let stop = std::future::pending();
            tokio::spawn(front::serve(
                server,
                false,
                Limits::default(),
                stop,
                service,
            ));
            if at_once {
                let all = format!("{head}{body}");
                client.write_all(all.as_bytes()).await.unwrap();
            } else {
                client.write_all(head.as_bytes()).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
                // The edge may have closed the connection, for the body that nobody reads.
                let _ = client.write_all(body.as_bytes()).await;
            }
            let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
            let reading = async {
                while let Ok(n @ 1..) = client.read(&mut piece).await {
                    answer.extend_from_slice(&piece[..n]);
                }
            };
            let _ = tokio::time::timeout(Duration::from_secs(5), reading).await;
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.contains("/early"), "{answer}");
            // No other answer: neither of the hidden request nor of a fault in it.
            let answers = answer.matches("HTTP/1.1 ").count();
            assert_eq!(answers, 1, "{kept} {at_once}: {answer}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn slow_heads_slow_bodies_and_idle_connections_are_cut_off() {
    let limits = Limits::default();
    let begun = tokio::time::Instant::now();
    let (mut client, task) = start(false, limits);
    let dripping = tokio::spawn(async move {
        for _ in 0..100 {
            if client.write_all(b"G").await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        answer
    });
    assert!(matches!(task.await.unwrap(), Ok(Ended::Violation(v)) if v.status == 408));
    assert!(
        begun.elapsed() <= Duration::from_secs(12),
        "{:?}",
        begun.elapsed()
    );
    assert!(dripping.await.unwrap().starts_with("HTTP/1.1 408"));

    let begun = tokio::time::Instant::now();
    let (mut client, task) = start(false, limits);
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n")
        .await
        .unwrap();
    let dripping = tokio::spawn(async move {
        for _ in 0..100 {
            if client.write_all(b"x").await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
        let mut answer = String::new();
        let _ = client.read_to_string(&mut answer).await;
        answer
    });
    let _ = task.await.unwrap();
    assert!(
        begun.elapsed() <= Duration::from_secs(20),
        "{:?}",
        begun.elapsed()
    );
    assert!(dripping.await.unwrap().starts_with("HTTP/1.1 408"));

    let begun = tokio::time::Instant::now();
    let (mut client, task) = start(false, limits);
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("GET / 0") && matches!(task.await.unwrap(), Ok(Ended::Quietly)));
    assert!(
        begun.elapsed() <= Duration::from_secs(35),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_takes_its_time_is_not_taken_for_an_idle_connection() {
    let (mut client, server) = duplex(64 * 1024);
    let times = Times {
        idle: Duration::from_secs(1),
        ..Times::default()
    };
    let slow = |_| async {
        tokio::time::sleep(Duration::from_secs(20)).await;
        Response::new(full("at last"))
    };
    let limits = Limits {
        times,
        pace: Pace::default(),
    };
    tokio::spawn(front::serve(
        server,
        false,
        limits,
        std::future::pending(),
        slow,
    ));
    client
        .write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n")
        .await
        .unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("at last"), "{answer}");
}

#[tokio::test]
async fn http_2_clients_are_served_and_judged_alike() {
    use hyper::client::conn::http2;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let (client, _task) = start(true, Limits::default());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(client))
        .await
        .unwrap();
    tokio::spawn(connection);
    let ask = |path: &str, host: Option<&str>| {
        let mut request = Request::post(format!("https://edge1:8443{path}"));
        if let Some(host) = host {
            request = request.header("host", host);
        }
        request.body(full("hello")).unwrap()
    };
    let answer = sender.send_request(ask("/a", None)).await.unwrap();
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(&body[..], b"POST /a 5");
    let refused = sender.send_request(ask("/a", Some("other"))).await.unwrap();
    assert_eq!(refused.status(), 400);
    let mut trace = ask("/a", None);
    *trace.method_mut() = http::Method::TRACE;
    assert_eq!(sender.send_request(trace).await.unwrap().status(), 405);
}

/// The client's preface, an empty SETTINGS frame, and the acknowledgement of ours.
const PREFACE: &[u8] =
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0";

#[tokio::test(start_paused = true)]
async fn http_2_clients_that_ask_for_nothing_lose_their_connection() {
    // GET https://h/ in HPACK: the static table, and `:authority: h`.
    let get = b"\0\0\x06\x01\x05\0\0\0\x01\x82\x87\x84\x41\x01h";
    let asked = [PREFACE, get].concat();
    for (said, seconds) in [
        (&b""[..], 11),
        (&PREFACE[..9], 11),
        (PREFACE, 11),
        (&asked, 70),
    ] {
        let begun = tokio::time::Instant::now();
        let (mut client, task) = start(true, Limits::default());
        client.write_all(said).await.unwrap();
        // It takes what comes and answers nothing, no PING either.
        let mut taken = Vec::new();
        let _ = client.read_to_end(&mut taken).await;
        let ended = task.await.unwrap();
        let took = begun.elapsed();
        assert!(
            took <= Duration::from_secs(seconds),
            "{said:?}: {took:?} {ended:?}"
        );
        let answered = taken.windows(5).any(|w| w == b"GET /");
        assert_eq!(answered, said.len() > PREFACE.len());
    }
}

#[tokio::test(start_paused = true)]
async fn an_http_2_client_that_idles_is_sent_away_and_cut_off_if_it_stays() {
    use hyper::client::conn::http2;
    use hyper_util::rt::{TokioExecutor, TokioIo};
    let begun = tokio::time::Instant::now();
    let (client, task) = start(true, Limits::default());
    let (mut sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(client))
        .await
        .unwrap();
    tokio::spawn(connection);
    let request = Request::post("https://h/a").body(full("hello")).unwrap();
    let answer = sender.send_request(request).await.unwrap();
    assert_eq!(
        answer.into_body().collect().await.unwrap().to_bytes(),
        "POST /a 5"
    );
    let _ = task.await.unwrap();
    assert!(
        begun.elapsed() <= Duration::from_secs(70),
        "{:?}",
        begun.elapsed()
    );
}

#[tokio::test]
async fn a_body_that_breaks_the_framing_is_answered_once() {
    let chunked = "POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (answer, ended) = say(&format!("{chunked}3\r\nabc\r\nzz\r\n")).await;
    assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{answer}");
    assert!(matches!(ended, Ok(Ended::Violation(v)) if v.status == 400));
}

#[tokio::test]
async fn a_stop_answers_what_is_under_way_and_closes() {
    let (mut client, server) = duplex(64 * 1024);
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let until = async {
        let _ = stopped.await;
    };
    let (begun, mut begins) = tokio::sync::mpsc::unbounded_channel();
    let service = move |request| {
        begun.send(()).unwrap();
        echo(request)
    };
    let task = tokio::spawn(front::serve(
        server,
        false,
        Limits::default(),
        until,
        service,
    ));
    client
        .write_all(b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nx")
        .await
        .unwrap();
    begins.recv().await.unwrap();
    stop.send(()).unwrap();
    client.write_all(b"y").await.unwrap();
    let mut answer = String::new();
    client.read_to_string(&mut answer).await.unwrap();
    assert!(answer.contains("POST / 2"), "{answer}");
    assert!(matches!(task.await.unwrap(), Ok(Ended::Quietly)));
}

/// An inside server that answers each connection by `script`: what it says to each request.
async fn server(tls: Option<Arc<rustls::ServerConfig>>, script: &'static [&'static str]) -> Target {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut nth = 0;
        while let Ok((stream, _)) = listener.accept().await {
            nth += 1;
            match tls.clone() {
                None => drop(tokio::spawn(play(stream, nth, script))),
                Some(config) => {
                    if let Ok(stream) = tls::accept(config, stream, Duration::from_secs(5)).await {
                        tokio::spawn(play(stream, nth, script));
                    }
                }
            }
        }
    });
    Target {
        address,
        others: Vec::new(),
        tls: None,
        client: None,
    }
}

async fn play<S>(mut stream: S, nth: usize, script: &'static [&'static str])
where
    S: AsyncReadExt + AsyncWriteExt + Unpin,
{
    for answer in script {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => head.push(byte),
                Err(_) => return,
            }
        }
        let answer = answer.replace("NTH", &nth.to_string());
        let _ = stream.write_all(answer.as_bytes()).await;
        let _ = stream.flush().await;
    }
    let _ = stream.shutdown().await;
}

fn get() -> Request<Body> {
    Request::get("/x")
        .header("host", "web.example.test")
        .body(empty())
        .unwrap()
}

async fn text(response: Result<Response<Body>, Error>) -> String {
    let body = response
        .unwrap()
        .into_body()
        .collect()
        .await
        .unwrap()
        .to_bytes();
    String::from_utf8(body.to_vec()).unwrap()
}

#[tokio::test]
async fn inside_connections_are_kept_and_a_dead_one_is_replaced() {
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nNTH";
    let target = server(None, &[OK, OK]).await;
    let inside = Inside::default();
    assert_eq!(text(inside.send(&target, get()).await).await, "1");
    // The body's end hands the connection back in another task.
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
    let second = text(inside.send(&target, get()).await).await;
    assert!(second == "1" || second == "2", "{second}");
    // The first connection has said all it had to say; whatever is left of it is not used up.
    assert_eq!(text(inside.send(&target, get()).await).await, "2");
}

#[tokio::test]
async fn bad_answers_from_inside_are_faults_and_not_passed_on() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx",
        "SSH-2.0-OpenSSH\r\n\r\n",
        "",
    ] {
        let target = server(None, Box::leak(Box::new([answer]))).await;
        let refused = Inside::default().send(&target, get()).await;
        assert!(matches!(refused, Err(Error::Http(_))), "{answer}");
    }
    let huge = format!("HTTP/1.1 200 OK\r\nX: {}\r\n\r\n", "a".repeat(300_000));
    let target = server(
        None,
        Box::leak(Box::new([&*Box::leak(huge.into_boxed_str())])),
    )
    .await;
    assert!(Inside::default().send(&target, get()).await.is_err());
}

#[tokio::test]
async fn an_inside_certificate_is_checked_unless_an_administrator_says_not() {
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let (ours, theirs) = (Authority::new("ours"), Authority::new("theirs"));
    let config = tls::client_facing(&theirs.identity("cucm1.example.test"), &[]).unwrap();
    let target = server(Some(config), &[OK]).await;
    let with = |trust: Option<&tls::Trust>, name: &str| Target {
        address: target.address,
        others: Vec::new(),
        tls: Some(TargetTls {
            name: name.into(),
            config: tls::inside_client(trust, &[]).unwrap(),
        }),
        client: None,
    };
    let inside = Inside::default();
    let good = with(Some(&theirs.trust()), "cucm1.example.test");
    assert_eq!(text(inside.send(&good, get()).await).await, "ok");
    let unchecked = with(None, "other.example.test");
    assert_eq!(text(inside.send(&unchecked, get()).await).await, "ok");
    for (trust, name) in [
        (ours.trust(), "cucm1.example.test"),
        (theirs.trust(), "cucm2.test"),
    ] {
        match inside.send(&with(Some(&trust), name), get()).await {
            Err(Error::Handshake { fault, cause, .. }) => {
                assert!(
                    matches!(fault, Fault::Untrusted | Fault::NameMismatch),
                    "{fault:?}"
                );
                let why = match fault {
                    Fault::Untrusted => "its authority is not trusted",
                    _ => "cucm2.test is no name of it",
                };
                // Whose it is, and who must be trusted for it.
                for part in [why, "for cucm1.example.test, issued by ", "SHA-256 "] {
                    assert!(cause.contains(part), "{part}: {cause}");
                }
            }
            other => panic!("{:?}", other.map(|r| r.status())),
        }
    }
}

#[tokio::test]
async fn a_server_that_asks_for_proxy_v2_is_told_the_client_on_each_connection() {
    let listening = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listening.local_addr().unwrap();
    let target = Target {
        address,
        others: Vec::new(),
        tls: None,
        client: Some("192.0.2.7:4242".parse().unwrap()),
    };
    let inside = Inside::default();
    for _ in 0..2 {
        let serving = async {
            let (mut stream, _) = listening.accept().await.unwrap();
            let mut header = [0; 28];
            stream.read_exact(&mut header).await.unwrap();
            assert_eq!(header[12..20], [0x21, 0x11, 0, 12, 192, 0, 2, 7]);
            assert_eq!(header[24..26], 4242u16.to_be_bytes());
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.unwrap());
            }
            let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
            stream.write_all(answer).await.unwrap();
            stream
        };
        let asking = async { text(inside.send(&target, get()).await).await };
        let (_stream, said) = tokio::join!(serving, asking);
        assert_eq!(said, "ok");
    }
}

#[tokio::test]
async fn an_address_that_is_not_there_is_passed_over_and_tried_last_the_next_time() {
    const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
    let there = server(None, &[OK, OK]).await;
    // Nobody listens at an address whose listener is gone.
    let gone = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let nobody = gone.local_addr().unwrap();
    drop(gone);
    let target = Target {
        address: nobody,
        others: vec![there.address],
        ..there.clone()
    };
    let inside = Inside::default();
    assert_eq!(text(inside.send(&target, get()).await).await, "ok");
    // Somebody is there by now, and is not asked while the other answers.
    let back = tokio::net::TcpListener::bind(nobody).await.unwrap();
    assert_eq!(text(inside.send(&target, get()).await).await, "ok");
    let asked = std::future::poll_fn(|cx| std::task::Poll::Ready(back.poll_accept(cx).is_ready()));
    assert!(!asked.await);
    let nowhere = Target {
        address: "127.0.0.1:1".parse().unwrap(),
        ..there
    };
    assert!(Inside::default().send(&nowhere, get()).await.is_err());
}
