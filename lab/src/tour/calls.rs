//! d, e, g and i: registering, calls with the inside, calls between remote clients, unregistering.

use std::time::Duration;

use anyhow::{Context, Result};

use super::audio::{Party, Talk, talk};
use super::report::{Report, ensure};
use super::{Stage, signin};
use crate::client::{Remote, Telephone};
use crate::sip::agent::{Agent, Call};
use crate::sip::phone;
use crate::sip::unified_cm::Registration;

const ALICE_HZ: f64 = 440.0;
pub(super) const BOB_HZ: f64 = 660.0;
pub(super) const PATIENCE: Duration = Duration::from_secs(8);
/// After a hold, what was under way may still arrive.
const SETTLE: Duration = Duration::from_millis(200);
const SILENCE: Duration = Duration::from_millis(500);

/// d.
pub(super) async fn register(stage: &mut Stage, report: &mut Report) {
    report.part('d', "Register the telephone");
    report
        .step("a wrong password does not register", async {
            wrong_password(stage).await
        })
        .await;
    let telephone = report
        .step("REGISTER over TLS, digest answered", async {
            first(stage).await
        })
        .await;
    report
        .step("Unified CM calls it at the core", async {
            seen(
                stage,
                telephone.as_ref().context("alice is not registered")?,
            )
        })
        .await;
    report
        .step("CRLF keep-alive is answered", async {
            let telephone = telephone.as_ref().context("alice is not registered")?;
            let time = telephone.agent.keep_alive().await?;
            Ok((
                (),
                format!("pong after {:.1} ms", time.as_secs_f64() * 1000.0),
            ))
        })
        .await;
    report
        .step("a refresh goes the same way", async {
            refresh(
                stage,
                telephone.as_ref().context("alice is not registered")?,
            )
            .await
        })
        .await;
    report
        .step("STUN on the same connection is answered", async {
            let telephone = telephone.as_ref().context("alice is not registered")?;
            let time = telephone.agent.bind().await?;
            let time = time.as_secs_f64() * 1000.0;
            Ok(((), format!("answered after {time:.1} ms")))
        })
        .await;
    report
        .step("a keep-alive REGISTER unregisters nothing", async {
            let telephone = telephone.as_ref().context("alice is not registered")?;
            let before = registration(stage, &telephone.agent)?;
            telephone.agent.stand_by().await?;
            let after = registration(stage, &telephone.agent)?;
            let [before, after] = [before, after].map(|row| row.contact.to_string());
            ensure(after == before, || format!("{before} became {after}"))?;
            Ok((
                (),
                "Expires: 0 with cisco-keep-alive: 200, and she stays".into(),
            ))
        })
        .await;
    stage.alices_telephone = telephone;
}

/// e.
pub(super) async fn with_the_inside(stage: &Stage, report: &mut Report) {
    report.part('e', "Call the telephone inside, and be called");
    let calls = report
        .step("alice calls 1100, which answers", async {
            to_phone(stage).await
        })
        .await;
    let calls = calls.as_ref();
    let heard = both_hear(stage, report, "alice → 1100", calls).await;
    report
        .step("hold: the telephone knows, and is silent", async {
            hold(stage, calls.context("no call")?).await
        })
        .await;
    report
        .step("resume: audio both ways again", async {
            resume(stage, calls.context("no call")?).await
        })
        .await;
    report
        .step("BYE ends it on both sides", async {
            hang_up(calls.context("no call")?).await
        })
        .await;
    keep(report, heard, calls);
    let calls = report
        .step("1100 calls alice, who answers", async {
            from_phone(stage).await
        })
        .await;
    let calls = calls.as_ref();
    let heard = both_hear(stage, report, "1100 → alice", calls).await;
    report
        .step("the telephone holds, alice knows, and resumes", async {
            let calls = calls.context("no call")?;
            hold(stage, &(calls.1.clone(), calls.0.clone())).await?;
            resume(stage, calls).await
        })
        .await;
    report
        .step("the telephone hangs up, alice knows", async {
            let (mine, theirs) = calls.context("no call")?;
            hang_up(&(theirs.clone(), mine.clone())).await
        })
        .await;
    keep(report, heard, calls);
    let calls = report
        .step("1100 calls alice and leaves the offer to her", async {
            late(stage).await
        })
        .await;
    let calls = calls.as_ref();
    let heard = both_hear(stage, report, "1100 → alice, late offer", calls).await;
    report
        .step("alice hangs up, the telephone knows", async {
            hang_up(calls.context("no call")?).await
        })
        .await;
    keep(report, heard, calls);
}

