//! RFC 6120 streams: framing, negotiation as observed, stream errors
