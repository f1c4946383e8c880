//! What processes cost: processor time and memory of a process and all its descendants.
//!
//! Processor time is user and system time of `/proc/PID/stat`, in steps of 10 ms; memory is `Pss`
//! of `/proc/PID/smaps_rollup`, which counts a page shared by two for half. Buffers of sockets in
//! the kernel are in neither.

use std::collections::HashMap;
use std::fs;

use anyhow::{Context, Result};

/// Ticks a second of `/proc/PID/stat`.
const TICKS: f64 = 100.0;

/// Processor seconds of a process and its descendants so far.
pub(crate) fn cpu(root: u32) -> f64 {
    let used = |pid: &u32| -> Option<f64> {
        let fields = stat(*pid)?;
        let at = |n: usize| fields.get(n)?.parse::<f64>().ok();
        Some((at(11)? + at(12)?) / TICKS)
    };
    tree(root).iter().filter_map(used).sum()
}

/// Memory of a process and its descendants, in KiB.
///
/// # Errors
/// The process is gone.
pub(crate) fn pss(root: u32) -> Result<u64> {
    let mut sum = 0;
    for pid in tree(root) {
        let Ok(text) = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) else {
            continue;
        };
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:"));
        sum += line
            .and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok())
            .context("no Pss in smaps_rollup")?;
    }
    if sum == 0 {
        anyhow::bail!("process {root} is gone");
    }
    Ok(sum)
}

/// The fields after the program's name, which may itself hold blanks.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split(' ').map(str::to_owned).collect())
}

fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let pid = entry.file_name().to_str().and_then(|n| n.parse().ok());
        let parent = pid.and_then(|pid| stat(pid)?.get(1)?.parse().ok());
        if let (Some(pid), Some(parent)) = (pid, parent) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.get(pid).cloned().unwrap_or_default());
        next += 1;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_memory_and_time() {
        let own = std::process::id();
        assert!(pss(own).unwrap() > 100);
        assert!(cpu(own) >= 0.0);
        assert!(tree(own).contains(&own));
    }
}
