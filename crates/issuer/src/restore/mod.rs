//! What follows when a backup of the database is put back: no index of an old list is used again, and no
//! status that a target still shows is taken back.
//!
//! The host reads each target with [`shown::Shown::read`], makes a [`Restoration`] of the backup's keys
//! and of what the targets show, and records it with [`RestoreStore::record_restoration`], before anything
//! else uses the database.

mod keys;
mod lists;
pub mod shown;

use std::collections::BTreeSet;
use std::future::Future;

use edgepass_status_list::{Bits, StatusType};
use edgepass_verify::UnixMillis;

use self::shown::Shown;
use crate::audit::{Act, AuditEntry};
use crate::entropy::{Entropy, NoEntropy};
use crate::list_id::Epoch;
use crate::signing_key::{KeyError, KeyState, SealedKey, SigningAlgorithm};
use crate::storage::{KeyChange, StoreError, StoredKeys};
use crate::vault::{DeviceError, Vault};

/// A storage that can continue from a backup.
pub trait RestoreStore: Send + Sync + 'static {
    /// Carries out a restoration in one transaction with its audit entry: closes every list for new indices,
    /// raises every `number` by [`NUMBER_GAP`] at least, adopts the lists and statuses that were published, changes
    /// the keys, and lets the names of later lists contain the epoch. `None`: nothing was recorded, since the
    /// keys are no longer those of [`KeyChange::seen`].
    fn record_restoration(
        &self,
        restoration: &Restoration,
    ) -> impl Future<Output = Result<Option<Adopted>, StoreError>> + Send;
}

/// What a backup needs before it is used, to be recorded.
#[derive(Clone, Debug)]
pub struct Restoration {
    /// The epoch in the names of lists that are opened from then on.
    pub epoch: Epoch,
    /// The keys that were withdrawn since the backup, those that are lost with it, as withdrawn ones, and
    /// new ones if none is left that may sign. [`KeyChange::now`] is later than the `iat` of every published
    /// JWK Set.
    pub keys: KeyChange,
    /// The lists at the targets that have not retired.
    pub lists: Vec<PublishedList>,
    /// The targets of which not everything could be read.
    pub unread: Vec<String>,
    /// The actor, as in [`AuditEntry::actor`].
    pub actor: String,
    /// The number of the policy version in use.
    pub policy: u64,
    /// The time of the restoration.
    pub at: UnixMillis,
}

/// A list as the targets show it.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PublishedList {
    /// Name of the list.
    pub id: String,
    /// End of the list's window, in seconds.
    pub window_end: u64,
    /// The number of indices, rounded up to whole bytes.
    pub capacity: u32,
    /// The bits of a status.
    pub bits: Bits,
    /// The claim `number`, the largest that a target shows.
    pub number: u64,
    /// The claim `iat`, in seconds, the latest that a target shows.
    pub issued_at: u64,
    /// Index and status of each token that is not valid, by index.
    pub statuses: Vec<(u32, StatusType)>,
}

/// What a restoration took over from the targets.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Adopted {
    /// Number of lists that are not in the backup.
    pub lists: u64,
    /// Number of revoked or suspended statuses that are not in the backup.
    pub statuses: u64,
}

/// The reason why a restoration could not be made.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The host provides no randomness.
    #[error("no epoch could be drawn")]
    Entropy(#[from] NoEntropy),
    /// A stored key does not open. Holds its `kid`.
    #[error(
        "key {0} does not open; use the master key of the time of the backup, and change it with \
         `edgepass keys rewrap` afterwards"
    )]
    Sealed(String, #[source] KeyError),
    /// A key in a device does not open, or a key could not be made.
    #[error("the keys cannot be used")]
    Key(#[from] KeyError),
}

/// By whom, when and with which keys a backup is restored.
pub struct Restorer<'r> {
    /// The master key, and the device that holds keys.
    pub vault: &'r Vault,
    /// The algorithm of keys that are made.
    pub algorithm: SigningAlgorithm,
    /// The actor, as in [`AuditEntry::actor`].
    pub actor: String,
    /// The number of the policy version in use.
    pub policy: u64,
    /// The time.
    pub at: UnixMillis,
}

impl Restoration {
    /// Decides what a backup needs. `stored` are the keys of the backup.
    ///
    /// # Errors
    ///
    /// [`RestoreError`].
    pub fn plan(
        stored: &StoredKeys,
        shown: &[Shown],
        by: Restorer<'_>,
        entropy: &mut impl Entropy,
    ) -> Result<Self, RestoreError> {
        let destroyed = destroyed(stored, by.vault)?;
        let seconds = by.at.numeric_date().seconds();
        let epoch = Epoch::draw(entropy)?;
        let sets = shown.iter().filter_map(|target| target.set.as_ref());
        let mut make =
            |state| SealedKey::generate(by.algorithm, state, by.vault, &mut *entropy, seconds);
        let keys = keys::change(stored, destroyed, sets, &mut make, seconds)?;
        let unread = shown.iter().filter(|target| target.problem.is_some());
        Ok(Self {
            epoch,
            keys,
            lists: lists::merged(shown),
            unread: unread.map(|target| target.target.clone()).collect(),
            actor: by.actor,
            policy: by.policy,
            at: by.at,
        })
    }

    /// `kid` of each key that is withdrawn or lost.
    pub fn withdrawn(&self) -> impl Iterator<Item = &str> {
        let states = self.keys.states.iter().map(|(key_id, state, _)| (key_id, *state));
        let new = self.keys.new.iter().map(|key| (&key.key_id, key.state));
        let gone = states.chain(new).filter(|(_, state)| *state == KeyState::Withdrawn);
        gone.map(|(key_id, _)| key_id.as_str())
    }

    /// The audit entry.
    pub fn entry(&self, adopted: Adopted) -> AuditEntry {
        let act = Act::DatabaseRestored {
            epoch: self.epoch.to_string(),
            lists: adopted.lists,
            statuses: adopted.statuses,
            key_ids: self.withdrawn().map(str::to_owned).collect(),
            unread: self.unread.clone(),
        };
        let policy = Some(self.policy);
        AuditEntry { at_ms: self.at.0, actor: self.actor.clone(), policy, act }
    }
}

/// Opens every key. Returns `kid` of those that the device does not hold any more: they were withdrawn since the
/// backup.
fn destroyed(stored: &StoredKeys, vault: &Vault) -> Result<BTreeSet<String>, RestoreError> {
    let mut destroyed = BTreeSet::new();
    for key in stored.published() {
        match key.open(vault) {
            Ok(_) => {}
            Err(KeyError::Device(DeviceError::NoKey)) => {
                destroyed.insert(key.key_id.clone());
            }
            Err(error @ KeyError::Device(_)) => return Err(error.into()),
            Err(error) => return Err(RestoreError::Sealed(key.key_id.clone(), error)),
        }
    }
    Ok(destroyed)
}

/// By how much a restoration raises the `number` of every list at least; at least to the time in
/// milliseconds. A list has fewer editions: one for each 50 ms of two days. So later editions are newer than
/// every one that a verifier may hold, also if no target shows it, and also if the same backup is restored
/// again.
pub const NUMBER_GAP: u64 = 1 << 22;

#[cfg(test)]
mod tests;
