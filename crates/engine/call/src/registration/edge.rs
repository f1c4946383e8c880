//! The edge's half of registration.