/// g.
pub(super) async fn between_remotes(stage: &mut Stage, report: &mut Report) {
    report.part('g', "Call another remote client");
    let bob = report
        .step("bob signs in and registers", async { bob(stage).await })
        .await;
    if let Some((remote, telephone)) = bob {
        stage.bob = Some(remote);
        stage.bobs_telephone = Some(telephone);
    }
    let calls = report
        .step("alice calls bob, who answers", async {
            to_bob(stage).await
        })
        .await;
    let calls = calls.as_ref();
    report
        .step("the core shows it as two calls", async {
            calls.context("no call")?;
            two_calls(stage).await
        })
        .await;
    let heard = report
        .step("each hears the other's tone, SRTP at both", async {
            let (mine, theirs) = calls.context("no call")?;
            let one = Party {
                name: "alice",
                call: mine,
                hz: ALICE_HZ,
                secure: true,
            };
            let other = Party {
                name: "bob",
                call: theirs,
                hz: BOB_HZ,
                secure: true,
            };
            let talks = talk("alice → bob", one, other).await?;
            Ok((
                talks,
                format!("{ALICE_HZ} Hz and {BOB_HZ} Hz, two keys, no echo"),
            ))
        })
        .await;
    report
        .step("BYE ends it on both sides", async {
            hang_up(calls.context("no call")?).await
        })
        .await;
    keep(report, heard, calls);
}

/// i.
pub(super) async fn unregister(stage: &Stage, report: &mut Report) {
    report.part('i', "Sign off");
    report
        .step(
            "both telephones unregister, Unified CM forgets them",
            async { gone(stage).await },
        )
        .await;
}

async fn wrong_password(stage: &Stage) -> Result<((), String)> {
    let alice = stage.alice()?;
    let telephone = alice.telephone(ALICE_HZ).await?;
    let mut profile = telephone.agent.profile().clone();
    telephone.agent.stack().stop();
    profile.credentials = Some((alice.user.name.clone(), "not-the-password".into()));
    let (stack, incoming) = alice.stack();
    let wrong = Agent::start(stack, incoming, profile);
    let fault = wrong
        .register()
        .await
        .err()
        .context("it was registered")?
        .to_string();
    wrong.stack().stop();
    ensure(fault.contains(" 401") || fault.contains(" 403"), || {
        fault.clone()
    })?;
    Ok(((), fault))
}

async fn first(stage: &Stage) -> Result<(Telephone, String)> {
    let telephone = stage.alice()?.telephone(ALICE_HZ).await?;
    let registered = telephone.agent.register().await?;
    let (realm, algorithm) = registered.realm.context("it was not challenged")?;
    ensure(registered.options, || {
        "Unified CM's answer to the options did not come back".into()
    })?;
    ensure(registered.is_new, || "it was no new registration".into())?;
    let own = telephone.agent.contact_user();
    ensure(registered.contact.contains(own), || {
        format!("the Contact came back as {}", registered.contact)
    })?;
    let (expires, server) = (registered.expires_s, registered.server);
    let detail = format!("digest {algorithm} realm {realm}, {expires} s, by {server}");
    Ok((telephone, detail))
}

pub(super) fn registration(stage: &Stage, agent: &Agent) -> Result<Registration> {
    let line_side = stage
        .house
        .inside
        .line_side
        .as_ref()
        .context("call control is a real one")?;
    let extension = &agent.profile().extension;
    let rows = line_side.registrations();
    let row = rows.into_iter().find(|row| row.extension == *extension);
    row.with_context(|| format!("{extension} is not registered there"))
}

/// Behind the product, every remote device is at the core's address.
fn seen(stage: &Stage, telephone: &Telephone) -> Result<((), String)> {
    let row = registration(stage, &telephone.agent)?;
    let cores: Vec<String> = stage
        .house
        .file
        .cores
        .iter()
        .map(|core| core.address.to_string())
        .collect();
    let source = row.source.ip().to_string();
    ensure(cores.contains(&source), || {
        format!("the REGISTER came from {source}")
    })?;
    let first = row.path.first().unwrap_or(&row.contact);
    let host = first.host().map(ToString::to_string).unwrap_or_default();
    ensure(cores.contains(&host), || {
        format!("it would be called at {first}")
    })?;
    ensure(row.device.is_some(), || "the device's name was lost".into())?;
    if !row.path.is_empty() {
        return Ok(((), format!("Path {first}")));
    }
    let user = &stage.alice()?.user.name;
    let named = format!("+u.sip!userid.ccm.cisco.com=\"{user}\"");
    ensure(row.parameters.contains(&named), || {
        format!("the Contact lacks {named}")
    })?;
    let uri = first.to_string();
    let shown = uri.split_once('@').map_or(uri.as_str(), |(_, rest)| rest);
    let shown: Vec<&str> = shown.split(';').take(3).collect();
    Ok(((), format!("…@{}, user {user}", shown.join(";"))))
}

