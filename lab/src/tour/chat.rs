//! h: chat between a remote user and one inside.

use std::time::Duration;

use anyhow::{Context, Result};

use super::Stage;
use super::report::{Report, ensure};
use crate::client::{Chat, chat_inside};

const PATIENCE: Duration = Duration::from_secs(8);

/// The chapter.
pub(super) async fn walk(stage: &Stage, report: &mut Report) {
    report.part('h', "Chat");
    let alice = report
        .step("alice: STARTTLS, one-time password, session", async {
            let chat = stage.alice()?.chat().await?;
            let detail = format!("{}, {}", chat.address, chat.facts);
            Ok((chat, detail))
        })
        .await;
    let carol = report
        .step("carol signs in inside, right at the server", async {
            let file = &stage.house.file;
            let chat = chat_inside(file, stage.user("carol")?, &stage.recorder).await?;
            let detail = format!("{}, {}", chat.address, chat.facts);
            Ok((chat, detail))
        })
        .await;
    let (alice, carol) = (alice.as_ref(), carol.as_ref());
    report
        .step("a message from alice reaches carol", async {
            pass(
                alice,
                carol,
                "alice",
                "carol",
                stage,
                "Good morning from outside — ünïcödé & <tags>",
            )
            .await
        })
        .await;
    report
        .step("and one from carol reaches alice", async {
            pass(
                carol,
                alice,
                "carol",
                "alice",
                stage,
                "Good morning from inside",
            )
            .await
        })
        .await;
}

async fn pass(
    from: Option<&Chat>,
    to: Option<&Chat>,
    sender: &str,
    reader: &str,
    stage: &Stage,
    text: &str,
) -> Result<((), String)> {
    let from = from.with_context(|| format!("{sender} is not signed in"))?;
    let to = to.with_context(|| format!("{reader} is not signed in"))?;
    from.send(&stage.user(reader)?.jid, text).await?;
    let (writer, body) = to.message(PATIENCE).await?;
    ensure(body == text, || format!("it says {body:?}"))?;
    ensure(writer == from.address, || {
        format!("it is said to be from {writer}")
    })?;
    Ok(((), format!("“{body}”, from {writer}")))
}
