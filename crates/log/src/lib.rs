//! The audit log as a transparency log: a Merkle tree that only grows (RFC 6962 §2.1), with SHA-256.
//!
//! Source: C2SP [signed-note](https://c2sp.org/signed-note),
//! [tlog-checkpoint](https://c2sp.org/tlog-checkpoint), [tlog-tiles](https://c2sp.org/tlog-tiles),
//! [tlog-cosignature](https://c2sp.org/tlog-cosignature) and
//! [tlog-proof](https://c2sp.org/tlog-proof), each at version 1.

#![forbid(unsafe_code)]
// No input may cause a panic. Only tests may panic.
#![cfg_attr(test, allow(clippy::arithmetic_side_effects, clippy::string_slice))]

pub mod checkpoint;
pub mod cosignature;
mod encoding;
pub mod hash;
pub mod key;
pub mod note;
pub mod signer;

pub use checkpoint::Checkpoint;
pub use cosignature::Cosigner;
pub use hash::{Hash, TreeHead, leaf_hash};
pub use key::VerifierKey;
pub use note::Note;
pub use signer::NoteSigner;
