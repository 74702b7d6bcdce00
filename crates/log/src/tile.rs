//! Tiles: runs of up to 256 hashes of a tree, in which the tree is stored and published.

use std::collections::HashMap;
use std::fmt;
use std::hash::BuildHasher;
use std::str::FromStr;

use crate::encoding;
use crate::hash::{HASH_OCTETS, MAX_SIZE};

/// The number of hashes in a full tile.
pub const FULL_WIDTH: u16 = 256;

/// The length of a full tile in octets.
pub(crate) const FULL_OCTETS: usize = FULL_WIDTH as usize * HASH_OCTETS;

/// The number of levels of tiles that a tree of [`MAX_SIZE`] leaves has.
pub(crate) const LEVELS: usize = 7;

/// The height of a tile: each level has one hash for each full tile of the level below.
pub(crate) const HEIGHT: u8 = 8;

/// The bits of a number of hashes that count those in the last, partial tile.
const LAST: u64 = FULL_WIDTH as u64 - 1;

/// The place of a tile in a tree, and its width.
///
/// Its text is the path below a log's prefix, such as `tile/0/x001/x234/067` or `tile/1/000.p/17`.
///
/// Source: [tlog-tiles, Merkle tree](https://c2sp.org/tlog-tiles#merkle-tree).
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct TileId {
    level: u8,
    number: u64,
    width: u16,
}

/// A tile with its hashes.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tile {
    /// The place and the width.
    pub id: TileId,
    /// As many hashes as the width says, one after the other.
    pub hashes: Vec<u8>,
}

/// Tiles that the caller fetched. They need not be trusted: proofs check them.
pub trait TileSource {
    /// The hashes of this tile. `None`: not fetched.
    fn tile(&self, id: TileId) -> Option<&[u8]>;
}

/// The reason why a path was refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the path is not one of a tile")]
pub struct TilePathError;

/// The reason why a tile could not be read.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TileError {
    /// The source has neither this tile nor the full tile in its place.
    #[error("tile {0} is missing")]
    Missing(TileId),
    /// The tile has not as many octets as its width says.
    #[error("tile {0} has the wrong length")]
    Length(TileId),
}

impl TileId {
    /// Makes the place of a tile. `level` is at most 63; `width` is 1 to [`FULL_WIDTH`] hashes.
    /// Returns `None` for other values.
    pub fn new(level: u8, number: u64, width: u16) -> Option<Self> {
        let is_valid = level < 64 && (1..=FULL_WIDTH).contains(&width);
        is_valid.then_some(Self { level, number, width })
    }

    /// The level: 0 for tiles of leaf hashes.
    pub fn level(self) -> u8 {
        self.level
    }

    /// The index within the level.
    pub fn number(self) -> u64 {
        self.number
    }

    /// The number of hashes.
    pub fn width(self) -> u16 {
        self.width
    }

    /// Whether the tile has as many hashes as a tile can have.
    pub fn is_full(self) -> bool {
        self.width == FULL_WIDTH
    }

    /// The full tile in the same place.
    pub fn full(self) -> Self {
        Self { width: FULL_WIDTH, ..self }
    }

    /// The length in octets.
    pub fn octets(self) -> usize {
        usize::from(self.width).saturating_mul(HASH_OCTETS)
    }

    /// The partial tiles of a tree of `size` leaves, by level. They determine the root hash and the
    /// further growth of the tree. Returns `None` for a size above [`MAX_SIZE`].
    pub fn edges(size: u64) -> Option<Vec<Self>> {
        if size > MAX_SIZE {
            return None;
        }
        let mut edges = Vec::new();
        let mut hashes = size;
        for level in 0.. {
            if hashes == 0 {
                break;
            }
            let width = u16::try_from(hashes & LAST).ok()?;
            hashes >>= HEIGHT;
            edges.extend(Self::new(level, hashes, width));
        }
        Some(edges)
    }
}

impl fmt::Display for TileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut number = format!("{:03}", self.number % 1000);
        let mut rest = self.number / 1000;
        while rest > 0 {
            number = format!("x{:03}/{number}", rest % 1000);
            rest /= 1000;
        }
        write!(f, "tile/{}/{number}", self.level)?;
        if self.is_full() { Ok(()) } else { write!(f, ".p/{}", self.width) }
    }
}

impl FromStr for TileId {
    type Err = TilePathError;

    fn from_str(path: &str) -> Result<Self, TilePathError> {
        let parse = || {
            let (level, rest) = path.strip_prefix("tile/")?.split_once('/')?;
            let level = encoding::decimal(level)?.try_into().ok()?;
            let (digits, width) = match rest.split_once(".p/") {
                Some((digits, width)) => (digits, encoding::decimal(width)?.try_into().ok()?),
                None => (rest, FULL_WIDTH),
            };
            let mut number = 0_u64;
            for group in digits.split('/') {
                let group: u64 = group.strip_prefix('x').unwrap_or(group).parse().ok()?;
                number = number.checked_mul(1000)?.checked_add(group)?;
            }
            let tile = Self::new(level, number, width)?;
            // Only the canonical path is accepted; that of a full tile names no width.
            (tile.to_string() == path).then_some(tile)
        };
        parse().ok_or(TilePathError)
    }
}

