//! `causeway check`.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use config::{Checked, Config, Finding, Severity};
use driver::signal::Clock;
use serde_json::json;

/// Prints findings; exit status 1 if the node could not start.
pub(crate) fn check(path: &Path, json: bool) -> anyhow::Result<ExitCode> {
    let text = read(path)?;
    let (config, mut findings) = match config::load(&text, path) {
        Ok(Checked { config, warnings }) => (Some(config), warnings),
        Err(findings) => (None, findings),
    };
    if let Some(config) = &config {
        findings.extend(driver::preflight::check(
            config,
            &text,
            Clock::start().now().unix,
        ));
        findings.sort_by_key(|f| f.line);
    }
    let good = findings.iter().all(|f| f.severity == Severity::Warning);
    if json {
        println!("{}", as_json(path, good, &findings));
    } else {
        for finding in &findings {
            println!("{}: {finding}", path.display());
        }
        match (good, findings.len()) {
            (true, 0) => println!("{}: all is well", path.display()),
            (true, n) => println!("{}: can run; {n} to look at", path.display()),
            (false, _) => println!("{}: cannot run", path.display()),
        }
    }
    Ok(if good {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The configuration of a node that is to start or to be asked.
pub(crate) fn load(path: &Path) -> anyhow::Result<(Config, Vec<Finding>)> {
    let text = read(path)?;
    match config::load(&text, path) {
        Ok(Checked { config, warnings }) => Ok((config, warnings)),
        Err(findings) => {
            let lines: Vec<String> = findings.iter().map(|f| format!("  {f}")).collect();
            anyhow::bail!("{} cannot be used:\n{}", path.display(), lines.join("\n"))
        }
    }
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path)
        .with_context(|| format!("{}: the configuration cannot be read", path.display()))
}

fn as_json(path: &Path, good: bool, findings: &[Finding]) -> serde_json::Value {
    let rows: Vec<serde_json::Value> = findings
        .iter()
        .map(|f| {
            let severity = match f.severity {
                Severity::Warning => "warning",
                Severity::Error => "error",
            };
            json!({
                "severity": severity, "line": f.line, "column": f.column,
                "key": f.key, "cause": f.cause, "fix": f.fix,
            })
        })
        .collect();
    json!({ "file": path.display().to_string(), "can_run": good, "findings": rows })
}
