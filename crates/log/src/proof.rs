//! Inclusion proofs and consistency proofs (RFC 6962 §2.1.1 and §2.1.2), made from tiles.
//!
//! To make a proof, a caller fetches the tiles that [`inclusion_tiles`] or [`consistency_tiles`]
//! names, and passes them on. The tiles need not be trusted: each proof is checked against the root
//! hash before it is returned.

use std::cell::{Cell, RefCell};

use tlog_tiles::tile as tlog_tile;
use tlog_tiles::tlog::{self, HashReader};

use crate::hash::{Hash, MAX_SIZE, TreeHead};
use crate::tile::{self, HEIGHT, TileError, TileId, TileSource};

/// The most hashes that a proof may have. Every tree of up to [`MAX_SIZE`] leaves needs fewer.
pub const MAX_HASHES: usize = 64;

/// The reason why a proof could not be made, or was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ProofError {
    /// A size is above [`MAX_SIZE`].
    #[error("the tree is too large")]
    TooLarge,
    /// The tree has no leaf with this index.
    #[error("the index is not below the size of the tree")]
    Index,
    /// The old tree has no leaves. Every tree is consistent with it, so that a proof says nothing.
    #[error("the old tree has no leaves")]
    EmptyTree,
    /// The old tree has more leaves than the new one.
    #[error("the old tree is larger than the new one")]
    Shrunk,
    /// A tile is missing or has the wrong length.
    #[error("a tile that the proof needs cannot be read")]
    Tile(#[source] TileError),
    /// The tiles are not those of the tree.
    #[error("the tiles do not belong to the tree")]
    TilesDiffer,
    /// The proof does not show what it should.
    #[error("the proof is not valid")]
    Invalid,
}

/// Names the tiles that [`prove_inclusion`] reads.
///
/// # Errors
///
/// [`ProofError::TooLarge`], [`ProofError::Index`].
pub fn inclusion_tiles(index: u64, size: u64) -> Result<Vec<TileId>, ProofError> {
    check_index(index, size)?;
    Recorder::tiles(size, |reader| inclusion(index, size, reader))
}

/// Makes the proof that the leaf at `index` is in the tree: the hashes from the leaf's sibling up to
/// the root's child.
///
/// # Errors
///
/// [`ProofError::TooLarge`], [`ProofError::Index`], [`ProofError::Tile`],
/// [`ProofError::TilesDiffer`].
///
/// Source: [RFC 6962 §2.1.1](https://www.rfc-editor.org/rfc/rfc6962#section-2.1.1).
pub fn prove_inclusion(
    index: u64,
    tree: TreeHead,
    source: &impl TileSource,
) -> Result<Vec<Hash>, ProofError> {
    check_index(index, tree.size)?;
    let read = Reader::read(tree.size, source, |reader| inclusion(index, tree.size, reader))?;
    // A proof that verifies needs no trust in the tiles that it was made from.
    let checked = check_inclusion(&read.proof, index, &read.known, tree);
    checked.map(|()| read.proof).map_err(|_| ProofError::TilesDiffer)
}

/// Checks the proof that the leaf with hash `leaf` has this index in the tree.
///
/// # Errors
///
/// [`ProofError::TooLarge`], [`ProofError::Index`], [`ProofError::Invalid`].
pub fn check_inclusion(
    proof: &[Hash],
    index: u64,
    leaf: &Hash,
    tree: TreeHead,
) -> Result<(), ProofError> {
    check_index(index, tree.size)?;
    let (root, leaf) = (tlog::Hash(tree.root), tlog::Hash(*leaf));
    tlog::check_record(&hashes(proof)?, tree.size, root, index, leaf)
        .map_err(|_| ProofError::Invalid)
}

/// Names the tiles that [`prove_consistency`] reads.
///
/// # Errors
///
/// [`ProofError::TooLarge`], [`ProofError::EmptyTree`], [`ProofError::Shrunk`].
pub fn consistency_tiles(old_size: u64, size: u64) -> Result<Vec<TileId>, ProofError> {
    check_sizes(old_size, size)?;
    Recorder::tiles(size, |reader| consistency(old_size, size, reader))
}

/// Makes the proof that the first `old_size` leaves of the tree are those of the older tree.
///
/// # Errors
///
/// [`ProofError::TooLarge`], [`ProofError::EmptyTree`], [`ProofError::Shrunk`],
/// [`ProofError::Tile`], [`ProofError::TilesDiffer`].
///
/// Source: [RFC 6962 §2.1.2](https://www.rfc-editor.org/rfc/rfc6962#section-2.1.2).
pub fn prove_consistency(
    old_size: u64,
    tree: TreeHead,
    source: &impl TileSource,
) -> Result<Vec<Hash>, ProofError> {
    check_sizes(old_size, tree.size)?;
    let read = Reader::read(tree.size, source, |reader| consistency(old_size, tree.size, reader))?;
    let old = TreeHead { size: old_size, root: read.known };
    let checked = check_consistency(&read.proof, old, tree);
    checked.map(|()| read.proof).map_err(|_| ProofError::TilesDiffer)
}