impl<S: BuildHasher> TileSource for HashMap<TileId, Vec<u8>, S> {
    fn tile(&self, id: TileId) -> Option<&[u8]> {
        self.get(&id).map(Vec::as_slice)
    }
}

/// Reads a tile. If it is missing, its hashes are taken from the full tile in its place: a log may
/// delete a partial tile once the full one exists.
pub(crate) fn read(source: &impl TileSource, id: TileId) -> Result<&[u8], TileError> {
    if let Some(hashes) = source.tile(id) {
        return if hashes.len() == id.octets() { Ok(hashes) } else { Err(TileError::Length(id)) };
    }
    let full = source.tile(id.full()).ok_or(TileError::Missing(id))?;
    if full.len() != FULL_OCTETS {
        return Err(TileError::Length(id.full()));
    }
    full.get(..id.octets()).ok_or_else(|| TileError::Length(id.full()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_prints_the_same_path() {
        for (level, number, width, path) in [
            (0, 0, 256, "tile/0/000"),
            (0, 999, 1, "tile/0/999.p/1"),
            (0, 1000, 255, "tile/0/x001/000.p/255"),
            (1, 1_234_067, 256, "tile/1/x001/x234/067"),
            (63, u64::MAX, 17, "tile/63/x018/x446/x744/x073/x709/x551/615.p/17"),
        ] {
            let tile = TileId::new(level, number, width).unwrap();
            assert_eq!(tile.to_string(), path);
            assert_eq!(path.parse(), Ok(tile));
        }
    }

    #[test]
    fn refuses_all_other_paths() {
        for path in [
            "",
            "tile",
            "tile/0",
            "tile/0/",
            "tile/0/0",
            "tile/0/0000",
            "tile/0/x000/000",
            "tile/0/001/000",
            "tile/0/x1/000",
            "tile/0/x001",
            "tile/0/+01",
            "tile/0/xx001/000",
            "tile/0/000/",
            "tile/0/000.p",
            "tile/0/000.p/",
            "tile/0/000.p/0",
            "tile/0/000.p/01",
            "tile/0/000.p/256",
            "tile/0/000.p/257",
            "tile/0/000.p/65537",
            "tile/0/000.p/1.p/1",
            "tile/00/000",
            "tile/64/000",
            "tile/256/000",
            "tile/-1/000",
            "tile/entries/000",
            "/tile/0/000",
            "tile/0/x018/x446/x744/x073/x709/x551/616",
        ] {
            assert_eq!(path.parse::<TileId>(), Err(TilePathError), "{path}");
        }
        for (level, width) in [(64, 1), (0, 0), (0, 257)] {
            assert_eq!(TileId::new(level, 0, width), None);
        }
    }

    #[test]
    fn names_the_partial_tiles_of_a_size() {
        let edges = |size| {
            let edges = TileId::edges(size)?;
            Some(edges.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "))
        };
        for (size, expected) in [
            (0, ""),
            (1, "tile/0/000.p/1"),
            (256, "tile/1/000.p/1"),
            (257, "tile/0/001.p/1 tile/1/000.p/1"),
            (70_000, "tile/0/273.p/112 tile/1/001.p/17 tile/2/000.p/1"),
        ] {
            assert_eq!(edges(size).as_deref(), Some(expected), "{size}");
        }
        assert_eq!(TileId::edges(MAX_SIZE).map(|edges| edges.len()), Some(LEVELS));
        assert_eq!(edges(MAX_SIZE + 1), None);
    }

    #[test]
    fn reads_a_partial_tile_from_the_full_one() {
        let id = TileId::new(0, 3, 2).unwrap();
        let full: Vec<u8> = (0..FULL_OCTETS).map(|at| (at / HASH_OCTETS) as u8).collect();
        let mut source = HashMap::new();
        assert_eq!(read(&source, id), Err(TileError::Missing(id)));
        source.insert(id.full(), full.clone());
        assert_eq!(read(&source, id), Ok(&full[..64]));
        source.insert(id, vec![9; 64]);
        assert_eq!(read(&source, id), Ok([9; 64].as_slice()));
        source.insert(id, vec![9; 63]);
        assert_eq!(read(&source, id), Err(TileError::Length(id)));
        source.remove(&id);
        source.insert(id.full(), full[..64].to_vec());
        assert_eq!(read(&source, id), Err(TileError::Length(id.full())));
    }
}
