//! Accept loops: one task a listener, one task a connection, caps for all and for each source, and
//! how fast they may come.
//!
//! A source that comes too fast loses its connections before anything is spent on them; all
//! together are taken from the kernel's queue one after the other.

use std::collections::HashMap;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use base::{Instant, TokenBucket};
use node::io::{Input, Report};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

use crate::signal::Handle;

/// How many connections a listener holds.
#[derive(Clone, Copy, Debug)]
pub struct Caps {
    /// In all.
    pub total: usize,
    /// From one address (IPv4) or one /64 (IPv6).
    pub per_source: usize,
    /// How fast they may come.
    pub paces: Option<Paces>,
}

/// How fast connections may come, a second.
#[derive(Clone, Copy, Debug)]
pub struct Paces {
    /// In all; more wait.
    pub total: u32,
    /// From one source; more are closed.
    pub per_source: u32,
    /// How many times its pace a source may come at once.
    pub burst: u32,
}

/// Sources whose pace is known. With more, those that have been quiet are forgotten; if none has,
/// whoever is new is let in unpaced: the caps hold.
const PACED_MAX: usize = 10_000;

/// Counts a listener's connections by source.
#[derive(Clone)]
pub struct Sources {
    caps: Caps,
    open: Arc<Mutex<(usize, HashMap<IpAddr, usize>)>>,
    paces: Arc<Mutex<HashMap<IpAddr, TokenBucket>>>,
    epoch: std::time::Instant,
    flooded: Option<Arc<dyn Fn(IpAddr) + Send + Sync>>,
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
            paces: Arc::default(),
            epoch: std::time::Instant::now(),
            flooded: None,
        }
    }

    /// Tells the node of sources that come too fast.
    #[must_use]
    pub fn telling(mut self, handle: Handle) -> Self {
        self.flooded = Some(Arc::new(move |source| {
            let cause = "tls: too many handshakes".to_owned();
            // A node that is swamped has better things to count.
            let _ = handle.try_input(Input::Report(Report::Flooded { source, cause }));
        }));
        self
    }

    fn now(&self) -> Instant {
        Instant::from_micros(self.epoch.elapsed().as_micros() as u64)
    }

    /// Whether a source does not come too fast.
    fn in_pace(&self, now: Instant, source: IpAddr) -> bool {
        let Some(paces) = self.caps.paces else {
            return true;
        };
        let source = group(source);
        let mut rows = self
            .paces
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if rows.len() >= PACED_MAX && !rows.contains_key(&source) {
            rows.retain(|_, bucket| !bucket.is_idle(now));
            if rows.len() >= PACED_MAX {
                return true;
            }
        }
        let burst = paces.per_source.saturating_mul(paces.burst);
        let bucket = rows
            .entry(source)
            .or_insert_with(|| TokenBucket::new(paces.per_source, burst));
        bucket.take(now).is_ok()
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
pub(crate) fn group(source: IpAddr) -> IpAddr {
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
        // Boxed: each future around another holds it twice, as it came and as it is awaited.
        let work = Box::pin(serve(stream, remote));
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
    let paces = sources.caps.paces;
    let mut pace = paces.map(|p| TokenBucket::new(p.total, p.total));
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
        if !sources.in_pace(sources.now(), remote.ip()) {
            if let Some(tell) = &sources.flooded {
                tell(remote.ip());
            }
            continue;
        }
        if let Some(wait) = pace.as_mut().and_then(|p| p.take(sources.now()).err()) {
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
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
            paces: None,
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

    #[test]
    fn a_source_that_comes_too_fast_waits_for_its_rate_and_others_do_not() {
        let sources = Sources::new(Caps {
            total: 1000,
            per_source: 1000,
            paces: Some(Paces {
                total: 1000,
                per_source: 2,
                burst: 10,
            }),
        });
        let at = |ms: u64| Instant::from_micros(ms * 1000);
        let (one, other) = ("2001:db8::1".parse().unwrap(), "192.0.2.1".parse().unwrap());
        assert!((0..20).all(|_| sources.in_pace(at(0), one)));
        assert!(!sources.in_pace(at(0), one));
        assert!(!sources.in_pace(at(0), "2001:db8::ffff".parse().unwrap()));
        assert!(sources.in_pace(at(0), other));
        assert!(sources.in_pace(at(500), one) && !sources.in_pace(at(500), one));
    }
}
