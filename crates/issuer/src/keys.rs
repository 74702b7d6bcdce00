//! The issuer's keys in memory: the opened signing key and the published set.

use std::time::Duration;

use edgepass_jose::Algorithm;
use edgepass_jose::json::JsonObject;
use edgepass_jose::jwk_set::{JwkSet, MAX_KEYS};
use edgepass_verify::checks::dpop::nonce::SecretTooShort;

use crate::signing_key::{
    self, KeyError, KeyState, SealedKey, SigningAlgorithm, SigningFailed, SigningKey, TokenType,
};
use crate::storage::{StoreError, StoredKeys};
use crate::vault::Vault;

/// The rules of automatic key changes: when, and to which algorithm.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct KeySchedule {
    /// The algorithm of keys that are generated from now on.
    pub algorithm: SigningAlgorithm,
    /// Time after which a signing key is replaced, in seconds.
    pub rotation: u64,
    /// Least time for which a key stays published after it has stopped signing, in seconds. Does
    /// not hold for a compromised key.
    pub overlap: u64,
    /// Time for which a key must have been published before it signs, in seconds. By then every
    /// verifier that reaches the issuer knows the key: those of this project within the deadline,
    /// those of other people within 30 s. A compromise of the signing key is an
    /// exception.
    pub settling: u64,
    /// Time for which caches may still serve the previous edition: `shared_max_age` plus
    /// `publish_delay`.
    pub caches: Duration,
}

impl KeySchedule {
    /// Seconds until the key may sign. 0: it may sign now. A key that is not published yet needs
    /// the whole settling time.
    pub fn settles_in(self, key: &SealedKey, now: u64) -> u64 {
        match key.published_at {
            Some(at) => at.saturating_add(self.settling).saturating_sub(now),
            None => self.settling.max(1),
        }
    }
}

/// The keys as of one change. Only the signing key is opened.
pub struct Keys {
    stored: StoredKeys,
    signing: SigningKey,
    own: JwkSet,
    known: JwkSet,
}

/// The reason why the stored keys cannot be used.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Storage failed.
    #[error("the signing keys could not be read")]
    Store(#[from] StoreError),
    /// There is no signing key.
    #[error("there is no signing key in the data directory; run `edgepass init` first")]
    NoSigningKey,
    /// The signing key cannot be opened.
    #[error("the signing key cannot be opened")]
    Key(#[from] KeyError),
    /// The secret of nonces cannot be derived from the master key.
    #[error("no secret for nonces can be made")]
    Nonce(#[from] SecretTooShort),
    /// The public keys do not make a JWK Set that verifiers can read.
    #[error("the stored keys are not a readable JWK Set")]
    JwkSet,
}

impl Keys {
    /// Opens the stored keys.
    ///
    /// # Errors
    ///
    /// [`OpenError`].
    pub(crate) fn open(stored: StoredKeys, vault: &Vault) -> Result<Self, OpenError> {
        let signing = stored.in_state(KeyState::Signing).ok_or(OpenError::NoSigningKey)?;
        let signing = signing.open(vault)?;
        let own = signing_key::jwk_set(stored.published(), stored.changed_at, None).to_string();
        let newest = stored.keys.iter().rev().take(MAX_KEYS);
        let all = signing_key::jwk_set(newest, stored.changed_at, None).to_string();
        let (own, known) = (read(&own)?, read(&all)?);
        Ok(Self { stored, signing, own, known })
    }

    /// The JWK Set to publish. It expires at `expiration`, in seconds, if given.
    pub fn jwk_set(&self, expiration: Option<u64>) -> String {
        let published = self.stored.published();
        signing_key::jwk_set(published, self.stored.changed_at, expiration).to_string()
    }

    /// The published set, parsed as a verifier parses it.
    pub fn own(&self) -> &JwkSet {
        &self.own
    }

    /// The newest keys, at most [`MAX_KEYS`]. Withdrawn keys are included, since a target may still
    /// hold lists that they signed.
    pub(crate) fn known(&self) -> &JwkSet {
        &self.known
    }

    /// The keys as stored.
    pub(crate) fn stored(&self) -> &StoredKeys {
        &self.stored
    }

    /// Time of the last change of keys, in seconds: the set's `iat`.
    pub fn changed_at(&self) -> u64 {
        self.stored.changed_at
    }

    /// `kid` of the signing key.
    pub fn signing_key_id(&self) -> &str {
        self.signing.key_id()
    }

    /// Whether a key is in this state.
    pub(crate) fn has(&self, state: KeyState) -> bool {
        self.stored.in_state(state).is_some()
    }

    /// Whether a key of the set is not recorded as published.
    pub(crate) fn has_unpublished(&self) -> bool {
        self.stored.published().any(|key| key.published_at.is_none())
    }

    /// `kid` of each key of the published set.
    pub(crate) fn published_key_ids(&self) -> Vec<String> {
        self.stored.published().map(|key| key.key_id.clone()).collect()
    }

    /// Signs the claims of an access token.
    pub(crate) fn sign_token(
        &self,
        typ: TokenType,
        payload: &JsonObject,
    ) -> Result<String, SigningFailed> {
        self.signing.sign(typ.name(), payload)
    }

    /// Signs the claims of a status list, with `typ` `statuslist+jwt`.
    pub(crate) fn sign_list(&self, payload: &JsonObject) -> Result<String, SigningFailed> {
        self.signing.sign(edgepass_status_list::claims::STATUS_LIST_TYPE, payload)
    }
}

fn read(jwk_set: &str) -> Result<JwkSet, OpenError> {
    JwkSet::parse(jwk_set.as_bytes(), &Algorithm::ALL, edgepass_crypto::is_sound)
        .map_err(|_| OpenError::JwkSet)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::Counting;
    use crate::seal::MasterKey;

    #[test]
    fn keys_withdrawn_in_many_years_keep_no_issuer_from_starting() {
        let (master, entropy) = (MasterKey::new([1; 32]).into(), &mut Counting(0));
        let algorithm = SigningAlgorithm::EdDSA;
        let mut key =
            |state, at| SealedKey::generate(algorithm, state, &master, entropy, at).unwrap();
        let mut keys: Vec<SealedKey> = (0..110).map(|at| key(KeyState::Withdrawn, at)).collect();
        keys.push(key(KeyState::Signing, 110));
        let keys = Keys::open(StoredKeys { keys, changed_at: 110 }, &master).unwrap();
        assert_eq!((keys.own().keys().len(), keys.known().keys().len()), (1, MAX_KEYS));
        assert!(keys.known().keys().iter().any(|k| k.key_id() == Some(keys.signing_key_id())));
    }
}
