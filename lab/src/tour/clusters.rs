//! j: users of another cluster come in through the same pair, whether or not the clusters tell one
//! another of their users.

use anyhow::{Context, Result};

use super::Stage;
use super::report::{Report, ensure};
use super::servers::event;
use super::signin::expect;
use crate::changes::Change;
use crate::client::{Remote, child};

const HZ: f64 = 550.0;

/// j, which leaves the clusters as they were.
pub(super) async fn walk(stage: &Stage, report: &mut Report) {
    report.part('j', "A second cluster");
    let judy = report
        .step("judy, of the other cluster, signs in", async {
            signed_in(stage, "judy").await
        })
        .await;
    report
        .step("the first cluster's UDS says where she is at home", async {
            let judy = judy.as_ref().context("judy is not signed in")?;
            looked_up(stage, judy, true).await
        })
        .await;
    report
        .step(
            "her telephone, with a secure profile, registers there",
            async { registers(stage, judy.as_ref().context("judy is not signed in")?).await },
        )
        .await;
    report
        .step("ILS off: the first cluster does not know her", async {
            stage.house.changes.set(&[Change::IlsOff])?;
            let judy = judy.as_ref().context("judy is not signed in")?;
            looked_up(stage, judy, false).await
        })
        .await;
    report
        .step("ivan signs in all the same: each cluster is asked", async {
            let (_, detail) = signed_in(stage, "ivan").await?;
            Ok(((), detail))
        })
        .await;
    report
        .step("and the core tells that ILS is missing", async {
            let publisher = stage.house.file.inside.unified_cm.first();
            let publisher = publisher.context("a lab has a Unified CM")?;
            let about = format!(
                "Intercluster Lookup Service: {} does not know",
                publisher.name
            );
            let fix = event(stage, 3026, &about).await?;
            Ok(((), format!("3026 {about} a user of the other — {fix}")))
        })
        .await;
    if let Err(fault) = stage.house.changes.set(&[]) {
        report.note(&format!("the clusters stay apart: {fault:#}"));
    }
}

async fn signed_in(stage: &Stage, name: &str) -> Result<(Remote, String)> {
    let file = &stage.house.file;
    let mut remote = Remote::discover(file, stage.user(name)?, &stage.recorder).await?;
    let (domain, password) = (remote.domain.clone(), remote.user.password.clone());
    let reply = remote.sign_in(&domain, &password).await?;
    expect(&reply, 200)?;
    let (uds, _) = remote
        .config
        .as_ref()
        .and_then(|c| c.uds.first())
        .context("no UDS server")?;
    let other = file
        .inside
        .other_cluster
        .first()
        .context("a lab has another cluster")?;
    ensure(*uds == other.name, || format!("UDS is {uds}"))?;
    let detail = format!("200, UDS {uds}");
    Ok((remote, detail))
}

/// What the first cluster says of a user of the other one, asked through the pair.
async fn looked_up(stage: &Stage, remote: &Remote, known: bool) -> Result<((), String)> {
    let inside = &stage.house.file.inside;
    let node = inside
        .unified_cm
        .first()
        .context("a lab has a Unified CM")?;
    let path = format!("/cucm-uds/clusterUser?username={}", remote.user.name);
    let reply = remote.ask(("https", &node.name, 8443), &path).await?;
    expect(&reply, 200)?;
    let answer = crate::client::element(&reply.body)?;
    let found = child(&answer, "result")
        .and_then(|r| r.attr("found"))
        .unwrap_or_default();
    let home = child(&answer, "homeCluster").map(minidom::Element::text);
    let other = inside
        .other_cluster
        .first()
        .context("a lab has another cluster")?;
    let good = match known {
        true => found == "true" && home.as_ref() == Some(&other.name),
        false => found == "false" && home.is_none(),
    };
    ensure(good, || reply.text())?;
    let home = home.unwrap_or_else(|| "nowhere".into());
    Ok(((), format!("{}: found {found}, at home {home}", node.name)))
}

async fn registers(stage: &Stage, remote: &Remote) -> Result<((), String)> {
    let line_side = stage.house.inside.other_line_side.as_ref();
    let Some(line_side) = line_side else {
        return Ok(((), "call control is a real one".into()));
    };
    let telephone = remote.telephone(HZ).await?;
    let registered = telephone.agent.register_over_tls().await;
    let zone = zone_of(stage, &remote.user.extension).await;
    let rows = line_side.registrations();
    telephone.agent.unregister().await?;
    telephone.agent.stack().stop();
    registered?;
    let [row] = rows.as_slice() else {
        anyhow::bail!("the other cluster has {} registrations", rows.len());
    };
    ensure(row.extension == remote.user.extension, || {
        row.extension.clone()
    })?;
    let (at, zone) = (line_side.name(), zone?);
    ensure(zone == format!("CEtls-{at}"), || format!("it is in {zone}"))?;
    Ok(((), format!("{} over TLS, in {zone}", row.extension)))
}

/// The zone that a core has a line's registration in.
async fn zone_of(stage: &Stage, extension: &str) -> Result<String> {
    for core in &stage.house.file.cores {
        let snapshot = stage.house.status(&core.config).await?;
        let rows = snapshot["registrations"].as_array().cloned();
        let rows = rows.unwrap_or_default();
        let mut rows = rows
            .iter()
            .filter(|row| row.to_string().contains(extension));
        if let Some(zone) = rows.find_map(|row| row["zone"].as_str()) {
            return Ok(zone.to_owned());
        }
    }
    anyhow::bail!("no core has {extension}")
}
