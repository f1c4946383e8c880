//! `cargo lab`: a walk through everything, step by step, each checked by what it brings about.
//!
//! It starts a house, plays the remote clients and looks from inside at what arrives: registrations
//! at Unified CM, the tone that the telephone hears, the page that nobody may reach. The order is
//! that of a day: find the edge, sign in, read the directory, register, call, chat, sign off; then
//! users of another cluster come in, servers are changed, and an identity provider vouches for
//! users; at the end the house is looked over, and UDS is switched off and on again.

mod audio;
mod calls;
mod chat;
mod clusters;
mod lookover;
mod manners;
mod report;
mod servers;
mod signin;
mod sso;
mod web;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use serde_json::json;
use tokio::signal::unix::{SignalKind, signal};

use crate::client::{Remote, Telephone};
use crate::command;
use crate::file::User;
use crate::house::House;
use crate::ladder::{Ladder, Recorder};
use crate::terminal;

pub(crate) use report::{Paint, Report, Span};

/// What a tour holds from one step to the next.
struct Stage {
    house: House,
    recorder: Recorder,
    alice: Option<Remote>,
    bob: Option<Remote>,
    alices_telephone: Option<Telephone>,
    bobs_telephone: Option<Telephone>,
    /// What no log may hold.
    secrets: Vec<String>,
}

impl Stage {
    fn user(&self, name: &str) -> Result<&User> {
        self.house.file.user(name)
    }

    fn alice(&self) -> Result<&Remote> {
        self.alice
            .as_ref()
            .filter(|alice| alice.config.is_some())
            .context("alice did not sign in")
    }
}

/// Runs the tour; the status is good only if every step was.
///
/// # Errors
/// The terminal's, or the operating system's about signals.
pub(crate) async fn run(options: &command::Tour) -> Result<ExitCode> {
    // Before any clock runs: a build may take minutes, and is no part of the day.
    let program = tokio::select! {
        program = House::program() => program,
        () = told_to_stop() => return Ok(ExitCode::FAILURE),
    };
    let mut report = Report::new(options.json);
    report.title("causeway: a day of a remote client, through a real edge and a real core");
    report.part('0', "Start the house");
    let began = Instant::now();
    let started = async { House::start(program?, &options.house).await };
    let house = tokio::select! {
        house = started => house,
        () = told_to_stop() => return Ok(ExitCode::FAILURE),
    };
    let nodes = options.house.size().nodes();
    let house = house.map(|house| (house, format!("{nodes}, every link up")));
    let Some(house) = report.record("edge, core and the servers inside answer", began, house)
    else {
        finish(&report, None, options.json)?;
        return Ok(ExitCode::FAILURE);
    };
    if options.keep {
        house.file.write(&house.dir)?;
    }
    let mut stage = Stage {
        recorder: house.inside.recorder.of("client"),
        house,
        alice: None,
        bob: None,
        alices_telephone: None,
        bobs_telephone: None,
        secrets: Vec::new(),
    };
    let ladder = tokio::select! {
        ladder = walk(&mut stage, &mut report) => Some(ladder),
        () = told_to_stop() => None,
    };
    let good = ladder.is_some() && report.failed() == 0;
    let Stage { mut house, .. } = stage;
    if options.keep && ladder.is_some() {
        finish(&report, ladder.as_ref(), options.json)?;
        let shown = house.dir.display();
        report.note(&format!(
            "everything still runs; {shown}/lab.json says where; Ctrl-C stops it"
        ));
        told_to_stop().await;
        house.stop().await;
    } else {
        if !good {
            house.keep_folder();
            report.note(&format!(
                "logs and configurations are kept in {}",
                house.dir.display()
            ));
        }
        house.stop().await;
        finish(&report, ladder.as_ref(), options.json)?;
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// All chapters, and what crossed the nodes in them.
async fn walk(stage: &mut Stage, report: &mut Report) -> Ladder {
    signin::walk(stage, report).await;
    web::walk(stage, report).await;
    calls::register(stage, report).await;
    calls::with_the_inside(stage, report).await;
    manners::walk(stage, report).await;
    calls::between_remotes(stage, report).await;
    chat::walk(stage, report).await;
    calls::unregister(stage, report).await;
    clusters::walk(stage, report).await;
    servers::walk(stage, report).await;
    sso::walk(stage, report).await;
    lookover::walk(stage, report).await;
    lookover::switch_off_and_on(stage, report).await;
    Ladder::read(&stage.house.file, &report.spans(), stage.recorder.summary())
}

async fn told_to_stop() {
    let terminated = async {
        match signal(SignalKind::terminate()) {
            Ok(mut terminate) => terminate.recv().await,
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => (),
        _ = terminated => (),
    }
}

fn finish(report: &Report, ladder: Option<&Ladder>, as_json: bool) -> Result<()> {
    if as_json {
        let mut object = report.json();
        object["ladder"] = json!(ladder.map(Ladder::rungs).unwrap_or_default());
        terminal::line(&serde_json::to_string_pretty(&object)?);
        return Ok(());
    }
    if let Some(ladder) = ladder {
        terminal::text(&ladder.drawn(report.paint()));
    }
    terminal::text(&report.tables());
    report.last_line();
    Ok(())
}
