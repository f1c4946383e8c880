//! l: what changes at the servers inside is found by the core and named, and so is what fails.

use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;
use tokio::process::Command;

use super::Stage;
use super::report::{Report, ensure};
use crate::changes::{Change, PROFILE, RENAMED, SECOND};

/// A refresh asks two servers of the lab, the slow one after two seconds for each of its answers.
const WITHIN: Duration = Duration::from_secs(30);

/// Changes one after the other, each with what the core is to say of it.
fn steps() -> Vec<(&'static str, Vec<Change>, String)> {
    use Change as C;
    let added = || vec![C::NodeAdded];
    let and = |more: &[Change]| [&[C::NodeAdded], more].concat();
    vec![
        ("a node joins", added(), format!("node added {SECOND}")),
        (
            "it is renamed",
            and(&[C::NodeRenamed]),
            format!("node renamed {SECOND} -> {RENAMED}"),
        ),
        (
            "its port changes",
            and(&[C::NodeRenamed, C::PortChanged]),
            format!("port of {RENAMED} 5060 -> 5062"),
        ),
        ("it leaves", vec![], format!("node removed {RENAMED}")),
        (
            "mixed mode is toggled",
            vec![C::MixedModeToggled],
            "mixed mode o".into(),
        ),
        (
            "a secure profile is added",
            vec![C::MixedModeToggled, C::ProfileAdded],
            format!("secure profile added {PROFILE}"),
        ),
        ("AXL is off", vec![C::AxlOff], "is not active (404)".into()),
        ("AXL throttles", vec![C::AxlBusy], "or it throttles".into()),
        ("the role is missing", vec![C::RoleMissing], "(403)".into()),
        (
            "the account is locked",
            vec![C::AccountLocked],
            "(401)".into(),
        ),
        (
            "AXL is slow, and all is well",
            vec![C::AxlSlow],
            "Active".into(),
        ),
    ]
}

/// l, which leaves the inside as it was.
pub(super) async fn walk(stage: &Stage, report: &mut Report) {
    report.part('l', "Change the servers inside");
    for (name, changes, want) in steps() {
        report
            .step(name, async { found(stage, &changes, &want).await })
            .await;
    }
    let restored = async { found(stage, &[], "Active").await };
    report.step("all is as it was", restored).await;
}

async fn found(stage: &Stage, changes: &[Change], want: &str) -> Result<((), String)> {
    stage.house.changes.set(changes)?;
    let told = refresh(stage).await?;
    let text = |rows: &Value, field: &str| -> Vec<String> {
        let rows = rows.as_array().into_iter().flatten();
        let texts = rows.filter_map(|row| row[field].as_str());
        texts.filter(|t| !t.is_empty()).map(str::to_owned).collect()
    };
    let mut said = text(&told["history"], "what");
    said.extend(text(&told["servers"], "cause"));
    let all_active = told["servers"]
        .as_array()
        .is_some_and(|rows| rows.iter().all(|row| row["state"] == "active"));
    if all_active {
        said.push("Active".into());
    }
    let hit = said.iter().find(|s| s.contains(want)).cloned();
    ensure(hit.is_some(), || format!("{want:?} is not among {said:?}"))?;
    Ok(((), hit.unwrap_or_default()))
}

/// Has the first core ask its servers.
async fn refresh(stage: &Stage) -> Result<Value> {
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
