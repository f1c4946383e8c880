//! `cargo lab message`: a chat message from one remote user to another.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use super::{Teller, sign_in};
use crate::client::Chat;
use crate::command;
use crate::file::LabFile;

const PATIENCE: Duration = Duration::from_secs(8);

/// Signs both in, writes, and waits until it is read.
///
/// # Errors
/// No lab runs in that folder.
pub(crate) async fn message(options: &command::Message) -> Result<ExitCode> {
    let lab = LabFile::read(&options.dir)?;
    let mut teller = Teller::new(options.json);
    let outcome = run(options, &lab, &mut teller).await;
    Ok(teller.end(outcome))
}

async fn run(options: &command::Message, lab: &LabFile, teller: &mut Teller) -> Result<()> {
    let (from, to) = (lab.user(&options.from)?, lab.user(&options.to)?);
    if from.name == to.name {
        bail!("{} need not write to itself", from.name);
    }
    let reader = open(lab, &to.name, "reader", teller).await?;
    let writer = open(lab, &from.name, "writer", teller).await?;
    writer.send(&to.jid, &options.text).await?;
    teller.tell(
        "text",
        options.text.clone(),
        &format!("{} writes to {}", from.name, to.jid),
    );
    let (by, body) = reader.message(PATIENCE).await?;
    if body != options.text || by != writer.address {
        bail!("{} reads “{body}” from {by}", to.name);
    }
    teller.tell(
        "from",
        by.clone(),
        &format!("{} reads “{body}” from {by}", to.name),
    );
    writer.close().await;
    reader.close().await;
    Ok(())
}

async fn open(lab: &LabFile, who: &str, key: &str, teller: &mut Teller) -> Result<Chat> {
    let remote = sign_in(lab, who, None).await?;
    let chat = remote
        .chat()
        .await
        .with_context(|| format!("{who}'s chat"))?;
    let text = format!(
        "{who} is signed in to chat as {} ({})",
        chat.address, chat.facts
    );
    teller.tell(key, chat.address.clone(), &text);
    Ok(chat)
}
