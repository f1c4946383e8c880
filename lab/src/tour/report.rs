//! What the tour says: steps as they end, tables when all is done, one JSON object for programs.

use std::fmt::Write as _;
use std::io::IsTerminal;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Result, bail};
use serde::Serialize;
use serde_json::{Value, json};

use super::audio::Talk;
use crate::terminal;

/// The longest that one step may take.
const PATIENCE: Duration = Duration::from_secs(25);
const NAME_WIDTH: usize = 51;

/// Colours, where a terminal shows them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Paint {
    on: bool,
}

impl Paint {
    /// Colours if standard output is a terminal and `NO_COLOR` is not set.
    pub(crate) fn detect() -> Paint {
        let wanted = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
        Paint {
            on: wanted && std::io::stdout().is_terminal(),
        }
    }

    /// Good.
    pub(crate) fn green(self, text: &str) -> String {
        self.with("32", text)
    }

    /// Bad.
    pub(crate) fn red(self, text: &str) -> String {
        self.with("31", text)
    }

    /// Beside the point.
    pub(crate) fn dim(self, text: &str) -> String {
        self.with("2", text)
    }

    /// A heading.
    pub(crate) fn bold(self, text: &str) -> String {
        self.with("1", text)
    }

    fn with(self, code: &str, text: &str) -> String {
        if self.on {
            format!("\u{1b}[{code}m{text}\u{1b}[0m")
        } else {
            text.to_owned()
        }
    }
}

/// A step that was taken.
#[derive(Clone, Debug, Serialize)]
struct Step {
    /// The chapter it is of: `a`, `b`, ….
    part: char,
    /// What was tried.
    name: String,
    /// Whether it came out right.
    passed: bool,
    /// How long it took.
    milliseconds: u64,
    /// What came out, or why it did not.
    detail: String,
}

/// A chapter of the tour in time.
#[derive(Clone, Debug)]
pub(crate) struct Span {
    /// Its heading.
    pub(crate) title: String,
    /// When it began.
    pub(crate) from: SystemTime,
}

/// The report.
pub(crate) struct Report {
    quiet: bool,
    paint: Paint,
    part: char,
    steps: Vec<Step>,
    spans: Vec<Span>,
    talks: Vec<Talk>,
    began: Instant,
}

impl Report {
    /// An empty one; `quiet` says nothing until asked for [`Report::json`].
    pub(crate) fn new(quiet: bool) -> Report {
        Report {
            quiet,
            paint: Paint::detect(),
            part: ' ',
            steps: Vec::new(),
            spans: Vec::new(),
            talks: Vec::new(),
            began: Instant::now(),
        }
    }

    /// How it paints.
    pub(crate) fn paint(&self) -> Paint {
        self.paint
    }

    /// The first line.
    pub(crate) fn title(&self, text: &str) {
        self.say(&format!("\n{}\n", self.paint.bold(text)));
    }

    /// Begins a chapter.
    pub(crate) fn part(&mut self, letter: char, title: &str) {
        self.part = letter;
        self.spans.push(Span {
            title: title.to_owned(),
            from: SystemTime::now(),
        });
        self.say(&format!(
            "\n{}  {}",
            self.paint.bold(&letter.to_string()),
            self.paint.bold(title)
        ));
    }

    /// Takes a step: what it gives, if it came out right.
    pub(crate) async fn step<T>(
        &mut self,
        name: &str,
        work: impl Future<Output = Result<(T, String)>>,
    ) -> Option<T> {
        let began = Instant::now();
        let outcome = match tokio::time::timeout(PATIENCE, work).await {
            Ok(outcome) => outcome,
            Err(_) => Err(anyhow::anyhow!("nothing came of it in {PATIENCE:?}")),
        };
        self.record(name, began, outcome)
    }

    /// Writes down a step that was taken since then, and gives what it gave.
    pub(crate) fn record<T>(
        &mut self,
        name: &str,
        began: Instant,
        outcome: Result<(T, String)>,
    ) -> Option<T> {
        let milliseconds = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        let (passed, detail, value) = match outcome {
            Ok((value, detail)) => (true, detail, Some(value)),
            Err(fault) => (false, format!("{fault:#}"), None),
        };
        let mark = if passed {
            self.paint.green("✓")
        } else {
            self.paint.red("✗")
        };
        let (first, rest) = detail.split_once('\n').unwrap_or((&detail, ""));
        let shown = if passed {
            self.paint.dim(first)
        } else {
            self.paint.red(first)
        };
        self.say(&format!(
            "   {mark} {name:<NAME_WIDTH$} {milliseconds:>6} ms  {shown}"
        ));
        if !rest.is_empty() {
            self.say(&self.paint.dim(rest.trim_end()));
        }
        let step = Step {
            part: self.part,
            name: name.to_owned(),
            passed,
            milliseconds,
            detail,
        };
        self.steps.push(step);
        value
    }

