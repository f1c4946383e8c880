//! k: what changes at the servers inside is found by the core and named, and so is what fails.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::process::Command;

use super::Stage;
use super::manners::is_mixed;
use super::report::{Report, ensure};
use crate::changes::{Change, PROFILE, RENAMED, SECOND};

/// A refresh asks the servers of the lab, the slow one after two seconds for each of its answers.
const WITHIN: Duration = Duration::from_secs(30);
/// How often they are asked until they tell: connections from before may still stand.
const TRIES: usize = 3;

/// Changes, and what the core is to say of them.
struct Step {
    name: &'static str,
    changes: Vec<Change>,
    /// Part of what it says.
    want: String,
    /// The number of the event that tells of it, if it is a warning or an error.
    event: Option<u64>,
}

/// One after the other; secure profiles mean something in mixed mode alone.
fn steps(mixed: bool) -> Vec<Step> {
    use Change as C;
    let step = |name, changes: &[Change], want: &str, event| Step {
        name,
        changes: changes.to_vec(),
        want: want.to_owned(),
        event,
    };
    let failed = Some(3021);
    vec![
        step(
            "a node joins",
            &[C::NodeAdded],
            &format!("node added {SECOND}"),
            None,
        ),
        step(
            "it is renamed",
            &[C::NodeAdded, C::NodeRenamed],
            &format!("node renamed {SECOND} -> {RENAMED}"),
            None,
        ),
        step(
            "its port changes",
            &[C::NodeAdded, C::NodeRenamed, C::PortChanged],
            &format!("port of {RENAMED} 5060 -> 5062"),
            None,
        ),
        step(
            "it leaves",
            &[],
            &format!("node removed {RENAMED}"),
            Some(3023),
        ),
        step(
            "mixed mode is toggled",
            &[C::MixedModeToggled],
            "mixed mode o",
            None,
        ),
        step(
            "a secure profile is added",
            if mixed {
                &[C::ProfileAdded]
            } else {
                &[C::MixedModeToggled, C::ProfileAdded]
            },
            &format!("secure profile added {PROFILE}"),
            Some(3024),
        ),
        step("AXL is off", &[C::AxlOff], "is not active (404)", failed),
        step("AXL throttles", &[C::AxlBusy], "or it throttles", failed),
        step("the role is missing", &[C::RoleMissing], "(403)", failed),
        step(
            "the account is locked",
            &[C::AccountLocked],
            "(401)",
            failed,
        ),
        step(
            "the server signs its own certificate",
            &[C::SelfSigned],
            "certificate",
            failed,
        ),
        step(
            "AXL is slow, and all is well",
            &[C::AxlSlow],
            "Active",
            None,
        ),
    ]
}

/// k, which leaves the inside as it was.
pub(super) async fn walk(stage: &Stage, report: &mut Report) {
    report.part('k', "Change the servers inside");
    for step in steps(is_mixed(stage).await) {
        report
            .step(step.name, async { found(stage, &step).await })
            .await;
    }
    let restored = Step {
        name: "",
        changes: Vec::new(),
        want: "Active".into(),
        event: None,
    };
    report
        .step("all is as it was", async { found(stage, &restored).await })
        .await;
}

async fn found(stage: &Stage, step: &Step) -> Result<((), String)> {
    stage.house.changes.set(&step.changes)?;
    let mut said = Vec::new();
    for _ in 0..TRIES {
        said = told(&refresh(stage).await?);
        let hit = said.iter().find(|(text, _)| text.contains(&step.want));
        let Some((text, fix)) = hit else {
            continue;
        };
        let Some(number) = step.event else {
            return Ok(((), text.clone()));
        };
        let about = match number {
            3024 => PROFILE,
            _ => text,
        };
        let event = event(stage, number, about).await?;
        let fix = if fix.is_empty() { &event } else { fix };
        return Ok(((), format!("{number} {text} — {fix}")));
    }
    let want = &step.want;
    ensure(false, || format!("{want:?} is not among {said:?}"))?;
    Ok(((), String::new()))
}

/// What a core says of its servers: changes, and causes with what to do.
fn told(servers: &Value) -> Vec<(String, String)> {
    let text = |row: &Value, field: &str| row[field].as_str().unwrap_or_default().to_owned();
    let rows = |list: &str| servers[list].as_array().cloned().unwrap_or_default();
    let changes = rows("history");
    let mut said: Vec<(String, String)> = changes
        .iter()
        .map(|row| (text(row, "what"), String::new()))
        .collect();
    let servers = rows("servers");
    said.extend(
        servers
            .iter()
            .map(|row| (text(row, "cause"), text(row, "fix"))),
    );
    said.retain(|(text, _)| !text.is_empty());
    if !servers.is_empty() && servers.iter().all(|row| row["state"] == "active") {
        said.push(("Active".into(), String::new()));
    }
    said
}

/// A core's event of that number about that, which must say what to do; what it says.
pub(super) async fn event(stage: &Stage, number: u64, about: &str) -> Result<String> {
    let is = |event: &&Value| {
        let whole = event.to_string();
        event["code"] == number && about.split(' ').all(|word| whole.contains(word))
    };
    for core in &stage.house.file.cores {
        let snapshot = stage.house.status(&core.config).await?;
        let events = snapshot["events"].as_array().cloned().unwrap_or_default();
        let Some(event) = events.iter().find(is) else {
            continue;
        };
        let fix = event["fix"].as_str().unwrap_or_default();
        let proof = event["proof"].as_object();
        let proven = proof.is_some_and(|proof| !proof.is_empty());
        ensure(proven && !fix.is_empty(), || {
            format!("event {number} has no proof, or does not say what to do: {event}")
        })?;
        return Ok(fix.to_owned());
    }
    anyhow::bail!("no event {number} tells of {about:?}")
}

/// Has the first core ask its servers.
pub(super) async fn refresh(stage: &Stage) -> Result<Value> {
    let file = &stage.house.file;
    let core = file.cores.first().context("a lab has a core")?;
    let mut ask = Command::new(&file.program);
    ask.args(["ctl", "servers", "refresh", "--json", "--config"]);
    ask.arg(&core.config)
        .stdin(Stdio::null())
        .kill_on_drop(true);
    let done = tokio::time::timeout(WITHIN, ask.output()).await??;
    serde_json::from_slice(&done.stdout)
        .with_context(|| String::from_utf8_lossy(&done.stderr).trim().to_owned())
}
