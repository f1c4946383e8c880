//! f: what Unified CM does beside calls: notices, restarts, key presses, shared lines.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context, Result};

use super::calls::{BOB_HZ, PATIENCE, alices, hang_up, phone, registration};
use super::report::{Report, ensure};
use super::servers::event;
use super::{Stage, signin};
use crate::changes::Change;
use crate::client::Remote;
use crate::sip::agent::Agent;
use crate::sip::phone as telephone;

/// How often something is looked for that comes by itself.
const LOOK: Duration = Duration::from_millis(10);

/// f.
pub(super) async fn walk(stage: &Stage, report: &mut Report) {
    report.part('f', "What call control does beside calls");
    report
        .step("her telephone was told of messages and lines", async {
            told(stage).await
        })
        .await;
    report
        .step("its alarm reaches Unified CM", async { alarm(stage).await })
        .await;
    report
        .step("a restart names the Call-ID of its REGISTER", async {
            restart(stage).await
        })
        .await;
    report
        .step("1100 is dialled digit by digit", async {
            digits(stage).await
        })
        .await;
    report
        .step("her desk telephone shares the line: both ring", async {
            shared(stage).await
        })
        .await;
    report
        .step("a video call in a region of 384 kbit/s is told of", async {
            little_video(stage).await
        })
        .await;
    if is_mixed(stage).await {
        report
            .step("a device with a secure profile registers over TLS", async {
                secure_device(stage).await
            })
            .await;
    }
}

/// Unsolicited NOTIFY and REFER, which come by themselves after a new registration.
async fn told(stage: &Stage) -> Result<((), String)> {
    let agent = alices(stage)?;
    let come = async {
        while agent.notices().len() < 2 {
            tokio::time::sleep(LOOK).await;
        }
    };
    let come = tokio::time::timeout(PATIENCE, come).await;
    come.context("nothing came after the registration")?;
    let notices = agent.notices();
    let line_side = stage.house.inside.line_side.as_ref();
    let told = line_side.context("call control is a real one")?.told();
    let extension = &agent.profile().extension;
    let refused = told
        .iter()
        .find(|t| t.extension == *extension && t.status.is_none_or(|s| s >= 300));
    ensure(refused.is_none(), || {
        {
            refused.map_or_else(String::new, |t| {
                format!("{} was answered {:?}", t.what, t.status)
            })
        }
    })?;
    let kinds: Vec<String> = notices
        .iter()
        .map(|n| format!("{} {}", n.method, n.event).trim().to_owned())
        .collect();
    ensure(kinds == ["NOTIFY message-summary", "REFER"], || {
        format!("{kinds:?}")
    })?;
    let whole = notices
        .iter()
        .any(|n| n.body.contains("<bulkupdate>") && n.body.ends_with("\r\n"));
    ensure(whole, || "the body of the REFER was changed".into())?;
    Ok(((), kinds.join(", ")))
}

async fn alarm(stage: &Stage) -> Result<((), String)> {
    let status = alices(stage)?.alarm().await?;
    ensure(status == 202, || format!("it was answered {status}"))?;
    Ok(((), "REFER with a cid: and no subscription, 202".into()))
}

async fn restart(stage: &Stage) -> Result<((), String)> {
    let agent = alices(stage)?;
    let row = registration(stage, agent)?;
    let line_side = stage.house.inside.line_side.as_ref();
    let line_side = line_side.context("call control is a real one")?;
    // The telephone refuses it unless the Call-ID is its own.
    line_side.service_control(&row, "restart").await?;
    Ok(((), "service-control, taken".into()))
}

async fn digits(stage: &Stage) -> Result<((), String)> {
    let number = &stage.house.file.inside.phone.extension;
    let (first, rest) = number.split_at(2);
    let mine = alices(stage)?.call_overlapped(first, rest).await?;
    let theirs = phone(stage)?.next_call(PATIENCE).await?;
    hang_up(&(mine, theirs)).await?;
    Ok((
        (),
        "SUBSCRIBE kpml in the early dialog, a NOTIFY a digit".into(),
    ))
}

