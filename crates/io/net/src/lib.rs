//! Sockets and the libraries that speak on them: TLS, DNS, SSH, HTTP.
//!
//! Above the I/O line: async, with a clock. It knows no product rule; [`driver`] joins it to the
//! node. Every connection belongs to the task that asked for it, every wait has a time limit, every
//! buffer a bound.
//!
//! - [`tls`]: the one TLS provider, certificates from files, mutual TLS with verified names.
//! - [`dns`]: addresses and services (RFC 2782) from configured servers.
//! - [`ssh`]: the tunnel on 2222, one virtual forward and nothing else.
//! - [`lane`]: HTTP/2 inside any stream, with the roles turned round.
//! - [`http`]: the front door for strangers, and requests to inside servers.
//! - [`socket`]: listening and dialling with errors that say what to do.
//! - [`clock`]: what steers the machine's clock.
//! - [`udp`]: many datagrams for one system call, for media.
//!
//! [`driver`]: ../driver/index.html

// Denied by the workspace; `udp::kernel` alone is excepted, and says why.
#![deny(unsafe_code)]

pub mod clock;
pub mod descriptors;
pub mod dns;
mod error;
pub mod http;
pub mod lane;
pub mod socket;
pub mod ssh;
pub mod tls;
pub mod udp;

pub use error::{Error, Fault};

/// A seed from the operating system, for the one generator of a node ([`base::Rng`]).
///
/// # Errors
/// [`Error::Io`] if the system gives no randomness.
pub fn random_seed() -> Result<[u8; 32], Error> {
    let mut seed = [0; 32];
    aws_lc_rs::rand::fill(&mut seed)
        .map_err(|_| std::io::Error::other("the operating system gives no randomness"))?;
    Ok(seed)
}
