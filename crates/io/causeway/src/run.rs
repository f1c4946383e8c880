//! `causeway run`.

mod state;

use std::path::Path;
use std::process::ExitCode;

use admin::certificates::Desk;
use admin::rest::Rest;
use admin::serve;
use anyhow::Context;
use config::Config;
use driver::run::Running;
use net::tls::{self, Live};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::place::FileArg;

/// Runs the node until a signal.
pub(crate) fn run(place: &FileArg, import: Option<&Path>) -> anyhow::Result<ExitCode> {
    match place.state() {
        Some(folder) => state::run(folder, import),
        None => by_file(place),
    }
}

/// With the settings of a file, read once.
fn by_file(place: &FileArg) -> anyhow::Result<ExitCode> {
    let (config, warnings) = place.load()?;
    let _log = crate::log::start(&config.log)?;
    for warning in warnings {
        tracing::warn!(target: "configuration", "{warning}");
    }
    let store = config.data.join(admin::settings::FILE);
    if store.exists() {
        let store = store.display();
        tracing::warn!(%store, "the settings in the store are not used: this node runs by a file");
    }
    let (runtime, files) = runtime()?;
    runtime.block_on(async {
        let mut signals = Signals::new()?;
        let mut running = driver::run::start(config.clone()).await?;
        let file = place.file("no file is named")?;
        running.guard = running
            .guard
            .map(|guard| guard.of_file(file, running.handle.clone()));
        let rest = rest(&running);
        let socket = running.data_file(admin::SOCKET);
        let serving = serve::local(Live::new(rest.clone().into()), &socket, running.stopping())
            .with_context(|| format!("the local socket {} cannot be made", socket.display()))?;
        tokio::spawn(serving);
        administer(&config, &running, &rest)?;
        tell(&config, &running, files);
        Ok(signals.until_the_end(running).await)
    })
}

/// What everything runs in, and how many files may be open.
fn runtime() -> anyhow::Result<(tokio::runtime::Runtime, Option<usize>)> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("io")
        .build()
        .context("the operating system gives no threads")?;
    // Before the media worker asks how many sockets it may keep.
    Ok((runtime, net::descriptors::raise()))
}

/// What ends the program.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        Ok(Signals {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Waits for one.
    async fn any(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }

    /// Lets the node run until one comes, or a part of it fails; stops it then.
    async fn until_the_end(&mut self, mut running: Running) -> ExitCode {
        let code = tokio::select! {
            () = self.any() => ExitCode::SUCCESS,
            why = running.failed() => {
                tracing::error!(why, "a part of the node failed; stopping so that it can be \
                 started anew");
                ExitCode::FAILURE
            }
        };
        tracing::info!("stopping");
        running.stop().await;
        code
    }
}

/// What answers administrators of a node that runs by a file.
fn rest(running: &Running) -> Rest {
    Rest {
        handle: running.handle.clone(),
        token: None,
        guard: running.guard.clone(),
        settings: None,
        via: String::new(),
        certificates: Some(certificates(running)),
    }
}

/// What administrators reach the node's certificates by.
fn certificates(running: &Running) -> Desk {
    Desk {
        certificates: running.certificates.clone(),
        gates: running.gates.clone(),
        clock: running.clock,
    }
}

/// Says that the node runs, and where it listens.
fn tell(config: &Config, running: &Running, files: Option<usize>) {
    for (what, address) in &running.listening {
        tracing::info!(%address, "listening for {what}");
    }
    let node = config.fqdn();
    tracing::info!(%node, version = driver::VERSION, open_files = files, "running");
}

/// Opens HTTPS for administrators, where configured.
fn administer(config: &Config, running: &Running, rest: &Rest) -> anyhow::Result<()> {
    let Some(token_file) = &config.administration_token else {
        return Ok(());
    };
    let token = driver::files::first_line("token file", token_file)?;
    let certificates = &running.certificates;
    let tls = certificates.live(|loaded| tls::client_facing(&loaded.identity, &[b"http/1.1"]))?;
    for address in &config.administration {
        let listener = net::socket::listen(*address)?;
        let rest = Rest {
            token: Some(token.clone()),
            ..rest.clone()
        };
        tokio::spawn(serve::https(
            rest,
            listener,
            tls.clone(),
            running.stopping(),
        ));
        tracing::info!(%address, "listening for administrators");
    }
    Ok(())
}