/// Checks the proof that `tree` begins with all leaves of `old`. For two trees of one size the proof
/// is empty and the root hashes are equal.
///
/// # Errors
///
/// [`ProofError::TooLarge`], [`ProofError::EmptyTree`], [`ProofError::Shrunk`],
/// [`ProofError::Invalid`].
pub fn check_consistency(proof: &[Hash], old: TreeHead, tree: TreeHead) -> Result<(), ProofError> {
    check_sizes(old.size, tree.size)?;
    let (root, old_root) = (tlog::Hash(tree.root), tlog::Hash(old.root));
    tlog::check_tree(&hashes(proof)?, tree.size, root, old.size, old_root)
        .map_err(|_| ProofError::Invalid)
}

fn check_index(index: u64, size: u64) -> Result<(), ProofError> {
    match size {
        _ if size > MAX_SIZE => Err(ProofError::TooLarge),
        _ if index >= size => Err(ProofError::Index),
        _ => Ok(()),
    }
}

fn check_sizes(old: u64, new: u64) -> Result<(), ProofError> {
    match (old, new) {
        _ if old > new => Err(ProofError::Shrunk),
        _ if new > MAX_SIZE => Err(ProofError::TooLarge),
        (0, _) => Err(ProofError::EmptyTree),
        _ => Ok(()),
    }
}

/// The hashes of a proof, of which there are not too many.
fn hashes(proof: &[Hash]) -> Result<Vec<tlog::Hash>, ProofError> {
    if proof.len() > MAX_HASHES {
        return Err(ProofError::Invalid);
    }
    Ok(proof.iter().map(|hash| tlog::Hash(*hash)).collect())
}

/// An inclusion proof, and the hash of its leaf.
fn inclusion(index: u64, size: u64, reader: &impl HashReader) -> Result<Unchecked, tlog::Error> {
    let proof = tlog::prove_record(size, index, reader)?;
    let leaf = reader.read_hashes(&[tlog::stored_hash_index(0, index)])?;
    let known = leaf.first().ok_or(tlog::Error::BadMath)?.0;
    Ok(Unchecked { proof: proof.iter().map(|hash| hash.0).collect(), known })
}

/// A consistency proof, and the root hash of the old tree.
fn consistency(old: u64, size: u64, reader: &impl HashReader) -> Result<Unchecked, tlog::Error> {
    let proof = tlog::prove_tree(size, old, reader)?;
    let known = tlog::tree_hash(old, reader)?.0;
    Ok(Unchecked { proof: proof.iter().map(|hash| hash.0).collect(), known })
}

/// A proof from tiles that were not checked, and the hash that a reader of the proof knows.
struct Unchecked {
    proof: Vec<Hash>,
    known: Hash,
}

/// Records the tiles that a proof reads.
struct Recorder {
    size: u64,
    tiles: RefCell<Vec<TileId>>,
}

impl Recorder {
    /// The tiles that `prove` reads, in order.
    fn tiles(
        size: u64,
        prove: impl FnOnce(&Self) -> Result<Unchecked, tlog::Error>,
    ) -> Result<Vec<TileId>, ProofError> {
        let recorder = Self { size, tiles: RefCell::default() };
        prove(&recorder).map_err(|_| ProofError::TooLarge)?;
        let mut tiles = recorder.tiles.into_inner();
        tiles.sort_unstable();
        tiles.dedup();
        Ok(tiles)
    }
}

impl HashReader for Recorder {
    /// Returns zeros: which tiles are read does not depend on their hashes.
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
        for index in indexes {
            self.tiles.borrow_mut().push(place(*index, self.size)?.1);
        }
        Ok(vec![tlog::Hash::default(); indexes.len()])
    }
}

/// Reads tiles from a source, and keeps the first error.
///
/// It does not check the tiles, and takes the place of `tlog_tiles::TileHashReader`. That one
/// does not compare every tile with the root; the callers here check the finished proof.
struct Reader<'s, S> {
    size: u64,
    source: &'s S,
    error: Cell<Option<TileError>>,
}

impl<'s, S: TileSource> Reader<'s, S> {
    /// Reads a proof from the tiles of a tree.
    fn read(
        size: u64,
        source: &'s S,
        prove: impl FnOnce(&Self) -> Result<Unchecked, tlog::Error>,
    ) -> Result<Unchecked, ProofError> {
        let reader = Self { size, source, error: Cell::new(None) };
        let proof = prove(&reader);
        proof.map_err(|_| reader.error.get().map_or(ProofError::TilesDiffer, ProofError::Tile))
    }
}

impl<S: TileSource> HashReader for Reader<'_, S> {
    fn read_hashes(&self, indexes: &[u64]) -> Result<Vec<tlog::Hash>, tlog::Error> {
        let read = indexes.iter().map(|index| {
            let (tile, id) = place(*index, self.size)?;
            let hashes = tile::read(self.source, id).map_err(|error| {
                self.error.set(Some(error));
                tlog::Error::InvalidTile
            })?;
            tile.hash_at_index(hashes, *index)
        });
        read.collect()
    }
}

/// The tile of a tree of `size` leaves that has the hash with this index, or hashes below it.
fn place(index: u64, size: u64) -> Result<(tlog_tile::Tile, TileId), tlog::Error> {
    let tile = tlog_tile::Tile::from_index(HEIGHT, index).parent(0, size);
    let tile = tile.ok_or(tlog::Error::IndexesNotInTree)?;
    let width = tile.width().try_into().map_err(|_| tlog::Error::InvalidTile)?;
    let id = TileId::new(tile.level(), tile.level_index(), width);
    Ok((tile, id.ok_or(tlog::Error::InvalidTile)?))
}
