//! One vocabulary of numbered events; registrations, calls, sessions, counters
