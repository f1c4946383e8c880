//! `causeway run`.

use std::path::Path;
use std::process::ExitCode;

use admin::certificates::Desk;
use admin::rest::Rest;
use admin::serve;
use anyhow::Context;
use config::Config;
use driver::run::Running;
use net::tls;
use tokio::signal::unix::{SignalKind, signal};

/// Runs the node until a signal.
pub(crate) fn run(path: &Path) -> anyhow::Result<ExitCode> {
    let (config, warnings) = crate::check::load(path)?;
    let _log = crate::log::start(&config.log)?;
    for warning in warnings {
        tracing::warn!(target: "configuration", "{warning}");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("io")
        .build()
        .context("the operating system gives no threads")?;
    // Before the media worker asks how many sockets it may keep.
    let files = net::descriptors::raise();
    runtime.block_on(async {
        let mut running = driver::run::start(config.clone()).await?;
        running.guard = running
            .guard
            .map(|guard| guard.of_file(path, running.handle.clone()));
        administer(&config, &running)?;
        let (mut terminate, mut interrupt) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        for (what, address) in &running.listening {
            tracing::info!(%address, "listening for {what}");
        }
        let node = config.fqdn();
        tracing::info!(%node, version = driver::VERSION, open_files = files, "running");
        let code = tokio::select! {
            _ = terminate.recv() => ExitCode::SUCCESS,
            _ = interrupt.recv() => ExitCode::SUCCESS,
            why = running.failed() => {
                tracing::error!(why, "a part of the node failed; stopping so that it can be \
                 started anew");
                ExitCode::FAILURE
            }
        };
        tracing::info!("stopping");
        running.stop().await;
        Ok(code)
    })
}

/// What administrators reach the node's certificates by.
fn desk(running: &Running) -> Desk {
    Desk {
        certificates: running.certificates.clone(),
        gates: running.gates.clone(),
        clock: running.clock,
    }
}

/// Opens the local socket and, where configured, HTTPS for administrators.
fn administer(config: &Config, running: &Running) -> anyhow::Result<()> {
    let local = Rest {
        handle: running.handle.clone(),
        token: None,
        guard: running.guard.clone(),
        certificates: Some(desk(running)),
    };
    let socket = running.data_file(admin::SOCKET);
    let serving = serve::local(local, &socket, running.stopping())
        .with_context(|| format!("the local socket {} cannot be made", socket.display()))?;
    tokio::spawn(serving);
    let Some(token_file) = &config.administration_token else {
        return Ok(());
    };
    let token = driver::files::first_line("token file", token_file)?;
    let certificates = &running.certificates;
    let tls = certificates.live(|loaded| tls::client_facing(&loaded.identity, &[b"http/1.1"]))?;
    for address in &config.administration {
        let listener = net::socket::listen(*address)?;
        let rest = Rest {
            handle: running.handle.clone(),
            token: Some(token.clone()),
            guard: running.guard.clone(),
            certificates: Some(desk(running)),
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
