//! Verification with tables, against independent implementations and third-party vectors.

#![allow(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "these are tests"
)]

mod differential;
mod equation;
mod wycheproof;
