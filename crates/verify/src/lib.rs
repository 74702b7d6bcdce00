//! The Edgepass verifier: what a token is worth, decided from what is already held.
//!
//! This crate does no I/O, reads no clock and draws no randomness. A host begins a
//! [`Check`] and asks the [`Verifier`] to advance it; the answer is a verdict or the
//! one thing the host must do first: fetch a document, check a signature with its own crypto, look up whether a
//! DPoP proof was used before, or wait for a fetch that another request started. [`host`] holds what a
//! host has to offer, and the loop that does all this.
//!
//! The checks run in a fixed order ([`error::Step`]); the code returned is that of the first that
//! failed, and no status list is fetched for a token that has already failed.

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

pub mod batch;
pub mod checks;
pub mod documents;
pub mod error;
pub mod host;
pub mod known_answer;
pub mod policy;
pub mod sender;
pub mod signature;
pub mod time;
pub mod url;
pub mod verdict;
pub mod verifier;

pub use checks::{Check, Requirements};
pub use error::VerifyError;
pub use policy::{Policy, PolicyConfig};
pub use sender::{Request, Sender};
pub use time::UnixMillis;
pub use verdict::Verdict;
pub use verifier::{Progress, Verifier};
