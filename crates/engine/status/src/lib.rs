//! One vocabulary of what happens and what there is.
//!
//! An [`Event`] says what happened with cause, proof and fix, and feeds log, history and alarms
//! alike. A [`Snapshot`] is what a node looks like at one moment, for pages, programs and the
//! command line. Persons are [`Pii`]: a log hides them, a status page behind a login shows them.

#![forbid(unsafe_code)]

mod allow_list;
mod event;
mod page;
mod recent;
mod search;
pub mod servers;
mod snapshot;

pub use allow_list::{
    AllowListReport, AllowRow, AllowTest, AllowVerdict, DeniedReport, DeniedRow, NearRow,
};
pub use event::{Event, Kind, Severity};
pub use page::{Page, Totals};
pub use recent::{EventRow, Recent};
pub use search::{SearchOutcome, SearchQuestion, SearchReport, SearchStep, SearchTarget};
pub use snapshot::{
    CallRow, CapacityRow, ClockRow, Counters, LinkRow, MediaRow, RegistrationRow, Role, SessionRow,
    SignOutReport, Snapshot, ZoneRow,
};

pub use base::Pii;
