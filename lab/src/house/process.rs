//! Edges and cores as child processes: started, watched, stopped by their own process id.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use nix::sys::prctl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::timeout;

const STOP_WITHIN: Duration = Duration::from_secs(5);
const TAIL_LINES: usize = 25;

/// A running edge or core.
pub struct Node {
    /// Its name.
    pub name: String,
    /// Its process.
    pub pid: u32,
    log: PathBuf,
    errors: PathBuf,
    child: Child,
    reported: bool,
}

impl Node {
    /// Starts a node; it dies with this process, also if this one is killed.
    ///
    /// # Errors
    /// The operating system's.
    pub fn start(name: &str, argv: &[String], config: &Path, log: &Path) -> Result<Node> {
        let errors = config.with_file_name("stderr");
        let file = File::create(&errors)?;
        let own = std::env::current_exe().context("this program does not find itself")?;
        // Through `lab child`, since only the new process can ask to die with its parent.
        let child = Command::new(own)
            .arg("child")
            .arg(std::process::id().to_string())
            .args(argv)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{name} cannot be started"))?;
        let pid = child
            .id()
            .with_context(|| format!("{name} ended at once"))?;
        let (name, log) = (name.to_owned(), log.to_owned());
        Ok(Node {
            name,
            pid,
            log,
            errors,
            child,
            reported: false,
        })
    }

    /// How it ended, if it did.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// The last lines that it wrote.
    pub fn tail(&self) -> String {
        let mut out = String::new();
        for path in [&self.log, &self.errors] {
            let text = fs::read(path).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let lines: Vec<&str> = text.lines().collect();
            let from = lines.len().saturating_sub(TAIL_LINES);
            if !lines.is_empty() {
                out.push_str(&format!(
                    "--- {}\n{}\n",
                    path.display(),
                    lines[from..].join("\n")
                ));
            }
        }
        out
    }
}

/// Waits until one of the nodes ends that had not ended before, and says how.
pub async fn first_ended(nodes: &mut [Node]) -> String {
    loop {
        for node in nodes.iter_mut().filter(|n| !n.reported) {
            if let Some(status) = node.ended() {
                node.reported = true;
                let (name, pid) = (&node.name, node.pid);
                return format!("{name} (process {pid}) ended: {status}");
            }
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// SIGTERM to all that still run, SIGKILL to those that do not obey.
pub async fn stop(nodes: &mut Vec<Node>) {
    for node in nodes.iter_mut() {
        if node.ended().is_none() {
            let pid = i32::try_from(node.pid).unwrap_or(i32::MAX);
            let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        }
    }
    for node in nodes.iter_mut() {
        if timeout(STOP_WITHIN, node.child.wait()).await.is_err() {
            super::say(&format!("{} does not stop; killing it", node.name));
            let _ = node.child.kill().await;
        }
    }
    nodes.clear();
}

/// Becomes another program, which gets SIGTERM when `parent` is gone. Returns only on failure.
///
/// # Errors
/// If the program cannot be executed or the parent is gone already.
pub fn become_child(parent: i32, argv: &[OsString]) -> Result<()> {
    prctl::set_pdeathsig(Signal::SIGTERM)
        .context("the kernel does not tell of a parent's death")?;
    if nix::unistd::getppid().as_raw() != parent {
        bail!("the lab is gone");
    }
    let (program, arguments) = argv.split_first().context("which program?")?;
    let e = std::process::Command::new(program).args(arguments).exec();
    Err(e).with_context(|| format!("cannot execute {}", program.to_string_lossy()))
}
