//! A large download through edge and core, and small requests beside it.

use net::tls;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::heap::{heap, most, watch};
use crate::http::{World, world};
use crate::support::SOON;

/// What is downloaded before its client stops reading.
const LARGE: usize = 48 * 1024 * 1024;

/// Small requests beside it, half before its client stops and half after.
const SMALL: usize = 1_000;

/// The most that edge, core, the inside server and the pipe between them may take for all of it:
/// the window of a lane's stream and what may be sent of one connection wait on either side of the
/// pipe, a quarter of a MiB each; the rest is what is on its way in a turn.
const ROOM: i64 = 2 * 1024 * 1024;

/// What a client needs to know, on a thread of its own.
struct Outside {
    trust: tls::Trust,
    edge: std::net::SocketAddr,
    large: String,
    small: String,
}

impl Outside {
    async fn connect(&self) -> tls::Stream<TcpStream> {
        let client = tls::inside_client(Some(&self.trust), &[b"http/1.1"]).unwrap();
        let stream = TcpStream::connect(self.edge).await.unwrap();
        tls::connect(client, "edge1.example.test", stream, SOON)
            .await
            .unwrap()
    }

    /// Downloads, asks for small things meanwhile, stops reading, and asks for more of them.
    async fn run(self) {
        let mut large = self.connect().await;
        large.write_all(self.large.as_bytes()).await.unwrap();
        let downloading = async {
            let mut piece = vec![0; 64 * 1024];
            let mut read = 0;
            while read < LARGE {
                let n = tokio::time::timeout(SOON, large.read(&mut piece)).await;
                read += n.unwrap().unwrap();
            }
        };
        tokio::join!(downloading, self.ask());
        self.ask().await;
        drop(large);
    }

    /// Half of the small requests, on one connection.
    async fn ask(&self) {
        let mut stream = self.connect().await;
        for _ in 0..SMALL / 2 {
            stream.write_all(self.small.as_bytes()).await.unwrap();
            let (mut answer, mut piece) = (Vec::new(), [0; 4096]);
            while !answer.ends_with(b"inside /public 0") {
                let n = tokio::time::timeout(SOON, stream.read(&mut piece)).await;
                let n = n.unwrap().unwrap();
                assert!(n > 0, "{}", String::from_utf8_lossy(&answer));
                answer.extend_from_slice(&piece[..n]);
            }
            assert!(answer.starts_with(b"HTTP/1.1 200 "));
        }
    }
}

fn request(world: &World, path: &str) -> String {
    format!(
        "GET /{}{path} HTTP/1.1\r\nHost: h\r\nCookie: X-Auth={}\r\n\r\n",
        world.segment(),
        world.token
    )
}

#[tokio::test]
async fn a_download_takes_no_more_than_its_windows_and_small_requests_go_on_beside_it() {
    let world = world().await;
    let outside = Outside {
        trust: world.ca.trust(),
        edge: world.edge,
        large: request(&world, "/public/endless"),
        small: request(&world, "/public"),
    };
    let before = heap();
    watch();
    // Its heap is not counted: this thread has edge, core and the inside server.
    let outside = tokio::task::spawn_blocking(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(outside.run());
    });
    outside.await.unwrap();
    let (more, left) = (most() - before, heap() - before);
    println!("{more} bytes more at the most, {left} at the end");
    assert!(more <= ROOM, "{more}");
}
