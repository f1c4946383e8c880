//! SIP transaction users: registration relay, B2BUA, call records.
//!
//! - [`b2bua`]: the core's B2BUA for INVITE dialogs, with its media and its records.
//! - [`limits`]: what calls count as, and how many there may be.
//! - [`registration`]: a client's REGISTER on edge and core.

#![forbid(unsafe_code)]

pub mod b2bua;
pub mod limits;
pub mod registration;
