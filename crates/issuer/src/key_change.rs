//! Key changes: rotation, compromise, withdrawal.
//!
//! Rotation: the standby key starts to sign, a new standby key is published, and the old key stays
//! published until its last token has expired.
//!
//! Compromise: if the compromised key signs, the standby key starts to sign, and signs every list
//! again. Once no cache can hold a list with the compromised key's signature, that key leaves the
//! set. A new standby key is created if there is none.
//!
//! The database stores the pending steps. The publisher carries them out, also after a restart.

use std::time::Duration;

use edgepass_jose::jwk_set::MAX_KEYS;
use edgepass_verify::UnixMillis;
use edgepass_verify::policy::duration::DurationText;

use crate::audit::{Act, AuditEntry};
use crate::entropy::Entropy;
use crate::issue::Issuer;
use crate::keys::OpenError;
use crate::signing_key::{KeyError, KeyState, SealedKey};
use crate::status_index::RETIRE_AFTER;
use crate::storage::{KeyChange, KeyStore, ListStore, StoreError};

/// The reason why a change of keys failed.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum KeyChangeError {
    /// Storage failed.
    #[error("the keys could not be read or changed")]
    Store(#[from] StoreError),
    /// A new key could not be generated or sealed.
    #[error("a new key could not be made")]
    Key(#[from] KeyError),
    /// The standby key cannot be opened, so that it cannot sign.
    #[error("the standby key cannot be opened")]
    Standby(#[source] KeyError),
    /// The keys were changed but cannot be opened.
    #[error("the keys were changed, but cannot be opened")]
    Open(#[from] OpenError),
    /// The standby key has not been published for long enough to sign. Holds the remaining time.
    #[error(
        "the standby key has to be published for another {0} before it signs; keep \
         `edgepass serve` running"
    )]
    StandbyTooYoung(DurationText),
    /// The set already holds [`MAX_KEYS`] keys, the most that verifiers accept.
    #[error("{MAX_KEYS} keys are already published; wait until old keys are withdrawn")]
    TooManyKeys,
    /// No key has this `kid`.
    #[error("this issuer has no key of that name; list the keys with `edgepass keys list`")]
    UnknownKey,
    /// The key is already compromised or withdrawn.
    #[error("that key is already compromised or withdrawn")]
    AlreadyWithdrawn,
    /// There is no standby key that could start to sign, or no signing key.
    #[error("there is no standby key; start `edgepass serve`, which creates one")]
    NoStandby,
    /// Another process changed the keys at the same time, so this call changed nothing.
    #[error("another process changed the keys at the same time; check the keys, then try again")]
    Busy,
}

/// The outcome of a rotation or a compromise.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Changed {
    /// `kid` of the key that signs after the change.
    pub signing: String,
    /// Whether the new signing key had been published for long enough. If not, a verifier that does
    /// not hold it yet refuses its signatures until it fetches the set. Always true if the signing
    /// key stays the same.
    pub is_settled: bool,
}

/// Makes the standby key sign, retires the previous signing key and creates a new standby key.
/// `actor` is for the audit trail.
///
/// # Errors
///
/// [`KeyChangeError`]. Nothing was changed, except with [`KeyChangeError::Open`].
pub async fn rotate<S: KeyStore + ListStore>(
    issuer: &Issuer<S>,
    entropy: &mut impl Entropy,
    actor: &str,
    now: UnixMillis,
) -> Result<Changed, KeyChangeError> {
    let seconds = now.numeric_date().seconds();
    let (schedule, stored) = (issuer.key_schedule(), issuer.store().keys().await?);
    let from = stored.in_state(KeyState::Signing).ok_or(KeyChangeError::NoStandby)?;
    let standby = stored.in_state(KeyState::Standby).ok_or(KeyChangeError::NoStandby)?;
    let wait = schedule.settles_in(standby, seconds);
    if wait > 0 {
        return Err(KeyChangeError::StandbyTooYoung(DurationText(Duration::from_secs(wait))));
    }
    if stored.published().count() >= MAX_KEYS {
        return Err(KeyChangeError::TooManyKeys);
    }
    standby.open(issuer.vault()).map_err(KeyChangeError::Standby)?;
    // Tokens may have been issued under a configuration with a longer lifetime.
    let lists = issuer.store().lists(seconds).await?;
    let last = lists.iter().map(|list| list.window_end).max().unwrap_or_default();
    let retires_at =
        seconds.saturating_add(schedule.overlap).max(last.saturating_add(RETIRE_AFTER));
    // Last: a key that is made in a device stays there if something fails afterwards.
    let fresh = standby_key(issuer, entropy, seconds)?;
    let act = Act::KeyRotated {
        from: from.key_id.clone(),
        to: standby.key_id.clone(),
        standby: fresh.key_id.clone(),
    };
    let signing = standby.key_id.clone();
    let change = KeyChange {
        seen: stored.changed_at,
        now: seconds,
        states: vec![
            (from.key_id.clone(), KeyState::Retired, Some(retires_at)),
            (signing.clone(), KeyState::Signing, None),
        ],
        new: vec![fresh],
    };
    apply(issuer, &change, act, actor, now).await?;
    Ok(Changed { signing, is_settled: true })
}

