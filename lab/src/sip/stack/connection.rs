//! Connections: dialled, accepted, read, written and lost.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use rustls_pki_types::ServerName;
use sipx_sip::{Limits, StreamParser, TransactionKey};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::door::{Binding, Door};
use super::{CONNECTIONS, DIAL_PATIENCE, Flow, Stack, WRITES_WAITING};

impl Stack {
    pub(super) fn open_flow(&self, peer: SocketAddr, secure: bool) -> Option<Flow> {
        let rows = self.rows();
        let mut open = rows.flows.values();
        open.find(|flow| flow.peer == peer && flow.secure == secure)
            .cloned()
    }

    pub(super) async fn dial(&self, peer: SocketAddr, name: Option<&str>) -> Result<Flow> {
        let socket = if peer.is_ipv4() {
            TcpSocket::new_v4()?
        } else {
            TcpSocket::new_v6()?
        };
        socket.bind((self.0.local, 0).into())?;
        let stream = socket
            .connect(peer)
            .await
            .with_context(|| format!("connecting to {peer}"))?;
        stream.set_nodelay(true)?;
        let Some(name) = name else {
            return self.adopt((stream.local_addr()?, peer), false, None, stream);
        };
        let config = self
            .0
            .dialing
            .clone()
            .context("this stack cannot dial TLS")?;
        let local = stream.local_addr()?;
        let server = ServerName::try_from(name.to_owned())?;
        let stream = TlsConnector::from(config)
            .connect(server, stream)
            .await
            .with_context(|| format!("TLS with {peer} as {name}"))?;
        self.adopt((local, peer), true, None, stream)
    }

    pub(super) fn accept(
        &self,
        stream: TcpStream,
        peer: SocketAddr,
        tls: Option<Arc<rustls::ServerConfig>>,
        door: Arc<Door>,
    ) {
        let stack = self.clone();
        self.spawn(async move {
            let Ok(local) = stream.local_addr() else {
                return;
            };
            let _ = stream.set_nodelay(true);
            let Some(config) = tls else {
                let _ = stack.adopt((local, peer), false, Some(door), stream);
                return;
            };
            let handshake = TlsAcceptor::from(config).accept(stream);
            if let Ok(Ok(stream)) = tokio::time::timeout(DIAL_PATIENCE, handshake).await {
                if !door.takes(stream.get_ref().1.peer_certificates()) {
                    stack.0.turned_away.fetch_add(1, Ordering::Relaxed);
                    return;
                }
                let _ = stack.adopt((local, peer), true, Some(door), stream);
            }
        });
    }

    /// Takes a connection in and runs it; one that came in has passed a door.
    fn adopt<S>(
        &self,
        (local, peer): (SocketAddr, SocketAddr),
        secure: bool,
        door: Option<Arc<Door>>,
        stream: S,
    ) -> Result<Flow>
    where
        S: AsyncRead + AsyncWrite + Send + 'static,
    {
        let place = Arc::clone(&self.0.room)
            .try_acquire_owned()
            .map_err(|_| anyhow!("more than {CONNECTIONS} connections"))?;
        let (out, mut writes) = mpsc::channel::<Bytes>(WRITES_WAITING);
        let id = self.0.next_flow.fetch_add(1, Ordering::Relaxed);
        let flow = Flow {
            id,
            local,
            peer,
            secure,
            dialed: door.is_none(),
            out,
            pong: Arc::default(),
        };
        self.rows().flows.insert(id, flow.clone());
        let (reader, mut writer) = tokio::io::split(stream);
        let (stack, running) = (self.clone(), flow.clone());
        let door = door.unwrap_or_default();
        self.spawn(async move {
            let _place = place;
            let write = async {
                while let Some(bytes) = writes.recv().await {
                    if writer.write_all(&bytes).await.is_err() || writer.flush().await.is_err() {
                        break;
                    }
                }
            };
            tokio::select! {
                () = write => (),
                _ = stack.read(&running, &door, reader) => (),
            }
            let _ = tokio::time::timeout(Duration::from_millis(200), writer.shutdown()).await;
            stack.lose(&running).await;
        });
        Ok(flow)
    }

    async fn read(
        &self,
        flow: &Flow,
        door: &Door,
        mut reader: impl AsyncRead + Unpin,
    ) -> Result<()> {
        let mut parser = StreamParser::new(Limits::stream());
        let mut binding = Binding::default();
        let mut buffer = vec![0; 16 * 1024];
        loop {
            let size = reader.read(&mut buffer).await?;
            if size == 0 {
                bail!("closed by the peer");
            }
            let wait = self.0.throttle.count(flow.peer.ip(), size, door);
            let mut chunk = &buffer[..size];
            if parser.pending() == 0 {
                let (answers, used) = binding.take(chunk, flow.peer)?;
                chunk = &chunk[used..];
                if std::mem::take(&mut binding.heard) > 0 {
                    flow.pong.notify_waiters();
                }
                for answer in answers {
                    let _ = flow.out.send(answer.into()).await;
                }
            }
            let messages = parser.push(chunk)?;
            self.keep_alive(flow, parser.take_keepalives()).await;
            for message in messages {
                self.receive(flow, message).await;
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// A pair of CRLF is a ping, a lone one the pong to ours.
    async fn keep_alive(&self, flow: &Flow, pairs: usize) {
        if pairs == 1 && flow.dialed {
            flow.pong.notify_waiters();
        } else if pairs >= 2 {
            let _ = flow.out.send(Bytes::from_static(b"\r\n")).await;
        }
    }

    /// Forgets a connection and ends the requests that wait for an answer by it.
    async fn lose(&self, flow: &Flow) {
        let waiting: Vec<TransactionKey> = {
            let mut rows = self.rows();
            rows.flows.remove(&flow.id);
            let of_flow = rows.clients.iter().filter(|(_, (by, _))| by.id == flow.id);
            of_flow.map(|(key, _)| key.clone()).collect()
        };
        for key in waiting {
            let outputs = self.rows().layer.on_transport_error(&key);
            self.perform(&key, flow, outputs).await;
        }
    }
}
