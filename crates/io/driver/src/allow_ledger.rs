//! What the allow list let through and refused outlives the core: `allow_list.log` in the data
//! folder, sealed with the key in `allow_list_key`, since it names users.
//!
//! The whole ledger is written [`EVERY`] while it changes, beside the file and then in its place:
//! a core that is killed loses what was counted since. A file that is damaged costs the rows
//! concerned, and nothing follows from them but what an administrator is shown. Bounds: the
//! ledger's own; a payload holds [`LOT`] rows.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use base::{Rng, UnixTime};
use policy::allow_list::{Denied, Hits, Ledger};
use serde::{Deserialize, Serialize};
use store::journal::Journal;
use tokio::sync::watch;

use crate::files::{DataFolder, FileFault};

/// How often it is written at most.
pub(crate) const EVERY: Duration = Duration::from_secs(5);

/// Rows in one payload; one of the inbox has at most 4 KiB.
const LOT: usize = 12;

/// Counts in one payload.
const COUNTS: usize = 1_000;

const FIX: &str = "check that the user running causeway may write the file; it may be removed";

#[derive(Serialize, Deserialize)]
enum Payload {
    /// Rule, count, last time.
    Hits(Vec<(u64, u64, u64)>),
    Denied(Vec<Row>),
    Forgotten(u64),
}

/// A row of the inbox.
#[derive(Serialize, Deserialize)]
struct Row {
    server: (String, String, u16),
    method: String,
    path: (String, bool),
    redirect: bool,
    count: u64,
    times: (u64, u64),
    users: Vec<String>,
}

impl Row {
    fn of(row: &Denied) -> Row {
        Row {
            server: (row.scheme.clone(), row.host.clone(), row.port),
            method: row.method.clone(),
            path: (row.path.clone(), row.one_path),
            redirect: row.redirect,
            count: row.count,
            times: (row.first.as_millis(), row.last.as_millis()),
            users: row.users.clone(),
        }
    }

    fn into_denied(self) -> Denied {
        let (scheme, host, port) = self.server;
        let (path, one_path) = self.path;
        Denied {
            scheme,
            host,
            port,
            method: self.method,
            path,
            one_path,
            redirect: self.redirect,
            count: self.count,
            first: UnixTime::from_millis(self.times.0),
            last: UnixTime::from_millis(self.times.1),
            users: self.users,
        }
    }
}

/// The file, open.
pub(crate) struct Store {
    journal: Journal,
    ledger: Arc<Mutex<Ledger>>,
    stored: u64,
}

impl Store {
    /// Opens the file of a data folder, or makes it; with the ledger that it held.
    ///
    /// # Errors
    /// [`FileFault`] if the file or its key cannot be opened or made; damage is no error.
    pub(crate) fn open(
        data: &DataFolder,
        rng: &mut Rng,
    ) -> Result<(Store, Arc<Mutex<Ledger>>), FileFault> {
        let key = data.seed("allow_list_key", rng)?;
        let path = data.file("allow_list.log");
        let (mut hits, mut denied, mut forgotten) = (Vec::new(), Vec::new(), 0);
        let opened = Journal::open(&path, &key, |payload| {
            match serde_json::from_slice(payload) {
                Ok(Payload::Hits(rows)) => hits.extend(rows),
                Ok(Payload::Denied(rows)) => denied.extend(rows),
                Ok(Payload::Forgotten(count)) => forgotten = count,
                Err(_) => tracing::debug!("a record of another version is passed over"),
            }
        });
        let (journal, found) = opened.map_err(|error| FileFault {
            what: "ledger of the allow list",
            path: path.clone(),
            cause: match error {
                store::Error::File { source, .. } => source.to_string(),
                other => other.to_string(),
            },
            fix: FIX,
        })?;
        if found.damaged + found.cut_bytes > 0 {
            tracing::warn!("allow_list.log is damaged: hits and refused requests are lost");
        }
        let hits = hits.into_iter().map(|(id, count, last): (u64, u64, u64)| {
            let last = UnixTime::from_millis(last);
            (id, Hits { count, last })
        });
        let denied = denied.into_iter().map(Row::into_denied);
        let ledger = Arc::new(Mutex::new(Ledger::restored(hits, denied, forgotten)));
        let store = Store {
            journal,
            ledger: ledger.clone(),
            stored: 0,
        };
        Ok((store, ledger))
    }

