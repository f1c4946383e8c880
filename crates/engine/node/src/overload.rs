//! Too much to do: what is refused first.
//!
//! In: how long messages have waited between their socket and the node. Out: a level, and with it
//! which kinds of work are refused ([`Class`], in this order). The level rises at once and falls
//! one step at a time ([`config::Overload::step_down`]) after the waiting has fallen to half of
//! what the level stands for. Pure; no bounds but its own few numbers. RFC 6357 §8.3 (queue delay
//! as the measure), RFC 3261 §21.5.4.

use std::time::Duration;

use base::Instant;
use sip::{Message, Name};

/// How long all must be well before the overload counts as over.
const OVER: Duration = Duration::from_secs(5);

/// From this level on the noisiest are not read from.
const DROWNING: u8 = 3;

/// Kinds of work, in the order in which they are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    /// Of somebody who is not registered.
    Stranger,
    /// A new dialog or transaction of somebody who is.
    New,
    /// In a dialog.
    InDialog,
    /// A registration's refresh.
    Refresh,
    /// What ends or completes something, and calls for help. Never refused.
    Vital,
}

/// What there is to tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It has begun, with messages that waited so long.
    Began(Duration),
    /// It is over.
    Over,
}

/// How it stands.
#[derive(Debug)]
pub(crate) struct Overload {
    /// From these queue ages on, each kind of work is refused in turn.
    ages: [Duration; 4],
    /// How long a level stands after the last sign of it.
    stands: Duration,
    level: u8,
    told: bool,
    /// When the level falls, or the end is told.
    review: Option<Instant>,
    shares: Shares,
}

/// How much of late came over each link.
#[derive(Debug, Default)]
struct Shares {
    rows: Vec<u64>,
    halved: Option<Instant>,
}

impl Shares {
    /// One more over a link; what was before counts half each second.
    fn heard(&mut self, now: Instant, link: usize) {
        let since = now.since(*self.halved.get_or_insert(now)).as_secs();
        if since > 0 {
            self.halved = Some(now);
            let by = u32::try_from(since).unwrap_or(u32::MAX);
            for row in &mut self.rows {
                *row = row.checked_shr(by).unwrap_or(0);
            }
        }
        if link >= self.rows.len() {
            self.rows.resize(link + 1, 0);
        }
        if let Some(row) = self.rows.get_mut(link) {
            *row = row.saturating_add(1);
        }
    }

    /// Whether a link has at most half of what it would have if all had the same: what is too much
    /// then comes from others.
    fn is_modest(&self, link: usize) -> bool {
        let links = self.rows.iter().filter(|row| **row > 0).count() as u64;
        let all: u64 = self.rows.iter().sum();
        let own = self.rows.get(link).copied().unwrap_or(0);
        links > 1 && own.saturating_mul(2).saturating_mul(links) <= all
    }
}

impl Overload {
    pub(crate) fn new(settings: &config::Overload) -> Self {
        let s = settings;
        Overload {
            ages: [s.strangers, s.new, s.in_dialog, s.refreshes],
            stands: s.step_down,
            level: 0,
            told: false,
            review: None,
            shares: Shares::default(),
        }
    }

    /// Other settings; what is refused now stays so until its time.
    pub(crate) fn configure(&mut self, settings: &config::Overload) {
        let new = Overload::new(settings);
        (self.ages, self.stands) = (new.ages, new.stands);
    }

    /// A request came over a link: they are numbered from 0, and few.
    pub(crate) fn heard(&mut self, now: Instant, link: usize) {
        self.shares.heard(now, link);
    }

    /// Whether work of a class that came over a link is refused: not if it is others that bring
    /// too much.
    pub(crate) fn sheds_of(&self, link: usize, class: Class) -> bool {
        self.sheds(class) && !self.shares.is_modest(link)
    }

    /// The longest that a message of late has waited.
    pub(crate) fn waited(&mut self, now: Instant, waited: Duration) -> Option<Told> {
        let reached = self.ages.iter().filter(|age| waited >= **age).count() as u8;
        if reached > self.level {
            self.level = reached;
        }
        let stands = self.ages.get(usize::from(self.level).wrapping_sub(1));
        if stands.is_some_and(|age| waited >= *age / 2) {
            self.review = Some(now + self.stands);
        }
        if self.level > 0 && !self.told {
            self.told = true;
            return Some(Told::Began(waited));
        }
        None
    }

    /// Whether work of a class is refused.
    pub(crate) fn sheds(&self, class: Class) -> bool {
        class != Class::Vital && self.level > class as u8
    }

    /// Whether anything is refused.
    pub(crate) fn is_high(&self) -> bool {
        self.level > 0
    }

    /// Whether the noisiest are to be kept waiting at their sockets.
    pub(crate) fn drowns(&self) -> bool {
        self.level >= DROWNING
    }

    pub(crate) fn poll_timeout(&self) -> Option<Instant> {
        self.review
    }

