//! `causeway ctl search` as an administrator types it: what it prints, and with what exit code it
//! ends. No node runs here; what a running one says is tested where it is made.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

/// The configuration of a core, from the page that explains it.
const PAGE: &str = include_str!("../../../../docs/configuration.md");

/// A file with the page's example of a role, and the example of routing for a core.
fn file(name: &str, role: &str) -> PathBuf {
    let example = |holds: &str| {
        let parts = PAGE.split("```toml\n").skip(1);
        let mut blocks = parts.map(|part| part.split("```").next().unwrap());
        let block = blocks.find(|block| block.contains(holds)).unwrap();
        block.to_owned()
    };
    let mut text = example(&format!("role = \"{role}\""));
    if role == "core" {
        text.push_str(&example("[[search_rules]]"));
    }
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Exit code, standard output, standard error.
fn search(file: &Path, arguments: &[&str]) -> (i32, String, String) {
    let done = Command::new(env!("CARGO_BIN_EXE_causeway"))
        .args(["ctl", "search", "--config"])
        .arg(file)
        .args(arguments)
        .output()
        .unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (
        done.status.code().unwrap(),
        text(done.stdout),
        text(done.stderr),
    )
}

#[test]
fn each_outcome_of_a_search_has_an_exit_code_of_its_own() {
    let (core, edge) = (file("codes.core", "core"), file("codes.edge", "edge"));
    let offline = |more: &[&str]| search(&core, &[&["--offline"], more].concat());
    let trunk = ["--zone", "cucm trunk"];
    let routed = offline(&[&["--to", "sip:8001@example.com"], &trunk[..]].concat());
    assert_eq!(routed.0, 0, "{routed:?}");
    let nowhere = offline(&[&["--to", "sip:1@elsewhere.test"], &trunk[..]].concat());
    assert_eq!(nowhere.0, 1, "{nowhere:?}");
    let unknown = offline(&["--to", "sip:8001@example.com", "--zone", "trunk"]);
    assert_eq!(unknown.0, 2, "{unknown:?}");
    let not_running = search(&core, &["--to", "sip:8001@example.com"]);
    assert_eq!(not_running.0, 3, "{not_running:?}");
    let no_file = search(
        Path::new("/nothing/here"),
        &["--to", "sip:8001@example.com"],
    );
    assert_eq!(no_file.0, 3, "{no_file:?}");
    let at_edge = search(&edge, &["--offline", "--to", "sip:8001@example.com"]);
    assert_eq!(at_edge.0, 3, "{at_edge:?}");
    let served = offline(&["--to", "sip:1002@example.com"]);
    assert_eq!(served.0, 4, "{served:?}");
    assert!(
        served.1.contains("fix     ask the running core"),
        "{served:?}"
    );
}

#[test]
fn what_cannot_be_asked_is_told_in_a_sentence_with_what_to_do() {
    let core = file("words.core", "core");
    for (arguments, said) in [
        (
            &[
                "--offline",
                "--zone",
                "trunk",
                "--to",
                "sip:8001@example.com",
            ][..],
            "causeway: there is no zone \"trunk\"; name one of these: edge1, cucm trunk, \
             conference, DefaultZone; zones that discovery makes are known to the running core \
             only\n",
        ),
        (
            &["--offline", "--to", "1100"],
            "causeway: the destination \"1100\" has no domain; write sip:1100@example.com, \
             1100@example.com, or tel:+4930123 for a number\n",
        ),
        (
            &["--to", ""],
            "causeway: --to names no destination; write --to sip:1002@example.com\n",
        ),
    ] {
        let (code, out, err) = search(&core, arguments);
        assert_eq!((code, out.as_str(), err.as_str()), (2, "", said));
    }
    let (_, _, err) = search(&core, &["--to", "sip:8001@example.com"]);
    assert!(err.contains("start it with causeway run"), "{err}");
    assert!(err.contains("add --offline"), "{err}");
}

#[test]
fn the_exit_codes_stand_in_the_help_and_on_the_page() {
    let (_, help, _) = search(Path::new("x"), &["--help"]);
    let listed = help.split("Exit codes:\n").nth(1).unwrap();
    let mut rows = 0;
    for line in listed.lines() {
        let (code, meaning) = line.trim().split_once("  ").unwrap();
        let row = format!("| {code} | {meaning} |");
        assert!(PAGE.contains(&row), "docs/configuration.md lacks: {row}");
        rows += 1;
    }
    assert_eq!(rows, 5);
}

/// The page's own questions, each asked with the page's own file.
#[test]
fn every_search_on_the_page_ends_as_the_page_says() {
    let core = file("page.core", "core");
    let rows = PAGE.lines().filter_map(|line| {
        let cells = line.strip_prefix("| `--to ")?.split(" | ");
        Some(cells.map(|c| c.trim_matches([' ', '|', '`']).to_owned()))
    });
    let mut asked = 0;
    for mut cells in rows {
        let (arguments, ends) = (cells.next().unwrap(), cells.next().unwrap());
        let said = cells.next().unwrap();
        // An argument in quotes may hold a space.
        let words = arguments.split('"').enumerate().flat_map(|(i, part)| {
            let split: Vec<&str> = match i % 2 {
                0 => part.split_whitespace().collect(),
                _ => vec![part],
            };
            split
        });
        let words: Vec<&str> = ["--offline", "--to"].into_iter().chain(words).collect();
        let (code, out, err) = search(&core, &words);
        assert_eq!(code.to_string(), ends, "{words:?} {out} {err}");
        assert!(out.contains(&said), "{words:?} says {out} {err}");
        asked += 1;
    }
    assert!(asked >= 4, "the page has {asked} examples");
}
