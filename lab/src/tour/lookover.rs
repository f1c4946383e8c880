//! m and n: what is left behind, what the logs hold, and what happens when the inside is away.

use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::Stage;
use super::report::{Report, ensure};
use super::servers::event;
use super::signin::expect;
use crate::changes::Change;
use crate::client::Remote;

/// Ports are freed once the last message of a call has passed.
const FREED_WITHIN: Duration = Duration::from_secs(5);

/// Somebody who has not signed in before, so that no cache can answer for the inside.
const NEWCOMER: &str = "dave";

/// m.
pub(super) async fn walk(stage: &Stage, report: &mut Report) {
    report.part('m', "Look the house over");
    report
        .step("every media port is free again", async {
            ports(stage).await
        })
        .await;
    report
        .step("no password or token is in a log", async { secrets(stage) })
        .await;
    report
        .step("no user or address above DEBUG", async { privacy(stage) })
        .await;
    report.step("nobody panicked", async { calm(stage) }).await;
}

/// n, which leaves the inside as it was.
pub(super) async fn switch_off_and_on(stage: &mut Stage, report: &mut Report) {
    report.part('n', "Switch UDS off and on");
    for (name, change, status, fault) in FAULTS {
        report
            .step(name, async {
                stage.house.changes.set(&[change])?;
                faulty(stage, status, fault).await
            })
            .await;
    }
    if let Err(fault) = stage.house.changes.set(&[]) {
        report.note(&format!("UDS stays as it is: {fault:#}"));
    }
    stage.house.inside.darken();
    report
        .step("sign-in while it is off: not 401, but 502", async {
            off(stage).await
        })
        .await;
    let lit = stage.house.inside.light().await;
    report
        .step("sign-in once it is on again", async {
            lit?;
            on(stage).await
        })
        .await;
}

fn nodes(
    stage: &Stage,
) -> impl Iterator<Item = (&String, &std::path::PathBuf, &std::path::PathBuf)> {
    let file = &stage.house.file;
    let edges = file
        .edges
        .iter()
        .map(|edge| (&edge.name, &edge.config, &edge.log));
    edges.chain(
        file.cores
            .iter()
            .map(|core| (&core.name, &core.config, &core.log)),
    )
}

async fn ports(stage: &Stage) -> Result<((), String)> {
    let end = tokio::time::Instant::now() + FREED_WITHIN;
    loop {
        let mut used = Vec::new();
        for (name, config, _) in nodes(stage) {
            let snapshot = stage.house.status(config).await?;
            let count = snapshot["counters"]["media_ports_in_use"].as_u64();
            used.push((
                name,
                count.with_context(|| format!("{name} does not tell"))?,
                snapshot,
            ));
        }
        let busy: Vec<String> = used
            .iter()
            .filter(|(_, count, _)| *count > 0)
            .map(|(name, count, _)| format!("{name} has {count} in use"))
            .collect();
        if busy.is_empty() {
            let calls: usize = used
                .iter()
                .map(|(_, _, snapshot)| ended_calls(snapshot))
                .sum();
            return Ok((
                (),
                format!(
                    "0 in use on {} nodes, {calls} calls in their histories",
                    used.len()
                ),
            ));
        }
        ensure(tokio::time::Instant::now() < end, || busy.join(", "))?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn ended_calls(snapshot: &Value) -> usize {
    snapshot["history"].as_array().map_or(0, Vec::len)
}

fn secrets(stage: &Stage) -> Result<((), String)> {
    let file = &stage.house.file;
    let mut secrets: Vec<String> = file
        .users
        .iter()
        .map(|user| user.password.clone())
        .collect();
    secrets.push(file.administrator.password.clone());
    secrets.push(file.administrator.token.clone());
    secrets.extend(stage.secrets.iter().cloned());
    secrets.extend(stage.alice.as_ref().and_then(Remote::token));
    secrets.extend(stage.bob.as_ref().and_then(Remote::token));
    let mut lines = 0;
    for (name, _, log) in nodes(stage) {
        let text = std::fs::read_to_string(log).with_context(|| log.display().to_string())?;
        lines += text.lines().count();
        let leaks: Vec<&str> = text
            .lines()
            .filter(|line| secrets.iter().any(|secret| line.contains(secret.as_str())))
            .collect();
        ensure(leaks.is_empty(), || {
            format!("{} lines of {name}'s log hold one", leaks.len())
        })?;
    }
    ensure(lines > 0, || "the logs are empty".into())?;
    Ok((
        (),
        format!("{} secrets looked for in {lines} lines", secrets.len()),
    ))
}

/// Lines of INFO and above name no person and no client.
fn privacy(stage: &Stage) -> Result<((), String)> {
    let people = ["alice", "bob", "carol"].map(|name| stage.user(name));
    let mut hidden: Vec<String> = Vec::new();
    for user in people {
        let user = user?;
        hidden.extend([user.name.clone(), user.sip.clone(), user.jid.clone()]);
    }
    let clients = [&stage.alice, &stage.bob].into_iter().flatten();
    hidden.extend(clients.map(|remote| remote.local.to_string()));
    let mut lines = 0;
    for (name, _, log) in nodes(stage) {
        let text = std::fs::read_to_string(log).with_context(|| log.display().to_string())?;
        let debug = |line: &&str| {
            line.contains("\"level\":\"DEBUG\"") || line.contains("\"level\":\"TRACE\"")
        };
        let shown: Vec<&str> = text.lines().filter(|line| !debug(line)).collect();
        lines += shown.len();
        let told: Vec<&&str> = shown
            .iter()
            .filter(|line| hidden.iter().any(|word| names(line, word)))
            .collect();
        ensure(told.is_empty(), || {
            let first = told
                .first()
                .map(|line| message_of(line))
                .unwrap_or_default();
            format!("{} lines of {name}'s log do, such as {first}", told.len())
        })?;
    }
    Ok((
        (),
        format!(
            "{} names and addresses looked for in {lines} lines",
            hidden.len()
        ),
    ))
}

/// What a line of JSON says, without when and where.
fn message_of(line: &str) -> String {
    let line: Value = serde_json::from_str(line).unwrap_or_default();
    line["message"].as_str().unwrap_or_default().to_owned()
}

/// Whether the line holds that word, not as a part of a longer one.
fn names(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let inside = |c: Option<char>| c.is_some_and(char::is_alphanumeric);
        !inside(before) && !inside(after)
    })
}

