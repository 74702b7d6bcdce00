//! Verifier for JavaScript hosts: Workers, browsers, Node.
//!
//! [`WebVerifier`] runs `edgepass-verify` with the host's `fetch`, WebCrypto, Cache API and clock.
//! Creating one does no I/O and draws no randomness, so it is allowed in a Worker's global scope.
//! This crate exports nothing to JavaScript, since its exports would become part of the interface
//! of every Worker that links it.

#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

mod bucket;
mod cache;
pub mod clock;
pub mod crypto;
pub mod dictionary;
pub mod event;
mod fetch;
mod stream;
mod verifier;

pub use bucket::Bucket;
pub use clock::Clock;
pub use fetch::{RequestOptions, Source};
pub use verifier::{Background, CacheTier, IsolateReplay, Judged, Later, ReplayStore, WebVerifier};
