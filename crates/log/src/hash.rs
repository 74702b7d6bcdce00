//! Merkle tree hashes (RFC 6962 §2.1), and the head of a tree.

use tlog_tiles::tlog;

/// An output of SHA-256: the hash of a leaf, of a node or of a whole tree.
pub type Hash = [u8; HASH_OCTETS];

/// The length of a hash in octets.
pub const HASH_OCTETS: usize = 32;

/// The root hash of the tree without leaves: the SHA-256 of no octets.
pub const EMPTY_ROOT: Hash = tlog::EMPTY_HASH.0;

/// The most leaves that a tree may have. Such a tree has seven levels of tiles.
pub const MAX_SIZE: u64 = (1 << 56) - 1;

/// The size and the root hash of a tree, which determine all of its leaves.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct TreeHead {
    /// The number of leaves.
    pub size: u64,
    /// The root hash.
    pub root: Hash,
}

impl TreeHead {
    /// The head of the tree without leaves.
    pub const EMPTY: Self = Self { size: 0, root: EMPTY_ROOT };
}

/// Computes the hash of a leaf from the octets of its entry.
///
/// Source: [RFC 6962 §2.1](https://www.rfc-editor.org/rfc/rfc6962#section-2.1).
pub fn leaf_hash(entry: &[u8]) -> Hash {
    tlog::record_hash(entry).0
}

/// Computes the hash of a node from those of its children.
///
/// Source: [RFC 6962 §2.1](https://www.rfc-editor.org/rfc/rfc6962#section-2.1).
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    tlog::node_hash(tlog::Hash(*left), tlog::Hash(*right)).0
}
