//! Where a node's outputs go that are no SIP or control bytes.

use net::{ssh, tls};
use node::gate::{CoreGate, EdgeGate};
use node::io::{Output, Record};
use policy::signed_out::SignOut;
use status::servers::ServersRecord;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinSet;

use crate::dial::Inside;
use crate::directory::Directories;
use crate::media_worker::Workers;
use crate::questions::Questions;
use crate::signal::{Handle, LOT, Outlets};

/// SIP connections being dialled or served at a time, towards call control.
const DIALLED_MAX: usize = 4096;

/// The ways out of a node. What a role has no use for is `None`.
pub(crate) struct NodeOutlets {
    pub(crate) media: Workers,
    /// Media commands that the worker was not woken for yet.
    pub(crate) posted: usize,
    pub(crate) pins: ssh::Pins,
    pub(crate) edge_gate: Option<tls::Live<EdgeGate>>,
    pub(crate) core_gate: Option<tls::Live<CoreGate>>,
    pub(crate) questions: Option<Questions>,
    pub(crate) inside: Option<Inside>,
    pub(crate) keeper: Option<mpsc::Sender<Record>>,
    pub(crate) outs: Option<broadcast::Sender<SignOut>>,
    pub(crate) directories: Option<Directories>,
    /// What is known of the inside's servers; the last one counts.
    pub(crate) servers: Option<watch::Sender<Option<Box<ServersRecord>>>>,
    pub(crate) dialled: JoinSet<()>,
}

impl Outlets for NodeOutlets {
    fn output(&mut self, output: Output) {
        match output {
            Output::Media(command) => self.post(command),
            Output::Event(event) => log(&event),
            Output::PinSsh { peer, key } => self.pin(peer, key.as_deref()),
            Output::EdgeGate(gate) => {
                if let Some(cell) = &self.edge_gate {
                    cell.set(gate);
                }
            }
            Output::CoreGate(gate) => {
                if let Some(cell) = &self.core_gate {
                    cell.set(gate);
                }
            }
            Output::Fetch { id, request } => {
                if let Some(questions) = &self.questions {
                    questions.fetch(id, request);
                }
            }
            Output::Resolve { id, question } => {
                if let Some(questions) = &self.questions {
                    questions.resolve(id, question);
                }
            }
            Output::Keep(record) => self.keep(*record),
            Output::EndStreams(out) => {
                if let Some(outs) = &self.outs {
                    // No stream being there is no error.
                    let _ = outs.send(out);
                }
            }
            Output::Prove {
                id,
                domain,
                user,
                password,
            } => {
                if let Some(directories) = &self.directories {
                    directories.prove(id, &domain, user, password);
                }
            }
            Output::KeepServers(record) => {
                if let Some(servers) = &self.servers {
                    servers.send_replace(Some(record));
                }
            }
            Output::Connect { conn, target } => self.connect(conn, target),
            // The signalling thread has carried these out itself.
            Output::Send { .. }
            | Output::Close { .. }
            | Output::Pause { .. }
            | Output::Control { .. }
            | Output::CloseControl { .. }
            | Output::Answer { .. } => {}
        }
    }

    fn hand_over(&mut self) {
        if std::mem::take(&mut self.posted) > 0 {
            self.media.wake();
        }
    }
}

impl NodeOutlets {
    fn keep(&self, record: Record) {
        let Some(keeper) = &self.keeper else { return };
        let out = match &record {
            Record::SignedIn(_) => None,
            Record::SignedOut(out) => Some(out.id),
        };
        if keeper.try_send(record).is_ok() {
            return;
        }
        tracing::warn!("the disk is slow: a record will not outlive a restart");
        if let (Some(id), Some(questions)) = (out, &self.questions) {
            let failure = Some("the disk is too slow".to_owned());
            let lost = node::io::Input::Kept { id, failure };
            tell(&questions.handle, lost);
        }
    }

    fn post(&mut self, command: media::Command) {
        // A refusal is counted and logged where it happens; signalling gives up on the leg when its
        // media does not come.
        let _ = self.media.post(command);
        self.posted += 1;
        if self.posted >= LOT {
            self.hand_over();
        }
    }

    fn pin(&self, peer: usize, key: Option<&str>) {
        match key.map(str::parse::<ssh::PublicKey>) {
            None => self.pins.set(peer, None),
            Some(Ok(key)) => self.pins.set(peer, Some(key)),
            Some(Err(e)) => {
                tracing::warn!(peer, error = %e, "the peer's SSH key cannot be used");
                self.pins.set(peer, None);
            }
        }
    }

    fn connect(&mut self, conn: node::io::ConnId, target: node::io::Target) {
        let Some(inside) = self.inside.clone() else {
            return;
        };
        while self.dialled.try_join_next().is_some() {}
        if self.dialled.len() >= DIALLED_MAX {
            let why = "too many connections to call control".to_owned();
            let lost = node::io::Input::Disconnected { conn, why };
            tell(&inside.handle, lost);
            return;
        }
        self.dialled.spawn(inside.run(conn, target));
    }
}

/// Tells the node what it waits for: at once, or when there is room.
fn tell(handle: &Handle, input: node::io::Input) {
    let handle = handle.clone();
    tokio::spawn(async move {
        // A node that is gone needs no word.
        let _ = handle.input(input).await;
    });
}

/// One line an event; the level follows from its severity.
fn log(event: &status::Event) {
    let code = event.kind as u16;
    match event.kind.severity() {
        status::Severity::Info => tracing::info!(target: "event", code, "{event}"),
        status::Severity::Warning => tracing::warn!(target: "event", code, "{event}"),
        status::Severity::Error => tracing::error!(target: "event", code, "{event}"),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use node::io::Input;

    use super::*;
    use crate::signal::Post;

    #[tokio::test]
    async fn a_swamped_node_hears_of_a_sign_out_that_was_not_stored_once_there_is_room() {
        let (handle, mut posts) = Handle::new();
        while handle.try_input(Input::Waited(Duration::ZERO)) {}
        let failure = Some("the disk is too slow".to_owned());
        tell(&handle, Input::Kept { id: 7, failure });
        drop(handle);
        let mut told = false;
        while let Some(post) = posts.recv().await {
            told |= matches!(post, Post::Input(Input::Kept { id: 7, .. }));
        }
        assert!(told);
    }
}
