//! The log as the storage keeps it.

use edgepass_log::Tile;

/// The log of the audit trail. It has no `Debug`, since it carries a sealed key.
#[derive(Clone)]
pub struct StoredLog {
    /// The first line of its checkpoints, and the name of its key: the issuer identifier without its
    /// scheme, a slash, and the path.
    pub origin: String,
    /// The path below the issuer's base URI at which the log is published, without slashes around it.
    pub path: String,
    /// The Ed25519 key that verifies its checkpoints.
    pub public_key: Vec<u8>,
    /// The private half, sealed under the master key and the origin.
    pub sealed: Vec<u8>,
    /// Number of entries that the checkpoint covers. 0: there is no checkpoint.
    pub size: u64,
    /// The signed checkpoint (C2SP tlog-checkpoint). Empty before the first.
    pub checkpoint: String,
}

/// What a new checkpoint changes.
#[derive(Clone, Debug)]
pub struct LogExtension {
    /// The origin of the log that is extended.
    pub origin: String,
    /// Its size before.
    pub from: u64,
    /// Its size now.
    pub size: u64,
    /// The tiles that are new or have more hashes than before.
    pub tiles: Vec<Tile>,
    /// The signed checkpoint.
    pub checkpoint: String,
}
