//! The log of the audit trail: a transparency log (RFC 6962) whose checkpoints the issuer signs.
//!
//! An entry is durable in the transaction of the act that it records. The [`Sequencer`] then hashes it
//! into the log, within a second.

pub mod check;
pub mod prove;
pub mod sequencer;
pub mod stored;

/// The name of the checkpoint below the log's path (C2SP tlog-tiles).
pub const CHECKPOINT: &str = "checkpoint";

pub use sequencer::{Extended, LogError, Sequencer, origin};
