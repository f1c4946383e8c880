//! What an idle client's connection holds, in bytes asked of the allocator.
//!
//! `cargo test -p causeway-net --test loopback idle -- --nocapture` prints the figures that
//! `docs/performance.md` holds. Counted is the server's share, TLS and all: what the heap shrinks
//! by when the connection is dropped. aws-lc's own memory is the C library's and not in it.

use std::time::Duration;

use http::{Request, Response};
use http_body_util::BodyExt;
use net::http::front::{self, Limits};
use net::http::{Body, full};
use net::tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

use crate::certificates::Authority;
use crate::heap::heap;
use crate::http2;

const NAME: &str = "edge1.example.test";
const SOON: Duration = Duration::from_secs(20);

async fn answer(request: Request<Body>) -> Response<Body> {
    let body = request.into_body().collect().await.unwrap().to_bytes();
    assert!(body.is_empty());
    Response::new(full(vec![b'x'; 1024]))
}

/// The heap of one connection's server a while after a request, of whose answer at least `length`
/// bytes have come.
async fn idle(alpn: &'static [u8], said: &[u8], length: usize) -> i64 {
    let authority = Authority::new("test authority");
    let server = tls::client_facing(&authority.identity(NAME), &front::ALPN).unwrap();
    let client = tls::inside_client(Some(&authority.trust()), &[alpn]).unwrap();
    let mut held = Vec::new();
    // The first connection makes what all share.
    for _ in 0..2 {
        let (near, far) = duplex(64 * 1024);
        let (accepted, dialled) = tokio::join!(
            tls::accept_lean(server.clone(), near, SOON),
            tls::connect(client.clone(), NAME, far, SOON)
        );
        let accepted = Box::new(accepted.unwrap());
        let h2 = accepted.negotiated() == Some(b"h2");
        let stop = std::future::pending();
        let task = tokio::spawn(front::serve(accepted, h2, Limits::default(), stop, answer));
        let mut dialled = dialled.unwrap();
        dialled.write_all(said).await.unwrap();
        dialled.flush().await.unwrap();
        dialled.read_exact(&mut vec![0; length]).await.unwrap();
        // The clock stands still but for this: nothing is under way any more then.
        tokio::time::sleep(Duration::from_secs(2)).await;
        held.push((task, dialled));
    }
    let (task, _dialled) = held.pop().unwrap();
    let with = heap();
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    with - heap()
}

#[tokio::test(start_paused = true)]
async fn an_idle_http_1_connection_keeps_its_tls_session_and_no_buffer() {
    let bytes = idle(b"http/1.1", b"GET / HTTP/1.1\r\nHost: h\r\n\r\n", 1024).await;
    println!("an idle HTTP/1.1 connection: {bytes} bytes");
    assert!(bytes <= 4 * 1024, "{bytes}");
}

#[tokio::test(start_paused = true)]
async fn an_idle_http_2_connection_keeps_what_its_library_makes_at_the_start() {
    let bytes = idle(b"h2", &http2::one_request(), 1024).await;
    println!("an idle HTTP/2 connection: {bytes} bytes");
    assert!(bytes <= 40 * 1024, "{bytes}");
}
