//! When the house is ready: every node tells that its links are up, every door answers.

use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::process::Node;
use super::say;
use crate::file::LabFile;

const WITHIN: Duration = Duration::from_secs(30);
const ASK_WITHIN: Duration = Duration::from_secs(5);

/// Waits until all is up.
///
/// # Errors
/// What is not, with the last lines of the logs, after 30 s or when a node ends.
pub async fn wait(file: &LabFile, nodes: &mut [Node]) -> Result<()> {
    say("waiting for the links between edge and core");
    let (began, mut missing) = (Instant::now(), String::from("nothing was asked yet"));
    while began.elapsed() < WITHIN {
        for node in nodes.iter_mut() {
            if let Some(status) = node.ended() {
                bail!(
                    "{} ended while starting: {status}\n{}",
                    node.name,
                    node.tail()
                );
            }
        }
        match lacking(file).await {
            None => return Ok(()),
            Some(what) => missing = what,
        }
        sleep(Duration::from_millis(200)).await;
    }
    let tails: String = nodes.iter().map(Node::tail).collect();
    bail!("after {} s {missing}\n{tails}", WITHIN.as_secs())
}

/// The first thing that is not yet as it should be.
async fn lacking(file: &LabFile) -> Option<String> {
    let (edges, cores) = (file.edges.len(), file.cores.len());
    let nodes = file.edges.iter().map(|e| (&e.name, &e.config, cores));
    for (name, config, peers) in nodes.chain(file.cores.iter().map(|c| (&c.name, &c.config, edges)))
    {
        match status(&file.program, config).await {
            Ok(snapshot) => {
                if let Some(lacking) = links(&snapshot, peers) {
                    return Some(format!("{name} {lacking}"));
                }
            }
            Err(e) => return Some(format!("{name} does not tell its state: {e}")),
        }
    }
    for edge in &file.edges {
        for (what, address) in [
            ("HTTPS", edge.https),
            ("SIP", edge.sip),
            ("XMPP", edge.xmpp),
        ] {
            if tokio::net::TcpStream::connect(address).await.is_err() {
                return Some(format!("{} does not answer {what} at {address}", edge.name));
            }
        }
    }
    None
}

/// What the links of a node lack.
fn links(snapshot: &Value, peers: usize) -> Option<String> {
    let links = snapshot["links"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let lane = |link: &Value, name: &str| link[name].as_u64().unwrap_or(0) > 0;
    let whole = |link: &&Value| {
        link["up"] == true
            && ["sip_lanes", "http_lanes", "xmpp_lanes"]
                .iter()
                .all(|name| lane(link, name))
            && link["media_up"] == true
    };
    let up = links.iter().filter(whole).count();
    if up >= peers {
        return None;
    }
    let reasons: Vec<String> = links
        .iter()
        .filter(|link| !whole(link))
        .map(|link| link.to_string())
        .collect();
    Some(format!(
        "has {up} of {peers} links whole; the others: {}",
        reasons.join("; ")
    ))
}

/// Asks a running node by the program's own command.
pub async fn status(program: &Path, config: &Path) -> Result<Value> {
    let mut ask = Command::new(program);
    ask.arg("status").arg("--config").arg(config).arg("--json");
    ask.stdin(Stdio::null()).kill_on_drop(true);
    let done = timeout(ASK_WITHIN, ask.output()).await??;
    if !done.status.success() {
        bail!("{}", String::from_utf8_lossy(&done.stderr).trim());
    }
    Ok(serde_json::from_slice(&done.stdout)?)
}
