//! The non-INVITE client transaction: RFC 3261 §17.1.2.
//!
//! ```text
//!   request ─▶ Trying ── 1xx: deliver ──▶ Proceeding        E: resend in both
//!                │  final: deliver          │  final: deliver     F: fail in both
//!                └────────▶ Completed ◀─────┘
//!                               └── K ──▶ ended
//! ```

use super::machine::{Act, ClientEvent, End, Step};
use super::timers::Timer;

/// Where a request other than INVITE that we sent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Sent; nothing has come back.
    Trying,
    /// A provisional response has come.
    Proceeding,
    /// Answered; absorbs retransmissions.
    Completed,
    /// Over.
    Terminated,
}

/// What a new row does.
pub(super) const START: Step<State> = Step::to(
    State::Trying,
    &[Act::Send, Act::Arm(Timer::E), Act::Arm(Timer::F)],
);

/// The next state, and what to do on the way.
pub(super) fn step(state: State, event: ClientEvent) -> Step<State> {
    use ClientEvent as On;
    use State::{Completed, Proceeding, Terminated, Trying};
    match (state, event) {
        (Trying, On::Retransmit) => Step::to(Trying, &[Act::Resend, Act::Arm(Timer::E)]),
        (Proceeding, On::Retransmit) => Step::to(Proceeding, &[Act::Resend, Act::Arm(Timer::E2)]),
        (Trying | Proceeding, On::Provisional) => Step::to(Proceeding, &[Act::Deliver]),
        (Trying | Proceeding, On::Success | On::Failure) => {
            Step::to(Completed, &[Act::Quiet, Act::Deliver, Act::Arm(Timer::K)])
        }
        (Trying | Proceeding, On::Deadline) => {
            Step::to(Terminated, &[Act::Fail, Act::End(End::Unanswered)])
        }
        (Trying | Proceeding, On::FlowDown) => {
            Step::to(Terminated, &[Act::Fail, Act::End(End::FlowDown)])
        }
        (Completed, On::Deadline) => Step::to(Terminated, &[Act::End(End::Done)]),
        (Completed, On::FlowDown) => Step::to(Terminated, &[Act::End(End::FlowDown)]),
        (state, _) => Step::to(state, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::ClientEvent as On;
    use super::State::{Completed, Proceeding, Terminated, Trying};
    use super::*;

    #[test]
    fn non_invite_client_follows_every_arc_of_rfc_3261_figure_6() {
        const ANSWER: &[Act] = &[Act::Quiet, Act::Deliver, Act::Arm(Timer::K)];
        const TIMEOUT: &[Act] = &[Act::Fail, Act::End(End::Unanswered)];
        const BROKEN: &[Act] = &[Act::Fail, Act::End(End::FlowDown)];
        let table: [(State, On, State, &[Act]); 24] = [
            (Trying, On::Provisional, Proceeding, &[Act::Deliver]),
            (Trying, On::Success, Completed, ANSWER),
            (Trying, On::Failure, Completed, ANSWER),
            (
                Trying,
                On::Retransmit,
                Trying,
                &[Act::Resend, Act::Arm(Timer::E)],
            ),
            (Trying, On::Deadline, Terminated, TIMEOUT),
            (Trying, On::FlowDown, Terminated, BROKEN),
            (Proceeding, On::Provisional, Proceeding, &[Act::Deliver]),
            (Proceeding, On::Success, Completed, ANSWER),
            (Proceeding, On::Failure, Completed, ANSWER),
            (
                Proceeding,
                On::Retransmit,
                Proceeding,
                &[Act::Resend, Act::Arm(Timer::E2)],
            ),
            (Proceeding, On::Deadline, Terminated, TIMEOUT),
            (Proceeding, On::FlowDown, Terminated, BROKEN),
            (Completed, On::Provisional, Completed, &[]),
            (Completed, On::Success, Completed, &[]),
            (Completed, On::Failure, Completed, &[]),
            (Completed, On::Retransmit, Completed, &[]),
            (Completed, On::Deadline, Terminated, &[Act::End(End::Done)]),
            (
                Completed,
                On::FlowDown,
                Terminated,
                &[Act::End(End::FlowDown)],
            ),
            (Terminated, On::Provisional, Terminated, &[]),
            (Terminated, On::Success, Terminated, &[]),
            (Terminated, On::Failure, Terminated, &[]),
            (Terminated, On::Retransmit, Terminated, &[]),
            (Terminated, On::Deadline, Terminated, &[]),
            (Terminated, On::FlowDown, Terminated, &[]),
        ];
        for (state, event, next, acts) in table {
            assert_eq!(
                step(state, event),
                Step::to(next, acts),
                "{state:?} {event:?}"
            );
        }
    }
}
