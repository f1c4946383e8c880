//! One client's connection: bytes to messages and back.
//!
//! In: a TLS stream. Out: whole messages, cut by blank line and Content-Length alone; keep-alives
//! are skipped. Nothing here is shared with the product. Bounds: [`MESSAGE_MAX`], [`WAIT_MAX`].

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use rustls::ClientConfig;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

/// The longest message read.
const MESSAGE_MAX: usize = 64 * 1024;

/// How long an answer may take.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// Where to connect, and what to believe.
#[derive(Clone)]
pub(crate) struct Edge {
    /// The edge's address.
    pub(crate) address: SocketAddr,
    /// The name its certificate must show.
    pub(crate) name: ServerName<'static>,
    /// Trust.
    pub(crate) tls: Arc<ClientConfig>,
}

/// A client's connection.
pub(crate) struct Conn {
    stream: TlsStream<TcpStream>,
    read: Vec<u8>,
    /// Our end.
    pub(crate) local: SocketAddr,
    /// The number of the user behind it.
    pub(crate) user: usize,
    /// The next CSeq.
    pub(crate) cseq: u32,
}

impl Conn {
    /// Connects and shakes hands.
    pub(crate) async fn open(edge: &Edge, user: usize) -> Result<Conn> {
        let opened = async {
            let tcp = TcpStream::connect(edge.address).await?;
            tcp.set_nodelay(true)?;
            let local = tcp.local_addr()?;
            let connector = TlsConnector::from(edge.tls.clone());
            let stream = connector.connect(edge.name.clone(), tcp).await?;
            anyhow::Ok(Conn {
                stream,
                read: Vec::new(),
                local,
                user,
                cseq: 1,
            })
        };
        let opened = tokio::time::timeout(WAIT_MAX, opened).await;
        opened.context("no handshake in time")?
    }

    /// Writes a message.
    pub(crate) async fn send(&mut self, text: &str) -> Result<()> {
        self.stream.write_all(text.as_bytes()).await?;
        self.stream.flush().await?;
        Ok(())
    }

    /// The next message.
    pub(crate) async fn receive(&mut self) -> Result<Message> {
        match tokio::time::timeout(WAIT_MAX, self.next()).await {
            Ok(message) => message,
            Err(_) => bail!("no answer in {} s", WAIT_MAX.as_secs()),
        }
    }

    /// The final answer; what is provisional is skipped.
    pub(crate) async fn answer(&mut self, wanted: u16) -> Result<Message> {
        loop {
            let message = self.receive().await?;
            match message.status {
                Some(100..=199) => {}
                Some(status) if status == wanted => return Ok(message),
                _ => bail!("{wanted} was awaited, there came {}", message.first_line()),
            }
        }
    }

    /// Waits for a final answer that comes too early to be a good one, or for none.
    pub(crate) async fn refusal(&mut self) -> anyhow::Error {
        loop {
            match self.receive().await {
                Err(why) => return why,
                Ok(message) if matches!(message.status, Some(100..=199)) => {}
                Ok(message) => return anyhow::anyhow!("there came {}", message.first_line()),
            }
        }
    }

    /// The next request, which must be of that method.
    pub(crate) async fn request(&mut self, method: &str) -> Result<Message> {
        let message = self.receive().await?;
        if message.status.is_some() || !message.text.starts_with(method) {
            bail!("{method} was awaited, there came {}", message.first_line());
        }
        Ok(message)
    }

    async fn next(&mut self) -> Result<Message> {
        loop {
            if let Some(message) = self.cut()? {
                return Ok(message);
            }
            if self.read.len() > MESSAGE_MAX {
                bail!("a message without an end");
            }
            if self.stream.read_buf(&mut self.read).await? == 0 {
                bail!("closed by the edge");
            }
        }
    }

    fn cut(&mut self) -> Result<Option<Message>> {
        let blank = self.read.iter().take_while(|b| b"\r\n".contains(b)).count();
        self.read.drain(..blank);
        let Some(head) = self.read.windows(4).position(|w| w == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = std::str::from_utf8(self.read.get(..head + 2).unwrap_or_default())?;
        let length = value(text, "Content-Length").or_else(|| value(text, "l"));
        let end = head + 4 + length.map_or(Ok(0), str::parse::<usize>)?;
        if self.read.len() < end {
            return Ok(None);
        }
        let text = String::from_utf8(self.read.drain(..end).collect())?;
        let status = text
            .strip_prefix("SIP/2.0 ")
            .and_then(|rest| rest.get(..3)?.parse().ok());
        Ok(Some(Message { text, status }))
    }
}

/// A message that came.
pub(crate) struct Message {
    /// All of it.
    pub(crate) text: String,
    /// The status, if it is a response.
    pub(crate) status: Option<u16>,
}

impl Message {
    /// The first field of a name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        value(&self.text, name)
    }

    /// All fields of a name, in order.
    pub(crate) fn headers<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        lines(&self.text).filter_map(move |line| field(line, name))
    }

    /// The URI between angle brackets of the first Contact.
    pub(crate) fn contact(&self) -> Option<&str> {
        let value = self.header("Contact").or_else(|| self.header("m"))?;
        match value.split_once('<') {
            Some((_, rest)) => rest.split('>').next(),
            None => value.split(';').next(),
        }
    }

    /// For errors.
    pub(crate) fn first_line(&self) -> &str {
        self.text.lines().next().unwrap_or_default()
    }
}

fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.split("\r\n").take_while(|line| !line.is_empty())
}

fn value<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    lines(text).find_map(|line| field(line, name))
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    let (found, value) = line.split_at_checked(name.len())?;
    let value = value.trim_start().strip_prefix(':')?;
    found.eq_ignore_ascii_case(name).then(|| value.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn field_is_found_whatever_its_case() {
        let text = "SIP/2.0 200 OK\r\nVia: a\r\nCONTACT : <sip:b@c;x=y>;z\r\nl: 0\r\n\r\n";
        let message = Message {
            text: text.to_owned(),
            status: Some(200),
        };
        assert_eq!(message.header("via"), Some("a"));
        assert_eq!(message.contact(), Some("sip:b@c;x=y"));
        assert_eq!(message.header("To"), None);
    }
}
