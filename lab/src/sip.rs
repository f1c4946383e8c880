//! SIP as the lab speaks it: parser and transactions of the crate `sipx-sip`, the rest made here.
//!
//! [`stack::Stack`] owns connections (TCP and TLS) and transactions; [`dialog::Dialog`] is the
//! state of RFC 3261 §12; [`agent::Agent`] is a user agent that registers, calls and answers,
//! inside or remote; [`unified_cm`] plays the line side of Unified CM; [`phone`] is the telephone
//! inside.

pub(crate) mod agent;
pub(crate) mod dialog;
pub(crate) mod message;
pub(crate) mod phone;
pub(crate) mod stack;
pub(crate) mod unified_cm;

#[cfg(test)]
mod tests;
