//! What an HTTPS chain is held to beside nginx, an OpenSSH tunnel and nginx, and whether it keeps
//! to it.
//!
//! In: figures of both sides as they were measured in one run. Out: a table, a row a bar. A figure
//! that was not measured, or has nothing to stand beside, is said to be so and counts as neither.

use std::fmt;

/// A figure of one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    /// Small requests a second on kept connections.
    Rate,
    /// Their 99th percentile, in ms.
    Tail,
    /// Small requests a processor second of the chain.
    PerCpu,
    /// RSA-2048 handshakes a processor second of the edge.
    Rsa,
    /// ECDSA P-256 handshakes a processor second of the edge.
    Ecdsa,
    /// Memory of an idle TLS connection on the edge, in kB of 1,000 bytes.
    Idle,
    /// The most memory that a large download added to the edge, in MiB.
    EdgeGrew,
    /// The same of what stands inside.
    CoreGrew,
    /// Median of small requests alone, in ms.
    AloneMedian,
    /// Their 99th percentile.
    AloneTail,
    /// Median of small requests beside a large download.
    BesideMedian,
    /// Their 99th percentile.
    BesideTail,
    /// Small requests that failed, of all that were measured.
    Failed,
}

/// Of which side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Of {
    /// Edge and core.
    Ours,
    /// nginx, OpenSSH, nginx.
    Theirs,
}

/// What is demanded.
#[derive(Clone, Copy)]
enum Demand {
    /// So many times theirs at least.
    TimesTheirs(f64),
    /// So many times theirs at most.
    OfTheirs(f64),
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
    /// At most so many times another figure of ours.
    OfOurs(f64, Figure),
}

struct Bar {
    name: &'static str,
    figure: Figure,
    demand: Demand,
}

/// The most that a large download may add to a node, in MiB: a lane connection's window, which is
/// what a peer may send that nobody has read.
const WINDOW_MIB: f64 = 16.0;

/// How much longer a small request may take beside a large download than alone.
const BESIDE: f64 = 2.0;

const BARS: &[Bar] = &[
    Bar {
        name: "1 KiB requests/s",
        figure: Figure::Rate,
        demand: Demand::TimesTheirs(2.0),
    },
    Bar {
        name: "their p99, ms",
        figure: Figure::Tail,
        demand: Demand::OfTheirs(0.25),
    },
    Bar {
        name: "requests a CPU-second of the chain",
        figure: Figure::PerCpu,
        demand: Demand::TimesTheirs(1.0),
    },
    Bar {
        name: "the same, the aim",
        figure: Figure::PerCpu,
        demand: Demand::TimesTheirs(1.5),
    },
    Bar {
        name: "RSA-2048 handshakes a CPU-second",
        figure: Figure::Rsa,
        demand: Demand::AtLeast(1300.0),
    },
    Bar {
        name: "ECDSA P-256 handshakes a CPU-second",
        figure: Figure::Ecdsa,
        demand: Demand::AtLeast(2000.0),
    },
    Bar {
        name: "idle TLS connection, kB of the edge",
        figure: Figure::Idle,
        demand: Demand::AtMost(15.0),
    },
    Bar {
        name: "1 GiB download, MiB more on the edge",
        figure: Figure::EdgeGrew,
        demand: Demand::AtMost(WINDOW_MIB),
    },
    Bar {
        name: "1 GiB download, MiB more on the core",
        figure: Figure::CoreGrew,
        demand: Demand::AtMost(WINDOW_MIB),
    },
    Bar {
        name: "1,000 small requests beside it, p50 ms",
        figure: Figure::BesideMedian,
        demand: Demand::OfOurs(BESIDE, Figure::AloneMedian),
    },
    Bar {
        name: "1,000 small requests beside it, p99 ms",
        figure: Figure::BesideTail,
        demand: Demand::OfOurs(BESIDE, Figure::AloneTail),
    },
    Bar {
        name: "requests that failed",
        figure: Figure::Failed,
        demand: Demand::AtMost(0.0),
    },
];

/// What was measured.
#[derive(Default)]
pub(crate) struct Figures(Vec<(Figure, Of, f64)>);

impl Figures {
    /// Notes a figure; the last of its kind counts.
    pub(crate) fn note(&mut self, figure: Figure, of: Of, value: f64) {
        self.0.push((figure, of, value));
    }

    /// Adds to one.
    pub(crate) fn add(&mut self, figure: Figure, of: Of, value: f64) {
        let sum = self.get(figure, of).unwrap_or(0.0) + value;
        self.note(figure, of, sum);
    }

