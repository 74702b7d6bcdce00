//! Checks the whole audit trail against its log.

use edgepass_log::{Frontier, TileId, TreeHead, leaf_hash};

use super::stored::StoredLog;
use crate::audit::Act;
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
    /// The time by which the entry is selected is not the one that the entry has.
    #[error("the time of entry {0} was changed: lists of a span of time may lack it")]
    Time(u64),
    /// The personal values of the entry are gone, and no entry says that they were erased.
    #[error("the personal values of entry {0} are gone, and no entry says that they were erased")]
    Erased(u64),
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
    /// Two checkpoints from elsewhere, of as many entries, differ: the log showed different entries to
    /// different people.
    #[error(
        "two checkpoints of {0} entries from elsewhere differ: the log was shown in two versions"
    )]
    SplitView(u64),
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
    let is_split = |one: &&TreeHead| {
        elsewhere.iter().any(|other| other.size == one.size && other.root != one.root)
    };
    if let Some(one) = elsewhere.iter().find(is_split) {
        return Ok(Checked { damage: Some(Damage::SplitView(one.size)), ..checked });
    }
    loop {
        let leaves = store.leaves(checked.entries, BATCH).await?;
        if leaves.is_empty() {
            break;
        }
        for (position, leaf) in leaves {
            let next = checked.entries.saturating_add(1);
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
    checked.erased = u64::try_from(trail.erased.len()).unwrap_or(u64::MAX);
    let entries = checked.entries;
    let behind = elsewhere.iter().map(|other| other.size).find(|size| *size > entries);
    checked.damage = if log.size > entries {
        Some(Damage::Missing(entries.saturating_add(1)))
    } else if trail.at_checkpoint.unwrap_or(TreeHead::EMPTY) != head {
        Some(Damage::Root)
    } else if let Some(size) = behind {
        Some(Damage::Behind { size, entries })
    } else if let Some(position) = trail.unexplained() {
        Some(Damage::Erased(position))
    } else {
        trail.copy(store).await?
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
    /// The positions of entries without personal values.
    erased: Vec<u64>,
    /// The first and last positions that entries say were erased.
    explained: Vec<(u64, u64)>,
}

impl Trail {
    /// Adds an entry. Returns what is wrong with it.
    fn add(&mut self, position: u64, leaf: &Leaf) -> Option<Damage> {
        match leaf.entry() {
            Ok(entry) if entry.at_ms != leaf.at_ms => return Some(Damage::Time(position)),
            Ok(entry) => {
                if let Act::PersonalErased { positions, .. } = entry.act {
                    self.explained.extend(positions);
                }
            }
            Err(LeafError::Changed) => return Some(Damage::Personal(position)),
            Err(LeafError::NotReadable(_)) => return Some(Damage::NotReadable(position)),
        }
        if leaf.private.is_none() {
            self.erased.push(position);
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

    /// The first entry whose personal values are gone without an entry that says so.
    fn unexplained(&mut self) -> Option<u64> {
        self.explained.sort_unstable();
        let mut ranges = self.explained.iter().peekable();
        let mut explained_to = 0;
        self.erased.iter().copied().find(|position| {
            while let Some((_, last)) = ranges.next_if(|(first, _)| first <= position) {
                explained_to = explained_to.max(*last);
            }
            explained_to < *position
        })
    }

    /// An entry that is the copy of another. Two entries of the issuer differ in their salts.
    async fn copy(&mut self, store: &impl LogStore) -> Result<Option<Damage>, StoreError> {
        self.starts.sort_unstable();
        let pairs = self.starts.windows(2).filter_map(|pair| match pair {
            [(one, of), (other, copy)] if one == other => Some((*copy, *of)),
            _ => None,
        });
        let mut pairs: Vec<(u64, u64)> = pairs.collect();
        pairs.sort_unstable();
        for (copy, of) in pairs {
            let mut texts = Vec::with_capacity(2);
            for position in [copy, of] {
                let leaves = store.leaves(position.saturating_sub(1), 1).await?;
                texts.extend(leaves.into_iter().map(|(_, leaf)| leaf.text));
            }
            if let [one, other] = texts.as_slice()
                && one == other
            {
                return Ok(Some(Damage::Copy { copy, of }));
            }
        }
        Ok(None)
    }
}
