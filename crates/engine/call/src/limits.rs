//! How many calls there may be, and what each counts as (A16 of the checklist).
//!
//! In: calls that want to begin, that have agreed on media, that are over. Out: whether there is
//! room ([`Ledger::admit`]), figures ([`Ledger::figures`]), and news of limits that are near
//! ([`News`]), which come once: near from [`NEAR_PERCENT`] on, over when below [`FAR_PERCENT`].
//!
//! | call | licences |
//! |---|---|
//! | Unified CM remote session | none |
//! | rich media session, video | 1 |
//! | rich media session, audio-only SIP traversal | ½ |
//! | rich media session, any other audio-only | 1 |
//!
//! A call has video if more than one m-line was negotiated, and counts as video while it is being
//! set up. It answers nobody and ends no call: a call that grows past a limit goes on. Bounds: one
//! row a call, so [`Limits::calls_max`] of them.

use base::HashMap;

/// A limit is near from so much of it on.
pub const NEAR_PERCENT: usize = 90;

/// A limit is no longer near below so much of it.
pub const FAR_PERCENT: usize = 80;

/// What a call is, by where it leads (F270, F271).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CallType {
    /// Between a client that is registered through an edge and its call control.
    RemoteSession,
    /// Any other.
    RichMedia {
        /// SIP over the link of an edge and a core on the whole of its way outside.
        traversal: bool,
    },
}

impl CallType {
    /// As status pages name it.
    pub fn name(self) -> &'static str {
        match self {
            CallType::RemoteSession => "Unified CM remote session",
            CallType::RichMedia { .. } => "Rich media session",
        }
    }

    /// The type of a call between two places.
    pub fn between(one: Place, other: Place) -> CallType {
        match (one, other) {
            (Place::RemoteClient, Place::CallControl)
            | (Place::CallControl, Place::RemoteClient) => CallType::RemoteSession,
            _ => CallType::RichMedia {
                traversal: one.is_traversal() || other.is_traversal(),
            },
        }
    }
}

/// Where an end of a call is, as the zone that leads there says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// Registered, behind an edge.
    RemoteClient,
    /// The line side of call control: a generated `CEtcp-` or `CEtls-` zone, or a registrar.
    CallControl,
    /// Another system inside: a neighbour, a trunk.
    Neighbour,
    /// Somebody else, behind an edge: found by DNS, or unknown.
    Outside,
}

impl Place {
    fn is_traversal(self) -> bool {
        matches!(self, Place::RemoteClient | Place::Outside)
    }
}

/// What a call counts as (F276, F277).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Content {
    /// Exactly one m-line was negotiated.
    Audio,
    /// More, or it is still being set up.
    #[default]
    Video,
}

impl Content {
    /// By the m-lines that were negotiated.
    pub fn of(lines: usize) -> Content {
        if lines > 1 {
            Content::Video
        } else {
            Content::Audio
        }
    }

    /// As status pages name it.
    pub fn name(self) -> &'static str {
        match self {
            Content::Audio => "audio",
            Content::Video => "video",
        }
    }
}

/// What may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Licences for rich media sessions; `None` for as many as there are calls.
    pub licences: Option<usize>,
    /// Calls at once, of both types.
    pub calls_max: usize,
}

/// Which limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Limit {
    /// [`Limits::calls_max`].
    Calls,
    /// [`Limits::licences`].
    Licences,
}

/// A limit is near, or no longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct News {
    /// Which.
    pub limit: Limit,
    /// Whether it is near now.
    pub near: bool,
    /// How much of it is used.
    pub used: usize,
    /// How much there is.
    pub max: usize,
}

/// How much is used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Unified CM remote sessions.
    pub remote_sessions: usize,
    /// Rich media sessions.
    pub rich_media: usize,
    /// The most calls at once.
    pub calls_peak: usize,
    /// Licences in use; half of one counts as one.
    pub licences: usize,
    /// The most at once.
    pub licences_peak: usize,
}

struct Row {
    kind: CallType,
    content: Content,
}

