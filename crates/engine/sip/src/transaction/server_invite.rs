//! The INVITE server transaction: RFC 3261 §17.2.1 with the Accepted state of RFC 6026 §7.1.
//!
//! ```text
//!   INVITE: deliver ─▶ Proceeding   (INVITE again: resend; 1xx: send; 200 ms: 100)
//!          2xx: send │        │ 300-699: send
//!                    ▼        ▼
//!   Accepted (2xx: send;      Completed (G, INVITE again: resend) ── H: no ACK ──▶ ended
//!   ACK: deliver)                 │ ACK
//!          L │                    ▼
//!            ▼                Confirmed ── I ──▶ ended
//!          ended
//! ```
//! The Accepted state does not retransmit the 2xx: that is the transaction user's (RFC 3261
//! §13.3.1.4).

use super::machine::{Act, End, ServerEvent, Step};
use super::timers::Timer;

/// Where an INVITE that came in stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// No final response yet.
    Proceeding,
    /// Rejected; waits for the ACK.
    Completed,
    /// Rejected and acknowledged; absorbs retransmissions.
    Confirmed,
    /// Answered with a 2xx.
    Accepted,
    /// Over.
    Terminated,
}

/// What a new row does.
pub(super) const START: Step<State> = Step::to(
    State::Proceeding,
    &[
        Act::Deliver,
        Act::Arm(Timer::Trying),
        Act::Arm(Timer::Patience),
    ],
);

/// The next state, and what to do on the way.
pub(super) fn step(state: State, event: ServerEvent) -> Step<State> {
    use ServerEvent as On;
    use State::{Accepted, Completed, Confirmed, Proceeding, Terminated};
    match (state, event) {
        (Proceeding, On::Request) => Step::to(Proceeding, &[Act::Resend]),
        (Proceeding, On::Retransmit) => Step::to(Proceeding, &[Act::Trying]),
        (Proceeding, On::Provisional) => Step::to(
            Proceeding,
            &[Act::Quiet, Act::Send, Act::Arm(Timer::Patience)],
        ),
        (Proceeding, On::Success) => {
            Step::to(Accepted, &[Act::Quiet, Act::Send, Act::Arm(Timer::L)])
        }
        (Proceeding, On::Failure) => Step::to(
            Completed,
            &[
                Act::Quiet,
                Act::Send,
                Act::Arm(Timer::G),
                Act::Arm(Timer::H),
            ],
        ),
        (Proceeding, On::Deadline) => Step::to(Terminated, &[Act::End(End::Unanswered)]),
        (Accepted, On::Success) => Step::to(Accepted, &[Act::Send]),
        (Accepted, On::Ack) => Step::to(Accepted, &[Act::Deliver]),
        (Accepted, On::Deadline) => Step::to(Terminated, &[Act::End(End::Done)]),
        (Completed, On::Request) => Step::to(Completed, &[Act::Resend]),
        (Completed, On::Retransmit) => Step::to(Completed, &[Act::Resend, Act::Arm(Timer::G)]),
        (Completed, On::Ack) => Step::to(Confirmed, &[Act::Quiet, Act::Arm(Timer::I)]),
        (Completed, On::Deadline) => Step::to(Terminated, &[Act::End(End::NoAck)]),
        (Confirmed, On::Deadline) => Step::to(Terminated, &[Act::End(End::Done)]),
        (Terminated, _) => Step::to(Terminated, &[]),
        (_, On::FlowDown) => Step::to(Terminated, &[Act::End(End::FlowDown)]),
        (state, _) => Step::to(state, &[]),
    }
}

#[cfg(test)]
mod tests {
    use super::ServerEvent as On;
    use super::State::{Accepted, Completed, Confirmed, Proceeding, Terminated};
    use super::*;

    #[test]
    fn invite_server_follows_every_arc_of_rfc_3261_figure_7_and_rfc_6026() {
        const GONE: &[Act] = &[Act::End(End::FlowDown)];
        const RING: &[Act] = &[Act::Quiet, Act::Send, Act::Arm(Timer::Patience)];
        const ACCEPT: &[Act] = &[Act::Quiet, Act::Send, Act::Arm(Timer::L)];
        const REJECT: &[Act] = &[
            Act::Quiet,
            Act::Send,
            Act::Arm(Timer::G),
            Act::Arm(Timer::H),
        ];
        let table: [(State, On, State, &[Act]); 32] = [
            (Proceeding, On::Request, Proceeding, &[Act::Resend]),
            (Proceeding, On::Ack, Proceeding, &[]),
            (Proceeding, On::Provisional, Proceeding, RING),
            (Proceeding, On::Success, Accepted, ACCEPT),
            (Proceeding, On::Failure, Completed, REJECT),
            (Proceeding, On::Retransmit, Proceeding, &[Act::Trying]),
            (
                Proceeding,
                On::Deadline,
                Terminated,
                &[Act::End(End::Unanswered)],
            ),
            (Proceeding, On::FlowDown, Terminated, GONE),
            (Accepted, On::Request, Accepted, &[]),
            (Accepted, On::Ack, Accepted, &[Act::Deliver]),
            (Accepted, On::Provisional, Accepted, &[]),
            (Accepted, On::Success, Accepted, &[Act::Send]),
            (Accepted, On::Failure, Accepted, &[]),
            (Accepted, On::Retransmit, Accepted, &[]),
            (Accepted, On::Deadline, Terminated, &[Act::End(End::Done)]),
            (Accepted, On::FlowDown, Terminated, GONE),
            (Completed, On::Request, Completed, &[Act::Resend]),
            (
                Completed,
                On::Ack,
                Confirmed,
                &[Act::Quiet, Act::Arm(Timer::I)],
            ),
            (Completed, On::Provisional, Completed, &[]),
            (Completed, On::Success, Completed, &[]),
            (Completed, On::Failure, Completed, &[]),
            (
                Completed,
                On::Retransmit,
                Completed,
                &[Act::Resend, Act::Arm(Timer::G)],
            ),
            (Completed, On::Deadline, Terminated, &[Act::End(End::NoAck)]),
            (Completed, On::FlowDown, Terminated, GONE),
            (Confirmed, On::Request, Confirmed, &[]),
            (Confirmed, On::Ack, Confirmed, &[]),
            (Confirmed, On::Success, Confirmed, &[]),
            (Confirmed, On::Retransmit, Confirmed, &[]),
            (Confirmed, On::Deadline, Terminated, &[Act::End(End::Done)]),
            (Confirmed, On::FlowDown, Terminated, GONE),
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
