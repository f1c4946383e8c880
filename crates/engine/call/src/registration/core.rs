//! The core's half of registration.
