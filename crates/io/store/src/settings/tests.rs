//! The store of settings: order, history, bounds, what stands on the disk.

#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use super::*;

fn file(name: &str) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("causeway-{name}-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    folder.join("settings.db")
}

fn key(byte: u8) -> Secret<[u8; 32]> {
    Secret::new([byte; 32])
}

fn note(author: &str) -> Note {
    Note {
        author: author.into(),
        via: "test".into(),
        reason: "why not".into(),
    }
}

fn wanted(path: &str, open: &str, secret: Option<&str>) -> Wanted {
    Wanted {
        path: path.into(),
        open: open.into(),
        secret: secret.map(|s| Secret::new(s.to_owned())),
    }
}

/// Makes the rows those; gives the revision.
fn set(store: &Settings, rows: &[Wanted]) -> u64 {
    let (revision, there) = store.list().unwrap();
    let writes = writes(&there, rows);
    store
        .change(revision, &writes, &note("alice"), 1_000 + revision)
        .unwrap()
}

fn shown(rows: &[Row]) -> Vec<(&str, &str, Option<&str>)> {
    let secret = |r: &'_ Row| -> Option<String> { r.secret.as_ref().map(|s| s.expose().clone()) };
    rows.iter()
        .map(|r| {
            (
                r.path.as_str(),
                r.open.as_str(),
                secret(r).map(|s| &*s.leak()),
            )
        })
        .collect()
}

#[test]
fn rows_are_there_in_their_order_after_the_file_was_opened_again() {
    let path = file("again");
    let store = Settings::open(&path, &key(1)).unwrap();
    assert_eq!(store.list().unwrap(), (0, Vec::new()));
    let first = [wanted("b", "1", Some("hunter2")), wanted("a", "2", None)];
    assert_eq!(set(&store, &first), 1);
    drop(store);
    let store = Settings::open(&path, &key(1)).unwrap();
    let (revision, rows) = store.list().unwrap();
    assert_eq!(revision, 1);
    assert_eq!(*store.watch().borrow(), 1);
    assert_eq!(
        shown(&rows),
        [("b", "1", Some("hunter2")), ("a", "2", None)]
    );
    assert_eq!(store.get("a").unwrap().unwrap().open, "2");
    assert_eq!(store.get("c").unwrap(), None);
}

#[test]
fn a_change_for_another_revision_is_refused_and_changes_nothing() {
    let store = Settings::open(&file("conflict"), &key(1)).unwrap();
    set(&store, &[wanted("a", "1", None)]);
    let write = Write::Delete("a".into());
    let refused = store.change(0, &[write], &note("bob"), 1).unwrap_err();
    assert!(
        matches!(
            refused,
            Error::Conflict {
                expected: 0,
                now: 1
            }
        ),
        "{refused}"
    );
    assert_eq!(shown(&store.list().unwrap().1), [("a", "1", None)]);
    assert_eq!(store.change(1, &[], &note("bob"), 1).unwrap(), 1);
}

#[test]
fn history_says_who_changed_what_and_every_state_can_be_had_again() {
    let store = Settings::open(&file("history"), &key(1)).unwrap();
    let mut watching = store.watch();
    set(
        &store,
        &[wanted("a", "1", None), wanted("b", "1", Some("old"))],
    );
    set(
        &store,
        &[wanted("b", "1", Some("new")), wanted("c", "1", None)],
    );
    set(
        &store,
        &[
            wanted("b", "1", Some("new")),
            wanted("x", "1", None),
            wanted("c", "1", None),
        ],
    );
    assert!(watching.has_changed().unwrap());
    assert_eq!(*watching.borrow_and_update(), 3);
    let history = store.history(u64::MAX, 10).unwrap();
    let numbers: Vec<u64> = history.iter().map(|r| r.number).collect();
    assert_eq!(numbers, [3, 2, 1]);
    assert_eq!((history[1].at, &history[1].note), (1_001, &note("alice")));
    // A row between two others is one row, not all that follow.
    assert_eq!(history[0].changes.len(), 1);
    let (before, after) = &history[1].changes[1];
    let secret = |row: &Option<Row>| row.as_ref().unwrap().secret.clone().unwrap();
    assert_eq!(
        [secret(before).expose(), secret(after).expose()],
        ["old", "new"]
    );
    assert_eq!(
        shown(&store.at(1).unwrap()),
        [("a", "1", None), ("b", "1", Some("old"))]
    );
    assert_eq!(
        shown(&store.at(2).unwrap()),
        [("b", "1", Some("new")), ("c", "1", None)]
    );
    assert!(store.at(0).unwrap().is_empty());
    assert!(matches!(store.at(4), Err(Error::NoRevision(4))));
    assert_eq!(store.history(2, 10).unwrap().len(), 1);
    assert_eq!(store.history(u64::MAX, 1).unwrap().len(), 1);
}