    /// Keeps the figures of a talk for the table.
    pub(crate) fn keep(&mut self, talk: Talk) {
        self.talks.push(talk);
    }

    /// A remark.
    pub(crate) fn note(&self, text: &str) {
        if self.quiet {
            terminal::remark(text);
        } else {
            terminal::line(&format!("\n{text}"));
        }
    }

    /// Steps that did not come out right.
    pub(crate) fn failed(&self) -> usize {
        self.steps.iter().filter(|step| !step.passed).count()
    }

    /// Chapters in time.
    pub(crate) fn spans(&self) -> Vec<Span> {
        self.spans.clone()
    }

    /// All of it for programs.
    pub(crate) fn json(&self) -> Value {
        let failed = self.failed();
        json!({
            "passed": self.steps.len() - failed,
            "failed": failed,
            "milliseconds": u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX),
            "steps": self.steps,
            "media": self.talks,
        })
    }

    /// Media figures, results by chapter, and what failed.
    pub(crate) fn tables(&self) -> String {
        let mut out = String::new();
        // Writing to a string cannot fail.
        let _ = self.write_media(&mut out);
        let _ = self.write_results(&mut out);
        out
    }

    /// What other programs look for.
    pub(crate) fn last_line(&self) {
        if !self.quiet {
            let failed = self.failed();
            let passed = self.steps.len() - failed;
            terminal::line(&format!("{passed} passed, {failed} failed"));
        }
    }

    fn write_media(&self, out: &mut String) -> std::fmt::Result {
        if self.talks.is_empty() {
            return Ok(());
        }
        writeln!(
            out,
            "\n{}",
            self.paint.bold("Media, as each party's socket saw it")
        )?;
        let row = |cells: [&str; 11]| {
            let [
                call,
                party,
                sent,
                taken,
                lost,
                jitter,
                gap,
                reports,
                hears,
                wire,
                echo,
            ] = cells;
            format!(
                "   {call:<25} {party:<6} {sent:>5} {taken:>5} {lost:>5} {jitter:>8} {gap:>8} \
                 {reports:>5}  {hears:<14} {wire:<5} {echo:>5}"
            )
        };
        let head = [
            "call", "party", "sent", "recv", "lost", "jitter", "max gap", "RTCP", "hears", "wire",
            "echo",
        ];
        writeln!(out, "{}", self.paint.dim(&row(head)))?;
        for talk in &self.talks {
            let (figures, heard) = (&talk.figures, &talk.heard);
            let wire = match (heard.was_encrypted(), heard.was_plain()) {
                (true, _) => "SRTP",
                (_, true) => "RTP",
                _ => "?",
            };
            let cells = [
                &talk.call,
                &talk.party,
                &figures.sent.to_string(),
                &figures.received.to_string(),
                &figures.lost.to_string(),
                &format!("{:.2} ms", figures.jitter_ms),
                &format!("{:.1} ms", figures.gap_ms),
                &figures.reports.to_string(),
                &format!("{:.0} Hz {:.0} %", talk.hz, heard.expected * 100.0),
                wire,
                &format!("{:.0} %", heard.own * 100.0),
            ];
            writeln!(out, "{}", row(cells))?;
        }
        Ok(())
    }

    fn write_results(&self, out: &mut String) -> std::fmt::Result {
        writeln!(out, "\n{}", self.paint.bold("Results"))?;
        for (letter, span) in self.letters().zip(&self.spans) {
            let of_part: Vec<&Step> = self
                .steps
                .iter()
                .filter(|step| step.part == letter)
                .collect();
            let failed = of_part.iter().filter(|step| !step.passed).count();
            let time: u64 = of_part.iter().map(|step| step.milliseconds).sum();
            let result = if failed == 0 {
                self.paint.green(&format!("{:>2} passed", of_part.len()))
            } else {
                self.paint.red(&format!(
                    "{:>2} passed, {failed} failed",
                    of_part.len() - failed
                ))
            };
            let title = &span.title;
            writeln!(
                out,
                "   {letter}  {title:<46} {:>5.1} s   {result}",
                time as f64 / 1000.0
            )?;
        }
        for step in self.steps.iter().filter(|step| !step.passed) {
            let (name, mark) = (&step.name, self.paint.red("✗"));
            let why = step.detail.lines().next().unwrap_or_default();
            writeln!(out, "   {mark} {}  {name}: {why}", step.part)?;
        }
        writeln!(out, "\n{:.1} s in all", self.began.elapsed().as_secs_f64())
    }

    fn letters(&self) -> impl Iterator<Item = char> {
        let mut letters: Vec<char> = self.steps.iter().map(|step| step.part).collect();
        letters.dedup();
        letters.into_iter()
    }

    fn say(&self, text: &str) {
        if !self.quiet {
            terminal::line(text);
        }
    }
}

/// An error with that reason, unless it holds.
pub(crate) fn ensure(holds: bool, why: impl FnOnce() -> String) -> Result<()> {
    if holds { Ok(()) } else { bail!(why()) }
}
