//! The issuer's keys in memory: the opened signing key and the published set.

use std::collections::HashSet;
use std::sync::{OnceLock, PoisonError, RwLock};
use std::time::Duration;

use edgepass_crypto::prepared::Tables;
use edgepass_jose::json::JsonObject;
use edgepass_jose::jwk_set::{JwkSet, MAX_KEYS};
use edgepass_jose::{Algorithm, CompactJws, Jwk, base64url};
use edgepass_status_list::claims::STATUS_LIST_TYPE;
use edgepass_verify::checks::dpop::nonce::SecretTooShort;
use edgepass_verify::documents::status_head::STATUS_HEAD_TYPE;
use edgepass_verify::native::check_signature;
use edgepass_verify::signature::{Checked, check};
use serde_json::Value;

use crate::own_token;
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
    /// The headers of access tokens and of status lists.
    token_header: String,
    list_header: String,
    head_header: String,
    tables: OnceLock<Option<Tables>>,
    /// Audiences of tokens by the signing key that the whole verifier has accepted.
    proven: RwLock<HashSet<String>>,
    own: JwkSet,
    known: JwkSet,
}

/// Most entries of [`Keys::proven`].
const MAX_PROVEN: usize = 1024;

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
    pub(crate) fn open(
        stored: StoredKeys,
        vault: &Vault,
        token_type: TokenType,
    ) -> Result<Self, OpenError> {
        let signing = stored.in_state(KeyState::Signing).ok_or(OpenError::NoSigningKey)?;
        let signing = signing.open(vault)?;
        let own = signing_key::jwk_set(stored.published(), stored.changed_at, None).to_string();
        let (own, known) = (read(&own)?, newest(&stored)?);
        Ok(Self {
            token_header: signing.header(token_type.name()),
            list_header: signing.header(STATUS_LIST_TYPE),
            head_header: signing.header(STATUS_HEAD_TYPE),
            tables: OnceLock::new(),
            proven: RwLock::default(),
            stored,
            signing,
            own,
            known,
        })
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
    pub(crate) fn sign_token(&self, claims: &str) -> Result<String, SigningFailed> {
        self.signing.sign(&self.token_header, claims.as_bytes())
    }

    /// Signs the claims of a status list, with `typ` `statuslist+jwt`.
    pub(crate) fn sign_list(&self, payload: &JsonObject) -> Result<String, SigningFailed> {
        self.signing.sign(&self.list_header, Value::Object(payload.clone()).to_string().as_bytes())
    }

    /// Signs the claims of a status head, with `typ` `statushead+jwt`.
    pub(crate) fn sign_head(&self, payload: &JsonObject) -> Result<String, SigningFailed> {
        self.signing.sign(&self.head_header, Value::Object(payload.clone()).to_string().as_bytes())
    }

    /// Whether the whole verifier has accepted a token of this audience by the signing key.
    pub(crate) fn is_proven(&self, audience: &str) -> bool {
        self.proven.read().unwrap_or_else(PoisonError::into_inner).contains(audience)
    }

    /// Records that the whole verifier has accepted such a token.
    pub(crate) fn prove(&self, audience: &str) {
        let mut proven = self.proven.write().unwrap_or_else(PoisonError::into_inner);
        if proven.len() >= MAX_PROVEN {
            proven.clear();
        }
        proven.insert(audience.to_owned());
    }

    /// Whether an access token consists of the header, the claims and a valid signature by the signing
    /// key, and is not too long to be read. Uses the tables of the key.
    pub(crate) fn confirm(&self, token: &str, claims: &str) -> bool {
        if token.len() > own_token::MAX_BYTES {
            return false;
        }
        let Some((input, signature)) = token.rsplit_once('.') else { return false };
        let payload =
            input.strip_prefix(&*self.token_header).and_then(|rest| rest.strip_prefix('.'));
        let is_payload =
            payload.and_then(base64url::decode).is_some_and(|it| it == claims.as_bytes());
        let signature = base64url::decode(signature).unwrap_or_default();
        let Some(key) = self.signing_jwk().filter(|_| is_payload) else { return false };
        match self.tables.get_or_init(|| Tables::of(key.key())) {
            // A fault of a table refuses nothing.
            Some(tables) => {
                tables.verify(input.as_bytes(), &signature) || self.is_signed(key, token)
            }
            None => self.is_signed(key, token),
        }
    }

    fn signing_jwk(&self) -> Option<&Jwk> {
        self.own.keys().iter().find(|key| key.key_id() == Some(self.signing.key_id()))
    }

    /// Whether the signature is valid, without tables.
    fn is_signed(&self, key: &Jwk, token: &str) -> bool {
        CompactJws::parse(token, own_token::MAX_BYTES).is_ok_and(|jws| match check(key, &jws) {
            Checked::Here(is_valid) => is_valid,
            Checked::ByHost(request) => check_signature(&request),
        })
    }
}

/// The newest keys, at most [`MAX_KEYS`], withdrawn ones too.
///
/// # Errors
///
/// [`OpenError::JwkSet`].
pub(crate) fn newest(stored: &StoredKeys) -> Result<JwkSet, OpenError> {
    let newest = stored.keys.iter().rev().take(MAX_KEYS);
    read(&signing_key::jwk_set(newest, stored.changed_at, None).to_string())
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
        let keys =
            Keys::open(StoredKeys { keys, changed_at: 110 }, &master, TokenType::Jwt).unwrap();
        assert_eq!((keys.own().keys().len(), keys.known().keys().len()), (1, MAX_KEYS));
        assert!(keys.known().keys().iter().any(|k| k.key_id() == Some(keys.signing_key_id())));
    }
}
