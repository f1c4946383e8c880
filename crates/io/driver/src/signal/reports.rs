//! Media workers' reports on their way to the node.
//!
//! In: events from media workers' threads, which never wait here. Out: the same in order, when the
//! signalling thread looks. Figures, which are most of them, do not wake it if it wakes by itself
//! soon; that a leg was opened is what everybody expects, and is not told. Bound: [`REPORTS_MAX`].

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use media::Event;

use crate::sip_io::Bell;

/// How many may wait. A report that finds so many is lost; the next one makes up for it.
pub(crate) const REPORTS_MAX: usize = super::POSTS_MAX;

/// The row of them.
pub struct Reports {
    waiting: Mutex<VecDeque<Event>>,
    bell: Arc<Bell>,
}

impl Reports {
    pub(crate) fn new(bell: Arc<Bell>) -> Reports {
        Reports {
            waiting: Mutex::default(),
            bell,
        }
    }

    /// Takes a report from a media worker.
    pub(crate) fn tell(&self, event: Event) {
        let waits = match event {
            Event::Installed { .. } => return,
            Event::Counters { .. } => true,
            _ => false,
        };
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.len() >= REPORTS_MAX {
            drop(waiting);
            tracing::debug!("a media report was lost: the node is swamped");
            return;
        }
        waiting.push_back(event);
        drop(waiting);
        if waits {
            self.bell.ring_soon();
        } else {
            self.bell.ring();
        }
    }

    /// Everything that waits, in exchange for an empty row.
    pub(crate) fn take(&self, into: &mut VecDeque<Event>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        std::mem::swap(&mut *waiting, into);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use media::LegId;

    use super::*;
    use crate::signal::Handle;
    use crate::sip_io::Workers;

    #[test]
    fn reports_come_in_order_without_what_everybody_expects_and_in_bounds() {
        let (handle, _posts) = Handle::new();
        let (_, desk, _) = Workers::new(&handle).unwrap();
        let reports = Reports::new(desk.bell());
        let leg = LegId(base::Id::new(1, 0));
        let figures = |leg| Event::Counters {
            leg,
            counters: media::Counters::default(),
            last: true,
        };
        let silent = Event::NoMedia {
            leg,
            since: Duration::from_secs(10),
        };
        reports.tell(Event::Installed { leg });
        reports.tell(silent);
        reports.tell(figures(leg));
        let mut all = VecDeque::new();
        reports.take(&mut all);
        assert_eq!(all.len(), 2);
        assert!(matches!(all[0], Event::NoMedia { .. }));
        assert!(matches!(all[1], Event::Counters { .. }));
        all.clear();
        for _ in 0..=REPORTS_MAX {
            reports.tell(figures(leg));
        }
        reports.take(&mut all);
        assert_eq!(all.len(), REPORTS_MAX);
    }
}