impl Row {
    /// Half licences.
    fn halves(&self) -> usize {
        match (self.kind, self.content) {
            (CallType::RemoteSession, _) => 0,
            (CallType::RichMedia { traversal: true }, Content::Audio) => 1,
            (CallType::RichMedia { .. }, _) => 2,
        }
    }
}

/// The account of all calls, named by `C`.
pub struct Ledger<C> {
    limits: Limits,
    rows: HashMap<C, Row>,
    halves: usize,
    figures: Figures,
    near: [bool; 2],
}

impl<C: std::hash::Hash + Eq> Ledger<C> {
    /// Calls that are counted.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether none is.
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Without a call.
    pub fn new(limits: Limits) -> Self {
        Ledger {
            limits,
            rows: HashMap::default(),
            halves: 0,
            figures: Figures::default(),
            near: [false; 2],
        }
    }

    /// Other limits; calls that are there stay. There is room for so many as at the beginning.
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
        if limits.licences.is_none() {
            self.near = self.near.map(|_| false);
        }
    }

    /// What may be.
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Whether one more call of a type may begin; it counts as video at first (F277).
    ///
    /// # Errors
    /// The limit that it would pass.
    pub fn admit(&self, kind: CallType) -> Result<(), Limit> {
        if self.rows.len() >= self.limits.calls_max {
            return Err(Limit::Calls);
        }
        let content = Content::Video;
        let wanted = Row { kind, content }.halves();
        match self.limits.licences {
            Some(max) if wanted > 0 && self.halves + wanted > max * 2 => Err(Limit::Licences),
            _ => Ok(()),
        }
    }

    /// A call begins.
    pub fn began(&mut self, call: C, kind: CallType) -> Option<News> {
        let content = Content::Video;
        let row = Row { kind, content };
        self.halves += row.halves();
        match kind {
            CallType::RemoteSession => self.figures.remote_sessions += 1,
            CallType::RichMedia { .. } => self.figures.rich_media += 1,
        }
        self.rows.insert(call, row);
        self.settle()
    }

    /// A call has agreed on so many m-lines, at first or anew.
    pub fn agreed(&mut self, call: &C, lines: usize) -> Option<News> {
        let row = self.rows.get_mut(call)?;
        self.halves -= row.halves();
        row.content = Content::of(lines);
        self.halves += row.halves();
        self.settle()
    }

    /// A call is over.
    pub fn ended(&mut self, call: &C) -> Option<News> {
        let row = self.rows.remove(call)?;
        self.halves -= row.halves();
        match row.kind {
            CallType::RemoteSession => self.figures.remote_sessions -= 1,
            CallType::RichMedia { .. } => self.figures.rich_media -= 1,
        }
        self.settle()
    }

    /// What a call is and counts as.
    pub fn get(&self, call: &C) -> Option<(CallType, Content)> {
        self.rows.get(call).map(|row| (row.kind, row.content))
    }

    /// How much is used.
    pub fn figures(&self) -> Figures {
        self.figures
    }

    fn settle(&mut self) -> Option<News> {
        let calls = self.rows.len();
        let licences = self.halves.div_ceil(2);
        let figures = &mut self.figures;
        figures.calls_peak = figures.calls_peak.max(calls);
        figures.licences = licences;
        figures.licences_peak = figures.licences_peak.max(licences);
        let uses = [
            (Limit::Calls, calls, Some(self.limits.calls_max)),
            (Limit::Licences, licences, self.limits.licences),
        ];
        let mut news = None;
        for (was, (limit, used, max)) in self.near.iter_mut().zip(uses) {
            let Some(max) = max else { continue };
            let bound = if *was { FAR_PERCENT } else { NEAR_PERCENT };
            let near = used > 0 && used * 100 >= max * bound;
            if near != *was {
                *was = near;
                news = news.or(Some(News {
                    limit,
                    near,
                    used,
                    max,
                }));
            }
        }
        news
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RICH: CallType = CallType::RichMedia { traversal: true };

    fn ledger(licences: Option<usize>, calls_max: usize) -> Ledger<u32> {
        Ledger::new(Limits {
            licences,
            calls_max,
        })
    }

    #[test]
    fn type_follows_from_the_path_and_from_nothing_else() {
        use Place::{CallControl, Neighbour, Outside, RemoteClient};
        let table = [
            (RemoteClient, CallControl, CallType::RemoteSession),
            (CallControl, RemoteClient, CallType::RemoteSession),
            (RemoteClient, Neighbour, RICH),
            (RemoteClient, RemoteClient, RICH),
            (Outside, CallControl, RICH),
            (Neighbour, Outside, RICH),
            (
                Neighbour,
                CallControl,
                CallType::RichMedia { traversal: false },
            ),
        ];
        for (one, other, want) in table {
            assert_eq!(CallType::between(one, other), want, "{one:?} {other:?}");
        }
    }

    #[test]
    fn hundred_licences_carry_ninety_video_and_twenty_audio_only_calls() {
        let mut l = ledger(Some(100), 1_000);
        let mut calls = 0;
        for lines in [vec![2; 90], vec![1; 20]].concat() {
            // The last ones count as video while they are set up, and do not fit.
            if l.admit(RICH).is_err() {
                break;
            }
            calls += 1;
            l.began(calls, RICH);
            l.agreed(&calls, lines);
        }
        assert_eq!((calls, l.figures().licences), (109, 100));
        assert_eq!(l.admit(RICH), Err(Limit::Licences));
        // It is the arithmetic that fits twenty: one that is set up already is reclassified.
        l.began(110, RICH);
        l.agreed(&110, 1);
        assert_eq!((l.figures().licences, l.figures().rich_media), (100, 110));
    }

    #[test]
    fn audio_only_calls_that_do_not_traverse_take_a_whole_licence() {
        let mut l = ledger(Some(2), 10);
        l.began(1, CallType::RichMedia { traversal: false });
        l.agreed(&1, 1);
        assert_eq!(l.figures().licences, 1);
        l.began(2, RICH);
        l.agreed(&2, 1);
        assert_eq!(
            (l.figures().licences, l.admit(RICH)),
            (2, Err(Limit::Licences))
        );
    }

    #[test]
    fn remote_sessions_take_no_licence_but_count_as_calls() {
        let mut l = ledger(Some(0), 2);
        assert_eq!(l.admit(RICH), Err(Limit::Licences));
        for call in 0..2 {
            assert_eq!(l.admit(CallType::RemoteSession), Ok(()));
            l.began(call, CallType::RemoteSession);
        }
        assert_eq!(l.admit(CallType::RemoteSession), Err(Limit::Calls));
        assert_eq!((l.figures().licences, l.figures().remote_sessions), (0, 2));
    }

    #[test]
    fn call_counts_as_video_until_it_is_set_up_and_again_when_video_is_added() {
        let mut l = ledger(None, 10);
        l.began(1, RICH);
        assert_eq!(l.get(&1), Some((RICH, Content::Video)));
        for (lines, content) in [
            (1, Content::Audio),
            (2, Content::Video),
            (1, Content::Audio),
        ] {
            l.agreed(&1, lines);
            assert_eq!(l.get(&1), Some((RICH, content)));
        }
        assert_eq!(l.figures().licences_peak, 1);
    }

    #[test]
    fn news_of_a_limit_come_once_and_are_taken_back_well_below_it() {
        let mut l = ledger(None, 10);
        let mut news = Vec::new();
        let note = |change: Option<News>| change.map(|n| (n.near, n.used));
        for call in 0..10 {
            news.extend(note(l.began(call, CallType::RemoteSession)));
        }
        assert_eq!(news, [(true, 9)]);
        // Around the limit nothing is told again.
        for call in [9, 8] {
            news.extend(note(l.ended(&call)));
        }
        news.extend(note(l.began(8, CallType::RemoteSession)));
        assert_eq!(news, [(true, 9)]);
        for call in [8, 7] {
            news.extend(note(l.ended(&call)));
        }
        assert_eq!(news, [(true, 9), (false, 7)]);
        for call in 0..7 {
            l.ended(&call);
        }
        assert_eq!(l.figures().remote_sessions, 0);
    }
}
