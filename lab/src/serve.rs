//! `cargo lab serve`: the house stays up until a signal.

use std::process::ExitCode;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

use crate::command::Serve;
use crate::file::LabFile;
use crate::house::House;
use crate::terminal;

/// Starts everything, writes `lab.json`, and waits for SIGINT or SIGTERM. A node that ends is
/// reported and not started again: outside programs do that with its `start`.
///
/// # Errors
/// If something does not start.
pub async fn serve(options: &Serve) -> Result<ExitCode> {
    let (mut terminate, mut interrupt) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    let started = async { House::start(House::program().await?, &options.house).await };
    let mut house = tokio::select! {
        started = started => started?,
        _ = terminate.recv() => return Ok(ExitCode::FAILURE),
        _ = interrupt.recv() => return Ok(ExitCode::FAILURE),
    };
    house.file.write(&house.dir)?;
    if options.json {
        terminal::line(&serde_json::to_string_pretty(&house.file)?);
    } else {
        terminal::text(&welcome(&house));
    }
    loop {
        tokio::select! {
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            ended = house.ended() => terminal::remark(
                &format!("{ended}; its `start` in lab.json starts it again")
            ),
        }
    }
    terminal::remark("stopping");
    house.stop().await;
    Ok(ExitCode::SUCCESS)
}

/// What runs, and what to try.
fn welcome(house: &House) -> String {
    let (file, dir) = (&house.file, house.dir.display());
    let mut out = format!(
        "\nThe lab runs; {} describes it.\n\n",
        LabFile::path(&house.dir).display()
    );
    let nodes = file
        .edges
        .iter()
        .map(|e| (&e.name, e.address, e.pid, &e.log));
    for (name, address, pid, log) in nodes.chain(
        file.cores
            .iter()
            .map(|c| (&c.name, c.address, c.pid, &c.log)),
    ) {
        out.push_str(&format!(
            "  {name:<6} {address:<11} process {pid:<8} log {}\n",
            log.display()
        ));
    }
    let users: Vec<String> = file
        .users
        .iter()
        .take(4)
        .map(|u| format!("{} ({})", u.name, u.extension))
        .collect();
    let config = file
        .cores
        .first()
        .map(|c| c.config.display().to_string())
        .unwrap_or_default();
    out.push_str(&format!(
        "\n  users  {} and {} more; passwords are in lab.json\n  phone  {}\n\n\
         Try, in another terminal:\n\n\
         \x20 cargo lab signin  --dir {dir} --user alice\n\
         \x20 cargo lab call    --dir {dir} --from alice --to {}\n\
         \x20 cargo lab message --dir {dir} --from alice --to bob\n\
         \x20 {} status --config {config}\n\nCtrl-C stops everything.\n",
        users.join(", "),
        file.users.len() - users.len(),
        file.inside.phone.extension,
        file.inside.phone.extension,
        file.program.display(),
    ));
    out
}
