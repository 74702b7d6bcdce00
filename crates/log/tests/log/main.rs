//! The crate against vectors of others, a plain implementation of RFC 6962, and mutated input.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "these are tests"
)]

mod growth;
mod hostile;
mod plain;
mod vectors;
