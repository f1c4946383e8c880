//! Both nodes in one thread, under a virtual clock and over a seeded bad network.
//!
//! A [`world::World`] holds edges and cores (the product's engines and media relays, behind
//! `node::Engine`), remote clients, inside phones, call control, directory and DNS, and every
//! message on its way between them. Nothing here knows the time of day: a run follows from its
//! seed alone, and its trace is the same every time.
//!
//! Every message is looked at as it leaves its sender ([`watch`]): one final response a
//! transaction, in time; rising CSeq numbers; hops; and, since telephones and call control dress
//! their messages with fields that no node knows ([`garnish`]), that what is not a node's business
//! leaves it as it came, byte for byte. The first thing that is wrong ends the run.
//!
//! The outside and the inside share no parsing code with the product: [`text`], [`raw`],
//! [`description`], [`digest`], [`dialog`] and [`srtp`] are written on bytes and strings, and on
//! published primitives.
//!
//! `SIM_SEED=n cargo test -p causeway-sim NAME` replays one seed with its whole trace;
//! `SIM_SEEDS=n` runs that many seeds of each random scenario, and tells how much that was:
//! `SIM_SEEDS=200 cargo test -p causeway-sim town -- --nocapture`. With
//! `CARGO_PROFILE_TEST_OPT_LEVEL=2 CARGO_PROFILE_DEV_OPT_LEVEL=2` before it (and a target folder of
//! its own) it is seven times as fast.

#![forbid(unsafe_code)]

pub mod checks;
pub mod description;
pub mod dialog;
pub mod digest;
pub mod garnish;
pub mod gateway;
pub mod hostile;
pub mod house;
pub mod idp;
pub mod pbx;
pub mod pipe;
pub mod raw;
pub mod srtp;
pub mod text;
pub mod trace;
pub mod ua;
pub mod watch;
pub mod web;
pub mod workers;
pub mod world;
