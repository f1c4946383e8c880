//! What can be wrong with a stream, and the stream error that says so.

/// A stream error's condition (RFC 6120 §4.9.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "the RFC's own names")]
pub enum Condition {
    BadFormat,
    ConnectionTimeout,
    HostUnknown,
    InternalServerError,
    InvalidNamespace,
    NotAuthorized,
    NotWellFormed,
    PolicyViolation,
    RemoteConnectionFailed,
    ResourceConstraint,
    RestrictedXml,
    SystemShutdown,
    UnsupportedEncoding,
    UnsupportedStanzaType,
    UnsupportedVersion,
}

impl Condition {
    /// The element's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Condition::BadFormat => "bad-format",
            Condition::ConnectionTimeout => "connection-timeout",
            Condition::HostUnknown => "host-unknown",
            Condition::InternalServerError => "internal-server-error",
            Condition::InvalidNamespace => "invalid-namespace",
            Condition::NotAuthorized => "not-authorized",
            Condition::NotWellFormed => "not-well-formed",
            Condition::PolicyViolation => "policy-violation",
            Condition::RemoteConnectionFailed => "remote-connection-failed",
            Condition::ResourceConstraint => "resource-constraint",
            Condition::RestrictedXml => "restricted-xml",
            Condition::SystemShutdown => "system-shutdown",
            Condition::UnsupportedEncoding => "unsupported-encoding",
            Condition::UnsupportedStanzaType => "unsupported-stanza-type",
            Condition::UnsupportedVersion => "unsupported-version",
        }
    }
}

/// How a peer broke the protocol. Ends its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Violation {
    /// Against XML 1.0 or its namespaces.
    #[error("XML that is not well-formed: {0}")]
    NotWellFormed(&'static str),
    /// XML that streams may not use: DTD, entity, processing instruction, comment (RFC 6120 §11.1).
    #[error("{0} in the stream")]
    Restricted(&'static str),
    /// Not UTF-8, by its bytes or by its own declaration (RFC 6120 §11.6).
    #[error("an encoding other than UTF-8")]
    Encoding,
    /// A bound of [`crate::Limits`] is passed.
    #[error("{0} over the limit")]
    Limit(&'static str),
    /// Something other than white space between first-level elements.
    #[error("text between stanzas")]
    Text,
    /// A stream inside the stream.
    #[error("a second stream header")]
    SecondHeader,
    /// The header is no stream's, or not a client's (RFC 6120 §4.9.3.10).
    #[error("a stream header with the wrong namespace")]
    Namespace,
    /// The header's version is missing or not understood (RFC 6120 §4.7.5).
    #[error("a stream header with an unsupported version")]
    Version,
    /// After sign-in the stream is for another domain than before.
    #[error("a stream header for another domain than before")]
    OtherDomain,
    /// A stanza before sign-in (RFC 6120 §4.9.3.12).
    #[error("a stanza before sign-in")]
    NotSignedIn,
    /// Something other than `<starttls/>` where TLS is required (RFC 6120 §5.3.1).
    #[error("something other than STARTTLS before TLS")]
    TlsRequired,
    /// An element that has no place where it stands.
    #[error("an element that no stream has there")]
    OutOfPlace,
    /// Too many failed sign-ins on one stream (RFC 6120 §6.4.5).
    #[error("too many failed sign-ins")]
    Tries,
}

impl Violation {
    /// What the peer is told.
    pub fn condition(self) -> Condition {
        match self {
            Violation::NotWellFormed(_) => Condition::NotWellFormed,
            Violation::Restricted(_) => Condition::RestrictedXml,
            Violation::Encoding => Condition::UnsupportedEncoding,
            Violation::Limit(_) | Violation::TlsRequired | Violation::Tries => {
                Condition::PolicyViolation
            }
            Violation::Text | Violation::SecondHeader => Condition::BadFormat,
            Violation::Namespace => Condition::InvalidNamespace,
            Violation::Version => Condition::UnsupportedVersion,
            Violation::OtherDomain => Condition::HostUnknown,
            Violation::NotSignedIn => Condition::NotAuthorized,
            Violation::OutOfPlace => Condition::UnsupportedStanzaType,
        }
    }
}
