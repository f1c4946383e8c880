//! The INVITE client transaction: RFC 3261 §17.1.1 with the Accepted state of RFC 6026 §7.2.
//!
//! ```text
//!            ┌─ A: resend ─┐                      ┌─ 1xx: deliver ─┐
//!   INVITE ─▶│   Calling   │── 1xx: deliver ─────▶│   Proceeding   │
//!            └─────────────┘                      └────────────────┘
//!     B: fail │  2xx: deliver │ 300-699: ACK, deliver   │ the same, and our own bound: fail
//!             ▼               ▼                         ▼
//!           ended      Accepted ── M ──▶ ended     Completed ── D ──▶ ended
//!                      (2xx: deliver)              (300-699: ACK)
//! ```

use super::machine::{Act, ClientEvent, End, Step};
use super::timers::Timer;

/// Where an INVITE that we sent stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// Sent; nothing has come back.
    Calling,
    /// A provisional response has come.
    Proceeding,
    /// Rejected and acknowledged; absorbs retransmissions.
    Completed,
    /// A 2xx has come; lets further ones through.
    Accepted,
    /// Over.
    Terminated,
}

/// What a new row does.
pub(super) const START: Step<State> = Step::to(
    State::Calling,
    &[Act::Send, Act::Arm(Timer::A), Act::Arm(Timer::B)],
);

/// The next state, and what to do on the way.
pub(super) fn step(state: State, event: ClientEvent) -> Step<State> {
    use ClientEvent as On;
    use State::{Accepted, Calling, Completed, Proceeding, Terminated};
    match (state, event) {
        (Calling, On::Retransmit) => Step::to(Calling, &[Act::Resend, Act::Arm(Timer::A)]),
        (Calling | Proceeding, On::Deadline) => {
            Step::to(Terminated, &[Act::Fail, Act::End(End::Unanswered)])
        }
        (Calling | Proceeding, On::Provisional) => Step::to(
            Proceeding,
            &[Act::Quiet, Act::Arm(Timer::Patience), Act::Deliver],
        ),
        (Calling | Proceeding, On::Success) => {
            Step::to(Accepted, &[Act::Quiet, Act::Arm(Timer::M), Act::Deliver])
        }
        (Calling | Proceeding, On::Failure) => Step::to(
            Completed,
            &[Act::Quiet, Act::Ack, Act::Deliver, Act::Arm(Timer::D)],
        ),
        (Calling | Proceeding, On::FlowDown) => {
            Step::to(Terminated, &[Act::Fail, Act::End(End::FlowDown)])
        }
        (Accepted, On::Success) => Step::to(Accepted, &[Act::Deliver]),
        (Accepted, On::Deadline) => Step::to(Terminated, &[Act::End(End::Done)]),
        (Completed, On::Failure) => Step::to(Completed, &[Act::Ack]),
        (Completed, On::Deadline) => Step::to(Terminated, &[Act::End(End::Done)]),
        (Accepted | Completed, On::FlowDown) => Step::to(Terminated, &[Act::End(End::FlowDown)]),
        (state, _) => Step::to(state, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::ClientEvent as On;
    use super::State::{Accepted, Calling, Completed, Proceeding, Terminated};
    use super::*;

    #[test]
    fn invite_client_follows_every_arc_of_rfc_3261_figure_5_and_rfc_6026() {
        const RING: &[Act] = &[Act::Quiet, Act::Arm(Timer::Patience), Act::Deliver];
        const ACCEPT: &[Act] = &[Act::Quiet, Act::Arm(Timer::M), Act::Deliver];
        const REJECT: &[Act] = &[Act::Quiet, Act::Ack, Act::Deliver, Act::Arm(Timer::D)];
        const TIMEOUT: &[Act] = &[Act::Fail, Act::End(End::Unanswered)];
        const BROKEN: &[Act] = &[Act::Fail, Act::End(End::FlowDown)];
        const DONE: &[Act] = &[Act::End(End::Done)];
        const GONE: &[Act] = &[Act::End(End::FlowDown)];
        let table: [(State, On, State, &[Act]); 30] = [
            (Calling, On::Provisional, Proceeding, RING),
            (Calling, On::Success, Accepted, ACCEPT),
            (Calling, On::Failure, Completed, REJECT),
            (
                Calling,
                On::Retransmit,
                Calling,
                &[Act::Resend, Act::Arm(Timer::A)],
            ),
            (Calling, On::Deadline, Terminated, TIMEOUT),
            (Calling, On::FlowDown, Terminated, BROKEN),
            (Proceeding, On::Provisional, Proceeding, RING),
            (Proceeding, On::Success, Accepted, ACCEPT),
            (Proceeding, On::Failure, Completed, REJECT),
            (Proceeding, On::Retransmit, Proceeding, &[]),
            (Proceeding, On::Deadline, Terminated, TIMEOUT),
            (Proceeding, On::FlowDown, Terminated, BROKEN),
            (Accepted, On::Provisional, Accepted, &[]),
            (Accepted, On::Success, Accepted, &[Act::Deliver]),
            (Accepted, On::Failure, Accepted, &[]),
            (Accepted, On::Retransmit, Accepted, &[]),
            (Accepted, On::Deadline, Terminated, DONE),
            (Accepted, On::FlowDown, Terminated, GONE),
            (Completed, On::Provisional, Completed, &[]),
            (Completed, On::Success, Completed, &[]),
            (Completed, On::Failure, Completed, &[Act::Ack]),
            (Completed, On::Retransmit, Completed, &[]),
            (Completed, On::Deadline, Terminated, DONE),
            (Completed, On::FlowDown, Terminated, GONE),
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
