//! What one request asks of a token, beyond the policy.

use std::time::Duration;

use edgepass_jose::Scope;
use edgepass_jose::scope::NotAScope;
use serde::{Deserialize, Serialize};

use crate::policy::OneOrMany;
use crate::policy::duration::DurationText;

/// What one request asks of a token, beyond the policy.
#[derive(Clone, Debug, Default)]
pub struct Requirements {
    /// Every one of these scope tokens.
    pub all_of: Scope,
    /// At least one of these, unless empty.
    pub any_of: Scope,
    /// Only tokens of these issuers, of those that the verifier trusts.
    pub issuers: Option<Vec<String>>,
    /// Instead of the policy's audience.
    pub audience: Option<Vec<String>>,
    /// Less than the policy's `stale_if_error`; more is cut to it.
    pub stale_if_error: Option<Duration>,
}

/// A [`Requirements`] as it is written.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequirementsConfig {
    /// Every one of these scope tokens.
    pub all_of: Option<Vec<String>>,
    /// At least one of these scope tokens.
    pub any_of: Option<Vec<String>>,
    /// Only tokens of these issuers, of those that the verifier trusts.
    pub issuers: Option<Vec<String>>,
    /// Instead of the policy's audience.
    pub audience: Option<OneOrMany>,
    /// Less than the policy's `stale_if_error`; more is cut to it.
    pub stale_if_error: Option<DurationText>,
}

/// Why a requirements cannot be made.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RequirementsError {
    /// A list of scope tokens is empty: it asks for nothing.
    #[error("lists of scopes name a scope token, or are left out")]
    Empty,
    /// A scope token has a character that none may have.
    #[error(transparent)]
    Scope(#[from] NotAScope),
}

impl TryFrom<RequirementsConfig> for Requirements {
    type Error = RequirementsError;

    fn try_from(config: RequirementsConfig) -> Result<Self, RequirementsError> {
        // Without issuers or an audience no token passes; without scope tokens every one would.
        if [&config.all_of, &config.any_of].into_iter().flatten().any(Vec::is_empty) {
            return Err(RequirementsError::Empty);
        }
        let scope = |tokens: Option<Vec<String>>| Scope::try_from(tokens.unwrap_or_default());
        Ok(Self {
            all_of: scope(config.all_of)?,
            any_of: scope(config.any_of)?,
            issuers: config.issuers,
            audience: config.audience.map(OneOrMany::into_vec),
            stale_if_error: config.stale_if_error.map(|duration| duration.0),
        })
    }
}
