//! The core's side: checks the pinned host key, proves its own, asks for the one forward.

use std::sync::Arc;

use russh::client::{AuthResult, ChannelOpenHandle, Config, Handle, Handler, Msg, Session};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, ChannelOpenFailure};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{mpsc, oneshot};

use super::keys::{Key, PublicKey};
use super::tunnel::{self, Tunnel};
use super::{FORWARD_HOST, FORWARD_PORT, TUNNELS_MAX, USER};
use crate::Error;

const CHECK_LINK: &str = "check that the control link to this edge is up: both sides learn one \
                          another's SSH keys over it";

/// Makes a session over `stream`: the edge must show `host_key`, we show `key`.
///
/// # Errors
/// [`Error::Ssh`], [`Error::Timeout`].
pub async fn dial<S>(stream: S, key: &Key, host_key: &PublicKey) -> Result<Dialled, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::time::timeout(super::SIGN_IN, sign_in(stream, key, host_key))
        .await
        .unwrap_or(Err(Error::Timeout {
            what: "signing in over SSH",
            seconds: super::SIGN_IN.as_secs(),
        }))
}

async fn sign_in<S>(stream: S, key: &Key, host_key: &PublicKey) -> Result<Dialled, Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let config = Config {
        client_id: super::id(),
        window_size: super::WINDOW_BYTES,
        maximum_packet_size: super::PACKET_BYTES_MAX,
        preferred: super::algorithms(),
        inactivity_timeout: None,
        keepalive_interval: Some(super::KEEP_ALIVE_AFTER),
        keepalive_max: super::KEEP_ALIVES_MAX,
        nodelay: true,
        ..Config::default()
    };
    let (stream, rope) = super::Roped::new(stream);
    let (queue, tunnels) = mpsc::channel(TUNNELS_MAX);
    let gate = Gate {
        host_key: host_key.clone(),
        queue,
    };
    let mut session = russh::client::connect_stream(Arc::new(config), stream, gate)
        .await
        .map_err(|e| match e {
            russh::Error::UnknownKey => {
                failed("the edge shows another host key than the pinned one")
            }
            e => failed(&e.to_string()),
        })?;
    let ours = PrivateKeyWithHashAlg::new(key.private(), None);
    match session.authenticate_publickey(USER, ours).await {
        Ok(AuthResult::Success) => {}
        Ok(AuthResult::Failure { .. }) => return Err(failed("the edge does not take our key")),
        Err(e) => return Err(failed(&e.to_string())),
    }
    session
        .tcpip_forward(FORWARD_HOST, FORWARD_PORT)
        .await
        .map_err(|e| failed(&format!("the edge refused the forward: {e}")))?;
    Ok(Dialled {
        session,
        tunnels,
        _rope: rope,
    })
}

fn failed(cause: &str) -> Error {
    Error::Ssh {
        cause: cause.to_owned(),
        fix: CHECK_LINK,
    }
}

/// A session whose forward stands. Dropping it closes the connection.
pub struct Dialled {
    session: Handle<Gate>,
    tunnels: mpsc::Receiver<Tunnel>,
    _rope: oneshot::Sender<()>,
}

impl Dialled {
    /// The next tunnel the edge opens; why the session ended, when it has.
    ///
    /// # Errors
    /// The reason, for people.
    pub async fn next(&mut self) -> Result<Tunnel, String> {
        match self.tunnels.recv().await {
            Some(tunnel) => Ok(tunnel),
            None => Err(match (&mut self.session).await {
                Ok(()) => "closed by the peer".into(),
                Err(e) => e.to_string(),
            }),
        }
    }
}

/// What the edge may do: show its pinned key and open tunnels. All else is refused.
struct Gate {
    host_key: PublicKey,
    queue: mpsc::Sender<Tunnel>,
}

impl Handler for Gate {
    type Error = russh::Error;

    async fn check_server_key(
        &mut self,
        shown: &PublicKeyOrCertificate,
    ) -> Result<bool, Self::Error> {
        match shown {
            PublicKeyOrCertificate::PublicKey { key, .. } => {
                Ok(PublicKey::of(key) == self.host_key)
            }
            PublicKeyOrCertificate::Certificate(_) => Ok(false),
        }
    }

    async fn server_channel_open_forwarded_tcpip(
        &mut self,
        channel: Channel<Msg>,
        connected_address: &str,
        connected_port: u32,
        _originator_address: &str,
        _originator_port: u32,
        reply: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        if connected_address != FORWARD_HOST || connected_port != FORWARD_PORT {
            reply
                .reject(ChannelOpenFailure::AdministrativelyProhibited)
                .await;
            return Ok(());
        }
        match self.queue.try_reserve() {
            Ok(room) => {
                reply.accept().await;
                room.send(Tunnel::new(channel, tunnel::BUFFER_BYTES_MAX));
            }
            Err(_) => reply.reject(ChannelOpenFailure::ResourceShortage).await,
        }
        Ok(())
    }

    // The library would accept the following; a reply that is dropped refuses.

    async fn server_channel_open_session(
        &mut self,
        _channel: Channel<Msg>,
        _refused: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_direct_tcpip(
        &mut self,
        _channel: Channel<Msg>,
        _host_to_connect: &str,
        _port_to_connect: u32,
        _originator_address: &str,
        _originator_port: u32,
        _refused: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_direct_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _socket_path: &str,
        _refused: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_forwarded_streamlocal(
        &mut self,
        _channel: Channel<Msg>,
        _socket_path: &str,
        _refused: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_agent_forward(
        &mut self,
        _channel: Channel<Msg>,
        _refused: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }

    async fn server_channel_open_x11(
        &mut self,
        _channel: Channel<Msg>,
        _originator_address: &str,
        _originator_port: u32,
        _refused: ChannelOpenHandle,
        _session: &mut Session,
    ) -> Result<(), Self::Error> {
        Ok(())
    }
}
