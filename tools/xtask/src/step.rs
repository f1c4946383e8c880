//! Steps of a run: what each counted, how long it took, and the table at the end.
//!
//! A program's output is shown as it comes and read for its closing line, whichever form that has:
//! `12 tests run: 12 passed`, `test result: ok. 12 passed; 0 failed`, `12 passed, 0 failed`.
//! A program that says nothing of the kind, or that ends badly while it counts no failure, has
//! failed. Bound: each step has a time limit.

use std::io::{BufRead, BufReader, Write};
use std::process::Command;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A program's exit status that says: I could not run here.
const SKIPPED: i32 = 77;

/// What one step counted.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Checks that passed.
    pub(crate) passed: u64,
    /// Checks that failed.
    pub(crate) failed: u64,
    /// Checks that could not be made here.
    pub(crate) skipped: u64,
    /// Why, if a check failed or was skipped.
    pub(crate) note: String,
}

impl Counts {
    /// One check that passed or failed.
    pub(crate) fn one(good: bool) -> Self {
        Self {
            passed: u64::from(good),
            failed: u64::from(!good),
            ..Self::default()
        }
    }

    /// One check that could not be made.
    pub(crate) fn skip(why: impl Into<String>) -> Self {
        Self {
            skipped: 1,
            note: why.into(),
            ..Self::default()
        }
    }

    /// One check that failed, and why.
    pub(crate) fn fail(why: impl Into<String>) -> Self {
        Self {
            failed: 1,
            note: why.into(),
            ..Self::default()
        }
    }
}

/// How a program's result is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Its exit status alone.
    Exit,
    /// What its lines count, and its exit status.
    Lines,
}

/// The steps taken so far.
pub(crate) struct Board {
    only: Vec<String>,
    rows: Vec<(String, Counts, Duration)>,
    began: Instant,
}

impl Board {
    /// A board for the steps whose name contains a word of `only`, or for all if it is empty.
    pub(crate) fn new(only: &[String]) -> Self {
        Self {
            only: only.to_vec(),
            rows: Vec::new(),
            began: Instant::now(),
        }
    }

    /// Whether a step of this name is wanted.
    pub(crate) fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|word| name.contains(word.as_str()))
    }

    /// Takes a step, if it is wanted.
    pub(crate) fn step(&mut self, name: &str, work: impl FnOnce() -> anyhow::Result<Counts>) {
        if !self.wants(name) {
            return;
        }
        println!("\n── {name}");
        let began = Instant::now();
        let counts = work().unwrap_or_else(|error| {
            println!("{error:#}");
            Counts::fail(format!("{error:#}"))
        });
        self.rows.push((name.to_owned(), counts, began.elapsed()));
    }

    /// Runs a program as a step.
    pub(crate) fn program(
        &mut self,
        name: &str,
        mut command: Command,
        how: Verdict,
        limit: Duration,
    ) {
        self.step(name, || run(&mut command, how, limit));
    }

    /// Prints the table and the closing line. True if nothing failed and something passed.
    pub(crate) fn close(self) -> bool {
        let (text, good) = self.table();
        println!("{text}");
        good
    }

    fn table(&self) -> (String, bool) {
        let width = self
            .rows
            .iter()
            .map(|(name, ..)| name.chars().count())
            .max()
            .unwrap_or(4)
            .max(4);
        let mut text = format!("\n{:width$}  passed  failed  skipped     time\n", "step");
        let mut sum = Counts::default();
        for (name, counts, took) in &self.rows {
            text += &format!(
                "{name:width$}  {:6}  {:6}  {:7}  {:>7}",
                counts.passed,
                counts.failed,
                counts.skipped,
                time(*took)
            );
            if !counts.note.is_empty() {
                text += &format!("  {}", counts.note);
            }
            text.push('\n');
            sum.passed += counts.passed;
            sum.failed += counts.failed;
            sum.skipped += counts.skipped;
        }
        for (name, counts, _) in self.rows.iter().filter(|(_, counts, _)| counts.skipped > 0) {
            text += &format!("SKIPPED {name}: {}\n", counts.note);
        }
        text += &format!("took {}\n", time(self.began.elapsed()));
        text += &format!("{} passed, {} failed", sum.passed, sum.failed);
        if sum.skipped > 0 {
            text += &format!(", {} skipped", sum.skipped);
        }
        (text, sum.failed == 0 && sum.passed > 0)
    }
}

/// Runs a program with nothing on its standard input, showing and reading what it says.
fn run(command: &mut Command, how: Verdict, limit: Duration) -> anyhow::Result<Counts> {
    let (reader, writer) = std::io::pipe()?;
    let shown = format!("{command:?}");
    let mut child = command
        .stdin(std::process::Stdio::null())
        .stdout(writer.try_clone()?)
        .stderr(writer)
        .spawn()
        .map_err(|error| anyhow::anyhow!("{shown}: {error}"))?;
    // The command keeps its ends of the pipe; give them up, so that the pipe ends with the program.
    command
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null());
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        let mut reader = BufReader::new(reader);
        let mut bytes = Vec::new();
        while matches!(reader.read_until(b'\n', &mut bytes), Ok(1..)) {
            if sender
                .send(String::from_utf8_lossy(&bytes).into_owned())
                .is_err()
            {
                return;
            }
            bytes.clear();
        }
    });
    let until = Instant::now() + limit;
    let mut tally = Tally::default();
    loop {
        match lines.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(line) => {
                print!("{line}");
                std::io::stdout().flush()?;
                tally.read(&line);
            }
            Err(RecvTimeoutError::Disconnected) => break,
            Err(RecvTimeoutError::Timeout) => {
                child.kill()?;
                child.wait()?;
                return Ok(Counts::fail(format!("not finished within {}", time(limit))));
            }
        }
    }
    let status = child.wait()?;
    Ok(tally.verdict(how, status.code(), status.success()))
}

