//! A process is killed while it changes settings; what it had acknowledged is there.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base::Secret;
use store::settings::{ConfigStore, Note, Settings, Wanted, writes};

const FOLDER: &str = "CAUSEWAY_TEST_SETTINGS";
const ROUNDS: usize = 100;

fn open(folder: &Path) -> Settings {
    Settings::open(&folder.join("settings.db"), &Secret::new([7; 32])).unwrap()
}

/// Revision `n` says `n` in each of three rows.
fn rows(revision: u64) -> Vec<Wanted> {
    let row = |path: &str| Wanted {
        path: path.into(),
        open: revision.to_string(),
        secret: Some(Secret::new(revision.to_string())),
    };
    ["a", "b", "c"].map(row).to_vec()
}

/// Changes settings for ever, and says each revision that is acknowledged.
fn change_for_ever(folder: &Path) -> ! {
    let store = open(folder);
    let mut out = std::io::stdout();
    loop {
        let (revision, there) = store.list().unwrap();
        let writes = writes(&there, &rows(revision + 1));
        let made = store
            .change(revision, &writes, &Note::default(), 0)
            .unwrap();
        writeln!(out, "acknowledged {made}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn no_acknowledged_setting_is_lost_when_the_process_is_killed() {
    if let Some(folder) = std::env::var_os(FOLDER) {
        change_for_ever(&PathBuf::from(folder));
    }
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("durability");
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    let mut least = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture"])
            .arg("no_acknowledged_setting_is_lost_when_the_process_is_killed")
            .env(FOLDER, &folder)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = 0;
        for _ in 0..=(round * 7) % 13 {
            let next = lines.find_map(|line| {
                let line = line.unwrap();
                line.split_once("acknowledged ")
                    .map(|(_, n)| n.parse::<u64>().unwrap())
            });
            acknowledged = next.unwrap();
        }
        // It is in the midst of the next ones.
        child.kill().unwrap();
        child.wait().unwrap();
        // What it said meanwhile counts, too.
        for line in lines.map_while(Result::ok) {
            if let Some((_, n)) = line.split_once("acknowledged ") {
                acknowledged = n.parse().unwrap_or(acknowledged);
            }
        }
        let (revision, there) = open(&folder).list().unwrap();
        assert!(acknowledged > least, "round {round}");
        assert!(
            revision >= acknowledged,
            "round {round}: {revision} < {acknowledged}"
        );
        for row in &there {
            // Whole, or not at all.
            assert_eq!(
                row.open,
                revision.to_string(),
                "round {round}: {}",
                row.path
            );
            assert_eq!(row.secret.as_ref().unwrap().expose(), &row.open);
        }
        least = acknowledged;
    }
}
