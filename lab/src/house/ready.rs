//! When the house is ready: every link is up on both sides, call control is reached, every door
//! answers.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio::time::{sleep, timeout};

use super::process::Node;
use super::say;
use crate::command;
use crate::file::LabFile;

const WITHIN: Duration = Duration::from_secs(30);
const ASK_WITHIN: Duration = Duration::from_secs(5);
const PAUSE: Duration = Duration::from_millis(100);

/// Waits until all is up.
///
/// # Errors
/// What is not, with the last lines of the logs, after 30 s or when a node ends.
pub async fn wait(file: &LabFile, nodes: &mut [Node], options: &command::House) -> Result<()> {
    say("waiting for the links between edge and core, and for the ways to call control");
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
        match lacking(file, options).await {
            None => return Ok(()),
            Some(what) => missing = what,
        }
        sleep(PAUSE).await;
    }
    let tails: String = nodes.iter().map(Node::tail).collect();
    bail!("after {} s {missing}\n{tails}", WITHIN.as_secs())
}

/// The first thing that is not yet as it should be.
async fn lacking(file: &LabFile, options: &command::House) -> Option<String> {
    let (edges, cores) = (file.edges.len(), file.cores.len());
    for edge in &file.edges {
        let told = status(&file.program, &edge.config)
            .await
            .and_then(|s| links(&s, cores));
        if let Err(e) = told {
            return Some(format!("{} {e}", edge.name));
        }
    }
    for core in &file.cores {
        let told = status(&file.program, &core.config)
            .await
            .and_then(|snapshot| {
                links(&snapshot, edges)?;
                // A real server may be started later, and a mistake may leave no way.
                match options.call_control.is_none()
                    && options.mistakes.is_empty()
                    && options.changes.is_empty()
                {
                    true => ways(&snapshot),
                    false => Ok(()),
                }
            });
        if let Err(e) = told {
            return Some(format!("{} {e}", core.name));
        }
    }
    for (name, what, address) in doors(file) {
        if TcpStream::connect(address).await.is_err() {
            return Some(format!("{name} does not answer {what} at {address}"));
        }
    }
    None
}

/// Where somebody is to answer.
fn doors(file: &LabFile) -> Vec<(&str, &'static str, SocketAddr)> {
    let mut doors = Vec::new();
    for edge in &file.edges {
        let name = edge.name.as_str();
        doors.extend([
            (name, "HTTPS", edge.https),
            (name, "SIP", edge.sip),
            (name, "XMPP", edge.xmpp),
            (name, "administrators", edge.admin),
        ]);
    }
    for core in &file.cores {
        let name = core.name.as_str();
        doors.extend([
            (name, "SIP", core.sip),
            (name, "SIP over TLS", core.sip_tls),
            (name, "administrators", core.admin),
        ]);
    }
    doors
}

/// Whether all links of a node are whole.
fn links(snapshot: &Value, peers: usize) -> Result<()> {
    let links = snapshot["links"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let some = |link: &Value, lane: &str| link[lane].as_u64().unwrap_or(0) > 0;
    let whole = |link: &&Value| {
        link["up"] == true
            && link["media_up"] == true
            && ["sip_lanes", "http_lanes", "xmpp_lanes"]
                .iter()
                .all(|lane| some(link, lane))
    };
    let up = links.iter().filter(whole).count();
    if up < peers {
        let others: Vec<String> = links
            .iter()
            .filter(|link| !whole(link))
            .map(Value::to_string)
            .collect();
        bail!(
            "has {up} of {peers} links whole; the others: {}",
            others.join("; ")
        );
    }
    Ok(())
}

/// Whether a core has ways to call control, all of them good.
fn ways(snapshot: &Value) -> Result<()> {
    let zones = snapshot["zones"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    if zones.is_empty() {
        bail!("has discovered no call control");
    }
    match zones.iter().find(|zone| zone["state"] != "active") {
        Some(zone) => bail!("does not reach call control: {zone}"),
        None => Ok(()),
    }
}

/// Asks a running node by the program's own command.
pub async fn status(program: &Path, config: &Path) -> Result<Value> {
    let mut ask = Command::new(program);
    ask.arg("status").arg("--config").arg(config).arg("--json");
    ask.stdin(Stdio::null()).kill_on_drop(true);
    let done = timeout(ASK_WITHIN, ask.output()).await??;
    if !done.status.success() {
        bail!(
            "does not tell its state: {}",
            String::from_utf8_lossy(&done.stderr).trim()
        );
    }
    Ok(serde_json::from_slice(&done.stdout)?)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn link_with_a_lane_missing_is_not_whole() {
        let link = |xmpp: u64, media: bool| {
            json!({"up": true, "sip_lanes": 2, "http_lanes": 1, "xmpp_lanes": xmpp,
                "media_up": media})
        };
        let told = |list: Value| links(&json!({"links": list}), 1).is_ok();
        assert!(told(json!([link(1, true)])));
        assert!(!told(json!([link(0, true)])));
        assert!(!told(json!([link(1, false)])));
        assert!(!told(json!([])));
    }

    #[test]
    fn way_to_call_control_that_failed_is_told() {
        let told = |zones: Value| ways(&json!({"zones": zones})).map_err(|e| e.to_string());
        let zone = |name, state, why| json!({ "name": name, "state": state, "why": why });
        assert_eq!(told(json!([zone("CEtcp-a", "active", "")])), Ok(()));
        assert!(told(json!([])).is_err());
        let failed = told(json!([
            zone("CEtcp-a", "active", ""),
            zone("CEtcp-b", "failed", "refused")
        ]));
        assert!(failed.is_err_and(|e| e.contains("refused")));
    }
}
