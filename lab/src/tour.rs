//! `cargo lab`: a walk through everything, step by step, each checked by what it brings about.
//!
//! It starts a house, plays the remote clients and looks from inside at what arrives: registrations
//! at Unified CM, the tone that the telephone hears, the page that nobody may reach. The order is
//! that of a day: find the edge, sign in, read the directory, register, call, chat, sign off; at the
//! end the house is looked over, and its inside is switched off and on again.

mod audio;
mod calls;
mod chat;
mod lookover;
mod report;
mod signin;
mod web;

use std::process::ExitCode;

use anyhow::{Context, Result};
use serde_json::json;

use crate::client::{Remote, Telephone};
use crate::command;
use crate::file::User;
use crate::house::House;
use crate::ladder::{self, Recorder};

pub(crate) use report::{Paint, Report, Span};

/// What a tour holds from one step to the next.
struct Stage {
    house: House,
    recorder: Recorder,
    alice: Option<Remote>,
    bob: Option<Remote>,
    alices_telephone: Option<Telephone>,
    bobs_telephone: Option<Telephone>,
}

impl Stage {
    fn user(&self, name: &str) -> Result<&User> {
        self.house.file.user(name)
    }

    fn alice(&self) -> Result<&Remote> {
        self.alice.as_ref().filter(|alice| alice.config.is_some()).context("alice did not sign in")
    }
}

/// Runs the tour; the status is good only if every step was.
///
/// # Errors
/// The house does not start.
pub(crate) async fn run(options: &command::Tour) -> Result<ExitCode> {
    let mut report = Report::new(options.json);
    report.title("causeway: a day of a remote client, through a real edge and a real core");
    let house = House::start(&options.house).await?;
    if options.keep {
        house.file.write(&house.dir)?;
    }
    let recorder = house.inside.recorder.of("client");
    let mut stage = Stage {
        house,
        recorder,
        alice: None,
        bob: None,
        alices_telephone: None,
        bobs_telephone: None,
    };
    signin::walk(&mut stage, &mut report).await;
    web::walk(&stage, &mut report).await;
    calls::register(&mut stage, &mut report).await;
    calls::with_the_inside(&stage, &mut report).await;
    calls::between_remotes(&mut stage, &mut report).await;
    chat::walk(&stage, &mut report).await;
    calls::unregister(&stage, &mut report).await;
    lookover::walk(&stage, &mut report).await;
    let ladder = ladder::Ladder::read(&stage.house.file, &report.spans());
    lookover::switch_off_and_on(&mut stage, &mut report).await;
    let Stage { mut house, .. } = stage;
    finish(&mut report, &ladder, options.json)?;
    let good = report.failed() == 0;
    if options.keep {
        report.note(&format!("everything still runs; {} says where; Ctrl-C stops it", house.dir.display()));
        tokio::signal::ctrl_c().await?;
    } else if !good {
        house.keep_folder();
        report.note(&format!("logs and configurations are kept in {}", house.dir.display()));
    }
    house.stop().await;
    report.last_line();
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn finish(report: &mut Report, ladder: &ladder::Ladder, as_json: bool) -> Result<()> {
    if as_json {
        let mut object = report.json();
        object["ladder"] = json!(ladder.rungs());
        println!("{}", serde_json::to_string_pretty(&object)?);
    } else {
        print!("{}", ladder.drawn(report.paint()));
        print!("{}", report.tables());
    }
    Ok(())
}
