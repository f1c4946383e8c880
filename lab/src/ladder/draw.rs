//! Rungs as text.

use std::fmt::Write as _;

use super::{COLUMNS, Chapter, Ladder, Rung};
use crate::tour::Paint;

/// Characters from one lifeline to the next.
const STEP: usize = 13;
/// Characters before the first lifeline.
const LABEL: usize = 32;
/// Rungs of a chapter that are drawn.
const DRAWN: usize = 60;

impl Ladder {
    /// The ladder, chapter by chapter.
    pub(crate) fn drawn(&self, paint: Paint) -> String {
        let mut out = format!("\n{}\n", paint.bold("What crossed each node"));
        let heads: String = COLUMNS
            .iter()
            .map(|name| format!("{name:^STEP$}"))
            .collect();
        let left = LABEL - STEP / 2;
        // Writing to a string cannot fail.
        let _ = writeln!(out, "{:left$}{}", "", paint.dim(heads.trim_end()));
        for chapter in self
            .chapters
            .iter()
            .filter(|chapter| !chapter.rungs.is_empty())
        {
            chapter.draw(&mut out, paint);
        }
        let own = format!("by the lab's own count, {}", self.own);
        let _ = writeln!(out, "   {}", paint.dim(&own));
        out
    }
}

impl Chapter {
    fn draw(&self, out: &mut String, paint: Paint) {
        let title: String = self.title.chars().take(LABEL - 4).collect();
        let title = format!("   {title:<width$}", width = LABEL - 3);
        let _ = writeln!(out, "{}{}", paint.bold(&title), paint.dim(&lifelines()));
        for (rung, times) in self.folded().into_iter().take(DRAWN) {
            let what = if times > 1 {
                format!("{} ×{times}", rung.what)
            } else {
                rung.what.clone()
            };
            let after = rung.after_us as f64 / 1000.0;
            let label = format!("   {after:>7.1} {:<5}{what}", rung.lane);
            let label: String = label.chars().take(LABEL - 1).collect();
            let _ = writeln!(out, "{label:<LABEL$}{}", rung.drawn());
        }
        let more = self.folded().len().saturating_sub(DRAWN);
        if more > 0 {
            let _ = writeln!(out, "   {}", paint.dim(&format!("… and {more} more")));
        }
    }

    /// The rungs, repetitions right after one another counted.
    fn folded(&self) -> Vec<(&Rung, usize)> {
        let mut folded: Vec<(&Rung, usize)> = Vec::new();
        for rung in &self.rungs {
            match folded.last_mut() {
                Some((last, times)) if last.is_like(rung) => *times += 1,
                _ => folded.push((rung, 1)),
            }
        }
        folded
    }
}

impl Rung {
    fn is_like(&self, other: &Rung) -> bool {
        let ends = (self.from, self.to) == (other.from, other.to);
        ends && self.lane == other.lane && self.what == other.what
    }

    /// Lifelines with an arrow from one end to the other, each hop with a head of its own.
    fn drawn(&self) -> String {
        let (low, high) = (self.from.min(self.to), self.from.max(self.to));
        let right = self.to > self.from;
        let mut out = String::new();
        for column in 0..COLUMNS.len() {
            let begins = (low..high).contains(&column);
            let ends = low < column && column <= high;
            out.push(match (begins, ends, right) {
                (true, false, true) => '├',
                (true, false, false) | (false, true, true) | (false, false, _) => '│',
                (false, true, false) => '┤',
                (true, true, _) => '┼',
            });
            if column + 1 == COLUMNS.len() {
                break;
            }
            let hop = if !begins {
                " ".repeat(STEP - 1)
            } else if right {
                format!("{}▶", "─".repeat(STEP - 2))
            } else {
                format!("◀{}", "─".repeat(STEP - 2))
            };
            out.push_str(&hop);
        }
        out
    }
}

fn lifelines() -> String {
    let lines = vec!["│"; COLUMNS.len()];
    lines.join(&" ".repeat(STEP - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rung(from: usize, to: usize) -> Rung {
        let (lane, what, id) = ("sip".into(), "INVITE".into(), "1".into());
        Rung {
            after_us: 0,
            lane,
            what,
            id,
            from,
            to,
        }
    }

    #[test]
    fn arrows_point_where_the_message_went() {
        assert_eq!(
            rung(0, 3).drawn(),
            "├───────────▶┼───────────▶┼───────────▶│"
        );
        assert_eq!(
            rung(2, 0).drawn(),
            "│◀───────────┼◀───────────┤            │"
        );
        assert_eq!(
            rung(2, 3).drawn(),
            "│            │            ├───────────▶│"
        );
    }

    #[test]
    fn repetitions_are_counted() {
        let rungs = vec![rung(0, 3), rung(0, 3), rung(3, 0)];
        let chapter = Chapter {
            title: "Call".into(),
            rungs,
        };
        let times: Vec<usize> = chapter.folded().iter().map(|(_, times)| *times).collect();
        assert_eq!(times, [2, 1]);
    }
}
