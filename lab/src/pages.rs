//! Two web servers inside: one that the core's allow list names, one that it does not.
//!
//! The second counts every connection that reaches it, and tells how many at `/count`; connections
//! that ask for `/count` are not counted. Nothing through the product may raise it.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

use crate::web::{self, Answer, Request};

const HEAD_MAX: usize = 8192;
const PATIENCE: Duration = Duration::from_secs(2);

/// The page that the allow list names.
pub const PAGE: &str = "<!DOCTYPE html><html><head><title>Inside</title></head><body>\
    <h1>A page inside</h1><p>The core's allow list names it.</p></body></html>\n";

/// The server with a page for everybody.
///
/// # Errors
/// If the address is taken.
pub async fn start_allowed(address: SocketAddr) -> io::Result<SocketAddr> {
    let answer = |request: Request| async move {
        match request.path.as_str() {
            "/" | "/index.html" => Answer::new(200, "text/html;charset=utf-8", PAGE),
            _ => Answer::empty(404),
        }
    };
    web::serve(address, None, answer).await
}

/// The server that nothing may reach.
///
/// # Errors
/// If the address is taken.
pub async fn start_forbidden(address: SocketAddr) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind(address).await?;
    let bound = listener.local_addr()?;
    let count = Arc::new(AtomicU64::new(0));
    tokio::spawn(async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    tokio::spawn(visit(stream, count.clone()));
                }
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    });
    Ok(bound)
}

/// One connection. It counts unless it asks for the count: also when it says nothing at all.
async fn visit(mut stream: TcpStream, count: Arc<AtomicU64>) {
    let head = timeout(PATIENCE, head(&mut stream))
        .await
        .unwrap_or_default();
    let body = if head.starts_with(b"GET /count ") {
        format!("{}\n", count.load(Ordering::SeqCst))
    } else {
        count.fetch_add(1, Ordering::SeqCst);
        "You should not be here.\n".to_owned()
    };
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    );
    let _ = timeout(PATIENCE, stream.write_all(answer.as_bytes())).await;
}

/// Bytes up to the end of a request's head, of the connection, or 8 KiB.
async fn head(stream: &mut TcpStream) -> Vec<u8> {
    let (mut head, mut chunk) = (Vec::new(), [0; 1024]);
    while head.len() < HEAD_MAX && !head.windows(4).any(|w| w == b"\r\n\r\n") {
        match stream.read(&mut chunk).await {
            Ok(0) | Err(_) => break,
            Ok(size) => head.extend_from_slice(&chunk[..size]),
        }
    }
    head
}
