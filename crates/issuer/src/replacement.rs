//! Replacing a token: another one like it, and the old one is revoked after a grace.

use std::time::Duration;

use edgepass_jose::Scope;
use edgepass_status_list::StatusType;
use edgepass_verify::UnixMillis;

use crate::new_act::NewAct;
use crate::policy::version::LivePolicy;
use crate::policy::{Grant, RefusedByPolicy, TokenRequest};
use crate::selection::{Selection, StatusChange};
use crate::status_act::{ActError, perform};
use crate::storage::{ActStore, TokenRecord};

/// The time for which the old token stays valid, if the request names none.
pub const DEFAULT_GRACE: Duration = Duration::from_secs(60);
/// The longest grace.
pub const MAX_GRACE: Duration = Duration::from_secs(60 * 60);

/// The token that another one replaces.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Replaces {
    /// Its `jti`.
    pub jwt_id: String,
    /// When it is revoked, in seconds.
    pub due: u64,
}

/// A token that was replaced, and whose grace has passed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Replaced {
    /// Its `jti`.
    pub jwt_id: String,
    /// `jti` of the token that replaced it.
    pub by: String,
    /// The actor that replaced it.
    pub actor: String,
}

/// The reason why a token is not replaced.
#[non_exhaustive]
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReplaceError {
    /// The token has expired, or is revoked or suspended.
    #[error("the token is not valid any more")]
    NotValid,
    /// The token was exchanged from another one, whose time it must not outlive.
    #[error("the token was exchanged from another one: exchange that one again")]
    Exchanged,
    /// The role needs approval.
    #[error("the role needs approval: get another token under the access that was granted")]
    OnRequest,
    /// The scope is not within that of the token.
    #[error("the scope must be within that of the token; allowed: {0}")]
    Scope(Scope),
    /// The grace is longer than [`MAX_GRACE`].
    #[error("the grace is at most \"1h\"")]
    Grace,
    /// The policy does not grant such a token any more.
    #[error(transparent)]
    Policy(#[from] RefusedByPolicy),
}

/// The grant of a token that replaces `old`: its role, its audience, and at most its scope.
///
/// # Errors
///
/// [`ReplaceError`].
pub fn replace(
    policy: &LivePolicy,
    old: &TokenRecord,
    scope: Option<Scope>,
    lifetime: Option<u64>,
    grace: Duration,
    now: UnixMillis,
) -> Result<(Grant, Replaces), ReplaceError> {
    let seconds = now.numeric_date().seconds();
    let token = &old.facts;
    if old.status != StatusType::Valid || token.expiration <= seconds {
        return Err(ReplaceError::NotValid);
    }
    if token.parent.is_some() {
        return Err(ReplaceError::Exchanged);
    }
    if policy.approval(&token.role).is_some() {
        return Err(ReplaceError::OnRequest);
    }
    if grace > MAX_GRACE {
        return Err(ReplaceError::Grace);
    }
    // A recorded scope has been parsed before.
    let allowed = Scope::parse(&token.scope).unwrap_or_default();
    let scope = scope.unwrap_or_else(|| allowed.clone());
    if scope.is_empty() || !scope.missing_in(&allowed).is_empty() {
        return Err(ReplaceError::Scope(allowed));
    }
    let request =
        TokenRequest { audience: Some(token.audience.clone()), scope: Some(scope), lifetime };
    let grant = policy.grant(policy.role(&token.role)?, &request, now)?;
    let due = seconds.saturating_add(grace.as_secs());
    Ok((grant, Replaces { jwt_id: token.jwt_id.clone(), due }))
}

/// Revokes the replaced tokens whose grace has passed. `policy` is the number of the version in use.
///
/// # Errors
///
/// [`ActError`].
pub(crate) async fn carry_out_due<S: ActStore>(
    store: &S,
    policy: u64,
    now: UnixMillis,
) -> Result<(), ActError> {
    for Replaced { jwt_id, by, actor } in store.due_replacements(now).await? {
        let act = NewAct {
            change: StatusChange::Revoke,
            selection: Selection::JwtIds(vec![jwt_id.clone()]),
            reason: format!("replaced by {by}"),
            actor,
            policy,
            report: None,
            at: now,
        };
        perform(store, &act).await?;
        store.forget_replacement(&jwt_id).await?;
    }
    Ok(())
}
