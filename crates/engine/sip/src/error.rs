//! What is wrong with bytes that should be SIP.

/// Why a message is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The first line is neither a request's nor a status line.
    #[error("the start line is malformed")]
    StartLine,
    /// A version other than SIP/2.0.
    #[error("the version is not SIP/2.0")]
    Version,
    /// A header line without a name and a colon, or with a byte no header may have.
    #[error("a header line is malformed")]
    HeaderLine,
    /// A CR or LF alone, or a NUL.
    #[error("a bare CR, LF or NUL stands in the header")]
    Control,
    /// Content-Length is no number, or two of them differ.
    #[error("Content-Length is malformed or contradicts itself")]
    ContentLength,
    /// Content-Length is absent on a stream.
    #[error("Content-Length is missing")]
    NoContentLength,
    /// Fewer bytes than Content-Length says.
    #[error("the body is shorter than Content-Length")]
    Short,
    /// A header every message needs is absent.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A header that may stand once only stands twice.
    #[error("{0} stands more than once")]
    Repeated(&'static str),
    /// A header that is always read cannot be.
    #[error("{0} is malformed")]
    Header(&'static str),
    /// A bound of [`crate::Limits`] is passed.
    #[error("{0} is over the limit")]
    Limit(&'static str),
}

impl ParseError {
    /// The status and reason to answer a request with.
    pub fn status(&self) -> (u16, &'static str) {
        match self {
            ParseError::Version => (505, "Version Not Supported"),
            ParseError::Limit("the Request-URI") => (414, "Request-URI Too Long"),
            ParseError::Limit("body") => (413, "Request Entity Too Large"),
            ParseError::Limit(_) => (513, "Message Too Large"),
            _ => (400, "Bad Request"),
        }
    }
}

/// One header value cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// It is not there.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// It does not follow its grammar.
    #[error("{0} is malformed")]
    Malformed(&'static str),
}
