//! The two ways to [`Rest`]: a Unix socket in the data folder, and HTTPS.
//!
//! Bounds: 32 connections on either; a wrong token costs its sender half a second.

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use driver::listen::{Caps, Sources, accept};
use http::StatusCode;
use net::http::front::{self, Limits};
use net::tls;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};

use crate::rest::Rest;

const CONNECTIONS_MAX: usize = 32;
const HANDSHAKE_MAX: Duration = Duration::from_secs(5);
const WRONG_TOKEN_COSTS: Duration = Duration::from_millis(500);

/// Serves the local socket until told to stop, each connection as `rest` is when it begins. A
/// socket left by a run that was killed is replaced: the data folder's lock says that nobody else
/// serves it.
///
/// # Errors
/// What the system says when the socket cannot be made.
pub fn local(
    rest: tls::Live<Rest>,
    path: &Path,
    stop: watch::Receiver<bool>,
) -> std::io::Result<impl Future<Output = ()> + Send + use<>> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(e),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    let path = path.to_owned();
    Ok(async move {
        let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
        let mut stopped = stop.clone();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                _ = stopped.wait_for(|stop| *stop) => break,
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            };
            let Ok(place) = places.clone().try_acquire_owned() else {
                continue;
            };
            let (mut rest, stop) = (Rest::clone(&rest.get()), stop.clone());
            if let Ok(peer) = stream.peer_cred() {
                rest.via = format!("local socket, uid {}", peer.uid());
            }
            tokio::spawn(async move {
                connection(rest, stream, stop).await;
                drop(place);
            });
        }
        // Left behind it would only be replaced.
        let _ = std::fs::remove_file(&path);
    })
}

/// Serves HTTPS until told to stop.
pub async fn https(
    rest: Rest,
    listener: TcpListener,
    config: tls::Live<ServerConfig>,
    stop: watch::Receiver<bool>,
) {
    let sources = Sources::new(Caps {
        total: CONNECTIONS_MAX,
        per_source: CONNECTIONS_MAX / 2,
        paces: None,
    });
    let stopping = stop.clone();
    accept(listener, sources, stop, move |stream, remote| {
        let (mut rest, config, stop) = (rest.clone(), config.get(), stopping.clone());
        rest.via = format!("HTTPS, {}", remote.ip());
        async move {
            match tls::accept(config, stream, HANDSHAKE_MAX).await {
                Ok(stream) => connection(rest, stream, stop).await,
                Err(e) => tracing::debug!(error = %e, "an administrator's handshake failed"),
            }
        }
    })
    .await;
}

async fn connection<S>(rest: Rest, stream: S, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let stopped = async move {
        // The sender being gone means that the program stops, too.
        let _ = stop.wait_for(|stop| *stop).await;
    };
    let service = move |request| {
        let rest = rest.clone();
        async move {
            let response = rest.answer(request).await;
            if response.status() == StatusCode::UNAUTHORIZED {
                tokio::time::sleep(WRONG_TOKEN_COSTS).await;
            }
            response
        }
    };
    if let Err(e) = front::serve(stream, false, Limits::default(), stopped, service).await {
        tracing::debug!(error = %e, "an administrator's connection broke");
    }
}