fn calm(stage: &Stage) -> Result<((), String)> {
    for (name, config, log) in nodes(stage) {
        for path in [log.clone(), config.with_file_name("stderr")] {
            let text = std::fs::read_to_string(&path).unwrap_or_default();
            let line = text.lines().find(|line| line.contains("panicked at"));
            ensure(line.is_none(), || {
                format!("{name}: {}", line.unwrap_or_default())
            })?;
        }
    }
    Ok(((), "no panic in any log".to_owned()))
}

/// What is wrong with UDS, what a sign-in is answered then, and what event 3003 gives for cause.
const FAULTS: [(&str, Change, u16, Option<&str>); 3] = [
    (
        "sign-in while UDS throttles: not 401, but 502",
        Change::UdsBusy,
        502,
        Some("status 503"),
    ),
    (
        "sign-in while her account is locked: 401",
        Change::UsersLocked,
        401,
        None,
    ),
    (
        "sign-in while UDS is slow: all is well",
        Change::UdsSlow,
        200,
        None,
    ),
];

async fn faulty(stage: &Stage, status: u16, told: Option<&str>) -> Result<((), String)> {
    let user = stage.user(if status == 200 { "frank" } else { "erin" })?;
    let mut newcomer = Remote::discover(&stage.house.file, user, &stage.recorder).await?;
    let (domain, password) = (newcomer.domain.clone(), newcomer.user.password.clone());
    let reply = newcomer.sign_in(&domain, &password).await?;
    expect(&reply, status)?;
    let Some(cause) = told else {
        return Ok(((), status.to_string()));
    };
    let fix = event(stage, 3003, cause).await?;
    Ok(((), format!("3003 {cause} — {fix}")))
}

async fn off(stage: &Stage) -> Result<((), String)> {
    let mut newcomer =
        Remote::discover(&stage.house.file, stage.user(NEWCOMER)?, &stage.recorder).await?;
    let (domain, password) = (newcomer.domain.clone(), newcomer.user.password.clone());
    let reply = newcomer.sign_in(&domain, &password).await?;
    expect(&reply, 502)?;
    Ok(((), "502".to_owned()))
}

async fn on(stage: &Stage) -> Result<((), String)> {
    let mut newcomer =
        Remote::discover(&stage.house.file, stage.user(NEWCOMER)?, &stage.recorder).await?;
    let (domain, password) = (newcomer.domain.clone(), newcomer.user.password.clone());
    let end = tokio::time::Instant::now() + FREED_WITHIN;
    let mut tries = 0;
    loop {
        tries += 1;
        let reply = newcomer.sign_in(&domain, &password).await?;
        if reply.status == 200 || tokio::time::Instant::now() >= end {
            expect(&reply, 200)?;
            return Ok(((), format!("200 at try {tries}")));
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
}
