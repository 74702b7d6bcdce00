//! Acts on the statuses of tokens: revoke, suspend, resume. An act is recorded first, then
//! published.
//!
//! An act is one row, with its selection, and one audit entry, committed together. The statuses
//! follow in steps of bounded size, so that issuing continues while a million tokens are revoked.
//! The next process that publishes or acts continues an interrupted act.
//!
//! While a revocation or a suspension by [`Filter`] is in progress, no matching token is issued.
//! Such an act thus covers every matching token that was recorded before [`perform_and_wait`]
//! returns.
//!
//! [`Filter`]: crate::selection::Filter

use edgepass_jose::CompactJws;
use edgepass_status_list::StatusType;
use edgepass_verify::UnixMillis;

use crate::new_act::{NewAct, RecordedAct};
use crate::policy::{IssuerPolicy, RefusedByPolicy};
use crate::selection::{Selection, StatusChange};
use crate::sidecar;
use crate::status_index::RETIRE_AFTER;
use crate::storage::{
    AccessStore, ActStore, KeyStore, ListState, ListStore, StoreError, TokenRecord, TokenStore,
};

/// The reason why an act failed.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// Storage failed.
    #[error("the act could not be recorded or finished")]
    Store(#[from] StoreError),
    /// Tokens selected for suspension are in lists with one bit for each status. Holds the number
    /// of these tokens.
    #[error(
        "{0} of the tokens were issued while `suspension` was not set, so they cannot be \
         suspended and no token was changed; select other tokens, or revoke"
    )]
    NoSuspension(u64),
    /// At every attempt, another act was recorded between plan and record, or was not finished.
    #[error("other acts on statuses were recorded at the same time; try again")]
    Busy,
}

/// The reason why [`refuse_unknown`] refuses an act.
#[derive(Debug, thiserror::Error)]
pub enum Unselectable {
    /// The role is not in the policy, and the act would change no token.
    #[error("no token is selected: {0}")]
    Role(RefusedByPolicy),
    /// The key was never this issuer's, and the act would change no token.
    #[error("no token is selected: this issuer has no such key")]
    Key,
    /// No agreement of the policy and no token has that name, and the act would change no token.
    #[error(
        "no token is selected: there is no such agreement; `edgepass policy show` shows those of the policy"
    )]
    Agreement,
    /// No request for access has that name.
    #[error("no token is selected: there is no such request; `edgepass access list` lists them")]
    Grant,
    /// Storage failed.
    #[error("the records could not be read")]
    Store(#[from] StoreError),
}

/// Refuses an act that selects by an unknown role, key, agreement or request for access and would change no token. The name is
/// probably mistyped, and the act would be reported as done. Names of clients and subjects are not
/// checked, since the issuer does not know all of them.
///
/// # Errors
///
/// [`Unselectable`].
pub async fn refuse_unknown<S: KeyStore + TokenStore + AccessStore + ActStore>(
    act: &NewAct,
    policy: &IssuerPolicy,
    store: &S,
) -> Result<(), Unselectable> {
    let Selection::Fitting(filter) = &act.selection else { return Ok(()) };
    let named = filter.role.as_ref().filter(|role| *role != sidecar::ROLE);
    let role = named.and_then(|role| policy.role(role).err());
    let keys = store.keys().await?.keys;
    let is_known = |key_id: &String| keys.iter().any(|key| key.key_id == *key_id);
    let unknown = if let Some(error) = role {
        Unselectable::Role(error)
    } else if filter.key_id.as_ref().is_some_and(|key_id| !is_known(key_id)) {
        Unselectable::Key
    } else if let Some(id) = &filter.agreement
        && policy.agreement(id).is_none()
        && !store.is_agreement_used(id, 0).await?
    {
        Unselectable::Agreement
    } else if let Some(id) = &filter.grant
        && store.access(id).await?.is_none()
    {
        Unselectable::Grant
    } else {
        return Ok(());
    };
    // The role may have been removed from the configuration while its tokens live.
    if store.plan_act(act).await?.count > 0 { Ok(()) } else { Err(unknown) }
}

