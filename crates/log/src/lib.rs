//! The audit log as a transparency log: a Merkle tree that only grows (RFC 6962 §2.1), with SHA-256.
//!
//! The issuer keeps a [`Frontier`], appends the hash of each entry, and stores the [`Tile`]s that
//! changed. It signs a [`Checkpoint`] of each size that it publishes. A witness checks that a new
//! checkpoint is consistent with the last one that it saw, and cosigns it. A reader checks a
//! [`LogProof`].
//!
//! This crate does no I/O. Its functions name the tiles that they need, and read them from a
//! [`TileSource`].
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
pub mod log_proof;
pub mod note;
pub mod proof;
pub mod signer;
pub mod tile;
pub mod tree;

pub use checkpoint::Checkpoint;
pub use cosignature::Cosigner;
pub use hash::{Hash, TreeHead, leaf_hash};
pub use key::VerifierKey;
pub use log_proof::LogProof;
pub use note::Note;
pub use signer::NoteSigner;
pub use tile::{Tile, TileId, TileSource};
pub use tree::Frontier;
