//! The non-INVITE server transaction: RFC 3261 §17.2.2.
//!
//! ```text
//!   request: deliver ─▶ Trying ── 1xx: send ──▶ Proceeding (request again: resend)
//!                         │ final: send            │ final: send
//!                         └───────▶ Completed ◀────┘ (request again: resend)
//!                                       └── J ──▶ ended
//! ```

use super::machine::{Act, End, ServerEvent, Step};
use super::timers::Timer;

/// Where a request other than INVITE that came in stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No response yet.
    Trying,
    /// A provisional response was sent.
    Proceeding,
    /// Answered; repeats the answer.
    Completed,
    /// Over.
    Terminated,
}

/// What a new row does.
pub(super) const START: Step<State> =
    Step::to(State::Trying, &[Act::Deliver, Act::Arm(Timer::Unanswered)]);

/// The next state, and what to do on the way.
pub(super) fn step(state: State, event: ServerEvent) -> Step<State> {
    use ServerEvent as On;
    use State::{Completed, Proceeding, Terminated, Trying};
    match (state, event) {
        (Trying | Proceeding, On::Provisional) => Step::to(Proceeding, &[Act::Send]),
        (Trying | Proceeding, On::Success | On::Failure) => {
            Step::to(Completed, &[Act::Send, Act::Arm(Timer::J)])
        }
        (Proceeding | Completed, On::Request) => Step::to(state, &[Act::Resend]),
        (Trying | Proceeding, On::Deadline) => Step::to(Terminated, &[Act::End(End::Unanswered)]),
        (Completed, On::Deadline) => Step::to(Terminated, &[Act::End(End::Done)]),
        (Terminated, _) => Step::to(Terminated, &[]),
        (_, On::FlowDown) => Step::to(Terminated, &[Act::End(End::FlowDown)]),
        (state, _) => Step::to(state, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::ServerEvent as On;
    use super::State::{Completed, Proceeding, Terminated, Trying};
    use super::*;

    #[test]
    fn non_invite_server_follows_every_arc_of_rfc_3261_figure_8() {
        const GONE: &[Act] = &[Act::End(End::FlowDown)];
        const ANSWER: &[Act] = &[Act::Send, Act::Arm(Timer::J)];
        let table: [(State, On, State, &[Act]); 24] = [
            (Trying, On::Request, Trying, &[]),
            (Trying, On::Provisional, Proceeding, &[Act::Send]),
            (Trying, On::Success, Completed, ANSWER),
            (Trying, On::Failure, Completed, ANSWER),
            (Trying, On::Ack, Trying, &[]),
            (Trying, On::Retransmit, Trying, &[]),
            (
                Trying,
                On::Deadline,
                Terminated,
                &[Act::End(End::Unanswered)],
            ),
            (Trying, On::FlowDown, Terminated, GONE),
            (Proceeding, On::Request, Proceeding, &[Act::Resend]),
            (Proceeding, On::Provisional, Proceeding, &[Act::Send]),
            (Proceeding, On::Success, Completed, ANSWER),
            (Proceeding, On::Failure, Completed, ANSWER),
            (Proceeding, On::Ack, Proceeding, &[]),
            (Proceeding, On::Retransmit, Proceeding, &[]),
            (
                Proceeding,
                On::Deadline,
                Terminated,
                &[Act::End(End::Unanswered)],
            ),
            (Proceeding, On::FlowDown, Terminated, GONE),
            (Completed, On::Request, Completed, &[Act::Resend]),
            (Completed, On::Provisional, Completed, &[]),
            (Completed, On::Success, Completed, &[]),
            (Completed, On::Failure, Completed, &[]),
            (Completed, On::Deadline, Terminated, &[Act::End(End::Done)]),
            (Completed, On::FlowDown, Terminated, GONE),
            (Terminated, On::Request, Terminated, &[]),
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