    fn get(&self, figure: Figure, of: Of) -> Option<f64> {
        let mut last = self.0.iter().rev();
        last.find(|row| row.0 == figure && row.1 == of)
            .map(|row| row.2)
    }

    /// Whether a bar is kept to; none if that cannot be told.
    fn verdict(&self, bar: &Bar) -> Option<bool> {
        let ours = self.get(bar.figure, Of::Ours)?;
        let theirs = || self.get(bar.figure, Of::Theirs);
        Some(match bar.demand {
            Demand::TimesTheirs(times) => ours >= times * theirs()?,
            Demand::OfTheirs(part) => ours <= part * theirs()?,
            Demand::AtLeast(bar) => ours >= bar,
            Demand::AtMost(bar) => ours <= bar,
            Demand::OfOurs(times, other) => ours <= times * self.get(other, Of::Ours)?,
        })
    }

    fn demand(&self, bar: &Bar) -> String {
        let told = |value: Option<f64>, times: f64| match value {
            Some(value) => format!(" ({})", Short(value * times)),
            None => String::new(),
        };
        let theirs = self.get(bar.figure, Of::Theirs);
        match bar.demand {
            Demand::TimesTheirs(times) => {
                format!("at least {times} times theirs{}", told(theirs, times))
            }
            Demand::OfTheirs(part) => {
                format!("at most {part} of theirs{}", told(theirs, part))
            }
            Demand::AtLeast(bar) => format!("at least {}", Short(bar)),
            Demand::AtMost(bar) => format!("at most {}", Short(bar)),
            Demand::OfOurs(times, other) => {
                let alone = told(self.get(other, Of::Ours), times);
                format!("at most {times} times alone{alone}")
            }
        }
    }

    /// The table, a line a bar.
    pub(crate) fn table(&self) -> String {
        let mut text = String::from(
            "| bar | demanded | Causeway | nginx, OpenSSH, nginx | kept |\n|---|---|---|---|---|\n",
        );
        let shown = |figure, of| match self.get(figure, of) {
            Some(value) => Short(value).to_string(),
            None => "–".to_owned(),
        };
        for bar in BARS {
            let kept = match self.verdict(bar) {
                Some(true) => "yes",
                Some(false) => "NO",
                None => "not measured",
            };
            text += &format!(
                "| {} | {} | {} | {} | {kept} |\n",
                bar.name,
                self.demand(bar),
                shown(bar.figure, Of::Ours),
                shown(bar.figure, Of::Theirs),
            );
        }
        text
    }
}

/// A number with as many digits as tell something.
struct Short(f64);

impl fmt::Display for Short {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = match self.0.abs() {
            _ if self.0.fract() == 0.0 => 0,
            n if n >= 100.0 => 0,
            n if n >= 10.0 => 1,
            _ => 2,
        };
        write!(f, "{:.digits$}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(figures: &Figures, name: &str) -> String {
        let table = figures.table();
        let row = table.lines().find(|line| line.contains(name)).unwrap();
        row.rsplit('|').nth(1).unwrap().trim().to_owned()
    }

    #[test]
    fn a_bar_is_kept_missed_or_not_measured() {
        let mut figures = Figures::default();
        assert_eq!(kept(&figures, "KiB requests/s"), "not measured");
        figures.note(Figure::Rate, Of::Ours, 6000.0);
        assert_eq!(kept(&figures, "KiB requests/s"), "not measured");
        figures.note(Figure::Rate, Of::Theirs, 3000.0);
        assert_eq!(kept(&figures, "KiB requests/s"), "yes");
        figures.note(Figure::Rate, Of::Theirs, 3001.0);
        assert_eq!(kept(&figures, "KiB requests/s"), "NO");
        figures.note(Figure::Tail, Of::Ours, 12.5);
        figures.note(Figure::Tail, Of::Theirs, 50.0);
        assert_eq!(kept(&figures, "their p99"), "yes");
        figures.note(Figure::Idle, Of::Ours, 15.1);
        assert_eq!(kept(&figures, "idle TLS"), "NO");
        figures.note(Figure::BesideTail, Of::Ours, 4.0);
        figures.note(Figure::AloneTail, Of::Ours, 2.0);
        assert_eq!(kept(&figures, "beside it, p99"), "yes");
        figures.add(Figure::Failed, Of::Ours, 0.0);
        assert_eq!(kept(&figures, "that failed"), "yes");
        figures.add(Figure::Failed, Of::Ours, 1.0);
        figures.add(Figure::Failed, Of::Ours, 0.0);
        assert_eq!(kept(&figures, "that failed"), "NO");
    }
}
