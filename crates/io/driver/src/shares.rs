//! How many requests one source has under way: a share of the lane, so that nobody fills it alone.
//!
//! A request over the share waits for one of the same source to end, for at most `WAIT_MAX`. A
//! source is an IPv4 address or an IPv6 /64. Bounds: as many rows as sources with requests under
//! way, which the caps on connections bound.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::listen::group;

/// Requests of one source at once: a quarter of what one core's lane carries.
pub const EACH: usize = 64;

/// How long one more waits for its turn.
const WAIT_MAX: Duration = Duration::from_secs(5);

/// Counts requests by source; cheap to clone.
#[derive(Clone)]
pub struct Shares {
    rows: Arc<Mutex<HashMap<IpAddr, Row>>>,
    each: usize,
}

struct Row {
    turns: Arc<Semaphore>,
    /// Requests that have or await a turn.
    requests: usize,
}

/// A request's turn, given back when dropped.
pub struct Share {
    _turn: OwnedSemaphorePermit,
    _entry: Entry,
}

/// A request's part in its row, which goes with the last.
struct Entry {
    source: IpAddr,
    rows: Arc<Mutex<HashMap<IpAddr, Row>>>,
}

impl Default for Shares {
    fn default() -> Self {
        Shares::of(EACH)
    }
}

impl Shares {
    /// Shares of that many requests.
    pub fn of(each: usize) -> Self {
        Shares {
            rows: Arc::default(),
            each,
        }
    }

    /// A turn for a request from `source`; none if none comes in time.
    pub async fn enter(&self, source: IpAddr) -> Option<Share> {
        let source = group(source);
        let turns = {
            let mut rows = locked(&self.rows);
            let row = rows.entry(source).or_insert_with(|| Row {
                turns: Arc::new(Semaphore::new(self.each)),
                requests: 0,
            });
            row.requests += 1;
            row.turns.clone()
        };
        let entry = Entry {
            source,
            rows: self.rows.clone(),
        };
        let turn = match turns.clone().try_acquire_owned() {
            Ok(turn) => turn,
            Err(_) => tokio::time::timeout(WAIT_MAX, turns.acquire_owned())
                .await
                .ok()?
                .ok()?,
        };
        Some(Share {
            _turn: turn,
            _entry: entry,
        })
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut rows = locked(&self.rows);
        if let Some(row) = rows.get_mut(&self.source) {
            row.requests -= 1;
            if row.requests == 0 {
                rows.remove(&self.source);
            }
        }
    }
}

fn locked(rows: &Mutex<HashMap<IpAddr, Row>>) -> MutexGuard<'_, HashMap<IpAddr, Row>> {
    rows.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_source_at_its_share_waits_and_others_do_not() {
        let shares = Shares::of(2);
        let ip = |s: &str| s.parse::<IpAddr>().unwrap();
        let (one, other) = (ip("2001:db8::1"), ip("192.0.2.1"));
        let first = shares.enter(one).await;
        let second = shares.enter(ip("2001:db8::2")).await;
        assert!(first.is_some() && second.is_some());
        assert!(shares.enter(one).await.is_none(), "within the /64 no more");
        assert!(shares.enter(other).await.is_some());
        let waiting = tokio::spawn({
            let shares = shares.clone();
            async move { shares.enter(one).await.is_some() }
        });
        tokio::task::yield_now().await;
        drop(first);
        assert!(waiting.await.unwrap());
        drop(second);
        assert!(locked(&shares.rows).is_empty());
    }
}