/// Marks a key as compromised. If it signs, the standby key signs from now on, even if it is too
/// young for a rotation. The publisher withdraws the compromised key once another key has signed
/// every list and no cache holds an earlier edition.
///
/// # Errors
///
/// [`KeyChangeError`]. Nothing was changed, except with [`KeyChangeError::Open`].
pub async fn compromise<S: KeyStore>(
    issuer: &Issuer<S>,
    key_id: &str,
    reason: &str,
    actor: &str,
    now: UnixMillis,
) -> Result<Changed, KeyChangeError> {
    let seconds = now.numeric_date().seconds();
    let stored = issuer.store().keys().await?;
    let key = stored.keys.iter().find(|key| key.key_id == key_id);
    let key = key.ok_or(KeyChangeError::UnknownKey)?;
    let signing = stored.in_state(KeyState::Signing).ok_or(KeyChangeError::NoStandby)?;
    let mut states = vec![(key_id.to_owned(), KeyState::Compromised, None)];
    let mut changed = Changed { signing: signing.key_id.clone(), is_settled: true };
    match key.state {
        KeyState::Compromised | KeyState::Withdrawn => {
            return Err(KeyChangeError::AlreadyWithdrawn);
        }
        KeyState::Signing => {
            let standby = stored.in_state(KeyState::Standby).ok_or(KeyChangeError::NoStandby)?;
            changed.is_settled = issuer.key_schedule().settles_in(standby, seconds) == 0;
            standby.open(issuer.vault()).map_err(KeyChangeError::Standby)?;
            changed.signing = standby.key_id.clone();
            states.push((standby.key_id.clone(), KeyState::Signing, None));
        }
        KeyState::Standby | KeyState::Retired => {}
    }
    let act = Act::KeyCompromised {
        key_id: key_id.to_owned(),
        signing: changed.signing.clone(),
        reason: reason.to_owned(),
    };
    let change = KeyChange { seen: stored.changed_at, now: seconds, states, new: Vec::new() };
    apply(issuer, &change, act, actor, now).await?;
    Ok(changed)
}

/// Withdraws retired keys and rotates the signing key when due, judged by the keys that the issuer
/// has opened. Tries both, and returns the first error. The publisher calls it.
pub(crate) async fn carry_out_due<S: KeyStore + ListStore>(
    issuer: &Issuer<S>,
    entropy: &mut impl Entropy,
    now: UnixMillis,
) -> Result<(), KeyChangeError> {
    let retired = retire(issuer, now).await;
    retired.and(rotate_if_due(issuer, entropy, now).await)
}

/// Withdraws the retired keys with a `retires_at` that has passed.
async fn retire<S: KeyStore>(issuer: &Issuer<S>, now: UnixMillis) -> Result<(), KeyChangeError> {
    let seconds = now.numeric_date().seconds();
    let keys = issuer.keys();
    let stored = keys.stored();
    let over = |key: &&SealedKey| {
        key.state == KeyState::Retired && key.retires_at.is_some_and(|at| at <= seconds)
    };
    let over: Vec<String> = stored.keys.iter().filter(over).map(|k| k.key_id.clone()).collect();
    if over.is_empty() {
        return Ok(());
    }
    let states = over.iter().map(|id| (id.clone(), KeyState::Withdrawn, None)).collect();
    let change = KeyChange { seen: stored.changed_at, now: seconds, states, new: Vec::new() };
    apply(issuer, &change, Act::KeysWithdrawn { key_ids: over, standby: None }, SERVE, now).await
}

