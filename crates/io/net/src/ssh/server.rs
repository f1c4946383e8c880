//! The edge's side: takes pinned keys and the one forward, refuses all else.

use std::sync::Arc;
use std::time::Duration;

use russh::server::{Auth, Config, Handler, PublicKeyOffer, RunningSession, Session};
use russh::server::{Handle, VerifiedPublicKey};
use russh::{MethodKind, MethodSet};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;

use super::keys::{Key, Pins, PublicKey};
use super::tunnel::{self, Tunnel};
use super::{FORWARD_HOST, FORWARD_PORT, USER};
use crate::Error;

/// Answers SSH sessions with one host key.
#[derive(Clone)]
pub struct Acceptor {
    config: Arc<Config>,
    pins: Pins,
    sign_in: Duration,
}

impl Acceptor {
    /// Shows `host_key` and lets in whom `pins` names at that moment.
    pub fn new(host_key: &Key, pins: Pins) -> Self {
        let config = Config {
            server_id: super::id(),
            methods: MethodSet::from([MethodKind::PublicKey].as_slice()),
            auth_rejection_time: Duration::from_secs(1),
            auth_rejection_time_initial: Some(Duration::ZERO),
            keys: vec![(*host_key.private()).clone()],
            window_size: super::WINDOW_BYTES,
            maximum_packet_size: super::PACKET_BYTES_MAX,
            preferred: super::algorithms(),
            max_auth_attempts: 3,
            inactivity_timeout: None,
            keepalive_interval: Some(super::KEEP_ALIVE_AFTER),
            keepalive_max: super::KEEP_ALIVES_MAX,
            nodelay: true,
            ..Config::default()
        };
        Acceptor {
            config: Arc::new(config),
            pins,
            sign_in: super::SIGN_IN,
        }
    }

    /// Another limit than 20 s for the time to the accepted forward.
    pub fn with_sign_in(mut self, within: Duration) -> Self {
        self.sign_in = within;
        self
    }

    /// Takes one session up to its accepted forward.
    ///
    /// # Errors
    /// [`Error::Ssh`], [`Error::Timeout`]; the connection is closed then.
    pub async fn accept<S>(&self, stream: S) -> Result<Accepted, Error>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let (stream, rope) = super::Roped::new(stream);
        let (up, forwarded) = oneshot::channel();
        let gate = Gate {
            pins: self.pins.clone(),
            shown: None,
            up: Some(up),
        };
        let signing_in = async {
            let mut session = russh::server::run_stream(self.config.clone(), stream, gate)
                .await
                .map_err(ended)?;
            let (peer, key) = tokio::select! {
                up = forwarded => up.map_err(|_| ended(russh::Error::Disconnect))?,
                end = &mut session => {
                    return Err(ended(end.err().unwrap_or(russh::Error::Disconnect)));
                }
            };
            Ok(Accepted {
                peer,
                key,
                pins: self.pins.clone(),
                handle: session.handle(),
                session,
                _rope: rope,
            })
        };
        tokio::time::timeout(self.sign_in, signing_in)
            .await
            .unwrap_or(Err(Error::Timeout {
                what: "signing in over SSH",
                seconds: self.sign_in.as_secs(),
            }))
    }
}

/// A session whose forward stands. Dropping it closes the connection.
pub struct Accepted {
    peer: usize,
    key: PublicKey,
    pins: Pins,
    handle: Handle,
    session: RunningSession<Gate>,
    _rope: oneshot::Sender<()>,
}

impl Accepted {
    /// Whose key was shown.
    pub fn peer(&self) -> usize {
        self.peer
    }

    /// Opens a tunnel to the peer.
    ///
    /// # Errors
    /// [`Error::Ssh`] if the peer refuses or is gone, [`Error::Timeout`] after 10 s.
    pub async fn open(&self) -> Result<Tunnel, Error> {
        self.open_with(tunnel::BUFFER_BYTES_MAX).await
    }

    /// As [`Accepted::open`], keeping at most `bytes_max` for a reader that lags behind.
    ///
    /// # Errors
    /// As [`Accepted::open`].
    pub async fn open_with(&self, bytes_max: usize) -> Result<Tunnel, Error> {
        let opening =
            self.handle
                .channel_open_forwarded_tcpip(FORWARD_HOST, FORWARD_PORT, "127.0.0.1", 0);
        match tokio::time::timeout(super::ANSWER, opening).await {
            Err(_) => Err(Error::Timeout {
                what: "opening an SSH tunnel",
                seconds: super::ANSWER.as_secs(),
            }),
            Ok(Err(e)) => Err(ended(e)),
            Ok(Ok(channel)) => Ok(Tunnel::new(channel, bytes_max)),
        }
    }

    /// Waits for the end of the session and says why. A peer whose key is no longer pinned is cut
    /// off.
    pub async fn ended(&mut self) -> String {
        tokio::select! {
            end = &mut self.session => match end {
                Ok(()) => "closed by the peer".into(),
                Err(e) => e.to_string(),
            },
            () = self.pins.revoked(self.peer, &self.key) => {
                "the peer's SSH key is no longer the pinned one".into()
            }
        }
    }
}

fn ended(error: russh::Error) -> Error {
    Error::Ssh {
        cause: error.to_string(),
        fix: "check that only the paired core dials this port, and that its control link is up",
    }
}

/// What a session may do. Whatever is not written here keeps the library's default: refused.
struct Gate {
    pins: Pins,
    shown: Option<(usize, PublicKey)>,
    up: Option<oneshot::Sender<(usize, PublicKey)>>,
}

impl Gate {
    fn judge(&self, user: &str, key: &PublicKey) -> Option<usize> {
        if user == USER {
            self.pins.holder(key)
        } else {
            None
        }
    }
}

impl Handler for Gate {
    type Error = russh::Error;

    async fn auth_publickey_offered(
        &mut self,
        user: &str,
        offer: PublicKeyOffer<'_>,
    ) -> Result<Auth, Self::Error> {
        match self.judge(user, &PublicKey::of(offer.public_key)) {
            Some(_) => Ok(Auth::Accept),
            None => Ok(Auth::reject()),
        }
    }

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: VerifiedPublicKey<'_>,
    ) -> Result<Auth, Self::Error> {
        let key = PublicKey::of(key.public_key);
        match self.judge(user, &key) {
            Some(peer) => {
                self.shown = Some((peer, key));
                Ok(Auth::Accept)
            }
            None => Ok(Auth::reject()),
        }
    }

    async fn tcpip_forward(
        &mut self,
        address: &str,
        port: &mut u32,
        _session: &mut Session,
    ) -> Result<bool, Self::Error> {
        if address != FORWARD_HOST || *port != FORWARD_PORT {
            tracing::warn!(
                address,
                port,
                "a forward other than the one there is was refused"
            );
            return Ok(false);
        }
        match (self.up.take(), self.shown.clone()) {
            // The receiver is gone when the sign-in took too long; the session ends with it.
            (Some(up), Some(shown)) => Ok(up.send(shown).is_ok()),
            _ => Ok(false),
        }
    }
}
