//! `causeway run --state`: a node whose settings are in the store of its data folder.
//!
//! The local socket is there from the first moment, so that settings can be given to a node that
//! has none, and mended where it cannot start with those that it has. Then the node starts, and
//! takes up each revision as it comes. What it cannot take up while it runs stays as it was, and is
//! named to whoever asks.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use admin::rest::Rest;
use admin::serve;
use admin::settings::{Desk, Order};
use anyhow::Context;
use base::Rng;
use config::document::Document;
use config::{Config, Log, LogFormat};
use driver::files::DataFolder;
use driver::run::Running;
use driver::signal::Handle;
use net::tls::Live;
use tokio::sync::watch;

use super::{Signals, administer, certificates, tell};
use crate::log::Logging;

/// A node that could not start is tried again after so long, and at each change of its settings.
const AGAIN: Duration = Duration::from_secs(10);

/// Runs the node until a signal.
pub(super) fn run(folder: &Path, import: Option<&Path>) -> anyhow::Result<ExitCode> {
    let data = DataFolder::open(folder)?;
    let desk = Desk::open(&data, &mut Rng::from_seed(net::random_seed()?))?;
    let news = import.map(|file| begin(&desk, file)).transpose()?;
    let (_, document) = desk.current()?;
    let log = match desk.load(&document) {
        Ok(checked) => checked.config.log,
        Err(_) => Log {
            level: "info".into(),
            format: LogFormat::Text,
            file: None,
        },
    };
    let log = Arc::new(crate::log::start(&log)?);
    for line in news.into_iter().flatten() {
        tracing::warn!(target: "configuration", "{line}");
    }
    let node = Node {
        data,
        desk: Arc::new(desk),
        log,
    };
    let (runtime, files) = super::runtime()?;
    runtime.block_on(node.live(files))
}

/// Gives an empty store the settings of a file; what is worth a word.
fn begin(desk: &Desk, file: &Path) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(file)
        .with_context(|| format!("{}: the configuration cannot be read", file.display()))?;
    let file = std::path::absolute(file)?;
    let shown = file.display();
    let order = Order {
        dry_run: !desk.current()?.1.is_empty(),
        author: "causeway run --import".into(),
        reason: format!("first settings, of {shown}"),
        ..Order::default()
    };
    let done = desk.apply(&text, file.parent(), None, &order, "start");
    if !order.dry_run {
        let done = done.with_context(|| format!("{shown} cannot be used"))?;
        return Ok(done.warnings.iter().map(ToString::to_string).collect());
    }
    Ok(match done {
        Ok(outcome) if outcome.changes.is_empty() => Vec::new(),
        Ok(outcome) => vec![format!(
            "{shown} is not read: the store has settings, which differ in {} items; causeway ctl \
             apply makes them those of the file",
            outcome.changes.len()
        )],
        Err(_) => vec![format!("{shown} is not read: the store has settings")],
    })
}

/// What a node of a data folder is made of.
struct Node {
    data: DataFolder,
    desk: Arc<Desk>,
    log: Arc<Logging>,
}

impl Node {
    async fn live(self, files: Option<usize>) -> anyhow::Result<ExitCode> {
        let mut signals = Signals::new()?;
        let stop = watch::Sender::new(false);
        // Nobody is behind it yet.
        let rest = Live::new(Arc::new(self.rest(&Handle::new().0)));
        let socket = self.data.file(admin::SOCKET);
        let serving = serve::local(rest.clone(), &socket, stop.subscribe())
            .with_context(|| format!("the local socket {} cannot be made", socket.display()))?;
        let serving = tokio::spawn(serving);
        let started = tokio::select! {
            started = self.until_started() => Some(started),
            () = signals.any() => None,
        };
        let code = match started {
            None => ExitCode::SUCCESS,
            Some((config, running)) => {
                let mut answers = self.rest(&running.handle);
                answers.guard.clone_from(&running.guard);
                answers.certificates = Some(certificates(&running));
                if let Err(error) = administer(&config, &running, &answers) {
                    // It can be mended over the local socket.
                    tracing::error!("administrators cannot reach the node over HTTPS: {error:#}");
                }
                rest.set(Arc::new(answers));
                tell(&config, &running, files);
                tokio::spawn(follow(self.desk, self.log, running.handle.clone()));
                signals.until_the_end(running).await
            }
        };
        let _ = stop.send(true);
        let _ = serving.await;
        Ok(code)
    }

    fn rest(&self, handle: &Handle) -> Rest {
        Rest {
            handle: handle.clone(),
            token: None,
            guard: None,
            settings: Some(self.desk.clone()),
            via: String::new(),
            certificates: None,
        }
    }

    /// Waits for settings that the node can start with, and starts it.
    async fn until_started(&self) -> (Config, Running) {
        let mut revisions = self.desk.watch();
        loop {
            revisions.mark_unchanged();
            match self.start().await {
                Ok(Some(started)) => return started,
                Ok(None) => {
                    tracing::warn!(
                        folder = %self.data.path().display(),
                        "there are no settings yet: causeway ctl apply FILE --state FOLDER"
                    );
                    // The store lives as long as this.
                    let _ = revisions.changed().await;
                }
                Err(error) => {
                    tracing::error!(
                        "the node cannot start: {error:#}; mend it with causeway ctl apply or \
                         rollback"
                    );
                    let _ = tokio::time::timeout(AGAIN, revisions.changed()).await;
                }
            }
        }
    }

    async fn start(&self) -> anyhow::Result<Option<(Config, Running)>> {
        let (revision, document) = self.desk.current()?;
        if document.is_empty() {
            return Ok(None);
        }
        let checked = self.desk.load(&document)?;
        for warning in &checked.warnings {
            tracing::warn!(target: "configuration", "{warning}");
        }
        let config = checked.config;
        self.log.set_level(&config.log.level)?;
        let running = driver::run::start_in(self.data.clone(), config.clone()).await?;
        self.desk.started(revision, document);
        Ok(Some((config, running)))
    }
}

/// Hands each revision to the node, until it is gone.
async fn follow(desk: Arc<Desk>, log: Arc<Logging>, handle: Handle) {
    let mut revisions = desk.watch();
    // What was written while the node started.
    revisions.mark_changed();
    while revisions.changed().await.is_ok() {
        revisions.mark_unchanged();
        match take_up(&desk, &log, &handle).await {
            Ok((revision, waiting)) => {
                let waiting = waiting.join(", ");
                tracing::info!(revision, waiting, "settings are taken up");
            }
            Err(error) => tracing::error!("settings are not taken up: {error:#}"),
        }
    }
}

/// Hands the newest revision to the node; what waits for its next start.
async fn take_up(
    desk: &Arc<Desk>,
    log: &Logging,
    handle: &Handle,
) -> anyhow::Result<(u64, Vec<String>)> {
    let at = desk.clone();
    let read = move || -> anyhow::Result<(u64, Document, Config, Vec<String>)> {
        let (revision, document) = at.current()?;
        let (config, waiting) = at.taken_up(&document)?;
        Ok((revision, document, config, waiting))
    };
    let (revision, _, config, waiting) = tokio::task::spawn_blocking(read).await??;
    log.set_level(&config.log.level)?;
    driver::run::configure(handle, config).await?;
    desk.took_up(revision);
    Ok((revision, waiting))
}
