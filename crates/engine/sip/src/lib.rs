//! The SIP family of RFC 3261: messages, framing, digest, transactions, proxy, dialogs
