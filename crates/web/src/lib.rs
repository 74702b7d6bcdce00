//! The verifier for JavaScript hosts: Workers, browsers, Node.
//!
//! It drives `edgepass-verify` with the host's `fetch`, WebCrypto, Cache API and clock. Constructing
//! a [`WebVerifier`] does no I/O and draws no randomness, so it may happen in a Worker's global
//! scope. This crate exports nothing to JavaScript: whatever it exported would become part of the
//! interface of every Worker that links it.

mod cache;
pub mod clock;
pub mod crypto;
mod fetch;
pub mod refusal;
mod verifier;

pub use clock::Clock;
pub use refusal::Refusal;
pub use verifier::{Background, CacheTier, IsolateReplay, Judged, ReplayStore, WebVerifier};