/// What a program's lines have counted so far.
#[derive(Default)]
struct Tally {
    seen: bool,
    passed: u64,
    failed: u64,
    skipped: u64,
    reason: String,
}

impl Tally {
    fn read(&mut self, line: &str) {
        if let Some(reason) = line.strip_prefix("SKIP ") {
            self.reason = reason.trim().to_owned();
        }
        let result = line.trim();
        let nextest = result.starts_with("Summary [") || result.starts_with("test result:");
        if !nextest && !is_closing(result) {
            return;
        }
        let Some(passed) = number_before(result, "passed") else {
            return;
        };
        self.seen = true;
        self.passed += passed;
        self.failed += number_before(result, "failed").unwrap_or(0)
            + number_before(result, "timed").unwrap_or(0);
        self.skipped += number_before(result, "ignored").unwrap_or(0);
        if !nextest {
            self.skipped += number_before(result, "skipped").unwrap_or(0);
        }
    }

    fn verdict(self, how: Verdict, code: Option<i32>, success: bool) -> Counts {
        if code == Some(SKIPPED) {
            let reason = self.reason;
            return Counts::skip(if reason.is_empty() {
                "no reason given".into()
            } else {
                reason
            });
        }
        if how == Verdict::Exit {
            let mut counts = Counts::one(success);
            if !success {
                counts.note = ended(code);
            }
            return counts;
        }
        let mut counts = Counts {
            passed: self.passed,
            failed: self.failed,
            skipped: self.skipped,
            note: String::new(),
        };
        if !success {
            counts.failed = counts.failed.max(1);
            counts.note = ended(code);
        } else if !self.seen {
            counts = Counts::fail("said nothing of what passed");
        }
        counts
    }
}

fn ended(code: Option<i32>) -> String {
    code.map_or("ended by a signal".to_owned(), |code| {
        format!("ended with status {code}")
    })
}

/// Whether a line is `N passed, N failed`, with or without `, N skipped`, and nothing else.
fn is_closing(line: &str) -> bool {
    let parts: Vec<&str> = line.split(", ").collect();
    let words = ["passed", "failed", "skipped"];
    (2..=3).contains(&parts.len())
        && parts.iter().zip(words).all(|(part, word)| {
            part.split_once(' ')
                .is_some_and(|(n, w)| n.parse::<u64>().is_ok() && w == word)
        })
}

/// The number that stands before `word`, as in `3 passed; 1 failed`.
fn number_before(line: &str, word: &str) -> Option<u64> {
    let mut before = None;
    for token in line
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|t| !t.is_empty())
    {
        if token == word {
            return before;
        }
        before = token.parse().ok();
    }
    None
}

fn time(took: Duration) -> String {
    let seconds = took.as_secs_f64();
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        format!("{} m {:02} s", took.as_secs() / 60, took.as_secs() % 60)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Duration = Duration::from_secs(60);

    fn sh(script: &str, how: Verdict) -> Counts {
        run(Command::new("sh").args(["-c", script]), how, LIMIT).unwrap()
    }

    #[test]
    fn closing_lines_of_every_form_are_counted() {
        let counts = sh(
            "echo '     Summary [   0.1s] 7 tests run: 5 passed (1 slow), 2 failed, 1 skipped' >&2;
             echo 'test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out';
             echo '11 passed, 0 failed, 4 skipped';
             echo '   0  Start the house   3.1 s    1 passed, 1 failed'",
            Verdict::Lines,
        );
        assert_eq!((counts.passed, counts.failed, counts.skipped), (19, 2, 5));
    }

    #[test]
    fn a_silent_program_has_failed() {
        assert_eq!(sh("true", Verdict::Lines).failed, 1);
    }

    #[test]
    fn a_bad_end_is_a_failure_whatever_was_counted() {
        let counts = sh("echo 4 passed, 0 failed; exit 3", Verdict::Lines);
        assert_eq!((counts.passed, counts.failed), (4, 1));
        assert_eq!(counts.note, "ended with status 3");
        assert_eq!(sh("exit 1", Verdict::Exit).failed, 1);
    }

    #[test]
    fn status_77_is_a_skip_with_its_reason() {
        let counts = sh("echo SKIP no such package; exit 77", Verdict::Lines);
        assert_eq!(counts, Counts::skip("no such package"));
    }

    #[test]
    fn a_program_that_does_not_end_is_stopped() {
        let mut command = Command::new("sh");
        command.args(["-c", "exec sleep 60"]);
        let counts = run(&mut command, Verdict::Exit, Duration::from_millis(50)).unwrap();
        assert_eq!(counts.failed, 1);
    }

    #[test]
    fn the_closing_line_sums_all_steps() {
        let mut board = Board::new(&[]);
        board.step("a", || Ok(Counts::one(true)));
        board.step("b", || Ok(Counts::skip("nothing there")));
        let (text, good) = board.table();
        assert!(good);
        assert!(text.ends_with("1 passed, 0 failed, 1 skipped"), "{text}");
        assert!(text.contains("SKIPPED b: nothing there"), "{text}");
    }

    #[test]
    fn a_run_without_a_check_is_not_good() {
        let mut board = Board::new(&["z".to_owned()]);
        board.step("a", || Ok(Counts::one(true)));
        assert!(!board.table().1);
    }
}