    pub(crate) fn handle_timeout(&mut self, now: Instant) -> Option<Told> {
        self.review.take_if(|at| *at <= now)?;
        if self.level > 0 {
            self.level -= 1;
            let next = if self.level > 0 { self.stands } else { OVER };
            self.review = Some(now + next);
            return None;
        }
        self.told = false;
        Some(Told::Over)
    }
}

/// Whether a request calls for help (RFC 5031, RFC 7135).
pub(crate) fn is_emergency(message: &Message) -> bool {
    let uri = message.request_uri().to_ascii_lowercase();
    let prefixes: [&[u8]; 3] = [b"urn:service:sos", b"sip:sos@", b"sips:sos@"];
    let priority = Name::Other("Resource-Priority");
    prefixes.iter().any(|p| uri.starts_with(p))
        || message.values(priority).any(|v| {
            v.get(..6)
                .is_some_and(|p| p.eq_ignore_ascii_case(b"esnet."))
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn today() -> Overload {
        Overload::new(&config::Overload::default())
    }

    fn at(ms: u64) -> Instant {
        Instant::from_micros(ms * 1000)
    }

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn refused(overload: &Overload) -> Vec<Class> {
        let all = [
            Class::Stranger,
            Class::New,
            Class::InDialog,
            Class::Refresh,
            Class::Vital,
        ];
        all.into_iter().filter(|c| overload.sheds(*c)).collect()
    }

    #[test]
    fn work_is_refused_in_order_and_what_is_vital_never() {
        let order = [Class::Stranger, Class::New, Class::InDialog, Class::Refresh];
        for (waited, many) in [(159, 0), (160, 1), (200, 2), (399, 2), (400, 3), (9000, 4)] {
            let mut overload = today();
            let told = overload.waited(at(0), ms(waited));
            assert_eq!(told, (many > 0).then_some(Told::Began(ms(waited))));
            assert_eq!(refused(&overload), order[..many], "{waited}");
            assert_eq!(overload.drowns(), many > 2);
        }
    }

    #[test]
    fn a_link_that_brings_little_is_not_refused_for_one_that_brings_too_much() {
        let mut overload = today();
        overload.waited(at(0), ms(9000));
        for n in 0..40 {
            overload.heard(at(n), 0);
        }
        assert!(overload.sheds_of(0, Class::New), "nobody else is there");
        for n in 0..10 {
            overload.heard(at(100 + n), 1);
        }
        assert!(overload.sheds_of(0, Class::New) && !overload.sheds_of(1, Class::New));
        // As much as the other: both.
        for n in 0..30 {
            overload.heard(at(200 + n), 1);
        }
        assert!(overload.sheds_of(0, Class::New) && overload.sheds_of(1, Class::New));
        // What was long ago counts no more.
        for n in 0..9 {
            overload.heard(at(20_000 + n), 1);
        }
        overload.heard(at(20_100), 0);
        assert!(!overload.sheds_of(0, Class::New) && overload.sheds_of(1, Class::New));
    }

    #[test]
    fn other_thresholds_refuse_from_there_on_and_as_long_as_they_say() {
        let settings = config::Overload {
            strangers: ms(50),
            new: ms(60),
            in_dialog: ms(60),
            refreshes: ms(3000),
            step_down: ms(300),
        };
        for (waited, many) in [(49, 0), (50, 1), (60, 3), (2999, 3), (3000, 4)] {
            let mut overload = Overload::new(&settings);
            overload.waited(at(0), ms(waited));
            assert_eq!(refused(&overload).len(), many, "{waited}");
            assert_eq!(overload.poll_timeout(), (many > 0).then_some(at(300)));
        }
    }

    #[test]
    fn a_level_falls_step_by_step_and_is_told_once() {
        let mut overload = today();
        assert!(overload.waited(at(0), ms(900)).is_some());
        // It goes on, and is no news.
        assert_eq!(overload.waited(at(900), ms(500)), None);
        assert_eq!(overload.handle_timeout(at(1000)), None);
        assert_eq!(refused(&overload).len(), 4);
        // Half of what the level stands for does not hold it up.
        assert_eq!(overload.waited(at(1500), ms(399)), None);
        for (time, left) in [(1900, 3), (2900, 2), (3900, 1), (4900, 0)] {
            assert_eq!(overload.poll_timeout(), Some(at(time)));
            assert_eq!(overload.handle_timeout(at(time)), None);
            assert_eq!(refused(&overload).len(), left);
        }
        // A relapse within five seconds is the same story.
        assert_eq!(overload.waited(at(5000), ms(170)), None);
        assert_eq!(overload.handle_timeout(at(6000)), None);
        assert_eq!(overload.handle_timeout(at(11_000)), Some(Told::Over));
        assert_eq!(overload.poll_timeout(), None);
        assert!(overload.waited(at(12_000), ms(170)).is_some());
    }
}
