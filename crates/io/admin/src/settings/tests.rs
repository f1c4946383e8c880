//! A desk with a store of its own, and files that are good.

#![allow(clippy::unwrap_used)]

use super::*;
use config::document::Kind;
use store::settings::Settings;

/// A node's files, with a certificate that is good.
pub(crate) fn folder(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("causeway-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let names = vec!["core1.example.test".to_owned()];
    let key = rcgen::KeyPair::generate().unwrap();
    let made = rcgen::CertificateParams::new(names).unwrap();
    let made = made.self_signed(&key).unwrap();
    for (name, text) in [
        ("c.pem", made.pem()),
        ("k.key", key.serialize_pem()),
        ("t.pem", made.pem()),
    ] {
        std::fs::write(folder.join(name), text).unwrap();
    }
    folder
}

pub(crate) const CORE: &str = r#"
role = "core"
name = "core1"
domain = "example.test"

[certificate]
chain = "c.pem"
key = "k.key"
trusted = "t.pem"

[service.sip]
listen = ["127.0.0.1:5060"]
[service.media]
listen = "127.0.0.1"

[[domains]]
name = "example.test"

[[traversal.peer]]
name = "edge1"
dial = "192.0.2.1"
verify_name = "edge1.example.test"
user = "u"
password = "correct horse battery"
"#;

pub(crate) fn desk(folder: &Path) -> Desk {
    let store = Settings::open(&folder.join(FILE), &Secret::new([1; 32])).unwrap();
    Desk::new(Arc::new(store), folder)
}

fn order(author: &str) -> Order {
    Order {
        author: author.into(),
        ..Order::default()
    }
}

fn apply(desk: &Desk, text: &str) -> Result<Outcome, Refusal> {
    desk.apply(text, None, None, &order("alice"), "test")
}

fn told(changes: &[Change]) -> Vec<(Kind, &str)> {
    changes.iter().map(|c| (c.kind, c.path.as_str())).collect()
}

#[test]
fn a_document_is_applied_whole_shown_first_and_remembered() {
    let desk = desk(&folder("apply"));
    let dry = Order {
        dry_run: true,
        ..order("alice")
    };
    let shown = desk.apply(CORE, None, None, &dry, "test").unwrap();
    assert_eq!((shown.revision, shown.changed), (0, false));
    assert_eq!(shown.changes.len(), 6, "{:?}", shown.changes);
    assert!(desk.current().unwrap().1.is_empty());
    let done = apply(&desk, CORE).unwrap();
    assert_eq!((done.revision, done.changed), (1, true));
    assert_eq!(done.changes, shown.changes);
    // The same again is no change.
    let again = apply(&desk, CORE).unwrap();
    assert_eq!(
        (again.revision, again.changed, again.changes.len()),
        (1, false, 0)
    );
    let more = format!("{CORE}[[domains]]\nname = \"example.org\"\n");
    let added = apply(&desk, &more).unwrap();
    assert_eq!(told(&added.changes), [(Kind::Added, "domains/example.org")]);
    let history = desk.history(None, 10).unwrap();
    let authors: Vec<_> = history
        .iter()
        .map(|p| (p.revision, p.author.as_str()))
        .collect();
    assert_eq!(authors, [(2, "alice"), (1, "alice")]);
    assert_eq!(
        told(&history[0].changes),
        [(Kind::Added, "domains/example.org")]
    );
    let told = serde_json::to_string(&history).unwrap();
    assert!(!told.contains("horse"), "{told}");
}

#[test]
fn mistakes_are_told_with_the_lines_that_were_sent_and_nothing_changes() {
    let desk = desk(&folder("mistakes"));
    apply(&desk, CORE).unwrap();
    let bad = format!("# A comment.\n\n{CORE}[[zones]]\nname = \"x\"\ntype = \"moon\"\n");
    let Err(Refusal::Mistakes(found)) = apply(&desk, &bad) else {
        panic!("it was taken")
    };
    let line = bad.lines().position(|l| l.contains("moon")).unwrap() + 1;
    assert!(
        found
            .iter()
            .any(|f| f.line == line && f.key == "zones.type"),
        "{found:?}"
    );
    let gone = CORE.replace("c.pem", "gone.pem");
    let Err(Refusal::Mistakes(found)) = apply(&desk, &gone) else {
        panic!("it was taken")
    };
    let line = gone.lines().position(|l| l.contains("gone.pem")).unwrap() + 1;
    assert!(found.iter().any(|f| f.line == line), "{found:?}");
    assert!(matches!(apply(&desk, "a = ["), Err(Refusal::Mistakes(_))));
    assert_eq!(desk.current().unwrap().0, 1);
}

#[test]
fn a_change_made_for_another_revision_is_refused() {
    let desk = desk(&folder("revision"));
    apply(&desk, CORE).unwrap();
    let stale = Order {
        revision: Some(0),
        ..order("bob")
    };
    let refused = desk.apply(CORE, None, None, &stale, "test").unwrap_err();
    let conflict = |r: &Refusal| {
        matches!(
            r,
            Refusal::Store(store::Error::Conflict {
                expected: 0,
                now: 1
            })
        )
    };
    assert!(conflict(&refused), "{refused}");
    assert!(conflict(&desk.change(&stale, "test", Ok).unwrap_err()));
    assert!(conflict(
        &desk.rollback(Some(1), &stale, "test").unwrap_err()
    ));
}

#[test]
fn the_last_change_can_be_taken_back_and_the_way_back_too() {
    let desk = desk(&folder("rollback"));
    apply(&desk, CORE).unwrap();
    let none = desk.rollback(None, &order("bob"), "test");
    assert!(matches!(none, Err(Refusal::Wrong { .. })));
    apply(&desk, &CORE.replace("correct horse", "incorrect horse")).unwrap();
    let second = desk.current().unwrap().1;
    let back = desk.rollback(None, &order("bob"), "test").unwrap();
    assert_eq!(back.revision, 3);
    assert!(desk.current().unwrap().1.text().contains("\"correct horse"));
    assert_eq!(
        desk.history(None, 1).unwrap()[0].reason,
        "back to revision 1"
    );
    desk.rollback(None, &order("bob"), "test").unwrap();
    assert_eq!(desk.current().unwrap().1, second);
}

#[test]
fn an_export_holds_no_secret_and_is_applied_with_those_that_are_there() {
    let desk = desk(&folder("export"));
    apply(&desk, CORE).unwrap();
    let export = desk.export(None).unwrap();
    assert!(export.contains("Secrets are left out"), "{export}");
    assert!(!export.contains("horse"), "{export}");
    let again = apply(&desk, &export).unwrap();
    assert!(!again.changed, "{:?}", again.changes);
    // Elsewhere they are missing, and it is said.
    let other = self::desk(&folder("export2"));
    let Err(Refusal::Mistakes(found)) = apply(&other, &export) else {
        panic!("it was taken")
    };
    assert!(
        found.iter().any(|f| f.key == "traversal.peer.password"),
        "{found:?}"
    );
}

#[test]
fn sealed_secrets_go_to_another_node_under_their_passphrase_alone() {
    let first = desk(&folder("sealed1"));
    apply(&first, CORE).unwrap();
    let phrase = |text: &str| Secret::new(text.to_owned());
    let short = first.export(Some(&phrase("short"))).unwrap_err();
    assert!(short.to_string().contains("12 characters"), "{short}");
    let good = phrase("a long passphrase");
    let export = first.export(Some(&good)).unwrap();
    let backup = first.backup(&good).unwrap();
    for text in [export.as_bytes(), &backup] {
        assert!(!text.windows(5).any(|w| w == b"horse"));
    }
    let second = desk(&folder("sealed2"));
    let take = |phrase| second.apply(&export, None, phrase, &order("bob"), "test");
    assert!(matches!(take(None), Err(Refusal::Wrong { .. })));
    let wrong = phrase("another passphrase");
    let refused = take(Some(&wrong));
    assert!(matches!(
        refused,
        Err(Refusal::Store(store::Error::Passphrase))
    ));
    take(Some(&good)).unwrap();
    assert_eq!(second.current().unwrap().1, first.current().unwrap().1);
    let third = desk(&folder("sealed3"));
    let refused = third.restore(&backup, &wrong, &order("bob"), "test");
    assert!(matches!(
        refused,
        Err(Refusal::Store(store::Error::Passphrase))
    ));
    third
        .restore(&backup, &good, &order("bob"), "test")
        .unwrap();
    assert_eq!(third.current().unwrap().1, first.current().unwrap().1);
}

#[test]
fn an_item_is_changed_alone_and_keeps_its_secret() {
    let desk = desk(&folder("item"));
    apply(&desk, CORE).unwrap();
    let done = desk.change(&order("alice"), "test", |mut document| {
        let item = document.get("traversal.peer/edge1").unwrap().clone();
        assert!(!item.table.contains_key("password"));
        let mut table = item.table;
        table.insert("hop_count".into(), toml::Value::Integer(9));
        document.put(&item.path, table)?;
        Ok(document)
    });
    let changes = done.unwrap().changes;
    assert_eq!(told(&changes), [(Kind::Changed, "traversal.peer/edge1")]);
    assert_eq!(changes[0].keys.len(), 1);
    let text = desk.current().unwrap().1.text();
    assert!(
        text.contains("hop_count = 9") && text.contains("correct horse"),
        "{text}"
    );
}

#[test]
fn what_a_running_node_does_not_take_up_is_told_until_it_is_started_again() {
    let desk = desk(&folder("waiting"));
    apply(&desk, CORE).unwrap();
    let (revision, document) = desk.current().unwrap();
    desk.started(revision, document);
    let moved = CORE.replace("127.0.0.1:5060", "127.0.0.1:5070");
    let outcome = apply(&desk, &moved).unwrap();
    assert_eq!(outcome.waiting, ["service.sip.listen"]);
    let (config, _) = desk.taken_up(&desk.current().unwrap().1).unwrap();
    let config::Role::Core(core) = config.role else {
        panic!("it is no core")
    };
    assert_eq!(core.sip[0].port(), 5060);
    let back = apply(&desk, CORE).unwrap();
    assert!(back.waiting.is_empty(), "{back:?}");
}
