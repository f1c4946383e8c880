//! `causeway check`.

use std::path::Path;
use std::process::ExitCode;

use admin::settings::Desk;
use anyhow::Context;
use config::document::Document;
use config::{Checked, Config, Finding, Severity};
use driver::signal::Clock;
use serde_json::json;

use crate::place::FileArg;

/// Prints findings; exit status 1 if the node could not start.
pub(crate) fn check(place: &FileArg, json: bool) -> anyhow::Result<ExitCode> {
    let (text, loaded, path) = match place.state() {
        // Lines are those of the export.
        Some(folder) => {
            let text = Desk::beside(folder)?.current()?.1.text();
            let loaded = admin::settings::load(&text, folder);
            (text, loaded, folder)
        }
        None => {
            let path = place.file("no file is named")?;
            let text = read(path)?;
            let loaded = config::load(&text, path);
            (text, loaded, path)
        }
    };
    let (config, mut findings) = match loaded {
        Ok(Checked { config, warnings }) => (Some(config), warnings),
        Err(findings) => (None, findings),
    };
    if let (Some(config), None) = (&config, place.state()) {
        findings.extend(other_settings(config, &text, path));
    }
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

/// Settings in the data folder's store that are others than those of the file.
fn other_settings(config: &Config, text: &str, path: &Path) -> Option<Finding> {
    let stored = Desk::beside(&config.data).ok()?.current().ok()?.1;
    let folder = std::path::absolute(path).ok()?;
    let file = Document::parse(text).ok()?.anchored(folder.parent()?);
    let file = file.with_secrets(&stored.secrets());
    let differ: Vec<String> = stored.diff(&file).into_iter().map(|c| c.path).collect();
    if stored.is_empty() || differ.is_empty() {
        return None;
    }
    let (count, first) = (differ.len(), differ.first()?);
    Some(Finding {
        severity: Severity::Warning,
        line: config::line_of(text, "", 0, "data"),
        column: 1,
        key: "data".into(),
        cause: format!("the store in this folder has other settings: {count} items, as {first}"),
        fix: "run with --state to use the store's, and causeway ctl apply to make them those of \
              the file; with --config the file alone counts"
            .into(),
    })
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
