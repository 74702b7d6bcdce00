//! The verifier for JavaScript hosts: Workers, browsers, Node.
//!
//! It drives `edgepass-verify` with the host's `fetch`, WebCrypto, Cache API and clock. Constructing
//! a [`WebVerifier`] does no I/O and draws no randomness, so it may happen in a Worker's global
//! scope. This crate exports nothing to JavaScript: whatever it exported would become part of the
//! interface of every Worker that links it.

// Nothing that a caller sends may end the process or the isolate.
#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::string_slice,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

mod bucket;
mod cache;
pub mod clock;
pub mod crypto;
pub mod dictionary;
mod fetch;
pub mod refusal;
mod stream;
mod verifier;

pub use bucket::Bucket;
pub use clock::Clock;
pub use fetch::Source;
pub use refusal::Refusal;
pub use verifier::{Background, CacheTier, IsolateReplay, Judged, ReplayStore, WebVerifier};
