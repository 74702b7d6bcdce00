//! Granting a token of a role that needs approval.

use edgepass_verify::UnixMillis;

use super::{AccessRequest, State};
use crate::issue::Issuer;
use crate::policy::version::LivePolicy;
use crate::policy::{Grant, RefusedByPolicy, Role, TokenRequest};
use crate::storage::{AccessStore, StoreError};

/// The reason why a role is not granted.
#[non_exhaustive]
#[derive(Debug, thiserror::Error)]
pub enum GrantError {
    /// The policy refuses what is asked for.
    #[error(transparent)]
    Policy(#[from] RefusedByPolicy),
    /// The role needs approval, and access was not asked for.
    #[error("the role needs approval: ask for access first")]
    Needed,
    /// The role needs approval, and the request waits for it, or for its time. Holds the request.
    #[error("access to the role was asked for by {0}, and is not granted yet")]
    Pending(String),
    /// Access was denied lately. Holds the request.
    #[error("access to the role was denied: {0}")]
    Denied(String),
    /// The role or its rule is not what it was when access was granted.
    #[error("the role or the rule about it has changed since access was granted: ask again")]
    Changed,
    /// Access was denied, or is over. Holds the state of the request.
    #[error("the request for access is {}", .0.name())]
    Over(State),
    /// More is asked for than was approved.
    #[error("audience or scope go beyond what was approved")]
    Beyond,
    /// Storage failed.
    #[error("no access request can be looked up")]
    Store(#[from] StoreError),
}

impl AccessRequest {
    /// Grants what `request` asks of the role, no more than was approved, and no longer.
    ///
    /// # Errors
    ///
    /// [`GrantError`].
    pub fn grant(
        &self,
        policy: &LivePolicy,
        mut request: TokenRequest,
        now: UnixMillis,
    ) -> Result<Grant, GrantError> {
        let seconds = now.numeric_date().seconds();
        if !self.stands(seconds) {
            return Err(match self.state(now) {
                State::Pending | State::Approved => GrantError::Pending(self.id.clone()),
                state => GrantError::Over(state),
            });
        }
        policy.may_use(&self.asked_by, &self.role)?;
        if policy.terms(&self.role) != self.terms {
            return Err(GrantError::Changed);
        }
        self.complete(&mut request);
        let mut grant = policy.grant(policy.role(&self.role)?, &request, now)?;
        if self.limit(&mut grant, seconds) { Ok(grant) } else { Err(GrantError::Beyond) }
    }
}

impl<S: AccessStore> Issuer<S> {
    /// Grants what `request` asks of a role to a client and a subject. If the role needs approval, no more
    /// than what was approved for them, and no longer.
    ///
    /// # Errors
    ///
    /// [`GrantError`].
    pub async fn grant_role(
        &self,
        policy: &LivePolicy,
        role: &Role,
        request: TokenRequest,
        (client_id, subject): (&str, &str),
        now: UnixMillis,
    ) -> Result<Grant, GrantError> {
        if policy.approval(&role.name).is_none() {
            return Ok(policy.grant(role, &request, now)?);
        }
        let seconds = now.numeric_date().seconds();
        let found = self.store().access_of(&role.name, client_id, subject).await?;
        let terms = policy.terms(&role.name);
        let stands = |access: &&AccessRequest| access.stands(seconds);
        let is_current = |access: &&AccessRequest| access.stands(seconds) && access.terms == terms;
        let Some(access) = found.iter().find(is_current).or_else(|| found.iter().find(stands))
        else {
            let waits = |state| matches!(state, State::Pending | State::Approved);
            if let Some(open) = found.iter().find(|access| waits(access.state(now))) {
                return Err(GrantError::Pending(open.id.clone()));
            }
            // Not asked again at once by a program that only repeats its request.
            let last = found.first().filter(|one| one.recorded == State::Denied);
            let last = last.filter(|one| now.0 < one.expires_ms());
            return Err(last.map_or(GrantError::Needed, |one| GrantError::Denied(one.id.clone())));
        };
        access.grant(policy, request, now)
    }
}
