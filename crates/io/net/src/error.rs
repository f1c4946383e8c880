//! What goes wrong above the I/O line, each with the cause and what an administrator can do.

use std::net::SocketAddr;
use std::path::PathBuf;

/// Anything this crate reports.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file cannot be read or written.
    #[error("{what} file {path}: {fix}")]
    File {
        /// `certificate`, `key`, `trusted certificates`, `SSH key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What to do.
        fix: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file does not hold what it should.
    #[error("{what} file {path}: {cause}; {fix}")]
    Content {
        /// `certificate`, `key`, `trusted certificates`, `SSH key`.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What was found.
        cause: String,
        /// What to do.
        fix: &'static str,
    },
    /// TLS could not be set up from good files.
    #[error("TLS cannot be set up: {0}")]
    Tls(#[from] rustls::Error),
    /// A TLS handshake failed.
    #[error("TLS handshake: {cause}; {fix}")]
    Handshake {
        /// Whose fault, as a word.
        fault: Fault,
        /// What was seen.
        cause: String,
        /// What to do.
        fix: String,
    },
    /// An address cannot be listened on.
    #[error("cannot listen on {protocol} {address}: {fix}")]
    Bind {
        /// `TCP` or `UDP`.
        protocol: &'static str,
        /// The address.
        address: SocketAddr,
        /// What to do.
        fix: &'static str,
        /// What the system said.
        source: std::io::Error,
    },
    /// A connection could not be made.
    #[error("cannot connect to {address}: {cause}")]
    Connect {
        /// The address.
        address: SocketAddr,
        /// What was seen.
        cause: String,
    },
    /// A name does not exist in DNS, or has no record of the kind asked for.
    #[error("{name} does not exist in DNS")]
    NotFound {
        /// The name.
        name: String,
    },
    /// No DNS server gave an answer.
    #[error("no DNS server answered for {name}: {cause}")]
    NoAnswer {
        /// The name.
        name: String,
        /// What was seen.
        cause: String,
    },
    /// An SSH session could not be made or ended.
    #[error("SSH: {cause}; {fix}")]
    Ssh {
        /// What was seen.
        cause: String,
        /// What to do.
        fix: &'static str,
    },
    /// No connection to the peer is up.
    #[error("no connection to the peer is up")]
    LaneDown,
    /// Every connection to the peer carries as many streams as it may.
    #[error("all connections to the peer are full")]
    LaneFull,
    /// The connection to the peer broke, or the peer refused the stream.
    #[error("the peer's connection failed: {0}")]
    Lane(#[source] hyper::Error),
    /// An HTTP peer broke the protocol or its connection.
    #[error("HTTP: {0}")]
    Http(#[source] hyper::Error),
    /// Something took longer than it may.
    #[error("{what} took longer than {seconds} s")]
    Timeout {
        /// What.
        what: &'static str,
        /// The limit.
        seconds: u64,
    },
    /// Any other socket error.
    #[error("{}", crate::tls::cause(.0))]
    Io(#[from] std::io::Error),
}

impl Error {
    /// Whether a TLS peer's certificate was not accepted: name, authority, dates or purpose.
    pub fn is_refused_certificate(&self) -> bool {
        matches!(
            self,
            Error::Handshake {
                fault: Fault::NameMismatch
                    | Fault::Untrusted
                    | Fault::Dates
                    | Fault::BadCertificate,
                ..
            }
        )
    }
}

/// Why a TLS handshake failed, whose fault first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The peer's certificate does not carry a name we accept.
    NameMismatch,
    /// The peer's certificate is signed by nobody we trust.
    Untrusted,
    /// The peer's certificate has run out, or is not valid yet.
    Dates,
    /// The peer's certificate is not made for this use, or is damaged or revoked.
    BadCertificate,
    /// The peer showed no certificate.
    NoCertificate,
    /// The peer refused our certificate.
    WeAreRefused,
    /// No TLS version, cipher suite or ALPN protocol in common.
    NothingInCommon,
    /// The peer does not speak TLS.
    NotTls,
    /// The peer took too long.
    Timeout,
    /// The peer closed the connection.
    Closed,
    /// Anything else.
    Other,
}
