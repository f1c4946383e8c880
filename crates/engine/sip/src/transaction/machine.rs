//! The vocabulary the four state machines share: what happens to a row and what the row does.
//!
//! Each machine is one pure function `step(state, event) -> Step`, so that every arc of
//! RFC 3261 §17 and RFC 6026 is a line of a table and its test walks the whole table.

use super::timers::Timer;

/// What a state machine does, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Send the message the transaction user has just given, and keep it for retransmission.
    Send,
    /// Send the bytes kept once more.
    Resend,
    /// Send a 100 (Trying) of our own.
    Trying,
    /// Send an ACK for the non-2xx response at hand.
    Ack,
    /// Give the message at hand to the transaction user.
    Deliver,
    /// Tell the transaction user that no answer came.
    Fail,
    /// Arm a timer; it takes the place of the one armed in the same slot.
    Arm(Timer),
    /// Disarm the retransmission timer.
    Quiet,
    /// The row ends here.
    End(End),
}

/// Why a row ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// It ran its course.
    Done,
    /// A final response to an INVITE was never acknowledged (timer H).
    NoAck,
    /// The transaction user never gave a final response, or the peer none.
    Unanswered,
    /// The flow is gone.
    FlowDown,
}

/// Where an event leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step<S: 'static> {
    pub(super) next: S,
    pub(super) acts: &'static [Act],
}

impl<S> Step<S> {
    pub(super) const fn to(next: S, acts: &'static [Act]) -> Self {
        Step { next, acts }
    }
}

/// What happens to a client transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ClientEvent {
    /// A 1xx response.
    Provisional,
    /// A 2xx response.
    Success,
    /// A 300–699 response.
    Failure,
    /// The timer in the retransmission slot (A, E).
    Retransmit,
    /// The timer that bounds the state (B, D, F, K, M and our own bounds).
    Deadline,
    /// The flow is gone.
    FlowDown,
}

/// What happens to a server transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ServerEvent {
    /// The request once more.
    Request,
    /// An ACK with the request's own branch.
    Ack,
    /// The transaction user gives a 1xx.
    Provisional,
    /// The transaction user gives a 2xx.
    Success,
    /// The transaction user gives a 300–699.
    Failure,
    /// The timer in the retransmission slot (G, and the 200 ms before a 100 of our own).
    Retransmit,
    /// The timer that bounds the state (H, I, J, L and our own bounds).
    Deadline,
    /// The flow is gone.
    FlowDown,
}
