//! What the core must still know of the inside's servers when they are down at its start:
//! `servers.log` in the data folder, sealed with the key in `servers_key`.
//!
//! The node hands out the whole record whenever it has changed, and once an hour where a server
//! has told the same again ([`node::io::Output::KeepServers`]); it replaces the file. One that is
//! damaged costs the history, and nodes that are not known until their publisher answers.
//! Bounds: what the node keeps of each; a payload holds one server, or [`LOT`] changes.

use std::path::PathBuf;

use base::Rng;
use serde::{Deserialize, Serialize};
use status::servers::{KnownServer, ServerChange, ServersRecord};
use store::journal::Journal;
use tokio::sync::watch;

use crate::files::{DataFolder, FileFault};

/// Changes in one payload.
const LOT: usize = 50;

const FIX: &str = "check that the user running causeway may write the file; it may be removed";

#[derive(Serialize, Deserialize)]
enum Payload {
    Server(KnownServer),
    Changes(Vec<ServerChange>),
}

/// The file, open.
pub(crate) struct Servers {
    journal: Journal,
}

impl Servers {
    /// Opens the file of a data folder, or makes it, and reads what it holds.
    ///
    /// # Errors
    /// [`FileFault`] if the file or its key cannot be opened or made; damage is no error.
    pub(crate) fn open(
        data: &DataFolder,
        rng: &mut Rng,
    ) -> Result<(Servers, ServersRecord), FileFault> {
        let key = data.seed("servers_key", rng)?;
        let path: PathBuf = data.file("servers.log");
        let mut record = ServersRecord::default();
        let opened = Journal::open(&path, &key, |payload| take(&mut record, payload));
        let (journal, found) = opened.map_err(|error| FileFault {
            what: "record of servers",
            path: path.clone(),
            cause: match error {
                store::Error::File { source, .. } => source.to_string(),
                other => other.to_string(),
            },
            fix: FIX,
        })?;
        if found.damaged + found.cut_bytes > 0 {
            tracing::warn!("servers.log is damaged: a part of what was known is lost");
        }
        Ok((Servers { journal }, record))
    }

    /// Stores what comes in, until the node is gone.
    pub(crate) async fn run(mut self, mut records: watch::Receiver<Option<Box<ServersRecord>>>) {
        while records.changed().await.is_ok() {
            let record = records.borrow_and_update().clone();
            let Some(record) = record else { continue };
            let stored = tokio::task::spawn_blocking(move || {
                let stored = self.store(&record);
                (self, stored)
            });
            // A panic in there is the store's own bug, and costs this record alone.
            let Ok((this, stored)) = stored.await else {
                tracing::error!("what is known of servers is not stored any more");
                return;
            };
            self = this;
            if let Err(error) = stored {
                tracing::warn!(%error, "what is known of servers will not outlive a restart");
            }
        }
    }

    fn store(&mut self, record: &ServersRecord) -> Result<(), store::Error> {
        let servers = record.servers.iter().cloned().map(Payload::Server);
        let changes = record
            .history
            .chunks(LOT)
            .map(|c| Payload::Changes(c.to_vec()));
        let all = servers.chain(changes);
        self.journal
            .replace(all.filter_map(sealable).collect::<Vec<_>>())
    }
}

/// A payload as it is stored. A server that told too much goes without its profiles: its nodes are
/// what a core needs at its start.
fn sealable(payload: Payload) -> Option<Vec<u8>> {
    // These types are always written; an empty payload is passed over when it is read.
    let written = serde_json::to_vec(&payload).unwrap_or_default();
    if written.len() <= store::journal::PAYLOAD_MAX {
        return Some(written);
    }
    let bytes = written.len();
    match payload {
        Payload::Server(mut server) if server.facts.secure_profiles.is_some() => {
            tracing::warn!(
                server = server.name,
                bytes,
                "a server's secure profiles are too many to outlive a restart; its nodes do"
            );
            server.facts.secure_profiles = None;
            sealable(Payload::Server(server))
        }
        Payload::Server(server) => {
            tracing::warn!(
                server = server.name,
                bytes,
                "what is known of a server is too long to outlive a restart"
            );
            None
        }
        Payload::Changes(_) => {
            tracing::warn!(
                bytes,
                "changes at servers are too long to outlive a restart"
            );
            None
        }
    }
}

fn take(record: &mut ServersRecord, payload: &[u8]) {
    match serde_json::from_slice(payload) {
        Ok(Payload::Server(server)) => record.servers.push(server),
        Ok(Payload::Changes(mut changes)) => record.history.append(&mut changes),
        Err(_) => tracing::debug!("a record of another version is passed over"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base::UnixTime;
    use status::servers::{NodeFacts, ServerFacts};

    #[tokio::test]
    async fn what_was_known_of_servers_is_there_after_a_restart_and_damage_costs_no_start() {
        let path = std::env::temp_dir().join(format!("causeway-servers-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        let data = DataFolder::open(&path).unwrap();
        let (servers, before) = Servers::open(&data, &mut Rng::from_number(1)).unwrap();
        assert_eq!(before, ServersRecord::default());
        let record = ServersRecord {
            servers: vec![KnownServer {
                name: "cucm1.example.test".into(),
                facts: ServerFacts {
                    nodes: vec![NodeFacts::default(); 100],
                    ..ServerFacts::default()
                },
                ..KnownServer::default()
            }],
            history: (0..120)
                .map(|n| ServerChange {
                    at: UnixTime::from_millis(n),
                    ..ServerChange::default()
                })
                .collect(),
        };
        let (sender, records) = watch::channel(None);
        sender.send_replace(Some(Box::new(record.clone())));
        let stored = tokio::spawn(servers.run(records));
        drop(sender);
        stored.await.unwrap();
        let (_, known) = Servers::open(&data, &mut Rng::from_number(2)).unwrap();
        assert_eq!(known, record);
        let mut long = record.servers[0].clone();
        long.facts.secure_profiles = Some(vec!["p".repeat(255); 300]);
        let payload = sealable(Payload::Server(long)).unwrap();
        let mut without = ServersRecord::default();
        take(&mut without, &payload);
        assert_eq!(
            without.servers, record.servers,
            "its profiles alone are lost"
        );
        let mut over = record.servers[0].clone();
        over.facts.version = "v".repeat(store::journal::PAYLOAD_MAX);
        assert_eq!(sealable(Payload::Server(over)), None);
        std::fs::write(path.join("servers.log"), b"nonsense").unwrap();
        let (_, known) = Servers::open(&data, &mut Rng::from_number(3)).unwrap();
        assert_eq!(known, ServersRecord::default());
        std::fs::remove_dir_all(&path).unwrap();
    }
}