/// A second device on alice's line, inside; the first to answer has the call.
async fn shared(stage: &Stage) -> Result<((), String)> {
    let alice = alices(stage)?;
    let desk = desk(stage).await?;
    let made = async {
        let theirs = phone(stage)?.call(&alice.profile().extension).await?;
        let one = async {
            while alice.calls().len() + desk.calls().len() != 1 {
                tokio::time::sleep(LOOK).await;
            }
        };
        let one = tokio::time::timeout(PATIENCE, one).await;
        one.context("both devices, or none, have the call")?;
        let (who, mine) = match alice.calls().pop() {
            Some(call) => ("her client answered first", call),
            None => (
                "the desk telephone answered first",
                desk.calls().pop().context("no call")?,
            ),
        };
        // Alice's own line of calls that came in is left as it was.
        let _ = alice.next_call(Duration::from_millis(1)).await;
        hang_up(&(theirs, mine)).await?;
        Ok(((), who.to_owned()))
    };
    let outcome = made.await;
    desk.unregister().await?;
    desk.stack().stop();
    outcome
}

/// Call control allows the call's video less than the client asked for: event 5006.
async fn little_video(stage: &Stage) -> Result<((), String)> {
    stage.house.changes.set(&[Change::RegionLimited])?;
    let made = async {
        let mine = alices(stage)?
            .call_with_video(&stage.house.file.inside.phone.extension)
            .await?;
        let theirs = phone(stage)?.next_call(PATIENCE).await?;
        hang_up(&(mine, theirs)).await
    };
    let made = made.await;
    stage.house.changes.set(&[])?;
    made?;
    let fix = event(stage, 5006, "allows the video less kbps 384").await?;
    Ok(((), format!("5006 with kbps 384 — {fix}")))
}

/// Whether the cores have zones for devices with secure profiles in the first cluster: it is in
/// mixed mode.
pub(super) async fn is_mixed(stage: &Stage) -> bool {
    let Some(core) = stage.house.file.cores.first() else {
        return false;
    };
    let snapshot = stage.house.status(&core.config).await.unwrap_or_default();
    let zones = snapshot["zones"].as_array().cloned().unwrap_or_default();
    let name = |zone: &serde_json::Value| zone["name"].as_str().unwrap_or_default().to_owned();
    let node = stage.house.file.inside.unified_cm.first();
    let of_it = node.map(|node| format!("CEtls-{}", node.name));
    zones.iter().any(|zone| Some(name(zone)) == of_it)
}

/// In mixed mode, bob's telephone with a secure profile: TLS on the whole of its way.
async fn secure_device(stage: &Stage) -> Result<((), String)> {
    let user = stage.user("bob")?;
    let mut remote = Remote::discover(&stage.house.file, user, &stage.recorder).await?;
    signin::sign_in(stage, &mut remote).await?;
    let telephone = remote.telephone(BOB_HZ).await?;
    let made = async {
        telephone.agent.register_over_tls().await?;
        let mut zones = Vec::new();
        for core in &stage.house.file.cores {
            let snapshot = stage.house.status(&core.config).await?;
            let rows = snapshot["registrations"].as_array().cloned();
            let rows = rows.unwrap_or_default();
            zones.extend(
                rows.iter()
                    .filter_map(|row| Some(row["zone"].as_str()?.to_owned())),
            );
        }
        let zone = zones.iter().find(|zone| zone.starts_with("CEtls-"));
        let zone = zone.with_context(|| format!("it is registered in {zones:?}"))?;
        let mine = telephone
            .agent
            .call(&phone(stage)?.profile().extension)
            .await?;
        let theirs = phone(stage)?.next_call(PATIENCE).await?;
        hang_up(&(mine, theirs)).await?;
        Ok(((), format!("in {zone}, and 1100 answers it")))
    };
    let outcome = made.await;
    telephone.agent.unregister().await?;
    telephone.agent.stack().stop();
    outcome
}

/// The telephone on alice's desk.
async fn desk(stage: &Stage) -> Result<Agent> {
    let alice = stage.user("alice")?;
    let unified_cm = stage.house.file.inside.unified_cm.first();
    let desk = telephone::Config {
        extension: alice.extension.clone(),
        domain: stage.house.file.domain.clone(),
        sip: (DESK, 5060).into(),
        unified_cm: unified_cm.context("no Unified CM")?.sip,
        device: Some(crate::world::desk_phone(&alice.extension)),
        recorder: stage.recorder.of("inside"),
    };
    telephone::start(desk).await
}

/// Where it stands.
const DESK: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(127, 0, 3, 32));
