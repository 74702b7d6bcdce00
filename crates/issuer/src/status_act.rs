//! Acts on the statuses of tokens: revoke, suspend, resume. Durable first, then served.
//!
//! An act is one row, its selection and one audit entry, committed together. Statuses follow from
//! it in steps of a bounded size, so that issuing goes on while a million tokens are revoked; an act
//! that was interrupted is finished by whoever looks next. While an act by [`Filter`] is under way no
//! token that it would select is issued: each one issued before the act returned is covered.
//!
//! [`Filter`]: crate::selection::Filter

use edgepass_jose::CompactJws;
use edgepass_verify::UnixMillis;

use crate::new_act::{NewAct, RecordedAct};
use crate::policy::{IssuerPolicy, RefusedByPolicy};
use crate::selection::{Selection, StatusChange};
use crate::status_index::RETIRE_AFTER;
use crate::storage::{ListState, Store, StoreError};

/// Why nothing was recorded.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Selected tokens lie in lists of one bit.
    #[error(
        "{0} of the tokens were issued while `suspension` was not set, so their lists cannot say \
         \"suspended\", and nothing was done; name others, or revoke"
    )]
    NoSuspension(u64),
    /// Other acts came between, again and again.
    #[error("other acts on statuses keep coming between; try again")]
    Busy,
}

/// Why an act selects what cannot exist.
#[derive(Debug, thiserror::Error)]
pub enum Unselectable {
    /// The role is in no policy, and no live token has it.
    #[error("no token is selected: {0}")]
    Role(RefusedByPolicy),
    /// The key never was this issuer's, and no live token has it.
    #[error("no token is selected: this issuer has no such key")]
    Key,
    /// Storage failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Refuse an act by a role or key that this issuer does not know, and no token has: it is mistyped, and
/// would be reported as done. Of clients and subjects the issuer cannot know that.
///
/// # Errors
///
/// [`Unselectable`].
pub async fn refuse_unknown<S: Store>(
    act: &NewAct,
    policy: &IssuerPolicy,
    store: &S,
) -> Result<(), Unselectable> {
    let Selection::Fitting(filter) = &act.selection else { return Ok(()) };
    let role = filter.role.as_ref().and_then(|role| policy.role(role).err());
    let keys = store.keys().await?.keys;
    let is_known = |key_id: &String| keys.iter().any(|key| key.key_id == *key_id);
    let unknown = match (role, &filter.key_id) {
        (Some(error), _) => Unselectable::Role(error),
        (None, Some(key_id)) if !is_known(key_id) => Unselectable::Key,
        (None, _) => return Ok(()),
    };
    // The role may have been taken out of the configuration while its tokens live.
    if store.plan_act(act).await?.count > 0 { Ok(()) } else { Err(unknown) }
}

/// Record an act and change the statuses. What it changes is served once [`unpublished`] is empty;
/// then [`Store::end_act`] lets tokens like the selected be issued again.
///
/// # Errors
///
/// [`ActError`]: nothing was recorded, or the act is recorded and will be finished later.
pub async fn perform<S: Store>(store: &S, act: &NewAct) -> Result<Option<RecordedAct>, ActError> {
    for _ in 0..ATTEMPTS {
        finish(store).await?;
        let plan = store.plan_act(act).await?;
        if act.change == StatusChange::Suspend && plan.without_suspension > 0 {
            return Err(ActError::NoSuspension(plan.without_suspension));
        }
        if plan.count == 0 && matches!(act.selection, Selection::JwtIds(_)) {
            return Ok(None);
        }
        if let Some(recorded) = store.record_act(act, plan).await? {
            finish(store).await?;
            return Ok(Some(recorded));
        }
    }
    Err(ActError::Busy)
}

/// Act, wait until what changed is served, and let tokens like the selected be issued again. `wait` is
/// given the lists that have to show it, and says what came of waiting.
///
/// # Errors
///
/// [`ActError`], or what `wait` met.
pub async fn perform_and_wait<S: Store, W, E, F>(
    store: &S,
    act: &NewAct,
    wait: impl Fn(Vec<ListState>) -> F,
) -> Result<(Option<RecordedAct>, W), E>
where
    E: From<ActError>,
    F: Future<Output = Result<W, E>>,
{
    let mut all: Option<RecordedAct> = None;
    loop {
        let recorded = perform(store, act).await?;
        if let Some(recorded) = recorded {
            all.get_or_insert(RecordedAct { count: 0, ..recorded }).count += recorded.count;
        }
        let waited = wait(unpublished(store, act.at).await.map_err(ActError::Store)?).await?;
        let Some(recorded) = recorded else { return Ok((all, waited)) };
        // It took so long that tokens like the selected may have been issued: those, too.
        if store.end_act(recorded.id).await.map_err(ActError::Store)? {
            return Ok((all, waited));
        }
    }
}

/// Bring the statuses up to date with every act that was recorded.
///
/// # Errors
///
/// [`StoreError`].
pub async fn finish<S: Store>(store: &S) -> Result<(), StoreError> {
    while store.continue_acts().await? {}
    Ok(())
}

/// The lists that do not show yet what is recorded.
///
/// # Errors
///
/// [`StoreError`].
pub async fn unpublished<S: Store>(
    store: &S,
    now: UnixMillis,
) -> Result<Vec<ListState>, StoreError> {
    let mut lists = store.lists(now.numeric_date().seconds().saturating_sub(RETIRE_AFTER)).await?;
    lists.retain(|list| list.published < list.changes);
    Ok(lists)
}

/// `jti` of a token, unverified. It may only be used to select one of our own records.
pub fn unverified_jwt_id(token: &str) -> Option<String> {
    const MAX_TOKEN_BYTES: usize = 1 << 20;
    let jws = CompactJws::parse(token, MAX_TOKEN_BYTES).ok()?;
    let claims = jws.claims().ok()?;
    claims.required_string("jti").ok().map(str::to_owned)
}

/// How often an act is planned again because another came between.
const ATTEMPTS: usize = 8;
