//! `causeway ctl allow-list import`: rules of a CSV file into the configuration file.
//!
//! Rules that let nothing new through are left out; the others are added at the file's end, so
//! that every line and comment that stands there stays. The whole is checked as `causeway check`
//! does before anything is written. Then it goes into a new file beside the old one, which it
//! replaces at once and with the same owner and permissions: whoever reads sees the old file or the
//! new one, whole. A running core is asked to take the rules at once; without one they count at its
//! next start.

use std::fs::File;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, chown};
use std::path::{Path, PathBuf};

use anyhow::Context;
use config::allow_list::{CSV_BYTES_MAX, Csv, read_csv};
use config::{AllowRule, Checked, Finding, Severity};
use driver::signal::Clock;

use super::Row;
use crate::ctl::code;

/// What an import comes to.
struct Plan {
    new: Vec<AllowRule>,
    known: usize,
    text: String,
    /// The data folder, where a running core is asked.
    data: PathBuf,
}

pub(super) fn run(path: &Path, csv: &Path, write: bool, json: bool) -> anyhow::Result<u8> {
    // A link stays a link: what it points to is replaced. Files that the configuration names are
    // looked for beside the path as it is given, as check and run do.
    let target = std::fs::canonicalize(path)
        .with_context(|| format!("{}: the configuration cannot be read", path.display()))?;
    let old = read(&target)?;
    let size = std::fs::metadata(csv)
        .with_context(|| csv.display().to_string())?
        .len();
    anyhow::ensure!(
        size <= CSV_BYTES_MAX as u64,
        "{} is too long",
        csv.display()
    );
    let read = match read_csv(&self::read(csv)?) {
        Ok(read) => read,
        Err(faults) => {
            for fault in faults {
                eprintln!("{}: {fault}", csv.display());
            }
            return Ok(code::REFUSED);
        }
    };
    for note in &read.notes {
        eprintln!("{}: {note}", csv.display());
    }
    let plan = match plan(path, &old, read)? {
        Ok(plan) => plan,
        Err(findings) => {
            eprintln!("nothing was written: the configuration with these rules cannot be used");
            for finding in findings {
                eprintln!("{}: {finding}", path.display());
            }
            return Ok(code::REFUSED);
        }
    };
    let written = write && !plan.new.is_empty();
    if written {
        replace(&target, &old, &plan.text)?;
    }
    let taken = match written {
        true => taken(&plan),
        false => Err("nothing was written".into()),
    };
    tell(&plan, path, written.then_some(taken), json);
    Ok(code::DONE)
}

/// Has the running core take the rules; why it did not.
fn taken(plan: &Plan) -> Result<(), String> {
    let socket = plan.data.join(admin::SOCKET);
    let runtime = crate::runtime().map_err(|e| e.to_string())?;
    let told = runtime.block_on(admin::allow_list::reload(&socket));
    told.map(|_| ()).map_err(|e| e.to_string())
}

/// The configuration with the new rules, if it can be used.
fn plan(path: &Path, old: &str, csv: Csv) -> anyhow::Result<Result<Plan, Vec<Finding>>> {
    let config = match config::load(old, path) {
        Ok(Checked { config, .. }) => config,
        Err(findings) => return Ok(Err(findings)),
    };
    let mut all = super::rules(&config)?.to_vec();
    let (mut new, mut known) = (Vec::new(), 0);
    for rule in csv.rules {
        if all.iter().any(|r| r.same(&rule)) {
            known += 1;
        } else {
            all.push(rule.clone());
            new.push(rule);
        }
    }
    let mut text = old.to_owned();
    if !text.is_empty() && !text.ends_with('\n') {
        text.push('\n');
    }
    for rule in &new {
        text.push('\n');
        text.push_str(&rule.toml());
    }
    let checked = match config::load(&text, path) {
        Ok(checked) => checked,
        Err(findings) => return Ok(Err(findings)),
    };
    let now = Clock::start().now().unix;
    let mut findings = driver::preflight::check(&checked.config, &text, now);
    findings.retain(|f| f.severity == Severity::Error);
    if findings.is_empty() {
        // What was added is what will be read.
        anyhow::ensure!(
            super::rules(&checked.config)? == all,
            "the rules do not read back"
        );
        let data = checked.config.data.clone();
        Ok(Ok(Plan {
            new,
            known,
            text,
            data,
        }))
    } else {
        Ok(Err(findings))
    }
}

fn tell(plan: &Plan, path: &Path, written: Option<Result<(), String>>, json: bool) {
    if json {
        let rows: Vec<Row<'_>> = plan.new.iter().map(Row::of).collect();
        let (added, known) = (rows.len(), plan.known);
        println!(
            "{}",
            serde_json::json!({
                "file": path.display().to_string(), "written": written.is_some(),
                "live": matches!(written, Some(Ok(()))),
                "added": added, "known": known, "rules": rows,
            })
        );
        return;
    }
    for (n, rule) in plan.new.iter().enumerate() {
        if n > 0 {
            println!();
        }
        print!("{}", rule.toml());
    }
    let (new, known, path) = (plan.new.len(), plan.known, path.display());
    let what = match (new, &written) {
        (0, _) => format!("{path}: nothing to add"),
        (_, Some(Ok(()))) => format!("{path}: {new} rules added, and the running core has them"),
        (_, Some(Err(why))) => format!(
            "{path}: {new} rules added; they count at the core's next start, since it was not \
             told: {why}"
        ),
        (_, None) => format!("{path}: {new} rules to add; nothing was written (--write does)"),
    };
    eprintln!("{what}; {known} stand there already");
}

fn read(path: &Path) -> anyhow::Result<String> {
    std::fs::read_to_string(path).with_context(|| format!("{} cannot be read", path.display()))
}

/// Puts `text` in the place of `old`, whole or not at all.
fn replace(path: &Path, old: &str, text: &str) -> anyhow::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.join(format!(".{name}.{}.new", std::process::id()));
    let done = write_beside(path, &beside, text).and_then(|()| {
        anyhow::ensure!(
            read(path)? == old,
            "{} was changed meanwhile",
            path.display()
        );
        std::fs::rename(&beside, path)?;
        // So that the new name survives a power cut.
        File::open(folder)?.sync_all()?;
        Ok(())
    });
    if done.is_err() {
        let _ = std::fs::remove_file(&beside);
    }
    done.with_context(|| format!("{} cannot be written", path.display()))
}

fn write_beside(path: &Path, beside: &PathBuf, text: &str) -> anyhow::Result<()> {
    let old = std::fs::metadata(path)?;
    // It may hold passwords: nobody reads it before it has the old one's permissions.
    let mut options = File::options();
    let options = options.write(true).create_new(true).mode(0o600);
    let mut file = options.open(beside)?;
    file.write_all(text.as_bytes())?;
    let new = file.metadata()?;
    if (new.uid(), new.gid()) != (old.uid(), old.gid()) {
        chown(beside, Some(old.uid()), Some(old.gid()))?;
    }
    file.set_permissions(old.permissions())?;
    file.sync_all()?;
    Ok(())
}
