//! Proves from the stored tiles that an entry is in the log, and that the log continues an older one.

use std::collections::HashMap;

use edgepass_log::log_proof::LogProofError;
use edgepass_log::note::Note;
use edgepass_log::proof::{
    ProofError, check_consistency, consistency_tiles, inclusion_tiles, prove_consistency,
    prove_inclusion,
};
use edgepass_log::{Hash, LogProof, TileId, TreeHead};

use super::LogError;
use super::stored::StoredLog;
use crate::audit::leaf::Leaf;
use crate::audit::{Act, AuditEntry};
use crate::storage::{AuditStore, LogStore, Page, StoreError};

/// Those of the named tiles that are stored, by their place.
pub(crate) async fn read_tiles(
    store: &impl LogStore,
    ids: &[TileId],
) -> Result<HashMap<TileId, Vec<u8>>, StoreError> {
    let tiles = store.log_tiles(ids).await?;
    Ok(tiles.into_iter().map(|tile| (tile.id, tile.hashes)).collect())
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
    let tiles = read_tiles(store, &tiles).await?;
    let proof = prove_consistency(old.size, new, &tiles);
    Ok(proof.is_ok_and(|proof| check_consistency(&proof, old, new).is_ok()))
}

/// The position of the entry about the issue of a token. `None`: there is none.
///
/// # Errors
///
/// [`StoreError`].
pub async fn find_issue(store: &impl AuditStore, jwt_id: &str) -> Result<Option<u64>, StoreError> {
    let mut page = Page::first(true, SEARCHED);
    loop {
        let entries = store.audit(0, page).await?;
        let Some((last, _)) = entries.last() else { return Ok(None) };
        page.before = *last;
        let is_it = |entry: &AuditEntry| {
            matches!(&entry.act, Act::TokenIssued { jwt_id: own, .. } | Act::StatusAllotted { jwt_id: own, .. }
                if own == jwt_id)
        };
        if let Some((position, _)) = entries.iter().find(|(_, entry)| is_it(entry)) {
            return Ok(Some(*position));
        }
    }
}

/// Entries that are searched at once.
const SEARCHED: u32 = 1000;

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
    /// The entry is longer than the extra data of a proof may be.
    #[error("the entry is too long for a proof")]
    TooLong,
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
    let tiles = inclusion_tiles(index, tree.size).map_err(damaged)?;
    let tiles = read_tiles(store, &tiles).await?;
    let hashes: Vec<Hash> = prove_inclusion(index, tree, &tiles).map_err(damaged)?;
    let note = Note::parse(log.checkpoint.as_bytes()).map_err(|_| ProveError::Damaged)?;
    let proof = LogProof::new(index, hashes, note).and_then(|proof| {
        let key = log.key().map_err(|_| LogProofError::Malformed)?;
        proof.verify(leaf.text.as_bytes(), &key, &log.origin)?;
        proof.with_extra(leaf.text.clone().into_bytes())
    });
    let proof = proof.map_err(|error| match error {
        LogProofError::TooLarge => ProveError::TooLong,
        _ => ProveError::Damaged,
    })?;
    Ok((leaf, proof))
}
