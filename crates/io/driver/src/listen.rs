//! Accept loops: one task a listener, one task a connection, caps for all and for each source.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How many connections a listener holds.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// In all.
    pub total: usize,
    /// From one address (IPv4) or one /64 (IPv6).
    pub per_source: usize,
}

/// Counts a listener's connections by source.
#[derive(Clone)]
pub struct Sources {
    caps: Caps,
    open: Arc<Mutex<(usize, HashMap<IpAddr, usize>)>>,
}

/// A place under a cap, given back when dropped.
pub struct Place {
    source: IpAddr,
    sources: Sources,
}

impl Sources {
    /// Counts up to `caps`.
    pub fn new(caps: Caps) -> Self {
        Sources {
            caps,
            open: Arc::default(),
        }
    }

    /// A place for a connection from `source`, or none.
    pub fn enter(&self, source: IpAddr) -> Option<Place> {
        let source = group(source);
        let mut open = self
            .open
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if open.0 >= self.caps.total {
            return None;
        }
        let here = open.1.entry(source).or_insert(0);
        if *here >= self.caps.per_source {
            return None;
        }
        *here += 1;
        open.0 += 1;
        Some(Place {
            source,
            sources: self.clone(),
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self
            .sources
            .open
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        open.0 = open.0.saturating_sub(1);
        if let Some(here) = open.1.get_mut(&self.source) {
            *here -= 1;
            if *here == 0 {
                open.1.remove(&self.source);
            }
        }
    }
}

/// What counts as one source: an IPv4 address, or an IPv6 /64, which is what one site gets.
fn group(source: IpAddr) -> IpAddr {
    match source.to_canonical() {
        IpAddr::V6(v6) => {
            let mut octets = v6.octets();
            octets[8..].fill(0);
            IpAddr::from(octets)
        }
        v4 => v4,
    }
}

/// Accepts until told to stop. `serve` runs in a task of its own for each connection, which holds
/// its place until then.
pub async fn accept<F, W>(
    listener: TcpListener,
    sources: Sources,
    stop: watch::Receiver<bool>,
    serve: F,
) where
    F: Fn(TcpStream, SocketAddr) -> W,
    W: Future<Output = ()> + Send + 'static,
{
    let serve = |stream, remote, place: Place| {
        let work = serve(stream, remote);
        async move {
            work.await;
            drop(place);
        }
    };
    accept_places(listener, sources, stop, serve).await;
}

/// As [`accept`], but a connection may outlive its task: its place goes with it.
pub async fn accept_places<F, W>(
    listener: TcpListener,
    sources: Sources,
    mut stop: watch::Receiver<bool>,
    serve: F,
) where
    F: Fn(TcpStream, SocketAddr, Place) -> W,
    W: Future<Output = ()> + Send + 'static,
{
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|stop| *stop) => return,
        };
        let (stream, remote) = match accepted {
            Ok(pair) => pair,
            Err(e) => {
                // Out of descriptors or the like: breathe, so that others may close.
                tracing::warn!(error = %e, "a connection could not be accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Some(place) = sources.enter(remote.ip()) else {
            tracing::debug!("a connection over the cap was closed");
            continue;
        };
        // Failing to set it costs speed only.
        let _ = stream.set_nodelay(true);
        let work = serve(stream, remote, place);
        let mut stop = stop.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = work => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_capped_by_source_and_given_back() {
        let sources = Sources::new(Caps {
            total: 3,
            per_source: 2,
        });
        let ip = |s: &str| s.parse::<IpAddr>().unwrap();
        let first = sources.enter(ip("192.0.2.1"));
        let second = sources.enter(ip("::ffff:192.0.2.1"));
        assert!(first.is_some() && second.is_some());
        assert!(sources.enter(ip("192.0.2.1")).is_none());
        let third = sources.enter(ip("2001:db8::1"));
        assert!(third.is_some() && sources.enter(ip("192.0.2.9")).is_none());
        drop(first);
        assert!(sources.enter(ip("192.0.2.1")).is_some());
    }
}
