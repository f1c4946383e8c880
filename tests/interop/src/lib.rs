//! Scenarios with real programs.