/// Withdraws all compromised keys. Adds a standby key if there is none.
pub(crate) async fn withdraw_compromised<S: KeyStore>(
    issuer: &Issuer<S>,
    entropy: &mut impl Entropy,
    now: UnixMillis,
) -> Result<(), KeyChangeError> {
    let seconds = now.numeric_date().seconds();
    let stored = issuer.store().keys().await?;
    // A key that was marked after the keys were opened may still have signed lists. The publisher's
    // next round withdraws it.
    if stored.changed_at != issuer.keys().changed_at() {
        return Ok(());
    }
    let compromised = stored.keys.iter().filter(|key| key.state == KeyState::Compromised);
    let key_ids: Vec<String> = compromised.map(|key| key.key_id.clone()).collect();
    let new = match stored.in_state(KeyState::Standby) {
        Some(_) => Vec::new(),
        None => {
            vec![standby_key(issuer, entropy, seconds)?]
        }
    };
    let standby = new.first().map(|key| key.key_id.clone());
    let states = key_ids.iter().map(|id| (id.clone(), KeyState::Withdrawn, None)).collect();
    let change = KeyChange { seen: stored.changed_at, now: seconds, states, new };
    apply(issuer, &change, Act::KeysWithdrawn { key_ids, standby }, SERVE, now).await
}

/// Rotates once the signing key has signed for
/// [`KeySchedule::rotation`](crate::keys::KeySchedule::rotation). A standby key that is missing or
/// too young postpones this.
async fn rotate_if_due<S: KeyStore + ListStore>(
    issuer: &Issuer<S>,
    entropy: &mut impl Entropy,
    now: UnixMillis,
) -> Result<(), KeyChangeError> {
    let keys = issuer.keys();
    let since = keys.stored().in_state(KeyState::Signing).and_then(|key| key.signs_since);
    let due = since.map(|since| since.saturating_add(issuer.key_schedule().rotation));
    if due.is_none_or(|due| now.numeric_date().seconds() < due) {
        return Ok(());
    }
    match rotate(issuer, entropy, SERVE, now).await {
        // There is no standby key while a compromised key awaits its withdrawal.
        Ok(_) | Err(KeyChangeError::StandbyTooYoung(_) | KeyChangeError::NoStandby) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Records a change of keys with its audit entry, then opens the new keys.
async fn apply<S: KeyStore>(
    issuer: &Issuer<S>,
    change: &KeyChange,
    act: Act,
    actor: &str,
    now: UnixMillis,
) -> Result<(), KeyChangeError> {
    let policy = Some(issuer.policy().number());
    let entry = AuditEntry { at_ms: now.0, actor: actor.to_owned(), policy, act };
    destroy_withdrawn(issuer, change);
    let changed = issuer.store().change_keys(change, &entry).await;
    if !matches!(changed, Ok(true)) {
        discard_new(issuer, change).await;
    }
    if !changed? {
        return Err(KeyChangeError::Busy);
    }
    Ok(issuer.reload_keys().await?)
}

/// Destroys new private halves in a device that no recorded key has.
async fn discard_new<S: KeyStore>(issuer: &Issuer<S>, change: &KeyChange) {
    let made: Vec<&str> = change.new.iter().filter_map(SealedKey::device_uri).collect();
    if made.is_empty() {
        return;
    }
    // Without an answer the change may have been recorded all the same.
    let Ok(stored) = issuer.store().keys().await else { return };
    let is_recorded = |uri: &&str| stored.keys.iter().any(|key| key.device_uri() == Some(uri));
    for uri in made.into_iter().filter(|uri| !is_recorded(uri)) {
        destroy(issuer, uri);
    }
}

/// Destroys the private halves of withdrawn keys that are in a device: before the change is recorded,
/// which forgets where they are. No key signs any more when it is withdrawn. A failure does not keep a
/// key in the set.
fn destroy_withdrawn<S: KeyStore>(issuer: &Issuer<S>, change: &KeyChange) {
    let keys = issuer.keys();
    for (key_id, ..) in change.states.iter().filter(|(_, state, _)| *state == KeyState::Withdrawn) {
        let key = keys.stored().keys.iter().find(|key| key.key_id == *key_id);
        if let Some(uri) = key.and_then(SealedKey::device_uri) {
            destroy(issuer, uri);
        }
    }
}

fn destroy<S>(issuer: &Issuer<S>, uri: &str) {
    let destroyed = issuer.vault().device().and_then(|device| device.destroy(uri));
    if let Err(error) = destroyed {
        tracing::error!(%error, uri, "private key not destroyed: do it with the device's tools");
    }
}

/// Generates a standby key with the configured algorithm. `now` is in seconds.
fn standby_key<S: KeyStore>(
    issuer: &Issuer<S>,
    entropy: &mut impl Entropy,
    now: u64,
) -> Result<SealedKey, KeyError> {
    let algorithm = issuer.key_schedule().algorithm;
    SealedKey::generate(algorithm, KeyState::Standby, issuer.vault(), entropy, now)
}

/// The actor of changes that the publisher makes by itself.
const SERVE: &str = "serve";
