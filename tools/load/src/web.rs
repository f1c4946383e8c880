//! One HTTPS client's connection: requests written as text, answers cut by `Content-Length` alone.
//!
//! In: a TLS stream. Out: a status, the head and how many bytes of body came. HTTP/1.1 over kept
//! connections; nothing here is shared with the product. Bounds: [`HEAD_MAX`], [`WAIT_MAX`].

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::conn::Edge;

/// The longest head of an answer.
const HEAD_MAX: usize = 64 * 1024;

/// How long a piece of an answer may take.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// A client's connection.
pub(crate) struct Client {
    stream: TlsStream<TcpStream>,
    read: Vec<u8>,
    filled: usize,
}

/// What came back.
pub(crate) struct Answer {
    /// The status.
    pub(crate) status: u16,
    /// The head, as text.
    pub(crate) head: String,
    /// Bytes of the body.
    pub(crate) bytes: u64,
}

impl Client {
    /// Connects and shakes hands.
    pub(crate) async fn open(edge: &Edge) -> Result<Client> {
        let opened = async {
            let tcp = TcpStream::connect(edge.address).await?;
            tcp.set_nodelay(true)?;
            let connector = TlsConnector::from(edge.tls.clone());
            let stream = connector.connect(edge.name.clone(), tcp).await?;
            anyhow::Ok(Client {
                stream,
                read: Vec::new(),
                filled: 0,
            })
        };
        let opened = tokio::time::timeout(WAIT_MAX, opened).await;
        opened.context("no handshake in time")?
    }

    /// Says goodbye, as TLS wants it.
    pub(crate) async fn close(mut self) {
        // The other side may be gone already.
        let _ = self.stream.shutdown().await;
    }

    /// Writes a request and reads its answer to the end; the body is thrown away.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> Result<Answer> {
        self.stream.write_all(request).await?;
        self.stream.flush().await?;
        let (head, length) = loop {
            if let Some(end) = find(self.read.get(..self.filled).unwrap_or_default()) {
                let head = String::from_utf8_lossy(self.read.get(..end).unwrap_or_default());
                let head = head.into_owned();
                let length = field(&head, "content-length").and_then(|v| v.parse::<u64>().ok());
                let length = length.context("an answer without Content-Length")?;
                self.filled -= end;
                break (head, length);
            }
            if self.filled >= HEAD_MAX {
                bail!("a head of more than {HEAD_MAX} bytes");
            }
            self.fill().await?;
        };
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok());
        let status = status.context("no status line")?;
        // Whatever came behind the head is body: nothing is asked before the answer is read.
        let mut left = length.saturating_sub(self.filled as u64);
        self.filled = 0;
        while left > 0 {
            self.fill().await?;
            left = left.saturating_sub(self.filled as u64);
            self.filled = 0;
        }
        Ok(Answer {
            status,
            head,
            bytes: length,
        })
    }

    async fn fill(&mut self) -> Result<()> {
        if self.read.is_empty() {
            self.read.resize(HEAD_MAX, 0);
        }
        let room = self.read.get_mut(self.filled..).unwrap_or_default();
        let read = tokio::time::timeout(WAIT_MAX, self.stream.read(room)).await;
        match read.context("no answer in time")?? {
            0 => bail!("the connection was closed"),
            n => self.filled += n,
        }
        Ok(())
    }

    /// Gives the read buffer back, for connections that are to cost this tool little.
    pub(crate) fn rest(&mut self) {
        self.read = Vec::new();
    }
}

fn find(bytes: &[u8]) -> Option<usize> {
    let at = bytes.windows(4).position(|w| w == b"\r\n\r\n")?;
    Some(at + 4)
}

/// A field of a head.
pub(crate) fn field<'h>(head: &'h str, name: &str) -> Option<&'h str> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(n, _)| n.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.trim())
}

/// The first segment of a path: a domain and, on the proxy lane, an inside server.
pub(crate) fn segment(text: &str) -> String {
    URL_SAFE_NO_PAD.encode(text)
}

/// A request for a path, with further lines of head.
pub(crate) fn get(name: &str, path: &str, lines: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {name}\r\nAccept: */*\r\n{lines}\r\n").into_bytes()
}

/// Signs a user in at our edge, for at most 30 s; gives the `Cookie` line of its session.
///
/// # Errors
/// The edge's last word.
pub(crate) async fn sign_in(edge: &Edge, name: &str, domain: &str, user: &str) -> Result<String> {
    let basic = STANDARD.encode(format!("{user}:secret-{user}"));
    let path = format!("/{}/get_edge_config", segment(domain));
    let request = get(name, &path, &format!("Authorization: Basic {basic}\r\n"));
    let until = Instant::now() + Duration::from_secs(30);
    loop {
        let asked = async { Client::open(edge).await?.ask(&request).await }.await;
        let why = match asked {
            Ok(answer) if answer.status == 200 => {
                let cookie = field(&answer.head, "set-cookie").context("no session cookie")?;
                let pair = cookie.split(';').next().unwrap_or_default();
                return Ok(format!("Cookie: {pair}\r\n"));
            }
            Ok(answer) => format!("status {}", answer.status),
            Err(why) => why.to_string(),
        };
        if Instant::now() > until {
            bail!("no sign-in at our edge: {why}");
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_cut_and_read() {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n";
        assert_eq!(find(format!("{head}abc").as_bytes()), Some(head.len()));
        assert_eq!(field(head, "content-length"), Some("3"));
        assert_eq!(segment("example.com"), "ZXhhbXBsZS5jb20");
    }
}
