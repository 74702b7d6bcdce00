//! Acts on the statuses of tokens: revoke, suspend, resume. Durable first, then served.
//!
//! An act is one row, its selection and one audit entry, committed together. Statuses follow from
//! it in steps of a bounded size, so that issuing goes on while a million tokens are revoked; an act
//! that was interrupted is finished by whoever looks next. While an act by [`Filter`] is under way no
//! token that it would select is issued: each one issued before the act returned is covered.
//!
//! [`Filter`]: crate::selection::Filter

use std::collections::BTreeMap;

use edgepass_jose::CompactJws;
use edgepass_verify::UnixMillis;
use serde::{Deserialize, Serialize};
use sha2::Sha256;

use crate::audit::{Act, AuditEntry};
use crate::selection::Selection;
use crate::status_index::RETIRE_AFTER;
use crate::storage::{ListState, Store, StoreError};

/// What becomes of a status.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum StatusChange {
    /// The token is revoked, for good.
    Revoke,
    /// The token is suspended: refused until it is resumed.
    Suspend,
    /// A suspended token is valid again.
    Resume,
}

/// An act to be recorded.
#[derive(Clone, Debug)]
pub struct NewAct {
    /// What becomes of the statuses.
    pub change: StatusChange,
    /// Of which tokens.
    pub selection: Selection,
    /// Why, in the words of who acts.
    pub reason: String,
    /// Who acts.
    pub actor: String,
    /// When, in milliseconds. Tokens that have expired by then are not selected.
    pub at: UnixMillis,
}

/// What an act would change, as of a moment.
#[derive(Clone, Debug, Default)]
pub struct Plan {
    /// How many tokens change.
    pub count: u64,
    /// Of these, by role.
    pub roles: BTreeMap<String, u64>,
    /// Of these, how many lie in lists that have no room for "suspended".
    pub without_suspension: u64,
    /// SHA-256 so far over the `jti` of each, in the order of issue, each with a line feed.
    pub digest: Sha256,
    /// Tokens up to here were looked at, in the order of issue.
    pub last_seq: u64,
    /// The last act that was recorded before.
    pub last_act: u64,
}

/// An act that is durable.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct RecordedAct {
    /// Its number.
    pub id: u64,
    /// How many tokens it changes.
    pub count: u64,
}

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
         \"suspended\"; revoke them instead"
    )]
    NoSuspension(u64),
    /// Other acts came between, again and again.
    #[error("other acts on statuses keep coming between; try again")]
    Busy,
}

impl StatusChange {
    /// Its name, as stored and as written in JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Revoke => "revoke",
            Self::Suspend => "suspend",
            Self::Resume => "resume",
        }
    }

    /// The change called `name`.
    pub fn named(name: &str) -> Option<Self> {
        [Self::Revoke, Self::Suspend, Self::Resume].into_iter().find(|one| one.name() == name)
    }
}

impl NewAct {
    /// The audit entry, once it is known what the act changes.
    pub fn entry(&self, count: u64, digest: String) -> AuditEntry {
        let reason = self.reason.clone();
        let act = match (self.change, &self.selection) {
            (StatusChange::Revoke, Selection::JwtIds(ids)) if ids.len() == 1 => {
                Act::TokenRevoked { jwt_id: ids.concat(), reason }
            }
            (change, selection) => {
                Act::StatusesChanged { change, selection: selection.into(), reason, count, digest }
            }
        };
        AuditEntry { at_ms: self.at.0, actor: self.actor.clone(), act }
    }
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
