//! Checks the whole audit trail against its log, and proves single entries.

use std::collections::HashMap;

use edgepass_log::log_proof::LogProofError;
use edgepass_log::note::Note;
use edgepass_log::proof::{
    ProofError, check_consistency, consistency_tiles, inclusion_tiles, prove_consistency,
    prove_inclusion,
};
use edgepass_log::{Frontier, Hash, LogProof, TileId, TreeHead, leaf_hash};

use super::LogError;
use super::stored::StoredLog;
use crate::audit::leaf::{Leaf, LeafError};
use crate::storage::{LogStore, StoreError};

/// What a check of the whole trail found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Checked {
    /// Number of entries in the trail.
    pub entries: u64,
    /// Number of entries that the newest checkpoint covers. The others are not in the log yet.
    pub logged: u64,
    /// Number of entries whose personal values were erased.
    pub erased: u64,
    /// The first thing that is wrong. `None`: the trail is whole.
    pub damage: Option<Damage>,
}

/// What is wrong. Positions count from 1.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Damage {
    /// There is no entry at this position, although there are later ones or the checkpoint covers it.
    #[error("entry {0} is missing")]
    Missing(u64),
    /// The entry is not the one that the log has the hash of.
    #[error("entry {0} is not the one that was logged: it was changed, moved or put there later")]
    Changed(u64),
    /// The entry cannot be read.
    #[error("entry {0} is not readable")]
    NotReadable(u64),
    /// The personal values of the entry are not those that the log has the hash of.
    #[error("the personal values of entry {0} were changed")]
    Personal(u64),
    /// The entry is a copy of an earlier one.
    #[error("entry {copy} is a copy of entry {of}")]
    Copy {
        /// The position of the copy.
        copy: u64,
        /// The position of the entry that it copies.
        of: u64,
    },
    /// The entries are those of the stored hashes, but a stored hash of several entries is another.
    #[error("a stored hash over several entries was changed")]
    Tiles,
    /// The entries are those of the stored hashes, but not those of the checkpoint.
    #[error(
        "the newest checkpoint is not one of these entries: entries and hashes were changed together"
    )]
    Root,
    /// The stored checkpoint is not validly signed.
    #[error("the newest checkpoint is not validly signed by the key of the log")]
    Checkpoint,
    /// A checkpoint from elsewhere covers more entries than the trail has.
    #[error(
        "the checkpoint from elsewhere covers {size} entries, and the trail has {entries}: the end was cut off, or an old copy put back"
    )]
    Behind {
        /// Entries that the checkpoint covers.
        size: u64,
        /// Entries of the trail.
        entries: u64,
    },
    /// A checkpoint from elsewhere is not one of these entries.
    #[error(
        "the checkpoint from elsewhere, of {0} entries, is not one of these entries: the trail was changed or made anew"
    )]
    Forked(u64),
}

/// Entries that are read at once.
const BATCH: u32 = 2048;

/// Reads every entry, and compares it with its hash in the log, the checkpoint and checkpoints that were
/// kept elsewhere. `progress` is called with the number of entries checked so far.
///
/// # Errors
///
/// [`StoreError`].
pub async fn check(
    store: &impl LogStore,
    log: &StoredLog,
    elsewhere: &[TreeHead],
    progress: impl Fn(u64),
) -> Result<Checked, StoreError> {
    let mut trail = Trail::default();
    let mut checked = Checked { entries: 0, logged: log.size, erased: 0, damage: None };
    let head = match log.head() {
        Ok(head) => head.tree(),
        Err(_) if log.size == 0 => TreeHead::EMPTY,
        Err(_) => return Ok(Checked { damage: Some(Damage::Checkpoint), ..checked }),
    };
    loop {
        let leaves = store.leaves(checked.entries, BATCH).await?;
        if leaves.is_empty() {
            break;
        }
        for (position, leaf) in leaves {
            let next = checked.entries.saturating_add(1);
            checked.erased = checked.erased.saturating_add(u64::from(leaf.private.is_none()));
            let damage =
                if position == next { trail.add(next, &leaf) } else { Some(Damage::Missing(next)) };
            if let Some(damage) = damage {
                return Ok(Checked { damage: Some(damage), ..checked });
            }
            checked.entries = next;
            let size = trail.frontier.size();
            if let Some(other) = elsewhere.iter().find(|other| other.size == size)
                && trail.frontier.tree() != *other
            {
                // An entry that differs from its own hash says more.
                let damage = trail.compare(store, log.size).await?.or(Some(Damage::Forked(size)));
                return Ok(Checked { damage, ..checked });
            }
            if size == log.size {
                trail.at_checkpoint = Some(trail.frontier.tree());
            }
        }
        let damage = trail.compare(store, log.size).await?;
        if damage.is_some() {
            return Ok(Checked { damage, ..checked });
        }
        progress(checked.entries);
    }
    let entries = checked.entries;
    let behind = elsewhere.iter().map(|other| other.size).find(|size| *size > entries);
    checked.damage = if log.size > entries {
        Some(Damage::Missing(entries.saturating_add(1)))
    } else if trail.at_checkpoint.unwrap_or(TreeHead::EMPTY) != head {
        Some(Damage::Root)
    } else if let Some(size) = behind {
        Some(Damage::Behind { size, entries })
    } else {
        trail.copy()
    };
    Ok(checked)
}

/// The entries that were read, hashed anew.
#[derive(Default)]
struct Trail {
    frontier: Frontier,
    /// The head of the tree where the checkpoint is.
    at_checkpoint: Option<TreeHead>,
    /// The start of each hash, with the position of its entry.
    starts: Vec<(u64, u64)>,
}

