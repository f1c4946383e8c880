//! The lab: edge, core, the servers inside and clients outside, started with one command.
//!
//! `cargo lab` runs the tour. Edge and core are separate processes of the real program, on
//! loopback addresses of their own and the standard ports; the rest is simulated here, on
//! libraries that the product does not use for the same purpose.

#![allow(
    unreachable_pub,
    reason = "a program has no outside: `pub` here says part of the module"
)]

mod accounts;
mod authority;
mod changes;
mod client;
mod command;
mod dns;
mod file;
mod house;
mod identity;
mod im_presence;
mod ladder;
mod media;
mod mistakes;
mod names;
mod pages;
mod serve;
mod sip;
mod soap;
mod terminal;
mod tour;
mod unified_cm;
mod unity;
mod visit;
mod web;
mod world;

use std::process::ExitCode;

use clap::Parser;

#[tokio::main]
async fn main() -> ExitCode {
    // One provider for all TLS here; a second one in the tree would else leave the choice open.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    command::Lab::parse().run().await
}