async fn refresh(stage: &Stage, telephone: &Telephone) -> Result<((), String)> {
    let before = registration(stage, &telephone.agent)?;
    let registered = telephone.agent.register().await?;
    ensure(!registered.is_new, || {
        "Unified CM took it for a new one".into()
    })?;
    let after = registration(stage, &telephone.agent)?;
    ensure(after.refreshes == before.refreshes + 1, || {
        "it did not reach Unified CM".into()
    })?;
    let same = after.call_id == registered.call_id && before.call_id == after.call_id;
    ensure(same, || {
        format!("Call-ID {} became {}", registered.call_id, after.call_id)
    })?;
    Ok((
        (),
        format!(
            "{} s more, Call-ID the same from end to end",
            registered.expires_s
        ),
    ))
}

type Pair = (Call, Call);

pub(super) fn phone(stage: &Stage) -> Result<&Agent> {
    stage
        .house
        .inside
        .phone
        .as_ref()
        .context("no telephone inside")
}

pub(super) fn alices(stage: &Stage) -> Result<&Agent> {
    let telephone = stage
        .alices_telephone
        .as_ref()
        .context("alice is not registered")?;
    Ok(&telephone.agent)
}

async fn to_phone(stage: &Stage) -> Result<(Pair, String)> {
    let number = &stage.house.file.inside.phone.extension;
    let mine = alices(stage)?.call(number).await?;
    let theirs = phone(stage)?.next_call(PATIENCE).await?;
    let shown = theirs.peer().to_owned();
    ensure(shown == stage.user("alice")?.extension, || {
        format!("the telephone shows {shown}")
    })?;
    Ok(((mine, theirs), format!("the telephone shows {shown}")))
}

async fn from_phone(stage: &Stage) -> Result<(Pair, String)> {
    let number = &stage.user("alice")?.extension;
    let theirs = phone(stage)?.call(number).await?;
    let mine = alices(stage)?.next_call(PATIENCE).await?;
    let shown = mine.peer().to_owned();
    ensure(shown == stage.house.file.inside.phone.extension, || {
        format!("alice sees {shown}")
    })?;
    Ok(((mine, theirs), format!("alice sees {shown}")))
}

/// As Unified CM calls by default: the INVITE has no offer, the ACK brings the answer.
async fn late(stage: &Stage) -> Result<(Pair, String)> {
    let number = &stage.user("alice")?.extension;
    let theirs = phone(stage)?.call_late(number).await?;
    let mine = alices(stage)?.next_call(PATIENCE).await?;
    Ok((
        (mine, theirs),
        "offer in the 200, answer in the ACK".to_owned(),
    ))
}

/// Keeps what was heard, with the counts of the whole call.
fn keep(report: &mut Report, heard: Option<[Talk; 2]>, calls: Option<&Pair>) {
    let (Some([mut one, mut other]), Some((mine, theirs))) = (heard, calls) else {
        return;
    };
    one.figures = mine.figures();
    other.figures = theirs.figures();
    report.keep(one);
    report.keep(other);
}

async fn to_bob(stage: &Stage) -> Result<(Pair, String)> {
    let telephone = stage
        .bobs_telephone
        .as_ref()
        .context("bob is not registered")?;
    let mine = alices(stage)?.call(&stage.user("bob")?.extension).await?;
    let theirs = telephone.agent.next_call(PATIENCE).await?;
    Ok((
        (mine, theirs.clone()),
        format!("bob sees {}", theirs.peer()),
    ))
}

async fn both_hear(
    stage: &Stage,
    report: &mut Report,
    name: &str,
    calls: Option<&Pair>,
) -> Option<[Talk; 2]> {
    let listening = async {
        let (mine, theirs) = calls.context("no call")?;
        let (one, other) = parties(stage, mine, theirs)?;
        let talks = talk(name, one, other).await?;
        let shares = talks.each_ref().map(|talk| talk.heard.expected * 100.0);
        let detail = format!(
            "alice hears {:.0} Hz ({:.0} %), 1100 hears {ALICE_HZ} Hz ({:.0} %)",
            phone::HZ,
            shares[0],
            shares[1]
        );
        Ok((talks, detail))
    };
    let name = "each hears the other's tone, SRTP out, RTP in";
    report.step(name, listening).await
}

fn parties<'a>(stage: &Stage, mine: &'a Call, theirs: &'a Call) -> Result<(Party<'a>, Party<'a>)> {
    phone(stage)?;
    let one = Party {
        name: "alice",
        call: mine,
        hz: ALICE_HZ,
        secure: true,
    };
    let other = Party {
        name: "1100",
        call: theirs,
        hz: phone::HZ,
        secure: false,
    };
    Ok((one, other))
}

