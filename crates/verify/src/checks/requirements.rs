//! The requirements of one route or call, beyond the policy.

use std::time::Duration;

use edgepass_jose::Scope;
use serde::{Deserialize, Serialize};

use crate::policy::OneOrMany;
use crate::policy::duration::DurationText;
use crate::token_place::{NotAPlace, TokenPlace};
use crate::url;

/// The requirements that one route or call makes of a token, beyond the policy.
///
/// # Example
///
/// ```
/// use edgepass_verify::checks::{Requirements, RequirementsConfig, RequirementsError};
///
/// let text = r#"{"all_of": ["invoices:read"], "stale_if_error": "5s"}"#;
/// let config: RequirementsConfig = serde_json::from_str(text)?;
/// let requirements = Requirements::try_from(config)?;
/// assert!(requirements.all_of.contains("invoices:read"));
///
/// let config = RequirementsConfig { any_of: Some(Vec::new()), ..RequirementsConfig::default() };
/// assert_eq!(Requirements::try_from(config).err(), Some(RequirementsError::Empty));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, Default)]
pub struct Requirements {
    /// The scope tokens or other names that the access token must grant, all of them.
    pub all_of: Scope,
    /// The scope tokens or other names of which the access token must grant at least one. No effect
    /// if empty.
    pub any_of: Scope,
    /// The purposes of which the agreement of the token must have at least one. No effect if empty.
    pub purposes: Scope,
    /// The categories of data that the agreement of the token must cover, all of them.
    pub data: Scope,
    /// The issuers whose tokens are accepted, among those of the verifier. `None`: all of them. An
    /// empty list refuses every token.
    pub issuers: Option<Vec<String>>,
    /// The accepted audience, instead of the policy's. `None`: the policy's. An empty list refuses
    /// every token.
    pub audience: Option<Vec<String>>,
    /// A shorter `stale_if_error` than the policy's. A longer one has no effect.
    pub stale_if_error: Option<Duration>,
    /// The places of a request in which the token may be. `None`: `Authorization` alone.
    pub token_from: Option<Vec<TokenPlace>>,
    /// The URL of the protected resource's metadata, for the challenge of a refusal.
    pub resource_metadata: Option<String>,
}

/// The configuration of [`Requirements`].
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequirementsConfig {
    /// The scope tokens that the access token must grant, all of them. Default: none. A token whose
    /// policy takes names from an array may grant names that are no scope tokens, such as
    /// `"Invoice Reader"`.
    pub all_of: Option<Vec<String>>,
    /// The scope tokens of which the access token must grant at least one. Default: no requirement.
    pub any_of: Option<Vec<String>>,
    /// The purposes of which the agreement of the token must have at least one (`authorization_details` of the
    /// type `edgepass_agreement`). Default: no requirement.
    pub purposes: Option<Vec<String>>,
    /// The categories of data that the agreement of the token must cover, all of them. Default: none.
    pub data: Option<Vec<String>>,
    /// The issuers whose tokens are accepted, among those of the verifier. Default: all of them.
    pub issuers: Option<Vec<String>>,
    /// The accepted audience, instead of the policy's. Default: the policy's.
    pub audience: Option<OneOrMany>,
    /// A shorter `stale_if_error` than the policy's. A longer one has no effect.
    pub stale_if_error: Option<DurationText>,
    /// The places of a request in which the token may be: see [`TokenPlace`]. Default:
    /// `"authorization"`.
    pub token_from: Option<OneOrMany>,
    /// The URL of the protected resource's metadata (RFC 9728), for the challenge of a refusal.
    /// Default: none.
    pub resource_metadata: Option<String>,
}

/// The reason why a [`RequirementsConfig`] is refused.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RequirementsError {
    /// A list of scope tokens, purposes or data is empty, so it would require nothing.
    #[error("all_of, any_of, purposes and data must not be empty: leave them out instead")]
    Empty,
    /// `resource_metadata` is no https URL (http only on loopback).
    #[error("resource_metadata must be an https URL (http only on loopback)")]
    ResourceMetadata,
    /// A place of the token cannot be read, or occurs twice.
    #[error("token_from: {0}")]
    TokenPlace(#[from] NotAPlace),
    /// A scope token, a purpose or a category of data is empty or contains a control character.
    #[error(
        "all_of, any_of, purposes, data: a name must not be empty, and must not contain control characters"
    )]
    Scope,
    /// `issuers` names one that the verifier does not have.
    #[error("issuers must be among those of the verifier")]
    UnknownIssuer,
    /// No issuer's tokens can grant a required name: see [`Verifier::check_requirements`].
    ///
    /// [`Verifier::check_requirements`]: crate::Verifier::check_requirements
    #[error(
        "all_of, any_of: a scope token holds only visible ASCII without '\"' and '\\'; other names are granted only by \
         issuers of profile jwt"
    )]
    NotGrantable,
}

impl Requirements {
    /// Returns the requirement that the token grants all these scopes.
    ///
    /// # Errors
    ///
    /// [`RequirementsError::Empty`], [`RequirementsError::Scope`].
    pub fn all_of<'s>(
        scopes: impl IntoIterator<Item = &'s str>,
    ) -> Result<Self, RequirementsError> {
        let all_of = Some(scopes.into_iter().map(str::to_owned).collect());
        RequirementsConfig { all_of, ..RequirementsConfig::default() }.try_into()
    }

    /// The places of a request in which the token may be.
    pub(crate) fn places(&self) -> &[TokenPlace] {
        self.token_from.as_deref().unwrap_or(&[TokenPlace::Authorization])
    }
}

impl TryFrom<RequirementsConfig> for Requirements {
    type Error = RequirementsError;

    fn try_from(config: RequirementsConfig) -> Result<Self, RequirementsError> {
        // An empty list of issuers or audiences refuses every token. An empty list of scope tokens
        // would require nothing.
        let has_no_place =
            matches!(&config.token_from, Some(OneOrMany::Many(none)) if none.is_empty());
        if has_no_place {
            return Err(NotAPlace.into());
        }
        let lists = [&config.all_of, &config.any_of, &config.purposes, &config.data];
        if lists.into_iter().flatten().any(Vec::is_empty) {
            return Err(RequirementsError::Empty);
        }
        let scope = |names: Option<Vec<String>>| {
            let names = names.unwrap_or_default();
            let is_name = |name: &String| !name.is_empty() && !name.contains(char::is_control);
            match names.iter().all(is_name) {
                true => Ok(names.iter().map(String::as_str).collect::<Scope>()),
                false => Err(RequirementsError::Scope),
            }
        };
        let mut places: Vec<TokenPlace> = Vec::new();
        for place in config.token_from.map(OneOrMany::into_vec).into_iter().flatten() {
            let place = TokenPlace::parse(&place)?;
            if places.contains(&place) {
                return Err(NotAPlace.into());
            }
            places.push(place);
        }
        let token_from = (!places.is_empty()).then_some(places);
        if let Some(url) = &config.resource_metadata
            && (!url::is_acceptable(url) || url.contains(['"', '\\']))
        {
            return Err(RequirementsError::ResourceMetadata);
        }
        Ok(Self {
            token_from,
            resource_metadata: config.resource_metadata,
            all_of: scope(config.all_of)?,
            any_of: scope(config.any_of)?,
            purposes: scope(config.purposes)?,
            data: scope(config.data)?,
            issuers: config.issuers,
            audience: config.audience.map(OneOrMany::into_vec),
            stale_if_error: config.stale_if_error.map(|duration| duration.0),
        })
    }
}
