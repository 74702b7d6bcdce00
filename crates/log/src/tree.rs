//! The growing tree: its right edge, to which leaves are appended.

use std::mem;

use crate::hash::{EMPTY_ROOT, Hash, MAX_SIZE, TreeHead, node_hash};
use crate::tile::{
    self, FULL_OCTETS, FULL_WIDTH, HEIGHT, LEVELS, Tile, TileError, TileId, TileSource,
};

/// The right edge of a tree: the size, and the partial tile of each level.
///
/// A `Frontier` also holds the tiles that changed since [`Frontier::take_changed`]: 8 KiB for every
/// 256 leaves, so the caller takes them often.
#[derive(Clone, Debug, Default)]
pub struct Frontier {
    size: u64,
    edges: [Edge; LEVELS],
    full: Vec<Tile>,
}

/// The partial tile of one level. It has fewer hashes than a full tile, or none.
#[derive(Clone, Debug, Default)]
struct Edge {
    hashes: Vec<u8>,
    changed: bool,
}

/// The tree has [`MAX_SIZE`] leaves.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the tree is full")]
pub struct TreeFull;

/// The reason why a stored tree could not be continued.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum FrontierError {
    /// The size is above [`MAX_SIZE`].
    #[error("the tree is too large")]
    TooLarge,
    /// A tile is missing or has the wrong length.
    #[error("a tile of the tree's right edge cannot be read")]
    Tile(#[source] TileError),
    /// The tiles have another root hash.
    #[error("the tiles do not have the root hash of the tree")]
    Root,
}

impl Frontier {
    /// The frontier of the tree without leaves.
    pub fn new() -> Self {
        Self::default()
    }

    /// Continues a tree from its stored tiles. It reads those that [`TileId::edges`] names.
    ///
    /// # Errors
    ///
    /// [`FrontierError`].
    pub fn at(tree: TreeHead, source: &impl TileSource) -> Result<Self, FrontierError> {
        let mut frontier = Self { size: tree.size, ..Self::default() };
        for id in TileId::edges(tree.size).ok_or(FrontierError::TooLarge)? {
            let hashes = tile::read(source, id).map_err(FrontierError::Tile)?;
            if let Some(edge) = frontier.edges.get_mut(usize::from(id.level())) {
                edge.hashes = hashes.to_vec();
            }
        }
        if frontier.root() == tree.root { Ok(frontier) } else { Err(FrontierError::Root) }
    }

    /// Appends a leaf by its [`leaf_hash`](crate::hash::leaf_hash). Returns its index.
    ///
    /// # Errors
    ///
    /// [`TreeFull`].
    pub fn append(&mut self, leaf: Hash) -> Result<u64, TreeFull> {
        let index = self.size;
        if index >= MAX_SIZE {
            return Err(TreeFull);
        }
        self.size = index.saturating_add(1);
        let mut hash = leaf;
        let mut number = index;
        for (level, edge) in (0..).zip(&mut self.edges) {
            number >>= HEIGHT;
            if edge.hashes.is_empty() {
                edge.hashes.reserve_exact(FULL_OCTETS);
            }
            edge.hashes.extend_from_slice(&hash);
            edge.changed = edge.hashes.len() < FULL_OCTETS;
            if edge.changed {
                break;
            }
            // The tile is full: its hash is the next one of the level above.
            let hashes = mem::take(&mut edge.hashes);
            hash = subtree(&hashes);
            let id = TileId::new(level, number, FULL_WIDTH);
            self.full.extend(id.map(|id| Tile { id, hashes }));
        }
        Ok(index)
    }

    /// Returns the tiles that changed since the last call, or since the frontier was made: all tiles
    /// that became full, then the partial tile of each level whose partial tile changed.
    pub fn take_changed(&mut self) -> Vec<Tile> {
        let mut tiles = mem::take(&mut self.full);
        for id in TileId::edges(self.size).unwrap_or_default() {
            let edge = self.edges.get_mut(usize::from(id.level()));
            if let Some(edge) = edge.filter(|edge| edge.changed) {
                edge.changed = false;
                tiles.push(Tile { id, hashes: edge.hashes.clone() });
            }
        }
        tiles
    }

    /// The number of leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Computes the size and the root hash.
    pub fn tree(&self) -> TreeHead {
        TreeHead { size: self.size, root: self.root() }
    }

    /// Computes the root hash.
    ///
    /// Source: [RFC 6962 §2.1](https://www.rfc-editor.org/rfc/rfc6962#section-2.1).
    fn root(&self) -> Hash {
        let mut root = None;
        for edge in &self.edges {
            // Complete subtrees, as large as possible, from right to left.
            let mut rest = edge.hashes.as_slice();
            while !rest.is_empty() {
                let smallest = 1_usize.checked_shl(rest.len().trailing_zeros()).unwrap_or(0);
                let (left, right) = rest.split_at(rest.len().saturating_sub(smallest));
                let left_of = |root| node_hash(&subtree(right), &root);
                root = Some(root.map_or_else(|| subtree(right), left_of));
                rest = left;
            }
        }
        root.unwrap_or(EMPTY_ROOT)
    }
}

impl Extend<Hash> for Frontier {
    /// Appends leaves by their hashes. A full tree ignores them.
    fn extend<I: IntoIterator<Item = Hash>>(&mut self, leaves: I) {
        for leaf in leaves {
            if self.append(leaf).is_err() {
                break;
            }
        }
    }
}

/// The hash of a complete subtree over these hashes, whose number is a power of two.
fn subtree(hashes: &[u8]) -> Hash {
    tlog_tiles::tile::Tile::subtree_hash(hashes).0
}