impl Trail {
    /// Adds an entry. Returns what is wrong with it.
    fn add(&mut self, position: u64, leaf: &Leaf) -> Option<Damage> {
        match leaf.entry() {
            Ok(_) => {}
            Err(LeafError::Changed) => return Some(Damage::Personal(position)),
            Err(LeafError::NotReadable(_)) => return Some(Damage::NotReadable(position)),
        }
        let hash = leaf_hash(leaf.text.as_bytes());
        if let Some(start) = hash.first_chunk() {
            self.starts.push((u64::from_be_bytes(*start), position));
        }
        // No trail is as long as a tree may be.
        let _ = self.frontier.append(hash);
        None
    }

    /// Compares the tiles that were made with the stored ones, as far as a log of `size` entries has
    /// them.
    async fn compare(
        &mut self,
        store: &impl LogStore,
        size: u64,
    ) -> Result<Option<Damage>, StoreError> {
        for made in self.frontier.take_changed() {
            // The number of hashes of this level in the log.
            let hashes = size.checked_shr(u32::from(made.id.level()).saturating_mul(8));
            let before = made.id.number().saturating_mul(256);
            let width = hashes.unwrap_or_default().saturating_sub(before);
            let width = u16::try_from(width).unwrap_or(u16::MAX).min(made.id.width());
            let Some(id) = TileId::new(made.id.level(), made.id.number(), width) else { continue };
            let stored = store.log_tiles(&[id]).await?;
            let stored = stored.first().map(|tile| tile.hashes.as_slice()).unwrap_or_default();
            let made_hashes = made.hashes.get(..id.octets()).unwrap_or_default();
            if stored != made_hashes {
                let same = made_hashes.chunks(32).zip(stored.chunks(32));
                let same = same.take_while(|(made, stored)| made == stored).count();
                let place = u64::try_from(same).unwrap_or_default();
                let position = before.saturating_add(place).saturating_add(1);
                return Ok(Some(match id.level() {
                    0 => Damage::Changed(position),
                    _ => Damage::Tiles,
                }));
            }
        }
        Ok(None)
    }

    /// An entry that is the copy of another. Two entries of the issuer differ in their salts.
    fn copy(&mut self) -> Option<Damage> {
        self.starts.sort_unstable();
        let pairs = self.starts.windows(2).filter_map(|pair| match pair {
            [(one, of), (other, copy)] if one == other => Some((*copy, *of)),
            _ => None,
        });
        pairs.min().map(|(copy, of)| Damage::Copy { copy, of })
    }
}

/// Whether the log begins with all entries of an older tree.
///
/// # Errors
///
/// [`LogError::Store`]; [`LogError::Key`] and [`LogError::Checkpoint`] if the stored log is not valid.
pub async fn continues(
    store: &impl LogStore,
    log: &StoredLog,
    old: TreeHead,
) -> Result<bool, LogError> {
    if old.size == 0 {
        return Ok(true);
    }
    if old.size > log.size {
        return Ok(false);
    }
    let new = log.head()?.tree();
    let Ok(tiles) = consistency_tiles(old.size, new.size) else { return Ok(false) };
    let tiles = store.log_tiles(&tiles).await?;
    let tiles: HashMap<TileId, Vec<u8>> =
        tiles.into_iter().map(|tile| (tile.id, tile.hashes)).collect();
    let proof = prove_consistency(old.size, new, &tiles);
    Ok(proof.is_ok_and(|proof| check_consistency(&proof, old, new).is_ok()))
}

/// The reason why an entry could not be proven.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ProveError {
    /// Storage failed.
    #[error("the audit trail could not be read")]
    Store(#[from] StoreError),
    /// The stored checkpoint or key is not valid.
    #[error("the log has no valid checkpoint")]
    Log(#[from] LogError),
    /// The newest checkpoint does not cover the entry.
    #[error("the entry is not in the log; `edgepass serve` logs new entries within a second")]
    NotLogged,
    /// The stored hashes are not those of the checkpoint, or the entry is not the one that was logged.
    #[error(
        "the entry and the stored hashes do not fit together; `edgepass audit verify` says more"
    )]
    Damaged,
}

/// Proves that the entry at a position, counted from 1, is in the log. Returns the text of the entry and
/// a proof that holds it as extra data.
///
/// # Errors
///
/// [`ProveError`].
pub async fn prove(
    store: &impl LogStore,
    log: &StoredLog,
    position: u64,
) -> Result<(Leaf, LogProof), ProveError> {
    let index = position.checked_sub(1).filter(|index| *index < log.size);
    let index = index.ok_or(ProveError::NotLogged)?;
    let found = store.leaves(index, 1).await?.into_iter().next();
    let (_, leaf) = found.filter(|(found, _)| *found == position).ok_or(ProveError::Damaged)?;
    let tree = log.head()?.tree();
    let damaged = |_: ProofError| ProveError::Damaged;
    let tiles = store.log_tiles(&inclusion_tiles(index, tree.size).map_err(damaged)?).await?;
    let tiles: HashMap<TileId, Vec<u8>> =
        tiles.into_iter().map(|tile| (tile.id, tile.hashes)).collect();
    let hashes: Vec<Hash> = prove_inclusion(index, tree, &tiles).map_err(damaged)?;
    let note = Note::parse(log.checkpoint.as_bytes()).map_err(|_| ProveError::Damaged)?;
    let proof = LogProof::new(index, hashes, note).and_then(|proof| {
        let key = log.key().map_err(|_| LogProofError::Malformed)?;
        proof.verify(leaf.text.as_bytes(), &key, &log.origin)?;
        proof.with_extra(leaf.text.clone().into_bytes())
    });
    Ok((leaf, proof.map_err(|_| ProveError::Damaged)?))
}