    /// Stores the ledger whenever it has changed, until told to stop, and once more then.
    pub(crate) async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let mut failing = false;
        loop {
            let stopping = async { stop.wait_for(|stop| *stop).await.map(|_| ()) };
            let stopped = tokio::time::timeout(EVERY, stopping).await.is_ok();
            let written = tokio::task::spawn_blocking(move || {
                let written = self.write();
                (self, written)
            });
            // A panic in there is the store's own bug.
            let Ok((this, written)) = written.await else {
                tracing::error!("the ledger of the allow list is not stored any more");
                return;
            };
            self = this;
            if let Err(error) = &written
                && !failing
            {
                tracing::warn!(%error, "hits and refused requests will not outlive a restart");
            }
            failing = written.is_err();
            if stopped {
                return;
            }
        }
    }

    /// Writes the file anew, if anything has changed. Blocks.
    fn write(&mut self) -> Result<(), store::Error> {
        let (changes, payloads) = {
            let ledger = self.ledger.lock().unwrap_or_else(PoisonError::into_inner);
            if ledger.changes() == self.stored {
                return Ok(());
            }
            (ledger.changes(), payloads(&ledger))
        };
        self.journal.replace(payloads)?;
        self.stored = changes;
        Ok(())
    }
}

fn payloads(ledger: &Ledger) -> Vec<Vec<u8>> {
    let hits = ledger.counted();
    let hits: Vec<(u64, u64, u64)> = hits
        .map(|(id, hits)| (id, hits.count, hits.last.as_millis()))
        .collect();
    let hits = hits.chunks(COUNTS).map(|lot| Payload::Hits(lot.to_vec()));
    let inbox = ledger.inbox();
    let denied = inbox.chunks(LOT).map(|lot| {
        let rows = lot.iter().map(|row| Row::of(row));
        Payload::Denied(rows.collect())
    });
    let forgotten = std::iter::once(Payload::Forgotten(ledger.forgotten()));
    // These types are always written; an empty payload is passed over when it is read.
    let written = |payload: Payload| serde_json::to_vec(&payload).unwrap_or_default();
    let all = hits.chain(denied).chain(forgotten).map(written);
    all.filter(|bytes| bytes.len() <= store::journal::PAYLOAD_MAX)
        .collect()
}

#[cfg(test)]
mod tests {
    use policy::allow_list::{Access, DENIED_MAX};

    use super::*;

    fn folder(name: &str) -> std::path::PathBuf {
        let name = format!("causeway-ledger-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    fn open(path: &std::path::Path) -> (DataFolder, Store, Arc<Mutex<Ledger>>) {
        let data = DataFolder::open(path).unwrap();
        let (store, ledger) = Store::open(&data, &mut Rng::from_number(1)).unwrap();
        (data, store, ledger)
    }

    #[test]
    fn hits_and_refused_requests_outlive_a_process_that_was_killed() {
        let path = folder("killed");
        let now = UnixTime::from_millis(1_790_000_000_000);
        {
            let (_data, mut store, ledger) = open(&path);
            let mut ledger = ledger.lock().unwrap();
            ledger.hit(now, 7);
            ledger.hit(now.plus(EVERY), 7);
            let long = format!("/{}", "p".repeat(2_000));
            for n in 0..DENIED_MAX + 9 {
                let access = Access {
                    scheme: "https",
                    host: &format!("web{n}.test"),
                    port: 443,
                    path: &long,
                    method: "GET",
                };
                ledger.denied(now, &access, &format!("{n}{}", "u".repeat(200)), false);
            }
            drop(ledger);
            store.write().unwrap();
            let bytes = store.journal.bytes();
            store.write().unwrap();
            assert_eq!(store.journal.bytes(), bytes, "nothing has changed");
            // Killed: nothing more is said to the disk.
            std::mem::forget(store);
        }
        let (_data, mut store, ledger) = open(&path);
        let (hits, rows, forgotten) = {
            let ledger = ledger.lock().unwrap();
            (ledger.hits(7), ledger.inbox().len(), ledger.forgotten())
        };
        let wanted = Hits {
            count: 2,
            last: now.plus(EVERY),
        };
        assert_eq!((hits, rows, forgotten), (Some(wanted), DENIED_MAX, 9));
        // It goes on from there.
        ledger.lock().unwrap().hit(now, 7);
        store.write().unwrap();
        drop((_data, store));
        let (_data, _store, ledger) = open(&path);
        assert_eq!(ledger.lock().unwrap().hits(7).unwrap().count, 3);
        std::fs::remove_dir_all(path).unwrap();
    }

    #[test]
    fn a_damaged_file_costs_rows_and_no_start() {
        let path = folder("damaged");
        let file = {
            let (data, mut store, ledger) = open(&path);
            ledger.lock().unwrap().hit(UnixTime::from_millis(1), 7);
            store.write().unwrap();
            data.file("allow_list.log")
        };
        let mut bytes = std::fs::read(&file).unwrap();
        let at = bytes.len() - 3;
        bytes[at] ^= 1;
        std::fs::write(&file, bytes).unwrap();
        let (_data, _store, ledger) = open(&path);
        assert!(ledger.lock().unwrap().inbox().is_empty());
        std::fs::remove_dir_all(path).unwrap();
    }
}
