//! Whether the lints below the I/O line really bite: a breach of each is planted in a copy.
//!
//! The copy is a small workspace with the real `clippy.toml` files and the real lint levels. The
//! same breaches stand in a crate beside the engines, where they are allowed.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value as Json;
use toml::{Table, Value};

/// How the functions are named that cannot be named by their path alone.
const SPELT_OUT: [(&str, &str); 9] = [
    ("std::thread::spawn", "std::thread::spawn::<fn() -> u8, u8>"),
    ("std::thread::scope", "std::thread::scope(|_| 0u8)"),
    ("std::env::var", "std::env::var::<&str>"),
    ("std::env::var_os", "std::env::var_os::<&str>"),
    ("std::fs::read", "std::fs::read::<&str>"),
    ("std::fs::read_dir", "std::fs::read_dir::<&str>"),
    ("std::fs::read_to_string", "std::fs::read_to_string::<&str>"),
    ("std::fs::write", "std::fs::write::<&str, &str>"),
    (
        "std::net::ToSocketAddrs::to_socket_addrs",
        "<str as std::net::ToSocketAddrs>::to_socket_addrs",
    ),
];

#[test]
fn every_rule_below_the_line_bites_there_and_only_there() {
    let root = root();
    let rules: Table = read(&root.join("crates/engine/clippy.toml"))
        .parse()
        .unwrap();
    let (source, planted) = breaches(&rules);
    let copy = workspace(&root, &source);
    let found = clippy(&copy);
    let below: BTreeSet<u64> = lines(&found, "engine/probe/src/lib.rs");
    let missed: Vec<&str> = planted
        .iter()
        .filter(|(line, _)| !below.contains(line))
        .map(|(_, p)| p.as_str())
        .collect();
    assert!(missed.is_empty(), "not refused below the line: {missed:?}");
    let above = lines(&found, "io/probe/src/lib.rs");
    let allowed = planted
        .iter()
        .filter(|(line, _)| !above.contains(line))
        .count();
    assert_eq!(
        planted.len() - allowed,
        1,
        "above the line only `abort` is refused"
    );
}

/// A source with a breach of each rule, and the line and path of each.
fn breaches(rules: &Table) -> (String, Vec<(u64, String)>) {
    let mut source = String::from("//! Breaches.\n");
    let mut planted = Vec::new();
    let mut plant = |text: String, what: &str| {
        source += &text;
        planted.push((source.lines().count() as u64, what.to_owned()));
    };
    for (number, path) in paths(rules, "disallowed-methods").iter().enumerate() {
        let spelt = SPELT_OUT
            .iter()
            .find(|(name, _)| name == path)
            .map_or(path.as_str(), |s| s.1);
        plant(format!("pub fn m{number}() {{ let _ = {spelt}; }}\n"), path);
    }
    for (number, path) in paths(rules, "disallowed-types").iter().enumerate() {
        plant(format!("pub use {path} as T{number};\n"), path);
    }
    plant("pub async fn waits() {}\n".to_owned(), "async fn");
    (source, planted)
}

fn paths(rules: &Table, list: &str) -> Vec<String> {
    let entries = rules[list].as_array().unwrap();
    entries
        .iter()
        .map(|entry| entry["path"].as_str().unwrap().to_owned())
        .collect()
}

/// The small workspace, in cargo's folder for this.
fn workspace(root: &Path, source: &str) -> PathBuf {
    let copy = Path::new(env!("CARGO_TARGET_TMPDIR")).join("lints");
    let _ = fs::remove_dir_all(&copy);
    let manifest: Table = read(&root.join("Cargo.toml")).parse().unwrap();
    let lints = Table::from_iter([("lints".to_owned(), manifest["workspace"]["lints"].clone())]);
    let mut workspace = lints;
    workspace.insert("resolver".to_owned(), Value::from("3"));
    workspace.insert(
        "members".to_owned(),
        Value::from(vec!["engine/probe", "io/probe", "stub"]),
    );
    let whole = Table::from_iter([("workspace".to_owned(), Value::Table(workspace))]);
    write(&copy.join("Cargo.toml"), &whole.to_string());
    write(&copy.join("clippy.toml"), &read(&root.join("clippy.toml")));
    write(
        &copy.join("engine/clippy.toml"),
        &read(&root.join("crates/engine/clippy.toml")),
    );
    let probe = "[lints]\nworkspace = true\n\
        [dependencies]\naws-lc-rs = { path = \"../../stub\" }\n";
    let crates = [
        ("engine/probe", "below", probe),
        ("io/probe", "above", probe),
        ("stub", "aws-lc-rs", ""),
    ];
    for (folder, name, rest) in crates {
        let package = format!("[package]\nname = \"{name}\"\nedition = \"2024\"\n{rest}");
        write(&copy.join(folder).join("Cargo.toml"), &package);
        let text = if rest.is_empty() {
            "//! In place of the library.\npub mod rand { pub fn fill(_: &mut [u8]) {} }\n"
        } else {
            source
        };
        write(&copy.join(folder).join("src/lib.rs"), text);
    }
    copy
}

/// What clippy says of it, a message each.
fn clippy(copy: &Path) -> Vec<Json> {
    let answer = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args([
            "clippy",
            "--offline",
            "--keep-going",
            "--message-format",
            "json",
        ])
        .args(["--target-dir", "target"])
        .current_dir(copy)
        .env_remove("RUSTFLAGS")
        .output()
        .expect("cargo clippy runs: rustup component add clippy");
    let text = String::from_utf8_lossy(&answer.stdout).into_owned();
    let messages: Vec<Json> = text
        .lines()
        .filter_map(|line| serde_json::from_str::<Json>(line).ok())
        .filter(|message| message["reason"] == "compiler-message")
        .map(|message| message["message"].clone())
        .collect();
    let lint = |message: &Json| {
        message["code"]["code"]
            .as_str()
            .unwrap_or("none")
            .to_owned()
    };
    let broken: Vec<&Json> = messages
        .iter()
        .filter(|message| message["level"] == "error" && !lint(message).contains("clippy::"))
        .filter(|message| {
            message["spans"]
                .as_array()
                .is_some_and(|spans| !spans.is_empty())
        })
        .collect();
    assert!(
        broken.is_empty(),
        "the planted code does not compile: {broken:#?}"
    );
    assert!(
        !messages.is_empty(),
        "{}",
        String::from_utf8_lossy(&answer.stderr)
    );
    messages
}

/// The lines of a file that a `disallowed` lint refuses.
fn lines(messages: &[Json], file: &str) -> BTreeSet<u64> {
    messages
        .iter()
        .filter(|message| message["level"] == "error")
        .filter(|message| {
            message["code"]["code"]
                .as_str()
                .unwrap_or_default()
                .starts_with("clippy::disallowed_")
        })
        .flat_map(|message| message["spans"].as_array().cloned().unwrap_or_default())
        .filter(|span| span["file_name"] == file)
        .filter_map(|span| span["line_start"].as_u64())
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .ancestors()
        .nth(2)
        .unwrap()
        .to_path_buf()
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn write(path: &Path, text: &str) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}
