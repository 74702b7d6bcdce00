//! A change of the master key: every private half that the old one seals is sealed with the new one.

use std::future::Future;

use crate::audit::AuditEntry;
use crate::log::stored::StoredLog;
use crate::seal::{MasterKey, SealError};
use crate::storage::{StoreError, StoredKeys};

/// A storage whose sealed keys can be replaced.
pub trait RewrapStore: Send + Sync + 'static {
    /// Replaces the sealed forms of signing keys, and of the audit log's key, in one transaction with its
    /// audit entry. `false`: nothing was changed, since the keys are no longer those of `seen`
    /// ([`StoredKeys::changed_at`]), or a key is not sealed as [`Rewrapped::from`] says.
    fn rewrap_keys(
        &self,
        seen: u64,
        keys: &[Rewrapped],
        log: Option<&Rewrapped>,
        entry: &AuditEntry,
    ) -> impl Future<Output = Result<bool, StoreError>> + Send;
}

/// A key whose sealed form is to be replaced.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rewrapped {
    /// The key's `kid`; of the audit log's key the origin of the log.
    pub key_id: String,
    /// The sealed form that the storage holds.
    pub from: Vec<u8>,
    /// The sealed form that replaces it.
    pub to: Vec<u8>,
}

impl Rewrapped {
    /// The change that undoes this one.
    #[must_use]
    pub fn reversed(&self) -> Self {
        Self { key_id: self.key_id.clone(), from: self.to.clone(), to: self.from.clone() }
    }
}

/// The reason why keys cannot be sealed with another master key.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RewrapError {
    /// The new master key is the present one.
    #[error("the new master key is the present one")]
    SameKey,
    /// Neither master key opens a key. Holds its `kid`.
    #[error("key {0} does not open")]
    Opens(String, #[source] SealError),
    /// A key could not be sealed. Holds its `kid`.
    #[error("key {0} cannot be sealed with the new master key")]
    Seals(String, #[source] SealError),
}

/// Seals the private halves with the master key `new` instead of `old`. Leaves out those that `new` opens
/// already, such as after an interrupted command, and those in a device. Changes nothing by itself.
///
/// # Errors
///
/// [`RewrapError`].
pub fn rewrap(
    stored: &StoredKeys,
    old: &MasterKey,
    new: &MasterKey,
) -> Result<Vec<Rewrapped>, RewrapError> {
    let keys = stored.published().filter(|key| key.device_uri().is_none());
    let keys = keys.filter_map(|key| sealed_again(&key.key_id, &key.sealed, old, new).transpose());
    keys.collect()
}

/// As [`rewrap`], for the key of the audit log.
///
/// # Errors
///
/// [`RewrapError`].
pub fn rewrap_log(
    log: &StoredLog,
    old: &MasterKey,
    new: &MasterKey,
) -> Result<Option<Rewrapped>, RewrapError> {
    sealed_again(&log.origin, &log.sealed, old, new)
}

/// The change of one key. `None`: `new` opens it already.
fn sealed_again(
    key_id: &str,
    from: &[u8],
    old: &MasterKey,
    new: &MasterKey,
) -> Result<Option<Rewrapped>, RewrapError> {
    let is_new = new.open(key_id, from).is_ok();
    match old.open(key_id, from) {
        Ok(_) if is_new => Err(RewrapError::SameKey),
        Err(_) if is_new => Ok(None),
        Err(error) => Err(RewrapError::Opens(key_id.to_owned(), error)),
        Ok(secret) => {
            let failed = |error| RewrapError::Seals(key_id.to_owned(), error);
            let to = new.seal(key_id, &secret).map_err(failed)?;
            if new.open(key_id, &to).map_err(failed)? != secret {
                return Err(failed(SealError::Failed));
            }
            Ok(Some(Rewrapped { key_id: key_id.to_owned(), from: from.to_vec(), to }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Counting;
    use crate::signing_key::{KeyState, SealedKey, SigningAlgorithm};

    #[test]
    fn every_sealed_key_opens_with_the_new_master_key_alone() {
        let old = || MasterKey::new([1; 32]);
        let new = MasterKey::new([2; 32]);
        let entropy = &mut Counting(0);
        let mut key = |state| {
            SealedKey::generate(SigningAlgorithm::EdDSA, state, &old().into(), entropy, 1).unwrap()
        };
        let withdrawn = SealedKey { sealed: Vec::new(), ..key(KeyState::Withdrawn) };
        let device = SealedKey { sealed: b"pkcs11:id=%01".to_vec(), ..key(KeyState::Retired) };
        let mut keys = vec![key(KeyState::Signing), key(KeyState::Standby), withdrawn, device];
        let stored = |keys: &[SealedKey]| StoredKeys { keys: keys.to_vec(), changed_at: 1 };
        let rewrapped = rewrap(&stored(&keys), &old(), &new).unwrap();
        assert_eq!(rewrapped.len(), 2);
        for change in &rewrapped {
            assert!(old().open(&change.key_id, &change.to).is_err());
            assert_eq!(
                new.open(&change.key_id, &change.to).unwrap(),
                old().open(&change.key_id, &change.from).unwrap()
            );
            assert_eq!(change.reversed().reversed(), *change);
        }
        // Again, after one of two was changed.
        keys[0].sealed.clone_from(&rewrapped[0].to);
        let rest = rewrap(&stored(&keys), &old(), &new).unwrap();
        assert_eq!(rest[0].key_id, keys[1].key_id);
        assert_eq!(rest.len(), 1);
        assert_eq!(rewrap(&stored(&keys), &new, &new), Err(RewrapError::SameKey));
        let third = MasterKey::new([3; 32]);
        let wrong = rewrap(&stored(&keys), &third, &MasterKey::new([4; 32]));
        assert!(matches!(wrong, Err(RewrapError::Opens(..))));
    }
}
