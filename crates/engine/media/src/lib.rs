//! RTP, SRTP, latching, the media multiplex, ports, relay tables
