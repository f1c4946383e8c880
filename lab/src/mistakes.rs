//! `cargo lab mistakes`: every mistake of an administrator, made in a lab of its own, and what the
//! product says of it: the event, its cause, and what to do.
//!
//! Labs run one after the other as `cargo lab serve --mistake NAME`, in processes of their own.

use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tokio::process::{Child, Command};
use tokio::time::sleep;

use crate::client::Remote;
use crate::command::{self, Mistake};
use crate::file::LabFile;
use crate::house::{self, House};
use crate::ladder::Recorder;
use crate::tour::Report;
use crate::world::secret;

const STARTED_WITHIN: Duration = Duration::from_secs(15);
const TOLD_WITHIN: Duration = Duration::from_secs(8);
const STOPPED_WITHIN: Duration = Duration::from_secs(8);
const PAUSE: Duration = Duration::from_millis(100);
const HZ: f64 = 440.0;

/// Makes them; the status is good only if each was told.
///
/// # Errors
/// The product does not build.
pub async fn run(options: &command::Mistakes) -> Result<ExitCode> {
    let program = House::program().await?;
    let mut report = Report::new(options.json);
    report.title("causeway: what it says of mistakes");
    report.part('a', "One lab for each");
    let all: Vec<Mistake> = match options.mistakes.as_slice() {
        [] => Mistake::value_variants().to_vec(),
        some => some.to_vec(),
    };
    for mistake in all {
        let name = mistake.to_possible_value();
        let name = name.map(|v| v.get_name().to_owned()).unwrap_or_default();
        let made = async {
            let lab = Lab::start(&name, &program).await?;
            let told = told(&lab, mistake).await;
            lab.stop().await?;
            Ok(((), told?))
        };
        report.step(&name, made).await;
    }
    if options.mistakes.is_empty() {
        report.part('b', "What no configuration may say");
        for (name, old, new, said) in REFUSED {
            let refused = refused(&program, old, new, said);
            report.step(name, refused).await;
        }
    }
    if options.json {
        crate::terminal::line(&serde_json::to_string_pretty(&report.json())?);
    }
    report.last_line();
    Ok(match report.failed() {
        0 => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

/// Mistakes that cannot be made: what an edge's file says rightly and wrongly, and a word of the
/// refusal.
const REFUSED: [(&str, &str, &str, &str); 2] = [
    (
        "an underscore in a host name (F350)",
        "name = \"edge1\"",
        "name = \"edge_1\"",
        "underscore",
    ),
    (
        "credentials checked on the link (F340)",
        "verify_name = ",
        "authentication_policy = \"check_credentials\"\nverify_name = ",
        "407",
    ),
];

/// `causeway check` refuses an edge's file, and says why.
async fn refused(program: &Path, old: &str, new: &str, said: &str) -> Result<((), String)> {
    let lab = Lab::start("no-axl-role", program).await?;
    let edge = lab.file.edges.first().context("a lab has an edge")?;
    let (good, program) = (edge.config.clone(), lab.file.program.clone());
    let text = std::fs::read_to_string(&good)?;
    ensure!(text.contains(old), "the edge's file has no {old}");
    let wrong = good.with_file_name("wrong.toml");
    std::fs::write(&wrong, text.replace(old, new))?;
    let mut outputs = Vec::new();
    for file in [&good, &wrong] {
        let mut check = Command::new(&program);
        check.args(["check", "--config"]).arg(file);
        check.stdin(Stdio::null()).kill_on_drop(true);
        outputs.push(tokio::time::timeout(TOLD_WITHIN, check.output()).await??);
    }
    lab.stop().await?;
    let texts = outputs.iter().map(|done| {
        let (out, errors) = (&done.stdout, &done.stderr);
        String::from_utf8_lossy(out).into_owned() + &String::from_utf8_lossy(errors)
    });
    let texts: Vec<String> = texts.collect();
    let [right, told] = texts.as_slice() else {
        bail!("two answers");
    };
    let statuses: Vec<bool> = outputs.iter().map(|done| done.status.success()).collect();
    ensure!(
        statuses == [true, false],
        "check says {statuses:?}: {right} {told}"
    );
    let line = told.lines().find(|line| line.contains(said));
    let line = line.with_context(|| format!("{said:?} is not in {told}"))?;
    let line = line.split("wrong.toml: ").last().unwrap_or(line);
    Ok(((), line.trim().to_owned()))
}

/// Provokes it where it does not show by itself, and finds what is said.
async fn told(lab: &Lab, mistake: Mistake) -> Result<String> {
    match mistake {
        Mistake::LookupMissing => {
            let mut statuses = Vec::new();
            for user in ["alice", "bob", "carol", "dave"] {
                statuses.push(lab.sign_in(user).await?.1);
            }
            ensure!(
                statuses.contains(&200) && statuses.contains(&401),
                "sign-ins were answered {statuses:?}"
            );
            lab.event(3002, "no cluster knows the user").await
        }
        Mistake::TrunkOnLinePort => {
            let (remote, _) = lab.sign_in("alice").await?;
            let telephone = remote.telephone(HZ).await?;
            ensure!(telephone.agent.register().await.is_err(), "it registered");
            lab.event(2025, "405").await
        }
        Mistake::ProfileMissing => lab.event(3024, "is not in the core's certificate").await,
        Mistake::BindConflict => {
            let (remote, _) = lab.sign_in("alice").await?;
            ensure!(remote.chat().await.is_err(), "a chat session stands");
            lab.event(4003, "conflict").await
        }
        Mistake::VoicemailNotAllowed => {
            let (remote, _) = lab.sign_in("alice").await?;
            let unity = lab.file.inside.unity.first().context("no voicemail")?;
            let (name, port) = (unity.name.as_str(), unity.https.port());
            let reply = remote.ask(("https", name, port), "/vmrest/version").await?;
            ensure!(reply.status == 403, "it was answered {}", reply.status);
            lab.denied(name).await
        }
        Mistake::ForeignCertificate => {
            let node = lab.file.inside.im_presence.first();
            lab.event(3021, &node.context("no presence")?.name).await
        }
        Mistake::RegionLimit => {
            let before = lab.event(3026, "video rate of regions").await?;
            let (remote, _) = lab.sign_in("alice").await?;
            let telephone = remote.telephone(HZ).await?;
            telephone.agent.register().await?;
            let number = &lab.file.inside.phone.extension;
            let call = telephone.agent.call_with_video(number).await?;
            call.hang_up().await?;
            let within = lab.event(5006, "384").await?;
            Ok(format!("{before}\n      {within}"))
        }
        Mistake::NoAxlRole => lab.event(3021, "Standard AXL API Access (403)").await,
    }
}

/// A lab in a process of its own.
struct Lab {
    child: Child,
    dir: PathBuf,
    file: LabFile,
}

impl Lab {
    async fn start(mistake: &str, program: &Path) -> Result<Lab> {
        let dir = std::env::temp_dir().join(format!("causeway-lab-{}", secret(8)));
        let own = std::env::current_exe().context("this program does not find itself")?;
        let mut child = Command::new(own)
            .args(["serve", "--mistake", mistake, "--dir"])
            .arg(&dir)
            .env("CAUSEWAY", program)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let began = Instant::now();
        loop {
            if let Ok(file) = LabFile::read(&dir) {
                return Ok(Lab { child, dir, file });
            }
            if let Some(status) = child.try_wait()? {
                bail!("the lab ended while starting: {status}");
            }
            ensure!(began.elapsed() < STARTED_WITHIN, "the lab does not start");
            sleep(PAUSE).await;
        }
    }

    async fn stop(mut self) -> Result<()> {
        let pid = self.child.id().context("the lab ended")?;
        kill(Pid::from_raw(i32::try_from(pid)?), Signal::SIGTERM)?;
        let ended = tokio::time::timeout(STOPPED_WITHIN, self.child.wait()).await;
        ended.context("the lab does not stop")??;
        let _ = std::fs::remove_dir_all(&self.dir);
        Ok(())
    }

    /// A user who signs in, and the status of the answer.
    async fn sign_in(&self, name: &str) -> Result<(Remote, u16)> {
        let recorder = Recorder::new("client");
        let mut remote = Remote::discover(&self.file, self.file.user(name)?, &recorder).await?;
        let (domain, password) = (remote.domain.clone(), remote.user.password.clone());
        let status = remote.sign_in(&domain, &password).await?.status;
        Ok((remote, status))
    }

    /// The core's event of that number about that, once it comes: with cause, proof and fix.
    async fn event(&self, number: u64, about: &str) -> Result<String> {
        let core = self.file.cores.first().context("a lab has a core")?;
        let began = Instant::now();
        loop {
            let snapshot = house::status(&self.file.program, &core.config).await?;
            let events = snapshot["events"].as_array().cloned().unwrap_or_default();
            let is = |e: &&Value| e["code"] == number && e.to_string().contains(about);
            if let Some(event) = events.iter().find(is) {
                let text = |field: &str| event[field].as_str().unwrap_or_default();
                let (cause, fix) = (text("cause"), text("fix"));
                let proven = event["proof"].as_object().is_some_and(|p| !p.is_empty());
                ensure!(
                    proven && !cause.is_empty() && !fix.is_empty(),
                    "event {number} lacks cause, proof or fix: {event}"
                );
                return Ok(format!("{number} {cause} — {fix}"));
            }
            let told: Vec<String> = events.iter().map(|e| e["code"].to_string()).collect();
            ensure!(
                began.elapsed() < TOLD_WITHIN,
                "no event {number} about {about:?}; there are {}",
                told.join(", ")
            );
            sleep(PAUSE).await;
        }
    }

    /// The rule that the list of denied requests proposes for a server.
    async fn denied(&self, server: &str) -> Result<String> {
        let core = self.file.cores.first().context("a lab has a core")?;
        let mut ask = Command::new(&self.file.program);
        ask.args(["ctl", "allow-list", "denied", "--config"]);
        ask.arg(&core.config)
            .stdin(Stdio::null())
            .kill_on_drop(true);
        let done = tokio::time::timeout(TOLD_WITHIN, ask.output()).await??;
        let text = String::from_utf8_lossy(&done.stdout);
        ensure!(text.contains(server), "{server} is not among the denied");
        Ok(format!(
            "403; causeway ctl allow-list denied has a rule for {server}"
        ))
    }
}
