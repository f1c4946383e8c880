//! What a disk and a crash can do to a journal.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;

/// A folder of its own for each test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let name = format!("causeway-journal-{}-{number}", std::process::id());
        let path = std::env::temp_dir().join(name);
        let _ = std::fs::remove_dir_all(&path);
        std::fs::create_dir_all(&path).unwrap();
        Folder(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("kept.log")
    }

    /// The journal as the next start finds it.
    fn open(&self) -> (Journal, Found, Vec<String>) {
        self.open_with([7; 32])
    }

    fn open_with(&self, key: [u8; 32]) -> (Journal, Found, Vec<String>) {
        let mut all = Vec::new();
        let each = |p: &[u8]| all.push(String::from_utf8(p.to_vec()).unwrap());
        let (journal, found) = Journal::open(&self.file(), &Secret::new(key), each).unwrap();
        (journal, found, all)
    }

    fn filled(payloads: &[&str]) -> (Folder, Vec<u8>) {
        let folder = Folder::new();
        let (mut journal, _, _) = folder.open();
        for payload in payloads {
            journal.append(payload.as_bytes()).unwrap();
        }
        let bytes = std::fs::read(folder.file()).unwrap();
        assert_eq!(bytes.len() as u64, journal.bytes());
        (folder, bytes)
    }

    fn put(&self, bytes: &[u8]) {
        std::fs::write(self.file(), bytes).unwrap();
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Where each record ends, the head first.
fn ends(payloads: &[&str]) -> Vec<usize> {
    let mut ends = vec![HEAD];
    for payload in payloads {
        ends.push(ends[ends.len() - 1] + RECORD_HEAD + payload.len() + 16);
    }
    ends
}

const THREE: [&str; 3] = ["alice", "bob", ""];

#[test]
fn what_was_appended_is_there_after_a_kill_and_nobody_else_can_read_it() {
    let (folder, bytes) = Folder::filled(&THREE);
    // Nothing was closed or synced in good order; opening it again is what a new process does.
    let (mut journal, found, all) = folder.open();
    assert_eq!((found.good, found.damaged, found.cut_bytes), (3, 0, 0));
    assert_eq!(all, THREE);
    journal.append(b"carol").unwrap();
    journal.sync().unwrap();
    assert_eq!(folder.open().2, ["alice", "bob", "", "carol"]);
    assert!(!bytes.windows(5).any(|w| w == b"alice"));
    let mode = std::fs::metadata(folder.file())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);
}

#[test]
fn a_file_cut_anywhere_gives_the_records_before_and_goes_on_from_there() {
    let (folder, bytes) = Folder::filled(&THREE);
    let ends = ends(&THREE);
    for cut in 0..bytes.len() {
        folder.put(&bytes[..cut]);
        let whole = ends
            .iter()
            .filter(|end| **end <= cut)
            .count()
            .saturating_sub(1);
        let (mut journal, found, all) = folder.open();
        assert_eq!(all, THREE[..whole], "{cut}");
        let rest = if cut < HEAD { cut } else { cut - ends[whole] };
        assert_eq!(found.cut_bytes, rest as u64, "{cut}");
        journal.append(b"next").unwrap();
        let (_, found, all) = folder.open();
        assert_eq!((found.damaged, found.cut_bytes), (0, 0), "{cut}");
        assert_eq!(all.last().unwrap(), "next");
        assert_eq!(all.len(), whole + 1);
    }
}

#[test]
fn a_flipped_byte_costs_its_record_and_never_gives_a_false_one() {
    let (folder, bytes) = Folder::filled(&THREE);
    let ends = ends(&THREE);
    for place in 0..bytes.len() {
        let mut bytes = bytes.clone();
        bytes[place] ^= 0x40;
        folder.put(&bytes);
        let (_, found, all) = folder.open();
        let hit = ends.iter().filter(|end| **end <= place).count();
        assert!(found.damaged + found.cut_bytes > 0, "{place}");
        assert!(all.iter().all(|p| THREE.contains(&p.as_str())), "{place}");
        // A length that is wrong loses what follows; anything else loses one record.
        let inside = hit > 0 && place >= ends[hit - 1] + 4;
        if inside {
            assert_eq!(all.len(), 2, "{place}");
        }
    }
}

#[test]
fn swapped_repeated_and_older_records_are_passed_over() {
    let payloads = ["aaaa", "bbbb", "cccc"];
    let (folder, bytes) = Folder::filled(&payloads);
    let ends = ends(&payloads);
    let record = |i: usize| &bytes[ends[i]..ends[i + 1]];
    let head = &bytes[..HEAD];
    let found = |parts: &[&[u8]]| {
        folder.put(&parts.concat());
        let (_, found, all) = folder.open();
        assert_eq!(found.good + found.damaged, parts.len() as u64 - 1);
        all
    };
    assert_eq!(found(&[head, record(1), record(0), record(2)]), ["cccc"]);
    assert_eq!(found(&[head, record(0), record(0)]), ["aaaa"]);
    assert!(found(&[head, record(1), record(2)]).is_empty());
    // A record at its old place, in the file that took the old one's.
    folder.put(&bytes);
    folder.open().0.replace(["dddd", "eeee"]).unwrap();
    let new = std::fs::read(folder.file()).unwrap();
    assert_eq!(found(&[&new[..HEAD], record(0), &new[ends[1]..]]), ["eeee"]);
}

#[test]
fn another_key_opens_nothing_and_harms_nothing() {
    let (folder, _) = Folder::filled(&THREE);
    let (_, found, all) = folder.open_with([8; 32]);
    assert_eq!((found.good, found.damaged), (0, 3));
    assert!(all.is_empty());
    assert_eq!(folder.open().2, THREE);
}

#[test]
fn a_replaced_file_holds_the_new_records_and_takes_more() {
    let (folder, bytes) = Folder::filled(&THREE);
    let (mut journal, _, _) = folder.open();
    journal.replace(["bob"]).unwrap();
    assert!(journal.bytes() < bytes.len() as u64);
    journal.append(b"carol").unwrap();
    let mut all = Vec::new();
    let found = journal.read(|p| all.push(p.to_vec())).unwrap();
    assert_eq!(found.good, 2);
    assert_eq!(all, [b"bob".to_vec(), b"carol".to_vec()]);
    assert_eq!(folder.open().2, ["bob", "carol"]);
    let names = std::fs::read_dir(&folder.0).unwrap().count();
    assert_eq!(names, 1, "nothing stays beside it");
}

#[test]
fn a_kill_between_write_and_rename_leaves_the_old_file() {
    let (folder, bytes) = Folder::filled(&THREE);
    let half = &bytes[..bytes.len() / 2];
    std::fs::write(beside(&folder.file()), half).unwrap();
    assert_eq!(folder.open().2, THREE);
    assert!(!beside(&folder.file()).exists());
}

#[test]
fn a_payload_beyond_the_bound_is_refused_and_the_journal_goes_on() {
    let (folder, _) = Folder::filled(&[]);
    let (mut journal, _, _) = folder.open();
    let long = vec![b'x'; PAYLOAD_MAX + 1];
    assert!(matches!(journal.append(&long), Err(Error::TooLong(_))));
    journal.append(&long[1..]).unwrap();
    assert!(matches!(journal.replace([&long]), Err(Error::TooLong(_))));
    journal.append(b"bob").unwrap();
    assert_eq!(
        folder.open().2,
        [String::from_utf8(long[1..].to_vec()).unwrap(), "bob".into()]
    );
}
