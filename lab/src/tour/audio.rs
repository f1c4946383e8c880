//! Two parties of a call listen to each other.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use serde::Serialize;

use crate::media::{Figures, Heard};
use crate::sip::agent::Call;

/// How long until half a second of sound has to be there.
const PATIENCE: Duration = Duration::from_secs(6);

/// What one party of a call heard and counted.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Talk {
    /// The call, for people.
    pub(crate) call: String,
    /// The party.
    pub(crate) party: String,
    /// The tone it should hear.
    pub(crate) hz: f64,
    /// What it heard.
    pub(crate) heard: Heard,
    /// What it counted.
    pub(crate) figures: Figures,
}

/// A party: what it is called, its end of the call, its tone, and whether its wire is secure.
pub(crate) struct Party<'a> {
    pub(crate) name: &'a str,
    pub(crate) call: &'a Call,
    pub(crate) hz: f64,
    pub(crate) secure: bool,
}

/// Both listen; what they heard is good only if each hears the other, clearly, and no echo, and the
/// wire is as it must be.
///
/// # Errors
/// Silence, another sound, an echo, or SRTP or RTP in the wrong place.
pub(crate) async fn talk(name: &str, one: Party<'_>, other: Party<'_>) -> Result<[Talk; 2]> {
    let (first, second) = tokio::join!(
        one.call.listen(other.hz, PATIENCE),
        other.call.listen(one.hz, PATIENCE)
    );
    let first = first.with_context(|| format!("{} hears nothing of {}", one.name, other.name))?;
    let second = second.with_context(|| format!("{} hears nothing of {}", other.name, one.name))?;
    check(&one, other.hz, &first)?;
    check(&other, one.hz, &second)?;
    let row = |party: &Party<'_>, hz: f64, heard: Heard| Talk {
        call: name.to_owned(),
        party: party.name.to_owned(),
        hz,
        heard,
        figures: party.call.figures(),
    };
    Ok([row(&one, other.hz, first), row(&other, one.hz, second)])
}

fn check(party: &Party<'_>, hz: f64, heard: &Heard) -> Result<()> {
    let name = party.name;
    if !heard.is_clear() {
        let (expected, own) = (heard.expected * 100.0, heard.own * 100.0);
        bail!("{name} hears {expected:.0} % of {hz:.0} Hz and {own:.0} % of its own tone");
    }
    if party.secure && !heard.was_encrypted() {
        let share = heard.on_the_wire * 100.0;
        bail!(
            "{name}'s wire shows {share:.0} % of the tone in packets of {} bytes",
            heard.packet_bytes
        );
    }
    if !party.secure && !heard.was_plain() {
        bail!(
            "{name}'s wire is no plain RTP: packets of {} bytes",
            heard.packet_bytes
        );
    }
    Ok(())
}
