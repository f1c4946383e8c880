//! What the core must still know of its users after it was killed: `credentials.log` in the data
//! folder, sealed with the key in `credentials_key`.
//!
//! The node hands out a record at each sign-in ([`node::io::Output::Keep`]); a thread of its own
//! appends it, so the disk holds up nobody. At start the log is read and written anew without
//! what is old or was replaced, and again whenever it has doubled. A log that is damaged costs the
//! records concerned: their users sign in again, and an event says so.
//!
//! Bounds: [`WAITING_MAX`] records in the queue; in the log, the cache's own bound of users, and
//! twice their size or [`SMALL`].

use std::collections::HashMap;
use std::time::Duration;

use base::{Rng, Secret, UnixTime};
use node::io::{Input, Record, Report};
use policy::credentials::{Kept, USERS_MAX};
use policy::signed_out::{SignOut, SignedOut};
use policy::token::LIFE;
use store::journal::{Found, Journal};
use tokio::sync::mpsc;

use crate::files::{DataFolder, FileFault};
use crate::signal::{Clock, Handle};

/// Records that may wait for the disk.
pub(crate) const WAITING_MAX: usize = 4096;

/// Records that are synced to the disk together, at most.
const BATCH: usize = 256;

/// A log of so many bytes is not worth writing anew.
const SMALL: u64 = 1024 * 1024;

const FIX: &str = "check that the user running causeway may write the file; if it is removed, \
                   users sign in again";

/// The log, open.
pub(crate) struct Keeper {
    journal: Journal,
    clock: Clock,
    cleanup: Duration,
    rewrite_at: u64,
    /// Why the last record could not be stored, once it was told.
    failing: bool,
}

/// What a log held.
pub(crate) struct Restored {
    /// One record a user, none of them old.
    pub(crate) kept: Vec<Kept>,
    /// Users who were signed out of late.
    pub(crate) signed_out: Vec<SignOut>,
    /// What was lost, if anything was.
    pub(crate) lost: Option<String>,
}

impl Keeper {
    /// Opens the log of a data folder, or makes it.
    ///
    /// # Errors
    /// [`FileFault`] if the file or its key cannot be opened or made; damage is no error, nor is
    /// a disk that is too full to write the log anew.
    pub(crate) fn open(
        data: &DataFolder,
        rng: &mut Rng,
        clock: Clock,
        cleanup: Duration,
    ) -> Result<(Keeper, Restored), FileFault> {
        let key = data.seed("credentials_key", rng)?;
        let path = data.file("credentials.log");
        let fault = |error: store::Error| FileFault {
            what: "log of credentials",
            path: path.clone(),
            cause: match error {
                store::Error::File { source, .. } => source.to_string(),
                other => other.to_string(),
            },
            fix: FIX,
        };
        let mut live = Live::new(clock.now().unix, cleanup);
        let opened = Journal::open(&path, &key, |payload| live.take(payload));
        let (mut journal, found) = opened.map_err(fault)?;
        let mut lost = lost(found, live.unread);
        let (kept, signed_out) = live.into_records();
        // A full disk is no reason not to serve: the log stays as it was.
        if let Err(error) = journal.replace(payloads(&kept, &signed_out)) {
            lost.get_or_insert(format!("the log could not be written anew: {error}"));
        }
        let keeper = Keeper {
            rewrite_at: rewrite_at(&journal),
            journal,
            clock,
            cleanup,
            failing: false,
        };
        let restored = Restored {
            kept,
            signed_out,
            lost,
        };
        Ok((keeper, restored))
    }

    /// Stores what comes in, until the node is gone. Blocks.
    pub(crate) fn run(mut self, handle: &Handle, mut queue: mpsc::Receiver<Record>) {
        while let Some(first) = queue.blocking_recv() {
            let (mut stored, mut outs) = (Ok(()), Vec::new());
            let mut next = Some(first);
            for _ in 0..BATCH {
                let Some(record) = next.take().or_else(|| queue.try_recv().ok()) else {
                    break;
                };
                if let Record::SignedOut(out) = &record {
                    outs.push(out.id);
                }
                stored = stored.and(self.store(&record));
            }
            let stored = stored.and_then(|()| self.journal.sync());
            let failure = stored.as_ref().err().map(ToString::to_string);
            for id in outs {
                let failure = failure.clone();
                if !handle.try_input(Input::Kept { id, failure }) {
                    tracing::warn!("a sign-out is stored, and the node is swamped");
                }
            }
            match stored {
                Ok(()) => self.failing = false,
                // Told once: what follows has the same cause as a rule.
                Err(_) if self.failing => {}
                Err(error) => {
                    self.failing = true;
                    tell(handle, format!("a sign-in could not be stored: {error}"));
                }
            }
        }
    }

