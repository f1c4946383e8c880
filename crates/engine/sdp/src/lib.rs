//! RFC 8866 session descriptions: edits by line, offer and answer, SDES
