//! Scenarios under many seeds: what a user, an administrator or an attacker does, and what the
//! network does meanwhile.
#![allow(clippy::unwrap_used)]

mod abroad;
mod browsers;
mod calls;
mod chaos;
mod content;
mod failover;
mod faults;
mod features;
mod forking;
mod hostile;
mod inside;
mod link;
mod neighbours;
mod outside;
mod register;
mod settings;
mod town;