    fn store(&mut self, record: &Record) -> Result<(), store::Error> {
        match record {
            Record::SignedIn(kept) => self.journal.append(kept.to_bytes().expose())?,
            Record::SignedOut(out) => self.journal.append(&out.to_bytes())?,
        }
        if self.journal.bytes() < self.rewrite_at {
            return Ok(());
        }
        let mut live = Live::new(self.clock.now().unix, self.cleanup);
        self.journal.read(|payload| live.take(payload))?;
        let (kept, outs) = live.into_records();
        let replaced = self.journal.replace(payloads(&kept, &outs));
        // If it failed, the next attempt is not at the very next record.
        self.rewrite_at = rewrite_at(&self.journal);
        replaced
    }
}

/// Says that something was lost.
pub(crate) fn tell(handle: &Handle, cause: String) {
    tracing::debug!(cause, "kept credentials are lost");
    if !handle.try_input(Input::Report(Report::CredentialsLost { cause })) {
        tracing::warn!("kept credentials are lost, and the node is swamped");
    }
}

fn rewrite_at(journal: &Journal) -> u64 {
    journal.bytes().saturating_mul(2).max(SMALL)
}

fn payloads(kept: &[Kept], outs: &[SignOut]) -> impl Iterator<Item = Payload> {
    // Sign-outs first: what comes after one is from after it.
    let outs = outs.iter().map(|out| Payload(Secret::new(out.to_bytes())));
    outs.chain(kept.iter().map(|kept| Payload(kept.to_bytes())))
}

/// Bytes that are wiped once they are sealed.
struct Payload(Secret<Vec<u8>>);

impl AsRef<[u8]> for Payload {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}

/// The last record of each user, unless it is old.
struct Live {
    now: UnixTime,
    cleanup: Duration,
    /// By name and domain.
    users: HashMap<(String, String), Kept>,
    outs: SignedOut,
    /// Records that are whole, and of another version.
    unread: u64,
}

impl Live {
    fn new(now: UnixTime, cleanup: Duration) -> Self {
        Live {
            now,
            cleanup,
            users: HashMap::new(),
            outs: SignedOut::default(),
            unread: 0,
        }
    }

    fn take(&mut self, payload: &[u8]) {
        if let Some(out) = SignOut::from_bytes(payload) {
            self.users.retain(|(user, domain), kept| {
                let his = out.is_of(user, domain) || out.is_of(kept.account.expose(), domain);
                !his || kept.since > out.at
            });
            self.outs.note(out);
            return;
        }
        let Some(kept) = Kept::from_bytes(payload) else {
            self.unread += 1;
            return;
        };
        let user = (kept.user.expose().clone(), kept.domain.clone());
        let room = self.users.len() < USERS_MAX || self.users.contains_key(&user);
        if room && !kept.left(self.now, self.cleanup).is_zero() {
            self.users.insert(user, kept);
        }
    }
}

impl Live {
    /// One record a user, and the sign-outs that something can be older than.
    fn into_records(mut self) -> (Vec<Kept>, Vec<SignOut>) {
        self.outs.forget(self.now, self.cleanup.max(LIFE));
        let outs = self.outs.records().cloned().collect();
        (self.users.into_values().collect(), outs)
    }
}