async fn hold(stage: &Stage, (holding, held): &Pair) -> Result<((), String)> {
    holding.hold().await?;
    ensure(held.is_held(), || "the other side was not told".into())?;
    ensure(held.told().contains("remotecc:hold"), || {
        format!("its Call-Info came as {:?}", held.told())
    })?;
    if let Some(line_side) = &stage.house.inside.line_side {
        let call = line_side
            .calls()
            .pop()
            .context("call control knows no call")?;
        ensure(call.directions.iter().any(|way| way == "sendonly"), || {
            format!(
                "call control saw {} → {}: {:?}",
                call.from, call.to, call.directions
            )
        })?;
    }
    tokio::time::sleep(SETTLE).await;
    let (still, music) = tokio::join!(
        holding.packets_within(SILENCE),
        held.packets_within(SILENCE)
    );
    ensure(still == 0, || {
        format!("{still} packets came from the side on hold")
    })?;
    Ok((
        (),
        format!("sendonly; 0 packets back in {SILENCE:?}, {music} to the side on hold"),
    ))
}

async fn resume(stage: &Stage, (mine, theirs): &Pair) -> Result<((), String)> {
    let holding = if theirs.is_held() { mine } else { theirs };
    holding.resume().await?;
    ensure(!mine.is_held() && !theirs.is_held(), || {
        "the other side is still on hold".into()
    })?;
    let resumed = |call: &Call| call.told().contains("remotecc:resume");
    ensure(resumed(mine) || resumed(theirs), || {
        format!(
            "its Call-Info came as {:?} {:?}",
            mine.told(),
            theirs.told()
        )
    })?;
    let (one, other) = parties(stage, mine, theirs)?;
    let talks = talk("after a hold", one, other).await?;
    let lost: u64 = talks.iter().map(|talk| talk.figures.lost).sum();
    Ok((
        (),
        format!("sendrecv, both tones again, {lost} packets lost so far"),
    ))
}

pub(super) async fn hang_up((first, other): &Pair) -> Result<((), String)> {
    first.hang_up().await?;
    other.ended(PATIENCE).await?;
    Ok(((), "200 to the BYE, the other side knows".to_owned()))
}

async fn bob(stage: &Stage) -> Result<((Remote, Telephone), String)> {
    let user = stage.user("bob")?;
    let mut remote = Remote::discover(&stage.house.file, user, &stage.recorder).await?;
    signin::sign_in(stage, &mut remote).await?;
    let telephone = remote.telephone(BOB_HZ).await?;
    let registered = telephone.agent.register().await?;
    Ok((
        (remote, telephone),
        format!("{} for {} s", user.extension, registered.expires_s),
    ))
}

/// Calls under way on the cores.
async fn two_calls(stage: &Stage) -> Result<((), String)> {
    let mut kinds: Vec<String> = Vec::new();
    for core in &stage.house.file.cores {
        let snapshot = stage.house.status(&core.config).await?;
        let calls = snapshot["calls"]
            .as_array()
            .context("the status lists no calls")?;
        let standing = calls.iter().filter(|call| call["ended"].is_null());
        kinds.extend(standing.map(|call| call["kind"].as_str().unwrap_or("nameless").to_owned()));
    }
    ensure(kinds.len() == 2, || {
        format!("{} calls are shown: {kinds:?}", kinds.len())
    })?;
    Ok(((), kinds.join(" and ")))
}

async fn gone(stage: &Stage) -> Result<((), String)> {
    let standing = [alices(stage)?, phone(stage)?].map(Agent::calls);
    ensure(standing.iter().all(Vec::is_empty), || {
        format!("calls still stand: {standing:?}")
    })?;
    for telephone in [&stage.alices_telephone, &stage.bobs_telephone]
        .into_iter()
        .flatten()
    {
        let unregistered = telephone.agent.unregister().await;
        unregistered.with_context(|| format!("{}'s telephone", telephone.user))?;
    }
    let alices = stage
        .alices_telephone
        .as_ref()
        .context("alice was not registered")?;
    let Some(line_side) = &stage.house.inside.line_side else {
        return Ok(((), format!("{} was answered 200", alices.user)));
    };
    let left = line_side.registrations();
    let remote: Vec<&str> = left
        .iter()
        .map(|row| row.extension.as_str())
        .filter(|number| *number != stage.house.file.inside.phone.extension)
        .collect();
    ensure(remote.is_empty(), || {
        format!("{remote:?} are still registered")
    })?;
    Ok(((), "only the telephone inside is left".to_owned()))
}