/// Finishes earlier acts, then records this act and changes the statuses. Returns `None` if the act
/// names tokens by `jti` and would change none. The changes are published once [`unpublished`]
/// returns no list. Call [`ActStore::end_act`] then, so that matching tokens are issued again.
///
/// # Errors
///
/// [`ActError`]. Either nothing was recorded, or the act is recorded and will be finished later.
pub async fn perform<S: ActStore>(
    store: &S,
    act: &NewAct,
) -> Result<Option<RecordedAct>, ActError> {
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

/// Performs an act, waits until the changes are published, and lets matching tokens be issued
/// again. `wait` receives the lists that must show the changes; its last result is returned.
/// Repeats the act if its block on issuing expired meanwhile. The returned act is the first one,
/// with the number of tokens that all repetitions changed.
///
/// # Errors
///
/// [`ActError`], or the error of `wait`.
pub async fn perform_and_wait<S: ActStore + ListStore, W, E, F>(
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
            let all = all.get_or_insert(RecordedAct { count: 0, ..recorded });
            all.count = all.count.saturating_add(recorded.count);
        }
        let waited = wait(unpublished(store, act.at).await.map_err(ActError::Store)?).await?;
        let Some(recorded) = recorded else { return Ok((all, waited)) };
        // `false`: the block had already expired, so matching tokens may have been issued. Repeat
        // the act.
        if store.end_act(recorded.id).await.map_err(ActError::Store)? {
            return Ok((all, waited));
        }
    }
}

/// Applies every recorded act to the statuses. Publishes nothing.
///
/// # Errors
///
/// [`StoreError`].
pub async fn finish<S: ActStore>(store: &S) -> Result<(), StoreError> {
    while store.continue_acts().await? {}
    Ok(())
}

/// The lists, without retired ones, with a published edition that does not show all changes by
/// finished acts.
///
/// # Errors
///
/// [`StoreError`].
pub async fn unpublished<S: ListStore>(
    store: &S,
    now: UnixMillis,
) -> Result<Vec<ListState>, StoreError> {
    let mut lists = store.lists(now.numeric_date().seconds().saturating_sub(RETIRE_AFTER)).await?;
    lists.retain(|list| list.published < list.changes);
    Ok(lists)
}

/// Says why an act on one token changed nothing.
///
/// # Errors
///
/// The reason why it is refused: the token is unknown, or it is to be suspended or resumed although it is
/// revoked.
pub fn unchanged(
    change: StatusChange,
    token: Option<&TokenRecord>,
    now: UnixMillis,
) -> Result<&'static str, &'static str> {
    let token = token.ok_or("this issuer has issued no token with that jti")?;
    let seconds = now.numeric_date().seconds();
    if seconds >= token.facts.expiration.saturating_add(RETIRE_AFTER) {
        return Ok("has expired; no verifier accepts it");
    }
    match (change, token.status) {
        (StatusChange::Revoke, _) => Ok("is already revoked"),
        (StatusChange::Suspend, StatusType::Suspended) => Ok("is already suspended"),
        (StatusChange::Resume, StatusType::Valid) => Ok("is not suspended"),
        (StatusChange::Resume, StatusType::Suspended) => {
            Err("the token is suspended with the one that it was exchanged from: resume that one")
        }
        _ => Err("the token is revoked for good"),
    }
}

/// The `jti` of a token, without verification. Use it only to select one of the issuer's own
/// records. `None`: the text is no token, or the token has no `jti`.
pub fn unverified_jwt_id(token: &str) -> Option<String> {
    const MAX_TOKEN_BYTES: usize = 1 << 20;
    let jws = CompactJws::parse(token, MAX_TOKEN_BYTES).ok()?;
    let claims = jws.claims().ok()?;
    claims.required_string("jti").ok().map(str::to_owned)
}

/// Number of times an act is planned before [`ActError::Busy`].
const ATTEMPTS: usize = 8;