fn lost(found: Found, unread: u64) -> Option<String> {
    let records = found.damaged + unread;
    (records + found.cut_bytes > 0).then(|| {
        format!(
            "in credentials.log {records} records are damaged, and {} bytes at its end are none",
            found.cut_bytes
        )
    })
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::path::PathBuf;

    use base::Now;
    use policy::credentials::{Credentials, SignedIn};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn folder(name: &str) -> PathBuf {
        let path =
            std::env::temp_dir().join(format!("causeway-keep-{name}-{}", std::process::id()));
        let _ = std::fs::remove_dir_all(&path);
        path
    }

    fn sign_in(cache: &mut Credentials, now: Now, user: &str, line: &str) -> Kept {
        let found = SignedIn {
            domain: "example.test",
            user,
            account: user,
            password: &Secret::new("pw".into()),
            realms: &["example.test".into()],
            lines: vec![line.into()],
            devices: Vec::new(),
        };
        cache.keep(now, found).unwrap()
    }

    fn open(path: &std::path::Path) -> (Keeper, Restored) {
        let data = DataFolder::open(path).unwrap();
        Keeper::open(&data, &mut Rng::from_number(1), Clock::start(), HOUR).unwrap()
    }

    /// Runs a keeper on what one process hands out, to its end.
    fn run(keeper: Keeper, records: Vec<Kept>) -> u64 {
        let (handle, _posts) = Handle::new();
        let (sender, queue) = mpsc::channel(WAITING_MAX);
        for kept in records {
            sender.try_send(Record::SignedIn(kept)).unwrap();
        }
        drop(sender);
        let path = keeper.journal.path().to_owned();
        keeper.run(&handle, queue);
        std::fs::metadata(path).unwrap().len()
    }

    #[test]
    fn the_next_process_knows_who_signed_in_last_and_nobody_whose_time_is_over() {
        let path = folder("restart");
        let now = Clock::start().now();
        let mut cache = Credentials::new(&mut Rng::from_number(2), HOUR, HOUR);
        let old = Now {
            unix: UnixTime::from_millis(now.unix.as_millis() - 3_600_000),
            ..now
        };
        let records = vec![
            sign_in(&mut cache, old, "carol", "1003"),
            sign_in(&mut cache, now, "alice", "1001"),
            sign_in(&mut cache, now, "bob", "1002"),
            sign_in(&mut cache, now, "alice", "2001"),
        ];
        run(open(&path).0, records);
        let (_, restored) = open(&path);
        assert_eq!(restored.lost, None);
        let mut next = Credentials::new(&mut Rng::from_number(3), HOUR, HOUR);
        for kept in &restored.kept {
            assert!(next.restore(now, kept));
        }
        assert_eq!(next.len(), 2);
        let alice = next
            .known(now.instant, "alice", "example.test", "")
            .remove(0);
        assert_eq!(alice.lines, ["2001"]);
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_damaged_log_starts_and_says_what_is_lost() {
        let path = folder("damage");
        let now = Clock::start().now();
        let mut cache = Credentials::new(&mut Rng::from_number(2), HOUR, HOUR);
        run(open(&path).0, vec![sign_in(&mut cache, now, "alice", "1")]);
        let log = std::fs::OpenOptions::new()
            .append(true)
            .open(path.join("credentials.log"));
        log.unwrap().write_all(&[0; 9]).unwrap();
        let (_, restored) = open(&path);
        assert_eq!(restored.kept.len(), 1);
        assert!(restored.lost.unwrap().contains("9 bytes"));
        assert_eq!(open(&path).1.lost, None, "the damage is mended");
        std::fs::write(path.join("credentials.log"), b"nonsense").unwrap();
        let (_, restored) = open(&path);
        assert!(restored.kept.is_empty() && restored.lost.is_some());
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_user_who_signs_in_again_and_again_does_not_grow_the_log() {
        let path = folder("growth");
        let now = Clock::start().now();
        let mut cache = Credentials::new(&mut Rng::from_number(2), HOUR, HOUR);
        // Four times what a small log holds.
        let line = "1".repeat(40_000);
        let records = (0..4 * SMALL / 40_000).map(|_| sign_in(&mut cache, now, "alice", &line));
        let size = run(open(&path).0, records.collect());
        assert!(size < SMALL, "{size}");
        assert_eq!(open(&path).1.kept.len(), 1);
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_process_that_was_killed_knows_what_is_void_for_everybody() {
        let path = folder("floor");
        let now = Clock::start().now().unix;
        let keeper = open(&path).0;
        let (handle, _posts) = Handle::new();
        let (sender, queue) = mpsc::channel(WAITING_MAX);
        for n in 0..=policy::signed_out::ROWS_MAX as u64 {
            let out = SignOut {
                user: base::Pii::new(format!("user{n}")),
                domain: String::new(),
                at: now,
                id: n,
            };
            sender.try_send(Record::SignedOut(out)).unwrap();
        }
        drop(sender);
        keeper.run(&handle, queue);
        // Also once the log was written anew, as it is at each start.
        for _ in 0..2 {
            let mut outs = SignedOut::default();
            for out in open(&path).1.signed_out {
                outs.note(out);
            }
            assert!(outs.is_void("user0", "d", now) && outs.is_void("anybody", "d", now));
        }
        std::fs::remove_dir_all(&path).unwrap();
    }

    #[test]
    fn a_sign_out_is_told_when_it_is_stored_and_takes_what_was_kept_before_it() {
        let path = folder("out");
        let now = Clock::start().now();
        let mut cache = Credentials::new(&mut Rng::from_number(1), HOUR, HOUR);
        let earlier = Now {
            unix: UnixTime::from_millis(now.unix.as_millis() - 1_000),
            ..now
        };
        let out = |id| {
            Record::SignedOut(SignOut {
                user: base::Pii::new("alice".into()),
                domain: String::new(),
                at: now.unix,
                id,
            })
        };
        let later = now.plus(Duration::from_millis(1));
        let records = vec![
            Record::SignedIn(sign_in(&mut cache, earlier, "alice", "1001")),
            Record::SignedIn(sign_in(&mut cache, earlier, "bob", "1002")),
            out(7),
            Record::SignedIn(sign_in(&mut cache, later, "carol", "1003")),
        ];
        let (handle, mut posts) = Handle::new();
        let (sender, queue) = mpsc::channel(WAITING_MAX);
        for record in records {
            sender.try_send(record).unwrap();
        }
        drop(sender);
        open(&path).0.run(&handle, queue);
        let crate::signal::Post::Input(Input::Kept {
            id: 7,
            failure: None,
        }) = posts.try_recv().unwrap()
        else {
            panic!()
        };
        // Also once the log was written anew, as it is at each start.
        for _ in 0..2 {
            let (_, restored) = open(&path);
            let mut kept: Vec<_> = restored.kept.iter().map(|k| k.user.expose()).collect();
            kept.sort();
            assert_eq!(kept, ["bob", "carol"]);
            assert_eq!(restored.signed_out.len(), 1);
            assert_eq!(restored.lost, None);
        }
        std::fs::remove_dir_all(&path).unwrap();
    }
}
