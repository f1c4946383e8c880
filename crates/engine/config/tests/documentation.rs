//! `docs/configuration.md` and `docs/ports.md` say what the program does.
//!
//! The program tells its keys itself: an unknown key is refused with a list of the known ones. So
//! the sections are found by asking, and no second list can fall behind.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::Path;

use config::{Role, load};

const CONFIGURATION: &str = include_str!("../../../../docs/configuration.md");
const PORTS: &str = include_str!("../../../../docs/ports.md");

/// The keys of a section as the program tells them; `None` if this is no section.
fn keys(section: &str, repeated: bool) -> Option<Vec<String>> {
    let header = match (section, repeated) {
        ("", _) => String::new(),
        // Below an entry of an array.
        ("domains.sign_in", false) => "[[domains]]\n[domains.sign_in]\n".to_owned(),
        ("domains.tokens", false) => "[[domains]]\n[domains.tokens]\n".to_owned(),
        (section, false) => format!("[{section}]\n"),
        (section, true) => format!("[[{section}]]\n"),
    };
    let findings = load(&format!("{header}no_such_key = 1\n"), Path::new("x.toml")).unwrap_err();
    let cause = &findings.first()?.cause;
    let known = cause.strip_prefix("unknown field `no_such_key`, expected ")?;
    Some(
        known
            .split('`')
            .skip(1)
            .step_by(2)
            .map(str::to_owned)
            .collect(),
    )
}

/// Every section's heading and keys, found by asking.
fn sections() -> Vec<(String, Vec<String>)> {
    let mut found = vec![(String::new(), String::new())];
    let mut known = Vec::new();
    while let Some((heading, section)) = found.pop() {
        let repeated = heading.starts_with("[[");
        let mut own = Vec::new();
        for key in keys(&section, repeated).unwrap() {
            let path = if section.is_empty() {
                key.clone()
            } else {
                format!("{section}.{key}")
            };
            if keys(&path, false).is_some() {
                found.push((format!("[{path}]"), path));
            } else if keys(&path, true).is_some() {
                found.push((format!("[[{path}]]"), path));
            } else {
                own.push(key);
            }
        }
        if !own.is_empty() {
            known.push((heading, own));
        }
    }
    known
}

/// The keys under a heading of the page; the node's own stand under `## The node`.
fn documented(heading: &str) -> BTreeSet<String> {
    let wanted = match heading {
        "" => "## The node".to_owned(),
        heading => format!("### `{heading}`"),
    };
    CONFIGURATION
        .lines()
        .skip_while(|line| *line != wanted)
        .skip(1)
        .take_while(|line| !line.starts_with('#'))
        .filter_map(|line| Some(line.strip_prefix("| `")?.split_once('`')?.0.to_owned()))
        .collect()
}

#[test]
fn every_key_stands_in_the_page_and_no_other() {
    let sections = sections();
    assert!(sections.len() > 15, "{sections:?}");
    for (heading, keys) in &sections {
        let keys: BTreeSet<String> = keys.iter().cloned().collect();
        assert_eq!(
            documented(heading),
            keys,
            "docs/configuration.md, {heading}"
        );
    }
    let headings: BTreeSet<&str> = sections
        .iter()
        .map(|(heading, _)| heading.as_str())
        .collect();
    let written = CONFIGURATION
        .lines()
        .filter_map(|line| line.strip_prefix("### `"));
    for heading in written.map(|line| line.trim_end_matches('`')) {
        assert!(
            headings.contains(heading),
            "docs/configuration.md has {heading}, the file has not"
        );
    }
}

#[test]
fn every_key_of_a_secret_is_kept_as_one() {
    let mut seen = BTreeSet::new();
    for (heading, keys) in sections() {
        for key in keys {
            let secret = key.contains("password") || key.contains("secret");
            if secret && !key.ends_with("_file") {
                let known = config::document::SECRET_KEYS.contains(&key.as_str());
                assert!(
                    known,
                    "{heading} {key} is shown and stored as if it were no secret"
                );
                seen.insert(key);
            }
        }
    }
    assert_eq!(seen.len(), config::document::SECRET_KEYS.len(), "{seen:?}");
}

#[test]
fn every_number_stands_in_the_page_with_its_range() {
    for range in config::RANGES {
        let (section, key) = range.key.rsplit_once('.').unwrap();
        let headings = [format!("### `[{section}]`"), format!("### `[[{section}]]`")];
        let mut lines = CONFIGURATION.lines();
        let found = lines.any(|line| headings.iter().any(|h| h == line));
        assert!(found, "docs/configuration.md lacks {section}");
        let head = format!("| `{key}` |");
        let row = lines
            .take_while(|line| !line.starts_with('#'))
            .find(|line| line.starts_with(&head));
        let row = row.unwrap_or_else(|| panic!("docs/configuration.md lacks {}", range.key));
        // What a port may be is said once, at the top.
        let bounds = format!("{} to {}", range.min, range.max);
        let port = key.contains("port") && CONFIGURATION.contains(&format!("is {bounds}."));
        assert!(port || row.contains(&bounds), "{}: {bounds}", range.key);
    }
}

#[test]
fn every_example_is_accepted_without_a_warning() {
    let examples: Vec<&str> = CONFIGURATION.split("```toml\n").skip(1).collect();
    assert_eq!(examples.len(), 3);
    let text = |example: &str| example.split("```").next().unwrap().to_owned();
    let core = text(examples[1]);
    for (number, example) in examples.iter().enumerate() {
        // A part of a core's file.
        let head = if number == 2 { core.as_str() } else { "" };
        let text = format!("{head}{}", text(example));
        let checked = load(&text, Path::new("causeway.toml"));
        let warnings = checked.map(|checked| checked.warnings.len());
        assert_eq!(
            warnings.map_err(|f| f.iter().map(ToString::to_string).collect::<Vec<_>>()),
            Ok(0)
        );
    }
}

#[test]
fn every_default_port_stands_in_the_table_of_ports() {
    let rows: Vec<&str> = PORTS
        .lines()
        .filter(|line| line.starts_with("| "))
        .collect();
    let mut wanted = Vec::new();
    for example in CONFIGURATION.split("```toml\n").skip(1).take(2) {
        let text = example.split("```").next().unwrap();
        match load(text, Path::new("causeway.toml")).unwrap().config.role {
            Role::Edge(edge) => {
                wanted.extend(
                    [&edge.https, &edge.sip, &edge.xmpp].map(|s| s.listen[0].port().to_string()),
                );
                let t = edge.traversal;
                wanted.extend([t.sip.port(), t.ssh.port(), t.xmpp.port()].map(|p| p.to_string()));
                wanted.push(format!("{}, {}", t.media_ports.0, t.media_ports.1));
                wanted.push(format!(
                    "{}–{}",
                    edge.media.ports.start(),
                    edge.media.ports.end()
                ));
            }
            Role::Core(core) => {
                wanted.push(core.sip[0].port().to_string());
                wanted.extend(
                    core.unity_connection
                        .iter()
                        .map(|server| server.port.to_string()),
                );
                wanted.push(format!(
                    "{}–{}",
                    core.media.ports.start(),
                    core.media.ports.end()
                ));
            }
        }
    }
    for port in wanted {
        let there = rows
            .iter()
            .any(|row| row.split('|').any(|cell| cell.trim() == port));
        assert!(there, "docs/ports.md has no row for {port}");
    }
}
