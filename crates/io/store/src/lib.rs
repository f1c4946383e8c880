//! Durable state