#[test]
fn no_secret_stands_on_the_disk_and_another_key_opens_none() {
    let path = file("sealed");
    let store = Settings::open(&path, &key(1)).unwrap();
    for secret in ["correct-horse-1", "correct-horse-2"] {
        set(&store, &[wanted("a", "open-text", Some(secret))]);
    }
    let folder = path.parent().unwrap();
    let mut disk = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        disk.extend(std::fs::read(entry.unwrap().path()).unwrap());
    }
    let holds = |text: &str| disk.windows(text.len()).any(|w| w == text.as_bytes());
    assert!(holds("open-text"));
    assert!(!holds("correct-horse"));
    drop(store);
    let other = Settings::open(&path, &key(2)).unwrap();
    assert!(matches!(other.list(), Err(Error::Sealed(path)) if path == "a"));
}

#[test]
fn a_secret_that_was_moved_on_the_disk_does_not_open() {
    let path = file("moved");
    let store = Settings::open(&path, &key(1)).unwrap();
    set(
        &store,
        &[wanted("a", "", Some("one")), wanted("b", "", Some("two"))],
    );
    let disk = rusqlite::Connection::open(&path).unwrap();
    disk.execute(
        "UPDATE item SET sealed = (SELECT sealed FROM item WHERE path = 'a')",
        [],
    )
    .unwrap();
    assert!(matches!(store.list(), Err(Error::Sealed(path)) if path == "b"));
}

#[test]
fn the_oldest_revisions_go() {
    let store = Settings::open(&file("trim"), &key(1))
        .unwrap()
        .keeping(10, 1_000_000);
    for n in 0..13 {
        set(&store, &[wanted("a", &n.to_string(), None)]);
    }
    let history = store.history(u64::MAX, usize::MAX).unwrap();
    assert_eq!(history.len(), 10);
    assert_eq!(history.last().unwrap().number, 4);
    assert_eq!(shown(&store.at(3).unwrap()), [("a", "2", None)]);
    assert!(store.at(2).is_err());
}

#[test]
fn a_long_history_is_cut_but_for_its_last_revision() {
    let store = Settings::open(&file("bytes"), &key(1))
        .unwrap()
        .keeping(10, 1_000);
    let long = "x".repeat(600);
    for n in 0..4 {
        set(&store, &[wanted("a", &format!("{n}{long}"), None)]);
    }
    let history = store.history(u64::MAX, 10).unwrap();
    assert_eq!(history.iter().map(|r| r.number).collect::<Vec<_>>(), [4]);
}

#[test]
fn a_file_of_a_later_version_is_not_touched() {
    let path = file("later");
    drop(Settings::open(&path, &key(1)).unwrap());
    let disk = rusqlite::Connection::open(&path).unwrap();
    disk.pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(
        Settings::open(&path, &key(1)),
        Err(Error::Newer(_))
    ));
}

#[test]
fn every_commit_is_synced_and_the_file_is_its_owners() {
    use std::os::unix::fs::PermissionsExt;
    let path = file("sync");
    let store = Settings::open(&path, &key(1)).unwrap();
    set(&store, &[wanted("a", "1", None)]);
    let (mode, synchronous) = store.pragmas();
    assert_eq!((mode.as_str(), synchronous), ("wal", 2));
    for name in ["settings.db", "settings.db-wal"] {
        let file = std::fs::metadata(path.with_file_name(name)).unwrap();
        assert_eq!(file.permissions().mode() & 0o777, 0o600, "{name}");
    }
}
