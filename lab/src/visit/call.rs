//! `cargo lab call`: a call with sound, as one of the users.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{Teller, sign_in};
use crate::client::Telephone;
use crate::command;
use crate::file::LabFile;
use crate::media::{Figures, Heard};
use crate::sip::agent::Call;
use crate::sip::phone;

const CALLER_HZ: f64 = 440.0;
const CALLED_HZ: f64 = 660.0;
const PATIENCE: Duration = Duration::from_secs(8);

/// Calls, talks for a while and hangs up. The telephone inside answers by itself; another user is
/// played too; whoever else answers may send what he likes.
///
/// # Errors
/// No lab runs in that folder.
pub(crate) async fn call(options: &command::Call) -> Result<ExitCode> {
    let lab = LabFile::read(&options.dir)?;
    let mut teller = Teller::new(options.json);
    let outcome = run(options, &lab, &mut teller).await;
    Ok(teller.end(outcome))
}

async fn run(options: &command::Call, lab: &LabFile, teller: &mut Teller) -> Result<()> {
    let (from, to) = (lab.user(&options.from)?, lab.user(&options.to).ok());
    if to.is_some_and(|to| to.name == from.name) {
        bail!("{} cannot call itself", from.name);
    }
    let caller = register(lab, &from.name, CALLER_HZ, teller).await?;
    let called = match to {
        Some(user) => Some((
            register(lab, &user.name, CALLED_HZ, teller).await?,
            &user.extension,
        )),
        None => None,
    };
    let number = called
        .as_ref()
        .map_or(&options.to, |(_, extension)| extension);
    let outcome = talk(
        options,
        lab,
        number,
        (&caller, called.as_ref().map(|(t, _)| t)),
        teller,
    )
    .await;
    let telephones = [
        Some(&caller),
        called.as_ref().map(|(telephone, _)| telephone),
    ];
    for telephone in telephones.into_iter().flatten() {
        telephone
            .agent
            .unregister()
            .await
            .context("unregistering")?;
        telephone.agent.stack().stop();
    }
    outcome
}

async fn register(lab: &LabFile, who: &str, hz: f64, teller: &mut Teller) -> Result<Telephone> {
    let remote = sign_in(lab, who, None).await?;
    let telephone = remote.telephone(hz).await?;
    let registered = telephone.agent.register().await?;
    let (name, extension) = (&remote.user.name, &remote.user.extension);
    let text = format!(
        "{name} is registered as {extension} for {} s",
        registered.expires_s
    );
    teller.tell(&format!("{name}_registered_s"), registered.expires_s, &text);
    Ok(telephone)
}

async fn talk(
    options: &command::Call,
    lab: &LabFile,
    number: &str,
    (caller, called): (&Telephone, Option<&Telephone>),
    teller: &mut Teller,
) -> Result<()> {
    let mine = caller.agent.call(number).await?;
    teller.tell(
        "call_id",
        mine.id(),
        &format!("{number} answered, Call-ID {}", mine.id()),
    );
    let theirs = match called {
        Some(called) => Some(called.agent.next_call(PATIENCE).await?),
        None => None,
    };
    let expected = match (&theirs, number == lab.inside.phone.extension) {
        (Some(_), _) => Some(CALLED_HZ),
        (None, true) => Some(phone::HZ),
        (None, false) => None,
    };
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    let heard = listen(&mine, expected).await;
    let other = match &theirs {
        Some(theirs) => Some(listen(theirs, Some(CALLER_HZ)).await),
        None => None,
    };
    mine.hang_up().await.context("hanging up")?;
    if let Some(theirs) = &theirs {
        theirs.ended(PATIENCE).await?;
    }
    report(teller, &caller.user, heard?, mine.figures(), expected)?;
    if let (Some(called), Some(theirs), Some(other)) = (called, &theirs, other) {
        report(
            teller,
            &called.user,
            other?,
            theirs.figures(),
            Some(CALLER_HZ),
        )?;
    }
    teller.tell("hung_up", true, "hung up, and the other side knows");
    Ok(())
}

async fn listen(call: &Call, expected: Option<f64>) -> Result<Heard> {
    call.listen(expected.unwrap_or(CALLED_HZ), PATIENCE).await
}

/// Says what a party heard; an error if it was something else than expected, or in the clear.
fn report(
    teller: &mut Teller,
    who: &str,
    heard: Heard,
    figures: Figures,
    expected: Option<f64>,
) -> Result<()> {
    let counts = format!(
        "{} packets sent, {} received, {} lost, jitter {:.2} ms",
        figures.sent, figures.received, figures.lost, figures.jitter_ms
    );
    let value = json!({ "heard": heard, "figures": figures, "expected_hz": expected });
    if let Some(hz) = expected {
        let share = heard.expected * 100.0;
        if !heard.is_clear() || !heard.was_encrypted() {
            bail!(
                "{who} hears {share:.0} % of {hz} Hz, packets of {} bytes",
                heard.packet_bytes
            );
        }
        let text = format!("{who} hears {hz} Hz ({share:.0} %) over SRTP; {counts}");
        teller.tell(&format!("{who}_media"), value, &text);
    } else {
        teller.tell(
            &format!("{who}_media"),
            value,
            &format!("{who} hears something; {counts}"),
        );
    }
    Ok(())
}
