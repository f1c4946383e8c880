//! Typed model of every setting: load, check, snapshot
