//! Keys come and go: rotation, compromise, retirement.
//!
//! Rotation: the standby signs, a new standby is published, the old key stays published until its
//! last token has expired. Compromise: every list is signed anew with the standby and published, then
//! the set without the key is published, and a new standby with it. What is to be done lies in the
//! database; whoever publishes carries it out, also after a restart.

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
use crate::storage::{KeyChange, Store, StoreError};

/// Why keys were not changed.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum KeyChangeError {
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A new key could not be made.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The keys changed, and cannot be opened as they are now.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The standby has not been published for long enough to be known everywhere.
    #[error(
        "the standby key has to be published for {0} before it signs; let `edgepass serve` run"
    )]
    StandbyTooYoung(DurationText),
    /// The set would hold more keys than verifiers read.
    #[error("{MAX_KEYS} keys are published already; wait until old ones have left the set")]
    TooManyKeys,
    /// There is no key of that name.
    #[error("this issuer has no key of that name; `edgepass keys list` names them")]
    UnknownKey,
    /// The key is not published any more.
    #[error("that key is withdrawn already")]
    AlreadyWithdrawn,
    /// There is no standby to take over.
    #[error("there is no standby key to take over; start `edgepass serve`, which makes one")]
    NoStandby,
    /// Another process changed the keys at the same moment.
    #[error("another process changed the keys at this moment; look and try again")]
    Busy,
}

/// What a rotation or a compromise did.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Changed {
    /// The key that signs from now on.
    pub signing: String,
    /// The standby had been published for long enough; if not, verifiers that have not asked since
    /// refuse what it signs until they ask.
    pub is_settled: bool,
}

/// Let the standby sign and make a new standby.
///
/// # Errors
///
/// [`KeyChangeError`]: nothing changed, save with [`KeyChangeError::Open`].
pub async fn rotate<S: Store>(
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
    let fresh = SealedKey::generate(KeyState::Standby, issuer.master_key(), entropy, seconds)?;
    let act = Act::KeyRotated {
        from: from.key_id.clone(),
        to: standby.key_id.clone(),
        standby: fresh.key_id.clone(),
    };
    let signing = standby.key_id.clone();
    // Tokens may live longer than the configuration of today lets new ones live.
    let lists = issuer.store().lists(seconds).await?;
    let last = lists.iter().map(|list| list.window_end).max().unwrap_or_default();
    let retires_at =
        seconds.saturating_add(schedule.overlap).max(last.saturating_add(RETIRE_AFTER));
    let change = KeyChange {
        seen: stored.changed_at,
        now: seconds,
        uses: vec![
            (from.key_id.clone(), KeyState::Retired, Some(retires_at)),
            (signing.clone(), KeyState::Signing, None),
        ],
        new: vec![fresh],
    };
    apply(issuer, &change, act, actor, now).await?;
    Ok(Changed { signing, is_settled: true })
}

/// Distrust a key: whoever publishes withdraws it once every list is signed by another.
///
/// # Errors
///
/// [`KeyChangeError`]: nothing changed, save with [`KeyChangeError::Open`].
pub async fn compromise<S: Store>(
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
    let mut uses = vec![(key_id.to_owned(), KeyState::Compromised, None)];
    let mut changed = Changed { signing: signing.key_id.clone(), is_settled: true };
    match key.state {
        KeyState::Compromised | KeyState::Withdrawn => {
            return Err(KeyChangeError::AlreadyWithdrawn);
        }
        KeyState::Signing => {
            let standby = stored.in_state(KeyState::Standby).ok_or(KeyChangeError::NoStandby)?;
            changed.is_settled = issuer.key_schedule().settles_in(standby, seconds) == 0;
            changed.signing = standby.key_id.clone();
            uses.push((standby.key_id.clone(), KeyState::Signing, None));
        }
        KeyState::Standby | KeyState::Retired => {}
    }
    let act = Act::KeyCompromised {
        key_id: key_id.to_owned(),
        signing: changed.signing.clone(),
        reason: reason.to_owned(),
    };
    let change = KeyChange { seen: stored.changed_at, now: seconds, uses, new: Vec::new() };
    apply(issuer, &change, act, actor, now).await?;
    Ok(changed)
}

/// Retire and rotate what is due, going by the keys as the issuer holds them. Called by whoever
/// publishes.
pub(crate) async fn carry_out_due<S: Store>(
    issuer: &Issuer<S>,
    entropy: &mut impl Entropy,
    now: UnixMillis,
) -> Result<(), KeyChangeError> {
    let retired = retire(issuer, now).await;
    retired.and(rotate_if_due(issuer, entropy, now).await)
}

/// Take keys whose time is up out of the set.
async fn retire<S: Store>(issuer: &Issuer<S>, now: UnixMillis) -> Result<(), KeyChangeError> {
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
    let uses = over.iter().map(|id| (id.clone(), KeyState::Withdrawn, None)).collect();
    let change = KeyChange { seen: stored.changed_at, now: seconds, uses, new: Vec::new() };
    apply(issuer, &change, Act::KeysWithdrawn { key_ids: over, standby: None }, SERVE, now).await
}

/// Take compromised keys out of the set; with a new standby, if there is none.
pub(crate) async fn withdraw_compromised<S: Store>(
    issuer: &Issuer<S>,
    entropy: &mut impl Entropy,
    now: UnixMillis,
) -> Result<(), KeyChangeError> {
    let seconds = now.numeric_date().seconds();
    let stored = issuer.store().keys().await?;
    // What was compromised since still signs lists: its turn comes with the next round.
    if stored.changed_at != issuer.keys().changed_at() {
        return Ok(());
    }
    let compromised = stored.keys.iter().filter(|key| key.state == KeyState::Compromised);
    let key_ids: Vec<String> = compromised.map(|key| key.key_id.clone()).collect();
    let new = match stored.in_state(KeyState::Standby) {
        Some(_) => Vec::new(),
        None => {
            vec![SealedKey::generate(KeyState::Standby, issuer.master_key(), entropy, seconds)?]
        }
    };
    let standby = new.first().map(|key| key.key_id.clone());
    let uses = key_ids.iter().map(|id| (id.clone(), KeyState::Withdrawn, None)).collect();
    let change = KeyChange { seen: stored.changed_at, now: seconds, uses, new };
    apply(issuer, &change, Act::KeysWithdrawn { key_ids, standby }, SERVE, now).await
}

/// Rotate when the signing key has signed for long enough. A standby that is too young is waited for.
async fn rotate_if_due<S: Store>(
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
        // There is none while a compromised key is on its way out.
        Ok(_) | Err(KeyChangeError::StandbyTooYoung(_) | KeyChangeError::NoStandby) => Ok(()),
        Err(error) => Err(error),
    }
}

/// Change the keys, and open them as they are now.
async fn apply<S: Store>(
    issuer: &Issuer<S>,
    change: &KeyChange,
    act: Act,
    actor: &str,
    now: UnixMillis,
) -> Result<(), KeyChangeError> {
    let entry = AuditEntry { at_ms: now.0, actor: actor.to_owned(), act };
    if !issuer.store().change_keys(change, &entry).await? {
        return Err(KeyChangeError::Busy);
    }
    Ok(issuer.reload_keys().await?)
}

/// Who acts when nobody asked.
const SERVE: &str = "serve";
